//! Tidy tables: one row an observation.

use giliran_report::{Sheet, or_empty};

use crate::{OpeningMeasures, RecordedOpening};

/// Every table. What is not known has an empty value and its reason beside it.
pub(super) fn tables(recorded: &RecordedOpening, figures: &OpeningMeasures) -> [Sheet; 4] {
    let key = [recorded.record.id.as_str()];
    let mut measures = Sheet::new("measures.csv", "opening,measure,unit,value,unknown_because");
    for figure in figures.figures.iter() {
        let (value, why) =
            (or_empty(figure.value.ok()), or_empty(figure.value.err().map(|why| why.english)));
        measures.row(&key, &[&figure.name, &figure.unit.name(), &value, &why]);
    }
    let mut groups = Sheet::new("groups.csv", "opening,kind,group,asked,won,ratio,z");
    for group in &figures.groups {
        let (asked, fared) = (or_empty(group.fared.asked), &group.fared);
        let (ratio, z) = (or_empty(fared.ratio), or_empty(fared.z));
        groups.row(&key, &[&group.kind, &group.name, &asked, &fared.won, &ratio, &z]);
    }
    [measures, groups, series(&key, figures), actions(&key, recorded)]
}

fn series(key: &[&str], figures: &OpeningMeasures) -> Sheet {
    let mut series = Sheet::new("series.csv", "opening,view,ms_from_opening,what,count");
    let views = [("whole", Some(&figures.chart)), ("rush", figures.rush.as_ref())];
    for (view, chart) in views {
        let Some(chart) = chart else { continue };
        let mut add = |i: usize, step_ms: i64, what: &str, count: i64| {
            series.row(key, &[&view, &(i as i64 * step_ms), &what, &count]);
        };
        for i in 0..chart.granted.len() {
            add(i, chart.step_ms, "granted", chart.granted[i] as i64);
            add(i, chart.step_ms, "returned", chart.returned[i] as i64);
            add(i, chart.step_ms, "free", chart.free[i]);
        }
        for (i, count) in chart.rejected.iter().flatten().enumerate() {
            add(i, chart.rejected_step_ms, "refused", *count as i64);
        }
    }
    series
}

/// What operators and engines did, one row a change.
fn actions(key: &[&str], recorded: &RecordedOpening) -> Sheet {
    let mut actions = Sheet::new(
        "actions.csv",
        "opening,seq,time,action,office,date,session,value,operator,reason,moved,cancelled",
    );
    for action in &recorded.actions {
        let (operator, reason) = action.signed.clone().unwrap_or_default();
        for done in &action.deeds {
            let [office, date, session] = done.slot.clone().unwrap_or_default();
            actions.row(
                key,
                &[
                    &action.seq,
                    &action.time,
                    &done.name,
                    &office,
                    &date,
                    &session,
                    &done.value,
                    &operator,
                    &reason,
                    &action.moved,
                    &action.cancelled,
                ],
            );
        }
    }
    actions
}
