//! Measures of an opening that took place.

mod chart;
mod clients;
mod service;
mod words;

use std::collections::BTreeMap;

use chart::{chart, rush};
use clients::{quantile, seen};
use giliran_fairness::measures::{CohortRatio, cohort_ratio, concentration, gini, share};
use giliran_report::{Figures, Known, Text, text};
use giliran_verify::statement::{Cause, Places, Room};
use giliran_wire::Timestamp;
use giliran_wire::answer::Reason;
use service::service;

use crate::gateway_log::Gateway;
use crate::metrics_page::Metrics;
use crate::recorded::{RecordedOpening, Return, State};

/// How many of the largest accounts are looked at together.
const LARGEST: usize = 10;

/// Why something cannot be known.
const NO_LOG: Text = text!(
    "no gateway log: the ledger does not hold who was rejected, nor when anybody asked"
        | "tanpa catatan gerbang: buku catatan tidak memuat siapa yang ditolak, atau kapan orang meminta"
);
const NO_REJECTIONS: Text = text!(
    "neither rejection counts in the ledger nor a gateway log"
        | "tidak ada hitungan penolakan dalam buku catatan, dan tidak ada catatan gerbang"
);
const NO_ROUND_TRIPS: Text = text!(
    "round trips are not measured; neither ledger nor log holds them"
        | "waktu tempuh tidak diukur; buku catatan dan catatan gerbang tidak memuatnya"
);
const NO_IDENTITIES: Text = text!(
    "the ledger holds accounts under pseudonym; who is a scalper it cannot know"
        | "buku catatan memuat akun dengan nama samaran; siapa yang calo tidak dapat diketahuinya"
);
const NO_SHOWS: Text =
    text!("who came is known at the office alone" | "siapa yang datang hanya diketahui di kantor");
const NO_ACCOUNTS: Text = text!("requests named no account" | "permintaan tidak menyebut akun");
const NONE_BACK: Text = text!("no place came back" | "tidak ada tempat yang kembali");
const NONE_RELEASED: Text =
    text!("no place that came back was released yet" | "belum ada tempat kembali yang dibuka lagi");
const NONE_TAKEN: Text =
    text!("no returned place was booked again" | "tidak ada tempat kembali yang dipesan lagi");
const NOBODY: Text = text!("nobody got a place" | "tidak ada yang mendapat tempat");
const NO_PAIR: Text = text!(
    "no two who wanted the same, of whom one won"
        | "tidak ada dua peminta dengan keinginan sama yang salah satunya berhasil"
);
const NOT_SAID: Text =
    text!("the gateway log does not say it" | "catatan gerbang tidak menyebutnya");
const DRAWS_ONLY: Text = text!("nobody entered" | "tidak ada yang mendaftar");

/// How those of a group fared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupShare {
    /// Requests or parties; none: not known.
    pub asked: Option<u64>,
    /// Of them with a booking.
    pub won: u64,
    /// Against all; none: there is nothing to compare with.
    pub ratio: Option<f64>,
    /// Standard deviations from an even hand; none: not known, or what was counted
    /// is requests and not parties.
    pub z: Option<f64>,
}

/// A group of those who asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// `channel`, `cohort` or `party of`.
    pub kind: &'static str,
    pub name: String,
    pub fared: GroupShare,
}

/// What the askers are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountBasis {
    /// Parties, by a gateway log.
    Parties,
    /// Parties, by the entries of the opening's draw.
    Entries,
    /// Requests, by the ledger's rejection counts: one who tries thrice counts thrice.
    Requests,
    Winners,
}

impl CountBasis {
    pub const fn about(self) -> Text {
        match self {
            Self::Parties => {
                text!("parties, by the gateway log" | "rombongan, menurut catatan gerbang")
            }
            Self::Entries => text!(
                "parties, by the entries of the draw; who came after its close is not among them"
                    | "rombongan, menurut pendaftaran undian; yang datang setelah ditutup tidak termasuk"
            ),
            Self::Requests => text!(
                "requests, by the ledger's rejection counts: who tries three times counts three \
                 times, so no test of chance is made"
                    | "permintaan, menurut hitungan penolakan dalam buku catatan: yang mencoba tiga \
                       kali dihitung tiga kali, maka kebetulan tidak diuji"
            ),
            Self::Winners => text!(
                "winners alone: those who were rejected are not known"
                    | "hanya yang berhasil: yang ditolak tidak diketahui"
            ),
        }
    }
}

/// What happened when, in steps from the opening on.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    pub from: Timestamp,
    /// Width of a step, ms.
    pub step_ms: i64,
    /// Places granted in each.
    pub granted: Vec<u64>,
    /// Places that came back in each.
    pub returned: Vec<u64>,
    /// Free places at the end of each.
    pub free: Vec<i64>,
    /// Width of a step of `rejected`, ms: rejections are counted by the second.
    pub rejected_step_ms: i64,
    /// Requests rejected in each of those; none: not known.
    pub rejected: Option<Vec<u64>>,
}

/// Everything that can be said.
#[derive(Debug, Clone)]
pub struct OpeningMeasures {
    /// The figures, known and unknown, in order.
    pub figures: Figures,
    /// Groups, and what is counted in them.
    pub groups: Vec<Group>,
    /// What `asked` of the groups is.
    pub answered: CountBasis,
    /// Rejections by reason; none: not known.
    pub rejections: Option<Vec<(&'static str, u64)>>,
    /// Over time, to the ledger's end.
    pub chart: Chart,
    /// The first rush alone; none: it was not shorter than the rest by far.
    pub rush: Option<Chart>,
    /// Grants told by the gateway log that the ledger does not hold.
    pub missing: u64,
    /// True where no later block can change the figures of the window.
    pub is_final: bool,
}

impl OpeningMeasures {
    pub fn new(
        recorded: &RecordedOpening,
        gateway: Option<&Gateway>,
        metrics: Option<&Metrics>,
    ) -> Self {
        let rejections = rejections(recorded, gateway);
        let under = undersell(recorded, gateway);
        let mut figures = Figures::default();
        counts(recorded, &mut figures);
        promises(recorded, under, &mut figures);
        demand(recorded, gateway, rejections.as_deref(), &mut figures);
        holdings(recorded, &mut figures);
        back(recorded, &mut figures);
        entered(recorded, &mut figures);
        seen(recorded, gateway, &mut figures);
        service(metrics, &mut figures);
        let (groups, answered) = groups(recorded, gateway);
        Self {
            figures,
            groups,
            answered,
            rejections,
            chart: chart(recorded, None),
            rush: rush(recorded),
            missing: gateway.map_or(0, |gateway| gateway.missing),
            is_final: recorded.state == State::Closed,
        }
    }

    /// A figure by its name.
    ///
    /// # Errors
    ///
    /// Why it is not known.
    pub fn of(&self, name: &str) -> Known {
        self.figures.of(name)
    }

    /// Whether a promise is broken.
    pub fn is_wrong(&self) -> bool {
        let broken = |name| self.of(name).is_ok_and(|value| value > 0.0);
        broken("oversold") || broken("undersold") || self.missing > 0
    }
}

fn counts(recorded: &RecordedOpening, into: &mut Figures) {
    let count = |n: i64| Ok(n as f64);
    let granted: i64 = recorded.bookings.iter().map(|b| b.grant.seats.len() as i64).sum();
    let came = |cause| recorded.returns.iter().filter(|r| r.cause == cause).count() as i64;
    words::count(into, "quota", count(recorded.total(|p| p.quota)));
    words::count(into, "bookings", count(recorded.bookings.len() as i64));
    words::count(into, "granted", count(granted));
    words::count(into, "live", count(recorded.total(|p| p.live)));
    words::count(into, "cancelled", count(came(Cause::Cancelled)));
    words::count(into, "revoked", count(came(Cause::Revoked)));
    words::count(into, "expired", count(came(Cause::Expired)));
    words::count(into, "moved", count(came(Cause::Moved)));
    words::count(into, "withheld", count(recorded.total(|p| p.withheld)));
    words::count(into, "reserved", count(recorded.total(|p| p.reserved)));
    words::count(into, "halted", count(recorded.total(Places::shut)));
    words::count(into, "free", count(recorded.total(|p| p.free() - p.shut())));
}

/// Rejections beside free places, where they can be judged: certain ones, and those of
/// which the digest does not say enough.
fn undersell(recorded: &RecordedOpening, gateway: Option<&Gateway>) -> Option<(u64, u64)> {
    let mut judged = None;
    if let Some(gateway) = gateway {
        let (mut certain, mut unclear) = (0, 0);
        for line in gateway.lines.iter().filter(|l| l.reason.as_deref() == Some("sold_out")) {
            match (line.seq, line.choices.is_empty()) {
                (Some(seq), false) => {
                    let room =
                        line.choices.iter().flat_map(|choice| choice.slots(&recorded.record));
                    let mut room =
                        room.filter(|s| recorded.offered_at(*s, seq) >= line.size().into());
                    certain += u64::from(room.next().is_some());
                }
                _ => unclear += 1,
            }
        }
        judged = Some((certain, unclear));
    }
    if recorded.tallies.is_empty() {
        return judged;
    }
    let offered = recorded.offered();
    let (mut certain, mut unclear) = (0, 0);
    let sold_out = Reason::SoldOut.number();
    for tally in recorded.tallies.iter().filter(|tally| tally.reason == sold_out) {
        let slot = tally.slot.and_then(|slot| offered.get(slot as usize));
        match slot.map(|slot| slot.room(tally.second, recorded.record.rules.max_party)) {
            Some(Room::None) => {}
            Some(Room::Any) => certain += tally.count,
            Some(Room::Some) | None => unclear += tally.count,
        }
    }
    // The log judges each of its rejections, the counts all of them.
    Some(judged.map_or((certain, unclear), |(seen, unjudged)| (seen.max(certain), unjudged)))
}

fn promises(recorded: &RecordedOpening, under: Option<(u64, u64)>, into: &mut Figures) {
    words::count(into, "oversold", Ok(recorded.oversold as f64));
    let under = under.ok_or(NO_REJECTIONS);
    words::count(into, "undersold", under.map(|(n, _)| n as f64));
    words::count(into, "unclear", under.map(|(_, n)| n as f64));
    let quota = recorded.total(|p| p.quota).max(0) as u64;
    let unused = recorded.total(|p| (p.quota - p.live).max(0)) as u64;
    words::share(
        into,
        "waste",
        share(unused, quota).ok_or(text!("there are no places" | "tidak ada tempat")),
    );
}

fn demand(
    recorded: &RecordedOpening,
    gateway: Option<&Gateway>,
    rejections: Option<&[(&'static str, u64)]>,
    into: &mut Figures,
) {
    let rejected = rejections.map(|r| r.iter().map(|(_, n)| *n).sum::<u64>());
    words::count(into, "refused", rejected.map(|n| n as f64).ok_or(NO_REJECTIONS));
    words::count(into, "parties", gateway.map(|g| g.askers.len() as f64).ok_or(NO_LOG));
    let quota = recorded.total(|p| p.quota).max(1) as f64;
    let asked = gateway.map(|g| {
        g.askers.iter().map(|asker| f64::from(g.first(asker).size())).sum::<f64>() / quota
    });
    words::ratio(into, "per_place", asked.ok_or(NO_LOG));
}

fn holdings(recorded: &RecordedOpening, into: &mut Figures) {
    let held = || recorded.holdings.iter().filter(|(account, _)| account.is_some());
    let known: Vec<u64> = held().map(|(_, places)| *places).collect();
    let all: u64 = recorded.holdings.iter().map(|(_, places)| places).sum();
    let without = all - known.iter().sum::<u64>();
    let why = if all == 0 { NOBODY } else { NO_ACCOUNTS };
    let found = concentration(known.clone(), LARGEST).ok_or(why);
    words::count(
        into,
        "accounts",
        if known.is_empty() { Err(why) } else { Ok(known.len() as f64) },
    );
    words::count(into, "without_account", Ok(without as f64));
    words::count(into, "largest", known.iter().max().map(|n| *n as f64).ok_or(why));
    words::share(into, "top_ten", found.map(|c| c.top));
    words::ratio(into, "hhi", found.map(|c| c.hhi));
    let rates = known.iter().map(|n| *n as f64).collect();
    words::ratio(into, "gini", gini(rates).ok_or(why));
    words::share(into, "scalper_share", Err(NO_IDENTITIES));
}

fn back(recorded: &RecordedOpening, into: &mut Figures) {
    let came = recorded.returns.iter().filter(|r| !r.revived);
    let came: Vec<&Return> = came.collect();
    let taken: Vec<&&Return> = came.iter().filter(|r| r.taken.is_some()).collect();
    let released = came.iter().filter(|r| r.released.is_some()).count() as u64;
    let captured = taken.iter().filter(|r| r.captured == Some(true)).count() as u64;
    let unknown = taken.iter().filter(|r| r.captured.is_none()).count();
    let some = |n: usize| if came.is_empty() { Err(NONE_BACK) } else { Ok(n as f64) };
    words::count(into, "came_back", Ok(came.len() as f64));
    words::count(into, "released", some(released as usize));
    words::count(into, "regranted", some(taken.len()));
    let capture = match () {
        () if came.is_empty() => Err(NONE_BACK),
        () if unknown == taken.len() && unknown > 0 => Err(NO_ACCOUNTS),
        () => share(captured, released)
            .ok_or(text!("no place was released" | "tidak ada tempat yang dibuka lagi")),
    };
    words::share(into, "recapture", capture);
    words::count(into, "recapture_unknown", some(unknown));
    let waits = |from: fn(&Return) -> Option<Timestamp>, to: fn(&Return) -> Option<Timestamp>| {
        let mut waits: Vec<f64> =
            came.iter().filter_map(|r| Some(to(r)?.millis_since(from(r)?) as f64 / 1e3)).collect();
        waits.sort_unstable_by(f64::total_cmp);
        waits
    };
    let to_release = waits(|r| Some(r.at), |r| r.released);
    let to_grant = waits(|r| Some(r.at), |r| r.taken);
    let after_release = waits(|r| r.released, |r| r.taken);
    let middle = |sorted: &[f64]| quantile(sorted, 0.5).ok_or(NONE_TAKEN);
    words::seconds(
        into,
        "to_release_s",
        quantile(&to_release, 0.5).ok_or(if came.is_empty() { NONE_BACK } else { NONE_RELEASED }),
    );
    words::seconds(into, "to_regrant_s", middle(&to_grant));
    words::seconds(into, "after_release_s", middle(&after_release));
    words::seconds(into, "shortest_regrant_s", to_grant.first().copied().ok_or(NONE_TAKEN));
    words::share(into, "no_shows", Err(NO_SHOWS));
}

fn entered(recorded: &RecordedOpening, into: &mut Figures) {
    let entered = &recorded.entered;
    let of = |n: u64| if entered.entries == 0 { Err(DRAWS_ONLY) } else { Ok(n as f64) };
    words::count(into, "entries", Ok(entered.entries as f64));
    words::count(into, "drawn", of(entered.drawn));
    words::count(into, "not_drawn", of(entered.not_drawn));
    words::count(into, "withdrawn", of(entered.withdrawn));
}

fn rejections(
    recorded: &RecordedOpening,
    gateway: Option<&Gateway>,
) -> Option<Vec<(&'static str, u64)>> {
    let mut by_reason: BTreeMap<u16, u64> = BTreeMap::new();
    if recorded.tallies.is_empty() {
        // The log saw each of them; the digest, where there is one, saw them all.
        for line in &gateway?.lines {
            let reason = line.reason.as_deref().and_then(Reason::from_name);
            if let Some(reason) = reason {
                *by_reason.entry(reason.number()).or_default() += 1;
            }
        }
    }
    for tally in &recorded.tallies {
        *by_reason.entry(tally.reason).or_default() += tally.count;
    }
    let name = |number| Reason::from_number(number).map_or("of a later release", Reason::name);
    Some(by_reason.into_iter().map(|(number, count)| (name(number), count)).collect())
}

fn groups(recorded: &RecordedOpening, gateway: Option<&Gateway>) -> (Vec<Group>, CountBasis) {
    if let Some(gateway) = gateway {
        let cohorts = gateway.lines.iter().any(|line| line.cohort.is_some());
        let named = |name: &Option<String>| name.clone().unwrap_or_else(|| NOT_NAMED.into());
        let asked = gateway.askers.iter().map(|asker| {
            let first = gateway.first(asker);
            let cohort = cohorts.then(|| named(&first.cohort));
            (named(&first.channel), cohort, first.size(), asker.booking.is_some())
        });
        return (asked_in_groups(asked), CountBasis::Parties);
    }
    if let Some(entries) = recorded.drawn() {
        let asked = entries.map(|(_, entry, won)| {
            let channel = entry.channel.clone().unwrap_or_else(|| NOT_NAMED.into());
            (channel, None, entry.applicants.len() as u32, won)
        });
        return (asked_in_groups(asked), CountBasis::Entries);
    }
    let channel = |channel: &Option<String>| channel.clone().unwrap_or_else(|| NOT_NAMED.into());
    let mut won: BTreeMap<String, u64> = BTreeMap::new();
    for booked in &recorded.bookings {
        *won.entry(channel(&booked.grant.channel)).or_default() += 1;
    }
    let mut sizes: BTreeMap<usize, u64> = BTreeMap::new();
    for booked in &recorded.bookings {
        *sizes.entry(booked.grant.seats.len()).or_default() += 1;
    }
    let sizes = sizes.into_iter().map(|(size, won)| Group {
        kind: "party of",
        name: size.to_string(),
        fared: GroupShare { asked: None, won, ratio: None, z: None },
    });
    let mut rejected: BTreeMap<String, u64> = BTreeMap::new();
    let terminal = [Reason::SoldOut.number(), Reason::Closed.number()];
    for tally in recorded.tallies.iter().filter(|tally| terminal.contains(&tally.reason)) {
        *rejected.entry(channel(&tally.channel)).or_default() += tally.count;
    }
    let counted = !recorded.tallies.is_empty();
    let names: std::collections::BTreeSet<&String> = won.keys().chain(rejected.keys()).collect();
    let of = |map: &BTreeMap<String, u64>, name: &String| map.get(name).copied().unwrap_or(0);
    let winners: u64 = won.values().sum();
    let asked: u64 = winners + rejected.values().sum::<u64>();
    let channels = names.into_iter().map(|name| {
        let (w, a) = (of(&won, name), of(&won, name) + of(&rejected, name));
        let ratio = cohort_ratio(w, a, winners, asked).filter(|_| counted);
        Group {
            kind: "channel",
            name: name.clone(),
            fared: GroupShare {
                asked: counted.then_some(a),
                won: w,
                ratio: ratio.map(|r| r.ratio),
                z: None,
            },
        }
    });
    let answered = if counted { CountBasis::Requests } else { CountBasis::Winners };
    (channels.chain(sizes).collect(), answered)
}

const NOT_NAMED: &str = "not named";

/// Channel, cohort, size of party, and whether they got a place, of each who asked.
fn asked_in_groups(
    parties: impl Iterator<Item = (String, Option<String>, u32, bool)>,
) -> Vec<Group> {
    let mut counts: BTreeMap<(&'static str, String), (u64, u64)> = BTreeMap::new();
    let (mut asked, mut winners) = (0, 0);
    for (channel, cohort, size, won) in parties {
        let won = u64::from(won);
        asked += 1;
        winners += won;
        let mut count = |kind, name| {
            let (a, w) = counts.entry((kind, name)).or_default();
            (*a, *w) = (*a + 1, *w + won);
        };
        count("channel", channel);
        if let Some(cohort) = cohort {
            count("cohort", cohort);
        }
        count("party of", size.to_string());
    }
    let group = |((kind, name), (a, w)): ((&'static str, String), (u64, u64))| {
        let ratio = cohort_ratio(w, a, winners, asked);
        // Parties of several want something else than the average: no test.
        let z = ratio.map(|CohortRatio { z, .. }| z).filter(|_| kind != "party of");
        let fared = GroupShare { asked: Some(a), won: w, ratio: ratio.map(|r| r.ratio), z };
        Group { kind, name, fared }
    };
    counts.into_iter().map(group).collect()
}
