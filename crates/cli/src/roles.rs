//! The single roles, and what `up` shares with them.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::Client;
use async_nats::jetstream::Context;
use giliran_broker::archive::Archive;
use giliran_broker::connection::{self, Login};
use giliran_broker::lease::Lease;
use giliran_broker::ledger::{self, Ledger};
use giliran_broker::{private, suitability};
use giliran_config::Config;
use giliran_engine::{Engine, Metrics, Options, Role, foreign_messages};
use giliran_feed::Feed;
use giliran_persist::{Persist, StoreUrl};
use giliran_wire::ApplicantKey;
use giliran_wire::subject::Domain;
use prometheus::{IntCounter, IntGauge, Registry};
use serde_json::json;
use tokio::sync::watch;

use crate::failure::Failure;
use crate::http::{self, Part, Shown};
use crate::{check, key};

/// How to reach NATS; secrets come from files and the environment.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Nats {
    /// The NATS server, or several of a cluster, joined by commas.
    #[arg(
        long = "nats",
        env = "GILIRAN_NATS",
        default_value = "nats://127.0.0.1:4222",
        value_name = "URL"
    )]
    url: String,
    #[command(flatten)]
    access: Access,
}

/// How to log in to NATS.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Access {
    /// A NATS credentials file.
    #[arg(long, env = "GILIRAN_NATS_CREDENTIALS", value_name = "FILE",
          conflicts_with_all = ["nats_user", "nats_nkey"])]
    nats_credentials: Option<PathBuf>,
    /// A file with the seed of an NKey.
    #[arg(long, env = "GILIRAN_NATS_NKEY", value_name = "FILE", conflicts_with = "nats_user")]
    nats_nkey: Option<PathBuf>,
    /// NATS user; the password comes from GILIRAN_NATS_PASSWORD.
    #[arg(long, env = "GILIRAN_NATS_USER")]
    nats_user: Option<String>,
    /// Certificates (PEM) of the authorities that are believed, in place of the
    /// system's.
    #[arg(long, env = "GILIRAN_NATS_CA", value_name = "FILE")]
    nats_ca: Option<PathBuf>,
    /// This client's certificate (PEM).
    #[arg(long, env = "GILIRAN_NATS_CERT", value_name = "FILE", requires = "nats_cert_key")]
    nats_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, env = "GILIRAN_NATS_CERT_KEY", value_name = "FILE", requires = "nats_cert")]
    nats_cert_key: Option<PathBuf>,
    /// No connection without TLS; follows from a certificate of either side.
    #[arg(long, env = "GILIRAN_NATS_TLS")]
    nats_tls: bool,
    /// Prefix of this connection's inboxes, where permissions ask for one.
    #[arg(long, env = "GILIRAN_NATS_INBOX_PREFIX")]
    nats_inbox_prefix: Option<String>,
    /// The server's monitoring URL, to see whether it syncs before it
    /// acknowledges.
    #[arg(long, env = "GILIRAN_NATS_MONITOR", value_name = "URL")]
    nats_monitor: Option<String>,
}

impl Nats {
    pub(crate) async fn connect(&self, name: &str) -> Result<Client, Failure> {
        self.access.connect(&self.url, name).await
    }
}

impl Access {
    pub(crate) async fn connect(&self, url: &str, name: &str) -> Result<Client, Failure> {
        let login = Login {
            credentials: self.nats_credentials.clone(),
            nkey: self.nats_nkey.clone(),
            user: self.nats_user.clone(),
            password: std::env::var("GILIRAN_NATS_PASSWORD").ok(),
            inbox_prefix: self.nats_inbox_prefix.clone(),
            ca: self.nats_ca.clone(),
            certificate: self.nats_cert.clone().zip(self.nats_cert_key.clone()),
            tls: self.nats_tls,
        };
        Ok(connection::connect(url, name, &login).await?)
    }

    pub(crate) fn monitor(&self) -> Option<&str> {
        self.nats_monitor.as_deref()
    }
}

/// How to reach NATS for those who only read streams, be they another account's.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Streams {
    #[command(flatten)]
    nats: Nats,
    /// The JetStream domain by which this login's account reaches Giliran's streams,
    /// where they are in another account.
    #[arg(long, env = "GILIRAN_NATS_DOMAIN", value_name = "NAME")]
    nats_domain: Option<String>,
}

impl Streams {
    /// The JetStream API that has the streams.
    pub(crate) async fn connect(&self, name: &str) -> Result<Context, Failure> {
        let client = self.nats.connect(name).await?;
        Ok(connection::jetstream(&client, self.nats_domain.as_deref()))
    }
}

/// Refuses an unsuitable server; returns what an operator should mend.
pub(crate) async fn suitable(
    client: &Client,
    monitor: Option<&str>,
) -> Result<Vec<String>, Failure> {
    let found = suitability::check(client, monitor).await?;
    let warning = match found.sync_always {
        Some(true) => return Ok(Vec::new()),
        Some(false) => {
            "the NATS server acknowledges before it syncs: a power failure can lose grants that \
             were told. Set `sync_interval: always` in its jetstream block"
        }
        None => {
            "not known whether the NATS server syncs before it acknowledges: name its monitoring \
             port with --nats-monitor"
        }
    };
    tracing::warn!("{warning}");
    Ok(vec![warning.to_owned()])
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  giliran serve --config giliran.toml --data /var/lib/giliran --key /etc/giliran/applicant.key\n\n\
    Several may run: one is active, the others follow the ledger and take over."
)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    nats: Nats,
    /// The configuration.
    #[arg(long)]
    config: PathBuf,
    /// Holds the high-water mark; made if missing. Not shared between engines.
    #[arg(long)]
    data: PathBuf,
    /// The applicant key the ledger was made with.
    #[arg(long, env = "GILIRAN_KEY_FILE", default_value = key::FILE)]
    key: PathBuf,
    /// This engine's name in ledger, lease and logs.
    #[arg(long)]
    name: Option<String>,
    /// Deciding tasks at once.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Metrics and health.
    #[arg(long, default_value = "127.0.0.1:8421")]
    http: SocketAddr,
}

pub(crate) async fn serve(args: ServeArgs) -> Result<(), Failure> {
    let config = check::read(&args.config)?;
    let key = key::read(&args.key)?;
    let _held = hold_folder(&args.data)?;
    let client = args.nats.connect("giliran serve").await?;
    let warnings = suitable(&client, args.nats.access.monitor()).await?;
    let ledger = ledger::open(&client, &config.domain).await?;
    let mut shown = Shown { warnings, ..Shown::default() };
    let shutdown = until_asked();
    let listener = http::listen(args.http, false).await?;
    let address = listener.local_addr()?;
    let engine = start_engine(
        EngineSetup {
            client,
            config,
            key,
            data: args.data,
            name: args.name,
            workers: args.workers,
            ledger,
        },
        &mut shown,
        shutdown,
    )
    .await?;
    eprintln!("giliran serve: http://{address}/readyz");
    http::serve(listener, Arc::new(shown));
    engine.await.map_err(|e| Failure::Wrong(e.to_string()))?
}

/// What an engine is started with.
pub(crate) struct EngineSetup {
    pub(crate) client: Client,
    pub(crate) config: Config,
    pub(crate) key: ApplicantKey,
    pub(crate) data: PathBuf,
    pub(crate) name: Option<String>,
    pub(crate) workers: Option<u16>,
    pub(crate) ledger: Ledger,
}

pub(crate) type Running = tokio::task::JoinHandle<Result<(), Failure>>;

/// Starts the engine and puts it on show.
pub(crate) async fn start_engine(
    setup: EngineSetup,
    shown: &mut Shown,
    shutdown: watch::Receiver<bool>,
) -> Result<Running, Failure> {
    let metrics = Metrics::register(&shown.registry)?;
    let name = setup.name.unwrap_or_else(|| format!("engine-{}", std::process::id()));
    // The holder tells this start from an earlier one of the same name.
    let holder = format!("{name} {:016x}", rand::random::<u64>());
    let (domain, replicas) = (&setup.config.domain, setup.ledger.replicas());
    let lease = Lease::of_engines(&setup.client, domain, &holder, replicas);
    lease.open().await?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = Options {
        name,
        config: setup.config,
        key: setup.key,
        data: setup.data,
        workers: setup.workers.map_or(cores.min(4), usize::from),
    };
    let engine = Engine::new(options, setup.client, metrics);
    let status = engine.status();
    shown.parts.push(Box::new(move || engine_part(&status.borrow())));
    let ledger = setup.ledger;
    Ok(tokio::spawn(async move {
        Box::pin(engine.run(ledger, lease, shutdown)).await.map_err(|error| {
            tracing::error!(%error, "the engine ended");
            Failure::Told
        })
    }))
}

/// Starts persisting and puts it on show.
pub(crate) fn start_persist(
    store: StoreUrl,
    archive: Option<Archive>,
    ledger: Ledger,
    shown: &mut Shown,
    shutdown: watch::Receiver<bool>,
) -> Result<Running, Failure> {
    let persist = Persist::new(store, archive);
    let status = persist.status();
    let lag = Lag::register(&shown.registry, "persist", "bookings written into the store")?;
    shown.parts.push(Box::new(move || {
        let status = status.borrow();
        lag.show(status.seq, status.tail, (status.bookings, status.foreign));
        Part {
            name: "persist",
            ready: status.ready,
            state: status.state.clone(),
            details: json!({ "seq": status.seq, "tail": status.tail, "bookings": status.bookings }),
        }
    }));
    Ok(tokio::spawn(async move {
        Box::pin(persist.run(ledger, shutdown)).await.map_err(|error| {
            tracing::error!(%error, "persist ended");
            Failure::Told
        })
    }))
}

/// Starts the feed and puts it on show.
pub(crate) fn start_feed(
    client: Client,
    domain: Domain,
    ledger: Ledger,
    shown: &mut Shown,
    shutdown: watch::Receiver<bool>,
) -> Result<Running, Failure> {
    let feed = Feed::new(client, domain);
    let status = feed.status();
    let lag = Lag::register(&shown.registry, "feed", "events published")?;
    shown.parts.push(Box::new(move || {
        let status = status.borrow();
        lag.show(status.seq, status.tail, (status.events, status.foreign));
        Part {
            name: "feed",
            ready: status.ready,
            state: status.state.clone(),
            details: json!({ "seq": status.seq, "tail": status.tail, "events": status.events }),
        }
    }));
    Ok(tokio::spawn(async move {
        Box::pin(feed.run(ledger, shutdown)).await.map_err(|error| {
            tracing::error!(%error, "the feed ended");
            Failure::Told
        })
    }))
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  giliran feed --nats nats://broker:4222 --http 127.0.0.1:8423")]
pub(crate) struct FeedArgs {
    #[command(flatten)]
    nats: Nats,
    /// The ledger's subject prefix.
    #[arg(long, default_value = Domain::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// Metrics and health.
    #[arg(long, default_value = "127.0.0.1:8423")]
    http: SocketAddr,
}

pub(crate) async fn feed(args: FeedArgs) -> Result<(), Failure> {
    let client = args.nats.connect("giliran feed").await?;
    let domain = domain(&args.subject_prefix)?;
    let ledger = ledger::open(&client, &domain).await?;
    let mut shown = Shown::default();
    let listener = http::listen(args.http, false).await?;
    eprintln!("giliran feed: http://{}/readyz", listener.local_addr()?);
    let running = start_feed(client, domain, ledger, &mut shown, until_asked())?;
    http::serve(listener, Arc::new(shown));
    running.await.map_err(|e| Failure::Wrong(e.to_string()))?
}

/// A follower's figures.
struct Lag {
    position: IntGauge,
    blocks: IntGauge,
    done: IntGauge,
    foreign: IntCounter,
    /// Foreign messages that are counted.
    counted: Mutex<u64>,
}

impl Lag {
    fn register(registry: &Registry, part: &str, done: &str) -> Result<Self, Failure> {
        let gauge = |name: &str, help: &str| -> Result<IntGauge, Failure> {
            let gauge = IntGauge::new(format!("giliran_{part}_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let foreign = foreign_messages(part)?;
        registry.register(Box::new(foreign.clone()))?;
        Ok(Self {
            foreign,
            counted: Mutex::default(),
            position: gauge("position", "ledger sequence it stands at")?,
            blocks: gauge("lag_blocks", "ledger blocks it is behind")?,
            done: gauge("done", done)?,
        })
    }

    fn show(&self, seq: u64, tail: u64, (done, foreign): (u64, u64)) {
        self.position.set(seq as i64);
        self.blocks.set(tail.saturating_sub(seq) as i64);
        self.done.set(done as i64);
        // A panic elsewhere cannot leave a number half changed.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        self.foreign.inc_by(foreign.saturating_sub(*counted));
        *counted = foreign.max(*counted);
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
    #[arg(long, default_value = Domain::DEFAULT_PREFIX)]
    subject_prefix: String,
    /// sqlite:PATH or postgres://…; with a password in it, better from the environment.
    #[arg(long, env = "GILIRAN_STORE", value_name = "URL", hide_env_values = true)]
    store: StoreUrl,
    /// Where `giliran archive` has put generations whose streams are gone; an empty
    /// store begins with them.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// Metrics and health.
    #[arg(long, default_value = "127.0.0.1:8422")]
    http: SocketAddr,
}

pub(crate) async fn persist(args: PersistArgs) -> Result<(), Failure> {
    let client = args.nats.connect("giliran persist").await?;
    let ledger = ledger::open(&client, &domain(&args.subject_prefix)?).await?;
    let archive = args.archive.map(Archive::new);
    let mut shown = Shown::default();
    let listener = http::listen(args.http, false).await?;
    eprintln!("giliran persist: http://{}/readyz", listener.local_addr()?);
    let running = start_persist(args.store, archive, ledger, &mut shown, until_asked())?;
    http::serve(listener, Arc::new(shown));
    running.await.map_err(|e| Failure::Wrong(e.to_string()))?
}

fn engine_part(role: &Role) -> Part {
    let (ready, state, details) = match role {
        Role::Starting { read, tail } => {
            (false, "starting".to_owned(), json!({ "blocks_read": read, "blocks": tail }))
        }
        Role::Standby => (false, "standby".to_owned(), json!({})),
        Role::TakingOver => (false, "taking over".to_owned(), json!({})),
        Role::Active { epoch } => (true, "active".to_owned(), json!({ "epoch": epoch })),
        Role::Stopped { reason } => (false, format!("stopped: {reason}"), json!({})),
    };
    Part { name: "engine", ready, state, details }
}

/// Makes the data folder and holds it for this process alone: two engines, or
/// two brokers, on the same files would sell the same places.
pub(crate) fn hold_folder(folder: &std::path::Path) -> Result<File, Failure> {
    let failed =
        |e: &dyn std::fmt::Display| Failure::Usage(format!("--data {}: {e}", folder.display()));
    std::fs::create_dir_all(folder).map_err(|e| failed(&e))?;
    private::warn_if_open(folder);
    for file in [key::FILE, "high-water.json", "snapshot.bin"] {
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

/// Becomes true at Ctrl-C or SIGTERM; a second one ends the process at once.
pub(crate) fn until_asked() -> watch::Receiver<bool> {
    let (asked, shutdown) = watch::channel(false);
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
            asked.send_replace(true);
        }
    });
    shutdown
}

/// The domain of a role that needs no configuration.
pub(crate) fn domain(prefix: &str) -> Result<Domain, Failure> {
    Domain::new(prefix).map_err(|e| Failure::Usage(e.to_string()))
}
