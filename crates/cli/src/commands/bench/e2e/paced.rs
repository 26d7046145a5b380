//! Row S9: how long grants take in an open loop, at half of what the slower of engine and
//! Redis can do, beside Redis that syncs before each answer.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use giliran_loadgen::open_loop::{Latencies, Pace};
use serde_json::Value;

use super::super::Args;
use super::super::requests::is_granted;
use super::peers::Peer;
use super::report::{Bound, Figure, Pass, median};
use super::rig::{Ground, Rig};
use super::rows::{By, PEERS, Row, SINGLE};
use crate::failure::Failure;

/// What is measured first, to know what half of it is.
const ENGINE: Row = Row { name: "S2", ..SINGLE };
const REDIS: &str = "redis always";
/// How long one open loop lasts; there is one of each a pass.
const LASTS: Duration = Duration::from_secs(20);
/// How long the last answers are waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// p99.9 over p50, at most.
const TAIL: f64 = 10.0;

/// ms of one open loop.
#[derive(Debug, Clone, Copy)]
struct Times {
    p50: f64,
    p99: f64,
    p99_9: f64,
}

pub(super) async fn measure(
    args: &Args,
    folder: &Path,
) -> Result<(Vec<Figure>, Vec<Pass>), Failure> {
    let folder = folder.join("paced");
    std::fs::create_dir(&folder)?;
    let ground = Ground { peers: args.peers.as_deref(), ..Ground::of(args) };
    let mut rig = Rig::start(&ground, &folder).await?;
    let redis = PEERS.iter().find(|row| row.name == REDIS).filter(|row| rig.has(row));
    let Some((row, By::Peer(peer))) = redis.map(|row| (*row, row.by)) else {
        eprintln!("S9: LEFT OUT: needs Redis (`cargo xtask bench peers --rows S9`)");
        rig.stop().await?;
        return Ok((Vec::new(), Vec::new()));
    };
    let passes = vec![rig.pass(&ENGINE).await?, rig.pass(&row).await?];
    let slower = passes.iter().map(|pass| pass.per_s).fold(f64::INFINITY, f64::min);
    let per_s = ((slower / 2.0) as u32).max(1);
    let requests = (LASTS.as_secs_f64() * args.scale * f64::from(per_s)) as u64;
    let mut times: [Vec<Times>; 2] = Default::default();
    for pass in 0..args.passes {
        eprintln!(
            "S9: pass {} of {}: {requests} requests, {per_s} a second …",
            pass + 1,
            args.passes
        );
        for turn in 0..2 {
            let of_engine = (pass + turn) % 2 == 0;
            times[usize::from(!of_engine)].push(if of_engine {
                engine(&mut rig, requests, per_s).await?
            } else {
                of_redis(&mut rig, peer, requests, per_s).await?
            });
        }
    }
    rig.stop().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok((figures(&times, per_s), passes))
}

/// The engine's, each request with a reply subject of its own.
async fn engine(rig: &mut Rig, requests: u64, per_s: u32) -> Result<Times, Failure> {
    let payloads: Vec<_> = (0..requests).map(|_| rig.payload(&SINGLE)).collect();
    let (client, book) = (rig.stage.client.clone(), rig.stage.namespace.request("book"));
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(format!("{inbox}.*")).await?;
    let pace = Pace::begin(per_s);
    let heard = tokio::spawn(async move {
        let mut latencies = Latencies::default();
        for _ in 0..requests {
            let patience = PATIENCE + LASTS;
            let Ok(Some(message)) = tokio::time::timeout(patience, answers.next()).await else {
                return Err("an answer did not come".to_owned());
            };
            let n = message.subject.rsplit('.').next().and_then(|n| n.parse().ok());
            let Some(n) = n.filter(|_| is_granted(&message.payload)) else {
                return Err(format!("expected a grant at {}", message.subject));
            };
            latencies.record(pace.since_due(n));
        }
        Ok(latencies)
    });
    let mut payloads = payloads.into_iter();
    let send = async |n| {
        let payload = payloads.next().unwrap_or_default();
        let sent = client.publish_with_reply(book.clone(), format!("{inbox}.{n}"), payload).await;
        sent.map_err(|error| std::io::Error::other(error).into())
    };
    pace.each(requests, send).await?;
    let latencies = heard.await?.map_err(|why| Failure::Wrong(format!("S9: {why}")))?;
    Ok(Times { p50: latencies.ms(0.5), p99: latencies.ms(0.99), p99_9: latencies.ms(0.999) })
}

async fn of_redis(rig: &mut Rig, peer: Peer, requests: u64, per_s: u32) -> Result<Times, Failure> {
    let first = rig.take_people(requests);
    let Some(peers) = &rig.peers else { return Err(Failure::Usage("S9: --peers".to_owned())) };
    let done = peers.paced(peer, requests, first, per_s).await?;
    if done["granted"] != requests {
        return Err(Failure::Wrong(format!("S9: Redis granted {} of {requests}", done["granted"])));
    }
    let ms = |name: &str| done["latencies"].get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    Ok(Times { p50: ms("p50_ms"), p99: ms("p99_ms"), p99_9: ms("p99_9_ms") })
}

fn figures([engine, redis]: &[Vec<Times>; 2], per_s: u32) -> Vec<Figure> {
    let of = |times: &[Times], pick: fn(&Times) -> f64| {
        median(times.iter().map(pick)).unwrap_or(f64::NAN)
    };
    let said = |times: &[Times]| {
        let [p50, p99, p99_9] = [|t: &Times| t.p50, |t: &Times| t.p99, |t: &Times| t.p99_9]
            .map(|pick: fn(&Times) -> f64| of(times, pick));
        format!("p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p99_9:.2} ms")
    };
    let beside = format!("at {per_s} a second; engine {}; Redis {}", said(engine), said(redis));
    let figure = |what: &str, value, goal, beside: &str| Figure {
        row: "S9".to_owned(),
        what: what.to_owned(),
        value,
        unit: "×".to_owned(),
        goal: Some(Bound::AtMost(goal)),
        beside: beside.to_owned(),
    };
    let p99 = of(engine, |times| times.p99) / of(redis, |times| times.p99);
    let p99_9 = of(engine, |times| times.p99_9) / of(redis, |times| times.p99_9);
    let tail = of(engine, |times| times.p99_9) / of(engine, |times| times.p50);
    vec![
        figure("open loop, p99 over Redis AOF always", p99, 1.0, &beside),
        figure("open loop, p99.9 over Redis AOF always", p99_9, 1.0, ""),
        figure("open loop, p99.9 over p50", tail, TAIL, ""),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_passes_are_held_against_each_other() {
        let pass = |p50, p99, p99_9| Times { p50, p99, p99_9 };
        let engine = vec![pass(1.0, 2.0, 30.0), pass(1.0, 3.0, 8.0), pass(2.0, 4.0, 9.0)];
        let redis = vec![pass(1.0, 6.0, 12.0); 3];
        let values: Vec<f64> =
            figures(&[engine, redis], 1_000).iter().map(|figure| figure.value).collect();
        assert_eq!(values, [0.5, 0.75, 9.0]);
    }
}
