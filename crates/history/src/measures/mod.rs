//! Measures of an opening that took place.

mod chart;
mod clients;
mod service;

use std::collections::BTreeMap;

use chart::{chart, rush};
use clients::{quantile, seen};
use giliran_fairness::measures::{CohortRatio, cohort_ratio, concentration, gini, share};
use giliran_report::{Figures, Known};
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
const NO_LOG: &str =
    "no gateway log: the ledger does not hold who was rejected, nor when anybody asked";
const NO_REJECTIONS: &str = "neither rejection counts in the ledger nor a gateway log";
const NO_ROUND_TRIPS: &str = "round trips are not measured; neither ledger nor log holds them";
const NO_IDENTITIES: &str =
    "the ledger holds accounts under pseudonym; who is a scalper it cannot know";
const NO_SHOWS: &str = "who came is known at the office alone";
const NO_ACCOUNTS: &str = "requests named no account";
const NONE_BACK: &str = "no place came back";
const NONE_RELEASED: &str = "no place that came back was released yet";
const NONE_TAKEN: &str = "no returned place was booked again";
const NOBODY: &str = "nobody got a place";
const NO_PAIR: &str = "no two who wanted the same, of whom one won";
const NOT_SAID: &str = "the gateway log does not say it";
const DRAWS_ONLY: &str = "nobody entered";

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
    pub const fn about(self) -> &'static str {
        match self {
            Self::Parties => "parties, by the gateway log",
            Self::Entries => {
                "parties, by the entries of the draw; who came after its close is not among them"
            }
            Self::Requests => {
                "requests, by the ledger's rejection counts: who tries thrice counts thrice, so no \
                 test of chance is made"
            }
            Self::Winners => "winners alone: those who were rejected are not known",
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
    into.count("quota", "Places", count(recorded.total(|p| p.quota)))
        .about("Places of all slots at the ledger's end.");
    into.count("bookings", "Bookings", count(recorded.bookings.len() as i64))
        .about("Bookings ever granted, whatever became of them.");
    into.count("granted", "Places granted", count(granted))
        .about("Places ever granted; more than there are, where returned ones were granted again.");
    into.count("live", "Places taken", count(recorded.total(|p| p.live)))
        .about("Places in bookings that stand at the ledger's end.");
    into.count("cancelled", "Cancelled", count(came(Cause::Cancelled)))
        .about("Places that applicants gave back.");
    into.count("revoked", "Taken back", count(came(Cause::Revoked)))
        .about("Places that the authority took back.");
    into.count("expired", "Lapsed", count(came(Cause::Expired)))
        .about("Places whose hold ran out.");
    into.count("moved", "Moved away from", count(came(Cause::Moved)))
        .about("Places left for another slot.");
    into.count("withheld", "Waiting for release", count(recorded.total(|p| p.withheld)))
        .about("Returned places that nobody can book yet.");
    into.count("reserved", "Reserved", count(recorded.total(|p| p.reserved)))
        .about("Places that operators keep back at the ledger's end.");
    into.count("halted", "In halted slots", count(recorded.total(Places::shut))).about(
        "Places without a booking in slots that are closed at the ledger's end: nobody can have \
         them.",
    );
    into.count("free", "Free", count(recorded.total(|p| p.free() - p.shut()))).about(
        "Free places at the ledger's end: quota less taken, waiting and reserved, and without \
         those of halted slots.",
    );
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
    into.count("oversold", "Oversold", Ok(recorded.oversold as f64)).about(
        "Places taken beyond what a slot then had: its quota, less what was taken, withheld, \
         reserved or halted. Must be 0.",
    );
    let under = under.ok_or(NO_REJECTIONS);
    into.count("undersold", "Undersold", under.map(|(n, _)| n as f64)).about(
        "Rejections `sold_out` while what was asked for first had room for any party throughout \
         (rejection counts), or while a choice had room for this party (gateway log). Must be 0.",
    );
    into.count("unclear", "Not to be judged", under.map(|(_, n)| n as f64)).about(
        "Rejections `sold_out` of which the counts do not say whether there was room: less than the \
         largest party needs, or no single slot was named.",
    );
    let quota = recorded.total(|p| p.quota).max(0) as u64;
    let unused = recorded.total(|p| (p.quota - p.live).max(0)) as u64;
    into.share("waste", "Waste", share(unused, quota).ok_or("there are no places")).about(
        "Places without a booking that stands, over all places: unsold, lapsed or given back and \
         not had again. Those who did not come are not in it.",
    );
}

fn demand(
    recorded: &RecordedOpening,
    gateway: Option<&Gateway>,
    rejections: Option<&[(&'static str, u64)]>,
    into: &mut Figures,
) {
    let rejected = rejections.map(|r| r.iter().map(|(_, n)| *n).sum::<u64>());
    into.count("refused", "Rejected requests", rejected.map(|n| n as f64).ok_or(NO_REJECTIONS))
        .about("Rejections answered, retries included.");
    into.count(
        "parties",
        "Parties that asked",
        gateway.map(|g| g.askers.len() as f64).ok_or(NO_LOG),
    )
    .about("Those who asked together, distinguished by their applicants, else by their request.");
    let quota = recorded.total(|p| p.quota).max(1) as f64;
    let asked = gateway.map(|g| {
        g.askers.iter().map(|asker| f64::from(g.first(asker).size())).sum::<f64>() / quota
    });
    into.ratio("per_place", "People a place", asked.ok_or(NO_LOG))
        .about("People who asked over the places there are.");
}

fn holdings(recorded: &RecordedOpening, into: &mut Figures) {
    let held = || recorded.holdings.iter().filter(|(account, _)| account.is_some());
    let known: Vec<u64> = held().map(|(_, places)| *places).collect();
    let all: u64 = recorded.holdings.iter().map(|(_, places)| places).sum();
    let without = all - known.iter().sum::<u64>();
    let why = if all == 0 { NOBODY } else { NO_ACCOUNTS };
    let found = concentration(known.clone(), LARGEST).ok_or(why);
    into.count(
        "accounts",
        "Accounts with places",
        if known.is_empty() { Err(why) } else { Ok(known.len() as f64) },
    )
    .about("Accounts that held places as the window closed (else at the ledger's end).");
    into.count("without_account", "Places without an account", Ok(without as f64)).about(
        "Places whose request named no account; the four figures on accounts leave them out.",
    );
    into.count("largest", "Largest account", known.iter().max().map(|n| *n as f64).ok_or(why))
        .about("Places of the account that held most.");
    into.share("top_ten", "Ten largest", found.map(|c| c.top))
        .about("The share of the ten accounts that held most.");
    into.ratio("hhi", "HHI", found.map(|c| c.hhi)).about(
        "Herfindahl and Hirschman's index over accounts: 1 / accounts where all hold the same, 1 \
         where one holds all.",
    );
    let rates = known.iter().map(|n| *n as f64).collect();
    into.ratio("gini", "Gini", gini(rates).ok_or(why))
        .about("Inequality of places over winning accounts: 0 where all hold the same.");
    into.share("scalper_share", "Places in scalpers' hands", Err(NO_IDENTITIES))
        .about("The size of the black market.");
}

fn back(recorded: &RecordedOpening, into: &mut Figures) {
    let came = recorded.returns.iter().filter(|r| !r.revived);
    let came: Vec<&Return> = came.collect();
    let taken: Vec<&&Return> = came.iter().filter(|r| r.taken.is_some()).collect();
    let released = came.iter().filter(|r| r.released.is_some()).count() as u64;
    let captured = taken.iter().filter(|r| r.captured == Some(true)).count() as u64;
    let unknown = taken.iter().filter(|r| r.captured.is_none()).count();
    let some = |n: usize| if came.is_empty() { Err(NONE_BACK) } else { Ok(n as f64) };
    into.count("came_back", "Places that came back", Ok(came.len() as f64)).about(
        "By cancellation, lapse, move or the authority; without those that a late payment revived.",
    );
    into.count("released", "Released", some(released as usize))
        .about("Those that became available again.");
    into.count("regranted", "Had again", some(taken.len())).about("Those that somebody got.");
    let capture = match () {
        () if came.is_empty() => Err(NONE_BACK),
        () if unknown == taken.len() && unknown > 0 => Err(NO_ACCOUNTS),
        () => share(captured, released).ok_or("no place was released"),
    };
    into.share("recapture", "Recaptured", capture).about(
        "Released places that the account which gave them back got again: the cancel-and-rebook \
         channel.",
    );
    into.count("recapture_unknown", "Had again, by whom not known", some(unknown)).about(
        "Re-granted places of which the giver's or the taker's account is not known; the share \
         above counts them as not recaptured.",
    );
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
    into.seconds(
        "to_release_s",
        "Return to release",
        quantile(&to_release, 0.5).ok_or(if came.is_empty() { NONE_BACK } else { NONE_RELEASED }),
    )
    .about("Median time from a place's return to its release.");
    into.seconds("to_regrant_s", "Return to re-grant", middle(&to_grant))
        .about("Median time from a place's return until somebody booked it again.");
    into.seconds("after_release_s", "Release to re-grant", middle(&after_release))
        .about("Median time that a released place lay free.");
    into.seconds(
        "shortest_regrant_s",
        "Shortest re-grant",
        to_grant.first().copied().ok_or(NONE_TAKEN),
    )
    .about(
        "The shortest time from a place's return to its re-grant. Below a second, no person was \
         looking.",
    );
    into.share("no_shows", "No-shows", Err(NO_SHOWS)).about("Places whose holder did not come.");
}

fn entered(recorded: &RecordedOpening, into: &mut Figures) {
    let entered = &recorded.entered;
    let of = |n: u64| if entered.entries == 0 { Err(DRAWS_ONLY) } else { Ok(n as f64) };
    into.count("entries", "Entered", Ok(entered.entries as f64))
        .about("Entries into draws: the opening's own, or those for returned places.");
    into.count("drawn", "Drawn", of(entered.drawn)).about("Entries that got a place.");
    into.count("not_drawn", "Not drawn", of(entered.not_drawn))
        .about("Entries that got none when their draw was held.");
    into.count("withdrawn", "Withdrawn", of(entered.withdrawn))
        .about("Entries taken back before a draw.");
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
