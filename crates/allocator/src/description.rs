//! What an opening offers, as the catalogue describes it.

use std::collections::BTreeMap;

use giliran_wire::answer::Phase;
use giliran_wire::catalogue::{Day, Office, OpeningDescription, Order, Session};
use giliran_wire::ledger::{self, OpeningRecord};
use giliran_wire::snapshot::Revealed;
use giliran_wire::{AsOf, Date, Timestamp};

use crate::Opening;
use crate::opening::Commitment;

/// What can change of what an opening offers while it is in memory. Two of one opening that
/// are equal are described alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpeningFacts {
    phase: Phase,
    opens_at: Timestamp,
    closes_at: Timestamp,
    commitment: Option<Commitment>,
    root: Option<([u8; 32], u64)>,
    revealed: Option<Revealed>,
    drawn: bool,
    next_release: Option<Timestamp>,
    /// By slot.
    quotas: Vec<u16>,
}

impl Opening {
    /// What can change of what it offers, at engine time `now`.
    pub fn facts(&self, now: Timestamp) -> OpeningFacts {
        let (opens_at, closes_at) = self.window();
        OpeningFacts {
            phase: self.phase(),
            opens_at,
            closes_at,
            commitment: self.commitment().cloned(),
            root: self.root(),
            revealed: self.revealed().cloned(),
            drawn: self.is_drawn(),
            next_release: self.next_collected_release(now),
            quotas: (0..self.slots()).map(|slot| self.quotas.of(slot) as u16).collect(),
        }
    }

    /// What it offers at engine time `now`; of one office alone where one is named. The
    /// facts are those in memory, which stand at `as_of`.
    pub fn describe(
        &self,
        office: Option<&str>,
        now: Timestamp,
        as_of: AsOf,
    ) -> OpeningDescription {
        self.facts(now).describe(self.record(), office, as_of)
    }

    /// When those who wait next get what was returned; none: nobody will.
    fn next_collected_release(&self, now: Timestamp) -> Option<Timestamp> {
        let gives = match self.phase() {
            Phase::Scheduled => false,
            Phase::Open => !self.draws(),
            Phase::Closed => !self.draws() || self.is_drawn(),
        };
        let next = self.calendar.next(&self.releases(), now);
        next.filter(|next| gives && self.has_bookable(*next))
    }
}

impl OpeningFacts {
    /// When the opening ends, as it now stands.
    pub fn closes_at(&self) -> Timestamp {
        self.closes_at
    }

    /// What the opening of this record offers; see [`Opening::describe`].
    pub fn describe(
        &self,
        record: &OpeningRecord,
        office: Option<&str>,
        as_of: AsOf,
    ) -> OpeningDescription {
        let named = |of: &&ledger::Office| office.is_none_or(|id| of.id == id);
        let mut quotas = self.quotas_by_session(record);
        let offices = (0u32..).zip(&record.offices).filter(|(_, office)| named(office));
        let offices = offices.map(|(at, office)| Office {
            id: office.id.clone(),
            name: office.name.clone(),
            sessions: (0u32..)
                .zip(&office.sessions)
                .map(|(session, of)| Session {
                    id: of.id.clone(),
                    label: of.label.clone(),
                    restricted: of.restricted,
                    explicit: of.explicit,
                    quotas: quotas.remove(&(at, session)).unwrap_or_default(),
                })
                .collect(),
        });
        OpeningDescription {
            id: record.id.clone(),
            state: self.phase,
            timezone: record.timezone.clone(),
            opens_at: self.opens_at,
            closes_at: self.closes_at,
            order: self.order(record),
            rules: (&record.rules).into(),
            next_release: self.next_release,
            days: days(record),
            offices: offices.collect(),
            as_of,
        }
    }

    /// Quotas as they now stand, by office and session.
    fn quotas_by_session(
        &self,
        record: &OpeningRecord,
    ) -> BTreeMap<(u32, u32), BTreeMap<Date, u32>> {
        let mut quotas: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (slot, quota) in record.slots.iter().zip(&self.quotas) {
            let of_session = quotas.entry((slot.office, slot.session)).or_default();
            of_session.insert(slot.date, u32::from(*quota));
        }
        quotas
    }

    fn order(&self, record: &OpeningRecord) -> Order {
        let (committed, revealed) = (self.commitment.as_ref(), self.revealed.as_ref());
        let commitment = committed.map(|committed| const_hex::encode(committed.hash));
        match record.rules.order {
            ledger::Order::FirstCome => Order::FirstCome,
            ledger::Order::Rounds { length_ms } => Order::Rounds { length_ms, commitment },
            ledger::Order::Draw => Order::Draw {
                commitment,
                public_value: committed.and_then(|committed| committed.beacon.clone()),
                root: self.root.map(|(root, _)| const_hex::encode(root)),
                entries: self.root.map(|(_, entries)| entries),
                seed: revealed.map(|revealed| const_hex::encode(revealed.seed)),
                signature: revealed.and_then(|of| of.beacon.as_ref()).map(const_hex::encode),
                drawn: self.drawn,
            },
        }
    }
}

/// The rules say for each day until when it can be booked; where a record says it otherwise
/// for single slots, the day has the last of them.
fn days(record: &OpeningRecord) -> Vec<Day> {
    let mut days = BTreeMap::new();
    for slot in &record.slots {
        let until = days.entry(slot.date).or_insert(slot.bookable_until);
        *until = slot.bookable_until.max(*until);
    }
    days.into_iter().map(|(date, bookable_until)| Day { date, bookable_until }).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use giliran_wire::Position;
    use giliran_wire::ledger::{ReturnRule, Rules, Slot};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn slot(office: u32, session: u32, date: &str, quota: u16, until: &str) -> Slot {
        let date = date.parse().unwrap();
        Slot { office, session, date, quota, bookable_until: at(until) }
    }

    fn session(id: &str, restricted: bool) -> ledger::Session {
        ledger::Session {
            id: id.into(),
            label: format!("{id}!"),
            restricted,
            explicit: !restricted,
        }
    }

    fn record(order: ledger::Order) -> OpeningRecord {
        let returns = ReturnRule::At { minutes: vec![7 * 60, 17 * 60 + 5] };
        OpeningRecord {
            ordinal: 0,
            id: "w".into(),
            timezone: "Asia/Jakarta".into(),
            opens_at: at("2026-11-27T07:00:00Z"),
            closes_at: at("2026-11-29T07:00:00Z"),
            rules: Rules {
                order,
                max_party: 4,
                max_per_account: Some(6),
                hold_ms: None,
                cancelled: returns,
                expired: ReturnRule::Immediate,
                across_openings: false,
                max_changes: 2,
                bookable_until: ledger::BookableUntil::DayBegins,
                max_bookings: 3,
                leftovers: ledger::Leftovers::FirstCome,
            },
            offices: vec![
                ledger::Office {
                    id: "a".into(),
                    name: "Office A".into(),
                    sessions: vec![session("0800", false), session("late", true)],
                },
                ledger::Office {
                    id: "b".into(),
                    name: "Office B".into(),
                    sessions: vec![session("all", false)],
                },
            ],
            slots: vec![
                slot(0, 0, "2026-11-30", 10, "2026-11-29T17:00:00Z"),
                slot(0, 1, "2026-11-30", 11, "2026-11-29T17:00:00Z"),
                slot(0, 0, "2026-12-01", 12, "2026-11-30T17:00:00Z"),
                slot(1, 0, "2026-12-01", 13, "2026-11-30T17:00:00Z"),
            ],
        }
    }

    fn described(opening: &Opening, office: Option<&str>, now: &str) -> OpeningDescription {
        let as_of = AsOf::new(Position { epoch: 1, seq: 2 }, at("2026-11-27T00:00:00Z"));
        opening.describe(office, at(now), as_of)
    }

    #[test]
    fn quotas_are_those_of_the_moment_by_office_session_and_day() {
        let opening = Opening::new(record(ledger::Order::FirstCome), 0);
        opening.quotas.set(2, 5);
        let whole = described(&opening, None, "2026-11-27T07:00:00Z");
        let quotas: Vec<_> = whole
            .offices
            .iter()
            .flat_map(|office| office.sessions.iter().map(move |session| (office, session)))
            .flat_map(|(office, session)| {
                session.quotas.iter().map(move |(date, quota)| {
                    format!("{} {} {date} {quota}", office.name, session.label)
                })
            })
            .collect();
        assert_eq!(
            quotas,
            [
                "Office A 0800! 2026-11-30 10",
                "Office A 0800! 2026-12-01 5",
                "Office A late! 2026-11-30 11",
                "Office B all! 2026-12-01 13"
            ]
        );
        let late = &whole.offices[0].sessions[1];
        assert!(late.restricted && !late.explicit);
        let days: Vec<_> =
            whole.days.iter().map(|d| format!("{} {}", d.date, d.bookable_until)).collect();
        let shown = ["2026-11-30 2026-11-29T17:00:00.000Z", "2026-12-01 2026-11-30T17:00:00.000Z"];
        assert_eq!(days, shown);
        let one = described(&opening, Some("b"), "2026-11-27T07:00:00Z");
        assert_eq!(one.offices, whole.offices[1..]);
    }

    #[test]
    fn the_next_release_is_told_while_somebody_can_get_something_by_it() {
        let opening = Opening::new(record(ledger::Order::FirstCome), 0);
        let next = |now| described(&opening, None, now).next_release;
        assert_eq!(next("2026-11-27T07:00:00Z"), None, "nothing can have come back");
        opening.set_phase(Phase::Open);
        assert_eq!(next("2026-11-27T07:00:00Z"), Some(at("2026-11-27T10:05:00Z")));
        assert_eq!(next("2026-11-27T10:05:00Z"), Some(at("2026-11-28T00:00:00Z")));
        opening.set_phase(Phase::Closed);
        assert_eq!(next("2026-11-30T09:00:00Z"), Some(at("2026-11-30T10:05:00Z")));
        assert_eq!(next("2026-11-30T10:05:00Z"), None, "no day can be booked by then");
        let draw = Opening::new(record(ledger::Order::Draw), 0);
        draw.set_phase(Phase::Open);
        assert_eq!(described(&draw, None, "2026-11-27T07:00:00Z").next_release, None);
        draw.set_phase(Phase::Closed);
        draw.set_drawn(true);
        assert!(described(&draw, None, "2026-11-29T07:00:00Z").next_release.is_some());
    }

    #[test]
    fn an_order_is_told_with_what_was_committed_to() {
        let order = |opening: &Opening| described(opening, None, "2026-11-27T07:00:00Z").order;
        let committed = |beacon: Option<&str>| Commitment {
            hash: [0xab; 32],
            beacon: beacon.map(str::to_owned),
        };
        let hash = Some("ab".repeat(32));
        let rounds = Opening::new(record(ledger::Order::Rounds { length_ms: 500 }), 0);
        assert_eq!(order(&rounds), Order::Rounds { length_ms: 500, commitment: None });
        rounds.set_committed(committed(None));
        let commitment = hash.clone();
        assert_eq!(order(&rounds), Order::Rounds { length_ms: 500, commitment });
        let draw = Opening::new(record(ledger::Order::Draw), 0);
        draw.set_committed(committed(Some("drand 83cf 7")));
        let public_value = Some("drand 83cf 7".to_owned());
        let told =
            |root: Option<&str>, entries, seed: Option<&str>, signature, drawn| Order::Draw {
                commitment: hash.clone(),
                public_value: public_value.clone(),
                root: root.map(|two| two.repeat(32)),
                entries,
                seed: seed.map(|two| two.repeat(32)),
                signature,
                drawn,
            };
        assert_eq!(order(&draw), told(None, None, None, None, false));
        draw.set_root([0xcd; 32], 7);
        assert_eq!(order(&draw), told(Some("cd"), Some(7), None, None, false));
        let at = "2026-11-29T07:00:01Z".parse().unwrap();
        draw.set_revealed(Revealed { seed: [0xef; 32], beacon: Some(vec![1, 2]), at });
        draw.set_drawn(true);
        let signature = Some("0102".to_owned());
        assert_eq!(order(&draw), told(Some("cd"), Some(7), Some("ef"), signature, true));
    }
}
