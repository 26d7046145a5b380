//! What the sequencer makes of a ledger that is not as it left it: void and foreign
//! messages in its block's place, outcomes of another epoch, blocks that are gone or
//! rewritten; and who waits for how long where nothing comes back.
//!
//! Seen to fail: a place that is not passed over, or passed over without a look at
//! the block before it; a tail that is believed lost at the first look, or never; a
//! commit on another ledger's number; numbers of attempts that begin anew; somebody
//! who waits for ever, or whose places are not given back.

#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use giliran_allocator::{BookingRequest, ChangeKind, ChangeRequest, Folded, StateMachine};
use giliran_sequencer::{
    AdminCommand, AdminOp, Appended, Continuation, Effect, LOST_AFTER_MS, Lost, MAX_PARKED_MS, Now,
    Outcome, ReadOutcome, Sequencer, StopReason, TRUST_MS,
};
use giliran_testkit::{
    BEGIN, SequencerHarness, TICK_MS, folded, next_block, opening, person, request, rules,
    take_over,
};
use giliran_wire::ledger::{Block, Entry, OpeningRecord, Order, Rules, Signed};
use giliran_wire::request::Choice;
use giliran_wire::{BookingId, LedgerId, Text, Timestamp, WriterNonce};

const QUOTA: u16 = 9;
/// Blocks there are once the opening is open.
const OPEN: usize = 4;

/// An active engine with an opening that is open, whose ground may give way.
fn bench(order: Order) -> SequencerHarness {
    let mut bench = SequencerHarness { may_end: true, ..SequencerHarness::new() };
    bench.record(vec![OpeningRecord {
        closes_at: Timestamp::from_millis(BEGIN + 3_600_000),
        rules: Rules { order, ..rules() },
        ..opening(&[QUOTA])
    }]);
    assert!(bench.sequencer.is_active());
    bench
}

/// A candidate of this writer that has read this stream.
fn on(stream: Vec<Bytes>, writer: u8) -> SequencerHarness {
    let now = Now { wall: Timestamp::from_millis(BEGIN), mono_ms: 1_000_000 };
    of(folded(&stream), stream, writer, now)
}

/// A candidate that has read this state from a stream that may be another by now.
fn of(state: StateMachine, stream: Vec<Bytes>, writer: u8, now: Now) -> SequencerHarness {
    SequencerHarness { may_end: true, ..SequencerHarness::of(state, stream, writer, now) }
}

/// Asks for a place.
fn ask(bench: &mut SequencerHarness, who: u64) {
    let (applicants, name) = ([person(who)], format!("r{who}"));
    let choices = [Choice { office: Text::from("o"), date: None, session: None }];
    bench.ask(who, &request(&name, &applicants, &choices));
    // As every group of requests is handed on.
    bench.sequencer.submit_grants([], [], bench.now);
}

/// Free places, and durably free ones.
fn free(bench: &SequencerHarness) -> (i32, i32) {
    let openings = bench.sequencer.allocator().openings();
    let opening = openings.first().unwrap();
    (opening.free(0), opening.durably_free(0))
}

/// The next block of another writer, of its epoch.
fn of_another(bench: &SequencerHarness, epoch: u64, entries: Vec<Entry>) -> Block {
    let writer = WriterNonce([9; 16]);
    Block { epoch, writer, ..next_block(bench.sequencer.state().chain(), entries) }
}

/// A deposed writer's block stands where the next one was to go.
#[test]
fn a_void_block_in_its_place_is_passed_over() {
    let mut bench = bench(Order::FirstCome);
    let void = of_another(&bench, 0, vec![Entry::Closed { opening: 0 }]);
    bench.stream.push(void.seal().bytes.into());
    ask(&mut bench, 1);
    bench.run();
    assert!(bench.is_granted(1) && bench.end.is_none());
    assert_eq!((bench.stream.len(), bench.foreign), (OPEN + 2, 0));
    let state = bench.replayed();
    assert_eq!(state.chain(), bench.sequencer.state().chain());
    assert_eq!(state.state_hash(), bench.sequencer.state().state_hash());
}

/// So do messages that no writer wrote: no block, copies, blocks of another ledger and
/// of a writer that has not taken over.
#[test]
fn foreign_messages_in_its_place_are_passed_over_and_told_of() {
    let mut bench = bench(Order::FirstCome);
    let other = of_another(&bench, 0, Vec::new());
    let other = Block { ledger: LedgerId([2; 16]), ..other };
    let unknown = of_another(&bench, 2, vec![Entry::Closed { opening: 0 }]);
    bench.stream.extend([Bytes::from("{}"), bench.stream[2].clone()]);
    bench.stream.extend([other.seal().bytes.into(), unknown.seal().bytes.into()]);
    ask(&mut bench, 1);
    bench.run();
    assert!(bench.is_granted(1) && bench.end.is_none());
    assert_eq!((bench.stream.len(), bench.foreign), (OPEN + 5, 4));
    // A candidate goes behind them as well.
    bench.stream.push("{}".into());
    let mut second = on(bench.stream.clone(), 2);
    assert!(second.sequencer.state().chain().doubt.is_some());
    second.stream.push("{}".into());
    second.run();
    assert!(second.sequencer.is_active());
    assert_eq!((second.stream.len(), second.foreign), (OPEN + 8, 1));
    assert_eq!(second.replayed().chain().doubt, None);
}

#[test]
fn whoever_took_over_properly_deposes() {
    let mut bench = bench(Order::FirstCome);
    let taken = of_another(&bench, 2, vec![Entry::TakeOver(take_over())]);
    bench.stream.push(taken.seal().bytes.into());
    ask(&mut bench, 1);
    bench.run();
    assert!(matches!(bench.end, Some(StopReason::Deposed)), "{:?}", bench.end);
    assert!(bench.answers.is_empty());
    assert_eq!(free(&bench), (QUOTA.into(), QUOTA.into()));
}

/// What an earlier epoch left under way reaches a later one of the same engine, with
/// the outcomes of its own attempts: none of them counts.
#[test]
fn outcomes_of_another_term_do_not_count() {
    let mut bench = bench(Order::FirstCome);
    // The first term's last append, and the read of its place, are late.
    ask(&mut bench, 1);
    let effects = bench.sequencer.effects();
    let Some(Effect::Append { attempt: first, bytes, .. }) = effects.into_iter().next() else {
        panic!("no append")
    };
    bench.sequencer.retire();
    let state = bench.sequencer.into_state();
    let mut second = of(state, bench.stream, 2, bench.now);
    let mut attempts = Vec::new();
    // The take-over, and what comes after it: as many attempts as the first had.
    for _ in 0..8 {
        for effect in second.sequencer.effects() {
            match effect {
                Effect::Append { attempt, expected_last, bytes, .. } => {
                    attempts.push(attempt);
                    second.sequencer.appended(first, Appended::WrongLastSequence, second.now);
                    second.sequencer.read(first, &ReadOutcome::Found(bytes.clone()), second.now);
                    second.stream.push(bytes);
                    let stored = Appended::Stored { seq: expected_last + 1 };
                    second.sequencer.appended(attempt, stored, second.now);
                }
                Effect::Read { attempt, seq, .. } => {
                    attempts.push(attempt);
                    second.sequencer.read(first, &ReadOutcome::Found(bytes.clone()), second.now);
                    second.read(attempt, seq);
                }
                Effect::Idle(why) => panic!("{why:?}"),
                _ => {}
            }
        }
        second.now.mono_ms += 1;
        ask(&mut second, 10 + attempts.len() as u64);
    }
    assert!(second.sequencer.is_active() && attempts.len() >= 8, "{attempts:?}");
    assert!(!attempts.contains(&first));
    attempts.dedup();
    assert!(attempts.windows(2).all(|two| two[1].number() == two[0].number().wrapping_add(1)));
}

/// The broker came back without the end of its stream, and nobody has written since.
#[test]
fn a_lost_tail_stops_the_writer_once_it_is_sure() {
    let mut bench = bench(Order::FirstCome);
    ask(&mut bench, 1);
    bench.run();
    bench.stream.truncate(OPEN);
    ask(&mut bench, 2);
    bench.run();
    // A node that lags, or was cut off, says the same for a while.
    bench.wait(MAX_PARKED_MS + 2 * TICK_MS);
    assert!(bench.end.is_none(), "{:?}", bench.end);
    assert_eq!(bench.busy(), [2], "and meanwhile people are told to come back");
    bench.wait(LOST_AFTER_MS);
    let lost = Lost::Tail { generation: 1, known: OPEN as u64 + 1, tail: OPEN as u64 };
    assert!(matches!(bench.end, Some(StopReason::Lost(found)) if found == lost), "{:?}", bench.end);
    assert_eq!(bench.stream.len(), OPEN, "nothing is written on such ground");
    assert_eq!(free(&bench), (i32::from(QUOTA) - 1, i32::from(QUOTA) - 1));
}

#[test]
fn a_tail_that_only_lags_stops_nobody() {
    let mut bench = bench(Order::FirstCome);
    for who in 0..3 {
        let whole = bench.stream.clone();
        ask(&mut bench, who);
        bench.stream.truncate(OPEN - 1);
        bench.run();
        bench.wait(LOST_AFTER_MS * 2 / 3);
        // In between it is seen whole, and again it is not.
        bench.stream.clone_from(&whole);
        bench.refuses = true;
        bench.wait(2_000);
        bench.refuses = false;
        bench.stream.truncate(OPEN - 1);
        bench.wait(LOST_AFTER_MS * 2 / 3);
        bench.stream = whole;
        bench.wait(2_000);
    }
    assert_eq!(bench.busy(), [0, 1, 2], "who waits too long is told to come back");
    assert_eq!(bench.stream.len(), OPEN + 3, "each block comes to its end");
    assert!(bench.end.is_none() && bench.sequencer.is_active(), "{:?}", bench.end);
}

/// Another engine, which read the stream without its end, has written on: exactly as
/// many blocks as were lost, so that the numbers fit, or more.
#[test]
fn a_rewritten_tail_is_noticed_before_anything_is_told() {
    let all = [(true, 0, 0), (false, 0, 0), (true, 0, 1), (false, 0, 2), (true, 1, 2)];
    for (quiet, foreign, more) in all {
        let mut bench = bench(Order::FirstCome);
        (0..foreign).for_each(|_| bench.stream.push("{}".into()));
        ask(&mut bench, 1);
        bench.run();
        let known = bench.stream.len();
        let lost = bench.stream.pop().unwrap();
        bench.stream.truncate(OPEN);
        let mut other = on(bench.stream.clone(), 2);
        other.run();
        for who in 0..more {
            ask(&mut other, who);
            other.run();
        }
        bench.stream = other.stream;
        let written = bench.stream.len();
        assert_eq!(written, OPEN + 1 + more as usize);
        if quiet {
            bench.wait(TRUST_MS + TICK_MS);
        } else {
            // An append without an outcome is in doubt whenever it comes.
            bench.is_silent = true;
        }
        ask(&mut bench, 2);
        bench.run();
        bench.is_silent = false;
        bench.wait(3_000);
        let hash = Block::open(&lost).unwrap().1;
        let expected = Lost::Rewritten { generation: 1, seq: known as u64, known: hash };
        assert!(
            matches!(bench.end, Some(StopReason::Lost(found)) if found == expected),
            "{quiet}, {foreign}, {more}: {:?}",
            bench.end
        );
        let fits = usize::from(quiet && more == 0);
        assert_eq!(bench.stream.len(), written + fits, "more is written on such ground");
        assert!(!bench.is_granted(2));
    }
}

/// A standby that has lived through the loss does not take over.
#[test]
fn nobody_takes_over_a_ledger_that_does_not_hold_its_last_block() {
    let mut bench = bench(Order::FirstCome);
    ask(&mut bench, 1);
    bench.run();
    let state = bench.replayed();
    let mut shorter = bench.stream.clone();
    shorter.pop();
    let mut other = on(shorter.clone(), 2);
    other.run();
    let mut standby = of(state, other.stream.clone(), 3, bench.now);
    standby.run();
    assert!(
        matches!(standby.end, Some(StopReason::Lost(Lost::Rewritten { .. }))),
        "{:?}",
        standby.end
    );
    assert_eq!(standby.stream.len(), other.stream.len(), "not even a take-over");
    let mut standby = of(bench.replayed(), shorter, 3, bench.now);
    standby.wait(2 * LOST_AFTER_MS);
    assert!(matches!(standby.end, Some(StopReason::Lost(Lost::Tail { .. }))), "{:?}", standby.end);
    assert_eq!(standby.stream.len(), OPEN);
    // One that gives up before it has sent anything leaves nothing.
    let mut retired = on(bench.stream.clone(), 4);
    retired.sequencer.retire();
    retired.run();
    assert!(matches!(retired.end, Some(StopReason::Finished)), "{:?}", retired.end);
    assert_eq!(retired.stream.len(), OPEN + 1);
}

/// A look at the last block costs nothing where block follows block.
#[test]
fn the_last_block_is_not_read_back_while_blocks_follow_each_other() {
    let mut bench = bench(Order::FirstCome);
    let before = bench.reads;
    for who in 0..u64::from(QUOTA) {
        ask(&mut bench, who);
        bench.run();
        bench.now.mono_ms += TRUST_MS / 2;
    }
    assert_eq!(bench.reads, before);
    bench.now.mono_ms += TRUST_MS;
    let booking = bench.answers.iter().find_map(|(_, outcome)| match outcome {
        Outcome::Granted(found, _) => Some(found.booking.id),
        _ => None,
    });
    let ask = cancel(booking.unwrap(), 0);
    bench.sequencer.submit_changes([(ask, 100)], bench.now);
    bench.run();
    assert_eq!(bench.reads, before + 1);
    assert!(matches!(bench.answers.last(), Some((100, Outcome::Changed(..)))));
}

fn cancel(booking: BookingId, who: u64) -> ChangeRequest {
    let kind = ChangeKind::Cancel { applicant: person(who) };
    ChangeRequest { request_id: "x".into(), target: Some(booking), kind }
}

fn quota(slot: u32) -> AdminCommand {
    let (operator, reason) = ("o".into(), "r".into());
    AdminCommand {
        opening: 0,
        operator,
        reason,
        act: AdminOp::Quota { slot, quota: QUOTA },
        dry_run: false,
    }
}

/// Whoever waits behind a block that does not come to its end is told to come back:
/// what is in the block, in the queue, parked, a change, an operator's action.
#[test]
fn nobody_waits_for_ever_behind_a_stuck_block() {
    let mut bench = bench(Order::FirstCome);
    ask(&mut bench, 0);
    bench.run();
    let booking = bench.replayed();
    let found = booking.allocator().find(&person(0), "w").unwrap().0.unwrap();
    bench.is_silent = true;
    ask(&mut bench, 1);
    bench.run();
    ask(&mut bench, 2);
    // Waits for the claim of the first of them.
    ask(&mut bench, 1);
    bench.sequencer.submit_changes([(cancel(found.booking.id, 0), 50)], bench.now);
    bench.sequencer.submit_admin(quota(0), 60, bench.now);
    bench.wait(MAX_PARKED_MS - TICK_MS);
    assert!(bench.busy().is_empty());
    bench.wait(2 * TICK_MS);
    assert_eq!(bench.busy(), [1, 1, 2, 50, 60]);
    assert_eq!(free(&bench), (i32::from(QUOTA) - 2, i32::from(QUOTA) - 1), "two is given back");
    // The block comes to its end after all: its grant stands, and is told of nobody.
    bench.is_silent = false;
    bench.answers.clear();
    bench.wait(3_000);
    assert!(bench.answers.is_empty(), "{:?}", bench.answers);
    ask(&mut bench, 1);
    bench.run();
    assert!(matches!(
        &bench.answers[..],
        [(1, Outcome::Settled(giliran_allocator::Settled::Repeat(..)))]
    ));
    ask(&mut bench, 2);
    bench.run();
    assert!(bench.is_granted(2));
    assert_eq!(bench.replayed().state_hash(), bench.sequencer.state().state_hash());
}

/// In rounds, and where people enter a draw, it is the same.
#[test]
fn nobody_waits_for_ever_in_a_round_or_for_a_draw() {
    for order in [Order::Rounds { length_ms: 500 }, Order::Draw] {
        let mut bench = bench(order);
        ask(&mut bench, 0);
        bench.wait(1_000);
        assert!(!bench.answers.is_empty());
        bench.answers.clear();
        bench.is_silent = true;
        ask(&mut bench, 1);
        bench.wait(1_000);
        ask(&mut bench, 2);
        bench.wait(1_000);
        assert!(bench.busy().is_empty());
        bench.wait(MAX_PARKED_MS);
        assert_eq!(bench.busy(), [1, 2], "{order:?}");
        bench.is_silent = false;
        bench.wait(5_000);
        bench.answers.clear();
        for who in [1, 2] {
            ask(&mut bench, who);
        }
        bench.wait(1_000);
        assert!(
            bench.busy().is_empty() && bench.answers.len() == 2,
            "{order:?}: {:?}",
            bench.answers
        );
    }
}

/// Engine time stands still where a clock was ahead at the last take-over: rounds end
/// nevertheless.
#[test]
fn a_round_does_not_wait_for_a_clock_that_was_ahead() {
    const AHEAD_MS: u64 = 50_000;
    let mut first = bench(Order::Rounds { length_ms: 500 });
    first.now.mono_ms += 1_000;
    let right = first.now.wall.plus_millis(1_000);
    let now = Now { wall: right.plus_millis(AHEAD_MS), ..first.now };
    let mut bench = of(first.replayed(), first.stream, 2, now);
    bench.run();
    assert!(bench.sequencer.is_active());
    bench.now.wall = right;
    ask(&mut bench, 1);
    bench.wait(1_000);
    assert!(bench.is_granted(1), "{:?}", bench.answers);
}

/// A decision that nobody carries on gives back what it has taken, wherever it is
/// dropped.
#[test]
fn what_is_dropped_on_the_way_is_given_back() {
    for order in [Order::FirstCome, Order::Draw] {
        let mut bench = bench(order);
        let full = (i32::from(QUOTA), i32::from(QUOTA));
        bench.is_silent = true;
        ask(&mut bench, 1);
        bench.run();
        ask(&mut bench, 2);
        let asked = bench.sequencer.backlog();
        assert_eq!(asked, 1 + usize::from(order == Order::FirstCome), "{order:?}");
        bench.sequencer.retire();
        bench.run();
        // In flight: not known yet.
        assert_eq!(free(&bench).1, full.1);
        let state = bench.sequencer.into_state();
        let mut again = of(state, bench.stream, 2, bench.now);
        again.run();
        assert_eq!(free(&again), full, "{order:?}");
        for who in [1, 2] {
            ask(&mut again, who);
            again.run();
        }
        assert_eq!(again.answers.len(), 2, "{order:?}");
        assert!(again.busy().is_empty(), "{order:?}");
    }
}

/// A candidate completes the begin of a generation first, and its clock jumps meanwhile:
/// what its take-over says is not what the clock says then.
#[test]
fn a_clock_that_jumps_before_the_take_over_is_not_believed() {
    const FIRST: u64 = 1_000;
    let mut bench = bench(Order::FirstCome);
    bench.sequencer.roll("next".into(), FIRST, None, bench.now);
    let effects = bench.sequencer.effects();
    let Some(Effect::Append { bytes, .. }) = effects.into_iter().next() else { panic!("no seal") };
    bench.stream.push(bytes);
    let state = bench.replayed();
    assert!(state.chain().is_sealed());
    let next = Continuation { first: Some(FIRST), ..Continuation::default() };
    let writer = WriterNonce([2; 16]);
    let random = Box::new(|| 7);
    let now = bench.now;
    let mut second: Sequencer<u64> =
        Sequencer::take_over(state, writer, take_over(), random, next, now);
    let mut stored: Vec<Bytes> = Vec::new();
    let late = Now { wall: now.wall.plus_millis(20 * 60_000), mono_ms: now.mono_ms + 10 };
    while !second.is_active() {
        for effect in second.effects() {
            match effect {
                Effect::Append { attempt, expected_last, bytes, .. } => {
                    stored.push(bytes);
                    let outcome = Appended::Stored { seq: expected_last + 1 };
                    second.appended(attempt, outcome, late);
                }
                Effect::Read { attempt, generation: 1, seq } => {
                    let found = ReadOutcome::Found(bench.stream[seq as usize - 1].clone());
                    second.read(attempt, &found, late);
                }
                Effect::Read { attempt, seq, .. } => {
                    let found = ReadOutcome::Found(stored[(seq - FIRST) as usize].clone());
                    second.read(attempt, &found, late);
                }
                Effect::Idle(why) => panic!("{why:?}"),
                _ => {}
            }
        }
    }
    let (taken, _) = Block::open(stored.last().unwrap()).unwrap();
    assert!(matches!(taken.entries[0], Entry::TakeOver(_)));
    assert!(taken.time <= now.wall.plus_millis(10), "{}", taken.time);
}

/// What a round grants and what is staged beside it stand in one block. Whoever waits for
/// either is told of their own, and once; both are counted, whoever was told to come back.
#[test]
fn a_round_and_a_staged_grant_share_a_block() {
    for is_silent in [false, true] {
        let mut bench = bench(Order::Rounds { length_ms: 500 });
        bench.record(vec![OpeningRecord {
            id: "v".into(),
            closes_at: Timestamp::from_millis(BEGIN + 3_600_000),
            ..opening(&[QUOTA])
        }]);
        bench.tick(1);
        let ask = |bench: &mut SequencerHarness, who: u64, opening| {
            let (applicants, name) = ([person(who)], format!("r{who}"));
            let choices = [Choice { office: Text::from("o"), date: None, session: None }];
            let asked = request(&name, &applicants, &choices);
            bench.ask(who, &BookingRequest { opening: Some(opening), ..asked })
        };
        bench.sequencer.take_changed();
        assert!(ask(&mut bench, 1, "w"));
        // The round has ended by the time at which the other opening's grant comes.
        bench.now.mono_ms += 600;
        bench.now.wall = bench.now.wall.plus_millis(600);
        bench.is_silent = is_silent;
        assert!(ask(&mut bench, 2, "v"));
        bench.run();
        if is_silent {
            bench.wait(MAX_PARKED_MS + 2 * TICK_MS);
            assert_eq!(bench.busy(), [1, 2]);
            bench.is_silent = false;
            bench.wait(2 * MAX_PARKED_MS);
        }
        assert_eq!([1, 2].map(|who| bench.is_granted(who)), [!is_silent; 2]);
        assert_eq!(bench.answers.len(), 2, "{:?}", bench.answers);
        let grants: u64 = bench.sequencer.take_changed().iter().map(|(_, count)| count).sum();
        assert_eq!(grants, 2);
        let (block, _) = Block::open(bench.stream.last().unwrap()).unwrap();
        let is_grant = |entry: &Entry| matches!(entry, Entry::Grant(_));
        let grants = block.entries.iter().map(is_grant).collect::<Vec<_>>();
        assert_eq!(grants, [false, true, false, true], "a group, and one beside it");
        let state = bench.replayed();
        assert_eq!(state.state_hash(), bench.sequencer.state().state_hash());
        assert_eq!(free(&bench), (QUOTA as i32 - 1, QUOTA as i32 - 1));
    }
}

/// An operator who rolls a ledger of ten million bookings is told that it has rolled.
#[test]
fn nobody_is_told_busy_because_the_state_takes_long_to_hash() {
    let mut bench = bench(Order::FirstCome);
    let signed = Signed { operator: "siti".into(), reason: "long".into() };
    bench.sequencer.roll("next".into(), 1_000, Some((signed, 7)), bench.now);
    let told = |bench: &mut SequencerHarness| {
        let effects = bench.sequencer.effects().into_iter();
        let answers = effects.filter(|effect| matches!(effect, Effect::Answer { .. }));
        answers.map(|answer| format!("{answer:?}")).collect::<Vec<_>>()
    };
    // The seal was made by a clock that is as old as the hashing took.
    bench.now.mono_ms += 2 * MAX_PARKED_MS;
    bench.sequencer.tick(bench.now);
    assert_eq!(told(&mut bench), [""; 0]);
    // From then on it waits like any other.
    bench.now.mono_ms += 2 * MAX_PARKED_MS;
    bench.sequencer.tick(bench.now);
    let busy = told(&mut bench);
    assert!(busy.len() == 1 && busy[0].contains("Busy"), "{busy:?}");
}

/// What is foreign in an empty stream does not keep a generation from beginning.
#[test]
fn a_generation_begins_behind_foreign_messages() {
    const FIRST: u64 = 1_000;
    let mut bench = bench(Order::FirstCome);
    bench.sequencer.roll("next".into(), FIRST, None, bench.now);
    let mut second = vec![Bytes::from("{}"), bench.stream[1].clone()];
    let first = bench.stream.clone();
    for _ in 0..40 {
        for effect in bench.sequencer.effects() {
            match effect {
                Effect::Append { attempt, generation, expected_last, bytes } => {
                    let (from, stream) = match generation {
                        1 => (1, &mut bench.stream),
                        _ => (FIRST, &mut second),
                    };
                    let fits = expected_last + 1 == from + stream.len() as u64;
                    let outcome = if fits {
                        stream.push(bytes);
                        Appended::Stored { seq: expected_last + 1 }
                    } else {
                        Appended::WrongLastSequence
                    };
                    bench.sequencer.appended(attempt, outcome, bench.now);
                }
                Effect::Read { attempt, generation, seq } => {
                    let (from, stream) =
                        if generation == 1 { (1, &bench.stream) } else { (FIRST, &second) };
                    let found = ReadOutcome::Found(stream[(seq - from) as usize].clone());
                    bench.sequencer.read(attempt, &found, bench.now);
                }
                Effect::Foreign(_) => bench.foreign += 1,
                Effect::Idle(why) => panic!("{why:?}"),
                _ => {}
            }
        }
    }
    assert!(!bench.sequencer.is_rolling());
    assert_eq!(bench.foreign, 1, "the copy is of the generation that is over, and void");
    let mut state = bench.replayed();
    assert_eq!(bench.stream.len(), first.len() + 1, "the seal");
    for (seq, bytes) in (FIRST..).zip(&second) {
        let folded = state.fold(seq, bytes).unwrap();
        assert_eq!(matches!(folded, Folded::Applied(_)), seq > FIRST + 1);
    }
    assert_eq!(state.chain(), bench.sequencer.state().chain());
}
