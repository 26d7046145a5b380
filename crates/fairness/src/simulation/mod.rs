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
use giliran_allocator::{ChangeKind, order};
use giliran_wire::BookingId;
use giliran_wire::answer::Reason;
use giliran_wire::ledger::{Order, ReturnRule};

use crate::compare::Progress;
use crate::population::{Insider, Party, Population, Role, pseudonym};
use crate::random::{Random, mix};
use crate::resources::Resources;
use crate::scenario::Scenario;
use crate::simulation::virtual_engine::{Said, VirtualEngine, Wanted};
pub(crate) use outcome::Outcome;

/// An order and a returns rule: one column of the comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// How requests are ordered.
    pub order: Order,
    /// A public value that nobody knows before the close goes into a draw's seed.
    pub beacon: bool,
    /// When places that come back can be had again.
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
    Opens,
    Land,
    Round(u64),
    Close,
    Ask(u32),
    WindowEnd,
    Confirm(u32),
    Cancel(u32),
    Probe(u32),
    /// A replayer or forger sends its next one.
    Forged(u32),
    /// Time brings something by itself.
    Due,
}

pub(crate) struct Run<'a> {
    scenario: &'a Scenario,
    arm: &'a Arm,
    desk: VirtualEngine,
    parties: Vec<Party>,
    insider: Option<Insider>,
    forgeries: Forgeries,
    salt: u64,
    /// Ordered by time, then by when it was planned: deterministic.
    queue: BinaryHeap<Reverse<(i64, u64, What)>>,
    planned: u64,
    random: Random,
    waiting: Vec<u32>,
    /// Requests of the round or draw that is being collected.
    collected: Vec<u32>,
    round: Option<u64>,
    round_key: [u8; 32],
    bookings: HashMap<u32, BookingId>,
    live: Vec<u32>,
    /// Per attacker: identities without a place, or a recycler's clients that
    /// nothing was given back for yet.
    hungry: Vec<VecDeque<u32>>,
    /// Per attacker: clients whose place somebody else got first.
    unserved: Vec<VecDeque<u32>>,
    window_us: i64,
    end_us: i64,
    due_at: i64,
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
    told: u64,
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
        let desk = VirtualEngine::new(scenario, &arm.returns, seed);
        let slots = usize::from(scenario.offices.count) * usize::from(scenario.offices.days);
        let Population { parties, planned, insider, salt } = population;
        let mut random = Random::new(seed, 3);
        let mut run = Self {
            scenario,
            arm,
            desk,
            insider,
            forgeries: Forgeries::new(mix(salt)),
            salt,
            queue: BinaryHeap::with_capacity(planned.len() + 16),
            planned: 0,
            waiting: Vec::new(),
            collected: Vec::new(),
            round: None,
            round_key: random.bytes(),
            random,
            bookings: HashMap::new(),
            live: vec![0; slots],
            hungry: vec![VecDeque::new(); scenario.attackers.len()],
            unserved: vec![VecDeque::new(); scenario.attackers.len()],
            window_us,
            end_us,
            due_at: i64::MAX,
            free_at_us: f64::MIN,
            over: false,
            returned: false,
            first_asked: vec![i64::MAX; parties.len()],
            out: Outcome::none(scenario.attackers.len()),
            parties,
            progress,
            steps: 0,
            told: 0,
            stopped: false,
        };
        run.choose_for_rounds(&planned);
        run.plan_forgeries();
        run.plan(0, What::Opens);
        run.plan(window_us, What::Close);
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
        let new = self.out.requests - std::mem::replace(&mut self.told, self.out.requests);
        self.progress.requests.fetch_add(new, Ordering::Relaxed);
        self.stopped |= self.progress.is_stopped();
    }

    /// All of it. None: it was asked to stop.
    pub(crate) fn through(mut self) -> Option<Outcome> {
        while let Some(Reverse((at, _, what))) = self.queue.pop() {
            if !self.goes_on() {
                return None;
            }
            if at > self.end_us + LAST_DRAW_US {
                break;
            }
            match what {
                What::Opens => self.desk.open(at),
                What::Land => self.land(at),
                What::Round(number) => self.end_round(number, at),
                What::Close => self.close(at),
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
                What::Due => self.due(at),
            }
        }
        self.tell();
        (!self.stopped).then(|| self.judged())
    }

    /// Opens and decides these parties in this order, as a draw does.
    #[cfg(test)]
    pub(crate) fn open_and_decide(&mut self, line: Vec<usize>) {
        self.desk.open(0);
        self.decide_in_line(line.into_iter().map(|i| i as u32).collect(), 0);
    }

    #[cfg(test)]
    pub(crate) fn parties(&self) -> &[Party] {
        &self.parties
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
        *first = (*first).min(at.max(0));
        // The service decides so many a second; whoever would wait too long is
        // told to come again.
        let start = self.free_at_us.max(at as f64);
        if start - at as f64 > self.scenario.opening.backlog_ms * 1e3 {
            let after = 100_000 + self.random.below(400_000) as i64;
            self.plan(at + after + i64::from(self.party(index).rtt_us), What::Ask(index));
            return;
        }
        self.free_at_us = start + 1e6 / self.scenario.opening.capacity_per_s;
        if at < 0 {
            self.asks(index, at);
            return;
        }
        let party = &mut self.parties[index as usize];
        party.arrived = party.arrived.min(at);
        party.asked = at;
        match self.arm.order {
            Order::FirstCome => self.asks(index, at),
            Order::Rounds { length_ms } => {
                let length_us = length_ms.max(1) as i64 * 1_000;
                let number = (at / length_us) as u64;
                if self.round != Some(number) {
                    self.round = Some(number);
                    let ends = (number as i64 + 1) * length_us;
                    // At the close at the latest, as in the engine; whoever comes
                    // after it looks for what comes back, in rounds like these.
                    let ends = if at < self.window_us { ends.min(self.window_us) } else { ends };
                    self.plan(ends, What::Round(number));
                }
                self.collected.push(index);
            }
            Order::Draw if !self.over => {
                self.answered(at, at);
                let party = &mut self.parties[index as usize];
                if !std::mem::replace(&mut party.entered, true) {
                    self.collected.push(index);
                }
            }
            Order::Draw => self.asks(index, at),
        }
    }

    /// Decided at once.
    fn asks(&mut self, index: u32, at: i64) {
        match self.decide(index, at) {
            Said::Granted => self.send(at),
            Said::Entering => {
                self.answered(at, at);
                self.send(at);
            }
            Said::Wait => {
                self.waiting.push(index);
                self.send(at);
            }
            Said::Known => self.answered(self.party(index).asked.min(at), at),
            Said::Refused(reason) => {
                self.answered(self.party(index).asked.min(at), at);
                self.refused(index, reason, at);
            }
        }
    }

    fn decide(&mut self, index: u32, at: i64) -> Said {
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
        let said = self.desk.decide(index, &wanted, at);
        if said == Said::Refused(Reason::SoldOut) && !self.returned {
            // By an account of its own: durable bookings against quotas.
            let size = u32::from(party.size);
            let room = slots_of(party, self.scenario)
                .any(|slot| self.live[slot as usize] + size <= self.quota(slot));
            self.out.undersell += u64::from(room);
        }
        said
    }

    fn quota(&self, slot: u32) -> u32 {
        let days = u32::from(self.scenario.offices.days);
        self.scenario.offices.quota_of((slot / days) as usize).into()
    }

    fn answered(&mut self, asked: i64, at: i64) {
        let patience = (self.scenario.people.patience_s * 1e6) as i64;
        self.out.in_time += u64::from(at - asked <= patience);
    }

    fn refused(&mut self, index: u32, reason: Reason, at: i64) {
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
            Reason::SoldOut if !self.over => {
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
            Reason::SoldOut => self.looks_later(index, at),
            _ => {}
        }
    }

    fn send(&mut self, at: i64) {
        if self.desk.lands_at().is_none() {
            self.desk.send(at);
            if let Some(lands) = self.desk.lands_at() {
                self.plan(lands, What::Land);
            }
        }
    }

    fn land(&mut self, at: i64) {
        if self.desk.lands_at() != Some(at) {
            return;
        }
        let changes = self.desk.land();
        self.absorb(changes, at);
        // Those who had to wait, in the order they came.
        let waiting = std::mem::take(&mut self.waiting);
        for index in waiting {
            self.asks(index, at);
        }
        self.send(at);
        self.plan_due(at);
    }

    fn plan_due(&mut self, at: i64) {
        if let Some(next) = self.desk.next_return() {
            let next = next.max(at);
            if self.due_at <= at || next < self.due_at {
                self.due_at = next;
                self.plan(next, What::Due);
            }
        }
    }

    fn due(&mut self, at: i64) {
        if at != self.due_at {
            return;
        }
        self.due_at = i64::MAX;
        if let Some(lands) = self.desk.lands_at() {
            self.due_at = lands + 1;
            self.plan(lands + 1, What::Due);
            return;
        }
        let changes = self.desk.draws(at);
        self.absorb(changes, at);
        self.send(at);
        // What is due without being done would be due for ever.
        if self.desk.lands_at().is_none() && self.desk.next_return().is_none_or(|next| next > at) {
            self.plan_due(at);
        }
    }

    fn change(&mut self, index: u32, kind: ChangeKind, at: i64) {
        if let Some(booking) = self.bookings.get(&index) {
            self.desk.change(*booking, kind, true);
            self.send(at);
        }
    }

    fn end_round(&mut self, number: u64, at: i64) {
        let collected = std::mem::take(&mut self.collected);
        self.round = None;
        let line = self.line_of(number, &collected);
        self.decide_in_line(line, at);
    }

    /// Those who were collected in a round, in its order.
    pub(crate) fn line_of(&self, number: u64, collected: &[u32]) -> Vec<u32> {
        let people: Vec<_> =
            collected.iter().map(|index| self.party(*index).people(self.salt)).collect();
        let parties = collected.iter().zip(&people);
        let parties =
            parties.map(|(index, people)| &people[..usize::from(self.party(*index).size)]);
        let line = order::round_order(&self.round_key, number, parties);
        line.into_iter().map(|i| collected[i]).collect()
    }

    fn close(&mut self, at: i64) {
        if self.arm.order == Order::Draw {
            let entered = std::mem::take(&mut self.collected);
            let receipts: Vec<BookingId> =
                entered.iter().map(|_| BookingId::from_random(self.random.wide())).collect();
            let secret = self.random.bytes();
            // Without an insider any random seed is as good, and any number.
            let (numbers, seed) = match self.insider.clone() {
                Some(insider) => self.chosen_draw(&insider, &entered, &receipts, &secret),
                None => (receipts, secret),
            };
            self.out.ranks = numbers
                .iter()
                .map(|number| {
                    let rank = order::draw_rank(&seed, number);
                    let high = rank.first_chunk().map_or(0, |b| u64::from_be_bytes(*b));
                    high as f64 / 2.0_f64.powi(64)
                })
                .collect();
            let line = order::draw_order(&seed, &numbers);
            let line = line.into_iter().map(|i| entered[i]).collect();
            self.decide_in_line(line, at);
            self.over = true;
        }
        // All rounds have ended, too.
        self.desk.close();
        self.send(at);
        self.plan(at + 1_000_000, What::WindowEnd);
    }

    /// Decides a round or a draw: in order, all of it durable before the first
    /// answer.
    fn decide_in_line(&mut self, mut line: Vec<u32>, at: i64) {
        let changes = self.desk.settle_all(at);
        self.absorb(changes, at);
        let answered_at = at + (self.scenario.opening.commit_ms * 1e3) as i64;
        let mut refusals = Vec::new();
        while !line.is_empty() {
            let mut undecided = Vec::new();
            let before = line.len();
            for index in line {
                if !self.goes_on() {
                    return;
                }
                match self.decide(index, at) {
                    Said::Granted => {}
                    Said::Entering => self.answered(self.party(index).asked, answered_at),
                    Said::Wait => undecided.push(index),
                    Said::Known => self.answered(self.party(index).asked, answered_at),
                    Said::Refused(reason) => refusals.push((index, reason)),
                }
            }
            let changes = self.desk.settle_all(at);
            self.absorb(changes, answered_at);
            debug_assert!(undecided.len() < before || before == 0, "somebody waits for nothing");
            if undecided.len() == before {
                break;
            }
            line = undecided;
        }
        for (index, reason) in refusals {
            if self.arm.order != Order::Draw || self.over {
                self.answered(self.party(index).asked, answered_at);
            }
            if self.arm.order == Order::Draw && !self.over {
                self.looks_later(index, answered_at);
            } else {
                self.refused(index, reason, answered_at);
            }
        }
        self.plan_due(answered_at);
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
