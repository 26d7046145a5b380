//! Grants of a block, and who waits for them: put together by opening, counted by kind.

use std::collections::HashSet;
use std::sync::Arc;

use giliran_allocator::{Booking, Durable, FoundBooking, Opening, StateChange};
use giliran_wire::BookingId;
use giliran_wire::event::Kind;
use giliran_wire::ledger::{DrawRecord, Entry};

use crate::block_builder::BlockDraft;
use crate::effect::Grants;
use crate::sequencer::Sequencer;

/// Grants of one opening, each with what finds its requester again.
#[derive(Debug)]
pub(crate) struct GrantsIn<T> {
    opening: Arc<Opening>,
    pub(crate) bookings: Vec<(T, Arc<Booking>)>,
}

impl<T> GrantsIn<T> {
    /// These grants, once they are durable.
    pub(crate) fn at(self, durable: Durable) -> Grants<T> {
        Grants { opening: self.opening, bookings: self.bookings, durable }
    }
}

/// Adds a grant to the others of its opening. `most`: how many come at most, with this one.
fn add<T>(
    to: &mut Vec<GrantsIn<T>>,
    most: usize,
    grant: (T, Arc<Booking>),
    opening: impl FnOnce() -> Option<Arc<Opening>>,
) {
    match to.last_mut() {
        Some(last) if last.opening.record().ordinal == grant.1.opening => last.bookings.push(grant),
        _ => {
            let Some(opening) = opening() else { return };
            // Mostly all are of one opening; where openings alternate, room for all each time
            // would grow with the square.
            let mut bookings = Vec::with_capacity(if to.is_empty() { most } else { 1 });
            bookings.push(grant);
            to.push(GrantsIn { opening, bookings });
        }
    }
}

impl<T> Sequencer<T> {
    /// A grant was staged. `most`: how many this block gets at most.
    pub(crate) fn granted_in(
        &self,
        block: &mut BlockDraft<T>,
        most: usize,
        ticket: T,
        booking: Arc<Booking>,
    ) {
        let ordinal = booking.opening;
        add(&mut block.granted, most, (ticket, booking), || {
            self.state.allocator().openings().get(ordinal).map(Arc::clone)
        });
    }

    pub(crate) fn count(&mut self, changes: &[StateChange]) {
        for change in changes {
            let (StateChange::Booking { kind, .. } | StateChange::Entry { kind, .. }) = change;
            self.count_of(*kind, 1);
        }
    }

    pub(crate) fn count_granted<'a>(
        &mut self,
        bookings: impl Iterator<Item = &'a Booking> + Clone,
    ) {
        let held = bookings.clone().filter(|booking| booking.hold_expires_at().is_some()).count();
        let all = bookings.count();
        self.count_of(Kind::Held, held as u64);
        self.count_of(Kind::Confirmed, (all - held) as u64);
    }

    fn count_of(&mut self, kind: Kind, more: u64) {
        match self.changed.iter_mut().find(|(of, _)| *of == kind) {
            Some((_, count)) => *count += more,
            None if more > 0 => self.changed.push((kind, more)),
            None => {}
        }
    }

    /// Bookings that a draw of this block makes: no request waits for them. Those of a
    /// round have somebody who waits.
    pub(crate) fn drawn(&self, entries: &[Entry]) -> HashSet<BookingId> {
        let mut drawn = in_groups(entries);
        drawn.retain(|receipt| self.state.allocator().entry(receipt).is_some());
        drawn
    }
}

/// The grants of a block's rounds that somebody waits for, opening by opening. `tickets`:
/// theirs, in the block's order; nobody waits for what is `drawn`.
pub(crate) fn grants_of<T>(
    changes: Vec<StateChange>,
    tickets: Vec<T>,
    drawn: &HashSet<BookingId>,
) -> Vec<GrantsIn<T>> {
    let mut tickets = tickets.into_iter();
    let mut openings = Vec::new();
    for change in changes {
        let StateChange::Booking { before: None, after, .. } = change else { continue };
        let FoundBooking { booking, opening } = after;
        if drawn.contains(&booking.id) {
            continue;
        }
        let Some(ticket) = tickets.next() else { break };
        add(&mut openings, 1 + tickets.len(), (ticket, booking), || Some(opening));
    }
    openings
}

/// Bookings that groups of a round or a draw make.
pub(crate) fn in_groups(entries: &[Entry]) -> HashSet<BookingId> {
    let mut inside = false;
    let mut drawn = HashSet::new();
    for entry in entries {
        match entry {
            Entry::Draw(DrawRecord::GroupBegin { .. }) => inside = true,
            Entry::Draw(DrawRecord::GroupEnd { .. }) => inside = false,
            Entry::Grant(grant) if inside => {
                drawn.insert(grant.booking);
            }
            _ => {}
        }
    }
    drawn
}
