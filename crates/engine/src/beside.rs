//! The configuration file beside what is on record: what is not as the file says is
//! told once in the log, and shown for as long as it is so.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use giliran_config::{Finding, What};
use giliran_nats::clock::Moment;

use crate::metrics::Metrics;

/// How often the file is held against what is on record.
const EVERY: Duration = Duration::from_secs(2);
/// Most that are shown at a time; the log has all.
const SHOWN: usize = 50;

/// What is not as the file says.
#[derive(Debug, Default)]
pub(crate) struct Beside(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    at: Option<Moment>,
    findings: Vec<String>,
}

impl Beside {
    /// True if it is time to look again.
    pub(crate) fn is_due(&self) -> bool {
        self.seen().at.is_none_or(|at| at.elapsed() >= EVERY)
    }

    /// Tells what there is to tell since the last look, and shows the rest.
    pub(crate) fn look(&self, findings: &[Finding], metrics: &Metrics) {
        let mut seen = self.seen();
        seen.at = Some(Moment::now());
        let words: Vec<String> = findings.iter().map(Finding::to_string).collect();
        if seen.findings == words {
            return;
        }
        for (finding, words) in findings.iter().zip(&words) {
            if seen.findings.contains(words) {
                continue;
            }
            match finding.what {
                What::LeftOut { .. } => tracing::error!("{words}"),
                What::Differs { .. } => tracing::warn!("{words}"),
            }
        }
        let mut counts: BTreeMap<_, i64> = BTreeMap::new();
        for finding in findings {
            *counts.entry((finding.opening.as_str(), finding.field())).or_default() += 1;
        }
        metrics.file_differs.reset();
        for ((opening, field), count) in counts {
            metrics.file_differs.with_label_values(&[opening, field]).set(count);
        }
        seen.findings = words;
    }

    /// What is so now, for people.
    pub(crate) fn shown(&self) -> Vec<String> {
        let seen = self.seen();
        let mut shown: Vec<String> = seen.findings.iter().take(SHOWN).cloned().collect();
        if seen.findings.len() > SHOWN {
            shown.push(format!("and {} more; the log has them", seen.findings.len() - SHOWN));
        }
        shown
    }

    /// A panic elsewhere cannot leave it half changed.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
