//! How the model takes in what the ledger says, entry by entry.

use giliran_nats::ledger::scan::Scanned;
use giliran_wire::answer::Status;
use giliran_wire::event::EventId;
use giliran_wire::ledger::{
    Adjustment, Block, Cancel, CancelCause, Confirm, DrawRecord, Entry, Grant, Order, Reading,
    Reschedule, Seat,
};
use giliran_wire::{BookingId, Pseudonym, Timestamp};

use super::{Fact, Facts, SlotModel};
use crate::error::AuditError;
use crate::limits::Way;

impl Facts {
    pub(super) fn fold(&mut self, read: Scanned<'_>) -> Result<(), AuditError> {
        let Scanned { seq, bytes, reading, chain } = read;
        self.chain.clone_from(chain);
        self.blocks += 1;
        self.generations.fold(seq, bytes, &reading);
        let block = match reading {
            Reading::Valid(block) => block,
            Reading::Void => {
                self.voids += 1;
                return Ok(());
            }
            Reading::Foreign(_) => {
                self.foreign += 1;
                return Ok(());
            }
        };
        if self.epochs.last().is_none_or(|(_, epoch)| *epoch != block.epoch) {
            self.epochs.push((seq, block.epoch));
        }
        let Block { time, entries, .. } = block;
        self.journal.read(seq, time, &entries);
        self.times.push((seq, time));
        let mut drawing = false;
        let mut n = 0;
        for entry in entries {
            let refund = matches!(&entry, Entry::Cancel(cancel) if cancel.refund_due);
            let about = match entry {
                Entry::Draw(record) => self.draw_record((seq, time), record, &mut drawing),
                entry => self.entry((seq, time), entry, drawing),
            };
            let Some(booking) = about else { continue };
            // A refund is an event of its own.
            for _ in 0..=u32::from(refund) {
                let id = EventId { ledger: self.ledger(), seq, n };
                self.events.push((id.to_string(), booking));
                n += 1;
            }
        }
        Ok(())
    }

    /// Takes in an entry that stands at this sequence and time, and in a group of a draw or
    /// not; which booking it is about.
    fn entry(
        &mut self,
        (seq, time): (u64, Timestamp),
        entry: Entry,
        drawing: bool,
    ) -> Option<BookingId> {
        match entry {
            Entry::Opening(record) => {
                for (slot, of) in record.slots.iter().enumerate() {
                    let places = SlotModel { quota: of.quota.into(), ..SlotModel::default() };
                    self.places.insert((record.ordinal, slot as u32), places);
                }
                self.limits.recorded(seq, &record);
                self.openings.push(*record);
            }
            Entry::Opened { opening } => {
                self.phases.push((seq, opening, true));
                self.limits.phase(opening, true);
            }
            Entry::Closed { opening } => {
                self.phases.push((seq, opening, false));
                self.limits.phase(opening, false);
            }
            Entry::Grant(grant) => {
                let id = grant.booking;
                let way = self.way(&id);
                self.orders.grant(seq, &grant, drawing);
                if let Some(record) = self.openings.get(grant.opening as usize) {
                    self.limits.granted((seq, time), record, &grant, way);
                }
                // What a round decides has not entered before.
                let entered = drawing && !self.has_rounds(grant.opening);
                self.grant(seq, time, grant, entered || self.entries.contains_key(&id));
                return Some(id);
            }
            Entry::Confirm(confirm) => return Some(self.confirm(seq, time, confirm)),
            Entry::Cancel(cancel) => return Some(self.cancel(seq, time, &cancel)),
            Entry::Expire(expire) => {
                let id = expire.booking;
                self.end(seq, time, id, None, Status::Expired, expire.release_at);
                return Some(id);
            }
            Entry::Reschedule(swap) => return Some(self.reschedule(seq, time, &swap)),
            Entry::Released(released) => {
                self.released(seq, time, released.opening, released.slot, &released.numbers);
            }
            Entry::Adjust(adjust) => {
                if let Adjustment::Beacon { value } = &adjust.change {
                    self.orders.handed_in(adjust.opening, value);
                }
                self.adjust(seq, adjust.opening, &adjust.change);
            }
            Entry::Genesis(_)
            | Entry::TakeOver(_)
            | Entry::Draw(_)
            | Entry::Rejections(_)
            | Entry::Snapshot(_)
            | Entry::Seal(_) => {}
        }
        None
    }

    /// The same of a record of a draw; `drawing`: a group of it has begun.
    fn draw_record(
        &mut self,
        (seq, time): (u64, Timestamp),
        record: DrawRecord,
        drawing: &mut bool,
    ) -> Option<BookingId> {
        match record {
            DrawRecord::GroupBegin { opening, round, .. } => {
                *drawing = true;
                self.orders.group(opening, round, self.has_rounds(opening));
            }
            DrawRecord::GroupEnd { .. } => *drawing = false,
            DrawRecord::Revealed { opening, seed, beacon } => {
                if let Some(record) = self.openings.get(opening as usize) {
                    self.orders.revealed((seq, time), self.ledger(), record, seed, beacon);
                }
            }
            DrawRecord::Entered(entry) => {
                self.orders.entered(&entry);
                for who in &entry.applicants {
                    self.waits.entry((entry.opening, *who)).or_default().push((seq, None));
                }
                self.entries.insert(entry.receipt, (entry.opening, entry.applicants));
                return Some(entry.receipt);
            }
            DrawRecord::Withdrawn { receipt, .. } => {
                self.orders.withdrawn(&receipt);
                self.end_entry(seq, &receipt);
                return Some(receipt);
            }
            DrawRecord::NotDrawn { receipt } => {
                self.orders.not_drawn(seq, &receipt);
                self.end_entry(seq, &receipt);
                return Some(receipt);
            }
            DrawRecord::Committed { opening, commitment, beacon } => {
                self.orders.committed(opening, commitment, beacon);
            }
            DrawRecord::Root { opening, root, entries } => {
                let places = self.places.range((opening, 0)..=(opening, u32::MAX));
                let places = places.map(|(_, places)| places.offered().max(0) as u32);
                let places: Vec<u32> = places.collect();
                if let Some(record) = self.openings.get(opening as usize) {
                    self.orders.root(seq, self.ledger(), record, places, (root, entries));
                }
            }
        }
        None
    }

    /// How the booking that is about to be granted comes about.
    fn way(&self, id: &BookingId) -> Way {
        if self.orders.draws_for(id) {
            Way::Draw
        } else if self.entries.contains_key(id) {
            Way::Release
        } else {
            Way::Asked
        }
    }

    fn has_rounds(&self, ordinal: u32) -> bool {
        let order = self.openings.get(ordinal as usize).map(|opening| &opening.rules.order);
        matches!(order, Some(Order::Rounds { .. }))
    }

    /// A live booking takes numbers of a slot.
    fn take(&mut self, seq: u64, at: (u32, u32), id: BookingId, seats: &[Seat], returned: bool) {
        let Some(places) = self.places.get_mut(&at) else { return };
        let before = places.offered();
        for seat in seats {
            let in_range = seat.number > 0 && i64::from(seat.number) <= places.quota;
            let withheld = places.withheld.remove(&seat.number).is_some();
            let other = places.live.insert(seat.number, id);
            let fine = in_range && other.is_none();
            self.wrong.numbers.look(fine, || {
                format!("sequence {seq}: number {} a second time or out of range", seat.number)
            });
            self.wrong.releases.look(!withheld || returned, || {
                format!("sequence {seq}: number {} was not released yet", seat.number)
            });
        }
        let after = places.offered();
        self.wrong.oversell.look(after >= 0 || after >= before, || {
            format!("sequence {seq}: booking {id} leaves {after} places")
        });
        places.free.push((seq, after));
    }

    /// A booking gives numbers of its slot back.
    fn give(
        &mut self,
        seq: u64,
        time: Timestamp,
        at: (u32, u32),
        seats: &[Seat],
        release_at: Option<Timestamp>,
    ) {
        let Some(places) = self.places.get_mut(&at) else { return };
        for seat in seats {
            places.live.remove(&seat.number);
            if release_at.is_none_or(|at| at > time) {
                places.withheld.insert(seat.number, release_at);
            }
        }
        let free = places.offered();
        places.free.push((seq, free));
    }

    fn book(&mut self, seq: u64, opening: u32, id: BookingId, seats: &[Seat]) {
        for seat in seats {
            let spans = self.booked.entry((opening, seat.applicant)).or_default();
            let free = spans.iter().all(|(_, to)| to.is_some());
            self.wrong
                .twice
                .look(free, || format!("sequence {seq}: booking {id} is an applicant's second"));
            spans.push((seq, None));
        }
    }

    fn leave(&mut self, seq: u64, opening: u32, seats: &[Seat]) {
        for seat in seats {
            let spans = self.booked.entry((opening, seat.applicant)).or_default();
            if let Some((_, to)) = spans.last_mut() {
                *to = Some(seq);
            }
        }
    }

    fn grant(&mut self, seq: u64, time: Timestamp, grant: Grant, drawn: bool) {
        let (opening, slot, id) = (grant.opening, grant.slot, grant.booking);
        self.take(seq, (opening, slot), id, &grant.seats, drawn);
        self.book(seq, opening, id, &grant.seats);
        if let Some(first) = grant.seats.first() {
            let key = (opening, first.applicant, grant.request_id.clone());
            self.wrong.keys.look(self.asked.insert(key), || {
                format!("sequence {seq}: request {} was granted twice", grant.request_id)
            });
        }
        if drawn {
            self.end_entry(seq, &id);
        }
        let numbers = grant.seats.iter().map(|seat| seat.number).collect();
        let place = self.grants.len();
        self.by_booking.insert(id, place);
        self.grants.push(Fact {
            seq,
            place,
            granted_at: time,
            status: if grant.hold_expires_at.is_some() { Status::Held } else { Status::Confirmed },
            version: 1,
            changed_at: seq,
            slot,
            seats: grant.seats.iter().map(|seat| (*seat, true)).collect(),
            payment: None,
            paid: false,
            refunds: 0,
            hold: grant.hold_expires_at,
            versions: vec![(seq, slot, numbers)],
            grant,
        });
    }

    fn end_entry(&mut self, seq: u64, receipt: &BookingId) {
        let entry = self.entries.remove(receipt);
        self.wrong.states.look(entry.is_some(), || {
            format!("sequence {seq}: {receipt} is not a waiting entry; expected one")
        });
        for who in entry.iter().flat_map(|(_, people)| people) {
            let opening = entry.as_ref().map_or(0, |(opening, _)| *opening);
            if let Some((_, to)) =
                self.waits.get_mut(&(opening, *who)).and_then(|spans| spans.last_mut())
            {
                *to = Some(seq);
            }
        }
    }

    /// Changes a booking that is in one of these states.
    fn change(
        &mut self,
        seq: u64,
        id: BookingId,
        allowed: &[Status],
        change: impl FnOnce(&mut Fact),
    ) {
        let fact = self.by_booking.get(&id).and_then(|place| self.grants.get_mut(*place));
        let fine = fact.as_ref().is_some_and(|fact| allowed.contains(&fact.status));
        self.wrong.states.look(fine, || {
            format!("sequence {seq}: booking {id} cannot be changed like this as it stands")
        });
        let Some(fact) = fact else { return };
        change(fact);
        fact.version += 1;
        fact.changed_at = seq;
        let mut numbers: Vec<u16> = fact.active().iter().map(|seat| seat.number).collect();
        if numbers.is_empty() {
            // One that has ended still shows the numbers it had.
            numbers = fact.versions.last().map(|(.., numbers)| numbers.clone()).unwrap_or_default();
        }
        fact.versions.push((seq, fact.slot, numbers));
    }

    fn find(&self, id: &BookingId) -> Option<&Fact> {
        self.by_booking.get(id).map(|place| &self.grants[*place])
    }

    fn confirm(&mut self, seq: u64, time: Timestamp, confirm: Confirm) -> BookingId {
        let id = confirm.booking;
        let revives = confirm.revived.as_ref().map(Vec::len);
        if let Some(fact) = self.find(&id)
            && (revives.is_some() || fact.status == Status::Held)
            && let Some(record) = self.openings.get(fact.grant.opening as usize)
        {
            let (slot, account) = (fact.slot, fact.grant.account);
            self.limits.in_time(seq, time, record, id, slot);
            if let Some(places) = revives {
                self.limits.live(seq, record, id, account, places);
            }
        }
        if let Some(seats) = &confirm.revived {
            let at = self.find(&id).map(|fact| (fact.grant.opening, fact.slot));
            if let Some((opening, slot)) = at {
                self.take(seq, (opening, slot), id, seats, true);
                self.book(seq, opening, id, seats);
            }
        }
        let revived = confirm.revived;
        let allowed: &[Status] = match revived {
            Some(_) => &[Status::Expired],
            None => &[Status::Held, Status::Confirmed, Status::Cancelled, Status::Expired],
        };
        self.change(seq, id, allowed, |fact| {
            if revived.is_some() || fact.status == Status::Held {
                fact.status = Status::Confirmed;
                fact.payment = confirm.reference;
                fact.paid = true;
            } else {
                fact.refunds += 1;
            }
            for seat in revived.iter().flatten() {
                for (own, active) in &mut fact.seats {
                    *active |= own.applicant == seat.applicant;
                }
            }
        });
        id
    }

    fn cancel(&mut self, seq: u64, time: Timestamp, cancel: &Cancel) -> BookingId {
        let id = cancel.booking;
        if cancel.cause == CancelCause::Authority {
            self.wrong.states.look(cancel.reason.is_some(), || {
                format!("sequence {seq}: booking {id} was cancelled without a reason")
            });
        }
        let only = (!cancel.seats.is_empty()).then_some(&cancel.seats[..]);
        let authority = cancel.cause == CancelCause::Authority;
        let due = authority && self.find(&id).is_some_and(|fact| fact.paid);
        self.limits.cancelled(seq, id, due, cancel.refund_due);
        self.end(seq, time, id, only, Status::Cancelled, cancel.release_at);
        if cancel.refund_due {
            self.change(seq, id, &[Status::Cancelled], |fact| fact.refunds += 1);
        }
        id
    }

    /// Ends a booking, or the seats of these people.
    fn end(
        &mut self,
        seq: u64,
        time: Timestamp,
        id: BookingId,
        only: Option<&[Pseudonym]>,
        status: Status,
        release_at: Option<Timestamp>,
    ) {
        let leaves = |seat: &Seat| only.is_none_or(|who| who.contains(&seat.applicant));
        if let Some(fact) = self.find(&id) {
            let (opening, slot) = (fact.grant.opening, fact.slot);
            let seats: Vec<Seat> = fact.active().into_iter().filter(leaves).collect();
            let account = fact.grant.account;
            self.give(seq, time, (opening, slot), &seats, release_at);
            self.leave(seq, opening, &seats);
            self.limits.ended(opening, account, seats.len());
        }
        let allowed: &[Status] = match status {
            Status::Expired => &[Status::Held],
            _ => &[Status::Held, Status::Confirmed],
        };
        self.change(seq, id, allowed, |fact| {
            if only.is_none() {
                fact.status = status;
            }
            for (seat, active) in &mut fact.seats {
                *active &= !leaves(seat);
            }
        });
    }

    fn reschedule(&mut self, seq: u64, time: Timestamp, swap: &Reschedule) -> BookingId {
        let id = swap.booking;
        if let Some(fact) = self.find(&id) {
            let (opening, slot, seats) = (fact.grant.opening, fact.slot, fact.active());
            if let Some(record) = self.openings.get(opening as usize) {
                self.limits.in_time(seq, time, record, id, swap.slot);
                self.limits.moved(seq, record, id, swap.reason.is_some());
            }
            self.take(seq, (opening, swap.slot), id, &swap.seats, false);
            self.give(seq, time, (opening, slot), &seats, swap.release_at);
        }
        self.change(seq, id, &[Status::Held, Status::Confirmed], |fact| {
            fact.slot = swap.slot;
            fact.hold = swap.hold_expires_at.or(fact.hold);
            for (seat, active) in &mut fact.seats {
                if let Some(new) = swap.seats.iter().find(|new| new.applicant == seat.applicant) {
                    (*seat, *active) = (*new, true);
                }
            }
        });
        id
    }

    fn released(&mut self, seq: u64, time: Timestamp, opening: u32, slot: u32, numbers: &[u16]) {
        let Some(places) = self.places.get_mut(&(opening, slot)) else { return };
        for number in numbers {
            let due = places.withheld.remove(number);
            let fine = due.is_some_and(|due| due.is_none_or(|due| due <= time));
            self.wrong.releases.look(fine, || {
                format!("sequence {seq}: number {number} was released before its time")
            });
        }
        let free = places.offered();
        places.free.push((seq, free));
    }

    fn adjust(&mut self, seq: u64, opening: u32, change: &Adjustment) {
        let slot = match change {
            Adjustment::Quota { slot, .. }
            | Adjustment::Reserve { slot, .. }
            | Adjustment::Halt { slot, .. } => *slot,
            Adjustment::ClosesAt { .. } | Adjustment::Beacon { .. } => return,
        };
        let Some(places) = self.places.get_mut(&(opening, slot)) else { return };
        match change {
            Adjustment::Quota { quota, .. } => places.quota = i64::from(*quota),
            Adjustment::Reserve { places: reserved, .. } => places.reserved = i64::from(*reserved),
            Adjustment::Halt { halted, .. } => places.halted = *halted,
            Adjustment::ClosesAt { .. } | Adjustment::Beacon { .. } => {}
        }
        let free = places.offered();
        places.free.push((seq, free));
    }
}
