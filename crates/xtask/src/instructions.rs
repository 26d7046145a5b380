//! `cargo xtask bench steps`: the instructions that each step of a request executes.
//!
//! A count does not depend on what else the machine does, so a change of a few per cent
//! shows where times would not. Valgrind's processor has the vector units of the machine's, up
//! to AVX2; the record is of one that has it. C libraries and C compilers differ a little from
//! machine to machine, which the check's tolerance allows for.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use clap::Args;

use crate::process::{self, Failure, Interrupt};
use crate::tools::valgrind::{self, Valgrind};
use crate::workspace::Workspace;

/// What was counted when it was last recorded, from the root.
const RECORD: &str = "benches/results/instructions.txt";
/// The first line of that file.
const HEADER: &str = "# Instructions of one time, by `cargo xtask bench steps --record`.\n";
/// The machines that the record is of: without AVX2 the C library copies and searches with up
/// to a quarter more instructions a step.
const ARCHITECTURE: &str = "x86_64";
const VECTORS: &str = "avx2";
/// With what they are built, from the root.
const SETTINGS: &str = "benches/steps.toml";
/// How often a step is done in the two runs whose difference counts.
const TIMES: [u64; 2] = [2_000, 6_000];
/// A step may take so much more than is recorded, per cent.
const TOLERANCE: u64 = 5;
/// So many instructions change with what else is compiled: a function is put into its caller,
/// or is not.
const FEW: u64 = 40;
/// The tolerance in the check, where any machine counts.
const TOLERANCE_OF_CHECK: u64 = 10;

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
    let valgrind = valgrind::provide(workspace, interrupt)?.map_err(Failure::Broken)?;
    let counts = counted(workspace, &valgrind, interrupt)?;
    if !args.record {
        return held(workspace, &counts, TOLERANCE).map(|()| ExitCode::SUCCESS);
    }
    let mut record = HEADER.to_owned();
    for (step, each) in &counts {
        println!("{step:<20}{each:>9}");
        let _ = writeln!(record, "{each:>7} {step}");
    }
    fs::write(workspace.root().join(RECORD), record)
        .map_err(|error| Failure::Broken(format!("{RECORD}: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

/// The same as a step of the check; or why it cannot be made here.
pub(crate) fn check(
    workspace: &Workspace,
    interrupt: &Interrupt,
) -> Result<Result<(), String>, Failure> {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has_vectors = processor.split_whitespace().any(|flag| flag == VECTORS);
    if std::env::consts::ARCH != ARCHITECTURE || !has_vectors {
        return Ok(Err(format!("{RECORD} is of a Linux machine: {ARCHITECTURE} with {VECTORS}")));
    }
    let valgrind = match valgrind::provide(workspace, interrupt)? {
        Ok(valgrind) => valgrind,
        Err(reason) => return Ok(Err(reason)),
    };
    let counts = counted(workspace, &valgrind, interrupt)?;
    held(workspace, &counts, TOLERANCE_OF_CHECK).map(Ok)
}

/// A step's name, and the instructions that it executes once.
type Count = (String, u64);

/// Prints the counts beside those on record.
///
/// # Errors
///
/// A step takes more than that and `tolerance` per cent, or is not on record.
fn held(workspace: &Workspace, counts: &[Count], tolerance: u64) -> Result<(), Failure> {
    let recorded = fs::read_to_string(workspace.root().join(RECORD)).unwrap_or_default();
    let mut wrong = 0;
    for (step, each) in counts {
        let before = on_record(&recorded, step);
        let is_held = before.is_some_and(|before| !exceeds(*each, before, tolerance));
        wrong += u32::from(!is_held);
        let before = before.map_or_else(|| "new".to_owned(), |before| before.to_string());
        let verdict = if is_held { "" } else { "  more than is allowed" };
        println!("{step:<20}{each:>9}{before:>9}{verdict}");
    }
    if wrong == 0 {
        return Ok(());
    }
    Err(Failure::Broken(format!(
        "{wrong} steps execute over {tolerance} % more instructions than {RECORD} has; if that \
         is what the change is worth, record the counts with `cargo xtask bench steps --record` \
         and say so in the commit"
    )))
}

/// True for a count beyond the tolerance, per cent.
fn exceeds(each: u64, before: u64, tolerance: u64) -> bool {
    each * 100 > (before + FEW) * (100 + tolerance)
}

/// The count of a step in the file.
fn on_record(recorded: &str, step: &str) -> Option<u64> {
    let counts = recorded.lines().filter_map(|line| line.trim().split_once(' '));
    counts.filter(|(_, of)| *of == step).find_map(|(count, _)| count.parse().ok())
}

/// Builds the steps with the settings of a release; where they are.
fn build(workspace: &Workspace, interrupt: &Interrupt) -> Result<PathBuf, Failure> {
    const BUILD: [&str; 7] =
        ["build", "--package", "giliran-sequencer", "--bench", "steps", "--config", SETTINGS];
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

/// Every step's count, in the order in which the program names them.
fn counted(
    workspace: &Workspace,
    valgrind: &Valgrind,
    interrupt: &Interrupt,
) -> Result<Vec<Count>, Failure> {
    let program = build(workspace, interrupt)?;
    let steps = process::output_of(std::process::Command::new(&program).arg("--list"))
        .ok_or_else(|| Failure::broken("the program names no steps"))?;
    let waiting = Mutex::new(steps.lines().enumerate());
    let count_some = || {
        let mut counts = Vec::new();
        loop {
            let next = waiting.lock().ok().and_then(|mut waiting| waiting.next());
            let Some((place, step)) = next else { return Ok(counts) };
            if let Some(signal) = interrupt.signal() {
                return Err(Failure::Interrupted(signal));
            }
            let [few, many] = TIMES.map(|times| count(valgrind, &program, step, times));
            let each = many?.saturating_sub(few?) / (TIMES[1] - TIMES[0]);
            counts.push((place, (step.to_owned(), each)));
        }
    };
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    let mut counts: Vec<(usize, Count)> = thread::scope(|scope| {
        let counting: Vec<_> = (0..at_once).map(|_| scope.spawn(count_some)).collect();
        let counted = counting.into_iter().map(|counting| {
            counting.join().unwrap_or_else(|_| Err(Failure::broken("counting panicked")))
        });
        counted.collect::<Result<Vec<_>, Failure>>()
    })?
    .concat();
    counts.sort_unstable();
    Ok(counts.into_iter().map(|(_, count)| count).collect())
}

/// Instructions of a whole run.
fn count(valgrind: &Valgrind, program: &Path, step: &str, times: u64) -> Result<u64, Failure> {
    let mut counting = valgrind.counting(program);
    let done = counting.arg(step).arg(times.to_string()).output().map_err(Failure::broken)?;
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
        assert!(!exceeds(1_092, 1_000, 5) && !exceeds(10, 1_000, 5));
        assert!(exceeds(1_093, 1_000, 5) && !exceeds(1_093, 1_000, 10));
        // A short step is not held to what another layout of the code changes.
        assert!(!exceeds(251, 217, 5) && exceeds(271, 217, 5));
    }
}
