//! Entries of those who wait for returned places, and into draws.
//!
//! | atomic | operation | ordering | pairs with | if weaker |
//! |---|---|---|---|---|
//! | `count`, `bytes` | add, sub by the state machine; load | relaxed, inside a [`SeqLock`](crate::sync::seqlock::SeqLock) change or read | the version check of `SeqLock` orders it | – |

use giliran_wire::ledger::DrawEntryRecord;
use giliran_wire::{Pseudonym, Timestamp};

use crate::sync::{AtomicU64, Ordering};

/// Most live entries, of those who wait and into draws, over all openings.
const MAX_WAITING: u64 = 1 << 20;
/// Most bytes of memory that they take: an entry that wants any place of many
/// thousand slots takes as much as a hundred others.
const MAX_WAITING_BYTES: u64 = 1 << 30;
/// What an entry takes beside its slots, people and texts, in the tables that know
/// it as well: measured, rounded up.
const ENTRY_BYTES: usize = 384;

/// An entry into the next release's draw, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawEntry {
    /// The entry as the ledger has it.
    pub entry: DrawEntryRecord,
    /// The time of its block: the first release after it is its draw.
    pub since: Timestamp,
    /// When it was withdrawn; none: it is live. A withdrawn one stays to be
    /// recognised, for a while.
    pub withdrawn: Option<Timestamp>,
}

impl DrawEntry {
    /// True unless it was withdrawn.
    pub const fn is_live(&self) -> bool {
        self.withdrawn.is_none()
    }

    /// True if this applicant is of the party.
    pub fn is_of(&self, applicant: &Pseudonym) -> bool {
        self.entry.applicants.contains(applicant)
    }
}

impl DrawEntry {
    /// About how much memory it takes.
    fn bytes(&self) -> u64 {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        // All fields are named, so that a new one is counted: in `ENTRY_BYTES`, or below.
        let DrawEntryRecord {
            receipt: _,
            opening: _,
            applicants,
            slots,
            request_id,
            content: _,
            reference,
            account: _,
            channel,
            waits: _,
        } = &self.entry;
        let lists = 4 * slots.len() + 16 * applicants.len();
        let texts = request_id.len() + text(reference) + text(channel);
        (ENTRY_BYTES + lists + texts) as u64
    }
}

/// How many entries are live, and the memory they take. Those that were withdrawn
/// do not count: they are bounded on their own.
#[derive(Debug)]
pub(crate) struct Crowd {
    count: AtomicU64,
    bytes: AtomicU64,
}

impl Crowd {
    pub(crate) fn none() -> Self {
        Self { count: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// False: there are as many as there may be.
    pub(crate) fn has_room(&self) -> bool {
        self.count.load(Ordering::Relaxed) < MAX_WAITING
            && self.bytes.load(Ordering::Relaxed) < MAX_WAITING_BYTES
    }

    pub(crate) fn len(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// A live entry more.
    pub(crate) fn add(&self, waiting: &DrawEntry) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(waiting.bytes(), Ordering::Relaxed);
    }

    /// One less: it was withdrawn, or has ended.
    pub(crate) fn end(&self, waiting: &DrawEntry) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(waiting.bytes(), Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use giliran_wire::{BookingId, Digest};

    use super::*;

    fn waiting(slots: u32) -> DrawEntry {
        let entry = DrawEntryRecord {
            receipt: BookingId::from_random(1),
            opening: 0,
            applicants: vec![Pseudonym::from_bytes([1; 16])],
            slots: (0..slots).collect(),
            request_id: "r".into(),
            content: Digest([0; 16]),
            reference: None,
            account: None,
            channel: None,
            waits: true,
        };
        DrawEntry { entry, since: Timestamp::from_millis(1), withdrawn: None }
    }

    /// Both bounds: by number for those who want few slots, by bytes for those who
    /// want all of a large opening.
    #[test]
    fn entries_are_bounded_by_number_and_by_bytes() {
        for (slots, from, to) in [(10, MAX_WAITING, MAX_WAITING), (14_000, 15_000, 20_000)] {
            let (crowd, one) = (Crowd::none(), waiting(slots));
            let mut entered = 0;
            while crowd.has_room() {
                crowd.add(&one);
                entered += 1;
            }
            assert!((from..=to).contains(&entered), "{entered} of {slots} slots");
            crowd.end(&one);
            assert!(crowd.has_room());
        }
    }
}
