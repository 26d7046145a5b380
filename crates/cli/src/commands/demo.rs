//! `giliran demo`: the Friday opening on this machine, from the first request
//! to the audit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use giliran_audit::{self as audit, Facts, Sources};
use giliran_fairness::scenario::shipped;
use giliran_loadgen::{Ended, Latency, LiveStats, LoadTest, RunSummary, SharedStats, Steady};
use giliran_nats::follower::overdue;
use giliran_nats::ledger::Ledger;
use giliran_nats::server::{self, Server, ServerOptions};
use giliran_nats::{Client, clock, connection};
use giliran_persist::StoreUrl;
use giliran_wire::answer::Reason;
use giliran_wire::subject::Namespace;
use giliran_wire::{ApplicantKey, client_log};
use tokio_util::sync::CancellationToken;

use crate::commands::{audit as verdict, init};
use crate::connect::{Access, suitable};
use crate::daemons::{EngineSetup, Running, start_engine, start_feed, start_persist, until_asked};
use crate::failure::Failure;
use crate::health::{Health, HealthRegistry};
use crate::key_file;
use crate::screen::Screen;

/// Whose people ask; its scalpers stay away.
const SCENARIO: &str = "batam";
/// Share of people who ask once more, under another request id.
const ASKS_ANEW: f64 = 0.02;
/// From the start of the load to the opening's second.
const BEFORE_OPENING: Duration = Duration::from_secs(3);
/// How often the picture is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(500);
/// How long whoever asked it to stop waits, at most.
const STOPS_WITHIN: Duration = Duration::from_secs(5);
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
    let asked = until_asked();
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
    let stop = CancellationToken::new();
    let outcome = tokio::select! {
        outcome = Box::pin(play(&args, &data, &server, stop.clone(), asked.clone())) => outcome,
        // Whoever waits for something that does not come is not waited for.
        () = overdue(&asked, STOPS_WITHIN) => {
            Err(Failure::Wrong("interrupted".to_owned()))
        }
    };
    stop.cancel();
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.stop().await?;
    outcome
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
    stopped: CancellationToken,
    asked: CancellationToken,
) -> Result<(), Failure> {
    let deployed = Deployment::start(data, server, stopped).await?;
    // The opening's slots are on record before it opens.
    let slots = on_record(&deployed.ledger).await?;
    let quota: u64 = slots.iter().map(|slot| u64::from(slot.4)).sum();
    let people = if args.short { 8_000 } else { args.people };
    println!(
        "{quota} places in {} slots of {} offices; {people} people ask, {} a second; the opening \
         is in {} s",
        slots.len(),
        slots.iter().map(|slot| &slot.1).collect::<BTreeSet<_>>().len(),
        args.rate,
        BEFORE_OPENING.as_secs()
    );
    let mut scenario = shipped(SCENARIO)
        .ok_or_else(|| Failure::Wrong(format!("scenario {SCENARIO} does not come with giliran")))?;
    scenario.attackers.clear();
    scenario.people.parties = people;
    scenario.people.early_s = BEFORE_OPENING.as_secs_f64();
    let log_file = data.join("clients.jsonl");
    let load = LoadTest {
        steady: Some(Steady { per_s: args.rate as f64, asks_anew: ASKS_ANEW }),
        log: Some(log_file.clone()),
        ..LoadTest::new(deployed.namespace.clone(), scenario, args.seed)
    };
    let clients = Access::default().connect(&server.url(), "giliran demo clients").await?;
    let rush = Box::pin(rush(clients, load, &deployed.shown, asked)).await?;
    println!("store and feed catch up …");
    caught_up(&deployed.shown, &deployed.ledger).await?;
    let log = client_log::read(BufReader::new(File::open(&log_file)?), "the log")?;
    let sources = Sources {
        stores: vec![deployed.store],
        log: Some(log),
        key: Some(deployed.key),
        archive: None,
    };
    let context = connection::jetstream(&deployed.client, None);
    let (facts, checks) =
        audit::run(&context, &deployed.namespace, &deployed.ledger, sources).await?;
    summary(&facts, &rush);
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
    for role in deployed.roles {
        if role.is_finished() {
            role.await.map_err(|e| Failure::Wrong(e.to_string()))??;
        }
    }
    match verdict::broken(&checks) {
        0 => Ok(()),
        n => Err(Failure::Wrong(format!("{n} checks of the audit are broken"))),
    }
}

/// Ledger, engine, store and feed, all in this process.
struct Deployment {
    client: Client,
    namespace: Namespace,
    key: ApplicantKey,
    ledger: Ledger,
    store: StoreUrl,
    shown: HealthRegistry,
    roles: [Running; 3],
}

impl Deployment {
    /// With an opening that opens soon; ready.
    async fn start(
        data: &Path,
        server: &Server,
        stopped: CancellationToken,
    ) -> Result<Self, Failure> {
        let client = Access::default().connect(&server.url(), "giliran demo").await?;
        suitable(&client, Some(&server.monitor_url())).await?;
        let shown = HealthRegistry::new(stopped.clone())?;
        let config =
            giliran_config::dev(clock::now().plus_millis(BEFORE_OPENING.as_millis() as u64 + 500));
        let namespace = config.namespace.clone();
        let key = key_file::make(&data.join(key_file::FILE))?;
        let ledger = init::make(&client, &namespace, &key, 1).await?;
        let setup = EngineSetup {
            client: client.clone(),
            config,
            key: key.clone(),
            data: data.to_owned(),
            name: "demo".to_owned(),
            workers: None,
            trust_clock: None,
            ledger: ledger.clone(),
        };
        let store = StoreUrl::Sqlite(data.join("bookings.sqlite"));
        let (broker, followed) = ((&client, &namespace), ledger.clone());
        let roles = [
            start_engine(setup, &shown, stopped.clone())?,
            start_persist(store.clone(), None, broker, followed, &shown, stopped.clone())?,
            start_feed(client.clone(), namespace.clone(), ledger.clone(), &shown, stopped)?,
        ];
        ready(&shown).await?;
        Ok(Self { client, namespace, key, ledger, store, shown, roles })
    }
}

/// Everybody asks; shows how it goes.
async fn rush(
    clients: Client,
    load: LoadTest,
    shown: &HealthRegistry,
    asked: CancellationToken,
) -> Result<RunSummary, Failure> {
    let live = Arc::new(SharedStats::default());
    let started = Instant::now();
    let running = giliran_loadgen::run(clients, load, Arc::clone(&live), asked);
    let mut running = tokio::spawn(running);
    let mut screen = Screen::of_pictures();
    let mut every = tokio::time::interval(DRAWN_EVERY);
    let picture = || {
        let view = line(&live.view(), started.elapsed());
        [free_table(&free_places(shown)), view].join("\n")
    };
    let done = loop {
        tokio::select! {
            done = &mut running => break done?,
            _ = every.tick() => screen.draw(picture, || line(&live.view(), started.elapsed())),
        }
    };
    screen.end(picture, || line(&live.view(), started.elapsed()));
    let rush = done?;
    match (rush.ended, &rush.log_failed) {
        (Ended::Complete, None) => Ok(rush),
        (Ended::Complete, Some(why)) => Err(Failure::Wrong(format!("clients.jsonl: {why}"))),
        (Ended::Interrupted { .. }, _) => {
            Err(Failure::Wrong("interrupted; nothing is left running".to_owned()))
        }
        (Ended::EngineGone { at_s }, _) => {
            Err(Failure::Wrong(format!("the engine stopped answering at second {at_s:.0}")))
        }
    }
}

fn line(view: &LiveStats, since: Duration) -> String {
    let rejected: u64 = view.rejected.iter().sum();
    let (early, late) = (view.of(Reason::NotOpen), view.of(Reason::SoldOut));
    let other = rejected - early - late;
    format!(
        "{:>5.1} s  sent {:>7}  granted {:>6}  not open yet {early:>6}  sold out {late:>7}  other \
         {other:>6}  grants p50 {:.1} ms p99 {:.1} ms  rejections p99 {:.1} ms",
        since.as_secs_f64(),
        view.sent,
        view.granted,
        view.grants_ms[0],
        view.grants_ms[1],
        view.rejections_ms[1],
    )
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

async fn on_record(ledger: &Ledger) -> Result<Vec<SlotShown>, Failure> {
    for _ in 0..100 {
        let slots = Box::pin(audit::Facts::of(ledger, None)).await?.slots();
        if !slots.is_empty() {
            return Ok(slots);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Failure::Wrong("the opening did not get on record".to_owned()))
}

async fn caught_up(shown: &HealthRegistry, ledger: &Ledger) -> Result<(), Failure> {
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

fn free_table(free: &BTreeMap<String, BTreeMap<String, i64>>) -> String {
    let dates: BTreeSet<&String> = free.values().flat_map(BTreeMap::keys).collect();
    let head: String = dates.iter().map(|date| format!("{date:>12}")).collect();
    let mut lines = vec![format!("{:<20}{head}", "free places")];
    for (office, days) in free {
        let places = |date: &&String| days.get(*date).copied().unwrap_or_default();
        let days: String = dates.iter().map(|date| format!("{:>12}", places(date))).collect();
        lines.push(format!("{office:<20}{days}"));
    }
    lines.join("\n")
}

fn summary(facts: &Facts, rush: &RunSummary) {
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
    println!(
        "\n{} requests in {:.1} s ({:.0} a second): {} grants answered, {} rejections, {} without \
         answer in time; the generator was at most {:.1} ms late",
        rush.requests,
        rush.took_s,
        rush.requests as f64 / rush.took_s,
        rush.grants.count,
        rush.rejections.count,
        rush.unheard + rush.unanswered,
        rush.lag.max
    );
    for (reason, count) in &rush.rejected {
        println!("  {reason:<16} {count:>8}");
    }
    println!("latency, ms      {:>8} {:>8} {:>8} {:>8}", "p50", "p90", "p99", "p99.9");
    for (name, Latency { p50, p90, p99, p999, .. }) in
        [("grants", &rush.grants), ("rejections", &rush.rejections)]
    {
        println!("  {name:<14} {p50:>8.2} {p90:>8.2} {p99:>8.2} {p999:>8.2}");
    }
}
