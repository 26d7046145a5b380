//! A ledger's streams against a real server.

#![allow(clippy::unwrap_used, reason = "tests")]

use giliran_broker::append::AppendOutcome;
use giliran_broker::connection;
use giliran_broker::ledger;
use giliran_broker::server::{self, Server, ServerOptions};
use giliran_wire::ledger::Genesis;
use giliran_wire::subject::Domain;
use giliran_wire::{KeyFingerprint, LedgerId, Timestamp};

/// Whoever has opened a generation finds the newest one from there, also once the
/// one that was opened is gone, and the next one with it; a reader that begins
/// leaves nothing behind that would keep an old one from going.
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_is_found_from_one_that_is_gone() {
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
    let genesis = Genesis {
        prefix: "giliran.v1".into(),
        applicant_key: KeyFingerprint([0; 16]),
        release: "0".into(),
        continues: None,
        rebuilt: None,
    };
    let (id, time) = (LedgerId([7; 16]), Timestamp::from_millis(5));
    let first = ledger::init(&client, &Domain::default(), genesis, id, time, 1).await.unwrap();
    assert_eq!(first.newest().await.unwrap().generation(), 1);
    let mut appender = first.appender(&client).await.unwrap();
    // One that has read it to its end, and what it said last is lost.
    drop(first.durable_reader("store", 1).await.unwrap());
    assert_eq!(first.followers().await.unwrap().len(), 1);
    let mut streams = vec![first.clone()];
    for generation in [2, 3] {
        let last = streams.last().unwrap();
        let next = last.make_next().await.unwrap();
        assert_eq!(first.newest().await.unwrap().generation(), generation - 1, "it is empty");
        let expected = next.first() - 1;
        appender.send(&next, 1, expected, "a block".into()).await.unwrap();
        let stored = AppendOutcome::Stored { seq: next.first() };
        assert_eq!(appender.next().await, (1, stored));
        assert_eq!(first.newest().await.unwrap().generation(), generation);
        streams.push(next);
    }
    drop(streams[2].durable_reader("store", 1).await.unwrap());
    assert_eq!(streams[0].followers().await.unwrap(), []);
    for gone in streams.drain(..2) {
        gone.delete().await.unwrap();
    }
    assert_eq!(first.newest().await.unwrap().generation(), 3);
    assert_eq!(first.generations().await.unwrap(), [3]);
}
