//! The real sequencer and allocator, in virtual time.
//!
//! What an engine does around them, without its threads, its broker and its clock:
//! requests are decided on the allocator and handed to the sequencer, a block is
//! stored a fixed time after it was sent, and the sequencer is woken when it wants to
//! be.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use giliran_allocator::ballot;
use giliran_allocator::{
    Allocator, BookingRequest, Calendar, ChangeKind, ChangeRequest, Content, Decision, StateChange,
    StateMachine,
};
use giliran_sequencer::{
    AdminCommand, AdminOp, Appended, Attempt, Continuation, Effect, MAX_BACKLOG, Now, Outcome,
    ReadOutcome, Sequencer,
};
use giliran_wire::ledger::{
    Block, BookableUntil, Entry, FORMAT, Genesis, Leftovers, Office, OpeningRecord, Order,
    ReturnRule, Rules, Session, Slot, TakeOver,
};
use giliran_wire::request::Choice;
use giliran_wire::{
    BlockHash, BookingId, Date, KeyFingerprint, LedgerId, OrderKey, Pseudonym, Timestamp,
    WriterNonce,
};

use crate::random::Random;
use crate::scenario::Scenario;

/// The opening second: Friday, 27 November 2026, 14:00 in Jakarta.
const OPENS_MS: i64 = 1_795_762_800_000;
/// The engine takes over so long before its opening, ms: [`GRACE_MS`] is long past by
/// then.
///
/// [`GRACE_MS`]: giliran_sequencer::GRACE_MS
const BEFORE_MS: i64 = 3_600_000;
const ZONE: &str = "Asia/Jakarta";
/// The id of the one opening.
const OPENING: &str = "w";
/// The id of the ledger.
pub const LEDGER: LedgerId = LedgerId([1; 16]);
/// The ordinal of the one opening.
pub const ORDINAL: u32 = 0;
/// Bookings that a person may be granted, and moves of one: what an engine does
/// where nothing is said.
const MOST_A_PERSON: u16 = 3;

/// Days that can be booked: from the Monday after.
const DAYS: [&str; 7] = [
    "2026-11-30",
    "2026-12-01",
    "2026-12-02",
    "2026-12-03",
    "2026-12-04",
    "2026-12-05",
    "2026-12-06",
];

/// Virtual time, µs from the opening second, as an engine's.
pub fn instant(us: i64) -> Timestamp {
    Timestamp::from_millis(OPENS_MS + us.div_euclid(1_000))
}

/// Engine time as virtual time.
pub fn virtual_us(at: Timestamp) -> i64 {
    (at.as_millis() - OPENS_MS) * 1_000
}

/// A block that was sent.
#[derive(Debug)]
struct InFlight {
    lands_at: i64,
    attempt: Attempt,
    seq: u64,
    bytes: Bytes,
}

/// The next random bits, where somebody has chosen them.
type ChosenBits = Arc<Mutex<Option<u128>>>;

/// The one engine of a ledger with one opening. `T` finds the requester again.
pub struct VirtualEngine<T> {
    sequencer: Sequencer<T>,
    allocator: Arc<Allocator>,
    key: OrderKey,
    chosen: ChosenBits,
    commit_us: i64,
    /// When it took over, µs: its clocks run from there on.
    began_us: i64,
    in_flight: Option<InFlight>,
    /// The last block of the ledger.
    last: Bytes,
    /// Outcomes, until they are taken.
    answers: Vec<(T, Outcome)>,
    offices: Vec<String>,
    dates: Vec<Date>,
}

impl<T> VirtualEngine<T> {
    /// An opening of the scenario's places, in this order and under this rule for what
    /// comes back; it opens at 0.
    pub fn new(scenario: &Scenario, order: Order, returns: &ReturnRule, seed: u64) -> Self {
        let commit_us = (scenario.opening.commit_ms * 1e3) as i64;
        Self::of(record(scenario, order, returns), commit_us, seed)
    }

    /// An opening as it is on record, not open yet.
    pub fn of(record: OpeningRecord, commit_us: i64, seed: u64) -> Self {
        let mut state = StateMachine::new();
        let allocator = Arc::clone(state.allocator());
        let offices = record.offices.iter().map(|office| office.id.clone()).collect();
        let dates = DAYS.iter().filter_map(|date| date.parse().ok()).collect();
        let began = record.opens_at.as_millis().saturating_sub(BEFORE_MS).max(0);
        let began_us = virtual_us(Timestamp::from_millis(began));
        let last = first_block(instant(began_us));
        let begun = state.fold(1, &last);
        debug_assert!(begun.is_ok(), "{begun:?}");
        let mut random = Random::new(seed, 2);
        let key = OrderKey::new(random.bytes());
        let chosen = ChosenBits::default();
        let bits = {
            let chosen = Arc::clone(&chosen);
            move || chosen.lock().ok().and_then(|bits| *bits).unwrap_or_else(|| random.wide())
        };
        let now = Now { wall: instant(began_us), mono_ms: 0 };
        let take_over = TakeOver { engine: "bench".into(), version: "0".into(), forced: None };
        let (writer, next) = (WriterNonce([1; 16]), Continuation::default());
        let mut sequencer =
            Sequencer::take_over(state, writer, take_over, Box::new(bits), next, now)
                .with_order_key(key.clone());
        sequencer.watch_state_changes();
        let mut engine = Self {
            sequencer,
            allocator,
            key,
            chosen,
            commit_us,
            began_us,
            in_flight: None,
            last,
            answers: Vec::new(),
            offices,
            dates,
        };
        engine.settle(began_us);
        engine.input(began_us, |sequencer, now| sequencer.record_openings(vec![record], now));
        engine.settle(began_us);
        engine
    }

    /// Both clocks, which run alike.
    fn now(&self, us: i64) -> Now {
        let mono_ms = (us - self.began_us).div_euclid(1_000).max(0) as u64;
        Now { wall: instant(us), mono_ms }
    }

    /// Hands something to the sequencer, and does what it wants done.
    fn input(&mut self, us: i64, input: impl FnOnce(&mut Sequencer<T>, Now)) {
        let now = self.now(us);
        input(&mut self.sequencer, now);
        loop {
            let effects = self.sequencer.effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Append { attempt, expected_last, bytes, .. } => {
                        let (lands_at, seq) = (us + self.commit_us, expected_last + 1);
                        self.in_flight = Some(InFlight { lands_at, attempt, seq, bytes });
                    }
                    // It only ever looks back at the last one.
                    Effect::Read { attempt, .. } => {
                        let found = ReadOutcome::Found(self.last.clone());
                        self.sequencer.read(attempt, &found, now);
                    }
                    Effect::Answer { ticket, outcome, .. } => self.answers.push((ticket, outcome)),
                    Effect::Granted(grants) => self.answers.extend(grants.into_outcomes()),
                    Effect::Foreign(_) | Effect::Active(_) => {}
                    Effect::Idle(why) => {
                        unreachable!("nobody else writes, and nothing gets lost: {why:?}")
                    }
                }
            }
        }
    }

    /// When it is to be [woken](Self::wake) next, if nothing is handed to it before:
    /// when its block lands, or when a moment comes that it waits for.
    pub fn wake_at(&self, us: i64) -> Option<i64> {
        if let Some(in_flight) = &self.in_flight {
            return Some(in_flight.lands_at);
        }
        let next_ms = self.sequencer.next_tick_ms(self.now(us))?;
        // As an engine's loop, it looks again after a millisecond at the earliest.
        let earliest_us = (us.div_euclid(1_000) + 1) * 1_000;
        Some((self.began_us + next_ms as i64 * 1_000).max(earliest_us))
    }

    /// Its block lands, if it was to by now; without one, time passes.
    pub fn wake(&mut self, us: i64) {
        match self.in_flight.take_if(|block| block.lands_at <= us) {
            Some(InFlight { attempt, seq, bytes, .. }) => {
                let stored = Appended::Stored { seq };
                self.input(us, |sequencer, now| sequencer.appended(attempt, stored, now));
                // Before it commits a block, the sequencer may look back at the one before.
                self.last = bytes;
            }
            None if self.in_flight.is_none() => self.input(us, Sequencer::tick),
            None => {}
        }
    }

    /// Block after block lands until there is no further one to be sent; when that was.
    pub fn settle(&mut self, us: i64) -> i64 {
        let mut at = us;
        while let Some(block) = &self.in_flight {
            at = at.max(block.lands_at);
            self.wake(at);
        }
        at
    }

    /// When the block in flight lands.
    pub fn lands_at(&self) -> Option<i64> {
        self.in_flight.as_ref().map(|block| block.lands_at)
    }

    /// What became of requests since the last call.
    pub fn take_answers(&mut self) -> Vec<(T, Outcome)> {
        std::mem::take(&mut self.answers)
    }

    /// What blocks changed since the last call.
    pub fn take_changes(&mut self) -> Vec<StateChange> {
        self.sequencer.take_state_changes()
    }

    /// True while so many wait that intake tells whoever asks to come again.
    pub fn is_busy(&self) -> bool {
        self.sequencer.backlog() >= MAX_BACKLOG
    }

    /// Decides a request of the bench. `index` is its party's, and its id.
    pub fn decide(&mut self, ticket: T, index: u32, wanted: &Wanted<'_>, us: i64) {
        let mut id = [0; 10];
        // The names are borrowed while the request is handed on.
        let offices = std::mem::take(&mut self.offices);
        let any = |office: u16| Choice {
            office: offices[usize::from(office)].as_str().into(),
            date: None,
            session: None,
        };
        let mut choices = Vec::with_capacity(8);
        choices.extend(wanted.days.iter().map(|day| Choice {
            date: self.dates.get(usize::from(*day)).copied(),
            ..any(wanted.office)
        }));
        choices.extend(wanted.second.map(any));
        let mut content = [0; 16];
        content[..4].copy_from_slice(&index.to_le_bytes());
        let request = BookingRequest {
            request_id: decimal(index, &mut id),
            applicants: wanted.people,
            content: Content::Digest(giliran_wire::Digest(content)),
            choices: &choices,
            opening: Some(OPENING),
            expires_at: None,
            account: Some(wanted.account),
            channel: None,
            reference: None,
            vouched: false,
            wait: wanted.wait,
        };
        self.ask(ticket, &request, us);
        drop(choices);
        self.offices = offices;
    }

    /// Decides a request as a worker does, and hands on what is not settled.
    pub fn ask(&mut self, ticket: T, request: &BookingRequest<'_>, us: i64) {
        let decision = self.allocator.decide(request, instant(us));
        if let Decision::Settled(settled) = decision {
            self.answers.push((ticket, Outcome::Settled(settled)));
            return;
        }
        self.input(us, |sequencer, now| match decision {
            Decision::Granted(grant) => sequencer.submit_grants([(grant, ticket)], [], now),
            Decision::EnterDraw(entry) => {
                sequencer.submit_entries([(entry, ticket)], now);
                sequencer.submit_grants([], [], now);
            }
            Decision::DeferToRound(opening) => {
                sequencer.defer_to_round([(opening, request.to_owned(), ticket)], now);
            }
            Decision::JoinWaitlist(_) | Decision::Retry | Decision::Settled(_) => {
                sequencer.submit_grants([], [(request.to_owned(), ticket)], now);
            }
        });
    }

    /// A booking's change, for the next block, by its owner or somebody who is not.
    pub fn change(&mut self, ticket: T, target: BookingId, kind: ChangeKind, by: By, us: i64) {
        let request_id = match kind {
            _ if by == By::Another => "forged",
            ChangeKind::Confirm { .. } => "confirm",
            ChangeKind::Cancel { .. } => "cancel",
            ChangeKind::Reschedule { .. } => "reschedule",
        };
        let request = ChangeRequest { request_id: request_id.into(), target: Some(target), kind };
        self.input(us, |sequencer, now| sequencer.submit_changes([(request, ticket)], now));
    }

    /// Hands in an operator's action at `us`, µs of virtual time.
    pub fn adjust(&mut self, ticket: T, act: AdminOp, us: i64) {
        let (operator, reason) = ("replay".to_owned(), "as recorded".to_owned());
        let action = AdminCommand { opening: ORDINAL, operator, reason, act, dry_run: false };
        self.input(us, |sequencer, now| sequencer.submit_admin(action, ticket, now));
    }

    /// The number of the round that is being collected: one for each group that is
    /// durable, and the next.
    pub fn round(&self) -> u64 {
        // What is granted in a block is in its group, while there are rounds.
        let sent = self.sequencer.in_flight().is_some_and(|grants| grants > 0);
        self.sequencer.state().groups(ORDINAL) + u64::from(sent) + 1
    }

    /// The operator's seed of the opening: the secret.
    pub fn operator_seed(&self) -> ballot::Hash {
        self.sequencer.state().seed(ORDINAL, &self.key)
    }

    /// The seed that the draw goes by; none before its entries are complete.
    pub fn draw_seed(&self) -> Option<ballot::Hash> {
        self.sequencer.state().draw_seed(ORDINAL)
    }

    /// True once the opening's own draw is over.
    pub fn is_drawn(&self) -> bool {
        self.allocator.openings().get(ORDINAL).is_some_and(|opening| opening.is_drawn())
    }

    /// Has every id, until this is called again, made of these bits instead of random
    /// ones.
    pub fn choose_bits(&self, bits: Option<u128>) {
        if let Ok(mut chosen) = self.chosen.lock() {
            *chosen = bits;
        }
    }

    /// What a draw of the opening is about, with these places.
    pub fn head(&self, places: &[u32]) -> ballot::Hash {
        let openings = self.allocator.openings();
        let only = openings.iter().next();
        only.map(|only| ballot::head(LEDGER, only.record(), None, places.iter().copied()))
            .unwrap_or_default()
    }

    /// Any day at an office, to move a booking to.
    pub fn anywhere(&self, office: u16) -> Choice<'static> {
        let office = self.offices[usize::from(office)].to_string();
        Choice { office: office.into(), date: None, session: None }
    }
}

/// By whom a booking is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Owner,
    Another,
}

/// What a party asks for.
#[derive(Debug)]
pub struct Wanted<'a> {
    pub people: &'a [Pseudonym],
    pub account: Pseudonym,
    pub office: u16,
    pub days: &'a [u8],
    pub second: Option<u16>,
    pub wait: bool,
}

fn decimal(mut n: u32, digits: &mut [u8; 10]) -> &str {
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    str::from_utf8(&digits[from..]).unwrap_or_default()
}

/// What the ledger begins with, as it is stored: it is only ever read.
fn first_block(time: Timestamp) -> Bytes {
    let genesis = Genesis {
        prefix: "giliran.v1".into(),
        applicant_key: KeyFingerprint([0; 16]),
        version: "0".into(),
        continues: None,
        rebuilt: None,
    };
    let block = Block {
        format: FORMAT,
        number: 1,
        ledger: LEDGER,
        generation: 1,
        epoch: 0,
        writer: WriterNonce([1; 16]),
        time,
        previous: BlockHash::ZERO,
        entries: vec![Entry::Genesis(genesis)],
    };
    block.seal().bytes.into()
}

fn record(scenario: &Scenario, order: Order, returns: &ReturnRule) -> OpeningRecord {
    let offices = usize::from(scenario.offices.count);
    let days = usize::from(scenario.offices.days);
    let session =
        Session { id: "all".into(), label: String::new(), restricted: false, explicit: false };
    let office = |i: usize| Office {
        id: format!("office-{}", i + 1),
        name: String::new(),
        sessions: vec![session.clone()],
    };
    let calendar = Calendar::of(ZONE).unwrap_or_else(Calendar::utc);
    let slot = |i: usize| {
        let date = DAYS[i % days].parse().unwrap_or_else(|_| unreachable!("written out above"));
        Slot {
            office: (i / days) as u32,
            session: 0,
            date,
            quota: scenario.offices.quota_of(i / days),
            bookable_until: calendar.begins(date),
        }
    };
    OpeningRecord {
        ordinal: ORDINAL,
        id: OPENING.into(),
        timezone: ZONE.into(),
        opens_at: instant(0),
        closes_at: instant((scenario.opening.window_s * 1e6) as i64),
        rules: Rules {
            order,
            max_party: scenario.opening.max_party,
            max_per_account: scenario.opening.max_per_account,
            hold_ms: scenario.opening.hold_s.map(|s| (s * 1e3) as u64),
            cancelled: returns.clone(),
            expired: returns.clone(),
            across_openings: false,
            max_changes: MOST_A_PERSON,
            bookable_until: BookableUntil::DayBegins,
            max_bookings: MOST_A_PERSON,
            leftovers: Leftovers::FirstCome,
        },
        offices: (0..offices).map(office).collect(),
        slots: (0..offices * days).map(slot).collect(),
    }
}
