//! The catalogue: what an opening offers and under which rules, for pages and
//! gateways. JSON alone.
//!
//! It says what is on record, with what an operator has changed since. How much of it
//! is free is told apart from it ([`FreePlaces`](crate::answer::FreePlaces)), since that
//! changes many times a second.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ledger;
use crate::phase::Phase;
use crate::{AsOf, Date, Timestamp};

/// An opening, as the bucket of openings and a describing `availability` have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpeningDescription {
    /// Id of the opening, unique in the ledger.
    pub id: String,
    /// Whether it accepts requests.
    pub state: Phase,
    /// IANA name of the time zone that its days and times of day are of.
    pub timezone: String,
    /// Begin of the window, on record.
    pub opens_at: Timestamp,
    /// End of the window; an operator may move it.
    pub closes_at: Timestamp,
    /// How its requests are ordered.
    pub order: Order,
    /// What else it is run by.
    pub rules: Rules,
    /// When returned places are next given to those who wait; left out where none are
    /// collected, or none could be booked any more by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_release: Option<Timestamp>,
    /// The days that can be asked for, ascending.
    pub days: Vec<Day>,
    /// Its offices, in configured order.
    pub offices: Vec<Office>,
    /// Since when it is so.
    pub as_of: AsOf,
}

/// A day of an opening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// The day, in the opening's time zone.
    pub date: Date,
    /// From here on nobody can book a place of this day.
    pub bookable_until: Timestamp,
}

/// An office of an opening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Office {
    /// Unique in the opening, 1 to 40 of `a-z 0-9 -`.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// Its sessions, in configured order.
    pub sessions: Vec<Session>,
}

/// A part of an office's day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id; `all` where the day is not divided.
    pub id: String,
    /// What it is called, for people; may be empty.
    pub label: String,
    /// True: only for vouched requests.
    pub restricted: bool,
    /// True: only for requests that name it.
    pub explicit: bool,
    /// Places in all on each day that has the session, as the quota now stands.
    pub quotas: BTreeMap<Date, u32>,
}

/// How the requests of an opening are ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Order {
    /// Each request is decided when it arrives.
    FirstCome,
    /// Decided at the end of short rounds, in the order of a keyed hash.
    Rounds {
        /// Length of a round, ms.
        length_ms: u64,
        /// What the engine has committed to before the opening: BLAKE3 of the seed, 64
        /// hexadecimal digits; left out before it is on record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commitment: Option<String>,
    },
    /// Everybody enters; one draw after the close.
    Draw {
        /// The commitment to the seed, as with rounds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commitment: Option<String>,
        /// The public value that will be mixed in, by name; left out where none is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        public_value: Option<String>,
        /// The root over all entries, 64 hexadecimal digits; left out before it is on record,
        /// in the first block behind the close.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        root: Option<String>,
        /// How many entries are under the root; left out with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entries: Option<u64>,
        /// The operator's seed, 64 hexadecimal digits; left out before it is revealed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seed: Option<String>,
        /// The public value itself, hexadecimal; left out before the seed is revealed, and
        /// where none is mixed in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
        /// True once the draw is over.
        drawn: bool,
    },
}

/// The rules of an opening, beside its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Most applicants in a request, 1 to 5.
    pub max_party: u8,
    /// Most applicants with places per account; left out: no limit. With a limit every
    /// request has to name an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_account: Option<u32>,
    /// Most bookings that an applicant is ever granted in this opening.
    pub max_bookings: u16,
    /// Most changes (reschedules) of a booking.
    pub max_changes: u16,
    /// True: one live booking per applicant across all openings, not only in this one.
    pub across_openings: bool,
    /// How long a grant waits for its confirmation, ms; left out: it is confirmed at
    /// once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// When a place that was given back becomes available again.
    pub cancelled: Returns,
    /// When a place whose hold ran out becomes available again.
    pub expired: Returns,
    /// What becomes of places that are free once the window has closed, or the draw is
    /// over.
    pub leftovers: Leftovers,
}

/// When a returned place becomes available again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Returns {
    /// With the entry that returns it.
    Immediate,
    /// After a random time within a range.
    Delayed {
        /// Shortest time that a returned place is withheld, ms.
        from_ms: u64,
        /// Longest time that a returned place is withheld, ms.
        to_ms: u64,
    },
    /// Collected, and drawn among those who `wait`.
    At {
        /// Times of the day in the opening's time zone, `HH:MM`, ascending.
        times: Vec<String>,
    },
}

/// What becomes of places that are free after the window, or after the draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leftovers {
    /// Nobody gets them but those who wait for a release.
    None,
    /// Whoever asks gets them, as they arrive.
    FirstCome,
}

impl From<&ledger::Rules> for Rules {
    fn from(rules: &ledger::Rules) -> Self {
        // A field that is new is shown here, or is known from elsewhere: the order has
        // its own description, and each day has its last moment.
        let ledger::Rules {
            order: _,
            max_party,
            max_per_account,
            hold_ms,
            cancelled,
            expired,
            across_openings,
            max_changes,
            bookable_until: _,
            max_bookings,
            leftovers,
        } = rules;
        Self {
            max_party: *max_party,
            max_per_account: *max_per_account,
            max_bookings: *max_bookings,
            max_changes: *max_changes,
            across_openings: *across_openings,
            hold_ms: *hold_ms,
            cancelled: cancelled.into(),
            expired: expired.into(),
            leftovers: match leftovers {
                ledger::Leftovers::None => Leftovers::None,
                ledger::Leftovers::FirstCome => Leftovers::FirstCome,
            },
        }
    }
}

impl From<&ledger::ReturnRule> for Returns {
    fn from(rule: &ledger::ReturnRule) -> Self {
        match rule {
            ledger::ReturnRule::Immediate => Self::Immediate,
            ledger::ReturnRule::Delayed { from_ms, to_ms } => {
                Self::Delayed { from_ms: *from_ms, to_ms: *to_ms }
            }
            ledger::ReturnRule::At { minutes } => Self::At {
                times: minutes.iter().map(|m| format!("{:02}:{:02}", m / 60, m % 60)).collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_shown_as_they_are_on_record() {
        let rules = ledger::Rules {
            order: ledger::Order::Draw,
            max_party: 4,
            max_per_account: Some(6),
            hold_ms: Some(7_200_000),
            cancelled: ledger::ReturnRule::At { minutes: vec![7 * 60, 17 * 60 + 5] },
            expired: ledger::ReturnRule::Delayed { from_ms: 1, to_ms: 2 },
            across_openings: true,
            max_changes: 2,
            bookable_until: ledger::BookableUntil::DayBegins,
            max_bookings: 3,
            leftovers: ledger::Leftovers::FirstCome,
        };
        let shown = json!({
            "max_party": 4, "max_per_account": 6, "max_bookings": 3, "max_changes": 2,
            "across_openings": true, "hold_ms": 7_200_000,
            "cancelled": { "kind": "at", "times": ["07:00", "17:05"] },
            "expired": { "kind": "delayed", "from_ms": 1, "to_ms": 2 },
            "leftovers": "first_come",
        });
        assert_eq!(serde_json::to_value(Rules::from(&rules)).expect("JSON"), shown);
        let least = ledger::Rules {
            max_per_account: None,
            hold_ms: None,
            expired: ledger::ReturnRule::Immediate,
            leftovers: ledger::Leftovers::None,
            ..rules
        };
        let shown = serde_json::to_value(Rules::from(&least)).expect("JSON");
        assert_eq!(shown["expired"], json!({ "kind": "immediate" }));
        assert_eq!(shown["leftovers"], "none");
        assert!(shown["hold_ms"].is_null() && shown["max_per_account"].is_null());
    }
}
