//! The page of all keys and the complete example, held against the parser.

#[path = "../../../wire/tests/formats/schemas/judge.rs"]
mod judge;
mod schema;

use std::collections::BTreeSet;

use giliran_config::{Config, EXAMPLE, parse};
use giliran_wire::Digest;

const TOP: &str = "Top-level keys";
/// Stands for a key that no section has.
const NO_KEY: &str = "zzz";

/// A row of the page.
#[derive(Debug, Clone)]
struct Row {
    key: String,
    kind: String,
    left_out: String,
    bounds: String,
    example: String,
    means: String,
}

/// A section of the page: its header, and its rows.
type Section = (String, Vec<Row>);

fn page() -> Vec<Section> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let text = std::fs::read_to_string(file).expect(file);
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push((title.trim_matches('`').to_owned(), Vec::new()));
        }
        let Some(row) = line.strip_prefix("| `") else { continue };
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").map(str::trim).collect();
        let [key, kind, left_out, bounds, example, means] = cells[..] else {
            panic!("{} columns: {line}", cells.len())
        };
        let code = |cell: &str| cell.trim_matches('`').to_owned();
        sections.last_mut().expect("a section").1.push(Row {
            key: code(key),
            kind: kind.to_owned(),
            left_out: code(left_out),
            bounds: bounds.to_owned(),
            example: code(example),
            means: means.to_owned(),
        });
    }
    sections.retain(|(title, rows)| !rows.is_empty() || title.starts_with('['));
    sections
}

type Keys = Vec<(String, String)>;

/// What a section must have to be valid.
fn needed(section: &str) -> Keys {
    let keys: &[(&str, &str)] = match section {
        "[beacon]" => &[("network", "\"quicknet\"")],
        "[schedule]" => &[
            ("timezone", "\"UTC\""),
            ("opens", "\"Sat 14:00\""),
            ("lasts", "\"1h\""),
            ("covers", "[\"Mon\"]"),
        ],
        "[[opening]]" => &[
            ("id", "\"o\""),
            ("opens_at", "\"2026-11-27T00:00:00Z\""),
            ("closes_at", "\"2026-11-29T00:00:00Z\""),
            ("dates", "[\"2026-12-07\"]"),
        ],
        "[[office]]" | "[[office.session]]" => &[("id", "\"a\""), ("quota", "9")],
        _ => &[],
    };
    keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A file in which this section has these keys, and the rest is valid.
fn file(section: &str, keys: &Keys) -> String {
    let lines = |keys: &Keys| -> String {
        keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    };
    let of = |header: &str| format!("{header}\n{}", lines(&needed(header)));
    let mut text = if section == TOP { lines(keys) } else { String::new() };
    if !["[schedule]", "[[opening]]"].contains(&section) {
        text += &of("[[opening]]");
    }
    match section {
        "[[office]]" => {}
        "[[office.session]]" => text += "[[office]]\nid = \"b\"\n",
        _ => text += &of("[[office]]"),
    }
    if section != TOP {
        text += &format!("{section}\n{}", lines(keys));
    }
    text
}

/// The section with one key set to a value, or without it.
fn with(section: &str, key: &str, value: Option<&str>) -> Result<Config, String> {
    let mut keys = needed(section);
    keys.retain(|(name, _)| name != key);
    if let Some(value) = value {
        keys.push((key.to_owned(), value.to_owned()));
    }
    let config = parse(&file(section, &keys), "g.toml").map_err(|problems| problems.to_string())?;
    // A default that is written out may be warned of.
    Ok(Config { warnings: Vec::new(), ..config })
}

/// The keys that the parser knows in a section, as it says itself.
fn known(section: &str) -> BTreeSet<String> {
    let said = with(section, NO_KEY, Some("1")).expect_err("an unknown key");
    let list = said.split("unknown field; known are ").nth(1);
    let list =
        list.unwrap_or_else(|| panic!("{section}: {said}")).lines().next().unwrap_or_default();
    list.split(", ").map(str::to_owned).collect()
}

#[test]
fn page_and_parser_have_the_same_keys() {
    let page = page();
    let has = |header: String| page.iter().any(|(title, _)| *title == header);
    for (section, rows) in &page {
        let own = section.trim_matches(['[', ']']);
        let own = if section == TOP { String::new() } else { format!("{own}.") };
        let listed: BTreeSet<String> = rows.iter().map(|row| row.key.clone()).collect();
        assert_eq!(listed.len(), rows.len(), "{section}: a key is listed twice");
        let is_section = |key: &str| has(format!("[{own}{key}]")) || has(format!("[[{own}{key}]]"));
        let keys = known(section).into_iter().filter(|key| !is_section(key)).collect();
        assert_eq!(listed, keys, "{section}: left is docs/configuration.md, right the parser");
    }
    for section in ["[rules]", "[rules.returns]", "[[office.session]]", "[schedule]"] {
        assert!(has(section.to_owned()), "{section} is missing: the page was not understood");
    }
}

#[test]
fn every_example_is_accepted_and_every_type_checked() {
    for (section, rows) in page() {
        for row in &rows {
            let at = format!("{section} {}", row.key);
            let (given, expected) = match row.kind.as_str() {
                "string" => ("true", "a string"),
                "number" => ("true", "a number"),
                "true or false" => ("1", "true or false"),
                "list of strings" => ("1", "a list of strings"),
                "string or table" | "number or table" => ("true", ""),
                other => panic!("{at}: no type {other:?}"),
            };
            let said = with(&section, &row.key, Some(given)).unwrap_err();
            assert!(said.contains(&row.key) && said.contains(expected), "{at}: {said}");
            // Of the keys of a beacon either the first is given, or the others.
            let own_network = section == "[beacon]" && row.key != "network";
            let accepted = if own_network {
                let pair = |row: &Row| (row.key.clone(), row.example.clone());
                let keys = rows[1..].iter().map(pair).collect();
                parse(&file(&section, &keys), "g.toml").map_err(|problems| problems.to_string())
            } else {
                with(&section, &row.key, Some(&row.example))
            };
            accepted.unwrap_or_else(|said| panic!("{at} = {}: {said}", row.example));
        }
    }
}

/// All that a file says, but not its text, by which two files of one meaning differ.
fn meaning(config: Config) -> String {
    format!("{:?}", Config { digest: Digest::of(&[]), ..config })
}

#[test]
fn what_is_left_out_counts_as_the_page_says() {
    for (section, rows) in page() {
        for row in rows.iter().filter(|_| section != "[beacon]") {
            let at = format!("{section} {}", row.key);
            let without = with(&section, &row.key, None);
            match row.left_out.as_str() {
                "needed" => {
                    let said = without.expect_err(&at);
                    assert!(said.contains(&format!("{}: missing", row.key)), "{at}: {said}");
                }
                // An office without a quota has sessions.
                "–" if at == "[[office]] quota" => drop(without.unwrap_err()),
                "–" => drop(without.unwrap_or_else(|said| panic!("{at}: {said}"))),
                default => {
                    let given = with(&section, &row.key, Some(default)).unwrap();
                    let given = meaning(given);
                    assert_eq!(given, meaning(without.unwrap()), "{at}");
                    let other = with(&section, &row.key, Some(&row.example)).unwrap();
                    assert_ne!(meaning(other), given, "{at}: no other example");
                }
            }
        }
    }
}

#[test]
fn numbers_have_the_bounds_of_the_page() {
    let mut numbers = 0;
    for (section, rows) in page() {
        for row in rows.iter().filter(|row| row.kind.starts_with("number")) {
            let said = with(&section, &row.key, Some(&i64::MIN.to_string())).unwrap_err();
            let place = format!("{}: {} given, ", row.key, i64::MIN);
            let allowed = said.split(&place).nth(1).and_then(|rest| rest.split(" allowed").next());
            let allowed = allowed.unwrap_or_else(|| panic!("{section} {}: {said}", row.key));
            let open = format!(" to {}", i64::MAX);
            assert_eq!(row.bounds, allowed.replace(&open, " or more"), "{section} {}", row.key);
            numbers += 1;
        }
    }
    assert!(numbers > 5, "{numbers}");
}

/// The example's lines; those of the alternatives, which begin with a # and no
/// blank, without it where `taken`.
fn example(taken: impl Fn(&str) -> bool) -> String {
    let line = |line: &str| {
        let alternative = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
        let line = alternative.filter(|rest| taken(rest)).unwrap_or(line);
        format!("{line}\n")
    };
    EXAMPLE.lines().map(line).collect()
}

#[test]
fn the_example_is_complete_and_accepted() {
    parse(EXAMPLE, "complete.toml").unwrap_or_else(|problems| panic!("{problems}"));
    let mut section = TOP.to_owned();
    let mut keys: Vec<(String, String)> = Vec::new();
    for line in example(|_| true).lines().filter(|line| !line.starts_with("# ")) {
        if line.starts_with('[') {
            section = line.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.push((section.clone(), key.to_owned()));
        }
    }
    for (section, rows) in page() {
        for row in rows {
            let key = (section.clone(), row.key);
            assert!(keys.contains(&key), "{key:?} is not in complete.toml");
        }
    }
}

#[test]
fn the_alternatives_of_the_example_are_accepted() {
    let opening = ["[[opening]]", "id = \"drill", "opens_at", "closes_at", "timezone", "dates"];
    let network = ["key =", "genesis =", "period_s ="];
    let mut tried = 0;
    let mut accept = |text: String| {
        parse(&text, "complete.toml").unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        tried += 1;
    };
    let starts = |line: &str, keys: &[&str]| keys.iter().any(|key| line.starts_with(key));
    accept(example(|line| starts(line, &opening)));
    accept(example(|line| starts(line, &network)).replace("network = ", "# network = "));
    for line in EXAMPLE.lines() {
        let Some(rest) = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')) else {
            continue;
        };
        if !starts(rest, &opening) && !starts(rest, &network) {
            // In the place of the value that stands there.
            let key = rest.split('=').next().unwrap();
            let mut replaced = false;
            let lines = example(|_| false);
            let lines = lines.lines().map(|line| {
                let first = !replaced && line.starts_with(key);
                replaced |= first;
                if first { rest } else { line }
            });
            accept(lines.map(|line| format!("{line}\n")).collect());
        }
    }
    assert!(tried > 4, "{tried}");
}
