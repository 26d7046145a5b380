//! A snapshot's file.
//!
//! [`MAGIC`], then sections: a section's length as `u32` (little endian), the 32-byte BLAKE3 of
//! its bytes, and these: whole [`Piece`]s. A section that begins with bookings holds nothing
//! else. Behind the last stand a length of zero and the 32-byte BLAKE3 of everything before
//! but the sections' bytes: magic, lengths and hashes.

use std::io::{self, Read, Write};

use super::{BOOKINGS, EncodedPiece, Piece, SnapshotError, Unusable, append, next_piece};

/// What a file of this layout begins with. Its number counts up with every change of a
/// [`Piece`] or of a record in one.
pub const MAGIC: &[u8; 8] = b"GILSNAP5";

/// A section of so many bytes gets no further pieces.
const SECTION_BYTES: usize = 4 * 1024 * 1024;
/// The longest section that is read, in bytes: several of the longest pieces may come at once.
const MAX_SECTION_BYTES: u32 = 1024 * 1024 * 1024;

/// Writes pieces of a snapshot, one after the other.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// Of everything but the sections' bytes.
    hasher: blake3::Hasher,
    section: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out, hasher: blake3::Hasher::new(), section: Vec::new() };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }

    /// Adds a piece.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn piece(&mut self, piece: &Piece) -> io::Result<()> {
        let mut bytes = Vec::new();
        append(piece, &mut bytes);
        self.pieces(&bytes)
    }

    /// Adds pieces, each [behind its length](append), of which all are of bookings, or none.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn pieces(&mut self, pieces: &[u8]) -> io::Result<()> {
        let goes_on = is_of_bookings(pieces) == is_of_bookings(&self.section);
        if self.section.len() >= SECTION_BYTES || !goes_on {
            self.end_section()?;
        }
        self.section.extend_from_slice(pieces);
        Ok(())
    }

    fn end_section(&mut self) -> io::Result<()> {
        if self.section.is_empty() {
            return Ok(());
        }
        let section = std::mem::take(&mut self.section);
        self.put(&(section.len() as u32).to_le_bytes())?;
        self.put(blake3::hash(&section).as_bytes())?;
        self.out.write_all(&section)?;
        self.section = section;
        self.section.clear();
        Ok(())
    }

    /// Ends it; gives back what was written to.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_section()?;
        self.put(&0_u32.to_le_bytes())?;
        self.out.write_all(self.hasher.finalize().as_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Reads a snapshot's sections, in order. What is in them counts only once the last one
/// was read.
#[derive(Debug)]
pub struct Sections<R> {
    from: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Sections<R> {
    /// Begins.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`], also where there is no snapshot of this layout.
    pub fn of(from: R) -> Result<Self, SnapshotError> {
        let mut sections = Self { from, hasher: blake3::Hasher::new() };
        if sections.take::<8>()? == *MAGIC {
            Ok(sections)
        } else {
            Err(Unusable::OtherLayout.into())
        }
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    /// The next section, in the memory of an earlier one; none: that was all.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`], also where sections are missing, or are others than were written.
    pub fn next(&mut self, memory: Vec<u8>) -> Result<Option<Section>, SnapshotError> {
        let length = u32::from_le_bytes(self.take()?);
        if length > MAX_SECTION_BYTES {
            return Err(Unusable::LongPiece.into());
        }
        if length == 0 {
            let whole = self.hasher.finalize();
            return if self.take::<32>()? == *whole.as_bytes() {
                Ok(None)
            } else {
                Err(Unusable::Checksum.into())
            };
        }
        let hash = self.take()?;
        let mut bytes = memory;
        bytes.resize(length as usize, 0);
        self.from.read_exact(&mut bytes)?;
        Ok(Some(Section { hash, bytes }))
    }
}

/// Pieces of a snapshot, read and not yet checked.
#[derive(Debug)]
pub struct Section {
    hash: [u8; 32],
    bytes: Vec<u8>,
}

impl Section {
    /// True if it holds bookings alone.
    pub fn is_of_bookings(&self) -> bool {
        is_of_bookings(&self.bytes)
    }

    /// Checks it and hands on its pieces.
    ///
    /// # Errors
    ///
    /// [`Unusable`], and the first that `take` gives.
    pub fn pieces(
        &self,
        mut take: impl FnMut(EncodedPiece<'_>) -> Result<(), Unusable>,
    ) -> Result<(), Unusable> {
        if blake3::hash(&self.bytes) != self.hash {
            return Err(Unusable::Checksum);
        }
        let mut rest = &self.bytes[..];
        while let Some(piece) = next_piece(&mut rest)? {
            take(piece)?;
        }
        if rest.is_empty() { Ok(()) } else { Err(Unusable::Incomplete) }
    }

    /// Its memory, for the next one.
    pub fn into_memory(self) -> Vec<u8> {
        self.bytes
    }
}

fn is_of_bookings(section: &[u8]) -> bool {
    section.get(4..).is_some_and(|piece| piece.starts_with(&BOOKINGS))
}

/// Reads a snapshot and hands on its pieces, in order. They count only if it
/// returns without an error.
///
/// # Errors
///
/// [`SnapshotError`], also where the bytes are not those that were written.
pub fn read(
    from: impl Read,
    mut take: impl FnMut(Piece) -> Result<(), Unusable>,
) -> Result<(), SnapshotError> {
    let mut sections = Sections::of(from)?;
    let mut memory = Vec::new();
    while let Some(section) = sections.next(memory)? {
        section.pieces(|piece| take(piece.decode()?))?;
        memory = section.into_memory();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Head;

    fn head(n: u32) -> Piece {
        Piece::Head(Head { next_ordinal: n, retired: vec!["x".repeat(40_000)], changes: 1 })
    }

    fn file(pieces: &[Piece]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        pieces.iter().for_each(|piece| writer.piece(piece).unwrap());
        writer.finish().unwrap()
    }

    fn sections(file: &[u8]) -> Vec<Section> {
        let mut sections = Sections::of(file).unwrap();
        std::iter::from_fn(|| sections.next(Vec::new()).unwrap()).collect()
    }

    fn unusable(file: &[u8]) -> Unusable {
        match read(file, |_| Ok(())).unwrap_err() {
            SnapshotError::Unusable(why) => why,
            SnapshotError::Io(error) => panic!("{error}"),
        }
    }

    #[test]
    fn bookings_stand_in_sections_of_their_own() {
        let pieces = [head(1), Piece::Bookings(vec![]), Piece::Bookings(vec![]), head(2)];
        let file = file(&pieces);
        let sections = sections(&file);
        let kinds: Vec<bool> = sections.iter().map(Section::is_of_bookings).collect();
        assert_eq!(kinds, [false, true, false]);
        let bookings = |section: &Section| section.pieces(|piece| piece.bookings(|_| Ok(())));
        assert!(bookings(&sections[1]).is_ok());
        assert!(matches!(bookings(&sections[0]), Err(Unusable::AmongBookings)));
        let mut back = Vec::new();
        read(&file[..], |piece| {
            back.push(piece);
            Ok(())
        })
        .unwrap();
        assert_eq!(back, pieces);
    }

    #[test]
    fn many_pieces_make_several_sections_of_which_none_can_be_left_out_or_swapped() {
        let pieces: Vec<Piece> = (0..250).map(head).collect();
        let whole = file(&pieces);
        let lengths: Vec<usize> = sections(&whole).iter().map(|s| 36 + s.bytes.len()).collect();
        let [one, two, rest] = lengths[..] else { panic!("{lengths:?}") };
        assert!(one > SECTION_BYTES && one < SECTION_BYTES + 60_000 && rest < one);
        let (first, second) = (8..8 + one, 8 + one..8 + one + two);
        let left_out = [&whole[..first.end], &whole[second.end..]].concat();
        assert!(matches!(unusable(&left_out), Unusable::Checksum));
        let swapped =
            [&whole[..8], &whole[second.clone()], &whole[first], &whole[second.end..]].concat();
        assert!(matches!(unusable(&swapped), Unusable::Checksum));
        assert!(read(&whole[..second.end], |_| Ok(())).is_err(), "it ends too early");
        for at in [8 + 4, 8 + 36 + one / 2, whole.len() - 1] {
            let mut turned = whole.clone();
            turned[at] ^= 1;
            assert!(matches!(unusable(&turned), Unusable::Checksum), "{at}");
        }
        let mut long = whole;
        long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(unusable(&long), Unusable::LongPiece));
    }
}
