//! Row H2: many who read free places as server-sent events, all at one gateway: what each costs
//! in memory, and what it takes to tell all of them what changes.
//!
//! Resident bytes of the gateway's process, before and after; what the kernel keeps for
//! connections is not in them.

use std::path::Path;
use std::time::Duration;

use giliran_loadgen::stream_readers::StreamReaders;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::super::{Args, requests};
use super::super::processes::{self, Process, Used};
use super::super::report::Figure;
use super::super::rig::{Ground, Rig};
use super::{OPENING, Serving};
use crate::failure::Failure;

/// Connections, each with somebody who reads.
const READERS: f64 = 10_000.0;
/// Files that a process has open beside its connections, at most.
const OTHER_FILES: u64 = 300;
/// How long all of them may take until each has read its first event.
const OPEN_WITHIN: Duration = Duration::from_secs(90);
/// After something has happened, until memory is looked at; and the least, for a quick look.
const SETTLED_AFTER: f64 = 2.0;
const LEAST_SETTLED: f64 = 0.2;
/// How long places change, and the least; and how often.
const LASTS: f64 = 20.0;
const LEAST: f64 = 2.0;
const BOOKED_EVERY: Duration = Duration::from_secs(1);
/// Bookings each time, each of another slot.
const BOOKED: u64 = 50;

pub(in super::super) async fn measure(args: &Args, folder: &Path) -> Result<Vec<Figure>, Failure> {
    let readers = ((READERS * args.scale) as usize).max(1);
    let needed = readers as u64 + OTHER_FILES;
    if let Err(most) = allow_files(needed) {
        eprintln!(
            "H2: LEFT OUT: {readers} connections need {needed} open files in the load and as many \
             in the gateway, and this system allows a process {most}; `ulimit -Hn {needed}` as \
             root, or LimitNOFILE={needed} of its service, allows them"
        );
        return Ok(Vec::new());
    }
    let folder = folder.join("readers");
    std::fs::create_dir(&folder)?;
    let mut rig = Rig::start(&Ground::of(args), &folder).await?;
    let gateway = Serving::gateway(&rig).await?;
    let figures = Box::pin(read(&mut rig, &gateway, readers, args.scale)).await?;
    drop(gateway);
    rig.stop().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(figures)
}

/// Lets this process, and those it starts, have so many open files.
///
/// # Errors
///
/// How many the system allows at most, where that is fewer.
fn allow_files(needed: u64) -> Result<(), u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None: without a limit.
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let most = maximum.unwrap_or(u64::MAX);
    let raised = Rlimit { current: Some(needed), maximum };
    if most < needed || setrlimit(Resource::Nofile, raised).is_err() {
        return Err(most);
    }
    Ok(())
}

async fn read(
    rig: &mut Rig,
    gateway: &Serving,
    readers: usize,
    scale: f64,
) -> Result<Vec<Figure>, Failure> {
    let before = settled(gateway, scale).await?;
    eprintln!("H2: {readers} readers …");
    let path = format!("{OPENING}/places/stream");
    let mut open = StreamReaders::open(gateway.address, &path, readers, OPEN_WITHIN).await?;
    let opened = settled(gateway, scale).await?;
    let lasts = Duration::from_secs_f64((LASTS * scale).max(LEAST));
    let mut processes: Vec<Process> = rig.processes.clone();
    processes.extend(gateway.process());
    let used = Used::now(&processes);
    let booking = booked(rig);
    let events = tokio::select! {
        events = open.read_for(lasts) => events?,
        failed = booking => return Err(failed),
    };
    let (elapsed, spent) = used.since(&processes);
    let after = settled(gateway, scale).await?;
    let seconds = elapsed.as_secs_f64();
    let of_core = |spent: &Duration| spent.as_secs_f64() / seconds;
    let cpu = processes.iter().zip(&spent).filter(|(_, spent)| of_core(spent) >= 0.005);
    let cpu = cpu.map(|(process, spent)| format!("{} {:.2}", process.what, of_core(spent)));
    let cpu = cpu.collect::<Vec<_>>().join(", ");
    let of_gateway = spent.last().map(of_core).unwrap_or(f64::NAN);
    let figure = |what: &str, value, unit: &str, beside| Figure {
        row: "H2".to_owned(),
        what: what.to_owned(),
        value,
        unit: unit.to_owned(),
        goal: None,
        beside,
    };
    let mb = |bytes: f64| bytes / 1e6;
    Ok(vec![
        figure(
            "memory of a gateway for one who reads",
            (opened.max(after) - before) / readers as f64,
            "B",
            format!(
                "{readers} connections; resident {:.1} MB before, {:.1} MB with them, {:.1} MB \
                 after {seconds:.0} s of changes",
                mb(before),
                mb(opened),
                mb(after)
            ),
        ),
        figure(
            "changes told to all of them",
            events as f64 / seconds,
            "events/s",
            format!(
                "{events} in {seconds:.0} s, {:.2} a second each; {BOOKED} of 500 slots change a \
                 second",
                events as f64 / seconds / readers as f64
            ),
        ),
        figure(
            "processor time of the gateway meanwhile",
            of_gateway,
            "of a core",
            format!("of a core: {cpu}"),
        ),
    ])
}

/// Books each second, for as long as it is waited for; gives why it cannot go on.
async fn booked(rig: &mut Rig) -> Failure {
    let (client, book) = (rig.stage.client.clone(), rig.stage.namespace.request("book"));
    let mut every = tokio::time::interval(BOOKED_EVERY);
    loop {
        every.tick().await;
        let payload = requests::batch(rig.take_people(BOOKED), BOOKED);
        match client.request(book.clone(), payload).await {
            Ok(answer) if requests::is_granted(&answer.payload) => {}
            Ok(_) => return Failure::Wrong("H2: a booking was not granted".to_owned()),
            Err(error) => return error.into(),
        }
    }
}

/// Resident bytes, once nothing more happens.
async fn settled(gateway: &Serving, scale: f64) -> Result<f64, Failure> {
    tokio::time::sleep(Duration::from_secs_f64((SETTLED_AFTER * scale).max(LEAST_SETTLED))).await;
    let resident = gateway.child.id().and_then(processes::resident);
    let gone = || Failure::Wrong("H2: the gateway has ended, or there is no /proc".to_owned());
    resident.map(|bytes| bytes as f64).ok_or_else(gone)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_does_not_allow_is_told_and_not_tried() {
        let before = getrlimit(Resource::Nofile);
        if let Some(most) = before.maximum {
            assert_eq!(allow_files(most + 1), Err(most));
        }
        assert_eq!(allow_files(16), Ok(()));
        assert_eq!(getrlimit(Resource::Nofile), before);
    }
}
