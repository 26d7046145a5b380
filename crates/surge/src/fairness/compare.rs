//! Many seeds under every order and returns rule, side by side.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::attack::{self, Means};
use super::figures::{Fared, Figures, Group, Measure, figures, groups, payoff};
use super::measures::{Estimate, holm, normal_two_sided};
use super::run::{Arm, run};
use super::scenario::{Kind, Scenario};

/// Parties in a run by which an attacker finds out what pays, at least, unless a
/// plan says otherwise.
pub const PILOT_PARTIES: u64 = 4_000;
/// Level of all flags of a comparison together.
pub const LEVEL: f64 = 0.01;

/// What is to be compared.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Who asks.
    pub scenario: Scenario,
    /// Orders and returns rules.
    pub arms: Vec<Arm>,
    /// How many seeds.
    pub seeds: u64,
    /// The first of them.
    pub seed: u64,
    /// Threads to use.
    pub threads: usize,
    /// Parties in a run by which an attacker finds out what pays, at least.
    pub pilot_parties: u64,
}

/// How far a comparison is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Runs done, pilots included.
    pub done: AtomicUsize,
    /// Runs in all.
    pub all: AtomicUsize,
    /// Requests decided.
    pub requests: AtomicUsize,
    /// Set: stop after the runs that are on.
    pub stop: AtomicBool,
}

/// One column of a comparison.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its order and returns rule.
    pub arm: Arm,
    /// What attackers chose to have.
    pub means: Vec<Means>,
    /// By [`Measure::ALL`]; none: no run has this figure.
    pub values: Vec<Option<Estimate>>,
    /// Per group of [`Comparison::groups`].
    pub groups: Vec<GroupFigures>,
    /// Success rate by tenth of round trips.
    pub deciles: Vec<Estimate>,
    /// Requests, grants and free places over time, means.
    pub series: [Vec<f64>; 3],
    /// Every run, for the tidy table, by seed.
    pub runs: Vec<Figures>,
}

impl Column {
    /// A measure over the seeds.
    pub fn of(&self, measure: Measure) -> Option<Estimate> {
        self.values[measure.index()]
    }
}

/// How a group fared over the seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupFigures {
    /// Success rate.
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
    /// Who asked.
    pub scenario: Scenario,
    /// The groups that were looked at.
    pub groups: Vec<Group>,
    /// In the order of the plan's arms.
    pub columns: Vec<Column>,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Requests decided, over all runs.
    pub requests: u64,
}

/// Carries it out. None: it was asked to stop.
pub fn compare(plan: &Plan, progress: &Progress) -> Option<Comparison> {
    let seeds: Vec<u64> = (0..plan.seeds).map(|i| plan.seed.wrapping_add(i)).collect();
    let choosers = plan.scenario.attackers.iter().filter(|a| a.budget.is_some()).count();
    let pilots = if choosers > 0 { plan.arms.len() } else { 0 };
    progress.all.store(pilots + plan.arms.len() * seeds.len(), Ordering::Relaxed);
    let means = each(plan.threads, plan.arms.len(), progress, |i| {
        let pilot = Pilot { parties: plan.pilot_parties, runs: 2, buys: 2.0 };
        let means = best_means(&plan.scenario, &plan.arms[i], plan.seed, &pilot);
        (means, choosers > 0, 0)
    })?;
    let jobs = plan.arms.len() * seeds.len();
    let runs = each(plan.threads, jobs, progress, |job| {
        // Seed by seed, so that the threads share the long and the short arms.
        let (seed, arm) = (seeds[job / plan.arms.len()], job % plan.arms.len());
        let outcome = run(&plan.scenario, &plan.arms[arm], &means[arm], seed);
        let figures = figures(&plan.scenario, outcome);
        let requests = figures.requests as usize;
        (figures, true, requests)
    })?;
    let requests = runs.iter().map(|figures| figures.requests).sum();
    let groups = groups(&plan.scenario);
    let mut by_arm: Vec<Vec<Figures>> = plan.arms.iter().map(|_| Vec::new()).collect();
    for (job, figures) in runs.into_iter().enumerate() {
        by_arm[job % plan.arms.len()].push(figures);
    }
    let columns = plan.arms.iter().cloned().zip(means).zip(by_arm);
    let mut columns: Vec<Column> =
        columns.map(|((arm, means), runs)| column(arm, means, runs, groups.len())).collect();
    flag(&groups, &mut columns);
    Some(Comparison { scenario: plan.scenario.clone(), groups, columns, seeds, requests })
}

/// A small copy of a scenario, in which attackers find out what pays.
pub(crate) struct Pilot {
    /// So many people stand for all,
    pub(crate) parties: u64,
    /// or so many that a quarter of a budget still buys this many of everything.
    pub(crate) buys: f64,
    /// How often each split is tried.
    pub(crate) runs: u64,
}

/// What attackers with a budget buy under this order.
pub(crate) fn best_means(scenario: &Scenario, arm: &Arm, seed: u64, pilot: &Pilot) -> Vec<Means> {
    let divisible = scenario.attackers.iter().filter_map(|attacker| {
        let dearest =
            attacker.identity_price.max(attacker.account_price).max(attacker.connection_price);
        attacker.budget.map(|budget| 4.0 * pilot.buys * dearest / budget)
    });
    let factor = pilot.parties as f64 / scenario.people.parties as f64;
    let factor = divisible.fold(factor, f64::max).min(1.0);
    let mut small = scenario.scaled(factor);
    if scenario.attackers.iter().all(|attacker| attacker.kind != Kind::Recycler) {
        // What they are after is theirs when the window closes.
        small.aftermath.lasts_s = 0.0;
    }
    let found = attack::best(&small, |means| {
        let mut sum = vec![0.0; means.len()];
        for n in 1..=pilot.runs {
            let outcome = run(&small, arm, means, seed ^ (n << 40));
            sum.iter_mut().zip(payoff(&outcome)).for_each(|(sum, got)| *sum += got);
        }
        sum
    });
    // The same shares of the whole budget.
    scenario
        .attackers
        .iter()
        .zip(&small.attackers)
        .zip(found)
        .map(|((attacker, small), found)| {
            let same = attack::splits().find(|split| Means::bought(small, *split) == found);
            match (attacker.budget, same) {
                (Some(_), Some(split)) => Means::bought(attacker, split),
                _ => Means::at_first(attacker),
            }
        })
        .collect()
}

/// Does `work` for each of `0..jobs` on so many threads; results are in the order
/// of the jobs, whoever did them.
fn each<T: Send>(
    threads: usize,
    jobs: usize,
    progress: &Progress,
    work: impl Fn(usize) -> (T, bool, usize) + Sync,
) -> Option<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(jobs));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.max(1)) {
            scope.spawn(|| {
                while !progress.stop.load(Ordering::Relaxed) {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    if job >= jobs {
                        break;
                    }
                    let (result, counts, requests) = work(job);
                    progress.done.fetch_add(usize::from(counts), Ordering::Relaxed);
                    progress.requests.fetch_add(requests, Ordering::Relaxed);
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

fn column(arm: Arm, means: Vec<Means>, runs: Vec<Figures>, groups: usize) -> Column {
    let over = |of: &dyn Fn(&Figures) -> Option<f64>| {
        Estimate::over(&runs.iter().filter_map(of).collect::<Vec<f64>>())
    };
    let values = (0..Measure::ALL.len()).map(|i| over(&|figures| figures.values[i])).collect();
    let group = |i: usize| {
        let rate = |fared: &Fared| super::measures::share(fared.won, fared.applied);
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
    Column { arm, means, values, groups, deciles, series, runs }
}

/// Flags groups that were not served evenly, at [`LEVEL`] for all of them in all
/// columns together.
fn flag(groups: &[Group], columns: &mut [Column]) {
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
