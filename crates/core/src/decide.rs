//! Deciding a request: settled from durable facts, granted, or to wait.
//!
//! One precedence, always: same request again (its booking, or `conflict`) →
//! `expired` → opening state → party size → unknown slot → `not_permitted` →
//! `account_limit` → `already_booked` → `sold_out`. (`malformed` comes before
//! all of them, at the edge.)

use std::sync::Arc;

use giliran_wire::answer::{Phase, Reason};
use giliran_wire::ledger::{Grant, Seat};
use giliran_wire::request::Choice;
use giliran_wire::{BookingId, Digest, Pseudonym, Timestamp};
use smallvec::SmallVec;

use crate::Booking;
use crate::book::{Book, Found};
use crate::claims::Claim;
use crate::opening::Opening;
use crate::stable::Durable;

/// A valid `book` request, its people under pseudonyms.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The idempotency key, within opening and first applicant.
    pub request_id: &'a str,
    /// In the request's order; 1 to 5, distinct.
    pub applicants: &'a [Pseudonym],
    /// Digest of what makes it the same request.
    pub content: Digest,
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
}

/// An [`Ask`] that outlives the payload it came in, for requests that wait.
#[derive(Debug, Clone)]
pub struct OwnedAsk {
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
}

impl OwnedAsk {
    /// The request again.
    pub fn ask(&self) -> Ask<'_> {
        Ask {
            request_id: &self.request_id,
            applicants: &self.applicants,
            content: self.content,
            choices: &self.choices,
            opening: self.opening.as_deref(),
            expires_at: self.expires_at,
            account: self.account,
            channel: self.channel.as_deref(),
            reference: self.reference.as_deref(),
            vouched: self.vouched,
        }
    }

    /// The request's id.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// After this nobody waits for the answer.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }
}

impl Ask<'_> {
    /// A copy that owns what it says.
    pub fn to_owned(&self) -> OwnedAsk {
        OwnedAsk {
            request_id: self.request_id.into(),
            applicants: self.applicants.into(),
            content: self.content,
            choices: self
                .choices
                .iter()
                .map(|c| Choice {
                    office: c.office.clone().into_owned(),
                    date: c.date,
                    session: c.session.clone().map(giliran_wire::Text::into_owned),
                })
                .collect(),
            opening: self.opening.map(Into::into),
            expires_at: self.expires_at,
            account: self.account,
            channel: self.channel.map(Into::into),
            reference: self.reference.map(Into::into),
            vouched: self.vouched,
        }
    }
}

/// What [`Book::decide`] says.
#[derive(Debug)]
#[must_use = "a grant dropped here leaks its places"]
pub enum Decision {
    /// The answer can be given now.
    Settled(Settled),
    /// Places are taken. The grant still lacks booking id and numbers; it goes
    /// into a block, or back through [`Book::abandon`].
    Granted(Box<Grant>),
    /// It turns on something not yet durable: decide again after the block that
    /// is on its way.
    Wait,
}

/// An answer that rests on durable facts.
#[derive(Debug, Clone)]
pub enum Settled {
    /// The same request was granted before: its booking.
    Repeat(Found, Durable),
    /// Refused.
    Refused(Refusal, Durable),
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// What and where, where the reason alone does not say it.
    pub detail: Option<String>,
    /// For `not_open`: until it opens.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    const fn new(reason: Reason) -> Self {
        Self { reason, detail: None, retry_after_ms: None }
    }

    fn because(reason: Reason, detail: String) -> Self {
        Self { reason, detail: Some(detail), retry_after_ms: None }
    }
}

enum Judged<'a> {
    Settled(Settled),
    Wait,
    /// Nothing durable speaks against it.
    Try(&'a Opening, Fitting<'a>),
}

/// What the first applicant's claim says of a request.
enum First {
    Unclaimed,
    /// Perhaps by the same request.
    Deciding,
    /// By another request.
    Booked,
    /// By the same request: its booking.
    Same(Arc<Booking>),
    /// By a request of the same id with another content.
    Conflict,
}

impl Book {
    /// Decides a request at engine time `now`. Any number of threads may; none
    /// waits for another.
    pub fn decide(&self, ask: &Ask<'_>, now: Timestamp) -> Decision {
        for glance in self.stable.attempts() {
            let openings = self.openings.load();
            match self.judge(ask, &openings, now, glance.at) {
                Judged::Settled(settled) => {
                    if self.stable.held(&glance) {
                        return Decision::Settled(settled);
                    }
                }
                // To wait is never wrong, and claims and counters speak for
                // themselves at any moment: no matter whether a block was being
                // applied meanwhile.
                Judged::Wait => return Decision::Wait,
                Judged::Try(opening, fitting) => {
                    return opening.take(ask, &fitting).map_or(Decision::Wait, Decision::Granted);
                }
            }
        }
        Decision::Wait
    }

    fn judge<'a>(
        &self,
        ask: &Ask<'_>,
        openings: &'a [Arc<Opening>],
        now: Timestamp,
        at: Durable,
    ) -> Judged<'a> {
        let refuse = |refusal| Judged::Settled(Settled::Refused(refusal, at));
        let meant = match ask.opening {
            Some(id) => {
                openings.iter().find(|o| o.id() == id).ok_or("opening: there is none of this id")
            }
            None => Self::meant(openings),
        };
        if ask.opening.is_none()
            && let Some(judged) = Self::judge_elsewhere(ask, openings, meant.ok(), at)
        {
            return judged;
        }
        let opening = match meant {
            Ok(opening) => opening,
            Err(detail) => return refuse(Refusal::because(Reason::UnknownOpening, detail.into())),
        };
        let first = opening.first_claim(ask);
        match first {
            First::Deciding => return Judged::Wait,
            First::Same(booking) => {
                let found = Found { booking, opening: Arc::clone(opening) };
                return Judged::Settled(Settled::Repeat(found, at));
            }
            First::Conflict => return refuse(Refusal::new(Reason::Conflict)),
            First::Booked | First::Unclaimed => {}
        }
        if ask.expires_at.is_some_and(|deadline| deadline <= now) {
            return refuse(Refusal::new(Reason::Expired));
        }
        match Self::phase_allows(opening, now) {
            Ok(true) => {}
            Ok(false) => return Judged::Wait,
            Err(refusal) => return refuse(refusal),
        }
        let fitting = match opening.fitting_all(ask) {
            Ok(fitting) => fitting,
            Err(refusal) => return refuse(refusal),
        };
        let places = ask.applicants.len() as u32;
        if ask.account.is_some_and(|account| opening.accounts.durably_full(&account, places)) {
            return refuse(Refusal::new(Reason::AccountLimit));
        }
        match opening.party_booked(ask, &first) {
            Some(true) => return refuse(Refusal::new(Reason::AlreadyBooked)),
            Some(false) => {}
            None => return Judged::Wait,
        }
        let has_room = |slot: &u32| opening.durably_free.of(*slot) >= places as i32;
        if fitting.iter().any(|slots| slots.iter().any(has_room)) {
            Judged::Try(opening, fitting)
        } else {
            refuse(Refusal::new(Reason::SoldOut))
        }
    }

    /// A request that names no opening may be the repetition of one that was
    /// granted in another opening than the one it means today.
    fn judge_elsewhere<'a>(
        ask: &Ask<'_>,
        openings: &'a [Arc<Opening>],
        meant: Option<&Arc<Opening>>,
        at: Durable,
    ) -> Option<Judged<'a>> {
        let mut deciding = false;
        for opening in openings {
            let is_meant = meant.is_some_and(|meant| Arc::ptr_eq(meant, opening));
            if is_meant || opening.phase() == Phase::Scheduled {
                continue;
            }
            match opening.first_claim(ask) {
                First::Same(booking) => {
                    let found = Found { booking, opening: Arc::clone(opening) };
                    return Some(Judged::Settled(Settled::Repeat(found, at)));
                }
                First::Deciding => deciding = true,
                // The key is one within its opening.
                First::Unclaimed | First::Booked | First::Conflict => {}
            }
        }
        deciding.then_some(Judged::Wait)
    }

    /// True: open. False: its record is due, wait for it.
    fn phase_allows(opening: &Opening, now: Timestamp) -> Result<bool, Refusal> {
        let (opens_at, closes_at) = opening.window();
        match opening.phase() {
            Phase::Scheduled if now < opens_at => Err(Refusal {
                retry_after_ms: Some(opens_at.millis_since(now)),
                ..Refusal::new(Reason::NotOpen)
            }),
            Phase::Scheduled => Ok(false),
            Phase::Open => Ok(now < closes_at),
            Phase::Closed => Err(Refusal::new(Reason::Closed)),
        }
    }
}

/// The fitting slots of every choice, in order of preference.
type Fitting<'a> = SmallVec<[&'a [u32]; 4]>;

impl Opening {
    /// Party size, unknown slots and permission, in this order.
    fn fitting_all<'a>(&'a self, ask: &Ask<'_>) -> Result<Fitting<'a>, Refusal> {
        let most = usize::from(self.record().rules.max_party);
        if ask.applicants.len() > most {
            return Err(Refusal::because(
                Reason::PartyTooLarge,
                format!(
                    "applicants: {} given, at most {most} in this opening",
                    ask.applicants.len()
                ),
            ));
        }
        let fitting = ask
            .choices
            .iter()
            .enumerate()
            .map(|(i, choice)| {
                self.fitting(choice).map_err(|unknown| {
                    Refusal::because(Reason::UnknownSlot, format!("choices[{i}].{unknown}"))
                })
            })
            .collect::<Result<Fitting<'a>, Refusal>>()?;
        if !ask.vouched {
            for (i, choice) in ask.choices.iter().enumerate() {
                if choice.session.is_some()
                    && fitting[i].first().is_some_and(|slot| self.slot(*slot).restricted)
                {
                    return Err(Refusal::because(
                        Reason::NotPermitted,
                        format!("choices[{i}].session: restricted, only for vouched requests"),
                    ));
                }
            }
        }
        Ok(fitting)
    }

    fn first_claim(&self, ask: &Ask<'_>) -> First {
        self.claims.look(&ask.applicants[0], |claim| match claim {
            None => First::Unclaimed,
            Some(Claim::Deciding) => First::Deciding,
            Some(Claim::Granted(booking)) => {
                if booking.seats[0].applicant != ask.applicants[0]
                    || *booking.request_id != *ask.request_id
                {
                    First::Booked
                } else if booking.content == ask.content {
                    First::Same(Arc::clone(booking))
                } else {
                    First::Conflict
                }
            }
        })
    }

    /// Whether a member of the party durably has a booking; none: that turns on
    /// a claim that is being decided.
    fn party_booked(&self, ask: &Ask<'_>, first: &First) -> Option<bool> {
        if matches!(first, First::Booked) {
            return Some(true);
        }
        let mut deciding = false;
        for applicant in &ask.applicants[1..] {
            let (booked, undecided) = self.claims.look(applicant, |claim| {
                (matches!(claim, Some(Claim::Granted(_))), matches!(claim, Some(Claim::Deciding)))
            });
            if booked {
                return Some(true);
            }
            deciding |= undecided;
        }
        if deciding { None } else { Some(false) }
    }

    /// Claims the applicants, then takes places in the first slot with room for
    /// all; nothing is left taken where that fails.
    fn take(&self, ask: &Ask<'_>, fitting: &Fitting<'_>) -> Option<Box<Grant>> {
        let mut party: SmallVec<[Pseudonym; 1]> = ask.applicants.into();
        party.sort_unstable();
        self.claims.take(&party).ok()?;
        let places = ask.applicants.len() as u32;
        if ask.account.is_none_or(|account| self.accounts.take(&account, places)) {
            let mut slots = fitting.iter().copied().flatten().copied();
            if let Some(slot) = slots.find(|s| self.free[*s as usize].take(places as i32)) {
                return Some(Box::new(self.grant(ask, slot)));
            }
            if let Some(account) = &ask.account {
                self.accounts.give(account, places);
            }
        }
        self.claims.give(&party);
        None
    }

    fn grant(&self, ask: &Ask<'_>, slot: u32) -> Grant {
        let seat = |applicant: &Pseudonym| Seat { applicant: *applicant, number: 0 };
        Grant {
            booking: BookingId::from_random(0),
            opening: self.record().ordinal,
            slot,
            seats: ask.applicants.iter().map(seat).collect(),
            request_id: ask.request_id.to_owned(),
            content: ask.content,
            reference: ask.reference.map(str::to_owned),
            account: ask.account,
            channel: ask.channel.map(str::to_owned),
            hold_expires_at: None,
        }
    }
}
