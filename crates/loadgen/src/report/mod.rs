//! What a run says.

mod charts;
mod files;
mod head;
mod page;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
mod words;

use giliran_fairness::report::{group_name, reason_name};
use giliran_fairness::scenario::about_of;
use giliran_report::{Cell, Document, Language, Report, Table, say, text};

use crate::{Latency, RunSummary};

pub use head::Advice;
pub use words::verdict;

pub fn report(record: &RunSummary, language: Language) -> Report {
    Report {
        screen: screen(record, language),
        page: page::page(record, language),
        sheets: files::tables(record).into(),
        data: files::json(record),
    }
}

fn screen(record: &RunSummary, language: Language) -> Document {
    let mut screen = Document::new(language);
    screen.head(head::head(record, language));
    let (scenario, opening) = (&record.scenario, &record.opening);
    let (seed, took) = (language.count(record.seed), language.fixed(record.took_s, 1));
    screen.lead(say!(
        language,
        "Rehearsal {scenario} on opening {opening}: seed {seed}, {took} s"
            | "Gladi {scenario} pada pembukaan {opening}: benih acak {seed}, {took} detik"
    ));
    let [requests, answered, bookings, entered, unheard, unanswered] = [
        record.requests,
        record.answered,
        record.bookings,
        record.entered,
        record.unheard,
        record.unanswered,
    ]
    .map(|n| language.count(n));
    screen.heading(say!(
        language,
        "{requests} requests, {answered} answered: {bookings} bookings answered, {entered} entered; \
         {unheard} not heard, {unanswered} without answer in time"
            | "{requests} permintaan, {answered} dijawab: {bookings} pemesanan, {entered} terdaftar \
               undian; {unheard} tidak didengar, {unanswered} tanpa jawaban tepat waktu"
    ));
    screen.facts(reasons(record, language));
    screen.table(latencies(record, false, language));
    let corner = say!(language, "who, ! is flagged" | "siapa, ! ditandai");
    screen.table(Table { corner, ..groups(record, true, language) });
    let mut figures = Table::default();
    figures.figures(&record.figures, None, language);
    screen.table(figures);
    screen.points(verdict(record, language));
    screen
}

fn reasons(record: &RunSummary, language: Language) -> Vec<(String, String)> {
    let named =
        |(reason, count): &(&str, u64)| (reason_name(reason, language), language.count(count));
    record.rejected.iter().map(named).collect()
}

/// What the scenario shows.
fn about(record: &RunSummary, language: Language) -> &str {
    about_of(&record.scenario, &record.about, language)
}

fn identities(record: &RunSummary) -> u64 {
    record.attackers.iter().map(|(_, means)| means.identities).sum()
}

/// The part that scalpers' identities are of all who asked.
fn part_of_askers(record: &RunSummary) -> f64 {
    let scalpers = record.groups.iter().filter(|group| group.kind == "scalper");
    let scalpers: u64 = scalpers.map(|group| group.applied).sum();
    scalpers as f64 / (scalpers + record.people).max(1) as f64
}

/// How long answers took, ms; with those of each cohort and scalper, if so.
fn latencies(record: &RunSummary, with_groups: bool, language: Language) -> Table {
    let heads = [
        say!(language, "half within" | "separuh dalam"),
        "90 %".to_owned(),
        "99 %".to_owned(),
        say!(language, "99.9 %" | "99,9 %"),
        say!(language, "longest" | "terlama"),
        say!(language, "of" | "jumlah"),
    ];
    let corner = say!(language, "latency, ms" | "waktu jawab, milidetik");
    let mut table = Table { corner, ..Table::new(heads) };
    let mut row = |name: &str, latency: &Latency| {
        let Latency { count, p50, p90, p99, p999, max } = *latency;
        let times = [p50, p90, p99, p999, max].map(|ms| language.digits(ms));
        table.row(name, times.into_iter().chain([language.count(count)]));
    };
    row(text!("grants" | "pemberian tempat").of(language), &record.grants);
    row(text!("rejections" | "penolakan").of(language), &record.rejections);
    if record.confirmations.count > 0 {
        row(text!("payments" | "pembayaran").of(language), &record.confirmations);
    }
    let shown = record.groups.iter().filter(|g| matches!(g.kind, "cohort" | "scalper"));
    for group in shown.filter(|group| with_groups && group.service.count > 0) {
        row(&group_name(group.kind, &group.name, language), &group.service);
    }
    row(
        text!("requests left late by" | "permintaan terlambat berangkat").of(language),
        &record.lag,
    );
    table
}

/// How the groups fared; with what 99 % of them felt at most, if so.
fn groups(record: &RunSummary, with_felt: bool, language: Language) -> Table {
    let heads = [
        text!("asked" | "meminta"),
        text!("have a place" | "mendapat tempat"),
        text!("against the average" | "dibanding rata-rata"),
        text!("z" | "z"),
        text!("answered in time" | "dijawab tepat waktu"),
    ];
    let felt = with_felt.then_some(text!("felt by 99 %, ms" | "dirasakan 99 %, milidetik"));
    let mut table = Table::new(heads.into_iter().chain(felt).map(|head| head.of(language)));
    for group in record.groups.iter().filter(|group| group.applied > 0) {
        let ratio = Cell { is_flagged: group.flagged, ..language.or_dash(group.ratio).into() };
        let cells = [
            language.count(group.applied).into(),
            language.count(group.won).into(),
            ratio,
            language.or_dash(group.z).into(),
            group.in_time.map_or("–".to_owned(), |share| language.percent(share)).into(),
        ];
        let p99 = (group.felt.count > 0).then_some(group.felt.p99);
        let felt = with_felt.then(|| language.or_dash(p99));
        let cells = cells.into_iter().chain(felt.map(Cell::from));
        table.row(group_name(group.kind, &group.name, language), cells);
    }
    table
}
