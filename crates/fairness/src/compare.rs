//! Many seeds under every order and returns rule, side by side.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::measures::Measure;
use crate::measures::run::{Group, GroupOutcome, RunMeasures, figures, groups, payoff};
use crate::measures::{Estimate, holm, normal_two_sided};
use crate::progress::Progress;
use crate::resources::{self, Resources};
use crate::scenario::{Attacker, Kind, Scenario};
use crate::simulation::{Arm, run};

/// Parties in a run by which an attacker finds out what pays, at least, unless a
/// plan says otherwise.
pub const PILOT_PARTIES: u64 = 4_000;
/// Where a budget is so small that such a run needs a larger part of the people,
/// that part has so many parties at most,
const PILOT_CROWD: f64 = 20_000.0;
/// or so many times the identities that the budgets buy in it.
const BESIDE: f64 = 20.0;
/// Level of all flags of a comparison together.
pub const LEVEL: f64 = 0.01;

/// What is to be compared.
#[derive(Debug, Clone)]
pub struct Plan {
    pub scenario: Scenario,
    /// Orders and returns rules.
    pub arms: Vec<Arm>,
    pub seeds: u64,
    /// The first of them.
    pub seed: u64,
    pub threads: usize,
    /// Parties in a run by which an attacker finds out what pays, at least.
    pub pilot_parties: u64,
}

/// One column of a comparison.
#[derive(Debug, Clone)]
pub struct ArmResult {
    /// Its order and returns rule.
    pub arm: Arm,
    /// What attackers chose to have.
    pub means: Vec<Resources>,
    /// By [`Measure::ALL`]; none: no run has this figure.
    pub values: Vec<Option<Estimate>>,
    /// Per group of [`Comparison::groups`].
    pub groups: Vec<GroupFigures>,
    /// Success rate by tenth of round trips.
    pub deciles: Vec<Estimate>,
    /// Requests, grants and free places over time, means.
    pub series: [Vec<f64>; 3],
    /// Every run, for the tidy table, by seed.
    pub runs: Vec<RunMeasures>,
}

impl ArmResult {
    /// A measure over the seeds.
    pub fn of(&self, measure: Measure) -> Option<Estimate> {
        self.values[measure.index()]
    }
}

/// How a group fared over the seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupFigures {
    pub rate: Option<Estimate>,
    /// Success against the average.
    pub ratio: Option<Estimate>,
    /// z of all seeds together: Σ z / √n.
    pub z: Option<f64>,
    /// Not even at [`LEVEL`], corrected for the number of groups and orders.
    pub flagged: bool,
}

/// The same people under every order and returns rule.
#[derive(Debug, Clone)]
pub struct Comparison {
    pub scenario: Scenario,
    /// The groups that were looked at.
    pub groups: Vec<Group>,
    /// In the order of the plan's arms.
    pub columns: Vec<ArmResult>,
    pub seeds: Vec<u64>,
    /// Requests decided, over all runs.
    pub requests: u64,
}

/// Carries it out. None: it was asked to stop.
pub fn compare(plan: &Plan, progress: &Progress) -> Option<Comparison> {
    let seeds: Vec<u64> = (0..plan.seeds).map(|i| plan.seed.wrapping_add(i)).collect();
    let choosers = plan.scenario.attackers.iter().filter(|a| a.budget.is_some()).count();
    let pilot = Pilot { parties: plan.pilot_parties, runs: 2, buys: 2.0 };
    let tries = plan.arms.len() * choosers * resources::splits().count() * pilot.runs as usize;
    progress.tries.store(tries, Ordering::Relaxed);
    progress.all.store(plan.arms.len() * seeds.len(), Ordering::Relaxed);
    let means = each(plan.threads, plan.arms.len(), progress, |i| {
        best_means(&plan.scenario, &plan.arms[i], plan.seed, &pilot, progress)
    })?;
    let jobs = plan.arms.len() * seeds.len();
    let runs = each(plan.threads, jobs, progress, |job| {
        // Seed by seed, so that the threads share the long and the short arms.
        let (seed, arm) = (seeds[job / plan.arms.len()], job % plan.arms.len());
        let outcome = run(&plan.scenario, &plan.arms[arm], &means[arm], seed, progress)?;
        let figures = figures(&plan.scenario, outcome);
        progress.done.fetch_add(1, Ordering::Relaxed);
        Some(figures)
    })?;
    let requests = runs.iter().map(|figures| figures.requests).sum();
    let groups = groups(&plan.scenario);
    let mut by_arm: Vec<Vec<RunMeasures>> = plan.arms.iter().map(|_| Vec::new()).collect();
    for (job, figures) in runs.into_iter().enumerate() {
        by_arm[job % plan.arms.len()].push(figures);
    }
    let columns = plan.arms.iter().cloned().zip(means).zip(by_arm);
    let mut columns: Vec<ArmResult> =
        columns.map(|((arm, means), runs)| column(arm, means, runs, groups.len())).collect();
    flag(&groups, &mut columns);
    Some(Comparison { scenario: plan.scenario.clone(), groups, columns, seeds, requests })
}

/// A small copy of a scenario, in which attackers find out what pays.
pub struct Pilot {
    /// So many people stand for all,
    pub parties: u64,
    /// or so many that a quarter of a budget still buys this many of everything.
    pub buys: f64,
    /// How often each split is tried.
    pub runs: u64,
}

/// The smaller copy: people and places, and of each budget as much as still buys
/// everything in quarters.
fn smaller(scenario: &Scenario, pilot: &Pilot) -> Scenario {
    let buys = |attacker: &Attacker| {
        let dearest =
            attacker.identity_price.max(attacker.account_price).max(attacker.connection_price);
        attacker.budget.map(|budget| (4.0 * pilot.buys * dearest / budget, budget))
    };
    let parties = scenario.people.parties as f64;
    let budgets = || scenario.attackers.iter().filter_map(buys);
    let whole = budgets().map(|(factor, _)| factor);
    let whole = whole.fold(pilot.parties as f64 / parties, f64::max).min(1.0);
    // A budget that is small beside the people cannot be made as small as they are.
    // It stands beside fewer of them, where it still is little beside them and does
    // not take every place.
    let identities = scenario.attackers.iter().filter_map(|attacker| {
        let (factor, budget) = buys(attacker)?;
        Some(budget * factor.min(1.0) / attacker.identity_price)
    });
    let identities: f64 = identities.sum();
    let crowd = PILOT_CROWD.max(BESIDE * identities) / parties;
    let most = crowd.max(identities / scenario.offices.places() as f64);
    if whole <= most {
        return scenario.scaled(whole);
    }
    let mut small = scenario.scaled(most);
    for (small, attacker) in small.attackers.iter_mut().zip(&scenario.attackers) {
        let bought = buys(attacker).map(|(factor, budget)| budget * factor.max(most).min(1.0));
        small.budget = bought;
    }
    small
}

/// What attackers with a budget buy under this order. None: it was asked to stop.
pub fn best_means(
    scenario: &Scenario,
    arm: &Arm,
    seed: u64,
    pilot: &Pilot,
    progress: &Progress,
) -> Option<Vec<Resources>> {
    let mut small = smaller(scenario, pilot);
    if scenario.attackers.iter().all(|attacker| attacker.kind != Kind::Recycler) {
        // What they are after is theirs when the window closes.
        small.aftermath.lasts_s = 0.0;
    }
    let found = resources::best(&small, |means| {
        let mut sum = vec![0.0; means.len()];
        for n in 1..=pilot.runs {
            let outcome = run(&small, arm, means, seed ^ (n << 40), progress)?;
            progress.tried.fetch_add(1, Ordering::Relaxed);
            sum.iter_mut().zip(payoff(&outcome)).for_each(|(sum, got)| *sum += got);
        }
        Some(sum)
    })?;
    // The same shares of the whole budget.
    let both = scenario.attackers.iter().zip(&small.attackers).zip(found);
    let means = both.map(|((attacker, small), found)| {
        let same = resources::splits().find(|split| Resources::bought(small, *split) == found);
        match (attacker.budget, same) {
            (Some(_), Some(split)) => Resources::bought(attacker, split),
            _ => Resources::at_first(attacker),
        }
    });
    Some(means.collect())
}

/// Does `work` for each of `0..jobs` on so many threads; results are in the order
/// of the jobs, whoever did them. None: it was asked to stop.
fn each<T: Send>(
    threads: usize,
    jobs: usize,
    progress: &Progress,
    work: impl Fn(usize) -> Option<T> + Sync,
) -> Option<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(jobs));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.max(1)) {
            scope.spawn(|| {
                while !progress.is_stopped() {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    if job >= jobs {
                        break;
                    }
                    let Some(result) = work(job) else { break };
                    if let Ok(mut done) = done.lock() {
                        done.push((job, result));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().ok()?;
    done.sort_unstable_by_key(|(job, _)| *job);
    (done.len() == jobs).then(|| done.into_iter().map(|(_, result)| result).collect())
}

fn column(arm: Arm, means: Vec<Resources>, runs: Vec<RunMeasures>, groups: usize) -> ArmResult {
    let over = |of: &dyn Fn(&RunMeasures) -> Option<f64>| {
        Estimate::over(&runs.iter().filter_map(of).collect::<Vec<f64>>())
    };
    let values = (0..Measure::ALL.len()).map(|i| over(&|figures| figures.values[i])).collect();
    let group = |i: usize| {
        let rate = |fared: &GroupOutcome| crate::measures::share(fared.won, fared.applied);
        let z: Vec<f64> = runs.iter().filter_map(|figures| figures.groups[i].z).collect();
        GroupFigures {
            rate: over(&|figures| rate(&figures.groups[i])),
            ratio: over(&|figures| figures.groups[i].ratio),
            z: (!z.is_empty()).then(|| z.iter().sum::<f64>() / (z.len() as f64).sqrt()),
            flagged: false,
        }
    };
    let deciles =
        (0..10).filter_map(|i| over(&|figures| figures.deciles.get(i).copied())).collect();
    let series = std::array::from_fn(|which| {
        let bins = runs.first().map_or(0, |figures| figures.series[which].len());
        (0..bins)
            .map(|bin| {
                let sum: f64 = runs.iter().map(|figures| figures.series[which][bin]).sum();
                sum / runs.len().max(1) as f64
            })
            .collect()
    });
    let groups = (0..groups).map(group).collect();
    ArmResult { arm, means, values, groups, deciles, series, runs }
}

/// Flags groups that were not served evenly, at [`LEVEL`] for all of them in all
/// columns together.
fn flag(groups: &[Group], columns: &mut [ArmResult]) {
    let mut checks = Vec::new();
    for (c, column) in columns.iter().enumerate() {
        for (g, group) in groups.iter().enumerate() {
            if let Some(z) = column.groups[g].z.filter(|_| group.tested) {
                checks.push(((c, g), normal_two_sided(z)));
            }
        }
    }
    let p_values: Vec<f64> = checks.iter().map(|(_, p)| *p).collect();
    for (((c, g), _), fails) in checks.iter().zip(holm(&p_values, LEVEL)) {
        columns[*c].groups[*g].flagged = fails;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::scenario::{SHIPPED, shipped};

    const PILOT: Pilot = Pilot { parties: PILOT_PARTIES, buys: 2.0, runs: 2 };

    #[test]
    fn scalpers_try_things_out_before_a_crowd_of_bounded_size() {
        for (name, _) in SHIPPED {
            let small = smaller(&shipped(name).unwrap(), &PILOT);
            assert!(small.people.parties <= 20_000, "{name}: {}", small.people.parties);
        }
        let calm = shipped("calm").unwrap();
        assert_eq!(smaller(&calm, &PILOT).people.parties, 1_200, "all of them");
        let mut huge = calm;
        huge.people.parties = 8_000_000;
        huge.offices.quota = vec![65_535];
        let small = smaller(&huge, &PILOT);
        assert_eq!(small.people.parties, 20_000);
        // As scarce as ever, and quarters of the budget still buy something.
        let scarce = |s: &Scenario| s.people.parties as f64 / s.offices.places() as f64;
        assert!((scarce(&small) / scarce(&huge) - 1.0).abs() < 0.01);
        assert_eq!(small.attackers[0].budget, Some(60.0));
        // A second one that is large stays as large beside people as it was.
        let large = Attacker { budget: Some(80_000.0), ..huge.attackers[0].clone() };
        huge.attackers.push(large);
        let small = smaller(&huge, &PILOT);
        assert_eq!(small.people.parties, 20_000);
        assert_eq!(small.attackers[1].budget, Some(200.0));
        // Identities that would take every place are not put before few.
        huge.offices.quota = vec![1];
        huge.attackers.truncate(1);
        assert_eq!(smaller(&huge, &PILOT).people.parties, 8_000_000);
    }
}
