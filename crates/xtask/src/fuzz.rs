//! `cargo xtask fuzz`: a decoder, fed by libFuzzer, which looks for input that goes new ways
//! through it.
//!
//! The targets are a workspace of their own (`crates/wire/fuzz`), instrumented by a nightly
//! compiler; `cargo xtask test` replays the corpus that is kept there with the usual one.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::{Args, ValueEnum};

use crate::process::{self, Failure, Interrupt};
use crate::workspace::Workspace;

/// Where the targets are, from the root.
const FOLDER: &str = "crates/wire/fuzz";

/// Longer inputs find nothing that shorter ones do not, and are slower.
const LONGEST_INPUT_BYTES: usize = 2_048;

/// What libFuzzer needs of the compiler: counters of ways gone, and what was compared.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions -Ccodegen-units=1";

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Target {
    /// What strangers send, and the answers that clients read.
    Request,
    /// A message of the ledger's stream.
    Block,
    /// A snapshot, and the pieces of a generation's begin.
    Snapshot,
    /// A log that clients have kept.
    ClientLog,
}

#[derive(Args)]
pub(crate) struct FuzzArgs {
    target: Target,
    /// Stop after so many seconds
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Builds the target and runs it, from the corpus that is kept and what earlier runs found.
pub(crate) fn run(
    workspace: &Workspace,
    args: &FuzzArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let target = args.target.to_possible_value();
    let target = target.as_ref().map_or("", |value| value.get_name());
    let (folder, out) = (workspace.root().join(FOLDER), workspace.target().join("fuzz"));
    let host = host()?;
    let mut build = nightly("cargo");
    build
        .args(["build", "--release", "--locked", "--bin", target, "--target", &host])
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        .env("RUSTFLAGS", INSTRUMENTED)
        .env("CARGO_TARGET_DIR", &out);
    process::succeed(&mut build, interrupt)?;
    let [found, failed] = ["corpus", "failed"].map(|kind| out.join(kind).join(target));
    for made in [&found, &failed] {
        fs::create_dir_all(made)
            .map_err(|error| Failure::Broken(format!("{}: {error}", made.display())))?;
    }
    let mut fuzz = Command::new(out.join(&host).join("release").join(target));
    fuzz.arg(format!("-max_total_time={}", args.seconds))
        .arg(format!("-max_len={LONGEST_INPUT_BYTES}"))
        .arg(format!("-artifact_prefix={}/", failed.display()))
        .arg(&found)
        .arg(folder.join("corpus").join(target));
    let status = process::run_in_foreground(&mut fuzz, interrupt)?;
    if !status.success() {
        eprintln!("xtask: {}", advice(&failed, target));
    }
    Ok(ExitCode::from(process::exit_byte(status)))
}

fn advice(failed: &Path, target: &str) -> String {
    format!(
        "the input is in {}. Copy it to {FOLDER}/corpus/{target}/, see \
         `cargo test -p giliran-wire --test formats corpus` fail, mend the decoder, and commit both",
        failed.display()
    )
}

/// A program of the nightly toolchain.
fn nightly(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", program]);
    command
}

/// What the nightly compiler compiles for.
fn host() -> Result<String, Failure> {
    let said = process::output_of(nightly("rustc").arg("-vV"));
    let host = said.as_deref().and_then(|said| said.lines().find_map(|l| l.strip_prefix("host: ")));
    host.map(str::to_owned).ok_or_else(|| {
        Failure::broken("fuzzing needs a nightly compiler: rustup toolchain install nightly")
    })
}
