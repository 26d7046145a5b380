//! What the roles of an engine share: all of them, and the tasks of the active one.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::Subject;
use giliran_allocator::{Allocator, StateMachine};
use giliran_nats::follower::Health;
use giliran_nats::ledger;
use giliran_nats::watch::Mark;
use giliran_sequencer::{MAX_BACKLOG, RejectionCounts};
use giliran_wire::ledger::{Chain, Foreign, OpeningRecord};
use giliran_wire::{ApplicantKey, Timestamp};

use crate::beside::Beside;
use crate::high_water::HighWater;
use crate::lease_guard::{LeaseGuard, Pulse};
use crate::marker::Marker;
use crate::metrics::Metrics;
use crate::options::Options;

/// How long before its opening an opening is put on record.
const HORIZON: Duration = Duration::from_secs(14 * 24 * 3600);

/// What an engine has in every role.
#[derive(Debug)]
pub(crate) struct EngineContext {
    pub(crate) options: Options,
    pub(crate) client: async_nats::Client,
    pub(crate) gate: Arc<LeaseGuard>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) high_water: HighWater,
    pub(crate) marker: Marker,
    pub(crate) beside: Arc<Beside>,
}

impl EngineContext {
    /// That of an engine that has not started; the watch begins to look at once.
    pub(crate) fn new(options: Options, client: async_nats::Client, metrics: Metrics) -> Self {
        let high_water = HighWater::new(&options.data);
        Self {
            marker: Marker::start(&high_water),
            high_water,
            health: Health::new(&client, &options.config.namespace, "engine"),
            options,
            client,
            gate: Arc::new(LeaseGuard::new()),
            pulse: Arc::default(),
            metrics,
            beside: Arc::default(),
        }
    }

    /// Tells operators of a foreign message.
    pub(crate) fn report(&self, foreign: &Foreign) {
        self.metrics.foreign.inc();
        ledger::report(foreign);
    }

    /// Openings of the file that should be on record at `now` and are not. What is not
    /// as the file says is told.
    pub(crate) fn due_openings(&self, now: Timestamp, state: &StateMachine) -> Vec<OpeningRecord> {
        let (config, openings) = (&self.options.config, state.allocator().openings());
        let known = |id: &str| state.knows_opening(id);
        let compared = config.compare(now, HORIZON.as_millis() as u64, &openings, known);
        self.beside.look(&compared.findings, &self.metrics);
        compared.new
    }

    /// Shows position and places, and wants the position remembered.
    pub(crate) fn publish_gauges(&self, chain: &Chain, allocator: &Arc<Allocator>) {
        self.health.watch().hold(Mark::of(chain));
        self.marker.persist_high_water(Mark::of(chain));
        self.health.stands(chain);
        let metrics = &self.metrics;
        metrics.epoch.set(chain.epoch as i64);
        metrics.seq.set(chain.seq as i64);
        metrics.generation.set(chain.generation.into());
        metrics.places.show(allocator);
    }
}

/// What all tasks of the active engine share.
#[derive(Debug)]
pub(crate) struct WorkerContext {
    pub(crate) client: async_nats::Client,
    pub(crate) allocator: Arc<Allocator>,
    pub(crate) key: ApplicantKey,
    pub(crate) applicant_pattern: Option<giliran_config::ApplicantPattern>,
    pub(crate) reply_prefixes: Vec<String>,
    pub(crate) gate: Arc<LeaseGuard>,
    pub(crate) metrics: Metrics,
    /// Grants and requests waiting for a block, as the sequencer last said.
    /// Relaxed: a bound on memory, not a fact.
    pub(crate) backlog: AtomicUsize,
    /// Rejections that workers have answered, until the sequencer takes them.
    pub(crate) tallies: Mutex<RejectionCounts>,
    /// How far the wall clock is ahead of what the sequencer goes by, ms, where it
    /// has jumped. Relaxed: looked at a few times a second.
    pub(crate) not_believed_ms: AtomicU64,
}

impl WorkerContext {
    /// True when new requests are to be told `busy`.
    pub(crate) fn overloaded(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) >= MAX_BACKLOG
    }

    /// Where to answer; a request without a place for it, or with one outside
    /// the inboxes, is counted and dropped.
    pub(crate) fn reply_subject(&self, reply: Option<Subject>) -> Option<Subject> {
        match reply {
            None => {
                self.metrics.dropped.with_label_values(&["no_reply_subject"]).inc();
                None
            }
            Some(reply)
                if self.reply_prefixes.iter().any(|prefix| reply.starts_with(prefix.as_str())) =>
            {
                Some(reply)
            }
            Some(_) => {
                self.metrics.dropped.with_label_values(&["reply_outside_inboxes"]).inc();
                None
            }
        }
    }
}
