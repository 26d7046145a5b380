//! The block behind the one in flight: grants alone, staged while that one is on its way.
//!
//! The broker's sync takes as long as staging a block does, and neither needs the other. So
//! the next block's grants are staged before it is their turn, by the time at which the first
//! of them is, where nothing but grants is in the block in flight and nothing else waits for
//! the next: then each fact that staging rests on is the same before that block and after it.
//! What comes meanwhile has the block behind.

use giliran_allocator::BlockTurn;
use giliran_wire::Timestamp;

use crate::block_builder::{BlockDraft, Fill};
use crate::branch::Branch;
use crate::effect::Now;
use crate::queued::is_overdue;
use crate::sequencer::{Lifecycle, Sequencer};

/// Most grants that one call stages: an outcome of the block in flight waits behind it.
const AT_ONCE: usize = 256;
/// How long a block is staged ahead, ms, and how old the one in flight may be where it begins.
/// Where a block takes longer, whoever comes waits in the queue, by a clock of their own and for
/// a block of their own time.
const STAGED_FOR_MS: u64 = 500;
/// Blocks that are staged ahead one behind the other, at most. Then one is built that holds
/// whatever else there may be, also what nobody waits for and only building looks for.
const IN_A_ROW: u32 = 32;

/// What is staged of the next block.
#[derive(Debug)]
pub(crate) struct BlockAhead<T> {
    draft: BlockDraft<T>,
    /// The block's time: bookings bear it.
    time: Timestamp,
    /// When that was, on the monotonic clock.
    begun_ms: u64,
}

impl<T> BlockAhead<T> {
    /// True while it takes grants that come.
    const fn is_open(&self, now: Now) -> bool {
        now.mono_ms.saturating_sub(self.begun_ms) <= STAGED_FOR_MS
    }
}

impl<T> Sequencer<T> {
    /// Stages some of the grants that wait, while a block is on its way. True where another
    /// call would find more to do at once.
    pub fn stage_ahead(&mut self, now: Now) -> bool {
        let Some(flight) = &self.in_flight else { return false };
        let serves = matches!(self.lifecycle, Lifecycle::Active | Lifecycle::Finishing);
        if !serves || self.queue.is_empty() || !flight.block.entries.is_empty() {
            return false;
        }
        if self.ahead.is_none() && !self.begin_ahead(now) {
            return false;
        }
        let Some(mut ahead) = self.ahead.take_if(|ahead| ahead.is_open(now)) else { return false };
        let at = (BlockTurn::AfterNext, ahead.time);
        let fill = self.gather_grants(&mut ahead.draft, at, AT_ONCE);
        if !ahead.draft.is_empty() {
            self.ahead = Some(ahead);
        }
        fill == Fill::Part
    }

    /// Begins a block behind the one in flight, where it may hold grants alone.
    fn begin_ahead(&mut self, now: Now) -> bool {
        let present = self.clock.look(now);
        let Some(flight) = &self.in_flight else { return false };
        let time = present.max(flight.block.time);
        let is_slow = now.mono_ms.saturating_sub(flight.since_ms) > STAGED_FOR_MS;
        if is_slow || self.sent_ahead >= IN_A_ROW || self.more_than_grants_wait(time) {
            return false;
        }
        self.ahead = Some(BlockAhead { draft: BlockDraft::new(), time, begun_ms: now.mono_ms });
        true
    }

    /// True if the next block is to hold anything beside grants. What an operator's action
    /// brings about needs no word here: it stands in the block in flight.
    fn more_than_grants_wait(&self, time: Timestamp) -> bool {
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= time);
        !(self.openings.is_empty()
            && self.changes.is_empty()
            && self.entering.is_empty()
            && self.admin.is_empty()
            && self.ballots.is_empty()
            && self.late.is_empty()
            && self.rounds.len() == 0
            && self.drawing.is_none()
            && self.draw.is_none()
            && self.state.next_opening_draw(&self.order_key).is_none()
            && !self.is_rolling()
            && !self.tallies.are_due(time))
            || is_due(self.state.next_due())
            || is_due(self.state.next_return())
    }

    /// Sends what was staged, with the grants that came since and find room. False: nothing
    /// was.
    pub(crate) fn send_ahead(&mut self, now: Now) -> bool {
        let Some(mut ahead) = self.ahead.take() else {
            self.sent_ahead = 0;
            return false;
        };
        self.answer_late();
        let present = self.clock.look(now);
        self.decide_parked(self.state.allocator().engine_time(present), now);
        if ahead.is_open(now) {
            self.gather_grants(&mut ahead.draft, (BlockTurn::Next, ahead.time), usize::MAX);
        }
        self.branches.note(Branch::SentAhead);
        self.sent_ahead += 1;
        self.send(ahead.draft, ahead.time, now);
        true
    }

    /// Grants that are staged and not on their way yet.
    pub(crate) fn staged_ahead(&self) -> usize {
        self.ahead.as_ref().map_or(0, |ahead| ahead.draft.staged_grants())
    }

    /// Gives up what is staged, for nobody hears of it any more.
    pub(crate) fn drop_ahead(&mut self) {
        if self.ahead.take().is_some() {
            self.branches.note(Branch::DroppedAhead);
            self.state.abandon_staged_ahead();
        }
    }

    /// Gives up what is staged where the first of it has waited for too long: the block in
    /// flight does not come to its end, or has just come to it. Not once that one is committed:
    /// what is staged is the next block's from there on.
    pub(crate) fn give_up_ahead(&mut self, now: Now) {
        let is_late = |ahead: &mut BlockAhead<T>| {
            ahead.draft.since_ms.is_some_and(|since_ms| is_overdue(since_ms, now))
        };
        let Some(ahead) = self.ahead.take_if(is_late) else { return };
        self.state.abandon_staged_ahead();
        for (ticket, booking) in ahead.draft.granted.into_iter().flat_map(|of| of.bookings) {
            self.branches.note(Branch::BusyAhead);
            self.busy(ticket, Some(booking.request_id.clone()));
        }
    }
}
