//! What processes say of themselves.

use giliran_wire::picture::{Check, Picture, Process};
use giliran_wire::service::Standing;

use super::{Limits, go, length, no_go, unknown, unless};

/// What helps where processes could not be asked.
const MAY_ASK: &str = "run it with a login that may ask $SRV.> (under the shipped permissions: \
                       watcher or operator)";

/// The processes, or the check that says why nobody knows.
fn known<'a>(picture: &'a Picture, name: &str) -> Result<&'a [Process], Check> {
    match &picture.processes {
        giliran_wire::picture::Known::Known(processes) => Ok(processes),
        giliran_wire::picture::Known::Unknown(why) => Err(unknown(name, why, MAY_ASK)),
    }
}

fn of_role<'a>(processes: &'a [Process], role: &'a str) -> impl Iterator<Item = &'a Process> {
    processes.iter().filter(move |process| process.standing.role == role)
}

/// A process, for people.
pub(super) fn called(process: &Process) -> String {
    let Standing { role, instance, .. } = &process.standing;
    match instance {
        Some(instance) => format!("{role} {instance}"),
        None => format!("{role} {}", process.id.get(..4).unwrap_or(&process.id)),
    }
}

pub(super) fn engine(picture: &Picture) -> Check {
    let name = "engine";
    let processes = match known(picture, name) {
        Ok(processes) => processes,
        Err(check) => return check,
    };
    let active: Vec<&Process> =
        of_role(processes, "engine").filter(|process| process.standing.state == "active").collect();
    match active.as_slice() {
        [one] => go(
            name,
            format!("{} is active, epoch {}", called(one), one.standing.epoch.unwrap_or(0)),
        ),
        [] => no_go(
            name,
            "no engine is active",
            "start one, or read `detail` of those that run: operations.md, No active engine",
        ),
        more => no_go(
            name,
            format!(
                "{} say that they are active",
                more.iter().map(|process| called(process)).collect::<Vec<_>>().join(" and ")
            ),
            "the ledger lets one of them write; restart the one with the older epoch",
        ),
    }
}

/// A copy that waits is as it has to be.
fn is_fine(standing: &Standing) -> bool {
    let waits = match standing.role.as_str() {
        "engine" => standing.state == "standby",
        "persist" | "feed" => standing.state == "waiting",
        _ => false,
    };
    standing.ready || waits
}

pub(super) fn states(picture: &Picture) -> Check {
    let name = "states";
    let processes = match known(picture, name) {
        Ok(processes) => processes,
        Err(check) => return check,
    };
    let mut wrong = Vec::new();
    for process in processes.iter().filter(|process| !is_fine(&process.standing)) {
        let Standing { state, detail, .. } = &process.standing;
        let detail = detail.as_ref().map_or(String::new(), |detail| format!(": {detail}"));
        wrong.push(format!("{} is {state}{detail}", called(process)));
    }
    for role in ["persist", "feed"] {
        if !of_role(processes, role).any(|process| process.standing.ready) {
            wrong.push(format!("no {role} does its work"));
        }
    }
    let fine =
        format!("{} processes answer, each in a state that is right for it", processes.len());
    unless(name, &wrong, fine, "operations.md, Health, says what each state means")
}

pub(super) fn warnings(picture: &Picture) -> Check {
    let name = "warnings";
    let processes = match known(picture, name) {
        Ok(processes) => processes,
        Err(check) => return check,
    };
    let said = processes.iter().filter_map(|process| {
        Some(format!("{}: {}", called(process), process.standing.warnings.as_ref()?))
    });
    let wrong: Vec<String> = said.collect();
    unless(name, &wrong, "no process warns", "mend what they name")
}

pub(super) fn clocks(picture: &Picture, limits: &Limits) -> Check {
    let name = "clocks";
    let processes = match known(picture, name) {
        Ok(processes) => processes,
        Err(check) => return check,
    };
    // A gateway goes by the engine's time.
    let told = processes.iter().filter(|process| process.standing.role != "gateway");
    let (mut wrong, mut silent, mut most) = (Vec::new(), Vec::new(), 0);
    for process in told {
        match process.standing.clock_offset_ms {
            Some(offset) if offset.unsigned_abs() > limits.clock_ms => {
                wrong.push(format!("{}: {offset} ms", called(process)));
            }
            Some(offset) => most = most.max(offset.unsigned_abs()),
            None => silent.push(called(process)),
        }
    }
    if wrong.is_empty() && !silent.is_empty() {
        let silent = format!("{} has not compared its clock yet", silent.join(", "));
        return unknown(name, silent, "look again in some seconds");
    }
    let fine = format!("within {most} ms of the broker's (up to {} ms)", limits.clock_ms);
    unless(name, &wrong, fine, "set the clocks right: operations.md, The clock")
}

/// How far those are behind who follow the ledger; `lag_ms` 0: not at all.
pub(super) fn lags(picture: &Picture, lag_ms: u64, roles: &[&str]) -> Check {
    let name = "lags";
    let processes = match known(picture, name) {
        Ok(processes) => processes,
        Err(check) => return check,
    };
    let (mut wrong, mut silent) = (Vec::new(), Vec::new());
    let follow = |process: &&Process| roles.contains(&process.standing.role.as_str());
    for process in processes.iter().filter(follow).filter(|process| process.standing.ready) {
        let Standing { lag_ms: behind, lag_blocks, .. } = &process.standing;
        let (Some(behind), Some(blocks)) = (behind, lag_blocks) else {
            silent.push(called(process));
            continue;
        };
        if *behind > lag_ms || (lag_ms == 0 && *blocks > 0) {
            let behind = length(*behind);
            wrong.push(format!("{} is {blocks} blocks and {behind} behind", called(process)));
        }
    }
    if wrong.is_empty() && !silent.is_empty() {
        let silent = format!("{} does not say how far it is", silent.join(", "));
        return unknown(name, silent, "look again in some seconds");
    }
    let fine = match lag_ms {
        0 => "persist and feed are at the ledger's end".to_owned(),
        ms => format!("persist and feed are less than {} behind", length(ms)),
    };
    unless(name, &wrong, fine, "wait until they have caught up; operations.md, Alarms")
}

pub(super) fn answers(picture: &Picture) -> Check {
    use giliran_wire::picture::Known;
    let name = "answers";
    match &picture.openings {
        Known::Known(openings) => {
            let n = openings.openings.len();
            go(name, format!("the active engine answers; {n} openings in its memory"))
        }
        Known::Unknown(why) if why.contains("no engine is active") => {
            no_go(name, why, "start an engine")
        }
        Known::Unknown(why) => unknown(
            name,
            why,
            "run it with a login that may ask `availability`; if it may, the engine does not answer",
        ),
    }
}

pub(super) fn standby(picture: &Picture) -> Check {
    let name = "standby";
    let processes = match known(picture, name) {
        Ok(processes) => processes,
        Err(check) => return check,
    };
    let standbys: Vec<&Process> = of_role(processes, "engine")
        .filter(|process| process.standing.state == "standby")
        .collect();
    let behind = |process: &&&Process| process.standing.lag_blocks != Some(0);
    if standbys.is_empty() {
        let remedy = "start a second engine, on another machine, with the same key and file";
        return no_go(
            name,
            "no engine stands by: should the active one end, nobody decides",
            remedy,
        );
    }
    if standbys.iter().all(|process| behind(&process)) {
        let named: Vec<String> = standbys.iter().map(|process| called(process)).collect();
        let found = format!("{} has not caught up with the ledger", named.join(", "));
        return no_go(name, found, "wait; an engine reads the ledger before it can take over");
    }
    let ready = standbys.iter().filter(|process| !behind(process));
    let named: Vec<String> = ready.map(|process| called(process)).collect();
    go(name, format!("{} stands by, caught up", named.join(", ")))
}

pub(super) fn expected(picture: &Picture, limits: &Limits) -> Check {
    let name = "expected";
    let processes = match known(picture, name) {
        Ok(processes) => processes,
        Err(check) => return check,
    };
    let (mut wrong, mut fine) = (Vec::new(), Vec::new());
    for (role, least) in &limits.least {
        let n = of_role(processes, role).count();
        fine.push(format!("{role} {n}"));
        if n < *least {
            wrong.push(format!("{role}: {n} of {least} answer"));
        }
    }
    let remedy = "start those that are missing, or say how many there are to be: --expect ROLE=N";
    unless(name, &wrong, format!("as many as expected answer: {}", fine.join(", ")), remedy)
}

/// What has to be the same in every engine.
pub(super) fn equal_in_engines(
    picture: &Picture,
    name: &str,
    what: &str,
    of: impl Fn(&Standing) -> Option<&String>,
) -> Check {
    let processes = match known(picture, name) {
        Ok(processes) => processes,
        Err(check) => return check,
    };
    let said: Vec<(String, Option<&String>)> = of_role(processes, "engine")
        .map(|process| (called(process), of(&process.standing)))
        .collect();
    let Some((_, first)) = said.first() else {
        return unknown(name, "no engine answers", "start the engines");
    };
    if said.iter().any(|(_, value)| value.is_none()) {
        let found = format!("an engine does not say which {what} it has");
        return unknown(
            name,
            found,
            "engines of `giliran up --dev` have none; use `giliran serve`",
        );
    }
    if said.iter().all(|(_, value)| value == first) {
        let digest = first.and_then(|digest| digest.get(..8)).unwrap_or_default();
        return go(name, format!("every engine has the same {what} ({digest}…)"));
    }
    let short = |(engine, value): &(String, Option<&String>)| {
        let digest = value.and_then(|digest| digest.get(..8)).unwrap_or_default();
        format!("{engine} {digest}…")
    };
    let listed: Vec<String> = said.iter().map(short).collect();
    no_go(
        name,
        format!("engines differ in their {what}: {}", listed.join(", ")),
        "give all of them the same, and restart the standbys",
    )
}

pub(super) fn releases(picture: &Picture) -> Check {
    let name = "releases";
    let processes = match known(picture, name) {
        Ok(processes) => processes,
        Err(check) => return check,
    };
    let built = |process: &Process| {
        let commit = process.standing.commit.as_deref().unwrap_or("unknown");
        format!("{} (commit {commit})", process.version)
    };
    let mut all: Vec<String> = processes.iter().map(built).collect();
    all.sort_unstable();
    all.dedup();
    match all.as_slice() {
        [] => unknown(name, "no process answers", "start them"),
        [one] => go(name, format!("every process is release {one}")),
        _ => {
            let each = |process: &Process| format!("{} {}", called(process), built(process));
            let listed: Vec<String> = processes.iter().map(each).collect();
            no_go(name, listed.join(", "), "end the upgrade before the opening")
        }
    }
}
