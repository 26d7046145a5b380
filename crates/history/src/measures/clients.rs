//! Who lost, when they asked and what they were told: by a gateway's log, or as far
//! as the entries of a draw tell.

use std::collections::HashMap;

use giliran_fairness::measures::{Arrival, inversion_rate, share};
use giliran_report::{Figures, Text, text};
use giliran_wire::Timestamp;
use giliran_wire::ledger::DrawEntryRecord;

use super::{NO_LOG, NO_PAIR, NO_ROUND_TRIPS, NOT_SAID};
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
    into.share("inversion", text!("Overtaken: the loser came first" | "Didahului: yang kalah datang lebih dulu"), inversion_rate(arrivals).ok_or(choices)).about(text!("Pairs that wanted the same slots for as many people, of whom one won, in which the loser \
         asked an open engine first: 0 is pure first-come, 50 % a lottery. Who was rejected for \
         another reason than places is left out." | "Pasangan yang menginginkan sesi yang sama untuk orang sama banyak, yang satu berhasil, dan yang kalah meminta lebih dulu pada mesin yang sudah dibuka: 0 berarti murni urutan kedatangan, 50 % berarti lotre. Yang ditolak karena alasan lain tidak dihitung."));
    let won = parties.iter().filter(|party| party.won).count() as u64;
    let chance = share(won, parties.len() as u64).ok_or(without(NOBODY_ASKED));
    into.share("chance", text!("A party's chance" | "Peluang sebuah rombongan"), chance).about(text!(
        "Parties that got a place, of all that asked; scalpers among them, whom nobody here can \
         tell apart."
            | "Rombongan yang mendapat tempat, dari semua yang meminta; termasuk calo, yang tidak dapat \
               dibedakan di sini."
    ));
    let winners: Vec<&Asker> = askers().filter(|asker| asker.booking.is_some()).collect();
    let first = winners.iter().filter_map(|asker| {
        let choice = gateway?.first(asker).choices.first()?;
        let slot = recorded.bookings.get(asker.booking?)?.grant.slot;
        Some(choice.slots(&recorded.record).any(|fits| fits == slot))
    });
    let first: Vec<bool> = first.collect();
    into.share(
        "first_choice",
        text!("First choice" | "Pilihan pertama"),
        share(first.iter().filter(|f| **f).count() as u64, first.len() as u64)
            .ok_or(without(NOT_SAID)),
    )
    .about(text!(
        "Winners who got what they named first."
            | "Pemenang yang mendapat pilihan yang disebut pertama."
    ));
    let mut waits: Vec<f64> = winners
        .iter()
        .filter_map(|asker| Some(asker.answered_us?.checked_sub(asker.sent_us)? as f64 / 1e6))
        .filter(|wait| *wait < 1e12)
        .collect();
    waits.sort_unstable_by(f64::total_cmp);
    into.seconds(
        "wait_s",
        text!("Wait for the result" | "Menunggu hasil"),
        quantile(&waits, 0.5).ok_or(without(NOT_SAID)),
    )
    .about(text!(
        "Median time from a winner's first request to the answer."
            | "Median waktu dari permintaan pertama seorang pemenang sampai jawabannya."
    ));
    into.seconds(
        "wait_p99_s",
        text!("99 % waited at most" | "99 % menunggu paling lama"),
        quantile(&waits, 0.99).ok_or(without(NOT_SAID)),
    )
    .about(text!(
        "99 in 100 winners had their answer by then."
            | "99 dari 100 pemenang sudah mendapat jawabannya."
    ));
    let answered = gateway.and_then(|gateway| {
        let answered = gateway.lines.iter().filter(|l| l.answered_us.is_some()).count();
        share(answered as u64, gateway.lines.len() as u64)
    });
    into.share("answered", text!("Answered" | "Dijawab"), answered.ok_or(NO_LOG))
        .about(text!("Requests that got an answer." | "Permintaan yang mendapat jawaban."));
    let mut replies: Vec<f64> = gateway
        .iter()
        .flat_map(|gateway| &gateway.lines)
        .filter_map(|line| Some(line.answered_us?.checked_sub(line.sent_us)? as f64 / 1e6))
        .collect();
    replies.sort_unstable_by(f64::total_cmp);
    into.seconds(
        "reply_p50_s",
        text!("Half were answered within" | "Separuh dijawab dalam"),
        quantile(&replies, 0.5).ok_or(without(NOT_SAID)),
    )
    .about(text!(
        "Half of the requests that got an answer had it within."
            | "Separuh permintaan yang dijawab mendapat jawabannya dalam waktu ini."
    ));
    into.seconds(
        "reply_p99_s",
        text!("99 % were answered within" | "99 % dijawab dalam"),
        quantile(&replies, 0.99).ok_or(without(NOT_SAID)),
    )
    .about(text!("99 in 100 of them had it within." | "99 dari 100 mendapatnya dalam waktu ini."));
    let rate = |big: bool| {
        let of = || parties.iter().filter(move |party| (party.size > 1) == big);
        share(of().filter(|party| party.won).count() as u64, of().count() as u64)
    };
    let families = rate(true).zip(rate(false).filter(|r| *r > 0.0)).map(|(f, s)| f / s);
    into.ratio(
        "families",
        text!("Families against single people" | "Keluarga dibanding perorangan"),
        families.ok_or(if parties.is_empty() { without(NO_FAMILIES) } else { NO_FAMILIES }),
    )
    .about(text!(
        "Success of parties of two and more over that of single people."
            | "Keberhasilan rombongan dua orang atau lebih dibagi keberhasilan perorangan."
    ));
    into.ratio(
        "speed",
        text!("Premium of speed" | "Keuntungan dari kecepatan"),
        Err(NO_ROUND_TRIPS),
    )
    .about(text!(
        "Whether a fast connection buys places." | "Apakah koneksi cepat membeli tempat."
    ));
}

pub(super) fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}
