//! The fairness bench: the same people under every order of allocation.
//!
//! A [`scenario`] says who asks and who attacks; [`compare()`] runs many seeds of it
//! under each order and returns rule, in virtual time, on the real
//! `giliran-sequencer` and `giliran-allocator`, and measures what came out.
//!
//! What always holds: a result follows from scenario, arms and seed alone, on any
//! number of threads; memory is bounded by the people of a run, not by its
//! requests.
//!
//! Deliberately not here: the broker and the engine's threads (they do not change
//! who gets a place, only when), and files; the command writes those.

mod closed_forms;
pub mod compare;
pub mod measures;
pub mod population;
mod progress;
pub mod random;
pub mod report;
mod resources;
pub mod scenario;
pub mod simulation;
pub mod sweep;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;

pub use closed_forms::{CHECK_LEVEL, Check, Size, checks};
pub use compare::{ArmResult, Comparison, GroupFigures, LEVEL, PILOT_PARTIES, Plan, compare};
pub use measures::Measure;
pub use measures::run::{Group, GroupOutcome, RunMeasures, groups};
pub use progress::Progress;
pub use resources::Resources;
pub use simulation::Arm;
