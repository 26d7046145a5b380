//! A durable booking in memory.

use std::sync::Arc;

use giliran_wire::answer::Status;
use giliran_wire::ledger::{Grant, Seat, Seats};
use giliran_wire::{BookingId, Digest, Pseudonym, Timestamp};

/// A booking as the ledger has it. Replaced whole when it changes, so that a
/// reader sees one version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    /// Unique in the ledger; of a drawn booking, its entry's receipt.
    pub id: BookingId,
    /// Digest of the content of the request that made it.
    pub content: Digest,
    /// The applicants in the request's order, with their numbers.
    pub seats: Seats,
    /// The id of the request that made it.
    pub request_id: Box<str>,
    /// What the request gave to hand back.
    pub reference: Option<Box<str>>,
    /// The account that asked.
    pub account: Option<Pseudonym>,
    /// The channel it was asked for through.
    pub channel: Option<Box<str>>,
    /// When it was granted.
    pub granted_at: Timestamp,
    /// When the hold ends.
    pub hold_expires_at: Option<Timestamp>,
    /// Ordinal of the opening, unique in the ledger.
    pub opening: u32,
    /// Index of its slot in the opening.
    pub slot: u32,
    /// Counts its changes, from 1.
    pub version: u32,
    /// Held, confirmed or ended, by the ledger's last block.
    pub status: Status,
    /// What happened to it since it was granted; none: nothing.
    pub change_log: Option<Arc<ChangeLog>>,
}

/// What happened to a booking since it was granted: what a repeated request is
/// recognised by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeLog {
    /// The requests that changed it, in order.
    pub done: Vec<PastChange>,
    /// Reschedules since the grant, or since the authority last moved it.
    pub changes: u16,
    /// Those who left the party.
    pub left: Vec<Pseudonym>,
}

/// A request that changed a booking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastChange {
    /// Id of the request that made this change.
    pub request_id: Box<str>,
    /// The change it made, with what a repeat is compared with.
    pub kind: PastChangeKind,
}

/// What a request did to a booking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PastChangeKind {
    /// The hold became a firm booking.
    Confirmed {
        /// Names the payment; opaque to Giliran.
        reference: Option<Box<str>>,
    },
    /// Came too late: what was paid is to be paid back.
    Refund {
        /// Names the payment; opaque to Giliran.
        reference: Option<Box<str>>,
    },
    /// Places were given back.
    Cancelled {
        /// Only this member's seat; none: all of it.
        member: Option<Pseudonym>,
    },
    /// The party moved to another slot.
    Rescheduled {
        /// Digest of the request's content.
        content: Digest,
    },
}

impl Booking {
    /// In the order of grants; of two in one millisecond by id.
    pub(crate) fn made_before(&self, other: &Self) -> bool {
        (self.granted_at, self.id) < (other.granted_at, other.id)
    }

    /// The booking a grant makes in a block of this time.
    pub(crate) fn new(grant: Grant, granted_at: Timestamp) -> Self {
        let Grant {
            booking: id,
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
        Self {
            id,
            content,
            seats,
            request_id: request_id.into_boxed_str(),
            reference: reference.map(String::into_boxed_str),
            account,
            channel: channel.map(String::into_boxed_str),
            granted_at,
            hold_expires_at,
            opening,
            slot,
            version: 1,
            status: match hold_expires_at {
                Some(_) => Status::Held,
                None => Status::Confirmed,
            },
            change_log: None,
        }
    }

    /// The next version of it, changed by `change`.
    pub(crate) fn changed(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = Self { version: self.version + 1, ..self.clone() };
        change(&mut next);
        next
    }

    pub(crate) fn change_log_mut(&mut self) -> &mut ChangeLog {
        Arc::make_mut(self.change_log.get_or_insert_default())
    }

    /// The request of this id that changed it.
    pub(crate) fn done(&self, request_id: &str) -> Option<&PastChangeKind> {
        let change_log = self.change_log.as_ref()?;
        change_log.done.iter().find(|done| *done.request_id == *request_id).map(|done| &done.kind)
    }

    /// Reschedules that count against the cap.
    pub(crate) fn changes(&self) -> u16 {
        self.change_log.as_ref().map_or(0, |change_log| change_log.changes)
    }

    /// True if this applicant left the party.
    pub(crate) fn was_left_by(&self, applicant: &Pseudonym) -> bool {
        self.change_log.as_ref().is_some_and(|change_log| change_log.left.contains(applicant))
    }

    /// True if this applicant is of the party.
    pub fn is_of(&self, applicant: &Pseudonym) -> bool {
        self.seats.iter().any(|seat| seat.applicant == *applicant)
    }

    /// Appends every field in a fixed order, for the state's hash.
    pub(crate) fn digest_into(&self, out: &mut Vec<u8>) {
        // All fields are named, so that a new one goes into the hash.
        let Self {
            id,
            content,
            seats,
            request_id,
            reference,
            account,
            channel,
            granted_at,
            hold_expires_at,
            opening,
            slot,
            version,
            status,
            change_log,
        } = self;
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(&content.0);
        out.extend_from_slice(&version.to_le_bytes());
        out.push(*status as u8);
        out.extend_from_slice(&opening.to_le_bytes());
        out.extend_from_slice(&slot.to_le_bytes());
        out.extend_from_slice(&granted_at.as_millis().to_le_bytes());
        let hold = hold_expires_at.map_or(i64::MIN, Timestamp::as_millis);
        out.extend_from_slice(&hold.to_le_bytes());
        out.extend_from_slice(&account.map_or([0; 16], |account| *account.as_bytes()));
        out.push(seats.len() as u8);
        for Seat { applicant, number } in seats {
            out.extend_from_slice(applicant.as_bytes());
            out.extend_from_slice(&number.to_le_bytes());
        }
        text_into(Some(request_id), out);
        text_into(reference.as_deref(), out);
        text_into(channel.as_deref(), out);
        match change_log {
            Some(change_log) => change_log.digest_into(out),
            None => out.push(0),
        }
    }
}

impl ChangeLog {
    fn digest_into(&self, out: &mut Vec<u8>) {
        let Self { done, changes, left } = self;
        out.push(1);
        out.extend_from_slice(&changes.to_le_bytes());
        out.extend_from_slice(&(left.len() as u32).to_le_bytes());
        left.iter().for_each(|who| out.extend_from_slice(who.as_bytes()));
        out.extend_from_slice(&(done.len() as u32).to_le_bytes());
        for PastChange { request_id, kind } in done {
            text_into(Some(request_id), out);
            match kind {
                PastChangeKind::Confirmed { reference } => {
                    out.push(0);
                    text_into(reference.as_deref(), out);
                }
                PastChangeKind::Refund { reference } => {
                    out.push(1);
                    text_into(reference.as_deref(), out);
                }
                PastChangeKind::Cancelled { member } => {
                    out.push(2);
                    out.extend_from_slice(&member.map_or([0; 16], |who| *who.as_bytes()));
                }
                PastChangeKind::Rescheduled { content } => {
                    out.push(3);
                    out.extend_from_slice(&content.0);
                }
            }
        }
    }
}

/// Texts have at most 64 bytes, so 255 stands for "none".
pub(crate) fn text_into(text: Option<&str>, out: &mut Vec<u8>) {
    out.push(text.map_or(u8::MAX, |t| t.len() as u8));
    out.extend_from_slice(text.map_or(&[], str::as_bytes));
}
