//! Cases of the rules on time, people and accounts that random histories come to
//! rarely.

#![allow(clippy::unwrap_used, reason = "tests")]

use giliran_allocator::{
    BookingRequest, ChangeKind, ChangeOutcome, ChangeRequest, Content, Decision, Numbered,
};
use giliran_testkit::{LiveLedger, opening, person, request};
use giliran_wire::ledger::{DrawRecord, Entry, Expire, OpeningRecord, ReturnRule};
use giliran_wire::request::Choice;
use giliran_wire::{BookingId, Digest, Pseudonym, Text, Timestamp};

const NOW: Timestamp = LiveLedger::NOW;

const DAY_MS: u64 = 24 * 3_600_000;

/// Asks for a session on behalf of one person of this account.
fn decide(ledger: &LiveLedger, who: u64, session: &str, account: u64, wait: bool) -> Decision {
    let (applicants, request_id) = ([person(who)], format!("r-{who}-{session}"));
    let session = Some(Text::from(session));
    let choices = [Choice { office: Text::from("o"), date: None, session }];
    let ask = BookingRequest {
        content: Content::Digest(Digest([who as u8; 16])),
        account: Some(account_of(account)),
        wait,
        ..request(&request_id, &applicants, &choices)
    };
    ledger.state.allocator().decide(&ask, NOW)
}

fn account_of(i: u64) -> Pseudonym {
    person(1_000 + i)
}

/// Books for one, in one session, and commits the block; the booking's id.
fn book(ledger: &mut LiveLedger, who: u64, session: &str) -> BookingId {
    let decided = decide(ledger, who, session, who, false);
    let Decision::Granted(mut grant) = decided else { panic!("{decided:?}") };
    let bits = u128::from(who) << 64 | ledger.blocks.len() as u128;
    assert_eq!(ledger.state.assign_numbers(&mut grant, NOW, bits), Numbered::Done);
    let id = grant.id;
    ledger.append(vec![Entry::Grant(grant.enter().as_grant().to_owned())]);
    id
}

fn change(ledger: &mut LiveLedger, target: BookingId, kind: ChangeKind) -> Entry {
    let ask = ChangeRequest { request_id: "c".into(), target: Some(target), kind };
    match ledger.state.change(&ask, NOW, &mut || 1) {
        ChangeOutcome::Entry(entry, _) => *entry,
        other => panic!("{other:?}"),
    }
}

fn cancel(ledger: &mut LiveLedger, target: BookingId, who: u64) {
    let entry = change(ledger, target, ChangeKind::Cancel { applicant: person(who) });
    ledger.append(vec![entry]);
}

fn collecting() -> OpeningRecord {
    let mut record = opening(&[1, 1]);
    record.rules.cancelled = ReturnRule::At { minutes: vec![420] };
    record
}

/// Who waits may book something else meanwhile, and give it back: that counts.
#[test]
fn a_release_does_not_draw_for_who_had_enough() {
    for (most, drawn) in [(1, false), (2, true)] {
        let mut record = collecting();
        record.rules.max_bookings = most;
        let mut ledger = LiveLedger::with(vec![record]);
        let other = book(&mut ledger, 1, "s0");
        let decided = decide(&ledger, 2, "s0", 2, true);
        let Decision::JoinWaitlist(mut entry) = decided else { panic!("{decided:?}") };
        assert_eq!(ledger.state.enter_waitlist(&mut entry, 77), Some(true));
        ledger.append(vec![Entry::Draw(DrawRecord::Entered(entry))]);
        let own = book(&mut ledger, 2, "s1");
        cancel(&mut ledger, own, 2);
        cancel(&mut ledger, other, 1);
        let due = NOW.plus_millis(2 * DAY_MS);
        let mut drawing = ledger.state.due_waitlist_draw(due, [3; 32]).unwrap();
        let group = ledger.state.advance_waitlist_draw(&mut drawing, due, 9).unwrap();
        let granted = group.iter().any(|entry| matches!(entry, Entry::Grant(_)));
        assert_eq!(granted, drawn, "{most}: {group:?}");
    }
}

/// A late payment takes its account's places as a grant does, and gives them back
/// where its block never comes.
#[test]
fn a_revival_that_is_given_up_leaves_its_account_free() {
    let mut record = opening(&[3]);
    record.rules.max_per_account = Some(1);
    record.rules.hold_ms = Some(1);
    let mut ledger = LiveLedger::with(vec![record]);
    let held = book(&mut ledger, 1, "s0");
    ledger.append(vec![Entry::Expire(Expire { booking: held, release_at: Some(NOW) })]);
    let revived = change(&mut ledger, held, ChangeKind::Confirm { reference: None });
    assert!(matches!(&revived, Entry::Confirm(confirm) if confirm.revived.is_some()));
    // Nobody else of the account while it is on its way.
    assert!(matches!(decide(&ledger, 2, "s0", 1, false), Decision::Retry));
    ledger.state.abandon(&revived);
    ledger.state.end_block();
    let decided = decide(&ledger, 2, "s0", 1, false);
    assert!(matches!(decided, Decision::Granted(_)), "{decided:?}");
}

/// The office moves a held booking: its hold does not outlast the new slot.
#[test]
fn a_hold_ends_with_the_slot_it_was_moved_to() {
    let mut record = opening(&[1, 1]);
    record.rules.hold_ms = Some(DAY_MS);
    let until = NOW.plus_millis(3_600_000);
    record.slots[1].bookable_until = until;
    let mut ledger = LiveLedger::with(vec![record]);
    let held = book(&mut ledger, 1, "s0");
    let moved = ledger.state.move_by_authority(held, &[1], "op: why", NOW, &mut || 1);
    ledger.append(vec![moved.unwrap()]);
    let booking = ledger.state.found(&held).unwrap().booking;
    assert_eq!((booking.slot, booking.hold_expires_at()), (1, Some(until)));
    let just_before = Timestamp::from_millis(until.as_millis() - 1);
    assert!(ledger.state.expiries(just_before, 9, &mut || 1).is_empty());
    assert_eq!(ledger.state.expiries(until, 9, &mut || 1).len(), 1);
    assert_eq!(ledger.replayed().state_hash(), ledger.state.state_hash());
}

/// A payment is paid back once, however often it is repeated.
#[test]
fn what_the_office_has_paid_back_is_not_paid_back_again() {
    let mut record = opening(&[1]);
    record.rules.hold_ms = Some(DAY_MS);
    let mut ledger = LiveLedger::with(vec![record]);
    let held = book(&mut ledger, 1, "s0");
    let reference = || Some("inv-1".into());
    let paid = change(&mut ledger, held, ChangeKind::Confirm { reference: reference() });
    ledger.append(vec![paid]);
    let cancelled = ledger.state.cancel_by_authority(held, "op: why", NOW, &mut || 1);
    let (changes, _) = ledger.append(vec![cancelled.unwrap()]);
    assert_eq!(changes.len(), 2, "cancelled, and a refund is due");
    let again = ChangeRequest {
        request_id: "another".into(),
        target: Some(held),
        kind: ChangeKind::Confirm { reference: reference() },
    };
    let decided = ledger.state.change(&again, NOW, &mut || 1);
    assert!(matches!(decided, ChangeOutcome::Settled(_)), "{decided:?}");
    assert_eq!(ledger.replayed().state_hash(), ledger.state.state_hash());
}
