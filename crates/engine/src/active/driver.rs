//! The active engine: from the take-over to the end of the last append.
//!
//! One loop owns the [`Sequencer`] and carries out its effects; intake, workers
//! and the answering task run beside it and end with it.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use giliran_allocator::StateMachine;
use giliran_nats::clock;
use giliran_nats::ledger::Ledger;
use giliran_nats::ledger::append::{AppendOutcome, Appender};
use giliran_sequencer::{Appended, Attempt, Effect, Now, ReadOutcome, Sequencer, StopReason};
use giliran_wire::ledger::Signed;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answering::{Answers, answer};
use super::pending_beacons::PendingBeacons;
use super::rolling::Asked;
use super::story::{self, Story};
use super::take_over::begin;
use crate::context::{EngineContext, WorkerContext};
use crate::error::EngineError;
use crate::reply::Ticket;
use crate::workers::{HandedOn, WorkerOutput};

/// Groups of decided requests that wait for the sequencer.
pub(super) const DECIDED_GROUPS: usize = 256;
/// How often metrics, openings and the high-water mark are looked after.
const HOUSEKEEPING: Duration = Duration::from_millis(200);
/// How long hashing the whole state may take, be it a large one.
const HASHED_WITHIN: Duration = Duration::from_secs(120);
/// How long the last block may take when the engine is asked to stop.
const LAST_BLOCK: Duration = Duration::from_secs(5);
/// How an engine stopped being active.
#[derive(Debug)]
pub(crate) enum ActiveEnd {
    /// Asked to stop; everything is committed.
    Stopped,
    /// Another engine is active, or may be.
    Deposed,
}

/// What the driver needs of the engine while it is active.
pub(crate) struct ActiveContext<'a> {
    pub(crate) engine: &'a EngineContext,
    /// The generation that is written.
    pub(crate) ledger: Ledger,
    /// Who ordered the take-over although something spoke against it.
    pub(crate) forced: Option<Signed>,
    /// Cancelled once the lease is not renewed any more.
    pub(crate) lease_lost: CancellationToken,
    pub(crate) shutdown: CancellationToken,
}

/// Serves from the take-over on. The state machine comes back with durable facts only, and
/// with it the generation it stands in.
pub(crate) async fn serve(
    context: ActiveContext<'_>,
    state: StateMachine,
) -> Result<(StateMachine, Ledger, ActiveEnd), EngineError> {
    let (driver, answers) = begin(context, state).await?;
    let answering = tokio::spawn(answer(answers, Arc::clone(&driver.shared)));
    let ended = Box::pin(driver.run()).await?;
    // The loop's end of the channel is gone: what it was given is still sent.
    let _ = answering.await;
    Ok(ended)
}

/// Work upon which the whole state may be hashed, for seconds perhaps: the tasks that
/// renew the lease and serve the connection must not wait for this thread, and the
/// loop is not stuck meanwhile.
pub(super) fn hashing<T>(engine: &EngineContext, work: impl FnOnce() -> T) -> T {
    engine.pulse.excuse(engine.gate.mono_ms() + HASHED_WITHIN.as_millis() as u64);
    let done = tokio::task::block_in_place(work);
    engine.pulse.excuse(0);
    done
}

pub(super) fn now(engine: &EngineContext) -> Now {
    Now { wall: clock::now(), mono_ms: engine.gate.mono_ms() }
}

/// The loop, its sequencer, and what runs beside them.
pub(super) struct SequencerDriver<'a> {
    pub(super) context: ActiveContext<'a>,
    pub(super) sequencer: Sequencer<Ticket>,
    pub(super) appender: Appender,
    pub(super) shared: Arc<WorkerContext>,
    pub(super) decided: mpsc::Receiver<WorkerOutput>,
    /// Given to the workers when they start.
    pub(super) decided_tx: Option<mpsc::Sender<WorkerOutput>>,
    pub(super) answers: mpsc::Sender<Answers>,
    pub(super) reads_tx: mpsc::Sender<(Attempt, ReadOutcome)>,
    pub(super) reads: mpsc::Receiver<(Attempt, ReadOutcome)>,
    pub(super) tasks: JoinSet<()>,
    pub(super) stop_intake: CancellationToken,
    /// The next generation's stream, and who asked for it, once it is made.
    pub(super) nexts_tx: mpsc::Sender<(Result<Ledger, giliran_nats::Error>, Asked)>,
    pub(super) nexts: mpsc::Receiver<(Result<Ledger, giliran_nats::Error>, Asked)>,
    /// One is being made; or could not be made, until then.
    pub(super) making_next: Option<Instant>,
    /// When the attempts of the block in flight were sent.
    pub(super) sent: HashMap<Attempt, Instant>,
    pub(super) awaited: PendingBeacons,
    pub(super) story: Story,
    /// More grants could be staged at once.
    pub(super) stages_on: bool,
}

impl SequencerDriver<'_> {
    async fn run(mut self) -> Result<(StateMachine, Ledger, ActiveEnd), EngineError> {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let lease_lost = self.context.lease_lost.clone();
        let shutdown = self.context.shutdown.clone();
        let watch = self.context.engine.health.watch().clone();
        let mut broken = Box::pin(watch.broken());
        let mut group = Vec::new();
        let mut stopping: Option<Instant> = None;
        let mut retired = false;
        self.perform().await?;
        loop {
            self.context.engine.pulse.beat();
            let now = now(self.context.engine);
            let tick = self.sequencer.next_tick_ms(now);
            let wait = tick.map_or(HOUSEKEEPING, |at| {
                Duration::from_millis(at.saturating_sub(now.mono_ms).max(1))
            });
            tokio::select! {
                biased;
                () = &mut broken => return self.break_off().await,
                () = lease_lost.cancelled(), if !retired => {
                    retired = true;
                    self.context.engine.gate.close();
                    self.stop_intake(false).await;
                    self.sequencer.retire();
                }
                () = shutdown.cancelled(), if stopping.is_none() => {
                    stopping = Some(Instant::now());
                    self.stop_intake(true).await;
                    self.take_decided(&mut group);
                    self.sequencer.finish(self::now(self.context.engine));
                }
                (number, outcome) = self.appender.next() => {
                    self.appended(Attempt::of_number(number), &outcome);
                }
                Some((attempt, read)) = self.reads.recv() => {
                    self.on_sequencer(|sequencer, now| sequencer.read(attempt, &read, now));
                }
                Some((next, asked)) = self.nexts.recv() => self.roll(next, asked),
                Some(ended) = self.tasks.join_next(), if !retired && stopping.is_none() => {
                    return Err(EngineError::TaskEnded(ended_how(ended)));
                }
                () = self.answers.closed() => return Err(no_answers()),
                _ = self.decided.recv_many(&mut group, DECIDED_GROUPS), if self.decided_tx.is_none() && !self.tasks.is_empty() => {
                    self.decide(&mut group);
                }
                _ = housekeeping.tick() => self.housekeeping().await?,
                // The task that sends and receives has its turn first.
                () = tokio::task::yield_now(), if self.stages_on => {}
                () = tokio::time::sleep(wait) => {
                    self.on_sequencer(Sequencer::tick);
                }
            }
            if let Some(why) = self.perform_and_stage().await? {
                return self.end(why, stopping.is_some()).await;
            }
            if stopping.is_some_and(|since| since.elapsed() > LAST_BLOCK) {
                tracing::warn!("the last block's outcome is unknown; the next engine will read it");
                return self.end(StopReason::Finished, true).await;
            }
            self.shared.backlog.store(self.sequencer.backlog(), Ordering::Relaxed);
        }
    }

    /// Hands on what workers could not settle, kind by kind, each kind in the order it came:
    /// changes of bookings, operators' actions, wishes to roll, entries, requests for
    /// rounds, and last grants with those who wait for what is not durable. That is the
    /// order in which a block takes them; where none is in flight, changes and actions
    /// leave at once, and the grants with the next.
    fn decide(&mut self, group: &mut Vec<WorkerOutput>) {
        let now = now(self.context.engine);
        let (mut changes, mut admin, mut rolls) = (Vec::new(), Vec::new(), Vec::new());
        let (mut entries, mut rounds) = (Vec::new(), Vec::new());
        let most = group.iter().map(|decided| decided.items.len()).sum();
        let (mut grants, mut waiting) = (Vec::with_capacity(most), Vec::new());
        for (item, ticket) in group.drain(..).flat_map(|decided| decided.items) {
            match item {
                HandedOn::Change(ask) => changes.push((*ask, ticket)),
                HandedOn::Admin(action) => admin.push((*action, ticket)),
                HandedOn::Roll(roll) => rolls.push((*roll, ticket)),
                HandedOn::Entry(entry) => entries.push((entry, ticket)),
                HandedOn::Round(ordinal, ask) => rounds.push((ordinal, *ask, ticket)),
                HandedOn::Grant(grant) => grants.push((grant, ticket)),
                HandedOn::Retry(ask) => waiting.push((*ask, ticket)),
            }
        }
        if !changes.is_empty() {
            self.sequencer.submit_changes(changes, now);
        }
        for (action, ticket) in admin {
            self.sequencer.submit_admin(action, ticket, now);
        }
        for (roll, ticket) in rolls {
            self.roll_is_wanted(roll, ticket);
        }
        self.sequencer.submit_entries(entries, now);
        self.sequencer.defer_to_round(rounds, now);
        self.sequencer.submit_grants(grants, waiting, now);
    }

    /// An input that may be the one upon which the generation is sealed.
    fn on_sequencer(&mut self, input: impl FnOnce(&mut Sequencer<Ticket>, Now)) {
        let now = now(self.context.engine);
        if self.sequencer.is_rolling() {
            hashing(self.context.engine, || input(&mut self.sequencer, now));
        } else {
            input(&mut self.sequencer, now);
        }
    }

    /// Takes what workers have passed on up to now.
    fn take_decided(&mut self, group: &mut Vec<WorkerOutput>) {
        while let Ok(decided) = self.decided.try_recv() {
            group.push(decided);
        }
        self.decide(group);
    }

    fn appended(&mut self, attempt: Attempt, outcome: &AppendOutcome) {
        let appended = match outcome {
            AppendOutcome::Stored { seq } => Appended::Stored { seq: *seq },
            AppendOutcome::WrongLastSequence => Appended::WrongLastSequence,
            AppendOutcome::Refused { code, description } => {
                tracing::warn!(code, description, "the ledger refused a block; trying on");
                Appended::Refused
            }
        };
        if let Some(sent) = self.sent.remove(&attempt) {
            self.shared.metrics.append.observe(sent.elapsed().as_secs_f64());
        }
        self.on_sequencer(|sequencer, now| sequencer.appended(attempt, appended, now));
    }

    /// Carries out what the sequencer wants, and then uses the time while a block is on its
    /// way; its end, if it came to one.
    async fn perform_and_stage(&mut self) -> Result<Option<StopReason>, EngineError> {
        if let Some(why) = self.perform().await? {
            return Ok(Some(why));
        }
        self.stages_on = self.sequencer.stage_ahead(now(self.context.engine));
        self.sequencer.prepare_part();
        // Who is told anything by that is told it now.
        self.perform().await
    }

    /// Carries out what the sequencer wants; its end, if it came to one.
    async fn perform(&mut self) -> Result<Option<StopReason>, EngineError> {
        let mut answers = Answers::default();
        let mut end = None;
        loop {
            let effects = self.sequencer.effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                match effect {
                    // What cannot be sent or read now is once no outcome has come.
                    Effect::Append { attempt, generation, expected_last, bytes } => {
                        if self.write_in(generation).await {
                            self.append(attempt, expected_last, bytes).await;
                        }
                    }
                    Effect::Read { attempt, generation, seq } => {
                        self.read(attempt, generation, seq);
                    }
                    Effect::Answer { ticket, request_id, outcome } => {
                        answers.outcomes.push((ticket, request_id, outcome));
                    }
                    Effect::Granted(grants) => answers.granted.push(grants),
                    Effect::Foreign(foreign) => self.context.engine.report(&foreign),
                    Effect::Active(position) => {
                        tracing::info!(epoch = position.epoch, seq = position.seq, "now active");
                        self.become_active(position).await?;
                    }
                    Effect::Idle(why) => end = Some(why),
                }
            }
        }
        if !answers.is_empty() && self.answers.send(answers).await.is_err() {
            return Err(no_answers());
        }
        Ok(end)
    }

    async fn append(&mut self, attempt: Attempt, expected_last: u64, bytes: bytes::Bytes) {
        let metrics = &self.shared.metrics;
        if let Some(grants) = self.sequencer.in_flight() {
            metrics.block_grants.observe(grants as f64);
        }
        metrics.block_bytes.observe(bytes.len() as f64);
        if !self.sent.is_empty() {
            metrics.append_retries.inc();
            self.sent.clear();
        }
        self.sent.insert(attempt, Instant::now());
        if let Err(error) =
            self.appender.send(&self.context.ledger, attempt.number(), expected_last, bytes).await
        {
            // The sequencer sends again when no outcome comes.
            tracing::warn!(%error, "a block could not be sent; trying on");
        }
    }

    fn read(&self, attempt: Attempt, generation: u32, seq: u64) {
        let (ledger, reads) = (self.context.ledger.clone(), self.reads_tx.clone());
        tokio::spawn(async move {
            let read = match look(&ledger, generation, seq).await {
                Ok(read) => read,
                Err(error) => {
                    tracing::warn!(%error, seq, "the ledger could not be read; trying on");
                    ReadOutcome::Failed
                }
            };
            // Nobody listens any more: the engine is no longer active.
            let _ = reads.send((attempt, read)).await;
        });
    }

    /// Ends intake and workers. `answer`: what had arrived is still decided;
    /// otherwise it is dropped.
    async fn stop_intake(&mut self, answer: bool) {
        self.stop_intake.cancel();
        if !answer {
            self.tasks.abort_all();
        }
        let mut group = Vec::new();
        loop {
            tokio::select! {
                ended = self.tasks.join_next() => if ended.is_none() { break },
                _ = self.decided.recv_many(&mut group, DECIDED_GROUPS), if !group.len().ge(&DECIDED_GROUPS) => {}
            }
            if answer {
                self.decide(&mut group);
            }
            group.clear();
        }
        while let Ok(decided) = self.decided.try_recv() {
            group.push(decided);
        }
        if answer {
            self.decide(&mut group);
        }
        // What was dropped in the queue does not wait any more.
        self.shared.metrics.queue_depth.set(0);
    }

    /// The ledger is not what it was: whether the block in flight is in it means
    /// nothing any more, and what this engine knows beside it neither.
    async fn break_off(mut self) -> Result<(StateMachine, Ledger, ActiveEnd), EngineError> {
        self.shared.metrics.clock_ahead.set(0);
        self.shared.metrics.draws_awaiting_beacon.set(0);
        self.context.engine.gate.close();
        self.stop_intake(false).await;
        drop(self.sequencer.into_state());
        let broken = self.context.engine.health.watch().check().err();
        // It may have been whole again by now; then all is read anew, no more.
        let error = broken.unwrap_or_else(|| giliran_nats::Error::plain("the ledger was broken"));
        Err(error.into())
    }

    /// What has happened since the last look, in the log.
    fn tell(&mut self, now: Now) {
        self.sequencer.take_acted().iter().for_each(story::log_acted);
        let allocator = self.sequencer.allocator();
        let time = allocator.engine_time(self.sequencer.time(now));
        self.story.look(&allocator.openings(), time, now.mono_ms);
    }

    async fn end(
        mut self,
        why: StopReason,
        stopping: bool,
    ) -> Result<(StateMachine, Ledger, ActiveEnd), EngineError> {
        self.shared.metrics.clock_ahead.set(0);
        self.shared.metrics.draws_awaiting_beacon.set(0);
        self.context.engine.gate.close();
        self.stop_intake(false).await;
        self.tell(now(self.context.engine));
        let state = self.sequencer.into_state();
        let end = match why {
            StopReason::Damaged(source) => return Err(EngineError::Damage(source)),
            StopReason::Lost(source) => return Err(EngineError::Lost(source)),
            StopReason::Finished if stopping => ActiveEnd::Stopped,
            StopReason::Deposed | StopReason::Finished => ActiveEnd::Deposed,
        };
        Ok((state, self.context.ledger, end))
    }

    /// Openings that are due and not on record yet.
    pub(super) fn put_openings_on_record(&mut self) {
        let engine = self.context.engine;
        if self.sequencer.records_openings() {
            return;
        }
        let now = now(engine);
        let new = engine.due_openings(self.sequencer.time(now), self.sequencer.state());
        if !new.is_empty() {
            self.sequencer.record_openings(new, now);
        }
    }

    async fn housekeeping(&mut self) -> Result<(), EngineError> {
        let engine = self.context.engine;
        let now = now(engine);
        let tallies = self.shared.tallies.lock();
        self.sequencer.count_rejections(std::mem::take(
            &mut *tallies.unwrap_or_else(PoisonError::into_inner),
        ));
        // Also where nothing comes in: a clock that is right again is to be seen.
        self.sequencer.tick(now);
        let not_believed = now.wall.millis_since(self.sequencer.time(now));
        self.shared.not_believed_ms.store(not_believed, Ordering::Relaxed);
        if self.decided_tx.is_none() && self.sequencer.is_active() {
            if engine.beside.is_due() {
                self.put_openings_on_record();
            }
            self.roll_if_long();
        }
        self.tell(now);
        for (kind, count) in self.sequencer.take_changed() {
            self.shared.metrics.changes.with_label_values(&[kind.name()]).inc_by(count);
        }
        let (state, network) = (self.sequencer.state(), &engine.options.config.beacon);
        let time = self.sequencer.time(now);
        self.awaited.look(state, &self.shared.metrics, network.as_ref(), time);
        let chain = state.chain();
        engine.publish_gauges(chain, self.sequencer.allocator());
        let ahead = self.sequencer.clock_is_ahead();
        if ahead != (self.shared.metrics.clock_ahead.get() == 1) {
            self.shared.metrics.clock_ahead.set(i64::from(ahead));
            if ahead {
                tracing::error!(
                    "the clock has jumped ahead by more than a minute: no hold ends and nothing \
                     is released until it is back; restart the engine if it is right now"
                );
            } else {
                tracing::info!("the clock is believed again");
            }
        }
        self.shared.metrics.backlog.set(self.sequencer.backlog() as i64);
        engine.marker.check()?;
        Ok(())
    }
}

/// How a task of intake or deciding came to an end that nobody asked for.
fn ended_how(ended: Result<(), tokio::task::JoinError>) -> String {
    match ended {
        Ok(()) => "a subscription or a queue was closed".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn no_answers() -> EngineError {
    EngineError::TaskEnded("the answering task is gone".to_owned())
}

/// What stands at a sequence of a generation's stream, by its leader.
async fn look(
    ledger: &Ledger,
    generation: u32,
    seq: u64,
) -> Result<ReadOutcome, giliran_nats::Error> {
    let stream = ledger.of_generation(generation).await?.ok_or_else(|| ledger.gone(generation))?;
    Ok(match stream.read_at(seq).await? {
        Some(bytes) => ReadOutcome::Found(bytes),
        None => ReadOutcome::Nothing { tail: stream.tail().await?.1 },
    })
}

#[cfg(test)]
mod tests {
    use giliran_nats::server::Server;
    use giliran_nats::{connection, ledger};
    use giliran_testkit::{LEDGER, genesis, server_options};
    use giliran_wire::ApplicantKey;
    use giliran_wire::ledger::Genesis;
    use prometheus::Registry;

    use super::*;
    use crate::metrics::Metrics;
    use crate::options::Options;

    const FILE: &str = r#"
subject_prefix = "giliran.v1"
applicant_pattern = "^[0-9]+$"
[schedule]
timezone = "UTC"
opens = "Fri 14:00"
lasts = "48h"
covers = ["Mon"]
[[office]]
id = "a"
name = "a"
[[office.session]]
id = "s"
label = "s"
quota = 1
"#;

    async fn engine(server: &Server, data: &std::path::Path) -> EngineContext {
        let client = connection::connect(&server.url(), "test", &Default::default()).await.unwrap();
        let options = Options {
            name: "test".into(),
            config: giliran_config::parse(FILE, "test.toml").unwrap(),
            key: ApplicantKey::new(&[1; 32]),
            data: data.into(),
            workers: 1,
            trust_clock: None,
        };
        EngineContext::new(options, client, Metrics::register(&Registry::new()).unwrap())
    }

    /// A task that decides panics, or the one that answers is gone: the driver does not go
    /// on without it.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_task_that_ends_by_itself_ends_the_term() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(server_options(folder.path())).await.unwrap();
        let engine = engine(&server, folder.path()).await;
        let genesis = Genesis {
            prefix: engine.options.config.namespace.prefix().into(),
            applicant_key: engine.options.key.fingerprint(),
            ..genesis()
        };
        let (client, namespace) = (&engine.client, &engine.options.config.namespace);
        let ledger =
            ledger::init(client, namespace, genesis, LEDGER, clock::now(), 1).await.unwrap();
        for answers_gone in [false, true] {
            let mut state = StateMachine::new();
            for seq in 1..=ledger.tail().await.unwrap().1 {
                state.fold(seq, &ledger.read_at(seq).await.unwrap().unwrap()).unwrap();
            }
            let (lease_lost, shutdown) = (CancellationToken::new(), CancellationToken::new());
            let (engine, ledger) = (&engine, ledger.clone());
            let context = ActiveContext { engine, ledger, forced: None, lease_lost, shutdown };
            let (mut driver, answers) = begin(context, state).await.unwrap();
            if answers_gone {
                drop(answers);
            } else {
                driver.tasks.spawn(async { panic!("a worker's panic") });
            }
            let ended = tokio::time::timeout(Duration::from_secs(10), Box::pin(driver.run())).await;
            let expected = if answers_gone { "answering task" } else { "panic" };
            let error = ended.unwrap().unwrap_err();
            assert!(matches!(&error, EngineError::TaskEnded(what) if what.contains(expected)));
        }
    }
}
