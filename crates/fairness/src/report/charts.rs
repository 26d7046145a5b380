//! The report's charts.

use giliran_report::svg::{Lines, Row, Rows, Series};

use super::words::by_order;
use super::{Report, arm_name, digits, ordered, shown};
use crate::measures::Estimate;
use crate::{ArmResult, Comparison, Measure};

fn percent(value: f64) -> String {
    format!("{} %", (value * 1_000.0).round() / 10.0)
}

fn thousands(value: f64) -> String {
    if value >= 1_000.0 { format!("{}k", value / 1_000.0) } else { format!("{value}") }
}

/// The look of an order is the same in every chart.
fn look(comparison: &Comparison, column: &ArmResult) -> usize {
    let orders = by_order(comparison);
    orders.iter().position(|other| other.arm.same_order(&column.arm)).unwrap_or(0)
}

fn row(
    comparison: &Comparison,
    column: &ArmResult,
    name: String,
    e: Estimate,
    shown: String,
) -> Row {
    Row {
        name,
        mean: e.mean,
        low: e.low(),
        high: e.high(),
        shown,
        look: look(comparison, column),
        reference: None,
    }
}

/// What scalpers hold under each order. None: there are no scalpers.
pub(super) fn scalpers(comparison: &Comparison) -> Option<String> {
    let rows: Vec<Row> = by_order(comparison)
        .into_iter()
        .filter_map(|column| {
            let e = column.of(Measure::ScalperShare)?;
            let text = shown(Measure::ScalperShare, e.mean);
            let mut row = row(comparison, column, ordered(&column.arm), e, text);
            row.reference = super::words::part_of_askers(column, comparison);
            Some(row)
        })
        .collect();
    (!comparison.scenario.attackers.is_empty() && !rows.is_empty()).then(|| {
        Rows {
            about: "Share of the places in scalpers' hands, by order, with 95 % intervals",
            rows,
            reference: Some("their part of all people asked for"),
            across: None,
            format: percent,
        }
        .draw()
    })
}

/// A measure of every arm.
pub(super) fn by_arm(
    comparison: &Comparison,
    measure: Measure,
    against: Option<(Measure, &str)>,
) -> Option<String> {
    let rows: Vec<Row> = comparison
        .columns
        .iter()
        .filter_map(|column| {
            let e = column.of(measure)?;
            let text = shown(measure, e.mean);
            let mut row = row(comparison, column, arm_name(&column.arm), e, text);
            row.reference = against.and_then(|(other, _)| column.of(other)).map(|e| e.mean);
            Some(row)
        })
        .collect();
    (!rows.is_empty()).then(|| {
        Rows {
            about: measure.about(),
            rows,
            reference: against.map(|(_, name)| name),
            across: None,
            format: percent,
        }
        .draw()
    })
}

/// How the people's cohorts fared.
pub(super) fn cohorts(comparison: &Comparison) -> Option<String> {
    let mut rows = Vec::new();
    for (i, group) in comparison.groups.iter().enumerate().filter(|(_, g)| g.kind == "cohort") {
        for column in by_order(comparison) {
            if let Some(e) = column.groups[i].ratio {
                let name = format!("{} · {}", group.name, ordered(&column.arm));
                rows.push(row(comparison, column, name, e, digits(e.mean)));
            }
        }
    }
    (!rows.is_empty()).then(|| {
        Rows {
            about: "Success of each cohort against the average, by order, with 95 % intervals",
            rows,
            reference: None,
            across: Some(1.0),
            format: |value| format!("{}", (value * 100.0).round() / 100.0),
        }
        .draw()
    })
}

/// Success by tenth of round trips.
pub(super) fn deciles(comparison: &Comparison) -> Option<String> {
    let series: Vec<Series> = by_order(comparison)
        .into_iter()
        .filter(|column| !column.deciles.is_empty())
        .map(|column| Series {
            name: ordered(&column.arm),
            points: column.deciles.iter().zip(1..).map(|(e, i)| (f64::from(i), e.mean)).collect(),
            look: look(comparison, column),
            marked: true,
        })
        .collect();
    (!series.is_empty()).then(|| {
        Lines {
            about: "People's success rate by tenth of their round trips, the fastest first",
            series,
            x_name: "tenth of round trips, fastest first",
            y_name: "success rate",
            x_ticks: (1..=10).map(|i| (f64::from(i), i.to_string())).collect(),
            y_format: percent,
        }
        .draw()
    })
}

/// Requests (0) or free places (2) over time.
pub(super) fn over_time(comparison: &Comparison, which: usize) -> String {
    let (about, y_name) = match which {
        0 => ("Requests over time, by order", "requests a second"),
        _ => ("Free places over time, by order", "free places"),
    };
    let scale = if which == 0 { 0.2 } else { 1.0 };
    let window = (comparison.scenario.opening.window_s + 15.0).min(270.0);
    let series = by_order(comparison)
        .into_iter()
        .map(|column| {
            let points = column.series[which].iter().enumerate();
            let points = points.map(|(bin, y)| (bin as f64 * 5.0 - 27.5, y * scale));
            Series {
                name: ordered(&column.arm),
                points: points.filter(|(x, _)| *x <= window).collect(),
                look: look(comparison, column),
                marked: false,
            }
        })
        .collect();
    let ticks = [-30.0, 0.0, 30.0, 60.0, 120.0, 180.0, 240.0];
    let ticks = ticks.into_iter().filter(|x| *x <= window);
    Lines {
        about,
        series,
        x_name: "seconds from the opening",
        y_name,
        x_ticks: ticks.map(|x| (x, format!("{x}"))).collect(),
        y_format: thousands,
    }
    .draw()
}

/// A measure along the swept parameter. None: nothing was swept.
pub(super) fn swept(report: &Report, measure: Measure) -> Option<String> {
    report.swept.as_ref()?;
    let first = report.first()?;
    let mut ticks: Vec<(f64, String)> = Vec::new();
    for (i, (value, _)) in report.comparisons.iter().enumerate() {
        ticks.push((i as f64, value.clone()));
    }
    let several = first.columns.iter().any(|c| c.arm.returns != first.columns[0].arm.returns);
    let series: Vec<Series> = (0..first.columns.len())
        .map(|c| {
            let points = report.comparisons.iter().enumerate();
            let points = points.filter_map(|(i, (_, comparison))| {
                Some((i as f64, comparison.columns.get(c)?.of(measure)?.mean))
            });
            let arm = &first.columns[c].arm;
            let order = match arm.order {
                // Its length may be what is swept.
                giliran_wire::ledger::Order::Rounds { .. } => "rounds".to_owned(),
                _ => ordered(arm),
            };
            let name = if several { format!("{order}, {}", arm.returns.name()) } else { order };
            Series { name, points: points.collect(), look: c, marked: true }
        })
        .filter(|series| !series.points.is_empty())
        .collect();
    (!series.is_empty()).then(|| {
        Lines {
            about: measure.about(),
            series,
            x_name: report.swept.as_deref().unwrap_or_default(),
            y_name: measure.title(),
            x_ticks: ticks,
            y_format: if measure.is_share() { percent } else { digits },
        }
        .draw()
    })
}
