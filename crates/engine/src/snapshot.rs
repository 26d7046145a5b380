//! The engine's own snapshot: what it begins with instead of the ledger's first
//! block. A cache; the ledger alone counts, and one that does not lie on it is
//! passed over.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use giliran_core::Keeper;
use giliran_wire::snapshot::{self, SnapshotError, Writer};

/// Buffer of reads and writes, in bytes.
const BUFFER: usize = 1 << 20;
/// Pieces that are decoded and wait to be put in place.
const PIECES_AHEAD: usize = 16;

/// A file in the data folder.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    path: PathBuf,
}

impl SnapshotFile {
    pub(crate) fn new(data: &Path) -> Self {
        Self { path: data.join("snapshot.bin") }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The state that was written last; none: there is no file.
    pub(crate) fn read(&self) -> Result<Option<Keeper>, SnapshotError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut keeper = Keeper::new();
        // One thread reads and decodes, the other one puts in place: half the
        // time of one after the other.
        std::thread::scope(|scope| {
            let (pieces, decoded) = std::sync::mpsc::sync_channel(PIECES_AHEAD);
            let reading = scope.spawn(move || {
                snapshot::read(BufReader::with_capacity(BUFFER, file), |piece| {
                    pieces.send(piece).map_err(|_| "it does not fit itself".to_owned())
                })
            });
            let restored = decoded.into_iter().try_for_each(|piece| keeper.restore(piece));
            let read = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            restored.map_err(SnapshotError::Unusable)?;
            read
        })?;
        Ok(Some(keeper))
    }

    /// Replaces the file, atomically and durably.
    pub(crate) fn write(&self, keeper: &Keeper) -> std::io::Result<()> {
        let next = self.path.with_extension("bin.next");
        let file = BufWriter::with_capacity(BUFFER, File::create(&next)?);
        let mut writer = Writer::new(file)?;
        keeper.snapshot(|piece| writer.piece(piece))?;
        let file = writer.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_data()?;
        std::fs::rename(&next, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_none_is_told_from_one_that_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let file = SnapshotFile::new(folder.path());
        assert!(file.read().unwrap().is_none());
        file.write(&Keeper::new()).unwrap();
        let back = file.read().unwrap().unwrap();
        assert_eq!(back.state_hash(), Keeper::new().state_hash());
        let mut bytes = std::fs::read(file.path()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(file.read().is_err(), "a bit that turned is noticed");
        std::fs::write(file.path(), b"GILSNAP0").unwrap();
        assert!(file.read().unwrap_err().to_string().contains("not a snapshot"));
    }
}
