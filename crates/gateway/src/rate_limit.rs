//! How often one account or address may ask, in memory that does not grow.
//!
//! A count-min sketch of clocks: each key has a cell in each of four rows, and a cell holds the
//! time up to which its keys have used up their rate (the generic cell rate algorithm). A key is
//! judged by its earliest cell, so that another key in one of its cells does it no harm; only
//! one in all four would.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use giliran_nats::clock::Moment;

const ROWS: usize = 4;
/// Cells in a row: 512 KiB in all.
const CELLS: usize = 1 << 14;

/// So many requests a second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Requests a second, for long.
    pub per_s: f64,
    /// Requests at once.
    pub burst: u32,
}

/// A text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotARate;

impl fmt::Display for NotARate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("requests a second, and how many at once, as 5:20")
    }
}

impl std::error::Error for NotARate {}

impl FromStr for Rate {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        let (per_s, burst) = text.split_once(':').ok_or(NotARate)?;
        let per_s = per_s.parse().map_err(|_| NotARate)?;
        let burst = burst.parse().map_err(|_| NotARate)?;
        let fine = (1e-3..=1e6).contains(&per_s) && burst > 0;
        if fine { Ok(Self { per_s, burst }) } else { Err(NotARate) }
    }
}

/// The rates of all accounts, or all addresses.
pub(crate) struct RateLimit {
    /// µs that one request uses up.
    each_us: u64,
    /// µs that may be used up beforehand.
    ahead_us: u64,
    hashers: [RandomState; ROWS],
    rows: Mutex<Vec<u64>>,
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("each_us", &self.each_us).finish_non_exhaustive()
    }
}

impl RateLimit {
    pub(crate) fn new(rate: Rate) -> Self {
        let each_us = ((1e6 / rate.per_s) as u64).max(1);
        Self {
            each_us,
            ahead_us: each_us * u64::from(rate.burst),
            hashers: std::array::from_fn(|_| RandomState::new()),
            rows: Mutex::new(vec![0; ROWS * CELLS]),
        }
    }

    /// Takes one request of this key's rate.
    ///
    /// # Errors
    ///
    /// How long to wait where nothing is left of it.
    pub(crate) fn take(&self, key: &[u8]) -> Result<(), Duration> {
        self.take_at(key, Moment::now().as_micros())
    }

    fn take_at(&self, key: &[u8], now_us: u64) -> Result<(), Duration> {
        let cells: [usize; ROWS] = std::array::from_fn(|row| {
            row * CELLS + self.hashers[row].hash_one(key) as usize % CELLS
        });
        // A panic elsewhere cannot leave a number half changed.
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let used_up = cells.iter().map(|cell| rows[*cell]).min().unwrap_or(0).max(now_us);
        let after = used_up + self.each_us;
        if after > now_us + self.ahead_us {
            return Err(Duration::from_micros(after - now_us - self.ahead_us));
        }
        for cell in cells {
            rows[cell] = rows[cell].max(after);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn limit() -> RateLimit {
        RateLimit::new("5:20".parse().unwrap())
    }

    fn taken(limit: &RateLimit, key: &str, now_us: u64) -> usize {
        (0..1_000).filter(|_| limit.take_at(key.as_bytes(), now_us).is_ok()).count()
    }

    #[test]
    fn a_key_has_its_burst_and_then_its_rate() {
        let limit = limit();
        assert_eq!(taken(&limit, "a", 9 * S), 20);
        let wait = limit.take_at(b"a", 9 * S).unwrap_err();
        assert_eq!(wait, Duration::from_millis(200));
        assert_eq!(taken(&limit, "a", 10 * S), 5);
        assert_eq!(taken(&limit, "a", 1_000 * S), 20);
    }

    #[test]
    fn others_do_a_key_no_harm() {
        let limit = limit();
        for n in 0..2_000 {
            taken(&limit, &format!("attacker {n}"), 9 * S);
        }
        let hurt = (0..1_000).filter(|n| taken(&limit, &format!("person {n}"), 9 * S) < 20).count();
        assert!(hurt < 10, "{hurt}");
    }

    #[test]
    fn a_rate_is_two_numbers() {
        for wrong in ["5", "0:1", "5:0", "-1:5", "a:b", "inf:1"] {
            assert_eq!(wrong.parse::<Rate>(), Err(NotARate), "{wrong}");
        }
    }
}
