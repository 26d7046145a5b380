//! The one shipped binary, `giliran`.
//!
//! Every command is a module of `commands`; `daemons` holds what `up` and the single roles
//! share. Exit codes: 0 fine, 1 the thing checked or run is wrong, 2 usage or
//! configuration.

/// Prints a line; a reader who has seen enough and closed the pipe is no failure.
macro_rules! outln {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod commands;
mod config_file;
mod connect;
mod daemons;
#[cfg(test)]
mod documents;
mod failure;
mod health;
mod key_file;
mod logs;
mod named;
#[cfg(test)]
mod observed;
mod screen;
mod standing;
mod start;

use std::process::ExitCode;
use std::sync::LazyLock;

use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};

const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from; `unknown` in development builds, and where there was
/// no repository.
const COMMIT: &str = env!("GILIRAN_COMMIT");
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("GILIRAN_COMMIT"), ")");
/// The same, and the time zone data that say when days begin.
static WITH_DATA: LazyLock<String> =
    LazyLock::new(|| format!("{VERSION}, time zone data {}", giliran_allocator::Calendar::data()));

/// A grant is decided on one thread, made durable on another and answered on a
/// third: memory wanders, which the system's allocator pays for with locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Allocates scarce appointment slots, fairly and accountably, when everybody
/// asks at once.
#[derive(Debug, Parser)]
#[command(name = "giliran", version = WITH_DATA.as_str(), arg_required_else_help = true)]
#[command(after_help = "Examples:\n  \
    giliran up --dev                          everything on this machine, open now\n  \
    giliran check giliran.toml                what a configuration resolves to\n  \
    giliran book --office batam-harbourbay 2171012345678901\n  \
    giliran availability --json\n  \
    giliran status --watch                    how everything stands, each second\n\n\
    Exit codes: 0 fine, 1 what was checked or run is wrong, 2 usage or configuration.")]
struct Command {
    #[command(subcommand)]
    operation: Operation,
    /// How logs are written, to standard error.
    #[arg(long, global = true, value_enum, default_value_t = logs::Format::Text)]
    log_format: logs::Format,
}

#[derive(Debug, Subcommand)]
enum Operation {
    /// Run everything on this machine.
    Up(commands::up::Args),
    /// Make the ledger, once.
    Init(commands::init::Args),
    /// Run the engine: one is active, others stand by.
    Serve(daemons::ServeArgs),
    /// Write the ledger into a store.
    Persist(daemons::PersistArgs),
    /// Publish booking events and free places.
    Feed(daemons::FeedArgs),
    /// Serve people and programs over HTTP.
    Gateway(commands::gateway::Args),
    /// Make the consumers of those who read events.
    Reader(commands::reader::Args),
    /// Show how all of Giliran stands: openings, processes, broker.
    Status(commands::survey::StatusArgs),
    /// Say whether an opening can begin: go or no go, and what to do.
    Preflight(commands::survey::PreflightArgs),
    /// Show the same as pages, and let operators act where asked to.
    Console(commands::survey::ConsoleArgs),
    /// Hold ledger, stores, events and what clients saw against the promises.
    Audit(commands::audit::Args),
    /// Publish what anybody needs to recompute a draw.
    Draw(commands::draw::Args),
    /// Recompute a draw from what was published of it, and find one entry.
    Verify(commands::verify::Args),
    /// Let a damaged ledger go on behind its last good block.
    Ledger(commands::ledger::Args),
    /// Put sealed generations of the ledger into files.
    Archive(commands::archive::Args),
    /// Run the Friday opening on this machine, from the first request to the audit.
    Demo(commands::demo::Args),
    /// Measure throughput and latency over NATS, beside a no-op echo.
    Bench(commands::bench::Args),
    /// Run the same people under every order of allocation, and measure who gets what.
    Fairness(commands::fairness::Args),
    /// Decide a recorded opening's requests in another order, side by side.
    Replay(commands::replay::Args),
    /// What happened to an opening's places, without any of those who asked; written or checked.
    Statement(commands::statement::Args),
    /// Send a scenario's people and scalpers to a running engine, and report what came of it.
    Surge(commands::surge::Args),
    /// Validate a configuration and show what it resolves to.
    Check(commands::check::Args),
    /// Hold somebody's own client against the wire protocol.
    Conformance(commands::conformance::Args),
    /// Ask for a booking.
    Book(commands::requests::BookArgs),
    /// Say that a held booking was paid or approved.
    Confirm(commands::requests::ConfirmArgs),
    /// Give a booking back, or the own seat of it, or leave the waiting list.
    Cancel(commands::requests::CancelArgs),
    /// Swap a confirmed booking's place for another.
    Reschedule(commands::requests::RescheduleArgs),
    /// Change quotas, close days, extend or end an opening.
    Admin(commands::admin::Args),
    /// Show who did what and why, and what stood before.
    Journal(commands::journal::Args),
    /// Show a booking, by its id or its request's.
    Lookup(commands::requests::LookupArgs),
    /// Show an applicant's booking in an opening.
    Find(commands::requests::FindArgs),
    /// Show openings and free places.
    Availability(commands::requests::AvailabilityArgs),
}

/// The command line; ends the process where it cannot be taken.
fn command() -> Command {
    Command::try_parse().unwrap_or_else(|mut error| {
        if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) {
            let shown = ContextValue::String(shown(value));
            error.insert(ContextKind::InvalidValue, shown);
        }
        error.exit()
    })
}

/// A value that was refused, as it can be shown: whoever writes down what a command
/// says, as a service's journal does, is to have neither a URL's password nor what a
/// terminal would obey.
fn shown(value: &str) -> String {
    match value.split_once("://") {
        Some((scheme, _)) => format!("{}://…", scheme.escape_debug()),
        None => value.escape_debug().to_string(),
    }
}

fn main() -> ExitCode {
    let command = command();
    // What runs for long tells its story; what answers a question, or shows a picture
    // of its own, only what is off.
    use Operation::{Archive, Console, Demo, Feed, Gateway, Init, Persist, Serve, Up};
    let runs = matches!(
        command.operation,
        Up(_) | Serve(_) | Persist(_) | Feed(_) | Gateway(_) | Console(_)
    );
    let usual = if runs { "info" } else { "warn" };
    logs::start(command.log_format, usual);
    if runs {
        tracing::info!(release = RELEASE, commit = COMMIT, "giliran starts");
    }
    // Ledger, store and marks hold applicants' pseudonyms; reports are for others.
    if runs || matches!(command.operation, Init(_) | Archive(_) | Demo(_)) {
        giliran_nats::private::keep_to_oneself();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("giliran: no runtime: {error}");
            return ExitCode::from(1);
        }
    };
    let done = runtime.block_on(Box::pin(run(command.operation)));
    // Tasks that still wait for the network are not waited for.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, failure::Failure::Logged) {
                eprintln!("giliran: {failure}");
            }
            failure.exit_code()
        }
    }
}

async fn run(operation: Operation) -> Result<(), failure::Failure> {
    match operation {
        Operation::Up(args) => Box::pin(commands::up::run(args)).await,
        Operation::Init(args) => commands::init::run(args).await,
        Operation::Serve(args) => Box::pin(daemons::serve(args)).await,
        Operation::Persist(args) => Box::pin(daemons::persist(args)).await,
        Operation::Feed(args) => Box::pin(daemons::feed(args)).await,
        Operation::Gateway(args) => Box::pin(commands::gateway::run(args)).await,
        Operation::Reader(args) => commands::reader::run(args).await,
        Operation::Status(args) => Box::pin(commands::survey::status(args)).await,
        Operation::Preflight(args) => Box::pin(commands::survey::preflight(args)).await,
        Operation::Console(args) => Box::pin(commands::survey::console(args)).await,
        Operation::Audit(args) => Box::pin(commands::audit::run(args)).await,
        Operation::Draw(args) => Box::pin(commands::draw::run(args)).await,
        Operation::Verify(args) => commands::verify::run(&args),
        Operation::Ledger(args) => Box::pin(commands::ledger::run(args)).await,
        Operation::Archive(args) => commands::archive::run(args).await,
        Operation::Demo(args) => Box::pin(commands::demo::run(args)).await,
        Operation::Bench(args) => Box::pin(commands::bench::run(args)).await,
        Operation::Fairness(args) => Box::pin(commands::fairness::run(args)).await,
        Operation::Replay(args) => Box::pin(commands::replay::run(args)).await,
        Operation::Statement(args) => Box::pin(commands::statement::run(args)).await,
        Operation::Surge(args) => Box::pin(commands::surge::run(args)).await,
        Operation::Check(args) => Box::pin(commands::check::run(args)).await,
        Operation::Conformance(args) => Box::pin(commands::conformance::run(args)).await,
        Operation::Book(args) => commands::requests::book(args).await,
        Operation::Confirm(args) => commands::requests::confirm(args).await,
        Operation::Cancel(args) => commands::requests::cancel(args).await,
        Operation::Reschedule(args) => commands::requests::reschedule(args).await,
        Operation::Admin(args) => commands::admin::run(args).await,
        Operation::Journal(args) => commands::journal::run(args).await,
        Operation::Lookup(args) => commands::requests::lookup(args).await,
        Operation::Find(args) => commands::requests::find(args).await,
        Operation::Availability(args) => commands::requests::availability(args).await,
    }
}
