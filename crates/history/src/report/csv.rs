//! Tidy tables: one row an observation.

use std::fmt::Write as _;

use giliran_report::quoted;

use crate::{OpeningMeasures, RecordedOpening};

/// Every table: file name and content. What is not known has an empty value and its
/// reason beside it.
pub fn tables(
    recorded: &RecordedOpening,
    figures: &OpeningMeasures,
) -> [(&'static str, String); 4] {
    let opening = quoted(&recorded.record.id);
    let mut measures = String::from("opening,measure,unit,value,unknown_because\n");
    for figure in &figures.figures {
        let value = figure.value.map_or(String::new(), |value| value.to_string());
        let why = quoted(figure.value.err().unwrap_or_default());
        let _ =
            writeln!(measures, "{opening},{},{},{value},{why}", figure.name, figure.unit.name());
    }
    let mut groups = String::from("opening,kind,group,asked,won,ratio,z\n");
    for group in &figures.groups {
        let float = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let asked = group.fared.asked.map_or(String::new(), |n| n.to_string());
        let _ = writeln!(
            groups,
            "{opening},{},{},{asked},{},{},{}",
            group.kind,
            quoted(&group.name),
            group.fared.won,
            float(group.fared.ratio),
            float(group.fared.z)
        );
    }
    let mut series = String::from("opening,view,ms_from_opening,what,count\n");
    let views = [("whole", Some(&figures.chart)), ("rush", figures.rush.as_ref())];
    for (view, chart) in views {
        let Some(chart) = chart else { continue };
        let mut add = |i: usize, step_ms: i64, what: &str, count: i64| {
            let _ = writeln!(series, "{opening},{view},{},{what},{count}", i as i64 * step_ms);
        };
        for i in 0..chart.granted.len() {
            add(i, chart.step_ms, "granted", chart.granted[i] as i64);
            add(i, chart.step_ms, "returned", chart.returned[i] as i64);
            add(i, chart.step_ms, "free", chart.free[i]);
        }
        for (i, count) in chart.refused.iter().flatten().enumerate() {
            add(i, chart.refused_step_ms, "refused", *count as i64);
        }
    }
    [
        ("measures.csv", measures),
        ("groups.csv", groups),
        ("series.csv", series),
        ("actions.csv", actions(recorded)),
    ]
}

/// What operators and engines did, one row a change.
fn actions(recorded: &RecordedOpening) -> String {
    let opening = quoted(&recorded.record.id);
    let mut actions = String::from(
        "opening,seq,time,action,office,date,session,value,operator,reason,moved,cancelled\n",
    );
    for action in &recorded.actions {
        let signed = action.signed.as_ref();
        let signed = signed.map(|(operator, reason)| (quoted(operator), quoted(reason)));
        let (operator, reason) = signed.unwrap_or_default();
        for done in &action.deeds {
            let [office, date, session] = done.slot.clone().unwrap_or_default();
            let _ = writeln!(
                actions,
                "{opening},{},{},{},{office},{date},{session},{},{operator},{reason},{},{}",
                action.seq,
                action.time,
                done.name,
                quoted(&done.value),
                action.moved,
                action.cancelled
            );
        }
    }
    actions
}
