//! The one block in flight: sent, sent again, and what its outcomes mean.

use bytes::Bytes;
use giliran_core::{Folded, OwnedAsk, Told};
use giliran_wire::ledger::{Block, FORMAT, Reading};
use giliran_wire::{BlockHash, Timestamp};

use super::gather::Gathered;
use super::{Appended, Effect, Now, Read, Sequencer, Why, admin};

/// After this an append without outcome is sent again, ms.
pub const APPEND_TIMEOUT_MS: u64 = 2_000;
/// Pause before the first repetition of a refused append, ms; doubles.
pub const BACKOFF_MS: u64 = 50;
/// Longest pause between repetitions, ms.
pub const MAX_BACKOFF_MS: u64 = 1_000;

#[derive(Debug)]
pub(super) struct InFlight<T> {
    pub(super) block: Block,
    pub(super) hash: BlockHash,
    pub(super) bytes: Bytes,
    /// One per grant of the block that a request is waiting for, in order.
    pub(super) tickets: Vec<T>,
    /// What is told of the rest.
    pub(super) told: Vec<(T, Box<str>, Told)>,
    /// Operators' actions.
    pub(super) adjusted: Vec<admin::Job<T>>,
    /// Requests of a round that its group leaves nothing for.
    pub(super) after: Vec<(OwnedAsk, T)>,
    pub(super) expected_last: u64,
    /// The attempt whose outcome counts.
    pub(super) attempt: u64,
    pub(super) step: Step,
    pub(super) backoff_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Sent or being read; again at `until_ms`.
    Asked { until_ms: u64 },
    /// To be sent again at `until_ms`.
    Pausing { until_ms: u64 },
}

impl<T> Sequencer<T> {
    /// The outcome of an append.
    pub fn appended(&mut self, attempt: u64, outcome: Appended, now: Now) {
        let Some(flight) = self.in_flight.as_mut().filter(|f| f.attempt == attempt) else {
            return;
        };
        let place = flight.expected_last + 1;
        match outcome {
            Appended::Stored { seq } if seq == place => self.commit(now),
            // A place that was not asked for says nothing; what stands there does.
            Appended::Stored { .. } | Appended::WrongLastSequence => self.read_place(now),
            Appended::Refused => self.pause(now),
        }
    }

    /// The result of a read.
    pub fn read(&mut self, attempt: u64, read: &Read, now: Now) {
        let Some(flight) = self.in_flight.as_mut().filter(|f| f.attempt == attempt) else {
            return;
        };
        let place = flight.expected_last + 1;
        let found = match read {
            Read::Found(bytes) if *bytes == flight.bytes => return self.commit(now),
            Read::Found(bytes) => bytes,
            // A tail that has not moved proves nothing: the append may still come.
            Read::Nothing | Read::Failed => return self.pause(now),
        };
        let mut probe = self.keeper.chain().clone();
        match probe.read_bytes(place, found) {
            Ok(Reading::Void | Reading::Foreign(_)) => match self.keeper.fold(place, found) {
                Ok(folded) => self.pass_over(place, &folded, now),
                Err(damage) => self.stop(Why::Damaged(damage)),
            },
            Ok(Reading::Valid(_)) => self.stop(Why::Deposed),
            Err(damage) => self.stop(Why::Damaged(damage.into())),
        }
    }

    /// What stands at the place is void, or becomes so with the block that goes behind
    /// it.
    fn pass_over(&mut self, place: u64, folded: &Folded, now: Now) {
        if let Folded::Foreign(foreign) = folded {
            self.effects.push(Effect::Foreign(*foreign));
        }
        // In an empty stream the chain does not say where its first block belongs.
        if self.keeper.chain().is_sealed() {
            self.roll.begins_behind(place);
        }
        self.resend(now);
    }

    /// Brings a block onto its way. Its time is the later of this one and the last
    /// block's, but for seals and begins.
    pub(super) fn send(&mut self, gathered: Gathered<T>, time: Timestamp, now: Now) {
        let chain = self.keeper.chain();
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
            entries: gathered.entries,
        };
        let sealed = block.seal();
        self.in_flight = Some(InFlight {
            block,
            hash: sealed.hash,
            bytes: sealed.bytes.into(),
            tickets: gathered.tickets,
            told: gathered.told,
            adjusted: gathered.adjusted,
            after: gathered.after,
            expected_last: 0,
            attempt: 0,
            step: Step::Pausing { until_ms: now.mono_ms },
            backoff_ms: BACKOFF_MS,
        });
        self.resend(now);
    }

    /// Sends the same bytes, expecting the last sequence read.
    pub(super) fn resend(&mut self, now: Now) {
        let (generation, expected_last) = (self.generation(), self.expected_last());
        self.attempts += 1;
        let attempt = self.attempts;
        if let Some(flight) = &mut self.in_flight {
            flight.expected_last = expected_last;
            flight.attempt = attempt;
            flight.step = Step::Asked { until_ms: now.mono_ms + APPEND_TIMEOUT_MS };
            let bytes = flight.bytes.clone();
            self.effects.push(Effect::Append { attempt, generation, expected_last, bytes });
        }
    }

    pub(super) fn read_place(&mut self, now: Now) {
        let generation = self.generation();
        self.attempts += 1;
        if let Some(flight) = &mut self.in_flight {
            flight.attempt = self.attempts;
            flight.step = Step::Asked { until_ms: now.mono_ms + APPEND_TIMEOUT_MS };
            let (attempt, seq) = (flight.attempt, flight.expected_last + 1);
            self.effects.push(Effect::Read { attempt, generation, seq });
        }
    }

    pub(super) fn pause(&mut self, now: Now) {
        if let Some(flight) = &mut self.in_flight {
            flight.step = Step::Pausing { until_ms: now.mono_ms + flight.backoff_ms };
            flight.backoff_ms = (flight.backoff_ms * 2).min(MAX_BACKOFF_MS);
        }
    }
}
