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
use giliran_wire::ledger::{DrawEntryRecord, Grant, Order, Seat};
use giliran_wire::request::{Choice, Wanted};
use giliran_wire::{BookingId, Digest, Pseudonym, Timestamp};
use smallvec::SmallVec;

use crate::allocator::{Allocator, FoundBooking};
use crate::claims::{Claim, ClaimState};
use crate::opening::Opening;
use crate::openings::Openings;
use crate::sync::seqlock::Durable;
use crate::{Booking, DrawEntry, Pending};

/// When another try is worth it where there are that many, ms: some may withdraw.
const FULL_RETRY_MS: u64 = 5_000;

/// A valid `book` request, its people under pseudonyms.
#[derive(Debug, Clone, Copy)]
pub struct BookingRequest<'a> {
    /// The idempotency key, within opening and first applicant.
    pub request_id: &'a str,
    /// In the request's order; 1 to 5, distinct.
    pub applicants: &'a [Pseudonym],
    /// What makes it the same request.
    pub content: Content<'a>,
    /// In order of preference; 1 to 16.
    pub choices: &'a [Choice<'a>],
    /// The opening's id, where named.
    pub opening: Option<&'a str>,
    /// After this nobody waits for the answer.
    pub expires_at: Option<Timestamp>,
    /// The account that asks.
    pub account: Option<Pseudonym>,
    /// The channel it asks through.
    pub channel: Option<&'a str>,
    /// To be handed back in the booking.
    pub reference: Option<&'a str>,
    /// The publisher has checked entitlements.
    pub vouched: bool,
    /// Where all is sold out: wait for returned places.
    pub wait: bool,
}

/// What makes a request the same request: a digest, made only where it is compared or
/// put on record. A rejection needs none.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// A digest that was made earlier, of the same request.
    Digest(Digest),
    /// What it is to be made of: what is wanted, and by whom.
    Of(Wanted<'a>, &'a [Pseudonym]),
}

impl Content<'_> {
    /// The digest; one hash over the request where it is not made yet.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Digest(digest) => *digest,
            Self::Of(wanted, applicants) => wanted.digest(applicants),
        }
    }
}

/// A [`BookingRequest`] that outlives the payload it came in, for requests that wait.
#[derive(Debug, Clone)]
pub struct OwnedBookingRequest {
    request_id: Box<str>,
    applicants: SmallVec<[Pseudonym; 1]>,
    content: Digest,
    choices: Vec<Choice<'static>>,
    opening: Option<Box<str>>,
    expires_at: Option<Timestamp>,
    account: Option<Pseudonym>,
    channel: Option<Box<str>>,
    reference: Option<Box<str>>,
    vouched: bool,
    wait: bool,
}

impl OwnedBookingRequest {
    /// Borrows the request, to decide it again.
    pub fn ask(&self) -> BookingRequest<'_> {
        BookingRequest {
            request_id: &self.request_id,
            applicants: &self.applicants,
            content: Content::Digest(self.content),
            choices: &self.choices,
            opening: self.opening.as_deref(),
            expires_at: self.expires_at,
            account: self.account,
            channel: self.channel.as_deref(),
            reference: self.reference.as_deref(),
            vouched: self.vouched,
            wait: self.wait,
        }
    }

    /// Id that the client chose for its request.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The channel it came through.
    pub fn channel(&self) -> Option<&str> {
        self.channel.as_deref()
    }

    /// The people it is for.
    pub fn applicants(&self) -> &[Pseudonym] {
        &self.applicants
    }

    /// After this nobody waits for the answer.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }
}

impl BookingRequest<'_> {
    /// A copy that owns what it says.
    pub fn to_owned(&self) -> OwnedBookingRequest {
        OwnedBookingRequest {
            request_id: self.request_id.into(),
            applicants: self.applicants.into(),
            content: self.content.digest(),
            choices: self.choices.iter().map(Choice::to_static).collect(),
            opening: self.opening.map(Into::into),
            expires_at: self.expires_at,
            account: self.account,
            channel: self.channel.map(Into::into),
            reference: self.reference.map(Into::into),
            vouched: self.vouched,
            wait: self.wait,
        }
    }
}

/// What [`Allocator::decide`] wants done with a request.
#[derive(Debug)]
#[must_use = "a grant dropped here gives back what it has taken"]
pub enum Decision {
    /// The answer can be given now.
    Settled(Settled),
    /// Places are taken. The grant still lacks booking id and numbers.
    Granted(Pending<Grant>),
    /// Everything it wants is durably gone, and it waits for what comes back.
    /// The entry lacks its receipt; the state machine
    /// [enters](crate::StateMachine::enter_waitlist) it.
    JoinWaitlist(Box<DrawEntryRecord>),
    /// The opening is drawn, and nothing speaks against this entry; its people
    /// are claimed. It lacks its receipt
    /// ([`StateMachine::enter_draw`](crate::StateMachine::enter_draw)).
    EnterDraw(Pending<DrawEntryRecord>),
    /// It belongs into the present round of the opening of this ordinal, and is
    /// [decided](Allocator::decide_in_round) at its end.
    DeferToRound(u32),
    /// It turns on something not yet durable: decide again after the block that
    /// is on its way.
    Retry,
}

/// An answer that rests on durable facts.
#[derive(Debug, Clone)]
pub enum Settled {
    /// The same request was granted before: its booking.
    Repeat(FoundBooking, Durable),
    /// The same request waits for returned places already, or has been
    /// withdrawn from doing so.
    Entered {
        /// The entry as it was recorded.
        waiting: Arc<DrawEntry>,
        /// The opening whose draw it takes part in.
        opening: Arc<Opening>,
        /// What it rests on.
        durable: Durable,
    },
    /// The rejection, true at this durable position.
    Rejected(Rejection, Durable),
}

/// Why a request is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The first reason in the one precedence that applies.
    pub reason: Reason,
    /// What and where, where the reason alone does not say it.
    pub detail: Option<String>,
    /// For `not_open`: until it opens.
    pub retry_after_ms: Option<u64>,
    /// The opening it speaks of, by ordinal, and the slot that was wanted first,
    /// where that is a single one; for those who count.
    pub about: Option<(u32, Option<u32>)>,
}

impl Rejection {
    pub(crate) const fn new(reason: Reason) -> Self {
        Self { reason, detail: None, retry_after_ms: None, about: None }
    }

    pub(crate) fn because(reason: Reason, detail: String) -> Self {
        Self { reason, detail: Some(detail), retry_after_ms: None, about: None }
    }

    fn about(self, opening: &Opening, slot: Option<u32>) -> Self {
        Self { about: Some((opening.record().ordinal, slot)), ..self }
    }
}

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

/// What the first applicant's claim says of a request.
enum First {
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
                    let grant = opening.take(ask, &fitting, &openings, now);
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
                    let entry = opening.take_ballot(ask, &fitting, &openings, now);
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
        let (first, granted) = opening.first_claim(ask);
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
        if let Some(rejection) = opening.beyond_limits(ask, &fitting, granted) {
            return reject(rejection);
        }
        match opening.party_booked(ask, &first, openings, now) {
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
            match opening.first_claim(ask).0 {
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
            granted >= self.most_bookings() || self.anyone_had_enough(&ask.applicants[1..]);
        enough.then(|| {
            let most = self.record().rules.max_bookings;
            let detail = format!("applicants: one of them was granted {most} bookings already");
            Rejection::because(Reason::ApplicantLimit, detail)
        })
    }

    /// True if one of these people was granted as many bookings in this opening as
    /// one may ever have.
    pub(crate) fn anyone_had_enough(&self, applicants: &[Pseudonym]) -> bool {
        let most = self.most_bookings();
        applicants.iter().any(|applicant| {
            self.claims.look(applicant, |claim| claim.is_some_and(|c| c.granted() >= most))
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

    /// What the first applicant's claim says of a request, and how many bookings were
    /// granted for this applicant so far.
    fn first_claim(&self, ask: &BookingRequest<'_>) -> (First, usize) {
        self.claims.look(&ask.applicants[0], |claim| match claim {
            Some(claim) => (Self::first_of(claim, ask), claim.granted()),
            None => (First::Unclaimed, 0),
        })
    }

    fn first_of(claim: &Claim, ask: &BookingRequest<'_>) -> First {
        let first = &ask.applicants[0];
        // By a request of this id?
        let made = |booking: &&Arc<Booking>| {
            booking.seats[0].applicant == *first && *booking.request_id == *ask.request_id
        };
        // Changed by a request of this id?
        let changed = |booking: &Arc<Booking>| {
            booking.seats[0].applicant == *first && booking.done(ask.request_id).is_some()
        };
        let live = match &claim.standing {
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
        match &claim.standing {
            _ if claim.past().iter().chain(live).any(changed) => First::Conflict,
            ClaimState::Free => First::Unclaimed,
            ClaimState::Deciding => First::Deciding,
            ClaimState::Granted(_) => First::Booked,
        }
    }

    /// Whether a member of the party durably has a booking; none: that turns on
    /// a claim that is being decided.
    fn party_booked(
        &self,
        ask: &BookingRequest<'_>,
        first: &First,
        openings: &Openings,
        now: Timestamp,
    ) -> Option<bool> {
        if matches!(first, First::Booked) {
            return Some(true);
        }
        let mut deciding = false;
        for applicant in &ask.applicants[1..] {
            let (booked, undecided) = self.claims.look(applicant, |claim| {
                let standing = claim.map(|claim| &claim.standing);
                (
                    matches!(standing, Some(ClaimState::Granted(_))),
                    matches!(standing, Some(ClaimState::Deciding)),
                )
            });
            if booked {
                return Some(true);
            }
            deciding |= undecided;
        }
        match self.booked_elsewhere(ask.applicants, openings, now) {
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
        now: Timestamp,
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
                    match claim.map(|claim| &claim.standing) {
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
    fn party_waits(&self, ask: &BookingRequest<'_>) -> bool {
        ask.applicants.iter().any(|applicant| {
            self.claims.look(applicant, |claim| {
                claim.and_then(|claim| claim.waiting()).is_some_and(|waiting| waiting.is_live())
            })
        })
    }

    /// Claims the applicants, then takes places in the first slot with room for
    /// all; nothing is left taken where that fails.
    fn take(
        &self,
        ask: &BookingRequest<'_>,
        fitting: &Fitting<'_>,
        openings: &Openings,
        now: Timestamp,
    ) -> Option<Box<Grant>> {
        let mut party: SmallVec<[Pseudonym; 1]> = ask.applicants.into();
        party.sort_unstable();
        // What became of an earlier claim of theirs since they were looked at counts here.
        self.claims.take_below(&party, self.most_bookings()).ok()?;
        // Looked at again with the own claim in place: of two threads that claim
        // one person in two openings, one at least sees the other.
        if self.booked_elsewhere(ask.applicants, openings, now) != Some(false) {
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
                return Some(Box::new(self.grant(ask, slot)));
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
        now: Timestamp,
    ) -> Option<Box<DrawEntryRecord>> {
        let mut party: SmallVec<[Pseudonym; 1]> = ask.applicants.into();
        party.sort_unstable();
        self.claims.take_below(&party, self.most_bookings()).ok()?;
        // Looked at again with the own claim in place: an entry that became
        // durable since is seen, and no other one can any more.
        let places = ask.applicants.len() as u32;
        let fits = !self.party_waits(ask)
            && self.booked_elsewhere(ask.applicants, openings, now) == Some(false)
            && ask.account.is_none_or(|account| self.accounts.take(&account, places));
        if fits {
            return Some(Box::new(self.entry(ask, fitting, false)));
        }
        self.claims.give(&party);
        None
    }

    fn grant(&self, ask: &BookingRequest<'_>, slot: u32) -> Grant {
        let seat = |applicant: &Pseudonym| Seat { applicant: *applicant, number: 0 };
        Grant {
            booking: BookingId::from_random(0),
            opening: self.record().ordinal,
            slot,
            seats: ask.applicants.iter().map(seat).collect(),
            request_id: ask.request_id.to_owned(),
            content: ask.content.digest(),
            reference: ask.reference.map(str::to_owned),
            account: ask.account,
            channel: ask.channel.map(str::to_owned),
            hold_expires_at: None,
        }
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
