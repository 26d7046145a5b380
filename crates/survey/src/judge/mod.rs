//! Holding a picture against what it has to be.
//!
//! [`now`] looks at what has to hold whenever Giliran runs, [`preflight`] at that and at
//! what has to hold before an opening. What could not be looked at is
//! [`Verdict::Unknown`], never green.

mod broker;
mod opening;
mod processes;

use std::collections::BTreeMap;

use giliran_wire::Timestamp;
use giliran_wire::picture::{Check, Known, Picture, Verdict};

use crate::ask::Probe;

/// The checks of [`now`], in their order.
pub const NOW: [&str; 10] = [
    "engine",
    "states",
    "warnings",
    "clocks",
    "lags",
    "answers",
    "replicas",
    "sync",
    "disk",
    "certificates",
];

/// The checks that [`preflight`] adds, in their order.
pub const BEFORE: [&str; 13] = [
    "standby",
    "expected",
    "keys",
    "configurations",
    "releases",
    "record",
    "file",
    "commitment",
    "returns",
    "pending",
    "requests",
    "operators",
    "backups",
];

/// What is still green.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most that a clock may differ from the broker's, ms.
    pub clock_ms: u64,
    /// Most that persist and feed may be behind, ms; before an opening they are not to be
    /// behind at all.
    pub lag_ms: u64,
    /// Most of what may be stored that is, %.
    pub disk_percent: u64,
    /// How long a certificate has to be valid still, ms.
    pub certificate_ms: u64,
    /// Most that the newest of a backup may be old, ms.
    pub backup_ms: u64,
    /// How many processes of a role have to answer.
    pub least: BTreeMap<String, usize>,
}

impl Default for Limits {
    fn default() -> Self {
        let least = [("engine", 2), ("persist", 1), ("feed", 1)];
        Self {
            clock_ms: 1_000,
            lag_ms: 60_000,
            disk_percent: 80,
            certificate_ms: 14 * 24 * 3_600_000,
            backup_ms: 26 * 3_600_000,
            least: least.map(|(role, least)| (role.to_owned(), least)).into(),
        }
    }
}

/// A certificate that is used, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is, for people.
    pub of: String,
    /// When it ends.
    pub until: Known<Timestamp>,
}

/// A backup of store or ledger, where one was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Where it is, for people.
    pub of: String,
    /// When the newest of it was made.
    pub made: Known<Timestamp>,
}

/// What is known of an opening beside the picture.
#[derive(Debug, Clone)]
pub struct Flight {
    /// Its id.
    pub opening: String,
    /// What of the configuration file is not as on record.
    pub compared: Known<Vec<String>>,
    /// Days whose bookings an operator has ordered to be cancelled and that are not yet.
    pub unfinished: Known<Vec<String>>,
    /// What harmless requests came to.
    pub probes: Vec<Probe>,
    /// Backups; none: they are not looked at.
    pub backups: Vec<Backup>,
}

/// What has to hold whenever Giliran runs. `certificates`: of whoever looks.
pub fn now(picture: &Picture, limits: &Limits, certificates: &[Certificate]) -> Vec<Check> {
    vec![
        processes::engine(picture),
        processes::states(picture),
        processes::warnings(picture),
        processes::clocks(picture, limits),
        processes::lags(picture, limits.lag_ms, &["persist", "feed"]),
        processes::answers(picture),
        broker::replicas(picture),
        broker::sync(picture),
        broker::disk(picture, limits),
        broker::certificates(picture, limits, certificates),
    ]
}

/// What has to hold before an opening.
pub fn preflight(
    picture: &Picture,
    limits: &Limits,
    certificates: &[Certificate],
    flight: &Flight,
) -> Vec<Check> {
    let strict = Limits { lag_ms: 0, ..limits.clone() };
    let mut checks = now(picture, &strict, certificates);
    checks.extend([
        processes::standby(picture),
        processes::expected(picture, limits),
        processes::equal_in_engines(picture, "keys", "applicant key", |s| s.key.as_ref()),
        processes::equal_in_engines(picture, "configurations", "configuration file", |s| {
            s.config.as_ref()
        }),
        processes::releases(picture),
        opening::record(picture, flight),
        opening::file(flight),
        opening::commitment(picture, flight),
        opening::returns(picture, flight),
        opening::pending(picture, flight),
        opening::answered(flight, "requests", &["lookup"]),
        opening::answered(flight, "operators", &["admin.closes_at"]),
    ]);
    checks.extend(opening::backups(picture, limits, flight));
    checks
}

/// Whether every check is green or waived, once `waived` ones that could not be looked at
/// are taken on somebody's word.
pub fn verdict(checks: &mut [Check], waived: &[String]) -> bool {
    for check in checks.iter_mut() {
        if check.verdict == Verdict::Unknown && waived.contains(&check.name) {
            check.verdict = Verdict::Waived;
        }
    }
    checks.iter().all(|check| matches!(check.verdict, Verdict::Go | Verdict::Waived))
}

/// Whether nothing is known to be wrong: what could not be looked at does not count.
pub fn is_fine(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict != Verdict::NoGo)
}

fn check(name: &str, verdict: Verdict, found: impl Into<String>) -> Check {
    Check { name: name.to_owned(), verdict, found: found.into(), remedy: None }
}

fn go(name: &str, found: impl Into<String>) -> Check {
    check(name, Verdict::Go, found)
}

fn no_go(name: &str, found: impl Into<String>, remedy: &str) -> Check {
    Check { remedy: Some(remedy.to_owned()), ..check(name, Verdict::NoGo, found) }
}

fn unknown(name: &str, why: impl Into<String>, remedy: &str) -> Check {
    Check { remedy: Some(remedy.to_owned()), ..check(name, Verdict::Unknown, why) }
}

/// Green where nothing is wrong; `fine`: what is said then.
fn unless(name: &str, wrong: &[String], fine: impl Into<String>, remedy: &str) -> Check {
    if wrong.is_empty() { go(name, fine) } else { no_go(name, wrong.join("; "), remedy) }
}

/// A length of time, for people.
pub fn length(ms: u64) -> String {
    let (s, m, h) = (ms / 1_000, ms / 60_000, ms / 3_600_000);
    match (ms, s, m, h) {
        (0..1_000, ..) => format!("{ms} ms"),
        (_, 0..60, ..) => format!("{s} s"),
        (_, _, 0..60, _) => format!("{m} min {} s", s % 60),
        (.., 0..48) => format!("{h} h {} min", m % 60),
        _ => format!("{} days {} h", h / 24, h % 24),
    }
}

#[cfg(test)]
mod tests;
