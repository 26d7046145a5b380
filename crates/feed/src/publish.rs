//! Onto the streams.
//!
//! Events go out many at a time, each under the sequence it expects: the first
//! that does not fit refuses all behind it. What the stream then holds is read
//! back, and the rest follows from there.
//!
//! The event stream acknowledges before it syncs (`persist_mode: async`) where
//! the broker allows: events can be derived from the ledger again, so a tail
//! lost to a power failure is written anew, the same events at the same
//! sequences.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, PersistenceMode, StorageType, Stream};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use giliran_broker::Error;
use giliran_wire::event::{CONTENT_TYPE, EventId};
use giliran_wire::subject::Domain;

use crate::FeedError;
use crate::changes::Outgoing;

/// Most messages on their way at once.
pub(crate) const WINDOW: usize = 2_048;
/// How long a window's outcomes are waited for.
const WITHIN: Duration = Duration::from_secs(5);

/// The event stream and the availability bucket.
pub(crate) struct Streams {
    client: Client,
    events: Stream,
    bucket: String,
    inbox: String,
    outcomes: Subscriber,
    /// Tells the outcomes of one window from those of another.
    window: u64,
}

/// What became of a window.
pub(crate) enum Sent {
    /// All are stored.
    All,
    /// The stream stands elsewhere than expected.
    Elsewhere,
}

impl Streams {
    /// Opens them; makes them where they are missing.
    pub(crate) async fn open(
        client: &Client,
        domain: &Domain,
        replicas: usize,
    ) -> Result<Self, Error> {
        let context = jetstream::new(client.clone());
        let events =
            open_stream(&context, Config { num_replicas: replicas, ..events_config(domain) })
                .await?;
        let bucket = domain.availability_bucket();
        open_stream(&context, Config { num_replicas: replicas, ..bucket_config(&bucket) }).await?;
        let inbox = client.new_inbox();
        let outcomes = client
            .subscribe(format!("{inbox}.>"))
            .await
            .map_err(|error| Error::new("subscribe to publish outcomes", error))?;
        Ok(Self { client: client.clone(), events, bucket, inbox, outcomes, window: 0 })
    }

    /// The event stream's last sequence, and the event that stands there.
    pub(crate) async fn last(&self) -> Result<(u64, Option<EventId>), FeedError> {
        let info = self.events.get_info().await;
        let last = info.map_err(|e| Error::new("look at the event stream", e))?.state.last_sequence;
        if last == 0 {
            return Ok((0, None));
        }
        let message = self.events.get_raw_message(last).await;
        let message = message.map_err(|error| Error::new("read the last event", error))?;
        let id = message.headers.get("Nats-Msg-Id").map(|id| id.as_str().parse::<EventId>());
        match id {
            Some(Ok(id)) => Ok((last, Some(id))),
            _ => Err(FeedError::Mismatch(format!(
                "message {last} of the event stream is not one of this feed's: it has no event id. \
                 Something else publishes there; withdraw its permission, then remove the message"
            ))),
        }
    }

    /// Publishes events so that the first stands at `last` + 1.
    pub(crate) async fn events(&mut self, last: u64, events: &[Outgoing]) -> Result<Sent, Error> {
        self.window += 1;
        for (i, event) in events.iter().enumerate() {
            let mut headers = HeaderMap::new();
            headers.insert("Content-Type", CONTENT_TYPE);
            headers.insert("Nats-Msg-Id", event.id.to_string().as_str());
            let expected = (last + i as u64).to_string();
            headers.insert("Nats-Expected-Last-Sequence", expected.as_str());
            let payload = event.payload.clone().into();
            self.send(event.subject.clone(), headers, payload).await?;
        }
        self.outcomes(events.len()).await
    }

    /// Tells free places.
    pub(crate) async fn availability(
        &mut self,
        values: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Sent, Error> {
        let entries: Vec<_> = values.iter().collect();
        for entries in entries.chunks(WINDOW) {
            self.window += 1;
            for (key, value) in entries {
                let subject = format!("$KV.{}.{key}", self.bucket);
                self.send(subject, HeaderMap::new(), Bytes::copy_from_slice(value)).await?;
            }
            if let Sent::Elsewhere = self.outcomes(entries.len()).await? {
                return Ok(Sent::Elsewhere);
            }
        }
        Ok(Sent::All)
    }

    async fn send(&self, subject: String, headers: HeaderMap, data: Bytes) -> Result<(), Error> {
        let reply = format!("{}.{}", self.inbox, self.window);
        let publish = self.client.publish_with_reply_and_headers(subject, reply, headers, data);
        match tokio::time::timeout(WITHIN, publish).await {
            Ok(sent) => sent.map_err(|error| Error::new("publish", error)),
            Err(error) => Err(Error::new("publish: the connection does not take it", error)),
        }
    }

    /// Waits for the outcomes of the window that was just sent.
    async fn outcomes(&mut self, mut missing: usize) -> Result<Sent, Error> {
        let of_this = self.window.to_string();
        let mut sent = Sent::All;
        let all = async {
            while missing > 0 {
                let Some(message) = self.outcomes.next().await else {
                    return std::future::pending().await;
                };
                if message.subject.rsplit('.').next() != Some(of_this.as_str()) {
                    continue;
                }
                missing -= 1;
                let answer: serde_json::Value =
                    serde_json::from_slice(&message.payload).unwrap_or_default();
                if !answer["seq"].is_u64() || !answer["error"].is_null() {
                    if matches!(sent, Sent::All) {
                        tracing::warn!(%answer, "the stream refused a message");
                    }
                    sent = Sent::Elsewhere;
                }
            }
            sent
        };
        let sent = tokio::time::timeout(WITHIN, all).await;
        sent.map_err(|error| Error::new("wait for the broker's acknowledgements", error))
    }
}

fn events_config(domain: &Domain) -> Config {
    Config {
        name: domain.events_stream(),
        subjects: vec![domain.events_filter()],
        description: Some("Giliran's booking events, in ledger order".to_owned()),
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        deny_delete: true,
        persist_mode: Some(PersistenceMode::Async),
        ..Config::default()
    }
}

/// What a key-value bucket is: a stream with these settings.
fn bucket_config(bucket: &str) -> Config {
    Config {
        name: format!("KV_{bucket}"),
        subjects: vec![format!("$KV.{bucket}.>")],
        description: Some("Free places per slot, told by Giliran's feed".to_owned()),
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        max_messages_per_subject: 1,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        persist_mode: Some(PersistenceMode::Async),
        ..Config::default()
    }
}

async fn open_stream(context: &Context, config: Config) -> Result<Stream, Error> {
    if let Ok(stream) = context.get_stream(&config.name).await {
        return Ok(stream);
    }
    if let Ok(stream) = context.create_stream(config.clone()).await {
        return Ok(stream);
    }
    // A broker that knows no asynchronous persistence, or forbids it.
    let synchronous = Config { persist_mode: None, ..config };
    context
        .create_stream(synchronous.clone())
        .await
        .map_err(|error| Error::new(&format!("make stream {}", synchronous.name), error))
}
