//! Holds: who pays for one and when, and what becomes of those nobody pays for.

use giliran_fairness::population::Role;
use giliran_wire::answer::{Booking, Reason, Rejection, Status};

use super::outcome::{LONGEST_PAUSE_US, seen};
use super::{Generator, KnownBooking, What};
use crate::stats::FIRM;

/// From the end of a hold until somebody looks whether it lapsed, real µs.
const LOOKED_AFTER_US: f64 = 1_000_000.0;
/// How often a look or a payment that came to nothing is tried again.
const TRIES: u8 = 5;

impl Generator<'_> {
    /// A hold, and whether its holder will pay.
    pub(super) fn held(&mut self, who: u32, booking: &Booking<'_>, now: i64) {
        let (Status::Held, Some(until)) = (booking.status, booking.hold_expires_at) else { return };
        let Some(Some(somebody)) = self.somebody.get(who as usize) else { return };
        let group = usize::from(somebody.party.group);
        let attacker = group.checked_sub(self.scenario.cohorts.len());
        let people = &self.scenario.people;
        let pays = attacker.map_or(people.pays, |i| self.scenario.attackers[i].pays);
        let until = self.scenario_us(self.ground.at(until)).max(now);
        self.tally.payments.held += 1;
        if self.random.chance(pays) {
            let wait = self.random.between(0.05, 0.9) * (until - now) as f64;
            self.plan(now + wait as i64, who, What::Confirm);
        } else {
            self.tally.payments.left += 1;
            let looked = until + self.scaled(LOOKED_AFTER_US);
            self.plan(looked, who, What::Lapse);
        }
    }

    /// The engine took a payment.
    pub(super) fn paid(&mut self, who: u32, booking: &Booking<'_>, took_us: u64) {
        self.tally.confirmations.saturating_record(took_us);
        let Some(Some(somebody)) = self.somebody.get_mut(who as usize) else { return };
        let Some(had) = somebody.had.as_mut() else { return };
        if booking.status != Status::Confirmed || std::mem::replace(&mut had.paid, true) {
            return;
        }
        let (role, seats) = (somebody.party.role, u64::from(somebody.party.size));
        self.tally.payments.paid += 1;
        self.tally.payments.places_paid += seats;
        self.tally.payments.scalpers_paid += if role == Role::Person { 0 } else { seats };
        self.tally.answered(&seen(booking), FIRM, FIRM - 1);
    }

    /// What became of a hold that nobody paid for.
    pub(super) fn looked(&mut self, who: u32, booking: &Booking<'_>, now: i64) {
        if booking.status == Status::Expired {
            self.tally.payments.lapsed += 1;
            let somebody = self.somebody.get(who as usize).and_then(Option::as_ref);
            self.free += somebody.map_or(0, |somebody| i64::from(somebody.party.size));
        } else if booking.status == Status::Held && !self.tries_later(who, What::Lapse, now, None) {
            self.tally.payments.overdue += 1;
        }
    }

    /// A payment that was rejected, or a look; true: it was one of these.
    pub(super) fn payment_rejected(
        &mut self,
        who: u32,
        what: What,
        rejection: &Rejection<'_>,
        now: i64,
    ) -> bool {
        if !what.is_after() {
            return false;
        }
        let asked = rejection.retry_after_ms.unwrap_or(500) as f64 * 1e3;
        let retry = matches!(rejection.reason, Reason::Busy | Reason::Unavailable);
        let again = retry && self.tries_later(who, what, now, Some(asked.min(LONGEST_PAUSE_US)));
        self.tally.payments.rejected += u64::from(what == What::Confirm && !again);
        true
    }

    /// Nobody heard or answered it; true: it was a payment or a look.
    pub(super) fn payment_missed(&mut self, who: u32, what: What, now: i64) -> bool {
        if !what.is_after() {
            return false;
        }
        let again = self.tries_later(who, what, now, None);
        self.tally.payments.unanswered += u64::from(what == What::Confirm && !again);
        true
    }

    /// Plans it once more, after so many real µs; false: it was tried often enough.
    fn tries_later(&mut self, who: u32, what: What, now: i64, after_us: Option<f64>) -> bool {
        let Some(Some(somebody)) = self.somebody.get_mut(who as usize) else { return false };
        somebody.tries_after += 1;
        if somebody.tries_after >= TRIES {
            return false;
        }
        let after_us = after_us.unwrap_or(LOOKED_AFTER_US) * self.random.between(1.0, 1.2);
        self.plan(now + self.scaled(after_us), who, what);
        true
    }
}

impl KnownBooking {
    /// A place that can still be paid for, or lapse.
    pub(super) fn is_unpaid(&self) -> bool {
        !self.paid && !self.given_back
    }
}
