//! Draws that wait for the public value they named: an operator has to hand it in,
//! and hears of it until that is done.

use std::time::{Duration, Instant};

use giliran_allocator::StateMachine;
use giliran_drand::{Network, Round};
use giliran_wire::Timestamp;

use crate::metrics::Metrics;

/// How often the log repeats that draws wait for their value.
const SAY_EVERY: Duration = Duration::from_secs(300);

/// What the log says of such draws, and when it last did.
#[derive(Debug, Default)]
pub(crate) struct PendingBeacons {
    /// How many draws wait, for how many of them the value is published already,
    /// and when the log last said so.
    said: Option<((usize, usize), Instant)>,
}

impl PendingBeacons {
    /// Shows how many there are, and names them. `network`: the one whose times are
    /// known.
    pub(crate) fn look(
        &mut self,
        state: &StateMachine,
        metrics: &Metrics,
        network: Option<&Network>,
        now: Timestamp,
    ) {
        let awaited = state.pending_beacons();
        metrics.draws_awaiting_beacon.set(awaited.len() as i64);
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
