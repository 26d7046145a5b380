//! An opening that took place: its report, its statement, and its requests in
//! another order, from the ledger and from what its clients saw.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use giliran_wire::client_log;
use serde_json::{Value, json};

use crate::rig::{Rig, attempts, config, text};

/// Returned places are available at once.
fn returning(quota: u32) -> String {
    format!("{}[rules.returns]\ncancelled = \"immediate\"\n", config(quota))
}

impl Rig {
    /// A command that must fail like this, with these words.
    fn fails(&self, arguments: &[&str], expected: i32, words: &str) {
        let (code, out, said) = self.run(arguments);
        assert_eq!((code, said.contains(words)), (expected, true), "{arguments:?}: {out}{said}");
        let messages = said.lines().filter(|line| line.starts_with("giliran: ")).count();
        assert_eq!(messages, 1, "{said}");
    }

    async fn cancel(&self, booking: &str, applicant: &str) {
        let request = json!({ "request_id": format!("c-{booking}"), "booking": booking, "applicant": applicant });
        let answer = self.ask("cancel", request.to_string()).await.expect("an answer");
        assert_eq!(answer["booking"]["status"], "cancelled", "{answer}");
    }
}

/// The checker in `docs/examples`: exit code, and what it printed.
fn python(file: &Path) -> (i32, String) {
    let checker = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/statement/check.py");
    let output = Command::new("python3").args(["-B", checker, text(file)]).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8(told).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_that_took_place() {
    let rig = Rig::new(&returning(30)).await;
    rig.init();
    let _engine = rig.serve("a");
    rig.open().await;
    rig.surge(400, 800).1.await.unwrap();
    let clients = rig.path("clients.jsonl");
    let seen = attempts(&clients);
    let booked: HashSet<&str> =
        seen.iter().filter_map(|attempt| Some(attempt.booking.as_ref()?.id.as_str())).collect();
    let of_one =
        |attempt: &&client_log::Attempt| attempt.booking.is_some() && attempt.applicants.len() == 1;
    let mut alone: Vec<(&str, &str)> = Vec::new();
    for attempt in seen.iter().filter(of_one) {
        let id = attempt.booking.as_ref().unwrap().id.as_str();
        if alone.iter().all(|(there, _)| *there != id) {
            alone.push((id, &attempt.applicants[0]));
        }
    }
    // Three give their place back; two of these go to one account, whose own was one
    // of them.
    for (id, applicant) in &alone[..3] {
        rig.cancel(id, applicant).await;
    }
    for n in 0..2 {
        let any = ["alpha", "beta"].map(|office| json!({ "office": office }));
        let request = json!({
            "request_id": format!("late{n}"), "applicants": [format!("late{n}")], "choices": any,
            "account": "scalper-7",
        });
        assert_eq!(rig.book(&request).await["outcome"], "granted");
    }

    let sold_out = |attempt: &&client_log::Attempt| attempt.reason.as_deref() == Some("sold_out");
    digested(&rig, seen.iter().filter(sold_out).count());
    caught(&rig, &clients, &seen);
    reported(&rig, &clients, booked.len());
    stated(&rig);
    replayed(&rig, &clients);
    archived(&rig).await;
}

/// Waits until every rejection that clients saw is on record; they are counted by the
/// second.
fn digested(rig: &Rig, sold_out: usize) {
    assert!(sold_out > 0);
    let json = rig.path("waiting.json");
    let since = Instant::now();
    loop {
        rig.done(&["fairness", "--from-ledger", "--opening", "w", "--json", text(&json)]);
        let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        let counted = &report["refusals"]["sold_out"];
        if *counted == sold_out {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(15), "{counted} of {sold_out}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Somebody claims to have been told `sold_out` when nothing was taken yet.
fn caught(rig: &Rig, clients: &Path, seen: &[client_log::Attempt]) {
    let first_grant =
        seen.iter().filter(|attempt| attempt.booking.is_some()).filter_map(|a| a.seq).min();
    let log = std::fs::read_to_string(clients).unwrap();
    let refused = log.lines().find(|line| line.contains("\"sold_out\"")).unwrap();
    let mut claim: Value = serde_json::from_str(refused).unwrap();
    claim["seq"] = (first_grant.unwrap() - 1).into();
    let forged = rig.path("forged.jsonl");
    std::fs::write(&forged, format!("{claim}\n")).unwrap();
    let (code, said, _) = rig.run(&["audit", "--client-log", text(&forged)]);
    assert_eq!(code, 1, "{said}");
    let broken: Vec<&str> = said.lines().filter(|line| line.contains("BROKEN")).collect();
    assert!(
        matches!(broken[..], [only] if only.contains("`sold_out` while there is room")),
        "{said}"
    );
}

/// `giliran fairness --from-ledger`, with and without what clients saw.
fn reported(rig: &Rig, clients: &Path, booked: usize) {
    let (json, html, csv) = (rig.path("report.json"), rig.path("report.html"), rig.path("csv"));
    let from_ledger = ["fairness", "--from-ledger", "--opening", "w"];
    let files = ["--json", text(&json), "--html", text(&html), "--csv", text(&csv)];
    let said = rig.done(&[&from_ledger[..], &files[..]].concat());
    assert!(said.contains("PRELIMINARY") && said.contains("No rejection is known"), "{said}");
    let read = || -> Value { serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap() };
    let report = read();
    let measures = &report["measures"];
    assert_eq!(measures["quota"], 100.0);
    assert_eq!(measures["bookings"], (booked + 2) as f64);
    assert_eq!((&measures["cancelled"], &measures["oversold"]), (&3.0.into(), &0.0.into()));
    assert_eq!((&measures["undersold"], &report["asked_are"]), (&0.0.into(), &"requests".into()));
    assert_eq!(measures["came_back"], 3.0);
    assert_eq!(measures["regranted"], 2.0);
    assert!(measures["inversion"].is_null() && measures["scalper_share"].is_null());
    assert!(report["unknown"]["inversion"].as_str().unwrap().contains("gateway log"));
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("<svg") && !page.contains("http"), "needs no network");
    assert!(csv.join("measures.csv").exists());

    let log = ["--gateway-log", text(clients)];
    let said = rig.done(&[&from_ledger[..], &files[..], &log[..]].concat());
    assert!(said.contains("does not know 2 of the bookings"), "{said}");
    let report = read();
    let measures = &report["measures"];
    assert_eq!((&measures["undersold"], &measures["oversold"]), (&0.0.into(), &0.0.into()));
    assert!(measures["refused"].as_f64().unwrap() > 0.0);
    let inversion = measures["inversion"].as_f64().unwrap();
    assert!(inversion < 0.5, "first come, first served: {inversion}");
    // Whoever asked has one group by size.
    let sizes = report["groups"].as_array().unwrap().iter().filter(|g| g["kind"] == "party of");
    let asked: u64 = sizes.map(|group| group["asked"].as_u64().unwrap()).sum();
    assert_eq!(asked as f64, measures["parties"].as_f64().unwrap());

    // A page that knows of fewer grants than the ledger, and one of something else.
    let page = rig.path("metrics.txt");
    let counted = "giliran_requests_total{outcome=\"granted\",reason=\"\"} 1\n";
    std::fs::write(&page, counted).unwrap();
    let metrics = ["--metrics", text(&page)];
    let said = rig.done(&[&from_ledger[..], &metrics[..]].concat());
    assert!(said.contains("The metrics tell of 1 grants"), "{said}");
    std::fs::write(&page, "up 1\n").unwrap();
    rig.fails(&[&from_ledger[..], &metrics[..]].concat(), 2, "under /metrics");

    rig.fails(&["fairness", "--from-ledger"], 2, "--opening ID");
    rig.fails(&["fairness", "--from-ledger", "--opening", "v"], 2, "there are: w");
    let other = rig.path("other.jsonl");
    let elsewhere = "{\"sent_us\":1,\"request_id\":\"x\",\"opening\":\"v\"}\n";
    std::fs::write(&other, elsewhere).unwrap();
    let other_log = ["--gateway-log", text(&other)];
    rig.fails(&[&from_ledger[..], &other_log[..]].concat(), 2, "its lines name v");
    let strange = "{\"sent_us\":1,\"request_id\":\"x\",\"booking\":{\"id\":\"0000-0000-0000-0000\",\
                   \"office\":\"a\",\"date\":\"b\",\"session\":\"c\",\"numbers\":[1]}}\n";
    std::fs::write(&other, strange).unwrap();
    rig.fails(&[&from_ledger[..], &other_log[..]].concat(), 2, "is not of opening");
    std::fs::write(&other, "{}\n").unwrap();
    rig.fails(&[&from_ledger[..], &other_log[..]].concat(), 2, "line 1");
}

/// `giliran statement`, checked, by the Python checker too; and refused once changed.
fn stated(rig: &Rig) {
    let file = rig.path("w.statement");
    let said = rig.done(&["statement", "--opening", "w", "--out", text(&file)]);
    assert!(
        said.contains("No oversell")
            && said.contains("No undersell")
            && said.contains("Returned: 3 "),
        "{said}"
    );
    let checked = rig.done(&["statement", "--check", text(&file)]);
    rig.done(&["statement", "--check", text(&file), "--against-ledger"]);
    let (code, told) = python(&file);
    assert_eq!(code, 0, "{told}");
    assert!(checked.starts_with(&told), "{checked}{told}");
    let statement = std::fs::read_to_string(&file).unwrap();
    assert_eq!(rig.done(&["statement", "--opening", "w"]), statement);

    edited(rig, &statement);

    let tampered = rig.path("tampered.statement");
    let check = ["statement", "--check", text(&tampered)];
    std::fs::write(&tampered, statement.replacen("\"places\":1", "\"places\":2", 1)).unwrap();
    rig.fails(&check, 1, "this line was changed");
    assert_eq!(python(&tampered).0, 1);
    std::fs::write(&tampered, &statement[..statement.len() / 2]).unwrap();
    rig.fails(&check, 1, "incomplete");
    assert_eq!(python(&tampered).0, 1);
    rig.fails(&["statement", "--check", text(&rig.path("none"))], 2, "none");
    rig.fails(&["statement", "--check", text(&file), "--opening", "v"], 1, "is of opening \"w\"");
    rig.fails(&["statement", "--opening", "v"], 2, "there are: w");

    // It is known at once that nothing can be written there.
    for out in [rig.path("no/where.statement"), rig.folder.path().to_owned()] {
        rig.fails(&["statement", "--opening", "none", "--out", text(&out)], 2, "--out");
    }
    // Of another ledger: what was checked is wrong, not how.
    let ledger = &statement[statement.find("\"ledger\":\"").unwrap()..][..43];
    let of_another = "\"ledger\":\"0123456789abcdef0123456789abcdef\"";
    let against = [&check[..], &["--against-ledger"]].concat();
    for (from, to, words) in [
        ("\"opening\":\"w\"", "\"opening\":\"v\"", "has no opening \"v\""),
        (ledger, of_another, "is of ledger 0123456789abcdef0123456789abcdef, not of"),
    ] {
        std::fs::write(&tampered, chained(&statement.replacen(from, to, 1))).unwrap();
        rig.done(&check);
        rig.fails(&against, 1, words);
    }
}

/// The statement, its lines chained anew.
fn chained(text: &str) -> String {
    const CHAIN: &str = "import sys, hashlib\n\
        last = b'0' * 64\n\
        for line in sys.stdin.buffer.read().split(b'\\n')[:-1]:\n    \
            line = line.split(b' ', 1)[1]\n    \
            last = hashlib.sha256(last + b' ' + line).hexdigest().encode()\n    \
            sys.stdout.buffer.write(last + b' ' + line + b'\\n')\n";
    let mut child = Command::new("python3")
        .args(["-c", CHAIN])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut into, text) = (child.stdin.take().unwrap(), text.to_owned());
    let writing = std::thread::spawn(move || into.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Edits chained anew: both checkers end with the same exit code, and show nothing
/// that a terminal would obey.
fn edited(rig: &Rig, statement: &str) {
    let file = rig.path("edited.statement");
    let judged = |bytes: &[u8], expected: i32, what: &str| {
        std::fs::write(&file, bytes).unwrap();
        let (code, out, said) = rig.run(&["statement", "--check", text(&file)]);
        let (there, told) = python(&file);
        assert_eq!((code, there), (expected, expected), "{what}: {out}{said}{told}");
        let plain = |c: char| c == '\n' || (' '..='~').contains(&c);
        assert!([&out, &said, &told].iter().all(|t| t.chars().all(plain)), "{what}: {out}{said}");
        assert!(!told.contains("Traceback"), "{what}: {told}");
    };
    for (from, to, expected) in [
        ("\"opening\":\"w\"", "\"opening\":\"2026-W49\"", 0),
        ("\"opening\":\"w\"", "\"opening\":\"w\\u001b[2J\"", 1),
        ("\"opening\":\"w\"", "\"opening\":\"w\\nseal 00\"", 1),
        ("\"opening\":\"w\"", "\"opening\":\"w\u{1b}[2J\"", 1),
        ("\"opening\":\"w\"", "\"opening\":\"\\ud800\"", 1),
        ("\"opens_at\":\"2", "\"opens_at\":\"\u{662}", 1),
        ("\"says\":[", "\"says\":[\"All is well.\"],\"says\":[", 1),
        ("\"oversold\":0", "\"oversold\":0.0", 1),
        ("\"oversold\":0", "\"oversold\":9,\"oversold\":0", 1),
        ("{\"slot\":0,", "{ \"slot\":0,", 1),
        ("[{\"did\":\"opened\"}]", "5", 1),
        ("[{\"did\":\"opened\"}]", "[{\"did\":\"opened\",\"slot\":null}]", 1),
        ("{\"did\":\"opened\"}", "{\"did\":\"\\u001b[2J\"}", 1),
        ("{\"did\":\"opened\"}", "{\"did\":\"opened\",\"\\u001b[2J\":1}", 1),
        (
            "[{\"did\":\"opened\"}",
            "[{\"did\":\"opened\"},{\"did\":\"reserved\",\"slot\":0,\"to\":0,\"free\":30,\"operator\":\"a\",\"why\":\"b\"}",
            0,
        ),
        (
            "[{\"did\":\"opened\"}",
            "[{\"did\":\"opened\"},{\"did\":\"halted\",\"slot\":0,\"to\":1,\"free\":30,\"operator\":\"a\",\"why\":\"b\"}",
            1,
        ),
    ] {
        assert!(statement.contains(from), "{from}");
        judged(chained(&statement.replacen(from, to, 1)).as_bytes(), expected, to);
    }
    judged(format!("\u{feff}{statement}").as_bytes(), 1, "a byte order mark");
    judged(&statement.bytes().flat_map(|b| [b, 0]).collect::<Vec<u8>>(), 1, "UTF-16");
    judged(&[statement.as_bytes(), b"\xff\n"].concat(), 2, "no UTF-8");
    judged(b"", 1, "nothing");
}

fn replayed(rig: &Rig, clients: &Path) {
    let replay = ["replay", "--opening", "w", "--json"];
    let read = |arguments: &[&str]| -> Value {
        serde_json::from_str(&rig.done(&[&replay[..], arguments].concat())).unwrap()
    };
    let alone = read(&["--order", "draw"]);
    assert!(alone["cannot_tell"][0].as_str().unwrap().contains("rejected are missing"));
    let seen = read(&["--gateway-log", text(clients), "--order", "first-come,draw"]);
    assert!(seen["requests"].as_u64() > alone["requests"].as_u64());
    let [first, draw] = [0, 1].map(|i| seen["replayed"][i].clone());
    assert_eq!((&first["order"], &draw["order"]), (&"first-come".into(), &"draw".into()));
    // Whoever came first mostly still gets a place, by lot many others do.
    assert!(first["both"].as_u64() > draw["both"].as_u64(), "{seen}");
    assert!(draw["gained"].as_u64() > Some(0), "{seen}");
}

/// A statement still holds against a ledger that went on and was archived.
async fn archived(rig: &Rig) {
    let roll = json!({ "operator": "siti", "reason": "test" });
    let answer = rig.ask("admin.roll", roll.to_string()).await.expect("an answer");
    assert_eq!(answer["outcome"], "done", "{answer}");
    let folder = rig.path("archive");
    rig.done(&["archive", "--to", text(&folder), "--without-feed"]);
    let file = rig.path("w.statement");
    let check = ["statement", "--check", text(&file), "--against-ledger"];
    rig.fails(&check, 1, "--archive");
    rig.done(&[&check[..], &["--archive", text(&folder)]].concat());
}
