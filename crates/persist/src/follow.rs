//! Following the ledger.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use giliran_nats::follower::{Follower, Health, Rounds, View, overdue};
use giliran_nats::ledger::Ledger;
use giliran_nats::ledger::archive::Archive;
use giliran_nats::state::State;
use giliran_nats::watch::Mark;
use giliran_wire::ledger::{Block, Chain};
use giliran_wire::subject::Namespace;
use tokio_util::sync::CancellationToken;

use crate::rows::Batch;
use crate::store::{Store, StoreUrl};
use crate::{Mismatch, Misplaced, PersistError, Rows};

/// Blocks taken from the ledger at once.
const BLOCKS: usize = 64;
/// Bookings and entries after which a transaction is closed where more blocks are there:
/// at first, and at most. In between it is so many as the store takes in about [`TRANSACTION`].
const FIRST_BOOKINGS: usize = 16_384;
const MOST_BOOKINGS: usize = 262_144;
/// How long a transaction should take: what is behind is written in few of them, and
/// readers see it grow all the same.
const TRANSACTION: Duration = Duration::from_secs(1);
/// Bytes of blocks after which a transaction is closed: as rows they take some times as
/// much memory.
const BYTES: usize = 48 << 20;
/// How long the next block is waited for between two looks at the outside.
const WAIT: Duration = Duration::from_millis(250);
/// The same where blocks wait to be written, and more seem to be there.
const WAIT_FOR_MORE: Duration = Duration::from_millis(5);
/// How often it is looked whether the store is still there, and answers.
const LOOK: Duration = Duration::from_secs(1);
/// How long a write may take before that is told, and how often it is told again.
const SLOW: Duration = Duration::from_secs(2);
/// How long the work in hand may take once an end is asked for.
const GRACE: Duration = Duration::from_secs(5);
/// How often a copy that waits looks whether the store is free.
const TURN: Duration = Duration::from_millis(500);

/// Writes the ledger into a store; [`run`](Self::run) is its life.
#[derive(Debug)]
pub struct Persist {
    url: StoreUrl,
    /// Where generations lie whose streams are gone.
    archive: Option<Archive>,
    health: Health,
}

impl Persist {
    /// Of a store that is not opened yet, and a ledger at this broker. `archive`: where
    /// generations lie whose streams are gone. Within a runtime.
    pub fn new(
        url: StoreUrl,
        archive: Option<Archive>,
        client: &giliran_nats::Client,
        domain: &Namespace,
    ) -> Self {
        Self { url, archive, health: Health::new(client, domain, "persist") }
    }

    /// What there is to see of it.
    pub fn view(&self) -> View {
        self.health.view()
    }

    /// Follows the ledger until `shutdown` is cancelled. What may pass is waited for, as
    /// a store that cannot be reached; and so is what somebody has to mend, as a
    /// store that does not fit the ledger. It says meanwhile what is wrong.
    ///
    /// # Errors
    ///
    /// [`PersistError`] where no waiting mends it.
    pub async fn run(
        &self,
        ledger: Ledger,
        shutdown: CancellationToken,
    ) -> Result<(), PersistError> {
        let mut rounds = Rounds::new(&self.health, &shutdown);
        let ended = loop {
            let round = tokio::select! {
                round = Box::pin(self.round(&ledger, &shutdown)) => round,
                // A store that hangs holds nobody up: what is on its way is there whole
                // or not at all.
                () = overdue(&shutdown, GRACE) => Ok(()),
            };
            if let ControlFlow::Break(ended) = rounds.after(round).await {
                break ended;
            }
        };
        self.health.ended(&ended);
        ended
    }

    /// From a look at the store until that is needed anew; ends well where asked to.
    async fn round(
        &self,
        ledger: &Ledger,
        shutdown: &CancellationToken,
    ) -> Result<(), PersistError> {
        let mut store = loop {
            if shutdown.is_cancelled() {
                return Ok(());
            }
            if let Some(store) = Store::open(&self.url).await? {
                break store;
            }
            self.health.set_state(State::Waiting, "another process writes this store");
            let _ = tokio::time::timeout(TURN, shutdown.cancelled()).await;
        };
        let position = store.position().await?;
        // The store alone says what this process knows of the ledger.
        self.health.watch().hold_only(position.as_ref().and_then(|(chain, _)| Mark::of(chain)));
        // The one that was opened may be gone by now.
        let ledger = &ledger.newest().await?;
        let (mut written, mut rows) = (0, Rows::default());
        if let Some((chain, openings)) = position {
            self.check(ledger, &chain).await?;
            self.health.stands(&chain);
            written = chain.seq;
            // What stands behind the last valid block is read again: it may have been
            // of a history that is no more.
            rows = Rows::resume(Chain { seq: chain.valid_seq, ..chain }, &openings);
        }
        tracing::info!(store = %self.url, from = written, "writing the ledger into the store");
        let mut writing = Writing {
            persist: self,
            store,
            rows,
            written,
            limit: TransactionLimit::default(),
            bytes: 0,
        };
        let ledger = loop {
            let chain = writing.rows.chain();
            let generation = chain.generation + u32::from(chain.is_sealed());
            if let Some(ledger) = ledger.of_generation(generation).await? {
                break ledger;
            }
            let from = format!("from the archive: generation {generation}");
            self.health.set_state(State::Following, from);
            if self.read_archived(ledger, generation, &mut writing, shutdown).await?.is_break() {
                return Ok(());
            }
        };
        let from = writing.rows.chain().seq + 1;
        let durable = writing.store.consumer(&self.url);
        let mut follower = Follower::new(self.health.watch(), ledger, from, Some(durable));
        self.health.set_state(State::Following, "");
        self.follow(&mut follower, &mut writing, shutdown).await
    }

    /// Writes a generation whose stream is gone; breaks off where asked to end.
    async fn read_archived(
        &self,
        ledger: &Ledger,
        generation: u32,
        writing: &mut Writing<'_>,
        shutdown: &CancellationToken,
    ) -> Result<ControlFlow<()>, PersistError> {
        let stream = ledger.stream_of(generation);
        let blocks = match &self.archive {
            Some(archive) => archive.blocks(&stream)?,
            None => None,
        };
        let Some(blocks) = blocks else {
            let (store, seq) = (self.url.clone(), writing.rows.chain().seq);
            return Err(Mismatch::GenerationGone { store, seq, stream }.into());
        };
        for block in blocks {
            let broken = |error| giliran_nats::Error::new(&format!("archived {stream}"), error);
            let (seq, bytes) = block.map_err(broken)?;
            if shutdown.is_cancelled() {
                return Ok(ControlFlow::Break(()));
            }
            if seq <= writing.rows.chain().seq {
                continue;
            }
            writing.fold(seq, &bytes)?;
            if writing.is_full() {
                writing.write().await?;
            }
        }
        if writing.rows.chain().is_sealed() {
            return Ok(ControlFlow::Continue(()));
        }
        Err(Mismatch::NotSealed { stream }.into())
    }

    /// The store's position must lie on this ledger.
    async fn check(&self, ledger: &Ledger, chain: &Chain) -> Result<(), PersistError> {
        let Some(mark) = Mark::of(chain) else { return Ok(()) };
        self.health.watch().confirm(&mark).await?;
        if ledger.of_generation(mark.generation).await?.is_some() {
            return Ok(());
        }
        let stream = ledger.stream_of(mark.generation);
        let seq = mark.seq;
        let position = match self.archived_block(&stream, seq)? {
            None => Misplaced::NotArchived { seq, stream },
            Some(bytes) => match Block::open(&bytes) {
                Ok((_, hash)) if hash == mark.hash => return Ok(()),
                Ok((_, archived)) => Misplaced::OtherBlock { seq, seen: mark.hash, archived },
                Err(source) => Misplaced::Unreadable { seq, source },
            },
        };
        Err(Mismatch::Position { store: self.url.clone(), position }.into())
    }

    fn archived_block(&self, stream: &str, wanted: u64) -> Result<Option<Bytes>, PersistError> {
        let Some(archive) = &self.archive else { return Ok(None) };
        for block in archive.blocks(stream)?.into_iter().flatten() {
            let broken = |error| giliran_nats::Error::new(&format!("archived {stream}"), error);
            let (seq, bytes) = block.map_err(broken)?;
            if seq == wanted {
                return Ok(Some(bytes.into()));
            }
        }
        Ok(None)
    }

    async fn follow(
        &self,
        follower: &mut Follower,
        writing: &mut Writing<'_>,
        shutdown: &CancellationToken,
    ) -> Result<(), PersistError> {
        let (mut looked, mut is_behind) = (Instant::now(), false);
        loop {
            if shutdown.is_cancelled() {
                return Ok(());
            }
            let wait = if is_behind { WAIT_FOR_MORE } else { WAIT };
            let blocks = tokio::select! {
                biased;
                blocks = follower.next(writing.rows.chain(), BLOCKS, wait) => blocks?,
                () = shutdown.cancelled() => Vec::new(),
            };
            // As many as were asked for: there are more.
            is_behind = blocks.len() == BLOCKS;
            for (seq, bytes) in blocks {
                writing.fold(seq, &bytes)?;
                if writing.is_full() {
                    writing.write().await?;
                    follower.ack_through(writing.written).await?;
                }
            }
            if !is_behind && writing.has_unwritten() {
                writing.write().await?;
                follower.ack_through(writing.written).await?;
            }
            let goes_on = match follower.rebuilt() {
                Some(begin) => writing.rows.goes_on_in(begin)?,
                None => false,
            };
            let chain = writing.rows.chain();
            if chain.is_sealed() || goes_on {
                follower.pass_seal(chain.generation, chain.seq).await?;
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                writing.store.look().await?;
            }
        }
    }
}

/// The store, and the rows on their way into it.
struct Writing<'a> {
    persist: &'a Persist,
    store: Store,
    rows: Rows,
    /// Where the store stands.
    written: u64,
    limit: TransactionLimit,
    /// Bytes of the blocks that the rows come from.
    bytes: usize,
}

impl Writing<'_> {
    fn fold(&mut self, seq: u64, bytes: &[u8]) -> Result<(), PersistError> {
        self.bytes += bytes.len();
        if let Some(foreign) = self.rows.fold(seq, bytes)? {
            self.persist.health.foreign(&foreign);
        }
        self.persist.health.in_doubt(self.rows.chain());
        Ok(())
    }

    /// Whether what was folded makes a transaction.
    fn is_full(&self) -> bool {
        self.rows.waiting() >= self.limit.bookings || self.bytes >= BYTES
    }

    /// Whether anything was read that the store does not know of.
    fn has_unwritten(&self) -> bool {
        self.rows.chain().seq > self.written
    }

    /// Writes what was folded. Between a seal and the last part of what the next
    /// generation begins with there is nothing to write, and no place to stand, nor
    /// behind foreign messages that no valid block follows: there it waits.
    async fn write(&mut self) -> Result<(), PersistError> {
        let chain = self.rows.chain().clone();
        if !chain.is_open() || chain.doubt.is_some() {
            return Ok(());
        }
        let (batch, since) = (Arc::new(self.rows.take()), Instant::now());
        self.bytes = 0;
        self.apply(&chain, &batch).await?;
        self.limit.took(batch.weight(), since.elapsed());
        self.written = chain.seq;
        self.persist.health.stands(&chain);
        self.persist.health.count(batch.changes as u64);
        Ok(())
    }

    /// Writes a batch. That it takes long is said while it does.
    async fn apply(&mut self, to: &Chain, batch: &Arc<Batch>) -> Result<(), PersistError> {
        let since = Instant::now();
        let mut applied = Box::pin(self.store.apply(self.written, to.clone(), batch));
        loop {
            match tokio::time::timeout(SLOW, &mut applied).await {
                Ok(done) => break done?,
                Err(_) => {
                    let seconds = since.elapsed().as_secs();
                    let detail = format!("it has not answered for {seconds} s, and is waited for");
                    self.persist.health.set_state(State::StoreUnavailable, detail);
                }
            }
        }
        if self.persist.health.reports().is(State::StoreUnavailable) {
            self.persist.health.set_state(State::Following, "");
        }
        Ok(())
    }
}

/// How many bookings make a transaction while the store is behind.
#[derive(Debug)]
struct TransactionLimit {
    bookings: usize,
}

impl Default for TransactionLimit {
    fn default() -> Self {
        Self { bookings: FIRST_BOOKINGS }
    }
}

impl TransactionLimit {
    /// A transaction of so many took so long: from one that was long enough to
    /// tell, the next ones follow, at most twice as long.
    fn took(&mut self, bookings: usize, time: Duration) {
        if bookings < self.bookings {
            return;
        }
        let in_time = bookings as f64 * TRANSACTION.as_secs_f64() / time.as_secs_f64().max(1e-3);
        let next = (in_time as usize).min(2 * self.bookings);
        self.bookings = next.clamp(FIRST_BOOKINGS, MOST_BOOKINGS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_holds_what_the_store_takes_in_about_a_second() {
        let mut limit = TransactionLimit::default();
        let mut took = |bookings, ms| {
            limit.took(bookings, Duration::from_millis(ms));
            limit.bookings
        };
        // One that was not full tells nothing.
        assert_eq!(took(1_000, 1), FIRST_BOOKINGS);
        assert_eq!(took(FIRST_BOOKINGS, 20), 2 * FIRST_BOOKINGS);
        assert_eq!(took(2 * FIRST_BOOKINGS, 500), 4 * FIRST_BOOKINGS);
        assert_eq!(took(4 * FIRST_BOOKINGS, 2_000), 2 * FIRST_BOOKINGS);
        assert_eq!(took(2 * FIRST_BOOKINGS, 60_000), FIRST_BOOKINGS);
        for _ in 0..10 {
            took(MOST_BOOKINGS, 1);
        }
        assert_eq!(took(MOST_BOOKINGS, 0), MOST_BOOKINGS);
    }
}
