//! Throughput and latency over NATS, beside yardsticks in one run: two echoes that do
//! nothing and answer with as many bytes, and a program that does the least that could be
//! called the job.
//!
//! Closed loop: a fixed number of messages is on its way. A pass of a row is a number of
//! requests, encoded beforehand; passes of all rows alternate and begin with another row
//! each time, so that a noisy machine is noisy for all. Each pass has a broker, a ledger
//! and an engine of its own, and a book of fixed size.

mod processes;
mod report;
mod rows;
mod with_roles;
mod yardsticks;

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use giliran_loadgen::closed_loop::ClosedLoop;
use giliran_nats::clock;
use giliran_wire::answer::{Answer, Verdict, read_binary};
use giliran_wire::codec;
use giliran_wire::ledger::{Chain, Entry, Reading};
use giliran_wire::request::{Form, write_binary};
use serde_json::{Value, json};
use tokio::process::Child;

use self::processes::Process;
use self::report::{Pass, Results};
use self::rows::{BATCH, BATCHED, By, GOALS, ROWS, Row, SINGLE, Wanted};
use self::yardsticks::Answers;
use super::opening::opening;
use super::stage::Stage;
use super::{Args, WINDOW, requests};
use crate::failure::Failure;
use crate::{COMMIT, RELEASE};

pub(super) use self::yardsticks::answer as echo;

/// Messages of one request on their way at once.
const SINGLES: usize = 4_096;
/// Of messages whose answers hold many, one in so many is read.
const READ_ONE_IN: u64 = 16;
/// Single requests of the idle latency.
const IDLE_REQUESTS: usize = 1_000;
/// An append that is as long as the block of one grant.
const APPEND_BYTES: usize = 400;

/// Measures, prints the table, and writes every pass down where it is asked to.
pub(super) async fn run(args: &Args, folder: &Path) -> Result<(), Failure> {
    let rows = chosen(args);
    if rows.is_empty() {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        return Err(Failure::Usage(format!("--rows: there are {}", names.join(", "))));
    }
    let mut results = Results::default();
    for pass in 0..args.passes {
        let folder = folder.join(format!("pass-{pass}"));
        std::fs::create_dir(&folder)?;
        let mut bench = Bench::start(args, &folder).await?;
        results.sizes = bench.sizes();
        for i in 0..rows.len() {
            let row = &rows[(i + pass as usize) % rows.len()];
            eprintln!("pass {} of {}: {} …", pass + 1, args.passes, row.name);
            results.passes.push(bench.pass(row).await?);
        }
        if pass + 1 == args.passes {
            results.idle_ms = bench.idle().await?;
        }
        bench.stop().await?;
        std::fs::remove_dir_all(&folder)?;
    }
    if args.rows.is_empty() || args.rows.iter().any(|row| row == "S2") {
        results.surge = Some(Box::pin(with_roles::measure(args, folder)).await?);
    }
    println!("{}", results.table());
    match &args.json {
        Some(file) => results.save(file, &about(args)),
        None => Ok(()),
    }
}

/// The rows that are asked for, with those that their goals are held against.
fn chosen(args: &Args) -> Vec<Row> {
    let asked = |name: &str| {
        args.rows.is_empty() || args.rows.iter().any(|row| name.starts_with(row.as_str()))
    };
    let yardstick = |name: &str| GOALS.iter().any(|goal| asked(goal.row) && goal.over == name);
    let there = |row: &&Row| row.by != By::Bare || args.bare.is_some();
    let rows = ROWS.iter().filter(|row| asked(row.name) || yardstick(row.name));
    rows.filter(there).copied().collect()
}

/// One pass's broker, ledger, engine and yardsticks.
struct Bench {
    stage: Stage,
    asking: ClosedLoop,
    book: String,
    scale: f64,
    /// Applicants that have asked.
    people: u64,
    /// Bookings of the opening.
    bookings: u64,
    answers: Answers,
    request: usize,
    processes: Vec<Process>,
    _yardsticks: Vec<Child>,
}

impl Bench {
    async fn start(args: &Args, folder: &Path) -> Result<Self, Failure> {
        let first = requests::at_office(0, "full");
        let stage = Stage::start(folder, &configuration(), first).await?;
        let (client, book) = (stage.client.clone(), stage.namespace.request("book"));
        let payload = requests::at_office(1, "office-0");
        let request = payload.len();
        let granted = client.request(book.clone(), payload).await?.payload;
        let sold_out = client.request(book.clone(), requests::at_office(2, "full")).await?.payload;
        let answers = Answers { granted, sold_out, entry: entry_bytes(&stage).await? };
        let mut yardsticks = vec![yardsticks::echo(&client, &stage.url(), &answers).await?];
        let mut processes = vec![("load", std::process::id())];
        processes.extend(stage.server_pid().map(|pid| ("broker", pid)));
        processes.extend(stage.engine.id().map(|pid| ("engine", pid)));
        processes.extend(yardsticks[0].id().map(|pid| ("echo", pid)));
        if let Some(program) = &args.bare {
            let bare = yardsticks::bare(program, &client, &stage.url(), &answers).await?;
            processes.extend(bare.id().map(|pid| ("bare", pid)));
            yardsticks.push(bare);
        }
        let asking = ClosedLoop::new(client, SINGLES).await?;
        let mut bench = Self {
            stage,
            asking,
            book,
            scale: args.scale,
            people: 3,
            bookings: 2,
            answers,
            request,
            processes,
            _yardsticks: yardsticks,
        };
        bench.fill((f64::from(args.book) * args.scale) as u64).await?;
        Ok(bench)
    }

    fn sizes(&self) -> [usize; 4] {
        let Answers { granted, sold_out, entry } = &self.answers;
        [self.request, granted.len(), sold_out.len(), *entry]
    }

    /// So many bookings are made before anything is measured.
    async fn fill(&mut self, bookings: u64) -> Result<(), Failure> {
        eprintln!("making {bookings} bookings …");
        let filled = self.ask(&BATCHED, bookings.div_ceil(BATCH)).await?;
        if filled.others > 0 {
            return Err(Failure::Wrong("the book could not be filled".to_owned()));
        }
        Ok(())
    }

    /// A pass of a row.
    async fn pass(&mut self, row: &Row) -> Result<Pass, Failure> {
        let messages = ((row.requests as f64 * self.scale) as u64 / row.batch).max(1);
        let book = self.bookings;
        let pass = self.ask(row, messages).await?;
        Ok(Pass { book, ..pass })
    }

    /// Sends so many messages of a row, and reads their answers.
    async fn ask(&mut self, row: &Row, messages: u64) -> Result<Pass, Failure> {
        let payloads: Vec<Bytes> = (0..messages).map(|_| self.payload(row)).collect();
        let subject = match (row.by, row.wanted) {
            (By::Echo, Wanted::SoldOut) => yardsticks::REJECTION,
            (By::Echo, _) => yardsticks::GRANT,
            (By::Bare, _) => yardsticks::BARE,
            (By::Engine, _) => &self.book,
        };
        self.asking.set(if row.batch > 1 { WINDOW } else { SINGLES }, row.replies);
        let (mut read, mut payloads) = (0, payloads.into_iter());
        let is_right = |answer: &[u8]| {
            read += 1;
            let one = row.by == By::Echo || (row.batch == 1 && row.form == Form::Binary);
            (!one && read % READ_ONE_IN != 0) || is_wanted(row, answer)
        };
        let make = || payloads.next().unwrap_or_default();
        let (before, since) = (processes::used(&self.processes), Instant::now());
        let sent = self.asking.run(subject, (Duration::MAX, messages), make, is_right);
        let pass = Box::pin(sent).await?;
        let (elapsed, after) = (since.elapsed(), processes::used(&self.processes));
        let requests = messages * row.batch;
        if row.by == By::Engine {
            self.bookings += match row.wanted {
                Wanted::SoldOut => 0,
                Wanted::Spread | Wanted::Hot => requests,
                Wanted::Mixed => requests / 10,
            };
        }
        let spent: Vec<Duration> = after.iter().zip(&before).map(|(a, b)| *a - *b).collect();
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let all: Duration = spent.iter().sum();
        let cpu_us = self.processes.iter().zip(&spent);
        Ok(Pass {
            row: row.name,
            per_s: requests as f64 / pass.took.as_secs_f64(),
            others: pass.others,
            book: 0,
            cpu_us: cpu_us
                .map(|((who, _), spent)| (*who, spent.as_secs_f64() * 1e6 / requests as f64))
                .collect(),
            idle: 1.0 - all.as_secs_f64() / (cores * elapsed.as_secs_f64()),
            load: spent[0].as_secs_f64() / elapsed.as_secs_f64(),
        })
    }

    /// A message of a row, by applicants who have not asked yet.
    fn payload(&mut self, row: &Row) -> Bytes {
        let first = self.people;
        self.people += row.batch;
        let choice = |n: u64| match row.wanted {
            Wanted::Spread => requests::slot(n),
            Wanted::Mixed if n.is_multiple_of(10) => requests::slot(n),
            Wanted::Hot => requests::at("hot-0"),
            Wanted::SoldOut | Wanted::Mixed => requests::at("full"),
        };
        let books: Vec<_> =
            (first..first + row.batch).map(|n| requests::book(n, choice(n))).collect();
        match (row.form, &books[..]) {
            (Form::JsonOne, [one]) => serde_json::to_vec(one).unwrap_or_default().into(),
            (Form::JsonOne | Form::JsonMany, many) => {
                serde_json::to_vec(many).unwrap_or_default().into()
            }
            (Form::Binary, books) => write_binary(books).into(),
        }
    }

    /// Single requests, ms: medians of round trip, append and grant, and the grant's p99.
    async fn idle(&mut self) -> Result<[f64; 4], Failure> {
        let client = self.stage.client.clone();
        let context = async_nats::jetstream::new(client.clone());
        let stream = async_nats::jetstream::stream::Config {
            name: "BENCH_APPEND".to_owned(),
            subjects: vec!["bench.append".to_owned()],
            ..Default::default()
        };
        context.create_stream(stream).await?;
        let mut took: [Vec<f64>; 3] = Default::default();
        let block = Bytes::from(vec![7; APPEND_BYTES]);
        let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
        for _ in 0..IDLE_REQUESTS {
            let payload = self.payload(&SINGLE);
            let since = Instant::now();
            client.request(yardsticks::GRANT, payload).await?;
            took[0].push(ms(since));
            let since = Instant::now();
            context.publish("bench.append", block.clone()).await?.await?;
            took[1].push(ms(since));
            let payload = self.payload(&SINGLE);
            let since = Instant::now();
            client.request(self.book.clone(), payload).await?;
            took[2].push(ms(since));
        }
        took.iter_mut().for_each(|took| took.sort_by(f64::total_cmp));
        let [trip, append, grant] = took.each_ref().map(|took| took[took.len() / 2]);
        Ok([trip, append, grant, took[2][IDLE_REQUESTS * 99 / 100]])
    }

    async fn stop(self) -> Result<(), Failure> {
        let Self { stage, asking, .. } = self;
        // Or its connection looks for a server that is gone.
        drop(asking);
        stage.stop().await
    }
}

/// Bytes in the ledger of the grant in its last block.
async fn entry_bytes(stage: &Stage) -> Result<usize, Failure> {
    let (_, tail) = stage.ledger.tail().await?;
    let mut chain = Chain::new();
    let mut bytes = None;
    for seq in 1..=tail {
        let Some(message) = stage.ledger.read_at(seq).await? else { continue };
        if let Reading::Valid(block) = chain.read_bytes(seq, &message)? {
            let mut grants = block.entries.iter().filter(|entry| matches!(entry, Entry::Grant(_)));
            bytes = grants.next_back().map(codec::encoded_len).or(bytes);
        }
    }
    bytes.ok_or_else(|| Failure::Wrong("the ledger holds no grant".to_owned()))
}

/// Whether every answer of a message is what the row wants.
fn is_wanted(row: &Row, payload: &[u8]) -> bool {
    let is = |granted: bool, settled: bool| match row.wanted {
        Wanted::SoldOut => !granted && settled,
        Wanted::Spread | Wanted::Hot => granted,
        Wanted::Mixed => settled,
    };
    if row.form == Form::Binary || row.by == By::Echo {
        let answers = read_binary::<Answer<'_>>(payload).unwrap_or_default();
        let is = |answer: &Answer<'_>| match &answer.verdict {
            Verdict::Granted { .. } => is(true, true),
            Verdict::Rejected(rejection) => is(false, !rejection.reason.worth_a_retry()),
            Verdict::Entered { .. } => false,
        };
        return !answers.is_empty() && answers.iter().all(is);
    }
    let is = |answer: &Value| is(answer["outcome"] == "granted", answer["reason"] != "busy");
    match serde_json::from_slice(payload) {
        Ok(Value::Array(answers)) => answers.iter().all(is),
        Ok(answer) => is(&answer),
        Err(_) => false,
    }
}

/// 500 slots, one of its own, and one that is full at once.
fn configuration() -> String {
    let mut text = opening("");
    // 2030-01-07 is the only Monday.
    for (id, quota) in [("hot-0", 65_535), ("full", 1)] {
        text.push_str(&format!(
            "[[office]]\nid = \"{id}\"\nname = \"{id}\"\nquota = {{ Mon = {quota} }}\n"
        ));
    }
    text
}

/// What the figures were measured on.
fn about(args: &Args) -> Value {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    json!({
        "release": RELEASE,
        "commit": COMMIT,
        "measured_at": clock::now(),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "processor": field(&read("/proc/cpuinfo"), "model name"),
        "memory": field(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "rounds": args.passes,
        "scale": args.scale,
        "book": args.book,
        "window": { "single": SINGLES, "batched": WINDOW, "batch": BATCH },
    })
}
