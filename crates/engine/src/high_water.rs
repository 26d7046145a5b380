//! The last ledger position this machine knows of.
//!
//! A stream can be recreated, or lose its tail with the broker's disk; sequence
//! numbers are then reused. An engine that has seen more than the ledger holds
//! must not serve.

use std::io::Write;
use std::path::{Path, PathBuf};

use giliran_nats::watch::Mark;
use serde_json::json;

/// A file in the data folder with ledger id, sequence and hash.
#[derive(Debug, Clone)]
pub struct HighWater {
    path: PathBuf,
}

/// Why the mark cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HighWaterError {
    /// The file cannot be read or written.
    #[error("high-water mark {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    /// The file is no mark.
    #[error("high-water mark {path}: not readable as such; move it away only if you know why")]
    Content { path: PathBuf },
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
}

#[cfg(test)]
mod tests {
    use giliran_wire::{BlockHash, LedgerId};

    use super::*;

    fn mark(seq: u64) -> Mark {
        Mark { ledger: LedgerId([1; 16]), generation: 3, seq, hash: BlockHash([seq as u8; 32]) }
    }

    #[test]
    fn a_mark_survives() {
        let folder = tempfile::tempdir().unwrap();
        let high_water = HighWater::new(folder.path());
        assert_eq!(high_water.read().unwrap(), None);
        high_water.write(&mark(7)).unwrap();
        assert_eq!(high_water.read().unwrap(), Some(mark(7)));
        std::fs::write(folder.path().join("high-water.json"), "{}").unwrap();
        assert!(matches!(high_water.read(), Err(HighWaterError::Content { .. })));
    }
}
