//! Requests on their way to the engine: gathered in lanes, sent as batches, and each answer
//! handed to whoever waits for it.
//!
//! A batch is answered when its slowest request is. So requests go in lanes by what is expected
//! to become of them; a wrong guess costs time, never truth.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Message, Subject, Subscriber};
use futures_util::{FutureExt as _, StreamExt as _};
use giliran_nats::clock::Moment;
use giliran_wire::answer::{self, Answer, Booking, Rejection, Verdict};
use giliran_wire::request::{MAX_BATCH, write_elements};
use giliran_wire::subject::Namespace;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::metrics::Metrics;

/// Longest time that a request waits for others to go with it, while a message of its lane is
/// under way; otherwise it goes at once.
const GATHERED_FOR: Duration = Duration::from_millis(4);
/// Most bytes of a batch: far below the broker's smallest `max_payload`, answers included.
const BATCH_BYTES: usize = 256 * 1024;
/// How long the answer to a batch is waited for; its callers have asked again long before.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// Where a request goes, and with which others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// A booking that will probably be granted: its answer waits for a block.
    Grant,
    /// A booking that will probably be refused: its answer waits for nothing.
    Refusal,
    Lookup,
    Cancel,
    Reschedule,
    /// That a held booking is paid: the payment side's alone.
    Confirm,
}

impl Lane {
    /// Those of requests that everybody may send.
    pub(crate) const PUBLIC: [Self; 5] =
        [Self::Grant, Self::Refusal, Self::Lookup, Self::Cancel, Self::Reschedule];

    /// The operation that its requests are of, as subjects name it.
    const fn operation(self) -> &'static str {
        match self {
            Self::Grant | Self::Refusal => "book",
            Self::Lookup => "lookup",
            Self::Cancel => "cancel",
            Self::Reschedule => "reschedule",
            Self::Confirm => "confirm",
        }
    }
}

/// What came of sending a request.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The engine's answer, and when it came.
    Answer(Box<Answer<'static>>, Moment),
    /// No engine is active, or the broker is away.
    NobodyThere,
}

/// Waits for the answer to one request.
type Waiter = oneshot::Sender<Heard>;

/// Requests that go together, each an element of a binary payload, and who waits for their
/// answers.
#[derive(Debug, Default)]
struct Collected {
    requests: Vec<u8>,
    waiters: Vec<Waiter>,
}

impl Collected {
    fn has_room_for(&self, request: &[u8]) -> bool {
        self.waiters.len() < MAX_BATCH && self.requests.len() + request.len() <= BATCH_BYTES
    }

    fn add(&mut self, request: &[u8], waiter: Waiter) {
        self.requests.extend_from_slice(request);
        self.waiters.push(waiter);
    }
}

/// A message that is not sent yet, and the number under which its answer is waited for.
#[derive(Debug)]
struct Batch {
    number: u64,
    requests: usize,
    payload: Vec<u8>,
}

/// What a lane has not sent yet, and what it has sent and was not answered.
#[derive(Debug, Default)]
struct Queue {
    gathered: Collected,
    /// Who waits for each message, by its number, and since when.
    under_way: HashMap<u64, (Instant, Vec<Waiter>)>,
    next: u64,
}

impl Queue {
    /// Adds a request; gives what is to be sent now, and whether this one begins a batch that
    /// is to be sent later.
    fn add(&mut self, request: &[u8], waiter: Waiter) -> ([Option<Batch>; 2], bool) {
        let full = if self.gathered.has_room_for(request) { None } else { self.taken() };
        let (is_idle, begins) = (self.under_way.is_empty(), self.gathered.waiters.is_empty());
        self.gathered.add(request, waiter);
        let now = if is_idle { self.taken() } else { None };
        ([full, now], begins && !is_idle)
    }

    /// What is gathered, as one message; from now on it is under way.
    fn taken(&mut self) -> Option<Batch> {
        let Collected { requests, waiters } = &mut self.gathered;
        if waiters.is_empty() {
            return None;
        }
        let payload = write_elements(waiters.len(), requests);
        requests.clear();
        // The next one will have about as many.
        let next = Vec::with_capacity(waiters.len());
        let (waiters, number) = (std::mem::replace(waiters, next), self.next);
        let batch = Batch { number, requests: waiters.len(), payload };
        self.next += 1;
        self.under_way.insert(number, (Instant::now(), waiters));
        Some(batch)
    }

    /// Who waits for the answer to this message; it is not under way any more.
    fn answered(&mut self, number: u64) -> Option<Vec<Waiter>> {
        self.under_way.remove(&number).map(|(_, waiters)| waiters)
    }
}

/// The requests of a lane on their way.
struct Sending {
    lane: Lane,
    client: Client,
    subject: Subject,
    /// What the subjects of its answers begin with; the message's number follows.
    replies: String,
    queue: Mutex<Queue>,
    /// A batch begins that is to be sent later.
    begins: Notify,
    metrics: Metrics,
}

impl Sending {
    /// A panic elsewhere cannot leave the queue half changed.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request at once where nothing is under way, else with those that come meanwhile.
    fn send(self: &Arc<Self>, request: &[u8]) -> oneshot::Receiver<Heard> {
        let (waiter, heard) = oneshot::channel();
        let (now, begins) = self.queue().add(request, waiter);
        if begins {
            self.begins.notify_one();
        }
        now.into_iter().flatten().for_each(|batch| self.publish(batch));
        heard
    }

    /// Sees to it that nothing is gathered for longer than it may be.
    async fn run(self: Arc<Self>) {
        loop {
            self.begins.notified().await;
            sleep(GATHERED_FOR).await;
            let batch = self.queue().taken();
            batch.into_iter().for_each(|batch| self.publish(batch));
        }
    }

    fn publish(self: &Arc<Self>, batch: Batch) {
        // What a lost connection holds back would go out when nobody waits any more.
        if self.client.connection_state() != State::Connected {
            return self.nobody_there(batch.number);
        }
        self.metrics.batch(batch.requests);
        let sending = Arc::clone(self);
        let mut publish = Box::pin(async move {
            let reply = Subject::from(format!("{}{}", sending.replies, batch.number));
            let (client, subject) = (&sending.client, sending.subject.clone());
            let sent = client.publish_with_reply(subject, reply, batch.payload.into()).await;
            if sent.is_err() {
                sending.nobody_there(batch.number);
            }
        });
        // The client has room for it; where it does not, nobody waits for that here.
        if (&mut publish).now_or_never().is_none() {
            tokio::spawn(publish);
        }
    }

    fn nobody_there(&self, number: u64) {
        let waiters = self.queue().answered(number);
        for waiter in waiters.into_iter().flatten() {
            // Who does not wait any more does not need to know.
            let _ = waiter.send(Heard::NobodyThere);
        }
    }

    /// Hands the answers of a message to those who wait for them, and sends what was gathered
    /// meanwhile, unless more is under way.
    fn answered(self: &Arc<Self>, number: u64, payload: &[u8]) {
        // No responders.
        if payload.is_empty() {
            return self.nobody_there(number);
        }
        let came = Moment::now();
        let (waiters, batch) = {
            let mut queue = self.queue();
            let waiters = queue.answered(number);
            (waiters, if queue.under_way.is_empty() { queue.taken() } else { None })
        };
        batch.into_iter().for_each(|batch| self.publish(batch));
        let Some(waiters) = waiters else { return };
        match answer::read_binary::<Answer<'_>>(payload) {
            Ok(answers) if answers.len() == waiters.len() => {
                for (waiter, answer) in waiters.into_iter().zip(answers) {
                    let _ = waiter.send(Heard::Answer(Box::new(owned(answer)), came));
                }
            }
            // The waiters find their senders gone: no answer settles nothing.
            Ok(answers) => {
                let (given, asked) = (answers.len(), waiters.len());
                tracing::error!(given, asked, "an answer of another number than was asked");
            }
            Err(error) => tracing::error!(%error, "an answer that cannot be read"),
        }
    }
}

/// The lanes of a connection.
pub(crate) struct Lanes {
    lanes: Arc<[Arc<Sending>]>,
    _running: JoinSet<()>,
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lanes.iter().map(|sending| sending.lane)).finish()
    }
}

impl Lanes {
    /// Opens the inbox of these lanes. What runs for them ends once they are dropped.
    ///
    /// # Errors
    ///
    /// Where the inbox cannot be subscribed to.
    pub(crate) async fn start(
        client: &Client,
        namespace: &Namespace,
        lanes: &[Lane],
        metrics: &Metrics,
    ) -> Result<Self, async_nats::SubscribeError> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*.*")).await?;
        let sending = |(index, lane): (usize, &Lane)| {
            Arc::new(Sending {
                lane: *lane,
                client: client.clone(),
                subject: namespace.request(lane.operation()).into(),
                replies: format!("{inbox}.{index}."),
                queue: Mutex::default(),
                begins: Notify::new(),
                metrics: metrics.clone(),
            })
        };
        let lanes: Arc<[_]> = lanes.iter().enumerate().map(sending).collect();
        let mut running = JoinSet::new();
        for sending in lanes.iter() {
            running.spawn(Arc::clone(sending).run());
        }
        running.spawn(hand_out(answers, Arc::clone(&lanes)));
        Ok(Self { lanes, _running: running })
    }

    /// Sends a request. The receiver fails where no answer will come.
    pub(crate) fn send(&self, lane: Lane, request: &[u8]) -> oneshot::Receiver<Heard> {
        match self.lanes.iter().find(|sending| sending.lane == lane) {
            Some(sending) => sending.send(request),
            None => oneshot::channel().1,
        }
    }
}

/// Hands each answer to whoever waits for it, until the subscription ends.
async fn hand_out(mut answers: Subscriber, lanes: Arc<[Arc<Sending>]>) {
    let mut tidy = tokio::time::interval(FORGOTTEN_AFTER);
    loop {
        tokio::select! {
            message = answers.next() => match message {
                Some(message) => take(&message, &lanes),
                None => return,
            },
            now = tidy.tick() => {
                let young = |sent: Instant| now.saturating_duration_since(sent) < FORGOTTEN_AFTER;
                for sending in lanes.iter() {
                    sending.queue().under_way.retain(|_, (sent, _)| young(*sent));
                }
            }
        }
    }
}

fn take(message: &Message, lanes: &[Arc<Sending>]) {
    let mut parts = message.subject.rsplit('.');
    let number = parts.next().and_then(|number| number.parse().ok());
    let index = parts.next().and_then(|index| index.parse().ok());
    let sending = index.and_then(|index: usize| lanes.get(index));
    if let (Some(sending), Some(number)) = (sending, number) {
        sending.answered(number, &message.payload);
    }
}

/// A copy that does not borrow from the message.
fn owned(answer: Answer<'_>) -> Answer<'static> {
    let verdict = match answer.verdict {
        Verdict::Granted { booking, as_of } => {
            Verdict::Granted { booking: owned_booking(booking), as_of }
        }
        Verdict::Rejected(rejection) => Verdict::Rejected(Rejection {
            detail: rejection.detail.map(|detail| detail.into_owned()),
            reason: rejection.reason,
            retry_after_ms: rejection.retry_after_ms,
            now: rejection.now,
            as_of: rejection.as_of,
        }),
        Verdict::Entered { opening, receipt, as_of } => {
            Verdict::Entered { opening: opening.into_owned(), receipt, as_of }
        }
    };
    Answer { request_id: answer.request_id.map(|id| id.into_owned()), verdict }
}

fn owned_booking(booking: Booking<'_>) -> Booking<'static> {
    Booking {
        id: booking.id,
        version: booking.version,
        status: booking.status,
        opening: booking.opening.into_owned(),
        office: booking.office.into_owned(),
        date: booking.date,
        session: booking.session.into_owned(),
        numbers: booking.numbers,
        request_id: booking.request_id.into_owned(),
        reference: booking.reference.map(|text| text.into_owned()),
        channel: booking.channel.map(|text| text.into_owned()),
        granted_at: booking.granted_at,
        hold_expires_at: booking.hold_expires_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use giliran_wire::request::{Lookup, Payload, element, read};

    fn lookup(id: &str) -> Vec<u8> {
        let applicant = "2171012345678901".into();
        element(&Lookup { booking: Some(id.into()), request_id: None, applicant, opening: None })
    }

    /// Adds a request that nobody waits for; the messages that are to be sent now, and whether
    /// one is to be sent later.
    fn add(queue: &mut Queue, request: &[u8]) -> (Vec<Batch>, bool) {
        let (now, later) = queue.add(request, oneshot::channel().0);
        (now.into_iter().flatten().collect(), later)
    }

    fn ids(batch: &Batch) -> Vec<String> {
        let Ok(Payload::Many(_, requests)) = read::<Lookup<'_>>(&batch.payload) else { panic!() };
        assert_eq!(requests.len(), batch.requests);
        let ids = requests.iter().map(|one| one.as_ref().unwrap().booking.clone().unwrap());
        ids.map(|id| id.to_string()).collect()
    }

    #[test]
    fn a_request_goes_at_once_and_those_that_come_meanwhile_go_together() {
        let mut queue = Queue::default();
        let (first, later) = add(&mut queue, &lookup("a"));
        assert!(first.len() == 1 && ids(&first[0]) == ["a"] && !later);
        for (id, begins) in [("b", true), ("c", false)] {
            let (now, later) = add(&mut queue, &lookup(id));
            assert!(now.is_empty() && later == begins, "{id}");
        }
        assert_eq!(queue.answered(first[0].number).map(|waiters| waiters.len()), Some(1));
        let second = queue.taken().unwrap();
        assert_eq!(ids(&second), ["b", "c"]);
        assert!(queue.taken().is_none());
        // Nothing is under way any more.
        assert_eq!(queue.answered(second.number).map(|waiters| waiters.len()), Some(2));
        assert!(queue.answered(second.number).is_none());
        let (third, _) = add(&mut queue, &lookup("d"));
        assert_eq!(ids(&third[0]), ["d"]);
    }

    #[test]
    fn a_batch_has_bounds_and_loses_nobody() {
        let mut queue = Queue::default();
        add(&mut queue, &lookup("under way"));
        let mut sent = Vec::new();
        for _ in 0..2 * MAX_BATCH + 10 {
            sent.extend(add(&mut queue, &lookup("a")).0);
        }
        let sizes = sent.iter().map(|batch| ids(batch).len()).collect::<Vec<_>>();
        assert_eq!(sizes, [MAX_BATCH, MAX_BATCH]);
        let (full, later) = add(&mut queue, &vec![0; BATCH_BYTES]);
        assert!(full.len() == 1 && ids(&full[0]).len() == 10 && later);
        assert_eq!(queue.taken().map(|batch| batch.requests), Some(1));
    }
}
