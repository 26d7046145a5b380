//! The state from pieces: to begin elsewhere than at the ledger's first block.

use std::sync::Arc;

use giliran_wire::BlockHash;
use giliran_wire::snapshot::{
    Assembler, EntryState, OpeningState, Piece, Until as UntilState, Unusable,
};

use super::apply::{draw_of, show, until_draw};
use super::inventory::{SlotInventory, Until};
use super::restorer::Restorer;
use super::{OpeningIndex, StateMachine};
use crate::DrawEntry;
use crate::opening::Commitment;
use crate::sync::Ordering;

/// The state that a generation begins with, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    assembler: Assembler,
    /// Has the bookings that came last.
    restorer: Option<Restorer>,
}

impl StateMachine {
    /// Takes a piece of a snapshot into a state machine that has read nothing else.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the state machine is then not to be used.
    pub fn restore(&mut self, piece: Piece) -> Result<(), Unusable> {
        match piece {
            Piece::Stand(stand) => {
                let reached = (stand.chain.position(), stand.chain.number);
                let time = stand.chain.time.as_millis().max(0) as u64;
                self.chain = stand.chain;
                self.genesis = Some(stand.genesis);
                self.sealed = stand.sealed;
                let allocator = Arc::clone(&self.allocator);
                allocator
                    .seqlock
                    .change(reached, |_| allocator.time.store(time, Ordering::Relaxed));
            }
            Piece::Head(head) => {
                self.next_ordinal = head.next_ordinal;
                self.retired = head.retired.into_iter().collect();
                self.changes = head.changes;
            }
            Piece::Opening(state) => self.restore_opening(*state)?,
            Piece::Order(order) => {
                let index = self.openings.get_mut(&order.opening);
                let index = index.ok_or(Unusable::OrderOfNoOpening(order.opening))?;
                // Until a live entry says otherwise.
                if let Some(opening) = self.allocator.openings.load().get(order.opening) {
                    opening.set_drawn(order.revealed.is_some());
                    let (hash, beacon) = (order.commitment, order.beacon.clone());
                    opening.set_committed(Commitment { hash, beacon });
                    if let Some((root, entries)) = order.root {
                        opening.set_root(root, entries);
                    }
                    if let Some(revealed) = order.revealed.as_ref().filter(|_| opening.draws()) {
                        opening.set_revealed(revealed.clone());
                    }
                }
                index.order = Some(order);
            }
            Piece::Bookings(bookings) => {
                let mut restorer = self.restorer();
                bookings.iter().try_for_each(|booking| restorer.take(0, booking.borrowed()))?;
                self.take_restored(vec![restorer])?;
            }
            Piece::Entries(entries) => {
                for entry in entries {
                    self.restore_entry(entry)?;
                }
            }
        }
        Ok(())
    }

    fn restore_opening(&mut self, state: OpeningState) -> Result<(), Unusable> {
        let ordinal = state.record.ordinal;
        if state.slots.len() != state.record.slots.len() {
            return Err(Unusable::OtherSlots(state.record.id));
        }
        let opening = self.with_room(state.record);
        opening.set_phase(state.phase);
        opening.set_closes_at(state.closes_at);
        opening.set_took_place(state.took_place);
        let mut inventories = Vec::with_capacity(state.slots.len());
        for (index, slot) in state.slots.into_iter().enumerate() {
            let index = index as u32;
            let before =
                SlotInventory::new(opening.record().slots[index as usize].quota).available();
            let mut inventory = SlotInventory::new(slot.quota);
            inventory.reserved = slot.reserved;
            inventory.halted = slot.halted;
            for withheld in slot.withheld {
                let key = |at| (at, ordinal, index, withheld.number);
                let until = match withheld.until {
                    UntilState::At(at) => Until::At(at),
                    UntilState::Draw { since, expired } => until_draw(&opening, since, expired),
                };
                match until {
                    Until::At(at) => self.delayed.insert(key(at)),
                    Until::Draw { at, .. } => self.collected.insert(key(at)),
                };
                inventory.restore_withheld(withheld.number, until);
            }
            show(&opening, index, &inventory, before, 0);
            inventories.push(inventory);
        }
        let opening = Arc::new(opening);
        let index = OpeningIndex {
            draws: state.draws,
            ..OpeningIndex::new(Arc::clone(&opening), inventories)
        };
        self.openings.insert(ordinal, index);
        let openings = self.allocator.openings.load().with(opening);
        self.allocator.openings.store(Arc::new(openings));
        Ok(())
    }

    /// False while of a generation's begin, with which it began to read, only a part is there:
    /// where the ledger seems to end so, the rest is not seen yet, or lost.
    pub const fn is_whole(&self) -> bool {
        self.restoring.is_none()
    }

    /// A generation's begin comes, and nothing was read before.
    pub(super) fn begin_restoring(&mut self) {
        self.restoring = Some(Restoring::default());
    }

    /// Takes the pieces that are whole with a part of a generation's begin.
    pub(super) fn restore_part(
        &mut self,
        part: &[u8],
        restoring: &mut Restoring,
    ) -> Result<(), Unusable> {
        let Restoring { assembler, restorer } = restoring;
        assembler.add_encoded(part, |piece| {
            if piece.is_of_bookings() {
                let restorer = restorer.get_or_insert_with(|| self.restorer());
                return piece.bookings(|booking| restorer.take(0, booking));
            }
            self.take_restored(restorer.take().into_iter().collect())?;
            match piece.decode()? {
                Piece::Stand(_) => Err(Unusable::StandInParts),
                piece => self.restore(piece),
            }
        })
    }

    /// Takes what is left behind the last part; the hash of all of them.
    pub(super) fn end_restoring(&mut self, restoring: Restoring) -> Result<BlockHash, Unusable> {
        self.take_restored(restoring.restorer.into_iter().collect())?;
        restoring.assembler.end()
    }

    fn restore_entry(&mut self, state: EntryState) -> Result<(), Unusable> {
        let EntryState { entry, since, withdrawn } = state;
        let live = withdrawn.is_none();
        let (receipt, ordinal) = (entry.receipt, entry.opening);
        let opening = self.allocator.openings.load().get(ordinal).map(Arc::clone);
        let opening = opening.ok_or(Unusable::EntryOfNoOpening(receipt))?;
        let waiting = Arc::new(DrawEntry { entry, since, withdrawn });
        match withdrawn {
            Some(at) => drop(self.withdrawn.insert((at, receipt))),
            None => self.allocator.crowd.add(&waiting),
        }
        if live && waiting.entry.waits {
            self.waiting.insert((draw_of(&opening, &waiting), ordinal, receipt));
        }
        for who in &waiting.entry.applicants {
            // Receipts are in no order of time: the live one counts, else the last.
            let later = |there: &Arc<DrawEntry>| there.is_live() || (!live && there.since > since);
            let later = |claim: &crate::claims::Claim| claim.waiting().is_some_and(later);
            if !opening.claims.look(who, |claim| claim.is_some_and(later)) {
                opening.claims.wait(*who, Arc::clone(&waiting));
            }
        }
        if let Some(index) = self.openings.get_mut(&ordinal) {
            index.entries.insert(receipt);
            if live && !waiting.entry.waits {
                index.ballots += 1;
                opening.set_drawn(false);
                if let Some(account) = waiting.entry.account {
                    let places = waiting.entry.applicants.len() as u32;
                    opening.accounts.grant(account, places, false);
                }
            }
        }
        self.allocator.waiting.insert(receipt, waiting);
        Ok(())
    }
}
