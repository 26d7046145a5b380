//! Following a ledger, and the watch beside it, against a real server.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::ops::Deref;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use giliran_nats::ErrorKind;
use giliran_nats::follower::Follower;
use giliran_nats::ledger::{self, Ledger};
use giliran_nats::state::State;
use giliran_nats::watch::{LedgerWatch, Mark};
use giliran_testkit::{Broker, LEDGER, LedgerBuilder};
use giliran_wire::ledger::{Block, Chain};
use giliran_wire::{LedgerId, Timestamp, WriterNonce};

const WITHIN: Duration = Duration::from_secs(20);
const WAIT: Duration = Duration::from_millis(100);

/// A broker, and a ledger of ten blocks in it.
struct Rig {
    broker: Broker,
    blocks: Vec<Vec<u8>>,
}

impl Deref for Rig {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.broker
    }
}

fn blocks() -> Vec<Vec<u8>> {
    let mut ledger = LedgerBuilder::new(LEDGER, Timestamp::from_millis(1_790_000_000_000));
    for writer in 2..=10 {
        ledger.take_over(writer);
    }
    ledger.blocks
}

/// The broker clears a deleted stream's folder beside its answer: for a moment after it,
/// none of that name can be made ("error creating store for stream").
async fn make_again(context: &jetstream::Context, config: &stream::Config) -> stream::Stream {
    let mut tries = 0;
    loop {
        match context.create_stream(config.clone()).await {
            Ok(stream) => return stream,
            Err(error) => assert!(tries < 50, "{error:?}"),
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Rig {
    async fn start() -> Self {
        Self { broker: Broker::start().await, blocks: blocks() }
    }

    /// Stores the blocks in a new stream, takes one out again, and makes the stream what
    /// a ledger's is: what an administrator can do, or a disk.
    async fn store(&self, blocks: &[Vec<u8>], without: Option<u64>) -> Ledger {
        let context = jetstream::new(self.client.clone());
        let name = self.namespace.ledger_stream(1);
        let _ = context.delete_stream(&name).await;
        let subject = self.namespace.ledger_subject(1);
        let config = stream::Config {
            name,
            subjects: vec![subject.clone()],
            discard: stream::DiscardPolicy::New,
            ..stream::Config::default()
        };
        let stream = make_again(&context, &config).await;
        for block in blocks {
            context.publish(subject.clone(), block.clone().into()).await.unwrap().await.unwrap();
        }
        if let Some(seq) = without {
            stream.delete_message(seq).await.unwrap();
        }
        let config = stream::Config { deny_delete: true, deny_purge: true, ..config };
        context.update_stream(config).await.unwrap();
        ledger::open(&self.client, &self.namespace).await.unwrap()
    }

    async fn consumers(&self) -> usize {
        let context = jetstream::new(self.client.clone());
        let stream = context.get_stream(self.namespace.ledger_stream(1)).await.unwrap();
        stream.cached_info().state.consumer_count
    }
}

async fn until(watch: &LedgerWatch, state: Option<State>) -> String {
    let since = Instant::now();
    loop {
        let trouble = watch.seen().trouble;
        if trouble.as_ref().map(|trouble| trouble.state) == state {
            return trouble.map(|trouble| trouble.detail).unwrap_or_default();
        }
        assert!(since.elapsed() < WITHIN, "{trouble:?}, not {state:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads on until there is an error, or nothing comes any more.
async fn read(follower: &mut Follower, chain: &mut Chain) -> Result<(), giliran_nats::Error> {
    let mut idle = 0;
    while idle < 5 {
        let blocks = follower.next(chain, 4, WAIT).await?;
        idle = if blocks.is_empty() { idle + 1 } else { 0 };
        for (seq, bytes) in blocks {
            chain.read_bytes(seq, &bytes).unwrap();
        }
    }
    Ok(())
}

/// A block is missing within the ledger: that is damage, with its sequence, and no
/// reason to make one consumer after the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_damage_and_said_once() {
    let rig = Rig::start().await;
    let ledger = rig.store(&rig.blocks, Some(6)).await;
    let watch = LedgerWatch::start(&rig.client, &rig.namespace, "test");
    let mut chain = Chain::new();
    let mut follower = Follower::new(&watch, ledger, 1, None);
    let error = read(&mut follower, &mut chain).await.unwrap_err();
    assert_eq!((error.kind(), chain.seq), (ErrorKind::Damaged, 5));
    assert!(error.to_string().contains("from sequence 6 to 6, and goes on at 7"), "{error}");
    assert!(rig.consumers().await <= 2, "{} consumers", rig.consumers().await);
    // What stands before it is what it was.
    until(&watch, None).await;
}

/// The stream is another one by now: shorter, as long and of another history, of
/// another ledger, gone. Nothing is read on in it; with the one that was read all goes
/// on.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_ledger_that_was_read_is_followed() {
    let rig = Rig::start().await;
    let ledger = rig.store(&rig.blocks[..6], None).await;
    let watch = LedgerWatch::start(&rig.client, &rig.namespace, "test");
    let mut chain = Chain::new();
    let mut follower = Follower::new(&watch, ledger, 1, None);
    read(&mut follower, &mut chain).await.unwrap();
    assert_eq!(chain.seq, 6);
    watch.done(1, 4);
    let since = Instant::now();
    while watch.seen().lag_blocks != 2 {
        assert!(since.elapsed() < WITHIN, "{:?}", watch.seen());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (shown, took) = (watch.seen().lag(), since.elapsed() + Duration::from_secs(5));
    assert!(shown > Duration::ZERO && shown < took, "{shown:?}");

    let mut fork = rig.blocks[..5].to_vec();
    for block in &rig.blocks[5..7] {
        let (mut block, _) = Block::open(block).unwrap();
        block.writer = WriterNonce([99; 16]);
        fork.push(block.seal().bytes);
    }
    let mut other = Block::open(&rig.blocks[0]).unwrap().0;
    other.ledger = LedgerId([8; 16]);
    let other = [other.seal().bytes];
    for (blocks, state, said) in [
        (&rig.blocks[..5], State::LedgerLost, "ends at sequence 5"),
        (&fork[..], State::LedgerLost, "holds block"),
        (&other[..], State::Mismatch, "was recreated"),
    ] {
        rig.store(blocks, None).await;
        let told = until(&watch, Some(state)).await;
        assert!(told.contains(said), "{told}");
        let refused = follower.next(&chain, 4, WAIT).await.unwrap_err();
        assert_eq!(State::of(refused.kind()), state, "{refused}");
        assert!(watch.confirm(&Mark::of(&chain).unwrap()).await.is_err());
        rig.store(&rig.blocks[..7], None).await;
        until(&watch, None).await;
        let mut again = chain.clone();
        read(&mut follower, &mut again).await.unwrap();
        assert_eq!(again.seq, 7, "it goes on");
    }
    jetstream::new(rig.client.clone()).delete_stream(rig.namespace.ledger_stream(1)).await.unwrap();
    let told = until(&watch, Some(State::LedgerLost)).await;
    assert!(told.contains("is gone"), "{told}");
}
