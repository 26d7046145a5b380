//! Who lost, when they asked and what they were told: by a gateway's log, or as far
//! as the entries of a draw tell.

use std::collections::HashMap;

use super::super::gateway::{Asker, Gateway};
use super::super::read::Recorded;
use super::{Figure, NO_LOG, NO_PAIR, NO_ROUND_TRIPS, NOT_SAID, Unit, add};
use crate::fairness::measures::{Arrival, inversion_rate, share};

const NO_FAMILIES: &str = "no families, or no single winner";

/// What the ledger alone does not show, but of a draw, whose entries it holds.
pub(super) fn seen(recorded: &Recorded, gateway: Option<&Gateway>, into: &mut Vec<Figure>) {
    // Who wanted the same: the same slots, in whatever order, for as many people.
    let mut wishes: HashMap<(Vec<u32>, u32), u64> = HashMap::new();
    let mut wish = |mut slots: Vec<u32>, size: u32| {
        slots.sort_unstable();
        slots.dedup();
        let next = wishes.len() as u64;
        (!slots.is_empty()).then(|| *wishes.entry((slots, size)).or_insert(next))
    };
    let askers = || gateway.iter().flat_map(|gateway| &gateway.askers);
    let arrivals: Vec<Arrival> = match (gateway, recorded.drawn()) {
        (Some(gateway), _) => askers()
            .filter(|asker| !gateway.barred(asker))
            .filter_map(|asker| {
                let line = gateway.first(asker);
                let slots = line.choices.iter().flat_map(|choice| choice.slots(&recorded.record));
                let at = asker.asked_us.unwrap_or(asker.sent_us) as i64;
                let group = wish(slots.collect(), line.size())?;
                Some(Arrival { group, at, won: asker.booking.is_some() })
            })
            .collect(),
        (None, Some(entries)) => entries
            .filter_map(|(at, entry, won)| {
                let group = wish(entry.slots.clone(), entry.applicants.len() as u32)?;
                Some(Arrival { group, at: at.as_millis(), won })
            })
            .collect(),
        (None, None) => Vec::new(),
    };
    let without = |why| if gateway.is_none() { NO_LOG } else { why };
    let choices = if arrivals.is_empty() { without(NOT_SAID) } else { NO_PAIR };
    add(
        into,
        "inversion",
        "Inversion rate",
        Unit::Share,
        inversion_rate(arrivals).ok_or(choices),
        "Pairs that wanted the same slots for as many people, of whom one won, in which the loser \
         asked an open engine first: 0 is pure first-come, 50 % a lottery. Who was refused for \
         another reason than places is left out.",
    );
    let winners: Vec<&Asker> = askers().filter(|asker| asker.booking.is_some()).collect();
    let first = winners.iter().filter_map(|asker| {
        let choice = gateway?.first(asker).choices.first()?;
        let slot = recorded.bookings.get(asker.booking?)?.grant.slot;
        Some(choice.slots(&recorded.record).any(|fits| fits == slot))
    });
    let first: Vec<bool> = first.collect();
    add(
        into,
        "first_choice",
        "First choice",
        Unit::Share,
        share(first.iter().filter(|f| **f).count() as u64, first.len() as u64)
            .ok_or(without(NOT_SAID)),
        "Winners who got what they named first.",
    );
    let mut waits: Vec<f64> = winners
        .iter()
        .filter_map(|asker| Some(asker.told_us?.checked_sub(asker.sent_us)? as f64 / 1e6))
        .filter(|wait| *wait < 1e12)
        .collect();
    waits.sort_unstable_by(f64::total_cmp);
    add(
        into,
        "wait_s",
        "Wait",
        Unit::Seconds,
        quantile(&waits, 0.5).ok_or(without(NOT_SAID)),
        "Median time from a winner's first request to the answer.",
    );
    add(
        into,
        "wait_p99_s",
        "Wait, p99",
        Unit::Seconds,
        quantile(&waits, 0.99).ok_or(without(NOT_SAID)),
        "99 in 100 winners had their answer by then.",
    );
    let answered = gateway.and_then(|gateway| {
        let answered = gateway.lines.iter().filter(|l| l.answered_us.is_some()).count();
        share(answered as u64, gateway.lines.len() as u64)
    });
    add(
        into,
        "answered",
        "Answered",
        Unit::Share,
        answered.ok_or(NO_LOG),
        "Requests that got an answer.",
    );
    let mut replies: Vec<f64> = gateway
        .iter()
        .flat_map(|gateway| &gateway.lines)
        .filter_map(|line| Some(line.answered_us?.checked_sub(line.sent_us)? as f64 / 1e6))
        .collect();
    replies.sort_unstable_by(f64::total_cmp);
    add(
        into,
        "reply_p50_s",
        "Reply, p50",
        Unit::Seconds,
        quantile(&replies, 0.5).ok_or(without(NOT_SAID)),
        "Half of the requests that got an answer had it within.",
    );
    add(
        into,
        "reply_p99_s",
        "Reply, p99",
        Unit::Seconds,
        quantile(&replies, 0.99).ok_or(without(NOT_SAID)),
        "99 in 100 of them had it within.",
    );
    let parties: Vec<(bool, bool)> = match (gateway, recorded.drawn()) {
        (Some(gateway), _) => {
            let big = |asker: &Asker| gateway.first(asker).size() > 1;
            askers().map(|asker| (big(asker), asker.booking.is_some())).collect()
        }
        (None, Some(entries)) => {
            entries.map(|(_, entry, won)| (entry.applicants.len() > 1, won)).collect()
        }
        (None, None) => Vec::new(),
    };
    let rate = |big: bool| {
        let of = || parties.iter().filter(move |(is, _)| *is == big);
        share(of().filter(|(_, won)| *won).count() as u64, of().count() as u64)
    };
    let families = rate(true).zip(rate(false).filter(|r| *r > 0.0)).map(|(f, s)| f / s);
    add(
        into,
        "families",
        "Families",
        Unit::Ratio,
        families.ok_or(if parties.is_empty() { without(NO_FAMILIES) } else { NO_FAMILIES }),
        "Success of parties of two and more over that of single people.",
    );
    add(
        into,
        "speed",
        "Premium of speed",
        Unit::Ratio,
        Err(NO_ROUND_TRIPS),
        "Whether a fast connection buys places.",
    );
}

pub(super) fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}
