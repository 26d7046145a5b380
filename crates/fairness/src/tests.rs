//! The bench as a whole: what it must say of worlds whose answer is known.

use std::sync::atomic::{AtomicUsize, Ordering};

use giliran_allocator::{ballot, order};
use giliran_wire::ledger::{Order, ReturnRule};

use giliran_report::svg::escaped;
use giliran_report::{Language, Sheet, bilingual};

use super::{Arm, Comparison, GroupOutcome, Measure, Plan, Progress, Resources, compare};
use crate::population::{NONE, Party, Population};
use crate::report::{self, Comparisons};
use crate::scenario::{Scenario, shipped};
use crate::simulation::virtual_engine::{LEDGER, ORDINAL};
use crate::simulation::{Run, run, slots_of};

/// A small copy. Scalpers have what they would buy for speed, without the many
/// runs by which they find that out, and look less often for what came back.
fn scenario(name: &str, factor: f64) -> Scenario {
    let mut scenario = shipped(name).unwrap();
    for attacker in &mut scenario.attackers {
        if attacker.budget.take().is_some() {
            attacker.identities = Some(100);
            attacker.accounts = Some(25);
            attacker.connections = Some(10);
        }
        attacker.looks_every_s = attacker.looks_every_s.map(|_| 60.0);
    }
    scenario.scaled(factor)
}

const ROUNDS: Order = Order::Rounds { length_ms: 1_000 };

fn at_five() -> ReturnRule {
    ReturnRule::At { minutes: vec![17 * 60] }
}

fn plan(scenario: Scenario, orders: &[Order], returns: &[ReturnRule], seeds: u64) -> Plan {
    let arms = orders
        .iter()
        .flat_map(|order| returns.iter().map(|returns| Arm::new(*order, returns.clone())));
    Plan { scenario, arms: arms.collect(), seeds, seed: 1, threads: 2, pilot_parties: 300 }
}

fn compared(plan: &Plan) -> Comparison {
    compare(plan, &Progress::default()).unwrap()
}

fn mean(comparison: &Comparison, arm: usize, measure: Measure) -> f64 {
    comparison.columns[arm].of(measure).unwrap_or_else(|| panic!("no {measure:?}")).mean
}

#[test]
fn the_same_seed_gives_the_same_figures_on_any_number_of_threads() {
    let of = |seed, threads| {
        let orders = [Order::FirstCome, ROUNDS, Order::Draw];
        let returns = [ReturnRule::Immediate, at_five()];
        let plan = plan(scenario("batam", 0.05), &orders, &returns, 2);
        compared(&Plan { seed, threads, ..plan })
    };
    let runs = |comparison: &Comparison| -> Vec<_> {
        comparison
            .columns
            .iter()
            .map(|column| (column.means.clone(), column.runs.clone()))
            .collect()
    };
    let one = of(1, 1);
    assert_eq!(runs(&one), runs(&of(1, 2)));
    assert_ne!(runs(&one), runs(&of(7, 2)));
    let one_run: Vec<_> = one.columns.iter().map(|column| &column.runs[0]).collect();
    assert!(one_run.windows(2).all(|w| w[0] != w[1]), "every arm is another world");
}

#[test]
fn a_draw_decided_by_the_core_is_the_public_algorithms() {
    let mut scenario = scenario("batam", 0.1);
    // The account limit is no part of the algorithm.
    scenario.opening.max_per_account = None;
    scenario.attackers.clear();
    let arm = Arm::new(Order::Draw, ReturnRule::Immediate);
    let population = Population::new(&scenario, &[], 5);

    let progress = Progress::default();
    let mut run = Run::new(&scenario, &arm, population, 5, &progress);
    while !run.engine().is_drawn() {
        assert!(run.step(), "it ends before its draw");
    }
    let entered = run.entered();
    let parties: Vec<&Party> = entered.iter().map(|(i, _)| &run.parties()[*i as usize]).collect();
    let by_engine: Vec<Option<u32>> =
        parties.iter().map(|party| (party.slot != NONE).then_some(party.slot)).collect();

    let wishes: Vec<Vec<u32>> =
        parties.iter().map(|party| slots_of(party, &scenario).collect()).collect();
    let entrants: Vec<order::Entrant<'_>> = parties
        .iter()
        .zip(&wishes)
        .zip(entered)
        .map(|((party, slots), (_, receipt))| order::Entrant {
            receipt: ballot::number(LEDGER, ORDINAL, receipt),
            places: party.size.into(),
            slots,
        })
        .collect();
    let days = usize::from(scenario.offices.days);
    let slots = usize::from(scenario.offices.count) * days;
    let mut free: Vec<u32> =
        (0..slots).map(|slot| scenario.offices.quota_of(slot / days).into()).collect();
    let by_algorithm = order::draw(&run.engine().draw_seed().unwrap(), &entrants, &mut free);
    assert_eq!(by_engine, by_algorithm);
    let won = by_engine.iter().flatten().count();
    assert!(won > 100 && won < parties.len() / 2, "{won} of {} won: scarce", parties.len());
    let parties_won =
        by_engine.iter().zip(&parties).filter(|(slot, p)| slot.is_some() && p.size > 1);
    assert!(parties_won.count() > 10, "families among them");
}

#[test]
fn nobody_is_last_in_every_round() {
    let scenario = scenario("batam", 0.02);
    let arm = Arm::new(ROUNDS, ReturnRule::Immediate);
    let progress = Progress::default();
    let population = Population::new(&scenario, &[], 5);
    let salt = population.salt;
    let run = Run::new(&scenario, &arm, population, 5, &progress);
    let key = run.engine().operator_seed();
    let line_of = |round| {
        let people = run.parties().iter().map(|party| (party.people(salt), party.size));
        let people: Vec<_> = people.collect();
        let parties = people.iter().map(|(people, size)| &people[..usize::from(*size)]);
        order::round_order(&key, round, parties)
    };
    let lines: Vec<Vec<usize>> = (0..20).map(line_of).collect();
    let mut last: Vec<usize> = lines.iter().map(|line| line[line.len() - 1]).collect();
    last.sort_unstable();
    last.dedup();
    assert!(last.len() > 15, "of twenty rounds, {} have another one last", last.len());
    assert_eq!(lines[3], line_of(3), "a round has one order");
}

#[test]
fn speed_pays_under_first_come_and_not_within_a_round() {
    let plan = plan(scenario("sprinters", 0.4), &[Order::FirstCome, ROUNDS], &[at_five()], 12);
    let done = compared(&plan);
    let scalper = done.groups.iter().position(|group| group.kind == "scalper").unwrap();
    let ratio = |arm: usize| done.columns[arm].groups[scalper].ratio.unwrap().mean;
    assert!(ratio(0) > 1.3, "first-come: sprinters have {} times the average", ratio(0));
    assert!((ratio(1) - 1.0).abs() < 0.05, "rounds: {} times the average", ratio(1));
    assert!(mean(&done, 0, Measure::LatencyPremium) > 0.5, "and among people speed pays too");
    let among_people = done.columns[1].of(Measure::LatencyPremium).unwrap();
    assert!(among_people.low() < 0.0 && among_people.high() > 0.0, "{among_people:?}");
    assert_eq!(mean(&done, 0, Measure::Inversion), 0.0);
    let inverted = done.columns[1].of(Measure::Inversion).unwrap();
    assert!((inverted.mean - 0.5).abs() < 0.02, "in one round nobody is first: {inverted:?}");
}

#[test]
fn cancel_and_rebook_pays_where_places_come_back_at_once() {
    let returns = [ReturnRule::Immediate, at_five()];
    let done = compared(&plan(scenario("recyclers", 0.4), &[Order::FirstCome], &returns, 4));
    assert!(mean(&done, 0, Measure::RecycleCapture) > 0.95);
    let (got, fair) = (
        done.columns[1].of(Measure::RecycleCapture).unwrap(),
        done.columns[1].of(Measure::RecycleFair).unwrap(),
    );
    println!("collected: {got:?}, by lot {fair:?}");
    // Who looks, and for how long, is drawn: about the same, not the same.
    assert!((got.mean - fair.mean).abs() < 0.04, "collected: {got:?}, by lot {fair:?}");
    assert!(got.mean > 0.0, "they have a lot like everybody");
}

#[test]
fn scalpers_buy_speed_where_it_pays_and_identities_where_they_do() {
    let mut scenario = shipped("batam").unwrap().scaled(0.3);
    scenario.attackers.truncate(1);
    let orders = [Order::FirstCome, Order::Draw];
    let plan = plan(scenario, &orders, &[at_five()], 1);
    let done = compared(&Plan { pilot_parties: 1_000, ..plan });
    let lines = |arm: usize| done.columns[arm].means[0].connections;
    assert!(lines(0) > 0, "first-come: {:?}", done.columns[0].means);
    assert_eq!(lines(1), 0, "draw: {:?}", done.columns[1].means);
    let identities = |arm: usize| done.columns[arm].means[0].identities;
    assert!(identities(1) >= identities(0));
    let share = |arm| mean(&done, arm, Measure::ScalperShare);
    assert!(share(1) < share(0) / 2.0, "{} under a draw, {} first-come", share(1), share(0));
}

#[test]
fn an_overloaded_service_says_busy_and_oversells_nothing() {
    let mut scenario = scenario("batam", 0.1);
    scenario.opening.capacity_per_s = 10.0;
    scenario.opening.backlog_ms = 300.0;
    let done = compared(&plan(scenario, &[Order::FirstCome, ROUNDS], &[ReturnRule::Immediate], 1));
    for arm in [0, 1] {
        assert!(mean(&done, arm, Measure::InTime) < 0.9, "{:?}", done.columns[arm].values);
        assert_eq!(mean(&done, arm, Measure::Oversell), 0.0);
        assert_eq!(mean(&done, arm, Measure::Undersell), 0.0);
    }
}

#[test]
fn holds_that_lapse_come_back_and_are_counted() {
    let mut scenario = scenario("scalpers-2018", 0.02);
    scenario.offices.count = 3;
    let returns = [ReturnRule::Immediate, ReturnRule::Delayed { from_ms: 60_000, to_ms: 600_000 }];
    let done = compared(&plan(scenario, &[Order::FirstCome], &returns, 1));
    for column in &done.columns {
        let run = &column.runs[0];
        let value = |measure: Measure| run.values[measure.index()].unwrap();
        // Nine of ten places scalpers hold lapse; some of them find people.
        assert!(value(Measure::ScalperShare) > 0.9);
        assert!(value(Measure::Waste) < 0.85, "{}", value(Measure::Waste));
        assert!(value(Measure::Waste) > 0.02, "{}", value(Measure::Waste));
        assert_eq!(value(Measure::Oversell), 0.0);
    }
}

#[test]
fn replays_and_forged_changes_come_to_nothing_and_invented_ids_to_what_passes() {
    let orders = [Order::FirstCome, ROUNDS, Order::Draw];
    let returns = [ReturnRule::Immediate, at_five()];
    let done = compared(&plan(scenario("forgers", 0.2), &orders, &returns, 2));
    for (arm, column) in done.columns.iter().enumerate() {
        assert_eq!(mean(&done, arm, Measure::Replayed), 0.0);
        assert_eq!(mean(&done, arm, Measure::Forged), 0.0);
        for run in &column.runs {
            assert!(run.tried.iter().all(|tried| *tried > 200), "{:?}", run.tried);
            let forgers = done.groups.iter().position(|group| group.name == "forgers").unwrap();
            let GroupOutcome { applied, won, .. } = run.groups[forgers];
            assert!(applied == 400 && won < 80, "one in ten passes, {won} won");
        }
    }
    let said = report::verdict(&done, Language::English).join("\n");
    assert!(said.contains("0 places were given a second time"), "{said}");
    assert!(said.contains("other people's bookings, 0 places changed"), "{said}");
}

fn small_report() -> Comparisons {
    let orders = [Order::FirstCome, ROUNDS, Order::Draw];
    let plan = plan(scenario("batam", 0.05), &orders, &[ReturnRule::Immediate, at_five()], 3);
    Comparisons { swept: None, comparisons: vec![(String::new(), compared(&plan))] }
}

#[test]
fn the_page_needs_nothing_from_outside_and_says_everything() {
    let mut report = small_report();
    let comparison = &mut report.comparisons[0].1;
    comparison.scenario.about = "<script>alert(1)</script>".to_owned();
    let page = report::report(&report, Language::English).html();
    for outside in ["http:", "https:", "<script", "src=", "url(", "@import", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let comparison = report.first().unwrap();
    for sentence in report::verdict(comparison, Language::English) {
        assert!(page.contains(&escaped(&sentence)), "{sentence}");
    }
    for column in &comparison.columns {
        assert!(page.contains(&report::arm_name(&column.arm, Language::English)));
    }
    for measure in Measure::ALL {
        assert!(page.contains(&escaped(measure.title().english)), "{measure:?}");
        assert!(page.contains(&escaped(measure.about().english)), "{measure:?}");
    }
    for tag in
        ["svg", "figure", "table", "tr", "td", "th", "ul", "li", "dl", "div", "h2", "h3", "p"]
    {
        let (opened, closed) = (
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count(),
            page.matches(&format!("</{tag}>")).count(),
        );
        assert_eq!(opened, closed, "<{tag}>");
    }
    let table = report::report(&report, Language::English).text();
    for sentence in report::verdict(comparison, Language::English) {
        assert!(table.contains(&sentence));
    }
}

#[test]
fn both_languages_say_everything_with_the_same_numbers() {
    let mut comparisons = small_report();
    let [english, indonesian] = Language::ALL.map(|language| {
        let report = report::report(&comparisons, language);
        (report.html(), report.text(), report.json(), report.sheets)
    });
    // The scenario's own id, and the methods' names.
    let names = ["batam"];
    let none = Vec::<String>::new();
    assert_eq!(bilingual::differences(&english.0, &indonesian.0, &names), none);
    assert_eq!(bilingual::mixtures(&english.1, &indonesian.1, &names), none);
    assert_eq!(english.2, indonesian.2, "files for machines have one language");
    let texts = |sheets: &[Sheet]| sheets.iter().map(Sheet::text).collect::<Vec<String>>();
    assert_eq!(texts(&english.3), texts(&indonesian.3));

    // Along a parameter, and where something is wrong.
    comparisons.swept = Some("rounds_ms".to_owned());
    let comparison = &mut comparisons.comparisons[0].1;
    comparison.columns[0].runs[0].values[Measure::Undersell.index()] = Some(3.0);
    comparison.groups.iter().enumerate().for_each(|(i, _)| {
        comparison.columns[1].groups[i].flagged = true;
    });
    let [english, indonesian] =
        Language::ALL.map(|language| report::report(&comparisons, language).html());
    let names = ["batam", "rounds_ms"];
    assert_eq!(bilingual::differences(&english, &indonesian, &names), none);
}

/// What the rules advise, by name.
fn advised(done: &Comparison) -> Vec<String> {
    report::advice(done).iter().map(report::Advice::name).collect()
}

#[test]
fn what_to_do_follows_from_the_figures_by_stated_rules() {
    let mut comparisons = small_report();
    let done = &mut comparisons.comparisons[0].1;
    // Scalpers are the first to come, and get back at once what they cancel.
    assert_eq!(advised(done), ["order:draw", "returns:at:17:00"]);
    // The same figures for all orders: nobody has less of an advantage elsewhere.
    let [first, others @ ..] = &mut done.columns[..] else { panic!("no orders") };
    others.iter_mut().for_each(|column| column.values.clone_from(&first.values));
    assert_eq!(advised(done)[0], "other_order");
    done.columns[1].runs[0].values[Measure::Undersell.index()] = Some(1.0);
    assert_eq!(advised(done), ["explain"]);

    let returns = [ReturnRule::Immediate];
    let calm = compared(&plan(scenario("calm", 0.5), &[Order::FirstCome], &returns, 3));
    assert_eq!(advised(&calm), [""; 0]);
    let told = Comparisons { swept: None, comparisons: vec![(String::new(), calm)] };
    let said = report::report(&told, Language::English).text();
    assert!(said.contains("nothing needs to be changed"), "{said}");
    // As many bots as people: a draw takes their speed, and leaves them their number.
    let orders = [Order::FirstCome, Order::Draw];
    let bots = compared(&plan(scenario("sprinters", 0.1), &orders, &returns, 3));
    assert_eq!(advised(&bots), ["order:draw", "identities"]);
}

#[test]
fn files_hold_every_observation_once() {
    let report = small_report();
    let comparison = report.first().unwrap();
    let sheets = report::report(&report, Language::English).sheets;
    let texts: Vec<String> = sheets.iter().map(|sheet| sheet.text()).collect();
    let [measures, groups, deciles, series] = &texts[..] else { panic!("four tables") };
    let observed: usize = comparison
        .columns
        .iter()
        .flat_map(|column| &column.runs)
        .map(|run| run.values.iter().flatten().count())
        .sum();
    assert_eq!(measures.lines().count(), 1 + observed);
    let runs = comparison.columns.len() * comparison.seeds.len();
    assert_eq!(groups.lines().count(), 1 + runs * comparison.groups.len());
    assert_eq!(deciles.lines().count(), 1 + runs * 10);
    assert_eq!(series.lines().count(), 1 + comparison.columns.len() * 60);
    let mut keys: Vec<&str> =
        measures.lines().map(|line| line.rsplit_once(',').unwrap().0).collect();
    keys.sort_unstable();
    assert!(keys.windows(2).all(|w| w[0] != w[1]), "no observation twice");

    let json = report::report(&report, Language::English).data;
    let arms = json["comparisons"][0]["arms"].as_array().unwrap();
    assert_eq!(arms.len(), comparison.columns.len());
    for (arm, column) in arms.iter().zip(&comparison.columns) {
        let share = column.of(Measure::ScalperShare).unwrap();
        let told = &arm["measures"]["scalper_share"];
        assert_eq!(told["mean"].as_f64(), Some(share.mean));
        assert_eq!(told["half"].as_f64(), share.half);
    }
}

#[test]
fn what_is_wrong_is_said_in_the_verdict() {
    let mut report = small_report();
    let comparison = &mut report.comparisons[0].1;
    assert!(report::verdict(comparison, Language::English)[0].starts_with("No place was oversold"));
    comparison.columns[1].runs[0].values[Measure::Oversell.index()] = Some(2.0);
    assert!(
        report::verdict(comparison, Language::English)[0].starts_with("Wrong: 2 places oversold")
    );

    let mut biased = scenario("batam", 0.1);
    biased.cohorts[2].lost = 0.5;
    let done = compared(&plan(biased, &[Order::Draw], &[ReturnRule::Immediate], 3));
    let said = report::verdict(&done, Language::English);
    let flagged = said.iter().find(|sentence| sentence.starts_with("Not served evenly")).unwrap();
    assert!(flagged.contains("people: country, mobile: 0."), "{flagged}");
}

#[test]
fn a_run_stops_within_an_event_and_says_how_far_it_is() {
    let scenario = scenario("batam", 0.5);
    let arm = Arm::new(Order::Draw, ReturnRule::Immediate);
    let means: Vec<_> = scenario.attackers.iter().map(Resources::at_first).collect();
    let stopped = Progress::default();
    stopped.stop.store(true, Ordering::Relaxed);
    assert!(run(&scenario, &arm, &means, 1, &stopped).is_none());
    let requests = stopped.requests.load(Ordering::Relaxed);
    assert!((1..2_000).contains(&requests), "{requests} requests after it was to stop");

    // Within a draw, too: once somebody is drawn.
    let progress = Progress::default();
    let population = Population::new(&scenario, &means, 1);
    let parties = population.parties.len();
    let mut run = Run::new(&scenario, &arm, population, 1, &progress);
    while run.engine().draw_seed().is_none() {
        assert!(run.step(), "it ends before its draw");
    }
    progress.stop.store(true, Ordering::Relaxed);
    let steps = (0..).take_while(|_| run.step()).count();
    assert!(steps < 1_024, "{steps} events after it was to stop");
    let won = run.parties().iter().filter(|party| party.slot != NONE).count();
    assert!(parties > 5_000 && won < 1_100, "{won} of {parties} were given places");
}

#[test]
fn progress_counts_small_runs_runs_and_requests() {
    let plan = plan(shipped("calm").unwrap(), &[ROUNDS], &[at_five()], 2);
    let progress = Progress::default();
    let done = compare(&plan, &progress).unwrap();
    let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    assert_eq!((of(&progress.tried), of(&progress.tries)), (20, 20), "ten splits, twice");
    assert_eq!((of(&progress.done), of(&progress.all)), (2, 2));
    assert!(progress.requests.load(Ordering::Relaxed) > done.requests);
    progress.stop.store(true, Ordering::Relaxed);
    assert!(compare(&plan, &progress).is_none());
}

#[test]
fn a_round_ends_at_the_close_at_the_latest() {
    let mut scenario = scenario("batam", 0.1);
    scenario.opening.window_s = 1.0;
    let long = Order::Rounds { length_ms: 5_000 };
    let orders = [Order::FirstCome, long];
    let done = compared(&plan(scenario, &orders, &[ReturnRule::Immediate], 2));
    let wait = mean(&done, 1, Measure::WaitS);
    assert!(wait > 0.1 && wait < 1.01, "they wait {wait} s for a close after one");
    let said = report::verdict(&done, Language::English);
    assert!(!said.iter().any(|s| s.starts_with("Rounds of")), "one round is a lottery: {said:?}");
}

#[test]
fn rounds_are_said_to_be_too_short_where_scalpers_gain_by_their_lead() {
    let said = |scenario: Scenario| {
        let orders = [Order::FirstCome, Order::Rounds { length_ms: 500 }];
        let done = compared(&plan(scenario, &orders, &[ReturnRule::Immediate], 2));
        let said = report::verdict(&done, Language::English)
            .into_iter()
            .find(|s| s.starts_with("Rounds of"));
        said.unwrap_or_default()
    };
    let spread = said(scenario("batam", 0.2));
    assert!(spread.starts_with("Rounds of 0.5 s leave scalpers what serving"), "{spread}");
    assert!(spread.contains("more than their part"), "{spread}");
    // Enough for everybody: nobody needs a lead.
    assert_eq!(said(scenario("calm", 1.0)), "");
    // Hardly anybody else asks.
    let mut alone = scenario("sprinters", 0.2);
    alone.people.parties = 5;
    assert_eq!(said(alone), "");
}

#[test]
fn every_name_in_a_file_is_in_the_document() {
    let document = include_str!("../../../docs/fairness.md");
    let has = |name: &str| assert!(document.contains(&format!("`{name}`")), "{name}");
    Measure::ALL.iter().for_each(|measure| has(measure.name()));
    let report = small_report();
    for sheet in report::report(&report, Language::English).sheets {
        has(sheet.name);
        sheet.text().lines().next().unwrap().split(',').for_each(has);
    }
    let json = report::report(&report, Language::English).data;
    fields(&json).for_each(has);
    let comparison = &json["comparisons"][0];
    fields(comparison).for_each(has);
    fields(&comparison["arms"][0]).for_each(has);
    fields(&comparison["arms"][0]["groups"][0]).for_each(has);
    fields(&comparison["arms"][0]["series"]).for_each(has);
}

/// The names in a JSON object.
fn fields(object: &serde_json::Value) -> impl Iterator<Item = &str> {
    object.as_object().unwrap().keys().map(String::as_str)
}
