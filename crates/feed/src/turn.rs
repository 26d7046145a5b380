//! Which of several copies publishes: a key with a time to live.
//!
//! A hint, never for safety: the expected sequences of the event stream see to
//! it that nothing is written twice. Where there is no lease to be had, as
//! without permission, the copy goes on alone.

use std::time::{Duration, Instant};

use async_nats::jetstream::kv::{Operation, Store};
use async_nats::jetstream::{self, Context, context::PublishErrorKind};
use async_nats::{Client, HeaderMap};
use giliran_broker::Error;
use giliran_broker::lease::Lease;
use giliran_wire::subject::Domain;

/// The key, in the bucket that holds the engines' lease.
const KEY: &str = "feed";
/// How long a copy that vanished keeps the others waiting.
const TTL: Duration = Duration::from_secs(3);
/// How often the key is written anew.
const RENEW: Duration = Duration::from_secs(1);
/// How long the broker may take to answer.
const WITHIN: Duration = Duration::from_secs(2);

/// One copy's claim.
pub(crate) struct Turn {
    client: Client,
    context: Context,
    domain: Domain,
    replicas: usize,
    holder: String,
    store: Option<Store>,
    held: Option<Held>,
}

/// The key is this copy's.
struct Held {
    revision: u64,
    renewed_at: Instant,
}

impl Turn {
    pub(crate) fn new(client: &Client, domain: &Domain, replicas: usize) -> Self {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(WITHIN);
        Self {
            client: client.clone(),
            context,
            domain: domain.clone(),
            replicas,
            // Inboxes are random: no other copy has this name.
            holder: client.new_inbox(),
            store: None,
            held: None,
        }
    }

    /// True where this copy may publish; false: another one does.
    pub(crate) async fn take(&mut self) -> bool {
        match tokio::time::timeout(2 * WITHIN, self.try_take()).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(error)) => self.alone(&error),
            Err(error) => self.alone(&Error::new("look at the feed's lease", error)),
        }
    }

    fn alone(&mut self, error: &Error) -> bool {
        tracing::warn!(%error, "no lease for the feed; going on without, run no second copy");
        self.held = None;
        true
    }

    async fn try_take(&mut self) -> Result<bool, Error> {
        let store = match &self.store {
            Some(store) => store.clone(),
            None => self.store.insert(self.open().await?).clone(),
        };
        let entry = store.entry(KEY).await;
        let revision = match entry.map_err(|e| Error::new("look at the feed's lease", e))? {
            None => 0,
            Some(entry) if entry.operation != Operation::Put || entry.value.is_empty() => {
                entry.revision
            }
            Some(entry) if entry.value == self.holder.as_bytes() => entry.revision,
            Some(_) => return Ok(false),
        };
        self.put(revision).await
    }

    /// The bucket, made where it is missing.
    async fn open(&self) -> Result<Store, Error> {
        let bucket = self.domain.lease_bucket();
        if let Ok(store) = self.context.get_key_value(&bucket).await {
            return Ok(store);
        }
        Lease::open(&self.client, &self.domain, &self.holder, self.replicas).await?;
        let store = self.context.get_key_value(&bucket).await;
        store.map_err(|error| Error::new("open the feed's lease", error))
    }

    /// Writes the key over `revision`; false: it stands elsewhere.
    async fn put(&mut self, revision: u64) -> Result<bool, Error> {
        let subject = format!("$KV.{}.{KEY}", self.domain.lease_bucket());
        let mut headers = HeaderMap::new();
        headers.insert("Nats-TTL", format!("{}s", TTL.as_secs()).as_str());
        headers.insert("Nats-Expected-Last-Subject-Sequence", revision.to_string().as_str());
        let renewed_at = Instant::now();
        let value = self.holder.clone().into_bytes().into();
        let sent = self.context.publish_with_headers(subject, headers, value).await;
        match sent.map_err(|error| Error::new("write the feed's lease", error))?.await {
            Ok(ack) => {
                self.held = Some(Held { revision: ack.sequence, renewed_at });
                Ok(true)
            }
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                self.held = None;
                Ok(false)
            }
            Err(error) => Err(Error::new("write the feed's lease", error)),
        }
    }

    /// Renews where it is time; false: another copy publishes by now.
    pub(crate) async fn keep(&mut self) -> Result<bool, Error> {
        match &self.held {
            Some(held) if held.renewed_at.elapsed() >= RENEW => {
                let renewed = tokio::time::timeout(WITHIN, self.put(held.revision)).await;
                renewed.map_err(|error| Error::new("renew the feed's lease", error))?
            }
            _ => Ok(true),
        }
    }

    /// False where another copy may have begun.
    pub(crate) fn is_fresh(&self) -> bool {
        self.held.as_ref().is_none_or(|held| held.renewed_at.elapsed() < TTL)
    }

    /// Lets the next copy begin at once.
    pub(crate) async fn give_back(&mut self) {
        if let (Some(store), Some(held)) = (&self.store, self.held.take()) {
            let deleted = store.delete_expect_revision(KEY, Some(held.revision)).await;
            if let Err(error) = deleted {
                tracing::debug!(%error, "the feed's lease ends by itself");
            }
        }
    }
}
