//! Confirmation events: CloudEvents 1.0, structured JSON.

mod feed;
mod writer;

pub use feed::{FeedEvents, FeedEventsWriter, FeedPosition};
pub use writer::{BookingInSlot, EventWriter, SlotJson};

use serde::{Deserialize, Serialize};

use crate::answer::Booking;
use crate::subject::Namespace;
use crate::{BookingId, LedgerId, Text, Timestamp};

/// The `Content-Type` header of an event message.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";
/// Where the schema of `data` is described.
pub const DATA_SCHEMA: &str = "urn:giliran:schema:booking-event:1";

/// What happened to a booking; the `<type>` of subject and event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Granted, waits for its confirmation.
    Held,
    /// A hold was confirmed, or a grant needs none.
    Confirmed,
    /// Places were given back by applicants or by the authority.
    Cancelled,
    /// Its hold ran out.
    Expired,
    /// Moved to another slot.
    Rescheduled,
    /// Changed otherwise, as when a party member left.
    Amended,
    /// Paid for, but no longer available.
    RefundDue,
    /// Entered into a draw.
    Entered,
    /// Got no place in the draw.
    NotDrawn,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Held,
        Self::Confirmed,
        Self::Cancelled,
        Self::Expired,
        Self::Rescheduled,
        Self::Amended,
        Self::RefundDue,
        Self::Entered,
        Self::NotDrawn,
    ];

    /// The name in subjects and types.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Rescheduled => "rescheduled",
            Self::Amended => "amended",
            Self::RefundDue => "refund_due",
            Self::Entered => "entered",
            Self::NotDrawn => "not_drawn",
        }
    }
}

/// An event's id: `<ledger id>/<sequence>/<n>`, also its `Nats-Msg-Id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventId {
    /// The ledger that the block stands in.
    pub ledger: LedgerId,
    /// Sequence of the block that made the change.
    pub seq: u64,
    /// Counts the events of a block, from 0.
    pub n: u32,
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.ledger, self.seq, self.n)
    }
}

impl std::str::FromStr for EventId {
    type Err = NotAnEventId;

    fn from_str(s: &str) -> Result<Self, NotAnEventId> {
        let mut parts = s.split('/');
        let (Some(ledger), Some(seq), Some(n), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAnEventId);
        };
        Ok(Self {
            ledger: ledger.parse().map_err(|_| NotAnEventId)?,
            seq: seq.parse().map_err(|_| NotAnEventId)?,
            n: n.parse().map_err(|_| NotAnEventId)?,
        })
    }
}

/// A text that is no event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an event id: <ledger id>/<sequence>/<n>")]
pub struct NotAnEventId;

/// One change of one booking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event<'a> {
    /// Version of CloudEvents, `1.0`.
    #[serde(borrow)]
    pub specversion: Text<'a>,
    /// Unique and stable; see [`EventId`].
    pub id: String,
    /// Names the deployment: `giliran/` and the prefix of its subjects.
    pub source: String,
    /// What happened, as `giliran.booking.confirmed`; the last part is a [`Kind`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Where the place is: `<office>/<date>`.
    pub subject: String,
    /// Time of the block that made the change.
    pub time: Timestamp,
    /// Schema of the data: [`DATA_SCHEMA`].
    #[serde(borrow)]
    pub dataschema: Text<'a>,
    /// Form of the data: `application/json`.
    #[serde(borrow)]
    pub datacontenttype: Text<'a>,
    /// The booking after and before.
    #[serde(borrow)]
    pub data: Data<'a>,
}

/// The booking after the change, and before it; or the entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data<'a> {
    /// After; none where it is about an entry.
    #[serde(borrow)]
    pub booking: Option<Booking<'a>>,
    /// Before; none for a new booking.
    #[serde(borrow)]
    pub previous: Option<Booking<'a>>,
    /// The reference of the payment that confirmed it, or is to be paid back.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<Text<'a>>,
    /// The operator and the reason, where the authority did it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text<'a>>,
    /// The entry, where it is about one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry<'a>>,
}

/// An entry into the next release's draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// The receipt: the booking's id, if it wins.
    pub receipt: BookingId,
    /// Id of the opening, unique in the ledger.
    #[serde(borrow)]
    pub opening: Text<'a>,
    /// The id of the request that made it.
    #[serde(borrow)]
    pub request_id: Text<'a>,
    /// What the request gave to hand back.
    #[serde(borrow, default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<Text<'a>>,
}

impl<'a> Event<'a> {
    /// The event of one change of a booking.
    pub fn new(
        namespace: &Namespace,
        id: EventId,
        kind: Kind,
        time: Timestamp,
        booking: Booking<'a>,
        previous: Option<Booking<'a>>,
    ) -> Self {
        let subject = format!("{}/{}", booking.office, booking.date);
        let data =
            Data { booking: Some(booking), previous, payment: None, reason: None, entry: None };
        Self::of(namespace, id, kind, time, subject, data)
    }

    /// Adds the payment's reference.
    #[must_use]
    pub fn payment(mut self, reference: Option<&'a str>) -> Self {
        self.data.payment = reference.map(Into::into);
        self
    }

    /// Adds the operator's words.
    #[must_use]
    pub fn reason(mut self, words: Option<&'a str>) -> Self {
        self.data.reason = words.map(Into::into);
        self
    }

    /// The event of what became of an entry.
    pub fn of_entry(
        namespace: &Namespace,
        id: EventId,
        kind: Kind,
        time: Timestamp,
        entry: Entry<'a>,
    ) -> Self {
        let data =
            Data { booking: None, previous: None, payment: None, reason: None, entry: Some(entry) };
        Self::of(namespace, id, kind, time, "-/-".to_owned(), data)
    }

    fn of(
        namespace: &Namespace,
        id: EventId,
        kind: Kind,
        time: Timestamp,
        subject: String,
        data: Data<'a>,
    ) -> Self {
        Self {
            specversion: "1.0".into(),
            id: id.to_string(),
            source: format!("giliran/{namespace}"),
            kind: format!("giliran.booking.{}", kind.name()),
            subject,
            time,
            dataschema: DATA_SCHEMA.into(),
            datacontenttype: "application/json".into(),
            data,
        }
    }

    /// The booking it is about, or the receipt of the entry.
    pub fn booking_id(&self) -> Option<BookingId> {
        let booking = self.data.booking.as_ref().map(|booking| booking.id);
        booking.or(self.data.entry.as_ref().map(|entry| entry.receipt))
    }
}
