//! The ledger goes on in another stream, under load and through kills; the old
//! stream is archived and deleted; readers begin with what is left.

use std::path::Path;
use std::time::Duration;

use giliran_nats::ledger;
use serde_json::json;

use crate::rig::{Rig, config, database, text};

impl Rig {
    async fn roll(&self) -> Option<serde_json::Value> {
        let request = json!({ "operator": "siti", "reason": "test" });
        self.ask("admin.roll", request.to_string()).await
    }

    /// The newest generation that holds blocks.
    async fn generation(&self) -> u32 {
        ledger::open(&self.client, &self.namespace).await.unwrap().generation()
    }

    async fn streams(&self) -> Vec<u32> {
        let ledger = ledger::open(&self.client, &self.namespace).await.unwrap();
        ledger.generations().await.unwrap()
    }
}

/// Rolled thrice in mid-surge; the third time the engine is killed (-9) while it
/// rolls, and a standby brings the begin to its end. Nobody notices: client log =
/// ledger = both stores = events, exactly the quota, and each generation is sealed
/// with the fold of the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn rolled_in_mid_surge() {
    let rig = Rig::new(&config(1_500)).await;
    rig.init();
    let (sqlite, postgres) = (rig.sqlite(), database().await);
    let mut a = rig.serve("a");
    rig.open().await;
    let _b = rig.serve("b");
    let _stores = (rig.persist(&sqlite), rig.persist(&postgres));
    let _feed = rig.feed();
    let (live, surge) = rig.surge(10_000, 2_500);
    while live.view().granted == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for generation in [2, 3] {
        let answer = rig.roll().await.expect("an answer");
        assert_eq!(answer["outcome"], "done", "{answer}");
        assert_eq!(rig.generation().await, generation);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let sealed = tokio::time::timeout(Duration::from_millis(40), rig.roll()).await;
    a.kill();
    surge.await.unwrap();
    rig.open().await;
    if sealed.is_err() && rig.generation().await == 3 {
        // Killed before the seal was stored.
        assert_eq!(rig.roll().await.expect("an answer")["outcome"], "done");
    }
    assert!(rig.generation().await >= 4, "{:?}", rig.streams().await);
    let facts = rig.audit(&[&sqlite, &postgres]).await;
    for (_, office, date, session, quota, taken) in facts.slots() {
        let expected = if session == "priority" { 0 } else { u32::from(quota) };
        assert_eq!(taken, expected, "{office} {date} {session}");
    }
    assert_eq!(rig.stored(&sqlite).await, facts.bookings());
    assert_eq!(rig.stored(&postgres).await, facts.bookings());
}

/// An old stream goes only once everybody has passed its end. What is left serves
/// a new engine; the archive serves a new store and the audit.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_stream_is_archived_and_deleted() {
    let rig = Rig::new(&config(30)).await;
    rig.init();
    let sqlite = rig.sqlite();
    let mut a = rig.serve("a");
    rig.open().await;
    let mut store = rig.persist(&sqlite);
    let mut feed = rig.feed();
    let book = |n: usize| {
        json!({
            "request_id": format!("r{n}"),
            "applicants": [format!("p{n}")],
            "choices": [{ "office": "alpha", "date": "2030-01-07" }],
        })
    };
    let first = rig.book(&book(1)).await;
    assert_eq!(first["outcome"], "granted", "{first}");
    rig.audit(&[&sqlite]).await;
    let folder = rig.path("archive");
    let archive = ["archive", "--to", text(&folder)];
    let (code, said, _) = rig.run(&archive);
    assert_eq!(code, 0);
    assert!(said.contains("nothing to archive"), "{said}");

    store.kill();
    feed.kill();
    let second = rig.book(&book(2)).await;
    assert_eq!(rig.roll().await.expect("an answer")["outcome"], "done");
    assert!(second["as_of"]["seq"].as_u64() > first["as_of"]["seq"].as_u64());
    let third = rig.book(&book(3)).await;
    assert!(third["as_of"]["seq"].as_u64() > second["as_of"]["seq"].as_u64(), "{third}");
    let (code, _, said) = rig.run(&archive);
    assert_eq!((code, said.contains("run `giliran feed`")), (1, true), "{said}");
    let mut feed = rig.feed();
    rig.audit(&[]).await;
    let (code, _, said) = rig.run(&archive);
    assert_eq!((code, said.contains("giliran-persist")), (1, true), "{said}");
    assert_eq!(rig.streams().await, [1, 2], "a store still needs it");

    // The persister goes on before the seal; the feed begins anew behind it.
    let mut store = rig.persist(&sqlite);
    rig.audit(&[&sqlite]).await;
    feed.kill();
    let mut feed = rig.feed();
    rig.book(&book(4)).await;
    rig.audit(&[&sqlite]).await;
    let (code, out, said) = rig.run(&archive);
    assert_eq!(code, 0, "{out}{said}");
    assert_eq!(rig.streams().await, [2]);
    rig.audit(&[&sqlite]).await;

    // An engine that knows nothing, a store and a feed that go on.
    for role in [&mut a, &mut store, &mut feed] {
        role.kill();
    }
    let _c = rig.serve("c");
    let _again = (rig.persist(&sqlite), rig.feed());
    rig.open().await;
    assert_eq!(rig.book(&book(1)).await["booking"], first["booking"]);
    assert_eq!(rig.book(&book(5)).await["booking"]["numbers"], json!([5]));
    rig.audit(&[&sqlite]).await;
    needs_the_archive(&rig, &sqlite, &folder).await;
}

/// An empty store needs the archive, and so does an audit.
async fn needs_the_archive(rig: &Rig, sqlite: &str, folder: &Path) {
    let other = format!("sqlite:{}", rig.path("other.sqlite").display());
    let without = rig.persist(&other);
    let told = without.until("persist", "mismatch", Duration::from_secs(10)).await;
    assert!(told["detail"].as_str().unwrap().contains("--archive"), "{told}");
    drop(without);
    let _other = rig.persist_with(&other, &["--archive", text(folder)]);
    rig.audit(&[sqlite, &other]).await;
    assert_eq!(rig.stored(&other).await, 5);
    let (code, _, said) = rig.run(&["audit"]);
    assert_eq!((code, said.contains("--archive")), (1, true), "{said}");
    let (code, said, _) = rig.run(&["audit", "--archive", text(folder), "--store", &other]);
    assert_eq!(code, 0, "{said}");

    // A byte that turned in the archive is noticed.
    let file = folder.join("GILIRAN_V1_LEDGER_1.blocks");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(rig.run(&["audit", "--archive", text(folder)]).0, 1);
}
