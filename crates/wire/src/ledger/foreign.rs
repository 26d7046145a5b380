//! Messages on the ledger's subject that no writer of the ledger put there.

use crate::{BlockHash, LedgerId};

/// A message that no writer of the ledger put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// Stream sequence of the foreign message.
    pub seq: u64,
    /// Its length in bytes.
    pub bytes: usize,
    /// BLAKE3 of the whole message: tells it from others, and nothing of what it says.
    pub hash: BlockHash,
    /// Why it is foreign.
    pub why: Alien,
}

/// Why a message is foreign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum Alien {
    /// Its checksum does not match: no block, or one that rotted.
    NoBlock,
    /// It is of another ledger.
    Ledger(LedgerId),
    /// It is of another generation.
    Generation(u32),
    /// It has the number of an earlier block.
    Copy {
        /// The number that the block states.
        number: u64,
    },
    /// Of a writer that has not taken over.
    Writer {
        /// The epoch that it claims.
        epoch: u64,
    },
}

impl std::fmt::Display for Alien {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoBlock => f.write_str("no block, or one whose bytes have changed"),
            Self::Ledger(ledger) => write!(f, "a block of ledger {ledger}"),
            Self::Generation(generation) => write!(f, "a block of generation {generation}"),
            Self::Copy { number } => write!(f, "a copy of block number {number}"),
            Self::Writer { epoch } => {
                write!(f, "a block of a writer of epoch {epoch}, which has not taken over")
            }
        }
    }
}

/// Foreign messages at the end of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Doubt {
    /// Sequence of the first.
    pub from: u64,
    /// How many there are.
    pub messages: u64,
    /// Why the first is foreign.
    pub why: Alien,
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, messages, why } = self;
        write!(f, "{messages} foreign messages from sequence {from} on, the first: {why}")
    }
}
