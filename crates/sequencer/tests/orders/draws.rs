//! Draws: whoever dies meanwhile, what they wait for, and how long they take.

use std::time::{Duration, Instant};

use bytes::Bytes;
use giliran_allocator::{StateChange, StateMachine, ballot};
use giliran_drand::{Network, Round};
use giliran_sequencer::{AdminCommand, AdminOp, Appended, Effect, Outcome, ReadOutcome, Sequencer};
use giliran_wire::answer::Reason;
use giliran_wire::catalogue;
use giliran_wire::ledger::{DrawRecord, Entry, Order};
use giliran_wire::{AsOf, Timestamp};
use sha2::Digest as _;

use crate::{BEGIN, Bench, CLOSES, opening, person, testkit};

/// How long a large draw takes, how long it keeps others waiting in one go, and
/// what its entries weigh:
/// `cargo test --release -p giliran-sequencer --test orders -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn a_million_entries() {
    let mut bench = Bench::new(opening(Order::Draw, &[60_000, 40_000]));
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0)
    };
    let before = resident();
    let started = Instant::now();
    for who in 0..1_000_000 {
        bench.ask(&[who], &[0, 1], None);
        if who % 2_000 == 0 {
            bench.tick(1);
            bench.answers.clear();
        }
    }
    bench.tick(1);
    bench.answers.clear();
    let stream: usize = bench.stream.iter().map(Bytes::len).sum();
    let entered = started.elapsed();
    let weight = (resident() - before - stream as f64 / 1024.0) * 1024.0 / 1e6;
    println!(
        "entered in {entered:?}; {weight:.0} bytes of memory and {} of ledger an entry",
        stream / 1_000_000
    );
    bench.calls = Some(Vec::new());
    bench.tick(10_000);
    let calls = bench.calls.take().unwrap();
    println!(
        "drawn in {:?}, {} groups; {} calls, the longest {:?}",
        calls.iter().sum::<Duration>(),
        bench.groups().len(),
        calls.len(),
        calls.iter().max().unwrap(),
    );
    assert_eq!(bench.slots().len(), 100_000);
}

fn draw_of(people: u64) -> Bench {
    let mut bench = Bench::new(opening(Order::Draw, &[6_000, 4_500]));
    for who in (0..people).step_by(4) {
        bench.ask(&[who], &[0, 1], None);
        bench.ask(&[who + 1, who + 2, who + 3], &[1, 0], None);
    }
    bench.tick(1_000);
    bench
}

/// A draw's grants answer no request: who watches sees them all the same, as a reader
/// of the ledger does.
#[test]
fn whoever_watches_sees_what_every_block_changes() {
    let mut bench = Bench::new(opening(Order::Draw, &[2, 1]));
    bench.ask(&[1], &[0], None);
    bench.tick(1);
    assert!(bench.sequencer.take_state_changes().is_empty(), "nobody watched");
    bench.sequencer.watch_state_changes();
    let before = bench.stream.len();
    for who in 2..6 {
        bench.ask(&[who], &[0, 1], None);
    }
    bench.tick(1);
    bench.tick(10_000);
    let watched = bench.sequencer.take_state_changes();
    assert!(bench.sequencer.take_state_changes().is_empty(), "taken once");

    let mut reader = testkit::folded(&bench.stream[..before]);
    let blocks = (before as u64 + 1..).zip(&bench.stream[before..]);
    let read = blocks.flat_map(|(seq, bytes)| reader.fold(seq, bytes).unwrap().changes());
    let read: Vec<String> = read.map(|change| shown(&change)).collect();
    assert_eq!(watched.iter().map(shown).collect::<Vec<_>>(), read);
    assert_eq!(bench.slots().len(), 3, "among them what was drawn");

    let (mut root, mut secret) = (None, None);
    for entry in bench.entries().flatten() {
        match entry {
            Entry::Draw(DrawRecord::Root { root: found, .. }) => root = Some(found),
            Entry::Draw(DrawRecord::Revealed { seed, .. }) => secret = Some(seed),
            _ => {}
        }
    }
    let seed = ballot::seed(&root.unwrap(), &secret.unwrap(), None);
    assert_eq!(bench.sequencer.state().draw_seed(0), Some(seed));

    // Whoever has read the ledger describes the draw with what is on record, and so does
    // whoever begins with a snapshot.
    let hex = |bytes: [u8; 32]| bytes.map(|byte| format!("{byte:02x}")).concat();
    let mut restored = StateMachine::new();
    reader.snapshot(|piece| restored.restore(piece.clone())).unwrap();
    for state in [&reader, &restored] {
        let openings = state.allocator().openings();
        let time = Timestamp::from_millis(CLOSES);
        let as_of = AsOf { epoch: 1, seq: 1, time };
        let told = openings.iter().next().unwrap().describe(None, time, as_of).order;
        let catalogue::Order::Draw { root: told, entries, seed, drawn, .. } = told else {
            panic!()
        };
        assert_eq!(told, root.map(hex));
        assert_eq!((entries, seed, drawn), (Some(5), secret.map(hex), true));
    }
}

/// A change, without the opening that it happened in.
fn shown(change: &StateChange) -> String {
    match change {
        StateChange::Booking { kind, before, after, .. } => {
            format!("{kind:?} {:?} {before:?}", after.booking)
        }
        StateChange::Entry { kind, waiting, .. } => format!("{kind:?} {waiting:?}"),
    }
}

/// Killed after every single block of the draw, each time with a successor that
/// goes on: the result is that of a draw in one go.
#[test]
fn a_draw_goes_on_with_the_same_result_whoever_dies() {
    const PEOPLE: u64 = 18_000;
    let mut whole = draw_of(PEOPLE);
    assert_eq!(whole.answers.len() as u64, PEOPLE / 2);
    let before = whole.stream.clone();
    whole.tick(9_000);
    let slots = whole.slots();
    let seats =
        |slot: u32| slots.values().filter(|(s, _)| *s == slot).map(|(_, n)| n).sum::<usize>();
    assert_eq!((seats(0), seats(1)), (6_000, 4_500), "every place has gone");
    assert!(whole.groups().len() > 1, "the draw fits one block");

    let mut deaths = 0;
    let mut now = whole.now;
    let mut stream = before;
    loop {
        let mut bench = Bench::on(stream, now);
        // The take-over, and one block more.
        bench.lives = 2;
        bench.run();
        bench.tick(1);
        now = bench.now;
        let done = bench.lives == 1;
        stream = bench.harness.stream;
        if done {
            break;
        }
        deaths += 1;
    }
    assert!(deaths >= 4, "close, root, seed, groups: {deaths}");
    let patched = Bench::on(stream, now);
    assert_eq!(patched.slots(), slots);
    let outcome = |bench: &Bench| {
        let lost = bench.entries().flatten().filter_map(|entry| match entry {
            Entry::Draw(DrawRecord::NotDrawn { receipt }) => Some(receipt),
            _ => None,
        });
        let mut lost: Vec<_> = lost.collect();
        lost.sort_unstable();
        lost
    };
    assert_eq!(outcome(&patched), outcome(&whole));
    assert_eq!(slots.len() + outcome(&whole).len(), PEOPLE as usize / 2);
}

/// A large draw is worked on in pieces: another opening's request that comes
/// between two of them is answered, long before the draw's root is on record.
#[test]
fn who_asks_elsewhere_does_not_wait_for_a_large_draw() {
    let mut bench = draw_of(34_000);
    let mut other = opening(Order::FirstCome, &[1]);
    other.id = "x".into();
    other.closes_at = Timestamp::from_millis(CLOSES + 60_000);
    bench.record(vec![other]);
    // Up to the close, and the first piece behind it.
    bench.now.mono_ms += 9_000;
    bench.now.wall = bench.now.wall.plus_millis(9_000);
    bench.input(Sequencer::tick);
    let close = bench.sequencer.effects().into_iter().find_map(|effect| match effect {
        Effect::Append { attempt, expected_last, bytes, .. } => {
            Some((attempt, expected_last + 1, bytes))
        }
        _ => None,
    });
    let (attempt, seq, bytes) = close.unwrap();
    bench.stream.push(bytes);
    bench.input(|sequencer, now| sequencer.appended(attempt, Appended::Stored { seq }, now));
    // It came after a quiet time: the block before it is looked at first.
    let looks = bench.sequencer.effects();
    let [Effect::Read { attempt, seq, .. }] = looks[..] else { panic!("{looks:?}") };
    let found = ReadOutcome::Found(bench.stream[seq as usize - 1].clone());
    bench.input(|sequencer, now| sequencer.read(attempt, &found, now));
    bench.ask(&[1 << 30], &[0], None);
    bench.run();
    assert!(matches!(bench.answers[&(1 << 30)], Outcome::Granted(..)));
    let all: Vec<Entry> = bench.entries().flatten().collect();
    let place = |wanted: &dyn Fn(&Entry) -> bool| all.iter().position(wanted).unwrap();
    let granted = place(&|e| matches!(e, Entry::Grant(grant) if grant.opening == 1));
    let closed = place(&|e| matches!(e, Entry::Closed { .. }));
    let root = place(&|e| matches!(e, Entry::Draw(DrawRecord::Root { .. })));
    assert!(closed < granted && granted < root);
    let seats: usize = bench.slots().values().map(|(_, seats)| seats).sum();
    assert_eq!(seats, 6_000 + 4_500 + 1, "the draw goes on");
}

/// From the close on, what the draw decides about stands.
#[test]
fn nothing_of_a_drawn_opening_changes_until_its_draw_is_over() {
    let mut bench = draw_of(400);
    let quota = |ticket, bench: &mut Bench| {
        let act = AdminOp::Quota { slot: 0, quota: 1 };
        let action = AdminCommand {
            opening: 0,
            operator: "o".into(),
            reason: "r".into(),
            act,
            dry_run: false,
        };
        bench.input(|sequencer, now| sequencer.submit_admin(action, ticket, now));
    };
    // While the root is on its way, and nothing is drawn yet.
    bench.lives = 2;
    bench.tick(9_000);
    assert!(bench.slots().is_empty());
    quota(1_001, &mut bench);
    let (attempt, seq) = bench.unheard.take().unwrap();
    bench.lives = usize::MAX;
    bench.input(|sequencer, now| sequencer.appended(attempt, Appended::Stored { seq }, now));
    bench.run();
    assert!(matches!(bench.answers[&1_001], Outcome::NotAdjusted(..)), "during the draw");
    assert_eq!(bench.slots().len(), 200, "there is room for all");
    quota(1_002, &mut bench);
    bench.run();
    assert!(matches!(bench.answers[&1_002], Outcome::Adjusted(..)), "after it");
}

/// A winner of an early group gives back while later ones are drawn: nobody gets
/// that place by the draw, which stays what its seed says.
#[test]
fn a_place_that_comes_back_during_the_draw_is_not_drawn_for() {
    let singles = || {
        let mut bench = Bench::new(opening(Order::Draw, &[5_000, 4_500]));
        (0..9_600).for_each(|who| bench.ask(&[who], &[0, 1], None));
        bench.tick(1_000);
        bench
    };
    let (mut whole, mut bench) = (singles(), singles());
    whole.tick(9_000);
    // Close, root, seed; the first group is on its way.
    bench.lives = 4;
    bench.tick(9_000);
    let (attempt, seq) = bench.unheard.take().unwrap();
    let won = bench.entries().flatten().find_map(|entry| match entry {
        Entry::Grant(grant) => Some((grant.booking, grant.seats[0].applicant)),
        _ => None,
    });
    let (booking, applicant) = won.unwrap();
    let ask = giliran_allocator::ChangeRequest {
        request_id: "x".into(),
        target: Some(booking),
        kind: giliran_allocator::ChangeKind::Cancel { applicant },
    };
    bench.input(|sequencer, now| sequencer.submit_changes([(ask, 1 << 40)], now));
    bench.lives = usize::MAX;
    bench.input(|sequencer, now| sequencer.appended(attempt, Appended::Stored { seq }, now));
    bench.run();
    bench.tick(1);
    assert!(matches!(bench.answers[&(1 << 40)], Outcome::Changed(..)), "given back in the end");
    assert!(whole.groups().len() > 2, "no group comes behind the cancellation");
    assert_eq!(bench.slots(), whole.slots());
}

/// Named before the opening, not there before the close: until it is given, nobody
/// can know the result, and nothing else is taken for it.
#[test]
fn a_draw_waits_for_the_public_value_that_was_named() {
    let secret = blst::min_sig::SecretKey::key_gen(&[7; 32], &[]).unwrap();
    let network = Network {
        key: secret.sk_to_pk().to_bytes(),
        genesis: Timestamp::from_millis(BEGIN - 100_000),
        period_ms: 3_000,
    };
    let mut bench = Bench::unopened();
    bench.harness.sequencer = bench.harness.sequencer.with_beacon(Some(network.clone()));
    // The first slot can be booked for two minutes after the close.
    let mut record = opening(Order::Draw, &[2, 2]);
    record.slots[0].bookable_until = Timestamp::from_millis(CLOSES + 120_000);
    bench.record(vec![record]);
    let name = bench.entries().flatten().find_map(|entry| match entry {
        Entry::Draw(DrawRecord::Committed { beacon, .. }) => beacon,
        _ => None,
    });
    let round: Round = name.unwrap().parse().unwrap();
    let published = network.published_at(&round).unwrap();
    assert!(published >= Timestamp::from_millis(CLOSES + 60_000), "{published}");
    for who in 0..4 {
        bench.ask(&[who], &[0, 1], None);
    }
    bench.ask(&[4], &[0], None);
    bench.tick(1);
    // Its round would be there before a later close.
    let later = AdminOp::ClosesAt { closes_at: Timestamp::from_millis(CLOSES + 1) };
    let sign = |number: u64| {
        let message = sha2::Sha256::digest(number.to_be_bytes());
        let suite = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_";
        secret.sign(&message, suite, &[]).to_bytes().to_vec()
    };
    let act = |act, ticket, bench: &mut Bench| {
        let action = AdminCommand {
            opening: 0,
            operator: "o".into(),
            reason: "r".into(),
            act,
            dry_run: false,
        };
        bench.input(|sequencer, now| sequencer.submit_admin(action, ticket, now));
        bench.run();
        matches!(bench.answers[&ticket], Outcome::Adjusted(..))
    };
    assert!(!act(later, 100, &mut bench), "extended beyond its public value");
    let signature = sign(round.number);
    assert!(
        !act(AdminOp::Beacon { signature: signature.clone() }, 101, &mut bench),
        "before the close"
    );
    bench.tick(20_000);
    assert!(bench.slots().is_empty());
    let other = sign(round.number + 1);
    assert!(!act(AdminOp::Beacon { signature: other }, 102, &mut bench), "another round's");
    // Handed in late: whoever wanted the first slot alone gets nothing.
    bench.tick(120_000);
    assert!(act(AdminOp::Beacon { signature: signature.clone() }, 103, &mut bench));
    let slots = bench.slots();
    assert!(slots.len() == 2 && slots.values().all(|slot| *slot == (1, 1)), "{slots:?}");
    assert!(!act(AdminOp::Beacon { signature }, 104, &mut bench), "a second time");
}

#[test]
fn an_accounts_entries_count_and_come_back_with_a_withdrawal() {
    let mut bench = Bench::new(opening(Order::Draw, &[10]));
    for who in 0..5 {
        bench.ask(&[who], &[0], Some(1));
        bench.tick(1);
    }
    assert_eq!(bench.reason(4), Some(Reason::AccountLimit));
    let Outcome::Entered(entered, _) = &bench.answers[&0] else { panic!() };
    let ask = giliran_allocator::ChangeRequest {
        request_id: "x".into(),
        target: Some(entered.waiting.entry.receipt),
        kind: giliran_allocator::ChangeKind::Cancel { applicant: person(0) },
    };
    bench.input(|sequencer, now| sequencer.submit_changes([(ask, 100)], now));
    bench.run();
    bench.answers.remove(&4);
    bench.ask(&[4], &[0], Some(1));
    bench.tick(1);
    assert!(matches!(bench.answers[&4], Outcome::Entered(..)), "{:?}", bench.answers[&4]);
    bench.tick(10_000);
    assert_eq!(bench.slots().len(), 4);
    let replayed = bench.replayed();
    assert_eq!(replayed.state_hash(), bench.sequencer.state().state_hash());
}
