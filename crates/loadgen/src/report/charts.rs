//! The report's charts.

use giliran_fairness::report::deciles;
use giliran_report::axis::{self, hundredths, thousands};
use giliran_report::svg::{Lines, Row, Rows, Series};
use giliran_report::{Chart, digits};

use super::percent;
use crate::{Bin, Latency, RunSummary};

/// What the charts show of the time: until all but a few requests were sent. The
/// last of many people come long after everything is over.
fn shown_bins(record: &RunSummary) -> &[Bin] {
    const ALL_BUT: f64 = 0.01;
    let all: u64 = record.series.iter().map(|bin| bin.requests).sum();
    let mut left = all as f64;
    let few = record.series.iter().position(|bin| {
        left -= bin.requests as f64;
        left <= all as f64 * ALL_BUT
    });
    &record.series[..few.map_or(record.series.len(), |bin| bin + 1)]
}

/// Round seconds to write on the axis of time.
fn ticks(record: &RunSummary) -> Vec<(f64, String)> {
    let to = record.from_s + record.bin_s * shown_bins(record).len().max(1) as f64;
    let raw = (to - record.from_s) / 6.0;
    let steps = [0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0];
    let step = steps.into_iter().find(|step| *step >= raw).unwrap_or(7_200.0);
    let mut tick = (record.from_s / step).ceil() * step;
    let mut found = Vec::new();
    while tick <= to {
        found.push((tick, hundredths(tick)));
        tick += step;
    }
    found
}

/// A line: its name, and its height in each stretch of time.
type Line<'a> = (&'a str, &'a dyn Fn(&Bin) -> f64);

/// Lines over time, each with its points at a part of their stretch.
fn over_time<'a>(
    record: &RunSummary,
    about: &'a str,
    y_name: &'a str,
    at: f64,
    lines: &[Line<'_>],
) -> Lines<'a> {
    let series = lines.iter().enumerate().map(|(look, (name, of))| {
        let bins = shown_bins(record).iter().enumerate();
        let points = bins.map(|(i, bin)| (record.from_s + (i as f64 + at) * record.bin_s, of(bin)));
        Series { name: (*name).to_owned(), points: points.collect(), look, marked: false }
    });
    Lines {
        about,
        series: series.collect(),
        x_name: "seconds from the opening",
        y_name,
        x_ticks: ticks(record),
        y_format: thousands,
    }
}

/// Who came, and what was sent.
pub(super) fn arrivals(record: &RunSummary) -> Option<Chart> {
    let requests = |bin: &Bin| bin.requests as f64 / record.bin_s;
    let came = |bin: &Bin| bin.came as f64 / record.bin_s;
    let lines: [Line<'_>; 2] = [("requests", &requests), ("of newcomers", &came)];
    over_time(record, "Requests and newcomers over time", "a second", 0.5, &lines).chart(
        "Requests",
        "As they left, each when it was due, but for the last 1 %. Whoever is rejected or told to \
         come again asks once more.",
    )
}

pub(super) fn answers(record: &RunSummary) -> Option<Chart> {
    let granted = |bin: &Bin| bin.granted as f64 / record.bin_s;
    let rejected = |bin: &Bin| bin.rejected as f64 / record.bin_s;
    let again = |bin: &Bin| bin.again as f64 / record.bin_s;
    let lines: [Line<'_>; 3] =
        [("places granted", &granted), ("rejected", &rejected), ("come again", &again)];
    over_time(record, "Places granted and requests rejected over time", "a second", 0.5, &lines)
        .chart(
            "Answers",
            "As the answers came. To come again: not open yet, busy, or nobody answered.",
        )
}

pub(super) fn free(record: &RunSummary) -> Option<Chart> {
    let free = |bin: &Bin| bin.free.unwrap_or(0).max(0) as f64;
    over_time(record, "Free places over time", "free places", 1.0, &[("free", &free)]).chart(
        "Free places",
        "At the offices that were asked at. Sessions that must be named or need an entitlement \
         count as well: nobody asked for those.",
    )
}

pub(super) fn service(record: &RunSummary) -> Option<Chart> {
    let service = record.groups.iter().map(|group| (group.kind, &group.name, group.service));
    latency(service).chart(
        "Engine and broker",
        "From the moment a request was due to its answer, ms: half within the mark, 99 % within \
         the end of the line.",
    )
}

pub(super) fn felt(record: &RunSummary) -> Option<Chart> {
    let felt = record.groups.iter().map(|group| (group.kind, &group.name, group.felt));
    latency(felt).chart("As people feel it", "With the way there and back, which is simulated.")
}

/// Each cohort's and scalper's latency.
fn latency<'a>(groups: impl Iterator<Item = (&'static str, &'a String, Latency)>) -> Rows<'static> {
    let shown = groups.filter(|(kind, ..)| matches!(*kind, "cohort" | "scalper"));
    let shown = shown.filter(|(.., latency)| latency.count > 0);
    let rows = shown.map(|(kind, name, Latency { p50, p99, .. })| {
        let text = format!("{} / {} ms", digits(p50), digits(p99));
        Row::new(name, p50, text, usize::from(kind == "scalper")).within(p50, p99)
    });
    Rows {
        about: "Latency by cohort: half within the mark, 99 % within the line's end",
        rows: rows.collect(),
        reference: None,
        across: None,
        format: thousands,
    }
}

/// How the people's cohorts fared, with the range of chance.
pub(super) fn cohorts(record: &RunSummary) -> Option<Chart> {
    let rows = record.groups.iter().filter(|group| group.kind == "cohort").filter_map(|group| {
        let (ratio, z) = (group.ratio?, group.z?);
        // One standard deviation of an even hand, in parts of the ratio.
        let deviation = if z == 0.0 { 0.0 } else { ((ratio - 1.0) / z).abs() };
        let shown = format!("{}{}", digits(ratio), if group.flagged { " ⚑" } else { "" });
        let chance = 1.96 * deviation;
        Some(Row::new(&group.name, ratio, shown, 0).within(ratio - chance, ratio + chance))
    });
    let rows = Rows {
        about: "Success of each cohort against the average of all people",
        rows: rows.collect(),
        reference: None,
        across: Some(1.0),
        format: hundredths,
    };
    rows.chart(
        "Cohorts",
        "Success against the average of all people; the dotted line is an even hand, the strokes \
         what chance alone would allow (95 %).",
    )
}

pub(super) fn of_deciles(record: &RunSummary) -> Option<Chart> {
    deciles([("have a place".to_owned(), record.deciles.clone(), 0)])
}

/// Scalpers' part of the granted places, beside their part of those who asked.
pub(super) fn scalpers(record: &RunSummary) -> Option<Chart> {
    let scalpers = || record.groups.iter().filter(|group| group.kind == "scalper");
    let asked: u64 = record.people + scalpers().map(|group| group.applied).sum::<u64>();
    let rows = scalpers().filter(|group| group.applied > 0).map(|group| {
        // Scalpers ask for one at a time.
        let share = group.won as f64 / record.granted.max(1) as f64;
        let reference = Some(group.applied as f64 / asked.max(1) as f64);
        Row { reference, ..Row::new(&group.name, share, percent(share), 1) }
    });
    let rows = Rows {
        about: "Share of the granted places in scalpers' hands",
        rows: rows.collect(),
        reference: Some("their part of those who asked"),
        across: None,
        format: axis::percent,
    };
    rows.chart(
        "Places in scalpers' hands",
        "Of the places granted. At the upright mark they have no more than their number among those \
         who asked.",
    )
}
