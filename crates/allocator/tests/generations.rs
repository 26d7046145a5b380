//! From one generation to the next: whoever reads across the seal and whoever
//! begins behind it hold the same state, and nothing else may stand there.
//!
//! Seen to fail: a seal that is not compared with the fold; parts in any order; a
//! fact before the last part; a begin by another writer; a block behind the seal
//! that counts.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use giliran_allocator::{BookingRequest, Decision, Folded, Numbered, Settled, StateMachine};
use giliran_testkit::{LEDGER, LiveLedger, next_block, office, opening, person, request, slot};
use giliran_wire::ledger::{
    Alien, Block, Cancel, CancelCause, DamageKind, Entry, Genesis, Grant, OpeningRecord, Rebuilt,
    ReturnRule, Seal, SnapshotPart,
};
use giliran_wire::request::Choice;
use giliran_wire::snapshot::{Piece, Until, Unusable};
use giliran_wire::{BlockHash, Pseudonym, Text, Timestamp, WriterNonce};

const NOW: Timestamp = LiveLedger::NOW;

/// Where the second generation's stream begins.
const FIRST: u64 = 1_000;
const PART_BYTES: usize = 512;

/// An opening with bookings, one of them given back.
fn ledger() -> Rolling {
    // Written out, as its state is frozen below.
    let slots = [0, 1].map(|session| slot(0, session, "2026-11-30", 40));
    let mut record = OpeningRecord {
        timezone: "Asia/Jakarta".into(),
        closes_at: NOW.plus_millis(3_600_000),
        offices: vec![office("batam", &["s0", "s1"])],
        slots: slots.into(),
        ..opening(&[])
    };
    record.rules.cancelled = ReturnRule::At { minutes: vec![7 * 60] };
    let mut ledger = Rolling(LiveLedger::with(vec![record]));
    let mut ids = Vec::new();
    for i in 0..30 {
        let grant = ledger.grant(i, (i % 2) as u32);
        ids.push(grant.booking);
        ledger.append(vec![Entry::Grant(grant)]);
    }
    ledger.append(vec![Entry::Cancel(Cancel {
        booking: ids[3],
        request_id: "x".into(),
        seats: Vec::new(),
        cause: CancelCause::Applicant,
        release_at: None,
        reason: None,
        refund_due: false,
    })]);
    ledger
}

fn asks(who: Pseudonym, slot: u32, use_it: impl FnOnce(&BookingRequest<'_>)) {
    let session = Some(Text::from(format!("s{slot}")));
    let choices = [Choice { office: Text::from("batam"), date: None, session }];
    use_it(&request("r", &[who], &choices));
}

/// A ledger with its later generations.
struct Rolling(LiveLedger);

impl std::ops::Deref for Rolling {
    type Target = LiveLedger;

    fn deref(&self) -> &LiveLedger {
        &self.0
    }
}

impl std::ops::DerefMut for Rolling {
    fn deref_mut(&mut self) -> &mut LiveLedger {
        &mut self.0
    }
}

impl Rolling {
    /// A grant with its id and its queue numbers, as a block takes it.
    fn grant(&mut self, who: u64, slot: u32) -> Grant {
        let mut grant = None;
        let allocator = Arc::clone(self.state.allocator());
        asks(person(who), slot, |ask| match allocator.decide(ask, NOW) {
            Decision::Granted(granted) => grant = Some(granted),
            other => panic!("{other:?}"),
        });
        let mut grant = grant.unwrap();
        assert_eq!(self.state.assign_numbers(&mut grant, NOW, u128::from(who) + 1), Numbered::Done);
        grant.enter().as_grant().to_owned()
    }

    fn next(&self, generation: u32, entries: Vec<Entry>) -> Block {
        Block { generation, ..next_block(self.state.chain(), entries) }
    }

    fn seal(&self, snapshot: BlockHash) -> Block {
        let next = "next".to_owned();
        self.next(1, vec![Entry::Seal(Seal { ledger: LEDGER, next, snapshot, ordered: None })])
    }

    fn commit_at(&mut self, seq: u64, block: Block) -> Vec<u8> {
        let sealed = block.seal();
        self.state.commit(seq, block, sealed.hash).unwrap();
        sealed.bytes
    }

    /// The begin of generation 2, written behind a seal.
    fn roll(&mut self) -> Vec<Vec<u8>> {
        let mut parts = self.state.parts(PART_BYTES);
        let seal = self.seal(parts.state());
        let seq = self.blocks.len() as u64 + 1;
        let bytes = self.commit_at(seq, seal);
        self.blocks.push(bytes);
        let genesis = self.state.genesis().unwrap().clone();
        let continues = Some(self.state.chain().hash);
        let mut entries = vec![Entry::Genesis(Genesis { continues, ..genesis })];
        let mut begin = Vec::new();
        while let Some(part) = parts.next(&self.state) {
            entries.push(Entry::Snapshot(part));
            let block = self.next(2, std::mem::take(&mut entries));
            begin.push(self.commit_at(FIRST + begin.len() as u64, block));
        }
        begin
    }
}

/// Folds blocks from a sequence on.
fn fold(state: &mut StateMachine, from: u64, blocks: &[Vec<u8>]) {
    for (seq, bytes) in (from..).zip(blocks) {
        assert!(matches!(state.fold(seq, bytes).unwrap(), Folded::Applied(_)), "{seq}");
    }
}

#[test]
fn three_ways_to_one_state() {
    let mut ledger = ledger();
    let begin = ledger.roll();
    assert!(begin.len() > 5, "{} parts", begin.len());
    let mut across = ledger.replayed();
    assert!(across.chain().is_sealed());
    fold(&mut across, FIRST, &begin);
    let mut behind = StateMachine::beginning_with(2);
    fold(&mut behind, FIRST, &begin);
    let live = &mut ledger.state;
    for state in [&across, &behind] {
        assert!(state.chain().is_open());
        assert_eq!(state.chain(), live.chain());
        assert_eq!(state.state_hash(), live.state_hash());
        assert_eq!(state.parts(64).state(), live.parts(PART_BYTES).state());
        assert_eq!(state.changes(), 31);
        let again = |ask: &BookingRequest<'_>| {
            let decided = state.allocator().decide(ask, NOW);
            assert!(matches!(decided, Decision::Settled(Settled::Repeat(..))), "{decided:?}");
        };
        asks(person(7), 1, again);
        asks(person(3), 1, again);
    }
    // The next facts follow for all.
    let seq = FIRST + begin.len() as u64;
    let grant = ledger.grant(99, 1);
    let block = ledger.next(2, vec![Entry::Grant(grant)]);
    let bytes = ledger.commit_at(seq, block);
    for state in [&mut across, &mut behind] {
        state.fold(seq, &bytes).unwrap();
        assert_eq!(state.state_hash(), ledger.state.state_hash());
    }
}

/// A generation is rebuilt from what stands before a damaged block: who has read up to
/// there, who begins with it, and who wrote it hold the same state. That it was sealed
/// once before does not matter.
#[test]
fn a_rebuilt_generation_begins_with_the_fold_of_the_one_before() {
    let mut ledger = ledger();
    let second = ledger.roll();
    let mut reader = ledger.replayed();
    fold(&mut reader, FIRST, &second);
    let seq = FIRST + second.len() as u64;
    let grant = ledger.grant(99, 1);
    let block = ledger.next(2, vec![Entry::Grant(grant)]);
    let last = ledger.commit_at(seq, block);
    reader.fold(seq, &last).unwrap();
    let begins_with = |state: BlockHash| {
        let rebuilt = Rebuilt { operator: "o".into(), reason: "r".into(), damaged_at: seq + 1 };
        let continues = Some(ledger.state.chain().hash);
        let genesis = ledger.state.genesis().unwrap().clone();
        let genesis = Genesis { continues, rebuilt: Some(rebuilt), ..genesis };
        let mut parts = ledger.state.parts(1 << 20);
        let part = parts.next(&ledger.state).unwrap();
        assert!(parts.next(&ledger.state).is_none());
        let entries =
            vec![Entry::Genesis(genesis), Entry::Snapshot(SnapshotPart { state, ..part })];
        let (epoch, writer) = (ledger.state.chain().epoch + 1, WriterNonce([9; 16]));
        Block { epoch, writer, ..ledger.next(3, entries) }
    };
    let begin = begins_with(ledger.state.parts(1 << 20).state());
    let bytes = begin.seal().bytes;
    assert!(reader.goes_on_in(&begin).unwrap());
    let mut behind = StateMachine::beginning_with(3);
    for state in [&mut reader, &mut behind] {
        fold(state, 2 * FIRST, std::slice::from_ref(&bytes));
        assert_eq!(state.state_hash(), ledger.state.state_hash());
        assert_eq!((state.chain().generation, state.chain().is_open()), (3, true));
    }
    let begin = begins_with(BlockHash([7; 32]));
    let mut reader = ledger.replayed();
    fold(&mut reader, FIRST, &second);
    reader.fold(seq, &last).unwrap();
    assert!(reader.goes_on_in(&begin).unwrap());
    let why = reader.fold(2 * FIRST, &begin.seal().bytes).unwrap_err();
    assert!(matches!(why.kind, DamageKind::SnapshotOfOtherState), "{why}");
}

/// The time zone database says when a draw is: who has another one, or a later one,
/// folds the same state nevertheless.
#[test]
fn a_state_says_nothing_that_is_computed_from_a_calendar() {
    let mut ledger = ledger();
    let back = ledger.state.chain().time;
    let mut withheld = Vec::new();
    let mut take = |piece: &Piece| {
        if let Piece::Opening(opening) = piece {
            withheld.extend(opening.slots.iter().flat_map(|slot| slot.withheld.clone()));
        }
        Ok::<_, ()>(())
    };
    ledger.state.snapshot(&mut take).unwrap();
    let until: Vec<Until> = withheld.iter().map(|withheld| withheld.until).collect();
    assert_eq!(until, [Until::Draw { since: back, expired: false }]);
    // Who begins with it knows when the draw is.
    let begin = ledger.roll();
    let mut behind = StateMachine::beginning_with(2);
    fold(&mut behind, FIRST, &begin);
    assert_eq!(behind.next_return(), ledger.state.next_return());
    assert!(behind.next_return().is_some_and(|at| at > back));
}

/// The bytes of a state are in every seal: a release that writes others, or cuts
/// them otherwise, takes each older seal for damage, and cannot complete a begin
/// of another release.
///
/// Before the first release nobody has such a seal: `FORMAT` and `BINARY_VERSION` stay;
/// count up `SCHEMA` and `MAGIC` where tables and pieces change; put the new hash here.
/// Once there are releases, such a change needs a version in the state first.
#[test]
fn the_bytes_of_a_state_are_frozen() {
    let state = ledger().state.parts(PART_BYTES).state().to_string();
    assert_eq!(
        state, "e23de7454e832e09574a2f1d0b828e067c55d7a161993a14304cbdc57ba6cf49",
        "the bytes of a state have changed; the head of this test says what to do"
    );
    assert_eq!(giliran_wire::snapshot::PART_BYTES, 480 * 1024);
}

#[test]
fn nothing_counts_behind_a_seal() {
    let mut ledger = ledger();
    let late = ledger.next(1, vec![Entry::Closed { opening: 0 }]);
    let begin = ledger.roll();
    let mut state = ledger.replayed();
    let at = state.chain().clone();
    let late = Block { previous: at.hash, ..late }.seal().bytes;
    assert!(matches!(state.fold(at.seq + 1, &late).unwrap(), Folded::Void));
    assert_eq!(*state.chain(), at);
    fold(&mut state, FIRST, &begin);
}

#[test]
fn another_state_than_the_folds_is_damage() {
    let mut ledger = ledger();
    let seal = ledger.seal(BlockHash([9; 32])).seal().bytes;
    let mut state = ledger.replayed();
    let seq = ledger.blocks.len() as u64 + 1;
    let error = state.fold(seq, &seal).unwrap_err();
    assert!(matches!(error.kind, DamageKind::SealedOtherState), "{error}");

    // Parts that are not what their hash says, for one who begins with them.
    let begin = ledger.roll();
    let mut state = StateMachine::beginning_with(2);
    let mut previous = BlockHash::ZERO;
    let mut last = None;
    for (seq, bytes) in (FIRST..).zip(&begin) {
        let (mut block, _) = Block::open(bytes).unwrap();
        if seq > FIRST {
            block.previous = previous;
        }
        for entry in &mut block.entries {
            if let Entry::Snapshot(SnapshotPart { state, .. }) = entry {
                *state = BlockHash([1; 32]);
            }
        }
        let sealed = block.seal();
        previous = sealed.hash;
        last = Some(state.fold(seq, &sealed.bytes));
    }
    let error = last.unwrap().unwrap_err();
    assert!(matches!(&error.kind, DamageKind::Snapshot(Unusable::OtherState)), "{error}");
}

#[test]
fn a_begin_is_the_sealing_writers_and_whole() {
    let mut ledger = ledger();
    let begin = ledger.roll();
    let (first, _) = Block::open(&begin[0]).unwrap();
    let (second, _) = Block::open(&begin[1]).unwrap();
    let refused = |block: &Block, read: usize| {
        let mut state = ledger.replayed();
        fold(&mut state, FIRST, &begin[..read]);
        let before = state.chain().clone();
        let error = state.fold(FIRST + read as u64, &block.seal().bytes).unwrap_err();
        assert_eq!(*state.chain(), before);
        error
    };
    let foreign = |block: Block, expected: Alien| {
        let mut state = ledger.replayed();
        let before = state.chain().clone();
        let folded = state.fold(FIRST, &block.seal().bytes).unwrap();
        assert!(matches!(folded, Folded::Foreign(found) if found.why == expected), "{folded:?}");
        assert_eq!(*state.chain(), before, "nothing counts between a seal and a begin");
        fold(&mut state, FIRST + 1, &begin);
        assert!(state.chain().is_open());
    };
    let other = WriterNonce([8; 16]);
    foreign(Block { writer: other, ..first.clone() }, Alien::Writer { epoch: 1 });
    foreign(Block { epoch: 9, ..first.clone() }, Alien::Writer { epoch: 9 });
    foreign(Block { generation: 3, ..first.clone() }, Alien::Generation(3));
    let why = refused(&Block { entries: vec![Entry::Closed { opening: 0 }], ..first }, 0);
    assert!(matches!(why.kind, DamageKind::SealNotContinued { .. }), "{why}");
    let fact = vec![Entry::Closed { opening: 0 }];
    let mut skipped = second.clone();
    let why = refused(&Block { entries: fact, ..second }, 1);
    assert!(matches!(why.kind, DamageKind::BeforeSnapshot { .. }), "{why}");
    if let Entry::Snapshot(part) = &mut skipped.entries[0] {
        part.part += 1;
    }
    let why = refused(&skipped, 1);
    assert!(matches!(why.kind, DamageKind::PartOutOfOrder { expected: 1, .. }), "{why}");
    let mut state = StateMachine::beginning_with(2);
    let why = state.fold(FIRST + 1, &begin[1]).unwrap_err();
    assert!(matches!(why.kind, DamageKind::NotGenesis), "{why}");
}

#[test]
fn a_seal_stands_alone() {
    let ledger = ledger();
    let seq = ledger.blocks.len() as u64 + 1;
    let seal = ledger.seal(ledger.state.parts(PART_BYTES).state());
    let with = |entry: Entry| {
        let mut block = seal.clone();
        block.entries.insert(0, entry);
        let mut state = ledger.replayed();
        state.fold(seq, &block.seal().bytes).unwrap_err()
    };
    let why = with(Entry::Closed { opening: 0 });
    assert!(matches!(why.kind, DamageKind::SealMisplaced), "{why}");
    let part = SnapshotPart { part: 0, parts: 1, state: BlockHash::ZERO, bytes: Vec::new() };
    let why = with(Entry::Snapshot(part));
    assert!(matches!(why.kind, DamageKind::SnapshotMisplaced), "{why}");
    let mut state = ledger.replayed();
    let late = Block { time: seal.time.plus_millis(1), ..seal.clone() };
    let why = state.fold(seq, &late.seal().bytes).unwrap_err();
    assert!(matches!(why.kind, DamageKind::SealTime { .. }), "{why}");
    assert!(matches!(state.fold(seq, &seal.seal().bytes).unwrap(), Folded::Applied(_)));
}
