//! The bench held against what is known exactly.
//!
//! Where an order's result has a closed form, the bench must agree with it within
//! chance; the level is corrected for the number of checks (Holm), so that one
//! number says whether all of them agree.

use giliran_allocator::order;
use giliran_wire::BookingId;
use giliran_wire::ledger::{Order, ReturnRule};

use crate::compare::{Plan, compare};
use crate::measures::Measure;
use crate::measures::run::figures;
use crate::measures::{chi_square_uniform, holm, normal_two_sided};
use crate::population::{Party, Population};
use crate::progress::Progress;
use crate::random::Random;
use crate::resources::Resources;
use crate::scenario::{Kind, Scenario, parse};
use crate::simulation::{Arm, Outcome, Run, run};

/// Level of all checks together.
pub const CHECK_LEVEL: f64 = 0.01;

/// What was expected, and what came.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    pub what: String,
    /// The closed form's value.
    pub expected: f64,
    pub observed: f64,
    /// Probability of a difference as large by chance; 1 or 0 where chance has no
    /// part in it.
    pub p: f64,
    /// Not by chance, at [`CHECK_LEVEL`] for all checks together.
    pub fails: bool,
}

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Seeds of each check.
    pub seeds: u64,
    /// Draws whose ranks are counted.
    pub draws: u64,
    /// Clean runs, in which nobody is to be flagged.
    pub clean: u64,
    /// Seeds in which an injected bias is to be found.
    pub biased: u64,
}

impl Size {
    /// Over a minute of processor time, optimised.
    pub const FULL: Self = Self { seeds: 200, draws: 100_000, clean: 1_000, biased: 60 };
}

const TEXT: &str = r#"
name = "checks"
about = "One office and single people, as the closed forms have it."

[opening]
window_s = 30
commit_ms = 0.1

[offices]
count = 1
days = 1
quota = [400]

[people]
parties = 2000
decay_s = 2
early_rate = 0
retries = 0

[[cohorts]]
name = "one half"
share = 0.5
rtt_ms = [20, 400]
channel = "app"

[[cohorts]]
name = "the other"
share = 0.5
rtt_ms = [20, 400]
channel = "app"

[[attackers]]
name = "bots"
kind = "sprinter"
identities = 1
accounts = 1
connections = 1

[aftermath]
lasts_s = 0
"#;

/// A scenario for checks, with so many bots; none: without.
fn scenario(bots: u64) -> Scenario {
    let scenario = parse(TEXT, "checks").ok();
    let mut scenario = scenario.unwrap_or_else(|| unreachable!("a test reads it"));
    if bots == 0 {
        scenario.attackers.clear();
    }
    for attacker in &mut scenario.attackers {
        // One connection each, as fast as can be: all of them are in before people.
        attacker.identities = Some(bots);
        attacker.accounts = Some(bots);
        attacker.connections = Some(bots);
        attacker.rtt_ms = [1.0, 1.0];
    }
    scenario
}

fn arm(order: Order) -> Arm {
    Arm::new(order, ReturnRule::Immediate)
}

pub fn checks(size: Size, seed: u64, threads: usize) -> Vec<Check> {
    let mut checks = Vec::new();
    for bots in [50, 200, 600] {
        checks.push(lottery(Order::Draw, bots, size.seeds, seed));
    }
    for bots in [100, 400, 900] {
        checks.push(bots_first(bots, seed));
    }
    // A round in which everybody is: by lot as well.
    checks.push(lottery(Order::Rounds { length_ms: 60_000 }, 200, size.seeds, seed));
    for edge_ms in [10, 50, 250, 500] {
        checks.push(edge(edge_ms, 500, size.seeds, seed));
    }
    for (tries, beacon) in [(1, false), (5, false), (20, false), (20, true)] {
        checks.push(tried(tries, beacon, size.seeds * 5, seed));
    }
    for identities in [1, 5, 20] {
        checks.push(at_hand(identities, size.seeds * 5, seed));
    }
    checks.extend(inversions(size.seeds, seed));
    checks.extend(ranks(size.draws, seed));
    checks.push(clean(size.clean, seed, threads));
    for bias in [0.01, 0.02, 0.05, 0.2, 0.5] {
        checks.push(biased(bias, size.biased, seed, threads));
    }
    judged(checks)
}

fn judged(mut checks: Vec<Check>) -> Vec<Check> {
    let p_values: Vec<f64> = checks.iter().map(|check| check.p).collect();
    for (check, fails) in checks.iter_mut().zip(holm(&p_values, CHECK_LEVEL)) {
        check.fails = fails;
    }
    checks
}

fn exact(what: String, expected: f64, observed: f64) -> Check {
    let p = if expected == observed { 1.0 } else { 0.0 };
    Check { what, expected, observed, p, fails: false }
}

fn by_z(what: String, expected: f64, observed: f64, sigma: f64) -> Check {
    let p = normal_two_sided((observed - expected) / sigma);
    Check { what, expected, observed, p, fails: false }
}

fn name(order: Order) -> String {
    match order {
        Order::FirstCome => "first-come".to_owned(),
        Order::Rounds { length_ms } => format!("rounds of {length_ms} ms"),
        Order::Draw => "draw".to_owned(),
    }
}

/// A run that nobody stops.
fn ran(scenario: &Scenario, arm: &Arm, means: &[Resources], seed: u64) -> Outcome {
    whole(run(scenario, arm, means, seed, &Progress::default()))
}

fn whole(outcome: Option<Outcome>) -> Outcome {
    outcome.unwrap_or_else(|| unreachable!("nobody stops it"))
}

/// k / (n + k) of the places, the number per run hypergeometric.
fn lottery(order: Order, bots: u64, seeds: u64, seed: u64) -> Check {
    let scenario = scenario(bots);
    let means = [Resources::at_first(&scenario.attackers[0])];
    let won: u64 = (0..seeds).map(|i| ran(&scenario, &arm(order), &means, seed + i).scalped).sum();
    let (q, k) = (scenario.offices.places() as f64, bots as f64);
    let n = scenario.people.parties as f64 + k;
    let p = k / n;
    let sigma = (q * p * (1.0 - p) * (n - q) / (n - 1.0) / seeds as f64).sqrt() / q;
    let what = format!("{}: share of {bots} bots among {n} who ask", name(order));
    by_z(what, p, won as f64 / seeds as f64 / q, sigma)
}

/// min(1, k / Q): bots that are all faster than anybody get what they ask for.
fn bots_first(bots: u64, seed: u64) -> Check {
    let mut scenario = scenario(bots);
    // Nobody is as fast.
    scenario.cohorts.iter_mut().for_each(|cohort| cohort.rtt_ms = [500.0, 900.0]);
    let means = [Resources::at_first(&scenario.attackers[0])];
    let outcome = ran(&scenario, &arm(Order::FirstCome), &means, seed);
    let q = scenario.offices.places() as f64;
    let what = format!("first-come: share of {bots} bots, faster than anybody");
    exact(what, (bots as f64 / q).min(1.0), outcome.scalped as f64 / q)
}

/// Of two who want the same place, one by δ faster, in rounds of τ: the faster
/// one wins with ½ + δ / 2τ, so speed is worth δ / τ. One office, one place and
/// two rivals a trial.
fn edge(edge_ms: u64, length_ms: u64, seeds: u64, seed: u64) -> Check {
    const OFFICES: u16 = 1_000;
    let mut scenario = scenario(0);
    scenario.offices.count = OFFICES;
    scenario.offices.quota = vec![1];
    let order = Order::Rounds { length_ms };
    let runs = (seeds / 4).max(1);
    let mut faster = 0_u64;
    for i in 0..runs {
        scenario.people.parties = 2 * u64::from(OFFICES);
        let mut population = Population::new(&scenario, &[], seed + i);
        let mut random = Random::new(seed + i, 50);
        population.planned = Vec::new();
        for (office, pair) in population.parties.chunks_mut(2).enumerate() {
            let at = random.between(0.0, length_ms as f64 * 1e3) as i64;
            let place = |party: &mut Party| {
                party.office = office as u16;
                party.second = office as u16;
            };
            pair.iter_mut().for_each(place);
            let first = 2 * office as u32;
            population.planned.push((at, first));
            population.planned.push((at + edge_ms as i64 * 1_000, first + 1));
        }
        population.planned.sort_unstable();
        let (arm, progress) = (arm(order), Progress::default());
        let outcome = whole(Run::new(&scenario, &arm, population, seed + i, &progress).through());
        faster += outcome.parties.iter().step_by(2).filter(|party| party.won).count() as u64;
    }
    let trials = (runs * u64::from(OFFICES)) as f64;
    let p = 0.5 + (edge_ms as f64 / length_ms as f64).min(1.0) / 2.0;
    let observed = faster as f64 / trials;
    let what = format!("{}: the faster of two by {edge_ms} ms wins", name(order));
    if p == 1.0 {
        return exact(what, p, observed);
    }
    by_z(what, p, observed, (p * (1.0 - p) / trials).sqrt())
}

/// One insider among 200 people who want ten places, with these means.
fn with_insider(identities: u64, tries: u64) -> Scenario {
    let mut scenario = scenario(1);
    scenario.people.parties = 200;
    scenario.offices.quota = vec![10];
    for attacker in &mut scenario.attackers {
        attacker.kind = Kind::Insider;
        (attacker.identities, attacker.enters) = (Some(identities), Some(1));
        attacker.tries = Some(tries);
    }
    scenario
}

/// How often an insider with one entry gets a place.
fn insider_wins(
    what: String,
    scenario: &Scenario,
    arm: &Arm,
    p: f64,
    runs: u64,
    seed: u64,
) -> Check {
    let means = [Resources::at_first(&scenario.attackers[0])];
    let won: u64 = (0..runs).map(|i| ran(scenario, arm, &means, seed + i).scalped).sum();
    by_z(what, p, won as f64 / runs as f64, (p * (1.0 - p) / runs as f64).sqrt())
}

/// Each of t sets of entries is another seed: 1 − (1 − Q / (n + 1))^t, and with a
/// public value as if there were only one.
fn tried(tries: u64, beacon: bool, runs: u64, seed: u64) -> Check {
    let scenario = with_insider(1, tries);
    let once = scenario.offices.places() as f64 / (scenario.people.parties + 1) as f64;
    let count = if beacon { 1 } else { tries };
    let p = 1.0 - (1.0 - once).powi(count as i32);
    let arm = Arm { beacon, ..arm(Order::Draw) };
    let with = if beacon { " and a public value" } else { "" };
    let what = format!("draw{with}: an insider's one entry, {tries} tries, wins");
    insider_wins(what, &scenario, &arm, p, runs, seed)
}

/// With the rounds' key, the best of k identities: it wins unless the first Q of
/// all n + k ranks are people's, 1 − Π (n − i) / (n + k − i) over i < Q.
fn at_hand(identities: u64, runs: u64, seed: u64) -> Check {
    let scenario = with_insider(identities, 1);
    let (n, k) = (scenario.people.parties as f64, identities as f64);
    let people_first: f64 =
        (0..scenario.offices.places()).map(|i| (n - i as f64) / (n + k - i as f64)).product();
    let what = format!("one round: an insider's best of {identities} identities wins");
    let arm = arm(Order::Rounds { length_ms: 60_000 });
    insider_wins(what, &scenario, &arm, 1.0 - people_first, runs, seed)
}

/// First-come inverts no pair; a draw half of them, with the variance of Mann and
/// Whitney's U under an even hand, (W + L + 1) / (12 W L).
fn inversions(seeds: u64, seed: u64) -> [Check; 2] {
    let scenario = scenario(0);
    let rate = |order, seed| {
        let outcome = ran(&scenario, &arm(order), &[], seed);
        figures(&scenario, outcome).values[Measure::Inversion.index()].unwrap_or(f64::NAN)
    };
    let mean: f64 = (0..seeds).map(|i| rate(Order::Draw, seed + i)).sum::<f64>() / seeds as f64;
    let w = scenario.offices.places() as f64;
    let l = scenario.people.parties as f64 - w;
    let sigma = ((w + l + 1.0) / (12.0 * w * l) / seeds as f64).sqrt();
    let first_come = rate(Order::FirstCome, seed);
    [
        exact("first-come: inversion rate".to_owned(), 0.0, first_come),
        by_z("draw: inversion rate".to_owned(), 0.5, mean, sigma),
    ]
}

/// Every entry is as likely in every place, and every order as likely.
fn ranks(draws: u64, seed: u64) -> [Check; 2] {
    const ENTRIES: usize = 10;
    let mut random = Random::new(seed, 60);
    let receipts: Vec<BookingId> =
        (0..ENTRIES).map(|_| BookingId::from_random(random.wide())).collect();
    let mut places = vec![0_u64; ENTRIES];
    let mut orders = [0_u64; 24];
    for _ in 0..draws {
        let draw = random.bytes();
        let order = order::draw_order(&draw, &receipts);
        places[order.iter().position(|entry| *entry == 0).unwrap_or(0)] += 1;
        // The order among the first four, as a number from 0 to 23.
        let first: Vec<usize> = order.into_iter().filter(|entry| *entry < 4).collect();
        let number = (0..4).fold(0, |number, i| {
            let smaller = first[i + 1..].iter().filter(|later| **later < first[i]).count();
            number * (4 - i) + smaller
        });
        orders[number] += 1;
    }
    let check = |what: &str, counts: &[u64]| {
        let uniformity = chi_square_uniform(counts);
        Check {
            what: format!("{what} over {draws} draws: χ², {} classes", counts.len()),
            expected: counts.len() as f64 - 1.0,
            observed: uniformity.map_or(f64::NAN, |u| u.statistic),
            p: uniformity.map_or(0.0, |u| u.p),
            fails: false,
        }
    };
    [check("draw: the place of an entry", &places), check("draw: the order of four", &orders)]
}

/// How often a comparison of this seed flags somebody.
fn flagged(scenario: &Scenario, seeds: u64, seed: u64, threads: usize) -> bool {
    let plan = Plan {
        scenario: scenario.clone(),
        arms: vec![arm(Order::Draw)],
        seeds,
        seed,
        threads,
        pilot_parties: 1,
    };
    compare(&plan, &Progress::default())
        .is_some_and(|done| done.columns[0].groups.iter().any(|group| group.flagged))
}

/// Clean runs, of which at most the level's share may raise a flag: one-sided
/// binomial, by its normal approximation with continuity correction.
fn clean(runs: u64, seed: u64, threads: usize) -> Check {
    let scenario = scenario(0);
    let alarms = (0..runs).filter(|i| flagged(&scenario, 1, seed + 1_000 + i, threads)).count();
    let (n, level) = (runs as f64, crate::compare::LEVEL);
    let z = (alarms as f64 - 0.5 - n * level) / (n * level * (1.0 - level)).sqrt();
    let p = if z <= 0.0 { 1.0 } else { normal_two_sided(z) / 2.0 };
    let what = format!("clean runs that raise a flag, of {runs}: at most");
    Check { what, expected: level, observed: alarms as f64 / n, p, fails: false }
}

/// A cohort of which a share of the requests is lost is flagged. The smaller the
/// share, the more seeds it takes.
fn biased(bias: f64, seeds: u64, seed: u64, threads: usize) -> Check {
    let mut scenario = scenario(0);
    scenario.cohorts[1].lost = bias;
    // Half win, where a bias shows best; for the smallest, more people.
    let more = if bias < 0.05 { 5 } else { 1 };
    scenario.people.parties = 4_000 * more;
    scenario.offices.quota = vec![(2_000 * more) as u16];
    let seeds = if bias < 0.05 { seeds } else { (seeds / 3).max(2) };
    let found = flagged(&scenario, seeds, seed, threads);
    let what = format!("a cohort with {} % of its requests lost is flagged", bias * 100.0);
    exact(what, 1.0, f64::from(u8::from(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree(checks: Vec<Check>) {
        let wrong: Vec<Check> = judged(checks).into_iter().filter(|check| check.fails).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn shares_of_bots_are_those_of_the_closed_forms() {
        agree(vec![
            lottery(Order::Draw, 200, 12, 1),
            lottery(Order::Draw, 600, 12, 2),
            lottery(Order::Rounds { length_ms: 60_000 }, 200, 12, 3),
            bots_first(100, 4),
            bots_first(900, 5),
        ]);
    }

    #[test]
    fn an_edge_is_worth_its_part_of_the_round() {
        agree(vec![edge(50, 500, 16, 1), edge(250, 500, 16, 2), edge(500, 500, 4, 3)]);
    }

    #[test]
    fn an_insider_wins_by_its_tries_unless_there_is_a_public_value() {
        agree(vec![
            tried(1, false, 300, 1),
            tried(20, false, 300, 2),
            tried(20, true, 300, 3),
            at_hand(1, 300, 4),
            at_hand(20, 300, 5),
        ]);
    }

    #[test]
    fn first_come_inverts_nothing_and_a_draw_half() {
        agree(inversions(8, 1).into());
    }

    #[test]
    fn ranks_are_even_over_a_hundred_thousand_draws() {
        agree(ranks(100_000, 1).into());
    }

    #[test]
    fn a_biased_shuffle_does_not_pass() {
        // One in fifty more at the first place.
        let mut counts = [10_000_u64; 10];
        counts[0] += 200;
        counts[9] -= 200;
        let p = chi_square_uniform(&counts).map_or(1.0, |u| u.p);
        assert!(p > CHECK_LEVEL, "so little is not seen: {p}");
        counts[0] += 300;
        counts[9] -= 300;
        let p = chi_square_uniform(&counts).map_or(1.0, |u| u.p);
        assert!(p < CHECK_LEVEL / 20.0, "{p}");
    }

    #[test]
    fn clean_runs_raise_no_more_flags_than_the_level_allows() {
        agree(vec![clean(60, 1, 2)]);
    }

    #[test]
    fn an_injected_bias_is_found() {
        agree(vec![biased(0.05, 36, 1, 2), biased(0.2, 9, 1, 2), biased(0.5, 6, 1, 2)]);
    }
}
