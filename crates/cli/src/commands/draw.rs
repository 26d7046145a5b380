//! `giliran draw`.

use std::path::{Path, PathBuf};

use giliran_audit::{Facts, Stage};
use giliran_drand::{Network, Round};
use giliran_nats::ledger;
use giliran_nats::ledger::archive::Archive;
use giliran_verify::draw::{Extract, Known, Problem};
use giliran_wire::subject::Namespace;

use crate::commands::verify;
use crate::connect::{Streams, namespace};
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  giliran draw show --opening 2026-W49\n  \
    giliran draw export --opening 2026-W49 draw.json")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show what is to be published before a draw: commitment, public value, root.
    Show(Ledger),
    /// Write the proof that an entry is in a draw, for somebody who does not need
    /// the others, from an extract.
    Proof {
        /// The extract that `giliran draw export` has written.
        extract: PathBuf,
        /// Receipt of the entry, as its answer gave it.
        #[arg(long)]
        receipt: String,
        /// The id of the request it was given for.
        #[arg(long)]
        request_id: String,
        /// The file to write.
        file: PathBuf,
    },
    /// Write the extract of a draw: entries under numbers, places, seed, results;
    /// no applicants, accounts, receipts or request ids.
    Export {
        #[command(flatten)]
        ledger: Ledger,
        /// The file to write.
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Ledger {
    #[command(flatten)]
    nats: Streams,
    /// The ledger's subject prefix.
    #[arg(long, default_value = Namespace::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// Id of the opening whose draw it is, as `2026-W49`.
    #[arg(long)]
    opening: String,
    /// Where `giliran archive` has put generations whose streams are gone.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
}

impl Ledger {
    async fn facts(&self) -> Result<Facts, Failure> {
        let namespace = namespace(&self.subject_prefix)?;
        let context = self.nats.connect("giliran draw").await?;
        let ledger = ledger::open_in(&context, &namespace).await?;
        let archive = self.archive.clone().map(Archive::new);
        Ok(Box::pin(Facts::of(&ledger, archive.as_ref())).await?)
    }
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    match args.what {
        What::Show(ledger) => show(&ledger).await,
        What::Proof { extract, receipt, request_id, file } => {
            prove(&extract, &receipt, &request_id, &file)
        }
        What::Export { ledger, file } => export(&ledger, &file).await,
    }
}

async fn show(ledger: &Ledger) -> Result<(), Failure> {
    let opening = &ledger.opening;
    let Some(seed) = ledger.facts().await?.seed(opening) else {
        let what = "the ledger does not have this id, or the order does not need a seed";
        return Err(Failure::Wrong(format!("opening {opening}: {what}")));
    };
    let beacon = seed.beacon.as_deref();
    outln!("commitment    {}", seed.commitment);
    outln!("public value  {}", beacon.unwrap_or("none: the operator must be trusted"));
    // Of a network whose times are known.
    let round: Option<Round> = beacon.and_then(|name| name.parse().ok());
    if let Some(at) = round.and_then(|round| Network::quicknet().published_at(&round)) {
        outln!("published     {at}");
    }
    outln!("root          {}", seed.root.as_deref().unwrap_or("not before the close of a draw"));
    outln!(
        "stage         {}",
        match seed.stage {
            Stage::Before => "the seed is not published yet",
            Stage::Waits => "waits for the public value: `giliran admin beacon` hands it in",
            Stage::Going => "the seed is published; the draw is going on",
            Stage::Over => "over; the seed is published",
        }
    );
    Ok(())
}

fn prove(extract: &Path, receipt: &str, request_id: &str, file: &Path) -> Result<(), Failure> {
    let receipt = verify::receipt(receipt)?;
    let shown = extract.display();
    let wrong = |problem: Problem| Failure::Wrong(format!("{shown}: {problem}"));
    let extract = Extract::parse(&verify::read(extract)?).map_err(wrong)?;
    extract.verify(&Known::default()).map_err(wrong)?;
    let proof = extract.prove(receipt.as_bytes(), request_id).map_err(wrong)?;
    let mut text =
        serde_json::to_string_pretty(&proof).map_err(|e| Failure::Wrong(e.to_string()))?;
    text.push('\n');
    std::fs::write(file, text).map_err(|e| Failure::Wrong(format!("{}: {e}", file.display())))?;
    outln!("{}: entry {} of {}", file.display(), proof.ballot.number, proof.entries);
    Ok(())
}

async fn export(ledger: &Ledger, file: &Path) -> Result<(), Failure> {
    let Some(extract) = ledger.facts().await?.extract(&ledger.opening) else {
        let what = "the ledger does not have this id, or it was not drawn (yet)";
        return Err(Failure::Wrong(format!("opening {}: {what}", ledger.opening)));
    };
    let mut text =
        serde_json::to_string_pretty(&extract).map_err(|e| Failure::Wrong(e.to_string()))?;
    text.push('\n');
    std::fs::write(file, text).map_err(|e| Failure::Wrong(format!("{}: {e}", file.display())))?;
    outln!("{}: {} entries, root {}", file.display(), extract.ballots.len(), extract.root);
    Ok(())
}
