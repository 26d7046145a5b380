//! The measures of one run, by name.

use crate::measures::{self, Arrival};
use crate::population::{Party, Role};
use crate::scenario::Scenario;
use crate::simulation::Outcome;

/// A measure of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is explained by `about`")]
pub enum Measure {
    ScalperShare,
    Inversion,
    LatencyPremium,
    TopTen,
    Hhi,
    GiniAccounts,
    JainCohorts,
    Families,
    FirstChoice,
    WaitS,
    RecycleCapture,
    RecycleFair,
    Waste,
    InTime,
    RankP,
    Oversell,
    Undersell,
    Replayed,
    Forged,
    Requests,
}

impl Measure {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 20] = [
        Self::ScalperShare,
        Self::LatencyPremium,
        Self::Inversion,
        Self::JainCohorts,
        Self::Families,
        Self::TopTen,
        Self::Hhi,
        Self::GiniAccounts,
        Self::RecycleCapture,
        Self::RecycleFair,
        Self::Waste,
        Self::FirstChoice,
        Self::WaitS,
        Self::InTime,
        Self::RankP,
        Self::Oversell,
        Self::Undersell,
        Self::Replayed,
        Self::Forged,
        Self::Requests,
    ];

    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScalperShare => "scalper_share",
            Self::Inversion => "inversion_rate",
            Self::LatencyPremium => "latency_premium",
            Self::TopTen => "top10_share",
            Self::Hhi => "hhi",
            Self::GiniAccounts => "gini_accounts",
            Self::JainCohorts => "jain_cohorts",
            Self::Families => "family_ratio",
            Self::FirstChoice => "first_choice",
            Self::WaitS => "wait_s",
            Self::RecycleCapture => "recycle_capture",
            Self::RecycleFair => "recycle_base",
            Self::Waste => "waste",
            Self::InTime => "answered_in_time",
            Self::RankP => "rank_p",
            Self::Oversell => "oversell",
            Self::Undersell => "undersell",
            Self::Replayed => "booked_again_by_replays",
            Self::Forged => "changed_by_forgers",
            Self::Requests => "requests",
        }
    }

    /// The name for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::ScalperShare => "places in scalpers' hands",
            Self::Inversion => "inversion rate",
            Self::LatencyPremium => "premium of speed",
            Self::TopTen => "ten largest accounts",
            Self::Hhi => "concentration (HHI)",
            Self::GiniAccounts => "Gini over winning accounts",
            Self::JainCohorts => "evenness of cohorts (Jain)",
            Self::Families => "families against singles",
            Self::FirstChoice => "winners with their first choice",
            Self::WaitS => "wait for the result, s",
            Self::RecycleCapture => "recycled places recaptured",
            Self::RecycleFair => "the same, were it a lottery",
            Self::Waste => "places nobody used",
            Self::InTime => "answered in time",
            Self::RankP => "draw's ranks even (p)",
            Self::Oversell => "oversold",
            Self::Undersell => "refused beside a free place",
            Self::Replayed => "booked again by replays",
            Self::Forged => "others' bookings changed",
            Self::Requests => "requests",
        }
    }

    /// What it tells, in a sentence.
    pub const fn about(self) -> &'static str {
        match self {
            Self::ScalperShare => {
                "Share of all places that scalpers hold when the window closes: the size of the \
                 black market."
            }
            Self::Inversion => {
                "Of two parties that wanted the same, one won and one lost: how often the loser \
                 came first. 0 is pure first-come, 50 % a lottery."
            }
            Self::LatencyPremium => {
                "How far the tenth with the fastest connections is ahead of the slowest tenth, \
                 in parts of the average chance. 0: speed buys nothing."
            }
            Self::TopTen => "Share of the granted places that the ten largest accounts hold.",
            Self::Hhi => "Sum of the squared shares of accounts: 1 if one account has everything.",
            Self::GiniAccounts => {
                "Inequality of places among accounts that have some: 0 if all have the same. \
                 Families count as what they are, several people on one account."
            }
            Self::JainCohorts => {
                "Evenness of the success rates of the people's cohorts: 1 if all are the same."
            }
            Self::Families => {
                "Success of parties of two and more over that of single people. Below 1 they are \
                 at a disadvantage: a party needs its places together."
            }
            Self::FirstChoice => {
                "Share of people's winning parties that got the day they like best."
            }
            Self::WaitS => "From a winner's first request to its result, in seconds.",
            Self::RecycleCapture => {
                "Share of the places that scalpers gave back and then got again for a client."
            }
            Self::RecycleFair => {
                "What the line above would be about if all who looked for returned places, scalpers' \
                 clients among them, had the same chance: places that came back over people who \
                 looked, whatever their office."
            }
            Self::Waste => {
                "Places unsold or expired at the end, and those whose people did not come."
            }
            Self::InTime => "Requests that got an answer while somebody was still waiting for it.",
            Self::RankP => {
                "Kolmogorov and Smirnov's p value for the draw's ranks: below 0.001 the draw would \
                 be suspect."
            }
            Self::Oversell => "Places granted beyond a quota, at any moment. Must be 0.",
            Self::Undersell => "Requests refused although a fitting place was free. Must be 0.",
            Self::Replayed => {
                "Places that a request was given a second time because somebody sent it again, also \
                 after they were given back. Must be 0."
            }
            Self::Forged => {
                "Places of bookings that were given back or moved by somebody who is not in them. \
                 Must be 0."
            }
            Self::Requests => "Requests that reached the service.",
        }
    }

    /// True where it is a share, shown in percent.
    pub const fn is_share(self) -> bool {
        matches!(
            self,
            Self::ScalperShare
                | Self::Inversion
                | Self::TopTen
                | Self::FirstChoice
                | Self::RecycleCapture
                | Self::RecycleFair
                | Self::Waste
                | Self::InTime
        )
    }

    /// Its place in [`RunMeasures::values`].
    pub fn index(self) -> usize {
        Self::ALL.iter().position(|measure| *measure == self).unwrap_or(0)
    }
}

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
    /// By [`groups`].
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
    let cohorts = scenario.cohorts.len();
    let quota = scenario.offices.places();
    let parties = || outcome.parties.iter().filter(|party| party.role != Role::Client);
    let people = || parties().filter(|party| usize::from(party.group) < cohorts);
    let count = |of: &mut dyn Iterator<Item = &Party>| {
        of.fold((0_u64, 0_u64), |(applied, won), party| (applied + 1, won + u64::from(party.won)))
    };
    let everybody = count(&mut parties());
    let all_people = count(&mut people());
    let groups: Vec<GroupOutcome> = groups(scenario)
        .iter()
        .map(|group| {
            let of = |party: &&Party| group.holds(scenario, party.group.into(), party.size);
            let (applied, won) = count(&mut parties().filter(of));
            let (all, winners) = if group.kind == "scalper" { everybody } else { all_people };
            let ratio = measures::cohort_ratio(won, applied, winners, all);
            GroupOutcome { applied, won, ratio: ratio.map(|r| r.ratio), z: ratio.map(|r| r.z) }
        })
        .collect();
    let slope = measures::latency_slope(people().map(|p| (p.rtt_us, p.won)).collect());
    let asked = people().filter(|party| party.arrived != i64::MAX);
    let arrivals = asked
        .map(|party| Arrival { group: same_wish(party), at: party.arrived, won: party.won })
        .collect();
    let mut accounts: rustc_hash::FxHashMap<u32, u64> = rustc_hash::FxHashMap::default();
    for party in parties().filter(|party| party.won) {
        *accounts.entry(party.account).or_default() += u64::from(party.size);
    }
    let held: Vec<u64> = accounts.into_values().collect();
    let per_account: Vec<f64> = held.iter().map(|n| *n as f64).collect();
    let concentration = measures::concentration(held, 10);
    let rates: Vec<f64> = groups[..cohorts]
        .iter()
        .filter_map(|fared| measures::share(fared.won, fared.applied))
        .collect();
    let (single, several) = (
        count(&mut people().filter(|party| party.size == 1)),
        count(&mut people().filter(|party| party.size > 1)),
    );
    let rate = |(applied, won)| measures::share(won, applied);
    let families = match (rate(single), rate(several)) {
        (Some(single), Some(several)) if single > 0.0 => Some(several / single),
        _ => None,
    };
    let looking: u64 =
        outcome.parties.iter().filter(|p| p.looks && !p.won).map(|p| u64::from(p.size)).sum();
    let winners = all_people.1;
    let value = |measure| match measure {
        Measure::ScalperShare => measures::scalper_share(outcome.scalped, quota),
        Measure::Inversion => None,
        Measure::LatencyPremium => slope.as_ref().map(|slope| slope.premium),
        Measure::TopTen => concentration.map(|c| c.top),
        Measure::Hhi => concentration.map(|c| c.hhi),
        Measure::GiniAccounts => measures::gini(per_account.clone()),
        Measure::JainCohorts => measures::jain(&rates),
        Measure::Families => families,
        Measure::FirstChoice => measures::share(outcome.first_choice, winners),
        Measure::WaitS => (winners > 0).then(|| outcome.waited_s / winners as f64),
        Measure::RecycleCapture => {
            measures::recycle_capture(outcome.recaptured.min(outcome.recycled), outcome.recycled)
        }
        Measure::RecycleFair => (outcome.recycled > 0).then(|| {
            let asking = outcome.recycled + looking;
            (outcome.came_back as f64 / asking as f64).min(1.0)
        }),
        Measure::Waste => measures::waste(outcome.unused, outcome.no_shows, quota),
        Measure::InTime => measures::answered_in_time(outcome.in_time, outcome.requests),
        Measure::RankP => measures::ks_uniform(outcome.ranks.clone()).map(|u| u.p),
        Measure::Oversell => Some(outcome.oversell as f64),
        Measure::Undersell => Some(outcome.undersell as f64),
        Measure::Replayed => (outcome.replays > 0).then_some(outcome.replayed as f64),
        Measure::Forged => (outcome.forgeries > 0).then_some(outcome.forged as f64),
        Measure::Requests => Some(outcome.requests as f64),
    };
    let mut values: Vec<Option<f64>> = Measure::ALL.iter().map(|measure| value(*measure)).collect();
    values[Measure::Inversion.index()] = measures::inversion_rate(arrivals);
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

    /// Five parties of three cohorts and a scalper, every figure by hand.
    #[test]
    fn a_run_of_six_parties_by_hand() {
        let scenario = shipped("calm").unwrap();
        let any = Population::new(&scenario, &[], 1).parties.swap_remove(0);
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
        let outcome = Outcome {
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
        };
        let run = figures(&scenario, outcome);
        let expected = [
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
