//! The active engine: the loop around the sequencer, the lease it rests on, and what
//! it logs.

mod answering;
pub(crate) mod driver;
mod pending_beacons;
pub(crate) mod renewal;
mod rolling;
mod story;
mod take_over;
