//! A grant in the ledger: an entry with parts of its own, or written from parts that lie
//! elsewhere, one behind the other as they come.

use bincode::{Decode, Encode};
use smallvec::SmallVec;

use crate::{BookingId, Digest, Pseudonym, Timestamp};

/// Seats of a booking, in the request's order; one person's take no allocation.
pub type Seats = SmallVec<[Seat; 1]>;

/// An applicant's place in a slot, with its queue number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Seat {
    /// Pseudonym of whoever the place is for.
    pub applicant: Pseudonym,
    /// The queue number, 1..=quota.
    pub number: u16,
}

/// Applicants got places in one slot. Granted at the block's time.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    /// The booking this makes.
    pub booking: BookingId,
    /// Ordinal of the opening, unique in the ledger.
    pub opening: u32,
    /// Index of the slot in the opening.
    pub slot: u32,
    /// The applicants in the request's order, with their numbers.
    pub seats: Seats,
    /// Id that the client chose; a repeat is recognised by it.
    pub request_id: String,
    /// Digest of the request's content.
    pub content: Digest,
    /// Handed back in the booking and its events.
    pub reference: Option<String>,
    /// The account that asked.
    pub account: Option<Pseudonym>,
    /// The channel it asked through.
    pub channel: Option<String>,
    /// When the hold ends, where the opening has holds.
    pub hold_expires_at: Option<Timestamp>,
}

impl Grant {
    /// The same, borrowed.
    pub fn borrowed(&self) -> GrantRef<'_> {
        // All fields are named, so that a new one is borrowed as well.
        let Self {
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
        } = self;
        GrantRef {
            booking: *booking,
            opening: *opening,
            slot: *slot,
            seats,
            request_id,
            content: *content,
            reference: reference.as_deref(),
            account: *account,
            channel: channel.as_deref(),
            hold_expires_at: *hold_expires_at,
        }
    }
}

/// An [`Entry::Grant`](super::Entry::Grant) from parts that lie elsewhere; fields as of [`Grant`].
#[derive(Debug, Clone, Copy)]
pub struct GrantRef<'a> {
    /// The booking this makes.
    pub booking: BookingId,
    /// Ordinal of the opening, unique in the ledger.
    pub opening: u32,
    /// Index of the slot in the opening.
    pub slot: u32,
    /// The applicants in the request's order, with their numbers.
    pub seats: &'a [Seat],
    /// Id that the client chose.
    pub request_id: &'a str,
    /// Digest of the request's content.
    pub content: Digest,
    /// Handed back in the booking and its events.
    pub reference: Option<&'a str>,
    /// The account that asked.
    pub account: Option<Pseudonym>,
    /// The channel it asked through.
    pub channel: Option<&'a str>,
    /// When the hold ends, where the opening has holds.
    pub hold_expires_at: Option<Timestamp>,
}

impl GrantRef<'_> {
    /// Position of [`Entry::Grant`](super::Entry::Grant) among the variants.
    const VARIANT: u32 = 5;

    /// The same with parts of its own.
    pub fn to_owned(self) -> Grant {
        Grant {
            booking: self.booking,
            opening: self.opening,
            slot: self.slot,
            seats: self.seats.into(),
            request_id: self.request_id.to_owned(),
            content: self.content,
            reference: self.reference.map(str::to_owned),
            account: self.account,
            channel: self.channel.map(str::to_owned),
            hold_expires_at: self.hold_expires_at,
        }
    }

    /// Appends what [`codec::encode_into`](crate::codec::encode_into) appends for the entry,
    /// field after field: a block has thousands.
    fn encode_into(&self, out: &mut Vec<u8>) {
        // All fields are named, so that a new one is encoded: in the order of `Grant`.
        let Self {
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
        } = self;
        let text = |text: &str, out: &mut Vec<u8>| {
            out.extend_from_slice(&(text.len() as u64).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        };
        let maybe = |there: Option<&str>, out: &mut Vec<u8>| {
            out.push(u8::from(there.is_some()));
            there.into_iter().for_each(|there| text(there, out));
        };
        let mut head = [0; 30];
        head[..4].copy_from_slice(&Self::VARIANT.to_le_bytes());
        head[4..14].copy_from_slice(booking.as_bytes());
        head[14..18].copy_from_slice(&opening.to_le_bytes());
        head[18..22].copy_from_slice(&slot.to_le_bytes());
        head[22..].copy_from_slice(&(seats.len() as u64).to_le_bytes());
        out.extend_from_slice(&head);
        for Seat { applicant, number } in *seats {
            out.extend_from_slice(applicant.as_bytes());
            out.extend_from_slice(&number.to_le_bytes());
        }
        text(request_id, out);
        out.extend_from_slice(&content.0);
        maybe(*reference, out);
        out.push(u8::from(account.is_some()));
        account.iter().for_each(|account| out.extend_from_slice(account.as_bytes()));
        maybe(*channel, out);
        out.push(u8::from(hold_expires_at.is_some()));
        let hold = hold_expires_at.iter().map(|hold| hold.as_millis().to_le_bytes());
        hold.for_each(|hold| out.extend_from_slice(&hold));
    }
}

/// Grants that follow each other in a block, in its form: encoded one by one, as they come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedGrants {
    bytes: Vec<u8>,
    count: usize,
}

impl EncodedGrants {
    /// None yet.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), count: 0 }
    }

    /// Adds a grant behind the others; returns the bytes that it takes.
    pub fn push(&mut self, grant: &GrantRef<'_>) -> usize {
        let before = self.bytes.len();
        grant.encode_into(&mut self.bytes);
        self.count += 1;
        self.bytes.len() - before
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// True if there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// As they stand in the block.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes room for so many bytes more.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }
}
