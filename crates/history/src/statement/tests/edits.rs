//! Statements that a forger has edited and chained anew: what is another statement, and
//! what is none.

use super::{chained, judged, lines, written};

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
