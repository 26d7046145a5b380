//! What of an opening's own draw is on record: entries, the root over them, the
//! seed. How it is drawn: `draws.rs`.
//!
//! ```text
//! committed ── entered* ── closed ── root ── revealed ── groups ── over
//! ```
//!
//! From the close on nothing else of the opening changes until the draw is over:
//! no booking, no quota, no hold that ends. So what a successor finds is what the
//! draw has left behind, and it goes on with the same result.

use std::sync::Arc;

use giliran_wire::answer::Phase;
use giliran_wire::event::Kind;
use giliran_wire::ledger::{
    Contradiction, Damage, DrawEntryRecord, DrawRecord, Entry, EntryContradiction, Order,
};
use giliran_wire::snapshot::{OrderState, Revealed};
use giliran_wire::{LedgerId, OrderKey};

use super::apply::BlockApplier;
use super::{Mode, StateChange, StateMachine};
use crate::opening::Commitment;
use crate::{DrawEntry, Opening, ballot};

impl StateMachine {
    /// The commitment to an opening's seed, where its order has one, as an entry
    /// right behind the opening's.
    pub fn commitment(
        &self,
        ordinal: u32,
        order: &Order,
        key: &OrderKey,
        beacon: Option<String>,
    ) -> Option<Entry> {
        if *order == Order::FirstCome {
            return None;
        }
        let commitment = commitment(&key.seed(self.ledger(), ordinal));
        Some(Entry::Draw(DrawRecord::Committed { opening: ordinal, commitment, beacon }))
    }

    pub(super) fn ledger(&self) -> LedgerId {
        self.chain.ledger.unwrap_or(LedgerId([0; 16]))
    }

    /// Gives the entry its receipt, as it enters a block. False: try with other
    /// bits.
    pub fn enter_draw(&mut self, entry: &mut DrawEntryRecord, random: u128) -> bool {
        let Some(id) = self.new_id(random) else { return false };
        self.in_block.touched.insert(id);
        entry.receipt = id;
        true
    }

    /// The public value that an opening's draw mixes in, by name.
    pub fn beacon(&self, ordinal: u32) -> Option<&str> {
        self.openings.get(&ordinal)?.order.as_ref()?.beacon.as_deref()
    }

    /// True while the draw of a closed opening waits for its public value alone.
    pub fn waits_for_beacon(&self, ordinal: u32) -> bool {
        let order = self.openings.get(&ordinal).and_then(|index| index.order.as_ref());
        order.is_some_and(|o| o.beacon.is_some() && o.root.is_some() && o.revealed.is_none())
    }

    /// Openings whose draws wait for their public values alone, and its names.
    pub fn pending_beacons(&self) -> Vec<(Arc<Opening>, &str)> {
        let openings = self.allocator.openings.load();
        let waits = |opening: &Arc<Opening>| {
            let ordinal = opening.record().ordinal;
            let name = self.beacon(ordinal).filter(|_| self.waits_for_beacon(ordinal))?;
            Some((Arc::clone(opening), name))
        };
        openings.iter().filter_map(waits).collect()
    }

    /// Groups of an opening that are durable.
    pub fn groups(&self, ordinal: u32) -> u64 {
        self.openings.get(&ordinal).map_or(0, |index| index.draws)
    }

    /// The seed of an opening's order.
    pub fn seed(&self, ordinal: u32, key: &OrderKey) -> [u8; 32] {
        key.seed(self.ledger(), ordinal)
    }

    /// The seed that an opening's own draw goes by: fixed once its entries are complete
    /// and the operator's seed, with the public value if one was named, is on record.
    pub fn draw_seed(&self, ordinal: u32) -> Option<[u8; 32]> {
        let order = self.openings.get(&ordinal)?.order.as_ref()?;
        let ((root, _), revealed) = (order.root?, order.revealed.as_ref()?);
        Some(ballot::seed(&root, &revealed.seed, revealed.beacon.as_deref()))
    }

    /// True once the seed of an opening's order is on record.
    pub(super) fn is_revealed(&self, ordinal: u32) -> bool {
        let order = self.openings.get(&ordinal).and_then(|index| index.order.as_ref());
        order.is_some_and(|order| order.revealed.is_some())
    }
}

/// What commits to a seed before it is revealed.
pub(super) fn commitment(seed: &[u8; 32]) -> [u8; 32] {
    *blake3::hash(seed).as_bytes()
}

impl BlockApplier<'_> {
    /// An opening whose order needs a seed has a commitment to it before it opens.
    pub(super) fn is_committed(&self, opening: &Opening) -> bool {
        let index = self.state.openings.get(&opening.record().ordinal);
        opening.record().rules.order == Order::FirstCome
            || index.is_some_and(|index| index.order.is_some())
    }

    pub(super) fn committed(
        &mut self,
        ordinal: u32,
        commitment: [u8; 32],
        beacon: Option<String>,
    ) -> Result<(), Damage> {
        let opening = self.opening(ordinal)?;
        if self.is_committed(&opening) || opening.phase() != Phase::Scheduled {
            return Err(self.damage(Contradiction::SeedOutOfPlace(ordinal)));
        }
        opening.set_committed(Commitment { hash: commitment, beacon: beacon.clone() });
        if let Some(index) = self.state.openings.get_mut(&ordinal) {
            index.order = Some(OrderState {
                opening: ordinal,
                commitment,
                beacon,
                root: None,
                revealed: None,
            });
        }
        Ok(())
    }

    pub(super) fn rooted(
        &mut self,
        ordinal: u32,
        root: [u8; 32],
        entries: u64,
    ) -> Result<(), Damage> {
        let opening = self.opening(ordinal)?;
        let drawing = opening.is_drawing();
        let index = self.state.openings.get_mut(&ordinal);
        let fits = index.as_ref().is_some_and(|index| index.ballots == entries);
        match index.and_then(|index| index.order.as_mut()) {
            Some(order) if drawing && fits && order.root.is_none() => {
                order.root = Some((root, entries));
                opening.set_root(root, entries);
                Ok(())
            }
            _ => Err(self.damage(Contradiction::RootOutOfPlace(ordinal))),
        }
    }

    /// Releases reveal seeds of their own, which nobody committed to.
    pub(super) fn revealed(
        &mut self,
        ordinal: u32,
        seed: [u8; 32],
        beacon: Option<Vec<u8>>,
    ) -> Result<(), Damage> {
        let opening = self.opening(ordinal)?;
        let Some(index) = self.state.openings.get_mut(&ordinal) else { return Ok(()) };
        let (draws, ballots) = (opening.draws(), index.ballots);
        let Some(order) = index.order.as_mut() else { return Ok(()) };
        let committed = commitment(&seed) == order.commitment;
        if order.revealed.is_some() || (!draws && !committed) {
            return Ok(());
        }
        let ready = opening.phase() == Phase::Closed
            && (!draws || (order.root.is_some() && order.beacon.is_some() == beacon.is_some()));
        if !committed || !ready {
            return Err(self.damage(Contradiction::OtherSeed(ordinal)));
        }
        let revealed = Revealed { seed, beacon, at: self.time };
        order.revealed = Some(revealed.clone());
        if draws {
            opening.set_revealed(revealed);
            opening.set_drawn(ballots == 0);
        }
        Ok(())
    }

    /// Somebody entered an opening's draw.
    pub(super) fn enter_draw(&mut self, entry: DrawEntryRecord) -> Result<(), Damage> {
        let opening = self.opening(entry.opening)?;
        let receipt = entry.receipt;
        let damage = |this: &Self, what| this.damage(Contradiction::DrawEntry { receipt, what });
        if entry.applicants.is_empty() || entry.slots.iter().any(|slot| *slot >= opening.slots()) {
            return Err(damage(self, EntryContradiction::Nobody));
        }
        if !opening.draws() || opening.phase() != Phase::Open {
            return Err(damage(self, EntryContradiction::NoDraw));
        }
        let enters = |waiting: &Arc<DrawEntry>| waiting.is_live();
        let second = entry.applicants.iter().any(|who| {
            opening
                .claims
                .look(who, |claim| claim.and_then(|claim| claim.waiting()).is_some_and(enters))
        });
        if second {
            return Err(damage(self, EntryContradiction::Second));
        }
        let live = self.mode == Mode::Live;
        if let Some(account) = entry.account {
            opening.accounts.grant(account, entry.applicants.len() as u32, live);
        }
        let waiting = Arc::new(DrawEntry { entry, since: self.time, withdrawn: None });
        if self.state.allocator.waiting.insert(receipt, Arc::clone(&waiting)).is_some() {
            return Err(damage(self, EntryContradiction::Twice));
        }
        self.state.allocator.crowd.add(&waiting);
        for applicant in &waiting.entry.applicants {
            self.forget_withdrawn(&opening, applicant);
            opening.claims.enter(*applicant, &waiting, live);
        }
        if let Some(index) = self.state.openings.get_mut(&waiting.entry.opening) {
            index.entries.insert(receipt);
            index.ballots += 1;
        }
        self.changes.push(StateChange::Entry { kind: Kind::Entered, waiting, opening });
        Ok(())
    }

    /// Entered into an opening's own draw, an entry counts for its account; no
    /// more once it has ended.
    pub(super) fn end_account(&mut self, waiting: &DrawEntry) {
        let entry = &waiting.entry;
        let openings = self.state.allocator.openings.load();
        if let (Some(account), Some(opening)) = (&entry.account, openings.get(entry.opening))
            && !entry.waits
        {
            opening.accounts.end(account, entry.applicants.len() as u32);
        }
    }
}
