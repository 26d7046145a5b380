//! Reads payloads, puts people under pseudonyms, decides, answers what can be
//! answered. Raw applicant ids end here.

mod admin;
mod bookings;
mod changes;
mod lookups;

use std::borrow::Cow;
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use async_nats::{Message, Subject};
use giliran_allocator::{ChangeRequest, OwnedBookingRequest, PendingEntry, PendingGrant};
use giliran_sequencer::{AdminCommand, RejectionCounts};
use giliran_wire::answer::{Reason, Rejection};
use giliran_wire::ledger::Signed;
use giliran_wire::request::{self, Form, Malformed};
use giliran_wire::{Timestamp, admin as actions};
use tokio::sync::mpsc;

use crate::context::WorkerContext;
use crate::intake::{Chunk, IntakeReceiver, Operation};
use crate::metrics::SettledCounts;
use crate::reply::{Answered, Batch, Outbox, Requester, Ticket};

/// What a worker hands on to the sequencer.
#[derive(Debug, Default)]
pub(crate) struct WorkerOutput {
    /// In the order that they were decided in. [`SequencerDriver`](crate::active::driver)
    /// says which kind goes first.
    pub(crate) items: Vec<(HandedOn, Ticket)>,
    /// Counts of rejected requests, for the digests in the ledger.
    pub(crate) tallies: RejectionCounts,
    /// What ended here, for the metrics.
    pub(crate) settled: SettledCounts,
}

/// A wish that the ledger goes on in its next stream.
#[derive(Debug)]
pub(crate) struct Roll {
    pub(crate) signed: Signed,
    /// The stream that it is to leave; none: whichever it is in.
    pub(crate) from: Option<String>,
    /// True: it is only told what would be.
    pub(crate) dry_run: bool,
}

/// A request that durable facts do not settle, as far as a worker can bring it. All but
/// grants and entries is boxed: most items are grants, and none is to be as large as those.
#[derive(Debug)]
pub(crate) enum HandedOn {
    Change(Box<ChangeRequest>),
    Admin(Box<AdminCommand>),
    /// The ledger is to go on in its next stream: who wants it, and why.
    Roll(Box<Roll>),
    Entry(PendingEntry),
    /// Belongs into a round of the opening of this ordinal.
    Round(u32, Box<OwnedBookingRequest>),
    Grant(PendingGrant),
    /// To be decided again once the block in flight is durable.
    Retry(Box<OwnedBookingRequest>),
}

/// What became of a request at a worker's: it ends there with its answer, or goes on.
type Judged<'a> = ControlFlow<Answered<'a>, HandedOn>;

/// One worker: until its queue ends.
pub(crate) async fn work(
    mut queued: IntakeReceiver,
    shared: Arc<WorkerContext>,
    sequencer: mpsc::Sender<WorkerOutput>,
) {
    let worker = Worker { shared };
    let shared = &worker.shared;
    while let Some(chunk) = queued.next().await {
        let mut decided = WorkerOutput::default();
        let mut out = Outbox::with_room_for(chunk.messages.len());
        shared.metrics.queue_wait.observe(chunk.received.elapsed().as_secs_f64());
        {
            let _timer = shared.metrics.decide.start_timer();
            worker.handle(chunk, &mut decided, &mut out);
        }
        shared.metrics.settled_all(&decided.settled);
        if !decided.tallies.is_empty() {
            let tallies = std::mem::take(&mut decided.tallies);
            shared.tallies.lock().unwrap_or_else(PoisonError::into_inner).extend(tallies);
        }
        let passed_on = decided.items.len();
        if passed_on > 0 {
            shared.backlog.fetch_add(passed_on, Ordering::Relaxed);
            // Nobody listens where the engine is no longer active: what was taken goes back.
            let _ = sequencer.send(decided).await;
        }
        out.send(&shared.client, &shared.gate).await;
    }
}

/// Decides what its queue brings.
struct Worker {
    shared: Arc<WorkerContext>,
}

impl Worker {
    fn handle(&self, chunk: Chunk, decided: &mut WorkerOutput, out: &mut Outbox) {
        let wall = giliran_nats::clock::now().as_millis();
        let believed = wall - self.shared.not_believed_ms.load(Ordering::Relaxed) as i64;
        let now = self.shared.allocator.engine_time(Timestamp::from_millis(believed));
        let Chunk { operation, received, mut messages, .. } = chunk;
        let incoming = |message: &mut Message| {
            let reply = self.shared.reply_subject(message.reply.take())?;
            let vouched = operation == Operation::BookVouched;
            Some(Incoming { reply, received, trace: trace(message), vouched, now })
        };
        let mut each = |handle: &mut dyn FnMut(&[u8], Incoming)| {
            for message in &mut messages {
                if let Some(incoming) = incoming(message) {
                    handle(&message.payload, incoming);
                }
            }
        };
        match operation {
            Operation::Book | Operation::BookVouched => {
                self.book_messages(&mut messages, incoming, decided, out);
            }
            Operation::Confirm => each(&mut |p, by| {
                self.change_message::<request::Confirm<'_>>(p, by, decided, out);
            }),
            Operation::Cancel => each(&mut |p, by| {
                self.change_message::<request::Cancel<'_>>(p, by, decided, out);
            }),
            Operation::Reschedule => each(&mut |p, by| {
                self.change_message::<request::Reschedule<'_>>(p, by, decided, out);
            }),
            Operation::Quota => each(&mut |p, by| {
                self.admin_message::<actions::Quota<'_>>(p, by, decided, out);
            }),
            Operation::Reserve => each(&mut |p, by| {
                self.admin_message::<actions::Reserve<'_>>(p, by, decided, out);
            }),
            Operation::Halt => each(&mut |p, by| {
                self.admin_message::<actions::Halt<'_>>(p, by, decided, out);
            }),
            Operation::ClosesAt => each(&mut |p, by| {
                self.admin_message::<actions::ClosesAt<'_>>(p, by, decided, out);
            }),
            Operation::Beacon => each(&mut |p, by| {
                self.admin_message::<actions::Beacon<'_>>(p, by, decided, out);
            }),
            Operation::Roll => each(&mut |p, by| {
                self.admin_message::<actions::Roll<'_>>(p, by, decided, out);
            }),
            Operation::Lookup => each(&mut |p, by| self.lookup(p, by.reply, out)),
            Operation::Find => each(&mut |p, by| self.find(p, by.reply, out)),
            Operation::Availability => each(&mut |p, by| self.availability(p, by.reply, now, out)),
        }
    }

    fn malformed(&self, malformed: Malformed) -> Answered<'static> {
        self.shared.metrics.rejected(Reason::Malformed);
        let request_id = malformed.request_id.map(Cow::Owned);
        Answered::rejected(request_id, Rejection::new(Reason::Malformed).detail(malformed.detail))
    }
}

/// What is known of a message while its requests are decided.
#[derive(Debug)]
struct Incoming {
    reply: Subject,
    received: std::time::Instant,
    trace: Option<Arc<str>>,
    vouched: bool,
    now: Timestamp,
}

impl Incoming {
    fn ticket(self, form: Form) -> Ticket {
        let Self { reply, received, trace, .. } = self;
        Ticket::One(Box::new(Requester { reply, form, received, trace }))
    }
}

/// Answers a request that came alone, or hands it on.
fn settle_one(
    incoming: Incoming,
    form: Form,
    judged: Judged<'_>,
    items: &mut Vec<(HandedOn, Ticket)>,
    out: &mut Outbox,
) {
    let ticket = incoming.ticket(form);
    match judged {
        Break(answer) => out.answer(ticket, answer),
        Continue(item) => items.push((item, ticket)),
    }
}

/// Answers a message of several requests, if all of them are settled; else it is answered
/// with the slowest of those that are handed on.
fn settle_batch<'r>(
    incoming: Incoming,
    form: Form,
    mut judged: impl ExactSizeIterator<Item = Judged<'r>>,
    items: &mut Vec<(HandedOn, Ticket)>,
    out: &mut Outbox,
) {
    if judged.len() == 1
        && let Some(one) = judged.next()
    {
        return settle_one(incoming, form, one, items, out);
    }
    let requests = judged.len();
    let Incoming { reply, received, trace, .. } = incoming;
    let batch = Arc::new(Batch::new(Requester { reply, form, received, trace }, requests));
    batch.settle(out, |answers| {
        for (index, one) in judged.enumerate() {
            match one {
                Break(answer) => answers.put(index, &answer),
                Continue(item) => {
                    if items.len() == items.capacity() {
                        items.reserve(requests - index);
                    }
                    items.push((item, Ticket::item(&batch, index)));
                }
            }
        }
    });
}

/// The trace a request belongs to: the W3C `traceparent` header, if it has one.
fn trace(message: &Message) -> Option<Arc<str>> {
    let parent = message.headers.as_ref()?.get("traceparent")?.as_str();
    let mut parts = parent.split('-').skip(1);
    let (id, span) = (parts.next()?, parts.next()?);
    let hex =
        |text: &str, length| text.len() == length && text.bytes().all(|c| c.is_ascii_hexdigit());
    (hex(id, 32) && hex(span, 16)).then(|| id.into())
}
