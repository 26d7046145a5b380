//! What an answer means to who asked.

use giliran_fairness::population::{Party, Role};
use giliran_fairness::scenario::Kind;
use giliran_wire::Timestamp;
use giliran_wire::answer::{Answer, Booking, Reason, Rejection, Verdict};
use giliran_wire::client_log::SeenBooking;

use super::request::applicants;
use super::{Generator, InFlightRequest, KnownBooking, Outcome, What};
use crate::forgers::Observed;
use crate::stats::FIRM;

/// A draw whose close is later than this is not waited for, µs.
const AWAITED_US: u128 = 3_600_000_000;
/// How often somebody looks whether the draw was held, µs; and how many times.
const LOOKUP_US: f64 = 1_000_000.0;
const LOOKUPS: u8 = 60;
/// Scalpers who came too early, or whom nobody heard, ask again within so long, µs.
const SCALPERS_AGAIN_US: [f64; 2] = [50_000.0, 200_000.0];
/// Longest pause that an engine can ask for, µs.
pub(super) const LONGEST_PAUSE_US: f64 = 10_000_000.0;
/// From a cancellation to the recycler's request for its client, µs.
const STROKE_US: i64 = 2_000;

impl Generator<'_> {
    pub(super) fn answer(&mut self, number: u64, payload: &[u8]) {
        let now_us = self.clock_us();
        let index = number.checked_sub(self.first).map(|n| n as usize);
        let Some(index) = index.filter(|index| *index < self.flights.len()) else { return };
        if payload.is_empty() {
            return self.unheard(index);
        }
        let flight = &mut self.flights[index];
        if flight.outcome.is_some_and(|outcome| outcome != Outcome::Unheard) {
            flight.more_answers += 1;
            self.tally.second_answers += 1;
            return;
        }
        // What is no answer of the contract is as good as none.
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(payload) else { return };
        if flight.outcome.is_none() {
            self.open -= 1;
        }
        flight.answered_us = Some(now_us);
        let (who, what, due_us) = (flight.who, flight.what, flight.due_us);
        (self.silent, self.silent_since) = (0, None);
        self.tally.answered += 1;
        let now = self.now();
        let took_us = ((now - due_us) as f64 / self.rush.speed).max(1.0) as u64;
        match answer.verdict {
            Verdict::Granted { booking, as_of } => {
                let flight = &mut self.flights[index];
                flight.outcome = Some(Outcome::Granted);
                flight.as_of = Some((as_of.epoch, as_of.seq));
                flight.seen = Some(Box::new(seen(&booking)));
                match what {
                    What::Cancel => return self.given_back(who, now),
                    What::Confirm => return self.paid(who, &booking, took_us),
                    What::Lapse => return self.looked(who, &booking, now),
                    What::Ask | What::Again | What::Lookup => {}
                }
                self.settled(who, what, due_us, took_us);
                if what != What::Lookup {
                    self.tally.grants.saturating_record(took_us);
                }
                if booking.status.is_live() {
                    self.granted(who, &booking, now);
                }
            }
            Verdict::Entered { as_of, .. } => {
                let flight = &mut self.flights[index];
                flight.outcome = Some(Outcome::Entered);
                flight.as_of = Some((as_of.epoch, as_of.seq));
                self.settled(who, what, due_us, took_us);
                self.entered(who, what, now);
            }
            Verdict::Rejected(rejection) => {
                let flight = &mut self.flights[index];
                flight.outcome = Some(Outcome::Rejected(rejection.reason));
                flight.as_of = rejection.as_of.map(|as_of| (as_of.epoch, as_of.seq));
                if what == What::Cancel || self.payment_rejected(who, what, &rejection, now) {
                    return;
                }
                self.count_rejection(rejection.reason, took_us, now);
                if !rejection.reason.worth_a_retry() {
                    self.settled(who, what, due_us, took_us);
                }
                self.rejected(who, what, due_us, &rejection, now);
            }
        }
    }

    fn count_rejection(&mut self, reason: Reason, took_us: u64, now: i64) {
        self.tally.rejected[usize::from(reason.number())] += 1;
        self.tally.rejections.saturating_record(took_us);
        self.tally.happened(now, |bin| {
            if reason.worth_a_retry() {
                bin.again += 1;
            } else {
                bin.rejected += 1;
            }
        });
    }

    /// A request got an answer that settles it.
    fn settled(&mut self, who: u32, what: What, due_us: i64, took_us: u64) {
        let Some(Some(somebody)) = self.somebody.get_mut(who as usize) else { return };
        if what == What::Lookup {
            return;
        }
        let party = &mut somebody.party;
        party.arrived = party.arrived.min(due_us);
        let felt = took_us + u64::from(party.rtt_us);
        let cell = &mut self.tally.cells[usize::from(party.group)];
        cell.service.saturating_record(took_us);
        cell.felt.saturating_record(felt);
        cell.requests += 1;
        cell.in_time += u64::from(felt as f64 <= self.scenario.people.patience_s * 1e6);
    }

    fn granted(&mut self, who: u32, booking: &Booking<'_>, now: i64) {
        let Some(Some(somebody)) = self.somebody.get_mut(who as usize) else { return };
        somebody.settled = true;
        if somebody.had.is_some() {
            // A repeated answer.
            return;
        }
        let seen = seen(booking);
        let until = booking.hold_expires_at.map_or(FIRM, Timestamp::as_millis);
        self.tally.answered(&seen, until, booking.granted_at.as_millis());
        somebody.had = Some(Box::new(KnownBooking { seen, paid: false, given_back: false }));
        somebody.party.won = true;
        let (party, since) = (somebody.party.clone(), somebody.since);
        let seats = u64::from(party.size);
        self.tally.bookings += 1;
        self.tally.at_once += u64::from(!party.entered);
        self.tally.places += seats;
        self.tally.happened(now, |bin| bin.granted += seats);
        *self.tally.by_office.entry(booking.office.to_string()).or_default() += seats;
        self.free -= seats as i64;
        match party.role {
            Role::Person => {
                self.observed(who, &party, booking);
                let own = &self.ground.offices[usize::from(party.office)];
                let first = party.days().next().and_then(|day| own.dates.get(usize::from(day)));
                let best = own.id == booking.office.as_str() && first == Some(&booking.date);
                self.tally.winners += 1;
                self.tally.first_choice += u64::from(best);
                let waited = (now - since.max(0)).max(0) as f64 + f64::from(party.rtt_us);
                self.tally.waited_us += waited;
            }
            Role::Client => self.tally.recaptured += seats,
            Role::Identity => {
                let attacker = usize::from(party.group) - self.scenario.cohorts.len();
                let recycles = self.scenario.attackers[attacker].kind == Kind::Recycler;
                if recycles && !self.clients[attacker].is_empty() {
                    // For a client, when the rush is over.
                    let decay_us = self.scenario.people.decay_s * 1e6;
                    let over = now.max((3.0 * decay_us) as i64);
                    let at = over + self.random.between(0.0, decay_us) as i64;
                    self.plan(at, who, What::Cancel);
                    return;
                }
            }
        }
        self.held(who, booking, now);
    }

    /// Whoever looks on may have it; one that cannot keep up misses some.
    fn observed(&self, who: u32, party: &Party, booking: &Booking<'_>) {
        if let Some(observer) = &self.observer {
            let _ = observer.try_send(Observed {
                book: self.payload(who, What::Ask),
                applicant: applicants(self.rush.seed, party).swap_remove(0),
                seen: seen(booking),
            });
        }
    }

    /// A recycler gave its place back, and asks for its client in the same stroke.
    fn given_back(&mut self, who: u32, now: i64) {
        let Some(Some(somebody)) = self.somebody.get_mut(who as usize) else { return };
        let Some(had) = somebody.had.as_mut() else { return };
        had.given_back = true;
        let own = somebody.party.clone();
        let seats = u64::from(own.size);
        self.tally.given_back(&had.seen);
        self.tally.recycled += seats;
        self.free += seats as i64;
        let attacker = usize::from(own.group) - self.scenario.cohorts.len();
        let Some(mut client) = self.clients[attacker].pop_front() else { return };
        client.office = own.office;
        client.second = own.office;
        client.days = own.days;
        client.days_given = own.days_given;
        let at = now + STROKE_US + i64::from(client.rtt_us / 2);
        let client = self.enter(client, false);
        self.plan(at, client, What::Ask);
    }

    /// Entered into a draw: its result can be asked for after the close.
    fn entered(&mut self, who: u32, what: What, now: i64) {
        let closes = self.ground.closes.saturating_duration_since(self.started);
        let closes_us = self.from_us + self.scaled(closes.as_micros() as f64);
        let Some(Some(somebody)) = self.somebody.get_mut(who as usize) else { return };
        if what == What::Lookup {
            somebody.lookups += 1;
            if somebody.lookups >= LOOKUPS {
                return;
            }
        } else if std::mem::replace(&mut somebody.party.entered, true) {
            return;
        } else {
            self.tally.entered += 1;
        }
        somebody.settled = true;
        if closes.as_micros() > AWAITED_US {
            return;
        }
        let later = self.random.between(0.2, 1.2) * LOOKUP_US;
        let at = now.max(closes_us) + self.scaled(later);
        self.plan(at, who, What::Lookup);
    }

    fn rejected(&mut self, who: u32, what: What, due_us: i64, rejection: &Rejection<'_>, now: i64) {
        let Some(Some(somebody)) = self.somebody.get_mut(who as usize) else { return };
        let people = &self.scenario.people;
        let party = &mut somebody.party;
        if rejection.reason != Reason::NotOpen {
            party.arrived = party.arrived.min(due_us);
        }
        let (person, rtt_us) = (party.role == Role::Person, i64::from(party.rtt_us));
        let [from, to] = people.retry_after_s;
        let interval = if person { [from * 1e6, to * 1e6] } else { SCALPERS_AGAIN_US };
        let soon = self.random.between(interval[0], interval[1]) as i64;
        let again = match rejection.reason {
            Reason::NotOpen => Some(soon),
            // What the engine asks for is meant in its own time.
            Reason::Busy | Reason::Unavailable => {
                let asked = rejection.retry_after_ms.unwrap_or(500) as f64 * 1e3;
                let pause = asked.min(LONGEST_PAUSE_US) * self.random.between(1.0, 1.2);
                Some((pause * self.rush.speed) as i64)
            }
            Reason::SoldOut => {
                party.tries += 1;
                let likes = !person || self.random.chance(people.retries);
                (likes && party.tries < people.most_tries).then_some(soon)
            }
            _ => None,
        };
        match again {
            Some(_) if what == What::Lookup && !rejection.reason.worth_a_retry() => {}
            Some(after) => {
                let again = if what == What::Ask { What::Again } else { what };
                self.plan(now + rtt_us + after, who, again);
            }
            None => somebody.settled = true,
        }
    }

    /// The broker said that nobody listens, or could not be told.
    pub(super) fn unheard(&mut self, index: usize) {
        let flight = &mut self.flights[index];
        if flight.outcome.is_some() {
            return;
        }
        flight.outcome = Some(Outcome::Unheard);
        let (who, what, due_us) = (flight.who, flight.what, flight.due_us);
        self.open -= 1;
        self.tally.unheard += 1;
        self.silent += 1;
        self.missed(who, what, due_us);
    }

    /// Its patience is over.
    pub(super) fn unanswered(&mut self, flight: &InFlightRequest) {
        self.tally.unanswered += 1;
        // Who may not send payments gets no answer to them from an engine that lives.
        self.silent += u32::from(flight.what != What::Confirm);
        self.missed(flight.who, flight.what, flight.due_us);
    }

    /// Whoever got no answer asks again, a few times.
    fn missed(&mut self, who: u32, what: What, due_us: i64) {
        let now = self.now();
        if self.payment_missed(who, what, now) {
            return;
        }
        self.tally.happened(now, |bin| bin.again += 1);
        let Some(Some(somebody)) = self.somebody.get_mut(who as usize) else { return };
        let party = &mut somebody.party;
        if what != What::Lookup {
            self.tally.cells[usize::from(party.group)].requests += 1;
        }
        if due_us >= 0 {
            party.arrived = party.arrived.min(due_us);
        }
        party.tries += 1;
        let people = &self.scenario.people;
        if party.tries >= people.most_tries || what == What::Cancel {
            return;
        }
        let [from, to] = people.retry_after_s;
        let after = self.random.between(from, to) * 1e6;
        let again = if what == What::Ask { What::Again } else { what };
        let at = now + i64::from(party.rtt_us) + after as i64;
        self.plan(at, who, again);
    }
}

pub(super) fn seen(booking: &Booking<'_>) -> SeenBooking {
    SeenBooking {
        id: booking.id.to_string(),
        office: booking.office.to_string(),
        date: booking.date.to_string(),
        session: booking.session.to_string(),
        numbers: booking.numbers.to_vec(),
    }
}
