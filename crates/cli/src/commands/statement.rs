//! `giliran statement`: what happened to an opening's places, for the public.

use std::path::{Path, PathBuf};

use giliran_history::statement;
use giliran_history::{RecordedError, RecordedOpening};
use giliran_verify::statement as verify;
use giliran_verify::statement::Checked;

use crate::commands::history::{Source, can_be_written, write};
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran statement --opening 2026-W49 --out 2026-W49.statement\n  \
    giliran statement --check 2026-W49.statement\n  \
    giliran statement --check 2026-W49.statement --against-ledger\n\n\
    A statement holds no person, account, booking or request: per slot and block of the ledger \
    what was granted, returned and released, and what was free. --check needs nothing but the \
    file; docs/statement.md tells how to check one without giliran.\n\n\
    Exit code 1: it was changed, is incomplete, or says that a promise was broken.")]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Write the statement into this file; left out: to standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    out: Option<PathBuf>,
    /// Recompute a statement from itself alone.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Then hold it against the ledger as well, line by line.
    #[arg(long, requires = "check")]
    against_ledger: bool,
}

pub(crate) async fn run(mut args: Args) -> Result<(), Failure> {
    if let Some(file) = args.check.take() {
        return Box::pin(check(&file, args)).await;
    }
    if let Some(file) = &args.out {
        can_be_written("--out", file)?;
    }
    let recorded = Box::pin(args.source.read(u64::MAX)).await?;
    let text = statement::write(&recorded);
    let checked = verify::check(&text)?;
    match &args.out {
        Some(file) => {
            write(file, &text)?;
            show(&checked);
        }
        None => outln!("{}", text.trim_end()),
    }
    verdict(&checked)
}

async fn check(file: &Path, args: Args) -> Result<(), Failure> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::Usage(format!("--check {name}: {e}")))?;
    let checked =
        verify::check(&text).map_err(|wrong| Failure::Wrong(format!("{name}: {wrong}")))?;
    if let Some(opening) = args.source.opening.as_ref().filter(|o| **o != checked.opening) {
        let of = &checked.opening;
        return Err(Failure::Wrong(format!("{name} is of opening {of:?}, not {opening:?}")));
    }
    if args.against_ledger {
        let recorded = against(&args.source, &checked, &name.to_string()).await?;
        statement::compare(&text, &recorded)
            .map_err(|wrong| Failure::Wrong(format!("{name}: {wrong}")))?;
    }
    show(&checked);
    outln!(
        "{} lines hold together{}.",
        checked.lines,
        if args.against_ledger { ", and are what the ledger says" } else { "" }
    );
    verdict(&checked)
}

/// The story of a statement's opening, from the ledger that it is of.
async fn against(
    source: &Source,
    checked: &Checked,
    name: &str,
) -> Result<RecordedOpening, Failure> {
    let Checked { opening, seq, ledger, .. } = checked;
    let recorded = match Box::pin(source.read_opening(opening, *seq)).await? {
        Err(RecordedError::Unknown(..)) => Err(Failure::Wrong(format!(
            "{name} is not of this ledger, which has no opening {opening:?} up to sequence {seq}"
        ))),
        told => Ok(told?),
    }?;
    let this = recorded.ledger.to_string();
    if *ledger != this {
        return Err(Failure::Wrong(format!(
            "{name} is of ledger {ledger}, not of this one, {this}"
        )));
    }
    Ok(recorded)
}

fn show(checked: &Checked) {
    outln!("Opening {}, up to sequence {} of the ledger", checked.opening, checked.seq);
    for sentence in &checked.says {
        outln!("- {sentence}");
    }
    outln!("seal {}", checked.seal);
}

fn verdict(checked: &Checked) -> Result<(), Failure> {
    if checked.oversold > 0 || checked.undersold.is_some_and(|n| n > 0) {
        return Err(Failure::Wrong("the statement says that a promise was broken".to_owned()));
    }
    Ok(())
}
