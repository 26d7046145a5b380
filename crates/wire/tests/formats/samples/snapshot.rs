//! A snapshot with every kind of piece, and each option given once.

use giliran_wire::answer::{Phase, Status};
use giliran_wire::ledger::{Chain, DrawRecord, Entry};
use giliran_wire::snapshot::{
    BookingState, ChangeLogState, EntryState, Head, OpeningState, OrderState, PastChangeState,
    Piece, Revealed, SlotState, SnapshotHeader, Until, Withheld,
};
use giliran_wire::{BlockHash, Pseudonym};

use super::{at, blocks};

macro_rules! kinds {
    ($($kind:ident),*) => {
        /// No wildcard: who adds a kind of piece meets this first, and then the test that
        /// the sample holds every kind.
        pub(crate) fn piece_kind(piece: &Piece) -> &'static str {
            match piece { $(Piece::$kind(_) => stringify!($kind)),* }
        }

        pub(crate) const PIECE_KINDS: &[&str] = &[$(stringify!($kind)),*];
    };
}

kinds! { Stand, Head, Opening, Bookings, Entries, Order }

/// The pieces of one state, in their order; records are those of the sample ledger.
pub(crate) fn pieces() -> Vec<Piece> {
    let entries: Vec<Entry> = blocks().into_iter().flat_map(|(_, block)| block.entries).collect();
    let genesis = entries.iter().find_map(|entry| match entry {
        Entry::Genesis(genesis) => Some(genesis.clone()),
        _ => None,
    });
    let header = SnapshotHeader {
        chain: Chain::new(),
        genesis: genesis.expect("a genesis"),
        sealed: Some(BlockHash([0x5a; 32])),
    };
    let head = Head { next_ordinal: 3, retired: vec!["2026-W48".into()], changes: 1_841 };
    let order = OrderState {
        opening: 2,
        commitment: [0x11; 32],
        beacon: Some("drand quicknet 14000000".into()),
        root: Some(([0x13; 32], 2)),
        revealed: Some(Revealed {
            seed: [0x14; 32],
            beacon: Some(vec![1, 2, 3]),
            at: at("2026-11-29T07:00:01.000Z"),
        }),
    };
    let mut pieces = vec![Piece::Stand(Box::new(header)), Piece::Head(head)];
    pieces.extend(entries.iter().filter_map(opening));
    pieces.push(Piece::Bookings(entries.iter().filter_map(booking).collect()));
    pieces.push(Piece::Entries(entries.iter().filter_map(entry).collect()));
    pieces.push(Piece::Order(order));
    pieces
}

fn opening(entry: &Entry) -> Option<Piece> {
    let Entry::Opening(record) = entry else { return None };
    let since = at("2026-11-27T08:00:00.000Z");
    let withheld =
        [Until::At(at("2026-11-28T00:00:00.000Z")), Until::Draw { since, expired: true }];
    let withheld = (1..).zip(withheld).map(|(number, until)| Withheld { number, until });
    let slot = SlotState { quota: 100, reserved: 5, halted: true, withheld: withheld.collect() };
    Some(Piece::Opening(Box::new(OpeningState {
        record: (**record).clone(),
        phase: Phase::Open,
        closes_at: record.closes_at,
        took_place: true,
        draws: 1,
        slots: vec![slot],
    })))
}

fn booking(entry: &Entry) -> Option<BookingState> {
    let Entry::Grant(grant) = entry else { return None };
    let left = vec![Pseudonym::from_bytes([2; 16])];
    let done = [
        PastChangeState::Confirmed(Some("pay-1".into())),
        PastChangeState::Refund(Some("pay-2".into())),
        PastChangeState::Cancelled(left.first().copied()),
        PastChangeState::Rescheduled(grant.content),
    ];
    let done = (0..).zip(done).map(|(n, did)| (format!("c{n}"), did)).collect();
    Some(BookingState {
        grant: grant.clone(),
        granted_at: at("2026-11-27T07:00:00.123Z"),
        version: 5,
        status: Status::Confirmed,
        // As one that nothing happened to, where the grant leaves all out.
        change_log: grant.reference.as_ref().map(|_| ChangeLogState { done, changes: 1, left }),
    })
}

fn entry(entry: &Entry) -> Option<EntryState> {
    let Entry::Draw(DrawRecord::Entered(record)) = entry else { return None };
    Some(EntryState {
        entry: (**record).clone(),
        since: at("2026-11-27T07:00:00.123Z"),
        withdrawn: record.reference.as_ref().map(|_| at("2026-11-27T07:30:00.000Z")),
    })
}
