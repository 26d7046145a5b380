//! A ledger damaged for real, and the way out: `giliran ledger rebuild`.

use std::time::{Duration, Instant};

use giliran_engine::rebuild::Damaged;
use giliran_nats::ledger;
use giliran_wire::ledger::{Block, Signed};
use giliran_wire::{BlockHash, WriterNonce};

use crate::WITHIN;
use crate::away::{REPORTED_WITHIN, ask};
use crate::promise::Promise;
use crate::rig::{Rig, config};
use crate::watched::Everybody;

/// Somebody who may write the ledger's subject appends a block of the active engine's
/// own epoch and nonce that does not continue the chain. Everything stops and says so;
/// the ledger is rebuilt from its good blocks; everybody goes on by itself, store and
/// events included, and the audit finds nothing wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_ledger_goes_on_behind_its_last_good_block() {
    let rig = Rig::new(&config(100)).await;
    rig.init();
    let store = rig.sqlite();
    let mut all = Everybody::start(&rig, &store).await;
    let told = rig.book(&ask(1)).await;
    assert_eq!(told["outcome"], "granted");
    let good = rig.tail().await;
    all.all_stand_at(good).await;

    forge(&rig).await;
    // Whoever writes meets it at the next block.
    let settled = rig
        .ask("book", ask(2).to_string())
        .await
        .is_some_and(|answer| answer["outcome"] == "granted" || answer["reason"] != "busy");
    assert!(!settled, "nobody decides on a damaged ledger");
    all.all_say_in_time("damaged", &Promise::within(REPORTED_WITHIN)).await;
    let damaged = rig.tail().await;
    assert!(damaged > good);

    let signed = ["--operator", "siti", "--reason", "a forged block"];
    let rebuild = [&["ledger", "rebuild"], &signed[..]].concat();
    let since = Instant::now();
    let said = loop {
        let (code, out, said) = rig.run(&rebuild);
        if code == 0 {
            break out;
        }
        assert!(said.contains("holds the lease") && since.elapsed() < WITHIN, "{said}");
    };
    assert!(said.contains(&format!("ledger damaged at sequence {}", good + 1)), "{said}");
    assert!(said.contains("given up      1 blocks with 0 grants"), "{said}");
    assert_eq!(rig.tail().await, damaged, "it was only shown");
    let said = rig.done(&[&rebuild[..], &["--yes"]].concat());
    assert!(said.contains("rebuilt       GILIRAN_V1_LEDGER_2"), "{said}");

    all.all_work(Duration::from_secs(60)).await;
    assert_eq!(rig.book(&ask(1)).await["booking"], told["booking"], "what was told still is so");
    let next = rig.book(&ask(3)).await;
    assert_eq!(next["booking"]["numbers"][0], 2);
    assert!(next["as_of"]["seq"].as_u64() > Some(damaged), "no sequence comes twice: {next}");
    let facts = rig.audit(&[&store]).await;
    assert_eq!(facts.bookings(), 2);
    let ledger = ledger::open(&rig.client, &rig.namespace).await.unwrap();
    let before = ledger.of_generation(1).await.unwrap().expect("nothing is deleted");
    assert_eq!(before.tail().await.unwrap().1, damaged);

    let (code, _, said) = rig.run(&rebuild);
    assert_eq!(code, 1);
    assert!(said.contains("holds the lease"), "{said}");
    all.engines.iter_mut().for_each(crate::rig::Role::kill);
    let since = Instant::now();
    loop {
        let (code, _, said) = rig.run(&rebuild);
        assert_eq!(code, 1, "a ledger that is fine is not rebuilt");
        if said.contains("there is nothing to rebuild") {
            break;
        }
        assert!(since.elapsed() < WITHIN, "{said}");
    }
}

/// The begin of the next generation takes many blocks; whoever wrote the first of them
/// is gone. The next try finishes it, and comes to the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_was_interrupted_is_finished() {
    const PART_BYTES: usize = 256;
    let rig = Rig::new(&config(100)).await;
    rig.init();
    let mut engine = rig.serve("a");
    rig.open().await;
    for n in 1..=20 {
        assert_eq!(rig.book(&ask(n)).await["outcome"], "granted");
    }
    engine.kill();
    forge(&rig).await;
    let ledger = ledger::open(&rig.client, &rig.namespace).await.unwrap();
    let rebuild = async |name: &str, nonce| {
        let damaged = Damaged::find(&ledger).await.unwrap();
        let signed = Signed { operator: name.to_owned(), reason: "drill".to_owned() };
        Box::pin(damaged.rebuild(signed, WriterNonce([nonce; 16]), PART_BYTES)).await
    };
    let (_, tail) = rebuild("siti", 1).await.unwrap();
    let next = ledger.of_generation(2).await.unwrap().unwrap();
    let first = next.first();
    let mut written = Vec::new();
    for seq in first..=tail {
        written.push(next.read_at(seq).await.unwrap().unwrap());
    }
    assert!(written.len() > 4, "{} parts", written.len());
    next.delete().await.unwrap();
    let next = ledger.make_next().await.unwrap();
    assert_eq!(next.first(), first);
    for (seq, bytes) in (first..).zip(&written[..3]) {
        next.append(seq - 1, bytes.clone()).await.unwrap();
    }
    assert!(ledger.goes_on().await.unwrap().is_none(), "it is not complete");
    assert_eq!(rebuild("budi", 2).await.unwrap().1, tail);
    for (seq, bytes) in (first..).zip(&written) {
        assert_eq!(next.read_at(seq).await.unwrap().as_ref(), Some(bytes), "sequence {seq}");
    }
    let _engine = rig.serve("a");
    rig.open().await;
    assert_eq!(rig.book(&ask(21)).await["booking"]["numbers"][0], 21);
}

/// Appends what the active engine might have written, but for the block that it
/// names as its predecessor.
async fn forge(rig: &Rig) {
    let ledger = ledger::open(&rig.client, &rig.namespace).await.unwrap();
    let (_, tail) = ledger.tail().await.unwrap();
    let (last, _) = Block::open(&ledger.read_at(tail).await.unwrap().unwrap()).unwrap();
    let forged = Block {
        number: last.number + 1,
        previous: BlockHash([7; 32]),
        entries: Vec::new(),
        ..last
    };
    ledger.append(tail, forged.seal().bytes.into()).await.unwrap();
}
