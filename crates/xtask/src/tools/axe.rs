//! axe-core, which looks for what keeps people from using a page, as a file of the package that drives it from Python.

use std::path::{Path, PathBuf};

use super::{Package, Policy};
use crate::process::{Failure, Interrupt};
use crate::workspace::Workspace;

/// Tells the browser's tests where it is.
pub(crate) const VARIABLE: &str = "GILIRAN_AXE";

const PACKAGE: Package = Package { name: "axe-playwright-python", version: "0.1.8" };
const FILE: &str = "axe_playwright_python/axe.min.js";

/// Where it is; none where there is no browser to run it in, or where it cannot be had: the pages are tried without it
/// then, and the tests say so.
pub(crate) fn provide(
    workspace: &Workspace,
    interrupt: &Interrupt,
) -> Result<Option<PathBuf>, Failure> {
    if let Some(given) = std::env::var_os(VARIABLE).filter(|given| !given.is_empty()) {
        return Ok(Some(given.into()));
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&folders).any(|folder| folder.join("chromedriver").is_file()) {
        return Ok(None);
    }
    let there = |folder: &Path| folder.join(FILE).is_file();
    match PACKAGE.provide(workspace, Policy::from_environment()?, interrupt, there) {
        Ok(folder) => Ok(Some(folder.join(FILE))),
        Err(Failure::Broken(reason)) => {
            eprintln!("xtask: axe-core: LEFT OUT: {reason}");
            Ok(None)
        }
        Err(interrupted) => Err(interrupted),
    }
}
