//! `cargo xtask test`: every check, one step after the other.

use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;

use crate::process::{self, Failure, Interrupt};
use crate::tidy;
use crate::tools::{nats, nats_py, postgres};
use crate::workspace::Workspace;

/// Tells the simulation's tests where the worlds begin that nobody has seen.
const FRESH_WORLDS: &str = "GILIRAN_SIM_FROM";
/// Seeds that lie between two seconds: more than a run of the tests takes.
const SEEDS_A_SECOND: u64 = 100;

/// A step of the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Files, links and words that the tools below do not look at.
    Tidy,
    /// rustfmt.
    Format,
    /// clippy; warnings are errors.
    Lint,
    /// rustdoc; warnings are errors.
    Docs,
    /// All tests, against a real nats-server and PostgreSQL.
    Test,
    /// The models of counter and claim under every interleaving.
    Loom,
}

/// What is to be checked.
pub(crate) struct Selection {
    pub(crate) only: Vec<Step>,
    pub(crate) skip: Vec<Step>,
    pub(crate) fail_fast: bool,
    pub(crate) packages: Vec<String>,
    pub(crate) filter: Vec<String>,
}

/// Runs the selected steps and prints how each went.
pub(crate) fn run(
    workspace: &Workspace,
    selection: &Selection,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let mut went = Vec::new();
    for step in Step::value_variants() {
        let wanted = selection.only.is_empty() || selection.only.contains(step);
        if !wanted || selection.skip.contains(step) {
            continue;
        }
        eprintln!("xtask: {} …", name(*step));
        let started = Instant::now();
        let outcome = match take(*step, workspace, selection, interrupt) {
            Err(Failure::Interrupted(signal)) => return Err(Failure::Interrupted(signal)),
            Err(Failure::Broken(reason)) => {
                eprintln!("xtask: {}: {reason}", name(*step));
                false
            }
            Ok(()) => true,
        };
        went.push((*step, outcome, started.elapsed().as_secs_f64()));
        if !outcome && selection.fail_fast {
            break;
        }
    }
    println!();
    for (step, passed, seconds) in &went {
        let word = if *passed { "passed" } else { "FAILED" };
        println!("{:<8} {word} {seconds:>7.1} s", name(*step));
    }
    let all = went.iter().all(|(_, passed, _)| *passed);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn name(step: Step) -> String {
    step.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn take(
    step: Step,
    workspace: &Workspace,
    selection: &Selection,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let cargo = |args: &[&str]| workspace.cargo(args);
    match step {
        Step::Tidy => tidy::check(workspace),
        Step::Format => process::succeed(&mut cargo(&["fmt", "--all", "--check"]), interrupt),
        Step::Lint => process::succeed(
            &mut cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
            interrupt,
        ),
        Step::Docs => process::succeed(
            cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"])
                .env("RUSTDOCFLAGS", "--deny warnings"),
            interrupt,
        ),
        Step::Test => {
            let nats = nats::provide(workspace, interrupt)?;
            let postgres = postgres::start(workspace, interrupt)?;
            let mut test = cargo(&["test", "--no-fail-fast"]);
            if selection.packages.is_empty() {
                test.arg("--workspace");
            }
            for package in &selection.packages {
                test.args(["--package", package]);
            }
            test.args(&selection.filter);
            let fresh = fresh_worlds();
            eprintln!("xtask: unseen worlds begin with {fresh} ({FRESH_WORLDS})");
            test.env(FRESH_WORLDS, fresh.to_string());
            test.env(nats::VARIABLE, &nats.path)
                .env(postgres::VARIABLE, postgres.url())
                .env(nats_py::VARIABLE, nats_py::provide(workspace, interrupt)?);
            process::succeed(&mut test, interrupt)
        }
        Step::Loom => process::succeed(
            cargo(&["test", "--release", "--package", "giliran-allocator", "--lib", "loom"])
                .env("RUSTFLAGS", "--cfg loom")
                // Of its own: another `RUSTFLAGS` would rebuild everything each time.
                .env("CARGO_TARGET_DIR", workspace.target().join("loom")),
            interrupt,
        ),
    }
}

/// The first seed of worlds that nobody has seen, by the clock; or the one given, to see
/// them again.
#[expect(clippy::disallowed_methods, reason = "it is to be another one each time")]
fn fresh_worlds() -> u64 {
    let given = std::env::var(FRESH_WORLDS).ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_secs() * SEEDS_A_SECOND
    })
}
