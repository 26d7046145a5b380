//! What all of the console's pages share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use futures_util::future::BoxFuture;
use giliran_nats::Client;
use giliran_nats::clock::Moment;
use giliran_survey::Survey;
use giliran_survey::judge::{Certificate, Limits};
use giliran_web::{Peer, Proxies, Unsaid};
use giliran_wire::ledger::journal::Action;
use giliran_wire::picture::Judged;
use giliran_wire::subject::Namespace;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::watch::Watch;

/// For so long a list is shown as it was: each takes reading the ledger.
const KEPT: Duration = Duration::from_secs(5);

/// Whether an opening can begin, by its id.
pub type Preflights =
    Box<dyn Fn(String) -> BoxFuture<'static, Result<Judged, String>> + Send + Sync>;
/// What was done, from the whole ledger.
pub type Journals = Box<dyn Fn() -> BoxFuture<'static, Result<Vec<Action>, String>> + Send + Sync>;

/// Who may act, and how it is known who they are.
#[derive(Debug, Clone)]
pub struct Operators {
    /// The proxies in front that have asked for a login.
    pub proxies: Proxies,
    /// The header with the name that has logged in.
    pub header: HeaderName,
}

/// How a console is set up.
pub struct Settings {
    /// The connection that actions are sent over.
    pub client: Client,
    /// The engine's subjects.
    pub namespace: Namespace,
    /// What asks processes and broker.
    pub survey: Survey,
    /// What is green.
    pub limits: Limits,
    /// Of this login.
    pub certificates: Vec<Certificate>,
    /// What reads file and ledger before an opening.
    pub preflights: Preflights,
    /// What reads the ledger for what was done.
    pub journals: Journals,
    /// Who may act; none: nobody, it only looks.
    pub operators: Option<Operators>,
}

/// A console that runs.
pub struct Console {
    pub(crate) client: Client,
    pub(crate) namespace: Namespace,
    pub(crate) watch: Watch,
    preflights: Preflights,
    journals: Journals,
    operators: Option<Operators>,
    kept_preflights: Mutex<HashMap<String, (Moment, Arc<Judged>)>>,
    kept_journal: Mutex<Option<(Moment, Arc<Vec<Action>>)>>,
    pub(crate) shutdown: CancellationToken,
}

/// Most openings whose preflight is kept.
const MOST_KEPT: usize = 64;

impl Console {
    /// Starts to look, as long as somebody looks at it.
    pub fn start(settings: Settings, shutdown: CancellationToken) -> Arc<Self> {
        let Settings { client, namespace, survey, limits, certificates, .. } = settings;
        let watch = Watch::start(survey, limits, certificates, shutdown.clone());
        Arc::new(Self {
            client,
            namespace,
            watch,
            preflights: settings.preflights,
            journals: settings.journals,
            operators: settings.operators,
            kept_preflights: Mutex::default(),
            kept_journal: Mutex::default(),
            shutdown,
        })
    }

    /// Whether operators' actions can be done here.
    pub(crate) const fn acts(&self) -> bool {
        self.operators.is_some()
    }

    /// Who a trusted proxy says has logged in.
    ///
    /// # Errors
    ///
    /// Where it does not say so, or more than once.
    pub(crate) fn operator(&self, peer: Peer, headers: &HeaderMap) -> Result<String, Unsaid> {
        let unknown = || Unsaid::Missing(HeaderName::from_static("x-operator"));
        let operators = self.operators.as_ref().ok_or_else(unknown)?;
        let name = operators.proxies.said(peer.0.ip(), headers, &operators.header)?;
        Ok(name.to_owned())
    }

    /// Whether an opening can begin, as of some seconds ago at most.
    pub(crate) async fn preflight(&self, opening: &str) -> Result<Arc<Judged>, String> {
        // Whoever comes meanwhile waits for the same.
        let mut kept = self.kept_preflights.lock().await;
        kept.retain(|_, (at, _)| at.elapsed() < KEPT);
        if let Some((_, judged)) = kept.get(opening) {
            return Ok(Arc::clone(judged));
        }
        let judged = Arc::new((self.preflights)(opening.to_owned()).await?);
        if kept.len() < MOST_KEPT {
            kept.insert(opening.to_owned(), (Moment::now(), Arc::clone(&judged)));
        }
        Ok(judged)
    }

    /// What was done, as of some seconds ago at most.
    pub(crate) async fn journal(&self) -> Result<Arc<Vec<Action>>, String> {
        let mut kept = self.kept_journal.lock().await;
        if let Some((_, actions)) = kept.as_ref().filter(|(at, _)| at.elapsed() < KEPT) {
            return Ok(Arc::clone(actions));
        }
        let actions = Arc::new((self.journals)().await?);
        *kept = Some((Moment::now(), Arc::clone(&actions)));
        Ok(actions)
    }

    /// What was done is not as it was any more.
    pub(crate) async fn forget(&self) {
        *self.kept_journal.lock().await = None;
        self.kept_preflights.lock().await.clear();
    }
}
