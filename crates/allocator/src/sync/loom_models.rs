//! Counter, claim and stable read under every interleaving (loom).
//!
//! Run by `cargo xtask test --only loom`. Each model was seen to fail: the
//! counter when it loads and stores instead of swapping, the claim when a
//! rejected party keeps its first members, the read without its second look at
//! the version, the staged booking where a claim does not ask for the position.

use std::sync::Arc;

use giliran_wire::ledger::{Grant, Seat};
use giliran_wire::{BookingId, Digest, Position, Pseudonym, Timestamp};
use loom::thread;

use crate::Booking;
use crate::claims::{ClaimState, Claims};
use crate::sync::counters::SlotCounter;
use crate::sync::seqlock::SeqLock;
use crate::sync::{AtomicU64, Ordering};

fn person(n: u8) -> Pseudonym {
    Pseudonym::from_bytes([n; 16])
}

#[test]
fn loom_a_party_gets_all_its_places_or_none() {
    loom::model(|| {
        let free = Arc::new(SlotCounter::new(3));
        let other = {
            let free = Arc::clone(&free);
            thread::spawn(move || free.take(2))
        };
        let mine = free.take(2);
        let other = other.join().expect("no panic");
        assert!(mine ^ other, "two of three places went to two parties of two, or to none");
        assert_eq!(free.now(), 1);
    });
}

#[test]
fn loom_the_last_place_goes_once_and_comes_back() {
    loom::model(|| {
        let free = Arc::new(SlotCounter::new(1));
        let takes = |free: &Arc<SlotCounter>| {
            let free = Arc::clone(free);
            thread::spawn(move || {
                let got = free.take(1);
                if got {
                    free.give(1);
                }
            })
        };
        let (a, b) = (takes(&free), takes(&free));
        a.join().expect("no panic");
        b.join().expect("no panic");
        assert_eq!(free.now(), 1);
    });
}

#[test]
fn loom_parties_that_share_a_member_never_both_claim() {
    loom::model(|| {
        let claims = Arc::new(Claims::default());
        let other = {
            let claims = Arc::clone(&claims);
            thread::spawn(move || claims.take(&[person(2), person(3)]).is_ok())
        };
        let mine = claims.take(&[person(1), person(2)]).is_ok();
        let other = other.join().expect("no panic");
        assert!(!(mine && other), "an applicant was claimed twice");
        // Who was rejected has left nothing behind.
        let claimed = |n| claims.look(&person(n), |claim| claim.is_some());
        assert_eq!(claimed(1), mine);
        assert_eq!(claimed(3), other);
        assert_eq!(claimed(2), mine || other);
    });
}

#[test]
fn loom_what_a_reader_sees_stood_at_the_position_it_names() {
    loom::model(|| {
        let facts = Arc::new((SeqLock::new(), AtomicU64::new(0), AtomicU64::new(0)));
        let state = {
            let facts = Arc::clone(&facts);
            thread::spawn(move || {
                facts.0.change((Position { epoch: 1, seq: 1 }, 1), |_| {
                    facts.1.store(1, Ordering::Relaxed);
                    facts.2.store(1, Ordering::Relaxed);
                });
            })
        };
        let seen = facts.0.read(|at| {
            let one = facts.1.load(Ordering::Relaxed);
            (one, facts.2.load(Ordering::Relaxed), at.position().seq)
        });
        if let Some((one, two, seq)) = seen {
            assert!(one == two && one == seq, "{one} and {two} at {seq}");
        }
        state.join().expect("no panic");
    });
}

#[test]
fn loom_a_staged_booking_is_seen_with_its_block_and_not_before() {
    loom::model(|| {
        let facts = Arc::new((SeqLock::new(), Claims::default()));
        facts.1.take(&[person(1)]).expect("nobody else is there");
        let state = {
            let facts = Arc::clone(&facts);
            thread::spawn(move || {
                facts.1.stage(&Arc::new(booking(1))).expect("claimed");
                facts.0.change((Position { epoch: 1, seq: 1 }, 1), |_| ());
            })
        };
        let seen = facts.0.read(|at| {
            let granted = facts.1.look(&person(1), |claim| {
                matches!(claim.map(|claim| claim.state(at)), Some(ClaimState::Granted(_)))
            });
            (granted, at.position().seq)
        });
        if let Some((granted, seq)) = seen {
            assert_eq!(granted, seq == 1, "at {seq}");
        }
        state.join().expect("no panic");
    });
}

/// A booking of person 1 that this block grants.
fn booking(block: u64) -> Booking {
    let grant = Grant {
        booking: BookingId::from_random(1),
        opening: 0,
        slot: 0,
        seats: std::iter::once(Seat { applicant: person(1), number: 1 }).collect(),
        request_id: "r".into(),
        content: Digest([0; 16]),
        reference: None,
        account: None,
        channel: None,
        hold_expires_at: None,
    };
    Booking::new(grant, Timestamp::from_millis(1), block)
}
