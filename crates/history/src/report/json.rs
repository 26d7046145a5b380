//! The report for machines.

use serde_json::{Map, Value, json as value};

use giliran_wire::ledger::journal::Action;

use giliran_report::Language;

use super::head::{advice, head};
use super::{unknown, verdict};
use crate::{Chart, CountBasis, Group, OpeningMeasures, RecordedOpening};

/// The version of this form.
const VERSION: u32 = 1;

/// The whole report. A figure that is not known is null, and stands with its reason
/// under `unknown`.
pub(super) fn json(recorded: &RecordedOpening, figures: &OpeningMeasures) -> Value {
    let measures = figures.figures.iter().map(|f| (f.name.to_owned(), value!(f.value.ok())));
    let reasons = figures.figures.iter();
    let reasons = reasons.filter_map(|f| Some((f.name.to_owned(), value!(f.value.err()?.english))));
    let rejections = figures.rejections.as_ref().map(|rejections| {
        let named = rejections.iter().map(|(reason, n)| ((*reason).to_owned(), value!(n)));
        named.collect::<Map<String, Value>>()
    });
    let (seq, time, hash) = recorded.tail;
    let rules = &recorded.record.rules;
    value!({
        "version": VERSION,
        "source": "ledger",
        "opening": recorded.record.id,
        "state": recorded.state.name(),
        "preliminary": !figures.is_final,
        "days_over": recorded.days_over(),
        "opened_at": recorded.opened.map(|at| at.to_string()),
        "closed_at": recorded.closed.map(|at| at.to_string()),
        "order": rules.order.name(),
        "cancelled": rules.cancelled.name(),
        "expired": rules.expired.name(),
        "ledger": {
            "id": recorded.ledger.to_string(),
            "seq": seq,
            "time": time.to_string(),
            "block": hash.to_string(),
        },
        "in_short": in_short(recorded, figures),
        "verdict": verdict(recorded, figures, Language::English),
        "measures": measures.collect::<Map<String, Value>>(),
        "unknown": reasons.collect::<Map<String, Value>>(),
        "not_known": unknown(figures, Language::English)
            .into_iter()
            .map(|(what, why)| value!({ "what": what, "why": why }))
            .collect::<Vec<Value>>(),
        "asked_are": match figures.answered {
            CountBasis::Parties | CountBasis::Entries => "parties",
            CountBasis::Requests => "requests",
            CountBasis::Winners => "unknown",
        },
        "groups": groups(figures),
        "refusals": rejections,
        "answered_but_not_in_ledger": figures.missing,
        "slots": slots(recorded),
        "actions": recorded.actions.iter().map(Action::json).collect::<Vec<Value>>(),
        "series": series(&figures.chart),
        "rush": figures.rush.as_ref().map(series),
    })
}

/// The sentences at the top, and by which rules they say what to do.
fn in_short(recorded: &RecordedOpening, figures: &OpeningMeasures) -> Value {
    let head = head(recorded, figures, Language::English);
    let [chance, scalpers, what_to_do] = head.said.map(|(_, sentence)| sentence);
    let advice = advice(recorded, figures).into_iter().map(super::Advice::name);
    value!({
        "basis": head.basis,
        "chance": chance,
        "scalpers": scalpers,
        "what_to_do": what_to_do,
        "advice": advice.collect::<Vec<&str>>(),
    })
}

fn groups(figures: &OpeningMeasures) -> Value {
    let group = |group: &Group| {
        value!({
            "kind": group.kind,
            "name": group.name,
            "asked": group.fared.asked,
            "won": group.fared.won,
            "ratio": group.fared.ratio,
            "z": group.fared.z,
        })
    };
    figures.groups.iter().map(group).collect()
}

fn slots(recorded: &RecordedOpening) -> Value {
    let slots = recorded.places.iter().enumerate().filter_map(|(index, places)| {
        let (slot, office, session) = recorded.record.place(index as u32)?;
        Some(value!({
            "office": office.id, "date": slot.date.to_string(), "session": session.id,
            "quota": places.quota, "reserved": places.reserved, "halted": places.halted,
            "taken": places.live, "withheld": places.withheld,
            "free": places.free() - places.shut(),
        }))
    });
    slots.collect()
}

fn series(chart: &Chart) -> Value {
    value!({
        "from": chart.from.to_string(),
        "step_ms": chart.step_ms,
        "granted": chart.granted,
        "returned": chart.returned,
        "free": chart.free,
        "refused_step_ms": chart.rejected_step_ms,
        "refused": chart.rejected,
    })
}
