//! Why there is no run.

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("no engine answers on {0}; start one with `giliran up` or `giliran serve`")]
    NoEngine(String),
    /// Somebody listens, but says nothing.
    #[error("no answer on {0} within {1} s")]
    Silent(String, u64),
    /// The engine rejects the question what it has, or answers something else.
    #[error("the engine does not say what it has: {0}")]
    Rejected(String),
    /// The scenario does not fit the engine.
    #[error("{0}")]
    Misfit(String),
    /// The connection or the log fails.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
