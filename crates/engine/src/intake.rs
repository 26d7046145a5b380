//! Drains the subscriptions into bounded queues; what does not fit is told
//! `busy` at once, and nothing else is done here: a subscription that is not
//! drained drops messages silently.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};

use crate::gate::raised;
use crate::reply::{Answered, Outbox};
use crate::workers::{Shared, busy_answers};

/// Most messages handed to a worker together.
const CHUNK: usize = 256;
/// Most messages waiting for a worker.
pub(crate) const MAX_QUEUED_MESSAGES: usize = 65_536;
/// Most payload bytes waiting for a worker.
pub(crate) const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;

/// Which subject a message came in on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Book,
    BookVouched,
    Confirm,
    Cancel,
    Reschedule,
    Lookup,
    Find,
    Availability,
    Quota,
    Reserve,
    Halt,
    ClosesAt,
    Beacon,
    Roll,
}

impl Operation {
    pub(crate) const ALL: [Self; 14] = [
        Self::Book,
        Self::BookVouched,
        Self::Confirm,
        Self::Cancel,
        Self::Reschedule,
        Self::Lookup,
        Self::Find,
        Self::Availability,
        Self::Quota,
        Self::Reserve,
        Self::Halt,
        Self::ClosesAt,
        Self::Beacon,
        Self::Roll,
    ];

    /// The subject's end.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Book => "book",
            Self::BookVouched => "book.vouched",
            Self::Confirm => "confirm",
            Self::Cancel => "cancel",
            Self::Reschedule => "reschedule",
            Self::Lookup => "lookup",
            Self::Find => "find",
            Self::Availability => "availability",
            Self::Quota => "admin.quota",
            Self::Reserve => "admin.reserve",
            Self::Halt => "admin.halt",
            Self::ClosesAt => "admin.closes_at",
            Self::Beacon => "admin.beacon",
            Self::Roll => "admin.roll",
        }
    }
}

/// Messages of one subscription that were waiting together.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) operation: Operation,
    pub(crate) received: Instant,
    pub(crate) messages: Vec<Message>,
    bytes: usize,
}

/// The way to the workers, bounded in messages and bytes over all of them.
#[derive(Debug)]
pub(crate) struct Queue {
    workers: Vec<mpsc::Sender<Chunk>>,
    /// Counts only; what is passed on goes through the channels. Relaxed.
    messages: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

/// A worker's end of the queue.
#[derive(Debug)]
pub(crate) struct Queued {
    chunks: mpsc::Receiver<Chunk>,
    messages: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

impl Queue {
    pub(crate) fn new(workers: usize) -> (Self, Vec<Queued>) {
        let (messages, bytes) = (Arc::default(), Arc::default());
        let (senders, queued) = (0..workers)
            .map(|_| {
                // A chunk holds a message at least, so the channel cannot fill
                // before the count does.
                let (sender, chunks) = mpsc::channel(MAX_QUEUED_MESSAGES);
                let queued =
                    Queued { chunks, messages: Arc::clone(&messages), bytes: Arc::clone(&bytes) };
                (sender, queued)
            })
            .unzip();
        (Self { workers: senders, messages, bytes }, queued)
    }

    fn depth(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }

    /// Hands the chunk on, or back.
    fn offer(&self, chunk: Chunk, turn: usize) -> Result<(), Chunk> {
        let messages = self.messages.fetch_add(chunk.messages.len(), Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(chunk.bytes, Ordering::Relaxed);
        let fits = messages + chunk.messages.len() <= MAX_QUEUED_MESSAGES
            && bytes + chunk.bytes <= MAX_QUEUED_BYTES;
        let refused = if fits {
            self.workers[turn % self.workers.len()].try_send(chunk).err()
        } else {
            Some(mpsc::error::TrySendError::Full(chunk))
        };
        match refused {
            None => Ok(()),
            Some(
                mpsc::error::TrySendError::Full(chunk) | mpsc::error::TrySendError::Closed(chunk),
            ) => {
                self.messages.fetch_sub(chunk.messages.len(), Ordering::Relaxed);
                self.bytes.fetch_sub(chunk.bytes, Ordering::Relaxed);
                Err(chunk)
            }
        }
    }
}

impl Queued {
    pub(crate) async fn next(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.recv().await?;
        self.messages.fetch_sub(chunk.messages.len(), Ordering::Relaxed);
        self.bytes.fetch_sub(chunk.bytes, Ordering::Relaxed);
        Some(chunk)
    }
}

/// How long the last messages of a subscription may take.
const DRAIN_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Drains one subscription until `stop` says so, then what had already arrived.
pub(crate) async fn drain(
    operation: Operation,
    subscriber: Subscriber,
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let mut chunks = subscriber.ready_chunks(CHUNK);
    let mut turn = operation as usize;
    let mut until = None;
    loop {
        let messages = tokio::select! {
            biased;
            () = raised(&mut stop), if until.is_none() => {
                until = Some(tokio::time::Instant::now() + DRAIN_WITHIN);
                // What the server has sent before it hears of it still comes.
                if let Err(error) = chunks.get_mut().drain().await {
                    tracing::debug!(%error, subject = operation.name(), "unsubscribe");
                }
                continue;
            }
            messages = chunks.next() => messages,
            // A server that is gone says no last word.
            () = sleep_until(until) => return,
        };
        let Some(messages) = messages else { return };
        turn += 1;
        let bytes = messages.iter().map(|message| message.payload.len()).sum();
        let chunk = Chunk { operation, received: Instant::now(), messages, bytes };
        let refused = if shared.overloaded() { Err(chunk) } else { queue.offer(chunk, turn) };
        shared.metrics.queue_depth.set(queue.depth() as i64);
        if let Err(chunk) = refused {
            refuse(chunk, &shared).await;
        }
    }
}

async fn sleep_until(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

async fn refuse(chunk: Chunk, shared: &Shared) {
    let mut out = Outbox::default();
    for message in chunk.messages {
        if let Some(reply) = shared.reply_subject(&message) {
            let (form, answers): (_, Vec<Answered>) =
                busy_answers(chunk.operation, &message.payload, &shared.metrics);
            out.answers(reply, form, &answers);
        }
    }
    out.send(&shared.client, &shared.gate).await;
}
