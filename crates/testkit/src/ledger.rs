//! A ledger in memory, written block by block.

use std::sync::Arc;

use giliran_allocator::{Booking, Durable, StagedIn, StateChange, StateMachine};
use giliran_wire::ledger::{
    Block, Chain, EncodedGrants, Entry, FORMAT, Genesis, OpeningRecord, Reading, TakeOver,
};
use giliran_wire::{BlockHash, KeyFingerprint, LedgerId, Timestamp, WriterNonce};

/// The ledger of tests that do not name one.
pub const LEDGER: LedgerId = LedgerId([7; 16]);

/// What a ledger under the default prefix begins with.
pub fn genesis() -> Genesis {
    Genesis {
        prefix: "giliran.v1".into(),
        applicant_key: KeyFingerprint([0; 16]),
        version: "0".into(),
        continues: None,
        rebuilt: None,
    }
}

/// A take-over that nobody had to answer for.
pub fn take_over() -> TakeOver {
    TakeOver { engine: "test".into(), version: "0".into(), forced: None }
}

/// The block that the writer of this chain puts behind it, at the chain's time; of
/// [`LEDGER`] where the chain has not begun.
pub fn next_block(chain: &Chain, entries: Vec<Entry>) -> Block {
    Block {
        format: FORMAT,
        ledger: chain.ledger.unwrap_or(LEDGER),
        generation: chain.generation,
        number: chain.number + 1,
        epoch: chain.epoch,
        writer: chain.writer,
        time: chain.time,
        previous: chain.hash,
        entries,
    }
}

/// The first block of a ledger.
pub fn genesis_block(ledger: LedgerId, time: Timestamp) -> Block {
    let writer = WriterNonce([0; 16]);
    let (epoch, previous) = (0, BlockHash::ZERO);
    let next = next_block(&Chain::new(), vec![Entry::Genesis(genesis())]);
    Block { ledger, epoch, writer, time, previous, ..next }
}

/// The state after these blocks of a stream's first generation.
///
/// # Panics
///
/// Where one of them is damage.
pub fn folded(blocks: &[impl AsRef<[u8]>]) -> StateMachine {
    let mut state = StateMachine::new();
    for (seq, bytes) in (1..).zip(blocks) {
        state.fold(seq, bytes.as_ref()).unwrap();
    }
    state
}

/// Writes the blocks of a first generation.
#[derive(Debug, Clone)]
pub struct LedgerBuilder {
    /// How far it has been written.
    pub chain: Chain,
    /// Every message, void ones included; the first has sequence 1.
    pub blocks: Vec<Vec<u8>>,
    /// Of the next block.
    pub now: Timestamp,
}

impl LedgerBuilder {
    /// A ledger that nobody has taken over.
    pub fn new(ledger: LedgerId, now: Timestamp) -> Self {
        let mut builder = Self { chain: Chain::new(), blocks: Vec::new(), now };
        builder.write(&genesis_block(ledger, now));
        builder
    }

    /// [`LEDGER`] with these openings on record, none open yet. Their ordinals follow
    /// from their places.
    pub fn with(openings: impl IntoIterator<Item = OpeningRecord>, now: Timestamp) -> Self {
        let mut builder = Self::new(LEDGER, now);
        builder.take_over(1);
        let record =
            |(ordinal, record)| Entry::Opening(Box::new(OpeningRecord { ordinal, ..record }));
        let records: Vec<Entry> = (0..).zip(openings).map(record).collect();
        if !records.is_empty() {
            builder.append(records);
        }
        builder
    }

    /// The block that fits.
    pub fn next(&self, entries: Vec<Entry>) -> Block {
        Block { time: self.now.max(self.chain.time), ..next_block(&self.chain, entries) }
    }

    /// Writes a block that every reader takes; its sequence.
    ///
    /// # Panics
    ///
    /// Where a reader would not.
    pub fn write(&mut self, block: &Block) -> u64 {
        let reading = self.message(block.seal().bytes);
        assert!(matches!(reading, Reading::Valid(_)), "{reading:?}");
        self.chain.seq
    }

    /// Writes the block that fits; its sequence.
    pub fn append(&mut self, entries: Vec<Entry>) -> u64 {
        self.write(&self.next(entries))
    }

    /// This writer takes over; the block's sequence.
    pub fn take_over(&mut self, writer: u8) -> u64 {
        let (epoch, writer) = (self.chain.epoch + 1, WriterNonce([writer; 16]));
        let block = self.next(vec![Entry::TakeOver(take_over())]);
        self.write(&Block { epoch, writer, ..block })
    }

    /// What a deposed writer leaves behind; its sequence.
    ///
    /// # Panics
    ///
    /// Where a reader would not pass over it.
    pub fn void(&mut self, entries: Vec<Entry>) -> u64 {
        let (epoch, writer) = (self.chain.epoch.saturating_sub(1), WriterNonce([0xFF; 16]));
        let block = Block { epoch, writer, ..self.next(entries) };
        let reading = self.message(block.seal().bytes);
        assert!(matches!(reading, Reading::Void), "{reading:?}");
        self.chain.seq
    }

    /// The state after all of it.
    pub fn folded(&self) -> StateMachine {
        folded(&self.blocks)
    }

    /// Puts anything into the stream; what a reader makes of it.
    ///
    /// # Panics
    ///
    /// Where that is damage.
    pub fn message(&mut self, bytes: Vec<u8>) -> Reading {
        let reading = self.chain.read_bytes(self.chain.seq + 1, &bytes).unwrap();
        self.blocks.push(bytes);
        reading
    }
}

/// A ledger that its writer holds in memory, as an active engine does: what it decides
/// becomes durable with [`append`](Self::append).
#[derive(Debug)]
pub struct LiveLedger {
    pub state: StateMachine,
    /// Every block; the first has sequence 1.
    pub blocks: Vec<Vec<u8>>,
}

impl LiveLedger {
    /// The time of every block.
    pub const NOW: Timestamp = Timestamp::from_millis(1_000);

    /// With these openings, all open.
    pub fn with(openings: Vec<OpeningRecord>) -> Self {
        let opened = (0..openings.len() as u32).map(|opening| Entry::Opened { opening });
        let opened = opened.collect();
        let builder = LedgerBuilder::with(openings, Self::NOW);
        let mut ledger = Self { state: builder.folded(), blocks: builder.blocks };
        ledger.append(opened);
        ledger
    }

    /// Appends a block of what was decided here.
    ///
    /// # Panics
    ///
    /// Where it is not what was decided.
    pub fn append(&mut self, entries: Vec<Entry>) -> (Vec<StateChange>, Durable) {
        let block = next_block(self.state.chain(), entries);
        let sealed = block.seal();
        self.blocks.push(sealed.bytes);
        self.state.commit(self.blocks.len() as u64, block, sealed.hash).unwrap()
    }

    /// Appends a block of what was [staged](StateMachine::stage) here, all of it.
    ///
    /// # Panics
    ///
    /// Where it is not what was staged.
    pub fn append_staged(&mut self, staged: &[Arc<Booking>]) -> (Vec<StateChange>, Durable) {
        let mut grants = EncodedGrants::new();
        for booking in staged {
            grants.push(&booking.as_grant());
        }
        let block = next_block(self.state.chain(), Vec::new());
        let sealed = block.seal_around(0, &grants);
        self.blocks.push(sealed.bytes);
        let staged = StagedIn { at: 0, are_told: true };
        let seq = self.blocks.len() as u64;
        self.state.commit_around(seq, block, sealed.hash, staged).unwrap()
    }

    /// A second state that has read it all.
    pub fn replayed(&self) -> StateMachine {
        folded(&self.blocks)
    }
}
