//! The feed against a real nats-server. Each test has a server and a ledger of
//! its own, and writes blocks as an engine does.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::ops::Deref;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::{self, consumer::AckPolicy, consumer::pull, stream};
use futures_util::StreamExt;
use giliran_feed::{Feed, FeedError};
use giliran_nats::connection::{Login, connect};
use giliran_nats::follower::{Progress, View};
use giliran_nats::ledger::append::{AppendOutcome, Appender};
use giliran_nats::ledger::{self, Ledger};
use giliran_nats::server::ServerOptions;
use giliran_nats::state::{Report, State};
use giliran_testkit::{
    self as testkit, Broker, LEDGER, genesis, next_block, session, slot, take_over,
};
use giliran_wire::answer::FreePlaces;
use giliran_wire::catalogue::OpeningDescription;
use giliran_wire::event::{EventId, FeedEvents, FeedPosition};
use giliran_wire::ledger::{Block, Chain, Entry, Grant, Office, OpeningRecord, Seat, Session};
use giliran_wire::subject::Namespace;
use giliran_wire::{BlockHash, BookingId, LedgerId, Pseudonym, Timestamp, WriterNonce};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SLOTS: u32 = 4;
const QUOTA: u16 = 60_000;
const PATIENCE: Duration = Duration::from_secs(40);

/// A server, a ledger and its writer.
struct Rig {
    broker: Broker,
    ledger: Ledger,
    appender: Appender,
    /// The sequence and the block that come next.
    next: Block,
    seq: u64,
    /// Ids of the events that the blocks call for, and the request each is of.
    expected: Vec<(EventId, String)>,
    granted: [u16; SLOTS as usize],
}

impl Deref for Rig {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.broker
    }
}

/// A feed that runs.
struct Running {
    view: View,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), FeedError>>,
}

impl Rig {
    async fn start() -> Self {
        Self::start_with("", Login::default()).await
    }

    /// With more lines in the server's configuration.
    async fn start_with(more: &str, login: Login) -> Self {
        let change = |options: &mut ServerOptions| {
            (options.sync_always, options.more) = (true, more.to_owned());
        };
        let broker = Broker::with(change, &login).await;
        let (client, namespace, time) =
            (&broker.client, &broker.namespace, giliran_nats::clock::now());
        let ledger = ledger::init(client, namespace, genesis(), LEDGER, time, 1).await.unwrap();
        let appender = ledger.appender(client).await.unwrap();
        let mut chain = Chain::new();
        chain.read_bytes(1, &ledger.read_at(1).await.unwrap().unwrap()).unwrap();
        let next = next_block(&chain, Vec::new());
        let next = Block { epoch: 1, writer: WriterNonce([1; 16]), ..next };
        let (expected, granted) = (Vec::new(), [0; SLOTS as usize]);
        let mut rig = Self { broker, ledger, appender, next, seq: 1, expected, granted };
        let opened = Entry::Opened { opening: 0 };
        rig.append(vec![Entry::TakeOver(take_over()), Entry::Opening(opening(time)), opened]).await;
        rig
    }

    async fn append(&mut self, entries: Vec<Entry>) {
        let sealed = Block { entries, ..self.next.clone() }.seal();
        let seq = self.store(sealed.bytes).await;
        (self.seq, self.next.previous) = (seq, sealed.hash);
        self.next.number += 1;
    }

    /// Appends until it is stored, whatever becomes of the broker.
    async fn store(&mut self, bytes: Vec<u8>) -> u64 {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if self.appender.send(&self.ledger, 0, self.seq, bytes.clone().into()).await.is_ok() {
                let outcome = tokio::time::timeout(Duration::from_secs(2), self.appender.next());
                match outcome.await {
                    Ok((_, AppendOutcome::Stored { seq })) => return seq,
                    Ok((_, AppendOutcome::WrongLastSequence)) => return self.seq + 1,
                    _ => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("a block is not stored");
    }

    /// A block of so many grants.
    async fn grant(&mut self, grants: u32) {
        let mut entries = Vec::new();
        for n in 0..grants {
            let number = self.expected.len() as u64;
            let slot = (number % u64::from(SLOTS)) as u32;
            let granted = &mut self.granted[slot as usize];
            *granted += 1;
            let request_id = format!("request-{number}");
            self.expected
                .push((EventId { ledger: LEDGER, seq: self.seq + 1, n }, request_id.clone()));
            let seat = Seat { applicant: person(number), number: *granted };
            let reference = Some("ref".to_owned());
            entries.push(Entry::Grant(Grant {
                request_id,
                reference,
                ..testkit::grant(number, slot, seat)
            }));
        }
        self.append(entries).await;
    }

    /// What a writer that was deposed leaves behind.
    async fn void(&mut self) {
        let block = Block {
            epoch: 0,
            writer: WriterNonce([0; 16]),
            previous: BlockHash::ZERO,
            entries: vec![Entry::Opened { opening: 0 }],
            ..self.next.clone()
        };
        self.seq = self.store(block.seal().bytes).await;
    }

    /// Starts a feed with a connection of its own.
    async fn feed(&self) -> Running {
        self.feed_as(&Login::default()).await
    }

    async fn feed_as(&self, login: &Login) -> Running {
        let client = connect(&self.server.url(), "feed", login).await.unwrap();
        let ledger = ledger::open(&client, &Namespace::default()).await.unwrap();
        let shutdown = CancellationToken::new();
        let asked = shutdown.clone();
        let feed = Feed::new(client, Namespace::default());
        let view = feed.view();
        let task = tokio::spawn(async move { feed.run(ledger, asked).await });
        Running { view, shutdown, task }
    }

    /// The stream holds the event of each grant, once and in order.
    async fn check_events(&self) {
        let context = jetstream::new(self.client.clone());
        let stream = context.get_stream(Namespace::default().events_stream()).await.unwrap();
        let there = stream.get_info().await.unwrap().state.messages;
        assert_eq!(there, self.expected.len() as u64, "events in the stream");
        let config = pull::Config { ack_policy: AckPolicy::None, ..Default::default() };
        let consumer = stream.create_consumer(config).await.unwrap();
        let mut messages = consumer.messages().await.unwrap();
        for (id, request_id) in &self.expected {
            let message = messages.next().await.unwrap().unwrap();
            let headers = message.headers.as_ref().unwrap();
            assert_eq!(headers.get("Nats-Msg-Id").unwrap().as_str(), id.to_string());
            assert_eq!(
                headers.get("Content-Type").unwrap().as_str(),
                "application/cloudevents+json"
            );
            let event: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(event["id"], id.to_string());
            assert_eq!(event["data"]["booking"]["request_id"], *request_id);
        }
    }

    /// What the bucket of openings has: ids and the names of their offices.
    async fn openings(&self) -> Vec<(String, String)> {
        let context = jetstream::new(self.client.clone());
        let bucket = context.get_key_value(Namespace::default().openings_bucket()).await.unwrap();
        let mut keys = bucket.keys().await.unwrap();
        let mut openings = Vec::new();
        while let Some(key) = keys.next().await {
            let key = key.unwrap();
            let value = bucket.get(&key).await.unwrap().unwrap();
            let told: OpeningDescription = serde_json::from_slice(&value).unwrap();
            openings.push((key, told.offices[0].name.clone()));
        }
        openings
    }

    /// The bucket of openings comes to hold the one there is.
    async fn check_openings(&self) {
        let since = Instant::now();
        while self.openings().await != [("week".to_owned(), "Harbour".to_owned())] {
            assert!(since.elapsed() < PATIENCE, "{:?}", self.openings().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The bucket comes to hold what is free.
    async fn check_places(&self) {
        let context = jetstream::new(self.client.clone());
        let bucket =
            context.get_key_value(Namespace::default().availability_bucket()).await.unwrap();
        let since = Instant::now();
        for slot in 0..SLOTS {
            let key = format!("week.harbour.{}.all", date(slot));
            let free = QUOTA - self.granted[slot as usize];
            loop {
                let value = bucket.get(&key).await.unwrap().unwrap_or_default();
                let read = serde_json::from_slice::<FreePlaces>(&value).ok();
                let shown = read.map(|read| (read.quota, read.free));
                if shown == Some((u32::from(QUOTA), i32::from(free))) {
                    break;
                }
                assert!(since.elapsed() < PATIENCE, "{key}: {value:?}, not {free} free");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

impl Running {
    /// Waits until what there is to see is so.
    async fn until(&mut self, what: &str, reached: impl Fn(State, Progress) -> bool) -> Report {
        let since = Instant::now();
        loop {
            let (report, progress) = self.view.look();
            if reached(report.state, progress) {
                return report;
            }
            assert!(since.elapsed() < PATIENCE, "not {what}: {report:?} {progress:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks it to end; it does within two seconds.
    async fn stop(self) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(2), self.task).await;
        ended.expect("it ends in time").unwrap().unwrap();
        assert_eq!(self.view.look().0.state, State::Stopped);
    }
}

fn date(slot: u32) -> String {
    format!("2030-01-{:02}", slot + 1)
}

fn person(number: u64) -> Pseudonym {
    Pseudonym::from_bytes(u128::from(number).to_be_bytes())
}

fn opening(now: Timestamp) -> Box<OpeningRecord> {
    let session = Session { label: "All day".to_owned(), ..session("all") };
    let office =
        Office { id: "harbour".to_owned(), name: "Harbour".to_owned(), sessions: vec![session] };
    Box::new(OpeningRecord {
        id: "week".to_owned(),
        timezone: "Asia/Jakarta".to_owned(),
        opens_at: now,
        closes_at: now.plus_millis(3_600_000),
        offices: vec![office],
        slots: (0..SLOTS).map(|n| slot(0, 0, &date(n), QUOTA)).collect(),
        ..testkit::opening(&[])
    })
}

/// The feed is killed in the middle, starts again, and the server is killed
/// under it: still one event per grant, in ledger order.
#[tokio::test(flavor = "multi_thread")]
async fn every_grant_is_told_once_through_crashes() {
    let mut rig = Rig::start().await;
    for _ in 0..30 {
        rig.grant(500).await;
    }
    rig.void().await;
    let mut feed = rig.feed().await;
    feed.until("in the middle", |_, to| to.done >= 2_000).await;
    feed.task.abort();
    let _ = feed.task.await;

    for _ in 0..20 {
        rig.grant(500).await;
    }
    let mut feed = rig.feed().await;
    feed.until("going on", |_, to| to.done >= 1_000).await;
    rig.broker.server.restart().await.unwrap();
    for _ in 0..5 {
        rig.grant(500).await;
    }
    let tail = rig.seq;
    feed.until("at the tail", |state, to| to.seq == tail && state == State::Following).await;
    rig.check_events().await;
    rig.check_places().await;

    // Killed while it is idle, and while grants come in.
    rig.broker.server.restart().await.unwrap();
    rig.grant(300).await;
    rig.broker.server.restart().await.unwrap();
    rig.grant(7).await;
    let tail = rig.seq;
    feed.until("at the tail", |state, to| to.seq == tail && state == State::Following).await;
    rig.check_events().await;
    rig.check_places().await;
    feed.stop().await;
}

/// A crash takes acknowledged events and free places with it; nothing is granted
/// afterwards. The feed finds out and tells them again.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_lost_is_told_again() {
    let mut rig = Rig::start().await;
    rig.grant(200).await;
    let mut feed = rig.feed().await;
    let tail = rig.seq;
    feed.until("at the tail", |_, to| to.seq == tail).await;
    rig.check_places().await;
    rig.broker.server.kill().await.unwrap();
    let streams = rig.folder.path().join("nats/jetstream/jetstream/$G/streams");
    std::fs::remove_dir_all(streams.join("GILIRAN_V1_EVENTS")).unwrap();
    std::fs::remove_dir_all(streams.join("KV_giliran-v1-availability")).unwrap();
    std::fs::remove_dir_all(streams.join("KV_giliran-v1-openings")).unwrap();
    rig.broker.server.restart().await.unwrap();
    feed.until("told again", |_, to| to.done >= 400).await;
    rig.check_events().await;
    rig.check_places().await;
    rig.check_openings().await;
    feed.stop().await;
}

/// Each event comes on a plain subject as well, once it is stored, with its sequence; and the
/// feed says how far it is, so that an event that was lost on the way is missed. An event
/// stream of an older feed, whose broker republishes each event, is changed at the start.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_heard_with_their_sequence() {
    let mut rig = Rig::start().await;
    let context = jetstream::new(rig.client.clone());
    let namespace = Namespace::default();
    let feed = rig.feed().await;
    rig.grant(2).await;
    let events = loop {
        if let Ok(events) = context.get_stream(namespace.events_stream()).await
            && events.cached_info().state.last_sequence == 2
        {
            break events;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    feed.stop().await;
    let made = events.cached_info().config.clone();
    let republish = stream::Republish {
        source: namespace.events_filter(),
        destination: "giliran.v1.feed.event.>".to_owned(),
        headers_only: false,
    };
    let before = stream::Config { republish: Some(republish), ..made.clone() };
    context.update_stream(&before).await.unwrap();
    let mut heard = rig.client.subscribe("giliran.v1.feed.>").await.unwrap();
    let feed = rig.feed().await;
    let mut next = async || {
        let message = tokio::time::timeout(PATIENCE, heard.next()).await;
        message.expect("something is heard").unwrap()
    };
    // It is at the end of the ledger, so the stream has been changed.
    let position: FeedPosition = loop {
        let message = next().await;
        assert_eq!(*message.subject, *namespace.feed_position());
        let position: FeedPosition = serde_json::from_slice(&message.payload).unwrap();
        if position.as_of.seq == rig.seq {
            break position;
        }
    };
    assert_eq!(position.events, 2);
    let events = context.get_stream(namespace.events_stream()).await.unwrap();
    assert_eq!(events.cached_info().config, made);
    // More than one message holds, and more than are on their way at once.
    rig.grant(3).await;
    rig.grant(6_000).await;
    let (mut told, mut messages, mut last) = (2, 0, 0);
    while last < 6_005 {
        let message = next().await;
        if *message.subject == *namespace.feed_position() {
            last = serde_json::from_slice::<FeedPosition>(&message.payload).unwrap().events;
            continue;
        }
        assert_eq!(*message.subject, *namespace.feed_events());
        let heard: FeedEvents<'_> = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(heard.first, told as u64 + 1, "one behind the other, and none twice");
        let stream = events.get_info().await.unwrap().state;
        assert!(stream.last_sequence >= told as u64 + heard.events.len() as u64, "stored before");
        for event in &heard.events {
            assert_eq!(event.id, rig.expected[told].0.to_string());
            told += 1;
        }
        messages += 1;
    }
    assert_eq!(told, 6_005);
    assert!((20..600).contains(&messages), "{messages} messages");
    feed.stop().await;
}

/// What the broker refuses is not heard: only what is stored is.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_not_stored_is_not_heard() {
    let mut rig = Rig::start().await;
    let context = jetstream::new(rig.client.clone());
    let mut feed = rig.feed().await;
    rig.grant(2).await;
    let tail = rig.seq;
    feed.until("at the tail", |_, to| to.seq == tail).await;
    let events = context.get_stream(Namespace::default().events_stream()).await.unwrap();
    let there = events.cached_info().config.clone();
    let full = stream::Config { max_messages: 4, ..there.clone() };
    context.update_stream(&full).await.unwrap();
    let mut heard = rig.client.subscribe(Namespace::default().feed_events()).await.unwrap();
    rig.grant(5).await;
    let mut next = async || {
        let message = tokio::time::timeout(PATIENCE, heard.next()).await;
        let message = message.expect("something is heard").unwrap();
        let told: FeedEvents<'_> = serde_json::from_slice(&message.payload).unwrap();
        (told.first, told.events.len())
    };
    assert_eq!(next().await, (3, 2));
    feed.until("refused", |state, _| state == State::Resyncing).await;
    context.update_stream(&stream::Config { max_messages: -1, ..there }).await.unwrap();
    assert_eq!(next().await, (5, 3));
    rig.check_events().await;
    feed.stop().await;
}

/// The catalogue has the openings in memory: one that left it while no feed ran is taken
/// back at the next start, what stands there otherwise is put right.
#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_of_openings_has_those_in_memory() {
    let rig = Rig::start().await;
    let mut feed = rig.feed().await;
    feed.until("following", |state, _| state == State::Following).await;
    rig.check_openings().await;
    feed.stop().await;
    let context = jetstream::new(rig.client.clone());
    let bucket = context.get_key_value(Namespace::default().openings_bucket()).await.unwrap();
    let mut other: OpeningDescription =
        serde_json::from_slice(&bucket.get("week").await.unwrap().unwrap()).unwrap();
    other.offices[0].name = "Harbor".to_owned();
    for key in ["week", "last-week"] {
        bucket.put(key, serde_json::to_vec(&other).unwrap().into()).await.unwrap();
    }
    assert_eq!(rig.openings().await.len(), 2);
    let feed = rig.feed().await;
    rig.check_openings().await;
    feed.stop().await;
}

/// Two copies: one publishes, the other waits, and takes over from one that ends
/// and from one that is killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_waits_for_its_turn() {
    let mut rig = Rig::start().await;
    let mut first = rig.feed().await;
    first.until("following", |state, _| state == State::Following).await;
    let mut second = rig.feed().await;
    second.until("waiting", |state, _| state == State::Waiting).await;
    rig.grant(100).await;
    let tail = rig.seq;
    first.until("at the tail", |_, to| to.seq == tail).await;
    first.stop().await;
    second.until("following", |state, to| to.seq == tail && state == State::Following).await;
    assert_eq!(second.view.look().1.done, 0);

    let mut third = rig.feed().await;
    third.until("waiting", |state, _| state == State::Waiting).await;
    second.task.abort();
    rig.grant(100).await;
    let tail = rig.seq;
    third.until("at the tail", |_, to| to.seq == tail).await;
    rig.check_events().await;
    rig.check_places().await;
    third.stop().await;
}

/// A feed that never heard of the other's turn meets its events and goes on
/// behind them.
#[tokio::test(flavor = "multi_thread")]
async fn a_rivals_events_are_found_and_followed() {
    let mut rig = Rig::start().await;
    rig.grant(10).await;
    let mut feed = rig.feed().await;
    let tail = rig.seq;
    feed.until("at the tail", |_, to| to.seq == tail).await;
    // The event that this feed would publish next, by somebody else.
    let id = EventId { ledger: LEDGER, seq: rig.seq + 1, n: 0 };
    let payload =
        format!("{{\"id\":\"{id}\",\"data\":{{\"booking\":{{\"request_id\":\"request-10\"}}}}}}");
    rig.publish(&id.to_string(), payload).await;
    rig.grant(10).await;
    let tail = rig.seq;
    feed.until("at the tail", |_, to| to.seq == tail).await;
    rig.check_events().await;
    feed.stop().await;
}

/// The ledger has somebody else at the place of the last event: it lost blocks, and
/// went on otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_history_stops_the_feed() {
    let mut rig = Rig::start().await;
    rig.grant(10).await;
    let mut feed = rig.feed().await;
    feed.until("at the tail", |_, to| to.seq == 3).await;
    feed.stop().await;
    let (id, other) = (EventId { ledger: LEDGER, seq: 4, n: 0 }, BookingId::from_random(77));
    let payload = format!("{{\"id\":\"{id}\",\"data\":{{\"booking\":{{\"id\":\"{other}\"}}}}}}");
    rig.publish(&id.to_string(), payload).await;
    rig.grant(10).await;
    let mut feed = rig.feed().await;
    let report = feed.until("at odds", |state, _| state == State::Mismatch).await;
    assert!(report.detail.contains(&format!("is about {other}")), "{report:?}");
    feed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_that_does_not_fit_stops_the_feed() {
    let other = LedgerId([8; 16]);
    for (id, said) in [
        (format!("{other}/2/0"), "this is ledger"),
        (format!("{LEDGER}/99/0"), "the ledger ends at 3"),
        (format!("{LEDGER}/3/10"), "that block has 10 entries"),
        ("hello".to_owned(), "not one of this feed's"),
    ] {
        let mut rig = Rig::start().await;
        rig.grant(10).await;
        let mut feed = rig.feed().await;
        feed.until("at the tail", |_, to| to.seq == 3).await;
        feed.stop().await;
        rig.publish(&id, "{}".to_owned()).await;
        let mut feed = rig.feed().await;
        let report = feed.until("at odds", |state, _| state == State::Mismatch).await;
        assert!(report.detail.contains(said), "{report:?}");
        feed.stop().await;
    }
}

impl Rig {
    /// Publishes an event as somebody else would.
    async fn publish(&self, id: &str, payload: String) {
        let context = jetstream::new(self.client.clone());
        let subject = Namespace::default().event("confirmed", "harbour", "2030-01-01");
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        headers.insert("Content-Type", "application/cloudevents+json");
        let ack = context.publish_with_headers(subject, headers, payload.into()).await.unwrap();
        ack.await.unwrap();
    }
}

/// Without permission for the lease it goes on, alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_without_permission_for_the_lease_goes_on() {
    let login = |user: &str| Login {
        user: Some(user.to_owned()),
        password: Some("secret".to_owned()),
        ..Login::default()
    };
    let more = r#"authorization { users: [
        { user: test, password: secret }
        { user: feed, password: secret, permissions: { publish: { deny: [
            "$KV.giliran-v1-lease.>", "$JS.API.*.*.KV_giliran-v1-lease",
            "$JS.API.STREAM.MSG.GET.KV_giliran-v1-lease"
        ] } } }
    ] }"#;
    let mut rig = Rig::start_with(more, login("test")).await;
    rig.grant(10).await;
    let mut feed = rig.feed_as(&login("feed")).await;
    let tail = rig.seq;
    feed.until("at the tail", |state, to| to.seq == tail && state == State::Following).await;
    rig.check_events().await;
    rig.check_places().await;
    feed.stop().await;
}

/// The way out of an event stream that does not fit, and what a lost tail looks
/// like: an idle feed finds the stream empty and writes every event again.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_event_stream_is_filled_again() {
    let mut rig = Rig::start().await;
    rig.grant(10).await;
    let mut feed = rig.feed().await;
    let tail = rig.seq;
    feed.until("at the tail", |_, to| to.seq == tail).await;
    let context = jetstream::new(rig.client.clone());
    let stream = context.get_stream(Namespace::default().events_stream()).await.unwrap();
    let deleted = stream.delete_message(10).await;
    assert!(deleted.is_err(), "single events cannot be deleted");
    let config = stream.cached_info().config.clone();
    context.delete_stream(&config.name).await.unwrap();
    context.create_stream(config).await.unwrap();
    feed.until("told again", |_, to| to.done == 20 && to.seq == tail).await;
    rig.check_events().await;
    feed.stop().await;
}

/// A broker that is away for longer shows, and is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_waited_for() {
    let mut rig = Rig::start().await;
    rig.grant(10).await;
    let mut feed = rig.feed().await;
    feed.until("following", |state, _| state == State::Following).await;
    rig.broker.server.kill().await.unwrap();
    feed.until("waiting", |state, _| state == State::NatsUnavailable).await;
    rig.broker.server.restart().await.unwrap();
    rig.grant(10).await;
    let tail = rig.seq;
    feed.until("at the tail", |state, to| to.seq == tail && state == State::Following).await;
    rig.check_events().await;
    rig.check_places().await;
    feed.stop().await;
}

/// A broker that is away holds nobody up who wants to end.
#[tokio::test(flavor = "multi_thread")]
async fn it_ends_in_time_without_a_broker() {
    let mut rig = Rig::start().await;
    rig.grant(10).await;
    let mut feed = rig.feed().await;
    feed.until("following", |state, _| state == State::Following).await;
    rig.broker.server.kill().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    feed.stop().await;
}

/// How fast a backlog is told:
/// `cargo test --release -p giliran-feed --test feed -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn rate_of_a_backlog() {
    const BLOCKS: u32 = 100;
    const GRANTS: u32 = 2_000;
    let mut rig = Rig::start().await;
    for _ in 0..BLOCKS {
        rig.grant(GRANTS).await;
    }
    let since = Instant::now();
    let mut feed = rig.feed().await;
    let tail = rig.seq;
    feed.until("at the tail", |_, to| to.seq == tail).await;
    let took = since.elapsed();
    let events = f64::from(BLOCKS * GRANTS);
    println!("{events} events in {took:?}: {:.0} a second", events / took.as_secs_f64());
    rig.check_events().await;
    feed.stop().await;
}
