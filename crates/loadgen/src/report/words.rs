//! Verdicts in plain sentences.

use std::fmt::Write as _;

use giliran_report::digits;

use super::percent;
use crate::{Ended, Forgeries, RunSummary};

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
    let share = |part: u64| percent(part as f64 / record.people.max(1) as f64);
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
            percent(rate)
        ));
    }
    if let (Some(first), Some(last)) = (record.deciles.first(), record.deciles.last()) {
        said.push(format!(
            "Of people with the fastest tenth of connections {} have a place, of the slowest tenth \
             {}.",
            percent(*first),
            percent(*last)
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
            percent(share),
            percent(part),
            announced(record)
        ));
    }
    if let Some(captured) = record.figure("recycle_capture") {
        said.push(format!(
            "Of the places that scalpers gave back to book them again for a client, they got {} \
             back.",
            percent(captured)
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
    part(payments.rejected, "payments were rejected, as too late");
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
        said.push(format!("Scalpers have {} of the places that were paid.", percent(share)));
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
            percent(in_time)
        ));
    }
}
