//! The report for a terminal.

use giliran_report::{Document, Table};

use super::{Comparisons, bought, figures, groups, verdict};
use crate::Comparison;
use crate::Measure::{self, *};

/// What a table's columns are, by its title.
const TABLES: [(&str, &[Measure]); 4] = [
    (
        "When the window closes",
        &[ScalperShare, LatencyPremium, Inversion, Families, FirstChoice, WaitS],
    ),
    (
        "Holdings, and places that come back",
        &[TopTen, Hhi, GiniAccounts, RecycleCapture, RecycleFair, Waste],
    ),
    (
        "What should be even, and what must be 0",
        &[JainCohorts, RankP, InTime, Oversell, Undersell, Requests],
    ),
    ("Replays and forgeries", &[Replayed, Forged]),
];

/// Figures are means over the seeds with their 95 % confidence interval.
pub(super) fn screen(comparisons: &Comparisons) -> Document {
    let mut screen = Document::default();
    for (value, comparison) in &comparisons.comparisons {
        if let Some(swept) = &comparisons.swept {
            screen.title(format!("=== {swept} = {value}"));
        }
        one(comparison, &mut screen);
    }
    screen
}

fn one(comparison: &Comparison, screen: &mut Document) {
    let scenario = &comparison.scenario;
    screen.lead(format!("{}: {}", scenario.name, scenario.about));
    screen.text(format!(
        "{} parties of people and {} scalpers ask for {} places; seeds {} to {}, means ± half of \
         the 95 % interval (Student's t over seeds).",
        scenario.people.parties,
        scenario.attackers.len(),
        scenario.offices.places(),
        comparison.seeds.first().copied().unwrap_or(0),
        comparison.seeds.last().copied().unwrap_or(0),
    ));
    let mut table = |title: &str, of: Table| {
        if !of.rows.is_empty() {
            screen.table(Table { corner: title.to_owned(), ..of.transposed() });
        }
    };
    for (title, measures) in TABLES {
        table(title, figures(comparison, measures.iter().copied(), Measure::short));
    }
    if scenario.attackers.iter().any(|attacker| attacker.budget.is_some()) {
        table("Scalpers buy: identities/accounts/lines", bought(comparison, "/"));
    }
    let shown = |i: usize| {
        let group = &comparison.groups[i];
        match group.kind {
            "cohort" | "scalper" => Some(group.name.clone()),
            "party of" => Some(format!("{} {}", group.kind, group.name)),
            _ => None,
        }
    };
    table("Success (1 is even; ! is flagged)", groups(comparison, shown));
    screen.points(verdict(comparison));
}
