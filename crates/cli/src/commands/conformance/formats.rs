//! First part: bytes. What a client writes for a request, what it understands of an answer, and
//! what it makes of events; without a broker.

use giliran_wire::subject::Namespace;
use serde::Deserialize;
use serde_json::{Value, json};

use super::bytes;
use super::client::{ClientProcess, Ended, contains, difference, expect, failed};
use super::relay::gain_fields;

/// The samples, as `docs/conformance` has them.
const REQUESTS: &str = include_str!("../../../../../docs/conformance/requests.json");
const ANSWERS: &str = include_str!("../../../../../docs/conformance/answers.json");
const EVENTS: &str = include_str!("../../../../../docs/conformance/events.json");
/// A file has this format.
const FORMAT: u64 = 1;

/// A file of samples.
#[derive(Debug, Deserialize)]
struct File {
    format: u64,
    samples: Vec<Sample>,
}

/// A request or an answer, in both forms.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Sample {
    pub(super) name: String,
    #[serde(default)]
    pub(super) operation: String,
    pub(super) json: Value,
    /// Hex; left out where the binary form has no such thing.
    pub(super) binary: Option<String>,
    /// What a client does next.
    pub(super) then: Option<String>,
}

fn samples(text: &str) -> Vec<Sample> {
    let file: File = serde_json::from_str(text).unwrap_or(File { format: 0, samples: Vec::new() });
    debug_assert_eq!(file.format, FORMAT);
    file.samples
}

/// What a client writes, and what is to be written: operators' actions are no client's.
pub(super) fn requests() -> Vec<Sample> {
    let mut requests = samples(REQUESTS);
    requests.retain(|sample| !sample.operation.starts_with("admin"));
    requests
}

/// What it reads.
pub(super) fn answers() -> Vec<Sample> {
    let mut answers = samples(ANSWERS);
    answers.retain(|sample| !sample.operation.starts_with("admin"));
    answers
}

pub(super) fn events() -> Vec<Sample> {
    samples(EVENTS)
}

/// The form of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    Json,
    Binary,
    /// JSON with fields that no version has yet.
    JsonOfTomorrow,
}

impl As {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Binary => "binary",
            Self::JsonOfTomorrow => "gained",
        }
    }

    const fn form(self) -> &'static str {
        match self {
            Self::Json | Self::JsonOfTomorrow => "json",
            Self::Binary => "binary",
        }
    }
}

/// The client writes a request; the engine's own reader says what it reads.
pub(super) async fn writes(
    client: &mut ClientProcess,
    prefix: &Namespace,
    sample: &Sample,
    form: As,
) -> Result<(), Ended> {
    let line = json!({
        "do": "write", "form": form.form(), "operation": sample.operation, "request": sample.json,
    });
    let written = client.tell(&line).await?;
    let Some(payload) = written["bytes"].as_str().and_then(|hex| const_hex::decode(hex).ok())
    else {
        return failed("`bytes`: hexadecimal digits are expected");
    };
    expect((payload.first() == Some(&1)) == (form == As::Binary), || {
        format!("the form is not {}: it begins with {:02x?}", form.form(), payload.first())
    })?;
    let Some(requests) = bytes::requests(&sample.operation, &payload) else {
        return failed(format!("no client asks for {}", sample.operation));
    };
    let read = match &requests.read[..] {
        [Ok(read)] => read,
        [Err(malformed)] => return failed(format!("the engine finds it malformed: {malformed}")),
        many => return failed(format!("one request is expected, not {}", many.len())),
    };
    expect(contains(read, &sample.json) && contains(&sample.json, read), || {
        format!("the engine reads another request: {}", difference(read, &sample.json))
    })?;
    let subject = prefix.request(&sample.operation);
    expect(written["subject"] == json!(subject), || {
        format!("`subject`: {subject:?} is expected, not {}", written["subject"])
    })
}

/// The client says what it reads, and what it would do.
pub(super) async fn reads(
    client: &mut ClientProcess,
    sample: &Sample,
    form: As,
) -> Result<(), Ended> {
    let mut json = sample.json.clone();
    if form == As::JsonOfTomorrow {
        gain_fields(&mut json);
    }
    let payload = match (form, &sample.binary) {
        (As::Binary, Some(hex)) => hex.clone(),
        _ => const_hex::encode(json.to_string()),
    };
    let line = json!({
        "do": "read", "form": form.form(), "operation": sample.operation, "bytes": payload,
    });
    let read = client.tell(&line).await?;
    expect(contains(&read["answer"], &sample.json), || {
        format!("`answer`: {}", difference(&read["answer"], &sample.json))
    })?;
    let Some(then) = &sample.then else { return Ok(()) };
    expect(read["then"] == json!(then), || {
        format!("`then`: {then:?} is expected, not {}", read["then"])
    })
}

/// The client folds events into bookings: late ones, repeated ones, of entries, of types that it
/// does not know.
pub(super) async fn folds(client: &mut ClientProcess) -> Result<(), Ended> {
    let all = events();
    let event = |name: &str| {
        all.iter().find(|sample| sample.name == name).map_or(Value::Null, |s| s.json.clone())
    };
    let (held, expired, refund) = (event("held"), event("expired"), event("refund_due"));
    let mut unknown = event("cancelled");
    unknown["type"] = json!("giliran.booking.praised");
    unknown["id"] = json!("4c454447455200010203040506070809/1850/0");
    unknown["data"] = json!({ "booking": null, "previous": null, "praise": "very good" });
    let entered = event("entered");
    let mut other = event("confirmed");
    other["data"]["booking"]["id"] = json!("0000-0000-0000-0000");
    gain_fields(&mut other);
    let order = [&held, &held, &unknown, &entered, &expired, &refund, &expired, &held, &other];
    let payloads: Vec<String> =
        order.iter().map(|event| const_hex::encode(event.to_string())).collect();
    let folded = client.tell(&json!({ "do": "fold", "events": payloads })).await?;
    let mut expected = json!({});
    for event in [&refund, &other] {
        let booking = &event["data"]["booking"];
        let id = booking["id"].as_str().unwrap_or_default();
        expected[id] = json!({ "version": booking["version"], "status": booking["status"] });
    }
    let bookings = &folded["bookings"];
    let ids = |bookings: &Value| bookings.as_object().map_or(0, serde_json::Map::len);
    expect(contains(bookings, &expected), || {
        format!("`bookings`: {}", difference(bookings, &expected))
    })?;
    expect(ids(bookings) == ids(&expected), || {
        format!("`bookings`: these alone are expected: {expected}")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use giliran_wire::answer::NextStep;

    use super::*;

    #[test]
    fn the_samples_are_there_and_say_what_the_engine_reads() {
        let operations: BTreeSet<String> =
            requests().into_iter().map(|sample| sample.operation).collect();
        assert_eq!(operations.len(), 7, "{operations:?}");
        for sample in requests() {
            let Some(hex) = &sample.binary else { continue };
            let payload = const_hex::decode(hex).unwrap();
            let read = bytes::requests(&sample.operation, &payload).unwrap().read;
            assert_eq!(read, [Ok(sample.json)], "{}", sample.name);
        }
        let mut steps = BTreeSet::new();
        for sample in answers() {
            let step = bytes::next_step(&sample.operation, &sample.json);
            assert_eq!(step, sample.then.as_deref(), "{}", sample.name);
            steps.extend(step);
        }
        assert_eq!(steps, NextStep::ALL.iter().map(|step| step.name()).collect());
        assert_eq!(events().len(), 9);
    }
}
