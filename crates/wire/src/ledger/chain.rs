//! The one rule by which every reader takes or skips a block.

use super::{Block, BlockError, Entry};
use crate::{BlockHash, LedgerId, Position, Timestamp, WriterNonce};

/// How far the ledger has been read, and who may continue it.
///
/// | block | verdict |
/// |---|---|
/// | first of all, sequence 1, epoch 0, begins with genesis, names no predecessor | valid |
/// | begins with a take-over, epoch above the writer's, continues the chain | valid; its writer is the writer now |
/// | of the writer, continues the chain | valid |
/// | of the writer, does not continue the chain | damage |
/// | of another writer, epoch at or below the writer's | void |
/// | take-over that does not continue the chain | void |
/// | of another writer, epoch above the writer's, no take-over | damage |
/// | of another ledger or generation, a sequence out of order, time running backwards | damage |
/// | genesis or take-over anywhere but first; genesis after the first block; the writer taking over from itself | damage |
///
/// "Void" is what a deposed writer left behind: nobody was told of it, every
/// reader skips it. "Damage" stops the reader.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Chain {
    /// The ledger read, from genesis on.
    pub ledger: Option<LedgerId>,
    /// The generation read.
    pub generation: u32,
    /// Sequence of the last block read, void ones included; 0: none.
    pub seq: u64,
    /// Sequence of the last valid block.
    pub valid_seq: u64,
    /// Hash of the last valid block.
    pub hash: BlockHash,
    /// Epoch of the writer.
    pub epoch: u64,
    /// The writer.
    pub writer: WriterNonce,
    /// Time of the last valid block.
    pub time: Timestamp,
}

/// What [`Chain::read`] says of a block that is not damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Its entries count.
    Valid,
    /// A deposed writer's; skip it.
    Void,
}

/// The ledger is not what its writers wrote. Whoever meets it stops.
#[derive(Debug, thiserror::Error)]
#[error("ledger damaged at sequence {seq}: {what}")]
pub struct Damage {
    /// Where.
    pub seq: u64,
    /// What is wrong.
    pub what: String,
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl Chain {
    /// Nothing read yet.
    pub const fn new() -> Self {
        Self {
            ledger: None,
            generation: 1,
            seq: 0,
            valid_seq: 0,
            hash: BlockHash::ZERO,
            epoch: 0,
            writer: WriterNonce([0; 16]),
            time: Timestamp::from_millis(0),
        }
    }

    /// The position an answer names: writer's epoch, last sequence read.
    pub const fn position(&self) -> Position {
        Position { epoch: self.epoch, seq: self.seq }
    }

    /// Opens the bytes at `seq` and reads the block.
    ///
    /// # Errors
    ///
    /// [`Damage`], also for bytes that are no block.
    pub fn read_bytes(&mut self, seq: u64, bytes: &[u8]) -> Result<(Block, Reading), Damage> {
        let (block, hash) =
            Block::open(bytes).map_err(|e: BlockError| Damage { seq, what: e.to_string() })?;
        let reading = self.read(seq, &block, hash)?;
        Ok((block, reading))
    }

    /// Judges the block at `seq` and moves on to it.
    ///
    /// # Errors
    ///
    /// [`Damage`]; the chain is left where it was.
    pub fn read(&mut self, seq: u64, block: &Block, hash: BlockHash) -> Result<Reading, Damage> {
        let damage = |what: String| Err(Damage { seq, what });
        if seq != self.seq + 1 {
            return damage(format!("read after sequence {}: blocks are missing", self.seq));
        }
        let Some(ledger) = self.ledger else {
            if !matches!(block.entries.first(), Some(Entry::Genesis(_))) || block.epoch != 0 {
                return damage("the first block is no genesis".to_owned());
            }
            if block.previous != BlockHash::ZERO {
                return damage(format!("genesis names {} as its predecessor", block.previous));
            }
            if begins_anew_within(block) {
                return damage(MISPLACED.to_owned());
            }
            self.generation = block.generation;
            self.ledger = Some(block.ledger);
            self.advance(seq, block, hash);
            return Ok(Reading::Valid);
        };
        if block.ledger != ledger {
            return damage(format!("belongs to ledger {}, not {ledger}", block.ledger));
        }
        if block.generation != self.generation {
            return damage(format!(
                "belongs to generation {}, not {}",
                block.generation, self.generation
            ));
        }
        let own = block.writer == self.writer && block.epoch == self.epoch;
        let takes_over = matches!(block.entries.first(), Some(Entry::TakeOver(_)));
        let continues = block.previous == self.hash;
        if !own && (block.epoch <= self.epoch || (takes_over && !continues)) {
            self.seq = seq;
            return Ok(Reading::Void);
        }
        if !own && !takes_over {
            return damage(format!("epoch {} begins without a take-over", block.epoch));
        }
        if !continues {
            return damage(format!(
                "does not continue {}, the last valid block (sequence {})",
                self.hash, self.valid_seq
            ));
        }
        if block.time < self.time {
            return damage(format!("its time {} is before {}", block.time, self.time));
        }
        let genesis = matches!(block.entries.first(), Some(Entry::Genesis(_)));
        if begins_anew_within(block) || genesis || (own && takes_over) {
            return damage(MISPLACED.to_owned());
        }
        self.advance(seq, block, hash);
        Ok(Reading::Valid)
    }

    fn advance(&mut self, seq: u64, block: &Block, hash: BlockHash) {
        self.seq = seq;
        self.valid_seq = seq;
        self.hash = hash;
        self.epoch = block.epoch;
        self.writer = block.writer;
        self.time = block.time;
    }
}

const MISPLACED: &str = "genesis or take-over in the middle";

/// True for a block with a genesis or take-over after its first entry.
fn begins_anew_within(block: &Block) -> bool {
    block.entries.iter().skip(1).any(|e| matches!(e, Entry::Genesis(_) | Entry::TakeOver(_)))
}
