//! Requests on their way to the engine: gathered in lanes, sent as batches, and each answer
//! handed to whoever waits for it.
//!
//! A batch is answered when its slowest request is. So requests go in lanes by what is expected
//! to become of them; a wrong guess costs time, never truth.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Message, Subject, Subscriber};
use futures_util::StreamExt;
use giliran_nats::clock::Moment;
use giliran_wire::answer::{self, Answer, Booking, Rejection, Verdict};
use giliran_wire::request::{MAX_BATCH, write_elements};
use giliran_wire::subject::Namespace;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::metrics::Metrics;

/// Least time between two batches of a lane; whoever comes meanwhile goes with the next one.
const BATCH_EVERY: Duration = Duration::from_millis(1);
/// Most bytes of a batch: far below the broker's smallest `max_payload`, answers included.
const BATCH_BYTES: usize = 256 * 1024;
/// Requests that wait in a lane; beyond that the gateway is overloaded.
const LANE_CAPACITY: usize = 65_536;
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

/// A request as one element of a binary payload, and who waits for its answer.
struct Item {
    request: Vec<u8>,
    waiter: oneshot::Sender<Heard>,
}

/// Batches that are not answered yet.
#[derive(Default)]
struct Pending {
    next: u64,
    batches: HashMap<u64, (Instant, Vec<oneshot::Sender<Heard>>)>,
}

/// The lanes of a connection.
#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: Vec<(Lane, mpsc::Sender<Item>)>,
}

impl Lanes {
    /// Opens the inbox and starts a task for each of these lanes. They end with the connection's
    /// subscription, or once these lanes are dropped.
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
        let answers = client.subscribe(format!("{inbox}.*")).await?;
        let pending = Arc::new(Mutex::new(Pending::default()));
        tokio::spawn(hand_out(answers, Arc::clone(&pending)));
        let lanes = lanes.iter().map(|lane| {
            let (sender, items) = mpsc::channel(LANE_CAPACITY);
            let sending = Sending {
                client: client.clone(),
                subject: namespace.request(lane.operation()).into(),
                inbox: inbox.clone(),
                pending: Arc::clone(&pending),
                metrics: metrics.clone(),
            };
            tokio::spawn(sending.run(items));
            (*lane, sender)
        });
        Ok(Self { lanes: lanes.collect() })
    }

    /// Hands a request to a lane; none: the lane is full, or was not started. The receiver
    /// fails where no answer will come.
    pub(crate) fn send(&self, lane: Lane, request: Vec<u8>) -> Option<oneshot::Receiver<Heard>> {
        let (waiter, heard) = oneshot::channel();
        let (_, items) = self.lanes.iter().find(|(of, _)| *of == lane)?;
        items.try_send(Item { request, waiter }).ok()?;
        Some(heard)
    }
}

/// The task of one lane.
struct Sending {
    client: Client,
    subject: Subject,
    inbox: String,
    pending: Arc<Mutex<Pending>>,
    metrics: Metrics,
}

impl Sending {
    async fn run(self, mut items: mpsc::Receiver<Item>) {
        let mut next_at = Instant::now();
        let mut left_over = None;
        loop {
            let first = match left_over.take() {
                Some(item) => item,
                None => match items.recv().await {
                    Some(item) => item,
                    None => return,
                },
            };
            if next_at > Instant::now() {
                sleep_until(next_at).await;
            }
            next_at = Instant::now() + BATCH_EVERY;
            let (payload, waiters);
            (payload, waiters, left_over) = gather(first, &mut items);
            self.send(payload, waiters).await;
        }
    }

    async fn send(&self, payload: Vec<u8>, waiters: Vec<oneshot::Sender<Heard>>) {
        // What a lost connection holds back would go out when nobody waits any more.
        if self.client.connection_state() != State::Connected {
            return nobody_there(waiters);
        }
        self.metrics.batch(waiters.len());
        let number = {
            let mut pending = held(&self.pending);
            let number = pending.next;
            pending.next += 1;
            pending.batches.insert(number, (Instant::now(), waiters));
            number
        };
        let reply = Subject::from(format!("{}.{number}", self.inbox));
        let sent =
            self.client.publish_with_reply(self.subject.clone(), reply, payload.into()).await;
        if sent.is_err()
            && let Some((_, waiters)) = held(&self.pending).batches.remove(&number)
        {
            nobody_there(waiters);
        }
    }
}

/// The payload of this item and those behind it, as many as fit; and one that does not.
fn gather(
    first: Item,
    items: &mut mpsc::Receiver<Item>,
) -> (Vec<u8>, Vec<oneshot::Sender<Heard>>, Option<Item>) {
    let mut requests = first.request;
    let mut waiters = vec![first.waiter];
    let mut left_over = None;
    while waiters.len() < MAX_BATCH
        && let Ok(item) = items.try_recv()
    {
        // Whoever does not wait any more needs no answer.
        if item.waiter.is_closed() {
            continue;
        }
        if requests.len() + item.request.len() > BATCH_BYTES {
            left_over = Some(item);
            break;
        }
        requests.extend_from_slice(&item.request);
        waiters.push(item.waiter);
    }
    (write_elements(waiters.len(), &requests), waiters, left_over)
}

fn nobody_there(waiters: Vec<oneshot::Sender<Heard>>) {
    for waiter in waiters {
        // Who does not wait any more does not need to know.
        let _ = waiter.send(Heard::NobodyThere);
    }
}

/// A panic elsewhere cannot leave the map half changed.
fn held(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands each answer to whoever waits for it, until the subscription ends.
async fn hand_out(mut answers: Subscriber, pending: Arc<Mutex<Pending>>) {
    let mut tidy = tokio::time::interval(FORGOTTEN_AFTER);
    loop {
        tokio::select! {
            message = answers.next() => match message {
                Some(message) => take(&message, &pending),
                None => return,
            },
            now = tidy.tick() => {
                let young = |sent: Instant| now.saturating_duration_since(sent) < FORGOTTEN_AFTER;
                held(&pending).batches.retain(|_, (sent, _)| young(*sent));
            }
        }
    }
}

fn take(message: &Message, pending: &Mutex<Pending>) {
    let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
    let Some((_, waiters)) = number.and_then(|number: u64| held(pending).batches.remove(&number))
    else {
        return;
    };
    // No responders.
    if message.payload.is_empty() {
        return nobody_there(waiters);
    }
    let came = Moment::now();
    match answer::read_binary::<Answer<'_>>(&message.payload) {
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

    fn item(request: Vec<u8>) -> (Item, oneshot::Receiver<Heard>) {
        let (waiter, heard) = oneshot::channel();
        (Item { request, waiter }, heard)
    }

    #[test]
    fn a_batch_is_what_the_engine_reads_without_those_who_went_away() {
        let (sender, mut items) = mpsc::channel(8);
        let (first, _first) = item(lookup("a"));
        let (second, gone) = item(lookup("b"));
        drop(gone);
        let (third, _third) = item(lookup("c"));
        for item in [second, third] {
            sender.try_send(item).unwrap_or_else(|_| panic!("it is full"));
        }
        let (payload, waiters, left_over) = gather(first, &mut items);
        assert_eq!(waiters.len(), 2);
        assert!(left_over.is_none());
        let Ok(Payload::Many(_, requests)) = read::<Lookup<'_>>(&payload) else { panic!() };
        let ids = requests.iter().map(|one| one.as_ref().unwrap().booking.clone().unwrap());
        assert_eq!(ids.map(|id| id.to_string()).collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn a_batch_has_bounds_and_loses_nobody() {
        let (sender, mut items) = mpsc::channel(MAX_BATCH * 2);
        let mut kept = Vec::new();
        for _ in 0..MAX_BATCH + 10 {
            let (item, heard) = item(lookup("a"));
            kept.push(heard);
            sender.try_send(item).unwrap_or_else(|_| panic!("it is full"));
        }
        let (first, _first) = item(lookup("a"));
        let (payload, waiters, _) = gather(first, &mut items);
        assert_eq!(waiters.len(), MAX_BATCH);
        assert!(read::<Lookup<'_>>(&payload).is_ok());
        let (long, _long) = item(vec![0; BATCH_BYTES]);
        let (_, waiters, left_over) = gather(long, &mut items);
        assert_eq!(waiters.len(), 1);
        assert!(left_over.is_some(), "the one that does not fit is kept");
        assert_eq!(items.len(), 10);
    }
}
