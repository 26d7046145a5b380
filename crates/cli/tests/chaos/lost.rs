//! A broker that comes back without its ledger's tail.

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream;

use crate::WITHIN;
use crate::away::{REPORTED_WITHIN, ask};
use crate::promise::Promise;
use crate::rig::{Rig, config};
use crate::watched::Everybody;

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl Rig {
    /// Kills the broker, keeps its disk under `keep`, puts another one back if there is
    /// one, and starts it again.
    async fn swap_disk(&mut self, keep: &str, put_back: Option<&str>) {
        self.server.kill().await.unwrap();
        let disk = self.path("nats/jetstream");
        copy(&disk, &self.path(keep));
        if let Some(other) = put_back {
            copy(&self.path(other), &disk);
        }
        self.server.restart().await.unwrap();
    }

    pub(crate) async fn tail(&self) -> u64 {
        let ledger = giliran_nats::ledger::open(&self.client, &self.namespace).await.unwrap();
        ledger.tail().await.unwrap().1
    }
}

/// An older copy of the disk under everybody: each says that blocks are lost, within
/// seconds and with the way out; nothing is granted. With the newer copy all goes on
/// by itself. Where the loss is accepted, the documented way out works.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_tail_stops_everybody_until_it_is_back_or_given_up() {
    let mut rig = Rig::new(&config(100)).await;
    rig.init();
    let store = rig.sqlite();
    let mut all = Everybody::start(&rig, &store).await;
    assert_eq!(rig.book(&ask(1)).await["booking"]["numbers"][0], 1);
    rig.swap_disk("older", None).await;
    all.all_work(WITHIN).await;
    let told = rig.book(&ask(2)).await;
    assert_eq!(told["booking"]["numbers"][0], 2);
    all.all_stand_at(rig.tail().await).await;

    rig.swap_disk("newer", Some("older")).await;
    let said = Promise::within(REPORTED_WITHIN);
    all.all_say_in_time("ledger_lost", &said).await;
    eprintln!("a lost tail was told after {:?}", said.since.elapsed());
    let [a, _] = &all.engines;
    let said = a.health().await.unwrap()["engine"]["detail"].clone();
    assert!(said.as_str().unwrap().contains("The ledger lost blocks"), "{said}");
    assert_eq!(a.metric("giliran_state{part=\"engine\",state=\"ledger_lost\"}").await, Some(1.0));
    assert_eq!(rig.ask("book", ask(3).to_string()).await, None, "nobody answers");
    // For as long as it takes; nobody ends over it.
    tokio::time::sleep(Duration::from_secs(4)).await;
    all.all_still_say("ledger_lost").await;
    all.all_live();

    rig.swap_disk("unused", Some("newer")).await;
    all.all_work(WITHIN).await;
    assert_eq!(rig.book(&ask(2)).await["booking"], told["booking"], "what was told still is so");
    assert_eq!(rig.book(&ask(3)).await["booking"]["numbers"][0], 3);
    rig.audit(&[&store]).await;

    // Given up: everything is stopped, and begins anew from what is left.
    rig.swap_disk("newest", Some("older")).await;
    all.all_say("ledger_lost", WITHIN).await;
    drop(all);
    for engine in ["a", "b"] {
        std::fs::remove_file(rig.path(&format!("data-{engine}/high-water.json"))).unwrap();
    }
    std::fs::remove_file(rig.path("bookings.sqlite")).unwrap();
    let context = jetstream::new(rig.client.clone());
    context.delete_stream(rig.namespace.events_stream()).await.unwrap();
    let all = Everybody::start(&rig, &store).await;
    all.all_work(WITHIN).await;
    assert_eq!(rig.book(&ask(1)).await["booking"]["numbers"][0], 1);
    assert_eq!(rig.book(&ask(4)).await["booking"]["numbers"][0], 2, "it is free again");
    rig.audit(&[&store]).await;
}

/// A fresh engine goes on behind the loss, so that the stream is as long as it was.
/// Who lived through it is not deceived: the standby does not take over, store and
/// feed write nothing.
#[tokio::test(flavor = "multi_thread")]
async fn another_history_of_the_same_length_deceives_nobody() {
    let mut rig = Rig::new(&config(100)).await;
    rig.init();
    let store = rig.sqlite();
    let mut all = Everybody::start(&rig, &store).await;
    assert_eq!(rig.book(&ask(1)).await["outcome"], "granted");
    rig.swap_disk("older", None).await;
    all.all_work(WITHIN).await;
    assert_eq!(rig.book(&ask(2)).await["booking"]["numbers"][0], 2);
    let tail = rig.tail().await;
    all.all_stand_at(tail).await;
    // They sleep through it all, and wake up to a ledger that is as long as before.
    let parts = ["engine", "persist", "feed"];
    all.engines[0].kill();
    let sleepers = [&all.engines[1], &all.persist, &all.feed];
    sleepers.iter().for_each(|role| role.signal("-STOP"));
    rig.swap_disk("newer", Some("older")).await;
    let mut fresh = rig.serve("fresh");
    fresh.until("engine", "active", WITHIN).await;
    let mut n = 10;
    while rig.tail().await < tail + 2 {
        assert_eq!(rig.book(&ask(n)).await["outcome"], "granted");
        n += 1;
    }
    let seq = rig.stored(&store).await;
    sleepers.iter().for_each(|role| role.signal("-CONT"));
    let told = Promise::within(REPORTED_WITHIN);
    for (role, part) in sleepers.into_iter().zip(parts) {
        role.in_time(part, "ledger_lost", &told).await;
    }
    // The lease is free, and the standby does not take it up.
    fresh.kill();
    tokio::time::sleep(Duration::from_secs(5)).await;
    all.engines[1].still("engine", "ledger_lost").await;
    assert_eq!(rig.ask("book", ask(99).to_string()).await, None, "nobody sells");
    assert_eq!(rig.stored(&store).await, seq, "nothing was written");
    // A fresh engine can go on at any time.
    let again = rig.serve("fresh");
    again.until("engine", "active", WITHIN).await;
    assert_eq!(rig.book(&ask(10)).await["booking"]["numbers"][0], 2);
}
