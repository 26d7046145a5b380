//! `giliran up`: everything on this machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_nats::Client;
use giliran_broker::ledger::{self, Ledger};
use giliran_broker::server::{self, Server, ServerOptions};
use giliran_config::Config;
use giliran_wire::ApplicantKey;

use crate::failure::Failure;
use crate::http::{self, Shown};
use crate::roles::{Access, EngineSetup, make_folder, start_engine, suitable, until_asked};
use crate::{check, init, key};

/// Where clients look first.
const USUAL_PORT: u16 = 4222;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran up --dev                               an opening that is open now\n  \
    giliran up --config giliran.toml --data /var/lib/giliran\n  \
    giliran up --config giliran.toml --nats nats://broker:4222 --store postgres://giliran@db/giliran\n\n\
    Ctrl-C or SIGTERM stops it cleanly.")]
pub(crate) struct Args {
    /// The configuration.
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
    #[arg(long, env = "GILIRAN_STORE", value_name = "URL")]
    store: Option<String>,
    /// Metrics and health; the next free port is taken.
    #[arg(long, default_value = "127.0.0.1:8420")]
    http: SocketAddr,
    /// Deciding tasks at once.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let shutdown = until_asked();
    let config = match &args.config {
        Some(file) => check::read(file)?,
        None => Config::dev(giliran_broker::clock::now()),
    };
    make_folder(&args.data)?;
    let (server, url, monitor) = match &args.nats {
        Some(url) => (None, url.clone(), args.access.monitor().map(str::to_owned)),
        None => {
            let server = start_server(&args.data).await?;
            let (url, monitor) = (server.url(), server.monitor_url());
            (Some(server), url, Some(monitor))
        }
    };
    let client = args.access.connect(&url, "giliran up").await?;
    let mut shown =
        Shown { warnings: suitable(&client, monitor.as_deref()).await?, ..Shown::default() };
    let (key, ledger) = open_or_make(&client, &config, &args.data).await?;
    let mut engine = start_engine(
        EngineSetup {
            client: client.clone(),
            config: config.clone(),
            key,
            data: args.data.clone(),
            name: None,
            workers: args.workers,
            ledger: ledger.clone(),
        },
        &mut shown,
        shutdown.clone(),
    )
    .await?;
    let listener = http::listen(args.http, true).await?;
    let address = listener.local_addr()?;
    http::serve(listener, Arc::new(shown));
    println!("giliran is up");
    println!("  requests  {url}, subjects {}.*", config.domain);
    println!("  data      {}", args.data.display());
    println!("  health    http://{address}/readyz   metrics http://{address}/metrics");
    println!("Ctrl-C stops it.");
    let ended = (&mut engine).await.map_err(|e| Failure::Wrong(e.to_string()))?;
    if let Some(server) = server {
        server.stop().await?;
    }
    ended
}

/// The child server, on the usual port if that is free.
async fn start_server(data: &Path) -> Result<Server, Failure> {
    let free = std::net::TcpListener::bind(("127.0.0.1", USUAL_PORT)).is_ok();
    let options = ServerOptions {
        binary: server::locate()?,
        folder: std::path::absolute(data.join("nats"))?,
        port: free.then_some(USUAL_PORT),
        sync_always: true,
        more: String::new(),
    };
    Ok(Server::start(options).await?)
}

/// Opens the ledger; makes it in a data folder that is fresh, and only there: a
/// stream that vanished must not start selling again.
async fn open_or_make(
    client: &Client,
    config: &Config,
    data: &Path,
) -> Result<(ApplicantKey, Ledger), Failure> {
    let file = data.join(key::FILE);
    let fresh = !file.exists();
    match ledger::open(client, &config.domain).await {
        Ok(_) if fresh => Err(Failure::Wrong(format!(
            "{} has no applicant key, but the broker has a ledger already. Put the key the \
             ledger was made with there",
            file.display()
        ))),
        Ok(ledger) => Ok((key::read(&file)?, ledger)),
        Err(_) if fresh => {
            let key = key::make(&file)?;
            let ledger = init::make(client, &config.domain, &key, 1).await?;
            Ok((key, ledger))
        }
        Err(error) => Err(error.into()),
    }
}
