//! A history run against the keeper, its book, and the plain rules.

use std::collections::VecDeque;

use giliran_core::{Book, Decision, FoldError, Keeper, Numbered, Settled};
use giliran_wire::answer::{Phase, Reason};
use giliran_wire::ledger::{Block, Entry, FORMAT, Genesis, Grant, Reading, TakeOver};
use giliran_wire::request::Choice;
use giliran_wire::{
    BlockHash, BookingId, KeyFingerprint, LedgerId, Pseudonym, Text, Timestamp, WriterNonce,
};
use proptest::sample::Index;

use crate::history::{
    Change, ChoiceSpec, OFFICES, OpeningSpec, RequestSpec, SESSIONS, Step, day, opening_record,
    person,
};
use crate::plain::{Expected, Had, Plain, PlainOpening, Request};

/// The engine's part of a history, and the plain rules beside it.
pub(crate) struct World {
    keeper: Keeper,
    plain: Plain,
    now: Timestamp,
    writer: u8,
    queue: VecDeque<Box<Grant>>,
    in_flight: Option<Block>,
    asked: Vec<Request>,
    /// Every block, void ones included.
    ledger: Vec<Vec<u8>>,
    ids: u8,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self {
            keeper: Keeper::new(),
            plain: Plain::default(),
            now: Timestamp::from_millis(1_000),
            writer: 1,
            queue: VecDeque::new(),
            in_flight: None,
            asked: Vec::new(),
            ledger: Vec::new(),
            ids: 0,
        };
        let genesis = Genesis {
            prefix: "giliran.v1".into(),
            applicant_key: KeyFingerprint([7; 16]),
            release: "0".into(),
            continues: None,
        };
        let block = world.block(0, vec![Entry::Genesis(genesis)]);
        world.fold_next(&block);
        world.take_over();
        world
    }

    fn book(&self) -> &Book {
        self.keeper.book()
    }

    fn block(&self, epoch: u64, entries: Vec<Entry>) -> Block {
        let chain = self.keeper.chain();
        Block {
            format: FORMAT,
            ledger: LedgerId([5; 16]),
            generation: 1,
            epoch,
            writer: WriterNonce([self.writer; 16]),
            time: self.now.max(chain.time),
            previous: chain.hash,
            entries,
        }
    }

    /// Appends a block written elsewhere and reads it.
    fn fold_next(&mut self, block: &Block) -> Reading {
        self.ledger.push(block.seal().bytes);
        let seq = self.ledger.len() as u64;
        self.keeper.fold(seq, &self.ledger[seq as usize - 1]).unwrap()
    }

    fn take_over(&mut self) {
        self.writer += 1;
        let block = self.block(self.keeper.chain().epoch + 1, vec![take_over()]);
        self.commit_block(block);
    }

    fn commit_block(&mut self, block: Block) -> Vec<BookingId> {
        let sealed = block.seal();
        self.ledger.push(sealed.bytes);
        let (made, durable) =
            self.keeper.commit(self.ledger.len() as u64, block, sealed.hash).unwrap();
        assert_eq!(durable.position().seq, self.ledger.len() as u64);
        let id = |change: &giliran_core::Change| match change {
            giliran_core::Change::Booking { after, .. } => after.booking.id,
            giliran_core::Change::Entry { waiting, .. } => waiting.entry.receipt,
        };
        made.iter().map(id).collect()
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Ask(spec) => self.ask(self.request(spec)),
            Step::Again(which, change) if !self.asked.is_empty() => {
                let request = changed(which.get(&self.asked).clone(), change);
                self.ask(request);
            }
            Step::Pass(ms) => self.now = self.now.plus_millis(u64::from(ms)),
            Step::Record(spec) if self.in_flight.is_none() => self.record(&spec),
            Step::Write(most) if self.in_flight.is_none() => self.write(most),
            Step::Commit => self.commit(),
            Step::GiveUpBlock => self.give_up_block(),
            Step::GiveUp(which) if !self.queue.is_empty() => {
                let grant = self.queue.remove(which.index(self.queue.len())).unwrap();
                self.book().abandon(&grant);
                self.forget(&grant);
            }
            Step::Void => self.void(),
            Step::Restart => self.restart(),
            Step::Deposed(which) => self.deposed(which),
            _ => {}
        }
        self.check_sums();
    }

    fn request(&self, spec: RequestSpec) -> Request {
        let mut applicants: Vec<Pseudonym> = Vec::new();
        for i in spec.people {
            if !applicants.contains(&person(i)) {
                applicants.push(person(i));
            }
        }
        let opening = spec.opening.map(|i| {
            // One beyond the last, now and then.
            format!("W{}", i.index(8 * self.plain.openings.len() + 1) / 8)
        });
        let target =
            self.plain.openings.iter().rfind(|o| {
                opening.as_ref().map_or(o.phase == Phase::Open, |id| *id == o.record.id)
            });
        let record = &target.unwrap_or(&self.plain.openings[0]).record;
        let choice = |spec: ChoiceSpec| match spec {
            ChoiceSpec::Slot(which, date, session) => {
                let slot = which.get(&record.slots);
                let office = &record.offices[slot.office as usize];
                let session_id = &office.sessions[slot.session as usize].id;
                Choice {
                    office: Text::from(office.id.clone()),
                    date: date.then_some(slot.date),
                    session: session.then(|| Text::from(session_id.clone())),
                }
            }
            ChoiceSpec::Any(office, date, session) => Choice {
                office: Text::from(OFFICES[usize::from(office)]),
                date: date.map(day),
                session: session.map(|i| Text::from(SESSIONS[usize::from(i)])),
            },
        };
        let moment = |ms: i8| Timestamp::from_millis(self.now.as_millis() + i64::from(ms));
        Request {
            request_id: format!("r-{}", spec.request_id),
            applicants,
            choices: spec.choices.into_iter().map(choice).collect(),
            opening,
            expires_at: spec.expires_in.map(moment),
            account: spec.account.map(|i| person(200 + i)),
            vouched: spec.vouched,
        }
    }

    fn ask(&mut self, request: Request) {
        let expected = self.plain.expected(&request, self.now);
        let decision = self.book().decide(&request.ask(), self.now);
        let settled_at = self.ledger.len() as u64;
        let told = match decision {
            Decision::Wait => Expected::Wait,
            Decision::Settled(Settled::Repeat(found, at)) => {
                assert_eq!(at.position().seq, settled_at);
                Expected::Repeat(found.booking.id)
            }
            Decision::Settled(Settled::Refused(refusal, at)) => {
                assert_eq!(at.position().seq, settled_at);
                let speaks = [Reason::UnknownOpening, Reason::UnknownSlot];
                assert!(refusal.detail.is_some() || !speaks.contains(&refusal.reason));
                assert_eq!(refusal.retry_after_ms.is_some(), refusal.reason == Reason::NotOpen);
                Expected::Refused(refusal.reason)
            }
            Decision::Settled(Settled::Entered { .. })
            | Decision::Enter(_)
            | Decision::Ballot(_) => {
                panic!("nobody asked to wait")
            }
            Decision::Granted(grant) => {
                let seats: Vec<_> = grant.seats.iter().map(|seat| seat.applicant).collect();
                assert_eq!(seats, request.applicants);
                let granted =
                    Expected::Granted { opening: grant.opening as usize, slot: grant.slot };
                self.plain.had.push(Had {
                    request: request.clone(),
                    opening: grant.opening as usize,
                    slot: grant.slot,
                    numbers: Vec::new(),
                    booking: None,
                });
                self.queue.push_back(grant);
                granted
            }
        };
        assert_eq!(told, expected, "{request:?}");
        self.asked.push(request);
    }

    fn record(&mut self, spec: &OpeningSpec) {
        let record = opening_record(spec, self.plain.openings.len() as u32, self.now);
        let block =
            self.block(self.keeper.chain().epoch, vec![Entry::Opening(Box::new(record.clone()))]);
        self.commit_block(block);
        self.plain.openings.push(PlainOpening { record, phase: Phase::Scheduled });
    }

    /// What opens, then grants, then what closes, unless grants still wait.
    fn write(&mut self, most: u8) {
        let due = self.keeper.due(self.now);
        let (mut entries, closed): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|entry| matches!(entry, Entry::Opened { .. }));
        let opens = entries.clone();
        for _ in 0..most {
            let Some(mut grant) = self.queue.pop_front() else { break };
            // Few different bits: an id that is taken has to be noticed.
            while self.keeper.number(&mut grant, u128::from(self.ids / 3)) != Numbered::Done {
                self.ids = self.ids.wrapping_add(1);
            }
            let opening = grant.opening as usize;
            let numbers: Vec<u16> = grant.seats.iter().map(|seat| seat.number).collect();
            assert_eq!(
                numbers,
                self.plain.lowest_numbers(opening, grant.slot, numbers.len()),
                "the lowest numbers first"
            );
            self.pending(&grant).numbers = numbers;
            entries.push(Entry::Grant(*grant));
        }
        if self.queue.is_empty() {
            let opens_now = |entry: &Entry| {
                matches!(entry, Entry::Closed { opening }
                    if opens.contains(&Entry::Opened { opening: *opening }))
            };
            entries.extend(closed.into_iter().filter(|entry| !opens_now(entry)));
        }
        self.in_flight = Some(self.block(self.keeper.chain().epoch, entries));
    }

    fn commit(&mut self) {
        let Some(block) = self.in_flight.take() else { return };
        // Something void may have come between.
        let block = Block { time: block.time.max(self.keeper.chain().time), ..block };
        let entries = block.entries.clone();
        let mut ids = self.commit_block(block).into_iter();
        for entry in entries {
            match entry {
                Entry::Grant(grant) => {
                    assert_eq!(ids.next(), Some(grant.booking));
                    self.pending(&grant).booking = Some(grant.booking);
                }
                other => self.turn(&other),
            }
        }
        // Grants decided before the close came too late: what the engine refuses.
        let closed =
            |grant: &Grant| self.plain.openings[grant.opening as usize].phase == Phase::Closed;
        let (late, queue): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.queue).into_iter().partition(|grant| closed(grant));
        self.queue = queue;
        for grant in late {
            self.book().abandon(&grant);
            self.forget(&grant);
        }
    }

    fn turn(&mut self, entry: &Entry) {
        match entry {
            Entry::Opened { opening } => {
                self.plain.openings[*opening as usize].phase = Phase::Open;
            }
            Entry::Closed { opening } => {
                self.plain.openings[*opening as usize].phase = Phase::Closed;
            }
            other => unreachable!("{other:?}"),
        }
    }

    fn give_up_block(&mut self) {
        let Some(block) = self.in_flight.take() else { return };
        for entry in &block.entries {
            self.keeper.abandon(entry);
            if let Entry::Grant(grant) = entry {
                self.forget(grant);
            }
        }
    }

    fn void(&mut self) {
        let mut block = self.block(0, vec![Entry::Opened { opening: 0 }]);
        block.writer = WriterNonce([0; 16]);
        block.previous = BlockHash([9; 32]);
        assert_eq!(self.fold_next(&block), Reading::Void);
    }

    fn restart(&mut self) {
        self.plain.had.retain(|had| had.booking.is_some());
        self.in_flight = None;
        self.queue.clear();
        self.keeper = self.replayed().unwrap();
        self.take_over();
    }

    /// The other writer's grant overrules the own pending one; then all that is
    /// pending is given up, as whoever is deposed does.
    fn deposed(&mut self, which: Index) {
        let granted = (!self.queue.is_empty()).then(|| {
            let mut grant = which.get(self.queue.make_contiguous()).clone();
            let had = self.pending(&grant).clone();
            let opening = had.opening;
            let durably_held: Vec<u16> = self
                .plain
                .had
                .iter()
                .filter(|h| h.booking.is_some() && h.opening == opening && h.slot == had.slot)
                .flat_map(|h| h.numbers.clone())
                .collect();
            let in_block = self.in_flight.iter().flat_map(|block| &block.entries);
            let in_flight: Vec<u16> = in_block
                .filter_map(|entry| match entry {
                    Entry::Grant(g) if (g.opening, g.slot) == (grant.opening, grant.slot) => {
                        Some(g.seats.iter().map(|seat| seat.number))
                    }
                    _ => None,
                })
                .flatten()
                .collect();
            let mut numbers = (1..).filter(|n| !durably_held.contains(n) && !in_flight.contains(n));
            for seat in &mut grant.seats {
                seat.number = numbers.next().unwrap();
            }
            grant.booking = BookingId::from_random(1_000 + self.ledger.len() as u128);
            (*grant, had.request)
        });
        let own = self.writer;
        self.writer = own + 100;
        let epoch = self.keeper.chain().epoch + 1;
        let mut entries = vec![take_over()];
        entries.extend(granted.iter().map(|(grant, _)| Entry::Grant(grant.clone())));
        let block = self.block(epoch, entries);
        assert_eq!(self.fold_next(&block), Reading::Valid);
        self.writer = own;
        self.give_up_block();
        for grant in std::mem::take(&mut self.queue) {
            self.book().abandon(&grant);
            self.forget(&grant);
        }
        if let Some((grant, request)) = granted {
            self.plain.had.push(Had {
                request,
                opening: grant.opening as usize,
                slot: grant.slot,
                numbers: grant.seats.iter().map(|seat| seat.number).collect(),
                booking: Some(grant.booking),
            });
        }
        self.take_over();
    }

    fn replayed(&self) -> Result<Keeper, FoldError> {
        let mut keeper = Keeper::new();
        for (i, bytes) in self.ledger.iter().enumerate() {
            keeper.fold(i as u64 + 1, bytes)?;
        }
        Ok(keeper)
    }

    /// The plain entry of a grant that is not durable.
    fn pending(&mut self, grant: &Grant) -> &mut Had {
        let place = self.place(grant);
        &mut self.plain.had[place]
    }

    fn forget(&mut self, grant: &Grant) {
        let place = self.place(grant);
        self.plain.had.remove(place);
    }

    fn place(&self, grant: &Grant) -> usize {
        self.plain
            .had
            .iter()
            .position(|had| {
                had.booking.is_none()
                    && had.opening == grant.opening as usize
                    && had.request.applicants[0] == grant.seats[0].applicant
            })
            .unwrap()
    }

    /// P11 for every slot; what can be looked up is what the rules say.
    fn check_sums(&self) {
        let openings = self.book().openings();
        for (o, opening) in openings.iter().enumerate() {
            assert_eq!(opening.phase(), self.plain.openings[o].phase);
            for slot in 0..opening.slots() {
                assert_eq!(opening.free(slot), self.plain.free(o, slot, false), "free of {slot}");
                assert_eq!(opening.durably_free(slot), self.plain.free(o, slot, true));
                assert!(opening.free(slot) >= 0);
            }
        }
        let durable: Vec<&Had> = self.plain.had.iter().filter(|h| h.booking.is_some()).collect();
        assert_eq!(self.book().bookings(), durable.len());
    }

    pub(crate) fn check_end(&mut self) {
        self.give_up_block();
        for grant in std::mem::take(&mut self.queue) {
            self.book().abandon(&grant);
            self.forget(&grant);
        }
        self.check_sums();
        let replayed = self.replayed().unwrap();
        assert_eq!(replayed.state_hash(), self.keeper.state_hash());
        let mut restored = Keeper::new();
        let restore = |piece: &giliran_wire::snapshot::Piece| restored.restore(piece.clone());
        replayed.snapshot(restore).unwrap();
        assert_eq!(restored.state_hash(), replayed.state_hash(), "a snapshot says it all");
        assert_eq!(restored.chain(), replayed.chain());
        assert_eq!(replayed.chain(), self.keeper.chain());
        self.check_questions();
        self.check_bookings(&replayed);
    }

    fn check_questions(&self) {
        for who in (0..12).map(person) {
            for (o, opening) in self.plain.openings.iter().enumerate() {
                let has = self
                    .plain
                    .had
                    .iter()
                    .find(|h| h.opening == o && h.request.applicants.contains(&who));
                let (found, at) = self.book().find(&who, &opening.record.id).unwrap();
                assert_eq!(at.position().seq, self.ledger.len() as u64);
                assert_eq!(found.map(|f| f.booking.id), has.and_then(|h| h.booking));
                if let Some(had) = has {
                    let id = had.booking.unwrap();
                    let (by_id, _) = self.book().lookup(&id, &who).unwrap();
                    assert_eq!(by_id.map(|f| f.booking.id), Some(id));
                    let request_id = &had.request.request_id;
                    let (by_request, _) = self
                        .book()
                        .lookup_request(request_id, &who, Some(&opening.record.id))
                        .unwrap();
                    assert_eq!(by_request.map(|f| f.booking.id), Some(id));
                    assert!(self.book().lookup(&id, &person(99)).unwrap().0.is_none());
                }
            }
        }
    }

    /// P1 and P3 on what was made, read from a replay.
    fn check_bookings(&self, replayed: &Keeper) {
        let mut numbers: Vec<(usize, u32, u16)> = Vec::new();
        let mut people: Vec<(usize, Pseudonym)> = Vec::new();
        for had in &self.plain.had {
            let id = had.booking.unwrap();
            let (found, _) = replayed.book().lookup(&id, &had.request.applicants[0]).unwrap();
            let booking = found.unwrap().booking;
            let given: Vec<u16> = booking.seats.iter().map(|seat| seat.number).collect();
            assert_eq!(given, had.numbers);
            assert_eq!((booking.opening as usize, booking.slot), (had.opening, had.slot));
            numbers.extend(given.iter().map(|number| (had.opening, had.slot, *number)));
            people.extend(had.request.applicants.iter().map(|who| (had.opening, *who)));
        }
        for (opening, slot, number) in &numbers {
            let quota = self.plain.openings[*opening].record.slots[*slot as usize].quota;
            assert!((1..=quota).contains(number));
        }
        let (all, places) = (people.len(), numbers.len());
        numbers.sort_unstable();
        numbers.dedup();
        people.sort_unstable();
        people.dedup();
        assert_eq!(numbers.len(), places, "a number twice");
        assert_eq!(people.len(), all, "a person twice");
    }
}

fn take_over() -> Entry {
    Entry::TakeOver(TakeOver { engine: "test".into(), release: "0".into() })
}

fn changed(mut request: Request, change: Change) -> Request {
    match change {
        Change::None => {}
        Change::Expired => request.expires_at = Some(Timestamp::from_millis(0)),
        Change::OtherChoices => request.choices.reverse(),
        Change::OtherId => request.request_id.push('x'),
    }
    request
}
