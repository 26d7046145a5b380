//! Grants that are staged while the block before theirs is on its way: seen by nobody, in the
//! ledger with the next block, and given back where that one never comes.
//!
//! Mutants this was seen to catch: the number of the block before; what is staged kept by an
//! engine that retires; its places kept where its requesters are told `busy`; changes, and
//! whatever else a block holds, passed by; behind a block of other things; no end of such
//! blocks; an old one that takes whoever comes.

#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use giliran_allocator::{ChangeKind, ChangeRequest, Decision};
use giliran_sequencer::{
    APPEND_TIMEOUT_MS, AdminCommand, AdminOp, Appended, Attempt, Branch, Effect, MAX_PARKED_MS,
    Now, Outcome, Sequencer,
};
use giliran_testkit::{SequencerHarness, opening, person, request, rules};
use giliran_wire::Text;
use giliran_wire::ledger::{Block, Entry, OpeningRecord, Rules};
use giliran_wire::request::Choice;

/// A block that was sent, and whose outcome nobody has heard.
struct OnItsWay(Attempt, Bytes);

/// An opening with so many places, open.
fn open(record: OpeningRecord) -> SequencerHarness {
    let mut bench = SequencerHarness::new();
    bench.record(vec![record]);
    bench.tick(1);
    bench
}

fn ask(bench: &mut SequencerHarness, who: u64) {
    let (people, name) = ([person(who)], format!("r{who}"));
    assert!(bench.ask(who, &request(&name, &people, &[choice()])), "nothing is settled yet");
}

fn choice() -> Choice<'static> {
    Choice { office: Text::from("o"), date: None, session: Some(Text::from("s0")) }
}

/// The block that the sequencer wants to be appended now; what it has told comes first.
fn sent(bench: &mut SequencerHarness) -> OnItsWay {
    let mut sent = None;
    for effect in bench.sequencer.effects() {
        match effect {
            Effect::Append { attempt, bytes, .. } => sent = Some(OnItsWay(attempt, bytes)),
            Effect::Answer { ticket, outcome, .. } => bench.answers.push((ticket, outcome)),
            Effect::Granted(grants) => bench.answers.extend(grants.into_outcomes()),
            other => panic!("{other:?}"),
        }
    }
    sent.unwrap()
}

/// It is stored, and its outcome heard.
fn arrives(bench: &mut SequencerHarness, OnItsWay(attempt, bytes): OnItsWay) {
    bench.stream.push(bytes);
    let stored = Appended::Stored { seq: bench.stream.len() as u64 };
    bench.input(|sequencer, now| sequencer.appended(attempt, stored, now));
}

/// A slot of so many places, the first of which is granted by a block on its way.
fn with_one_on_its_way(places: u16) -> (SequencerHarness, OnItsWay) {
    let mut bench = open(opening(&[places, places]));
    ask(&mut bench, 1);
    let first = sent(&mut bench);
    (bench, first)
}

fn stage_all(bench: &mut SequencerHarness) {
    let now = bench.now;
    while bench.sequencer.stage_ahead(now) {}
}

fn were_sent_ahead(bench: &SequencerHarness) -> u64 {
    let of = |(branch, count)| (branch == Branch::SentAhead).then_some(count);
    bench.sequencer.branches().find_map(of).unwrap_or(0)
}

fn grants(bytes: &Bytes) -> Vec<String> {
    let (block, _) = Block::open(bytes).unwrap();
    let ids = block.entries.into_iter().filter_map(|entry| match entry {
        Entry::Grant(grant) => Some(grant.request_id),
        _ => None,
    });
    ids.collect()
}

fn names(who: impl IntoIterator<Item = u64>) -> Vec<String> {
    who.into_iter().map(|who| format!("r{who}")).collect()
}

/// As a reader has it.
fn is_as_read(bench: &SequencerHarness) {
    assert_eq!(bench.replayed().state_hash(), bench.sequencer.state().state_hash());
}

#[test]
fn the_next_block_has_what_was_staged_and_what_came_since() {
    let (mut bench, first) = with_one_on_its_way(1_000);
    (2..=600).for_each(|who| ask(&mut bench, who));
    let now = bench.now;
    assert!(bench.sequencer.stage_ahead(now), "many wait");
    stage_all(&mut bench);
    assert_eq!((bench.sequencer.backlog(), bench.sequencer.in_flight()), (600, Some(1)));
    assert_eq!(bench.sequencer.allocator().bookings(), 0);
    bench.now.mono_ms += 20;
    bench.now.wall = bench.now.wall.plus_millis(20);
    (601..=700).for_each(|who| ask(&mut bench, who));
    assert!(bench.answers.is_empty(), "nobody is told yet");
    arrives(&mut bench, first);
    let second = sent(&mut bench);
    assert_eq!(grants(&second.1), names(2..=700));
    assert_eq!(Block::open(&second.1).unwrap().0.time, now.wall, "bookings bear their block's");
    assert!(bench.answers.len() == 1 && bench.is_granted(1));
    arrives(&mut bench, second);
    bench.run();
    assert!((1..=700).all(|who| bench.is_granted(who)));
    let found = bench.answers.iter().find_map(|(to, outcome)| match outcome {
        Outcome::Granted(found, durable) if *to == 700 => Some((found.clone(), *durable)),
        _ => None,
    });
    let (found, durable) = found.unwrap();
    assert_eq!(found.booking.granted_at, now.wall);
    assert_eq!(durable.position().seq, bench.stream.len() as u64);
    is_as_read(&bench);
}

#[test]
fn what_is_staged_counts_with_its_own_block_and_not_with_the_one_before() {
    let (mut bench, first) = with_one_on_its_way(3);
    ask(&mut bench, 2);
    stage_all(&mut bench);
    arrives(&mut bench, first);
    let second = sent(&mut bench);
    assert_eq!(grants(&second.1), ["r2"]);
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
    let (mut bench, first) = with_one_on_its_way(2);
    ask(&mut bench, 2);
    stage_all(&mut bench);
    bench.may_end = true;
    bench.sequencer.retire();
    let (people, choices) = ([person(3)], [choice()]);
    let asked = request("r3", &people, &choices);
    let another = bench.sequencer.allocator().decide(&asked, bench.now.wall);
    assert!(matches!(another, Decision::Granted(_)), "the place is free at once: {another:?}");
    drop(another);
    arrives(&mut bench, first);
    bench.run();
    assert!(bench.end.is_some() && bench.is_granted(1) && !bench.is_granted(2));
    is_as_read(&bench);
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
    let (mut bench, first) = with_one_on_its_way(2);
    drop(first);
    ask(&mut bench, 2);
    stage_all(&mut bench);
    bench.is_silent = true;
    bench.tick(MAX_PARKED_MS + 1);
    assert_eq!(bench.busy(), [1, 2]);
    bench.is_silent = false;
    bench.tick(APPEND_TIMEOUT_MS + 1);
    assert_eq!(grants(bench.stream.last().unwrap()), ["r1"]);
    bench.answers.clear();
    ask(&mut bench, 3);
    bench.run();
    assert!(bench.is_granted(3), "the place came back");
    is_as_read(&bench);
}

/// The outcome of the block before may come late and at once, without a tick before it: what was
/// staged behind it is nobody's then, and in no block.
#[test]
fn what_was_staged_long_ago_is_given_up_when_its_turn_comes() {
    let (mut bench, first) = with_one_on_its_way(2);
    ask(&mut bench, 2);
    stage_all(&mut bench);
    bench.now.mono_ms += MAX_PARKED_MS + 1;
    bench.now.wall = bench.now.wall.plus_millis(MAX_PARKED_MS + 1);
    arrives(&mut bench, first);
    bench.run();
    assert!(bench.is_granted(1));
    assert_eq!(bench.busy(), [2]);
    assert_eq!(bench.sequencer.allocator().bookings(), 1);
    ask(&mut bench, 3);
    bench.run();
    assert!(bench.is_granted(3), "the place came back");
    let last = bench.stream.last().unwrap();
    assert_eq!(grants(last), ["r3"]);
    let (found, _) = bench.sequencer.allocator().lookup_request("r2", &person(2), None).unwrap();
    assert!(found.is_none());
    is_as_read(&bench);
}

/// Where a block takes long, whoever comes waits by a clock of their own, and has a block of
/// their own time.
#[test]
fn an_old_one_takes_nobody_any_more() {
    let (mut bench, first) = with_one_on_its_way(9);
    ask(&mut bench, 2);
    stage_all(&mut bench);
    bench.tick(600);
    ask(&mut bench, 3);
    stage_all(&mut bench);
    arrives(&mut bench, first);
    let second = sent(&mut bench);
    assert_eq!(grants(&second.1), ["r2"]);
    // Nor does one begin behind a block that is old already.
    bench.now.mono_ms += 600;
    bench.now.wall = bench.now.wall.plus_millis(600);
    stage_all(&mut bench);
    let asked_at = bench.now.wall;
    arrives(&mut bench, second);
    let third = sent(&mut bench);
    assert_eq!((grants(&third.1), were_sent_ahead(&bench)), (names([3]), 1));
    assert_eq!(Block::open(&third.1).unwrap().0.time, asked_at);
}

/// What comes, how, and what it is in a block.
type Kind = (&'static str, fn(&mut Sequencer<u64>, Now), fn(&Entry) -> bool);

fn kinds() -> [Kind; 4] {
    [
        (
            "an opening",
            |sequencer, now| sequencer.record_openings(vec![other()], now),
            |entry| matches!(entry, Entry::Opening(_)),
        ),
        (
            "an operator's action",
            |sequencer, now| {
                let act = AdminOp::Quota { slot: 1, quota: 7_001 };
                let (operator, reason) = ("siti".into(), "flood".into());
                let action = AdminCommand { opening: 0, operator, reason, act, dry_run: false };
                sequencer.submit_admin(action, 90_000, now);
            },
            |entry| matches!(entry, Entry::Adjust(_)),
        ),
        (
            "a change of a booking",
            |sequencer, now| {
                let found = sequencer.allocator().find(&person(1), "w").unwrap().0.unwrap();
                let target = Some(found.booking.id);
                let kind = ChangeKind::Cancel { applicant: person(1) };
                let asked = ChangeRequest { request_id: "c1".into(), target, kind };
                sequencer.submit_changes([(asked, 90_000)], now);
            },
            |entry| matches!(entry, Entry::Cancel(_)),
        ),
        ("a hold that ends", |_, _| (), |entry| matches!(entry, Entry::Expire(_))),
    ]
}

/// Whatever a block can hold beside grants, under grants that never end: it is in the second
/// block from now at the latest, whether it came before or after that one's grants were staged.
#[test]
fn nothing_else_is_kept_waiting() {
    for (name, comes, is_it) in kinds() {
        for staged_before in [false, true] {
            let hold_ms = name.starts_with("a hold").then_some(5_000);
            let mut bench =
                open(OpeningRecord { rules: Rules { hold_ms, ..rules() }, ..opening(&[7_000, 9]) });
            let mut who = 1;
            ask(&mut bench, who);
            bench.run();
            // Nothing expires soon after a take-over, nor is a block's ground sure after a rest.
            bench.tick(4_990);
            ask(&mut bench, 2);
            bench.run();
            who = 3;
            ask(&mut bench, who);
            let mut flight = sent(&mut bench);
            let mut more = |bench: &mut SequencerHarness| {
                (0..300).for_each(|_| {
                    who += 1;
                    ask(bench, who);
                });
            };
            if staged_before {
                more(&mut bench);
                stage_all(&mut bench);
            }
            bench.now.mono_ms += 20;
            bench.now.wall = bench.now.wall.plus_millis(20);
            bench.input(comes);
            let mut blocks = 0;
            loop {
                more(&mut bench);
                stage_all(&mut bench);
                arrives(&mut bench, flight);
                flight = sent(&mut bench);
                blocks += 1;
                if Block::open(&flight.1).unwrap().0.entries.iter().any(is_it) {
                    break;
                }
                assert!(blocks < 2, "{name}: not among {blocks} blocks, {staged_before}");
            }
            assert_eq!(blocks, 1 + u64::from(staged_before), "{name}");
            assert_eq!(were_sent_ahead(&bench), u64::from(staged_before), "{name}");
        }
    }
}

/// Also what nobody waits for, and only building a block looks for, comes to its turn.
#[test]
fn a_block_is_built_as_usual_now_and_then() {
    let (mut bench, mut flight) = with_one_on_its_way(1_000);
    for who in 2..=100 {
        ask(&mut bench, who);
        stage_all(&mut bench);
        arrives(&mut bench, flight);
        flight = sent(&mut bench);
    }
    let ahead = were_sent_ahead(&bench);
    assert!((90..=97).contains(&ahead), "{ahead} of 99");
}

/// Behind a block that changes more than grants do, facts are other ones than before.
#[test]
fn nothing_is_staged_behind_a_block_of_other_things() {
    let mut bench = open(opening(&[999]));
    bench.input(|sequencer, now| sequencer.record_openings(vec![other()], now));
    let first = sent(&mut bench);
    (1..=900).for_each(|who| ask(&mut bench, who));
    let now = bench.now;
    assert!(!bench.sequencer.stage_ahead(now), "more than one call would stage");
    arrives(&mut bench, first);
    bench.run();
    assert!((1..=900).all(|who| bench.is_granted(who)));
    assert_eq!(were_sent_ahead(&bench), 0);
}

fn other() -> OpeningRecord {
    let later = |at: giliran_wire::Timestamp| at.plus_millis(30 * 86_400_000);
    let record = opening(&[1]);
    let (opens_at, closes_at) = (later(record.opens_at), later(record.closes_at));
    OpeningRecord { id: "other".into(), opens_at, closes_at, ..record }
}

/// Two engines that are given the same, one of which stages ahead: the same bookings.
#[test]
fn it_makes_no_difference_what_was_staged_when() {
    let run = |stages: bool| {
        let (mut bench, mut flight) = with_one_on_its_way(40);
        for who in 2..=40 {
            ask(&mut bench, who);
            if stages && who % 7 == 0 {
                stage_all(&mut bench);
            }
            if who % 10 == 0 {
                arrives(&mut bench, flight);
                flight = sent(&mut bench);
            }
        }
        arrives(&mut bench, flight);
        bench.run();
        is_as_read(&bench);
        let blocks: Vec<_> = bench.stream[1..].iter().map(grants).collect();
        let numbers = bench.answers.iter().filter_map(|(to, outcome)| match outcome {
            Outcome::Granted(found, _) => Some((*to, found.booking.seats[0].number)),
            _ => None,
        });
        (numbers.collect::<Vec<_>>(), blocks, were_sent_ahead(&bench))
    };
    let (numbers, blocks, ahead) = run(true);
    assert_eq!((numbers.len(), ahead), (40, 4));
    assert_eq!(run(false), (numbers, blocks, 0));
}
