//! The rules once more, from plain lists: what a request must be told, given
//! what is durable and what is on its way. Slow and obvious on purpose.

use giliran_core::Ask;
use giliran_wire::answer::{Phase, Reason};
use giliran_wire::ledger::OpeningRecord;
use giliran_wire::request::{self, Choice};
use giliran_wire::{BookingId, Digest, Pseudonym, Text, Timestamp};

/// A request with everything it says.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) request_id: String,
    pub(crate) applicants: Vec<Pseudonym>,
    pub(crate) choices: Vec<Choice<'static>>,
    pub(crate) opening: Option<String>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) account: Option<Pseudonym>,
    pub(crate) vouched: bool,
}

impl Request {
    pub(crate) fn content(&self) -> Digest {
        request::Book {
            request_id: Text::from(self.request_id.as_str()),
            applicants: Vec::new(),
            choices: self.choices.clone(),
            opening: self.opening.as_deref().map(Text::from),
            expires_at: None,
            account: None,
            channel: None,
            reference: None,
            wait: false,
        }
        .content(&self.applicants)
    }

    pub(crate) fn ask(&self) -> Ask<'_> {
        Ask {
            request_id: &self.request_id,
            applicants: &self.applicants,
            content: self.content(),
            choices: &self.choices,
            opening: self.opening.as_deref(),
            expires_at: self.expires_at,
            account: self.account,
            channel: Some("mobile"),
            reference: Some("order-77"),
            vouched: self.vouched,
            wait: false,
        }
    }

    fn same_request(&self, other: &Self) -> bool {
        self.request_id == other.request_id && self.applicants[0] == other.applicants[0]
    }

    fn same_content(&self, other: &Self) -> bool {
        self.applicants == other.applicants
            && self.choices == other.choices
            && self.opening == other.opening
    }
}

/// Places that a request has, or is about to have.
#[derive(Debug, Clone)]
pub(crate) struct Had {
    pub(crate) request: Request,
    pub(crate) opening: usize,
    pub(crate) slot: u32,
    /// One per applicant, once it is in a block.
    pub(crate) numbers: Vec<u16>,
    /// Once it is durable.
    pub(crate) booking: Option<BookingId>,
}

#[derive(Debug, Clone)]
pub(crate) struct PlainOpening {
    pub(crate) record: OpeningRecord,
    pub(crate) phase: Phase,
}

/// What the request must be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Repeat(BookingId),
    Refused(Reason),
    Granted { opening: usize, slot: u32 },
    Wait,
}

#[derive(Debug, Default)]
pub(crate) struct Plain {
    pub(crate) openings: Vec<PlainOpening>,
    pub(crate) had: Vec<Had>,
}

impl Plain {
    pub(crate) fn expected(&self, request: &Request, now: Timestamp) -> Expected {
        let meant = self.meant(request);
        if request.opening.is_none() {
            let elsewhere: Vec<&Had> = self
                .had
                .iter()
                .filter(|had| Some(had.opening) != meant)
                .filter(|had| had.request.applicants.contains(&request.applicants[0]))
                .collect();
            let same = |had: &&&Had| {
                had.request.same_request(request) && had.request.same_content(request)
            };
            if let Some(id) = elsewhere.iter().filter(same).find_map(|had| had.booking) {
                return Expected::Repeat(id);
            }
            if elsewhere.iter().any(|had| had.booking.is_none()) {
                return Expected::Wait;
            }
        }
        let Some(opening) = meant else { return Expected::Refused(Reason::UnknownOpening) };
        self.expected_in(opening, request, now)
    }

    fn expected_in(&self, opening: usize, request: &Request, now: Timestamp) -> Expected {
        let record = &self.openings[opening].record;
        let of = |applicant: &Pseudonym| {
            self.had
                .iter()
                .find(|h| h.opening == opening && h.request.applicants.contains(applicant))
        };
        match of(&request.applicants[0]) {
            Some(Had { booking: None, .. }) => return Expected::Wait,
            Some(had) if had.request.same_request(request) => {
                return if had.request.same_content(request) {
                    Expected::Repeat(had.booking.unwrap())
                } else {
                    Expected::Refused(Reason::Conflict)
                };
            }
            _ => {}
        }
        if request.expires_at.is_some_and(|deadline| now >= deadline) {
            return Expected::Refused(Reason::Expired);
        }
        match self.openings[opening].phase {
            Phase::Scheduled if now < record.opens_at => {
                return Expected::Refused(Reason::NotOpen);
            }
            Phase::Scheduled => return Expected::Wait,
            Phase::Closed => return Expected::Refused(Reason::Closed),
            Phase::Open if now >= record.closes_at => return Expected::Wait,
            Phase::Open => {}
        }
        if request.applicants.len() > usize::from(record.rules.max_party) {
            return Expected::Refused(Reason::PartyTooLarge);
        }
        let fitting: Vec<Vec<u32>> =
            request.choices.iter().map(|choice| fitting(record, choice)).collect();
        if fitting.iter().any(Vec::is_empty) {
            return Expected::Refused(Reason::UnknownSlot);
        }
        if !request.vouched && fitting.iter().flatten().any(|slot| session(record, *slot).0) {
            return Expected::Refused(Reason::NotPermitted);
        }
        if self.over_limit(opening, request, true) {
            return Expected::Refused(Reason::AccountLimit);
        }
        let party: Vec<&Had> = request.applicants.iter().filter_map(of).collect();
        if party.iter().any(|had| had.booking.is_some()) {
            return Expected::Refused(Reason::AlreadyBooked);
        }
        if !party.is_empty() {
            return Expected::Wait;
        }
        let places = request.applicants.len() as i32;
        let slots: Vec<u32> = fitting.into_iter().flatten().collect();
        if slots.iter().all(|slot| self.free(opening, *slot, true) < places) {
            return Expected::Refused(Reason::SoldOut);
        }
        if self.over_limit(opening, request, false) {
            return Expected::Wait;
        }
        match slots.into_iter().find(|slot| self.free(opening, *slot, false) >= places) {
            Some(slot) => Expected::Granted { opening, slot },
            None => Expected::Wait,
        }
    }

    fn meant(&self, request: &Request) -> Option<usize> {
        let of = |phase| {
            let all = self.openings.iter().enumerate();
            all.filter(move |(_, o)| o.phase == phase).collect::<Vec<_>>()
        };
        if let Some(id) = &request.opening {
            return self.openings.iter().position(|o| o.record.id == *id);
        }
        let open = of(Phase::Open);
        if open.len() > 1 {
            return None;
        }
        let scheduled = of(Phase::Scheduled).into_iter().min_by_key(|(_, o)| o.record.opens_at);
        let closed = of(Phase::Closed).into_iter().max_by_key(|(_, o)| o.record.closes_at);
        open.into_iter().next().or(scheduled).or(closed).map(|(i, _)| i)
    }

    fn over_limit(&self, opening: usize, request: &Request, durably: bool) -> bool {
        let Some(most) = self.openings[opening].record.rules.max_per_account else { return false };
        let Some(account) = request.account else { return false };
        let has: usize = self
            .had
            .iter()
            .filter(|had| had.opening == opening && had.request.account == Some(account))
            .filter(|had| !durably || had.booking.is_some())
            .map(|had| had.request.applicants.len())
            .sum();
        has + request.applicants.len() > most as usize
    }

    /// Places that no durable grant holds; not `durably`: and none on its way.
    pub(crate) fn free(&self, opening: usize, slot: u32, durably: bool) -> i32 {
        let taken: usize = self
            .had
            .iter()
            .filter(|had| had.opening == opening && had.slot == slot)
            .filter(|had| !durably || had.booking.is_some())
            .map(|had| had.request.applicants.len())
            .sum();
        i32::from(self.openings[opening].record.slots[slot as usize].quota) - taken as i32
    }

    /// The lowest numbers of a slot that nobody holds.
    pub(crate) fn lowest_numbers(&self, opening: usize, slot: u32, places: usize) -> Vec<u16> {
        let held: Vec<u16> = self
            .had
            .iter()
            .filter(|had| had.opening == opening && had.slot == slot)
            .flat_map(|had| had.numbers.clone())
            .collect();
        (1..=self.openings[opening].record.slots[slot as usize].quota)
            .filter(|number| !held.contains(number))
            .take(places)
            .collect()
    }
}

/// Restricted, explicit.
fn session(record: &OpeningRecord, slot: u32) -> (bool, bool) {
    let slot = record.slots[slot as usize];
    let session = &record.offices[slot.office as usize].sessions[slot.session as usize];
    (session.restricted, session.explicit)
}

/// The slots a choice means, in the order they are tried.
pub(crate) fn fitting(record: &OpeningRecord, choice: &Choice<'_>) -> Vec<u32> {
    let mut slots: Vec<u32> = (0..record.slots.len() as u32)
        .filter(|i| {
            let slot = record.slots[*i as usize];
            let office = &record.offices[slot.office as usize];
            office.id == *choice.office
                && choice.date.is_none_or(|date| date == slot.date)
                && match &choice.session {
                    Some(id) => office.sessions[slot.session as usize].id == **id,
                    None => session(record, *i) == (false, false),
                }
        })
        .collect();
    slots.sort_by_key(|i| {
        let slot = record.slots[*i as usize];
        (slot.date, slot.session)
    });
    slots
}
