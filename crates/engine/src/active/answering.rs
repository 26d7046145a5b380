//! The task that answers what became of requests once their block is durable.

use std::sync::Arc;

use giliran_nats::clock;
use giliran_sequencer::{Grants, Outcome};
use tokio::sync::mpsc;

use crate::context::WorkerContext;
use crate::reply::{Outbox, Ticket};

/// Groups of outcomes that wait to be written as answers.
pub(super) const ANSWER_GROUPS: usize = 1_024;

/// What is to be told of a stretch of the sequencer's work.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Outcomes, whom to tell, and by which request id.
    pub(super) outcomes: Vec<(Ticket, Option<Box<str>>, Outcome)>,
    /// Grants that are durable.
    pub(super) granted: Vec<Grants<Ticket>>,
}

impl Answers {
    /// What a request is told whose id the outcome does not need.
    pub(super) fn of(ticket: Ticket, outcome: Outcome) -> Self {
        Self { outcomes: vec![(ticket, None, outcome)], granted: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outcomes.is_empty() && self.granted.is_empty()
    }

    /// Messages of one request, about: those of several have payloads by themselves.
    fn single(&self) -> usize {
        let granted = self.granted.iter().flat_map(|grants| &grants.bookings);
        let single = granted.filter(|(ticket, _)| matches!(ticket, Ticket::One(_)));
        self.outcomes.len() + single.count()
    }
}

/// Writes and sends the answers of committed blocks.
pub(super) async fn answer(mut groups: mpsc::Receiver<Answers>, shared: Arc<WorkerContext>) {
    while let Some(group) = groups.recv().await {
        let now = shared.allocator.engine_time(clock::now());
        let mut out = Outbox::with_room_for(group.single());
        let first = group.granted.first().and_then(|grants| grants.bookings.first());
        let oldest = first.map(|(ticket, _)| ticket.received());
        for (ticket, request_id, outcome) in group.outcomes {
            out.outcome(ticket, request_id, outcome, now, &shared.metrics);
        }
        for grants in group.granted {
            out.granted(grants, &shared.metrics);
        }
        out.send(&shared.client, &shared.gate).await;
        if let Some(received) = oldest {
            shared.metrics.answer.observe(received.elapsed().as_secs_f64());
        }
    }
}
