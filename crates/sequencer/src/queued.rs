//! What waits, since when, and how long at most.
//!
//! Nobody waits for ever: whoever has waited for [`MAX_PARKED_MS`] is told `busy`,
//! wherever the request is. That settles nothing. What a block in flight holds may
//! still come to be; what is in no block yet is given up with it.

use std::collections::VecDeque;

use giliran_wire::ledger::Entry;

use crate::branch::Branch;
use crate::effect::{Effect, Now, Outcome};
use crate::sequencer::Sequencer;

/// Longest that a request waits behind a block before it is told `busy`, ms.
pub const MAX_PARKED_MS: u64 = 5_000;

/// Something that waits for a block, and whoever is told of it.
#[derive(Debug)]
pub(crate) struct Queued<W, T> {
    pub(crate) what: W,
    pub(crate) ticket: T,
    /// Since when, on the monotonic clock.
    pub(crate) since_ms: u64,
}

impl<W, T> Queued<W, T> {
    pub(crate) fn new(what: W, ticket: T, now: Now) -> Self {
        Self { what, ticket, since_ms: now.mono_ms }
    }

    pub(crate) fn is_overdue(&self, now: Now) -> bool {
        is_overdue(self.since_ms, now)
    }
}

/// True where something has waited since then for too long.
pub(crate) fn is_overdue(since_ms: u64, now: Now) -> bool {
    now.mono_ms.saturating_sub(since_ms) > MAX_PARKED_MS
}

/// Takes out what has waited for too long.
fn take_overdue<W, T>(waiting: &mut VecDeque<Queued<W, T>>, now: Now) -> Vec<Queued<W, T>> {
    if !waiting.iter().any(|waiting| waiting.is_overdue(now)) {
        return Vec::new();
    }
    let (overdue, stay): (Vec<_>, Vec<_>) =
        std::mem::take(waiting).into_iter().partition(|waiting| waiting.is_overdue(now));
    *waiting = stay.into();
    overdue
}

impl<T> Sequencer<T> {
    /// Tells `busy` to everybody who has waited for too long.
    pub(crate) fn give_up_waiting(&mut self, now: Now) {
        self.give_up_parked(now);
        for Queued { what, ticket, .. } in take_overdue(&mut self.queue, now) {
            self.overdue(ticket, what.request_id.clone());
        }
        for Queued { what, ticket, .. } in take_overdue(&mut self.changes, now) {
            self.overdue(ticket, what.request_id);
        }
        for Queued { what, ticket, .. } in take_overdue(&mut self.ballots, now) {
            self.overdue(ticket, what.request_id.as_str().into());
        }
        for Queued { what, ticket, .. } in take_overdue(&mut self.entering, now) {
            self.overdue(ticket, what.request_id.as_str().into());
        }
        for Queued { what, ticket, .. } in take_overdue(&mut self.late, now) {
            self.overdue(ticket, what);
        }
        for (ask, ticket) in self.rounds.take_overdue(now) {
            self.branches.note(Branch::BusyInRound);
            self.answer_asked(&ask, ticket, Outcome::Busy);
        }
        self.give_up_actions(now);
        self.give_up_ahead(now);
        self.give_up_flight(now);
    }

    /// Those who wait for a decision; the deadline of their own counts as well.
    pub(crate) fn give_up_parked(&mut self, now: Now) {
        let time = self.state.allocator().engine_time(self.time(now));
        let gone = |parked: &Queued<giliran_allocator::OwnedBookingRequest, T>| {
            parked.what.expires_at().is_some_and(|deadline| deadline <= time)
                || parked.is_overdue(now)
        };
        if !self.parked.iter().any(gone) {
            return;
        }
        let (given_up, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.parked).into_iter().partition(gone);
        self.parked = waiting;
        for parked in given_up {
            self.branches.note(Branch::BusyWaiting);
            self.answer_asked(&parked.what, parked.ticket, Outcome::Busy);
        }
    }

    /// Those whose answer hangs on a block that does not come to its end. What it
    /// holds may be durable; nobody is told before that is known.
    pub(crate) fn give_up_flight(&mut self, now: Now) {
        let Some(flight) = self.in_flight.as_ref().filter(|f| is_overdue(f.since_ms, now)) else {
            return;
        };
        let drawn = self.drawn(&flight.block.entries);
        let asked = flight.block.entries.iter().filter_map(|entry| match entry {
            Entry::Grant(grant) if !drawn.contains(&grant.booking) => {
                Some(Some(grant.request_id.as_str().into()))
            }
            _ => None,
        });
        let ids: Vec<Option<Box<str>>> = asked.collect();
        let Some(flight) = &mut self.in_flight else { return };
        let staged = std::mem::take(&mut flight.granted).into_iter();
        let staged = staged.flat_map(|grants| grants.bookings);
        let staged = staged.map(|(ticket, booking)| (ticket, Some(booking.request_id.clone())));
        let tickets = std::mem::take(&mut flight.tickets).into_iter().zip(ids).chain(staged);
        let replies = std::mem::take(&mut flight.replies).into_iter();
        let replies = replies.map(|(ticket, id, _)| (ticket, Some(id)));
        let after = std::mem::take(&mut flight.after).into_iter();
        let after = after.map(|(ask, ticket)| (ticket, Some(ask.request_id().into())));
        let actions: Vec<T> =
            flight.adjusted.iter_mut().filter_map(crate::admin::AdminJob::take_ticket).collect();
        let actions = actions.into_iter().map(|ticket| (ticket, None));
        let all: Vec<(T, Option<Box<str>>)> =
            tickets.chain(replies).chain(after).chain(actions).collect();
        for (ticket, id) in all {
            self.branches.note(Branch::BusyInFlight);
            self.busy(ticket, id);
        }
        for ticket in self.roll.take_tickets() {
            self.busy(ticket, None);
        }
    }

    pub(crate) fn overdue(&mut self, ticket: T, request_id: Box<str>) {
        self.branches.note(Branch::BusyWaiting);
        self.busy(ticket, Some(request_id));
    }

    /// Answers `busy`, which settles nothing.
    pub(crate) fn busy(&mut self, ticket: T, request_id: Option<Box<str>>) {
        self.effects.push(Effect::Answer { ticket, request_id, outcome: Outcome::Busy });
    }
}
