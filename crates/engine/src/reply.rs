//! Answers on their way out.
//!
//! A grant's answer is built from a [`Durable`] position alone, and only a
//! commit makes one: reply-before-durable does not compile.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_nats::Subject;
use bytes::Bytes;
use giliran_allocator::{Booking, Durable, FoundBooking, FoundEntry, Opening, Settled};
use giliran_sequencer::{AdminChange, AdminReport, Grants, Outcome};
use giliran_wire::admin;
use giliran_wire::answer::{self, Answer, Overview, Parts, Reason, Rejection, Verdict};
use giliran_wire::request::{BINARY_VERSION, Form, Request};
use giliran_wire::{Position, Timestamp};

use crate::lease_guard::LeaseGuard;
use crate::metrics::Metrics;

/// `busy` and `unavailable` ask to come back after a random time in this range,
/// ms, so that the crowd does not come back at once.
pub(crate) const RETRY_AFTER_MS: std::ops::Range<u64> = 200..1_000;

/// Finds the requester again, when its answer can be given. It is small, since it goes with
/// each grant from queue to queue.
#[derive(Debug)]
pub(crate) enum Ticket {
    /// The request came alone.
    One(Box<Requester>),
    /// The request of this index in a message that holds several.
    Item { batch: Arc<Batch>, index: u32 },
}

/// Whoever sent a message, and how it is answered.
#[derive(Debug)]
pub(crate) struct Requester {
    pub(crate) reply: Subject,
    pub(crate) form: Form,
    /// When the message was taken from the socket.
    pub(crate) received: Instant,
    /// The trace the message belongs to, where it said so.
    pub(crate) trace: Option<Arc<str>>,
}

/// A message with several requests: answered when the slowest is.
#[derive(Debug)]
pub(crate) struct Batch {
    requester: Requester,
    answers: Mutex<BatchAnswers>,
}

/// The answers of such a message, as far as they are known.
#[derive(Debug)]
pub(crate) struct BatchAnswers {
    parts: Parts,
    needs_lease: bool,
}

impl Ticket {
    /// For the request of this index in a message.
    pub(crate) fn item(batch: &Arc<Batch>, index: usize) -> Self {
        Self::Item { batch: Arc::clone(batch), index: index as u32 }
    }

    /// When the message was taken from the socket.
    pub(crate) fn received(&self) -> Instant {
        match self {
            Self::One(requester) => requester.received,
            Self::Item { batch, .. } => batch.requester.received,
        }
    }

    fn is_of(&self, message: &Arc<Batch>) -> bool {
        matches!(self, Self::Item { batch, .. } if Arc::ptr_eq(batch, message))
    }
}

impl Requester {
    /// Tells those who follow the trace.
    fn trace_answer(&self, granted: bool) {
        if let Some(trace) = &self.trace {
            let micros = self.received.elapsed().as_micros() as u64;
            tracing::info!(trace = &**trace, granted, micros, "answered");
        }
    }
}

/// An answer that owns what it says, but for the request's id perhaps.
#[derive(Debug, Clone)]
pub(crate) enum Answered<'a> {
    /// Just made durable, by this engine.
    Granted(FoundBooking, Position, Asked<'a>),
    /// Made earlier; whoever has the lease may tell of it.
    Found(FoundBooking, Position, Asked<'a>),
    /// An entry into the next release's draw, or its withdrawal; as above.
    Entered(FoundEntry, Position, Asked<'a>),
    Rejected(Asked<'a>, Rejection<'static>),
}

/// The id of the request that is answered; none: it has none that could be read, or it is
/// the one that made the booking.
pub(crate) type Asked<'a> = Option<Cow<'a, str>>;

/// The id of a request that goes away before its answer.
pub(crate) fn asked_by<'a>(request: &impl Request<'a>) -> Asked<'static> {
    request.request_id().map(|id| Cow::Owned(id.to_owned()))
}

/// An id that goes with the answer.
pub(crate) fn owned(request_id: Option<Box<str>>) -> Asked<'static> {
    request_id.map(|id| Cow::Owned(id.into_string()))
}

impl<'a> Answered<'a> {
    pub(crate) fn granted(found: FoundBooking, durable: Durable, asked: Asked<'a>) -> Self {
        Self::Granted(found, durable.position(), asked)
    }

    pub(crate) fn found(found: FoundBooking, durable: Durable, asked: Asked<'a>) -> Self {
        Self::Found(found, durable.position(), asked)
    }

    pub(crate) fn entered(entered: FoundEntry, durable: Durable, asked: Asked<'a>) -> Self {
        Self::Entered(entered, durable.position(), asked)
    }

    pub(crate) fn rejected(asked: Asked<'a>, rejection: Rejection<'static>) -> Self {
        Self::Rejected(asked, rejection)
    }

    pub(crate) fn settled(asked: Asked<'a>, settled: Settled, now: Timestamp) -> Self {
        match settled {
            Settled::Repeat(found, durable) => Self::found(found, durable, asked),
            Settled::Entered { waiting, opening, durable } => {
                Self::entered(FoundEntry { waiting, opening }, durable, asked)
            }
            Settled::Rejected(rejected, durable) => {
                Self::Rejected(asked, rejection(rejected, durable, now))
            }
        }
    }

    pub(crate) fn busy(asked: Asked<'a>, metrics: &Metrics) -> Self {
        metrics.rejected(Reason::Busy);
        Self::Rejected(asked, Rejection::new(Reason::Busy).retry_after_ms(retry_after_ms()))
    }

    /// A grant that is durable speaks for itself, and only its writer can tell
    /// of it. All else needs the lease, so that an engine that was deposed, and
    /// heard a request that its successor heard too, does not answer it a second
    /// time.
    fn needs_lease(&self) -> bool {
        !matches!(self, Self::Granted(..))
    }

    pub(crate) fn view(&self) -> Answer<'_> {
        match self {
            Self::Granted(found, as_of, asked) | Self::Found(found, as_of, asked) => {
                let granted = granted_view(&found.opening, &found.booking, *as_of);
                match asked {
                    Some(asked) => Answer { request_id: Some((&**asked).into()), ..granted },
                    None => granted,
                }
            }
            Self::Entered(entered, as_of, asked) => {
                let entry = &entered.waiting.entry;
                let asked = asked.as_deref().unwrap_or(&entry.request_id);
                Answer {
                    request_id: Some(asked.into()),
                    verdict: Verdict::Entered {
                        opening: entered.opening.id().into(),
                        receipt: entry.receipt,
                        as_of: *as_of,
                    },
                }
            }
            Self::Rejected(request_id, rejection) => Answer {
                request_id: request_id.as_deref().map(Into::into),
                verdict: Verdict::Rejected(rejection.clone()),
            },
        }
    }
}

/// The form of the answer to a payload that cannot be read.
pub(crate) fn form_of_unreadable(payload: &[u8]) -> Form {
    if payload.first() == Some(&BINARY_VERSION) { Form::Binary } else { Form::JsonOne }
}

pub(crate) fn retry_after_ms() -> u64 {
    rand::random_range(RETRY_AFTER_MS)
}

/// A rejection in its wire form, at the position it was true at.
pub(crate) fn rejection(
    rejected: giliran_allocator::Rejection,
    durable: Durable,
    now: Timestamp,
) -> Rejection<'static> {
    Rejection {
        reason: rejected.reason,
        detail: rejected.detail.map(Into::into),
        retry_after_ms: rejected.retry_after_ms,
        now: (rejected.reason == Reason::NotOpen).then_some(now),
        as_of: Some(durable.position()),
    }
}

/// The answer to the request that made a booking.
fn granted_view<'a>(opening: &'a Opening, booking: &'a Booking, as_of: Position) -> Answer<'a> {
    let booking = opening.view(booking);
    let request_id = Some(booking.request_id.clone());
    Answer { request_id, verdict: Verdict::Granted { booking, as_of } }
}

impl BatchAnswers {
    /// Puts the answer to the request of this index in its place.
    pub(crate) fn put(&mut self, index: usize, answered: &Answered<'_>) {
        self.needs_lease |= answered.needs_lease();
        self.parts.put(index, &answered.view());
    }
}

impl Batch {
    /// Without any answer to so many requests.
    pub(crate) fn new(requester: Requester, requests: usize) -> Self {
        let parts = Parts::new(requester.form, requests);
        Self { requester, answers: Mutex::new(BatchAnswers { parts, needs_lease: false }) }
    }

    /// Has answers put in their places; once none is missing, all of them go out. Whoever
    /// calls it has a ticket that was not settled before, or all of them.
    pub(crate) fn settle(&self, out: &mut Outbox, put: impl FnOnce(&mut BatchAnswers)) {
        // A panic elsewhere cannot leave the list half changed.
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        put(&mut answers);
        if answers.parts.is_complete() {
            out.batch(self.requester.reply.clone(), &mut answers);
        }
    }
}

/// Answers of one stretch of work, written into one buffer and sent together.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    buffer: Vec<u8>,
    messages: Vec<Outgoing>,
}

#[derive(Debug)]
struct Outgoing {
    reply: Subject,
    written: Written,
    needs_lease: bool,
}

/// Where a payload stands.
#[derive(Debug)]
enum Written {
    /// In the common buffer, up to here.
    UpTo(usize),
    /// By itself: the answers of a message that held several requests.
    Whole(Bytes),
}

/// What an answer takes in the binary form, about; for the room that is made beforehand.
const ANSWER_BYTES: usize = 192;

impl Outbox {
    /// An outbox with room for about so many answers.
    pub(crate) fn with_room_for(answers: usize) -> Self {
        Self {
            buffer: Vec::with_capacity(answers * ANSWER_BYTES),
            messages: Vec::with_capacity(answers),
        }
    }

    /// Adds a payload; `needs_lease`: holds a rejection that speaks of the ledger.
    pub(crate) fn push(
        &mut self,
        reply: Subject,
        needs_lease: bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        write(&mut self.buffer);
        let written = Written::UpTo(self.buffer.len());
        self.messages.push(Outgoing { reply, written, needs_lease });
    }

    /// Adds answers as one payload.
    pub(crate) fn answers(&mut self, reply: Subject, form: Form, answers: &[Answered<'_>]) {
        let needs_lease = answers.iter().any(Answered::needs_lease);
        self.push(reply, needs_lease, |out| match answers {
            [one] => answer::write(form, &[one.view()], out),
            many => {
                let views: Vec<_> = many.iter().map(Answered::view).collect();
                answer::write(form, &views, out);
            }
        });
    }

    /// Refuses an `availability`, whose answers have a form of their own in binary.
    pub(crate) fn no_overview(&mut self, reply: Subject, form: Form, refused: &Answered<'_>) {
        let Verdict::Rejected(rejection) = refused.view().verdict else { return };
        self.push(reply, refused.needs_lease(), |out| {
            answer::write(form, &[Overview::Rejected(rejection)], out);
        });
    }

    /// Adds the answers of a message with several requests, none of which is missing.
    fn batch(&mut self, reply: Subject, answers: &mut BatchAnswers) {
        let written = Written::Whole(answers.parts.take_payload().into());
        self.messages.push(Outgoing { reply, written, needs_lease: answers.needs_lease });
    }

    /// Puts an outcome where its ticket says.
    pub(crate) fn answer(&mut self, ticket: Ticket, answered: Answered<'_>) {
        let granted = !matches!(answered, Answered::Rejected(..));
        match ticket {
            Ticket::One(to) => {
                to.trace_answer(granted);
                self.answers(to.reply, to.form, &[answered]);
            }
            Ticket::Item { batch, index } => {
                batch.requester.trace_answer(granted);
                batch.settle(self, |answers| answers.put(index as usize, &answered));
            }
        }
    }

    /// Puts grants that are durable where their tickets say.
    pub(crate) fn granted(&mut self, grants: Grants<Ticket>, metrics: &Metrics) {
        let Grants { opening, bookings, durable } = grants;
        metrics.granted(bookings.len() as u64);
        let as_of = durable.position();
        let mut bookings = bookings.into_iter().peekable();
        while let Some((ticket, booking)) = bookings.next() {
            let (batch, index) = match ticket {
                Ticket::One(to) => {
                    to.trace_answer(true);
                    self.push(to.reply, false, |out| {
                        let answer = granted_view(&opening, &booking, as_of);
                        answer::write(to.form, &[answer], out);
                    });
                    continue;
                }
                Ticket::Item { batch, index } => (batch, index),
            };
            batch.requester.trace_answer(true);
            // Those of one message follow each other, most often.
            batch.settle(self, |answers| {
                let answer = granted_view(&opening, &booking, as_of);
                answers.parts.put(index as usize, &answer);
                while let Some((Ticket::Item { index, .. }, booking)) =
                    bookings.next_if(|(next, _)| next.is_of(&batch))
                {
                    batch.requester.trace_answer(true);
                    let answer = granted_view(&opening, &booking, as_of);
                    answers.parts.put(index as usize, &answer);
                }
            });
        }
    }

    /// Puts a sequencer's outcome where its ticket says.
    pub(crate) fn outcome(
        &mut self,
        ticket: Ticket,
        request_id: Option<Box<str>>,
        outcome: Outcome,
        now: Timestamp,
        metrics: &Metrics,
    ) {
        let answered = match outcome {
            Outcome::Adjusted(report, durable) => {
                return self.adjusted(ticket, &report, durable.position(), now);
            }
            Outcome::NotAdjusted(rejected, durable) => {
                return self.not_adjusted(ticket, rejection(rejected, durable, now));
            }
            Outcome::Changed(found, durable) => {
                metrics.changed();
                Answered::granted(found, durable, owned(request_id))
            }
            Outcome::Entered(entered, durable) => {
                if entered.waiting.is_live() {
                    metrics.entered();
                } else {
                    metrics.changed();
                }
                Answered::entered(entered, durable, owned(request_id))
            }
            Outcome::Granted(found, durable) => {
                metrics.granted(1);
                Answered::granted(found, durable, None)
            }
            Outcome::Settled(settled) => {
                metrics.settled(&settled);
                Answered::settled(owned(request_id), settled, now)
            }
            Outcome::Busy => Answered::busy(owned(request_id), metrics),
        };
        self.answer(ticket, answered);
    }

    /// An operator's action that is on record.
    fn adjusted(&mut self, ticket: Ticket, report: &AdminReport, as_of: Position, now: Timestamp) {
        let Ticket::One(to) = ticket else { return };
        let slot = |index: &u32| {
            let opening = report.opening.as_ref()?;
            Some(opening.slot_state(*index, now))
        };
        // What was done to a booking is told before what merely concerns it.
        let mut room = admin::MAX_LISTED;
        let mut listed = |found: &[FoundBooking]| {
            let listed = found.len().min(room);
            room -= listed;
            listed
        };
        let (moved, cancelled) = (listed(&report.moved), listed(&report.cancelled));
        let concerned = listed(&report.concerned);
        fn views(found: &[FoundBooking]) -> Vec<answer::Booking<'_>> {
            found.iter().map(|f| f.opening.view(&f.booking)).collect()
        }
        let report = admin::Report {
            outcome: if report.dry_run { admin::WOULD } else { admin::DONE }.into(),
            slots: report.slots.iter().filter_map(slot).collect(),
            concerned_count: report.concerned.len() as u64,
            concerned: views(&report.concerned[..concerned]),
            moved_count: report.moved.len() as u64,
            moved: views(&report.moved[..moved]),
            cancelled_count: report.cancelled.len() as u64,
            cancelled: views(&report.cancelled[..cancelled]),
            as_of,
            changes: report.changes.iter().map(|change| set(report, change)).collect(),
        };
        self.push(to.reply, false, |out| {
            answer::write(to.form, &[admin::Answer::Done(report)], out);
        });
    }

    pub(crate) fn not_adjusted(&mut self, ticket: Ticket, rejection: Rejection<'static>) {
        let Ticket::One(to) = ticket else { return };
        self.push(to.reply, true, |out| {
            answer::write(to.form, &[admin::Answer::Rejected(rejection)], out);
        });
    }

    /// Sends everything; rejections only while the lease stands.
    pub(crate) async fn send(self, client: &async_nats::Client, gate: &LeaseGuard) {
        let buffer = Bytes::from(self.buffer);
        let stands = gate.stands();
        let mut start = 0;
        for message in self.messages {
            let payload = match message.written {
                Written::Whole(payload) => payload,
                Written::UpTo(end) => buffer.slice(std::mem::replace(&mut start, end)..end),
            };
            if (stands || !message.needs_lease)
                && let Err(error) = client.publish(message.reply, payload).await
            {
                tracing::warn!(%error, "an answer could not be sent");
            }
        }
    }
}
/// What an action found and set, with the names of its slot.
fn set<'a>(report: &'a AdminReport, change: &'a AdminChange) -> admin::Change<'a> {
    let AdminChange { slot, action, before, after } = change;
    let slot = slot.and_then(|slot| Some(report.opening.as_ref()?.slot(slot)));
    admin::Change {
        action: (*action).into(),
        office: slot.map(|slot| slot.office.into()),
        date: slot.map(|slot| slot.date),
        session: slot.map(|slot| slot.session.into()),
        before: before.as_str().into(),
        after: after.as_str().into(),
    }
}
