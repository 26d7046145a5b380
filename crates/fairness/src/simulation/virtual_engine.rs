//! The real core, in virtual time: decide, number, one block in flight, commit.
//!
//! What the engine does around `giliran-allocator`, without its threads, its broker
//! and its clock.

use std::collections::VecDeque;
use std::sync::Arc;

use giliran_allocator::ballot;
use giliran_allocator::{
    Allocator, BookingRequest, Calendar, ChangeKind, ChangeOutcome, ChangeRequest, Content,
    Decision, Numbered, Pending, Settled, StateChange, StateMachine,
};
use giliran_wire::answer::Reason;
use giliran_wire::ledger::{
    Adjust, Adjustment, Block, BookableUntil, DrawEntryRecord, DrawRecord, Entry, FORMAT, Genesis,
    Grant, Leftovers, Office, OpeningRecord, Order, ReturnRule, Rules, Session, Slot, TakeOver,
};
use giliran_wire::request::Choice;
use giliran_wire::{
    BlockHash, BookingId, Date, KeyFingerprint, LedgerId, Pseudonym, Timestamp, WriterNonce,
};

use crate::random::Random;
use crate::scenario::Scenario;

/// The opening second: Friday, 27 November 2026, 14:00 in Jakarta.
const OPENS_MS: i64 = 1_795_762_800_000;
const ZONE: &str = "Asia/Jakarta";
/// The id of the one opening.
const OPENING: &str = "w";
/// The id of the ledger.
pub const LEDGER: LedgerId = LedgerId([1; 16]);
/// By then the window is closed, µs after its end.
const CLOSED_BY_US: i64 = 1_000_000;
/// Bookings that a person may be granted, and moves of one: what an engine does
/// where nothing is said.
const MOST_A_PERSON: u16 = 3;
/// Most entries in a block: below its limit of 512 KiB also for parties of five.
const BLOCK_ENTRIES: usize = 1_000;

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

/// What became of a request for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Places are taken; the answer comes with the block.
    Granted,
    /// It waits for returned places; the answer comes with the block.
    Entering,
    /// Decide again after the block.
    Wait,
    /// The same request, again.
    Known,
    Refused(Reason),
}

#[derive(Debug)]
pub struct VirtualEngine {
    state: StateMachine,
    allocator: Arc<Allocator>,
    random: Random,
    commit_us: i64,
    grants: VecDeque<Pending<Grant>>,
    entering: VecDeque<Box<DrawEntryRecord>>,
    changes: VecDeque<ChangeRequest>,
    flying: Option<(i64, Block, BlockHash)>,
    /// The window is to be closed with the next block.
    closing: bool,
    offices: Vec<String>,
    dates: Vec<Date>,
}

impl VirtualEngine {
    /// An open opening of the scenario's places under these rules.
    pub fn new(scenario: &Scenario, returns: &ReturnRule, seed: u64) -> Self {
        let record = record(scenario, returns);
        Self::of(record, (scenario.opening.commit_ms * 1e3) as i64, seed)
    }

    /// An opening as it is on record, not open yet.
    pub fn of(record: OpeningRecord, commit_us: i64, seed: u64) -> Self {
        let mut state = StateMachine::new();
        let allocator = Arc::clone(state.allocator());
        let offices = record.offices.iter().map(|office| office.id.clone()).collect();
        let dates = DAYS.iter().filter_map(|date| date.parse().ok()).collect();
        let genesis = Genesis {
            prefix: "giliran.v1".into(),
            applicant_key: KeyFingerprint([0; 16]),
            release: "0".into(),
            continues: None,
            rebuilt: None,
        };
        let take_over = TakeOver { engine: "bench".into(), release: "0".into(), forced: None };
        let block = block(&state, 0, instant(-1), vec![Entry::Genesis(genesis)]);
        // The first block of all is only ever read.
        let begun = state.fold(1, &block.seal().bytes);
        debug_assert!(begun.is_ok(), "{begun:?}");
        let mut desk = Self {
            state,
            allocator,
            random: Random::new(seed, 2),
            commit_us,
            grants: VecDeque::new(),
            entering: VecDeque::new(),
            changes: VecDeque::new(),
            flying: None,
            closing: false,
            offices,
            dates,
        };
        let first = block_of(&desk.state, 1, i64::MIN, vec![Entry::TakeOver(take_over)]);
        desk.commit(first);
        desk.write(i64::MIN, vec![Entry::Opening(Box::new(record))]);
        desk
    }

    /// The opening accepts requests from here on.
    pub fn open(&mut self, us: i64) {
        self.settle();
        self.write(us, vec![Entry::Opened { opening: 0 }]);
    }

    /// The opening's window closes with the next block; what is left goes to whoever
    /// asks.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// An operator's change, before anybody asks.
    pub fn adjust(&mut self, us: i64, change: Adjustment) {
        let (operator, reason) = ("replay".to_owned(), "as recorded".to_owned());
        self.write(us, vec![Entry::Adjust(Adjust { opening: 0, operator, reason, change })]);
    }

    /// Decides a request. `index` is its party's, and its id.
    pub fn decide(&mut self, index: u32, wanted: &Wanted<'_>, us: i64) -> Said {
        let mut id = [0; 10];
        let any = |office: u16| Choice {
            office: self.offices[usize::from(office)].as_str().into(),
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
        let ask = BookingRequest {
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
        put(&self.allocator, (&mut self.grants, &mut self.entering), &ask, us)
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

    /// Decides a request as it was sent.
    pub fn ask(&mut self, ask: &BookingRequest<'_>, us: i64) -> Said {
        put(&self.allocator, (&mut self.grants, &mut self.entering), ask, us)
    }

    /// A booking's change, for the next block, by its owner or somebody who is not.
    pub fn change(&mut self, target: BookingId, kind: ChangeKind, owner: bool) {
        let request_id = match kind {
            _ if !owner => "forged",
            ChangeKind::Confirm { .. } => "confirm",
            ChangeKind::Cancel { .. } => "cancel",
            ChangeKind::Reschedule { .. } => "reschedule",
        };
        self.changes.push_back(ChangeRequest {
            request_id: request_id.into(),
            target: Some(target),
            kind,
        });
    }

    /// When the block in flight lands.
    pub fn lands_at(&self) -> Option<i64> {
        self.flying.as_ref().map(|(at, ..)| *at)
    }

    /// Puts what waits into a block, unless one is in flight.
    pub fn send(&mut self, us: i64) {
        if self.flying.is_some() {
            return;
        }
        let entries = self.entries(us);
        if !entries.is_empty() {
            let (block, hash) = self.sealed(us, entries);
            self.flying = Some((us + self.commit_us, block, hash));
        }
    }

    /// The block in flight is durable: what it changed.
    pub fn land(&mut self) -> Vec<StateChange> {
        match self.flying.take() {
            Some((_, block, hash)) => self.commit((block, hash)),
            None => Vec::new(),
        }
    }

    /// Everything that waits is made durable now: what that changed.
    pub fn settle_all(&mut self, us: i64) -> Vec<StateChange> {
        let mut changes = self.land();
        loop {
            let entries = self.entries(us);
            if entries.is_empty() {
                return changes;
            }
            changes.extend(self.write(us, entries));
        }
    }

    fn settle(&mut self) {
        self.land();
    }

    /// When time by itself brings something: an expiry, a release.
    pub fn next_return(&self) -> Option<i64> {
        self.state.next_return().map(virtual_us)
    }

    /// The draws among those who wait that are due: what they changed. Nothing is
    /// in flight.
    pub fn draws(&mut self, us: i64) -> Vec<StateChange> {
        let mut changes = Vec::new();
        let now = instant(us);
        loop {
            let seed = self.random.bytes();
            let Some(mut drawing) = self.state.due_waitlist_draw(now, seed) else { break };
            let mut done = false;
            while let Some(entries) =
                self.state.advance_waitlist_draw(&mut drawing, now, BLOCK_ENTRIES / 2)
            {
                done |= !entries.is_empty();
                changes.extend(self.write(us, entries));
            }
            if !done {
                break;
            }
        }
        changes
    }

    fn entries(&mut self, us: i64) -> Vec<Entry> {
        let now = instant(us);
        let mut entries = Vec::new();
        while entries.len() < BLOCK_ENTRIES {
            let Some(mut grant) = self.grants.pop_front() else { break };
            loop {
                match self.state.assign_numbers(&mut grant, now, self.random.wide()) {
                    Numbered::Done => entries.push(Entry::Grant(*grant.enter())),
                    Numbered::IdTaken => continue,
                    Numbered::NoRoom => {}
                }
                break;
            }
        }
        for _ in 0..self.entering.len() {
            if entries.len() >= BLOCK_ENTRIES {
                break;
            }
            let Some(mut entry) = self.entering.pop_front() else { break };
            match self.state.enter_waitlist(&mut entry, self.random.wide()) {
                Some(true) => entries.push(Entry::Draw(DrawRecord::Entered(entry))),
                Some(false) | None => self.entering.push_back(entry),
            }
        }
        let random = &mut self.random;
        let mut bits = || random.wide();
        for _ in 0..self.changes.len() {
            if entries.len() >= BLOCK_ENTRIES {
                break;
            }
            let Some(ask) = self.changes.pop_front() else { break };
            match self.state.change(&ask, now, &mut bits) {
                ChangeOutcome::Entry(entry, _) => entries.push(*entry),
                ChangeOutcome::Wait => self.changes.push_back(ask),
                ChangeOutcome::Settled(_) => {}
            }
        }
        let room = |entries: &Vec<Entry>| BLOCK_ENTRIES.saturating_sub(entries.len());
        let most = room(&entries);
        entries.extend(self.state.expiries(now, most, &mut bits));
        let most = room(&entries);
        entries.extend(self.state.releases(now, most));
        if self.grants.is_empty() && std::mem::take(&mut self.closing) {
            entries.push(Entry::Closed { opening: 0 });
        }
        entries
    }

    fn write(&mut self, us: i64, entries: Vec<Entry>) -> Vec<StateChange> {
        let sealed = self.sealed(us, entries);
        self.commit(sealed)
    }

    fn sealed(&self, us: i64, entries: Vec<Entry>) -> (Block, BlockHash) {
        block_of(&self.state, self.state.chain().epoch, us, entries)
    }

    fn commit(&mut self, (block, hash): (Block, BlockHash)) -> Vec<StateChange> {
        let seq = self.state.chain().seq + 1;
        let done = self.state.commit(seq, block, hash);
        debug_assert!(done.is_ok(), "{:?}", done.as_ref().err());
        done.map(|(changes, _)| changes).unwrap_or_default()
    }
}

/// Decides, and keeps what goes into a block.
fn put(
    allocator: &Arc<Allocator>,
    (grants, entering): (&mut VecDeque<Pending<Grant>>, &mut VecDeque<Box<DrawEntryRecord>>),
    ask: &BookingRequest<'_>,
    us: i64,
) -> Said {
    match allocator.decide(ask, instant(us)) {
        Decision::Granted(grant) => {
            grants.push_back(grant);
            Said::Granted
        }
        Decision::JoinWaitlist(entry) => {
            entering.push_back(entry);
            Said::Entering
        }
        Decision::Retry | Decision::EnterDraw(_) | Decision::DeferToRound(_) => Said::Wait,
        Decision::Settled(Settled::Repeat(..) | Settled::Entered { .. }) => Said::Known,
        Decision::Settled(Settled::Refused(refusal, _)) => Said::Refused(refusal.reason),
    }
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

fn block(state: &StateMachine, epoch: u64, time: Timestamp, entries: Vec<Entry>) -> Block {
    let chain = state.chain();
    Block {
        format: FORMAT,
        number: state.chain().number + 1,
        ledger: LEDGER,
        generation: 1,
        epoch,
        writer: WriterNonce([1; 16]),
        time: time.max(chain.time),
        previous: chain.hash,
        entries,
    }
}

fn block_of(state: &StateMachine, epoch: u64, us: i64, entries: Vec<Entry>) -> (Block, BlockHash) {
    let time = if us == i64::MIN { state.chain().time } else { instant(us) };
    let block = block(state, epoch, time, entries);
    let hash = block.seal().hash;
    (block, hash)
}

/// The bench puts requests into their order before it has them decided, so to
/// `core` they come first come.
fn record(scenario: &Scenario, returns: &ReturnRule) -> OpeningRecord {
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
        ordinal: 0,
        id: OPENING.into(),
        timezone: ZONE.into(),
        opens_at: instant(0),
        // It is closed by hand, once the last round or the draw is decided.
        closes_at: instant((scenario.opening.window_s * 1e6) as i64 + CLOSED_BY_US),
        rules: Rules {
            order: Order::FirstCome,
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
