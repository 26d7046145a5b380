//! How it stands, for whoever watches.

use std::time::{Duration, Instant};

use super::{Generator, SHOWN_EVERY};
use crate::live::LiveStats;

/// Seconds whose rates are kept for the view.
const RATES_KEPT: usize = 60;

impl Generator<'_> {
    /// Free places: whichever is the later news. Clients know of a grant before the
    /// engine is asked again, the engine of a draw before clients look it up, and
    /// of returned places whether they are available. A lapsed place may be told to
    /// somebody else before anybody looks whether it lapsed.
    fn free_now(&self) -> i64 {
        let free = self.free.max(0);
        self.free_reported.map_or(free, |reported| reported.min(free))
    }

    /// Renews the view, now and then.
    pub(super) fn show(&mut self) {
        if self.shown.is_some_and(|shown| shown.elapsed() < SHOWN_EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        self.free_reported = self.live.take_reported().or(self.free_reported);
        if self.rated.elapsed() >= Duration::from_secs(1) {
            self.rated += Duration::from_secs(1);
            self.rate.push_back(self.tally.sent - self.sent_before);
            self.sent_before = self.tally.sent;
            if self.rate.len() > RATES_KEPT {
                self.rate.pop_front();
            }
        }
        let begins = self.started.saturating_duration_since(Instant::now());
        let now = self.now();
        if begins.is_zero() {
            let free = self.free_now();
            self.tally.happened(now, |bin| bin.free = Some(free));
        }
        let tally = &self.tally;
        let at = |of: &hdrhistogram::Histogram<u64>, q| of.value_at_quantile(q) as f64 / 1e3;
        let waiting = self.crowd.left() + u64::from(self.next.is_some());
        self.live.set(LiveStats {
            t_s: now as f64 / 1e6,
            begins_in_s: begins.as_secs_f64(),
            came: self.came,
            all: self.came + waiting,
            sent: tally.sent,
            granted: tally.bookings,
            entered: tally.entered,
            paid: tally.payments.paid,
            rejected: tally.rejected,
            unanswered: tally.unanswered + tally.unheard,
            open: self.open as u64,
            free: self.free_now(),
            places: self.ground.places,
            grants_ms: [at(&tally.grants, 0.5), at(&tally.grants, 0.99)],
            rejections_ms: [at(&tally.rejections, 0.5), at(&tally.rejections, 0.99)],
            late_ms: at(&tally.lag, 0.99),
            rate: self.rate.iter().copied().collect(),
        });
    }
}
