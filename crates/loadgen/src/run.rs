//! A run, from what scalpers buy for it to what came of it.

use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use giliran_fairness::compare::{Pilot, best_means};
use giliran_fairness::scenario::{Kind, Scenario};
use giliran_fairness::{Arm, Progress, Resources};
use giliran_wire::client_log::Writer;
use giliran_wire::ledger::{Order, ReturnRule};
use tokio_util::sync::CancellationToken;

use crate::error::LoadError;
use crate::generator::Generator;
use crate::live::SharedStats;
use crate::load_test::LoadTest;
use crate::summary::RunSummary;
use crate::target::Engine;
use crate::via::{Answers, Via};
use crate::{forgers, live, summary};

/// Where scalpers find out what pays, quickly.
const PILOT: Pilot = Pilot { parties: 500, buys: 1.0, runs: 1 };

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
    Engine::look(&client, &rush.namespace).await?;
    let (scenario, seed) = (rush.scenario.clone(), rush.seed);
    let order = in_scenario_time(rush.order, rush.speed);
    let means = tokio::task::spawn_blocking(move || bought(scenario, order, seed));
    let means = means.await.map_err(std::io::Error::other)?;
    // Asked again: finding out may have taken its time.
    let engine = Engine::look(&client, &rush.namespace).await?;
    let mut ground = engine.ground(&rush.scenario, rush.opening.as_deref())?;
    ground.learn_timezone(&client, &rush.namespace).await;
    let log = rush.log.as_deref().map(File::create).transpose()?;
    let log = log.map(|file| Writer::new(BufWriter::with_capacity(1 << 20, file)));
    let inbox = client.new_inbox();
    let answers = client.subscribe(format!("{inbox}.*")).await.map_err(std::io::Error::other)?;
    client.flush().await.map_err(std::io::Error::other)?;
    let looks = engine.fits.then(|| {
        let (client, namespace) = (client.clone(), rush.namespace.clone());
        tokio::spawn(live::watch_free(client, namespace, ground.clone(), Arc::clone(&live)))
    });
    let began = Instant::now();
    let (observer, forger) = forgers::begin(&client, &rush).unzip();
    let patience = Duration::from_secs_f64(rush.scenario.people.patience_s);
    let via = |gateway| Via::new(gateway, rush.via_share, patience);
    let (via, coming) = rush.via.as_ref().map(via).unzip();
    let answers = Answers::new(answers, coming);
    let mut generator =
        Generator::new(&rush, &ground, &means, client, inbox, Arc::clone(&live), log);
    (generator.observer, generator.via) = (observer, via);
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
    fn an_insider_cannot_be_sent() {
        let of = |name| shipped(name).map(|scenario| can_be_sent(&scenario));
        assert!(matches!(of("batam"), Some(Ok(()))));
        let Some(Err(refused)) = of("insiders") else { panic!("it is sent") };
        assert!(refused.to_string().contains("giliran fairness"), "{refused}");
    }
}
