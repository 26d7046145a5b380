//! The ledger's stream: made, opened, read.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::pull::{Config as PullConfig, Stream as PullStream};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, RawMessageErrorKind, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{self, Context};
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use giliran_wire::ledger::{Block, Entry, FORMAT, Genesis};
use giliran_wire::subject::Domain;
use giliran_wire::{BlockHash, LedgerId, Timestamp, WriterNonce};

use crate::Error;
use crate::append::Appender;
use crate::error::Doing;

/// Blocks asked for at once: at most 32 MiB on their way.
const BLOCKS_PER_PULL: usize = 64;
/// How long the server keeps a reader's consumer that nobody reads from.
const INACTIVE_AFTER: Duration = Duration::from_secs(60);
/// Tries to go on after a reader's consumer was lost.
const REOPEN_TRIES: u32 = 40;
/// Pause between them.
const REOPEN_PAUSE: Duration = Duration::from_millis(250);

/// The ledger's stream, found suitable.
#[derive(Debug, Clone)]
pub struct Ledger {
    context: Context,
    stream: Stream,
    name: String,
    subject: String,
}

fn config(domain: &Domain, generation: u32, replicas: usize) -> Config {
    Config {
        name: domain.ledger_stream(generation),
        subjects: vec![domain.ledger_subject(generation)],
        description: Some("Giliran's ledger: the truth about every booking".to_owned()),
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        num_replicas: replicas,
        deny_delete: true,
        deny_purge: true,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        ..Config::default()
    }
}

/// Makes the ledger: its stream, and genesis in it.
///
/// # Errors
///
/// Where a ledger exists already, or the broker refuses.
pub async fn init(
    client: &Client,
    domain: &Domain,
    genesis: Genesis,
    ledger: LedgerId,
    time: Timestamp,
    replicas: usize,
) -> Result<Ledger, Error> {
    let context = jetstream::new(client.clone());
    let name = domain.ledger_stream(1);
    match context.get_stream(&name).await {
        Ok(mut stream) => {
            let messages = stream.info().await.doing("look at the ledger")?.state.messages;
            if messages > 0 {
                return Err(Error::plain(format!(
                    "stream {name} exists and holds {messages} blocks: the ledger is made already"
                )));
            }
        }
        Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(_)) => {
            context
                .create_stream(config(domain, 1, replicas))
                .await
                .doing(&format!("make stream {name}"))?;
        }
        Err(error) => return Err(Error::new("look for the ledger", error)),
    }
    let block = Block {
        format: FORMAT,
        ledger,
        generation: 1,
        epoch: 0,
        writer: WriterNonce([0; 16]),
        time,
        previous: BlockHash::ZERO,
        entries: vec![Entry::Genesis(genesis)],
    };
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Last-Sequence", "0");
    context
        .publish_with_headers(domain.ledger_subject(1), headers, block.seal().bytes.into())
        .await
        .doing("append genesis")?
        .await
        .doing("append genesis")?;
    open(client, domain).await
}

/// Opens the ledger and looks whether its stream is what a ledger needs.
///
/// # Errors
///
/// Where there is none, or it could lose or let go of blocks; every reason at
/// once.
pub async fn open(client: &Client, domain: &Domain) -> Result<Ledger, Error> {
    let context = jetstream::new(client.clone());
    let name = domain.ledger_stream(1);
    let stream = match context.get_stream(&name).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(_)) => {
            return Err(Error::plain(format!(
                "there is no ledger: stream {name} does not exist. Make it once with `giliran \
                 init`; if there was one, restore it instead: an engine never begins a ledger"
            )));
        }
        Err(error) => return Err(Error::new("look for the ledger", error)),
    };
    let subject = domain.ledger_subject(1);
    let unsuitable = unsuitable(&stream.cached_info().config, &subject);
    if unsuitable.is_empty() {
        Ok(Ledger { context, stream, name, subject })
    } else {
        Err(Error::plain(format!("stream {name} cannot carry a ledger: {}", unsuitable.join("; "))))
    }
}

fn unsuitable(config: &Config, subject: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut need = |fine: bool, what: String| {
        if !fine {
            wrong.push(what);
        }
    };
    need(
        config.subjects == [subject],
        format!("its subjects are {:?}, not {subject}", config.subjects),
    );
    need(config.storage == StorageType::File, "it is kept in memory, not in files".into());
    need(config.retention == RetentionPolicy::Limits, "its retention is not `limits`".into());
    need(config.deny_delete, "deny_delete is off: blocks can be deleted".into());
    need(config.deny_purge, "deny_purge is off: it can be purged".into());
    let unlimited = |n: i64| n <= 0;
    need(
        unlimited(config.max_messages)
            && unlimited(config.max_bytes)
            && unlimited(config.max_messages_per_subject)
            && config.max_age.is_zero(),
        "it has a limit of size, number or age".into(),
    );
    need(
        config.max_message_size <= 0
            || config.max_message_size as usize >= giliran_wire::ledger::MAX_BLOCK_BYTES + 1024,
        format!("max_msg_size is {}, below a block's size", config.max_message_size),
    );
    need(!config.no_ack, "it does not acknowledge".into());
    need(!config.sealed, "it is sealed".into());
    need(config.mirror.is_none() && config.sources.is_none(), "it copies another stream".into());
    need(
        config.persist_mode.is_none()
            || config.persist_mode == Some(jetstream::stream::PersistenceMode::Default),
        "persist_mode is async: it acknowledges before it stores".into(),
    );
    wrong
}

impl Ledger {
    /// The stream's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many servers keep it.
    pub fn replicas(&self) -> usize {
        self.stream.cached_info().config.num_replicas.max(1)
    }

    /// First and last sequence; (1, 0) where nothing is stored.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell.
    pub async fn tail(&self) -> Result<(u64, u64), Error> {
        let info = self.stream.get_info().await.doing("look at the ledger's tail")?;
        Ok((info.state.first_sequence, info.state.last_sequence))
    }

    /// What stands at `seq`, from the stream's leader; none: nothing yet.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell.
    pub async fn read_at(&self, seq: u64) -> Result<Option<Bytes>, Error> {
        match self.stream.get_raw_message(seq).await {
            Ok(message) => Ok(Some(message.payload)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Error::new(&format!("read ledger sequence {seq}"), error)),
        }
    }

    /// A publisher for this ledger.
    ///
    /// # Errors
    ///
    /// Where its inbox cannot be subscribed to.
    pub async fn appender(&self, client: &Client) -> Result<Appender, Error> {
        Appender::open(client, self.subject.clone()).await
    }

    /// Reads every block from `from` on, and goes on with new ones.
    ///
    /// # Errors
    ///
    /// Where the broker gives no consumer.
    pub async fn reader(&self, from: u64) -> Result<Reader, Error> {
        Reader::open(self.clone(), from, None).await
    }

    /// The same through a durable consumer of this name, which shows the broker's
    /// operators how far its reader has come. It begins at `from`, whatever the
    /// consumer had acknowledged.
    ///
    /// # Errors
    ///
    /// Where the broker gives no consumer.
    pub async fn durable_reader(&self, name: &str, from: u64) -> Result<Reader, Error> {
        Reader::open(self.clone(), from, Some(name.to_owned())).await
    }
}

/// Reads the ledger in order, without gaps.
pub struct Reader {
    ledger: Ledger,
    durable: Option<String>,
    next: u64,
    messages: PullStream,
    /// Reply subjects of delivered messages, by sequence, for a durable reader.
    delivered: VecDeque<(u64, Subject)>,
}

impl Reader {
    async fn open(ledger: Ledger, from: u64, durable: Option<String>) -> Result<Self, Error> {
        let next = from.max(1);
        let messages = subscribe(&ledger, next, durable.as_deref()).await?;
        Ok(Self { ledger, durable, next, messages, delivered: VecDeque::new() })
    }

    /// The sequence that comes next.
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// Up to `max` blocks: those that are there, or those that come within
    /// `wait`; empty where none do. Survives restarts of the broker. Safe to
    /// cancel.
    ///
    /// # Errors
    ///
    /// A gap, or a broker that is gone for long.
    pub async fn next_batch(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(u64, Bytes)>, Error> {
        let mut batch = Vec::new();
        let Ok(first) = tokio::time::timeout(wait, self.messages.next()).await else {
            return Ok(batch);
        };
        let mut message = first;
        loop {
            match message {
                Some(Ok(message)) => {
                    let seq = message.info().doing("read a ledger message")?.stream_sequence;
                    if seq > self.next {
                        tracing::warn!(seq, expected = self.next, "ledger message out of order");
                        self.reopen().await?;
                        return Ok(batch);
                    }
                    if seq == self.next {
                        self.next += 1;
                        if let (Some(_), Some(reply)) = (&self.durable, message.message.reply) {
                            self.delivered.push_back((seq, reply));
                        }
                        batch.push((seq, message.message.payload));
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "reading the ledger was interrupted");
                    self.reopen().await?;
                    return Ok(batch);
                }
                None => {
                    self.reopen().await?;
                    return Ok(batch);
                }
            }
            if batch.len() >= max {
                return Ok(batch);
            }
            match self.messages.next().now_or_never() {
                Some(next) => message = next,
                None => return Ok(batch),
            }
        }
    }

    /// Tells the broker that everything up to `seq` is kept elsewhere.
    ///
    /// # Errors
    ///
    /// Where the broker does not confirm it.
    pub async fn ack_through(&mut self, seq: u64) -> Result<(), Error> {
        let mut last = None;
        while self.delivered.front().is_some_and(|(delivered, _)| *delivered <= seq) {
            last = self.delivered.pop_front();
        }
        if let Some((_, reply)) = last {
            // With `AckPolicy::All` one stands for all before it; the next one
            // stands in for it should it get lost.
            self.ledger
                .context
                .client()
                .publish(reply, "+ACK".into())
                .await
                .doing("acknowledge")?;
        }
        Ok(())
    }

    /// Begins anew at the next sequence; also after the broker was away.
    async fn reopen(&mut self) -> Result<(), Error> {
        let mut last = None;
        for _ in 0..REOPEN_TRIES {
            match subscribe(&self.ledger, self.next, self.durable.as_deref()).await {
                Ok(messages) => {
                    self.messages = messages;
                    self.delivered.clear();
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(REOPEN_PAUSE).await;
        }
        Err(last.unwrap_or_else(|| Error::plain("the ledger cannot be read")))
    }
}

async fn subscribe(ledger: &Ledger, from: u64, durable: Option<&str>) -> Result<PullStream, Error> {
    let mut config = PullConfig {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
        ack_policy: AckPolicy::None,
        inactive_threshold: INACTIVE_AFTER,
        memory_storage: true,
        ..PullConfig::default()
    };
    if let Some(name) = durable {
        // A consumer's start cannot be changed; the store's position decides.
        let _ = ledger.stream.delete_consumer(name).await;
        config = PullConfig {
            durable_name: Some(name.to_owned()),
            ack_policy: AckPolicy::All,
            // Longer than any commit, so that nothing is delivered twice.
            ack_wait: Duration::from_secs(600),
            max_ack_pending: 100_000,
            inactive_threshold: Duration::ZERO,
            memory_storage: false,
            ..config
        };
    }
    let consumer =
        ledger.stream.create_consumer(config).await.doing("make a consumer of the ledger")?;
    consumer
        .stream()
        .max_messages_per_batch(BLOCKS_PER_PULL)
        .expires(Duration::from_secs(10))
        .heartbeat(Duration::from_secs(2))
        .messages()
        .await
        .doing("read the ledger")
}
