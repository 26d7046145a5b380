//! The engine's roles: follow the ledger, take over, serve, step down.
//!
//! ```text
//!  starting ──ledger read, mark checked──▶ standby ──lease──▶ taking over ──take-over durable──▶ active
//!                                            ▲                                                  │
//!                                            └──────────── lease gone, or deposed ──────────────┘
//! ```
//!
//! The lease says who should try; the ledger's fence says who may write.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use giliran_allocator::{Allocator, Calendar, Folded, StateMachine};
use giliran_config::Config;
use giliran_nats::ErrorKind;
use giliran_nats::clock::{self, Moment};
use giliran_nats::follower::{self, Follower, Health, Passes, Progress, Trouble};
use giliran_nats::lease::{Held, Lease};
use giliran_nats::ledger::{self, Ledger};
use giliran_nats::state::{Report, State};
use giliran_nats::watch::{Mark, Seen};
use giliran_sequencer::Lost;
use giliran_wire::ledger::{Chain, Damage, Foreign, OpeningRecord, Signed};
use giliran_wire::{ApplicantKey, KeyFingerprint, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::active::driver::{self, ActiveContext};
use crate::active::lease_guard::{LeaseGuard, Pulse};
use crate::active::marker::{Disk, Marker};
use crate::active::renewal::{give_back, renew};
use crate::beside::Beside;
use crate::high_water::{HighWater, HighWaterError};
use crate::metrics::Metrics;
use crate::snapshot::SnapshotFile;
use crate::witness::{self, MAX_OFFSET_MS};

/// How long a lease lasts without renewal.
pub const LEASE_TTL: Duration = Duration::from_secs(3);
/// How long before its opening an opening is put on record.
const HORIZON: Duration = Duration::from_secs(14 * 24 * 3600);
/// Most blocks folded between two looks at the outside.
const FOLD_BLOCKS: usize = 1_024;
/// How long a follower waits for the next block before it looks at the lease.
const FOLLOW_WAIT: Duration = Duration::from_millis(100);
/// How long a candidate may take to read up to the ledger's end; then another one
/// may be better off.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(2);
/// Pause after a take-over that came to nothing.
const PAUSE: Duration = Duration::from_millis(250);

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name in ledger, lease and logs.
    pub name: String,
    /// The configuration in the file; what counts is what is on record.
    pub config: Config,
    pub key: ApplicantKey,
    /// Holds the high-water mark.
    pub data: PathBuf,
    /// Deciding threads at once.
    pub workers: usize,
    /// Who says that this machine's clock is right though the broker's says otherwise,
    /// and why; goes on record where it comes to that.
    pub trust_clock: Option<Signed>,
}

/// What there is to see of an engine.
#[derive(Debug, Clone)]
pub struct View {
    view: follower::View,
    gate: Arc<LeaseGuard>,
    pulse: Arc<Pulse>,
    disk: Disk,
    metrics: Metrics,
    beside: Arc<Beside>,
}

impl View {
    /// How the engine stands at this moment, and how far it has come. One whose lease
    /// is gone is not active, whatever its loop has come to.
    pub fn look(&self) -> (Report, Progress) {
        let (mut report, progress) = self.view.look();
        if report.state == State::Active && (self.pulse.is_stuck() || !self.gate.stands()) {
            let detail = if self.pulse.is_stuck() {
                "the engine is stuck, and does not renew its lease; look what else this machine does"
            } else {
                "its lease is not renewed: it decides nothing until it has it again"
            };
            report = Report { state: State::SteppingDown, detail: detail.to_owned() };
        }
        self.metrics.active.set((report.state == State::Active).into());
        let offset = self.view.seen().clock_offset_ms.unwrap_or(0);
        if report.state == State::Active && offset.abs() > MAX_OFFSET_MS {
            let seconds = offset / 1_000;
            add(&mut report, &format!("this machine's clock is {seconds} s ahead of the broker's"));
        }
        if let Some(hangs) = self.disk.hangs_for() {
            let seconds = hangs.as_secs();
            add(&mut report, &format!("the data folder's disk has taken no write for {seconds} s"));
        }
        (report, progress)
    }

    /// What the watch beside it has seen.
    pub fn seen(&self) -> Seen {
        self.view.seen()
    }

    /// What of the openings is not as its file says, in words.
    pub fn warnings(&self) -> Vec<String> {
        self.beside.shown()
    }
}

fn add(report: &mut Report, detail: &str) {
    let join = if report.detail.is_empty() { "" } else { "; " };
    report.detail.push_str(join);
    report.detail.push_str(detail);
}

/// Why an engine ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The ledger cannot be read any further.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// A task that decides or answers ended by itself. What it held is given back,
    /// but what it was doing is not known.
    #[error("a task of the engine ended: {0}. Start the engine again; its log says more")]
    TaskEnded(String),
    /// The ledger does not hold what it held.
    #[error("{0}. Restore the newest copy of the stream, then restart whatever reads it")]
    Lost(Lost),
    /// The high-water mark cannot be read or written.
    #[error("{0}")]
    HighWater(Arc<HighWaterError>),
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
    /// An opening on record goes by a time zone that this release does not know.
    #[error(
        "opening {opening} on record has the time zone {timezone:?}, which the time zone data of \
         this release ({}) do not know: nobody could tell when its days begin. Run the release \
         that put it on record, or a later one",
        Calendar::data()
    )]
    UnknownZone {
        opening: String,
        /// Its time zone, as on record.
        timezone: String,
    },
    /// The stream is there, but holds nothing.
    #[error(
        "the ledger stream is empty: it was recreated, or `giliran init` did not finish. An \
         engine never begins a ledger; run `giliran init` if there is none to restore"
    )]
    NoGenesis,
    /// A subject could not be subscribed to.
    #[error("subscribe to {subject}: {source}")]
    Subscribe { subject: String, source: async_nats::SubscribeError },
    /// The connection was gone before the subscriptions were made.
    #[error("subscriptions could not be made: {0}")]
    Flush(async_nats::client::FlushError),
    /// The broker refused or cannot do something.
    #[error(transparent)]
    Broker(#[from] giliran_nats::Error),
}

impl From<HighWaterError> for EngineError {
    fn from(error: HighWaterError) -> Self {
        Self::HighWater(Arc::new(error))
    }
}

impl From<Arc<HighWaterError>> for EngineError {
    fn from(error: Arc<HighWaterError>) -> Self {
        Self::HighWater(error)
    }
}

impl Trouble for EngineError {
    fn trouble(&self) -> Option<State> {
        match self {
            Self::Damage(_) => Some(State::Damaged),
            Self::Lost(_) => Some(State::LedgerLost),
            Self::NoGenesis => Some(State::NoLedger),
            Self::Subscribe { .. } | Self::Flush(_) => Some(State::NatsUnavailable),
            Self::Broker(error) => Some(State::of(error.kind())),
            // Of this machine alone, and nobody else can mend it.
            Self::HighWater(_)
            | Self::OtherKey { .. }
            | Self::UnknownZone { .. }
            | Self::TaskEnded(_) => None,
        }
    }
}

/// An engine; [`run`](Self::run) is its life.
#[derive(Debug)]
pub struct Engine {
    pub(crate) options: Options,
    pub(crate) client: async_nats::Client,
    pub(crate) gate: Arc<LeaseGuard>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) marker: Marker,
    high_water: HighWater,
    pub(crate) snapshot: SnapshotFile,
    /// A snapshot that is on its way to the disk.
    pub(crate) writing: Mutex<Option<tokio::task::JoinHandle<()>>>,
    pub(crate) beside: Arc<Beside>,
}

impl Engine {
    /// An engine that has not started. The watch beside it begins to look at once, so
    /// this is called within a runtime.
    pub fn new(options: Options, client: async_nats::Client, metrics: Metrics) -> Self {
        let high_water = HighWater::new(&options.data);
        Self {
            marker: Marker::start(&high_water),
            high_water,
            snapshot: SnapshotFile::new(&options.data),
            health: Health::new(&client, &options.config.namespace, "engine"),
            options,
            client,
            gate: Arc::new(LeaseGuard::new()),
            pulse: Arc::default(),
            metrics,
            writing: Mutex::default(),
            beside: Arc::default(),
        }
    }

    /// What there is to see of it.
    pub fn view(&self) -> View {
        let (gate, pulse) = (Arc::clone(&self.gate), Arc::clone(&self.pulse));
        let (disk, metrics) = (self.marker.disk(), self.metrics.clone());
        let beside = Arc::clone(&self.beside);
        View { view: self.health.view(), gate, pulse, disk, metrics, beside }
    }

    /// Follows, takes over, serves, until `shutdown` is cancelled. A broker that is away
    /// is waited for; and so is what somebody has to mend, as a ledger that lost
    /// blocks. It says meanwhile what is wrong.
    ///
    /// # Errors
    ///
    /// [`EngineError`] where it must not, or cannot, go on for a reason of this
    /// machine's.
    pub async fn run(
        &self,
        ledger: Ledger,
        lease: Lease,
        shutdown: CancellationToken,
    ) -> Result<(), EngineError> {
        let mut passes = Passes::new(&self.health, &shutdown);
        let ended = loop {
            let pass = Box::pin(self.live(&ledger, &lease, &shutdown)).await;
            if let ControlFlow::Break(ended) = passes.after(pass).await {
                break ended;
            }
        };
        self.settle_snapshot().await;
        let ended = ended.and(self.marker.settle().await.map_err(EngineError::from));
        self.health.ended(&ended);
        ended
    }

    async fn live(
        &self,
        ledger: &Ledger,
        lease: &Lease,
        shutdown: &CancellationToken,
    ) -> Result<(), EngineError> {
        self.health.set_state(State::Starting, "");
        let (mut state, mut ledger) = self.begin(&ledger.newest().await?).await?;
        let mut written = state.chain().seq;
        let mut first = true;
        while !shutdown.is_cancelled() {
            let mut follower =
                Follower::new(self.health.watch(), ledger, state.chain().seq + 1, None);
            if first && !self.start(&mut state, &mut follower, shutdown).await? {
                return Ok(());
            }
            first = false;
            self.health.set_state(State::Standby, "");
            let waiting = (lease, &mut written);
            let standing = Box::pin(self.stand_by(&mut state, &mut follower, waiting, shutdown));
            let Some(held) = standing.await? else {
                self.write_snapshot(&state, &mut written);
                return Ok(());
            };
            self.health.set_state(State::TakingOver, "");
            ledger = follower.ledger().clone();
            if !self.catch_up(&mut state, &mut follower).await? {
                give_back(held).await;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            if let Err(unknown) = knows_zones(&state) {
                give_back(held).await;
                return Err(unknown);
            }
            ledger = follower.ledger().clone();
            drop(follower);
            let Ok(forced) = self.believes_its_clock(&held) else {
                give_back(held).await;
                continue;
            };
            let ground = (ledger, forced);
            let (back, at, end) = Box::pin(self.serve(held, state, ground, shutdown)).await?;
            (state, ledger) = (back, at);
            self.health.stands(state.chain());
            self.marker.persist_high_water(Mark::of(state.chain()));
            if matches!(end, driver::ActiveEnd::Stopped) {
                self.write_snapshot(&state, &mut written);
                tracing::info!("stepped down");
                return Ok(());
            }
            tracing::warn!("no longer active; following the ledger");
        }
        Ok(())
    }

    /// Active until the lease is gone, which is renewed beside it.
    async fn serve(
        &self,
        held: Held,
        state: StateMachine,
        (ledger, forced): (Ledger, Option<Signed>),
        shutdown: &CancellationToken,
    ) -> Result<(StateMachine, Ledger, driver::ActiveEnd), EngineError> {
        self.gate.renewed(held.renewed_at(), LEASE_TTL);
        let (lease_lost, stop_renewing) = (CancellationToken::new(), CancellationToken::new());
        let (gate, pulse) = (Arc::clone(&self.gate), Arc::clone(&self.pulse));
        let lost = lease_lost.clone().drop_guard();
        let renewing = tokio::spawn(renew(held, gate, pulse, lost, stop_renewing.clone()));
        let shutdown = shutdown.clone();
        let context = ActiveContext { engine: self, ledger, forced, lease_lost, shutdown };
        let served = Box::pin(driver::serve(context, state)).await;
        stop_renewing.cancel();
        self.gate.close();
        if let Some(held) = renewing.await.ok().flatten() {
            give_back(held).await;
        }
        self.pulse.set_stuck(false);
        served
    }

    /// Checks the ledger against the mark, reads it to its end, and checks it against
    /// the key; false: asked to stop meanwhile.
    async fn start(
        &self,
        state: &mut StateMachine,
        follower: &mut Follower,
        shutdown: &CancellationToken,
    ) -> Result<bool, EngineError> {
        if let Some(mark) = self.high_water.read()? {
            self.health.watch().hold(Some(mark));
            self.health.watch().confirm(&mark).await?;
        }
        let end = End::of(follower.ledger()).await?;
        let started = Instant::now();
        let mut read = 0;
        while !end.is_reached(state.chain()) {
            if shutdown.is_cancelled() {
                return Ok(false);
            }
            read += self.follow(state, follower).await?;
            self.health.stands(state.chain());
        }
        let genesis = state.genesis().ok_or(EngineError::NoGenesis)?;
        let (made_with, own) = (genesis.applicant_key, self.options.key.fingerprint());
        if made_with != own {
            return Err(EngineError::OtherKey { ledger: made_with, own });
        }
        knows_zones(state)?;
        tracing::info!(
            blocks = read,
            generation = state.chain().generation,
            bookings = state.allocator().bookings(),
            entries = state.allocator().entries(),
            millis = started.elapsed().as_millis() as u64,
            "ledger read"
        );
        Ok(true)
    }

    /// Follows the ledger until it has the lease; `None`: asked to stop.
    async fn stand_by(
        &self,
        state: &mut StateMachine,
        follower: &mut Follower,
        (lease, written): (&Lease, &mut u64),
        shutdown: &CancellationToken,
    ) -> Result<Option<Held>, EngineError> {
        loop {
            if shutdown.is_cancelled() {
                return Ok(None);
            }
            if let Some(wrong) = self.distrusted_clock() {
                self.health.set_state(State::ClockWrong, wrong);
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return Ok(None),
                    passed = self.pass(state, follower) => passed?,
                }
                continue;
            }
            match lease.acquire(LEASE_TTL).await {
                Ok(Some(held)) => return Ok(Some(held)),
                Ok(None) => {
                    self.health.set_state(State::Standby, "");
                    // Another engine serves: there is time.
                    self.write_snapshot(state, written);
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    // Where NATS or the ledger is away, the watch says so.
                    tracing::debug!(%error, "the lease cannot be asked for; trying on");
                }
                Err(error) => self.health.set_state(State::of(error.kind()), error.to_string()),
            }
            let mut free = Box::pin(lease.freed());
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return Ok(None),
                    () = &mut free => break,
                    passed = self.pass(state, follower) => passed?,
                }
                if self.health.reports().is(State::Standby) {
                    let doubt = state.chain().doubt.map(|doubt| format!("behind {doubt}"));
                    self.health.set_state(State::Standby, doubt.unwrap_or_default());
                }
            }
        }
    }

    /// Follows for a moment, and shows how far it has come.
    async fn pass(
        &self,
        state: &mut StateMachine,
        follower: &mut Follower,
    ) -> Result<(), EngineError> {
        self.follow(state, follower).await?;
        self.publish_gauges(state.chain(), state.allocator());
        if self.beside.is_due() {
            // What is missing is for the one that serves to put on record.
            drop(self.due_openings(clock::now(), state));
        }
        Ok(self.marker.check()?)
    }

    /// Why this machine's clock is not to be believed, by what the watch has seen; none:
    /// it is, or somebody answers for it.
    fn distrusted_clock(&self) -> Option<String> {
        let seen = self.health.watch().seen();
        let wrong = witness::wrong(clock::now(), seen.clock_offset_ms, seen.last_stored);
        wrong.filter(|_| self.options.trust_clock.is_none())
    }

    /// The last word before a take-over, by the lease's own record: who answers for a
    /// clock that is off, if it is; an error where nobody does.
    fn believes_its_clock(&self, held: &Held) -> Result<Option<Signed>, ()> {
        let (now, offset) = (clock::now(), Some(held.clock_offset_ms()));
        let seen = self.health.watch().seen();
        match (witness::wrong(now, offset, seen.last_stored), &self.options.trust_clock) {
            (None, _) => Ok(None),
            (Some(wrong), None) => {
                self.health.set_state(State::ClockWrong, wrong);
                Err(())
            }
            (Some(_), Some(signed)) => {
                let Signed { operator, reason } = signed;
                tracing::warn!(operator, reason, "taking over by a clock that the broker denies");
                Ok(Some(signed.clone()))
            }
        }
    }

    /// Reads up to the ledger's end as its leader tells it, and finds the last block
    /// there. False: not now, another candidate may be better off.
    async fn catch_up(
        &self,
        state: &mut StateMachine,
        follower: &mut Follower,
    ) -> Result<bool, EngineError> {
        let since = Moment::now();
        let end = match End::of(follower.ledger()).await {
            Err(EngineError::Broker(error)) if error.kind() == ErrorKind::Unavailable => {
                return Ok(false);
            }
            end => end?,
        };
        while !end.is_reached(state.chain()) {
            if since.elapsed() > CATCH_UP_WITHIN {
                tracing::warn!("the ledger's end is out of reach; giving the lease back");
                return Ok(false);
            }
            self.follow(state, follower).await?;
        }
        let Some(mark) = Mark::of(state.chain()) else { return Ok(false) };
        self.health.watch().hold(Some(mark));
        match self.health.watch().confirm(&mark).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Unavailable => Ok(false),
            // Nobody takes over on a ledger that does not hold what was read from it.
            Err(error) => Err(error.into()),
        }
    }

    /// Folds what there is, or waits a moment for more; how many blocks there were.
    /// Goes on in the next stream where this one is sealed.
    async fn follow(
        &self,
        state: &mut StateMachine,
        follower: &mut Follower,
    ) -> Result<u64, EngineError> {
        let blocks = follower.next(state.chain(), FOLD_BLOCKS, FOLLOW_WAIT).await?;
        let read = blocks.len() as u64;
        let fold = || {
            for (seq, bytes) in blocks {
                if let Folded::Foreign(foreign) = state.fold(seq, &bytes)? {
                    self.report(&foreign);
                }
            }
            Ok::<_, Damage>(())
        };
        // A seal has the whole state hashed: other tasks do not wait for that.
        tokio::task::block_in_place(fold)?;
        let goes_on = match follower.rebuilt() {
            Some(begin) => state.goes_on_in(begin)?,
            None => false,
        };
        let chain = state.chain();
        if chain.is_sealed() || goes_on {
            follower.pass_seal(chain.generation, chain.seq).await?;
        }
        Ok(read)
    }

    /// Tells operators of a foreign message.
    pub(crate) fn report(&self, foreign: &Foreign) {
        self.metrics.foreign.inc();
        ledger::report(foreign);
    }

    /// Openings of the file that should be on record at `now` and are not. What is not
    /// as the file says is told.
    pub(crate) fn due_openings(&self, now: Timestamp, state: &StateMachine) -> Vec<OpeningRecord> {
        let (config, openings) = (&self.options.config, state.allocator().openings());
        let known = |id: &str| state.knows_opening(id);
        let compared = config.compare(now, HORIZON.as_millis() as u64, &openings, known);
        self.beside.look(&compared.findings, &self.metrics);
        compared.new
    }

    /// Shows position and places, and wants the position remembered.
    pub(crate) fn publish_gauges(&self, chain: &Chain, allocator: &Arc<Allocator>) {
        self.health.watch().hold(Mark::of(chain));
        self.marker.persist_high_water(Mark::of(chain));
        self.health.stands(chain);
        let metrics = &self.metrics;
        metrics.epoch.set(chain.epoch as i64);
        metrics.seq.set(chain.seq as i64);
        metrics.generation.set(chain.generation.into());
        metrics.places.show(allocator);
    }
}

/// Whether this release knows the time zones of all openings in memory: another one
/// may have put them on record.
fn knows_zones(state: &StateMachine) -> Result<(), EngineError> {
    let openings = state.allocator().openings();
    match openings.iter().find(|opening| !opening.zone_is_known()) {
        None => Ok(()),
        Some(opening) => Err(EngineError::UnknownZone {
            opening: opening.id().to_owned(),
            timezone: opening.record().timezone.clone(),
        }),
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

#[cfg(test)]
mod tests {
    use giliran_testkit::LedgerBuilder;
    use giliran_wire::ledger::Stage;

    use super::*;

    /// A ledger with an opening in this time zone.
    fn with_zone(timezone: &str) -> StateMachine {
        let at = Timestamp::from_millis(1_795_762_800_000);
        let mut record = Config::dev(at).due(at, 0).remove(0);
        record.timezone = timezone.into();
        LedgerBuilder::with([record], at).folded()
    }

    /// It would else begin its days by another clock than the one who wrote it.
    #[test]
    fn nobody_serves_an_opening_whose_zone_it_does_not_know() {
        assert!(knows_zones(&with_zone("Asia/Jakarta")).is_ok());
        let refused = knows_zones(&with_zone("Asia/Atlantis")).unwrap_err().to_string();
        assert!(refused.contains("opening dev on record has the time zone"), "{refused}");
        assert!(refused.contains("Asia/Atlantis"), "{refused}");
    }

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
