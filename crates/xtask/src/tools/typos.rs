//! `typos`, which finds misspelt words; `_typos.toml` says where it does not look.

use super::Package;
use super::program::{Found, Program};
use crate::process::{Failure, Interrupt};
use crate::workspace::Workspace;

const PROGRAM: Program = Program { name: "typos", variable: "GILIRAN_TYPOS", oldest: &[1, 52] };

const PACKAGE: Package = Package { name: "typos", version: "1.52.0" };

/// A typos that knows the words of `_typos.toml`.
pub(crate) fn provide(workspace: &Workspace, interrupt: &Interrupt) -> Result<Found, Failure> {
    PROGRAM.provide(&PACKAGE, workspace, interrupt)
}
