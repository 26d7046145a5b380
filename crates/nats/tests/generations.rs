//! A ledger's streams against a real server.

#![allow(clippy::unwrap_used, reason = "tests")]

use giliran_nats::ledger;
use giliran_nats::ledger::append::AppendOutcome;
use giliran_nats::ledger::reader::Durable;
use giliran_testkit::{Broker, LEDGER, genesis, next_block};
use giliran_wire::ledger::{Block, Chain, Entry, Genesis, SnapshotPart};
use giliran_wire::{BlockHash, Timestamp, WriterNonce};

/// One of the two blocks that a generation begins with.
fn begin(generation: u32, part: u32) -> Block {
    let bytes = Vec::new();
    let state = SnapshotPart { part, parts: 2, state: BlockHash([1; 32]), bytes };
    let begins = Entry::Genesis(Genesis { continues: Some(BlockHash([1; 32])), ..genesis() });
    let first = [begins, Entry::Snapshot(state.clone())];
    Block {
        generation,
        number: u64::from(generation * 10 + part),
        epoch: 1,
        writer: WriterNonce([1; 16]),
        time: Timestamp::from_millis(5),
        previous: BlockHash([1; 32]),
        ..next_block(
            &Chain::new(),
            if part == 0 { first.into() } else { vec![Entry::Snapshot(state)] },
        )
    }
}

/// Whoever has opened a generation finds the newest one from there, also once the
/// one that was opened is gone, and the next one with it; a reader that begins
/// leaves nothing behind that would keep an old one from going.
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_is_found_from_one_that_is_gone() {
    let broker = Broker::start().await;
    let (client, time) = (&broker.client, Timestamp::from_millis(5));
    let first = ledger::init(client, &broker.namespace, genesis(), LEDGER, time, 1).await.unwrap();
    assert_eq!(first.newest().await.unwrap().generation(), 1);
    let mut appender = first.appender(client).await.unwrap();
    // One that has read it to its end, and what it said last is lost.
    drop(first.durable_reader(store(), 1).await.unwrap());
    assert_eq!(first.followers().await.unwrap().len(), 1);
    let mut streams = vec![first.clone()];
    for generation in [2, 3] {
        let last = streams.last().unwrap();
        let next = last.make_next().await.unwrap();
        assert_eq!(first.newest().await.unwrap().generation(), generation - 1, "it is empty");
        let mut expected = next.first() - 1;
        let mut put = async |bytes: Vec<u8>| {
            appender.send(&next, 1, expected, bytes.into()).await.unwrap();
            expected += 1;
            assert_eq!(appender.next().await, (1, AppendOutcome::Stored { seq: expected }));
        };
        // What stands before its genesis begins nothing, and keeps nobody from it.
        put(b"no block".to_vec()).await;
        assert_eq!(first.newest().await.unwrap().generation(), generation - 1);
        assert_eq!(last.make_next().await.unwrap().name(), next.name());
        put(begin(generation, 0).seal().bytes).await;
        assert_eq!(first.newest().await.unwrap().generation(), generation);
        assert!(!next.is_begun().await.unwrap());
        put(b"no block".to_vec()).await;
        assert!(!next.is_begun().await.unwrap(), "one part of two");
        put(begin(generation, 1).seal().bytes).await;
        assert!(next.is_begun().await.unwrap());
        assert_eq!(next.genesis().await.unwrap().unwrap().0, next.first() + 1);
        streams.push(next);
    }
    drop(streams[2].durable_reader(store(), 1).await.unwrap());
    assert_eq!(streams[0].followers().await.unwrap(), []);
    for gone in streams.drain(..2) {
        gone.delete().await.unwrap();
    }
    assert_eq!(first.newest().await.unwrap().generation(), 3);
    assert_eq!(first.generations().await.unwrap(), [3]);
}

fn store() -> Durable {
    Durable { name: "store".to_owned(), description: "a store".to_owned() }
}
