//! What all of the console's pages share.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName};
use futures_util::future::BoxFuture;
use giliran_nats::Client;
use giliran_survey::Survey;
use giliran_survey::judge::{Certificate, Limits};
use giliran_web::hosts::Hosts;
use giliran_web::{Peer, Proxies, Unsaid};
use giliran_wire::ledger::journal::Action;
use giliran_wire::picture::Judged;
use giliran_wire::subject::Namespace;
use tokio_util::sync::CancellationToken;

use crate::readings::{Reading, Readings, Turn};
use crate::watch::Watch;

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
    /// The names by which the console is asked; what is for another one is refused.
    pub hosts: Hosts,
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
    pub(crate) operators: Option<Operators>,
    read_preflights: Readings<Judged>,
    read_journal: Readings<Vec<Action>>,
    pub(crate) shutdown: CancellationToken,
}

impl Console {
    /// Starts to look, as long as somebody looks at it.
    pub fn start(settings: Settings, shutdown: CancellationToken) -> Arc<Self> {
        let Settings { client, namespace, survey, limits, certificates, .. } = settings;
        let watch = Watch::start(survey, limits, certificates, shutdown.clone());
        let turn = Turn::default();
        Arc::new(Self {
            client,
            namespace,
            watch,
            preflights: settings.preflights,
            journals: settings.journals,
            operators: settings.operators,
            read_preflights: Readings::new(&turn),
            read_journal: Readings::new(&turn),
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

    /// Whether an opening can begin.
    pub(crate) async fn preflight(&self, opening: &str) -> Reading<Judged> {
        self.read_preflights.of(opening, || (self.preflights)(opening.to_owned())).await
    }

    /// What was done.
    pub(crate) async fn journal(&self) -> Reading<Vec<Action>> {
        self.read_journal.of("", || (self.journals)()).await
    }

    /// What was done is not as it was any more.
    pub(crate) fn forget(&self) {
        self.read_journal.forget();
        self.read_preflights.forget();
    }
}
