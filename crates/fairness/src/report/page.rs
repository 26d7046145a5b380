//! The report as a page.

use giliran_report::{Document, digits};

use super::{Comparisons, bought, charts, figures, groups, verdict};
use crate::{Comparison, Measure};

pub(super) fn page(comparisons: &Comparisons) -> Document {
    let first = comparisons.first();
    let name = first.map_or("", |comparison| comparison.scenario.name.as_str());
    let mut page = Document::titled(format!("Fairness: {name}"));
    if let Some(first) = first {
        page.title(format!("Fairness: {name}"));
        page.lead(&first.scenario.about);
    }
    if let Some(swept) = &comparisons.swept {
        page.heading(format!("Along {swept}"));
        let measures = [
            Measure::ScalperShare,
            Measure::LatencyPremium,
            Measure::Inversion,
            Measure::RecycleCapture,
            Measure::Waste,
            Measure::WaitS,
        ];
        page.charts(measures.map(|measure| charts::swept(comparisons, measure)));
    }
    for (value, comparison) in &comparisons.comparisons {
        if let Some(swept) = &comparisons.swept {
            page.title(format!("{swept} = {value}"));
        }
        one(comparison, &mut page);
    }
    page.heading("What each figure means");
    page.terms(Measure::ALL.map(|measure| (measure.title(), measure.about())));
    page.heading("How it came about");
    page.text(
        "Nothing here was measured on people. A population made from a seed asks in virtual time, \
         and the code that decides in production decides; the network between is a delay, the \
         ledger a fixed time. The same scenario and seed give the same figures.",
    );
    page
}

fn one(comparison: &Comparison, page: &mut Document) {
    facts(comparison, page);
    page.heading("Verdict");
    page.points(verdict(comparison));
    page.heading("Who gets the places");
    page.charts([
        charts::scalpers(comparison),
        charts::of_deciles(comparison),
        charts::cohorts(comparison),
    ]);
    page.heading("What happened when");
    page.charts([charts::requests(comparison), charts::free(comparison)]);
    page.heading("Places that come back");
    let lot = Some((Measure::RecycleFair, "what a lottery would give them"));
    page.charts([
        charts::by_arm(comparison, "Cancel and book again", Measure::RecycleCapture, lot),
        charts::by_arm(comparison, "Places nobody used", Measure::Waste, None),
    ]);
    page.heading("All figures");
    page.text(
        "Means over the seeds; beneath, half the width of the 95 % confidence interval (Student's t \
         over seeds).",
    );
    page.table(figures(comparison, Measure::ALL, Measure::title));
    page.subheading("Success against the average");
    page.text(
        "1 is even. People's groups are compared with all people, scalpers with everybody. Cohorts, \
         channels and devices are tested; what is flagged (⚑) is not by chance, at 1 % for all \
         tests of this comparison together. Parties of several people and scalpers want something \
         else than the average, and are shown without a test.",
    );
    let named = |i: usize| {
        let group = &comparison.groups[i];
        Some(format!("{} {}", group.kind, group.name))
    };
    page.table(groups(comparison, named));
    if !comparison.scenario.attackers.is_empty() {
        page.subheading("What scalpers have");
        page.text(
            "Identities, accounts and fast connections. Scalpers with a budget try, under each \
             order, every way to spend it in quarters on a small copy of the scenario, and take \
             what pays best.",
        );
        page.table(bought(comparison, " / "));
    }
}

fn facts(comparison: &Comparison, page: &mut Document) {
    let scenario = &comparison.scenario;
    let places = scenario.offices.places();
    let per_place = scenario.people.parties as f64 / places.max(1) as f64;
    page.facts([
        ("parties of people", scenario.people.parties.to_string()),
        ("places", places.to_string()),
        ("parties a place", digits(per_place)),
        ("kinds of scalpers", scenario.attackers.len().to_string()),
        ("seeds", comparison.seeds.len().to_string()),
        ("requests in all runs", comparison.requests.to_string()),
    ]);
}
