//! Throughput and latency over NATS, beside yardsticks in one run: two echoes that do
//! nothing and answer with as many bytes, and a program that does the least that could be
//! called the job.
//!
//! Closed loop: a fixed number of messages is on its way. A pass of a row is a number of
//! requests, encoded beforehand; passes of all rows alternate and begin with another row
//! each time, so that a noisy machine is noisy for all. Each pass has a broker, a ledger
//! and an engine of its own, and a book of fixed size.

mod downstream;
mod gateway;
mod growth;
mod memory;
mod paced;
mod peers;
mod plot;
mod processes;
mod report;
mod rig;
mod rows;
mod shipped;
mod with_roles;
mod yardsticks;

use std::path::Path;

use giliran_nats::clock;
use serde_json::{Value, json};

use self::report::Results;
use self::rig::{Ground, Rig, SINGLES};
use self::rows::{BATCH, By, GOALS, PEERS, ROWS, Row};
use super::{Args, WINDOW};
use crate::failure::Failure;
use crate::{COMMIT, RELEASE};

pub(super) use self::gateway::answer as answer_http;
pub(super) use self::yardsticks::answer as echo;

/// Measures, prints the table, and writes every pass down where it is asked to.
pub(super) async fn run(args: &Args, folder: &Path) -> Result<(), Failure> {
    let rows = chosen(args);
    let named: Vec<&str> =
        NAMED.into_iter().filter(|name| args.rows.iter().any(|row| row == name)).collect();
    if rows.is_empty() && named.is_empty() {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).chain(NAMED).collect();
        return Err(Failure::Usage(format!("--rows: there are {}", names.join(", "))));
    }
    let mut results = Results { about: about(args), ..Results::default() };
    if !rows.is_empty() {
        Box::pin(throughput(args, &rows, folder, &mut results)).await?;
    }
    for name in named {
        Box::pin(measure(name, args, folder, &mut results)).await?;
    }
    if wants_roles(args) {
        results.store_and_feed = Some(Box::pin(with_roles::measure(args, folder)).await?);
    }
    println!("{}", results.table());
    match &args.json {
        Some(file) => results.save(file),
        None => Ok(()),
    }
}

/// Rows that are measured only where they are named: each takes long, and stands for itself.
const NAMED: [&str; 7] = ["S11", "S10", "S12", "S9", "shipped", "H1", "H2"];

/// One of them.
async fn measure(
    name: &str,
    args: &Args,
    folder: &Path,
    results: &mut Results,
) -> Result<(), Failure> {
    let (figures, passes) = match name {
        "S11" => (Box::pin(memory::measure(args, folder)).await?, Vec::new()),
        "S10" => (Box::pin(downstream::measure(args, folder)).await?, Vec::new()),
        "S12" => Box::pin(growth::measure(args, folder)).await?,
        "S9" => Box::pin(paced::measure(args, folder)).await?,
        "H1" => Box::pin(gateway::bookings(args, folder)).await?,
        "H2" => (Box::pin(gateway::readers(args, folder)).await?, Vec::new()),
        _ => Box::pin(shipped::measure(args, folder)).await?,
    };
    results.figures.extend(figures);
    results.passes_of_figures.extend(passes);
    Ok(())
}

/// Prints the table of results that were written down, for a document.
pub(super) fn print_table(file: &Path) -> Result<(), Failure> {
    print!("{}", Results::read(file)?.markdown());
    Ok(())
}

/// Writes pictures of results that were written down; prints each as a document names it.
pub(super) fn plot(file: &Path, folder: &Path) -> Result<(), Failure> {
    for plot::Picture { name, about, .. } in plot::write(file, folder)? {
        println!("![{about}]({name})");
    }
    Ok(())
}

/// The passes of these rows.
async fn throughput(
    args: &Args,
    rows: &[Row],
    folder: &Path,
    results: &mut Results,
) -> Result<(), Failure> {
    let (bare, peers) = (args.bare.as_deref(), args.peers.as_deref());
    let ground = Ground { bare, peers, ..Ground::of(args) };
    for pass in 0..args.passes {
        let folder = folder.join(format!("pass-{pass}"));
        std::fs::create_dir(&folder)?;
        let mut rig = Rig::start(&ground, &folder).await?;
        results.bytes = rig.sizes();
        results.peers = rig.peers.as_ref().map(|peers| peers.found().clone());
        for i in 0..rows.len() {
            let row = &rows[(i + pass as usize) % rows.len()];
            if !rig.has(row) {
                continue;
            }
            eprintln!("pass {} of {}: {} …", pass + 1, args.passes, row.name);
            results.passes.push(rig.pass(row).await?);
        }
        if pass + 1 == args.passes {
            results.idle_ms = Some(rig.idle().await?);
        }
        rig.stop().await?;
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

/// What the rates beside store and feed are held against.
const OF_ROLES: &str = "echo U";

/// Whether S2a and S2b are asked for.
fn wants_roles(args: &Args) -> bool {
    args.rows.is_empty() || args.rows.iter().any(|row| row == "S2a" || row == "S2b")
}

/// The rows that are asked for, with those that their goals are held against; the peers'
/// where their program is named.
fn chosen(args: &Args) -> Vec<Row> {
    let asked = |name: &str| {
        args.rows.is_empty() || args.rows.iter().any(|row| name.starts_with(row.as_str()))
    };
    let yardstick = |name: &str| GOALS.iter().any(|goal| asked(goal.row) && goal.over == name);
    let yardstick = |name: &str| yardstick(name) || (name == OF_ROLES && wants_roles(args));
    let there = |row: &&Row| row.by != By::Bare || args.bare.is_some();
    let rows = ROWS.iter().filter(|row| asked(row.name) || yardstick(row.name));
    let any = ROWS.iter().any(|row| asked(row.name));
    let peers = PEERS.iter().filter(|_| args.peers.is_some() && any);
    rows.filter(there).chain(peers).copied().collect()
}

/// What the figures were measured on.
fn about(args: &Args) -> Value {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    json!({
        "release": RELEASE,
        "commit": COMMIT,
        "measured_at": clock::now(),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "processor": field(&read("/proc/cpuinfo"), "model name"),
        "memory": field(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "passes": args.passes,
        "scale": args.scale,
        "book": args.book,
        "window": { "single": SINGLES, "batched": WINDOW, "batch": BATCH },
    })
}
