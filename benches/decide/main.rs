//! `giliran-allocator` alone: deciding, beside one mutex around a plain map.
//!
//! Granted, sold out and already booked; one thread and two; on books of 10³ to
//! 10⁶ bookings (`GILIRAN_BENCH_BOOKINGS=10000000` for 10⁷). A measured call
//! decides a thousand requests, so times are per thousand. With `--ratios`, and
//! perhaps a file: [`ratios`] instead.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(clippy::unwrap_used, reason = "a benchmark")]

mod ratios;

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use giliran_allocator::{Allocator, BookingRequest, Decision, Numbered};
use giliran_testkit::{LiveLedger, cheap_person as person, opening, request};
use giliran_wire::ledger::Entry;
use giliran_wire::request::Choice;
use giliran_wire::{Pseudonym, Text, Timestamp};

const NOW: Timestamp = LiveLedger::NOW;

/// Requests a measured call decides.
const CALL: u64 = 1_000;
/// Slots; 500 as in the throughput goals. The last one is full.
const SLOTS: usize = 500;

fn ask<'a>(person: &'a [Pseudonym; 1], choices: &'a [Choice<'a>]) -> BookingRequest<'a> {
    request("request-0001", person, choices)
}

fn choices() -> Vec<[Choice<'static>; 1]> {
    (0..SLOTS)
        .map(|slot| {
            let session = Some(Text::from(format!("s{slot}")));
            [Choice { office: "o".into(), date: None, session }]
        })
        .collect()
}

/// A book of so many durable bookings whose last slot is full.
fn booked(bookings: u64) -> LiveLedger {
    let mut quotas = vec![65_535; SLOTS];
    quotas[SLOTS - 1] = 1;
    let mut ledger = LiveLedger::with(vec![opening(&quotas)]);
    let choices = choices();
    let mut grants = Vec::new();
    let book = Arc::clone(ledger.state.allocator());
    for i in 0..bookings {
        let slot = if i == 0 { SLOTS - 1 } else { i as usize % (SLOTS - 1) };
        let Decision::Granted(mut grant) = book.decide(&ask(&[person(i)], &choices[slot]), NOW)
        else {
            panic!("booking {i} is not granted")
        };
        assert_eq!(ledger.state.assign_numbers(&mut grant, NOW, u128::from(i) + 1), Numbered::Done);
        grants.push(Entry::Grant(grant.enter().as_grant().to_owned()));
        if grants.len() == 2_000 {
            ledger.append(std::mem::take(&mut grants));
        }
    }
    ledger.append(grants);
    // The blocks are not needed any more.
    ledger.blocks.clear();
    ledger
}

/// Decides a call's requests on so many threads; the time of the deciding alone.
fn decide(
    book: &Arc<Allocator>,
    threads: u64,
    from: u64,
    slot: impl Fn(u64) -> usize + Sync,
) -> Duration {
    let choices = choices();
    let decide = |share: u64| {
        let mut granted = Vec::with_capacity(CALL as usize);
        let started = Instant::now();
        for i in (share..CALL).step_by(threads as usize) {
            let person = [person(from + i)];
            match book.decide(&ask(&person, &choices[slot(i)]), NOW) {
                Decision::Granted(grant) => granted.push(grant),
                other => drop(black_box(other)),
            }
        }
        let took = started.elapsed();
        // Given back, so that the book stays as large as it says.
        drop(granted);
        took
    };
    if threads == 1 {
        return decide(0);
    }
    std::thread::scope(|scope| {
        let decide = &decide;
        let shares: Vec<_> = (0..threads).map(|share| scope.spawn(move || decide(share))).collect();
        shares.into_iter().map(|share| share.join().unwrap()).max().unwrap()
    })
}

/// The plainest thing that is right: one lock around everything.
#[derive(Default)]
struct Plain {
    booked: HashMap<Pseudonym, usize>,
    free: Vec<i32>,
}

fn plain(state: &Mutex<Plain>, from: u64) -> Duration {
    let started = Instant::now();
    for i in 0..CALL {
        let mut state = state.lock().unwrap();
        let (person, slot) = (person(from + i), i as usize % (SLOTS - 1));
        if !state.booked.contains_key(&person) && state.free[slot] > 0 {
            state.free[slot] -= 1;
            state.booked.insert(person, slot);
        }
    }
    let took = started.elapsed();
    let mut state = state.lock().unwrap();
    for i in 0..CALL {
        if let Some(slot) = state.booked.remove(&person(from + i)) {
            state.free[slot] += 1;
        }
    }
    took
}

fn benches(criterion: &mut Criterion) {
    let most = most_bookings();
    for bookings in
        [1_000, 10_000, 100_000, 1_000_000, 10_000_000].into_iter().filter(|n| *n <= most)
    {
        let ledger = booked(bookings);
        let book = ledger.state.allocator();
        let mut group = criterion.benchmark_group(format!("{bookings} bookings"));
        group.throughput(Throughput::Elements(CALL)).sample_size(20);
        for threads in [1, 2] {
            let mut bench = |name: &str, from: u64, full: bool| {
                let id = BenchmarkId::new(name, format!("{threads} threads"));
                group.bench_function(id, |b| {
                    b.iter_custom(|calls| {
                        let slot = |i: u64| if full { SLOTS - 1 } else { i as usize % (SLOTS - 1) };
                        (0..calls).map(|_| decide(book, threads, from, slot)).sum()
                    });
                });
            };
            bench("granted", bookings, false);
            bench("sold out", bookings, true);
            bench("already booked", 0, false);
        }
        let state = Mutex::new(Plain {
            booked: (0..bookings).map(|i| (person(i), 0)).collect(),
            free: vec![i32::MAX; SLOTS],
        });
        group.bench_function("granted, one mutex", |b| {
            b.iter_custom(|calls| (0..calls).map(|_| plain(&state, bookings)).sum());
        });
        group.finish();
    }
}

/// Bookings of the largest book.
fn most_bookings() -> u64 {
    let most = std::env::var("GILIRAN_BENCH_BOOKINGS").ok().and_then(|n| n.parse().ok());
    most.unwrap_or(1_000_000)
}

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--ratios").skip(1);
    if std::env::args().any(|argument| argument == "--ratios") {
        // Cargo's own `--bench` may stand behind it.
        ratios::measure(arguments.find(|argument| !argument.starts_with("--")).as_deref());
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
}
