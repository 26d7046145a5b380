//! Reading facts that all stood at one ledger position.
//!
//! A sequence lock: the state machine changes facts block by block, readers never
//! block it; a reader that overlapped a change reads again.
//!
//! | operation | ordering | pairs with | if weaker |
//! |---|---|---|---|
//! | state machine: version := odd | relaxed, then release fence | reader's acquire fence before its second version load | a reader could see a new fact under the old version |
//! | state machine: version := even | release | reader's first load (acquire) | a reader could miss facts of the version it names |
//! | reader: second version load | acquire fence, then relaxed | state machine's release fence | as the first row |

use giliran_wire::Position;

use crate::sync::{AtomicU64, Ordering, fence, spin};

/// The ledger position up to which the facts in memory are durable.
#[derive(Debug)]
pub(crate) struct SeqLock {
    /// Odd while a block is being applied.
    version: AtomicU64,
    epoch: AtomicU64,
    seq: AtomicU64,
    /// Number of the last block that was published.
    block: AtomicU64,
}

/// Proof that a statement rests on durable facts: only the state machine's commit and
/// a stable read make one, and only with one an answer about a booking can be
/// built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable {
    position: Position,
    /// Number of the last block up to there.
    block: u64,
}

impl Durable {
    /// The position at which the statement is true.
    pub const fn position(self) -> Position {
        self.position
    }

    /// True if what the block of this number staged stands in the ledger up to here.
    pub(crate) const fn covers(self, block: u64) -> bool {
        block <= self.block
    }
}

/// The beginning of a look at the facts. What was seen counts only if
/// [`validate`](SeqLock::validate) says so at the end.
#[derive(Debug)]
pub(crate) struct ReadAttempt {
    version: u64,
    /// The position the facts stand at, if they hold.
    pub(crate) at: Durable,
}

impl ReadAttempt {
    fn overlaps_a_change(&self) -> bool {
        self.version & 1 == 1
    }
}

/// How often a reader tries again before it lets its request wait for the
/// block instead. Applying a block takes longer than a few reads.
const TRIES: usize = 4;

impl SeqLock {
    pub(crate) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self { version: zero(), epoch: zero(), seq: zero(), block: zero() }
    }

    /// Runs `read` until no change overlapped it; none if changes kept coming.
    pub(crate) fn read<T>(&self, mut read: impl FnMut(Durable) -> T) -> Option<T> {
        self.attempts().find_map(|attempt| {
            if attempt.overlaps_a_change() {
                return None;
            }
            let value = read(attempt.at);
            self.validate(&attempt).then_some(value)
        })
    }

    /// As many looks at the facts as are worth it.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = ReadAttempt> {
        (0..TRIES).map(|i| {
            if i > 0 {
                spin();
            }
            self.attempt()
        })
    }

    fn attempt(&self) -> ReadAttempt {
        let version = self.version.load(Ordering::Acquire);
        ReadAttempt { version, at: self.position() }
    }

    /// True if everything read since the attempt stood at its position.
    pub(crate) fn validate(&self, attempt: &ReadAttempt) -> bool {
        fence(Ordering::Acquire);
        !attempt.overlaps_a_change() && self.version.load(Ordering::Relaxed) == attempt.version
    }

    /// The position between two changes; for the one writer, who makes them.
    pub(crate) fn position(&self) -> Durable {
        let position = Position {
            epoch: self.epoch.load(Ordering::Relaxed),
            seq: self.seq.load(Ordering::Relaxed),
        };
        Durable { position, block: self.block.load(Ordering::Relaxed) }
    }

    /// Applies a change and moves on to `position`, and with it to the block of this
    /// number, whose staged bookings are published by that. One writer only: the state
    /// machine, which is not shared.
    pub(crate) fn change<T>(
        &self,
        (position, block): (Position, u64),
        apply: impl FnOnce(Durable) -> T,
    ) -> T {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let value = apply(Durable { position, block });
        self.epoch.store(position.epoch, Ordering::Relaxed);
        self.seq.store(position.seq, Ordering::Relaxed);
        self.block.store(block, Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
        value
    }
}
