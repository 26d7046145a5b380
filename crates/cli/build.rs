//! The commit that an optimised build is made from, for `--version`, the first log
//! line, `/readyz` and the metrics: `GILIRAN_COMMIT` where that is set, else what git
//! says, else `unknown`. A development build does not ask: each commit would compile
//! the binary anew.

use std::path::Path;
use std::process::Command;

const UNKNOWN: &str = "unknown";
/// What a commit stands for: all of it that is compiled.
const SOURCES: [&str; 3] = ["crates", "Cargo.toml", "Cargo.lock"];

fn main() {
    println!("cargo::rerun-if-env-changed=GILIRAN_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let given = std::env::var("GILIRAN_COMMIT").ok().filter(|given| !given.is_empty());
    let optimised = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let found = given.or_else(|| optimised.then(commit).flatten());
    let commit = found.unwrap_or_else(|| UNKNOWN.to_owned());
    println!("cargo::rustc-env=GILIRAN_COMMIT={commit}");
}

/// The checked out commit, with a mark where the sources differ from it.
fn commit() -> Option<String> {
    // A tarball that lies in somebody else's repository is not of that repository.
    if git(&["rev-parse", "--show-prefix"])? != "crates/cli/" {
        return None;
    }
    for file in ["logs/HEAD", "HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for source in SOURCES {
        println!("cargo::rerun-if-changed=../../{source}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let sources = SOURCES.map(|source| format!(":/{source}"));
    let mut status = vec!["status", "--porcelain", "--"];
    status.extend(sources.iter().map(String::as_str));
    let mark = if git(&status)?.is_empty() { "" } else { "-changed" };
    Some(format!("{commit}{mark}"))
}

/// What git prints; none: there is no git, or no repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("--no-optional-locks").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
