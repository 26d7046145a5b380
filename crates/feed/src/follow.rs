//! Following the ledger.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use async_nats::Client;
use giliran_broker::ledger::Ledger;
use giliran_wire::event::EventId;
use giliran_wire::subject::Domain;
use tokio::sync::watch;

use crate::FeedError;
use crate::changes::{Changes, Outgoing};
use crate::publish::{Sent, Streams, WINDOW};

/// Blocks taken from the ledger at once.
const BLOCKS: usize = 64;
/// How long the next block is waited for between two looks at the outside.
const WAIT: Duration = Duration::from_millis(100);
/// How often free places are told, at most.
const COALESCE: Duration = Duration::from_millis(250);
/// Pause before a broker that was away, or a rival, is met again.
const PAUSE: Duration = Duration::from_secs(1);
/// Name of the feed's consumer.
const CONSUMER: &str = "giliran-feed";

/// How the feed is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// In a word or a sentence: `starting`, `following`, `broker unavailable:
    /// …`, `stopped: …`.
    pub state: String,
    /// Whether it does its work.
    pub ready: bool,
    /// The ledger sequence up to which every event is published.
    pub seq: u64,
    /// The ledger's last sequence, as last seen.
    pub tail: u64,
    /// Events published since the start.
    pub events: u64,
}

/// Tells the ledger's changes; [`run`](Self::run) is its life.
#[derive(Debug)]
pub struct Feed {
    client: Client,
    domain: Domain,
    status: watch::Sender<Status>,
}

/// How a round of following ended.
enum End {
    Asked,
    /// Somebody else published, or it is not known what was stored.
    Anew,
}

impl Feed {
    /// Of a ledger that is not opened yet.
    pub fn new(client: Client, domain: Domain) -> Self {
        let status = Status { state: "starting".to_owned(), ..Status::default() };
        Self { client, domain, status: watch::Sender::new(status) }
    }

    /// Tells how it is doing, from now on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Follows the ledger until `shutdown` says true. A broker that is away is
    /// tried again for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`FeedError`] where ledger and event stream do not fit, or the ledger is
    /// damaged.
    pub async fn run(
        &self,
        ledger: Ledger,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), FeedError> {
        let ended = loop {
            match self.round(&ledger, &mut shutdown).await {
                Ok(End::Asked) => break Ok(()),
                Ok(End::Anew) => self.say(false, "reading the event stream again".to_owned()),
                Err(FeedError::Broker(error)) => {
                    tracing::warn!(%error, "the feed is interrupted; trying on");
                    self.say(false, format!("broker unavailable: {error}"));
                }
                Err(error) => break Err(error),
            }
            let _ = tokio::time::timeout(PAUSE, shutdown.changed()).await;
            if *shutdown.borrow() {
                break Ok(());
            }
        };
        match &ended {
            Ok(()) => self.say(false, "stopped".to_owned()),
            Err(error) => self.say(false, format!("stopped: {error}")),
        }
        ended
    }

    async fn round(
        &self,
        ledger: &Ledger,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<End, FeedError> {
        let mut streams = Streams::open(&self.client, &self.domain, ledger.replicas()).await?;
        let (_, tail) = ledger.tail().await?;
        let (mut last, after) = streams.last().await?;
        if let Some(after) = after {
            check(ledger, &after, tail).await?;
        }
        let mut changes = Changes::new(self.domain.clone());
        let mut reader = ledger.durable_reader(CONSUMER, 1).await?;
        let mut waiting: VecDeque<Outgoing> = VecDeque::new();
        let mut untold: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut told = Instant::now();
        self.status.send_modify(|status| status.tail = tail);
        self.say(true, "following".to_owned());
        loop {
            if *shutdown.borrow() {
                return Ok(End::Asked);
            }
            for (seq, bytes) in reader.next_batch(BLOCKS, WAIT).await? {
                waiting.extend(changes.fold(seq, &bytes, after)?);
            }
            while !waiting.is_empty() {
                let window: Vec<Outgoing> = waiting.drain(..waiting.len().min(WINDOW)).collect();
                match streams.events(last, &window).await? {
                    Sent::All => last += window.len() as u64,
                    Sent::Elsewhere => return Ok(End::Anew),
                }
                self.status.send_modify(|status| status.events += window.len() as u64);
            }
            let seq = changes.chain().seq;
            reader.ack_through(seq).await?;
            self.status.send_modify(|status| {
                status.seq = seq;
                status.tail = status.tail.max(seq);
            });
            if told.elapsed() >= COALESCE {
                told = Instant::now();
                untold.extend(changes.take_stirred());
                if !untold.is_empty() && matches!(streams.availability(&untold).await?, Sent::All) {
                    untold.clear();
                }
            }
        }
    }

    fn say(&self, ready: bool, state: String) {
        self.status.send_modify(|status| {
            status.ready = ready;
            status.state = state;
        });
    }
}

/// The last event must come from this ledger.
async fn check(ledger: &Ledger, after: &EventId, tail: u64) -> Result<(), FeedError> {
    let mismatch = |what: String| {
        Err(FeedError::Mismatch(format!(
            "the event stream does not fit the ledger {}: its last event is {after}, but {what}. \
             Either stream was replaced or restored; begin with an empty event stream",
            ledger.name()
        )))
    };
    if after.seq > tail {
        return mismatch(format!("the ledger ends at {tail}"));
    }
    match ledger.read_at(after.seq).await? {
        Some(bytes) => match giliran_wire::ledger::Block::open(&bytes) {
            Ok((block, _)) if block.ledger == after.ledger => Ok(()),
            Ok((block, _)) => mismatch(format!("this is ledger {}", block.ledger)),
            Err(error) => mismatch(format!("sequence {} cannot be read: {error}", after.seq)),
        },
        None => mismatch(format!("sequence {} is not in the ledger", after.seq)),
    }
}
