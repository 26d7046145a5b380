//! `giliran draw`.

use std::path::PathBuf;

use giliran_broker::archive::Archive;
use giliran_broker::ledger;
use giliran_surge::audit::Facts;
use giliran_wire::subject::Domain;

use crate::failure::Failure;
use crate::roles::{Nats, domain};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  giliran draw export --opening 2026-W49 draw.json")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Write the extract of a draw: entries under numbers, places, seed, results;
    /// no applicants, accounts, receipts or request ids.
    Export(ExportArgs),
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    #[command(flatten)]
    nats: Nats,
    /// The ledger's subject prefix.
    #[arg(long, default_value = Domain::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// The opening's id.
    #[arg(long)]
    opening: String,
    /// Where `giliran archive` has put generations whose streams are gone.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// The file to write.
    file: PathBuf,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let What::Export(args) = args.what;
    let domain = domain(&args.subject_prefix)?;
    let client = args.nats.connect("giliran draw").await?;
    let ledger = ledger::open(&client, &domain).await?;
    let archive = args.archive.map(Archive::new);
    let facts = Box::pin(Facts::of(&ledger, archive.as_ref())).await?;
    let Some(extract) = facts.extract(&args.opening) else {
        let opening = args.opening;
        return Err(Failure::Wrong(format!(
            "opening {opening}: there is none of this id, or it was not drawn (yet)"
        )));
    };
    let mut text =
        serde_json::to_string_pretty(&extract).map_err(|e| Failure::Wrong(e.to_string()))?;
    text.push('\n');
    std::fs::write(&args.file, text)
        .map_err(|e| Failure::Wrong(format!("{}: {e}", args.file.display())))?;
    shown!("{}: {} entries, root {}", args.file.display(), extract.ballots.len(), extract.root);
    Ok(())
}
