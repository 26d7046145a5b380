//! Which engine should try to serve: a key with a time to live.
//!
//! A hint for liveness, never for safety: the ledger's fence says who may write.

use std::future::Future;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::header::HeaderMap;
use async_nats::jetstream::kv::{self, Store};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use giliran_wire::subject::Domain;

use crate::Error;
use crate::error::Doing;

const KEY: &str = "engine";
/// How often a free lease is looked for where no notice of it comes.
const POLL: Duration = Duration::from_millis(500);

/// The lease of one domain.
#[derive(Debug, Clone)]
pub struct Lease {
    client: Client,
    context: Context,
    store: Store,
    bucket: String,
    holder: String,
}

/// A lease that is held.
#[derive(Debug)]
pub struct Held {
    lease: Lease,
    revision: u64,
    ttl: Duration,
    renewed_at: Instant,
}

impl Lease {
    /// The lease of this domain, for an engine of this name; a bucket that is
    /// made has so many replicas.
    ///
    /// # Errors
    ///
    /// Where its bucket cannot be made or opened.
    pub async fn open(
        client: &Client,
        domain: &Domain,
        holder: &str,
        replicas: usize,
    ) -> Result<Self, Error> {
        let context = jetstream::new(client.clone());
        let bucket = domain.lease_bucket();
        let store = match context.get_key_value(&bucket).await {
            Ok(store) => store,
            Err(_) => context
                .create_key_value(kv::Config {
                    bucket: bucket.clone(),
                    description: "Which engine should serve".to_owned(),
                    history: 1,
                    num_replicas: replicas,
                    limit_markers: Some(Duration::from_secs(60)),
                    ..kv::Config::default()
                })
                .await
                .doing("make the lease's bucket")?,
        };
        Ok(Self { client: client.clone(), context, store, bucket, holder: holder.to_owned() })
    }

    /// Takes the lease if it is free; none: another engine has it.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell.
    pub async fn acquire(&self, ttl: Duration) -> Result<Option<Held>, Error> {
        // The client's own `create` falls back to an update where the last holder
        // gave the key back, and an update drops the time to live: a lease for
        // ever, should its holder die before it renews.
        let revision = match self.store.entry(KEY).await.doing("look at the lease")? {
            None => 0,
            Some(entry) if is_free(&entry) => entry.revision,
            Some(_) => return Ok(None),
        };
        let renewed_at = Instant::now();
        match self.put(ttl, revision).await? {
            Some(revision) => Ok(Some(Held { lease: self.clone(), revision, ttl, renewed_at })),
            None => Ok(None),
        }
    }

    /// Writes the holder over `revision`, to end after `ttl`; none: the key
    /// stands elsewhere.
    async fn put(&self, ttl: Duration, revision: u64) -> Result<Option<u64>, Error> {
        let subject = format!("$KV.{}.{KEY}", self.bucket);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-TTL", format!("{}s", ttl.as_secs()).as_str());
        headers.insert("Nats-Expected-Last-Subject-Sequence", revision.to_string().as_str());
        let value = self.holder.clone().into_bytes();
        let ack = self
            .context
            .publish_with_headers(subject, headers, value.into())
            .await
            .doing("write the lease")?
            .await;
        match ack {
            Ok(ack) => Ok(Some(ack.sequence)),
            Err(error)
                if error.kind() == jetstream::context::PublishErrorKind::WrongLastSequence =>
            {
                Ok(None)
            }
            Err(error) => Err(Error::new("write the lease", error)),
        }
    }

    /// Who has it, for people.
    pub async fn holder(&self) -> Option<String> {
        let value = self.store.get(KEY).await.ok().flatten()?;
        String::from_utf8(value.to_vec()).ok()
    }

    /// Resolves when another try is worth it: at notice of the key's end, or
    /// after a short while.
    pub fn freed(&self) -> impl Future<Output = ()> + Send + 'static {
        let store = self.store.clone();
        async move {
            let mut watch = store.watch(KEY).await.ok();
            loop {
                let notice = async {
                    match &mut watch {
                        Some(watch) => watch.next().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    noticed = notice => match noticed {
                        Some(Ok(entry)) if is_free(&entry) => return,
                        Some(_) => {}
                        None => watch = None,
                    },
                    // A notice may get lost with the connection.
                    () = tokio::time::sleep(POLL) => {
                        match store.entry(KEY).await {
                            Ok(Some(entry)) if !is_free(&entry) => {}
                            Ok(_) => return,
                            Err(_) => watch = store.watch(KEY).await.ok(),
                        }
                    }
                }
            }
        }
    }
}

/// True for what a key leaves behind when it was given back or ran out.
fn is_free(entry: &kv::Entry) -> bool {
    entry.operation != kv::Operation::Put || entry.value.is_empty()
}

impl Held {
    /// When the last successful renewal was sent.
    pub fn renewed_at(&self) -> Instant {
        self.renewed_at
    }

    /// Renews; gives the moment before the renewal was sent, or none where the
    /// lease is another's by now.
    ///
    /// # Errors
    ///
    /// Where the outcome is unknown.
    pub async fn renew(&mut self) -> Result<Option<Instant>, Error> {
        let sent = Instant::now();
        if let Some(revision) = self.lease.put(self.ttl, self.revision).await? {
            self.revision = revision;
            self.renewed_at = sent;
            return Ok(Some(sent));
        }
        // An earlier renewal of this engine may have come through without its
        // outcome; anybody else's key is the end.
        match self.lease.store.entry(KEY).await.doing("look at the lease")? {
            Some(entry) if !is_free(&entry) && entry.value == self.lease.holder.as_bytes() => {
                self.revision = entry.revision;
                Err(Error::plain("an earlier renewal came through late"))
            }
            _ => Ok(None),
        }
    }

    /// Gives it back; whoever waits for it is told at once.
    ///
    /// # Errors
    ///
    /// Where the broker does not confirm; it then ends by itself.
    pub async fn release(self) -> Result<(), Error> {
        let deleted = self.lease.store.delete_expect_revision(KEY, Some(self.revision)).await;
        deleted.doing("give the lease back")?;
        self.lease.client.flush().await.doing("give the lease back")
    }
}
