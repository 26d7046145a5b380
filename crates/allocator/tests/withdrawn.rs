//! Entries that were withdrawn: the last of them are known, so that a late repetition
//! does not enter again; to come and go under ever new names does not fill the memory.

#![allow(clippy::unwrap_used, reason = "tests")]

use giliran_allocator::StateMachine;
use giliran_testkit::{LiveLedger, entry, opening};
use giliran_wire::BookingId;
use giliran_wire::ledger::{DrawEntryRecord, DrawRecord, Entry, ReturnRule};

/// As many as are known.
const KNOWN: u64 = 1 << 14;

fn receipt(i: u64) -> BookingId {
    let hash = blake3::hash(&i.to_le_bytes());
    BookingId::from_random(u128::from_le_bytes(hash.as_bytes()[..16].try_into().unwrap()))
}

fn entered(i: u64) -> Entry {
    let entry = DrawEntryRecord { receipt: receipt(i), ..entry(i, &[0]) };
    Entry::Draw(DrawRecord::Entered(Box::new(entry)))
}

#[test]
fn of_withdrawn_entries_the_last_are_known() {
    let mut record = opening(&[1]);
    record.rules.cancelled = ReturnRule::At { minutes: vec![420] };
    let mut ledger = LiveLedger::with(vec![record]);
    let all: Vec<u64> = (0..KNOWN + 10).collect();
    for some in all.chunks(1_000) {
        ledger.append(some.iter().map(|i| entered(*i)).collect());
        let withdrawn =
            |i: &u64| DrawRecord::Withdrawn { receipt: receipt(*i), request_id: "x".into() };
        ledger.append(some.iter().map(withdrawn).map(Entry::Draw).collect());
    }
    let known = |state: &StateMachine| {
        all.iter().filter(|i| state.allocator().entry(&receipt(**i)).is_some()).count()
    };
    assert_eq!(known(&ledger.state) as u64, KNOWN);
    assert_eq!(ledger.state.allocator().entries(), 0, "withdrawn ones fill no bound");
    let replayed = ledger.replayed();
    assert_eq!(replayed.state_hash(), ledger.state.state_hash());
    let mut restored = StateMachine::new();
    replayed.snapshot(|piece| restored.restore(piece.clone())).unwrap();
    assert_eq!(restored.state_hash(), replayed.state_hash());
    // Whoever begins with the snapshot forgets the same ones later.
    let more: Vec<Entry> = (0..5).map(|i| entered(KNOWN + 10 + i)).collect();
    ledger.append(more);
    let withdrawn = (0..5).map(|i| DrawRecord::Withdrawn {
        receipt: receipt(KNOWN + 10 + i),
        request_id: "x".into(),
    });
    ledger.append(withdrawn.map(Entry::Draw).collect());
    for seq in ledger.blocks.len() - 1..=ledger.blocks.len() {
        restored.fold(seq as u64, &ledger.blocks[seq - 1]).unwrap();
    }
    assert_eq!(restored.state_hash(), ledger.state.state_hash());
    assert_eq!(known(&restored) as u64, KNOWN - 5);
}
