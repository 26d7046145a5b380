//! Group commit: the order of the ledger, as a pure core: inputs in, effects out.
//!
//! Inputs are method calls that carry the time; what is to be done comes out as
//! [`Effect`]s. Nothing here waits, sends or asks a clock, so the same code runs
//! under the simulator.
//!
//! **Exactly one block is in flight.** While it is, grants queue up; when it is
//! known to be in the ledger, the next block takes all that waited. Where only grants
//! do, whoever drives this has them staged meanwhile ([`Sequencer::stage_ahead`]). What an
//! append's outcome means is decided by what stands at the sequence after the
//! expected one, never by the outcome's absence:
//!
//! ```text
//!            Append ──▶ stored at the expected place ──▶ commit, answer, next block
//!              ▲  │
//!   same bytes │  ├──▶ no answer, refused ──▶ wait, again (same expected sequence)
//!              │  │
//!              │  └──▶ wrong last sequence ──▶ Read what stands there
//!              │                                 ├── the own bytes ──▶ commit
//!              ├─────────────── nothing yet ◀────┤
//!              └─── skip it, expect the next ◀───┼── void, or foreign
//!                                                ├── another writer's valid block ──▶ deposed
//!                                                └── nothing, and a shorter tail ──▶ lost
//! ```
//!
//! Where the ground may have moved, the last valid block is looked at first
//! (`in_flight.rs`).
//!
//! Where a generation of the ledger is sealed, the next one's begin is written
//! before anything else (`generation.rs`).
//!
//! Non-goals: waiting, sending, a clock, NATS, metrics.

#![warn(missing_docs)]

mod admin;
mod ahead;
mod block_builder;
mod branch;
mod clock_guard;
mod effect;
mod ending;
mod generation;
mod granted;
mod in_flight;
mod look_ahead;
mod opening_draws;
mod queued;
mod rejections;
mod rounds;
mod sequencer;

pub use admin::{Acted, AdminCommand, AdminOp, Came};
pub use branch::Branch;
pub use clock_guard::MAX_JUMP_MS;
pub use effect::{
    AdminChange, AdminReport, Appended, Attempt, Effect, Grants, Lost, Now, Outcome, ReadOutcome,
    StopReason,
};
pub use generation::Continuation;
pub use in_flight::{
    APPEND_TIMEOUT_MS, BACKOFF_MS, LOST_AFTER_MS, LOST_LOOKS, MAX_BACKOFF_MS, TRUST_MS,
};
pub use queued::MAX_PARKED_MS;
pub use rejections::RejectionCounts;
pub use sequencer::{GRACE_MS, MAX_BACKLOG, Sequencer};
