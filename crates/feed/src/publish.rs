//! Onto the streams.
//!
//! Many events are on their way at a time, each under the sequence it expects:
//! the first that does not fit refuses all behind it. What the stream then holds
//! is read back, and the rest follows from there.
//!
//! The event stream acknowledges before it syncs (`persist_mode: async`) where
//! the broker allows: events can be derived from the ledger again, so a tail
//! lost to a power failure is written anew, the same events at the same
//! sequences.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, PersistenceMode, RawMessageErrorKind, StorageType, Stream,
};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap, HeaderName, Message, Subject, Subscriber, header};
use bytes::Bytes;
use futures_util::{StreamExt, future};
use giliran_nats::Error;
use giliran_nats::connection::connects;
use giliran_wire::AsOf;
use giliran_wire::event::{CONTENT_TYPE, EventId, FeedPosition};
use giliran_wire::subject::Namespace;

use crate::events::Outgoing;
use crate::heard::{self, Heard, WITHIN};
use crate::{FeedError, Mismatch};

/// Most messages on their way at once.
const WINDOW: u64 = 4_096;
/// Watches of a bucket at once, of all clients together: each is a consumer in the
/// broker's memory.
const MAX_WATCHES: i32 = 10_000;
/// How often it is looked meanwhile whether one can still come.
const LOOK: Duration = Duration::from_millis(200);

const CONTENT_TYPE_HEADER: HeaderName = HeaderName::from_static("Content-Type");
/// Over how long the broker looks for a second message of one id: no longer than it has to
/// be. The sequence that each event expects keeps it from being there twice, and the broker
/// remembers the id of every message for so long.
const DUPLICATE_WINDOW: Duration = Duration::from_millis(100);

/// The server's code for a message that does not stand where it should.
const WRONG_LAST_SEQUENCE: u64 = 10_071;

/// A key-value bucket: a stream that keeps the last message of each subject.
struct Bucket {
    name: String,
    stream: Stream,
    /// Sequence of the last value that is known to be stored.
    published: u64,
}

impl Bucket {
    async fn open(
        context: &Context,
        name: String,
        holds: &str,
        replicas: usize,
    ) -> Result<Self, Error> {
        let config = Config { num_replicas: replicas, ..bucket_config(&name, holds) };
        Ok(Self { stream: open_stream(context, config).await?, name, published: 0 })
    }

    /// False where the stream ends before what is known to be stored.
    async fn verify_tail(&self) -> Result<bool, Error> {
        let info = self.stream.get_info().await;
        let info = info.map_err(|e| Error::new(&format!("look at bucket {}", self.name), e))?;
        Ok(info.state.last_sequence >= self.published)
    }
}

/// Which bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum In {
    /// What the openings offer.
    Openings,
    /// Free places.
    Places,
}

/// The event stream and the buckets.
pub(crate) struct Streams {
    client: Client,
    events: Stream,
    places: Bucket,
    openings: Bucket,
    /// Where outcomes go. It is one subject for all: the broker looks up who hears it once,
    /// and an outcome names the sequence itself.
    inbox: Subject,
    outcomes: Subscriber,
    /// Connections up to the one that it sends over.
    connects: u64,
    /// Sequence of the last event sent.
    sent: u64,
    /// Sequence of the last event that is known to be stored.
    stored: u64,
    heard: Heard,
    /// Why the broker refused the first event that it refused, in its words.
    refused: Option<String>,
}

/// What became of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// All that were waited for are stored.
    All,
    /// The stream stands elsewhere than expected.
    Elsewhere,
}

impl Streams {
    /// Opens them; makes them where they are missing.
    pub(crate) async fn open(
        client: &Client,
        namespace: &Namespace,
        replicas: usize,
    ) -> Result<Self, Error> {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(WITHIN);
        let config = Config { num_replicas: replicas, ..events_config(namespace) };
        let events = open_stream(&context, config).await?;
        end_republishing(&context, &events).await;
        let (places, openings) = (namespace.availability_bucket(), namespace.openings_bucket());
        let places = Bucket::open(&context, places, "Free places per slot", replicas).await?;
        let openings = Bucket::open(&context, openings, "What openings offer", replicas).await?;
        let inbox = Subject::from(client.new_inbox());
        let outcomes = client
            .subscribe(inbox.clone())
            .await
            .map_err(|error| Error::new("subscribe to publish outcomes", error))?;
        let (client, connects) = (client.clone(), connects(client));
        let (sent, stored) = (0, 0);
        let heard = Heard::new(client.clone(), namespace.feed_events());
        Ok(Self {
            client,
            events,
            places,
            openings,
            inbox,
            outcomes,
            connects,
            sent,
            stored,
            heard,
            refused: None,
        })
    }

    /// Looks where the event stream ends, to publish behind it: the event that
    /// stands there, and whom it is about; none: it is empty.
    pub(crate) async fn resume(&mut self) -> Result<Option<(EventId, Option<String>)>, FeedError> {
        let info = self.events.get_info().await;
        let state = info.map_err(|e| Error::new("look at the event stream", e))?.state;
        let mut last = state.last_sequence;
        (self.sent, self.stored) = (last, last);
        self.connects = connects(&self.client);
        if state.messages == 0 {
            return Ok(None);
        }
        let message = loop {
            match self.events.get_raw_message(last).await {
                Ok(message) => break message,
                // Removed by an administrator.
                Err(error)
                    if error.kind() == RawMessageErrorKind::NoMessageFound
                        && last > state.first_sequence =>
                {
                    last -= 1;
                }
                Err(error) => return Err(Error::new("read the last event", error).into()),
            }
        };
        let id = message.headers.get("Nats-Msg-Id").map(|id| id.as_str().parse::<EventId>());
        match id {
            Some(Ok(id)) => Ok(Some((id, whom(&message.payload)))),
            _ => Err(Mismatch::NoEvent { seq: last }.into()),
        }
    }

    /// Sequence of the last event that is known to be stored.
    pub(crate) fn stored(&self) -> u64 {
        self.stored
    }

    /// Why the broker refused an event, other than for its place; none: it did not.
    pub(crate) fn refused(&self) -> Option<String> {
        self.refused.clone()
    }

    /// Sends an event behind the last one; waits only where too many are on
    /// their way.
    pub(crate) async fn publish(&mut self, event: Outgoing) -> Result<Sent, Error> {
        if self.sent - self.stored >= WINDOW && self.settle(WINDOW / 2).await? == Sent::Elsewhere {
            return Ok(Sent::Elsewhere);
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE_HEADER, CONTENT_TYPE);
        headers.insert(header::NATS_MESSAGE_ID, event.id_text);
        headers.insert(header::NATS_EXPECTED_LAST_SEQUENCE, self.sent.to_string());
        self.sent += 1;
        self.heard.sent(event.payload.clone());
        self.send(event.subject, headers, event.payload).await?;
        Ok(Sent::All)
    }

    /// Waits until at most `left` events are on their way, and says those that are stored
    /// to whoever listens.
    pub(crate) async fn settle(&mut self, left: u64) -> Result<Sent, Error> {
        let mut settled = Sent::All;
        while self.sent - self.stored > left {
            // Outcomes come in order; a duplicate would stand elsewhere.
            if self.outcome().await? != Some(self.stored + 1) {
                settled = Sent::Elsewhere;
                break;
            }
            self.stored += 1;
            self.heard.stored(self.stored).await?;
        }
        self.heard.say().await?;
        Ok(settled)
    }

    /// The keys of the bucket of openings, also of those that were deleted.
    pub(crate) async fn openings_there(&self) -> Result<Vec<String>, Error> {
        let failed = |error| Error::new("list the openings that are told", error);
        let prefix = format!("$KV.{}.", self.openings.name);
        let mut subjects =
            self.openings.stream.info_with_subjects(format!("{prefix}>")).await.map_err(failed)?;
        let mut keys = Vec::new();
        while let Some(subject) = subjects.next().await {
            let (subject, _) =
                subject.map_err(|e| Error::new("list the openings that are told", e))?;
            keys.extend(subject.strip_prefix(&prefix).map(str::to_owned));
        }
        Ok(keys)
    }

    /// Writes values into a bucket; an empty one deletes its key. No events may be on
    /// their way.
    pub(crate) async fn put(
        &mut self,
        bucket: In,
        values: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Sent, Error> {
        // The broker would end the connection.
        let most = self.client.server_info().max_payload;
        let (values, too_long): (Vec<_>, Vec<_>) =
            values.iter().partition(|(_, value)| value.len() < most);
        for (key, value) in too_long {
            let bytes = value.len();
            tracing::warn!(key, bytes, most, "a value is not told: the broker takes none so long");
        }
        let mut sent = Sent::All;
        for values in values.chunks(WINDOW as usize) {
            for (key, value) in values {
                let subject = format!("$KV.{}.{key}", self.bucket(bucket).name);
                let mut headers = HeaderMap::new();
                if value.is_empty() {
                    headers.insert("KV-Operation", "DEL");
                }
                self.send(subject.into(), headers, Bytes::copy_from_slice(value)).await?;
            }
            for _ in values {
                match self.outcome().await? {
                    Some(seq) => {
                        let bucket = self.bucket(bucket);
                        bucket.published = bucket.published.max(seq);
                    }
                    None => sent = Sent::Elsewhere,
                }
            }
        }
        Ok(sent)
    }

    /// Says how far the ledger is told, to whoever listens.
    pub(crate) async fn say_position(&self, subject: String, as_of: AsOf) -> Result<(), Error> {
        let position = FeedPosition { as_of, events: self.stored };
        let payload = serde_json::to_vec(&position).expect("numbers are always JSON");
        heard::publish(&self.client, subject, payload.into()).await
    }

    fn bucket(&mut self, which: In) -> &mut Bucket {
        match which {
            In::Openings => &mut self.openings,
            In::Places => &mut self.places,
        }
    }

    /// False where a stream does not end as this feed left it: it lost its tail,
    /// or somebody else publishes.
    pub(crate) async fn verify_tail(&self) -> Result<bool, Error> {
        let events = self.events.get_info().await;
        let events = events.map_err(|error| Error::new("look at the event stream", error))?;
        Ok(events.state.last_sequence == self.stored
            && self.places.verify_tail().await?
            && self.openings.verify_tail().await?)
    }

    async fn send(&self, subject: Subject, headers: HeaderMap, data: Bytes) -> Result<(), Error> {
        let reply = self.inbox.clone();
        let publish = self.client.publish_with_reply_and_headers(subject, reply, headers, data);
        heard::taken(publish).await
    }

    /// The next outcome: the sequence that the message stands at; none: refused.
    async fn outcome(&mut self) -> Result<Option<u64>, Error> {
        let message = match future::poll_immediate(self.outcomes.next()).await {
            Some(Some(message)) => message,
            Some(None) | None => self.wait_for_outcome().await?,
        };
        let seq = stored_at(&message.payload);
        if seq.is_none() {
            let answer: serde_json::Value =
                serde_json::from_slice(&message.payload).unwrap_or_default();
            tracing::warn!(%answer, "the stream refused a message");
            let error = &answer["error"];
            if self.refused.is_none() && error["err_code"] != WRONG_LAST_SEQUENCE {
                self.refused = error["description"].as_str().map(str::to_owned);
            }
        }
        Ok(seq)
    }

    async fn wait_for_outcome(&mut self) -> Result<Message, Error> {
        let since = Instant::now();
        loop {
            match tokio::time::timeout(LOOK, self.outcomes.next()).await {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => return Err(Error::plain("publish: the connection is closed")),
                // Acknowledgements go down with the connection.
                Err(_) if connects(&self.client) != self.connects => {
                    return Err(Error::plain("publish: the connection was lost"));
                }
                Err(error) if since.elapsed() > WITHIN => {
                    return Err(Error::new("wait for the broker's acknowledgements", error));
                }
                Err(_) => {}
            }
        }
    }
}

/// The sequence at which a message is stored, by the broker's answer; none: it is refused.
fn stored_at(answer: &[u8]) -> Option<u64> {
    plainly_stored_at(answer).or_else(|| stored_by_json(answer))
}

/// The same of nearly every answer: `{"stream":"…", "seq":7}`.
fn plainly_stored_at(answer: &[u8]) -> Option<u64> {
    let answer = answer.strip_prefix(br#"{"stream":""#)?.strip_suffix(b"}")?;
    let digits = answer.iter().rev().take_while(|c| c.is_ascii_digit()).count();
    let (before, number) = answer.split_at(answer.len() - digits);
    before.strip_suffix(br#""seq":"#)?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

fn stored_by_json(answer: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Answer {
        seq: Option<u64>,
        error: Option<serde::de::IgnoredAny>,
    }
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    answer.seq.filter(|_| answer.error.is_none())
}

/// The booking or the receipt that an event is about; none: it has neither.
fn whom(event: &[u8]) -> Option<String> {
    let event: serde_json::Value = serde_json::from_slice(event).ok()?;
    let data = &event["data"];
    let whom = data["booking"]["id"].as_str().or(data["entry"]["receipt"].as_str());
    whom.map(str::to_owned)
}

fn events_config(namespace: &Namespace) -> Config {
    Config {
        name: namespace.events_stream(),
        subjects: vec![namespace.events_filter()],
        description: Some("Giliran's booking events, in ledger order".to_owned()),
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        duplicate_window: DUPLICATE_WINDOW,
        deny_delete: true,
        persist_mode: Some(PersistenceMode::Async),
        ..Config::default()
    }
}

/// An event stream of an older feed republishes each event, which costs the broker as much
/// as storing it, and nobody listens there any more. It is changed; where that is not
/// permitted, an administrator has to.
async fn end_republishing(context: &Context, events: &Stream) {
    let there = &events.cached_info().config;
    if there.republish.is_none() {
        return;
    }
    let changed = Config { republish: None, ..there.clone() };
    if let Err(error) = context.update_stream(&changed).await {
        tracing::warn!(
            %error,
            "the broker republishes every event, and nobody needs that any more: nats stream \
             edit {} --no-republish as an administrator",
            changed.name
        );
    }
}

/// What a key-value bucket is: a stream with these settings.
fn bucket_config(bucket: &str, holds: &str) -> Config {
    Config {
        name: format!("KV_{bucket}"),
        subjects: vec![format!("$KV.{bucket}.>")],
        description: Some(format!("{holds}, told by Giliran's feed")),
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        max_messages_per_subject: 1,
        max_consumers: MAX_WATCHES,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        persist_mode: Some(PersistenceMode::Async),
        ..Config::default()
    }
}

async fn open_stream(context: &Context, config: Config) -> Result<Stream, Error> {
    match context.get_stream(&config.name).await {
        Ok(stream) => return Ok(stream),
        Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(_)) => {}
        Err(error) => return Err(Error::new(&format!("look for stream {}", config.name), error)),
    }
    let made = match context.create_stream(config.clone()).await {
        // A broker that knows no asynchronous persistence, or forbids it.
        Err(error) if matches!(error.kind(), CreateStreamErrorKind::JetStream(_)) => {
            context.create_stream(Config { persist_mode: None, ..config.clone() }).await
        }
        made => made,
    };
    made.map_err(|error| Error::new(&format!("make stream {}", config.name), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read without a JSON reader is what the JSON reader reads.
    #[test]
    fn an_answer_says_where_a_message_is_stored() {
        for (answer, plainly, stored) in [
            (r#"{"stream":"events", "seq":1202}"#, Some(1202), Some(1202)),
            (r#"{"stream":"events","domain":"hub","seq":7}"#, Some(7), Some(7)),
            (r#"{"stream":"events", "seq":7,"duplicate": true}"#, None, Some(7)),
            (r#"{"stream":"events", "seq":}"#, None, None),
            (r#"{"stream":"events", "seq":99999999999999999999}"#, None, None),
            (r#"{"error":{"code":400,"err_code":10071},"stream":"events","seq":0}"#, None, None),
            (r#"{"type":"io.nats","error":{"code":503}}"#, None, None),
            ("", None, None),
        ] {
            let read = [plainly_stored_at(answer.as_bytes()), stored_at(answer.as_bytes())];
            assert_eq!(read, [plainly, stored], "{answer}");
            assert!(plainly.is_none_or(|at| stored_by_json(answer.as_bytes()) == Some(at)));
        }
    }
}
