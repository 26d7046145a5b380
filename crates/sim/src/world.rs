//! The simulated world of one run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;
use giliran_core::{Ask, ChangeAsk, Decision, Deed, Found, Keeper, Settled, Waiting};
use giliran_engine::sequencer::{
    Appended, Attempt as Sent, Continuation, Effect, Now, Outcome, Read, Sequencer, Why,
};
use giliran_wire::answer::Reason;
use giliran_wire::ledger::{
    Block, BookableUntil, Entry, FORMAT, Genesis, Leftovers, Office, OpeningRecord, Order,
    ReturnRule, Rules, Session, Slot, TakeOver,
};
use giliran_wire::request::Choice;
use giliran_wire::{
    BlockHash, BookingId, Digest, KeyFingerprint, LedgerId, OrderKey, Position, Pseudonym,
    Timestamp, WriterNonce,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::streams::Streams;

/// When the simulated world begins.
pub(crate) const BEGIN: Timestamp = Timestamp::from_millis(1_795_000_000_000);
/// Lease without renewal, ms.
const LEASE_MS: u64 = 3_000;
/// Its unused end, ms.
const MARGIN_MS: u64 = 500;
/// Faults happen before this, ms; afterwards everything must settle.
const FAULTS_END_MS: u64 = 12_000;
/// The run ends here, ms.
pub(crate) const END_MS: u64 = 40_000;
/// How long bookings are held, ms.
pub(crate) const HOLD_MS: u64 = 2_500;
/// A client gives an attempt up after this, ms.
const PATIENCE_MS: u64 = 1_500;
/// The window of an opening that is drawn ends here, ms.
const DRAWN_AT_MS: u64 = 7_000;
/// Bytes of a part of the state that a generation begins with: small, so that a
/// begin takes several blocks.
const PART_BYTES: usize = 2_048;

/// A fault planted in the world, to see the oracle find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The stream stores appends whatever last sequence they expect.
    NoFence,
    /// Grants are told before their block is stored.
    ReplyBeforeAck,
    /// Refusals are sent whether or not the lease stands.
    NoLease,
    /// The stream forgets a block it has acknowledged.
    ForgetsBlock,
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// There is a booking.
    Granted {
        /// Its id.
        booking: BookingId,
        /// Counts its changes.
        version: u32,
        /// Its slot.
        slot: u32,
        /// Its numbers.
        numbers: Vec<u16>,
        /// The position named.
        as_of: Position,
    },
    /// There is none.
    Refused {
        /// Why.
        reason: Reason,
        /// The position named.
        as_of: Position,
    },
    /// There is an entry into a draw.
    Entered {
        /// Its receipt.
        receipt: BookingId,
        /// The position named.
        as_of: Position,
    },
    /// Settles nothing.
    Busy,
}

/// What a client wants of a booking that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Pays for it.
    Confirm,
    /// Gives it back, or this member's seat.
    Cancel(Pseudonym),
    /// Moves it to this slot.
    Move(u32),
}

/// One attempt of one request, as its client logged it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// A change of this booking; none: asks for one.
    pub change: Option<(BookingId, Wish)>,
    /// The request's id.
    pub request_id: String,
    /// Who asks.
    pub applicants: Vec<Pseudonym>,
    /// Which slots, by preference.
    pub slots: Vec<u32>,
    /// Digest of the content.
    pub content: Digest,
    /// When it was sent, ms.
    pub sent_ms: u64,
    /// What came back, and when, ms.
    pub told: Vec<(u64, Told)>,
}

/// What a run leaves to be judged.
#[derive(Debug)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// The order of its opening.
    pub order: Order,
    /// What the broker holds.
    pub streams: Streams,
    /// What clients saw.
    pub attempts: Vec<Attempt>,
    /// The state's hash in the engine that was active last, and the sequence it
    /// had applied.
    pub live: Option<(BlockHash, u64)>,
    /// Places of every slot, taken or not, in that engine: (free, durably free).
    pub places: Vec<(i32, i32)>,
    /// Faults that happened, by name.
    pub faults: Vec<&'static str>,
    /// Engines that called the ledger damaged.
    pub damaged: Vec<String>,
}

/// The opening of a run, in this order. One that is drawn closes while faults
/// still happen.
fn opening_of(order: Order) -> OpeningRecord {
    let mut record = opening();
    if order == Order::Draw {
        record.closes_at = BEGIN.plus_millis(DRAWN_AT_MS);
    }
    record.rules.order = order;
    record
}

/// The secret that the seeds of orders are made with.
pub(crate) fn order_key() -> OrderKey {
    OrderKey::new([5; 32])
}

/// The opening every run has, but for its order.
pub(crate) fn opening() -> OpeningRecord {
    let session = |id: &str, restricted| Session {
        id: id.into(),
        label: id.into(),
        restricted,
        explicit: false,
    };
    let date = |day: &str| day.parse().expect("a day");
    OpeningRecord {
        ordinal: 0,
        id: "sim".into(),
        timezone: "UTC".into(),
        opens_at: BEGIN.plus_millis(500),
        closes_at: BEGIN.plus_millis(7 * 24 * 3_600_000),
        rules: Rules {
            order: Order::FirstCome,
            max_party: 5,
            max_per_account: None,
            hold_ms: Some(HOLD_MS),
            cancelled: ReturnRule::Immediate,
            expired: ReturnRule::Delayed { from_ms: 200, to_ms: 900 },
            across_openings: false,
            max_changes: u16::MAX,
            bookable_until: BookableUntil::DayBegins,
            max_bookings: u16::MAX,
            leftovers: Leftovers::None,
        },
        offices: vec![
            Office { id: "a".into(), name: "A".into(), sessions: vec![session("all", false)] },
            Office { id: "b".into(), name: "B".into(), sessions: vec![session("all", false)] },
        ],
        slots: vec![
            Slot {
                office: 0,
                session: 0,
                date: date("2026-11-30"),
                quota: 7,
                bookable_until: Timestamp::LATEST,
            },
            Slot {
                office: 0,
                session: 0,
                date: date("2026-12-01"),
                quota: 20,
                bookable_until: Timestamp::LATEST,
            },
            Slot {
                office: 1,
                session: 0,
                date: date("2026-11-30"),
                quota: 40,
                bookable_until: Timestamp::LATEST,
            },
        ],
    }
}

enum Event {
    /// An append reaches the stream.
    AppendArrives {
        engine: usize,
        term: u64,
        attempt: Sent,
        generation: u32,
        expected_last: u64,
        bytes: Bytes,
    },
    /// A result reaches the engine.
    Outcome {
        engine: usize,
        term: u64,
        attempt: Sent,
        outcome: Appended,
    },
    /// A read reaches the stream.
    ReadArrives {
        engine: usize,
        term: u64,
        attempt: Sent,
        generation: u32,
        seq: u64,
    },
    ReadResult {
        engine: usize,
        term: u64,
        attempt: Sent,
        read: Read,
    },
    /// A client sends (again).
    Send {
        request: usize,
    },
    /// A request reaches an engine, by the subscription of one term of office.
    Request {
        engine: usize,
        term: u64,
        attempt: usize,
    },
    /// An answer reaches its client.
    Told {
        attempt: usize,
        told: Told,
    },
    /// A client's patience ends.
    Patience {
        request: usize,
        attempt: usize,
    },
    /// An engine looks at lease and clock.
    Tick {
        engine: usize,
    },
    Fault,
    /// The engine in office is to roll the ledger.
    Roll,
}

#[derive(Clone)]
struct Request {
    change: Option<(BookingId, Wish)>,
    request_id: String,
    applicants: Vec<Pseudonym>,
    slots: Vec<u32>,
    content: Digest,
    repeats: u32,
}

struct Engine {
    /// Counts its terms of office: each has channels of its own, and what comes back
    /// after one has ended reaches nobody.
    term: u64,
    up: bool,
    paused_until_ms: u64,
    /// What its clock shows beyond true time, ms.
    skew_ms: i64,
    lease_until_ms: u64,
    sequencer: Option<Sequencer<usize>>,
    follower: Option<Keeper>,
}

/// Everything there is in one run.
pub struct World {
    rng: StdRng,
    now_ms: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    payloads: std::collections::HashMap<u64, Event>,
    counter: u64,
    streams: Streams,
    engines: Vec<Engine>,
    /// Who holds the lease, and until when.
    lease: Option<(usize, u64)>,
    requests: Vec<Request>,
    attempts: Vec<Attempt>,
    attempt_of: Vec<usize>,
    faults: Vec<&'static str>,
    damaged: Vec<String>,
    mutant: Option<Mutant>,
    order: Order,
    disk_full_until_ms: u64,
}

/// Runs the world of this seed to its end.
pub fn run(seed: u64, mutant: Option<Mutant>) -> Run {
    run_in(seed, mutant, Order::FirstCome)
}

/// Runs the world of this seed with an opening of this order.
pub fn run_in(seed: u64, mutant: Option<Mutant>, order: Order) -> Run {
    let mut world = World::new(seed, mutant);
    world.order = order;
    world.live();
    world.into_run(seed)
}

impl World {
    fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let genesis = Block {
            format: FORMAT,
            ledger: LedgerId([7; 16]),
            generation: 1,
            number: 1,
            epoch: 0,
            writer: WriterNonce([0; 16]),
            time: BEGIN,
            previous: BlockHash::ZERO,
            entries: vec![Entry::Genesis(Genesis {
                prefix: "sim".into(),
                applicant_key: KeyFingerprint([0; 16]),
                release: "sim".into(),
                continues: None,
                rebuilt: None,
            })],
        };
        let mut rng = StdRng::seed_from_u64(seed);
        let engines = (0..3)
            .map(|_| Engine {
                term: 0,
                up: true,
                paused_until_ms: 0,
                skew_ms: rng.random_range(-2_000..2_000),
                lease_until_ms: 0,
                sequencer: None,
                follower: Some(Keeper::new()),
            })
            .collect();
        let mut world = Self {
            rng,
            now_ms: 0,
            events: BinaryHeap::new(),
            payloads: std::collections::HashMap::new(),
            counter: 0,
            streams: Streams::new(genesis.seal().bytes.into()),
            engines,
            lease: None,
            requests: Vec::new(),
            attempts: Vec::new(),
            attempt_of: Vec::new(),
            faults: Vec::new(),
            damaged: Vec::new(),
            mutant,
            order: Order::FirstCome,
            disk_full_until_ms: 0,
        };
        world.plan();
        world
    }

    /// Requests, ticks and faults to come.
    fn plan(&mut self) {
        for engine in 0..self.engines.len() {
            self.at(self.now_ms + 1, Event::Tick { engine });
        }
        let people = 120;
        for i in 0..self.rng.random_range(80..160usize) {
            let party = if self.rng.random_bool(0.2) { self.rng.random_range(2..=4) } else { 1 };
            let mut applicants: Vec<Pseudonym> = Vec::new();
            while applicants.len() < party {
                let id = self.rng.random_range(0..people) as u8;
                let applicant = Pseudonym::from_bytes([id.wrapping_add(1); 16]);
                if !applicants.contains(&applicant) {
                    applicants.push(applicant);
                }
            }
            let slots = match self.rng.random_range(0..4) {
                0 => vec![0],
                1 => vec![0, 1],
                2 => vec![2],
                _ => vec![1, 2],
            };
            // Sometimes an id is used again, for the same or for something else.
            let request_id = format!("r{}", if self.rng.random_bool(0.15) { i / 2 } else { i });
            let mut content = Digest([0; 16]);
            let people = applicants.iter().map(|a| a.as_bytes()[0]);
            let wanted = slots.iter().map(|slot| 200 + *slot as u8);
            for (place, byte) in content.0.iter_mut().zip(people.chain(wanted)) {
                *place = byte;
            }
            let repeats = self.rng.random_range(0..3);
            let change = None;
            self.requests.push(Request { change, request_id, applicants, slots, content, repeats });
            self.attempt_of.push(0);
            let at = self.rng.random_range(400..FAULTS_END_MS);
            self.at(at, Event::Send { request: i });
        }
        for _ in 0..self.rng.random_range(3..9) {
            let at = self.rng.random_range(300..FAULTS_END_MS);
            self.at(at, Event::Fault);
        }
        for _ in 0..self.rng.random_range(0..3) {
            let at = self.rng.random_range(600..FAULTS_END_MS);
            self.at(at, Event::Roll);
        }
    }

    fn at(&mut self, ms: u64, event: Event) {
        self.counter += 1;
        self.payloads.insert(self.counter, event);
        self.events.push(Reverse((ms, self.counter)));
    }

    fn soon(&mut self, event: Event) {
        let delay = if self.rng.random_bool(0.03) && self.now_ms < FAULTS_END_MS {
            self.rng.random_range(50..3_000)
        } else {
            self.rng.random_range(1..6)
        };
        self.at(self.now_ms + delay, event);
    }

    fn live(&mut self) {
        while let Some(Reverse((ms, id))) = self.events.pop() {
            if ms > END_MS {
                return;
            }
            self.now_ms = self.now_ms.max(ms);
            let event = self.payloads.remove(&id).expect("planned with it");
            self.happen(event);
        }
    }

    fn now(&self, engine: usize) -> Now {
        let wall = BEGIN.as_millis() + self.now_ms as i64 + self.engines[engine].skew_ms;
        Now { wall: Timestamp::from_millis(wall), mono_ms: self.now_ms }
    }

    fn is_paused(&self, engine: usize) -> bool {
        self.engines[engine].paused_until_ms > self.now_ms
    }

    /// What reaches a paused engine reaches it when it goes on.
    fn postponed(&mut self, engine: usize, event: Event) -> Option<Event> {
        if self.is_paused(engine) {
            let at = self.engines[engine].paused_until_ms;
            self.at(at, event);
            return None;
        }
        Some(event)
    }

    fn happen(&mut self, event: Event) {
        let event = match event {
            Event::Outcome { engine, .. }
            | Event::ReadResult { engine, .. }
            | Event::Request { engine, .. }
            | Event::Tick { engine } => match self.postponed(engine, event) {
                Some(event) => event,
                None => return,
            },
            event => event,
        };
        match event {
            Event::AppendArrives { engine, term, attempt, generation, expected_last, bytes } => {
                self.append_arrives((engine, term), attempt, (generation, expected_last), bytes);
            }
            Event::Outcome { engine, term, attempt, outcome } => {
                let now = self.now(engine);
                if self.engines[engine].term == term
                    && let Some(sequencer) = &mut self.engines[engine].sequencer
                {
                    sequencer.appended(attempt, outcome, now);
                    self.perform(engine);
                }
            }
            Event::ReadArrives { engine, term, attempt, generation, seq } => {
                let read = match self.streams.read(generation, seq) {
                    _ if self.rng.random_bool(0.05) && self.now_ms < FAULTS_END_MS => Read::Failed,
                    Some(bytes) => Read::Found(bytes.clone()),
                    None => Read::Nothing { tail: self.streams.last(generation) },
                };
                self.soon(Event::ReadResult { engine, term, attempt, read });
            }
            Event::ReadResult { engine, term, attempt, read } => {
                let now = self.now(engine);
                if self.engines[engine].term == term
                    && let Some(sequencer) = &mut self.engines[engine].sequencer
                {
                    sequencer.read(attempt, &read, now);
                    self.perform(engine);
                }
            }
            Event::Send { request } => self.send(request),
            Event::Request { engine, term, attempt } if self.engines[engine].term == term => {
                self.request(engine, attempt);
            }
            Event::Request { .. } => {}
            Event::Told { attempt, told } => self.told(attempt, told),
            Event::Patience { request, attempt } => self.patience(request, attempt),
            Event::Tick { engine } => {
                self.tick(engine);
                self.at(self.now_ms + 20, Event::Tick { engine });
            }
            Event::Fault => self.fault(),
            Event::Roll => self.roll(),
        }
    }

    /// Who has got a booking may want to change it, and perhaps more than once.
    fn told(&mut self, attempt: usize, told: Told) {
        let first = self.attempts[attempt].told.is_empty();
        if let (Told::Granted { booking, .. }, true, true) =
            (&told, first, self.now_ms < FAULTS_END_MS + 5_000)
        {
            let booking = *booking;
            let applicants = self.attempts[attempt].applicants.clone();
            while self.rng.random_bool(0.5) {
                let wish = match self.rng.random_range(0..4) {
                    0 | 1 => Wish::Confirm,
                    2 => Wish::Cancel(applicants[self.rng.random_range(0..applicants.len())]),
                    _ => Wish::Move(self.rng.random_range(0..3)),
                };
                let request = self.requests.len();
                self.requests.push(Request {
                    change: Some((booking, wish)),
                    request_id: format!("c{request}"),
                    applicants: applicants.clone(),
                    slots: Vec::new(),
                    content: Digest([0; 16]),
                    repeats: self.rng.random_range(0..2),
                });
                self.attempt_of.push(0);
                let at = self.now_ms + self.rng.random_range(1..4_000);
                self.at(at, Event::Send { request });
            }
        }
        let now = self.now_ms;
        self.attempts[attempt].told.push((now, told));
    }

    fn append_arrives(
        &mut self,
        (engine, term): (usize, u64),
        attempt: Sent,
        (generation, expected_last): (u32, u64),
        bytes: Bytes,
    ) {
        let faults = self.now_ms < FAULTS_END_MS;
        if faults && self.rng.random_bool(0.03) {
            self.faults.push("append lost");
            return;
        }
        if faults && self.rng.random_bool(0.02) {
            self.faults.push("append repeated");
            self.soon(Event::AppendArrives {
                engine,
                term,
                attempt,
                generation,
                expected_last,
                bytes: bytes.clone(),
            });
        }
        let last = self.streams.last(generation);
        let fenced = self.mutant != Some(Mutant::NoFence) && expected_last != last;
        let outcome = if fenced {
            Appended::WrongLastSequence
        } else if self.disk_full_until_ms > self.now_ms {
            Appended::Refused
        } else {
            let forgets = self.mutant == Some(Mutant::ForgetsBlock) && self.rng.random_bool(0.1);
            if !forgets {
                self.streams.push(generation, bytes);
            }
            Appended::Stored { seq: last + 1 }
        };
        if faults && self.rng.random_bool(0.04) {
            self.faults.push("outcome lost");
            return;
        }
        self.soon(Event::Outcome { engine, term, attempt, outcome });
    }

    fn perform(&mut self, engine: usize) {
        loop {
            let Some(sequencer) = &mut self.engines[engine].sequencer else { return };
            let effects = sequencer.effects();
            if effects.is_empty() {
                return;
            }
            let term = self.engines[engine].term;
            for effect in effects {
                match effect {
                    Effect::Append { attempt, generation, expected_last, bytes } => {
                        self.soon(Event::AppendArrives {
                            engine,
                            term,
                            attempt,
                            generation,
                            expected_last,
                            bytes,
                        });
                    }
                    Effect::Read { attempt, generation, seq } => {
                        self.soon(Event::ReadArrives { engine, term, attempt, generation, seq });
                    }
                    Effect::Answer { ticket, outcome, .. } => self.answer(engine, ticket, outcome),
                    Effect::Foreign(_) => self.faults.push("foreign at the place"),
                    Effect::Active(_) => self.enter_office(engine),
                    Effect::Idle(why) => self.leave_office(engine, &why),
                }
            }
        }
    }

    fn enter_office(&mut self, engine: usize) {
        let now = self.now(engine);
        if let Some(sequencer) = &mut self.engines[engine].sequencer
            && !sequencer.records_openings()
            && !sequencer.keeper().knows_opening("sim")
        {
            sequencer.record_openings(vec![opening_of(self.order)], now);
        }
    }

    fn leave_office(&mut self, engine: usize, why: &Why) {
        match why {
            Why::Damaged(error) => self.damaged.push(error.to_string()),
            Why::Lost(lost) => self.damaged.push(lost.to_string()),
            Why::Finished | Why::Deposed => {}
        }
        let engine = &mut self.engines[engine];
        engine.follower = engine.sequencer.take().map(Sequencer::into_keeper);
        engine.lease_until_ms = 0;
    }

    fn answer(&mut self, engine: usize, attempt: usize, outcome: Outcome) {
        let (told, needs_lease) = match outcome {
            Outcome::Granted(found, durable) => (granted(&found, durable.position()), false),
            Outcome::Settled(Settled::Repeat(found, durable)) => {
                (granted(&found, durable.position()), true)
            }
            Outcome::Settled(Settled::Refused(refusal, durable)) => {
                (Told::Refused { reason: refusal.reason, as_of: durable.position() }, true)
            }
            Outcome::Entered(entered, durable) => {
                (entered_as(&entered.waiting, durable.position()), true)
            }
            Outcome::Settled(Settled::Entered { waiting, durable, .. }) => {
                (entered_as(&waiting, durable.position()), true)
            }
            Outcome::Busy => (Told::Busy, true),
            Outcome::Changed(found, durable) => (granted(&found, durable.position()), false),
            other => {
                self.damaged.push(format!("nobody asked for {other:?}"));
                return;
            }
        };
        let stands = self.engines[engine].lease_until_ms > self.now_ms;
        if stands || !needs_lease || self.mutant == Some(Mutant::NoLease) {
            self.soon(Event::Told { attempt, told });
        }
    }

    fn send(&mut self, request: usize) {
        let Request { change, request_id, applicants, slots, content, .. } =
            &self.requests[request];
        self.attempts.push(Attempt {
            change: *change,
            request_id: request_id.clone(),
            applicants: applicants.clone(),
            slots: slots.clone(),
            content: *content,
            sent_ms: self.now_ms,
            told: Vec::new(),
        });
        let attempt = self.attempts.len() - 1;
        self.attempt_of[request] = attempt;
        // Whoever is subscribed gets it: more than one, after a deposition.
        for engine in 0..self.engines.len() {
            let subscribed =
                self.engines[engine].sequencer.as_ref().is_some_and(Sequencer::is_active);
            if subscribed && self.engines[engine].up {
                let term = self.engines[engine].term;
                self.soon(Event::Request { engine, term, attempt });
            }
        }
        self.at(self.now_ms + PATIENCE_MS, Event::Patience { request, attempt });
    }

    fn patience(&mut self, request: usize, attempt: usize) {
        if self.attempt_of[request] != attempt {
            return;
        }
        let settled = self.attempts[attempt].told.iter().any(|(_, told)| match told {
            Told::Granted { .. } => true,
            Told::Refused { reason, .. } => !reason.worth_a_retry(),
            // What comes of it, they look for later.
            Told::Entered { .. } => self.now_ms > DRAWN_AT_MS,
            Told::Busy => false,
        });
        if settled {
            if self.requests[request].repeats == 0 {
                return;
            }
            self.requests[request].repeats -= 1;
        }
        self.send(request);
    }

    fn request(&mut self, engine: usize, attempt: usize) {
        let now = self.now(engine);
        let Some(sequencer) = &mut self.engines[engine].sequencer else { return };
        if !sequencer.is_active() {
            return;
        }
        let Attempt { change, request_id, applicants, slots, content, .. } =
            &self.attempts[attempt];
        if let Some((booking, wish)) = *change {
            let ask = change_ask(request_id, booking, wish, applicants[0]);
            let time = sequencer.book().engine_time(now.wall);
            match sequencer.book().settled(&ask, time) {
                Some(settled) => self.answer(engine, attempt, Outcome::Settled(settled)),
                None => {
                    sequencer.changes([(ask, attempt)], now);
                    self.perform(engine);
                }
            }
            return;
        }
        let record = opening();
        let choices: Vec<Choice<'_>> = slots
            .iter()
            .map(|slot| {
                let slot = record.slots[*slot as usize];
                Choice {
                    office: record.offices[slot.office as usize].id.clone().into(),
                    date: Some(slot.date),
                    session: None,
                }
            })
            .collect();
        let ask = Ask {
            request_id,
            applicants,
            content: *content,
            choices: &choices,
            opening: None,
            expires_at: None,
            account: None,
            channel: None,
            reference: None,
            vouched: false,
            wait: false,
        };
        let time = sequencer.book().engine_time(now.wall);
        match sequencer.book().decide(&ask, time) {
            Decision::Settled(settled) => {
                self.answer(engine, attempt, Outcome::Settled(settled));
                return;
            }
            Decision::Granted(grant) => {
                if self.mutant == Some(Mutant::ReplyBeforeAck) {
                    let numbers = grant.seats.iter().map(|seat| seat.number).collect();
                    let (booking, slot) = (grant.booking, grant.slot);
                    let as_of = sequencer.keeper().durable().position();
                    let told = Told::Granted { booking, version: 1, slot, numbers, as_of };
                    sequencer.decided([(grant, attempt)], [], now);
                    self.soon(Event::Told { attempt, told });
                } else {
                    sequencer.decided([(grant, attempt)], [], now);
                }
            }
            Decision::Ballot(entry) => {
                sequencer.ballots([(entry, attempt)], now);
                sequencer.decided([], [], now);
            }
            Decision::Collect(ordinal) => {
                sequencer.collect([(ordinal, ask.to_owned(), attempt)], now);
                sequencer.decided([], [], now);
            }
            Decision::Enter(_) | Decision::Wait => {
                sequencer.decided([], [(ask.to_owned(), attempt)], now);
            }
        }
        self.perform(engine);
    }

    /// Renews or seeks the lease, follows the ledger, lets time pass.
    fn tick(&mut self, engine: usize) {
        if !self.engines[engine].up {
            return;
        }
        let now = self.now(engine);
        let free = self.lease.is_none_or(|(_, until)| until <= self.now_ms);
        let mine = self.lease.is_some_and(|(holder, _)| holder == engine);
        if self.engines[engine].sequencer.is_some() {
            // Renewals get lost, too.
            let reaches = !(self.rng.random_bool(0.3) && self.now_ms < FAULTS_END_MS);
            if mine && !free && reaches {
                self.lease = Some((engine, self.now_ms + LEASE_MS));
                self.engines[engine].lease_until_ms = self.now_ms + LEASE_MS - MARGIN_MS;
            } else if !mine || free {
                let sequencer = self.engines[engine].sequencer.as_mut().expect("checked above");
                sequencer.retire();
            }
            if let Some(sequencer) = &mut self.engines[engine].sequencer {
                sequencer.tick(now);
            }
            self.perform(engine);
            return;
        }
        let Some(keeper) = &mut self.engines[engine].follower else { return };
        if let Err(error) = self.streams.follow(keeper) {
            self.damaged.push(error.to_string());
            self.engines[engine].follower = None;
            return;
        }
        if free {
            self.lease = Some((engine, self.now_ms + LEASE_MS));
            self.engines[engine].lease_until_ms = self.now_ms + LEASE_MS - MARGIN_MS;
            let keeper = self.engines[engine].follower.take().expect("checked above");
            let mut ids = StdRng::from_rng(&mut self.rng);
            let writer = WriterNonce(self.rng.random());
            let name = TakeOver {
                engine: format!("engine {engine}"),
                release: "sim".into(),
                forced: None,
            };
            let random = Box::new(move || ids.random::<u128>());
            let first = self.streams.first(keeper.chain().generation + 1);
            let next = Continuation { first, part_bytes: PART_BYTES };
            let sequencer = Sequencer::take_over(keeper, writer, name, random, next, now)
                .with_order_key(order_key());
            self.engines[engine].sequencer = Some(sequencer);
            self.engines[engine].term += 1;
            self.perform(engine);
        }
    }

    fn fault(&mut self) {
        let engine = match self.lease {
            Some((holder, _)) if self.rng.random_bool(0.8) => holder,
            _ => self.rng.random_range(0..self.engines.len()),
        };
        match self.rng.random_range(0..5) {
            0 => {
                self.faults.push("crash");
                let begin = if self.rng.random() { self.streams.newest_begun() } else { 1 };
                let engine = &mut self.engines[engine];
                engine.sequencer = None;
                engine.follower = Some(Keeper::beginning_with(begin));
                engine.lease_until_ms = 0;
            }
            1 => {
                self.faults.push("pause");
                let ms = self.rng.random_range(100..6_000);
                self.engines[engine].paused_until_ms = self.now_ms + ms;
            }
            2 => {
                self.faults.push("clock jump");
                self.engines[engine].skew_ms = self.rng.random_range(-3_600_000..3_600_000);
            }
            3 => {
                self.faults.push("lease taken early");
                self.lease = None;
            }
            _ => {
                self.faults.push("disk full");
                self.disk_full_until_ms = self.now_ms + self.rng.random_range(100..2_000);
            }
        }
    }

    fn roll(&mut self) {
        let active = |e: &Engine| e.sequencer.as_ref().is_some_and(Sequencer::is_active);
        let Some(engine) = self.engines.iter().position(active) else { return };
        let now = self.now(engine);
        let Some(sequencer) = &mut self.engines[engine].sequencer else { return };
        let generation = sequencer.keeper().chain().generation;
        if !sequencer.is_rolling()
            && let Some(first) = self.streams.make_next(generation)
        {
            sequencer.roll(format!("generation {}", generation + 1), first, None, now);
            self.faults.push("roll");
            self.perform(engine);
        }
    }

    fn into_run(self, seed: u64) -> Run {
        let active = self
            .engines
            .iter()
            .find_map(|engine| engine.sequencer.as_ref().filter(|s| s.is_active()));
        let live = active.map(|s| (s.keeper().state_hash(), s.keeper().chain().seq));
        // With a block on its way, places are taken that are not durable yet.
        let places = active
            .filter(|s| s.in_flight().is_none())
            .and_then(|s| s.book().openings().first().cloned())
            .map(|o| (0..o.slots()).map(|slot| (o.free(slot), o.durably_free(slot))).collect())
            .unwrap_or_default();
        Run {
            seed,
            order: self.order,
            streams: self.streams,
            attempts: self.attempts,
            live,
            places,
            faults: self.faults,
            damaged: self.damaged,
        }
    }
}

fn change_ask(request_id: &str, booking: BookingId, wish: Wish, first: Pseudonym) -> ChangeAsk {
    let deed = match wish {
        Wish::Confirm => Deed::Confirm { reference: Some(request_id.into()) },
        Wish::Cancel(applicant) => Deed::Cancel { applicant },
        Wish::Move(slot) => {
            let record = opening();
            let slot = record.slots[slot as usize];
            let office = record.offices[slot.office as usize].id.clone().into();
            let choices = vec![Choice { office, date: Some(slot.date), session: None }];
            Deed::Reschedule { applicant: first, choices, content: Digest([1; 16]) }
        }
    };
    ChangeAsk { request_id: request_id.into(), target: Some(booking), deed }
}

fn entered_as(waiting: &Waiting, as_of: Position) -> Told {
    Told::Entered { receipt: waiting.entry.receipt, as_of }
}

fn granted(found: &Found, as_of: Position) -> Told {
    Told::Granted {
        booking: found.booking.id,
        version: found.booking.version,
        slot: found.booking.slot,
        numbers: found.booking.seats.iter().map(|seat| seat.number).collect(),
        as_of,
    }
}
