//! The report's charts.

use giliran_report::digits;
use giliran_report::svg::{Lines, Row, Rows, Series};

use super::words::shown;
use crate::{Bin, RunSummary};

fn percent(value: f64) -> String {
    format!("{} %", (value * 1_000.0).round() / 10.0)
}

fn thousands(value: f64) -> String {
    if value >= 1_000.0 { format!("{}k", value / 1_000.0) } else { plain(value) }
}

fn plain(value: f64) -> String {
    // No zero below zero.
    format!("{}", (value * 100.0).round() / 100.0 + 0.0)
}

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
        found.push((tick, plain(tick)));
        tick += step;
    }
    found
}

/// A line: its name, and its height in each stretch of time.
type Line<'a> = (&'a str, &'a dyn Fn(&Bin) -> f64);

fn over_time(
    record: &RunSummary,
    about: &str,
    y_name: &str,
    lines: &[Line<'_>],
    middle: bool,
) -> String {
    let series = lines.iter().enumerate().map(|(look, (name, of))| Series {
        name: (*name).to_owned(),
        points: shown_bins(record)
            .iter()
            .enumerate()
            .map(|(i, bin)| {
                let at = i as f64 + if middle { 0.5 } else { 1.0 };
                (record.from_s + at * record.bin_s, of(bin))
            })
            .collect(),
        look,
        marked: false,
    });
    Lines {
        about,
        series: series.collect(),
        x_name: "seconds from the opening",
        y_name,
        x_ticks: ticks(record),
        y_format: thousands,
    }
    .draw()
}

/// Who came, and what was sent.
pub(super) fn arrivals(record: &RunSummary) -> String {
    let per_s = |count: u64| count as f64 / record.bin_s;
    over_time(
        record,
        "Requests and newcomers over time",
        "a second",
        &[
            ("requests", &|bin: &Bin| per_s(bin.requests)),
            ("of newcomers", &|bin: &Bin| per_s(bin.came)),
        ],
        true,
    )
}

pub(super) fn answers(record: &RunSummary) -> String {
    let per_s = |count: u64| count as f64 / record.bin_s;
    over_time(
        record,
        "Places granted and requests refused over time",
        "a second",
        &[
            ("places granted", &|bin: &Bin| per_s(bin.granted)),
            ("refused", &|bin: &Bin| per_s(bin.refused)),
            ("come again", &|bin: &Bin| per_s(bin.again)),
        ],
        true,
    )
}

pub(super) fn free(record: &RunSummary) -> String {
    let free = |bin: &Bin| bin.free.unwrap_or(0).max(0) as f64;
    over_time(record, "Free places over time", "free places", &[("free", &free)], false)
}

/// Each cohort's and scalper's latency: half within the mark, 99 % within the
/// line's end.
pub(super) fn latency(record: &RunSummary, felt: bool) -> Option<String> {
    let groups = record.groups.iter().filter(|g| matches!(g.kind, "cohort" | "scalper"));
    let rows: Vec<Row> = groups
        .map(|group| (group, if felt { group.felt } else { group.service }))
        .filter(|(_, latency)| latency.count > 0)
        .map(|(group, latency)| Row {
            name: group.name.clone(),
            mean: latency.p50,
            low: latency.p50,
            high: latency.p99,
            shown: format!("{} / {} ms", digits(latency.p50), digits(latency.p99)),
            look: usize::from(group.kind == "scalper"),
            reference: None,
        })
        .collect();
    (!rows.is_empty()).then(|| {
        Rows {
            about: "Latency by cohort: half within the mark, 99 % within the line's end",
            rows,
            reference: None,
            across: None,
            format: thousands,
        }
        .draw()
    })
}

/// How the people's cohorts fared, with the range of chance.
pub(super) fn cohorts(record: &RunSummary) -> Option<String> {
    let of = record.groups.iter().filter(|group| group.kind == "cohort");
    let rows: Vec<Row> = of
        .filter_map(|group| {
            let (ratio, z) = (group.ratio?, group.z?);
            // One standard deviation of an even hand, in parts of the ratio.
            let deviation = if z == 0.0 { 0.0 } else { ((ratio - 1.0) / z).abs() };
            Some(Row {
                name: group.name.clone(),
                mean: ratio,
                low: ratio - 1.96 * deviation,
                high: ratio + 1.96 * deviation,
                shown: format!("{}{}", digits(ratio), if group.flagged { " ⚑" } else { "" }),
                look: 0,
                reference: None,
            })
        })
        .collect();
    (!rows.is_empty()).then(|| {
        Rows {
            about: "Success of each cohort against the average of all people",
            rows,
            reference: None,
            across: Some(1.0),
            format: plain,
        }
        .draw()
    })
}

/// Success by tenth of round trips.
pub(super) fn deciles(record: &RunSummary) -> Option<String> {
    (!record.deciles.is_empty()).then(|| {
        Lines {
            about: "People's success rate by tenth of their round trips, the fastest first",
            series: vec![Series {
                name: "have a place".to_owned(),
                points: record.deciles.iter().zip(1..).map(|(y, x)| (f64::from(x), *y)).collect(),
                look: 0,
                marked: true,
            }],
            x_name: "tenth of round trips, fastest first",
            y_name: "success rate",
            x_ticks: (1..=10).map(|i| (f64::from(i), i.to_string())).collect(),
            y_format: percent,
        }
        .draw()
    })
}

/// Scalpers' part of the granted places, beside their part of those who asked.
pub(super) fn scalpers(record: &RunSummary) -> Option<String> {
    let scalpers: Vec<_> = record.groups.iter().filter(|group| group.kind == "scalper").collect();
    let asked: u64 = record.people + scalpers.iter().map(|group| group.applied).sum::<u64>();
    let rows: Vec<Row> = scalpers
        .into_iter()
        .filter(|group| group.applied > 0)
        .map(|group| {
            // Scalpers ask for one at a time.
            let share = group.won as f64 / record.granted.max(1) as f64;
            Row {
                name: group.name.clone(),
                mean: share,
                low: share,
                high: share,
                shown: shown(share, true),
                look: 1,
                reference: Some(group.applied as f64 / asked.max(1) as f64),
            }
        })
        .collect();
    (!rows.is_empty()).then(|| {
        Rows {
            about: "Share of the granted places in scalpers' hands",
            rows,
            reference: Some("their part of those who asked"),
            across: None,
            format: percent,
        }
        .draw()
    })
}
