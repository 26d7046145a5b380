//! `giliran bench`: throughput and latency over NATS, beside a no-op echo in the
//! same run.
//!
//! Closed loop for throughput: a fixed number of requests is on its way, one
//! request a message. The echo uses the same client library, connections and
//! sizes of request and answer; its answers are read as an engine's are. Every
//! figure is the median of the rounds, and rounds of echo and engine alternate,
//! so that a noisy machine is noisy for both.

mod expiries;
mod requests;
mod stage;
mod start;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use giliran_loadgen::closed_loop::ClosedLoop;
use giliran_nats::{clock, connection};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use self::requests::verdict;
use self::stage::{Stage, opening};
use crate::failure::Failure;
use crate::{COMMIT, RELEASE};

/// Messages on their way at once, each of as many requests as it holds, where bookings
/// are made that nothing is measured by.
const WINDOW: usize = 32;
/// Subject of the no-op echo.
const ECHO: &str = "bench.echo";

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  giliran bench\n  giliran bench --rounds 3 --seconds 1 --json bench.json\n  \
    giliran bench --expiries 100000\n  giliran bench --start 10000000"
)]
pub(crate) struct Args {
    /// Rounds of each row; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Length of a round.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Requests on their way at once.
    #[arg(long, default_value_t = 4_096)]
    window: usize,
    /// Write the figures there as JSON, every round included.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Instead: so many holds that end at once, during a surge.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    expiries: Option<u32>,
    /// Instead: start an engine on a ledger of so many bookings, without and with
    /// a snapshot.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=20_000_000))]
    start: Option<u32>,
    /// Bookings a second of the surge beside the expiries.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    per_second: u32,
    /// Answer the echo's requests (started by the benchmark itself).
    #[arg(long, hide = true, value_name = "URL")]
    echo: Option<String>,
}

/// One row's rounds.
#[derive(Debug, Default)]
struct Row(Vec<f64>);

impl Row {
    fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    if let Some(url) = &args.echo {
        return echo(url).await;
    }
    let folder = std::env::temp_dir().join(format!("giliran-bench-{:08x}", rand::random::<u32>()));
    std::fs::create_dir_all(&folder)?;
    let measured = match (args.expiries, args.start) {
        (Some(n), _) => Box::pin(expiries::run(n, args.per_second, &folder)).await,
        (None, Some(n)) => Box::pin(start::run(n, &folder)).await,
        (None, None) => Box::pin(measure(&args, &folder)).await,
    };
    std::fs::remove_dir_all(&folder)?;
    measured
}

async fn measure(args: &Args, folder: &Path) -> Result<(), Failure> {
    let first = requests::at_office(0, "full");
    let stage = Stage::start(folder, &configuration(args.rounds), first).await?;
    let mut bench = Bench::start(args, &stage).await?;
    let mut rows: Vec<(&str, Row)> = ["echo", "S1", "S2 off", "S3", "echo beside S2 on", "S2 on"]
        .map(|name| (name, Row::default()))
        .into();
    for round in 0..args.rounds {
        eprintln!("round {} of {} …", round + 1, args.rounds);
        rows[0].1.0.push(bench.echo_rate().await?);
        rows[1].1.0.push(bench.sold_out().await?);
        rows[2].1.0.push(bench.grants().await?);
        rows[3].1.0.push(bench.hot_slot(round).await?);
    }
    let idle = bench.idle().await?;
    eprintln!("persist and feed start and catch up …");
    let store = format!("sqlite:{}", folder.join("bookings.sqlite").display());
    let _persist = stage.role(&["persist", "--store", &store])?;
    let _feed = stage.role(&["feed"])?;
    bench.caught_up(&store).await?;
    let mut lag_ms = Row::default();
    for round in 0..args.rounds {
        eprintln!("round {} of {}, persist and feed on …", round + 1, args.rounds);
        rows[4].1.0.push(bench.echo_rate().await?);
        rows[5].1.0.push(bench.grants().await?);
        lag_ms.0.push(bench.caught_up(&store).await?.as_secs_f64() * 1e3);
    }
    report(args, &bench, &rows, &idle, &lag_ms)?;
    drop(bench);
    stage.stop().await
}

struct Bench<'a> {
    stage: &'a Stage,
    asking: ClosedLoop,
    book: String,
    round: Duration,
    /// Applicants that have asked.
    people: u64,
    /// Bytes of a request and of its answer.
    sizes: (usize, usize),
    _echo: Child,
}

impl<'a> Bench<'a> {
    async fn start(args: &Args, stage: &'a Stage) -> Result<Self, Failure> {
        let echo = Command::new(std::env::current_exe()?)
            .args(["bench", "--echo", &stage.url()])
            .kill_on_drop(true)
            .spawn()?;
        let (client, book) = (&stage.client, stage.domain.request("book"));
        while client.request(ECHO, Bytes::from_static(b"0")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let payload = requests::at_office(1, "office-0");
        let size = payload.len();
        let answer = client.request(book.clone(), payload).await?.payload;
        let sizes = (size, answer.len());
        // The echo answers with this from now on.
        client.request(format!("{ECHO}.answer"), answer).await?;
        let asking = ClosedLoop::new(client.clone(), args.window).await?;
        let round = Duration::from_secs_f64(args.seconds);
        Ok(Self { stage, asking, book, round, people: 2, sizes, _echo: echo })
    }

    /// A new applicant's request for one slot of the 500.
    fn spread(&mut self) -> Bytes {
        self.people += 1;
        requests::batch(self.people - 1, 1)
    }

    /// Keeps the window full for a round, or for `most` requests; answers a second that
    /// were what was wanted.
    async fn drive(
        &mut self,
        subject: &str,
        most: u64,
        wanted: bool,
        mut request: impl FnMut(u64) -> Bytes,
    ) -> Result<f64, Failure> {
        let make = || {
            self.people += 1;
            request(self.people - 1)
        };
        let is_right = |payload: &[u8]| verdict(payload) == Some((wanted, true));
        let round = self.asking.run(subject, (self.round, most), make, is_right);
        let round = Box::pin(round).await?;
        if round.others > round.right / 10 {
            eprintln!(
                "  {subject}: {} of {} answers were others (busy, sold out)",
                round.others,
                round.right + round.others
            );
        }
        Ok(round.per_s())
    }

    async fn echo_rate(&mut self) -> Result<f64, Failure> {
        self.drive(ECHO, u64::MAX, true, |n| requests::batch(n, 1)).await
    }

    async fn sold_out(&mut self) -> Result<f64, Failure> {
        let book = self.book.clone();
        self.drive(&book, u64::MAX, false, |n| requests::at_office(n, "full")).await
    }

    async fn grants(&mut self) -> Result<f64, Failure> {
        let book = self.book.clone();
        self.drive(&book, u64::MAX, true, |n| requests::batch(n, 1)).await
    }

    /// One slot holds 65,535 places at most: the round ends when they are gone.
    async fn hot_slot(&mut self, round: u32) -> Result<f64, Failure> {
        let (book, office) = (self.book.clone(), format!("hot-{round}"));
        self.drive(&book, 65_000, true, |n| requests::at_office(n, &office)).await
    }

    /// Medians of single requests, ms: NATS round trip, ledger append, grant.
    async fn idle(&mut self) -> Result<[f64; 3], Failure> {
        let context = async_nats::jetstream::new(self.stage.client.clone());
        let stream = async_nats::jetstream::stream::Config {
            name: "BENCH".to_owned(),
            subjects: vec!["bench.append".to_owned()],
            ..Default::default()
        };
        context.create_stream(stream).await?;
        let mut rows = [Row::default(), Row::default(), Row::default()];
        let block = vec![7_u8; 400];
        for _ in 0..1_000 {
            let payload = self.spread();
            let since = Instant::now();
            self.stage.client.request(ECHO, payload).await?;
            rows[0].0.push(since.elapsed().as_secs_f64() * 1e3);
            let since = Instant::now();
            context.publish("bench.append", block.clone().into()).await?.await?;
            rows[1].0.push(since.elapsed().as_secs_f64() * 1e3);
            let payload = self.spread();
            let since = Instant::now();
            self.stage.client.request(self.book.clone(), payload).await?;
            rows[2].0.push(since.elapsed().as_secs_f64() * 1e3);
        }
        Ok(rows.map(|row| row.median()))
    }

    /// How long store and events take to stand at the ledger's end.
    async fn caught_up(&self, store: &str) -> Result<Duration, Failure> {
        let since = Instant::now();
        let (_, tail) = self.stage.ledger.tail().await?;
        let url = store.parse().map_err(Failure::Usage)?;
        let context = async_nats::jetstream::new(self.stage.client.clone());
        loop {
            let mut stands = 0;
            if let Ok(mut store) = giliran_persist::Store::open_to_read(&url).await
                && let Ok(Some((chain, _))) = store.position().await
            {
                stands = chain.seq;
            }
            let mut told = 0;
            if let Ok(stream) = context.get_stream(self.stage.domain.events_stream()).await
                && let Ok(last) =
                    stream.get_raw_message(stream.cached_info().state.last_sequence).await
                && let Some(id) = last.headers.get("Nats-Msg-Id")
                && let Ok(id) = id.as_str().parse::<giliran_wire::event::EventId>()
            {
                told = id.seq;
            }
            if stands >= tail && told >= tail {
                return Ok(since.elapsed());
            }
            if since.elapsed() > Duration::from_secs(300) {
                return Err(Failure::Wrong(format!(
                    "after 5 minutes the store stands at {stands}, the events at {told}, the \
                     ledger at {tail}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// 500 slots, one hot slot for each round, and one that is full at once.
fn configuration(rounds: u32) -> String {
    let mut text = opening("");
    // 2030-01-01 is a Tuesday.
    for round in 0..rounds {
        text.push_str(&format!(
            "[[office]]\nid = \"hot-{round}\"\nname = \"Hot {round}\"\nquota = {{ Mon = 65535 }}\n"
        ));
    }
    text.push_str("[[office]]\nid = \"full\"\nname = \"Full\"\nquota = { Mon = 1 }\n");
    text
}

/// Answers whatever comes with the bytes it was last given.
async fn echo(url: &str) -> Result<(), Failure> {
    let client = connection::connect(url, "giliran bench echo", &Default::default()).await?;
    let mut given = client.subscribe(format!("{ECHO}.answer")).await?;
    let mut asked = client.subscribe(ECHO).await?.ready_chunks(1_024);
    let mut answer = Bytes::from_static(b"0");
    loop {
        tokio::select! {
            Some(message) = given.next() => {
                answer = message.payload;
                if let Some(reply) = message.reply {
                    client.publish(reply, Bytes::new()).await?;
                }
            }
            Some(messages) = asked.next() => {
                for reply in messages.into_iter().filter_map(|message| message.reply) {
                    client.publish(reply, answer.clone()).await?;
                }
            }
            else => return Ok(()),
        }
    }
}

fn report(
    args: &Args,
    bench: &Bench,
    rows: &[(&str, Row)],
    idle: &[f64; 3],
    lag_ms: &Row,
) -> Result<(), Failure> {
    let of = |name: &str| {
        rows.iter().find(|(row, _)| *row == name).map_or(f64::NAN, |(_, row)| row.median())
    };
    let (echo, beside) = (of("echo"), of("echo beside S2 on"));
    let ratios = [
        ("S1", "sold-out rejections, one a message", of("S1"), of("S1") / echo, "echo", 1.0),
        (
            "S2",
            "durable grants, 500 slots, persist and feed off",
            of("S2 off"),
            of("S2 off") / echo,
            "echo",
            0.95,
        ),
        ("S2", "the same, persist and feed on", of("S2 on"), of("S2 on") / beside, "echo", 0.6),
        ("S3", "durable grants, one hot slot", of("S3"), of("S3") / of("S2 off"), "S2", 0.95),
    ];
    println!("no-op echo: {echo:.0}/s; beside persist and feed: {beside:.0}/s");
    println!(
        "request {} bytes, answer {} bytes; {} on their way; medians of {} rounds of {} s; broker \
         syncs before each acknowledgement",
        bench.sizes.0, bench.sizes.1, args.window, args.rounds, args.seconds
    );
    println!("\n{:<4}{:<50}{:>10}{:>14}{:>8}", "", "", "per s", "ratio", "goal");
    for (id, what, rate, ratio, to, goal) in &ratios {
        let met = if ratio >= goal { "met" } else { "missed" };
        println!(
            "{id:<4}{what:<50}{rate:>10.0}{:>14}{goal:>8} {met}",
            format!("{ratio:.2} × {to}")
        );
    }
    let [round_trip, append, grant] = idle;
    let ratio = grant / (round_trip + append);
    let met = if ratio <= 1.3 { "met" } else { "missed" };
    println!(
        "S8  idle grant p50 {grant:.3} ms = {ratio:.2} × (round trip {round_trip:.3} ms + append \
         {append:.3} ms)    1.3 {met}"
    );
    println!(
        "store and events stand at the ledger's end {:.0} ms after a round (median)",
        lag_ms.median()
    );
    if let Some(file) = &args.json {
        let text = as_json(args, bench.sizes, rows, idle, lag_ms);
        std::fs::write(file, format!("{text:#}\n"))?;
    }
    Ok(())
}

/// Every round.
fn as_json(
    args: &Args,
    (request, answer): (usize, usize),
    rows: &[(&str, Row)],
    [round_trip, append, grant]: &[f64; 3],
    lag_ms: &Row,
) -> Value {
    let all = rows.iter().map(|(name, row)| ((*name).to_owned(), json!(row.0)));
    let all: Value = all.collect::<serde_json::Map<_, _>>().into();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    json!({
        "release": RELEASE,
        "commit": COMMIT,
        "measured_at": clock::now(),
        "cores": cores,
        "request_bytes": request,
        "answer_bytes": answer,
        "window": args.window,
        "round_seconds": args.seconds,
        "per_second": all,
        "idle_ms": { "round_trip": round_trip, "append": append, "grant": grant },
        "catch_up_ms": lag_ms.0,
    })
}
