//! The redis-server that the engine is held against by `cargo xtask bench peers`.
//!
//! It is not downloaded: PyPI has no package that carries a plain one of version 7.

use super::dotted;
use super::program::{Found, Program, listed};
use crate::process::Failure;

/// Tells the benchmark where the binary is; set from outside, it decides.
pub(crate) const VARIABLE: &str = "GILIRAN_REDIS_SERVER";

const PROGRAM: Program = Program { name: "redis-server", variable: VARIABLE, oldest: &[7] };

/// The one that the environment names or that is installed; or why there is none.
pub(crate) fn find() -> Result<Result<Found, String>, Failure> {
    if let Some(given) = PROGRAM.given()? {
        return Ok(Ok(given));
    }
    let Program { name, variable, oldest } = PROGRAM;
    Ok(PROGRAM.installed().map_err(|passed_over| {
        format!(
            "{name} {} or newer is not installed{}\n\
             To have it measured: apt-get install {name} on Debian and its kin, or name one: \
             {variable}=/path/to/{name}",
            dotted(oldest),
            listed(&passed_over)
        )
    }))
}
