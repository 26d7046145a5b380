//! Which of several copies publishes: the feeds' lease.
//!
//! A hint, never for safety: the expected sequences of the event stream see to
//! it that nothing is written twice. Where a lease is not available, as without
//! permission, the copy goes on alone; where the broker is merely slow to answer, it
//! asks again.

use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use giliran_nats::Error;
use giliran_nats::clock::Moment;
use giliran_nats::lease::{Held, Lease};
use giliran_wire::subject::Namespace;

/// How long a copy that vanished keeps the others waiting.
const TTL: Duration = Duration::from_secs(3);
/// How often the lease is renewed.
const RENEW: Duration = Duration::from_secs(1);
/// How long the broker may take to answer.
const WITHIN: Duration = Duration::from_secs(2);

pub(crate) struct Turn {
    client: Client,
    lease: Lease,
    held: Option<Held>,
    /// It was held, and ran out or is another's.
    lapsed: bool,
}

impl Turn {
    pub(crate) fn new(client: &Client, namespace: &Namespace, replicas: usize) -> Self {
        // Inboxes are random: no other copy has this name.
        let lease = Lease::of_feeds(client, namespace, &client.new_inbox(), replicas);
        Self { client: client.clone(), lease, held: None, lapsed: false }
    }

    /// True where this copy may publish; false: another one does.
    ///
    /// # Errors
    ///
    /// Where the broker does not answer. Where it answers and gives no lease, or has
    /// refused the question for want of a permission, this copy goes on without.
    pub(crate) async fn take(&mut self) -> Result<bool, Error> {
        (self.held, self.lapsed) = (None, false);
        let asked = Moment::now();
        match tokio::time::timeout(2 * WITHIN, self.lease.acquire(TTL)).await {
            Ok(Ok(held)) => {
                self.held = held;
                Ok(self.held.is_some())
            }
            Ok(Err(error)) => self.alone(error, asked),
            Err(error) => self.alone(Error::new("look at the feed's lease", error), asked),
        }
    }

    /// Goes on without a lease, where there is none for this copy.
    fn alone(&self, error: Error, asked: Moment) -> Result<bool, Error> {
        // What takes as long as a question may is no answer, and a login that may not ask
        // hears as little: the server says that elsewhere.
        let is_silent = asked.elapsed() >= WITHIN && !self.lease.is_refused(asked);
        if is_silent || self.client.connection_state() != State::Connected {
            return Err(error);
        }
        tracing::warn!(%error, "no lease for the feed; going on without, run no second copy");
        Ok(true)
    }

    /// Renews where it is time; false: it has run out, and another copy may publish by
    /// now. Up to the next [`take`](Self::take) that stays so.
    pub(crate) async fn keep(&mut self) -> Result<bool, Error> {
        if self.lapsed {
            return Ok(false);
        }
        let Some(held) = &mut self.held else { return Ok(true) };
        if held.renewed_at().elapsed() < RENEW {
            return Ok(true);
        }
        let renewed = tokio::time::timeout(WITHIN, held.renew()).await;
        let renewed = renewed.map_err(|error| Error::new("renew the feed's lease", error))??;
        if renewed.is_none() {
            (self.held, self.lapsed) = (None, true);
        }
        Ok(renewed.is_some())
    }

    /// False where another copy may have begun.
    pub(crate) fn is_fresh(&self) -> bool {
        !self.lapsed && self.held.as_ref().is_none_or(|held| held.renewed_at().elapsed() < TTL)
    }

    /// Lets the next copy begin at once.
    pub(crate) async fn give_back(&mut self) {
        if let Some(held) = self.held.take()
            && let Err(error) = held.release().await
        {
            tracing::debug!(%error, "the feed's lease ends by itself");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::process::Command;

    use giliran_nats::connection::Login;
    use giliran_nats::server::ServerOptions;
    use giliran_testkit::Broker;

    use super::*;

    const USERS: &str = r#"authorization { users: [
        { user: feed, password: secret }
        { user: denied, password: secret, permissions: { publish: { deny: [
            "$KV.giliran-v1-lease.>", "$JS.API.*.*.KV_giliran-v1-lease"
        ] } } }
    ] }"#;

    fn login(user: &str) -> Login {
        let (user, password) = (Some(user.to_owned()), Some("secret".to_owned()));
        Login { user, password, ..Login::default() }
    }

    fn signal(broker: &Broker, name: &str) {
        let pid = broker.server.pid().unwrap().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// A feed at whose start the broker was slow went on without a lease, beside the copy that
    /// held it.
    #[tokio::test]
    async fn a_broker_that_is_slow_is_asked_again_and_one_that_refuses_is_not() {
        let users = |options: &mut ServerOptions| options.more = USERS.to_owned();
        let broker = Broker::with(users, &login("feed")).await;
        let denied = broker.connect("denied", &login("denied")).await;
        let mut turn = Turn::new(&broker.client, &broker.namespace, 1);
        signal(&broker, "-STOP");
        let slow = turn.take().await;
        signal(&broker, "-CONT");
        assert!(slow.is_err(), "{slow:?}");
        assert!(turn.take().await.unwrap() && turn.held.is_some());
        let mut alone = Turn::new(&denied, &broker.namespace, 1);
        assert!(alone.take().await.unwrap() && alone.held.is_none());
    }
}
