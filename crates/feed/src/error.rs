//! Why the feed does not go on.

use giliran_nats::state::State;
use giliran_wire::LedgerId;
use giliran_wire::event::EventId;
use giliran_wire::ledger::{BlockError, Damage};

/// Why the feed does not go on.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The ledger is damaged, or written by a later release.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The event stream does not fit the ledger.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The broker cannot do something just now.
    #[error(transparent)]
    Broker(#[from] giliran_nats::Error),
}

/// How event stream and ledger are at odds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// The last message of the event stream has no event id.
    #[error(
        "message {seq} of the event stream is not one of this feed's: it has no event id. \
         Something else publishes there; withdraw its permission, then delete the stream: the \
         feed makes it anew and writes every event again"
    )]
    NoEvent {
        /// Its sequence in the event stream.
        seq: u64,
    },
    /// The event stream does not hold as many events as the ledger had changes before the
    /// oldest generation that is there.
    #[error(
        "the event stream holds {stored} events, and {expected} belong before {stream}, the \
         oldest stream of the ledger that is there. Restore the generation before it from the \
         archive, or delete the event stream: the feed makes it anew and goes on from here"
    )]
    EventCount {
        stored: u64,
        expected: u64,
        /// Name of that generation's stream.
        stream: String,
    },
    /// The ledger does not have what the last event tells of.
    #[error(
        "the event stream does not fit the ledger {stream}: its last event is {event}, but {why}. \
         Either stream was replaced or restored; begin with an empty event stream: delete this \
         one, the feed makes it anew and writes every event again"
    )]
    LastEvent { stream: String, event: EventId, why: Misplaced },
    /// The ledger tells of somebody else where the last event stands.
    #[error(
        "the event stream does not fit the ledger: its event {event} is about {about}, and the \
         ledger has {found} there: it lost blocks and went on otherwise. If that is accepted, \
         begin with an empty event stream: delete this one, the feed makes it anew and writes \
         every event again"
    )]
    OtherEvent {
        event: EventId,
        /// The booking or the receipt that was told of.
        about: String,
        /// The one in the ledger, or nobody.
        found: String,
    },
}

/// Why the last event does not come from the ledger.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Misplaced {
    /// The event stream is ahead of the ledger.
    #[error("the ledger ends at {tail}")]
    Ahead { tail: u64 },
    /// Its generation is gone, and the ledger that is there is another one.
    #[error("the ledger is another one")]
    OtherLedger,
    /// The block there is of another ledger.
    #[error("this is ledger {0}")]
    Ledger(LedgerId),
    /// The block there has fewer entries.
    #[error("that block has {0} entries")]
    Entries(usize),
    /// What stands there is not a block.
    #[error("sequence {seq} cannot be read: {source}")]
    Unreadable { seq: u64, source: BlockError },
    /// The stream holds no message of this sequence.
    #[error("sequence {seq} is not in the ledger")]
    Missing { seq: u64 },
}

impl giliran_nats::follower::Trouble for FeedError {
    fn trouble(&self) -> Option<State> {
        Some(match self {
            Self::Damage(_) => State::Damaged,
            Self::Mismatch(_) => State::Mismatch,
            Self::Broker(error) => State::of(error.kind()),
        })
    }
}
