//! `promtool`, which checks and tests the rules of `deploy/prometheus`.
//!
//! It is not downloaded: PyPI has no package that carries it.

use super::program::{Found, Program};
use crate::process::Failure;

const PROGRAM: Program =
    Program { name: "promtool", variable: "GILIRAN_PROMTOOL", oldest: &[2, 40] };

/// The one that the environment names or that is installed; or why there is none.
pub(crate) fn find() -> Result<Result<Found, String>, Failure> {
    PROGRAM.find("", "To have them checked: apt-get install prometheus on Debian and its kin")
}
