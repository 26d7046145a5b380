//! What an opening's claims say of the applicants of a request.

use std::sync::Arc;

use giliran_wire::{Pseudonym, Timestamp};

use crate::booking::Booking;
use crate::booking_request::BookingRequest;
use crate::claims::{Claim, ClaimState};
use crate::draw_entry::DrawEntry;
use crate::opening::Opening;
use crate::openings::Openings;
use crate::sync::seqlock::Durable;

/// What the first applicant's claim says of a request.
pub(crate) enum First {
    Unclaimed,
    /// Perhaps by the same request.
    Deciding,
    /// Another request has booked for one of the applicants.
    Booked,
    /// By the same request: its booking.
    Same(Arc<Booking>),
    /// By the same request, which waits for returned places.
    Waits(Arc<DrawEntry>),
    /// By a request of the same id with another content.
    Conflict,
}

impl Opening {
    /// What the first applicant's claim says of a request, and how many bookings were
    /// granted for this applicant so far.
    pub(crate) fn first_claim(&self, ask: &BookingRequest<'_>, at: Durable) -> (First, usize) {
        self.claims.look(&ask.applicants[0], |claim| match claim {
            Some(claim) => (Self::first_of(claim, ask, at), claim.granted(at)),
            None => (First::Unclaimed, 0),
        })
    }

    fn first_of(claim: &Claim, ask: &BookingRequest<'_>, at: Durable) -> First {
        let first = &ask.applicants[0];
        // By a request of this id?
        let made = |booking: &&Arc<Booking>| {
            booking.seats[0].applicant == *first && *booking.request_id == *ask.request_id
        };
        // Changed by a request of this id?
        let changed = |booking: &Arc<Booking>| {
            booking.seats[0].applicant == *first && booking.done(ask.request_id).is_some()
        };
        let state = claim.state(at);
        let live = match state {
            ClaimState::Granted(booking) => Some(booking),
            ClaimState::Free | ClaimState::Deciding => None,
        };
        // What it made counts before what bears its id otherwise.
        if let Some(booking) = claim.past().iter().chain(live).find(made) {
            return if booking.content == ask.content.digest() {
                First::Same(Arc::clone(booking))
            } else {
                First::Conflict
            };
        }
        if let Some(waiting) = claim.waiting()
            && waiting.entry.applicants[0] == *first
            && *waiting.entry.request_id == *ask.request_id
        {
            return if waiting.entry.content == ask.content.digest() {
                First::Waits(Arc::clone(waiting))
            } else {
                First::Conflict
            };
        }
        match state {
            _ if claim.past().iter().chain(live).any(changed) => First::Conflict,
            ClaimState::Free => First::Unclaimed,
            ClaimState::Deciding => First::Deciding,
            ClaimState::Granted(_) => First::Booked,
        }
    }

    /// Whether a member of the party durably has a booking; none: that depends
    /// on a claim that is being decided.
    pub(crate) fn party_booked(
        &self,
        ask: &BookingRequest<'_>,
        first: &First,
        openings: &Openings,
        (now, at): (Timestamp, Durable),
    ) -> Option<bool> {
        if matches!(first, First::Booked) {
            return Some(true);
        }
        let mut deciding = false;
        for applicant in &ask.applicants[1..] {
            match self.claims.is_booked(applicant, at) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => deciding = true,
            }
        }
        match self.booked_elsewhere(ask.applicants, openings, (now, at)) {
            Some(true) => Some(true),
            Some(false) if !deciding => Some(false),
            Some(false) | None => None,
        }
    }

    /// Whether one of these people has a live booking in another opening, where
    /// that counts: one whose day is over does not. None: it is being decided.
    pub(crate) fn booked_elsewhere(
        &self,
        applicants: &[Pseudonym],
        openings: &Openings,
        (now, at): (Timestamp, Durable),
    ) -> Option<bool> {
        if !self.record().rules.across_openings {
            return Some(false);
        }
        let ordinal = self.record().ordinal;
        let mut deciding = false;
        for other in openings.iter().filter(|other| other.record().ordinal != ordinal) {
            for applicant in applicants {
                let counts = other.claims.look(applicant, |claim| {
                    let enters =
                        |waiting: &Arc<DrawEntry>| waiting.is_live() && !waiting.entry.waits;
                    if claim.and_then(|claim| claim.waiting()).is_some_and(enters) {
                        return Some(true);
                    }
                    match claim.map(|claim| claim.state(at)) {
                        None | Some(ClaimState::Free) => Some(false),
                        Some(ClaimState::Deciding) => None,
                        Some(ClaimState::Granted(booking)) => {
                            Some(!other.day_is_over(booking.slot, now))
                        }
                    }
                });
                match counts {
                    Some(true) => return Some(true),
                    Some(false) => {}
                    None => deciding = true,
                }
            }
        }
        (!deciding).then_some(false)
    }

    /// True if one of the party durably waits for returned places.
    pub(crate) fn party_waits(&self, ask: &BookingRequest<'_>) -> bool {
        ask.applicants.iter().any(|applicant| {
            self.claims.look(applicant, |claim| {
                claim.and_then(|claim| claim.waiting()).is_some_and(|waiting| waiting.is_live())
            })
        })
    }
}
