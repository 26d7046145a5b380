//! What a run says.

mod charts;
mod files;
mod page;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
mod words;

use giliran_report::{Cell, Document, Report, Table, Unit, digits, or_dash};

use crate::{Latency, RunSummary};

pub use words::verdict;

pub fn report(record: &RunSummary) -> Report {
    Report {
        screen: screen(record),
        page: page::page(record),
        sheets: files::tables(record).into(),
        data: files::json(record),
    }
}

/// A share in percent.
fn percent(share: f64) -> String {
    Unit::Share.shown(share)
}

fn screen(record: &RunSummary) -> Document {
    let mut screen = Document::default();
    screen.lead(format!(
        "Surge {} on opening {}: {} parties of people and {} identities of scalpers, seed {}, {:.1} \
         s",
        record.scenario,
        record.opening,
        record.people,
        identities(record),
        record.seed,
        record.took_s
    ));
    screen.heading(format!(
        "{} requests, {} answered: {} bookings answered, {} entered; {} not heard, {} without answer \
         in time",
        record.requests,
        record.answered,
        record.bookings,
        record.entered,
        record.unheard,
        record.unanswered
    ));
    screen.facts(record.rejected.iter().map(|(reason, count)| (*reason, count.to_string())));
    screen.table(latencies(record, false));
    screen.table(Table { corner: "who, ! is flagged".to_owned(), ..groups(record, true) });
    let mut figures = Table::default();
    figures.figures(&record.figures, None);
    screen.table(figures);
    screen.points(verdict(record));
    screen
}

fn identities(record: &RunSummary) -> u64 {
    record.attackers.iter().map(|(_, means)| means.identities).sum()
}

/// How long answers took, ms; with those of each cohort and scalper, if so.
fn latencies(record: &RunSummary, with_groups: bool) -> Table {
    let heads = ["half within", "90 %", "99 %", "99.9 %", "longest", "of"];
    let mut table = Table { corner: "latency, ms".to_owned(), ..Table::new(heads) };
    let mut row = |name: &str, latency: &Latency| {
        let Latency { count, p50, p90, p99, p999, max } = *latency;
        let times = [p50, p90, p99, p999, max].map(digits);
        table.row(name, times.into_iter().chain([count.to_string()]));
    };
    row("grants", &record.grants);
    row("rejections", &record.rejections);
    if record.confirmations.count > 0 {
        row("payments", &record.confirmations);
    }
    let shown = record.groups.iter().filter(|g| matches!(g.kind, "cohort" | "scalper"));
    for group in shown.filter(|group| with_groups && group.service.count > 0) {
        row(&format!("{} {}", group.kind, group.name), &group.service);
    }
    row("requests left late by", &record.lag);
    table
}

/// How the groups fared; with what 99 % of them felt at most, if so.
fn groups(record: &RunSummary, with_felt: bool) -> Table {
    let heads = ["asked", "have a place", "against the average", "z", "answered in time"];
    let felt = with_felt.then_some("felt by 99 %, ms");
    let mut table = Table::new(heads.into_iter().chain(felt));
    for group in record.groups.iter().filter(|group| group.applied > 0) {
        let ratio = Cell { is_flagged: group.flagged, ..or_dash(group.ratio).into() };
        let cells = [
            group.applied.to_string().into(),
            group.won.to_string().into(),
            ratio,
            or_dash(group.z).into(),
            group.in_time.map_or("–".to_owned(), percent).into(),
        ];
        let felt = with_felt.then(|| or_dash((group.felt.count > 0).then_some(group.felt.p99)));
        let cells = cells.into_iter().chain(felt.map(Cell::from));
        table.row(format!("{} {}", group.kind, group.name), cells);
    }
    table
}
