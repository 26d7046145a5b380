//! The measures of one run, by name.

use crate::measures::{self, Arrival, Measure};
use crate::population::{Party, Role};
use crate::scenario::Scenario;
use crate::simulation::Outcome;

/// How many of the largest accounts are looked at together.
const LARGEST: usize = 10;

/// A group of those who asked, and how it fared.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GroupOutcome {
    pub applied: u64,
    pub won: u64,
    /// Success against the average, and z; see [`measures::cohort_ratio`].
    pub ratio: Option<f64>,
    /// Standard deviations from an even hand.
    pub z: Option<f64>,
}

/// What a run comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct RunMeasures {
    /// By [`Measure::ALL`]; none: there is no such figure in this run.
    pub values: Vec<Option<f64>>,
    /// What each group of people came to, in the order of [`groups`].
    pub groups: Vec<GroupOutcome>,
    /// Success rate by tenth of people's round trips.
    pub deciles: Vec<f64>,
    /// Requests, grants, and free places, by five seconds from 30 s before.
    pub series: [Vec<f64>; 3],
    /// Requests that reached the service.
    pub requests: u64,
    /// What each attacker got.
    pub payoff: Vec<f64>,
    /// Requests that were sent again, and forged cancellations and moves.
    pub tried: [u64; 2],
}

/// A group that is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// `cohort`, `channel`, `device`, `party of` or `nats`.
    pub kind: &'static str,
    pub name: String,
    /// Whether an even hand gives it the average: then it is tested. Party sizes
    /// and scalpers want something else than the average, and are only shown.
    pub tested: bool,
}

impl Group {
    /// Whether a party of this size is in it that is of this cohort, or, from their
    /// number on, of this attacker.
    pub fn holds(&self, scenario: &Scenario, index: usize, size: u8) -> bool {
        let cohort = scenario.cohorts.get(index);
        match self.kind {
            "cohort" => cohort.is_some_and(|c| c.name == self.name),
            "channel" => cohort.is_some_and(|c| c.channel == self.name),
            "device" => cohort.is_some_and(|c| c.device == self.name),
            "scalper" => {
                let attacker = index.checked_sub(scenario.cohorts.len());
                attacker.is_some_and(|i| scenario.attackers[i].name == self.name)
            }
            _ => cohort.is_some() && size.to_string() == self.name,
        }
    }
}

/// The groups of a scenario. The people's are compared with all people, scalpers
/// with everybody.
pub fn groups(scenario: &Scenario) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut add = |kind, name: &str, tested| {
        let group = Group { kind, name: name.to_owned(), tested };
        if !groups.contains(&group) {
            groups.push(group);
        }
    };
    for cohort in &scenario.cohorts {
        add("cohort", &cohort.name, true);
    }
    for cohort in &scenario.cohorts {
        add("channel", &cohort.channel, true);
    }
    for cohort in &scenario.cohorts {
        add("device", &cohort.device, true);
    }
    for size in 1..=scenario.people.families.len() {
        add("party of", &size.to_string(), false);
    }
    for attacker in &scenario.attackers {
        add("scalper", &attacker.name, false);
    }
    groups
}

/// Whom pairs of [`Measure::Inversion`] are compared within: those who want the
/// same slots, for as many people.
pub fn same_wish(party: &Party) -> u64 {
    let days: u64 = party.days().map(|day| 1 << day).sum();
    u64::from(party.office)
        | u64::from(party.second) << 16
        | days << 32
        | u64::from(party.size) << 40
}

pub fn figures(scenario: &Scenario, outcome: Outcome) -> RunMeasures {
    let judged = Judged { scenario, outcome: &outcome };
    let groups = judged.groups();
    let slope = judged.people().map(|party| (party.rtt_us, party.won)).collect();
    let slope = measures::latency_slope(slope);
    let premium = slope.as_ref().map(|slope| slope.premium);
    let values = judged.values(&groups, premium);
    let float = |counts: &[u64]| counts.iter().map(|n| *n as f64).collect();
    RunMeasures {
        values,
        groups,
        deciles: slope.map(|slope| slope.by_decile).unwrap_or_default(),
        series: [float(&outcome.arrivals), float(&outcome.grants), outcome.free],
        requests: outcome.requests,
        payoff: outcome.payoff,
        tried: [outcome.replays, outcome.forgeries],
    }
}

/// A run that is over, and who was in it.
struct Judged<'a> {
    scenario: &'a Scenario,
    outcome: &'a Outcome,
}

/// Parties, and those of them that won.
fn count<'a>(parties: impl Iterator<Item = &'a Party>) -> (u64, u64) {
    parties.fold((0, 0), |(applied, won), party| (applied + 1, won + u64::from(party.won)))
}

impl<'a> Judged<'a> {
    fn parties(&self) -> impl Iterator<Item = &'a Party> {
        self.outcome.parties.iter().filter(|party| party.role != Role::Client)
    }

    fn people(&self) -> impl Iterator<Item = &'a Party> {
        let cohorts = self.scenario.cohorts.len();
        self.parties().filter(move |party| usize::from(party.group) < cohorts)
    }

    fn groups(&self) -> Vec<GroupOutcome> {
        let (everybody, all_people) = (count(self.parties()), count(self.people()));
        let fared = |group: &Group| {
            let of = |party: &&Party| group.holds(self.scenario, party.group.into(), party.size);
            let (applied, won) = count(self.parties().filter(of));
            let (all, winners) = if group.kind == "scalper" { everybody } else { all_people };
            let ratio = measures::cohort_ratio(won, applied, winners, all);
            GroupOutcome { applied, won, ratio: ratio.map(|r| r.ratio), z: ratio.map(|r| r.z) }
        };
        groups(self.scenario).iter().map(fared).collect()
    }

    /// By [`Measure::ALL`]; none: there is no such figure in this run.
    fn values(&self, groups: &[GroupOutcome], premium: Option<f64>) -> Vec<Option<f64>> {
        let outcome = self.outcome;
        let quota = self.scenario.offices.places();
        let (people, winners) = count(self.people());
        let held = self.held();
        let per_account: Vec<f64> = held.iter().map(|n| *n as f64).collect();
        let concentration = measures::concentration(held, LARGEST);
        let value = |measure| match measure {
            Measure::HonestChance => measures::share(winners, people),
            Measure::ScalperShare => measures::scalper_share(outcome.scalped, quota),
            Measure::Inversion => self.inversion(),
            Measure::LatencyPremium => premium,
            Measure::TopTen => concentration.map(|c| c.top),
            Measure::Hhi => concentration.map(|c| c.hhi),
            Measure::GiniAccounts => measures::gini(per_account.clone()),
            Measure::JainCohorts => self.jain(groups),
            Measure::Families => self.families(),
            Measure::FirstChoice => measures::share(outcome.first_choice, winners),
            Measure::WaitS => (winners > 0).then(|| outcome.waited_s / winners as f64),
            Measure::RecycleCapture => measures::recycle_capture(
                outcome.recaptured.min(outcome.recycled),
                outcome.recycled,
            ),
            Measure::RecycleFair => self.recaptured_by_lot(),
            Measure::Waste => measures::waste(outcome.unused, outcome.no_shows, quota),
            Measure::InTime => measures::answered_in_time(outcome.in_time, outcome.requests),
            Measure::RankP => measures::ks_uniform(outcome.ranks.clone()).map(|u| u.p),
            Measure::Oversell => Some(outcome.oversell as f64),
            Measure::Undersell => Some(outcome.undersell as f64),
            Measure::Replayed => (outcome.replays > 0).then_some(outcome.replayed as f64),
            Measure::Forged => (outcome.forgeries > 0).then_some(outcome.forged as f64),
            Measure::Requests => Some(outcome.requests as f64),
        };
        Measure::ALL.into_iter().map(value).collect()
    }

    fn inversion(&self) -> Option<f64> {
        let asked = self.people().filter(|party| party.arrived != i64::MAX);
        let arrival =
            |party: &Party| Arrival { group: same_wish(party), at: party.arrived, won: party.won };
        measures::inversion_rate(asked.map(arrival).collect())
    }

    /// Places of each account that has some.
    fn held(&self) -> Vec<u64> {
        let mut accounts: rustc_hash::FxHashMap<u32, u64> = rustc_hash::FxHashMap::default();
        for party in self.parties().filter(|party| party.won) {
            *accounts.entry(party.account).or_default() += u64::from(party.size);
        }
        accounts.into_values().collect()
    }

    fn jain(&self, groups: &[GroupOutcome]) -> Option<f64> {
        let cohorts = &groups[..self.scenario.cohorts.len()];
        let rates = cohorts.iter().filter_map(|fared| measures::share(fared.won, fared.applied));
        measures::jain(&rates.collect::<Vec<f64>>())
    }

    fn families(&self) -> Option<f64> {
        let rate = |several: bool| {
            let (applied, won) = count(self.people().filter(|party| (party.size > 1) == several));
            measures::share(won, applied)
        };
        let (single, several) = (rate(false)?, rate(true)?);
        (single > 0.0).then(|| several / single)
    }

    /// Places that came back over people who looked for them, at most 1: what recyclers
    /// would win back if a lot decided ([`Measure::RecycleFair`]). None: there are none.
    fn recaptured_by_lot(&self) -> Option<f64> {
        let outcome = self.outcome;
        let looking = outcome.parties.iter().filter(|party| party.looks && !party.won);
        let looking: u64 = looking.map(|party| u64::from(party.size)).sum();
        let asking = outcome.recycled + looking;
        (outcome.recycled > 0).then(|| (outcome.came_back as f64 / asking as f64).min(1.0))
    }
}

/// What every attacker got, without the rest.
pub fn payoff(outcome: &Outcome) -> Vec<f64> {
    outcome.payoff.clone()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::population::Population;
    use crate::scenario::shipped;

    /// Five parties of three cohorts and a scalper.
    fn six_parties(scenario: &Scenario) -> Outcome {
        let any = Population::new(scenario, &[], 1).parties.swap_remove(0);
        // Cohort, size, won, account, looks, arrived.
        let people = [
            (0, 1, true, 1, false, 20),
            (0, 1, false, 3, true, 10),
            (1, 2, true, 2, false, 5),
            (1, 3, false, 4, true, 6),
            (2, 1, false, 5, false, 30),
        ];
        let party = |(group, size, won, account, looks, arrived)| Party {
            group,
            size,
            won,
            account,
            looks,
            arrived,
            ..any.clone()
        };
        let mut parties: Vec<Party> = people.map(party).to_vec();
        parties.push(Party { role: Role::Identity, ..party((3, 1, true, 9, false, 0)) });
        Outcome {
            parties,
            requests: 8,
            in_time: 7,
            undersell: 2,
            scalped: 1,
            unused: 10,
            no_shows: 2,
            recycled: 4,
            recaptured: 3,
            came_back: 5,
            replays: 5,
            waited_s: 9.0,
            first_choice: 1,
            ..Outcome::none(1)
        }
    }

    /// Every figure by hand.
    #[test]
    fn a_run_of_six_parties_by_hand() {
        let scenario = shipped("calm").unwrap();
        let outcome = six_parties(&scenario);
        let run = figures(&scenario, outcome);
        let expected = [
            // Of five parties of people; the scalper is none of them.
            (Measure::HonestChance, Some(0.4)),
            (Measure::ScalperShare, Some(1.0 / 2_400.0)),
            // Fewer than ten people have no tenths.
            (Measure::LatencyPremium, None),
            // Singles: the winner at 20 against losers at 10 and 30.
            (Measure::Inversion, Some(0.5)),
            // Rates ½, ½ and 0: 1² / (3 · ½).
            (Measure::JainCohorts, Some(2.0 / 3.0)),
            // ½ of the families, ⅓ of the singles.
            (Measure::Families, Some(1.5)),
            (Measure::TopTen, Some(1.0)),
            // Places 1, 2 and 1: 1/16 + 1/4 + 1/16; Gini (−2 + 0 + 4) / (3 · 4).
            (Measure::Hhi, Some(0.375)),
            (Measure::GiniAccounts, Some(1.0 / 6.0)),
            (Measure::RecycleCapture, Some(0.75)),
            // Five came back; four clients and four people look.
            (Measure::RecycleFair, Some(0.625)),
            (Measure::Waste, Some(12.0 / 2_400.0)),
            (Measure::FirstChoice, Some(0.5)),
            (Measure::WaitS, Some(4.5)),
            (Measure::InTime, Some(0.875)),
            (Measure::RankP, None),
            (Measure::Oversell, Some(0.0)),
            (Measure::Undersell, Some(2.0)),
            (Measure::Replayed, Some(0.0)),
            (Measure::Forged, None),
            (Measure::Requests, Some(8.0)),
        ];
        assert_eq!(expected.map(|(measure, _)| measure), Measure::ALL);
        for (measure, value) in expected {
            let got = run.values[measure.index()];
            let same = match (got, value) {
                (Some(got), Some(value)) => (got - value).abs() < 1e-12,
                (got, value) => got == value,
            };
            assert!(same, "{measure:?}: {got:?}, by hand {value:?}");
        }
        // The scalper's one of one against three of six.
        let groups = groups(&scenario);
        let scalper = groups.iter().position(|group| group.kind == "scalper").unwrap();
        assert_eq!(run.groups[scalper].ratio, Some(2.0));
        let family = groups.iter().position(|g| g.kind == "party of" && g.name == "2").unwrap();
        assert_eq!((run.groups[family].applied, run.groups[family].won), (1, 1));
    }
}
