//! A broker that is there, and whose streams are not what they should be.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, kv};

use crate::WITHIN;
use crate::away::ask;
use crate::rig::{Rig, config};

/// A lease in a bucket that was made by hand would never end: an engine refuses it in
/// words at its start, and goes on by itself once that is mended.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_ends_is_refused_until_it_is_mended() {
    let rig = Rig::new(&config(100)).await;
    rig.init();
    let context = jetstream::new(rig.client.clone());
    let bucket = rig.namespace.lease_bucket();
    let _ = context.delete_key_value(&bucket).await;
    let by_hand = kv::Config { bucket: bucket.clone(), ..kv::Config::default() };
    context.create_key_value(by_hand).await.unwrap();
    let engines = [rig.serve("a"), rig.serve("b")];
    for engine in &engines {
        let told = engine.until("engine", "unsuitable", WITHIN).await;
        let said = told["detail"].as_str().unwrap();
        assert!(said.contains("time to live") && said.contains("--allow-msg-ttl"), "{said}");
    }
    assert_eq!(rig.ask("book", ask(1).to_string()).await, None, "nobody decides");
    context.delete_key_value(&bucket).await.unwrap();
    rig.open().await;
    assert_eq!(rig.book(&ask(1)).await["outcome"], "granted");
}

/// The broker takes no event any more: that is told, the lag grows in blocks and in
/// time, and no event is missing once it takes them again.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_refused_are_told_of_and_made_up_for() {
    let rig = Rig::new(&config(100)).await;
    rig.init();
    let store = rig.sqlite();
    let _engine = rig.serve("a");
    let (persist, feed) = (rig.persist(&store), rig.feed());
    rig.open().await;
    assert_eq!(rig.book(&ask(1)).await["outcome"], "granted");
    persist.until("persist", "following", WITHIN).await;
    feed.until("feed", "following", WITHIN).await;
    let caught_up = async || {
        let since = Instant::now();
        while feed.metric("giliran_feed_lag_blocks").await != Some(0.0) {
            assert!(since.elapsed() < WITHIN, "it does not catch up");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    caught_up().await;
    let context = jetstream::new(rig.client.clone());
    let events = context.get_stream(rig.namespace.events_stream()).await.unwrap();
    let usual = events.cached_info().config.clone();
    let full = jetstream::stream::Config { max_messages: 1, ..usual.clone() };
    context.update_stream(full).await.unwrap();
    assert_eq!(rig.book(&ask(2)).await["outcome"], "granted");
    let granted = Instant::now();
    let told = feed.until("feed", "resyncing", WITHIN).await;
    let said = told["detail"].as_str().unwrap_or_default();
    assert!(said.contains("refuses an event: maximum messages exceeded"), "{told}");
    // Over several tries.
    while granted.elapsed() < Duration::from_secs(5) {
        feed.still("feed", "resyncing").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let seconds = feed.metric("giliran_feed_lag_seconds").await.unwrap();
    let waited = granted.elapsed().as_secs_f64();
    assert!((seconds - waited).abs() < 2.5, "{seconds} s behind, it was {waited}");
    assert!(feed.metric("giliran_feed_lag_blocks").await >= Some(1.0));
    context.update_stream(usual).await.unwrap();
    feed.until("feed", "following", WITHIN).await;
    caught_up().await;
    assert_eq!(feed.metric("giliran_feed_lag_seconds").await, Some(0.0));
    rig.audit(&[&store]).await;
}
