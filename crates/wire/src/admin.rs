//! Operators' actions: the requests under `<prefix>.admin.` and their answer.
//!
//! Every one names its operator and gives a reason; both go into the ledger.
//! They set, they do not add: the same again changes nothing. A dry run of one
//! changes nothing at all, and is not on record.

use bincode::{BorrowDecode, Encode};
use serde::{Deserialize, Serialize};

use crate::answer::{Booking, Element, Rejection, SlotState, Verdict, as_answer};
use crate::request::{self, Request, false_where_null};
use crate::{Date, Position, Text, Timestamp};

pub use crate::ledger::Bookings;

/// Longest operator's name, in bytes.
pub const MAX_OPERATOR_BYTES: usize = 64;
/// Longest reason, in bytes.
pub const MAX_REASON_BYTES: usize = 256;
/// Most bytes of a stream's name.
pub const MAX_STREAM_BYTES: usize = 255;
/// Most bookings that an answer lists in all, so that it fits the broker's
/// default payload limit whatever they say; it says how many there are.
pub const MAX_LISTED: usize = 1_500;

/// `admin.quota`: sets a slot's quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct Quota<'a> {
    /// Who orders it, 1 to 64 bytes; kept for good.
    #[serde(borrow)]
    pub operator: Text<'a>,
    /// Reason, 1 to 256 bytes; kept for good.
    #[serde(borrow)]
    pub reason: Text<'a>,
    /// Id of the opening, 1 to 40 characters.
    #[serde(borrow)]
    pub opening: Text<'a>,
    /// Id of the office, 1 to 40 of `a-z 0-9 -`.
    #[serde(borrow)]
    pub office: Text<'a>,
    /// Date of the slots in the opening's time zone.
    pub date: Date,
    /// The session; none: `all`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Text<'a>>,
    /// Places in all from here on, 0..=65,535.
    pub quota: u16,
    /// True: nothing changes, the answer says what would.
    #[serde(
        default,
        deserialize_with = "false_where_null",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub dry_run: bool,
}

/// `admin.reserve`: keeps places of a slot back from everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct Reserve<'a> {
    /// Who orders it, 1 to 64 bytes; kept for good.
    #[serde(borrow)]
    pub operator: Text<'a>,
    /// Reason, 1 to 256 bytes; kept for good.
    #[serde(borrow)]
    pub reason: Text<'a>,
    /// Id of the opening, 1 to 40 characters.
    #[serde(borrow)]
    pub opening: Text<'a>,
    /// Id of the office, 1 to 40 of `a-z 0-9 -`.
    #[serde(borrow)]
    pub office: Text<'a>,
    /// Date of the slots in the opening's time zone.
    pub date: Date,
    /// The session; none: `all`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Text<'a>>,
    /// How many are kept back from here on.
    pub places: u16,
    /// True: nothing changes, the answer says what would.
    #[serde(
        default,
        deserialize_with = "false_where_null",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub dry_run: bool,
}

/// Optional fields may be null.
fn keep_where_null<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Bookings, D::Error> {
    Option::<Bookings>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// `admin.halt`: closes an office's day for grants at once, or opens it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct Halt<'a> {
    /// Who orders it, 1 to 64 bytes; kept for good.
    #[serde(borrow)]
    pub operator: Text<'a>,
    /// Reason, 1 to 256 bytes; kept for good.
    #[serde(borrow)]
    pub reason: Text<'a>,
    /// Id of the opening, 1 to 40 characters.
    #[serde(borrow)]
    pub opening: Text<'a>,
    /// Id of the office, 1 to 40 of `a-z 0-9 -`.
    #[serde(borrow)]
    pub office: Text<'a>,
    /// Date of the slots in the opening's time zone.
    pub date: Date,
    /// The session; none: every one of that day.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Text<'a>>,
    /// True: closed; false: open again.
    pub halted: bool,
    /// What becomes of the bookings there; `keep` if left out.
    #[serde(default, deserialize_with = "keep_where_null")]
    pub bookings: Bookings,
    /// True: nothing changes, the answer says what would.
    #[serde(
        default,
        deserialize_with = "false_where_null",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub dry_run: bool,
}

/// `admin.closes_at`: extends an opening, or ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct ClosesAt<'a> {
    /// Who orders it, 1 to 64 bytes; kept for good.
    #[serde(borrow)]
    pub operator: Text<'a>,
    /// Reason, 1 to 256 bytes; kept for good.
    #[serde(borrow)]
    pub reason: Text<'a>,
    /// Id of the opening, 1 to 40 characters.
    #[serde(borrow)]
    pub opening: Text<'a>,
    /// From here on; one that has passed ends it at once.
    pub closes_at: Timestamp,
    /// True: nothing changes, the answer says what would.
    #[serde(
        default,
        deserialize_with = "false_where_null",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub dry_run: bool,
}

/// Longest signature of a public value, in hexadecimal digits.
const MAX_SIGNATURE_DIGITS: usize = 192;

/// `admin.beacon`: gives the public value that an opening's draw waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct Beacon<'a> {
    /// Who orders it, 1 to 64 bytes; kept for good.
    #[serde(borrow)]
    pub operator: Text<'a>,
    /// Reason, 1 to 256 bytes; kept for good.
    #[serde(borrow)]
    pub reason: Text<'a>,
    /// Id of the opening, 1 to 40 characters.
    #[serde(borrow)]
    pub opening: Text<'a>,
    /// The round's signature, in hexadecimal digits.
    #[serde(borrow)]
    pub signature: Text<'a>,
    /// True: nothing changes, the answer says whether it is the one that is waited for.
    #[serde(
        default,
        deserialize_with = "false_where_null",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub dry_run: bool,
}

impl Beacon<'_> {
    /// The signature's bytes; none: it is not hexadecimal.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        // A prefix `0x` is a part of the form for the library alone.
        let digits = Some(self.signature.as_bytes()).filter(|digits| !digits.starts_with(b"0x"));
        const_hex::decode(digits?).ok()
    }
}

/// `admin.roll`: seals the ledger's stream; the ledger goes on in the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct Roll<'a> {
    /// Who orders it, 1 to 64 bytes; kept for good.
    #[serde(borrow)]
    pub operator: Text<'a>,
    /// Reason, 1 to 256 bytes; kept for good.
    #[serde(borrow)]
    pub reason: Text<'a>,
    /// True: nothing changes, the answer says in which stream the ledger would go on.
    #[serde(
        default,
        deserialize_with = "false_where_null",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub dry_run: bool,
    /// The stream that the ledger is to leave; where it is in another one, nothing is done. Left
    /// out: whichever it is in.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Text<'a>>,
}

/// The outcome of an action that is on record.
pub const DONE: &str = "done";
/// The outcome of a dry run.
pub const WOULD: &str = "would";

/// What an action came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
pub struct Report<'a> {
    /// [`DONE`] where the action is on record, [`WOULD`] after a dry run.
    #[serde(borrow)]
    pub outcome: Text<'a>,
    /// The slots it was about, as they stand.
    #[serde(borrow)]
    pub slots: Vec<SlotState<'a>>,
    /// How many bookings it concerns that stay as they are.
    pub concerned_count: u64,
    /// They; [`MAX_LISTED`] in all three lists at most.
    #[serde(borrow)]
    pub concerned: Vec<Booking<'a>>,
    /// How many were moved, or would be.
    pub moved_count: u64,
    /// They, as they stand; [`MAX_LISTED`] in all three lists at most.
    #[serde(borrow)]
    pub moved: Vec<Booking<'a>>,
    /// How many were cancelled, or would be.
    pub cancelled_count: u64,
    /// They, as they stand; [`MAX_LISTED`] in all three lists at most.
    #[serde(borrow)]
    pub cancelled: Vec<Booking<'a>>,
    /// The ledger position this was true at.
    pub as_of: Position,
    /// What it set, or would set, slot by slot.
    #[serde(borrow)]
    pub changes: Vec<Change<'a>>,
}

/// What an action sets: what stands there before it and after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
pub struct Change<'a> {
    /// Its name: `quota`, `reserve`, `halt`, `resume`, `closes_at`, `beacon`, `roll`.
    #[serde(borrow)]
    pub action: Text<'a>,
    /// Of a slot: its office.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub office: Option<Text<'a>>,
    /// Of a slot: its day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Date>,
    /// Of a slot: its session.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Text<'a>>,
    /// What stood there: a number of places, `open` or `halted`, a time, a stream;
    /// `awaited` where a public value was.
    #[serde(borrow)]
    pub before: Text<'a>,
    /// What stands there from then on.
    #[serde(borrow)]
    pub after: Text<'a>,
}

/// The answer to an operator's action: in JSON either of the two as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Encode, BorrowDecode)]
#[serde(untagged)]
pub enum Answer<'a> {
    /// On record, or what would be.
    Done(Report<'a>),
    /// A rejection, in the form of every other.
    #[serde(serialize_with = "as_answer")]
    Rejected(Rejection<'a>),
}

impl Element for Answer<'_> {}

impl<'de: 'a, 'a> Deserialize<'de> for Answer<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?;
        let done = serde_json::from_str(raw.get());
        match (done, serde_json::from_str::<crate::answer::Answer<'a>>(raw.get())) {
            (Ok(done), _) => Ok(Self::Done(done)),
            (_, Ok(crate::answer::Answer { verdict: Verdict::Rejected(rejection), .. })) => {
                Ok(Self::Rejected(rejection))
            }
            (Err(error), _) => Err(serde::de::Error::custom(error)),
        }
    }
}

/// Who and why, as every action says it and the ledger keeps it.
///
/// # Errors
///
/// Which of the two cannot be kept, and why.
pub fn check_signed(operator: &str, reason: &str) -> Result<(), String> {
    request::bytes("operator", operator, MAX_OPERATOR_BYTES)?;
    request::printable("operator", operator)?;
    request::bytes("reason", reason, MAX_REASON_BYTES)?;
    request::printable("reason", reason)
}

fn place(office: &str, session: Option<&Text<'_>>) -> Result<(), String> {
    if !request::is_id(office) {
        return Err(request::id_message("office"));
    }
    match session {
        Some(session) if !request::is_id(session) => Err(request::id_message("session")),
        _ => Ok(()),
    }
}

impl<'a> Request<'a> for Quota<'a> {
    fn validate(&self) -> Result<(), String> {
        check_signed(&self.operator, &self.reason)?;
        request::optional_opening(Some(&self.opening))?;
        place(&self.office, self.session.as_ref())
    }

    fn request_id(&self) -> Option<&str> {
        None
    }
}

impl<'a> Request<'a> for Reserve<'a> {
    fn validate(&self) -> Result<(), String> {
        check_signed(&self.operator, &self.reason)?;
        request::optional_opening(Some(&self.opening))?;
        place(&self.office, self.session.as_ref())
    }

    fn request_id(&self) -> Option<&str> {
        None
    }
}

impl<'a> Request<'a> for Halt<'a> {
    fn validate(&self) -> Result<(), String> {
        check_signed(&self.operator, &self.reason)?;
        request::optional_opening(Some(&self.opening))?;
        place(&self.office, self.session.as_ref())?;
        if !self.halted && self.bookings != Bookings::Keep {
            return Err("bookings: only for a day that is closed (halted: true)".to_owned());
        }
        Ok(())
    }

    fn request_id(&self) -> Option<&str> {
        None
    }
}

impl<'a> Request<'a> for Roll<'a> {
    fn validate(&self) -> Result<(), String> {
        check_signed(&self.operator, &self.reason)?;
        let Some(from) = &self.from else { return Ok(()) };
        request::bytes("from", from, MAX_STREAM_BYTES)?;
        request::printable("from", from)
    }

    fn request_id(&self) -> Option<&str> {
        None
    }
}

impl<'a> Request<'a> for Beacon<'a> {
    fn validate(&self) -> Result<(), String> {
        check_signed(&self.operator, &self.reason)?;
        request::optional_opening(Some(&self.opening))?;
        request::bytes("signature", &self.signature, MAX_SIGNATURE_DIGITS)?;
        self.bytes().map(drop).ok_or_else(|| "signature: not hexadecimal".to_owned())
    }

    fn request_id(&self) -> Option<&str> {
        None
    }
}

impl<'a> Request<'a> for ClosesAt<'a> {
    fn validate(&self) -> Result<(), String> {
        check_signed(&self.operator, &self.reason)?;
        request::optional_opening(Some(&self.opening))?;
        request::instant("closes_at", self.closes_at)
    }

    fn request_id(&self) -> Option<&str> {
        None
    }
}
