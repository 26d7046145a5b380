//! Ledger entries as rows: pure.

use std::sync::Arc;

use giliran_wire::answer::Status;
use giliran_wire::ledger::{Block, Chain, Damage, Entry, Grant, OpeningRecord, Reading};
use giliran_wire::{BlockHash, Timestamp};

use crate::PersistError;

/// A slot, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotRow {
    pub(crate) opening_ordinal: u32,
    pub(crate) slot: u32,
    pub(crate) opening: String,
    pub(crate) office: String,
    pub(crate) date: String,
    pub(crate) session: String,
    pub(crate) quota: u16,
}

/// A booking that a block made.
#[derive(Debug, Clone)]
pub(crate) struct BookingRow {
    pub(crate) grant: Grant,
    pub(crate) slot: Arc<SlotRow>,
    pub(crate) granted_at: Timestamp,
    pub(crate) seq: u64,
}

impl BookingRow {
    pub(crate) fn status(&self) -> Status {
        match self.grant.hold_expires_at {
            Some(_) => Status::Held,
            None => Status::Confirmed,
        }
    }

    /// As it is read back from a store.
    pub(crate) fn stored(&self) -> Stored {
        let Grant { booking, request_id, content, reference, account, channel, .. } = &self.grant;
        Stored {
            id: booking.to_string(),
            version: 1,
            opening: self.slot.opening.clone(),
            office: self.slot.office.clone(),
            date: self.slot.date.clone(),
            session: self.slot.session.clone(),
            status: self.status().name().to_owned(),
            request_id: request_id.clone(),
            content: content.to_string(),
            reference: reference.clone(),
            account: account.map(|account| account.to_hex()),
            channel: channel.clone(),
            granted_at: self.granted_at.to_string(),
            hold_expires_at: self.grant.hold_expires_at.map(|at| at.to_string()),
            ledger_seq: self.seq,
            seats: self
                .grant
                .seats
                .iter()
                .map(|seat| (seat.applicant.to_hex(), seat.number, true))
                .collect(),
        }
    }
}

/// A booking as a store holds it, in text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Booking id.
    pub id: String,
    /// Counts its changes.
    pub version: u32,
    /// The opening's id.
    pub opening: String,
    /// The office's id.
    pub office: String,
    /// The day.
    pub date: String,
    /// The session's id.
    pub session: String,
    /// Where it stands.
    pub status: String,
    /// The id of the request that made it.
    pub request_id: String,
    /// Digest of that request's content, hexadecimal.
    pub content: String,
    /// What the request gave to hand back.
    pub reference: Option<String>,
    /// The account's pseudonym, hexadecimal.
    pub account: Option<String>,
    /// The channel.
    pub channel: Option<String>,
    /// When it was granted.
    pub granted_at: String,
    /// When its hold ends.
    pub hold_expires_at: Option<String>,
    /// Sequence of the block that last changed it.
    pub ledger_seq: u64,
    /// Applicant's pseudonym (hexadecimal), number, whether the seat is active;
    /// in the request's order.
    pub seats: Vec<(String, u16, bool)>,
}

/// A hash over bookings, whatever their order: equal for a ledger and its store.
pub fn hash(bookings: &mut [Stored]) -> BlockHash {
    bookings.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for booking in bookings {
        hasher.update(format!("{booking:?}\n").as_bytes());
    }
    BlockHash(*hasher.finalize().as_bytes())
}

/// An opening's state that a block changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpeningState {
    pub(crate) ordinal: u32,
    pub(crate) state: &'static str,
}

/// What some blocks change in a store.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) openings: Vec<Arc<OpeningRecord>>,
    pub(crate) slots: Vec<Arc<SlotRow>>,
    pub(crate) states: Vec<OpeningState>,
    pub(crate) bookings: Vec<BookingRow>,
}

/// Folds blocks into rows: remembers the chain and the slots' names, nothing of
/// the bookings.
#[derive(Debug, Default)]
pub struct Rows {
    chain: Chain,
    openings: Vec<Vec<Arc<SlotRow>>>,
    batch: Batch,
}

impl Rows {
    /// Goes on after `chain`, with the openings on record up to there.
    pub(crate) fn resume(chain: Chain, openings: &[OpeningRecord]) -> Self {
        let openings = openings.iter().map(slots).collect();
        Self { chain, openings, batch: Batch::default() }
    }

    /// How far it has come.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Reads the stored block at `seq`.
    ///
    /// # Errors
    ///
    /// Damage, or an entry this release does not know how to store.
    pub fn fold(&mut self, seq: u64, bytes: &[u8]) -> Result<(), PersistError> {
        let (block, reading) = self.chain.read_bytes(seq, bytes)?;
        match reading {
            Reading::Valid => self.apply(seq, block),
            Reading::Void => Ok(()),
        }
    }

    /// Bookings that were folded and not taken yet, as a store would hold them.
    pub fn take_stored(&mut self) -> Vec<Stored> {
        self.take().bookings.iter().map(BookingRow::stored).collect()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.batch.bookings.len()
    }

    pub(crate) fn take(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }

    fn apply(&mut self, seq: u64, block: Block) -> Result<(), PersistError> {
        let granted_at = block.time;
        for entry in block.entries {
            match entry {
                Entry::Genesis(_) | Entry::TakeOver(_) | Entry::Refusals(_) => {}
                Entry::Opening(record) => {
                    let slots = slots(&record);
                    self.batch.slots.extend(slots.iter().map(Arc::clone));
                    self.openings.push(slots);
                    self.batch.openings.push(Arc::new(*record));
                }
                Entry::Opened { opening } => {
                    self.batch.states.push(OpeningState { ordinal: opening, state: "open" });
                }
                Entry::Closed { opening } => {
                    self.batch.states.push(OpeningState { ordinal: opening, state: "closed" });
                }
                Entry::Grant(grant) => {
                    let slot = self
                        .openings
                        .get(grant.opening as usize)
                        .and_then(|slots| slots.get(grant.slot as usize))
                        .ok_or_else(|| Damage {
                            seq,
                            what: format!("booking {} is in no slot on record", grant.booking),
                        })?;
                    let slot = Arc::clone(slot);
                    self.batch.bookings.push(BookingRow { grant, slot, granted_at, seq });
                }
                later @ (Entry::Confirm(_)
                | Entry::Cancel(_)
                | Entry::Expire(_)
                | Entry::Reschedule(_)
                | Entry::Released(_)
                | Entry::Adjust(_)
                | Entry::Draw(_)
                | Entry::Snapshot(_)
                | Entry::Seal(_)) => return Err(PersistError::Newer { seq, what: later.what() }),
            }
        }
        Ok(())
    }
}

fn slots(record: &OpeningRecord) -> Vec<Arc<SlotRow>> {
    let row = |index: u32| {
        let (slot, office, session) = record.place(index)?;
        Some(Arc::new(SlotRow {
            opening_ordinal: record.ordinal,
            slot: index,
            opening: record.id.clone(),
            office: office.id.clone(),
            date: slot.date.to_string(),
            session: session.id.clone(),
            quota: slot.quota,
        }))
    };
    (0..record.slots.len() as u32).filter_map(row).collect()
}
