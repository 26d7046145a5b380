//! What is known of an opening that took place, and what is not.

mod charts;
mod csv;
mod deeds;
mod head;
mod json;
mod page;
mod replayed;
mod slots;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
mod verdict;

use giliran_fairness::report::{group_name, order_name, reason_name, returns_name};
use giliran_report::times::Zone;
use giliran_report::{Cell, Document, Language, Report, Table, Unit, say, text};
use giliran_wire::Timestamp;
use giliran_wire::ledger::journal::Action;

use crate::measures::OpeningMeasures;
use crate::recorded::RecordedOpening;

pub use head::Advice;
pub use replayed::{replayed, replayed_json};
pub use verdict::verdict;

/// |z| from which a group is flagged.
const FLAG_Z: f64 = giliran_fairness::measures::FLAG_Z;

pub fn report(recorded: &RecordedOpening, figures: &OpeningMeasures, language: Language) -> Report {
    Report {
        screen: screen(recorded, figures, language),
        page: page::page(recorded, figures, language),
        sheets: csv::tables(recorded, figures).into(),
        data: json::json(recorded, figures),
    }
}

fn title(recorded: &RecordedOpening, language: Language) -> String {
    let id = &recorded.record.id;
    say!(language, "Opening {id}" | "Pembukaan {id}")
}

fn screen(recorded: &RecordedOpening, figures: &OpeningMeasures, language: Language) -> Document {
    let mut screen = Document::new(language);
    screen.head(head::head(recorded, figures, language));
    screen.lead(format!("{}: {}", title(recorded, language), about(recorded, language)));
    let [opened, closed] = times(recorded, language);
    let kept = text!("ledger" | "buku catatan").of(language);
    screen.facts([opened, closed, (kept, ledger(recorded, language))]);
    screen.points(verdict(recorded, figures, language));
    let mut all = Table::default();
    all.figures(&figures.figures, None, language);
    screen.table(all);
    if !figures.groups.is_empty() {
        let counted = figures.answered.about().of(language);
        screen.heading(say!(language, "Who asked: {counted}" | "Siapa yang meminta: {counted}"));
        screen.table(groups(figures, language));
    }
    if let Some(rejections) =
        figures.rejections.as_ref().filter(|rejections| !rejections.is_empty())
    {
        screen.heading(say!(language, "Rejections" | "Penolakan"));
        let named = |(reason, n): &(&str, u64)| (reason_name(reason, language), language.count(n));
        screen.facts(rejections.iter().map(named));
    }
    if !recorded.actions.is_empty() {
        screen.heading(say!(language, "What was done to it" | "Yang dilakukan padanya"));
        let done = recorded.actions.iter().map(|action| {
            (moment(recorded, action.time, language), done(action, recorded, language))
        });
        screen.facts(done);
    }
    screen.heading(say!(language, "Not known" | "Tidak diketahui"));
    screen.points(not_known(figures, language));
    screen
}

/// When it opened and closed.
fn times(recorded: &RecordedOpening, language: Language) -> [(&'static str, String); 2] {
    let at = |at: Option<Timestamp>| match at {
        Some(at) => moment(recorded, at, language),
        None => say!(language, "not yet" | "belum"),
    };
    [
        (text!("opened" | "dibuka").of(language), at(recorded.opened)),
        (text!("closed" | "ditutup").of(language), at(recorded.closed)),
    ]
}

/// The opening's own time zone.
fn zone(recorded: &RecordedOpening) -> Zone {
    Zone::named(&recorded.record.timezone)
}

/// Day and time in the opening's own time zone.
fn moment(recorded: &RecordedOpening, at: Timestamp, language: Language) -> String {
    zone(recorded).moment(language, at.as_millis())
}

/// Which ledger, and how far it was read.
fn ledger(recorded: &RecordedOpening, language: Language) -> String {
    let (seq, time, hash) = recorded.tail;
    let (ledger, at) = (&recorded.ledger, moment(recorded, time, language));
    say!(
        language,
        "{ledger} to sequence {seq}, {at}, block {hash}"
            | "{ledger} sampai urutan {seq}, {at}, blok {hash}"
    )
}

/// How those who asked fared.
fn groups(figures: &OpeningMeasures, language: Language) -> Table {
    let heads = [
        text!("asked" | "meminta"),
        text!("have a place" | "mendapat tempat"),
        text!("against the average" | "dibanding rata-rata"),
        text!("z" | "z"),
    ];
    let mut table = Table::new(heads.map(|head| head.of(language)));
    for group in &figures.groups {
        let fared = &group.fared;
        let unknown = || text!("not known" | "tidak diketahui").of(language).to_owned();
        let asked = fared.asked.map_or_else(unknown, |n| language.count(n));
        let is_flagged = fared.z.is_some_and(|z| z.abs() > FLAG_Z);
        let ratio = Cell { is_flagged, ..language.or_dash(fared.ratio).into() };
        let (won, z) = (language.count(fared.won), language.or_dash(fared.z));
        let cells = [asked.into(), won.into(), ratio, z.into()];
        table.row(group_name(group.kind, &group.name, language), cells);
    }
    table
}

/// What was done, by whom and why, in a line.
fn done(action: &Action, recorded: &RecordedOpening, language: Language) -> String {
    let words = deeds::words(action, &zone(recorded), language);
    match &action.signed {
        Some((operator, reason)) => format!("{words}. {operator}: {reason}"),
        None => words,
    }
}

/// What the opening is, in a line.
fn about(recorded: &RecordedOpening, language: Language) -> String {
    let rules = &recorded.record.rules;
    let hold = match rules.hold_ms {
        None => say!(language, "without holds" | "tanpa penahanan"),
        Some(ms) => {
            let hold = Unit::Seconds.shown(ms as f64 / 1e3, language);
            say!(language, "held for {hold} until paid" | "ditahan {hold} sampai dibayar")
        }
    };
    let order = order_name(&rules.order, false, language);
    let party = rules.max_party;
    let [cancelled, expired] =
        [&rules.cancelled, &rules.expired].map(|rule| returns_name(rule, language));
    say!(
        language,
        "{order}; {hold}; parties of at most {party}; cancelled places given out anew {cancelled}, \
         lapsed ones {expired}"
            | "{order}; {hold}; rombongan paling banyak {party} orang; tempat yang dibatalkan dibagikan \
               lagi {cancelled}, yang gugur {expired}"
    )
}

/// What is not known, and why: titles by reason.
fn unknown(
    figures: &OpeningMeasures,
    language: Language,
) -> Vec<(Vec<&'static str>, &'static str)> {
    let mut found: Vec<(Vec<&'static str>, &'static str)> = Vec::new();
    for figure in figures.figures.iter() {
        let Err(why) = figure.value else { continue };
        let (title, why) = (figure.title.of(language), why.of(language));
        match found.iter_mut().find(|(_, there)| *there == why) {
            Some((titles, _)) => titles.push(title),
            None => found.push((vec![title], why)),
        }
    }
    if figures.groups.iter().all(|group| group.kind != "cohort") {
        let what = text!(
            "Groups of people (network, device, place)"
                | "Kelompok warga (jaringan, perangkat, daerah)"
        );
        let why = text!(
            "the ledger does not hold them; a gateway log may name them"
                | "buku catatan tidak memuatnya; catatan gerbang mungkin menyebutnya"
        );
        found.push((vec![what.of(language)], why.of(language)));
    }
    found
}

/// The same in words.
fn not_known(figures: &OpeningMeasures, language: Language) -> impl Iterator<Item = String> {
    let known = unknown(figures, language).into_iter();
    known.map(|(titles, why)| format!("{}: {why}", titles.join(", ")))
}
