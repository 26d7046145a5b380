//! The one rule by which every reader takes or skips a block.

use super::{Block, BlockError, Entry, Seal};
use crate::{BlockHash, LedgerId, Position, Timestamp, WriterNonce};

/// How far the ledger has been read, and who may continue it.
///
/// | block | verdict |
/// |---|---|
/// | first of all: begins with genesis. Of generation 1: sequence 1, epoch 0, names no predecessor. Of a later one: names the seal it continues | valid |
/// | begins with a take-over, epoch above the writer's, continues the chain | valid; its writer is the writer now |
/// | of the writer, continues the chain | valid |
/// | of the writer, does not continue the chain | damage |
/// | of another writer, epoch at or below the writer's | void |
/// | take-over that does not continue the chain | void |
/// | of another writer, epoch above the writer's, no take-over | damage |
/// | of another ledger or generation, a sequence out of order, time running backwards | damage |
/// | genesis or take-over anywhere but first; genesis after the first block; the writer taking over from itself | damage |
/// | a seal that is not alone in its block, or has another time than the block before | damage |
/// | after a seal, of the same generation | void, and not counted: nothing follows a seal in its stream |
/// | after a seal, of the next generation | valid if it is the writer's, begins with a genesis that names the seal, and continues the chain; its sequence may leave a gap |
/// | at a generation's begin, while parts of its snapshot are missing | valid if it is the writer's and holds the next part; else damage |
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
    /// What may come next.
    pub stage: Stage,
}

/// Where in a generation's life a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum Stage {
    /// Facts follow.
    Open,
    /// The generation is over: the next one's genesis follows, in its stream.
    Sealed,
    /// Parts of the snapshot it begins with follow.
    Beginning {
        /// Number of the next part.
        part: u32,
        /// How many there are.
        parts: u32,
    },
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
            stage: Stage::Open,
        }
    }

    /// True where the generation is over and the next one's stream is to be read.
    pub fn is_sealed(&self) -> bool {
        self.stage == Stage::Sealed
    }

    /// True where facts follow: neither a seal nor a begin is being read.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
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
        let Some(ledger) = self.ledger else { return self.read_first(seq, block, hash) };
        if block.ledger != ledger {
            return damage(format!("belongs to ledger {}, not {ledger}", block.ledger));
        }
        if self.is_sealed() && block.generation == self.generation {
            // A deposed writer appended behind the seal.
            return Ok(Reading::Void);
        }
        if self.is_sealed() && block.generation == self.generation + 1 {
            return self.read_next_generation(seq, block, hash);
        }
        if seq != self.seq + 1 {
            return damage(format!("read after sequence {}: blocks are missing", self.seq));
        }
        if block.generation != self.generation {
            return damage(format!(
                "belongs to generation {}, not {}",
                block.generation, self.generation
            ));
        }
        let own = self.is_of_writer(block);
        let takes_over = matches!(block.entries.first(), Some(Entry::TakeOver(_)));
        let continues = block.previous == self.hash;
        if !own && (block.epoch <= self.epoch || (takes_over && !continues)) {
            self.seq = seq;
            return Ok(Reading::Void);
        }
        if !own && !takes_over {
            return damage(format!("epoch {} begins without a take-over", block.epoch));
        }
        self.continues(block).map_err(|what| Damage { seq, what })?;
        let genesis = matches!(block.entries.first(), Some(Entry::Genesis(_)));
        if begins_anew_within(block) || genesis || (own && takes_over) {
            return damage(MISPLACED.to_owned());
        }
        let stage = self.stage_after(block).map_err(|what| Damage { seq, what })?;
        self.advance(seq, block, hash);
        self.stage = stage;
        Ok(Reading::Valid)
    }

    /// The first block of all that this reader meets.
    fn read_first(&mut self, seq: u64, block: &Block, hash: BlockHash) -> Result<Reading, Damage> {
        let damage = |what: String| Err(Damage { seq, what });
        let Some(Entry::Genesis(genesis)) = block.entries.first() else {
            return damage("the first block is no genesis".to_owned());
        };
        let fits = match genesis.continues {
            None => seq == 1 && block.generation == 1 && block.epoch == 0,
            Some(_) => block.generation > 1,
        };
        if !fits {
            return damage(format!("no genesis of generation {} stands here", block.generation));
        }
        if block.previous != genesis.continues.unwrap_or(BlockHash::ZERO) {
            return damage(format!("genesis names {} as its predecessor", block.previous));
        }
        if begins_anew_within(block) {
            return damage(MISPLACED.to_owned());
        }
        *self = Self { ledger: Some(block.ledger), ..self.begun(seq, block, hash)? };
        Ok(Reading::Valid)
    }

    /// The block behind a seal.
    fn read_next_generation(
        &mut self,
        seq: u64,
        block: &Block,
        hash: BlockHash,
    ) -> Result<Reading, Damage> {
        let damage = |what: String| Err(Damage { seq, what });
        let continued = match block.entries.first() {
            Some(Entry::Genesis(genesis)) => genesis.continues,
            _ => None,
        };
        if continued != Some(self.hash) || begins_anew_within(block) {
            return damage(format!("no genesis that continues the seal {}", self.hash));
        }
        if seq <= self.seq || !self.is_of_writer(block) {
            let generation = block.generation;
            return damage(format!(
                "not how the writer of the seal begins generation {generation}"
            ));
        }
        self.continues(block).map_err(|what| Damage { seq, what })?;
        *self = self.begun(seq, block, hash)?;
        Ok(Reading::Valid)
    }

    /// The chain after a generation's first block.
    fn begun(&self, seq: u64, block: &Block, hash: BlockHash) -> Result<Self, Damage> {
        let stage = if block.generation == 1 {
            Stage::Open
        } else {
            Stage::Beginning { part: 0, parts: u32::MAX }
        };
        let mut begun = Self { generation: block.generation, stage, ..self.clone() };
        begun.stage = begun.stage_after(block).map_err(|what| Damage { seq, what })?;
        begun.advance(seq, block, hash);
        Ok(begun)
    }

    fn is_of_writer(&self, block: &Block) -> bool {
        block.writer == self.writer && block.epoch == self.epoch
    }

    fn continues(&self, block: &Block) -> Result<(), String> {
        if block.previous != self.hash {
            return Err(format!(
                "does not continue {}, the last valid block (sequence {})",
                self.hash, self.valid_seq
            ));
        }
        if block.time < self.time {
            return Err(format!("its time {} is before {}", block.time, self.time));
        }
        Ok(())
    }

    /// What may come after this block of the chain.
    fn stage_after(&self, block: &Block) -> Result<Stage, String> {
        if let Stage::Beginning { mut part, mut parts } = self.stage {
            for entry in &block.entries {
                match entry {
                    Entry::Genesis(_) => {}
                    Entry::Snapshot(found) => {
                        let known = parts == u32::MAX || found.parts == parts;
                        if found.part != part || !known || found.part >= found.parts {
                            return Err(format!(
                                "part {} of {} of a snapshot, where part {part} belongs",
                                found.part, found.parts
                            ));
                        }
                        (part, parts) = (part + 1, found.parts);
                    }
                    other => {
                        return Err(format!("{} before the snapshot is complete", other.what()));
                    }
                }
            }
            return Ok(if part == parts { Stage::Open } else { Stage::Beginning { part, parts } });
        }
        if block.entries.iter().any(|entry| matches!(entry, Entry::Snapshot(_))) {
            return Err("a snapshot in the middle".to_owned());
        }
        match &block.entries[..] {
            [Entry::Seal(_)] if block.time != self.time => {
                Err(format!("a seal of {}, after a block of {}", block.time, self.time))
            }
            [Entry::Seal(Seal { ledger, .. })] if *ledger == block.ledger => Ok(Stage::Sealed),
            entries if entries.iter().any(|entry| matches!(entry, Entry::Seal(_))) => {
                Err("a seal of another ledger, or not alone in its block".to_owned())
            }
            _ => Ok(Stage::Open),
        }
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
