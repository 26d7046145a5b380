//! What is seen of the demo: how it goes, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use giliran_audit::Facts;
use giliran_loadgen::{Latency, LiveStats, RunSummary};
use giliran_wire::answer::Reason;

use crate::health::HealthRegistry;

pub(crate) fn line(view: &LiveStats, since: Duration) -> String {
    let rejected: u64 = view.rejected.iter().sum();
    let (early, late) = (view.of(Reason::NotOpen), view.of(Reason::SoldOut));
    let other = rejected - early - late;
    format!(
        "{:>5.1} s  sent {:>7}  granted {:>6}  not open yet {early:>6}  sold out {late:>7}  other \
         {other:>6}  grants p50 {:.1} ms p99 {:.1} ms  rejections p99 {:.1} ms",
        since.as_secs_f64(),
        view.sent,
        view.granted,
        view.grants_ms[0],
        view.grants_ms[1],
        view.rejections_ms[1],
    )
}

/// Free places by office and date, from the metrics.
pub(crate) fn free_places(shown: &HealthRegistry) -> BTreeMap<String, BTreeMap<String, i64>> {
    let mut free: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    for family in shown.registry.gather() {
        if family.name() != "giliran_free_places" {
            continue;
        }
        for metric in family.get_metric() {
            let label = |name: &str| {
                let pair = metric.get_label().iter().find(|pair| pair.name() == name);
                pair.map_or_else(String::new, |pair| pair.value().to_owned())
            };
            let places = metric.get_gauge().get_value() as i64;
            *free.entry(label("office")).or_default().entry(label("date")).or_default() += places;
        }
    }
    free
}

pub(crate) fn free_table(free: &BTreeMap<String, BTreeMap<String, i64>>) -> String {
    let dates: BTreeSet<&String> = free.values().flat_map(BTreeMap::keys).collect();
    let head: String = dates.iter().map(|date| format!("{date:>12}")).collect();
    let mut lines = vec![format!("{:<20}{head}", "free places")];
    for (office, days) in free {
        let places = |date: &&String| days.get(*date).copied().unwrap_or_default();
        let days: String = dates.iter().map(|date| format!("{:>12}", places(date))).collect();
        lines.push(format!("{office:<20}{days}"));
    }
    lines.join("\n")
}

pub(crate) fn summary(facts: &Facts, rush: &RunSummary) {
    let mut days: BTreeMap<(String, String), (u32, u32)> = BTreeMap::new();
    for (_, office, date, _, quota, taken) in facts.slots() {
        let day = days.entry((office, date)).or_default();
        day.0 += taken;
        day.1 += u32::from(quota);
    }
    println!("\n{:<20} {:<12} {:>8} {:>8}", "office", "date", "granted", "quota");
    for ((office, date), (taken, quota)) in days {
        println!("{office:<20} {date:<12} {taken:>8} {quota:>8}");
    }
    println!(
        "\n{} requests in {:.1} s ({:.0} a second): {} grants answered, {} rejections, {} without \
         answer in time; the generator was at most {:.1} ms late",
        rush.requests,
        rush.took_s,
        rush.requests as f64 / rush.took_s,
        rush.grants.count,
        rush.rejections.count,
        rush.unheard + rush.unanswered,
        rush.lag.max
    );
    for (reason, count) in &rush.rejected {
        println!("  {reason:<16} {count:>8}");
    }
    println!("latency, ms      {:>8} {:>8} {:>8} {:>8}", "p50", "p90", "p99", "p99.9");
    for (name, Latency { p50, p90, p99, p999, .. }) in
        [("grants", &rush.grants), ("rejections", &rush.rejections)]
    {
        println!("  {name:<14} {p50:>8.2} {p90:>8.2} {p99:>8.2} {p999:>8.2}");
    }
}
