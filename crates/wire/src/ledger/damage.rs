//! What tells a damaged ledger, one kind for each way in which a reader can find it.

use super::foreign::{Alien, Doubt};
use super::{BlockError, Contradiction};
use crate::snapshot_error::Unusable;
use crate::{BlockHash, Timestamp};

/// The ledger is not what its writers wrote. Whoever meets it stops.
#[derive(Debug, thiserror::Error)]
#[error("ledger damaged at sequence {seq}: {kind}{}", before(.doubt.as_deref()))]
pub struct Damage {
    /// Stream sequence at which the chain cannot be right.
    pub seq: u64,
    /// What was found there, and what was expected.
    pub kind: DamageKind,
    /// Foreign messages directly before it: a block that rotted shows like this.
    pub doubt: Option<Box<Doubt>>,
}

impl Damage {
    /// Damage with no foreign messages before it.
    pub const fn new(seq: u64, kind: DamageKind) -> Self {
        Self { seq, kind, doubt: None }
    }
}

fn before(doubt: Option<&Doubt>) -> String {
    doubt.map(|doubt| format!("; before it stand {doubt}")).unwrap_or_default()
}

/// What cannot be right; the rows of the reading rule in [`Chain`](super::Chain) that say
/// damage, then what those find who write, and who fold the entries.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DamageKind {
    /// A later release wrote the block.
    #[error("{0}: a later release wrote it; run that one")]
    LaterRelease(BlockError),
    /// The very first message cannot be read.
    #[error("{0}")]
    Unreadable(BlockError),
    /// Sequences are skipped, or come twice.
    #[error("read after sequence {after}: blocks are missing")]
    OutOfOrder {
        /// The sequence that was read last.
        after: u64,
    },
    /// A number ahead, whoever wrote it.
    #[error(
        "block number {number}, where number {expected} belongs: blocks are missing or were \
         rewritten"
    )]
    Ahead {
        /// The number that the block states.
        number: u64,
        /// The number that comes next.
        expected: u64,
    },
    /// A second block of the writer's with the last number.
    #[error("another block number {number} than {last}")]
    SecondOfItsNumber {
        /// The number of both.
        number: u64,
        /// Hash of the one that was read before.
        last: BlockHash,
    },
    /// The block names another predecessor than the last valid block.
    #[error("does not continue {last}, the last valid block (sequence {valid_seq})")]
    Unlinked {
        /// Hash of the last valid block.
        last: BlockHash,
        /// Sequence of the last valid block.
        valid_seq: u64,
    },
    /// The block states a time before that of the last valid block.
    #[error("its time {time} is before {last}")]
    TimeBackwards {
        /// The time that the block states.
        time: Timestamp,
        /// Time of the last valid block.
        last: Timestamp,
    },
    /// Genesis or take-over where none may stand.
    #[error("genesis or take-over in the middle")]
    Misplaced,
    /// The first block of all begins with something else.
    #[error("the first block is not a genesis")]
    NotGenesis,
    /// The first block's numbers are not those of such a genesis.
    #[error("no genesis of generation {generation} stands here")]
    WrongGenesis {
        /// The generation that the reader begins with.
        generation: u32,
    },
    /// A genesis contradicts itself about the block that it continues.
    #[error("genesis names {previous} as its predecessor")]
    GenesisPredecessor {
        /// The predecessor that its block names.
        previous: BlockHash,
    },
    /// The writer's block behind a seal does not begin the next generation.
    #[error("no genesis that continues the seal {seal}")]
    SealNotContinued {
        /// Hash of the seal's block.
        seal: BlockHash,
    },
    /// The next generation's first sequence is not behind the seal.
    #[error("a generation that begins at or before the seal, {seal}")]
    BeginsBeforeSeal {
        /// Sequence of the seal.
        seal: u64,
    },
    /// What follows a generation that was left was not rebuilt from it.
    #[error("no genesis that was rebuilt behind block {last}")]
    NotRebuiltFrom {
        /// Hash of the last valid block.
        last: BlockHash,
    },
    /// The next generation was rebuilt from less than was read, or from something else.
    #[error(
        "generation {generation} was rebuilt behind block number {behind} ({previous}), and \
         number {read} ({last}) was read: what stands behind that is not in the ledger any more"
    )]
    RebuiltWithout {
        /// The generation that was rebuilt.
        generation: u32,
        /// Number of the block that it continues.
        behind: u64,
        /// Hash of that block.
        previous: BlockHash,
        /// Number of the last valid block that was read.
        read: u64,
        /// Hash of that block.
        last: BlockHash,
    },
    /// A part of a snapshot that is not the next one.
    #[error("part {part} of {parts} of a snapshot, where part {expected} belongs")]
    PartOutOfOrder {
        /// Number of the part.
        part: u32,
        /// How many it says there are.
        parts: u32,
        /// Number of the part that comes next.
        expected: u32,
    },
    /// A fact while parts of the snapshot are missing.
    #[error("{entry} before the snapshot is complete")]
    BeforeSnapshot {
        /// What the entry is, in words.
        entry: &'static str,
    },
    /// A part of a snapshot among facts.
    #[error("a snapshot in the middle")]
    SnapshotMisplaced,
    /// A seal with another time than the block before.
    #[error("a seal of {time}, after a block of {last}")]
    SealTime {
        /// The time that the seal's block states.
        time: Timestamp,
        /// Time of the last valid block.
        last: Timestamp,
    },
    /// A seal that names another ledger, or has other entries beside it.
    #[error("a seal of another ledger, or not alone in its block")]
    SealMisplaced,
    /// A block that was appended here is void where it stands.
    #[error("the own block is void")]
    OwnVoid,
    /// A block that was appended here is foreign where it stands.
    #[error("the own block is {0}")]
    OwnForeign(Alien),
    /// Whoever is to write has not read how the ledger goes on.
    #[error("the next generation was rebuilt, and is to be read first")]
    RebuiltUnread,
    /// A begin has parts that do not follow from the sealed state.
    #[error("its generation begins with more parts than the state has")]
    PartsBeyondState,
    /// Whoever folded a generation has another state than its seal names.
    #[error("sealed with another state than the ledger's fold")]
    SealedOtherState,
    /// The next generation begins with another state than was sealed.
    #[error("a snapshot of another state than was sealed")]
    SnapshotOfOtherState,
    /// The parts of a snapshot do not make a state, or make another one.
    #[error("snapshot: {0}")]
    Snapshot(#[source] Unusable),
    /// An entry does not follow from those before it.
    #[error("{0}")]
    Contradiction(Contradiction),
}
