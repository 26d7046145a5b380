//! Which of several copies should try to serve: a key with a time to live.
//!
//! A hint for liveness, never for safety: the ledger's fence says who may write,
//! and the expected sequences of the event stream who may publish.
//!
//! The key is read through its bucket's leader: a replica may lag.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use async_nats::header::HeaderMap;
use async_nats::jetstream::context::{KeyValueError, PublishErrorKind};
use async_nats::jetstream::kv::{self, Store};
use async_nats::jetstream::stream::RawMessageErrorKind;
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use futures_util::StreamExt;
use giliran_wire::Timestamp;
use giliran_wire::subject::Namespace;

use crate::clock::{self, Moment, offset_ms, stored_at};
use crate::error::Doing;
use crate::{Error, ErrorKind, ledger, refusals};

const ENGINE: &str = "engine";
const FEED: &str = "feed";
/// How often a free lease is looked for where no notice of it comes.
const POLL: Duration = Duration::from_millis(500);
/// How long the broker may take to answer.
const WITHIN: Duration = Duration::from_secs(2);
/// How often it is told that another engine has this one's name.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// How long another engine of this one's name counts after it was last seen: it
/// renews every second.
const TWIN_FOR: Duration = Duration::from_secs(5);
/// How long the broker keeps a notice that a key has ended.
const MARKER_TTL: Duration = Duration::from_secs(60);

/// What is said of another living holder of this one's name.
pub const TWIN: &str = "another engine of this engine's name runs: nobody can tell from ledger \
                        and log which of them served. Give each its own --name";

/// A lease of one namespace.
#[derive(Debug, Clone)]
pub struct Lease {
    client: Client,
    context: Context,
    bucket: String,
    key: &'static str,
    holder: String,
    replicas: usize,
    twin: Twin,
}

/// Whether another living holder has this one's name, as whoever waits for the lease
/// has seen it.
#[derive(Debug, Clone, Default)]
pub struct Twin(Arc<Mutex<Option<Moment>>>);

impl Twin {
    /// True where one was seen a moment ago.
    pub fn runs(&self) -> bool {
        let seen = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.is_some_and(|seen| seen.elapsed() < TWIN_FOR)
    }

    fn seen(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Moment::now());
    }
}

/// A lease that is held.
#[derive(Debug)]
pub struct Held {
    lease: Lease,
    store: Store,
    revision: u64,
    ttl: Duration,
    renewed_at: Moment,
    clock_offset_ms: i64,
}

/// What stands under the key.
struct Entry {
    revision: u64,
    /// When the broker stored it, by its own clock.
    stored_at: Timestamp,
    /// Who holds it; empty: nobody, it was given back or ran out.
    holder: Bytes,
}

impl Lease {
    /// Of the engines of this namespace, for `holder`: an engine's name and, after a space,
    /// what tells this run of it from others. Should the bucket have
    /// to be made, it gets so many replicas.
    pub fn of_engines(
        client: &Client,
        namespace: &Namespace,
        holder: &str,
        replicas: usize,
    ) -> Self {
        Self::new(client, namespace, ENGINE, holder, replicas)
    }

    /// Of the feeds of this namespace.
    pub fn of_feeds(client: &Client, namespace: &Namespace, holder: &str, replicas: usize) -> Self {
        Self::new(client, namespace, FEED, holder, replicas)
    }

    fn new(
        client: &Client,
        namespace: &Namespace,
        key: &'static str,
        holder: &str,
        replicas: usize,
    ) -> Self {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(WITHIN);
        let (client, bucket, holder) =
            (client.clone(), namespace.lease_bucket(), holder.to_owned());
        Self { client, context, bucket, key, holder, replicas, twin: Twin::default() }
    }

    /// What whoever waits for it sees of another holder of the same name.
    pub fn twin(&self) -> Twin {
        self.twin.clone()
    }

    /// Its bucket; made where it is missing.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell; [`ErrorKind::Unsuitable`] where keys in the
    /// bucket could not end.
    pub async fn open(&self) -> Result<(), Error> {
        self.store().await.map(drop)
    }

    async fn store(&self) -> Result<Store, Error> {
        let bucket = &self.bucket;
        let store = match self.context.get_key_value(bucket).await {
            Ok(store) => store,
            Err(error) if is_missing(&error) => self
                .context
                .create_key_value(kv::Config {
                    bucket: bucket.clone(),
                    description: "Which engine should serve".to_owned(),
                    history: 1,
                    num_replicas: self.replicas,
                    limit_markers: Some(MARKER_TTL),
                    ..kv::Config::default()
                })
                .await
                .doing("make the lease's bucket")?,
            Err(error) => return Err(Error::new("look for the lease's bucket", error)),
        };
        if !store.stream.cached_info().config.allow_message_ttl {
            let stream = &store.stream_name;
            return Err(Error::plain(format!(
                "the lease's bucket {bucket} has no time to live per message: a lease in it would \
                 never end, and no other engine take over. Switch it on (`nats stream edit \
                 {stream} --allow-msg-ttl`), or delete the bucket: the engine makes it anew"
            ))
            .of_kind(ErrorKind::Unsuitable));
        }
        Ok(store)
    }

    /// Whether the server has refused since then what was asked or written there: no answer
    /// comes to that, whereas a broker that is slow may answer later.
    pub fn is_refused(&self, since: Moment) -> bool {
        refusals::refused(&self.bucket, since)
    }

    /// Takes the lease if it is free, or this holder's from a try before; none:
    /// another one has it.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn acquire(&self, ttl: Duration) -> Result<Option<Held>, Error> {
        // The client's own `create` falls back to an update where the last holder
        // gave the key back, and an update drops the time to live: a lease for
        // ever, should its holder die before it renews.
        let store = self.store().await?;
        let revision = match self.entry(&store).await? {
            None => 0,
            Some(entry) if entry.is_free() || self.is_own(&entry) => entry.revision,
            Some(_) => return Ok(None),
        };
        let (renewed_at, asked) = (Moment::now(), clock::now());
        let Some(revision) = self.put(ttl, revision).await? else { return Ok(None) };
        let answered = clock::now();
        let clock_offset_ms = match self.entry(&store).await? {
            Some(entry) if entry.revision == revision => {
                offset_ms(asked, entry.stored_at, answered)
            }
            // It stands elsewhere by now.
            _ => return Ok(None),
        };
        let lease = self.clone();
        Ok(Some(Held { lease, store, revision, ttl, renewed_at, clock_offset_ms }))
    }

    /// Writes the holder over `revision`, to end after `ttl`; none: the key
    /// stands elsewhere.
    async fn put(&self, ttl: Duration, revision: u64) -> Result<Option<u64>, Error> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-TTL", format!("{}s", ttl.as_secs()).as_str());
        headers.insert("Nats-Expected-Last-Subject-Sequence", revision.to_string().as_str());
        let value = self.holder.clone().into_bytes();
        let ack = self
            .context
            .publish_with_headers(self.subject(), headers, value.into())
            .await
            .doing("write the lease")?
            .await;
        match ack {
            Ok(ack) => Ok(Some(ack.sequence)),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(None),
            Err(error) => Err(Error::new("write the lease", error)),
        }
    }

    fn subject(&self) -> String {
        format!("$KV.{}.{}", self.bucket, self.key)
    }

    async fn entry(&self, store: &Store) -> Result<Option<Entry>, Error> {
        match store.stream.get_last_raw_message_by_subject(&self.subject()).await {
            Ok(message) => Ok(Some(Entry {
                revision: message.sequence,
                stored_at: stored_at(&message),
                holder: message.payload,
            })),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Error::new("look at the lease", error)),
        }
    }

    fn is_own(&self, entry: &Entry) -> bool {
        entry.holder == self.holder.as_bytes()
    }

    /// Who has it, for people.
    pub async fn holder(&self) -> Option<String> {
        let entry = self.entry(&self.store().await.ok()?).await.ok()??;
        String::from_utf8(entry.holder.to_vec()).ok()
    }

    /// Resolves when another try is worth it: at notice of the key's end, or
    /// after a short while. Never in error: while the broker is away it goes on
    /// looking.
    pub fn freed(&self) -> impl Future<Output = ()> + Send + 'static {
        let lease = self.clone();
        async move {
            let mut watch = None;
            let mut store = None;
            let mut twins = Twins::default();
            loop {
                if let (None, Some(store)) = (&watch, &store) {
                    watch = Store::watch(store, lease.key).await.ok();
                }
                let notice = async {
                    match &mut watch {
                        Some(watch) => watch.next().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    notice = notice => match notice {
                        Some(Ok(entry)) if ended(&entry) => return,
                        Some(_) => {}
                        None => watch = None,
                    },
                    // A notice may get lost with the connection.
                    () = tokio::time::sleep(POLL) => match lease.look(&mut store, &mut twins).await {
                        Ok(free) if free => return,
                        Ok(_) => {}
                        Err(_) => (watch, store) = (None, None),
                    }
                }
            }
        }
    }

    /// True where the key is free; opens the bucket where that is not done yet.
    async fn look(&self, store: &mut Option<Store>, twins: &mut Twins) -> Result<bool, Error> {
        let store = match store {
            Some(store) => store,
            None => store.insert(self.store().await?),
        };
        let entry = self.entry(store).await?;
        if let Some(entry) = &entry
            && twins.is_one(&self.holder, entry)
        {
            self.twin.seen();
            if twins.is_due() {
                let name = name_of(self.holder.as_bytes()).escape_ascii().to_string();
                tracing::error!(name, "{TWIN}");
            }
        }
        Ok(entry.is_none_or(|entry| entry.is_free()))
    }
}

/// Notices a living holder that has this one's name: of two copies of one
/// configuration.
#[derive(Debug, Default)]
struct Twins {
    /// Whom the key named last, and at which revision.
    seen: Option<(Bytes, u64)>,
    reported: Option<Moment>,
}

impl Twins {
    /// True where the holder is one. What an earlier run of this name left behind is not
    /// renewed, and is no twin.
    fn is_one(&mut self, holder: &str, entry: &Entry) -> bool {
        let named_so = !entry.is_free()
            && entry.holder != holder.as_bytes()
            && name_of(&entry.holder) == name_of(holder.as_bytes());
        let before = self.seen.replace((entry.holder.clone(), entry.revision));
        let renewed = before
            .is_some_and(|(before, revision)| before == entry.holder && revision != entry.revision);
        named_so && renewed
    }

    /// True once in a while.
    fn is_due(&mut self) -> bool {
        let due = self.reported.is_none_or(|reported| reported.elapsed() >= TELL_AGAIN);
        if due {
            self.reported = Some(Moment::now());
        }
        due
    }
}

/// A holder's name, without what tells its runs apart.
fn name_of(holder: &[u8]) -> &[u8] {
    let end = holder.iter().rposition(|byte| *byte == b' ');
    &holder[..end.unwrap_or(holder.len())]
}

impl Entry {
    /// True for what a key leaves behind when it was given back or ran out.
    fn is_free(&self) -> bool {
        self.holder.is_empty()
    }
}

/// The same of a notice.
fn ended(entry: &kv::Entry) -> bool {
    entry.operation != kv::Operation::Put || entry.value.is_empty()
}

/// True where the server answered that there is no such bucket.
fn is_missing(error: &KeyValueError) -> bool {
    let cause = std::error::Error::source(error);
    cause.and_then(|cause| cause.downcast_ref()).is_some_and(ledger::is_missing)
}

impl Held {
    /// When the last successful renewal was sent.
    pub fn renewed_at(&self) -> Moment {
        self.renewed_at
    }

    /// How far this machine's clock was ahead of the broker's as the lease was taken, in
    /// ms, told by the lease's own record; below 0: behind.
    pub fn clock_offset_ms(&self) -> i64 {
        self.clock_offset_ms
    }

    /// Renews; gives the moment before the renewal was sent, or none where the
    /// lease is another's by now.
    ///
    /// # Errors
    ///
    /// Where the outcome is unknown.
    pub async fn renew(&mut self) -> Result<Option<Moment>, Error> {
        if let Some(sent) = self.put().await? {
            return Ok(Some(sent));
        }
        // An earlier renewal of this holder may have come through without its
        // outcome; anybody else's key is the end.
        match self.lease.entry(&self.store).await? {
            Some(entry) if self.lease.is_own(&entry) => {
                self.revision = entry.revision;
                self.put().await
            }
            _ => Ok(None),
        }
    }

    async fn put(&mut self) -> Result<Option<Moment>, Error> {
        let sent = Moment::now();
        let Some(revision) = self.lease.put(self.ttl, self.revision).await? else {
            return Ok(None);
        };
        (self.revision, self.renewed_at) = (revision, sent);
        Ok(Some(sent))
    }

    /// Gives it back; whoever waits for it is told at once.
    ///
    /// # Errors
    ///
    /// Where the broker does not confirm; it then ends by itself.
    pub async fn release(self) -> Result<(), Error> {
        let (key, revision) = (self.lease.key, Some(self.revision));
        let deleted = self.store.delete_expect_revision(key, revision).await;
        deleted.doing("give the lease back")?;
        self.lease.client.flush().await.doing("give the lease back")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twin_is_told_from_an_earlier_run() {
        let entry = |holder: &str, revision| Entry {
            revision,
            stored_at: Timestamp::default(),
            holder: Bytes::copy_from_slice(holder.as_bytes()),
        };
        let mut twins = Twins::default();
        let own = "engine-a 1";
        assert!(!twins.is_one(own, &entry("engine-a 2", 7)), "it may have died just now");
        assert!(!twins.is_one(own, &entry("engine-a 2", 7)));
        assert!(twins.is_one(own, &entry("engine-a 2", 8)) && twins.is_due(), "it lives");
        assert!(twins.is_one(own, &entry("engine-a 2", 9)) && !twins.is_due(), "said");
        let mut others = Twins::default();
        for revision in 1..4 {
            assert!(!others.is_one(own, &entry("engine-b 2", revision)));
            assert!(!others.is_one("feed", &entry("", revision)));
        }
        assert!(!others.is_one(own, &entry(own, 8)) && !others.is_one(own, &entry(own, 9)));
    }
}
