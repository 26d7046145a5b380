//! Openings with rounds and openings that are drawn, on the engine's own state
//! machine: order, groups that do not fit one block, and engines that die between
//! two blocks.

#![allow(clippy::unwrap_used, reason = "tests")]

mod draws;
mod leftovers;
mod windows;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use giliran_allocator::{BookingRequest, Decision, StateMachine, order};
use giliran_sequencer::{
    AdminCommand, AdminOp, Appended, Attempt, Continuation, Effect, Now, Outcome, ReadOutcome,
    Sequencer,
};
use giliran_wire::answer::Reason;
use giliran_wire::ledger::{
    Block, BookableUntil, DrawRecord, Entry, FORMAT, Genesis, Leftovers, MAX_BLOCK_BYTES, Office,
    OpeningRecord, Order, ReturnRule, Rules, Session, Slot, TakeOver,
};
use giliran_wire::request::Choice;
use giliran_wire::{
    ApplicantKey, BlockHash, BookingId, Digest, KeyFingerprint, LedgerId, Pseudonym, Text,
    Timestamp, WriterNonce,
};

/// That of the shipped binary, for the measurement.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LEDGER: LedgerId = LedgerId([1; 16]);
const BEGIN: i64 = 1_795_000_000_000;
const CLOSES: i64 = BEGIN + 10_000;

fn person(i: u64) -> Pseudonym {
    let hash = blake3::hash(&i.to_le_bytes());
    Pseudonym::from_bytes(hash.as_bytes()[..16].try_into().unwrap())
}

fn key() -> ApplicantKey {
    ApplicantKey::new(&[9; 32])
}

/// One office, a slot for each quota.
fn opening(order: Order, quotas: &[u16]) -> OpeningRecord {
    let session = |i| Session {
        id: format!("s{i}"),
        label: String::new(),
        restricted: false,
        explicit: false,
    };
    let sessions = (0..quotas.len()).map(session).collect();
    let date = "2026-12-01".parse().unwrap();
    let slot = |(i, quota): (usize, &u16)| Slot {
        office: 0,
        session: i as u32,
        date,
        quota: *quota,
        bookable_until: Timestamp::LATEST,
    };
    OpeningRecord {
        ordinal: 0,
        id: "w".into(),
        timezone: "UTC".into(),
        opens_at: Timestamp::from_millis(BEGIN),
        closes_at: Timestamp::from_millis(CLOSES),
        rules: Rules {
            order,
            max_party: 5,
            max_per_account: Some(4),
            hold_ms: None,
            cancelled: ReturnRule::Immediate,
            expired: ReturnRule::Immediate,
            across_openings: false,
            max_changes: u16::MAX,
            bookable_until: BookableUntil::DayBegins,
            max_bookings: u16::MAX,
            leftovers: Leftovers::None,
        },
        offices: vec![Office { id: "o".into(), name: String::new(), sessions }],
        slots: quotas.iter().enumerate().map(slot).collect(),
    }
}

/// An engine on a stream that stores what it is given, while it is allowed to.
struct Bench {
    stream: Vec<Bytes>,
    sequencer: Sequencer<u64>,
    now: Now,
    /// Everything told, by ticket.
    told: HashMap<u64, Outcome>,
    /// Blocks still to be stored before the engine dies.
    lives: usize,
    /// The append it does not hear of.
    unheard: Option<(Attempt, u64)>,
    /// How long each call into the sequencer took, while that is of interest.
    calls: Option<Vec<Duration>>,
}

impl Bench {
    fn new(opening: OpeningRecord) -> Self {
        let mut bench = Self::unopened();
        bench.sequencer.record_openings(vec![opening], bench.now);
        bench.run();
        bench
    }

    /// With no opening yet.
    fn unopened() -> Self {
        let genesis = Genesis {
            prefix: "giliran.v1".into(),
            applicant_key: KeyFingerprint([0; 16]),
            release: "0".into(),
            continues: None,
            rebuilt: None,
        };
        let block = Block {
            format: FORMAT,
            ledger: LEDGER,
            generation: 1,
            number: 1,
            epoch: 0,
            writer: WriterNonce([0; 16]),
            time: Timestamp::from_millis(1),
            previous: BlockHash::ZERO,
            entries: vec![Entry::Genesis(genesis)],
        };
        let now = Now { wall: Timestamp::from_millis(BEGIN), mono_ms: 1_000_000 };
        let mut bench = Self::on(vec![block.seal().bytes.into()], now);
        bench.run();
        bench
    }

    /// An engine that takes this stream over.
    fn on(stream: Vec<Bytes>, now: Now) -> Self {
        let mut keeper = StateMachine::new();
        for (i, bytes) in stream.iter().enumerate() {
            keeper.fold(i as u64 + 1, bytes).unwrap();
        }
        let take_over = TakeOver { engine: "t".into(), release: "0".into(), forced: None };
        let mut bits = (stream.len() as u128) << 64;
        let random = Box::new(move || {
            bits += 1;
            // Uniform, as ids are: tables rely on it.
            let hash = blake3::hash(&bits.to_le_bytes());
            u128::from_le_bytes(hash.as_bytes()[..16].try_into().unwrap())
        });
        let writer = WriterNonce([stream.len() as u8; 16]);
        let next = Continuation::default();
        let sequencer = Sequencer::take_over(keeper, writer, take_over, random, next, now)
            .with_order_key(key().order());
        Self {
            stream,
            sequencer,
            now,
            told: HashMap::new(),
            lives: usize::MAX,
            unheard: None,
            calls: None,
        }
    }

    /// An input to the sequencer.
    fn input(&mut self, input: impl FnOnce(&mut Sequencer<u64>, Now)) {
        let started = Instant::now();
        input(&mut self.sequencer, self.now);
        if let Some(calls) = &mut self.calls {
            calls.push(started.elapsed());
        }
    }

    /// Stores blocks until nothing is left to be done, or the engine dies: the
    /// last block it has sent is stored, and it does not hear of it.
    fn run(&mut self) {
        loop {
            let effects = self.sequencer.effects();
            let working = self.sequencer.next_tick_ms(self.now) == Some(self.now.mono_ms);
            if effects.is_empty() && working {
                self.input(Sequencer::tick);
            } else if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Append { attempt, expected_last, bytes, .. } => {
                        assert!(bytes.len() <= MAX_BLOCK_BYTES);
                        if self.lives == 0 {
                            return;
                        }
                        self.lives -= 1;
                        assert_eq!(expected_last, self.stream.len() as u64);
                        self.stream.push(bytes);
                        if self.lives == 0 {
                            self.unheard = Some((attempt, expected_last + 1));
                            return;
                        }
                        let stored = Appended::Stored { seq: expected_last + 1 };
                        self.input(|sequencer, now| sequencer.appended(attempt, stored, now));
                    }
                    Effect::Answer { ticket, outcome, .. } => {
                        assert!(self.told.insert(ticket, outcome).is_none(), "told twice");
                    }
                    Effect::Read { attempt, seq, .. } => {
                        let found = ReadOutcome::Found(self.stream[seq as usize - 1].clone());
                        self.input(|sequencer, now| sequencer.read(attempt, &found, now));
                    }
                    Effect::Active(_) | Effect::Foreign(_) => {}
                    Effect::Idle(why) => panic!("{why:?}"),
                }
            }
        }
    }

    fn tick(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall = self.now.wall.plus_millis(ms);
        self.input(Sequencer::tick);
        self.run();
    }

    /// Asks on behalf of a party; the ticket is its first one's number.
    fn ask(&mut self, party: &[u64], sessions: &[usize], account: Option<u64>) {
        let applicants: Vec<Pseudonym> = party.iter().map(|i| person(*i)).collect();
        let name = format!("r{}", party[0]);
        let choice = |i: &usize| Choice {
            office: Text::from("o"),
            date: None,
            session: Some(Text::from(format!("s{i}"))),
        };
        let choices: Vec<_> = sessions.iter().map(choice).collect();
        let ask = BookingRequest {
            request_id: &name,
            applicants: &applicants,
            content: Digest([1; 16]),
            choices: &choices,
            opening: None,
            expires_at: None,
            // Everybody has one of their own.
            account: Some(person(1_000_000 + account.unwrap_or(1_000_000 + party[0]))),
            channel: None,
            reference: None,
            vouched: false,
            wait: false,
        };
        let who = party[0];
        match self.sequencer.book().decide(&ask, self.now.wall) {
            Decision::Granted(grant) => {
                self.sequencer.decided([(grant, who)], [], self.now);
            }
            Decision::Enter(_) => panic!("nobody waits"),
            Decision::Ballot(entry) => self.sequencer.ballots([(entry, who)], self.now),
            Decision::Collect(ordinal) => {
                self.sequencer.collect([(ordinal, ask.to_owned(), who)], self.now);
            }
            Decision::Wait => self.sequencer.decided([], [(ask.to_owned(), who)], self.now),
            Decision::Settled(settled) => {
                self.told.insert(who, Outcome::Settled(settled));
            }
        }
    }

    fn reason(&self, who: u64) -> Option<Reason> {
        match self.told.get(&who) {
            Some(Outcome::Settled(giliran_allocator::Settled::Refused(refusal, _))) => {
                Some(refusal.reason)
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
    assert!(bench.told.is_empty(), "told before the round's end");
    bench.tick(100);
    let groups = bench.groups();
    assert_eq!(groups.len(), 1);
    let seed = key().order().seed(LEDGER, 0);
    let people: Vec<Pseudonym> = (0..40).map(person).collect();
    let expected = order::round_order(&seed, 1, people.iter().map(std::slice::from_ref));
    let expected: Vec<Pseudonym> = expected[..30].iter().map(|i| people[*i]).collect();
    assert_eq!(groups[0].2, expected);
    let refused = (0..40).filter(|who| bench.reason(*who) == Some(Reason::SoldOut)).count();
    assert_eq!((bench.told.len(), refused), (40, 10));
    // Once it is durably full, nobody waits for a round to hear of it.
    bench.ask(&[50], &[0], None);
    assert_eq!(bench.reason(50), Some(Reason::SoldOut));
}

/// Counted by second, slot and reason; on record once their second is over.
#[test]
fn refusals_of_a_round_are_on_record_as_a_digest() {
    let mut bench = Bench::new(opening(Order::Rounds { length_ms: 500 }, &[30]));
    for who in 0..40 {
        bench.ask(&[who], &[0], None);
    }
    bench.tick(500);
    let digests = |bench: &Bench| {
        let all = bench.entries().flatten().filter_map(|entry| match entry {
            Entry::Refusals(refusals) => Some(refusals.tallies),
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
    let seed = key().order().seed(LEDGER, 0);
    let rank = |who: &Pseudonym| order::round_rank(&seed, 1, &[*who]);
    let all: Vec<Pseudonym> = groups.into_iter().flat_map(|(.., people)| people).collect();
    assert_eq!(all.len(), 8_000);
    assert!(all.windows(2).all(|w| rank(&w[0]) < rank(&w[1])));
    let refused = (0..PEOPLE).filter(|w| whole.reason(*w) == Some(Reason::SoldOut)).count();
    assert_eq!((whole.told.len() as u64, refused), (PEOPLE, 1_000));

    let mut dies = Bench::new(opening(order, &[8_000]));
    ask_all(&mut dies);
    dies.lives = 1;
    dies.tick(500);
    assert!(dies.told.is_empty(), "told though the group is not known to be durable");
    let first = dies.groups();
    assert_eq!(first.len(), 1);
    let mut next = Bench::on(dies.stream, dies.now);
    next.run();
    ask_all(&mut next);
    let known = next.told.len();
    assert_eq!(known, first[0].2.len(), "whose grant stands is told of it at once");
    next.tick(500);
    next.tick(500);
    assert_eq!(next.told.len() as u64, PEOPLE);
    assert_eq!(next.slots().len(), 8_000);
    let mut replayed = StateMachine::new();
    for (i, bytes) in next.stream.iter().enumerate() {
        replayed.fold(i as u64 + 1, bytes).unwrap();
    }
    assert_eq!(replayed.state_hash(), next.sequencer.keeper().state_hash());
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
    assert_eq!(bench.told.len(), 5);
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
    assert_eq!(*seed, key().order().seed(LEDGER, 0));
    // With the seed known there are no more rounds.
    let act = AdminOp::ClosesAt { closes_at: Timestamp::from_millis(CLOSES + 60_000) };
    let action =
        AdminCommand { opening: 0, operator: "o".into(), reason: "r".into(), act, dry_run: false };
    bench.sequencer.admin(action, 77, bench.now);
    bench.run();
    assert!(matches!(bench.told[&77], Outcome::NotAdjusted(..)));
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
    let granted = bench.told.values().filter(|told| matches!(told, Outcome::Granted(..)));
    assert_eq!(granted.count(), 6, "{:?}", bench.told);
}
