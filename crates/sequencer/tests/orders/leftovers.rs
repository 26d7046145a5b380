//! What goes to whoever asks once the window has closed, and what it is too late
//! for.

use giliran_allocator::{BookingRequest, Decision};
use giliran_sequencer::{AdminCommand, AdminOp, Outcome};
use giliran_wire::answer::Reason;
use giliran_wire::ledger::{Entry, Leftovers, OpeningRecord, Order};
use giliran_wire::request::Choice;
use giliran_wire::{Text, Timestamp};

use crate::{BEGIN, Bench, CLOSES, opening, person, request};

/// A slot of three places that can be booked for a minute after the close.
fn of(order: Order, leftovers: Leftovers) -> OpeningRecord {
    let mut record = opening(order, &[3]);
    record.rules.leftovers = leftovers;
    record.slots[0].bookable_until = Timestamp::from_millis(CLOSES + 60_000);
    record
}

#[test]
fn what_is_left_goes_to_whoever_asks_where_the_rules_say_so() {
    for order in [Order::FirstCome, Order::Rounds { length_ms: 500 }, Order::Draw] {
        for leftovers in [Leftovers::None, Leftovers::FirstCome] {
            let mut bench = Bench::new(of(order, leftovers));
            bench.ask(&[0], &[0], None);
            bench.run();
            bench.tick(500);
            bench.tick(20_000);
            assert_eq!(bench.slots().len(), 1, "{order:?}");
            for who in 1..4 {
                bench.ask(&[who], &[0], None);
                bench.run();
            }
            let given = leftovers == Leftovers::FirstCome;
            assert_eq!(bench.slots().len(), if given { 3 } else { 1 }, "{order:?} {leftovers:?}");
            let last = if given { Reason::SoldOut } else { Reason::Closed };
            assert_eq!(bench.reason(3), Some(last), "{order:?} {leftovers:?}");
            let replayed = bench.replayed();
            assert_eq!(replayed.state_hash(), bench.sequencer.state().state_hash());
        }
    }
}

#[test]
fn nothing_is_left_of_an_opening_that_did_not_take_place_or_that_is_over() {
    let mut bench = Bench::unopened();
    let mut record = of(Order::FirstCome, Leftovers::FirstCome);
    record.opens_at = Timestamp::from_millis(BEGIN + 1_000);
    bench.record(vec![record]);
    let act = AdminOp::ClosesAt { closes_at: Timestamp::from_millis(BEGIN) };
    let (operator, reason) = ("o".into(), "r".into());
    let action = AdminCommand { opening: 0, operator, reason, act, dry_run: false };
    bench.input(|sequencer, now| sequencer.submit_admin(action, 100, now));
    bench.run();
    bench.tick(20_000);
    bench.ask(&[1], &[0], None);
    assert_eq!(bench.reason(1), Some(Reason::Closed), "ended before it began");

    let mut bench = Bench::new(of(Order::FirstCome, Leftovers::FirstCome));
    bench.tick(69_999);
    bench.ask(&[1], &[0], None);
    bench.run();
    assert_eq!(bench.slots().len(), 1);
    bench.tick(1);
    bench.ask(&[2], &[0], None);
    assert_eq!(bench.reason(2), Some(Reason::Closed), "too late for its only slot");
}

/// Between the decision and the block the last moment may pass.
#[test]
fn a_grant_that_comes_too_late_into_its_block_is_none() {
    let mut bench = Bench::new(of(Order::FirstCome, Leftovers::FirstCome));
    bench.tick(69_999);
    let applicants = [person(1)];
    let choices = [Choice { office: Text::from("o"), date: None, session: None }];
    let ask = BookingRequest {
        opening: Some("w"),
        account: Some(person(2)),
        ..request("r1", &applicants, &choices)
    };
    let decided = bench.sequencer.allocator().decide(&ask, bench.now.wall);
    let Decision::Granted(grant) = decided else { panic!("{decided:?}") };
    bench.now.wall = bench.now.wall.plus_millis(1);
    bench.now.mono_ms += 1;
    bench.input(|sequencer, now| sequencer.submit_grants([(grant, 1)], [], now));
    bench.run();
    assert!(matches!(bench.answers[&1], Outcome::Busy), "{:?}", bench.answers[&1]);
    assert!(bench.slots().is_empty());
    let openings = bench.sequencer.allocator().openings();
    assert_eq!(openings[0].free(0), 3, "its place was given back");
}

/// The hold ends with the moment from which on nobody can book the slot, and a
/// payment after that is to be paid back.
#[test]
fn a_hold_does_not_outlast_its_slot() {
    let mut record = of(Order::FirstCome, Leftovers::None);
    record.rules.hold_ms = Some(3_600_000);
    let until = record.slots[0].bookable_until;
    let mut bench = Bench::new(record);
    bench.ask(&[1], &[0], None);
    bench.run();
    let Outcome::Granted(found, _) = &bench.answers[&1] else { panic!() };
    assert_eq!(found.booking.hold_expires_at(), Some(until));
    let target = Some(found.booking.id);
    bench.now.mono_ms += 70_000;
    bench.now.wall = until;
    let confirm = giliran_allocator::ChangeRequest {
        request_id: "c".into(),
        target,
        kind: giliran_allocator::ChangeKind::Confirm { reference: Some("inv-1".into()) },
    };
    bench.input(|sequencer, now| sequencer.submit_changes([(confirm, 9)], now));
    bench.run();
    bench.tick(1);
    assert_eq!(bench.reason(9), Some(Reason::WrongState));
    let entries: Vec<Entry> = bench.entries().flatten().collect();
    let place = |fits: fn(&Entry) -> bool| entries.iter().position(fits).unwrap();
    let expired = place(|entry| matches!(entry, Entry::Expire(_)));
    let paid = place(|entry| matches!(entry, Entry::Confirm(c) if c.revived.is_none()));
    assert!(expired < paid, "it is paid back only once it has expired");
}
