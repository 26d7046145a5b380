//! What the broker tells of its streams and servers.

use std::collections::BTreeSet;

use giliran_wire::picture::{Check, Known, Picture, Storage, Stream};

use super::{Certificate, Limits, go, length, no_go, unknown, unless};

/// What helps where streams could not be looked at.
const MAY_LOOK: &str = "run it with a login that may look at streams (under the shipped \
                        permissions: watcher, with GILIRAN_NATS_DOMAIN=giliran)";
/// What helps where a server could not be asked.
const NAME_MONITORS: &str = "name the monitoring address of every server: --nats-monitor \
                             http://host:8222,http://…";

pub(super) fn replicas(picture: &Picture) -> Check {
    let name = "replicas";
    let streams = match &picture.streams {
        Known::Known(streams) => streams,
        Known::Unknown(why) => return unknown(name, why, MAY_LOOK),
    };
    let mut wrong = Vec::new();
    for stream in streams {
        let Stream { name, replicas, leader, followers, .. } = stream;
        if *replicas > 1 && leader.is_none() {
            wrong.push(format!("{name} has no leader"));
        }
        for follower in followers.iter().filter(|one| !one.current || one.offline) {
            let how = if follower.offline { "is away" } else { "is behind" };
            wrong.push(format!("{name}: {} {how}", follower.name));
        }
        let there = 1 + followers.len() as u64;
        if *replicas > there {
            wrong.push(format!("{name}: {there} of {replicas} replicas"));
        }
    }
    let Some(least) = streams.iter().map(|stream| stream.replicas).min() else {
        return no_go(
            name,
            "there are no streams of this prefix",
            "`giliran init` makes the ledger",
        );
    };
    let fine = format!("{} streams, each on {least} servers or more, all current", streams.len());
    let fine = if least == 1 { format!("{} streams, on one server", streams.len()) } else { fine };
    unless(name, &wrong, fine, "bring the server back and wait until it is current")
}

/// The servers that keep the ledger; else why nobody knows them all.
fn kept_by(picture: &Picture) -> Result<BTreeSet<&str>, String> {
    let streams = match &picture.streams {
        Known::Known(streams) => streams,
        Known::Unknown(why) => return Err(format!("which servers keep the ledger: {why}")),
    };
    let mut keep = BTreeSet::new();
    for stream in streams.iter().filter(|stream| stream.name.contains("_LEDGER_")) {
        let Some(leader) = &stream.leader else {
            return Err(format!("which servers keep {}: it has no leader", stream.name));
        };
        keep.insert(leader.as_str());
        keep.extend(stream.followers.iter().map(|follower| follower.name.as_str()));
    }
    if keep.is_empty() {
        return Err("which servers keep the ledger: it has no stream".to_owned());
    }
    Ok(keep)
}

/// Why not every server has said how it is; empty: all have that keep the ledger, and all
/// that were asked.
fn silent(picture: &Picture) -> Vec<String> {
    if picture.servers.is_empty() {
        return vec!["no server was asked".to_owned()];
    }
    let (mut silent, mut said) = (Vec::new(), BTreeSet::new());
    for server in &picture.servers {
        match &server.said {
            Known::Known(known) => {
                said.insert(known.name.as_str());
            }
            Known::Unknown(why) => silent.push(format!("{}: {why}", server.monitor)),
        }
    }
    match kept_by(picture) {
        Ok(keep) => {
            let missing: Vec<&str> = keep.difference(&said).copied().collect();
            if !missing.is_empty() {
                silent.push(format!("nobody has heard from {}", missing.join(", ")));
            }
        }
        Err(why) => silent.push(why),
    }
    silent
}

pub(super) fn sync(picture: &Picture) -> Check {
    let name = "sync";
    let (mut wrong, mut fine) = (Vec::new(), Vec::new());
    for said in picture.servers.iter().filter_map(|server| server.said.found()) {
        if said.sync_always {
            fine.push(said.name.clone());
        } else {
            wrong.push(format!("{} does not", said.name));
        }
    }
    if !wrong.is_empty() {
        let remedy = "set `sync_interval: always` in its jetstream block: else a power failure can \
                      take back grants that clients were answered";
        return no_go(name, wrong.join("; "), remedy);
    }
    // Each server that keeps the ledger has to be among those that were asked.
    let silent = silent(picture);
    if !silent.is_empty() {
        return unknown(name, silent.join("; "), NAME_MONITORS);
    }
    go(name, format!("{} syncs before it acknowledges", fine.join(", ")))
}

fn percent(storage: &Storage) -> Option<u64> {
    Some(storage.used.saturating_mul(100) / storage.limit?.max(1))
}

pub(super) fn disk(picture: &Picture, limits: &Limits) -> Check {
    let name = "disk";
    let (mut found, mut silent) = (Vec::new(), silent(picture));
    match &picture.storage {
        Known::Known(storage) => {
            found.extend(percent(storage).map(|used| ("the account".to_owned(), used)));
        }
        Known::Unknown(why) => silent.push(format!("the account: {why}")),
    }
    for said in picture.servers.iter().filter_map(|server| server.said.found()) {
        found.extend(percent(&said.storage).map(|used| (said.name.clone(), used)));
    }
    let full = found.iter().filter(|(_, used)| *used > limits.disk_percent);
    let wrong: Vec<String> = full.map(|(of, used)| format!("{of}: {used} % is used")).collect();
    if wrong.is_empty() && !silent.is_empty() {
        return unknown(name, silent.join("; "), NAME_MONITORS);
    }
    if found.is_empty() {
        let remedy = "bound what the account or its servers may store";
        return unknown(name, "no bound of what may be stored is known", remedy);
    }
    let most = found.iter().map(|(_, used)| *used).max().unwrap_or(0);
    let fine = format!("{most} % of what may be stored (up to {} %)", limits.disk_percent);
    unless(
        name,
        &wrong,
        fine,
        "make room, or roll and archive: operations.md, The ledger's generations",
    )
}

pub(super) fn certificates(
    picture: &Picture,
    limits: &Limits,
    certificates: &[Certificate],
) -> Check {
    let name = "certificates";
    let mut all: Vec<(String, Known<_>)> =
        certificates.iter().map(|one| (one.of.clone(), one.until.clone())).collect();
    for said in picture.servers.iter().filter_map(|server| server.said.found()) {
        match said.certificate_until {
            Some(until) => all.push((said.name.clone(), Known::Known(until))),
            // This login believes or has a certificate: so the server has one too.
            None if !certificates.is_empty() => {
                let why = "it does not say when its certificate ends".to_owned();
                all.push((said.name.clone(), Known::Unknown(why)));
            }
            None => {}
        }
    }
    let (mut wrong, mut silent, mut soonest) = (Vec::new(), silent(picture), u64::MAX);
    for (of, until) in &all {
        match until {
            Known::Known(until) => {
                let left = until.millis_since(picture.taken_at);
                soonest = soonest.min(left);
                if left == 0 {
                    wrong.push(format!("{of}: it ended at {until}"));
                } else if left < limits.certificate_ms {
                    wrong.push(format!("{of}: it ends in {}", length(left)));
                }
            }
            Known::Unknown(why) => silent.push(format!("{of}: {why}")),
        }
    }
    if wrong.is_empty() && !silent.is_empty() {
        let remedy = "let this login read its files, and name the monitoring address of every \
                      server: --nats-monitor http://host:8222,http://…";
        return unknown(name, silent.join("; "), remedy);
    }
    let fine = match all.len() {
        0 => "neither this login nor a server of the broker's uses certificates".to_owned(),
        n => format!("{n} certificates, the first ends in {}", length(soonest)),
    };
    unless(name, &wrong, fine, "renew them, and reload or restart whoever uses them")
}
