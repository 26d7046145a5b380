//! The error of everything that talks to the broker.

use std::error::Error as StdError;

/// What was being done, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct Error {
    kind: ErrorKind,
    doing: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What a failure means to whoever meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The broker is away, did not answer in time, or refused for now: the same
    /// may work later.
    Unavailable,
    /// What was asked for cannot be: an address that is none, a file that is not
    /// there.
    Misused,
    /// There is no ledger.
    NoLedger,
    /// A generation that the ledger goes on in, or begins with, is not there: its stream
    /// was deleted, or not yet restored.
    GenerationGone,
    /// The server refuses this login, or lets it receive no answers.
    NotPermitted,
    /// The server, a stream or a bucket is not what is needed. An operator has to
    /// mend it.
    Unsuitable,
    /// The ledger lacks blocks that were read from it or written into it.
    Lost,
    /// The stream holds another ledger.
    OtherLedger,
    /// Blocks are missing within the ledger.
    Damaged,
}

impl Error {
    /// A failure whose words say everything; the same may work later.
    pub fn plain(doing: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Unavailable, doing: doing.into(), source: None }
    }

    /// A failure of `doing`, because of `source`; the words hold both. The same may
    /// work later.
    pub fn new(doing: &str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = source.into();
        let doing = format!("{doing}: {source}");
        Self { kind: ErrorKind::Unavailable, doing, source: Some(source) }
    }

    /// The same words, meaning this.
    #[must_use]
    pub fn of_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// What it means to whoever meets it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Adds what was being done to a foreign error.
pub(crate) trait Doing<T> {
    fn doing(self, what: &str) -> Result<T, Error>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing(self, what: &str) -> Result<T, Error> {
        self.map_err(|source| Error::new(what, source))
    }
}
