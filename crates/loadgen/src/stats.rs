//! What is kept of those who asked, once they are gone: counts, distributions
//! and a bounded sample.

use std::collections::BTreeMap;

use giliran_fairness::measures::run::same_wish;
use giliran_fairness::measures::{self, Arrival};
use giliran_fairness::population::{Party, Role};
use giliran_fairness::random::Random;
use giliran_fairness::scenario::Scenario;
use giliran_wire::answer::Reason;
use giliran_wire::client_log::SeenBooking;
use hdrhistogram::Histogram;
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::forgers::Forgeries;

/// Most people that order and round trips are judged by: all of them up to here,
/// beyond an even sample.
const SAMPLED: usize = 1 << 20;
/// Most bars of the time series; beyond, two become one.
const MOST_BINS: usize = 960;
/// Their width at first, µs of the scenario.
const FIRST_BIN_US: i64 = 500_000;
/// The first seconds are kept apart, in narrow bars, µs of the scenario.
const RUSH_US: std::ops::Range<i64> = -1_000_000..10_000_000;
const RUSH_BIN_US: i64 = 100_000;
/// Until when a number is held that is not given back by itself, ms.
pub(crate) const FIRM: i64 = i64::MAX;

/// What happened in a stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bin {
    /// Parties that asked for the first time.
    pub came: u64,
    pub requests: u64,
    pub granted: u64,
    /// Rejections that settle it.
    #[serde(rename = "refused")]
    pub rejected: u64,
    /// Answers that tell to come again, and requests that nobody heard.
    pub again: u64,
    /// Free places at its end; none: not known.
    pub free: Option<i64>,
}

/// Bars over time: wider ones, rather than more than there is room for.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) from_us: i64,
    pub(crate) width_us: i64,
    pub(crate) bins: Vec<Bin>,
}

impl Series {
    pub(crate) fn new(from_us: i64) -> Self {
        Self { from_us, width_us: FIRST_BIN_US, bins: Vec::new() }
    }

    fn rush() -> Self {
        Self { from_us: RUSH_US.start, width_us: RUSH_BIN_US, bins: Vec::new() }
    }

    pub(crate) fn at(&mut self, t_us: i64) -> &mut Bin {
        let after = (t_us - self.from_us).max(0);
        while after / self.width_us >= MOST_BINS as i64 {
            self.width_us *= 2;
            let pairs = self.bins.chunks(2).map(|pair| {
                let mut both = pair[0];
                if let Some(second) = pair.get(1) {
                    both.came += second.came;
                    both.requests += second.requests;
                    both.granted += second.granted;
                    both.rejected += second.rejected;
                    both.again += second.again;
                    both.free = second.free.or(both.free);
                }
                both
            });
            self.bins = pairs.collect();
        }
        let bin = (after / self.width_us) as usize;
        if bin >= self.bins.len() {
            self.bins.resize(bin + 1, Bin::default());
        }
        &mut self.bins[bin]
    }
}

/// What became of held bookings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Payments {
    /// Bookings that were granted for so long, until they are paid.
    pub held: u64,
    pub paid: u64,
    /// Whose payment was rejected: it came too late.
    #[serde(rename = "refused")]
    pub rejected: u64,
    /// Whose payment nobody answered.
    pub unanswered: u64,
    /// Whose payment was still to come when the run ended.
    pub later: u64,
    /// That nobody was going to pay.
    pub left: u64,
    /// Of these, seen to have lapsed.
    pub lapsed: u64,
    /// Of these, still held seconds after their time.
    pub overdue: u64,
    /// Places of the paid bookings.
    pub places_paid: u64,
    /// Of these, in scalpers' hands.
    pub scalpers_paid: u64,
}

/// How those of one cohort or attacker fared.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    /// Parties by size, from one.
    pub(crate) applied: [u64; 5],
    pub(crate) won: [u64; 5],
    /// Requests from the opening on, and those that were settled in time.
    pub(crate) requests: u64,
    pub(crate) in_time: u64,
    /// From the intended sending to the answer, µs.
    pub(crate) service: Histogram<u64>,
    /// The way there and back on top.
    pub(crate) felt: Histogram<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Sampled {
    wish: u64,
    at: i64,
    rtt_us: u32,
    won: bool,
}

/// A histogram of µs up to two minutes.
pub(crate) fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, 120_000_000, digits).expect("bounds are right")
}

#[derive(Debug)]
pub(crate) struct RunStats {
    pub(crate) cells: Vec<Cell>,
    cohorts: usize,
    pub(crate) series: Series,
    /// The first seconds alone.
    pub(crate) rush: Series,
    /// Requests sent, lookups included.
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) entered: u64,
    /// Bookings told to those who were not entered before.
    pub(crate) at_once: u64,
    /// Bookings told, each once, and their places.
    pub(crate) bookings: u64,
    pub(crate) places: u64,
    pub(crate) rejected: [u64; Reason::NUMBERS],
    pub(crate) unheard: u64,
    /// No answer in time.
    pub(crate) unanswered: u64,
    pub(crate) second_answers: u64,
    pub(crate) grants: Histogram<u64>,
    pub(crate) rejections: Histogram<u64>,
    pub(crate) confirmations: Histogram<u64>,
    pub(crate) lag: Histogram<u64>,
    sample: Vec<Sampled>,
    seen: u64,
    random: Random,
    /// Places by account, of winners.
    held: FxHashMap<u32, u64>,
    slots: FxHashMap<String, u32>,
    /// Until when each number is held, ms on the engine's clock.
    numbers: FxHashMap<(u32, u16), i64>,
    /// Queue numbers that were told to two bookings at once.
    pub(crate) numbers_twice: u64,
    pub(crate) first_choice: u64,
    pub(crate) winners: u64,
    pub(crate) waited_us: f64,
    pub(crate) by_office: BTreeMap<String, u64>,
    pub(crate) payments: Payments,
    /// Places that scalpers gave back for a client.
    pub(crate) recycled: u64,
    pub(crate) recaptured: u64,
    pub(crate) forgeries: Forgeries,
}

impl RunStats {
    pub(crate) fn new(scenario: &Scenario, from_us: i64, seed: u64) -> Self {
        let cell = Cell {
            applied: [0; 5],
            won: [0; 5],
            requests: 0,
            in_time: 0,
            service: histogram(2),
            felt: histogram(2),
        };
        Self {
            cells: vec![cell; scenario.cohorts.len() + scenario.attackers.len()],
            cohorts: scenario.cohorts.len(),
            series: Series::new(from_us),
            rush: Series::rush(),
            sent: 0,
            answered: 0,
            entered: 0,
            at_once: 0,
            bookings: 0,
            places: 0,
            rejected: [0; Reason::NUMBERS],
            unheard: 0,
            unanswered: 0,
            second_answers: 0,
            grants: histogram(3),
            rejections: histogram(3),
            confirmations: histogram(3),
            lag: histogram(3),
            sample: Vec::new(),
            seen: 0,
            random: Random::new(seed, 7),
            held: FxHashMap::default(),
            slots: FxHashMap::default(),
            numbers: FxHashMap::default(),
            numbers_twice: 0,
            first_choice: 0,
            winners: 0,
            waited_us: 0.0,
            by_office: BTreeMap::new(),
            payments: Payments::default(),
            recycled: 0,
            recaptured: 0,
            forgeries: Forgeries::default(),
        }
    }

    /// Something happened then.
    pub(crate) fn happened(&mut self, t_us: i64, what: impl Fn(&mut Bin)) {
        what(self.series.at(t_us));
        if RUSH_US.contains(&t_us) {
            what(self.rush.at(t_us));
        }
    }

    pub(crate) fn rejections(&self, reason: Reason) -> u64 {
        self.rejected[usize::from(reason.number())]
    }

    /// Queue numbers were told, of a booking that was granted `from` then and is held
    /// `until` then, ms on the engine's clock.
    pub(crate) fn answered(&mut self, seen: &SeenBooking, until: i64, from: i64) {
        let slot = self.slot(seen);
        for number in &seen.numbers {
            let before = self.numbers.insert((slot, *number), until);
            self.numbers_twice += u64::from(before.is_some_and(|before| from < before));
        }
    }

    /// Its queue numbers can be told to others.
    pub(crate) fn given_back(&mut self, seen: &SeenBooking) {
        let slot = self.slot(seen);
        for number in &seen.numbers {
            self.numbers.remove(&(slot, *number));
        }
    }

    fn slot(&mut self, seen: &SeenBooking) -> u32 {
        let slots = self.slots.len() as u32;
        let slot = format!("{}/{}/{}", seen.office, seen.date, seen.session);
        *self.slots.entry(slot).or_insert(slots)
    }

    /// Takes in what came of somebody who will not ask any more.
    pub(crate) fn gone(&mut self, party: &Party) {
        if party.role == Role::Client {
            return;
        }
        let cell = &mut self.cells[usize::from(party.group)];
        let size = usize::from(party.size.clamp(1, 5)) - 1;
        cell.applied[size] += 1;
        cell.won[size] += u64::from(party.won);
        if party.won {
            *self.held.entry(party.account).or_default() += u64::from(party.size);
        }
        if party.role != Role::Person || party.arrived == i64::MAX {
            return;
        }
        let sampled = Sampled {
            wish: same_wish(party),
            at: party.arrived,
            rtt_us: party.rtt_us,
            won: party.won,
        };
        self.seen += 1;
        if self.sample.len() < SAMPLED {
            self.sample.push(sampled);
        } else {
            let at = self.random.below(usize::try_from(self.seen).unwrap_or(usize::MAX));
            if let Some(other) = self.sample.get_mut(at) {
                *other = sampled;
            }
        }
    }

    /// Parties of a cohort or attacker: applied, won.
    pub(crate) fn count(&self, index: usize) -> (u64, u64) {
        let cell = &self.cells[index];
        (cell.applied.iter().sum(), cell.won.iter().sum())
    }

    /// People's parties of these sizes: applied, won.
    pub(crate) fn sizes(&self, sizes: std::ops::Range<usize>) -> (u64, u64) {
        self.cells[..self.cohorts].iter().fold((0, 0), |(applied, won), cell| {
            let of = |counts: &[u64; 5]| counts[sizes.clone()].iter().sum::<u64>();
            (applied + of(&cell.applied), won + of(&cell.won))
        })
    }

    /// Places that those of a cohort or attacker hold.
    pub(crate) fn held_by(&self, index: usize) -> u64 {
        self.cells[index].won.iter().zip(1..).map(|(won, size)| won * size).sum()
    }

    pub(crate) fn inversion(&self) -> Option<f64> {
        let arrivals = self.sample.iter();
        let arrivals = arrivals.map(|s| Arrival { group: s.wish, at: s.at, won: s.won });
        measures::inversion_rate(arrivals.collect())
    }

    pub(crate) fn slope(&self) -> Option<measures::LatencySlope> {
        measures::latency_slope(self.sample.iter().map(|s| (s.rtt_us, s.won)).collect())
    }

    pub(crate) fn concentration(&self) -> Option<measures::Concentration> {
        measures::concentration(self.held.values().copied().collect(), 10)
    }

    pub(crate) fn gini(&self) -> Option<f64> {
        measures::gini(self.held.values().map(|held| *held as f64).collect())
    }

    /// True where order and round trips are judged by a sample.
    pub(crate) fn sampled(&self) -> bool {
        self.seen > self.sample.len() as u64
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use giliran_fairness::population::{ArrivalProcess, Population};
    use giliran_fairness::scenario::shipped;

    #[test]
    fn bars_get_wider_and_lose_nothing() {
        let mut series = Series::new(-10_000_000);
        for t_s in -10..2_000 {
            let bin = series.at(t_s * 1_000_000);
            bin.requests += 1;
            bin.free = Some(3_000 - t_s);
        }
        assert!(series.bins.len() <= MOST_BINS);
        assert_eq!(series.bins.iter().map(|bin| bin.requests).sum::<u64>(), 2_010);
        assert_eq!(series.bins.last().unwrap().free, Some(1_001));
        assert_eq!(series.width_us, 4_000_000);
        assert_eq!(series.bins[3].requests, 4);
        // What comes too early is in the first bar.
        series.at(-20_000_000).came = 1;
        assert_eq!(series.bins[0].came, 1);
    }

    #[test]
    fn the_first_seconds_are_kept_apart() {
        let mut tally = RunStats::new(&shipped("calm").unwrap(), -30_000_000, 1);
        for t_ms in [-2_000, -1_000, -950, 0, 50, 9_999, 10_000] {
            tally.happened(t_ms * 1_000, |bin| bin.requests += 1);
        }
        assert_eq!(tally.series.bins.iter().map(|bin| bin.requests).sum::<u64>(), 7);
        let rush: Vec<u64> = tally.rush.bins.iter().map(|bin| bin.requests).collect();
        assert_eq!((rush.len(), rush[0], rush[10], rush[109]), (110, 2, 2, 1));
    }

    fn party(scenario: &Scenario) -> Party {
        let (_, mut crowd) = ArrivalProcess::new(scenario, &[], 1);
        Party { size: 2, group: 1, ..crowd.next().unwrap().party }
    }

    #[test]
    fn who_is_gone_is_counted_once_by_cohort_and_size() {
        let scenario = shipped("calm").unwrap();
        let mut tally = RunStats::new(&scenario, 0, 1);
        let party = party(&scenario);
        tally.gone(&Party { won: true, arrived: 5, account: 7, ..party });
        tally.gone(&Party { arrived: 4, ..party });
        // Not heard at all, and a recycler's client.
        tally.gone(&Party { size: 1, ..party });
        tally.gone(&Party { role: Role::Client, won: true, ..party });
        assert_eq!(tally.count(1), (3, 1));
        assert_eq!(tally.sizes(0..1), (1, 0));
        assert_eq!(tally.sizes(1..5), (2, 1));
        assert_eq!(tally.held_by(1), 2);
        assert_eq!(tally.inversion(), Some(1.0), "the loser had come first");
        assert_eq!(tally.concentration().unwrap().top, 1.0);
        assert!(!tally.sampled());
    }

    #[test]
    fn a_number_is_told_twice_only_while_it_is_held() {
        let scenario = shipped("calm").unwrap();
        let mut tally = RunStats::new(&scenario, 0, 1);
        let seen = |session: &str, numbers: &[u16]| SeenBooking {
            id: String::new(),
            office: "a".into(),
            date: "2030-01-07".into(),
            session: session.into(),
            numbers: numbers.to_vec(),
        };
        tally.answered(&seen("0800", &[1, 2]), FIRM, 10);
        tally.answered(&seen("1000", &[1, 2]), 50, 10);
        tally.given_back(&seen("0800", &[2]));
        tally.answered(&seen("0800", &[2]), FIRM, 20);
        // A hold that lapsed in time.
        tally.answered(&seen("1000", &[1]), FIRM, 50);
        // A payment for what is held still.
        tally.answered(&seen("1000", &[2]), FIRM, FIRM - 1);
        assert_eq!(tally.numbers_twice, 0);
        tally.answered(&seen("0800", &[1]), FIRM, 60);
        assert_eq!(tally.numbers_twice, 1);
        tally.answered(&seen("1200", &[1]), 90, 60);
        tally.answered(&seen("1200", &[1]), 99, 89);
        assert_eq!(tally.numbers_twice, 2, "it was held still");
    }

    #[test]
    fn a_crowd_is_a_population_that_comes_one_by_one() {
        let scenario = shipped("batam").unwrap();
        let whole = Population::new(&scenario, &[], 3);
        let (attackers, mut crowd) = ArrivalProcess::new(&scenario, &[], 3);
        assert!(attackers.parties.is_empty());
        let all = scenario.people.parties;
        let coming: Vec<_> = crowd.by_ref().collect();
        assert_eq!((coming.len() as u64, crowd.left()), (all, 0));
        assert!(coming.windows(2).all(|two| two[0].sent <= two[1].sent), "in their order");
        // The same distributions, up to chance: of 12,000, three deviations are 164.
        let near = |one: usize, other: usize| assert!(one.abs_diff(other) < 200, "{one}, {other}");
        for to_s in [-29, 0, 5, 20, 60, 120, 300] {
            let within = |at: i64| at < to_s * 1_000_000;
            let streamed = coming.iter().filter(|coming| within(coming.at())).count();
            let mut seen = vec![false; whole.parties.len()];
            let mut planned = 0;
            for (at, index) in &whole.planned {
                if !std::mem::replace(&mut seen[*index as usize], true) && within(*at) {
                    planned += 1;
                }
            }
            near(streamed, planned);
        }
        for size in 1..=5 {
            let of = |party: &&Party| party.size == size;
            near(
                coming.iter().map(|coming| &coming.party).filter(of).count(),
                whole.parties.iter().filter(of).count(),
            );
        }
        let twice = coming.iter().filter(|coming| coming.twice.is_some()).count();
        near(twice, whole.planned.len() - whole.parties.len());
    }
}
