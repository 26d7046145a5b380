//! The console: what `giliran status`, `preflight` and `journal` say, as pages for those who
//! answer for an opening; with operators' actions where it was started with them.
//!
//! What always holds:
//!
//! - It only looks, unless it was started with actions. An action is shown first as what it
//!   would do, is done only as it was shown, needs a reason, and, where it cannot be undone, a
//!   word that is typed. What no answer settles is told as not known.
//! - The operator on record is who a trusted proxy says has logged in, never what a form says.
//! - Pages work without their script; a name with markup in it stays a name.
//! - However many look, processes and broker are asked once a second, and the ledger is read
//!   once in some seconds, for one list at a time and within a time.
//! - Where it acts, a request is for one of the names that it was started with.
//!
//! Deliberately not here: what is looked at and how it is judged (`survey`), reading the
//! configuration and the ledger (whoever starts it hands that in), any login of people.

#![warn(missing_docs)]

mod actions;
mod ask;
mod console;
mod layout;
mod lists;
mod now;
mod readings;
mod routes;
mod watch;

pub use console::{Console, Journals, Operators, Preflights, Settings};
