//! Which engine should try to serve: a key with a time to live.
//!
//! A hint for liveness, never for safety: the ledger's fence says who may write.

use std::future::Future;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::header::HeaderMap;
use async_nats::jetstream::kv::{self, CreateErrorKind, Store};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use giliran_wire::subject::Domain;

use crate::Error;
use crate::error::Doing;

const KEY: &str = "engine";
/// How often a free lease is looked for where no notice of it comes.
const POLL: Duration = Duration::from_millis(250);

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
    /// The lease of this domain, for an engine of this name.
    ///
    /// # Errors
    ///
    /// Where its bucket cannot be made or opened.
    pub async fn open(client: &Client, domain: &Domain, holder: &str) -> Result<Self, Error> {
        let context = jetstream::new(client.clone());
        let bucket = domain.lease_bucket();
        let store = match context.get_key_value(&bucket).await {
            Ok(store) => store,
            Err(_) => context
                .create_key_value(kv::Config {
                    bucket: bucket.clone(),
                    description: "Which engine should serve".to_owned(),
                    history: 1,
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
        let renewed_at = Instant::now();
        let value = self.holder.clone().into_bytes();
        match self.store.create_with_ttl(KEY, value.into(), ttl).await {
            Ok(revision) => Ok(Some(Held { lease: self.clone(), revision, ttl, renewed_at })),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(Error::new("ask for the lease", error)),
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
            let notice = async {
                let Ok(mut watch) = store.watch(KEY).await else {
                    return std::future::pending().await;
                };
                while let Some(entry) = watch.next().await {
                    if entry.is_ok_and(|entry| entry.operation != kv::Operation::Put) {
                        return;
                    }
                }
            };
            tokio::select! {
                () = notice => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
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
        // The client's own `update` drops the time to live.
        let subject = format!("$KV.{}.{KEY}", self.lease.bucket);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-TTL", format!("{}s", self.ttl.as_secs()).as_str());
        headers.insert("Nats-Expected-Last-Subject-Sequence", self.revision.to_string().as_str());
        let sent = Instant::now();
        let value = self.lease.holder.clone().into_bytes();
        let ack = self
            .lease
            .context
            .publish_with_headers(subject, headers, value.into())
            .await
            .doing("renew the lease")?
            .await;
        match ack {
            Ok(ack) => {
                self.revision = ack.sequence;
                self.renewed_at = sent;
                Ok(Some(sent))
            }
            Err(error)
                if error.kind() == jetstream::context::PublishErrorKind::WrongLastSequence =>
            {
                // An earlier renewal of this engine may have come through without
                // its outcome; anybody else's key is the end.
                match self.lease.store.entry(KEY).await.doing("look at the lease")? {
                    Some(entry)
                        if entry.operation == kv::Operation::Put
                            && entry.value == self.lease.holder.as_bytes() =>
                    {
                        self.revision = entry.revision;
                        Err(Error::plain("an earlier renewal came through late"))
                    }
                    _ => Ok(None),
                }
            }
            Err(error) => Err(Error::new("renew the lease", error)),
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
