//! A database that is away while bookings go on.

use std::time::{Duration, Instant};

use crate::away::{REPORTED_WITHIN, ask};
use crate::promise::Promise;
use crate::proxy::Proxy;
use crate::rig::{Rig, config, database};
use crate::{WITHIN, long};

/// How soon after its return the database is written again.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// How soon the database gives up a session from which it hears nothing.
const FREED_WITHIN: Duration = Duration::from_secs(25);

/// The same database, through another port of this machine.
fn through(url: &str, port: u16) -> String {
    let (login, rest) = url.rsplit_once('@').unwrap();
    let (_, name) = rest.split_once('/').unwrap();
    format!("{login}@127.0.0.1:{port}/{name}")
}

fn port(url: &str) -> u16 {
    let (_, rest) = url.rsplit_once('@').unwrap();
    let (host, _) = rest.split_once('/').unwrap();
    host.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// PostgreSQL's host vanishes: no word comes from there any more, and no refusal.
/// It is told within seconds; the lag grows, in blocks and in time; with its return
/// all is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_vanishes_is_told_and_caught_up_with() {
    let rig = Rig::new(&config(100)).await;
    rig.init();
    let url = database().await;
    let line = Proxy::to(port(&url)).await;
    let _engine = rig.serve("a");
    let mut persist = rig.persist(&through(&url, line.port));
    rig.open().await;
    assert_eq!(rig.book(&ask(1)).await["outcome"], "granted");
    persist.until("persist", "following", WITHIN).await;
    let since = Instant::now();
    while rig.stored(&url).await < 1 {
        assert!(since.elapsed() < WITHIN, "nothing is stored");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    for n in 0..if long() { 3 } else { 1 } {
        let told = Promise::within(REPORTED_WITHIN);
        line.go_dead(true);
        persist.in_time("persist", "store_unavailable", &told).await;
        assert_eq!(rig.book(&ask(2 + n)).await["outcome"], "granted");
        let granted = Instant::now();
        tokio::time::sleep(Duration::from_secs(if long() { 60 } else { 5 })).await;
        let blocks = persist.metric("giliran_persist_lag_blocks").await.unwrap();
        let seconds = persist.metric("giliran_persist_lag_seconds").await.unwrap();
        assert!(blocks >= 1.0, "{blocks} blocks behind");
        let waited = granted.elapsed().as_secs_f64();
        assert!((seconds - waited).abs() < 2.5, "{seconds} s behind, it was {waited}");
        persist.still("persist", "store_unavailable").await;

        line.go_dead(false);
        let back = Promise::within(BACK_WITHIN);
        persist.in_time("persist", "following", &back).await;
        while persist.metric("giliran_persist_lag_blocks").await != Some(0.0) {
            assert!(back.since.elapsed() < WITHIN, "it does not catch up");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(persist.metric("giliran_persist_lag_seconds").await, Some(0.0));
        eprintln!("the database was written again after {:?}", back.since.elapsed());
    }
    assert!(persist.is_alive());
    rig.audit(&[&url]).await;
}

/// The host of the copy that writes vanishes, without a word to the database. Its lock
/// ends with its session, and the second copy goes on; the first one, once it is back,
/// waits in its turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_persister_that_vanishes_makes_room_for_the_second_copy() {
    let rig = Rig::new(&config(100)).await;
    rig.init();
    let url = database().await;
    let line = Proxy::to(port(&url)).await;
    let _engine = rig.serve("a");
    let mut first = rig.persist(&through(&url, line.port));
    first.until("persist", "following", WITHIN).await;
    let mut second = rig.persist(&url);
    second.until("persist", "waiting", WITHIN).await;
    rig.open().await;
    // Idle: in the midst of a statement the server's bound is another one.
    let opened = Instant::now();
    while first.metric("giliran_persist_lag_blocks").await != Some(0.0) {
        assert!(opened.elapsed() < WITHIN, "it does not catch up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let freed = Promise::within(FREED_WITHIN);
    line.go_dead(true);
    assert_eq!(rig.book(&ask(1)).await["outcome"], "granted");
    second.in_time("persist", "following", &freed).await;
    eprintln!("the second copy went on after {:?}", freed.since.elapsed());
    let since = Instant::now();
    while rig.stored(&url).await < 1 {
        assert!(since.elapsed() < WITHIN, "nothing is stored");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    line.go_dead(false);
    first.until("persist", "waiting", WITHIN).await;
    second.still("persist", "following").await;
    assert!(first.is_alive() && second.is_alive());
    rig.audit(&[&url]).await;
}

/// The SQLite file is deleted under its persister: that is told, and a new one is
/// filled from the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_is_noticed_and_written_anew() {
    let rig = Rig::new(&config(100)).await;
    rig.init();
    let store = rig.sqlite();
    let _engine = rig.serve("a");
    let persist = rig.persist(&store);
    rig.open().await;
    assert_eq!(rig.book(&ask(1)).await["outcome"], "granted");
    persist.until("persist", "following", WITHIN).await;
    let since = Instant::now();
    while rig.stored(&store).await < 1 {
        assert!(since.elapsed() < WITHIN, "nothing is stored");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(rig.path(&format!("bookings.sqlite{end}")));
    }
    let gone = Instant::now();
    while rig.stored(&store).await < 1 {
        assert!(gone.elapsed() < WITHIN, "it is not written anew");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(persist.said().contains("the file is gone"), "{}", persist.said());
    persist.until("persist", "following", WITHIN).await;
    rig.audit(&[&store]).await;
}
