//! Tidy tables: one row an observation.

use giliran_report::{Sheet, or_empty};

use super::{Comparisons, ordered};
use crate::{ArmResult, Comparison, Measure};

pub(super) fn tables(report: &Comparisons) -> [Sheet; 4] {
    let named = "swept,value,scenario,order,returns";
    let sheet = |name, columns: &str| Sheet::new(name, &format!("{named},{columns}"));
    let mut measures = sheet("measures.csv", "seed,measure,figure");
    let mut groups = sheet("groups.csv", "seed,kind,group,applied,won,ratio,z");
    let mut deciles = sheet("deciles.csv", "seed,decile,success_rate");
    let mut series = sheet("series.csv", "second,requests,grants,free_places");
    let swept = report.swept.as_deref().unwrap_or("");
    for (value, comparison) in &report.comparisons {
        for column in &comparison.columns {
            let (order, returns) = (ordered(&column.arm), column.arm.returns.name());
            let key = [swept, value, &comparison.scenario.name, &order, &returns];
            runs(comparison, column, &key, [&mut measures, &mut groups, &mut deciles]);
            for bin in 0..column.series[0].len() {
                let second = bin as i64 * 5 - 30;
                let [requests, grants, free] = [0, 1, 2].map(|which| column.series[which][bin]);
                series.row(&key, &[&second, &requests, &grants, &free]);
            }
        }
    }
    [measures, groups, deciles, series]
}

fn runs(
    comparison: &Comparison,
    column: &ArmResult,
    key: &[&str],
    [measures, groups, deciles]: [&mut Sheet; 3],
) {
    for (seed, run) in comparison.seeds.iter().zip(&column.runs) {
        for (measure, value) in Measure::ALL.iter().zip(&run.values) {
            if let Some(value) = value {
                measures.row(key, &[seed, &measure.name(), value]);
            }
        }
        for (group, fared) in comparison.groups.iter().zip(&run.groups) {
            let (kind, name) = (&group.kind, &group.name);
            let (ratio, z) = (or_empty(fared.ratio), or_empty(fared.z));
            groups.row(key, &[seed, kind, name, &fared.applied, &fared.won, &ratio, &z]);
        }
        for (decile, rate) in run.deciles.iter().enumerate() {
            deciles.row(key, &[seed, &(decile + 1), rate]);
        }
    }
}
