//! The configuration file, and the openings it resolves to.
//!
//! [`parse`] reads the file and reports every problem at once, each with its
//! line and field. [`Config::due`] says which openings should be on record at an
//! instant, fully resolved: from there on the ledger counts, not the file;
//! [`Config::compare`] says where the two differ. [`problems`] is how any TOML file is
//! read whose every problem is to be told.
//!
//! What always holds: a `Config` that exists is valid; resolving it cannot fail.
//!
//! Deliberately not here: secrets (they come from files and the environment),
//! clocks, and the record itself.

mod applicant_pattern;
mod compare;
mod config;
mod describe;
mod dev;
mod file;
mod offices;
mod openings;
pub mod problems;
mod rules;
mod schedule;
mod shipped;

pub use applicant_pattern::ApplicantPattern;
pub use compare::{Comparison, Finding, What};
pub use config::Config;
pub use describe::describe;
pub use dev::dev;
pub use file::parse;
pub use offices::Office;
pub use problems::{Problem, Problems};
pub use schedule::{Explicit, Schedule};
pub use shipped::{BATAM, EXAMPLE};
