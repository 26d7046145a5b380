//! `giliran check`.

use std::path::{Path, PathBuf};

use giliran_config::Config;

use crate::failure::Failure;

/// How far ahead openings are shown.
const HORIZON_MS: u64 = 14 * 24 * 3_600_000;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  giliran check giliran.toml\n  \
    giliran check --example > giliran.toml\n\n\
    Every problem is listed at once as FILE:LINE:COLUMN: FIELD: what is wrong; exit code 2.")]
pub(crate) struct Args {
    /// The configuration.
    #[arg(required_unless_present = "example")]
    file: Option<PathBuf>,
    /// Print a complete file with comments, to start from.
    #[arg(long, exclusive = true)]
    example: bool,
    /// Show what it resolves to at this instant instead of now.
    #[arg(long, value_name = "RFC3339")]
    at: Option<giliran_wire::Timestamp>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let Some(file) = &args.file else {
        shown!("{}", giliran_config::EXAMPLE.trim_end());
        return Ok(());
    };
    let config = read(file)?;
    let now = args.at.unwrap_or_else(giliran_broker::clock::now);
    let due = config.due(now, HORIZON_MS);
    let unsupported: Vec<String> = due
        .iter()
        .filter_map(|record| {
            let told = giliran_core::Opening::supported(record).map_err(|e| e.to_string());
            told.and_then(|()| config.draws_in_time(record)).err()
        })
        .collect();
    let verdict = if unsupported.is_empty() { "fine" } else { "no engine would open all of it" };
    shown!("{}: {verdict}. Subjects {}.*", file.display(), config.domain);
    if due.is_empty() {
        shown!("No opening from {now} on.");
    }
    for record in due {
        shown!("{}", giliran_config::describe(&record).trim_end());
    }
    if unsupported.is_empty() {
        Ok(())
    } else {
        Err(Failure::Usage(format!("{}: {}", file.display(), unsupported.join("\n"))))
    }
}

/// Reads a configuration, or says everything that is wrong with it.
pub(crate) fn read(file: &Path) -> Result<Config, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::Usage(format!("{}: {e}", file.display())))?;
    giliran_config::parse(&text, &file.display().to_string())
        .map_err(|problems| Failure::Usage(problems.to_string()))
}
