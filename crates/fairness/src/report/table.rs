//! The report for a terminal.

use std::fmt::Write as _;

use super::{Report, arm_name, digits, shown, verdict};
use crate::measures::Estimate;
use crate::{ArmResult, Comparison, Measure};

/// What a table's columns are, by its title.
const TABLES: [(&str, &[(&str, Measure)]); 4] = [
    (
        "When the window closes",
        &[
            ("scalpers hold", Measure::ScalperShare),
            ("speed premium", Measure::LatencyPremium),
            ("inversions", Measure::Inversion),
            ("families", Measure::Families),
            ("first choice", Measure::FirstChoice),
            ("wait, s", Measure::WaitS),
        ],
    ),
    (
        "Holdings, and places that come back",
        &[
            ("ten largest", Measure::TopTen),
            ("HHI", Measure::Hhi),
            ("Gini", Measure::GiniAccounts),
            ("recaptured", Measure::RecycleCapture),
            ("by lot", Measure::RecycleFair),
            ("wasted", Measure::Waste),
        ],
    ),
    (
        "What should be even, and what must be 0",
        &[
            ("cohorts, Jain", Measure::JainCohorts),
            ("ranks, p", Measure::RankP),
            ("in time", Measure::InTime),
            ("oversold", Measure::Oversell),
            ("undersold", Measure::Undersell),
            ("requests", Measure::Requests),
        ],
    ),
    (
        "Replays and forgeries",
        &[("booked again", Measure::Replayed), ("others' changed", Measure::Forged)],
    ),
];

const BOUGHT: &str = "Scalpers buy: identities/accounts/lines";

/// The whole report as text; figures are means over the seeds with their 95 %
/// confidence interval.
pub fn table(report: &Report) -> String {
    let mut out = String::new();
    for (value, comparison) in &report.comparisons {
        if let Some(swept) = &report.swept {
            let _ = writeln!(out, "\n=== {swept} = {value}");
        }
        one(comparison, &mut out);
    }
    out
}

fn one(comparison: &Comparison, out: &mut String) {
    let scenario = &comparison.scenario;
    let _ = writeln!(
        out,
        "{}: {}\n{} parties of people and {} scalpers ask for {} places; seeds {} to {}, means ± half \
         of the 95 % interval (Student's t over seeds).",
        scenario.name,
        scenario.about,
        scenario.people.parties,
        scenario.attackers.len(),
        scenario.offices.places(),
        comparison.seeds.first().copied().unwrap_or(0),
        comparison.seeds.last().copied().unwrap_or(0),
    );
    let names: Vec<String> =
        comparison.columns.iter().map(|column| arm_name(&column.arm)).collect();
    let titles = TABLES.iter().map(|(title, _)| *title).chain([BOUGHT]);
    let widest = names.iter().map(String::as_str).chain(titles).map(str::len).max().unwrap_or(0);
    for (title, measures) in TABLES {
        let known = |(_, measure): &(&str, Measure)| {
            comparison.columns.iter().any(|column| column.of(*measure).is_some())
        };
        if !measures.iter().any(known) {
            continue;
        }
        let _ = write!(out, "\n{title:<widest$}");
        for (head, _) in measures {
            let _ = write!(out, "  {head:>15}");
        }
        out.push('\n');
        for (name, column) in names.iter().zip(&comparison.columns) {
            let _ = write!(out, "{name:<widest$}");
            for (_, measure) in measures {
                let _ = write!(out, "  {:>15}", cell(column, *measure));
            }
            out.push('\n');
        }
    }
    bought(comparison, &names, widest, out);
    groups(comparison, &names, widest, out);
    out.push('\n');
    for sentence in verdict(comparison) {
        let _ = writeln!(out, "- {sentence}");
    }
}

fn cell(column: &ArmResult, measure: Measure) -> String {
    let Some(Estimate { mean, half, .. }) = column.of(measure) else { return "–".to_owned() };
    match half.filter(|half| *half > 0.0) {
        Some(half) if !matches!(measure, Measure::Requests) => {
            let mean = shown(measure, mean);
            let half = shown(measure, half);
            format!("{} ±{half}", mean.trim_end_matches(" %"))
        }
        _ => shown(measure, mean),
    }
}

fn bought(comparison: &Comparison, names: &[String], widest: usize, out: &mut String) {
    if comparison.scenario.attackers.iter().all(|attacker| attacker.budget.is_none()) {
        return;
    }
    let _ = write!(out, "\n{BOUGHT:<widest$}");
    for attacker in &comparison.scenario.attackers {
        let _ = write!(out, "  {:>15}", attacker.name);
    }
    out.push('\n');
    for (name, column) in names.iter().zip(&comparison.columns) {
        let _ = write!(out, "{name:<widest$}");
        for means in &column.means {
            let bought = format!("{}/{}/{}", means.identities, means.accounts, means.connections);
            let _ = write!(out, "  {bought:>15}");
        }
        out.push('\n');
    }
}

fn groups(comparison: &Comparison, names: &[String], widest: usize, out: &mut String) {
    let _ = writeln!(out, "\nSuccess against the average (1 is even; ! is flagged)");
    let label = |i: usize| {
        let group = &comparison.groups[i];
        if group.kind == "cohort" || group.kind == "scalper" {
            group.name.clone()
        } else {
            format!("{} {}", group.kind, group.name)
        }
    };
    // Columns are groups; as many as fit a line of a wide terminal.
    let shown: Vec<usize> = (0..comparison.groups.len())
        .filter(|i| matches!(comparison.groups[*i].kind, "cohort" | "party of" | "scalper"))
        .collect();
    for part in shown.chunks(6) {
        let _ = write!(out, "{:<widest$}", "");
        for i in part {
            let _ = write!(out, "  {:>15}", label(*i));
        }
        out.push('\n');
        for (name, column) in names.iter().zip(&comparison.columns) {
            let _ = write!(out, "{name:<widest$}");
            for i in part {
                let fared = &column.groups[*i];
                let ratio = fared.ratio.map_or("–".to_owned(), |ratio| match ratio.half {
                    Some(half) => format!("{} ±{}", digits(ratio.mean), digits(half)),
                    None => digits(ratio.mean),
                });
                let _ = write!(out, "  {:>15}", ratio + if fared.flagged { "!" } else { "" });
            }
            out.push('\n');
        }
    }
}
