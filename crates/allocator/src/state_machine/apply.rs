//! Applies a block's entries, live or replayed.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use giliran_wire::answer::{Phase, Status};
use giliran_wire::event::Kind;
use giliran_wire::ledger::{
    Adjust, Adjustment, BookingContradiction, Cancel, CancelCause, Confirm, Contradiction, Damage,
    DamageKind, DrawEntryRecord, DrawRecord, Entry, EntryContradiction, Expire, Grant,
    OpeningRecord, Order, RecordContradiction, Released, Reschedule, ReturnRule, Seal, Seat,
    SnapshotPart,
};
use giliran_wire::snapshot::{Assembler, PART_BYTES, Piece};
use giliran_wire::{BookingId, Pseudonym, Timestamp};
use smallvec::SmallVec;

use super::inventory::{SlotInventory, Until, Withheld};
use super::{Mode, OpeningIndex, StateChange, StateMachine};
use crate::booking::{PastChange, PastChangeKind};
use crate::change::paid_with;
use crate::claims::ClaimState;
use crate::{Booking, DrawEntry, FoundBooking, Opening};

/// Bookings of retired openings that are forgotten with one block.
const FORGOTTEN_AT_ONCE: usize = 4_096;
/// Withdrawn entries that are known, over all openings, so that a late repetition
/// does not enter again.
const MAX_WITHDRAWN: usize = 1 << 14;

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
    reason: Option<Box<str>>,
    /// The opening of the last grant: that of the next one, most often.
    granted_in: Option<Arc<Opening>>,
}

impl<'k> BlockApplier<'k> {
    pub(super) fn new(
        state: &'k mut StateMachine,
        seq: u64,
        time: Timestamp,
        mode: Mode,
        entries: usize,
    ) -> Self {
        let changes = Vec::with_capacity(entries);
        Self { state, seq, time, mode, changes, drawing: None, reason: None, granted_in: None }
    }

    pub(super) fn end(self) -> Result<Vec<StateChange>, Damage> {
        match self.drawing {
            None => Ok(self.changes),
            Some((opening, round, _)) => {
                Err(self.damage(Contradiction::GroupIncomplete { opening, round }))
            }
        }
    }

    pub(super) fn entry(&mut self, entry: Entry) -> Result<(), Damage> {
        match entry {
            Entry::Genesis(genesis) => {
                if genesis.continues.is_some() && self.state.genesis.is_none() {
                    self.state.restoring = Some(Assembler::default());
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
        if self.mode == Mode::Replay && self.state.parts(PART_BYTES).state() != seal.snapshot {
            return Err(self.damaged(DamageKind::SealedOtherState));
        }
        self.state.sealed = Some(seal.snapshot);
        Ok(())
    }

    fn snapshot(&mut self, part: &SnapshotPart) -> Result<(), Damage> {
        let Some(mut joiner) = self.state.restoring.take() else {
            return if self.state.sealed == Some(part.state) {
                Ok(())
            } else {
                Err(self.damaged(DamageKind::SnapshotOfOtherState))
            };
        };
        let seq = self.seq;
        let broken = |what: String| Damage::new(seq, DamageKind::Snapshot(what));
        let mut pieces = Vec::new();
        let joined = joiner.add(&part.bytes, |piece| match piece {
            Piece::Stand(_) => Err("a stand, which belongs into a file".to_owned()),
            piece => {
                pieces.push(piece);
                Ok(())
            }
        });
        joined.map_err(broken)?;
        for piece in pieces {
            self.state.restore(piece).map_err(broken)?;
        }
        if part.part + 1 < part.parts {
            self.state.restoring = Some(joiner);
            return Ok(());
        }
        if joiner.end().map_err(broken)? != part.state {
            return Err(broken("its hash is another".to_owned()));
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

    fn of_booking(&self, id: BookingId, what: BookingContradiction) -> Damage {
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
        let opening = Arc::new(Opening::new(record));
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
        let booking = Arc::new(Booking::new(grant, self.time));
        if self.state.allocator.bookings.insert(booking.id, Arc::clone(&booking)).is_some() {
            return Err(self.of_booking(id, BookingContradiction::Twice));
        }
        for seat in &booking.seats {
            // In a replay, a claim that is being decided loses to the ledger:
            // whoever holds its grant abandons it.
            match (opening.claims.grant(seat.applicant, Arc::clone(&booking)), self.mode) {
                (ClaimState::Free, Mode::Replay) | (ClaimState::Deciding, _) => {}
                _ => return Err(self.of_booking(id, BookingContradiction::SecondBooking)),
            }
        }
        if let Some(until) = booking.hold_expires_at {
            self.state.holds.insert((until, id));
        }
        if let Some(index) = self.state.openings.get_mut(&booking.opening) {
            index.made.push(id);
        }
        let kind = if booking.status == Status::Held { Kind::Held } else { Kind::Confirmed };
        let after = FoundBooking { booking, opening };
        let (payment, reason) = (None, None);
        self.changes.push(StateChange::Booking { kind, before: None, after, payment, reason });
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
    fn occupy(
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
    fn give_back(
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

    fn found(&self, id: &BookingId) -> Result<FoundBooking, Damage> {
        let found = self.state.allocator.booking(id).and_then(|b| self.state.allocator.found(b));
        found.ok_or_else(|| self.damage(Contradiction::UnknownBooking(*id)))
    }

    /// Puts the next version of a booking in its place.
    fn renew(
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

    fn confirm(&mut self, confirm: Confirm) -> Result<(), Damage> {
        let found = self.found(&confirm.booking)?;
        let reference = confirm.reference.map(String::into_boxed_str);
        let request_id = confirm.request_id.into_boxed_str();
        let payment = reference.clone();
        match (found.booking.status, confirm.revived) {
            (Status::Held, None) => {
                if let Some(until) = found.booking.hold_expires_at {
                    self.state.holds.remove(&(until, found.booking.id));
                }
                let next = found.booking.changed(|booking| {
                    booking.status = Status::Confirmed;
                    let kind = PastChangeKind::Confirmed { reference };
                    booking.change_log_mut().done.push(PastChange { request_id, kind });
                });
                self.renew(Kind::Confirmed, found, next, payment);
            }
            (Status::Expired, Some(seats)) if seats[..] == found.booking.seats[..] => {
                let (slot, account) = (found.booking.slot, found.booking.account);
                let opening = Arc::clone(&found.opening);
                self.occupy(&opening, slot, &seats, false)
                    .map_err(|what| self.of_booking(confirm.booking, what))?;
                if let Some(account) = account {
                    let live = self.mode == Mode::Live;
                    opening.accounts.grant(account, seats.len() as u32, live);
                }
                let next = Arc::new(found.booking.changed(|booking| {
                    booking.status = Status::Confirmed;
                    let kind = PastChangeKind::Confirmed { reference };
                    booking.change_log_mut().done.push(PastChange { request_id, kind });
                }));
                for seat in &seats {
                    match opening.claims.revive(seat.applicant, &next) {
                        ClaimState::Granted(_) => {
                            let what = BookingContradiction::RevivedBesideAnother;
                            return Err(self.of_booking(next.id, what));
                        }
                        ClaimState::Free | ClaimState::Deciding => {}
                    }
                }
                let next = Booking::clone(&next);
                self.renew(Kind::Confirmed, found, next, payment);
            }
            (_, None) => {
                let next = found.booking.changed(|booking| {
                    let kind = PastChangeKind::Refund { reference };
                    booking.change_log_mut().done.push(PastChange { request_id, kind });
                });
                self.renew(Kind::RefundDue, found, next, payment);
            }
            (status, Some(_)) => {
                let what = BookingContradiction::Revived(status);
                return Err(self.of_booking(confirm.booking, what));
            }
        }
        Ok(())
    }

    fn live(&self, id: &BookingId) -> Result<FoundBooking, Damage> {
        let found = self.found(id)?;
        if found.booking.status.is_live() {
            return Ok(found);
        }
        let status = found.booking.status;
        Err(self.damage(Contradiction::EndedBooking { id: *id, status }))
    }

    fn cancel(&mut self, cancel: Cancel) -> Result<(), Damage> {
        let found = self.live(&cancel.booking)?;
        self.reason = cancel.reason.as_deref().map(Into::into);
        let booking = &found.booking;
        let opening = Arc::clone(&found.opening);
        let (leaving, staying): (Vec<Seat>, Vec<Seat>) = booking
            .seats
            .iter()
            .partition(|seat| cancel.seats.is_empty() || cancel.seats.contains(&seat.applicant));
        if leaving.is_empty() {
            return Err(self.of_booking(booking.id, BookingContradiction::NobodyLeaves));
        }
        self.give_back(&opening, booking.slot, &leaving, cancel.release_at, false);
        if let Some(account) = &booking.account {
            opening.accounts.end(account, leaving.len() as u32);
        }
        let whole = staying.is_empty();
        if whole
            && booking.status == Status::Held
            && let Some(until) = booking.hold_expires_at
        {
            self.state.holds.remove(&(until, booking.id));
        }
        let member = (!whole).then(|| leaving[0].applicant);
        let next = booking.changed(|booking| {
            if whole {
                booking.status = Status::Cancelled;
            } else {
                booking.seats = staying.into();
                booking.change_log_mut().left.extend(leaving.iter().map(|seat| seat.applicant));
            }
            if cancel.cause == CancelCause::Applicant {
                let request_id = cancel.request_id.into_boxed_str();
                let kind = PastChangeKind::Cancelled { member };
                booking.change_log_mut().done.push(PastChange { request_id, kind });
            }
        });
        let kind = if whole { Kind::Cancelled } else { Kind::Amended };
        let payment = paid_with(booking);
        let before = FoundBooking { booking: Arc::new(next), opening };
        self.free_people((kind, payment.clone().flatten()), found, &before.booking, &leaving);
        if cancel.refund_due {
            self.pay_back(before, payment, cancel.reason)?;
        }
        Ok(())
    }

    /// A booking that the authority has just cancelled had been paid for.
    fn pay_back(
        &mut self,
        cancelled: FoundBooking,
        payment: Option<Option<Box<str>>>,
        reason: Option<String>,
    ) -> Result<(), Damage> {
        let Some(reference) = payment.filter(|_| cancelled.booking.status == Status::Cancelled)
        else {
            let what = BookingContradiction::RefundOfNothing;
            return Err(self.of_booking(cancelled.booking.id, what));
        };
        self.reason = reason.map(String::into_boxed_str);
        let next = cancelled.booking.changed(|booking| {
            // No request did it.
            let request_id = "".into();
            let kind = PastChangeKind::Refund { reference: reference.clone() };
            booking.change_log_mut().done.push(PastChange { request_id, kind });
        });
        self.renew(Kind::RefundDue, cancelled, next, reference);
        Ok(())
    }

    fn expire(&mut self, expire: &Expire) -> Result<(), Damage> {
        let found = self.live(&expire.booking)?;
        let booking = &found.booking;
        if booking.status != Status::Held {
            return Err(self.damage(Contradiction::NotHeld(booking.id)));
        }
        if let Some(until) = booking.hold_expires_at {
            self.state.holds.remove(&(until, booking.id));
        }
        let opening = Arc::clone(&found.opening);
        self.give_back(&opening, booking.slot, &booking.seats, expire.release_at, true);
        if let Some(account) = &booking.account {
            opening.accounts.end(account, booking.seats.len() as u32);
        }
        let leaving: Vec<Seat> = booking.seats.to_vec();
        let next = Arc::new(booking.changed(|booking| booking.status = Status::Expired));
        self.free_people((Kind::Expired, None), found, &next, &leaving);
        Ok(())
    }

    /// The next version of a booking that these people may not count as theirs
    /// any more. With it, what it had been paid for by, where that is told.
    fn free_people(
        &mut self,
        (kind, payment): (Kind, Option<Box<str>>),
        before: FoundBooking,
        next: &Arc<Booking>,
        leaving: &[Seat],
    ) {
        for seat in leaving {
            before.opening.claims.end(seat.applicant, next);
        }
        self.renew(kind, before, Booking::clone(next), payment);
    }

    fn reschedule(&mut self, swap: Reschedule) -> Result<(), Damage> {
        let found = self.live(&swap.booking)?;
        self.reason = swap.reason.as_deref().map(Into::into);
        let booking = &found.booking;
        let opening = Arc::clone(&found.opening);
        let same_people =
            swap.seats.iter().map(|s| s.applicant).eq(booking.seats.iter().map(|s| s.applicant));
        if swap.slot >= opening.slots() || swap.slot == booking.slot || !same_people {
            return Err(self.damage(Contradiction::Move(booking.id)));
        }
        self.occupy(&opening, swap.slot, &swap.seats, false)
            .map_err(|what| self.of_booking(swap.booking, what))?;
        self.give_back(&opening, booking.slot, &booking.seats, swap.release_at, false);
        let held = booking.status == Status::Held;
        if held != swap.hold_expires_at.is_some() {
            return Err(self.damage(Contradiction::HoldOfMove(booking.id)));
        }
        if let (Some(until), Some(before)) = (swap.hold_expires_at, booking.hold_expires_at) {
            self.state.holds.remove(&(before, booking.id));
            self.state.holds.insert((until, booking.id));
        }
        let next = booking.changed(|booking| {
            booking.slot = swap.slot;
            booking.seats = swap.seats.into();
            booking.hold_expires_at = swap.hold_expires_at.or(booking.hold_expires_at);
            let change_log = booking.change_log_mut();
            if swap.reason.is_some() {
                change_log.changes = 0;
            } else {
                change_log.changes = change_log.changes.saturating_add(1);
                let request_id = swap.request_id.into_boxed_str();
                let kind = PastChangeKind::Rescheduled { content: swap.content };
                change_log.done.push(PastChange { request_id, kind });
            }
        });
        self.renew(Kind::Rescheduled, found, next, None);
        Ok(())
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

    fn entered(&mut self, entry: DrawEntryRecord) -> Result<(), Damage> {
        let opening = self.opening(entry.opening)?;
        let receipt = entry.receipt;
        if entry.applicants.is_empty() || entry.slots.iter().any(|slot| *slot >= opening.slots()) {
            let what = EntryContradiction::Nobody;
            return Err(self.damage(Contradiction::WaitlistEntry { receipt, what }));
        }
        let waiting = Arc::new(DrawEntry { entry, since: self.time, withdrawn: None });
        if self.state.allocator.waiting.insert(receipt, Arc::clone(&waiting)).is_some() {
            let what = EntryContradiction::Twice;
            return Err(self.damage(Contradiction::WaitlistEntry { receipt, what }));
        }
        self.state.allocator.crowd.add(&waiting);
        for applicant in &waiting.entry.applicants {
            self.forget_withdrawn(&opening, applicant);
            opening.claims.wait(*applicant, Arc::clone(&waiting));
        }
        let at = draw_of(&opening, &waiting);
        self.state.waiting.insert((at, waiting.entry.opening, receipt));
        if let Some(index) = self.state.openings.get_mut(&waiting.entry.opening) {
            index.entries.insert(receipt);
        }
        self.changes.push(StateChange::Entry { kind: Kind::Entered, waiting, opening });
        Ok(())
    }

    /// Who enters again is known by the new entry alone: to come and go must not
    /// fill the memory.
    pub(super) fn forget_withdrawn(&mut self, opening: &Opening, applicant: &Pseudonym) {
        let earlier = opening.claims.look(applicant, |c| c.and_then(|c| c.waiting().cloned()));
        if let Some(earlier) = earlier
            && let Some(at) = earlier.withdrawn
        {
            self.state.forget_entry(at, &earlier.entry.receipt);
        }
    }

    fn withdrawn(&mut self, receipt: &BookingId) -> Result<(), Damage> {
        let there = self.state.allocator.waiting.look(receipt, |w| w.map(Arc::clone));
        let there = there.filter(|waiting| waiting.is_live());
        let there = there.ok_or_else(|| self.damage(Contradiction::WithdrawnNotEntered))?;
        let opening = self.opening(there.entry.opening)?;
        if there.entry.waits {
            let at = draw_of(&opening, &there);
            self.state.waiting.remove(&(at, there.entry.opening, *receipt));
        } else {
            if opening.phase() != Phase::Open {
                return Err(self.damage(Contradiction::WithdrawnAfterClose));
            }
            self.end_account(&there);
            if let Some(index) = self.state.openings.get_mut(&there.entry.opening) {
                index.ballots -= 1;
            }
        }
        self.state.allocator.crowd.end(&there);
        let mut waiting = DrawEntry { withdrawn: Some(self.time), ..DrawEntry::clone(&there) };
        // To recognise it, they are not needed.
        waiting.entry.slots = Vec::new();
        let waiting = Arc::new(waiting);
        self.state.allocator.waiting.insert(*receipt, Arc::clone(&waiting));
        for applicant in &waiting.entry.applicants {
            opening.claims.wait(*applicant, Arc::clone(&waiting));
        }
        self.state.withdrawn.insert((self.time, *receipt));
        self.changes.push(StateChange::Entry { kind: Kind::Cancelled, waiting, opening });
        self.state.forget_the_oldest();
        Ok(())
    }

    /// A live entry has won or lost: it is no more.
    fn end_entry(&mut self, receipt: &BookingId) -> Option<Arc<DrawEntry>> {
        let waiting =
            self.state.allocator.waiting.remove_if(receipt, |waiting| waiting.is_live())?;
        self.state.allocator.crowd.end(&waiting);
        let opening = self.state.allocator.openings.load().get(waiting.entry.opening).cloned()?;
        if !waiting.entry.waits && !self.state.is_revealed(waiting.entry.opening) {
            return None;
        }
        let ordinal = waiting.entry.opening;
        if waiting.entry.waits {
            self.state.waiting.remove(&(draw_of(&opening, &waiting), ordinal, *receipt));
        }
        for applicant in &waiting.entry.applicants {
            opening.claims.leave(applicant);
        }
        if let Some(index) = self.state.openings.get_mut(&ordinal) {
            index.entries.remove(receipt);
            if !waiting.entry.waits {
                index.ballots -= 1;
                opening.set_drawn(index.ballots == 0);
            }
        }
        Some(waiting)
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

impl StateMachine {
    /// Openings whose days are over leave memory.
    pub(super) fn retire(&mut self, time: Timestamp) {
        let over = |opening: &&Arc<Opening>| {
            opening.phase() == Phase::Closed && opening.retires_at() <= time
        };
        let openings = self.allocator.openings.load_full();
        for opening in openings.iter().filter(over) {
            let ordinal = opening.record().ordinal;
            self.allocator
                .openings
                .store(Arc::new(self.allocator.openings.load().without(ordinal)));
            self.retired.insert(opening.id().to_owned());
            if let Some(index) = self.openings.remove(&ordinal) {
                self.leaving.extend(index.made);
                for receipt in index.entries {
                    let Some(waiting) = self.allocator.waiting.remove_if(&receipt, |_| true) else {
                        continue;
                    };
                    match waiting.withdrawn {
                        Some(at) => drop(self.withdrawn.remove(&(at, receipt))),
                        None => self.allocator.crowd.end(&waiting),
                    }
                }
            }
            self.delayed.retain(|(_, of, ..)| *of != ordinal);
            self.collected.retain(|(_, of, ..)| *of != ordinal);
            self.waiting.retain(|(_, of, _)| *of != ordinal);
        }
    }

    /// A withdrawn entry is known no more.
    fn forget_entry(&mut self, withdrawn_at: Timestamp, receipt: &BookingId) {
        self.withdrawn.remove(&(withdrawn_at, *receipt));
        let Some(waiting) = self.allocator.waiting.remove_if(receipt, |_| true) else { return };
        let openings = self.allocator.openings.load();
        if let Some(opening) = openings.get(waiting.entry.opening) {
            for applicant in &waiting.entry.applicants {
                opening.claims.leave(applicant);
            }
        }
        if let Some(index) = self.openings.get_mut(&waiting.entry.opening) {
            index.entries.remove(receipt);
        }
    }

    /// To enter and withdraw under ever new names must not fill the memory: of the
    /// withdrawn entries the last are known.
    fn forget_the_oldest(&mut self) {
        while self.withdrawn.len() > MAX_WITHDRAWN
            && let Some((at, receipt)) = self.withdrawn.first().copied()
        {
            self.forget_entry(at, &receipt);
        }
    }

    /// Forgets bookings of retired openings, some with every block: nobody can
    /// reach them any more.
    pub(super) fn forget_some(&mut self) {
        let rest = self.leaving.len().saturating_sub(FORGOTTEN_AT_ONCE);
        for id in self.leaving.drain(rest..) {
            self.allocator.bookings.remove_if(&id, |booking| {
                if let (Status::Held, Some(until)) = (booking.status, booking.hold_expires_at) {
                    self.holds.remove(&(until, id));
                }
                true
            });
        }
    }
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
