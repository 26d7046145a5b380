//! Failures and the exit codes they mean.

use std::fmt;
use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The thing that was checked or run is wrong: 1.
    Wrong(String),
    /// It was asked for wrongly: 2.
    Usage(String),
    /// As [`Wrong`](Self::Wrong), and the log has said why.
    Logged,
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Wrong(_) | Self::Logged => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(what) | Self::Usage(what) => f.write_str(what),
            Self::Logged => f.write_str("the log says why"),
        }
    }
}

/// Whatever fails while running is wrong, not misused.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Wrong(error.to_string())
    }
}
