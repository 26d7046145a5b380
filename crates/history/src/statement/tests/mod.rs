//! A statement that was written holds; one that was changed anywhere does not.

mod edits;
mod stories;

use giliran_verify::statement::{Totals, ZERO, check, hashed};
use giliran_wire::admin::Bookings;
use giliran_wire::answer::Reason;
use giliran_wire::ledger::{
    Adjust, Adjustment, Cancel, CancelCause, Entry, Expire, RejectionCount, RejectionDigest,
    Released,
};
use giliran_wire::{BlockHash, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::tests::{Ledger, OPENS, booking, cancel, grant, person, record, rejected};

/// Every kind of change but those of `moved`.
fn eventful() -> Ledger {
    let at = |ms: i64| Some(Timestamp::from_millis(OPENS + ms));
    let mut ledger = Ledger::open();
    ledger.append(10, vec![grant(1, 0, &[1, 2], Some(1)), grant(2, 0, &[3], None)]);
    ledger.append(20, vec![grant(3, 1, &[1], Some(3)), grant(4, 1, &[2], Some(4))]);
    ledger.append(
        9_000,
        vec![rejected(OPENS / 1_000 + 8, Some(0), 7), rejected(OPENS / 1_000 + 8, None, 2)],
    );
    ledger.append(30_000, vec![cancel(3, at(60_000))]);
    let expire = Expire { booking: booking(2), release_at: None };
    let revoke = Cancel {
        booking: booking(4),
        request_id: "x".into(),
        seats: Vec::new(),
        cause: CancelCause::Authority,
        release_at: at(40_000),
        reason: Some("flood".into()),
        refund_due: false,
    };
    ledger.append(40_000, vec![Entry::Expire(expire), Entry::Cancel(revoke)]);
    let released = Released { opening: 0, slot: 1, numbers: vec![1] };
    ledger.append(60_000, vec![Entry::Released(released)]);
    let adjust = |change| {
        let (operator, reason) = ("siti".into(), "two desks, „Schalter“".into());
        Entry::Adjust(Adjust { opening: 0, operator, reason, change })
    };
    ledger.append(
        70_000,
        vec![
            adjust(Adjustment::Quota { slot: 1, quota: 4 }),
            adjust(Adjustment::Reserve { slot: 1, places: 1 }),
            adjust(Adjustment::Halt { slot: 0, halted: true, bookings: Bookings::Keep }),
            adjust(Adjustment::ClosesAt { closes_at: Timestamp::from_millis(OPENS + 90_000) }),
        ],
    );
    ledger.append(90_000, vec![Entry::Closed { opening: 0 }]);
    ledger
}

fn written() -> String {
    write(&eventful().read("w").unwrap())
}

/// The lines' JSON, to be changed and chained again.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

/// As a forger would: with hashes that fit.
fn chained(lines: &[String]) -> String {
    let mut out = Lines::default();
    for line in lines {
        out.last = hashed(&out.last, line);
        out.text.push_str(&format!("{} {line}\n", out.last));
    }
    out.text
}

#[test]
fn what_was_written_holds_and_says_what_happened() {
    let text = written();
    let checked = check(&text).unwrap();
    let totals = Totals {
        quota: 7,
        reserved: 1,
        halted: 0,
        granted: 5,
        cancelled: 1,
        revoked: 1,
        expired: 1,
        moved: 0,
        at_once: 1,
        revived: 0,
        released: 1,
        taken: 2,
        withheld: 1,
        free: 3,
        rejected: 9,
        sold_out: 9,
    };
    assert_eq!(checked.totals, totals);
    assert_eq!((checked.oversold, checked.undersold), (0, Some(0)));
    assert_eq!(checked.opening, "w");
    assert_eq!(
        checked.says,
        [
            "The opening is closed, at 2026-11-27T07:01:30.000Z.",
            "Quota: 7 places in 2 slots.",
            "Granted: 5 places. Returned: 3 (cancelled 1, taken back 1, lapsed 1, moved 0), 1 of \
             them free at once; released later: 1; lapsed and had again by a late payment: 0.",
            "At the end: 2 taken, 1 withheld, 1 reserved, 0 in halted slots, 3 free.",
            "No oversell: at no point were more places taken than a slot had.",
            "No undersell: of 9 requests told that all was sold out, none is known to have been beside \
         places free for any party; 2 cannot be judged.",
        ]
    );
    assert_eq!(text.lines().last().unwrap().split_once(' ').unwrap().0, checked.seal);
    // Nobody is in it.
    for n in 1..=4 {
        for secret in [person(n).to_hex(), booking(n).to_string(), format!("\"r{n}\"")] {
            assert!(!text.contains(&secret));
        }
    }
    for word in ["secret-ref", "flood", "web", "mobile"] {
        assert!(!text.contains(word), "{word}");
    }
    // But for who answers for a change.
    let signed = r#""to":4,"free":4,"operator":"siti","why":"two desks, „Schalter“""#;
    assert!(text.contains(signed), "{text}");
}

#[test]
fn its_hashes_are_sha_256_over_the_one_before_and_the_line() {
    // echo -n "00…00 {}" | sha256sum
    assert_eq!(hashed(ZERO, "{}"), KNOWN_HASH);
}

const KNOWN_HASH: &str = "3533f36f59879ac3cdda4483541b8d607bcc6af2e671407a87125163ab2e500a";

/// One byte changed anywhere is noticed, at its line.
#[test]
fn every_byte_counts() {
    let text = written();
    let mut line = 1;
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        // Stays text, and no new line.
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        // What is no UTF-8 any more is no statement.
        if let Ok(tampered) = String::from_utf8(bytes) {
            let found = check(&tampered).unwrap_err();
            let next = text.as_bytes()[at] == b'\n' && found.line <= line + 1;
            assert!(found.line == line || next, "byte {at} of line {line}: {found}");
        }
        line += usize::from(text.as_bytes()[at] == b'\n');
    }
}

/// Fields that only the ledger can contradict: names, rules, times within their order,
/// hashes of blocks, sequence numbers within their order.
const LEDGER_ONLY: &str = "ledger opening timezone opens_at closes_at order max_party hold_ms cancelled expired \
    office date session block seq time at operator why";

/// Fields of which a change that is chained again must be found.
const TRIED: &str = "giliran_statement slot quota did places withheld to reason count free state granted \
    oversold undersold unclear says taken";

/// Every field of every line, changed and chained again by a forger: refused, but
/// for those that only the ledger can contradict.
#[test]
fn every_kind_of_field_is_held_against_the_others() {
    let recorded = eventful().read("w").unwrap();
    let text = write(&recorded);
    assert_eq!(compare(&text, &recorded), Ok(()));
    let lines = lines(&text);
    let mut seen = std::collections::BTreeSet::new();
    for (number, line) in lines.iter().enumerate() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(ordered(&value), *line);
        for path in paths(&value) {
            let field = path.last().unwrap().trim_end_matches(char::is_numeric).to_owned();
            let field = if field.is_empty() { path[path.len() - 2].clone() } else { field };
            for forged in forgeries(&value, &path) {
                let mut all = lines.clone();
                all[number] = ordered(&forged);
                let found = check(&chained(&all));
                let told = format!("line {} {path:?}: {found:?}", number + 1);
                // What only the ledger can contradict, it does.
                let compared = compare(&chained(&all), &recorded).unwrap_err();
                assert_eq!(compared.line, number + 1, "{compared}");
                // A rejection's second or slot, where all was sold out there as well;
                // a slot that was not halted.
                let change = value.pointer(&format!("/{}", path[..path.len().min(2)].join("/")));
                let free_to_say = change.is_some_and(|change| match change["did"].as_str() {
                    Some("refused") => ["second", "slot"].contains(&&*field),
                    Some("halted") => field == "to",
                    _ => false,
                });
                if LEDGER_ONLY.split_whitespace().any(|only| only == field)
                    || (free_to_say && found.is_ok())
                {
                    continue;
                }
                assert!(found.is_err(), "{told}");
                seen.insert(field.clone());
            }
        }
    }
    for field in TRIED.split_whitespace() {
        assert!(seen.contains(field), "{field} was not tried: {seen:?}");
    }
}

/// A line as a statement writes it: its fields in the format's order.
fn ordered(value: &Value) -> String {
    // One order holds the fields of every line.
    const ORDER: &str = "giliran_statement ledger opening timezone opens_at closes_at order \
        max_party hold_ms did slot places office date session quota reserved halted granted \
        cancelled revoked expired moved at_once revived released taken withheld to at reason \
        second count free operator why refused sold_out state seq time block changes end totals \
        oversold undersold unclear says";
    match value {
        Value::Object(fields) => {
            let place = |name: &str| ORDER.split_whitespace().position(|field| field == name);
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| place(name).unwrap());
            let field = |(name, value): (&String, &Value)| format!("{name:?}:{}", ordered(value));
            let fields: Vec<String> = fields.into_iter().map(field).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(list) => {
            let list: Vec<String> = list.iter().map(ordered).collect();
            format!("[{}]", list.join(","))
        }
        other => other.to_string(),
    }
}

fn paths(value: &Value) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => return vec![Vec::new()],
    };
    for (name, value) in inner {
        for mut path in paths(value) {
            path.insert(0, name.clone());
            found.push(path);
        }
    }
    found
}

/// The value with what stands at a path changed a little, or left out.
fn forgeries(value: &Value, path: &[String]) -> Vec<Value> {
    let pointer = format!("/{}", path.join("/"));
    let there = value.pointer(&pointer).unwrap();
    let others = match there {
        Value::Number(n) => {
            let n = n.as_i64().unwrap();
            vec![json!(n + 1), json!(n - 1)]
        }
        Value::String(text) => vec![json!(format!("{text}x")), json!("")],
        Value::Null => vec![json!(1)],
        _ => vec![],
    };
    others
        .into_iter()
        .map(|other| {
            let mut forged = value.clone();
            *forged.pointer_mut(&pointer).unwrap() = other;
            forged
        })
        .collect()
}

#[test]
fn lines_left_out_added_moved_or_missing_at_the_end_are_noticed() {
    let text = written();
    let all: Vec<&str> = text.split_inclusive('\n').collect();
    for left_out in 0..all.len() {
        let mut some = all.clone();
        some.remove(left_out);
        let found = check(&some.concat()).unwrap_err();
        assert_eq!(found.line, left_out + 1, "{found}");
        // Chained again, the sums say so; what was rejected changes them as well.
        let mut some = lines(&text);
        some.remove(left_out);
        assert!(check(&chained(&some)).is_err(), "line {}", left_out + 1);
    }
    for moved in 1..all.len() {
        let mut some = all.clone();
        some.swap(moved - 1, moved);
        assert!(check(&some.concat()).is_err());
    }
    let found = check(&format!("{text}{}", all[3])).unwrap_err();
    assert_eq!(found.line, all.len() + 1);
    for (cut, what) in [(text.len() - 1, "middle of a line"), (0, "incomplete")] {
        let found = check(&text[..cut]).unwrap_err();
        assert!(found.what.contains(what), "{found}");
    }
    let without_end: String = all[..all.len() - 1].concat();
    assert!(check(&without_end).unwrap_err().what.contains("incomplete"));
}

#[test]
fn oversell_and_undersell_are_told_not_hidden() {
    let mut ledger = Ledger::open();
    ledger.append(10, vec![grant(1, 1, &[1, 2], None), grant(2, 1, &[3], None)]);
    ledger.append(90_000, vec![rejected(OPENS / 1_000 + 30, Some(0), 4)]);
    let checked = check(&write(&ledger.read("w").unwrap())).unwrap();
    assert_eq!((checked.oversold, checked.undersold), (1, Some(4)));
    assert!(checked.says[0].starts_with("PRELIMINARY: the opening is open"));
    assert!(checked.says[4].starts_with("OVERSOLD: 1"), "{:?}", checked.says);
    assert!(checked.says[5].starts_with("UNDERSOLD: 4 of 4"), "{:?}", checked.says);
}

#[test]
fn without_counts_of_refusals_undersell_is_not_judged() {
    let mut ledger = Ledger::open();
    ledger.append(10, vec![grant(1, 0, &[1], None)]);
    let checked = check(&write(&ledger.read("w").unwrap())).unwrap();
    assert_eq!(checked.undersold, None);
    assert!(checked.says[5].contains("cannot be judged"), "{:?}", checked.says);
    // Nor is there anything to say of one that has not opened.
    let checked = check(&write(&Ledger::with(vec![record(0, "w")]).read("w").unwrap())).unwrap();
    assert!(checked.says[0].contains("is scheduled"), "{:?}", checked.says);
}

#[test]
fn its_blocks_are_the_ledgers() {
    let recorded = eventful().read("w").unwrap();
    let text = write(&recorded);
    let hashes: Vec<BlockHash> = recorded.blocks.iter().map(|block| block.hash).collect();
    assert!(hashes.iter().all(|hash| text.contains(&hash.to_string())));
    // A ledger rewritten behind it, in nothing but a name, is another.
    let mut other = Ledger::open();
    other.append(10, vec![grant(1, 0, &[1, 2], Some(9)), grant(2, 0, &[3], None)]);
    let mut one = Ledger::open();
    one.append(10, vec![grant(1, 0, &[1, 2], Some(1)), grant(2, 0, &[3], None)]);
    let [one, other] = [one, other].map(|ledger| write(&ledger.read("w").unwrap()));
    assert_ne!(one, other);
}

/// The checker in `docs/examples/statement`, written apart from this code, on every
/// forgery above: it refuses what is refused here, at the same line, and takes what
/// is taken here.
#[test]
fn a_checker_in_python_agrees_on_every_forgery() {
    let text = written();
    let lines = lines(&text);
    let mut all = vec![text.clone(), text.replacen('0', "1", 1), text[..text.len() - 1].to_owned()];
    for (number, line) in lines.iter().enumerate() {
        let value: Value = serde_json::from_str(line).unwrap();
        let mut without = lines.clone();
        without.remove(number);
        all.push(chained(&without));
        for path in paths(&value) {
            for forged in forgeries(&value, &path) {
                let mut forged_lines = lines.clone();
                forged_lines[number] = ordered(&forged);
                all.push(chained(&forged_lines));
            }
        }
    }
    // Rejections beside no room, some and enough for any party; one place oversold.
    let mut ledger = Ledger::open();
    ledger.append(10, vec![grant(1, 0, &[1, 2], None), grant(2, 1, &[1, 2], None)]);
    ledger.append(20, vec![grant(3, 1, &[3], None)]);
    let second = OPENS / 1_000 + 30;
    let beside = (0..2).map(|slot| rejected(second, Some(slot), 5 + u64::from(slot)));
    ledger.append(90_000, beside.chain([rejected(second - 40, Some(0), 3)]).collect());
    let judged = write(&ledger.read("w").unwrap());
    let checked = check(&judged).unwrap();
    assert_eq!((checked.oversold, checked.undersold), (1, Some(3)));
    assert!(checked.says[5].ends_with("5 cannot be judged."), "{:?}", checked.says);
    all.push(judged);
    let said = python(&all);
    assert_eq!(said.len(), all.len());
    for (text, said) in all.iter().zip(said) {
        let here = check(text).map_or_else(|wrong| wrong.line, |_| 0);
        let (line, what) = said.split_once(' ').unwrap();
        assert_eq!(line.parse::<usize>().unwrap(), here, "{what}; {:?}\n{text}", check(text));
    }
}

/// What both checkers say of statements: those on which they differ, or where they
/// do not say what is expected.
fn judged(all: &[(String, String, bool)]) -> Vec<String> {
    let texts: Vec<String> = all.iter().map(|(_, text, _)| text.clone()).collect();
    let said = python(&texts);
    assert_eq!(said.len(), all.len());
    let mut wrong = Vec::new();
    for ((name, text, holds), said) in all.iter().zip(said) {
        let (line, what) = said.split_once(' ').unwrap();
        let (here, shown) = match check(text) {
            Ok(checked) => (0, format!("{} {:?}", checked.opening, checked.says)),
            Err(wrong) => (wrong.line as i64, wrong.what),
        };
        // What a terminal would obey is not shown to it.
        let plain = |text: &str| text.bytes().all(|c| (b' '..=b'~').contains(&c));
        if (here == 0) != *holds || line.parse() != Ok(here) || !(plain(&shown) && plain(what)) {
            wrong.push(format!("{name}: here {here} ({shown}), in Python {line} ({what})"));
        }
    }
    wrong
}

/// What the Python checker says of each: the line that is wrong, 0 where none is.
fn python(statements: &[String]) -> Vec<String> {
    use std::io::Write as _;
    const RUN: &str = "import sys, check\n\
        def say(*words): print(*words, end='\\0')\n\
        for text in sys.stdin.buffer.read().split(b'\\0'):\n    \
            statement = check.Statement(text)\n    \
            try: say(0, statement.check()[0]['opening'])\n    \
            except check.Wrong as wrong: say(statement.line, wrong)\n    \
            except Exception as wrong: say(-1, type(wrong))\n";
    let mut child = std::process::Command::new("python3")
        .args(["-B", "-c", RUN])
        .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/statement"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut into = child.stdin.take().unwrap();
    into.write_all(statements.join("\0").as_bytes()).unwrap();
    drop(into);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    said.split_terminator('\0').map(str::to_owned).collect()
}

/// A statement names every reason that there is, and one of a later release.
#[test]
fn refusals_of_every_reason_stand_in_a_statement_that_both_checkers_take() {
    let tally = |reason| RejectionCount {
        slot: None,
        reason,
        second: OPENS / 1_000 + 30,
        channel: None,
        count: 1,
    };
    let numbers = Reason::ALL.iter().map(|reason| reason.number()).chain([u16::MAX]);
    let digest = RejectionDigest { opening: 0, tallies: numbers.map(tally).collect() };
    let mut ledger = Ledger::open();
    ledger.append(90_000, vec![Entry::Rejections(digest)]);
    let text = write(&ledger.read("w").unwrap());
    for name in Reason::ALL.iter().map(|reason| reason.name()).chain(["unknown"]) {
        assert_eq!(text.matches(&format!(r#""reason":"{name}""#)).count(), 1, "{name}: {text}");
    }
    assert_eq!(check(&text).unwrap().totals.rejected, Reason::ALL.len() as u64 + 1);
    assert_eq!(
        python(&[text]),
        ["0 w"],
        "docs/examples/statement/check.py does not take it: are all names in its `REASONS`?"
    );
}

/// The example that is shipped is what this release writes.
#[test]
fn the_shipped_example_is_this_one() {
    let file =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/statement/example.statement");
    if std::env::var_os("GILIRAN_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(file, written()).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(file).unwrap(),
        written(),
        "{file} is another: where that is meant, write it anew with \
         `GILIRAN_BLESS=1 cargo test -p giliran-history the_shipped_example`"
    );
}
