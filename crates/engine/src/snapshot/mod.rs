//! The engine's own snapshot: what it begins with instead of the ledger's first
//! block. A cache; the ledger alone counts, and one that does not lie on it is
//! passed over.

mod restore;

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use giliran_allocator::StateMachine;
use giliran_nats::ledger::Ledger;
use giliran_wire::ledger::{Block, LEAST_GRANT_BYTES};
use giliran_wire::snapshot::{Sections, SnapshotError, Writer};
use giliran_wire::{BlockHash, LedgerId};

use crate::error::EngineError;

/// Buffer of writes, in bytes.
const BUFFER: usize = 1 << 20;
/// Chunks of a buffer's size that wait for the disk.
const CHUNKS_AHEAD: usize = 8;
/// How long the disk may take nothing.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
/// Pause before a chunk is offered again that there was no room for.
const PAUSE: Duration = Duration::from_millis(2);

/// A snapshot is written where so many blocks, each perhaps of thousands of
/// bookings, came after the last one: at the
/// end, and when it turns out that another engine serves.
pub const SNAPSHOT_AFTER: u64 = 100;
/// A snapshot is followed by a rest of so many times what it took.
const REST: u32 = 100;
/// How long the last snapshot is waited for at the end.
const LAST_SNAPSHOT: Duration = Duration::from_secs(30);

/// A file in the data folder.
#[derive(Debug, Clone)]
struct SnapshotFile {
    path: PathBuf,
}

impl SnapshotFile {
    fn new(data: &Path) -> Self {
        Self { path: data.join("snapshot.bin") }
    }

    fn path(&self) -> &Path {
        &self.path
    }

    /// The state that was written last; none: there is no file.
    fn read(&self) -> Result<Option<StateMachine>, SnapshotError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // A booking takes somewhat more there than in the ledger.
        let bookings = file.metadata()?.len() as usize / LEAST_GRANT_BYTES;
        let mut state = StateMachine::new().expecting(bookings);
        let mut sections = Sections::of(file)?;
        let mut next = sections.next(Vec::new())?;
        while let Some(section) = next {
            next = if section.is_of_bookings() {
                restore::bookings(&mut sections, section, &mut state)?
            } else {
                section.pieces(|piece| state.restore(piece.decode()?))?;
                sections.next(section.into_memory())?
            };
        }
        Ok(Some(state))
    }

    /// Replaces the file, atomically and durably. The state is needed only until this
    /// returns; the outcome comes once the disk has it. A disk that takes nothing for
    /// long holds nobody up.
    fn write(&self, state: &StateMachine) -> JoinHandle<std::io::Result<()>> {
        let (chunks, taken) = std::sync::mpsc::sync_channel::<Chunk>(CHUNKS_AHEAD);
        let file = self.clone();
        let writing = std::thread::spawn(move || file.take(&taken));
        let made = self.pieces(state, Disk(chunks));
        if let Err(error) = made {
            // The file is not replaced; its thread ends when the disk lets it.
            return std::thread::spawn(move || Err(error));
        }
        writing
    }

    fn pieces(&self, state: &StateMachine, disk: Disk) -> std::io::Result<()> {
        let mut writer = Writer::new(BufWriter::with_capacity(BUFFER, disk))?;
        state.encoded_snapshot(|pieces| writer.pieces(pieces))?;
        let disk = writer.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        disk.send(Chunk::End)
    }

    /// Writes what comes, and puts it in the file's place once all has come.
    fn take(&self, chunks: &Receiver<Chunk>) -> std::io::Result<()> {
        let next = self.path.with_extension("bin.next");
        let mut file = File::create(&next)?;
        while let Ok(chunk) = chunks.recv() {
            match chunk {
                Chunk::Bytes(bytes) => file.write_all(&bytes)?,
                Chunk::End => {
                    file.sync_data()?;
                    return std::fs::rename(&next, &self.path);
                }
            }
        }
        Err(std::io::Error::other("it was not written to its end"))
    }
}

/// Reads the snapshot where an engine begins, and writes it beside what else it does.
#[derive(Debug)]
pub(crate) struct Snapshots {
    file: SnapshotFile,
    /// One that is on its way to the disk.
    writing: Mutex<Option<tokio::task::JoinHandle<()>>>,
    /// None is made by and by until then.
    rests_until: Mutex<Option<Instant>>,
}

impl Snapshots {
    /// Those of this data folder.
    pub(crate) fn new(data: &Path) -> Self {
        let file = SnapshotFile::new(data);
        Self { file, writing: Mutex::default(), rests_until: Mutex::default() }
    }

    /// What the snapshot says, if it lies on this ledger, else nothing; and the
    /// generation to read on from there.
    pub(crate) async fn begin(
        &self,
        ledger: &Ledger,
    ) -> Result<(StateMachine, Ledger), EngineError> {
        if let Some(state) = self.read().await {
            let chain = state.chain();
            let generation = ledger.of_generation(chain.generation).await?;
            if let Some(generation) = generation
                && let Some(hash) = hash_at(&generation, chain.valid_seq).await?
                && hash == (chain.ledger, chain.hash)
            {
                return Ok((state, generation));
            }
            let path = self.file.path().display();
            tracing::warn!(%path, "the snapshot is of another ledger, or too old; not used");
        }
        let ledger = ledger.newest_begun().await?;
        let bookings = ledger.bytes().await? as usize / LEAST_GRANT_BYTES;
        Ok((StateMachine::beginning_with(ledger.generation()).expecting(bookings), ledger))
    }

    async fn read(&self) -> Option<StateMachine> {
        let (file, started) = (self.file.clone(), Instant::now());
        let read = tokio::task::spawn_blocking(move || file.read()).await;
        match read.ok()? {
            Ok(state) => {
                if let Some(state) = &state {
                    tracing::info!(
                        seq = state.chain().seq,
                        bookings = state.allocator().bookings(),
                        entries = state.allocator().entries(),
                        millis = started.elapsed().as_millis() as u64,
                        "snapshot read"
                    );
                }
                state
            }
            Err(error) => {
                let path = self.file.path().display();
                tracing::warn!(%path, %error, "the snapshot is not used");
                None
            }
        }
    }

    /// Writes a snapshot where much came after the last one, beside what else is to be
    /// done. That it cannot be written stops nothing.
    pub(crate) fn write(&self, state: &StateMachine, written: &mut u64) {
        let seq = state.chain().seq;
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = writing.as_ref().is_some_and(|writing| !writing.is_finished());
        if busy || seq < *written + SNAPSHOT_AFTER {
            return;
        }
        *written = seq;
        let (file, started) = (self.file.clone(), Instant::now());
        let done = tokio::task::block_in_place(|| file.write(state));
        let rests_until = Instant::now() + started.elapsed() * REST;
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(rests_until);
        *writing = Some(tokio::task::spawn_blocking(move || match done.join() {
            Ok(Ok(())) => {
                let millis = started.elapsed().as_millis() as u64;
                tracing::info!(seq, millis, "snapshot written");
            }
            Ok(Err(error)) => {
                let path = file.path().display();
                tracing::warn!(%path, %error, "the snapshot cannot be written");
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }));
    }

    /// The same by and by: whoever calls it often is held up for a hundredth of the time at
    /// most.
    pub(crate) fn write_by_and_by(&self, state: &StateMachine, written: &mut u64) {
        let rests_until = *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        if rests_until.is_none_or(|until| until <= Instant::now()) {
            self.write(state, written);
        }
    }

    /// Waits for a snapshot that is on its way; but not for ever.
    pub(crate) async fn settle(&self) {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writing) = writing
            && tokio::time::timeout(LAST_SNAPSHOT, writing).await.is_err()
        {
            tracing::warn!("the snapshot is not written: the disk does not answer");
        }
    }
}

/// Ledger and hash of the block at a sequence, if there is a readable one.
async fn hash_at(
    ledger: &Ledger,
    seq: u64,
) -> Result<Option<(Option<LedgerId>, BlockHash)>, EngineError> {
    let bytes = ledger.read_at(seq).await?;
    let block = bytes.and_then(|bytes| Block::open(&bytes).ok());
    Ok(block.map(|(block, hash)| (Some(block.ledger), hash)))
}

/// What is on its way to the disk.
enum Chunk {
    Bytes(Vec<u8>),
    End,
}

/// A disk that is given up where it takes nothing for long.
struct Disk(SyncSender<Chunk>);

impl Disk {
    fn send(&self, mut chunk: Chunk) -> std::io::Result<()> {
        let since = Instant::now();
        loop {
            match self.0.try_send(chunk) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => {
                    return Err(std::io::Error::other("the file takes nothing more"));
                }
                Err(TrySendError::Full(_)) if since.elapsed() > TAKEN_WITHIN => {
                    let seconds = TAKEN_WITHIN.as_secs();
                    let words = format!("the disk has taken nothing for {seconds} s");
                    return Err(std::io::Error::new(ErrorKind::TimedOut, words));
                }
                Err(TrySendError::Full(back)) => chunk = back,
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.send(Chunk::Bytes(bytes.to_vec()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use giliran_wire::answer::{Phase, Status};
    use giliran_wire::ledger::{Grant, Seat};
    use giliran_wire::snapshot::{BookingState, Head, OpeningState, Piece, SlotState, Unusable};
    use giliran_wire::{BookingId, Digest, Pseudonym, Timestamp};

    use super::*;

    /// Enough that several threads encode, and several sections are read.
    const MANY: u64 = 70_000;

    fn many_bookings() -> StateMachine {
        let at = Timestamp::from_millis(1_795_762_800_000);
        let mut record = giliran_config::dev(at).due(at, 0).remove(0);
        record.slots.truncate(1);
        record.slots[0].quota = u16::MAX;
        record.slots.push(record.slots[0]);
        let slot = SlotState { quota: u16::MAX, reserved: 0, halted: false, withheld: vec![] };
        let opening = OpeningState {
            closes_at: record.closes_at,
            record,
            phase: Phase::Open,
            took_place: true,
            draws: 0,
            slots: vec![slot; 2],
        };
        let mut state = StateMachine::new();
        let head = Head { next_ordinal: 1, retired: vec![], changes: MANY };
        state.restore(Piece::Head(head)).unwrap();
        state.restore(Piece::Opening(Box::new(opening))).unwrap();
        state.restore(Piece::Bookings((0..MANY).map(|n| booking(n, at)).collect())).unwrap();
        state
    }

    fn booking(n: u64, granted_at: Timestamp) -> BookingState {
        let random = *blake3::hash(&n.to_le_bytes()).as_bytes();
        let (id, who) = random.split_first_chunk::<16>().unwrap();
        let applicant = Pseudonym::from_bytes(who.try_into().unwrap());
        let grant = Grant {
            booking: BookingId::from_random(u128::from_le_bytes(*id)),
            opening: 0,
            slot: (n % 2) as u32,
            seats: [Seat { applicant, number: (n / 2 + 1) as u16 }].into_iter().collect(),
            request_id: format!("r{n}"),
            content: Digest([1; 16]),
            reference: None,
            account: None,
            channel: None,
            hold_expires_at: None,
        };
        let status = Status::Confirmed;
        BookingState { grant, granted_at, version: 1, status, change_log: None }
    }

    #[test]
    fn many_bookings_come_back_on_all_cores_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let (file, state) = (SnapshotFile::new(folder.path()), many_bookings());
        file.write(&state).join().unwrap().unwrap();
        let written = std::fs::read(file.path()).unwrap();
        assert!(written.len() > 5 << 20, "{} bytes are one section", written.len());
        let mut pieces = Vec::new();
        state
            .snapshot(|piece| {
                pieces.push(piece.clone());
                Ok::<_, Unusable>(())
            })
            .unwrap();
        let mut read = Vec::new();
        giliran_wire::snapshot::read(&written[..], |piece| {
            read.push(piece);
            Ok(())
        })
        .unwrap();
        assert!(read == pieces, "several threads encode what one does");
        let back = file.read().unwrap().unwrap();
        assert_eq!(back.allocator().bookings() as u64, MANY);
        assert_eq!(back.state_hash(), state.state_hash());
        // Its bytes are in the order of grants.
        assert_eq!(back.parts(1 << 20).state(), state.parts(1 << 20).state());
    }

    /// What is twice in a snapshot is found, whichever threads have read it.
    #[test]
    fn nothing_is_taken_twice() {
        let state = many_bookings();
        let at = Timestamp::from_millis(1_795_762_800_000);
        let unusable = |change: fn(&mut BookingState)| {
            let folder = tempfile::tempdir().unwrap();
            let file = SnapshotFile::new(folder.path());
            let mut writer = Writer::new(File::create(file.path()).unwrap()).unwrap();
            state.snapshot(|piece| writer.piece(piece)).unwrap();
            let mut again = booking(MANY, at);
            again.grant.seats[0].number = 40_000;
            change(&mut again);
            writer.piece(&Piece::Bookings(vec![again])).unwrap();
            writer.finish().unwrap();
            file.read().map(|_| ()).map_err(|error| error.to_string())
        };
        let other = |n| booking(n, Timestamp::from_millis(0)).grant;
        assert_eq!(unusable(|_| ()), Ok(()), "one more");
        let twice =
            unusable(|again| again.grant.booking = booking(7, again.granted_at).grant.booking);
        assert_eq!(twice, Err(Unusable::BookingTwice(other(7).booking).to_string()));
        let number = unusable(|again| again.grant.seats[0].number = 9);
        let in_slot = Unusable::Number { opening: 0, slot: (MANY % 2) as u32 };
        assert_eq!(number, Err(in_slot.to_string()));
        let none = unusable(|again| again.grant.seats[0].number = 0);
        assert_eq!(none, Err(in_slot.to_string()));
        let person = unusable(|again| {
            again.grant.seats[0].applicant = booking(8, again.granted_at).grant.seats[0].applicant;
        });
        // Whichever of the two came second.
        assert!(person.unwrap_err().ends_with("is an applicant's second"));
    }

    #[test]
    fn a_file_that_is_none_is_told_from_one_that_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let file = SnapshotFile::new(folder.path());
        assert!(file.read().unwrap().is_none());
        file.write(&StateMachine::new()).join().unwrap().unwrap();
        let back = file.read().unwrap().unwrap();
        assert_eq!(back.state_hash(), StateMachine::new().state_hash());
        let mut bytes = std::fs::read(file.path()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(file.read().is_err(), "a bit that turned is noticed");
        std::fs::write(file.path(), b"GILSNAP0").unwrap();
        assert!(file.read().unwrap_err().to_string().contains("not a snapshot"));
    }

    /// A pipe that nobody reads takes no write, and keeps its thread.
    #[test]
    fn a_disk_that_hangs_gives_the_state_back() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("snapshot.bin.next");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let file = SnapshotFile::new(folder.path());
        let since = Instant::now();
        let disk = std::sync::mpsc::sync_channel::<Chunk>(1);
        let mut full = Disk(disk.0);
        full.write_all(&[1; 16]).unwrap();
        let error = full.write_all(&[2; 16]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(since.elapsed() >= TAKEN_WITHIN);
        // A small state fits into what waits for the disk; its outcome does not come.
        let writing = file.write(&StateMachine::new());
        assert!(!writing.is_finished());
        // Lets it go, into the pipe.
        let reading = std::thread::spawn(move || std::fs::read(pipe));
        assert!(writing.join().unwrap().is_err(), "a pipe cannot be synced");
        assert!(reading.join().unwrap().unwrap().starts_with(b"GILSNAP"));
    }
}
