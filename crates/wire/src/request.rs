//! Requests: their fields, their bounds, and the payloads they come in.
//!
//! A payload that starts (after white space) with `{` is one JSON request, with
//! `[` an array of them; with the byte `0x01` a bincode vector of them.

use bincode::{BorrowDecode, Encode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::codec;
use crate::{ApplicantKey, BookingId, Date, Digest, Pseudonym, Text, Timestamp};

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
    pub applicants: Vec<Text<'a>>,
    /// In order of preference.
    #[serde(borrow)]
    pub choices: Vec<Choice<'a>>,
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wait: bool,
}

/// One acceptable office, day and session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct Choice<'a> {
    /// The office.
    #[serde(borrow)]
    pub office: Text<'a>,
    /// The day; none: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Date>,
    /// The session; none: any that is neither restricted nor explicit.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Text<'a>>,
}

/// `lookup`: a booking by its id, or by its request's id, and one applicant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct Lookup<'a> {
    /// The booking's id; this or `request_id`.
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

/// `find`: an applicant's booking in an opening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct Find<'a> {
    /// The applicant.
    #[serde(borrow)]
    pub applicant: Text<'a>,
    /// The opening's id.
    #[serde(borrow)]
    pub opening: Text<'a>,
}

/// `availability`: free places, openings, the server's time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Encode, BorrowDecode)]
#[serde(deny_unknown_fields)]
pub struct Availability<'a> {
    /// Only this office's slots.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub office: Option<Text<'a>>,
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
}

impl<'a> Request<'a> for Book<'a> {
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
        count("choices", self.choices.len(), MAX_CHOICES)?;
        for (i, choice) in self.choices.iter().enumerate() {
            if !is_id(&choice.office) {
                return Err(id_message(&format!("choices[{i}].office")));
            }
            if choice.session.as_ref().is_some_and(|s| !is_id(s)) {
                return Err(id_message(&format!("choices[{i}].session")));
            }
        }
        optional_opening(self.opening.as_ref())?;
        if let Some(account) = &self.account {
            bytes("account", account, MAX_TEXT_BYTES)?;
        }
        if let Some(channel) = &self.channel {
            let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
            bytes("channel", channel, MAX_CHANNEL_BYTES)?;
            if !channel.bytes().all(legal) {
                return Err("channel: only a-z, 0-9 and - are allowed".to_owned());
            }
        }
        if let Some(reference) = &self.reference {
            if reference.len() > MAX_TEXT_BYTES {
                return Err(format!(
                    "ref: {} bytes given, at most {MAX_TEXT_BYTES}",
                    reference.len()
                ));
            }
            if !reference.bytes().all(|c| (b' '..=b'~').contains(&c)) {
                return Err("ref: only printable ASCII is allowed".to_owned());
            }
        }
        Ok(())
    }

    fn request_id(&self) -> Option<&str> {
        Some(&self.request_id)
    }
}

impl Book<'_> {
    /// Digest of what makes a request the same request: its applicants in
    /// order, its choices, its opening; keyed by way of the pseudonyms.
    pub fn content(&self, applicants: &[Pseudonym]) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[applicants.len() as u8]);
        for applicant in applicants {
            hasher.update(applicant.as_bytes());
        }
        let mut field = |text: Option<&str>| {
            // Ids have at most 40 bytes, so 255 stands for "left out".
            let text_bytes = text.map_or(&[][..], str::as_bytes);
            hasher.update(&[text.map_or(u8::MAX, |t| t.len() as u8)]);
            hasher.update(text_bytes);
        };
        field(self.opening.as_deref());
        for choice in &self.choices {
            field(Some(&choice.office));
            match choice.date {
                Some(date) => field(Some(&date.to_string())),
                None => field(None),
            }
            field(choice.session.as_deref());
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Digest(digest)
    }

    /// The applicants under their pseudonyms, in order.
    pub fn pseudonyms(&self, key: &ApplicantKey) -> Vec<Pseudonym> {
        self.applicants.iter().map(|a| key.applicant(a)).collect()
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
            (Some(booking), None) => {
                booking.parse::<BookingId>().map_err(|e| format!("booking: {e}"))?;
            }
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

/// True for `a-z 0-9 -`, 1..=40: the ids of offices and sessions.
pub fn is_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

/// True for `A-Z a-z 0-9 -`, 1..=40: the ids of openings (a schedule makes
/// `2026-W49`).
pub fn is_opening_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
}

fn id_message(field: &str) -> String {
    format!("{field}: not an id (1 to {MAX_ID_BYTES} of a-z, 0-9 and -)")
}

fn optional_opening(opening: Option<&Text<'_>>) -> Result<(), String> {
    match opening {
        Some(id) if !is_opening_id(id) => {
            Err(format!("opening: not an id (1 to {MAX_ID_BYTES} of A-Z, a-z, 0-9 and -)"))
        }
        _ => Ok(()),
    }
}

fn request_id(id: &str) -> Result<(), String> {
    bytes("request_id", id, MAX_TEXT_BYTES)?;
    let legal = |c: u8| c.is_ascii_alphanumeric() || b"-_.:".contains(&c);
    if id.bytes().all(legal) {
        Ok(())
    } else {
        Err("request_id: only A-Z, a-z, 0-9, -, _, . and : are allowed".to_owned())
    }
}

fn bytes(field: &str, text: &str, most: usize) -> Result<(), String> {
    if (1..=most).contains(&text.len()) {
        Ok(())
    } else {
        Err(bytes_message(field, text.len(), most))
    }
}

fn bytes_message(field: &str, given: usize, most: usize) -> String {
    if given == 0 {
        format!("{field}: empty, 1 to {most} bytes are allowed")
    } else {
        format!("{field}: {given} bytes given, at most {most}")
    }
}

fn count(field: &str, given: usize, most: usize) -> Result<(), String> {
    match given {
        0 => Err(format!("{field}: none given, at least 1 is needed")),
        n if n > most => Err(format!("{field}: {n} given, at most {most}")),
        _ => Ok(()),
    }
}

/// How a payload was written; its answer is written the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON object.
    JsonOne,
    /// A JSON array.
    JsonMany,
    /// The version byte and a bincode vector.
    Binary,
}

/// The requests of one payload.
#[derive(Debug)]
pub enum Payload<T> {
    /// A JSON object.
    One(T),
    /// An array or vector, one verdict each.
    Many(Form, Vec<Result<T, Malformed>>),
}

/// Reads a payload.
///
/// # Errors
///
/// [`Malformed`] where not even the single requests can be told apart; a
/// malformed one in a readable batch is in its place in [`Payload::Many`].
pub fn read<'a, T: Request<'a>>(payload: &'a [u8]) -> Result<Payload<T>, Malformed> {
    match payload.iter().find(|c| !c.is_ascii_whitespace()) {
        // The version byte is the very first: white space belongs to JSON.
        _ if payload.first() == Some(&BINARY_VERSION) => {
            let items: Vec<T> =
                codec::decode(&payload[1..]).map_err(|e| Malformed::new(e.to_string()))?;
            batch_size(items.len())?;
            Ok(Payload::Many(Form::Binary, items.into_iter().map(checked).collect()))
        }
        Some(b'{') => json_one(payload).map(Payload::One),
        Some(b'[') => {
            let items: Vec<&'a RawValue> =
                serde_json::from_slice(payload).map_err(|e| Malformed::new(describe_json(&e)))?;
            batch_size(items.len())?;
            let items = items.into_iter().map(|raw| json_one(raw.get().as_bytes())).collect();
            Ok(Payload::Many(Form::JsonMany, items))
        }
        None => {
            Err(Malformed::new("payload: empty; a JSON object, a JSON array or 0x01 is expected"))
        }
        Some(byte) => Err(Malformed::new(format!(
            "payload: starts with byte 0x{byte:02x}; a JSON object, a JSON array or 0x01 is expected"
        ))),
    }
}

fn batch_size(given: usize) -> Result<(), Malformed> {
    if given > MAX_BATCH {
        return Err(Malformed::new(format!("batch: {given} requests given, at most {MAX_BATCH}")));
    }
    Ok(())
}

fn checked<'a, T: Request<'a>>(request: T) -> Result<T, Malformed> {
    match request.validate() {
        Ok(()) => Ok(request),
        Err(detail) => {
            // An id that itself breaks the rules is not echoed.
            let id = request.request_id().filter(|id| self::request_id(id).is_ok());
            Err(Malformed { request_id: id.map(str::to_owned), detail })
        }
    }
}

fn json_one<'a, T: Request<'a>>(json: &'a [u8]) -> Result<T, Malformed> {
    match serde_json::from_slice(json) {
        Ok(request) => checked(request),
        Err(_) => Err(explain_json::<T>(json)),
    }
}

/// The slow path: reads again, to say where it went wrong.
#[cold]
fn explain_json<'a, T: Request<'a>>(json: &'a [u8]) -> Malformed {
    #[derive(Deserialize)]
    struct OnlyId {
        request_id: Option<String>,
    }
    let id = serde_json::from_slice::<OnlyId>(json)
        .ok()
        .and_then(|only| only.request_id)
        .filter(|id| self::request_id(id).is_ok());
    let mut reader = serde_json::Deserializer::from_slice(json);
    let detail = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Ok(_) => reader.end().map_or_else(|e| describe_json(&e), |()| "unreadable".to_owned()),
        Err(e) => {
            let path = e.path().to_string();
            let what = describe_json(e.inner());
            if path == "." || what.starts_with("unknown field") {
                what
            } else {
                format!("{path}: {what}")
            }
        }
    };
    Malformed { request_id: id, detail }
}

/// serde's message without any value a client sent: values may be personal.
fn describe_json(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let Some(rest) =
        message.strip_prefix("invalid type: ").or(message.strip_prefix("invalid value: "))
    else {
        return message;
    };
    // `string "…", expected …`: the value ends before the last ", expected ".
    let kind = rest.split_once(' ').map_or(rest, |(kind, _)| kind).trim_end_matches(',');
    match rest.rsplit_once(", expected ") {
        Some((_, expected)) => format!("{kind} given, expected {expected}"),
        None => message,
    }
}

/// Writes a binary payload of these requests.
pub fn write_binary<T: Encode>(requests: &[T]) -> Vec<u8> {
    let mut out = vec![BINARY_VERSION];
    codec::encode_into(&requests, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"request_id":"a3f1","applicants":["2171012345678901"],"choices":[{"office":"batam-harbourbay","date":"2026-11-30","session":"all"},{"office":"batam-harbourbay"}],"opening":"2026-W49","expires_at":"2026-11-27T07:00:05.000Z","account":"u-9912","channel":"mobile","ref":"order-77"}"#;

    fn detail(json: &str) -> String {
        match read::<Book<'_>>(json.as_bytes()) {
            Err(e) => e.detail,
            Ok(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn json_and_binary_say_the_same() {
        let Ok(Payload::One(book)) = read::<Book<'_>>(GOOD.as_bytes()) else { panic!() };
        let binary = write_binary(std::slice::from_ref(&book));
        let Ok(Payload::Many(Form::Binary, items)) = read::<Book<'_>>(&binary) else { panic!() };
        assert_eq!(items, [Ok(book.clone())]);
        assert_eq!(serde_json::to_string(&book).unwrap(), GOOD);
    }

    #[test]
    fn what_is_malformed_is_said_with_its_place() {
        let with = |from: &str, to: &str| detail(&GOOD.replace(from, to));
        assert_eq!(
            with("\"channel\"", "\"chanel\""),
            "unknown field `chanel`, expected one of `request_id`, `applicants`, `choices`, `opening`, `expires_at`, `account`, `channel`, `ref`, `wait` at line 1 column 251"
        );
        assert!(
            with("[\"2171012345678901\"]", "[\"1\",\"2\",\"1\"]")
                .starts_with("applicants[2]: the same as applicants[0]")
        );
        assert!(
            with("[\"2171012345678901\"]", "[\"1\",5]")
                .starts_with("applicants[1]: integer given, expected a string")
        );
        assert_eq!(
            with("[\"2171012345678901\"]", "[]"),
            "applicants: none given, at least 1 is needed"
        );
        assert_eq!(
            with("[\"2171012345678901\"]", "[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\"]"),
            "applicants: 6 given, at most 5"
        );
        let many: Vec<_> = (0..17).map(|_| "{\"office\":\"a\"}").collect();
        let start = GOOD.find("[{\"office").unwrap();
        let end = GOOD.find("],\"opening").unwrap();
        let json = format!("{}[{}{}", &GOOD[..start], many.join(","), &GOOD[end..]);
        assert_eq!(detail(&json), "choices: 17 given, at most 16");
        assert!(
            with("2026-11-30", "2026-02-30")
                .contains("choices[0].date: string given, expected a day")
        );
        assert!(detail("").starts_with("payload: empty"));
        assert!(detail("hello").starts_with("payload: starts with byte 0x68"));
    }

    #[test]
    fn no_detail_repeats_an_applicant() {
        let json = GOOD.replace(
            "\"applicants\":[\"2171012345678901\"]",
            "\"applicants\":\"2171012345678901\"",
        );
        assert!(!detail(&json).contains("2171012345678901"), "{}", detail(&json));
    }

    #[test]
    fn one_bad_request_does_not_spoil_a_batch() {
        let json = format!("[{GOOD},{{\"request_id\":\"b\",\"typo\":1}}]");
        let Ok(Payload::Many(Form::JsonMany, items)) = read::<Book<'_>>(json.as_bytes()) else {
            panic!()
        };
        assert!(items[0].is_ok());
        assert_eq!(items[1].as_ref().unwrap_err().request_id.as_deref(), Some("b"));
    }

    #[test]
    fn bombs_and_leftovers_are_refused() {
        let mut bomb = vec![BINARY_VERSION];
        bomb.extend_from_slice(&u64::MAX.to_le_bytes());
        assert!(read::<Book<'_>>(&bomb).is_err());
        let Ok(Payload::One(book)) = read::<Book<'_>>(GOOD.as_bytes()) else { panic!() };
        let mut long = write_binary(&[book]);
        long.push(0);
        assert_eq!(
            read::<Book<'_>>(&long).unwrap_err().detail,
            "1 bytes follow the end of the value"
        );
        let batch = format!("[{}]", vec!["{}"; MAX_BATCH + 1].join(","));
        assert_eq!(
            read::<Book<'_>>(batch.as_bytes()).unwrap_err().detail,
            "batch: 1025 requests given, at most 1024"
        );
    }
}
