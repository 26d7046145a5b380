//! The JSON Schema of the configuration file, `docs/schemas/giliran.toml.json`, for editors: made
//! from the page of all keys, which is held against the parser, and held against the parser itself.
//!
//! After a change that is meant:
//!
//! ```sh
//! GILIRAN_BLESS=1 cargo test -p giliran-config --test reference schema
//! ```

use std::fs;
use std::path::Path;

use giliran_config::{EXAMPLE, parse};
use serde_json::{Map, Value, json};

use crate::judge::fits;
use crate::{Row, TOP, file, needed, page};

const FILE: &str = "../../docs/schemas/giliran.toml.json";
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const TIME: &str = "^([01][0-9]|2[0-3]):[0-5][0-9]$";
const ID: &str = "^[a-z0-9-]{1,40}$";

fn pattern(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn list(of: &Value) -> Value {
    json!({ "type": "array", "items": of })
}

/// A table with this one key.
fn table(key: &str, of: &Value) -> Value {
    json!({
        "type": "object", "properties": { key: of }, "required": [key],
        "additionalProperties": false,
    })
}

fn any_of(schemas: &[Value]) -> Value {
    json!({ "anyOf": schemas })
}

/// The bounds that the page tells of a number.
fn number(bounds: &str) -> Value {
    let mut number = json!({ "type": "integer" });
    let bound = |text: &str| json!(text.parse::<i64>().expect("a bound"));
    match (bounds.split_once(" to "), bounds.strip_suffix(" or more")) {
        (Some((least, most)), _) => {
            number["minimum"] = bound(least);
            number["maximum"] = bound(most);
        }
        (_, Some(least)) => number["minimum"] = bound(least),
        _ => panic!("no bounds: {bounds}"),
    }
    number
}

/// What a key may have. Where the page names no more than the type, the schema does neither.
fn value_of(section: &str, row: &Row) -> Value {
    let duration = || json!({ "type": "string" });
    let days = || list(&json!({ "type": "string", "format": "date" }));
    match (section, row.key.as_str()) {
        ("[rules]", "order") => {
            any_of(&[json!({ "enum": ["first-come", "draw"] }), table("rounds", &duration())])
        }
        ("[rules.returns]", _) => any_of(&[
            json!({ "const": "immediate" }),
            table(
                "delayed",
                &json!({
                    "type": "array", "items": duration(), "minItems": 2, "maxItems": 2,
                }),
            ),
            table("at", &list(&pattern(TIME))),
        ]),
        (_, "quota") => {
            let places = number(&row.bounds);
            let by_day: Map<String, Value> =
                WEEKDAYS.iter().map(|day| ((*day).to_owned(), places.clone())).collect();
            let by_day = json!({
                "type": "object", "properties": by_day, "additionalProperties": false,
            });
            any_of(&[places, by_day])
        }
        ("[rules]", "leftovers") => json!({ "enum": ["none", "first-come"] }),
        ("[beacon]", "network") => json!({ "const": "quicknet" }),
        ("[schedule]", "covers") => list(&json!({ "enum": WEEKDAYS })),
        ("[schedule]", "closed") | ("[[opening]]", "dates") => days(),
        ("[[opening]]", "id") => pattern("^[A-Za-z0-9-]{1,40}$"),
        (_, "id") => pattern(ID),
        _ => match row.kind.as_str() {
            "string" => json!({ "type": "string" }),
            "number" => number(&row.bounds),
            "true or false" => json!({ "type": "boolean" }),
            "list of strings" => list(&json!({ "type": "string" })),
            other => panic!("{section} {}: no schema of {other:?}", row.key),
        },
    }
}

/// A value as TOML has it.
fn toml_value(text: &str) -> Value {
    json_of(&format!("value = {text}"))["value"].clone()
}

fn json_of(text: &str) -> Value {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A sentence without the marks of its links.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        let Some((words, after)) = link.split_once("](") else { break };
        plain += before;
        plain += words;
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

/// A section of the page as the schema of its table.
fn section_of(title: &str, rows: &[Row]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for row in rows {
        let mut schema = value_of(title, row);
        schema["description"] = json!(plain(&row.means));
        match row.left_out.as_str() {
            "needed" => required.push(row.key.clone()),
            "–" => {}
            default => schema["default"] = toml_value(default),
        }
        schema["examples"] = json!([toml_value(&row.example)]);
        properties.insert(row.key.clone(), schema);
    }
    json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    })
}

fn document() -> Value {
    let page = page();
    let of = |title: &str| {
        let (_, rows) = page.iter().find(|(found, _)| found == title).expect(title);
        section_of(title, rows)
    };
    let mut rules = of("[rules]");
    rules["properties"]["returns"] = of("[rules.returns]");
    let mut office = of("[[office]]");
    office["properties"]["session"] = list(&of("[[office.session]]"));
    // Either of the two.
    office["oneOf"] = json!([{ "required": ["quota"] }, { "required": ["session"] }]);
    let mut beacon = of("[beacon]");
    beacon["oneOf"] =
        json!([{ "required": ["network"] }, { "required": ["key", "genesis", "period_s"] }]);
    let mut document = of(TOP);
    let mut offices = list(&office);
    offices["minItems"] = json!(1);
    for (name, schema) in [
        ("ledger", of("[ledger]")),
        ("beacon", beacon),
        ("schedule", of("[schedule]")),
        ("opening", list(&of("[[opening]]"))),
        ("rules", rules),
        ("office", offices),
    ] {
        document["properties"][name] = schema;
    }
    document["required"] = json!(["office"]);
    let an_opening = json!({
        "required": ["opening"],
        "properties": { "opening": { "type": "array", "minItems": 1 } },
    });
    document["anyOf"] = json!([{ "required": ["schedule"] }, an_opening]);
    document["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    document["$id"] = json!("urn:giliran:schema:giliran.toml:1");
    document["title"] = json!("giliran.toml");
    document
}

#[test]
fn the_schema_is_the_file() {
    let text = format!("{:#}\n", document());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("GILIRAN_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, &text).expect("writable");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, there, "docs/schemas/giliran.toml.json: renew it with GILIRAN_BLESS=1");
}

#[test]
fn every_key_of_the_page_is_in_the_schema() {
    let titles: Vec<String> = page().into_iter().map(|(title, _)| title).collect();
    let known = [
        TOP,
        "[ledger]",
        "[beacon]",
        "[schedule]",
        "[[opening]]",
        "[rules]",
        "[rules.returns]",
        "[[office]]",
        "[[office.session]]",
    ];
    assert_eq!(titles, known, "a section of the page that the schema does not have");
}

/// Values that are nearly this one: each key away or of another type, and a key more; at every
/// depth. What a schema can see, and whether it has to.
fn variants(value: &Value) -> Vec<(Value, bool)> {
    let others = [json!(7), json!(-1), json!("x"), json!(true), json!([]), json!({ "x": 1 })];
    let mut found = Vec::new();
    match value {
        Value::Object(fields) => {
            let with = |name: &str, value: Value| {
                let mut changed = fields.clone();
                changed.insert(name.to_owned(), value);
                Value::Object(changed)
            };
            found.push((with("zzz", json!(1)), true));
            for (name, inner) in fields {
                let mut without = fields.clone();
                without.remove(name);
                found.push((Value::Object(without), false));
                found.extend(others.iter().map(|other| (with(name, other.clone()), false)));
                let within = variants(inner).into_iter();
                found.extend(within.map(|(inner, seen)| (with(name, inner), seen)));
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                for (inner, seen) in variants(item) {
                    let mut changed = items.clone();
                    changed[at] = inner;
                    found.push((Value::Array(changed), seen));
                }
            }
        }
        _ => {}
    }
    found
}

/// What the parser takes, the schema takes; and most of what the parser refuses, the schema finds.
#[test]
fn the_schema_refuses_nothing_that_the_parser_takes() {
    let schema = document();
    let batam = include_str!("../../examples/batam.toml");
    let (mut taken, mut refused, mut found) = (0, 0, 0);
    for example in [EXAMPLE, batam] {
        let value = json_of(example);
        assert!(fits(&schema, &value), "{example}");
        for (variant, seen) in variants(&value) {
            let text = toml::to_string(&variant).expect("TOML");
            let (fits, parsed) = (fits(&schema, &variant), parse(&text, "g.toml").is_ok());
            assert!(fits || !parsed, "the parser takes what the schema does not: {text}");
            assert!(!seen || !fits, "a key that nobody knows: {text}");
            *(if parsed { &mut taken } else { &mut refused }) += 1;
            found += usize::from(!fits);
        }
    }
    assert!(taken > 50 && refused > 300, "{taken} taken, {refused} refused");
    assert!(found * 100 > refused * 85, "the schema finds {found} of {refused}");
}

#[test]
fn the_schema_takes_every_example_of_the_page() {
    let schema = document();
    for (section, rows) in page() {
        for row in &rows {
            let mut keys = needed(&section);
            keys.retain(|(name, _)| *name != row.key);
            keys.push((row.key.clone(), row.example.clone()));
            // Of the keys of a beacon either the first is given, or the others.
            if section == "[beacon]" && row.key != "network" {
                let pair = |row: &Row| (row.key.clone(), row.example.clone());
                keys = rows[1..].iter().map(pair).collect();
            }
            let value = json_of(&file(&section, &keys));
            assert!(fits(&schema, &value), "{section} {}: {value}", row.key);
        }
    }
}
