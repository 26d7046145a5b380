//! Load as it comes on a Friday, and the auditor of what came of it.
//!
//! [`load`] sends bookings over NATS and writes down what each client saw
//! ([`log`]); [`audit`] holds ledger, stores, events and that log against the
//! promises. [`fairness`] runs the same people under every order of allocation,
//! in virtual time, and measures who gets what; [`rush`] sends the same people to
//! a running engine. [`recorded`] tells an opening that really took place, and states
//! it for the public. [`draw`] recomputes a draw from what is published of it. [`journal`] tells who
//! did what to openings and ledger.
//!
//! What always holds: the auditor shares no code with the engine but the wire's
//! formats, but where it holds a seal of the ledger against the fold. Its oracle is
//! what clients saw, never the engine's own counters. Beside that only `fairness` and
//! `recorded::replay` have `giliran-allocator` decide: what they measure is the real
//! deciding.

pub mod load;
pub mod rush;
