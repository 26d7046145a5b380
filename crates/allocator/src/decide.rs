//! Deciding a request: settled from durable facts, granted, or to wait.
//!
//! One precedence, always: `malformed`, at the edge → same request again (its booking,
//! or `conflict`) → `expired` → the opening's state (`unknown_opening`, `not_open`,
//! `closed`) → `party_too_large` by the opening's rules → `unknown_slot` →
//! `not_permitted` → `party_too_large` for every slot asked for → `account_limit` →
//! `applicant_limit` → `already_booked` → `closed` where it is too late for every slot
//! asked for → `sold_out`.

use std::sync::Arc;

use giliran_wire::answer::{Phase, Reason};
use giliran_wire::ledger::{DrawEntryRecord, Order};
use giliran_wire::request::Choice;
use giliran_wire::{BookingId, Pseudonym, Timestamp};
use smallvec::SmallVec;

use crate::allocator::{Allocator, FoundBooking};
use crate::applicants::First;
use crate::booking_request::BookingRequest;
use crate::decision::{Decision, Rejection, Settled};
use crate::opening::Opening;
use crate::openings::Openings;
use crate::sync::seqlock::Durable;
use crate::{Booking, Pending};

/// When another try is worth it where there are that many, ms: some may withdraw.
const FULL_RETRY_MS: u64 = 5_000;

enum Judged<'a> {
    Settled(Settled),
    Retry,
    /// Nothing durable speaks against it.
    Try(&'a Opening, Fitting<'a>),
    /// Nothing speaks against its waiting for returned places.
    JoinWaitlist(&'a Opening, Fitting<'a>),
    /// Nothing durable speaks against its entry into the opening's draw.
    EnterDraw(&'a Opening, Fitting<'a>),
    /// Nothing durable speaks against it yet, and its round decides.
    DeferToRound(u32),
}

/// When a request is decided.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// When it arrives; rounds and draws defer it.
    AtArrival,
    /// At the end of its round.
    InRound,
}

impl Allocator {
    /// Decides a request at engine time `now`. Any number of threads may; none
    /// waits for another.
    pub fn decide(self: &Arc<Self>, ask: &BookingRequest<'_>, now: Timestamp) -> Decision {
        self.decide_when(ask, now, When::AtArrival)
    }

    /// Decides a request at the end of its round: one after the other, by one
    /// hand.
    pub fn decide_in_round(self: &Arc<Self>, ask: &BookingRequest<'_>, now: Timestamp) -> Decision {
        self.decide_when(ask, now, When::InRound)
    }

    fn decide_when(
        self: &Arc<Self>,
        ask: &BookingRequest<'_>,
        now: Timestamp,
        when: When,
    ) -> Decision {
        for attempt in self.seqlock.attempts() {
            let openings = self.openings.load();
            match self.judge(ask, &openings, (now, when), attempt.at) {
                Judged::Settled(settled) => {
                    if self.seqlock.validate(&attempt) {
                        return Decision::Settled(settled);
                    }
                }
                // To wait is never wrong, and claims and counters speak for
                // themselves at any moment: no matter whether a block was being
                // applied meanwhile.
                Judged::Retry => return Decision::Retry,
                Judged::DeferToRound(ordinal) => return Decision::DeferToRound(ordinal),
                Judged::Try(opening, fitting) => {
                    let grant = opening.take(ask, &fitting, &openings, (now, attempt.at));
                    let pending = |grant| Decision::Granted(Pending::new(self, grant));
                    return grant.map_or(Decision::Retry, pending);
                }
                Judged::JoinWaitlist(opening, fitting) => {
                    if self.seqlock.validate(&attempt) {
                        return Decision::JoinWaitlist(Box::new(
                            opening.entry(ask, &fitting, true),
                        ));
                    }
                }
                Judged::EnterDraw(opening, fitting) => {
                    let entry = opening.take_ballot(ask, &fitting, &openings, (now, attempt.at));
                    let pending = |entry| Decision::EnterDraw(Pending::new(self, entry));
                    return entry.map_or(Decision::Retry, pending);
                }
            }
        }
        Decision::Retry
    }

    fn judge<'a>(
        &self,
        ask: &BookingRequest<'_>,
        openings: &'a Openings,
        (now, when): (Timestamp, When),
        at: Durable,
    ) -> Judged<'a> {
        let reject = |rejection| Judged::Settled(Settled::Rejected(rejection, at));
        let meant = match ask.opening {
            Some(id) => {
                openings.named(id).ok_or_else(|| "opening: there is none of this id".to_owned())
            }
            None => Self::implied_opening(openings, ask.wait, now),
        };
        let known = meant.as_ref().ok().copied();
        if ask.opening.is_none()
            && let Some(judged) = Self::judge_elsewhere(ask, openings, known, at)
        {
            return judged;
        }
        let opening = match meant {
            Ok(opening) => opening,
            Err(detail) => return reject(Rejection::because(Reason::UnknownOpening, detail)),
        };
        self.judge_in(ask, opening, openings, (now, when), at)
    }

    fn judge_in<'a>(
        &self,
        ask: &BookingRequest<'_>,
        opening: &'a Arc<Opening>,
        openings: &'a Openings,
        (now, when): (Timestamp, When),
        at: Durable,
    ) -> Judged<'a> {
        let reject = |rejection: Rejection| {
            Judged::Settled(Settled::Rejected(rejection.about(opening, None), at))
        };
        let (first, granted) = opening.first_claim(ask, at);
        match first {
            First::Deciding => return Judged::Retry,
            First::Same(booking) => {
                let found = FoundBooking { booking, opening: Arc::clone(opening) };
                return Judged::Settled(Settled::Repeat(found, at));
            }
            First::Waits(waiting) => {
                let opening = Arc::clone(opening);
                return Judged::Settled(Settled::Entered { waiting, opening, durable: at });
            }
            First::Conflict => return reject(Rejection::new(Reason::Conflict)),
            First::Booked | First::Unclaimed => {}
        }
        if ask.expires_at.is_some_and(|deadline| deadline <= now) {
            return reject(Rejection::new(Reason::Expired));
        }
        let waits = ask.wait && opening.collects() && (!opening.draws() || opening.is_drawn());
        // Once the window has closed, returned places are still given to those
        // who wait.
        let late = waits && opening.phase() == Phase::Closed;
        match Self::phase_allows(opening, now) {
            Ok(true) => {}
            // The last round ends with the window.
            Ok(false) if when == When::InRound && opening.phase() == Phase::Open => {}
            Ok(false) => return Judged::Retry,
            Err(_) if late || opening.gives_leftovers() => {}
            Err(rejection) => return reject(rejection),
        }
        let places = ask.applicants.len() as u32;
        let fitting =
            opening.party_fits(places).and_then(|()| opening.fitting_all(ask.choices, ask.vouched));
        let fitting = match fitting {
            Ok(fitting) => fitting,
            Err(rejection) => return reject(rejection),
        };
        let slot = match fitting.first() {
            Some([only]) => Some(*only),
            _ => None,
        };
        let reject = |rejection: Rejection| {
            Judged::Settled(Settled::Rejected(rejection.about(opening, slot), at))
        };
        if let Some(rejection) = opening.beyond_limits(ask, &fitting, granted, at) {
            return reject(rejection);
        }
        match opening.party_booked(ask, &first, openings, (now, at)) {
            Some(true) => return reject(Rejection::new(Reason::AlreadyBooked)),
            Some(false) => {}
            None => return Judged::Retry,
        }
        match self.judge_places(ask, opening, fitting, (now, when), waits) {
            Ok(judged) => judged,
            Err(rejection) => reject(rejection),
        }
    }

    /// Nothing but the places is left to be judged. `waits`: it may wait for what
    /// comes back.
    fn judge_places<'a>(
        &self,
        ask: &BookingRequest<'_>,
        opening: &'a Opening,
        fitting: Fitting<'a>,
        (now, when): (Timestamp, When),
        waits: bool,
    ) -> Result<Judged<'a>, Rejection> {
        let places = ask.applicants.len() as i32;
        let has_room = |slot: &u32| {
            opening.durably_free.of(*slot) >= places && opening.is_bookable(*slot, now)
        };
        let too_late =
            |at| fitting.iter().copied().flatten().all(|slot| !opening.is_bookable(*slot, at));
        let open = opening.phase() == Phase::Open;
        if open && opening.draws() {
            if too_late(now) {
                return Err(Rejection::new(Reason::Closed));
            }
            if opening.party_waits(ask) {
                let detail = "applicants: one of them has entered by another request".to_owned();
                return Err(Rejection::because(Reason::AlreadyBooked, detail));
            }
            if !self.crowd.has_room() {
                let retry_after_ms = Some(FULL_RETRY_MS);
                return Err(Rejection { retry_after_ms, ..Rejection::new(Reason::Busy) });
            }
            return Ok(Judged::EnterDraw(opening, fitting));
        }
        let given = open || opening.gives_leftovers();
        if given && fitting.iter().any(|slots| slots.iter().any(has_room)) {
            return Ok(match (&opening.record().rules.order, when) {
                (Order::Rounds { .. }, When::AtArrival) if open => {
                    Judged::DeferToRound(opening.record().ordinal)
                }
                _ => Judged::Try(opening, fitting),
            });
        }
        if too_late(now) {
            return Err(Rejection::new(Reason::Closed));
        }
        if !waits {
            return Err(Rejection::new(Reason::SoldOut));
        }
        // Nobody is drawn into a slot that it is too late for by the next release.
        let draw = opening.calendar.next(&opening.releases(), now).unwrap_or(now);
        if too_late(draw) {
            return Err(Rejection::new(if given { Reason::SoldOut } else { Reason::Closed }));
        }
        if !self.crowd.has_room() {
            return Err(Rejection::new(Reason::SoldOut));
        }
        if opening.party_waits(ask) {
            let detail = "applicants: one of them waits by another request".to_owned();
            return Err(Rejection::because(Reason::AlreadyBooked, detail));
        }
        Ok(Judged::JoinWaitlist(opening, fitting))
    }

    /// A request that names no opening may be the repetition of one that was
    /// granted in another opening than the one it means today.
    fn judge_elsewhere<'a>(
        ask: &BookingRequest<'_>,
        openings: &'a Openings,
        meant: Option<&Arc<Opening>>,
        at: Durable,
    ) -> Option<Judged<'a>> {
        let mut deciding = false;
        for opening in openings.iter() {
            let is_meant = meant.is_some_and(|meant| Arc::ptr_eq(meant, opening));
            if is_meant || opening.phase() == Phase::Scheduled {
                continue;
            }
            match opening.first_claim(ask, at).0 {
                First::Same(booking) => {
                    let found = FoundBooking { booking, opening: Arc::clone(opening) };
                    return Some(Judged::Settled(Settled::Repeat(found, at)));
                }
                First::Waits(waiting) => {
                    let opening = Arc::clone(opening);
                    return Some(Judged::Settled(Settled::Entered {
                        waiting,
                        opening,
                        durable: at,
                    }));
                }
                First::Deciding => deciding = true,
                // The key is one within its opening.
                First::Unclaimed | First::Booked | First::Conflict => {}
            }
        }
        deciding.then_some(Judged::Retry)
    }

    /// True: open. False: its record is due, wait for it.
    fn phase_allows(opening: &Opening, now: Timestamp) -> Result<bool, Rejection> {
        let (opens_at, closes_at) = opening.window();
        match opening.phase() {
            // An operator has ended it: there is nothing to wait for.
            Phase::Scheduled if closes_at <= opens_at => Err(Rejection::new(Reason::Closed)),
            Phase::Scheduled if now < opens_at => Err(Rejection {
                retry_after_ms: Some(opens_at.millis_since(now)),
                ..Rejection::new(Reason::NotOpen)
            }),
            Phase::Scheduled => Ok(false),
            Phase::Open => Ok(now < closes_at),
            Phase::Closed => Err(Rejection::new(Reason::Closed)),
        }
    }
}

/// The fitting slots of every choice, in order of preference.
pub(crate) type Fitting<'a> = SmallVec<[&'a [u32]; 4]>;

impl Opening {
    fn party_fits(&self, applicants: u32) -> Result<(), Rejection> {
        let most = u32::from(self.record().rules.max_party);
        if applicants > most {
            return Err(Rejection::because(
                Reason::PartyTooLarge,
                format!("applicants: {applicants} given, at most {most} in this opening"),
            ));
        }
        Ok(())
    }

    /// What speaks against a party whatever is free: no slot that it asks for could
    /// ever take all of it; its account, or one of its applicants, has had as much
    /// as one may.
    /// `granted`: what the first of them was granted so far.
    fn beyond_limits(
        &self,
        ask: &BookingRequest<'_>,
        fitting: &Fitting<'_>,
        granted: usize,
        at: Durable,
    ) -> Option<Rejection> {
        let places = ask.applicants.len() as u32;
        let takes = |slot: &u32| self.quotas.of(*slot) >= places as i32;
        if !fitting.iter().copied().flatten().any(takes) {
            let detail = format!("applicants: {places} given, more than any slot asked for has");
            return Some(Rejection::because(Reason::PartyTooLarge, detail));
        }
        match &ask.account {
            None if self.accounts.are_limited() => {
                let detail = "account: required, places per account are limited".to_owned();
                return Some(Rejection::because(Reason::AccountLimit, detail));
            }
            Some(account) if self.accounts.durably_full(account, places) => {
                return Some(Rejection::new(Reason::AccountLimit));
            }
            _ => {}
        }
        let enough =
            granted >= self.most_bookings() || self.anyone_had_enough(&ask.applicants[1..], at);
        enough.then(|| {
            let most = self.record().rules.max_bookings;
            let detail = format!("applicants: one of them was granted {most} bookings already");
            Rejection::because(Reason::ApplicantLimit, detail)
        })
    }

    /// True if one of these people was granted as many bookings in this opening as
    /// one may ever have.
    pub(crate) fn anyone_had_enough(&self, applicants: &[Pseudonym], at: Durable) -> bool {
        let most = self.most_bookings();
        applicants.iter().any(|applicant| {
            self.claims.look(applicant, |claim| claim.is_some_and(|c| c.granted(at) >= most))
        })
    }

    /// Most bookings that one person may ever be granted in this opening.
    fn most_bookings(&self) -> usize {
        self.record().rules.max_bookings.into()
    }

    /// The slots that fit, unless a choice is unknown or not permitted.
    pub(crate) fn fitting_all<'a>(
        &'a self,
        choices: &[Choice<'_>],
        vouched: bool,
    ) -> Result<Fitting<'a>, Rejection> {
        let mut fitting = Fitting::new();
        for (i, choice) in choices.iter().enumerate() {
            match self.fitting(choice) {
                Ok(slots) => fitting.push(slots),
                Err(unknown) => {
                    let detail = format!("choices[{i}].{unknown}");
                    return Err(Rejection::because(Reason::UnknownSlot, detail));
                }
            }
        }
        if !vouched {
            for (i, choice) in choices.iter().enumerate() {
                if choice.session.is_some()
                    && fitting[i].first().is_some_and(|slot| self.slot(*slot).restricted)
                {
                    return Err(Rejection::because(
                        Reason::NotPermitted,
                        format!("choices[{i}].session: restricted, only for vouched requests"),
                    ));
                }
            }
        }
        Ok(fitting)
    }

    /// Claims the applicants, then takes places in the first slot with room for
    /// all; nothing is left taken where that fails.
    fn take(
        &self,
        ask: &BookingRequest<'_>,
        fitting: &Fitting<'_>,
        openings: &Openings,
        (now, at): (Timestamp, Durable),
    ) -> Option<Arc<Booking>> {
        let mut party: SmallVec<[Pseudonym; 1]> = ask.applicants.into();
        party.sort_unstable();
        // What became of an earlier claim of theirs since they were looked at counts here.
        self.claims.take_below(&party, self.most_bookings()).ok()?;
        // Looked at again with the own claim in place: of two threads that claim
        // one person in two openings, one at least sees the other.
        if self.booked_elsewhere(ask.applicants, openings, (now, at)) != Some(false) {
            self.claims.give(&party);
            return None;
        }
        let places = ask.applicants.len() as u32;
        if ask.account.is_none_or(|account| self.accounts.take(&account, places)) {
            let mut slots = fitting.iter().copied().flatten().copied();
            let had = |slot: &u32| {
                self.is_bookable(*slot, now) && self.free[*slot as usize].take(places as i32)
            };
            if let Some(slot) = slots.find(had) {
                return Some(Arc::new(Booking::asked(ask, self.record().ordinal, slot)));
            }
            if let Some(account) = &ask.account {
                self.accounts.give(account, places);
            }
        }
        self.claims.give(&party);
        None
    }

    /// Claims the applicants of an entry into the opening's draw.
    fn take_ballot(
        &self,
        ask: &BookingRequest<'_>,
        fitting: &Fitting<'_>,
        openings: &Openings,
        (now, at): (Timestamp, Durable),
    ) -> Option<Box<DrawEntryRecord>> {
        let mut party: SmallVec<[Pseudonym; 1]> = ask.applicants.into();
        party.sort_unstable();
        self.claims.take_below(&party, self.most_bookings()).ok()?;
        // Looked at again with the own claim in place: an entry that became
        // durable since is seen, and no other one can any more.
        let places = ask.applicants.len() as u32;
        let fits = !self.party_waits(ask)
            && self.booked_elsewhere(ask.applicants, openings, (now, at)) == Some(false)
            && ask.account.is_none_or(|account| self.accounts.take(&account, places));
        if fits {
            return Some(Box::new(self.entry(ask, fitting, false)));
        }
        self.claims.give(&party);
        None
    }

    fn entry(
        &self,
        ask: &BookingRequest<'_>,
        fitting: &Fitting<'_>,
        waits: bool,
    ) -> DrawEntryRecord {
        let mut slots: Vec<u32> = Vec::new();
        for slot in fitting.iter().copied().flatten() {
            if !slots.contains(slot) {
                slots.push(*slot);
            }
        }
        DrawEntryRecord {
            receipt: BookingId::from_random(0),
            opening: self.record().ordinal,
            applicants: ask.applicants.to_vec(),
            slots,
            request_id: ask.request_id.to_owned(),
            content: ask.content.digest(),
            reference: ask.reference.map(str::to_owned),
            account: ask.account,
            channel: ask.channel.map(str::to_owned),
            waits,
        }
    }
}
