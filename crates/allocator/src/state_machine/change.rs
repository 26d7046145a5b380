//! Confirm, cancel, reschedule, and what operators do: decided against durable
//! facts, as entries of the block that is being written.

use giliran_wire::answer::Status;
use giliran_wire::ledger::{Cancel, CancelCause, Confirm, DrawRecord, Entry, Reschedule, Seat};
use giliran_wire::{BookingId, Digest, Timestamp};

use super::StateMachine;
use super::apply::sorted;
use super::due::release_at;
use crate::change::{Judged, Target, paid_with, wrong_state};
use crate::decision::{Rejection, Settled};
use crate::{Booking, ChangeKind, ChangeRequest, FoundBooking, Opening};

/// What became of a change.
#[derive(Debug)]
pub enum ChangeOutcome {
    /// The answer can be given now.
    Settled(Settled),
    /// To be written; and what is told once it is durable.
    Entry(Box<Entry>, ChangeReply),
    /// The outcome depends on the block in flight: ask again once it commits.
    Wait,
}

/// What the requester is told once the entry is durable.
#[derive(Debug, Clone)]
pub enum ChangeReply {
    /// The booking, as it then stands.
    Booking(BookingId),
    /// The entry, as it then stands.
    Entry(BookingId),
    /// It was too late; the record says so.
    Rejected(Rejection),
}

impl StateMachine {
    /// Decides a change at engine time `now` for the block that is being written.
    pub fn change(
        &mut self,
        ask: &ChangeRequest,
        now: Timestamp,
        random: &mut dyn FnMut() -> u128,
    ) -> ChangeOutcome {
        if ask.target.is_some_and(|id| self.in_block.touched.contains(&id)) {
            return ChangeOutcome::Wait;
        }
        let target = match self.allocator.judge_change(ask, now, self.durable()) {
            Judged::Settled(settled) => return ChangeOutcome::Settled(settled),
            Judged::Do(target) => target,
        };
        let found = match target {
            Target::Booking(found) => found,
            Target::Waiting(waiting) => return self.withdraw(waiting.entry.receipt, ask),
        };
        if found.opening.is_drawing() {
            return ChangeOutcome::Wait;
        }
        let id = found.booking.id;
        let request_id = ask.request_id.to_string();
        let entry = match &ask.kind {
            ChangeKind::Confirm { reference } => {
                return self.confirm(&found, request_id, reference.as_deref(), now);
            }
            ChangeKind::Cancel { applicant } => {
                let whole = found.booking.seats[0].applicant == *applicant;
                Entry::Cancel(Cancel {
                    booking: id,
                    request_id,
                    seats: if whole { Vec::new() } else { vec![*applicant] },
                    cause: CancelCause::Applicant,
                    release_at: release_at(&found.opening.record().rules.cancelled, now, random),
                    reason: None,
                    refund_due: false,
                })
            }
            ChangeKind::Reschedule { choices, content, .. } => {
                let Ok(fitting) = found.opening.fitting_all(choices, false) else {
                    return ChangeOutcome::Wait;
                };
                let slots = fitting.iter().copied().flatten().copied();
                let slots = slots.take_while(|slot| *slot != found.booking.slot);
                let Some((slot, seats)) = self.swap(&found, slots, now) else {
                    return ChangeOutcome::Wait;
                };
                Entry::Reschedule(Reschedule {
                    booking: id,
                    request_id,
                    content: *content,
                    slot,
                    seats,
                    release_at: release_at(&found.opening.record().rules.cancelled, now, random),
                    reason: None,
                    hold_expires_at: None,
                })
            }
        };
        self.in_block.touched.insert(id);
        ChangeOutcome::Entry(Box::new(entry), ChangeReply::Booking(id))
    }

    /// Whoever made this entry does not want to be drawn any more.
    fn withdraw(&mut self, receipt: BookingId, ask: &ChangeRequest) -> ChangeOutcome {
        self.in_block.touched.insert(receipt);
        let request_id = ask.request_id.to_string();
        let record = DrawRecord::Withdrawn { receipt, request_id };
        ChangeOutcome::Entry(Box::new(Entry::Draw(record)), ChangeReply::Entry(receipt))
    }

    /// Takes places of the first of these slots that has room for the party.
    fn swap(
        &mut self,
        found: &FoundBooking,
        slots: impl Iterator<Item = u32>,
        now: Timestamp,
    ) -> Option<(u32, Vec<Seat>)> {
        let (booking, opening) = (&found.booking, &found.opening);
        let places = booking.seats.len();
        for slot in slots {
            let usable = opening.is_bookable(slot, now)
                && self.inventory(booking.opening, slot).has_room(places as u32)
                && opening.free[slot as usize].take(places as i32);
            if !usable {
                continue;
            }
            let mut seats = booking.seats.to_vec();
            for seat in &mut seats {
                // A slot with room has a number.
                seat.number = self.inventory(booking.opening, slot).number().unwrap_or_default();
                self.in_block.taken.insert((booking.opening, slot, seat.number));
            }
            return Some((slot, seats));
        }
        None
    }

    fn confirm(
        &mut self,
        found: &FoundBooking,
        request_id: String,
        reference: Option<&str>,
        now: Timestamp,
    ) -> ChangeOutcome {
        let (booking, opening) = (&found.booking, &found.opening);
        let entry = |revived| {
            let reference = reference.map(str::to_owned);
            let confirm = Confirm { booking: booking.id, request_id, reference, revived };
            Box::new(Entry::Confirm(confirm))
        };
        let reply = ChangeReply::Booking(booking.id);
        let changed = match booking.status {
            // The hold has ended with the moment until which the slot can be booked;
            // that is about to be on record.
            Status::Held if !opening.is_bookable(booking.slot, now) => return ChangeOutcome::Wait,
            Status::Held => ChangeOutcome::Entry(entry(None), reply),
            Status::Expired if opening.is_bookable(booking.slot, now) => {
                match self.revivable(booking, opening, now) {
                    Some(true) => {
                        self.revive(booking, opening);
                        ChangeOutcome::Entry(entry(Some(booking.seats.to_vec())), reply)
                    }
                    Some(false) => ChangeOutcome::Entry(
                        entry(None),
                        ChangeReply::Rejected(wrong_state(booking)),
                    ),
                    None => return ChangeOutcome::Wait,
                }
            }
            _ => ChangeOutcome::Entry(entry(None), ChangeReply::Rejected(wrong_state(booking))),
        };
        self.in_block.touched.insert(booking.id);
        changed
    }

    /// Whether an expired booking can have its numbers again: they are free, and
    /// none of its applicants has booked since. Claims and places are taken then.
    /// None: that depends on the block in flight.
    fn revivable(&mut self, booking: &Booking, opening: &Opening, now: Timestamp) -> Option<bool> {
        let (ordinal, slot, at) = (booking.opening, booking.slot, self.durable());
        let mut deciding = false;
        for seat in &booking.seats {
            match opening.claims.is_booked(&seat.applicant, at) {
                Some(true) => return Some(false),
                Some(false) => {}
                None => deciding = true,
            }
        }
        let mut missing = 0;
        for seat in &booking.seats {
            let number = (ordinal, slot, seat.number);
            let in_block =
                self.in_block.taken.contains(&number) || self.in_block.revived.contains(&number);
            let inventory = self.inventory(ordinal, slot);
            if seat.number > inventory.quota {
                // The quota was lowered: there is no such number any more.
                return Some(false);
            }
            if in_block {
                deciding = true;
            } else if inventory.is_withheld(seat.number) {
            } else if inventory.is_free(seat.number) {
                missing += 1;
            } else {
                return Some(false);
            }
        }
        let inventory = self.inventory(ordinal, slot);
        if inventory.available() < missing || inventory.halted {
            return Some(false);
        }
        if deciding || !inventory.has_room(missing as u32) {
            return None;
        }
        let party = sorted(booking.seats.iter().map(|seat| seat.applicant));
        opening.claims.take(&party).ok()?;
        // Looked at with the own claims in place: of two that claim one person in
        // two openings, one at least sees the other.
        let elsewhere = opening.booked_elsewhere(&party, &self.allocator.openings(), (now, at));
        let places = booking.seats.len() as u32;
        let account = booking.account().filter(|_| elsewhere == Some(false));
        let counted = account.is_none_or(|account| opening.accounts.take(&account, places));
        let taken =
            elsewhere == Some(false) && counted && opening.free[slot as usize].take(missing);
        if taken {
            return Some(true);
        }
        opening.claims.give(&party);
        if let (Some(account), true) = (&account, counted) {
            opening.accounts.give(account, places);
        }
        let full = |account| opening.accounts.durably_full(&account, places);
        let never = elsewhere == Some(true) || account.is_some_and(full);
        never.then_some(false)
    }

    fn revive(&mut self, booking: &Booking, opening: &Opening) {
        let ordinal = opening.record().ordinal;
        for seat in &booking.seats {
            let number = (ordinal, booking.slot, seat.number);
            let inventory = self.inventory(ordinal, booking.slot);
            if inventory.is_withheld(seat.number) {
                self.in_block.revived.insert(number);
            } else {
                inventory.take(seat.number);
                self.in_block.taken.insert(number);
            }
        }
    }

    /// True if the block that is being written changes this booking.
    pub fn is_changing(&self, id: &BookingId) -> bool {
        self.in_block.touched.contains(id)
    }

    /// The live bookings of a slot, by queue number.
    pub fn bookings_in(&self, opening: u32, slot: u32) -> Vec<FoundBooking> {
        let Some(index) = self.openings.get(&opening) else { return Vec::new() };
        let of_slot = |id: &BookingId| {
            let booking = self.allocator.booking(id)?;
            (booking.slot == slot && booking.status.is_live()).then_some(booking)
        };
        let mut bookings: Vec<_> = index.made.iter().filter_map(of_slot).collect();
        bookings.sort_by_key(|booking| booking.seats[0].number);
        bookings.into_iter().filter_map(|booking| self.allocator.found(booking)).collect()
    }

    /// Cancels a booking for the authority. None: it is being changed in this
    /// block, or is not live.
    pub fn cancel_by_authority(
        &mut self,
        id: BookingId,
        reason: &str,
        now: Timestamp,
        random: &mut dyn FnMut() -> u128,
    ) -> Option<Entry> {
        let found = self.changeable(id)?;
        let rule = &found.opening.record().rules.cancelled;
        let entry = Entry::Cancel(Cancel {
            booking: id,
            request_id: String::new(),
            seats: Vec::new(),
            cause: CancelCause::Authority,
            release_at: release_at(rule, now, random),
            reason: Some(reason.to_owned()),
            refund_due: paid_with(&found.booking).is_some(),
        });
        self.in_block.touched.insert(id);
        Some(entry)
    }

    /// Moves a booking for the authority into the first of these slots with room.
    /// None: none has, it is being changed in this block, or is not live.
    pub fn move_by_authority(
        &mut self,
        id: BookingId,
        slots: &[u32],
        reason: &str,
        now: Timestamp,
        random: &mut dyn FnMut() -> u128,
    ) -> Option<Entry> {
        let found = self.changeable(id)?;
        let others = slots.iter().copied().filter(|slot| *slot != found.booking.slot);
        let (slot, seats) = self.swap(&found, others, now)?;
        self.in_block.touched.insert(id);
        let rule = &found.opening.record().rules.cancelled;
        let held = found.booking.status == Status::Held;
        let hold = found.booking.hold_expires_at().filter(|_| held);
        let hold_expires_at = hold.map(|hold| found.opening.hold_in(slot, hold));
        Some(Entry::Reschedule(Reschedule {
            booking: id,
            request_id: String::new(),
            content: Digest([0; 16]),
            slot,
            seats,
            release_at: release_at(rule, now, random),
            reason: Some(reason.to_owned()),
            hold_expires_at,
        }))
    }

    fn changeable(&self, id: BookingId) -> Option<FoundBooking> {
        let found =
            self.allocator.booking(&id).and_then(|booking| self.allocator.found(booking))?;
        let free = !self.in_block.touched.contains(&id) && !found.opening.is_drawing();
        (free && found.booking.status.is_live()).then_some(found)
    }
}
