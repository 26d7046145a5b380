//! The steps of a request without NATS: read, decide, write the answer, and a grant's way
//! through the sequencer. Each step does one thing so many times and nothing else.
//!
//! ```text
//! steps STEP TIMES
//! ```
//!
//! `cargo xtask bench steps` counts what a step executes: the difference of two counts is
//! free of what comes before. `cargo bench --bench steps` without arguments prints times.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use giliran_allocator::{Allocator, BookingRequest, Content, Decision, Settled};
use giliran_testkit::{BEGIN, SequencerHarness, cheap_person as person, opening};
use giliran_wire::answer::{self, Answer, Parts, Rejection, Verdict};
use giliran_wire::ledger::OpeningRecord;
use giliran_wire::request::{self, Book, Choice, Form, Payload};
use giliran_wire::{ApplicantKey, BookingId, Position, Pseudonym, Timestamp};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Slots; the last one is full.
const SLOTS: u32 = 500;
/// Requests in a message that holds several.
const BATCH: u64 = 1_000;
/// Times that a step is done where none are named.
const TIMES: u64 = 20_000;

const STEPS: [&str; 10] = [
    "read one",
    "read batch",
    "read json",
    "pseudonym",
    "decide sold out",
    "decide granted",
    "write rejection",
    "write batch",
    "write granted",
    "sequence granted",
];

struct Steps {
    harness: SequencerHarness,
    key: ApplicantKey,
    allocator: Arc<Allocator>,
    /// A request for each slot that has room.
    slots: Vec<Book<'static>>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["--list"] {
        STEPS.iter().for_each(|step| println!("{step}"));
        return;
    }
    if let [step, times] = &arguments[..] {
        Steps::new().step(step, times.parse().unwrap());
        return;
    }
    for step in STEPS {
        let mut steps = Steps::new();
        let started = Instant::now();
        steps.step(step, TIMES);
        let each = started.elapsed().as_secs_f64() * 1e9 / TIMES as f64;
        println!("{step:<20}{each:>10.0} ns");
    }
}

impl Steps {
    fn new() -> Self {
        let mut quotas = vec![65_535; SLOTS as usize];
        quotas[SLOTS as usize - 1] = 1;
        let mut harness = SequencerHarness::new();
        let opens_at = Timestamp::from_millis(BEGIN);
        let record = opening(&quotas);
        harness.record(vec![OpeningRecord {
            opens_at,
            closes_at: opens_at.plus_millis(86_400_000),
            ..record
        }]);
        harness.tick(1);
        let allocator = Arc::clone(harness.sequencer.allocator());
        let slots = (0..SLOTS - 1).map(|slot| book(0, slot)).collect();
        let mut steps = Self { harness, key: ApplicantKey::new(&[1; 32]), allocator, slots };
        // The last slot is full from here on.
        steps.sequence(0, 1, &book(0, SLOTS - 1));
        steps
    }

    fn step(&mut self, step: &str, times: u64) {
        match step {
            "read one" => {
                let payload = payload(1);
                (0..times).for_each(|_| read(&payload));
            }
            "read batch" => {
                let payload = payload(BATCH);
                (0..times.div_ceil(BATCH)).for_each(|_| read(&payload));
            }
            "read json" => {
                let payload = serde_json::to_vec(&book(0, 0)).unwrap();
                (0..times).for_each(|_| read(&payload));
            }
            "pseudonym" => {
                let book = book(0, 0);
                (0..times).for_each(|_| drop(black_box(book.pseudonyms(&self.key))));
            }
            "decide sold out" => {
                let full = book(0, SLOTS - 1);
                (0..times).for_each(|i| self.decide(i + 10, &full, false));
            }
            "decide granted" => {
                let slots = &self.slots;
                (0..times)
                    .for_each(|i| self.decide(i + 10, &slots[i as usize % slots.len()], true));
            }
            "write rejection" => self.write_rejection(times),
            "write batch" => self.write_batch(times),
            "write granted" => self.write_granted(times),
            "sequence granted" => {
                for i in 0..times.div_ceil(BATCH) {
                    self.sequence(10 + i * BATCH, BATCH, &book(0, i as u32 % (SLOTS - 1)));
                }
            }
            other => panic!("{other}: there are {STEPS:?}"),
        }
    }

    /// A new applicant's request.
    fn decide(&self, number: u64, slot: &Book<'_>, granted: bool) {
        let decision = self.ask(&[person(number)], slot);
        assert_eq!(matches!(black_box(decision), Decision::Granted(_)), granted);
    }

    fn ask(&self, applicants: &[Pseudonym], book: &Book<'_>) -> Decision {
        let ask = BookingRequest {
            request_id: &book.request_id,
            applicants,
            content: Content::Of(book.wanted(), applicants),
            choices: &book.choices,
            opening: None,
            expires_at: None,
            account: None,
            channel: book.channel.as_deref(),
            reference: None,
            vouched: false,
            wait: false,
        };
        self.allocator.decide(&ask, self.harness.now.wall)
    }

    /// Many grants from the decision to the answers' data, block by block.
    fn sequence(&mut self, from: u64, count: u64, slot: &Book<'_>) {
        let mut granted = Vec::with_capacity(count as usize);
        for i in from..from + count {
            match self.ask(&[person(i)], slot) {
                Decision::Granted(grant) => granted.push((grant, i)),
                other => panic!("{other:?}"),
            }
        }
        self.harness.input(|sequencer, now| sequencer.submit_grants(granted, [], now));
        self.harness.run();
        assert_eq!(self.harness.answers.len(), count as usize);
        self.harness.answers.clear();
    }

    fn rejection(&self) -> Rejection<'static> {
        let decision = self.ask(&[person(9)], &book(9, SLOTS - 1));
        let Decision::Settled(Settled::Rejected(rejection, durable)) = decision else { panic!() };
        Rejection::new(rejection.reason).as_of(durable.position())
    }

    fn write_rejection(&self, times: u64) {
        let rejection = self.rejection();
        let mut out = Vec::with_capacity(64);
        for _ in 0..times {
            out.clear();
            let verdict = Verdict::Rejected(black_box(&rejection).clone());
            let answer = Answer { request_id: Some("bench-0000000001".into()), verdict };
            answer::write(Form::Binary, &[answer], &mut out);
        }
    }

    fn write_batch(&self, times: u64) {
        let rejection = self.rejection();
        for _ in 0..times.div_ceil(BATCH) {
            let mut parts = Parts::new(Form::Binary, BATCH as usize);
            for index in 0..BATCH as usize {
                let verdict = Verdict::Rejected(black_box(&rejection).clone());
                let answer = Answer { request_id: Some("bench-0000000001".into()), verdict };
                parts.put(index, &answer);
            }
            black_box(parts.take_payload());
        }
    }

    fn write_granted(&self, times: u64) {
        let granted = granted();
        for _ in 0..times.div_ceil(BATCH) {
            let mut parts = Parts::new(Form::Binary, BATCH as usize);
            (0..BATCH as usize).for_each(|index| parts.put(index, black_box(&granted)));
            black_box(parts.take_payload());
        }
    }
}

/// A grant as clients see it.
fn granted() -> Answer<'static> {
    let booking = answer::Booking {
        id: BookingId::from_random(1 << 70),
        version: 1,
        status: answer::Status::Confirmed,
        opening: "bench".into(),
        office: "office-17".into(),
        date: "2030-01-07".parse().unwrap(),
        session: "all".into(),
        numbers: [1].into_iter().collect(),
        request_id: "bench-0000000001".into(),
        reference: None,
        channel: Some("bench".into()),
        granted_at: Timestamp::from_millis(BEGIN),
        hold_expires_at: None,
    };
    let (request_id, as_of) = (Some(booking.request_id.clone()), Position { epoch: 1, seq: 7 });
    Answer { request_id, verdict: Verdict::Granted { booking, as_of } }
}

/// A request for one slot, as the bench over NATS sends it.
fn book(number: u64, slot: u32) -> Book<'static> {
    Book {
        request_id: format!("bench-{number:010}").into(),
        applicants: [format!("{:016}", 2_171_000_000_000_000 + number).into()].into(),
        choices: [Choice {
            office: "o".into(),
            date: None,
            session: Some(format!("s{slot}").into()),
        }]
        .into(),
        opening: None,
        expires_at: None,
        account: None,
        channel: Some("bench".into()),
        reference: None,
        wait: false,
    }
}

fn payload(count: u64) -> Vec<u8> {
    let books: Vec<Book<'_>> = (0..count).map(|i| book(i, 0)).collect();
    request::write_binary(&books)
}

fn read(payload: &[u8]) {
    let read = request::read::<Book<'_>>(black_box(payload)).unwrap();
    if let Payload::Many(_, items) = &read {
        assert!(items.iter().all(Result::is_ok));
    }
    black_box(read);
}
