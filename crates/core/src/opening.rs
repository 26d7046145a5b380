//! An opening in memory: its slots, and what a choice of one means.

use std::fmt;

use giliran_wire::answer::Phase;
use giliran_wire::ledger::{MAX_BLOCK_BYTES, OpeningRecord, Order};
use giliran_wire::request::Choice;
use giliran_wire::{Date, Timestamp};
use rustc_hash::FxHashMap;

/// What a block holds beside an opening's record.
const ROOM_BESIDE: usize = 4 * 1024;

use crate::accounts::Accounts;
use crate::claims::Claims;
use crate::places::{DurablyFree, Free};
use crate::sync::{AtomicU8, Ordering};

/// An opening: its record, its slots' counters, its applicants' claims.
#[derive(Debug)]
pub struct Opening {
    record: OpeningRecord,
    /// A [`Phase`]; relaxed, read inside a stable read.
    phase: AtomicU8,
    offices: FxHashMap<Box<str>, OfficeIndex>,
    pub(crate) free: Box<[Free]>,
    pub(crate) durably_free: DurablyFree,
    pub(crate) claims: Claims,
    pub(crate) accounts: Accounts,
}

/// Slots of an office, by what a choice leaves open. Slot lists are in order
/// of date, then configured order of sessions.
#[derive(Debug, Default)]
struct OfficeIndex {
    /// Sessions that need not be named, any day.
    plain: Vec<u32>,
    /// The same, by day.
    plain_by_date: FxHashMap<Date, Vec<u32>>,
    /// One session, any day.
    by_session: FxHashMap<Box<str>, Vec<u32>>,
    /// One session on one day.
    exact: FxHashMap<(Date, u32), [u32; 1]>,
    /// Position of a session in the office's configuration.
    sessions: FxHashMap<Box<str>, u32>,
}

/// A slot by the names it has outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotName<'a> {
    /// The office's id.
    pub office: &'a str,
    /// The day.
    pub date: Date,
    /// The session's id.
    pub session: &'a str,
    /// Places in all.
    pub quota: u16,
    /// Only for vouched requests.
    pub restricted: bool,
}

/// An opening this release cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("opening {id}: {what} is not served by this release")]
pub struct Unsupported {
    /// The opening's id.
    pub id: String,
    /// What of its rules.
    pub what: &'static str,
}

impl Opening {
    /// The opening of this record, scheduled, with every place free.
    pub(crate) fn new(record: OpeningRecord) -> Self {
        let mut offices: FxHashMap<Box<str>, OfficeIndex> = FxHashMap::default();
        for office in &record.offices {
            let index = offices.entry(office.id.as_str().into()).or_default();
            for (i, session) in office.sessions.iter().enumerate() {
                index.sessions.insert(session.id.as_str().into(), i as u32);
            }
        }
        let mut order: Vec<usize> = (0..record.slots.len()).collect();
        order.sort_by_key(|i| {
            let slot = &record.slots[*i];
            (slot.office, slot.date, slot.session)
        });
        for i in order {
            let slot = &record.slots[i];
            let office = &record.offices[slot.office as usize];
            let session = &office.sessions[slot.session as usize];
            let index = offices.get_mut(office.id.as_str()).expect("inserted above");
            let i = i as u32;
            if !session.restricted && !session.explicit {
                index.plain.push(i);
                index.plain_by_date.entry(slot.date).or_default().push(i);
            }
            index.by_session.entry(session.id.as_str().into()).or_default().push(i);
            index.exact.insert((slot.date, slot.session), [i]);
            index.plain_by_date.entry(slot.date).or_default();
        }
        Self {
            phase: AtomicU8::new(0),
            offices,
            free: record.slots.iter().map(|s| Free::new(i32::from(s.quota))).collect(),
            durably_free: DurablyFree::new(record.slots.iter().map(|s| i32::from(s.quota))),
            claims: Claims::default(),
            accounts: Accounts::new(record.rules.max_per_account),
            record,
        }
    }

    /// Whether this release can serve an opening of these rules.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] names what it cannot.
    pub fn supported(record: &OpeningRecord) -> Result<(), Unsupported> {
        let mut bytes = Vec::new();
        giliran_wire::codec::encode_into(record, &mut bytes);
        if bytes.len() > MAX_BLOCK_BYTES - ROOM_BESIDE {
            let what = "more slots than one ledger block holds (512 KiB, some 18,000 slots)";
            return Err(Unsupported { id: record.id.clone(), what });
        }
        let what = match (&record.rules.order, record.rules.hold_ms, record.rules.across_openings) {
            (Order::Rounds { .. }, _, _) => "order = { rounds = … }",
            (Order::Draw, _, _) => "order = \"draw\"",
            (_, Some(_), _) => "hold",
            (_, _, true) => "one booking across openings",
            (Order::FirstCome, None, false) => return Ok(()),
        };
        Err(Unsupported { id: record.id.clone(), what })
    }

    /// The record it was made from.
    pub fn record(&self) -> &OpeningRecord {
        &self.record
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// Whether it accepts requests.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Scheduled,
            1 => Phase::Open,
            _ => Phase::Closed,
        }
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        let number = match phase {
            Phase::Scheduled => 0,
            Phase::Open => 1,
            Phase::Closed => 2,
        };
        self.phase.store(number, Ordering::Relaxed);
    }

    /// The slot of this index, by name. Panics beyond the last: indexes come
    /// from the ledger, where the keeper has checked them.
    pub fn slot(&self, slot: u32) -> SlotName<'_> {
        let slot = &self.record.slots[slot as usize];
        let office = &self.record.offices[slot.office as usize];
        let session = &office.sessions[slot.session as usize];
        SlotName {
            office: &office.id,
            date: slot.date,
            session: &session.id,
            quota: slot.quota,
            restricted: session.restricted,
        }
    }

    /// How many slots it has.
    pub fn slots(&self) -> u32 {
        self.free.len() as u32
    }

    /// Places of a slot that no durable grant holds.
    pub fn durably_free(&self, slot: u32) -> i32 {
        self.durably_free.of(slot)
    }

    /// Places of a slot that nobody has taken, grants on their way included.
    pub fn free(&self, slot: u32) -> i32 {
        self.free[slot as usize].now()
    }

    /// When it should open and close.
    pub fn window(&self) -> (Timestamp, Timestamp) {
        (self.record.opens_at, self.record.closes_at)
    }

    /// True if the opening has this office.
    pub fn has_office(&self, office: &str) -> bool {
        self.offices.contains_key(office)
    }

    /// The slots that fit a choice, in the order they are tried.
    pub(crate) fn fitting(&self, choice: &Choice<'_>) -> Result<&[u32], Unknown> {
        let office = self.offices.get(choice.office.as_str()).ok_or(Unknown::Office)?;
        let known_date = |date: &Date| office.plain_by_date.contains_key(date);
        match (&choice.date, &choice.session) {
            (None, None) if office.plain.is_empty() => Err(Unknown::OnlyNamed),
            (None, None) => Ok(&office.plain),
            (Some(date), None) => match office.plain_by_date.get(date) {
                None => Err(Unknown::Date),
                Some(slots) if slots.is_empty() => Err(Unknown::OnlyNamed),
                Some(slots) => Ok(slots),
            },
            (None, Some(session)) => {
                office.by_session.get(session.as_str()).map(Vec::as_slice).ok_or(Unknown::Session)
            }
            (Some(date), Some(_)) if !known_date(date) => Err(Unknown::Date),
            (Some(date), Some(session)) => {
                let session = office.sessions.get(session.as_str()).ok_or(Unknown::Session)?;
                office
                    .exact
                    .get(&(*date, *session))
                    .map(<[u32; 1]>::as_slice)
                    .ok_or(Unknown::Session)
            }
        }
    }
}

/// What of a choice the opening does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    Office,
    Date,
    Session,
    OnlyNamed,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Office => "office: the opening has no such office",
            Self::Date => "date: the office has no places on that day in this opening",
            Self::Session => "session: the office has no such session on that day",
            Self::OnlyNamed => "session: the office has only sessions that must be named",
        })
    }
}
