//! Why there is no audit.

use giliran_nats::ledger::scan::ScanError;
use giliran_persist::StoreUrl;

/// Why an audit could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Broker(#[from] giliran_nats::Error),
    /// A store cannot be read.
    #[error("{0}: {1}")]
    Store(StoreUrl, giliran_persist::StoreError),
}
