//! A sealed generation of the ledger as a file, to be kept once its stream is
//! deleted.
//!
//! [`MAGIC`], then for each message up to the seal its sequence as `u64`, its length as `u32`
//! (both little endian) and its stored bytes, then a sequence of zero and the
//! 32-byte BLAKE3 of everything before.

use std::io::{self, Read, Write};

use crate::ledger::MAX_BLOCK_BYTES;

/// The largest message: foreign ones are kept where they stood, and may be as long as a
/// broker's `max_payload` can be.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// What a file of this layout begins with.
pub const MAGIC: &[u8; 8] = b"GILARCH1";

/// Writes blocks into a file of the archive, one after the other.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Writer<W> {
    /// Begins.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out, hasher: blake3::Hasher::new() };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }

    /// Adds the block stored at a sequence.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn block(&mut self, seq: u64, bytes: &[u8]) -> io::Result<()> {
        self.put(&seq.to_le_bytes())?;
        self.put(&(bytes.len() as u32).to_le_bytes())?;
        self.put(bytes)
    }

    /// Ends it; gives back what was written to.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.put(&0_u64.to_le_bytes())?;
        self.out.write_all(self.hasher.finalize().as_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Reads blocks, in order; an error ends it. What came before counts only if it
/// ends without one.
#[derive(Debug)]
pub struct Blocks<R> {
    from: R,
    hasher: blake3::Hasher,
    ended: bool,
}

impl<R: Read> Blocks<R> {
    /// Begins.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, or is no archive of this layout.
    pub fn new(from: R) -> io::Result<Self> {
        let mut blocks = Self { from, hasher: blake3::Hasher::new(), ended: false };
        if &blocks.array::<8>()? == MAGIC {
            Ok(blocks)
        } else {
            Err(unusable("not an archived generation of a ledger"))
        }
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    fn block(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let seq = u64::from_le_bytes(self.array()?);
        if seq == 0 {
            let hash = *self.hasher.finalize().as_bytes();
            return if self.array::<32>()? == hash {
                Ok(None)
            } else {
                Err(unusable("the checksum does not match: it is damaged"))
            };
        }
        let length = u32::from_le_bytes(self.array()?) as usize;
        if length > MAX_MESSAGE_BYTES {
            return Err(unusable("a message is longer than any that is stored"));
        }
        let mut bytes = Vec::with_capacity(length.min(MAX_BLOCK_BYTES));
        if (&mut self.from).take(length as u64).read_to_end(&mut bytes)? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.hasher.update(&bytes);
        Ok(Some((seq, bytes)))
    }
}

impl<R: Read> Iterator for Blocks<R> {
    type Item = io::Result<(u64, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let block = self.block();
        self.ended = !matches!(block, Ok(Some(_)));
        block.transpose()
    }
}

fn unusable(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.block(7, b"seven").unwrap();
        writer.block(9, b"").unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<(u64, Vec<u8>)>> {
        Blocks::new(bytes)?.collect()
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(&written()).unwrap(), [(7, b"seven".to_vec()), (9, Vec::new())]);
        // A foreign message may be longer than any block.
        let long = vec![1; MAX_BLOCK_BYTES + 1];
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.block(1, &long).unwrap();
        assert_eq!(read(&writer.finish().unwrap()).unwrap(), [(1, long)]);
    }

    #[test]
    fn any_other_bytes_are_noticed() {
        let whole = written();
        for i in 0..whole.len() {
            let mut changed = whole.clone();
            changed[i] ^= 1;
            assert!(read(&changed).is_err(), "byte {i} changed");
            assert!(read(&whole[..i]).is_err(), "cut at {i}");
        }
    }
}
