//! The active engine: the loop around the sequencer, the lease it rests on, and what
//! it logs.

pub(crate) mod driver;
pub(crate) mod lease_guard;
pub(crate) mod marker;
pub(crate) mod pending_beacons;
pub(crate) mod renewal;
pub(crate) mod story;
