//! Slots, claims, decide, and the fold of the ledger into state.
//!
//! The way of a request through this crate:
//!
//! 1. [`Allocator::decide`] (any number of threads at once) settles it from durable
//!    facts, takes places for it, or says that it must wait for a block that is
//!    on its way.
//! 2. [`StateMachine::stage`] (one thread) gives queue numbers as the grant enters a block,
//!    and makes its booking, which nobody can see yet. What a round or a draw grants is
//!    numbered ([`StateMachine::assign_numbers`]) and becomes a booking with its block.
//! 3. [`StateMachine::commit`] makes the block's facts durable once the ledger has
//!    it: it publishes what was staged, and applies the rest. [`StateMachine::abandon_staged`]
//!    and [`StateMachine::abandon`] take the places back. A grant that enters no block
//!    gives them back as it is dropped ([`Pending`]).
//! 4. [`StateMachine::fold`] does the same for blocks read from the ledger: on start,
//!    on a standby, after a take-over.
//!
//! What always holds:
//!
//! - A rejection rests on durable facts alone, and names the ledger position it
//!   was true at (P8, P12).
//! - Places are taken all or nothing by one compare-and-swap; a taken place is
//!   committed or given back, never forgotten (P1, P11).
//! - State per applicant exists for grants, and for a bounded number of entries
//!   of those who wait: rejected strangers leave nothing behind.
//! - Only the state machine changes a booking, at most once a block.
//!
//! Deliberately not here: clocks, randomness, threads, I/O, NATS. Time and
//! random bits come in as arguments.

#![warn(missing_docs)]

mod accounts;
mod allocator;
mod applicants;
pub mod ballot;
mod booking;
mod booking_request;
mod calendar;
mod change;
mod claims;
mod decide;
mod decision;
mod description;
mod draw_entry;
mod opening;
mod openings;
pub mod order;
mod pending;
mod state_machine;
mod sync;

pub use allocator::{Allocator, FoundBooking, FoundEntry};
pub use booking::{BookedSeats, Booking, ChangeLog, PastChange, PastChangeKind};
pub use booking_request::{BookingRequest, Content, OwnedBookingRequest};
pub use calendar::Calendar;
pub use change::{ChangeKind, ChangeRequest};
pub use decision::{Decision, Rejection, Settled};
pub use description::OpeningFacts;
pub use draw_entry::DrawEntry;
pub use opening::{Opening, SlotName, Unsupported};
pub use openings::Openings;
pub use pending::{Pending, PendingEntry, PendingGrant, Taken};
pub use state_machine::{
    BlockTurn, ChangeOutcome, ChangeReply, DrawStep, Folded, Numbered, OpeningDraw, Parts,
    Restorer, StagedIn, StateChange, StateMachine, WaitlistDraw,
};
pub use sync::seqlock::Durable;
