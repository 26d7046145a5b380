//! `giliran bench --start N`: from the engine's start to its first right answer,
//! with N bookings in the ledger; without a snapshot, with one, and from the begin
//! of the ledger's next generation. How long a roll takes stands beside it.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use giliran_wire::request::{Lookup, MAX_BATCH, write_binary};
use giliran_wire::subject::Namespace;
use tokio::process::Child;

use super::expiries::{batch, granted};
use super::stage::{Stage, opening};
use super::verdict;
use crate::failure::Failure;

/// Batches on their way at once.
const WINDOW: usize = 32;

pub(super) async fn run(bookings: u32, folder: &Path) -> Result<(), Failure> {
    let stage = Stage::set(folder, &opening("")).await?;
    let (client, domain, ledger) = (stage.client.clone(), &stage.domain, &stage.ledger);
    let book = domain.request("book");
    let mut serving = stage.engine()?;
    stage.ready(|| batch(0, 1), |payload| granted(payload) == 1).await?;
    let since = Instant::now();
    let starts = (1..bookings).step_by(MAX_BATCH);
    let asks = starts.map(|first| {
        let most = MAX_BATCH.min((bookings - first) as usize) as u64;
        let (client, book) = (client.clone(), book.clone());
        async move {
            // `busy` settles nothing: the same batch again.
            loop {
                let answer = client.request(book.clone(), batch(first.into(), most)).await;
                if answer.is_ok_and(|message| granted(&message.payload) as u64 == most) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let mut asked = futures_util::stream::iter(asks).buffer_unordered(WINDOW);
    let (mut done, mut told) = (0_u64, Instant::now());
    while asked.next().await.is_some() {
        done += MAX_BATCH as u64;
        if told.elapsed() > Duration::from_secs(2) {
            told = Instant::now();
            eprintln!("  {done} of {bookings} bookings made …");
        }
    }
    let (_, tail) = ledger.tail().await?;
    outln!("{bookings} bookings in {tail} blocks, made in {:.1} s", since.elapsed().as_secs_f64());
    // Killed: it leaves no snapshot.
    serving.kill().await?;
    wait_for_silence(&client, domain).await;
    let began = Instant::now();
    let mut serving = stage.engine()?;
    right_answer(&client, domain, bookings).await?;
    outln!(
        "start without a snapshot: {:.2} s to the first right answer",
        began.elapsed().as_secs_f64()
    );
    outln!("  of which up to 3 s wait for the lease of the one that was killed");
    stop(&mut serving).await?;
    let snapshot = std::fs::metadata(stage.data().join("snapshot.bin"));
    outln!("snapshot: {} MiB", snapshot.map_or(0, |file| file.len() >> 20));
    let began = Instant::now();
    let mut serving = stage.engine()?;
    right_answer(&client, domain, bookings).await?;
    outln!(
        "start with a snapshot: {:.2} s to the first right answer",
        began.elapsed().as_secs_f64()
    );
    let began = Instant::now();
    roll(&client, domain).await?;
    let next = ledger.newest().await?;
    let (_, tail) = next.tail().await?;
    outln!(
        "roll: {:.2} s until the next generation had begun, in {} blocks",
        began.elapsed().as_secs_f64(),
        tail + 1 - next.first()
    );
    right_answer(&client, domain, bookings).await?;
    serving.kill().await?;
    wait_for_silence(&client, domain).await;
    std::fs::remove_file(stage.data().join("snapshot.bin"))?;
    let began = Instant::now();
    let mut serving = stage.engine()?;
    right_answer(&client, domain, bookings).await?;
    outln!(
        "start from the next generation's begin, without a snapshot: {:.2} s to the first right \
         answer",
        began.elapsed().as_secs_f64()
    );
    stop(&mut serving).await?;
    stage.stop().await
}

/// Has the ledger go on in its next stream; returns once that has begun.
async fn roll(client: &async_nats::Client, domain: &Namespace) -> Result<(), Failure> {
    let request = serde_json::json!({ "operator": "bench", "reason": "to measure" });
    let request = async_nats::Request::new()
        .payload(request.to_string().into())
        .timeout(Some(Duration::from_secs(300)));
    let answer = client.send_request(domain.request("admin.roll"), request).await;
    let answer = answer.map_err(|e| Failure::Wrong(format!("admin.roll: {e}")))?;
    let value: serde_json::Value = serde_json::from_slice(&answer.payload)?;
    if value["outcome"] == "done" {
        return Ok(());
    }
    Err(Failure::Wrong(format!("admin.roll: {value}")))
}

async fn stop(engine: &mut Child) -> Result<(), Failure> {
    if let Some(id) = engine.id() {
        let sent = tokio::process::Command::new("kill").arg(id.to_string()).status().await?;
        if !sent.success() {
            return Err(Failure::Wrong("the engine could not be stopped".to_owned()));
        }
    }
    engine.wait().await?;
    Ok(())
}

/// Until nobody is subscribed, so that the next answer is the next engine's.
async fn wait_for_silence(client: &async_nats::Client, domain: &Namespace) {
    while client.request(domain.request("availability"), "{}".into()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The last applicant's booking, looked up by its request.
async fn right_answer(
    client: &async_nats::Client,
    domain: &Namespace,
    bookings: u32,
) -> Result<(), Failure> {
    let last = u64::from(bookings) - 1;
    let lookup = Lookup {
        booking: None,
        request_id: Some(format!("expiry-{last:010}").into()),
        applicant: format!("{:016}", 2_171_000_000_000_000 + last).into(),
        opening: None,
    };
    let payload: bytes::Bytes = write_binary(&[lookup]).into();
    let since = Instant::now();
    loop {
        if let Ok(message) = client.request(domain.request("lookup"), payload.clone()).await {
            return match verdict(&message.payload) {
                Some((true, _)) => Ok(()),
                _ => Err(Failure::Wrong("the first answer does not know the last booking".into())),
            };
        }
        if since.elapsed() > Duration::from_secs(300) {
            return Err(Failure::Wrong("no answer within 300 s".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
