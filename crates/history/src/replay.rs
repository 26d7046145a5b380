//! A recorded opening's requests, decided by the real sequencer and allocator in another
//! order.
//!
//! Who asked is known from a gateway log; without one, from the ledger, which holds
//! the winners, with the slot they got for their only choice, and those who entered
//! a draw or waited for returned places, with all of theirs. What is compared is the
//! first allocation: in the replay nobody gives a place back.

use std::collections::{BTreeMap, HashMap, HashSet};

use giliran_allocator::{BookingRequest, Content, StateChange};
use giliran_fairness::measures::concentration;
use giliran_fairness::simulation::virtual_engine::{VirtualEngine, instant, virtual_us};
use giliran_sequencer::AdminOp;
use giliran_wire::admin::Bookings;
use giliran_wire::answer::{Reason, ReasonKind};
use giliran_wire::client_log::Choice;
use giliran_wire::ledger::{DrawEntryRecord, Order};
use giliran_wire::request;
use giliran_wire::{BookingId, Digest, Pseudonym};

use crate::gateway_log::{Gateway, GatewayLine};
use crate::recorded::RecordedOpening;

/// How long a replayed opening stays open whose order has no rounds, µs of virtual time:
/// all ask at its begin.
const OPEN_US: i64 = 1_000_000;

/// True for a reason by which every order would have rejected the request.
fn is_barred(reason: &str) -> bool {
    Reason::from_name(reason).is_some_and(|reason| reason.kind() == ReasonKind::Request)
}

/// One request, as it was made.
#[derive(Debug, Clone)]
struct Request {
    /// µs in the engine's virtual time.
    at_us: i64,
    people: Vec<Pseudonym>,
    account: Option<Pseudonym>,
    choices: Vec<request::Choice<'static>>,
    channel: String,
    cohort: Option<String>,
    /// It got places that nobody had had before.
    won: bool,
}

/// How a group fared, as recorded and in each replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `channel`, `cohort`, `party of` or `asked`.
    pub kind: &'static str,
    pub name: String,
    pub asked: u64,
    /// Those that got places: as recorded, then in each replay.
    pub won: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    pub order: String,
    /// Requests that got places in both.
    pub both: u64,
    pub lost: u64,
    /// Only in the replay.
    pub gained: u64,
    pub places: u64,
    /// Share of the ten accounts that got most; none: no accounts.
    pub top_ten: Option<f64>,
}

/// Recorded and replayed, side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    pub opening: String,
    /// The order that was in force.
    pub order: String,
    /// Requests that were decided again.
    pub requests: u64,
    /// Of them with places, as recorded, none of which had come back.
    pub won: u64,
    /// The places of those.
    pub places: u64,
    /// Share of the ten accounts that got most of those; none: no accounts.
    pub top_ten: Option<f64>,
    pub arms: Vec<Arm>,
    pub rows: Vec<Row>,
    /// What this cannot tell.
    pub unsaid: Vec<Unsaid>,
}

/// Something that a replay cannot tell, with how many it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsaid {
    /// Bookings of places that had come back: in a replay nobody gives a place back.
    Again(u64),
    /// Everybody who entered is in the ledger.
    NobodyMissing,
    /// Without a gateway log.
    RejectedMissing,
    /// Requests that every order would reject.
    Barred(u64),
    /// Askers who were never answered while the opening was open.
    Early(u64),
    /// Askers whose choices the log does not hold.
    WithoutChoices(u64),
    /// Bookings that the log does not know.
    Unseen(u64),
    /// People ask as they did.
    Otherwise,
}

/// Decides the opening's requests again, in each of these orders.
///
/// # Errors
///
/// In words, where nobody asked.
pub fn replay(
    recorded: &RecordedOpening,
    gateway: Option<&Gateway>,
    orders: &[Order],
    seed: u64,
) -> Result<Replay, String> {
    let mut unsaid = Vec::new();
    let mut requests = match gateway {
        Some(gateway) => seen(recorded, gateway, &mut unsaid),
        None => recorded_alone(recorded, &mut unsaid),
    };
    if requests.is_empty() {
        return Err("no request is known: there is nothing to replay".into());
    }
    requests.sort_by_key(|request| request.at_us);
    let again = recorded.bookings.iter().filter(|booked| booked.again).count();
    if again > 0 {
        unsaid.push(Unsaid::Again(again as u64));
    }
    let outcomes: Vec<Vec<bool>> =
        orders.iter().map(|order| decided(recorded, &requests, *order, seed)).collect();
    let before: Vec<bool> = requests.iter().map(|request| request.won).collect();
    let places = |won: &[bool]| {
        let won = requests.iter().zip(won).filter(|(_, won)| **won);
        won.map(|(request, _)| request.people.len() as u64).sum()
    };
    let both = |won: &[bool], was: bool, is: bool| {
        before.iter().zip(won).filter(|(b, a)| (**b, **a) == (was, is)).count() as u64
    };
    let arms = orders.iter().zip(&outcomes).map(|(order, won)| Arm {
        order: order.name(),
        both: both(won, true, true),
        lost: both(won, true, false),
        gained: both(won, false, true),
        places: places(won),
        top_ten: top_ten(&requests, won),
    });
    Ok(Replay {
        opening: recorded.record.id.clone(),
        order: recorded.record.rules.order.name(),
        requests: requests.len() as u64,
        won: before.iter().filter(|won| **won).count() as u64,
        places: places(&before),
        top_ten: top_ten(&requests, &before),
        arms: arms.collect(),
        rows: rows(&requests, &before, &outcomes),
        unsaid,
    })
}

fn top_ten(requests: &[Request], won: &[bool]) -> Option<f64> {
    let mut held: HashMap<Pseudonym, u64> = HashMap::new();
    for (request, _) in requests.iter().zip(won).filter(|(_, won)| **won) {
        if let Some(account) = request.account {
            *held.entry(account).or_default() += request.people.len() as u64;
        }
    }
    concentration(held.into_values().collect(), 10).map(|found| found.top)
}

/// Groups: channels, cohorts, sizes, and tenths of the line by when they asked.
fn rows(requests: &[Request], before: &[bool], outcomes: &[Vec<bool>]) -> Vec<Row> {
    let mut found: BTreeMap<(u8, String), Row> = BTreeMap::new();
    let n = requests.len();
    for (i, request) in requests.iter().enumerate() {
        let tenth = format!("{} tenth", i * 10 / n + 1);
        let groups = [
            (0, "channel", Some(request.channel.clone())),
            (1, "cohort", request.cohort.clone()),
            (2, "party of", Some(request.people.len().to_string())),
            (3, "asked", Some(format!("{tenth:>8}")).filter(|_| n >= 10)),
        ];
        for (place, kind, name) in groups {
            let Some(name) = name else { continue };
            let row = found.entry((place, name.clone())).or_insert_with(|| Row {
                kind,
                name: name.trim().to_owned(),
                asked: 0,
                won: vec![0; outcomes.len() + 1],
            });
            row.asked += 1;
            row.won[0] += u64::from(before[i]);
            for (into, outcome) in row.won[1..].iter_mut().zip(outcomes) {
                *into += u64::from(outcome[i]);
            }
        }
    }
    found.into_values().collect()
}

/// Who got places, in one order.
fn decided(recorded: &RecordedOpening, requests: &[Request], how: Order, seed: u64) -> Vec<bool> {
    let opened = virtual_us(recorded.opened.unwrap_or(recorded.record.opens_at));
    // Those who asked in one round, in the rounds one after the other; without rounds,
    // everybody.
    let round_us = match how {
        Order::Rounds { length_ms } => (length_ms.max(1) as i64).saturating_mul(1_000),
        Order::FirstCome | Order::Draw => OPEN_US,
    };
    let round = |request: &Request| match how {
        Order::Rounds { .. } => (request.at_us - opened).div_euclid(round_us).max(0),
        Order::FirstCome | Order::Draw => 0,
    };
    let rounds: Vec<&[Request]> = requests.chunk_by(|a, b| round(a) == round(b)).collect();
    // It stays open for another round, so that the last one ends before the close.
    let closes = opened.saturating_add(round_us.saturating_mul(rounds.len() as i64 + 1));
    let mut run = ReplayRun::new(recorded, requests, (opened, closes), how, seed);
    let mut from = 0;
    for round in rounds {
        (from..from + round.len()).for_each(|index| run.ask(index));
        from += round.len();
        if how != Order::FirstCome {
            run.passes(run.now.saturating_add(round_us));
        }
    }
    if how == Order::Draw {
        run.passes(closes);
        run.draws();
    }
    run.won
}

/// An engine, and who asks it. A ticket is a request's index.
struct ReplayRun<'a> {
    engine: VirtualEngine<usize>,
    requests: &'a [Request],
    opening: String,
    now: i64,
    won: Vec<bool>,
}

impl<'a> ReplayRun<'a> {
    fn new(
        recorded: &RecordedOpening,
        requests: &'a [Request],
        (opens, closes): (i64, i64),
        how: Order,
        seed: u64,
    ) -> Self {
        let mut record = recorded.record.clone();
        record.ordinal = 0;
        record.rules.order = how;
        record.rules.across_openings = false;
        record.rules.hold_ms = None;
        (record.opens_at, record.closes_at) = (instant(opens), instant(closes));
        let slots = record.slots.clone();
        let opening = record.id.clone();
        let engine = VirtualEngine::of(record, 0, seed);
        let won = vec![false; requests.len()];
        let mut run = Self { engine, requests, opening, now: opens, won };
        run.passes(opens);
        for (slot, (places, of)) in recorded.places.iter().zip(&slots).enumerate() {
            let slot = slot as u32;
            if places.quota != i64::from(of.quota) {
                run.adjust(AdminOp::Quota { slot, quota: places.quota as u16 });
            }
            if places.reserved > 0 {
                run.adjust(AdminOp::Reserve { slot, places: places.reserved as u16 });
            }
            if places.halted {
                let bookings = Bookings::Keep;
                run.adjust(AdminOp::Halt { slots: vec![slot], halted: true, bookings });
            }
        }
        run
    }

    /// Nobody has asked yet.
    fn adjust(&mut self, act: AdminOp) {
        self.engine.adjust(usize::MAX, act, self.now);
        self.settle();
    }

    fn ask(&mut self, index: usize) {
        let request = &self.requests[index];
        let id = index.to_string();
        let mut content = [0; 16];
        content[..8].copy_from_slice(&(index as u64).to_le_bytes());
        let ask = BookingRequest {
            request_id: &id,
            applicants: &request.people,
            content: Content::Digest(Digest(content)),
            choices: &request.choices,
            opening: Some(&self.opening),
            expires_at: None,
            account: request.account,
            channel: None,
            reference: None,
            // Whoever was not entitled was rejected for it, and is not here.
            vouched: true,
            wait: false,
        };
        self.engine.ask(index, &ask, self.now);
        // Nobody who asks later is decided before what this one depends on is durable.
        self.settle();
    }

    /// It becomes this time.
    fn passes(&mut self, at: i64) {
        self.now = at;
        self.engine.wake(at);
        self.settle();
    }

    /// The opening has closed: its draw is held.
    fn draws(&mut self) {
        while !self.engine.is_drawn()
            && let Some(at) = self.engine.wake_at(self.now)
        {
            self.passes(at);
        }
    }

    fn settle(&mut self) {
        self.engine.settle(self.now);
        // What became of a request shows in what changed.
        drop(self.engine.take_answers());
        for change in self.engine.take_changes() {
            if let StateChange::Booking { before: None, after, .. } = change
                && let Ok(index) = after.booking.request_id.parse::<usize>()
                && let Some(won) = self.won.get_mut(index)
            {
                *won = true;
            }
        }
    }
}

/// The requests that the ledger holds.
fn recorded_alone(recorded: &RecordedOpening, unsaid: &mut Vec<Unsaid>) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut entered: HashSet<BookingId> = HashSet::new();
    // Behind the close of a draw nobody asks for its places any more: who waits there
    // waits for returned ones.
    let draw = recorded.record.rules.order == Order::Draw;
    let stays_out = |ballot: &DrawEntryRecord| {
        recorded.left.contains(&ballot.receipt) || (draw && ballot.waits)
    };
    for (at, ballot) in recorded.ballots.iter().filter(|(_, ballot)| !stays_out(ballot)) {
        entered.insert(ballot.receipt);
        let booked = recorded.by_booking.get(&ballot.receipt).map(|at| &recorded.bookings[*at]);
        requests.push(Request {
            at_us: virtual_us(*at),
            people: ballot.applicants.clone(),
            account: ballot.account,
            choices: ballot.slots.iter().filter_map(|slot| named(recorded, *slot)).collect(),
            channel: ballot.channel.clone().unwrap_or_else(|| "not named".into()),
            cohort: None,
            won: booked.is_some_and(|booked| !booked.again),
        });
    }
    if draw {
        entered.extend(recorded.ballots.iter().map(|(_, ballot)| ballot.receipt));
    }
    let granted = recorded.bookings.iter().filter(|b| !entered.contains(&b.grant.booking));
    let before = requests.len();
    for booked in granted {
        requests.push(of_booking(recorded, booked, virtual_us(booked.at)));
    }
    if draw && before == requests.len() {
        unsaid.push(Unsaid::NobodyMissing);
        return requests;
    }
    unsaid.push(Unsaid::RejectedMissing);
    requests
}

fn of_booking(
    recorded: &RecordedOpening,
    booked: &crate::recorded::RecordedBooking,
    at_us: i64,
) -> Request {
    let grant = &booked.grant;
    Request {
        at_us,
        people: grant.seats.iter().map(|seat| seat.applicant).collect(),
        account: grant.account,
        choices: named(recorded, grant.slot).into_iter().collect(),
        channel: grant.channel.clone().unwrap_or_else(|| "not named".into()),
        cohort: None,
        won: !booked.again,
    }
}

/// A choice that names one slot.
fn named(recorded: &RecordedOpening, slot: u32) -> Option<request::Choice<'static>> {
    let (slot, office, session) = recorded.record.place(slot)?;
    Some(request::Choice {
        office: office.id.clone().into(),
        date: Some(slot.date),
        session: Some(session.id.clone().into()),
    })
}

/// The requests that a gateway saw, and the winners that it did not.
fn seen(recorded: &RecordedOpening, gateway: &Gateway, unsaid: &mut Vec<Unsaid>) -> Vec<Request> {
    let offset = offset_us(recorded, gateway);
    let (mut barred, mut without, mut early) = (0, 0, 0);
    let mut known: HashSet<usize> = HashSet::new();
    let mut requests = Vec::new();
    for asker in &gateway.askers {
        known.extend(asker.booking);
        let (first, last) = (gateway.first(asker), &gateway.lines[asker.last]);
        let booked = asker.booking.map(|at| &recorded.bookings[at]);
        if booked.is_none() && last.reason.as_deref().is_some_and(is_barred) {
            barred += 1;
            continue;
        }
        let Some(asked_us) = asker.asked_us else {
            early += 1;
            continue;
        };
        let choices: Vec<_> = first.choices.iter().filter_map(choice).collect();
        let got = booked.and_then(|booked| named(recorded, booked.grant.slot));
        let choices = if choices.is_empty() { got.into_iter().collect() } else { choices };
        if choices.is_empty() {
            without += 1;
            continue;
        }
        requests.push(Request {
            at_us: asked_us as i64 + offset,
            people: people(first),
            account: account(first).or(booked.and_then(|booked| booked.grant.account)),
            choices,
            channel: first.channel.clone().unwrap_or_else(|| "not named".into()),
            cohort: first.cohort.clone(),
            won: booked.is_some_and(|booked| !booked.again),
        });
    }
    let mut unseen = 0;
    for (index, booked) in recorded.bookings.iter().enumerate() {
        if !known.contains(&index) {
            unseen += 1;
            requests.push(of_booking(recorded, booked, virtual_us(booked.at)));
        }
    }
    for (n, unsaid_of) in [
        (barred, Unsaid::Barred(barred)),
        (early, Unsaid::Early(early)),
        (without, Unsaid::WithoutChoices(without)),
        (unseen, Unsaid::Unseen(unseen)),
    ] {
        unsaid.extend((n > 0).then_some(unsaid_of));
    }
    unsaid.push(Unsaid::Otherwise);
    requests
}

/// What the log's clock lacks to the engine's: by the answers of grants, the middle one.
fn offset_us(recorded: &RecordedOpening, gateway: &Gateway) -> i64 {
    let mut apart: Vec<i64> = gateway
        .askers
        .iter()
        .filter_map(|asker| {
            let booked = &recorded.bookings[asker.booking?];
            Some(virtual_us(booked.at) - i64::try_from(asker.answered_us?).ok()?)
        })
        .collect();
    apart.sort_unstable();
    let opened = virtual_us(recorded.opened.unwrap_or(recorded.record.opens_at));
    let first = gateway.lines.iter().map(|line| line.sent_us as i64).min().unwrap_or(0);
    apart.get(apart.len() / 2).copied().unwrap_or(opened - first)
}

fn choice(choice: &Choice) -> Option<request::Choice<'static>> {
    let date = choice.date.as_deref().map(str::parse).transpose().ok()?;
    Some(request::Choice {
        office: choice.office.clone().into(),
        date,
        session: choice.session.clone().map(Into::into),
    })
}

/// Stand-ins: the log's applicants are only told apart.
fn people(line: &GatewayLine) -> Vec<Pseudonym> {
    if line.applicants.is_empty() {
        let number = |n: u32| stand_in(&format!("{n}/{}", line.request_id));
        return (0..line.size()).map(number).collect();
    }
    line.applicants.iter().map(|applicant| stand_in(&format!("p/{applicant}"))).collect()
}

fn account(line: &GatewayLine) -> Option<Pseudonym> {
    line.account.as_ref().map(|account| stand_in(&format!("a/{account}")))
}

fn stand_in(text: &str) -> Pseudonym {
    let hash = blake3::hash(text.as_bytes());
    Pseudonym::from_bytes(std::array::from_fn(|i| hash.as_bytes()[i]))
}
