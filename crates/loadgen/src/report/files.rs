//! JSON, and tidy tables: one row an observation.

use serde_json::json;

use giliran_report::{Language, Sheet, or_empty};

use super::head::{advice, head};
use super::verdict;
use crate::{Bin, Latency, RunSummary};

pub(super) fn json(record: &RunSummary) -> serde_json::Value {
    let head = head(record, Language::English);
    let [chance, scalpers, what_to_do] = head.said.map(|(_, sentence)| sentence);
    let advice: Vec<&str> = advice(record).into_iter().map(super::Advice::name).collect();
    let in_short = json!({
        "basis": head.basis, "chance": chance, "scalpers": scalpers, "what_to_do": what_to_do,
        "advice": advice,
    });
    json!({ "in_short": in_short, "verdict": verdict(record, Language::English), "run": record })
}

pub(super) fn tables(record: &RunSummary) -> [Sheet; 6] {
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
    let series = over_time("series.csv", &key, (record.from_s, record.bin_s), &record.series);
    let rush = &record.rush;
    let rush = over_time("rush.csv", &key, (rush.from_s, rush.bin_s), &rush.bins);
    let mut deciles = sheet("deciles.csv", "decile,success_rate");
    for (decile, rate) in record.deciles.iter().enumerate() {
        deciles.row(&key, &[&(decile + 1), rate]);
    }
    [measures, groups, latencies(&key, record), series, rush, deciles]
}

/// What happened in each stretch of time.
fn over_time(name: &'static str, key: &[&str], (from_s, bin_s): (f64, f64), bins: &[Bin]) -> Sheet {
    let columns = "scenario,seed,second,seconds,came,requests,places_granted,refused,come_again,\
                   free_places";
    let mut series = Sheet::new(name, columns);
    for (i, bin) in bins.iter().enumerate() {
        let second = from_s + i as f64 * bin_s;
        let Bin { came, requests, granted, rejected, again, free } = bin;
        let free = or_empty(*free);
        series.row(key, &[&second, &bin_s, came, requests, granted, rejected, again, &free]);
    }
    series
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
