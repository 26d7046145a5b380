//! What happened when.

use giliran_verify::statement::Change;
use giliran_wire::Timestamp;

use super::Chart;
use crate::recorded::RecordedOpening;

/// Most points of a time series.
const MOST_BINS: i64 = 120;
/// Widths a point may have, ms.
const BINS_MS: [i64; 12] = [
    100,
    500,
    1_000,
    5_000,
    10_000,
    60_000,
    300_000,
    600_000,
    3_600_000,
    21_600_000,
    86_400_000,
    604_800_000,
];

/// The first rush: until nearly all places were gone, and half of that again.
pub(super) fn rush(recorded: &RecordedOpening) -> Option<Chart> {
    let from = recorded.opened?;
    let mut at: Vec<Timestamp> =
        recorded.bookings.iter().filter(|b| !b.again).map(|booked| booked.at).collect();
    at.sort_unstable();
    let nearly = at.get((at.len() * 95).div_ceil(100).checked_sub(1)?)?;
    let to = from.plus_millis((nearly.millis_since(from) * 3 / 2).max(1_000));
    (to.millis_since(from) * 4 < end(recorded, from).millis_since(from))
        .then(|| chart(recorded, Some(to)))
}

/// The last thing that happened.
fn end(recorded: &RecordedOpening, from: Timestamp) -> Timestamp {
    let ends = recorded.blocks.iter().flat_map(|block| {
        block.changes.iter().map(|(change, _)| match change {
            Change::Rejected { second, .. } => Timestamp::from_millis(second.saturating_mul(1_000)),
            _ => block.time,
        })
    });
    ends.max().unwrap_or(from)
}

pub(super) fn chart(recorded: &RecordedOpening, until: Option<Timestamp>) -> Chart {
    let from = recorded.opened.unwrap_or(recorded.record.opens_at);
    let to = until.unwrap_or_else(|| end(recorded, from));
    let lasts = to.millis_since(from) as i64;
    let fits = |step: &i64| lasts / step < MOST_BINS;
    let step_ms = BINS_MS.into_iter().find(fits).unwrap_or(lasts / MOST_BINS + 1);
    let bins = (lasts / step_ms + 1) as usize;
    let rejected_step_ms = step_ms.max(1_000);
    let rejected_bins = (lasts / rejected_step_ms + 1) as usize;
    let bin = |at: i64| usize::try_from((at - from.as_millis()).div_euclid(step_ms)).ok();
    let mut chart = Chart {
        from,
        step_ms,
        granted: vec![0; bins],
        returned: vec![0; bins],
        free: vec![0; bins],
        rejected_step_ms,
        rejected: (!recorded.tallies.is_empty()).then(|| vec![0; rejected_bins]),
    };
    let mut now: Vec<i64> = recorded.record.slots.iter().map(|s| s.quota.into()).collect();
    let mut reached = 0;
    for block in recorded.blocks.iter().filter(|b| until.is_none_or(|to| b.time <= to)) {
        let at = bin(block.time.as_millis()).unwrap_or(0).min(bins - 1);
        let free: i64 = now.iter().sum();
        chart.free[reached..at].fill(free);
        reached = reached.max(at);
        for (change, places) in &block.changes {
            match change {
                Change::Granted { places, .. } => {
                    chart.granted[at] += u64::from(*places);
                }
                Change::Returned { places, .. } => {
                    chart.returned[at] += u64::from(*places);
                }
                _ => {}
            }
            if let Some(slot) = change.slot() {
                now[slot as usize] = places.offered();
            }
        }
    }
    let free: i64 = now.iter().sum();
    chart.free[reached..].fill(free);
    for tally in &recorded.tallies {
        // The second in which it opened begins before it.
        let at = tally.second.saturating_mul(1_000) - from.as_millis();
        if at <= -1_000 {
            continue;
        }
        let at = at.max(0) / rejected_step_ms;
        let there = chart.rejected.as_mut().and_then(|rejected| rejected.get_mut(at as usize));
        if let Some(there) = there {
            *there += tally.count;
        }
    }
    chart
}
