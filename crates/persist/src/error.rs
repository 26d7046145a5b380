//! Why persisting does not go on.

use giliran_nats::state::State;
use giliran_wire::BlockHash;
use giliran_wire::ledger::{BlockError, Damage};

use crate::store::{StoreError, StoreUrl};

/// Why persisting does not go on.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// The ledger cannot be read any further.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The store does not fit the ledger.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The store refuses for good.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker cannot do something.
    #[error(transparent)]
    Broker(#[from] giliran_nats::Error),
}

/// How store, ledger and archive are at odds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// The generation that the store reads next is gone, and no archive has it.
    #[error(
        "{store} stands at sequence {seq} of stream {stream}, which is gone. Name the folder it \
         was archived in (--archive), or restore a newer backup of the store"
    )]
    GenerationGone {
        store: StoreUrl,
        /// Where the store stands.
        seq: u64,
        stream: String,
    },
    /// An archived generation is not whole.
    #[error("archived {stream} does not end with a seal")]
    NotSealed { stream: String },
    /// The store's position does not lie on the ledger.
    #[error(
        "{store} does not fit the ledger: {position}. Give this store the ledger it was written \
         from, or begin with an empty one"
    )]
    Position { store: StoreUrl, position: Misplaced },
}

/// Why the store's position does not lie on a ledger whose generation is archived.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Misplaced {
    /// The archive does not have the generation, or not that far.
    #[error(
        "it stands at sequence {seq} of stream {stream}, which is gone; name the folder it was \
         archived in (--archive)"
    )]
    NotArchived { seq: u64, stream: String },
    /// Store and archive have different blocks at the same sequence.
    #[error("at sequence {seq} the store has seen block {seen}, the archive has {archived}")]
    OtherBlock { seq: u64, seen: BlockHash, archived: BlockHash },
    /// What the archive has there is not a block.
    #[error("sequence {seq} of the archive: {source}")]
    Unreadable { seq: u64, source: BlockError },
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
