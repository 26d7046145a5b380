//! `giliran demo`: the Friday opening on this machine, from the first request
//! to the audit.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use giliran_audit::{self as audit, Facts, Sources};
use giliran_config::Config;
use giliran_loadgen::load::{self, Load, Progress};
use giliran_nats::ledger;
use giliran_nats::server::{self, Server, ServerOptions};
use giliran_nats::{clock, connection};
use giliran_persist::StoreUrl;
use giliran_wire::answer::Reason;
use giliran_wire::client_log;
use tokio::sync::watch;

use crate::commands::{audit as verdict, init};
use crate::daemons::{
    Access, EngineSetup, start_engine, start_feed, start_persist, suitable, until_asked,
};
use crate::failure::Failure;
use crate::health::{Health, HealthRegistry};
use crate::key_file;

/// From the start of the load to the opening's second.
const BEFORE_OPENING: Duration = Duration::from_secs(3);
/// How long store and feed may take to catch up before the audit.
const CATCH_UP: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  giliran demo\n  giliran demo --people 500000 --rate 60000\n\n\
    Needs a nats-server on PATH or in GILIRAN_NATS_SERVER. Nothing is left running."
)]
pub(crate) struct Args {
    /// How many people ask; with what they repeat and try again it comes to some
    /// 300,000 requests.
    #[arg(long, default_value_t = 120_000)]
    people: u64,
    /// Requests a second at the peak.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// A smaller surge, for a quick look: 8,000 people.
    #[arg(long)]
    short: bool,
    /// Where ledger, store and client log go; must not exist (default: a new
    /// folder for temporary files).
    #[arg(long)]
    data: Option<PathBuf>,
    /// The same seed, the same people.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let data = folder(args.data.as_deref())?;
    let mut asked = until_asked();
    let binary = server::locate()?;
    println!("nats-server, syncing before every acknowledgement …");
    let server = Server::start(ServerOptions {
        binary,
        folder: data.join("nats"),
        port: None,
        sync_always: true,
        more: String::new(),
    })
    .await?;
    let (stop, stopped) = watch::channel(false);
    let day = play(&args, &data, &server, stopped, asked.clone());
    let outcome = tokio::select! {
        outcome = Box::pin(day) => outcome,
        // Whoever waits for something that does not come is not waited for.
        () = long_after(&mut asked) => Err(Failure::Wrong("interrupted".to_owned())),
    };
    stop.send_replace(true);
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.stop().await?;
    outcome
}

async fn long_after(asked: &mut watch::Receiver<bool>) {
    // An error: nobody can ask any more.
    if asked.wait_for(|asked| *asked).await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
}

fn folder(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let folder = match named {
        Some(folder) if folder.exists() => {
            return Err(Failure::Usage(format!(
                "--data {}: exists already; the demo begins with a new folder",
                folder.display()
            )));
        }
        Some(folder) => folder.to_owned(),
        None => std::env::temp_dir().join(format!("giliran-demo-{:08x}", rand::random::<u32>())),
    };
    std::fs::create_dir_all(&folder)?;
    Ok(std::path::absolute(folder)?)
}

async fn play(
    args: &Args,
    data: &Path,
    server: &Server,
    stopped: watch::Receiver<bool>,
    asked: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let url = server.url();
    let client = Access::default().connect(&url, "giliran demo").await?;
    suitable(&client, Some(&server.monitor_url())).await?;
    let shown = HealthRegistry::new()?;
    let config = Config::dev(clock::now().plus_millis(BEFORE_OPENING.as_millis() as u64 + 500));
    let domain = config.domain.clone();
    let key = key_file::make(&data.join(key_file::FILE))?;
    let ledger = init::make(&client, &domain, &key, 1).await?;
    let store = StoreUrl::Sqlite(data.join("bookings.sqlite"));
    let setup = EngineSetup {
        client: client.clone(),
        config: config.clone(),
        key: key.clone(),
        data: data.to_owned(),
        name: Some("demo".to_owned()),
        workers: None,
        trust_clock: None,
        ledger: ledger.clone(),
    };
    let engine = start_engine(setup, &shown, stopped.clone())?;
    let (broker, stored) = ((&client, &domain), store.clone());
    let persist = start_persist(stored, None, broker, ledger.clone(), &shown, stopped.clone())?;
    let feed = start_feed(client.clone(), domain.clone(), ledger.clone(), &shown, stopped.clone())?;
    ready(&shown).await?;

    // The opening's slots are on record before it opens.
    let slots = on_record(&ledger).await?;
    let places: Vec<_> = slots
        .iter()
        .filter(|slot| slot.3 != "priority" && slot.3 != "express")
        .map(|slot| (slot.1.clone(), slot.2.clone(), slot.3.clone()))
        .collect();
    let quota: u64 = slots.iter().map(|slot| u64::from(slot.4)).sum();
    let people = if args.short { 8_000 } else { args.people };
    println!(
        "{quota} places in {} slots of {} offices; {people} people ask, {} a second; the opening \
         is in {} s",
        slots.len(),
        slots.iter().map(|slot| &slot.1).collect::<std::collections::BTreeSet<_>>().len(),
        args.rate,
        BEFORE_OPENING.as_secs()
    );
    let log_file = data.join("clients.jsonl");
    let load = Load {
        domain: domain.clone(),
        people,
        per_second: args.rate,
        rush_after: BEFORE_OPENING,
        places,
        seed: args.seed,
        window: 16_384,
        patience: Duration::from_secs(5),
        log: Some(log_file.clone()),
    };
    let progress = Arc::new(Progress::default());
    let clients = connection::connect(&url, "giliran demo clients", &Default::default()).await?;
    let started = Instant::now();
    let mut surge = tokio::spawn(load::run(clients, load, Arc::clone(&progress), asked.clone()));
    let mut screen = Screen::new();
    let mut every = tokio::time::interval(Duration::from_millis(500));
    let sent = loop {
        tokio::select! {
            done = &mut surge => break done.map_err(|e| Failure::Wrong(e.to_string()))?,
            _ = every.tick() => screen.draw(&shown, &progress, started.elapsed()),
        }
    };
    sent?;
    screen.draw(&shown, &progress, started.elapsed());
    let took = started.elapsed();
    if *asked.borrow() {
        return Err(Failure::Wrong("interrupted; nothing is left running".to_owned()));
    }
    println!("store and feed catch up …");
    caught_up(&shown, &ledger).await?;
    let log = client_log::read(BufReader::new(File::open(&log_file)?), "the log")?;
    let sources =
        Sources { stores: vec![store.clone()], log: Some(log), key: Some(key), archive: None };
    let context = connection::jetstream(&client, None);
    let (facts, checks) = audit::run(&context, &domain, &ledger, sources).await?;
    summary(&facts, &progress, took);
    println!("\nThe audit, from ledger, store, events and client log:");
    print!("{}", verdict::table(&facts, &checks));
    println!("\nWhat is left, in {}:", data.display());
    println!(
        "  bookings.sqlite   sqlite3 {}/bookings.sqlite 'select * from bookings limit 5'",
        data.display()
    );
    println!("  clients.jsonl     what every client saw; nats/ the ledger's stream");
    println!(
        "What to try next:\n  giliran up --dev          the same offices, open now, for your own client"
    );
    for role in [engine, persist, feed] {
        if role.is_finished() {
            role.await.map_err(|e| Failure::Wrong(e.to_string()))??;
        }
    }
    match verdict::broken(&checks) {
        0 => Ok(()),
        n => Err(Failure::Wrong(format!("{n} checks of the audit are broken"))),
    }
}

async fn ready(shown: &HealthRegistry) -> Result<(), Failure> {
    let all = async {
        while !shown.look().iter().all(Health::is_ready) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.map_err(|_| {
        let state = |part: &Health| {
            format!("{}: {} {}", part.name, part.report.state.word(), part.report.detail)
        };
        let states: Vec<String> = shown.look().iter().map(state).collect();
        Failure::Wrong(format!("not ready after 20 s: {}", states.join("; ")))
    })
}

type SlotShown = (String, String, String, String, u16, u32);

async fn on_record(ledger: &ledger::Ledger) -> Result<Vec<SlotShown>, Failure> {
    for _ in 0..100 {
        let slots = Box::pin(audit::Facts::of(ledger, None)).await?.slots();
        if !slots.is_empty() {
            return Ok(slots);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Failure::Wrong("the opening did not get on record".to_owned()))
}

async fn caught_up(shown: &HealthRegistry, ledger: &ledger::Ledger) -> Result<(), Failure> {
    let (_, tail) = ledger.tail().await?;
    let behind = |part: &Health| part.details["seq"].as_u64().is_some_and(|seq| seq < tail);
    let all = async {
        while shown.look().iter().any(behind) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The last free places are told with the next coalesced update.
        tokio::time::sleep(Duration::from_millis(600)).await;
    };
    tokio::time::timeout(CATCH_UP, all)
        .await
        .map_err(|_| Failure::Wrong("store or feed did not catch up within a minute".to_owned()))
}

/// The live table.
struct Screen {
    lines: usize,
    live: bool,
    last: Option<Instant>,
}

impl Screen {
    fn new() -> Self {
        Self { lines: 0, live: std::io::stdout().is_terminal(), last: None }
    }

    /// Draws over the last picture; where no terminal is, a line every two
    /// seconds.
    fn draw(&mut self, shown: &HealthRegistry, progress: &Progress, since: Duration) {
        let ((p50, _), (p99, r99)) = (progress.latency_ms(0.5), progress.latency_ms(0.99));
        let line = format!(
            "{:>5.1} s  sent {:>7}  granted {:>6}  not open yet {:>6}  sold out {:>7}  other {:>6}  \
             grants p50 {p50:.1} ms p99 {p99:.1} ms  refusals p99 {r99:.1} ms",
            since.as_secs_f64(),
            progress.sent.load(Ordering::Relaxed),
            progress.granted.load(Ordering::Relaxed),
            progress.of(Reason::NotOpen),
            progress.of(Reason::SoldOut),
            progress.rejections() - progress.of(Reason::NotOpen) - progress.of(Reason::SoldOut),
        );
        let mut out = std::io::stdout().lock();
        if !self.live {
            if self.last.is_none_or(|last| last.elapsed() >= Duration::from_secs(2)) {
                self.last = Some(Instant::now());
                let _ = writeln!(out, "{line}");
            }
            return;
        }
        let mut picture = free_table(&free_places(shown));
        picture.push(line);
        if self.lines > 0 {
            let _ = write!(out, "\x1b[{}A\x1b[J", self.lines);
        }
        for line in &picture {
            let _ = writeln!(out, "{line}");
        }
        self.lines = picture.len();
    }
}

/// Free places by office and date, from the metrics.
fn free_places(shown: &HealthRegistry) -> BTreeMap<String, BTreeMap<String, i64>> {
    let mut free: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    for family in shown.registry.gather() {
        if family.name() != "giliran_free_places" {
            continue;
        }
        for metric in family.get_metric() {
            let label = |name: &str| {
                let pair = metric.get_label().iter().find(|pair| pair.name() == name);
                pair.map_or_else(String::new, |pair| pair.value().to_owned())
            };
            let places = metric.get_gauge().get_value() as i64;
            *free.entry(label("office")).or_default().entry(label("date")).or_default() += places;
        }
    }
    free
}

fn free_table(free: &BTreeMap<String, BTreeMap<String, i64>>) -> Vec<String> {
    let dates: std::collections::BTreeSet<&String> =
        free.values().flat_map(BTreeMap::keys).collect();
    let mut lines = vec![format!(
        "{:<20}{}",
        "free places",
        dates.iter().map(|date| format!("{date:>12}")).collect::<String>()
    )];
    for (office, days) in free {
        let days: String = dates
            .iter()
            .map(|date| format!("{:>12}", days.get(*date).copied().unwrap_or_default()))
            .collect();
        lines.push(format!("{office:<20}{days}"));
    }
    lines
}

fn summary(facts: &Facts, progress: &Progress, took: Duration) {
    let mut days: BTreeMap<(String, String), (u32, u32)> = BTreeMap::new();
    for (_, office, date, _, quota, taken) in facts.slots() {
        let day = days.entry((office, date)).or_default();
        day.0 += taken;
        day.1 += u32::from(quota);
    }
    println!("\n{:<20} {:<12} {:>8} {:>8}", "office", "date", "granted", "quota");
    for ((office, date), (taken, quota)) in days {
        println!("{office:<20} {date:<12} {taken:>8} {quota:>8}");
    }
    let sent = progress.sent.load(Ordering::Relaxed);
    println!(
        "\n{sent} requests in {:.1} s ({:.0} a second): {} grants answered, {} refusals, {} \
         without answer in time; the generator was at most {:.1} ms late",
        took.as_secs_f64(),
        sent as f64 / took.as_secs_f64(),
        progress.granted.load(Ordering::Relaxed),
        progress.rejections(),
        progress.unanswered.load(Ordering::Relaxed),
        progress.lag_us.load(Ordering::Relaxed) as f64 / 1e3
    );
    for reason in Reason::ALL {
        if progress.of(*reason) > 0 {
            println!("  {:<16} {:>8}", reason.name(), progress.of(*reason));
        }
    }
    println!("latency, ms      {:>8} {:>8} {:>8} {:>8}", "p50", "p90", "p99", "p99.9");
    for (name, granted) in [("grants", true), ("refusals", false)] {
        let at = |quantile| {
            let (grants, refusals) = progress.latency_ms(quantile);
            format!("{:>8.2}", if granted { grants } else { refusals })
        };
        println!("  {name:<14} {} {} {} {}", at(0.5), at(0.9), at(0.99), at(0.999));
    }
}
