//! Who has what, and what comes back: grants, lapses, cancellations, and those
//! who look for places.

use giliran_allocator::StateChange;
use giliran_wire::event::Kind as Happened;
use giliran_wire::ledger::Order;

use super::{JUDGED_AFTER_US, Outcome, Run, What};
use crate::population::{NONE, Role};
use crate::scenario::Kind;
use crate::simulation::virtual_engine::virtual_us;

/// From a cancellation to the recycler's request for its client, µs.
const STROKE_US: i64 = 2_000;
/// How often a recycler looks for its clients where nothing else is said, s.
const RECYCLER_LOOKS_S: f64 = 5.0;

impl Run<'_> {
    /// Plans the next look at what came back.
    pub(super) fn looks_later(&mut self, index: u32, at: i64) {
        let party = self.party(index);
        if party.looks {
            let after = self.random.exponential(self.scenario.aftermath.every_s) * 1e6;
            let next = at.max(self.window_us) + after as i64;
            if next < self.end_us {
                self.plan(next, What::Ask(index));
            }
        } else if self.over && party.role == Role::Client {
            let attacker = usize::from(party.group) - self.scenario.cohorts.len();
            self.unserved[attacker].push_back(index);
        }
    }

    /// Takes in what a block changed: the one account of who has what.
    pub(super) fn absorb(&mut self, changes: Vec<StateChange>, at: i64) {
        for change in changes {
            let (kind, before, after) = match change {
                StateChange::Booking { kind, before, after, .. } => (kind, before, after),
                StateChange::Entry { kind: Happened::NotDrawn, waiting, .. } => {
                    // Whoever was not drawn waits for the next time.
                    if let Ok(index) = waiting.entry.request_id.parse() {
                        if !self.over {
                            self.out.undersell += u64::from(self.had_room(index));
                        }
                        self.looks_later(index, at);
                    }
                    continue;
                }
                StateChange::Entry { kind: Happened::Entered, waiting, .. } if !self.over => {
                    if let Ok(index) = waiting.entry.request_id.parse() {
                        self.entered.push((index, waiting.entry.receipt));
                    }
                    continue;
                }
                StateChange::Entry { .. } => continue,
            };
            let booking = after.booking;
            let Ok(index) = booking.request_id.parse::<u32>() else { continue };
            let seats = booking.seats.len() as u32;
            let slot = booking.slot as usize;
            match kind {
                Happened::Held | Happened::Confirmed if before.is_none() => {
                    self.live[slot] += seats;
                    let quota = self.quota(booking.slot);
                    self.out.oversell += u64::from(self.live[slot].saturating_sub(quota));
                    self.bookings.insert(index, booking.id);
                    if !self.forgeries.first_grant(index) {
                        self.out.replayed += u64::from(seats);
                    }
                    let held = booking.hold_expires_at().map(virtual_us);
                    self.granted(index, booking.slot, held, at);
                }
                Happened::Cancelled | Happened::Expired => {
                    self.live[slot] -= seats;
                    self.returned = true;
                    self.out.came_back += u64::from(seats);
                    self.bookings.remove(&index);
                    self.parties[index as usize].slot = NONE;
                    if kind == Happened::Cancelled {
                        if !self.forgeries.was_given_back(index) {
                            self.out.forged += u64::from(seats);
                        }
                        self.given_back(index, u64::from(seats), at);
                    }
                }
                // Nobody here moves a booking, or leaves a party.
                Happened::Rescheduled | Happened::Amended => {
                    self.out.forged += u64::from(seats);
                }
                _ => {}
            }
        }
    }

    fn granted(&mut self, index: u32, slot: u32, held_until: Option<i64>, at: i64) {
        let party = &mut self.parties[index as usize];
        party.slot = slot;
        let (role, size, group) = (party.role, u64::from(party.size), usize::from(party.group));
        if let Some(bin) = Self::bin(at) {
            self.out.grants[bin] += size;
        }
        if self.arm.order != Order::Draw || self.over {
            self.answered(self.party(index).asked, at);
        }
        if !self.over && role == Role::Person {
            self.out.waited_s += (at - self.first_asked[index as usize]) as f64 / 1e6;
        }
        if role == Role::Client {
            self.out.recaptured += size;
        }
        let people = &self.scenario.people;
        let attacker = group.checked_sub(self.scenario.cohorts.len());
        let pays = attacker.map_or(people.pays, |i| self.scenario.attackers[i].pays);
        let paid = self.random.chance(pays);
        if let Some(until) = held_until
            && paid
        {
            let wait = self.random.between(0.05, 0.9) * (until - at) as f64;
            self.plan(at + wait as i64, What::Confirm(index));
        }
        let recycles = attacker.is_some_and(|i| self.scenario.attackers[i].kind == Kind::Recycler);
        let gives_back = match role {
            Role::Person => self.random.chance(people.cancels),
            Role::Identity => recycles && !self.over,
            Role::Client => false,
        };
        if gives_back && (paid || held_until.is_none()) {
            let from = self.window_us.max(at);
            let when = self.random.between(from as f64, self.end_us as f64);
            self.plan(when as i64, What::Cancel(index));
        }
    }

    /// A place came back by its holder's hand.
    fn given_back(&mut self, index: u32, seats: u64, at: i64) {
        let group = usize::from(self.party(index).group);
        let Some(attacker) = group.checked_sub(self.scenario.cohorts.len()) else { return };
        if self.scenario.attackers[attacker].kind != Kind::Recycler {
            return;
        }
        self.out.recycled += seats;
        // The client in whose name it is booked again, who wants what was had.
        let own = self.party(index).clone();
        if let Some(client) = self.hungry[attacker].pop_front() {
            let booked = &mut self.parties[client as usize];
            booked.office = own.office;
            booked.second = own.office;
            booked.days = own.days;
            booked.days_given = own.days_given;
            let at = at + STROKE_US + i64::from(booked.rtt_us / 2);
            self.plan(at, What::Ask(client));
        }
    }

    /// An attacker looks for returned places, with the next identity that has
    /// none.
    pub(super) fn probe(&mut self, attacker: usize, at: i64) {
        let every = self.looks_every(attacker);
        let Some(every) = every else { return };
        if at + every < self.end_us {
            self.plan(at + every, What::Probe(attacker as u32));
        }
        if self.scenario.attackers[attacker].kind == Kind::Recycler {
            if let Some(index) = self.unserved[attacker].pop_front() {
                self.arrives(index, at);
            }
        } else if let Some(index) = self.hungry[attacker].pop_front()
            && self.party(index).slot == NONE
        {
            self.hungry[attacker].push_back(index);
            self.arrives(index, at);
        }
    }

    fn looks_every(&self, attacker: usize) -> Option<i64> {
        let attacker = &self.scenario.attackers[attacker];
        let otherwise = (attacker.kind == Kind::Recycler).then_some(RECYCLER_LOOKS_S);
        attacker.looks_every_s.or(otherwise).map(|s| (s * 1e6) as i64)
    }

    /// The window is over and all its answers are given: what is judged of it.
    pub(super) fn window_ends(&mut self, at: i64) {
        if self.arm.order == Order::Draw && !self.over {
            return self.plan(at + JUDGED_AFTER_US, What::WindowEnd);
        }
        let cohorts = self.scenario.cohorts.len();
        let days = u32::from(self.scenario.offices.days);
        for index in 0..self.parties.len() {
            let party = &mut self.parties[index];
            party.won = party.slot != NONE;
            if party.won {
                let size = u64::from(party.size);
                if let Some(attacker) = usize::from(party.group).checked_sub(cohorts) {
                    self.out.scalped += size;
                    // What a recycler earns by is its clients' places.
                    if self.scenario.attackers[attacker].kind != Kind::Recycler {
                        self.out.payoff[attacker] += size as f64;
                    }
                } else {
                    let first = u32::from(party.office) * days + (party.days & 7);
                    self.out.first_choice += u64::from(party.slot == first);
                }
            } else if let Some(attacker) = usize::from(party.group).checked_sub(cohorts) {
                self.hungry[attacker].push_back(index as u32);
            }
        }
        for (attacker, of) in self.scenario.attackers.iter().enumerate() {
            if of.kind == Kind::Recycler {
                // Only clients are still to be served.
                let parties = &self.parties;
                self.hungry[attacker].retain(|i| parties[*i as usize].role == Role::Client);
            }
            if let Some(every) = self.looks_every(attacker) {
                self.plan(at + every, What::Probe(attacker as u32));
            }
        }
        self.over = true;
    }

    pub(super) fn judged(mut self) -> Outcome {
        let quota = self.scenario.offices.places();
        let live: u64 = self.live.iter().map(|n| u64::from(*n)).sum();
        self.out.unused = quota - live.min(quota);
        let no_show = self.scenario.people.no_show;
        for party in self.parties.iter().filter(|p| p.slot != NONE && p.role == Role::Person) {
            if self.random.chance(no_show) {
                self.out.no_shows += u64::from(party.size);
            }
        }
        let mut free = quota as f64;
        for (grants, left) in self.out.grants.iter().zip(&mut self.out.free) {
            free -= *grants as f64;
            *left = free.max(0.0);
        }
        for party in self.parties.iter().filter(|p| p.slot != NONE && p.role == Role::Client) {
            let attacker = usize::from(party.group) - self.scenario.cohorts.len();
            self.out.payoff[attacker] += 1.0;
        }
        self.out.parties = self.parties;
        self.out
    }
}
