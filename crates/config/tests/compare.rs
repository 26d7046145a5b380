//! The file held against what is on record.

#![allow(clippy::unwrap_used, reason = "tests")]

use giliran_config::{Config, parse};
use giliran_testkit::LedgerBuilder;
use giliran_wire::Timestamp;
use giliran_wire::ledger::{Adjust, Adjustment, Entry, OpeningRecord};

const NOW: &str = "2026-11-27T08:00:00Z";
const HORIZON_MS: u64 = 14 * 24 * 3_600_000;

const FILE: &str = r#"
[rules]
max_party = 2
hold      = "30m"
[[opening]]
id        = "a"
opens_at  = "2026-11-27T07:00:00Z"
closes_at = "2026-11-29T07:00:00Z"
dates     = ["2026-11-30", "2026-12-01"]
[[office]]
id    = "north"
quota = 3
[[office]]
id    = "south"
quota = 5
"#;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A ledger with these openings, and what an operator made of the first.
struct Record {
    ledger: LedgerBuilder,
}

impl Record {
    fn of(openings: Vec<OpeningRecord>) -> Self {
        Self { ledger: LedgerBuilder::with(openings, at(NOW)) }
    }

    fn adjust(&mut self, change: Adjustment) {
        let (operator, reason) = ("siti".into(), "flood".into());
        self.ledger.append(vec![Entry::Adjust(Adjust { opening: 0, operator, reason, change })]);
    }

    /// What a file says otherwise, a line each, and which openings it adds.
    fn beside(&self, text: &str) -> (String, Vec<String>) {
        let config = parse(text, "g.toml").unwrap();
        self.beside_config(&config, NOW)
    }

    fn beside_config(&self, config: &Config, now: &str) -> (String, Vec<String>) {
        let state = self.ledger.folded();
        let openings = state.allocator().openings();
        let known = |id: &str| state.knows_opening(id);
        let compared = config.compare(at(now), HORIZON_MS, &openings, known);
        let findings: Vec<String> = compared.findings.iter().map(ToString::to_string).collect();
        (findings.join("\n"), compared.new.into_iter().map(|record| record.id).collect())
    }
}

fn due(text: &str) -> Vec<OpeningRecord> {
    parse(text, "g.toml").unwrap().due(at(NOW), HORIZON_MS)
}

fn fine() -> (String, Vec<String>) {
    (String::new(), Vec::new())
}

#[test]
fn every_value_that_differs_is_told_with_what_would_change_it() {
    let record = Record::of(due(FILE));
    assert_eq!(record.beside(FILE), fine());
    let stays = "It stays as it is on record";
    for (from, to, words) in [
        ("07:00:00Z\"\ncloses", "06:30:00Z\"\ncloses", &["opens_at: 2026-11-27T06:30", stays][..]),
        ("2026-11-29T07", "2026-11-28T07", &["closes_at: 2026-11-28", "admin closes-at"]),
        ("max_party = 2", "max_party = 1", &["rules.max_party: 1 in the file, 2 on", stays]),
        ("\"30m\"", "\"45m\"", &["rules.hold: held for 2700 s", "held for 1800 s"]),
        ("[rules]", "[rules]\nmax_bookings = 1", &["rules.max_bookings: 1 in", "3 on record"]),
        ("[rules]", "[rules]\nmax_changes = 0", &["rules.max_changes: 0 in", "3 on record"]),
        ("[rules]", "[rules]\nmax_per_account = 9", &["rules.max_per_account: 9", "no bound"]),
        ("[rules]", "[rules]\nacross_openings = true", &["rules.across_openings: true"]),
        ("[rules]", "[rules]\nbookable_until = \"-1h\"", &["rules.bookable_until: 60 min"]),
        ("[rules]", "[rules]\nleftovers = \"first-come\"", &["rules.leftovers: first-come"]),
        ("[rules]", "[rules]\norder = \"draw\"", &["rules.order: draw", "first come on"]),
        ("[rules]", "[rules]\nreturns = { expired = \"immediate\" }", &["rules.returns.expired"]),
        ("[rules]", "[rules]\nreturns = { cancelled = \"immediate\" }", &["returns.cancelled"]),
        ("dates ", "timezone = \"Asia/Jakarta\"\ndates ", &["timezone: Asia/Jakarta", "UTC on"]),
        ("quota = 3", "quota = 3\nname = \"N\"", &["office.name of north: \"N\"", stays]),
        (
            "quota = 3",
            "quota = 4",
            &["north/all on 2026-11-30, 2026-12-01: 4 in the file, 3 on record", "admin quota"],
        ),
        (
            ", \"2026-12-01\"",
            "",
            &["north/all on 2026-12-01: nothing in the file, 3 on record", "admin halt"],
        ),
        (
            "\"2026-12-01\"",
            "\"2026-12-01\", \"2026-12-02\"",
            &["south/all on 2026-12-02: 5 in the file, nothing on record", "another id"],
        ),
    ] {
        let text = FILE.replacen(from, to, 1);
        assert_ne!(text, FILE, "{from}");
        let (said, new) = record.beside(&text);
        assert!(words.iter().all(|word| said.contains(word)), "{to}: {said}");
        assert_eq!(new, [""; 0], "{to}");
    }
    let elsewhere =
        FILE.replace("id        = \"a\"", "id        = \"b\"").replace("-30\"", "-29\"");
    assert!(record.beside(&elsewhere).0.contains("opening a, opening: nothing in the file, from"));
}

/// A file that an operator has not touched is as the record was; one that follows the
/// action is as it is now.
#[test]
fn what_an_operator_has_changed_is_no_difference() {
    let mut record = Record::of(due(FILE));
    record.adjust(Adjustment::Quota { slot: 0, quota: 2 });
    record.adjust(Adjustment::ClosesAt { closes_at: at("2026-11-28T07:00:00Z") });
    assert_eq!(record.beside(FILE), fine());
    assert_eq!(record.beside(&FILE.replace("2026-11-29T", "2026-11-28T")), fine());
    let quota = FILE.replace("quota = 3", "quota = { Mon = 2, Tue = 3 }");
    assert_eq!(record.beside(&quota), fine());
    let (other, _) = record.beside(&FILE.replace("quota = 3", "quota = { Mon = 1, Tue = 3 }"));
    assert!(other.contains("north/all on 2026-11-30: 1 in the file, 2 on record"), "{other}");
    let (other, _) = record.beside(&FILE.replace("2026-11-29T07", "2026-11-27T12"));
    assert!(other.contains("2026-11-28T07:00:00.000Z on record"), "{other}");
}

/// Whoever is left out is told of, and whoever is not goes on record.
#[test]
fn an_opening_that_is_left_out_says_why() {
    let record = Record::of(due(FILE));
    let more = |id: &str, from: &str, to: &str, date: &str| {
        let opening = format!(
            "[[opening]]\nid = \"{id}\"\nopens_at = \"{from}\"\ncloses_at = \"{to}\"\n\
             dates = [\"{date}\"]\n[[office]]\nid    = \"north\""
        );
        FILE.replacen("[[office]]\nid    = \"north\"", &opening, 1)
    };
    let (begin, end) = ("2026-11-30T09:00:00Z", "2026-12-02T09:00:00Z");
    let (said, new) = record.beside(&more("b", begin, end, "2026-12-04"));
    assert_eq!((said.as_str(), new), ("", vec!["b".to_owned()]));
    // Its window is over.
    let past = more("old", "2026-11-20T09:00:00Z", "2026-11-21T09:00:00Z", "2026-11-23");
    let (said, _) = record.beside(&past);
    assert!(said.contains("old is left out: its window ended at 2026-11-21T09"), "{said}");
    // Once it was on record, that its window ends is as it should be.
    let config = parse(FILE, "g.toml").unwrap();
    assert_eq!(record.beside_config(&config, "2026-11-29T08:00:00Z"), fine());
    // Its id belongs to an earlier one.
    let again = FILE.replace("11-27T07", "12-03T07").replace("11-29T07", "12-05T07");
    let again = again.replace("\"2026-11-30\", \"2026-12-01\"", "\"2026-12-07\"");
    let (said, new) = record.beside(&again);
    assert!(said.contains("a is left out: its id was used before"), "{said}");
    assert_eq!(new, [""; 0]);
}

/// An office's day is in one opening: another one on record, another file's.
#[test]
fn a_slot_belongs_to_one_opening() {
    let record = Record::of(due(FILE));
    // Another window, one of the days.
    let other = FILE
        .replace("id        = \"a\"", "id        = \"b\"")
        .replace("2026-11-27T07", "2026-11-29T08")
        .replace("2026-11-29T07", "2026-11-30T07")
        .replace("\"2026-11-30\", ", "");
    let (said, new) = record.beside(&other);
    assert!(
        said.contains(
            "opening b is left out: 2026-12-01 at north, session all, belongs to opening a"
        ),
        "{said}"
    );
    assert_eq!(new, [""; 0]);
    // Within one file it is an error of the file.
    let both = |date: &str| {
        let b = format!(
            "[[opening]]\nid = \"b\"\nopens_at = \"2026-11-29T08:00:00Z\"\n\
             closes_at = \"2026-11-30T07:00:00Z\"\ndates = [\"{date}\"]\n[[office]]\n\
             id    = \"north\""
        );
        parse(&FILE.replacen("[[office]]\nid    = \"north\"", &b, 1), "g.toml")
    };
    let said = both("2026-12-01").unwrap_err().to_string();
    assert!(said.contains("opening[1].dates"), "{said}");
    assert!(both("2026-12-02").is_ok());
}

/// Its id is known, and it is not in memory any more: another one of that id never
/// opens, and whoever wrote it is told.
#[test]
fn an_id_of_an_opening_that_has_left_memory_is_not_used_again() {
    let record = Record::of(Vec::new());
    let config = parse(FILE, "g.toml").unwrap();
    let state = record.ledger.folded();
    let openings = state.allocator().openings();
    let at_once = |now: &str| config.compare(at(now), HORIZON_MS, &openings, |id| id == "a");
    let compared = at_once(NOW);
    assert_eq!(compared.new, []);
    let said = compared.findings[0].to_string();
    assert!(said.contains("a is left out: its id was used before, by one whose days"), "{said}");
    // Nothing is lost where it is that very opening, and its window is over.
    assert_eq!(at_once("2026-12-02T00:00:00Z").findings, []);
}
