//! The resale trick: a broker who holds a place cancels it and books it again
//! for a client in the same stroke, among honest people who keep asking.
//!
//! Under `immediate` the broker is alone in knowing the moment, and wins nearly
//! always. Under collected returns the client is one of those who wait: the base
//! rate. Fixed seeds; the intervals are four standard deviations wide.

#![allow(clippy::unwrap_used, reason = "tests")]

use giliran_allocator::{
    BookingRequest, ChangeKind, ChangeOutcome, ChangeRequest, Decision, Settled,
};
use giliran_testkit::{LiveLedger, opening, person, request};
use giliran_wire::answer::Reason;
use giliran_wire::ledger::{DrawRecord, Entry, OpeningRecord, ReturnRule};
use giliran_wire::request::Choice;
use giliran_wire::{BookingId, Pseudonym, Text, Timestamp};

const NOW: Timestamp = LiveLedger::NOW;

const TRIALS: u64 = 400;
const HONEST: u64 = 9;

/// A small generator of its own, so that a failure's seed says it all.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

/// One office, one place, one broker who has it.
struct Market {
    ledger: LiveLedger,
    random: Random,
    held: BookingId,
}

fn asks(who: Pseudonym, wait: bool, use_it: impl FnOnce(&BookingRequest<'_>)) {
    let choices = [Choice { office: Text::from("o"), date: None, session: None }];
    use_it(&BookingRequest { wait, ..request("r", &[who], &choices) });
}

impl Market {
    fn new(seed: u64, cancelled: ReturnRule) -> Self {
        let record = opening(&[1]);
        let rules = giliran_wire::ledger::Rules { cancelled, ..record.rules.clone() };
        let ledger = LiveLedger::with(vec![OpeningRecord { rules, ..record }]);
        let mut market = Self { ledger, random: Random(seed), held: BookingId::from_random(0) };
        assert!(market.book(person(0)));
        market
    }

    /// Asks once; true: got the place.
    fn book(&mut self, who: Pseudonym) -> bool {
        let mut decision = None;
        asks(who, false, |ask| decision = Some(self.ledger.state.allocator().decide(ask, NOW)));
        match decision.unwrap() {
            Decision::Granted(mut grant) => {
                self.ledger.state.assign_numbers(&mut grant, NOW, self.random.wide());
                self.held = grant.id;
                self.ledger.append(vec![Entry::Grant(grant.enter().as_grant().to_owned())]);
                true
            }
            Decision::Settled(Settled::Rejected(rejection, _)) => {
                assert_eq!(rejection.reason, Reason::SoldOut);
                false
            }
            other => panic!("{other:?}"),
        }
    }

    fn wait(&mut self, who: Pseudonym) {
        let mut decision = None;
        asks(who, true, |ask| decision = Some(self.ledger.state.allocator().decide(ask, NOW)));
        let Decision::JoinWaitlist(mut entry) = decision.unwrap() else { panic!("not to wait") };
        assert_eq!(self.ledger.state.enter_waitlist(&mut entry, self.random.wide()), Some(true));
        self.ledger.append(vec![Entry::Draw(DrawRecord::Entered(entry))]);
    }

    /// The broker gives the place back.
    fn cancel(&mut self) {
        let ask = ChangeRequest {
            request_id: "x".into(),
            target: Some(self.held),
            kind: ChangeKind::Cancel { applicant: person(0) },
        };
        let mut bits = || 0;
        match self.ledger.state.change(&ask, NOW, &mut bits) {
            ChangeOutcome::Entry(entry, _) => self.ledger.append(vec![*entry]),
            other => panic!("{other:?}"),
        };
    }

    fn release(&mut self, now: Timestamp) {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&self.random.wide().to_le_bytes());
        let mut drawing = self.ledger.state.due_waitlist_draw(now, seed).expect("a release is due");
        while let Some(entries) = self.ledger.state.advance_waitlist_draw(&mut drawing, now, 100) {
            self.ledger.append(entries);
        }
    }

    fn has(&self, who: Pseudonym) -> bool {
        let (found, _) = self.ledger.state.allocator().find(&who, "w").unwrap();
        found.is_some_and(|found| found.booking.status.is_live())
    }
}

/// The client is person 1; honest people are 2 and up. Each honest one looks
/// again some time within the next second, the broker 2 ms after the cancel was
/// answered.
fn trial(seed: u64, cancelled: &ReturnRule) -> bool {
    let mut market = Market::new(seed, cancelled.clone());
    let collects = matches!(cancelled, ReturnRule::At { .. });
    let mut arrivals: Vec<(u64, u64)> =
        (2..2 + HONEST).map(|who| (market.random.next() % 1_000, who)).collect();
    arrivals.push((2, 1));
    arrivals.sort_unstable();
    if collects {
        // Whoever wants the place waits; the broker's client as well.
        for (_, who) in &arrivals {
            market.wait(person(*who));
        }
        market.cancel();
        for (_, who) in &arrivals {
            asks(person(100 + who), false, |ask| {
                let decision = market.ledger.state.allocator().decide(ask, NOW);
                assert!(matches!(decision, Decision::Settled(Settled::Rejected(..))), "no stroke");
            });
        }
        market.release(NOW.plus_millis(24 * 3_600_000));
    } else {
        for (_, who) in &arrivals {
            assert!(!market.book(person(*who)), "nothing is free yet");
        }
        market.cancel();
        for (_, who) in &arrivals {
            market.book(person(*who));
        }
    }
    assert_eq!(market.ledger.replayed().state_hash(), market.ledger.state.state_hash());
    market.has(person(1))
}

fn captured(cancelled: &ReturnRule) -> f64 {
    let won = (0..TRIALS).filter(|seed| trial(*seed * 7_919 + 1, cancelled)).count();
    won as f64 / TRIALS as f64
}

#[test]
fn cancel_and_rebook_pays_under_immediate_and_is_a_ticket_in_a_draw_when_collected() {
    let immediate = captured(&ReturnRule::Immediate);
    let collected = captured(&ReturnRule::At { minutes: vec![7 * 60, 17 * 60] });
    let base = 1.0 / (HONEST + 1) as f64;
    let sigma = (base * (1.0 - base) / TRIALS as f64).sqrt();
    println!("captured: immediate {immediate:.3}, collected {collected:.3}, base rate {base:.3}");
    assert!(immediate > 0.95, "captured {immediate} under immediate");
    assert!((collected - base).abs() < 4.0 * sigma, "captured {collected}, base rate {base}");
}
