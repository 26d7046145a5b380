//! What the gateway shows of itself.

use std::array;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use giliran_wire::answer::Reason;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Statuses of an address whose counters are found without their names.
const STATUSES: usize = 8;

/// What the engine said to a sending of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Said {
    Granted,
    Entered,
    NobodyThere,
    /// Nothing, or nothing that can be read.
    Nothing,
    Rejected(Reason),
}

impl Said {
    /// So many are told apart.
    const NUMBERS: usize = Reason::NUMBERS + 4;

    const fn number(self) -> usize {
        match self {
            Self::Granted => 0,
            Self::Entered => 1,
            Self::NobodyThere => 2,
            Self::Nothing => 3,
            Self::Rejected(reason) => 4 + reason.number() as usize,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Entered => "entered",
            Self::NobodyThere => "nobody_there",
            Self::Nothing => "unanswered",
            Self::Rejected(reason) => reason.name(),
        }
    }
}

/// Counts what was answered at one address.
#[derive(Debug)]
pub(crate) struct Endpoint {
    path: &'static str,
    answered: IntCounterVec,
    /// Those of the first statuses that were answered.
    counters: [OnceLock<(u16, IntCounter)>; STATUSES],
}

impl Endpoint {
    pub(crate) fn answered(&self, status: u16) {
        let counter = || self.answered.with_label_values(&[self.path, &status.to_string()]);
        for known in &self.counters {
            let (of, known) = known.get_or_init(|| (status, counter()));
            if *of == status {
                return known.inc();
            }
        }
        counter().inc();
    }
}

/// Counters and gauges; registered once, cheap to touch.
#[derive(Debug, Clone)]
pub struct Metrics {
    answered: IntCounterVec,
    attempts: IntCounterVec,
    /// Those that were counted so far.
    said: Arc<[OnceLock<IntCounter>; Said::NUMBERS]>,
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
            said: Arc::new(array::from_fn(|_| OnceLock::new())),
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

    pub(crate) fn answered(&self, address: &str, status: u16) {
        self.answered.with_label_values(&[address, &status.to_string()]).inc();
    }

    /// What counts answers at this address.
    pub(crate) fn endpoint(&self, path: &'static str) -> Arc<Endpoint> {
        let counters = array::from_fn(|_| OnceLock::new());
        Arc::new(Endpoint { path, answered: self.answered.clone(), counters })
    }

    pub(crate) fn attempt(&self, said: Said) {
        let counter = || self.attempts.with_label_values(&[said.name()]);
        self.said[said.number()].get_or_init(counter).inc();
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_under_its_own_name() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let endpoint = metrics.endpoint("/v1/lookups");
        // More of them than are kept at hand.
        let statuses = 200..220;
        for status in statuses.clone() {
            (200..=status).for_each(|_| endpoint.answered(status));
        }
        let rejections = Reason::ALL.iter().map(|reason| Said::Rejected(*reason));
        let said = [Said::Granted, Said::Entered, Said::NobodyThere, Said::Nothing];
        let said: Vec<Said> = said.into_iter().chain(rejections).collect();
        for (n, one) in said.iter().enumerate() {
            (0..=n).for_each(|_| metrics.attempt(*one));
        }
        let shown = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for (n, status) in statuses.enumerate() {
            let labels = format!(r#"endpoint="/v1/lookups",status="{status}""#);
            let line = format!("giliran_gateway_requests_total{{{labels}}} {}\n", n + 1);
            assert!(shown.contains(&line), "{line}{shown}");
        }
        for (n, one) in said.iter().enumerate() {
            let outcome = one.name();
            let line =
                format!("giliran_gateway_attempts_total{{outcome=\"{outcome}\"}} {}\n", n + 1);
            assert!(shown.contains(&line), "{line}{shown}");
        }
    }
}
