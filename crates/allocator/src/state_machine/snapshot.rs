//! The state as pieces. Of the same state the pieces are the same, whoever makes them.

use std::convert::Infallible;
use std::num::NonZero;
use std::sync::mpsc;
use std::thread;

use giliran_wire::ledger::{Genesis, Seats, SnapshotPart};
use giliran_wire::snapshot::{
    self, BookingStateRef, BookingsWriter, ChangeLogState, Chunker, EntryState, Head, OpeningState,
    PastChangeState, Piece, SlotState, SnapshotHeader, Until as UntilState,
    Withheld as WithheldState,
};
use giliran_wire::{BlockHash, BookingId, KeyFingerprint};

use super::StateMachine;
use super::inventory::{SlotInventory, Until};
use crate::booking::PastChangeKind;
use crate::{Booking, DrawEntry};

/// Bookings and entries in one piece: few enough that, however much each of them
/// holds, a piece is far from the longest that is read.
const IN_A_PIECE: usize = 256;
/// From so many pieces on several threads encode them.
const WORTH_THREADS: usize = 256;
/// Most of these threads: what they share, the tables, keeps no more of them busy.
const MOST_THREADS: usize = 4;
/// Pieces that are encoded at a time.
const AT_A_TIME: usize = 64;
/// How often a thread may do so before somebody takes what it has encoded.
const AHEAD: usize = 2;
/// How many bookings before a booking's turn its text is fetched from memory, and as many
/// before that each of what it is found by. Writing one takes some 100 ns, as memory does.
const FETCHED_AHEAD: usize = 4;

/// What a piece of the snapshot holds.
#[derive(Debug, Clone, Copy)]
enum Key {
    Head,
    /// The opening with this ordinal.
    Opening(u32),
    /// Of this opening, from here on.
    Bookings(u32, usize),
    /// Of this opening, from this receipt on.
    Entries(u32, BookingId),
    /// Commitment, root and seed of the opening with this ordinal.
    Order(u32),
}

impl Key {
    /// In a file all bookings come together, behind all openings.
    const fn place(&self) -> u8 {
        match self {
            Self::Head => 0,
            Self::Opening(_) | Self::Order(_) => 1,
            Self::Bookings(..) => 2,
            Self::Entries(..) => 3,
        }
    }
}

/// The state as a generation begins with it, part by part, without holding all of
/// it at once. Only of the state machine it was made from, and while nothing is applied
/// to that.
#[derive(Debug)]
pub struct Parts {
    keys: std::vec::IntoIter<Key>,
    cutter: Chunker,
    /// The next one, where it was encoded beforehand.
    ready: Option<Vec<u8>>,
    next: u32,
    parts: u32,
    state: BlockHash,
}

impl Parts {
    /// Hash of all parts, one after the other.
    pub fn state(&self) -> BlockHash {
        self.state
    }

    /// The next part; none: that was all.
    pub fn next(&mut self, state: &StateMachine) -> Option<SnapshotPart> {
        self.prepare(state);
        let bytes = self.ready.take()?;
        let part = self.next;
        self.next += 1;
        Some(SnapshotPart { part, parts: self.parts, state: self.state, bytes })
    }

    /// Encodes the next part before it is asked for.
    pub fn prepare(&mut self, state: &StateMachine) {
        if self.ready.is_none() {
            self.ready = self.cut(state);
        }
    }

    fn cut(&mut self, state: &StateMachine) -> Option<Vec<u8>> {
        loop {
            if let Some(part) = self.cutter.part() {
                return Some(part);
            }
            match self.keys.next() {
                Some(key) => state.append(key, self.cutter.end_mut()),
                None => return self.cutter.rest(),
            }
        }
    }
}

impl StateMachine {
    /// The durable state as a generation begins with it, in parts of so many bytes.
    /// Nothing may be on its way. Walks everything, to count and to hash.
    pub fn parts(&self, part_bytes: usize) -> Parts {
        let keys = self.keys();
        let (mut bytes, mut hasher) = (0, blake3::Hasher::new());
        let hash = |pieces: &[u8]| {
            bytes += pieces.len();
            hasher.update(pieces);
            Ok::<_, Infallible>(())
        };
        let Ok(()) = self.each_encoded(&keys, hash);
        Parts {
            keys: keys.into_iter(),
            cutter: Chunker::new(part_bytes),
            ready: None,
            next: 0,
            parts: bytes.div_ceil(part_bytes.max(1)) as u32,
            state: BlockHash(*hasher.finalize().as_bytes()),
        }
    }

    /// Hands on the durable state and where it stands, piece by piece. Nothing may
    /// be on its way.
    ///
    /// # Errors
    ///
    /// The first that `take` gives.
    pub fn snapshot<E>(&self, mut take: impl FnMut(&Piece) -> Result<(), E>) -> Result<(), E> {
        take(&self.header())?;
        self.keys_of_a_file().into_iter().try_for_each(|key| take(&self.piece(key)))
    }

    /// The same, encoded: pieces that follow each other, each behind its length, of which
    /// all are of bookings, or none.
    ///
    /// # Errors
    ///
    /// The first that `take` gives.
    pub fn encoded_snapshot<E>(
        &self,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut header = Vec::new();
        snapshot::append(&self.header(), &mut header);
        take(&header)?;
        let keys = self.keys_of_a_file();
        let mut kinds = keys.chunk_by(|one, next| one.place() == next.place());
        kinds.try_for_each(|keys| self.each_encoded(keys, &mut take))
    }

    fn header(&self) -> Piece {
        let no_genesis = || Genesis {
            prefix: String::new(),
            applicant_key: KeyFingerprint([0; 16]),
            version: String::new(),
            continues: None,
            rebuilt: None,
        };
        Piece::Stand(Box::new(SnapshotHeader {
            chain: self.chain.clone(),
            genesis: self.genesis.clone().unwrap_or_else(no_genesis),
            sealed: self.sealed,
        }))
    }

    /// Encodes pieces and hands them on in their order, several at a time. Of many, other
    /// threads encode some ahead.
    fn each_encoded<E>(
        &self,
        keys: &[Key],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = if keys.len() < WORTH_THREADS { 1 } else { cores.min(MOST_THREADS) };
        let encode = |keys: &[Key]| {
            let mut bytes = Vec::new();
            keys.iter().for_each(|key| self.append(*key, &mut bytes));
            bytes
        };
        let some = keys.chunks(AT_A_TIME);
        if threads == 1 {
            return some.map(encode).try_for_each(|pieces| take(&pieces));
        }
        thread::scope(|scope| {
            // Each thread encodes every so manieth of them.
            let encoders = (0..threads).map(|n| {
                let (encoded, taken) = mpsc::sync_channel(AHEAD);
                let mut own = some.clone().skip(n).step_by(threads).map(encode);
                let run = move || own.all(|pieces| encoded.send(pieces).is_ok());
                // Where the system gives no thread, nothing is taken from it.
                let _ = thread::Builder::new().spawn_scoped(scope, run);
                taken
            });
            let encoders: Vec<_> = encoders.collect();
            let mut in_order = encoders.iter().cycle();
            some.clone().try_for_each(|keys| {
                let pieces = in_order.next().and_then(|encoder| encoder.recv().ok());
                take(&pieces.unwrap_or_else(|| encode(keys)))
            })
        })
    }

    /// Appends a piece behind its length.
    fn append(&self, key: Key, out: &mut Vec<u8>) {
        let Key::Bookings(ordinal, from) = key else {
            return snapshot::append(&self.piece(key), out);
        };
        let mut piece = BookingsWriter::new(out);
        let made = &self.openings[&ordinal].made[from..];
        let bookings = &self.allocator.bookings;
        let look = |at: usize, see: fn(&Booking)| {
            if let Some(near) = made.get(at) {
                bookings.look(near, |booking| booking.into_iter().for_each(|booking| see(booking)));
            }
        };
        for (i, id) in made.iter().enumerate().take(IN_A_PIECE) {
            // Its place in the table first, then itself, then its text: each is found by what
            // was fetched before it.
            made.get(i + 3 * FETCHED_AHEAD).into_iter().for_each(|id| bookings.fetch(id));
            look(i + 2 * FETCHED_AHEAD, Booking::fetch);
            look(i + FETCHED_AHEAD, Booking::fetch_text);
            bookings.look(id, |booking| {
                booking.into_iter().for_each(|booking| piece.booking(&booking_state(booking)));
            });
        }
        piece.end();
    }

    fn keys_of_a_file(&self) -> Vec<Key> {
        let mut keys = self.keys();
        keys.sort_by_key(Key::place);
        keys
    }

    fn keys(&self) -> Vec<Key> {
        let mut keys = vec![Key::Head];
        for opening in self.allocator.openings.load().iter() {
            let ordinal = opening.record().ordinal;
            let index = &self.openings[&ordinal];
            keys.push(Key::Opening(ordinal));
            keys.extend(index.order.is_some().then_some(Key::Order(ordinal)));
            let made = (0..index.made.len()).step_by(IN_A_PIECE);
            keys.extend(made.map(|from| Key::Bookings(ordinal, from)));
            let entries = index.entries.iter().step_by(IN_A_PIECE);
            keys.extend(entries.map(|from| Key::Entries(ordinal, *from)));
        }
        keys
    }

    fn piece(&self, key: Key) -> Piece {
        match key {
            Key::Head => Piece::Head(Head {
                next_ordinal: self.next_ordinal,
                retired: self.retired.iter().cloned().collect(),
                changes: self.changes,
            }),
            Key::Opening(ordinal) => {
                let openings = self.allocator.openings.load();
                let opening = openings.get(ordinal).expect("listed by `keys`");
                let index = &self.openings[&ordinal];
                Piece::Opening(Box::new(OpeningState {
                    record: opening.record().clone(),
                    phase: opening.phase(),
                    closes_at: opening.window().1,
                    took_place: opening.took_place(),
                    draws: index.draws,
                    slots: index.inventories.iter().map(slot_state).collect(),
                }))
            }
            Key::Order(ordinal) => {
                Piece::Order(self.openings[&ordinal].order.clone().expect("listed by `keys`"))
            }
            Key::Bookings(ordinal, from) => {
                let made = self.openings[&ordinal].made[from..].iter().take(IN_A_PIECE);
                let bookings = made.filter_map(|id| self.allocator.booking(id));
                Piece::Bookings(
                    bookings.map(|booking| booking_state(&booking).to_owned()).collect(),
                )
            }
            Key::Entries(ordinal, from) => {
                let receipts = self.openings[&ordinal].entries.range(from..).take(IN_A_PIECE);
                let entries = receipts.filter_map(|receipt| {
                    self.allocator.waiting.look(receipt, |waiting| waiting.map(|w| entry_state(w)))
                });
                Piece::Entries(entries.collect())
            }
        }
    }
}

fn slot_state(inventory: &SlotInventory) -> SlotState {
    let withheld = inventory.withheld().map(|withheld| {
        let until = match withheld.until {
            Until::At(at) => UntilState::At(at),
            Until::Draw { since, expired, .. } => UntilState::Draw { since, expired },
        };
        WithheldState { number: withheld.number, until }
    });
    SlotState {
        quota: inventory.quota,
        reserved: inventory.reserved,
        halted: inventory.halted,
        withheld: withheld.collect(),
    }
}

fn booking_state(booking: &Booking) -> BookingStateRef<'_> {
    let change_log = booking.change_log().map(|change_log| ChangeLogState {
        done: change_log
            .done
            .iter()
            .map(|d| (d.request_id.to_string(), done_state(&d.kind)))
            .collect(),
        changes: change_log.changes,
        left: change_log.left.clone(),
    });
    BookingStateRef {
        booking: booking.id,
        opening: booking.opening,
        slot: booking.slot,
        seats: Seats::from_slice(&booking.seats),
        request_id: &booking.request_id,
        content: booking.content,
        reference: booking.reference(),
        account: booking.account(),
        channel: booking.channel(),
        hold_expires_at: booking.hold_expires_at(),
        granted_at: booking.granted_at,
        version: booking.version,
        status: booking.status,
        change_log,
    }
}

fn done_state(kind: &PastChangeKind) -> PastChangeState {
    let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    match kind {
        PastChangeKind::Confirmed { reference } => PastChangeState::Confirmed(text(reference)),
        PastChangeKind::Refund { reference } => PastChangeState::Refund(text(reference)),
        PastChangeKind::Cancelled { member } => PastChangeState::Cancelled(*member),
        PastChangeKind::Rescheduled { content } => PastChangeState::Rescheduled(*content),
    }
}

fn entry_state(waiting: &DrawEntry) -> EntryState {
    EntryState { entry: waiting.entry.clone(), since: waiting.since, withdrawn: waiting.withdrawn }
}
