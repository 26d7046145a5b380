//! The one rule by which every reader takes or skips a block.

use super::foreign::{Alien, Doubt, Foreign};
use super::{Block, BlockError, Damage, DamageKind, Entry, Seal};
use crate::{BlockHash, LedgerId, Position, Timestamp, WriterNonce};

/// How far the ledger has been read, and who may continue it.
///
/// *Ahead* is a number beyond the one that comes next, *earlier* one up to the last.
///
/// | message | verdict |
/// |---|---|
/// | first of all: begins with genesis. Of generation 1: sequence 1, epoch 0, number 1, names no predecessor. Of a later one: names the seal it continues | valid |
/// | begins with a take-over, the next epoch, the next number, names the last valid block | valid; its writer is the writer now |
/// | of the writer, the next number, names the last valid block | valid |
/// | of the writer, the next number, names another block | damage: a block was rewritten |
/// | of the writer, an earlier number | foreign: a copy. With the last number and another hash: damage |
/// | a number ahead, whoever wrote it | damage: blocks are missing |
/// | of another writer, epoch at or below the writer's | void |
/// | take-over of the next epoch that names another block | void |
/// | of another writer, epoch above the writer's, no take-over or not of the next epoch | foreign |
/// | its checksum does not match; of another ledger or generation | foreign |
/// | of this ledger, checksum right, and not to be read | damage: a later release wrote it |
/// | a sequence out of order; time running backwards | damage |
/// | genesis or take-over anywhere but first; genesis after the first block; the writer taking over from itself | damage |
/// | a seal that is not alone in its block, or has another time than the block before | damage |
/// | after a seal, of the same generation | void, and not counted: nothing follows a seal in its stream |
/// | after a seal, of the next generation | valid if it is the writer's, begins with a genesis that names the seal, and continues the chain; its sequence may leave a gap. Of another writer: foreign, and not counted |
/// | where a generation is left ([`Chain::goes_on_in`]), of the next one | valid if it begins with a rebuilt genesis that names the last valid block, has the next number and epoch and another writer; damage otherwise |
/// | at a generation's begin, while parts of its snapshot are missing | valid if it is the writer's and holds the next part; else as above |
///
/// "Void" is what a deposed writer left behind: nobody was told of it, every
/// reader skips it. "Damage" stops the reader.
///
/// "Foreign" is what no writer of the ledger put there, as far as can be told. It
/// is void if the next valid block continues the block before it. Until one
/// follows the chain is in [`Doubt`]: a reader waits, says so, and goes by what
/// stands before. The writer, and whoever takes over, writes behind it. Where
/// damage is found behind foreign messages, it names them: a block that rotted
/// shows like this.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Chain {
    /// The ledger read, from genesis on.
    pub ledger: Option<LedgerId>,
    /// The generation read, or to be begun with.
    pub generation: u32,
    /// Sequence of the last message read, void and foreign ones included; 0: none.
    pub seq: u64,
    /// Sequence of the last valid block.
    pub valid_seq: u64,
    /// Number of the last valid block: how many there are, from genesis on.
    pub number: u64,
    /// Hash of the last valid block.
    pub hash: BlockHash,
    /// Epoch of the writer.
    pub epoch: u64,
    /// Nonce of the writer whose blocks count.
    pub writer: WriterNonce,
    /// Time of the last valid block.
    pub time: Timestamp,
    /// What may come next.
    pub stage: Stage,
    /// Foreign messages that no valid block has followed yet.
    pub doubt: Option<Doubt>,
}

/// Where in a generation's life a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum Stage {
    /// The generation's begin is complete; facts follow.
    Open,
    /// The generation is over: the next one's genesis follows, in its stream.
    Sealed,
    /// The generation is damaged behind here: the next one was rebuilt from what
    /// stands before, and its genesis follows, in its stream.
    Left,
    /// Parts of the snapshot it begins with follow.
    Beginning {
        /// Number of the next part.
        part: u32,
        /// How many there are.
        parts: u32,
    },
}

/// What [`Chain::read_bytes`] says of a message that is no damage.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// A block whose entries count.
    Valid(Block),
    /// A deposed writer's; skip it.
    Void,
    /// None of a writer of this ledger; skip it. The chain is in [`Doubt`], but
    /// where nothing counts: behind a seal, and before a genesis.
    Foreign(Foreign),
}

/// What becomes of a block; see [`Chain`].
enum Verdict {
    Valid(Stage),
    Void,
    Foreign(Alien),
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl Chain {
    /// Nothing read yet; begins with the ledger's first generation.
    pub const fn new() -> Self {
        Self::beginning_with(1)
    }

    /// Nothing read yet; begins with this generation.
    pub const fn beginning_with(generation: u32) -> Self {
        Self {
            ledger: None,
            generation,
            seq: 0,
            valid_seq: 0,
            number: 0,
            hash: BlockHash::ZERO,
            epoch: 0,
            writer: WriterNonce([0; 16]),
            time: Timestamp::from_millis(0),
            stage: Stage::Open,
            doubt: None,
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

    /// Whether the ledger goes on in the next generation from here on, although this
    /// one is not sealed. `begin`: the block that stream begins with. False: it is no
    /// rebuilt one, or more of this generation is to be read before it.
    ///
    /// # Errors
    ///
    /// [`Damage`] where what was read is not what the next generation was rebuilt
    /// from: whoever has read further stands on blocks that are not in the ledger.
    pub fn goes_on_in(&mut self, begin: &Block) -> Result<bool, Damage> {
        let rebuilt = matches!(
            begin.entries.first(),
            Some(Entry::Genesis(genesis)) if genesis.rebuilt.is_some()
        );
        let next = rebuilt
            && self.ledger == Some(begin.ledger)
            && begin.generation == self.generation + 1
            && !self.is_sealed();
        if !next || begin.number > self.number + 1 {
            return Ok(false);
        }
        if begin.number <= self.number || begin.previous != self.hash {
            let kind = DamageKind::RebuiltWithout {
                generation: begin.generation,
                behind: begin.number - 1,
                previous: begin.previous,
                read: self.number,
                last: self.hash,
            };
            return Err(Damage::new(self.valid_seq, kind));
        }
        self.stage = Stage::Left;
        Ok(true)
    }

    /// The position an answer names: writer's epoch, last sequence read that is
    /// beyond doubt.
    pub const fn position(&self) -> Position {
        let seq = match self.doubt {
            Some(Doubt { from, .. }) => from - 1,
            None => self.seq,
        };
        Position { epoch: self.epoch, seq }
    }

    /// Opens the message at `seq` and reads it.
    ///
    /// # Errors
    ///
    /// [`Damage`]; the chain is left where it was.
    pub fn read_bytes(&mut self, seq: u64, bytes: &[u8]) -> Result<Reading, Damage> {
        self.read_opened(seq, bytes, Block::open(bytes))
    }

    /// Reads the message at `seq`. `opened`: what [`Block::open`] makes of its bytes, on
    /// another thread perhaps.
    ///
    /// # Errors
    ///
    /// As [`read_bytes`](Self::read_bytes).
    pub fn read_opened(
        &mut self,
        seq: u64,
        bytes: &[u8],
        opened: Result<(Block, BlockHash), BlockError>,
    ) -> Result<Reading, Damage> {
        let (verdict, opened) = match opened {
            Ok((block, hash)) if self.ledger.is_none() => {
                (self.judge_first(seq, &block), Some((block, hash)))
            }
            Ok((block, hash)) => (self.judge(seq, &block, hash), Some((block, hash))),
            Err(error) => (self.judge_unreadable(seq, bytes, error), None),
        };
        match (verdict.map_err(|kind| self.damage(seq, kind))?, opened) {
            (Verdict::Valid(stage), Some((block, hash))) => {
                self.advance(seq, &block, hash, stage);
                Ok(Reading::Valid(block))
            }
            (Verdict::Foreign(why), _) => {
                self.doubts(seq, why);
                let hash = BlockHash(*blake3::hash(bytes).as_bytes());
                Ok(Reading::Foreign(Foreign { seq, bytes: bytes.len(), hash, why }))
            }
            _ => {
                self.passes(seq);
                Ok(Reading::Void)
            }
        }
    }

    /// A block that was written here stands at `seq`; moves on to it.
    ///
    /// # Errors
    ///
    /// [`Damage`] where it is not valid there; the chain is left where it was.
    pub fn append(&mut self, seq: u64, block: &Block, hash: BlockHash) -> Result<(), Damage> {
        match self.judge(seq, block, hash).map_err(|kind| self.damage(seq, kind))? {
            Verdict::Valid(stage) => {
                self.advance(seq, block, hash, stage);
                Ok(())
            }
            Verdict::Void => Err(self.damage(seq, DamageKind::OwnVoid)),
            Verdict::Foreign(why) => Err(self.damage(seq, DamageKind::OwnForeign(why))),
        }
    }

    /// Whether messages change nothing of where the reader stands, as behind a seal
    /// and before a genesis: nobody knows how many of them a reader sees.
    fn counts_nothing(&self) -> bool {
        self.ledger.is_none() || self.is_over()
    }

    /// Whether the next block is the next generation's first.
    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Sealed | Stage::Left)
    }

    /// Moves on over a message that is void.
    fn passes(&mut self, seq: u64) {
        if !self.counts_nothing() {
            self.seq = seq;
        }
    }

    /// Moves on over a message that is foreign.
    fn doubts(&mut self, seq: u64, why: Alien) {
        if self.counts_nothing() {
            return;
        }
        self.seq = seq;
        let doubt = self.doubt.get_or_insert(Doubt { from: seq, messages: 0, why });
        doubt.messages += 1;
    }

    fn damage(&self, seq: u64, kind: DamageKind) -> Damage {
        Damage { seq, kind, doubt: self.doubt.map(Box::new) }
    }

    /// What is no block of this release: foreign, if not a later release's.
    fn judge_unreadable(
        &self,
        seq: u64,
        bytes: &[u8],
        error: BlockError,
    ) -> Result<Verdict, DamageKind> {
        let later = match (Block::ledger_of(bytes), self.ledger) {
            // Whoever cannot tell stops: to go on would lose bookings.
            (Some(_), None) => true,
            (of, ledger) => of == ledger,
        };
        if !matches!(error, BlockError::Checksum) && later {
            return Err(DamageKind::LaterRelease(error));
        }
        if self.ledger.is_none() && seq == 1 {
            return Err(DamageKind::Unreadable(error));
        }
        self.in_order(seq)?;
        Ok(Verdict::Foreign(match Block::ledger_of(bytes) {
            Some(ledger) if !matches!(error, BlockError::Checksum) => Alien::Ledger(ledger),
            _ => Alien::NoBlock,
        }))
    }

    fn in_order(&self, seq: u64) -> Result<(), DamageKind> {
        if !self.counts_nothing() && seq != self.seq + 1 {
            return Err(DamageKind::OutOfOrder { after: self.seq });
        }
        Ok(())
    }

    fn judge(&self, seq: u64, block: &Block, hash: BlockHash) -> Result<Verdict, DamageKind> {
        if self.ledger != Some(block.ledger) {
            self.in_order(seq)?;
            return Ok(Verdict::Foreign(Alien::Ledger(block.ledger)));
        }
        if self.is_over() && block.generation == self.generation {
            // A deposed writer appended behind the seal.
            return Ok(Verdict::Void);
        }
        self.in_order(seq)?;
        if block.generation != self.generation + u32::from(self.is_over()) {
            return Ok(Verdict::Foreign(Alien::Generation(block.generation)));
        }
        let next = self.number + 1;
        if block.number > next {
            return Err(DamageKind::Ahead { number: block.number, expected: next });
        }
        if self.is_of_writer(block) {
            return self.judge_own(seq, block, hash);
        }
        if self.stage == Stage::Left {
            return self.judge_rebuilt(seq, block).map(Verdict::Valid);
        }
        let takes_over = matches!(block.entries.first(), Some(Entry::TakeOver(_)));
        let continues = block.previous == self.hash && block.number == next;
        let epoch = block.epoch;
        if self.is_sealed() {
            return Ok(Verdict::Foreign(Alien::Writer { epoch }));
        }
        if epoch <= self.epoch {
            return Ok(Verdict::Void);
        }
        if !takes_over || epoch != self.epoch + 1 {
            return Ok(Verdict::Foreign(Alien::Writer { epoch }));
        }
        if !continues {
            return Ok(Verdict::Void);
        }
        self.judge_content(block).map(Verdict::Valid)
    }

    /// A block of the writer: it fits, or it is a copy, or the ledger is damaged.
    fn judge_own(&self, seq: u64, block: &Block, hash: BlockHash) -> Result<Verdict, DamageKind> {
        let (number, last) = (block.number, self.number);
        if number < last || (number == last && hash == self.hash) {
            return Ok(Verdict::Foreign(Alien::Copy { number }));
        }
        if number == last {
            return Err(DamageKind::SecondOfItsNumber { number, last: self.hash });
        }
        if self.is_sealed() {
            return self.judge_next_generation(seq, block).map(Verdict::Valid);
        }
        let first = block.entries.first();
        if matches!(first, Some(Entry::Genesis(_) | Entry::TakeOver(_))) {
            return Err(DamageKind::Misplaced);
        }
        self.judge_content(block).map(Verdict::Valid)
    }

    /// A block that is to continue the chain within its generation.
    fn judge_content(&self, block: &Block) -> Result<Stage, DamageKind> {
        self.continues(block)?;
        if begins_anew_within(block) {
            return Err(DamageKind::Misplaced);
        }
        self.stage_after(block)
    }

    /// The first block of all that this reader meets.
    fn judge_first(&self, seq: u64, block: &Block) -> Result<Verdict, DamageKind> {
        let first = seq == 1 && self.generation == 1;
        if block.generation != self.generation && !first {
            return Ok(Verdict::Foreign(Alien::Generation(block.generation)));
        }
        let Some(Entry::Genesis(genesis)) = block.entries.first() else {
            return Err(DamageKind::NotGenesis);
        };
        let fits = match genesis.continues {
            None => first && block.generation == 1 && block.epoch == 0 && block.number == 1,
            Some(_) => block.generation > 1 && block.number > 1,
        };
        if !fits {
            return Err(DamageKind::WrongGenesis { generation: self.generation });
        }
        if block.previous != genesis.continues.unwrap_or(BlockHash::ZERO) {
            return Err(DamageKind::GenesisPredecessor { previous: block.previous });
        }
        self.begun(block).map(Verdict::Valid)
    }

    /// The writer's block behind a seal.
    fn judge_next_generation(&self, seq: u64, block: &Block) -> Result<Stage, DamageKind> {
        let continued = match block.entries.first() {
            Some(Entry::Genesis(genesis)) => genesis.continues,
            _ => None,
        };
        if continued != Some(self.hash) {
            return Err(DamageKind::SealNotContinued { seal: self.hash });
        }
        if seq <= self.seq {
            return Err(DamageKind::BeginsBeforeSeal { seal: self.seq });
        }
        self.continues(block)?;
        self.begun(block)
    }

    /// The first block of a generation that was rebuilt from what was read.
    fn judge_rebuilt(&self, seq: u64, block: &Block) -> Result<Stage, DamageKind> {
        let rebuilt = match block.entries.first() {
            Some(Entry::Genesis(genesis)) if genesis.rebuilt.is_some() => genesis.continues,
            _ => None,
        };
        let fits = rebuilt == Some(self.hash)
            && block.number == self.number + 1
            && block.epoch == self.epoch + 1
            && seq > self.valid_seq;
        if !fits {
            return Err(DamageKind::NotRebuiltFrom { last: self.hash });
        }
        self.continues(block)?;
        self.begun(block)
    }

    /// What may come after a generation's first block.
    fn begun(&self, block: &Block) -> Result<Stage, DamageKind> {
        if begins_anew_within(block) {
            return Err(DamageKind::Misplaced);
        }
        let stage = if block.generation == 1 {
            Stage::Open
        } else {
            Stage::Beginning { part: 0, parts: u32::MAX }
        };
        Self { stage, ..self.clone() }.stage_after(block)
    }

    fn is_of_writer(&self, block: &Block) -> bool {
        block.writer == self.writer && block.epoch == self.epoch
    }

    fn continues(&self, block: &Block) -> Result<(), DamageKind> {
        if block.previous != self.hash {
            return Err(DamageKind::Unlinked { last: self.hash, valid_seq: self.valid_seq });
        }
        if block.time < self.time {
            return Err(DamageKind::TimeBackwards { time: block.time, last: self.time });
        }
        Ok(())
    }

    /// What may come after this block of the chain.
    fn stage_after(&self, block: &Block) -> Result<Stage, DamageKind> {
        if let Stage::Beginning { mut part, mut parts } = self.stage {
            for entry in &block.entries {
                match entry {
                    Entry::Genesis(_) => {}
                    Entry::Snapshot(found) => {
                        let known = parts == u32::MAX || found.parts == parts;
                        if found.part != part || !known || found.part >= found.parts {
                            let (part, parts, expected) = (found.part, found.parts, part);
                            return Err(DamageKind::PartOutOfOrder { part, parts, expected });
                        }
                        (part, parts) = (part + 1, found.parts);
                    }
                    other => return Err(DamageKind::BeforeSnapshot { entry: other.what() }),
                }
            }
            return Ok(if part == parts { Stage::Open } else { Stage::Beginning { part, parts } });
        }
        if block.entries.iter().any(|entry| matches!(entry, Entry::Snapshot(_))) {
            return Err(DamageKind::SnapshotMisplaced);
        }
        match &block.entries[..] {
            [Entry::Seal(_)] if block.time != self.time => {
                Err(DamageKind::SealTime { time: block.time, last: self.time })
            }
            [Entry::Seal(Seal { ledger, .. })] if *ledger == block.ledger => Ok(Stage::Sealed),
            entries if entries.iter().any(|entry| matches!(entry, Entry::Seal(_))) => {
                Err(DamageKind::SealMisplaced)
            }
            _ => Ok(Stage::Open),
        }
    }

    fn advance(&mut self, seq: u64, block: &Block, hash: BlockHash, stage: Stage) {
        *self = Self {
            ledger: Some(block.ledger),
            generation: block.generation,
            seq,
            valid_seq: seq,
            number: block.number,
            hash,
            epoch: block.epoch,
            writer: block.writer,
            time: block.time,
            stage,
            doubt: None,
        };
    }
}

/// True for a block with a genesis or take-over after its first entry.
fn begins_anew_within(block: &Block) -> bool {
    block.entries.iter().skip(1).any(|e| matches!(e, Entry::Genesis(_) | Entry::TakeOver(_)))
}
