//! Openings and places, asked for and followed.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use giliran_wire::answer::Phase;

use crate::rig::{Reader, Rig, grant_all, send, settings, shown};

fn set_free(rig: &Rig, free: i32) {
    let mut shown = rig.shown.lock().unwrap();
    shown.slots[0].free = free;
    shown.as_of.seq += 1;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_shown_with_a_tag_and_not_sent_twice() {
    let rig = Rig::new(grant_all).await.told().await;
    let first = rig.get("/v1/openings/w/places").await;
    assert_eq!(first.status, 200);
    let body = first.json();
    assert_eq!((&body["opening"], &body["slots"][0]["free"]), (&"w".into(), &80.into()));
    assert_eq!(body["as_of"]["seq"], 1841);
    let cached = &first.headers["cache-control"];
    assert_eq!(cached, "public, max-age=1, stale-while-revalidate=10");
    let tag = first.headers["etag"].as_str();
    for known in [tag, &format!("W/{tag}"), &format!("\"x\", {tag}"), "*"] {
        let path = "/v1/openings/w/places";
        let again = send(rig.address, "GET", path, &[("if-none-match", known)], b"").await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{known}");
    }
    assert_eq!(rig.get("/v1/openings/x/places").await.problem(), "unknown_opening");
    let list = rig.get("/v1/openings").await.json();
    assert_eq!(
        (&list["openings"][0]["id"], &list["openings"][0]["state"]),
        (&"w".into(), &"open".into())
    );
    assert_eq!(list["openings"][0]["free"], 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_sends_what_changed_and_everything_to_whoever_missed_some() {
    let rig = Rig::new(grant_all).await.told().await;
    let path = "/v1/openings/w/places/stream";
    let mut reader = Reader::open(&rig, path, &[]).await;
    let (first, whole) = reader.event("places").await;
    assert_eq!(whole["slots"][0]["free"], 80);
    set_free(&rig, 79);
    let (second, change) = reader.event("change").await;
    assert_eq!(change["slots"][0]["free"], 79);
    let tag = rig.get("/v1/openings/w/places").await.headers["etag"].clone();
    assert_eq!(tag, format!("\"{second}\""));
    set_free(&rig, 78);
    let (third, _) = reader.event("change").await;
    // Whoever has the frame before the last one gets what changed; who has an older one, all.
    let mut short = Reader::open(&rig, path, &[("last-event-id", &second)]).await;
    assert_eq!(short.event("change").await.0, third);
    let mut long = Reader::open(&rig, path, &[("last-event-id", &first)]).await;
    assert_eq!(long.event("places").await.0, third);
    rig.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), rig.served).await.unwrap().unwrap();
}

/// However many read, the broker has one to serve: the gateway asks once a second, subscribes to
/// nothing for them, and makes no consumer.
#[tokio::test(flavor = "multi_thread")]
async fn many_readers_are_one_to_the_broker() {
    const READERS: usize = 100;
    let rig = Rig::new(grant_all).await.told().await;
    let subject = rig.broker.namespace.request("availability");
    let mut asked = rig.broker.client.subscribe(subject).await.unwrap();
    rig.broker.client.flush().await.unwrap();
    let before = subscriptions(&rig).await;
    let path = "/v1/openings/w/places/stream";
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(Reader::open(&rig, path, &[]).await);
    }
    for reader in &mut readers {
        reader.event("places").await;
    }
    while asked.next().now_or_never().is_some() {}
    let begin = tokio::time::Instant::now();
    set_free(&rig, 79);
    for reader in &mut readers {
        let (_, change) = reader.event("change").await;
        assert_eq!(change["slots"][0]["free"], 79);
    }
    let mut questions = 0;
    while asked.next().now_or_never().is_some() {
        questions += 1;
    }
    // Once a second, and now and then what the openings offer.
    let most = 3 + 2 * begin.elapsed().as_secs();
    assert!((1..=most).contains(&questions), "{questions} questions, {most} at most");
    assert_eq!(subscriptions(&rig).await, before);
    let context = async_nats::jetstream::new(rig.broker.client.clone());
    let streams: Vec<_> = context.stream_names().collect().await;
    assert!(streams.is_empty(), "there is nothing that could have a consumer: {streams:?}");
}

/// How many subscriptions the gateway has at the broker.
async fn subscriptions(rig: &Rig) -> u64 {
    let monitor = rig.broker.server.monitor_url();
    let text = giliran_nats::suitability::get(&monitor, "/connz").await.unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let connections = all["connections"].as_array().unwrap();
    let gateway = connections.iter().find(|connection| connection["name"] == "gateway").unwrap();
    gateway["subscriptions"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_long_before_is_told_when_and_the_engine_is_left_alone() {
    let mut early = shown();
    let opens_at = giliran_nats::clock::now().plus_millis(60_000);
    early.openings[0].state = Phase::Scheduled;
    early.openings[0].opens_at = opens_at;
    let script = |_: &str, _: &[u8]| panic!("the engine is asked");
    let rig = Rig::with(settings(), Some(std::sync::Arc::new(script)), early).await.told().await;
    let reply = rig.book("a3f1").await;
    assert_eq!((reply.status, reply.problem().as_str()), (409, "not_open"));
    let body = reply.json();
    assert_eq!(body["opens_at"], opens_at.to_string());
    assert!(body["now"].is_string());
    let after: u64 = reply.headers["retry-after"].parse().unwrap();
    assert!((55..=63).contains(&after), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_last_two_seconds_the_engine_is_asked() {
    let mut soon = shown();
    soon.openings[0].state = Phase::Scheduled;
    soon.openings[0].opens_at = giliran_nats::clock::now().plus_millis(1_000);
    let script = std::sync::Arc::new(grant_all);
    let rig = Rig::with(settings(), Some(script), soon).await.told().await;
    assert_eq!(rig.book("a3f1").await.status, 201, "its clock decides");
}
