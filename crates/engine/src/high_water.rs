//! The last ledger position this machine knows of.
//!
//! A stream can be recreated, or lose its tail with the broker's disk; sequence
//! numbers are then reused. An engine that has seen more than the ledger holds
//! must not serve.

use std::io::Write;
use std::path::{Path, PathBuf};

use giliran_wire::ledger::Chain;
use giliran_wire::{BlockHash, LedgerId};
use serde_json::json;

/// A file in the data folder with ledger id, sequence and hash.
#[derive(Debug, Clone)]
pub struct HighWater {
    path: PathBuf,
}

/// The last valid block that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The ledger.
    pub ledger: LedgerId,
    /// The generation whose stream holds the block.
    pub generation: u32,
    /// The block's sequence.
    pub seq: u64,
    /// The block's hash.
    pub hash: BlockHash,
}

/// Why the mark forbids serving, or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HighWaterError {
    /// The file cannot be read or written.
    #[error("high-water mark {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no mark.
    #[error("high-water mark {path}: not readable as such; move it away only if you know why")]
    Content {
        /// Which file.
        path: PathBuf,
    },
    /// The ledger is another one.
    #[error(
        "this data folder has served ledger {known}, the stream holds ledger {found}: it was \
         recreated. Restore the stream, or start with a fresh data folder if the old ledger is \
         given up"
    )]
    OtherLedger {
        /// The one served before.
        known: LedgerId,
        /// The one found.
        found: LedgerId,
    },
    /// The ledger ends before the mark, or holds another block there.
    #[error(
        "the ledger ends at sequence {tail} or differs from what this engine wrote or read at \
         sequence {seq}: it lost blocks. Restore the stream, or remove {path} if the loss is \
         accepted"
    )]
    Lost {
        /// Sequence of the mark.
        seq: u64,
        /// Where the ledger ends.
        tail: u64,
        /// The mark's file.
        path: PathBuf,
    },
}

impl HighWater {
    /// The mark of this data folder.
    pub fn new(data: &Path) -> Self {
        Self { path: data.join("high-water.json") }
    }

    /// The mark, if there is one yet.
    ///
    /// # Errors
    ///
    /// [`HighWaterError::File`], [`HighWaterError::Content`].
    pub fn read(&self) -> Result<Option<Mark>, HighWaterError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(HighWaterError::File { path: self.path.clone(), source }),
        };
        let parse = || {
            let value: serde_json::Value = serde_json::from_str(&text).ok()?;
            Some(Mark {
                ledger: value["ledger"].as_str()?.parse().ok()?,
                // Marks of a ledger's first generation have been written without.
                generation: value["generation"].as_u64().map_or(Some(1), |n| n.try_into().ok())?,
                seq: value["seq"].as_u64()?,
                hash: value["hash"].as_str()?.parse().ok()?,
            })
        };
        parse().map(Some).ok_or(HighWaterError::Content { path: self.path.clone() })
    }

    /// Replaces the mark, atomically and durably.
    ///
    /// # Errors
    ///
    /// [`HighWaterError::File`].
    pub fn write(&self, mark: &Mark) -> Result<(), HighWaterError> {
        let replace = || {
            let next = self.path.with_extension("json.next");
            let mut file = std::fs::File::create(&next)?;
            let text = json!({
                "ledger": mark.ledger.to_string(),
                "generation": mark.generation,
                "seq": mark.seq,
                "hash": mark.hash.to_string(),
            });
            writeln!(file, "{text}")?;
            file.sync_data()?;
            std::fs::rename(&next, &self.path)
        };
        replace().map_err(|source| HighWaterError::File { path: self.path.clone(), source })
    }

    /// Judges a ledger that was read to its tail; `hash_at_mark` is the hash it
    /// had when the reader passed the mark's sequence.
    ///
    /// # Errors
    ///
    /// [`HighWaterError::OtherLedger`], [`HighWaterError::Lost`].
    pub fn check(
        &self,
        mark: &Mark,
        chain: &Chain,
        hash_at_mark: Option<BlockHash>,
    ) -> Result<(), HighWaterError> {
        match chain.ledger {
            Some(found) if found != mark.ledger => {
                Err(HighWaterError::OtherLedger { known: mark.ledger, found })
            }
            _ if hash_at_mark == Some(mark.hash) => Ok(()),
            _ => Err(HighWaterError::Lost {
                seq: mark.seq,
                tail: chain.seq,
                path: self.path.clone(),
            }),
        }
    }
}

impl Mark {
    /// The mark of a ledger read this far; none before genesis.
    pub fn of(chain: &Chain) -> Option<Self> {
        let Chain { generation, valid_seq: seq, hash, .. } = *chain;
        chain.ledger.map(|ledger| Self { ledger, generation, seq, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(seq: u64) -> Mark {
        Mark { ledger: LedgerId([1; 16]), generation: 3, seq, hash: BlockHash([seq as u8; 32]) }
    }

    #[test]
    fn a_mark_survives_and_judges() {
        let folder = tempfile::tempdir().unwrap();
        let high_water = HighWater::new(folder.path());
        assert_eq!(high_water.read().unwrap(), None);
        high_water.write(&mark(7)).unwrap();
        assert_eq!(high_water.read().unwrap(), Some(mark(7)));
        let chain = Chain { ledger: Some(LedgerId([1; 16])), seq: 9, ..Chain::new() };
        let check = |hash| high_water.check(&mark(7), &chain, hash);
        assert!(check(Some(BlockHash([7; 32]))).is_ok());
        assert!(matches!(check(Some(BlockHash([8; 32]))), Err(HighWaterError::Lost { .. })));
        assert!(matches!(check(None), Err(HighWaterError::Lost { .. })));
        let other = Chain { ledger: Some(LedgerId([2; 16])), ..chain };
        assert!(matches!(
            high_water.check(&mark(7), &other, Some(BlockHash([7; 32]))),
            Err(HighWaterError::OtherLedger { .. })
        ));
        std::fs::write(folder.path().join("high-water.json"), "{}").unwrap();
        assert!(matches!(high_water.read(), Err(HighWaterError::Content { .. })));
    }
}
