//! The broker: appends under a fence, and reads.

use bytes::Bytes;
use giliran_sequencer::{Appended, Attempt as Sent, ReadOutcome};
use rand::RngExt;

use super::{Event, Sender, World};
use crate::kind::{Kind, Mutant};

impl World {
    pub(super) fn append_arrives(
        &mut self,
        from: Sender,
        attempt: Sent,
        (generation, expected_last): (u32, u64),
        bytes: Bytes,
    ) {
        if self.is_away() {
            return;
        }
        if self.chance(0.03) {
            self.faults.push("append lost");
            return;
        }
        if self.chance(0.02) {
            self.faults.push("append repeated");
            let bytes = bytes.clone();
            self.soon(Event::AppendArrives { from, attempt, generation, expected_last, bytes });
        }
        let last = self.streams.last(generation);
        let fenced = !self.is(Mutant::NoFence) && expected_last != last;
        let outcome = if fenced {
            Appended::WrongLastSequence
        } else if self.disk_full_until_ms > self.now_ms {
            Appended::Refused
        } else {
            let forgets = self.is(Mutant::ForgetsBlock) && self.rng.random_bool(0.1);
            if !forgets {
                self.streams.push(generation, bytes, self.now_ms);
            }
            Appended::Stored { seq: last + 1 }
        };
        if self.chance(0.04) {
            self.faults.push("outcome lost");
            return;
        }
        self.soon(Event::Outcome { to: from, attempt, outcome });
    }

    pub(super) fn read_arrives(&mut self, from: Sender, attempt: Sent, generation: u32, seq: u64) {
        if self.is_away() {
            return;
        }
        let read =
            if self.chance(0.05) { ReadOutcome::Failed } else { self.look(from, generation, seq) };
        self.soon(Event::ReadResult { to: from, attempt, read });
    }

    /// What stands at a sequence, as the node shows it that is asked.
    fn look(&mut self, from: Sender, generation: u32, seq: u64) -> ReadOutcome {
        if self.is(Mutant::LostTailIgnored)
            && let Some(read) = self.as_it_was_left(from, generation, seq)
        {
            return read;
        }
        let mut tail = self.streams.last(generation);
        if self.setup.kind == Kind::Network && self.chance(0.2) {
            self.faults.push("stale read");
            let first = self.streams.first(generation).unwrap_or(1);
            tail = tail.saturating_sub(self.rng.random_range(1..4)).max(first - 1);
        }
        match self.streams.read(generation, seq).filter(|_| seq <= tail) {
            Some(bytes) => ReadOutcome::Found(bytes.clone()),
            None => ReadOutcome::Nothing { tail },
        }
    }

    /// The ledger as the engine that looks has left it.
    fn as_it_was_left(&self, from: Sender, generation: u32, seq: u64) -> Option<ReadOutcome> {
        let sequencer = self.engines[from.engine].sequencer.as_ref()?;
        let chain = sequencer.state().chain();
        if chain.generation == generation && chain.valid_seq == seq {
            let lost = self.streams.lost().iter().rev().find(|(at, _)| *at == seq);
            return lost.map(|(_, bytes)| ReadOutcome::Found(bytes.clone()));
        }
        let there = self.streams.read(generation, seq).is_some();
        (!there).then_some(ReadOutcome::Nothing { tail: seq - 1 })
    }
}
