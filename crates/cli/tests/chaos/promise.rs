//! What is promised within seconds, measured on a machine that may have other things
//! to do.
//!
//! How long a test waits for something at all is its patience, and says nothing. A
//! promise is in seconds, and these count while the machine has a processor and a disk
//! for whoever wants one: time in which somebody waited for either is not counted, up
//! to a bound. `cargo xtask chaos`, which has the machine to itself, counts all of it.

use std::time::{Duration, Instant};

use crate::long;

/// What measuring itself may take, a look every quarter of a second.
const SLACK: Duration = Duration::from_millis(1_500);
/// On a loaded machine a promise may take so many times longer, no more.
const LOADED: u32 = 2;

/// A promise whose time runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promise {
    pub(crate) since: Instant,
    within: Duration,
    stalled: Duration,
}

impl Promise {
    pub(crate) fn within(within: Duration) -> Self {
        Self { since: Instant::now(), within, stalled: stalled() }
    }

    /// False where it is broken by now.
    pub(crate) fn stands(&self) -> bool {
        self.stood_at(Instant::now(), stalled())
    }

    /// The same at a moment at which [`stalled`] said so much.
    pub(crate) fn stood_at(&self, at: Instant, stalled: Duration) -> bool {
        let lost = if long() { Duration::ZERO } else { stalled.saturating_sub(self.stalled) };
        let due = self.within + SLACK + lost.min(self.within * LOADED);
        at.saturating_duration_since(self.since) <= due
    }
}

/// For how long since its start somebody has waited for this machine's processors or
/// disk. Zero where the system does not tell, as not every one does.
pub(crate) fn stalled() -> Duration {
    let waited = |what: &str| {
        let told = std::fs::read_to_string(format!("/proc/pressure/{what}")).ok()?;
        let some = told.lines().find(|line| line.starts_with("some "))?;
        some.rsplit_once("total=")?.1.parse().map(Duration::from_micros).ok()
    };
    waited("cpu").unwrap_or_default() + waited("io").unwrap_or_default()
}

#[test]
fn a_promise_counts_what_the_machine_gave() {
    let promise = Promise { since: Instant::now(), within: 2 * SLACK, stalled: SLACK };
    let after = |slacks: u32, stalled: u32| {
        promise.stood_at(promise.since + slacks * SLACK, (1 + stalled) * SLACK)
    };
    assert!(after(3, 0));
    assert!(!after(4, 0), "an idle machine has no excuse");
    assert!(long() || (after(5, 2) && after(7, 4)));
    assert!(!after(8, 100), "nor has a loaded one for everything");
}
