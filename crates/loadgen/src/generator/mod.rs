//! Who asks when, and what becomes of each.

mod outcome;
mod payment;
mod progress;
mod request;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fs::File;
use std::io::BufWriter;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{Client, Subject};
use futures_util::FutureExt;
use giliran_fairness::Resources;
use giliran_fairness::population::{ArrivalProcess, Party, PartyArrival, Population, Role};
use giliran_fairness::random::Random;
use giliran_fairness::scenario::Scenario;
use giliran_wire::answer::Reason;
use giliran_wire::client_log::{SeenBooking, Writer};
use request::Texts;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ended::Ended;
use super::forgers::Observed;
use super::live::SharedStats;
use super::load_test::LoadTest;
use super::stats::RunStats;
use super::target::Target;
use super::via::{Answers, Sent, Via};

/// Most requests on the way at once.
pub(crate) const MOST_OPEN: usize = 200_000;
/// The engine is not taken for dead before so many requests got no answer.
const GONE_AFTER: u32 = 3;
/// How long an answered request is kept, to see a second answer, µs.
const LINGER_US: u64 = 1_000_000;
/// Most requests that are written down between two looks at who is due.
const RETIRED: usize = 2_048;
/// How long it looks away while nothing is due; and while nothing may be sent.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// How long a message may take to get into the connection's queue.
const QUEUED_WITHIN: Duration = Duration::from_millis(250);
/// How much later somebody asks anew, from and to, µs.
const ANEW_AFTER_US: [f64; 2] = [100e3, 5e6];
/// How often the view is renewed.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Ask,
    /// Asks again, unless it has a place by now.
    Again,
    /// Asks what came of its entry.
    Lookup,
    /// Gives its place back, for a client.
    Cancel,
    /// Pays for a held place.
    Confirm,
    /// Looks whether a hold that nobody paid for has lapsed.
    Lapse,
}

impl What {
    /// Comes after the rush, which does not last for it.
    fn is_after(self) -> bool {
        matches!(self, Self::Confirm | Self::Lapse)
    }
}

struct VirtualUser {
    party: Party,
    /// Somebody who is here already, under another request id.
    anew: bool,
    /// Planned events and requests that are kept.
    uses: u32,
    /// Its first request, µs.
    since: i64,
    /// It knows what came of it.
    settled: bool,
    lookups: u8,
    /// Payments and looks that came to nothing.
    tries_after: u8,
    had: Option<Box<KnownBooking>>,
}

/// The place somebody was told of.
struct KnownBooking {
    seen: SeenBooking,
    paid: bool,
    given_back: bool,
}

struct InFlightRequest {
    who: u32,
    what: What,
    due_us: i64,
    /// On the generator's own clock, µs.
    sent_us: u64,
    answered_us: Option<u64>,
    outcome: Option<Outcome>,
    as_of: Option<(u64, u64)>,
    more_answers: u32,
    seen: Option<Box<SeenBooking>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Granted,
    Rejected(Reason),
    Entered,
    /// The broker said that nobody listens.
    Unheard,
}

pub(crate) struct Generator<'a> {
    rush: &'a LoadTest,
    scenario: &'a Scenario,
    ground: &'a Target,
    client: Client,
    inbox: String,
    subjects: [Subject; 4],
    texts: Texts,
    /// Whether the connection stood when it was last looked at.
    connected: bool,
    live: Arc<SharedStats>,
    pub(crate) tally: RunStats,
    /// Who is told of people's bookings.
    pub(crate) observer: Option<mpsc::Sender<Observed>>,
    /// Through which requests go; none: over NATS.
    pub(crate) via: Option<Via>,
    log: Option<Writer<BufWriter<File>>>,
    /// Why it is not written any more.
    pub(crate) log_failed: Option<String>,
    random: Random,
    crowd: ArrivalProcess<'a>,
    next: Option<PartyArrival>,
    /// When the next one comes, if they come evenly, µs.
    steady_us: f64,
    /// Recyclers' clients, by attacker.
    clients: Vec<VecDeque<Party>>,
    somebody: Vec<Option<VirtualUser>>,
    vacant: Vec<u32>,
    due: BinaryHeap<Reverse<(i64, u32, What)>>,
    /// How many of them come after the rush, and when it was over.
    due_after: usize,
    over_at: Option<i64>,
    flights: VecDeque<InFlightRequest>,
    /// The reply number of the first of them.
    first: u64,
    open: usize,
    /// When the run's clock stands at `from_us`.
    started: Instant,
    from_us: i64,
    /// Requests since the last answer that nobody heard or answered, and when
    /// the first of them was sent.
    silent: u32,
    silent_since: Option<Instant>,
    /// Free places by what clients were told, and by what the engine told last.
    free: i64,
    free_reported: Option<i64>,
    came: u64,
    shown: Option<Instant>,
    rate: VecDeque<u64>,
    sent_before: u64,
    rated: Instant,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(
        rush: &'a LoadTest,
        ground: &'a Target,
        means: &[Resources],
        client: Client,
        inbox: String,
        live: Arc<SharedStats>,
        log: Option<Writer<BufWriter<File>>>,
    ) -> Self {
        let scenario = &rush.scenario;
        let (Population { parties, planned, .. }, crowd) =
            ArrivalProcess::new(scenario, means, rush.seed);
        let early = Duration::from_secs_f64((scenario.people.early_s.max(2.5)) / rush.speed);
        let soon = Instant::now() + Duration::from_millis(50);
        // Where it is open already, the opening second is now.
        let (started, from_us) = if ground.open {
            (soon, 0)
        } else {
            let started = ground.opens.checked_sub(early).map_or(soon, |at| at.max(soon));
            let before = ground.opens.saturating_duration_since(started).as_secs_f64();
            (started, -(before * rush.speed * 1e6) as i64)
        };
        let operation = |name| Subject::from(rush.namespace.request(name));
        let mut generator = Self {
            rush,
            scenario,
            ground,
            client,
            inbox,
            subjects: ["book", "lookup", "cancel", "confirm"].map(operation),
            texts: Texts::new(scenario, ground),
            connected: true,
            live,
            tally: RunStats::new(scenario, from_us, rush.seed),
            observer: None,
            via: None,
            log,
            log_failed: None,
            random: Random::new(rush.seed, 5),
            crowd,
            next: None,
            steady_us: from_us as f64,
            clients: vec![VecDeque::new(); scenario.attackers.len()],
            somebody: Vec::new(),
            vacant: Vec::new(),
            due: BinaryHeap::new(),
            due_after: 0,
            over_at: None,
            flights: VecDeque::new(),
            first: 0,
            open: 0,
            started,
            from_us,
            silent: 0,
            silent_since: None,
            free: ground.free,
            free_reported: None,
            came: 0,
            shown: None,
            rate: VecDeque::new(),
            sent_before: 0,
            rated: started,
        };
        generator.attackers(parties, planned);
        generator
    }

    /// All of them stand ready from the beginning; what they planned for before
    /// it is not sent.
    fn attackers(&mut self, parties: Vec<Party>, planned: Vec<(i64, u32)>) {
        let cohorts = self.scenario.cohorts.len();
        let mut places = Vec::with_capacity(parties.len());
        for party in parties {
            if party.role == Role::Client {
                self.clients[usize::from(party.group) - cohorts].push_back(party);
                places.push(None);
            } else {
                places.push(Some(self.enter(party, false)));
            }
        }
        for (at, index) in planned {
            if let Some(Some(who)) = places.get(index as usize)
                && at >= self.from_us
            {
                self.plan(at, *who, What::Ask);
            }
        }
    }

    fn enter(&mut self, party: Party, anew: bool) -> u32 {
        self.came += u64::from(!anew);
        let new = VirtualUser {
            party,
            anew,
            uses: 0,
            since: i64::MAX,
            settled: false,
            lookups: 0,
            tries_after: 0,
            had: None,
        };
        if let Some(who) = self.vacant.pop() {
            self.somebody[who as usize] = Some(new);
            who
        } else {
            self.somebody.push(Some(new));
            (self.somebody.len() - 1) as u32
        }
    }

    fn plan(&mut self, at_us: i64, who: u32, what: What) {
        if let Some(Some(somebody)) = self.somebody.get_mut(who as usize) {
            somebody.uses += 1;
            self.due_after += usize::from(what.is_after());
            self.due.push(Reverse((at_us, who, what)));
        }
    }

    /// One use less; who is of no more use is counted and forgotten.
    fn release(&mut self, who: u32) {
        let Some(place) = self.somebody.get_mut(who as usize) else { return };
        let Some(somebody) = place else { return };
        somebody.uses -= 1;
        if somebody.uses == 0 {
            if !somebody.anew {
                self.tally.gone(&somebody.party);
            }
            *place = None;
            self.vacant.push(who);
        }
    }

    /// µs since the start, on the generator's clock.
    fn clock_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn now(&self) -> i64 {
        self.from_us + (self.clock_us() as f64 * self.rush.speed) as i64
    }

    /// A moment, in the scenario's time.
    fn scenario_us(&self, at: Instant) -> i64 {
        let later = at.saturating_duration_since(self.started);
        self.from_us + self.scaled(later.as_micros() as f64)
    }

    /// So much real time, in the scenario's.
    fn scaled(&self, real_us: f64) -> i64 {
        (real_us * self.rush.speed) as i64
    }

    fn patience_us(&self) -> u64 {
        (self.scenario.people.patience_s * 1e6) as u64
    }

    pub(crate) async fn surge(
        &mut self,
        mut answers: Answers,
        shutdown: CancellationToken,
    ) -> Ended {
        while Instant::now() < self.started {
            self.show();
            let wait = self.started.saturating_duration_since(Instant::now());
            tokio::select! {
                () = tokio::time::sleep(wait.min(SHOWN_EVERY)) => {}
                () = shutdown.cancelled() => {}
            }
            if shutdown.is_cancelled() {
                return Ended::Interrupted { at_s: self.from_us as f64 / 1e6 };
            }
        }
        let ended = loop {
            if shutdown.is_cancelled() {
                break Ended::Interrupted { at_s: self.now() as f64 / 1e6 };
            }
            if let Some(gone) = self.engine_gone() {
                break gone;
            }
            self.come();
            if self.is_over() {
                // The last ones may have given up on a dead engine.
                let silent = self.silent_since.filter(|_| self.silent >= GONE_AFTER);
                break silent.map_or(Ended::Complete, |since| self.gone_since(since));
            }
            tokio::select! {
                biased;
                Some((number, payload)) = answers.next() => {
                    self.answer(number, &payload);
                    for _ in 0..1_024 {
                        let Some((number, payload)) = answers.next_now() else { break };
                        self.answer(number, &payload);
                    }
                }
                () = pause(self.idle()) => {}
                () = shutdown.cancelled() => {}
            }
            self.retire();
            self.connected = self.client.connection_state() == State::Connected;
            for _ in 0..512 {
                let now = self.now();
                let ready = self.due.peek().is_some_and(|Reverse((at, ..))| *at <= now);
                if !ready || self.open >= MOST_OPEN {
                    break;
                }
                let Some(Reverse((due_us, who, what))) = self.due.pop() else { break };
                self.due_after -= usize::from(what.is_after());
                self.act(due_us, who, what).await;
                self.release(who);
            }
            self.show();
        };
        // A second answer to a last request would come about now.
        tokio::time::sleep(Duration::from_millis(50)).await;
        while let Some((number, payload)) = answers.next_now() {
            self.answer(number, &payload);
        }
        self.end();
        ended
    }

    /// How long nothing is due.
    fn idle(&self) -> Duration {
        if self.open >= MOST_OPEN {
            return SHORTEST_PAUSE;
        }
        let due = self.due.peek().map(|Reverse((at, ..))| *at);
        let comes = self.next.as_ref().map(|next| next.sent);
        let Some(next) = due.into_iter().chain(comes).min() else { return LONGEST_PAUSE };
        let real_us = (next - self.now()).max(0) as f64 / self.rush.speed;
        Duration::from_micros(real_us as u64).min(LONGEST_PAUSE)
    }

    /// Nobody asks for a place any more, nor pays within the time that is waited
    /// for it.
    fn is_over(&mut self) -> bool {
        if self.open > 0 || self.due.len() > self.due_after || self.next.is_some() {
            return false;
        }
        let now = self.now();
        let until = *self.over_at.get_or_insert(now) + (self.rush.after_s * 1e6) as i64;
        self.due.peek().is_none_or(|Reverse((at, ..))| *at > until)
    }

    /// Nobody has answered for long.
    fn engine_gone(&self) -> Option<Ended> {
        let since = self.silent_since?;
        if self.silent < GONE_AFTER || since.elapsed() < self.rush.gone_after {
            return None;
        }
        Some(self.gone_since(since))
    }

    fn gone_since(&self, since: Instant) -> Ended {
        let before = since.elapsed().as_secs_f64() * self.rush.speed;
        Ended::EngineGone { at_s: self.now() as f64 / 1e6 - before }
    }

    /// Lets those come who are due.
    fn come(&mut self) {
        let now = self.now();
        loop {
            if self.next.is_none() {
                self.next = self.next_arrival();
            }
            let Some(next) = self.next.take_if(|next| next.sent <= now) else { break };
            let (mut at, twice) = (next.at(), next.twice);
            if at < self.from_us {
                // Who has refreshed for a while does so next within its interval.
                let [_, to] = self.scenario.people.retry_after_s;
                at = self.from_us + self.random.between(0.0, to * 1e6) as i64;
            }
            let anew = self.rush.steady.is_some_and(|steady| self.random.chance(steady.asks_anew));
            if anew {
                let who = self.enter(next.party.clone(), true);
                let later = self.random.between(ANEW_AFTER_US[0], ANEW_AFTER_US[1]);
                self.plan(at + later as i64, who, What::Ask);
            }
            let who = self.enter(next.party, false);
            self.plan(at, who, What::Ask);
            if let Some(later) = twice {
                self.plan(at + later, who, What::Ask);
            }
        }
    }

    /// Who comes next, and when: as the scenario has it, or evenly.
    fn next_arrival(&mut self) -> Option<PartyArrival> {
        let next = self.crowd.next()?;
        let Some(steady) = self.rush.steady else { return Some(next) };
        let sent = self.steady_us as i64;
        self.steady_us = steady.after(self.steady_us);
        Some(PartyArrival { sent, ..next })
    }

    async fn act(&mut self, due_us: i64, who: u32, what: What) {
        let Some(Some(somebody)) = self.somebody.get_mut(who as usize) else { return };
        let party = &mut somebody.party;
        let unpaid = somebody.had.as_ref().is_some_and(|had| had.is_unpaid());
        if party.lost || (somebody.settled && what == What::Again) || (what.is_after() && !unpaid) {
            return;
        }
        let first = somebody.since == i64::MAX;
        somebody.since = somebody.since.min(due_us);
        somebody.uses += 1;
        let subject = match what {
            What::Ask | What::Again => self.subjects[0].clone(),
            What::Lookup | What::Lapse => self.subjects[1].clone(),
            What::Cancel => self.subjects[2].clone(),
            What::Confirm => self.subjects[3].clone(),
        };
        let payload = self.payload(who, what);
        let sent_us = self.clock_us();
        let late = self.now() - due_us;
        self.tally.lag.saturating_record((late as f64 / self.rush.speed).max(1.0) as u64);
        self.tally.sent += 1;
        self.tally.happened(due_us, |bin| {
            bin.requests += 1;
            bin.came += u64::from(first);
        });
        let number = self.first + self.flights.len() as u64;
        self.flights.push_back(InFlightRequest {
            who,
            what,
            due_us,
            sent_us,
            answered_us: None,
            outcome: None,
            as_of: None,
            more_answers: 0,
            seen: None,
        });
        self.open += 1;
        self.silent_since.get_or_insert_with(Instant::now);
        let Some(payload) = self.through_gateway((number, who), what, payload) else { return };
        // A connection that takes nothing: as if nobody had heard it.
        if !self.connected || !self.send(subject, number, payload).await {
            self.unheard(self.flights.len() - 1);
        }
    }

    /// Hands to the gateway what goes through it; what does not is handed back.
    fn through_gateway(&self, of: (u64, u32), what: What, payload: Vec<u8>) -> Option<Vec<u8>> {
        let (number, who) = of;
        let via = self.via.as_ref().filter(|via| via.takes(who));
        let Some(via) = via else { return Some(payload) };
        let sent = match what {
            What::Ask | What::Again => Sent::book(&payload),
            What::Lookup | What::Lapse => Some(Sent::lookup(payload.clone())),
            What::Cancel => Sent::cancel(&payload),
            // The payment side has a way of its own.
            What::Confirm => None,
        };
        let Some(sent) = sent else { return Some(payload) };
        via.send(number, sent);
        None
    }

    /// Hands a message to the connection; false: it takes none.
    async fn send(&self, subject: Subject, number: u64, payload: Vec<u8>) -> bool {
        let reply = Subject::from(format!("{}.{number}", self.inbox));
        let mut sending = pin!(self.client.publish_with_reply(subject, reply, payload.into()));
        // Mostly there is room, and no clock is needed.
        let sent = match sending.as_mut().now_or_never() {
            Some(sent) => Ok(sent),
            None => tokio::time::timeout(QUEUED_WITHIN, sending).await,
        };
        matches!(sent, Ok(Ok(())))
    }

    /// Ends the requests that need not be kept; who got no answer asks again.
    fn retire(&mut self) {
        let patience = self.patience_us();
        let now_us = self.clock_us();
        // One that nobody answers keeps those behind it: they do not leave all at once.
        for _ in 0..RETIRED {
            let Some(flight) = self.flights.front() else { break };
            let age = now_us.saturating_sub(flight.sent_us);
            if age < patience && (flight.outcome.is_none() || age < LINGER_US) {
                break;
            }
            let Some(flight) = self.flights.pop_front() else { break };
            self.first += 1;
            if flight.outcome.is_none() {
                self.open -= 1;
                self.unanswered(&flight);
            }
            self.write(&flight);
            self.release(flight.who);
        }
    }

    /// Whoever is still here when it ends, and the log.
    fn end(&mut self) {
        while let Some(flight) = self.flights.pop_front() {
            if flight.outcome.is_none() {
                self.tally.unanswered += 1;
            }
            self.write(&flight);
        }
        let later = |Reverse((_, _, what)): &Reverse<(i64, u32, What)>| *what == What::Confirm;
        self.tally.payments.later = self.due.iter().filter(|due| later(due)).count() as u64;
        let somebody = std::mem::take(&mut self.somebody).into_iter().flatten();
        for somebody in somebody.filter(|somebody| !somebody.anew) {
            self.tally.gone(&somebody.party);
        }
        self.shown = None;
        self.show();
        if let Some(Err(error)) = self.log.take().map(Writer::finish) {
            self.log_failed = Some(error.to_string());
        }
    }
}

/// Waits, or only lets others run. No clock is set where an answer is there.
async fn pause(wait: Duration) {
    if wait.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(wait).await;
    }
}
