//! A state of the ledger's fold, written down: what a reader can begin with
//! instead of the ledger's first block.
//!
//! It is made of [`Piece`]s. Derived facts are not in it: who reads it computes
//! them again. It is kept in two places:
//!
//! - **A file** ([`Writer`], [`Sections`]): [`MAGIC`], then sections that can be checked
//!   and decoded side by side. It begins with a [`SnapshotHeader`]. Another
//!   release may find another layout under another magic, and then reads the
//!   ledger from its beginning: the file is never the only copy of anything.
//! - **A generation's begin** in the ledger ([`Chunker`], [`Assembler`]): pieces without
//!   the header, cut into parts. The 32-byte BLAKE3 of all of them stands in the seal before.
//!   The bytes follow from the state alone, so that whoever writes them writes
//!   the same.
//!
//! In both a piece is its length as `u32` (little endian) and its bytes in [`codec`].

mod file;

use bincode::{BorrowDecode, Decode, Encode};

use crate::answer::{Phase, Status};
use crate::codec;
use crate::ledger::{Chain, DrawEntryRecord, Genesis, Grant, OpeningRecord, Seats};
use crate::{BlockHash, BookingId, Digest, Pseudonym, Timestamp};

pub use crate::snapshot_error::{SnapshotError, Unusable};
pub use file::{MAGIC, Section, Sections, Writer, read};

/// The longest piece, in bytes.
const MAX_PIECE_BYTES: u32 = 64 * 1024 * 1024;

/// Bytes of a part in a generation's begin, but for the last one: with genesis
/// beside it, it fits a block.
pub const PART_BYTES: usize = 480 * 1024;

/// A part of the state. Stand and head come first, openings before their
/// bookings.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Piece {
    /// Where the state stands; in a file alone.
    Stand(Box<SnapshotHeader>),
    /// What is no opening's.
    Head(Head),
    /// An opening in memory.
    Opening(Box<OpeningState>),
    /// Bookings of openings in memory, in the order in which they were made.
    Bookings(Vec<BookingState>),
    /// Entries of openings in memory.
    Entries(Vec<EntryState>),
    /// Where an opening's rounds or draw stand; behind the opening.
    Order(OrderState),
}

/// Where an opening's rounds or draw stand.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OrderState {
    /// Ordinal of the opening, unique in the ledger.
    pub opening: u32,
    /// Hash of the seed, on record since before the opening.
    pub commitment: [u8; 32],
    /// The public value that is mixed in, by name.
    pub beacon: Option<String>,
    /// The entries' root, once they are complete, and how many there were.
    pub root: Option<([u8; 32], u64)>,
    /// The seed, once it is revealed.
    pub revealed: Option<Revealed>,
}

/// A seed that is revealed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Revealed {
    /// The seed, revealed once the opening has closed.
    pub seed: [u8; 32],
    /// The public value, where one was named.
    pub beacon: Option<Vec<u8>>,
    /// When: the draw gives no places of slots that could not be booked any more.
    pub at: Timestamp,
}

/// Where the state stands in the ledger.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct SnapshotHeader {
    /// How far the ledger was read.
    pub chain: Chain,
    /// What its generation began with.
    pub genesis: Genesis,
    /// Hash of the state that the generation before was sealed with, if there
    /// was one.
    pub sealed: Option<BlockHash>,
}

/// What is no opening's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Head {
    /// The ordinal of the next opening.
    pub next_ordinal: u32,
    /// Ids of openings that have left memory.
    pub retired: Vec<String>,
    /// Changes of bookings and entries since the ledger's first block: as many
    /// events were told.
    pub changes: u64,
}

/// An opening with its slots, without its bookings.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct OpeningState {
    /// The opening as it was recorded; adjustments are beside it.
    pub record: OpeningRecord,
    /// Whether it accepts requests.
    pub phase: Phase,
    /// Its end as it stands.
    pub closes_at: Timestamp,
    /// True: it has opened, and was not ended before that.
    pub took_place: bool,
    /// Groups drawn so far.
    pub draws: u64,
    /// Its slots, in the record's order.
    pub slots: Vec<SlotState>,
}

/// A slot, without what its bookings say.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct SlotState {
    /// Places the slot has at this position.
    pub quota: u16,
    /// Places that an operator keeps back.
    pub reserved: u16,
    /// True if an operator has closed the slot for grants.
    pub halted: bool,
    /// Returned numbers that are not released yet.
    pub withheld: Vec<Withheld>,
}

/// A queue number that was returned and is not free yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Withheld {
    /// Queue number, counted from 1.
    pub number: u16,
    /// What it waits for.
    pub until: Until,
}

/// What a returned number waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Until {
    /// A moment, which is on record.
    At(Timestamp),
    /// The first draw after it came back. When that is says the time zone database,
    /// which is not the same everywhere, nor for ever.
    Draw {
        /// When it came back.
        since: Timestamp,
        /// By the rule for bookings that ran out; else for those given back.
        expired: bool,
    },
}

/// A booking, live or not.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct BookingState {
    /// What made it, with slot and seats as they stand.
    pub grant: Grant,
    /// Time of the block that granted it.
    pub granted_at: Timestamp,
    /// Counts changes of the booking, from 1 on.
    pub version: u32,
    /// Held, confirmed or ended.
    pub status: Status,
    /// What happened to it; none: nothing.
    pub change_log: Option<ChangeLogState>,
}

/// A [`BookingState`] whose texts lie elsewhere, in the same encoding. Fields as of that and
/// of [`Grant`], in their order.
#[derive(Debug, Clone, PartialEq, Encode, BorrowDecode)]
pub struct BookingStateRef<'a> {
    /// The booking's id.
    pub booking: BookingId,
    /// Ordinal of the opening, unique in the ledger.
    pub opening: u32,
    /// Index of the slot in the opening.
    pub slot: u32,
    /// The applicants in the request's order, with their numbers.
    pub seats: Seats,
    /// Id of the request that made it.
    pub request_id: &'a str,
    /// Digest of the request's content.
    pub content: Digest,
    /// Handed back in the booking and its events.
    pub reference: Option<&'a str>,
    /// The account that asked.
    pub account: Option<Pseudonym>,
    /// The channel it asked through.
    pub channel: Option<&'a str>,
    /// When the hold ends, or would have ended.
    pub hold_expires_at: Option<Timestamp>,
    /// Time of the block that granted it.
    pub granted_at: Timestamp,
    /// Counts changes of the booking, from 1 on.
    pub version: u32,
    /// Held, confirmed or ended.
    pub status: Status,
    /// What happened to it; none: nothing.
    pub change_log: Option<ChangeLogState>,
}

impl BookingStateRef<'_> {
    /// The same with texts of its own.
    pub fn to_owned(self) -> BookingState {
        let grant = Grant {
            booking: self.booking,
            opening: self.opening,
            slot: self.slot,
            seats: self.seats,
            request_id: self.request_id.to_owned(),
            content: self.content,
            reference: self.reference.map(str::to_owned),
            account: self.account,
            channel: self.channel.map(str::to_owned),
            hold_expires_at: self.hold_expires_at,
        };
        BookingState {
            grant,
            granted_at: self.granted_at,
            version: self.version,
            status: self.status,
            change_log: self.change_log,
        }
    }
}

impl BookingState {
    /// The same, borrowed.
    pub fn borrowed(&self) -> BookingStateRef<'_> {
        // All fields are named, so that a new one is borrowed as well.
        let Self { grant, granted_at, version, status, change_log } = self;
        let Grant {
            booking,
            opening,
            slot,
            seats,
            request_id,
            content,
            reference,
            account,
            channel,
            hold_expires_at,
        } = grant;
        BookingStateRef {
            booking: *booking,
            opening: *opening,
            slot: *slot,
            seats: seats.clone(),
            request_id,
            content: *content,
            reference: reference.as_deref(),
            account: *account,
            channel: channel.as_deref(),
            hold_expires_at: *hold_expires_at,
            granted_at: *granted_at,
            version: *version,
            status: *status,
            change_log: change_log.clone(),
        }
    }
}

/// What happened to a booking.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct ChangeLogState {
    /// Requests that changed it: id and deed.
    pub done: Vec<(String, PastChangeState)>,
    /// Reschedules that count against `max_changes`.
    pub changes: u16,
    /// Pseudonyms of the members who gave their place back.
    pub left: Vec<Pseudonym>,
}

/// What a request did.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum PastChangeState {
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
    /// The entry as the ledger has it.
    pub entry: DrawEntryRecord,
    /// Time of the block that recorded it.
    pub since: Timestamp,
    /// When it was withdrawn; none: it is live. The slots of a withdrawn one are
    /// not kept.
    pub withdrawn: Option<Timestamp>,
}

/// Position of [`Piece::Bookings`] among the variants.
const BOOKINGS: [u8; 4] = 3_u32.to_le_bytes();

/// Appends a piece behind its length.
pub fn append(piece: &Piece, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    codec::encode_into(piece, out);
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// Writes a [`Piece::Bookings`] as [`append`] does, one booking after the other.
#[derive(Debug)]
pub struct BookingsWriter<'a> {
    out: &'a mut Vec<u8>,
    /// Where the piece begins.
    at: usize,
    count: u64,
}

impl<'a> BookingsWriter<'a> {
    /// Begins the piece behind what `out` holds.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&BOOKINGS);
        out.extend_from_slice(&[0; 8]);
        Self { out, at, count: 0 }
    }

    /// Adds a booking.
    pub fn booking(&mut self, booking: &BookingStateRef<'_>) {
        codec::encode_into(booking, self.out);
        self.count += 1;
    }

    /// Ends the piece.
    pub fn end(self) {
        let length = (self.out.len() - self.at - 4) as u32;
        let head = &mut self.out[self.at..self.at + 16];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[8..].copy_from_slice(&self.count.to_le_bytes());
    }
}

/// A piece that was read and not decoded.
#[derive(Debug, Clone, Copy)]
pub struct EncodedPiece<'a>(&'a [u8]);

impl EncodedPiece<'_> {
    /// True of a [`Piece::Bookings`].
    pub fn is_of_bookings(self) -> bool {
        self.0.starts_with(&BOOKINGS)
    }

    /// The piece.
    ///
    /// # Errors
    ///
    /// Where the bytes are none.
    pub fn decode(self) -> Result<Piece, Unusable> {
        Ok(codec::decode_kept(self.0)?)
    }

    /// Hands on the bookings of a [`Piece::Bookings`], one after the other.
    ///
    /// # Errors
    ///
    /// Where the bytes are no such piece, and the first that `take` gives.
    pub fn bookings(
        self,
        mut take: impl FnMut(BookingStateRef<'_>) -> Result<(), Unusable>,
    ) -> Result<(), Unusable> {
        let bookings = self.0.strip_prefix(&BOOKINGS).ok_or(Unusable::AmongBookings)?;
        codec::decode_each_kept(bookings, |booking: BookingStateRef<'_>| take(booking))
    }
}

/// The next piece, whose bytes are then no longer in `rest`; none: it is not whole.
fn next_piece<'a>(rest: &mut &'a [u8]) -> Result<Option<EncodedPiece<'a>>, Unusable> {
    let Some((length, behind)) = rest.split_first_chunk() else { return Ok(None) };
    let length = u32::from_le_bytes(*length);
    if length > MAX_PIECE_BYTES {
        return Err(Unusable::LongPiece);
    }
    let Some((piece, behind)) = behind.split_at_checked(length as usize) else { return Ok(None) };
    *rest = behind;
    Ok(Some(EncodedPiece(piece)))
}

/// Cuts pieces into parts.
#[derive(Debug)]
pub struct Chunker {
    bytes: Vec<u8>,
    part_bytes: usize,
}

impl Chunker {
    /// Parts of so many bytes; the last one may be shorter.
    pub fn new(part_bytes: usize) -> Self {
        Self { bytes: Vec::new(), part_bytes: part_bytes.max(1) }
    }

    /// Adds a piece behind what was added before.
    pub fn add(&mut self, piece: &Piece) {
        append(piece, &mut self.bytes);
    }

    /// Where whole pieces are to be appended, each behind its length.
    pub const fn end_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// A whole part, if there is one.
    pub fn part(&mut self) -> Option<Vec<u8>> {
        if self.bytes.len() < self.part_bytes {
            return None;
        }
        let rest = self.bytes.split_off(self.part_bytes);
        Some(std::mem::replace(&mut self.bytes, rest))
    }

    /// What is left once the last piece was added; none: nothing is.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        (!self.bytes.is_empty()).then(|| std::mem::take(&mut self.bytes))
    }
}

/// Puts parts together again.
#[derive(Debug, Default)]
pub struct Assembler {
    bytes: Vec<u8>,
    hasher: blake3::Hasher,
}

impl Assembler {
    /// Adds the next part and hands on the pieces that are whole with it.
    ///
    /// # Errors
    ///
    /// Where they cannot be read, and the first that `take` gives.
    pub fn add(
        &mut self,
        part: &[u8],
        mut take: impl FnMut(Piece) -> Result<(), Unusable>,
    ) -> Result<(), Unusable> {
        self.add_encoded(part, |piece| take(piece.decode()?))
    }

    /// The same, for who decodes them.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn add_encoded(
        &mut self,
        part: &[u8],
        mut take: impl FnMut(EncodedPiece<'_>) -> Result<(), Unusable>,
    ) -> Result<(), Unusable> {
        self.hasher.update(part);
        self.bytes.extend_from_slice(part);
        let mut rest = &self.bytes[..];
        while let Some(piece) = next_piece(&mut rest)? {
            take(piece)?;
        }
        let read = self.bytes.len() - rest.len();
        self.bytes.drain(..read);
        Ok(())
    }

    /// Hash of the whole state, after the last part.
    ///
    /// # Errors
    ///
    /// Where a piece is not complete.
    pub fn end(self) -> Result<BlockHash, Unusable> {
        if self.bytes.is_empty() {
            Ok(BlockHash(*self.hasher.finalize().as_bytes()))
        } else {
            Err(Unusable::Incomplete)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_joined_again() {
        let head = |n| {
            Piece::Head(Head {
                next_ordinal: n,
                retired: vec!["x".repeat(30_000); n as usize],
                changes: u64::from(n),
            })
        };
        let pieces: Vec<Piece> = (0..40).map(head).collect();
        let (mut cutter, mut parts) = (Chunker::new(PART_BYTES), Vec::new());
        for piece in &pieces {
            cutter.add(piece);
            parts.extend(std::iter::from_fn(|| cutter.part()));
        }
        parts.extend(cutter.rest());
        assert!(parts.len() > 10, "pieces lie across parts");
        let (mut joiner, mut joined) = (Assembler::default(), Vec::new());
        for part in &parts {
            let join = |piece| {
                joined.push(piece);
                Ok(())
            };
            joiner.add(part, join).unwrap();
        }
        assert_eq!(joined, pieces);
        let whole = blake3::hash(&parts.concat());
        assert_eq!(joiner.end().unwrap(), BlockHash(*whole.as_bytes()));

        let mut joiner = Assembler::default();
        joiner.add(&parts[0], |_| Ok(())).unwrap();
        assert!(matches!(joiner.end(), Err(Unusable::Incomplete)));
        let huge = u32::MAX.to_le_bytes();
        let long = Assembler::default().add(&huge, |_| Ok(()));
        assert!(matches!(long, Err(Unusable::LongPiece)));
    }

    /// Of what is written nothing may be too much for whoever reads it.
    #[test]
    fn a_piece_may_be_larger_than_any_message() {
        let entry = |i: u32| EntryState {
            entry: DrawEntryRecord {
                receipt: BookingId::from_random(i.into()),
                opening: 0,
                applicants: vec![Pseudonym::from_bytes([1; 16]); 5],
                slots: (0..600).collect(),
                request_id: "x".repeat(64),
                content: Digest([2; 16]),
                reference: None,
                account: None,
                channel: None,
                waits: true,
            },
            since: Timestamp::from_millis(1),
            withdrawn: None,
        };
        let entries = Piece::Entries((0..4_096).map(entry).collect());
        let done =
            |i: u32| (format!("{i:0>36}"), PastChangeState::Refund(Some(format!("{i:0>36}"))));
        let change_log =
            ChangeLogState { done: (0..200_000).map(done).collect(), changes: 0, left: vec![] };
        let grant = Grant {
            booking: BookingId::from_random(1),
            opening: 0,
            slot: 0,
            seats: Seats::new(),
            request_id: "x".to_owned(),
            content: Digest([2; 16]),
            reference: None,
            account: None,
            channel: None,
            hold_expires_at: None,
        };
        let bookings = Piece::Bookings(vec![BookingState {
            grant,
            granted_at: Timestamp::from_millis(1),
            version: 1,
            status: Status::Expired,
            change_log: Some(change_log),
        }]);
        for piece in [entries, bookings] {
            let mut writer = Writer::new(Vec::new()).unwrap();
            writer.piece(&piece).unwrap();
            let bytes = writer.finish().unwrap();
            let mut back = Vec::new();
            read(&bytes[..], |piece| {
                back.push(piece);
                Ok(())
            })
            .unwrap();
            assert!(back == [piece]);
        }
    }
}
