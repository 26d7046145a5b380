//! A thousand worlds, and planted faults that must be found.
//!
//! A failure prints its seed; replay it with
//! `GILIRAN_SIM_SEED=<seed> cargo test -p giliran-sim --test seeds`.
//! More of them: `GILIRAN_SIM_SEEDS=100000 cargo test --release -p giliran-sim`.

use std::collections::BTreeMap;

use giliran_sim::{Mutant, Told, oracle, run};

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
                Told::Busy => {}
            }
        }
    }
    println!("granted {granted}, refused {refused}, faults {faults:?}");
    if seeds(1_000).end - seeds(1_000).start >= 1_000 {
        assert!(granted > 10_000 && refused > 10_000, "the worlds are too quiet");
        assert!(faults.len() >= 8 && faults.values().all(|n| *n > 100), "a fault hardly happens");
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
