//! What a history is made of, and how it is drawn.

use giliran_wire::ledger::{Office, OpeningRecord, Order, ReturnRule, Rules, Session, Slot};
use giliran_wire::{Date, Pseudonym, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;

pub(crate) const OFFICES: [&str; 3] = ["batam-center", "harbourbay", "nowhere"];
pub(crate) const SESSIONS: [&str; 4] = ["0800", "1000", "priority", "never"];

pub(crate) fn person(i: u8) -> Pseudonym {
    let hash = blake3::hash(&[i]);
    Pseudonym::from_bytes(hash.as_bytes()[..16].try_into().unwrap())
}

pub(crate) fn day(i: u8) -> Date {
    format!("2026-11-{:02}", 23 + i).parse().unwrap()
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
    pub(crate) lasts: u8,
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
    Again(Index, Change),
    /// Time passes, ms.
    Pass(u8),
    Record(OpeningSpec),
    /// The next block takes at most so many of the waiting grants.
    Write(u8),
    Commit,
    /// The block will never be in the ledger.
    GiveUpBlock,
    /// A waiting grant is dropped.
    GiveUp(Index),
    /// Something a deposed writer left behind stands next in the ledger.
    Void,
    /// The engine dies with all that was not durable.
    Restart,
    /// Another writer took over and granted one of the requests that wait.
    Deposed(Index),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    None,
    Expired,
    OtherChoices,
    OtherId,
}

pub(crate) fn opening_record(spec: &OpeningSpec, ordinal: u32, now: Timestamp) -> OpeningRecord {
    let session = |(i, (restricted, explicit)): (usize, &(bool, bool))| Session {
        id: SESSIONS[i].into(),
        label: String::new(),
        restricted: *restricted,
        explicit: *explicit,
    };
    let offices: Vec<Office> = spec
        .offices
        .iter()
        .enumerate()
        .map(|(i, sessions)| Office {
            id: OFFICES[i].into(),
            name: String::new(),
            sessions: sessions.iter().enumerate().map(session).collect(),
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
        closes_at: opens_at.plus_millis(u64::from(spec.lasts)),
        rules: Rules {
            order: Order::FirstCome,
            max_party: spec.max_party,
            max_per_account: spec.max_per_account,
            hold_ms: None,
            cancelled: ReturnRule::Immediate,
            expired: ReturnRule::Immediate,
            across_openings: false,
            max_changes: None,
        },
        offices,
        slots,
    }
}

prop_compose! {
    pub(crate) fn opening_spec()(
        offices in prop::collection::vec(
            prop::collection::vec((prop::bool::weighted(0.2), prop::bool::weighted(0.2)), 1..4), 1..3),
        slots in prop::collection::vec((0u8..2, 0u8..3, 0u8..2, 1u16..5), 1..7),
        max_party in prop_oneof![1 => Just(1u8), 1 => Just(2u8), 4 => Just(4u8)],
        max_per_account in prop::option::weighted(0.3, 1u32..5),
        opens_in in 0u8..10,
        lasts in prop_oneof![4 => Just(250u8), 1 => 5u8..60],
    ) -> OpeningSpec {
        OpeningSpec { offices, slots, max_party, max_per_account, opens_in, lasts }
    }
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
        opening in prop::option::weighted(0.3, any::<Index>()),
        expires_in in prop::option::weighted(0.1, -2i8..5),
        account in prop::option::weighted(0.6, 0u8..2),
        vouched in prop::bool::weighted(0.5),
    ) -> RequestSpec {
        RequestSpec { people, request_id, choices, opening, expires_in, account, vouched }
    }
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let change = prop_oneof![
        3 => Just(Change::None),
        1 => Just(Change::Expired),
        1 => Just(Change::OtherChoices),
        1 => Just(Change::OtherId),
    ];
    prop_oneof![
        24 => request_spec().prop_map(Step::Ask),
        8 => (index(), change).prop_map(|(i, c)| Step::Again(i, c)),
        4 => (0u8..20).prop_map(Step::Pass),
        1 => opening_spec().prop_map(Step::Record),
        8 => (0u8..8).prop_map(Step::Write),
        8 => Just(Step::Commit),
        2 => Just(Step::GiveUpBlock),
        2 => index().prop_map(Step::GiveUp),
        1 => Just(Step::Void),
        1 => Just(Step::Restart),
        1 => index().prop_map(Step::Deposed),
    ]
}
