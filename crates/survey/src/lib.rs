//! How all of Giliran stands at one moment, for those who answer for an opening.
//!
//! [`Survey`] asks every process (`$SRV`), the active engine (`availability`), JetStream
//! and the monitoring ports of the broker's servers, and makes one
//! [`Picture`](giliran_wire::picture::Picture) of it. [`judge`] holds a picture against what
//! it has to be: a list of checks, each green, red, or not to be seen.
//!
//! What always holds: nothing here changes anything; what could not be looked at is told as
//! such, and is never green; judging is a function of what was seen, without clock or I/O.
//!
//! Deliberately not here: how it is shown (`giliran status`, `preflight` and the console do
//! that), the ledger, and any decision.

#![warn(missing_docs)]

mod ask;
mod broker;
pub mod judge;
mod rates;
pub mod zone;

pub use ask::{NotAnswered, Probe, Survey};
pub use rates::rates;
