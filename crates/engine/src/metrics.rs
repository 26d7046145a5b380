//! What the engine shows of itself.

use std::collections::BTreeMap;

use giliran_allocator::Settled;
use giliran_wire::answer::Reason;
use giliran_wire::event::Kind;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::places::Places;

/// Counters and gauges; registered once, cheap to touch.
#[derive(Debug, Clone)]
pub struct Metrics {
    granted: IntCounter,
    repeated: IntCounter,
    entered: IntCounter,
    changed: IntCounter,
    pub(crate) clock_ahead: IntGauge,
    pub(crate) draws_awaiting_beacon: IntGauge,
    /// By number of the reason.
    rejected: Vec<IntCounter>,
    pub(crate) lookups: IntCounterVec,
    pub(crate) dropped: IntCounterVec,
    pub(crate) queue_wait: Histogram,
    pub(crate) decide: Histogram,
    pub(crate) append: Histogram,
    pub(crate) answer: Histogram,
    pub(crate) block_bytes: Histogram,
    pub(crate) block_grants: Histogram,
    pub(crate) append_retries: IntCounter,
    pub(crate) foreign: IntCounter,
    pub(crate) queue_depth: IntGauge,
    pub(crate) backlog: IntGauge,
    pub(crate) epoch: IntGauge,
    pub(crate) seq: IntGauge,
    pub(crate) generation: IntGauge,
    pub(crate) changes: IntCounterVec,
    pub(crate) active: IntGauge,
    pub(crate) places: Places,
    pub(crate) file_differs: IntGaugeVec,
}

/// From 1 µs to 4 s.
fn stage_buckets() -> Vec<f64> {
    (0..23).map(|i| 1e-6 * f64::from(1u32 << i)).collect()
}

fn size_buckets() -> Vec<f64> {
    (0..20).map(|i| f64::from(1u32 << i)).collect()
}

/// Counts foreign messages as a part of a process meets them.
///
/// # Errors
///
/// Where `part` cannot be a label's value.
pub fn foreign_messages(part: &str) -> Result<IntCounter, prometheus::Error> {
    let name = "giliran_ledger_foreign_total";
    let help = "Messages on the ledger that no writer of it put there";
    IntCounter::with_opts(Opts::new(name, help).const_label("part", part))
}

/// Registers what it makes.
struct Registered<'a>(&'a Registry);

impl Registered<'_> {
    fn of<C: Collector + Clone + 'static>(
        &self,
        made: Result<C, prometheus::Error>,
    ) -> Result<C, prometheus::Error> {
        let made = made?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.of(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// With one label, of which these values are there from the start: of a counter that
    /// appears at 1, Prometheus sees no increase.
    fn counters_of<'v>(
        &self,
        (name, help): (&str, &str),
        label: &str,
        values: impl IntoIterator<Item = &'v str>,
    ) -> Result<IntCounterVec, prometheus::Error> {
        let counters = self.counters(name, help, &[label])?;
        for value in values {
            counters.with_label_values(&[value]);
        }
        Ok(counters)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.of(IntGauge::new(name, help))
    }

    fn times(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        self.of(Histogram::with_opts(HistogramOpts::new(name, help).buckets(stage_buckets())))
    }

    fn sizes(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        self.of(Histogram::with_opts(HistogramOpts::new(name, help).buckets(size_buckets())))
    }

    fn file_differs(&self) -> Result<IntGaugeVec, prometheus::Error> {
        let help = "Values in the configuration file that are not those on record; field \
                    opening: it is left out as a whole, or in one of them alone";
        self.of(IntGaugeVec::new(Opts::new("giliran_file_differs", help), &["opening", "field"]))
    }
}

impl Metrics {
    /// Makes and registers them.
    ///
    /// # Errors
    ///
    /// Where `registry` already has metrics of these names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let made = Registered(registry);
        let requests = made.counters(
            "giliran_requests_total",
            "Answers to requests for bookings and their changes, by outcome and reason",
            &["outcome", "reason"],
        )?;
        let rejected = |reason: &Reason| requests.with_label_values(&["rejected", reason.name()]);
        Ok(Self {
            granted: requests.with_label_values(&["granted", ""]),
            repeated: requests.with_label_values(&["repeated", ""]),
            entered: requests.with_label_values(&["entered", ""]),
            changed: requests.with_label_values(&["changed", ""]),
            rejected: Reason::ALL.iter().map(rejected).collect(),
            clock_ahead: made.gauge(
                "giliran_clock_ahead",
                "1 while the clock is too far ahead to be believed, and nothing expires",
            )?,
            draws_awaiting_beacon: made.gauge(
                "giliran_draws_awaiting_beacon",
                "Draws that wait for the public value they named",
            )?,
            lookups: made.counters_of(
                ("giliran_lookups_total", "Questions answered"),
                "operation",
                ["lookup", "find", "availability"],
            )?,
            dropped: made.counters_of(
                ("giliran_requests_dropped_total", "Requests nobody could be answered for"),
                "reason",
                ["no_reply_subject", "reply_outside_inboxes"],
            )?,
            queue_wait: made.times(
                "giliran_queue_wait_seconds",
                "From the socket to a deciding thread, per group of messages",
            )?,
            decide: made
                .times("giliran_decide_seconds", "Reading and deciding a group of messages")?,
            append: made
                .times("giliran_append_seconds", "From a block's first send to its commit")?,
            answer: made.times(
                "giliran_grant_seconds",
                "From the socket to the answer, for a block's oldest grant",
            )?,
            block_bytes: made.sizes("giliran_block_bytes", "Size of a ledger block")?,
            block_grants: made.sizes("giliran_block_grants", "Grants in a block")?,
            append_retries: made.of(IntCounter::new(
                "giliran_append_retries_total",
                "Appends that were sent again because no outcome came",
            ))?,
            foreign: made.of(foreign_messages("engine"))?,
            queue_depth: made.gauge("giliran_queue_depth", "Messages waiting to be decided")?,
            backlog: made.gauge("giliran_backlog", "Grants and requests waiting for a block")?,
            epoch: made.gauge("giliran_epoch", "Take-overs of the ledger so far")?,
            seq: made.gauge("giliran_ledger_seq", "Last ledger sequence applied")?,
            generation: made.gauge("giliran_ledger_generation", "The ledger's generation")?,
            changes: made.counters_of(
                (
                    "giliran_changes_total",
                    "Changes of bookings and entries that this engine put on record",
                ),
                "kind",
                Kind::ALL.map(Kind::name),
            )?,
            active: made.gauge("giliran_active", "1 while this engine decides requests")?,
            places: made.of(Places::new())?,
            file_differs: made.file_differs()?,
        })
    }

    /// What was answered since the start, by the name of the outcome; what never came is
    /// left out.
    pub fn answers(&self) -> BTreeMap<String, u64> {
        let outcomes = [
            ("granted", &self.granted),
            ("repeated", &self.repeated),
            ("entered", &self.entered),
            ("changed", &self.changed),
        ];
        let outcomes = outcomes.into_iter().map(|(name, count)| (name.to_owned(), count.get()));
        let named = |reason: &Reason| format!("rejected.{}", reason.name());
        let rejected = Reason::ALL.iter().map(named).zip(self.rejected.iter().map(IntCounter::get));
        outcomes.chain(rejected).filter(|(_, count)| *count > 0).collect()
    }

    /// How long grants took since the start: so many µs or less, and how many; each with
    /// those before. Nothing where there was no grant.
    pub fn grants_within(&self) -> Vec<[u64; 2]> {
        let families = self.answer.collect();
        let metrics = families.iter().flat_map(|family| family.get_metric());
        let buckets = metrics.flat_map(|metric| metric.get_histogram().get_bucket().to_vec());
        let within = |bucket: prometheus::proto::Bucket| {
            [(bucket.upper_bound() * 1e6).round() as u64, bucket.cumulative_count()]
        };
        buckets.map(within).filter(|[_, count]| *count > 0).collect()
    }

    /// Messages that wait to be decided, and grants and requests that wait for a block.
    pub fn waiting(&self) -> [u64; 2] {
        [&self.queue_depth, &self.backlog].map(|gauge| u64::try_from(gauge.get()).unwrap_or(0))
    }

    pub(crate) fn granted(&self, n: u64) {
        self.granted.inc_by(n);
    }

    /// One request was settled from durable facts.
    pub(crate) fn settled(&self, settled: &Settled) {
        let mut counts = SettledCounts::default();
        counts.add(settled);
        self.settled_all(&counts);
    }

    /// As many as were counted.
    pub(crate) fn settled_all(&self, counts: &SettledCounts) {
        let counters = std::iter::once(&self.repeated).chain(&self.rejected);
        let counts = std::iter::once(&counts.repeated).chain(&counts.rejected);
        for (counter, count) in counters.zip(counts).filter(|(_, count)| **count > 0) {
            counter.inc_by(*count);
        }
    }

    pub(crate) fn entered(&self) {
        self.entered.inc();
    }

    pub(crate) fn changed(&self) {
        self.changed.inc();
    }

    pub(crate) fn rejected(&self, reason: Reason) {
        self.rejected[place_of(reason)].inc();
    }
}

/// Requests that one stretch of work settled. They are added to the counters at its end: these
/// are one place in memory for all workers, which goes from core to core with each step.
#[derive(Debug, Default)]
pub(crate) struct SettledCounts {
    repeated: u64,
    /// By number of the reason.
    rejected: [u64; Reason::ALL.len()],
}

impl SettledCounts {
    pub(crate) fn add(&mut self, settled: &Settled) {
        match settled {
            Settled::Repeat(..) | Settled::Entered { .. } => self.repeated += 1,
            Settled::Rejected(rejection, _) => self.rejected[place_of(rejection.reason)] += 1,
        }
    }
}

fn place_of(reason: Reason) -> usize {
    usize::from(reason.number()) - 1
}
