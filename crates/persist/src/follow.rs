//! Following the ledger.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use giliran_broker::archive::Archive;
use giliran_broker::ledger::{self, Ledger, Reader};
use giliran_wire::ledger::{Block, Chain};
use tokio::sync::watch;

use crate::store::{Store, StoreError, StoreUrl};
use crate::{PersistError, Rows};

/// Blocks taken from the ledger at once.
const BLOCKS: usize = 64;
/// Bookings after which a transaction is closed.
const BOOKINGS: usize = 16_384;
/// How long the next block is waited for between two looks at the outside.
const WAIT: Duration = Duration::from_millis(250);
/// Pause before a store that could not be reached is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// How persisting is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// In a word or a sentence: `starting`, `waiting`, `following`, `waiting behind
    /// … foreign messages …`, `store unavailable: …`, `stopped: …`.
    pub state: String,
    /// Whether it does its work.
    pub ready: bool,
    /// The ledger sequence the store stands at.
    pub seq: u64,
    /// The ledger's last sequence, as last seen.
    pub tail: u64,
    /// Bookings written or changed since the start.
    pub bookings: u64,
    /// Foreign messages met on the ledger since the start.
    pub foreign: u64,
}

/// Writes the ledger into a store; [`run`](Self::run) is its life.
#[derive(Debug)]
pub struct Persist {
    url: StoreUrl,
    /// Where generations lie whose streams are gone.
    archive: Option<Archive>,
    status: watch::Sender<Status>,
}

/// How a round of following ended.
enum End {
    Asked,
    StoreLost(String),
}

impl Persist {
    /// Of a store that is not opened yet. `archive`: where generations lie whose
    /// streams are gone.
    pub fn new(url: StoreUrl, archive: Option<Archive>) -> Self {
        let status = Status { state: "starting".to_owned(), ..Status::default() };
        Self { url, archive, status: watch::Sender::new(status) }
    }

    /// Tells how it is doing, from now on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Follows the ledger until `shutdown` says true. A store that cannot be
    /// reached is tried again for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`PersistError`] where store and ledger do not fit, or either is damaged.
    pub async fn run(
        &self,
        ledger: Ledger,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), PersistError> {
        let ended = loop {
            match self.round(&ledger, &mut shutdown).await {
                Ok(End::Asked) => break Ok(()),
                Ok(End::StoreLost(why)) => {
                    tracing::warn!(store = %self.url, why, "the store is unavailable; trying on");
                    self.say(false, format!("store unavailable: {why}"));
                    if rest(&mut shutdown).await {
                        break Ok(());
                    }
                }
                Err(PersistError::Broker(error)) => {
                    tracing::warn!(%error, "the ledger cannot be read; trying on");
                    self.say(false, format!("ledger unavailable: {error}"));
                    if rest(&mut shutdown).await {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
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
    ) -> Result<End, PersistError> {
        let mut store = loop {
            if *shutdown.borrow() {
                return Ok(End::Asked);
            }
            match Store::open(&self.url).await {
                Ok(Some(store)) => break store,
                Ok(None) => {
                    self.say(false, "waiting: another process writes this store".to_owned());
                    if rest(shutdown).await {
                        return Ok(End::Asked);
                    }
                }
                Err(StoreError::Unavailable(why)) => return Ok(End::StoreLost(why)),
                Err(error) => return Err(error.into()),
            }
        };
        let position = match store.position().await {
            Ok(position) => position,
            Err(StoreError::Unavailable(why)) => return Ok(End::StoreLost(why)),
            Err(error) => return Err(error.into()),
        };
        // The one that was opened may be gone by now.
        let ledger = &ledger.newest().await?;
        let (_, tail) = ledger.tail().await?;
        let rows = match position {
            Some((chain, openings)) => {
                self.check(ledger, &chain, tail).await?;
                Rows::resume(chain, &openings)
            }
            None => Rows::default(),
        };
        let from = rows.chain().seq;
        tracing::info!(store = %self.url, from, tail, "writing the ledger into the store");
        self.status.send_modify(|status| {
            status.seq = from;
            status.tail = tail;
        });
        let mut writing = Writing { persist: self, store, rows, written: from };
        let ledger = loop {
            let chain = writing.rows.chain();
            let generation = chain.generation + u32::from(chain.is_sealed());
            if let Some(ledger) = ledger.of_generation(generation).await? {
                break ledger;
            }
            self.say(true, format!("reading generation {generation} from the archive"));
            if let Some(end) =
                self.read_archived(ledger, generation, &mut writing, shutdown).await?
            {
                return Ok(end);
            }
        };
        let from = writing.rows.chain().seq + 1;
        let mut reader = ledger.durable_reader(&self.url.consumer(), from).await?;
        self.say(true, "following".to_owned());
        self.follow(&mut reader, &mut writing, shutdown).await
    }

    /// Writes a generation whose stream is gone.
    async fn read_archived(
        &self,
        ledger: &Ledger,
        generation: u32,
        writing: &mut Writing<'_>,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<Option<End>, PersistError> {
        let stream = ledger.stream_of(generation);
        let blocks = match &self.archive {
            Some(archive) => archive.blocks(&stream)?,
            None => None,
        };
        let Some(blocks) = blocks else {
            return Err(PersistError::Mismatch(format!(
                "{} stands at sequence {} of stream {stream}, which is gone. Name the folder it \
                 was archived in (--archive), or restore a newer backup of the store",
                self.url,
                writing.rows.chain().seq
            )));
        };
        for block in blocks {
            let broken = |error| giliran_broker::Error::new(&format!("archived {stream}"), error);
            let (seq, bytes) = block.map_err(broken)?;
            if *shutdown.borrow() {
                return Ok(Some(End::Asked));
            }
            if seq <= writing.rows.chain().seq {
                continue;
            }
            writing.fold(seq, &bytes)?;
            if writing.rows.waiting() >= BOOKINGS
                && let Some(end) = writing.write().await?
            {
                return Ok(Some(end));
            }
        }
        if writing.rows.chain().is_sealed() {
            return Ok(None);
        }
        Err(PersistError::Mismatch(format!("archived {stream} does not end with a seal")))
    }

    /// The store's position must lie on this ledger.
    async fn check(&self, ledger: &Ledger, chain: &Chain, tail: u64) -> Result<(), PersistError> {
        let mismatch = |what: String| {
            Err(PersistError::Mismatch(format!(
                "{} does not fit the ledger {}: {what}. Either the store or the stream was \
                 replaced or restored; give this store the ledger it was written from, or begin \
                 with an empty one",
                self.url,
                ledger.name()
            )))
        };
        if chain.seq > tail {
            return mismatch(format!(
                "the store stands at sequence {}, the ledger ends at {tail}",
                chain.seq
            ));
        }
        let bytes = match ledger.of_generation(chain.generation).await? {
            Some(ledger) => ledger.read_at(chain.valid_seq).await?,
            None => self.archived_block(&ledger.stream_of(chain.generation), chain.valid_seq)?,
        };
        let Some(bytes) = bytes else {
            return mismatch(format!(
                "sequence {} is not in stream {}; if that was archived, name the folder \
                 (--archive)",
                chain.valid_seq,
                ledger.stream_of(chain.generation)
            ));
        };
        match Block::open(&bytes) {
            Ok((block, _)) if Some(block.ledger) != chain.ledger => mismatch(format!(
                "the store was written from ledger {}, this is {}",
                chain.ledger.map_or_else(String::new, |id| id.to_string()),
                block.ledger
            )),
            Ok((_, hash)) if hash != chain.hash => mismatch(format!(
                "at sequence {} the store has seen block {}, the ledger has {hash}",
                chain.valid_seq, chain.hash
            )),
            Ok(_) => Ok(()),
            Err(error) => mismatch(format!("sequence {}: {error}", chain.valid_seq)),
        }
    }

    fn archived_block(&self, stream: &str, wanted: u64) -> Result<Option<Bytes>, PersistError> {
        let Some(archive) = &self.archive else { return Ok(None) };
        for block in archive.blocks(stream)?.into_iter().flatten() {
            let broken = |error| giliran_broker::Error::new(&format!("archived {stream}"), error);
            let (seq, bytes) = block.map_err(broken)?;
            if seq == wanted {
                return Ok(Some(bytes.into()));
            }
        }
        Ok(None)
    }

    async fn follow(
        &self,
        reader: &mut Reader,
        writing: &mut Writing<'_>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<End, PersistError> {
        let mut looked = tokio::time::Instant::now();
        loop {
            if *shutdown.borrow() {
                return Ok(End::Asked);
            }
            let blocks = tokio::select! {
                biased;
                blocks = reader.next_batch(BLOCKS, WAIT) => blocks?,
                _ = shutdown.changed() => Vec::new(),
            };
            let mut blocks = blocks.into_iter().peekable();
            while let Some((seq, bytes)) = blocks.next() {
                writing.fold(seq, &bytes)?;
                if writing.rows.waiting() < BOOKINGS && blocks.peek().is_some() {
                    continue;
                }
                if let Some(end) = writing.write().await? {
                    return Ok(end);
                }
                reader.ack_through(writing.written).await?;
            }
            let chain = writing.rows.chain();
            if chain.is_sealed() {
                reader.pass_seal(chain.generation, chain.seq).await?;
            }
            if looked.elapsed() >= PAUSE {
                looked = tokio::time::Instant::now();
                // The lag is a figure for operators; not to have it stops nothing.
                if let Ok((_, tail)) = reader.ledger().tail().await {
                    self.status.send_modify(|status| status.tail = status.tail.max(tail));
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

/// The store, and the rows on their way into it.
struct Writing<'a> {
    persist: &'a Persist,
    store: Store,
    rows: Rows,
    /// Where the store stands.
    written: u64,
}

impl Writing<'_> {
    fn fold(&mut self, seq: u64, bytes: &[u8]) -> Result<(), PersistError> {
        let doubted = self.rows.chain().doubt.is_some();
        if let Some(foreign) = self.rows.fold(seq, bytes)? {
            ledger::report(&foreign);
            self.persist.status.send_modify(|status| status.foreign += 1);
        }
        match self.rows.chain().doubt {
            Some(doubt) => self.persist.say(false, format!("waiting behind {doubt}")),
            None if doubted => self.persist.say(true, "following".to_owned()),
            None => {}
        }
        Ok(())
    }

    /// Writes what was folded. Between a seal and the last part of what the next
    /// generation begins with there is nothing to write, and no place to stand, nor
    /// behind foreign messages that no valid block follows: there it waits.
    async fn write(&mut self) -> Result<Option<End>, PersistError> {
        let chain = self.rows.chain().clone();
        if !chain.is_open() || chain.doubt.is_some() {
            return Ok(None);
        }
        let seq = chain.seq;
        let batch = Arc::new(self.rows.take());
        match self.store.apply(self.written, chain, &batch).await {
            Ok(()) => {}
            Err(StoreError::Unavailable(why)) => return Ok(Some(End::StoreLost(why))),
            Err(error) => return Err(error.into()),
        }
        self.written = seq;
        self.persist.status.send_modify(|status| {
            status.seq = seq;
            status.tail = status.tail.max(seq);
            status.bookings += batch.changes as u64;
        });
        Ok(None)
    }
}

/// A pause; true: asked to stop meanwhile.
async fn rest(shutdown: &mut watch::Receiver<bool>) -> bool {
    if *shutdown.borrow() {
        return true;
    }
    let _ = tokio::time::timeout(PAUSE, shutdown.changed()).await;
    *shutdown.borrow()
}
