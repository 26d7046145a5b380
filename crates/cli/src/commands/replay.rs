//! `giliran replay`: a recorded opening's requests in another order.

use std::path::PathBuf;

use giliran_history::{replay, report};
use giliran_report::Language;
use giliran_wire::ledger::Order;

use crate::commands::history::{Source, gateway};
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran replay --opening 2026-W49 --order draw --gateway-log gateway.jsonl\n  \
    giliran replay --opening 2026-W49 --order first-come,rounds=500ms,draw --seed 7\n\n\
    The same code decides as in production. Without a gateway log the rejected are missing: the \
    ledger does not hold them.")]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Orders: first-come, rounds=500ms, draw.
    #[arg(
        long,
        value_name = "ORDER,…",
        value_delimiter = ',',
        default_value = "first-come,rounds=500ms,draw"
    )]
    order: Vec<Order>,
    /// Seeds the keys of rounds and the draw.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What a gateway saw, one JSON object a line: who was rejected, and who asked when.
    #[arg(long, value_name = "FILE")]
    gateway_log: Option<PathBuf>,
    /// The language of the tables: en or id (Indonesian).
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    language: Language,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let recorded = Box::pin(args.source.read(u64::MAX)).await?;
    let gateway = gateway(args.gateway_log.as_deref(), &recorded)?;
    let id = recorded.record.id.clone();
    if recorded.closed.is_none() {
        eprintln!("giliran: opening {id} is {}: preliminary", recorded.state.name());
    }
    let (orders, seed, language) = (args.order, args.seed, args.language);
    let work = move || replay::replay(&recorded, gateway.as_ref(), &orders, seed);
    let replayed = tokio::task::spawn_blocking(work).await?;
    let replayed = replayed.map_err(|what| Failure::Wrong(format!("opening {id}: {what}")))?;
    if args.json {
        outln!("{:#}", report::replayed_json(&replayed));
    } else {
        outln!("{}", report::replayed(&replayed, language).trim_end());
    }
    Ok(())
}
