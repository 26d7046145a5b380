//! What tests of several crates begin with: records of openings, ledgers written block
//! by block, people and their requests; with the feature `sequencer` a harness of the
//! sequencer, with `nats` a real NATS server, with `postgres` a database.
//!
//! What always holds: a record here has every field spelled once, so a new field is one
//! edit here; a test says only what it is about (`OpeningRecord { rules, ..opening(&[3]) }`).
//! Every block that a [`LedgerBuilder`] holds was read by the rule of every reader.
//!
//! Deliberately not here: assertions about a feature, and anything that the program
//! itself uses. Golden samples, the simulator's scene and the checkers' models stay
//! where they are: they must not share what they are held against.
//!
//! A crate that is named here uses this one from `tests/` and `benches/` alone: a unit
//! test in its `src` would see two copies of each type.

#![allow(clippy::unwrap_used, reason = "tests alone use it")]

#[cfg(feature = "sequencer")]
mod eventful;
mod ledger;
mod openings;
mod people;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sequencer")]
mod sequencer;
#[cfg(feature = "nats")]
mod servers;

#[cfg(feature = "sequencer")]
pub use eventful::eventful;
pub use ledger::{
    LEDGER, LedgerBuilder, LiveLedger, folded, genesis, genesis_block, next_block, take_over,
};
pub use openings::{office, opening, rules, session, slot};
pub use people::{cheap_person, entry, filled, grant, person, request};
#[cfg(feature = "sequencer")]
pub use sequencer::{BEGIN, SequencerHarness, TICK_MS, order_key};
#[cfg(feature = "nats")]
pub use servers::{Broker, server_options};
