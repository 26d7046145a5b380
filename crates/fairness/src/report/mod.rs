//! What a comparison says.

mod advice;
mod charts;
mod csv;
mod head;
mod json;
mod labels;
mod page;
mod screen;
mod words;

use giliran_report::{Cell, Language, Report, Table, Text};

use super::{Comparison, Measure};
use crate::measures::Estimate;

use crate::scenario::named;

pub use advice::{
    ADVANTAGE, Advice, BLACK_MARKET, advice, advised, capitalized, check_identities, explain,
};
pub use charts::deciles;
pub use head::{advice_label, chance_label, scalpers_label};
pub use labels::{
    arm_name, group_name, order_name, ordered, reason_name, returns_name, with_order,
};
pub use words::verdict;

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

pub fn report(comparisons: &Comparisons, language: Language) -> Report {
    Report {
        screen: screen::screen(comparisons, language),
        page: page::page(comparisons, language),
        sheets: csv::tables(comparisons).into(),
        data: json::json(comparisons),
    }
}

/// A table of one column for each arm.
fn by_arm(comparison: &Comparison, language: Language) -> Table {
    Table::new(comparison.columns.iter().map(|column| arm_name(&column.arm, language)))
}

/// These measures, by what they are called, where an arm has them.
fn figures(
    comparison: &Comparison,
    measures: impl IntoIterator<Item = Measure>,
    called: fn(Measure) -> Text,
    language: Language,
) -> Table {
    let mut table = by_arm(comparison, language);
    for measure in measures {
        let of = comparison.columns.iter().map(|column| column.of(measure));
        if of.clone().any(|e| e.is_some()) {
            let cell = |e: Option<Estimate>| match e {
                Some(e) => Cell {
                    half: e.half.map(|half| measure.shown(half, language)),
                    ..measure.shown(e.mean, language).into()
                },
                None => "–".to_owned().into(),
            };
            table.row(called(measure).of(language), of.map(cell));
        }
    }
    table
}

/// How these groups fared, by name.
fn groups(
    comparison: &Comparison,
    shown: impl Fn(usize) -> Option<String>,
    language: Language,
) -> Table {
    let mut table = by_arm(comparison, language);
    for i in 0..comparison.groups.len() {
        let Some(name) = shown(i) else { continue };
        let cells = comparison.columns.iter().map(|column| match column.groups[i].ratio {
            Some(ratio) => Cell {
                text: language.digits(ratio.mean),
                half: ratio.half.map(|half| language.digits(half)),
                is_flagged: column.groups[i].flagged,
            },
            None => "–".to_owned().into(),
        });
        table.row(name, cells);
    }
    table
}

/// What each attacker has under each order.
fn bought(comparison: &Comparison, between: &str, language: Language) -> Table {
    let mut table = by_arm(comparison, language);
    for (i, attacker) in comparison.scenario.attackers.iter().enumerate() {
        let cells = comparison.columns.iter().map(|column| {
            let means = column.means[i];
            [means.identities, means.accounts, means.connections]
                .map(|n| language.count(n))
                .join(between)
        });
        table.row(named(&attacker.name, language), cells);
    }
    table
}
