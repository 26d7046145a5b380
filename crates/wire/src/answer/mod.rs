//! Answers: verdicts, reasons, bookings as clients see them.

mod binary;
mod next;
mod parts;
mod places;

pub use crate::phase::Phase;
pub use crate::status::Status;
pub use binary::Element;
pub use next::NextStep;
pub use parts::Parts;
pub use places::{Availability, FreePlaces, OpeningState, SlotState};

use bincode::{BorrowDecode, Encode};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use smallvec::SmallVec;

use crate::codec;
use crate::request::{BINARY_VERSION, Form, MAX_APPLICANTS};
use crate::{BookingId, Date, Position, Text, Timestamp};

/// The answer to one `book`, `lookup` or `find`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Answer<'a> {
    /// The request's id, where it could be read.
    pub request_id: Option<Text<'a>>,
    /// What became of it.
    pub verdict: Verdict<'a>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Verdict<'a> {
    /// There is a booking; here it is as it stands.
    Granted {
        /// The booking as it is at `as_of`.
        booking: Booking<'a>,
        /// The ledger position this was true at.
        as_of: Position,
    },
    /// The request got no place; the reason says whether that is final.
    Rejected(Rejection<'a>),
    /// Entered into a draw; in answer to a `cancel`: withdrawn from it.
    Entered {
        /// Id of the opening, unique in the ledger.
        opening: Text<'a>,
        /// The receipt: the booking's id, if it wins.
        receipt: BookingId,
        /// The ledger position this was true at.
        as_of: Position,
    },
}

/// Why a request got no place, and when to ask again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Rejection<'a> {
    /// The reason, by number in binary, by name in JSON.
    pub reason: Reason,
    /// For the client's developer: what, where, what would be right.
    pub detail: Option<Text<'a>>,
    /// When another try is worth it, for `busy`, `unavailable`, `not_open`.
    pub retry_after_ms: Option<u64>,
    /// The server's time, for `not_open`.
    pub now: Option<Timestamp>,
    /// The ledger position this was true at, where it speaks of the ledger.
    pub as_of: Option<Position>,
}

impl<'a> Rejection<'a> {
    /// A rejection without anything beside its reason.
    pub const fn new(reason: Reason) -> Self {
        Self { reason, detail: None, retry_after_ms: None, now: None, as_of: None }
    }

    /// Adds a sentence for people; never a value that a client sent.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Text<'a>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the time after which a retry is worth it.
    #[must_use]
    pub const fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// Adds the ledger position it was true at.
    #[must_use]
    pub const fn as_of(mut self, position: Position) -> Self {
        self.as_of = Some(position);
        self
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $text:literal),* $(,)?) => {
        /// Why a request was rejected. A closed list; the numbers are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Reason { $($(#[$doc])* $variant = $number),* }

        impl Reason {
            /// Every reason, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Length of an array with a place for every number.
            pub const NUMBERS: usize = Self::ALL.len() + 1;

            /// The name in JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}

reasons! {
    /// Cannot be understood; the detail says what and where.
    Malformed = 1 "malformed",
    /// No such opening, or several are open and none was named.
    UnknownOpening = 2 "unknown_opening",
    /// The opening has not begun; worth a retry.
    NotOpen = 3 "not_open",
    /// The opening is over.
    Closed = 4 "closed",
    /// An office, date or session the opening does not have.
    UnknownSlot = 5 "unknown_slot",
    /// A restricted session, asked for without a voucher.
    NotPermitted = 6 "not_permitted",
    /// More applicants than the opening allows in one request.
    PartyTooLarge = 7 "party_too_large",
    /// The account has as many places as it may.
    AccountLimit = 8 "account_limit",
    /// An applicant already has a live booking.
    AlreadyBooked = 9 "already_booked",
    /// The same request id with another content.
    Conflict = 10 "conflict",
    /// No choice has room for the whole party.
    SoldOut = 11 "sold_out",
    /// Its `expires_at` is over; it was not decided.
    Expired = 12 "expired",
    /// No such booking, or not this applicant's.
    NotFound = 13 "not_found",
    /// The booking is in a state that does not allow this.
    WrongState = 14 "wrong_state",
    /// Too much at once; worth a retry.
    Busy = 15 "busy",
    /// No engine may decide just now; worth a retry.
    Unavailable = 16 "unavailable",
    /// An applicant was granted as many bookings in the opening as one may.
    ApplicantLimit = 17 "applicant_limit",
}

impl Reason {
    /// The stable number, as in binary.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The reason with this number.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|r| r.number() == number)
    }

    /// The reason with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|r| r.name() == name)
    }

    /// What the rejection rests on.
    pub const fn kind(self) -> ReasonKind {
        match self {
            Self::Malformed
            | Self::UnknownOpening
            | Self::UnknownSlot
            | Self::NotPermitted
            | Self::PartyTooLarge
            | Self::Conflict => ReasonKind::Request,
            Self::AccountLimit
            | Self::AlreadyBooked
            | Self::ApplicantLimit
            | Self::NotFound
            | Self::WrongState => ReasonKind::Bookings,
            Self::Closed | Self::SoldOut | Self::Expired => ReasonKind::Places,
            Self::NotOpen | Self::Busy | Self::Unavailable => ReasonKind::Unsettled,
        }
    }

    /// True where the answer settles nothing and a retry may: `not_open`,
    /// `busy`, `unavailable`.
    pub const fn worth_a_retry(self) -> bool {
        matches!(self.kind(), ReasonKind::Unsettled)
    }
}

/// What a rejection rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasonKind {
    /// What was asked for, under the opening's rules: every order would repeat it.
    Request,
    /// What its people, its account or its booking have already.
    Bookings,
    /// Want of places, or of time for them: another order might have served it.
    Places,
    /// Nothing that lasts; a retry may be served.
    Unsettled,
}

// Whoever counts by reason indexes by number.
const _: () = {
    let mut at = 0;
    while at < Reason::ALL.len() {
        assert!(
            Reason::ALL[at].number() as usize == at + 1,
            "reasons stand in the order of their numbers, from 1 on and without a gap"
        );
        at += 1;
    }
};

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Text::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| de::Error::custom("not a reason"))
    }
}

impl Encode for Reason {
    fn encode<E: bincode::enc::Encoder>(
        &self,
        encoder: &mut E,
    ) -> Result<(), bincode::error::EncodeError> {
        self.number().encode(encoder)
    }
}

impl<'de, C> BorrowDecode<'de, C> for Reason {
    fn borrow_decode<D: bincode::de::BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        Self::from_number(u16::borrow_decode(decoder)?)
            .ok_or(bincode::error::DecodeError::Other("no such reason"))
    }
}

/// A booking as clients and consumers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
pub struct Booking<'a> {
    /// Unique in the ledger.
    pub id: BookingId,
    /// Counts its changes, from 1.
    pub version: u32,
    /// Held, confirmed or ended.
    pub status: Status,
    /// Id of the opening, unique in the ledger.
    #[serde(borrow)]
    pub opening: Text<'a>,
    /// Id of the office, unique in the opening.
    #[serde(borrow)]
    pub office: Text<'a>,
    /// Date of the slot in the opening's time zone.
    pub date: Date,
    /// Id of the session, unique in its office.
    #[serde(borrow)]
    pub session: Text<'a>,
    /// Queue numbers, one per applicant, in their order.
    pub numbers: SmallVec<[u16; MAX_APPLICANTS]>,
    /// The id of the request that made it.
    #[serde(borrow)]
    pub request_id: Text<'a>,
    /// What the request gave to hand back.
    #[serde(borrow, default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<Text<'a>>,
    /// The channel it was asked for through.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Text<'a>>,
    /// When it was granted.
    pub granted_at: Timestamp,
    /// When the hold ends, while held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_expires_at: Option<Timestamp>,
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("request_id", &self.request_id)?;
        match &self.verdict {
            Verdict::Granted { booking, as_of } => {
                map.serialize_entry("outcome", "granted")?;
                map.serialize_entry("as_of", as_of)?;
                map.serialize_entry("booking", booking)?;
            }
            Verdict::Rejected(rejection) => {
                map.serialize_entry("outcome", "rejected")?;
                map.serialize_entry("reason", &rejection.reason)?;
                if let Some(detail) = &rejection.detail {
                    map.serialize_entry("detail", detail)?;
                }
                if let Some(ms) = rejection.retry_after_ms {
                    map.serialize_entry("retry_after_ms", &ms)?;
                }
                if let Some(now) = rejection.now {
                    map.serialize_entry("now", &now)?;
                }
                if let Some(as_of) = rejection.as_of {
                    map.serialize_entry("as_of", &as_of)?;
                }
            }
            Verdict::Entered { opening, receipt, as_of } => {
                #[derive(Serialize)]
                struct Entered<'a> {
                    opening: &'a str,
                    receipt: &'a BookingId,
                }
                map.serialize_entry("outcome", "entered")?;
                map.serialize_entry("entry", &Entered { opening, receipt })?;
                map.serialize_entry("as_of", as_of)?;
            }
        }
        map.end()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Answer<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Flat<'a> {
            #[serde(borrow)]
            request_id: Option<Text<'a>>,
            #[serde(borrow)]
            outcome: Text<'a>,
            #[serde(borrow)]
            booking: Option<Booking<'a>>,
            #[serde(borrow)]
            entry: Option<FlatEntry<'a>>,
            reason: Option<Reason>,
            #[serde(borrow)]
            detail: Option<Text<'a>>,
            retry_after_ms: Option<u64>,
            now: Option<Timestamp>,
            as_of: Option<Position>,
        }
        #[derive(Deserialize)]
        struct FlatEntry<'a> {
            #[serde(borrow)]
            opening: Text<'a>,
            receipt: BookingId,
        }
        let flat = Flat::deserialize(deserializer)?;
        let as_of = || flat.as_of.ok_or_else(|| de::Error::missing_field("as_of"));
        let verdict = match flat.outcome.as_str() {
            "granted" => Verdict::Granted {
                as_of: as_of()?,
                booking: flat.booking.ok_or_else(|| de::Error::missing_field("booking"))?,
            },
            "rejected" => Verdict::Rejected(Rejection {
                reason: flat.reason.ok_or_else(|| de::Error::missing_field("reason"))?,
                detail: flat.detail,
                retry_after_ms: flat.retry_after_ms,
                now: flat.now,
                as_of: flat.as_of,
            }),
            "entered" => {
                let as_of = as_of()?;
                let entry = flat.entry.ok_or_else(|| de::Error::missing_field("entry"))?;
                Verdict::Entered { opening: entry.opening, receipt: entry.receipt, as_of }
            }
            _ => {
                return Err(de::Error::custom("outcome: granted, rejected or entered expected"));
            }
        };
        Ok(Self { request_id: flat.request_id, verdict })
    }
}

/// The answer to one `availability`: in JSON either of the two as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Encode, BorrowDecode)]
#[serde(untagged)]
pub enum Overview<'a> {
    /// What was asked for.
    Shown(Availability<'a>),
    /// A rejection, in the form of every other.
    #[serde(serialize_with = "as_answer")]
    Rejected(Rejection<'a>),
}

pub(crate) fn as_answer<S: Serializer>(
    rejection: &Rejection<'_>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let verdict = Verdict::Rejected(rejection.clone());
    Answer { request_id: None, verdict }.serialize(serializer)
}

impl<'de: 'a, 'a> Deserialize<'de> for Overview<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde's own reading of untagged enums would copy every text.
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?;
        let shown = serde_json::from_str(raw.get());
        match shown {
            Ok(shown) => Ok(Self::Shown(shown)),
            Err(not_shown) => match serde_json::from_str::<Answer<'a>>(raw.get()) {
                Ok(Answer { verdict: Verdict::Rejected(rejection), .. }) => {
                    Ok(Self::Rejected(rejection))
                }
                _ => Err(de::Error::custom(not_shown)),
            },
        }
    }
}

/// Appends the answers to a payload of this form.
///
/// `answers` has one element for [`Form::JsonOne`]. A payload that could not be
/// read at all is answered with one JSON object.
pub fn write<T: Serialize + Element>(form: Form, answers: &[T], out: &mut Vec<u8>) {
    match form {
        Form::JsonOne => answers.iter().take(1).for_each(|answer| json_into(answer, out)),
        Form::JsonMany => json_into(&answers, out),
        Form::Binary => {
            out.push(BINARY_VERSION);
            codec::encode_into(&(answers.len() as u64), out);
            answers.iter().for_each(|answer| answer.binary_into(out));
        }
    }
}

fn json_into<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("writing JSON into memory has no way to fail");
}

/// Reads a binary answer payload.
///
/// # Errors
///
/// [`codec::DecodeError`], also for a first byte that is not the version.
pub fn read_binary<'a, T: BorrowDecode<'a, ()>>(
    payload: &'a [u8],
) -> Result<Vec<T>, codec::DecodeError> {
    match payload.split_first() {
        Some((&BINARY_VERSION, rest)) => codec::decode(rest),
        _ => Err(codec::DecodeError::Format {
            at: 0,
            cause: bincode::error::DecodeError::Other("a binary answer starts with 0x01"),
        }),
    }
}
