//! The error of everything that talks to the broker.

use std::error::Error as StdError;

/// What was being done, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct Error {
    doing: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure whose words say everything.
    pub fn plain(doing: impl Into<String>) -> Self {
        Self { doing: doing.into(), source: None }
    }

    /// A failure of `doing`, because of `source`; the words hold both.
    pub fn new(doing: &str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = source.into();
        Self { doing: format!("{doing}: {source}"), source: Some(source) }
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
