//! Kills, pauses, and ledgers that are not what they were.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use giliran_nats::ledger;

use crate::rig::{Rig, config, database, text};

/// How long a role may take to come to a state, on a machine that has other things
/// to do.
const WITHIN: Duration = Duration::from_secs(20);

/// The engine is killed (-9) in mid-surge and started again; so are one store's
/// persister and the feed. Client log = ledger = both stores = events, and
/// exactly the quota is granted.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_mid_surge() {
    let rig = Rig::new(&config(700)).await;
    rig.init();
    let (sqlite, postgres) = (rig.sqlite(), database().await);
    let mut engine = rig.serve("a");
    let mut to_sqlite = rig.persist(&sqlite);
    let _to_postgres = rig.persist(&postgres);
    let mut feed = rig.feed();
    rig.open().await;
    let (live, surge) = rig.surge(8_000, 2_000);
    while live.view().granted == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    engine.kill();
    to_sqlite.kill();
    feed.kill();
    let _again = (rig.persist(&sqlite), rig.feed());
    let _engine = rig.serve("a");
    surge.await.unwrap();
    let facts = rig.audit(&[&sqlite, &postgres]).await;
    for (_, office, date, session, quota, taken) in facts.slots() {
        let expected = if session == "priority" { 0 } else { u32::from(quota) };
        assert_eq!(taken, expected, "{office} {date} {session}");
    }
    assert_eq!(rig.stored(&sqlite).await, facts.bookings());
    assert_eq!(rig.stored(&postgres).await, facts.bookings());
}

/// The active one of two engines is paused past its lease and resumed: it
/// appends nothing more, and nothing it says was false.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_engine_is_deposed() {
    let rig = Rig::new(&config(3_000)).await;
    rig.init();
    let first = rig.serve("first");
    rig.open().await;
    let second = rig.serve("second");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (live, surge) = rig.surge(12_000, 1_000);
    while live.view().granted == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.signal("-STOP");
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    first.signal("-CONT");
    surge.await.unwrap();
    let facts = rig.audit(&[]).await;
    assert_eq!(facts.voids(), 0, "the deposed engine appended");
    assert!(second.said().contains("now active"), "{}", second.said());
    assert!(first.said().contains("no longer active"), "{}", first.said());
    assert!(live.view().unanswered > 0);
}

/// Whoever may publish to the ledger's subject puts there what is no block, blocks
/// again, and what the server says to somebody who names it as their inbox: under load,
/// and while nobody is active. Nothing stops, and every promise holds.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_messages_change_nothing() {
    let rig = Rig::new(&config(400)).await;
    rig.init();
    let sqlite = rig.sqlite();
    let mut engine = rig.serve("a");
    let (persist, feed) = (rig.persist(&sqlite), rig.feed());
    rig.open().await;
    let ledger = ledger::open(&rig.client, &rig.namespace).await.unwrap();
    let (live, surge) = rig.surge(3_000, 1_000);
    let mut planted = 0;
    while live.view().granted < 800 {
        planted += plant(&rig, &ledger).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    engine.kill();
    planted += plant(&rig, &ledger).await;
    let waits = |said: String| said.contains("a foreign message stands on the ledger");
    for role in [&persist, &feed] {
        let since = std::time::Instant::now();
        while !waits(role.said()) {
            assert!(since.elapsed() < Duration::from_secs(10), "{}", role.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let engine = rig.serve("a");
    surge.await.unwrap();
    let late = serde_json::json!({
        "request_id": "late", "applicants": ["late"], "choices": [{ "office": "alpha" }],
    });
    assert_eq!(rig.book(&late).await["as_of"]["epoch"], 2);
    let facts = rig.audit(&[&sqlite]).await;
    assert_eq!((facts.foreign() + facts.voids(), facts.doubt()), (planted, None));
    assert!(facts.foreign() > 10, "{} of {planted}", facts.foreign());
    assert!(facts.bookings() > 800);
    assert!(waits(engine.said()), "{}", engine.said());
}

/// Puts messages onto the ledger that no engine wrote; how many.
async fn plant(rig: &Rig, ledger: &ledger::Ledger) -> u64 {
    let (_, before) = ledger.tail().await.unwrap();
    let copy = ledger.read_at(before / 2 + 1).await.unwrap().unwrap();
    let subject = ledger.subject().to_owned();
    rig.client.publish(subject.clone(), "no block".into()).await.unwrap();
    rig.client.publish(subject.clone(), copy).await.unwrap();
    let api = format!("$JS.API.STREAM.INFO.{}", ledger.name());
    rig.client.publish_with_reply(api, subject, "".into()).await.unwrap();
    rig.client.flush().await.unwrap();
    3
}

/// The standby answers within four seconds of a kill; a clean stop hands over
/// at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over() {
    let rig = Rig::new(&config(100)).await;
    rig.init();
    let first = rig.serve("first");
    rig.open().await;
    let mut second = rig.serve("second");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let ask = |n: u32| {
        serde_json::json!({
            "request_id": format!("r{n}"), "applicants": [format!("p{n}")],
            "choices": [{ "office": "alpha" }],
        })
    };
    assert_eq!(rig.book(&ask(1)).await["outcome"], "granted");
    let stopped = std::time::Instant::now();
    first.signal("-TERM");
    // Whoever asks meanwhile is answered, by the one or the other.
    while rig.book(&ask(2)).await["as_of"]["epoch"] != 2 {
        assert!(stopped.elapsed() < Duration::from_secs(2), "{:?}", stopped.elapsed());
    }
    eprintln!("clean hand-over: {:?}", stopped.elapsed());
    let _third = rig.serve("third");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let killed = std::time::Instant::now();
    second.kill();
    let answer = rig.book(&ask(3)).await;
    eprintln!("after a kill: {:?}", killed.elapsed());
    assert_eq!(answer["as_of"]["epoch"], 3);
    assert!(killed.elapsed() < Duration::from_secs(6), "{:?}", killed.elapsed());
    assert_eq!(rig.book(&ask(1)).await["booking"]["numbers"], serde_json::json!([1]));
}

/// Two engines of one name, as two copies of one configuration have it: the one that
/// stands by says so, for as long as it is so.
#[tokio::test(flavor = "multi_thread")]
async fn a_twin_is_told() {
    let rig = Rig::new(&config(10)).await;
    rig.init();
    let first = rig.serve("a");
    rig.open().await;
    let second = rig.serve_with("a", &rig.path("applicant.key"), &rig.path("data"));
    let since = std::time::Instant::now();
    while !second.said().contains("another engine of this engine's name runs") {
        assert!(since.elapsed() < Duration::from_secs(20), "{}", second.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let warnings = async || second.health().await.unwrap()["warnings"].clone();
    let named = warnings().await.to_string();
    assert!(named.contains("another engine of this engine's name runs"), "{named}");
    drop(first);
    second.until("engine", "active", WITHIN).await;
    while warnings().await.to_string().contains("name runs") {
        assert!(since.elapsed() < Duration::from_secs(40), "it is told for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A key of the same two digits throughout, of its owner alone.
fn write_key(file: &Path, digits: &str) {
    std::fs::write(file, digits.repeat(32)).unwrap();
    std::fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_refused() {
    let rig = Rig::new(&config(10)).await;
    rig.init();
    let other = rig.path("other.key");
    write_key(&other, "ab");
    let mut engine = rig.serve_with("a", &other, &rig.path("data"));
    let (code, said) = engine.ended(Duration::from_secs(20));
    assert_eq!(code, 1);
    assert!(
        said.contains("another applicant key") || said.contains("with applicant key"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_vanished_or_came_anew_is_refused() {
    let mut rig = Rig::new(&config(10)).await;
    let key = rig.path("applicant.key");
    write_key(&key, "cd");
    // It never begins a ledger, but waits for one.
    let mut engine = rig.serve("a");
    let told = engine.until("engine", "no_ledger", WITHIN).await;
    let said = told["detail"].as_str().unwrap();
    assert!(said.contains("there is no ledger") && said.contains("giliran init"), "{said}");
    rig.init();
    engine.until("engine", "active", WITHIN).await;
    let sqlite = rig.sqlite();
    let mut persist = rig.persist(&sqlite);
    rig.open().await;
    let request = serde_json::json!({
        "request_id": "r", "applicants": ["p"], "choices": [{ "office": "alpha" }],
    });
    assert_eq!(rig.book(&request).await["outcome"], "granted");
    while rig.stored(&sqlite).await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    engine.kill();
    persist.kill();

    // The stream is lost and made anew, with the same key.
    rig.server.kill().await.unwrap();
    std::fs::remove_dir_all(rig.path("nats/jetstream")).unwrap();
    rig.server.restart().await.unwrap();
    rig.init();
    let (engine, persist) = (rig.serve("a"), rig.persist(&sqlite));
    for (role, part) in [(&engine, "engine"), (&persist, "persist")] {
        let told = role.until(part, "mismatch", WITHIN).await;
        assert!(told["detail"].as_str().unwrap().contains("was recreated"), "{told}");
    }
    assert!(std::path::Path::new(text(&key)).exists());
}
