//! From the take-over to the first request: the sequencer is made, and intake and workers
//! begin once the take-over is durable.

use std::collections::HashMap;
use std::sync::Arc;

use giliran_allocator::StateMachine;
use giliran_nats::state::State;
use giliran_sequencer::{Continuation, Sequencer};
use giliran_wire::ledger::TakeOver;
use giliran_wire::{Position, WriterNonce};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answering::{ANSWER_GROUPS, Answers};
use super::driver::{ActiveContext, DECIDED_GROUPS, SequencerDriver, hashing, now};
use super::pending_beacons::PendingBeacons;
use super::story::Story;
use crate::context::WorkerContext;
use crate::error::EngineError;
use crate::intake::{self, IntakeSender, Operation};
use crate::workers;

/// A driver that does not run yet, and what the answering task is to send.
pub(super) async fn begin(
    context: ActiveContext<'_>,
    state: StateMachine,
) -> Result<(SequencerDriver<'_>, mpsc::Receiver<Answers>), EngineError> {
    let engine = context.engine;
    let writer = WriterNonce(rand::random());
    let take_over = TakeOver {
        engine: engine.options.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        forced: context.forced.clone(),
    };
    let shared = Arc::new(WorkerContext {
        client: engine.client.clone(),
        allocator: Arc::clone(state.allocator()),
        key: engine.options.key.clone(),
        applicant_pattern: engine.options.config.applicant_pattern.clone(),
        reply_prefixes: engine.options.config.reply_prefixes.clone(),
        gate: Arc::clone(&engine.gate),
        metrics: engine.metrics.clone(),
        backlog: 0.into(),
        tallies: Default::default(),
        not_believed_ms: 0.into(),
    });
    let now = now(engine);
    let story = Story::new(&state.allocator().openings(), state.allocator().engine_time(now.wall));
    let chain = state.chain();
    // Beyond a seal that an engine before has left.
    let next = if chain.is_sealed() {
        let (generation, ledger) = (chain.generation + 1, &context.ledger);
        let next = ledger.of_generation(generation).await?;
        Some(next.ok_or_else(|| ledger.gone(generation))?)
    } else {
        None
    };
    let next = Continuation { first: next.map(|next| next.first()), ..Continuation::default() };
    let random = Box::new(rand::random::<u128>);
    // Where a begin is to be completed, the whole state is hashed.
    let sequencer =
        hashing(engine, || Sequencer::take_over(state, writer, take_over, random, next, now));
    let sequencer = sequencer
        .with_order_key(engine.options.key.order())
        .with_beacon(engine.options.config.beacon.clone());
    let appender = context.ledger.appender(&engine.client).await?;
    let (decided_tx, decided) = mpsc::channel(DECIDED_GROUPS);
    let (answers, answers_rx) = mpsc::channel(ANSWER_GROUPS);
    let (reads_tx, reads) = mpsc::channel(4);
    let (nexts_tx, nexts) = mpsc::channel(4);
    let driver = SequencerDriver {
        context,
        sequencer,
        appender,
        shared,
        decided,
        decided_tx: Some(decided_tx),
        answers,
        reads_tx,
        reads,
        tasks: JoinSet::new(),
        stop_intake: CancellationToken::new(),
        nexts_tx,
        nexts,
        making_next: None,
        sent: HashMap::new(),
        awaited: PendingBeacons::default(),
        story,
        stages_on: false,
    };
    Ok((driver, answers_rx))
}

impl SequencerDriver<'_> {
    /// Subscribes and starts to decide.
    pub(super) async fn become_active(&mut self, position: Position) -> Result<(), EngineError> {
        let engine = self.context.engine;
        let Some(decided) = self.decided_tx.take() else { return Ok(()) };
        let (queue, queued) =
            IntakeSender::new(engine.options.workers.max(1), &self.shared.metrics.queue_depth);
        for queued in queued {
            let (shared, decided) = (Arc::clone(&self.shared), decided.clone());
            self.tasks.spawn(workers::work(queued, shared, decided));
        }
        self.put_openings_on_record();
        let queue = Arc::new(queue);
        for operation in Operation::ALL {
            let subject = engine.options.config.namespace.request(operation.name());
            let subscriber = engine
                .client
                .subscribe(subject.clone())
                .await
                .map_err(|source| EngineError::Subscribe { subject, source })?;
            self.tasks.spawn(intake::drain(
                operation,
                subscriber,
                Arc::clone(&queue),
                Arc::clone(&self.shared),
                self.stop_intake.clone(),
            ));
        }
        engine.client.flush().await.map_err(EngineError::Flush)?;
        // Position and epoch first: nobody is to see an active engine with the epoch of the
        // one before.
        engine.publish_gauges(self.sequencer.state().chain(), self.sequencer.allocator());
        engine.health.set_state(State::Active, format!("epoch {}", position.epoch));
        Ok(())
    }
}
