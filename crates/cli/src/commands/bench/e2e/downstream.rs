//! Row S10: store and feed, each alone on a ledger that is there already, beside a program
//! that does the least: a bare load of the same rows (`benches/bare_store.rs`), and a
//! publisher of the same messages with the same acknowledgements.

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::Value;
use tokio::process::{Child, Command};

use super::super::Args;
use super::processes::{Process, Used};
use super::report::{Bound, Figure};
use super::rig::{Ground, Rig};
use super::with_roles::{CAUGHT_UP_WITHIN, LOOK, published, stored};
use crate::failure::Failure;

/// Bookings of the ledger.
const BOOKINGS: [f64; 2] = [1e4, 1e6];
/// What store and feed are to reach of the bare ones.
const STORE: f64 = 0.7;
const FEED: f64 = 0.75;
/// Names a server that makes durable what it acknowledges.
const POSTGRES: &str = "GILIRAN_BENCH_POSTGRES";
/// Messages of the bare publisher on their way at once, as of the feed.
const PUBLISHED_AT_ONCE: u64 = 4_096;
/// How long the next event, or acknowledgement, may take.
const WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn measure(args: &Args, folder: &Path) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for bookings in BOOKINGS.map(|bookings| (bookings * args.scale) as u64) {
        let folder = folder.join(format!("downstream-{bookings}"));
        std::fs::create_dir(&folder)?;
        let ground = Ground { book: bookings, ..Ground::of(args) };
        let mut rig = Rig::start(&ground, &folder).await?;
        // What is measured has the machine to itself.
        rig.stage.engine.kill().await?;
        let bookings = rig.bookings();
        for (name, bare) in [("SQLite", "sqlite:"), ("PostgreSQL", "postgres")] {
            let Some(program) = &args.bare_store else {
                eprintln!("S10: LEFT OUT: {name}: --bare-store names no program");
                continue;
            };
            let Some(urls) = urls(bare, program, &folder).await? else {
                eprintln!("S10: LEFT OUT: {name}: {POSTGRES} names no database");
                continue;
            };
            eprintln!("S10: {name}, {bookings} bookings …");
            let measured = persist(&rig, &urls[0]).await?;
            let bare = run(Command::new(program).arg("load").args(&urls)).await?;
            let bare = Cost::of(bare["took_s"].as_f64().unwrap_or(f64::NAN));
            if let (false, Ok(server)) = (urls[0].starts_with("sqlite:"), std::env::var(POSTGRES)) {
                for url in &urls {
                    run(Command::new(program).args(["remove", &server, url])).await?;
                }
            }
            figures.push(figure(name, bookings, (&measured, &bare), STORE));
        }
        eprintln!("S10: feed, {bookings} bookings …");
        let measured = feed(&rig).await?;
        let bare = publish_again(&rig).await?;
        figures.push(figure("feed", bookings, (&measured, &bare), FEED));
        rig.stop().await?;
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(figures)
}

/// What something took.
struct Cost {
    seconds: f64,
    /// Processor time of each process, by what it does.
    used: Vec<(&'static str, Duration)>,
}

impl Cost {
    fn of(seconds: f64) -> Self {
        Self { seconds, used: Vec::new() }
    }

    fn since(before: &Used, processes: &[Process]) -> Self {
        let (took, used) = before.since(processes);
        let used = processes.iter().map(|process| process.what).zip(used).collect();
        Self { seconds: took.as_secs_f64(), used }
    }

    /// In words, for so many bookings.
    fn shown(&self, bookings: u64) -> String {
        let each = |used: Duration| used.as_secs_f64() * 1e6 / bookings as f64;
        let used = |(what, used): &(_, Duration)| format!(", {what} {:.1} µs", each(*used));
        let rate = bookings as f64 / self.seconds / 1e3;
        format!("{rate:.1} k/s{}", self.used.iter().map(used).collect::<String>())
    }
}

fn figure(name: &str, bookings: u64, (measured, bare): (&Cost, &Cost), goal: f64) -> Figure {
    Figure {
        row: "S10".to_owned(),
        what: format!("{name} alone, {bookings} bookings"),
        value: bare.seconds / measured.seconds,
        unit: "× bare".to_owned(),
        goal: Some(Bound::AtLeast(goal)),
        beside: format!(
            "{} from the start of the process; bare {}",
            measured.shown(bookings),
            bare.shown(bookings)
        ),
    }
}

/// Two new stores of a kind: for `giliran persist`, and for the bare load; none: there is no
/// server.
async fn urls(kind: &str, program: &Path, folder: &Path) -> Result<Option<[String; 2]>, Failure> {
    if kind == "sqlite:" {
        let file = |name| format!("sqlite:{}", folder.join(name).display());
        return Ok(Some([file("persist.sqlite"), file("bare.sqlite")]));
    }
    let Ok(server) = std::env::var(POSTGRES) else { return Ok(None) };
    let mut urls = Vec::new();
    for _ in 0..2 {
        let made = run(Command::new(program).args(["database", &server])).await?;
        urls.push(made["url"].as_str().unwrap_or_default().to_owned());
    }
    Ok(urls.try_into().ok())
}

/// What a program says, as JSON.
async fn run(command: &mut Command) -> Result<Value, Failure> {
    let done = command.kill_on_drop(true).output().await?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(Failure::Wrong(format!(
            "S10: the bare load ended with {}: {said}",
            done.status
        )));
    }
    Ok(serde_json::from_slice(&done.stdout)?)
}

/// What a role takes from its start until it stands at the ledger's end.
async fn until(
    rig: &Rig,
    what: &'static str,
    role: &[&str],
    place: impl AsyncFn() -> u64,
) -> Result<Cost, Failure> {
    let (_, tail) = rig.stage.ledger.tail().await?;
    let mut processes = rig.broker();
    let (before, since) = (Used::now(&processes), Instant::now());
    let mut role: Child = rig.stage.role(role)?;
    while place().await < tail {
        if let Some(status) = role.try_wait()? {
            return Err(Failure::Wrong(format!("S10: the role ended with {status}")));
        }
        if since.elapsed() > CAUGHT_UP_WITHIN {
            let minutes = CAUGHT_UP_WITHIN.as_secs() / 60;
            return Err(Failure::Wrong(format!("S10: not at {tail} after {minutes} minutes")));
        }
        tokio::time::sleep(LOOK).await;
    }
    processes.extend(role.id().map(|pid| Process::one(what, pid)));
    let cost = Cost::since(&before, &processes);
    role.kill().await?;
    Ok(cost)
}

async fn persist(rig: &Rig, store: &str) -> Result<Cost, Failure> {
    let url = store.parse().map_err(Failure::Usage)?;
    until(rig, "persist", &["persist", "--store", store], async || stored(&url).await).await
}

async fn feed(rig: &Rig) -> Result<Cost, Failure> {
    until(rig, "feed", &["feed"], async || published(rig).await).await
}

/// Publishes what the feed has published into a new stream of the same kind.
async fn publish_again(rig: &Rig) -> Result<Cost, Failure> {
    let client = rig.stage.client.clone();
    let context = async_nats::jetstream::new(client.clone());
    let name = rig.stage.namespace.events_stream();
    let stream = context.get_stream(&name).await?;
    let config = stream.cached_info().config.clone();
    let count = stream.cached_info().state.messages;
    let consumer = stream
        .create_consumer(pull::Config { ack_policy: AckPolicy::None, ..Default::default() })
        .await?;
    let mut messages = consumer.stream().messages().await?;
    let mut events: Vec<(String, HeaderMap, Bytes)> = Vec::with_capacity(count as usize);
    while (events.len() as u64) < count {
        let next = tokio::time::timeout(WITHIN, messages.next()).await?;
        let Some(message) = next.transpose()? else { break };
        let async_nats::Message { subject, headers, payload, .. } = message.message;
        // A copy: the whole of what was received stays for as long as a part of it.
        let payload = Bytes::copy_from_slice(&payload);
        events.push((subject.to_string(), headers.unwrap_or_default(), payload));
    }
    context.delete_stream(&name).await?;
    context.create_stream(config).await?;
    let inbox = client.new_inbox();
    let mut outcomes = client.subscribe(inbox.clone()).await?;
    let mut processes = rig.broker();
    processes.push(Process::one("publisher", std::process::id()));
    let before = Used::now(&processes);
    let (mut sent, mut stored) = (0, 0);
    for (subject, headers, payload) in events {
        if sent - stored >= PUBLISHED_AT_ONCE {
            acknowledged(&mut outcomes, sent - stored - PUBLISHED_AT_ONCE / 2).await?;
            stored = sent - PUBLISHED_AT_ONCE / 2;
        }
        let reply = inbox.clone();
        client.publish_with_reply_and_headers(subject, reply, headers, payload).await?;
        sent += 1;
    }
    acknowledged(&mut outcomes, sent - stored).await?;
    Ok(Cost::since(&before, &processes))
}

/// Waits for so many acknowledgements.
async fn acknowledged(outcomes: &mut async_nats::Subscriber, count: u64) -> Result<(), Failure> {
    for _ in 0..count {
        let next = tokio::time::timeout(WITHIN, outcomes.next()).await?;
        let outcome = next.map(|message| message.payload).unwrap_or_default();
        if !outcome.starts_with(b"{\"stream\"") {
            let said = String::from_utf8_lossy(&outcome);
            return Err(Failure::Wrong(format!("S10: a message was not stored: {said}")));
        }
    }
    Ok(())
}
