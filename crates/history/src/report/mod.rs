//! What is known of an opening that took place, and what is not: as words and
//! tables for a terminal, one HTML file that needs no network, JSON, and tidy CSV.

mod csv;
mod html;
mod json;
mod table;

use giliran_report::digits;
use giliran_wire::Timestamp;
use giliran_wire::ledger::Order;
use giliran_wire::ledger::journal::Action;

use crate::measures::{Figure, OpeningMeasures, Unit};
use crate::reader::{RecordedOpening, State};

pub use csv::tables;
pub use html::html;
pub use json::json;
pub use table::table;

/// |z| from which a group is flagged.
const FLAG_Z: f64 = giliran_fairness::measures::FLAG_Z;

/// A figure as people read it.
fn shown(figure: &Figure, value: f64) -> String {
    match figure.unit {
        Unit::Count => format!("{value:.0}"),
        Unit::Share => format!("{} %", digits(value * 100.0)),
        Unit::Ratio => digits(value),
        Unit::Seconds => duration(value),
    }
}

/// Seconds as people read them.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s > 0.0 && s < 0.1 => format!("{} ms", digits(s * 1e3)),
        s if s < 120.0 => format!("{} s", digits(s)),
        s if s < 7_200.0 => format!("{} min", digits(s / 60.0)),
        s if s < 172_800.0 => format!("{} h", digits(s / 3_600.0)),
        s => format!("{} days", digits(s / 86_400.0)),
    }
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
    let hold = rules
        .hold_ms
        .map_or("without holds".to_owned(), |ms| format!("held for {}", duration(ms as f64 / 1e3)));
    format!(
        "{}; {hold}; parties of at most {}; cancelled places {}, lapsed ones {}",
        rules.order.name(),
        rules.max_party,
        rules.cancelled.name(),
        rules.expired.name()
    )
}

/// What holds it has, in a sentence.
fn standing(recorded: &RecordedOpening) -> String {
    let at = instant(recorded.tail.1);
    match recorded.state {
        State::Scheduled => format!("It has not opened yet, at {at}: there is nothing to judge."),
        State::Open => format!("PRELIMINARY: it is still open, at {at}; every figure may change."),
        State::Closed if !recorded.days_over() => format!(
            "It is closed; its days are not over, at {at}: places may still come back and be had \
             again."
        ),
        State::Closed => format!("It is closed and its days are over, at {at}."),
    }
}

/// What the figures say, sentence by sentence.
pub fn verdict(recorded: &RecordedOpening, figures: &OpeningMeasures) -> Vec<String> {
    let known = |name| figures.of(name).ok();
    let count = |name| known(name).unwrap_or(0.0);
    let mut said = vec![standing(recorded)];
    said.push(match known("oversold") {
        Some(n) if n > 0.0 => format!("Wrong: {n:.0} places were taken beyond what a slot had."),
        _ => format!(
            "{:.0} places, {:.0} granted, {:.0} taken at the end: no place was oversold, at any \
             point of the ledger.",
            count("quota"),
            count("granted"),
            count("live")
        ),
    });
    let shut = (count("halted"), count("reserved"));
    if shut.0 > 0.0 || shut.1 > 0.0 {
        said.push(format!(
            "{:.0} places without a booking were in halted slots and {:.0} were reserved, at the \
             end: nobody could have had them.",
            shut.0, shut.1
        ));
    }
    said.push(match (known("undersold"), known("unclear")) {
        (None, _) => {
            "Whether anybody was refused beside a free place cannot be judged: the ledger \
                      holds no refusal counts, and there is no gateway log."
                .into()
        }
        (Some(n), _) if n > 0.0 => {
            format!("Wrong: {n:.0} requests were refused beside free places.")
        }
        (_, Some(unclear)) if unclear > 0.0 => format!(
            "No refusal is known to have been beside a free place; {unclear:.0} cannot be judged."
        ),
        _ => "No refusal is known to have been beside a free place.".into(),
    });
    if recorded.record.rules.order == Order::Draw {
        said.push("Whether the draw was held as promised, `giliran verify` recomputes.".into());
    }
    if figures.missing > 0 {
        said.push(format!(
            "Wrong: {} answers in the gateway log tell of bookings that the ledger does not hold.",
            figures.missing
        ));
    }
    if let (Some(counted), Some(booked)) = (known("metered_grants"), known("bookings"))
        && counted < booked
    {
        said.push(format!(
            "The metrics tell of {counted:.0} grants, the ledger of {booked:.0}: the page of an \
             engine is missing, or one was started anew. Figures from the metrics are of the rest \
             alone."
        ));
    }
    if let (Some(accounts), Some(top), Some(largest)) =
        (known("accounts"), known("top_ten"), known("largest"))
    {
        said.push(format!(
            "{accounts:.0} accounts hold places; the ten largest {} % of them, the largest \
             {largest:.0} places. Who stands behind an account the ledger does not know.",
            digits(top * 100.0)
        ));
    }
    if count("came_back") > 0.0 {
        let again = known("to_regrant_s")
            .map_or(String::new(), |s| format!(", half of them within {}", duration(s)));
        said.push(format!(
            "{:.0} places came back, {:.0} were had again{again}.",
            count("came_back"),
            count("regranted"),
        ));
        if let Some(share) = known("recapture").filter(|share| *share > 0.0) {
            said.push(format!(
                "{} % of the released places went to the account that had given them back.",
                digits(share * 100.0)
            ));
        }
    }
    for group in &figures.groups {
        if let (Some(z), Some(ratio)) = (group.fared.z, group.fared.ratio)
            && z.abs() > FLAG_Z
        {
            said.push(format!(
                "The {} {} had {} times the usual success, {} standard deviations from an even hand.",
                group.kind,
                group.name,
                digits(ratio),
                digits(z.abs())
            ));
        }
    }
    if let Some(waste) = known("waste") {
        said.push(format!("{} % of the places are without a booking.", digits(waste * 100.0)));
    }
    said
}

/// What is not known, and why: titles by reason.
fn unknown(figures: &OpeningMeasures) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut found: Vec<(&'static str, Vec<&'static str>)> = Vec::new();
    for figure in &figures.figures {
        let Err(why) = figure.value else { continue };
        match found.iter_mut().find(|(there, _)| *there == why) {
            Some((_, titles)) => titles.push(figure.title),
            None => found.push((why, vec![figure.title])),
        }
    }
    if figures.groups.iter().all(|group| group.kind != "cohort") {
        let why = "the ledger holds no cohorts; a gateway log may name them";
        found.push((why, vec!["Cohorts (network, device, place)"]));
    }
    found
}
