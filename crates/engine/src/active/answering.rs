//! The task that answers what became of requests once their block is durable.

use std::sync::Arc;

use giliran_nats::clock;
use giliran_sequencer::Outcome;
use tokio::sync::mpsc;

use crate::context::WorkerContext;
use crate::reply::{Outbox, Ticket};

/// Groups of outcomes that wait to be written as answers.
pub(super) const ANSWER_GROUPS: usize = 1_024;

/// Outcomes, whom to tell, and by which request id.
pub(super) type Answers = Vec<(Ticket, Option<Box<str>>, Outcome)>;

/// Writes and sends the answers of committed blocks.
pub(super) async fn answer(mut groups: mpsc::Receiver<Answers>, shared: Arc<WorkerContext>) {
    while let Some(group) = groups.recv().await {
        let now = shared.allocator.engine_time(clock::now());
        let mut out = Outbox::with_room_for(group.len());
        let mut oldest = None;
        for (ticket, request_id, outcome) in group {
            if matches!(outcome, Outcome::Granted(..)) && oldest.is_none() {
                oldest = Some(ticket.received);
            }
            out.outcome(ticket, request_id, outcome, now, &shared.metrics);
        }
        out.send(&shared.client, &shared.gate).await;
        if let Some(received) = oldest {
            shared.metrics.answer.observe(received.elapsed().as_secs_f64());
        }
    }
}
