//! `giliran ledger`: what an administrator does to the ledger itself.

use giliran_engine::rebuild::Damaged;
use giliran_nats::lease::Lease;
use giliran_nats::ledger;
use giliran_wire::WriterNonce;
use giliran_wire::ledger::Signed;
use giliran_wire::snapshot::PART_BYTES;
use giliran_wire::subject::Namespace;

use crate::connect::{Nats, namespace};
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Let a damaged ledger go on behind its last good block, in a stream of its own.
    Rebuild(RebuildArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    giliran ledger rebuild --operator siti --reason \"a forged block at 1842, ticket 77\"\n\n\
    Shows what it found and would do; does it with --yes. Stop every engine first. The damaged\n\
    stream stays as it is, nothing is deleted. What stands in it from the damage on does not count\n\
    any more: tell the people whose grants the report counts.\n\n\
    Exit code 1: the ledger is fine, an engine is active, or what was written is not right.")]
struct RebuildArgs {
    #[command(flatten)]
    nats: Nats,
    /// The ledger's subject prefix.
    #[arg(long, default_value = Namespace::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// Your name, for the record.
    #[arg(long)]
    operator: String,
    /// Why, for the record.
    #[arg(long)]
    reason: String,
    /// Do it, do not only show it.
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    match args.what {
        What::Rebuild(args) => rebuild(args).await,
    }
}

async fn rebuild(args: RebuildArgs) -> Result<(), Failure> {
    let namespace = namespace(&args.subject_prefix)?;
    for (name, text) in [("--operator", &args.operator), ("--reason", &args.reason)] {
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err(Failure::Usage(format!("{name}: printable, and not empty")));
        }
    }
    let client = args.nats.connect("giliran ledger").await?;
    let ledger = ledger::open(&client, &namespace).await?;
    let lease = Lease::of_engines(&client, &namespace, "giliran ledger", ledger.replicas());
    if let Some(holder) = lease.holder().await.filter(|holder| !holder.is_empty()) {
        return Err(Failure::Wrong(format!(
            "engine {holder} holds the lease: stop every engine first, then wait three seconds"
        )));
    }
    let damaged = Box::pin(Damaged::find(&ledger)).await?;
    let (stream, next) = (damaged.stream().to_owned(), damaged.next_stream());
    outln!("{}", damaged.what);
    outln!(
        "good          {} blocks up to sequence {} of {stream}, {} bookings in memory",
        damaged.good_blocks(),
        damaged.good_until(),
        damaged.bookings()
    );
    outln!(
        "given up      {} blocks with {} grants, from sequence {} to {}",
        damaged.left_blocks,
        damaged.left_grants,
        damaged.damaged_at,
        damaged.tail
    );
    if !args.yes {
        outln!(
            "would begin   {next} with these {} good blocks; --yes does it",
            damaged.good_blocks()
        );
        return Ok(());
    }
    let writer = WriterNonce(rand::random());
    let signed = Signed { operator: args.operator, reason: args.reason };
    let rebuilding = damaged.rebuild(signed, writer, PART_BYTES);
    let (next, tail) = Box::pin(rebuilding).await?;
    outln!("rebuilt       {next}, up to sequence {tail}, written and read back");
    outln!("start the engines; stores and feed go on by themselves. Keep {stream} as it is");
    Ok(())
}
