//! What the demo runs: ledger, engine, store, feed, gateway and console, all in this process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use giliran_audit::Facts;
use giliran_gateway::Metrics;
use giliran_nats::ledger::Ledger;
use giliran_nats::server::Server;
use giliran_nats::{Client, clock, connection};
use giliran_persist::StoreUrl;
use giliran_survey::Survey;
use giliran_survey::judge::Limits;
use giliran_wire::ApplicantKey;
use giliran_wire::subject::Namespace;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::commands::survey::{Beforehand, Looker};
use crate::commands::{gateway, init, survey};
use crate::connect::{Access, suitable};
use crate::daemons::{EngineSetup, Running, fixed, start_engine, start_feed, start_persist};
use crate::failure::Failure;
use crate::health::{self, Health, HealthRegistry};
use crate::standing::Fixed;
use crate::{key_file, standing};

/// From the start of the load to the opening's second.
pub(crate) const BEFORE_OPENING: Duration = Duration::from_secs(3);
/// How long store and feed may take to catch up before the audit.
const CATCH_UP: Duration = Duration::from_secs(60);
/// How long each role may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// The engine's name.
const NAME: &str = "demo";

/// Ledger, engine, store, feed, gateway and console, all in this process.
pub(crate) struct Deployment {
    pub(crate) client: Client,
    pub(crate) namespace: Namespace,
    pub(crate) key: ApplicantKey,
    pub(crate) ledger: Ledger,
    pub(crate) store: StoreUrl,
    pub(crate) shown: Arc<HealthRegistry>,
    /// Where the gateway listens.
    pub(crate) page: SocketAddr,
    /// Where the console listens.
    pub(crate) console: SocketAddr,
    roles: [Running; 5],
    of_gateway: Client,
    /// What answers for them.
    answering: [AbortHandle; 3],
}

impl Deployment {
    /// With an opening that opens soon; ready. The gateway and the console listen at the
    /// addresses given, or at the next free port above each.
    pub(crate) async fn start(
        data: &Path,
        server: &Server,
        (page, console): (SocketAddr, SocketAddr),
        stopped: CancellationToken,
    ) -> Result<Self, Failure> {
        let for_page = health::listen(page, true).await?;
        let for_console = health::listen(console, true).await?;
        let (page, console) = (for_page.local_addr()?, for_console.local_addr()?);
        let client = Access::default().connect(&server.url(), "giliran demo").await?;
        suitable(&client, Some(&server.monitor_url())).await?;
        let shown = Arc::new(HealthRegistry::new(stopped.clone())?);
        let config =
            giliran_config::dev(clock::now().plus_millis(BEFORE_OPENING.as_millis() as u64 + 500));
        let namespace = config.namespace.clone();
        let key = key_file::make(&data.join(key_file::FILE))?;
        let ledger = init::make(&client, &namespace, &key, 1).await?;
        let answering = [
            ("engine", fixed(NAME, &key, &config)),
            ("persist", Fixed::default()),
            ("feed", Fixed::default()),
        ]
        .map(|(role, fixed)| standing::answer(&client, &namespace, role, fixed, &shown));
        let setup = EngineSetup {
            client: client.clone(),
            config,
            key: key.clone(),
            data: data.to_owned(),
            name: NAME.to_owned(),
            workers: None,
            trust_clock: None,
            ledger: ledger.clone(),
        };
        let store = StoreUrl::Sqlite(data.join("bookings.sqlite"));
        let (broker, followed) = ((&client, &namespace), ledger.clone());
        let of_gateway = Access::default().connect(&server.url(), "giliran demo gateway").await?;
        let feed = (client.clone(), namespace.clone(), ledger.clone());
        let roles = [
            start_engine(setup, &shown, stopped.clone())?,
            start_persist(store.clone(), None, broker, followed, &shown, stopped.clone())?,
            start_feed(feed.0, feed.1, feed.2, &shown, stopped.clone())?,
            start_gateway(of_gateway.clone(), &namespace, for_page, &shown, stopped.clone()),
            start_console(&client, &namespace, server, for_console, stopped),
        ];
        ready(&shown).await?;
        Ok(Self {
            client,
            namespace,
            key,
            ledger,
            store,
            shown,
            page,
            console,
            roles,
            of_gateway,
            answering,
        })
    }

    /// Ends every role; what they came to.
    pub(crate) async fn end(self, stopped: &CancellationToken) -> Result<(), Failure> {
        stopped.cancel();
        for role in self.roles {
            let ended = tokio::time::timeout(ENDS_WITHIN, role).await;
            let ended = ended.map_err(|_| Failure::Wrong("a role did not end".to_owned()))?;
            ended.map_err(|error| Failure::Wrong(error.to_string()))??;
        }
        self.answering.iter().for_each(AbortHandle::abort);
        drop(self.shown);
        // A server that ends before its clients would look like one that is lost.
        for client in [self.client, self.of_gateway] {
            client.drain().await.map_err(|error| Failure::Wrong(error.to_string()))?;
        }
        Ok(())
    }
}

/// A gateway with a connection of its own, as `giliran gateway` has it.
fn start_gateway(
    client: Client,
    namespace: &Namespace,
    listener: tokio::net::TcpListener,
    shown: &Arc<HealthRegistry>,
    stopped: CancellationToken,
) -> Running {
    let settings = gateway::usual(namespace.clone());
    let shown = Arc::clone(shown);
    tokio::spawn(async move {
        let metrics = Metrics::register(&shown.registry)?;
        gateway::serve(client, settings, listener, (&shown, &metrics), stopped).await
    })
}

/// A console that looks and does nothing.
fn start_console(
    client: &Client,
    namespace: &Namespace,
    server: &Server,
    listener: tokio::net::TcpListener,
    stopped: CancellationToken,
) -> Running {
    let (client, namespace) = (client.clone(), namespace.clone());
    let streams = connection::jetstream(&client, None);
    let monitors = vec![server.monitor_url()];
    let survey = Survey::new(client.clone(), streams.clone(), namespace.clone(), monitors);
    let (limits, certificates) = (Limits::default(), Vec::new());
    let looker = Arc::new(Looker { client, survey, streams, namespace, limits, certificates });
    let before = Beforehand::default();
    tokio::spawn(async move { survey::serve(looker, before, None, listener, stopped).await })
}

async fn ready(shown: &HealthRegistry) -> Result<(), Failure> {
    let all = async {
        while !shown.look().iter().all(Health::is_ready) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.map_err(|_| {
        let state = |part: &Health| {
            format!("{}: {} {}", part.name, part.report.state.word(), part.report.detail)
        };
        let states: Vec<String> = shown.look().iter().map(state).collect();
        Failure::Wrong(format!("not ready after 20 s: {}", states.join("; ")))
    })
}

/// Opening, office, date, session, quota and places taken.
pub(crate) type SlotShown = (String, String, String, String, u16, u32);

pub(crate) async fn on_record(ledger: &Ledger) -> Result<Vec<SlotShown>, Failure> {
    for _ in 0..100 {
        let slots = Box::pin(Facts::of(ledger, None)).await?.slots();
        if !slots.is_empty() {
            return Ok(slots);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Failure::Wrong("the opening did not get on record".to_owned()))
}

pub(crate) async fn caught_up(shown: &HealthRegistry, ledger: &Ledger) -> Result<(), Failure> {
    let (_, tail) = ledger.tail().await?;
    let behind = |part: &Health| part.details["seq"].as_u64().is_some_and(|seq| seq < tail);
    let all = async {
        while shown.look().iter().any(behind) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The last free places are told with the next coalesced update.
        tokio::time::sleep(Duration::from_millis(600)).await;
    };
    tokio::time::timeout(CATCH_UP, all)
        .await
        .map_err(|_| Failure::Wrong("store or feed did not catch up within a minute".to_owned()))
}
