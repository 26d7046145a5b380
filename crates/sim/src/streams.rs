//! The simulated broker's streams, one a generation of the ledger.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use giliran_allocator::{Folded, StateMachine};
use giliran_wire::ledger::{Block, Contradiction, Damage, DamageKind, Entry};

/// Sequences left free for what comes before a seal, and behind it.
const ROOM: u64 = 100;

/// Every stream there is, generation 1 first.
#[derive(Debug)]
pub struct Streams {
    streams: Vec<Stream>,
    /// Messages that no engine appended, by generation and sequence.
    planted: HashSet<(u32, u64)>,
    /// Blocks that were there once, with their sequence, in the order of their loss.
    lost: Vec<(u64, Bytes)>,
    /// When what stands at a sequence was stored, ms.
    stored_ms: HashMap<(u32, u64), u64>,
}

/// A message, and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub generation: u32,
    pub seq: u64,
    pub bytes: &'a Bytes,
}

#[derive(Debug)]
struct Stream {
    first: u64,
    /// None: it is missing.
    messages: Vec<Option<Bytes>>,
}

impl Streams {
    pub(crate) fn new(genesis: Bytes) -> Self {
        Self {
            streams: vec![Stream { first: 1, messages: vec![Some(genesis)] }],
            planted: HashSet::new(),
            lost: Vec::new(),
            stored_ms: HashMap::new(),
        }
    }

    fn of(&self, generation: u32) -> Option<&Stream> {
        self.streams.get(generation as usize - 1)
    }

    /// The newest generation whose stream is there.
    pub(crate) fn newest(&self) -> u32 {
        self.streams.len() as u32
    }

    /// The last sequence that a generation's stream holds.
    pub(crate) fn last(&self, generation: u32) -> u64 {
        self.of(generation).map_or(0, |s| s.first + s.messages.len() as u64 - 1)
    }

    /// The sequence a generation's stream begins at, if it is there.
    pub(crate) fn first(&self, generation: u32) -> Option<u64> {
        self.of(generation).map(|stream| stream.first)
    }

    pub(crate) fn read(&self, generation: u32, seq: u64) -> Option<&Bytes> {
        let stream = self.of(generation)?;
        stream.messages.get(seq.checked_sub(stream.first)? as usize)?.as_ref()
    }

    pub(crate) fn push(&mut self, generation: u32, bytes: Bytes, now_ms: u64) {
        self.streams[generation as usize - 1].messages.push(Some(bytes));
        self.stored_ms.insert((generation, self.last(generation)), now_ms);
    }

    /// Stores what no engine appended.
    pub(crate) fn plant(&mut self, generation: u32, bytes: Bytes, now_ms: u64) {
        self.push(generation, bytes, now_ms);
        self.planted.insert((generation, self.last(generation)));
    }

    /// The stream behind a generation's, made where it is missing: where it
    /// begins. None: it cannot be used.
    pub(crate) fn make_next(&mut self, generation: u32) -> Option<u64> {
        let last = self.last(generation);
        if self.of(generation + 1).is_some() {
            let first = self.first(generation + 1)?;
            let begun = self.genesis(generation + 1).is_some();
            return (!begun && first > last + ROOM / 2).then_some(first);
        }
        self.streams.push(Stream { first: last + ROOM, messages: Vec::new() });
        Some(last + ROOM)
    }

    /// The block that a generation begins with, and its place in the stream.
    fn genesis(&self, generation: u32) -> Option<(usize, Block)> {
        let messages = self.of(generation)?.messages.iter().enumerate();
        let mut blocks = messages.filter_map(|(place, bytes)| {
            let (block, _) = Block::open(bytes.as_ref()?).ok()?;
            Some((place, block))
        });
        blocks.find(|(_, block)| {
            let begins = matches!(block.entries.first(), Some(Entry::Genesis(_)));
            block.generation == generation && begins
        })
    }

    /// Whether a reader can begin with this generation.
    fn is_begun(&self, generation: u32) -> bool {
        let Some((place, genesis)) = self.genesis(generation) else { return false };
        let parts = genesis.entries.iter().find_map(|entry| match entry {
            Entry::Snapshot(part) => Some(u64::from(part.parts)),
            _ => None,
        });
        let Some(last) = parts.map(|parts| genesis.number + parts - 1) else {
            return generation == 1;
        };
        let behind = self.of(generation).map(|stream| &stream.messages[place..]);
        behind.unwrap_or_default().iter().flatten().any(|bytes| {
            let block = Block::open(bytes).ok();
            block.is_some_and(|(b, _)| b.generation == generation && b.number >= last)
        })
    }

    /// The newest generation that a reader can begin with.
    pub(crate) fn newest_begun(&self) -> u32 {
        (1..=self.newest()).rev().find(|n| self.is_begun(*n)).unwrap_or(1)
    }

    /// Folds what comes after what a state machine has read, but for the last messages of a
    /// stream that a node which lags does not show.
    pub(crate) fn follow(&self, state: &mut StateMachine, lag: u64) -> Result<(), Damage> {
        // A generation's first messages change nothing of where the state machine stands.
        let mut skipped = 0;
        loop {
            let chain = state.chain();
            let (generation, seq) = if chain.ledger.is_none() {
                (chain.generation, self.first(chain.generation))
            } else if chain.is_sealed() {
                (chain.generation + 1, self.first(chain.generation + 1))
            } else {
                (chain.generation, Some(chain.seq + 1))
            };
            let Some(seq) = seq.map(|seq| seq + skipped) else { return Ok(()) };
            if seq + lag > self.last(generation) {
                return Ok(());
            }
            let Some(bytes) = self.read(generation, seq) else {
                return Err(Damage::new(seq, DamageKind::Contradiction(Contradiction::Gap)));
            };
            let before = state.chain().seq;
            match state.fold(seq, bytes)? {
                Folded::Applied(_) => skipped = 0,
                _ if state.chain().seq == before => skipped += 1,
                _ => {}
            }
        }
    }

    /// The broker comes back without its last messages.
    pub(crate) fn cut(&mut self, messages: usize) {
        let newest = self.newest();
        let stream = &mut self.streams[newest as usize - 1];
        let keep = stream.messages.len().saturating_sub(messages);
        // A ledger without its first block is another matter.
        let keep = keep.max(usize::from(stream.first == 1));
        let from = stream.first + keep as u64;
        let gone = stream.messages.split_off(keep);
        self.lost.extend((from..).zip(gone).filter_map(|(seq, bytes)| Some((seq, bytes?))));
        self.planted.retain(|(of, seq)| *of < newest || *seq < from);
    }

    /// A message in the middle, or at the end, is not there any more; what it was.
    pub(crate) fn lose(&mut self, generation: u32, seq: u64) -> Option<Bytes> {
        let stream = self.streams.get_mut(generation as usize - 1)?;
        let place = seq.checked_sub(stream.first)? as usize;
        // What it begins with is looked for by everybody, all the time.
        (place > 0).then(|| stream.messages.get_mut(place)?.take()).flatten()
    }

    /// It is there again.
    pub(crate) fn restore(&mut self, generation: u32, seq: u64, bytes: Bytes) {
        let stream = &mut self.streams[generation as usize - 1];
        stream.messages[(seq - stream.first) as usize] = Some(bytes);
    }

    /// Every message by its sequence, in order, with what stands behind a seal, but
    /// without what stands in a stream that nobody has begun.
    pub fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        let begun = (1..).zip(&self.streams).filter(|(n, _)| self.genesis(*n).is_some());
        begun.flat_map(|(generation, stream)| {
            let messages = (stream.first..).zip(&stream.messages);
            messages.filter_map(move |(seq, bytes)| {
                Some(Message { generation, seq, bytes: bytes.as_ref()? })
            })
        })
    }

    /// Whether what stands at a sequence was planted there.
    pub(crate) fn is_planted(&self, message: Message<'_>) -> bool {
        self.planted.contains(&(message.generation, message.seq))
    }

    /// When it was stored, ms.
    pub fn stored_ms(&self, message: Message<'_>) -> u64 {
        self.stored_ms.get(&(message.generation, message.seq)).copied().unwrap_or(0)
    }

    /// Blocks that were there once.
    pub(crate) fn lost(&self) -> &[(u64, Bytes)] {
        &self.lost
    }
}
