//! What the ledger says, by a plain model of its own: slow and obvious, and no
//! code shared with those who wrote it.

use std::collections::{BTreeMap, HashMap, HashSet};

use giliran_nats::ledger::Ledger;
use giliran_nats::ledger::archive::Archive;
use giliran_nats::ledger::scan::{Scanned, scan};
use giliran_persist::{Stored, StoredAction};
use giliran_verify::draw::Extract;
use giliran_wire::answer::{FreePlaces, Status};
use giliran_wire::client_log::Choice;
use giliran_wire::event::EventId;
use giliran_wire::ledger::journal::Journal;
use giliran_wire::ledger::{
    Adjustment, Block, Cancel, CancelCause, Chain, Confirm, Doubt, DrawRecord, Entry, Grant,
    OpeningRecord, Order, Reading, Reschedule, Seat,
};
use giliran_wire::{BookingId, LedgerId, Pseudonym, Timestamp};

use super::generations::Generations;
use super::limits::{Limits, Way};
use super::orders::{Orders, PublishedSeed};
use super::{AuditError, Check, Findings};

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

    fn fold(&mut self, read: Scanned<'_>) -> Result<(), AuditError> {
        let Scanned { seq, bytes, reading, chain } = read;
        self.chain.clone_from(chain);
        self.blocks += 1;
        self.generations.fold(seq, bytes, &reading);
        let block = match reading {
            Reading::Valid(block) => block,
            Reading::Void => {
                self.voids += 1;
                return Ok(());
            }
            Reading::Foreign(_) => {
                self.foreign += 1;
                return Ok(());
            }
        };
        if self.epochs.last().is_none_or(|(_, epoch)| *epoch != block.epoch) {
            self.epochs.push((seq, block.epoch));
        }
        let Block { time, entries, .. } = block;
        self.journal.read(seq, time, &entries);
        self.times.push((seq, time));
        let mut drawing = false;
        let mut n = 0;
        for entry in entries {
            let refund = matches!(&entry, Entry::Cancel(cancel) if cancel.refund_due);
            let about = match entry {
                Entry::Draw(record) => self.draw_record((seq, time), record, &mut drawing),
                entry => self.entry((seq, time), entry, drawing),
            };
            let Some(booking) = about else { continue };
            // A refund is an event of its own.
            for _ in 0..=u32::from(refund) {
                let id = EventId { ledger: self.ledger(), seq, n };
                self.events.push((id.to_string(), booking));
                n += 1;
            }
        }
        Ok(())
    }

    /// Takes in an entry that stands at this sequence and time, and in a group of a draw or
    /// not; which booking it is about.
    fn entry(
        &mut self,
        (seq, time): (u64, Timestamp),
        entry: Entry,
        drawing: bool,
    ) -> Option<BookingId> {
        match entry {
            Entry::Opening(record) => {
                for (slot, of) in record.slots.iter().enumerate() {
                    let places = SlotModel { quota: of.quota.into(), ..SlotModel::default() };
                    self.places.insert((record.ordinal, slot as u32), places);
                }
                self.limits.recorded(seq, &record);
                self.openings.push(*record);
            }
            Entry::Opened { opening } => {
                self.phases.push((seq, opening, true));
                self.limits.phase(opening, true);
            }
            Entry::Closed { opening } => {
                self.phases.push((seq, opening, false));
                self.limits.phase(opening, false);
            }
            Entry::Grant(grant) => {
                let id = grant.booking;
                let way = self.way(&id);
                self.orders.grant(seq, &grant, drawing);
                if let Some(record) = self.openings.get(grant.opening as usize) {
                    self.limits.granted((seq, time), record, &grant, way);
                }
                // What a round decides has not entered before.
                let entered = drawing && !self.has_rounds(grant.opening);
                self.grant(seq, time, grant, entered || self.entries.contains_key(&id));
                return Some(id);
            }
            Entry::Confirm(confirm) => return Some(self.confirm(seq, time, confirm)),
            Entry::Cancel(cancel) => return Some(self.cancel(seq, time, &cancel)),
            Entry::Expire(expire) => {
                let id = expire.booking;
                self.end(seq, time, id, None, Status::Expired, expire.release_at);
                return Some(id);
            }
            Entry::Reschedule(swap) => return Some(self.reschedule(seq, time, &swap)),
            Entry::Released(released) => {
                self.released(seq, time, released.opening, released.slot, &released.numbers);
            }
            Entry::Adjust(adjust) => {
                if let Adjustment::Beacon { value } = &adjust.change {
                    self.orders.handed_in(adjust.opening, value);
                }
                self.adjust(seq, adjust.opening, &adjust.change);
            }
            Entry::Genesis(_)
            | Entry::TakeOver(_)
            | Entry::Draw(_)
            | Entry::Rejections(_)
            | Entry::Snapshot(_)
            | Entry::Seal(_) => {}
        }
        None
    }

    /// The same of a record of a draw; `drawing`: a group of it has begun.
    fn draw_record(
        &mut self,
        (seq, time): (u64, Timestamp),
        record: DrawRecord,
        drawing: &mut bool,
    ) -> Option<BookingId> {
        match record {
            DrawRecord::GroupBegin { opening, round, .. } => {
                *drawing = true;
                self.orders.group(opening, round, self.has_rounds(opening));
            }
            DrawRecord::GroupEnd { .. } => *drawing = false,
            DrawRecord::Revealed { opening, seed, beacon } => {
                if let Some(record) = self.openings.get(opening as usize) {
                    self.orders.revealed((seq, time), self.ledger(), record, seed, beacon);
                }
            }
            DrawRecord::Entered(entry) => {
                self.orders.entered(&entry);
                for who in &entry.applicants {
                    self.waits.entry((entry.opening, *who)).or_default().push((seq, None));
                }
                self.entries.insert(entry.receipt, (entry.opening, entry.applicants));
                return Some(entry.receipt);
            }
            DrawRecord::Withdrawn { receipt, .. } => {
                self.orders.withdrawn(&receipt);
                self.end_entry(seq, &receipt);
                return Some(receipt);
            }
            DrawRecord::NotDrawn { receipt } => {
                self.orders.not_drawn(seq, &receipt);
                self.end_entry(seq, &receipt);
                return Some(receipt);
            }
            DrawRecord::Committed { opening, commitment, beacon } => {
                self.orders.committed(opening, commitment, beacon);
            }
            DrawRecord::Root { opening, root, entries } => {
                let places = self.places.range((opening, 0)..=(opening, u32::MAX));
                let places = places.map(|(_, places)| places.offered().max(0) as u32);
                let places: Vec<u32> = places.collect();
                if let Some(record) = self.openings.get(opening as usize) {
                    self.orders.root(seq, self.ledger(), record, places, (root, entries));
                }
            }
        }
        None
    }

    /// How the booking that is about to be granted comes about.
    fn way(&self, id: &BookingId) -> Way {
        if self.orders.draws_for(id) {
            Way::Draw
        } else if self.entries.contains_key(id) {
            Way::Release
        } else {
            Way::Asked
        }
    }

    fn has_rounds(&self, ordinal: u32) -> bool {
        let order = self.openings.get(ordinal as usize).map(|opening| &opening.rules.order);
        matches!(order, Some(Order::Rounds { .. }))
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

    /// A live booking takes numbers of a slot.
    fn take(&mut self, seq: u64, at: (u32, u32), id: BookingId, seats: &[Seat], returned: bool) {
        let Some(places) = self.places.get_mut(&at) else { return };
        let before = places.offered();
        for seat in seats {
            let in_range = seat.number > 0 && i64::from(seat.number) <= places.quota;
            let withheld = places.withheld.remove(&seat.number).is_some();
            let other = places.live.insert(seat.number, id);
            let fine = in_range && other.is_none();
            self.wrong.numbers.look(fine, || {
                format!("sequence {seq}: number {} a second time or out of range", seat.number)
            });
            self.wrong.releases.look(!withheld || returned, || {
                format!("sequence {seq}: number {} was not released yet", seat.number)
            });
        }
        let after = places.offered();
        self.wrong.oversell.look(after >= 0 || after >= before, || {
            format!("sequence {seq}: booking {id} leaves {after} places")
        });
        places.free.push((seq, after));
    }

    /// A booking gives numbers of its slot back.
    fn give(
        &mut self,
        seq: u64,
        time: Timestamp,
        at: (u32, u32),
        seats: &[Seat],
        release_at: Option<Timestamp>,
    ) {
        let Some(places) = self.places.get_mut(&at) else { return };
        for seat in seats {
            places.live.remove(&seat.number);
            if release_at.is_none_or(|at| at > time) {
                places.withheld.insert(seat.number, release_at);
            }
        }
        let free = places.offered();
        places.free.push((seq, free));
    }

    fn book(&mut self, seq: u64, opening: u32, id: BookingId, seats: &[Seat]) {
        for seat in seats {
            let spans = self.booked.entry((opening, seat.applicant)).or_default();
            let free = spans.iter().all(|(_, to)| to.is_some());
            self.wrong
                .twice
                .look(free, || format!("sequence {seq}: booking {id} is an applicant's second"));
            spans.push((seq, None));
        }
    }

    fn leave(&mut self, seq: u64, opening: u32, seats: &[Seat]) {
        for seat in seats {
            let spans = self.booked.entry((opening, seat.applicant)).or_default();
            if let Some((_, to)) = spans.last_mut() {
                *to = Some(seq);
            }
        }
    }

    fn grant(&mut self, seq: u64, time: Timestamp, grant: Grant, drawn: bool) {
        let (opening, slot, id) = (grant.opening, grant.slot, grant.booking);
        self.take(seq, (opening, slot), id, &grant.seats, drawn);
        self.book(seq, opening, id, &grant.seats);
        if let Some(first) = grant.seats.first() {
            let key = (opening, first.applicant, grant.request_id.clone());
            self.wrong.keys.look(self.asked.insert(key), || {
                format!("sequence {seq}: request {} was granted twice", grant.request_id)
            });
        }
        if drawn {
            self.end_entry(seq, &id);
        }
        let numbers = grant.seats.iter().map(|seat| seat.number).collect();
        let place = self.grants.len();
        self.by_booking.insert(id, place);
        self.grants.push(Fact {
            seq,
            place,
            granted_at: time,
            status: if grant.hold_expires_at.is_some() { Status::Held } else { Status::Confirmed },
            version: 1,
            changed_at: seq,
            slot,
            seats: grant.seats.iter().map(|seat| (*seat, true)).collect(),
            payment: None,
            paid: false,
            refunds: 0,
            hold: grant.hold_expires_at,
            versions: vec![(seq, slot, numbers)],
            grant,
        });
    }

    fn end_entry(&mut self, seq: u64, receipt: &BookingId) {
        let entry = self.entries.remove(receipt);
        self.wrong
            .states
            .look(entry.is_some(), || format!("sequence {seq}: {receipt} is no entry that waits"));
        for who in entry.iter().flat_map(|(_, people)| people) {
            let opening = entry.as_ref().map_or(0, |(opening, _)| *opening);
            if let Some((_, to)) =
                self.waits.get_mut(&(opening, *who)).and_then(|spans| spans.last_mut())
            {
                *to = Some(seq);
            }
        }
    }

    /// Changes a booking that is in one of these states.
    fn change(
        &mut self,
        seq: u64,
        id: BookingId,
        allowed: &[Status],
        change: impl FnOnce(&mut Fact),
    ) {
        let fact = self.by_booking.get(&id).and_then(|place| self.grants.get_mut(*place));
        let fine = fact.as_ref().is_some_and(|fact| allowed.contains(&fact.status));
        self.wrong.states.look(fine, || {
            format!("sequence {seq}: booking {id} cannot be changed like this as it stands")
        });
        let Some(fact) = fact else { return };
        change(fact);
        fact.version += 1;
        fact.changed_at = seq;
        let mut numbers: Vec<u16> = fact.active().iter().map(|seat| seat.number).collect();
        if numbers.is_empty() {
            // One that has ended still shows the numbers it had.
            numbers = fact.versions.last().map(|(.., numbers)| numbers.clone()).unwrap_or_default();
        }
        fact.versions.push((seq, fact.slot, numbers));
    }

    fn find(&self, id: &BookingId) -> Option<&Fact> {
        self.by_booking.get(id).map(|place| &self.grants[*place])
    }

    fn confirm(&mut self, seq: u64, time: Timestamp, confirm: Confirm) -> BookingId {
        let id = confirm.booking;
        let revives = confirm.revived.as_ref().map(Vec::len);
        if let Some(fact) = self.find(&id)
            && (revives.is_some() || fact.status == Status::Held)
            && let Some(record) = self.openings.get(fact.grant.opening as usize)
        {
            let (slot, account) = (fact.slot, fact.grant.account);
            self.limits.in_time(seq, time, record, id, slot);
            if let Some(places) = revives {
                self.limits.live(seq, record, id, account, places);
            }
        }
        if let Some(seats) = &confirm.revived {
            let at = self.find(&id).map(|fact| (fact.grant.opening, fact.slot));
            if let Some((opening, slot)) = at {
                self.take(seq, (opening, slot), id, seats, true);
                self.book(seq, opening, id, seats);
            }
        }
        let revived = confirm.revived;
        let allowed: &[Status] = match revived {
            Some(_) => &[Status::Expired],
            None => &[Status::Held, Status::Confirmed, Status::Cancelled, Status::Expired],
        };
        self.change(seq, id, allowed, |fact| {
            if revived.is_some() || fact.status == Status::Held {
                fact.status = Status::Confirmed;
                fact.payment = confirm.reference;
                fact.paid = true;
            } else {
                fact.refunds += 1;
            }
            for seat in revived.iter().flatten() {
                for (own, active) in &mut fact.seats {
                    *active |= own.applicant == seat.applicant;
                }
            }
        });
        id
    }

    fn cancel(&mut self, seq: u64, time: Timestamp, cancel: &Cancel) -> BookingId {
        let id = cancel.booking;
        if cancel.cause == CancelCause::Authority {
            self.wrong.states.look(cancel.reason.is_some(), || {
                format!("sequence {seq}: booking {id} was cancelled without a reason")
            });
        }
        let only = (!cancel.seats.is_empty()).then_some(&cancel.seats[..]);
        let authority = cancel.cause == CancelCause::Authority;
        let due = authority && self.find(&id).is_some_and(|fact| fact.paid);
        self.limits.cancelled(seq, id, due, cancel.refund_due);
        self.end(seq, time, id, only, Status::Cancelled, cancel.release_at);
        if cancel.refund_due {
            self.change(seq, id, &[Status::Cancelled], |fact| fact.refunds += 1);
        }
        id
    }

    /// Ends a booking, or the seats of these people.
    fn end(
        &mut self,
        seq: u64,
        time: Timestamp,
        id: BookingId,
        only: Option<&[Pseudonym]>,
        status: Status,
        release_at: Option<Timestamp>,
    ) {
        let leaves = |seat: &Seat| only.is_none_or(|who| who.contains(&seat.applicant));
        if let Some(fact) = self.find(&id) {
            let (opening, slot) = (fact.grant.opening, fact.slot);
            let seats: Vec<Seat> = fact.active().into_iter().filter(leaves).collect();
            let account = fact.grant.account;
            self.give(seq, time, (opening, slot), &seats, release_at);
            self.leave(seq, opening, &seats);
            self.limits.ended(opening, account, seats.len());
        }
        let allowed: &[Status] = match status {
            Status::Expired => &[Status::Held],
            _ => &[Status::Held, Status::Confirmed],
        };
        self.change(seq, id, allowed, |fact| {
            if only.is_none() {
                fact.status = status;
            }
            for (seat, active) in &mut fact.seats {
                *active &= !leaves(seat);
            }
        });
    }

    fn reschedule(&mut self, seq: u64, time: Timestamp, swap: &Reschedule) -> BookingId {
        let id = swap.booking;
        if let Some(fact) = self.find(&id) {
            let (opening, slot, seats) = (fact.grant.opening, fact.slot, fact.active());
            if let Some(record) = self.openings.get(opening as usize) {
                self.limits.in_time(seq, time, record, id, swap.slot);
                self.limits.moved(seq, record, id, swap.reason.is_some());
            }
            self.take(seq, (opening, swap.slot), id, &swap.seats, false);
            self.give(seq, time, (opening, slot), &seats, swap.release_at);
        }
        self.change(seq, id, &[Status::Held, Status::Confirmed], |fact| {
            fact.slot = swap.slot;
            fact.hold = swap.hold_expires_at.or(fact.hold);
            for (seat, active) in &mut fact.seats {
                if let Some(new) = swap.seats.iter().find(|new| new.applicant == seat.applicant) {
                    (*seat, *active) = (*new, true);
                }
            }
        });
        id
    }

    fn released(&mut self, seq: u64, time: Timestamp, opening: u32, slot: u32, numbers: &[u16]) {
        let Some(places) = self.places.get_mut(&(opening, slot)) else { return };
        for number in numbers {
            let due = places.withheld.remove(number);
            let fine = due.is_some_and(|due| due.is_none_or(|due| due <= time));
            self.wrong.releases.look(fine, || {
                format!("sequence {seq}: number {number} was released before its time")
            });
        }
        let free = places.offered();
        places.free.push((seq, free));
    }

    fn adjust(&mut self, seq: u64, opening: u32, change: &Adjustment) {
        let slot = match change {
            Adjustment::Quota { slot, .. }
            | Adjustment::Reserve { slot, .. }
            | Adjustment::Halt { slot, .. } => *slot,
            Adjustment::ClosesAt { .. } | Adjustment::Beacon { .. } => return,
        };
        let Some(places) = self.places.get_mut(&(opening, slot)) else { return };
        match change {
            Adjustment::Quota { quota, .. } => places.quota = i64::from(*quota),
            Adjustment::Reserve { places: reserved, .. } => places.reserved = i64::from(*reserved),
            Adjustment::Halt { halted, .. } => places.halted = *halted,
            Adjustment::ClosesAt { .. } | Adjustment::Beacon { .. } => {}
        }
        let free = places.offered();
        places.free.push((seq, free));
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
