//! The ledger, read with nothing but the rule of the chain, and folded by a plain
//! model.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use giliran_wire::answer::Status;
use giliran_wire::ledger::{
    Adjustment, Cancel, CancelCause, Chain, Confirm, Entry, Grant, Leftovers, Order, Reading,
    Reschedule, Seat,
};
use giliran_wire::{BlockHash, BookingId, Pseudonym, Timestamp};

use super::orders::Orders;
use crate::world::Run;

/// How far a block's time may be ahead of the true time, ms: as far as a clock may be
/// off at a take-over, and jump twice after it.
const AHEAD_MS: u64 = 180_000;

/// A booking from one change to the next.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) seq: u64,
    pub(super) status: Status,
    pub(super) slot: u32,
    pub(super) seats: Vec<Seat>,
}

#[derive(Debug, Clone, Default)]
struct SlotModel {
    quota: i64,
    reserved: i64,
    halted: bool,
    live: BTreeSet<u16>,
    /// Returned numbers with the time of their release; none: by a draw.
    withheld: BTreeMap<u16, Option<Timestamp>>,
    /// Free places after a sequence.
    free: Vec<(u64, i64)>,
    /// Its quota after a sequence.
    quotas: Vec<(u64, i64)>,
}

impl SlotModel {
    fn offered(&self) -> i64 {
        let free = self.quota - self.reserved - (self.live.len() + self.withheld.len()) as i64;
        if self.halted { free.min(0) } else { free }
    }
}

/// What the ledger says.
pub(super) struct Ledger {
    /// Valid grants with their sequence, in order.
    pub(super) grants: Vec<(u64, Grant)>,
    pub(super) versions: HashMap<BookingId, Vec<Version>>,
    slots: Vec<SlotModel>,
    /// Moves that their people wanted: booking and sequence.
    moves: Vec<(BookingId, u64)>,
    /// Most bookings that anybody may be granted.
    most_granted: usize,
    /// Payments that are to be paid back: booking and request.
    pub(super) refunds: HashSet<(BookingId, String)>,
    pub(super) orders: Orders,
    /// Where it was closed, and opened again: an operator may extend it.
    closed: Vec<(u64, bool)>,
    /// From where on whoever asks can get a place, and cannot.
    gives: Vec<(u64, bool)>,
    draws: bool,
    leaves_first_come: bool,
    /// From here on the opening is not in memory.
    pub(super) retired: Option<u64>,
    opens_at: Timestamp,
    retires_at: Timestamp,
    /// Hashes of all valid blocks.
    pub(super) blocks: HashSet<BlockHash>,
    pub(super) wrong: Vec<String>,
}

impl Ledger {
    pub(super) fn read(run: &Run) -> Result<Self, String> {
        let mut chain = Chain::new();
        let mut ledger = Self::new(run);
        let begin = run.setup.kind.begin();
        for message in run.streams.messages() {
            let (seq, planted) = (message.seq, run.streams.is_planted(message));
            let reading = chain.read_bytes(seq, message.bytes).map_err(|e| e.to_string())?;
            let Reading::Valid(block) = reading else {
                // What an engine sends on ground that was lost may be stored there, where
                // the numbers fit: nobody is told of it.
                let stray = reading == Reading::Void && !run.streams.lost().is_empty();
                if !planted && !stray {
                    let what = format!("P8: sequence {seq} is {reading:?}, and nobody planted it");
                    ledger.wrong.push(what);
                }
                continue;
            };
            if planted {
                ledger.wrong.push(format!("P13: what was planted at {seq} counts"));
            }
            let latest = begin.plus_millis(run.streams.stored_ms(message) + AHEAD_MS);
            if block.time > latest {
                ledger.wrong.push(format!("the clock at {seq} says {}", block.time));
            }
            ledger.blocks.insert(chain.hash);
            let free: Vec<i64> = ledger.slots.iter().map(SlotModel::offered).collect();
            ledger.orders.fold(seq, &block.entries, &free);
            for entry in block.entries {
                ledger.fold(seq, block.time, entry);
            }
            let drawn = ledger.draws && ledger.has_closed(seq) && ledger.orders.is_drawn();
            if drawn && ledger.leaves_first_come && !ledger.gives(seq) {
                ledger.gives.push((seq, true));
            }
            if block.time >= ledger.retires_at && ledger.has_closed(seq) {
                ledger.retired.get_or_insert(seq);
            }
        }
        Ok(ledger)
    }

    fn new(run: &Run) -> Self {
        let slot = |slot: &giliran_wire::ledger::Slot| {
            let quota = slot.quota.into();
            let history = vec![(0, quota)];
            SlotModel { quota, free: history.clone(), quotas: history, ..SlotModel::default() }
        };
        let last = run.opening.slots.iter().map(|slot| slot.date).max();
        let second_midnight = last.map(|day| format!("{day}T00:00:00Z"));
        let second_midnight = second_midnight.and_then(|day| day.parse::<Timestamp>().ok());
        Self {
            grants: Vec::new(),
            versions: HashMap::new(),
            slots: run.opening.slots.iter().map(slot).collect(),
            moves: Vec::new(),
            most_granted: run.opening.rules.max_bookings.into(),
            refunds: HashSet::new(),
            orders: Orders::default(),
            closed: Vec::new(),
            gives: Vec::new(),
            draws: run.setup.order == Order::Draw,
            leaves_first_come: run.opening.rules.leftovers == Leftovers::FirstCome,
            retired: None,
            opens_at: run.opening.opens_at,
            retires_at: second_midnight
                .map_or(Timestamp::LATEST, |day| day.plus_millis(2 * 24 * 3_600_000)),
            blocks: HashSet::new(),
            wrong: Vec::new(),
        }
    }

    fn fold(&mut self, seq: u64, time: Timestamp, entry: Entry) {
        match entry {
            Entry::Closed { .. } => {
                self.closed.push((seq, true));
                self.gives.push((seq, self.leaves_first_come && !self.draws));
            }
            Entry::Opened { .. } => {
                self.closed.push((seq, false));
                self.gives.push((seq, true));
            }
            Entry::Grant(grant) => {
                if !self.gives(seq) && !self.orders.is_entry(&grant.booking) {
                    self.wrong.push(format!("a place was given outside of the window at {seq}"));
                }
                let had_enough =
                    |seat: &Seat| self.granted_to(&seat.applicant, u64::MAX) >= self.most_granted;
                if grant.seats.iter().any(had_enough) {
                    self.wrong.push(format!("an applicant was granted too many at {seq}"));
                }
                let drawn = self.orders.is_entry(&grant.booking);
                self.take(seq, grant.booking, grant.slot, &grant.seats, drawn);
                let (slot, seats) = (grant.slot, grant.seats.to_vec());
                let version = Version { seq, status: Status::Held, slot, seats };
                self.versions.insert(grant.booking, vec![version]);
                self.grants.push((seq, grant));
            }
            Entry::Confirm(confirm) => self.confirm(seq, confirm),
            Entry::Cancel(cancel) => self.cancel(seq, time, &cancel),
            Entry::Expire(expire) => {
                let last = self.last(expire.booking);
                self.expect(seq, &last, &[Status::Held]);
                let seats = last.seats.clone();
                self.give(seq, time, last.slot, &seats, expire.release_at);
                self.next(expire.booking, Version { seq, status: Status::Expired, ..last });
            }
            Entry::Reschedule(swap) => self.reschedule(seq, time, swap),
            Entry::Released(released) => {
                for number in released.numbers {
                    let withheld = &mut self.slots[released.slot as usize].withheld;
                    let due = withheld.remove(&number);
                    if due.is_none_or(|due| due.is_some_and(|due| due > time)) {
                        self.wrong.push(format!("number {number} released before its time, {seq}"));
                    }
                }
                self.count(seq, released.slot);
            }
            Entry::Adjust(adjust) => self.adjust(seq, &adjust.change),
            _ => {}
        }
    }

    fn confirm(&mut self, seq: u64, confirm: Confirm) {
        let last = self.last(confirm.booking);
        if let Some(seats) = confirm.revived {
            self.expect(seq, &last, &[Status::Expired]);
            self.take(seq, confirm.booking, last.slot, &seats, true);
            self.next(confirm.booking, Version { seq, status: Status::Confirmed, seats, ..last });
        } else if last.status == Status::Held {
            self.next(confirm.booking, Version { seq, status: Status::Confirmed, ..last });
        } else {
            self.refunds.insert((confirm.booking, confirm.request_id));
            self.next(confirm.booking, Version { seq, ..last });
        }
    }

    fn cancel(&mut self, seq: u64, time: Timestamp, cancel: &Cancel) {
        let last = self.last(cancel.booking);
        self.expect(seq, &last, &[Status::Held, Status::Confirmed]);
        let leaves =
            |seat: &Seat| cancel.seats.is_empty() || cancel.seats.contains(&seat.applicant);
        let (gone, stay): (Vec<Seat>, Vec<Seat>) = last.seats.iter().partition(|seat| leaves(seat));
        let by_operator = cancel.cause == CancelCause::Authority;
        if by_operator && !stay.is_empty() {
            self.wrong.push(format!("an operator cancelled a part of a booking at {seq}"));
        }
        // Here everybody pays who confirms.
        let paid = by_operator && last.status == Status::Confirmed;
        if cancel.refund_due != paid {
            self.wrong.push(format!("what was paid is not paid back at {seq}, or what was not"));
        }
        self.give(seq, time, last.slot, &gone, cancel.release_at);
        let next = if stay.is_empty() {
            Version { seq, status: Status::Cancelled, ..last }
        } else {
            Version { seq, seats: stay, ..last }
        };
        self.next(cancel.booking, next.clone());
        if paid {
            self.next(cancel.booking, next);
        }
    }

    /// A booking that an operator moves may be held as well.
    fn reschedule(&mut self, seq: u64, time: Timestamp, swap: Reschedule) {
        let last = self.last(swap.booking);
        let allowed = [Status::Confirmed, Status::Held];
        self.expect(seq, &last, &allowed[..1 + usize::from(swap.reason.is_some())]);
        if swap.reason.is_none() {
            self.moves.push((swap.booking, seq));
        }
        let seats = last.seats.clone();
        self.take(seq, swap.booking, swap.slot, &swap.seats, false);
        self.give(seq, time, last.slot, &seats, swap.release_at);
        let (slot, seats) = (swap.slot, swap.seats);
        self.next(swap.booking, Version { seq, slot, seats, ..last });
    }

    fn adjust(&mut self, seq: u64, change: &Adjustment) {
        let slot = match change {
            Adjustment::Quota { slot, quota } => {
                let places = &mut self.slots[*slot as usize];
                places.quota = (*quota).into();
                places.quotas.push((seq, places.quota));
                *slot
            }
            Adjustment::Reserve { slot, places } => {
                self.slots[*slot as usize].reserved = (*places).into();
                *slot
            }
            Adjustment::Halt { slot, halted, .. } => {
                self.slots[*slot as usize].halted = *halted;
                *slot
            }
            // One that ends before it has begun is closed without a word.
            Adjustment::ClosesAt { closes_at } if *closes_at <= self.opens_at => {
                self.closed.push((seq, true));
                return;
            }
            Adjustment::ClosesAt { .. } | Adjustment::Beacon { .. } => return,
        };
        self.count(seq, slot);
    }

    pub(super) fn last(&self, booking: BookingId) -> Version {
        let nothing = Version { seq: 0, status: Status::Cancelled, slot: 0, seats: Vec::new() };
        self.versions.get(&booking).and_then(|v| v.last().cloned()).unwrap_or(nothing)
    }

    fn next(&mut self, booking: BookingId, version: Version) {
        self.versions.entry(booking).or_default().push(version);
    }

    fn expect(&mut self, seq: u64, last: &Version, allowed: &[Status]) {
        if !allowed.contains(&last.status) {
            self.wrong.push(format!("a change at {seq} meets {:?}", last.status));
        }
    }

    fn take(&mut self, seq: u64, id: BookingId, slot: u32, seats: &[Seat], returned: bool) {
        let places = &mut self.slots[slot as usize];
        let before = places.offered();
        for seat in seats {
            let withheld = places.withheld.remove(&seat.number).is_some();
            let fits = (1..=places.quota).contains(&seat.number.into());
            let fresh = places.live.insert(seat.number);
            if ((withheld || !fits) && !returned) || !fresh {
                self.wrong.push(format!("P1: number {} of slot {slot} at {seq}", seat.number));
            }
            let twice = self.versions.iter().any(|(other, versions)| {
                *other != id
                    && versions.last().is_some_and(|version| {
                        version.status.is_live()
                            && version.seats.iter().any(|s| s.applicant == seat.applicant)
                    })
            });
            if twice {
                self.wrong.push(format!("P3: an applicant booked again at {seq}"));
            }
        }
        let after = self.count(seq, slot);
        if after < 0 && after < before {
            self.wrong.push(format!("P1: slot {slot} has {after} places at {seq}"));
        }
    }

    fn give(
        &mut self,
        seq: u64,
        time: Timestamp,
        slot: u32,
        seats: &[Seat],
        release_at: Option<Timestamp>,
    ) {
        let places = &mut self.slots[slot as usize];
        for seat in seats {
            places.live.remove(&seat.number);
            if release_at.is_none_or(|at| at > time) {
                places.withheld.insert(seat.number, release_at);
            }
        }
        self.count(seq, slot);
    }

    fn count(&mut self, seq: u64, slot: u32) -> i64 {
        let places = &mut self.slots[slot as usize];
        let free = places.offered();
        places.free.push((seq, free));
        free
    }

    pub(super) fn free_at(&self, slot: u32, seq: u64) -> i64 {
        most(&self.slots[slot as usize].free, seq, seq)
    }

    /// The most places that a slot had free at any position from one to another.
    pub(super) fn most_free(&self, slot: u32, from: u64, to: u64) -> i64 {
        most(&self.slots[slot as usize].free, from, to)
    }

    /// The highest quota that a slot had at any position from one to another.
    pub(super) fn most_quota(&self, slot: u32, from: u64, to: u64) -> i64 {
        most(&self.slots[slot as usize].quotas, from, to)
    }

    /// How many bookings somebody had been granted by a sequence.
    pub(super) fn granted_to(&self, who: &Pseudonym, seq: u64) -> usize {
        let of = |grant: &Grant| grant.seats.iter().any(|seat| seat.applicant == *who);
        self.grants.iter().filter(|(at, grant)| *at <= seq && of(grant)).count()
    }

    /// How often people had moved a booking by a sequence.
    pub(super) fn moves_of(&self, booking: &BookingId, seq: u64) -> usize {
        self.moves.iter().filter(|(id, at)| id == booking && *at <= seq).count()
    }

    /// The booking as it stood at a sequence, and its version there.
    pub(super) fn at(&self, booking: &BookingId, seq: u64) -> Option<(u32, &Version)> {
        let versions = self.versions.get(booking)?;
        let place = versions.partition_point(|version| version.seq <= seq).checked_sub(1)?;
        Some((place as u32 + 1, &versions[place]))
    }

    /// Whether somebody had a live booking at a sequence.
    pub(super) fn has_booked(&self, who: &Pseudonym, seq: u64) -> bool {
        self.versions.keys().any(|id| {
            self.at(id, seq).is_some_and(|(_, stood)| {
                stood.status.is_live() && stood.seats.iter().any(|s| s.applicant == *who)
            })
        })
    }

    /// Places that an account had at a sequence.
    pub(super) fn places_of(&self, account: &Pseudonym, seq: u64) -> usize {
        let granted = self.grants.iter().filter(|(_, g)| g.account.as_ref() == Some(account));
        let booked = granted.filter_map(|(_, grant)| {
            let (_, stood) = self.at(&grant.booking, seq)?;
            stood.status.is_live().then_some(stood.seats.len())
        });
        booked.sum::<usize>() + self.orders.places_of(account, seq)
    }

    /// True if whoever asks can get a place, as the rules say.
    pub(super) fn gives(&self, seq: u64) -> bool {
        let last = self.gives.iter().rev().find(|(at, _)| *at <= seq);
        last.is_some_and(|(_, gives)| *gives)
    }

    pub(super) fn has_closed(&self, seq: u64) -> bool {
        let last = self.closed.iter().rev().find(|(at, _)| *at <= seq);
        last.is_some_and(|(_, closed)| *closed)
    }

    pub(super) fn has_retired(&self, seq: u64) -> bool {
        self.retired.is_some_and(|retired| retired <= seq)
    }
}

/// The highest of what stood at any position from one to another.
fn most(history: &[(u64, i64)], from: u64, to: u64) -> i64 {
    let first = history.partition_point(|(at, _)| *at <= from).saturating_sub(1);
    let stood = history[first..].iter().take_while(|(at, _)| *at <= to.max(from));
    stood.map(|(_, value)| *value).fold(i64::MIN, i64::max)
}
