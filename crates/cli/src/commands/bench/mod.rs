//! `giliran bench`: what an engine can do at most, beside yardsticks in the same run.

mod e2e;
mod expiries;
mod opening;
mod requests;
mod stage;
mod start;

use std::path::PathBuf;

use crate::failure::Failure;

/// Messages on their way at once, each of as many requests as it holds, where bookings
/// are made that nothing is measured by.
const WINDOW: usize = 32;
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Examples:\n  giliran bench\n  giliran bench --passes 3 --scale 0.1 --json bench.json\n  \
    giliran bench --rows S1,S2 --bare target/release/examples/bare\n  \
    giliran bench --rows S11,S12 --scale 0.1\n  giliran bench --rows H1,H2\n  giliran bench --expiries 100000\n  giliran bench --start 10000000"
)]
pub(crate) struct Args {
    /// Passes of each row; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    passes: u32,
    /// Part of each row's requests, and of the book, for a quick look.
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    scale: f64,
    /// Bookings that the opening has when a pass begins.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    book: u32,
    /// Only rows whose name begins so, and their yardsticks (S1, S2, ...); S9, S10, S11,
    /// S12, `shipped`, and H1 and H2 of the gateway, where they are named alone.
    #[arg(long, value_delimiter = ',', value_name = "ROW")]
    rows: Vec<String>,
    /// The program that does the least (`cargo xtask bench e2e` builds it).
    #[arg(long, value_name = "PROGRAM")]
    bare: Option<PathBuf>,
    /// The program of what does the same job (`cargo xtask bench peers` builds it).
    #[arg(long, value_name = "PROGRAM")]
    peers: Option<PathBuf>,
    /// The program that loads a store's rows (`cargo xtask bench e2e` builds it).
    #[arg(long, value_name = "PROGRAM")]
    bare_store: Option<PathBuf>,
    /// A broker's configuration whose accounts are measured beside an open broker.
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// Instead: print the table of figures that were written down, in Markdown.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Instead: draw figures that were written down, as SVG files in the folder of `--out`;
    /// each is printed as a page in Markdown names it, with its figures in words.
    #[arg(long, value_name = "FILE", requires = "out")]
    plot: Option<PathBuf>,
    /// The folder for pictures.
    #[arg(long, value_name = "DIR", requires = "plot")]
    out: Option<PathBuf>,
    /// Write the figures there as JSON, every pass included.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Instead: so many holds that end at once, during a surge.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    expiries: Option<u32>,
    /// Instead: start an engine on a ledger of so many bookings, without and with
    /// a snapshot.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=20_000_000))]
    start: Option<u32>,
    /// Bookings a second of the surge beside the expiries.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    per_second: u32,
    /// Answer the echo's requests (started by the benchmark itself).
    #[arg(long, hide = true, value_name = "URL")]
    echo: Option<String>,
    /// Answer bookings over HTTP with this (started by the benchmark itself).
    #[arg(long, hide = true, value_name = "FILE")]
    answer: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    if let Some(url) = &args.echo {
        return e2e::echo(url).await;
    }
    if let Some(file) = &args.answer {
        return e2e::answer_http(file).await;
    }
    if let Some(file) = &args.table {
        return e2e::print_table(file);
    }
    if let (Some(file), Some(folder)) = (&args.plot, &args.out) {
        return e2e::plot(file, folder);
    }
    let folder = std::env::temp_dir().join(format!("giliran-bench-{:08x}", rand::random::<u32>()));
    std::fs::create_dir_all(&folder)?;
    let measured = match (args.expiries, args.start) {
        (Some(n), _) => Box::pin(expiries::run(n, args.per_second, &folder)).await,
        (None, Some(n)) => Box::pin(start::run(n, &folder)).await,
        (None, None) => Box::pin(e2e::run(&args, &folder)).await,
    };
    std::fs::remove_dir_all(&folder)?;
    measured
}

/// Above 0, and not above 1.
fn scale(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|scale| *scale > 0.0 && *scale <= 1.0)
        .ok_or_else(|| format!("{text:?} is not a part; expected a number above 0, up to 1"))
}
