//! The ledger's bookings as events, and the free places as a key-value bucket.
//!
//! The way of a block: [`Feed`] reads it from the ledger (`follow`), `events`
//! turns its entries into events and `availability` into free places, `publish`
//! puts both on their streams. `turn` says which of several copies does it.
//! `watching` lets clients watch the free places who may not make consumers.
//!
//! What always holds: one event per change of a booking, in ledger order, each
//! once. Which event stands at which sequence of the event stream follows from
//! the ledger alone, and each is published under the sequence it expects; so a
//! restart, or a second copy, can only write what belongs there.
//!
//! Deliberately not here: who listens, and what they make of it.

mod availability;
mod events;
mod follow;
mod publish;
mod turn;
mod watching;

pub use follow::Feed;
use giliran_nats::state::State;

/// Why the feed does not go on.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The ledger is damaged, or written by a later release.
    #[error(transparent)]
    Ledger(#[from] giliran_allocator::FoldError),
    /// The event stream does not fit the ledger.
    #[error("{0}")]
    Mismatch(String),
    /// The broker cannot do something just now.
    #[error(transparent)]
    Broker(#[from] giliran_nats::Error),
}

impl giliran_nats::follower::Trouble for FeedError {
    fn trouble(&self) -> Option<State> {
        Some(match self {
            Self::Ledger(_) => State::Damaged,
            Self::Mismatch(_) => State::Mismatch,
            Self::Broker(error) => State::of(error.kind()),
        })
    }
}
