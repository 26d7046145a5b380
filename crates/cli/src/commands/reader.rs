//! `giliran reader`: the consumers of those who read events.

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self};
use futures_util::StreamExt;
use giliran_wire::subject::Namespace;

use crate::connect::{Nats, namespace};
use crate::failure::Failure;

/// Events that a team may have taken and not acknowledged.
const MAX_ACK_PENDING: i64 = 10_000;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran reader add ledger-team\n  \
    giliran reader list\n\n\
    One for each team: teams that share one take events from each other.")]
pub(crate) struct Args {
    #[command(flatten)]
    nats: Nats,
    /// The ledger's subject prefix.
    #[arg(long, default_value = Namespace::DEFAULT_PREFIX, global = true)]
    subject_prefix: String,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a reader's consumer; it begins with the first event.
    Add {
        /// The reader's name: a-z, 0-9 and -, at most 40.
        #[arg(value_parser = name)]
        name: String,
    },
    /// Delete a reader's consumer, and with it how far it has come.
    Remove {
        /// Name of the reader to remove, as `giliran reader list` shows it.
        #[arg(value_parser = name)]
        name: String,
    },
    /// Show all readers and what each has still to read.
    List,
}

fn name(text: &str) -> Result<String, String> {
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if (1..=40).contains(&text.len()) && text.bytes().all(legal) {
        Ok(text.to_owned())
    } else {
        Err("1 to 40 characters of a-z, 0-9 and -".to_owned())
    }
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let name = namespace(&args.subject_prefix)?.events_stream();
    let client = args.nats.connect("giliran reader").await?;
    let events = jetstream::new(client).get_stream(&name).await;
    let events = events.map_err(|error| {
        Failure::Wrong(format!(
            "stream {name}: {error}; `giliran feed` makes it at its first start"
        ))
    })?;
    match args.what {
        What::Add { name } => add(&events, name).await,
        What::Remove { name } => {
            events.delete_consumer(&name).await?;
            outln!("reader {name} is removed");
            Ok(())
        }
        What::List => list(&events).await,
    }
}

async fn add(events: &Stream, name: String) -> Result<(), Failure> {
    let config = pull::Config {
        durable_name: Some(name.clone()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: MAX_ACK_PENDING,
        ..pull::Config::default()
    };
    let made = events.create_consumer_strict(config).await;
    made.map_err(|error| Failure::Wrong(format!("reader {name}: {error}")))?;
    outln!("reader {name} is made, at the first event of {}", events.cached_info().config.name);
    Ok(())
}

async fn list(events: &Stream) -> Result<(), Failure> {
    let mut consumers = events.consumers();
    outln!("{:<40} {:>12} {:>12}", "reader", "to read", "taken");
    while let Some(consumer) = consumers.next().await {
        let consumer = consumer?;
        if let Some(name) = consumer.config.durable_name {
            outln!("{name:<40} {:>12} {:>12}", consumer.num_pending, consumer.num_ack_pending);
        }
    }
    Ok(())
}
