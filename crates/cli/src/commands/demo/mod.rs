//! `giliran demo`: the Friday opening on this machine, from the first request
//! to the audit.

mod deployment;
mod picture;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use giliran_audit::{self as audit, Sources};
use giliran_fairness::scenario::shipped;
use giliran_loadgen::{Ended, LoadTest, RunSummary, SharedStats, Steady};
use giliran_nats::follower::overdue;
use giliran_nats::server::{self, Server, ServerOptions};
use giliran_nats::{Client, connection};
use giliran_wire::admin::{DONE, Quota};
use giliran_wire::client_log;
use tokio_util::sync::CancellationToken;

use crate::commands::audit as verdict;
use crate::commands::demo::deployment::{
    BEFORE_OPENING, Deployment, SlotShown, caught_up, on_record,
};
use crate::commands::demo::picture::{free_places, free_table, line, summary};
use crate::connect::Access;
use crate::daemons::until_asked;
use crate::failure::Failure;
use crate::health::HealthRegistry;
use crate::screen::Screen;

/// Whose people ask; its scalpers stay away.
const SCENARIO: &str = "batam";
/// Share of people who ask once more, under another request id.
const ASKS_ANEW: f64 = 0.02;
/// How often the picture is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(500);
/// How long whoever asked it to stop waits, at most.
const STOPS_WITHIN: Duration = Duration::from_secs(5);
/// Places that are added where it is kept open, so that there is something to book.
const ADDED: u16 = 20;
/// How long that may take.
const ADDED_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  giliran demo\n  giliran demo --people 500000 --rate 60000\n  \
    giliran demo --short --keep            then book a place in a browser; Ctrl-C ends it\n\n\
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
    /// Share of the people who ask through the gateway, over HTTP, from 0 to 1.
    #[arg(long, default_value_t = 0.05, value_parser = share)]
    via_gateway: f64,
    /// Where the gateway and its page are; the next free port is taken.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    page: SocketAddr,
    /// Where the console is, on which the day is seen; the next free port is taken.
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDR")]
    console: SocketAddr,
    /// Afterwards add places and stay open, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Where ledger, store and client log go; must not exist (default: a new
    /// folder for temporary files).
    #[arg(long)]
    data: Option<PathBuf>,
    /// The same seed, the same people.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("is to be a share from 0 to 1, as 0.05".to_owned()),
    }
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
    let starting = Deployment::start(data, server, (args.page, args.console), stopped.clone());
    let deployed = Box::pin(starting).await?;
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
    println!(
        "the page is at http://{}/, through which {} % of the people ask; the console at http://{}/",
        deployed.page,
        args.via_gateway * 100.0,
        deployed.console
    );
    let log_file = data.join("clients.jsonl");
    let load = crowd(args, people, &deployed, log_file.clone())?;
    let clients = Access::default().connect(&server.url(), "giliran demo clients").await?;
    let rush = Box::pin(rush(clients, load, &deployed.shown, asked.clone())).await?;
    println!("store and feed catch up …");
    caught_up(&deployed.shown, &deployed.ledger).await?;
    let log = client_log::read(BufReader::new(File::open(&log_file)?), "the log")?;
    let sources = Sources {
        stores: vec![deployed.store.clone()],
        log: Some(log),
        key: Some(deployed.key.clone()),
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
    if args.keep {
        keep(&deployed, &slots, &asked).await?;
    } else {
        println!(
            "What to try next:\n  giliran demo --short --keep   the same, kept open for your browser\n  \
             giliran up --dev              the same offices, open now, for your own client"
        );
    }
    deployed.end(&stopped).await?;
    match verdict::broken(&checks) {
        0 => Ok(()),
        n => Err(Failure::Wrong(format!("{n} checks of the audit are broken"))),
    }
}

/// Who asks, and how.
fn crowd(
    args: &Args,
    people: u64,
    deployed: &Deployment,
    log: PathBuf,
) -> Result<LoadTest, Failure> {
    let mut scenario = shipped(SCENARIO)
        .ok_or_else(|| Failure::Wrong(format!("scenario {SCENARIO} does not come with giliran")))?;
    scenario.attackers.clear();
    scenario.people.parties = people;
    scenario.people.early_s = BEFORE_OPENING.as_secs_f64();
    Ok(LoadTest {
        steady: Some(Steady { per_s: args.rate as f64, asks_anew: ASKS_ANEW }),
        log: Some(log),
        via: (args.via_gateway > 0.0).then(|| deployed.page.into()),
        via_share: args.via_gateway,
        ..LoadTest::new(deployed.namespace.clone(), scenario, args.seed)
    })
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

/// Adds places to the first slot that anybody may book, and stays until asked to end.
async fn keep(
    deployed: &Deployment,
    slots: &[SlotShown],
    asked: &CancellationToken,
) -> Result<(), Failure> {
    let Some((opening, office, date, session, quota, _)) = slots.first() else { return Ok(()) };
    let request = Quota {
        operator: "demo".into(),
        reason: "places to book by hand".into(),
        opening: opening.as_str().into(),
        office: office.as_str().into(),
        date: date.parse().map_err(|e| Failure::Wrong(format!("{date}: {e}")))?,
        session: Some(session.as_str().into()),
        quota: quota.saturating_add(ADDED),
        dry_run: false,
    };
    let subject = deployed.namespace.request("admin.quota");
    let request = serde_json::to_vec(&request)?.into();
    let answer = deployed.client.request(subject, request);
    let answer = tokio::time::timeout(ADDED_WITHIN, answer).await;
    let answer = answer.map_err(|e| Failure::Wrong(e.to_string()))?;
    let answer = answer.map_err(|e| Failure::Wrong(e.to_string()))?;
    let told: serde_json::Value = serde_json::from_slice(&answer.payload)?;
    if told["outcome"] != DONE {
        return Err(Failure::Wrong(format!("no places could be added: {told}")));
    }
    println!(
        "\n{ADDED} places were added at {office}, {date}, {session}. Book one at http://{}/\n\
         and see it at http://{}/; Ctrl-C ends it.",
        deployed.page, deployed.console
    );
    asked.cancelled().await;
    Ok(())
}
