//! `giliran journal`: who did what and why, with what stood before, from the ledger.

use std::path::PathBuf;

use async_nats::jetstream::Context;
use giliran_nats::ledger;
use giliran_nats::ledger::archive::Archive;
use giliran_nats::ledger::scan::{ScanError, Scanned, scan};
use giliran_wire::ledger::Reading;
use giliran_wire::ledger::journal::{Action, Journal};
use giliran_wire::subject::Namespace;
use serde_json::Value;

use crate::connect::{Streams, namespace};
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran journal --opening 2026-W49\n  \
    giliran journal --json\n\n\
    It reads the ledger, so it needs a login that may (under the shipped permissions: auditor).")]
pub(crate) struct Args {
    #[command(flatten)]
    nats: Streams,
    /// The ledger's subject prefix.
    #[arg(long, default_value = Namespace::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// Of this opening alone, and of the ledger itself; left out, of every opening.
    #[arg(long, value_name = "ID")]
    opening: Option<String>,
    /// Where `giliran archive` has put generations whose streams are gone.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// Print each action as a line of JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let namespace = namespace(&args.subject_prefix)?;
    let context = args.nats.connect("giliran journal").await?;
    let archive = args.archive.map(Archive::new);
    let journal = read(&context, &namespace, archive.as_ref()).await?;
    let actions = match &args.opening {
        None => journal.actions().iter().collect(),
        Some(id) => journal.of_opening(id).ok_or_else(|| {
            let there = match journal.openings()[..] {
                [] => "the ledger has none".to_owned(),
                ref ids => format!("there are: {}", ids.join(", ")),
            };
            Failure::Usage(format!("--opening {id}: no such opening in the ledger; {there}"))
        })?,
    };
    if args.json {
        let actions: Vec<Value> = actions.iter().map(|action| action.json()).collect();
        outln!("{:#}", Value::from(actions));
        return Ok(());
    }
    for action in actions {
        outln!("{}", line(action));
    }
    Ok(())
}

/// Reads the whole ledger for what was done in it.
pub(crate) async fn read(
    context: &Context,
    namespace: &Namespace,
    archive: Option<&Archive>,
) -> Result<Journal, Failure> {
    let ledger = ledger::open_in(context, namespace).await?;
    let mut journal = Journal::default();
    let each = |read: Scanned<'_>| {
        if let Reading::Valid(block) = &read.reading {
            journal.read(read.seq, block.time, &block.entries);
        }
        Ok::<_, ScanError>(())
    };
    Box::pin(scan(&ledger, archive, each)).await?;
    Ok(journal)
}

/// An action for people.
fn line(action: &Action) -> String {
    let opening = action.opening.as_ref().map_or("the ledger", |record| record.id.as_str());
    let words = action.words_with_before();
    let who = match &action.signed {
        Some((operator, reason)) => format!("{words}. {operator}: {reason}"),
        None => words,
    };
    format!("{}  {:<8} {opening}: {who}", action.time, action.seq)
}
