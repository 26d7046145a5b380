//! What a role needs before it can begin, waited for: a broker, and a ledger in it.
//! It is shown meanwhile what is missing.

use std::time::Duration;

use async_nats::Client;
use giliran_nats::ledger::{self, Ledger};
use giliran_nats::state::{Report, Reports, State};
use giliran_nats::{Error, ErrorKind};
use giliran_wire::subject::Namespace;
use tokio_util::sync::CancellationToken;

use crate::connect::{Nats, suitable};
use crate::failure::Failure;
use crate::health::HealthRegistry;

/// Pause before a try that came to nothing is made again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A role that starts.
pub(crate) struct Start<'a> {
    part: &'static str,
    shown: &'a HealthRegistry,
    reports: Reports,
    shutdown: CancellationToken,
}

impl<'a> Start<'a> {
    pub(crate) fn new(
        part: &'static str,
        shown: &'a HealthRegistry,
        shutdown: CancellationToken,
    ) -> Self {
        shown.starts(part, Report::of(State::Starting));
        Self { part, shown, reports: Reports::new(part), shutdown }
    }

    /// A connection to a broker that can carry a ledger; none: asked to stop.
    pub(crate) async fn connect(&self, nats: &Nats, name: &str) -> Result<Option<Client>, Failure> {
        let connect = async || nats.try_connect(name).await;
        self.patiently(State::NatsUnavailable, connect).await
    }

    /// Waits until the broker is found to be one that can carry a ledger, and shows
    /// what an operator should mend; false: asked to stop.
    pub(crate) async fn suits(&self, client: &Client, nats: &Nats) -> Result<bool, Failure> {
        let suits = async || suitable(client, nats.monitor()).await;
        let warnings = self.patiently(State::NatsUnavailable, suits).await?;
        let suits = warnings.is_some();
        self.shown.warn(warnings.into_iter().flatten());
        Ok(suits)
    }

    /// The ledger; none: asked to stop.
    pub(crate) async fn ledger(
        &self,
        client: &Client,
        namespace: &Namespace,
    ) -> Result<Option<Ledger>, Failure> {
        let open = async || ledger::open(client, namespace).await;
        self.patiently(State::LedgerUnavailable, open).await
    }

    /// Tries until it works; `unavailable`: what to say where it may pass by itself.
    async fn patiently<T>(
        &self,
        unavailable: State,
        mut attempt: impl AsyncFnMut() -> Result<T, Error>,
    ) -> Result<Option<T>, Failure> {
        loop {
            let error = match Box::pin(attempt()).await {
                Ok(done) => return Ok(Some(done)),
                Err(error) if error.kind() == ErrorKind::Misused => {
                    return Err(Failure::Usage(error.to_string()));
                }
                Err(error) => error,
            };
            let state = match error.kind() {
                ErrorKind::Unavailable => unavailable,
                kind => State::of(kind),
            };
            self.reports.set_state(state, error.to_string());
            self.shown.starts(self.part, Report { state, detail: error.to_string() });
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(None),
                () = tokio::time::sleep(AGAIN_AFTER) => {}
            }
        }
    }
}
