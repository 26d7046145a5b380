//! What the gateway shows of itself.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counters and gauges; registered once, cheap to touch.
#[derive(Debug, Clone)]
pub struct Metrics {
    answered: IntCounterVec,
    attempts: IntCounterVec,
    batches: IntCounter,
    batched: IntCounter,
    bookings: Histogram,
    pub(crate) in_flight: IntGauge,
    /// Connections that are open, for [`serve`](giliran_web::serve).
    pub connections: IntGauge,
    pub(crate) streams: IntGauge,
    limited: IntCounterVec,
    log_lost: IntCounter,
}

impl Metrics {
    /// Makes them and shows them in this registry.
    ///
    /// # Errors
    ///
    /// Where it has one of these names already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        fn shown<C: Collector + Clone + 'static>(
            registry: &Registry,
            made: Result<C, prometheus::Error>,
        ) -> Result<C, prometheus::Error> {
            let made = made?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        }
        let name = |name: &str| format!("giliran_gateway_{name}");
        let counter = |of: &str, help: &str| shown(registry, IntCounter::new(name(of), help));
        let gauge = |of: &str, help: &str| shown(registry, IntGauge::new(name(of), help));
        let counters = |of: &str, help: &str, labels: &[&str]| {
            shown(registry, IntCounterVec::new(Opts::new(name(of), help), labels))
        };
        let seconds = HistogramOpts::new(
            name("booking_seconds"),
            "From the whole body of a booking to its answer, repetitions included",
        );
        // From 0.5 ms to 65 s.
        let seconds = seconds.buckets((0..18).map(|i| 5e-4 * f64::from(1u32 << i)).collect());
        Ok(Self {
            answered: counters(
                "requests_total",
                "HTTP requests that were answered",
                &["endpoint", "status"],
            )?,
            attempts: counters(
                "attempts_total",
                "What the engine said to each sending of a request",
                &["outcome"],
            )?,
            batches: counter("batches_total", "Messages sent to the engine")?,
            batched: counter("batched_requests_total", "Requests in these messages")?,
            bookings: shown(registry, Histogram::with_opts(seconds))?,
            in_flight: gauge("in_flight", "Requests on their way to the engine")?,
            connections: gauge("connections", "HTTP connections")?,
            streams: gauge("streams", "Streams of events that are being read")?,
            limited: counters("limited_total", "Requests beyond a rate", &["by"])?,
            log_lost: counter("client_log_lost_total", "Lines of the client log that were lost")?,
        })
    }

    pub(crate) fn answered(&self, endpoint: &str, status: u16) {
        self.answered.with_label_values(&[endpoint, &status.to_string()]).inc();
    }

    pub(crate) fn attempt(&self, outcome: &str) {
        self.attempts.with_label_values(&[outcome]).inc();
    }

    pub(crate) fn batch(&self, requests: usize) {
        self.batches.inc();
        self.batched.inc_by(requests as u64);
    }

    pub(crate) fn booked(&self, took: Duration) {
        self.bookings.observe(took.as_secs_f64());
    }

    pub(crate) fn limited(&self, by: &str) {
        self.limited.with_label_values(&[by]).inc();
    }

    pub(crate) fn log_lost(&self) {
        self.log_lost.inc();
    }
}
