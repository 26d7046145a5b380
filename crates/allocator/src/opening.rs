//! An opening in memory: its slots, and what a choice of one means.

use std::fmt;
use std::sync::OnceLock;

use giliran_wire::answer::{self, Phase, SlotState, Status};
use giliran_wire::ledger::{Leftovers, MAX_BLOCK_BYTES, OpeningRecord, Order, ReturnRule};
use giliran_wire::request::Choice;
use giliran_wire::snapshot::Revealed;
use giliran_wire::{Date, Pseudonym, Timestamp};
use rustc_hash::FxHashMap;

/// What a block holds beside an opening's record.
const ROOM_BESIDE: usize = 4 * 1024;
/// The longest round, ms: whoever asks waits for its end.
const MAX_ROUND_MS: u64 = 5_000;

use crate::accounts::Accounts;
use crate::booking::Booking;
use crate::calendar::Calendar;
use crate::claims::Claims;
use crate::sync::counters::{DurableCounts, Moments, SlotCounter};
use crate::sync::{AtomicU8, AtomicU64, Ordering};

/// An opening: its record, its slots' counters, its applicants' claims.
#[derive(Debug)]
pub struct Opening {
    record: OpeningRecord,
    /// A [`Phase`]; relaxed, read inside a stable read.
    phase: AtomicU8,
    /// 1: its draw is over; relaxed, read inside a stable read.
    drawn: AtomicU8,
    /// 1: it has opened, and was not ended before that; relaxed, read inside a
    /// stable read.
    took_place: AtomicU8,
    /// What is committed to of its order, once that is on record.
    commitment: OnceLock<Commitment>,
    /// The root over the entries of its draw and their number, once that is on record.
    root: OnceLock<([u8; 32], u64)>,
    /// The seed of its draw, once it is revealed.
    revealed: OnceLock<Revealed>,
    /// Its end as it now stands, ms; relaxed, read inside a stable read.
    closes_at: AtomicU64,
    offices: FxHashMap<Box<str>, OfficeIndex>,
    pub(crate) calendar: Calendar,
    retires_at: Timestamp,
    pub(crate) free: Box<[SlotCounter]>,
    pub(crate) durably_free: DurableCounts,
    /// Quotas as they now stand.
    pub(crate) quotas: DurableCounts,
    /// Places that are neither held by a live booking nor free.
    pub(crate) withheld: DurableCounts,
    /// Of these the ones that operators keep back.
    pub(crate) reserved: DurableCounts,
    /// 1: an operator has closed the slot.
    pub(crate) halted: DurableCounts,
    /// When the next of the withheld places is released.
    pub(crate) next_release: Moments,
    /// From when on nobody can book a slot.
    bookable_until: Box<[Timestamp]>,
    /// The last of these moments.
    last_bookable: Timestamp,
    pub(crate) claims: Claims,
    pub(crate) accounts: Accounts,
}

/// Places of all slots together.
pub(crate) fn places(record: &OpeningRecord) -> usize {
    record.slots.iter().map(|slot| usize::from(slot.quota)).sum()
}

/// What an opening whose order needs a seed has committed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commitment {
    /// BLAKE3 of the seed.
    pub(crate) hash: [u8; 32],
    /// The public value that will be mixed in, by name.
    pub(crate) beacon: Option<String>,
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
    /// Id of the office, unique in the opening.
    pub office: &'a str,
    /// Date of the slot in the opening's time zone.
    pub date: Date,
    /// Id of the session, unique in its office.
    pub session: &'a str,
    /// Places in all, as the quota now stands.
    pub quota: u16,
    /// Only for vouched requests.
    pub restricted: bool,
}

/// An opening this release cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("opening {id}: {what} is not served by this release")]
pub struct Unsupported {
    /// Id of the opening, unique in the ledger.
    pub id: String,
    /// What of its rules.
    pub what: &'static str,
}

impl Opening {
    /// The opening of this record, scheduled, with every place free, and with `room` for so
    /// many claims.
    pub(crate) fn new(record: OpeningRecord, room: usize) -> Self {
        let mut offices: FxHashMap<Box<str>, OfficeIndex> = FxHashMap::default();
        for office in &record.offices {
            let index = offices.entry(office.id.as_str().into()).or_default();
            for (i, session) in (0..).zip(&office.sessions) {
                index.sessions.insert(session.id.as_str().into(), i);
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
            drawn: AtomicU8::new(0),
            took_place: AtomicU8::new(0),
            commitment: OnceLock::new(),
            root: OnceLock::new(),
            revealed: OnceLock::new(),
            closes_at: AtomicU64::new(record.closes_at.as_millis().max(0) as u64),
            offices,
            calendar: Calendar::of(&record.timezone).unwrap_or_else(Calendar::utc),
            retires_at: retires_at(&record),
            free: record.slots.iter().map(|s| SlotCounter::new(i32::from(s.quota))).collect(),
            durably_free: DurableCounts::new(record.slots.iter().map(|s| i32::from(s.quota))),
            quotas: DurableCounts::new(record.slots.iter().map(|s| i32::from(s.quota))),
            withheld: DurableCounts::new(record.slots.iter().map(|_| 0)),
            reserved: DurableCounts::new(record.slots.iter().map(|_| 0)),
            halted: DurableCounts::new(record.slots.iter().map(|_| 0)),
            next_release: Moments::none(record.slots.len()),
            bookable_until: record.slots.iter().map(|slot| slot.bookable_until).collect(),
            last_bookable: record
                .slots
                .iter()
                .map(|slot| slot.bookable_until)
                .max()
                .unwrap_or(record.closes_at),
            claims: Claims::with_room_for(room),
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
            let what = "more slots than one ledger block holds (512 KiB, some 14,000 slots)";
            return Err(Unsupported { id: record.id.clone(), what });
        }
        let what = match &record.rules.order {
            Order::Rounds { length_ms } if *length_ms > MAX_ROUND_MS => "a round of more than 5 s",
            Order::Draw if !drawn_in_time(record, record.closes_at) => {
                "order = \"draw\" with a close after some of its places can no longer be booked"
            }
            _ if Calendar::of(&record.timezone).is_none() => "a time zone unknown to its data",
            Order::FirstCome | Order::Rounds { .. } | Order::Draw => return Ok(()),
        };
        Err(Unsupported { id: record.id.clone(), what })
    }

    /// True if an opening that is drawn at this close is drawn while all of its
    /// slots can be booked.
    pub fn is_drawn_in_time(&self, closes_at: Timestamp) -> bool {
        drawn_in_time(&self.record, closes_at)
    }

    /// True if the time zone data know its zone: else nobody can tell when its days
    /// begin.
    pub fn zone_is_known(&self) -> bool {
        Calendar::of(&self.record.timezone).is_some()
    }

    /// True if everybody enters, and a draw decides.
    pub fn draws(&self) -> bool {
        self.record.rules.order == Order::Draw
    }

    /// True from the close of an opening that is drawn until its draw is over:
    /// nothing else may change what the draw decides about.
    pub fn is_drawing(&self) -> bool {
        self.draws() && self.phase() == Phase::Closed && !self.is_drawn()
    }

    /// True once its draw is over.
    pub fn is_drawn(&self) -> bool {
        self.drawn.load(Ordering::Relaxed) == 1
    }

    pub(crate) fn set_drawn(&self, drawn: bool) {
        self.drawn.store(u8::from(drawn), Ordering::Relaxed);
    }

    /// What is committed to of its order; none: nothing is on record.
    pub(crate) fn commitment(&self) -> Option<&Commitment> {
        self.commitment.get()
    }

    /// On record once and for good: the first one stands.
    pub(crate) fn set_committed(&self, commitment: Commitment) {
        let _ = self.commitment.set(commitment);
    }

    /// The root over the entries of its draw, and their number; none: nothing is on record.
    pub(crate) fn root(&self) -> Option<([u8; 32], u64)> {
        self.root.get().copied()
    }

    /// On record once and for good: the first one stands.
    pub(crate) fn set_root(&self, root: [u8; 32], entries: u64) {
        let _ = self.root.set((root, entries));
    }

    /// The seed of its draw; none: it is not revealed.
    pub(crate) fn revealed(&self) -> Option<&Revealed> {
        self.revealed.get()
    }

    /// On record once and for good: the first one stands.
    pub(crate) fn set_revealed(&self, revealed: Revealed) {
        let _ = self.revealed.set(revealed);
    }

    /// The record it was made from.
    pub fn record(&self) -> &OpeningRecord {
        &self.record
    }

    /// Id of the opening, unique in the ledger.
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
    /// from the ledger, where the state machine has checked them.
    pub fn slot(&self, index: u32) -> SlotName<'_> {
        let slot = &self.record.slots[index as usize];
        let office = &self.record.offices[slot.office as usize];
        let session = &office.sessions[slot.session as usize];
        SlotName {
            office: &office.id,
            date: slot.date,
            session: &session.id,
            quota: self.quotas.of(index) as u16,
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

    /// Places of a slot that are neither held by a live booking nor free:
    /// returned and not released yet, reserved, or halted.
    pub fn withheld(&self, slot: u32) -> i32 {
        self.withheld.of(slot)
    }

    /// Places of a slot that an operator keeps back from everybody.
    pub fn reserved(&self, slot: u32) -> u16 {
        self.reserved.of(slot) as u16
    }

    /// True if an operator has closed the slot for grants.
    pub fn is_halted(&self, slot: u32) -> bool {
        self.halted.of(slot) == 1
    }

    /// When the next returned place of a slot is released, or drawn for; none:
    /// none waits.
    pub fn next_release(&self, slot: u32) -> Option<Timestamp> {
        self.next_release.of(slot)
    }

    /// Gives back places that a grant took, and its account's share.
    pub(crate) fn give_places(&self, slot: u32, account: Option<&Pseudonym>, places: u32) {
        self.free[slot as usize].give(places as i32);
        if let Some(account) = account {
            self.accounts.give(account, places);
        }
    }

    /// True while it is not too late to book a slot.
    pub fn is_bookable(&self, slot: u32, now: Timestamp) -> bool {
        now < self.bookable_until[slot as usize]
    }

    /// True if one of its slots at least can still be booked.
    pub fn has_bookable(&self, now: Timestamp) -> bool {
        self.last_bookable > now
    }

    /// When the hold of a grant in this slot ends, where the opening has holds: not
    /// after the slot can be booked.
    pub fn hold_end(&self, slot: u32, now: Timestamp) -> Option<Timestamp> {
        let hold_ms = self.record.rules.hold_ms?;
        Some(now.plus_millis(hold_ms).min(self.bookable_until[slot as usize]))
    }

    /// A hold that ends so in another slot.
    pub(crate) fn hold_in(&self, slot: u32, hold: Timestamp) -> Timestamp {
        hold.min(self.bookable_until[slot as usize])
    }

    /// True if whoever asks gets what is free although the window has closed: until
    /// then, or its draw was over. One that was ended before it began did not take
    /// place.
    pub fn gives_leftovers(&self) -> bool {
        self.record.rules.leftovers == Leftovers::FirstCome
            && self.phase() == Phase::Closed
            && self.took_place()
            && (!self.draws() || self.is_drawn())
    }

    /// True if there was a moment at which it accepted requests, or should have.
    pub(crate) fn took_place(&self) -> bool {
        self.took_place.load(Ordering::Relaxed) == 1
    }

    pub(crate) fn set_took_place(&self, took_place: bool) {
        self.took_place.store(u8::from(took_place), Ordering::Relaxed);
    }

    /// True if those who wait get what comes back, once the window has closed.
    pub(crate) fn gives_to_those_who_wait(&self, now: Timestamp) -> bool {
        let next = || self.calendar.next(&self.releases(), now).unwrap_or(now);
        self.collects()
            && self.phase() == Phase::Closed
            && (!self.draws() || self.is_drawn())
            && self.has_bookable(next())
    }

    /// True if a request that names no opening can mean this one, whose window has
    /// closed.
    pub(crate) fn still_gives(&self, wait: bool, now: Timestamp) -> bool {
        self.gives_leftovers() && self.has_bookable(now)
            || wait && self.gives_to_those_who_wait(now)
    }

    /// A booking of this opening, as clients see it.
    pub fn view<'a>(&'a self, booking: &'a Booking) -> answer::Booking<'a> {
        let slot = self.slot(booking.slot);
        answer::Booking {
            id: booking.id,
            version: booking.version,
            status: booking.status,
            opening: self.id().into(),
            office: slot.office.into(),
            date: slot.date,
            session: slot.session.into(),
            numbers: booking.seats.iter().map(|seat| seat.number).collect(),
            request_id: (&*booking.request_id).into(),
            reference: booking.reference().map(Into::into),
            channel: booking.channel().map(Into::into),
            granted_at: booking.granted_at,
            hold_expires_at: booking.hold_expires_at().filter(|_| booking.status == Status::Held),
        }
    }

    /// A slot as `availability` shows it at engine time `now`.
    pub fn slot_state(&self, index: u32, now: Timestamp) -> SlotState<'_> {
        let slot = self.slot(index);
        let bookable = self.is_bookable(index, now);
        // What it is too late for is free to nobody.
        let free = self.durably_free(index);
        let offered = if bookable { free } else { free.min(0) };
        SlotState {
            opening: self.id().into(),
            office: slot.office.into(),
            date: slot.date,
            session: slot.session.into(),
            quota: u32::from(slot.quota),
            free: offered,
            withheld: (self.withheld(index) + free - offered).max(0) as u32,
            reserved: u32::from(self.reserved(index)),
            halted: self.is_halted(index),
            bookable,
            next_release: self.next_release(index),
        }
    }

    /// When it should open and close; an operator may have moved its end.
    pub fn window(&self) -> (Timestamp, Timestamp) {
        let closes_at = self.closes_at.load(Ordering::Relaxed) as i64;
        (self.record.opens_at, Timestamp::from_millis(closes_at))
    }

    pub(crate) fn set_closes_at(&self, closes_at: Timestamp) {
        self.closes_at.store(closes_at.as_millis().max(0) as u64, Ordering::Relaxed);
    }

    /// True once the day of a slot is over at the office.
    pub(crate) fn day_is_over(&self, slot: u32, now: Timestamp) -> bool {
        let next = self.record.slots[slot as usize].date.civil().tomorrow();
        next.is_ok_and(|next| now >= self.calendar.begins(next.into()))
    }

    /// Times of the day, in minutes, at which collected places are given to
    /// those who wait; none: this opening collects nothing.
    pub(crate) fn releases(&self) -> Vec<u16> {
        let rules = &self.record.rules;
        let mut minutes: Vec<u16> = [&rules.cancelled, &rules.expired]
            .into_iter()
            .filter_map(|rule| match rule {
                ReturnRule::At { minutes } => Some(minutes),
                ReturnRule::Immediate | ReturnRule::Delayed { .. } => None,
            })
            .flatten()
            .copied()
            .collect();
        minutes.sort_unstable();
        minutes.dedup();
        minutes
    }

    /// True if it gives returned places to those who wait.
    pub fn collects(&self) -> bool {
        let rules = &self.record.rules;
        [&rules.cancelled, &rules.expired].iter().any(|rule| matches!(rule, ReturnRule::At { .. }))
    }

    /// When all its days are over, wherever it is: it leaves memory with the
    /// first block from then on.
    pub fn retires_at(&self) -> Timestamp {
        self.retires_at
    }

    /// The slot of these names.
    pub fn slot_of(&self, office: &str, date: Date, session: &str) -> Option<u32> {
        let office = self.offices.get(office)?;
        let session = office.sessions.get(session)?;
        office.exact.get(&(date, *session)).map(|[slot]| *slot)
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

fn drawn_in_time(record: &OpeningRecord, closes_at: Timestamp) -> bool {
    record.slots.iter().all(|slot| closes_at <= slot.bookable_until)
}

/// The second midnight (UTC) after the last day: by then it is over in every
/// time zone. Computed without the time zone database, since the fold rests on
/// it.
fn retires_at(record: &OpeningRecord) -> Timestamp {
    let last = record.slots.iter().map(|slot| slot.date).max();
    let midnight = last.and_then(|date| {
        let day = date.civil().checked_add(jiff::Span::new().days(2)).ok()?;
        day.to_datetime(jiff::civil::Time::midnight())
            .to_zoned_datetime(jiff::tz::TimeZone::UTC)
            .ok()
    });
    midnight.map_or(Timestamp::from_millis(i64::MAX), |at| {
        Timestamp::from_millis(at.timestamp().as_millisecond())
    })
}
