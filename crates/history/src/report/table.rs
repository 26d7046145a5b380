//! The report for a terminal.

use std::fmt::Write as _;

use giliran_report::digits;

use super::{FLAG_Z, about, done, instant, shown, unknown, verdict};
use crate::{OpeningMeasures, RecordedOpening};

/// The whole report as text.
pub fn table(recorded: &RecordedOpening, figures: &OpeningMeasures) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "Opening {}: {}", recorded.record.id, about(recorded));
    let times = [("opened", recorded.opened), ("closed", recorded.closed)];
    for (what, at) in times {
        let _ = writeln!(out, "{what:<8} {}", at.map_or("not yet".to_owned(), instant));
    }
    let (seq, time, hash) = recorded.tail;
    let _ = writeln!(
        out,
        "ledger   {} to sequence {seq}, {}, block {hash}",
        recorded.ledger,
        instant(time)
    );
    out.push('\n');
    for sentence in verdict(recorded, figures) {
        let _ = writeln!(out, "- {sentence}");
    }
    let widest = figures.figures.iter().map(|f| f.title.chars().count()).max().unwrap_or(0);
    out.push('\n');
    for figure in &figures.figures {
        if let Ok(value) = figure.value {
            let _ = writeln!(out, "{:<widest$}  {:>12}", figure.title, shown(figure, value));
        }
    }
    groups(figures, &mut out);
    if let Some(refusals) = figures.refusals.as_ref().filter(|refusals| !refusals.is_empty()) {
        let _ = writeln!(out, "\nRefusals");
        for (reason, n) in refusals {
            let _ = writeln!(out, "{reason:<widest$}  {n:>12}");
        }
    }
    if !recorded.actions.is_empty() {
        let _ = writeln!(out, "\nWhat was done to it");
        for action in &recorded.actions {
            let _ = writeln!(out, "{}  {}", instant(action.time), done(action));
        }
    }
    let _ = writeln!(out, "\nNot known");
    for (why, titles) in unknown(figures) {
        let _ = writeln!(out, "- {}: {why}", titles.join(", "));
    }
    out
}

fn groups(figures: &OpeningMeasures, out: &mut String) {
    if figures.groups.is_empty() {
        return;
    }
    let name = |i: usize| format!("{} {}", figures.groups[i].kind, figures.groups[i].name);
    let names: Vec<String> = (0..figures.groups.len()).map(name).collect();
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(20);
    let _ = writeln!(out, "\nWho asked: {}", figures.answered.about());
    let _ =
        writeln!(out, "{:<widest$}  {:>10} {:>10} {:>10} {:>8}", "", "asked", "won", "ratio", "z");
    for (name, group) in names.iter().zip(&figures.groups) {
        let fared = &group.fared;
        let count = |n: Option<u64>| n.map_or("not known".to_owned(), |n| n.to_string());
        let float = |x: Option<f64>| x.map_or("–".to_owned(), digits);
        let flag = if fared.z.is_some_and(|z| z.abs() > FLAG_Z) { " !" } else { "" };
        let _ = writeln!(
            out,
            "{name:<widest$}  {:>10} {:>10} {:>10} {:>8}{flag}",
            count(fared.asked),
            fared.won,
            float(fared.ratio),
            float(fared.z)
        );
    }
}
