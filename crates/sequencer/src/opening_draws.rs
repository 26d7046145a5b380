//! Openings that are drawn: entries into the draw, and the draw itself once they
//! have closed.
//!
//! One thing at a time: the first block after the close holds the root over the
//! entries, the next one the seed, those after it the groups. Each is decided on
//! what is durable, so a successor goes on wherever its predecessor has stopped.
//! What takes longer is done in pieces, one with every block or tick.

use giliran_allocator::{ChangeReply, DrawStep, PendingEntry};
use giliran_drand::{Network, Round};
use giliran_wire::ledger::{
    DrawEntryRecord, DrawRecord, Entry, MAX_BLOCK_BYTES, OpeningRecord, Order,
};
use giliran_wire::{OrderKey, Timestamp};

use crate::block_builder::BlockDraft;
use crate::effect::Now;
use crate::queued::Queued;
use crate::sequencer::{Lifecycle, Sequencer};

/// Bytes of a block that a draw's group leaves to others.
const BESIDE_A_GROUP: usize = 64 * 1024;

impl<T> Sequencer<T> {
    /// What the seeds of rounds and draws are made with: the same in every engine
    /// of the ledger.
    #[must_use]
    pub fn with_order_key(mut self, key: OrderKey) -> Self {
        self.order_key = key;
        self
    }

    /// Draws mix in a round of this network.
    #[must_use]
    pub fn with_beacon(mut self, beacon: Option<Network>) -> Self {
        self.beacon = beacon;
        self
    }

    /// Entries into draws that were decided, in the order they are to stand in the
    /// ledger.
    pub fn submit_entries(
        &mut self,
        entries: impl IntoIterator<Item = (PendingEntry, T)>,
        now: Now,
    ) {
        for (entry, ticket) in entries {
            self.enqueue_entry(Queued::new(entry, ticket, now));
        }
    }

    pub(crate) fn enqueue_entry(&mut self, waiting: Queued<PendingEntry, T>) {
        let serving = matches!(self.lifecycle, Lifecycle::Active | Lifecycle::Finishing);
        if !serving || self.is_closed(waiting.what.opening) {
            if serving {
                let Queued { what, ticket, since_ms } = waiting;
                let what = what.request_id.as_str().into();
                self.late.push_back(Queued { what, ticket, since_ms });
            }
            return;
        }
        self.ballots.push_back(waiting);
    }

    /// The commitment that stands behind an opening's record. A draw's names the
    /// round that it mixes in, which is published after the close.
    pub(crate) fn commitment(&self, record: &OpeningRecord) -> Option<Entry> {
        let network = self.beacon.as_ref().filter(|_| record.rules.order == Order::Draw);
        let beacon = network.map(|network| network.of_draw(record.closes_at).to_string());
        self.state.commitment(record.ordinal, &record.rules.order, &self.order_key, beacon)
    }

    /// The record of an opening's seed and this public value; what is wrong with
    /// it otherwise.
    pub(crate) fn reveal(&self, opening: u32, signature: &[u8]) -> Result<Entry, &'static str> {
        let Some(beacon) = self.state.beacon(opening) else {
            return Err("opening: its draw names no public value");
        };
        if !self.state.waits_for_beacon(opening) {
            return Err("opening: its draw does not wait for a public value now");
        }
        let round: Option<Round> = beacon.parse().ok();
        if !round.is_some_and(|round| round.is_signed_by(signature)) {
            return Err("signature: it is not that of the round that was named");
        }
        let seed = self.state.seed(opening, &self.order_key);
        let beacon = Some(signature.to_vec());
        Ok(Entry::Draw(DrawRecord::Revealed { opening, seed, beacon }))
    }

    /// False: the block is full and entries still wait.
    pub(crate) fn gather_ballots(&mut self, block: &mut BlockDraft<T>) -> bool {
        while let Some(waiting) = self.ballots.pop_front() {
            if block.bytes + ballot_bytes(&waiting.what) > MAX_BLOCK_BYTES {
                self.ballots.push_front(waiting);
                return false;
            }
            let Queued { what: mut entry, ticket, since_ms } = waiting;
            block.serves(since_ms);
            while !self.state.enter_draw(&mut entry, self.random.next()) {}
            let (receipt, request_id) = (entry.receipt, entry.request_id.as_str().into());
            block.replies.push((ticket, request_id, ChangeReply::Entry(receipt)));
            block.push(Entry::Draw(DrawRecord::Entered(entry.enter())));
        }
        true
    }

    /// What the draw of an opening that has closed needs next.
    pub(crate) fn gather_draw(&mut self, block: &mut BlockDraft<T>, time: Timestamp) {
        if self.lifecycle != Lifecycle::Active {
            return;
        }
        let draw = self.draw.take().or_else(|| self.state.next_opening_draw(&self.order_key));
        let Some(mut draw) = draw else { return };
        let room = (MAX_BLOCK_BYTES - BESIDE_A_GROUP).saturating_sub(block.bytes);
        match self.state.advance_opening_draw(&mut draw, time, room) {
            DrawStep::Working => self.draw = Some(draw),
            DrawStep::Record(record) => block.push(*record),
            DrawStep::Group(entries) => {
                entries.into_iter().for_each(|entry| block.push(entry));
                self.draw = Some(draw);
            }
            DrawStep::Over => {}
        }
    }
}

/// Bytes an entry into a draw takes in a block.
fn ballot_bytes(entry: &DrawEntryRecord) -> usize {
    const VARIANTS: usize = 4 + 4;
    let mut bytes = Vec::new();
    giliran_wire::codec::encode_into(entry, &mut bytes);
    VARIANTS + bytes.len()
}
