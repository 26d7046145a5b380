//! `giliran fairness`: the same people under every order of allocation.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use giliran_fairness::report::{Comparisons, report};
use giliran_fairness::scenario::{Kind, SHIPPED, Scenario, parse, shipped};
use giliran_fairness::{
    Arm, CHECK_LEVEL, Check, Comparison, PILOT_PARTIES, Plan, Progress, Size, checks, compare,
    sweep,
};
use giliran_report::Language;
use giliran_wire::ledger::{NotARule, Order, ReturnRule};

use crate::commands::history::{self, Outputs, Source};
use crate::daemons::until_asked;
use crate::failure::Failure;
use crate::screen::Screen;

/// Shorter than this, nothing is said of how far it is.
const QUIET: Duration = Duration::from_secs(2);
/// So long runs are waited for that are to stop.
const STOPS_WITHIN: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran fairness --scenario calm\n  \
    giliran fairness --scenario batam --seeds 20 --html batam.html\n  \
    giliran fairness --scenario mine.toml --orders first-come,rounds:1000 --returns immediate\n  \
    giliran fairness --scenario sprinters --orders first-come,rounds:500 --sweep \
    rounds_ms=100,500,2000\n  \
    giliran fairness --scenario calm --show > mine.toml\n  \
    giliran fairness --check\n  \
    giliran fairness --scenario batam --language id --html batam.html\n  \
    giliran fairness --from-ledger --opening 2026-W49 --html friday.html\n\n\
    Can be swept: rounds_ms, people, places, scalpers, distance, decay_s, looks, tries (factors \
    but for times, the share and the number of tries).\n\
    Without --from-ledger nothing is asked over the network: it runs in virtual time on \
    the code that decides, and the same seed gives the same figures.")]
pub(crate) struct Args {
    /// A scenario that comes with giliran, or a TOML file (see --list).
    #[arg(long, value_name = "NAME|FILE", default_value = "batam")]
    scenario: String,
    /// Show the scenarios that come with giliran, and end.
    #[arg(long)]
    list: bool,
    /// Print a scenario that comes with giliran, to begin an own one with, and end.
    #[arg(long)]
    show: bool,
    /// Orders: first-come, rounds:MS (or rounds=500ms), draw, draw+beacon (with a public value)
    /// [default: first-come,rounds:500,draw; with an insider draw+beacon, too].
    #[arg(long, value_name = "ORDER,…", value_delimiter = ',', value_parser = ordered)]
    orders: Vec<Ordered>,
    /// When returned places become available again: immediate, delayed:FROM-TO (seconds),
    /// at:HH:MM.
    #[arg(
        long,
        value_name = "RULE,…",
        value_delimiter = ',',
        default_value = "immediate,delayed:600-3600,at:17:00"
    )]
    returns: Vec<ReturnRule>,
    /// How many seeds each order is run with.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run it once for each value of a parameter.
    #[arg(long, value_name = "PARAM=A,B,…", value_parser = swept)]
    sweep: Option<Swept>,
    /// Write tidy tables into this folder.
    #[arg(long, value_name = "DIR")]
    csv: Option<PathBuf>,
    /// Write everything as JSON into this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report, one HTML file that needs no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the report's charts into this folder, each as an SVG file.
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// The language of report and page: en or id (Indonesian). Files for machines stay the same.
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    language: Language,
    /// Hold the bench itself against the closed forms, and end.
    #[arg(long, conflicts_with_all = ["csv", "json", "html", "pictures", "sweep"])]
    check: bool,
    /// Report on an opening that took place, from the ledger; needs --opening.
    #[arg(long, conflicts_with_all = ["scenario", "list", "show", "orders", "returns", "seeds", "seed", "sweep", "check"])]
    from_ledger: bool,
    /// What a gateway saw, one JSON object a line: who was rejected, and who asked when;
    /// with --from-ledger.
    #[arg(long, value_name = "FILE")]
    gateway_log: Option<PathBuf>,
    /// What an engine shows under /metrics, saved after the opening; once for each
    /// engine that was active; with --from-ledger.
    #[arg(long, value_name = "FILE")]
    metrics: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
}

/// What `--sweep PARAMETER=VALUES` asks for.
#[derive(Debug, Clone)]
struct Swept {
    parameter: String,
    values: Vec<f64>,
}

fn swept(text: &str) -> Result<Swept, String> {
    let (parameter, values) =
        text.split_once('=').ok_or("is to be PARAM=A,B,…, as people=0.5,1,2")?;
    let number =
        |value: &str| value.trim().parse().map_err(|_| format!("{value:?} is not a number"));
    let values = values.split(',').map(number).collect::<Result<Vec<f64>, String>>()?;
    Ok(Swept { parameter: parameter.trim().to_owned(), values })
}

/// An order, and whether a public value goes into its seed.
type Ordered = (Order, bool);

fn ordered(text: &str) -> Result<Ordered, NotARule> {
    if text == "draw+beacon" { Ok((Order::Draw, true)) } else { Ok((text.parse()?, false)) }
}

/// What is compared where nothing is said.
fn usual(scenario: &Scenario) -> Vec<Ordered> {
    let rounds = Order::Rounds { length_ms: 500 };
    let mut orders = vec![(Order::FirstCome, false), (rounds, false), (Order::Draw, false)];
    if scenario.attackers.iter().any(|attacker| attacker.kind == Kind::Insider) {
        orders.push((Order::Draw, true));
    }
    orders
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let (csv, json, html) = (args.csv.as_deref(), args.json.as_deref(), args.html.as_deref());
    let outputs = Outputs { csv, json, html, pictures: args.pictures.as_deref() };
    if args.from_ledger {
        outputs.can_be_written()?;
        let (log, metrics) = (args.gateway_log.as_deref(), &args.metrics);
        let told = history::fairness(&args.source, log, metrics, args.language, outputs);
        return Box::pin(told).await;
    }
    // Of an opening that took place: a flag that is not given has a value, so that
    // the parser sees nothing missing.
    for (name, is_given) in [
        ("--opening", args.source.opening.is_some()),
        ("--archive", args.source.archive.is_some()),
        ("--gateway-log", args.gateway_log.is_some()),
        ("--metrics", !args.metrics.is_empty()),
    ] {
        if is_given {
            let what = format!("{name} is of an opening that took place: add --from-ledger");
            return Err(Failure::Usage(what));
        }
    }
    if args.list {
        for (name, _) in SHIPPED {
            outln!("{name:<14} {}", shipped(name).map(|s| s.about).unwrap_or_default());
        }
        return Ok(());
    }
    if args.show {
        let text = SHIPPED.iter().find(|(name, _)| *name == args.scenario).map(|(_, text)| *text);
        outln!("{}", text.ok_or_else(|| unknown(&args.scenario))?.trim_end());
        return Ok(());
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if args.check {
        return checked(args.seed, threads).await;
    }
    let plans = plans(&args, threads)?;
    // A long comparison is not run for a report that cannot be written.
    outputs.can_be_written()?;
    let started = Instant::now();
    let mut comparisons = Vec::new();
    for (value, plan) in plans {
        comparisons.push((value, carried_out(plan).await?));
    }
    let requests: u64 = comparisons.iter().map(|(_, done)| done.requests).sum();
    let swept = args.sweep.as_ref().map(|swept| swept.parameter.clone());
    let report = report(&Comparisons { swept, comparisons }, args.language);
    outln!("{}", report.text());
    outputs.write(&report, &command(&args))?;
    let took = started.elapsed().as_secs_f64();
    outln!("{requests} requests decided in {took:.1} s on {threads} threads");
    Ok(())
}

/// What is to be run: one plan, or one for each value of a sweep.
fn plans(args: &Args, threads: usize) -> Result<Vec<(String, Plan)>, Failure> {
    let scenario = scenario(&args.scenario)?;
    let orders = if args.orders.is_empty() { usual(&scenario) } else { args.orders.clone() };
    let arms = orders.iter().flat_map(|(order, beacon)| {
        let arm =
            |returns: &ReturnRule| Arm { beacon: *beacon, ..Arm::new(*order, returns.clone()) };
        args.returns.iter().map(arm)
    });
    let plan = Plan {
        scenario,
        arms: arms.collect(),
        seeds: args.seeds,
        seed: args.seed,
        threads,
        pilot_parties: PILOT_PARTIES,
    };
    match &args.sweep {
        None => Ok(vec![(String::new(), plan)]),
        Some(Swept { parameter, values }) => values
            .iter()
            .map(|value| Ok((value.to_string(), sweep::at(&plan, parameter, *value)?)))
            .collect::<Result<_, String>>()
            .map_err(|e| Failure::Usage(format!("--sweep {e}"))),
    }
}

/// What the report was made by.
fn command(args: &Args) -> String {
    let Args { scenario, seeds, seed, .. } = args;
    let mut command = format!("fairness --scenario {scenario} --seeds {seeds} --seed {seed}");
    if let Some(Swept { parameter, values }) = &args.sweep {
        let values: Vec<String> = values.iter().map(f64::to_string).collect();
        command.push_str(&format!(" --sweep {parameter}={}", values.join(",")));
    }
    command
}

/// The bench against the closed forms.
async fn checked(seed: u64, threads: usize) -> Result<(), Failure> {
    let started = Instant::now();
    let work = tokio::task::spawn_blocking(move || checks(Size::FULL, seed, threads));
    tokio::pin!(work);
    let mut every = tokio::time::interval(QUIET);
    every.tick().await;
    let done = loop {
        tokio::select! {
            done = &mut work => break done?,
            _ = every.tick() => eprintln!("{:>5.1} s  checking …", started.elapsed().as_secs_f64()),
        }
    };
    outln!("{:<64} {:>10} {:>10} {:>8}", "", "expected", "observed", "p");
    for Check { what, expected, observed, p, fails } in &done {
        let verdict = if *fails { "  WRONG" } else { "" };
        outln!("{what:<64} {expected:>10.5} {observed:>10.5} {p:>8.4}{verdict}");
    }
    let wrong = done.iter().filter(|check| check.fails).count();
    let level = CHECK_LEVEL * 100.0;
    outln!(
        "{} checks, level {level} % for all of them together (Holm), seed {seed}, {:.1} s",
        done.len(),
        started.elapsed().as_secs_f64()
    );
    if wrong == 0 { Ok(()) } else { Err(Failure::Wrong(format!("{wrong} checks fail"))) }
}

fn unknown(name: &str) -> Failure {
    let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    Failure::Usage(format!(
        "--scenario {name}: neither a file nor a scenario that comes with giliran; there are {}",
        names.join(", ")
    ))
}

/// A scenario that comes with giliran, or a file.
pub(crate) fn scenario(named: &str) -> Result<Scenario, Failure> {
    if let Some(scenario) = shipped(named) {
        return Ok(scenario);
    }
    let file = Path::new(named);
    if !file.exists() {
        return Err(unknown(named));
    }
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::Usage(format!("--scenario {named}: {e}")))?;
    parse(&text, named).map_err(|problems| Failure::Usage(problems.to_string()))
}

/// Runs it on threads of its own, and says how far it is.
async fn carried_out(plan: Plan) -> Result<Comparison, Failure> {
    let progress = Arc::new(Progress::default());
    let asked = until_asked();
    let work = {
        let progress = Arc::clone(&progress);
        tokio::task::spawn_blocking(move || compare(&plan, &progress))
    };
    tokio::pin!(work);
    let (mut screen, started) = (Screen::of_a_bar(), Instant::now());
    let mut every = tokio::time::interval(Duration::from_millis(200));
    let done = loop {
        tokio::select! {
            done = &mut work => break done?,
            _ = every.tick() => if started.elapsed() >= QUIET {
                let (done, all, line) = how_far(&progress);
                let after_s = started.elapsed().as_secs_f64();
                screen.draw(|| line.clone(), || format!("{after_s:>5.1} s  {line}"));
                screen.set_progress(done, all);
            },
            () = asked.cancelled() => {
                progress.stop.store(true, Ordering::Relaxed);
                // What makes people, or adds up, does not look: it is left behind.
                break tokio::time::timeout(STOPS_WITHIN, &mut work).await.ok().and_then(Result::ok).flatten();
            }
        }
    };
    screen.clear();
    done.ok_or_else(|| Failure::Wrong("interrupted".to_owned()))
}

/// Steps done, of so many, and what is going on.
fn how_far(progress: &Progress) -> (usize, usize, String) {
    let requests = progress.requests.load(Ordering::Relaxed) as f64 / 1e6;
    let of = |done: &AtomicUsize, all: &AtomicUsize| {
        (done.load(Ordering::Relaxed), all.load(Ordering::Relaxed))
    };
    let (tried, tries) = of(&progress.tried, &progress.tries);
    let (done, all) = of(&progress.done, &progress.all);
    if tried < tries {
        let line = format!(
            "scalpers find out what pays: {tried} of {tries} small runs, {requests:.1} M requests"
        );
        return (tried, tries, line);
    }
    (done, all, format!("{done} of {all} runs, {requests:.1} M requests"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_with_its_public_value_or_refused() {
        assert_eq!(ordered("draw"), Ok((Order::Draw, false)));
        assert_eq!(ordered("draw+beacon"), Ok((Order::Draw, true)));
        assert!(ordered("rounds:500+beacon").is_err());
    }

    #[test]
    fn a_sweep_is_a_parameter_and_numbers() {
        let Swept { parameter, values } = swept("people=0.5, 1,2").unwrap();
        assert_eq!((parameter.as_str(), values), ("people", vec![0.5, 1.0, 2.0]));
        assert!(swept("people").unwrap_err().contains("PARAM=A,B"));
        assert!(swept("people=many").unwrap_err().contains("\"many\" is not a number"));
    }

    #[derive(Debug, clap::Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    async fn refused(arguments: &[&str]) -> String {
        let all = [&["fairness"], arguments].concat();
        let Alone { args } = clap::Parser::try_parse_from(all).unwrap();
        match run(args).await {
            Err(Failure::Usage(what)) => what,
            done => panic!("{arguments:?}: {done:?}"),
        }
    }

    #[tokio::test]
    async fn what_only_a_recorded_opening_has_is_not_ignored() {
        for name in ["--gateway-log", "--metrics", "--opening", "--archive"] {
            let said = refused(&["--list", name, "x"]).await;
            assert_eq!(said, format!("{name} is of an opening that took place: add --from-ledger"));
        }
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_found_before_anything_is_run() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("nowhere/report");
        let file = folder.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        let into = [
            ("--html", nowhere.clone()),
            ("--json", folder.path().to_path_buf()),
            ("--csv", file.clone()),
            ("--csv", file.join("tables")),
        ];
        for from_ledger in [false, true] {
            for (name, path) in &into {
                let path = path.to_str().unwrap();
                let mut all = vec![name, path];
                if from_ledger {
                    all.extend(["--from-ledger", "--opening", "w"]);
                }
                let said = refused(&all).await;
                assert!(said.starts_with(&format!("{name} {path}: ")), "{said}");
            }
        }
        let outputs = Outputs {
            csv: Some(&folder.path().join("new")),
            json: Some(&file),
            html: Some(&folder.path().join("page")),
            pictures: None,
        };
        outputs.can_be_written().unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept", "it is tried, not emptied");
        assert!(!folder.path().join("page").exists(), "nothing is left of a try");
    }

    #[test]
    fn a_scenario_that_is_none_is_usage() {
        let refused = scenario("nowhere").unwrap_err();
        assert!(matches!(refused, Failure::Usage(_)));
        assert!(refused.to_string().contains("batam"));
        assert_eq!(scenario("batam").unwrap().name, "batam");
    }
}
