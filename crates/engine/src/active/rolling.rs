//! The ledger's way into its next generation: an operator wants it, or the ledger has
//! grown long.

use std::time::{Duration, Instant};

use giliran_allocator::Rejection;
use giliran_nats::ledger::Ledger;
use giliran_sequencer::{AdminChange, AdminReport, Outcome, Sequencer};
use giliran_wire::answer::{Phase, Reason};
use giliran_wire::ledger::Signed;

use super::answering::Answers;
use super::driver::{SequencerDriver, hashing, now};
use crate::reply::Ticket;
use crate::workers::Roll;

/// When to ask again where the ledger could not roll, ms.
const ROLL_RETRY_MS: u64 = 5_000;
/// How long a next stream that could not be made is left alone.
const ROLL_PAUSE: Duration = Duration::from_secs(60);

/// The operator who wants the ledger's next generation, and whom to tell.
pub(super) type Asked = Option<(Signed, Ticket)>;

impl SequencerDriver<'_> {
    /// An operator wants the ledger's next generation, or to know which that would be.
    pub(super) fn roll_is_wanted(&mut self, roll: Roll, ticket: Ticket) {
        let stream = self.context.ledger.name();
        if let Some(from) = roll.from.filter(|from| from != stream) {
            let detail = format!("the ledger is in {stream}, no longer or not yet in {from}");
            return self.not_rolled(Some((roll.signed, ticket)), Reason::WrongState, detail);
        }
        if roll.dry_run {
            return self.would_roll(ticket);
        }
        let Signed { operator, reason } = &roll.signed;
        tracing::info!(operator, reason, "the ledger is to go on in its next stream");
        self.make_next(Some((roll.signed, ticket)));
    }

    /// Makes the next generation's stream, beside the loop.
    pub(super) fn make_next(&mut self, asked: Asked) {
        self.making_next = Some(Instant::now() + ROLL_PAUSE);
        let (ledger, nexts) = (self.context.ledger.clone(), self.nexts_tx.clone());
        tokio::spawn(async move {
            let next = ledger.make_next().await;
            // Nobody listens any more: the engine is no longer active.
            let _ = nexts.send((next, asked)).await;
        });
    }

    pub(super) fn roll(&mut self, next: Result<Ledger, giliran_nats::Error>, asked: Asked) {
        match next {
            Ok(next) if next.generation() == self.context.ledger.generation() + 1 => {
                let (name, first) = (next.name().to_owned(), next.first());
                self.making_next = None;
                let roll = |sequencer: &mut Sequencer<Ticket>, now| {
                    sequencer.roll(name, first, asked, now);
                };
                let engine = self.context.engine;
                hashing(engine, || roll(&mut self.sequencer, now(engine)));
            }
            Ok(next) => {
                let detail = format!("the ledger has just gone on in {}", next.name());
                self.not_rolled(asked, Reason::Unavailable, detail);
            }
            Err(error) => {
                tracing::error!(%error, "the ledger cannot go on in a next stream");
                self.not_rolled(asked, Reason::Unavailable, error.to_string());
            }
        }
    }

    /// Tells in which stream the ledger would go on.
    pub(super) fn would_roll(&self, ticket: Ticket) {
        let ledger = &self.context.ledger;
        let change = AdminChange {
            slot: None,
            action: "roll",
            before: ledger.name().to_owned(),
            after: ledger.stream_of(ledger.generation() + 1),
        };
        let report = AdminReport { dry_run: true, changes: vec![change], ..AdminReport::default() };
        let outcome = Outcome::Adjusted(Box::new(report), self.sequencer.state().durable());
        // Full only where thousands of answers wait: the operator asks again.
        let _ = self.answers.try_send(Answers::of(ticket, outcome));
    }

    fn not_rolled(&self, asked: Asked, reason: Reason, detail: String) {
        let Some((_, ticket)) = asked else { return };
        let retry_after_ms = (reason == Reason::Unavailable).then_some(ROLL_RETRY_MS);
        let rejection = Rejection { reason, detail: Some(detail), retry_after_ms, about: None };
        let outcome = Outcome::NotAdjusted(rejection, self.sequencer.state().durable());
        // Full only where thousands of answers wait: the operator asks again.
        let _ = self.answers.try_send(Answers::of(ticket, outcome));
    }

    /// Rolls a ledger that has grown long: where no opening is open, or it cannot
    /// wait for that.
    pub(super) fn roll_if_long(&mut self) {
        let most = self.context.engine.options.config.generation_blocks;
        let blocks =
            (self.sequencer.state().chain().seq + 1).saturating_sub(self.context.ledger.first());
        let open = || {
            let openings = self.sequencer.allocator().openings();
            openings.iter().any(|opening| opening.phase() == Phase::Open)
        };
        let wanted = blocks >= most && (blocks >= 2 * most || !open());
        let making = self.making_next.is_some_and(|until| until > Instant::now());
        if wanted && !making && !self.sequencer.is_rolling() {
            tracing::info!(blocks, most, "the ledger is long, and goes on in its next stream");
            self.make_next(None);
        }
    }

    /// Goes on in another generation's stream. False: it cannot be opened, and what
    /// belongs there belongs nowhere else: behind the seal it could be stored, and
    /// nobody would read it.
    pub(super) async fn write_in(&mut self, generation: u32) -> bool {
        if self.context.ledger.generation() == generation {
            return true;
        }
        match self.context.ledger.of_generation(generation).await {
            Ok(Some(ledger)) => {
                tracing::info!(stream = ledger.name(), "the ledger goes on");
                self.context.ledger = ledger;
                return true;
            }
            Ok(None) => tracing::error!(generation, "the next generation's stream is gone"),
            Err(error) => tracing::warn!(%error, "the next generation cannot be opened; trying on"),
        }
        false
    }
}
