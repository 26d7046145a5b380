//! What a history is made of, and how it is drawn.

use giliran_testkit::{rules, session};
use giliran_wire::ledger::{
    BookableUntil, Leftovers, Office, OpeningRecord, ReturnRule, Rules, Session, Slot,
};
use giliran_wire::{Date, Pseudonym, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;

pub(crate) const HOUR_MS: u64 = 3_600_000;
pub(crate) const OFFICES: [&str; 3] = ["batam-center", "harbourbay", "nowhere"];
pub(crate) const SESSIONS: [&str; 4] = ["0800", "1000", "priority", "never"];

pub(crate) fn person(i: u8) -> Pseudonym {
    let hash = blake3::hash(&[i]);
    Pseudonym::from_bytes(hash.as_bytes()[..16].try_into().unwrap())
}

pub(crate) fn day(i: u8) -> Date {
    format!("2026-11-{:02}", 23 + i).parse().unwrap()
}

/// From when on a slot of the day cannot be booked, in Jakarta, seven hours ahead of
/// UTC.
fn bookable_until(rule: BookableUntil, i: u8) -> Timestamp {
    let begins: Timestamp = format!("2026-11-{:02}T17:00:00Z", 22 + i).parse().unwrap();
    match rule {
        BookableUntil::DayBegins => begins,
        BookableUntil::TimeOfDay { minute } => begins.plus_millis(u64::from(minute) * 60_000),
        BookableUntil::Before { ms } => Timestamp::from_millis(begins.as_millis() - ms as i64),
    }
}

/// An opening in small numbers.
#[derive(Debug, Clone)]
pub(crate) struct OpeningSpec {
    /// Per office: restricted and explicit of each session.
    pub(crate) offices: Vec<Vec<(bool, bool)>>,
    /// Office, session, day (each modulo what there is) and quota.
    pub(crate) slots: Vec<(u8, u8, u8, u16)>,
    pub(crate) max_party: u8,
    pub(crate) max_per_account: Option<u32>,
    pub(crate) opens_in: u8,
    pub(crate) lasts: u64,
    pub(crate) hold_ms: Option<u64>,
    pub(crate) cancelled: ReturnRule,
    pub(crate) expired: ReturnRule,
    pub(crate) across_openings: bool,
    pub(crate) max_changes: u16,
    pub(crate) bookable_until: BookableUntil,
    pub(crate) max_bookings: u16,
    pub(crate) leftovers: Leftovers,
}

#[derive(Debug, Clone)]
pub(crate) struct RequestSpec {
    pub(crate) people: Vec<u8>,
    pub(crate) request_id: u8,
    pub(crate) choices: Vec<ChoiceSpec>,
    pub(crate) opening: Option<Index>,
    pub(crate) expires_in: Option<i8>,
    pub(crate) account: Option<u8>,
    pub(crate) vouched: bool,
    pub(crate) wait: bool,
}

/// A change of a booking.
#[derive(Debug, Clone)]
pub(crate) struct WishSpec {
    /// Of all bookings and entries there are, or nobody's; and how it is named.
    pub(crate) target: Option<Index>,
    /// One of its people, or anybody.
    pub(crate) who: Result<Index, u8>,
    /// A number, or the id of the request that made the booking.
    pub(crate) request_id: Option<u8>,
    pub(crate) kind: DeedSpec,
}

#[derive(Debug, Clone)]
pub(crate) enum DeedSpec {
    Confirm(Option<u8>),
    Cancel,
    Reschedule(Vec<ChoiceSpec>),
}

/// What an operator does, to a slot of an opening.
#[derive(Debug, Clone)]
pub(crate) enum AdjustSpec {
    Quota(u16),
    Reserve(u16),
    Halt(bool),
    /// The opening ends in so many ms from now.
    ClosesAt(i32),
}

#[derive(Debug, Clone)]
pub(crate) enum ChoiceSpec {
    /// A slot of the opening, with or without its date and session.
    Slot(Index, bool, bool),
    /// Office, date and session, whether the opening has them or not.
    Any(u8, Option<u8>, Option<u8>),
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Ask(RequestSpec),
    /// An earlier request again: as it was, expired by now, or changed.
    Again(Index, StateChange),
    /// A change of a booking.
    Wish(WishSpec),
    /// An earlier one again.
    WishAgain(Index),
    /// An operator sets something, with the next block.
    Adjust(Index, Index, AdjustSpec),
    /// An operator moves (true) or cancels a booking, with the next block.
    Authority(Index, bool),
    /// So many milliseconds pass.
    Pass(u64),
    /// The clock is set back, ms.
    Back(u64),
    Record(OpeningSpec),
    /// The next block takes at most so many of the waiting grants, and at most
    /// so many of what time brings.
    Write(u8, u8),
    Commit,
    /// Both: the block is stored at once.
    Turn(u8, u8),
    /// The block will never be in the ledger.
    GiveUpBlock,
    /// A waiting grant is dropped.
    GiveUp(Index),
    /// Something a deposed writer left behind stands next in the ledger.
    Void,
    /// Something that no writer wrote does: these bytes, or an earlier block again.
    Foreign(Vec<u8>, Option<Index>),
    /// The engine dies with all that was not durable; the next one begins with a
    /// snapshot (true), or reads the ledger.
    Restart(bool),
    /// Another writer took over and granted one of the requests that wait.
    Deposed(Index),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum StateChange {
    None,
    Expired,
    OtherChoices,
    OtherId,
}

pub(crate) fn opening_record(spec: &OpeningSpec, ordinal: u32, now: Timestamp) -> OpeningRecord {
    let as_drawn = |(i, (restricted, explicit)): (usize, &(bool, bool))| Session {
        restricted: *restricted,
        explicit: *explicit,
        ..session(SESSIONS[i])
    };
    let offices: Vec<Office> = spec
        .offices
        .iter()
        .enumerate()
        .map(|(i, sessions)| Office {
            id: OFFICES[i].into(),
            name: String::new(),
            sessions: sessions.iter().enumerate().map(as_drawn).collect(),
        })
        .collect();
    let mut slots: Vec<Slot> = Vec::new();
    for (office, session, date, quota) in &spec.slots {
        let office = u32::from(*office) % offices.len() as u32;
        let sessions = offices[office as usize].sessions.len() as u32;
        let slot = Slot {
            office,
            session: u32::from(*session) % sessions,
            date: day(*date),
            quota: *quota,
            bookable_until: bookable_until(spec.bookable_until, *date),
        };
        let name = |s: &Slot| (s.office, s.session, s.date);
        if !slots.iter().any(|s| name(s) == name(&slot)) {
            slots.push(slot);
        }
    }
    let opens_at = now.plus_millis(u64::from(spec.opens_in));
    OpeningRecord {
        ordinal,
        id: format!("W{ordinal}"),
        timezone: "Asia/Jakarta".into(),
        opens_at,
        closes_at: opens_at.plus_millis(spec.lasts),
        rules: Rules {
            max_party: spec.max_party,
            max_per_account: spec.max_per_account,
            hold_ms: spec.hold_ms,
            cancelled: spec.cancelled.clone(),
            expired: spec.expired.clone(),
            across_openings: spec.across_openings,
            max_changes: spec.max_changes,
            bookable_until: spec.bookable_until,
            max_bookings: spec.max_bookings,
            leftovers: spec.leftovers,
            ..rules()
        },
        offices,
        slots,
    }
}

prop_compose! {
    pub(crate) fn opening_spec()(
        offices in prop::collection::vec(
            prop::collection::vec((prop::bool::weighted(0.15), prop::bool::weighted(0.1)), 1..4), 1..3),
        slots in prop::collection::vec((0u8..2, 0u8..3, 0u8..2, 1u16..5), 1..7),
        max_party in prop_oneof![1 => Just(1u8), 1 => Just(2u8), 8 => Just(4u8)],
        max_per_account in prop::option::weighted(0.3, 1u32..5),
        opens_in in 0u8..10,
        lasts in prop_oneof![1 => Just(250u64), 1 => 5u64..60, 6 => 20 * HOUR_MS..80 * HOUR_MS],
        hold_ms in prop_oneof![
            2 => Just(None),
            2 => (1u64..40).prop_map(Some),
            1 => (1u64..20).prop_map(|hours| Some(hours * HOUR_MS)),
        ],
        cancelled in return_rule(),
        expired in return_rule(),
        across_openings in prop::bool::weighted(0.3),
        max_changes in prop_oneof![2 => 0u16..4, 3 => Just(1_000)],
        bookable_until in prop_oneof![
            2 => Just(BookableUntil::DayBegins),
            1 => Just(BookableUntil::TimeOfDay { minute: 720 }),
            1 => Just(BookableUntil::Before { ms: 18 * HOUR_MS }),
        ],
        max_bookings in prop_oneof![1 => Just(1u16), 2 => Just(2), 2 => Just(3), 1 => Just(1_000)],
        leftovers in prop_oneof![1 => Just(Leftovers::None), 1 => Just(Leftovers::FirstCome)],
    ) -> OpeningSpec {
        OpeningSpec {
            offices, slots, max_party, max_per_account, opens_in, lasts, hold_ms, cancelled,
            expired, across_openings, max_changes, bookable_until, max_bookings, leftovers,
        }
    }
}

fn return_rule() -> impl Strategy<Value = ReturnRule> {
    prop_oneof![
        1 => Just(ReturnRule::Immediate),
        1 => (0u64..10, 0u64..20)
            .prop_map(|(from_ms, more)| ReturnRule::Delayed { from_ms, to_ms: from_ms + more }),
        2 => prop_oneof![Just(vec![420]), Just(vec![420, 1_020]), Just(vec![0, 600])]
            .prop_map(|minutes| ReturnRule::At { minutes }),
    ]
}

pub(crate) fn choice_spec() -> impl Strategy<Value = ChoiceSpec> {
    let any_of_it = (0u8..3, prop::option::of(0u8..3), prop::option::of(0u8..4));
    prop_oneof![
        20 => (any::<Index>(), prop::bool::ANY, prop::bool::weighted(0.6))
            .prop_map(|(slot, date, session)| ChoiceSpec::Slot(slot, date, session)),
        1 => any_of_it.prop_map(|(office, date, session)| ChoiceSpec::Any(office, date, session)),
    ]
}

prop_compose! {
    pub(crate) fn request_spec()(
        people in prop_oneof![
            3 => prop::collection::vec(0u8..12, 1..2),
            1 => prop::collection::vec(0u8..12, 2..5),
        ],
        request_id in 0u8..4,
        choices in prop::collection::vec(choice_spec(), 1..4),
        opening in prop::option::weighted(0.8, any::<Index>()),
        expires_in in prop::option::weighted(0.05, -2i8..5),
        account in prop::option::weighted(0.6, 0u8..2),
        vouched in prop::bool::weighted(0.5),
        wait in prop::bool::weighted(0.4),
    ) -> RequestSpec {
        RequestSpec { people, request_id, choices, opening, expires_in, account, vouched, wait }
    }
}

prop_compose! {
    fn wish_spec()(
        target in prop::option::weighted(0.95, any::<Index>()),
        who in prop_oneof![
            8 => any::<Index>().prop_map(Ok),
            1 => (0u8..12).prop_map(Err),
        ],
        request_id in prop::option::weighted(0.95, 0u8..12),
        kind in prop_oneof![
            4 => prop::option::weighted(0.8, 0u8..3).prop_map(DeedSpec::Confirm),
            4 => Just(DeedSpec::Cancel),
            8 => prop::collection::vec(choice_spec(), 1..4).prop_map(DeedSpec::Reschedule),
        ],
    ) -> WishSpec {
        WishSpec { target, who, request_id, kind }
    }
}

fn adjust_spec() -> impl Strategy<Value = AdjustSpec> {
    prop_oneof![
        3 => (0u16..6).prop_map(AdjustSpec::Quota),
        2 => (0u16..4).prop_map(AdjustSpec::Reserve),
        2 => prop::bool::ANY.prop_map(AdjustSpec::Halt),
        1 => prop_oneof![-20i32..100, 0..10 * HOUR_MS as i32].prop_map(AdjustSpec::ClosesAt),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let change = prop_oneof![
        3 => Just(StateChange::None),
        1 => Just(StateChange::Expired),
        1 => Just(StateChange::OtherChoices),
        1 => Just(StateChange::OtherId),
    ];
    prop_oneof![
        24 => request_spec().prop_map(Step::Ask),
        8 => (index(), change).prop_map(|(i, c)| Step::Again(i, c)),
        20 => wish_spec().prop_map(Step::Wish),
        2 => index().prop_map(Step::WishAgain),
        2 => (index(), index(), adjust_spec()).prop_map(|(o, s, a)| Step::Adjust(o, s, a)),
        2 => (index(), any::<bool>()).prop_map(|(i, moved)| Step::Authority(i, moved)),
        5 => (0u64..20).prop_map(Step::Pass),
        3 => (1u64..14).prop_map(|hours| Step::Pass(hours * HOUR_MS)),
        1 => (30u64..60).prop_map(|hours| Step::Pass(hours * HOUR_MS)),
        1 => prop_oneof![1u64..20, Just(HOUR_MS)].prop_map(Step::Back),
        2 => opening_spec().prop_map(Step::Record),
        10 => (0u8..8, 0u8..6).prop_map(|(grants, returns)| Step::Write(grants, returns)),
        10 => Just(Step::Commit),
        20 => (1u8..8, 0u8..6).prop_map(|(grants, returns)| Step::Turn(grants, returns)),
        2 => Just(Step::GiveUpBlock),
        2 => index().prop_map(Step::GiveUp),
        1 => Just(Step::Void),
        1 => (proptest::collection::vec(any::<u8>(), 0..50), any::<Option<Index>>())
            .prop_map(|(bytes, copy)| Step::Foreign(bytes, copy)),
        1 => any::<bool>().prop_map(Step::Restart),
        1 => index().prop_map(Step::Deposed),
    ]
}
