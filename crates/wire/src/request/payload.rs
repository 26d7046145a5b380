//! Payloads: how requests come in, and what is said of those that cannot be
//! understood.
//!
//! A payload that starts (after white space) with `{` is one JSON request, with
//! `[` an array of them; with the byte `0x01` a bincode vector of them.

use std::fmt;

use bincode::Encode;
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::{BINARY_VERSION, MAX_BATCH, Malformed, Request};
use crate::codec::{self, DecodeError};

/// Longest name of an unknown field that is repeated to its sender, in bytes.
const MAX_ECHOED_NAME_BYTES: usize = 32;
/// Most digits in it: more may be a person's number in the wrong place.
const MAX_ECHOED_DIGITS: usize = 4;

/// How a payload was written; its answer is written the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One request as a JSON object.
    JsonOne,
    /// Up to 1,024 requests as a JSON array.
    JsonMany,
    /// The version byte and a bincode vector.
    Binary,
}

/// The requests of an array or vector, in their order.
pub type Items<T> = SmallVec<[Result<T, Malformed>; 1]>;

/// The requests of one payload.
#[derive(Debug)]
pub enum Payload<T> {
    /// One request, sent as a JSON object.
    One(T),
    /// An array or vector, one verdict each.
    Many(Form, Items<T>),
}

impl<T> Payload<T> {
    /// Its requests, one that came as an object alone, and their form.
    pub fn into_items(self) -> (Form, Items<T>) {
        match self {
            Self::One(one) => (Form::JsonOne, Items::from_buf([Ok(one)])),
            Self::Many(form, items) => (form, items),
        }
    }
}

/// Reads a payload.
///
/// # Errors
///
/// [`Malformed`] where not even the single requests can be told apart; a
/// malformed one in a readable batch is in its place in [`Payload::Many`].
pub fn read<'a, T: Request<'a>>(payload: &'a [u8]) -> Result<Payload<T>, Malformed> {
    // The version byte is the very first: white space belongs to JSON.
    if let Some((&BINARY_VERSION, requests)) = payload.split_first() {
        return binary(requests);
    }
    match payload.iter().find(|c| !b" \t\n\r".contains(c)) {
        Some(b'{') => json_one(payload).map(Payload::One),
        Some(b'[') => json_many(payload),
        None => {
            Err(Malformed::new("payload: empty; a JSON object, a JSON array or 0x01 is expected"))
        }
        Some(&BINARY_VERSION) => {
            Err(Malformed::new("payload: white space before 0x01, which must be the first byte"))
        }
        Some(byte) => Err(Malformed::new(format!(
            "payload: starts with byte 0x{byte:02x}; a JSON object, a JSON array or 0x01 is expected"
        ))),
    }
}

fn binary<'a, T: Request<'a>>(requests: &'a [u8]) -> Result<Payload<T>, Malformed> {
    // Looked at first, so that a length that lies costs nothing.
    let given = requests.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    batch_size(given)?;
    if let Some(items) =
        requests.get(size_of::<u64>()..).and_then(|all| T::read_in_place(all, given as usize))
    {
        return Ok(Payload::Many(Form::Binary, items));
    }
    let mut items = Items::with_capacity(given as usize);
    codec::decode_each(requests, |request: T| items.push(checked(request))).map_err(|error| {
        Malformed::new(match error {
            // Counted from the payload's start.
            DecodeError::Format { at, cause } => {
                format!("payload: {}", DecodeError::Format { at: at + 1, cause })
            }
            trailing @ DecodeError::Trailing { .. } => format!("payload: {trailing}"),
        })
    })?;
    Ok(Payload::Many(Form::Binary, items))
}

fn json_many<'a, T: Request<'a>>(payload: &'a [u8]) -> Result<Payload<T>, Malformed> {
    let Elements(items, given) = serde_json::from_slice(payload)
        .map_err(|e| Malformed::new(format!("payload {}", describe_json(&e))))?;
    batch_size(given)?;
    let items = items.into_iter().map(|raw| json_one(raw.get().as_bytes())).collect();
    Ok(Payload::Many(Form::JsonMany, items))
}

/// The elements of a JSON array, up to the largest batch, and how many it has.
struct Elements<'a>(Vec<&'a RawValue>, u64);

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Elements<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of requests")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Elements<'de>, A::Error> {
                let mut items = Vec::new();
                while items.len() < MAX_BATCH {
                    match seq.next_element()? {
                        Some(item) => items.push(item),
                        None => break,
                    }
                }
                let mut given = items.len() as u64;
                while seq.next_element::<de::IgnoredAny>()?.is_some() {
                    given += 1;
                }
                Ok(Elements(items, given))
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

fn batch_size(given: u64) -> Result<(), Malformed> {
    if given > MAX_BATCH as u64 {
        return Err(Malformed::new(format!("batch: {given} requests given, at most {MAX_BATCH}")));
    }
    Ok(())
}

fn checked<'a, T: Request<'a>>(request: T) -> Result<T, Malformed> {
    match request.validate() {
        Ok(()) => Ok(request),
        Err(detail) => {
            // An id that itself breaks the rules is not echoed.
            let id = request.request_id().filter(|id| super::request_id(id).is_ok());
            Err(Malformed { request_id: id.map(str::to_owned), detail })
        }
    }
}

fn json_one<'a, T: Request<'a>>(json: &'a [u8]) -> Result<T, Malformed> {
    match serde_json::from_slice(json) {
        // serde would take an array of the fields in their order as well.
        Ok(request) if !json.starts_with(b"[") => checked(request),
        _ => Err(explain_json::<T>(json)),
    }
}

/// The slow path: reads again, to say where it went wrong.
#[cold]
fn explain_json<'a, T: Request<'a>>(json: &'a [u8]) -> Malformed {
    #[derive(Deserialize)]
    struct OnlyId {
        request_id: Option<String>,
    }
    let first = json.iter().find(|c| !b" \t\n\r".contains(c));
    if first != Some(&b'{') {
        return Malformed::new("a request is a JSON object, {…}");
    }
    let id = serde_json::from_slice::<OnlyId>(json)
        .ok()
        .and_then(|only| only.request_id)
        .filter(|id| super::request_id(id).is_ok());
    let mut reader = serde_json::Deserializer::from_slice(json);
    let detail = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Ok(_) => {
            let after = reader.end().err().map_or_else(String::new, |e| describe_json(&e));
            format!("payload {after}")
        }
        Err(e) => explain_place(&e.path().to_string(), e.inner()),
    };
    Malformed { request_id: id, detail }
}

fn explain_place(path: &str, error: &serde_json::Error) -> String {
    let message = error.to_string();
    let Some((name, rest)) = message
        .strip_prefix("unknown field `")
        // The name is the client's and may hold anything; what follows is ours.
        .and_then(|rest| rest.rsplit_once("`, expected "))
    else {
        return match path {
            "." | "?" if error.is_data() => describe_json(error),
            "." | "?" => format!("payload {}", describe_json(error)),
            place => format!("{place}: {}", describe_json(error)),
        };
    };
    let place = path.strip_suffix(name).unwrap_or_default().trim_end_matches('.');
    let colon = if place.is_empty() { "" } else { ": " };
    let name = if may_be_echoed(name) { format!("`{name}`") } else { "(not shown)".to_owned() };
    format!("{place}{colon}unknown field {name}, expected {rest}")
}

/// True for what looks like a field's name, mistyped; anything else may be a
/// person's number or long text.
fn may_be_echoed(name: &str) -> bool {
    let legal = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    (1..=MAX_ECHOED_NAME_BYTES).contains(&name.len())
        && name.bytes().all(legal)
        && name.bytes().filter(u8::is_ascii_digit).count() <= MAX_ECHOED_DIGITS
}

/// serde's message without any value a client sent: values may be personal.
fn describe_json(error: &serde_json::Error) -> String {
    let message = error.to_string();
    if !error.is_data() {
        return format!("cannot be read: {message}");
    }
    let Some(rest) =
        message.strip_prefix("invalid type: ").or(message.strip_prefix("invalid value: "))
    else {
        return message;
    };
    // `string "…", expected …`: the value ends before the last ", expected ".
    let kind = rest.split([' ', ',']).next().unwrap_or_default();
    let kind = match kind {
        "floating" => "a number with a fraction",
        "integer" => "a number",
        "string" => "a string",
        "boolean" => "true or false",
        "sequence" => "an array",
        "map" => "an object",
        "null" | "unit" => "null",
        _ => "something else",
    };
    match rest.rsplit_once(", expected ") {
        Some((_, expected)) => {
            let expected = expected.replace("a sequence", "an array");
            let expected = expected.replace("u16", "a number from 0 to 65535");
            format!("{kind} given, expected {expected}")
        }
        None => "not what is expected here".to_owned(),
    }
}

/// Writes a binary payload of these requests.
pub fn write_binary<T: Encode>(requests: &[T]) -> Vec<u8> {
    let mut out = vec![BINARY_VERSION];
    codec::encode_into(&requests, &mut out);
    out
}

/// One request as it stands in a binary payload.
pub fn element<T: Encode>(request: &T) -> Vec<u8> {
    // The usual request of one person with two choices.
    let mut out = Vec::with_capacity(256);
    codec::encode_into(request, &mut out);
    out
}

/// Writes a binary payload of so many [`element`]s, which stand one behind the other.
pub fn write_elements(number: usize, elements: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(elements.len() + 9);
    out.push(BINARY_VERSION);
    codec::encode_into(&(number as u64), &mut out);
    out.extend_from_slice(elements);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Book;

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
        assert_eq!(serde_json::to_string(&book).unwrap(), GOOD);
        let Ok(Payload::Many(Form::Binary, items)) = read::<Book<'_>>(&binary) else { panic!() };
        let again: Vec<String> = items
            .iter()
            .map(|book| serde_json::to_string(book.as_ref().unwrap()).unwrap())
            .collect();
        assert_eq!(again, [GOOD]);
    }

    #[test]
    fn elements_make_the_payload_that_is_written_at_once() {
        let Ok(Payload::One(book)) = read::<Book<'_>>(GOOD.as_bytes()) else { panic!() };
        let other = Book { request_id: "b".into(), ..book.clone() };
        let elements = [element(&book), element(&other)].concat();
        assert_eq!(write_elements(2, &elements), write_binary(&[book, other]));
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
                .starts_with("applicants[1]: a number given, expected a string")
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
                .contains("choices[0].date: a string given, expected a day")
        );
        assert!(detail("").starts_with("payload: empty"));
        assert!(detail("hello").starts_with("payload: starts with byte 0x68"));
    }

    #[test]
    fn a_number_out_of_bounds_is_told_which_are_right() {
        let quota = |quota: &str| {
            let json = format!(
                r#"{{"operator":"siti","reason":"r","opening":"w","office":"a","date":"2026-11-30","quota":{quota}}}"#
            );
            match read::<crate::admin::Quota<'_>>(json.as_bytes()) {
                Err(e) => e.detail,
                Ok(other) => panic!("{other:?}"),
            }
        };
        for wrong in ["-1", "65536", "18446744073709551615"] {
            let told = quota(wrong);
            let right = "quota: a number given, expected a number from 0 to 65535";
            assert!(told.starts_with(right), "{wrong}: {told}");
        }
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
            "payload: bytes are left over: 1 follow the end of the value"
        );
        let batch = format!("[{}]", vec!["{}"; MAX_BATCH + 1].join(","));
        assert_eq!(
            read::<Book<'_>>(batch.as_bytes()).unwrap_err().detail,
            "batch: 1025 requests given, at most 1024"
        );
    }
}
