//! Open loop at a fixed rate: each request is sent when it is due, whatever the others wait
//! for, and its latency counts from then.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::LoadError;
use super::stats::histogram;

/// Between two looks at what is due.
const TURN: Duration = Duration::from_millis(1);
/// Digits of a latency that count.
const DIGITS: u8 = 3;

/// When requests of a fixed rate are due.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    begun: Instant,
    per_s: u32,
}

impl Pace {
    /// The first request is due now.
    pub fn begin(per_s: u32) -> Self {
        Self { begun: Instant::now(), per_s }
    }

    /// When the `n`-th request is due, after the first.
    pub fn due(&self, n: u64) -> Duration {
        Duration::from_nanos((u128::from(n) * 1_000_000_000 / u128::from(self.per_s.max(1))) as u64)
    }

    /// How long ago the `n`-th request was due, counted from 0.
    pub fn since_due(&self, n: u64) -> Duration {
        self.begun.elapsed().saturating_sub(self.due(n))
    }

    /// Sends so many requests, each once it is due.
    ///
    /// # Errors
    ///
    /// The first that sending gave.
    pub async fn each(
        &self,
        requests: u64,
        mut send: impl AsyncFnMut(u64) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let mut sent = 0;
        while sent < requests {
            let now = self.begun.elapsed();
            while sent < requests && self.due(sent) <= now {
                send(sent).await?;
                sent += 1;
            }
            tokio::time::sleep(TURN).await;
        }
        Ok(())
    }
}

/// How long requests took.
#[derive(Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(histogram(DIGITS))
    }
}

impl Latencies {
    /// Beyond two minutes it counts as two minutes.
    pub fn record(&mut self, took: Duration) {
        self.0.saturating_record(took.as_micros() as u64);
    }

    /// Those of another one as well.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so nothing can be refused.
        let _ = self.0.add(&other.0);
    }

    /// ms that a part of the requests, up to 1, took at most.
    pub fn ms(&self, part: f64) -> f64 {
        self.0.value_at_quantile(part) as f64 / 1e3
    }

    /// Their number, and ms at p50, p99, p99.9 and at most.
    pub fn summary(&self) -> Value {
        json!({
            "answers": self.0.len(),
            "p50_ms": self.ms(0.5),
            "p99_ms": self.ms(0.99),
            "p99_9_ms": self.ms(0.999),
            "max_ms": self.ms(1.0),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_go_out_when_they_are_due() {
        let pace = Pace::begin(1_000);
        let mut sent = Vec::new();
        let early = async |n| {
            assert!(pace.begun.elapsed() >= pace.due(n), "{n} went out before it was due");
            sent.push(n);
            Ok(())
        };
        pace.each(20, early).await.unwrap();
        assert_eq!(sent, (0..20).collect::<Vec<_>>());
        assert!(pace.since_due(0) >= Duration::from_millis(19));
        assert_eq!(pace.since_due(1 << 40), Duration::ZERO);
    }

    #[test]
    fn latencies_of_several_connections_are_one() {
        let (mut one, mut other) = (Latencies::default(), Latencies::default());
        (1..=99).for_each(|_| one.record(Duration::from_millis(1)));
        other.record(Duration::from_secs(1));
        one.add(&other);
        let near = |ms: f64, expected: f64| (ms / expected - 1.0).abs() < 0.01;
        assert!(near(one.ms(0.5), 1.0) && near(one.ms(0.99), 1.0) && near(one.ms(0.999), 1_000.0));
        assert_eq!(one.summary()["answers"], 100);
    }
}
