//! The single roles, and what `up` shares with them.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::Client;
use giliran_config::Config;
use giliran_engine::{Engine, Metrics, Options, foreign_messages};
use giliran_feed::Feed;
use giliran_nats::follower::{Progress, View};
use giliran_nats::lease::{Lease, TWIN};
use giliran_nats::ledger::Ledger;
use giliran_nats::ledger::archive::Archive;
use giliran_nats::private;
use giliran_persist::{Persist, StoreUrl};
use giliran_wire::ApplicantKey;
use giliran_wire::admin::check_signed;
use giliran_wire::ledger::Signed;
use giliran_wire::subject::Namespace;
use prometheus::{Gauge, IntCounter, IntGauge, Registry};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::config_file;
use crate::connect::{Nats, namespace};
use crate::failure::Failure;
use crate::health::{self, Health, HealthRegistry, Work};
use crate::standing::Fixed;
use crate::start::Start;
use crate::{key_file, named, standing};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  giliran serve --config giliran.toml --data /var/lib/giliran --key /etc/giliran/applicant.key\n\n\
    Several may run: one is active, the others follow the ledger and take over."
)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    nats: Nats,
    /// The configuration file, TOML.
    #[arg(long)]
    config: PathBuf,
    /// Holds the high-water mark; made if missing. Not shared between engines.
    #[arg(long)]
    data: PathBuf,
    /// The applicant key the ledger was made with.
    #[arg(long, env = "GILIRAN_KEY_FILE", default_value = key_file::FILE)]
    key: PathBuf,
    /// This engine's name in ledger, lease and logs; left out, the machine's and a
    /// random part.
    #[arg(long, value_parser = named::given)]
    name: Option<String>,
    /// Deciding tasks at once.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Take over although this machine's clock differs from the broker's by more than a
    /// minute: somebody has seen that it is right.
    #[arg(long, requires_all = ["operator", "reason"])]
    trust_clock: bool,
    /// With --trust-clock: your name, for the record.
    #[arg(long, requires = "trust_clock", value_name = "NAME")]
    operator: Option<String>,
    /// With --trust-clock: why, for the record.
    #[arg(long, requires = "trust_clock", value_name = "WHY")]
    reason: Option<String>,
    /// Address of /metrics, /healthz and /readyz.
    #[arg(long, default_value = "127.0.0.1:8421")]
    http: SocketAddr,
}

pub(crate) async fn serve(args: ServeArgs) -> Result<(), Failure> {
    let config = config_file::read_to_run(&args.config)?;
    let key = key_file::read(&args.key)?;
    let trust_clock = trusted(args.trust_clock, args.operator, args.reason)?;
    let _held = hold_folder(&args.data)?;
    let shutdown = until_asked();
    let shown = put_on_show("serve", args.http, &shutdown).await?;
    let start = Start::new("engine", &shown, shutdown.clone());
    let Some(client) = start.connect(&args.nats, "giliran serve").await? else { return Ok(()) };
    let name = args.name.unwrap_or_else(named::by_machine);
    standing::answer(&client, &config.namespace, "engine", fixed(&name, &key, &config), &shown);
    if !start.suits(&client, &args.nats).await? {
        return Ok(());
    }
    let Some(ledger) = start.ledger(&client, &config.namespace).await? else { return Ok(()) };
    let setup = EngineSetup {
        client,
        config,
        key,
        data: args.data,
        name,
        workers: args.workers,
        trust_clock,
        ledger,
    };
    let engine = start_engine(setup, &shown, shutdown)?;
    engine.await.map_err(|e| Failure::Wrong(e.to_string()))?
}

/// What has to be equal in all engines of a ledger, and this one's name.
pub(crate) fn fixed(name: &str, key: &ApplicantKey, config: &Config) -> Fixed {
    Fixed {
        instance: Some(name.to_owned()),
        key: Some(key.fingerprint().to_string()),
        config: (!config.made_up).then(|| config.digest.to_string()),
    }
}

/// Who answers for the clock.
fn trusted(
    trust_clock: bool,
    operator: Option<String>,
    reason: Option<String>,
) -> Result<Option<Signed>, Failure> {
    let Some((operator, reason)) = operator.zip(reason).filter(|_| trust_clock) else {
        return Ok(None);
    };
    check_signed(&operator, &reason).map_err(|wrong| Failure::Usage(format!("--{wrong}")))?;
    Ok(Some(Signed { operator, reason }))
}

/// Metrics and health of a role that is about to start.
async fn put_on_show(
    role: &str,
    address: SocketAddr,
    shutdown: &CancellationToken,
) -> Result<Arc<HealthRegistry>, Failure> {
    let shown = Arc::new(HealthRegistry::new(shutdown.clone())?);
    let listener = health::listen(address, false).await?;
    eprintln!("giliran {role}: http://{}/readyz", listener.local_addr()?);
    health::serve(listener, Arc::clone(&shown));
    Ok(shown)
}

/// What an engine is started with.
pub(crate) struct EngineSetup {
    pub(crate) client: Client,
    pub(crate) config: Config,
    pub(crate) key: ApplicantKey,
    pub(crate) data: PathBuf,
    pub(crate) name: String,
    pub(crate) workers: Option<u16>,
    /// Who answers for this machine's clock where the broker's denies it.
    pub(crate) trust_clock: Option<Signed>,
    pub(crate) ledger: Ledger,
}

pub(crate) type Running = tokio::task::JoinHandle<Result<(), Failure>>;

/// Starts the engine and puts it on show.
pub(crate) fn start_engine(
    setup: EngineSetup,
    shown: &HealthRegistry,
    shutdown: CancellationToken,
) -> Result<Running, Failure> {
    let metrics = Metrics::register(&shown.registry)?;
    let name = setup.name;
    // The holder tells this start from an earlier one of the same name.
    let holder = format!("{name} {:016x}", rand::random::<u64>());
    let (namespace, replicas) = (&setup.config.namespace, setup.ledger.replicas());
    let lease = Lease::of_engines(&setup.client, namespace, &holder, replicas);
    let twin = lease.twin();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = Options {
        name,
        config: setup.config,
        key: setup.key,
        data: setup.data,
        workers: setup.workers.map_or(cores.min(4), usize::from),
        trust_clock: setup.trust_clock,
    };
    let engine = Engine::new(options, setup.client, metrics.clone());
    let view = engine.view();
    shown.add(move || {
        let ((report, progress), seen) = (view.look(), view.seen());
        let tail = seen.tail.max(progress.seq);
        let details = json!({ "seq": progress.seq, "tail": tail });
        let mut warnings = view.warnings();
        warnings.extend(twin.runs().then(|| TWIN.to_owned()));
        let (progress, seen) = (Some(progress), Some(seen));
        let [queue, backlog] = metrics.waiting();
        let (answers, grants_within) = (metrics.answers(), metrics.grants_within());
        let work = Some(Work { queue, backlog, answers, grants_within });
        Health { name: "engine", report, details, progress, seen, warnings, work }
    });
    let ledger = setup.ledger;
    Ok(tokio::spawn(async move {
        let ended = Box::pin(engine.run(ledger, lease, shutdown)).await;
        // The engine's last report has said why.
        ended.map_err(|_| Failure::Logged)
    }))
}

/// Starts persisting and puts it on show.
pub(crate) fn start_persist(
    store: StoreUrl,
    archive: Option<Archive>,
    (client, namespace): (&Client, &Namespace),
    ledger: Ledger,
    shown: &HealthRegistry,
    shutdown: CancellationToken,
) -> Result<Running, Failure> {
    let persist = Persist::new(store, archive, client, namespace);
    let lag = Lag::register(&shown.registry, "persist", "bookings written into the store")?;
    let view = persist.view();
    shown.add(move || lag.show("persist", "bookings", &view));
    Ok(tokio::spawn(async move {
        Box::pin(persist.run(ledger, shutdown)).await.map_err(|_| Failure::Logged)
    }))
}

/// Starts the feed and puts it on show.
pub(crate) fn start_feed(
    client: Client,
    namespace: Namespace,
    ledger: Ledger,
    shown: &HealthRegistry,
    shutdown: CancellationToken,
) -> Result<Running, Failure> {
    let feed = Feed::new(client, namespace);
    let lag = Lag::register(&shown.registry, "feed", "events published")?;
    let view = feed.view();
    shown.add(move || lag.show("feed", "events", &view));
    Ok(tokio::spawn(async move {
        Box::pin(feed.run(ledger, shutdown)).await.map_err(|_| Failure::Logged)
    }))
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  giliran feed --nats nats://broker:4222 --http 127.0.0.1:8423")]
pub(crate) struct FeedArgs {
    #[command(flatten)]
    nats: Nats,
    /// The ledger's subject prefix.
    #[arg(long, default_value = Namespace::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// Address of /metrics, /healthz and /readyz.
    #[arg(long, default_value = "127.0.0.1:8423")]
    http: SocketAddr,
}

pub(crate) async fn feed(args: FeedArgs) -> Result<(), Failure> {
    let namespace = namespace(&args.subject_prefix)?;
    let shutdown = until_asked();
    let shown = put_on_show("feed", args.http, &shutdown).await?;
    let start = Start::new("feed", &shown, shutdown.clone());
    let Some(client) = start.connect(&args.nats, "giliran feed").await? else { return Ok(()) };
    standing::answer(&client, &namespace, "feed", Fixed::default(), &shown);
    let Some(ledger) = start.ledger(&client, &namespace).await? else { return Ok(()) };
    let running = start_feed(client, namespace, ledger, &shown, shutdown)?;
    running.await.map_err(|e| Failure::Wrong(e.to_string()))?
}

pub(crate) struct Lag {
    position: IntGauge,
    blocks: IntGauge,
    seconds: Gauge,
    done: IntGauge,
    foreign: IntCounter,
    /// Foreign messages that are counted.
    counted: Mutex<u64>,
}

impl Lag {
    pub(crate) fn register(registry: &Registry, part: &str, done: &str) -> Result<Self, Failure> {
        let gauge = |name: &str, help: &str| -> Result<IntGauge, Failure> {
            let gauge = IntGauge::new(format!("giliran_{part}_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let foreign = foreign_messages(part)?;
        registry.register(Box::new(foreign.clone()))?;
        let seconds = Gauge::new(
            format!("giliran_{part}_lag_seconds"),
            "how long the first ledger block has waited that it has not done yet",
        )?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self {
            foreign,
            counted: Mutex::default(),
            position: gauge("position", "ledger sequence it has reached")?,
            blocks: gauge("lag_blocks", "ledger blocks it is behind")?,
            done: gauge("done", done)?,
            seconds,
        })
    }

    /// Shows what there is to see of a follower that counts `what`.
    fn show(&self, name: &'static str, what: &'static str, view: &View) -> Health {
        let ((report, progress), seen) = (view.look(), view.seen());
        let Progress { seq, epoch: _, done, foreign } = progress;
        let lag = (seen.lag().as_secs_f64() * 10.0).round() / 10.0;
        self.position.set(seq as i64);
        self.blocks.set(seen.lag_blocks as i64);
        self.seconds.set(lag);
        self.done.set(done as i64);
        // A panic elsewhere cannot leave a number half changed.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        self.foreign.inc_by(foreign.saturating_sub(*counted));
        *counted = foreign.max(*counted);
        let mut details = json!({
            "seq": seq, "tail": seen.tail.max(seq), "lag_blocks": seen.lag_blocks,
            "lag_seconds": lag,
        });
        details[what] = done.into();
        let (progress, seen) = (Some(progress), Some(seen));
        Health { name, report, details, progress, seen, warnings: Vec::new(), work: None }
    }
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  giliran persist --store sqlite:/var/lib/giliran/bookings.sqlite\n  \
    giliran persist --store postgres://giliran@db/giliran --http 127.0.0.1:8422\n\n\
    A second copy for the same store waits until the first one ends."
)]
pub(crate) struct PersistArgs {
    #[command(flatten)]
    nats: Nats,
    /// The ledger's subject prefix.
    #[arg(long, default_value = Namespace::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// sqlite:PATH or postgres://…; with a password in it, better from the environment.
    #[arg(long, env = "GILIRAN_STORE", value_name = "URL", hide_env_values = true)]
    store: StoreUrl,
    /// Where `giliran archive` has put generations whose streams are gone; an empty
    /// store begins with them.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// Address of /metrics, /healthz and /readyz.
    #[arg(long, default_value = "127.0.0.1:8422")]
    http: SocketAddr,
}

pub(crate) async fn persist(args: PersistArgs) -> Result<(), Failure> {
    let namespace = namespace(&args.subject_prefix)?;
    let archive = args.archive.map(Archive::new);
    let shutdown = until_asked();
    let shown = put_on_show("persist", args.http, &shutdown).await?;
    let start = Start::new("persist", &shown, shutdown.clone());
    let Some(client) = start.connect(&args.nats, "giliran persist").await? else { return Ok(()) };
    standing::answer(&client, &namespace, "persist", Fixed::default(), &shown);
    let Some(ledger) = start.ledger(&client, &namespace).await? else { return Ok(()) };
    let broker = (&client, &namespace);
    let running = start_persist(args.store, archive, broker, ledger, &shown, shutdown)?;
    running.await.map_err(|e| Failure::Wrong(e.to_string()))?
}

/// Makes the data folder and holds it for this process alone: two engines, or
/// two NATS servers, on the same files would sell the same places.
pub(crate) fn hold_folder(folder: &std::path::Path) -> Result<File, Failure> {
    let failed =
        |e: &dyn std::fmt::Display| Failure::Usage(format!("--data {}: {e}", folder.display()));
    std::fs::create_dir_all(folder).map_err(|e| failed(&e))?;
    private::warn_if_open(folder);
    for file in [key_file::FILE, "high-water.json", "snapshot.bin"] {
        private::warn_if_open(&folder.join(file));
    }
    let lock = File::create(folder.join("lock")).map_err(|e| failed(&e))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Failure::Wrong(format!(
            "--data {}: another giliran runs on this folder; each needs one of its own",
            folder.display()
        ))),
        Err(TryLockError::Error(e)) => Err(failed(&e)),
    }
}

/// Is cancelled at Ctrl-C or SIGTERM; a second one ends the process at once.
pub(crate) fn until_asked() -> CancellationToken {
    let shutdown = CancellationToken::new();
    let asked = shutdown.clone();
    tokio::spawn(async move {
        let mut terminate =
            match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
                Ok(signal) => signal,
                Err(error) => return tracing::error!(%error, "signals cannot be heard"),
            };
        for again in [false, true] {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            if again {
                std::process::exit(130);
            }
            tracing::info!("stopping");
            asked.cancel();
        }
    });
    shutdown
}
