//! One seed's population under one order and one returns rule, event by event.

mod aftermath;
mod forgers;
mod insiders;
mod outcome;
pub mod virtual_engine;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::atomic::Ordering;

use forgers::Forgeries;
use giliran_allocator::{ChangeKind, Settled, ballot, order};
use giliran_sequencer::Outcome as Answer;
use giliran_wire::BookingId;
use giliran_wire::answer::Reason;
use giliran_wire::ledger::{Order, ReturnRule};

use crate::population::{Insider, Party, Population, Role, pseudonym};
use crate::progress::Progress;
use crate::random::{Random, mix};
use crate::resources::Resources;
use crate::scenario::Scenario;
use crate::simulation::virtual_engine::{By, LEDGER, ORDINAL, VirtualEngine, Wanted};
pub(crate) use outcome::Outcome;

/// An order and a returns rule: one column of the comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// How requests are ordered.
    pub order: Order,
    /// A public value that nobody knows before the close goes into a draw's seed.
    pub beacon: bool,
    /// When places that come back become available again.
    pub returns: ReturnRule,
}

impl Arm {
    /// This order, as it is without a public value.
    pub fn new(order: Order, returns: ReturnRule) -> Self {
        Self { order, beacon: false, returns }
    }

    /// Whether requests are ordered alike.
    pub fn same_order(&self, other: &Self) -> bool {
        (self.order, self.beacon) == (other.order, other.beacon)
    }
}

/// From the close until the window's result is judged, µs: by then its last block has
/// landed. A draw that takes longer is waited for.
const JUDGED_AFTER_US: i64 = 1_000_000;
/// After so many steps, a run says how far it is and looks whether it is to stop.
const LOOK_EVERY: u64 = 1_024;
/// Draws that are due this long after the aftermath are still held, µs.
const LAST_DRAW_US: i64 = 86_400_000_000;
/// Width of a bar of the time series, µs; and how many from 30 s before.
pub(crate) const BIN_US: i64 = 5_000_000;
pub(crate) const BINS: usize = 60;
pub(crate) const BINS_FROM_US: i64 = -30_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The engine is to be woken.
    Wake,
    Ask(u32),
    /// The insider makes its last entry into the draw.
    LastEntry(u32),
    WindowEnd,
    Confirm(u32),
    Cancel(u32),
    Probe(u32),
    /// A replayer or forger sends its next one.
    Forged(u32),
}

/// Whom an answer of the engine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ticket {
    /// The party of this index.
    Party(u32),
    /// A replayer that sent somebody's request again, then, µs.
    Replayer { asked: i64 },
    /// Nobody waits for it.
    Nobody,
}

pub(crate) struct Run<'a> {
    scenario: &'a Scenario,
    arm: &'a Arm,
    engine: VirtualEngine<Ticket>,
    parties: Vec<Party>,
    insider: Option<Insider>,
    /// Identities that an insider has not entered yet.
    at_hand: Vec<u32>,
    /// The party of an insider's last entry into a draw, until it is made.
    last_entry: Option<u32>,
    forgeries: Forgeries,
    salt: u64,
    /// Ordered by time, then by when it was planned: deterministic.
    queue: BinaryHeap<Reverse<(i64, u64, What)>>,
    planned: u64,
    random: Random,
    /// When the engine is to be woken next, µs.
    wakes_at: i64,
    /// Who entered the draw, and their receipts.
    entered: Vec<(u32, BookingId)>,
    bookings: HashMap<u32, BookingId>,
    live: Vec<u32>,
    /// Per attacker: identities without a place, or a recycler's clients that
    /// nothing was given back for yet.
    hungry: Vec<VecDeque<u32>>,
    /// Per attacker: clients whose place somebody else got first.
    unserved: Vec<VecDeque<u32>>,
    window_us: i64,
    end_us: i64,
    free_at_us: f64,
    over: bool,
    /// Some place has come back: what is free is no longer quota less live.
    returned: bool,
    first_asked: Vec<i64>,
    out: Outcome,
    progress: &'a Progress,
    /// Events and decisions so far.
    steps: u64,
    /// Requests that the progress knows of.
    reported: u64,
    stopped: bool,
}

/// Runs it. None: it was asked to stop.
pub(crate) fn run(
    scenario: &Scenario,
    arm: &Arm,
    means: &[Resources],
    seed: u64,
    progress: &Progress,
) -> Option<Outcome> {
    let population = Population::new(scenario, means, seed);
    Run::new(scenario, arm, population, seed, progress).through()
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        scenario: &'a Scenario,
        arm: &'a Arm,
        population: Population,
        seed: u64,
        progress: &'a Progress,
    ) -> Self {
        let window_us = (scenario.opening.window_s * 1e6) as i64;
        let end_us = window_us + (scenario.aftermath.lasts_s * 1e6) as i64;
        let engine = VirtualEngine::new(scenario, arm.order, &arm.returns, seed);
        let slots = usize::from(scenario.offices.count) * usize::from(scenario.offices.days);
        let Population { parties, planned, insider, salt } = population;
        let last_entry =
            insiders::last_entry(insider.as_ref(), (arm, &parties), &planned, window_us);
        let at_hand = insider.iter().flat_map(|insider| insider.identities.clone()).collect();
        let mut run = Self {
            scenario,
            arm,
            engine,
            insider,
            at_hand,
            last_entry,
            forgeries: Forgeries::new(mix(salt)),
            salt,
            queue: BinaryHeap::with_capacity(planned.len() + 16),
            planned: 0,
            random: Random::new(seed, 3),
            wakes_at: i64::MAX,
            entered: Vec::new(),
            bookings: HashMap::new(),
            live: vec![0; slots],
            hungry: vec![VecDeque::new(); scenario.attackers.len()],
            unserved: vec![VecDeque::new(); scenario.attackers.len()],
            window_us,
            end_us,
            free_at_us: f64::MIN,
            over: false,
            returned: false,
            first_asked: vec![i64::MAX; parties.len()],
            out: Outcome::none(scenario.attackers.len()),
            parties,
            progress,
            steps: 0,
            reported: 0,
            stopped: false,
        };
        run.plan_forgeries();
        run.plan_wake(-1);
        run.plan(window_us + JUDGED_AFTER_US, What::WindowEnd);
        for (at, index) in planned {
            run.plan(at, What::Ask(index));
        }
        run
    }

    fn plan(&mut self, at: i64, what: What) {
        self.planned += 1;
        self.queue.push(Reverse((at, self.planned, what)));
    }

    /// Counts a step. False, looked at every so often: it is asked to stop.
    fn goes_on(&mut self) -> bool {
        self.steps += 1;
        if self.steps.is_multiple_of(LOOK_EVERY) {
            self.tell();
        }
        !self.stopped
    }

    /// Says how far it is, and looks whether it is asked to stop.
    fn tell(&mut self) {
        let new = self.out.requests - std::mem::replace(&mut self.reported, self.out.requests);
        self.progress.requests.fetch_add(new, Ordering::Relaxed);
        self.stopped |= self.progress.is_stopped();
    }

    /// All of it. None: it was asked to stop.
    pub(crate) fn through(mut self) -> Option<Outcome> {
        while self.step() {}
        self.tell();
        (!self.stopped).then(|| self.judged())
    }

    /// The next event. False: there is none, or it is asked to stop.
    pub(crate) fn step(&mut self) -> bool {
        let Some(Reverse((at, _, what))) = self.queue.pop() else { return false };
        if !self.goes_on() || at > self.end_us + LAST_DRAW_US {
            return false;
        }
        match what {
            What::Wake => self.wakes(at),
            What::LastEntry(index) => self.makes_last_entry(index, at),
            What::WindowEnd => self.window_ends(at),
            What::Ask(index) => self.arrives(index, at),
            What::Confirm(index) => {
                self.change(index, ChangeKind::Confirm { reference: None }, at);
            }
            What::Cancel(index) => {
                self.forgeries.gives_back(index);
                let applicant = pseudonym(self.salt, self.party(index).first.into());
                self.change(index, ChangeKind::Cancel { applicant }, at);
            }
            What::Forged(attacker) => self.forges(attacker as usize, at),
            What::Probe(attacker) => self.probe(attacker as usize, at),
        }
        true
    }

    #[cfg(test)]
    pub(crate) fn parties(&self) -> &[Party] {
        &self.parties
    }

    #[cfg(test)]
    pub(crate) fn engine(&self) -> &VirtualEngine<Ticket> {
        &self.engine
    }

    #[cfg(test)]
    pub(crate) fn entered(&self) -> &[(u32, BookingId)] {
        &self.entered
    }

    fn party(&self, index: u32) -> &Party {
        &self.parties[index as usize]
    }

    fn bin(at: i64) -> Option<usize> {
        let bin = (at - BINS_FROM_US).div_euclid(BIN_US);
        usize::try_from(bin).ok().filter(|bin| *bin < BINS)
    }

    /// A request reaches the service.
    fn arrives(&mut self, index: u32, at: i64) {
        if self.party(index).lost {
            return;
        }
        self.out.requests += 1;
        if let Some(bin) = Self::bin(at) {
            self.out.arrivals[bin] += 1;
        }
        let first = &mut self.first_asked[index as usize];
        let is_first = *first == i64::MAX;
        *first = (*first).min(at.max(0));
        if is_first {
            self.choose_for_round(index);
        }
        // The service decides so many a second; whoever would wait too long is
        // told to come again.
        let start = self.free_at_us.max(at as f64);
        let is_late = start - at as f64 > self.scenario.opening.backlog_ms * 1e3;
        if is_late || self.engine.is_busy() {
            return self.comes_again(index, at);
        }
        self.free_at_us = start + 1e6 / self.scenario.opening.capacity_per_s;
        let party = &mut self.parties[index as usize];
        party.asked = at;
        if at >= 0 {
            party.arrived = party.arrived.min(at);
        }
        if self.last_entry == Some(index) {
            self.last_entry = None;
            self.plan(at.max(self.window_us - insiders::BEFORE_CLOSE_US), What::LastEntry(index));
        } else {
            self.asks(Ticket::Party(index), index, at);
        }
    }

    /// Hands a party's request to the engine.
    fn asks(&mut self, ticket: Ticket, index: u32, at: i64) {
        let party = &self.parties[index as usize];
        let people = party.people(self.salt);
        let mut days = [0; 7];
        for (day, into) in party.days().zip(&mut days) {
            *into = day;
        }
        let collects = matches!(self.arm.returns, ReturnRule::At { .. });
        let eager = party.looks || party.role != Role::Person;
        let wanted = Wanted {
            people: &people[..usize::from(party.size)],
            account: pseudonym(!self.salt, party.account.into()),
            office: party.office,
            days: &days[..usize::from(party.days_given)],
            second: (party.second != party.office).then_some(party.second),
            wait: collects && self.over && eager,
        };
        self.engine.decide(ticket, index, &wanted, at);
        self.attend(at);
    }

    fn change(&mut self, index: u32, kind: ChangeKind, at: i64) {
        if let Some(booking) = self.bookings.get(&index) {
            self.engine.change(Ticket::Nobody, *booking, kind, By::Owner, at);
            self.attend(at);
        }
    }

    /// A block lands, or a moment comes that the engine waits for.
    fn wakes(&mut self, at: i64) {
        // Another moment has taken its place.
        if at != self.wakes_at {
            return;
        }
        self.wakes_at = i64::MAX;
        self.engine.wake(at);
        self.attend(at);
        let closed = at >= self.window_us;
        if self.arm.order == Order::Draw && closed && !self.over && self.engine.is_drawn() {
            self.drawn();
        }
    }

    /// Takes in what the engine did: what is durable first, then what it answers.
    fn attend(&mut self, at: i64) {
        let changes = self.engine.take_changes();
        self.absorb(changes, at);
        for (ticket, answer) in self.engine.take_answers() {
            self.hears(ticket, &answer, at);
        }
        self.plan_wake(at);
    }

    fn plan_wake(&mut self, at: i64) {
        if let Some(next) = self.engine.wake_at(at)
            && next < self.wakes_at
        {
            self.wakes_at = next;
            self.plan(next, What::Wake);
        }
    }

    /// Somebody is told what became of a request.
    fn hears(&mut self, ticket: Ticket, answer: &Answer, at: i64) {
        let index = match ticket {
            Ticket::Party(index) => index,
            // What it is granted is its owner's.
            Ticket::Replayer { .. } if matches!(answer, Answer::Granted(..)) => return,
            Ticket::Replayer { asked } => return self.answered(asked, at),
            Ticket::Nobody => return,
        };
        match answer {
            Answer::Busy => self.comes_again(index, at),
            // Told of by what changed.
            Answer::Granted(..) => {}
            Answer::Settled(Settled::Rejected(rejection, _)) => {
                self.answered(self.party(index).asked, at);
                self.rejected(index, rejection.reason, at);
            }
            _ => self.answered(self.party(index).asked, at),
        }
    }

    /// Somebody was rejected for want of places: whether there was room, by an account
    /// of the bench's own, durable bookings against quotas.
    fn had_room(&self, index: u32) -> bool {
        let party = self.party(index);
        let size = u32::from(party.size);
        slots_of(party, self.scenario)
            .any(|slot| self.live[slot as usize] + size <= self.quota(slot))
    }

    /// Somebody was told `busy`.
    fn comes_again(&mut self, index: u32, at: i64) {
        let after = 100_000 + self.random.below(400_000) as i64;
        self.plan(at + after + i64::from(self.party(index).rtt_us), What::Ask(index));
    }

    fn quota(&self, slot: u32) -> u32 {
        let days = u32::from(self.scenario.offices.days);
        self.scenario.offices.quota_of((slot / days) as usize).into()
    }

    fn answered(&mut self, asked: i64, at: i64) {
        let patience = (self.scenario.people.patience_s * 1e6) as i64;
        self.out.in_time += u64::from(at - asked <= patience);
    }

    fn rejected(&mut self, index: u32, reason: Reason, at: i64) {
        if reason == Reason::SoldOut && !self.returned {
            self.out.undersell += u64::from(self.had_room(index));
        }
        let party = &mut self.parties[index as usize];
        let people = &self.scenario.people;
        let rtt_us = i64::from(party.rtt_us);
        let [from, to] = people.retry_after_s;
        match reason {
            // Attackers planned their requests.
            Reason::NotOpen if party.role != Role::Person => {}
            Reason::NotOpen => {
                let after = self.random.between(from, to) * 1e6;
                self.plan(at + rtt_us + after as i64, What::Ask(index));
            }
            // A draw that has as many entries as it takes is `busy`.
            Reason::SoldOut | Reason::Busy if !self.over => {
                party.tries += 1;
                let (again, after) = match party.role {
                    Role::Person => {
                        (self.random.chance(people.retries), self.random.between(from, to) * 1e6)
                    }
                    Role::Identity | Role::Client => (true, self.random.between(50e3, 200e3)),
                };
                if again && self.party(index).tries < people.most_tries {
                    self.plan(at + rtt_us + after as i64, What::Ask(index));
                } else {
                    self.looks_later(index, at);
                }
            }
            Reason::SoldOut | Reason::Busy => self.looks_later(index, at),
            // Between the close and the end of the draw.
            Reason::Closed if !self.over => self.looks_later(index, at),
            _ => {}
        }
    }

    /// The draw of the opening is over.
    fn drawn(&mut self) {
        self.over = true;
        let Some(seed) = self.engine.draw_seed() else { return };
        let rank = |(_, receipt): &(u32, BookingId)| {
            let rank = order::draw_rank(&seed, &ballot::number(LEDGER, ORDINAL, receipt));
            let high = rank.first_chunk().map_or(0, |b| u64::from_be_bytes(*b));
            high as f64 / 2.0_f64.powi(64)
        };
        self.out.ranks = self.entered.iter().map(rank).collect();
    }
}

/// The slots a party would take, in its order; some perhaps twice.
pub(crate) fn slots_of<'a>(
    party: &'a Party,
    scenario: &'a Scenario,
) -> impl Iterator<Item = u32> + 'a {
    let days = u32::from(scenario.offices.days);
    let own = party.days().map(move |day| u32::from(party.office) * days + u32::from(day));
    let other = (party.second != party.office).then_some(u32::from(party.second) * days);
    own.chain(other.into_iter().flat_map(move |first| first..first + days))
}
