//! A statement that was written holds; one that was changed anywhere does not.

use giliran_verify::statement::{SOLD_OUT, Totals, ZERO, check, hashed};
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

/// What stands in a line, and what a forger puts in its place before chaining all
/// anew: what makes another statement, and what makes none.
const EDITS: &[(&str, &[&str], &[&str])] = &[
    (
        r#"{"slot":0,"office":"batam""#,
        &[],
        &[
            r#"{ "slot":0,"office":"batam""#,
            r#" {"slot":0,"office":"batam""#,
            r#"{"\u0073lot":0,"office":"batam""#,
            r#"{"office":"batam","slot":0"#,
            r#"{"slot":0,"slot":0,"office":"batam""#,
            r#"{"slot":-0,"office":"batam""#,
            r#"{"slot":0,"office":"""#,
            r#"{"slot":0,"office":"Batam""#,
            r#"{"slot":0,"office":null"#,
        ],
    ),
    (
        r#"{"slot":1,"office""#,
        &[],
        &[r#"{"slot":true,"office""#, r#"{"slot":1.0,"office""#, r#"{"slot":2,"office""#],
    ),
    (
        r#""date":"2026-11-30","session":"all""#,
        &[r#""date":"2026-12-02","session":"noon-2""#],
        &[
            r#""session":"all","date":"2026-11-30""#,
            r#""date":"2026-11-31","session":"all""#,
            r#""date":"0000-11-30","session":"all""#,
            r#""date":"1999-12-31","session":"all""#,
            r#""date":"9999-12-30","session":"all""#,
            r#""date":"20261130","session":"all""#,
            r#""date":"2026-W48-1","session":"all""#,
            "\"date\":\"2026-11-3\u{660}\",\"session\":\"all\"",
            r#""date":" 2026-11-30","session":"all""#,
            r#""date":"2026-11-30\n","session":"all""#,
            r#""date":"2026-11-30","session":"all\n""#,
        ],
    ),
    (
        r#""quota":3}"#,
        &[],
        &[
            r#""quota":65000,"quota":3}"#,
            r#""quota":65536}"#,
            r#""quota":3,"seq":3}"#,
            r#""quota":3.0}"#,
            r#""quota":-1}"#,
        ],
    ),
    (
        r#"{"giliran_statement":1"#,
        &[],
        &[
            "\u{feff}{\"giliran_statement\":1",
            r#"{"giliran_statement":true"#,
            r#"{"giliran_statement":1.0"#,
            r#"{"giliran_statement":2"#,
        ],
    ),
    (
        r#""ledger":"05050505050505050505050505050505""#,
        &[],
        &[
            r#""ledger":"0505050505050505050505050505050A""#,
            r#""ledger":"05050505050505050505050505050505\n""#,
        ],
    ),
    (
        r#""opening":"w""#,
        &[r#""opening":"2026-W49""#],
        &[
            r#""opening":"""#,
            r#""opening":"w w""#,
            r#""opening":"w\n""#,
            r#""opening":"w\nseal 00""#,
            r#""opening":"w\u001b[2J""#,
            "\"opening\":\"w\u{1b}[2J\"",
            "\"opening\":\"w\u{9b}2J\"",
            r#""opening":"\ud800""#,
            r#""opening":"w\u0000""#,
            r#""opening":"01234567890123456789012345678901234567890""#,
            r#""opening":null"#,
            r#""opening":["w"]"#,
        ],
    ),
    (
        r#""timezone":"Asia/Jakarta""#,
        &[r#""timezone":"Asia/Makassar""#],
        &[
            r#""timezone":"Asia\/Jakarta""#,
            r#""timezone":"Asia/\u004aakarta""#,
            "\"timezone\":\"Asia/J\u{e4}karta\"",
            r#""timezone":"Mars","timezone":"Asia/Jakarta""#,
        ],
    ),
    (
        r#""opens_at":"2026-11-27T07:00:00.000Z""#,
        &[
            r#""opens_at":"2000-01-01T00:00:00.000Z""#,
            r#""opens_at":"9999-12-29T23:59:59.999Z""#,
            r#""opens_at":"2028-02-29T23:59:59.999Z""#,
        ],
        &[
            r#""opens_at":"9999-12-30T00:00:00.000Z""#,
            r#""opens_at":"9999-12-31T23:59:59.999Z""#,
            r#""opens_at":"0000-01-01T00:00:00.000Z""#,
            r#""opens_at":"1999-12-31T23:59:59.999Z""#,
            r#""opens_at":"2026-02-29T00:00:00.000Z""#,
            r#""opens_at":"2026-W48-3T07:00:00.000Z""#,
            r#""opens_at":"2026-11-27 07:00:00.000Z""#,
            r#""opens_at":"2026-11-27t07:00:00.000Z""#,
            r#""opens_at":"2026-11-27T07:00:00.000z""#,
            r#""opens_at":"20261127T070000.000Z""#,
            r#""opens_at":"2026-11-27T07:00.000Z""#,
            r#""opens_at":"2026-11-27T07.000Z""#,
            r#""opens_at":"2026-11-27.000Z""#,
            r#""opens_at":"2026-11-27T07:00:00.0000Z""#,
            r#""opens_at":"2026-11-27T07:00:00.00Z""#,
            r#""opens_at":"2026-11-27T07:00:00Z""#,
            r#""opens_at":"2026-11-27T07:00:00,5.000Z""#,
            r#""opens_at":"2026-11-27T07:00:00.123456.000Z""#,
            r#""opens_at":"2026-11-27T07:00:00.000+00:00""#,
            r#""opens_at":"2026-11-27T07:00:00+00:00.000Z""#,
            r#""opens_at":"2026-11-27T07:00:60.000Z""#,
            r#""opens_at":"2026-11-27T24:00:00.000Z""#,
            r#""opens_at":"+2026-11-27T07:00:00.000Z""#,
            "\"opens_at\":\"2026-11-27T07:00:00.\u{667}\u{660}\u{668}Z\"",
            "\"opens_at\":\"\u{662}026-11-27T07:00:00.000Z\"",
            r#""opens_at":"2026-11-27T07:00:00.000Z\n""#,
            r#""opens_at":1795762800000"#,
        ],
    ),
    (
        r#""order":"first-come""#,
        &[r#""order":"rounds 250 ms""#],
        &[r#""order":"fair\n- No oversell""#, r#""order":7"#],
    ),
    (
        r#""max_party":2"#,
        &[r#""max_party":5"#],
        &[r#""max_party":2.0"#, r#""max_party":6"#, r#""max_party":0"#],
    ),
    (
        r#""hold_ms":null"#,
        &[r#""hold_ms":900000"#, r#""hold_ms":0"#, r#""hold_ms":18446744073709551615"#],
        &[
            r#""hold_ms":18446744073709551616"#,
            r#""hold_ms":"x""#,
            r#""hold_ms":NaN"#,
            r#""hold_ms":Infinity"#,
            r#""hold_ms":-1"#,
            r#""hold_ms":{}"#,
            r#""hold_ms":1.5"#,
            r#""hold_ms":1e3"#,
            r#""hold_ms":false"#,
        ],
    ),
    (r#","hold_ms":null"#, &[], &[""]),
    (
        r#""seq":3,"block":"#,
        &[r#""seq":0,"block":"#],
        &[
            r#""seq":-3,"block":"#,
            r#""seq":-0,"block":"#,
            r#""seq":03,"block":"#,
            r#""seq":3.0,"block":"#,
            r#""seq":"3","block":"#,
        ],
    ),
    (
        r#"{"seq":5,"time":"2026-11-27T07:00:00.010Z""#,
        &[],
        &[
            r#"{"seq": 5,"time":"2026-11-27T07:00:00.010Z""#,
            r#"{"seq":5,"time":"2026-11-27T07:00:00.0100Z""#,
        ],
    ),
    (
        r#""time":"2026-11-27T07:00:00.000Z","block":"#,
        &[],
        &[r#""time":"0000-11-27T07:00:00.000Z","block":"#],
    ),
    (
        r#"[{"did":"opened"}]"#,
        &[],
        &[
            "5",
            "null",
            r#""x""#,
            "{}",
            "[null]",
            "[[]]",
            r#"[{"did":["opened"]}]"#,
            r#"[{"did":"opened"},]"#,
            r#"[{"did":"opened","slot":null,"free":null}]"#,
            r#"[{"did":"opened","at":null}]"#,
            r#"[{"did":"opened","x":1}]"#,
            r#"[{"did":"closed","did":"opened"}]"#,
        ],
    ),
    (
        r#"{"did":"closed"}]}"#,
        &[],
        &[
            "{\"did\":\"closed\"}]}\r",
            r#"{"did":"closed"}],"x":DEEP}"#,
            "DEEP]}",
            r#"{"did":"closed"}]} "#,
        ],
    ),
    (
        r#"{"did":"granted","slot":0,"places":3,"#,
        &[],
        &[
            r#"{"did":"granted","places":3,"slot":0,"#,
            r#"{"did":"granted","places":77,"slot":0,"places":3,"#,
            r#"{"did":"granted","slot":0,"places":3,"withheld":null,"#,
            r#"{"did":"granted","slot":-1,"places":3,"#,
            r#"{"did":"granted","slot":4294967296,"places":3,"#,
            r#"{"did":"granted","slot":0,"places":4294967296,"#,
            r#"{"did":"granted","slot":0,"places":3e0,"#,
            r#"{"did":"granted","slot":0,"places":3.0,"#,
            r#"{"did":"granted","slot":0,"places":"3","#,
        ],
    ),
    (
        r#""slot":1,"places":1,"withheld":0"#,
        &[],
        &[
            r#""slot":1,"places":1,"withheld":false"#,
            r#""slot":1,"places":1,"withheld":-1"#,
            r#""slot":1,"places":1,"withheld":0.0"#,
            r#""slot":1,"places":1,"withheld":null"#,
        ],
    ),
    (
        r#""to":1,"free":3"#,
        &[],
        &[
            r#""to":5000000000,"free":3"#,
            r#""to":65537,"free":3"#,
            r#""to":-1,"free":3"#,
            r#""to":1.0,"free":3"#,
            r#""to":true,"free":3"#,
        ],
    ),
    (
        r#""to":1,"free":0"#,
        &[],
        &[r#""to":2,"free":0"#, r#""to":true,"free":0"#, r#""to":-1,"free":0"#],
    ),
    (
        r#""operator":"siti","why":"two desks, „Schalter“""#,
        &[
            r#""operator":"\"\\","why":"مكتب 办公室 🛂""#,
            r#""operator":"0123456789012345678901234567890123456789012345678901234567890123","why":" ""#,
        ],
        &[
            r#""operator":"","why":"two desks, „Schalter“""#,
            r#""operator":"siti","why":"""#,
            r#""operator":"siti""#,
            r#""why":"two desks, „Schalter“","operator":"siti""#,
            r#""operator":"siti","why":null"#,
            r#""operator":["siti"],"why":"two desks""#,
            r#""operator":"siti","why":"\u201eSchalter""#,
            r#""operator":"siti","why":"a\nb""#,
            r#""operator":"siti","why":"\u001b[2J""#,
            r#""operator":"siti","why":"\u007f""#,
            "\"operator\":\"siti\",\"why\":\"\u{7f}\"",
            "\"operator\":\"siti\",\"why\":\"\u{85}\"",
            "\"operator\":\"siti\",\"why\":\"\u{202e}counter\"",
            "\"operator\":\"siti\",\"why\":\"\u{2066}\"",
            "\"operator\":\"siti\",\"why\":\"\u{feff}\"",
            "\"operator\":\"siti\",\"why\":\"\u{fdd0}\"",
            "\"operator\":\"siti\",\"why\":\"\u{ffff}\"",
            "\"operator\":\"siti\",\"why\":\"\u{10fffe}\"",
            r#""operator":"siti","why":"\ud800""#,
            r#""operator":"01234567890123456789012345678901234567890123456789012345678901234","why":"x""#,
            r#""operator":"ééééééééééééééééééééééééééééééééé","why":"x""#,
        ],
    ),
    (
        r#""at":"2026-11-27T07:01:30.000Z""#,
        &[],
        &[
            r#""at":"9999-12-30T00:00:00.000Z""#,
            r#""at":"2026-11-27T07:01:60.000Z""#,
            r#""at":null"#,
        ],
    ),
    (
        r#""second":1795762808,"count":7"#,
        &[],
        &[
            r#""second":9223372036854775808,"count":7"#,
            r#""second":1795762808.0,"count":7"#,
            r#""second":null,"count":7"#,
        ],
    ),
    (
        r#""count":7"#,
        &[],
        &[
            r#""count":-7"#,
            r#""count":7.0"#,
            r#""count":18446744073709551616"#,
            r#""count":99999999999999999999999"#,
        ],
    ),
    (
        r#"{"end":{"state":"closed","seq":12,"time":"2026-11-27T07:01:30.000Z""#,
        &[],
        &[
            r#"{"end":{"state":"open","state":"closed","seq":12,"time":"2026-11-27T07:01:30.000Z""#,
            r#"{"end":{"state":"closed\u001b[2J","seq":12,"time":"2026-11-27T07:01:30.000Z""#,
            r#"{"end":{"state":"closed","seq":18446744073709551616,"time":"2026-11-27T07:01:30.000Z""#,
            r#"{"end":{"state":"closed","seq":12,"time":"9999-12-31T07:01:30.000Z""#,
            r#"{"end":{"seq":12,"state":"closed","time":"2026-11-27T07:01:30.000Z""#,
        ],
    ),
    (r#""totals":{"#, &[], &[r#""totals":{"sold_out":12345,"#, r#""totals": {"#]),
    (
        r#""moved":0"#,
        &[],
        &[r#""moved":0.0"#, r#""moved":false"#, r#""moved":-0"#, r#""moved":null"#],
    ),
    (r#""revoked":1"#, &[], &[r#""revoked":true"#, r#""revoked":1.0"#]),
    (
        r#""oversold":0,"undersold":0"#,
        &[],
        &[
            r#""undersold":0,"oversold":0"#,
            r#""oversold":0.0,"undersold":0"#,
            r#""oversold":false,"undersold":0"#,
            r#""oversold":-0,"undersold":0"#,
            r#""oversold":null,"undersold":0"#,
            r#""oversold":9,"oversold":0,"undersold":0"#,
            r#""oversold":0,"extra":0,"undersold":0"#,
            r#""oversold":0,"undersold":false"#,
            r#""oversold":0,"undersold":null"#,
        ],
    ),
    (
        r#""unclear":2,"says":["#,
        &[],
        &[r#""unclear":2,"says": ["#, r#""unclear":2,"says":["All is well."],"says":["#],
    ),
];

/// The statement after an edit.
fn edited(lines: &[String], from: &str, to: &str) -> String {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let mut edited = lines.to_vec();
    let line = edited.iter_mut().find(|line| line.contains(from));
    let line = line.unwrap_or_else(|| panic!("no line has {from}"));
    *line = line.replacen(from, &to.replace("DEEP", &deep), 1);
    chained(&edited)
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

#[test]
fn there_is_one_way_to_write_a_statement_and_both_checkers_know_it() {
    let lines = lines(&written());
    let mut all = Vec::new();
    for (from, others, none) in EDITS {
        for (to, holds) in
            others.iter().map(|to| (to, true)).chain(none.iter().map(|to| (to, false)))
        {
            all.push((format!("{from} -> {to}"), edited(&lines, from, to), holds));
        }
    }
    let wrong = judged(&all);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

/// What a story of an opening comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// It may have happened, with so many places oversold.
    Oversold(u64),
    /// It cannot have happened: from this block on, the first is 1.
    Not(usize),
}
use Verdict::{Not, Oversold};

/// Blocks, and in them changes of two slots of 3 and 2 places: what, slot, places or
/// `to` or second, withheld or count. What an engine may write is not oversold.
const STORIES: &[(&str, Verdict)] = &[
    ("opened | granted 0 3 | closed", Oversold(0)),
    ("opened | granted 0 4 | closed", Oversold(1)),
    ("opened | granted 0 4 | quota 0 9", Oversold(1)),
    ("opened; granted 0 1; granted 1 2; closed", Oversold(0)),
    ("opened | granted 0 1 | closed | opened | granted 0 2 | closed", Oversold(0)),
    // Drawn, and given to those who wait, once it has closed.
    ("opened | closed | granted 0 3", Oversold(0)),
    ("granted 0 1 | opened", Not(1)),
    ("closed", Not(1)),
    ("opened | opened", Not(2)),
    ("opened | closed | closed", Not(3)),
    // Reserved, halted.
    ("opened | reserved 0 3 | granted 0 3", Oversold(3)),
    ("opened | reserved 0 2 | granted 0 2", Oversold(1)),
    ("opened | reserved 0 2 | granted 0 1", Oversold(0)),
    ("opened | granted 0 3 | reserved 0 3", Oversold(0)),
    ("opened | halted 0 1 | granted 0 2", Oversold(2)),
    ("opened | granted 0 1 | halted 0 1 | halted 0 0 | granted 0 2", Oversold(0)),
    ("opened | granted 0 1 | halted 1 1 | moved_in 1 1; moved_out 0 1 0", Oversold(1)),
    // A quota that was lowered is a debt.
    ("opened | granted 0 3 | quota 0 1", Oversold(0)),
    ("opened | granted 0 2 | quota 0 1 | granted 0 1", Oversold(1)),
    ("opened | granted 0 2 | quota 0 1 | granted 0 1 | granted 0 1", Oversold(2)),
    ("opened | quota 0 0 | granted 0 3", Oversold(3)),
    ("opened | quota 0 65535 | granted 0 65535", Oversold(0)),
    ("opened | quota 0 70000", Not(2)),
    ("opened | reserved 0 70000", Not(2)),
    // Withheld places are released to those who get them.
    ("opened | granted 0 3 | cancelled 0 3 3 | granted 0 3", Oversold(3)),
    ("opened | granted 0 3 | cancelled 0 3 3 | released 0 1 | granted 0 3", Oversold(2)),
    ("opened | granted 0 3 | cancelled 0 3 3 | released 0 3; granted 0 3", Oversold(0)),
    ("opened | granted 0 3 | cancelled 0 3 3 | released 0 4", Not(4)),
    // They pay a debt first; what is left is drawn, in the block that releases it.
    (
        "opened | granted 0 3 | cancelled 0 3 3 | quota 0 2 | released 0 1; granted 0 1; \
         released 0 1; granted 0 1 | released 0 1",
        Oversold(0),
    ),
    (
        "opened | granted 0 3 | cancelled 0 3 3 | quota 0 2 | released 0 1; granted 0 1; \
         released 0 1; granted 0 1; released 0 1; granted 0 1",
        Oversold(1),
    ),
    (
        "opened | granted 0 3 | cancelled 0 3 3 | quota 0 2 | released 0 1 | granted 0 1",
        Oversold(1),
    ),
    (
        "opened | granted 0 3 | cancelled 0 3 3 | quota 0 3 | reserved 0 2 | released 0 1; \
         granted 0 1; released 0 1; granted 0 1",
        Oversold(1),
    ),
    // A booking moves whole, in one block.
    ("opened | granted 0 1 | moved_in 1 1; moved_out 0 1 0", Oversold(0)),
    ("opened | granted 0 1; granted 1 2 | moved_in 1 1; moved_out 0 1 1", Oversold(1)),
    ("opened | granted 0 2 | moved_in 1 1; moved_out 0 2 0; moved_in 1 1", Oversold(0)),
    ("moved_in 0 1; moved_out 0 1 0 | opened", Not(1)),
    ("opened | granted 0 2 | moved_out 0 1 0", Not(3)),
    ("opened | granted 0 2 | moved_in 1 1", Not(3)),
    ("opened | granted 0 2 | moved_in 1 1 | moved_out 0 1 0", Not(3)),
    ("opened | granted 0 2 | moved_in 1 1; moved_out 0 2 0", Not(3)),
    // A lapsed booking is revived, in its slot and once.
    ("opened | granted 0 1 | expired 0 1 0 | revived 0 1", Oversold(0)),
    ("opened | granted 0 3 | expired 0 2 2 | released 0 2; revived 0 2", Oversold(0)),
    ("opened | granted 0 1 | expired 0 1 0 | granted 0 3 | revived 0 1", Oversold(1)),
    ("opened | revived 0 2", Not(2)),
    ("opened | granted 0 1 | expired 0 1 0 | revived 1 1", Not(4)),
    ("opened | granted 0 2 | expired 0 1 0 | revived 0 2", Not(4)),
    ("opened | granted 0 1 | cancelled 0 1 0 | revived 0 1", Not(4)),
    ("opened | granted 0 1 | expired 0 1 0 | revived 0 1 | revived 0 1", Not(5)),
    // More than there can be.
    ("opened | granted 0 1 | cancelled 0 2 0", Not(3)),
    ("opened | granted 0 1 | cancelled 0 1 2", Not(3)),
    ("opened | granted 2 1", Not(2)),
    ("refused 0 9 18446744073709551615 | opened", Oversold(0)),
    ("refused 0 9 9223372036854775808 | refused 0 9 9223372036854775808", Not(2)),
    ("refused 0 9 9223372036854775808; refused 1 9 9223372036854775808", Not(1)),
];

/// A story's statement, with the sums that a forger would give it.
fn told(story: &str) -> String {
    let mut lines = Lines::default();
    let text = written();
    for line in &self::lines(&text)[..3] {
        lines.last = hashed(&lines.last, line);
        lines.text.push_str(&format!("{} {line}\n", lines.last));
    }
    let mut account = Account::new(2);
    let quotas = [3, 2].map(|quota| {
        account.slot(quota);
        i64::from(quota)
    });
    let mut free = [quotas[0], quotas[1], 0];
    let (mut quotas, mut reserved) = ([quotas[0], quotas[1], 0], [0; 3]);
    let (mut seq, block) = (3, "ab".repeat(32));
    let mut time = Timestamp::from_millis(OPENS);
    for changes in story.split('|') {
        (seq, time) = (seq + 1, Timestamp::from_millis(OPENS + 1_000 * (seq as i64 - 3)));
        let mut said = Vec::new();
        for change in changes.split(';') {
            let words: Vec<&str> = change.split_whitespace().collect();
            let number = |i: usize| words.get(i).map(|word| word.parse::<u64>().unwrap());
            let mut line = ChangeLine { did: words[0].to_owned(), ..ChangeLine::default() };
            line.slot = number(1).map(|slot| slot as u32);
            let slot = line.slot.unwrap_or(0) as usize;
            let n = number(2).unwrap_or(0) as i64;
            match words[0] {
                "opened" | "closed" => {}
                "refused" => {
                    line.reason = Some(SOLD_OUT.to_owned());
                    line.second = Some(OPENS / 1_000 + n);
                    line.count = number(3);
                }
                "quota" | "reserved" | "halted" => {
                    line.to = Some(n as u32);
                    (line.operator, line.why) = (Some("siti".into()), Some("counter".into()));
                    match words[0] {
                        "quota" => free[slot] += n - std::mem::replace(&mut quotas[slot], n),
                        "reserved" => free[slot] -= n - std::mem::replace(&mut reserved[slot], n),
                        _ => {}
                    }
                }
                did => {
                    line.places = Some(n as u32);
                    line.withheld = number(3).map(|n| n as u32);
                    let back = n - number(3).unwrap_or(0) as i64;
                    free[slot] += match did {
                        "granted" | "revived" | "moved_in" => -n,
                        _ => back,
                    };
                }
            }
            if !["opened", "closed", "refused"].contains(&words[0]) {
                line.free = Some(free[slot]);
            }
            if let Ok(change) = line.to_change() {
                let _ = account.apply((seq, time.as_millis()), &change);
            }
            said.push(line);
        }
        let _ = account.end_block();
        lines.add(&BlockLine { seq, time, block: block.clone(), changes: said });
    }
    let end = End { state: account.state().to_owned(), seq, time, block };
    lines.add(&account.closing(end));
    lines.text
}

#[test]
fn what_no_engine_does_is_refused_or_oversold_for_both_checkers() {
    let all: Vec<(String, String, bool)> = STORIES
        .iter()
        .map(|(story, verdict)| ((*story).to_owned(), told(story), matches!(verdict, Oversold(_))))
        .collect();
    let mut wrong = judged(&all);
    for ((story, verdict), (_, text, _)) in STORIES.iter().zip(&all) {
        let found = match check(text) {
            Ok(checked) => Oversold(checked.oversold),
            // The head and two slots come first.
            Err(wrong) => Not(wrong.line - 3),
        };
        if found != *verdict {
            wrong.push(format!("{story}: {found:?}, not {verdict:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
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
fn rejections_of_every_reason_stand_in_a_statement_that_both_checkers_take() {
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
