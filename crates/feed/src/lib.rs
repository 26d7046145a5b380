//! The ledger's bookings as events, free places and openings as key-value buckets.
//!
//! The way of a block: [`Feed`] reads it from the ledger (`follow`), `events`
//! turns its entries into events, `availability` into free places and `catalogue` into
//! what the openings offer, `publish` puts all three on their streams, and `heard` says the
//! events that are stored once more. `turn` says which of several copies does it.
//! `watching` lets clients watch the buckets who may not make consumers.
//!
//! What always holds: one event per change of a booking, in ledger order, each
//! once. Which event stands at which sequence of the event stream follows from
//! the ledger alone, and each is published under the sequence it expects; so a
//! restart, or a second copy, can only write what belongs there.
//!
//! Deliberately not here: who listens, and what they make of it.

mod availability;
mod catalogue;
mod error;
mod events;
mod follow;
mod heard;
mod publish;
mod turn;
mod watching;

pub use error::{FeedError, Mismatch, Misplaced};
pub use follow::Feed;
