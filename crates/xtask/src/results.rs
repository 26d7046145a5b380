//! Where results of benchmarks are recorded.

use std::fs;
use std::path::PathBuf;

use crate::process::Failure;
use crate::workspace::Workspace;

/// From the root.
const FOLDER: &str = "benches/results";

/// How the names of those begin that have rows: over NATS, and beside peers.
pub(crate) const KINDS: [&str; 2] = [OF_ROWS, "peers-"];
pub(crate) const OF_ROWS: &str = "e2e-";

/// The newest of a kind, by the day in its name.
pub(crate) fn newest(workspace: &Workspace, kind: &str) -> Result<PathBuf, Failure> {
    let folder = fs::read_dir(workspace.root().join(FOLDER)).into_iter().flatten();
    let files = folder.flatten().map(|entry| entry.path());
    let is_of_kind = |file: &PathBuf| {
        file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind))
    };
    let newest = files.filter(is_of_kind).max();
    newest.ok_or_else(|| Failure::Broken(format!("{FOLDER}/ holds no {kind}*.json")))
}
