//! Store and feed beside the engine: what is left for grants, and how far they fall behind.

use std::path::Path;
use std::time::{Duration, Instant};

use giliran_persist::{Store, StoreUrl};
use giliran_wire::event::EventId;
use tokio::process::Command;

use super::super::stage::NICE;
use super::Args;
use super::processes::{Process, Used};
use super::report::WithRoles;
use super::rig::{Ground, Rig};
use super::rows::{Row, SINGLE};
use crate::failure::Failure;

/// Places of one national opening.
const OPENING: u64 = 57_440;
/// Bookings of the sustained rate.
const SUSTAINED: u64 = 300_000;
/// Bookings there before: store and feed have to write them first.
const BOOK: f64 = 100_000.0;
/// How long store and feed may take to the ledger's end.
pub(super) const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(300);
/// Between two looks at how far they are.
pub(super) const LOOK: Duration = Duration::from_millis(5);

pub(super) async fn measure(args: &Args, folder: &Path) -> Result<WithRoles, Failure> {
    let folder = folder.join("roles");
    std::fs::create_dir(&folder)?;
    let book = (BOOK * args.scale) as u64;
    let mut rig = Rig::start(&Ground { book, ..Ground::of(args) }, &folder).await?;
    eprintln!("store and feed start and catch up …");
    let store = format!("sqlite:{}", folder.join("bookings.sqlite").display());
    let persist = rig.stage.nice_role(&["persist", "--store", &store])?;
    let feed = rig.stage.nice_role(&["feed"])?;
    let roles = [("persist", &persist), ("feed", &feed)];
    let roles = roles.into_iter().filter_map(|(what, role)| Some(Process::one(what, role.id()?)));
    rig.processes.extend(roles);
    caught_up(&rig, &store).await?;
    let grants = Row { name: "S2a", requests: OPENING, ..SINGLE };
    let opening = rig.pass(&grants).await?;
    let behind = caught_up(&rig, &store).await?;
    let sustained = Row { name: "S2b", requests: SUSTAINED, ..grants };
    let before = Used::now(&rig.processes);
    rig.pass(&sustained).await?;
    caught_up(&rig, &store).await?;
    let (took, used) = before.since(&rig.processes);
    let bookings = SUSTAINED as f64 * args.scale;
    let each = |used: Duration| used.as_secs_f64() * 1e6 / bookings;
    let what = rig.processes.iter().map(|process| process.what.to_owned());
    audited(&rig, &store).await?;
    let with_roles = WithRoles {
        nice: NICE,
        opening_per_s: opening.per_s,
        opening_cpu_us: opening.cpu_us,
        behind_s: behind.as_secs_f64(),
        sustained_per_s: bookings / took.as_secs_f64(),
        sustained_cpu_us: what.zip(used.into_iter().map(each)).collect(),
    };
    rig.stop().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(with_roles)
}

/// A run whose ledger and store do not pass the audit is void.
async fn audited(rig: &Rig, store: &str) -> Result<(), Failure> {
    let mut audit = Command::new(std::env::current_exe()?);
    audit.args(["audit", "--nats", &rig.stage.url(), "--store", store]);
    let audited = audit.output().await?;
    if audited.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&audited.stdout);
    Err(Failure::Wrong(format!("VOID: the audit of this run's ledger failed:\n{said}")))
}

/// How long store and events take to stand at the ledger's end.
async fn caught_up(rig: &Rig, store: &str) -> Result<Duration, Failure> {
    let since = Instant::now();
    let (_, tail) = rig.stage.ledger.tail().await?;
    let url = store.parse().map_err(Failure::Usage)?;
    loop {
        let (stored, published) = (stored(&url).await, published(rig).await);
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

/// Where a store stands; 0: it holds nothing, or cannot be read yet.
pub(super) async fn stored(url: &StoreUrl) -> u64 {
    if let Ok(mut store) = Store::open_to_read(url).await
        && let Ok(Some((chain, _))) = store.position().await
    {
        return chain.seq;
    }
    0
}

/// The block of the last event; 0: there is none.
pub(super) async fn published(rig: &Rig) -> u64 {
    let context = async_nats::jetstream::new(rig.stage.client.clone());
    if let Ok(stream) = context.get_stream(rig.stage.namespace.events_stream()).await
        && let Ok(last) = stream.get_raw_message(stream.cached_info().state.last_sequence).await
        && let Some(id) = last.headers.get("Nats-Msg-Id")
        && let Ok(id) = id.as_str().parse::<EventId>()
    {
        return id.seq;
    }
    0
}
