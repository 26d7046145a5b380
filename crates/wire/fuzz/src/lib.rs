//! What each target reads: any bytes give a value or an error, never a panic, and what was
//! read can be written and read again.
//!
//! The tests of `giliran-wire` include this file, and replay the corpus with it.

use giliran_wire::admin;
use giliran_wire::answer::{self, Answer};
use giliran_wire::client_log::{self, Writer};
use giliran_wire::ledger::{Block, Chain};
use giliran_wire::request::{self, Availability, Book, Cancel, Confirm, Find, Lookup, Reschedule};
use giliran_wire::snapshot::{self, Assembler, Chunker, Piece};

/// Bytes of a part; small, so that pieces lie across parts.
const PART_BYTES: usize = 7;

/// What strangers send, and the answers that clients read.
pub fn request(bytes: &[u8]) {
    let _ = request::read::<Book<'_>>(bytes);
    let _ = request::read::<Lookup<'_>>(bytes);
    let _ = request::read::<Find<'_>>(bytes);
    let _ = request::read::<Availability<'_>>(bytes);
    let _ = request::read::<Confirm<'_>>(bytes);
    let _ = request::read::<Cancel<'_>>(bytes);
    let _ = request::read::<Reschedule<'_>>(bytes);
    let _ = request::read::<admin::Quota<'_>>(bytes);
    let _ = request::read::<admin::Halt<'_>>(bytes);
    let _ = request::read::<admin::ClosesAt<'_>>(bytes);
    let _ = request::read::<admin::Beacon<'_>>(bytes);
    let _ = request::read::<admin::Roll<'_>>(bytes);
    let _ = answer::read_binary::<admin::Answer<'_>>(bytes);
    let _ = answer::read_binary::<Answer<'_>>(bytes);
    let _ = serde_json::from_slice::<Answer<'_>>(bytes);
}

/// A message of the ledger's stream, and the content of a block: its checksum, which would
/// stop changed bytes before they are read, is put right.
///
/// # Panics
///
/// If a block that was read is another one once it is written and read again.
pub fn block(bytes: &[u8]) {
    let _ = Block::open(bytes);
    let _ = Chain::new().read_bytes(1, bytes);
    let sealed = [bytes, blake3::hash(bytes).as_bytes()].concat();
    if let Ok((block, _)) = Block::open(&sealed) {
        let written = block.seal().bytes;
        let (again, _) = Block::open(&written).expect("what was written can be read");
        assert_eq!(again.seal().bytes, written);
    }
}

/// A snapshot's file, and the pieces of a generation's begin, which have no checksum.
///
/// # Panics
///
/// If pieces that were read are other ones once they are written in parts and read again.
pub fn snapshot(bytes: &[u8]) {
    let _ = snapshot::read(bytes, |_| Ok(()));
    let Some(pieces) = pieces([bytes]) else { return };
    let written = parts(&pieces);
    let again = self::pieces(written.iter().map(Vec::as_slice)).expect("what was written is read");
    assert_eq!(parts(&again), written);
}

fn parts(pieces: &[Piece]) -> Vec<Vec<u8>> {
    let (mut chunker, mut parts) = (Chunker::new(PART_BYTES), Vec::new());
    for piece in pieces {
        chunker.add(piece);
        parts.extend(std::iter::from_fn(|| chunker.part()));
    }
    parts.extend(chunker.rest());
    parts
}

/// The pieces of a whole state; nothing if one cannot be read.
fn pieces<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<Piece>> {
    let (mut assembler, mut pieces) = (Assembler::default(), Vec::new());
    for part in parts {
        let kept = assembler.add(part, |piece| {
            pieces.push(piece);
            Ok(())
        });
        kept.ok()?;
    }
    assembler.end().ok().map(|_| pieces)
}

/// A log that clients have kept.
///
/// # Panics
///
/// If attempts that were read are other ones once they are written and read again.
pub fn client_log(bytes: &[u8]) {
    let Ok(attempts) = client_log::read(bytes, "log") else { return };
    let mut written = Vec::new();
    let mut writer = Writer::new(&mut written);
    for attempt in &attempts {
        writer.write(attempt).expect("memory can be written");
    }
    writer.finish().expect("memory can be written");
    let again = client_log::read(written.as_slice(), "log").expect("what was written is read");
    assert_eq!(again, attempts);
}
