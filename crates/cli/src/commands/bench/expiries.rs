//! `giliran bench --expiries N`: what a surge feels of N holds that end at once.
//!
//! N bookings are held; while they run out, new people book in an open loop at a
//! fixed rate, each timed from when it was to be sent. Rate and latency are told
//! apart for the time before, during and after; how late the expiries came is
//! read from the ledger.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use giliran_loadgen::closed_loop;
use giliran_loadgen::open_loop::Pace;
use giliran_nats::clock;
use giliran_wire::ledger::{Block, Entry};

use super::WINDOW;
use super::opening::opening;
use super::requests::{self, is_granted};
use super::stage::Stage;
use crate::failure::Failure;

/// How long the bookings are held.
const HOLD: Duration = Duration::from_secs(20);
/// The surge begins so long before the first hold ends, and goes on so long after.
const BESIDE: Duration = Duration::from_secs(6);

/// One request of the surge: when it was to be sent, and answered, µs since the
/// surge began.
type Timed = (u64, u64);

pub(super) async fn run(expiries: u32, per_second: u32, folder: &Path) -> Result<(), Failure> {
    let rules = format!(
        "[rules]\nhold = \"{}s\"\n[rules.returns]\nexpired = \"immediate\"\n",
        HOLD.as_secs()
    );
    let stage = Stage::start(folder, &opening(&rules), requests::batch(0, 1)).await?;
    let (client, book) = (stage.client.clone(), stage.namespace.request("book"));
    eprintln!("holding {expiries} bookings …");
    let held_at = Instant::now();
    let all = requests::batches(1..u64::from(expiries) + 1);
    closed_loop::settle(&client, &book, WINDOW, all, is_granted, |_| {}).await;
    let took = held_at.elapsed();
    eprintln!(
        "{expiries} held within {:.2} s; the surge begins before they end …",
        took.as_secs_f64()
    );
    tokio::time::sleep(HOLD.saturating_sub(BESIDE).saturating_sub(took)).await;
    let (begun, timed, lost) = surge(&client, &book, expiries, per_second, took).await?;
    let (count, first, last, latest) = expired(&stage.ledger, begun).await?;
    outln!("{count} holds ended; the ledger has the last {latest} ms after its deadline");
    outln!("expiries on record from {first:.2} s to {last:.2} s of the surge");
    outln!("surge: {per_second} bookings/s asked, {} answered, {lost} without answer", timed.len());
    outln!("  {:<8} {:>10} {:>9} {:>9} {:>9}", "when", "answers/s", "p50 ms", "p99 ms", "max ms");
    let end = timed.iter().map(|(sent, _)| *sent).max().unwrap_or(0) as f64 / 1e6;
    for (name, from, to) in [("before", 1.0, first), ("during", first, last), ("after", last, end)]
    {
        let mut latencies: Vec<u64> = timed
            .iter()
            .filter(|(sent, _)| (from..to).contains(&(*sent as f64 / 1e6)))
            .map(|(sent, answered)| answered - sent)
            .collect();
        latencies.sort_unstable();
        let at = |q: f64| {
            let place = ((latencies.len() as f64 * q) as usize).min(latencies.len().max(1) - 1);
            latencies.get(place).copied().unwrap_or(0) as f64 / 1e3
        };
        outln!(
            "  {name:<8} {:>10.0} {:>9.2} {:>9.2} {:>9.2}",
            latencies.len() as f64 / (to - from),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    stage.stop().await
}

/// Books in an open loop until the holds are over; when it began, what was
/// answered, and how many were not.
async fn surge(
    client: &async_nats::Client,
    subject: &str,
    first: u32,
    per_second: u32,
    took: Duration,
) -> Result<(i64, Vec<Timed>, u64), Failure> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(format!("{inbox}.*")).await?;
    let begun = Instant::now();
    let begun_wall = clock::now().as_millis();
    let lasts = BESIDE + took + BESIDE;
    let total = (lasts.as_secs_f64() * f64::from(per_second)) as u64;
    let pace = Pace::begin(per_second);
    let heard = tokio::spawn(async move {
        let mut timed: Vec<Timed> = Vec::new();
        let patience = lasts + Duration::from_secs(5);
        while (timed.len() as u64) < total && begun.elapsed() < patience {
            let next = tokio::time::timeout(Duration::from_secs(1), answers.next()).await;
            let Ok(Some(message)) = next else { continue };
            let n = message.subject.rsplit('.').next().and_then(|n| n.parse().ok());
            if let Some(n) = n
                && is_granted(&message.payload)
            {
                let due = pace.due(n);
                let answered = due + pace.since_due(n);
                timed.push((due.as_micros() as u64, answered.as_micros() as u64));
            }
        }
        timed
    });
    let send = async |n| {
        let payload = requests::batch(u64::from(first) + 1 + n, 1);
        let reply = format!("{inbox}.{n}");
        let sent = client.publish_with_reply(subject.to_owned(), reply, payload).await;
        sent.map_err(|error| std::io::Error::other(error).into())
    };
    pace.each(total, send).await?;
    let timed = heard.await.map_err(|error| Failure::Wrong(error.to_string()))?;
    let lost = total - timed.len() as u64;
    Ok((begun_wall, timed, lost))
}

/// Expiries in the ledger: how many, first and last (seconds since `begun`), and
/// the most that one came after its deadline, ms.
async fn expired(
    ledger: &giliran_nats::ledger::Ledger,
    begun: i64,
) -> Result<(usize, f64, f64, i64), Failure> {
    let (_, tail) = ledger.tail().await?;
    let mut reader = ledger.reader(1).await?;
    let mut deadlines = std::collections::HashMap::new();
    let (mut count, mut first, mut last, mut latest, mut at) = (0, i64::MAX, 0, 0, 0);
    while at < tail {
        for (seq, bytes) in reader.next_batch(256, Duration::from_secs(1)).await? {
            at = seq;
            let Ok((block, _)) = Block::open(&bytes) else { continue };
            let time = block.time.as_millis();
            for entry in block.entries {
                match entry {
                    Entry::Grant(grant) => {
                        deadlines.extend(grant.hold_expires_at.map(|d| (grant.booking, d)));
                    }
                    Entry::Expire(expire) => {
                        count += 1;
                        (first, last) = (first.min(time), last.max(time));
                        let deadline = deadlines.get(&expire.booking);
                        latest = latest.max(deadline.map_or(0, |d| time - d.as_millis()));
                    }
                    _ => {}
                }
            }
        }
    }
    let seconds = |at: i64| (at - begun) as f64 / 1e3;
    Ok((count, seconds(first), seconds(last), latest))
}
