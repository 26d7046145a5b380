//! A ledger in which much happens.

use bytes::Bytes;
use giliran_allocator::{BookingRequest, ChangeKind, ChangeRequest};
use giliran_sequencer::{AdminCommand, AdminOp, Outcome};
use giliran_wire::admin::Bookings;
use giliran_wire::ledger::{OpeningRecord, ReturnRule, Rules};
use giliran_wire::request::Choice;
use giliran_wire::{BookingId, Digest, Text};

use crate::{SequencerHarness, opening, person, request, rules};

const HOLD_MS: u64 = 60_000;
/// Of the day, in minutes: some minutes after the harness begins.
const RELEASE: u16 = 11 * 60 + 10;

fn session(name: &str) -> Choice<'static> {
    Choice { office: Text::from("o"), date: None, session: Some(Text::from(name.to_owned())) }
}

/// Asks for a session on behalf of these people, as person `party[0]`.
fn ask(bench: &mut SequencerHarness, party: &[u64], session_id: &str, wait: bool) {
    let people: Vec<_> = party.iter().map(|who| person(*who)).collect();
    let (name, choices) = (format!("r{}", party[0]), [session(session_id)]);
    let reference = format!("order-{}", party[0]);
    let asked = BookingRequest {
        account: Some(person(1_000 + party[0])),
        channel: Some("web"),
        reference: Some(&reference),
        wait,
        ..request(&name, &people, &choices)
    };
    assert!(bench.ask(party[0], &asked), "{party:?}");
    bench.run();
}

fn booking(bench: &SequencerHarness, who: u64) -> BookingId {
    let granted = bench.answers.iter().find_map(|(to, outcome)| match outcome {
        Outcome::Granted(found, _) if *to == who => Some(found.booking.id),
        _ => None,
    });
    granted.unwrap()
}

fn change(bench: &mut SequencerHarness, who: u64, kind: ChangeKind) {
    let target = Some(booking(bench, who));
    let ticket = 1_000 + bench.answers.len() as u64;
    let asked = ChangeRequest { request_id: format!("c{ticket}").into(), target, kind };
    bench.input(|sequencer, now| sequencer.submit_changes([(asked, ticket)], now));
    bench.run();
    let answer = bench.answers.last();
    assert!(matches!(answer, Some((to, Outcome::Changed(..))) if *to == ticket), "{answer:?}");
}

fn act(bench: &mut SequencerHarness, act: AdminOp) {
    let (operator, reason) = ("siti".into(), "flood".into());
    let action = AdminCommand { opening: 0, operator, reason, act, dry_run: false };
    bench.input(|sequencer, now| sequencer.submit_admin(action, 900, now));
    bench.run();
    let answer = bench.answers.last();
    assert!(matches!(answer, Some((900, Outcome::Adjusted(..)))), "{answer:?}");
}

/// The stream of a ledger in which bookings come, change and go in every way: granted to
/// parties, paid, moved, given back whole and in part, lapsed, had again by a late
/// payment, drawn for those who wait; and an operator changes slots.
///
/// # Panics
///
/// Where one of these does not happen.
pub fn eventful() -> Vec<Bytes> {
    let mut bench = SequencerHarness::new();
    let cancelled = ReturnRule::At { minutes: vec![RELEASE] };
    bench.record(vec![OpeningRecord {
        rules: Rules { hold_ms: Some(HOLD_MS), cancelled, ..rules() },
        ..opening(&[3, 4])
    }]);
    ask(&mut bench, &[1], "s0", false);
    ask(&mut bench, &[2, 3], "s0", false);
    ask(&mut bench, &[4], "s0", true);
    ask(&mut bench, &[5], "s1", false);
    ask(&mut bench, &[6], "s1", false);
    ask(&mut bench, &[7], "s1", false);
    let paid = |reference: &str| ChangeKind::Confirm { reference: Some(reference.into()) };
    change(&mut bench, 1, paid("inv-1"));
    change(&mut bench, 2, paid("inv-2"));
    change(&mut bench, 2, ChangeKind::Cancel { applicant: person(3) });
    change(&mut bench, 6, ChangeKind::Cancel { applicant: person(6) });
    let (applicant, choices, content) = (person(1), vec![session("s1")], Digest([2; 16]));
    change(&mut bench, 1, ChangeKind::Reschedule { applicant, choices, content });
    act(&mut bench, AdminOp::Quota { slot: 1, quota: 6 });
    act(&mut bench, AdminOp::Reserve { slot: 1, places: 1 });
    bench.tick(HOLD_MS + 1_000);
    // Too late, and had again.
    change(&mut bench, 5, paid("inv-5"));
    // The release: what was given back is drawn among those who wait.
    bench.tick(300_000);
    act(&mut bench, AdminOp::Halt { slots: vec![0], halted: true, bookings: Bookings::Keep });
    bench.stream
}
