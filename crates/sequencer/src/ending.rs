//! How a sequencer comes to its end: it finishes what it has, retires, or stops at once.

use crate::effect::{Effect, Now, Outcome, StopReason};
use crate::in_flight::InFlight;
use crate::queued::Queued;
use crate::rounds::Rounds;
use crate::sequencer::{Lifecycle, Sequencer};

impl<T> Sequencer<T> {
    /// Takes no more requests, commits what is queued, then becomes idle.
    pub fn finish(&mut self, now: Now) {
        if self.lifecycle == Lifecycle::Active {
            self.lifecycle = Lifecycle::Finishing;
            for parked in std::mem::take(&mut self.parked) {
                self.answer_asked(&parked.what, parked.ticket, Outcome::Busy);
            }
            for (ask, ticket) in self.rounds.take() {
                self.answer_asked(&ask, ticket, Outcome::Busy);
            }
            for Queued { what, ticket, .. } in std::mem::take(&mut self.entering) {
                self.busy(ticket, Some(what.request_id.as_str().into()));
            }
            for ticket in self.roll.take_tickets() {
                self.busy(ticket, None);
            }
        } else {
            self.retire();
        }
        self.send_next_block(now);
        self.idle_if_done();
    }

    /// Writes no new block: another engine may. The one in flight is brought to
    /// its end, since its grants may be durable.
    pub fn retire(&mut self) {
        if self.lifecycle != Lifecycle::Idle {
            self.lifecycle = Lifecycle::Retiring;
            self.drop_queue();
            if self.in_flight.as_ref().is_some_and(InFlight::is_unsent) {
                self.drop_flight();
            }
            self.idle_if_done();
        }
    }

    /// Ends for good; what was not durable is given back unanswered.
    pub(crate) fn stop(&mut self, why: StopReason) {
        self.lifecycle = Lifecycle::Idle;
        self.drop_pending();
        self.effects.push(Effect::Idle(why));
    }

    pub(crate) fn idle_if_done(&mut self) {
        let done = match self.lifecycle {
            Lifecycle::Finishing => {
                self.queue.is_empty()
                    && self.ahead.is_none()
                    && self.ballots.is_empty()
                    && self.changes.is_empty()
                    && self.state.chain().is_open()
            }
            Lifecycle::Retiring => true,
            _ => false,
        };
        if done && self.in_flight.is_none() {
            self.lifecycle = Lifecycle::Idle;
            self.effects.push(Effect::Idle(StopReason::Finished));
        }
    }

    pub(crate) fn drop_pending(&mut self) {
        self.drop_flight();
        self.drop_queue();
    }

    pub(crate) fn drop_flight(&mut self) {
        if let Some(flight) = self.in_flight.take() {
            flight.block.entries.iter().for_each(|entry| self.state.abandon(entry));
        }
        self.state.abandon_staged();
        self.state.end_block();
    }

    pub(crate) fn drop_queue(&mut self) {
        self.drop_ahead();
        self.queue.clear();
        self.ballots.clear();
        self.rounds = Rounds::new();
        self.parked.clear();
        self.changes.clear();
        self.entering.clear();
        self.admin.clear();
        self.drawing = None;
        self.draw = None;
        self.late.clear();
        self.openings.clear();
        self.roll.clear();
    }
}
