//! `giliran console`: the same as pages, and operators' actions where they are asked for.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_nats::Client;
use async_nats::connection::State as Connection;
use axum::http::HeaderName;
use giliran_console::{Console, Journals, Operators, Preflights, Settings};
use giliran_nats::ledger::archive::Archive;
use giliran_nats::state::{Report, State};
use giliran_web::Proxies;
use giliran_web::hosts::{Hosts, host};
use giliran_wire::ledger::journal::Action;
use giliran_wire::picture::Judged;
use prometheus::{IntGauge, Registry};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::backups::BackupArgs;
use super::preflight::{Before, expected, waivable};
use super::{Looker, Looking};
use crate::commands::journal;
use crate::config_file;
use crate::daemons::until_asked;
use crate::failure::Failure;
use crate::health::{self, Health, HealthRegistry};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran console                                on this machine, for `giliran up`\n  \
    giliran console --listen 127.0.0.1:8090 --config /etc/giliran/giliran.toml \\\n      \
    --nats-monitor http://n1:8222,http://n2:8222,http://n3:8222\n  \
    giliran console --actions --trust-proxies 127.0.0.1 --operator-header x-forwarded-user \\\n      \
    --host console.example\n\n\
    It has no login and no TLS of its own: put a proxy that has both in front of it.\n\
    Ctrl-C or SIGTERM stops it.")]
pub(crate) struct ConsoleArgs {
    #[command(flatten)]
    looking: Looking,
    /// Where it listens, without TLS and without login.
    #[arg(
        long,
        env = "GILIRAN_CONSOLE_LISTEN",
        default_value = "127.0.0.1:8090",
        value_name = "ADDR"
    )]
    listen: SocketAddr,
    /// The engines' configuration file, to hold the record against.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where `giliran archive` has put generations whose streams are gone.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// How many processes of a role have to answer, as gateway=2; may be repeated.
    #[arg(long, value_name = "ROLE=N", value_parser = expected)]
    expect: Vec<(String, usize)>,
    /// A check that cannot be looked at from here, and for which you answer; may be
    /// repeated.
    #[arg(long, value_name = "NAME", value_parser = waivable)]
    waive: Vec<String>,
    #[command(flatten)]
    backups: BackupArgs,
    /// Operators can act here too; without it, it only looks.
    #[arg(long, requires_all = ["trust_proxies", "operator_header"])]
    actions: bool,
    /// Proxies whose header is believed: addresses or networks, joined by commas.
    #[arg(long, env = "GILIRAN_TRUST_PROXIES", value_name = "NETWORKS")]
    trust_proxies: Option<Proxies>,
    /// The header in which a trusted proxy names who has logged in: the operator on record.
    #[arg(long, env = "GILIRAN_OPERATOR_HEADER", value_name = "NAME", requires = "trust_proxies")]
    operator_header: Option<HeaderName>,
    /// A name by which operators reach it, without a port; may be repeated. With --actions it
    /// answers by this machine's own names, its address and these alone.
    #[arg(long, value_name = "NAME", value_parser = host, requires = "actions")]
    host: Vec<String>,
}

pub(crate) async fn console(args: ConsoleArgs) -> Result<(), Failure> {
    // A file that cannot be read is told now, not once somebody looks.
    args.config.as_deref().map(config_file::read).transpose()?;
    let shutdown = until_asked();
    let listening = |error| Failure::Wrong(format!("--listen {}: {error}", args.listen));
    let listener = giliran_web::listen(args.listen).map_err(listening)?;
    let mut looker = args.looking.start("giliran console").await?;
    looker.limits.least.extend(args.expect.iter().cloned());
    let operators = args.trust_proxies.clone().zip(args.operator_header.clone());
    let operators = operators.filter(|_| args.actions);
    let address = listener.local_addr()?;
    let operators = operators.map(|(proxies, header)| {
        let hosts = Hosts::new(address, args.host.iter().cloned());
        Operators { proxies, header, hosts }
    });
    eprintln!("giliran console: http://{address}/");
    args.backups.limit(&mut looker.limits);
    let before = Beforehand {
        config: args.config,
        archive: args.archive,
        waived: args.waive,
        backups: args.backups.paths().to_vec(),
    };
    serve(Arc::new(looker), before, operators, listener, shutdown).await
}

/// What is looked into besides the processes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Beforehand {
    /// The engines' configuration file.
    config: Option<PathBuf>,
    /// Where generations are whose streams are gone.
    archive: Option<PathBuf>,
    /// Checks for which somebody answers.
    waived: Vec<String>,
    /// Backups whose age counts.
    backups: Vec<PathBuf>,
}

/// Shows what `looker` sees on `listener` until `shutdown`; operators act where they are given.
pub(crate) async fn serve(
    looker: Arc<Looker>,
    before: Beforehand,
    operators: Option<Operators>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let settings = Settings {
        client: looker.client.clone(),
        namespace: looker.namespace.clone(),
        survey: looker.survey.clone(),
        limits: looker.limits.clone(),
        certificates: looker.certificates.clone(),
        journals: journals(&looker, before.archive.clone()),
        preflights: preflights(&looker, before),
        operators,
    };
    let console = Console::start(settings, shutdown.clone());
    let shown = Arc::new(HealthRegistry::new(shutdown.clone())?);
    let client = looker.client.clone();
    shown.add(move || health_of(&client));
    let connections = connections(&shown.registry)?;
    let routes = console.routes().merge(health::routes(shown));
    giliran_web::serve(listener, routes, connections, shutdown).await;
    Ok(())
}

/// How many connections it has, as its metrics show it.
pub(crate) fn connections(registry: &Registry) -> Result<IntGauge, prometheus::Error> {
    let connections = IntGauge::new("giliran_console_connections", "HTTP connections")?;
    registry.register(Box::new(connections.clone()))?;
    Ok(connections)
}

/// It does its work as long as it has a connection; what it sees is no part of that.
fn health_of(client: &Client) -> Health {
    let state = match client.connection_state() {
        Connection::Connected => State::Following,
        _ => State::NatsUnavailable,
    };
    let (progress, seen, work) = (None, None, None);
    let (report, details) = (Report::of(state), json!({}));
    Health { name: "console", report, details, progress, seen, warnings: Vec::new(), work }
}

fn preflights(looker: &Arc<Looker>, before: Beforehand) -> Preflights {
    let looker = Arc::clone(looker);
    Box::new(move |opening| {
        let Beforehand { config, archive, waived, backups } = before.clone();
        let before = Before { opening, config, archive, waived, backups };
        let looker = Arc::clone(&looker);
        Box::pin(async move {
            let judged: Result<Judged, Failure> = Box::pin(before.judge(&looker)).await;
            judged.map_err(|failure| failure.to_string())
        })
    })
}

fn journals(looker: &Arc<Looker>, archive: Option<PathBuf>) -> Journals {
    let looker = Arc::clone(looker);
    Box::new(move || {
        let (looker, archive) = (Arc::clone(&looker), archive.clone().map(Archive::new));
        Box::pin(async move {
            let read = journal::read(&looker.streams, &looker.namespace, archive.as_ref());
            let journal = Box::pin(read).await.map_err(|failure| failure.to_string())?;
            Ok::<Vec<Action>, String>(journal.actions().to_vec())
        })
    })
}
