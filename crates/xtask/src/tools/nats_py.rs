//! The Python client library that the example client is tested with.

use std::path::PathBuf;

use super::{Package, Policy};
use crate::process::{Failure, Interrupt};
use crate::workspace::Workspace;

/// Tells tests where Python finds it.
pub(crate) const VARIABLE: &str = "GILIRAN_TEST_PYTHONPATH";

const PACKAGE: Package = Package { name: "nats-py", version: "2.16.0" };

/// The folder that holds the library; set from outside, it is that one.
pub(crate) fn provide(workspace: &Workspace, interrupt: &Interrupt) -> Result<PathBuf, Failure> {
    if let Some(given) = given() {
        return Ok(given);
    }
    let there = |folder: &std::path::Path| folder.join("nats/__init__.py").is_file();
    PACKAGE.provide(workspace, Policy::from_environment()?, interrupt, there)
}

/// Which one [`provide`] finds, in a word.
pub(crate) fn version() -> &'static str {
    if given().is_some() { "given" } else { PACKAGE.version }
}

fn given() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|given| !given.is_empty()).map(PathBuf::from)
}
