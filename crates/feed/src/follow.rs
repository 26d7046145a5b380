//! Following the ledger.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use async_nats::Client;
use giliran_nats::clock;
use giliran_nats::follower::{Follower, Health, Passes, View, overdue};
use giliran_nats::ledger::Ledger;
use giliran_nats::ledger::reader::Durable;
use giliran_nats::state::State;
use giliran_wire::Timestamp;
use giliran_wire::event::EventId;
use giliran_wire::ledger::Block;
use giliran_wire::subject::Namespace;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::events::{EventBuilder, Outgoing};
use crate::publish::{In, Sent, Streams};
use crate::turn::Turn;
use crate::{FeedError, Mismatch, Misplaced, watching};

/// Blocks taken from the ledger at once.
const BLOCKS: usize = 64;
/// How long the next block is waited for between two looks at the outside.
const WAIT: Duration = Duration::from_millis(100);
/// How often free places are told, at most.
const COALESCE: Duration = Duration::from_millis(250);
/// How often it is said how far the ledger is told.
const POSITION: Duration = Duration::from_secs(1);
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

/// Tells the ledger's changes; [`run`](Self::run) is its life.
#[derive(Debug)]
pub struct Feed {
    client: Client,
    namespace: Namespace,
    health: Health,
}

/// How a pass of following ended.
enum End {
    Asked,
    /// Somebody else published, or it is not known what was stored.
    Anew,
}

impl Feed {
    /// Of a ledger at this broker that is not opened yet. Within a runtime.
    pub fn new(client: Client, namespace: Namespace) -> Self {
        let health = Health::new(&client, &namespace, "feed");
        Self { client, namespace, health }
    }

    /// What there is to see of it.
    pub fn view(&self) -> View {
        self.health.view()
    }

    /// Follows the ledger until `shutdown` is cancelled. A broker that is away is waited
    /// for; and so is what somebody has to mend, as an event stream that does not fit
    /// the ledger. It says meanwhile what is wrong. Where another copy publishes, this
    /// one waits.
    ///
    /// # Errors
    ///
    /// [`FeedError`] where no waiting mends it.
    pub async fn run(&self, ledger: Ledger, shutdown: CancellationToken) -> Result<(), FeedError> {
        let mut turn = Turn::new(&self.client, &self.namespace, ledger.replicas());
        // Ends with this function, however that ends.
        let mut beside = JoinSet::new();
        for watch in watching::of(&self.namespace) {
            beside.spawn(watching::serve(self.client.clone(), watch));
        }
        let mut passes = Passes::new(&self.health, &shutdown);
        let ended = loop {
            let pass = Box::pin(self.passes(&ledger, &mut turn, &shutdown)).await;
            if let ControlFlow::Break(ended) = passes.after(pass).await {
                break ended;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, turn.give_back()).await;
        self.health.ended(&ended);
        ended
    }

    async fn passes(
        &self,
        ledger: &Ledger,
        turn: &mut Turn,
        shutdown: &CancellationToken,
    ) -> Result<(), FeedError> {
        let mut refused = None;
        loop {
            let ended = tokio::select! {
                ended = Box::pin(self.pass(ledger, turn, &mut refused, shutdown)) => ended?,
                // Whatever is on its way may be left there: each event can only
                // be stored where it belongs.
                () = overdue(shutdown, GRACE) => End::Asked,
            };
            if matches!(ended, End::Asked) {
                return Ok(());
            }
            let detail = match &refused {
                Some(why) => format!("the broker refuses an event: {why}"),
                None => "reading the event stream again".to_owned(),
            };
            self.health.set_state(State::Resyncing, detail);
            let _ = tokio::time::timeout(PAUSE, shutdown.cancelled()).await;
        }
    }

    /// From a look at the event stream until the next one is needed. `refused`: why the
    /// broker took no event, until it takes one.
    async fn pass(
        &self,
        ledger: &Ledger,
        turn: &mut Turn,
        refused: &mut Option<String>,
        shutdown: &CancellationToken,
    ) -> Result<End, FeedError> {
        while !turn.take().await? {
            self.health.set_state(State::Waiting, "another feed publishes");
            if tokio::time::timeout(TURN, shutdown.cancelled()).await.is_ok() {
                return Ok(End::Asked);
            }
        }
        let mut telling = Box::pin(self.begin(ledger, turn)).await?;
        if refused.is_none() {
            self.health.set_state(State::Following, "");
        }
        let (mut interrupted, mut looked) = (false, Instant::now());
        loop {
            let ending = shutdown.is_cancelled();
            if interrupted {
                if ending {
                    return Ok(End::Asked);
                }
                self.health.set_state(State::Resyncing, "interrupted; checking the streams' ends");
                match telling.goes_on().await? {
                    Some(true) => {
                        interrupted = false;
                        self.health.set_state(State::Following, "");
                    }
                    Some(false) => return Ok(End::Anew),
                    None => tokio::time::sleep(WAIT).await,
                }
                continue;
            }
            if telling.pass().await? == Sent::Elsewhere {
                *refused = telling.streams.refused();
                return Ok(End::Anew);
            }
            // Where it is not kept nothing is on its way: it goes on from here once it is
            // held again, unless another copy has gone on meanwhile.
            let kept = telling.turn.keep().await;
            if !matches!(kept, Ok(true)) {
                tracing::debug!(?kept, "the feed is interrupted");
                interrupted = true;
                continue;
            }
            telling.acknowledge().await?;
            if telling.is_at_the_tail() && refused.take().is_some() {
                self.health.set_state(State::Following, "");
            }
            telling.tell_buckets(ending).await?;
            if ending {
                return Ok(End::Asked);
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                // The broker acknowledges before it syncs: after a crash it may
                // have lost what only the ledger can tell again.
                match telling.streams.verify_tail().await {
                    Ok(true) => {}
                    Ok(false) => {
                        tracing::warn!("a stream does not end as it was left; telling anew");
                        return Ok(End::Anew);
                    }
                    Err(_) => interrupted = true,
                }
            }
        }
    }

    /// Looks where the event stream ends, and where in the ledger that is.
    async fn begin<'a>(
        &'a self,
        ledger: &Ledger,
        turn: &'a mut Turn,
    ) -> Result<Telling<'a>, FeedError> {
        let mut streams = Streams::open(&self.client, &self.namespace, ledger.replicas()).await?;
        let last = streams.resume().await?;
        let after = last.as_ref().map(|(id, _)| *id);
        // After the event stream: what another copy told is in the ledger by now.
        let newest = ledger.newest().await?;
        let (_, tail) = newest.tail().await?;
        let ledger = begin(&newest, after.as_ref()).await?;
        if let Some(after) = after {
            check(&ledger, &after, tail).await?;
        }
        let durable = Durable { name: CONSUMER.to_owned(), description: "giliran feed".to_owned() };
        let (watch, from) = (self.health.watch(), ledger.first());
        let follower = Follower::new(watch, ledger.clone(), from, Some(durable));
        let begun = after.is_some_and(|after| after.seq >= ledger.first());
        let mut changes = EventBuilder::new(self.namespace.clone(), ledger.generation());
        if let Some((id, Some(about))) = last {
            changes = changes.expecting(id, about);
        }
        changes.found_in_catalogue(streams.openings_there().await?);
        let (unpublished, published, said) = (Unpublished::default(), Instant::now(), None);
        let health = &self.health;
        let first = ledger;
        Ok(Telling {
            health,
            turn,
            streams,
            follower,
            first,
            changes,
            after,
            tail,
            begun,
            unpublished,
            published,
            said,
        })
    }
}

/// What is on its way from the ledger to the streams.
struct Telling<'a> {
    health: &'a Health,
    turn: &'a mut Turn,
    streams: Streams,
    follower: Follower,
    /// The generation that was begun with.
    first: Ledger,
    changes: EventBuilder,
    /// The last event that was told before.
    after: Option<EventId>,
    /// Where the ledger ended at the begin.
    tail: u64,
    /// What the generation begins with has been held against the event stream.
    begun: bool,
    /// What is not told yet, and when something was last.
    unpublished: Unpublished,
    published: Instant,
    /// When it was last said how far all is told.
    said: Option<Instant>,
}

/// Keys and values that are not in their buckets yet.
#[derive(Default)]
struct Unpublished {
    openings: BTreeMap<String, Vec<u8>>,
    places: BTreeMap<String, Vec<u8>>,
}

impl Telling<'_> {
    /// Reads the next blocks, and waits until their events are stored.
    async fn pass(&mut self) -> Result<Sent, FeedError> {
        let mut kept = true;
        for (seq, bytes) in self.follower.next(self.changes.chain(), BLOCKS, WAIT).await? {
            let events = self.changes.fold(seq, &bytes, self.after)?;
            for foreign in self.changes.take_foreign() {
                self.health.foreign(&foreign);
            }
            self.health.in_doubt(self.changes.chain());
            if !self.begun && self.changes.chain().is_open() {
                self.begun = true;
                whole(&self.first, self.changes.published(), events.len(), self.streams.stored())?;
            }
            if self.publish(events).await? == Sent::Elsewhere {
                return Ok(Sent::Elsewhere);
            }
            // On a slow machine so many blocks take longer than the lease lasts.
            kept = kept && matches!(self.turn.keep().await, Ok(true));
        }
        let before = self.streams.stored();
        let settled = self.streams.settle(0).await?;
        self.health.count(self.streams.stored() - before);
        Ok(settled)
    }

    /// Sends a block's events.
    async fn publish(&mut self, events: Vec<Outgoing>) -> Result<Sent, FeedError> {
        let before = self.streams.stored();
        for event in events {
            if self.streams.publish(event).await? == Sent::Elsewhere {
                return Ok(Sent::Elsewhere);
            }
        }
        self.health.count(self.streams.stored() - before);
        Ok(Sent::All)
    }

    /// Says how far all is told.
    async fn acknowledge(&mut self) -> Result<(), FeedError> {
        let goes_on = match self.follower.rebuilt() {
            Some(begin) => self.changes.goes_on_in(begin)?,
            None => false,
        };
        let chain = self.changes.chain();
        if chain.is_sealed() || goes_on {
            // Before the seal is acknowledged: from there on that is confirmed.
            self.follower.pass_seal(chain.generation, chain.seq).await?;
        }
        self.follower.ack_through(chain.position().seq).await?;
        self.health.stands(chain);
        Ok(())
    }

    /// What was there at the begin is told.
    fn is_at_the_tail(&self) -> bool {
        let chain = self.changes.chain();
        chain.seq >= self.tail || chain.is_sealed()
    }

    /// Tells the openings and the free places that have changed, now and then.
    async fn tell_buckets(&mut self, at_once: bool) -> Result<(), FeedError> {
        // What was free at some time before the start is no news.
        let due = at_once || self.published.elapsed() >= COALESCE;
        if !(self.is_at_the_tail() && due && self.turn.is_fresh()) {
            return Ok(());
        }
        self.published = Instant::now();
        let now = clock::now();
        let long_ago = Timestamp::from_millis(now.as_millis() - LONG_CLOSED_MS);
        self.unpublished.openings.extend(self.changes.take_catalogue(now, long_ago));
        self.unpublished.places.extend(self.changes.take_places(now, long_ago));
        // Whoever meets a place finds its opening.
        for (bucket, unpublished) in [
            (In::Openings, &mut self.unpublished.openings),
            (In::Places, &mut self.unpublished.places),
        ] {
            if self.streams.put(bucket, unpublished).await? == Sent::All {
                unpublished.clear();
            }
        }
        self.say_position().await
    }

    /// Says how far all is told, where it is.
    async fn say_position(&mut self) -> Result<(), FeedError> {
        let due = self.said.is_none_or(|said| said.elapsed() >= POSITION);
        if due && self.unpublished.openings.is_empty() && self.unpublished.places.is_empty() {
            self.said = Some(Instant::now());
            let (subject, as_of) = self.changes.position();
            self.streams.say_position(subject, as_of).await?;
        }
        Ok(())
    }

    /// Whether it can go on where it was interrupted with nothing on its way; none:
    /// not yet.
    async fn goes_on(&mut self) -> Result<Option<bool>, FeedError> {
        let watch = self.health.watch();
        watch.check()?;
        if watch.seen().trouble.is_some() {
            return Ok(None);
        }
        match self.turn.take().await {
            // A stream that is gone is made anew.
            Ok(true) => Ok(Some(self.streams.verify_tail().await.unwrap_or(false))),
            Ok(false) => Ok(Some(false)),
            Err(_) => Ok(None),
        }
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
    let stream = ledger.name().to_owned();
    Err(Mismatch::EventCount { stored, expected: before, stream }.into())
}

/// The last event must come from this ledger.
async fn check(ledger: &Ledger, after: &EventId, tail: u64) -> Result<(), FeedError> {
    match misplaced(ledger, after, tail).await? {
        None => Ok(()),
        Some(why) => {
            let stream = ledger.name().to_owned();
            Err(Mismatch::LastEvent { stream, event: *after, why }.into())
        }
    }
}

/// Why the last event does not come from this ledger; none: it does.
async fn misplaced(
    ledger: &Ledger,
    after: &EventId,
    tail: u64,
) -> Result<Option<Misplaced>, FeedError> {
    let seq = after.seq;
    if seq > tail {
        return Ok(Some(Misplaced::Ahead { tail }));
    }
    if seq < ledger.first() {
        // Its generation is gone; the number of events is looked at instead.
        let genesis = ledger.genesis().await?;
        let same = genesis.is_some_and(|(_, block)| block.ledger == after.ledger);
        return Ok((!same).then_some(Misplaced::OtherLedger));
    }
    let Some(bytes) = ledger.read_at(seq).await? else {
        return Ok(Some(Misplaced::Missing { seq }));
    };
    Ok(match Block::open(&bytes) {
        Ok((block, _)) if block.ledger != after.ledger => Some(Misplaced::Ledger(block.ledger)),
        Ok((block, _)) if after.n as usize >= block.entries.len() => {
            Some(Misplaced::Entries(block.entries.len()))
        }
        Ok(_) => None,
        Err(source) => Some(Misplaced::Unreadable { seq, source }),
    })
}
