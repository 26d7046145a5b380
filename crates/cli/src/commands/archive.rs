//! `giliran archive`: sealed generations of the ledger become files.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use giliran_nats::ledger::archive::Archive;
use giliran_nats::ledger::reader::Durable;
use giliran_nats::ledger::{self, Ledger};
use giliran_wire::subject::Namespace;

use crate::connect::{Nats, namespace};
use crate::failure::Failure;

/// How often progress is shown.
const TELL_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran archive --to /backup/giliran --keep       # copy, delete nothing\n  \
    giliran archive --to /backup/giliran\n\n\
    A generation ends by `giliran admin roll`, or by itself once it is long. Its stream is\n\
    deleted only once its file is written and checked, the next generation's begin is\n\
    complete,     and every store and the feed have passed its end. `giliran audit` and `giliran persist` read\n\
    the files with --archive.\n\n\
    Exit code 1: something is still needed, or does not fit; nothing is deleted then.")]
pub(crate) struct Args {
    #[command(flatten)]
    nats: Nats,
    /// The ledger's subject prefix.
    #[arg(long, default_value = Namespace::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// The folder; made if missing.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Copies only: no stream is deleted.
    #[arg(long)]
    keep: bool,
    /// Do not wait for events: this deployment runs without a feed.
    #[arg(long)]
    without_feed: bool,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let namespace = namespace(&args.subject_prefix)?;
    let client = args.nats.connect("giliran archive").await?;
    let newest = ledger::open(&client, &namespace).await?;
    let archive = Archive::new(args.to);
    let generations = newest.generations().await?;
    let sealed: Vec<u32> = generations.into_iter().filter(|n| *n < newest.generation()).collect();
    if sealed.is_empty() {
        outln!(
            "nothing to archive: {} is the only generation; `giliran admin roll` ends it",
            newest.name()
        );
    }
    let events = jetstream::new(client).get_stream(namespace.events_stream()).await;
    let published = match events {
        _ if args.without_feed => u64::MAX,
        Ok(events) => events.cached_info().state.last_sequence,
        // A broker that does not answer has been met before this.
        Err(_) => 0,
    };
    for generation in sealed {
        let Some(ledger) = newest.of_generation(generation).await? else { continue };
        Box::pin(one(&archive, ledger, args.keep, published)).await?;
    }
    Ok(())
}

/// `events`: how many the feed has published.
async fn one(archive: &Archive, ledger: Ledger, keep: bool, events: u64) -> Result<(), Failure> {
    let name = ledger.name().to_owned();
    let mut shown = Instant::now();
    let progress = |blocks| {
        if shown.elapsed() >= TELL_EVERY {
            shown = Instant::now();
            eprintln!("{name}: {blocks} blocks");
        }
    };
    let archived = archive.write(&ledger, progress).await?;
    let path = archive.path(&name);
    outln!(
        "{name}: {} blocks, {} bytes in {}, checked",
        archived.blocks,
        archived.bytes,
        path.display()
    );
    if keep {
        return Ok(());
    }
    let next = ledger.of_generation(ledger.generation() + 1).await?;
    let changes = match next {
        Some(next) if next.is_begun().await? => next.changes_before().await?,
        _ => {
            return Err(Failure::Wrong(format!(
                "{name} is kept: the next generation's begin is not complete; an active \
                 engine writes it"
            )));
        }
    };
    if events < changes {
        return Err(Failure::Wrong(format!(
            "{name} is kept: {changes} events belong to it and before, {events} are \
             published: run `giliran feed`, or say --without-feed if you run none"
        )));
    }
    let followers = ledger.followers().await?;
    let behind: Vec<String> = followers
        .into_iter()
        .filter(|(_, seq)| *seq < archived.seal)
        .map(|(Durable { name, description }, seq)| {
            format!("{name} ({description}) has reached sequence {seq}")
        })
        .collect();
    if !behind.is_empty() {
        return Err(Failure::Wrong(format!(
            "{name} is kept: its end at sequence {} is not reached by all: {}. Run what is \
             behind; delete the consumer of a store that is given up",
            archived.seal,
            behind.join(", ")
        )));
    }
    ledger.delete().await?;
    outln!("{name}: the stream is deleted");
    Ok(())
}
