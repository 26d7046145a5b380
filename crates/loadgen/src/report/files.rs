//! JSON, and tidy tables: one row an observation.

use serde_json::json;

use giliran_report::{Sheet, or_empty};

use super::verdict;
use crate::{Latency, RunSummary};

pub(super) fn json(record: &RunSummary) -> serde_json::Value {
    json!({ "verdict": verdict(record), "run": record })
}

pub(super) fn tables(record: &RunSummary) -> [Sheet; 5] {
    let seed = record.seed.to_string();
    let key = [record.scenario.as_str(), &seed];
    let sheet = |name, columns: &str| Sheet::new(name, &format!("scenario,seed,{columns}"));
    let mut measures = sheet("measures.csv", "measure,figure");
    for figure in record.figures.iter() {
        if let Ok(value) = figure.value {
            measures.row(&key, &[&figure.name, &value]);
        }
    }
    let mut groups = sheet("groups.csv", "kind,group,applied,won,ratio,z,flagged,in_time");
    for group in &record.groups {
        let (kind, name, applied, won) = (group.kind, &group.name, group.applied, group.won);
        let [ratio, z, in_time] = [group.ratio, group.z, group.in_time].map(or_empty);
        groups.row(&key, &[&kind, name, &applied, &won, &ratio, &z, &group.flagged, &in_time]);
    }
    let mut series = sheet(
        "series.csv",
        "second,seconds,came,requests,places_granted,refused,come_again,free_places",
    );
    for (i, bin) in record.series.iter().enumerate() {
        let second = record.from_s + i as f64 * record.bin_s;
        let free = or_empty(bin.free);
        series.row(
            &key,
            &[
                &second,
                &record.bin_s,
                &bin.came,
                &bin.requests,
                &bin.granted,
                &bin.rejected,
                &bin.again,
                &free,
            ],
        );
    }
    let mut deciles = sheet("deciles.csv", "decile,success_rate");
    for (decile, rate) in record.deciles.iter().enumerate() {
        deciles.row(&key, &[&(decile + 1), rate]);
    }
    [measures, groups, latencies(&key, record), series, deciles]
}

fn latencies(key: &[&str], record: &RunSummary) -> Sheet {
    let columns = "scenario,seed,kind,group,what,p50,p90,p99,p999,max,count";
    let mut latency = Sheet::new("latency.csv", columns);
    let mut line = |kind: &str, group: &str, what: &str, of: &Latency| {
        let Latency { count, p50, p90, p99, p999, max } = of;
        latency.row(key, &[&kind, &group, &what, p50, p90, p99, p999, max, count]);
    };
    line("all", "", "grants", &record.grants);
    line("all", "", "refusals", &record.rejections);
    line("all", "", "payments", &record.confirmations);
    line("all", "", "lag", &record.lag);
    for group in record.groups.iter().filter(|group| group.service.count > 0) {
        line(group.kind, &group.name, "service", &group.service);
        line(group.kind, &group.name, "felt", &group.felt);
    }
    latency
}
