//! The lease beside a term of office: renewed, lost, given back.

use std::sync::Arc;
use std::time::Duration;

use giliran_broker::lease::Held;
use tokio::sync::watch;

use crate::engine::LEASE_TTL;
use crate::gate::{Gate, raised};

/// How often the lease is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(1);
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

/// Renews the lease until told to stop; gives it back unless it was lost.
pub(crate) async fn renew(
    mut held: Held,
    gate: Arc<Gate>,
    lost: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) -> Option<Held> {
    let mut last = held.renewed_at();
    let mut every = tokio::time::interval(RENEW_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = raised(&mut stop) => return Some(held),
            _ = every.tick() => {}
        }
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
        gate.close();
        lost.send_replace(true);
        return None;
    }
}
