//! AsyncAPI 3 of the subjects: which message goes where, and what answers it. The payloads are the
//! schemas beside it.
//!
//! Renewed as they are: `GILIRAN_BLESS=1 cargo test -p giliran-wire --test formats schemas`.

use std::collections::BTreeSet;

use giliran_wire::service::Verb;
use giliran_wire::subject::Namespace;
use serde_json::{Map, Value, json};

use crate::page::text;
use crate::samples;

use super::all;

pub(super) const FILE: &str = "asyncapi.json";
/// Schemas that no message has: what lies within an event, and what `giliran status --json`
/// prints, which no subject carries.
const NO_MESSAGE: [&str; 2] = ["booking-event", "status"];

/// A subject that is asked: its operation, its schema, the schema of the answer, and for whom.
type Asked = (&'static str, &'static str, &'static str, &'static str);

const ASKED: [Asked; 14] = [
    ("book", "book", "answer", "Ask for a booking"),
    ("book.vouched", "book", "answer", "The same; restricted sessions may be named"),
    ("lookup", "lookup", "answer", "A booking, by its id or its request's"),
    ("find", "find", "answer", "An applicant's booking in an opening"),
    ("availability", "availability", "availability-answer", "Openings and free places"),
    ("confirm", "confirm", "answer", "A held booking was paid or approved"),
    ("cancel", "cancel", "answer", "Give back a booking, a seat of it, or an entry"),
    ("reschedule", "reschedule", "answer", "Swap a confirmed booking's place"),
    ("admin.quota", "admin.quota", "admin-answer", "Set how many places a slot has"),
    ("admin.reserve", "admin.reserve", "admin-answer", "Keep places of a slot back"),
    ("admin.halt", "admin.halt", "admin-answer", "Close a day, or open it again"),
    ("admin.closes_at", "admin.closes_at", "admin-answer", "Move an opening's end"),
    ("admin.beacon", "admin.beacon", "admin-answer", "Hand in a draw's public value"),
    ("admin.roll", "admin.roll", "admin-answer", "Let the ledger go on in its next stream"),
];

/// A subject on which something is said.
struct Said {
    name: &'static str,
    address: String,
    schema: &'static str,
    summary: &'static str,
    /// Names and meanings of the words of the address.
    parameters: &'static [(&'static str, &'static str)],
}

const OF_EVENT: &[(&str, &str)] = &[
    ("type", "What became of the booking or entry; pass over types that you do not know"),
    ("office", "Id of the office; - where there is none"),
    ("date", "The day; - where there is none"),
];
const OF_PLACES: &[(&str, &str)] = &[
    ("opening", "Id of the opening"),
    ("office", "Id of the office"),
    ("date", "The day"),
    ("session", "Id of the session"),
];

fn said(names: &Namespace) -> Vec<Said> {
    let event = names.event("{type}", "{office}", "{date}");
    let places =
        format!("$KV.{}.{{opening}}.{{office}}.{{date}}.{{session}}", names.availability_bucket());
    vec![
        Said {
            name: "event",
            address: event,
            schema: "event",
            summary: "Each change of a booking, once, in the stream of events",
            parameters: OF_EVENT,
        },
        Said {
            name: "feed.events",
            address: names.feed_events(),
            schema: "feed-events",
            summary: "The same once they are stored, for whoever is connected",
            parameters: &[],
        },
        Said {
            name: "feed.position",
            address: names.feed_position(),
            schema: "feed-position",
            summary: "Once a second, how far events and places are told",
            parameters: &[],
        },
        Said {
            name: "places",
            address: places,
            schema: "places",
            summary: "Free places of a slot, a value of a key-value bucket",
            parameters: OF_PLACES,
        },
        Said {
            name: "openings",
            address: format!("$KV.{}.{{opening}}", names.openings_bucket()),
            schema: "opening",
            summary: "What an opening offers, a value of a key-value bucket",
            parameters: &[("opening", "Id of the opening")],
        },
    ]
}

/// Names of parts of the document have no dots.
fn key(name: &str) -> String {
    name.replace(['.', '-'], "_")
}

fn reference(of: &str) -> Value {
    json!({ "$ref": of })
}

/// A message for each schema that has one.
fn messages() -> Map<String, Value> {
    let mut messages = Map::new();
    for schema in all().into_iter().filter(|schema| !NO_MESSAGE.contains(&schema.name)) {
        let document = schema.document();
        let mut message = json!({
            "name": schema.name,
            "title": schema.of,
            "contentType": "application/json",
            "payload": reference(&format!("./{}.json", schema.name)),
        });
        if schema.name == "event" {
            message["contentType"] = json!("application/cloudevents+json");
        }
        if document["properties"]["request_id"].is_object() || schema.name == "answer" {
            message["correlationId"] = json!({ "location": "$message.payload#/request_id" });
        }
        messages.insert(key(schema.name), message);
    }
    messages
}

fn channel(address: &Value, schemas: &[&str], parameters: &[(&str, &str)]) -> Value {
    let messages: Map<String, Value> = schemas
        .iter()
        .map(|schema| (key(schema), reference(&format!("#/components/messages/{}", key(schema)))))
        .collect();
    let mut channel = json!({ "address": address, "messages": messages });
    if !parameters.is_empty() {
        let described = parameters.iter().map(|(name, means)| {
            let mut parameter = json!({ "description": means });
            if *name == "type" {
                let types: Vec<_> = samples::events().iter().map(|(name, _)| *name).collect();
                parameter["examples"] = json!(types);
            }
            ((*name).to_owned(), parameter)
        });
        channel["parameters"] = Value::Object(described.collect());
    }
    channel
}

/// An operation, and the message of its channel.
fn operation(action: &str, summary: &str, channel: &str, schema: &str) -> Value {
    let at = format!("#/channels/{}", key(channel));
    json!({
        "action": action, "summary": summary, "channel": reference(&at),
        "messages": [reference(&format!("{at}/messages/{}", key(schema)))],
    })
}

pub(super) fn document() -> Value {
    let names = Namespace::default();
    let (mut channels, mut operations) = (Map::new(), Map::new());
    // Where an answer goes is the reply subject of its request.
    let reply = |channels: &mut Map<String, Value>, answer: &str| {
        let name = format!("reply_{}", key(answer));
        channels.entry(name.clone()).or_insert_with(|| channel(&Value::Null, &[answer], &[]));
        let at = format!("#/channels/{name}");
        let message = reference(&format!("{at}/messages/{}", key(answer)));
        json!({ "channel": reference(&at), "messages": [message] })
    };
    for (name, schema, answer, summary) in ASKED {
        let address = json!(names.request(name));
        channels.insert(key(name), channel(&address, &[schema], &[]));
        let mut asked = operation("receive", summary, name, schema);
        asked["reply"] = reply(&mut channels, answer);
        operations.insert(key(name), asked);
    }
    for said in said(&names) {
        let address = json!(said.address);
        channels.insert(key(said.name), channel(&address, &[said.schema], said.parameters));
        operations.insert(key(said.name), operation("send", said.summary, said.name, said.schema));
    }
    for verb in Verb::ALL {
        let name = format!("srv_{}", verb.word().to_lowercase());
        let address = json!(format!("$SRV.{}", verb.word()));
        // Asked with an empty message.
        channels.insert(
            name.clone(),
            json!({ "address": address, "messages": {
            "question": { "name": "question", "payload": { "type": "null" } } } }),
        );
        let mut asked = operation("receive", "How every process stands", &name, "question");
        asked["reply"] = reply(&mut channels, "process");
        operations.insert(name, asked);
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Giliran over NATS",
            "version": "1",
            "description": "Requests and their answers, events, and buckets. The operations are \
                            Giliran's: it receives requests and sends events. An answer goes to the \
                            reply subject of its request, which begins with _INBOX. or _R_. unless \
                            an engine is told otherwise. Names are those of the subject prefix \
                            giliran.v1. docs/wire-protocol.md says what the fields mean, and holds \
                            where this says less.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": { "host": "127.0.0.1:4222", "protocol": "nats" },
        },
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages() },
    })
}

/// Every reference within a value.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn asyncapi_refers_to_every_schema_and_to_nothing_that_is_not_there() {
    let document = document();
    let (mut found, mut carried) = (Vec::new(), Vec::new());
    references(&document, &mut found);
    references(&document["channels"], &mut carried);
    for message in document["components"]["messages"].as_object().expect("messages").keys() {
        let reference = format!("#/components/messages/{message}");
        assert!(carried.contains(&reference.as_str()), "no channel carries {message}");
    }
    let mut files = BTreeSet::new();
    for reference in found {
        match reference.strip_prefix('#') {
            Some(pointer) => assert!(document.pointer(pointer).is_some(), "{reference}"),
            None => drop(files.insert(reference.to_owned())),
        }
    }
    let schemas = all().into_iter().filter(|schema| !NO_MESSAGE.contains(&schema.name));
    assert_eq!(files, schemas.map(|schema| format!("./{}.json", schema.name)).collect());
}

#[test]
fn asyncapi_has_the_subjects_of_the_page() {
    let page = text("docs/wire-protocol.md");
    let (_, table) = page.split_once("\n## Subjects\n").expect("its chapter");
    let rows = table.lines().skip_while(|line| !line.starts_with("|---"));
    let rows = rows.skip(1).take_while(|line| line.starts_with('|'));
    let mut subjects = BTreeSet::new();
    for row in rows {
        let cell = row.split('|').nth(1).expect("the subject");
        let mut first = "";
        for name in cell.split('`').skip(1).step_by(2) {
            // `giliran.v1.admin.quota`, `.reserve`: of the same beginning.
            let begin = first.rsplit_once('.').map_or("", |(begin, _)| begin);
            let whole =
                if name.starts_with('.') { format!("{begin}{name}") } else { name.to_owned() };
            if first.is_empty() {
                first = name;
            }
            subjects.insert(whole.replace(".…", ".{type}.{office}.{date}"));
        }
    }
    let document = document();
    let channels = document["channels"].as_object().expect("channels").values();
    let addresses: BTreeSet<_> =
        channels.filter_map(|channel| channel["address"].as_str()).map(str::to_owned).collect();
    let missing: Vec<_> = subjects.difference(&addresses).collect();
    assert!(missing.is_empty() && subjects.len() > 15, "{missing:?} of {subjects:?}");
    let stored = |address: &String| address.starts_with("$KV.") || address.contains(".v1.event.");
    let more: Vec<_> = addresses.difference(&subjects).filter(|a| !stored(a)).collect();
    assert!(more.is_empty(), "{more:?}");
}
