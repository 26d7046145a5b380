//! `giliran bench --start N`: from the engine's start to its first right answer,
//! with N bookings in the ledger; without a snapshot, with one, and from the begin
//! of the ledger's next generation. How long a roll takes stands beside it.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::Client;
use giliran_engine::SNAPSHOT_AFTER;
use giliran_loadgen::closed_loop;
use giliran_wire::request::MAX_BATCH;
use giliran_wire::subject::Namespace;
use tokio::process::Child;

use super::WINDOW;
use super::opening::opening;
use super::requests::{self, is_granted};
use super::stage::Stage;
use crate::failure::Failure;

pub(super) async fn run(bookings: u32, folder: &Path) -> Result<(), Failure> {
    let mut stage = Stage::start(folder, &opening(""), requests::batch(0, 1)).await?;
    let (client, namespace) = (stage.client.clone(), stage.namespace.clone());
    let blocks = make(&stage, bookings).await?;
    let answered = async |began: Instant| {
        right_answer(&client, &namespace, bookings).await?;
        Ok::<_, Failure>(format!(
            "{:.2} s to the first right answer",
            began.elapsed().as_secs_f64()
        ))
    };
    // Killed: it leaves no snapshot.
    let began = after_a_kill(&mut stage).await?;
    outln!("start without a snapshot: {}", answered(began).await?);
    outln!("  of which up to 3 s wait for the lease of the one that was killed");
    stop(&mut stage.engine).await?;
    match std::fs::metadata(stage.snapshot()) {
        Ok(file) => {
            outln!("snapshot: {} MiB", file.len() >> 20);
            let began = Instant::now();
            stage.restart()?;
            outln!("start with a snapshot: {}", answered(began).await?);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            outln!(
                "snapshot: none, since an engine writes one where {SNAPSHOT_AFTER} blocks or more \
                 are new, and these bookings are in {blocks}; a start with one was not measured"
            );
            stage.restart()?;
            right_answer(&client, &namespace, bookings).await?;
        }
        Err(error) => return Err(error.into()),
    }
    let began = Instant::now();
    roll(&client, &namespace).await?;
    let next = stage.ledger.newest().await?;
    let (_, tail) = next.tail().await?;
    outln!(
        "roll: {:.2} s until the next generation had begun, in {} blocks",
        began.elapsed().as_secs_f64(),
        tail + 1 - next.first()
    );
    right_answer(&client, &namespace, bookings).await?;
    let began = after_a_kill(&mut stage).await?;
    outln!(
        "start from the next generation's begin, without a snapshot: {}",
        answered(began).await?
    );
    stop(&mut stage.engine).await?;
    stage.stop().await
}

/// Makes the bookings; the blocks that hold them.
async fn make(stage: &Stage, bookings: u32) -> Result<u64, Failure> {
    let since = Instant::now();
    let mut shown = since;
    let progress = |batches: usize| {
        if shown.elapsed() > Duration::from_secs(2) {
            shown = Instant::now();
            eprintln!("  {} of {bookings} bookings made …", batches * MAX_BATCH);
        }
    };
    let (book, all) = (stage.namespace.request("book"), requests::batches(1..bookings.into()));
    closed_loop::settle(&stage.client, &book, WINDOW, all, is_granted, progress).await;
    let (_, tail) = stage.ledger.tail().await?;
    outln!("{bookings} bookings in {tail} blocks, made in {:.1} s", since.elapsed().as_secs_f64());
    Ok(tail)
}

/// Kills the engine and starts it without a snapshot, once nobody is subscribed any
/// more, so that the next answer is its own; the moment of the start.
async fn after_a_kill(stage: &mut Stage) -> Result<Instant, Failure> {
    stage.engine.kill().await?;
    while stage.client.request(stage.namespace.request("availability"), "{}".into()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    match std::fs::remove_file(stage.snapshot()) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let began = Instant::now();
    stage.restart()?;
    Ok(began)
}

/// Has the ledger go on in its next stream; returns once that has begun.
async fn roll(client: &Client, namespace: &Namespace) -> Result<(), Failure> {
    let request = serde_json::json!({ "operator": "bench", "reason": "to measure" });
    let request = async_nats::Request::new()
        .payload(request.to_string().into())
        .timeout(Some(Duration::from_secs(300)));
    let answer = client.send_request(namespace.request("admin.roll"), request).await;
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

/// The last applicant's booking, looked up by its request.
async fn right_answer(
    client: &Client,
    namespace: &Namespace,
    bookings: u32,
) -> Result<(), Failure> {
    let payload = requests::lookup(u64::from(bookings) - 1);
    let since = Instant::now();
    loop {
        if let Ok(message) = client.request(namespace.request("lookup"), payload.clone()).await {
            if is_granted(&message.payload) {
                return Ok(());
            }
            let wrong = "the first answer does not know the last booking";
            return Err(Failure::Wrong(wrong.to_owned()));
        }
        if since.elapsed() > Duration::from_secs(300) {
            return Err(Failure::Wrong("no answer within 300 s".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
