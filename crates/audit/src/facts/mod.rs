//! What the ledger says, by a plain model of its own: slow and obvious, and no
//! code shared with those who wrote it.

mod fold;

use std::collections::{BTreeMap, HashMap, HashSet};

use giliran_nats::ledger::Ledger;
use giliran_nats::ledger::archive::Archive;
use giliran_nats::ledger::scan::scan;
use giliran_persist::{Stored, StoredAction};
use giliran_verify::draw::Extract;
use giliran_wire::answer::{FreePlaces, Status};
use giliran_wire::client_log::Choice;
use giliran_wire::ledger::journal::Journal;
use giliran_wire::ledger::{Chain, Doubt, Grant, OpeningRecord, Seat};
use giliran_wire::{BookingId, LedgerId, Pseudonym, Timestamp};

use crate::check::{Check, Findings};
use crate::error::AuditError;
use crate::generations::Generations;
use crate::limits::Limits;
use crate::orders::{Orders, PublishedSeed};

/// An engine that decides nothing for so long after the ledger's last block has
/// nobody who asks: rejections are put on record as well.
const QUIET_MS: u64 = 24 * 3_600_000;

/// A booking, and what became of it.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    /// The block that made it.
    pub(super) seq: u64,
    /// Its place among the ledger's grants.
    pub(super) place: usize,
    pub(super) grant: Grant,
    granted_at: Timestamp,
    status: Status,
    version: u32,
    changed_at: u64,
    slot: u32,
    /// Every seat it ever had, in the request's order, and whether it is active.
    seats: Vec<(Seat, bool)>,
    payment: Option<String>,
    /// True: a payment has confirmed it, whatever its name.
    paid: bool,
    refunds: u32,
    hold: Option<Timestamp>,
    /// Slot and active numbers from a sequence on.
    versions: Vec<(u64, u32, Vec<u16>)>,
}

impl Fact {
    fn active(&self) -> Vec<Seat> {
        self.seats.iter().filter(|(_, active)| *active).map(|(seat, _)| *seat).collect()
    }

    /// Slot and numbers as they were told at a sequence.
    pub(super) fn at(&self, seq: u64) -> Option<(u32, &[u16])> {
        let (_, slot, numbers) = self.versions.iter().rev().find(|(from, ..)| *from <= seq)?;
        Some((*slot, numbers))
    }
}

#[derive(Debug, Default)]
struct SlotModel {
    quota: i64,
    reserved: i64,
    halted: bool,
    live: BTreeMap<u16, BookingId>,
    /// Returned numbers, and when they may be released; none: by a draw.
    withheld: BTreeMap<u16, Option<Timestamp>>,
    /// Free places after a sequence.
    free: Vec<(u64, i64)>,
}

impl SlotModel {
    fn offered(&self) -> i64 {
        let free = self.quota - self.reserved - (self.live.len() + self.withheld.len()) as i64;
        if self.halted { free.min(0) } else { free }
    }
}

/// A slot as it should be shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShownSlot {
    quota: i64,
    /// Free, were it not too late.
    offered: i64,
    reserved: i64,
    halted: bool,
    /// It was too late already when the ledger's last block was written.
    late: bool,
}

impl ShownSlot {
    pub(super) fn is(&self, shown: &FreePlaces) -> bool {
        let free = if shown.bookable { self.offered } else { self.offered.min(0) };
        i64::from(shown.quota) == self.quota
            && i64::from(shown.free) == free
            && i64::from(shown.reserved) == self.reserved
            && shown.halted == self.halted
            && !(shown.bookable && self.late)
    }
}

impl std::fmt::Display for ShownSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { quota, offered, reserved, halted, late } = self;
        write!(f, "{offered} free of {quota}, {reserved} reserved, halted {halted}, late {late}")
    }
}

/// From a sequence on, and up to another one, where it ended.
type Spans = Vec<(u64, Option<u64>)>;

fn contains(spans: Option<&Spans>, seq: u64) -> bool {
    spans.is_some_and(|spans| {
        spans.iter().any(|(from, to)| *from <= seq && to.is_none_or(|to| seq < to))
    })
}

/// What was found wrong on the way.
#[derive(Debug)]
struct Wrong {
    oversell: Findings,
    numbers: Findings,
    twice: Findings,
    keys: Findings,
    releases: Findings,
    states: Findings,
}

#[derive(Debug)]
pub struct Facts {
    chain: Chain,
    /// Blocks that a deposed writer left behind.
    voids: u64,
    /// Messages that no writer of the ledger put there.
    foreign: u64,
    /// Messages read, void and foreign ones included.
    blocks: u64,
    openings: Vec<OpeningRecord>,
    /// Sequences at which openings open and close.
    phases: Vec<(u64, u32, bool)>,
    places: BTreeMap<(u32, u32), SlotModel>,
    pub(super) grants: Vec<Fact>,
    pub(super) by_booking: HashMap<BookingId, usize>,
    /// Live bookings of an applicant in an opening.
    booked: HashMap<(u32, Pseudonym), Spans>,
    /// Entries of an applicant in an opening.
    waits: HashMap<(u32, Pseudonym), Spans>,
    entries: HashMap<BookingId, (u32, Vec<Pseudonym>)>,
    orders: Orders,
    asked: HashSet<(u32, Pseudonym, String)>,
    /// Sequence at which an epoch begins.
    epochs: Vec<(u64, u64)>,
    events: Vec<(String, BookingId)>,
    limits: Limits,
    /// When the block of a sequence was written.
    times: Vec<(u64, Timestamp)>,
    generations: Generations,
    journal: Journal,
    wrong: Wrong,
}

impl Default for Facts {
    fn default() -> Self {
        let wrong = Wrong {
            oversell: Findings::new(),
            numbers: Findings::new(),
            twice: Findings::new(),
            keys: Findings::new(),
            releases: Findings::new(),
            states: Findings::new(),
        };
        Self {
            chain: Chain::new(),
            voids: 0,
            foreign: 0,
            blocks: 0,
            openings: Vec::new(),
            phases: Vec::new(),
            places: BTreeMap::new(),
            grants: Vec::new(),
            by_booking: HashMap::new(),
            booked: HashMap::new(),
            waits: HashMap::new(),
            entries: HashMap::new(),
            orders: Orders::default(),
            asked: HashSet::new(),
            epochs: Vec::new(),
            events: Vec::new(),
            limits: Limits::default(),
            times: Vec::new(),
            generations: Generations::default(),
            journal: Journal::default(),
            wrong,
        }
    }
}

impl Facts {
    /// Reads the whole ledger; `archive`: where generations lie whose streams are
    /// gone.
    ///
    /// # Errors
    ///
    /// [`AuditError`] where it cannot be read, or is damaged.
    pub async fn of(ledger: &Ledger, archive: Option<&Archive>) -> Result<Self, AuditError> {
        let mut facts = Self::default();
        scan(ledger, archive, |read| facts.fold(read)).await?;
        Ok(facts)
    }

    /// What is told of an opening's seed. None: its order has none.
    pub fn seed(&self, opening: &str) -> Option<PublishedSeed> {
        let record = self.openings.iter().find(|record| record.id == opening)?;
        self.orders.published(record.ordinal)
    }

    /// What of an opening's draw is published; none: it was not drawn.
    pub fn extract(&self, opening: &str) -> Option<Extract> {
        let record = self.openings.iter().find(|record| record.id == opening)?;
        self.orders.extract(self.ledger(), record)
    }

    /// The ledger's last sequence, without foreign messages that nothing valid follows.
    pub fn tail(&self) -> u64 {
        self.chain.position().seq
    }

    pub fn ledger(&self) -> LedgerId {
        self.chain.ledger.unwrap_or(LedgerId([0; 16]))
    }

    /// Bookings in the ledger.
    pub fn bookings(&self) -> usize {
        self.grants.len()
    }

    /// Blocks left behind by deposed writers; every reader skips them.
    pub fn voids(&self) -> u64 {
        self.voids
    }

    /// Messages that no writer of the ledger put there; every reader skips them.
    pub fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Foreign messages at the end of the ledger, that nothing valid follows yet.
    pub fn doubt(&self) -> Option<Doubt> {
        self.chain.doubt
    }

    /// Messages of all generations: fewer than the last sequence says, since each
    /// generation leaves a gap.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Quota and places of live bookings, by opening, office, date and session.
    pub fn slots(&self) -> Vec<(String, String, String, String, u16, u32)> {
        let slots = self.places.iter().filter_map(|((opening, index), places)| {
            let opening = self.openings.get(*opening as usize)?;
            let (slot, office, session) = opening.place(*index)?;
            Some((
                opening.id.clone(),
                office.id.clone(),
                slot.date.to_string(),
                session.id.clone(),
                places.quota as u16,
                places.live.len() as u32,
            ))
        });
        slots.collect()
    }

    /// The slots of openings in memory, by key.
    pub(super) fn free_places(&self) -> Vec<(String, ShownSlot)> {
        let slots = self.places.iter().filter_map(|((ordinal, index), places)| {
            let opening = self.openings.get(*ordinal as usize)?;
            let last = opening.slots.iter().map(|slot| slot.date).max()?;
            // Nobody tells of an opening whose days are over.
            let now = self.chain.time.to_string();
            if now.get(..10)? > last.to_string().as_str() {
                return None;
            }
            let (slot, office, session) = opening.place(*index)?;
            let key = format!("{}.{}.{}.{}", opening.id, office.id, slot.date, session.id);
            let late = self.chain.time >= slot.bookable_until;
            let (quota, offered) = (places.quota, places.offered());
            let (reserved, halted) = (places.reserved, places.halted);
            Some((key, ShownSlot { quota, offered, reserved, halted, late }))
        });
        slots.collect()
    }

    /// What a store at the ledger's end holds.
    pub(super) fn stored(&self) -> Vec<Stored> {
        let stored = |fact: &Fact| {
            let opening = self.openings.get(fact.grant.opening as usize)?;
            let (slot, office, session) = opening.place(fact.slot)?;
            let held = fact.status == Status::Held;
            let grant = &fact.grant;
            Some(Stored {
                id: grant.booking.to_string(),
                version: fact.version,
                opening: opening.id.clone(),
                office: office.id.clone(),
                date: slot.date.to_string(),
                session: session.id.clone(),
                status: fact.status.name().to_owned(),
                request_id: grant.request_id.clone(),
                content: grant.content.to_string(),
                reference: grant.reference.clone(),
                account: grant.account.map(|account| account.to_hex()),
                channel: grant.channel.clone(),
                granted_at: fact.granted_at.to_string(),
                hold_expires_at: fact.hold.filter(|_| held).map(|at| at.to_string()),
                payment: fact.payment.clone(),
                refunds: fact.refunds,
                ledger_seq: fact.changed_at,
                seats: fact
                    .seats
                    .iter()
                    .map(|(seat, active)| (seat.applicant.to_hex(), seat.number, *active))
                    .collect(),
            })
        };
        self.grants.iter().filter_map(stored).collect()
    }

    /// What a store at the ledger's end says operators and engines did.
    pub(super) fn actions(&self) -> Vec<StoredAction> {
        let mut stored: Vec<StoredAction> = Vec::new();
        for action in self.journal.actions() {
            for done in &action.deeds {
                let before = stored.last().filter(|last| last.ledger_seq == action.seq);
                stored.push(StoredAction {
                    ledger_seq: action.seq,
                    place: before.map_or(0, |last| last.place + 1),
                    at: action.time.to_string(),
                    action: done.name.to_owned(),
                    opening: action.opening.as_ref().map(|record| record.id.clone()),
                    slot: done.slot.clone(),
                    value: done.value.clone(),
                    signed: action.signed.clone(),
                });
            }
        }
        stored
    }

    /// The events there should be, in order: id, and booking or receipt.
    pub(super) fn event_ids(&self) -> &[(String, BookingId)] {
        &self.events
    }

    /// The epoch that wrote at a sequence.
    pub(super) fn epoch_at(&self, seq: u64) -> u64 {
        let next = self.epochs.partition_point(|(from, _)| *from <= seq);
        next.checked_sub(1).map_or(0, |i| self.epochs[i].1)
    }

    fn free_at(&self, opening: u32, slot: u32, seq: u64) -> i64 {
        let Some(places) = self.places.get(&(opening, slot)) else { return 0 };
        let next = places.free.partition_point(|(at, _)| *at <= seq);
        let first = || {
            let record = self.openings.get(opening as usize)?;
            record.slots.get(slot as usize).map(|slot| i64::from(slot.quota))
        };
        next.checked_sub(1).map_or_else(|| first().unwrap_or(0), |i| places.free[i].1)
    }

    /// The opening a request meant at a sequence: the one it names, or the one
    /// that was open.
    pub(super) fn opening_at(&self, named: Option<&str>, seq: u64) -> Option<&OpeningRecord> {
        if let Some(id) = named {
            return self.openings.iter().find(|opening| opening.id == id);
        }
        let mut open = HashSet::new();
        for (_, ordinal, opens) in self.phases.iter().filter(|(at, ..)| *at <= seq) {
            if *opens {
                open.insert(*ordinal);
            } else {
                open.remove(ordinal);
            }
        }
        let mut ordinals = open.into_iter();
        match (ordinals.next(), ordinals.next()) {
            (Some(only), None) => self.openings.get(only as usize),
            _ => None,
        }
    }

    /// A slot that fits a choice and had room for the party at a sequence.
    pub(super) fn room(
        &self,
        opening: &OpeningRecord,
        choices: &[Choice],
        party: u32,
        seq: u64,
    ) -> Option<String> {
        // Whoever was told so was decided before the next block was written.
        let next = self.times.partition_point(|(at, _)| *at <= seq);
        let decided = self
            .times
            .get(next)
            .map_or_else(|| self.chain.time.plus_millis(QUIET_MS), |(_, time)| *time);
        let mut fitting = choices.iter().flat_map(|choice| choice.slots(opening));
        fitting.find_map(|index| {
            let free = self.free_at(opening.ordinal, index, seq);
            let (slot, office, session) = opening.place(index)?;
            (free >= i64::from(party) && decided < slot.bookable_until)
                .then(|| format!("{} {} {} had {free} places", office.id, slot.date, session.id))
        })
    }

    /// Whether an applicant had a live booking, or waited, at a sequence: in this
    /// opening, or in any where that counts.
    pub(super) fn has_booked(&self, opening: &OpeningRecord, who: Pseudonym, seq: u64) -> bool {
        let here = (opening.ordinal, who);
        contains(self.booked.get(&here), seq)
            || contains(self.waits.get(&here), seq)
            || (opening.rules.across_openings
                && (0..self.openings.len() as u32)
                    .any(|ordinal| contains(self.booked.get(&(ordinal, who)), seq)))
    }

    /// Whether an applicant had been granted as many bookings as one may, at a
    /// sequence.
    pub(super) fn had_enough(&self, opening: &OpeningRecord, who: Pseudonym, seq: u64) -> bool {
        self.limits.had_enough(opening, who, seq)
    }

    pub(super) fn opening(&self, ordinal: u32) -> Option<&OpeningRecord> {
        self.openings.get(ordinal as usize)
    }

    /// What the ledger alone shows.
    pub(super) fn checks(&self) -> Vec<Check> {
        let wrong = &self.wrong;
        let mut checks = vec![
            wrong.oversell.clone().check("P1", "no grant beyond a slot's quota, at any prefix"),
            wrong.numbers.clone().check("P1", "each queue number is held at most once"),
            wrong.releases.clone().check("P1", "nobody gets a returned place before its release"),
            wrong.twice.clone().check("P3", "one live booking per applicant and opening"),
            wrong.keys.clone().check("P4", "a request has one booking"),
            wrong.states.clone().check("P4", "every change fits the state it meets"),
            self.orders.check(),
            self.generations.check(),
        ];
        let id = |ordinal| self.opening(ordinal).map_or(String::new(), |o| o.id.clone());
        checks.extend(self.orders.awaited(id));
        checks.extend(self.limits.checks());
        checks
    }
}
