//! Whether the lease still stands: the gate every rejection passes.
//!
//! One atomic, relaxed: the renewing task writes it, readers compare it with a
//! clock. A late view of a renewal closes the gate early, which is safe; the
//! margin covers the time between the look and the send.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use giliran_nats::clock::Moment;

/// How long a lease lasts without renewal.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(3);
/// The part of the lease at its end that is not used.
pub(crate) const MARGIN: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct LeaseGuard {
    start: Moment,
    /// Milliseconds after `start` up to which rejections may be sent.
    until_ms: AtomicU64,
}

impl LeaseGuard {
    pub(crate) fn new() -> Self {
        Self { start: Moment::now(), until_ms: AtomicU64::new(0) }
    }

    /// Milliseconds since the engine started, never running backwards, those counted
    /// in which the machine slept.
    pub(crate) fn mono_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// The lease was renewed by a message sent after `sent`.
    pub(crate) fn renewed(&self, sent: Moment, ttl: Duration) {
        let until = sent.since(self.start) + ttl.saturating_sub(MARGIN);
        self.until_ms.store(until.as_millis() as u64, Ordering::Relaxed);
    }

    /// The lease is gone, or given back.
    pub(crate) fn close(&self) {
        self.until_ms.store(0, Ordering::Relaxed);
    }

    /// True while rejections may be sent.
    pub(crate) fn stands(&self) -> bool {
        self.mono_ms() < self.until_ms.load(Ordering::Relaxed)
    }
}

/// Whether the loop that serves makes steps. An engine whose loop is stuck answers
/// nobody, and is to lose its lease.
///
/// Atomics, relaxed: the loop writes, the renewing task compares with a clock; a late
/// view costs a moment.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    beats: AtomicU64,
    /// Milliseconds after the gate's start up to which no beat is expected.
    excused_until_ms: AtomicU64,
    stuck: AtomicBool,
}

impl Pulse {
    /// The loop has made a step.
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// A step is about to take long, for a reason: up to then it is not missed.
    pub(crate) fn excuse(&self, until_ms: u64) {
        self.excused_until_ms.store(until_ms, Ordering::Relaxed);
    }

    /// Steps are missed, or not any more.
    pub(crate) fn set_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::Relaxed);
    }

    /// True while steps are missed.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// True while no step is expected.
    pub(crate) fn is_excused(&self, now_ms: u64) -> bool {
        now_ms < self.excused_until_ms.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_closes_a_margin_before_the_lease_ends() {
        let gate = LeaseGuard::new();
        assert!(!gate.stands());
        gate.renewed(Moment::now(), Duration::from_secs(60));
        assert!(gate.stands());
        gate.renewed(Moment::now(), MARGIN);
        assert!(!gate.stands());
        gate.renewed(Moment::now(), Duration::from_secs(60));
        gate.close();
        assert!(!gate.stands());
    }
}
