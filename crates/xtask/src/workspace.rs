//! Where the workspace and cargo's output are.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Failure;

/// The checkout that this binary was built from.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self, Failure> {
        // Set by `cargo run`; the path compiled in is the fallback for a binary that is started by hand.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .ancestors()
            .nth(2)
            .filter(|root| root.join("Cargo.toml").is_file())
            .ok_or_else(|| Failure::Broken(format!("no workspace above {}", manifest.display())))?
            .to_owned();
        let target = target_of_this_binary().unwrap_or_else(|| root.join("target"));
        Ok(Self { root, target })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target folder, wherever the user's settings put it.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where tools are installed: inside the checkout, ignored by git.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join(".tools")
    }

    /// The cargo that started this binary, in the workspace's root.
    pub(crate) fn cargo<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(args).current_dir(&self.root);
        cargo
    }
}

/// Cargo marks its target folder with a tag file, so the folder that this binary lies in tells which it is, without
/// reading cargo's layers of configuration.
fn target_of_this_binary() -> Option<PathBuf> {
    let binary = std::env::current_exe().ok()?;
    binary.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
}
