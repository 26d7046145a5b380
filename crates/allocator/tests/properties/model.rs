//! The plain model: the rules once more, on plain lists. It says what a request must be
//! answered, given what is durable and what is on its way. Slow and obvious on purpose.

use std::collections::{BTreeMap, HashMap};

use giliran_allocator::{BookingRequest, Content};
use giliran_wire::answer::{Phase, Reason, Status};
use giliran_wire::ledger::{Leftovers, OpeningRecord, ReturnRule};
use giliran_wire::request::{self, Choice};
use giliran_wire::{BookingId, Digest, Pseudonym, Text, Timestamp};
use smallvec::SmallVec;

pub(crate) const DAY_MS: i64 = 24 * 3_600_000;
/// Jakarta is so far ahead of UTC, all year round.
const ZONE_MS: i64 = 7 * 3_600_000;

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
    pub(crate) wait: bool,
}

impl Request {
    pub(crate) fn content(&self) -> Digest {
        request::Book {
            request_id: Text::from(self.request_id.as_str()),
            applicants: SmallVec::new(),
            choices: self.choices.clone().into(),
            opening: self.opening.as_deref().map(Text::from),
            expires_at: None,
            account: None,
            channel: None,
            reference: None,
            wait: false,
        }
        .content(&self.applicants)
    }

    pub(crate) fn ask(&self) -> BookingRequest<'_> {
        BookingRequest {
            request_id: &self.request_id,
            applicants: &self.applicants,
            content: Content::Digest(self.content()),
            choices: &self.choices,
            opening: self.opening.as_deref(),
            expires_at: self.expires_at,
            account: self.account,
            channel: Some("mobile"),
            reference: Some("order-77"),
            vouched: self.vouched,
            wait: self.wait,
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

#[derive(Debug, Clone)]
pub(crate) struct Had {
    pub(crate) id: BookingId,
    pub(crate) request: Request,
    pub(crate) opening: usize,
    pub(crate) slot: u32,
    pub(crate) seats: Vec<(Pseudonym, u16)>,
    pub(crate) status: Status,
    pub(crate) version: u32,
    pub(crate) hold: Option<Timestamp>,
    /// The requests that changed it, and what they did.
    pub(crate) done: Vec<(String, Did)>,
    pub(crate) left: Vec<Pseudonym>,
    pub(crate) changes: u16,
    pub(crate) granted_at: Timestamp,
}

impl Had {
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.status, Status::Held | Status::Confirmed)
    }

    pub(crate) fn is_of(&self, who: &Pseudonym) -> bool {
        self.seats.iter().any(|(person, _)| person == who)
    }

    /// What it was paid for by, if it was; of payments without a name: the inner
    /// none.
    pub(crate) fn paid(&self) -> Option<Option<String>> {
        self.done.iter().rev().find_map(|(_, did)| match did {
            Did::Confirmed(reference) => Some(reference.clone()),
            _ => None,
        })
    }

    pub(crate) fn numbers(&self) -> Vec<u16> {
        self.seats.iter().map(|(_, number)| *number).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Did {
    Confirmed(Option<String>),
    Refund(Option<String>),
    Cancelled(Option<Pseudonym>),
    Moved(Digest),
}

/// Those who wait for returned places, durably.
#[derive(Debug, Clone)]
pub(crate) struct Waits {
    pub(crate) receipt: BookingId,
    pub(crate) request: Request,
    pub(crate) opening: usize,
    pub(crate) slots: Vec<u32>,
    pub(crate) since: Timestamp,
    pub(crate) live: bool,
}

/// What is on its way into the ledger.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) opening: usize,
    pub(crate) slot: u32,
    /// Who is about to have a booking.
    pub(crate) people: Vec<Pseudonym>,
    /// Places that were free before.
    pub(crate) places: i32,
    pub(crate) account: Option<Pseudonym>,
    /// The request, of a grant that was decided; none: the block that is being
    /// written brings it.
    pub(crate) request: Option<Request>,
}

#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) quota: u16,
    pub(crate) reserved: u16,
    pub(crate) halted: bool,
    pub(crate) withheld: BTreeMap<u16, Until>,
}

/// What a returned number waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    Moment(Timestamp),
    Draw(Timestamp),
}

impl Until {
    pub(crate) const fn at(self) -> Timestamp {
        match self {
            Self::Moment(at) | Self::Draw(at) => at,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ModelOpening {
    pub(crate) record: OpeningRecord,
    pub(crate) phase: Phase,
    pub(crate) closes_at: Timestamp,
    pub(crate) places: Vec<Places>,
    pub(crate) retired: bool,
    pub(crate) draws: u64,
    /// It has opened, and was not ended before that.
    pub(crate) took_place: bool,
}

impl ModelOpening {
    pub(crate) fn new(record: OpeningRecord) -> Self {
        let places = |slot: &giliran_wire::ledger::Slot| Places {
            quota: slot.quota,
            reserved: 0,
            halted: false,
            withheld: BTreeMap::new(),
        };
        Self {
            phase: Phase::Scheduled,
            closes_at: record.closes_at,
            places: record.slots.iter().map(places).collect(),
            retired: false,
            draws: 0,
            took_place: false,
            record,
        }
    }

    /// What anybody is told while nothing can be had; none: something can. `waits`: who
    /// asks would also wait for what comes back.
    fn not_now(&self, waits: bool, now: Timestamp) -> Option<Expected> {
        match self.phase {
            Phase::Scheduled if self.closes_at <= self.record.opens_at => {
                Some(Expected::Rejected(Reason::Closed))
            }
            Phase::Scheduled if now < self.record.opens_at => {
                Some(Expected::Rejected(Reason::NotOpen))
            }
            Phase::Scheduled => Some(Expected::Wait),
            Phase::Closed if waits || self.gives_leftovers() => None,
            Phase::Closed => Some(Expected::Rejected(Reason::Closed)),
            Phase::Open if now >= self.closes_at => Some(Expected::Wait),
            Phase::Open => None,
        }
    }

    /// Why a party of this size gets none of what it asks for, whoever it is. `fitting`:
    /// the slots of each choice.
    fn not_so(&self, request: &Request, fitting: &[Vec<u32>]) -> Option<Reason> {
        let (record, people) = (&self.record, request.applicants.len());
        if people > usize::from(record.rules.max_party) {
            return Some(Reason::PartyTooLarge);
        }
        if fitting.iter().any(Vec::is_empty) {
            return Some(Reason::UnknownSlot);
        }
        let mut slots = fitting.iter().flatten();
        if !request.vouched && slots.clone().any(|slot| session(record, *slot).0) {
            return Some(Reason::NotPermitted);
        }
        let quota = |slot: &u32| usize::from(self.places[*slot as usize].quota);
        slots.all(|slot| quota(slot) < people).then_some(Reason::PartyTooLarge)
    }

    /// When the day of a slot begins.
    pub(crate) fn day(&self, slot: u32) -> Timestamp {
        let midnight = format!("{}T00:00:00Z", self.record.slots[slot as usize].date);
        let midnight: Timestamp = midnight.parse().unwrap();
        Timestamp::from_millis(midnight.as_millis() - ZONE_MS)
    }

    /// True once it is too late to book a slot.
    pub(crate) fn too_late(&self, slot: u32, now: Timestamp) -> bool {
        now >= self.record.slots[slot as usize].bookable_until
    }

    /// When a hold that begins now ends in a slot.
    pub(crate) fn hold_end(&self, slot: u32, now: Timestamp) -> Option<Timestamp> {
        let until = self.record.slots[slot as usize].bookable_until;
        self.record.rules.hold_ms.map(|ms| now.plus_millis(ms).min(until))
    }

    /// True if whoever asks gets what is free, after the window.
    pub(crate) fn gives_leftovers(&self) -> bool {
        self.record.rules.leftovers == Leftovers::FirstCome
            && self.phase == Phase::Closed
            && self.took_place
    }

    /// True if it still gives places after its window: to whoever asks, or to those
    /// who wait.
    fn still_gives(&self, wait: bool, now: Timestamp) -> bool {
        let any = |at| (0..self.places.len() as u32).any(|slot| !self.too_late(slot, at));
        let releases = self.releases();
        self.gives_leftovers() && any(now)
            || wait && !releases.is_empty() && any(Self::next(&releases, now))
    }

    /// The first of these minutes of the day after `after`.
    pub(crate) fn next(minutes: &[u16], after: Timestamp) -> Timestamp {
        let local = after.as_millis() + ZONE_MS;
        let midnight = local - local.rem_euclid(DAY_MS);
        let of_days = (0..2).flat_map(|day| {
            minutes.iter().map(move |m| midnight + day * DAY_MS + i64::from(*m) * 60_000)
        });
        let next = of_days.filter(|at| *at > local).min().unwrap();
        Timestamp::from_millis(next - ZONE_MS)
    }

    /// The times of the day at which those who wait are drawn.
    pub(crate) fn releases(&self) -> Vec<u16> {
        let rules = [&self.record.rules.cancelled, &self.record.rules.expired];
        let minutes = rules.into_iter().filter_map(|rule| match rule {
            ReturnRule::At { minutes } => Some(minutes.clone()),
            _ => None,
        });
        minutes.flatten().collect()
    }

    pub(crate) fn retires_at(&self) -> Timestamp {
        let last = (0..self.record.slots.len() as u32).map(|slot| self.day(slot)).max().unwrap();
        Timestamp::from_millis(last.as_millis() + ZONE_MS + 2 * DAY_MS)
    }
}

/// What the request must be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Repeat(BookingId),
    Entered(BookingId),
    Rejected(Reason),
    Granted { opening: usize, slot: u32 },
    Enter(Vec<u32>),
    Wait,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) openings: Vec<ModelOpening>,
    pub(crate) had: Vec<Had>,
    pub(crate) waits: Vec<Waits>,
    /// Which entry a person last had, by opening.
    pub(crate) entry_of: HashMap<(usize, Pseudonym), BookingId>,
    pub(crate) pending: Vec<Pending>,
    /// What the block that is being written changes.
    pub(crate) touched: Vec<BookingId>,
    pub(crate) taken: Vec<(usize, u32, u16)>,
    pub(crate) revived: Vec<(usize, u32, u16)>,
}

impl Model {
    pub(crate) fn expected(&self, request: &Request, now: Timestamp) -> Expected {
        let meant = self.meant(request, now);
        if request.opening.is_none() {
            let mut undecided = false;
            for opening in 0..self.openings.len() {
                let there = &self.openings[opening];
                if there.retired || there.phase == Phase::Scheduled || meant == Some(opening) {
                    continue;
                }
                match self.known(opening, request) {
                    Some(same @ (Expected::Repeat(_) | Expected::Entered(_))) => return same,
                    Some(Expected::Wait) => undecided = true,
                    _ => {}
                }
            }
            if undecided {
                return Expected::Wait;
            }
        }
        let Some(opening) = meant else { return Expected::Rejected(Reason::UnknownOpening) };
        self.expected_in(opening, request, now)
    }

    /// What there is of the same request in an opening.
    fn known(&self, opening: usize, request: &Request) -> Option<Expected> {
        let first = &request.applicants[0];
        let by_first = |had: &&Had| had.opening == opening && had.request.applicants[0] == *first;
        let mut of_first = self.had.iter().filter(by_first);
        if let Some(had) = of_first.clone().find(|had| had.request.same_request(request)) {
            return Some(if had.request.same_content(request) {
                Expected::Repeat(had.id)
            } else {
                Expected::Rejected(Reason::Conflict)
            });
        }
        if let Some(receipt) = self.entry_of.get(&(opening, *first)) {
            let waits = self.entry(receipt).unwrap();
            if waits.request.same_request(request) {
                return Some(if waits.request.same_content(request) {
                    Expected::Entered(*receipt)
                } else {
                    Expected::Rejected(Reason::Conflict)
                });
            }
        }
        if of_first.any(|had| had.done.iter().any(|(id, _)| *id == request.request_id)) {
            return Some(Expected::Rejected(Reason::Conflict));
        }
        self.is_undecided(opening, first).then_some(Expected::Wait)
    }

    pub(crate) fn entry(&self, receipt: &BookingId) -> Option<&Waits> {
        self.waits.iter().find(|waits| waits.receipt == *receipt)
    }

    fn expected_in(&self, opening: usize, request: &Request, now: Timestamp) -> Expected {
        let there = &self.openings[opening];
        if let Some(known) = self.known(opening, request) {
            return known;
        }
        if request.expires_at.is_some_and(|deadline| now >= deadline) {
            return Expected::Rejected(Reason::Expired);
        }
        let waits = request.wait && !there.releases().is_empty();
        if let Some(expected) = there.not_now(waits, now) {
            return expected;
        }
        let record = &there.record;
        let fitting: Vec<Vec<u32>> =
            request.choices.iter().map(|choice| fitting(record, choice)).collect();
        if let Some(reason) = there.not_so(request, &fitting) {
            return Expected::Rejected(reason);
        }
        if let Some(expected) = self.not_for_them(opening, request, now) {
            return expected;
        }
        let places = request.applicants.len() as i32;
        let slots: Vec<u32> = fitting.into_iter().flatten().collect();
        let given = there.phase == Phase::Open || there.gives_leftovers();
        let has = |slot: &u32, durably| {
            !there.too_late(*slot, now) && self.free(opening, *slot, durably) >= places
        };
        if given && slots.iter().any(|slot| has(slot, true)) {
            if self.over_limit(opening, request, false) {
                return Expected::Wait;
            }
            return match slots.into_iter().find(|slot| has(slot, false)) {
                Some(slot) => Expected::Granted { opening, slot },
                None => Expected::Wait,
            };
        }
        if slots.iter().all(|slot| there.too_late(*slot, now)) {
            return Expected::Rejected(Reason::Closed);
        }
        if !waits {
            return Expected::Rejected(Reason::SoldOut);
        }
        let draw = ModelOpening::next(&there.releases(), now);
        if slots.iter().all(|slot| there.too_late(*slot, draw)) {
            return Expected::Rejected(if given { Reason::SoldOut } else { Reason::Closed });
        }
        let waiting = |who: &Pseudonym| {
            let entry = self.entry_of.get(&(opening, *who)).and_then(|id| self.entry(id));
            entry.is_some_and(|entry| entry.live)
        };
        if request.applicants.iter().any(waiting) {
            return Expected::Rejected(Reason::AlreadyBooked);
        }
        let mut wanted: Vec<u32> = Vec::new();
        for slot in slots {
            if !wanted.contains(&slot) {
                wanted.push(slot);
            }
        }
        Expected::Enter(wanted)
    }

    /// What these people are told whatever is free; none: it depends on that.
    fn not_for_them(&self, opening: usize, request: &Request, now: Timestamp) -> Option<Expected> {
        let rules = &self.openings[opening].record.rules;
        let unnamed = rules.max_per_account.is_some() && request.account.is_none();
        if unnamed || self.over_limit(opening, request, true) {
            return Some(Expected::Rejected(Reason::AccountLimit));
        }
        if self.had_enough(opening, &request.applicants) {
            return Some(Expected::Rejected(Reason::ApplicantLimit));
        }
        let booked = [
            self.booked(opening, &request.applicants),
            self.booked_elsewhere(opening, &request.applicants, now),
        ];
        if booked.contains(&Some(true)) {
            return Some(Expected::Rejected(Reason::AlreadyBooked));
        }
        booked.contains(&None).then_some(Expected::Wait)
    }

    /// True if one of these was granted as many bookings of an opening as one may
    /// ever have: also those that ended, and those that they left.
    pub(crate) fn had_enough(&self, opening: usize, people: &[Pseudonym]) -> bool {
        let most = usize::from(self.openings[opening].record.rules.max_bookings);
        let granted = |who: &Pseudonym| {
            let of = |had: &&Had| had.opening == opening && had.request.applicants.contains(who);
            self.had.iter().filter(of).count()
        };
        people.iter().any(|who| granted(who) >= most)
    }

    /// Whether one of these has a live booking in an opening. None: that
    /// depends on the block in flight.
    pub(crate) fn booked(&self, opening: usize, people: &[Pseudonym]) -> Option<bool> {
        let live = |had: &&Had| had.opening == opening && had.is_live();
        if self.had.iter().filter(live).any(|had| people.iter().any(|who| had.is_of(who))) {
            return Some(true);
        }
        (!people.iter().any(|who| self.is_undecided(opening, who))).then_some(false)
    }

    /// Whether one of these has a live booking in another opening whose day is
    /// not over, where that counts.
    pub(crate) fn booked_elsewhere(
        &self,
        opening: usize,
        people: &[Pseudonym],
        now: Timestamp,
    ) -> Option<bool> {
        if !self.openings[opening].record.rules.across_openings {
            return Some(false);
        }
        let counts = |had: &&Had| {
            let there = &self.openings[had.opening];
            let over = there.day(had.slot).plus_millis(DAY_MS as u64) <= now;
            had.opening != opening && had.is_live() && !there.retired && !over
        };
        if self.had.iter().filter(counts).any(|had| people.iter().any(|who| had.is_of(who))) {
            return Some(true);
        }
        let elsewhere = (0..self.openings.len()).filter(|other| *other != opening);
        let mut undecided =
            elsewhere.flat_map(|other| people.iter().map(move |who| self.is_undecided(other, who)));
        (!undecided.any(|undecided| undecided)).then_some(false)
    }

    fn is_undecided(&self, opening: usize, who: &Pseudonym) -> bool {
        self.pending.iter().any(|p| p.opening == opening && p.people.contains(who))
    }

    fn meant(&self, request: &Request, now: Timestamp) -> Option<usize> {
        let there = || self.openings.iter().enumerate().filter(|(_, o)| !o.retired);
        let of = |phase| there().filter(move |(_, o)| o.phase == phase).collect::<Vec<_>>();
        if let Some(id) = &request.opening {
            return there().find(|(_, o)| o.record.id == *id).map(|(i, _)| i);
        }
        let open = of(Phase::Open);
        let mut giving = of(Phase::Closed);
        giving.retain(|(_, o)| o.still_gives(request.wait, now));
        if open.len() > 1 || open.is_empty() && giving.len() > 1 {
            return None;
        }
        let scheduled = of(Phase::Scheduled).into_iter();
        let scheduled = scheduled.filter(|(_, o)| o.record.opens_at < o.closes_at);
        let scheduled = scheduled.min_by_key(|(_, o)| o.record.opens_at);
        let closed = of(Phase::Closed).into_iter().max_by_key(|(_, o)| o.closes_at);
        let giving = giving.into_iter().next();
        open.into_iter().next().or(giving).or(scheduled).or(closed).map(|(i, _)| i)
    }

    fn over_limit(&self, opening: usize, request: &Request, durably: bool) -> bool {
        let Some(account) = request.account else { return false };
        self.account_is_over(opening, account, request.applicants.len(), durably)
    }

    pub(crate) fn account_is_over(
        &self,
        opening: usize,
        account: Pseudonym,
        places: usize,
        durably: bool,
    ) -> bool {
        let Some(most) = self.openings[opening].record.rules.max_per_account else { return false };
        let live = self.had.iter().filter(|had| had.opening == opening && had.is_live());
        let of_it = live.filter(|had| had.request.account == Some(account));
        let has: usize = of_it.map(|had| had.seats.len()).sum();
        let coming = self.pending.iter().filter(|p| p.opening == opening);
        let coming = coming.filter(|p| !durably && p.account == Some(account));
        has + coming.map(|p| p.people.len()).sum::<usize>() + places > most as usize
    }

    /// Numbers of a slot that live bookings have.
    pub(crate) fn live(&self, opening: usize, slot: u32) -> Vec<u16> {
        let of_slot = |had: &&Had| (had.opening, had.slot) == (opening, slot) && had.is_live();
        self.had.iter().filter(of_slot).flat_map(Had::numbers).collect()
    }

    /// Places of a slot that no durable booking has, nor anything else keeps.
    pub(crate) fn offered(&self, opening: usize, slot: u32) -> i32 {
        let places = &self.openings[opening].places[slot as usize];
        let kept = self.live(opening, slot).len() + places.withheld.len();
        let free = i32::from(places.quota) - kept as i32 - i32::from(places.reserved);
        if places.halted { free.min(0) } else { free }
    }

    /// The same; not `durably`: and nothing on its way.
    pub(crate) fn free(&self, opening: usize, slot: u32, durably: bool) -> i32 {
        let coming = self.pending.iter().filter(|p| (p.opening, p.slot) == (opening, slot));
        let coming: i32 = coming.map(|p| p.places).sum();
        self.offered(opening, slot) - if durably { 0 } else { coming }
    }

    /// True while the block that is being written may give so many places.
    pub(crate) fn has_room(&self, opening: usize, slot: u32, places: usize) -> bool {
        let in_block = self.taken.iter().filter(|(o, s, _)| (*o, *s) == (opening, slot)).count();
        self.offered(opening, slot) - in_block as i32 >= places as i32
    }

    /// The lowest numbers of a slot that nobody holds.
    pub(crate) fn lowest_numbers(&self, opening: usize, slot: u32, places: usize) -> Vec<u16> {
        let there = &self.openings[opening].places[slot as usize];
        let live = self.live(opening, slot);
        (1..=there.quota)
            .filter(|number| !live.contains(number) && !there.withheld.contains_key(number))
            .filter(|number| !self.taken.contains(&(opening, slot, *number)))
            .take(places)
            .collect()
    }
}

fn session(record: &OpeningRecord, slot: u32) -> (bool, bool) {
    let slot = record.slots[slot as usize];
    let session = &record.offices[slot.office as usize].sessions[slot.session as usize];
    (session.restricted, session.explicit)
}

/// The slots that choices mean, in the order they are tried; why they cannot be
/// had without a voucher.
pub(crate) fn fitting_all(
    record: &OpeningRecord,
    choices: &[Choice<'_>],
) -> Result<Vec<u32>, Reason> {
    let fitting: Vec<Vec<u32>> = choices.iter().map(|choice| fitting(record, choice)).collect();
    if fitting.iter().any(Vec::is_empty) {
        return Err(Reason::UnknownSlot);
    }
    if fitting.iter().flatten().any(|slot| session(record, *slot).0) {
        return Err(Reason::NotPermitted);
    }
    Ok(fitting.into_iter().flatten().collect())
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
