//! The one block in flight: sent, sent again, and what its outcomes mean.
//!
//! A sequence number alone says nothing of a stream that lost its tail: other
//! blocks may have been written up to the same number. So wherever the ground may
//! have moved, the last valid block is read back and compared by its hash before
//! anything is concluded: before a take-over is sent or a block again, before one that
//! was sent more than once or after a quiet time counts as committed, and before
//! anything is passed over that stands in the block's place.

use bytes::Bytes;
use giliran_allocator::{ChangeReply, Folded, OwnedBookingRequest};
use giliran_wire::ledger::{Block, Damage, FORMAT, Reading};
use giliran_wire::{BlockHash, Timestamp};

use crate::block_builder::BlockDraft;
use crate::branch::Branch;
use crate::effect::{Appended, Attempt, Effect, Lost, Now, ReadOutcome, StopReason};
use crate::granted::GrantsIn;
use crate::sequencer::{Lifecycle, Sequencer};

/// After this an append or a read without outcome is repeated, ms.
pub const APPEND_TIMEOUT_MS: u64 = 2_000;
/// Pause before the first repetition of a refused append, ms; doubles.
pub const BACKOFF_MS: u64 = 50;
/// Longest pause between repetitions, ms.
pub const MAX_BACKOFF_MS: u64 = 1_000;
/// A block that follows the last one within this time was written on the same ground,
/// ms: no broker comes back without its tail, and no other engine takes over, that
/// fast.
pub const TRUST_MS: u64 = 1_000;
/// How long blocks have to be missing at every look before that is believed, ms. A
/// node that was cut off from the others takes itself for the leader for up to ten
/// seconds, and does not know what was stored meanwhile.
pub const LOST_AFTER_MS: u64 = 10_000;
/// How many looks that takes at least.
pub const LOST_LOOKS: u32 = 4;

#[derive(Debug)]
pub(crate) struct InFlight<T> {
    pub(crate) block: Block,
    pub(crate) hash: BlockHash,
    pub(crate) bytes: Bytes,
    /// Grants that were staged with it, for those who wait for them; none, once they are
    /// told `busy`.
    pub(crate) granted: Vec<GrantsIn<T>>,
    /// They stand before the entry of this index.
    pub(crate) staged_at: usize,
    /// One per grant of a round that a request is waiting for, in order; none, once they
    /// are told `busy`.
    pub(crate) tickets: Vec<T>,
    /// What is told of the rest.
    pub(crate) replies: Vec<(T, Box<str>, ChangeReply)>,
    /// Operators' actions whose outcome hangs on this block.
    pub(crate) adjusted: Vec<crate::admin::AdminJob<T>>,
    /// Requests of a round that its group leaves nothing for.
    pub(crate) after: Vec<(OwnedBookingRequest, T)>,
    /// Since when the first of all these waits.
    pub(crate) since_ms: u64,
    pub(crate) expected_last: u64,
    /// The attempt whose outcome counts.
    pub(crate) attempt: Attempt,
    doing: Doing,
    pub(crate) step: Step,
    backoff_ms: u64,
    /// It is on its way, or was.
    is_sent: bool,
    /// Seconds of work came before it perhaps: its times count from the next tick on.
    is_timed_later: bool,
    /// The last valid block is to be looked at before this one counts.
    unsure: bool,
    missing: Option<Missing>,
}

impl<T> InFlight<T> {
    /// Grants that requests are waiting for.
    pub(crate) fn grants(&self) -> usize {
        let staged: usize = self.granted.iter().map(|grants| grants.bookings.len()).sum();
        staged + self.tickets.len()
    }

    /// The present by which it was sent is over, since work came first that takes long.
    pub(crate) fn time_later(&mut self) {
        self.is_timed_later = true;
    }

    /// Time passes again.
    pub(crate) fn tick(&mut self, now: Now) {
        if std::mem::take(&mut self.is_timed_later) {
            self.since_ms = now.mono_ms;
            if let Step::Asked { until_ms } = &mut self.step {
                *until_ms = now.mono_ms + APPEND_TIMEOUT_MS;
            }
        }
    }

    /// True where nothing of it can be in the ledger.
    pub(crate) fn is_unsent(&self) -> bool {
        !self.is_sent
    }
}

/// What an outcome is waited for.
#[derive(Debug)]
enum Doing {
    Appending,
    ReadingPlace,
    /// Reading the last valid block.
    Checking(Then),
}

/// What the last valid block is read back for.
#[derive(Debug)]
enum Then {
    Send,
    Commit,
    /// This message stands in the block's place.
    PassOver(Bytes),
    /// What stands there is damage.
    Damaged(Damage),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Sent or being read; again at `until_ms`.
    Asked { until_ms: u64 },
    /// To be sent or read again at `until_ms`.
    Pausing { until_ms: u64 },
}

/// Blocks that were not there, at every look since.
#[derive(Debug, Clone, Copy)]
struct Missing {
    since_ms: u64,
    looks: u32,
}

impl<T> Sequencer<T> {
    pub(crate) fn flight_of(&mut self, attempt: Attempt) -> Option<&mut InFlight<T>> {
        self.in_flight.as_mut().filter(|flight| flight.attempt == attempt)
    }

    /// The outcome of an append.
    pub fn appended(&mut self, attempt: Attempt, outcome: Appended, now: Now) {
        let Some(flight) = self.flight_of(attempt) else { return };
        if !matches!(flight.doing, Doing::Appending) {
            return;
        }
        let place = flight.expected_last + 1;
        match outcome {
            Appended::Stored { seq } if seq == place => self.stored(now),
            // A place that was not asked for says nothing; what stands there does.
            Appended::Stored { .. } | Appended::WrongLastSequence => self.read_place(now),
            Appended::Refused => self.pause(now),
        }
    }

    /// The result of a read.
    pub fn read(&mut self, attempt: Attempt, read: &ReadOutcome, now: Now) {
        let Some(flight) = self.flight_of(attempt) else { return };
        match flight.doing {
            Doing::Appending => {}
            Doing::ReadingPlace => self.place_read(read, now),
            Doing::Checking(_) => self.checked(read, now),
        }
    }

    /// What stands where the block was to go.
    pub(crate) fn place_read(&mut self, read: &ReadOutcome, now: Now) {
        let Some(flight) = &mut self.in_flight else { return };
        let place = flight.expected_last + 1;
        let found = match read {
            ReadOutcome::Found(bytes) if *bytes == flight.bytes => {
                self.branches.note(Branch::FoundOwn);
                return self.stored(now);
            }
            ReadOutcome::Found(bytes) => bytes,
            ReadOutcome::Nothing { tail } if *tail < flight.expected_last => {
                let (generation, known) = (self.generation(), place - 1);
                return self.is_missing(Lost::Tail { generation, known, tail: *tail }, now);
            }
            ReadOutcome::Nothing { tail } if *tail >= place => {
                let generation = self.generation();
                return self.is_missing(Lost::Gap { generation, seq: place, tail: *tail }, now);
            }
            // A tail that has not moved proves nothing: the append may still come.
            ReadOutcome::Nothing { .. } => {
                flight.missing = None;
                self.branches.note(Branch::FoundNothing);
                return self.pause(now);
            }
            ReadOutcome::Failed => return self.pause(now),
        };
        flight.missing = None;
        match self.state.chain().clone().read_bytes(place, found) {
            Ok(Reading::Valid(_)) => {
                self.branches.note(Branch::Deposed);
                self.stop(StopReason::Deposed);
            }
            Ok(Reading::Void | Reading::Foreign(_)) => {
                self.check(Then::PassOver(found.clone()), now);
            }
            Err(damage) => self.check(Then::Damaged(damage), now),
        }
    }

    /// The block stands in its place.
    pub(crate) fn stored(&mut self, now: Now) {
        match &self.in_flight {
            Some(flight) if flight.unsure => self.check(Then::Commit, now),
            _ => self.commit(now),
        }
    }

    /// Reads back the last valid block.
    fn check(&mut self, then: Then, now: Now) {
        let chain = self.state.chain();
        let (generation, seq) = (chain.generation, chain.valid_seq);
        self.ask(Doing::Checking(then), now, |attempt, _| Effect::Read {
            attempt,
            generation,
            seq,
        });
    }

    /// The last valid block was read back.
    pub(crate) fn checked(&mut self, read: &ReadOutcome, now: Now) {
        let chain = self.state.chain();
        let (generation, seq, known) = (chain.generation, chain.valid_seq, chain.hash);
        let Some(flight) = &mut self.in_flight else { return };
        match read {
            ReadOutcome::Failed => self.pause(now),
            ReadOutcome::Nothing { tail } if *tail < seq => {
                self.is_missing(Lost::Tail { generation, known: seq, tail: *tail }, now);
            }
            ReadOutcome::Nothing { tail } => {
                self.is_missing(Lost::Gap { generation, seq, tail: *tail }, now);
            }
            ReadOutcome::Found(bytes)
                if Block::open(bytes).is_ok_and(|(_, hash)| hash == known) =>
            {
                flight.missing = None;
                self.branches.note(Branch::LookedBack);
                match std::mem::replace(&mut flight.doing, Doing::Appending) {
                    Doing::Checking(Then::Send) => self.append(now),
                    Doing::Checking(Then::Commit) => self.commit(now),
                    Doing::Checking(Then::PassOver(found)) => self.pass_over(&found, now),
                    Doing::Checking(Then::Damaged(damage)) => {
                        self.stop(StopReason::Damaged(damage));
                    }
                    Doing::Appending | Doing::ReadingPlace => {}
                }
            }
            ReadOutcome::Found(_) => self.lose(Lost::Rewritten { generation, seq, known }),
        }
    }

    /// What stands in the place is void, or becomes so with the block that goes behind
    /// it.
    pub(crate) fn pass_over(&mut self, found: &Bytes, now: Now) {
        let place = self.expected_last() + 1;
        match self.state.fold(place, found) {
            Ok(Folded::Foreign(foreign)) => {
                self.branches.note(Branch::PassedForeign);
                self.effects.push(Effect::Foreign(foreign));
            }
            Ok(_) => self.branches.note(Branch::PassedVoid),
            Err(damage) => return self.stop(StopReason::Damaged(damage)),
        }
        // In an empty stream the chain does not say where its first block belongs.
        if self.state.chain().is_sealed() {
            self.roll.begins_behind(place);
        }
        self.append(now);
    }

    /// What was there is not, by this look.
    pub(crate) fn is_missing(&mut self, lost: Lost, now: Now) {
        let Some(flight) = &mut self.in_flight else { return };
        let first = Missing { since_ms: now.mono_ms, looks: 0 };
        let missing = flight.missing.get_or_insert(first);
        missing.looks += 1;
        self.branches.note(Branch::Missing);
        let long = now.mono_ms.saturating_sub(missing.since_ms) >= LOST_AFTER_MS;
        if long && missing.looks >= LOST_LOOKS {
            self.lose(lost);
        } else {
            self.pause(now);
        }
    }

    pub(crate) fn lose(&mut self, lost: Lost) {
        self.branches.note(match lost {
            Lost::Tail { .. } => Branch::LostTail,
            Lost::Rewritten { .. } => Branch::Rewritten,
            Lost::Gap { .. } => Branch::Gap,
        });
        self.stop(StopReason::Lost(lost));
    }

    /// Brings a block onto its way. Its time is the later of this one and the last
    /// block's, but for seals and begins.
    pub(crate) fn send(&mut self, draft: BlockDraft<T>, time: Timestamp, now: Now) {
        let chain = self.state.chain();
        // A generation's begin is the writer's who sealed the one before, whoever
        // appends it: the same bytes.
        let (epoch, writer, time) = if chain.is_open() {
            (self.epoch, self.writer, time.max(chain.time))
        } else {
            (chain.epoch, chain.writer, chain.time)
        };
        let block = Block {
            format: FORMAT,
            ledger: chain.ledger.expect("a ledger is taken over after its genesis is read"),
            generation: self.generation(),
            number: chain.number + 1,
            epoch,
            writer,
            time,
            previous: chain.hash,
            entries: draft.entries,
        };
        let sealed = block.seal_around(draft.staged_at, &draft.staged);
        self.in_flight = Some(InFlight {
            block,
            hash: sealed.hash,
            bytes: sealed.bytes.into(),
            granted: draft.granted,
            staged_at: draft.staged_at,
            tickets: draft.tickets,
            replies: draft.replies,
            adjusted: draft.adjusted,
            after: draft.after,
            since_ms: draft.since_ms.unwrap_or(now.mono_ms),
            expected_last: 0,
            attempt: self.attempts,
            doing: Doing::Appending,
            step: Step::Pausing { until_ms: now.mono_ms },
            backoff_ms: BACKOFF_MS,
            is_sent: false,
            is_timed_later: false,
            unsure: now.mono_ms.saturating_sub(self.committed_ms) > TRUST_MS,
            missing: None,
        });
        if self.lifecycle == Lifecycle::Candidate {
            self.check(Then::Send, now);
        } else {
            self.append(now);
        }
    }

    /// Does again what had no outcome. Whoever has to send a block again looks first at
    /// the one before: on other ground it could be stored where it does not belong.
    pub(crate) fn repeat(&mut self, now: Now) {
        let Some(flight) = &mut self.in_flight else { return };
        match std::mem::replace(&mut flight.doing, Doing::Appending) {
            Doing::Checking(then) => self.check(then, now),
            Doing::Appending | Doing::ReadingPlace => self.check(Then::Send, now),
        }
    }

    /// Sends the block, expecting the last sequence read.
    pub(crate) fn append(&mut self, now: Now) {
        let (generation, expected_last) = (self.generation(), self.expected_last());
        if self.in_flight.as_ref().is_some_and(|flight| flight.is_sent) {
            self.branches.note(Branch::Resent);
        }
        self.ask(Doing::Appending, now, |attempt, flight| {
            flight.unsure |= flight.is_sent;
            flight.is_sent = true;
            flight.expected_last = expected_last;
            let bytes = flight.bytes.clone();
            Effect::Append { attempt, generation, expected_last, bytes }
        });
    }

    pub(crate) fn read_place(&mut self, now: Now) {
        let generation = self.generation();
        self.ask(Doing::ReadingPlace, now, |attempt, flight| {
            flight.unsure = true;
            Effect::Read { attempt, generation, seq: flight.expected_last + 1 }
        });
    }

    /// Has something done of which the outcome comes back.
    fn ask(
        &mut self,
        doing: Doing,
        now: Now,
        effect: impl FnOnce(Attempt, &mut InFlight<T>) -> Effect<T>,
    ) {
        self.attempts = self.attempts.next();
        let Some(flight) = &mut self.in_flight else { return };
        flight.attempt = self.attempts;
        flight.doing = doing;
        flight.step = Step::Asked { until_ms: now.mono_ms + APPEND_TIMEOUT_MS };
        let effect = effect(self.attempts, flight);
        self.effects.push(effect);
    }

    pub(crate) fn pause(&mut self, now: Now) {
        if let Some(flight) = &mut self.in_flight {
            flight.step = Step::Pausing { until_ms: now.mono_ms + flight.backoff_ms };
            flight.backoff_ms = (flight.backoff_ms * 2).min(MAX_BACKOFF_MS);
        }
    }
}
