//! JSON, and tidy tables: one row an observation.

use std::fmt::Write as _;

use serde_json::json;

use giliran_report::quoted;

use super::verdict;
use crate::{Latency, RunSummary};

pub fn json(record: &RunSummary) -> serde_json::Value {
    json!({ "verdict": verdict(record), "run": record })
}

/// Every table: file name and content.
pub fn tables(record: &RunSummary) -> [(&'static str, String); 5] {
    let key = format!("{},{}", quoted(&record.scenario), record.seed);
    let float = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    let mut measures = String::from("scenario,seed,measure,figure\n");
    for figure in &record.figures {
        if let Some(value) = figure.value {
            let _ = writeln!(measures, "{key},{},{value}", figure.name);
        }
    }
    let mut groups = String::from("scenario,seed,kind,group,applied,won,ratio,z,flagged,in_time\n");
    let mut latency = String::from("scenario,seed,kind,group,what,p50,p90,p99,p999,max,count\n");
    let mut line = |kind: &str, group: &str, what: &str, l: &Latency| {
        let _ = writeln!(
            latency,
            "{key},{kind},{},{what},{},{},{},{},{},{}",
            quoted(group),
            l.p50,
            l.p90,
            l.p99,
            l.p999,
            l.max,
            l.count
        );
    };
    line("all", "", "grants", &record.grants);
    line("all", "", "refusals", &record.refusals);
    line("all", "", "payments", &record.confirmations);
    line("all", "", "lag", &record.lag);
    for group in &record.groups {
        let _ = writeln!(
            groups,
            "{key},{},{},{},{},{},{},{},{}",
            group.kind,
            quoted(&group.name),
            group.applied,
            group.won,
            float(group.ratio),
            float(group.z),
            group.flagged,
            float(group.in_time)
        );
        if group.service.count > 0 {
            line(group.kind, &group.name, "service", &group.service);
            line(group.kind, &group.name, "felt", &group.felt);
        }
    }
    let mut series = String::from(
        "scenario,seed,second,seconds,came,requests,places_granted,refused,come_again,free_places\n",
    );
    for (i, bin) in record.series.iter().enumerate() {
        let _ = writeln!(
            series,
            "{key},{},{},{},{},{},{},{},{}",
            record.from_s + i as f64 * record.bin_s,
            record.bin_s,
            bin.came,
            bin.requests,
            bin.granted,
            bin.refused,
            bin.again,
            bin.free.map_or(String::new(), |free| free.to_string())
        );
    }
    let mut deciles = String::from("scenario,seed,decile,success_rate\n");
    for (decile, rate) in record.deciles.iter().enumerate() {
        let _ = writeln!(deciles, "{key},{},{rate}", decile + 1);
    }
    [
        ("measures.csv", measures),
        ("groups.csv", groups),
        ("latency.csv", latency),
        ("series.csv", series),
        ("deciles.csv", deciles),
    ]
}
