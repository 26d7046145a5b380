//! The report for machines.

use giliran_report::Language;
use serde_json::{Map, Value, json as value};

use super::head::head;
use super::{Comparisons, advice, ordered, verdict};
use crate::{ArmResult, Comparison, Measure};

/// The version of this form.
const VERSION: u32 = 1;

pub(super) fn json(report: &Comparisons) -> Value {
    let comparisons = report.comparisons.iter().map(|(swept, comparison)| {
        value!({
            "value": report.swept.as_ref().map(|_| swept),
            "scenario": comparison.scenario.name,
            "about": comparison.scenario.about,
            "parties": comparison.scenario.people.parties,
            "places": comparison.scenario.offices.places(),
            "seeds": comparison.seeds,
            "requests": comparison.requests,
            "in_short": in_short(comparison),
            "verdict": verdict(comparison, Language::English),
            "arms": comparison.columns.iter().map(|c| arm(comparison, c)).collect::<Vec<Value>>(),
        })
    });
    value!({
        "version": VERSION,
        "interval": "95 %, Student's t over seeds; half its width",
        "swept": report.swept,
        "comparisons": comparisons.collect::<Vec<Value>>(),
    })
}

/// The sentences at the top, and by which rules they say what to do.
fn in_short(comparison: &Comparison) -> Value {
    let head = head(comparison, Language::English);
    let [chance, scalpers, what_to_do] = head.said.map(|(_, sentence)| sentence);
    let advice: Vec<String> = advice(comparison).iter().map(super::Advice::name).collect();
    value!({
        "basis": head.basis,
        "chance": chance,
        "scalpers": scalpers,
        "what_to_do": what_to_do,
        "advice": advice,
    })
}

fn arm(comparison: &Comparison, column: &ArmResult) -> Value {
    let measures: Map<String, Value> = Measure::ALL
        .iter()
        .filter_map(|measure| Some((measure.name().to_owned(), value!(column.of(*measure)?))))
        .collect();
    let groups = comparison.groups.iter().zip(&column.groups).map(|(group, fared)| {
        value!({
            "kind": group.kind,
            "name": group.name,
            "rate": fared.rate,
            "ratio": fared.ratio,
            "z": fared.z,
            "tested": group.tested,
            "flagged": fared.flagged,
        })
    });
    let bought = comparison.scenario.attackers.iter().zip(&column.means);
    let bought: Map<String, Value> =
        bought.map(|(attacker, means)| (attacker.name.clone(), value!(means))).collect();
    let [requests, grants, free] = &column.series;
    value!({
        "order": ordered(&column.arm),
        "returns": column.arm.returns.name(),
        "measures": measures,
        "groups": groups.collect::<Vec<Value>>(),
        "success_by_round_trip_decile": column.deciles,
        "scalpers": bought,
        "series": {
            "from_second": -30,
            "seconds": 5,
            "requests": requests,
            "grants": grants,
            "free_places": free,
        },
    })
}
