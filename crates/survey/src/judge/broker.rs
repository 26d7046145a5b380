//! What the broker tells of its streams and servers.

use giliran_wire::picture::{Check, Known, Picture, Storage, Stream};

use super::{Certificate, Limits, go, length, no_go, unknown, unless};

/// What helps where streams could not be looked at.
const MAY_LOOK: &str = "run it with a login that may look at streams (under the shipped \
                        permissions: watcher, with GILIRAN_NATS_DOMAIN=giliran)";
/// What helps where no server could be asked.
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

pub(super) fn sync(picture: &Picture) -> Check {
    let name = "sync";
    let (mut wrong, mut silent, mut fine) = (Vec::new(), Vec::new(), Vec::new());
    for server in &picture.servers {
        match &server.said {
            Known::Known(said) if said.sync_always => fine.push(said.name.clone()),
            Known::Known(said) => wrong.push(format!("{} does not", said.name)),
            Known::Unknown(why) => silent.push(format!("{}: {why}", server.monitor)),
        }
    }
    if !wrong.is_empty() {
        let remedy = "set `sync_interval: always` in its jetstream block: else a power failure can \
                      take back grants that clients were answered";
        return no_go(name, wrong.join("; "), remedy);
    }
    if !silent.is_empty() {
        return unknown(name, silent.join("; "), NAME_MONITORS);
    }
    // Each server that keeps the ledger has to be among those that were asked.
    let keep = picture.streams.found().into_iter().flatten();
    let keep = keep.filter(|stream| stream.name.contains("_LEDGER_"));
    let keep = keep.flat_map(|s| s.leader.iter().chain(s.followers.iter().map(|f| &f.name)));
    let mut missing: Vec<&String> = keep.filter(|server| !fine.contains(server)).collect();
    missing.sort_unstable();
    missing.dedup();
    if picture.servers.is_empty() {
        return unknown(name, "no server was asked whether it syncs", NAME_MONITORS);
    }
    if !missing.is_empty() {
        let missing: Vec<&str> = missing.into_iter().map(String::as_str).collect();
        let found = format!("not asked whether it syncs: {}", missing.join(", "));
        return unknown(name, found, NAME_MONITORS);
    }
    go(name, format!("{} syncs before it acknowledges", fine.join(", ")))
}

fn percent(storage: &Storage) -> Option<u64> {
    Some(storage.used.saturating_mul(100) / storage.limit?.max(1))
}

pub(super) fn disk(picture: &Picture, limits: &Limits) -> Check {
    let name = "disk";
    let mut found = Vec::new();
    if let Known::Known(storage) = &picture.storage {
        found.extend(percent(storage).map(|used| ("the account".to_owned(), used)));
    }
    for server in &picture.servers {
        if let Known::Known(said) = &server.said {
            found.extend(percent(&said.storage).map(|used| (said.name.clone(), used)));
        }
    }
    if found.is_empty() {
        return unknown(name, "no bound of what may be stored is known", NAME_MONITORS);
    }
    let full = found.iter().filter(|(_, used)| *used > limits.disk_percent);
    let wrong: Vec<String> = full.map(|(of, used)| format!("{of}: {used} % is used")).collect();
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
    for server in &picture.servers {
        if let Known::Known(said) = &server.said {
            let until =
                said.certificate_until.map(|until| (said.name.clone(), Known::Known(until)));
            all.extend(until);
        }
    }
    let (mut wrong, mut silent, mut soonest) = (Vec::new(), Vec::new(), u64::MAX);
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
        return unknown(name, silent.join("; "), "look at these files");
    }
    let fine = match all.len() {
        0 => "no certificates are used on the way to the broker".to_owned(),
        n => format!("{n} certificates, the first ends in {}", length(soonest)),
    };
    unless(name, &wrong, fine, "renew them, and reload or restart whoever uses them")
}
