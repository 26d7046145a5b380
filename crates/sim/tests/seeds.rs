//! A thousand worlds, and planted faults that must be found.
//!
//! A failure prints its seed; replay it with
//! `GILIRAN_SIM_SEED=<seed> cargo test -p giliran-sim --test seeds`.
//! More of them: `GILIRAN_SIM_SEEDS=100000 cargo test --release -p giliran-sim`.

use std::collections::BTreeMap;

use giliran_sim::{Mutant, Told, oracle, run, run_in};
use giliran_wire::ledger::Order;

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
    match number("GILIRAN_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("GILIRAN_SIM_SEEDS").unwrap_or(default),
    }
}

#[test]
fn a_thousand_worlds_keep_every_promise() {
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut granted, mut refused) = (0u64, 0u64);
    for seed in seeds(1_000) {
        let run = run(seed, None);
        let wrong = oracle::judge(&run);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}\nfaults: {:?}", run.faults);
        for fault in run.faults {
            *faults.entry(fault).or_default() += 1;
        }
        for (_, told) in run.attempts.iter().flat_map(|attempt| &attempt.told) {
            match told {
                Told::Granted { .. } => granted += 1,
                Told::Refused { .. } => refused += 1,
                Told::Entered { .. } | Told::Busy => {}
            }
        }
    }
    println!("granted {granted}, refused {refused}, faults {faults:?}");
    if seeds(1_000).end - seeds(1_000).start >= 1_000 {
        assert!(granted > 10_000 && refused > 10_000, "the worlds are too quiet");
        assert!(faults.len() >= 8 && faults.values().all(|n| *n > 100), "a fault hardly happens");
    }
}

/// The same worlds with rounds, and with a draw at a close amid the faults.
#[test]
fn worlds_with_rounds_and_draws_keep_every_promise() {
    for order in [Order::Rounds { length_ms: 400 }, Order::Draw] {
        let (mut granted, mut entered, mut in_the_draw) = (0u64, 0u64, 0u64);
        for seed in seeds(400) {
            let run = run_in(seed, None, order);
            let wrong = oracle::judge(&run);
            let faults = &run.faults;
            assert!(wrong.is_empty(), "{order:?}, seed {seed}: {wrong:#?}\nfaults: {faults:?}");
            in_the_draw += u64::from(oracle::changed_hands_in_a_draw(&run));
            for (_, told) in run.attempts.iter().flat_map(|attempt| &attempt.told) {
                match told {
                    Told::Granted { .. } => granted += 1,
                    Told::Entered { .. } => entered += 1,
                    Told::Refused { .. } | Told::Busy => {}
                }
            }
        }
        println!("{order:?}: granted {granted}, entered {entered}, taken over {in_the_draw}");
        if seeds(400).end - seeds(400).start >= 400 {
            assert!(granted > 2_000, "the worlds are too quiet");
            let draws = order == Order::Draw;
            assert_eq!(entered > 2_000, draws);
            assert!(!draws || in_the_draw > 10, "no engine dies between a close and its draw");
        }
    }
}

/// Seeds until the oracle finds the planted fault.
fn found_after(mutant: Mutant) -> Option<u64> {
    (0..1_000).find(|seed| !oracle::judge(&run(*seed, Some(mutant))).is_empty())
}

#[test]
fn planted_faults_are_found() {
    for mutant in [Mutant::NoFence, Mutant::ReplyBeforeAck, Mutant::NoLease, Mutant::ForgetsBlock] {
        let found = found_after(mutant);
        println!("{mutant:?}: found after {found:?} worlds");
        assert!(found.is_some(), "{mutant:?} goes unnoticed");
    }
}
