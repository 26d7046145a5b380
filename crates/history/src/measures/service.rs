//! How the service fared, by the engines' own metrics.

use giliran_report::Figures;

use crate::metrics_page::Metrics;

const NO_METRICS: &str = "no metrics page of an engine was given";
const NOT_TIMED: &str = "the metrics hold no grant, or it took longer than they tell";

/// What the pages tell; they count all openings since their engines were started.
pub(super) fn service(metrics: Option<&Metrics>, into: &mut Figures) {
    let count = |n: fn(&Metrics) -> u64| metrics.map(|m| n(m) as f64).ok_or(NO_METRICS);
    let time = |at: fn(&Metrics) -> Option<f64>| match metrics {
        Some(metrics) => at(metrics).ok_or(NOT_TIMED),
        None => Err(NO_METRICS),
    };
    into.count("metered", "Answered by the engines", count(Metrics::answers)).about(
        "Requests for bookings and their changes that got an answer, of all openings since the \
         engines were started.",
    );
    into.count("metered_grants", "Granted by the engines", count(|m| m.outcome("granted")))
        .about("Of these, new bookings.");
    into.count("repeats", "Repeats", count(|m| m.outcome("repeated")))
        .about("Of these, requests that had been granted before, and were answered so again.");
    into.count("overloaded", "Told to come again", count(|m| m.rejected(&["busy", "unavailable"])))
        .about("Of these, rejected for want of capacity: `busy` or `unavailable`.");
    into.count("malformed", "Malformed", count(|m| m.rejected(&["malformed"])))
        .about("Of these, requests that no client should send.");
    into.count("dropped", "Dropped", count(|m| m.dropped))
        .about("Requests without a subject that could be answered on.");
    into.seconds("grant_p50_s", "Grant, p50", time(|m| m.grants.quantile(0.5))).about(
        "From the engine's socket to the answer, for the oldest grant of a block: half of the \
         blocks took at most so long (upper bound of the bucket).",
    );
    into.seconds("grant_p99_s", "Grant, p99", time(|m| m.grants.quantile(0.99)))
        .about("The same for 99 in 100 blocks.");
    into.seconds("queue_p99_s", "Queue, p99", time(|m| m.queue.quantile(0.99)))
        .about("How long 99 in 100 groups of requests waited at most for a deciding thread.");
}
