//! The page for client developers shows the bytes that the fixtures hold, the fields that
//! the types have, and the one precedence of reasons.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use giliran_wire::answer::{self, Reason};
use giliran_wire::service::Standing;
use giliran_wire::{Date, admin, request};
use serde::Deserialize;
use serde::de::value::Error;
use serde::de::{Deserializer, Error as _, Visitor};

use crate::samples;

/// A file of the repository.
pub(crate) fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

const PAGE: &str = "docs/wire-protocol.md";

#[test]
fn the_pages_show_the_fixtures() {
    let page = text(PAGE);
    let pages = format!("{page}{}", text("docs/operations.md"));
    let plain = |text: &str| text.split_whitespace().collect::<String>();
    let mut shown = 0;
    // Without a fixture's name, which follows the blank, JSON is shown in part.
    let blocks = |form| pages.split(form).skip(1);
    for block in blocks("```hex ").chain(blocks("```json ")) {
        let (name, rest) = block.split_once('\n').unwrap();
        let (bytes, _) = rest.split_once("```").unwrap();
        let fixture = text(&format!("crates/wire/tests/fixtures/{}", name.trim()));
        assert_eq!(
            plain(bytes),
            plain(&fixture),
            "{name}: copy `fixtures/{name}` into the page, and go through the table below it"
        );
        shown += 1;
    }
    assert!(shown >= 9, "only {shown} fixtures are shown");
    for reason in Reason::ALL {
        let row = format!("| {} | `{}`", reason.number(), reason.name());
        assert!(page.contains(&row), "the table of reasons has no row `{row}`");
    }
}

/// Where a field stands in the binary form, and its name in JSON: what a row of a table
/// says.
type Row = (Vec<usize>, String);

/// The first table below a heading, row by row.
fn table(page: &str, heading: &str) -> Vec<Row> {
    let (_, below) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| {
        panic!("{PAGE} has no heading `{heading}`");
    });
    let lines = below.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        cells.windows(2).find_map(|pair| {
            let at = pair[0].split(", ").map(str::parse).collect::<Result<_, _>>().ok()?;
            Some((at, pair[1].trim_matches('`').to_owned()))
        })
    };
    rows.filter_map(row).collect()
}

/// The names of a type's fields in JSON, in their order, also of those that are left out
/// where nothing is given.
pub(crate) fn fields<'a, T: Deserialize<'a>>() -> Vec<&'static str> {
    struct Fields<'f>(&'f mut Vec<&'static str>);
    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = Error;
        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Error> {
            self.0.extend(fields);
            Err(Error::custom("the names are all that is wanted"))
        }
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("not a struct"))
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option
            unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }
    let mut names = Vec::new();
    assert!(T::deserialize(Fields(&mut names)).is_err());
    assert!(!names.is_empty());
    names
}

/// The same of a value that gives them all.
fn given(value: &impl serde::Serialize) -> Vec<String> {
    struct Names(Vec<String>);
    impl<'de> Deserialize<'de> for Names {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Keys;
            impl<'de> Visitor<'de> for Keys {
                type Value = Names;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Names, A::Error> {
                    let mut names = Vec::new();
                    while let Some((name, serde::de::IgnoredAny)) = map.next_entry()? {
                        names.push(name);
                    }
                    Ok(Names(names))
                }
            }
            deserializer.deserialize_map(Keys)
        }
    }
    let json = serde_json::to_string(value).expect("JSON");
    serde_json::from_str::<Names>(&json).expect("an object").0
}

/// Fields that the binary form does not have: their rows have no place.
const JSON_ALONE: [&str; 2] = ["describe", "catalogue"];

/// Rows for fields that stand in this order.
fn rows<T: ToString>(names: &[T]) -> Vec<Row> {
    let names = names.iter().map(T::to_string);
    let binary = names.filter(|name| !JSON_ALONE.contains(&name.as_str()));
    (1..).zip(binary).map(|(at, name)| (vec![at], name)).collect()
}

#[test]
fn the_tables_have_the_fields_of_the_types() {
    let page = text(PAGE);
    let (_, full) = &samples::books()[1];
    for (heading, fields) in [
        ("### `book`, `book.vouched`", rows(&fields::<request::Book<'_>>())),
        ("#### choice", rows(&given(&full.choices[0]))),
        ("### `confirm`", rows(&fields::<request::Confirm<'_>>())),
        ("### `cancel`", rows(&fields::<request::Cancel<'_>>())),
        ("### `reschedule`", rows(&fields::<request::Reschedule<'_>>())),
        ("### `lookup`", rows(&fields::<request::Lookup<'_>>())),
        ("### `find`", rows(&fields::<request::Find<'_>>())),
        ("### `availability`", rows(&fields::<request::Availability<'_>>())),
        ("### booking", rows(&fields::<answer::Booking<'_>>())),
        (
            "### To `availability`",
            [
                rows(&fields::<answer::Availability<'_>>()),
                rows(&fields::<answer::OpeningState<'_>>()),
                rows(&fields::<answer::SlotState<'_>>()),
            ]
            .concat(),
        ),
    ] {
        assert_eq!(table(&page, heading), fields, "left: the first table below `{heading}`");
    }
    for name in JSON_ALONE {
        assert!(page.contains(&format!("| – | `{name}` |")), "no row for `{name}`");
    }
}

/// The names of a table's first column below a heading.
fn names(page: &str, heading: &str) -> BTreeSet<String> {
    let (_, below) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| {
        panic!("{PAGE} has no heading `{heading}`");
    });
    let lines = below.lines().skip_while(|line| !line.starts_with("| `"));
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('`').nth(1).unwrap_or_default().to_owned()).collect()
}

/// Every path that a value has: `rules.cancelled.kind`, `offices[].id`. Keys that are
/// days are `<day>`.
fn paths(value: &serde_json::Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            let name = if name.parse::<Date>().is_ok() { "<day>" } else { name };
            let dot = if path.is_empty() { "" } else { "." };
            paths(value, &format!("{path}{dot}{name}"), found);
        }),
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| paths(item, &format!("{path}[]"), found));
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// The table of what a process says of itself has each key of it.
#[test]
fn the_table_of_a_process_has_its_keys() {
    let (_, standing) = samples::engine();
    let full = Standing { warnings: Some("w".into()), ..standing };
    let operations = text("docs/operations.md");
    let (_, below) = operations.split_once("\n## All processes at once\n").expect("its section");
    let rows = below.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').nth(1).unwrap_or_default());
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned);
    let expected: BTreeSet<String> = full.metadata().into_keys().collect();
    let shown: BTreeSet<String> = names.take(expected.len()).collect();
    assert_eq!(shown, expected, "left: the table in docs/operations.md");
}

/// The table of the catalogue has each field that a description can have, by its path.
#[test]
fn the_table_of_the_catalogue_has_its_fields() {
    let mut found = BTreeSet::new();
    for (_, opening) in samples::descriptions() {
        paths(&serde_json::to_value(opening).unwrap(), "", &mut found);
    }
    let shown = names(&text(PAGE), "### The fields of an opening");
    assert_eq!(shown, found, "left: the table in {PAGE}");
}

/// One table for all operators' actions: a row has its place in each of them.
#[test]
fn the_table_of_operators_actions_has_their_fields() {
    let heading = "### `admin.quota`, `admin.reserve`, `admin.halt`, `admin.closes_at`, \
                   `admin.beacon`, `admin.roll`";
    let table = table(&text(PAGE), heading);
    let actions = [
        fields::<admin::Quota<'_>>(),
        fields::<admin::Reserve<'_>>(),
        fields::<admin::Halt<'_>>(),
        fields::<admin::ClosesAt<'_>>(),
        fields::<admin::Beacon<'_>>(),
        fields::<admin::Roll<'_>>(),
    ];
    for (at, name) in actions.iter().flat_map(|fields| (1..).zip(fields)) {
        let fits = |(places, row): &Row| row == name && places.contains(&at);
        assert!(table.iter().any(fits), "no row `| {at} | `{name}`` below `{heading}`");
    }
    for (_, row) in table {
        let known = actions.iter().flatten().any(|name| *name == row);
        assert!(known, "no action has the field `{row}`");
    }
}

/// The reasons that a text names, in its order.
fn reasons(text: &str) -> Vec<Reason> {
    text.split('`').skip(1).step_by(2).filter_map(Reason::from_name).collect()
}

/// What stands behind `begin`, up to the end of the paragraph.
fn paragraph<'a>(text: &'a str, begin: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("nothing says `{begin}`"));
    rest.split_once("\n\n").map_or(rest, |(paragraph, _)| paragraph)
}

#[test]
fn every_place_that_says_which_reason_is_told_first_says_the_same() {
    let page = text(PAGE);
    let told =
        paragraph(&page, "\nWhere several apply, the answer names the first of this order: ");
    let (of_book, of_changes) = told.split_once(" For `confirm`, ").expect("both kinds");
    let (of_book, of_changes) = (reasons(of_book), reasons(of_changes));
    let architecture = text("docs/internals/architecture.md");
    let decide = text("crates/allocator/src/decide.rs");
    let (_, deciding) = architecture.split_once("\n## Deciding\n").expect("its chapter");
    let same = |said: &str, place| assert_eq!(reasons(said), of_book, "left: {place}");
    same(paragraph(deciding, "One precedence, always:\n\n"), "architecture.md, deciding");
    let (head, _) = decide.split_once("\n\n").expect("its head");
    same(paragraph(head, "//! One precedence, always: "), "the head of decide.rs");
    let (said, _) = paragraph(&architecture, "- One precedence, always: ")
        .split_once('\n')
        .expect("the next one of the list");
    assert_eq!(reasons(said), of_changes, "left: architecture.md, division of decisions");
    for reason in Reason::ALL {
        let settles_nothing = matches!(reason, Reason::Busy | Reason::Unavailable);
        let stands = of_book.contains(reason) || of_changes.contains(reason);
        assert!(stands || settles_nothing, "{PAGE} does not say when `{}` is told", reason.name());
    }
}
