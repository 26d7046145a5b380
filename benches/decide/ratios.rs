//! Row S7: deciding beside the least that could decide.
//!
//! A grant is held against one `entry` of a map and one compare-and-swap, a request that
//! finds a slot sold out against one `get` and one load; both on a book of the same size,
//! whose map hashes as the allocator's. Threads are started once; a pass is a number of
//! requests that they share, each keeps what it took until the pass is over, and gives it
//! back before the next one, which is not measured.

use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use giliran_allocator::{Allocator, Decision};
use giliran_testkit::cheap_person as person;
use giliran_wire::Pseudonym;

use crate::{NOW, SLOTS, ask, booked, choices, most_bookings};

/// Requests of a pass, of all threads together.
const PASS: u64 = 100_000;
/// How long passes of one kind take together, at least.
const LEAST: Duration = Duration::from_secs(1);
/// Times that each kind is measured; the median counts.
const TIMES: usize = 5;

/// A map that takes a key's last eight bytes for its hash.
type Map = DashMap<Pseudonym, u32, BuildHasherDefault<LastBytes>>;

#[derive(Default)]
struct LastBytes(u64);

impl Hasher for LastBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The least that could decide.
struct Least {
    claims: Map,
    free: Vec<AtomicI32>,
}

impl Least {
    fn booked(bookings: u64) -> Self {
        let claims = Map::default();
        for n in 0..bookings {
            claims.insert(person(n), 0);
        }
        let free =
            (0..SLOTS).map(|slot| AtomicI32::new(if slot == SLOTS - 1 { 0 } else { i32::MAX }));
        Self { claims, free: free.collect() }
    }

    fn grant(&self, people: Range<u64>) -> Vec<Pseudonym> {
        let mut granted = Vec::with_capacity(people_in(&people));
        for n in people {
            let (person, slot) = (person(n), open_slot(n));
            let Entry::Vacant(claim) = self.claims.entry(person) else { panic!("{n} has booked") };
            // Relaxed: a count of places, which guards no other memory.
            let taken =
                self.free[slot].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
                    (free > 0).then_some(free - 1)
                });
            taken.unwrap();
            claim.insert(slot as u32);
            granted.push(person);
        }
        granted
    }

    fn give_back(&self, granted: Vec<Pseudonym>) {
        for person in granted {
            let (_, slot) = self.claims.remove(&person).unwrap();
            self.free[slot as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn reject(&self, people: Range<u64>) {
        for n in people {
            assert!(self.claims.get(&person(n)).is_none());
            assert_eq!(black_box(&self.free[SLOTS - 1]).load(Ordering::Relaxed), 0);
        }
    }
}

fn people_in(people: &Range<u64>) -> usize {
    (people.end - people.start) as usize
}

fn open_slot(n: u64) -> usize {
    n as usize % (SLOTS - 1)
}

/// Requests a second: each thread does its share of the pass, and then gives back.
fn rate<T>(
    threads: u64,
    first: u64,
    pass: impl Fn(Range<u64>) -> T + Sync,
    give_back: impl Fn(T) + Sync,
) -> f64 {
    let (together, is_over) = (Barrier::new(threads as usize), AtomicBool::new(false));
    let work = |thread: u64| {
        let share = PASS / threads;
        let people = first + thread * share..first + (thread + 1) * share;
        let (mut spent, mut passes) = (Duration::ZERO, 0);
        // Relaxed: the barriers order it.
        while !is_over.load(Ordering::Relaxed) {
            together.wait();
            let since = Instant::now();
            let taken = pass(people.clone());
            together.wait();
            spent += since.elapsed();
            passes += 1;
            give_back(taken);
            if thread == 0 {
                is_over.store(spent >= LEAST, Ordering::Relaxed);
            }
            together.wait();
        }
        (passes * share * threads) as f64 / spent.as_secs_f64()
    };
    std::thread::scope(|scope| {
        let work = &work;
        let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        let rate = work(0);
        for other in others {
            other.join().unwrap();
        }
        rate
    })
}

/// A kind of loop, by its name.
type Kind<'a> = (&'a str, Box<dyn Fn(u64) -> f64 + 'a>);

/// Measures, prints and perhaps writes down what S7 asks for.
pub(crate) fn measure(file: Option<&str>) {
    let bookings = most_bookings();
    let (ledger, least) = (booked(bookings), Least::booked(bookings));
    let (allocator, choices) = (ledger.state.allocator(), choices());
    let decide = |people: Range<u64>, slot: fn(u64) -> usize| {
        let mut granted = Vec::with_capacity(people_in(&people));
        for n in people {
            match decide(allocator, n, &choices[slot(n)]) {
                Decision::Granted(grant) => granted.push(grant),
                other => drop(black_box(other)),
            }
        }
        granted
    };
    let (grants, rejections) =
        (|people| decide(people, open_slot), |people| decide(people, |_| SLOTS - 1));
    assert_eq!(grants(bookings..bookings + PASS).len(), PASS as usize);
    assert!(rejections(bookings..bookings + PASS).is_empty());
    let kinds: [Kind<'_>; 4] = [
        ("granted", Box::new(|threads| rate(threads, bookings, grants, drop))),
        (
            "entry and swap",
            Box::new(|threads| {
                rate(
                    threads,
                    bookings,
                    |people| least.grant(people),
                    |taken| least.give_back(taken),
                )
            }),
        ),
        ("sold out", Box::new(|threads| rate(threads, bookings, rejections, drop))),
        (
            "get and load",
            Box::new(|threads| rate(threads, bookings, |people| least.reject(people), drop)),
        ),
    ];
    let mut rates: [[Vec<f64>; 2]; 4] = Default::default();
    for time in 0..TIMES {
        for i in 0..kinds.len() {
            let kind = (i + time) % kinds.len();
            for threads in [1, 2] {
                rates[kind][threads - 1].push(kinds[kind].1(threads as u64));
            }
        }
    }
    report(bookings, &kinds.map(|(name, _)| name), &rates, file);
}

fn decide(
    allocator: &Arc<Allocator>,
    n: u64,
    choices: &[giliran_wire::request::Choice<'static>; 1],
) -> Decision {
    allocator.decide(&ask(&[person(n)], choices), NOW)
}

fn report(bookings: u64, names: &[&str; 4], rates: &[[Vec<f64>; 2]; 4], file: Option<&str>) {
    let median = |rates: &[f64]| {
        let mut sorted = rates.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let of = |kind: usize, threads: usize| median(&rates[kind][threads - 1]);
    for (kind, name) in names.iter().enumerate() {
        let (one, two) = (of(kind, 1) / 1e6, of(kind, 2) / 1e6);
        println!("{name:<16}{one:>8.2} M/s on one thread{two:>8.2} M/s on two");
    }
    let figures = [
        ("grant over entry and swap", of(0, 1) / of(1, 1), 0.5),
        ("sold out over get and load", of(2, 1) / of(3, 1), 0.6),
        ("grants, two threads over one", of(0, 2) / of(0, 1), 1.8),
        ("sold out, two threads over one", of(2, 2) / of(2, 1), 1.8),
    ];
    let mut written = Vec::new();
    for (what, value, goal) in figures {
        let verdict = if value >= goal { "met" } else { "missed" };
        println!("S7  {what:<32}{value:>6.2}  goal {goal}  {verdict}");
        written.push(format!(
            "    {{ \"row\": \"S7\", \"what\": \"{what}\", \"value\": {value:.4}, \"unit\": \"×\", \
             \"goal\": {{ \"at_least\": {goal} }}, \"beside\": \"{bookings} bookings\" }}"
        ));
    }
    let Some(file) = file else { return };
    let raw: Vec<String> = names
        .iter()
        .zip(rates)
        .map(|(name, [one, two])| format!("    \"{name}\": {{ \"1\": {one:?}, \"2\": {two:?} }}"))
        .collect();
    let text = format!(
        "{{\n  \"figures\": [\n{}\n  ],\n  \"per_second\": {{\n{}\n  }}\n}}\n",
        written.join(",\n"),
        raw.join(",\n")
    );
    std::fs::write(file, text).unwrap();
}
