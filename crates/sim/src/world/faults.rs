//! What goes wrong, and who sets it right in the end.

use bytes::Bytes;
use giliran_wire::LedgerId;
use giliran_wire::WriterNonce;
use giliran_wire::ledger::{Block, Entry};
use rand::RngExt;

use super::engines::Engine;
use super::{ASKED_BEFORE_MS, Event, World};
use crate::kind::{Kind, Mutant};

const DAY_MS: i64 = 24 * 3_600_000;
/// How long a broker is away that comes back without its tail, ms: none is faster.
const COMES_BACK_MS: std::ops::Range<u64> = 1_000..4_000;
/// How long a broker is away otherwise, ms: a restart, or up to a minute.
const AWAY_MS: [u64; 4] = [300, 2_500, 12_000, 60_000];

impl World {
    /// What the world's kind is about.
    pub(super) fn plan_specials(&mut self) {
        let (times, before_ms) = match self.setup.kind {
            Kind::Plain | Kind::Waiting | Kind::Retiring => return,
            Kind::Foreign => (self.rng.random_range(3..9), ASKED_BEFORE_MS),
            Kind::Network => (self.rng.random_range(1..4), ASKED_BEFORE_MS),
            Kind::Ground => {
                // It takes ten seconds to be sure.
                self.faults_end_ms = ASKED_BEFORE_MS + 4_000;
                (1, 3_000)
            }
            Kind::Clocks => (self.rng.random_range(2..6), ASKED_BEFORE_MS),
            Kind::Operators => {
                for _ in 0..self.rng.random_range(4..10) {
                    let at = self.rng.random_range(800..ASKED_BEFORE_MS);
                    self.errand_at(at);
                }
                return;
            }
        };
        for _ in 0..times {
            let at = self.rng.random_range(800..before_ms);
            self.at(at, Event::Special);
        }
    }

    pub(super) fn special(&mut self) {
        match self.setup.kind {
            Kind::Foreign => self.plant(),
            Kind::Network if self.rng.random_bool(0.5) => self.go_away(),
            Kind::Network => self.split_lease(),
            Kind::Ground if self.rng.random_bool(0.6) => self.cut(),
            Kind::Ground => self.lose_one(),
            Kind::Clocks => self.set_clock(),
            Kind::Plain | Kind::Operators | Kind::Waiting | Kind::Retiring => {}
        }
    }

    fn somebody(&mut self) -> usize {
        match self.lease {
            Some((holder, _)) if self.rng.random_bool(0.8) => holder,
            _ => self.rng.random_range(0..self.engines.len()),
        }
    }

    pub(super) fn fault(&mut self) {
        let engine = self.somebody();
        match self.rng.random_range(0..6) {
            0 => {
                self.faults.push("crash");
                self.note_branches(engine);
                let begin = if self.rng.random() { self.streams.newest_begun() } else { 1 };
                self.engines[engine].start(begin);
            }
            1 => {
                self.faults.push("pause");
                let ms = self.rng.random_range(100..6_000);
                self.engines[engine].paused_until_ms = self.now_ms + ms;
            }
            2 => {
                self.faults.push("clock jump");
                self.engines[engine].skew_ms = self.rng.random_range(-3_600_000..3_600_000);
            }
            3 => {
                self.faults.push("lease taken early");
                self.lease = None;
            }
            4 => self.stop(engine),
            _ => {
                self.faults.push("disk full");
                self.disk_full_until_ms = self.now_ms + self.rng.random_range(100..2_000);
            }
        }
    }

    /// It is asked to end: it commits what it has, and gives the lease back.
    fn stop(&mut self, engine: usize) {
        if self.engines[engine].active().is_none() {
            return;
        }
        self.faults.push("clean stop");
        let now = self.now(engine);
        self.engines[engine].is_stopping = true;
        if let Some(sequencer) = &mut self.engines[engine].sequencer {
            sequencer.finish(now);
        }
        self.perform(engine);
    }

    pub(super) fn roll(&mut self) {
        let Some(engine) = self.engines.iter().position(|e| e.active().is_some()) else { return };
        let now = self.now(engine);
        let Some(sequencer) = &mut self.engines[engine].sequencer else { return };
        let generation = sequencer.state().chain().generation;
        if !sequencer.is_rolling()
            && let Some(first) = self.streams.make_next(generation)
        {
            sequencer.roll(format!("generation {}", generation + 1), first, None, now);
            self.faults.push("roll");
            self.perform(engine);
        }
    }

    /// Somebody puts something onto the ledger, in the newest stream or the one before.
    fn plant(&mut self) {
        if self.is_away() {
            return;
        }
        let newest = self.streams.newest();
        let generation = if self.rng.random_bool(0.8) { newest } else { newest.max(2) - 1 };
        let of = if self.rng.random_bool(0.7) { generation } else { 1 };
        let (first, last) = (self.streams.first(of).unwrap_or(1), self.streams.last(of));
        let some = (last >= first).then(|| self.rng.random_range(first..=last));
        let some = some.and_then(|seq| self.streams.read(of, seq)).cloned().unwrap_or_default();
        let bytes = self.junk(&some);
        self.faults.push("foreign message");
        self.streams.plant(generation, bytes, self.now_ms);
    }

    /// Something that does not count, made from a message that may.
    fn junk(&mut self, some: &Bytes) -> Bytes {
        let block = Block::open(some).ok().map(|(block, _)| block);
        let Some(block) = block else { return "no block".into() };
        if self.is(Mutant::ForeignIsValid) {
            return self.forged(&block);
        }
        match self.rng.random_range(0..6) {
            0 => "{\"error\":{\"code\":404}}".into(),
            1 => some.slice(..self.rng.random_range(0..some.len())),
            2 => {
                let mut bytes = some.to_vec();
                let place = self.rng.random_range(0..bytes.len());
                bytes[place] ^= 1;
                bytes.into()
            }
            3 => Block { ledger: LedgerId([8; 16]), ..block }.seal().bytes.into(),
            4 => {
                let (epoch, writer) = (self.rng.random_range(0..9), WriterNonce([9; 16]));
                let entries = vec![Entry::Closed { opening: 0 }];
                Block { epoch, writer, entries, ..block }.seal().bytes.into()
            }
            _ => some.clone(),
        }
    }

    /// A block that continues the ledger, of somebody who is not its writer.
    fn forged(&self, block: &Block) -> Bytes {
        let active = self.engines.iter().find_map(Engine::active);
        let Some(chain) = active.map(|sequencer| sequencer.state().chain()) else {
            return "no block".into();
        };
        Block {
            generation: chain.generation,
            number: chain.number + 1,
            epoch: chain.epoch,
            writer: chain.writer,
            time: chain.time,
            previous: chain.hash,
            ..block.clone()
        }
        .seal()
        .bytes
        .into()
    }

    fn go_away(&mut self) {
        self.faults.push("broker away");
        let ms = AWAY_MS[self.rng.random_range(0..AWAY_MS.len())];
        self.away_until_ms = self.away_until_ms.max(self.now_ms + ms);
        // Where it is away beyond their end, the faults end with it.
        if self.away_until_ms >= self.faults_end_ms {
            self.faults_end_ms = self.away_until_ms + 1;
            self.at(self.faults_end_ms, Event::Repair);
        }
    }

    fn split_lease(&mut self) {
        self.faults.push("lease split");
        let engine = self.rng.random_range(0..self.engines.len());
        let ms = self.rng.random_range(500..6_000);
        self.engines[engine].split_until_ms = self.now_ms + ms;
    }

    /// The broker is gone for a moment, and comes back without its last messages; the
    /// lease may be among what it lost.
    fn cut(&mut self) {
        self.faults.push("stream cut back");
        let messages = self.rng.random_range(1..4);
        self.streams.cut(messages);
        self.away_until_ms = self.now_ms + self.rng.random_range(COMES_BACK_MS);
        self.engines.iter_mut().for_each(|engine| engine.has_to_look = true);
        if self.rng.random() {
            self.lease = None;
        }
    }

    /// A message is not to be read any more, until its disk is mended.
    fn lose_one(&mut self) {
        let generation = self.streams.newest();
        let (first, last) =
            (self.streams.first(generation).unwrap_or(1), self.streams.last(generation));
        if last < first {
            return;
        }
        // The last one is what engines look at.
        let at_the_end = self.rng.random_bool(0.4);
        let seq = if at_the_end { last } else { self.rng.random_range(first..=last) };
        if let Some(bytes) = self.streams.lose(generation, seq) {
            self.faults.push("message missing");
            self.holes.push((generation, seq, bytes));
        }
    }

    /// A clock is wrong by far, and its engine is to take over.
    fn set_clock(&mut self) {
        self.faults.push("clock jump");
        self.faults.push("clock wrong by days");
        let engine = self.rng.random_range(0..self.engines.len());
        let days = [-40, -1, 1, 40][self.rng.random_range(0..4)];
        self.engines[engine].skew_ms = days * DAY_MS;
        if self.rng.random() {
            self.faults.push("lease taken early");
            self.lease = None;
        }
    }

    /// The clocks are set right. Where the ground has moved it is mended as far as it
    /// can be, and whatever reads it is started again.
    pub(super) fn repair(&mut self) {
        if self.has_faults() {
            return;
        }
        for engine in 0..self.engines.len() {
            self.engines[engine].skew_ms = self.rng.random_range(-500..500);
        }
        if !self.has_moved() {
            return;
        }
        for (generation, seq, bytes) in std::mem::take(&mut self.holes) {
            self.streams.restore(generation, seq, bytes);
        }
        let begin = self.streams.newest_begun();
        for engine in 0..self.engines.len() {
            self.note_branches(engine);
            self.engines[engine].start(begin);
        }
        self.lease = None;
    }
}
