//! A simple surge: people who ask at a given rate, try again when that is worth
//! it, and repeat themselves now and then.
//!
//! Open loop: who asks does not wait for others, and latency counts from the
//! moment the request was due, so that a generator that lags shows it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Client, Subscriber};
use futures_util::{FutureExt, StreamExt};
use giliran_wire::answer::{Answer, Reason, Verdict};
use giliran_wire::client_log::{Attempt, Choice, SeenBooking, Writer};
use giliran_wire::request;
use giliran_wire::subject::Namespace;
use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

/// How often somebody presses twice.
const REPEATS: f64 = 0.05;
/// How often somebody asks once more under another request id.
const ASKS_ANEW: f64 = 0.02;
/// How likely one who was refused tries again.
const TRIES_AGAIN: f64 = 0.7;
/// Most tries after `sold_out`.
const TRIES: u8 = 3;
/// Share of requests that are for a family of two to five.
const FAMILIES: f64 = 0.15;

#[derive(Debug, Clone)]
pub struct Load {
    pub domain: Namespace,
    /// How many people ask; repeats and further tries come on top.
    pub people: u64,
    /// How many a second at the peak.
    pub per_second: u64,
    /// When the rush begins; before, half as many ask.
    pub rush_after: Duration,
    /// What people choose from: office, day, session; the first is chosen most.
    pub places: Vec<(String, String, String)>,
    /// The same seed, the same people.
    pub seed: u64,
    /// Most requests without an answer at once.
    pub window: usize,
    /// After how long an answer is not expected any more.
    pub patience: Duration,
    /// Where what clients saw is written.
    pub log: Option<PathBuf>,
}

/// What has happened so far.
#[derive(Debug)]
pub struct Progress {
    pub sent: AtomicU64,
    /// Grants answered, repeated ones included.
    pub granted: AtomicU64,
    /// Refusals by the reason's number.
    pub rejected: [AtomicU64; Reason::NUMBERS],
    /// Attempts that got no answer in time.
    pub unanswered: AtomicU64,
    /// How late the generator itself was at most, µs.
    pub lag_us: AtomicU64,
    latency: Mutex<(Histogram<u64>, Histogram<u64>)>,
}

impl Default for Progress {
    fn default() -> Self {
        let histogram = || Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds are right");
        Self {
            sent: AtomicU64::default(),
            granted: AtomicU64::default(),
            rejected: Default::default(),
            unanswered: AtomicU64::default(),
            lag_us: AtomicU64::default(),
            latency: Mutex::new((histogram(), histogram())),
        }
    }
}

impl Progress {
    pub fn rejections(&self) -> u64 {
        self.rejected.iter().map(|n| n.load(Ordering::Relaxed)).sum()
    }

    /// Refusals of this reason.
    pub fn of(&self, reason: Reason) -> u64 {
        self.rejected[usize::from(reason.number())].load(Ordering::Relaxed)
    }

    /// Latencies at a quantile, ms: of grants, of refusals.
    pub fn latency_ms(&self, quantile: f64) -> (f64, f64) {
        let latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |histogram: &Histogram<u64>| histogram.value_at_quantile(quantile) as f64 / 1e3;
        (at(&latency.0), at(&latency.1))
    }

    fn answered(&self, granted: bool, us: u64) {
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram = if granted { &mut latency.0 } else { &mut latency.1 };
        histogram.saturating_record(us.max(1));
    }
}

struct Person {
    request_id: String,
    applicants: Vec<String>,
    choices: Vec<Choice>,
    tries: u8,
}

struct InFlight {
    person: usize,
    due_us: u64,
    attempt: Attempt,
    /// Answered; kept until its patience ends, to see a second answer.
    done: bool,
}

struct Generator {
    load: Load,
    client: Client,
    inbox: String,
    progress: Arc<Progress>,
    started: Instant,
    random: StdRng,
    people: Vec<Person>,
    /// When somebody asks: due time, person.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    /// By reply number minus `first`.
    flights: std::collections::VecDeque<InFlight>,
    first: u64,
    open: usize,
    log: Option<Writer<BufWriter<File>>>,
}

/// Sends the load until everybody is served or has given up, or `shutdown` says
/// true.
///
/// # Errors
///
/// Where the connection or the log fails.
pub async fn run(
    client: Client,
    load: Load,
    progress: Arc<Progress>,
    shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let inbox = client.new_inbox();
    let answers = client.subscribe(format!("{inbox}.*")).await.map_err(io::Error::other)?;
    client.flush().await.map_err(io::Error::other)?;
    let log = load.log.as_deref().map(File::create).transpose()?;
    let log = log.map(|file| Writer::new(BufWriter::with_capacity(1 << 20, file)));
    let mut generator = Generator {
        random: StdRng::seed_from_u64(load.seed),
        load,
        client,
        inbox,
        progress,
        started: Instant::now(),
        people: Vec::new(),
        due: BinaryHeap::new(),
        flights: std::collections::VecDeque::new(),
        first: 0,
        open: 0,
        log,
    };
    generator.gather();
    generator.surge(answers, shutdown).await
}

impl Generator {
    /// Who asks, and when: half the rate before the rush, then the full one.
    fn gather(&mut self) {
        let rush_us = self.load.rush_after.as_micros() as u64;
        let gap_us = 1e6 / self.load.per_second.max(1) as f64;
        let mut at = 0.0;
        for _ in 0..self.load.people {
            let person = self.person();
            let index = self.people.len();
            if self.random.random_bool(REPEATS) {
                self.due.push(Reverse((at as u64 + self.random.random_range(0..50_000), index)));
            }
            let second = self.random.random_bool(ASKS_ANEW).then(|| Person {
                request_id: format!("{}-anew", person.request_id),
                applicants: person.applicants.clone(),
                choices: person.choices.clone(),
                tries: TRIES,
            });
            self.people.push(person);
            self.due.push(Reverse((at as u64, index)));
            if let Some(second) = second {
                let later = self.random.random_range(100_000..5_000_000);
                self.due.push(Reverse((at as u64 + later, self.people.len())));
                self.people.push(second);
            }
            at += if (at as u64) < rush_us { 2.0 * gap_us } else { gap_us };
        }
    }

    fn person(&mut self) -> Person {
        let n = self.people.len() as u64;
        let party =
            if self.random.random_bool(FAMILIES) { self.random.random_range(2..=5) } else { 1 };
        let id = |member: u64| format!("{:016}", 2_171_000_000_000_000 + n * 10 + member);
        // Zipf-like: the first places are wanted most.
        let places = self.load.places.len().max(1);
        let mut choices = Vec::new();
        for _ in 0..self.random.random_range(1..=3) {
            let u: f64 = self.random.random();
            let at = ((places as f64 + 1.0).powf(u) - 1.0) as usize;
            let Some((office, date, session)) = self.load.places.get(at) else { continue };
            let choice = Choice {
                office: office.clone(),
                date: self.random.random_bool(0.7).then(|| date.clone()),
                session: self.random.random_bool(0.3).then(|| session.clone()),
            };
            if !choices.contains(&choice) {
                choices.push(choice);
            }
        }
        Person {
            request_id: format!("s{}-{n}", self.load.seed),
            applicants: (0..party).map(id).collect(),
            choices,
            tries: 0,
        }
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    async fn surge(
        mut self,
        mut answers: Subscriber,
        mut shutdown: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let subject = self.load.domain.request("book");
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while !*shutdown.borrow() && (self.open > 0 || !self.due.is_empty()) {
            tokio::select! {
                biased;
                Some(message) = answers.next() => {
                    self.answer(&message)?;
                    for _ in 0..1_024 {
                        match answers.next().now_or_never() {
                            Some(Some(message)) => self.answer(&message)?,
                            _ => break,
                        }
                    }
                }
                _ = tick.tick() => {}
                _ = shutdown.changed() => {}
            }
            self.give_up()?;
            for _ in 0..512 {
                let now = self.now_us();
                let ready = self.due.peek().is_some_and(|Reverse((at, _))| *at <= now);
                if !ready || self.open >= self.load.window {
                    break;
                }
                let Some(Reverse((due_us, person))) = self.due.pop() else { break };
                self.send(&subject, due_us, person).await?;
            }
        }
        // A second answer to a last request would come about now.
        tokio::time::sleep(Duration::from_millis(50)).await;
        while let Some(Some(message)) = answers.next().now_or_never() {
            self.answer(&message)?;
        }
        while let Some(flight) = self.flights.pop_front() {
            self.write(&flight.attempt)?;
        }
        self.log.take().map_or(Ok(()), Writer::finish)
    }

    async fn send(&mut self, subject: &str, due_us: u64, index: usize) -> io::Result<()> {
        let person = &self.people[index];
        let request = request::Book {
            request_id: person.request_id.as_str().into(),
            applicants: person.applicants.iter().map(|id| id.as_str().into()).collect(),
            choices: person
                .choices
                .iter()
                .map(|choice| request::Choice {
                    office: choice.office.as_str().into(),
                    date: choice.date.as_deref().and_then(|date| date.parse().ok()),
                    session: choice.session.as_deref().map(Into::into),
                })
                .collect(),
            opening: None,
            expires_at: None,
            account: None,
            channel: Some("mobile".into()),
            reference: None,
            wait: false,
        };
        let payload = serde_json::to_vec(&request)?;
        let now = self.now_us();
        self.progress.lag_us.fetch_max(now.saturating_sub(due_us), Ordering::Relaxed);
        let attempt = Attempt {
            sent_us: now,
            request_id: person.request_id.clone(),
            applicants: person.applicants.clone(),
            choices: person.choices.clone(),
            ..Attempt::default()
        };
        let number = self.first + self.flights.len() as u64;
        self.flights.push_back(InFlight { person: index, due_us, attempt, done: false });
        self.open += 1;
        self.progress.sent.fetch_add(1, Ordering::Relaxed);
        let reply = format!("{}.{number}", self.inbox);
        self.client
            .publish_with_reply(subject.to_owned(), reply, payload.into())
            .await
            .map_err(io::Error::other)
    }

    fn answer(&mut self, message: &async_nats::Message) -> io::Result<()> {
        let now = self.now_us();
        let number = message.subject.rsplit('.').next().and_then(|n| n.parse::<u64>().ok());
        let index = number.and_then(|n| n.checked_sub(self.first)).map(|n| n as usize);
        let Some(flight) = index.and_then(|index| self.flights.get_mut(index)) else {
            return Ok(());
        };
        if message.payload.is_empty() {
            // Nobody listens just now; its patience decides.
            return Ok(());
        }
        if flight.done {
            flight.attempt.more_answers += 1;
            return Ok(());
        }
        flight.done = true;
        self.open -= 1;
        let (person, due_us) = (flight.person, flight.due_us);
        let answer: Answer<'_> = serde_json::from_slice(&message.payload)?;
        let attempt = &mut flight.attempt;
        attempt.answered_us = Some(now);
        let mut again = None;
        match answer.verdict {
            Verdict::Granted { booking, as_of } => {
                attempt.outcome = Some("granted".to_owned());
                attempt.epoch = Some(as_of.epoch);
                attempt.seq = Some(as_of.seq);
                attempt.booking = Some(SeenBooking {
                    id: booking.id.to_string(),
                    office: booking.office.to_string(),
                    date: booking.date.to_string(),
                    session: booking.session.to_string(),
                    numbers: booking.numbers,
                });
                self.progress.granted.fetch_add(1, Ordering::Relaxed);
                self.progress.answered(true, now - due_us);
            }
            Verdict::Entered { as_of, .. } => {
                attempt.outcome = Some("entered".to_owned());
                attempt.seq = Some(as_of.seq);
            }
            Verdict::Rejected(rejection) => {
                attempt.outcome = Some("rejected".to_owned());
                attempt.reason = Some(rejection.reason.name().to_owned());
                attempt.epoch = rejection.as_of.map(|as_of| as_of.epoch);
                attempt.seq = rejection.as_of.map(|as_of| as_of.seq);
                let number = usize::from(rejection.reason.number());
                self.progress.rejected[number].fetch_add(1, Ordering::Relaxed);
                self.progress.answered(false, now - due_us);
                again = self.again(person, rejection.reason, rejection.retry_after_ms);
            }
        }
        if let Some(after_us) = again {
            self.due.push(Reverse((now + after_us, person)));
        }
        Ok(())
    }

    /// When this person tries again, if at all, µs.
    fn again(&mut self, person: usize, reason: Reason, after_ms: Option<u64>) -> Option<u64> {
        if reason.worth_a_retry() {
            let after_ms = after_ms.unwrap_or(500).clamp(1, 3_000);
            return Some(after_ms * 1_000 + self.random.random_range(0..100_000));
        }
        let tries = self.people[person].tries;
        if reason == Reason::SoldOut && tries < TRIES && self.random.random_bool(TRIES_AGAIN) {
            self.people[person].tries += 1;
            return Some(self.random.random_range(1_000_000..3_000_000));
        }
        None
    }

    /// Ends the attempts whose patience is over; who got no answer asks again.
    fn give_up(&mut self) -> io::Result<()> {
        let patience = self.load.patience.as_micros() as u64;
        let now = self.now_us();
        while self.flights.front().is_some_and(|f| f.attempt.sent_us + patience < now) {
            let Some(flight) = self.flights.pop_front() else { break };
            self.first += 1;
            if !flight.done {
                self.open -= 1;
                self.progress.unanswered.fetch_add(1, Ordering::Relaxed);
                self.due.push(Reverse((now, flight.person)));
            }
            self.write(&flight.attempt)?;
        }
        Ok(())
    }

    fn write(&mut self, attempt: &Attempt) -> io::Result<()> {
        self.log.as_mut().map_or(Ok(()), |log| log.write(attempt))
    }
}
