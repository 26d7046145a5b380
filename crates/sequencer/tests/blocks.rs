//! No block outgrows what the broker takes, whatever comes at once: one that
//! did would be refused for ever, and nothing would be granted any more.

#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use giliran_allocator::{BookingRequest, Decision, StateMachine};
use giliran_sequencer::{
    AdminCommand, AdminOp, Appended, Continuation, Effect, Now, Outcome, ReadOutcome, Sequencer,
};
use giliran_wire::admin::Bookings;
use giliran_wire::ledger::{
    Block, BookableUntil, Entry, FORMAT, Genesis, Leftovers, MAX_BLOCK_BYTES, Office,
    OpeningRecord, Order, ReturnRule, Rules, Session, Slot, TakeOver,
};
use giliran_wire::request::Choice;
use giliran_wire::{
    BlockHash, Digest, KeyFingerprint, LedgerId, Pseudonym, Text, Timestamp, WriterNonce,
};

const OFFICES: u32 = 16;
const SESSIONS: u32 = 10;
const DAYS: u32 = 5;

fn person(i: u64) -> Pseudonym {
    let hash = blake3::hash(&i.to_le_bytes());
    Pseudonym::from_bytes(hash.as_bytes()[..16].try_into().unwrap())
}

/// Sixteen offices, 800 slots of one place each.
fn opening() -> OpeningRecord {
    let session = |i| Session {
        id: format!("s{i}"),
        label: String::new(),
        restricted: false,
        explicit: false,
    };
    let office = |i| Office {
        id: format!("o{i}"),
        name: String::new(),
        sessions: (0..SESSIONS).map(session).collect(),
    };
    let slot = |i: u32| Slot {
        office: i % OFFICES,
        session: i / OFFICES % SESSIONS,
        date: format!("2026-12-{:02}", 1 + i / OFFICES / SESSIONS).parse().unwrap(),
        quota: 1,
        bookable_until: Timestamp::LATEST,
    };
    OpeningRecord {
        ordinal: 0,
        id: "w".into(),
        timezone: "UTC".into(),
        opens_at: Timestamp::from_millis(0),
        closes_at: Timestamp::from_millis(i64::MAX / 4),
        rules: Rules {
            order: Order::FirstCome,
            max_party: 5,
            max_per_account: None,
            hold_ms: None,
            cancelled: ReturnRule::At { minutes: vec![7 * 60] },
            expired: ReturnRule::Immediate,
            across_openings: false,
            max_changes: u16::MAX,
            bookable_until: BookableUntil::DayBegins,
            max_bookings: u16::MAX,
            leftovers: Leftovers::None,
        },
        offices: (0..OFFICES).map(office).collect(),
        slots: (0..OFFICES * SESSIONS * DAYS).map(slot).collect(),
    }
}

struct Bench {
    sequencer: Sequencer<u64>,
    now: Now,
    /// Everything told, by ticket.
    told: Vec<(u64, Outcome)>,
    blocks: Vec<Bytes>,
    largest: usize,
}

impl Bench {
    fn new() -> Self {
        let mut keeper = StateMachine::new();
        let genesis = Genesis {
            prefix: "giliran.v1".into(),
            applicant_key: KeyFingerprint([0; 16]),
            release: "0".into(),
            continues: None,
            rebuilt: None,
        };
        let block = Block {
            format: FORMAT,
            ledger: LedgerId([1; 16]),
            generation: 1,
            number: 1,
            epoch: 0,
            writer: WriterNonce([0; 16]),
            time: Timestamp::from_millis(1),
            previous: BlockHash::ZERO,
            entries: vec![Entry::Genesis(genesis)],
        };
        let blocks = vec![Bytes::from(block.seal().bytes)];
        keeper.fold(1, &blocks[0]).unwrap();
        let now = Now { wall: Timestamp::from_millis(1_795_000_000_000), mono_ms: 1_000_000 };
        let take_over = TakeOver { engine: "t".into(), release: "0".into(), forced: None };
        let mut bits = 0u128;
        let random = Box::new(move || {
            bits += 1;
            bits
        });
        let next = Continuation::default();
        let sequencer =
            Sequencer::take_over(keeper, WriterNonce([1; 16]), take_over, random, next, now);
        let mut bench = Self { sequencer, now, told: Vec::new(), blocks, largest: 0 };
        bench.run();
        bench.sequencer.record_openings(vec![opening()], now);
        bench.run();
        bench
    }

    /// Stores every block at once, until nothing is left to be done.
    fn run(&mut self) {
        loop {
            let effects = self.sequencer.effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Append { attempt, expected_last, bytes, .. } => {
                        self.largest = self.largest.max(bytes.len());
                        self.blocks.push(bytes);
                        let stored = Appended::Stored { seq: expected_last + 1 };
                        self.sequencer.appended(attempt, stored, self.now);
                    }
                    Effect::Answer { ticket, outcome, .. } => self.told.push((ticket, outcome)),
                    Effect::Read { attempt, seq, .. } => {
                        let found = ReadOutcome::Found(self.blocks[seq as usize - 1].clone());
                        self.sequencer.read(attempt, &found, self.now);
                    }
                    Effect::Active(_) | Effect::Foreign(_) => {}
                    Effect::Idle(why) => panic!("{why:?}"),
                }
            }
        }
    }

    fn tick(&mut self) {
        self.now.mono_ms += 10;
        self.now.wall = self.now.wall.plus_millis(10);
        self.sequencer.tick(self.now);
        self.run();
    }

    /// Asks on behalf of one person, and waits if need be.
    fn ask(&mut self, who: u64, choices: &[Choice<'_>], wait: bool) {
        let applicants = [person(who)];
        let name = format!("r{who}");
        let ask = BookingRequest {
            request_id: &name,
            applicants: &applicants,
            content: Digest([1; 16]),
            choices,
            opening: None,
            expires_at: None,
            account: None,
            channel: None,
            reference: None,
            vouched: false,
            wait,
        };
        match self.sequencer.book().decide(&ask, self.now.wall) {
            Decision::Granted(grant) => self.sequencer.decided([(grant, who)], [], self.now),
            Decision::Wait | Decision::Enter(_) => {
                self.sequencer.decided([], [(ask.to_owned(), who)], self.now);
            }
            Decision::Settled(_) | Decision::Ballot(_) | Decision::Collect(_) => {
                panic!("nothing is settled yet")
            }
        }
    }
}

fn anywhere() -> Vec<Choice<'static>> {
    let choice = |i| Choice { office: Text::from(format!("o{i}")), date: None, session: None };
    (0..OFFICES).map(choice).collect()
}

#[test]
fn a_crowd_that_waits_for_any_place_at_all_does_not_outgrow_a_block() {
    let mut bench = Bench::new();
    let places = u64::from(OFFICES * SESSIONS * DAYS);
    let choices = anywhere();
    for who in 0..places {
        bench.ask(who, &choices, false);
    }
    bench.run();
    assert_eq!(bench.told.len() as u64, places);
    bench.told.clear();
    for who in places..places + 600 {
        bench.ask(who, &choices, true);
    }
    bench.run();
    for _ in 0..100 {
        bench.tick();
    }
    assert!(bench.largest <= MAX_BLOCK_BYTES, "a block of {} bytes", bench.largest);
    let entered = bench.told.iter().filter(|(_, o)| matches!(o, Outcome::Entered(..))).count();
    assert_eq!(entered, 600);
}

#[test]
fn a_thousand_actions_at_once_do_not_outgrow_a_block() {
    let mut bench = Bench::new();
    // A block is on its way while they come in.
    bench.ask(0, &anywhere(), false);
    for i in 0..2_000u32 {
        let act = AdminOp::Quota { slot: i % (OFFICES * SESSIONS * DAYS), quota: 3 };
        let (operator, reason) = ("o".repeat(64), "r".repeat(256));
        let action = AdminCommand { opening: 0, operator, reason, act, dry_run: false };
        bench.sequencer.admin(action, u64::from(i), bench.now);
    }
    bench.run();
    assert!(bench.largest <= MAX_BLOCK_BYTES, "a block of {} bytes", bench.largest);
    let done = bench.told.iter().filter(|(_, o)| matches!(o, Outcome::Adjusted(..))).count();
    assert_eq!(done, 2_000);
}

/// An operator's action is not kept waiting by grants that fill block after
/// block.
#[test]
fn grants_do_not_keep_an_action_waiting() {
    let mut bench = Bench::new();
    let quota = |slot: u32, quota| AdminCommand {
        opening: 0,
        operator: "o".into(),
        reason: "r".into(),
        act: AdminOp::Quota { slot, quota },
        dry_run: false,
    };
    bench.sequencer.admin(quota(0, 30_000), 0, bench.now);
    bench.run();
    bench.told.clear();
    let here = [Choice {
        office: Text::from("o0"),
        date: Some("2026-12-01".parse().unwrap()),
        session: Some(Text::from("s0")),
    }];
    for who in 1..=10_000 {
        bench.ask(who, &here, false);
    }
    // The first of these grants is on its way; the others fill several blocks.
    let bookings = Bookings::Keep;
    let halt = AdminOp::Halt { slots: vec![0], halted: true, bookings };
    let (operator, reason) = ("o".into(), "r".into());
    let halt = AdminCommand { opening: 0, operator, reason, act: halt, dry_run: false };
    bench.sequencer.admin(halt, 1_000_000, bench.now);
    bench.run();
    let granted = bench.told.iter().filter(|(_, o)| matches!(o, Outcome::Granted(..))).count();
    let busy = bench.told.iter().filter(|(_, o)| matches!(o, Outcome::Busy)).count();
    assert!(bench.largest <= MAX_BLOCK_BYTES, "a block of {} bytes", bench.largest);
    assert_eq!(granted + busy, 10_000);
    assert!(granted < 7_500, "{granted} were granted before the halt");
}

/// Nobody is told that something happened which did not: no block is written, and
/// whom it would concern is who is there.
#[test]
fn a_dry_run_says_whom_it_would_concern_and_changes_nothing() {
    let mut bench = Bench::new();
    let day = Choice {
        office: Text::from("o0"),
        date: Some("2026-12-01".parse().unwrap()),
        session: Some(Text::from("s0")),
    };
    bench.ask(1, &[day], false);
    bench.run();
    bench.told.clear();
    let before = bench.sequencer.keeper().chain().clone();
    let mut would = |act| {
        let (operator, reason) = ("o".into(), "r".into());
        bench.sequencer.admin(
            AdminCommand { opening: 0, operator, reason, act, dry_run: true },
            9,
            bench.now,
        );
        bench.run();
        let Some((9, Outcome::Adjusted(report, _))) = bench.told.pop() else { panic!("no report") };
        assert!(report.dry_run);
        (report.concerned.len(), report.moved.len(), report.cancelled.len())
    };
    let halt = |bookings, slots| AdminOp::Halt { slots, halted: true, bookings };
    assert_eq!(would(halt(Bookings::Keep, vec![0])), (1, 0, 0));
    assert_eq!(would(halt(Bookings::Cancel, vec![0])), (0, 0, 1));
    assert_eq!(would(halt(Bookings::Move, vec![0])), (0, 1, 0));
    // No other slot of the office is left to move to.
    let everywhere: Vec<u32> =
        (0..OFFICES * SESSIONS * DAYS).filter(|i| i % OFFICES == 0).collect();
    assert_eq!(would(halt(Bookings::Move, everywhere)), (1, 0, 0));
    assert_eq!(would(halt(Bookings::Cancel, vec![OFFICES])), (0, 0, 0));
    assert_eq!(would(AdminOp::Quota { slot: 0, quota: 0 }), (1, 0, 0));
    assert_eq!(would(AdminOp::Reserve { slot: 0, places: 1 }), (0, 0, 0));
    assert_eq!(would(AdminOp::ClosesAt { closes_at: Timestamp::from_millis(1) }), (0, 0, 0));
    assert_eq!(*bench.sequencer.keeper().chain(), before, "a block was written");
}
