//! Worlds of every kind that keep every promise, and planted faults that must be found.
//!
//! A failure prints the command that shows its world again.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::thread;

use giliran_sequencer::Branch;
use giliran_sim::sweep::{self, Tally};
use giliran_sim::{Kind, Mutant, ORDERS, Setup};

/// Worlds of each kind and order that are always the same: a thousand of each kind.
const FIXED: u64 = 334;
/// Worlds of each kind and order that nobody has seen.
const FRESH: u64 = 20;
/// Where those begin; not set: there are none.
const FRESH_FROM: &str = "GILIRAN_SIM_FROM";
/// Worlds in which a planted fault is found, at most.
const FOUND_WITHIN: u64 = 400;
/// How often everything happens in the fixed worlds that can go wrong, at least.
const HAPPENS: u64 = 20;

fn keep_every_promise(setup: Setup, order: &str, seeds: Range<u64>, all: &mut Tally) {
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let mut broken = Vec::new();
    let tally = sweep::sweep(setup, seeds.clone(), jobs, |_, wrong| {
        broken.extend(wrong.iter().map(ToString::to_string));
        if broken.is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let kind = setup.kind.name();
    assert!(broken.is_empty(), "{kind} {order}, worlds {seeds:?}:\n{}", broken.join("\n"));
    all.add(tally);
}

#[test]
fn fixed_worlds_keep_every_promise_and_go_every_way() {
    let mut all = Tally::default();
    for kind in Kind::ALL {
        for (name, order) in ORDERS {
            keep_every_promise(Setup::new(order, kind), name, 0..FIXED, &mut all);
        }
    }
    println!("{} worlds\n{:?}\n{:?}\n{:?}", all.worlds, all.answers, all.faults, all.branches);
    for branch in Branch::ALL {
        assert!(all.branches.contains_key(&branch), "no world went this way: {branch:?}");
    }
    let hardly = |counts: &BTreeMap<&'static str, u64>| -> Vec<&str> {
        counts.iter().filter(|(_, count)| **count < HAPPENS).map(|(name, _)| *name).collect()
    };
    assert_eq!(all.faults.len(), FAULTS, "{:?}", all.faults);
    assert_eq!(hardly(&all.faults), [""; 0], "{:?}", all.faults);
    assert_eq!(all.answers.len(), ANSWERS, "{:?}", all.answers);
    assert!(all.taken_over_in_a_draw >= HAPPENS, "no engine dies between close and draw");
    assert!(all.stopped >= HAPPENS, "hardly an engine finds that the ground moved");
}

/// Kinds of faults there are.
const FAULTS: usize = 20;
/// Kinds of answers that worlds come to.
const ANSWERS: usize = 14;

/// What the gate runs besides: worlds that nobody has seen. It prints where they begin.
#[test]
fn fresh_worlds_keep_every_promise() {
    let Ok(from) = std::env::var(FRESH_FROM) else { return };
    let from: u64 = from.parse().expect("a number");
    let mut all = Tally::default();
    for kind in Kind::ALL {
        for (name, order) in ORDERS {
            keep_every_promise(Setup::new(order, kind), name, from..from + FRESH, &mut all);
        }
    }
    println!("{} fresh worlds from {from}", all.worlds);
}

#[test]
fn planted_faults_are_found() {
    let (_, first_come) = ORDERS[0];
    let found = |(mutant, kind)| {
        let found = sweep::found_after(mutant, kind, first_come, FOUND_WITHIN);
        println!("{mutant:?}: found in world {found:?} of kind {}", Kind::name(kind));
        found.is_none().then_some(mutant)
    };
    let missed: Vec<Mutant> = Mutant::ALL.into_iter().filter_map(found).collect();
    assert_eq!(missed, []);
}
