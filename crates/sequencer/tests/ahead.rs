//! Grants that are staged while the block before theirs is on its way: seen by nobody, in the
//! ledger with the next block, and given back where that one never comes.
//!
//! Mutants this was seen to catch: the number of the block before; what is staged kept by an
//! engine that retires; its places kept where its requesters are told `busy`; changes passed
//! by.

#![allow(clippy::unwrap_used, reason = "tests")]

use giliran_allocator::{ChangeKind, ChangeRequest, Decision};
use giliran_sequencer::{APPEND_TIMEOUT_MS, Appended, Effect, MAX_PARKED_MS, Outcome, Sequencer};
use giliran_testkit::{SequencerHarness, opening, person, request};
use giliran_wire::Text;
use giliran_wire::ledger::{Block, Entry};
use giliran_wire::request::Choice;

/// An opening of two slots with so many places each; the first of them is granted by a block
/// whose outcome is not known yet.
fn with_one_on_its_way(places: u16) -> SequencerHarness {
    let mut bench = SequencerHarness::new();
    bench.record(vec![opening(&[places, places])]);
    bench.tick(1);
    bench.is_silent = true;
    ask(&mut bench, 1);
    bench.run();
    bench
}

fn ask(bench: &mut SequencerHarness, who: u64) {
    let (people, name) = ([person(who)], format!("r{who}"));
    assert!(bench.ask(who, &request(&name, &people, &[choice()])), "nothing is settled yet");
}

fn choice() -> Choice<'static> {
    Choice { office: Text::from("o"), date: None, session: Some(Text::from("s0")) }
}

/// The stream answers again, and the block is sent once more.
fn hears_again(bench: &mut SequencerHarness) {
    bench.is_silent = false;
    bench.tick(APPEND_TIMEOUT_MS + 1);
}

fn stage_all(bench: &mut SequencerHarness) {
    let now = bench.now;
    while bench.sequencer.stage_ahead(now) {}
}

fn block(bench: &SequencerHarness, from_end: usize) -> Block {
    Block::open(&bench.stream[bench.stream.len() - from_end]).unwrap().0
}

fn grants(block: &Block) -> Vec<&str> {
    let ids = block.entries.iter().filter_map(|entry| match entry {
        Entry::Grant(grant) => Some(grant.request_id.as_str()),
        _ => None,
    });
    ids.collect()
}

#[test]
fn the_next_block_has_what_was_staged_and_what_came_since() {
    let mut bench = with_one_on_its_way(1_000);
    (2..=600).for_each(|who| ask(&mut bench, who));
    let now = bench.now;
    assert!(bench.sequencer.stage_ahead(now), "many wait");
    stage_all(&mut bench);
    assert_eq!((bench.sequencer.backlog(), bench.sequencer.in_flight()), (600, Some(1)));
    assert!(bench.answers.is_empty(), "nobody is told yet");
    assert_eq!(bench.sequencer.allocator().bookings(), 0);
    let staged_at = bench.now.wall;
    bench.tick(20);
    (601..=700).for_each(|who| ask(&mut bench, who));
    hears_again(&mut bench);
    assert!((1..=700).all(|who| bench.is_granted(who)));
    let last = block(&bench, 1);
    assert_eq!(grants(&last).len(), 699);
    assert!(grants(&last).iter().copied().eq((2..=700).map(|who| format!("r{who}"))));
    assert_eq!(last.time, staged_at, "the bookings bear the time of their block");
    let found = bench.answers.iter().find_map(|(to, outcome)| match outcome {
        Outcome::Granted(found, durable) if *to == 2 => Some((found.clone(), *durable)),
        _ => None,
    });
    let (found, durable) = found.unwrap();
    assert_eq!(found.booking.granted_at, staged_at);
    assert_eq!(durable.position().seq, bench.stream.len() as u64);
    assert_eq!(bench.replayed().state_hash(), bench.sequencer.state().state_hash());
}

#[test]
fn what_is_staged_counts_with_its_own_block_and_not_with_the_one_before() {
    let mut bench = with_one_on_its_way(3);
    ask(&mut bench, 2);
    stage_all(&mut bench);
    // The block before becomes durable, and the next one's outcome is not known.
    bench.now.mono_ms += APPEND_TIMEOUT_MS + 1;
    bench.input(Sequencer::tick);
    let Some(Effect::Read { attempt, seq, .. }) = bench.sequencer.effects().pop() else { panic!() };
    bench.read(attempt, seq);
    let Some(Effect::Append { attempt, bytes, .. }) = bench.sequencer.effects().pop() else {
        panic!()
    };
    bench.stream.push(bytes);
    let stored = Appended::Stored { seq: bench.stream.len() as u64 };
    bench.input(|sequencer, now| sequencer.appended(attempt, stored, now));
    // A block that was sent twice counts once the one before was seen again.
    let Some(Effect::Read { attempt, seq, .. }) = bench.sequencer.effects().pop() else { panic!() };
    bench.read(attempt, seq);
    let effects = bench.sequencer.effects();
    let [Effect::Append { bytes, .. }, Effect::Granted(told)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(grants(&Block::open(bytes).unwrap().0), ["r2"], "on its way before anybody is told");
    assert_eq!(told.bookings.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [1]);
    let allocator = bench.sequencer.allocator();
    let (found, _) = allocator.lookup_request("r2", &person(2), None).unwrap();
    assert!(found.is_none(), "not durable yet");
    let (found, at) = allocator.lookup_request("r1", &person(1), None).unwrap();
    assert!(found.is_some());
    assert_eq!(at.position().seq, bench.stream.len() as u64);
    assert_eq!(allocator.bookings(), 1);
}

#[test]
fn an_engine_that_retires_gives_back_what_it_staged_ahead() {
    let mut bench = with_one_on_its_way(2);
    ask(&mut bench, 2);
    stage_all(&mut bench);
    bench.may_end = true;
    bench.sequencer.retire();
    let (people, choices) = ([person(3)], [choice()]);
    let another =
        bench.sequencer.allocator().decide(&request("r3", &people, &choices), bench.now.wall);
    assert!(matches!(another, Decision::Granted(_)), "the place is free at once: {another:?}");
    drop(another);
    hears_again(&mut bench);
    assert!(bench.end.is_some() && bench.is_granted(1) && !bench.is_granted(2));
    let state = bench.replayed();
    assert_eq!(bench.sequencer.state().state_hash(), state.state_hash());
    // Of the two places one is free, and the one who had it staged may have it.
    let again = SequencerHarness::of(bench.sequencer.into_state(), bench.stream, 2, bench.now);
    bench = again;
    bench.run();
    ask(&mut bench, 2);
    bench.run();
    assert!(bench.is_granted(2));
}

#[test]
fn whoever_waits_too_long_in_it_is_told_busy_and_the_place_comes_back() {
    let mut bench = with_one_on_its_way(2);
    ask(&mut bench, 2);
    stage_all(&mut bench);
    bench.tick(MAX_PARKED_MS + 1);
    assert_eq!(bench.busy(), [1, 2]);
    hears_again(&mut bench);
    assert_eq!(block(&bench, 1).entries.len(), 1, "{:?}", block(&bench, 1));
    bench.answers.clear();
    ask(&mut bench, 3);
    bench.run();
    assert!(bench.is_granted(3), "the place came back");
    assert_eq!(bench.replayed().state_hash(), bench.sequencer.state().state_hash());
}

/// A change waits for the block behind the one in flight, and not for a third.
#[test]
fn nothing_is_staged_ahead_of_what_else_waits() {
    let mut bench = with_one_on_its_way(9);
    let target = None;
    let kind = ChangeKind::Cancel { applicant: person(1) };
    let asked = ChangeRequest { request_id: "c1".into(), target, kind };
    bench.input(|sequencer, now| sequencer.submit_changes([(asked, 50)], now));
    ask(&mut bench, 2);
    stage_all(&mut bench);
    assert_eq!(bench.sequencer.backlog(), 3);
    hears_again(&mut bench);
    assert_eq!(bench.answers.first().map(|(to, _)| *to), Some(50), "{:?}", bench.answers);
    assert!(bench.is_granted(2));
}

/// Behind a block that changes more than grants do, facts are other ones than before.
#[test]
fn nothing_is_staged_behind_a_block_of_other_things() {
    let mut bench = SequencerHarness::new();
    bench.record(vec![opening(&[999])]);
    bench.tick(1);
    bench.is_silent = true;
    bench.input(|sequencer, now| sequencer.record_openings(vec![other()], now));
    bench.run();
    (1..=900).for_each(|who| ask(&mut bench, who));
    let now = bench.now;
    assert!(!bench.sequencer.stage_ahead(now), "more than one call would stage");
    hears_again(&mut bench);
    assert!((1..=900).all(|who| bench.is_granted(who)));
}

fn other() -> giliran_wire::ledger::OpeningRecord {
    let days_later = |at: giliran_wire::Timestamp| at.plus_millis(30 * 86_400_000);
    let record = opening(&[1]);
    let (opens_at, closes_at) = (days_later(record.opens_at), days_later(record.closes_at));
    giliran_wire::ledger::OpeningRecord { id: "other".into(), opens_at, closes_at, ..record }
}

/// Two engines that are given the same, one of which stages ahead: the same bookings.
#[test]
fn it_makes_no_difference_what_was_staged_when() {
    let run = |stage: fn(&mut Sequencer<u64>, giliran_sequencer::Now)| {
        let mut bench = with_one_on_its_way(40);
        for who in 2..=60 {
            if bench.sequencer.allocator().bookings() + bench.sequencer.backlog() < 40 {
                ask(&mut bench, who);
            }
            if who % 7 == 0 {
                bench.input(stage);
            }
            if who % 20 == 0 {
                hears_again(&mut bench);
                bench.is_silent = true;
            }
        }
        hears_again(&mut bench);
        let numbers = bench.answers.iter().filter_map(|(to, outcome)| match outcome {
            Outcome::Granted(found, _) => Some((*to, found.booking.seats[0].number)),
            _ => None,
        });
        numbers.collect::<Vec<_>>()
    };
    let ahead = run(|sequencer, now| while sequencer.stage_ahead(now) {});
    assert_eq!(ahead.len(), 40);
    assert_eq!(ahead, run(|_, _| ()));
}
