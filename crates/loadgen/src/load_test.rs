//! What is to be run.

use std::path::PathBuf;
use std::time::Duration;

use giliran_fairness::scenario::Scenario;
use giliran_wire::ledger::Order;
use giliran_wire::subject::Namespace;

use crate::via::GatewayAddress;

/// After so long without a single answer an engine is dead.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// What is to be run.
#[derive(Debug, Clone)]
pub struct LoadTest {
    pub namespace: Namespace,
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
    /// The gateway that bookings, look-ups and cancellations go through; none: they go over
    /// NATS, as payments always do.
    pub via: Option<GatewayAddress>,
    /// Share of the parties who go through it, 0 to 1; the others' requests go over NATS.
    pub via_share: f64,
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
    pub(crate) fn after(&self, at_us: f64) -> f64 {
        at_us + if at_us < 0.0 { 2e6 } else { 1e6 } / self.per_s
    }
}

impl LoadTest {
    /// All of a scenario, as it is, at the opening that is open or comes next, for an
    /// engine whose order is first-come.
    pub fn new(namespace: Namespace, scenario: Scenario, seed: u64) -> Self {
        Self {
            namespace,
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
            via: None,
            via_share: 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_as_many_come_before_the_opening() {
        let steady = Steady { per_s: 10.0, asks_anew: 0.0 };
        let comes = std::iter::successors(Some(-400e3), |at| Some(steady.after(*at)));
        let comes: Vec<i64> = comes.take(5).map(|at| at as i64).collect();
        assert_eq!(comes, [-400_000, -200_000, 0, 100_000, 200_000]);
    }
}
