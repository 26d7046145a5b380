//! No block outgrows what the broker takes, whatever comes at once: one that
//! did would be refused for ever, and nothing would be granted any more.

#![allow(clippy::unwrap_used, reason = "tests")]

use giliran_allocator::BookingRequest;
use giliran_sequencer::{AdminCommand, AdminOp, Outcome};
use giliran_testkit::{SequencerHarness, filled, office, opening, person, request, rules, slot};
use giliran_wire::admin::Bookings;
use giliran_wire::ledger::{MAX_BLOCK_BYTES, OpeningRecord, ReturnRule, Rules};
use giliran_wire::request::Choice;
use giliran_wire::{Text, Timestamp};

const OFFICES: u32 = 16;
const SESSIONS: u32 = 10;
const DAYS: u32 = 5;

/// Sixteen offices, 800 slots of one place each.
fn wide() -> OpeningRecord {
    let sessions: Vec<String> = (0..SESSIONS).map(|i| format!("s{i}")).collect();
    let sessions: Vec<&str> = sessions.iter().map(String::as_str).collect();
    let slot = |i: u32| {
        let date = format!("2026-12-{:02}", 1 + i / OFFICES / SESSIONS);
        slot(i % OFFICES, i / OFFICES % SESSIONS, &date, 1)
    };
    OpeningRecord {
        rules: Rules { cancelled: ReturnRule::At { minutes: vec![7 * 60] }, ..rules() },
        offices: (0..OFFICES).map(|i| office(&format!("o{i}"), &sessions)).collect(),
        slots: (0..OFFICES * SESSIONS * DAYS).map(slot).collect(),
        ..opening(&[])
    }
}

fn bench() -> SequencerHarness {
    let mut bench = SequencerHarness::new();
    bench.record(vec![wide()]);
    bench
}

/// Asks on behalf of one person, and waits if need be.
fn ask(bench: &mut SequencerHarness, who: u64, choices: &[Choice<'_>], wait: bool) {
    let (applicants, name) = ([person(who)], format!("r{who}"));
    let asked = BookingRequest { wait, ..filled(&request(&name, &applicants, choices)) };
    assert!(bench.ask(who, &asked), "nothing is settled yet");
}

fn anywhere() -> Vec<Choice<'static>> {
    let choice = |i| Choice { office: Text::from(format!("o{i}")), date: None, session: None };
    (0..OFFICES).map(choice).collect()
}

#[test]
fn a_crowd_that_waits_for_any_place_at_all_does_not_outgrow_a_block() {
    let mut bench = bench();
    let places = u64::from(OFFICES * SESSIONS * DAYS);
    let choices = anywhere();
    for who in 0..places {
        ask(&mut bench, who, &choices, false);
    }
    bench.run();
    assert_eq!(bench.answers.len() as u64, places);
    bench.answers.clear();
    for who in places..places + 600 {
        ask(&mut bench, who, &choices, true);
    }
    bench.run();
    for _ in 0..100 {
        bench.tick(10);
    }
    assert!(bench.largest <= MAX_BLOCK_BYTES, "a block of {} bytes", bench.largest);
    let entered = bench.answers.iter().filter(|(_, o)| matches!(o, Outcome::Entered(..))).count();
    assert_eq!(entered, 600);
}

#[test]
fn a_thousand_actions_at_once_do_not_outgrow_a_block() {
    let mut bench = bench();
    // A block is on its way while they come in.
    ask(&mut bench, 0, &anywhere(), false);
    for i in 0..2_000u32 {
        let act = AdminOp::Quota { slot: i % (OFFICES * SESSIONS * DAYS), quota: 3 };
        let (operator, reason) = ("o".repeat(64), "r".repeat(256));
        let action = AdminCommand { opening: 0, operator, reason, act, dry_run: false };
        bench.sequencer.submit_admin(action, u64::from(i), bench.now);
    }
    bench.run();
    assert!(bench.largest <= MAX_BLOCK_BYTES, "a block of {} bytes", bench.largest);
    let done = bench.answers.iter().filter(|(_, o)| matches!(o, Outcome::Adjusted(..))).count();
    assert_eq!(done, 2_000);
}

/// An operator's action is not kept waiting by grants that fill block after
/// block.
#[test]
fn grants_do_not_keep_an_action_waiting() {
    let mut bench = bench();
    let quota = |slot: u32, quota| AdminCommand {
        opening: 0,
        operator: "o".into(),
        reason: "r".into(),
        act: AdminOp::Quota { slot, quota },
        dry_run: false,
    };
    bench.sequencer.submit_admin(quota(0, 30_000), 0, bench.now);
    bench.run();
    bench.answers.clear();
    let here = [Choice {
        office: Text::from("o0"),
        date: Some("2026-12-01".parse().unwrap()),
        session: Some(Text::from("s0")),
    }];
    for who in 1..=10_000 {
        ask(&mut bench, who, &here, false);
    }
    // The first of these grants is on its way; the others fill several blocks.
    let bookings = Bookings::Keep;
    let halt = AdminOp::Halt { slots: vec![0], halted: true, bookings };
    let (operator, reason) = ("o".into(), "r".into());
    let halt = AdminCommand { opening: 0, operator, reason, act: halt, dry_run: false };
    bench.sequencer.submit_admin(halt, 1_000_000, bench.now);
    bench.run();
    let granted = bench.answers.iter().filter(|(_, o)| matches!(o, Outcome::Granted(..))).count();
    let busy = bench.answers.iter().filter(|(_, o)| matches!(o, Outcome::Busy)).count();
    assert!(bench.largest <= MAX_BLOCK_BYTES, "a block of {} bytes", bench.largest);
    assert_eq!(granted + busy, 10_000);
    assert!(granted < 7_500, "{granted} were granted before the halt");
}

/// Nobody is told that something happened which did not: no block is written, and
/// whom it would concern is who is there.
#[test]
fn a_dry_run_says_whom_it_would_concern_and_changes_nothing() {
    let mut bench = bench();
    let day = Choice {
        office: Text::from("o0"),
        date: Some("2026-12-01".parse().unwrap()),
        session: Some(Text::from("s0")),
    };
    ask(&mut bench, 1, &[day], false);
    bench.run();
    bench.answers.clear();
    let before = bench.sequencer.state().chain().clone();
    let mut would = |act| {
        let (operator, reason) = ("o".into(), "r".into());
        bench.sequencer.submit_admin(
            AdminCommand { opening: 0, operator, reason, act, dry_run: true },
            9,
            bench.now,
        );
        bench.run();
        let Some((9, Outcome::Adjusted(report, _))) = bench.answers.pop() else {
            panic!("no report")
        };
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
    assert_eq!(*bench.sequencer.state().chain(), before, "a block was written");
}

/// An action is told with what it found, on record or not; the next one finds what it set.
#[test]
fn an_action_tells_what_stood_before() {
    let mut bench = bench();
    let mut change = |act, dry_run| {
        let (operator, reason) = ("o".into(), "r".into());
        let action = AdminCommand { opening: 0, operator, reason, act, dry_run };
        bench.sequencer.submit_admin(action, 9, bench.now);
        bench.run();
        let Some((9, Outcome::Adjusted(report, _))) = bench.answers.pop() else {
            panic!("no report")
        };
        let told = report.changes.iter();
        let told = told.map(|c| format!("{} {:?} {} {}", c.action, c.slot, c.before, c.after));
        told.collect::<Vec<_>>().join("; ")
    };
    let quota = |quota| AdminOp::Quota { slot: 3, quota };
    let first = change(quota(7), true);
    assert!(first.starts_with("quota Some(3) ") && first.ends_with(" 7"), "{first}");
    assert_eq!(change(quota(7), false), first, "the dry run has changed nothing");
    assert_eq!(change(quota(9), true), "quota Some(3) 7 9");
    let (halted, bookings) = (true, Bookings::Keep);
    let halt = || AdminOp::Halt { slots: vec![0, 1], halted, bookings };
    assert_eq!(change(halt(), false), "halt Some(0) open halted; halt Some(1) open halted");
    assert_eq!(change(halt(), true), "halt Some(0) halted halted; halt Some(1) halted halted");
    let end = Timestamp::from_millis(1_000);
    let told = change(AdminOp::ClosesAt { closes_at: end }, true);
    assert!(told.starts_with("closes_at None ") && told.ends_with(&format!(" {end}")), "{told}");
}
