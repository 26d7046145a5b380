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

mod compare;
mod describe;
mod file;
mod offices;
mod openings;
pub mod problems;
mod rules;

use giliran_allocator::Calendar;
use giliran_drand::Network;
use giliran_wire::subject::Namespace;
use giliran_wire::{Date, Digest, Timestamp};
use jiff::SignedDuration;
use jiff::civil::Weekday;
use regex::bytes::RegexBuilder;

pub use compare::{Comparison, Finding, What};
pub use describe::describe;
pub use file::parse;
use giliran_wire::ledger::Rules;
pub use problems::{Problem, Problems};

/// The example that ships with Giliran: the Batam offices.
pub const BATAM: &str = include_str!("../examples/batam.toml");

/// A file with every key there is, and what each is for.
pub const EXAMPLE: &str = include_str!("../examples/complete.toml");

#[derive(Debug, Clone)]
pub struct Config {
    /// Subjects, streams and buckets.
    pub namespace: Namespace,
    /// What applicant ids must look like, where given.
    pub applicant_pattern: Option<ApplicantPattern>,
    /// Where reply subjects may lie: string prefixes.
    pub reply_prefixes: Vec<String>,
    /// Blocks after which the ledger goes on in its next stream, as soon as no
    /// opening is open; at twice as many in any case.
    pub generation_blocks: u64,
    /// Openings that come by themselves.
    pub schedule: Option<Schedule>,
    pub openings: Vec<Explicit>,
    /// The rules of all of them.
    pub rules: Rules,
    /// The network whose rounds are mixed into draws; none: the operator's seed
    /// alone decides them.
    pub beacon: Option<Network>,
    /// The offices, in configured order.
    pub offices: Vec<Office>,
    /// What of the file means nothing, or hardly what was meant.
    pub warnings: Vec<Problem>,
    /// Of the file's text, so that the same file is known elsewhere.
    pub digest: Digest,
    /// True: of no file, so what is on record need not be as it says.
    pub made_up: bool,
}

/// What applicant ids must look like: all of an id, not a part of it. Its classes
/// are those of ASCII, so that one person cannot be written in the digits of two
/// scripts.
#[derive(Debug, Clone)]
pub struct ApplicantPattern {
    text: String,
    whole: regex::bytes::Regex,
}

impl ApplicantPattern {
    /// Of this regular expression.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn new(pattern: &str) -> Result<Self, regex::Error> {
        let ascii = |pattern: &str| RegexBuilder::new(pattern).unicode(false).build();
        // By itself first: what it opens it has to close.
        ascii(pattern)?;
        let whole = ascii(&format!(r"\A(?:{pattern})\z"))?;
        Ok(Self { text: pattern.to_owned(), whole })
    }

    /// True if the whole id is as the pattern says.
    pub fn fits(&self, applicant: &str) -> bool {
        self.whole.is_match(applicant.as_bytes())
    }
}

impl std::fmt::Display for ApplicantPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Openings that come by themselves, week after week.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub(crate) calendar: Calendar,
    pub(crate) opens_on: Weekday,
    pub(crate) opens_at: jiff::civil::Time,
    /// On the wall clock.
    pub(crate) lasts: SignedDuration,
    pub(crate) covers: Vec<Weekday>,
    pub(crate) closed: Vec<Date>,
}

/// An opening written out.
#[derive(Debug, Clone)]
pub struct Explicit {
    pub(crate) id: String,
    pub(crate) opens_at: Timestamp,
    pub(crate) closes_at: Timestamp,
    /// Of its own; none: the schedule's, or UTC.
    pub(crate) calendar: Option<Calendar>,
    pub(crate) dates: Vec<Date>,
}

/// An office and what it offers a day.
#[derive(Debug, Clone)]
pub struct Office {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) sessions: Vec<Session>,
}

impl Office {
    /// Places of its largest slot.
    pub(crate) fn largest(&self) -> Option<u16> {
        self.sessions.iter().filter_map(|session| session.quota.largest()).max()
    }
}

/// A part of an office's day.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) quota: Quota,
    pub(crate) restricted: bool,
    pub(crate) explicit: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Quota {
    /// The same every day.
    Daily(u16),
    /// By weekday; none on those not named.
    ByWeekday(Vec<(Weekday, u16)>),
}

impl Quota {
    fn largest(&self) -> Option<u16> {
        match self {
            Self::Daily(places) => Some(*places),
            Self::ByWeekday(days) => days.iter().map(|(_, places)| *places).max(),
        }
    }

    pub(crate) fn on(&self, day: Weekday) -> Option<u16> {
        match self {
            Self::Daily(places) => Some(*places),
            Self::ByWeekday(days) => {
                days.iter().find(|(weekday, _)| *weekday == day).map(|(_, places)| *places)
            }
        }
    }
}
