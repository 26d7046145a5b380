//! What is on record of an opening.

use giliran_wire::answer::Phase;
use giliran_wire::catalogue::{OpeningDescription, Order, Returns};
use giliran_wire::picture::{Check, Known, Opening, Openings, Picture, Process, Stream};

use super::{Flight, Limits, go, length, no_go, unknown, unless};
use crate::ask::NotAnswered;
use crate::zone::last_before;

/// The opening, or the check that says why nobody knows it.
fn known<'a>(picture: &'a Picture, flight: &Flight, name: &str) -> Result<&'a Opening, Check> {
    let openings = match &picture.openings {
        Known::Known(openings) => openings,
        Known::Unknown(why) => {
            return Err(unknown(name, why, "see the check `answers`"));
        }
    };
    let found = openings.openings.iter().find(|opening| opening.offers.id == flight.opening);
    found.ok_or_else(|| {
        let ids: Vec<&str> =
            openings.openings.iter().map(|opening| opening.offers.id.as_str()).collect();
        let there = match ids.as_slice() {
            [] => "no opening is on record".to_owned(),
            ids => format!("on record are: {}", ids.join(", ")),
        };
        no_go(
            name,
            format!("opening {} is not on record; {there}", flight.opening),
            "the active engine puts it there 14 days before it opens: `giliran check` shows what \
             its file resolves to",
        )
    })
}

/// Whether each backup that was named is new enough; none: none was named.
pub(super) fn backups(picture: &Picture, limits: &Limits, flight: &Flight) -> Option<Check> {
    let name = "backups";
    let (mut wrong, mut silent, mut oldest) = (Vec::new(), Vec::new(), 0);
    for backup in &flight.backups {
        match &backup.made {
            Known::Known(made) => {
                let age = picture.taken_at.millis_since(*made);
                oldest = oldest.max(age);
                if age > limits.backup_ms {
                    let of = &backup.of;
                    wrong.push(format!("{of}: the newest is of {made}, {} old", length(age)));
                }
            }
            Known::Unknown(why) => silent.push(format!("{}: {why}", backup.of)),
        }
    }
    let remedy = "make one now, and find out why there is none: operations.md, Keys and backups";
    match flight.backups.len() {
        0 => None,
        _ if wrong.is_empty() && !silent.is_empty() => {
            Some(unknown(name, silent.join("; "), remedy))
        }
        n => {
            let fine = format!("{n} backups, the oldest was made {} ago", length(oldest));
            Some(unless(name, &wrong, fine, remedy))
        }
    }
}

pub(super) fn record(picture: &Picture, flight: &Flight) -> Check {
    let name = "record";
    let opening = match known(picture, flight, name) {
        Ok(opening) => opening,
        Err(check) => return check,
    };
    let OpeningDescription { id, state, opens_at, closes_at, .. } = &opening.offers;
    let now = picture.openings.found().map_or(picture.taken_at, |openings| openings.now);
    let places = opening.places;
    let halted = opening.slots.iter().filter(|slot| slot.halted).count();
    let slots = match halted {
        0 => String::new(),
        n => format!(", {n} slots are halted"),
    };
    let counted = format!("{} places, {} free{slots}", places.quota, places.free);
    match state {
        Phase::Scheduled if *opens_at < now => no_go(
            name,
            format!(
                "{id} has not opened, and was to at {opens_at}; the engine has {now}: {counted}"
            ),
            "look again in some seconds; if it stays so, read the active engine's log, and let a \
             standby take over",
        ),
        Phase::Scheduled | Phase::Open if places.quota == 0 => no_go(
            name,
            format!("{id} has no places: {counted}"),
            "`giliran admin quota` gives a slot its places; `giliran check` shows what the file \
             says",
        ),
        Phase::Scheduled | Phase::Open if halted > 0 && halted == opening.slots.len() => no_go(
            name,
            format!("nobody can book in {id}, since each of its slots is halted: {counted}"),
            "`giliran admin resume` opens a day again; `giliran journal` says who closed it",
        ),
        Phase::Scheduled => {
            let left = length(opens_at.millis_since(now));
            go(name, format!("{id} opens in {left}, at {opens_at}: {counted}"))
        }
        Phase::Open => go(name, format!("{id} is open until {closes_at}: {counted}")),
        Phase::Closed => no_go(
            name,
            format!("{id} has closed at {closes_at}: {counted}"),
            "`giliran admin closes-at` opens it again, where its order lets it; `giliran journal` \
             says who ended it",
        ),
    }
}

pub(super) fn file(flight: &Flight) -> Check {
    let name = "file";
    match &flight.compared {
        Known::Known(differs) => unless(
            name,
            differs,
            "what is on record is as the file says",
            "the record counts: mend the file, or change the record by an operator's action",
        ),
        Known::Unknown(why) => unknown(
            name,
            why,
            "name the engines' file with --config, and use a login that may read the ledger \
             (under the shipped permissions: watcher)",
        ),
    }
}

pub(super) fn commitment(picture: &Picture, flight: &Flight) -> Check {
    let name = "commitment";
    let opening = match known(picture, flight, name) {
        Ok(opening) => opening,
        Err(check) => return check,
    };
    let (kind, commitment, value) = match &opening.offers.order {
        Order::FirstCome => return go(name, "first come, first served: nothing to commit to"),
        Order::Rounds { commitment, .. } => ("rounds", commitment, None),
        Order::Draw { commitment, public_value, .. } => ("a draw", commitment, Some(public_value)),
    };
    let Some(commitment) = commitment else {
        let remedy = "the engine commits when it puts the opening on record: look at its log";
        return no_go(name, format!("{kind} without a commitment to its seed on record"), remedy);
    };
    let value = match value {
        Some(Some(named)) => format!(", with the public value {named}"),
        Some(None) => ", without a public value: it is as good as the operator's word".to_owned(),
        None => String::new(),
    };
    let begin = commitment.get(..8).unwrap_or(commitment);
    go(name, format!("{kind}, commitment {begin}… on record{value}"))
}

pub(super) fn returns(picture: &Picture, flight: &Flight) -> Check {
    let name = "returns";
    let opening = match known(picture, flight, name) {
        Ok(opening) => opening,
        Err(check) => return check,
    };
    let OpeningDescription { rules, days, timezone, opens_at, .. } = &opening.offers;
    let mut wrong = Vec::new();
    let mut least = u64::MAX;
    for (cause, rule) in [("cancelled", &rules.cancelled), ("expired", &rules.expired)] {
        // A hold that cannot be had cannot run out.
        if cause == "expired" && rules.hold_ms.is_none() {
            continue;
        }
        let Returns::At { times } = rule else { continue };
        for day in days {
            let last = last_before(timezone, times, day.bookable_until);
            match last.filter(|last| last >= opens_at) {
                Some(last) => least = least.min(day.bookable_until.millis_since(last)),
                None => wrong.push(format!(
                    "{cause} places of {} are not released before {}, when they can no longer be \
                     booked",
                    day.date, day.bookable_until
                )),
            }
        }
    }
    let fine = match least {
        u64::MAX => "returned places come back without a time of day".to_owned(),
        ms => format!("each day has a release before it, the latest {} before", length(ms)),
    };
    let remedy = "rules on record stay: let `wait` know, and give the next opening another `at`";
    unless(name, &wrong, fine, remedy)
}

/// Engines that take over or step down.
fn changing(processes: &[Process]) -> impl Iterator<Item = String> {
    let changes = |process: &&Process| {
        ["taking_over", "stepping_down"].contains(&process.standing.state.as_str())
    };
    processes.iter().filter(changes).map(|process| {
        let called = super::processes::called(process);
        format!("{called} is {}", process.standing.state)
    })
}

/// Openings whose draw waits for its public value.
fn undrawn(openings: &Openings) -> impl Iterator<Item = String> {
    openings.openings.iter().filter_map(|opening| {
        let OpeningDescription { id, order, state, .. } = &opening.offers;
        match (order, state) {
            (Order::Draw { public_value: Some(value), drawn: false, .. }, Phase::Closed) => {
                Some(format!("the draw of {id} waits for {value}"))
            }
            _ => None,
        }
    })
}

/// Streams in which the ledger is to go on and has not begun.
fn rolling(streams: &[Stream]) -> impl Iterator<Item = String> {
    let empty = |stream: &&Stream| stream.name.contains("_LEDGER_") && stream.messages == 0;
    streams
        .iter()
        .filter(empty)
        .map(|stream| format!("{} is made and has not begun: the ledger is rolling", stream.name))
}

pub(super) fn pending(picture: &Picture, flight: &Flight) -> Check {
    let name = "pending";
    let (mut wrong, mut silent) = (Vec::new(), Vec::new());
    match &flight.unfinished {
        Known::Known(unfinished) => wrong.extend(unfinished.iter().cloned()),
        Known::Unknown(why) => silent.push(format!("the ledger: {why}")),
    }
    match &picture.processes {
        Known::Known(processes) => wrong.extend(changing(processes)),
        Known::Unknown(why) => silent.push(format!("the processes: {why}")),
    }
    match &picture.openings {
        Known::Known(openings) => wrong.extend(undrawn(openings)),
        Known::Unknown(why) => silent.push(format!("the openings: {why}")),
    }
    match &picture.streams {
        Known::Known(streams) => wrong.extend(rolling(streams)),
        Known::Unknown(why) => silent.push(format!("the streams: {why}")),
    }
    if wrong.is_empty() && !silent.is_empty() {
        let remedy = "use a login that may ask processes and engine and read the ledger (under \
                      the shipped permissions: watcher, with GILIRAN_NATS_DOMAIN=giliran)";
        return unknown(name, silent.join("; "), remedy);
    }
    let fine = "no roll, draw or cancellation by an operator is under way";
    unless(name, &wrong, fine, "wait for its end, or do the rest: the same action again")
}

/// Whether harmless requests were answered; `operations`: which. Silence is not known, an
/// answer that is another one than it has to be is red.
pub(super) fn answered(flight: &Flight, name: &str, operations: &[&str]) -> Check {
    let (mut answered, mut silent, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    let asked = flight.probes.iter().filter(|probe| operations.contains(&probe.operation));
    for probe in asked {
        match &probe.answered {
            Ok(_) => answered.push(probe.operation),
            Err(NotAnswered::Silent(why)) => silent.push(why.clone()),
            Err(NotAnswered::Wrong(said)) => wrong.push(said.clone()),
        }
    }
    if !wrong.is_empty() {
        let remedy = "an engine answers, and not as it has to: its log says why; look again once \
                      it does";
        return no_go(name, wrong.join("; "), remedy);
    }
    if !silent.is_empty() {
        let remedy = "a login that may ask it (under the shipped permissions: console; watcher may \
                      not act), or an engine that does not answer: its log says `NATS server \
                      refuses` where it may not subscribe";
        return unknown(name, silent.join("; "), remedy);
    }
    match answered.as_slice() {
        [] => unknown(name, "nothing was asked", "see the check `record`"),
        asked => {
            go(name, format!("a harmless one is answered as it has to be: {}", asked.join(", ")))
        }
    }
}
