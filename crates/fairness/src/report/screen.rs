//! The report for a terminal.

use giliran_report::{Document, Language, Table, Text, say, text};

use super::head::head;
use super::labels::group_name;
use super::{Comparisons, bought, figures, groups, verdict};
use crate::Comparison;
use crate::Measure::{self, *};
use crate::scenario::{about, named};

/// What a table's columns are, by its title.
const TABLES: [(Text, &[Measure]); 4] = [
    (
        text!("When the window closes" | "Saat pembukaan berakhir"),
        &[HonestChance, ScalperShare, LatencyPremium, Inversion, Families, FirstChoice, WaitS],
    ),
    (
        text!("Holdings, and places that come back" | "Kepemilikan, dan tempat yang kembali"),
        &[TopTen, Hhi, GiniAccounts, RecycleCapture, RecycleFair, Waste],
    ),
    (
        text!(
            "What should be even, and what must be 0" | "Yang seharusnya merata, dan yang harus 0"
        ),
        &[JainCohorts, RankP, InTime, Oversell, Undersell, Requests],
    ),
    (text!("Replays and forgeries" | "Kiriman ulang dan pemalsuan"), &[Replayed, Forged]),
];

/// Figures are means over the seeds with their 95 % confidence interval.
pub(super) fn screen(comparisons: &Comparisons, language: Language) -> Document {
    let mut screen = Document::new(language);
    for (value, comparison) in &comparisons.comparisons {
        if let Some(swept) = &comparisons.swept {
            screen.title(format!("=== {swept} = {value}"));
        }
        one(comparison, &mut screen, language);
    }
    screen
}

fn one(comparison: &Comparison, screen: &mut Document, language: Language) {
    let scenario = &comparison.scenario;
    screen.head(head(comparison, language));
    screen.lead(format!("{}: {}", scenario.name, about(scenario, language)));
    let [first, last] = [comparison.seeds.first(), comparison.seeds.last()]
        .map(|seed| language.count(seed.copied().unwrap_or(0)));
    screen.text(say!(
        language,
        "Seeds {first} to {last}; means ± half of the 95 % interval (Student's t over seeds)."
            | "Benih acak {first} sampai {last}; rata-rata ± separuh selang 95 % (t Student atas benih)."
    ));
    let mut table = |title: String, of: Table| {
        if !of.rows.is_empty() {
            screen.table(Table { corner: title, ..of.transposed() });
        }
    };
    for (title, measures) in TABLES {
        let measures = measures.iter().copied();
        let figures = figures(comparison, measures, Measure::short, language);
        table(title.of(language).to_owned(), figures);
    }
    if scenario.attackers.iter().any(|attacker| attacker.budget.is_some()) {
        let title = say!(
            language,
            "Scalpers buy: identities/accounts/lines" | "Calo membeli: identitas/akun/jalur"
        );
        table(title, bought(comparison, "/", language));
    }
    let shown = |i: usize| {
        let group = &comparison.groups[i];
        match group.kind {
            "cohort" | "scalper" => Some(named(&group.name, language).to_owned()),
            "party of" => Some(group_name(group.kind, &group.name, language)),
            _ => None,
        }
    };
    let title =
        say!(language, "Success (1 is even; ! is flagged)" | "Keberhasilan (1 merata; ! ditandai)");
    table(title, groups(comparison, shown, language));
    screen.points(verdict(comparison, language));
}
