//! The packages that the TypeScript examples are tested with; left out where there is no Node.
//!
//! Node is not downloaded. With an installed one, `npm` puts what the examples' own lock file names
//! under `.tools/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::at;
use super::program::Program;
use crate::process::{self, Failure, Interrupt};
use crate::workspace::Workspace;

/// Tells tests where the packages are, a folder `node_modules`.
pub(crate) const VARIABLE: &str = "GILIRAN_TEST_NODE_MODULES";
/// Tells them which Node to run; set from outside, it decides.
pub(crate) const NODE_VARIABLE: &str = "GILIRAN_NODE";

const NODE: Program = Program { name: "node", variable: NODE_VARIABLE, oldest: &[20, 6] };
const EXAMPLES: &str = "docs/examples/typescript";
/// What is looked for where the packages are installed.
const LIBRARY: &str = "@nats-io/transport-node/package.json";

/// Node, its version, and the packages.
pub(crate) struct Found {
    pub(crate) node: PathBuf,
    pub(crate) version: String,
    pub(crate) modules: PathBuf,
}

/// What the TypeScript examples need; or why it is not there.
pub(crate) fn provide(
    workspace: &Workspace,
    interrupt: &Interrupt,
) -> Result<Result<Found, String>, Failure> {
    let advice = "To have the TypeScript examples tested: install Node with npm";
    let node = match NODE.find("", advice)? {
        Ok(node) => node,
        Err(reason) => return Ok(Err(reason)),
    };
    let found = |modules| Found { node: node.path.clone(), version: node.version.clone(), modules };
    if let Some(given) = std::env::var_os(VARIABLE).filter(|given| !given.is_empty()) {
        return Ok(Ok(found(given.into())));
    }
    let lock = workspace.root().join(EXAMPLES).join("package-lock.json");
    let text = fs::read(&lock).map_err(|error| at(&lock, error))?;
    let folder = workspace.tools().join(format!("typescript-{:08x}", digest(&text)));
    let modules = folder.join("node_modules");
    if modules.join(LIBRARY).is_file() {
        return Ok(Ok(found(modules)));
    }
    match install(workspace, &folder, interrupt) {
        Ok(()) => Ok(Ok(found(modules))),
        Err(Failure::Broken(reason)) => Ok(Err(format!("npm: {reason}"))),
        Err(interrupted) => Err(interrupted),
    }
}

/// Installed aside and renamed, so that an interrupted install is never taken for a whole one.
fn install(workspace: &Workspace, folder: &Path, interrupt: &Interrupt) -> Result<(), Failure> {
    eprintln!("xtask: installing the packages of {EXAMPLES} into .tools/ …");
    let aside = workspace.tools().join(format!(".typescript-{}", std::process::id()));
    fs::create_dir_all(&aside).map_err(|error| at(&aside, error))?;
    for name in ["package.json", "package-lock.json"] {
        let from = workspace.root().join(EXAMPLES).join(name);
        fs::copy(&from, aside.join(name)).map_err(|error| at(&from, error))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    let installed = process::succeed(npm.current_dir(&aside), interrupt).and_then(|()| {
        match fs::rename(&aside, folder) {
            Err(error) if !folder.join("node_modules").join(LIBRARY).is_file() => {
                Err(at(folder, error))
            }
            _ => Ok(()),
        }
    });
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(|error| at(&aside, error))?;
    }
    installed
}

/// FNV-1a: tells one lock file from the next.
fn digest(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Sets what the tests look for, or says why the TypeScript examples are left out.
pub(crate) fn hand_over(
    command: &mut Command,
    workspace: &Workspace,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    match provide(workspace, interrupt)? {
        Ok(Found { node, modules, .. }) => {
            command.env(NODE_VARIABLE, node).env(VARIABLE, modules);
        }
        Err(reason) => eprintln!("xtask: TypeScript: LEFT OUT: {reason}"),
    }
    Ok(())
}
