//! A booking in memory: durable, or staged with a block on its way.

use std::ops::Deref;
use std::ptr;
use std::sync::Arc;

use giliran_wire::answer::Status;
use giliran_wire::ledger::{Grant, GrantRef, Seat};
use giliran_wire::snapshot::{BookingStateRef, ChangeLogState, PastChangeState};
use giliran_wire::{BookingId, Digest, Pseudonym, Timestamp};

use crate::BookingRequest;
use crate::sync::prefetch::prefetch;

/// A booking as the ledger has it, or is about to have it. Replaced whole when it changes, so that a
/// reader sees one version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    /// Unique in the ledger; of a drawn booking, its entry's receipt.
    pub id: BookingId,
    /// Digest of the content of the request that made it.
    pub content: Digest,
    /// The applicants in the request's order, with their numbers.
    pub seats: BookedSeats,
    /// The id of the request that made it.
    pub request_id: Box<str>,
    /// What most bookings do not have.
    rare: Option<Box<Rare>>,
    /// When it was granted.
    pub granted_at: Timestamp,
    /// Number of the block that granted it: nobody sees it before that is in the ledger. 0:
    /// a snapshot had it.
    pub(crate) block: u64,
    /// When the hold ends; [`NO_HOLD`]: it has none.
    hold_expires_at: Timestamp,
    /// Ordinal of the opening, unique in the ledger.
    pub opening: u32,
    /// Index of its slot in the opening.
    pub slot: u32,
    /// Counts its changes, from 1.
    pub version: u32,
    /// Held, confirmed or ended, by the ledger's last block.
    pub status: Status,
}

/// There are as many bookings as places, tens of millions perhaps: with the two counts of
/// its [`Arc`] one takes 128 bytes, a size that allocators have.
const _: () = assert!(size_of::<Booking>() <= 112);

/// No moment of the engine's time.
const NO_HOLD: Timestamp = Timestamp::from_millis(i64::MIN);

/// What of a booking few have, apart from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rare {
    reference: Option<Box<str>>,
    account: Option<Pseudonym>,
    channel: Option<Box<str>>,
    change_log: Option<Arc<ChangeLog>>,
}

impl Rare {
    /// None: a booking has none of these, as most.
    fn of(
        reference: Option<Box<str>>,
        account: Option<Pseudonym>,
        channel: Option<Box<str>>,
    ) -> Option<Box<Self>> {
        let is_some = reference.is_some() || account.is_some() || channel.is_some();
        is_some.then(|| Box::new(Self { reference, account, channel, change_log: None }))
    }
}

/// Seats of a booking: one person's, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BookedSeats {
    /// Of one person.
    One(Seat),
    /// Of a party.
    Many(Box<[Seat]>),
}

impl Deref for BookedSeats {
    type Target = [Seat];

    fn deref(&self) -> &[Seat] {
        match self {
            Self::One(seat) => std::slice::from_ref(seat),
            Self::Many(seats) => seats,
        }
    }
}

impl From<&[Seat]> for BookedSeats {
    fn from(seats: &[Seat]) -> Self {
        match seats {
            [one] => Self::One(*one),
            many => Self::Many(many.into()),
        }
    }
}

impl<'a> IntoIterator for &'a BookedSeats {
    type Item = &'a Seat;
    type IntoIter = std::slice::Iter<'a, Seat>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
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

    /// The booking a grant makes in the block of this number and time.
    pub(crate) fn new(grant: Grant, granted_at: Timestamp, block: u64) -> Self {
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
        let text = |text: Option<String>| text.map(String::into_boxed_str);
        Self {
            id,
            content,
            seats: seats[..].into(),
            request_id: request_id.into_boxed_str(),
            rare: Rare::of(text(reference), account, text(channel)),
            granted_at,
            block,
            hold_expires_at: hold_expires_at.unwrap_or(NO_HOLD),
            opening,
            slot,
            version: 1,
            status: match hold_expires_at {
                Some(_) => Status::Held,
                None => Status::Confirmed,
            },
        }
    }

    /// The booking as a snapshot has it: durable at every position.
    pub(crate) fn restored(state: BookingStateRef<'_>) -> Self {
        let BookingStateRef {
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
            granted_at,
            version,
            status,
            change_log,
        } = state;
        let mut rare = Rare::of(reference.map(Into::into), account, channel.map(Into::into));
        if let Some(change_log) = change_log {
            let change_log = Arc::new(ChangeLog::restored(change_log));
            rare.get_or_insert_default().change_log = Some(change_log);
        }
        Self {
            id,
            content,
            seats: seats[..].into(),
            request_id: request_id.into(),
            rare,
            granted_at,
            block: 0,
            hold_expires_at: hold_expires_at.unwrap_or(NO_HOLD),
            opening,
            slot,
            version,
            status,
        }
    }

    /// The booking that a request is about to get in this slot: without an id, numbers and
    /// the end of a hold, and in no block.
    pub(crate) fn asked(ask: &BookingRequest<'_>, opening: u32, slot: u32) -> Self {
        let seat = |applicant: &Pseudonym| Seat { applicant: *applicant, number: 0 };
        let seats = match ask.applicants {
            [one] => BookedSeats::One(seat(one)),
            many => BookedSeats::Many(many.iter().map(seat).collect()),
        };
        Self {
            id: BookingId::from_random(0),
            content: ask.content.digest(),
            seats,
            request_id: ask.request_id.into(),
            rare: Rare::of(ask.reference.map(Into::into), ask.account, ask.channel.map(Into::into)),
            granted_at: Timestamp::from_millis(0),
            block: u64::MAX,
            hold_expires_at: NO_HOLD,
            opening,
            slot,
            version: 1,
            status: Status::Confirmed,
        }
    }

    /// Numbers for its seats, in their order, and the end of its hold, if it has one.
    pub(crate) fn number(
        &mut self,
        mut numbers: impl FnMut() -> u16,
        hold_expires_at: Option<Timestamp>,
    ) {
        let seats = match &mut self.seats {
            BookedSeats::One(seat) => std::slice::from_mut(seat),
            BookedSeats::Many(seats) => seats,
        };
        seats.iter_mut().for_each(|seat| seat.number = numbers());
        if let Some(until) = hold_expires_at {
            (self.hold_expires_at, self.status) = (until, Status::Held);
        }
    }

    /// It will be read or changed soon: has it fetched from memory meanwhile.
    pub(crate) fn fetch(&self) {
        let first = ptr::from_ref(self).cast::<u8>();
        prefetch(first);
        prefetch(first.wrapping_add(size_of::<Self>() - 1));
    }

    /// The same of its text, for which it is read itself.
    pub(crate) fn fetch_text(&self) {
        prefetch(self.request_id.as_ptr());
    }

    /// It enters the block of this number and time.
    pub(crate) fn enter(&mut self, block: u64, granted_at: Timestamp) {
        (self.block, self.granted_at) = (block, granted_at);
    }

    /// What the request gave to hand back.
    pub fn reference(&self) -> Option<&str> {
        self.rare.as_ref()?.reference.as_deref()
    }

    /// The account that asked.
    pub fn account(&self) -> Option<Pseudonym> {
        self.rare.as_ref()?.account
    }

    /// The channel it was asked for through.
    pub fn channel(&self) -> Option<&str> {
        self.rare.as_ref()?.channel.as_deref()
    }

    /// What happened to it since it was granted; none: nothing.
    pub fn change_log(&self) -> Option<&ChangeLog> {
        self.rare.as_ref()?.change_log.as_deref()
    }

    /// When the hold ends, or would have ended.
    pub fn hold_expires_at(&self) -> Option<Timestamp> {
        Some(self.hold_expires_at).filter(|at| *at != NO_HOLD)
    }

    pub(crate) fn set_hold(&mut self, until: Timestamp) {
        self.hold_expires_at = until;
    }

    /// The entry that grants it as it stands: the one that did, while nothing has changed it.
    pub fn as_grant(&self) -> GrantRef<'_> {
        GrantRef {
            booking: self.id,
            opening: self.opening,
            slot: self.slot,
            seats: &self.seats,
            request_id: &self.request_id,
            content: self.content,
            reference: self.reference(),
            account: self.account(),
            channel: self.channel(),
            hold_expires_at: self.hold_expires_at(),
        }
    }

    /// The next version of it, changed by `change`.
    pub(crate) fn changed(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = Self { version: self.version + 1, ..self.clone() };
        change(&mut next);
        next
    }

    pub(crate) fn change_log_mut(&mut self) -> &mut ChangeLog {
        let rare = self.rare.get_or_insert_default();
        Arc::make_mut(rare.change_log.get_or_insert_default())
    }

    /// The request of this id that changed it.
    pub(crate) fn done(&self, request_id: &str) -> Option<&PastChangeKind> {
        let change_log = self.change_log()?;
        change_log.done.iter().find(|done| *done.request_id == *request_id).map(|done| &done.kind)
    }

    /// Reschedules that count against the cap.
    pub(crate) fn changes(&self) -> u16 {
        self.change_log().map_or(0, |change_log| change_log.changes)
    }

    /// True if this applicant left the party.
    pub(crate) fn was_left_by(&self, applicant: &Pseudonym) -> bool {
        self.change_log().is_some_and(|change_log| change_log.left.contains(applicant))
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
            rare: _,
            granted_at,
            // The same booking, in whichever block a reader met it.
            block: _,
            hold_expires_at,
            opening,
            slot,
            version,
            status,
        } = self;
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(&content.0);
        out.extend_from_slice(&version.to_le_bytes());
        out.push(*status as u8);
        out.extend_from_slice(&opening.to_le_bytes());
        out.extend_from_slice(&slot.to_le_bytes());
        out.extend_from_slice(&granted_at.as_millis().to_le_bytes());
        out.extend_from_slice(&hold_expires_at.as_millis().to_le_bytes());
        out.extend_from_slice(&self.account().map_or([0; 16], |account| *account.as_bytes()));
        out.push(seats.len() as u8);
        for Seat { applicant, number } in seats {
            out.extend_from_slice(applicant.as_bytes());
            out.extend_from_slice(&number.to_le_bytes());
        }
        text_into(Some(request_id), out);
        text_into(self.reference(), out);
        text_into(self.channel(), out);
        match self.change_log() {
            Some(change_log) => change_log.digest_into(out),
            None => out.push(0),
        }
    }
}

impl ChangeLog {
    fn restored(change_log: ChangeLogState) -> Self {
        let text = |text: Option<String>| text.map(String::into_boxed_str);
        let done = change_log.done.into_iter().map(|(request_id, kind)| PastChange {
            request_id: request_id.into_boxed_str(),
            kind: match kind {
                PastChangeState::Confirmed(reference) => {
                    PastChangeKind::Confirmed { reference: text(reference) }
                }
                PastChangeState::Refund(reference) => {
                    PastChangeKind::Refund { reference: text(reference) }
                }
                PastChangeState::Cancelled(member) => PastChangeKind::Cancelled { member },
                PastChangeState::Rescheduled(content) => PastChangeKind::Rescheduled { content },
            },
        });
        Self { done: done.collect(), changes: change_log.changes, left: change_log.left }
    }

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
