//! The redis-server that the engine is held against by `cargo xtask bench peers`.
//!
//! It is not downloaded: PyPI has no package that carries a plain one of version 7.

use super::program::{Found, Program};
use crate::process::Failure;

/// Tells the benchmark where the binary is; set from outside, it decides.
pub(crate) const VARIABLE: &str = "GILIRAN_REDIS_SERVER";

const PROGRAM: Program = Program { name: "redis-server", variable: VARIABLE, oldest: &[7] };

/// The one that the environment names or that is installed; or why there is none.
pub(crate) fn find() -> Result<Result<Found, String>, Failure> {
    PROGRAM.find("", "To have it measured: apt-get install redis-server on Debian and its kin")
}
