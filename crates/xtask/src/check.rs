//! `cargo xtask test`: every check, one step after the other.

use std::process::{Command, ExitCode};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;

use crate::instructions;
use crate::process::{self, Failure, Interrupt};
use crate::shipped;
use crate::tidy;
use crate::tools::{axe, cargo_deny, nats, nats_js, nats_py, postgres, typos};
use crate::workspace::Workspace;

/// Tells the simulation's tests where the worlds begin that nobody has seen.
const FRESH_WORLDS: &str = "GILIRAN_SIM_FROM";
/// Seeds that lie between two seconds: more than a run of the tests takes.
const SEEDS_A_SECOND: u64 = 100;

/// A step of the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Habits of this code base that the tools below do not look at.
    Tidy,
    /// Misspelt words in code and documents, by typos.
    Spell,
    /// Licences, sources and bans of dependencies; left out where there is no cargo-deny.
    Deny,
    /// Rules, dashboards and manifests of `deploy/`, by promtool and kubernetes-validate; left
    /// out where there are none.
    Deploy,
    /// Whether rustfmt would change a file.
    Format,
    /// clippy; warnings are errors.
    Lint,
    /// rustdoc; warnings are errors.
    Docs,
    /// All tests, against a real nats-server and PostgreSQL.
    Test,
    /// The instructions of each step of a request, against those on record; left out where
    /// there is no valgrind.
    Steps,
    /// The models of counter and claim under every interleaving.
    Loom,
}

/// How a step ended that was not interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    /// It could not be made here, and said why.
    LeftOut,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::LeftOut => "LEFT OUT",
        }
    }
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
                Outcome::Failed
            }
            Ok(outcome) => outcome,
        };
        went.push((*step, outcome, started.elapsed().as_secs_f64()));
        if outcome == Outcome::Failed && selection.fail_fast {
            break;
        }
    }
    println!();
    for (step, outcome, seconds) in &went {
        println!("{:<8} {:<8} {seconds:>7.1} s", name(*step), outcome.word());
    }
    let failed = went.iter().any(|(_, outcome, _)| *outcome == Outcome::Failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn name(step: Step) -> String {
    step.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn take(
    step: Step,
    workspace: &Workspace,
    selection: &Selection,
    interrupt: &Interrupt,
) -> Result<Outcome, Failure> {
    let cargo = |args: &[&str]| workspace.cargo(args);
    match step {
        Step::Tidy => tidy::check(workspace),
        Step::Spell => spell(workspace, interrupt),
        Step::Deny => return deny(workspace, interrupt),
        Step::Deploy => {
            let checked = shipped::check(workspace, interrupt)?;
            return Ok(if checked { Outcome::Passed } else { Outcome::LeftOut });
        }
        Step::Format => process::succeed(&mut cargo(&["fmt", "--all", "--check"]), interrupt),
        Step::Lint => process::succeed(
            &mut cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
            interrupt,
        ),
        Step::Docs => docs(workspace, interrupt),
        Step::Test => test(workspace, selection, interrupt),
        Step::Steps => return steps(workspace, interrupt),
        Step::Loom => process::succeed(
            cargo(&["test", "--release", "--package", "giliran-allocator", "--lib", "loom"])
                .env("RUSTFLAGS", "--cfg loom")
                // Of its own: another `RUSTFLAGS` would rebuild everything each time.
                .env("CARGO_TARGET_DIR", workspace.target().join("loom")),
            interrupt,
        ),
    }
    .map(|()| Outcome::Passed)
}

/// The code's documents, and the page whose tables are computed.
fn docs(workspace: &Workspace, interrupt: &Interrupt) -> Result<(), Failure> {
    let mut made = workspace.cargo(["doc", "--workspace", "--no-deps", "--document-private-items"]);
    process::succeed(made.env("RUSTDOCFLAGS", "--deny warnings"), interrupt)?;
    let mut nation = Command::new("python3");
    nation.args(["benches/nation.py", "--check", "docs/nation.md"]);
    process::succeed(nation.current_dir(workspace.root()), interrupt)
}

fn spell(workspace: &Workspace, interrupt: &Interrupt) -> Result<(), Failure> {
    let mut typos = Command::new(typos::provide(workspace, interrupt)?.path);
    process::succeed(typos.current_dir(workspace.root()), interrupt)
}

/// Without advisories: they need a network, and change from one day to the next.
fn deny(workspace: &Workspace, interrupt: &Interrupt) -> Result<Outcome, Failure> {
    let found = match cargo_deny::find()? {
        Ok(found) => found,
        Err(reason) => {
            eprintln!("xtask: deny: LEFT OUT: {reason}");
            return Ok(Outcome::LeftOut);
        }
    };
    let mut deny = Command::new(found.path);
    deny.args(["--log-level", "error", "check", "bans", "licenses", "sources"]);
    process::succeed(deny.current_dir(workspace.root()), interrupt).map(|()| Outcome::Passed)
}

fn steps(workspace: &Workspace, interrupt: &Interrupt) -> Result<Outcome, Failure> {
    match instructions::check(workspace, interrupt)? {
        Ok(()) => Ok(Outcome::Passed),
        Err(reason) => {
            eprintln!("xtask: steps: LEFT OUT: {reason}");
            Ok(Outcome::LeftOut)
        }
    }
}

fn test(
    workspace: &Workspace,
    selection: &Selection,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let nats = nats::provide(workspace, interrupt)?;
    let postgres = postgres::start(workspace, interrupt)?;
    let mut test = workspace.cargo(["test", "--no-fail-fast"]);
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
    if let Some(axe) = axe::provide(workspace, interrupt)? {
        test.env(axe::VARIABLE, axe);
    }
    nats_js::hand_over(&mut test, workspace, interrupt)?;
    process::succeed(&mut test, interrupt)
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
