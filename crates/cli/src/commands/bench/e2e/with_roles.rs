//! Store and feed beside the engine: what is left for grants, and how far they fall behind.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::process::Command;

use super::report::WithRoles;
use super::rows::{Row, SINGLE};
use super::{Args, Bench};
use crate::failure::Failure;

/// Places of one national opening.
const OPENING: u64 = 57_440;
/// Bookings of the sustained rate.
const SUSTAINED: u64 = 300_000;
/// Bookings there before: store and feed have to write them first.
const BOOK: u32 = 100_000;
/// How long store and feed may take to the ledger's end.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(300);
/// Between two looks at how far they are.
const LOOK: Duration = Duration::from_millis(5);

pub(super) async fn measure(args: &Args, folder: &Path) -> Result<WithRoles, Failure> {
    let folder = folder.join("roles");
    std::fs::create_dir(&folder)?;
    let args = Args { book: BOOK, bare: None, ..args.clone() };
    let mut bench = Bench::start(&args, &folder).await?;
    eprintln!("store and feed start and catch up …");
    let store = format!("sqlite:{}", folder.join("bookings.sqlite").display());
    let _persist = bench.stage.role(&["persist", "--store", &store])?;
    let _feed = bench.stage.role(&["feed"])?;
    caught_up(&bench, &store).await?;
    let grants = Row { name: "S2a", requests: OPENING, ..SINGLE };
    let opening = bench.pass(&grants).await?;
    let behind = caught_up(&bench, &store).await?;
    let sustained = Row { name: "S2b", requests: SUSTAINED, ..grants };
    let since = Instant::now();
    bench.pass(&sustained).await?;
    caught_up(&bench, &store).await?;
    let sustained = (SUSTAINED as f64 * args.scale) / since.elapsed().as_secs_f64();
    audited(&bench, &store).await?;
    bench.stop().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(WithRoles { opening_per_s: opening.per_s, behind, sustained_per_s: sustained })
}

/// A run whose ledger and store do not pass the audit is void.
async fn audited(bench: &Bench, store: &str) -> Result<(), Failure> {
    let mut audit = Command::new(std::env::current_exe()?);
    audit.args(["audit", "--nats", &bench.stage.url(), "--store", store]);
    let audited = audit.output().await?;
    if audited.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&audited.stdout);
    Err(Failure::Wrong(format!("VOID: the audit of this run's ledger failed:\n{said}")))
}

/// How long store and events take to stand at the ledger's end.
async fn caught_up(bench: &Bench, store: &str) -> Result<Duration, Failure> {
    let since = Instant::now();
    let (_, tail) = bench.stage.ledger.tail().await?;
    let url = store.parse().map_err(Failure::Usage)?;
    let context = async_nats::jetstream::new(bench.stage.client.clone());
    loop {
        let mut stored = 0;
        if let Ok(mut store) = giliran_persist::Store::open_to_read(&url).await
            && let Ok(Some((chain, _))) = store.position().await
        {
            stored = chain.seq;
        }
        let mut published = 0;
        if let Ok(stream) = context.get_stream(bench.stage.namespace.events_stream()).await
            && let Ok(last) = stream.get_raw_message(stream.cached_info().state.last_sequence).await
            && let Some(id) = last.headers.get("Nats-Msg-Id")
            && let Ok(id) = id.as_str().parse::<giliran_wire::event::EventId>()
        {
            published = id.seq;
        }
        if stored >= tail && published >= tail {
            return Ok(since.elapsed());
        }
        if since.elapsed() > CAUGHT_UP_WITHIN {
            return Err(Failure::Wrong(format!(
                "after 5 minutes the store stands at {stored}, the events at {published}, the \
                 ledger at {tail}"
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}
