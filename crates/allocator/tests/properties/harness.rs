//! A history run against the state machine, its allocator and the plain model.

use std::collections::VecDeque;
use std::ops::Range;

use giliran_allocator::{
    Allocator, ChangeKind, ChangeRequest, Decision, Folded, Settled, StagedIn, StateChange,
    StateMachine, WaitlistDraw,
};
use giliran_testkit::{genesis, next_block, take_over};
use giliran_wire::admin::Bookings;
use giliran_wire::answer::{Phase, Reason};
use giliran_wire::ledger::{
    Adjust, Adjustment, Block, Damage, DrawEntryRecord, EncodedGrants, Entry, Grant,
};
use giliran_wire::request::{self, Choice};
use giliran_wire::snapshot::Piece;
use giliran_wire::{BlockHash, BookingId, Pseudonym, Text, Timestamp, WriterNonce};
use proptest::sample::Index;

use crate::history::{
    AdjustSpec, ChoiceSpec, DeedSpec, OFFICES, OpeningSpec, RequestSpec, SESSIONS,
    StateChange as ChangeOutcome, Step, WishSpec, day, opening_record, person,
};
use crate::model::{Expected, Model, Pending, Request};
use crate::model_rules::{ChangeReply, Outcome, Wish};

const BEGIN: &str = "2026-11-21T12:00:00Z";

/// The engine's part of a history, and the plain model beside it.
pub(crate) struct Harness {
    pub(crate) state: StateMachine,
    pub(crate) model: Model,
    pub(crate) now: Timestamp,
    writer: u8,
    pub(crate) queue: VecDeque<giliran_allocator::PendingGrant>,
    /// Changes of bookings that wait for a block.
    pub(crate) wishes: VecDeque<Wish>,
    /// Those who wait for returned places, to be entered.
    pub(crate) entering: VecDeque<(Box<DrawEntryRecord>, Request)>,
    pub(crate) adjusting: Vec<Adjust>,
    pub(crate) authority: Vec<(BookingId, bool)>,
    pub(crate) drawing: Option<WaitlistDraw>,
    /// Its seed, and up to which release it goes.
    pub(crate) seed: ([u8; 32], Timestamp),
    /// The block in flight, and the request that each of its entries serves.
    pub(crate) in_flight: Option<(Block, Vec<Option<Request>>, Range<usize>)>,
    asked: Vec<Request>,
    wished: Vec<Wish>,
    /// Every block, void ones and foreign messages included.
    pub(crate) ledger: Vec<Vec<u8>>,
    /// Sequence of the first foreign message that no valid block follows.
    doubted: Option<u64>,
    pub(crate) ids: u32,
}

/// A block without the grants of this range, and these in the block's form.
fn without(mut block: Block, range: Range<usize>) -> (Block, EncodedGrants) {
    let mut grants = EncodedGrants::new();
    for entry in block.entries.drain(range) {
        let Entry::Grant(grant) = entry else { panic!("staged, and no grant: {entry:?}") };
        grants.push(&grant.borrowed());
    }
    (block, grants)
}

impl Harness {
    pub(crate) fn new() -> Self {
        let mut harness = Self {
            state: StateMachine::new(),
            model: Model::default(),
            now: BEGIN.parse().unwrap(),
            writer: 1,
            queue: VecDeque::new(),
            wishes: VecDeque::new(),
            entering: VecDeque::new(),
            adjusting: Vec::new(),
            authority: Vec::new(),
            drawing: None,
            seed: ([0; 32], Timestamp::from_millis(0)),
            in_flight: None,
            asked: Vec::new(),
            wished: Vec::new(),
            ledger: Vec::new(),
            doubted: None,
            ids: 0,
        };
        let block = harness.block(0, vec![Entry::Genesis(genesis())]);
        harness.fold_next(&block);
        harness.take_over();
        harness
    }

    pub(crate) fn allocator(&self) -> &Allocator {
        self.state.allocator()
    }

    /// Engine time: a clock that was set back makes it stand still.
    pub(crate) fn time(&self) -> Timestamp {
        self.allocator().engine_time(self.now)
    }

    pub(crate) fn block(&self, epoch: u64, entries: Vec<Entry>) -> Block {
        let chain = self.state.chain();
        let (writer, time) = (WriterNonce([self.writer; 16]), self.now.max(chain.time));
        Block { epoch, writer, time, ..next_block(chain, entries) }
    }

    /// The position that answers name: the last one that is beyond doubt.
    pub(crate) fn settled_at(&self) -> u64 {
        self.doubted.map_or(self.ledger.len() as u64, |from| from - 1)
    }

    /// Appends a block written elsewhere and reads it.
    fn fold_next(&mut self, block: &Block) -> Folded {
        self.ledger.push(block.seal().bytes);
        let seq = self.ledger.len() as u64;
        self.state.fold(seq, &self.ledger[seq as usize - 1]).unwrap()
    }

    fn take_over(&mut self) {
        self.writer += 1;
        let block = self.block(self.state.chain().epoch + 1, vec![Entry::TakeOver(take_over())]);
        self.commit_block(block, &[], 0..0);
    }

    /// The own block stands in the ledger; what it changed is what the rules say. The grants
    /// among its entries in `staged` were staged.
    pub(crate) fn commit_block(
        &mut self,
        block: Block,
        requests: &[Option<Request>],
        staged: Range<usize>,
    ) {
        let sealed = block.seal();
        self.ledger.push(sealed.bytes.clone());
        self.doubted = None;
        let seq = self.ledger.len() as u64;
        let (entries, time) = (block.entries.clone(), block.time);
        let (around, grants) = without(block, staged.clone());
        assert!(around.seal_around(staged.start, &grants) == sealed, "encoded one by one");
        let at = StagedIn { at: staged.start, are_told: true };
        let (changes, durable) = self.state.commit_around(seq, around, sealed.hash, at).unwrap();
        assert_eq!(durable.position().seq, seq);
        self.model.end_block();
        self.follow(&entries, requests, time, &changes);
    }

    /// The plain model follows the ledger.
    fn follow(
        &mut self,
        entries: &[Entry],
        requests: &[Option<Request>],
        time: Timestamp,
        changes: &[StateChange],
    ) {
        let mut replies = Vec::new();
        for (i, entry) in entries.iter().enumerate() {
            let request = requests.get(i).cloned().flatten();
            if let (Entry::Grant(grant), Some(_)) = (entry, &request) {
                self.forget(grant);
            }
            replies.extend(self.model.apply(entry, time, request));
        }
        let changed = changes.iter().map(|change| match change {
            StateChange::Booking { kind, before, after, payment, .. } => {
                let booking = &after.booking;
                let before = before.as_ref().map_or(0, |before| before.version);
                assert_eq!(booking.version, before + 1);
                let payment = payment.as_deref().map(str::to_owned);
                ChangeReply { kind: *kind, id: booking.id, version: booking.version, payment }
            }
            StateChange::Entry { kind, waiting, .. } => {
                ChangeReply { kind: *kind, id: waiting.entry.receipt, version: 0, payment: None }
            }
        });
        assert_eq!(changed.collect::<Vec<_>>(), replies);
        self.model.retire(time);
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Ask(spec) => self.ask(self.request(spec)),
            Step::Again(which, change) if !self.asked.is_empty() => {
                let request = changed(which.get(&self.asked).clone(), change);
                self.ask(request);
            }
            Step::Wish(spec) => self.wish(self.wish_of(spec)),
            Step::WishAgain(which) if !self.wished.is_empty() => {
                self.wish(which.get(&self.wished).clone());
            }
            Step::Adjust(opening, slot, spec) => self.adjust(opening, slot, &spec),
            Step::Authority(which, moved) if !self.model.had.is_empty() => {
                self.authority.push((which.get(&self.model.had).id, moved));
            }
            Step::Pass(ms) => self.now = self.now.plus_millis(ms),
            Step::Back(ms) => {
                self.now = Timestamp::from_millis(self.now.as_millis() - ms as i64);
            }
            Step::Record(spec) if self.in_flight.is_none() => self.record(&spec),
            Step::Write(grants, returns) if self.in_flight.is_none() => {
                self.write(grants, usize::from(returns));
            }
            Step::Commit => self.commit(),
            Step::Turn(grants, returns) => {
                if self.in_flight.is_none() {
                    self.write(grants, usize::from(returns));
                }
                self.commit();
            }
            Step::GiveUpBlock => self.give_up_block(),
            Step::GiveUp(which) if !self.queue.is_empty() => {
                let grant = self.queue.remove(which.index(self.queue.len())).unwrap();
                self.give_up(grant);
            }
            Step::Void => self.void(),
            Step::Foreign(bytes, copy) => self.foreign(bytes, copy),
            Step::Restart(snapshot) => self.restart(snapshot),
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
            let there = self.model.openings.iter().enumerate().filter(|(_, o)| !o.retired);
            let mut named: Vec<usize> = there.flat_map(|(o, _)| [o; 8]).collect();
            // One that has retired, or was never there, now and then.
            named.extend([0, self.model.openings.len()]);
            format!("W{}", i.get(&named))
        });
        let target =
            self.model.openings.iter().rfind(|o| {
                opening.as_ref().map_or(o.phase == Phase::Open, |id| *id == o.record.id)
            });
        let record = &target.unwrap_or(&self.model.openings[0]).record;
        let moment = |ms: i8| Timestamp::from_millis(self.now.as_millis() + i64::from(ms));
        Request {
            request_id: format!("r-{}", spec.request_id),
            applicants,
            choices: choices(record, spec.choices),
            opening,
            expires_at: spec.expires_in.map(moment),
            account: spec.account.map(|i| person(200 + i)),
            vouched: spec.vouched,
            wait: spec.wait,
        }
    }

    fn wish_of(&self, spec: WishSpec) -> Wish {
        // Rather one that is live.
        let weight = |live| if live { 4 } else { 1 };
        let bookings = self.model.had.iter().map(|had| (had.id, weight(had.is_live())));
        let entries = self.model.waits.iter().map(|waits| (waits.receipt, weight(waits.live)));
        let all: Vec<BookingId> =
            bookings.chain(entries).flat_map(|(id, times)| vec![id; times]).collect();
        let target = spec.target.filter(|_| !all.is_empty()).map(|which| *which.get(&all));
        let had = self.model.had.iter().find(|had| Some(had.id) == target);
        let waits = target.and_then(|id| self.model.entry(&id));
        let mut people: Vec<Pseudonym> = had.map_or(Vec::new(), |had| {
            had.seats.iter().map(|(who, _)| *who).chain(had.left.iter().copied()).collect()
        });
        people.extend(waits.iter().flat_map(|waits| waits.request.applicants.clone()));
        let applicant = match spec.who {
            Ok(which) if !people.is_empty() => *which.get(&people),
            Ok(_) => person(0),
            Err(anybody) => person(anybody),
        };
        let made_by = had.map(|had| &had.request).or(waits.map(|waits| &waits.request));
        let request_id = match (spec.request_id, made_by) {
            (None, Some(request)) => request.request_id.clone(),
            // Some are ids of requests for bookings as well.
            (Some(number @ 0..2), _) => format!("r-{number}"),
            (number, _) => format!("c-{}", number.unwrap_or(0)),
        };
        let opening = had.map_or(0, |had| had.opening);
        let kind = match spec.kind {
            DeedSpec::Confirm(reference) => {
                ChangeKind::Confirm { reference: reference.map(|i| format!("inv-{i}").into()) }
            }
            DeedSpec::Cancel => ChangeKind::Cancel { applicant },
            DeedSpec::Reschedule(specs) => {
                let choices = choices(&self.model.openings[opening].record, specs);
                let content = request::Reschedule {
                    request_id: Text::from(""),
                    booking: Text::from(""),
                    applicant: Text::from(""),
                    choices: choices.clone(),
                };
                ChangeKind::Reschedule { applicant, content: content.content(), choices }
            }
        };
        Wish { request_id, target, kind }
    }

    /// A change is asked for: what durable facts settle is told at once.
    fn wish(&mut self, wish: Wish) {
        let settled = self.allocator().settled(&wish.ask(), self.time());
        let expected = self.model.settled(&wish, self.time());
        assert_eq!(settled.map(|settled| self.outcome(settled)), expected, "{wish:?}");
        if expected.is_none() {
            self.wishes.push_back(wish.clone());
        }
        self.wished.push(wish);
    }

    pub(crate) fn outcome(&self, settled: Settled) -> Outcome {
        let at_now = |at: giliran_allocator::Durable| {
            assert_eq!(at.position().seq, self.settled_at());
        };
        match settled {
            Settled::Repeat(found, at) => {
                at_now(at);
                Outcome::Repeat(found.booking.id)
            }
            Settled::Entered { waiting, durable, .. } => {
                at_now(durable);
                Outcome::Entered(waiting.entry.receipt)
            }
            Settled::Rejected(rejection, at) => {
                at_now(at);
                assert!(rejection.detail.is_some() || rejection.reason != Reason::WrongState);
                Outcome::Rejected(rejection.reason)
            }
        }
    }

    fn adjust(&mut self, opening: Index, slot: Index, spec: &AdjustSpec) {
        let ordinal = opening.index(self.model.openings.len());
        let slot = slot.index(self.model.openings[ordinal].places.len()) as u32;
        let change = match *spec {
            AdjustSpec::Quota(quota) => Adjustment::Quota { slot, quota },
            AdjustSpec::Reserve(places) => Adjustment::Reserve { slot, places },
            AdjustSpec::Halt(halted) => Adjustment::Halt { slot, halted, bookings: Bookings::Keep },
            AdjustSpec::ClosesAt(ms) => {
                let closes_at = Timestamp::from_millis(self.now.as_millis() + i64::from(ms));
                Adjustment::ClosesAt { closes_at }
            }
        };
        let (operator, reason) = ("op".into(), "why".into());
        self.adjusting.push(Adjust { opening: ordinal as u32, operator, reason, change });
    }

    fn ask(&mut self, request: Request) {
        let expected = self.model.expected(&request, self.time());
        let decision = self.state.allocator().decide(&request.ask(), self.time());
        let settled_at = self.settled_at();
        let got = match decision {
            Decision::Retry => Expected::Wait,
            Decision::Settled(Settled::Repeat(found, at)) => {
                assert_eq!(at.position().seq, settled_at);
                Expected::Repeat(found.booking.id)
            }
            Decision::Settled(Settled::Rejected(rejection, at)) => {
                assert_eq!(at.position().seq, settled_at);
                let speaks = [Reason::UnknownOpening, Reason::UnknownSlot];
                assert!(rejection.detail.is_some() || !speaks.contains(&rejection.reason));
                assert_eq!(rejection.retry_after_ms.is_some(), rejection.reason == Reason::NotOpen);
                Expected::Rejected(rejection.reason)
            }
            Decision::EnterDraw(_) | Decision::DeferToRound(_) => {
                panic!("every opening is first come")
            }
            Decision::Settled(Settled::Entered { waiting, durable, .. }) => {
                assert_eq!(durable.position().seq, settled_at);
                Expected::Entered(waiting.entry.receipt)
            }
            Decision::JoinWaitlist(entry) => {
                let wanted = Expected::Enter(entry.slots.clone());
                // The sequencer lets nobody enter twice at once.
                let enters =
                    |who: &Pseudonym| self.entering.iter().any(|(e, _)| e.applicants.contains(who));
                if !request.applicants.iter().any(enters) {
                    self.entering.push_back((entry, request.clone()));
                }
                wanted
            }
            Decision::Granted(grant) => {
                let seats: Vec<_> = grant.seats.iter().map(|seat| seat.applicant).collect();
                assert_eq!(seats, request.applicants);
                let (opening, slot) = (grant.opening as usize, grant.slot);
                self.model.pending.push(Pending {
                    opening,
                    slot,
                    people: seats,
                    places: grant.seats.len() as i32,
                    account: request.account,
                    request: Some(request.clone()),
                });
                self.queue.push_back(grant);
                Expected::Granted { opening, slot }
            }
        };
        assert_eq!(got, expected, "{request:?}");
        self.asked.push(request);
    }

    fn record(&mut self, spec: &OpeningSpec) {
        let record = opening_record(spec, self.model.openings.len() as u32, self.now);
        let block = self.block(self.state.chain().epoch, vec![Entry::Opening(Box::new(record))]);
        self.commit_block(block, &[], 0..0);
    }

    fn commit(&mut self) {
        let Some((block, requests, staged)) = self.in_flight.take() else { return };
        // Something void may have come between.
        let block = Block { time: block.time.max(self.state.chain().time), ..block };
        self.commit_block(block, &requests, staged);
        // Grants decided before the close came too late: what the engine rejects.
        let closed = |grant: &Grant| {
            let opening = &self.model.openings[grant.opening as usize];
            opening.phase == Phase::Closed && !opening.gives_leftovers()
        };
        let (late, queue): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|grant| closed(&grant.as_grant().to_owned()));
        self.queue = queue;
        for grant in late {
            self.give_up(grant);
        }
    }

    pub(crate) fn give_up(&mut self, grant: giliran_allocator::PendingGrant) {
        self.forget(&grant.as_grant().to_owned());
        drop(grant);
    }

    pub(crate) fn give_up_block(&mut self) {
        let Some((block, requests, staged)) = self.in_flight.take() else { return };
        for (i, (entry, request)) in block.entries.iter().zip(requests).enumerate() {
            if !staged.contains(&i) {
                self.state.abandon(entry);
            }
            if let (Entry::Grant(grant), Some(_)) = (entry, request) {
                self.forget(grant);
            }
        }
        self.state.abandon_staged();
        self.state.end_block();
        self.model.end_block();
        // The draw begins anew, as with the next engine.
        self.drawing = None;
    }

    fn void(&mut self) {
        let mut block = self.block(0, vec![Entry::Opened { opening: 0 }]);
        block.writer = WriterNonce([0; 16]);
        block.previous = BlockHash([9; 32]);
        assert!(matches!(self.fold_next(&block), Folded::Void));
    }

    fn foreign(&mut self, bytes: Vec<u8>, copy: Option<Index>) {
        let bytes = copy.map_or(bytes, |which| which.get(&self.ledger).clone());
        let before = self.state.state_hash();
        self.ledger.push(bytes);
        let seq = self.ledger.len() as u64;
        let folded = self.state.fold(seq, &self.ledger[seq as usize - 1]).unwrap();
        match folded {
            Folded::Applied(_) => panic!("it counts"),
            // A copy of what a writer before has written.
            Folded::Void => {}
            Folded::Foreign(_) => drop(self.doubted.get_or_insert(seq)),
        }
        assert_eq!(self.state.state_hash(), before);
    }

    fn forget_all(&mut self) {
        self.wishes.clear();
        self.entering.clear();
        self.adjusting.clear();
        self.authority.clear();
        self.drawing = None;
    }

    fn restart(&mut self, from_snapshot: bool) {
        self.model.pending.clear();
        self.model.end_block();
        self.in_flight = None;
        self.queue.clear();
        self.forget_all();
        let replayed = self.replayed().unwrap();
        self.state = if from_snapshot { snapshot_of(&replayed) } else { replayed };
        self.take_over();
    }

    /// Another writer takes over, lets a hold end and releases what is due. One of
    /// its grants overrules the own pending one. All that is pending here is given
    /// up, as whoever is deposed does.
    fn deposed(&mut self, which: Index) {
        self.give_up_block();
        let mut entries = vec![Entry::TakeOver(take_over())];
        let mut requests = vec![None];
        let mut other = self.replayed().unwrap();
        let mut bits = 0;
        let mut random = || {
            bits += 1;
            bits
        };
        let time = self.time();
        let returns = other.expiries(time, 2, &mut random).into_iter();
        for entry in returns.chain(other.releases(time, 3)) {
            entries.push(entry);
            requests.push(None);
        }
        let grants = |grant: &Grant| {
            let (opening, places) = (grant.opening as usize, grant.seats.len());
            let there = &self.model.openings[opening];
            (there.phase == Phase::Open || there.gives_leftovers())
                && !there.too_late(grant.slot, time)
                && self.model.has_room(opening, grant.slot, places)
        };
        let granted = (!self.queue.is_empty()).then(|| which.index(self.queue.len()));
        if let Some(i) = granted.filter(|i| grants(&self.queue[*i].as_grant().to_owned())) {
            let mut grant = self.queue[i].as_grant().to_owned();
            let request = self.model.pending[self.place(&grant)].request.clone();
            let (opening, places) = (grant.opening as usize, grant.seats.len());
            let numbers = self.model.lowest_numbers(opening, grant.slot, places);
            for (seat, number) in grant.seats.iter_mut().zip(numbers) {
                seat.number = number;
            }
            grant.booking = BookingId::from_random(1_000_000 + self.ledger.len() as u128);
            grant.hold_expires_at = self.model.openings[opening].hold_end(grant.slot, time);
            // The others' is durable; the own one is given up below.
            self.model.pending.push(self.model.pending[self.place(&grant)].clone());
            entries.push(Entry::Grant(grant));
            requests.push(request);
        }
        let own = self.writer;
        self.writer = own + 100;
        let block = self.block(self.state.chain().epoch + 1, entries);
        self.ledger.push(block.seal().bytes);
        self.doubted = None;
        let seq = self.ledger.len() as u64;
        let folded = self.state.fold(seq, &self.ledger[seq as usize - 1]).unwrap();
        self.follow(&block.entries, &requests, block.time, &folded.changes());
        self.writer = own;
        for grant in std::mem::take(&mut self.queue) {
            self.give_up(grant);
        }
        self.forget_all();
        self.take_over();
    }

    pub(crate) fn replayed(&self) -> Result<StateMachine, Damage> {
        let mut state = StateMachine::new();
        for (i, bytes) in self.ledger.iter().enumerate() {
            state.fold(i as u64 + 1, bytes)?;
        }
        Ok(state)
    }

    pub(crate) fn forget(&mut self, grant: &Grant) {
        let place = self.place(grant);
        self.model.pending.remove(place);
    }

    /// The plain entry of a grant that is not durable.
    fn place(&self, grant: &Grant) -> usize {
        let is_it = |pending: &Pending| {
            pending.request.is_some()
                && pending.opening == grant.opening as usize
                && pending.people[0] == grant.seats[0].applicant
        };
        self.model.pending.iter().position(is_it).unwrap()
    }
}

impl Wish {
    pub(crate) fn ask(&self) -> ChangeRequest {
        ChangeRequest {
            request_id: self.request_id.as_str().into(),
            target: self.target,
            kind: self.kind.clone(),
        }
    }
}

/// The state from its snapshot, whose bookings two threads have read by turns.
pub(crate) fn snapshot_of(state: &StateMachine) -> StateMachine {
    let mut restored = StateMachine::new();
    let (mut restorers, mut section) = (None, 0);
    let take = |piece: &Piece| {
        let Piece::Bookings(bookings) = piece else { return restored.restore(piece.clone()) };
        let restorers = restorers.get_or_insert_with(|| [restored.restorer(), restored.restorer()]);
        section += 1;
        let restorer = &mut restorers[section as usize % 2];
        bookings.iter().try_for_each(|booking| restorer.take(section, booking.borrowed()))
    };
    state.snapshot(take).unwrap();
    restored.take_restored(restorers.into_iter().flatten().collect()).unwrap();
    restored
}

fn choices(
    record: &giliran_wire::ledger::OpeningRecord,
    specs: Vec<ChoiceSpec>,
) -> Vec<Choice<'static>> {
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
    specs.into_iter().map(choice).collect()
}

fn changed(mut request: Request, change: ChangeOutcome) -> Request {
    match change {
        ChangeOutcome::None => {}
        ChangeOutcome::Expired => request.expires_at = Some(Timestamp::from_millis(0)),
        ChangeOutcome::OtherChoices => request.choices.reverse(),
        ChangeOutcome::OtherId => request.request_id.push('x'),
    }
    request
}
