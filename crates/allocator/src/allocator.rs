//! The state that all threads share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use giliran_wire::answer::{Availability, OpeningState, Phase};
use giliran_wire::catalogue::OpeningDescription;
use giliran_wire::ledger::{DrawEntryRecord, GrantRef};
use giliran_wire::{AsOf, BookingId, Position, Pseudonym, Timestamp};

use crate::draw_entry::Crowd;
use crate::openings::Openings;
use crate::sync::seqlock::{Durable, SeqLock};
use crate::sync::sharded_map::ShardedMap;
use crate::sync::{AtomicU64, Ordering};
use crate::{Booking, DrawEntry, Opening};

/// Openings, claims and bookings: what requests are decided on. Shared by
/// deciding threads; only the [`StateMachine`](crate::StateMachine) makes anything durable.
#[derive(Debug)]
pub struct Allocator {
    pub(crate) openings: ArcSwap<Openings>,
    pub(crate) bookings: ShardedMap<BookingId, Arc<Booking>>,
    /// Entries into the next release's draw, and those that were withdrawn.
    pub(crate) waiting: ShardedMap<BookingId, Arc<DrawEntry>>,
    /// Those of them that are live.
    pub(crate) crowd: Crowd,
    pub(crate) seqlock: SeqLock,
    /// Time of the last valid block, ms; relaxed, it only ever grows.
    pub(crate) time: AtomicU64,
    /// Bookings of blocks that are on their way, or will be; relaxed.
    pub(crate) staged: AtomicU64,
}

impl Allocator {
    pub(crate) fn new() -> Self {
        Self {
            openings: ArcSwap::default(),
            bookings: ShardedMap::default(),
            waiting: ShardedMap::default(),
            crowd: Crowd::none(),
            seqlock: SeqLock::new(),
            time: AtomicU64::new(0),
            staged: AtomicU64::new(0),
        }
    }

    /// Engine time: never before the last block's, whatever the clock says.
    pub fn engine_time(&self, clock: Timestamp) -> Timestamp {
        clock.max(Timestamp::from_millis(self.time.load(Ordering::Relaxed) as i64))
    }

    /// The openings whose days are not over, by ordinal.
    pub fn openings(&self) -> Arc<Openings> {
        self.openings.load_full()
    }

    /// The ledger position up to which facts in memory are durable; none while
    /// one is just being applied.
    pub fn position(&self) -> Option<Position> {
        self.seqlock.read(|at| at.position())
    }

    /// How many durable bookings are in memory.
    pub fn bookings(&self) -> usize {
        self.bookings.len().saturating_sub(self.staged.load(Ordering::Relaxed) as usize)
    }

    /// How many entries of those who wait, and into draws, are live.
    pub fn entries(&self) -> u64 {
        self.crowd.len()
    }

    /// Gives back the places and claims of a grant that never entered a block.
    /// Once per grant: [`Pending`](crate::Pending) and the state machine see to that.
    pub(crate) fn abandon(&self, grant: &GrantRef<'_>) {
        let openings = self.openings.load();
        // One that has retired meanwhile has nothing left to be given back to.
        let Some(opening) = openings.get(grant.opening) else { return };
        opening.give_places(grant.slot, grant.account.as_ref(), grant.seats.len() as u32);
        opening.claims.give(grant.seats.iter().map(|seat| &seat.applicant));
    }

    /// The same for a booking of a block that will never be in the ledger.
    pub(crate) fn abandon_staged(&self, booking: &Booking) {
        self.bookings.remove_if(&booking.id, |_| true);
        let openings = self.openings.load();
        let Some(opening) = openings.get(booking.opening) else { return };
        opening.give_places(booking.slot, booking.account().as_ref(), booking.seats.len() as u32);
        opening.claims.give_staged(booking);
    }

    /// Gives back the claims of an entry into a draw that never entered a block;
    /// see [`abandon`](Self::abandon).
    pub(crate) fn abandon_ballot(&self, entry: &DrawEntryRecord) {
        let openings = self.openings.load();
        let Some(opening) = openings.get(entry.opening) else { return };
        if let Some(account) = &entry.account {
            opening.accounts.give(account, entry.applicants.len() as u32);
        }
        opening.claims.give(&entry.applicants);
    }

    /// The booking of this id if `applicant` is of its party, with its opening
    /// and the position this was true at. The outer none: ask again, a block is
    /// just being applied.
    pub fn lookup(
        &self,
        id: &BookingId,
        applicant: &Pseudonym,
    ) -> Option<(Option<FoundBooking>, Durable)> {
        self.seqlock.read(|at| {
            let found = self.booking_at(id, at).filter(|booking| booking.is_of(applicant));
            (found.and_then(|booking| self.found(booking)), at)
        })
    }

    /// The live entry of this receipt if `applicant` is of its party; see
    /// [`lookup`](Self::lookup).
    pub fn lookup_entry(
        &self,
        receipt: &BookingId,
        applicant: &Pseudonym,
    ) -> Option<(Option<FoundEntry>, Durable)> {
        self.seqlock.read(|at| {
            let waiting = self.waiting.look(receipt, |waiting| waiting.map(Arc::clone));
            let waiting = waiting.filter(|w| w.is_live() && w.is_of(applicant));
            (waiting.and_then(|waiting| self.entered(waiting)), at)
        })
    }

    /// The live entry that request `request_id` of `applicant` made.
    pub fn lookup_entry_request(
        &self,
        request_id: &str,
        applicant: &Pseudonym,
        opening: Option<&str>,
    ) -> Option<(Option<FoundEntry>, Durable)> {
        self.seqlock.read(|at| {
            let openings = self.openings.load();
            let waiting = openings
                .iter()
                .rev()
                .filter(|o| opening.is_none_or(|id| o.id() == id))
                .filter_map(|o| {
                    o.claims.look(applicant, |claim| claim.and_then(|c| c.waiting().cloned()))
                })
                .find(|waiting| waiting.is_live() && waiting.entry.request_id == request_id);
            (waiting.and_then(|waiting| self.entered(waiting)), at)
        })
    }

    /// The booking that request `request_id` of `applicant` made, in this
    /// opening or (none) in any, the latest first.
    pub fn lookup_request(
        &self,
        request_id: &str,
        applicant: &Pseudonym,
        opening: Option<&str>,
    ) -> Option<(Option<FoundBooking>, Durable)> {
        self.search(applicant, opening, |booking| &*booking.request_id == request_id)
    }

    /// The applicant's booking in an opening: the live one, else of those that
    /// were given back or ran out the one that was granted last.
    pub fn find(
        &self,
        applicant: &Pseudonym,
        opening: &str,
    ) -> Option<(Option<FoundBooking>, Durable)> {
        self.search(applicant, Some(opening), |_| true)
    }

    fn search(
        &self,
        applicant: &Pseudonym,
        opening: Option<&str>,
        fits: impl Fn(&Booking) -> bool,
    ) -> Option<(Option<FoundBooking>, Durable)> {
        self.seqlock.read(|at| {
            let openings = self.openings.load();
            let booking = openings
                .iter()
                .rev()
                .filter(|o| opening.is_none_or(|id| o.id() == id))
                .flat_map(|o| o.claims.bookings_of(applicant, at))
                .find(|booking| booking.is_of(applicant) && fits(booking));
            (booking.and_then(|booking| self.found(booking)), at)
        })
    }

    /// The booking of this id, on its way into the ledger perhaps: for the state machine.
    pub(crate) fn booking(&self, id: &BookingId) -> Option<Arc<Booking>> {
        self.bookings.look(id, |booking| booking.map(Arc::clone))
    }

    /// The booking of this id if it is durable at this position.
    pub(crate) fn booking_at(&self, id: &BookingId, at: Durable) -> Option<Arc<Booking>> {
        self.bookings
            .look(id, |booking| booking.filter(|booking| at.covers(booking.block)).map(Arc::clone))
    }

    /// None: its opening has retired.
    pub(crate) fn found(&self, booking: Arc<Booking>) -> Option<FoundBooking> {
        let opening = self.openings.load().get(booking.opening).map(Arc::clone)?;
        Some(FoundBooking { booking, opening })
    }

    /// The entry of this receipt as it stands, withdrawn or not.
    pub fn entry(&self, receipt: &BookingId) -> Option<FoundEntry> {
        let waiting = self.waiting.look(receipt, |waiting| waiting.map(Arc::clone));
        waiting.and_then(|waiting| self.entered(waiting))
    }

    fn entered(&self, waiting: Arc<DrawEntry>) -> Option<FoundEntry> {
        let opening = self.openings.load().get(waiting.entry.opening).map(Arc::clone)?;
        Some(FoundEntry { waiting, opening })
    }

    /// Free places and the state of these openings ([`Allocator::openings`]), only of
    /// one office's slots where one is named. None: ask again, a block is just
    /// being applied.
    pub fn availability<'a>(
        &self,
        openings: &'a [Arc<Opening>],
        now: Timestamp,
        office: Option<&str>,
    ) -> Option<Availability<'a>> {
        let now = self.engine_time(now);
        self.seqlock.read(|at| Availability {
            now,
            openings: openings
                .iter()
                .map(|o| OpeningState {
                    id: o.id().into(),
                    state: o.phase(),
                    opens_at: o.window().0,
                    closes_at: o.window().1,
                })
                .collect(),
            slots: openings
                .iter()
                .flat_map(|o| (0..o.slots()).map(move |slot| (o, slot)))
                .filter(|(o, slot)| office.is_none_or(|id| o.slot(*slot).office == id))
                .map(|(o, i)| o.slot_state(i, now))
                .collect(),
            as_of: at.position(),
            catalogue: None,
        })
    }

    /// What these openings offer ([`Allocator::openings`]); of one office alone where
    /// one is named, and then only openings that have it. It is as new as its `as_of`
    /// says, and may be a block newer: describing takes longer than a block does, and
    /// what is described changes with operators' actions alone. None: ask again, a block
    /// is just being applied.
    pub fn catalogue(
        &self,
        openings: &[Arc<Opening>],
        now: Timestamp,
        office: Option<&str>,
    ) -> Option<Vec<OpeningDescription>> {
        let now = self.engine_time(now);
        let as_of = self.seqlock.read(|at| {
            let time = self.time.load(Ordering::Relaxed) as i64;
            AsOf::new(at.position(), Timestamp::from_millis(time))
        })?;
        let having = openings.iter().filter(|o| office.is_none_or(|id| o.has_office(id)));
        Some(having.map(|opening| opening.describe(office, now, as_of)).collect())
    }

    /// The opening a request means that names none: the only open one, else the
    /// only one that still gives places although its window has closed (`wait`: to
    /// those who wait), else the next scheduled that an operator has not ended, else
    /// the last closed. `Err`: there are several, which it names, or none.
    pub(crate) fn implied_opening(
        openings: &Openings,
        wait: bool,
        now: Timestamp,
    ) -> Result<&Arc<Opening>, String> {
        let of_phase = |phase| openings.iter().filter(move |o| o.phase() == phase);
        let gives = of_phase(Phase::Closed).filter(|opening| opening.still_gives(wait, now));
        if let Some(only) = the_only(of_phase(Phase::Open), "are open") {
            return only;
        }
        if let Some(only) = the_only(gives, "still give places") {
            return only;
        }
        of_phase(Phase::Scheduled)
            .filter(|o| o.window().0 < o.window().1)
            .min_by_key(|o| o.window().0)
            .or_else(|| of_phase(Phase::Closed).max_by_key(|o| o.window().1))
            .ok_or_else(|| "opening: there is none yet".to_owned())
    }
}

/// The one of these that there is; none: there is none. `Err`: there are several.
fn the_only<'a>(
    mut openings: impl Iterator<Item = &'a Arc<Opening>>,
    what: &str,
) -> Option<Result<&'a Arc<Opening>, String>> {
    let first = openings.next()?;
    let Some(second) = openings.next() else { return Some(Ok(first)) };
    let names: Vec<&str> = [first, second].into_iter().chain(openings).map(|o| o.id()).collect();
    Some(Err(format!("opening: several {what}, name one of them: {}", names.join(", "))))
}

/// A durable entry into the next release's draw, and its opening.
#[derive(Debug, Clone)]
pub struct FoundEntry {
    /// The entry as it is known at this position.
    pub waiting: Arc<DrawEntry>,
    /// The opening whose draw it takes part in.
    pub opening: Arc<Opening>,
}

/// A durable booking and the opening it belongs to.
#[derive(Debug, Clone)]
pub struct FoundBooking {
    /// The booking as it is known at this position.
    pub booking: Arc<Booking>,
    /// The opening whose places it holds or held.
    pub opening: Arc<Opening>,
}
