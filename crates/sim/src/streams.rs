//! The simulated broker's streams, one a generation of the ledger.

use bytes::Bytes;
use giliran_core::{FoldError, Keeper};
use giliran_wire::ledger::{Block, Entry};

/// Sequences left free for what comes before a seal, and behind it.
const ROOM: u64 = 100;

/// Every stream there is, generation 1 first.
#[derive(Debug)]
pub struct Streams(Vec<Stream>);

#[derive(Debug)]
struct Stream {
    first: u64,
    blocks: Vec<Bytes>,
}

impl Streams {
    pub(crate) fn new(genesis: Bytes) -> Self {
        Self(vec![Stream { first: 1, blocks: vec![genesis] }])
    }

    fn of(&self, generation: u32) -> Option<&Stream> {
        self.0.get(generation as usize - 1)
    }

    /// The last sequence that a generation's stream holds.
    pub(crate) fn last(&self, generation: u32) -> u64 {
        self.of(generation).map_or(0, |s| s.first + s.blocks.len() as u64 - 1)
    }

    /// The sequence a generation's stream begins at, if it is there.
    pub(crate) fn first(&self, generation: u32) -> Option<u64> {
        self.of(generation).map(|stream| stream.first)
    }

    pub(crate) fn read(&self, generation: u32, seq: u64) -> Option<&Bytes> {
        let stream = self.of(generation)?;
        stream.blocks.get(seq.checked_sub(stream.first)? as usize)
    }

    pub(crate) fn push(&mut self, generation: u32, bytes: Bytes) {
        self.0[generation as usize - 1].blocks.push(bytes);
    }

    /// The stream behind a generation's, made where it is missing: where it
    /// begins. None: it cannot be used.
    pub(crate) fn make_next(&mut self, generation: u32) -> Option<u64> {
        let last = self.last(generation);
        if let Some(there) = self.of(generation + 1) {
            return (there.blocks.is_empty() && there.first > last + ROOM / 2)
                .then_some(there.first);
        }
        self.0.push(Stream { first: last + ROOM, blocks: Vec::new() });
        Some(last + ROOM)
    }

    /// Whether a reader can begin with this generation.
    fn is_begun(&self, generation: u32) -> bool {
        let Some(stream) = self.of(generation) else { return false };
        let Some(first) = stream.blocks.first() else { return false };
        let Ok((block, _)) = Block::open(first) else { return false };
        let parts = block.entries.iter().find_map(|entry| match entry {
            Entry::Snapshot(part) => Some(part.parts as usize),
            _ => None,
        });
        generation == 1 || parts.is_some_and(|parts| stream.blocks.len() >= parts)
    }

    /// The newest generation that a reader can begin with.
    pub(crate) fn newest_begun(&self) -> u32 {
        (1..=self.0.len() as u32).rev().find(|n| self.is_begun(*n)).unwrap_or(1)
    }

    /// Folds what comes after what a keeper has read.
    pub(crate) fn follow(&self, keeper: &mut Keeper) -> Result<(), FoldError> {
        loop {
            let chain = keeper.chain();
            let (generation, seq) = if chain.ledger.is_none() {
                (chain.generation, self.first(chain.generation))
            } else if chain.is_sealed() {
                (chain.generation + 1, self.first(chain.generation + 1))
            } else {
                (chain.generation, Some(chain.seq + 1))
            };
            let Some((seq, bytes)) = seq.and_then(|seq| Some((seq, self.read(generation, seq)?)))
            else {
                return Ok(());
            };
            keeper.fold(seq, bytes)?;
        }
    }

    /// Every block by its sequence, in order, with what stands behind a seal.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, &Bytes)> {
        self.0.iter().flat_map(|stream| (stream.first..).zip(&stream.blocks))
    }
}
