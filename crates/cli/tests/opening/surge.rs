//! `giliran surge` against real engines: one that lives, one that dies, none.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use giliran_nats::clock;
use giliran_wire::{BookingId, Timestamp};
use serde_json::{Value, json};

use crate::rig::{Rig, text};

/// An engine that fits the scenario, as `--config-out` writes it, but for an opening
/// in a moment.
async fn fitting(scenario: &str, more: &[&str], opens_in_ms: u64) -> Rig {
    let rig = Rig::new("").await;
    let file = rig.path("giliran.toml");
    let arguments = [&["surge", "--scenario", scenario], more, &["--config-out"]].concat();
    let (code, _, said) = rig.run(&[&arguments[..], &[text(&file)]].concat());
    assert_eq!(code, 0, "{said}");
    let config = std::fs::read_to_string(&file).unwrap();
    let opens = config.lines().find(|line| line.starts_with("opens_at")).unwrap();
    let soon = format!("opens_at = \"{}\"", clock::now().plus_millis(opens_in_ms));
    std::fs::write(&file, config.replace(opens, &soon)).unwrap();
    rig.init();
    rig
}

fn report(file: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// It ran to its end. A machine that is busy with other tests may make the generator
/// late: then it must say so, and only then.
fn ran((code, shown, said): &(i32, String, String), report: &Value) {
    let run = &report["run"];
    assert_eq!(run["ended"]["how"], "complete", "{said}\n{shown}");
    let late = run["lag"]["p99"].as_f64().unwrap() > 50.0;
    assert_eq!(run["void"].is_string(), late, "{}", run["lag"]);
    assert_eq!(*code, i32::from(late), "{said}\n{shown}");
    assert_eq!(said.contains("void:"), late, "{said}");
    let verdict = report["verdict"].as_array().unwrap();
    assert_eq!(verdict[0].as_str().unwrap().starts_with("Void: "), late, "{verdict:?}");
}

fn figure(report: &Value, name: &str) -> f64 {
    let figures = report["run"]["figures"].as_array().unwrap();
    let figure = figures.iter().find(|figure| figure["name"] == name).unwrap();
    figure["value"].as_f64().unwrap_or_else(|| panic!("no {name}"))
}

/// Waits until an engine says what it has.
async fn answers(rig: &Rig) {
    let since = Instant::now();
    while rig.ask("availability", "{}").await.is_none_or(|a| a["openings"][0]["id"].is_null()) {
        assert!(since.elapsed() < Duration::from_secs(20), "no engine");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The whole of it: the opening is still to come, people refresh, scalpers sprint
/// and poll, everything is asked for several times, and scalpers cancel for their
/// clients. What clients saw is held against ledger and store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surge_on_an_engine_that_lives() {
    let rig = fitting("batam", &["--scale", "0.05"], 9_000).await;
    let _engine = rig.serve("one");
    let _persist = rig.persist(&rig.sqlite());
    answers(&rig).await;
    let (log, html, json) =
        (rig.path("clients.jsonl"), rig.path("surge.html"), rig.path("surge.json"));
    let csv = rig.path("tables");
    let run = ["surge", "--scenario", "batam", "--scale", "0.05", "--speed", "30"];
    let files = ["--log", text(&log), "--html", text(&html), "--json", text(&json), "--csv"];
    let done = rig.run(&[&run[..], &files, &[text(&csv)]].concat());
    let (report, shown) = (report(&json), &done.1);
    ran(&done, &report);
    assert_eq!(report["run"]["people"], 600);
    let series = report["run"]["series"].as_array().unwrap();
    let before: u64 = series.iter().take(10).map(|bin| bin["came"].as_u64().unwrap()).sum();
    let from_s = report["run"]["from_s"].as_f64().unwrap();
    assert!(from_s < -10.0 && before > 0, "people wait for it: {before} from {from_s}");
    let rejected = report["run"]["rejected"].to_string();
    assert!(rejected.contains("not_open") && rejected.contains("sold_out"), "{rejected}");
    assert_eq!(figure(&report, "numbers_twice"), 0.0);
    assert!(figure(&report, "scalper_share") > 0.05, "scalpers are fast");

    let inverted = figure(&report, "inversion_rate");
    println!("inversion rate of first-come, live over NATS: {inverted}");
    assert!(inverted <= 0.01, "{inverted}");

    let facts = rig.audit(&[&rig.sqlite()]).await;
    let told = report["run"]["bookings"].as_u64().unwrap();
    assert_eq!(facts.bookings() as u64, told, "every booking was told to somebody");
    // The ledger with what clients saw tells the same story.
    let again = rig.path("again.json");
    let recorded = ["fairness", "--from-ledger", "--opening", "surge"];
    let files = ["--gateway-log", text(&log), "--json", text(&again)];
    rig.done(&[&recorded[..], &files].concat());
    let again: Value = serde_json::from_slice(&std::fs::read(&again).unwrap()).unwrap();
    let groups = again["groups"].as_array().unwrap();
    let of = |kind: &str, name: &str| groups.iter().any(|g| g["kind"] == kind && g["name"] == name);
    assert!(of("cohort", "scalper sprinters") && of("channel", "web"), "{}", again["groups"]);
    let inverted = again["measures"]["inversion"].as_f64().unwrap();
    assert!(inverted <= 0.05, "{inverted}");
    let page = std::fs::read_to_string(&html).unwrap();
    for sentence in report["verdict"].as_array().unwrap() {
        assert!(shown.contains(sentence.as_str().unwrap()), "{sentence}");
    }
    assert!(page.contains("<svg") && !page.contains("<script"));
    for table in ["measures", "groups", "latency", "series", "deciles"] {
        let table = std::fs::read_to_string(csv.join(format!("{table}.csv"))).unwrap();
        assert!(table.lines().count() > 1, "{table}");
    }
}

/// Some people, some of them at the same office at once, and sprinters, for so many
/// places that they are gone in the first rounds. A hold is for so long that whoever
/// asked is served before it ends.
const CROWD: &str = r#"
name = "crowd"
about = "Rounds and holds, quickly."

[opening]
window_s = 60
hold_s = 30

[offices]
count = 2
days = 2
quota = [30, 20]

[people]
parties = 500
families = [0.8, 0.2]
decay_s = 8
early_rate = 0.1
early_s = 2
retries = 0.3
most_tries = 2
pays = 0.6

[[cohorts]]
name = "people"
share = 1
rtt_ms = [20, 400]

[[attackers]]
name = "sprinters"
kind = "sprinter"
identities = 20
accounts = 20
connections = 20
pays = 0.5

[aftermath]
lasts_s = 0
"#;

/// Requests wait for the end of their round, in which speed buys nothing; places are
/// held until they are paid. What clients saw is held against ledger and store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surge_on_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("crowd.toml");
    std::fs::write(&scenario, CROWD).unwrap();
    // Ten seconds of the scenario pass in each round.
    let fast = ["--speed", "10", "--order", "rounds=1s"];
    let rig = fitting(text(&scenario), &fast, 5_000).await;
    let _engine = rig.serve("one");
    let _persist = rig.persist(&rig.sqlite());
    answers(&rig).await;
    let (log, json) = (rig.path("clients.jsonl"), rig.path("surge.json"));
    let run = ["surge", "--scenario", text(&scenario), "--after", "60s"];
    let files = ["--log", text(&log), "--json", text(&json)];
    let done = rig.run(&[&run[..], &fast, &files].concat());
    let report = report(&json);
    ran(&done, &report);

    // Under first-come it is no more than 1 % (see above), however slow the machine.
    let inverted = figure(&report, "inversion_rate");
    println!("inversion rate of rounds, live over NATS: {inverted}");
    assert!(inverted > 0.05, "{inverted}");
    let run = &report["run"];
    assert!(run["grants"]["p50"].as_f64().unwrap() > 100.0, "{}", run["grants"]);
    assert_eq!(run["order"], "rounds 1000 ms");
    assert!(run["order_denied"].is_null(), "{}", run["order_denied"]);
    assert_eq!(figure(&report, "numbers_twice"), 0.0);

    let of = |name: &str| run["payments"][name].as_u64().unwrap();
    let payments = &run["payments"];
    assert_eq!(of("held"), run["bookings"].as_u64().unwrap(), "{payments}");
    let told = ["paid", "refused", "unanswered", "later", "left"].map(of);
    assert_eq!(of("held"), told.iter().sum::<u64>(), "each came to one end: {payments}");
    assert!(of("paid") > 20 && of("left") > 10, "{payments}");
    assert_eq!(of("lapsed"), of("left"), "who did not pay lost the place: {payments}");

    let facts = rig.audit(&[&rig.sqlite()]).await;
    assert_eq!(facts.bookings() as u64, of("held"), "every booking was told to somebody");
    let shown = rig.ask("availability", "{}").await.unwrap();
    let sum = |name: &str| {
        let slots = shown["slots"].as_array().unwrap();
        slots.iter().map(|slot| slot[name].as_i64().unwrap()).sum::<i64>()
    };
    let taken = sum("quota") - sum("free") - sum("withheld");
    assert_eq!(taken as u64, of("places_paid"), "who paid has a place, nobody else");
}

/// Requests once more by others, and others' bookings by who is not in them, come to
/// nothing; a load test cannot play an insider.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surge_with_replayers_and_forgers() {
    let rig = fitting("forgers", &["--scale", "0.05"], 0).await;
    let _engine = rig.serve("one");
    answers(&rig).await;
    let json = rig.path("surge.json");
    let log = rig.path("clients.jsonl");
    let run = ["surge", "--scenario", "forgers", "--scale", "0.05", "--speed", "60"];
    let done = rig.run(&[&run[..], &["--json", text(&json), "--log", text(&log)]].concat());
    let report = report(&json);
    ran(&done, &report);
    let shown = &done.1;
    let count = |name: &str| report["run"]["forgeries"][name].as_u64().unwrap();
    assert!(count("replays") > 20 && count("forged") > 20 && count("looked") > 5, "{shown}");
    assert_eq!(figure(&report, "booked_again_by_replays"), 0.0, "{shown}");
    assert_eq!(figure(&report, "changed_by_forgers"), 0.0, "{shown}");
    rig.audit(&[]).await;

    let (code, _, said) = rig.run(&["surge", "--scenario", "insiders"]);
    assert!(code == 2 && said.contains("acts by the engine's secrets"), "{code}: {said}");
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The engine is killed while people ask; nobody takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surge_on_an_engine_that_dies() {
    let rig = fitting("calm", &[], 0).await;
    let mut engine = rig.serve("one");
    rig.open().await;
    let (json, log) = (rig.path("surge.json"), rig.path("clients.jsonl"));
    let run = ["surge", "--scenario", "calm", "--speed", "5"];
    let files = ["--json", text(&json), "--log", text(&log)];
    let errors = rig.path("surge.log");
    let child = rig
        .command(&[&run[..], &files].concat())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let mut surge = Running(child);
    // Some have been served.
    let since = Instant::now();
    loop {
        let answer = rig.ask("availability", "{}").await.unwrap();
        let slots = answer["slots"].as_array().unwrap();
        if slots.iter().filter(|slot| slot["free"] != slot["quota"]).count() > 5 {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "nobody is served");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    engine.kill();
    let killed = Instant::now();
    let status = loop {
        if let Some(status) = surge.0.try_wait().unwrap() {
            break status;
        }
        assert!(killed.elapsed() < Duration::from_secs(30), "it does not notice");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let said = std::fs::read_to_string(&errors).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("the engine stopped answering at second"), "{said}");
    let report = report(&json);
    assert_eq!(report["run"]["ended"]["how"], "engine_gone");
    assert!(report["run"]["bookings"].as_u64().unwrap() > 0, "what it has is kept");
    assert!(report["run"]["unheard"].as_u64().unwrap() > 0);
    let verdict = report["verdict"][0].as_str().unwrap();
    let run = &report["run"];
    let at_s = run["ended"]["at_s"].as_f64().unwrap();
    let since = format!("The engine stopped answering at second {at_s:.0}");
    assert!(verdict.starts_with(&since), "{verdict}");
    // It was waited for for ten seconds, in which fifty pass.
    let until_s = run["took_s"].as_f64().unwrap() * 5.0;
    assert!(at_s > 0.0 && at_s < until_s - 45.0, "since {at_s} of {until_s}");
    let series = run["series"].as_array().unwrap().iter().enumerate();
    let after = series.filter(|(i, _)| *i as f64 * run["bin_s"].as_f64().unwrap() > at_s + 5.0);
    let granted: u64 = after.map(|(_, bin)| bin["granted"].as_u64().unwrap()).sum();
    assert_eq!(granted, 0, "nothing was granted after {at_s}");
    // What clients were told before is in the ledger.
    let _engine = rig.serve("two");
    rig.open().await;
    rig.audit(&[]).await;
}

/// No engine, no broker, no such scenario, none that fits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surge_on_nothing() {
    let rig = fitting("calm", &[], 0).await;
    let since = Instant::now();
    let (code, _, said) = rig.run(&["surge", "--scenario", "calm"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("no engine answers on giliran.v1.availability"), "{said}");
    assert!(since.elapsed() < Duration::from_secs(5), "at once");

    let _engine = rig.serve("one");
    rig.open().await;
    let (code, _, said) = rig.run(&["surge", "--scenario", "national"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("asks at 126 offices, but opening surge has 4"), "{said}");
    assert!(said.contains("--config-out"), "{said}");
    let (_, calm, _) = rig.run(&["fairness", "--scenario", "calm", "--show"]);
    let elsewhere = rig.path("elsewhere.toml");
    let ids = "[offices]\nids = [\"office-001\", \"office-002\", \"office-003\", \"elsewhere\"]";
    std::fs::write(&elsewhere, calm.replace("[offices]", ids)).unwrap();
    let (code, _, said) = rig.run(&["surge", "--scenario", text(&elsewhere)]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("the engine does not know: elsewhere; office-001, office-002"), "{said}");
    let (code, _, said) = rig.run(&["surge", "--scenario", "calm", "--opening", "other"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--opening other: the engine has no such opening; surge"), "{said}");
    let (code, _, said) = rig.run(&["surge", "--scenario", "nowhere"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("neither a file nor a scenario"), "{said}");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_giliran"));
    command.args(["surge", "--scenario", "calm", "--nats", &format!("nats://{nobody}")]);
    let since = Instant::now();
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("connect to NATS at"), "{said}");
    assert!(since.elapsed() < Duration::from_secs(8), "at once");
}

/// Plays an engine whose opening is by draw, and draws every other entry; until
/// it has, whoever asks is still entered.
async fn draw(client: async_nats::Client, closes: Timestamp) {
    let mut requests = client.subscribe("giliran.v1.*").await.unwrap();
    client.flush().await.unwrap();
    let mut entries: Vec<String> = Vec::new();
    while let Some(message) = requests.next().await {
        let (Some(reply), Ok(asked)) =
            (message.reply, serde_json::from_slice::<Value>(&message.payload))
        else {
            continue;
        };
        let as_of = json!({ "epoch": 1, "seq": 7 });
        let id = asked["request_id"].as_str().unwrap_or_default().to_owned();
        let entry = |n: usize| BookingId::from_random(n as u128 + 1).to_string();
        let entered = |n: usize| {
            let entry = json!({ "opening": "w", "receipt": entry(n) });
            json!({ "request_id": id, "outcome": "entered", "entry": entry, "as_of": as_of })
        };
        let answer = match message.subject.rsplit('.').next() {
            Some("availability") => {
                let slot = |office: &str, day: u8| {
                    json!({ "opening": "w", "office": office, "date": format!("2030-01-{day:02}"),
                        "session": "all", "quota": 5, "free": 5, "withheld": 0, "reserved": 0,
                        "halted": false, "bookable": true })
                };
                let slots = ["a", "b", "c", "d"].iter();
                let slots: Vec<Value> =
                    slots.flat_map(|office| (7..12).map(|day| slot(office, day))).collect();
                let opening = json!({ "id": "w", "state": "open",
                    "opens_at": "2026-01-01T00:00:00.000Z", "closes_at": closes });
                json!({ "now": clock::now(), "openings": [opening], "slots": slots, "as_of": as_of })
            }
            Some("book") => {
                let known = entries.iter().position(|entry| *entry == id);
                let n = known.unwrap_or(entries.len());
                if known.is_none() {
                    entries.push(id.clone());
                }
                entered(n)
            }
            Some("lookup") => {
                let n = entries.iter().position(|entry| *entry == id).unwrap();
                // Drawn a moment after the close.
                if clock::now() < closes.plus_millis(1_500) {
                    entered(n)
                } else if n % 2 == 0 {
                    let booking = json!({ "id": entry(n), "version": 2, "status": "confirmed",
                        "opening": "w", "office": "a", "date": "2030-01-07", "session": "all",
                        "numbers": [n + 1], "request_id": id, "granted_at": closes });
                    json!({ "request_id": id, "outcome": "granted", "as_of": as_of,
                        "booking": booking })
                } else {
                    json!({ "request_id": id, "outcome": "rejected", "reason": "not_found" })
                }
            }
            _ => continue,
        };
        client.publish(reply, answer.to_string().into()).await.unwrap();
    }
}

/// Where places are drawn at the close, everybody waits for it and asks then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surge_on_a_draw() {
    let rig = Rig::new("").await;
    let drawing = tokio::spawn(draw(rig.client.clone(), clock::now().plus_millis(6_000)));
    let json = rig.path("surge.json");
    let run = ["surge", "--scenario", "calm", "--scale", "0.02", "--speed", "200"];
    let since = Instant::now();
    while rig.ask("availability", "{}").await.is_none() {
        assert!(since.elapsed() < Duration::from_secs(5));
    }
    let done = rig.run(&[&run[..], &["--json", text(&json)]].concat());
    drawing.abort();
    let (report, shown) = (report(&json), &done.1);
    ran(&done, &report);
    let entered = report["run"]["entered"].as_u64().unwrap();
    assert_eq!(report["run"]["people"], 24);
    assert!(entered >= 24, "everybody entered, scalpers too: {entered}");
    assert_eq!(report["run"]["bookings"].as_u64().unwrap(), entered.div_ceil(2), "{shown}");
    assert!(shown.contains("parties were entered into a draw"), "{shown}");
    let denied =
        format!("scalpers bought for first come, first served, but {entered} parties were entered");
    assert!(shown.contains(&denied), "{shown}");
    assert!(report["run"]["rejected"].to_string().contains("not_found"));
}
