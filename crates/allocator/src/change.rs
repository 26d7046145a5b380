//! Confirm, cancel, reschedule: judged from durable facts.
//!
//! One precedence, always: unknown booking or foreign applicant (`not_found`) →
//! same request again (the booking as it stands, or `conflict`) → `wrong_state`
//! → a cancellation of a day that is over, a reschedule from a slot that can no
//! longer be booked (`closed`) → `unknown_slot` → `not_permitted` → `sold_out`. What is not settled here is done by the
//! [`StateMachine`](crate::StateMachine), the only one to change a booking.

use std::sync::Arc;

use giliran_wire::answer::{Phase, Reason, Status};
use giliran_wire::request::Choice;
use giliran_wire::{BookingId, Digest, Pseudonym, Timestamp};

use crate::booking::PastChangeKind;
use crate::decision::{Rejection, Settled};
use crate::sync::seqlock::Durable;
use crate::{Allocator, Booking, FoundBooking, Opening};

/// Requests that a booking remembers before it moves no more, whatever the
/// opening allows: to and fro without end must not fill the memory.
const MAX_REMEMBERED: usize = 1_000;

/// A valid request to change a booking, its people under pseudonyms.
#[derive(Debug, Clone)]
pub struct ChangeRequest {
    /// The idempotency key, within the booking.
    pub request_id: Box<str>,
    /// The booking, or an entry's receipt; none: what was given is nobody's id.
    pub target: Option<BookingId>,
    /// What is to be done.
    pub kind: ChangeKind,
}

/// What is to be done to a booking.
#[derive(Debug, Clone)]
pub enum ChangeKind {
    /// It was paid or approved.
    Confirm {
        /// Names the payment; opaque to Giliran.
        reference: Option<Box<str>>,
    },
    /// To be given back: all of it by its first applicant, the own seat by
    /// another one.
    Cancel {
        /// Pseudonym of whoever gives places back.
        applicant: Pseudonym,
    },
    /// To be moved to another slot of its opening.
    Reschedule {
        /// Pseudonym of one of its applicants; the whole party moves.
        applicant: Pseudonym,
        /// In order of preference; 1 to 16.
        choices: Vec<Choice<'static>>,
        /// Digest of what makes it the same request.
        content: Digest,
    },
}

impl ChangeKind {
    /// What the booking remembers of it, once done.
    pub(crate) fn done(&self, booking: &Booking) -> PastChangeKind {
        match self {
            Self::Confirm { reference } => {
                PastChangeKind::Confirmed { reference: reference.clone() }
            }
            Self::Cancel { applicant } => PastChangeKind::Cancelled {
                member: (booking.seats[0].applicant != *applicant).then_some(*applicant),
            },
            Self::Reschedule { content, .. } => PastChangeKind::Rescheduled { content: *content },
        }
    }
}

/// What durable facts say of a change.
#[derive(Debug)]
pub(crate) enum Judged {
    Settled(Settled),
    /// The state machine has to decide.
    Do(Target),
}

/// What a change is about.
#[derive(Debug)]
pub(crate) enum Target {
    Booking(FoundBooking),
    /// An entry to be withdrawn.
    Waiting(Arc<crate::DrawEntry>),
}

impl Allocator {
    /// The answer to a change where durable facts settle it; none: pass it on to
    /// the state machine.
    pub fn settled(&self, ask: &ChangeRequest, now: Timestamp) -> Option<Settled> {
        match self.seqlock.read(|at| self.judge_change(ask, now, at))? {
            Judged::Settled(settled) => Some(settled),
            Judged::Do(_) => None,
        }
    }

    pub(crate) fn judge_change(&self, ask: &ChangeRequest, now: Timestamp, at: Durable) -> Judged {
        let reject = |rejection| Judged::Settled(Settled::Rejected(rejection, at));
        let unknown = || reject(Rejection::new(Reason::NotFound));
        let Some(id) = ask.target else { return unknown() };
        let Some(booking) = self.booking_at(&id, at) else {
            return self.judge_entry(ask, &id, at).unwrap_or_else(unknown);
        };
        let Some(found) = self.found(booking) else { return unknown() };
        let (booking, opening) = (&found.booking, &found.opening);
        let done = booking.done(&ask.request_id);
        if let ChangeKind::Cancel { applicant } | ChangeKind::Reschedule { applicant, .. } =
            &ask.kind
            && !booking.is_of(applicant)
        {
            let again = PastChangeKind::Cancelled { member: Some(*applicant) };
            if done == Some(&again) && booking.was_left_by(applicant) {
                return Judged::Settled(Settled::Repeat(found, at));
            }
            return unknown();
        }
        if *ask.request_id == *booking.request_id {
            return reject(Rejection::new(Reason::Conflict));
        }
        let wrong_state = || reject(wrong_state(booking));
        match (done, &ask.kind) {
            (None, _) => {}
            (
                Some(PastChangeKind::Refund { reference }),
                ChangeKind::Confirm { reference: given },
            ) if reference == given => {
                return wrong_state();
            }
            (Some(kind), _) if *kind == ask.kind.done(booking) => {
                return Judged::Settled(Settled::Repeat(found, at));
            }
            (Some(_), _) => return reject(Rejection::new(Reason::Conflict)),
        }
        match (&ask.kind, booking.status) {
            (ChangeKind::Confirm { .. }, Status::Held) => {}
            (ChangeKind::Confirm { reference }, status) => match paid_before(booking, reference) {
                Paid::AsConfirmed => return Judged::Settled(Settled::Repeat(found, at)),
                Paid::ToBeRefunded => return wrong_state(),
                Paid::Never if status == Status::Confirmed => return wrong_state(),
                Paid::Never | Paid::Otherwise => {}
            },
            (ChangeKind::Cancel { .. }, status) if status.is_live() => {
                if opening.day_is_over(booking.slot, now) {
                    return reject(Rejection::new(Reason::Closed));
                }
            }
            (ChangeKind::Reschedule { choices, .. }, Status::Confirmed) => {
                if let Some(rejection) = cannot_move(opening, booking, choices, now) {
                    return match rejection {
                        Ok(()) => Judged::Settled(Settled::Repeat(found, at)),
                        Err(rejection) => reject(rejection),
                    };
                }
            }
            (ChangeKind::Cancel { .. } | ChangeKind::Reschedule { .. }, _) => return wrong_state(),
        }
        Judged::Do(Target::Booking(found))
    }

    /// A `cancel` of an entry leaves the waiting list.
    fn judge_entry(&self, ask: &ChangeRequest, receipt: &BookingId, at: Durable) -> Option<Judged> {
        let ChangeKind::Cancel { applicant } = &ask.kind else { return None };
        let waiting = self.waiting.look(receipt, |waiting| waiting.map(Arc::clone))?;
        if !waiting.is_of(applicant) {
            return None;
        }
        if *ask.request_id == *waiting.entry.request_id {
            return Some(Judged::Settled(Settled::Rejected(Rejection::new(Reason::Conflict), at)));
        }
        Some(if waiting.is_live() {
            // What is drawn stands with the close.
            let openings = self.openings.load();
            let closed = |opening: &Arc<Opening>| opening.phase() == Phase::Closed;
            if !waiting.entry.waits && openings.get(waiting.entry.opening).is_some_and(closed) {
                return Some(Judged::Settled(Settled::Rejected(
                    Rejection::new(Reason::Closed),
                    at,
                )));
            }
            Judged::Do(Target::Waiting(waiting))
        } else {
            let opening = self.openings.load().get(waiting.entry.opening).map(Arc::clone)?;
            Judged::Settled(Settled::Entered { waiting, opening, durable: at })
        })
    }
}

/// Whether a payment that comes for a booking that is not held is known.
enum Paid {
    /// It confirmed the booking.
    AsConfirmed,
    /// It is to be paid back already.
    ToBeRefunded,
    /// The booking was paid for by another one.
    Otherwise,
    /// Nothing was ever paid, or this payment bears no name.
    Never,
}

fn paid_before(booking: &Booking, reference: &Option<Box<str>>) -> Paid {
    let done = booking.change_log().into_iter().flat_map(|change_log| &change_log.done);
    let mut paid = Paid::Never;
    for done in done {
        match (&done.kind, reference) {
            (PastChangeKind::Confirmed { reference: known }, Some(_)) if known == reference => {
                if booking.status == Status::Confirmed {
                    return Paid::AsConfirmed;
                }
                // Given back since. Whether it is to be paid back already, what
                // came later says.
                paid = Paid::Otherwise;
            }
            (PastChangeKind::Refund { reference: known }, Some(_)) if known == reference => {
                return Paid::ToBeRefunded;
            }
            (PastChangeKind::Confirmed { .. }, Some(_)) => paid = Paid::Otherwise,
            _ => {}
        }
    }
    paid
}

/// The reference of the payment that confirmed a booking, if one did; the outer
/// none: it was never paid for.
pub(crate) fn paid_with(booking: &Booking) -> Option<Option<Box<str>>> {
    let mut done = booking.change_log().into_iter().flat_map(|change_log| &change_log.done).rev();
    done.find_map(|done| match &done.kind {
        PastChangeKind::Confirmed { reference } => Some(reference.clone()),
        _ => None,
    })
}

/// Says in which state the booking is.
pub(crate) fn wrong_state(booking: &Booking) -> Rejection {
    Rejection::because(Reason::WrongState, format!("status: {}", booking.status.name()))
}

/// Why a confirmed booking does not move: `Ok` where it stands in the first
/// fitting slot already. None: it may.
fn cannot_move(
    opening: &Opening,
    booking: &Booking,
    choices: &[Choice<'_>],
    now: Timestamp,
) -> Option<Result<(), Rejection>> {
    let most = opening.record().rules.max_changes;
    let used_up = booking.changes() >= most
        || booking.change_log().is_some_and(|change_log| change_log.done.len() >= MAX_REMEMBERED);
    match moves(opening, booking, choices, now) {
        Ok(false) => Some(Ok(())),
        _ if used_up => {
            let detail = format!("status: confirmed; changed too often, at most {most} times");
            Some(Err(Rejection::because(Reason::WrongState, detail)))
        }
        Ok(true) => None,
        Err(rejection) => Some(Err(rejection)),
    }
}

/// Whether another slot has room for a booking; false: its own comes first.
fn moves(
    opening: &Opening,
    booking: &Booking,
    choices: &[Choice<'_>],
    now: Timestamp,
) -> Result<bool, Rejection> {
    if !opening.is_bookable(booking.slot, now) {
        return Err(Rejection::new(Reason::Closed));
    }
    let fitting = opening.fitting_all(choices, false)?;
    let places = booking.seats.len() as i32;
    let mut too_late = true;
    for slot in fitting.iter().copied().flatten() {
        if *slot == booking.slot {
            return Ok(false);
        }
        if !opening.is_bookable(*slot, now) {
            continue;
        }
        too_late = false;
        if opening.durably_free.of(*slot) >= places {
            return Ok(true);
        }
    }
    Err(Rejection::new(if too_late { Reason::Closed } else { Reason::SoldOut }))
}
