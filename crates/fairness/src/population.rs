//! The people and the attackers of a scenario, from a seed.

use std::ops::Range;

use giliran_wire::Pseudonym;

use crate::random::{Random, mix, sums};
use crate::resources::Resources;
use crate::scenario::{Attacker, Kind, Scenario};

/// No second office, no slot.
pub const NONE: u32 = u32::MAX;
/// The first moments of a sprint, µs.
const SPRINT_US: f64 = 200_000.0;
/// A poller asks so often, and so many times in parallel.
const POLL_US: i64 = 50_000;
const POLL_PARALLEL: usize = 5;
/// It begins so long before the opening.
const POLL_BEFORE_US: i64 = 2_000_000;

/// What a party is to the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// People who need a place.
    Person,
    /// One of an attacker's identities.
    Identity,
    /// Whom a recycler sells to.
    Client,
}

/// One party: who asks together.
#[derive(Debug, Clone)]
pub struct Party {
    /// Number of its first identity; the others follow.
    pub first: u32,
    pub account: u32,
    pub rtt_us: u32,
    /// Acceptable days in order of preference, three bits each, the first lowest.
    pub days: u32,
    pub office: u16,
    /// Also any day at this office; the first one again: none.
    pub second: u16,
    /// Cohort, or cohorts and then attacker.
    pub group: u16,
    pub role: Role,
    pub size: u8,
    pub days_given: u8,
    pub tries: u8,
    /// Its requests get lost, or are turned away before they get to the service.
    pub lost: bool,
    /// Looks for returned places.
    pub looks: bool,
    /// Has asked at a place that is there for the asking: the first time, µs.
    pub arrived: i64,
    /// The last time, µs.
    pub asked: i64,
    /// The slot it has; [`NONE`].
    pub slot: u32,
    /// Won by the end of the window.
    pub won: bool,
    /// Entered into the draw of a running engine.
    pub entered: bool,
}

impl Party {
    pub fn people(&self, salt: u64) -> [Pseudonym; 5] {
        std::array::from_fn(|i| {
            let i = if i < usize::from(self.size) { i as u64 } else { 0 };
            pseudonym(salt, u64::from(self.first) + i)
        })
    }

    /// Its acceptable days, in order.
    pub fn days(&self) -> impl Iterator<Item = u8> + '_ {
        (0..self.days_given).map(|i| (self.days >> (3 * i) & 7) as u8)
    }
}

/// Spread like a real one: keyed by the salt.
pub fn pseudonym(salt: u64, number: u64) -> Pseudonym {
    let (high, low) = (mix(salt ^ number), mix(number.wrapping_add(salt.rotate_left(32))));
    Pseudonym::from_bytes((u128::from(high) << 64 | u128::from(low)).to_le_bytes())
}

/// All who ask, and when they first do.
#[derive(Debug)]
pub struct Population {
    pub parties: Vec<Party>,
    /// Requests that are planned: when they reach the service, and whose. Sorted.
    pub planned: Vec<(i64, u32)>,
    pub insider: Option<Insider>,
    pub salt: u64,
}

/// What an insider chooses among.
#[derive(Debug, Clone)]
pub struct Insider {
    /// Its parties: what it enters.
    pub parties: Range<u32>,
    /// Numbers of all identities that it has at hand.
    pub identities: Range<u32>,
    /// Sets of entries it can try before a draw's close.
    pub tries: u64,
}

/// Somebody who comes, and when.
#[derive(Debug, Clone)]
pub struct PartyArrival {
    pub party: Party,
    /// When its first request is sent, µs from the opening.
    pub sent: i64,
    /// The same request once more, so long after; none: sent once.
    pub twice: Option<i64>,
}

impl PartyArrival {
    /// When its first request reaches the service.
    pub fn at(&self) -> i64 {
        self.sent + i64::from(self.party.rtt_us / 2)
    }
}

impl Population {
    /// The people of this seed, and attackers with these means. The people are
    /// the same whatever the means.
    pub fn new(scenario: &Scenario, means: &[Resources], seed: u64) -> Self {
        let mut making = Making::new(scenario);
        let mut random = Random::new(seed, 1);
        making.parties.reserve(scenario.people.parties as usize);
        making.planned.reserve(scenario.people.parties as usize);
        for _ in 0..scenario.people.parties {
            let coming = making.person(&mut random, |making, random| making.sending(random));
            let (at, twice) = (coming.at(), coming.twice);
            let index = making.add(coming.party, at);
            making.planned.extend(twice.map(|later| (at + later, index)));
        }
        making.attackers(means, seed);
        let Making { parties, mut planned, insider, .. } = making;
        planned.sort_unstable();
        Self { parties, planned, insider, salt: mix(seed) }
    }
}

/// The people of a seed as they come, one after the other: nobody is held who is
/// not there yet.
#[derive(Debug)]
pub struct ArrivalProcess<'a> {
    making: Making<'a>,
    random: Random,
    left: u64,
    /// The share of all sendings that is before the last one.
    passed: f64,
}

impl<'a> ArrivalProcess<'a> {
    /// Attackers with these means, all at once, and the people who come.
    pub fn new(scenario: &'a Scenario, means: &[Resources], seed: u64) -> (Population, Self) {
        let mut making = Making::new(scenario);
        making.attackers(means, seed);
        let parties = std::mem::take(&mut making.parties);
        let mut planned = std::mem::take(&mut making.planned);
        planned.sort_unstable();
        let (left, random) = (scenario.people.parties, Random::new(seed, 1));
        (
            Population { parties, planned, insider: None, salt: mix(seed) },
            Self { making, random, left, passed: 0.0 },
        )
    }

    /// Who have not come yet.
    pub fn left(&self) -> u64 {
        self.left
    }
}

impl Iterator for ArrivalProcess<'_> {
    type Item = PartyArrival;

    /// The next in the order of sending: the smallest of `left` uniform values
    /// above the last one, through the inverse of the distribution.
    fn next(&mut self) -> Option<PartyArrival> {
        if self.left == 0 {
            return None;
        }
        let beyond = (1.0 - self.random.unit()).powf(1.0 / self.left as f64);
        self.passed = 1.0 - (1.0 - self.passed) * beyond;
        self.left -= 1;
        let sent = self.making.sent_at(self.passed);
        Some(self.making.person(&mut self.random, |_, _| sent))
    }
}

#[derive(Debug)]
struct Making<'a> {
    scenario: &'a Scenario,
    offices: Vec<f64>,
    cohorts: Vec<f64>,
    families: Vec<f64>,
    breadth: Vec<f64>,
    /// The share of people who are there before the opening.
    early: f64,
    identities: u32,
    accounts: u32,
    parties: Vec<Party>,
    planned: Vec<(i64, u32)>,
    insider: Option<Insider>,
}

impl<'a> Making<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let people = &scenario.people;
        let zipf = scenario.offices.zipf;
        let offices = (1..=scenario.offices.count).map(|rank| f64::from(rank).powf(-zipf));
        let [from, to] = people.retry_after_s;
        // Early ones refresh until the opening, so that each makes more than one
        // of the requests before it.
        let refreshing = people.early_rate * (from + to) / 2.0;
        let early =
            if people.early_s > 0.0 { refreshing / (people.decay_s + refreshing) } else { 0.0 };
        Self {
            scenario,
            offices: sums(offices),
            cohorts: sums(scenario.cohorts.iter().map(|cohort| cohort.share)),
            families: sums(people.families.iter().copied()),
            breadth: sums(people.acceptable_days.iter().copied()),
            early,
            identities: 0,
            accounts: 0,
            parties: Vec::new(),
            planned: Vec::new(),
            insider: None,
        }
    }

    fn attackers(&mut self, means: &[Resources], seed: u64) {
        let scenario = self.scenario;
        for (i, (attacker, means)) in scenario.attackers.iter().zip(means).enumerate() {
            let mut random = Random::new(seed, 100 + i as u64);
            self.attacker(scenario.cohorts.len() + i, attacker, means, &mut random);
        }
    }

    /// Those who wait come within a refresh of its beginning, so long.
    fn early_within_s(&self) -> f64 {
        let people = &self.scenario.people;
        people.retry_after_s[1].min(people.early_s)
    }

    /// When somebody sends the first request, s.
    fn sending(&self, random: &mut Random) -> f64 {
        let people = &self.scenario.people;
        if random.chance(self.early) {
            -people.early_s + random.between(0.0, self.early_within_s())
        } else {
            random.exponential(people.decay_s)
        }
    }

    /// The moment by which this share has sent, s: the inverse of the distribution
    /// of [`Self::sending`].
    fn sent_at(&self, share: f64) -> f64 {
        let people = &self.scenario.people;
        if share < self.early {
            return -people.early_s + share / self.early * self.early_within_s();
        }
        let rest = (1.0 - share) / (1.0 - self.early);
        -people.decay_s * rest.max(f64::MIN_POSITIVE).ln()
    }

    /// Somebody who comes when `sent` says, s.
    fn person(
        &mut self,
        random: &mut Random,
        sent: impl FnOnce(&Self, &mut Random) -> f64,
    ) -> PartyArrival {
        let people = &self.scenario.people;
        let group = random.pick(&self.cohorts);
        let cohort = &self.scenario.cohorts[group];
        let [from_ms, to_ms] = cohort.rtt_ms;
        let rtt_us = (random.between(from_ms, to_ms) * 1e3) as u32;
        let sent = sent(self, random);
        let size = random.pick(&self.families) as u8 + 1;
        let days = random.pick(&self.breadth) as u8 + 1;
        let second = random.chance(people.second_office);
        let looks = random.chance(self.scenario.aftermath.looks);
        let twice = random.chance(people.duplicates);
        let lost = random.chance(cohort.lost);
        let account = self.accounts;
        self.accounts += 1;
        let party = self.party(group, Role::Person, size, days, second, random);
        let party = Party { rtt_us, account, looks, lost, ..party };
        let sent = (sent * 1e6) as i64;
        let twice = twice && sent + i64::from(rtt_us / 2) >= 0;
        let twice = twice.then(|| random.between(1e3, 200e3) as i64);
        PartyArrival { party, sent, twice }
    }

    fn attacker(
        &mut self,
        group: usize,
        attacker: &Attacker,
        means: &Resources,
        random: &mut Random,
    ) {
        let first_account = self.accounts;
        self.accounts += means.accounts as u32;
        let days = self.scenario.offices.days;
        let connections = means.connections as usize;
        let fast = connections > 0;
        let [from, to] = if fast { attacker.rtt_ms } else { attacker.slow_rtt_ms };
        let (first_party, first_identity) = (self.parties.len() as u32, self.identities);
        let enters = attacker.enters.unwrap_or(means.identities).min(means.identities);
        for i in 0..enters as usize {
            let rtt = random.between(from, to) * 1e3;
            let position = i.checked_div(connections).unwrap_or(0);
            let behind = position as f64 * rtt;
            let sent = match attacker.kind {
                _ if !fast => random.exponential(self.scenario.people.decay_s) * 1e6,
                Kind::Sprinter | Kind::Recycler | Kind::Insider => {
                    random.between(0.0, SPRINT_US).max(behind)
                }
                Kind::Poller => {
                    let phase = random.between(0.0, POLL_US as f64);
                    phase + (position / POLL_PARALLEL) as f64 * POLL_US as f64
                }
                Kind::Hoarder | Kind::Forger | Kind::Replayer => {
                    random.between(0.0, SPRINT_US) + behind
                }
            };
            let party = self.party(group, Role::Identity, 1, days, false, random);
            let account = first_account + (i as u64 % means.accounts.max(1)) as u32;
            let lost = attacker.valid_ids < 1.0 && !random.chance(attacker.valid_ids);
            let index = self.add(
                Party { rtt_us: rtt as u32, account, looks: false, lost, ..party },
                (sent + rtt / 2.0) as i64,
            );
            // A poller's first five of each connection ask from before the opening.
            if fast && attacker.kind == Kind::Poller && position < POLL_PARALLEL {
                let early =
                    (1..=POLL_BEFORE_US / POLL_US).map(|n| (sent as i64 - n * POLL_US, index));
                self.planned.extend(early);
            }
        }
        if attacker.kind == Kind::Insider {
            self.identities = first_identity + means.identities as u32;
            self.insider = Some(Insider {
                parties: first_party..self.parties.len() as u32,
                identities: first_identity..self.identities,
                tries: attacker.tries.unwrap_or(1),
            });
        }
        if attacker.kind == Kind::Recycler {
            for _ in 0..means.identities {
                let party = self.party(group, Role::Client, 1, days, false, random);
                let account = self.accounts;
                self.accounts += 1;
                let rtt_us = (random.between(from, to) * 1e3) as u32;
                // They do not ask of themselves.
                self.parties.push(Party { rtt_us, account, looks: false, ..party });
            }
        }
    }

    fn add(&mut self, party: Party, at: i64) -> u32 {
        let index = self.parties.len() as u32;
        self.parties.push(party);
        self.planned.push((at, index));
        index
    }

    fn party(
        &mut self,
        group: usize,
        role: Role,
        size: u8,
        days: u8,
        second: bool,
        random: &mut Random,
    ) -> Party {
        let offices = self.offices.len();
        let office = random.pick(&self.offices) as u16;
        let other = if second && offices > 1 { random.pick(&self.offices) as u16 } else { office };
        let first = self.identities;
        self.identities += u32::from(size);
        Party {
            first,
            account: 0,
            rtt_us: 0,
            days: some_days(self.scenario.offices.days, days, random),
            office,
            second: other,
            group: group as u16,
            role,
            size,
            days_given: days,
            tries: 0,
            lost: false,
            looks: false,
            arrived: i64::MAX,
            asked: i64::MAX,
            slot: NONE,
            won: false,
            entered: false,
        }
    }
}

/// So many of the days, in random order, three bits each.
fn some_days(all: u8, wanted: u8, random: &mut Random) -> u32 {
    let mut days: [u8; 7] = std::array::from_fn(|i| i as u8);
    let mut packed = 0;
    for i in 0..usize::from(wanted.min(all)) {
        let j = i + random.below(usize::from(all) - i);
        days.swap(i, j);
        packed |= u32::from(days[i]) << (3 * i);
    }
    packed
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::scenario::shipped;

    #[test]
    fn arrivals_have_the_shape_of_an_opening() {
        let scenario = shipped("national").unwrap().scaled(0.1);
        let population = Population::new(&scenario, &[], 3);
        let n = population.parties.len() as f64;
        assert_eq!(n, scenario.people.parties as f64);
        let within = |from: i64, to: i64| {
            let inside = |at: i64| (from * 1_000_000..to * 1_000_000).contains(&at);
            population.planned.iter().filter(|(at, _)| inside(*at)).count() as f64
        };
        // Those who wait refresh every two seconds: half the peak rate needs as
        // many of them as come in a second at the peak.
        let peak = n / (60.0 + 1.0);
        let early = within(-30, 0);
        assert!((early / peak - 1.0).abs() < 0.1, "{early} wait, {peak} a second at the peak");
        let first = within(0, 10);
        let duplicates = 1.05;
        let expected = duplicates * (n - early) * (1.0 - (-10.0_f64 / 60.0).exp());
        assert!((first / expected - 1.0).abs() < 0.05, "{first} in the first 10 s, not {expected}");
        assert_eq!(within(-3_600, -30), 0.0);
    }

    #[test]
    fn days_are_distinct_and_every_order_occurs() {
        let mut random = Random::new(1, 1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..2_000 {
            let packed = some_days(3, 3, &mut random);
            let days: Vec<u32> = (0..3).map(|i| packed >> (3 * i) & 7).collect();
            let mut sorted = days.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2]);
            seen.insert(days);
        }
        assert_eq!(seen.len(), 6);
    }
}
