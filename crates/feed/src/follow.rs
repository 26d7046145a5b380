//! Following the ledger.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_nats::Client;
use giliran_broker::clock;
use giliran_broker::ledger::{self, Ledger};
use giliran_wire::Timestamp;
use giliran_wire::event::EventId;
use giliran_wire::ledger::Block;
use giliran_wire::subject::Domain;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::changes::{Changes, Outgoing};
use crate::publish::{Sent, Streams};
use crate::turn::Turn;
use crate::{FeedError, watching};

/// Blocks taken from the ledger at once.
const BLOCKS: usize = 64;
/// How long the next block is waited for between two looks at the outside.
const WAIT: Duration = Duration::from_millis(100);
/// How long the ledger may be out of reach before that shows; the reader survives
/// a broker's quick restart by itself.
const AWAY: Duration = Duration::from_secs(5);
/// How often free places are told, at most.
const COALESCE: Duration = Duration::from_millis(250);
/// How often it is looked whether the streams end as they were left.
const LOOK: Duration = Duration::from_secs(5);
/// Pause before a broker that was away, or a rival, is met again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a copy that waits looks whether it is its turn.
const TURN: Duration = Duration::from_millis(500);
/// How long the work in hand may take once an end is asked for.
const GRACE: Duration = Duration::from_millis(1_500);
/// How long giving back the turn may take then.
const FAREWELL: Duration = Duration::from_millis(300);
/// Openings closed for longer are not told of again at a start.
const LONG_CLOSED_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// Name of the feed's consumer.
const CONSUMER: &str = "giliran-feed";

/// How the feed is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// In a word or a sentence: `starting`, `waiting: another feed publishes`,
    /// `following`, `waiting behind … foreign messages …`,
    /// `reading the event stream again`, `broker unavailable: …`,
    /// `stopped`, `stopped: …`.
    pub state: String,
    /// Whether it does its work.
    pub ready: bool,
    /// The ledger sequence up to which every event is published.
    pub seq: u64,
    /// The ledger's last sequence, as last seen.
    pub tail: u64,
    /// Events published since the start.
    pub events: u64,
    /// Foreign messages met on the ledger since the start.
    pub foreign: u64,
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
    /// tried again for as long as it takes; where another copy publishes, this
    /// one waits.
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
        let mut turn = Turn::new(&self.client, &self.domain, ledger.replicas());
        // Ends with this function, however that ends.
        let mut beside = JoinSet::new();
        beside.spawn(watching::serve(self.client.clone(), self.domain.clone()));
        let ended = loop {
            let mut overdue = shutdown.clone();
            let ended = tokio::select! {
                ended = Box::pin(self.round(&ledger, &mut turn, &mut shutdown)) => ended,
                // Whatever is on its way may be left there: each event can only
                // be stored where it belongs.
                () = async { asked(&mut overdue).await; tokio::time::sleep(GRACE).await } => {
                    Ok(End::Asked)
                }
            };
            match ended {
                Ok(End::Asked) => break Ok(()),
                Ok(End::Anew) => self.say(false, "reading the event stream again".to_owned()),
                Err(FeedError::Broker(error)) => {
                    tracing::warn!(%error, "the feed is interrupted; trying on");
                    self.say(false, format!("broker unavailable: {error}"));
                }
                Err(error) => break Err(error),
            }
            tokio::select! {
                () = asked(&mut shutdown) => break Ok(()),
                () = tokio::time::sleep(PAUSE) => {}
            }
        };
        let _ = tokio::time::timeout(FAREWELL, turn.give_back()).await;
        match &ended {
            Ok(()) => self.say(false, "stopped".to_owned()),
            Err(error) => self.say(false, format!("stopped: {error}")),
        }
        ended
    }

    /// From a look at the event stream until the next one is needed.
    async fn round(
        &self,
        ledger: &Ledger,
        turn: &mut Turn,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<End, FeedError> {
        while !turn.take().await {
            self.say(false, "waiting: another feed publishes".to_owned());
            tokio::select! {
                () = asked(shutdown) => return Ok(End::Asked),
                () = tokio::time::sleep(TURN) => {}
            }
        }
        let mut streams = Streams::open(&self.client, &self.domain, ledger.replicas()).await?;
        let after = streams.resume().await?;
        // After the event stream: what another copy told is in the ledger by now.
        let newest = ledger.newest().await?;
        let (_, tail) = newest.tail().await?;
        let ledger = begin(&newest, after.as_ref()).await?;
        if let Some(after) = after {
            check(&ledger, &after, tail).await?;
        }
        self.status.send_modify(|status| status.tail = tail);
        let mut changes = Changes::new(self.domain.clone(), ledger.generation());
        let mut reader = ledger.durable_reader(CONSUMER, ledger.first()).await?;
        let mut begun = after.is_some_and(|after| after.seq >= ledger.first());
        let mut untold = BTreeMap::new();
        let (mut told, mut looked) = (Instant::now(), Instant::now());
        self.say(true, "following".to_owned());
        loop {
            let ending = *shutdown.borrow();
            let next = tokio::time::timeout(AWAY, reader.next_batch(BLOCKS, WAIT)).await;
            let away = |_| giliran_broker::Error::plain("the ledger is not to be had");
            for (seq, bytes) in next.map_err(away)?? {
                let doubted = changes.chain().doubt.is_some();
                let events = changes.fold(seq, &bytes, after)?;
                self.doubt(&mut changes, doubted);
                if !begun && changes.chain().is_open() {
                    begun = true;
                    whole(&ledger, changes.told(), events.len(), streams.stored())?;
                }
                if self.publish(&mut streams, events).await? == Sent::Elsewhere
                    || !turn.keep().await?
                {
                    return Ok(End::Anew);
                }
            }
            if self.settle(&mut streams).await? == Sent::Elsewhere || !turn.keep().await? {
                return Ok(End::Anew);
            }
            if changes.chain().is_sealed() {
                // Before the seal is acknowledged: from there on that is confirmed.
                reader.pass_seal(changes.chain().generation, changes.chain().seq).await?;
            }
            let seq = changes.chain().position().seq;
            reader.ack_through(seq).await?;
            self.status.send_modify(|status| {
                status.seq = seq;
                status.tail = status.tail.max(seq);
            });
            // What was free at some time before the start is no news.
            let caught_up = changes.chain().seq >= tail || changes.chain().is_sealed();
            if caught_up && turn.is_fresh() && (ending || told.elapsed() >= COALESCE) {
                told = Instant::now();
                let now = clock::now();
                let long_ago = Timestamp::from_millis(now.as_millis() - LONG_CLOSED_MS);
                untold.extend(changes.take_places(now, long_ago));
                if streams.tell(&untold).await? == Sent::All {
                    untold.clear();
                }
            }
            if ending {
                return Ok(End::Asked);
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                // The broker acknowledges before it syncs: after a crash it may
                // have lost what only the ledger can tell again.
                if !streams.stand().await? {
                    tracing::warn!("a stream does not end as it was left; telling anew");
                    return Ok(End::Anew);
                }
                let (_, tail) = reader.ledger().tail().await?;
                self.status.send_modify(|status| status.tail = status.tail.max(tail));
            }
        }
    }

    /// Sends a block's events.
    async fn publish(
        &self,
        streams: &mut Streams,
        events: Vec<Outgoing>,
    ) -> Result<Sent, FeedError> {
        let before = streams.stored();
        for event in events {
            if streams.publish(event).await? == Sent::Elsewhere {
                return Ok(Sent::Elsewhere);
            }
        }
        self.status.send_modify(|status| status.events += streams.stored() - before);
        Ok(Sent::All)
    }

    /// Waits until all that was sent is stored.
    async fn settle(&self, streams: &mut Streams) -> Result<Sent, FeedError> {
        let before = streams.stored();
        let settled = streams.settle(0).await?;
        self.status.send_modify(|status| status.events += streams.stored() - before);
        Ok(settled)
    }

    /// Says where foreign messages stand at the end of what was read, and where they
    /// turned out to be void.
    fn doubt(&self, changes: &mut Changes, doubted: bool) {
        for foreign in changes.take_foreign() {
            ledger::report(&foreign);
            self.status.send_modify(|status| status.foreign += 1);
        }
        match changes.chain().doubt {
            Some(doubt) => self.say(false, format!("waiting behind {doubt}")),
            None if doubted => self.say(true, "following".to_owned()),
            None => {}
        }
    }

    fn say(&self, ready: bool, state: String) {
        self.status.send_modify(|status| {
            status.ready = ready;
            status.state = state;
        });
    }
}

/// Resolves when an end is asked for; never where nobody is left to ask.
async fn asked(shutdown: &mut watch::Receiver<bool>) {
    if shutdown.wait_for(|asked| *asked).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The generation to begin with: the newest one that begins before what is to be
/// told next, if that is there; else the oldest.
async fn begin(newest: &Ledger, after: Option<&EventId>) -> Result<Ledger, FeedError> {
    let mut ledger = newest.newest_begun().await?;
    while after.is_none_or(|after| after.seq < ledger.first()) && ledger.generation() > 1 {
        let Some(before) = ledger.of_generation(ledger.generation() - 1).await? else { break };
        ledger = before;
    }
    Ok(ledger)
}

/// What was told before this generation must be on the event stream, unless that
/// is empty. `changes`: since the ledger's first block, of which the last block
/// made `last`.
fn whole(ledger: &Ledger, changes: u64, last: usize, stored: u64) -> Result<(), FeedError> {
    let before = changes - last as u64;
    if before == stored {
        return Ok(());
    }
    if stored == 0 {
        tracing::warn!(before, "the event stream begins with generation {}", ledger.generation());
        return Ok(());
    }
    Err(FeedError::Mismatch(format!(
        "the event stream holds {stored} events, and {before} belong before {}, the oldest stream \
         of the ledger that is there. Restore the generation before it from the archive, or delete \
         the event stream: the feed makes it anew and goes on from here",
        ledger.name()
    )))
}

/// The last event must come from this ledger.
async fn check(ledger: &Ledger, after: &EventId, tail: u64) -> Result<(), FeedError> {
    let mismatch = |what: String| {
        Err(FeedError::Mismatch(format!(
            "the event stream does not fit the ledger {}: its last event is {after}, but {what}. \
             Either stream was replaced or restored; begin with an empty event stream: delete this \
             one, the feed makes it anew and writes every event again",
            ledger.name()
        )))
    };
    if after.seq > tail {
        return mismatch(format!("the ledger ends at {tail}"));
    }
    if after.seq < ledger.first() {
        // Its generation is gone; the number of events is looked at instead.
        return match ledger.genesis().await? {
            Some((_, block)) if block.ledger == after.ledger => Ok(()),
            _ => mismatch("the ledger is another one".to_owned()),
        };
    }
    match ledger.read_at(after.seq).await? {
        Some(bytes) => match Block::open(&bytes) {
            Ok((block, _)) if block.ledger != after.ledger => {
                mismatch(format!("this is ledger {}", block.ledger))
            }
            Ok((block, _)) if after.n as usize >= block.entries.len() => {
                mismatch(format!("that block has {} entries", block.entries.len()))
            }
            Ok(_) => Ok(()),
            Err(error) => mismatch(format!("sequence {} cannot be read: {error}", after.seq)),
        },
        None => mismatch(format!("sequence {} is not in the ledger", after.seq)),
    }
}
