//! What operators do: adjustments on record, and what becomes of the bookings
//! they concern.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use giliran_allocator::{Durable, FoundBooking, Opening, Openings, Rejection, StateMachine};
use giliran_wire::admin::Bookings;
use giliran_wire::answer::{Phase, Reason};
use giliran_wire::ledger::{Adjust, Adjustment, Entry, HALTED, OPEN, Order};
use giliran_wire::{BookingId, Position, Timestamp};

use crate::block_builder::BlockDraft;
use crate::block_builder::entry_bytes;
use crate::branch::Branch;
use crate::effect::{AdminChange, AdminReport, Effect, Now, Outcome};
use crate::queued::is_overdue;
use crate::sequencer::Sequencer;

/// Most bookings that are moved or cancelled in one block.
const BOOKINGS_A_BLOCK: usize = 256;
/// Most bytes of a block that adjustments take, unless a single action has more.
const ADJUSTMENT_BYTES: usize = 32 * 1024;

/// An operator's action, its names resolved.
#[derive(Debug, Clone)]
pub struct AdminCommand {
    /// Ordinal of the opening, unique in the ledger.
    pub opening: u32,
    /// Who orders it, as the ledger keeps it for good.
    pub operator: String,
    /// Why, as the ledger keeps it for good.
    pub reason: String,
    /// What is to be done.
    pub act: AdminOp,
    /// True: nothing is done, only told what would be.
    pub dry_run: bool,
}

/// What operators can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminOp {
    /// Sets a slot's quota.
    Quota {
        /// Index of the slot in the opening's record.
        slot: u32,
        /// Places the slot has from this block on.
        quota: u16,
    },
    /// Keeps places back from everybody.
    Reserve {
        /// Index of the slot in the opening's record.
        slot: u32,
        /// How many, from here on.
        places: u16,
    },
    /// Closes slots for grants, or opens them again.
    Halt {
        /// Indices of the slots in the opening's record.
        slots: Vec<u32>,
        /// True: no more grants.
        halted: bool,
        /// What becomes of the bookings there.
        bookings: Bookings,
    },
    /// Sets the opening's end.
    ClosesAt {
        /// End of the window from this block on.
        closes_at: Timestamp,
    },
    /// Gives the public value that the opening's draw waits for.
    Beacon {
        /// Signature of the drand round that the opening named.
        signature: Vec<u8>,
    },
}

/// An action that came to its end, for the log.
#[derive(Debug)]
pub struct Acted {
    /// The opening, unless its days are over.
    pub opening: Option<Arc<Opening>>,
    /// Who ordered it, as the ledger has it.
    pub operator: String,
    /// Why, as the ledger has it.
    pub reason: String,
    /// What was to be changed.
    pub changes: Vec<Adjustment>,
    /// What came of it.
    pub came: Result<Came, Rejection>,
}

/// What came of an action that is on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Came {
    /// Where the last of it stands.
    pub position: Position,
    /// Bookings it concerns that stay as they are.
    pub stay: usize,
    /// Bookings that were moved.
    pub moved: usize,
    /// Bookings that were cancelled.
    pub cancelled: usize,
}

/// An action on its way.
#[derive(Debug)]
pub(crate) struct AdminJob<T> {
    action: AdminCommand,
    /// None: they were told `busy`.
    ticket: Option<T>,
    /// Since when it waits, on the monotonic clock.
    since_ms: u64,
    /// Bookings to be moved or cancelled still.
    bookings: VecDeque<BookingId>,
    changed: Vec<BookingId>,
    adjusted: bool,
    report: AdminReport,
}

impl<T> AdminJob<T> {
    pub(crate) fn new(action: AdminCommand, ticket: T, now: Now) -> Self {
        let slots = match &action.act {
            AdminOp::Quota { slot, .. } | AdminOp::Reserve { slot, .. } => vec![*slot],
            AdminOp::Halt { slots, .. } => slots.clone(),
            AdminOp::ClosesAt { .. } | AdminOp::Beacon { .. } => Vec::new(),
        };
        let report = AdminReport { slots, ..AdminReport::default() };
        let (bookings, changed) = (VecDeque::new(), Vec::new());
        let (ticket, since_ms) = (Some(ticket), now.mono_ms);
        Self { action, ticket, since_ms, bookings, changed, adjusted: false, report }
    }

    pub(crate) fn take_ticket(&mut self) -> Option<T> {
        self.ticket.take()
    }

    /// What is put on record of it.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let adjust = |change| {
            let AdminCommand { opening, operator, reason, .. } = self.action.clone();
            Entry::Adjust(Adjust { opening, operator, reason, change })
        };
        self.changes().into_iter().map(adjust).collect()
    }

    pub(crate) fn changes(&self) -> Vec<Adjustment> {
        match &self.action.act {
            AdminOp::Quota { slot, quota } => {
                vec![Adjustment::Quota { slot: *slot, quota: *quota }]
            }
            AdminOp::Reserve { slot, places } => {
                vec![Adjustment::Reserve { slot: *slot, places: *places }]
            }
            AdminOp::Halt { slots, halted, bookings } => {
                let (halted, bookings) = (*halted, *bookings);
                let halt = |slot: &u32| Adjustment::Halt { slot: *slot, halted, bookings };
                slots.iter().map(halt).collect()
            }
            AdminOp::ClosesAt { closes_at } => vec![Adjustment::ClosesAt { closes_at: *closes_at }],
            AdminOp::Beacon { signature } => vec![Adjustment::Beacon { value: signature.clone() }],
        }
    }

    pub(crate) fn fate(&self) -> Bookings {
        match self.action.act {
            AdminOp::Halt { halted: true, bookings, .. } => bookings,
            _ => Bookings::Keep,
        }
    }

    /// What it would come to by what is durable now.
    pub(crate) fn would(&self, state: &StateMachine, opening: &Arc<Opening>) -> AdminReport {
        let concerned = concerned(state, self);
        let mut report = AdminReport {
            dry_run: true,
            opening: Some(Arc::clone(opening)),
            slots: self.report.slots.clone(),
            changes: self.report.changes.clone(),
            ..AdminReport::default()
        };
        match self.fate() {
            Bookings::Keep => report.concerned = concerned,
            Bookings::Cancel => report.cancelled = concerned,
            Bookings::Move => {
                let mut rooms: HashMap<u32, i32> =
                    report.slots.iter().map(|slot| (*slot, 0)).collect();
                for found in concerned {
                    let places = found.booking.seats.len() as i32;
                    let fits = elsewhere(&found).into_iter().any(|slot| {
                        let room = rooms.entry(slot).or_insert_with(|| opening.durably_free(slot));
                        let fits = *room >= places;
                        *room -= if fits { places } else { 0 };
                        fits
                    });
                    if fits { &mut report.moved } else { &mut report.concerned }.push(found);
                }
            }
        }
        report
    }

    pub(crate) fn ended(
        &self,
        opening: Option<Arc<Opening>>,
        came: Result<Came, Rejection>,
    ) -> Acted {
        let AdminCommand { operator, reason, .. } = self.action.clone();
        Acted { opening, operator, reason, changes: self.changes(), came }
    }

    /// Who and why, as records of single bookings hold it.
    pub(crate) fn words(&self) -> String {
        format!("{}: {}", self.action.operator, self.action.reason)
    }
}

impl<T> Sequencer<T> {
    /// Gives up actions of which nothing is on record after so long; of others it is
    /// only not told any more.
    pub(crate) fn give_up_actions(&mut self, now: Now) {
        let overdue = |job: &AdminJob<T>| job.ticket.is_some() && is_overdue(job.since_ms, now);
        if !self.admin.iter().any(overdue) {
            return;
        }
        for mut job in std::mem::take(&mut self.admin) {
            if overdue(&job)
                && let Some(ticket) = job.take_ticket()
            {
                self.branches.note(Branch::BusyAction);
                self.busy(ticket, None);
                if !job.adjusted {
                    continue;
                }
            }
            self.admin.push_back(job);
        }
    }

    /// The entries of actions that wait to be put on record; the block counts
    /// their bytes already.
    pub(crate) fn gather_adjustments(
        &mut self,
        block: &mut BlockDraft<T>,
        time: Timestamp,
    ) -> Vec<Entry> {
        let mut entries = Vec::new();
        let most = block.bytes + ADJUSTMENT_BYTES;
        for mut job in std::mem::take(&mut self.admin) {
            if job.adjusted || block.bytes > most {
                self.admin.push_back(job);
                continue;
            }
            let openings = self.state.allocator().openings();
            let Some(opening) = openings.get(job.action.opening) else {
                let rejection = rejection(Reason::UnknownOpening, "opening: its days are over");
                self.reject(job, rejection);
                continue;
            };
            let revealed = match &job.action.act {
                AdminOp::Beacon { signature } => {
                    let revealed = self.reveal(job.action.opening, signature);
                    revealed.map(Some).map_err(str::to_owned)
                }
                act => {
                    let beacon = self.state.beacon(job.action.opening).is_some();
                    forbidden(opening, act, beacon)
                        .map(str::to_owned)
                        .or_else(|| excessive(opening, act))
                        .or_else(|| overlapping(&openings, opening, act, time))
                        .map_or(Ok(None), Err)
                }
            };
            let revealed = match revealed {
                // Handed in by somebody else for this very block.
                Ok(Some(entry)) if entries.contains(&entry) => {
                    self.admin.push_back(job);
                    continue;
                }
                Ok(revealed) => revealed,
                Err(detail) => {
                    self.reject(job, rejection(Reason::WrongState, &detail));
                    continue;
                }
            };
            let sets = |change| set(opening, change, time);
            job.report.changes = job.changes().iter().map(sets).collect();
            if job.action.dry_run {
                let report = job.would(&self.state, opening);
                let outcome = Outcome::Adjusted(Box::new(report), self.state.durable());
                self.tell_of(job.ticket, outcome);
                continue;
            }
            for entry in job.entries().into_iter().chain(revealed) {
                block.bytes += entry_bytes(&entry);
                entries.push(entry);
            }
            block.serves(job.since_ms);
            block.adjusted.push(job);
        }
        entries
    }

    /// Moves or cancels bookings that an action on record concerns.
    pub(crate) fn gather_jobs(&mut self, block: &mut BlockDraft<T>, time: Timestamp) {
        let mut jobs = std::mem::take(&mut self.admin);
        let Some(place) = jobs.iter().position(|job| job.adjusted) else {
            self.admin = jobs;
            return;
        };
        if let Some(mut job) = jobs.remove(place) {
            let words = job.words();
            for _ in 0..job.bookings.len().min(BOOKINGS_A_BLOCK) {
                let Some(id) = job.bookings.pop_front() else { break };
                if self.state.is_changing(&id) {
                    job.bookings.push_back(id);
                    continue;
                }
                let entry = match job.fate() {
                    Bookings::Keep => None,
                    Bookings::Cancel => {
                        self.state.cancel_by_authority(id, &words, time, &mut || self.random.next())
                    }
                    Bookings::Move => {
                        let slots = self.state.found(&id).map(|found| elsewhere(&found));
                        let slots = slots.unwrap_or_default();
                        let random = &mut || self.random.next();
                        self.state.move_by_authority(id, &slots, &words, time, random)
                    }
                };
                if let Some(entry) = entry {
                    block.push(entry);
                    job.changed.push(id);
                }
            }
            block.adjusted.push(job);
        }
        self.admin = jobs;
    }

    /// A block with these actions is durable.
    pub(crate) fn adjusted(&mut self, jobs: Vec<AdminJob<T>>, durable: Durable) {
        for mut job in jobs {
            if !job.adjusted {
                job.adjusted = true;
                let concerned = concerned(&self.state, &job);
                if job.fate() != Bookings::Keep {
                    job.bookings = concerned.iter().map(|found| found.booking.id).collect();
                }
                job.report.concerned = concerned;
            }
            if !job.bookings.is_empty() {
                self.admin.push_back(job);
                continue;
            }
            if job.fate() != Bookings::Keep {
                job.report.concerned = concerned(&self.state, &job);
            }
            let changed = job.changed.iter().filter_map(|id| self.state.found(id));
            if job.fate() == Bookings::Cancel {
                job.report.cancelled = changed.collect();
            } else {
                job.report.moved = changed.collect();
            }
            job.report.opening =
                self.state.allocator().openings().get(job.action.opening).map(Arc::clone);
            let came = Came {
                position: durable.position(),
                stay: job.report.concerned.len(),
                moved: job.report.moved.len(),
                cancelled: job.report.cancelled.len(),
            };
            self.acted.push(job.ended(job.report.opening.clone(), Ok(came)));
            let outcome = Outcome::Adjusted(Box::new(job.report), durable);
            self.tell_of(job.ticket, outcome);
        }
    }

    /// Actions that came to their end since the last call; no dry runs.
    pub fn take_acted(&mut self) -> Vec<Acted> {
        std::mem::take(&mut self.acted)
    }

    pub(crate) fn reject(&mut self, job: AdminJob<T>, rejection: Rejection) {
        if !job.action.dry_run {
            let opening = self.state.allocator().openings().get(job.action.opening).map(Arc::clone);
            self.acted.push(job.ended(opening, Err(rejection.clone())));
        }
        let outcome = Outcome::NotAdjusted(rejection, self.state.durable());
        self.tell_of(job.ticket, outcome);
    }

    pub(crate) fn tell_of(&mut self, ticket: Option<T>, outcome: Outcome) {
        if let Some(ticket) = ticket {
            self.effects.push(Effect::Answer { ticket, request_id: None, outcome });
        }
    }
}

/// What a change finds, and what it sets.
fn set(opening: &Opening, change: &Adjustment, time: Timestamp) -> AdminChange {
    let found = |slot: u32| opening.slot_state(slot, time);
    let before = match change {
        Adjustment::Quota { slot, .. } => found(*slot).quota.to_string(),
        Adjustment::Reserve { slot, .. } => found(*slot).reserved.to_string(),
        Adjustment::Halt { slot, .. } if found(*slot).halted => HALTED.to_owned(),
        Adjustment::Halt { .. } => OPEN.to_owned(),
        Adjustment::ClosesAt { .. } => opening.window().1.to_string(),
        Adjustment::Beacon { .. } => "awaited".to_owned(),
    };
    AdminChange { slot: change.slot(), action: change.name(), before, after: change.stands() }
}

/// Why the order of an opening forbids an action.
fn forbidden(opening: &Opening, act: &AdminOp, beacon: bool) -> Option<&'static str> {
    if opening.is_drawing() {
        return Some("opening: its draw is not over; nothing of it changes until then");
    }
    let AdminOp::ClosesAt { closes_at } = act else { return None };
    let seeded = opening.record().rules.order != Order::FirstCome;
    if seeded && opening.phase() == Phase::Closed {
        return Some("opening: it has closed, and the seed of its order is revealed");
    }
    // The public value that was named must not exist before the close.
    if beacon && *closes_at > opening.record().closes_at {
        return Some("closes_at: later than the public value of its draw was named for");
    }
    (opening.draws() && !opening.is_drawn_in_time(*closes_at))
        .then_some("closes_at: a draw comes before the first day begins")
}

/// Why more places are to be kept back than there are.
fn excessive(opening: &Opening, act: &AdminOp) -> Option<String> {
    let AdminOp::Reserve { slot, places } = act else { return None };
    let quota = opening.slot(*slot).quota;
    (*places > quota).then(|| format!("places: {places} is more than the quota, {quota}"))
}

/// Why an opening cannot end later: it would be open beside another one of the same
/// offices, and nobody could tell which of the two a request means that names none.
fn overlapping(
    openings: &Openings,
    opening: &Opening,
    act: &AdminOp,
    now: Timestamp,
) -> Option<String> {
    let AdminOp::ClosesAt { closes_at } = act else { return None };
    let (opens_at, ends_at) = opening.window();
    let beside = |closes_at: Timestamp, (from, to): (Timestamp, Timestamp)| {
        closes_at > from && closes_at > now && opens_at < to && to > now
    };
    let shares = |other: &Opening| {
        opening.record().offices.iter().any(|office| other.has_office(&office.id))
    };
    let newly = |other: &&Arc<Opening>| {
        other.id() != opening.id()
            && beside(*closes_at, other.window())
            && !beside(ends_at, other.window())
            && shares(other)
    };
    let other = openings.iter().find(newly)?;
    Some(format!(
        "closes_at: opening {} of the same offices begins at {}; end this one by then",
        other.id(),
        other.window().0
    ))
}

fn rejection(reason: Reason, detail: &str) -> Rejection {
    Rejection { reason, detail: Some(detail.to_owned()), retry_after_ms: None, about: None }
}

/// The bookings an action concerns: those of slots that were closed, or those
/// whose numbers lie beyond a lowered quota.
fn concerned<T>(state: &StateMachine, job: &AdminJob<T>) -> Vec<FoundBooking> {
    let of = |slot: &u32| state.bookings_in(job.action.opening, *slot);
    match &job.action.act {
        AdminOp::Quota { slot, quota } => {
            let beyond =
                |found: &FoundBooking| found.booking.seats.iter().any(|s| s.number > *quota);
            of(slot).into_iter().filter(beyond).collect()
        }
        AdminOp::Halt { slots, halted: true, .. } => slots.iter().flat_map(of).collect(),
        AdminOp::Halt { .. }
        | AdminOp::Reserve { .. }
        | AdminOp::ClosesAt { .. }
        | AdminOp::Beacon { .. } => Vec::new(),
    }
}

/// The other slots of a booking's office, in the order in which a move tries
/// them: the same session first, then those that need not be named; by date.
fn elsewhere(found: &FoundBooking) -> Vec<u32> {
    let opening: &Opening = &found.opening;
    let record = opening.record();
    let own = record.slots[found.booking.slot as usize];
    let mut slots: Vec<u32> = (0..opening.slots())
        .filter(|i| {
            let slot = record.slots[*i as usize];
            let session = &record.offices[slot.office as usize].sessions[slot.session as usize];
            let plain = !session.restricted && !session.explicit;
            *i != found.booking.slot
                && slot.office == own.office
                && (slot.session == own.session || plain)
        })
        .collect();
    slots.sort_by_key(|i| {
        let slot = record.slots[*i as usize];
        (slot.session != own.session, slot.date, slot.session)
    });
    slots
}
