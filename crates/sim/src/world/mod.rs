//! The simulated world of one run: what is in it, and how time passes.

mod broker;
mod clients;
mod engines;
mod faults;
mod scene;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use bytes::Bytes;
use clients::Errand;
pub use clients::{Attempt, ClientAnswer, HeardAnswer};
use engines::{Engine, Ticket};
use giliran_sequencer::{Appended, Attempt as Sent, Branch, ReadOutcome};
use giliran_wire::ledger::OpeningRecord;
use giliran_wire::{BlockHash, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
pub use scene::Intent;
use scene::Request;
pub(crate) use scene::{
    ACCOUNT_PLACES, BOOKINGS, CHANGES, DRAWN_AT_MS, HOLD_MS, LEDGER, order_key,
};

use crate::kind::{Kind, Mutant, Setup};
use crate::streams::Streams;

/// Lease without renewal, ms.
const LEASE_MS: u64 = 3_000;
/// Its unused end, ms.
const MARGIN_MS: u64 = 500;
/// What is asked for first is asked for before this, ms.
const ASKED_BEFORE_MS: u64 = 12_000;
/// How long a world goes on after its faults, ms.
const CALM_MS: u64 = 24_000;
/// How long after the faults everything is settled, ms.
pub(crate) const SETTLED_WITHIN_MS: u64 = 10_000;
/// Between two looks of an engine at lease and clock, ms.
const TICK_MS: u64 = 20;
/// The same while there is no broker, ms.
const IDLE_TICK_MS: u64 = 200;

/// What a run leaves to be judged.
#[derive(Debug)]
pub struct Run {
    pub seed: u64,
    pub setup: Setup,
    /// The opening, as it was put on record.
    pub(crate) opening: OpeningRecord,
    /// What the broker holds.
    pub streams: Streams,
    pub attempts: Vec<Attempt>,
    /// What operators did, and whether they were told that it is done.
    pub(crate) errands: Vec<Errand>,
    /// The state's hash in the engine that was active last, and the sequence it
    /// had applied.
    pub live: Option<(BlockHash, u64)>,
    /// Places of every slot, taken or not, in that engine: (free, durably free).
    pub places: Vec<(i32, i32)>,
    /// Faults that happened, by name.
    pub faults: Vec<&'static str>,
    /// Engines that called the ledger damaged or lost, which was neither.
    pub damaged: Vec<String>,
    /// Engines that called it so where it was.
    pub stopped: Vec<String>,
    /// How often each of the sequencer's rare branches was taken.
    pub branches: BTreeMap<Branch, u64>,
    /// When the faults ended, and when the world did, ms.
    pub(crate) ends_ms: (u64, u64),
}

impl Run {
    /// True where a lease was not what its holder took it for.
    pub(crate) fn lease_broken(&self) -> bool {
        self.faults.iter().any(|fault| matches!(*fault, "lease taken early" | "lease split"))
    }
}

enum Event {
    /// An append reaches the stream.
    AppendArrives {
        from: Sender,
        attempt: Sent,
        generation: u32,
        expected_last: u64,
        bytes: Bytes,
    },
    /// A result reaches the engine.
    Outcome {
        to: Sender,
        attempt: Sent,
        outcome: Appended,
    },
    /// A read reaches the stream.
    ReadArrives {
        from: Sender,
        attempt: Sent,
        generation: u32,
        seq: u64,
    },
    /// What it brought reaches the engine.
    ReadResult {
        to: Sender,
        attempt: Sent,
        read: ReadOutcome,
    },
    /// A client sends (again).
    Send {
        request: usize,
    },
    /// A request reaches an engine, by the subscription of one of its runs.
    Request {
        to: Sender,
        ticket: Ticket,
    },
    /// An answer reaches its client.
    Answered {
        attempt: usize,
        answer: ClientAnswer,
        on: BlockHash,
    },
    /// A client's patience ends.
    Patience {
        request: usize,
        attempt: usize,
    },
    /// An operator does something, or asks what came of it.
    Errand {
        errand: usize,
    },
    /// What came of it.
    Done {
        errand: usize,
    },
    /// An engine looks at lease and clock.
    Tick {
        engine: usize,
    },
    Fault,
    /// The fault that the world's kind is about.
    Special,
    /// The active engine is to roll the ledger.
    Roll,
    /// Whoever looks after the engines sets right what is wrong with them.
    Repair,
}

/// An engine in one of its runs: each has channels of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sender {
    engine: usize,
    run: u64,
}

/// Everything there is in one run.
pub(crate) struct World {
    setup: Setup,
    opening: OpeningRecord,
    rng: StdRng,
    now_ms: u64,
    faults_end_ms: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    payloads: HashMap<u64, Event>,
    counter: u64,
    streams: Streams,
    engines: Vec<Engine>,
    /// Who holds the lease, and until when.
    lease: Option<(usize, u64)>,
    /// Until then the broker is away.
    away_until_ms: u64,
    disk_full_until_ms: u64,
    /// Messages that are missing, to be restored: generation, sequence and bytes.
    holes: Vec<(u32, u64, Bytes)>,
    requests: Vec<Request>,
    attempts: Vec<Attempt>,
    attempt_of: Vec<usize>,
    errands: Vec<Errand>,
    faults: Vec<&'static str>,
    damaged: Vec<String>,
    stopped: Vec<String>,
    branches: BTreeMap<Branch, u64>,
}

/// Runs the world of this seed to its end.
pub fn run(seed: u64, setup: Setup) -> Run {
    let mut world = World::new(seed, setup);
    world.live();
    world.into_run(seed)
}

impl World {
    fn new(seed: u64, setup: Setup) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let begin = setup.kind.begin();
        let mut world = Self {
            setup,
            opening: scene::opening(setup),
            engines: (0..3).map(|_| Engine::new(&mut rng)).collect(),
            rng,
            now_ms: 0,
            faults_end_ms: ASKED_BEFORE_MS,
            events: BinaryHeap::new(),
            payloads: HashMap::new(),
            counter: 0,
            streams: Streams::new(scene::genesis(begin).seal().bytes.into()),
            lease: None,
            away_until_ms: 0,
            disk_full_until_ms: 0,
            holes: Vec::new(),
            requests: Vec::new(),
            attempts: Vec::new(),
            attempt_of: Vec::new(),
            errands: Vec::new(),
            faults: Vec::new(),
            damaged: Vec::new(),
            stopped: Vec::new(),
            branches: BTreeMap::new(),
        };
        world.plan();
        world
    }

    /// Requests, ticks and faults to come.
    fn plan(&mut self) {
        for engine in 0..self.engines.len() {
            self.at(self.now_ms + 1, Event::Tick { engine });
        }
        for i in 0..self.rng.random_range(80..160) {
            let request = scene::request(i, self.setup, &mut self.rng);
            let at = self.rng.random_range(400..ASKED_BEFORE_MS);
            self.ask_at(at, request);
        }
        for _ in 0..self.rng.random_range(3..9) {
            let at = self.rng.random_range(300..ASKED_BEFORE_MS);
            self.at(at, Event::Fault);
        }
        for _ in 0..self.rng.random_range(0..3) {
            let at = self.rng.random_range(600..ASKED_BEFORE_MS);
            self.at(at, Event::Roll);
        }
        self.plan_specials();
        self.at(self.faults_end_ms, Event::Repair);
    }

    fn at(&mut self, ms: u64, event: Event) {
        self.counter += 1;
        self.payloads.insert(self.counter, event);
        self.events.push(Reverse((ms, self.counter)));
    }

    fn soon(&mut self, event: Event) {
        // The later, the likelier that it meets another run.
        let late = if self.is(Mutant::AttemptsShared) { 0.3 } else { 0.03 };
        let delay = if self.rng.random_bool(late) && self.has_faults() {
            self.rng.random_range(50..3_000)
        } else {
            self.rng.random_range(1..6)
        };
        self.at(self.now_ms + delay, event);
    }

    /// True before the faults have ended.
    fn has_faults(&self) -> bool {
        self.now_ms < self.faults_end_ms
    }

    /// A fault of this probability, if faults still happen.
    fn chance(&mut self, probability: f64) -> bool {
        self.has_faults() && self.rng.random_bool(probability)
    }

    fn is_away(&self) -> bool {
        self.away_until_ms > self.now_ms
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.setup.mutant == Some(mutant)
    }

    fn live(&mut self) {
        while let Some(Reverse((ms, id))) = self.events.pop() {
            if ms > self.faults_end_ms + CALM_MS {
                return;
            }
            self.now_ms = self.now_ms.max(ms);
            let event = self.payloads.remove(&id).expect("planned with it");
            self.happen(event);
        }
    }

    fn time(&self) -> Timestamp {
        self.setup.kind.begin().plus_millis(self.now_ms)
    }

    /// What reaches a paused engine reaches it when it goes on.
    fn postponed(&mut self, engine: usize, event: Event) -> Option<Event> {
        let until_ms = self.engines[engine].paused_until_ms;
        if until_ms > self.now_ms {
            self.at(until_ms, event);
            return None;
        }
        Some(event)
    }

    fn happen(&mut self, event: Event) {
        let event = match event {
            Event::Outcome { to: Sender { engine, .. }, .. }
            | Event::ReadResult { to: Sender { engine, .. }, .. }
            | Event::Request { to: Sender { engine, .. }, .. }
            | Event::Tick { engine } => match self.postponed(engine, event) {
                Some(event) => event,
                None => return,
            },
            event => event,
        };
        match event {
            Event::AppendArrives { from, attempt, generation, expected_last, bytes } => {
                self.append_arrives(from, attempt, (generation, expected_last), bytes);
            }
            Event::Outcome { to, attempt, outcome } => {
                self.input(to, |sequencer, now| sequencer.appended(attempt, outcome, now));
            }
            Event::ReadArrives { from, attempt, generation, seq } => {
                self.read_arrives(from, attempt, generation, seq);
            }
            Event::ReadResult { to, attempt, read } => {
                self.input(to, |sequencer, now| sequencer.read(attempt, &read, now));
            }
            Event::Send { request } => self.send(request),
            Event::Request { to, ticket } => self.request(to, ticket),
            Event::Answered { attempt, answer, on } => self.answered(attempt, answer, on),
            Event::Patience { request, attempt } => self.patience(request, attempt),
            Event::Errand { errand } => self.errand(errand),
            Event::Done { errand } => self.errands[errand].done_ms = Some(self.now_ms),
            Event::Tick { engine } => {
                self.tick(engine);
                let pause = if self.is_away() { IDLE_TICK_MS } else { TICK_MS };
                self.at(self.now_ms + pause, Event::Tick { engine });
            }
            Event::Fault => self.fault(),
            Event::Special => self.special(),
            Event::Roll => self.roll(),
            Event::Repair => self.repair(),
        }
    }

    fn into_run(mut self, seed: u64) -> Run {
        let all: Vec<usize> = (0..self.engines.len()).collect();
        all.into_iter().for_each(|engine| self.note_branches(engine));
        let active = self.engines.iter().find_map(Engine::active);
        let live = active.map(|s| (s.state().state_hash(), s.state().chain().seq));
        // With a block on its way, places are taken that are not durable yet.
        let places = active
            .filter(|s| s.in_flight().is_none())
            .and_then(|s| s.allocator().openings().first().cloned())
            .map(|o| (0..o.slots()).map(|slot| (o.free(slot), o.durably_free(slot))).collect())
            .unwrap_or_default();
        Run {
            seed,
            setup: self.setup,
            opening: self.opening,
            streams: self.streams,
            attempts: self.attempts,
            errands: self.errands,
            live,
            places,
            faults: self.faults,
            damaged: self.damaged,
            stopped: self.stopped,
            branches: self.branches,
            ends_ms: (self.faults_end_ms, self.faults_end_ms + CALM_MS),
        }
    }

    /// True where the ground has moved, and engines may say so.
    fn has_moved(&self) -> bool {
        self.setup.kind == Kind::Ground
            && (!self.streams.lost().is_empty() || !self.holes.is_empty())
    }
}
