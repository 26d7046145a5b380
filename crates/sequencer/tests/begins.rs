//! Who writes what a generation begins with: whoever holds the whole state, and
//! nobody else.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use bytes::Bytes;
use giliran_allocator::StateMachine;
use giliran_sequencer::{Appended, Continuation, Effect, Now, ReadOutcome, Sequencer, StopReason};
use giliran_testkit::{self as testkit, LEDGER, genesis_block, opening};
use giliran_wire::{Timestamp, WriterNonce};

const NOW: Now = Now { wall: Timestamp::from_millis(1_000), mono_ms: 1_000 };
/// Where the second generation's stream begins.
const FIRST: u64 = 1_000;
const NEXT: Continuation = Continuation { first: Some(FIRST), part_bytes: 100 };

fn genesis() -> Bytes {
    genesis_block(LEDGER, Timestamp::from_millis(1)).seal().bytes.into()
}

fn take_over(state: StateMachine, writer: u8) -> Sequencer<u64> {
    let writer = WriterNonce([writer; 16]);
    Sequencer::take_over(state, writer, testkit::take_over(), Box::new(|| 7), NEXT, NOW)
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
    let mut state = StateMachine::new();
    state.fold(1, &genesis()).unwrap();
    let mut first = take_over(state, 1);
    let mut stream = BTreeMap::from([(1, genesis())]);
    run(&mut first, &mut stream);
    first.record_openings(vec![opening(&[9])], NOW);
    run(&mut first, &mut stream);
    first.roll("next".into(), FIRST, None, NOW);
    let (begin, _) = run(&mut first, &mut stream);
    assert!(begin.len() > 2, "{} parts", begin.len());
    for read in 1..begin.len() {
        let mut state = StateMachine::beginning_with(2);
        for (seq, bytes) in (FIRST..).zip(&begin[..read]) {
            state.fold(seq, bytes).unwrap();
        }
        let (written, end) = run(&mut take_over(state, 2), &mut stream.clone());
        assert!(matches!(end, Some(StopReason::Damaged(_))), "{end:?}");
        assert_eq!(written.len(), 0, "after {read} of {} parts", begin.len());
    }
    let mut state = StateMachine::beginning_with(2);
    for (seq, bytes) in (FIRST..).zip(&begin) {
        state.fold(seq, bytes).unwrap();
    }
    let mut second = take_over(state, 2);
    assert_eq!(run(&mut second, &mut stream).0.len(), 1, "its take-over");
    assert!(second.is_active());
}
