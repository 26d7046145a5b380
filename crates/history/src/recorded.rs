//! One opening as the ledger has it: what was put on record, what became of it, and every
//! block that concerns it.

use std::collections::{HashMap, HashSet};

use giliran_verify::statement::{Cause, Change, Offered, Places};
use giliran_wire::ledger::journal::Action;
use giliran_wire::ledger::{DrawEntryRecord, Grant, OpeningRecord, Order, RejectionCount, Seat};
use giliran_wire::{BlockHash, BookingId, LedgerId, Pseudonym, Timestamp};

/// Where an opening stands at the ledger's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has not opened yet.
    Scheduled,
    Open,
    /// It does not any more.
    Closed,
}

impl State {
    /// As it stands on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// A block that concerns the opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedBlock {
    /// Its sequence in the ledger.
    pub seq: u64,
    pub time: Timestamp,
    pub hash: BlockHash,
    /// What changed, in order, and the slot's places after it.
    pub changes: Vec<(Change, Places)>,
}

/// A booking, as far as figures need it.
#[derive(Debug, Clone)]
pub(super) struct RecordedBooking {
    pub(super) grant: Grant,
    pub(super) at: Timestamp,
    /// Some of its places had come back from others.
    pub(super) again: bool,
    /// Where it is now.
    pub(super) slot: u32,
    pub(super) live: bool,
    pub(super) seats: Vec<Seat>,
}

/// A place that came back, and who has it next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Return {
    pub(super) at: Timestamp,
    pub(super) cause: Cause,
    /// When it became available again.
    pub(super) released: Option<Timestamp>,
    /// When it was taken again.
    pub(super) taken: Option<Timestamp>,
    /// Whether by the account that had it; none: one of them is not known.
    pub(super) captured: Option<bool>,
    pub(super) account: Option<Pseudonym>,
    /// It went back to the booking that had lost it.
    pub(super) revived: bool,
}

/// What became of those who entered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Entered {
    pub(super) entries: u64,
    pub(super) drawn: u64,
    pub(super) withdrawn: u64,
    pub(super) not_drawn: u64,
}

/// One opening, from the ledger.
#[derive(Debug)]
pub struct RecordedOpening {
    /// The ledger it stands in.
    pub ledger: LedgerId,
    /// What was put on record.
    pub record: OpeningRecord,
    /// The block that did.
    pub begun: (u64, BlockHash),
    /// Where it stands at the ledger's end.
    pub state: State,
    pub opened: Option<Timestamp>,
    pub closed: Option<Timestamp>,
    /// The ledger's last block: its sequence, time and hash.
    pub tail: (u64, Timestamp, BlockHash),
    /// The blocks that concern it, in order.
    pub blocks: Vec<RecordedBlock>,
    /// Every slot's places at the end.
    pub places: Vec<Places>,
    /// Places taken beyond what a slot had to give, over all takings.
    pub oversold: i64,
    /// What operators did to it; and to the ledger itself, from its record to the last
    /// block that concerns it.
    pub actions: Vec<Action>,
    pub(super) bookings: Vec<RecordedBooking>,
    pub(super) returns: Vec<Return>,
    pub(super) entered: Entered,
    /// Those who entered, in order.
    pub(super) ballots: Vec<(Timestamp, DrawEntryRecord)>,
    /// Those of them who left again.
    pub(super) left: HashSet<BookingId>,
    pub(super) tallies: Vec<RejectionCount>,
    /// Places of live bookings by account, once the window had closed and its draw or
    /// last round was held; before, at the end.
    pub(super) holdings: Vec<(Option<Pseudonym>, u64)>,
    pub(super) by_booking: HashMap<BookingId, usize>,
    /// Available places of each slot, after a sequence.
    pub(crate) free_at: Vec<Vec<(u64, i64)>>,
}

impl RecordedOpening {
    /// Whether its days are over, at the ledger's end.
    pub fn days_over(&self) -> bool {
        let last = self.record.slots.iter().map(|slot| slot.date).max();
        let today = self.tail.1.to_string();
        last.is_some_and(|last| today.get(..10).is_some_and(|day| day > &*last.to_string()))
    }

    /// Places of all slots.
    pub fn total(&self, of: impl Fn(&Places) -> i64) -> i64 {
        self.places.iter().map(of).sum()
    }

    /// Entries of the opening draw, once it is held: everyone who asked, with the time
    /// of the request, and whether they got a place. `None` without such a draw.
    pub(super) fn drawn(
        &self,
    ) -> Option<impl Iterator<Item = (Timestamp, &DrawEntryRecord, bool)>> {
        let held = self.record.rules.order == Order::Draw
            && self.entered.drawn + self.entered.not_drawn > 0;
        let own = |(_, entry): &&(Timestamp, DrawEntryRecord)| {
            !entry.waits && !self.left.contains(&entry.receipt)
        };
        held.then(|| {
            self.ballots
                .iter()
                .filter(own)
                .map(|(at, entry)| (*at, entry, self.by_booking.contains_key(&entry.receipt)))
        })
    }

    /// Places of a slot that were available after the block with this sequence.
    pub(super) fn offered_at(&self, slot: u32, seq: u64) -> i64 {
        let Some(free) = self.free_at.get(slot as usize) else { return 0 };
        let next = free.partition_point(|(at, _)| *at <= seq);
        next.checked_sub(1).map_or(0, |i| free[i].1)
    }

    /// Office, date and session of a slot, as people read it.
    pub fn slot_name(&self, slot: u32) -> String {
        self.record.place(slot).map_or_else(String::new, |(slot, office, session)| {
            format!("{} {} {}", office.id, slot.date, session.id)
        })
    }

    /// Available places over time, by slot.
    pub(super) fn offered(&self) -> Vec<Offered> {
        let first = self.record.slots.iter().map(|slot| Offered::new(slot.quota.into()));
        let mut offered: Vec<Offered> = first.collect();
        for block in &self.blocks {
            for (change, places) in &block.changes {
                if let Some(slot) = change.slot() {
                    offered[slot as usize].push(block.time.as_millis(), places.offered());
                }
            }
        }
        offered
    }
}
