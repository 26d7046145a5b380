//! The report's charts.

use giliran_report::axis::{hundredths, percent, thousands};
use giliran_report::svg::{Lines, Row, Rows, Series};
use giliran_report::{Chart, digits};
use giliran_wire::ledger::Order;

use super::words::{by_order, part_of_askers};
use super::{Comparisons, arm_name, ordered};
use crate::measures::Estimate;
use crate::{ArmResult, Comparison, Measure};

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
    Row::new(name, e.mean, shown, look(comparison, column)).within(e.low(), e.high())
}

/// What scalpers hold under each order. None: there are no scalpers.
pub(super) fn scalpers(comparison: &Comparison) -> Option<Chart> {
    let rows = by_order(comparison).into_iter().filter_map(|column| {
        let e = column.of(Measure::ScalperShare)?;
        let shown = Measure::ScalperShare.shown(e.mean);
        let reference = part_of_askers(column, comparison);
        Some(Row { reference, ..row(comparison, column, ordered(&column.arm), e, shown) })
    });
    let rows = Rows {
        about: "Share of the places in scalpers' hands, by order, with 95 % intervals",
        rows: rows.collect(),
        reference: Some("their part of all people asked for"),
        across: None,
        format: percent,
    };
    let chart = rows.chart(
        "Places in scalpers' hands",
        "When the window closes. At the upright mark scalpers have no more than their number of \
         identities would get by lot.",
    );
    chart.filter(|_| !comparison.scenario.attackers.is_empty())
}

/// A measure of every arm, with another one to compare it with.
pub(super) fn by_arm(
    comparison: &Comparison,
    title: &str,
    measure: Measure,
    against: Option<(Measure, &str)>,
) -> Option<Chart> {
    let rows = comparison.columns.iter().filter_map(|column| {
        let e = column.of(measure)?;
        let reference = against.and_then(|(other, _)| column.of(other)).map(|e| e.mean);
        let name = arm_name(&column.arm);
        Some(Row { reference, ..row(comparison, column, name, e, measure.shown(e.mean)) })
    });
    let reference = against.map(|(_, name)| name);
    let (about, rows) = (measure.about(), rows.collect());
    Rows { about, rows, reference, across: None, format: percent }.chart(title, about)
}

/// How the people's cohorts fared.
pub(super) fn cohorts(comparison: &Comparison) -> Option<Chart> {
    let mut rows = Vec::new();
    for (i, group) in comparison.groups.iter().enumerate().filter(|(_, g)| g.kind == "cohort") {
        for column in by_order(comparison) {
            if let Some(e) = column.groups[i].ratio {
                let name = format!("{} · {}", group.name, ordered(&column.arm));
                rows.push(row(comparison, column, name, e, digits(e.mean)));
            }
        }
    }
    let rows = Rows {
        about: "Success of each cohort against the average, by order, with 95 % intervals",
        rows,
        reference: None,
        across: Some(1.0),
        format: hundredths,
    };
    rows.chart(
        "Cohorts",
        "Success against the average of all people; the upright line is an even hand.",
    )
}

/// Success by tenth of round trips: a line of tenths for each name.
pub fn deciles(lines: impl IntoIterator<Item = (String, Vec<f64>, usize)>) -> Option<Chart> {
    let series = lines.into_iter().map(|(name, tenths, look)| Series {
        name,
        points: tenths.into_iter().zip(1..).map(|(y, i)| (f64::from(i), y)).collect(),
        look,
        marked: true,
    });
    let lines = Lines {
        about: "People's success rate by tenth of their round trips, the fastest first",
        series: series.filter(|series| !series.points.is_empty()).collect(),
        x_name: "tenth of round trips, fastest first",
        y_name: "success rate",
        x_ticks: (1..=10).map(|i| (f64::from(i), i.to_string())).collect(),
        y_format: percent,
    };
    lines.chart(
        "Does a fast connection pay?",
        "People only, by the time a message takes from them to the service and back. A flat line: \
         speed buys nothing.",
    )
}

pub(super) fn of_deciles(comparison: &Comparison) -> Option<Chart> {
    deciles(by_order(comparison).into_iter().map(|column| {
        let tenths = column.deciles.iter().map(|e| e.mean).collect();
        (ordered(&column.arm), tenths, look(comparison, column))
    }))
}

pub(super) fn requests(comparison: &Comparison) -> Option<Chart> {
    over_time(comparison, 0, 0.2, ["Requests over time, by order", "requests a second"])
        .chart("Requests", "Means over the seeds. The refreshing begins 30 s before the opening.")
}

pub(super) fn free(comparison: &Comparison) -> Option<Chart> {
    over_time(comparison, 2, 1.0, ["Free places over time, by order", "free places"])
        .chart("Free places", "In a draw, all places are given at the close of the window.")
}

/// One of [`ArmResult::series`], times a scale.
fn over_time<'a>(
    comparison: &Comparison,
    which: usize,
    scale: f64,
    [about, y_name]: [&'a str; 2],
) -> Lines<'a> {
    let window = (comparison.scenario.opening.window_s + 15.0).min(270.0);
    let series = by_order(comparison).into_iter().map(|column| {
        let points = column.series[which].iter().enumerate();
        let points = points.map(|(bin, y)| (bin as f64 * 5.0 - 27.5, y * scale));
        Series {
            name: ordered(&column.arm),
            points: points.filter(|(x, _)| *x <= window).collect(),
            look: look(comparison, column),
            marked: false,
        }
    });
    let ticks = [-30.0, 0.0, 30.0, 60.0, 120.0, 180.0, 240.0];
    let ticks = ticks.into_iter().filter(|x| *x <= window);
    Lines {
        about,
        series: series.collect(),
        x_name: "seconds from the opening",
        y_name,
        x_ticks: ticks.map(|x| (x, format!("{x}"))).collect(),
        y_format: thousands,
    }
}

/// A measure along the swept parameter. None: nothing was swept.
pub(super) fn swept(report: &Comparisons, measure: Measure) -> Option<Chart> {
    let x_name = report.swept.as_deref()?;
    let first = report.first()?;
    let several = first.columns.iter().any(|c| c.arm.returns != first.columns[0].arm.returns);
    let series = (0..first.columns.len()).map(|c| {
        let points = report.comparisons.iter().enumerate();
        let points = points.filter_map(|(i, (_, comparison))| {
            Some((i as f64, comparison.columns.get(c)?.of(measure)?.mean))
        });
        let arm = &first.columns[c].arm;
        let order = match arm.order {
            // Its length may be what is swept.
            Order::Rounds { .. } => "rounds".to_owned(),
            Order::FirstCome | Order::Draw => ordered(arm),
        };
        let name = if several { format!("{order}, {}", arm.returns.name()) } else { order };
        Series { name, points: points.collect(), look: c, marked: true }
    });
    let ticks = report.comparisons.iter().enumerate();
    let lines = Lines {
        about: measure.about(),
        series: series.filter(|series| !series.points.is_empty()).collect(),
        x_name,
        y_name: measure.title(),
        x_ticks: ticks.map(|(i, (value, _))| (i as f64, value.clone())).collect(),
        y_format: if measure.is_share() { percent } else { digits },
    };
    lines.chart(measure.title(), measure.about())
}
