//! Random histories, compared with the plain model.
//!
//! A history decides requests and changes of bookings, lets time pass and the
//! clock be set back, writes, commits and gives up blocks, restarts from the
//! ledger or from a snapshot, loses the ledger to another writer. Holds end,
//! places come back and are released or drawn for, operators adjust, move and
//! cancel, openings retire. Single-threaded, so the plain model says the exact
//! outcome of every step and the exact content of every block; what they say of
//! the sums is checked after each step too.
//!
//! Checked: P1 (no place and no number twice, none above the quota), P2 (what was
//! told is in the ledger), P3, P4, P5 (what was told stands before what is asked for later), P6 (replay =
//! live = snapshot), P11 (quota = live + withheld + free), P12; and that every
//! change is one event with the next version.
//!
//! Mutants this was seen to catch, of requests: claims left behind where no
//! choice fits; a party of n counted as one; the account's places not given back;
//! session order ignored; restricted sessions taken by a choice that names none;
//! `sold_out` from the pending counter; numbers not given back with a block;
//! conflict and repeat not told apart; a void block that is applied; `expired`
//! before the repetition; a claim that is overruled and given up twice; an earlier
//! booking's change taken for the request.
//!
//! Of changes: a second one in a block; a foreign applicant's; a repetition not
//! recognised; one payment paid back twice; a cancelled booking, one whose day has
//! begun, or one whose people have booked since, revived; the cap off by one, or
//! not reset; a leaver who may not book again; the old place not given back; a
//! move into a day that has begun; a version counted twice; what an abandoned
//! move, revival or draw took not given back.
//!
//! Of what time and operators bring: a hold that ends while it is confirmed; a
//! place free before its release, or released while its booking comes back; a
//! number beyond a lowered quota drawn or revived; the debt of a lowered quota
//! forgotten in a draw; its order, other openings or a day's begin ignored; a
//! withdrawn entry that is drawn, or that is known again after a snapshot; halts
//! and reserves ignored, or not in the snapshot; an opening retired a day early;
//! a clock that is followed back.

#![allow(clippy::unwrap_used, reason = "tests")]

mod block_writer;
mod checks;
mod harness;
mod history;
mod model;
mod model_rules;

use harness::Harness;
use history::{OpeningSpec, Step, opening_spec, step};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_history_follows_the_plain_model(
        first in opening_spec(),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut harness = Harness::new();
        harness.step(Step::Record(OpeningSpec { opens_in: 0, ..first }));
        harness.step(Step::Write(0, 0));
        harness.step(Step::Commit);
        for step in steps {
            harness.step(step);
        }
        harness.check_end();
    }
}
