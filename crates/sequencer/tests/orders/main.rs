//! Openings with rounds and openings that are drawn, on the engine's own state
//! machine: order, groups that do not fit one block, and engines that die between
//! two blocks.

#![allow(clippy::unwrap_used, reason = "tests")]

mod draws;
mod leftovers;
mod windows;

use std::collections::{BTreeMap, HashMap};
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use giliran_allocator::{BookingRequest, order};
use giliran_sequencer::{AdminCommand, AdminOp, Now, Outcome, Sequencer};
use giliran_testkit::{
    self as testkit, BEGIN, LEDGER, SequencerHarness, filled, order_key, person, request, rules,
};
use giliran_wire::answer::Reason;
use giliran_wire::ledger::{Block, DrawRecord, Entry, OpeningRecord, Order, Rules};
use giliran_wire::request::Choice;
use giliran_wire::{BookingId, Pseudonym, Text, Timestamp};

/// That of the shipped binary, for the measurement.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLOSES: i64 = BEGIN + 10_000;

/// One office, a slot for each quota.
fn opening(order: Order, quotas: &[u16]) -> OpeningRecord {
    OpeningRecord {
        opens_at: Timestamp::from_millis(BEGIN),
        closes_at: Timestamp::from_millis(CLOSES),
        rules: Rules { order, max_per_account: Some(4), ..rules() },
        ..testkit::opening(quotas)
    }
}

/// An engine on a stream that stores what it is given, while it is allowed to.
struct Bench {
    harness: SequencerHarness,
    /// Everything told, by ticket.
    answers: HashMap<u64, Outcome>,
}

impl Deref for Bench {
    type Target = SequencerHarness;

    fn deref(&self) -> &SequencerHarness {
        &self.harness
    }
}

impl DerefMut for Bench {
    fn deref_mut(&mut self) -> &mut SequencerHarness {
        &mut self.harness
    }
}

impl Bench {
    fn new(opening: OpeningRecord) -> Self {
        let mut bench = Self::unopened();
        bench.record(vec![opening]);
        bench
    }

    /// With no opening yet.
    fn unopened() -> Self {
        Self { harness: SequencerHarness::new(), answers: HashMap::new() }
    }

    /// An engine that takes this stream over.
    fn on(stream: Vec<Bytes>, now: Now) -> Self {
        let writer = stream.len() as u8;
        Self { harness: SequencerHarness::on(stream, writer, now), answers: HashMap::new() }
    }

    /// As the harness, and goes on with a draw while there is one.
    fn run(&mut self) {
        self.harness.run();
        while self.lives > 0 && self.sequencer.next_tick_ms(self.now) == Some(self.now.mono_ms) {
            self.input(Sequencer::tick);
            self.harness.run();
        }
        for (ticket, outcome) in self.harness.answers.drain(..) {
            assert!(self.answers.insert(ticket, outcome).is_none(), "answered twice");
        }
    }

    fn tick(&mut self, ms: u64) {
        self.harness.tick(ms);
        self.run();
    }

    /// Asks on behalf of a party; the ticket is its first one's number.
    fn ask(&mut self, party: &[u64], sessions: &[usize], account: Option<u64>) {
        let applicants: Vec<Pseudonym> = party.iter().map(|i| person(*i)).collect();
        let (who, name) = (party[0], format!("r{}", party[0]));
        let choice = |i: &usize| Choice {
            office: Text::from("o"),
            date: None,
            session: Some(Text::from(format!("s{i}"))),
        };
        let choices: Vec<_> = sessions.iter().map(choice).collect();
        // Everybody has one of their own.
        let account = Some(person(1_000_000 + account.unwrap_or(1_000_000 + who)));
        let asked = filled(&request(&name, &applicants, &choices));
        let ask = BookingRequest { account, ..asked };
        if !self.harness.ask(who, &ask) {
            self.answers.extend(self.harness.answers.pop());
        }
    }

    fn reason(&self, who: u64) -> Option<Reason> {
        match self.answers.get(&who) {
            Some(Outcome::Settled(giliran_allocator::Settled::Rejected(rejection, _))) => {
                Some(rejection.reason)
            }
            _ => None,
        }
    }

    fn entries(&self) -> impl Iterator<Item = Vec<Entry>> + '_ {
        self.stream.iter().map(|bytes| Block::open(bytes).unwrap().0.entries)
    }

    /// The groups on record: block, number, first applicants in order.
    fn groups(&self) -> Vec<(usize, u64, Vec<Pseudonym>)> {
        let mut groups = Vec::new();
        for (block, entries) in self.entries().enumerate() {
            for entry in entries {
                match entry {
                    Entry::Draw(DrawRecord::GroupBegin { round, .. }) => {
                        groups.push((block, round, Vec::new()));
                    }
                    Entry::Grant(grant) => {
                        groups.last_mut().unwrap().2.push(grant.seats[0].applicant);
                    }
                    _ => {}
                }
            }
        }
        groups
    }

    /// Slot of every booking.
    fn slots(&self) -> BTreeMap<BookingId, (u32, usize)> {
        let grants = self.entries().flatten().filter_map(|entry| match entry {
            Entry::Grant(grant) => Some((grant.booking, (grant.slot, grant.seats.len()))),
            _ => None,
        });
        grants.collect()
    }
}

/// Whoever comes last in a round is served as if first: by the keyed hash alone.
#[test]
fn a_round_is_decided_at_its_end_in_the_order_of_its_hash() {
    let mut bench = Bench::new(opening(Order::Rounds { length_ms: 500 }, &[30]));
    for who in 0..40 {
        bench.ask(&[who], &[0], None);
        bench.tick(10);
    }
    assert!(bench.answers.is_empty(), "told before the round's end");
    bench.tick(100);
    let groups = bench.groups();
    assert_eq!(groups.len(), 1);
    let seed = order_key().seed(LEDGER, 0);
    let people: Vec<Pseudonym> = (0..40).map(person).collect();
    let expected = order::round_order(&seed, 1, people.iter().map(std::slice::from_ref));
    let expected: Vec<Pseudonym> = expected[..30].iter().map(|i| people[*i]).collect();
    assert_eq!(groups[0].2, expected);
    let rejected = (0..40).filter(|who| bench.reason(*who) == Some(Reason::SoldOut)).count();
    assert_eq!((bench.answers.len(), rejected), (40, 10));
    // Once it is durably full, nobody waits for a round to hear of it.
    bench.ask(&[50], &[0], None);
    assert_eq!(bench.reason(50), Some(Reason::SoldOut));
}

/// Counted by second, slot and reason; on record once their second is over.
#[test]
fn rejections_of_a_round_are_on_record_as_a_digest() {
    let mut bench = Bench::new(opening(Order::Rounds { length_ms: 500 }, &[30]));
    for who in 0..40 {
        bench.ask(&[who], &[0], None);
    }
    bench.tick(500);
    let digests = |bench: &Bench| {
        let all = bench.entries().flatten().filter_map(|entry| match entry {
            Entry::Rejections(rejections) => Some(rejections.tallies),
            _ => None,
        });
        all.flatten().collect::<Vec<_>>()
    };
    assert!(digests(&bench).is_empty());
    bench.tick(1_000);
    bench.tick(1_000);
    let digests = digests(&bench);
    assert_eq!(digests.len(), 1, "{digests:?}");
    let tally = &digests[0];
    assert_eq!((tally.slot, tally.reason, tally.count), (Some(0), Reason::SoldOut.number(), 10));
    assert_eq!(tally.second, BEGIN / 1_000);
}

#[test]
fn parties_and_accounts_hold_within_a_round() {
    let mut bench = Bench::new(opening(Order::Rounds { length_ms: 500 }, &[10, 10]));
    // Everybody of one account, at most four places of it; a party that shares a
    // member with another.
    for who in 0..6 {
        bench.ask(&[who], &[0], Some(1));
    }
    bench.ask(&[10, 11], &[1], None);
    bench.ask(&[12, 11], &[1], None);
    bench.tick(500);
    let limited = (0..6).filter(|who| bench.reason(*who) == Some(Reason::AccountLimit)).count();
    assert_eq!(limited, 2);
    let twice = [10, 12].map(|who| bench.reason(who) == Some(Reason::AlreadyBooked));
    assert_eq!(twice.iter().filter(|twice| **twice).count(), 1, "{twice:?}");
    assert_eq!(bench.slots().values().map(|(_, seats)| seats).sum::<usize>(), 6);
}

/// A round whose grants do not fit one block goes on in the next. An engine that
/// dies in between leaves a complete group; its successor serves who asks anew.
#[test]
fn a_round_larger_than_a_block_survives_the_engine() {
    const PEOPLE: u64 = 9_000;
    let order = Order::Rounds { length_ms: 500 };
    let ask_all = |bench: &mut Bench| {
        for who in 0..PEOPLE {
            bench.ask(&[who], &[0], None);
        }
    };
    let mut whole = Bench::new(opening(order, &[8_000]));
    ask_all(&mut whole);
    whole.tick(500);
    let groups = whole.groups();
    assert!(groups.len() > 1, "one block holds them all");
    assert!(groups.iter().all(|(_, number, _)| *number == 1), "further groups of one round");
    assert!(groups.windows(2).all(|w| w[1].0 == w[0].0 + 1), "block after block");
    let seed = order_key().seed(LEDGER, 0);
    let rank = |who: &Pseudonym| order::round_rank(&seed, 1, &[*who]);
    let all: Vec<Pseudonym> = groups.into_iter().flat_map(|(.., people)| people).collect();
    assert_eq!(all.len(), 8_000);
    assert!(all.windows(2).all(|w| rank(&w[0]) < rank(&w[1])));
    let rejected = (0..PEOPLE).filter(|w| whole.reason(*w) == Some(Reason::SoldOut)).count();
    assert_eq!((whole.answers.len() as u64, rejected), (PEOPLE, 1_000));

    let mut dies = Bench::new(opening(order, &[8_000]));
    ask_all(&mut dies);
    dies.lives = 1;
    dies.tick(500);
    assert!(dies.answers.is_empty(), "told though the group is not known to be durable");
    let first = dies.groups();
    assert_eq!(first.len(), 1);
    let mut next = Bench::on(dies.harness.stream, dies.harness.now);
    next.run();
    ask_all(&mut next);
    let known = next.answers.len();
    assert_eq!(known, first[0].2.len(), "whose grant stands is told of it at once");
    next.tick(500);
    next.tick(500);
    assert_eq!(next.answers.len() as u64, PEOPLE);
    assert_eq!(next.slots().len(), 8_000);
    let replayed = next.replayed();
    assert_eq!(replayed.state_hash(), next.sequencer.state().state_hash());
}

/// What was asked before the close is decided before it; then the seed is told.
#[test]
fn the_last_round_ends_with_the_window() {
    let mut bench = Bench::new(opening(Order::Rounds { length_ms: 3_000 }, &[3]));
    bench.tick(9_500);
    for who in 0..5 {
        bench.ask(&[who], &[0], None);
    }
    bench.tick(500);
    assert_eq!(bench.answers.len(), 5);
    let sold_out = (0..5).filter(|who| bench.reason(*who) == Some(Reason::SoldOut)).count();
    assert_eq!(sold_out, 2);
    bench.ask(&[9], &[0], None);
    assert_eq!(bench.reason(9), Some(Reason::Closed));
    let all: Vec<Entry> = bench.entries().flatten().collect();
    let place = |wanted: &dyn Fn(&Entry) -> bool| all.iter().position(wanted).unwrap();
    let committed = place(&|e| matches!(e, Entry::Draw(DrawRecord::Committed { .. })));
    let opened = place(&|e| matches!(e, Entry::Opened { .. }));
    let drawn = place(&|e| matches!(e, Entry::Draw(DrawRecord::GroupEnd { .. })));
    let closed = place(&|e| matches!(e, Entry::Closed { .. }));
    let revealed = place(&|e| matches!(e, Entry::Draw(DrawRecord::Revealed { .. })));
    assert!(committed < opened && opened < drawn && drawn < closed && closed < revealed);
    let (
        Entry::Draw(DrawRecord::Committed { commitment, .. }),
        Entry::Draw(DrawRecord::Revealed { seed, .. }),
    ) = (&all[committed], &all[revealed])
    else {
        panic!()
    };
    assert_eq!(blake3::hash(seed).as_bytes(), commitment);
    assert_eq!(*seed, order_key().seed(LEDGER, 0));
    // With the seed known there are no more rounds.
    let act = AdminOp::ClosesAt { closes_at: Timestamp::from_millis(CLOSES + 60_000) };
    let action =
        AdminCommand { opening: 0, operator: "o".into(), reason: "r".into(), act, dry_run: false };
    bench.input(|sequencer, now| sequencer.submit_admin(action, 77, now));
    bench.run();
    assert!(matches!(bench.answers[&77], Outcome::NotAdjusted(..)));
}

/// Two rounds that end before the engine comes to either: two groups, in two
/// blocks, and the close behind both.
#[test]
fn the_close_waits_for_every_round() {
    let mut bench = Bench::new(opening(Order::Rounds { length_ms: 3_000 }, &[10]));
    bench.tick(8_000);
    (0..3).for_each(|who| bench.ask(&[who], &[0], None));
    bench.now.mono_ms += 1_500;
    bench.now.wall = bench.now.wall.plus_millis(1_500);
    (3..6).for_each(|who| bench.ask(&[who], &[0], None));
    bench.tick(500);
    assert_eq!(bench.groups().len(), 2);
    let granted = bench.answers.values().filter(|outcome| matches!(outcome, Outcome::Granted(..)));
    assert_eq!(granted.count(), 6, "{:?}", bench.answers);
}
