//! Who writes what a generation begins with: whoever holds the whole state, and
//! nobody else.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use bytes::Bytes;
use giliran_allocator::StateMachine;
use giliran_sequencer::{Appended, Continuation, Effect, Now, ReadOutcome, Sequencer, StopReason};
use giliran_wire::ledger::{
    Block, BookableUntil, Entry, FORMAT, Genesis, Leftovers, Office, OpeningRecord, Order,
    ReturnRule, Rules, Session, Slot, TakeOver,
};
use giliran_wire::{BlockHash, KeyFingerprint, LedgerId, Timestamp, WriterNonce};

const NOW: Now = Now { wall: Timestamp::from_millis(1_000), mono_ms: 1_000 };
/// Where the second generation's stream begins.
const FIRST: u64 = 1_000;
const NEXT: Continuation = Continuation { first: Some(FIRST), part_bytes: 100 };

fn opening() -> OpeningRecord {
    let session =
        Session { id: "s".into(), label: String::new(), restricted: false, explicit: false };
    OpeningRecord {
        ordinal: 0,
        id: "w".into(),
        timezone: "UTC".into(),
        opens_at: Timestamp::from_millis(0),
        closes_at: Timestamp::from_millis(i64::MAX / 4),
        rules: Rules {
            order: Order::FirstCome,
            max_party: 5,
            max_per_account: None,
            hold_ms: None,
            cancelled: ReturnRule::Immediate,
            expired: ReturnRule::Immediate,
            across_openings: false,
            max_changes: u16::MAX,
            bookable_until: BookableUntil::DayBegins,
            max_bookings: u16::MAX,
            leftovers: Leftovers::None,
        },
        offices: vec![Office { id: "o".into(), name: String::new(), sessions: vec![session] }],
        slots: vec![Slot {
            office: 0,
            session: 0,
            date: "2026-12-01".parse().unwrap(),
            quota: 9,
            bookable_until: Timestamp::LATEST,
        }],
    }
}

fn genesis() -> Bytes {
    let genesis = Genesis {
        prefix: "giliran.v1".into(),
        applicant_key: KeyFingerprint([0; 16]),
        release: "0".into(),
        continues: None,
        rebuilt: None,
    };
    let block = Block {
        format: FORMAT,
        ledger: LedgerId([1; 16]),
        generation: 1,
        number: 1,
        epoch: 0,
        writer: WriterNonce([0; 16]),
        time: Timestamp::from_millis(1),
        previous: BlockHash::ZERO,
        entries: vec![Entry::Genesis(genesis)],
    };
    block.seal().bytes.into()
}

fn take_over(keeper: StateMachine, writer: u8) -> Sequencer<u64> {
    let take_over = TakeOver { engine: "t".into(), release: "0".into(), forced: None };
    let writer = WriterNonce([writer; 16]);
    Sequencer::take_over(keeper, writer, take_over, Box::new(|| 7), NEXT, NOW)
}

/// Stores every block at once, in this stream; those of the second generation, and why
/// it ended.
fn run(
    sequencer: &mut Sequencer<u64>,
    stream: &mut BTreeMap<u64, Bytes>,
) -> (Vec<Bytes>, Option<StopReason>) {
    let (mut second, mut end) = (Vec::new(), None);
    loop {
        let effects = sequencer.effects();
        if effects.is_empty() {
            return (second, end);
        }
        for effect in effects {
            match effect {
                Effect::Append { attempt, generation, expected_last, bytes } => {
                    second.extend((generation == 2).then_some(bytes.clone()));
                    stream.insert(expected_last + 1, bytes);
                    let stored = Appended::Stored { seq: expected_last + 1 };
                    sequencer.appended(attempt, stored, NOW);
                }
                Effect::Read { attempt, seq, .. } => {
                    sequencer.read(attempt, &ReadOutcome::Found(stream[&seq].clone()), NOW);
                }
                Effect::Idle(why) => end = Some(why),
                _ => {}
            }
        }
    }
}

/// A stream that lost its tail while a reader began with it leaves that reader with
/// some parts of the state. From there it must not go on to write.
#[test]
fn a_part_of_the_state_begins_nothing() {
    let mut keeper = StateMachine::new();
    keeper.fold(1, &genesis()).unwrap();
    let mut first = take_over(keeper, 1);
    let mut stream = BTreeMap::from([(1, genesis())]);
    run(&mut first, &mut stream);
    first.record_openings(vec![opening()], NOW);
    run(&mut first, &mut stream);
    first.roll("next".into(), FIRST, None, NOW);
    let (begin, _) = run(&mut first, &mut stream);
    assert!(begin.len() > 2, "{} parts", begin.len());
    for read in 1..begin.len() {
        let mut keeper = StateMachine::beginning_with(2);
        for (seq, bytes) in (FIRST..).zip(&begin[..read]) {
            keeper.fold(seq, bytes).unwrap();
        }
        let (written, end) = run(&mut take_over(keeper, 2), &mut stream.clone());
        assert!(matches!(end, Some(StopReason::Damaged(_))), "{end:?}");
        assert_eq!(written.len(), 0, "after {read} of {} parts", begin.len());
    }
    let mut keeper = StateMachine::beginning_with(2);
    for (seq, bytes) in (FIRST..).zip(&begin) {
        keeper.fold(seq, bytes).unwrap();
    }
    let mut second = take_over(keeper, 2);
    assert_eq!(run(&mut second, &mut stream).0.len(), 1, "its take-over");
    assert!(second.is_active());
}
