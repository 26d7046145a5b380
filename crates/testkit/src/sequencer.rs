//! An engine without NATS: the sequencer on a stream in memory.

use std::time::{Duration, Instant};

use bytes::Bytes;
use giliran_allocator::{BookingRequest, Decision, StateMachine};
use giliran_sequencer::{
    Appended, Attempt, Continuation, Effect, Now, Outcome, ReadOutcome, Sequencer, StopReason,
};
use giliran_wire::ledger::{MAX_BLOCK_BYTES, OpeningRecord};
use giliran_wire::{ApplicantKey, OrderKey, Timestamp, WriterNonce};

use crate::{LEDGER, folded, genesis_block, take_over};

/// When a harness begins: 2026-11-18, ms since the epoch.
pub const BEGIN: i64 = 1_795_000_000_000;

/// Between two ticks of [`SequencerHarness::wait`], ms.
pub const TICK_MS: u64 = 100;

/// The key of every harness's seeds.
pub fn order_key() -> OrderKey {
    ApplicantKey::new(&[1; 32]).order()
}

/// Bits as uniform as real ones, which tables rely on; the same for the same seed.
fn random_bits(seed: u128) -> Box<dyn FnMut() -> u128 + Send> {
    let mut bits = seed;
    Box::new(move || {
        bits += 1;
        let hash = blake3::hash(&bits.to_le_bytes());
        u128::from_le_bytes(hash.as_bytes()[..16].try_into().unwrap())
    })
}

/// A sequencer, and a stream of one generation that does what it says, unless told
/// otherwise.
pub struct SequencerHarness {
    /// The sequencer; a ticket is a test's number for whoever asks.
    pub sequencer: Sequencer<u64>,
    /// Every message; the first has sequence 1.
    pub stream: Vec<Bytes>,
    pub now: Now,
    /// Every outcome, by ticket, in the order it came.
    pub answers: Vec<(u64, Outcome)>,
    /// Foreign messages that it told of.
    pub foreign: usize,
    /// How often it looked at the stream.
    pub reads: usize,
    /// Bytes of the largest block.
    pub largest: usize,
    /// It may become idle; else that is a panic.
    pub may_end: bool,
    /// Why it became idle.
    pub end: Option<StopReason>,
    /// The stream takes appends and says nothing.
    pub is_silent: bool,
    /// The stream says that it ends elsewhere, whatever is expected.
    pub refuses: bool,
    /// Blocks still to be stored before the engine dies.
    pub lives: usize,
    /// The append that it did not live to hear of.
    pub unheard: Option<(Attempt, u64)>,
    /// How long each call into the sequencer took, while that is of interest.
    pub calls: Option<Vec<Duration>>,
}

impl SequencerHarness {
    /// The active engine of a new ledger, from [`BEGIN`] on.
    pub fn new() -> Self {
        Self::beginning(Timestamp::from_millis(BEGIN))
    }

    /// The same, from this time on.
    pub fn beginning(wall: Timestamp) -> Self {
        let first = genesis_block(LEDGER, Timestamp::from_millis(1)).seal().bytes;
        let now = Now { wall, mono_ms: 1_000_000 };
        let mut harness = Self::on(vec![first.into()], 1, now);
        harness.run();
        assert!(harness.sequencer.is_active());
        harness
    }

    /// A candidate of this writer that has read this stream.
    pub fn on(stream: Vec<Bytes>, writer: u8, now: Now) -> Self {
        Self::of(folded(&stream), stream, writer, now)
    }

    /// A candidate that has read this state from a stream that may be another by now.
    pub fn of(state: StateMachine, stream: Vec<Bytes>, writer: u8, now: Now) -> Self {
        let random = random_bits(u128::from(writer) << 64);
        let (writer, next) = (WriterNonce([writer; 16]), Continuation::default());
        let sequencer = Sequencer::take_over(state, writer, take_over(), random, next, now)
            .with_order_key(order_key());
        Self {
            sequencer,
            stream,
            now,
            answers: Vec::new(),
            foreign: 0,
            reads: 0,
            largest: 0,
            may_end: false,
            end: None,
            is_silent: false,
            refuses: false,
            lives: usize::MAX,
            unheard: None,
            calls: None,
        }
    }

    /// Puts these openings on record.
    pub fn record(&mut self, openings: Vec<OpeningRecord>) {
        self.sequencer.record_openings(openings, self.now);
        self.run();
    }

    /// An input to the sequencer.
    pub fn input(&mut self, input: impl FnOnce(&mut Sequencer<u64>, Now)) {
        let started = Instant::now();
        input(&mut self.sequencer, self.now);
        if let Some(calls) = &mut self.calls {
            calls.push(started.elapsed());
        }
    }

    /// Does what the sequencer asks for until nothing is left to be done, or the engine
    /// dies: the last block it has sent is stored, and it does not hear of it.
    ///
    /// # Panics
    ///
    /// Where a block is too large, or the sequencer becomes idle and may not.
    pub fn run(&mut self) {
        loop {
            let effects = self.sequencer.effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Append { .. } | Effect::Read { .. } if self.is_silent => {}
                    Effect::Append { attempt, expected_last, bytes, .. } => {
                        if self.lives == 0 {
                            return;
                        }
                        self.append(attempt, expected_last, bytes);
                        if self.lives == 0 {
                            return;
                        }
                    }
                    Effect::Read { attempt, seq, .. } => self.read(attempt, seq),
                    Effect::Answer { ticket, outcome, .. } => self.answers.push((ticket, outcome)),
                    Effect::Granted(grants) => self.answers.extend(grants.into_outcomes()),
                    Effect::Foreign(_) => self.foreign += 1,
                    Effect::Active(_) => {}
                    Effect::Idle(why) if self.may_end => self.end = Some(why),
                    Effect::Idle(why) => panic!("{why:?}"),
                }
            }
        }
    }

    fn append(&mut self, attempt: Attempt, expected_last: u64, bytes: Bytes) {
        assert!(bytes.len() <= MAX_BLOCK_BYTES, "a block of {} bytes", bytes.len());
        self.largest = self.largest.max(bytes.len());
        if self.refuses || expected_last != self.stream.len() as u64 {
            let elsewhere = Appended::WrongLastSequence;
            return self.input(|sequencer, now| sequencer.appended(attempt, elsewhere, now));
        }
        self.lives -= 1;
        self.stream.push(bytes);
        let seq = expected_last + 1;
        if self.lives == 0 {
            self.unheard = Some((attempt, seq));
        } else {
            let stored = Appended::Stored { seq };
            self.input(|sequencer, now| sequencer.appended(attempt, stored, now));
        }
    }

    /// Answers a look at a sequence.
    pub fn read(&mut self, attempt: Attempt, seq: u64) {
        self.reads += 1;
        let found = match self.stream.get(seq as usize - 1) {
            Some(bytes) => ReadOutcome::Found(bytes.clone()),
            None => ReadOutcome::Nothing { tail: self.stream.len() as u64 },
        };
        self.input(|sequencer, now| sequencer.read(attempt, &found, now));
    }

    /// Time passes at once, and the sequencer is told once.
    pub fn tick(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall = self.now.wall.plus_millis(ms);
        self.input(Sequencer::tick);
        self.run();
    }

    /// Time passes tick by tick.
    pub fn wait(&mut self, ms: u64) {
        let until = self.now.mono_ms + ms;
        while self.now.mono_ms < until {
            self.tick(TICK_MS);
        }
    }

    /// Has a request decided and hands it on, as a worker does; whether it was handed
    /// on, and not settled at once.
    ///
    /// # Panics
    ///
    /// Where somebody enters a waiting list without having asked to wait.
    pub fn ask(&mut self, ticket: u64, request: &BookingRequest<'_>) -> bool {
        let now = self.now;
        match self.sequencer.allocator().decide(request, now.wall) {
            Decision::Granted(grant) => self.sequencer.submit_grants([(grant, ticket)], [], now),
            Decision::EnterDraw(entry) => self.sequencer.submit_entries([(entry, ticket)], now),
            Decision::DeferToRound(opening) => {
                self.sequencer.defer_to_round([(opening, request.to_owned(), ticket)], now);
            }
            Decision::JoinWaitlist(_) if !request.wait => panic!("nobody waits"),
            Decision::JoinWaitlist(_) | Decision::Retry => {
                self.sequencer.submit_grants([], [(request.to_owned(), ticket)], now);
            }
            Decision::Settled(settled) => {
                self.answers.push((ticket, Outcome::Settled(settled)));
                return false;
            }
        }
        true
    }

    /// True if this ticket was told of its grant.
    pub fn is_granted(&self, ticket: u64) -> bool {
        self.answers
            .iter()
            .any(|(to, outcome)| *to == ticket && matches!(outcome, Outcome::Granted(..)))
    }

    /// The tickets that were told to come back, in their order.
    pub fn busy(&self) -> Vec<u64> {
        let busy = self.answers.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Busy));
        let mut busy: Vec<u64> = busy.map(|(ticket, _)| *ticket).collect();
        busy.sort_unstable();
        busy
    }

    /// What a reader makes of the stream.
    pub fn replayed(&self) -> StateMachine {
        folded(&self.stream)
    }
}

impl Default for SequencerHarness {
    fn default() -> Self {
        Self::new()
    }
}
