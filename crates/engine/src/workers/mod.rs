//! Reads payloads, puts people under pseudonyms, decides, answers what can be
//! answered. Raw applicant ids end here.

mod changes;

use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::{Message, Subject};
use giliran_allocator::{
    Allocator, BookingRequest, ChangeRequest, Content, Decision, Durable, FoundBooking, FoundEntry,
    OwnedBookingRequest, Pending, Settled,
};
use giliran_sequencer::{AdminCommand, MAX_BACKLOG, RejectionCounts};
use giliran_wire::admin;
use giliran_wire::answer::{self, Overview, Reason, Rejection};
use giliran_wire::ledger::{DrawEntryRecord, Grant, Signed};
use giliran_wire::request::{self, BINARY_VERSION, Form, Malformed, Payload, Request};
use giliran_wire::{ApplicantKey, BookingId, Timestamp};
use tokio::sync::mpsc;

use crate::active::lease_guard::LeaseGuard;
use crate::intake::{Chunk, IntakeReceiver, Operation};
use crate::metrics::Metrics;
use crate::reply::{Answered, Batch, BatchAnswers, Outbox, Ticket, To, retry_after_ms};

/// What all tasks of the active engine share.
#[derive(Debug)]
pub(crate) struct WorkerContext {
    pub(crate) client: async_nats::Client,
    pub(crate) allocator: Arc<Allocator>,
    pub(crate) key: ApplicantKey,
    pub(crate) applicant_pattern: Option<giliran_config::ApplicantPattern>,
    pub(crate) reply_prefixes: Vec<String>,
    pub(crate) gate: Arc<LeaseGuard>,
    pub(crate) metrics: Metrics,
    /// Grants and requests waiting for a block, as the sequencer last said.
    /// Relaxed: a bound on memory, not a fact.
    pub(crate) backlog: AtomicUsize,
    /// Rejections that workers have answered, until the sequencer takes them.
    pub(crate) tallies: Mutex<RejectionCounts>,
    /// How far the wall clock is ahead of what the sequencer goes by, ms, where it
    /// has jumped. Relaxed: looked at a few times a second.
    pub(crate) not_believed_ms: AtomicU64,
}

/// Most slots in one answer: more fit no message that a broker takes as it comes,
/// and a small request must not have hundreds of megabytes written.
const MAX_SLOTS_SHOWN: usize = 16_384;

/// What a worker hands on to the sequencer.
#[derive(Debug, Default)]
pub(crate) struct WorkerOutput {
    /// In the order that they were decided in. [`SequencerDriver`](crate::active::driver)
    /// says which kind goes first.
    pub(crate) items: Vec<(HandedOn, Ticket)>,
    /// Counts of rejected requests, for the digests in the ledger.
    pub(crate) tallies: RejectionCounts,
}

/// A request that durable facts do not settle, as far as a worker can bring it. Whole
/// requests are boxed: most items are grants, and none is to be as large as those.
#[derive(Debug)]
pub(crate) enum HandedOn {
    Change(ChangeRequest),
    Admin(AdminCommand),
    /// The ledger is to go on in its next stream: who wants it, and why.
    Roll(Signed),
    Entry(Pending<DrawEntryRecord>),
    /// Belongs into a round of the opening of this ordinal.
    Round(u32, Box<OwnedBookingRequest>),
    Grant(Pending<Grant>),
    /// To be decided again once the block in flight is durable.
    Retry(Box<OwnedBookingRequest>),
}

/// What became of a request at a worker's: it ends there with its answer, or goes on.
type Judged = ControlFlow<Answered, HandedOn>;

/// One worker: until its queue ends.
pub(crate) async fn work(
    mut queued: IntakeReceiver,
    shared: Arc<WorkerContext>,
    sequencer: mpsc::Sender<WorkerOutput>,
) {
    while let Some(chunk) = queued.next().await {
        let mut decided = WorkerOutput::default();
        let mut out = Outbox::with_room_for(chunk.messages.len());
        shared.metrics.queue_wait.observe(chunk.received.elapsed().as_secs_f64());
        {
            let _timer = shared.metrics.decide.start_timer();
            shared.handle(chunk, &mut decided, &mut out);
        }
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

impl WorkerContext {
    /// True when new requests are to be told `busy`.
    pub(crate) fn overloaded(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) >= MAX_BACKLOG
    }

    /// Where to answer; a request without a place for it, or with one outside
    /// the inboxes, is counted and dropped.
    pub(crate) fn reply_subject(&self, reply: Option<Subject>) -> Option<Subject> {
        match reply {
            None => {
                self.metrics.dropped.with_label_values(&["no_reply_subject"]).inc();
                None
            }
            Some(reply)
                if self.reply_prefixes.iter().any(|prefix| reply.starts_with(prefix.as_str())) =>
            {
                Some(reply)
            }
            Some(_) => {
                self.metrics.dropped.with_label_values(&["reply_outside_inboxes"]).inc();
                None
            }
        }
    }

    fn handle(&self, chunk: Chunk, decided: &mut WorkerOutput, out: &mut Outbox) {
        let wall = giliran_nats::clock::now().as_millis();
        let believed = wall - self.not_believed_ms.load(Ordering::Relaxed) as i64;
        let now = self.allocator.engine_time(Timestamp::from_millis(believed));
        for mut message in chunk.messages {
            let Some(reply) = self.reply_subject(message.reply.take()) else { continue };
            let by = Incoming {
                reply,
                received: chunk.received,
                trace: trace(&message),
                vouched: chunk.operation == Operation::BookVouched,
                now,
            };
            let payload = &message.payload;
            match chunk.operation {
                Operation::Book | Operation::BookVouched => {
                    self.book_message(payload, by, decided, out);
                }
                Operation::Confirm => {
                    self.change_message::<request::Confirm<'_>>(payload, by, decided, out);
                }
                Operation::Cancel => {
                    self.change_message::<request::Cancel<'_>>(payload, by, decided, out);
                }
                Operation::Reschedule => {
                    self.change_message::<request::Reschedule<'_>>(payload, by, decided, out);
                }
                Operation::Quota => {
                    self.admin_message::<admin::Quota<'_>>(payload, by, decided, out);
                }
                Operation::Reserve => {
                    self.admin_message::<admin::Reserve<'_>>(payload, by, decided, out);
                }
                Operation::Halt => {
                    self.admin_message::<admin::Halt<'_>>(payload, by, decided, out);
                }
                Operation::ClosesAt => {
                    self.admin_message::<admin::ClosesAt<'_>>(payload, by, decided, out);
                }
                Operation::Beacon => {
                    self.admin_message::<admin::Beacon<'_>>(payload, by, decided, out);
                }
                Operation::Roll => {
                    self.admin_message::<admin::Roll<'_>>(payload, by, decided, out);
                }
                Operation::Lookup => self.lookup(payload, by.reply, out),
                Operation::Find => self.find(payload, by.reply, out),
                Operation::Availability => self.availability(payload, by.reply, now, out),
            }
        }
    }

    fn book_message(
        &self,
        payload: &[u8],
        incoming: Incoming,
        decided: &mut WorkerOutput,
        out: &mut Outbox,
    ) {
        let WorkerOutput { items, tallies } = decided;
        let when = (incoming.vouched, incoming.now);
        match request::read::<request::Book<'_>>(payload) {
            Err(malformed) => {
                let answer = self.malformed(malformed);
                out.answers(incoming.reply, form_of_unreadable(payload), &[answer]);
            }
            Ok(Payload::One(book)) => {
                let judged = self.book_one(&book, when, tallies);
                settle_one(incoming, Form::JsonOne, judged, items, out);
            }
            Ok(Payload::Many(form, books)) => {
                let judged = books.into_iter().map(|book| match book {
                    Ok(book) => self.book_one(&book, when, tallies),
                    Err(malformed) => Break(self.malformed(malformed)),
                });
                settle_batch(incoming, form, judged, items, out);
            }
        }
    }

    fn book_one(
        &self,
        book: &request::Book<'_>,
        (vouched, now): (bool, Timestamp),
        tallies: &mut RejectionCounts,
    ) -> Judged {
        if let Some(pattern) = &self.applicant_pattern
            && let Some(i) = book.applicants.iter().position(|a| !pattern.fits(a))
        {
            return Break(self.malformed(Malformed {
                request_id: Some(book.request_id.to_string()),
                detail: format!("applicants[{i}]: does not follow applicant_pattern {pattern}"),
            }));
        }
        let applicants = book.pseudonyms(&self.key);
        // All fields are named, so that a new one is handed on.
        let request::Book {
            request_id,
            applicants: _,
            choices,
            opening,
            expires_at,
            account,
            channel,
            reference,
            wait,
        } = book;
        let ask = BookingRequest {
            request_id,
            applicants: &applicants,
            content: Content::Of(book.wanted(), &applicants),
            choices,
            opening: opening.as_deref(),
            expires_at: *expires_at,
            account: account.as_deref().map(|account| self.key.account(account)),
            channel: channel.as_deref(),
            reference: reference.as_deref(),
            vouched,
            wait: *wait,
        };
        let decision = self.allocator.decide(&ask, now);
        if let Decision::Settled(Settled::Rejected(rejection, _)) = &decision {
            tallies.count(rejection, ask.channel, now);
        }
        Continue(match decision {
            Decision::Settled(settled) => {
                let id = Some(&*book.request_id);
                return Break(Answered::settled(id, settled, now, &self.metrics));
            }
            Decision::Granted(grant) => HandedOn::Grant(grant),
            Decision::EnterDraw(entry) => HandedOn::Entry(entry),
            Decision::DeferToRound(ordinal) => HandedOn::Round(ordinal, Box::new(ask.to_owned())),
            // Entries are made by one hand only.
            Decision::JoinWaitlist(_) | Decision::Retry => {
                HandedOn::Retry(Box::new(ask.to_owned()))
            }
        })
    }

    fn malformed(&self, malformed: Malformed) -> Answered {
        self.metrics.rejected(Reason::Malformed);
        let request_id = malformed.request_id.map(String::into_boxed_str);
        Answered::rejected(request_id, Rejection::new(Reason::Malformed).detail(malformed.detail))
    }

    fn lookup(&self, payload: &[u8], reply: Subject, out: &mut Outbox) {
        self.metrics.lookups.with_label_values(&["lookup"]).inc();
        self.questions::<request::Lookup<'_>>(payload, reply, out, |lookup| {
            let applicant = self.key.applicant(&lookup.applicant);
            let opening = lookup.opening.as_deref();
            // What is no booking's id is nobody's; and no request's id is empty.
            let by_request = lookup.request_id.as_deref().unwrap_or_default();
            let id = lookup.booking.as_ref().and_then(|id| id.parse::<BookingId>().ok());
            let (found, at) = match &id {
                Some(id) => self.allocator.lookup(id, &applicant)?,
                None => self.allocator.lookup_request(by_request, &applicant, opening)?,
            };
            if let Some(found) = found {
                return Some((Some(Known::Booking(found)), at));
            }
            let (entered, at) = match &id {
                Some(id) => self.allocator.lookup_entry(id, &applicant)?,
                None => self.allocator.lookup_entry_request(by_request, &applicant, opening)?,
            };
            Some((entered.map(Known::Entry), at))
        });
    }

    fn find(&self, payload: &[u8], reply: Subject, out: &mut Outbox) {
        self.metrics.lookups.with_label_values(&["find"]).inc();
        self.questions::<request::Find<'_>>(payload, reply, out, |find| {
            let (found, at) =
                self.allocator.find(&self.key.applicant(&find.applicant), &find.opening)?;
            Some((found.map(Known::Booking), at))
        });
    }

    /// Answers questions about bookings; `ask` gives none where a block is just
    /// being applied.
    fn questions<'a, T: request::Request<'a>>(
        &self,
        payload: &'a [u8],
        reply: Subject,
        out: &mut Outbox,
        ask: impl Fn(&T) -> Option<(Option<Known>, Durable)>,
    ) {
        let answer = |item: Result<T, Malformed>| match item {
            Err(malformed) => self.malformed(malformed),
            Ok(question) => match retry_while_applying(|| ask(&question)) {
                Some((Some(Known::Booking(found)), at)) => {
                    Answered::found(found, at, question.request_id())
                }
                Some((Some(Known::Entry(entered)), at)) => {
                    Answered::entered(entered, at, question.request_id())
                }
                Some((None, at)) => {
                    let id = question.request_id().map(Into::into);
                    Answered::rejected(id, Rejection::new(Reason::NotFound).as_of(at.position()))
                }
                None => {
                    let id = question.request_id().map(Into::into);
                    let busy = Rejection::new(Reason::Busy).retry_after_ms(retry_after_ms());
                    Answered::rejected(id, busy)
                }
            },
        };
        match request::read::<T>(payload) {
            Err(e) => {
                out.answers(reply, form_of_unreadable(payload), &[self.malformed(e)]);
            }
            Ok(Payload::One(item)) => out.answers(reply, Form::JsonOne, &[answer(Ok(item))]),
            Ok(Payload::Many(form, items)) => {
                let answers: Vec<_> = items.into_iter().map(answer).collect();
                out.answers(reply, form, &answers);
            }
        }
    }

    fn availability(&self, payload: &[u8], reply: Subject, now: Timestamp, out: &mut Outbox) {
        self.metrics.lookups.with_label_values(&["availability"]).inc();
        let (form, items) = match request::read::<request::Availability<'_>>(payload) {
            Ok(Payload::One(item)) => (Form::JsonOne, vec![item]),
            Ok(Payload::Many(form, items)) => {
                match items.into_iter().collect::<Result<Vec<_>, Malformed>>() {
                    Ok(items) => (form, items),
                    Err(e) => return out.no_overview(reply, form, &self.malformed(e)),
                }
            }
            Err(e) => {
                let form = form_of_unreadable(payload);
                return out.no_overview(reply, form, &self.malformed(e));
            }
        };
        let openings = self.allocator.openings();
        if let Some(office) = items
            .iter()
            .filter_map(|item| item.office.as_deref())
            .find(|office| !openings.iter().any(|opening| opening.has_office(office)))
        {
            self.metrics.rejected(Reason::UnknownSlot);
            let rejection = Rejection::new(Reason::UnknownSlot)
                .detail(format!("office: no opening has an office `{office}`"));
            return out.no_overview(reply, form, &Answered::rejected(None, rejection));
        }
        self.write_availability(form, &items, reply, now, out);
    }

    fn write_availability(
        &self,
        form: Form,
        items: &[request::Availability<'_>],
        reply: Subject,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let openings = self.allocator.openings();
        let (mut snapshots, mut slots) = (Vec::with_capacity(items.len()), 0);
        for item in items {
            let shown = retry_while_applying(|| {
                self.allocator.availability(&openings, now, item.office.as_deref())
            });
            let Some(mut shown) = shown else {
                return out.no_overview(reply, form, &Answered::busy(None, &self.metrics));
            };
            if item.describe {
                shown.catalogue = retry_while_applying(|| {
                    self.allocator.catalogue(&openings, now, item.office.as_deref())
                });
                if shown.catalogue.is_none() {
                    return out.no_overview(reply, form, &Answered::busy(None, &self.metrics));
                }
            }
            slots += shown.slots.len();
            if slots > MAX_SLOTS_SHOWN {
                return self.too_much_to_show(form, reply, out);
            }
            snapshots.push(Overview::Shown(shown));
        }
        let mut written = Vec::new();
        answer::write(form, &snapshots, &mut written);
        if written.len() > self.client.server_info().max_payload {
            return self.too_much_to_show(form, reply, out);
        }
        out.push(reply, true, |buffer| buffer.extend_from_slice(&written));
    }

    fn too_much_to_show(&self, form: Form, reply: Subject, out: &mut Outbox) {
        self.metrics.rejected(Reason::Malformed);
        let detail = "office: so many places do not fit one message; ask office by office";
        let rejection = Rejection::new(Reason::Malformed).detail(detail);
        out.no_overview(reply, form, &Answered::rejected(None, rejection));
    }
}

/// Asks again while blocks are being applied, for a bounded number of times.
fn retry_while_applying<T>(ask: impl Fn() -> Option<T>) -> Option<T> {
    (0..1_000).find_map(|_| {
        let answer = ask();
        if answer.is_none() {
            std::thread::yield_now();
        }
        answer
    })
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
        Ticket {
            to: To::One { reply: self.reply, form },
            received: self.received,
            trace: self.trace,
        }
    }
}

/// What a question finds.
enum Known {
    Booking(FoundBooking),
    Entry(FoundEntry),
}

/// Answers a request that came alone, or hands it on.
fn settle_one(
    incoming: Incoming,
    form: Form,
    judged: Judged,
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
fn settle_batch(
    incoming: Incoming,
    form: Form,
    mut judged: impl ExactSizeIterator<Item = Judged>,
    items: &mut Vec<(HandedOn, Ticket)>,
    out: &mut Outbox,
) {
    if judged.len() == 1
        && let Some(one) = judged.next()
    {
        return settle_one(incoming, form, one, items, out);
    }
    let mut answers = BatchAnswers::new(form, judged.len());
    let mut waiting = Vec::new();
    for (index, one) in judged.enumerate() {
        match one {
            Break(answer) => answers.put(index, &answer),
            Continue(item) => waiting.push((item, index)),
        }
    }
    let Incoming { reply, received, trace, .. } = incoming;
    if waiting.is_empty() {
        return out.batch(reply, &answers);
    }
    let batch = Arc::new(Batch::new(reply, answers));
    items.extend(waiting.into_iter().map(|(item, index)| {
        let to = To::Item { batch: Arc::clone(&batch), index };
        (item, Ticket { to, received, trace: trace.clone() })
    }));
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

fn form_of_unreadable(payload: &[u8]) -> Form {
    if payload.first() == Some(&BINARY_VERSION) { Form::Binary } else { Form::JsonOne }
}

/// `busy` for every request of a payload that is not even decided.
pub(crate) fn busy_answers(
    operation: Operation,
    payload: &[u8],
    metrics: &Metrics,
) -> (Form, Vec<Answered>) {
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
) -> Option<(Form, Vec<Answered>)> {
    let id = |item: &T| item.request_id().map(Into::into);
    match request::read::<T>(payload).ok()? {
        Payload::One(item) => Some((Form::JsonOne, vec![Answered::busy(id(&item), metrics)])),
        Payload::Many(form, items) => {
            let busy = |item: Result<T, Malformed>| {
                Answered::busy(item.ok().as_ref().and_then(id), metrics)
            };
            Some((form, items.into_iter().map(busy).collect()))
        }
    }
}
