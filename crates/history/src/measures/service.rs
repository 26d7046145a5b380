//! How the service fared, by the engines' own metrics.

use super::{Figure, Unit, add};
use crate::metrics_page::Metrics;

const NO_METRICS: &str = "no metrics page of an engine was given";
const NOT_TIMED: &str = "the metrics hold no grant, or it took longer than they tell";

/// What the pages tell; they count all openings since their engines were started.
pub(super) fn service(metrics: Option<&Metrics>, into: &mut Vec<Figure>) {
    let count = |n: fn(&Metrics) -> u64| metrics.map(|m| n(m) as f64).ok_or(NO_METRICS);
    let time = |at: fn(&Metrics) -> Option<f64>| match metrics {
        Some(metrics) => at(metrics).ok_or(NOT_TIMED),
        None => Err(NO_METRICS),
    };
    add(
        into,
        "metered",
        "Answered by the engines",
        Unit::Count,
        count(Metrics::answers),
        "Requests for bookings and their changes that got an answer, of all openings since the \
         engines were started.",
    );
    add(
        into,
        "metered_grants",
        "Granted by the engines",
        Unit::Count,
        count(|m| m.outcome("granted")),
        "Of these, new bookings.",
    );
    add(
        into,
        "repeats",
        "Repeats",
        Unit::Count,
        count(|m| m.outcome("repeated")),
        "Of these, requests that had been granted before, and were answered so again.",
    );
    add(
        into,
        "overloaded",
        "Told to come again",
        Unit::Count,
        count(|m| m.rejected(&["busy", "unavailable"])),
        "Of these, refused for want of capacity: `busy` or `unavailable`.",
    );
    add(
        into,
        "malformed",
        "Malformed",
        Unit::Count,
        count(|m| m.rejected(&["malformed"])),
        "Of these, requests that no client should send.",
    );
    add(
        into,
        "dropped",
        "Dropped",
        Unit::Count,
        count(|m| m.dropped),
        "Requests without a subject that could be answered on.",
    );
    add(
        into,
        "grant_p50_s",
        "Grant, p50",
        Unit::Seconds,
        time(|m| m.grants.quantile(0.5)),
        "From the engine's socket to the answer, for the oldest grant of a block: half of the \
         blocks took at most so long (upper bound of the bucket).",
    );
    add(
        into,
        "grant_p99_s",
        "Grant, p99",
        Unit::Seconds,
        time(|m| m.grants.quantile(0.99)),
        "The same for 99 in 100 blocks.",
    );
    add(
        into,
        "queue_p99_s",
        "Queue, p99",
        Unit::Seconds,
        time(|m| m.queue.quantile(0.99)),
        "How long 99 in 100 groups of requests waited at most for a deciding thread.",
    );
}
