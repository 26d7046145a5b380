//! Drains the subscriptions into bounded queues; what does not fit is told
//! `busy` at once, and nothing else is done here: a subscription that is not
//! drained drops messages silently.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use giliran_wire::request::{self, Form, Malformed, Payload, Request};
use prometheus::IntGauge;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::context::WorkerContext;
use crate::metrics::Metrics;
use crate::reply::{Answered, Outbox, asked_by, form_of_unreadable};

/// Most messages handed to a worker together: tokio's budget of a task ends a stretch of
/// ready messages at 128 anyway, and room for all is reserved with the first.
const CHUNK: usize = 128;
/// Payload bytes from which on a chunk is handed on, messages behind it in another one: what
/// holds a thousand requests keeps a worker busy by itself, and the others have theirs.
const CHUNK_BYTES: usize = 32 * 1024;
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
pub(crate) struct IntakeSender {
    workers: Vec<mpsc::Sender<Chunk>>,
    /// Counts only; what is passed on goes through the channels. Relaxed.
    messages: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
    depth: IntGauge,
}

/// A worker's end of the queue.
#[derive(Debug)]
pub(crate) struct IntakeReceiver {
    chunks: mpsc::Receiver<Chunk>,
    messages: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
    depth: IntGauge,
}

impl IntakeSender {
    /// `depth` shows how many messages wait.
    pub(crate) fn new(workers: usize, depth: &IntGauge) -> (Self, Vec<IntakeReceiver>) {
        depth.set(0);
        let (messages, bytes) = (Arc::default(), Arc::default());
        let (senders, queued) = (0..workers)
            .map(|_| {
                // A chunk holds a message at least, so the channel cannot fill
                // before the count does.
                let (sender, chunks) = mpsc::channel(MAX_QUEUED_MESSAGES);
                let (messages, bytes) = (Arc::clone(&messages), Arc::clone(&bytes));
                (sender, IntakeReceiver { chunks, messages, bytes, depth: depth.clone() })
            })
            .unzip();
        (Self { workers: senders, messages, bytes, depth: depth.clone() }, queued)
    }

    /// Hands the chunk on, or back.
    fn offer(&self, chunk: Chunk, turn: usize) -> Result<(), Chunk> {
        let count = chunk.messages.len();
        let messages = self.messages.fetch_add(count, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(chunk.bytes, Ordering::Relaxed);
        let fits =
            messages + count <= MAX_QUEUED_MESSAGES && bytes + chunk.bytes <= MAX_QUEUED_BYTES;
        // Before a worker can take it away.
        self.depth.add(count as i64);
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
                self.messages.fetch_sub(count, Ordering::Relaxed);
                self.bytes.fetch_sub(chunk.bytes, Ordering::Relaxed);
                self.depth.sub(count as i64);
                Err(chunk)
            }
        }
    }
}

impl IntakeReceiver {
    pub(crate) async fn next(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.recv().await?;
        self.messages.fetch_sub(chunk.messages.len(), Ordering::Relaxed);
        self.bytes.fetch_sub(chunk.bytes, Ordering::Relaxed);
        self.depth.sub(chunk.messages.len() as i64);
        Some(chunk)
    }
}

/// How long the last messages of a subscription may take.
const DRAIN_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Drains one subscription until `stop` is cancelled, then what had already arrived.
pub(crate) async fn drain(
    operation: Operation,
    subscriber: Subscriber,
    queue: Arc<IntakeSender>,
    shared: Arc<WorkerContext>,
    stop: CancellationToken,
) {
    let mut chunks = subscriber.ready_chunks(CHUNK);
    let mut turn = operation as usize;
    let mut until = None;
    loop {
        let messages = tokio::select! {
            biased;
            () = stop.cancelled(), if until.is_none() => {
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
        for chunk in chunks_of(operation, messages) {
            turn += 1;
            let refused = if shared.overloaded() { Err(chunk) } else { queue.offer(chunk, turn) };
            if let Err(chunk) = refused {
                answer_busy(chunk, &shared).await;
            }
        }
    }
}

/// Messages that came together, none of their chunks much larger than [`CHUNK_BYTES`].
fn chunks_of(operation: Operation, mut messages: Vec<Message>) -> Vec<Chunk> {
    let received = Instant::now();
    let mut chunks = Vec::with_capacity(1);
    while !messages.is_empty() {
        let mut bytes = 0;
        let ends = messages.iter().position(|message| {
            bytes += message.payload.len();
            bytes >= CHUNK_BYTES
        });
        let rest = messages.split_off(ends.map_or(messages.len(), |last| last + 1));
        chunks.push(Chunk { operation, received, messages, bytes });
        messages = rest;
    }
    chunks
}

async fn sleep_until(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

async fn answer_busy(chunk: Chunk, shared: &WorkerContext) {
    let mut out = Outbox::default();
    for mut message in chunk.messages {
        if let Some(reply) = shared.reply_subject(message.reply.take()) {
            let (form, answers) = busy_answers(chunk.operation, &message.payload, &shared.metrics);
            match (chunk.operation, &answers[..]) {
                (Operation::Availability, [busy]) => out.no_overview(reply, form, busy),
                _ => out.answers(reply, form, &answers),
            }
        }
    }
    out.send(&shared.client, &shared.gate).await;
}

/// `busy` for every request of a payload that is not even decided.
fn busy_answers(
    operation: Operation,
    payload: &[u8],
    metrics: &Metrics,
) -> (Form, Vec<Answered<'static>>) {
    let unread = || (form_of_unreadable(payload), vec![Answered::busy(None, metrics)]);
    match operation {
        Operation::Book | Operation::BookVouched => {
            each_busy::<request::Book<'_>>(payload, metrics)
        }
        Operation::Confirm => each_busy::<request::Confirm<'_>>(payload, metrics),
        Operation::Cancel => each_busy::<request::Cancel<'_>>(payload, metrics),
        Operation::Reschedule => each_busy::<request::Reschedule<'_>>(payload, metrics),
        _ => None,
    }
    .unwrap_or_else(unread)
}

fn each_busy<'a, T: Request<'a>>(
    payload: &'a [u8],
    metrics: &Metrics,
) -> Option<(Form, Vec<Answered<'static>>)> {
    match request::read::<T>(payload).ok()? {
        Payload::One(item) => Some((Form::JsonOne, vec![Answered::busy(asked_by(&item), metrics)])),
        Payload::Many(form, items) => {
            let busy = |item: Result<T, Malformed>| {
                Answered::busy(item.ok().as_ref().and_then(asked_by), metrics)
            };
            Some((form, items.into_iter().map(busy).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(messages: usize) -> Chunk {
        let message = Message {
            subject: "giliran.v1.book".into(),
            reply: None,
            payload: "{}".into(),
            headers: None,
            status: None,
            description: None,
            length: 2,
        };
        let (operation, received) = (Operation::Book, Instant::now());
        Chunk { operation, received, messages: vec![message; messages], bytes: 2 * messages }
    }

    #[test]
    fn large_messages_are_spread_over_the_workers() {
        let sizes = |payloads: &[usize]| {
            let messages = payloads.iter().map(|bytes| Message {
                payload: vec![b' '; *bytes].into(),
                ..chunk(1).messages.remove(0)
            });
            let chunks = chunks_of(Operation::Book, messages.collect());
            chunks.iter().map(|chunk| (chunk.messages.len(), chunk.bytes)).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[110; CHUNK]), [(CHUNK, 110 * CHUNK)]);
        assert_eq!(sizes(&[110_000; 3]), [(1, 110_000); 3]);
        assert_eq!(sizes(&[20_000, 20_000, 1]), [(2, 40_000), (1, 1)]);
        assert_eq!(sizes(&[]), []);
    }

    #[tokio::test]
    async fn the_depth_shows_what_waits_and_falls() {
        let depth = IntGauge::new("depth", "messages").unwrap();
        let (queue, mut queued) = IntakeSender::new(1, &depth);
        assert!(queue.offer(chunk(3), 0).is_ok());
        assert!(queue.offer(chunk(2), 0).is_ok());
        assert!(queue.offer(chunk(MAX_QUEUED_MESSAGES), 0).is_err(), "more than fits");
        assert_eq!(depth.get(), 5);
        assert_eq!(queued[0].next().await.unwrap().messages.len(), 3);
        assert_eq!(depth.get(), 2);
        queued[0].next().await.unwrap();
        assert_eq!(depth.get(), 0);
    }
}
