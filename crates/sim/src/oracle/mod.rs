//! Judges a run from what clients saw and what the stream holds.

mod answers;
mod ledger;
mod orders;

use std::collections::HashSet;

use giliran_allocator::StateMachine;
use giliran_wire::answer::Status;
use giliran_wire::ledger::{Block, Chain, DrawRecord, Entry, Reading};
use giliran_wire::{BlockHash, BookingId};
use ledger::Ledger;

use crate::streams::Message;
use crate::world::{ClientAnswer, HOLD_MS, HeardAnswer, Run, SETTLED_WITHIN_MS};

/// Everything the run did wrong, by promise; empty: nothing.
pub fn judge(run: &Run) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(run.damaged.iter().map(|what| format!("a reader found damage: {what}")));
    let ledger = match Ledger::read(run) {
        Ok(ledger) => ledger,
        Err(damage) => {
            wrong.push(damage);
            return wrong;
        }
    };
    wrong.extend(ledger.wrong.iter().cloned());
    answers::judge(run, &ledger, &mut wrong);
    replay_is_live(run, &mut wrong);
    no_leak(run, &ledger, &mut wrong);
    settled_in_time(run, &mut wrong);
    ledger.orders.judge(run, ledger.has_retired(u64::MAX), &mut wrong);
    wrong
}

/// True if an engine took over between a close and the end of its draw.
pub fn changed_hands_in_a_draw(run: &Run) -> bool {
    let mut chain = Chain::new();
    let (mut drawing, mut found) = (false, false);
    for Message { seq, bytes, .. } in run.streams.messages() {
        let Ok(Reading::Valid(block)) = chain.read_bytes(seq, bytes) else { continue };
        for entry in block.entries {
            match entry {
                Entry::Closed { .. } => drawing = true,
                Entry::Draw(DrawRecord::GroupEnd { .. } | DrawRecord::NotDrawn { .. }) => {
                    drawing = false;
                }
                Entry::TakeOver(_) => found |= drawing,
                _ => {}
            }
        }
    }
    found
}

/// What the broker lost after it had acknowledged it.
struct Lost {
    blocks: HashSet<BlockHash>,
    bookings: HashSet<BookingId>,
}

impl Run {
    fn lost(&self) -> Lost {
        let mut lost = Lost { blocks: HashSet::new(), bookings: HashSet::new() };
        for (_, bytes) in self.streams.lost() {
            let Ok((block, hash)) = Block::open(bytes) else { continue };
            lost.blocks.insert(hash);
            for entry in block.entries {
                match entry {
                    Entry::Grant(grant) => drop(lost.bookings.insert(grant.booking)),
                    Entry::Draw(DrawRecord::Entered(entry)) => {
                        lost.bookings.insert(entry.receipt);
                    }
                    _ => {}
                }
            }
        }
        lost
    }

    /// True where an engine spoke of what the broker has lost: of that block, or of a
    /// booking that it made. Nobody could know; what is granted after it is another
    /// matter.
    fn was_lost(&self, heard: &HeardAnswer) -> bool {
        if self.streams.lost().is_empty() {
            return false;
        }
        let lost = self.lost();
        match &heard.answer {
            ClientAnswer::Granted { booking, .. } if lost.blocks.contains(&heard.on) => {
                // On ground that was lost no new grant is told.
                lost.bookings.contains(booking) || self.is_older(booking)
            }
            ClientAnswer::Granted { booking, .. } => lost.bookings.contains(booking),
            ClientAnswer::Entered { receipt, .. } => lost.bookings.contains(receipt),
            ClientAnswer::Rejected { .. } => lost.blocks.contains(&heard.on),
            ClientAnswer::Busy => true,
        }
    }

    /// Whether the ledger holds a grant of this booking.
    fn is_older(&self, booking: &BookingId) -> bool {
        self.streams.messages().any(|message| {
            let block = Block::open(message.bytes).ok().map(|(block, _)| block);
            block.is_some_and(|block| {
                let is_it =
                    |entry: &Entry| matches!(entry, Entry::Grant(g) if g.booking == *booking);
                block.entries.iter().any(is_it)
            })
        })
    }
}

fn replay_is_live(run: &Run, wrong: &mut Vec<String>) {
    let Some((live, seq)) = run.live else {
        wrong.push("P10: no engine is active after the faults ended".to_owned());
        return;
    };
    let mut state = StateMachine::new();
    let read = run.streams.messages().take_while(|message| message.seq <= seq);
    for Message { seq, bytes, .. } in read {
        if let Err(error) = state.fold(seq, bytes) {
            wrong.push(format!("P6: replay stops: {error}"));
            return;
        }
    }
    if state.state_hash() != live {
        wrong.push("P6: replay and live state differ".to_owned());
    }
}

fn no_leak(run: &Run, ledger: &Ledger, wrong: &mut Vec<String>) {
    for (slot, (free, durable)) in run.places.iter().enumerate() {
        if free != durable {
            wrong.push(format!("P11: slot {slot} shows {free} free, its grants leave {durable}"));
        }
        let model = ledger.free_at(slot as u32, u64::MAX);
        if i64::from(*durable) != model {
            wrong.push(format!("P11: slot {slot} shows {durable} free, the ledger leaves {model}"));
        }
    }
    // A clock that was ahead makes the next ones stand still for a while.
    if run.faults.contains(&"clock jump") || ledger.has_retired(u64::MAX) {
        return;
    }
    let over = run.setup.kind.begin().plus_millis(run.ends_ms.1 - 12_000);
    for (_, grant) in &ledger.grants {
        let held = ledger.last(grant.booking).status == Status::Held;
        let deadline = grant.hold_expires_at;
        if held && deadline.is_some_and(|deadline| deadline < over) {
            wrong.push(format!("P11: booking {} is held {HOLD_MS} ms and for ever", grant.booking));
        }
    }
}

/// Once the faults are over, whoever asks is told something that settles it, soon.
fn settled_in_time(run: &Run, wrong: &mut Vec<String>) {
    let (faults_end, end) = run.ends_ms;
    let mut settled: Vec<Vec<u64>> = Vec::new();
    for attempt in &run.attempts {
        settled.resize_with(settled.len().max(attempt.request + 1), Vec::new);
        let answers = attempt.answers.iter().filter(|heard| heard.answer.is_terminal());
        settled[attempt.request].extend(answers.map(|heard| heard.at_ms));
    }
    for attempt in &run.attempts {
        let until = attempt.sent_ms.max(faults_end) + SETTLED_WITHIN_MS;
        let in_time =
            settled[attempt.request].iter().any(|at| (attempt.sent_ms..=until).contains(at));
        if until < end && !in_time {
            wrong.push(format!(
                "P10: request {}, sent at {}, is not settled by {until}: {:?}",
                attempt.request_id, attempt.sent_ms, attempt.answers
            ));
        }
    }
    for errand in &run.errands {
        let until = errand.sent_ms.max(faults_end) + SETTLED_WITHIN_MS;
        if errand.done_ms.is_none_or(|at| at > until) {
            wrong.push(format!("P10: an operator waits for ever: {:?}", errand.action.act));
        }
    }
}
