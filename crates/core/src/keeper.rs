//! The single writer: gives numbers, applies blocks, can tell the state's hash.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasherDefault, Hash};
use std::sync::Arc;

use giliran_wire::answer::Phase;
use giliran_wire::ledger::{Block, Chain, Damage, Entry, Genesis, Grant, OpeningRecord, Reading};
use giliran_wire::{BlockHash, BookingId, Timestamp};

use crate::claims::Claim;
use crate::stable::Durable;
use crate::sync::Ordering;
use crate::table::Uniform;
use crate::{Book, Booking, Found, Opening};

/// Applies the ledger to a [`Book`], block by block; there is one per book.
///
/// Live and replayed blocks go through the same code, so that the state after a
/// restart is the state before it (P6).
#[derive(Debug)]
pub struct Keeper {
    book: Arc<Book>,
    chain: Chain,
    genesis: Option<Genesis>,
    /// Numbers of every slot, by opening and slot.
    numbers: Vec<Vec<Numbers>>,
    /// Ids given to grants that are on their way into the ledger.
    numbered: HashSet<BookingId, BuildHasherDefault<Uniform>>,
}

/// Queue numbers of one slot that nobody has: `next` and above, and `below`.
#[derive(Debug, Clone)]
struct Numbers {
    quota: u16,
    next: u32,
    below: BTreeSet<u16>,
}

/// A block that does not fit what is known: reading stops.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The ledger is not what its writers wrote.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// A later release wrote something this one cannot read.
    #[error("ledger sequence {seq} holds {what}, which this release cannot read: use a newer one")]
    Newer {
        /// Where.
        seq: u64,
        /// What.
        what: &'static str,
    },
}

/// How a block's grants come about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Places and numbers were taken before the block was written.
    Live,
    /// The block alone says so.
    Replay,
}

impl Default for Keeper {
    fn default() -> Self {
        Self::new()
    }
}

impl Keeper {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self {
            book: Arc::new(Book::new()),
            chain: Chain::new(),
            genesis: None,
            numbers: Vec::new(),
            numbered: HashSet::default(),
        }
    }

    /// The state it keeps.
    pub fn book(&self) -> &Arc<Book> {
        &self.book
    }

    /// How far the ledger has been applied, and who may continue it.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What the ledger began with, once read.
    pub fn genesis(&self) -> Option<&Genesis> {
        self.genesis.as_ref()
    }

    /// The position everything applied so far is durable at.
    pub fn durable(&self) -> Durable {
        self.book.stable.settled()
    }

    /// Gives the grant its booking id and the lowest free numbers of its slot,
    /// as it enters a block. False: this id is taken, try with other bits.
    pub fn number(&mut self, grant: &mut Grant, random: u128) -> bool {
        let id = BookingId::from_random(random);
        // Zero is what a grant has that is not numbered yet.
        let taken = id == BookingId::from_random(0) || self.book.booking(&id).is_some();
        if taken || !self.numbered.insert(id) {
            return false;
        }
        grant.booking = id;
        let numbers = &mut self.numbers[grant.opening as usize][grant.slot as usize];
        for seat in &mut grant.seats {
            seat.number = numbers.take_lowest();
        }
        true
    }

    /// Takes back a grant whose block will never be in the ledger. One that was
    /// not numbered yet goes back through [`Book::abandon`] as well.
    pub fn abandon(&mut self, grant: &Grant) {
        if self.numbered.remove(&grant.booking) {
            let numbers = &mut self.numbers[grant.opening as usize][grant.slot as usize];
            for seat in &grant.seats {
                numbers.give(seat.number);
            }
        }
        self.book.abandon(grant);
    }

    /// Makes durable a block that was decided here and stands in the ledger at
    /// `seq`. Returns the bookings its grants made, in order.
    ///
    /// # Errors
    ///
    /// [`FoldError`] if the ledger's chain does not allow the block there.
    pub fn commit(
        &mut self,
        seq: u64,
        block: Block,
        hash: BlockHash,
    ) -> Result<(Vec<Found>, Durable), FoldError> {
        match self.chain.read(seq, &block, hash)? {
            Reading::Valid => self.apply(seq, block, Mode::Live),
            Reading::Void => Err(Damage { seq, what: "the own block is void".to_owned() }.into()),
        }
    }

    /// Reads the stored block at `seq` and applies it unless it is void.
    ///
    /// # Errors
    ///
    /// [`FoldError`]; the state is then not to be used further.
    pub fn fold(&mut self, seq: u64, bytes: &[u8]) -> Result<Reading, FoldError> {
        let (block, reading) = self.chain.read_bytes(seq, bytes)?;
        match reading {
            Reading::Valid => {
                self.apply(seq, block, Mode::Replay)?;
            }
            Reading::Void => self.book.stable.change(self.chain.position(), |_| ()),
        }
        Ok(reading)
    }

    /// Openings whose state is to change at engine time `now`, as entries.
    pub fn due(&self, now: Timestamp) -> Vec<Entry> {
        let mut entries = Vec::new();
        for opening in self.book.openings.load().iter() {
            let (opens_at, closes_at) = opening.window();
            let ordinal = opening.record().ordinal;
            if opening.phase() == Phase::Scheduled && now >= opens_at {
                entries.push(Entry::Opened { opening: ordinal });
            }
            if opening.phase() != Phase::Closed && now >= closes_at {
                entries.push(Entry::Closed { opening: ordinal });
            }
        }
        entries
    }

    /// When the next opening opens or closes.
    pub fn next_due(&self) -> Option<Timestamp> {
        let openings = self.book.openings.load();
        let next = |opening: &Arc<Opening>| match opening.phase() {
            Phase::Scheduled => Some(opening.window().0),
            Phase::Open => Some(opening.window().1),
            Phase::Closed => None,
        };
        openings.iter().filter_map(next).min()
    }

    fn apply(
        &mut self,
        seq: u64,
        block: Block,
        mode: Mode,
    ) -> Result<(Vec<Found>, Durable), FoldError> {
        let book = Arc::clone(&self.book);
        let time = block.time;
        book.stable.change(self.chain.position(), |at| {
            book.time.store(time.as_millis().max(0) as u64, Ordering::Relaxed);
            let mut made = Vec::new();
            for entry in block.entries {
                self.apply_entry(seq, entry, time, mode, &mut made)?;
            }
            Ok((made, at))
        })
    }

    fn apply_entry(
        &mut self,
        seq: u64,
        entry: Entry,
        time: Timestamp,
        mode: Mode,
        made: &mut Vec<Found>,
    ) -> Result<(), FoldError> {
        match entry {
            Entry::Genesis(genesis) => self.genesis = Some(genesis),
            Entry::TakeOver(_) | Entry::Refusals(_) => {}
            Entry::Opening(record) => self.record_opening(seq, *record)?,
            Entry::Opened { opening } => {
                self.move_phase(seq, opening, Phase::Scheduled, Phase::Open)?;
            }
            Entry::Closed { opening } => {
                self.move_phase(seq, opening, Phase::Open, Phase::Closed)?;
            }
            Entry::Grant(grant) => made.push(self.apply_grant(seq, grant, time, mode)?),
            later @ (Entry::Confirm(_)
            | Entry::Cancel(_)
            | Entry::Expire(_)
            | Entry::Reschedule(_)
            | Entry::Released(_)
            | Entry::Adjust(_)
            | Entry::Draw(_)
            | Entry::Snapshot(_)
            | Entry::Seal(_)) => return Err(FoldError::Newer { seq, what: later.what() }),
        }
        Ok(())
    }

    fn record_opening(&mut self, seq: u64, record: OpeningRecord) -> Result<(), FoldError> {
        let openings = self.book.openings.load_full();
        let damage =
            |what: &str| Err(Damage { seq, what: format!("opening {}: {what}", record.id) }.into());
        if record.ordinal as usize != openings.len() {
            return damage("its ordinal is out of order");
        }
        if openings.iter().any(|o| o.id() == record.id) {
            return damage("recorded twice");
        }
        if let Some(twin) = named_twice(&record) {
            return damage(twin);
        }
        let known = record.slots.iter().all(|slot| {
            slot.quota > 0
                && record
                    .offices
                    .get(slot.office as usize)
                    .is_some_and(|office| (slot.session as usize) < office.sessions.len())
        });
        if !known {
            return damage("a slot of no office, no session or no quota");
        }
        self.numbers.push(record.slots.iter().map(|slot| Numbers::new(slot.quota)).collect());
        let mut openings = Vec::clone(&openings);
        openings.push(Arc::new(Opening::new(record)));
        self.book.openings.store(Arc::new(openings));
        Ok(())
    }

    fn move_phase(
        &mut self,
        seq: u64,
        ordinal: u32,
        from: Phase,
        to: Phase,
    ) -> Result<(), FoldError> {
        let openings = self.book.openings.load();
        match openings.get(ordinal as usize) {
            Some(opening) if opening.phase() == from => {
                opening.set_phase(to);
                Ok(())
            }
            _ => Err(Damage {
                seq,
                what: format!("opening number {ordinal} becomes {to:?} without being {from:?}"),
            }
            .into()),
        }
    }

    fn apply_grant(
        &mut self,
        seq: u64,
        grant: Grant,
        time: Timestamp,
        mode: Mode,
    ) -> Result<Found, FoldError> {
        let id = grant.booking;
        let damage = |what: String| -> FoldError {
            Damage { seq, what: format!("booking {id}: {what}") }.into()
        };
        let openings = self.book.openings.load();
        let opening = openings
            .get(grant.opening as usize)
            .filter(|o| grant.slot < o.slots())
            .ok_or_else(|| damage("granted in no slot of any opening".to_owned()))?;
        if opening.phase() != Phase::Open {
            return Err(damage(format!("granted while the opening is {:?}", opening.phase())));
        }
        if grant.seats.is_empty() {
            return Err(damage("has no applicant".to_owned()));
        }
        let places = grant.seats.len() as u32;
        if mode == Mode::Replay {
            let numbers = &mut self.numbers[grant.opening as usize][grant.slot as usize];
            for seat in &grant.seats {
                if !numbers.mark(seat.number) {
                    return Err(damage(format!("number {} is not free in its slot", seat.number)));
                }
            }
            opening.free[grant.slot as usize].give(-(places as i32));
        } else if !self.numbered.remove(&id) {
            return Err(damage("was not numbered here".to_owned()));
        }
        if let Some(account) = grant.account {
            opening.accounts.grant(account, places, mode == Mode::Live);
        }
        let booking = Arc::new(Booking::new(grant, time));
        if self.book.bookings.insert(booking.id, Arc::clone(&booking)).is_some() {
            return Err(damage("granted twice".to_owned()));
        }
        for seat in &booking.seats {
            match (opening.claims.grant(seat.applicant, Arc::clone(&booking)), mode) {
                // In a replay, a claim that is being decided loses to the
                // ledger: whoever holds its grant abandons it.
                (None, Mode::Replay) | (Some(Claim::Deciding), _) => {}
                _ => return Err(damage("an applicant already has a booking".to_owned())),
            }
        }
        opening.durably_free.add(booking.slot, -(places as i32));
        Ok(Found { booking, opening: Arc::clone(opening) })
    }

    /// Hash of the whole durable state, in a canonical order: equal after live
    /// deciding and after replay, on every machine (P6).
    ///
    /// Walks everything; for audits, tests and snapshots.
    pub fn state_hash(&self) -> BlockHash {
        let mut hasher = blake3::Hasher::new();
        let mut bytes = Vec::new();
        for opening in self.book.openings.load().iter() {
            bytes.clear();
            giliran_wire::codec::encode_into(opening.record(), &mut bytes);
            bytes.push(opening.phase() as u8);
            for slot in 0..opening.slots() {
                bytes.extend_from_slice(&opening.durably_free(slot).to_le_bytes());
            }
            hasher.update(&bytes);
        }
        let mut ids = self.book.bookings.keys();
        ids.sort_unstable();
        for id in ids {
            bytes.clear();
            self.book.booking(&id).expect("only the keeper removes").digest_into(&mut bytes);
            hasher.update(&bytes);
        }
        BlockHash(*hasher.finalize().as_bytes())
    }
}

/// What of a record bears a name that something else of it bears too: no
/// request could mean one of the two.
fn named_twice(record: &OpeningRecord) -> Option<&'static str> {
    fn distinct<T: Eq + Hash>(names: impl IntoIterator<Item = T>) -> bool {
        let mut seen = HashSet::new();
        names.into_iter().all(|name| seen.insert(name))
    }
    if !distinct(record.offices.iter().map(|office| &office.id)) {
        Some("two offices of one id")
    } else if !record.offices.iter().all(|o| distinct(o.sessions.iter().map(|s| &s.id))) {
        Some("two sessions of one id")
    } else if !distinct(record.slots.iter().map(|s| (s.office, s.session, s.date))) {
        Some("two slots of one office, date and session")
    } else {
        None
    }
}

impl Numbers {
    fn new(quota: u16) -> Self {
        Self { quota, next: 1, below: BTreeSet::new() }
    }

    /// The lowest number nobody has. The slot's counter has let the grant
    /// through, so there is one.
    fn take_lowest(&mut self) -> u16 {
        if let Some(lowest) = self.below.pop_first() {
            return lowest;
        }
        assert!(self.next <= u32::from(self.quota), "more numbers asked for than places counted");
        self.next += 1;
        (self.next - 1) as u16
    }

    fn give(&mut self, number: u16) {
        self.below.insert(number);
        while self.next > 1 && self.below.remove(&((self.next - 1) as u16)) {
            self.next -= 1;
        }
    }

    /// Marks a number as given; false if it is not free.
    fn mark(&mut self, number: u16) -> bool {
        if number == 0 || number > self.quota {
            return false;
        }
        if u32::from(number) < self.next {
            return self.below.remove(&number);
        }
        self.below.extend((self.next..u32::from(number)).map(|n| n as u16));
        self.next = u32::from(number) + 1;
        true
    }
}
