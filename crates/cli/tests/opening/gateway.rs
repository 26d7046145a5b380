//! Whoever books through the gateway: all of it, from HTTP to the audit, with an engine that is
//! killed meanwhile.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::rig::{Rig, Role, attempts, config, get, post};

/// How long a role may take to come to a state, on a machine that has other things
/// to do.
const WITHIN: Duration = Duration::from_secs(20);

/// A surge goes through the gateway and its engine is killed (-9): what clients saw, what the
/// gateway saw and the ledger are the same, and exactly the quota is granted.
#[tokio::test(flavor = "multi_thread")]
async fn a_surge_through_it_outlives_the_engine() {
    let rig = Rig::new(&config(700)).await;
    rig.init();
    let store = rig.sqlite();
    let (mut engine, _persist, _feed) = (rig.serve("a"), rig.persist(&store), rig.feed());
    let own_log = rig.path("gateway.jsonl");
    let mut gateway = rig.gateway(&["--client-log", own_log.to_str().unwrap()]);
    rig.open().await;
    gateway.until("gateway", "following", WITHIN).await;
    let via = format!("http://{}", gateway.http().unwrap()).parse().unwrap();
    let (live, surge) = rig.surge_through(Some(via), 4_000, 1_000);
    while live.view().granted == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    engine.kill();
    let _engine = rig.serve("a");
    surge.await.unwrap();
    gateway.signal("-TERM");
    let (code, said) = gateway.ended(WITHIN);
    assert_eq!(code, 0, "{said}");
    let facts = rig.audit(&[&store]).await;
    for (_, office, date, session, quota, taken) in facts.slots() {
        let expected = if session == "priority" { 0 } else { u32::from(quota) };
        assert_eq!(taken, expected, "{office} {date} {session}");
    }
    let seen = attempts(&own_log);
    assert!(seen.iter().any(|attempt| attempt.outcome.is_none()), "nobody missed the engine");
    // What the gateway was told is in the ledger as well, and is all that is in there.
    let mut told: Vec<String> =
        seen.into_iter().filter_map(|attempt| Some(attempt.booking?.id)).collect();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), facts.bookings());
    std::fs::rename(&own_log, rig.path("clients.jsonl")).unwrap();
    rig.audit(&[&store]).await;
}

/// A life of a booking over HTTP, and what the same key means.
#[tokio::test(flavor = "multi_thread")]
async fn a_booking_is_made_found_paid_moved_and_given_back() {
    let rig = Rig::new(&format!("{}[rules]\nhold = \"2s\"\n", config(2))).await;
    rig.init();
    let engine = rig.serve("a");
    let gateway = rig.gateway(&["--payments-listen", "127.0.0.1:0"]);
    rig.open().await;
    gateway.until("gateway", "following", WITHIN).await;
    let at = gateway.http().unwrap();
    let body = json!({ "applicants": ["1"], "choices": [{ "office": "alpha" }] });
    let (status, granted) = post(&at, "/v1/openings/w/bookings", Some("a"), &body).await;
    assert_eq!(status, 201, "{granted}");
    let id = granted["booking"]["id"].as_str().unwrap().to_owned();
    // The same key: the same booking; with another wish: a conflict.
    let again = post(&at, "/v1/openings/w/bookings", Some("a"), &body).await;
    assert_eq!((again.0, &again.1["booking"]["id"]), (201, &granted["booking"]["id"]));
    let other = json!({ "applicants": ["1"], "choices": [{ "office": "beta" }] });
    let (status, conflict) = post(&at, "/v1/openings/w/bookings", Some("a"), &other).await;
    assert_eq!((status, &conflict["type"]), (422, &"urn:giliran:problem:conflict".into()));
    let by_key = json!({ "request_id": "a", "applicant": "1", "opening": "w" });
    let (status, found) = post(&at, "/v1/lookups", None, &by_key).await;
    assert_eq!((status, &found["booking"]["id"]), (200, &granted["booking"]["id"]));
    let stranger = json!({ "booking": id, "applicant": "2" });
    assert_eq!(post(&at, "/v1/lookups", None, &stranger).await.0, 404);
    is_paid(&at, &gateway.payments().unwrap(), &id).await;
    let elsewhere = json!({ "applicant": "1", "choices": [{ "office": "beta" }] });
    let path = format!("/v1/bookings/{id}/reschedule");
    let (status, moved) = post(&at, &path, Some("move"), &elsewhere).await;
    assert_eq!((status, &moved["booking"]["office"]), (200, &"beta".into()), "{moved}");
    let path = format!("/v1/bookings/{id}/cancellation");
    let (status, gone) = post(&at, &path, Some("back"), &json!({ "applicant": "1" })).await;
    assert_eq!((status, &gone["booking"]["status"]), (200, &"cancelled".into()), "{gone}");
    let (status, over) = post(&at, &path, Some("back-2"), &json!({ "applicant": "1" })).await;
    assert_eq!((status, &over["reason"]), (409, &"wrong_state".into()));
    // The key that made it says what became of it.
    let (status, gone) = post(&at, "/v1/openings/w/bookings", Some("a"), &body).await;
    assert_eq!((status, &gone["booking"]["status"]), (200, &"cancelled".into()));
    is_paid_too_late(&at, &gateway.payments().unwrap(), &engine).await;
}

/// Pays for a booking, be it just before the end of its hold or behind it; the same key is the
/// same payment, and another reference one too many.
/// Its addresses once took connections and answered nothing.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_it_says_so_at_once_on_both_addresses() {
    let mut rig = Rig::new(&config(1)).await;
    rig.server.kill().await.unwrap();
    let gateway = rig.gateway(&["--payments-listen", "127.0.0.1:0"]);
    gateway.says("payments at http://").await;
    let body = json!({ "reference": "invoice-1" });
    for (address, path, part) in [
        (gateway.http().unwrap(), "/v1/openings/w/bookings", "gateway"),
        (gateway.payments().unwrap(), "/v1/bookings/PN14-D2PF-2DBS-QQG1/confirmation", "payments"),
    ] {
        let since = Instant::now();
        let (status, said) = post(&address, path, Some("a"), &body).await;
        assert_eq!((status, &said["reason"]), (503, &json!("unavailable")), "{said}");
        assert!(said["retry_after_ms"].as_u64().unwrap() >= 1_000, "{said}");
        assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
        let standing = get(&address, "/readyz").await.unwrap();
        let standing: Value = serde_json::from_str(&standing).unwrap();
        assert_eq!(standing["ready"], false);
        assert!(standing[part].is_object(), "{standing}");
    }
}

async fn is_paid(public: &str, payments: &str, id: &str) {
    let path = format!("/v1/bookings/{id}/confirmation");
    let by = |reference: &str| json!({ "reference": reference });
    assert_eq!(post(public, &path, Some("pay"), &by("invoice-1")).await.0, 404, "it is public");
    let (status, nothing) = post(payments, &path, Some("pay"), &json!({})).await;
    assert_eq!((status, &nothing["reason"]), (400, &"malformed".into()), "{nothing}");
    for _ in 0..2 {
        let (status, paid) = post(payments, &path, Some("pay"), &by("invoice-1")).await;
        assert_eq!((status, &paid["booking"]["status"]), (200, &"confirmed".into()), "{paid}");
    }
    let (status, other) = post(payments, &path, Some("pay"), &by("invoice-2")).await;
    assert_eq!((status, &other["reason"]), (422, &"conflict".into()), "{other}");
    let unknown = "/v1/bookings/0000-0000-0000-0000/confirmation";
    let (status, unknown) = post(payments, unknown, Some("pay"), &by("invoice-1")).await;
    assert_eq!((status, &unknown["reason"]), (404, &"not_found".into()), "{unknown}");
}

/// A hold ends, its applicant books something else, and then it is paid for: the payment is to
/// be paid back, once for each reference.
async fn is_paid_too_late(public: &str, payments: &str, engine: &Role) {
    let book = |office: &str| json!({ "applicants": ["2"], "choices": [{ "office": office }] });
    let bookings = "/v1/openings/w/bookings";
    let (_, held) = post(public, bookings, Some("late"), &book("alpha")).await;
    assert_eq!(held["booking"]["status"], "held", "{held}");
    let id = held["booking"]["id"].as_str().unwrap();
    let (lookup, since) = (json!({ "booking": id, "applicant": "2" }), Instant::now());
    let status_of = |found: Value| found["booking"]["status"].as_str().unwrap().to_owned();
    while status_of(post(public, "/v1/lookups", None, &lookup).await.1) != "expired" {
        assert!(since.elapsed() < WITHIN, "the hold does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(post(public, bookings, Some("other"), &book("beta")).await.0, 201);
    let path = format!("/v1/bookings/{id}/confirmation");
    for _ in 0..2 {
        let by = json!({ "reference": "invoice-3" });
        let (status, late) = post(payments, &path, Some("pay-late"), &by).await;
        assert_eq!((status, &late["reason"]), (409, &"wrong_state".into()), "{late}");
        assert_eq!(late["detail"], "status: expired");
    }
    let back = "giliran_changes_total{kind=\"refund_due\"} 1";
    while !get(&engine.http().unwrap(), "/metrics").await.unwrap().contains(back) {
        assert!(since.elapsed() < WITHIN, "nothing is to be paid back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every example of the gateway's page, as a reader would run it.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_its_page_work() {
    let there = Command::new("curl").arg("--version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        println!("LEFT OUT: curl is not installed");
        return;
    }
    let offices = "[[office]]\nid = \"batam-harbourbay\"\nname = \"Harbour Bay\"\nquota = 2\n\
                   [[office]]\nid = \"batam-center\"\nname = \"Batam Center\"\nquota = 2\n";
    let config = config(2).replace("\"w\"", "\"dev\"");
    let (opening, _) = config.split_once("[[office]]").unwrap();
    let rig = Rig::new(&format!("{opening}{offices}")).await;
    rig.init();
    let _engine = rig.serve("a");
    let gateway = rig.gateway(&[]);
    rig.open().await;
    gateway.until("gateway", "following", WITHIN).await;
    let at = gateway.http().unwrap();
    let page =
        std::fs::read_to_string(format!("{}/../../docs/gateway.md", env!("CARGO_MANIFEST_DIR")));
    let page = page.unwrap().replace("\\\n", " ");
    let mut booking = None;
    let examples: Vec<&str> = page.lines().filter(|line| line.starts_with("curl ")).collect();
    assert!(examples.len() >= 8, "{examples:?}");
    for example in examples {
        let booked = booking.as_deref().unwrap_or("PN14-D2PF-2DBS-QQG1");
        let command = example
            .replace("127.0.0.1:8080", &at)
            .replace("PN14-D2PF-2DBS-QQG1", booked)
            .replacen("curl ", "curl -w '\\n%{http_code}' ", 1);
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let (body, status) = said.rsplit_once('\n').unwrap();
        assert!(["200", "201"].contains(&status), "{example}: {said}");
        if status == "201" {
            let (_, rest) = body.split_once("\"booking\":{\"id\":\"").unwrap();
            booking = Some(rest.split('"').next().unwrap().to_owned());
        }
    }
    assert!(booking.is_some());
}
