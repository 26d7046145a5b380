//! Draws that wait for the public value they named: an operator has to hand it in,
//! and hears of it until that is done.

use std::time::{Duration, Instant};

use giliran_allocator::StateMachine;
use giliran_drand::{Network, Round};
use giliran_wire::Timestamp;

use crate::metrics::Metrics;

/// How often it is said.
const SAY_EVERY: Duration = Duration::from_secs(300);

/// What was said so far.
#[derive(Debug, Default)]
pub(crate) struct PendingBeacons {
    /// Of so many draws, so many of them waiting for a value that is published;
    /// then.
    said: Option<((usize, usize), Instant)>,
}

impl PendingBeacons {
    /// Shows how many there are, and names them. `network`: the one whose times are
    /// known.
    pub(crate) fn look(
        &mut self,
        keeper: &StateMachine,
        metrics: &Metrics,
        network: Option<&Network>,
        now: Timestamp,
    ) {
        let awaited = keeper.awaited();
        metrics.draws_waiting.set(awaited.len() as i64);
        if awaited.is_empty() {
            self.said = None;
            return;
        }
        let published = |name: &str| {
            let round: Round = name.parse().ok()?;
            Some((round.number, network.and_then(|network| network.published_at(&round))))
        };
        let draws: Vec<_> = awaited.iter().map(|(o, name)| (o.id(), published(name))).collect();
        // Of a network that is not known here, nobody says when.
        let is_late = |at: Option<Timestamp>| at.is_none_or(|at| at <= now);
        let late = draws.iter().filter(|(_, round)| is_late(round.and_then(|(_, at)| at))).count();
        let count = (draws.len(), late);
        if self.said.is_some_and(|(of, then)| of == count && then.elapsed() < SAY_EVERY) {
            return;
        }
        self.said = Some((count, Instant::now()));
        for (opening, round) in draws {
            let (round, at) = round.unzip();
            match at.flatten() {
                Some(at) if at > now => tracing::info!(
                    opening,
                    round,
                    published_at = %at,
                    "a draw waits for its public value, which is not published yet"
                ),
                _ => tracing::warn!(
                    opening,
                    round,
                    "a draw waits for its public value: fetch it and hand it in with \
                     `giliran admin beacon`"
                ),
            }
        }
    }
}
