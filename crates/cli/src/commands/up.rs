//! `giliran up`: everything on this machine.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use giliran_config::Config;
use giliran_nats::ErrorKind;
use giliran_nats::ledger::{self, Ledger};
use giliran_nats::server::{self, Server, ServerOptions};
use giliran_persist::StoreUrl;
use giliran_wire::ApplicantKey;
use giliran_wire::ledger::Entry;
use tokio_util::sync::CancellationToken;

use crate::commands::init;
use crate::config_file;
use crate::connect::{Access, suitable};
use crate::daemons::{
    EngineSetup, Running, fixed, hold_folder, start_engine, start_feed, start_persist, until_asked,
};
use crate::failure::Failure;
use crate::health::{self, Health, HealthRegistry};
use crate::standing::Fixed;
use crate::{key_file, named, standing};

/// Where clients look first.
const USUAL_PORT: u16 = 4222;
/// How long store and feed may take to write what the engine granted last.
const CATCH_UP: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran up --dev                               an opening that is open now\n  \
    giliran up --config giliran.toml --data /var/lib/giliran\n  \
    giliran up --config giliran.toml --nats nats://broker:4222 --store postgres://giliran@db/giliran\n\n\
    Ctrl-C or SIGTERM stops it cleanly.")]
pub(crate) struct Args {
    /// The configuration file, TOML.
    #[arg(long, required_unless_present = "dev")]
    config: Option<PathBuf>,
    /// An opening of the Batam offices that is open now; no configuration needed.
    #[arg(long, conflicts_with = "config")]
    dev: bool,
    /// Holds the applicant key, the high-water mark, the SQLite file and the
    /// server's files; made if missing.
    #[arg(long, default_value = "giliran-data")]
    data: PathBuf,
    /// Use this NATS server instead of starting one.
    #[arg(long, env = "GILIRAN_NATS", value_name = "URL")]
    nats: Option<String>,
    #[command(flatten)]
    access: Access,
    /// Where bookings are stored: sqlite:PATH or postgres://… (default: SQLite in
    /// the data folder).
    #[arg(long, env = "GILIRAN_STORE", value_name = "URL", hide_env_values = true)]
    store: Option<StoreUrl>,
    /// Metrics and health; the next free port is taken.
    #[arg(long, default_value = "127.0.0.1:8420")]
    http: SocketAddr,
    /// Deciding tasks at once.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let (shutdown, stop_following) = (until_asked(), CancellationToken::new());
    let config = match &args.config {
        Some(file) => config_file::read_to_run(file)?,
        None => giliran_config::dev(giliran_nats::clock::now()),
    };
    let _held = hold_folder(&args.data)?;
    let (server, url, monitor) = match &args.nats {
        Some(url) => (None, url.clone(), args.access.monitor().map(str::to_owned)),
        None => {
            let server = start_server(&args.data).await?;
            let (url, monitor) = (server.url(), server.monitor_url());
            (Some(server), url, Some(monitor))
        }
    };
    let client = args.access.connect(&url, "giliran up").await?;
    let shown = Arc::new(HealthRegistry::new(shutdown.clone())?);
    shown.warn(suitable(&client, monitor.as_deref()).await?);
    let (key, ledger) = open_or_make(&client, &config, &args.data).await?;
    let name = named::by_machine();
    for (role, fixed) in [
        ("engine", fixed(&name, &key, &config)),
        ("persist", Fixed::default()),
        ("feed", Fixed::default()),
    ] {
        standing::answer(&client, &config.namespace, role, fixed, &shown);
    }
    let engine = start_engine(
        EngineSetup {
            client: client.clone(),
            config: config.clone(),
            key,
            data: args.data.clone(),
            name,
            workers: args.workers,
            trust_clock: None,
            ledger: ledger.clone(),
        },
        &shown,
        shutdown,
    )?;
    let store = match args.store {
        Some(store) => store,
        None => StoreUrl::Sqlite(args.data.join("bookings.sqlite")),
    };
    let stored = store.to_string();
    let namespace = &config.namespace;
    let broker = (&client, namespace);
    let persist =
        start_persist(store, None, broker, ledger.clone(), &shown, stop_following.clone())?;
    let feed =
        start_feed(client.clone(), namespace.clone(), ledger, &shown, stop_following.clone())?;
    let listener = health::listen(args.http, true).await?;
    let address = listener.local_addr()?;
    health::serve(listener, Arc::clone(&shown));
    let up = format!(
        "giliran is up\n  requests  {url}, subjects {namespace}.*\n  store     {stored}\n  data      {}\n  \
         health    http://{address}/readyz   metrics http://{address}/metrics\n\
         Ctrl-C stops it.\n",
        args.data.display()
    );
    // Whoever started it may not be reading.
    let _ = std::io::stdout().write_all(up.as_bytes());
    let ended = all_ended(engine, [persist, feed], &shown, &stop_following).await;
    if let Some(server) = server {
        server.stop().await?;
    }
    ended
}

/// The engine ends first; what it granted is then still written. A follower that ended
/// early is reported by `/readyz`: the ledger goes on without it.
async fn all_ended(
    engine: Running,
    followers: [Running; 2],
    shown: &HealthRegistry,
    stop_following: &CancellationToken,
) -> Result<(), Failure> {
    let mut ended = engine.await?;
    catch_up(shown, CATCH_UP).await;
    stop_following.cancel();
    for follower in followers {
        ended = ended.and(follower.await?);
    }
    ended
}

/// Waits until those who follow the ledger stand where the engine stopped, but not
/// for long.
async fn catch_up(shown: &HealthRegistry, longest: Duration) {
    let seq = |part: &Health| part.details["seq"].as_u64().unwrap_or(0);
    let end = shown.look().iter().filter(|part| part.name == "engine").map(seq).max();
    let behind = |part: &Health| part.is_ready() && Some(seq(part)) < end;
    let _ = tokio::time::timeout(longest, async {
        while shown.look().iter().any(behind) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// The child server, on the usual port if that is free.
async fn start_server(data: &Path) -> Result<Server, Failure> {
    let is_free = || std::net::TcpListener::bind(("127.0.0.1", USUAL_PORT)).is_ok();
    let options = ServerOptions {
        binary: server::locate()?,
        folder: std::path::absolute(data.join("nats"))?,
        port: is_free().then_some(USUAL_PORT),
        sync_always: true,
        more: String::new(),
    };
    match Server::start(options.clone()).await {
        // Somebody else took it meanwhile.
        Err(_) if options.port.is_some() && !is_free() => {
            Ok(Server::start(ServerOptions { port: None, ..options }).await?)
        }
        started => Ok(started?),
    }
}

/// Opens the ledger; makes it where the data folder has no key of a ledger, and only
/// there: a stream that vanished must not start selling again. A key is under another
/// name until its ledger is made.
async fn open_or_make(
    client: &Client,
    config: &Config,
    data: &Path,
) -> Result<(ApplicantKey, Ledger), Failure> {
    let (file, unused) = (data.join(key_file::FILE), data.join(key_file::UNUSED));
    let opened = match ledger::open(client, &config.namespace).await {
        Ok(ledger) => Some(ledger),
        // Anything else may hide one that is there.
        Err(error) if error.kind() == ErrorKind::NoLedger && !file.exists() => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(ledger) = &opened {
        if file.exists() {
            return Ok((key_file::read(&file)?, ledger.clone()));
        }
        // Whoever made it may have ended before the key got its name.
        if !(unused.exists() && may_be_of(ledger, &key_file::read(&unused)?).await?) {
            return Err(Failure::Wrong(format!(
                "{} has no applicant key, but the broker has a ledger already. Put the key the \
                 ledger was made with there",
                file.display()
            )));
        }
    }
    let key = init::read_or_make(&unused)?;
    let ledger = match opened {
        Some(ledger) if ledger.genesis().await?.is_some() => ledger,
        _ => init::make(client, &config.namespace, &key, 1).await?,
    };
    key_file::rename(&unused, &file)?;
    Ok((key, ledger))
}

/// True where the ledger was made with this key, or not yet begun.
async fn may_be_of(ledger: &Ledger, key: &ApplicantKey) -> Result<bool, Failure> {
    let Some((_, begin)) = ledger.genesis().await? else { return Ok(true) };
    Ok(matches!(begin.entries.first(), Some(Entry::Genesis(genesis))
        if genesis.applicant_key == key.fingerprint()))
}
