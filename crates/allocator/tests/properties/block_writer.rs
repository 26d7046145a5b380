//! The next block: what it holds, and that it is what the rules say.

use giliran_allocator::{BlockTurn, ChangeOutcome, ChangeReply, Numbered};
use giliran_wire::answer::{Reason, Status};
use giliran_wire::ledger::{
    CancelCause, DrawRecord, Entry, Grant, Released, Reschedule, ReturnRule,
};
use giliran_wire::{BookingId, Timestamp};

use crate::harness::Harness;
use crate::model::{Pending, Request};
use crate::model_rules::{Deal, Outcome, Wish};

/// Entries of a block, and the request that each of them serves.
#[derive(Default)]
struct Written {
    entries: Vec<Entry>,
    requests: Vec<Option<Request>>,
}

impl Written {
    fn push(&mut self, entry: Entry, request: Option<Request>) {
        self.entries.push(entry);
        self.requests.push(request);
    }
}

impl Harness {
    /// What opens, then changes, what time brings, entries, what the authority
    /// does, grants, adjustments, then what closes, unless grants still wait.
    pub(crate) fn write(&mut self, grants: u8, returns: usize) {
        let mut block = Written::default();
        let due = self.state.due(self.time());
        let (opened, closed): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|entry| matches!(entry, Entry::Opened { .. }));
        opened.iter().for_each(|entry| block.push(entry.clone(), None));
        self.write_wishes(&mut block);
        if returns > 0 {
            self.write_returns(&mut block, returns);
            self.write_draw(&mut block, returns);
        }
        self.write_entries(&mut block);
        self.write_authority(&mut block);
        let before = block.entries.len();
        let staged = self.write_grants(&mut block, grants);
        let staged = before..if staged { block.entries.len() } else { before };
        for adjust in std::mem::take(&mut self.adjusting) {
            if !self.model.openings[adjust.opening as usize].retired {
                block.push(Entry::Adjust(adjust), None);
            }
        }
        if self.queue.is_empty() {
            let opens_now = |entry: &Entry| {
                matches!(entry, Entry::Closed { opening }
                    if opened.contains(&Entry::Opened { opening: *opening }))
            };
            let closed = closed.into_iter().filter(|entry| !opens_now(entry));
            closed.for_each(|entry| block.push(entry, None));
        }
        let written = self.block(self.state.chain().epoch, block.entries);
        self.in_flight = Some((written, block.requests, staged));
    }

    fn write_wishes(&mut self, block: &mut Written) {
        let time = self.time();
        for wish in std::mem::take(&mut self.wishes) {
            let mut bits = bits(self.ids);
            let changed = self.state.change(&wish.ask(), time, &mut bits);
            let expected = self.model.decide(&wish, time);
            match changed {
                ChangeOutcome::Settled(settled) => {
                    assert_eq!(self.outcome(settled), expected, "{wish:?}");
                }
                ChangeOutcome::Wait => {
                    assert_eq!(expected, Outcome::Wait, "{wish:?}");
                    self.wishes.push_back(wish);
                }
                ChangeOutcome::Entry(entry, reply) => {
                    let Outcome::Write(deal) = expected else {
                        panic!("{entry:?} is written, {expected:?} expected")
                    };
                    self.check_deal(&wish, &entry, &reply, &deal, time);
                    block.push(*entry, None);
                }
            }
        }
    }

    /// An entry says what the rules say.
    fn check_deal(
        &self,
        wish: &Wish,
        entry: &Entry,
        reply: &ChangeReply,
        deal: &Deal,
        time: Timestamp,
    ) {
        let id = wish.target.unwrap();
        let had = self.model.had.iter().find(|had| had.id == id);
        let rejected = matches!(reply, ChangeReply::Rejected(r) if r.reason == Reason::WrongState);
        assert_eq!(rejected, *deal == Deal::Refund);
        assert!(
            rejected
                || matches!(reply, ChangeReply::Booking(t) | ChangeReply::Entry(t) if *t == id)
        );
        match (entry, deal) {
            (Entry::Confirm(confirm), Deal::Confirm | Deal::Revive | Deal::Refund) => {
                assert_eq!((confirm.booking, &confirm.request_id), (id, &wish.request_id));
                let revived = confirm.revived.as_ref().map(|seats| {
                    seats.iter().map(|seat| (seat.applicant, seat.number)).collect::<Vec<_>>()
                });
                let seats = (*deal == Deal::Revive).then(|| had.unwrap().seats.clone());
                assert_eq!(revived, seats);
            }
            (Entry::Cancel(cancel), Deal::Cancel(leaving)) => {
                assert_eq!((cancel.booking, &cancel.request_id), (id, &wish.request_id));
                assert_eq!((&cancel.seats, cancel.cause), (leaving, CancelCause::Applicant));
                self.check_release(had.unwrap().opening, true, cancel.release_at, time);
            }
            (Entry::Reschedule(swap), Deal::Move(slot, numbers)) => {
                assert_eq!((swap.booking, &swap.request_id), (id, &wish.request_id));
                assert_eq!(swap.reason, None);
                self.check_swap(swap, *slot, numbers, time);
            }
            (Entry::Draw(DrawRecord::Withdrawn { receipt, .. }), Deal::Withdraw) => {
                assert_eq!(*receipt, id);
            }
            other => panic!("{other:?}"),
        }
    }

    fn check_swap(&self, swap: &Reschedule, slot: u32, numbers: &[u16], time: Timestamp) {
        let had = self.model.had.iter().find(|had| had.id == swap.booking).unwrap();
        let people: Vec<_> = had.seats.iter().map(|(who, _)| *who).collect();
        let seats: Vec<_> = people.into_iter().zip(numbers.iter().copied()).collect();
        let until = self.model.openings[had.opening].record.slots[slot as usize].bookable_until;
        let hold = had.hold.filter(|_| had.status == Status::Held).map(|hold| hold.min(until));
        assert_eq!(swap.hold_expires_at, hold);
        let moved: Vec<_> = swap.seats.iter().map(|seat| (seat.applicant, seat.number)).collect();
        assert_eq!((swap.slot, moved), (slot, seats));
        self.check_release(had.opening, true, swap.release_at, time);
    }

    fn check_release(
        &self,
        opening: usize,
        cancelled: bool,
        release_at: Option<Timestamp>,
        time: Timestamp,
    ) {
        let rules = &self.model.openings[opening].record.rules;
        match if cancelled { &rules.cancelled } else { &rules.expired } {
            ReturnRule::Immediate => assert_eq!(release_at, Some(time)),
            ReturnRule::Delayed { from_ms, to_ms } => {
                let (from, to) = (time.plus_millis(*from_ms), time.plus_millis(*to_ms));
                assert!(release_at.is_some_and(|at| (from..=to).contains(&at)));
            }
            ReturnRule::At { .. } => assert_eq!(release_at, None),
        }
    }

    fn write_returns(&mut self, block: &mut Written, most: usize) {
        let time = self.time();
        let due = self.model.expires(time);
        let mut bits = bits(self.ids);
        let expiries = self.state.expiries(time, most, &mut bits);
        assert_eq!(expiries.len(), due.len().min(most));
        for entry in expiries {
            let Entry::Expire(expire) = &entry else { panic!("{entry:?}") };
            assert!(due.contains(&expire.booking));
            let had = self.model.had.iter().find(|had| had.id == expire.booking).unwrap();
            self.check_release(had.opening, false, expire.release_at, time);
            self.model.touched.push(expire.booking);
            block.push(entry, None);
        }
        let due = self.model.releases(time);
        let mut released = 0;
        for entry in self.state.releases(time, most) {
            let Entry::Released(now) = &entry else { panic!("{entry:?}") };
            released += now.numbers.len();
            self.check_released(now, &due);
            block.push(entry, None);
        }
        // Those that revived bookings have again count as given.
        assert!(released <= most && released + self.model.revived.len() >= due.len().min(most));
    }

    fn check_released(&self, released: &Released, due: &[(usize, u32, u16)]) {
        for number in &released.numbers {
            assert!(due.contains(&(released.opening as usize, released.slot, *number)));
        }
    }

    /// The next group of the draw that goes on, or begins.
    fn write_draw(&mut self, block: &mut Written, most: usize) {
        let time = self.time();
        if self.drawing.is_none() {
            self.ids += 1;
            self.drawing = self.state.due_waitlist_draw(time, [self.ids as u8; 32]);
            self.seed = ([self.ids as u8; 32], time);
            let mut collected = self.model.collected(time).into_iter();
            let collected = collected.any(|number| !self.model.revived.contains(&number));
            let waits = (0..self.model.openings.len())
                .any(|o| !self.model.order(o, time, &self.seed.0).is_empty());
            assert!(self.drawing.is_some() || !(collected || waits), "a draw is due");
        }
        let Some(mut drawing) = self.drawing.take() else { return };
        let Some(entries) = self.state.advance_waitlist_draw(&mut drawing, time, most) else {
            return;
        };
        self.drawing = Some(drawing);
        self.check_group(&entries, time);
        entries.into_iter().for_each(|entry| block.push(entry, None));
    }

    /// Every receipt of a group is next in its order, and gets what the rules say.
    fn check_group(&mut self, entries: &[Entry], time: Timestamp) {
        let (seed, due) = self.seed;
        let mut pool = self.model.collected(due);
        let fits = |number: &(usize, u32, u16)| {
            let (o, slot, number) = *number;
            number <= self.model.openings[o].places[slot as usize].quota
        };
        let all_fit = pool.iter().all(fits);
        let mut decided: Vec<(BookingId, Option<&Grant>)> = Vec::new();
        let mut groups = 0;
        for entry in entries {
            match entry {
                Entry::Grant(grant) => decided.push((grant.booking, Some(grant))),
                Entry::Draw(DrawRecord::NotDrawn { receipt }) => decided.push((*receipt, None)),
                Entry::Draw(DrawRecord::Revealed { seed: revealed, .. }) => {
                    assert_eq!(*revealed, seed);
                }
                Entry::Draw(DrawRecord::GroupBegin { .. }) => groups += 1,
                Entry::Draw(DrawRecord::GroupEnd { .. }) => {}
                Entry::Released(released) => {
                    self.check_released(released, &pool);
                    let beyond = |n: &u16| !fits(&(released.opening as usize, released.slot, *n));
                    assert!(decided.is_empty() && groups == 0);
                    let nobody = self.model.order(released.opening as usize, due, &seed);
                    let nobody = nobody.iter().all(|id| self.model.touched.contains(id));
                    assert!(nobody || released.numbers.iter().all(beyond));
                }
                other => panic!("{other:?}"),
            }
        }
        if decided.is_empty() {
            return;
        }
        assert!(groups <= 1);
        let opening = self.model.entry(&decided[0].0).unwrap().opening;
        assert!(all_fit || pool.iter().all(|n| n.0 != opening || fits(n)));
        let order = self.model.order(opening, due, &seed);
        let next = order.into_iter().filter(|id| !self.model.touched.contains(id));
        for receipt in next.take(decided.len()).collect::<Vec<_>>() {
            let of_it = decided.iter().find(|(id, _)| *id == receipt);
            let (_, grant) = of_it.expect("drawn out of order");
            let expected = self.model.draw_one(&receipt, &mut pool, time);
            let got = grant.map(|grant| {
                let waits = self.model.entry(&receipt).unwrap();
                assert_eq!(grant.request_id, waits.request.request_id);
                let people: Vec<_> = grant.seats.iter().map(|seat| seat.applicant).collect();
                assert_eq!(people, waits.request.applicants);
                let hold = self.model.openings[opening].hold_end(grant.slot, time);
                assert_eq!(grant.hold_expires_at, hold);
                (grant.slot, grant.seats.iter().map(|seat| seat.number).collect::<Vec<_>>())
            });
            assert_eq!(got, expected, "drawn {receipt}");
            self.model.touched.push(receipt);
        }
    }

    fn write_entries(&mut self, block: &mut Written) {
        let time = self.time();
        for (mut entry, request) in std::mem::take(&mut self.entering) {
            // The engine decides this with the block it goes into.
            let still = self.model.expected(&request, time);
            if !matches!(still, crate::model::Expected::Enter(_)) {
                continue;
            }
            self.ids += 1;
            assert_eq!(self.state.enter_waitlist(&mut entry, receipt(self.ids)), Some(true));
            self.model.touched.push(entry.receipt);
            block.push(Entry::Draw(DrawRecord::Entered(entry)), Some(request));
        }
    }

    fn write_authority(&mut self, block: &mut Written) {
        let time = self.time();
        for (id, moved) in std::mem::take(&mut self.authority) {
            let had = self.model.had.iter().find(|had| had.id == id).cloned();
            let had = had.filter(|had| had.is_live() && !self.model.touched.contains(&id));
            let mut bits = bits(self.ids);
            let entry = if moved {
                let slots = had.as_ref().map_or(0, |h| self.model.openings[h.opening].places.len());
                let slots: Vec<u32> = (0..slots as u32).collect();
                self.state.move_by_authority(id, &slots, "op: why", time, &mut bits)
            } else {
                self.state.cancel_by_authority(id, "op: why", time, &mut bits)
            };
            let Some(had) = had else {
                assert!(entry.is_none());
                continue;
            };
            if moved {
                let others = 0..self.model.openings[had.opening].places.len() as u32;
                let others: Vec<u32> = others.filter(|slot| *slot != had.slot).collect();
                let expected = self.model.swap(&had, &others, time);
                match (&entry, expected) {
                    (None, None) => continue,
                    (Some(Entry::Reschedule(swap)), Some((slot, numbers))) => {
                        assert!(swap.reason.is_some());
                        self.check_swap(swap, slot, &numbers, time);
                    }
                    other => panic!("{other:?}"),
                }
            } else {
                let Some(Entry::Cancel(cancel)) = &entry else { panic!("{entry:?}") };
                assert_eq!((cancel.cause, cancel.seats.len()), (CancelCause::Authority, 0));
                assert_eq!(cancel.refund_due, had.paid().is_some());
                self.check_release(had.opening, true, cancel.release_at, time);
            }
            self.model.touched.push(id);
            entry.into_iter().for_each(|entry| block.push(entry, None));
        }
    }

    /// The next grants; true if they were staged. In every other block they are, in the
    /// others they become bookings with the block, as those of a round do.
    fn write_grants(&mut self, block: &mut Written, most: u8) -> bool {
        let time = self.time();
        let staged = self.state.chain().number.is_multiple_of(2);
        for _ in 0..most {
            let Some(grant) = self.queue.pop_front() else { break };
            let (opening, slot, places) = (grant.opening as usize, grant.slot, grant.seats.len());
            let has_room = self.model.has_room(opening, slot, places)
                && !self.model.openings[opening].too_late(slot, time);
            let asked = grant.as_grant().to_owned();
            let numbered = if staged { self.staged(grant) } else { self.numbered(grant) };
            assert_eq!(numbered.is_some(), has_room);
            let Some(grant) = numbered else {
                self.forget(&asked);
                continue;
            };
            let numbers: Vec<u16> = grant.seats.iter().map(|seat| seat.number).collect();
            let lowest = self.model.lowest_numbers(opening, slot, places);
            assert_eq!(numbers, lowest, "the lowest numbers first");
            self.model.taken.extend(numbers.into_iter().map(|number| (opening, slot, number)));
            assert_eq!(grant.hold_expires_at, self.model.openings[opening].hold_end(slot, time));
            let of_it = |p: &&Pending| {
                p.opening == opening
                    && p.request.is_some()
                    && p.people[0] == grant.seats[0].applicant
            };
            let request = self.model.pending.iter().find(of_it).unwrap().request.clone();
            block.push(Entry::Grant(grant), request);
        }
        staged
    }

    // Few different bits, in both: an id that is taken has to be noticed.

    fn numbered(&mut self, mut grant: giliran_allocator::PendingGrant) -> Option<Grant> {
        let time = self.time();
        loop {
            match self.state.assign_numbers(&mut grant, time, u128::from(self.ids / 3)) {
                Numbered::IdTaken => self.ids += 1,
                Numbered::Done => return Some(grant.enter().as_grant().to_owned()),
                Numbered::NoRoom => return None,
            }
        }
    }

    fn staged(&mut self, grant: giliran_allocator::PendingGrant) -> Option<Grant> {
        let time = self.time();
        let mut bits = || {
            self.ids += 1;
            u128::from(self.ids / 3)
        };
        let booking = self.state.stage(grant, (BlockTurn::Next, time), &mut bits).ok()?;
        assert!(self.state.found(&booking.id).is_none(), "seen before its block is durable");
        Some(booking.as_grant().to_owned())
    }
}

/// Random bits, the same for every run of a history.
fn bits(seed: u32) -> impl FnMut() -> u128 {
    let mut next = u128::from(seed);
    move || {
        next += 7;
        next
    }
}

/// Bits of a receipt, far from those of bookings.
fn receipt(number: u32) -> u128 {
    10_000_000 + u128::from(number)
}
