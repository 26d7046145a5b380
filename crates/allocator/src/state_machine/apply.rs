//! Applies a block's entries, live or replayed.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use giliran_wire::answer::Phase;
use giliran_wire::event::Kind;
use giliran_wire::ledger::{
    Adjust, Adjustment, BookingContradiction, Contradiction, Damage, DamageKind, DrawRecord, Entry,
    Grant, OpeningRecord, Order, RecordContradiction, Released, ReturnRule, Seal, Seat,
    SnapshotPart,
};
use giliran_wire::snapshot::{PART_BYTES, Unusable};
use giliran_wire::{BookingId, Pseudonym, Timestamp};
use smallvec::SmallVec;

use super::inventory::{SlotInventory, Until, Withheld};
use super::staged::granted;
use super::{Mode, OpeningIndex, StateChange, StateMachine};
use crate::{Booking, DrawEntry, FoundBooking, Opening};

/// A block on its way into the state.
pub(super) struct BlockApplier<'k> {
    pub(super) state: &'k mut StateMachine,
    seq: u64,
    pub(super) time: Timestamp,
    pub(super) mode: Mode,
    pub(super) changes: Vec<StateChange>,
    /// The group that is being read: its opening, round, and grants to come.
    drawing: Option<(u32, u64, u64)>,
    /// The operator's words to the change that is being applied.
    pub(super) reason: Option<Box<str>>,
    /// The opening of the last grant: that of the next one, most often.
    granted_in: Option<Arc<Opening>>,
    /// Changes that happened and are not among `changes`.
    pub(super) untold: u64,
}

impl<'k> BlockApplier<'k> {
    pub(super) fn new(
        state: &'k mut StateMachine,
        seq: u64,
        time: Timestamp,
        mode: Mode,
        entries: usize,
    ) -> Self {
        let changes = Vec::with_capacity(if mode == Mode::QuietReplay { 0 } else { entries });
        let (drawing, reason, granted_in) = (None, None, None);
        Self { state, seq, time, mode, changes, drawing, reason, granted_in, untold: 0 }
    }

    /// What the block changed, and how much beside it.
    pub(super) fn end(self) -> Result<(Vec<StateChange>, u64), Damage> {
        match self.drawing {
            None => Ok((self.changes, self.untold)),
            Some((opening, round, _)) => {
                Err(self.damage(Contradiction::GroupIncomplete { opening, round }))
            }
        }
    }

    /// An entry will be applied soon: has what a grant touches fetched from memory meanwhile.
    pub(super) fn fetch(&self, entry: &Entry) {
        let Entry::Grant(grant) = entry else { return };
        self.state.allocator.bookings.fetch(&grant.booking);
        if let (Some(opening), Some(seat)) = (&self.granted_in, grant.seats.first()) {
            opening.claims.fetch(&seat.applicant);
        }
    }

    pub(super) fn entry(&mut self, entry: Entry) -> Result<(), Damage> {
        match entry {
            Entry::Genesis(genesis) => {
                if genesis.continues.is_some() && self.state.genesis.is_none() {
                    self.state.begin_restoring();
                } else if genesis.rebuilt.is_some() {
                    // No seal has named the state.
                    self.state.sealed = Some(self.state.parts(PART_BYTES).state());
                }
                self.state.genesis = Some(genesis);
            }
            Entry::TakeOver(_) | Entry::Rejections(_) => {}
            Entry::Opening(record) => self.record_opening(*record)?,
            Entry::Opened { opening } => self.move_phase(opening, Phase::Open)?,
            Entry::Closed { opening } => self.move_phase(opening, Phase::Closed)?,
            Entry::Grant(grant) => self.grant(grant)?,
            Entry::Confirm(confirm) => self.confirm(confirm)?,
            Entry::Cancel(cancel) => self.cancel(cancel)?,
            Entry::Expire(expire) => self.expire(&expire)?,
            Entry::Reschedule(swap) => self.reschedule(swap)?,
            Entry::Released(released) => self.released(&released)?,
            Entry::Adjust(adjust) => self.adjust(&adjust)?,
            Entry::Draw(record) => self.draw(record)?,
            Entry::Snapshot(part) => self.snapshot(&part)?,
            Entry::Seal(seal) => self.seal(&seal)?,
        }
        Ok(())
    }

    /// Whoever folded the generation before holds its state against the seal; who
    /// begins here takes the parts.
    fn seal(&mut self, seal: &Seal) -> Result<(), Damage> {
        if self.mode != Mode::Live && self.state.parts(PART_BYTES).state() != seal.snapshot {
            return Err(self.damaged(DamageKind::SealedOtherState));
        }
        self.state.sealed = Some(seal.snapshot);
        Ok(())
    }

    fn snapshot(&mut self, part: &SnapshotPart) -> Result<(), Damage> {
        let Some(mut restoring) = self.state.restoring.take() else {
            return if self.state.sealed == Some(part.state) {
                Ok(())
            } else {
                Err(self.damaged(DamageKind::SnapshotOfOtherState))
            };
        };
        let seq = self.seq;
        let broken = |why: Unusable| Damage::new(seq, DamageKind::Snapshot(why));
        self.state.restore_part(&part.bytes, &mut restoring).map_err(broken)?;
        if part.part + 1 < part.parts {
            self.state.restoring = Some(restoring);
            return Ok(());
        }
        if self.state.end_restoring(restoring).map_err(broken)? != part.state {
            return Err(broken(Unusable::OtherState));
        }
        self.state.sealed = Some(part.state);
        Ok(())
    }

    fn damaged(&self, kind: DamageKind) -> Damage {
        Damage::new(self.seq, kind)
    }

    pub(super) fn damage(&self, what: Contradiction) -> Damage {
        self.damaged(DamageKind::Contradiction(what))
    }

    pub(super) fn of_booking(&self, id: BookingId, what: BookingContradiction) -> Damage {
        self.damage(Contradiction::Booking { id, what })
    }

    fn record_opening(&mut self, record: OpeningRecord) -> Result<(), Damage> {
        let openings = self.state.allocator.openings.load_full();
        let damage = |what| {
            let id = record.id.clone();
            Err(self.damage(Contradiction::Opening { id, what }))
        };
        if record.ordinal != self.state.next_ordinal {
            return damage(RecordContradiction::Ordinal);
        }
        if self.state.knows_opening(&record.id) {
            return damage(RecordContradiction::Twice);
        }
        if let Some(twin) = named_twice(&record) {
            return damage(twin);
        }
        let known = record.slots.iter().all(|slot| {
            slot.quota > 0
                && record
                    .offices
                    .get(slot.office as usize)
                    .is_some_and(|office| (slot.session as usize) < office.sessions.len())
        });
        if !known {
            return damage(RecordContradiction::Slot);
        }
        let inventories = record.slots.iter().map(|slot| SlotInventory::new(slot.quota)).collect();
        self.state.next_ordinal += 1;
        let opening = Arc::new(self.state.with_room(record));
        let index = OpeningIndex::new(Arc::clone(&opening), inventories);
        self.state.openings.insert(opening.record().ordinal, index);
        self.state.allocator.openings.store(Arc::new(openings.with(opening)));
        Ok(())
    }

    pub(super) fn opening(&self, ordinal: u32) -> Result<Arc<Opening>, Damage> {
        let openings = self.state.allocator.openings.load();
        let opening = openings.get(ordinal).map(Arc::clone);
        opening.ok_or_else(|| self.damage(Contradiction::UnknownOpening(ordinal)))
    }

    fn move_phase(&mut self, ordinal: u32, to: Phase) -> Result<(), Damage> {
        let opening = self.opening(ordinal)?;
        let from = opening.phase();
        // An operator may extend an opening that has closed.
        let follows = matches!(
            (from, to),
            (Phase::Scheduled | Phase::Closed, Phase::Open) | (Phase::Open, Phase::Closed)
        );
        if !follows {
            return Err(self.damage(Contradiction::Phase { opening: ordinal, from, to }));
        }
        if to == Phase::Open && !self.is_committed(&opening) {
            return Err(self.damage(Contradiction::NotCommitted(ordinal)));
        }
        if to == Phase::Open {
            let (opens_at, closes_at) = opening.window();
            opening.set_took_place(opening.took_place() || opens_at < closes_at);
        }
        opening.set_phase(to);
        Ok(())
    }

    fn grant(&mut self, grant: Grant) -> Result<(), Damage> {
        let id = grant.booking;
        let opening = match self.granted_in.take() {
            Some(last) if last.record().ordinal == grant.opening => last,
            _ => self.opening(grant.opening)?,
        };
        self.granted_in = Some(Arc::clone(&opening));
        if grant.slot >= opening.slots() {
            return Err(self.of_booking(id, BookingContradiction::NoSlot));
        }
        let entry = self.drawn_for(&grant, &opening).map_err(|what| self.of_booking(id, what))?;
        let drawn = entry.is_some();
        if grant.seats.is_empty() {
            return Err(self.of_booking(id, BookingContradiction::NoApplicant));
        }
        let live = self.mode == Mode::Live;
        if live && !drawn && !self.state.numbered.remove(&id) {
            return Err(self.of_booking(id, BookingContradiction::NotNumbered));
        }
        let places = grant.seats.len() as u32;
        // Entered into the opening's own draw: the account's places were counted
        // then.
        let counted = entry.is_some_and(|entry| !entry.entry.waits);
        self.occupy(&opening, grant.slot, &grant.seats, live && !drawn)
            .map_err(|what| self.of_booking(id, what))?;
        if let Some(account) = grant.account.filter(|_| !counted) {
            opening.accounts.grant(account, places, live);
        }
        let booking = Arc::new(Booking::new(grant, self.time, self.state.chain.number));
        if self.state.allocator.bookings.insert(booking.id, Arc::clone(&booking)).is_some() {
            return Err(self.of_booking(id, BookingContradiction::Twice));
        }
        for seat in &booking.seats {
            // In a replay, a claim that is being decided loses to the ledger:
            // whoever holds its grant abandons it.
            let granted = opening.claims.grant(seat.applicant, Arc::clone(&booking), live);
            granted.map_err(|_| self.of_booking(id, BookingContradiction::SecondBooking))?;
        }
        if let Some(until) = booking.hold_expires_at() {
            self.state.holds.insert((until, id));
        }
        if let Some(index) = self.state.openings.get_mut(&booking.opening) {
            index.made.push(id);
        }
        if self.mode == Mode::QuietReplay {
            self.untold += 1;
        } else {
            self.changes.push(granted(&booking, &opening));
        }
        Ok(())
    }

    /// The entry that a grant was drawn for, which ends with it; none: it was not drawn.
    ///
    /// # Errors
    ///
    /// Where the opening, or the group that has begun, does not give such a grant.
    fn drawn_for(
        &mut self,
        grant: &Grant,
        opening: &Opening,
    ) -> Result<Option<Arc<DrawEntry>>, BookingContradiction> {
        let grouped = match &mut self.drawing {
            Some((ordinal, _, left)) if *ordinal == grant.opening && *left > 0 => {
                *left -= 1;
                true
            }
            Some(_) => return Err(BookingContradiction::OtherGroup),
            None => false,
        };
        let entry = if grouped { self.end_entry(&grant.booking) } else { None };
        let drawn = entry.is_some();
        let leftover = !grouped && opening.gives_leftovers();
        match (grouped, drawn, &opening.record().rules.order) {
            (true, false, Order::FirstCome | Order::Draw) => {
                return Err(BookingContradiction::NotEntered);
            }
            (false, _, Order::Rounds { .. } | Order::Draw) if !leftover => {
                return Err(BookingContradiction::NoGroup);
            }
            _ => {}
        }
        if !drawn && !leftover && opening.phase() != Phase::Open {
            return Err(BookingContradiction::Phase(opening.phase()));
        }
        Ok(entry)
    }

    /// A live booking has these seats from here on. `taken`: every number was
    /// taken for this block; otherwise those that [`PendingBlock`](super::PendingBlock)
    /// lists.
    pub(super) fn occupy(
        &mut self,
        opening: &Opening,
        slot: u32,
        seats: &[Seat],
        taken: bool,
    ) -> Result<(), BookingContradiction> {
        let ordinal = opening.record().ordinal;
        let listed = |this: &mut Self, number| {
            this.mode == Mode::Live && this.state.in_block.taken.remove(&(ordinal, slot, number))
        };
        let mut ended: Vec<Withheld> = Vec::new();
        let of_block: SmallVec<[bool; 1]> =
            seats.iter().map(|seat| taken || listed(self, seat.number)).collect();
        let inventory = self.state.inventory(ordinal, slot);
        let before = inventory.available();
        let mut already = 0;
        for (seat, taken) in seats.iter().zip(of_block) {
            already += i32::from(taken);
            match inventory.occupy(seat.number, taken) {
                Ok(withheld) => ended.extend(withheld),
                Err(()) => return Err(BookingContradiction::NumberTaken(seat.number)),
            }
        }
        let after = inventory.available();
        if after < 0 && after < before {
            return Err(BookingContradiction::Oversold);
        }
        show(opening, slot, inventory, before, already);
        ended.iter().for_each(|withheld| self.no_longer_due(ordinal, slot, withheld));
        Ok(())
    }

    fn no_longer_due(&mut self, opening: u32, slot: u32, withheld: &Withheld) {
        let key = |at| (at, opening, slot, withheld.number);
        match withheld.until {
            Until::At(at) => self.state.delayed.remove(&key(at)),
            Until::Draw { at, .. } => self.state.collected.remove(&key(at)),
        };
    }

    /// A live booking gives seats back, or (`expired`) has run out. `release_at` as
    /// the entry has it.
    pub(super) fn give_back(
        &mut self,
        opening: &Opening,
        slot: u32,
        seats: &[Seat],
        release_at: Option<Timestamp>,
        expired: bool,
    ) {
        let ordinal = opening.record().ordinal;
        let until = match release_at {
            Some(at) if at <= self.time => None,
            Some(at) => Some(Until::At(at)),
            None => Some(until_draw(opening, self.time, expired)),
        };
        let state = &mut *self.state;
        for seat in seats {
            match until {
                Some(Until::At(at)) => state.delayed.insert((at, ordinal, slot, seat.number)),
                Some(Until::Draw { at, .. }) => {
                    state.collected.insert((at, ordinal, slot, seat.number))
                }
                None => false,
            };
        }
        let inventory = state.inventory(ordinal, slot);
        let before = inventory.available();
        seats.iter().for_each(|seat| inventory.give_back(seat.number, until));
        show(opening, slot, inventory, before, 0);
    }

    pub(super) fn found(&self, id: &BookingId) -> Result<FoundBooking, Damage> {
        let found = self.state.allocator.booking(id).and_then(|b| self.state.allocator.found(b));
        found.ok_or_else(|| self.damage(Contradiction::UnknownBooking(*id)))
    }

    /// Puts the next version of a booking in its place.
    pub(super) fn renew(
        &mut self,
        kind: Kind,
        before: FoundBooking,
        next: Booking,
        payment: Option<Box<str>>,
    ) {
        let next = Arc::new(next);
        self.state.allocator.bookings.insert(next.id, Arc::clone(&next));
        for seat in &next.seats {
            before.opening.claims.renew(seat.applicant, &next);
        }
        let after = FoundBooking { booking: next, opening: before.opening };
        let before = Some(before.booking);
        let reason = self.reason.take();
        self.changes.push(StateChange::Booking { kind, before, after, payment, reason });
    }

    fn released(&mut self, released: &Released) -> Result<(), Damage> {
        let opening = self.opening(released.opening)?;
        if released.slot >= opening.slots() {
            return Err(self.damage(Contradiction::ReleaseInNoSlot));
        }
        let (ordinal, slot) = (released.opening, released.slot);
        let before = self.state.inventory(ordinal, slot).available();
        for number in &released.numbers {
            match self.state.inventory(ordinal, slot).release(*number) {
                Some(withheld) => self.no_longer_due(ordinal, slot, &withheld),
                None => return Err(self.damage(Contradiction::NotWithheld(*number))),
            }
        }
        show(&opening, slot, self.state.inventory(ordinal, slot), before, 0);
        Ok(())
    }

    fn adjust(&mut self, adjust: &Adjust) -> Result<(), Damage> {
        let opening = self.opening(adjust.opening)?;
        let slot = match &adjust.change {
            Adjustment::ClosesAt { closes_at } => {
                opening.set_closes_at(*closes_at);
                return Ok(());
            }
            Adjustment::Beacon { .. } => return Ok(()),
            Adjustment::Quota { slot, .. }
            | Adjustment::Reserve { slot, .. }
            | Adjustment::Halt { slot, .. } => *slot,
        };
        if slot >= opening.slots() {
            return Err(self.damage(Contradiction::AdjustmentOfNoSlot));
        }
        let inventory = self.state.inventory(adjust.opening, slot);
        let before = inventory.available();
        match adjust.change {
            Adjustment::Quota { quota, .. } => inventory.quota = quota,
            Adjustment::Reserve { places, .. } => inventory.reserved = places,
            Adjustment::Halt { halted, .. } => inventory.halted = halted,
            Adjustment::ClosesAt { .. } | Adjustment::Beacon { .. } => {}
        }
        show(&opening, slot, inventory, before, 0);
        Ok(())
    }

    fn draw(&mut self, record: DrawRecord) -> Result<(), Damage> {
        match record {
            DrawRecord::Committed { opening, commitment, beacon } => {
                self.committed(opening, commitment, beacon)?;
            }
            DrawRecord::Root { opening, root, entries } => self.rooted(opening, root, entries)?,
            DrawRecord::Revealed { opening, seed, beacon } => {
                self.revealed(opening, seed, beacon)?;
            }
            DrawRecord::Entered(entry) if entry.waits => self.entered(*entry)?,
            DrawRecord::Entered(entry) => self.enter_draw(*entry)?,
            DrawRecord::Withdrawn { receipt, .. } => self.withdrawn(&receipt)?,
            DrawRecord::NotDrawn { receipt } => {
                let waiting = self.end_entry(&receipt);
                let waiting =
                    waiting.ok_or_else(|| self.damage(Contradiction::NotDrawnNotEntered))?;
                self.end_account(&waiting);
                let opening = self.opening(waiting.entry.opening)?;
                self.changes.push(StateChange::Entry { kind: Kind::NotDrawn, waiting, opening });
            }
            DrawRecord::GroupBegin { opening, round, grants } => {
                let last = self.state.openings.get(&opening).map(|index| index.draws);
                // A round that does not fit one block has further groups.
                let further = last == Some(round) && self.has_rounds(opening);
                let fits = further || last.map(|last| last + 1) == Some(round);
                if self.drawing.is_some() || !fits {
                    return Err(self.damage(Contradiction::GroupOutOfOrder(round)));
                }
                self.drawing = Some((opening, round, grants));
            }
            DrawRecord::GroupEnd { opening, round } => {
                if self.drawing.take() != Some((opening, round, 0)) {
                    return Err(self.damage(Contradiction::OtherGroup(round)));
                }
                if let Some(index) = self.state.openings.get_mut(&opening) {
                    index.draws = round;
                }
            }
        }
        Ok(())
    }

    fn has_rounds(&self, ordinal: u32) -> bool {
        let openings = self.state.allocator.openings.load();
        let order = openings.get(ordinal).map(|opening| &opening.record().rules.order);
        matches!(order, Some(Order::Rounds { .. }))
    }
}

/// The release whose draw an entry takes part in.
pub(super) fn draw_of(opening: &Opening, waiting: &DrawEntry) -> Timestamp {
    opening.calendar.next(&opening.releases(), waiting.since).unwrap_or(waiting.since)
}

/// The draw that a number waits for which came back then.
pub(super) fn until_draw(opening: &Opening, since: Timestamp, expired: bool) -> Until {
    let rules = &opening.record().rules;
    let at = match if expired { &rules.expired } else { &rules.cancelled } {
        ReturnRule::At { minutes } => opening.calendar.next(minutes, since),
        ReturnRule::Immediate | ReturnRule::Delayed { .. } => None,
    };
    Until::Draw { at: at.unwrap_or(since), since, expired }
}

/// Shows a slot's places to those who decide. `already`: places that were taken
/// from the counter before.
pub(super) fn show(
    opening: &Opening,
    slot: u32,
    inventory: &SlotInventory,
    before: i32,
    already: i32,
) {
    let available = inventory.available();
    // Nothing for a grant that took its places when it was decided: the hot slot's counter
    // is left to those who decide.
    let given = available - before + already;
    if given != 0 {
        opening.free[slot as usize].give(given);
    }
    opening.durably_free.set(slot, available);
    opening.withheld.set(slot, inventory.unavailable());
    opening.quotas.set(slot, inventory.quota.into());
    opening.reserved.set(slot, inventory.reserved.into());
    opening.halted.set(slot, inventory.halted.into());
    opening.next_release.set(slot, inventory.next_release());
}

/// What of a record bears a name that something else of it bears too: no
/// request could mean one of the two.
fn named_twice(record: &OpeningRecord) -> Option<RecordContradiction> {
    fn distinct<T: Eq + Hash>(names: impl IntoIterator<Item = T>) -> bool {
        let mut seen = HashSet::new();
        names.into_iter().all(|name| seen.insert(name))
    }
    if !distinct(record.offices.iter().map(|office| &office.id)) {
        Some(RecordContradiction::TwinOffices)
    } else if !record.offices.iter().all(|o| distinct(o.sessions.iter().map(|s| &s.id))) {
        Some(RecordContradiction::TwinSessions)
    } else if !distinct(record.slots.iter().map(|s| (s.office, s.session, s.date))) {
        Some(RecordContradiction::TwinSlots)
    } else {
        None
    }
}

/// The people of a party, sorted, as claims want them.
pub(super) fn sorted(people: impl IntoIterator<Item = Pseudonym>) -> Vec<Pseudonym> {
    let mut party: Vec<Pseudonym> = people.into_iter().collect();
    party.sort_unstable();
    party
}
