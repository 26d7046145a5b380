//! The samples of `docs/conformance`: requests, answers and events as JSON and as hex, with what a
//! client does next, for those who write clients in other languages. `giliran conformance` asks
//! for them.
//!
//! After a change that is meant:
//!
//! ```sh
//! GILIRAN_BLESS=1 cargo test -p giliran-wire --test formats conformance
//! ```

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bincode::Encode;
use giliran_wire::answer::{self, Answer};
use giliran_wire::request::{self, Form};
use serde::Serialize;
use serde_json::{Value, json};

use crate::golden::blessing;
use crate::samples;

/// A sample a line, so that a change shows which one it is.
fn document(samples: &[Value]) -> String {
    let mut text = "{\"format\":1,\"samples\":[\n".to_owned();
    for (n, sample) in samples.iter().enumerate() {
        let comma = if n + 1 < samples.len() { "," } else { "" };
        writeln!(text, "{sample}{comma}").expect("memory");
    }
    text + "]}\n"
}

fn check(name: &str, samples: &[Value]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance").join(name);
    let text = document(samples);
    if blessing() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(&path, &text).expect("writable");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, there, "docs/conformance/{name}: renew it with GILIRAN_BLESS=1");
}

fn request<T: Serialize + Encode>(operation: &str, (name, request): &(&str, T)) -> Value {
    json!({
        "name": name, "operation": operation, "json": request,
        "binary": const_hex::encode(request::write_binary(std::slice::from_ref(request))),
    })
}

fn binary<T: Serialize + answer::Element>(answer: &T) -> String {
    let mut bytes = Vec::new();
    answer::write(Form::Binary, std::slice::from_ref(answer), &mut bytes);
    const_hex::encode(bytes)
}

/// An answer to this operation, and what its client does next.
fn verdict(operation: &str, name: &str, answer: &Answer<'_>) -> Value {
    json!({
        "name": name, "operation": operation, "json": answer, "binary": binary(answer),
        "then": answer.next_step(operation).name(),
    })
}

fn other<T: Serialize + answer::Element>(operation: &str, name: &str, answer: &T) -> Value {
    json!({ "name": name, "operation": operation, "json": answer, "binary": binary(answer) })
}

#[test]
fn requests_of_the_conformance_kit_are_the_samples() {
    let mut all = Vec::new();
    macro_rules! of {
        ($($operation:literal: $samples:ident),* $(,)?) => {
            $(all.extend(samples::$samples().iter().map(|sample| request($operation, sample)));)*
        };
    }
    of!(
        "book": books, "lookup": lookups, "find": finds, "availability": availabilities,
        "confirm": confirms, "cancel": cancels, "reschedule": reschedules,
        "admin.quota": quotas, "admin.reserve": reserves, "admin.halt": halts,
        "admin.closes_at": ends, "admin.beacon": beacons, "admin.roll": rolls,
    );
    let (name, describing) = samples::describing();
    all.push(json!({ "name": name, "operation": "availability", "json": describing }));
    check("requests.json", &all);
}

#[test]
fn answers_of_the_conformance_kit_are_the_samples() {
    let mut all = Vec::new();
    for (name, answer) in samples::answers() {
        all.push(verdict("book", &name, &answer));
        if name == "entered" {
            all.push(verdict("cancel", "entry_withdrawn", &answer));
        }
    }
    all.extend(samples::overviews().iter().map(|(name, answer)| match answer {
        answer::Overview::Shown(_) => other("availability", name, answer),
        // In the form of any rejection, and as final.
        answer::Overview::Rejected(_) => {
            let mut value = other("availability", name, answer);
            value["then"] = json!(answer::NextStep::Stop.name());
            value
        }
    }));
    let (name, described) = samples::described();
    all.push(json!({ "name": name, "operation": "availability", "json": described }));
    let reports = samples::reports();
    all.extend(reports.iter().map(|(name, answer)| other("admin", name, answer)));
    check("answers.json", &all);
}

#[test]
fn events_of_the_conformance_kit_are_the_samples() {
    let events = samples::events();
    let all: Vec<Value> =
        events.iter().map(|(name, event)| json!({ "name": name, "json": event })).collect();
    check("events.json", &all);
}
