//! The engine's roles: follow the ledger, take over, serve, step down.
//!
//! ```text
//!  starting ──ledger read, mark checked──▶ standby ──lease──▶ taking over ──take-over durable──▶ active
//!                                            ▲                                                  │
//!                                            └──────────── lease gone, or deposed ──────────────┘
//! ```
//!
//! The lease says who should try; the ledger's fence says who may write.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use giliran_broker::lease::{Held, Lease};
use giliran_broker::ledger::{self, Ledger, Reader};
use giliran_config::Config;
use giliran_core::{Book, FoldError, Folded, Keeper, Opening};
use giliran_wire::ledger::{Block, Chain, Foreign, OpeningRecord};
use giliran_wire::{ApplicantKey, BlockHash, KeyFingerprint, LedgerId, Timestamp};
use tokio::sync::watch;

use crate::gate::{Gate, raised};
use crate::high_water::{HighWater, HighWaterError, Mark};
use crate::metrics::Metrics;
use crate::snapshot::SnapshotFile;
use crate::term::{self, Office};

/// How long a lease lasts without renewal.
pub const LEASE_TTL: Duration = Duration::from_secs(3);
/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How long before its opening an opening is put on record.
const HORIZON: Duration = Duration::from_secs(14 * 24 * 3600);
/// Most blocks folded between two looks at the outside.
const FOLD_BLOCKS: usize = 1_024;
/// A snapshot is written where so many blocks, each perhaps of thousands of
/// bookings, came after the last one: at the
/// end, and when it turns out that another engine serves.
const SNAPSHOT_AFTER: u64 = 100;
/// How long a follower waits for the next block before it looks at the lease.
const FOLLOW_WAIT: Duration = Duration::from_millis(100);

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name in ledger, lease and logs.
    pub name: String,
    /// The configuration in the file; what counts is what is on record.
    pub config: Config,
    /// The applicant key.
    pub key: ApplicantKey,
    /// Holds the high-water mark.
    pub data: PathBuf,
    /// Deciding threads at once.
    pub workers: usize,
}

/// What the engine is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Reads the ledger from its beginning.
    Starting {
        /// Blocks read.
        read: u64,
        /// Blocks there are.
        tail: u64,
    },
    /// Follows the ledger, ready to take over.
    Standby,
    /// Has the lease; its take-over is on its way.
    TakingOver,
    /// Decides requests.
    Active {
        /// Its epoch.
        epoch: u64,
    },
    /// Has ended.
    Stopped {
        /// Why.
        reason: String,
    },
}

/// The engine's role, and how far it has come.
pub type Status = watch::Receiver<Role>;

/// Why an engine ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The ledger cannot be read any further.
    #[error(transparent)]
    Ledger(#[from] FoldError),
    /// This machine knows more of the ledger than there is.
    #[error(transparent)]
    HighWater(#[from] HighWaterError),
    /// The ledger was made with another applicant key.
    #[error(
        "the ledger was made with applicant key {ledger}, this engine has {own}: it would not \
         recognise anybody. Give it the key the ledger was made with"
    )]
    OtherKey {
        /// Fingerprint in the ledger.
        ledger: KeyFingerprint,
        /// Fingerprint of the engine's key.
        own: KeyFingerprint,
    },
    /// The stream is there, but holds nothing.
    #[error(
        "the ledger stream is empty: it was recreated, or `giliran init` did not finish. An \
         engine never begins a ledger; run `giliran init` if there is none to restore"
    )]
    NoGenesis,
    /// A subject could not be subscribed to.
    #[error("subscribe to {subject}: {source}")]
    Subscribe {
        /// Which.
        subject: String,
        /// Why.
        source: async_nats::SubscribeError,
    },
    /// The connection was gone before the subscriptions were made.
    #[error("subscriptions could not be made: {0}")]
    Flush(async_nats::client::FlushError),
    /// The broker refused or cannot do something.
    #[error(transparent)]
    Broker(#[from] giliran_broker::Error),
}

/// An engine; [`run`](Self::run) is its life.
#[derive(Debug)]
pub struct Engine {
    pub(crate) options: Options,
    pub(crate) client: async_nats::Client,
    pub(crate) gate: Arc<Gate>,
    pub(crate) metrics: Metrics,
    high_water: HighWater,
    snapshot: SnapshotFile,
    role: watch::Sender<Role>,
    /// Openings in the file that differ from the record, or cannot be served;
    /// said once each.
    said: Mutex<HashSet<String>>,
    /// Ordinals of the openings whose places are shown.
    shown: Mutex<Vec<u32>>,
}

impl Engine {
    /// An engine that has not started.
    pub fn new(options: Options, client: async_nats::Client, metrics: Metrics) -> Self {
        Self {
            high_water: HighWater::new(&options.data),
            snapshot: SnapshotFile::new(&options.data),
            options,
            client,
            gate: Arc::new(Gate::new()),
            metrics,
            role: watch::Sender::new(Role::Starting { read: 0, tail: 0 }),
            said: Mutex::default(),
            shown: Mutex::default(),
        }
    }

    /// Tells its role from now on.
    pub fn status(&self) -> Status {
        self.role.subscribe()
    }

    /// Follows, takes over, serves, until `shutdown` says true.
    ///
    /// # Errors
    ///
    /// [`EngineError`] where it must not, or cannot, go on; the role then says
    /// why.
    pub async fn run(
        &self,
        ledger: Ledger,
        lease: Lease,
        shutdown: watch::Receiver<bool>,
    ) -> Result<(), EngineError> {
        let result = Box::pin(self.live(ledger, lease, shutdown)).await;
        let reason = match &result {
            Ok(()) => "stopped".to_owned(),
            Err(error) => error.to_string(),
        };
        self.say(Role::Stopped { reason });
        result
    }

    async fn live(
        &self,
        ledger: Ledger,
        lease: Lease,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), EngineError> {
        let (mut keeper, mut ledger) = self.begin(&ledger).await?;
        let mut written = keeper.chain().seq;
        let mut first = true;
        while !*shutdown.borrow() {
            let mut reader = ledger.reader(keeper.chain().seq + 1).await?;
            if first {
                self.start(&mut keeper, &mut reader).await?;
                first = false;
            }
            self.say(Role::Standby);
            let waiting = (&lease, &mut written);
            let Some(held) =
                self.stand_by(&mut keeper, &mut reader, waiting, &mut shutdown).await?
            else {
                self.write_snapshot(keeper, &mut written).await;
                return Ok(());
            };
            self.say(Role::TakingOver);
            let end = End::of(reader.ledger()).await?;
            while !end.is_reached(keeper.chain()) {
                self.follow(&mut keeper, &mut reader, None).await?;
            }
            ledger = reader.ledger().clone();
            drop(reader);
            self.gate.renewed(held.renewed_at(), LEASE_TTL);
            let (lost_tx, lost) = watch::channel(false);
            let (stop_renewing, stop) = watch::channel(false);
            let renewing = tokio::spawn(renew(held, Arc::clone(&self.gate), lost_tx, stop));
            let office = Office {
                engine: self,
                ledger: ledger.clone(),
                lease_lost: lost,
                shutdown: shutdown.clone(),
            };
            let served = Box::pin(term::serve(office, keeper)).await;
            stop_renewing.send_replace(true);
            self.gate.close();
            let held = renewing.await.ok().flatten();
            let (back, at, end) = served?;
            (keeper, ledger) = (back, at);
            self.remember(Mark::of(keeper.chain())).await?;
            match end {
                term::End::Stopped => {
                    if let Some(held) = held
                        && let Err(error) = held.release().await
                    {
                        tracing::warn!(%error, "the lease ends by itself");
                    }
                    self.write_snapshot(keeper, &mut written).await;
                    tracing::info!("stepped down");
                    return Ok(());
                }
                term::End::Deposed => tracing::warn!("out of office; following the ledger"),
            }
        }
        Ok(())
    }

    /// What the snapshot says, if it lies on this ledger, else nothing; and the
    /// generation to read on from there.
    async fn begin(&self, ledger: &Ledger) -> Result<(Keeper, Ledger), EngineError> {
        if let Some(keeper) = self.read_snapshot().await {
            let chain = keeper.chain();
            let generation = ledger.of_generation(chain.generation).await?;
            if let Some(generation) = generation
                && let Some(hash) = self.hash_at(&generation, chain.valid_seq).await?
                && hash == (chain.ledger, chain.hash)
            {
                return Ok((keeper, generation));
            }
            let path = self.snapshot.path().display();
            tracing::warn!(%path, "the snapshot is of another ledger, or too old; not used");
        }
        let ledger = ledger.newest_begun().await?;
        Ok((Keeper::beginning_with(ledger.generation()), ledger))
    }

    async fn read_snapshot(&self) -> Option<Keeper> {
        let (file, started) = (self.snapshot.clone(), Instant::now());
        let read = tokio::task::spawn_blocking(move || file.read()).await;
        match read.ok()? {
            Ok(keeper) => {
                if let Some(keeper) = &keeper {
                    tracing::info!(
                        seq = keeper.chain().seq,
                        bookings = keeper.book().bookings(),
                        millis = started.elapsed().as_millis() as u64,
                        "snapshot read"
                    );
                }
                keeper
            }
            Err(error) => {
                let path = self.snapshot.path().display();
                tracing::warn!(%path, %error, "the snapshot is not used");
                None
            }
        }
    }

    /// Ledger and hash of the block at a sequence, if there is a readable one.
    async fn hash_at(
        &self,
        ledger: &Ledger,
        seq: u64,
    ) -> Result<Option<(Option<LedgerId>, BlockHash)>, EngineError> {
        let bytes = ledger.read_at(seq).await?;
        let block = bytes.and_then(|bytes| Block::open(&bytes).ok());
        Ok(block.map(|(block, hash)| (Some(block.ledger), hash)))
    }

    /// Writes a snapshot where much came after the last one. That it cannot be
    /// written stops nothing.
    async fn write_snapshot(&self, keeper: Keeper, written: &mut u64) -> Keeper {
        let seq = keeper.chain().seq;
        if seq < *written + SNAPSHOT_AFTER {
            return keeper;
        }
        let (file, started) = (self.snapshot.clone(), Instant::now());
        let done = tokio::task::spawn_blocking(move || {
            let done = file.write(&keeper);
            (keeper, done)
        });
        match done.await {
            Ok((keeper, Ok(()))) => {
                let millis = started.elapsed().as_millis() as u64;
                tracing::info!(seq, millis, "snapshot written");
                *written = seq;
                keeper
            }
            Ok((keeper, Err(error))) => {
                let path = self.snapshot.path().display();
                tracing::warn!(%path, %error, "the snapshot cannot be written");
                keeper
            }
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    /// Reads the ledger to its end and checks it against key and mark.
    async fn start(&self, keeper: &mut Keeper, reader: &mut Reader) -> Result<(), EngineError> {
        let end = End::of(reader.ledger()).await?;
        let mark = self.high_water.read()?;
        let mut hash_at_mark = None;
        let (ledger, before) = (reader.ledger().clone(), keeper.chain().seq);
        if let Some(mark) = mark.filter(|m| m.seq <= before || m.seq < ledger.first()) {
            hash_at_mark = match ledger.of_generation(mark.generation).await? {
                Some(at) => self.hash_at(&at, mark.seq).await?.map(|(_, hash)| hash),
                None => {
                    let (generation, seq) = (mark.generation, mark.seq);
                    tracing::info!(generation, seq, "the high-water mark's generation is gone");
                    Some(mark.hash)
                }
            };
        }
        let started = Instant::now();
        let mut read = 0;
        while !end.is_reached(keeper.chain()) {
            let mark = mark.map(|mark| (mark.seq, &mut hash_at_mark));
            read += self.follow(keeper, reader, mark).await?;
            self.say(Role::Starting { read: keeper.chain().seq, tail: end.seq });
        }
        let genesis = keeper.genesis().ok_or(EngineError::NoGenesis)?;
        let (made_with, own) = (genesis.applicant_key, self.options.key.fingerprint());
        if made_with != own {
            return Err(EngineError::OtherKey { ledger: made_with, own });
        }
        if let Some(mark) = &mark {
            self.high_water.check(mark, keeper.chain(), hash_at_mark)?;
        }
        tracing::info!(
            blocks = read,
            generation = keeper.chain().generation,
            bookings = keeper.book().bookings(),
            millis = started.elapsed().as_millis() as u64,
            "ledger read"
        );
        Ok(())
    }

    /// Follows the ledger until the lease is had; none: asked to stop.
    async fn stand_by(
        &self,
        keeper: &mut Keeper,
        reader: &mut Reader,
        (lease, written): (&Lease, &mut u64),
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<Option<Held>, EngineError> {
        loop {
            if *shutdown.borrow() {
                return Ok(None);
            }
            match lease.acquire(LEASE_TTL).await {
                Ok(Some(held)) => return Ok(Some(held)),
                Ok(None) => {
                    // Another engine serves: there is time.
                    let whole = std::mem::take(keeper);
                    *keeper = self.write_snapshot(whole, written).await;
                }
                Err(error) => tracing::warn!(%error, "the lease cannot be asked for; trying on"),
            }
            let mut free = Box::pin(lease.freed());
            loop {
                tokio::select! {
                    biased;
                    () = raised(shutdown) => return Ok(None),
                    () = &mut free => break,
                    followed = self.follow(keeper, reader, None) => drop(followed?),
                }
                self.show(keeper.chain(), keeper.book());
                self.remember(Mark::of(keeper.chain())).await?;
            }
        }
    }

    /// Folds what there is, or waits a moment for more; how many blocks there were.
    /// Goes on in the next stream where this one is sealed. `mark`: a sequence whose
    /// hash is wanted.
    async fn follow(
        &self,
        keeper: &mut Keeper,
        reader: &mut Reader,
        mut mark: Option<(u64, &mut Option<BlockHash>)>,
    ) -> Result<u64, EngineError> {
        let blocks = reader.next_batch(FOLD_BLOCKS, FOLLOW_WAIT).await?;
        let read = blocks.len() as u64;
        let fold = || {
            for (seq, bytes) in blocks {
                if let Folded::Foreign(foreign) = keeper.fold(seq, &bytes)? {
                    self.report(&foreign);
                }
                if let Some((wanted, hash)) = &mut mark
                    && *wanted == seq
                {
                    **hash = Some(keeper.chain().hash);
                }
            }
            Ok::<_, FoldError>(())
        };
        // A seal has the whole state hashed: other tasks do not wait for that.
        tokio::task::block_in_place(fold)?;
        let chain = keeper.chain();
        if chain.is_sealed() {
            reader.pass_seal(chain.generation, chain.seq).await?;
        }
        Ok(read)
    }

    /// Tells operators of a foreign message.
    pub(crate) fn report(&self, foreign: &Foreign) {
        self.metrics.foreign.inc();
        ledger::report(foreign);
    }

    pub(crate) fn say(&self, role: Role) {
        self.role.send_if_modified(|now| {
            let changed = *now != role;
            *now = role;
            changed
        });
    }

    /// Openings of the file that should be on record at `now` and are not.
    pub(crate) fn due_openings(
        &self,
        now: Timestamp,
        known: impl Fn(&str) -> bool,
    ) -> Vec<OpeningRecord> {
        let due = self.options.config.due(now, HORIZON.as_millis() as u64);
        let mut ids = HashSet::new();
        due.into_iter()
            .filter(|record| !known(&record.id))
            .filter(|record| {
                let new = ids.insert(record.id.clone());
                if !new {
                    self.say_once(format!(
                        "opening {}: a second one of this id is left out",
                        record.id
                    ));
                }
                new
            })
            .filter(|record| {
                let unsupported = Opening::supported(record).map_err(|e| e.to_string());
                let told = unsupported.and_then(|()| self.options.config.draws_in_time(record));
                told.map_err(|why| self.say_once(why)).is_ok()
            })
            .collect()
    }

    fn say_once(&self, what: String) {
        // A panic elsewhere cannot leave the set half changed.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if !said.contains(&what) {
            tracing::error!("{what}");
            said.insert(what);
        }
    }

    /// Shows position and free places.
    pub(crate) fn show(&self, chain: &Chain, book: &Book) {
        let metrics = &self.metrics;
        metrics.epoch.set(chain.epoch as i64);
        metrics.seq.set(chain.seq as i64);
        metrics.generation.set(chain.generation.into());
        let openings = book.openings();
        let ordinals: Vec<u32> = openings.iter().map(|o| o.record().ordinal).collect();
        // A panic elsewhere cannot leave the list half changed.
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.iter().any(|ordinal| !ordinals.contains(ordinal)) {
            // What has retired is not shown for ever.
            metrics.free.reset();
            metrics.withheld.reset();
        }
        *shown = ordinals;
        drop(shown);
        for opening in openings.iter() {
            for i in 0..opening.slots() {
                let slot = opening.slot(i);
                let date = slot.date.to_string();
                let labels = [opening.id(), slot.office, &date, slot.session];
                let (free, withheld) = (opening.durably_free(i), opening.withheld(i));
                metrics.free.with_label_values(&labels).set(free.into());
                metrics.withheld.with_label_values(&labels).set(withheld.into());
            }
        }
    }

    /// Writes the high-water mark, off the loop's thread: it waits for the disk.
    pub(crate) async fn remember(&self, mark: Option<Mark>) -> Result<(), EngineError> {
        if let Some(mark) = mark {
            let high_water = self.high_water.clone();
            let written = tokio::task::spawn_blocking(move || high_water.write(&mark)).await;
            written.unwrap_or(Ok(()))?;
        }
        Ok(())
    }
}

/// Where the ledger ended when it was looked at.
struct End {
    generation: u32,
    seq: u64,
    /// The newest stream holds nothing yet: the seal before it was the end.
    empty: bool,
}

impl End {
    /// The end of the newest generation, from this one on.
    async fn of(ledger: &Ledger) -> Result<Self, EngineError> {
        let newest = ledger.newest().await?;
        let (first, seq) = newest.tail().await?;
        Ok(Self { generation: newest.generation(), seq, empty: first > seq })
    }

    fn is_reached(&self, chain: &Chain) -> bool {
        // Nothing counts that stands behind a seal. A stream that is empty ends before
        // its first sequence, which lies beyond the seal.
        let sealed_last = chain.generation + u32::from(self.empty) == self.generation;
        chain.seq >= self.seq || (chain.is_sealed() && sealed_last)
    }
}

/// Renews the lease until told to stop; gives it back unless it was lost.
async fn renew(
    mut held: Held,
    gate: Arc<Gate>,
    lost: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) -> Option<Held> {
    let mut last = held.renewed_at();
    let mut every = tokio::time::interval(RENEW_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = raised(&mut stop) => return Some(held),
            _ = every.tick() => {}
        }
        match tokio::time::timeout(RENEW_EVERY, held.renew()).await {
            Ok(Ok(Some(sent))) => {
                last = sent;
                gate.renewed(sent, LEASE_TTL);
                continue;
            }
            Ok(Ok(None)) => tracing::warn!("another engine holds the lease"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease could not be renewed");
                if last.elapsed() < LEASE_TTL {
                    continue;
                }
            }
            Err(_) if last.elapsed() < LEASE_TTL => continue,
            Err(_) => tracing::warn!("the lease ran out while renewing"),
        }
        gate.close();
        lost.send_replace(true);
        return None;
    }
}

#[cfg(test)]
mod tests {
    use giliran_wire::ledger::Stage;

    use super::*;

    #[test]
    fn a_seal_is_the_end_where_nothing_stands_behind_it() {
        let sealed = Chain { generation: 3, seq: 57, stage: Stage::Sealed, ..Chain::new() };
        let end = |generation, seq, empty| End { generation, seq, empty };
        // The sealer died before the next stream's first block.
        assert!(end(4, 1_056, true).is_reached(&sealed));
        assert!(!end(4, 1_057, false).is_reached(&sealed));
        // A deposed writer appended behind the seal.
        assert!(end(3, 58, false).is_reached(&sealed));
        let open = Chain { stage: Stage::Open, ..sealed };
        assert!(!end(3, 58, false).is_reached(&open));
        assert!(!end(4, 1_056, true).is_reached(&open));
        assert!(end(3, 57, false).is_reached(&open));
    }
}
