//! Requests: their fields, their bounds, and the payloads they come in.
//!
//! The requests and the bounds of their fields are here, the payloads in
//! `payload`, the one pass over well-formed binary requests in `in_place`.

mod checks;
mod in_place;
mod payload;

pub(crate) use checks::{bytes, id_message, instant, optional_opening, printable};
pub use checks::{is_id, is_opening_id};
pub use payload::{Form, Items, Payload, element, read, write_binary, write_elements};

use std::fmt;

use bincode::{BorrowDecode, Encode};
use checks::{bytes_message, choices, count, printable_ascii, request_id};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use smallvec::SmallVec;

use crate::text::CharacterClass;
use crate::{ApplicantKey, Date, Digest, Pseudonym, Text, Timestamp};

/// Most requests in one message: so many JSON grants still fit in one answer
/// under the broker's default payload limit of 1 MiB.
pub const MAX_BATCH: usize = 1_024;
/// Most applicants in one request.
pub const MAX_APPLICANTS: usize = 5;
/// Most choices in one request.
pub const MAX_CHOICES: usize = 16;
/// Longest request id, applicant id, account, `ref`, in bytes.
pub const MAX_TEXT_BYTES: usize = 64;
/// Longest channel, in bytes.
pub const MAX_CHANNEL_BYTES: usize = 16;
/// Longest id of an office, session or opening, in bytes.
pub const MAX_ID_BYTES: usize = 40;
/// The first byte of a binary payload: the version.
pub const BINARY_VERSION: u8 = 1;

/// A request that cannot be understood: what, where, and what would be right.
/// Never quotes an applicant's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Malformed {
    /// The request's id, where at least that could be read.
    pub request_id: Option<String>,
    /// For the client's developer.
    pub detail: String,
}

impl Malformed {
    fn new(detail: impl Into<String>) -> Self {
        Self { request_id: None, detail: detail.into() }
    }
}

/// `book`: asks for a booking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct Book<'a> {
    /// The idempotency key, within opening and first applicant.
    #[serde(borrow)]
    pub request_id: Text<'a>,
    /// All served in one slot, or none.
    #[serde(borrow)]
    pub applicants: SmallVec<[Text<'a>; 1]>,
    /// In order of preference.
    #[serde(borrow)]
    pub choices: SmallVec<[Choice<'a>; 1]>,
    /// Needed when several openings are open.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Text<'a>>,
    /// After this the requester has stopped waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The account that asks.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Text<'a>>,
    /// The channel it asks through.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Text<'a>>,
    /// Handed back in the booking and its events.
    #[serde(borrow, default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<Text<'a>>,
    /// Where all is sold out, wait for returned places instead.
    #[serde(
        default,
        deserialize_with = "false_where_null",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub wait: bool,
}

/// One acceptable office, day and session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Choice<'a> {
    /// Id of an office, 1 to 40 of `a-z 0-9 -`.
    #[serde(borrow)]
    pub office: Text<'a>,
    /// The day; none: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Date>,
    /// The session; none: any that is neither restricted nor explicit.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Text<'a>>,
}

impl Choice<'_> {
    /// A copy that owns what it says.
    pub fn to_static(&self) -> Choice<'static> {
        Choice {
            office: self.office.clone().into_owned(),
            date: self.date,
            session: self.session.clone().map(Text::into_owned),
        }
    }
}

impl Serialize for Choice<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// serde would also take an array of a struct's fields in their order: a
/// notation the contract does not know, in which a place too many or too few
/// would book the wrong thing.
impl<'de: 'a, 'a> Deserialize<'de> for Choice<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Choice<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a choice, as {\"office\":\"batam-center\"}")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Choice<'de>, A::Error> {
                Choice::deserialize(de::value::MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// Optional fields may be null; this one is no `Option`, so it needs telling.
pub(crate) fn false_where_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<bool, D::Error> {
    Option::<bool>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// `lookup`: a booking by its id, or by its request's id, and one applicant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct Lookup<'a> {
    /// The booking's id; this or `request_id`. Not necessarily one: what does
    /// not parse is no booking's.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub booking: Option<Text<'a>>,
    /// The id of the request that made it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Text<'a>>,
    /// One of its applicants.
    #[serde(borrow)]
    pub applicant: Text<'a>,
    /// The opening, with `request_id`; none: every one in memory.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Text<'a>>,
}

/// `confirm`: a held booking was paid or approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct Confirm<'a> {
    /// The idempotency key, within the booking.
    #[serde(borrow)]
    pub request_id: Text<'a>,
    /// The booking's id. Not necessarily one: what does not parse is no
    /// booking's.
    #[serde(borrow)]
    pub booking: Text<'a>,
    /// The payment's reference, 1..=64 of printable ASCII.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Text<'a>>,
}

/// `cancel`: gives a booking back, a party member's seat of it, or an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct Cancel<'a> {
    /// The idempotency key, within the booking.
    #[serde(borrow)]
    pub request_id: Text<'a>,
    /// The booking's id, or an entry's receipt.
    #[serde(borrow)]
    pub booking: Text<'a>,
    /// One of its applicants: the first gives back all of it, another one
    /// leaves alone.
    #[serde(borrow)]
    pub applicant: Text<'a>,
}

/// `reschedule`: swaps a confirmed booking's place for another of its opening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct Reschedule<'a> {
    /// The idempotency key, within the booking.
    #[serde(borrow)]
    pub request_id: Text<'a>,
    /// Id of the booking, 1 to 64 bytes.
    #[serde(borrow)]
    pub booking: Text<'a>,
    /// One of its applicants; the whole party moves.
    #[serde(borrow)]
    pub applicant: Text<'a>,
    /// In order of preference.
    #[serde(borrow)]
    pub choices: Vec<Choice<'a>>,
}

/// `find`: an applicant's booking in an opening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct Find<'a> {
    /// Id of the applicant, 1 to 64 bytes.
    #[serde(borrow)]
    pub applicant: Text<'a>,
    /// Id of the opening, 1 to 40 characters.
    #[serde(borrow)]
    pub opening: Text<'a>,
}

/// `availability`: free places, openings, the server's time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Availability<'a> {
    /// Only this office's slots.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub office: Option<Text<'a>>,
    /// Also what the openings offer. JSON alone: the binary form of this version does
    /// not have it.
    #[serde(
        default,
        deserialize_with = "false_where_null",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub describe: bool,
}

impl Encode for Availability<'_> {
    fn encode<E: bincode::enc::Encoder>(
        &self,
        encoder: &mut E,
    ) -> Result<(), bincode::error::EncodeError> {
        let Self { office, describe: _ } = self;
        office.encode(encoder)
    }
}

impl<'de: 'a, 'a, C> BorrowDecode<'de, C> for Availability<'a> {
    fn borrow_decode<D: bincode::de::BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        Ok(Self { office: BorrowDecode::borrow_decode(decoder)?, describe: false })
    }
}

/// What every kind of request can say of itself.
pub trait Request<'a>: Deserialize<'a> + BorrowDecode<'a, ()> {
    /// Checks the bounds that the format itself does not.
    ///
    /// # Errors
    ///
    /// The first violated bound, with the field it is in.
    fn validate(&self) -> Result<(), String>;

    /// The request's own id, where it has one.
    fn request_id(&self) -> Option<&str>;

    /// The requests of a payload in the binary form, their number apart, in one pass. `None`:
    /// they are to be decoded and validated one after the other, as those of every kind are
    /// that is not frequent, and all of a payload with which something is wrong.
    #[doc(hidden)]
    fn read_in_place(requests: &'a [u8], given: usize) -> Option<Items<Self>> {
        let _ = (requests, given);
        None
    }
}

impl<'a> Request<'a> for Book<'a> {
    fn read_in_place(requests: &'a [u8], given: usize) -> Option<Items<Self>> {
        in_place::books(requests, given)
    }

    fn validate(&self) -> Result<(), String> {
        request_id(&self.request_id)?;
        count("applicants", self.applicants.len(), MAX_APPLICANTS)?;
        for (i, applicant) in self.applicants.iter().enumerate() {
            if !(1..=MAX_TEXT_BYTES).contains(&applicant.len()) {
                return Err(bytes_message(
                    &format!("applicants[{i}]"),
                    applicant.len(),
                    MAX_TEXT_BYTES,
                ));
            }
            if let Some(twin) = self.applicants[..i].iter().position(|a| a == applicant) {
                return Err(format!("applicants[{i}]: the same as applicants[{twin}]"));
            }
        }
        choices(&self.choices)?;
        optional_opening(self.opening.as_ref())?;
        if let Some(expires_at) = self.expires_at {
            instant("expires_at", expires_at)?;
        }
        if let Some(account) = &self.account {
            bytes("account", account, MAX_TEXT_BYTES)?;
        }
        if let Some(channel) = &self.channel {
            bytes("channel", channel, MAX_CHANNEL_BYTES)?;
            if !CharacterClass::ID.has_all(channel.as_bytes()) {
                return Err("channel: only a-z, 0-9 and - are allowed".to_owned());
            }
        }
        match &self.reference {
            Some(reference) if reference.len() > MAX_TEXT_BYTES => {
                Err(bytes_message("ref", reference.len(), MAX_TEXT_BYTES))
            }
            Some(reference) => printable_ascii("ref", reference),
            None => Ok(()),
        }
    }

    fn request_id(&self) -> Option<&str> {
        Some(&self.request_id)
    }
}

impl Book<'_> {
    /// What is wanted: with the applicants, what makes a request the same request.
    pub fn wanted(&self) -> Wanted<'_> {
        // A field is hashed, or may differ in a repetition. One that is new is hashed only
        // where it is given, or the requests on record become other ones.
        let Self {
            request_id: _,
            applicants: _,
            choices,
            opening,
            expires_at: _,
            account: _,
            channel: _,
            reference: _,
            wait: _,
        } = self;
        Wanted { opening: opening.as_deref(), choices }
    }

    /// Digest of what makes a request the same request: its applicants in order, its
    /// choices, its opening; keyed by way of the pseudonyms.
    pub fn content(&self, applicants: &[Pseudonym]) -> Digest {
        self.wanted().digest(applicants)
    }

    /// The applicants under their pseudonyms, in order.
    pub fn pseudonyms(&self, key: &ApplicantKey) -> SmallVec<[Pseudonym; 1]> {
        let mut pseudonyms = SmallVec::with_capacity(self.applicants.len());
        for applicant in &self.applicants {
            pseudonyms.push(key.applicant(applicant));
        }
        pseudonyms
    }
}

/// What a booking request wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    opening: Option<&'a str>,
    choices: &'a [Choice<'a>],
}

impl Wanted<'_> {
    /// Digest of this with the applicants, in order: [`Book::content`].
    pub fn digest(&self, applicants: &[Pseudonym]) -> Digest {
        let mut canonical = Vec::with_capacity(CANONICAL_BYTES);
        canonical.push(applicants.len() as u8);
        for applicant in applicants {
            canonical.extend_from_slice(applicant.as_bytes());
        }
        field(&mut canonical, self.opening);
        choices_into(&mut canonical, self.choices);
        Digest::of(&canonical)
    }
}

impl Reschedule<'_> {
    /// Digest of what makes it the same request: its choices.
    pub fn content(&self) -> Digest {
        let mut canonical = Vec::with_capacity(CANONICAL_BYTES);
        choices_into(&mut canonical, &self.choices);
        Digest::of(&canonical)
    }
}

/// Room for the bytes that a content's digest is made of, where one person asks with two
/// choices. They are collected first: hashing them field by field costs more than the hash.
const CANONICAL_BYTES: usize = 256;

fn choices_into(canonical: &mut Vec<u8>, choices: &[Choice<'_>]) {
    for choice in choices {
        field(canonical, Some(&choice.office));
        match choice.date {
            Some(date) => {
                let day = date.to_ascii();
                canonical.push(day.len() as u8);
                canonical.extend_from_slice(&day);
            }
            None => field(canonical, None),
        }
        field(canonical, choice.session.as_deref());
    }
}

/// Ids have at most 40 bytes, so 255 stands for "left out".
fn field(canonical: &mut Vec<u8>, text: Option<&str>) {
    canonical.push(text.map_or(u8::MAX, |t| t.len() as u8));
    canonical.extend_from_slice(text.map_or(&[][..], str::as_bytes));
}

impl<'a> Request<'a> for Confirm<'a> {
    fn validate(&self) -> Result<(), String> {
        request_id(&self.request_id)?;
        bytes("booking", &self.booking, MAX_TEXT_BYTES)?;
        let Some(reference) = &self.reference else { return Ok(()) };
        bytes("reference", reference, MAX_TEXT_BYTES)?;
        printable_ascii("reference", reference)
    }

    fn request_id(&self) -> Option<&str> {
        Some(&self.request_id)
    }
}

impl<'a> Request<'a> for Cancel<'a> {
    fn validate(&self) -> Result<(), String> {
        request_id(&self.request_id)?;
        bytes("booking", &self.booking, MAX_TEXT_BYTES)?;
        bytes("applicant", &self.applicant, MAX_TEXT_BYTES)
    }

    fn request_id(&self) -> Option<&str> {
        Some(&self.request_id)
    }
}

impl<'a> Request<'a> for Reschedule<'a> {
    fn validate(&self) -> Result<(), String> {
        request_id(&self.request_id)?;
        bytes("booking", &self.booking, MAX_TEXT_BYTES)?;
        bytes("applicant", &self.applicant, MAX_TEXT_BYTES)?;
        choices(&self.choices)
    }

    fn request_id(&self) -> Option<&str> {
        Some(&self.request_id)
    }
}

impl<'a> Request<'a> for Lookup<'a> {
    fn validate(&self) -> Result<(), String> {
        match (&self.booking, &self.request_id) {
            (Some(_), Some(_)) => {
                return Err("booking, request_id: give one of the two, not both".to_owned());
            }
            (None, None) => {
                return Err("booking or request_id is needed".to_owned());
            }
            // Of whatever form: what is no booking's id is an unknown booking,
            // and unknown bookings all look the same (`not_found`).
            (Some(booking), None) => bytes("booking", booking, MAX_TEXT_BYTES)?,
            (None, Some(id)) => request_id(id)?,
        }
        bytes("applicant", &self.applicant, MAX_TEXT_BYTES)?;
        optional_opening(self.opening.as_ref())
    }

    fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

impl<'a> Request<'a> for Find<'a> {
    fn validate(&self) -> Result<(), String> {
        bytes("applicant", &self.applicant, MAX_TEXT_BYTES)?;
        optional_opening(Some(&self.opening))
    }

    fn request_id(&self) -> Option<&str> {
        None
    }
}

impl<'a> Request<'a> for Availability<'a> {
    fn validate(&self) -> Result<(), String> {
        match &self.office {
            Some(office) if !is_id(office) => Err(id_message("office")),
            _ => Ok(()),
        }
    }

    fn request_id(&self) -> Option<&str> {
        None
    }
}
