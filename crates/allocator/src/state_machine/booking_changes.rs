//! How a block's changes of bookings become the state: confirmed, cancelled, expired,
//! rescheduled.

use std::sync::Arc;

use giliran_wire::BookingId;
use giliran_wire::answer::Status;
use giliran_wire::event::Kind;
use giliran_wire::ledger::{
    BookingContradiction, Cancel, CancelCause, Confirm, Contradiction, Damage, Expire, Reschedule,
    Seat,
};

use super::Mode;
use super::apply::BlockApplier;
use crate::booking::{PastChange, PastChangeKind};
use crate::change::paid_with;
use crate::{Booking, FoundBooking};

impl BlockApplier<'_> {
    pub(super) fn confirm(&mut self, confirm: Confirm) -> Result<(), Damage> {
        let found = self.found(&confirm.booking)?;
        let reference = confirm.reference.map(String::into_boxed_str);
        let request_id = confirm.request_id.into_boxed_str();
        let payment = reference.clone();
        match (found.booking.status, confirm.revived) {
            (Status::Held, None) => {
                if let Some(until) = found.booking.hold_expires_at() {
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
                let (slot, account) = (found.booking.slot, found.booking.account());
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
                    if opening.claims.revive(seat.applicant, &next).is_err() {
                        let what = BookingContradiction::RevivedBesideAnother;
                        return Err(self.of_booking(next.id, what));
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

    pub(super) fn cancel(&mut self, cancel: Cancel) -> Result<(), Damage> {
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
        if let Some(account) = &booking.account() {
            opening.accounts.end(account, leaving.len() as u32);
        }
        let whole = staying.is_empty();
        if whole
            && booking.status == Status::Held
            && let Some(until) = booking.hold_expires_at()
        {
            self.state.holds.remove(&(until, booking.id));
        }
        let member = (!whole).then(|| leaving[0].applicant);
        let next = booking.changed(|booking| {
            if whole {
                booking.status = Status::Cancelled;
            } else {
                booking.seats = staying[..].into();
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

    pub(super) fn expire(&mut self, expire: &Expire) -> Result<(), Damage> {
        let found = self.live(&expire.booking)?;
        let booking = &found.booking;
        if booking.status != Status::Held {
            return Err(self.damage(Contradiction::NotHeld(booking.id)));
        }
        if let Some(until) = booking.hold_expires_at() {
            self.state.holds.remove(&(until, booking.id));
        }
        let opening = Arc::clone(&found.opening);
        self.give_back(&opening, booking.slot, &booking.seats, expire.release_at, true);
        if let Some(account) = &booking.account() {
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

    pub(super) fn reschedule(&mut self, swap: Reschedule) -> Result<(), Damage> {
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
        if let (Some(until), Some(before)) = (swap.hold_expires_at, booking.hold_expires_at()) {
            self.state.holds.remove(&(before, booking.id));
            self.state.holds.insert((until, booking.id));
        }
        let next = booking.changed(|booking| {
            booking.slot = swap.slot;
            booking.seats = swap.seats[..].into();
            swap.hold_expires_at.into_iter().for_each(|until| booking.set_hold(until));
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
}
