//! Grants on their way: staged as they enter a block, published once the ledger has it.
//!
//! All that a booking is, is known when its block is written, a broker's sync before it
//! counts. So it is made then, and put where look-ups find it; each of them passes over it
//! until the position that it looks at covers the booking's block. What is left for the
//! moment at which the block becomes durable is one number and the counts of slots and
//! accounts: no table of bookings or people is touched, and whoever decides meanwhile is
//! rarely disturbed.

use std::sync::Arc;

use giliran_wire::answer::Status;
use giliran_wire::event::Kind;
use giliran_wire::{BookingId, Timestamp};

use super::apply::{BlockApplier, show};
use super::{StateChange, StateMachine};
use crate::sync::Ordering;
use crate::{Booking, FoundBooking, Opening, PendingGrant};

/// Where the staged bookings stand in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagedIn {
    /// Before the entry of this index, or behind the last.
    pub at: usize,
    /// Whether they are among the changes that the commit returns.
    pub are_told: bool,
}

/// Which block a grant is staged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockTurn {
    /// The one behind the last that was applied.
    Next,
    /// The one behind that, while it is on its way: it holds nothing but grants, so that
    /// whatever holds before it holds after it. Times are not before its own.
    AfterNext,
}

/// Whether a grant could be numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbered {
    /// It has booking id and numbers.
    Done,
    /// This id is taken: try with other bits.
    IdTaken,
    /// Since it was decided, an operator has lowered the quota or halted the slot,
    /// or the moment has come from which on nobody can book it.
    NoRoom,
}

impl StateMachine {
    /// Gives the grant its booking id, the lowest free numbers of its slot and the
    /// end of its hold, as it enters a block of this time.
    pub fn assign_numbers(
        &mut self,
        grant: &mut PendingGrant,
        time: Timestamp,
        random: u128,
    ) -> Numbered {
        if !self.has_room(grant, time) {
            return Numbered::NoRoom;
        }
        let Some(id) = self.new_id(random) else { return Numbered::IdTaken };
        self.numbered.insert(id);
        let booking = grant.booking_mut();
        booking.id = id;
        self.number_seats(booking, time);
        Numbered::Done
    }

    /// True if the grant's slot can be booked at this time, and has places for it beside
    /// those of the block that is being written.
    fn has_room(&self, grant: &Booking, time: Timestamp) -> bool {
        self.openings.get(&grant.opening).is_some_and(|index| {
            index.opening.is_bookable(grant.slot, time)
                && index.inventories[grant.slot as usize].has_room(grant.seats.len() as u32)
        })
    }

    /// Gives a grant that has room its numbers and the end of its hold.
    fn number_seats(&mut self, grant: &mut Booking, time: Timestamp) {
        let Some(index) = self.openings.get_mut(&grant.opening) else { return };
        let hold_expires_at = index.opening.hold_end(grant.slot, time);
        let inventory = &mut index.inventories[grant.slot as usize];
        // A slot with room has a number.
        grant.number(|| inventory.number().unwrap_or_default(), hold_expires_at);
    }

    /// A grant will be [staged](Self::stage) soon, though others come first: its booking is
    /// fetched from memory meanwhile. Fetching changes nothing else.
    pub fn fetch_booking(grant: &PendingGrant) {
        grant.fetch();
    }

    /// The same, nearer to its turn: what is fetched is its text and its claim, for which its
    /// booking is read.
    pub fn fetch_claim(&self, grant: &PendingGrant) {
        grant.fetch_text();
        if let Some(index) = self.openings.get(&grant.opening) {
            index.opening.claims.fetch(&grant.seats[0].applicant);
        }
    }

    /// A booking will be staged under an id by these bits.
    pub fn fetch_id(&self, random: u128) {
        self.allocator.bookings.fetch(&BookingId::from_random(random));
    }

    /// Makes the booking of a grant as it enters the block of this turn and time: with an id
    /// by `random`, the lowest free numbers of its slot and the end of its hold. It counts
    /// once the block is [committed](Self::commit_around).
    ///
    /// # Errors
    ///
    /// The request's id, where the places are not free any more: an operator has
    /// lowered the quota or halted the slot since, or the moment has come from which on
    /// nobody can book it. They are given back.
    pub fn stage(
        &mut self,
        mut grant: PendingGrant,
        (turn, time): (BlockTurn, Timestamp),
        random: &mut dyn FnMut() -> u128,
    ) -> Result<Arc<Booking>, Box<str>> {
        if !self.has_room(&grant, time) {
            return Err(grant.request_id.clone());
        }
        let booking = grant.booking_mut();
        let blocks = match turn {
            BlockTurn::Next => 1,
            BlockTurn::AfterNext => 2,
        };
        booking.enter(self.chain.number + blocks, time.max(self.chain.time));
        self.number_seats(booking, time);
        let booking = self.put_under_an_id(grant.enter(), random);
        let opening = self.openings.get(&booking.opening).map(|index| &index.opening);
        let claimed = opening.is_some_and(|opening| opening.claims.stage(&booking).is_ok());
        if !claimed {
            // The claims are not this grant's any more.
            self.unstage(&booking);
            if let Some(index) = self.openings.get(&booking.opening) {
                index.opening.claims.give(booking.seats.iter().map(|seat| &seat.applicant));
            }
            return Err(booking.request_id.clone());
        }
        match turn {
            BlockTurn::Next => self.staged.push(Arc::clone(&booking)),
            BlockTurn::AfterNext => self.staged_ahead.push(Arc::clone(&booking)),
        }
        self.count_staged();
        Ok(booking)
    }

    fn put_under_an_id(
        &self,
        mut booking: Arc<Booking>,
        random: &mut dyn FnMut() -> u128,
    ) -> Arc<Booking> {
        loop {
            let Some(id) = self.id_beside_bookings(random()) else { continue };
            // Nobody shares it: what the table did not take is gone again.
            Arc::make_mut(&mut booking).id = id;
            if self.allocator.bookings.occupy(id, Arc::clone(&booking), |_| ()).is_ok() {
                return booking;
            }
        }
    }

    /// Takes back everything that was staged: its blocks will never be in the ledger.
    /// [`end_block`](Self::end_block) comes after the entries of the one on its way.
    pub fn abandon_staged(&mut self) {
        self.abandon_staged_ahead();
        let staged = std::mem::take(&mut self.staged);
        staged.iter().rev().for_each(|booking| self.unstage(booking));
        self.count_staged();
    }

    /// Takes back what was staged for the block behind the one on its way.
    pub fn abandon_staged_ahead(&mut self) {
        let staged = std::mem::take(&mut self.staged_ahead);
        staged.iter().rev().for_each(|booking| self.unstage(booking));
        self.count_staged();
    }

    /// The block on its way is in the ledger: the one behind it is the next.
    pub(super) fn take_turns(&mut self) {
        self.staged = std::mem::take(&mut self.staged_ahead);
    }

    /// How many bookings of the tables do not count yet.
    fn count_staged(&self) {
        let staged = self.staged.len() + self.staged_ahead.len();
        self.allocator.staged.store(staged as u64, Ordering::Relaxed);
    }

    fn unstage(&mut self, booking: &Booking) {
        if let Some(index) = self.openings.get_mut(&booking.opening) {
            let inventory = &mut index.inventories[booking.slot as usize];
            booking.seats.iter().for_each(|seat| inventory.untake(seat.number));
        }
        self.allocator.abandon_staged(booking);
    }
}

impl BlockApplier<'_> {
    /// What was staged is in the ledger with this block.
    pub(super) fn publish(&mut self, are_told: bool) {
        let staged = std::mem::take(&mut self.state.staged);
        self.state.count_staged();
        let mut shown: Vec<(Arc<Opening>, u32)> = Vec::new();
        for of_opening in staged.chunk_by(|one, next| one.opening == next.opening) {
            let Some(index) = self.state.openings.get_mut(&of_opening[0].opening) else { continue };
            for booking in of_opening {
                let places = booking.seats.len() as u32;
                if index.inventories[booking.slot as usize].publish(places) {
                    shown.push((Arc::clone(&index.opening), booking.slot));
                }
                if let Some(account) = booking.account() {
                    index.opening.accounts.grant(account, places, true);
                }
                if let Some(until) = booking.hold_expires_at() {
                    self.state.holds.insert((until, booking.id));
                }
            }
            index.made.extend(of_opening.iter().map(|booking| booking.id));
            if are_told {
                let told = of_opening.iter().map(|booking| granted(booking, &index.opening));
                self.changes.extend(told);
            } else {
                self.untold += of_opening.len() as u64;
            }
        }
        for (opening, slot) in shown {
            let inventory = self.state.inventory(opening.record().ordinal, slot);
            inventory.published();
            // The counter of those who decide has been without these places since.
            show(&opening, slot, inventory, inventory.available(), 0);
        }
    }
}

/// A booking is new.
pub(super) fn granted(booking: &Arc<Booking>, opening: &Arc<Opening>) -> StateChange {
    let kind = if booking.status == Status::Held { Kind::Held } else { Kind::Confirmed };
    let after = FoundBooking { booking: Arc::clone(booking), opening: Arc::clone(opening) };
    StateChange::Booking { kind, before: None, after, payment: None, reason: None }
}
