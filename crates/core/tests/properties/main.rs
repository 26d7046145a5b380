//! Random histories against the rules in plain form.
//!
//! A history decides requests, writes, commits and gives up blocks, restarts,
//! loses the ledger to another writer. Single-threaded, so the plain rules say
//! the exact outcome of every step; what they say of the sums is checked after
//! each step too.
//!
//! Checked: P1 (no place and no number twice, none above the quota), P3, P4, P6
//! (replay = live), P11 (quota = durable + pending + free), P12.
//!
//! Mutants this was seen to catch: claims left behind where no choice fits; a
//! party of n counted as one; the account's places not given back; session
//! order ignored; restricted sessions taken by a choice that names none;
//! `sold_out` from the pending counter; numbers not given back with a block;
//! conflict and repeat not told apart; a void block that is applied; `expired`
//! before the repetition; a claim that is overruled and given up twice.

#![allow(clippy::unwrap_used, reason = "tests")]

mod checks;
mod history;
mod plain;
mod rules;
mod world;
mod writing;

use history::{OpeningSpec, Step, opening_spec, step};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use world::World;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_history_follows_the_plain_rules(
        first in opening_spec(),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut world = World::new();
        world.step(Step::Record(OpeningSpec { opens_in: 0, ..first }));
        world.step(Step::Write(0, 0));
        world.step(Step::Commit);
        for step in steps {
            world.step(step);
        }
        world.check_end();
    }
}
