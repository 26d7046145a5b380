//! What is known of an opening that took place, and what is not.

mod csv;
mod json;
mod page;
mod verdict;

use giliran_report::{Cell, Document, Report, Table, Unit, or_dash};
use giliran_wire::Timestamp;
use giliran_wire::ledger::journal::Action;

use crate::measures::OpeningMeasures;
use crate::recorded::RecordedOpening;

pub use verdict::verdict;

/// |z| from which a group is flagged.
const FLAG_Z: f64 = giliran_fairness::measures::FLAG_Z;

pub fn report(recorded: &RecordedOpening, figures: &OpeningMeasures) -> Report {
    Report {
        screen: screen(recorded, figures),
        page: page::page(recorded, figures),
        sheets: csv::tables(recorded, figures).into(),
        data: json::json(recorded, figures),
    }
}

fn screen(recorded: &RecordedOpening, figures: &OpeningMeasures) -> Document {
    let mut screen = Document::default();
    screen.lead(format!("Opening {}: {}", recorded.record.id, about(recorded)));
    let [opened, closed] = times(recorded);
    screen.facts([opened, closed, ("ledger", ledger(recorded))]);
    screen.points(verdict(recorded, figures));
    let mut all = Table::default();
    all.figures(&figures.figures, None);
    screen.table(all);
    if !figures.groups.is_empty() {
        screen.heading(format!("Who asked: {}", figures.answered.about()));
        screen.table(groups(figures));
    }
    if let Some(rejections) =
        figures.rejections.as_ref().filter(|rejections| !rejections.is_empty())
    {
        screen.heading("Rejections");
        screen.facts(rejections.iter().map(|(reason, n)| (*reason, n.to_string())));
    }
    if !recorded.actions.is_empty() {
        screen.heading("What was done to it");
        let done = recorded.actions.iter().map(|action| (instant(action.time), done(action)));
        screen.facts(done);
    }
    screen.heading("Not known");
    screen.points(not_known(figures));
    screen
}

/// When it opened and closed.
fn times(recorded: &RecordedOpening) -> [(&'static str, String); 2] {
    [("opened", recorded.opened), ("closed", recorded.closed)]
        .map(|(what, at)| (what, at.map_or("not yet".to_owned(), instant)))
}

/// Which ledger, and how far it was read.
fn ledger(recorded: &RecordedOpening) -> String {
    let (seq, time, hash) = recorded.tail;
    format!("{} to sequence {seq}, {}, block {hash}", recorded.ledger, instant(time))
}

/// How those who asked fared.
fn groups(figures: &OpeningMeasures) -> Table {
    let mut table = Table::new(["asked", "won", "ratio", "z"]);
    for group in &figures.groups {
        let fared = &group.fared;
        let asked = fared.asked.map_or("not known".to_owned(), |n| n.to_string());
        let is_flagged = fared.z.is_some_and(|z| z.abs() > FLAG_Z);
        let ratio = Cell { is_flagged, ..or_dash(fared.ratio).into() };
        let cells = [asked.into(), fared.won.to_string().into(), ratio, or_dash(fared.z).into()];
        table.row(format!("{} {}", group.kind, group.name), cells);
    }
    table
}

/// An instant to the second, in UTC.
fn instant(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..19).map_or(text.clone(), |text| format!("{} UTC", text.replace('T', " ")))
}

/// What was done, by whom and why, in a line.
fn done(action: &Action) -> String {
    match &action.signed {
        Some((operator, reason)) => format!("{}. {operator}: {reason}", action.words()),
        None => action.words(),
    }
}

/// What the opening is, in a line.
fn about(recorded: &RecordedOpening) -> String {
    let rules = &recorded.record.rules;
    let hold = rules.hold_ms.map_or("without holds".to_owned(), |ms| {
        format!("held for {}", Unit::Seconds.shown(ms as f64 / 1e3))
    });
    format!(
        "{}; {hold}; parties of at most {}; cancelled places {}, lapsed ones {}",
        rules.order.name(),
        rules.max_party,
        rules.cancelled.name(),
        rules.expired.name()
    )
}

/// What is not known, and why: titles by reason.
fn unknown(figures: &OpeningMeasures) -> Vec<(Vec<&'static str>, &'static str)> {
    let mut found: Vec<(Vec<&'static str>, &'static str)> = Vec::new();
    for figure in figures.figures.iter() {
        let Err(why) = figure.value else { continue };
        match found.iter_mut().find(|(_, there)| *there == why) {
            Some((titles, _)) => titles.push(figure.title),
            None => found.push((vec![figure.title], why)),
        }
    }
    if figures.groups.iter().all(|group| group.kind != "cohort") {
        let why = "the ledger holds no cohorts; a gateway log may name them";
        found.push((vec!["Cohorts (network, device, place)"], why));
    }
    found
}

/// The same in words.
fn not_known(figures: &OpeningMeasures) -> impl Iterator<Item = String> {
    unknown(figures).into_iter().map(|(titles, why)| format!("{}: {why}", titles.join(", ")))
}
