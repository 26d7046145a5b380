//! A ledger in memory: what the engine and its broker do for a keeper.

use giliran_allocator::{Durable, StateChange, StateMachine};
use giliran_wire::ledger::{
    Block, BookableUntil, Entry, FORMAT, Genesis, Leftovers, Office, OpeningRecord, Order,
    ReturnRule, Rules, Session, Slot, TakeOver,
};
use giliran_wire::{Date, KeyFingerprint, LedgerId, Pseudonym, Timestamp, WriterNonce};

/// When the openings of [`opening`] are open.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_000);

pub(crate) struct Ledger {
    pub(crate) keeper: StateMachine,
    /// Every block; the first has sequence 1.
    pub(crate) blocks: Vec<Vec<u8>>,
}

impl Ledger {
    /// Begun, and taken over.
    pub(crate) fn begin() -> Self {
        let mut ledger = Self { keeper: StateMachine::new(), blocks: Vec::new() };
        let genesis = Genesis {
            prefix: "giliran.v1".into(),
            applicant_key: KeyFingerprint([7; 16]),
            release: "0".into(),
            continues: None,
            rebuilt: None,
        };
        let block = ledger.block(0, vec![Entry::Genesis(genesis)]);
        ledger.blocks.push(block.seal().bytes);
        ledger.keeper.fold(1, &ledger.blocks[0]).unwrap();
        let take_over = TakeOver { engine: "test".into(), release: "0".into(), forced: None };
        let block = ledger.block(1, vec![Entry::TakeOver(take_over)]);
        ledger.commit(block);
        ledger
    }

    /// With these openings, all open.
    pub(crate) fn with(openings: Vec<OpeningRecord>) -> Self {
        let mut ledger = Self::begin();
        let opened = openings.iter().map(|o| Entry::Opened { opening: o.ordinal });
        let opened: Vec<Entry> = opened.collect();
        let records = openings.into_iter().map(|o| Entry::Opening(Box::new(o)));
        ledger.append(records.collect());
        ledger.append(opened);
        ledger
    }

    fn block(&self, epoch: u64, entries: Vec<Entry>) -> Block {
        let chain = self.keeper.chain();
        Block {
            format: FORMAT,
            ledger: LedgerId([5; 16]),
            generation: 1,
            number: chain.number + 1,
            epoch,
            writer: WriterNonce([3; 16]),
            time: NOW,
            previous: chain.hash,
            entries,
        }
    }

    /// Appends a block of what was decided here.
    pub(crate) fn append(&mut self, entries: Vec<Entry>) -> (Vec<StateChange>, Durable) {
        let block = self.block(self.keeper.chain().epoch, entries);
        self.commit(block)
    }

    fn commit(&mut self, block: Block) -> (Vec<StateChange>, Durable) {
        let sealed = block.seal();
        self.blocks.push(sealed.bytes);
        self.keeper.commit(self.blocks.len() as u64, block, sealed.hash).unwrap()
    }

    /// A second keeper that reads it all.
    pub(crate) fn replayed(&self) -> StateMachine {
        let mut keeper = StateMachine::new();
        for (i, bytes) in self.blocks.iter().enumerate() {
            keeper.fold(i as u64 + 1, bytes).unwrap();
        }
        keeper
    }
}

/// An opening of one office, one day and a session per quota.
pub(crate) fn opening(id: &str, ordinal: u32, quotas: &[u16]) -> OpeningRecord {
    let date: Date = "2026-11-30".parse().unwrap();
    let session = |i| Session {
        id: format!("s{i}"),
        label: String::new(),
        restricted: false,
        explicit: false,
    };
    let sessions = (0..quotas.len()).map(session).collect();
    let slot = |(i, quota): (usize, &u16)| Slot {
        office: 0,
        session: i as u32,
        date,
        quota: *quota,
        bookable_until: Timestamp::LATEST,
    };
    OpeningRecord {
        ordinal,
        id: id.into(),
        timezone: "Asia/Jakarta".into(),
        opens_at: Timestamp::from_millis(0),
        closes_at: NOW.plus_millis(3_600_000),
        rules: Rules {
            order: Order::FirstCome,
            max_party: 5,
            max_per_account: None,
            hold_ms: None,
            cancelled: ReturnRule::Immediate,
            expired: ReturnRule::Immediate,
            across_openings: false,
            max_changes: u16::MAX,
            bookable_until: BookableUntil::DayBegins,
            max_bookings: u16::MAX,
            leftovers: Leftovers::None,
        },
        offices: vec![Office { id: "batam".into(), name: String::new(), sessions }],
        slots: quotas.iter().enumerate().map(slot).collect(),
    }
}

/// The pseudonym of the person of this number.
pub(crate) fn person(i: u64) -> Pseudonym {
    let hash = blake3::hash(&i.to_le_bytes());
    Pseudonym::from_bytes(hash.as_bytes()[..16].try_into().unwrap())
}
