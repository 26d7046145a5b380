//! What rows are measured on: a broker, a ledger and an engine of their own, yardsticks and
//! peers beside them, and a book of fixed size.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use giliran_loadgen::closed_loop::ClosedLoop;
use giliran_wire::answer::{Answer, Verdict, read_binary};
use giliran_wire::codec;
use giliran_wire::ledger::{Chain, Entry, Reading};
use giliran_wire::request::{Form, write_binary};
use serde_json::Value;
use tokio::process::Child;

use super::super::Args;
use super::super::opening::{SLOTS, Slots, opening_of};
use super::super::stage::Stage;
use super::super::{WINDOW, requests};
use super::peers::{self, Peer, Peers};
use super::processes::{Process, Used};
use super::report::{Idle, Pass, Sizes};
use super::rows::{BATCH, BATCHED, By, Row, SINGLE, Wanted};
use super::yardsticks::{self, Answers};
use crate::failure::Failure;

/// Messages of one request on their way at once.
pub(super) const SINGLES: usize = 4_096;
/// Of messages whose answers hold many, one in so many is read.
const READ_ONE_IN: u64 = 16;
/// Single requests of the idle latency.
const IDLE_REQUESTS: usize = 1_000;
/// An append that is as long as the block of one grant, and one that is as long as a
/// large batch.
const APPEND_BYTES: usize = 400;
const LARGE_APPEND_BYTES: usize = 64 << 10;

/// What is to be there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    /// What requests are spread over.
    pub(super) slots: Slots,
    /// Bookings that are there before anything is measured.
    pub(super) book: u64,
    /// Part of each row's requests.
    pub(super) scale: f64,
    /// Programs: the one that does the least, and the peers'.
    pub(super) bare: Option<&'a Path>,
    pub(super) peers: Option<&'a Path>,
    /// A broker's accounts and permissions; none: it is open, and has an echo beside it.
    pub(super) accounts: Option<&'a Path>,
}

impl Ground<'_> {
    /// The 500 slots with the book that is asked for, an open broker, and nothing beside the
    /// engine but an echo.
    pub(super) fn of(args: &Args) -> Self {
        Self {
            slots: SLOTS,
            book: (f64::from(args.book) * args.scale) as u64,
            scale: args.scale,
            bare: None,
            peers: None,
            accounts: None,
        }
    }
}

/// One pass's broker, ledger, engine and yardsticks.
pub(super) struct Rig {
    pub(super) stage: Stage,
    asking: ClosedLoop,
    book: String,
    slots: Slots,
    scale: f64,
    /// Applicants that have asked.
    people: u64,
    /// Bookings of the opening.
    bookings: u64,
    answers: Answers,
    request: usize,
    pub(super) processes: Vec<Process>,
    pub(super) peers: Option<Peers>,
    yardsticks: Vec<Child>,
}

impl Rig {
    pub(super) async fn start(ground: &Ground<'_>, folder: &Path) -> Result<Self, Failure> {
        Box::pin(Self::make(ground, folder)).await
    }

    async fn make(ground: &Ground<'_>, folder: &Path) -> Result<Self, Failure> {
        let first = requests::at_office(0, "full");
        let stage =
            Stage::start_with(folder, &configuration(ground.slots), first, ground.accounts).await?;
        stage.expect_durable().await?;
        let (client, book) = (stage.client.clone(), stage.namespace.request("book"));
        let payload = requests::at_office(1, "office-0");
        let request = payload.len();
        let granted = client.request(book.clone(), payload).await?.payload;
        let sold_out = client.request(book.clone(), requests::at_office(2, "full")).await?.payload;
        let answers = Answers { granted, sold_out, entry: entry_bytes(&stage).await? };
        let mut processes = vec![Process::one("load", std::process::id())];
        processes.extend(broker(&stage));
        processes.extend(stage.engine.id().map(|pid| Process::one("engine", pid)));
        let asking = ClosedLoop::new(client, SINGLES).await?;
        let mut rig = Self {
            stage,
            asking,
            book,
            slots: ground.slots,
            scale: ground.scale,
            people: 3,
            bookings: 2,
            answers,
            request,
            processes,
            peers: None,
            yardsticks: Vec::new(),
        };
        if ground.accounts.is_none() {
            rig.start_beside(ground, folder).await?;
        }
        rig.fill(ground.book).await?;
        Ok(rig)
    }

    /// Starts what the engine is held against.
    async fn start_beside(&mut self, ground: &Ground<'_>, folder: &Path) -> Result<(), Failure> {
        let (client, url) = (self.stage.client.clone(), self.stage.url());
        let echo = yardsticks::echo(&client, &url, &self.answers).await?;
        self.processes.extend(echo.id().map(|pid| Process::one("echo", pid)));
        self.yardsticks.push(echo);
        if let Some(program) = ground.bare {
            let bare = yardsticks::bare(program, &client, &url, &self.answers).await?;
            self.processes.extend(bare.id().map(|pid| Process::one("bare", pid)));
            self.yardsticks.push(bare);
        }
        if let Some(program) = ground.peers {
            let to = (&client, url.as_str());
            let peers = Peers::start(program, folder, to, &self.answers, ground.book).await?;
            self.processes.extend(peers.processes());
            self.peers = Some(peers);
        }
        Ok(())
    }

    /// The broker alone.
    pub(super) fn broker(&self) -> Vec<Process> {
        broker(&self.stage).into_iter().collect()
    }

    pub(super) fn sizes(&self) -> Sizes {
        let Answers { granted, sold_out, entry } = &self.answers;
        let (grant, rejection) = (granted.len(), sold_out.len());
        Sizes { request: self.request, grant, rejection, entry: *entry }
    }

    /// Bookings of the opening, and the one that the rig itself has made.
    pub(super) fn bookings(&self) -> u64 {
        self.bookings
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

    /// Whether whoever is to answer a row is there.
    pub(super) fn has(&self, row: &Row) -> bool {
        let By::Peer(peer) = row.by else { return true };
        self.peers.as_ref().is_some_and(|peers| peers.has(peer))
    }

    /// A pass of a row.
    pub(super) async fn pass(&mut self, row: &Row) -> Result<Pass, Failure> {
        let messages = ((row.requests as f64 * self.scale) as u64 / row.batch).max(1);
        let book = self.bookings;
        let pass = match row.by {
            By::Peer(peer) if !peer.behind_nats => self.ask_peer(row, peer, messages).await?,
            _ => self.ask(row, messages).await?,
        };
        Ok(Pass { book, ..pass })
    }

    /// Sends so many messages of a row, and reads their answers.
    async fn ask(&mut self, row: &Row, messages: u64) -> Result<Pass, Failure> {
        let payloads: Vec<Bytes> = (0..messages).map(|_| self.payload(row)).collect();
        if let (By::Peer(peer), Some(peers)) = (row.by, &self.peers) {
            peers.serve(peer).await?;
        }
        let subject = match (row.by, row.wanted) {
            (By::Echo, Wanted::SoldOut) => yardsticks::REJECTION,
            (By::Echo, _) => yardsticks::GRANT,
            (By::Bare, _) => yardsticks::BARE,
            (By::Peer(_), _) => peers::BOOK,
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
        let before = Used::now(&self.processes);
        let sent = self.asking.run(subject, (Duration::MAX, messages), make, is_right);
        let done = Box::pin(sent).await?;
        let requests = messages * row.batch;
        if row.by == By::Engine {
            self.bookings += match row.wanted {
                Wanted::SoldOut => 0,
                Wanted::Spread | Wanted::Hot => requests,
                Wanted::Mixed => requests / 10,
            };
        }
        let pass = to_pass(&before, &self.processes, row.name, requests, done.took);
        let worst_per_s = done.worst_per_s.map(|messages| messages * row.batch as f64);
        Ok(Pass { others: done.others, worst_per_s, ..pass })
    }

    /// Has a peer's program send so many requests of its own.
    async fn ask_peer(&mut self, row: &Row, peer: Peer, requests: u64) -> Result<Pass, Failure> {
        let Some(peers) = &self.peers else {
            return Err(Failure::Usage(format!("{}: needs --peers", row.name)));
        };
        peers.ready(peer, requests, self.people, row.wanted == Wanted::Hot).await?;
        let before = Used::now(&self.processes);
        let (took, granted) = peers.direct().await?;
        let pass = to_pass(&before, &self.processes, row.name, requests, took);
        self.people += requests;
        Ok(Pass { others: requests - granted, ..pass })
    }

    /// A message of a row, by applicants who have not asked yet.
    pub(super) fn payload(&mut self, row: &Row) -> Bytes {
        let first = self.people;
        self.people += row.batch;
        let choice = |n: u64| match row.wanted {
            Wanted::Spread => requests::one_of(self.slots, n),
            Wanted::Mixed if n.is_multiple_of(10) => requests::one_of(self.slots, n),
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

    /// The number of the first applicant who has not asked; from now on so many have.
    pub(super) fn take_people(&mut self, people: u64) -> u64 {
        self.people += people;
        self.people - people
    }

    /// Single requests, one after the other.
    pub(super) async fn idle(&mut self) -> Result<Idle, Failure> {
        let client = self.stage.client.clone();
        let context = async_nats::jetstream::new(client.clone());
        let stream = async_nats::jetstream::stream::Config {
            name: "BENCH_APPEND".to_owned(),
            subjects: vec!["bench.append".to_owned()],
            ..Default::default()
        };
        context.create_stream(stream).await?;
        let mut took: [Vec<f64>; 4] = Default::default();
        let [block, large] =
            [APPEND_BYTES, LARGE_APPEND_BYTES].map(|bytes| Bytes::from(vec![7; bytes]));
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
            let since = Instant::now();
            context.publish("bench.append", large.clone()).await?.await?;
            took[3].push(ms(since));
        }
        took.iter_mut().for_each(|took| took.sort_by(f64::total_cmp));
        let [round_trip, append, grant, append_64_kib] =
            took.each_ref().map(|took| took[took.len() / 2]);
        let grant_p99 = took[2][IDLE_REQUESTS * 99 / 100];
        Ok(Idle { round_trip, append, grant, grant_p99, append_64_kib })
    }

    pub(super) async fn stop(self) -> Result<(), Failure> {
        let Self { stage, asking, peers, yardsticks, .. } = self;
        // Or their connections look for a server that is gone.
        drop((asking, yardsticks));
        if let Some(peers) = peers {
            peers.stop().await?;
        }
        stage.stop().await
    }
}

fn broker(stage: &Stage) -> Option<Process> {
    stage.server_pid().map(|pid| Process::one("broker", pid))
}

/// What requests cost that took so long, and how fast they were; `before`: when they began.
pub(super) fn to_pass(
    before: &Used,
    processes: &[Process],
    row: &str,
    requests: u64,
    took: Duration,
) -> Pass {
    let (elapsed, used) = before.since(processes);
    let (elapsed, spent): (_, Vec<f64>) =
        (elapsed.as_secs_f64(), used.iter().map(Duration::as_secs_f64).collect());
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let cpu_us = processes.iter().zip(&spent);
    Pass {
        row: row.to_owned(),
        per_s: requests as f64 / took.as_secs_f64(),
        others: 0,
        book: 0,
        cpu_us: cpu_us
            .map(|(process, spent)| (process.what.to_owned(), spent * 1e6 / requests as f64))
            .collect(),
        idle: 1.0 - spent.iter().sum::<f64>() / (cores * elapsed),
        load: spent[0] / elapsed,
        worst_per_s: None,
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

/// These slots, one of its own, and one that is full at once.
fn configuration(slots: Slots) -> String {
    let mut text = opening_of(slots, "");
    // 2030-01-07 is the only Monday of the ten days.
    for (id, quota) in [("hot-0", 65_535), ("full", 1)] {
        text.push_str(&format!(
            "[[office]]\nid = \"{id}\"\nname = \"{id}\"\nquota = {{ Mon = {quota} }}\n"
        ));
    }
    text
}
