//! A surge against a running engine: the people and scalpers of a scenario, over
//! NATS, and what came of it.
//!
//! [`run`] learns what the engine offers, lays the scenario on it, sends what its
//! people send and measures from what they see. Times of the scenario are µs from
//! the opening second; `speed` of them pass in one. [`closed_loop`] measures how much an
//! engine can do, [`open_loop`] sends at a fixed rate.
//!
//! What always holds of [`run`]: open loop, each request is sent when it is due, whatever the
//! others wait for, and latency counts from then; memory is bounded by who is on
//! the way at once and by the places that are granted, not by who asks.
//!
//! Deliberately not here: the engine's own counters (what it says of itself proves
//! nothing), and files but for the clients' log; the command writes those.

pub mod closed_loop;
mod engine_config;
mod forgers;
mod generator;
mod live;
pub mod open_loop;
pub mod report;
mod stats;
mod summary;
mod target;

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use generator::Generator;
use giliran_fairness::compare::{Pilot, Progress, best_means};
use giliran_fairness::scenario::{Kind, Scenario};
use giliran_fairness::{Arm, Resources};
use giliran_wire::client_log::Writer;
use giliran_wire::ledger::{Order, ReturnRule};
use giliran_wire::subject::Namespace;
use target::Engine;
use tokio_util::sync::CancellationToken;

pub use engine_config::configuration;
pub use forgers::Forgeries;
pub use live::{LiveStats, SharedStats};
pub use stats::{Bin, Payments};
pub use summary::{Ended, GroupRecord, Latency, RunSummary};

/// Where scalpers find out what pays, quickly.
const PILOT: Pilot = Pilot { parties: 500, buys: 1.0, runs: 1 };

/// After so long without a single answer an engine is dead.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// What is to be run.
#[derive(Debug, Clone)]
pub struct LoadTest {
    pub domain: Namespace,
    /// Who asks, as scaled.
    pub scenario: Scenario,
    /// What it was scaled by.
    pub scale: f64,
    /// The opening; none: the one that is open, or comes next.
    pub opening: Option<String>,
    /// The order that the rules announce: scalpers buy for it.
    pub order: Order,
    /// The same seed, the same people.
    pub seed: u64,
    /// Seconds of the scenario in one.
    pub speed: f64,
    /// How long payments and lapses are waited for once nobody asks for places any
    /// more, s of the scenario.
    pub after_s: f64,
    /// Where what clients saw is written.
    pub log: Option<PathBuf>,
    /// People who come evenly; none: as the scenario has it, most in the opening second.
    pub steady: Option<Steady>,
    /// After so long without a single answer the engine is taken for dead.
    pub gone_after: Duration,
}

/// People who come at the same rate throughout.
#[derive(Debug, Clone, Copy)]
pub struct Steady {
    /// Parties a second; half as many before the opening.
    pub per_s: f64,
    /// Share of those who soon ask once more, under another request id: one booking is
    /// all that they may get.
    pub asks_anew: f64,
}

impl Steady {
    /// When the next one comes after one who came then, µs from the opening.
    fn after(&self, at_us: f64) -> f64 {
        at_us + if at_us < 0.0 { 2e6 } else { 1e6 } / self.per_s
    }
}

impl LoadTest {
    /// All of a scenario, as it is, at the opening that is open or comes next, for an
    /// engine whose order is first-come.
    pub fn new(domain: Namespace, scenario: Scenario, seed: u64) -> Self {
        Self {
            domain,
            scenario,
            scale: 1.0,
            opening: None,
            order: Order::FirstCome,
            seed,
            speed: 1.0,
            after_s: 0.0,
            log: None,
            steady: None,
            gone_after: GONE_AFTER,
        }
    }
}

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("no engine answers on {0}; start one with `giliran up` or `giliran serve`")]
    NoEngine(String),
    /// Somebody listens, but says nothing.
    #[error("no answer on {0} within {1} s")]
    Silent(String, u64),
    /// The engine refuses to say what it has.
    #[error("the engine does not say what it has: {0}")]
    Refused(String),
    /// The scenario does not fit the engine.
    #[error("{0}")]
    Misfit(String),
    /// The connection or the log fails.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Runs it to its end, or until `shutdown` is cancelled. What happens meanwhile is
/// on `live`.
///
/// # Errors
///
/// Where it cannot begin. What goes wrong later is in the record.
pub async fn run(
    client: Client,
    rush: LoadTest,
    live: Arc<SharedStats>,
    shutdown: CancellationToken,
) -> Result<RunSummary, LoadError> {
    can_be_sent(&rush.scenario)?;
    Engine::look(&client, &rush.domain).await?;
    let (scenario, seed) = (rush.scenario.clone(), rush.seed);
    let order = in_scenario_time(rush.order, rush.speed);
    let means = tokio::task::spawn_blocking(move || bought(scenario, order, seed));
    let means = means.await.map_err(std::io::Error::other)?;
    // Asked again: finding out may have taken its time.
    let engine = Engine::look(&client, &rush.domain).await?;
    let ground = engine.ground(&rush.scenario, rush.opening.as_deref())?;
    let log = rush.log.as_deref().map(File::create).transpose()?;
    let log = log.map(|file| Writer::new(BufWriter::with_capacity(1 << 20, file)));
    let inbox = client.new_inbox();
    let answers = client.subscribe(format!("{inbox}.*")).await.map_err(std::io::Error::other)?;
    client.flush().await.map_err(std::io::Error::other)?;
    let looks = engine.fits.then(|| {
        let (client, domain) = (client.clone(), rush.domain.clone());
        tokio::spawn(live::watch_free(client, domain, ground.clone(), Arc::clone(&live)))
    });
    let began = Instant::now();
    let (observer, forger) = forgers::begin(&client, &rush).unzip();
    let mut generator =
        Generator::new(&rush, &ground, &means, client, inbox, Arc::clone(&live), log);
    generator.observer = observer;
    let ended = Box::pin(generator.surge(answers, shutdown)).await;
    generator.observer = None;
    if let Some(forger) = forger {
        generator.tally.forgeries = forger.await.map_err(std::io::Error::other)?;
    }
    if let Some(looks) = looks {
        looks.abort();
    }
    let mut record =
        summary::record(&rush, &ground, &means, &generator.tally, ended, began.elapsed());
    record.log_failed = generator.log_failed.take();
    Ok(record)
}

/// Whether everybody in it acts by what one can see from outside.
fn can_be_sent(scenario: &Scenario) -> Result<(), LoadError> {
    match scenario.attackers.iter().find(|attacker| attacker.kind == Kind::Insider) {
        Some(insider) => Err(LoadError::Misfit(format!(
            "{}: an insider acts by the engine's secrets, which are not known here; `giliran \
             fairness` has them",
            insider.name
        ))),
        None => Ok(()),
    }
}

/// What scalpers with a budget have: what gets most places at the opening under the
/// order that they believe in.
fn bought(mut scenario: Scenario, order: Order, seed: u64) -> Vec<Resources> {
    if scenario.attackers.is_empty() {
        return Vec::new();
    }
    let arm = Arm::new(order, ReturnRule::Immediate);
    scenario.aftermath.lasts_s = 0.0;
    for attacker in &mut scenario.attackers {
        if attacker.kind == Kind::Recycler {
            // What it wants at the opening is what a sprinter wants.
            attacker.kind = Kind::Sprinter;
        }
    }
    let found = best_means(&scenario, &arm, seed, &PILOT, &Progress::default());
    found.unwrap_or_else(|| unreachable!("nobody stops it"))
}

/// The engine's rounds are as long as ever; what passes in one of them is more.
fn in_scenario_time(order: Order, speed: f64) -> Order {
    match order {
        Order::Rounds { length_ms } => {
            Order::Rounds { length_ms: ((length_ms as f64 * speed) as u64).max(1) }
        }
        Order::FirstCome | Order::Draw => order,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use giliran_fairness::scenario::shipped;

    #[test]
    fn scalpers_buy_for_the_order_they_believe_in() {
        let scenario = shipped("batam").unwrap();
        // Three pilots: an account's limit holds for entries too, so that under a draw some
        // purchases are worth nearly the same.
        let bought = |order: Order| {
            let all = (1..=3).flat_map(|seed| bought(scenario.clone(), order, seed));
            all.fold((0, 0), |(identities, connections), means| {
                (identities + means.identities, connections + means.connections)
            })
        };
        let (first_come, draw) = (bought(Order::FirstCome), bought(Order::Draw));
        // A draw is not won by speed: each identity is one entry.
        assert!(draw.1 < first_come.1, "connections, draw {draw:?}, first-come {first_come:?}");
        assert!(draw.0 > first_come.0, "identities, draw {draw:?}, first-come {first_come:?}");
    }

    #[test]
    fn a_round_lasts_longer_where_the_scenario_passes_faster() {
        let order = in_scenario_time(Order::Rounds { length_ms: 500 }, 4.0);
        assert_eq!(order, Order::Rounds { length_ms: 2_000 });
        assert_eq!(in_scenario_time(Order::Draw, 4.0), Order::Draw);
    }

    #[test]
    fn half_as_many_come_before_the_opening() {
        let steady = Steady { per_s: 10.0, asks_anew: 0.0 };
        let comes = std::iter::successors(Some(-400e3), |at| Some(steady.after(*at)));
        let comes: Vec<i64> = comes.take(5).map(|at| at as i64).collect();
        assert_eq!(comes, [-400_000, -200_000, 0, 100_000, 200_000]);
    }

    #[test]
    fn an_insider_cannot_be_sent() {
        let of = |name| shipped(name).map(|scenario| can_be_sent(&scenario));
        assert!(matches!(of("batam"), Some(Ok(()))));
        let Some(Err(refused)) = of("insiders") else { panic!("it is sent") };
        assert!(refused.to_string().contains("giliran fairness"), "{refused}");
    }
}
