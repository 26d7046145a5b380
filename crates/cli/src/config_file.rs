//! Reading the configuration file, by whoever needs one.

use std::path::Path;

use giliran_config::Config;

use crate::failure::Failure;

/// Reads a configuration, or says everything that is wrong with it.
pub(crate) fn read(file: &Path) -> Result<Config, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::Usage(format!("{}: {e}", file.display())))?;
    giliran_config::parse(&text, &file.display().to_string())
        .map_err(|problems| Failure::Usage(problems.to_string()))
}

/// The same for a process that runs, which tells what hardly was meant in its log.
pub(crate) fn read_to_run(file: &Path) -> Result<Config, Failure> {
    let config = read(file)?;
    for warning in &config.warnings {
        tracing::warn!("{}:{warning}", file.display());
    }
    Ok(config)
}
