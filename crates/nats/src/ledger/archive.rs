//! Sealed generations as files: written, checked, read instead of their streams.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use giliran_wire::archive::{Blocks, Writer};
use giliran_wire::ledger::{Block, Chain};

use crate::error::Doing;
use crate::ledger::Ledger;
use crate::{Error, ErrorKind};

/// Buffer of reads and writes, in bytes.
const BUFFER: usize = 1 << 20;
/// Blocks taken from the stream at once.
const BLOCKS: usize = 256;
/// How long the next block is waited for; the seal says when it was the last.
const WAIT: Duration = Duration::from_secs(5);

/// A folder of archived generations.
#[derive(Debug, Clone)]
pub struct Archive {
    folder: PathBuf,
}

/// A generation in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archived {
    /// How many blocks it has.
    pub blocks: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Sequence of its seal.
    pub seal: u64,
}

impl Archive {
    /// The archive in this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where the generation of this stream lies, or would.
    pub fn path(&self, stream: &str) -> PathBuf {
        self.folder.join(format!("{stream}.blocks"))
    }

    /// The blocks of a generation, in order; none: it is not in the archive.
    ///
    /// # Errors
    ///
    /// Where its file cannot be read, or is none.
    pub fn blocks(&self, stream: &str) -> Result<Option<Blocks<BufReader<File>>>, Error> {
        let path = self.path(stream);
        let doing = format!("read {}", path.display());
        match File::open(&path) {
            Ok(file) => Blocks::new(BufReader::with_capacity(BUFFER, file)).doing(&doing).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::new(&doing, error)),
        }
    }

    /// Writes a sealed generation into the archive, then reads it back and checks
    /// every block. One that is there already is only checked. `progress` hears of
    /// the blocks written so far.
    ///
    /// # Errors
    ///
    /// Where the generation is not sealed, is damaged, or cannot be written; or
    /// where the file there is another generation's, or damaged.
    pub async fn write(
        &self,
        ledger: &Ledger,
        progress: impl FnMut(u64),
    ) -> Result<Archived, Error> {
        let path = self.path(ledger.name());
        std::fs::create_dir_all(&self.folder).doing(&format!("make {}", self.folder.display()))?;
        if !path.exists() {
            let next = path.with_extension("blocks.next");
            self.copy(ledger, &next, progress).await?;
            std::fs::rename(&next, &path).doing(&format!("rename {}", next.display()))?;
            let folder = File::open(&self.folder).and_then(|folder| folder.sync_all());
            folder.doing(&format!("sync {}", self.folder.display()))?;
        }
        let (chain, archived) = self.check(ledger)?;
        let stored = ledger.read_at(chain.valid_seq).await?;
        let hash = stored.map(|bytes| Block::open(&bytes).map(|(_, hash)| hash));
        match hash {
            Some(Ok(hash)) if hash == chain.hash => Ok(archived),
            _ => Err(Error::plain(format!("{} is of another ledger", path.display()))),
        }
    }

    async fn copy(
        &self,
        ledger: &Ledger,
        to: &Path,
        mut progress: impl FnMut(u64),
    ) -> Result<(), Error> {
        let doing = format!("write {}", to.display());
        let file = BufWriter::with_capacity(BUFFER, File::create(to).doing(&doing)?);
        let mut writer = Writer::new(file).doing(&doing)?;
        let mut reader = ledger.reader(ledger.first()).await?;
        let (mut chain, mut written) = (Chain::beginning_with(ledger.generation()), 0);
        while !chain.is_sealed() {
            let blocks = reader.next_batch(BLOCKS, WAIT).await?;
            if blocks.is_empty() {
                let name = ledger.name();
                return Err(Error::plain(format!("{name} is not sealed: it is still written")));
            }
            for (seq, bytes) in blocks {
                if chain.is_sealed() {
                    break;
                }
                chain.read_bytes(seq, &bytes).doing(ledger.name())?;
                writer.block(seq, &bytes).doing(&doing)?;
                written += 1;
            }
            progress(written);
        }
        let file = writer.finish().doing(&doing)?.into_inner().doing(&doing)?;
        file.sync_all().doing(&doing)
    }

    /// Reads an archived generation to its seal.
    fn check(&self, ledger: &Ledger) -> Result<(Chain, Archived), Error> {
        let stream = ledger.name();
        let path = self.path(stream);
        let name = path.display().to_string();
        let missing = || Error::plain(format!("{name} is gone")).of_kind(ErrorKind::GenerationGone);
        let (mut chain, mut count) = (Chain::beginning_with(ledger.generation()), 0);
        for block in self.blocks(stream)?.ok_or_else(missing)? {
            let (seq, bytes) = block.doing(&name)?;
            chain.read_bytes(seq, &bytes).doing(&name)?;
            count += 1;
        }
        if !chain.is_sealed() {
            return Err(Error::plain(format!("{name} does not end with a seal")));
        }
        let bytes = std::fs::metadata(&path).doing(&name)?.len();
        Ok((chain.clone(), Archived { blocks: count, bytes, seal: chain.valid_seq }))
    }
}
