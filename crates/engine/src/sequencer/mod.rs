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
//!              └─── skip it, expect the next ◀───┼── void, or foreign
//!                                                └── a valid foreign block ──▶ deposed
//! ```
//!
//! Where a generation of the ledger is sealed, the next one's begin is written
//! before anything else (`generation.rs`).

mod admin;
mod clock;
mod draws;
mod flight;
mod gather;
mod generation;
mod refusals;
mod rounds;

use std::collections::{HashSet, VecDeque};

pub use admin::{Act, Acted, Action, Came, Report};
use bytes::Bytes;
use clock::Clock;
pub use clock::MAX_JUMP_MS;
pub use flight::{APPEND_TIMEOUT_MS, BACKOFF_MS, MAX_BACKOFF_MS};
use flight::{InFlight, Step};
use gather::Gathered;
pub use generation::Continuation;
use giliran_core::{
    Book, Change, ChangeAsk, Decision, Draw, Drawing, Durable, Entered, FoldError, Found, Keeper,
    OwnedAsk, Refusal, Settled, Told,
};
use giliran_wire::answer::{Phase, Reason};
use giliran_wire::beacon::Network;
use giliran_wire::event::Kind;
use giliran_wire::ledger::{
    BallotEntry, DrawRecord, Entry, Foreign, Grant, OpeningRecord, TakeOver,
};
use giliran_wire::{BookingId, OrderKey, Position, Timestamp, WriterNonce};
pub use refusals::Tallies;
use rounds::Rounds;

/// Longest that a request waits behind a block before it is told `busy`, ms.
pub const MAX_PARKED_MS: u64 = 5_000;
/// Most grants and waiting requests before new ones are told `busy`.
pub const MAX_BACKLOG: usize = 131_072;

/// Most entries of those who wait in one block.
const ENTRIES_A_BLOCK: usize = 512;
/// After a take-over nothing expires or is released for so long, ms: the engine
/// before may still refuse people what this would free.
pub const GRACE_MS: u64 = 3_000;

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
    /// Tell operators of this message, which stands where a block was to go.
    Foreign(Foreign),
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
    /// Those that came to their end, until they are taken.
    acted: Vec<Acted>,
    /// The draw for returned places that is going on.
    drawing: Option<Drawing>,
    /// Entries into openings' own draws, in the order they came.
    ballots: VecDeque<(Box<BallotEntry>, T)>,
    /// The opening's own draw that is going on.
    draw: Option<Draw>,
    /// Requests for openings with rounds.
    rounds: Rounds<T>,
    /// Refusals that are to be put on record.
    tallies: Tallies,
    /// What the seeds of rounds and draws are made with.
    order_key: OrderKey,
    /// Whose rounds draws mix in.
    beacon: Option<Network>,
    clock: Clock,
    /// Nothing expires before this, on the monotonic clock.
    grace_until_ms: u64,
    /// Granted by a thread that did not know yet that the opening closes.
    late: Vec<(Box<str>, T)>,
    in_flight: Option<InFlight<T>>,
    /// Stands in the ledger before anything else of this term.
    take_over: Option<TakeOver>,
    roll: generation::Roll<T>,
    /// Changes committed since they were last asked for, by kind.
    changed: Vec<(Kind, u64)>,
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
            acted: Vec::new(),
            drawing: None,
            ballots: VecDeque::new(),
            draw: None,
            rounds: Rounds::new(),
            tallies: Tallies::default(),
            order_key: OrderKey::new([0; 32]),
            beacon: None,
            clock: Clock { wall: now.wall, mono_ms: now.mono_ms, ahead: false },
            grace_until_ms: now.mono_ms + GRACE_MS,
            late: Vec::new(),
            in_flight: None,
            take_over: Some(take_over),
            roll: generation::Roll::new(next),
            changed: Vec::new(),
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
            + self.ballots.len()
            + self.rounds.len()
            + self.in_flight.as_ref().map_or(0, |flight| flight.tickets.len())
    }

    /// Grants in the block in flight.
    pub fn in_flight(&self) -> Option<usize> {
        self.in_flight.as_ref().map(|flight| flight.tickets.len())
    }

    /// Takes how many changes of each kind were committed since the last call.
    pub fn take_changed(&mut self) -> Vec<(Kind, u64)> {
        std::mem::take(&mut self.changed)
    }

    fn count(&mut self, changes: &[Change]) {
        for change in changes {
            let (Change::Booking { kind, .. } | Change::Entry { kind, .. }) = change;
            match self.changed.iter_mut().find(|(of, _)| of == kind) {
                Some((_, count)) => *count += 1,
                None => self.changed.push((*kind, 1)),
            }
        }
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
        let round = self.rounds.next_end().filter(|_| self.in_flight.is_none());
        let round = round.map(|at| now.mono_ms + at.millis_since(engine_time));
        // A draw has its next piece of work.
        let working = self.draw.is_some() && self.state == State::Active;
        let draw = (working && self.in_flight.is_none()).then_some(now.mono_ms);
        [flight, due, parked, returned, changes, round, draw].into_iter().flatten().min()
    }

    /// Takes no more requests, commits what is queued, then becomes idle.
    pub fn finish(&mut self, now: Now) {
        if self.state == State::Active {
            self.state = State::Finishing;
            for parked in std::mem::take(&mut self.parked) {
                self.answer_parked(parked, Outcome::Busy);
            }
            for (ask, ticket) in self.rounds.take() {
                self.answer_asked(&ask, ticket, Outcome::Busy);
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
        if self.is_closed(grant.opening) {
            self.keeper.book().abandon(&grant);
            self.late.push((grant.request_id.into_boxed_str(), ticket));
        } else {
            self.queue.push_back((grant, ticket));
        }
    }

    /// True if the opening has closed, or does with the block in flight.
    fn is_closed(&self, ordinal: u32) -> bool {
        let openings = self.keeper.book().openings();
        let closing = self.in_flight.as_ref().is_some_and(|flight| {
            flight
                .block
                .entries
                .iter()
                .rev()
                .take_while(|entry| matches!(entry, Entry::Closed { .. }))
                .any(|entry| *entry == Entry::Closed { opening: ordinal })
        });
        closing || openings.get(ordinal).is_none_or(|o| o.phase() == Phase::Closed)
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
            // Actions that had nothing left to put on record; rounds that nobody
            // got anything in.
            let durable = self.keeper.durable();
            self.adjusted(gathered.adjusted, durable);
            self.after_a_group(gathered.after, now);
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
                Decision::Ballot(entry) => self.enqueue_ballot(entry, parked.ticket),
                Decision::Collect(ordinal) => {
                    self.collect_one(ordinal, parked.ask, parked.ticket, time);
                }
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

    /// The block in flight stands in the ledger: its facts count from here on.
    fn commit(&mut self, now: Now) {
        let Some(flight) = self.in_flight.take() else { return };
        let seq = flight.expected_last + 1;
        let mut drawn = drawn(&flight.block.entries);
        // Those of a round have somebody who waits.
        drawn.retain(|receipt| self.keeper.book().entry(receipt).is_some());
        let (changes, durable) = match self.keeper.commit(seq, flight.block, flight.hash) {
            Ok(committed) => committed,
            Err(damage) => return self.stop(Why::Damaged(damage)),
        };
        self.count(&changes);
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
        self.after_a_group(flight.after, now);
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
            let refusal =
                Refusal { reason: Reason::Closed, detail: None, retry_after_ms: None, about: None };
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
        self.answer_asked(&parked.ask, parked.ticket, outcome);
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
                self.queue.is_empty()
                    && self.ballots.is_empty()
                    && self.changes.is_empty()
                    && self.keeper.chain().is_open()
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
        for (entry, _) in std::mem::take(&mut self.ballots) {
            self.keeper.book().abandon_ballot(&entry);
        }
        self.rounds = Rounds::new();
        self.parked.clear();
        self.changes.clear();
        self.entering.clear();
        self.admin.clear();
        self.drawing = None;
        self.draw = None;
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
