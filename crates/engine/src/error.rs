//! Why an engine ends.

use std::sync::Arc;

use giliran_allocator::Calendar;
use giliran_nats::follower::Trouble;
use giliran_nats::state::State;
use giliran_sequencer::Lost;
use giliran_wire::KeyFingerprint;
use giliran_wire::ledger::Damage;

use crate::high_water::HighWaterError;

/// Why an engine ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The ledger cannot be read any further.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// A task that decides or answers ended by itself. What it held is given back,
    /// but what it was doing is not known.
    #[error("a task of the engine ended: {0}. Start the engine again; its log says more")]
    TaskEnded(String),
    /// The ledger does not hold what it held.
    #[error("{0}. Restore the newest copy of the stream, then restart whatever reads it")]
    Lost(Lost),
    /// The high-water mark cannot be read or written.
    #[error("{0}")]
    HighWater(Arc<HighWaterError>),
    /// The ledger was made with another applicant key.
    #[error(
        "the ledger was made with applicant key {ledger}, this engine has {own}: it would not \
         recognise anybody. Give it the key the ledger was made with"
    )]
    OtherKey {
        /// Fingerprint in the ledger.
        ledger: KeyFingerprint,
        /// Fingerprint of the engine's key.
        own: KeyFingerprint,
    },
    /// An opening on record goes by a time zone that this release does not know.
    #[error(
        "opening {opening} on record has the time zone {timezone:?}, which the time zone data of \
         this release ({}) do not know: nobody could tell when its days begin. Run the release \
         that put it on record, or a later one",
        Calendar::data()
    )]
    UnknownZone {
        opening: String,
        /// Its time zone, as on record.
        timezone: String,
    },
    /// The stream is there, but holds nothing.
    #[error(
        "the ledger stream is empty: it was recreated, or `giliran init` did not finish. An \
         engine never begins a ledger; run `giliran init` if there is none to restore"
    )]
    NoGenesis,
    /// A subject could not be subscribed to.
    #[error("subscribe to {subject}: {source}")]
    Subscribe { subject: String, source: async_nats::SubscribeError },
    /// The connection was gone before the subscriptions were made.
    #[error("subscriptions could not be made: {0}")]
    Flush(async_nats::client::FlushError),
    /// The broker refused or cannot do something.
    #[error(transparent)]
    Broker(#[from] giliran_nats::Error),
}

impl From<HighWaterError> for EngineError {
    fn from(error: HighWaterError) -> Self {
        Self::HighWater(Arc::new(error))
    }
}

impl From<Arc<HighWaterError>> for EngineError {
    fn from(error: Arc<HighWaterError>) -> Self {
        Self::HighWater(error)
    }
}

impl Trouble for EngineError {
    fn trouble(&self) -> Option<State> {
        match self {
            Self::Damage(_) => Some(State::Damaged),
            Self::Lost(_) => Some(State::LedgerLost),
            Self::NoGenesis => Some(State::NoLedger),
            Self::Subscribe { .. } | Self::Flush(_) => Some(State::NatsUnavailable),
            Self::Broker(error) => Some(State::of(error.kind())),
            // Of this machine alone, and nobody else can mend it.
            Self::HighWater(_)
            | Self::OtherKey { .. }
            | Self::UnknownZone { .. }
            | Self::TaskEnded(_) => None,
        }
    }
}
