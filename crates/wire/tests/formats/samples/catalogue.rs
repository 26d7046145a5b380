//! Openings as the catalogue describes them: each order, each rule of return, options
//! given and left out.

use giliran_wire::answer::Phase;
use giliran_wire::catalogue::{
    Day, Leftovers, Office, OpeningDescription, Order, Returns, Rules, Session,
};

use super::{at, day, since};

fn session(id: &str, label: &str, quotas: &[(&str, u32)]) -> Session {
    Session {
        id: id.into(),
        label: label.into(),
        restricted: false,
        explicit: false,
        quotas: quotas.iter().map(|(date, quota)| (day(date), *quota)).collect(),
    }
}

fn offices() -> Vec<Office> {
    let center = vec![
        session("0800", "08:00–10:00", &[("2026-11-30", 100), ("2026-12-01", 100)]),
        Session { explicit: true, ..session("evening", "17:00–19:00", &[("2026-12-01", 30)]) },
        Session {
            restricted: true,
            ..session("priority", "Elderly, pregnant", &[("2026-11-30", 50), ("2026-12-01", 0)])
        },
    ];
    let harbour = vec![session("all", "", &[("2026-11-30", 80)])];
    vec![
        Office {
            id: "batam-center".into(),
            name: "Kantor \"Batam Center\"".into(),
            sessions: center,
        },
        Office {
            id: "batam-harbourbay".into(),
            name: "ULP Harbour Bay, Batam".into(),
            sessions: harbour,
        },
    ]
}

/// Descriptions of openings, by the name of their fixture.
pub(crate) fn descriptions() -> Vec<(&'static str, OpeningDescription)> {
    let collected = Returns::At { times: vec!["07:00".into(), "17:00".into()] };
    let delayed = Returns::Delayed { from_ms: 600_000, to_ms: 3_600_000 };
    let commitment = Some("5c".repeat(32));
    let rules = Rules {
        max_party: 5,
        max_per_account: Some(5),
        max_bookings: 3,
        max_changes: 3,
        across_openings: false,
        hold_ms: Some(7_200_000),
        cancelled: collected,
        expired: delayed,
        leftovers: Leftovers::None,
    };
    let until = |date: &str, until: &str| Day { date: day(date), bookable_until: at(until) };
    let first_come = OpeningDescription {
        id: "2026-W49".into(),
        state: Phase::Open,
        timezone: "Asia/Jakarta".into(),
        opens_at: at("2026-11-27T07:00:00.000Z"),
        closes_at: at("2026-11-29T07:00:00.000Z"),
        order: Order::FirstCome,
        rules: rules.clone(),
        next_release: Some(at("2026-11-27T10:00:00.000Z")),
        days: vec![
            until("2026-11-30", "2026-11-29T17:00:00.000Z"),
            until("2026-12-01", "2026-11-30T17:00:00.000Z"),
        ],
        offices: offices(),
        as_of: since(),
    };
    let rounds = OpeningDescription {
        state: Phase::Scheduled,
        order: Order::Rounds { length_ms: 500, commitment: None },
        rules: Rules {
            max_party: 1,
            max_per_account: None,
            hold_ms: None,
            across_openings: true,
            cancelled: Returns::Immediate,
            leftovers: Leftovers::FirstCome,
            ..rules
        },
        next_release: None,
        offices: vec![],
        days: vec![],
        ..first_come.clone()
    };
    let draw = OpeningDescription {
        state: Phase::Closed,
        order: Order::Draw {
            commitment: commitment.clone(),
            public_value: Some(
                "drand/52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971/1".into(),
            ),
            root: Some("6d".repeat(32)),
            entries: Some(1_203),
            seed: Some("7e".repeat(32)),
            signature: Some("8f".repeat(48)),
            drawn: false,
        },
        ..rounds.clone()
    };
    let rounds =
        OpeningDescription { order: Order::Rounds { length_ms: 500, commitment }, ..rounds };
    vec![("first_come", first_come), ("rounds", rounds), ("draw", draw)]
}
