//! The lease against a real server.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use giliran_broker::connection;
use giliran_broker::lease::Lease;
use giliran_broker::server::{self, Server, ServerOptions};
use giliran_wire::subject::Domain;

const TTL: Duration = Duration::from_secs(3);

/// A lease ends by itself, also where the holder before gave it back and the
/// new one died before its first renewal.
#[tokio::test(flavor = "multi_thread")]
async fn every_lease_has_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(ServerOptions {
        binary: server::locate().unwrap(),
        folder: folder.path().into(),
        port: None,
        sync_always: false,
        more: String::new(),
    })
    .await
    .unwrap();
    let client = connection::connect(&server.url(), "test", &Default::default()).await.unwrap();
    let open = |holder: &'static str| {
        let client = client.clone();
        async move { Lease::open(&client, &Domain::default(), holder, 1).await.unwrap() }
    };
    let (first, second) = (open("first").await, open("second").await);
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
    server.stop().await.unwrap();
}
