//! `giliran surge`: a scenario's people and scalpers against a running engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use giliran_loadgen::{
    Ended, GatewayAddress, LiveStats, LoadError, LoadTest, RunSummary, SharedStats, report,
};
use giliran_nats::clock;
use giliran_nats::follower::overdue;
use giliran_report::Language;
use giliran_wire::answer::Reason;
use giliran_wire::ledger::Order;
use giliran_wire::subject::Namespace;

use crate::commands::fairness::scenario;
use crate::commands::history::{Outputs, can_be_written, write};
use crate::connect::{Nats, namespace};
use crate::daemons::until_asked;
use crate::failure::Failure;
use crate::screen::Screen;

/// How often a terminal's picture is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(250);
/// Whoever asked it to stop is not kept waiting for longer.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran up --dev &\n  \
    giliran surge --scenario batam --html surge.html\n  \
    giliran surge --scenario national --scale 0.1 --config-out giliran.toml\n  \
    giliran up --config giliran.toml &\n  \
    giliran surge --scenario national --scale 0.1 --log clients.jsonl\n  \
    giliran audit --client-log clients.jsonl\n  \
    giliran surge --scenario batam --language id --html surge.html\n  \
    giliran surge --via http://127.0.0.1:8080 --log clients.jsonl\n  \
    giliran surge --speed 20 --order rounds=500ms --config-out giliran.toml\n  \
    giliran surge --speed 20 --order rounds=500ms --after 2h --html surge.html\n\n\
    The scenarios are those of `giliran fairness --list`. Where the opening is still to come,\n\
    it waits for it. The client log names applicants as they asked. Held places are paid for with\n\
    the scenario's probabilities; --after says how long that is waited for.\n\n\
    Exit code 0: it ran to its end. 1: no engine, or one that stopped answering; interrupted; or\n\
    the generator itself was too slow, and the figures are void.")]
pub(crate) struct Args {
    #[command(flatten)]
    nats: Nats,
    /// The engine's subject prefix.
    #[arg(long, default_value = Namespace::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// Send bookings, look-ups and cancellations through a gateway; payments go over NATS.
    #[arg(long, value_name = "URL")]
    via: Option<GatewayAddress>,
    /// A scenario that comes with giliran, or a TOML file.
    #[arg(long, value_name = "NAME|FILE", default_value = "batam")]
    scenario: String,
    /// The opening (default: the one that is open, or comes next).
    #[arg(long, value_name = "ID")]
    opening: Option<String>,
    /// The order that the rules announce, for which scalpers buy: first-come,
    /// rounds=500ms, draw. The engine has its own; --config-out writes this one.
    #[arg(long, value_name = "ORDER", default_value = "first-come")]
    order: Order,
    /// The same seed, the same people; another one, others.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// People, scalpers' means and, with --config-out, places times this.
    #[arg(long, default_value_t = 1.0, value_parser = factor)]
    scale: f64,
    /// Seconds of the scenario in one: arrivals, ways there and back, pauses.
    #[arg(long, default_value_t = 1.0, value_parser = factor)]
    speed: f64,
    /// How long payments and lapses are waited for once nobody asks for places any
    /// more, in the scenario's time: as 10m.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = after)]
    after: Duration,
    /// Write what every client saw, for `giliran audit --client-log`.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Write the report, one HTML file that needs no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the report's charts into this folder, each as an SVG file.
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// Write everything as JSON into this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write tidy tables into this folder.
    #[arg(long, value_name = "DIR")]
    csv: Option<PathBuf>,
    /// The language of report and page: en or id (Indonesian). Files for machines stay the same.
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    language: Language,
    /// Write an engine configuration that fits the scenario, and end.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["log", "html", "pictures", "json", "csv", "opening"])]
    config_out: Option<PathBuf>,
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(x) if (1e-6..=1e4).contains(&x) => Ok(x),
        _ => Err("is to be a number from 0.000001 to 10000".to_owned()),
    }
}

/// A length of time, as in the configuration.
fn after(text: &str) -> Result<Duration, String> {
    let read = text.parse::<jiff::SignedDuration>().ok().map(Duration::try_from);
    match read {
        Some(Ok(after)) => Ok(after),
        _ => Err("is to be a length of time, as 0s, 10m or 2h".to_owned()),
    }
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let namespace = namespace(&args.subject_prefix)?;
    let whole = scenario(&args.scenario)?;
    let scenario = if args.scale == 1.0 { whole } else { whole.scaled(args.scale) };
    scenario.check().map_err(|e| Failure::Usage(format!("--scale {}: {e}", args.scale)))?;
    if let Some(file) = &args.config_out {
        let now = clock::now();
        return write(
            file,
            &giliran_loadgen::configuration(&scenario, &namespace, args.order, args.speed, now),
        );
    }
    // An hour's surge is not run for a report that cannot be written.
    outputs(&args).can_be_written()?;
    if let Some(file) = &args.log {
        can_be_written("--log", file)?;
    }
    let asked = until_asked();
    let client = args.nats.connect("giliran surge").await?;
    let rush = LoadTest {
        scale: args.scale,
        opening: args.opening.clone(),
        order: args.order,
        speed: args.speed,
        after_s: args.after.as_secs_f64(),
        log: args.log.clone(),
        via: args.via.clone(),
        ..LoadTest::new(namespace, scenario, args.seed)
    };
    let live = Arc::new(SharedStats::default());
    // Beside its connection: what wakes one of them is the other.
    let mut surge =
        tokio::spawn(giliran_loadgen::run(client, rush, Arc::clone(&live), asked.clone()));
    let (mut screen, mut waiting) = (Screen::of_pictures(), false);
    let mut every = tokio::time::interval(DRAWN_EVERY);
    let record = loop {
        tokio::select! {
            done = &mut surge => break done?,
            _ = every.tick() => draw(&mut screen, &live.view(), &mut waiting),
            () = overdue(&asked, STOPS_WITHIN) => {
                return Err(Failure::Wrong("interrupted".to_owned()));
            }
        }
    };
    let record = record.map_err(|error| match error {
        LoadError::Misfit(_) => Failure::Usage(error.to_string()),
        _ => Failure::Wrong(error.to_string()),
    })?;
    let view = live.view();
    if view.places > 0 && view.begins_in_s <= 1.0 {
        screen.end(|| picture(&view), || line(&view));
    }
    outln!();
    written(&args, &record)?;
    let void = record.void.map(|void| void.words(Language::English));
    judged(record.ended, void.as_deref(), record.log_failed.as_deref())
}

fn judged(ended: Ended, void: Option<&str>, log_failed: Option<&str>) -> Result<(), Failure> {
    match (ended, void, log_failed) {
        (Ended::EngineGone { at_s }, ..) => Err(Failure::Wrong(format!(
            "the engine stopped answering at second {at_s:.0}; the report holds what came before"
        ))),
        (Ended::Interrupted { at_s }, ..) => {
            Err(Failure::Wrong(format!("interrupted at second {at_s:.0}")))
        }
        (Ended::Complete, Some(why), _) => Err(Failure::Wrong(format!("void: {why}"))),
        (Ended::Complete, None, Some(why)) => {
            Err(Failure::Wrong(format!("--log: {why}; it is not whole")))
        }
        (Ended::Complete, None, None) => Ok(()),
    }
}

fn outputs(args: &Args) -> Outputs<'_> {
    let (csv, json, html) = (args.csv.as_deref(), args.json.as_deref(), args.html.as_deref());
    Outputs { csv, json, html, pictures: args.pictures.as_deref() }
}

fn written(args: &Args, record: &RunSummary) -> Result<(), Failure> {
    let report = report::report(record, args.language);
    outln!("{}", report.text().trim_end());
    if let Some(file) = &args.log {
        outln!("written: {}", file.display());
    }
    let Args { scenario, scale, speed, .. } = args;
    let command = format!("surge --scenario {scenario} --scale {scale} --speed {speed}");
    outputs(args).write(&report, &command)
}

/// Shows how it stands.
fn draw(screen: &mut Screen, view: &LiveStats, waiting: &mut bool) {
    if view.places == 0 {
        // Nothing is known yet.
        return;
    }
    if view.begins_in_s > 1.0 && !screen.is_terminal() {
        if !std::mem::replace(waiting, true) {
            screen.say(&format!("begins in {:.0} s, before the opening", view.begins_in_s));
        }
        return;
    }
    screen.draw(|| picture(view), || line(view));
}

fn line(view: &LiveStats) -> String {
    format!(
        "{:>7.1} s  came {:>7} of {}  sent {:>8}  granted {:>7}  sold out {:>8}  come again \
         {:>6}  not answered {:>5}  free {:>6}  grants p99 {:.1} ms  rejections p99 {:.1} ms",
        view.t_s,
        view.came,
        view.all,
        view.sent,
        view.granted,
        view.of(Reason::SoldOut),
        view.of(Reason::NotOpen) + view.of(Reason::Busy) + view.of(Reason::Unavailable),
        view.unanswered,
        view.free,
        view.grants_ms[1],
        view.rejections_ms[1],
    )
}

fn picture(view: &LiveStats) -> String {
    let when = if view.begins_in_s > 0.0 {
        format!("begins in {:.0} s", view.begins_in_s)
    } else {
        format!("second {:.0} from the opening", view.t_s)
    };
    let now = view.rate.last().copied().unwrap_or(0);
    let mut lines = vec![
        format!("{when}: {} of {} parties have come", view.came, view.all),
        format!("requests a second  {}  {now}", curve(&view.rate)),
        format!(
            "free places        {}  {} of {}",
            bar(view.free, view.places),
            view.free,
            view.places
        ),
        format!(
            "granted {}, entered {}, paid {}, on the way {}, not answered {}, of {} sent",
            view.granted, view.entered, view.paid, view.open, view.unanswered, view.sent
        ),
    ];
    for reason in Reason::ALL {
        if view.of(*reason) > 0 {
            lines.push(format!("  {:<16} {:>9}", reason.name(), view.of(*reason)));
        }
    }
    lines.push(format!(
        "grants p50 {:.1} ms, p99 {:.1} ms; rejections p50 {:.1} ms, p99 {:.1} ms; requests leave {:.1} ms \
         late (p99)",
        view.grants_ms[0], view.grants_ms[1], view.rejections_ms[0], view.rejections_ms[1], view.late_ms
    ));
    lines.join("\n")
}

/// Rates as a row of bars, the highest full.
fn curve(rates: &[u64]) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = rates.iter().copied().max().unwrap_or(0).max(1);
    rates.iter().map(|rate| BARS[(rate * 8).div_ceil(most).min(8) as usize]).collect()
}

fn bar(part: i64, whole: i64) -> String {
    const WIDTH: i64 = 30;
    let full = (part.clamp(0, whole.max(0)) * WIDTH / whole.max(1)) as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(WIDTH as usize - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_what_they_stand_for() {
        assert_eq!(curve(&[0, 1, 50, 100]), " ▁▄█");
        assert_eq!(curve(&[]), "");
        assert_eq!(bar(50, 100).matches('█').count(), 15);
        assert_eq!(bar(-3, 100).matches('█').count(), 0);
        assert_eq!(bar(0, 0).chars().count(), 30);
    }

    #[test]
    fn a_configuration_fits_its_scenario() {
        let now = giliran_wire::Timestamp::from_millis(1_795_000_000_000);
        for (name, _) in giliran_fairness::scenario::SHIPPED {
            let scenario = scenario(name).unwrap().scaled(0.3);
            let scenario_ms = |s: f64| (s * 1e3 / 4.0) as u64;
            for order in [Order::FirstCome, Order::Rounds { length_ms: 250 }, Order::Draw] {
                let text = giliran_loadgen::configuration(
                    &scenario,
                    &Namespace::default(),
                    order,
                    4.0,
                    now,
                );
                let config = giliran_config::parse(&text, name).unwrap_or_else(|e| panic!("{e}"));
                let due = config.due(now, 3_600_000);
                assert_eq!(due.len(), 1, "{name}");
                giliran_allocator::Opening::supported(&due[0])
                    .unwrap_or_else(|e| panic!("{name}: {e}"));
                let places: u64 = due[0].slots.iter().map(|slot| u64::from(slot.quota)).sum();
                assert_eq!(places, scenario.offices.places(), "{name}");
                let rules = &due[0].rules;
                assert_eq!((rules.max_party, rules.order), (scenario.opening.max_party, order));
                assert_eq!(rules.hold_ms, scenario.opening.hold_s.map(scenario_ms), "{name}");
                let lasts_ms = due[0].closes_at.millis_since(due[0].opens_at);
                let window_ms = scenario_ms(scenario.opening.window_s).max(10_000);
                assert_eq!(lasts_ms == window_ms, order == Order::Draw, "{name}: {lasts_ms}");
            }
        }
    }

    #[test]
    fn only_a_whole_run_that_counts_is_fine() {
        let said = |ended, void, log| judged(ended, void, log).unwrap_err().to_string();
        assert!(judged(Ended::Complete, None, None).is_ok());
        assert_eq!(said(Ended::Complete, Some("too slow"), Some("full")), "void: too slow");
        assert!(said(Ended::Complete, None, Some("full")).starts_with("--log: full"));
        let gone = said(Ended::EngineGone { at_s: 41.6 }, Some("too slow"), None);
        assert!(gone.starts_with("the engine stopped answering at second 42"), "{gone}");
        assert_eq!(said(Ended::Interrupted { at_s: 3.0 }, None, None), "interrupted at second 3");
    }

    #[test]
    fn waiting_has_a_length() {
        assert_eq!(after("0s"), Ok(Duration::ZERO));
        assert_eq!(after("2h 30m"), Ok(Duration::from_secs(9_000)));
        for wrong in ["10", "-5s", "soon"] {
            assert!(after(wrong).unwrap_err().contains("as 0s, 10m"), "{wrong}");
        }
    }

    #[test]
    fn factors_are_above_zero() {
        assert_eq!(factor("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "much", "inf", "NaN"] {
            assert!(factor(wrong).is_err(), "{wrong}");
        }
    }
}
