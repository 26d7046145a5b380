//! A state of the ledger's fold, written down: what a reader can begin with
//! instead of the ledger's first block.
//!
//! A file of pieces: [`MAGIC`], then for each piece its length as `u32` (little
//! endian) and its bytes in [`codec`], a length of zero, and the
//! 32-byte BLAKE3 of everything before. Derived facts are not in it: who reads
//! it computes them again. Another release may find another layout under
//! another magic, and then reads the ledger from its beginning: a snapshot is
//! never the only copy of anything.

use std::io::{self, Read, Write};

use bincode::{Decode, Encode};

use crate::answer::{Phase, Status};
use crate::codec;
use crate::ledger::{BallotEntry, Chain, Genesis, Grant, OpeningRecord};
use crate::{Digest, Pseudonym, Timestamp};

/// What a file of this layout begins with.
pub const MAGIC: &[u8; 8] = b"GILSNAP1";
/// The longest piece, in bytes.
const MAX_PIECE_BYTES: u32 = 64 * 1024 * 1024;

/// A part of the state. The head comes first, openings before their bookings.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Piece {
    /// Where the state stands, and what is no opening's.
    Head(Box<Head>),
    /// An opening in memory.
    Opening(Box<OpeningState>),
    /// Bookings of openings in memory, in the order in which they were made.
    Bookings(Vec<BookingState>),
    /// Entries of openings in memory.
    Entries(Vec<EntryState>),
}

/// Where the state stands, and what is no opening's.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Head {
    /// How far the ledger was read.
    pub chain: Chain,
    /// What it began with.
    pub genesis: Genesis,
    /// The ordinal of the next opening.
    pub next_ordinal: u32,
    /// Ids of openings that have left memory.
    pub retired: Vec<String>,
}

/// An opening.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct OpeningState {
    /// Its record.
    pub record: OpeningRecord,
    /// Whether it accepts requests.
    pub phase: Phase,
    /// Its end as it stands.
    pub closes_at: Timestamp,
    /// Groups drawn so far.
    pub draws: u64,
    /// Its slots, in the record's order.
    pub slots: Vec<SlotState>,
}

/// A slot, without what its bookings say.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct SlotState {
    /// Places in all.
    pub quota: u16,
    /// Places kept back.
    pub reserved: u16,
    /// True: no grants.
    pub halted: bool,
    /// Returned numbers that are not released yet.
    pub withheld: Vec<Withheld>,
}

/// A returned number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Withheld {
    /// The number.
    pub number: u16,
    /// True: it waits for a draw; false: for a moment.
    pub drawn: bool,
    /// When.
    pub at: Timestamp,
}

/// A booking, live or not.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct BookingState {
    /// What made it, with slot and seats as they stand; without the channel.
    pub grant: Grant,
    /// When.
    pub granted_at: Timestamp,
    /// Counts its changes.
    pub version: u32,
    /// Where it stands.
    pub status: Status,
    /// What happened to it; none: nothing.
    pub life: Option<LifeState>,
}

/// What happened to a booking.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct LifeState {
    /// Requests that changed it: id and deed.
    pub done: Vec<(String, DoneState)>,
    /// Reschedules that count.
    pub changes: u16,
    /// Those who left.
    pub left: Vec<Pseudonym>,
}

/// What a request did.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum DoneState {
    /// Confirmed it, with this payment.
    Confirmed(Option<String>),
    /// Came too late, with this payment.
    Refund(Option<String>),
    /// Gave it back, or this member's seat.
    Cancelled(Option<Pseudonym>),
    /// Moved it; the request's content.
    Rescheduled(Digest),
}

/// An entry, live or withdrawn.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct EntryState {
    /// What was recorded.
    pub entry: BallotEntry,
    /// When.
    pub since: Timestamp,
    /// False: withdrawn.
    pub live: bool,
}

/// Writes pieces.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    hasher: blake3::Hasher,
    bytes: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out, hasher: blake3::Hasher::new(), bytes: Vec::new() };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }

    /// Adds a piece.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn piece(&mut self, piece: &Piece) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        codec::encode_into(piece, &mut bytes);
        self.put(&(bytes.len() as u32).to_le_bytes())?;
        self.put(&bytes)?;
        self.bytes = bytes;
        Ok(())
    }

    /// Ends it; gives back what was written to.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.put(&0_u32.to_le_bytes())?;
        let hash = self.hasher.finalize();
        self.out.write_all(hash.as_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is none, of another release, or damaged.
    #[error("{0}")]
    Unusable(String),
}

/// Reads a snapshot and hands on its pieces, in order. They count only if it
/// returns without an error.
///
/// # Errors
///
/// [`SnapshotError`], also where the bytes are not those that were written.
pub fn read(
    mut from: impl Read,
    mut take: impl FnMut(Piece) -> Result<(), String>,
) -> Result<(), SnapshotError> {
    let unusable = |what: &str| SnapshotError::Unusable(what.to_owned());
    let mut hasher = blake3::Hasher::new();
    let mut magic = [0; 8];
    from.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(unusable("not a snapshot of this release"));
    }
    hasher.update(&magic);
    let mut bytes = Vec::new();
    loop {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        hasher.update(&length);
        let length = u32::from_le_bytes(length);
        if length == 0 {
            break;
        }
        if length > MAX_PIECE_BYTES {
            return Err(unusable("a piece is longer than any that is written"));
        }
        bytes.resize(length as usize, 0);
        from.read_exact(&mut bytes)?;
        hasher.update(&bytes);
        let piece = codec::decode(&bytes).map_err(|e| SnapshotError::Unusable(e.to_string()))?;
        take(piece).map_err(SnapshotError::Unusable)?;
    }
    let mut hash = [0; 32];
    from.read_exact(&mut hash)?;
    if hash != *hasher.finalize().as_bytes() {
        return Err(unusable("the checksum does not match: it is damaged"));
    }
    Ok(())
}
