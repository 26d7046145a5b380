//! `giliran replay`: a recorded opening's requests in another order.

use std::path::PathBuf;

use giliran_surge::recorded::replay;
use giliran_wire::ledger::Order;

use crate::failure::Failure;
use crate::recorded::{Source, gateway};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran replay --opening 2026-W49 --order draw --gateway-log gateway.jsonl\n  \
    giliran replay --opening 2026-W49 --order first-come,rounds=500ms,draw --seed 7\n\n\
    The same code decides as in production. Without a gateway log the refused are missing: the \
    ledger does not hold them.")]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Orders: first-come, rounds=500ms, draw.
    #[arg(
        long,
        value_name = "ORDER,…",
        value_delimiter = ',',
        default_value = "first-come,rounds=500ms,draw",
        value_parser = order
    )]
    order: Vec<Order>,
    /// Seeds the keys of rounds and the draw.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What a gateway saw, one JSON object a line: who was refused, and who asked when.
    #[arg(long, value_name = "FILE")]
    gateway_log: Option<PathBuf>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

fn order(text: &str) -> Result<Order, String> {
    let length = |text: &str| match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(ms), _) => ms.parse::<u64>().ok(),
        (None, Some(s)) => s.parse::<u64>().ok().and_then(|s| s.checked_mul(1_000)),
        _ => None,
    };
    match text.split_once(['=', ':']) {
        None if text == "first-come" => Ok(Order::FirstCome),
        None if text == "draw" => Ok(Order::Draw),
        Some(("rounds", text)) => match length(text) {
            Some(length_ms @ 1..=3_600_000) => Ok(Order::Rounds { length_ms }),
            _ => Err(format!("{text:?} is no length of a round; as rounds=500ms, at most 3600s")),
        },
        _ => Err("there are first-come, rounds=500ms and draw".to_owned()),
    }
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let recorded = Box::pin(args.source.read(u64::MAX)).await?;
    let gateway = gateway(args.gateway_log.as_deref(), &recorded)?;
    let id = recorded.record.id.clone();
    if recorded.closed.is_none() {
        eprintln!("giliran: opening {id} is {}: preliminary", recorded.state.name());
    }
    let (orders, seed) = (args.order, args.seed);
    let work = move || replay::replay(&recorded, gateway.as_ref(), &orders, seed);
    let replayed = tokio::task::spawn_blocking(work).await?;
    let replayed = replayed.map_err(|what| Failure::Wrong(format!("opening {id}: {what}")))?;
    if args.json {
        shown!("{:#}", replay::json(&replayed));
    } else {
        shown!("{}", replay::table(&replayed).trim_end());
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_or_refused_with_what_there_is() {
        assert_eq!(order("first-come"), Ok(Order::FirstCome));
        assert_eq!(order("draw"), Ok(Order::Draw));
        assert_eq!(order("rounds=500ms"), Ok(Order::Rounds { length_ms: 500 }));
        assert_eq!(order("rounds=2s"), Ok(Order::Rounds { length_ms: 2_000 }));
        assert!(order("rounds").unwrap_err().contains("rounds=500ms"));
        assert!(order("rounds=0ms").unwrap_err().contains("no length"));
        assert!(order("lottery").unwrap_err().contains("draw"));
    }
}
