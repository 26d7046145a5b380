//! What the next block holds.

use giliran_allocator::{BlockTurn, ChangeOutcome, ChangeReply, OwnedBookingRequest};
use giliran_wire::Timestamp;
use giliran_wire::ledger::{
    BLOCK_OVERHEAD_BYTES, DrawRecord, EncodedGrants, Entry, GrantRef, LEAST_GRANT_BYTES,
    MAX_BLOCK_BYTES, OpeningRecord,
};

use crate::effect::{Effect, Now, Outcome};
use crate::granted::GrantsIn;
use crate::queued::Queued;
use crate::sequencer::{Lifecycle, Sequencer};

/// Most bytes of a block that changes of bookings take; the rest is for grants.
const CHANGE_BYTES: usize = 128 * 1024;
/// Most holds that expire in one block, and places that are released: a hundred
/// thousand at once must not keep grants waiting.
const RETURNS_A_BLOCK: usize = 2_048;
/// Most of the waiting that are drawn in one block.
const DRAWN_A_BLOCK: usize = 512;
/// A block that has so many bytes takes no further entry of those who wait: each
/// names every slot that it wants, which may be thousands.
const ENTRIES_UP_TO_BYTES: usize = 256 * 1024;

/// The next block's content.
#[derive(Debug)]
pub(crate) struct BlockDraft<T> {
    pub(crate) entries: Vec<Entry>,
    /// Grants that were staged, in the block's form.
    pub(crate) staged: EncodedGrants,
    /// They stand before the entry of this index.
    pub(crate) staged_at: usize,
    /// The same, for those who wait for them.
    pub(crate) granted: Vec<GrantsIn<T>>,
    pub(crate) bytes: usize,
    /// One per grant of a round, in order.
    pub(crate) tickets: Vec<T>,
    pub(crate) replies: Vec<(T, Box<str>, ChangeReply)>,
    pub(crate) adjusted: Vec<crate::admin::AdminJob<T>>,
    /// Requests of a round that its group leaves nothing for.
    pub(crate) after: Vec<(OwnedBookingRequest, T)>,
    /// Since when the first of all these waits.
    pub(crate) since_ms: Option<u64>,
}

impl<T> BlockDraft<T> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            staged: EncodedGrants::new(),
            staged_at: 0,
            granted: Vec::new(),
            bytes: BLOCK_OVERHEAD_BYTES,
            tickets: Vec::new(),
            replies: Vec::new(),
            adjusted: Vec::new(),
            after: Vec::new(),
            since_ms: None,
        }
    }

    /// How many grants were staged for it.
    pub(crate) fn staged_grants(&self) -> usize {
        self.granted.iter().map(|grants| grants.bookings.len()).sum()
    }

    /// True if there is nothing to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.staged.is_empty()
    }

    /// Somebody who waits since then has something in it.
    pub(crate) fn serves(&mut self, since_ms: u64) {
        self.since_ms = Some(self.since_ms.map_or(since_ms, |first| first.min(since_ms)));
    }

    /// True if it holds a group of this opening.
    pub(crate) fn has_group(&self, ordinal: u32) -> bool {
        let group = |entry: &Entry| matches!(entry, Entry::Draw(DrawRecord::GroupEnd { opening, .. }) if *opening == ordinal);
        self.entries.iter().any(group)
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.bytes += entry_bytes(&entry);
        self.entries.push(entry);
    }
}

impl<T> Sequencer<T> {
    /// What the next block holds: openings, then what opens, then changes of
    /// bookings and what time brings, then grants in order, then what operators
    /// adjust, then what closes once every grant before it is in.
    pub(crate) fn build_block(&mut self, time: Timestamp, now: Now) -> BlockDraft<T> {
        let mut block = BlockDraft::new();
        let mut ordinal = self.state.next_ordinal();
        while let Some(opening) = self.openings.pop_front() {
            let record = OpeningRecord { ordinal, ..opening };
            let committed = self.commitment(&record);
            let entry = Entry::Opening(Box::new(record));
            if block.bytes + entry_bytes(&entry) > MAX_BLOCK_BYTES && !block.entries.is_empty() {
                if let Entry::Opening(record) = entry {
                    self.openings.push_front(*record);
                }
                return block;
            }
            block.push(entry);
            committed.into_iter().for_each(|entry| block.push(entry));
            ordinal += 1;
        }
        if block.bytes > CHANGE_BYTES {
            return block;
        }
        let due = self.state.due(time);
        let (opened, closed): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|entry| matches!(entry, Entry::Opened { .. }));
        // An opening that was missed altogether opens in one block and closes
        // in a later one.
        let opening_now = |entry: &Entry| {
            matches!(entry, Entry::Closed { opening }
                if opened.contains(&Entry::Opened { opening: *opening }))
        };
        let closed: Vec<_> = closed.into_iter().filter(|entry| !opening_now(entry)).collect();
        block.bytes += 8 * closed.len();
        opened.into_iter().for_each(|entry| block.push(entry));
        self.gather_changes(&mut block, time);
        self.gather_returns(&mut block, time, now);
        self.gather_entries(&mut block);
        self.gather_draw(&mut block, time);
        self.gather_jobs(&mut block, time);
        // Their room is kept, so that grants which fill block after block do not
        // keep an operator waiting; they stand after the grants, whose numbers were
        // given without them.
        let adjustments = self.gather_adjustments(&mut block, time);
        let all_in = self.gather_rounds(&mut block, (time, now))
            && self.gather_ballots(&mut block)
            && self.gather_grants(&mut block, (BlockTurn::Next, time), usize::MAX)
                == Fill::NoneLeft;
        self.put_digests(&mut block, time);
        block.entries.extend(adjustments);
        if all_in {
            // Whoever asked in a round is told what came of it first.
            let over = |entry: &Entry| matches!(entry, Entry::Closed { opening } if !self.rounds.are_open(*opening));
            let answered = block.after.is_empty();
            block.entries.extend(closed.into_iter().filter(|entry| answered && over(entry)));
        }
        block
    }

    pub(crate) fn gather_changes(&mut self, block: &mut BlockDraft<T>, time: Timestamp) {
        let most = block.bytes + CHANGE_BYTES;
        for _ in 0..self.changes.len() {
            if block.bytes > most {
                return;
            }
            let Some(waiting) = self.changes.pop_front() else { return };
            match self.state.change(&waiting.what, time, &mut || self.random.next()) {
                ChangeOutcome::Settled(settled) => {
                    let request_id = Some(waiting.what.request_id);
                    let outcome = Outcome::Settled(settled);
                    self.effects.push(Effect::Answer {
                        ticket: waiting.ticket,
                        request_id,
                        outcome,
                    });
                }
                ChangeOutcome::Entry(entry, reply) => {
                    block.push(*entry);
                    block.serves(waiting.since_ms);
                    block.replies.push((waiting.ticket, waiting.what.request_id, reply));
                }
                ChangeOutcome::Wait => self.changes.push_back(waiting),
            }
        }
    }

    /// Holds that end, places that are released, the draw that is due.
    pub(crate) fn gather_returns(&mut self, block: &mut BlockDraft<T>, time: Timestamp, now: Now) {
        let graced = now.mono_ms < self.grace_until_ms;
        if graced || self.clock.ahead || self.lifecycle != Lifecycle::Active {
            return;
        }
        let expiries = self.state.expiries(time, RETURNS_A_BLOCK, &mut || self.random.next());
        let releases = self.state.releases(time, RETURNS_A_BLOCK);
        expiries.into_iter().chain(releases).for_each(|entry| block.push(entry));
        // The groups of a round follow each other.
        if self.rounds.is_deciding() {
            return;
        }
        if self.drawing.is_none() {
            let mut seed = [0; 32];
            seed[..16].copy_from_slice(&self.random.next().to_le_bytes());
            seed[16..].copy_from_slice(&self.random.next().to_le_bytes());
            self.drawing = self.state.due_waitlist_draw(time, seed);
        }
        let Some(drawing) = &mut self.drawing else { return };
        match self.state.advance_waitlist_draw(drawing, time, DRAWN_A_BLOCK) {
            Some(entries) => entries.into_iter().for_each(|entry| block.push(entry)),
            None => self.drawing = None,
        }
    }

    pub(crate) fn gather_entries(&mut self, block: &mut BlockDraft<T>) {
        while block.bytes < ENTRIES_UP_TO_BYTES
            && let Some(waiting) = self.entering.pop_front()
        {
            let Queued { what: mut entry, ticket, since_ms } = waiting;
            let entered = loop {
                match self.state.enter_waitlist(&mut entry, self.random.next()) {
                    Some(false) => {}
                    done => break done.is_some(),
                }
            };
            if entered {
                let request_id = entry.request_id.as_str().into();
                block.replies.push((ticket, request_id, ChangeReply::Entry(entry.receipt)));
                block.push(Entry::Draw(DrawRecord::Entered(entry)));
                block.serves(since_ms);
            } else {
                self.busy(ticket, Some(entry.request_id.into_boxed_str()));
            }
        }
    }

    /// Stages grants that wait, at most so many, for a block of this turn and time.
    pub(crate) fn gather_grants(
        &mut self,
        block: &mut BlockDraft<T>,
        at: (BlockTurn, Timestamp),
        most: usize,
    ) -> Fill {
        block.staged_at = block.entries.len();
        let room = MAX_BLOCK_BYTES.saturating_sub(block.bytes) / LEAST_GRANT_BYTES;
        let expected = self.queue.len().min(room);
        block.staged.reserve(expected * (LEAST_GRANT_BYTES + TEXT_BYTES));
        self.begin_to_look_ahead();
        for _ in 0..most {
            self.look_ahead();
            let Some(waiting) = self.queue.pop_front() else { return Fill::NoneLeft };
            let bytes = grant_bytes(&waiting.what.as_grant()) + HOLD_BYTES;
            if block.bytes + bytes > MAX_BLOCK_BYTES {
                self.queue.push_front(waiting);
                return Fill::Full;
            }
            let Queued { what: grant, ticket, since_ms } = waiting;
            match self.state.stage(grant, at, &mut || self.random.of_grant()) {
                Ok(booking) => {
                    block.bytes += block.staged.push(&booking.as_grant());
                    block.serves(since_ms);
                    self.granted_in(block, expected, ticket, booking);
                }
                // An operator has taken the place away meanwhile, or it is too late
                // for it; another try is decided on what is left.
                Err(request_id) => self.busy(ticket, Some(request_id)),
            }
        }
        Fill::Part
    }
}

/// How far a block was filled with the grants that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    /// None waits any more.
    NoneLeft,
    /// The block is full, and grants still wait.
    Full,
    /// With as many as were to be.
    Part,
}

/// Bytes an entry takes in a block.
pub(crate) fn entry_bytes(entry: &Entry) -> usize {
    giliran_wire::codec::encoded_len(entry)
}

/// The end of its hold, which a grant gets with its numbers, after it was measured.
pub(crate) const HOLD_BYTES: usize = 8;

/// Bytes of a grant's texts, about; for the room that is made beforehand.
const TEXT_BYTES: usize = 32;

/// Bytes a grant takes in a block.
pub(crate) fn grant_bytes(grant: &GrantRef<'_>) -> usize {
    const FIXED: usize = 4 + 10 + 4 + 4 + 8 + 8 + 16 + 4;
    let text = |text: &Option<&str>| text.map_or(0, |t| 8 + t.len());
    // All fields are named, so that a new one is counted: in `FIXED`, or below.
    let GrantRef {
        booking: _,
        opening: _,
        slot: _,
        seats,
        request_id,
        content: _,
        reference,
        account,
        channel,
        hold_expires_at,
    } = grant;
    FIXED
        + 18 * seats.len()
        + request_id.len()
        + text(reference)
        + text(channel)
        + if account.is_some() { 16 } else { 0 }
        + if hold_expires_at.is_some() { HOLD_BYTES } else { 0 }
}

#[cfg(test)]
mod tests {
    use giliran_wire::ledger::{Grant, Seat};
    use giliran_wire::{BookingId, Digest, Pseudonym};

    use super::*;

    /// A block of grants that were counted too short would outgrow what the broker takes.
    #[test]
    fn a_grant_takes_the_bytes_that_are_counted_for_it() {
        let seat = |number| Seat { applicant: Pseudonym::from_bytes([1; 16]), number };
        let full = Grant {
            booking: BookingId::from_random(1),
            opening: 1,
            slot: 2,
            seats: (1..=5).map(seat).collect(),
            request_id: "r".repeat(64),
            content: Digest([0; 16]),
            reference: Some("o".repeat(64)),
            account: Some(Pseudonym::from_bytes([2; 16])),
            channel: Some("c".repeat(16)),
            hold_expires_at: Some(Timestamp::from_millis(1)),
        };
        let bare = Grant {
            seats: std::iter::once(seat(1)).collect(),
            request_id: "r".into(),
            reference: None,
            account: None,
            channel: None,
            hold_expires_at: None,
            content: full.content,
            booking: full.booking,
            opening: full.opening,
            slot: full.slot,
        };
        for grant in [full, bare] {
            let counted = grant_bytes(&grant.borrowed());
            assert!(counted >= LEAST_GRANT_BYTES);
            assert_eq!(counted, entry_bytes(&Entry::Grant(grant)));
        }
    }
}
