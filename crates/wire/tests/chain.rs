//! The reading rule, row by row of the table in `Chain`'s documentation, and over
//! histories with foreign messages anywhere.
//!
//! Seen to fail: foreign messages that count; copies, unknown writers or changed
//! bytes as damage; a number ahead that is passed over; a doubt that outlives the
//! next valid block, or ends with a void one.

#![allow(clippy::unwrap_used, reason = "tests")]

use giliran_testkit::{self as testkit, LEDGER, genesis_block, next_block};
use giliran_wire::answer::{Phase, Status};
use giliran_wire::ledger::{
    Alien, Block, BlockError, BookingContradiction, Chain, Contradiction, Damage, DamageKind,
    Doubt, Entry, EntryContradiction, FORMAT, Genesis, Reading, Rebuilt, RecordContradiction, Seal,
    SnapshotPart, Stage,
};
use giliran_wire::snapshot::Unusable;
use giliran_wire::{BlockHash, BookingId, LedgerId, Timestamp, WriterNonce};
use proptest::prelude::*;
use proptest::sample::Index;

const OTHER: LedgerId = LedgerId([6; 16]);
/// Where the second generation's stream begins.
const FIRST: u64 = 100;

fn genesis(continues: Option<BlockHash>) -> Entry {
    Entry::Genesis(Genesis { continues, ..testkit::genesis() })
}

fn take_over() -> Entry {
    Entry::TakeOver(testkit::take_over())
}

fn fact() -> Entry {
    Entry::Opened { opening: 0 }
}

/// A ledger under way, and what was written of it.
#[derive(Clone)]
struct History {
    chain: Chain,
    blocks: Vec<(u64, Vec<u8>)>,
}

impl History {
    /// Genesis, a take-over and a fact.
    fn new() -> Self {
        let mut history = Self { chain: Chain::new(), blocks: Vec::new() };
        history.write(&genesis_block(LEDGER, history.chain.time));
        history.take_over(1);
        history.write(&history.next(vec![fact()]));
        history
    }

    /// The block that fits.
    fn next(&self, entries: Vec<Entry>) -> Block {
        next_block(&self.chain, entries)
    }

    fn by(&self, writer: u8) -> Block {
        let epoch = self.chain.epoch + 1;
        let writer = WriterNonce([writer; 16]);
        Block { epoch, writer, ..self.next(vec![take_over()]) }
    }

    fn take_over(&mut self, writer: u8) {
        self.write(&self.by(writer));
    }

    fn write(&mut self, block: &Block) {
        let seq = if self.chain.is_sealed() { FIRST } else { self.chain.seq + 1 };
        let bytes = block.seal().bytes;
        let reading = self.chain.read_bytes(seq, &bytes).unwrap();
        assert!(matches!(reading, Reading::Valid(_)), "{reading:?}");
        self.blocks.push((seq, bytes));
    }

    fn seal(&mut self) {
        let snapshot = BlockHash([1; 32]);
        let seal = Seal { ledger: LEDGER, next: "2".into(), snapshot, ordered: None };
        self.write(&self.next(vec![Entry::Seal(seal)]));
    }

    /// The next generation's first block, of so many.
    fn begin(&self, parts: u32) -> Block {
        let entries = vec![genesis(Some(self.chain.hash)), part(0, parts)];
        Block { generation: self.chain.generation + 1, ..self.next(entries) }
    }

    fn read(&self, bytes: &[u8]) -> Result<(Reading, Chain), Damage> {
        let mut chain = self.chain.clone();
        let seq = chain.seq + 1;
        match chain.read_bytes(seq, bytes) {
            Ok(reading) => Ok((reading, chain)),
            Err(damage) => {
                assert_eq!(chain, self.chain, "damage moves nothing");
                Err(damage)
            }
        }
    }

    fn is_valid(&self, block: &Block) {
        let (reading, chain) = self.read(&block.seal().bytes).unwrap();
        assert!(matches!(reading, Reading::Valid(_)), "{reading:?}");
        assert_eq!((chain.number, chain.doubt), (self.chain.number + 1, None));
    }

    fn is_void(&self, block: &Block) {
        let (reading, chain) = self.read(&block.seal().bytes).unwrap();
        assert_eq!(reading, Reading::Void);
        assert_eq!((chain.hash, chain.doubt), (self.chain.hash, self.chain.doubt));
    }

    /// Foreign, and void as soon as the next valid block follows.
    fn is_foreign(&self, bytes: &[u8], why: Alien) {
        let (reading, mut chain) = self.read(bytes).unwrap();
        let Reading::Foreign(foreign) = reading else { panic!("{reading:?}") };
        let from = self.chain.seq + 1;
        assert_eq!((foreign.seq, foreign.bytes, foreign.why), (from, bytes.len(), why));
        assert_eq!(chain.doubt, Some(Doubt { from, messages: 1, why }));
        assert_eq!(chain.position(), self.chain.position());
        let next = self.next(vec![fact()]).seal().bytes;
        let reading = chain.read_bytes(from + 1, &next).unwrap();
        assert!(matches!(reading, Reading::Valid(_)), "{reading:?}");
        assert_eq!((chain.doubt, chain.position().seq), (None, from + 1));
    }

    /// The kind of damage that this block is.
    fn damage(&self, block: &Block) -> DamageKind {
        self.read(&block.seal().bytes).unwrap_err().kind
    }
}

/// A kind of damage is the one that was meant.
macro_rules! assert_kind {
    ($kind:expr, $expected:pat) => {{
        let kind = $kind;
        assert!(matches!(kind, $expected), "{kind:?}");
    }};
}

fn part(part: u32, parts: u32) -> Entry {
    Entry::Snapshot(SnapshotPart { part, parts, state: BlockHash([1; 32]), bytes: Vec::new() })
}

fn changed(mut bytes: Vec<u8>) -> Vec<u8> {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}

#[test]
fn a_ledger_begins_with_genesis_alone() {
    let good = History::new().blocks[0].1.clone();
    let (first, _) = Block::open(&good).unwrap();
    let refused = |seq, bytes: &[u8]| Chain::new().read_bytes(seq, bytes).unwrap_err().kind;
    let block = |block: Block| refused(1, &block.seal().bytes);
    assert_kind!(refused(1, b"{}"), DamageKind::Unreadable(BlockError::Checksum));
    let second = Block { number: 2, ..first.clone() };
    assert_kind!(block(second), DamageKind::WrongGenesis { generation: 1 });
    let later = Block { epoch: 1, ..first.clone() };
    assert_kind!(block(later), DamageKind::WrongGenesis { generation: 1 });
    let previous = BlockHash([1; 32]);
    let linked = Block { previous, ..first.clone() };
    assert_kind!(block(linked), DamageKind::GenesisPredecessor { .. });
    assert_kind!(block(Block { entries: vec![fact()], ..first }), DamageKind::NotGenesis);
    assert_kind!(refused(2, &good), DamageKind::WrongGenesis { generation: 1 });
    assert!(matches!(Chain::new().read_bytes(1, &good), Ok(Reading::Valid(_))));
}

#[test]
fn the_writer_goes_on_and_another_one_takes_over() {
    let history = History::new();
    history.is_valid(&history.next(vec![fact()]));
    history.is_valid(&history.by(2));
    let later = history.chain.time.plus_millis(1);
    history.is_valid(&Block { time: later, ..history.by(2) });
}

#[test]
fn what_the_writer_did_not_write_like_this_is_damage() {
    let history = History::new();
    let next = || history.next(vec![fact()]);
    let previous = BlockHash([1; 32]);
    assert_kind!(history.damage(&Block { previous, ..next() }), DamageKind::Unlinked { .. });
    assert_kind!(
        history.damage(&Block { number: 5, ..next() }),
        DamageKind::Ahead { number: 5, expected: 4 }
    );
    assert_kind!(
        history.damage(&Block { number: 3, ..next() }),
        DamageKind::SecondOfItsNumber { number: 3, .. }
    );
    let before = Timestamp::from_millis(history.chain.time.as_millis() - 1);
    assert_kind!(
        history.damage(&Block { time: before, ..next() }),
        DamageKind::TimeBackwards { .. }
    );
    assert_kind!(
        history.damage(&Block { time: before, ..history.by(2) }),
        DamageKind::TimeBackwards { .. }
    );
    assert_kind!(history.damage(&history.next(vec![take_over()])), DamageKind::Misplaced);
    assert_kind!(history.damage(&history.next(vec![genesis(None)])), DamageKind::Misplaced);
    assert_kind!(history.damage(&history.next(vec![fact(), genesis(None)])), DamageKind::Misplaced);
    assert_kind!(history.damage(&history.next(vec![part(0, 1)])), DamageKind::SnapshotMisplaced);
    let twice = vec![take_over(), take_over()];
    assert_kind!(history.damage(&Block { entries: twice, ..history.by(2) }), DamageKind::Misplaced);
    let mut chain = history.chain.clone();
    let gap = chain.read_bytes(chain.seq + 2, &next().seal().bytes).unwrap_err();
    assert_kind!(gap.kind, DamageKind::OutOfOrder { after: 3 });
    let before_foreign_bytes = chain.read_bytes(chain.seq + 2, b"{}").unwrap_err();
    assert_kind!(before_foreign_bytes.kind, DamageKind::OutOfOrder { after: 3 });
}

#[test]
fn a_number_ahead_is_damage_whoever_wrote_it() {
    let history = History::new();
    let number = history.chain.number + 2;
    assert_kind!(history.damage(&Block { number, ..history.by(2) }), DamageKind::Ahead { .. });
    let deposed = Block { number, epoch: 0, ..history.by(2) };
    assert_kind!(history.damage(&deposed), DamageKind::Ahead { .. });
    let unknown = Block { number, entries: vec![fact()], ..history.by(2) };
    assert_kind!(history.damage(&unknown), DamageKind::Ahead { .. });
}

#[test]
fn what_a_deposed_writer_left_is_void() {
    let mut history = History::new();
    let late = history.next(vec![fact()]);
    history.take_over(2);
    history.is_void(&late);
    history.is_void(&Block { previous: history.chain.hash, ..late.clone() });
    let lost = Block { previous: BlockHash([1; 32]), ..history.by(3) };
    history.is_void(&lost);
    // It ends no doubt, and begins none.
    let (_, mut chain) = history.read(b"{}").unwrap();
    let before = chain.clone();
    let reading = chain.read_bytes(before.seq + 1, &late.seal().bytes).unwrap();
    assert_eq!(reading, Reading::Void);
    assert_eq!(chain, Chain { seq: before.seq + 1, ..before });
}

#[test]
fn what_no_writer_wrote_is_foreign() {
    let history = History::new();
    let next = || history.next(vec![fact()]);
    for bytes in [&b""[..], b"{}", &[0; 1_000], &[7; 33]] {
        history.is_foreign(bytes, Alien::NoBlock);
    }
    let good = next().seal().bytes;
    history.is_foreign(&changed(good.clone()), Alien::NoBlock);
    history.is_foreign(&good[..good.len() - 1], Alien::NoBlock);
    let other = Block { ledger: OTHER, ..next() };
    history.is_foreign(&other.seal().bytes, Alien::Ledger(OTHER));
    let other = Block { generation: 2, ..next() };
    history.is_foreign(&other.seal().bytes, Alien::Generation(2));
    let unknown = Block { entries: vec![fact()], ..history.by(2) };
    history.is_foreign(&unknown.seal().bytes, Alien::Writer { epoch: 2 });
    let epoch = u64::MAX;
    let far = Block { epoch, ..history.by(2) };
    history.is_foreign(&far.seal().bytes, Alien::Writer { epoch });
    // Its writer's own blocks, again.
    let (_, last) = &history.blocks[2];
    history.is_foreign(last, Alien::Copy { number: 3 });
    let (_, before) = &history.blocks[1];
    history.is_foreign(before, Alien::Copy { number: 2 });
}

#[test]
fn what_a_later_release_wrote_stops_this_one() {
    let history = History::new();
    let later = Block { format: FORMAT + 1, ..history.next(vec![fact()]) };
    assert_kind!(history.damage(&later), DamageKind::LaterRelease(_));
    // Of another ledger it is nobody's business.
    let other = Block { ledger: OTHER, ..later };
    history.is_foreign(&other.seal().bytes, Alien::Ledger(OTHER));
    let first = Chain::new().read_bytes(1, &other.seal().bytes).unwrap_err();
    assert_kind!(first.kind, DamageKind::LaterRelease(BlockError::Format { .. }));
    // Of an entry that this release does not know.
    let mut bytes = history.next(vec![fact()]).seal().bytes;
    let kind = bytes.len() - 32 - 8;
    bytes[kind] = 200;
    let content = bytes.len() - 32;
    let hash = *blake3::hash(&bytes[..content]).as_bytes();
    bytes[content..].copy_from_slice(&hash);
    let unknown = history.read(&bytes).unwrap_err();
    assert_kind!(unknown.kind, DamageKind::LaterRelease(BlockError::Decode(_)));
}

/// Operators look these sentences up in the documents, and search logs for them.
#[test]
fn each_kind_of_damage_has_its_sentence() {
    let [first, last] = [1, 2].map(|byte| BlockHash([byte; 32]));
    let [time, later] = [1_000, 2_000].map(Timestamp::from_millis);
    let (previous, part, parts) = (first, 3, 4);
    let kinds = [
        DamageKind::LaterRelease(BlockError::Format { found: 9 }),
        DamageKind::Unreadable(BlockError::Checksum),
        DamageKind::OutOfOrder { after: 7 },
        DamageKind::Ahead { number: 9, expected: 8 },
        DamageKind::SecondOfItsNumber { number: 9, last },
        DamageKind::Unlinked { last, valid_seq: 5 },
        DamageKind::TimeBackwards { time, last: later },
        DamageKind::Misplaced,
        DamageKind::NotGenesis,
        DamageKind::WrongGenesis { generation: 2 },
        DamageKind::GenesisPredecessor { previous },
        DamageKind::SealNotContinued { seal: last },
        DamageKind::BeginsBeforeSeal { seal: 6 },
        DamageKind::NotRebuiltFrom { last },
        DamageKind::RebuiltWithout { generation: 2, behind: 4, previous, read: 5, last },
        DamageKind::PartOutOfOrder { part, parts, expected: 1 },
        DamageKind::BeforeSnapshot { entry: "a grant" },
        DamageKind::SnapshotMisplaced,
        DamageKind::SealTime { time, last: later },
        DamageKind::SealMisplaced,
        DamageKind::OwnVoid,
        DamageKind::OwnForeign(Alien::Copy { number: 3 }),
        DamageKind::SealedOtherState,
        DamageKind::SnapshotOfOtherState,
        DamageKind::Snapshot(Unusable::OtherState),
        DamageKind::Contradiction(Contradiction::Gap),
    ];
    let sentences = format!(
        "format version 9; this release reads 1: a later release wrote it; run that one
the checksum does not match: the block is damaged
read after sequence 7: blocks are missing
block number 9, where number 8 belongs: blocks are missing or were rewritten
another block number 9 than {last}
does not continue {last}, the last valid block (sequence 5)
its time {time} is before {later}
genesis or take-over in the middle
the first block is not a genesis
no genesis of generation 2 stands here
genesis names {first} as its predecessor
no genesis that continues the seal {last}
a generation that begins at or before the seal, 6
no genesis that was rebuilt behind block {last}
generation 2 was rebuilt behind block number 4 ({first}), and number 5 ({last}) was read: what \
stands behind that is not in the ledger any more
part 3 of 4 of a snapshot, where part 1 belongs
a grant before the snapshot is complete
a snapshot in the middle
a seal of {time}, after a block of {later}
a seal of another ledger, or not alone in its block
the own block is void
the own block is a copy of block number 3
sealed with another state than the ledger's fold
a snapshot of another state than was sealed
snapshot: its hash is another
nothing stands there, and something behind it"
    );
    let said = kinds.map(|kind| Damage::new(5, kind).to_string());
    let sentences = sentences.lines().map(|line| format!("ledger damaged at sequence 5: {line}"));
    assert_eq!(said.to_vec(), sentences.collect::<Vec<_>>());
}

/// One of each, about the booking or the receipt `id`.
fn contradictions(id: BookingId) -> Vec<Contradiction> {
    use {BookingContradiction as B, Contradiction as C, EntryContradiction as E};
    let booking = |what| C::Booking { id, what };
    let record = |what| C::Opening { id: "w".to_owned(), what };
    let [waitlist, draw] = [E::Nobody, E::Twice].map(|what| C::WaitlistEntry { receipt: id, what });
    vec![
        record(RecordContradiction::Ordinal),
        record(RecordContradiction::Twice),
        record(RecordContradiction::TwinOffices),
        record(RecordContradiction::TwinSessions),
        record(RecordContradiction::TwinSlots),
        record(RecordContradiction::Slot),
        C::UnknownOpening(3),
        C::Phase { opening: 3, from: Phase::Scheduled, to: Phase::Closed },
        C::NotCommitted(3),
        C::SeedOutOfPlace(3),
        C::RootOutOfPlace(3),
        C::OtherSeed(3),
        C::UnknownSlot { opening: 3, slot: 4 },
        booking(B::NoSlot),
        booking(B::OtherGroup),
        booking(B::NotEntered),
        booking(B::NoGroup),
        booking(B::Phase(Phase::Closed)),
        booking(B::NoApplicant),
        booking(B::NotNumbered),
        booking(B::NumberTaken(9)),
        booking(B::Oversold),
        booking(B::Twice),
        booking(B::SecondBooking),
        booking(B::RevivedBesideAnother),
        booking(B::Revived(Status::Held)),
        booking(B::NobodyLeaves),
        booking(B::RefundOfNothing),
        C::UnknownBooking(id),
        C::EndedBooking { id, status: Status::Expired },
        C::NotHeld(id),
        C::Move(id),
        C::HoldOfMove(id),
        C::ReleaseInNoSlot,
        C::NotWithheld(9),
        C::AdjustmentOfNoSlot,
        waitlist,
        draw,
        C::DrawEntry { receipt: id, what: E::NoDraw },
        C::DrawEntry { receipt: id, what: E::Second },
        C::NotDrawnNotEntered,
        C::WithdrawnNotEntered,
        C::WithdrawnAfterClose,
        C::GroupOutOfOrder(5),
        C::OtherGroup(5),
        C::GroupIncomplete { opening: 3, round: 5 },
        C::Gap,
    ]
}

/// What they say, in the same order.
const SENTENCES: &str = "opening w: its ordinal is out of order
opening w: recorded twice
opening w: two offices of one id
opening w: two sessions of one id
opening w: two slots of one office, date and session
opening w: a slot of no office, no session or no quota
opening number 3 is not there
opening number 3 becomes Closed from Scheduled
opening number 3 opens without its seed's commitment
a seed of opening number 3 out of place
a root of opening number 3 out of place
the seed of opening number 3 is another
slot 4 of opening number 3 is not on record
booking {id}: granted in no slot of its opening
booking {id}: does not belong into its group
booking {id}: was drawn without having entered
booking {id}: was granted outside of a group
booking {id}: granted while the opening is Closed
booking {id}: has no applicant
booking {id}: was not numbered here
booking {id}: number 9 is not free in its slot
booking {id}: granted beyond what its slot has
booking {id}: granted twice
booking {id}: an applicant already has a booking
booking {id}: revived, its applicant has another
booking {id}: revived from Held
booking {id}: nobody of it leaves
booking {id}: a refund of nothing
booking {id} is changed, but is not there
booking {id} is expired and changed
booking {id} is not held and expires
booking {id} cannot move like this
booking {id} is held, or its move not
places are released in no slot of their opening
number 9 is released and was not withheld
an adjustment of no slot of its opening
entry {id} has nobody, or wants no slot
entry {id} entered twice
entry {id}: enters where nothing is to be drawn
entry {id}: is an applicant's second
not drawn, and not entered
withdrawn, and not entered
withdrawn from a draw after its close
group 5 begins out of order
group 5 is not what it began as
group 5 of opening number 3 is not complete
nothing stands there, and something behind it";

#[test]
fn each_contradiction_has_its_sentence() {
    let id = BookingId::from_random(7);
    let said: Vec<String> = contradictions(id).iter().map(ToString::to_string).collect();
    let sentences = SENTENCES.replace("{id}", &id.to_string());
    assert_eq!(said, sentences.lines().collect::<Vec<_>>());
}

/// A block that rotted looks foreign; what its writer wrote behind it says better.
#[test]
fn damage_names_the_foreign_messages_before_it() {
    let mut history = History::new();
    let rotten = changed(history.next(vec![fact()]).seal().bytes);
    let (_, mut chain) = history.read(&rotten).unwrap();
    history.write(&history.next(vec![fact()]));
    let next = history.next(vec![fact()]).seal().bytes;
    let why = chain.read_bytes(chain.seq + 1, &next).unwrap_err().to_string();
    assert!(why.contains("1 foreign messages from sequence 4 on"), "{why}");
    assert!(why.contains("no block, or one whose bytes have changed"), "{why}");
}

#[test]
fn behind_a_seal_nothing_counts_but_the_next_begin() {
    let mut history = History::new();
    let late = Block { number: 5, ..history.next(vec![fact()]) };
    let unknown = Block { entries: vec![fact()], ..history.by(2) };
    history.seal();
    let sealed = history.chain.clone();
    for bytes in [late.seal().bytes, unknown.seal().bytes, b"{}".to_vec()] {
        for seq in [sealed.seq + 1, FIRST] {
            let mut chain = sealed.clone();
            let reading = chain.read_bytes(seq, &bytes).unwrap();
            assert!(!matches!(reading, Reading::Valid(_)), "{reading:?}");
            assert_eq!(chain, sealed);
        }
    }
    let begin = history.begin(2);
    let previous = BlockHash([1; 32]);
    assert_kind!(history.damage(&Block { previous, ..begin.clone() }), DamageKind::Unlinked { .. });
    let entries = vec![fact()];
    assert_kind!(
        history.damage(&Block { entries, ..begin.clone() }),
        DamageKind::SealNotContinued { .. }
    );
    assert_kind!(history.damage(&Block { number: 6, ..begin.clone() }), DamageKind::Ahead { .. });
    let mut chain = sealed.clone();
    let early = chain.read_bytes(sealed.seq, &begin.seal().bytes).unwrap_err();
    assert_kind!(early.kind, DamageKind::BeginsBeforeSeal { .. });
    history.write(&begin);
    assert_eq!(history.chain.stage, Stage::Beginning { part: 1, parts: 2 });
    assert_kind!(
        history.damage(&history.next(vec![fact()])),
        DamageKind::BeforeSnapshot { entry: "an opening's begin" }
    );
    assert_kind!(
        history.damage(&history.next(vec![part(0, 2)])),
        DamageKind::PartOutOfOrder { expected: 1, .. }
    );
    let (_, mut chain) = history.read(b"{}").unwrap();
    let last = history.next(vec![part(1, 2)]).seal().bytes;
    assert!(matches!(chain.read_bytes(FIRST + 2, &last), Ok(Reading::Valid(_))));
    assert!(chain.is_open() && chain.doubt.is_none());
}

/// A generation that is damaged is left where the next one was rebuilt from.
#[test]
fn a_reader_goes_on_where_the_next_generation_was_rebuilt() {
    let mut history = History::new();
    let before = history.clone();
    history.write(&history.next(vec![fact()]));
    let Entry::Genesis(genesis) = genesis(Some(history.chain.hash)) else { panic!("genesis") };
    let rebuilt = Rebuilt { operator: "o".into(), reason: "r".into(), damaged_at: 5 };
    let genesis = Genesis { rebuilt: Some(rebuilt), ..genesis };
    let entries = vec![Entry::Genesis(genesis.clone()), part(0, 1)];
    let begin = Block { generation: 2, entries, ..history.by(9) };
    let goes_on = |chain: &Chain, bytes: &[u8]| {
        let mut chain = chain.clone();
        assert!(chain.goes_on_in(&begin).unwrap());
        let left = chain.clone();
        // In the stream that is left nothing counts any more.
        let old = history.next(vec![fact()]).seal().bytes;
        assert_eq!(chain.read_bytes(left.seq + 1, &old).unwrap(), Reading::Void);
        assert!(matches!(chain.read_bytes(FIRST, b"{}"), Ok(Reading::Foreign(_))));
        assert_eq!(chain, left);
        (chain.read_bytes(FIRST + 1, bytes).map_err(|damage| damage.kind), chain)
    };
    // At the tail, in doubt, and where damage was found.
    let (_, doubting) = history.read(b"{}").unwrap();
    let previous = BlockHash([1; 32]);
    assert_kind!(
        history.damage(&Block { previous, ..history.next(vec![fact()]) }),
        DamageKind::Unlinked { .. }
    );
    for chain in [&history.chain, &doubting] {
        let (reading, chain) = goes_on(chain, &begin.seal().bytes);
        assert!(matches!(reading, Ok(Reading::Valid(_))), "{reading:?}");
        assert!(chain.is_open() && chain.doubt.is_none());
        assert_eq!((chain.generation, chain.number, chain.epoch), (2, 5, 2));
    }
    let mut fresh = Chain::beginning_with(2);
    assert!(matches!(fresh.read_bytes(FIRST, &begin.seal().bytes), Ok(Reading::Valid(_))));
    // Who has not come so far reads on, who has come further refuses.
    assert!(!before.chain.clone().goes_on_in(&begin).unwrap());
    let mut beyond = history.clone();
    beyond.write(&beyond.next(vec![fact()]));
    let beyond = beyond.chain.goes_on_in(&begin).unwrap_err();
    assert_kind!(beyond.kind, DamageKind::RebuiltWithout { behind: 4, read: 5, .. });
    let mut elsewhere = before;
    elsewhere.write(&elsewhere.next(vec![fact(), fact()]));
    let elsewhere = elsewhere.chain.goes_on_in(&begin).unwrap_err();
    assert_kind!(elsewhere.kind, DamageKind::RebuiltWithout { behind: 4, read: 4, .. });
    // No other block begins there, and no other begin leaves a generation.
    let other = |change: &dyn Fn(&mut Block)| {
        let mut block = begin.clone();
        change(&mut block);
        let (reading, _) = goes_on(&history.chain, &block.seal().bytes);
        assert!(matches!(reading, Err(DamageKind::NotRebuiltFrom { .. })), "{reading:?}");
    };
    other(&|block| block.epoch += 1);
    other(&|block| block.number -= 1);
    other(&|block| block.entries = vec![part(0, 1)]);
    let unmarked = Entry::Genesis(Genesis { rebuilt: None, ..genesis });
    let unmarked = Block { entries: vec![unmarked, part(0, 1)], ..begin.clone() };
    assert!(!history.chain.clone().goes_on_in(&unmarked).unwrap());
    let third = Block { generation: 3, ..begin.clone() };
    assert!(!history.chain.clone().goes_on_in(&third).unwrap());
    let of_another = Block { ledger: OTHER, ..begin.clone() };
    assert!(!history.chain.clone().goes_on_in(&of_another).unwrap());
    history.seal();
    assert!(!history.chain.goes_on_in(&begin).unwrap());
}

/// Who begins with a later generation passes over what stands before its genesis.
#[test]
fn a_reader_begins_behind_foreign_messages() {
    let mut history = History::new();
    let (_, of_the_first) = history.blocks[2].clone();
    history.seal();
    let begin = history.begin(1);
    history.write(&begin);
    let bytes = begin.seal().bytes;
    let mut chain = Chain::beginning_with(2);
    for (seq, foreign) in (FIRST..).zip([&b"{}"[..], &of_the_first, &changed(bytes.clone())]) {
        let reading = chain.read_bytes(seq, foreign).unwrap();
        assert!(matches!(reading, Reading::Foreign(_)), "{reading:?}");
        assert_eq!(chain, Chain::beginning_with(2));
    }
    assert!(matches!(chain.read_bytes(FIRST + 3, &bytes), Ok(Reading::Valid(_))));
    assert_eq!((chain.number, chain.hash), (history.chain.number, history.chain.hash));
    let mut third = Chain::beginning_with(3);
    let reading = third.read_bytes(FIRST, &bytes).unwrap();
    let of_the_second = Alien::Generation(2);
    assert!(matches!(reading, Reading::Foreign(found) if found.why == of_the_second));
}

/// What somebody puts onto the ledger.
#[derive(Debug, Clone)]
enum Junk {
    Bytes(Vec<u8>),
    /// A block of the history up to there, again.
    Copy(Index),
    /// One with a byte changed, or without its end.
    Changed(Index, Index),
    Cut(Index, Index),
    /// The last one, of another ledger, or of this epoch.
    OtherLedger,
    Forged(u64),
}

fn junk() -> impl Strategy<Value = Junk> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(Junk::Bytes),
        any::<Index>().prop_map(Junk::Copy),
        any::<(Index, Index)>().prop_map(|(block, at)| Junk::Changed(block, at)),
        any::<(Index, Index)>().prop_map(|(block, at)| Junk::Cut(block, at)),
        Just(Junk::OtherLedger),
        prop_oneof![0..5_u64, any::<u64>()].prop_map(Junk::Forged),
    ]
}

impl Junk {
    /// As bytes, among what was written up to there.
    fn bytes(&self, written: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let (_, last) = written.last().unwrap();
        let (last, _) = Block::open(last).unwrap();
        let of = |index: &Index| index.get(written).1.clone();
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Copy(which) => of(which),
            Self::Changed(which, at) => {
                let mut bytes = of(which);
                let at = at.index(bytes.len());
                bytes[at] ^= 0x55;
                bytes
            }
            Self::Cut(which, at) => {
                let mut bytes = of(which);
                bytes.truncate(at.index(bytes.len()));
                bytes
            }
            Self::OtherLedger => Block { ledger: OTHER, ..last }.seal().bytes,
            Self::Forged(epoch) => {
                let writer = WriterNonce([0xff; 16]);
                Block { epoch: *epoch, writer, entries: vec![fact()], ..last }.seal().bytes
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// With foreign messages anywhere a reader takes the same blocks, and tells how
    /// many others there were.
    #[test]
    fn foreign_messages_change_nothing(
        steps in proptest::collection::vec((0..3_u8, proptest::collection::vec(junk(), 0..3)), 1..12),
    ) {
        let mut history = History::new();
        let mut reader = history.chain.clone();
        let mut fresh = Chain::new();
        for (seq, bytes) in &history.blocks {
            fresh.read_bytes(*seq, bytes).unwrap();
        }
        let mut passed = 0;
        for (writer, junk) in steps {
            let before = reader.clone();
            let mut foreign = 0;
            for junk in junk {
                let bytes = junk.bytes(&history.blocks);
                match reader.read_bytes(reader.seq + 1, &bytes).unwrap() {
                    Reading::Foreign(_) => foreign += 1,
                    Reading::Void => {}
                    Reading::Valid(block) => prop_assert!(false, "{block:?}"),
                }
                passed += 1;
                prop_assert_eq!(reader.doubt.map_or(0, |doubt| doubt.messages), foreign);
                prop_assert_eq!(reader.hash, before.hash);
                if foreign > 0 {
                    prop_assert!(reader.position().seq < reader.seq);
                }
            }
            let block = if writer == 0 { history.by(reader.seq as u8) } else { history.next(vec![fact()]) };
            history.write(&block);
            let reading = reader.read_bytes(reader.seq + 1, &block.seal().bytes).unwrap();
            prop_assert_eq!(reading, Reading::Valid(block));
            prop_assert_eq!(reader.seq, history.chain.seq + passed);
            let same = Chain { seq: history.chain.seq, valid_seq: history.chain.valid_seq, ..reader.clone() };
            prop_assert_eq!(&same, &history.chain);
        }
    }
}
