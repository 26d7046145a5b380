//! The engine's pure cores under simulated time, broker and faults.
//!
//! One seed makes one run: engines, clients, a stream with expected-last-sequence
//! fencing, and a network that delays, loses and repeats. The code that decides
//! and sequences is the engine's own; what is simulated is everything around it.
//! The [`oracle`] judges from what clients saw and what the stream holds, never
//! from the engine's counters.
//!
//! What is modelled: see [`Kind`]. The opening is first-come, has rounds, or is
//! drawn, with the close and the draw amid the faults. After the faults everything
//! has to be settled within ten simulated seconds.
//!
//! Deliberately not here: threads (the allocator's loom models), and what only one
//! process of a real engine knows, as its high-water mark.

mod kind;
pub mod oracle;
mod show;
mod streams;
pub mod sweep;
mod world;

pub use kind::{Kind, Mutant, ORDERS, Setup};
pub use streams::{Message, Streams};
pub use world::{Attempt, ClientAnswer, HeardAnswer, Intent, Run, run};
