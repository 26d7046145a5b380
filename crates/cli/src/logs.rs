//! Logs, to standard error.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line of words each, for people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Starts logging. `RUST_LOG` says what is logged, `usual` where it says nothing.
pub(crate) fn start(format: Format, usual: &str) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{usual},async_nats=warn")));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Text => {
            // Colours only for eyes: in a file they would be rubbish between the words.
            logs.with_ansi(std::io::stderr().is_terminal()).with_target(false).init();
        }
        Format::Json => logs.json().init(),
    }
}
