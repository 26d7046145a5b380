//! What requests and answers say, from their bytes.

use giliran_wire::answer::{self, Answer, Overview};
use giliran_wire::request::{self, Form, Payload, Request};
use serde::Serialize;
use serde_json::Value;

/// The requests of a payload as the engine reads them, and the form in which they were written.
pub(super) struct Requests {
    pub(super) form: Form,
    /// Each as JSON, or why it cannot be read.
    pub(super) read: Vec<Result<Value, String>>,
}

/// Reads a payload sent to this operation; none where it is not one of a client's.
pub(super) fn requests(operation: &str, payload: &[u8]) -> Option<Requests> {
    Some(match operation {
        "book" => of::<request::Book<'_>>(payload),
        "confirm" => of::<request::Confirm<'_>>(payload),
        "cancel" => of::<request::Cancel<'_>>(payload),
        "reschedule" => of::<request::Reschedule<'_>>(payload),
        "lookup" => of::<request::Lookup<'_>>(payload),
        "find" => of::<request::Find<'_>>(payload),
        "availability" => of::<request::Availability<'_>>(payload),
        _ => return None,
    })
}

fn of<'a, T: Request<'a> + Serialize>(payload: &'a [u8]) -> Requests {
    let value = |request: T| serde_json::to_value(request).map_err(|e| e.to_string());
    match request::read::<T>(payload) {
        Ok(Payload::One(request)) => Requests { form: Form::JsonOne, read: vec![value(request)] },
        Ok(Payload::Many(form, items)) => {
            let each = |item: Result<T, request::Malformed>| match item {
                Ok(request) => value(request),
                Err(malformed) => Err(malformed.detail),
            };
            Requests { form, read: items.into_iter().map(each).collect() }
        }
        Err(malformed) => {
            let form = match payload.first() {
                Some(1) => Form::Binary,
                _ => Form::JsonOne,
            };
            Requests { form, read: vec![Err(malformed.detail)] }
        }
    }
}

/// The answers of a payload as JSON; none where it is not one.
pub(super) fn answers(operation: &str, payload: &[u8]) -> Option<Vec<Value>> {
    if payload.first() == Some(&1) {
        return match operation {
            "availability" => values(answer::read_binary::<Overview<'_>>(payload).ok()?),
            _ => values(answer::read_binary::<Answer<'_>>(payload).ok()?),
        };
    }
    match serde_json::from_slice(payload).ok()? {
        Value::Array(answers) => Some(answers),
        answer @ Value::Object(_) => Some(vec![answer]),
        _ => None,
    }
}

fn values<T: Serialize>(answers: Vec<T>) -> Option<Vec<Value>> {
    answers.into_iter().map(|answer| serde_json::to_value(answer).ok()).collect()
}

/// What a client of this operation does next; none for an answer that is no verdict.
pub(super) fn next_step(operation: &str, answer: &Value) -> Option<&'static str> {
    let text = answer.to_string();
    let answer = serde_json::from_str::<Answer<'_>>(&text).ok()?;
    Some(answer.next_step(operation).name())
}
