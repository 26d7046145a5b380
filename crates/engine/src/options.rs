//! What an engine is set up with.

use std::path::PathBuf;

use giliran_config::Config;
use giliran_wire::ApplicantKey;
use giliran_wire::ledger::Signed;

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name in ledger, lease and logs.
    pub name: String,
    /// The configuration in the file; what counts is what is on record.
    pub config: Config,
    pub key: ApplicantKey,
    /// Holds the high-water mark.
    pub data: PathBuf,
    /// Deciding threads at once.
    pub workers: usize,
    /// Who says that this machine's clock is right though the broker's says otherwise,
    /// and why; goes on record where it comes to that.
    pub trust_clock: Option<Signed>,
}
