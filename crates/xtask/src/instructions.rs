//! `cargo xtask bench steps`: the instructions that each step of a request executes.
//!
//! A count does not depend on what else the machine does, so a change of a few per cent
//! shows where times would not. Valgrind's processor is the same everywhere but for the
//! vector units that it finds; the tolerance allows for those.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;

use crate::process::{self, Failure, Interrupt};
use crate::workspace::Workspace;

/// What was counted when it was last recorded, from the root.
const RECORD: &str = "benches/results/instructions.txt";
/// The first line of that file.
const HEADER: &str = "# Instructions of one time, by `cargo xtask bench steps --record`.\n";
/// How often a step is done in the two runs whose difference counts.
const TIMES: [u64; 2] = [2_000, 6_000];
/// A step may take so much more than is recorded, per cent.
const TOLERANCE: u64 = 5;

#[derive(Args)]
pub(crate) struct StepsArgs {
    /// Write the counts down, to be held against from now on
    #[arg(long)]
    record: bool,
}

/// Counts every step, and holds the counts against those on record.
pub(crate) fn run(
    workspace: &Workspace,
    args: &StepsArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    if process::output_of(Command::new("valgrind").arg("--version")).is_none() {
        return Err(Failure::broken(
            "counting needs valgrind; Debian and its kin have a package of that name",
        ));
    }
    let program = build(workspace, interrupt)?;
    let steps = process::output_of(Command::new(&program).arg("--list"))
        .ok_or_else(|| Failure::broken("the program names no steps"))?;
    let file = workspace.root().join(RECORD);
    let recorded = fs::read_to_string(&file).unwrap_or_default();
    let (mut counts, mut slower) = (String::new(), 0);
    for step in steps.lines() {
        if let Some(signal) = interrupt.signal() {
            return Err(Failure::Interrupted(signal));
        }
        let [few, many] = TIMES.map(|times| count(&program, step, times));
        let each = many?.saturating_sub(few?) / (TIMES[1] - TIMES[0]);
        let before = on_record(&recorded, step);
        let is_slower = before.is_some_and(|before| exceeds(each, before));
        slower += u32::from(is_slower);
        let before = before.map_or_else(|| "new".to_owned(), |before| before.to_string());
        let verdict = if is_slower { "  more than is allowed" } else { "" };
        println!("{step:<20}{each:>9}{before:>9}{verdict}");
        let _ = writeln!(counts, "{each:>7} {step}");
    }
    if args.record {
        fs::write(&file, format!("{HEADER}{counts}"))
            .map_err(|error| Failure::Broken(format!("{RECORD}: {error}")))?;
        return Ok(ExitCode::SUCCESS);
    }
    if slower == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::Broken(format!(
        "{slower} steps execute over {TOLERANCE} % more instructions than {RECORD} has; if that \
         is what the change is worth, record the counts with --record and say so in the commit"
    )))
}

/// True for a count beyond the tolerance.
fn exceeds(each: u64, before: u64) -> bool {
    each * 100 > before * (100 + TOLERANCE)
}

/// The count of a step in the file.
fn on_record(recorded: &str, step: &str) -> Option<u64> {
    let counts = recorded.lines().filter_map(|line| line.trim().split_once(' '));
    counts.filter(|(_, of)| *of == step).find_map(|(count, _)| count.parse().ok())
}

/// Builds the steps as they are shipped; where they are.
fn build(workspace: &Workspace, interrupt: &Interrupt) -> Result<PathBuf, Failure> {
    const BUILD: [&str; 6] =
        ["build", "--release", "--package", "giliran-sequencer", "--bench", "steps"];
    process::succeed(&mut workspace.cargo(BUILD), interrupt)?;
    // A benchmark's file bears a hash, which only cargo's messages tell.
    let mut told = workspace.cargo(BUILD);
    let told = process::output_of(told.args(["--quiet", "--message-format", "json"]));
    let program = told.as_deref().and_then(|told| {
        let steps = told.lines().filter(|line| line.contains("\"name\":\"steps\""));
        steps
            .filter_map(|line| line.split_once("\"executable\":\""))
            .find_map(|(_, rest)| rest.split('"').next().map(PathBuf::from))
    });
    program.ok_or_else(|| Failure::broken("cargo does not say where it put the steps"))
}

/// Instructions of a whole run.
fn count(program: &Path, step: &str, times: u64) -> Result<u64, Failure> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let done = valgrind.arg(step).arg(times.to_string()).output().map_err(Failure::broken)?;
    let told = String::from_utf8_lossy(&done.stderr);
    let collected = told.lines().find_map(|line| line.split_once("Collected :"));
    let counted = collected.and_then(|(_, count)| count.trim().parse().ok());
    counted.filter(|_| done.status.success()).ok_or_else(|| {
        Failure::Broken(format!("{step}: valgrind ended with {}:\n{told}", done.status))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_held_against_its_own_count() {
        let recorded = format!("{HEADER}   1200 read one\n     80 read one more\n");
        assert_eq!(on_record(&recorded, "read one"), Some(1_200));
        assert_eq!(on_record(&recorded, "read one more"), Some(80));
        assert_eq!(on_record(&recorded, "read"), None);
    }

    #[test]
    fn a_count_within_the_tolerance_passes() {
        assert!(!exceeds(1_050, 1_000) && !exceeds(10, 1_000));
        assert!(exceeds(1_051, 1_000));
    }
}
