//! Records of openings.

use giliran_wire::Timestamp;
use giliran_wire::ledger::{
    BookableUntil, Leftovers, Office, OpeningRecord, Order, ReturnRule, Rules, Session, Slot,
};

/// 2100-01-01: a time that every store and calendar can hold.
const CLOSES: Timestamp = Timestamp::from_millis(4_102_444_800_000);

/// First come, parties of up to five, no holds; what comes back is free at once; no other
/// bound.
pub fn rules() -> Rules {
    Rules {
        order: Order::FirstCome,
        max_party: 5,
        max_per_account: None,
        hold_ms: None,
        cancelled: ReturnRule::Immediate,
        expired: ReturnRule::Immediate,
        across_openings: false,
        max_changes: u16::MAX,
        bookable_until: BookableUntil::DayBegins,
        max_bookings: u16::MAX,
        leftovers: Leftovers::None,
    }
}

/// A session that anybody can ask for, without a label.
pub fn session(id: &str) -> Session {
    Session { id: id.into(), label: String::new(), restricted: false, explicit: false }
}

/// An office without a name, with sessions as [`session`] makes them.
pub fn office(id: &str, sessions: &[&str]) -> Office {
    let sessions = sessions.iter().map(|id| session(id)).collect();
    Office { id: id.into(), name: String::new(), sessions }
}

/// A slot of the office and session at these places, bookable for ever; the date as in
/// `2026-12-01`.
pub fn slot(office: u32, session: u32, date: &str, quota: u16) -> Slot {
    let date = date.parse().unwrap();
    Slot { office, session, date, quota, bookable_until: Timestamp::LATEST }
}

/// Opening `w`, ordinal 0, in UTC, by [`rules`], open from the epoch on for longer than
/// any test: office `o`, day 2026-12-01, sessions `s0`, `s1`, … with a slot of each of
/// these quotas.
pub fn opening(quotas: &[u16]) -> OpeningRecord {
    let sessions = (0..quotas.len()).map(|i| session(&format!("s{i}"))).collect();
    let slots = (0..).zip(quotas).map(|(i, quota)| slot(0, i, "2026-12-01", *quota)).collect();
    OpeningRecord {
        ordinal: 0,
        id: "w".into(),
        timezone: "UTC".into(),
        opens_at: Timestamp::from_millis(0),
        closes_at: CLOSES,
        rules: rules(),
        offices: vec![Office { id: "o".into(), name: String::new(), sessions }],
        slots,
    }
}
