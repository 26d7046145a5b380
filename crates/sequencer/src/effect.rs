//! What goes into the sequencer and comes out of it.

use std::sync::Arc;

use bytes::Bytes;
use giliran_allocator::{Booking, Durable, FoundBooking, FoundEntry, Opening, Rejection, Settled};
use giliran_wire::ledger::{Damage, Foreign};
use giliran_wire::{BlockHash, Position, Timestamp, WriterNonce};

/// The present, as the engine's edge knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The clock on the wall; may jump.
    pub wall: Timestamp,
    /// Milliseconds on a clock that never runs backwards.
    pub mono_ms: u64,
}

/// Tells one append or read from every other: its outcome counts for it alone.
///
/// Within a sequencer the numbers follow each other. They begin at a number made from
/// its writer's nonce, so that an outcome which comes late from an earlier one, of
/// this engine or another one, is not taken for one of its own. Nothing rests on
/// that alone: the edge gives each sequencer channels of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt(u64);

impl Attempt {
    /// Before the first of this writer.
    pub(crate) fn before(writer: &WriterNonce) -> Self {
        let mut number = [0; 8];
        number.copy_from_slice(&writer.0[..8]);
        Self(u64::from_le_bytes(number))
    }

    pub(crate) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// As it goes with an append, and comes back.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The attempt of a number that has come back.
    pub const fn of_number(number: u64) -> Self {
        Self(number)
    }
}

/// What is to be done.
#[derive(Debug)]
pub enum Effect<T> {
    /// Append these bytes to the ledger.
    Append {
        /// Comes back with the outcome; other attempts' outcomes do not count.
        attempt: Attempt,
        /// Generation of the stream to append to.
        generation: u32,
        /// Sent as `Nats-Expected-Last-Sequence`: the fence.
        expected_last: u64,
        /// The encoded block; a repeat sends the same bytes.
        bytes: Bytes,
    },
    /// Read what stands in the ledger at `seq`, through its leader.
    Read {
        /// Comes back with the result.
        attempt: Attempt,
        /// Generation of the stream to read from.
        generation: u32,
        /// Stream sequence of the message to read.
        seq: u64,
    },
    /// Write an answer to a requester.
    Answer {
        /// What finds the requester again, as it was submitted.
        ticket: T,
        /// The request's id, where the outcome does not hold it.
        request_id: Option<Box<str>>,
        /// What became of the request.
        outcome: Outcome,
    },
    /// Write the answers to requests whose grants are durable.
    Granted(Grants<T>),
    /// Tell operators of this message, which stands where a block was to go.
    Foreign(Foreign),
    /// The take-over stands: requests may be decided.
    Active(Position),
    /// Nothing is in flight any more and nothing will be.
    Idle(StopReason),
}

/// Grants of one opening that became durable together, in the ledger's order.
#[derive(Debug)]
pub struct Grants<T> {
    /// The opening that gave them.
    pub opening: Arc<Opening>,
    /// Each with what finds its requester again.
    pub bookings: Vec<(T, Arc<Booking>)>,
    /// The position they are durable at.
    pub durable: Durable,
}

impl<T> Grants<T> {
    /// What each requester is told.
    pub fn into_outcomes(self) -> impl Iterator<Item = (T, Outcome)> {
        let Self { opening, bookings, durable } = self;
        bookings.into_iter().map(move |(ticket, booking)| {
            let found = FoundBooking { booking, opening: Arc::clone(&opening) };
            (ticket, Outcome::Granted(found, durable))
        })
    }
}

/// Why a sequencer became idle.
#[derive(Debug)]
pub enum StopReason {
    /// Everything is committed; asked to finish.
    Finished,
    /// Another writer has taken over.
    Deposed,
    /// The ledger is damaged, or written by a later release.
    Damaged(Damage),
    /// The ledger does not hold what it held.
    Lost(Lost),
}

/// The ledger lost blocks that were read from it, or written and acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// It ends before what is known of it.
    #[error(
        "the ledger lost blocks: sequence {known} of generation {generation} was there, and its \
         stream ends at {tail}"
    )]
    Tail {
        /// Generation whose stream lost its end.
        generation: u32,
        /// The last sequence that was there.
        known: u64,
        /// Where its stream ends now.
        tail: u64,
    },
    /// It holds another block.
    #[error(
        "the ledger lost blocks: sequence {seq} of generation {generation} held block {known}, and \
         another one stands there"
    )]
    Rewritten {
        /// Generation of the block that is another one.
        generation: u32,
        /// Stream sequence of that block.
        seq: u64,
        /// The block that was there.
        known: BlockHash,
    },
    /// It holds nothing there, and something behind it.
    #[error(
        "the ledger lost blocks: nothing stands at sequence {seq} of generation {generation}, whose \
         stream ends at {tail}"
    )]
    Gap {
        /// Generation that lacks a message.
        generation: u32,
        /// Stream sequence of the missing message.
        seq: u64,
        /// Where its stream ends.
        tail: u64,
    },
}

/// What a requester is told.
#[derive(Debug)]
pub enum Outcome {
    /// Granted in a block that is now durable.
    Granted(FoundBooking, Durable),
    /// A change of a booking is durable: the booking as it stands.
    Changed(FoundBooking, Durable),
    /// An entry into the next release's draw is durable, or its withdrawal.
    Entered(FoundEntry, Durable),
    /// Settled from durable facts.
    Settled(Settled),
    /// An operator's action is durable.
    Adjusted(Box<AdminReport>, Durable),
    /// An operator's action cannot be done.
    NotAdjusted(Rejection, Durable),
    /// Waited too long; settles nothing.
    Busy,
}

/// What an operator's action came to.
#[derive(Debug, Default)]
pub struct AdminReport {
    /// True: nothing was done, this is what would be.
    pub dry_run: bool,
    /// The opening, unless its days are over.
    pub opening: Option<Arc<Opening>>,
    /// The slots it was about.
    pub slots: Vec<u32>,
    /// Bookings it concerns that stay as they are.
    pub concerned: Vec<FoundBooking>,
    /// Bookings that were moved, as they stand.
    pub moved: Vec<FoundBooking>,
    /// Bookings that were cancelled.
    pub cancelled: Vec<FoundBooking>,
    /// What was set, or would be.
    pub changes: Vec<AdminChange>,
}

/// What an operator's action finds, and what it sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminChange {
    /// The slot of the opening, where it is about one.
    pub slot: Option<u32>,
    /// Its name, as in the journal.
    pub action: &'static str,
    /// What stood there.
    pub before: String,
    /// What stands there from then on.
    pub after: String,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Stored at this sequence.
    Stored {
        /// Stream sequence under which the block is stored.
        seq: u64,
    },
    /// The ledger's last sequence was another (error 10071).
    WrongLastSequence,
    /// Refused for another reason; may still be stored later.
    Refused,
}

/// What a read brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOutcome {
    /// The message's bytes, a block or not.
    Found(Bytes),
    /// Nothing stands there yet.
    Nothing {
        /// The stream's last sequence, looked at after that.
        tail: u64,
    },
    /// Could not be read.
    Failed,
}
