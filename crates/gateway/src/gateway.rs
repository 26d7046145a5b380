//! The gateway's parts put together: what every address shares.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State as Connection;
use giliran_nats::state::{Report, State};
use giliran_wire::subject::Namespace;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::asking::Asker;
use crate::catalogue::Catalogue;
use crate::client_log::ClientLog;
use crate::feed::Feed;
use crate::identity::{Caller, Identity};
use crate::lanes::{Lane, Lanes};
use crate::metrics::Metrics;
use crate::problem::{Kind, Problem};
use crate::published::Published;
use crate::rate_limit::{Rate, RateLimit};
use crate::room::Room;
use crate::running::RunningBookings;
use crate::token::TokenKey;

/// Most streams that are read at once.
const STREAMS: usize = 30_000;

/// Bytes of bodies that a gateway holds at once: some 1,000 of the longest.
pub const BODY_BYTES_AT_ONCE: usize = 64 * 1024 * 1024;

/// How a gateway is set up.
#[derive(Debug)]
pub struct Settings {
    /// The engine's subjects.
    pub namespace: Namespace,
    /// How long a request is repeated for a caller who does not say how long it waits.
    pub patience: Duration,
    /// Requests on the way to the engine at once; beyond that 503.
    pub in_flight: usize,
    /// Bytes of bodies that are held at once; beyond that 503.
    pub body_bytes: usize,
    /// Who asks, and how that is known.
    pub identity: Identity,
    /// How often one account may ask; none: as often as it likes.
    pub account_rate: Option<Rate>,
    /// How often one address may ask; none: as often as it likes.
    pub address_rate: Option<Rate>,
    /// The key of the requests' tokens, the same for all gateways.
    pub token_key: TokenKey,
    /// Where what was asked and answered is written.
    pub client_log: Option<PathBuf>,
    /// The folder with statements and extracts of draws; none: they are not served.
    pub published: Option<PathBuf>,
}

/// A gateway that runs.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) client: Client,
    pub(crate) catalogue: Catalogue,
    pub(crate) asker: Asker,
    pub(crate) feed: Feed,
    pub(crate) patience: Duration,
    pub(crate) identity: Identity,
    pub(crate) token_key: TokenKey,
    pub(crate) published: Arc<Published>,
    pub(crate) metrics: Metrics,
    /// Places on the way to the engine.
    pub(crate) room: Room,
    /// Places among the look-ups on the way.
    pub(crate) lookup_room: Room,
    /// Bookings on the way.
    pub(crate) running: Arc<RunningBookings>,
    /// Bytes that bodies may have together.
    pub(crate) body_room: Arc<Semaphore>,
    /// Places among the streams.
    pub(crate) stream_room: Arc<Semaphore>,
    accounts: Option<RateLimit>,
    addresses: Option<RateLimit>,
    /// Streams end with it.
    pub(crate) shutdown: CancellationToken,
}

/// Shows how a gateway does.
#[derive(Debug, Clone)]
pub struct View {
    client: Client,
    catalogue: Catalogue,
}

impl View {
    /// What it can do, and what an operator should know.
    pub fn look(&self) -> (Report, Vec<String>) {
        if self.client.connection_state() != Connection::Connected {
            let report = Report::of(State::NatsUnavailable);
            return (report, Vec::new());
        }
        match self.catalogue.age() {
            None => {
                let detail = "no engine has told what there is to book".to_owned();
                (Report { state: State::Starting, detail }, Vec::new())
            }
            // It serves what it knows and repeats what it is asked; an engine will come.
            Some(age) if !self.catalogue.is_fresh() => {
                let warning = format!("no engine has answered for {} s", age.as_secs());
                (Report::of(State::Following), vec![warning])
            }
            Some(_) => (Report::of(State::Following), Vec::new()),
        }
    }
}

impl Gateway {
    /// Starts asking for what there is to book.
    ///
    /// # Errors
    ///
    /// Where the client log cannot be opened or no answers can be received.
    pub async fn start(
        client: Client,
        settings: Settings,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> io::Result<Arc<Self>> {
        if !settings.identity.is_checked() {
            tracing::warn!(
                "identities are unchecked: accounts and applicants are what requests say. Name \
                 the header of a proxy that knows who asks with --account-header, or the key of \
                 signed tokens with --identity-key"
            );
        }
        let log = settings.client_log.as_deref().map(ClientLog::open).transpose()?;
        let lanes = Lanes::start(&client, &settings.namespace, &Lane::PUBLIC, &metrics).await;
        let lanes = Arc::new(lanes.map_err(io::Error::other)?);
        let feed = Feed::start(&client, &settings.namespace).await.map_err(io::Error::other)?;
        let catalogue = Catalogue::start(client.clone(), &settings.namespace, shutdown.clone());
        Ok(Arc::new(Self {
            client,
            catalogue,
            feed,
            asker: Asker { lanes, log, metrics: metrics.clone() },
            patience: settings.patience,
            identity: settings.identity,
            token_key: settings.token_key,
            published: Arc::new(Published::new(settings.published)),
            room: Room::new(settings.in_flight, &metrics),
            lookup_room: Room::new(settings.in_flight, &metrics),
            metrics,
            running: Arc::default(),
            body_room: Arc::new(Semaphore::new(settings.body_bytes)),
            stream_room: Arc::new(Semaphore::new(STREAMS)),
            accounts: settings.account_rate.map(RateLimit::new),
            addresses: settings.address_rate.map(RateLimit::new),
            shutdown,
        }))
    }

    /// What shows how it does.
    pub fn view(&self) -> View {
        View { client: self.client.clone(), catalogue: self.catalogue.clone() }
    }

    /// Waits for the requests that are still on their way, no longer than until `deadline`, then
    /// for the client log's last line.
    ///
    /// # Errors
    ///
    /// Where the client log could not be written.
    pub async fn end(&self, deadline: Instant) -> io::Result<()> {
        if !self.room.emptied(deadline).await {
            tracing::warn!("requests were still on their way at the end");
        }
        let Some(log) = self.asker.log.clone() else { return Ok(()) };
        tokio::task::spawn_blocking(move || log.finish()).await.map_err(io::Error::other)?
    }

    /// Takes one request of this caller's rates. An account that no proxy vouches for is not
    /// counted: whoever names another's would use up theirs.
    ///
    /// # Errors
    ///
    /// 429 where nothing is left of one of them.
    pub(crate) fn take_rate(&self, caller: &Caller) -> Result<(), Problem> {
        let wait = |by: &str, wait: Duration| {
            self.metrics.limited(by);
            Problem::new(Kind::TooMany)
                .detail(format!("as many requests as one {by} may send; nothing is settled"))
                .retry_after_ms(wait.as_millis() as u64)
        };
        if let (Some(limit), Some(account)) = (&self.accounts, &caller.account) {
            limit.take(account.as_bytes()).map_err(|long| wait("account", long))?;
        }
        if let Some(limit) = &self.addresses {
            limit.take(&network(caller.address)).map_err(|long| wait("address", long))?;
        }
        Ok(())
    }
}

/// What counts as one address: of IPv6 the 64 bits that a customer has.
fn network(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets()[..8].to_vec(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_by_what_a_customer_has() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::7"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::7"), of("2001:db8:1:3::7"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
