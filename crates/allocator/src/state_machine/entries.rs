//! Entries into draws: made, withdrawn, and over once they have won or lost.

use std::sync::Arc;

use giliran_wire::answer::Phase;
use giliran_wire::event::Kind;
use giliran_wire::ledger::{Contradiction, Damage, DrawEntryRecord, EntryContradiction};
use giliran_wire::{BookingId, Pseudonym};

use super::StateChange;
use super::apply::{BlockApplier, draw_of};
use crate::{DrawEntry, Opening};

impl BlockApplier<'_> {
    pub(super) fn entered(&mut self, entry: DrawEntryRecord) -> Result<(), Damage> {
        let opening = self.opening(entry.opening)?;
        let receipt = entry.receipt;
        if entry.applicants.is_empty() || entry.slots.iter().any(|slot| *slot >= opening.slots()) {
            let what = EntryContradiction::Nobody;
            return Err(self.damage(Contradiction::WaitlistEntry { receipt, what }));
        }
        let waiting = Arc::new(DrawEntry { entry, since: self.time, withdrawn: None });
        if self.state.allocator.waiting.insert(receipt, Arc::clone(&waiting)).is_some() {
            let what = EntryContradiction::Twice;
            return Err(self.damage(Contradiction::WaitlistEntry { receipt, what }));
        }
        self.state.allocator.crowd.add(&waiting);
        for applicant in &waiting.entry.applicants {
            self.forget_withdrawn(&opening, applicant);
            opening.claims.wait(*applicant, Arc::clone(&waiting));
        }
        let at = draw_of(&opening, &waiting);
        self.state.waiting.insert((at, waiting.entry.opening, receipt));
        if let Some(index) = self.state.openings.get_mut(&waiting.entry.opening) {
            index.entries.insert(receipt);
        }
        self.changes.push(StateChange::Entry { kind: Kind::Entered, waiting, opening });
        Ok(())
    }

    /// Who enters again is known by the new entry alone: to come and go must not
    /// fill the memory.
    pub(super) fn forget_withdrawn(&mut self, opening: &Opening, applicant: &Pseudonym) {
        let earlier = opening.claims.look(applicant, |c| c.and_then(|c| c.waiting().cloned()));
        if let Some(earlier) = earlier
            && let Some(at) = earlier.withdrawn
        {
            self.state.forget_entry(at, &earlier.entry.receipt);
        }
    }

    pub(super) fn withdrawn(&mut self, receipt: &BookingId) -> Result<(), Damage> {
        let there = self.state.allocator.waiting.look(receipt, |w| w.map(Arc::clone));
        let there = there.filter(|waiting| waiting.is_live());
        let there = there.ok_or_else(|| self.damage(Contradiction::WithdrawnNotEntered))?;
        let opening = self.opening(there.entry.opening)?;
        if there.entry.waits {
            let at = draw_of(&opening, &there);
            self.state.waiting.remove(&(at, there.entry.opening, *receipt));
        } else {
            if opening.phase() != Phase::Open {
                return Err(self.damage(Contradiction::WithdrawnAfterClose));
            }
            self.end_account(&there);
            if let Some(index) = self.state.openings.get_mut(&there.entry.opening) {
                index.ballots -= 1;
            }
        }
        self.state.allocator.crowd.end(&there);
        let mut waiting = DrawEntry { withdrawn: Some(self.time), ..DrawEntry::clone(&there) };
        // To recognise it, they are not needed.
        waiting.entry.slots = Vec::new();
        let waiting = Arc::new(waiting);
        self.state.allocator.waiting.insert(*receipt, Arc::clone(&waiting));
        for applicant in &waiting.entry.applicants {
            opening.claims.wait(*applicant, Arc::clone(&waiting));
        }
        self.state.withdrawn.insert((self.time, *receipt));
        self.changes.push(StateChange::Entry { kind: Kind::Cancelled, waiting, opening });
        self.state.forget_the_oldest();
        Ok(())
    }

    /// A live entry has won or lost: it is no more.
    pub(super) fn end_entry(&mut self, receipt: &BookingId) -> Option<Arc<DrawEntry>> {
        let waiting =
            self.state.allocator.waiting.remove_if(receipt, |waiting| waiting.is_live())?;
        self.state.allocator.crowd.end(&waiting);
        let opening = self.state.allocator.openings.load().get(waiting.entry.opening).cloned()?;
        if !waiting.entry.waits && !self.state.is_revealed(waiting.entry.opening) {
            return None;
        }
        let ordinal = waiting.entry.opening;
        if waiting.entry.waits {
            self.state.waiting.remove(&(draw_of(&opening, &waiting), ordinal, *receipt));
        }
        for applicant in &waiting.entry.applicants {
            opening.claims.leave(applicant);
        }
        if let Some(index) = self.state.openings.get_mut(&ordinal) {
            index.entries.remove(receipt);
            if !waiting.entry.waits {
                index.ballots -= 1;
                opening.set_drawn(index.ballots == 0);
            }
        }
        Some(waiting)
    }
}
