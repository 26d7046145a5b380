//! Who lost, when they asked and what they were told: by a gateway's log, or as far
//! as the entries of a draw tell.

use std::collections::HashMap;

use giliran_fairness::measures::{Arrival, inversion_rate, share};
use giliran_report::{Figures, Text, text};
use giliran_wire::Timestamp;
use giliran_wire::ledger::DrawEntryRecord;

use super::{NO_LOG, NO_PAIR, NO_ROUND_TRIPS, NOT_SAID, words};
use crate::gateway_log::{Asker, Gateway};
use crate::recorded::RecordedOpening;

const NO_FAMILIES: Text = text!(
    "no families, or no single winner"
        | "tidak ada keluarga, atau tidak ada perorangan yang berhasil"
);

const NOBODY_ASKED: Text = text!("nobody asked" | "tidak ada yang meminta");

/// A party that asked.
struct Asked {
    /// When, on whichever clock the source has.
    at: i64,
    /// The same for all who wanted the same: the same slots, in whatever order, for as
    /// many people. None: it is not said.
    wish: Option<u64>,
    size: u32,
    won: bool,
    /// No order could have served it.
    barred: bool,
}

/// Those who asked: by the gateway's log, else as far as a draw's entries tell.
fn asked(recorded: &RecordedOpening, gateway: Option<&Gateway>) -> Vec<Asked> {
    let mut wishes: HashMap<(Vec<u32>, u32), u64> = HashMap::new();
    let mut wish = |mut slots: Vec<u32>, size: u32| {
        slots.sort_unstable();
        slots.dedup();
        let next = wishes.len() as u64;
        (!slots.is_empty()).then(|| *wishes.entry((slots, size)).or_insert(next))
    };
    if let Some(gateway) = gateway {
        let of = |asker: &Asker| {
            let (line, record) = (gateway.first(asker), &recorded.record);
            let slots = line.choices.iter().flat_map(|choice| choice.slots(record)).collect();
            Asked {
                at: asker.asked_us.unwrap_or(asker.sent_us) as i64,
                wish: wish(slots, line.size()),
                size: line.size(),
                won: asker.booking.is_some(),
                barred: gateway.barred(asker),
            }
        };
        return gateway.askers.iter().map(of).collect();
    }
    let entries = recorded.drawn().into_iter().flatten();
    let of = |(at, entry, won): (Timestamp, &DrawEntryRecord, bool)| {
        let size = entry.applicants.len() as u32;
        let wish = wish(entry.slots.clone(), size);
        Asked { at: at.as_millis(), wish, size, won, barred: false }
    };
    entries.map(of).collect()
}

/// What the ledger alone does not show, but of a draw, whose entries it holds.
pub(super) fn seen(recorded: &RecordedOpening, gateway: Option<&Gateway>, into: &mut Figures) {
    let parties = asked(recorded, gateway);
    let servable = parties.iter().filter(|party| !party.barred);
    let arrivals: Vec<Arrival> = servable
        .filter_map(|party| Some(Arrival { group: party.wish?, at: party.at, won: party.won }))
        .collect();
    let askers = || gateway.iter().flat_map(|gateway| &gateway.askers);
    let without = |why| if gateway.is_none() { NO_LOG } else { why };
    let choices = if arrivals.is_empty() { without(NOT_SAID) } else { NO_PAIR };
    words::share(into, "inversion", inversion_rate(arrivals).ok_or(choices));
    let won = parties.iter().filter(|party| party.won).count() as u64;
    let chance = share(won, parties.len() as u64).ok_or(without(NOBODY_ASKED));
    words::share(into, "chance", chance);
    let winners: Vec<&Asker> = askers().filter(|asker| asker.booking.is_some()).collect();
    let first = winners.iter().filter_map(|asker| {
        let choice = gateway?.first(asker).choices.first()?;
        let slot = recorded.bookings.get(asker.booking?)?.grant.slot;
        Some(choice.slots(&recorded.record).any(|fits| fits == slot))
    });
    let first: Vec<bool> = first.collect();
    words::share(
        into,
        "first_choice",
        share(first.iter().filter(|f| **f).count() as u64, first.len() as u64)
            .ok_or(without(NOT_SAID)),
    );
    let mut waits: Vec<f64> = winners
        .iter()
        .filter_map(|asker| Some(asker.answered_us?.checked_sub(asker.sent_us)? as f64 / 1e6))
        .filter(|wait| *wait < 1e12)
        .collect();
    waits.sort_unstable_by(f64::total_cmp);
    words::seconds(into, "wait_s", quantile(&waits, 0.5).ok_or(without(NOT_SAID)));
    words::seconds(into, "wait_p99_s", quantile(&waits, 0.99).ok_or(without(NOT_SAID)));
    let answered = gateway.and_then(|gateway| {
        let answered = gateway.lines.iter().filter(|l| l.answered_us.is_some()).count();
        share(answered as u64, gateway.lines.len() as u64)
    });
    words::share(into, "answered", answered.ok_or(NO_LOG));
    let mut replies: Vec<f64> = gateway
        .iter()
        .flat_map(|gateway| &gateway.lines)
        .filter_map(|line| Some(line.answered_us?.checked_sub(line.sent_us)? as f64 / 1e6))
        .collect();
    replies.sort_unstable_by(f64::total_cmp);
    words::seconds(into, "reply_p50_s", quantile(&replies, 0.5).ok_or(without(NOT_SAID)));
    words::seconds(into, "reply_p99_s", quantile(&replies, 0.99).ok_or(without(NOT_SAID)));
    let rate = |big: bool| {
        let of = || parties.iter().filter(move |party| (party.size > 1) == big);
        share(of().filter(|party| party.won).count() as u64, of().count() as u64)
    };
    let families = rate(true).zip(rate(false).filter(|r| *r > 0.0)).map(|(f, s)| f / s);
    words::ratio(
        into,
        "families",
        families.ok_or(if parties.is_empty() { without(NO_FAMILIES) } else { NO_FAMILIES }),
    );
    words::ratio(into, "speed", Err(NO_ROUND_TRIPS));
}

pub(super) fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}
