//! One's own request: who may see it, who may change it, and when its stream says something.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::HeaderName;
use giliran_gateway::Identity;
use giliran_wire::answer::{Answer, Status, Verdict};
use giliran_wire::request::{Cancel, Payload, read};
use giliran_wire::{BookingId, Position};
use serde_json::json;

use crate::rig::{Reader, Rig, granted, send, settings, shown};

const APPLICANT: &str = "2171012345678901";

/// An engine whose position moves on with each question. Look-ups find the booking in this
/// state; changes are answered by `change`.
fn engine(
    status: Arc<std::sync::Mutex<Status>>,
    change: impl Fn(&str) -> Option<Answer<'static>> + Send + Sync + 'static,
) -> impl Fn(&str, &[u8]) -> Option<Vec<Answer<'static>>> + Send + Sync + 'static {
    let seq = AtomicU64::new(1_841);
    move |operation, payload| {
        if operation == "cancel" {
            let Ok(Payload::Many(_, cancels)) = read::<Cancel<'_>>(payload) else { panic!() };
            return Some(vec![change(&cancels[0].as_ref().unwrap().request_id)?]);
        }
        let mut answer = granted("a3f1");
        if let Verdict::Granted { booking, as_of } = &mut answer.verdict {
            *as_of = Position { epoch: 3, seq: seq.fetch_add(1, Ordering::Relaxed) };
            booking.status = *status.lock().unwrap();
        }
        Some(vec![answer])
    }
}

/// The token of a booking.
async fn token(rig: &Rig) -> String {
    let reply = rig.book("a3f1").await;
    reply.headers["location"].strip_prefix("/v1/requests/").unwrap().to_owned()
}

/// The tag was once that of the whole answer: each look-up has another position, and so each
/// look-up sent an event and had the page loaded again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_says_what_changed_and_ends_with_what_does_not_change_any_more() {
    let status = Arc::new(std::sync::Mutex::new(Status::Confirmed));
    let rig = Rig::new(engine(Arc::clone(&status), |_| None)).await.told().await;
    let token = token(&rig).await;
    let path = format!("/v1/requests/{token}/stream");
    let mut reader = Reader::open(&rig, &path, &[]).await;
    let (first, _) = reader.event("request").await;
    let page = rig.get(&format!("/r/{token}")).await;
    assert!(page.body.contains(&format!("data-tag=\"{first}\"")), "{}", page.body);
    let looked_up = || rig.messages().iter().filter(|(operation, _)| operation == "lookup").count();
    let before = looked_up();
    while looked_up() < before + 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    *status.lock().unwrap() = Status::Cancelled;
    let (second, told) = reader.event("request").await;
    assert_eq!(told["booking"]["status"], "cancelled", "the position alone is no news");
    assert_ne!(second, first);
    tokio::time::timeout(Duration::from_secs(5), reader.end()).await.unwrap();
    let again = send(rig.address, "GET", &path, &[("last-event-id", &second)], b"").await;
    assert_eq!(again.status, 204, "a browser does not come back");
    let page = rig.get(&format!("/r/{token}")).await;
    assert!(!page.body.contains("data-request"), "{}", page.body);
}

/// Where the feed is heard a look-up that nothing has asked for comes after 20 s at the earliest;
/// here all is told within 10.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_hears_from_the_feed_when_there_is_something_to_look_up() {
    let status = Arc::new(std::sync::Mutex::new(Status::Held));
    let rig = Rig::new(engine(Arc::clone(&status), |_| None)).await.told().await;
    let feed = rig.broker.connect("feed", &Default::default()).await;
    let says = async |subject: String, said: serde_json::Value| {
        feed.publish(subject, said.to_string().into()).await.unwrap();
        feed.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let (events, position) =
        (rig.broker.namespace.feed_events(), rig.broker.namespace.feed_position());
    let at = |events: u64| json!({ "as_of": { "epoch": 3, "seq": 1841, "time": "2030-01-07T07:00:00.000Z" }, "events": events });
    says(position.clone(), at(7)).await;
    let path = format!("/v1/requests/{}/stream", token(&rig).await);
    let mut reader = Reader::open(&rig, &path, &[]).await;
    reader.event("request").await;
    *status.lock().unwrap() = Status::Confirmed;
    let of = json!({ "booking": { "opening": "w", "request_id": "a3f1" }, "previous": null });
    says(events, json!({ "first": 8, "events": [{ "data": of }] })).await;
    let (_, told) = reader.event("request").await;
    assert_eq!(told["booking"]["status"], "confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_address_reads_and_only_whoever_knows_the_applicant_changes() {
    let status = Arc::new(std::sync::Mutex::new(Status::Confirmed));
    let cancelled = |id: &str| Some(granted(id));
    let rig = Rig::new(engine(status, cancelled)).await.told().await;
    let path = format!("/r/{}/cancellation?lang=en", token(&rig).await);
    let id = BookingId::from_random(7);
    let change = async |applicant: &str| {
        let body = format!("key=k1&booking={id}&sure=1{applicant}");
        rig.form(&path, &body).await
    };
    let asked = || rig.messages().iter().any(|(operation, _)| operation == "cancel");
    for wrong in ["", "&applicant=", "&applicant=2171099999999999"] {
        let reply = change(wrong).await;
        assert_eq!(reply.status, 404, "{wrong}");
        assert!(reply.body.contains("Check the id of the booking and the id number"));
        assert!(reply.body.contains("name=\"applicant\"") && !reply.body.contains(APPLICANT));
    }
    assert!(!asked(), "the engine is left alone");
    let reply = change(&format!("&applicant={APPLICANT}")).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    assert!(asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_doubt_is_not_settled_and_goes_on_under_its_number() {
    let status = Arc::new(std::sync::Mutex::new(Status::Confirmed));
    let rig = Rig::new(engine(status, |_| None)).await.told().await;
    let path = format!("/r/{}/cancellation?lang=en", token(&rig).await);
    let body = format!("key=k1&booking=PN14-D2PF-2DBS-QQG1&sure=1&applicant={APPLICANT}");
    let reply = rig.form(&path, &body).await;
    assert_eq!(reply.status, 504, "{reply:?}");
    assert!(reply.body.contains("Nothing is decided yet"), "{}", reply.body);
    assert!(reply.body.contains(&format!("action=\"{path}\"")), "{}", reply.body);
    for (name, value) in [("key", "k1"), ("sure", "1"), ("applicant", APPLICANT)] {
        assert!(reply.body.contains(&format!("name=\"{name}\" value=\"{value}\"")), "{name}");
    }
    assert!(reply.headers.contains_key("retry-after"));
    assert!(!reply.headers.contains_key("giliran-settled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_the_proxy_has_verified_sees_nobody_else_s() {
    let mut settings = settings();
    settings.identity = Identity {
        proxies: "127.0.0.0/8".parse().unwrap(),
        account: None,
        applicant: Some(HeaderName::from_static("x-applicant")),
        tokens: None,
    };
    let status = Arc::new(std::sync::Mutex::new(Status::Confirmed));
    let script = Arc::new(engine(status, |_| panic!("it is changed")));
    let rig = Rig::with(settings, Some(script), shown()).await.told().await;
    let body = format!(r#"{{"applicants":["{APPLICANT}"],"choices":[{{"office":"alpha"}}]}}"#);
    let own = [("idempotency-key", "a3f1"), ("x-applicant", APPLICANT)];
    let reply = rig.post("/v1/openings/w/bookings", &own, &body).await;
    let token = reply.headers["location"].strip_prefix("/v1/requests/").unwrap().to_owned();
    let before = rig.messages().len();
    let other = [("x-applicant", "2171099999999999"), ("origin", "http://gateway")];
    let form = format!("key=k&booking=x&sure=1&office0=alpha&applicant={APPLICANT}");
    for (method, path, body) in [
        ("GET", format!("/v1/requests/{token}"), ""),
        ("GET", format!("/v1/requests/{token}/stream"), ""),
        ("GET", format!("/r/{token}"), ""),
        ("GET", format!("/r/{token}/booking.ics"), ""),
        ("POST", format!("/r/{token}/cancellation"), form.as_str()),
        ("POST", format!("/r/{token}/reschedule"), form.as_str()),
    ] {
        let refused = send(rig.address, method, &path, &other, body.as_bytes()).await;
        assert_eq!(refused.status, 403, "{path}: {refused:?}");
        let unknown = send(rig.address, method, &path, &other[1..], body.as_bytes()).await;
        assert_eq!(unknown.status, 403, "{path}");
    }
    assert_eq!(rig.messages().len(), before, "nothing is looked up for them");
    let path = format!("/r/{token}/booking.ics");
    assert_eq!(send(rig.address, "GET", &path, &own[1..], b"").await.status, 200);
}

/// Look-ups once took the places of bookings: a hall of people who wait for a draw kept others
/// from asking.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_looks_takes_no_place_from_whoever_books() {
    let mut settings = settings();
    settings.in_flight = 1;
    let script = |operation: &str, _: &[u8]| {
        // Look-ups find no end.
        (operation == "book").then(|| vec![granted("a3f1")])
    };
    let rig = Arc::new(Rig::with(settings, Some(Arc::new(script)), shown()).await.told().await);
    let (token, other) = (token(&rig).await, Arc::clone(&rig));
    let looks = tokio::spawn(async move { other.get(&format!("/v1/requests/{token}")).await });
    while !rig.messages().iter().any(|(operation, _)| operation == "lookup") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(rig.book("a3f1").await.status, 201);
    assert!(!looks.is_finished());
    assert_eq!(looks.await.unwrap().status, 504);
}
