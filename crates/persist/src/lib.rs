//! The ledger's bookings in a database: SQLite or PostgreSQL.
//!
//! The way of a block: [`Persist`] reads it from the ledger, [`Rows`] turns its
//! entries into rows, [`Store`] writes rows and ledger position in one
//! transaction, and only then is the block acknowledged to the broker.
//!
//! What always holds: the store is the fold of the ledger up to the position
//! that stands in it, whatever was killed when; a block is never skipped and
//! never applied twice; a second copy waits for the first to end.
//!
//! Deliberately not here: decisions. A row that the database's own constraints
//! refuse is damage, and stops.

mod follow;
mod rows;
mod store;

use giliran_nats::state::State;

pub use follow::Persist;
pub use rows::{Rows, Stored, StoredAction, hash};
pub use store::{Store, StoreError, StoreUrl};

/// Why persisting does not go on.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// The ledger cannot be read any further.
    #[error(transparent)]
    Damage(#[from] giliran_wire::ledger::Damage),
    /// The store does not fit the ledger.
    #[error("{0}")]
    Mismatch(String),
    /// The store refuses for good.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker cannot do something.
    #[error(transparent)]
    Broker(#[from] giliran_nats::Error),
}

impl giliran_nats::follower::Trouble for PersistError {
    fn trouble(&self) -> Option<State> {
        Some(match self {
            Self::Damage(_) | Self::Store(StoreError::Unstorable(_)) => State::Damaged,
            Self::Store(StoreError::Unsuitable(_)) => State::Unsuitable,
            Self::Mismatch(_) | Self::Store(StoreError::Contradiction(_)) => State::Mismatch,
            Self::Store(StoreError::Unavailable(_)) => State::StoreUnavailable,
            Self::Broker(error) => State::of(error.kind()),
        })
    }
}
