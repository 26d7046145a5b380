//! From one generation of the ledger to the next.
//!
//! A seal ends a generation and names the state that the next one begins with. It
//! is alone in its block, and that block has the time of the one before, so that
//! nothing changes with it. The next stream then begins with a genesis and that
//! state, in parts, one a block. These blocks follow from the sealed state alone,
//! down to their bytes: an engine that takes over in the middle goes on where the
//! one before has stopped, and where both write, they write the same.

use giliran_allocator::{Durable, Parts};
use giliran_wire::ledger::{Damage, DamageKind, Entry, Genesis, Seal, Signed, Stage};
use giliran_wire::snapshot::PART_BYTES;

use crate::block_builder::BlockDraft;
use crate::effect::{Effect, Now, Outcome, StopReason};
use crate::in_flight::InFlight;
use crate::sequencer::{Lifecycle, Sequencer};

/// How the ledger goes on behind its seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Continuation {
    /// First sequence of the next generation's stream, if that is there already.
    pub first: Option<u64>,
    /// Bytes of a part of the snapshot that a generation begins with.
    pub part_bytes: usize,
}

impl Default for Continuation {
    fn default() -> Self {
        Self { first: None, part_bytes: PART_BYTES }
    }
}

/// What is going on.
#[derive(Debug)]
pub(crate) struct Roll<T> {
    next: Continuation,
    /// Name of the next stream, where a seal is wanted.
    wanted: Option<String>,
    /// Who wants it; none: the stream has become long.
    ordered: Option<Signed>,
    /// Who is told once the next generation has begun.
    tickets: Vec<T>,
    /// What is still to be written of the begin.
    parts: Option<Parts>,
}

impl<T> Roll<T> {
    pub(crate) const fn new(next: Continuation) -> Self {
        Self { next, wanted: None, ordered: None, tickets: Vec::new(), parts: None }
    }

    /// The next generation's first block stands behind this sequence of its stream, at
    /// which it does not stand.
    pub(crate) fn begins_behind(&mut self, seq: u64) {
        self.next.first = Some(seq + 1);
    }

    pub(crate) fn take_tickets(&mut self) -> Vec<T> {
        std::mem::take(&mut self.tickets)
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.next);
    }
}

impl<T> Sequencer<T> {
    /// Seals the generation with the next block and goes on in the stream `next`,
    /// which is there, empty, and begins at `first`: beyond whatever is stored in
    /// the present one until then. One who asks while it rolls is told of that roll.
    /// `asked`: the operator who wants it, and whom to tell.
    pub fn roll(&mut self, next: String, first: u64, asked: Option<(Signed, T)>, now: Now) {
        let (ordered, ticket) = asked.unzip();
        if self.lifecycle == Lifecycle::Active && self.is_rolling() {
            self.roll.tickets.extend(ticket);
        } else if self.lifecycle == Lifecycle::Active {
            self.roll.next.first = Some(first);
            self.roll.wanted = Some(next);
            self.roll.ordered = ordered;
            self.roll.tickets.extend(ticket);
        }
        self.send_next_block(now);
    }

    /// True from a wish to roll until the next generation has begun.
    pub fn is_rolling(&self) -> bool {
        self.roll.wanted.is_some() || self.roll.parts.is_some() || !self.state.chain().is_open()
    }

    /// Writes the seal, if one is wanted.
    pub(crate) fn seal(&mut self, now: Now) -> bool {
        if self.lifecycle != Lifecycle::Active {
            return false;
        }
        let Some(next) = self.roll.wanted.take() else { return false };
        let chain = self.state.chain();
        let (ledger, time) = (chain.ledger.expect("active"), chain.time);
        let parts = self.state.parts(self.roll.next.part_bytes);
        let mut block = BlockDraft::new();
        let ordered = self.roll.ordered.take();
        block.push(Entry::Seal(Seal { ledger, next, snapshot: parts.state(), ordered }));
        self.roll.parts = Some(parts);
        self.send(block, time, now);
        // Ten million bookings take longer to hash than anybody waits for a block.
        self.in_flight.iter_mut().for_each(InFlight::time_later);
        true
    }

    /// Writes the next block of a generation's begin, if one is not complete.
    pub(crate) fn begin_generation(&mut self, now: Now) -> bool {
        let chain = self.state.chain();
        let (stage, time) = (chain.stage, chain.time);
        let mut block = BlockDraft::new();
        let read = match stage {
            Stage::Open => return false,
            Stage::Sealed => {
                let genesis = self.state.genesis().expect("read before the seal").clone();
                let continues = Some(chain.hash);
                block.push(Entry::Genesis(Genesis { continues, rebuilt: None, ..genesis }));
                0
            }
            Stage::Beginning { part, .. } => part,
            Stage::Left => {
                let damage = Damage::new(chain.seq, DamageKind::RebuiltUnread);
                self.stop(StopReason::Damaged(damage));
                return true;
            }
        };
        let mut parts = self.roll.parts.take().unwrap_or_else(|| {
            let mut parts = self.state.parts(self.roll.next.part_bytes);
            (0..read).for_each(|_| drop(parts.next(&self.state)));
            parts
        });
        let Some(part) = parts.next(&self.state) else {
            let damage = Damage::new(self.state.chain().seq, DamageKind::PartsBeyondState);
            self.stop(StopReason::Damaged(damage));
            return true;
        };
        self.roll.parts = Some(parts);
        block.push(Entry::Snapshot(part));
        self.send(block, time, now);
        true
    }

    /// Encodes the next part of a generation's begin, to be called while the block before it
    /// is on its way.
    pub fn prepare_part(&mut self) {
        if let Some(parts) = &mut self.roll.parts {
            parts.prepare(&self.state);
        }
    }

    /// A block has become durable: perhaps the last of a begin.
    pub(crate) fn generation_begun(&mut self, durable: Durable) {
        if !self.state.chain().is_open() || self.roll.parts.is_none() {
            return;
        }
        self.roll.parts = None;
        self.roll.next.first = None;
        for ticket in self.roll.take_tickets() {
            let outcome = Outcome::Adjusted(Box::default(), durable);
            self.effects.push(Effect::Answer { ticket, request_id: None, outcome });
        }
    }

    /// The generation that the next block belongs to.
    pub(crate) fn generation(&self) -> u32 {
        let chain = self.state.chain();
        chain.generation + u32::from(chain.is_sealed())
    }

    /// The sequence that stands before the next block's in its stream.
    pub(crate) fn expected_last(&self) -> u64 {
        let chain = self.state.chain();
        match self.roll.next.first {
            Some(first) if chain.is_sealed() => first - 1,
            _ => chain.seq,
        }
    }
}
