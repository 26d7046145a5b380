//! The engine's state machine under simulated time, broker and faults.
//!
//! One seed makes one run: engines, clients, a stream with expected-last-sequence
//! fencing, and a network that delays, loses and repeats. The code that decides
//! and sequences is the engine's own; what is simulated is everything around it.
//! The [`oracle`] judges from what clients saw and what the stream holds, never
//! from the engine's counters.
//!
//! What is modelled: appends lost before and after they are stored, late and
//! repeated outcomes, refusals (disk full), engines that crash or pause at any
//! step, take-overs while the old engine still writes, clocks that jump, clients
//! that retry with the same request id, repeat after success, or use an id again
//! for something else. The opening is first-come, has rounds, or is drawn, with the
//! close and the draw amid the faults.
//!
//! Deliberately not here: lost stream tails (the high-water mark's business) and
//! threads (the core's loom models).

pub mod oracle;
mod orders;
mod streams;
mod world;

pub use streams::Streams;
pub use world::{Attempt, Mutant, Run, Told, Wish, World, run, run_in};
