//! What a comparison says.

mod charts;
mod csv;
mod json;
mod page;
mod screen;
mod words;

use giliran_report::{Cell, Report, Table, digits};

use super::{Comparison, Measure};
use crate::measures::Estimate;

pub use charts::deciles;
pub use words::{arm_name, ordered, verdict};

/// A comparison, or several of them along a parameter.
#[derive(Debug, Clone)]
pub struct Comparisons {
    /// The parameter that was swept; none: there is one comparison.
    pub swept: Option<String>,
    /// Each with the parameter's value.
    pub comparisons: Vec<(String, Comparison)>,
}

impl Comparisons {
    /// The one comparison, or the sweep's first; none: there is none.
    pub fn first(&self) -> Option<&Comparison> {
        self.comparisons.first().map(|(_, comparison)| comparison)
    }
}

pub fn report(comparisons: &Comparisons) -> Report {
    Report {
        screen: screen::screen(comparisons),
        page: page::page(comparisons),
        sheets: csv::tables(comparisons).into(),
        data: json::json(comparisons),
    }
}

/// A table of one column for each arm.
fn by_arm(comparison: &Comparison) -> Table {
    Table::new(comparison.columns.iter().map(|column| arm_name(&column.arm)))
}

/// These measures, by what they are called, where an arm has them.
fn figures(
    comparison: &Comparison,
    measures: impl IntoIterator<Item = Measure>,
    called: fn(Measure) -> &'static str,
) -> Table {
    let mut table = by_arm(comparison);
    for measure in measures {
        let of = comparison.columns.iter().map(|column| column.of(measure));
        if of.clone().any(|e| e.is_some()) {
            let cell = |e: Option<Estimate>| match e {
                Some(e) => Cell {
                    half: e.half.map(|half| measure.shown(half)),
                    ..measure.shown(e.mean).into()
                },
                None => "–".to_owned().into(),
            };
            table.row(called(measure), of.map(cell));
        }
    }
    table
}

/// How these groups fared, by name.
fn groups(comparison: &Comparison, shown: impl Fn(usize) -> Option<String>) -> Table {
    let mut table = by_arm(comparison);
    for i in 0..comparison.groups.len() {
        let Some(name) = shown(i) else { continue };
        let cells = comparison.columns.iter().map(|column| match column.groups[i].ratio {
            Some(ratio) => Cell {
                text: digits(ratio.mean),
                half: ratio.half.map(digits),
                is_flagged: column.groups[i].flagged,
            },
            None => "–".to_owned().into(),
        });
        table.row(name, cells);
    }
    table
}

/// What each attacker has under each order.
fn bought(comparison: &Comparison, between: &str) -> Table {
    let mut table = by_arm(comparison);
    for (i, attacker) in comparison.scenario.attackers.iter().enumerate() {
        let cells = comparison.columns.iter().map(|column| {
            let means = column.means[i];
            [means.identities, means.accounts, means.connections]
                .map(|n| n.to_string())
                .join(between)
        });
        table.row(&attacker.name, cells);
    }
    table
}
