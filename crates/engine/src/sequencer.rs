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

use std::collections::VecDeque;

use bytes::Bytes;
use giliran_core::{Book, Decision, Durable, FoldError, Found, Keeper, OwnedAsk, Refusal, Settled};
use giliran_wire::answer::{Phase, Reason};
use giliran_wire::ledger::{
    BLOCK_OVERHEAD_BYTES, Block, Entry, FORMAT, Grant, MAX_BLOCK_BYTES, OpeningRecord, Reading,
    TakeOver,
};
use giliran_wire::{BlockHash, Position, Timestamp, WriterNonce};

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
        /// `Nats-Expected-Last-Sequence`.
        expected_last: u64,
        /// The block.
        bytes: Bytes,
    },
    /// Read what stands in the ledger at `seq`, through its leader.
    Read {
        /// Comes back with the result.
        attempt: u64,
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
    /// Settled from durable facts.
    Settled(Settled),
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
    /// One per grant of the block, in order.
    tickets: Vec<T>,
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
    /// Granted by a thread that did not know yet that the opening closes.
    late: Vec<(Box<str>, T)>,
    in_flight: Option<InFlight<T>>,
    attempts: u64,
    effects: Vec<Effect<T>>,
}

impl<T> Sequencer<T> {
    /// A candidate that takes the ledger over from where `keeper` has read it.
    ///
    /// `random` supplies booking ids: it has to be unguessable.
    pub fn take_over(
        keeper: Keeper,
        writer: WriterNonce,
        take_over: TakeOver,
        random: Box<dyn FnMut() -> u128 + Send>,
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
            late: Vec::new(),
            in_flight: None,
            attempts: 0,
            effects: Vec::new(),
            keeper,
        };
        sequencer.send(vec![Entry::TakeOver(take_over)], Vec::new(), now);
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
        self.keeper.book().openings().iter().any(|o| o.id() == id)
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
            .map(|at| now.mono_ms + at.millis_since(self.book().engine_time(now.wall)));
        // A waiting request with nothing in flight met another thread's claim.
        let parked = (!self.parked.is_empty())
            .then_some(now.mono_ms + if self.in_flight.is_some() { 100 } else { 1 });
        let due = due.filter(|_| self.in_flight.is_none());
        [flight, due, parked].into_iter().flatten().min()
    }

    /// Takes no more requests, commits what is queued, then becomes idle.
    pub fn finish(&mut self, now: Now) {
        if self.state == State::Active {
            self.state = State::Finishing;
            for parked in std::mem::take(&mut self.parked) {
                self.answer_parked(parked, Outcome::Busy);
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
        let closed = self.keeper.book().openings()[ordinal as usize].phase() == Phase::Closed;
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
        if self.in_flight.is_some() || !matches!(self.state, State::Active | State::Finishing) {
            return;
        }
        self.answer_late();
        self.decide_parked(now);
        let (entries, tickets) = self.gather(now);
        if entries.is_empty() {
            self.idle_if_done();
        } else {
            self.send(entries, tickets, now);
        }
    }

    fn decide_parked(&mut self, now: Now) {
        let time = self.keeper.book().engine_time(now.wall);
        for parked in std::mem::take(&mut self.parked) {
            match self.keeper.book().decide(&parked.ask.ask(), time) {
                Decision::Settled(settled) => {
                    self.answer_parked(parked, Outcome::Settled(settled));
                }
                Decision::Granted(grant) => self.enqueue(grant, parked.ticket),
                Decision::Wait => self.parked.push(parked),
            }
        }
    }

    /// What the next block holds: openings, then what opens, then grants in
    /// order, then what closes once every grant before it is in.
    fn gather(&mut self, now: Now) -> (Vec<Entry>, Vec<T>) {
        let mut entries = Vec::new();
        let mut bytes = BLOCK_OVERHEAD_BYTES;
        while let Some(opening) = self.openings.pop_front() {
            let ordinal = self.keeper.book().openings().len() + entries.len();
            let record = OpeningRecord { ordinal: ordinal as u32, ..opening };
            let mut encoded = Vec::new();
            giliran_wire::codec::encode_into(&record, &mut encoded);
            if bytes + encoded.len() + 4 > MAX_BLOCK_BYTES && !entries.is_empty() {
                self.openings.push_front(record);
                return (entries, Vec::new());
            }
            bytes += encoded.len() + 4;
            entries.push(Entry::Opening(Box::new(record)));
        }
        let due = self.keeper.due(self.keeper.book().engine_time(now.wall));
        let (opened, closed): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|entry| matches!(entry, Entry::Opened { .. }));
        // An opening that was missed altogether opens in one block and closes
        // in a later one.
        let opening_now = |entry: &Entry| {
            matches!(entry, Entry::Closed { opening }
                if opened.contains(&Entry::Opened { opening: *opening }))
        };
        let closed: Vec<_> = closed.into_iter().filter(|entry| !opening_now(entry)).collect();
        bytes += 8 * (opened.len() + closed.len());
        entries.extend(opened);
        let mut tickets = Vec::new();
        while let Some((mut grant, ticket)) = self.queue.pop_front() {
            bytes += grant_bytes(&grant);
            if bytes > MAX_BLOCK_BYTES {
                self.queue.push_front((grant, ticket));
                return (entries, tickets);
            }
            while !self.keeper.number(&mut grant, (self.random)()) {}
            entries.push(Entry::Grant(*grant));
            tickets.push(ticket);
        }
        entries.extend(closed);
        (entries, tickets)
    }

    fn send(&mut self, entries: Vec<Entry>, tickets: Vec<T>, now: Now) {
        let chain = self.keeper.chain();
        let block = Block {
            format: FORMAT,
            ledger: chain.ledger.expect("a ledger is taken over after its genesis is read"),
            generation: chain.generation,
            epoch: self.epoch,
            writer: self.writer,
            time: now.wall.max(chain.time),
            previous: chain.hash,
            entries,
        };
        let sealed = block.seal();
        self.in_flight = Some(InFlight {
            block,
            hash: sealed.hash,
            bytes: sealed.bytes.into(),
            tickets,
            expected_last: chain.seq,
            attempt: 0,
            step: Step::Pausing { until_ms: now.mono_ms },
            backoff_ms: BACKOFF_MS,
        });
        self.resend(now);
    }

    /// Sends the same bytes, expecting the last sequence read.
    fn resend(&mut self, now: Now) {
        let expected_last = self.keeper.chain().seq;
        self.attempts += 1;
        let attempt = self.attempts;
        if let Some(flight) = &mut self.in_flight {
            flight.expected_last = expected_last;
            flight.attempt = attempt;
            flight.step = Step::Asked { until_ms: now.mono_ms + APPEND_TIMEOUT_MS };
            let bytes = flight.bytes.clone();
            self.effects.push(Effect::Append { attempt, expected_last, bytes });
        }
    }

    fn read_place(&mut self, now: Now) {
        self.attempts += 1;
        if let Some(flight) = &mut self.in_flight {
            flight.attempt = self.attempts;
            flight.step = Step::Asked { until_ms: now.mono_ms + APPEND_TIMEOUT_MS };
            let (attempt, seq) = (flight.attempt, flight.expected_last + 1);
            self.effects.push(Effect::Read { attempt, seq });
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
        let (made, durable) = match self.keeper.commit(seq, flight.block, flight.hash) {
            Ok(committed) => committed,
            Err(damage) => return self.stop(Why::Damaged(damage)),
        };
        if self.state == State::Candidate {
            self.state = State::Active;
            self.effects.push(Effect::Active(durable.position()));
        }
        // The next block leaves before this one's answers are written.
        self.pump(now);
        for (found, ticket) in made.into_iter().zip(flight.tickets) {
            let outcome = Outcome::Granted(found, durable);
            self.effects.push(Effect::Answer { ticket, request_id: None, outcome });
        }
        self.idle_if_done();
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
        let time = self.keeper.book().engine_time(now.wall);
        let gone = |parked: &Parked<T>| {
            parked.ask.expires_at().is_some_and(|deadline| deadline <= time)
                || now.mono_ms.saturating_sub(parked.since_ms) > MAX_PARKED_MS
        };
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
            State::Finishing => self.queue.is_empty(),
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
            for entry in &flight.block.entries {
                if let Entry::Grant(grant) = entry {
                    self.keeper.abandon(grant);
                }
            }
        }
        self.drop_queue();
    }

    fn drop_queue(&mut self) {
        for (grant, _) in std::mem::take(&mut self.queue) {
            self.keeper.book().abandon(&grant);
        }
        self.parked.clear();
        self.late.clear();
        self.openings.clear();
    }
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
