//! Who sends others' requests again, and who names others' bookings.

use std::collections::HashSet;

use giliran_allocator::ChangeKind;
use giliran_wire::{BookingId, Digest, Pseudonym};

use super::{By, Run, Ticket, What};
use crate::population::{NONE, Role, pseudonym};
use crate::random::Random;
use crate::scenario::Kind;

/// How often somebody is looked for whom it could be done to.
const LOOKS: usize = 64;

/// What replayers and forgers do, and what would show that it works.
#[derive(Debug)]
pub(super) struct Forgeries {
    random: Random,
    /// Who was given places, ever.
    granted: HashSet<u32>,
    /// Who gives them back by its own hand.
    given_back: HashSet<u32>,
}

impl Forgeries {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed, 6), granted: HashSet::new(), given_back: HashSet::new() }
    }

    /// False: this request was given places before.
    pub(super) fn first_grant(&mut self, index: u32) -> bool {
        self.granted.insert(index)
    }

    pub(super) fn gives_back(&mut self, index: u32) {
        self.given_back.insert(index);
    }

    /// Whether who gave it back was its owner.
    pub(super) fn was_given_back(&mut self, index: u32) -> bool {
        self.given_back.remove(&index)
    }
}

impl Run<'_> {
    /// One half while the window is open, the other half later.
    pub(super) fn plan_forgeries(&mut self) {
        let (window, end) = (self.window_us as f64, self.end_us as f64);
        for (attacker, of) in self.scenario.attackers.iter().enumerate() {
            for n in 0..of.requests.unwrap_or(0) {
                let [from, to] = if n % 2 == 0 { [0.0, window] } else { [window, end] };
                let at = self.forgeries.random.between(from, to) as i64;
                self.plan(at, What::Forged(attacker as u32));
            }
        }
    }

    pub(super) fn forges(&mut self, attacker: usize, at: i64) {
        match self.scenario.attackers[attacker].kind {
            Kind::Replayer => self.replays(at),
            _ => self.names_another(attacker, at),
        }
    }

    /// Somebody of the people, of whom this holds.
    fn somebody(&mut self, holds: impl Fn(&Self, u32) -> bool) -> Option<u32> {
        let people = self.parties.len();
        let looked = (0..LOOKS).map(|_| self.forgeries.random.below(people) as u32);
        let looked: Vec<u32> = looked.collect();
        let is = |index: &u32| self.party(*index).role == Role::Person && holds(self, *index);
        looked.into_iter().find(is)
    }

    /// A request that was sent is sent once more, as it was.
    fn replays(&mut self, at: i64) {
        let sent = |run: &Self, index: u32| run.first_asked[index as usize] != i64::MAX;
        let Some(index) = self.somebody(sent) else { return };
        self.out.replays += 1;
        self.out.requests += 1;
        self.asks(Ticket::Replayer { asked: at }, index, at);
    }

    /// Gives back or moves somebody's booking in its own name; or knows an applicant,
    /// and guesses the booking.
    fn names_another(&mut self, attacker: usize, at: i64) {
        let has = |run: &Self, index: u32| run.party(index).slot != NONE;
        let Some(index) = self.somebody(has) else { return };
        let Some(booking) = self.bookings.get(&index).copied() else { return };
        self.out.forgeries += 1;
        let group = self.scenario.cohorts.len() + attacker;
        let own = self.parties.iter().find(|party| usize::from(party.group) == group);
        let own = own.map_or(NONE, |party| party.first);
        let own = pseudonym(self.salt, own.into());
        let (target, kind) = match self.out.forgeries % 3 {
            0 => (booking, ChangeKind::Cancel { applicant: own }),
            1 => (booking, self.moved(index, own)),
            _ => {
                let guessed = BookingId::from_random(self.forgeries.random.wide());
                let applicant = pseudonym(self.salt, self.party(index).first.into());
                (guessed, ChangeKind::Cancel { applicant })
            }
        };
        self.engine.change(Ticket::Nobody, target, kind, By::Another, at);
        self.attend(at);
    }

    fn moved(&self, index: u32, applicant: Pseudonym) -> ChangeKind {
        let choices = vec![self.engine.anywhere(self.party(index).office)];
        ChangeKind::Reschedule { applicant, choices, content: Digest([7; 16]) }
    }
}
