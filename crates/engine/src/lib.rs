//! The engine: intake → decide → group commit → answer.
//!
//! The way of a request:
//!
//! 1. `intake` drains the subscriptions into bounded queues and
//!    tells `busy` at once what does not fit.
//! 2. `workers` read the payloads, put people under pseudonyms
//!    and decide, several at once; what rests on durable facts is answered
//!    there and then.
//! 3. `active` drives the sequencer, which brings grants into the ledger, one block in
//!    flight.
//! 4. `reply` writes answers, a grant's only once its block is
//!    durable.
//!
//! `engine` decides when any of this may happen: it follows the ledger as a
//! `standby`, takes over when the lease is free, and steps down when it is gone.
//! `context` is what the roles share.
//!
//! What always holds:
//!
//! - Requests are subscribed to only while active, so that "no responders"
//!   keeps its meaning.
//! - A rejection leaves only while the lease, counted from before its last
//!   renewal was sent, stands with a margin.
//! - A raw applicant id does not get beyond `workers`.
//!
//! Deliberately not here: stores and event feeds, which read the ledger by
//! themselves; any retry of a request, which is the client's.

mod active;
mod beside;
mod context;
mod engine;
mod error;
mod high_water;
mod intake;
mod lease_guard;
mod marker;
mod metrics;
mod options;
mod places;
pub mod rebuild;
mod reply;
mod snapshot;
mod standby;
mod standing;
mod witness;
mod workers;

pub use engine::{Engine, View};
pub use error::EngineError;
pub use high_water::{HighWater, HighWaterError};
pub use metrics::{Metrics, foreign_messages};
pub use options::Options;
pub use snapshot::SNAPSHOT_AFTER;
pub use standing::standing;
