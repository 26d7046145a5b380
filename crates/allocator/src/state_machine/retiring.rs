//! What leaves memory: openings whose days are over, and withdrawn entries beyond those
//! that are known.

use std::sync::Arc;

use giliran_wire::answer::{Phase, Status};
use giliran_wire::{BookingId, Timestamp};

use super::StateMachine;
use crate::Opening;

/// Bookings of retired openings that are forgotten with one block.
const FORGOTTEN_AT_ONCE: usize = 4_096;
/// Withdrawn entries that are known, over all openings, so that a late repetition
/// does not enter again.
const MAX_WITHDRAWN: usize = 1 << 14;

impl StateMachine {
    /// Openings whose days are over leave memory.
    pub(super) fn retire(&mut self, time: Timestamp) {
        let over = |opening: &&Arc<Opening>| {
            opening.phase() == Phase::Closed && opening.retires_at() <= time
        };
        let openings = self.allocator.openings.load_full();
        for opening in openings.iter().filter(over) {
            let ordinal = opening.record().ordinal;
            self.allocator
                .openings
                .store(Arc::new(self.allocator.openings.load().without(ordinal)));
            self.retired.insert(opening.id().to_owned());
            if let Some(index) = self.openings.remove(&ordinal) {
                self.leaving.extend(index.made);
                for receipt in index.entries {
                    let Some(waiting) = self.allocator.waiting.remove_if(&receipt, |_| true) else {
                        continue;
                    };
                    match waiting.withdrawn {
                        Some(at) => drop(self.withdrawn.remove(&(at, receipt))),
                        None => self.allocator.crowd.end(&waiting),
                    }
                }
            }
            self.delayed.retain(|(_, of, ..)| *of != ordinal);
            self.collected.retain(|(_, of, ..)| *of != ordinal);
            self.waiting.retain(|(_, of, _)| *of != ordinal);
        }
    }

    /// A withdrawn entry is known no more.
    pub(super) fn forget_entry(&mut self, withdrawn_at: Timestamp, receipt: &BookingId) {
        self.withdrawn.remove(&(withdrawn_at, *receipt));
        let Some(waiting) = self.allocator.waiting.remove_if(receipt, |_| true) else { return };
        let openings = self.allocator.openings.load();
        if let Some(opening) = openings.get(waiting.entry.opening) {
            for applicant in &waiting.entry.applicants {
                opening.claims.leave(applicant);
            }
        }
        if let Some(index) = self.openings.get_mut(&waiting.entry.opening) {
            index.entries.remove(receipt);
        }
    }

    /// To enter and withdraw under ever new names must not fill the memory: of the
    /// withdrawn entries the last are known.
    pub(super) fn forget_the_oldest(&mut self) {
        while self.withdrawn.len() > MAX_WITHDRAWN
            && let Some((at, receipt)) = self.withdrawn.first().copied()
        {
            self.forget_entry(at, &receipt);
        }
    }

    /// Forgets bookings of retired openings, some with every block: nobody can
    /// reach them any more.
    pub(super) fn forget_some(&mut self) {
        let rest = self.leaving.len().saturating_sub(FORGOTTEN_AT_ONCE);
        for id in self.leaving.drain(rest..) {
            self.allocator.bookings.remove_if(&id, |booking| {
                if let (Status::Held, Some(until)) = (booking.status, booking.hold_expires_at()) {
                    self.holds.remove(&(until, id));
                }
                true
            });
        }
    }
}
