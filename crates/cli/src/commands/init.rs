//! `giliran init`.

use std::path::{Path, PathBuf};

use async_nats::Client;
use giliran_nats::ledger::{self, Ledger};
use giliran_nats::{ErrorKind, clock, suitability};
use giliran_wire::ledger::Genesis;
use giliran_wire::subject::Namespace;
use giliran_wire::{ApplicantKey, LedgerId};

use crate::connect::Nats;
use crate::failure::Failure;
use crate::key_file;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  giliran init --nats nats://127.0.0.1:4222 --key /etc/giliran/applicant.key --replicas 3"
)]
pub(crate) struct Args {
    #[command(flatten)]
    nats: Nats,
    /// The applicant key; made if the file is missing.
    #[arg(long, env = "GILIRAN_KEY_FILE", default_value = key_file::FILE)]
    key: PathBuf,
    /// Subjects, streams and buckets are named after it.
    #[arg(long, default_value = Namespace::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// Copies of the ledger in a NATS cluster.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: u8,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let namespace =
        Namespace::new(&args.subject_prefix).map_err(|e| Failure::Usage(e.to_string()))?;
    let client = args.nats.connect("giliran init").await?;
    suitability::check(&client, None).await?;
    match ledger::open(&client, &namespace).await {
        Ok(ledger) if ledger.tail().await?.1 > 0 => {
            return Err(Failure::Wrong(format!(
                "the ledger is made already: stream {} holds blocks",
                ledger.name()
            )));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NoLedger => {}
        Err(error) => return Err(error.into()),
    }
    // Only now: a key that fits no ledger is not to lie about.
    let key = read_or_make(&args.key)?;
    let ledger = make(&client, &namespace, &key, usize::from(args.replicas)).await?;
    outln!("ledger made: stream {}, applicant key {}", ledger.name(), key.fingerprint());
    outln!("keep {} safe: without it nobody is recognised", args.key.display());
    Ok(())
}

pub(crate) fn read_or_make(path: &Path) -> Result<ApplicantKey, Failure> {
    if path.exists() { key_file::read(path) } else { key_file::make(path) }
}

/// Makes stream and genesis.
pub(crate) async fn make(
    client: &Client,
    namespace: &Namespace,
    key: &ApplicantKey,
    replicas: usize,
) -> Result<Ledger, Failure> {
    let genesis = Genesis {
        prefix: namespace.prefix().to_owned(),
        applicant_key: key.fingerprint(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        continues: None,
        rebuilt: None,
    };
    let id = LedgerId(rand::random());
    Ok(ledger::init(client, namespace, genesis, id, clock::now(), replicas).await?)
}
