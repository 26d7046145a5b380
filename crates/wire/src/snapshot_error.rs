//! Why a snapshot cannot be used.

use std::io;

use crate::BookingId;
use crate::codec::DecodeError;

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is none, of another release, or damaged.
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

/// Why a snapshot, or a part of one, gives no state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// The file does not begin with [`MAGIC`](crate::snapshot::MAGIC).
    #[error("not a snapshot of this release")]
    OtherLayout,
    /// A length beyond that of every piece that is written.
    #[error("a piece is longer than any that is written")]
    LongPiece,
    /// The bytes of a piece are none.
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
    /// The last part ends before its last piece does.
    #[error("it ends within a piece")]
    Incomplete,
    /// The file's hash is not that of its bytes.
    #[error("the checksum does not match: it is damaged")]
    Checksum,
    /// A section that begins with bookings holds something else.
    #[error("something else among the bookings")]
    AmongBookings,
    /// The parts make another state than each of them names.
    #[error("its hash is another")]
    OtherState,
    /// A generation's parts hold what only a file does.
    #[error("a stand, which belongs into a file")]
    StandInParts,
    /// An order's opening, by ordinal, did not come before it.
    #[error("an order of no opening")]
    OrderOfNoOpening(u32),
    /// The slots of the opening of this id are not as many as its record has.
    #[error("opening {0} has other slots than its record")]
    OtherSlots(String),
    /// A booking's opening did not come before it, or has no such slot.
    #[error("booking {0} is in no opening")]
    BookingOfNoOpening(BookingId),
    /// A booking of this id came before.
    #[error("booking {0} is in it twice")]
    BookingTwice(BookingId),
    /// A queue number of this slot, by index, is nobody's, or two have it.
    #[error("a queue number of slot {slot} of opening {opening} is none, or given twice")]
    Number {
        /// Ordinal of the opening.
        opening: u32,
        /// Index of the slot in the opening.
        slot: u32,
    },
    /// An applicant of this live booking has a live one already.
    #[error("booking {0} is an applicant's second")]
    SecondBooking(BookingId),
    /// An entry's opening did not come before it.
    #[error("entry {0} is in no opening")]
    EntryOfNoOpening(BookingId),
    /// Whoever takes the pieces has found one that does not fit, and takes no more.
    #[error("it does not fit itself")]
    Unfit,
}
