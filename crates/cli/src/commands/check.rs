//! `giliran check`.

use std::path::PathBuf;

use async_nats::jetstream::Context;
use giliran_allocator::{Calendar, StateMachine};
use giliran_config::{Comparison, Config};
use giliran_nats::{connection, ledger};
use giliran_wire::Timestamp;

use crate::config_file;
use crate::connect::Access;
use crate::failure::Failure;

/// How far ahead openings are shown, and put on record.
const HORIZON_MS: u64 = 14 * 24 * 3_600_000;
/// Openings of the schedule that are tried: those of two years.
const WEEKS: usize = 104;
/// Most openings that are listed as wrong: a rule that is, is in every week.
const LISTED: usize = 10;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  giliran check giliran.toml\n  \
    giliran check giliran.toml --nats nats://broker:4222\n  \
    giliran check --example > giliran.toml\n\n\
    Every problem is listed at once as FILE:LINE:COLUMN: FIELD: what is wrong; exit code 2.\n\
    With --nats the file is held against what is on record; exit code 1 where they differ.\n\
    That reads the ledger, so it needs a login that may (under the shipped permissions: auditor).")]
pub(crate) struct Args {
    /// The configuration file to check, TOML.
    #[arg(required_unless_present = "example")]
    file: Option<PathBuf>,
    /// Print a complete file with comments, to start from.
    #[arg(long, exclusive = true)]
    example: bool,
    /// Show what it resolves to at this instant instead of now.
    #[arg(long, value_name = "RFC3339")]
    at: Option<Timestamp>,
    /// Compare it with the ledger that is there.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    #[command(flatten)]
    access: Access,
    /// The JetStream domain by which this login's account reaches Giliran's streams,
    /// where they are in another account.
    #[arg(long, env = "GILIRAN_NATS_DOMAIN", value_name = "NAME")]
    nats_domain: Option<String>,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let Some(file) = &args.file else {
        outln!("{}", giliran_config::EXAMPLE.trim_end());
        return Ok(());
    };
    let config = config_file::read(file)?;
    let now = args.at.unwrap_or_else(giliran_nats::clock::now);
    let wrong = wrong(&config, now);
    let verdict = if wrong.is_empty() { "fine" } else { "no engine would open all of it" };
    let data = Calendar::data();
    outln!("{}: {verdict}. Subjects {}.*, time zone data {data}", file.display(), config.namespace);
    for warning in &config.warnings {
        outln!("warning: {}:{warning}", file.display());
    }
    for (id, closed_at) in config.over(now) {
        outln!("warning: opening {id}: its window ended at {closed_at}; no engine would open it");
    }
    let due = config.due(now, HORIZON_MS);
    if due.is_empty() {
        outln!("No opening from {now} on.");
    }
    for record in due {
        outln!("{}", giliran_config::describe(&record).trim_end());
    }
    if !wrong.is_empty() {
        let mut lines = wrong.iter().take(LISTED).cloned().collect::<Vec<_>>();
        if wrong.len() > LISTED {
            lines.push(format!("and {} more", wrong.len() - LISTED));
        }
        return Err(Failure::Usage(format!("{}: {}", file.display(), lines.join("\n"))));
    }
    match &args.nats {
        Some(url) => compare(&args, url, &config, now).await,
        None => Ok(()),
    }
}

/// What of all that lies ahead no engine would open, in words.
fn wrong(config: &Config, now: Timestamp) -> Vec<String> {
    let objections = |record| {
        let why = config.objections(&record).join("; ");
        (!why.is_empty()).then(|| format!("opening {}: {why}", record.id))
    };
    config.ahead(now, WEEKS).into_iter().filter_map(objections).collect()
}

/// What is on record beside the file.
pub(crate) struct Beside {
    /// The ledger sequence that it was read at.
    pub(crate) seq: u64,
    pub(crate) compared: Comparison,
}

/// Reads what is on record, and holds the file against it.
pub(crate) async fn beside(
    context: &Context,
    config: &Config,
    now: Timestamp,
) -> Result<Beside, Failure> {
    let ledger = ledger::open_in(context, &config.namespace).await?;
    let state = Box::pin(giliran_engine::standing(&ledger)).await?;
    Ok(beside_state(&state, config, now))
}

/// The same with what has been read already.
pub(crate) fn beside_state(state: &StateMachine, config: &Config, now: Timestamp) -> Beside {
    let (seq, openings) = (state.chain().seq, state.allocator().openings());
    let known = |id: &str| state.knows_opening(id);
    Beside { seq, compared: config.compare(now, HORIZON_MS, &openings, known) }
}

/// Says how the file and what is on record differ.
async fn compare(args: &Args, url: &str, config: &Config, now: Timestamp) -> Result<(), Failure> {
    let client = args.access.connect(url, "giliran check").await?;
    let context = connection::jetstream(&client, args.nats_domain.as_deref());
    let Beside { seq, compared } = beside(&context, config, now).await?;
    for record in &compared.new {
        outln!("opening {}: not on record yet; the active engine puts it there", record.id);
    }
    if compared.findings.is_empty() {
        outln!("What is on record at ledger sequence {seq} is as the file says.");
        return Ok(());
    }
    let findings: Vec<String> = compared.findings.iter().map(ToString::to_string).collect();
    Err(Failure::Wrong(format!(
        "not as on record at ledger sequence {seq}:\n{}",
        findings.join("\n")
    )))
}
