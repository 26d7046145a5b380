//! The lease against a real server.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use giliran_nats::ErrorKind;
use giliran_nats::lease::Lease;
use giliran_testkit::Broker;
use giliran_wire::subject::Namespace;

const TTL: Duration = Duration::from_secs(3);

/// A lease ends by itself, also where the holder before gave it back and the
/// new one died before its first renewal.
#[tokio::test(flavor = "multi_thread")]
async fn every_lease_has_an_end() {
    let broker = Broker::start().await;
    let client = &broker.client;
    let open = |holder| Lease::of_engines(client, &Namespace::default(), holder, 1);
    let (first, second) = (open("first"), open("second"));
    let held = first.acquire(TTL).await.unwrap().expect("free at first");
    assert!(second.acquire(TTL).await.unwrap().is_none());
    assert_eq!(second.holder().await.as_deref(), Some("first"));
    let freed = tokio::spawn(second.freed());
    held.release().await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), freed).await.unwrap().unwrap();

    // Taken after a clean end, and never renewed.
    let since = Instant::now();
    let dead = second.acquire(TTL).await.unwrap().expect("free again");
    drop(dead);
    first.freed().await;
    let held = loop {
        if let Some(held) = first.acquire(TTL).await.unwrap() {
            break held;
        }
        assert!(since.elapsed() < Duration::from_secs(8), "the lease never ends");
        first.freed().await;
    };
    assert!(since.elapsed() > Duration::from_millis(2_500), "{:?}", since.elapsed());
    // Renewed, it stays past its first end.
    let mut held = held;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(held.renew().await.unwrap().is_some());
    }
    assert!(second.acquire(TTL).await.unwrap().is_none());
    broker.server.stop().await.unwrap();
}

/// Keys in a bucket without a time to live per message would never end: it is
/// refused in words, at the start and before each try.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_whose_keys_cannot_end_is_refused() {
    let broker = Broker::start().await;
    let client = &broker.client;
    let context = async_nats::jetstream::new(client.clone());
    let bucket = Namespace::default().lease_bucket();
    let by_hand =
        async_nats::jetstream::kv::Config { bucket: bucket.clone(), ..Default::default() };
    context.create_key_value(by_hand).await.unwrap();
    let lease = Lease::of_engines(client, &Namespace::default(), "first", 1);
    let refused = lease.open().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsuitable);
    for word in [bucket.as_str(), "time to live", "nats stream edit KV_", "--allow-msg-ttl"] {
        assert!(refused.to_string().contains(word), "{refused}");
    }
    assert_eq!(lease.acquire(TTL).await.unwrap_err().kind(), ErrorKind::Unsuitable);
    // Mended as it says.
    context.delete_key_value(&bucket).await.unwrap();
    assert!(lease.acquire(TTL).await.unwrap().is_some());
    broker.server.stop().await.unwrap();
}

/// What a try has written whose outcome got lost is the holder's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_was_taken_without_knowing_is_the_holders() {
    let broker = Broker::start().await;
    let client = &broker.client;
    let lease = |holder| Lease::of_engines(client, &Namespace::default(), holder, 1);
    let lost = lease("first").acquire(TTL).await.unwrap().expect("free");
    let mut held = lease("first").acquire(TTL).await.unwrap().expect("its own");
    assert!(lease("second").acquire(TTL).await.unwrap().is_none());
    // The first one's next renewal goes on from the second one's.
    let mut lost = lost;
    assert!(lost.renew().await.unwrap().is_some());
    assert!(held.renew().await.unwrap().is_some());
    broker.server.stop().await.unwrap();
}
