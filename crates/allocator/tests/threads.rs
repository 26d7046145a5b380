//! Four threads decide while a state machine commits and gives up blocks.
//!
//! Every answer is kept and judged afterwards against the ledger: what it says
//! must have been true at the position it names.
//!
//! Mutants this was seen to catch: the place taken before the claim and not
//! given back; `sold_out` from the pending counter; a counter that is loaded
//! and stored instead of swapped; claims of a party not given back where a
//! member's is taken; a rejection that names the position after a block it has
//! not seen; a staged booking that is seen before its block is in the ledger.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use giliran_allocator::{
    Allocator, BlockTurn, BookingRequest, Content, Decision, Numbered, PendingGrant, Settled,
};
use giliran_testkit::{LiveLedger, opening, person, request};
use giliran_wire::answer::Reason;
use giliran_wire::ledger::{Entry, Grant};
use giliran_wire::request::Choice;
use giliran_wire::{BookingId, Digest, Pseudonym, Text, Timestamp};

const NOW: Timestamp = LiveLedger::NOW;

const THREADS: u64 = 4;
/// The slot that nobody asks for who does not name it.
const SPARE: usize = 8;

/// A small generator of its own, so that a failure's seed says it all.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }
}

#[derive(Debug, Clone)]
struct Request {
    id: String,
    people: Vec<Pseudonym>,
    /// Sessions, by preference; none: any.
    sessions: Vec<Option<usize>>,
    account: Option<Pseudonym>,
}

impl Request {
    fn decide(&self, allocator: &Arc<Allocator>) -> Decision {
        let choices: Vec<Choice<'_>> = self
            .sessions
            .iter()
            .map(|session| Choice {
                office: Text::from("o"),
                date: None,
                session: session.map(|i| Text::from(format!("s{i}"))),
            })
            .collect();
        let ask = BookingRequest {
            content: Content::Digest(self.content()),
            account: self.account,
            ..request(&self.id, &self.people, &choices)
        };
        allocator.decide(&ask, NOW)
    }

    fn content(&self) -> Digest {
        let hash = blake3::hash(format!("{:?}", self.sessions).as_bytes());
        Digest(hash.as_bytes()[..16].try_into().unwrap())
    }
}

/// A terminal answer and the sequence it was true at.
#[derive(Debug)]
enum ChangeReply {
    Booking(BookingId),
    Rejected(Reason),
}

#[derive(Debug)]
struct Answer {
    request: Request,
    reply: ChangeReply,
    seq: u64,
}

/// Puts what is decided into blocks, and gives up every `every`-th block and
/// grant, until all senders are gone.
fn keep(
    ledger: &mut LiveLedger,
    granted: &Receiver<PendingGrant>,
    random: &mut Random,
    every: u64,
) {
    let mut ids = 1u128;
    loop {
        let mut grants = match granted.recv() {
            Ok(first) => vec![first],
            Err(_) => return,
        };
        while grants.len() < 64 {
            match granted.try_recv() {
                Ok(grant) => grants.push(grant),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        grants.retain(|_| random.below(every) != 0);
        let given_up = random.below(every) == 0;
        if random.below(4) == 0 {
            // As a round's grants: bookings with their block.
            let number = |mut grant: PendingGrant| {
                while ledger.state.assign_numbers(&mut grant, NOW, ids) != Numbered::Done {
                    ids += 1;
                }
                Entry::Grant(grant.enter().as_grant().to_owned())
            };
            let entries: Vec<_> = grants.into_iter().map(number).collect();
            if given_up {
                entries.iter().for_each(|entry| ledger.state.abandon(entry));
            } else {
                ledger.append(entries);
            }
            continue;
        }
        let mut next = || {
            ids += 1;
            ids
        };
        let staged: Vec<_> = grants
            .into_iter()
            .map(|grant| ledger.state.stage(grant, (BlockTurn::Next, NOW), &mut next).unwrap())
            .collect();
        // The others go on deciding beside what nobody may see yet.
        std::thread::yield_now();
        if given_up {
            ledger.state.abandon_staged();
        } else {
            ledger.append_staged(&staged);
        }
    }
}

/// Asks until everything has a terminal answer. A grant is one when a later
/// repetition finds it.
fn ask_all(
    allocator: &Arc<Allocator>,
    mut requests: Vec<Request>,
    granted: &SyncSender<PendingGrant>,
) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !requests.is_empty() {
        let mut again = Vec::new();
        for request in requests {
            match request.decide(allocator) {
                Decision::Granted(grant) => {
                    granted.send(grant).unwrap();
                    again.push(request);
                }
                Decision::Retry => again.push(request),
                Decision::JoinWaitlist(_)
                | Decision::EnterDraw(_)
                | Decision::DeferToRound(_)
                | Decision::Settled(Settled::Entered { .. }) => {
                    panic!("nobody asked to wait")
                }
                Decision::Settled(Settled::Repeat(found, at)) => {
                    let reply = ChangeReply::Booking(found.booking.id);
                    answers.push(Answer { request, reply, seq: at.position().seq });
                }
                Decision::Settled(Settled::Rejected(rejection, at)) => {
                    let reply = ChangeReply::Rejected(rejection.reason);
                    answers.push(Answer { request, reply, seq: at.position().seq });
                }
            }
        }
        requests = again;
        std::thread::yield_now();
    }
    answers
}

fn run(ledger: &mut LiveLedger, seed: u64, every: u64, requests: Vec<Vec<Request>>) -> Vec<Answer> {
    let allocator = Arc::clone(ledger.state.allocator());
    let (send, granted) = sync_channel(256);
    std::thread::scope(|scope| {
        let asking: Vec<_> = requests
            .into_iter()
            .map(|mine| {
                let (allocator, send) = (&allocator, send.clone());
                scope.spawn(move || ask_all(allocator, mine, &send))
            })
            .collect();
        drop(send);
        keep(ledger, &granted, &mut Random(seed), every);
        asking.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// What the ledger says, by sequence.
struct Facts {
    /// Sequence, slot, people, account, id, request id; in ledger order.
    grants: Vec<(u64, Grant)>,
}

impl Facts {
    fn read(ledger: &LiveLedger) -> Self {
        let mut grants = Vec::new();
        for (i, bytes) in ledger.blocks.iter().enumerate() {
            for entry in giliran_wire::ledger::Block::open(bytes).unwrap().0.entries {
                if let Entry::Grant(grant) = entry {
                    grants.push((i as u64 + 1, grant));
                }
            }
        }
        Self { grants }
    }

    fn up_to(&self, seq: u64) -> impl Iterator<Item = &Grant> {
        self.grants.iter().take_while(move |(at, _)| *at <= seq).map(|(_, grant)| grant)
    }

    /// P1, P3 for the whole ledger.
    fn check(&self, quotas: &[u16]) {
        let mut numbers = HashSet::new();
        let mut people = HashSet::new();
        for (_, grant) in &self.grants {
            for seat in &grant.seats {
                assert!((1..=quotas[grant.slot as usize]).contains(&seat.number));
                assert!(numbers.insert((grant.slot, seat.number)), "a number twice");
                assert!(people.insert(seat.applicant), "a person twice");
            }
        }
    }
}

/// After everything is settled nothing is held that is not durable.
fn check_nothing_leaked(ledger: &LiveLedger, facts: &Facts, quotas: &[u16]) {
    let openings = ledger.state.allocator().openings();
    for (slot, quota) in quotas.iter().enumerate() {
        let slot = slot as u32;
        let seats: usize =
            facts.up_to(u64::MAX).filter(|g| g.slot == slot).map(|g| g.seats.len()).sum();
        assert_eq!(openings[0].durably_free(slot), i32::from(*quota) - seats as i32);
        assert_eq!(openings[0].free(slot), openings[0].durably_free(slot));
    }
    assert_eq!(ledger.state.allocator().bookings(), facts.grants.len());
    assert_eq!(ledger.replayed().state_hash(), ledger.state.state_hash());
}

#[test]
fn a_million_for_a_thousand() {
    const QUOTA: u16 = 1_000;
    let mut ledger = LiveLedger::with(vec![opening(&[QUOTA])]);
    let request = |i: u64| Request {
        id: "r".into(),
        people: vec![Pseudonym::from_bytes(
            ((u128::from(i) << 64) | (u128::from(i) * 0x9e37_79b9_7f4a_7c15)).to_be_bytes(),
        )],
        sessions: vec![None],
        account: None,
    };
    let share = 1_000_000 / THREADS;
    let requests = (0..THREADS).map(|t| (t * share..(t + 1) * share).map(request).collect());
    let answers = run(&mut ledger, 1, 8, requests.collect());
    assert_eq!(answers.len() as u64, share * THREADS);

    let facts = Facts::read(&ledger);
    facts.check(&[QUOTA]);
    let full_at = facts.grants.last().unwrap().0;
    let mut numbers: Vec<u16> = facts.up_to(u64::MAX).map(|g| g.seats[0].number).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=QUOTA));
    let mut booked = 0;
    for answer in &answers {
        match &answer.reply {
            ChangeReply::Booking(_) => booked += 1,
            ChangeReply::Rejected(reason) => {
                assert_eq!(*reason, Reason::SoldOut);
                assert!(answer.seq >= full_at, "sold out at {}, full at {full_at}", answer.seq);
            }
        }
    }
    assert_eq!(booked, QUOTA);
    check_nothing_leaked(&ledger, &facts, &[QUOTA]);
}

/// Requests of parties that overlap, in any order of members, each asked by two
/// threads at once.
fn families(seed: u64, people: u64, slots: usize) -> Vec<Vec<Request>> {
    let mut random = Random(seed);
    let mut requests: Vec<Request> = (0..people)
        .map(|i| {
            let mut members = HashSet::new();
            let party = [1, 1, 1, 2, 2, 3, 5][random.below(7) as usize];
            while members.len() < party {
                members.insert(person(random.below(people)));
            }
            let choices = 1 + random.below(3);
            let session = |random: &mut Random| match random.below(slots as u64 + 1) {
                0 => None,
                n => Some(n as usize - 1),
            };
            Request {
                id: format!("r{i}"),
                // In the set's own random order.
                people: members.into_iter().collect(),
                sessions: (0..choices).map(|_| session(&mut random)).collect(),
                // Half of them share one, the others have one of their own.
                account: Some(match random.below(2) {
                    0 => person(1_000_000 + random.below(people / 8)),
                    _ => person(2_000_000 + i),
                }),
            }
        })
        .collect();
    let twice = requests.clone();
    requests.extend(twice);
    let mut dealt: Vec<Vec<Request>> = (0..THREADS).map(|_| Vec::new()).collect();
    while !requests.is_empty() {
        let i = random.below(requests.len() as u64) as usize;
        dealt[random.below(THREADS) as usize].push(requests.swap_remove(i));
    }
    dealt
}

fn check_answer(answer: &Answer, facts: &Facts, quotas: &[u16], limit: u32) {
    let request = &answer.request;
    let places = request.people.len();
    let known = || facts.up_to(answer.seq);
    match &answer.reply {
        ChangeReply::Booking(id) => {
            let grant = known().find(|g| g.booking == *id).expect("durable where it says so");
            let people: Vec<Pseudonym> = grant.seats.iter().map(|seat| seat.applicant).collect();
            assert_eq!((people, &grant.request_id), (request.people.clone(), &request.id));
        }
        ChangeReply::Rejected(Reason::AlreadyBooked) => {
            let of_party =
                |g: &Grant| g.seats.iter().any(|s| request.people.contains(&s.applicant));
            assert!(known().any(of_party), "already_booked before anybody was");
        }
        ChangeReply::Rejected(Reason::SoldOut) => {
            let mut taken: HashMap<u32, usize> = HashMap::new();
            for grant in known() {
                *taken.entry(grant.slot).or_default() += grant.seats.len();
            }
            for (slot, quota) in quotas.iter().enumerate().take(SPARE) {
                let wanted = request.sessions.iter().any(|s| s.is_none_or(|s| s == slot));
                let free = usize::from(*quota) - taken.get(&(slot as u32)).unwrap_or(&0);
                assert!(!wanted || free < places, "sold_out with {free} free for {places}");
            }
        }
        ChangeReply::Rejected(Reason::AccountLimit) => {
            let mine = known().filter(|g| g.account == request.account);
            let has: usize = mine.map(|g| g.seats.len()).sum();
            assert!(has + places > limit as usize, "account_limit with {has} places");
        }
        ChangeReply::Rejected(Reason::PartyTooLarge) => {
            let wanted = |slot: usize| request.sessions.iter().any(|s| s.is_none_or(|s| s == slot));
            let takes =
                |(slot, quota): (usize, &u16)| wanted(slot) && usize::from(*quota) >= places;
            assert!(!quotas.iter().enumerate().any(takes), "party_too_large for {places}");
        }
        ChangeReply::Rejected(other) => panic!("{other:?}"),
    }
}

#[test]
fn families_that_overlap_get_what_the_ledger_says() {
    const LIMIT: u32 = 6;
    let quotas = [40, 1, 2, 7, 20, 20, 3, 60, 1_000];
    for seed in 0..12 {
        let mut record = opening(&quotas);
        record.rules.max_per_account = Some(LIMIT);
        // Never asked for while threads compete: it is for the check at the end.
        record.offices[0].sessions[SPARE].explicit = true;
        let mut ledger = LiveLedger::with(vec![record]);
        let answers = run(&mut ledger, seed, 4, families(seed, 400, SPARE));

        let facts = Facts::read(&ledger);
        facts.check(&quotas);
        check_nothing_leaked(&ledger, &facts, &quotas);
        let mut bookings: HashMap<String, BookingId> = HashMap::new();
        for answer in &answers {
            check_answer(answer, &facts, &quotas, LIMIT);
            if let ChangeReply::Booking(id) = &answer.reply {
                let known = bookings.entry(answer.request.id.clone()).or_insert(*id);
                assert_eq!(known, id, "one request, two bookings");
            }
        }
        assert_eq!(bookings.len(), facts.grants.len(), "seed {seed}: a grant nobody found again");
        check_claims_and_accounts(&ledger, &facts, LIMIT, 400);
    }
}

/// No claim and no account's place is left behind: whoever has no booking can
/// still get one, and every account can be filled to its limit.
fn check_claims_and_accounts(ledger: &LiveLedger, facts: &Facts, limit: u32, people: u64) {
    let allocator = ledger.state.allocator();
    let alone = |who, account| {
        let request = Request {
            id: "afterwards".into(),
            people: vec![who],
            sessions: vec![Some(SPARE)],
            account,
        };
        request.decide(allocator)
    };
    let seats = facts.up_to(u64::MAX).flat_map(|grant| &grant.seats);
    let booked: HashSet<Pseudonym> = seats.map(|seat| seat.applicant).collect();
    for who in (0..people).map(person).filter(|who| !booked.contains(who)) {
        match alone(who, Some(person(4_000_000))) {
            Decision::Granted(grant) => drop(grant),
            other => panic!("{other:?} for somebody without a booking"),
        }
    }
    for account in (0..people / 8).map(|i| person(1_000_000 + i)) {
        let mine = facts.up_to(u64::MAX).filter(|grant| grant.account == Some(account));
        let has: usize = mine.map(|grant| grant.seats.len()).sum();
        let mut grants = Vec::new();
        for i in has as u64..u64::from(limit) {
            match alone(person(2_000_000 + i), Some(account)) {
                Decision::Granted(grant) => grants.push(grant),
                other => panic!("{other:?} with {i} of {limit} places of an account"),
            }
        }
        let beyond = alone(person(3_000_000), Some(account));
        assert!(!matches!(beyond, Decision::Granted(_)), "an account beyond its limit");
    }
}
