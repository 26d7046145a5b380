//! Bookings of a snapshot on their way into the state: of millions of them, read by several
//! threads at a time.
//!
//! Each thread collects what it has read by the tables' shards, and then fills one shard
//! after the other. The lines and pages that a shard needs are then near the processor,
//! while bookings in the order in which they were made fall all over the tables.

use std::sync::Arc;

use giliran_wire::answer::Status;
use giliran_wire::ledger::Seat;
use giliran_wire::snapshot::{BookingStateRef, Unusable};
use giliran_wire::{BookingId, Pseudonym, Timestamp};
use rustc_hash::FxHashMap;

use super::StateMachine;
use super::apply::show;
use super::inventory::Occupied;
use crate::openings::Openings;
use crate::sync::sharded_map::Batch;
use crate::{Allocator, Booking, Opening};

/// So many bookings are collected before the tables get them.
const COLLECTED: usize = 1 << 19;

/// Takes bookings of a snapshot, those of one thread; they are in the state once
/// [`StateMachine::take_restored`] has all of them.
#[derive(Debug)]
pub struct Restorer {
    allocator: Arc<Allocator>,
    openings: Arc<Openings>,
    /// The one that the claims are of.
    opening: Option<Arc<Opening>>,
    bookings: Batch<BookingId, Arc<Booking>>,
    claims: Batch<Pseudonym, Arc<Booking>>,
    /// By the place of their section, and by opening.
    made: Vec<(u64, u32, Vec<BookingId>)>,
    /// What live bookings have of the slots of each opening.
    slots: FxHashMap<u32, Vec<Occupied>>,
    holds: Vec<(Timestamp, BookingId)>,
}

impl Restorer {
    /// Takes a booking of the section of this place in the snapshot; a section's bookings
    /// come in their order.
    ///
    /// # Errors
    ///
    /// What does not fit; the state is then not to be used.
    pub fn take(&mut self, section: u64, state: BookingStateRef<'_>) -> Result<(), Unusable> {
        self.turn_to(&state)?;
        let booking = Arc::new(Booking::restored(state));
        let (id, ordinal) = (booking.id, booking.opening);
        match self.made.last_mut() {
            Some((last, of, ids)) if (*last, *of) == (section, ordinal) => ids.push(id),
            _ => self.made.push((section, ordinal, vec![id])),
        }
        let opening = self.opening.as_ref().expect("turned to it above");
        if booking.status.is_live() {
            if let Some(account) = booking.account() {
                opening.accounts.grant(account, booking.seats.len() as u32, false);
            }
            let slots = self.slots.entry(ordinal).or_default();
            if slots.is_empty() {
                slots.resize(opening.slots() as usize, Occupied::default());
            }
            let occupied = &mut slots[booking.slot as usize];
            for Seat { applicant, number } in &booking.seats {
                if *number == 0 || !occupied.numbers.take(*number) {
                    return Err(Unusable::Number { opening: ordinal, slot: booking.slot });
                }
                occupied.places += 1;
                self.claims.push(*applicant, Arc::clone(&booking));
            }
            if let (Status::Held, Some(until)) = (booking.status, booking.hold_expires_at()) {
                self.holds.push((until, id));
            }
        } else {
            booking.seats.iter().for_each(|seat| opening.claims.end(seat.applicant, &booking));
        }
        for who in booking.change_log().into_iter().flat_map(|change_log| &change_log.left) {
            opening.claims.end(*who, &booking);
        }
        self.bookings.push(id, booking);
        if self.bookings.len() == COLLECTED { self.fill() } else { Ok(()) }
    }

    /// The booking's opening is the one that claims are collected for.
    fn turn_to(&mut self, state: &BookingStateRef<'_>) -> Result<(), Unusable> {
        let fits = |opening: &Arc<Opening>| state.slot < opening.slots();
        if self.opening.as_ref().is_none_or(|last| last.record().ordinal != state.opening) {
            self.fill()?;
            self.opening = self.openings.get(state.opening).map(Arc::clone);
        }
        let fits = self.opening.as_ref().is_some_and(fits);
        if fits { Ok(()) } else { Err(Unusable::BookingOfNoOpening(state.booking)) }
    }

    /// Puts into the tables what was collected.
    ///
    /// # Errors
    ///
    /// Where a booking is there twice, or somebody has two.
    pub fn fill(&mut self) -> Result<(), Unusable> {
        if let Some(opening) = &self.opening {
            opening.claims.fill(&mut self.claims).map_err(|of| Unusable::SecondBooking(of.id))?;
        }
        let mut twice = None;
        self.allocator.bookings.fill(
            &mut self.bookings,
            |booking| booking,
            |_, again| {
                twice = Some(again.id);
            },
        );
        twice.map_or(Ok(()), |id| Err(Unusable::BookingTwice(id)))
    }
}

impl StateMachine {
    /// For a thread that takes bookings of a snapshot; everything else that stands in it
    /// before these was [restored](Self::restore).
    pub fn restorer(&self) -> Restorer {
        Restorer {
            allocator: Arc::clone(&self.allocator),
            openings: self.allocator.openings.load_full(),
            opening: None,
            bookings: Batch::default(),
            claims: Batch::default(),
            made: Vec::new(),
            slots: FxHashMap::default(),
            holds: Vec::new(),
        }
    }

    /// Takes the bookings of all threads together.
    ///
    /// # Errors
    ///
    /// What does not fit; the state machine is then not to be used.
    pub fn take_restored(&mut self, mut restorers: Vec<Restorer>) -> Result<(), Unusable> {
        for restorer in &mut restorers {
            restorer.fill()?;
            self.holds.extend(std::mem::take(&mut restorer.holds));
            for (ordinal, slots) in &restorer.slots {
                self.restore_occupied(*ordinal, slots)?;
            }
        }
        let mut made: Vec<_> = restorers.into_iter().flat_map(|restorer| restorer.made).collect();
        // Of one section the order stays as it is.
        made.sort_by_key(|(section, _, _)| *section);
        // Millions of them, which are not to be copied as their list grows.
        let mut counts: FxHashMap<u32, usize> = FxHashMap::default();
        for (_, ordinal, ids) in &made {
            *counts.entry(*ordinal).or_default() += ids.len();
        }
        for (ordinal, count) in counts {
            if let Some(index) = self.openings.get_mut(&ordinal) {
                index.made.reserve(count);
            }
        }
        for (_, ordinal, ids) in made {
            if let Some(index) = self.openings.get_mut(&ordinal) {
                index.made.extend(ids);
            }
        }
        Ok(())
    }

    fn restore_occupied(&mut self, ordinal: u32, slots: &[Occupied]) -> Result<(), Unusable> {
        let Some(index) = self.openings.get_mut(&ordinal) else { return Ok(()) };
        for ((slot, inventory), occupied) in (0..).zip(&mut index.inventories).zip(slots) {
            let before = inventory.available();
            if !inventory.restore_live(occupied) {
                return Err(Unusable::Number { opening: ordinal, slot });
            }
            show(&index.opening, slot, inventory, before, 0);
        }
        Ok(())
    }
}
