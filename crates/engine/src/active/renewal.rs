//! The lease of the active engine: renewed, lost, given back.

use std::sync::Arc;
use std::time::Duration;

use giliran_nats::clock::Moment;
use giliran_nats::lease::Held;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::lease_guard::{LEASE_TTL, LeaseGuard, Pulse};

/// How often the lease is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How long the loop may make no step before the lease is not renewed any more. It
/// makes several a second where nothing happens at all.
const STUCK_AFTER: Duration = Duration::from_secs(2);
/// How long giving it back may take.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);

/// Lets another engine take over at once.
pub(crate) async fn give_back(held: Held) {
    match tokio::time::timeout(RELEASE_WITHIN, held.release()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the lease ends by itself"),
        Err(_) => tracing::debug!("the lease ends by itself"),
    }
}

/// Renews the lease until told to stop, for as long as the loop makes steps; gives it
/// back unless it was lost. `lost` is dropped once nobody renews it any more.
pub(crate) async fn renew(
    mut held: Held,
    gate: Arc<LeaseGuard>,
    pulse: Arc<Pulse>,
    lost: DropGuard,
    stop: CancellationToken,
) -> Option<Held> {
    let mut last = held.renewed_at();
    let mut steps = Steps { beats: pulse.beats(), since: Moment::now() };
    let mut every = tokio::time::interval(RENEW_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Some(held),
            _ = every.tick() => {}
        }
        let stuck = steps.are_missed(&pulse, &gate);
        pulse.set_stuck(stuck);
        if stuck {
            tracing::error!("the engine is stuck, and does not renew its lease");
            if last.elapsed() < LEASE_TTL {
                continue;
            }
        } else {
            match tokio::time::timeout(RENEW_EVERY, held.renew()).await {
                Ok(Ok(Some(sent))) => {
                    last = sent;
                    gate.renewed(sent, LEASE_TTL);
                    continue;
                }
                Ok(Ok(None)) => tracing::warn!("another engine holds the lease"),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the lease could not be renewed");
                    if last.elapsed() < LEASE_TTL {
                        continue;
                    }
                }
                Err(_) if last.elapsed() < LEASE_TTL => continue,
                Err(_) => tracing::warn!("the lease ran out while renewing"),
            }
        }
        gate.close();
        drop(lost);
        return None;
    }
}

/// The loop's steps, as the renewing task has seen them.
struct Steps {
    beats: u64,
    /// When they were last seen to go on.
    since: Moment,
}

impl Steps {
    fn are_missed(&mut self, pulse: &Pulse, gate: &LeaseGuard) -> bool {
        let beats = pulse.beats();
        if beats != self.beats || pulse.is_excused(gate.mono_ms()) {
            *self = Self { beats, since: Moment::now() };
        }
        self.since.elapsed() >= STUCK_AFTER
    }
}

#[cfg(test)]
mod tests {
    use giliran_nats::connection;
    use giliran_nats::lease::Lease;
    use giliran_nats::server::Server;
    use giliran_testkit::server_options;
    use giliran_wire::subject::Namespace;

    use super::*;

    /// The loop gets stuck: its lease runs out, and another engine may have it. Before
    /// that it had an excuse, and kept it.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_stuck_engine_loses_its_lease() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(server_options(folder.path())).await.unwrap();
        let client = connection::connect(&server.url(), "test", &Default::default()).await.unwrap();
        let lease = |holder| Lease::of_engines(&client, &Namespace::default(), holder, 1);
        let held = lease("first").acquire(LEASE_TTL).await.unwrap().unwrap();
        let (gate, pulse) = (Arc::new(LeaseGuard::new()), Arc::new(Pulse::default()));
        gate.renewed(held.renewed_at(), LEASE_TTL);
        let (is_lost, stop) = (CancellationToken::new(), CancellationToken::new());
        let lost = is_lost.clone().drop_guard();
        let excused = 6_000;
        pulse.excuse(gate.mono_ms() + excused);
        let renewing = tokio::spawn(renew(held, Arc::clone(&gate), Arc::clone(&pulse), lost, stop));
        while pulse.is_excused(gate.mono_ms()) {
            assert!(!is_lost.is_cancelled(), "it had an excuse");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for _ in 0..20 {
            pulse.beat();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(gate.stands() && !is_lost.is_cancelled() && !pulse.is_stuck(), "its loop went on");
        assert!(lease("second").acquire(LEASE_TTL).await.unwrap().is_none());
        let stuck = Moment::now();
        tokio::time::timeout(Duration::from_secs(10), is_lost.cancelled()).await.unwrap();
        assert!(stuck.elapsed() >= STUCK_AFTER);
        assert!(renewing.await.unwrap().is_none() && !gate.stands() && pulse.is_stuck());
        lease("second").freed().await;
        assert!(lease("second").acquire(LEASE_TTL).await.unwrap().is_some());
        server.stop().await.unwrap();
    }
}
