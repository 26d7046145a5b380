//! JSON Schemas of requests, answers and events, for clients in other languages:
//! `docs/schemas`. They are written in `shapes`, held against the fixtures and against
//! what this crate reads, and kept equal to the files.
//!
//! After a change that is meant:
//!
//! ```sh
//! GILIRAN_BLESS=1 cargo test -p giliran-wire --test formats schemas
//! ```

mod asyncapi;
mod judge;
mod shapes;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use giliran_wire::request;
use giliran_wire::{admin, answer, event, picture};
use serde_json::{Value, json};

use crate::golden::{blessing, fixture};
use crate::page::{fields, text};
use judge::fits;
use shapes::Schema;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas")
}

fn all() -> Vec<Schema> {
    shapes::requests().into_iter().chain(shapes::answers()).collect()
}

fn named(name: &str) -> Value {
    let found = all().into_iter().find(|schema| schema.name == name);
    found.unwrap_or_else(|| panic!("no schema {name}")).document()
}

/// The values of every fixture whose name begins so.
fn values(begin: &str) -> Vec<(String, Value)> {
    let (of, _) = begin.split_once('/').expect("folder and name");
    let files = fs::read_dir(crate::golden::folder().join(of)).expect("the fixtures").flatten();
    let names = files.map(|file| format!("{of}/{}", file.file_name().display()));
    let json = names.filter(|name| name.starts_with(begin) && name.ends_with(".json"));
    let single = json.filter(|name| !name.ends_with("/batch.json"));
    single
        .map(|name| (name.clone(), serde_json::from_str(&fixture(&name)).expect("JSON")))
        .collect()
}

#[test]
fn schemas_are_the_files() {
    // The configuration's is its crate's.
    let mut expected = BTreeSet::from(["README.md".to_owned(), "giliran.toml.json".to_owned()]);
    let schemas = all().into_iter();
    let documents = schemas.map(|schema| (format!("{}.json", schema.name), schema.document()));
    let asyncapi = (asyncapi::FILE.to_owned(), asyncapi::document());
    for (file, document) in documents.chain([asyncapi]) {
        let text = format!("{document:#}\n");
        if blessing() {
            fs::create_dir_all(folder()).expect("writable");
            fs::write(folder().join(&file), &text).expect("writable");
        }
        let there = fs::read_to_string(folder().join(&file)).unwrap_or_default();
        assert_eq!(text, there, "docs/schemas/{file}: renew it with GILIRAN_BLESS=1");
        expected.insert(file);
    }
    let files = fs::read_dir(folder()).expect("the schemas").flatten();
    let found: BTreeSet<_> = files.map(|file| file.file_name().display().to_string()).collect();
    assert_eq!(found, expected);
    let readme = fs::read_to_string(folder().join("README.md")).expect("the page");
    for file in expected.iter().filter(|file| file.ends_with(".json")) {
        assert!(readme.contains(&format!("]({file})")), "README.md does not name {file}");
    }
}

#[test]
fn schemas_take_every_fixture() {
    let mut taken = BTreeSet::new();
    for schema in all() {
        let document = schema.document();
        for begin in schema.fixtures {
            let values = values(begin);
            assert!(!values.is_empty(), "{begin}");
            for (name, value) in values {
                assert!(fits(&document, &value), "{name} is not as {} says", schema.name);
                taken.insert(name);
            }
        }
    }
    let data = named("booking-event");
    for (name, event) in values("events/") {
        assert!(fits(&data, &event["data"]), "{name}");
    }
    let folders = [
        "requests/",
        "answers/",
        "events/",
        "places/",
        "catalogue/",
        "feed/",
        "service/",
        "status/",
    ];
    for folder in folders {
        for (name, _) in values(folder) {
            assert!(taken.contains(&name), "{name} has no schema");
        }
    }
}

/// Values that are nearly this one: each field away, null, of another type or too long,
/// and one field more; in objects and lists at every depth.
fn variants(value: &Value) -> Vec<Value> {
    let others =
        || [json!(null), json!(7), json!(-1), json!("x"), json!(""), json!(true), json!([])];
    let mut found = Vec::new();
    match value {
        Value::Object(fields) => {
            let with = |name: &str, value: Value| {
                let mut changed = fields.clone();
                changed.insert(name.to_owned(), value);
                Value::Object(changed)
            };
            found.push(with("unknown", json!(1)));
            for (name, inner) in fields {
                let mut without = fields.clone();
                without.remove(name);
                found.push(Value::Object(without));
                let long = json!("a".repeat(300));
                found.extend(others().into_iter().chain([long]).map(|other| with(name, other)));
                found.extend(variants(inner).into_iter().map(|inner| with(name, inner)));
            }
        }
        Value::Array(items) => {
            found.push(json!([]));
            found.push(Value::Array(vec![items.first().cloned().unwrap_or_default(); 17]));
            for (at, item) in items.iter().enumerate() {
                let with = |item: Value| {
                    let mut changed = items.clone();
                    changed[at] = item;
                    Value::Array(changed)
                };
                found.extend(others().into_iter().map(with));
                found.extend(variants(item).into_iter().map(with));
            }
        }
        _ => {}
    }
    found
}

/// How many variants are read, and how many are not.
#[derive(Debug, Default)]
struct Tried {
    read: usize,
    refused: usize,
}

macro_rules! held_against {
    ($tried:ident, $($name:literal => $type:ident :: $kind:ident),* $(,)?) => {$({
        let schema = named($name);
        for begin in shapes::requests().iter().find(|s| s.name == $name).expect("it").fixtures {
            for (fixture, value) in values(begin) {
                for variant in variants(&value).into_iter().chain([value]) {
                    let json = variant.to_string();
                    let read = request::read::<$type::$kind<'_>>(json.as_bytes()).is_ok();
                    assert_eq!(fits(&schema, &variant), read, "{}: {fixture}: {json}", $name);
                    if read { $tried.read += 1 } else { $tried.refused += 1 }
                }
            }
        }
    })*};
}

/// A request that a schema takes is read, and one that it does not take is malformed.
#[test]
fn schemas_of_requests_say_what_is_read() {
    let mut tried = Tried::default();
    held_against!(tried,
        "book" => request::Book,
        "confirm" => request::Confirm,
        "cancel" => request::Cancel,
        "reschedule" => request::Reschedule,
        "lookup" => request::Lookup,
        "find" => request::Find,
        "availability" => request::Availability,
        "admin.quota" => admin::Quota,
        "admin.reserve" => admin::Reserve,
        "admin.halt" => admin::Halt,
        "admin.closes_at" => admin::ClosesAt,
        "admin.beacon" => admin::Beacon,
        "admin.roll" => admin::Roll,
    );
    assert!(tried.read > 100 && tried.refused > 1_000, "{tried:?}");
}

/// The fields of an object's schema.
fn properties(schema: &Value) -> BTreeSet<&str> {
    schema["properties"].as_object().expect("an object").keys().map(String::as_str).collect()
}

/// An answer's schema has each field of its type: nothing else would notice one that is
/// missing, since answers may gain fields.
#[test]
fn schemas_of_answers_have_the_fields_of_the_types() {
    let of = |names: Vec<&'static str>| names.into_iter().collect::<BTreeSet<&str>>();
    let overview = named("availability-answer");
    let shown = &overview["anyOf"][0];
    assert_eq!(properties(shown), of(fields::<answer::Availability<'_>>()));
    let items = |name: &str| &shown["properties"][name]["items"];
    assert_eq!(properties(items("openings")), of(fields::<answer::OpeningState<'_>>()));
    assert_eq!(properties(items("slots")), of(fields::<answer::SlotState<'_>>()));
    let verdict = named("answer");
    let booking = &verdict["anyOf"][0]["properties"]["booking"];
    assert_eq!(properties(booking), of(fields::<answer::Booking<'_>>()));
    assert_eq!(properties(&named("places")), of(fields::<answer::FreePlaces>()));
    let opening = named("opening");
    let described = of(fields::<giliran_wire::catalogue::OpeningDescription>());
    assert_eq!(properties(&opening), described);
    let rules = &opening["properties"]["rules"];
    assert_eq!(properties(rules), of(fields::<giliran_wire::catalogue::Rules>()));
    assert_eq!(properties(&named("event")), of(fields::<event::Event<'_>>()));
    assert_eq!(properties(&named("booking-event")), of(fields::<event::Data<'_>>()));
    assert_eq!(properties(&named("feed-events")), of(fields::<event::FeedEvents<'_>>()));
    assert_eq!(properties(&named("feed-position")), of(fields::<event::FeedPosition>()));
    assert_eq!(properties(&named("process")), of(fields::<giliran_wire::service::Answer>()));
    let status = named("status");
    assert_eq!(properties(&status), of(fields::<picture::Judged>()));
    let checks = &status["properties"]["checks"]["items"];
    assert_eq!(properties(checks), of(fields::<picture::Check>()));
    let shown = &status["properties"]["picture"];
    assert_eq!(properties(shown), of(fields::<picture::Picture>()));
    let known = |name: &str| &shown["properties"][name]["anyOf"][0]["properties"]["known"];
    let processes = properties(&known("processes")["items"]);
    assert!(processes.is_superset(&of(fields::<giliran_wire::service::Standing>())));
    assert_eq!(properties(known("openings")), of(fields::<picture::Openings>()));
    assert_eq!(properties(&known("streams")["items"]), of(fields::<picture::Stream>()));
    let done = named("admin-answer");
    assert_eq!(properties(&done["anyOf"][0]), of(fields::<admin::Report<'_>>()));
}

/// Whoever makes a client from the gateway's OpenAPI gets what openings offer, with its fields.
#[test]
fn the_gateway_describes_openings_by_the_same_schema() {
    let text = text("crates/gateway/src/openapi.json");
    let openapi: Value = serde_json::from_str(&text).expect("JSON");
    let mut expected = named("opening");
    let fields = expected.as_object_mut().expect("an object");
    fields.retain(|name, _| !["$schema", "$id", "title"].contains(&name.as_str()));
    let mut offers = openapi["components"]["schemas"]["Offers"].clone();
    offers.as_object_mut().expect("a schema").remove("description");
    assert_eq!(offers, expected, "left is components.schemas.Offers of the gateway's openapi.json");
}
