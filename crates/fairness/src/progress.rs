//! How far a comparison is, for whoever watches it; and the way to stop it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// How far a comparison is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Small runs done by which scalpers find out what pays.
    pub tried: AtomicUsize,
    /// Those in all; they come before the runs.
    pub tries: AtomicUsize,
    pub done: AtomicUsize,
    pub all: AtomicUsize,
    /// Requests decided, those of runs that are on included.
    pub requests: AtomicU64,
    /// Set: stop, also within a run.
    pub stop: AtomicBool,
}

impl Progress {
    /// Whether it is asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
