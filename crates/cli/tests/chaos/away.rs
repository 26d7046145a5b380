//! A broker that is away for longer than any question waits for its answer.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::promise::Promise;
use crate::rig::{Rig, config};
use crate::watched::{Everybody, Listener, Said};
use crate::{WITHIN, long};

/// How soon it is told that the broker is away.
pub(crate) const REPORTED_WITHIN: Duration = Duration::from_secs(3);
/// How soon after its return all work again.
pub(crate) const BACK_WITHIN: Duration = Duration::from_secs(5);

pub(crate) fn ask(n: u32) -> serde_json::Value {
    json!({
        "request_id": format!("r{n}"), "applicants": [format!("p{n}")],
        "choices": [{ "office": "alpha" }],
    })
}

/// While the broker is away everybody says so in time, at every look, and nobody that
/// it works, nor any engine that it is active.
pub(crate) fn nobody_works(listener: &Listener, told: &Promise) {
    let all = listener.between(told.since, Instant::now());
    let late = |said: &&Said| !told.stood_at(said.at, said.stalled);
    assert!(all.iter().any(|said| late(&said)), "the broker was not away for long enough");
    for said in all.iter().filter(late) {
        let away = matches!(said.state.as_str(), "nats_unavailable" | "ledger_unavailable");
        let since = said.at - told.since;
        assert!(away && !said.ready, "{} {since:?} after that: {said:?}", said.part);
    }
}

/// The broker is killed, and started again on the same files.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_away_is_told_and_waited_for() {
    let mut rig = Rig::new(&config(100)).await;
    rig.init();
    let store = rig.sqlite();
    let mut all = Everybody::start(&rig, &store).await;
    assert_eq!(rig.book(&ask(1)).await["outcome"], "granted");
    let [a, _] = &all.engines;
    let places =
        "giliran_free_places{date=\"2030-01-07\",office=\"alpha\",opening=\"w\",session=\"all\"}";
    assert_eq!(a.metric(places).await, Some(99.0));
    assert_eq!(a.metric("giliran_queue_depth").await, Some(0.0));
    let listener = all.listen();
    // Beyond the ten seconds that a question waits for its answer.
    let times: &[u64] = if long() { &[25, 60] } else { &[14] };
    for (n, away) in times.iter().enumerate() {
        let told = Promise::within(REPORTED_WITHIN);
        rig.server.kill().await.unwrap();
        tokio::time::sleep(Duration::from_secs(*away)).await;
        nobody_works(&listener, &told);
        rig.server.restart().await.unwrap();
        let back = Promise::within(BACK_WITHIN);
        all.all_work_in_time(&back).await;
        eprintln!("after {away} s away, back after {:?}", back.since.elapsed());
        assert_eq!(rig.book(&ask(2 + n as u32)).await["outcome"], "granted");
        all.all_live();
    }
    drop(listener);
    rig.audit(&[&store]).await;
}

/// The broker hangs: it takes connections and answers nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_is_told_as_one_that_is_away() {
    let rig = Rig::new(&config(100)).await;
    rig.init();
    let store = rig.sqlite();
    let mut all = Everybody::start(&rig, &store).await;
    let listener = all.listen();
    let told = Promise::within(REPORTED_WITHIN);
    rig.signal_server("-STOP");
    tokio::time::sleep(Duration::from_secs(if long() { 40 } else { 14 })).await;
    nobody_works(&listener, &told);
    rig.signal_server("-CONT");
    all.all_work_in_time(&Promise::within(BACK_WITHIN)).await;
    assert_eq!(rig.book(&ask(1)).await["outcome"], "granted");
    all.all_live();
}

/// A role that is started before its broker waits for it, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_waits_for_a_broker_that_is_not_there_yet() {
    let mut rig = Rig::new(&config(100)).await;
    rig.init();
    rig.server.kill().await.unwrap();
    let roles =
        [("engine", rig.serve("a")), ("persist", rig.persist(&rig.sqlite())), ("feed", rig.feed())];
    for (part, role) in &roles {
        let told = role.until(part, "nats_unavailable", WITHIN).await;
        assert!(told["detail"].as_str().unwrap().contains("--nats"), "{told}");
    }
    rig.server.restart().await.unwrap();
    for ((part, role), state) in roles.iter().zip(["active", "following", "following"]) {
        role.until(part, state, WITHIN).await;
    }
}
