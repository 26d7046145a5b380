//! What the figures say, sentence by sentence.

use giliran_report::{Unit, digits};
use giliran_wire::ledger::Order;

use super::{FLAG_Z, instant};
use crate::measures::OpeningMeasures;
use crate::recorded::{RecordedOpening, State};

/// What the figures say, sentence by sentence.
pub fn verdict(recorded: &RecordedOpening, figures: &OpeningMeasures) -> Vec<String> {
    let mut said = vec![standing(recorded)];
    places(figures, &mut said);
    rejections(figures, &mut said);
    if recorded.record.rules.order == Order::Draw {
        said.push("Whether the draw was held as promised, `giliran verify` recomputes.".into());
    }
    sources(figures, &mut said);
    accounts(figures, &mut said);
    came_back(figures, &mut said);
    groups(figures, &mut said);
    if let Ok(waste) = figures.of("waste") {
        said.push(format!("{} % of the places are without a booking.", digits(waste * 100.0)));
    }
    said
}

/// What state it is in, in a sentence.
fn standing(recorded: &RecordedOpening) -> String {
    let at = instant(recorded.tail.1);
    match recorded.state {
        State::Scheduled => format!("It has not opened yet, at {at}: there is nothing to judge."),
        State::Open => format!("PRELIMINARY: it is still open, at {at}; every figure may change."),
        State::Closed if !recorded.days_over() => format!(
            "It is closed; its days are not over, at {at}: places may still come back and be \
             taken again."
        ),
        State::Closed => format!("It is closed and its days are over, at {at}."),
    }
}

/// A number of things; 0 where it is not known.
fn count(figures: &OpeningMeasures, name: &str) -> f64 {
    figures.of(name).unwrap_or(0.0)
}

fn places(figures: &OpeningMeasures, said: &mut Vec<String>) {
    let count = |name| count(figures, name);
    said.push(match count("oversold") {
        n if n > 0.0 => format!("Wrong: {n:.0} places were taken beyond what a slot had."),
        _ => format!(
            "{:.0} places, {:.0} granted, {:.0} taken at the end: no place was oversold, at any \
             point of the ledger.",
            count("quota"),
            count("granted"),
            count("live")
        ),
    });
    let (halted, reserved) = (count("halted"), count("reserved"));
    if halted > 0.0 || reserved > 0.0 {
        said.push(format!(
            "{halted:.0} places without a booking were in halted slots and {reserved:.0} were \
             reserved, at the end: nobody could have had them."
        ));
    }
}

fn rejections(figures: &OpeningMeasures, said: &mut Vec<String>) {
    said.push(match (figures.of("undersold"), figures.of("unclear")) {
        (Err(_), _) => "Whether anybody was rejected beside a free place cannot be judged: the \
                        ledger holds no rejection counts, and there is no gateway log."
            .into(),
        (Ok(n), _) if n > 0.0 => {
            format!("Wrong: {n:.0} requests were rejected beside free places.")
        }
        (_, Ok(unclear)) if unclear > 0.0 => format!(
            "No rejection is known to have been beside a free place; {unclear:.0} cannot be judged."
        ),
        _ => "No rejection is known to have been beside a free place.".into(),
    });
}

/// Where gateway log and metrics do not fit the ledger.
fn sources(figures: &OpeningMeasures, said: &mut Vec<String>) {
    if figures.missing > 0 {
        said.push(format!(
            "Wrong: {} answers in the gateway log tell of bookings that the ledger does not hold.",
            figures.missing
        ));
    }
    if let (Ok(counted), Ok(booked)) = (figures.of("metered_grants"), figures.of("bookings"))
        && counted < booked
    {
        said.push(format!(
            "The metrics tell of {counted:.0} grants, the ledger of {booked:.0}: the page of an \
             engine is missing, or one was started anew. Figures from the metrics are of the rest \
             alone."
        ));
    }
}

fn accounts(figures: &OpeningMeasures, said: &mut Vec<String>) {
    if let (Ok(accounts), Ok(top), Ok(largest)) =
        (figures.of("accounts"), figures.of("top_ten"), figures.of("largest"))
    {
        said.push(format!(
            "{accounts:.0} accounts hold places; the ten largest {} % of them, the largest \
             {largest:.0} places. Who stands behind an account the ledger does not know.",
            digits(top * 100.0)
        ));
    }
}

fn came_back(figures: &OpeningMeasures, said: &mut Vec<String>) {
    let came = count(figures, "came_back");
    if came <= 0.0 {
        return;
    }
    let again = figures.of("to_regrant_s").map_or(String::new(), |seconds| {
        format!(", half of them within {}", Unit::Seconds.shown(seconds))
    });
    let regranted = count(figures, "regranted");
    said.push(format!("{came:.0} places came back, {regranted:.0} were taken again{again}."));
    if let Some(share) = figures.of("recapture").ok().filter(|share| *share > 0.0) {
        said.push(format!(
            "{} % of the released places went to the account that had given them back.",
            digits(share * 100.0)
        ));
    }
}

fn groups(figures: &OpeningMeasures, said: &mut Vec<String>) {
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
}
