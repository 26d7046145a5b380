//! How the service fared, by the engines' own metrics.

use giliran_report::{Figures, Text, text};

use super::words;
use crate::metrics_page::Metrics;

const NO_METRICS: Text =
    text!("no metrics page of an engine was given" | "halaman metrik mesin tidak diberikan");
const NOT_TIMED: Text = text!(
    "the metrics hold no grant, or it took longer than they tell"
        | "metrik tidak memuat pemberian tempat, atau lamanya di luar yang ditunjukkannya"
);

/// What the pages tell; they count all openings since their engines were started.
pub(super) fn service(metrics: Option<&Metrics>, into: &mut Figures) {
    let count = |n: fn(&Metrics) -> u64| metrics.map(|m| n(m) as f64).ok_or(NO_METRICS);
    let time = |at: fn(&Metrics) -> Option<f64>| match metrics {
        Some(metrics) => at(metrics).ok_or(NOT_TIMED),
        None => Err(NO_METRICS),
    };
    words::count(into, "metered", count(Metrics::answers));
    words::count(into, "metered_grants", count(|m| m.outcome("granted")));
    words::count(into, "repeats", count(|m| m.outcome("repeated")));
    words::count(into, "overloaded", count(|m| m.rejected(&["busy", "unavailable"])));
    words::count(into, "malformed", count(|m| m.rejected(&["malformed"])));
    words::count(into, "dropped", count(|m| m.dropped));
    words::seconds(into, "grant_p50_s", time(|m| m.grants.quantile(0.5)));
    words::seconds(into, "grant_p99_s", time(|m| m.grants.quantile(0.99)));
    words::seconds(into, "queue_p99_s", time(|m| m.queue.quantile(0.99)));
}
