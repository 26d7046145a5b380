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
use std::sync::Arc;
use std::time::Duration;

use giliran_allocator::StateMachine;
use giliran_nats::follower::{self, Follower, Passes, Progress};
use giliran_nats::lease::{Held, Lease};
use giliran_nats::ledger::Ledger;
use giliran_nats::state::{Report, State};
use giliran_nats::watch::{Mark, Seen};
use giliran_wire::ledger::Signed;
use tokio_util::sync::CancellationToken;

use crate::active::driver::{self, ActiveContext};
use crate::active::renewal::{give_back, renew};
use crate::beside::Beside;
use crate::context::EngineContext;
use crate::error::EngineError;
use crate::lease_guard::{LEASE_TTL, LeaseGuard, Pulse};
use crate::marker::Disk;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::snapshot::Snapshots;
use crate::standby::{Standby, knows_zones};
use crate::witness::MAX_OFFSET_MS;

/// Pause after a take-over that came to nothing.
const PAUSE: Duration = Duration::from_millis(250);

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

/// An engine; [`run`](Self::run) is its life.
#[derive(Debug)]
pub struct Engine {
    context: EngineContext,
    snapshots: Snapshots,
}

impl Engine {
    /// An engine that has not started. The watch beside it begins to look at once, so
    /// this is called within a runtime.
    pub fn new(options: Options, client: async_nats::Client, metrics: Metrics) -> Self {
        let snapshots = Snapshots::new(&options.data);
        Self { context: EngineContext::new(options, client, metrics), snapshots }
    }

    /// What there is to see of it.
    pub fn view(&self) -> View {
        let (gate, pulse) = (Arc::clone(&self.context.gate), Arc::clone(&self.context.pulse));
        let (disk, metrics) = (self.context.marker.disk(), self.context.metrics.clone());
        let beside = Arc::clone(&self.context.beside);
        View { view: self.context.health.view(), gate, pulse, disk, metrics, beside }
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
        let mut passes = Passes::new(&self.context.health, &shutdown);
        let ended = loop {
            let pass = Box::pin(self.live(&ledger, &lease, &shutdown)).await;
            if let ControlFlow::Break(ended) = passes.after(pass).await {
                break ended;
            }
        };
        self.snapshots.settle().await;
        let ended = ended.and(self.context.marker.settle().await.map_err(EngineError::from));
        self.context.health.ended(&ended);
        ended
    }

    async fn live(
        &self,
        ledger: &Ledger,
        lease: &Lease,
        shutdown: &CancellationToken,
    ) -> Result<(), EngineError> {
        self.context.health.set_state(State::Starting, "");
        let (mut state, mut ledger) = self.snapshots.begin(&ledger.newest().await?).await?;
        let mut written = state.chain().seq;
        let standby = Standby { engine: &self.context, snapshots: &self.snapshots };
        let mut first = true;
        while !shutdown.is_cancelled() {
            let mut follower =
                Follower::new(self.context.health.watch(), ledger, state.chain().seq + 1, None);
            if first && !standby.start(&mut state, &mut follower, shutdown).await? {
                return Ok(());
            }
            first = false;
            self.context.health.set_state(State::Standby, "");
            let waiting = (lease, &mut written);
            let standing = Box::pin(standby.stand_by(&mut state, &mut follower, waiting, shutdown));
            let Some(held) = standing.await? else {
                self.snapshots.settle().await;
                self.snapshots.write(&state, &mut written);
                return Ok(());
            };
            self.context.health.set_state(State::TakingOver, "");
            ledger = follower.ledger().clone();
            if !standby.catch_up(&mut state, &mut follower).await? {
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
            state.expect_no_more();
            let Ok(forced) = standby.believes_its_clock(&held) else {
                give_back(held).await;
                continue;
            };
            let ground = (ledger, forced);
            let (back, at, end) = Box::pin(self.serve(held, state, ground, shutdown)).await?;
            (state, ledger) = (back, at);
            self.context.health.stands(state.chain());
            self.context.marker.persist_high_water(Mark::of(state.chain()));
            if matches!(end, driver::ActiveEnd::Stopped) {
                self.snapshots.settle().await;
                self.snapshots.write(&state, &mut written);
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
        self.context.gate.renewed(held.renewed_at(), LEASE_TTL);
        let (lease_lost, stop_renewing) = (CancellationToken::new(), CancellationToken::new());
        let (gate, pulse) = (Arc::clone(&self.context.gate), Arc::clone(&self.context.pulse));
        let lost = lease_lost.clone().drop_guard();
        let renewing = tokio::spawn(renew(held, gate, pulse, lost, stop_renewing.clone()));
        let shutdown = shutdown.clone();
        let context = ActiveContext { engine: &self.context, ledger, forced, lease_lost, shutdown };
        let served = Box::pin(driver::serve(context, state)).await;
        stop_renewing.cancel();
        self.context.gate.close();
        if let Some(held) = renewing.await.ok().flatten() {
            give_back(held).await;
        }
        self.context.pulse.set_stuck(false);
        served
    }
}
