//! The parts that threads share without locks, and the atomics they are made of:
//! std's, or loom's in a model.

pub(crate) mod counters;
#[cfg(all(test, loom))]
mod loom_models;
pub(crate) mod prefetch;
pub(crate) mod seqlock;
pub(crate) mod sharded_map;

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicI32, AtomicU8, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU64, Ordering, fence};

/// Tells the processor (or the model's scheduler) that this loop waits for
/// another thread.
pub(crate) fn spin() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    std::hint::spin_loop();
}
