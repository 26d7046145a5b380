//! Events once more as plain messages, for those who may make no consumer: many in a
//! message, each only once the broker has acknowledged that it is stored.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::Client;
use async_nats::client::PublishError;
use bytes::Bytes;
use futures_util::future;
use giliran_nats::Error;
use giliran_wire::event::FeedEventsWriter;

/// Bytes of events from which on a message goes: what such messages cost the broker cannot
/// be measured beside storing their events.
const ENOUGH: usize = 32 << 10;
/// How long the connection may take to take a message.
pub(crate) const WITHIN: Duration = Duration::from_secs(5);

/// Says events that are stored.
pub(crate) struct Heard {
    client: Client,
    subject: String,
    /// Events that are on their way to the stream, in order.
    on_their_way: VecDeque<Bytes>,
    /// Events that are stored and not said yet.
    message: FeedEventsWriter,
}

impl Heard {
    pub(crate) fn new(client: Client, subject: String) -> Self {
        Self { client, subject, on_their_way: VecDeque::new(), message: Default::default() }
    }

    /// This event is on its way to the stream, behind those that were sent before.
    pub(crate) fn sent(&mut self, event: Bytes) {
        self.on_their_way.push_back(event);
    }

    /// Of those on their way the first is stored, at `seq`.
    pub(crate) async fn stored(&mut self, seq: u64) -> Result<(), Error> {
        let Some(event) = self.on_their_way.pop_front() else { return Ok(()) };
        self.message.push(seq, &event);
        if self.message.bytes() >= ENOUGH { self.say().await } else { Ok(()) }
    }

    /// Says what is stored and not said yet.
    pub(crate) async fn say(&mut self) -> Result<(), Error> {
        let Some(message) = self.message.take() else { return Ok(()) };
        publish(&self.client, self.subject.clone(), message.into()).await
    }
}

/// Hands a message to the connection, which loses it where it breaks.
pub(crate) async fn publish(client: &Client, subject: String, message: Bytes) -> Result<(), Error> {
    taken(client.publish(subject, message)).await
}

/// Waits until the connection takes a message. Mostly it does so at once: then no clock is
/// looked at.
pub(crate) async fn taken(
    publish: impl Future<Output = Result<(), PublishError>>,
) -> Result<(), Error> {
    let mut publish = std::pin::pin!(publish);
    let sent = match future::poll_immediate(&mut publish).await {
        Some(sent) => sent,
        None => tokio::time::timeout(WITHIN, publish)
            .await
            .map_err(|error| Error::new("publish: the connection does not take it", error))?,
    };
    sent.map_err(|error| Error::new("publish", error))
}
