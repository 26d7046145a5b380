//! What is there before anything happens: the opening, its people, what they want.

use giliran_allocator::{ChangeKind, ChangeRequest};
use giliran_sequencer::{AdminCommand, AdminOp};
use giliran_wire::admin::Bookings;
use giliran_wire::ledger::{
    Block, BookableUntil, Entry, FORMAT, Genesis, Leftovers, Office, OpeningRecord, Order,
    ReturnRule, Rules, Session, Slot,
};
use giliran_wire::request::Choice;
use giliran_wire::{
    BlockHash, BookingId, Digest, KeyFingerprint, LedgerId, OrderKey, Pseudonym, Timestamp,
    WriterNonce,
};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::kind::{Kind, Setup};

/// The ledger of every world.
pub(crate) const LEDGER: LedgerId = LedgerId([7; 16]);
/// How long bookings are held, ms.
pub(crate) const HOLD_MS: u64 = 2_500;
/// The window of an opening that is drawn ends here, ms.
pub(crate) const DRAWN_AT_MS: u64 = 7_000;
/// The window of one that leaves memory ends here, ms.
const RETIRES_AFTER_MS: u64 = 6_000;
/// Places that an account may have, where that is limited.
pub(crate) const ACCOUNT_PLACES: u32 = 4;
/// How often a booking may be changed, where that is limited.
pub(crate) const CHANGES: u16 = 2;
/// Bookings that one person may be granted, where that is limited.
pub(crate) const BOOKINGS: u16 = 2;
const PEOPLE: u64 = 120;
const ACCOUNTS: u64 = 12;

/// The secret that the seeds of orders are made with.
pub(crate) fn order_key() -> OrderKey {
    OrderKey::new([5; 32])
}

/// What a client wants of a booking that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    Confirm,
    /// Gives it back, or this member's seat; or leaves the waiting list.
    Cancel(Pseudonym),
    /// Moves it to this slot.
    Move(u32),
}

/// What somebody asks for, as often as it takes.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) change: Option<(BookingId, Intent)>,
    pub(crate) request_id: String,
    pub(crate) applicants: Vec<Pseudonym>,
    pub(crate) slots: Vec<u32>,
    pub(crate) content: Digest,
    pub(crate) account: Option<Pseudonym>,
    pub(crate) wait: bool,
    /// How often it is asked again once it is settled.
    pub(crate) repeats: u32,
}

/// The ledger's first block.
pub(crate) fn genesis(begin: Timestamp) -> Block {
    Block {
        format: FORMAT,
        ledger: LEDGER,
        generation: 1,
        number: 1,
        epoch: 0,
        writer: WriterNonce([0; 16]),
        time: begin,
        previous: BlockHash::ZERO,
        entries: vec![Entry::Genesis(Genesis {
            prefix: "sim".into(),
            applicant_key: KeyFingerprint([0; 16]),
            version: "sim".into(),
            continues: None,
            rebuilt: None,
        })],
    }
}

/// The opening of a world.
pub(crate) fn opening(setup: Setup) -> OpeningRecord {
    let begin = setup.kind.begin();
    let session =
        Session { id: "all".into(), label: "all".into(), restricted: false, explicit: false };
    let office =
        |id: &str| Office { id: id.into(), name: id.into(), sessions: vec![session.clone()] };
    let days = match setup.kind {
        // The second midnight after them comes while the world lasts.
        Kind::Retiring => ["2026-11-16", "2026-11-17"],
        _ => ["2026-11-30", "2026-12-01"],
    };
    let slot = |office, day: &str, quota| {
        let date = day.parse().expect("a day");
        Slot { office, session: 0, date, quota, bookable_until: Timestamp::LATEST }
    };
    let lasts = match (setup.kind, setup.order) {
        (Kind::Retiring, _) => RETIRES_AFTER_MS,
        (_, Order::Draw) => DRAWN_AT_MS,
        _ => 7 * 24 * 3_600_000,
    };
    OpeningRecord {
        ordinal: 0,
        id: "sim".into(),
        timezone: "UTC".into(),
        opens_at: begin.plus_millis(500),
        closes_at: begin.plus_millis(lasts),
        rules: rules(setup),
        offices: vec![office("a"), office("b")],
        slots: vec![slot(0, days[0], 7), slot(0, days[1], 20), slot(1, days[0], 40)],
    }
}

fn rules(setup: Setup) -> Rules {
    let operators = setup.kind == Kind::Operators;
    // The next full minute of a world of those who wait.
    let release = || ReturnRule::At { minutes: vec![11 * 60 + 7] };
    let waiting = setup.kind == Kind::Waiting;
    let delayed = ReturnRule::Delayed { from_ms: 200, to_ms: 900 };
    Rules {
        order: setup.order,
        max_party: 5,
        max_per_account: operators.then_some(ACCOUNT_PLACES),
        hold_ms: Some(HOLD_MS),
        cancelled: if waiting { release() } else { ReturnRule::Immediate },
        expired: if waiting { release() } else { delayed },
        across_openings: false,
        max_changes: if operators { CHANGES } else { u16::MAX },
        bookable_until: BookableUntil::DayBegins,
        max_bookings: if operators { BOOKINGS } else { u16::MAX },
        leftovers: if operators { Leftovers::FirstCome } else { Leftovers::None },
    }
}

/// Of the people first, then of the accounts.
fn pseudonym(number: u64) -> Pseudonym {
    Pseudonym::from_bytes([number as u8 + 1; 16])
}

/// Somebody who asks for places.
pub(crate) fn request(i: usize, setup: Setup, rng: &mut StdRng) -> Request {
    let party = if rng.random_bool(0.2) { rng.random_range(2..=4) } else { 1 };
    let mut applicants: Vec<Pseudonym> = Vec::new();
    while applicants.len() < party {
        let applicant = pseudonym(rng.random_range(0..PEOPLE));
        if !applicants.contains(&applicant) {
            applicants.push(applicant);
        }
    }
    let slots = match rng.random_range(0..4) {
        0 => vec![0],
        1 => vec![0, 1],
        2 => vec![2],
        _ => vec![1, 2],
    };
    // Sometimes an id is used again, for the same or for something else.
    let request_id = format!("r{}", if rng.random_bool(0.15) { i / 2 } else { i });
    let mut content = Digest([0; 16]);
    let people = applicants.iter().map(|a| a.as_bytes()[0]);
    let wanted = slots.iter().map(|slot| 200 + *slot as u8);
    for (place, byte) in content.0.iter_mut().zip(people.chain(wanted)) {
        *place = byte;
    }
    let account = (setup.kind == Kind::Operators && rng.random_bool(0.7))
        .then(|| pseudonym(PEOPLE + rng.random_range(0..ACCOUNTS)));
    let wait = setup.kind == Kind::Waiting && rng.random_bool(0.6);
    let repeats = rng.random_range(0..3);
    Request { change: None, request_id, applicants, slots, content, account, wait, repeats }
}

/// The slots that a request wants, as it names them.
pub(crate) fn choices(record: &OpeningRecord, slots: &[u32]) -> Vec<Choice<'static>> {
    let choice = |slot: &u32| {
        let slot = record.slots[*slot as usize];
        let office = record.offices[slot.office as usize].id.clone().into();
        Choice { office, date: Some(slot.date), session: None }
    };
    slots.iter().map(choice).collect()
}

/// A change as it is asked for.
pub(crate) fn change_ask(
    record: &OpeningRecord,
    request_id: &str,
    (booking, wish): (BookingId, Intent),
    first: Pseudonym,
) -> ChangeRequest {
    let kind = match wish {
        Intent::Confirm => ChangeKind::Confirm { reference: Some(request_id.into()) },
        Intent::Cancel(applicant) => ChangeKind::Cancel { applicant },
        Intent::Move(slot) => {
            let choices = choices(record, &[slot]);
            ChangeKind::Reschedule { applicant: first, choices, content: Digest([1; 16]) }
        }
    };
    ChangeRequest { request_id: request_id.into(), target: Some(booking), kind }
}

/// What an operator does.
pub(crate) fn action(setup: Setup, rng: &mut StdRng) -> AdminCommand {
    let slot = rng.random_range(0..3);
    let act = match rng.random_range(0..8) {
        0..3 => AdminOp::Quota { slot, quota: rng.random_range(2..50) },
        3 => AdminOp::Reserve { slot, places: rng.random_range(0..6) },
        4..7 => {
            let fates = [Bookings::Keep, Bookings::Cancel, Bookings::Move];
            let bookings = fates[rng.random_range(0..3)];
            AdminOp::Halt { slots: vec![slot], halted: rng.random_bool(0.6), bookings }
        }
        _ => {
            let closes_at = setup.kind.begin().plus_millis(rng.random_range(3_000..20_000));
            AdminOp::ClosesAt { closes_at }
        }
    };
    let (operator, reason) = ("o".to_owned(), "r".to_owned());
    AdminCommand { opening: 0, operator, reason, act, dry_run: rng.random_bool(0.1) }
}
