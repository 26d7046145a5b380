//! Tidy tables: one row an observation.

use std::fmt::Write as _;

use giliran_report::quoted;

use super::{Report, ordered};
use crate::{ArmResult, Comparison, Measure};

/// Every table: file name and content.
pub fn tables(report: &Report) -> [(&'static str, String); 4] {
    let mut measures = String::from("swept,value,scenario,order,returns,seed,measure,figure\n");
    let mut groups =
        String::from("swept,value,scenario,order,returns,seed,kind,group,applied,won,ratio,z\n");
    let mut deciles = String::from("swept,value,scenario,order,returns,seed,decile,success_rate\n");
    let mut series =
        String::from("swept,value,scenario,order,returns,second,requests,grants,free_places\n");
    let swept = report.swept.as_deref().unwrap_or("");
    for (value, comparison) in &report.comparisons {
        for column in &comparison.columns {
            let key = [
                swept,
                value,
                &comparison.scenario.name,
                &ordered(&column.arm),
                &column.arm.returns.name(),
            ]
            .map(quoted)
            .join(",");
            runs(comparison, column, &key, [&mut measures, &mut groups, &mut deciles]);
            for bin in 0..column.series[0].len() {
                let second = bin as i64 * 5 - 30;
                let [requests, grants, free] = [0, 1, 2].map(|which| column.series[which][bin]);
                let _ = writeln!(series, "{key},{second},{requests},{grants},{free}");
            }
        }
    }
    [
        ("measures.csv", measures),
        ("groups.csv", groups),
        ("deciles.csv", deciles),
        ("series.csv", series),
    ]
}

fn runs(
    comparison: &Comparison,
    column: &ArmResult,
    key: &str,
    [measures, groups, deciles]: [&mut String; 3],
) {
    let float = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    for (seed, run) in comparison.seeds.iter().zip(&column.runs) {
        for (measure, value) in Measure::ALL.iter().zip(&run.values) {
            if let Some(value) = value {
                let _ = writeln!(measures, "{key},{seed},{},{value}", measure.name());
            }
        }
        for (group, fared) in comparison.groups.iter().zip(&run.groups) {
            let _ = writeln!(
                groups,
                "{key},{seed},{},{},{},{},{},{}",
                group.kind,
                quoted(&group.name),
                fared.applied,
                fared.won,
                float(fared.ratio),
                float(fared.z)
            );
        }
        for (decile, rate) in run.deciles.iter().enumerate() {
            let _ = writeln!(deciles, "{key},{seed},{},{rate}", decile + 1);
        }
    }
}
