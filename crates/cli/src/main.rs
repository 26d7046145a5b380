//! The one shipped binary, `giliran`.
//!
//! Every command is a module; `roles` holds what `up` and the single roles
//! share. Exit codes: 0 fine, 1 the thing checked or run is wrong, 2 usage or
//! configuration.

/// Prints a line; a reader who has seen enough and closed the pipe is no failure.
macro_rules! shown {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod admin;
mod archive;
mod ask;
mod audit;
mod bench;
mod check;
mod demo;
#[cfg(test)]
mod documents;
mod draw;
mod failure;
mod fairness;
mod http;
mod init;
mod journal;
mod key;
mod ledger;
mod logs;
mod named;
mod order;
mod reader;
mod recorded;
mod replay;
mod roles;
mod start;
mod statement;
mod surge;
mod up;
mod verify;

use std::process::ExitCode;
use std::sync::LazyLock;

use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};

/// The release.
const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from; `unknown` in development builds, and where there was
/// no repository.
const COMMIT: &str = env!("GILIRAN_COMMIT");
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("GILIRAN_COMMIT"), ")");
/// The same, and the time zone data that say when days begin.
static WITH_DATA: LazyLock<String> =
    LazyLock::new(|| format!("{VERSION}, time zone data {}", giliran_core::Calendar::data()));

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
    giliran availability --json\n\n\
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
    Up(up::Args),
    /// Make the ledger, once.
    Init(init::Args),
    /// Run the engine: one is active, others stand by.
    Serve(roles::ServeArgs),
    /// Write the ledger into a store.
    Persist(roles::PersistArgs),
    /// Publish booking events and free places.
    Feed(roles::FeedArgs),
    /// Make the consumers of those who read events.
    Reader(reader::Args),
    /// Hold ledger, stores, events and what clients saw against the promises.
    Audit(audit::Args),
    /// Publish what anybody needs to recompute a draw.
    Draw(draw::Args),
    /// Recompute a draw from what was published of it, and find one entry.
    Verify(verify::Args),
    /// Let a damaged ledger go on behind its last good block.
    Ledger(ledger::Args),
    /// Put sealed generations of the ledger into files.
    Archive(archive::Args),
    /// Run the Friday opening on this machine, from the first request to the audit.
    Demo(demo::Args),
    /// Measure throughput and latency over NATS, beside a no-op echo.
    Bench(bench::Args),
    /// Run the same people under every order of allocation, and measure who gets what.
    Fairness(fairness::Args),
    /// Decide a recorded opening's requests in another order, side by side.
    Replay(replay::Args),
    /// What happened to an opening's places, without any of those who asked; written or checked.
    Statement(statement::Args),
    /// Send a scenario's people and brokers to a running engine, and report what came of it.
    Surge(surge::Args),
    /// Validate a configuration and show what it resolves to.
    Check(check::Args),
    /// Ask for a booking.
    Book(ask::BookArgs),
    /// Say that a held booking was paid or approved.
    Confirm(ask::ConfirmArgs),
    /// Give a booking back, or the own seat of it, or leave the waiting list.
    Cancel(ask::CancelArgs),
    /// Swap a confirmed booking's place for another.
    Reschedule(ask::RescheduleArgs),
    /// Change quotas, close days, extend or end an opening.
    Admin(admin::Args),
    /// Show a booking, by its id or its request's.
    Lookup(ask::LookupArgs),
    /// Show an applicant's booking in an opening.
    Find(ask::FindArgs),
    /// Show openings and free places.
    Availability(ask::AvailabilityArgs),
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
    use Operation::{Archive, Demo, Feed, Init, Persist, Serve, Up};
    let runs = matches!(command.operation, Up(_) | Serve(_) | Persist(_) | Feed(_));
    let usual = if runs { "info" } else { "warn" };
    logs::start(command.log_format, usual);
    if runs {
        tracing::info!(release = RELEASE, commit = COMMIT, "giliran starts");
    }
    // Ledger, store and marks hold applicants' pseudonyms; reports are for others.
    if runs || matches!(command.operation, Init(_) | Archive(_) | Demo(_)) {
        giliran_broker::private::keep_to_oneself();
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
            if !matches!(failure, failure::Failure::Told) {
                eprintln!("giliran: {failure}");
            }
            failure.exit_code()
        }
    }
}

async fn run(operation: Operation) -> Result<(), failure::Failure> {
    match operation {
        Operation::Up(args) => Box::pin(up::run(args)).await,
        Operation::Init(args) => init::run(args).await,
        Operation::Serve(args) => Box::pin(roles::serve(args)).await,
        Operation::Persist(args) => Box::pin(roles::persist(args)).await,
        Operation::Feed(args) => Box::pin(roles::feed(args)).await,
        Operation::Reader(args) => reader::run(args).await,
        Operation::Audit(args) => Box::pin(audit::run(args)).await,
        Operation::Draw(args) => Box::pin(draw::run(args)).await,
        Operation::Verify(args) => verify::run(&args),
        Operation::Ledger(args) => Box::pin(ledger::run(args)).await,
        Operation::Archive(args) => archive::run(args).await,
        Operation::Demo(args) => Box::pin(demo::run(args)).await,
        Operation::Bench(args) => Box::pin(bench::run(args)).await,
        Operation::Fairness(args) => Box::pin(fairness::run(args)).await,
        Operation::Replay(args) => Box::pin(replay::run(args)).await,
        Operation::Statement(args) => Box::pin(statement::run(args)).await,
        Operation::Surge(args) => Box::pin(surge::run(args)).await,
        Operation::Check(args) => Box::pin(check::run(args)).await,
        Operation::Book(args) => ask::book(args).await,
        Operation::Confirm(args) => ask::confirm(args).await,
        Operation::Cancel(args) => ask::cancel(args).await,
        Operation::Reschedule(args) => ask::reschedule(args).await,
        Operation::Admin(args) => admin::run(args).await,
        Operation::Lookup(args) => ask::lookup(args).await,
        Operation::Find(args) => ask::find(args).await,
        Operation::Availability(args) => ask::availability(args).await,
    }
}
