//! What can be watched while it runs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use giliran_wire::answer::Reason;
use giliran_wire::subject::Namespace;

use super::target::{Engine, Target};

/// How often the engine is asked for its free places.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default)]
pub struct LiveStats {
    /// Seconds from the opening, of the scenario.
    pub t_s: f64,
    /// Seconds of waiting until it begins; 0: it has begun.
    pub begins_in_s: f64,
    /// Parties that have come, and all of them.
    pub came: u64,
    /// All parties that will come.
    pub all: u64,
    pub sent: u64,
    pub granted: u64,
    /// Entered into a draw.
    pub entered: u64,
    /// Held bookings that were paid.
    pub paid: u64,
    /// Rejections by the reason's number.
    pub rejected: [u64; Reason::NUMBERS],
    /// Requests that nobody heard, or answered in time.
    pub unanswered: u64,
    /// Requests on the way.
    pub open: u64,
    /// Free places, as far as known.
    pub free: i64,
    /// Places at the offices that are asked at.
    pub places: i64,
    /// Grants' latency, ms: half of them within, 99 % within.
    pub grants_ms: [f64; 2],
    pub rejections_ms: [f64; 2],
    /// How late requests leave, ms: 99 % within.
    pub late_ms: f64,
    /// Requests a second, of late, by second.
    pub rate: Vec<u64>,
}

impl LiveStats {
    /// Rejections of this reason.
    pub fn of(&self, reason: Reason) -> u64 {
        self.rejected[usize::from(reason.number())]
    }
}

/// Where the run says how it stands.
#[derive(Debug, Default)]
pub struct SharedStats {
    view: Mutex<LiveStats>,
    /// Free places as the engine told last.
    reported: Mutex<Option<i64>>,
}

impl SharedStats {
    /// How it stands now.
    pub fn view(&self) -> LiveStats {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, view: LiveStats) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }

    /// What the engine told since the last time this was asked.
    pub(crate) fn take_reported(&self) -> Option<i64> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Asks the engine for its free places, now and then.
pub(crate) async fn watch_free(
    client: Client,
    namespace: Namespace,
    ground: Target,
    live: Arc<SharedStats>,
) {
    let offices: BTreeSet<String> = ground.offices.iter().map(|site| site.id.clone()).collect();
    let mut every = tokio::time::interval(LOOKS_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        // An engine that is gone is told by those who ask it for places.
        if let Ok(engine) = Engine::look(&client, &namespace).await {
            let free = engine.free(&ground.opening, &offices);
            *live.reported.lock().unwrap_or_else(PoisonError::into_inner) = Some(free);
        }
    }
}
