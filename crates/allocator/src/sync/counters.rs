//! Free places of a slot.
//!
//! | atomic | operation | ordering | pairs with | if weaker |
//! |---|---|---|---|---|
//! | `free` | load, CAS in `take` | relaxed | nothing: the number itself is all that is passed on; who holds a place is told by the claim and the ledger | – |
//! | `free` | add in `give` | relaxed | as above | – |
//! | counts, moments | store by the state machine | relaxed, inside a [`SeqLock`](crate::sync::seqlock::SeqLock) change | readers' relaxed load inside a `SeqLock` read | the version check of `SeqLock` orders it |
//!
//! Both may be negative: a quota can be lowered below what is granted.

use giliran_wire::Timestamp;

use crate::sync::{AtomicI32, AtomicU64, Ordering};

/// One slot's counter of places that nobody has taken or is about to.
///
/// Alone on its cache line: the hot slot of one thread is not to slow the
/// neighbour's.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct SlotCounter(AtomicI32);

impl SlotCounter {
    pub(crate) fn new(places: i32) -> Self {
        Self(AtomicI32::new(places))
    }

    /// Takes `n` places, or none.
    pub(crate) fn take(&self, n: i32) -> bool {
        let mut free = self.0.load(Ordering::Relaxed);
        while free >= n {
            match self.0.compare_exchange_weak(free, free - n, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => free = now,
            }
        }
        false
    }

    /// Gives `n` places back; negative: takes them whatever there is, as a
    /// ledger that is read tells it.
    pub(crate) fn give(&self, n: i32) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> i32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One durable number per slot; dense, since a rejection reads a row of them.
#[derive(Debug)]
pub(crate) struct DurableCounts(Box<[AtomicI32]>);

impl DurableCounts {
    pub(crate) fn new(counts: impl Iterator<Item = i32>) -> Self {
        Self(counts.map(AtomicI32::new).collect())
    }

    pub(crate) fn of(&self, slot: u32) -> i32 {
        self.0[slot as usize].load(Ordering::Relaxed)
    }

    /// Only the state machine, inside a change: no other writer exists.
    pub(crate) fn set(&self, slot: u32, n: i32) {
        self.0[slot as usize].store(n, Ordering::Relaxed);
    }
}

/// One moment per slot, or none.
#[derive(Debug)]
pub(crate) struct Moments(Box<[AtomicU64]>);

impl Moments {
    pub(crate) fn none(slots: usize) -> Self {
        Self((0..slots).map(|_| AtomicU64::new(0)).collect())
    }

    pub(crate) fn of(&self, slot: u32) -> Option<Timestamp> {
        let ms = self.0[slot as usize].load(Ordering::Relaxed);
        (ms > 0).then(|| Timestamp::from_millis(ms as i64))
    }

    /// Only the state machine, inside a change. No moment lies before 1970.
    pub(crate) fn set(&self, slot: u32, at: Option<Timestamp>) {
        let ms = at.map_or(0, |at| at.as_millis().max(1) as u64);
        self.0[slot as usize].store(ms, Ordering::Relaxed);
    }
}
