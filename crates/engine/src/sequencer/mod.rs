//! Group commit: the order of the ledger, as a deterministic state machine.
//!
//! Inputs are method calls that carry the time; what is to be done comes out as
//! [`Effect`]s. Nothing here waits, sends or asks a clock, so the same code runs
//! under the simulator.
//!
//! **Exactly one block is in flight.** While it is, grants queue up; when it is
//! known to be in the ledger, the next block takes all that waited. What an
//! append's outcome means is decided by what stands at the sequence after the
//! expected one, never by the outcome's absence:
//!
//! ```text
//!            Append ──▶ stored at the expected place ──▶ commit, answer, next block
//!              ▲  │
//!   same bytes │  ├──▶ no answer, refused ──▶ wait, again (same expected sequence)
//!              │  │
//!              │  └──▶ wrong last sequence ──▶ Read what stands there
//!              │                                 ├── the own bytes ──▶ commit
//!              ├─────────────── nothing yet ◀────┤
//!              └─── skip it, expect the next ◀───┼── void
//!                                                └── a valid foreign block ──▶ deposed
//! ```
//!
//! Where a generation of the ledger is sealed, the next one's begin is written
//! before anything else ([`generation`]).

mod admin;
mod generation;

use std::collections::{HashSet, VecDeque};

pub use admin::{Act, Action, Fate, Report};
use bytes::Bytes;
pub use generation::Continuation;
use giliran_core::{
    Book, Change, ChangeAsk, Changed, Decision, Drawing, Durable, Entered, FoldError, Found,
    Keeper, Numbered, OwnedAsk, Refusal, Settled, Told,
};
use giliran_wire::answer::{Phase, Reason};
use giliran_wire::ledger::{
    BLOCK_OVERHEAD_BYTES, BallotEntry, Block, DrawRecord, Entry, FORMAT, Grant, MAX_BLOCK_BYTES,
    OpeningRecord, Reading, TakeOver,
};
use giliran_wire::{BlockHash, BookingId, Position, Timestamp, WriterNonce};

/// After this an append without outcome is sent again, ms.
pub const APPEND_TIMEOUT_MS: u64 = 2_000;
/// Pause before the first repetition of a refused append, ms; doubles.
pub const BACKOFF_MS: u64 = 50;
/// Longest pause between repetitions, ms.
pub const MAX_BACKOFF_MS: u64 = 1_000;
/// Longest that a request waits behind a block before it is told `busy`, ms.
pub const MAX_PARKED_MS: u64 = 5_000;
/// Most grants and waiting requests before new ones are told `busy`.
pub const MAX_BACKLOG: usize = 131_072;

/// Most bytes of a block that changes of bookings take; the rest is for grants.
const CHANGE_BYTES: usize = 128 * 1024;
/// Most holds that expire in one block, and places that are released: a hundred
/// thousand at once must not keep grants waiting.
const RETURNS_A_BLOCK: usize = 2_048;
/// Most of the waiting that are drawn in one block.
const DRAWN_A_BLOCK: usize = 512;
/// Most entries of those who wait in one block.
const ENTRIES_A_BLOCK: usize = 512;
/// A block that has so many bytes takes no further entry of those who wait: each
/// names every slot that it wants, which may be thousands.
const ENTRIES_UP_TO_BYTES: usize = 256 * 1024;
/// After a take-over nothing expires or is released for so long, ms: the engine
/// before may still refuse people what this would free.
pub const GRACE_MS: u64 = 3_000;
/// A clock that jumps further ahead than this is not followed, ms: no hold ends,
/// nothing is released until it is back, or the engine starts anew.
pub const MAX_JUMP_MS: u64 = 60_000;

/// The present, as the engine's edge knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The clock on the wall; may jump.
    pub wall: Timestamp,
    /// Milliseconds on a clock that never runs backwards.
    pub mono_ms: u64,
}

/// What is to be done.
#[derive(Debug)]
pub enum Effect<T> {
    /// Append these bytes to the ledger.
    Append {
        /// Comes back with the outcome; other attempts' outcomes do not count.
        attempt: u64,
        /// Whose stream.
        generation: u32,
        /// `Nats-Expected-Last-Sequence`.
        expected_last: u64,
        /// The block.
        bytes: Bytes,
    },
    /// Read what stands in the ledger at `seq`, through its leader.
    Read {
        /// Comes back with the result.
        attempt: u64,
        /// Whose stream.
        generation: u32,
        /// Where.
        seq: u64,
    },
    /// Tell a requester.
    Answer {
        /// Whom.
        ticket: T,
        /// The request's id, where the outcome does not hold it.
        request_id: Option<Box<str>>,
        /// What.
        outcome: Outcome,
    },
    /// The take-over stands: requests may be decided.
    Active(Position),
    /// Nothing is in flight any more and nothing will be.
    Idle(Why),
}

/// Why a sequencer became idle.
#[derive(Debug)]
pub enum Why {
    /// Everything is committed; asked to finish.
    Finished,
    /// Another writer has taken over.
    Deposed,
    /// The ledger is damaged, or written by a later release.
    Damaged(FoldError),
}

/// What a requester is told.
#[derive(Debug)]
pub enum Outcome {
    /// Granted in a block that is now durable.
    Granted(Found, Durable),
    /// A change of a booking is durable: the booking as it stands.
    Changed(Found, Durable),
    /// An entry into the next release's draw is durable, or its withdrawal.
    Entered(Entered, Durable),
    /// Settled from durable facts.
    Settled(Settled),
    /// An operator's action is durable.
    Adjusted(Box<admin::Report>, Durable),
    /// An operator's action cannot be done.
    NotAdjusted(Refusal, Durable),
    /// Waited too long; settles nothing.
    Busy,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Stored at this sequence.
    Stored {
        /// Where.
        seq: u64,
    },
    /// The ledger's last sequence was another (error 10071).
    WrongLastSequence,
    /// Refused for another reason; may still be stored later.
    Refused,
}

/// What a read brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// This stands there.
    Found(Bytes),
    /// Nothing stands there yet.
    Nothing,
    /// Could not be read.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The take-over is on its way.
    Candidate,
    Active,
    /// No new requests; the queue is still committed.
    Finishing,
    /// No new blocks; only the one in flight is brought to its end.
    Retiring,
    Idle,
}

#[derive(Debug)]
struct InFlight<T> {
    block: Block,
    hash: BlockHash,
    bytes: Bytes,
    /// One per grant of the block that a request is waiting for, in order.
    tickets: Vec<T>,
    /// What is told of the rest.
    told: Vec<(T, Box<str>, Told)>,
    /// Operators' actions.
    adjusted: Vec<admin::Job<T>>,
    expected_last: u64,
    /// The attempt whose outcome counts.
    attempt: u64,
    step: Step,
    backoff_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Sent or being read; again at `until_ms`.
    Asked { until_ms: u64 },
    /// To be sent again at `until_ms`.
    Pausing { until_ms: u64 },
}

#[derive(Debug)]
struct Parked<T> {
    ask: OwnedAsk,
    ticket: T,
    since_ms: u64,
}

/// A change of a booking that waits for its block.
#[derive(Debug)]
struct Waiting<T> {
    ask: ChangeAsk,
    ticket: T,
    since_ms: u64,
}

/// The next block's content.
#[derive(Debug)]
struct Gathered<T> {
    entries: Vec<Entry>,
    bytes: usize,
    tickets: Vec<T>,
    told: Vec<(T, Box<str>, Told)>,
    adjusted: Vec<admin::Job<T>>,
}

impl<T> Gathered<T> {
    const fn new() -> Self {
        Self {
            entries: Vec::new(),
            bytes: BLOCK_OVERHEAD_BYTES,
            tickets: Vec::new(),
            told: Vec::new(),
            adjusted: Vec::new(),
        }
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry_bytes(&entry);
        self.entries.push(entry);
    }
}

/// The wall clock, held against one that cannot jump.
#[derive(Debug, Clone, Copy)]
struct Clock {
    wall: Timestamp,
    mono_ms: u64,
    /// It is too far ahead to be believed.
    ahead: bool,
}

impl Clock {
    /// The time to go by.
    fn look(&mut self, now: Now) -> Timestamp {
        let expected = self.wall.plus_millis(now.mono_ms.saturating_sub(self.mono_ms));
        self.ahead = now.wall.millis_since(expected) > MAX_JUMP_MS;
        if self.ahead {
            return expected;
        }
        // One that is behind is not followed either; engine time stands still.
        if expected.millis_since(now.wall) <= MAX_JUMP_MS {
            *self = Self { wall: now.wall, mono_ms: now.mono_ms, ahead: false };
        }
        now.wall
    }
}

/// The one writer of the ledger. `T` is whatever finds the requester again.
pub struct Sequencer<T> {
    keeper: Keeper,
    state: State,
    epoch: u64,
    writer: WriterNonce,
    random: Box<dyn FnMut() -> u128 + Send>,
    openings: VecDeque<OpeningRecord>,
    queue: VecDeque<(Box<Grant>, T)>,
    parked: Vec<Parked<T>>,
    /// Changes of bookings, in the order they came.
    changes: VecDeque<Waiting<T>>,
    /// Those who wait for returned places, to be entered.
    entering: VecDeque<(Box<BallotEntry>, T)>,
    /// Operators' actions, in the order they came.
    admin: VecDeque<admin::Job<T>>,
    /// The draw that is going on.
    drawing: Option<Drawing>,
    clock: Clock,
    /// Nothing expires before this, on the monotonic clock.
    grace_until_ms: u64,
    /// Granted by a thread that did not know yet that the opening closes.
    late: Vec<(Box<str>, T)>,
    in_flight: Option<InFlight<T>>,
    /// Stands in the ledger before anything else of this term.
    take_over: Option<TakeOver>,
    roll: generation::Roll<T>,
    attempts: u64,
    effects: Vec<Effect<T>>,
}

impl<T> Sequencer<T> {
    /// A candidate that takes the ledger over from where `keeper` has read it.
    ///
    /// `random` supplies booking ids: it has to be unguessable. `next`: how
    /// the ledger goes on, should it be sealed already.
    pub fn take_over(
        keeper: Keeper,
        writer: WriterNonce,
        take_over: TakeOver,
        random: Box<dyn FnMut() -> u128 + Send>,
        next: Continuation,
        now: Now,
    ) -> Self {
        let mut sequencer = Self {
            state: State::Candidate,
            epoch: keeper.chain().epoch + 1,
            writer,
            random,
            openings: VecDeque::new(),
            queue: VecDeque::new(),
            parked: Vec::new(),
            changes: VecDeque::new(),
            entering: VecDeque::new(),
            admin: VecDeque::new(),
            drawing: None,
            clock: Clock { wall: now.wall, mono_ms: now.mono_ms, ahead: false },
            grace_until_ms: now.mono_ms + GRACE_MS,
            late: Vec::new(),
            in_flight: None,
            take_over: Some(take_over),
            roll: generation::Roll::new(next),
            attempts: 0,
            effects: Vec::new(),
            keeper,
        };
        sequencer.pump(now);
        sequencer
    }

    /// The shared state that requests are decided on.
    pub fn book(&self) -> &std::sync::Arc<Book> {
        self.keeper.book()
    }

    /// The state's keeper.
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// The keeper, for the follower that this engine becomes. Whatever was not
    /// durable is given back.
    pub fn into_keeper(mut self) -> Keeper {
        self.drop_pending();
        self.keeper
    }

    /// True while requests may be decided.
    pub fn is_active(&self) -> bool {
        self.state == State::Active
    }

    /// Grants and requests that wait; beyond [`MAX_BACKLOG`] new ones are to be
    /// told `busy`.
    pub fn backlog(&self) -> usize {
        self.queue.len()
            + self.parked.len()
            + self.changes.len()
            + self.entering.len()
            + self.in_flight.as_ref().map_or(0, |flight| flight.tickets.len())
    }

    /// Grants in the block in flight.
    pub fn in_flight(&self) -> Option<usize> {
        self.in_flight.as_ref().map(|flight| flight.tickets.len())
    }

    /// Takes what is to be done since the last call, in order.
    pub fn effects(&mut self) -> Vec<Effect<T>> {
        std::mem::take(&mut self.effects)
    }

    /// Puts openings on record, as soon as a block can take them. The caller
    /// has made sure that their ids are new.
    pub fn record_openings(&mut self, openings: Vec<OpeningRecord>, now: Now) {
        self.openings.extend(openings);
        self.pump(now);
    }

    /// True if an opening of this id is on record or about to be.
    pub fn knows_opening(&self, id: &str) -> bool {
        let being_written = self.in_flight.iter().flat_map(|flight| &flight.block.entries);
        self.keeper.knows_opening(id)
            || self.openings.iter().any(|o| o.id == id)
            || being_written.into_iter().any(|e| matches!(e, Entry::Opening(o) if o.id == id))
    }

    /// Grants that were decided, in the order they are to stand in the ledger,
    /// and requests that must wait.
    pub fn decided(
        &mut self,
        granted: impl IntoIterator<Item = (Box<Grant>, T)>,
        waiting: impl IntoIterator<Item = (OwnedAsk, T)>,
        now: Now,
    ) {
        for (grant, ticket) in granted {
            self.enqueue(grant, ticket);
        }
        if self.state == State::Active {
            let park = |(ask, ticket)| Parked { ask, ticket, since_ms: now.mono_ms };
            self.parked.extend(waiting.into_iter().map(park));
        }
        self.pump(now);
    }

    /// Changes of bookings, in the order they came.
    pub fn changes(&mut self, asked: impl IntoIterator<Item = (ChangeAsk, T)>, now: Now) {
        if self.state == State::Active {
            let since_ms = now.mono_ms;
            let wait = |(ask, ticket)| Waiting { ask, ticket, since_ms };
            self.changes.extend(asked.into_iter().map(wait));
        }
        self.pump(now);
    }

    /// An operator's action.
    pub fn admin(&mut self, action: admin::Action, ticket: T, now: Now) {
        if self.state == State::Active {
            self.admin.push_back(admin::Job::new(action, ticket));
        }
        self.pump(now);
    }

    /// True while the clock is too far ahead of what passed since the take-over
    /// to be believed: nothing expires meanwhile.
    pub fn clock_is_ahead(&self) -> bool {
        self.clock.ahead
    }

    /// The time to go by instead of the wall clock's.
    pub fn time(&self, now: Now) -> Timestamp {
        let mut clock = self.clock;
        clock.look(now)
    }

    /// The outcome of an append.
    pub fn appended(&mut self, attempt: u64, outcome: Appended, now: Now) {
        let Some(flight) = self.in_flight.as_mut().filter(|f| f.attempt == attempt) else {
            return;
        };
        let place = flight.expected_last + 1;
        match outcome {
            Appended::Stored { seq } if seq == place => self.commit(now),
            // A place that was not asked for says nothing; what stands there does.
            Appended::Stored { .. } | Appended::WrongLastSequence => self.read_place(now),
            Appended::Refused => self.pause(now),
        }
    }

    /// The result of a read.
    pub fn read(&mut self, attempt: u64, read: &Read, now: Now) {
        let Some(flight) = self.in_flight.as_mut().filter(|f| f.attempt == attempt) else {
            return;
        };
        let place = flight.expected_last + 1;
        let found = match read {
            Read::Found(bytes) if *bytes == flight.bytes => return self.commit(now),
            Read::Found(bytes) => bytes,
            // A tail that has not moved proves nothing: the append may still come.
            Read::Nothing | Read::Failed => return self.pause(now),
        };
        let mut probe = self.keeper.chain().clone();
        match probe.read_bytes(place, found) {
            Ok((_, Reading::Void)) => match self.keeper.fold(place, found) {
                Ok(_) => self.resend(now),
                Err(damage) => self.stop(Why::Damaged(damage)),
            },
            Ok((_, Reading::Valid)) => self.stop(Why::Deposed),
            Err(damage) => self.stop(Why::Damaged(damage.into())),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now) {
        match self.in_flight.as_ref().map(|flight| flight.step) {
            Some(Step::Asked { until_ms } | Step::Pausing { until_ms })
                if until_ms <= now.mono_ms =>
            {
                self.resend(now);
            }
            _ => {}
        }
        self.give_up_waiting(now);
        self.pump(now);
    }

    /// When [`tick`](Self::tick) is needed next, on the monotonic clock.
    pub fn next_tick_ms(&self, now: Now) -> Option<u64> {
        let flight = self.in_flight.as_ref().map(|flight| match flight.step {
            Step::Asked { until_ms } | Step::Pausing { until_ms } => until_ms,
        });
        let due = self
            .keeper
            .next_due()
            .filter(|_| self.state == State::Active)
            .map(|at| now.mono_ms + at.millis_since(self.book().engine_time(self.time(now))));
        // A waiting request with nothing in flight met another thread's claim.
        let parked = (!self.parked.is_empty())
            .then_some(now.mono_ms + if self.in_flight.is_some() { 100 } else { 1 });
        let due = due.filter(|_| self.in_flight.is_none());
        let engine_time = self.book().engine_time(self.time(now));
        let returned = self
            .keeper
            .next_return()
            .filter(|_| self.state == State::Active && self.in_flight.is_none())
            .map(|at| (now.mono_ms + at.millis_since(engine_time)).max(self.grace_until_ms));
        // A clock that is ahead is looked at now and then.
        let returned = returned.map(|at| if self.clock.ahead { now.mono_ms + 1_000 } else { at });
        let changes =
            (!self.changes.is_empty() && self.in_flight.is_none()).then_some(now.mono_ms + 1);
        [flight, due, parked, returned, changes].into_iter().flatten().min()
    }

    /// Takes no more requests, commits what is queued, then becomes idle.
    pub fn finish(&mut self, now: Now) {
        if self.state == State::Active {
            self.state = State::Finishing;
            for parked in std::mem::take(&mut self.parked) {
                self.answer_parked(parked, Outcome::Busy);
            }
            let entering = std::mem::take(&mut self.entering).into_iter().map(|(_, ticket)| ticket);
            for ticket in entering.chain(self.roll.take_tickets()) {
                self.effects.push(Effect::Answer {
                    ticket,
                    request_id: None,
                    outcome: Outcome::Busy,
                });
            }
        } else {
            self.retire();
        }
        self.pump(now);
        self.idle_if_done();
    }

    /// Writes no new block: another engine may. The one in flight is brought to
    /// its end, since its grants may be durable.
    pub fn retire(&mut self) {
        if self.state != State::Idle {
            self.state = State::Retiring;
            self.drop_queue();
            self.idle_if_done();
        }
    }

    fn enqueue(&mut self, grant: Box<Grant>, ticket: T) {
        if !matches!(self.state, State::Active | State::Finishing) {
            self.keeper.book().abandon(&grant);
            return;
        }
        let ordinal = grant.opening;
        let openings = self.keeper.book().openings();
        let closed = openings.get(ordinal).is_none_or(|o| o.phase() == Phase::Closed);
        let closing = self.in_flight.as_ref().is_some_and(|flight| {
            flight
                .block
                .entries
                .iter()
                .rev()
                .take_while(|entry| matches!(entry, Entry::Closed { .. }))
                .any(|entry| *entry == Entry::Closed { opening: ordinal })
        });
        if closed || closing {
            self.keeper.book().abandon(&grant);
            self.late.push((grant.request_id.into_boxed_str(), ticket));
        } else {
            self.queue.push_back((grant, ticket));
        }
    }

    /// Decides again what waited, and sends the next block if none is in flight.
    fn pump(&mut self, now: Now) {
        if self.in_flight.is_some() || matches!(self.state, State::Retiring | State::Idle) {
            return;
        }
        if self.begin_generation(now) {
            return;
        }
        if let Some(take_over) = self.take_over.take() {
            let mut first = Gathered::new();
            first.push(Entry::TakeOver(take_over));
            return self.send(first, now.wall, now);
        }
        if self.seal(now) {
            return;
        }
        self.answer_late();
        let time = self.clock.look(now);
        let time = self.keeper.book().engine_time(time);
        self.decide_parked(time);
        let gathered = self.gather(time, now);
        if gathered.entries.is_empty() {
            // Actions that had nothing left to put on record.
            let durable = self.keeper.durable();
            self.adjusted(gathered.adjusted, durable);
            self.idle_if_done();
        } else {
            self.send(gathered, time, now);
        }
    }

    fn decide_parked(&mut self, time: Timestamp) {
        for parked in std::mem::take(&mut self.parked) {
            match self.keeper.book().decide(&parked.ask.ask(), time) {
                Decision::Settled(settled) => {
                    self.answer_parked(parked, Outcome::Settled(settled));
                }
                Decision::Granted(grant) => self.enqueue(grant, parked.ticket),
                Decision::Enter(entry) if self.entering.len() < ENTRIES_A_BLOCK => {
                    // Somebody of the party may be entering by another request.
                    let person =
                        |who| self.entering.iter().any(|(e, _)| e.applicants.contains(who));
                    if entry.applicants.iter().any(person) {
                        self.parked.push(parked);
                    } else {
                        self.entering.push_back((entry, parked.ticket));
                    }
                }
                Decision::Enter(_) | Decision::Wait => self.parked.push(parked),
            }
        }
    }

    /// What the next block holds: openings, then what opens, then changes of
    /// bookings and what time brings, then grants in order, then what operators
    /// adjust, then what closes once every grant before it is in.
    fn gather(&mut self, time: Timestamp, now: Now) -> Gathered<T> {
        let mut block = Gathered::new();
        while let Some(opening) = self.openings.pop_front() {
            let ordinal = self.keeper.next_ordinal() + block.entries.len() as u32;
            let record = OpeningRecord { ordinal, ..opening };
            let entry = Entry::Opening(Box::new(record));
            if block.bytes + entry_bytes(&entry) > MAX_BLOCK_BYTES && !block.entries.is_empty() {
                if let Entry::Opening(record) = entry {
                    self.openings.push_front(*record);
                }
                return block;
            }
            block.push(entry);
        }
        if block.bytes > CHANGE_BYTES {
            return block;
        }
        let due = self.keeper.due(time);
        let (opened, closed): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|entry| matches!(entry, Entry::Opened { .. }));
        // An opening that was missed altogether opens in one block and closes
        // in a later one.
        let opening_now = |entry: &Entry| {
            matches!(entry, Entry::Closed { opening }
                if opened.contains(&Entry::Opened { opening: *opening }))
        };
        let closed: Vec<_> = closed.into_iter().filter(|entry| !opening_now(entry)).collect();
        block.bytes += 8 * closed.len();
        opened.into_iter().for_each(|entry| block.push(entry));
        self.gather_changes(&mut block, time);
        self.gather_returns(&mut block, time, now);
        self.gather_entries(&mut block);
        self.gather_jobs(&mut block, time);
        // Their room is kept, so that grants which fill block after block do not
        // keep an operator waiting; they stand after the grants, whose numbers were
        // given without them.
        let adjustments = self.gather_adjustments(&mut block);
        let all_in = self.gather_grants(&mut block, time);
        block.entries.extend(adjustments);
        if all_in {
            block.entries.extend(closed);
        }
        block
    }

    fn gather_changes(&mut self, block: &mut Gathered<T>, time: Timestamp) {
        let most = block.bytes + CHANGE_BYTES;
        for _ in 0..self.changes.len() {
            if block.bytes > most {
                return;
            }
            let Some(waiting) = self.changes.pop_front() else { return };
            match self.keeper.change(&waiting.ask, time, &mut *self.random) {
                Changed::Settled(settled) => {
                    let request_id = Some(waiting.ask.request_id);
                    let outcome = Outcome::Settled(settled);
                    self.effects.push(Effect::Answer {
                        ticket: waiting.ticket,
                        request_id,
                        outcome,
                    });
                }
                Changed::Entry(entry, told) => {
                    block.push(*entry);
                    block.told.push((waiting.ticket, waiting.ask.request_id, told));
                }
                Changed::Wait => self.changes.push_back(waiting),
            }
        }
    }

    /// Holds that end, places that are released, the draw that is due.
    fn gather_returns(&mut self, block: &mut Gathered<T>, time: Timestamp, now: Now) {
        let graced = now.mono_ms < self.grace_until_ms;
        if graced || self.clock.ahead || self.state != State::Active {
            return;
        }
        let expiries = self.keeper.expiries(time, RETURNS_A_BLOCK, &mut *self.random);
        let releases = self.keeper.releases(time, RETURNS_A_BLOCK);
        expiries.into_iter().chain(releases).for_each(|entry| block.push(entry));
        if self.drawing.is_none() {
            let mut seed = [0; 32];
            seed[..16].copy_from_slice(&(self.random)().to_le_bytes());
            seed[16..].copy_from_slice(&(self.random)().to_le_bytes());
            self.drawing = self.keeper.drawing(time, seed);
        }
        let Some(drawing) = &mut self.drawing else { return };
        match self.keeper.draw(drawing, time, DRAWN_A_BLOCK) {
            Some(entries) => entries.into_iter().for_each(|entry| block.push(entry)),
            None => self.drawing = None,
        }
    }

    fn gather_entries(&mut self, block: &mut Gathered<T>) {
        while block.bytes < ENTRIES_UP_TO_BYTES
            && let Some((mut entry, ticket)) = self.entering.pop_front()
        {
            let entered = loop {
                match self.keeper.enter(&mut entry, (self.random)()) {
                    Some(false) => {}
                    done => break done.is_some(),
                }
            };
            if entered {
                let request_id = entry.request_id.as_str().into();
                block.told.push((ticket, request_id, Told::Entry(entry.receipt)));
                block.push(Entry::Draw(DrawRecord::Entered(entry)));
            } else {
                let request_id = Some(entry.request_id.into_boxed_str());
                self.effects.push(Effect::Answer { ticket, request_id, outcome: Outcome::Busy });
            }
        }
    }

    /// False: the block is full and grants still wait.
    fn gather_grants(&mut self, block: &mut Gathered<T>, time: Timestamp) -> bool {
        let openings = self.keeper.book().openings();
        let mut holds = None;
        while let Some((mut grant, ticket)) = self.queue.pop_front() {
            let bytes = grant_bytes(&grant) + 8;
            if block.bytes + bytes > MAX_BLOCK_BYTES {
                self.queue.push_front((grant, ticket));
                return false;
            }
            let hold_ms = match holds {
                Some((ordinal, hold_ms)) if ordinal == grant.opening => hold_ms,
                _ => {
                    let opening = openings.get(grant.opening);
                    let hold_ms = opening.and_then(|o| o.record().rules.hold_ms);
                    holds = Some((grant.opening, hold_ms));
                    hold_ms
                }
            };
            let numbered = loop {
                match self.keeper.number(&mut grant, (self.random)()) {
                    Numbered::Done => break true,
                    Numbered::IdTaken => {}
                    Numbered::NoRoom => break false,
                }
            };
            if !numbered {
                // An operator has taken the place away meanwhile; another try is
                // decided on what is left.
                self.keeper.book().abandon(&grant);
                let request_id = Some(grant.request_id.into_boxed_str());
                self.effects.push(Effect::Answer { ticket, request_id, outcome: Outcome::Busy });
                continue;
            }
            grant.hold_expires_at = hold_ms.map(|ms| time.plus_millis(ms));
            block.bytes += bytes;
            block.entries.push(Entry::Grant(*grant));
            block.tickets.push(ticket);
        }
        true
    }

    /// Brings a block onto its way. Its time is the later of this one and the last
    /// block's, but for seals and begins.
    fn send(&mut self, gathered: Gathered<T>, time: Timestamp, now: Now) {
        let chain = self.keeper.chain();
        // A generation's begin is the writer's who sealed the one before, whoever
        // appends it: the same bytes.
        let (epoch, writer, time) = if chain.is_open() {
            (self.epoch, self.writer, time.max(chain.time))
        } else {
            (chain.epoch, chain.writer, chain.time)
        };
        let block = Block {
            format: FORMAT,
            ledger: chain.ledger.expect("a ledger is taken over after its genesis is read"),
            generation: self.generation(),
            epoch,
            writer,
            time,
            previous: chain.hash,
            entries: gathered.entries,
        };
        let sealed = block.seal();
        self.in_flight = Some(InFlight {
            block,
            hash: sealed.hash,
            bytes: sealed.bytes.into(),
            tickets: gathered.tickets,
            told: gathered.told,
            adjusted: gathered.adjusted,
            expected_last: 0,
            attempt: 0,
            step: Step::Pausing { until_ms: now.mono_ms },
            backoff_ms: BACKOFF_MS,
        });
        self.resend(now);
    }

    /// Sends the same bytes, expecting the last sequence read.
    fn resend(&mut self, now: Now) {
        let (generation, expected_last) = (self.generation(), self.expected_last());
        self.attempts += 1;
        let attempt = self.attempts;
        if let Some(flight) = &mut self.in_flight {
            flight.expected_last = expected_last;
            flight.attempt = attempt;
            flight.step = Step::Asked { until_ms: now.mono_ms + APPEND_TIMEOUT_MS };
            let bytes = flight.bytes.clone();
            self.effects.push(Effect::Append { attempt, generation, expected_last, bytes });
        }
    }

    fn read_place(&mut self, now: Now) {
        let generation = self.generation();
        self.attempts += 1;
        if let Some(flight) = &mut self.in_flight {
            flight.attempt = self.attempts;
            flight.step = Step::Asked { until_ms: now.mono_ms + APPEND_TIMEOUT_MS };
            let (attempt, seq) = (flight.attempt, flight.expected_last + 1);
            self.effects.push(Effect::Read { attempt, generation, seq });
        }
    }

    fn pause(&mut self, now: Now) {
        if let Some(flight) = &mut self.in_flight {
            flight.step = Step::Pausing { until_ms: now.mono_ms + flight.backoff_ms };
            flight.backoff_ms = (flight.backoff_ms * 2).min(MAX_BACKOFF_MS);
        }
    }

    /// The block in flight stands in the ledger: its facts count from here on.
    fn commit(&mut self, now: Now) {
        let Some(flight) = self.in_flight.take() else { return };
        let seq = flight.expected_last + 1;
        let drawn = drawn(&flight.block.entries);
        let (changes, durable) = match self.keeper.commit(seq, flight.block, flight.hash) {
            Ok(committed) => committed,
            Err(damage) => return self.stop(Why::Damaged(damage)),
        };
        if self.state == State::Candidate && self.keeper.chain().epoch == self.epoch {
            self.state = State::Active;
            self.effects.push(Effect::Active(durable.position()));
        }
        self.generation_begun(durable);
        // As things stand with this block; the next one may change them again.
        let told: Vec<_> = flight
            .told
            .into_iter()
            .map(|(ticket, id, told)| self.tell(ticket, id, told, durable))
            .collect();
        self.adjusted(flight.adjusted, durable);
        // The next block leaves before this one's answers are written.
        self.pump(now);
        self.effects.extend(told);
        if !flight.tickets.is_empty() {
            let granted = changes.into_iter().filter_map(|change| match change {
                Change::Booking { before: None, after, .. } => Some(after),
                Change::Booking { .. } | Change::Entry { .. } => None,
            });
            let granted = granted.filter(|found| !drawn.contains(&found.booking.id));
            for (found, ticket) in granted.zip(flight.tickets) {
                let outcome = Outcome::Granted(found, durable);
                self.effects.push(Effect::Answer { ticket, request_id: None, outcome });
            }
        }
        self.idle_if_done();
    }

    fn tell(&self, ticket: T, request_id: Box<str>, told: Told, durable: Durable) -> Effect<T> {
        let outcome = match told {
            Told::Booking(id) => {
                self.keeper.found(&id).map(|found| Outcome::Changed(found, durable))
            }
            Told::Entry(id) => {
                let entered = self.keeper.book().entry(&id);
                entered.map(|entered| Outcome::Entered(entered, durable))
            }
            Told::Refused(refusal) => Some(Outcome::Settled(Settled::Refused(refusal, durable))),
        };
        // What has retired with this very block is not there any more.
        let outcome = outcome.unwrap_or(Outcome::Busy);
        Effect::Answer { ticket, request_id: Some(request_id), outcome }
    }

    /// Grants that came after the opening's close entered a block: refused once
    /// that close is durable.
    fn answer_late(&mut self) {
        for (request_id, ticket) in std::mem::take(&mut self.late) {
            let refusal = Refusal { reason: Reason::Closed, detail: None, retry_after_ms: None };
            let outcome = Outcome::Settled(Settled::Refused(refusal, self.keeper.durable()));
            let request_id = Some(request_id);
            self.effects.push(Effect::Answer { ticket, request_id, outcome });
        }
    }

    fn give_up_waiting(&mut self, now: Now) {
        let time = self.keeper.book().engine_time(self.time(now));
        let gone = |parked: &Parked<T>| {
            parked.ask.expires_at().is_some_and(|deadline| deadline <= time)
                || now.mono_ms.saturating_sub(parked.since_ms) > MAX_PARKED_MS
        };
        let late =
            |waiting: &Waiting<T>| now.mono_ms.saturating_sub(waiting.since_ms) > MAX_PARKED_MS;
        if self.changes.iter().any(late) {
            for waiting in std::mem::take(&mut self.changes) {
                if late(&waiting) {
                    let request_id = Some(waiting.ask.request_id);
                    let outcome = Outcome::Busy;
                    self.effects.push(Effect::Answer {
                        ticket: waiting.ticket,
                        request_id,
                        outcome,
                    });
                } else {
                    self.changes.push_back(waiting);
                }
            }
        }
        if !self.parked.iter().any(gone) {
            return;
        }
        let (given_up, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.parked).into_iter().partition(gone);
        self.parked = waiting;
        for parked in given_up {
            self.answer_parked(parked, Outcome::Busy);
        }
    }

    fn answer_parked(&mut self, parked: Parked<T>, outcome: Outcome) {
        let request_id = Some(parked.ask.request_id().into());
        self.effects.push(Effect::Answer { ticket: parked.ticket, request_id, outcome });
    }

    /// Ends for good; what was not durable is given back unanswered.
    fn stop(&mut self, why: Why) {
        self.state = State::Idle;
        self.drop_pending();
        self.effects.push(Effect::Idle(why));
    }

    fn idle_if_done(&mut self) {
        let done = match self.state {
            State::Finishing => {
                self.queue.is_empty() && self.changes.is_empty() && self.keeper.chain().is_open()
            }
            State::Retiring => true,
            _ => false,
        };
        if done && self.in_flight.is_none() {
            self.state = State::Idle;
            self.effects.push(Effect::Idle(Why::Finished));
        }
    }

    fn drop_pending(&mut self) {
        if let Some(flight) = self.in_flight.take() {
            flight.block.entries.iter().for_each(|entry| self.keeper.abandon(entry));
        }
        self.keeper.end_block();
        self.drop_queue();
    }

    fn drop_queue(&mut self) {
        for (grant, _) in std::mem::take(&mut self.queue) {
            self.keeper.book().abandon(&grant);
        }
        self.parked.clear();
        self.changes.clear();
        self.entering.clear();
        self.admin.clear();
        self.drawing = None;
        self.late.clear();
        self.openings.clear();
        self.roll.clear();
    }
}

/// Bookings that a draw of this block makes: no request waits for them.
fn drawn(entries: &[Entry]) -> HashSet<BookingId> {
    let mut inside = false;
    let mut drawn = HashSet::new();
    for entry in entries {
        match entry {
            Entry::Draw(DrawRecord::Drawing { .. }) => inside = true,
            Entry::Draw(DrawRecord::Drawn { .. }) => inside = false,
            Entry::Grant(grant) if inside => {
                drawn.insert(grant.booking);
            }
            _ => {}
        }
    }
    drawn
}

/// Bytes an entry takes in a block.
fn entry_bytes(entry: &Entry) -> usize {
    let mut bytes = Vec::new();
    giliran_wire::codec::encode_into(entry, &mut bytes);
    bytes.len()
}

/// Bytes a grant takes in a block.
fn grant_bytes(grant: &Grant) -> usize {
    const FIXED: usize = 4 + 10 + 4 + 4 + 8 + 8 + 16 + 4;
    let text = |text: &Option<String>| text.as_ref().map_or(0, |t| 8 + t.len());
    FIXED
        + 18 * grant.seats.len()
        + grant.request_id.len()
        + text(&grant.reference)
        + text(&grant.channel)
        + if grant.account.is_some() { 16 } else { 0 }
        + if grant.hold_expires_at.is_some() { 8 } else { 0 }
}
