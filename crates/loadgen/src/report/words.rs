//! Verdicts in plain sentences, and the summary for a terminal.

use std::fmt::Write as _;

use giliran_report::digits;

use crate::{Ended, Forgeries, Latency, RunSummary};

/// `12.3 %`, or three digits that count.
pub(super) fn shown(value: f64, share: bool) -> String {
    if share { format!("{} %", digits(value * 100.0)) } else { digits(value) }
}

/// What the run says, sentence by sentence.
pub fn verdict(record: &RunSummary) -> Vec<String> {
    let mut said = Vec::new();
    ended(record, &mut said);
    promises(record, &mut said);
    forgeries(record, &mut said);
    places(record, &mut said);
    order(record, &mut said);
    scalpers(record, &mut said);
    payments(record, &mut said);
    cohorts(record, &mut said);
    latency(record, &mut said);
    said
}

fn ended(record: &RunSummary, said: &mut Vec<String>) {
    match record.ended {
        Ended::Complete => {}
        Ended::Interrupted { at_s } => said.push(format!(
            "It was interrupted at second {at_s:.0}: what follows is of those who had come until \
             then."
        )),
        Ended::EngineGone { at_s } => said.push(format!(
            "The engine stopped answering at second {at_s:.0}, and did not come back: what follows \
             is of what was answered until then."
        )),
    }
    if let Some(why) = &record.void {
        said.push(format!("Void: {why}."));
    }
    if let Some(seen) = &record.order_denied {
        said.push(format!(
            "The order is not the one that was announced: scalpers bought for {}, but {seen}. Name \
             the engine's own with --order.",
            announced(record)
        ));
    }
}

/// The order, as part of a sentence.
fn announced(record: &RunSummary) -> &str {
    if record.order == "draw" { "a draw" } else { &record.order }
}

fn promises(record: &RunSummary, said: &mut Vec<String>) {
    let twice = record.figure("numbers_twice").unwrap_or(0.0);
    said.push(if twice == 0.0 && record.second_answers == 0 {
        "By what clients were told, no queue number was given twice and no request was answered \
         twice."
            .to_owned()
    } else {
        format!(
            "Wrong: {twice:.0} queue numbers given twice, {} second answers.",
            record.second_answers
        )
    });
}

fn forgeries(record: &RunSummary, said: &mut Vec<String>) {
    let Forgeries { replays, replayed, forged, changed, looked } = record.forgeries;
    let wrong = |count: u64| if count > 0 { "Wrong: of" } else { "Of" };
    if replays > 0 {
        said.push(format!(
            "{} {replays} requests that were sent once more by others, {replayed} got another \
             booking than the first time.",
            wrong(replayed)
        ));
    }
    if forged > 0 {
        said.push(format!(
            "{} {forged} attempts to give back, move or look up other people's bookings, {changed} \
             changed or told one; the owners of {looked} looked afterwards.",
            wrong(changed)
        ));
    }
}

fn places(record: &RunSummary, said: &mut Vec<String>) {
    let left = record.series.last().and_then(|bin| bin.free);
    let left = left.map_or(String::new(), |left| format!("; {left} are free at the end"));
    let share = |part: u64| shown(part as f64 / record.people.max(1) as f64, true);
    let won: u64 = record.groups.iter().filter(|g| g.kind == "cohort").map(|g| g.won).sum();
    said.push(format!(
        "Of {} free places, {} were granted in {} bookings{left}. {} of the {} parties of people \
         have a place.",
        record.free_before,
        record.granted,
        record.bookings,
        share(won),
        record.people
    ));
    if record.entered > 0 {
        said.push(format!(
            "{} parties were entered into a draw; whoever has no place above was not drawn, or the \
             draw was not held while this run lasted.",
            record.entered
        ));
    }
}

fn order(record: &RunSummary, said: &mut Vec<String>) {
    if let Some(rate) = record.figure("inversion_rate") {
        let kind = match rate {
            r if r <= 0.01 => "as under pure first-come",
            r if (0.45..=0.55).contains(&r) => "as in a lottery",
            _ => "between first-come (0 %) and a lottery (50 %)",
        };
        said.push(format!(
            "Of two parties that wanted the same, the loser had come first in {} of the cases: \
             {kind}.",
            shown(rate, true)
        ));
    }
    if let (Some(first), Some(last)) = (record.deciles.first(), record.deciles.last()) {
        said.push(format!(
            "Of people with the fastest tenth of connections {} have a place, of the slowest tenth \
             {}.",
            shown(*first, true),
            shown(*last, true)
        ));
    }
}

fn scalpers(record: &RunSummary, said: &mut Vec<String>) {
    if let Some(share) = record.figure("scalper_share") {
        let scalpers: u64 =
            record.groups.iter().filter(|g| g.kind == "scalper").map(|g| g.applied).sum();
        let part = scalpers as f64 / (scalpers + record.people).max(1) as f64;
        said.push(format!(
            "Scalpers hold {} of the granted places; they are {} of those who asked, and bought \
             for {}.",
            shown(share, true),
            shown(part, true),
            announced(record)
        ));
    }
    if let Some(captured) = record.figure("recycle_capture") {
        said.push(format!(
            "Of the places that scalpers gave back to book them again for a client, they got {} \
             back.",
            shown(captured, true)
        ));
    }
}

fn payments(record: &RunSummary, said: &mut Vec<String>) {
    let payments = &record.payments;
    if payments.held == 0 {
        return;
    }
    let mut parts = vec![format!("{} were paid", payments.paid)];
    let mut part = |n: u64, what: &str| {
        if n > 0 {
            parts.push(format!("{n} {what}"));
        }
    };
    part(payments.refused, "payments were refused, as too late");
    part(payments.unanswered, "payments were not answered");
    part(payments.later, "were to be paid after the run had ended");
    part(payments.left, "were left to lapse");
    let mut text = format!("Of {} held bookings {}", payments.held, parts.join(", "));
    if payments.left > 0 {
        let _ = write!(text, ", of which {} were seen to have lapsed", payments.lapsed);
    }
    if payments.overdue > 0 {
        let _ = write!(text, " and {} were held seconds after their time", payments.overdue);
    }
    said.push(text + ".");
    if let Some(share) = record.figure("scalper_share_paid") {
        said.push(format!("Scalpers have {} of the places that were paid.", shown(share, true)));
    }
}

fn cohorts(record: &RunSummary, said: &mut Vec<String>) {
    let flagged = record.groups.iter().filter(|group| group.flagged);
    let flagged: Vec<String> = flagged
        .map(|group| {
            format!(
                "{} {} has {} times the average (z {:.1})",
                group.kind,
                group.name,
                digits(group.ratio.unwrap_or(0.0)),
                group.z.unwrap_or(0.0)
            )
        })
        .collect();
    if !flagged.is_empty() {
        said.push(format!("Not served evenly: {}.", flagged.join("; ")));
    } else if record.tested > 0 {
        said.push(format!(
            "No cohort, channel or device was served better than others beyond chance, at 1 % for \
             all {} tests together.",
            record.tested
        ));
    }
}

fn latency(record: &RunSummary, said: &mut Vec<String>) {
    if record.grants.count > 0 {
        said.push(format!(
            "Half of the grants were answered within {} ms, 99 % within {} ms of the moment their \
             request was due.",
            digits(record.grants.p50),
            digits(record.grants.p99)
        ));
    }
    if let Some(in_time) = record.figure("answered_in_time") {
        said.push(format!(
            "{} of the requests were settled while somebody was still waiting.",
            shown(in_time, true)
        ));
    }
}

/// The whole run for a terminal.
pub fn summary(record: &RunSummary) -> String {
    let mut text = format!(
        "Surge {} on opening {}: {} parties of people and {} identities of scalpers, seed {}, \
         {:.1} s\n\n",
        record.scenario,
        record.opening,
        record.people,
        record.attackers.iter().map(|(_, means)| means.identities).sum::<u64>(),
        record.seed,
        record.took_s
    );
    let _ = writeln!(
        text,
        "{} requests, {} answered: {} bookings told, {} entered; {} not heard, {} without answer \
         in time",
        record.requests,
        record.answered,
        record.bookings,
        record.entered,
        record.unheard,
        record.unanswered
    );
    for (reason, count) in &record.rejected {
        let _ = writeln!(text, "  {reason:<16} {count:>9}");
    }
    let _ = writeln!(
        text,
        "\n{:<26} {:>8} {:>8} {:>8} {:>8} {:>9}",
        "latency, ms", "p50", "p90", "p99", "p99.9", "of"
    );
    let mut line = |name: &str, l: &Latency| {
        let _ = writeln!(
            text,
            "  {name:<24} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>9}",
            l.p50, l.p90, l.p99, l.p999, l.count
        );
    };
    line("grants", &record.grants);
    line("refusals", &record.refusals);
    if record.confirmations.count > 0 {
        line("payments", &record.confirmations);
    }
    line("left late by", &record.lag);
    let _ = writeln!(
        text,
        "\n{:<32} {:>8} {:>8} {:>7} {:>7} {:>9} {:>12}",
        "who", "asked", "won", "ratio", "z", "in time", "felt p99, ms"
    );
    for group in record.groups.iter().filter(|group| group.applied > 0) {
        let float = |value: Option<f64>| value.map_or("–".to_owned(), digits);
        let _ = writeln!(
            text,
            "  {:<30} {:>8} {:>8} {:>7} {:>7} {:>9} {:>12}{}",
            format!("{} {}", group.kind, group.name),
            group.applied,
            group.won,
            float(group.ratio),
            float(group.z),
            group.in_time.map_or("–".to_owned(), |share| shown(share, true)),
            if group.felt.count > 0 { digits(group.felt.p99) } else { "–".to_owned() },
            if group.flagged { "  flagged" } else { "" }
        );
    }
    text.push('\n');
    for figure in &record.figures {
        if let Some(value) = figure.value {
            let _ = writeln!(text, "  {:<34} {:>10}", figure.title, shown(value, figure.share));
        }
    }
    text.push('\n');
    for sentence in verdict(record) {
        let _ = writeln!(text, "- {sentence}");
    }
    text
}
