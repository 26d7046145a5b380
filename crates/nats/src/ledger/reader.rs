//! Reading a ledger's streams in order, without gaps.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream::consumer::pull::{Config as PullConfig, Stream as PullStream};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use crate::error::Doing;
use crate::ledger::Ledger;
use crate::{Error, ErrorKind};

/// Blocks asked for at once: at most 32 MiB on their way.
pub(crate) const BLOCKS_PER_PULL: usize = 64;
/// How long the server keeps a reader's consumer that nobody reads from.
const INACTIVE_AFTER: Duration = Duration::from_secs(60);
/// Tries to go on after a reader's consumer was lost.
const REOPEN_TRIES: u32 = 40;
const REOPEN_PAUSE: Duration = Duration::from_millis(250);

/// A durable consumer: it shows the broker's operators how far its reader has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// Its name, the reader's alone.
    pub name: String,
    /// Whose it is, for people.
    pub description: String,
}

/// Reads the ledger in order, without gaps.
pub struct Reader {
    ledger: Ledger,
    durable: Option<Durable>,
    /// Consumers of the same name in generations before this one are gone.
    alone: bool,
    next: u64,
    /// None: the consumer has to be made anew.
    messages: Option<PullStream>,
    /// Something has come from behind this sequence, which has not.
    gap_at: Option<u64>,
    /// Delivered messages that are not acknowledged, for a durable reader.
    delivered: VecDeque<Delivered>,
}

struct Delivered {
    generation: u32,
    seq: u64,
    reply: Subject,
}

impl Reader {
    /// Of one that reads from `from` on, but makes no consumer yet.
    pub(crate) fn closed(ledger: Ledger, from: u64, durable: Option<Durable>) -> Self {
        let next = from.max(ledger.first());
        let (messages, gap_at, delivered) = (None, None, VecDeque::new());
        Self { ledger, durable, alone: false, next, messages, gap_at, delivered }
    }

    pub(crate) async fn open(
        ledger: Ledger,
        from: u64,
        durable: Option<Durable>,
    ) -> Result<Self, Error> {
        let mut reader = Self::closed(ledger, from, durable);
        reader.reopen(from).await?;
        Ok(reader)
    }

    /// The generation that is read.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Goes on in the next generation's stream, once the seal at this sequence was
    /// read. Does nothing where that is done already.
    ///
    /// # Errors
    ///
    /// Where that stream is not there, or the broker does not tell.
    pub async fn pass_seal(&mut self, generation: u32, seal: u64) -> Result<(), Error> {
        if self.ledger.generation() != generation {
            return Ok(());
        }
        let next = self.ledger.of_generation(generation + 1).await?;
        let next = next.ok_or_else(|| self.ledger.gone(generation + 1))?;
        self.messages = None;
        // The one there is kept until the seal is acknowledged.
        (self.next, self.alone) = (next.first(), true);
        // Nothing counts that stands behind a seal.
        self.delivered.retain(|delivered| delivered.seq <= seal);
        self.ledger = next;
        Ok(())
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
    /// A gap ([`ErrorKind::Damaged`]), or a broker that is gone for long.
    pub async fn next_batch(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(u64, Bytes)>, Error> {
        let mut tries = 0;
        while !self.is_open() {
            match self.reopen(self.next).await {
                Ok(()) => break,
                Err(error) if tries >= REOPEN_TRIES => return Err(error),
                Err(_) => tokio::time::sleep(REOPEN_PAUSE).await,
            }
            tries += 1;
        }
        self.batch(max, wait).await
    }

    /// False where the consumer has to be made anew before anything comes.
    pub(crate) fn is_open(&self) -> bool {
        self.messages.is_some()
    }

    /// What comes has to be asked for anew.
    pub(crate) fn close(&mut self) {
        self.messages = None;
    }

    /// The same as [`next_batch`](Self::next_batch) of a reader that is open; empty
    /// where it is not any more.
    pub(crate) async fn batch(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(u64, Bytes)>, Error> {
        let mut batch = Vec::new();
        let Some(messages) = &mut self.messages else { return Ok(batch) };
        let Ok(mut message) = tokio::time::timeout(wait, messages.next()).await else {
            return Ok(batch);
        };
        loop {
            let Some(Ok(came)) = message else {
                if let Some(Err(error)) = message {
                    tracing::debug!(%error, "reading the ledger was interrupted");
                }
                self.messages = None;
                return Ok(batch);
            };
            let seq = came.info().doing("read a ledger message")?.stream_sequence;
            if seq > self.next {
                // With the next call: what is in the batch does not wait, and is not
                // lost where this call is given up.
                self.messages = None;
                let gap = self.out_of_order(seq);
                return if batch.is_empty() { gap } else { Ok(batch) };
            }
            if seq == self.next {
                (self.next, self.gap_at) = (self.next + 1, None);
                if let (Some(_), Some(reply)) = (&self.durable, came.message.reply) {
                    let generation = self.ledger.generation();
                    self.delivered.push_back(Delivered { generation, seq, reply });
                }
                batch.push((seq, came.message.payload));
            }
            let more = self.messages.as_mut().filter(|_| batch.len() < max);
            match more.and_then(|messages| messages.next().now_or_never()) {
                Some(next) => message = next,
                None => return Ok(batch),
            }
        }
    }

    /// A message may come before another one where the connection was lost in
    /// between. A consumer made anew begins with the one that is missing: where that
    /// does not come either, it is not there.
    fn out_of_order(&mut self, seq: u64) -> Result<Vec<(u64, Bytes)>, Error> {
        if self.gap_at != Some(self.next) {
            self.gap_at = Some(self.next);
            return Ok(Vec::new());
        }
        let (name, next) = (self.ledger.name(), self.next);
        Err(Error::plain(format!(
            "ledger damaged: {name} holds nothing from sequence {next} to {}, and goes on at \
             {seq}. Blocks were removed, or the broker's disk is broken: bring back a copy of the \
             stream that has them",
            seq - 1
        ))
        .of_kind(ErrorKind::Damaged))
    }

    /// Tells the broker that everything up to `seq` is kept elsewhere.
    ///
    /// # Errors
    ///
    /// Where the broker does not confirm it.
    pub async fn ack_through(&mut self, seq: u64) -> Result<(), Error> {
        while let Some(delivered) = self.delivered.pop_front_if(|d| d.seq <= seq) {
            let next = self.delivered.front().filter(|next| next.seq <= seq);
            if next.is_some_and(|next| next.generation == delivered.generation) {
                continue;
            }
            // With `AckPolicy::All` one stands for all before it; the next one
            // stands in for it should it get lost.
            let client = self.ledger.client();
            if delivered.generation == self.ledger.generation() {
                client.publish(delivered.reply, "+ACK".into()).await.doing("acknowledge")?;
            } else {
                // Nothing stands in for the last of a generation.
                client.request(delivered.reply, "+ACK".into()).await.doing("acknowledge a seal")?;
            }
        }
        Ok(())
    }

    /// Begins anew at this sequence; also after the broker was away.
    pub(crate) async fn reopen(&mut self, from: u64) -> Result<(), Error> {
        if let (Some(durable), false) = (&self.durable, self.alone) {
            forget_before(&self.ledger, &durable.name).await?;
            self.alone = true;
        }
        self.messages = None;
        self.next = from.max(self.ledger.first());
        let messages = Box::pin(subscribe(&self.ledger, self.next, self.durable.as_ref())).await?;
        self.messages = Some(messages);
        let generation = self.ledger.generation();
        self.delivered.retain(|delivered| delivered.generation != generation);
        Ok(())
    }
}

/// Durable consumers that generations before still have: their reader is beyond
/// those, and what it last said there may be lost.
async fn forget_before(ledger: &Ledger, name: &str) -> Result<(), Error> {
    for generation in (1..ledger.generation()).rev() {
        let Some(before) = ledger.of_generation(generation).await? else { break };
        // There need not be one.
        let _ = before.stream().delete_consumer(name).await;
    }
    Ok(())
}

async fn subscribe(
    ledger: &Ledger,
    from: u64,
    durable: Option<&Durable>,
) -> Result<PullStream, Error> {
    let mut config = PullConfig {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
        ack_policy: AckPolicy::None,
        inactive_threshold: INACTIVE_AFTER,
        memory_storage: true,
        ..PullConfig::default()
    };
    if let Some(Durable { name, description }) = durable {
        // A consumer's start cannot be changed; the store's position decides.
        let _ = ledger.stream().delete_consumer(name).await;
        config = PullConfig {
            durable_name: Some(name.clone()),
            description: Some(description.clone()).filter(|words| !words.is_empty()),
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
        ledger.stream().create_consumer(config).await.doing("make a consumer of the ledger")?;
    consumer
        .stream()
        .max_messages_per_batch(BLOCKS_PER_PULL)
        .expires(Duration::from_secs(10))
        .heartbeat(Duration::from_secs(2))
        .messages()
        .await
        .doing("read the ledger")
}
