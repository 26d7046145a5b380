//! The ledger: one stream of blocks, the truth about every booking.
//!
//! A block is bincode ([`crate::codec`]) followed by its 32-byte BLAKE3; that
//! hash is the block's checksum and, named by the next block as `previous`,
//! the link of the chain. [`Chain`] is the one reading rule: every reader
//! passes each block through it and so skips void blocks alike.
//!
//! The layout is frozen under [`FORMAT`]. From the first release on a new kind of
//! entry, and a new field of one, needs a new format number: an old reader cannot
//! decode a variant or a field that it does not know.

mod bookings;
mod chain;
mod contradiction;
mod damage;
mod deed;
mod entry;
mod foreign;
mod grant;
pub mod journal;
mod rules;

pub use bookings::Bookings;
pub use chain::{Chain, Reading, Stage};
pub use contradiction::{
    BookingContradiction, Contradiction, EntryContradiction, RecordContradiction,
};
pub use damage::{Damage, DamageKind};
pub use deed::{Deed, HALTED, OPEN};
pub use entry::{
    Adjust, Adjustment, BookableUntil, Cancel, CancelCause, Confirm, DrawEntryRecord, DrawRecord,
    Entry, Expire, Genesis, Leftovers, Office, OpeningRecord, Order, Rebuilt, RejectionCount,
    RejectionDigest, Released, Reschedule, ReturnRule, Rules, Seal, Session, Signed, Slot,
    SnapshotPart, TakeOver,
};
pub use foreign::{Alien, Doubt, Foreign};
pub use grant::{EncodedGrants, Grant, GrantRef, Seat, Seats};
pub use rules::NotARule;

use crate::codec::{self, DecodeError};
use crate::{BlockHash, LedgerId, Timestamp, WriterNonce};

/// The version every block starts with.
pub const FORMAT: u16 = 1;

/// The largest block, checksum included. Half the broker's default payload
/// limit; some 4,000 grants.
pub const MAX_BLOCK_BYTES: usize = 512 * 1024;

/// Fewer bytes than any grant takes in a block: it bounds how many there are.
pub const LEAST_GRANT_BYTES: usize = 76;

/// The bytes a block takes without its entries.
pub const BLOCK_OVERHEAD_BYTES: usize = 2 + 16 + 4 + 8 + 8 + 16 + 8 + 32 + 8 + CHECKSUM_BYTES;

const CHECKSUM_BYTES: usize = 32;

/// What one append puts into the ledger, complete or not at all.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct Block {
    /// Format of the block: [`FORMAT`].
    pub format: u16,
    /// Which ledger this is; a stream of the same name may be another one.
    pub ledger: LedgerId,
    /// Which stream of the ledger, from 1.
    pub generation: u32,
    /// Its number among the valid blocks, from 1, over all generations.
    pub number: u64,
    /// The writer's epoch: the number of take-overs up to it.
    pub epoch: u64,
    /// Tells this start of an engine from every other.
    pub writer: WriterNonce,
    /// Engine time at which the block was closed; never before the last one's.
    pub time: Timestamp,
    /// The hash of the last valid block before this one.
    pub previous: BlockHash,
    /// What happened, in order.
    pub entries: Vec<Entry>,
}

/// A block as it is stored, and its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The stored bytes, checksum included.
    pub bytes: Vec<u8>,
    /// BLAKE3 of the block, which the next block names.
    pub hash: BlockHash,
}

/// Why stored bytes are no block.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// Too short to hold a checksum, or the checksum is another.
    #[error("the checksum does not match: the block is damaged")]
    Checksum,
    /// Written by a later release.
    #[error("format version {found}; this release reads {FORMAT}")]
    Format {
        /// The version that the block states.
        found: u16,
    },
    /// The checksum holds, but the content cannot be read.
    #[error("the block cannot be decoded: {0}")]
    Decode(#[from] DecodeError),
}

impl Block {
    /// The block's stored form.
    pub fn seal(&self) -> Sealed {
        self.seal_around(self.entries.len(), &EncodedGrants::default())
    }

    /// The stored form of this block with `grants` before its entry of index `at`, at most
    /// the number of its entries.
    pub fn seal_around(&self, at: usize, grants: &EncodedGrants) -> Sealed {
        // All fields are named, so that a new one is encoded: in their order, as `Encode` does.
        let Self { format, ledger, generation, number, epoch, writer, time, previous, entries } =
            self;
        let room = BLOCK_OVERHEAD_BYTES + 128 * entries.len() + grants.as_bytes().len();
        let mut bytes = Vec::with_capacity(room);
        codec::encode_into(&(*format, *ledger, *generation, *number, *epoch), &mut bytes);
        codec::encode_into(&(*writer, *time, *previous), &mut bytes);
        codec::encode_into(&((entries.len() + grants.len()) as u64), &mut bytes);
        let (before, after) = entries.split_at(at);
        before.iter().for_each(|entry| codec::encode_into(entry, &mut bytes));
        bytes.extend_from_slice(grants.as_bytes());
        after.iter().for_each(|entry| codec::encode_into(entry, &mut bytes));
        let hash = BlockHash(*blake3::hash(&bytes).as_bytes());
        bytes.extend_from_slice(&hash.0);
        Sealed { bytes, hash }
    }

    /// Reads a stored block; the hash is the one it verified.
    ///
    /// # Errors
    ///
    /// [`BlockError`]. What it means is for the [`Chain`] to say.
    pub fn open(bytes: &[u8]) -> Result<(Self, BlockHash), BlockError> {
        let content = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(BlockError::Checksum)?;
        let (content, checksum) = bytes.split_at(content);
        let hash = blake3::hash(content);
        if hash.as_bytes() != checksum {
            return Err(BlockError::Checksum);
        }
        let found =
            content.first_chunk().map(|b| u16::from_le_bytes(*b)).ok_or(BlockError::Checksum)?;
        if found != FORMAT {
            return Err(BlockError::Format { found });
        }
        Ok((codec::decode(content)?, BlockHash(*hash.as_bytes())))
    }

    /// The ledger that bytes name which may be a block of any format; none: they are
    /// too short.
    fn ledger_of(bytes: &[u8]) -> Option<LedgerId> {
        let at = size_of::<u16>();
        let id = bytes.get(at..at + size_of::<LedgerId>())?;
        id.try_into().ok().map(LedgerId)
    }
}
