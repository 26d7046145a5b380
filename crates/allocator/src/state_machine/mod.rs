//! The single writer: gives numbers, applies blocks, can tell the state's hash.

mod apply;
mod booking_changes;
mod change;
mod draw_records;
mod due;
mod entries;
mod inventory;
mod opening_draw;
mod restore;
mod restorer;
mod retiring;
mod snapshot;
mod staged;

use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use giliran_wire::event::Kind;
use giliran_wire::ledger::{
    Block, BlockError, Chain, Damage, DrawEntryRecord, DrawRecord, Entry, Foreign, Genesis, Grant,
    OpeningRecord, Reading,
};
use giliran_wire::snapshot::OrderState;
use giliran_wire::{BlockHash, BookingId, Pseudonym, Timestamp};
use rustc_hash::{FxHashMap, FxHashSet};

pub use change::{ChangeOutcome, ChangeReply};
pub use due::WaitlistDraw;
use inventory::SlotInventory;
pub use opening_draw::{DrawStep, OpeningDraw};
use restore::Restoring;
pub use restorer::Restorer;
pub use snapshot::Parts;
pub use staged::{BlockTurn, Numbered, StagedIn};

use crate::booking::text_into;
use crate::opening::places;
use crate::sync::Ordering;
use crate::sync::seqlock::Durable;
use crate::sync::sharded_map::UniformHasher;
use crate::{Allocator, Booking, DrawEntry, FoundBooking, Opening};

/// Tables of bookings and claims have room for an opening's places when it is put on record, up
/// to so many: a table that grows while it fills holds up whoever looks into it.
const ROOM: usize = 1 << 22;

/// Most bookings that tables have room for before there are that many: whoever guesses by the
/// size of a file or a stream may be far off. Beyond it they grow as they fill.
const MOST_EXPECTED: usize = 1 << 23;

/// How many entries of a block before an entry what it touches is fetched from memory.
const FETCHED_AHEAD: usize = 8;

/// Applies the ledger to an [`Allocator`], block by block; there is one per allocator.
///
/// Live and replayed blocks go through the same code, but for grants that are
/// [staged](Self::stage) live, so that the state after a restart is the state before it (P6).
#[derive(Debug)]
pub struct StateMachine {
    allocator: Arc<Allocator>,
    /// For how many places of an opening tables have room from the start, at most.
    room: usize,
    chain: Chain,
    genesis: Option<Genesis>,
    /// Hash of the state that the last generation was sealed with.
    sealed: Option<BlockHash>,
    /// The snapshot that a generation begins with, as far as it was read by a
    /// state machine that has read nothing before.
    restoring: Option<Restoring>,
    /// Changes of bookings and entries so far.
    changes: u64,
    /// What only the state machine needs to know of the openings, by ordinal.
    openings: FxHashMap<u32, OpeningIndex>,
    next_ordinal: u32,
    /// Ids of openings that have left memory; never used again.
    retired: BTreeSet<String>,
    /// Bookings of retired openings that still take memory.
    leaving: Vec<BookingId>,
    /// Ids given to grants of rounds that are on their way into the ledger.
    numbered: HashSet<BookingId, BuildHasherDefault<UniformHasher>>,
    in_block: PendingBlock,
    /// Bookings of the block on its way, in its order: made, and not published.
    staged: Vec<Arc<Booking>>,
    /// The same of the block behind it.
    staged_ahead: Vec<Arc<Booking>>,
    /// Held bookings, by the end of their hold.
    holds: BTreeSet<(Timestamp, BookingId)>,
    /// Withheld numbers by the moment of their release: opening, slot, number.
    delayed: BTreeSet<(Timestamp, u32, u32, u16)>,
    /// Withheld numbers by the release that draws for them.
    collected: BTreeSet<(Timestamp, u32, u32, u16)>,
    /// Live entries by the release that draws them.
    waiting: BTreeSet<(Timestamp, u32, BookingId)>,
    /// Withdrawn entries that are still known, the oldest first.
    withdrawn: BTreeSet<(Timestamp, BookingId)>,
}

/// One opening's part of the state machine.
#[derive(Debug)]
struct OpeningIndex {
    opening: Arc<Opening>,
    inventories: Vec<SlotInventory>,
    /// Its bookings, to find them when it retires.
    made: Vec<BookingId>,
    /// Its entries, withdrawn ones included.
    entries: BTreeSet<BookingId>,
    /// Groups drawn so far.
    draws: u64,
    /// Its seed, where its order has one.
    order: Option<OrderState>,
    /// Live entries into its own draw.
    ballots: u64,
}

impl OpeningIndex {
    const fn new(opening: Arc<Opening>, inventories: Vec<SlotInventory>) -> Self {
        Self {
            opening,
            inventories,
            made: Vec::new(),
            entries: BTreeSet::new(),
            draws: 0,
            order: None,
            ballots: 0,
        }
    }
}

/// What the block that is being written is about to change, beside its grants:
/// a booking changes once in a block, so that every change is decided on durable
/// facts.
#[derive(Debug, Default)]
struct PendingBlock {
    touched: FxHashSet<BookingId>,
    /// Numbers taken by changes: opening, slot, number.
    taken: FxHashSet<(u32, u32, u16)>,
    /// Withheld numbers that revived bookings have again: not to be released or
    /// drawn for in the same block.
    revived: FxHashSet<(u32, u32, u16)>,
    entering: FxHashSet<(u32, Pseudonym)>,
}

/// One thing that a block changed.
#[derive(Debug, Clone)]
pub enum StateChange {
    /// A booking was made or changed.
    Booking {
        /// Kind of the event that tells of it.
        kind: Kind,
        /// As it stood before; none: it is new.
        before: Option<Arc<Booking>>,
        /// The booking after the block.
        after: FoundBooking,
        /// The payment's reference, where one came with it.
        payment: Option<Box<str>>,
        /// The operator's words, where the authority did it.
        reason: Option<Box<str>>,
    },
    /// A draw entry was made, withdrawn or decided.
    Entry {
        /// Kind of the event that tells of it.
        kind: Kind,
        /// The entry after the block.
        waiting: Arc<DrawEntry>,
        /// The opening whose draw it takes part in.
        opening: Arc<Opening>,
    },
}

/// What became of a message of the ledger.
#[derive(Debug)]
pub enum Folded {
    /// A valid block: what it changed, in order.
    Applied(Vec<StateChange>),
    /// A deposed writer's; skipped.
    Void,
    /// None of a writer of this ledger; skipped.
    Foreign(Foreign),
}

impl Folded {
    /// Changes of bookings and entries, in the order of the block.
    pub fn changes(self) -> Vec<StateChange> {
        match self {
            Self::Applied(changes) => changes,
            Self::Void | Self::Foreign(_) => Vec::new(),
        }
    }
}

/// How a block's grants come about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Places and numbers were taken before the block was written.
    Live,
    /// The block alone says so.
    Replay,
    /// The same, and nobody asks which grants it brought.
    QuietReplay,
}

impl Default for StateMachine {
    fn default() -> Self {
        Self::new()
    }
}

impl StateMachine {
    /// Nothing read yet; begins with the ledger's first generation.
    pub fn new() -> Self {
        Self::beginning_with(1)
    }

    /// Nothing read yet; begins with this generation.
    pub fn beginning_with(generation: u32) -> Self {
        Self {
            allocator: Arc::new(Allocator::new()),
            room: ROOM,
            chain: Chain::beginning_with(generation),
            genesis: None,
            sealed: None,
            restoring: None,
            changes: 0,
            openings: FxHashMap::default(),
            next_ordinal: 0,
            retired: BTreeSet::new(),
            leaving: Vec::new(),
            numbered: HashSet::default(),
            in_block: PendingBlock::default(),
            staged: Vec::new(),
            staged_ahead: Vec::new(),
            holds: BTreeSet::new(),
            delayed: BTreeSet::new(),
            collected: BTreeSet::new(),
            waiting: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
        }
    }

    /// The same, which is about to read so many bookings, by a guess: its tables have their
    /// size from the start, up to eight million. Called before anything was read.
    pub fn expecting(mut self, bookings: usize) -> Self {
        let bookings = bookings.min(MOST_EXPECTED);
        self.allocator.bookings.reserve(bookings);
        self.room = self.room.max(bookings);
        self
    }

    /// Everything that was expected is read: what comes is live.
    pub fn expect_no_more(&mut self) {
        self.room = ROOM;
    }

    /// The state it keeps.
    pub fn allocator(&self) -> &Arc<Allocator> {
        &self.allocator
    }

    /// How far the ledger has been applied, and who may continue it.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What the ledger began with, once read.
    pub fn genesis(&self) -> Option<&Genesis> {
        self.genesis.as_ref()
    }

    /// Changes of bookings and entries since the ledger's first block.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The position everything applied so far is durable at.
    pub fn durable(&self) -> Durable {
        self.allocator.seqlock.position()
    }

    /// The ordinal of the next opening.
    pub fn next_ordinal(&self) -> u32 {
        self.next_ordinal
    }

    /// True if an opening of this id is, or was, on record.
    pub fn knows_opening(&self, id: &str) -> bool {
        self.retired.contains(id) || self.allocator.openings.load().named(id).is_some()
    }

    /// Gives the entry its receipt, as it enters a block. False: try with other
    /// bits. None: somebody of the party enters in the same block.
    pub fn enter_waitlist(&mut self, entry: &mut DrawEntryRecord, random: u128) -> Option<bool> {
        let opening = entry.opening;
        let people = || entry.applicants.iter().map(|who| (opening, *who));
        if people().any(|who| self.in_block.entering.contains(&who)) {
            return None;
        }
        let Some(id) = self.new_id(random) else { return Some(false) };
        self.in_block.entering.extend(people());
        self.in_block.touched.insert(id);
        entry.receipt = id;
        Some(true)
    }

    /// A booking as it stands; none: it is not there, or its opening has retired.
    pub fn found(&self, id: &BookingId) -> Option<FoundBooking> {
        let booking = self.allocator.booking_at(id, self.durable());
        booking.and_then(|booking| self.allocator.found(booking))
    }

    fn new_id(&self, random: u128) -> Option<BookingId> {
        let id = self.id_beside_bookings(random)?;
        self.allocator.booking(&id).is_none().then_some(id)
    }

    /// An id that nothing bears but a booking perhaps; none: try with other bits.
    fn id_beside_bookings(&self, random: u128) -> Option<BookingId> {
        let id = BookingId::from_random(random);
        // Zero is what a grant has that is not numbered yet.
        let taken = id == BookingId::from_random(0)
            || self.allocator.waiting.look(&id, |waiting| waiting.is_some())
            || self.numbered.contains(&id)
            || self.in_block.touched.contains(&id);
        (!taken).then_some(id)
    }

    /// An opening, and room for what is booked in it.
    fn with_room(&self, record: OpeningRecord) -> Opening {
        let room = places(&record).min(self.room);
        self.allocator.bookings.reserve(room);
        Opening::new(record, room)
    }

    fn inventory(&mut self, opening: u32, slot: u32) -> &mut SlotInventory {
        &mut self.openings.get_mut(&opening).expect("checked").inventories[slot as usize]
    }

    /// Takes back an entry of a block that will never be in the ledger: places,
    /// numbers and claims. [`end_block`](Self::end_block) comes after the last.
    pub fn abandon(&mut self, entry: &Entry) {
        match entry {
            Entry::Grant(grant) => self.abandon_grant(grant),
            Entry::Draw(DrawRecord::Entered(entry)) if !entry.waits => {
                self.allocator.abandon_ballot(entry);
            }
            Entry::Confirm(confirm) => {
                if let (Some(seats), Some(booking)) =
                    (&confirm.revived, self.allocator.booking(&confirm.booking))
                {
                    self.untake(booking.opening, booking.slot, seats.iter().map(|s| s.number));
                    if let Some(opening) = self.allocator.openings.load().get(booking.opening) {
                        opening.claims.give(seats.iter().map(|seat| &seat.applicant));
                        if let Some(account) = &booking.account() {
                            opening.accounts.give(account, seats.len() as u32);
                        }
                    }
                }
            }
            Entry::Reschedule(swap) => {
                if let Some(booking) = self.allocator.booking(&swap.booking) {
                    let numbers = swap.seats.iter().map(|seat| seat.number);
                    self.untake(booking.opening, swap.slot, numbers);
                }
            }
            _ => {}
        }
    }

    /// The block that was being written is in the ledger, or never will be.
    pub fn end_block(&mut self) {
        self.in_block = PendingBlock::default();
    }

    fn abandon_grant(&mut self, grant: &Grant) {
        let drawn = self.in_block.touched.contains(&grant.booking);
        if drawn {
            // The places of an account were counted when it entered a draw.
            let waits = |waiting: Option<&Arc<DrawEntry>>| waiting.is_some_and(|w| w.entry.waits);
            let waits = self.allocator.waiting.look(&grant.booking, waits);
            self.untake(grant.opening, grant.slot, grant.seats.iter().map(|seat| seat.number));
            if let Some(opening) = self.allocator.openings.load().get(grant.opening) {
                if let (Some(account), true) = (&grant.account, waits) {
                    opening.accounts.give(account, grant.seats.len() as u32);
                }
                opening.claims.give(grant.seats.iter().map(|seat| &seat.applicant));
            }
            return;
        }
        if self.numbered.remove(&grant.booking) && self.openings.contains_key(&grant.opening) {
            let inventory = self.inventory(grant.opening, grant.slot);
            for seat in &grant.seats {
                inventory.untake(seat.number);
            }
        }
        self.allocator.abandon(&grant.borrowed());
    }

    /// Gives back numbers that a change took, unless they are withheld anyway.
    fn untake(&mut self, opening: u32, slot: u32, numbers: impl Iterator<Item = u16>) {
        if !self.openings.contains_key(&opening) {
            return;
        }
        let mut places = 0;
        for number in numbers {
            if self.in_block.taken.remove(&(opening, slot, number)) {
                self.inventory(opening, slot).untake(number);
                places += 1;
            }
        }
        if let Some(opening) = self.allocator.openings.load().get(opening) {
            opening.free[slot as usize].give(places);
        }
    }

    /// Makes durable a block that was decided here and stands in the ledger at
    /// `seq`. Returns what it changed, in order; its grants' changes are in their
    /// order.
    ///
    /// # Errors
    ///
    /// [`Damage`] if the ledger's chain does not allow the block there.
    pub fn commit(
        &mut self,
        seq: u64,
        block: Block,
        hash: BlockHash,
    ) -> Result<(Vec<StateChange>, Durable), Damage> {
        self.commit_around(seq, block, hash, StagedIn { at: 0, are_told: true })
    }

    /// The same for a block that holds what was [staged](Self::stage) beside its entries. What
    /// was staged for the block after the next is the next one's from here on.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit).
    pub fn commit_around(
        &mut self,
        seq: u64,
        block: Block,
        hash: BlockHash,
        staged: StagedIn,
    ) -> Result<(Vec<StateChange>, Durable), Damage> {
        self.chain.append(seq, &block, hash)?;
        let done = self.apply(seq, block, Mode::Live, staged)?;
        self.end_block();
        self.take_turns();
        Ok(done)
    }

    /// Reads the message stored at `seq` and applies it if it is a valid block.
    ///
    /// # Errors
    ///
    /// [`Damage`]; the state is then not to be used further.
    pub fn fold(&mut self, seq: u64, bytes: &[u8]) -> Result<Folded, Damage> {
        self.fold_opened(seq, bytes, Block::open(bytes), Mode::Replay)
    }

    /// The same for who wants to know nothing but what is foreign. `opened`: what
    /// [`Block::open`] makes of the bytes, on another thread perhaps.
    ///
    /// # Errors
    ///
    /// As [`fold`](Self::fold).
    pub fn follow(
        &mut self,
        seq: u64,
        bytes: &[u8],
        opened: Result<(Block, BlockHash), BlockError>,
    ) -> Result<Option<Foreign>, Damage> {
        Ok(match self.fold_opened(seq, bytes, opened, Mode::QuietReplay)? {
            Folded::Foreign(foreign) => Some(foreign),
            Folded::Applied(_) | Folded::Void => None,
        })
    }

    fn fold_opened(
        &mut self,
        seq: u64,
        bytes: &[u8],
        opened: Result<(Block, BlockHash), BlockError>,
        mode: Mode,
    ) -> Result<Folded, Damage> {
        Ok(match self.chain.read_opened(seq, bytes, opened)? {
            Reading::Valid(block) => {
                self.abandon_staged();
                let nothing = StagedIn { at: 0, are_told: true };
                Folded::Applied(self.apply(seq, block, mode, nothing)?.0)
            }
            Reading::Void => {
                self.allocator.seqlock.change((self.chain.position(), self.chain.number), |_| ());
                Folded::Void
            }
            Reading::Foreign(foreign) => Folded::Foreign(foreign),
        })
    }

    /// Whether the ledger goes on in the next generation from here on, although this one
    /// is not sealed; see [`Chain::goes_on_in`].
    ///
    /// # Errors
    ///
    /// [`Damage`] where more was read than the next generation was rebuilt from.
    pub fn goes_on_in(&mut self, begin: &Block) -> Result<bool, Damage> {
        self.chain.goes_on_in(begin)
    }

    fn apply(
        &mut self,
        seq: u64,
        block: Block,
        mode: Mode,
        staged: StagedIn,
    ) -> Result<(Vec<StateChange>, Durable), Damage> {
        let allocator = Arc::clone(&self.allocator);
        let time = block.time;
        let reached = (self.chain.position(), self.chain.number);
        let done = allocator.seqlock.change(reached, |at| {
            allocator.time.store(time.as_millis().max(0) as u64, Ordering::Relaxed);
            let mut applying = apply::BlockApplier::new(self, seq, time, mode, block.entries.len());
            let mut entries = block.entries.into_iter();
            let mut applied = 0;
            while let Some(entry) = entries.next() {
                if applied == staged.at {
                    applying.publish(staged.are_told);
                }
                if let Some(later) = entries.as_slice().get(FETCHED_AHEAD) {
                    applying.fetch(later);
                }
                applying.entry(entry)?;
                applied += 1;
            }
            applying.publish(staged.are_told);
            let (changes, untold) = applying.end()?;
            self.changes += untold + changes.len() as u64;
            self.retire(time);
            Ok::<_, Damage>((changes, at))
        });
        self.forget_some();
        done
    }

    /// Hash of the whole durable state, in a canonical order: equal after live
    /// deciding and after replay, on every machine (P6).
    ///
    /// Walks everything; for audits, tests and snapshots.
    pub fn state_hash(&self) -> BlockHash {
        let mut hasher = blake3::Hasher::new();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.next_ordinal.to_le_bytes());
        bytes.extend_from_slice(&self.changes.to_le_bytes());
        for id in &self.retired {
            text_into(Some(id), &mut bytes);
        }
        hasher.update(&bytes);
        let openings = self.allocator.openings.load();
        for opening in openings.iter() {
            bytes.clear();
            giliran_wire::codec::encode_into(opening.record(), &mut bytes);
            bytes.push(opening.phase() as u8);
            bytes.extend_from_slice(&opening.window().1.as_millis().to_le_bytes());
            bytes.push(u8::from(opening.took_place()));
            for slot in 0..opening.slots() {
                bytes.extend_from_slice(&opening.durably_free(slot).to_le_bytes());
            }
            let index = &self.openings[&opening.record().ordinal];
            bytes.extend_from_slice(&index.draws.to_le_bytes());
            if let Some(order) = &index.order {
                giliran_wire::codec::encode_into(order, &mut bytes);
            }
            index.inventories.iter().for_each(|inventory| inventory.digest_into(&mut bytes));
            hasher.update(&bytes);
            let mut ids = index.made.clone();
            ids.sort_unstable();
            for id in ids {
                bytes.clear();
                self.allocator
                    .booking(&id)
                    .expect("only the state machine removes")
                    .digest_into(&mut bytes);
                hasher.update(&bytes);
            }
            for receipt in &index.entries {
                bytes.clear();
                if let Some(waiting) = self.allocator.waiting.look(receipt, |w| w.map(Arc::clone)) {
                    giliran_wire::codec::encode_into(&waiting.entry, &mut bytes);
                    bytes.extend_from_slice(&waiting.since.as_millis().to_le_bytes());
                    let withdrawn = waiting.withdrawn.map_or(0, Timestamp::as_millis);
                    bytes.extend_from_slice(&withdrawn.to_le_bytes());
                }
                hasher.update(&bytes);
            }
        }
        BlockHash(*hasher.finalize().as_bytes())
    }
}
