//! What the engines counted themselves: their metrics pages, in Prometheus' text
//! format.
//!
//! A page tells of all openings since its engine was started. Those of several
//! engines, active one after the other, are added up.

use std::collections::BTreeMap;
use std::path::Path;

/// Counts and times of the engines that were active.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// Answers by outcome and reason.
    answers: BTreeMap<(String, String), u64>,
    /// Requests nobody could be answered for.
    pub(super) dropped: u64,
    /// From the socket to the answer, for a block's oldest grant.
    pub(super) grants: Times,
    /// From the socket to a deciding thread.
    pub(super) queue: Times,
}

/// A histogram: how many took at most so long.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Times {
    /// By the upper bound, ns.
    at_most: BTreeMap<u64, u64>,
    all: u64,
}

impl Times {
    /// The upper bound of the bucket in which this quantile lies, s; none: nothing
    /// was counted, or it took longer than the last bucket tells.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (self.all as f64 * q).ceil().max(1.0) as u64;
        let found = self.at_most.iter().find(|(_, n)| **n >= rank);
        found.map(|(bound, _)| *bound as f64 / 1e9)
    }

    fn take(&mut self, bound: &str, value: u64) -> Option<()> {
        if bound == "+Inf" {
            self.all += value;
        } else {
            let bound = (bound.parse::<f64>().ok()? * 1e9).round() as u64;
            *self.at_most.entry(bound).or_default() += value;
        }
        Some(())
    }
}

/// Why a page cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A line of it.
    #[error("line {0}: neither a comment nor a metric with its value")]
    Line(usize),
    #[error("holds no giliran_requests_total: is it what an engine shows under /metrics?")]
    Foreign,
}

impl Metrics {
    /// Adds a page.
    ///
    /// # Errors
    ///
    /// [`MetricsError`] where it cannot be read, or is none of an engine.
    pub fn add(&mut self, path: &Path) -> Result<(), MetricsError> {
        self.take(&std::fs::read_to_string(path)?)
    }

    fn take(&mut self, page: &str) -> Result<(), MetricsError> {
        let mut known = false;
        for (line, number) in page.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, labels, value) = sample(line).ok_or(MetricsError::Line(number))?;
            let of = |name: &str| labels.iter().find(|(key, _)| *key == name).map(|(_, v)| *v);
            let bound = || of("le").ok_or(MetricsError::Line(number));
            let count = value as u64;
            match name {
                "giliran_requests_total" => {
                    known = true;
                    let key = [of("outcome"), of("reason")].map(|l| l.unwrap_or("").to_owned());
                    let [outcome, reason] = key;
                    *self.answers.entry((outcome, reason)).or_default() += count;
                }
                "giliran_requests_dropped_total" => self.dropped += count,
                "giliran_grant_seconds_bucket" => {
                    self.grants.take(bound()?, count).ok_or(MetricsError::Line(number))?;
                }
                "giliran_queue_wait_seconds_bucket" => {
                    self.queue.take(bound()?, count).ok_or(MetricsError::Line(number))?;
                }
                _ => {}
            }
        }
        if known { Ok(()) } else { Err(MetricsError::Foreign) }
    }

    /// Answers with this outcome.
    pub(super) fn outcome(&self, outcome: &str) -> u64 {
        self.answers.iter().filter(|((is, _), _)| is == outcome).map(|(_, n)| n).sum()
    }

    /// Rejections for these reasons.
    pub(super) fn rejected(&self, reasons: &[&str]) -> u64 {
        let of = |(outcome, reason): &(String, String)| {
            outcome == "rejected" && reasons.contains(&reason.as_str())
        };
        self.answers.iter().filter(|(key, _)| of(key)).map(|(_, n)| n).sum()
    }

    pub(super) fn answers(&self) -> u64 {
        self.answers.values().sum()
    }
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

/// Name, labels and value of a line. Labels that engines write hold neither quotes
/// nor backslashes.
fn sample(line: &str) -> Option<(&str, Labels<'_>, f64)> {
    let (name, labels, rest) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, rest) = rest.split_once('}')?;
            (name, labels, rest)
        }
        None => {
            let (name, rest) = line.split_once(char::is_whitespace)?;
            (name, "", rest)
        }
    };
    let pairs = labels.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((key.trim(), value.strip_prefix('"')?.strip_suffix('"')?))
    });
    // A time may stand behind the value.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name, pairs.collect::<Option<_>>()?, value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP giliran_requests_total Answers
giliran_requests_total{outcome=\"granted\",reason=\"\"} 45
giliran_requests_total{outcome=\"rejected\",reason=\"busy\"} 3
giliran_requests_total{outcome=\"rejected\",reason=\"sold_out\"} 100
giliran_free_places{date=\"2026-11-27\",office=\"a\",opening=\"w\",session=\"all\"} 0
giliran_grant_seconds_bucket{le=\"0.001024\"} 10
giliran_grant_seconds_bucket{le=\"0.002048\"} 44
giliran_grant_seconds_bucket{le=\"+Inf\"} 45
giliran_grant_seconds_sum 0.1
giliran_epoch 1
";

    #[test]
    fn pages_are_added_up() {
        let mut metrics = Metrics::default();
        metrics.take(PAGE).unwrap();
        metrics.take(PAGE).unwrap();
        assert_eq!((metrics.outcome("granted"), metrics.answers()), (90, 296));
        assert_eq!(metrics.rejected(&["busy", "unavailable"]), 6);
        // 20 of 90 within 1.024 ms, 88 within 2.048 ms, two longer than is told.
        assert_eq!(metrics.grants.quantile(0.2), Some(0.001_024));
        assert_eq!(metrics.grants.quantile(0.5), Some(0.002_048));
        assert_eq!(metrics.grants.quantile(0.99), None);
        assert_eq!(metrics.queue.quantile(0.5), None);
    }

    #[test]
    fn what_is_no_page_of_an_engine_is_refused() {
        let told = |page: &str| Metrics::default().take(page).unwrap_err().to_string();
        assert!(told("go_goroutines 7\n").contains("/metrics"));
        assert!(told("").contains("/metrics"));
        assert!(told("giliran_epoch 1\n<html>\n").starts_with("line 2:"));
        assert!(told("giliran_requests_total{outcome=\"granted\"} many").starts_with("line 1:"));
        assert!(told("giliran_requests_total{outcome=granted} 1").starts_with("line 1:"));
    }
}
