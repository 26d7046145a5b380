//! The closed loop against somebody who answers.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use giliran_loadgen::LoadError;
use giliran_loadgen::closed_loop::{ClosedLoop, settle};
use giliran_nats::connection::Login;
use giliran_testkit::Broker;

const LONG: Duration = Duration::from_secs(60);

/// What came to somebody who answers.
#[derive(Default)]
struct Seen {
    /// Most requests that waited at once.
    waited: AtomicUsize,
    answered: AtomicUsize,
}

/// Answers with what `answer` makes of the number of a request, a moment later.
async fn answering(broker: &Broker, answer: fn(usize) -> &'static str) -> Arc<Seen> {
    let client = broker.connect("answers", &Login::default()).await;
    let mut asked = client.subscribe("ask").await.unwrap();
    client.flush().await.unwrap();
    let seen = Arc::new(Seen::default());
    let shared = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Some(first) = asked.next().await {
            // Whatever else is on its way comes meanwhile.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut waiting = vec![first];
            while let Some(Some(next)) = futures_util::FutureExt::now_or_never(asked.next()) {
                waiting.push(next);
            }
            shared.waited.fetch_max(waiting.len(), Ordering::Relaxed);
            for message in waiting {
                let n = shared.answered.fetch_add(1, Ordering::Relaxed);
                client.publish(message.reply.unwrap(), answer(n).into()).await.unwrap();
            }
        }
    });
    seen
}

fn is_right(payload: &[u8]) -> bool {
    payload == b"right"
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_is_full_and_every_answer_counts_once() {
    let broker = Broker::start().await;
    let answer = |n: usize| if n.is_multiple_of(4) { "wrong" } else { "right" };
    let seen = answering(&broker, answer).await;
    let mut asking = ClosedLoop::new(broker.client.clone(), 16).await.unwrap();
    for _ in 0..2 {
        let mut made = 0;
        let make = || {
            made += 1;
            Bytes::from_static(b"?")
        };
        let came = asking.run("ask", (LONG, 200), make, is_right).await.unwrap();
        assert_eq!((made, came.right, came.others), (200, 150, 50));
        assert!(came.per_s() > 0.0 && came.took >= Duration::from_millis(200), "{came:?}");
    }
    assert_eq!(seen.waited.load(Ordering::Relaxed), 16, "so many at once, never more");
    let over = asking.run("ask", (Duration::ZERO, 200), Bytes::new, is_right).await.unwrap();
    assert_eq!((over.right, over.others), (0, 0), "its time was over at the begin");
    broker.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_settled_asks_again() {
    let broker = Broker::start().await;
    let seen = answering(&broker, |n| if n < 5 { "busy" } else { "right" }).await;
    let mut told = Vec::new();
    let payloads = (0..12).map(|_| Bytes::from_static(b"?"));
    let settled = |n| told.push(n);
    settle(&broker.client, "ask", 4, payloads, is_right, settled).await;
    assert_eq!(told, (1..=12).collect::<Vec<_>>());
    assert_eq!(seen.answered.load(Ordering::Relaxed), 12 + 5);
    assert!(seen.waited.load(Ordering::Relaxed) <= 4);
    broker.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_it() {
    let broker = Broker::start().await;
    let mut ignored = broker.client.subscribe("ask").await.unwrap();
    let mut asking = ClosedLoop::new(broker.client.clone(), 4).await.unwrap();
    let ended = asking.run("ask", (LONG, 100), Bytes::new, is_right).await;
    assert!(matches!(ended, Err(LoadError::Silent(subject, 10)) if subject == "ask"));
    let mut sent = 0;
    while futures_util::FutureExt::now_or_never(ignored.next()).is_some() {
        sent += 1;
    }
    assert_eq!(sent, 4, "no answer made room for more");
    broker.server.stop().await.unwrap();
}
