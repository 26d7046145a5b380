//! Ledger entries as rows: pure.

use std::collections::HashSet;
use std::sync::Arc;

use giliran_wire::answer::Status;
use giliran_wire::ledger::{
    Adjustment, Block, Chain, Damage, DamageKind, Deed, DrawRecord, Entry, Foreign, Grant,
    MAX_BLOCK_BYTES, OpeningRecord, Reading, Seat,
};
use giliran_wire::{BlockHash, BookingId, Pseudonym, Timestamp};

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
    /// From here on nobody can book it.
    pub(crate) bookable_until: Timestamp,
}

/// A booking that a block made.
#[derive(Debug, Clone)]
pub(crate) struct BookingRow {
    pub(crate) grant: Grant,
    pub(crate) slot: Arc<SlotRow>,
    pub(crate) granted_at: Timestamp,
    pub(crate) seq: u64,
    /// Its entry's place in the block, from 0.
    pub(crate) place: u32,
}

/// Bits of [`BookingRow::ord`] for the place: a block has fewer entries than they count,
/// for it has fewer bytes.
const PLACE_BITS: u32 = 20;
const _: () = assert!(MAX_BLOCK_BYTES < 1 << PLACE_BITS);

impl BookingRow {
    /// The key of its rows, which grows as the ledger does: every new row comes behind
    /// those that are there.
    pub(crate) fn ord(&self) -> i64 {
        (self.seq << PLACE_BITS | u64::from(self.place)) as i64
    }

    pub(crate) fn status(&self) -> Status {
        match self.grant.hold_expires_at {
            Some(_) => Status::Held,
            None => Status::Confirmed,
        }
    }
}

/// How a block changes a booking that is there.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) id: BookingId,
    pub(crate) seq: u64,
    pub(crate) turn: StatusChange,
    pub(crate) payment: Option<String>,
    /// True: what it was paid with is to be paid back, which is a change of its own.
    pub(crate) refund: bool,
    /// When its hold ends from here on; none: as before.
    pub(crate) hold: Option<Timestamp>,
    /// Its new slot; of which opening, the store knows.
    pub(crate) slot: Option<u32>,
    /// Seats that are active no more, or not where they were.
    pub(crate) off: EndedSeats,
    /// Seats that are active with these numbers from here on.
    pub(crate) on: Vec<Seat>,
}

/// What becomes of a booking's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusChange {
    /// Confirmed if it is held; else the payment came too late.
    Paid,
    To(Status),
    Stays,
}

impl StatusChange {
    /// What a payment does; a revived booking is confirmed whatever it was.
    const fn confirm(revived: bool) -> Self {
        if revived { Self::To(Status::Confirmed) } else { Self::Paid }
    }

    /// As the stores' statements know it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::To(status) => status.name(),
            Self::Stays => "stays",
        }
    }
}

/// Seats that a change makes inactive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EndedSeats {
    /// Every one of the booking.
    All,
    /// Those of these people.
    Of(Vec<Pseudonym>),
}

/// Grants or updates that follow each other: written together. Updates of one
/// run are of different bookings.
#[derive(Debug)]
pub(crate) enum Run {
    Grants(Vec<BookingRow>),
    Updates(Vec<Update>),
}

/// What an operator changed of a slot or an opening.
#[derive(Debug, Clone)]
pub(crate) enum Adjusted {
    Quota { opening: u32, slot: u32, quota: u16 },
    Reserved { opening: u32, slot: u32, places: u16 },
    Halted { opening: u32, slot: u32, halted: bool },
    ClosesAt { opening: u32, closes_at: Timestamp },
}

/// Those who wait for returned places.
#[derive(Debug, Clone)]
pub(crate) enum EntryRow {
    New {
        receipt: BookingId,
        opening: String,
        request_id: String,
        reference: Option<String>,
        seq: u64,
    },
    Now {
        receipt: BookingId,
        status: &'static str,
        seq: u64,
    },
}

/// What an operator or an engine did, as a store holds it, in text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAction {
    /// Sequence of its block.
    pub ledger_seq: u64,
    /// Its place among those of the block, from 0.
    pub place: u32,
    pub at: String,
    /// What it is, as [`Deed::name`] has it.
    pub action: String,
    /// The opening's id; none: the ledger itself.
    pub opening: Option<String>,
    /// Office, day and session of the slot, where it is about one.
    pub slot: Option<[String; 3]>,
    /// What it set, as [`Deed::value`] has it.
    pub value: String,
    /// Who ordered it, and why; none: nobody, an engine went by itself.
    pub signed: Option<(String, String)>,
}

/// A booking as a store holds it, in text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    pub id: String,
    pub version: u32,
    pub opening: String,
    pub office: String,
    pub date: String,
    pub session: String,
    pub status: String,
    /// The id of the request that made it.
    pub request_id: String,
    /// Digest of that request's content, hexadecimal.
    pub content: String,
    /// What the request gave to hand back.
    pub reference: Option<String>,
    /// The account's pseudonym, hexadecimal.
    pub account: Option<String>,
    pub channel: Option<String>,
    /// When it was granted.
    pub granted_at: String,
    /// When its hold ends, while it is held.
    pub hold_expires_at: Option<String>,
    /// The reference of the payment that confirmed it.
    pub payment: Option<String>,
    /// Payments that came too late and are to be paid back.
    pub refunds: u32,
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
    pub(crate) runs: Vec<Run>,
    pub(crate) adjusted: Vec<Adjusted>,
    pub(crate) entries: Vec<EntryRow>,
    pub(crate) actions: Vec<StoredAction>,
    /// Bookings made or changed.
    pub(crate) changes: usize,
}

impl Batch {
    /// As how much work it counts: bookings and entries that it makes or changes.
    pub(crate) fn weight(&self) -> usize {
        self.changes + self.entries.len()
    }
}

/// Folds blocks into rows: remembers the chain and the slots' names, nothing of
/// the bookings.
#[derive(Debug, Default)]
pub struct Rows {
    chain: Chain,
    openings: Vec<Vec<Arc<SlotRow>>>,
    batch: Batch,
    /// Bookings of the batch's last run, where that is one of updates.
    in_run: HashSet<BookingId>,
}

impl Rows {
    /// Goes on after `chain`, with the openings on record up to there.
    pub(crate) fn resume(chain: Chain, openings: &[OpeningRecord]) -> Self {
        let openings = openings.iter().map(slots).collect();
        Self { chain, openings, ..Self::default() }
    }

    /// How far it has come.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Reads the message stored at `seq`; one that is foreign comes back.
    ///
    /// # Errors
    ///
    /// Damage.
    pub fn fold(&mut self, seq: u64, bytes: &[u8]) -> Result<Option<Foreign>, PersistError> {
        match self.chain.read_bytes(seq, bytes)? {
            Reading::Valid(block) => self.apply(seq, block).map(|()| None),
            Reading::Void => Ok(None),
            Reading::Foreign(foreign) => Ok(Some(foreign)),
        }
    }

    /// Whether the ledger goes on in the next generation from here on, although this one
    /// is not sealed; see [`Chain::goes_on_in`].
    ///
    /// # Errors
    ///
    /// Where more was read than the next generation was rebuilt from.
    pub fn goes_on_in(&mut self, begin: &Block) -> Result<bool, PersistError> {
        Ok(self.chain.goes_on_in(begin)?)
    }

    /// The [`weight`](Batch::weight) of what was folded since it was taken last.
    pub(crate) fn waiting(&self) -> usize {
        self.batch.weight()
    }

    pub(crate) fn take(&mut self) -> Batch {
        self.in_run.clear();
        std::mem::take(&mut self.batch)
    }

    fn apply(&mut self, seq: u64, block: Block) -> Result<(), PersistError> {
        let time = block.time;
        for (place, deed) in block.deeds().enumerate() {
            let action = self.action(seq, place as u32, time, &deed)?;
            self.batch.actions.push(action);
        }
        let mut drawn = false;
        for (place, entry) in (0..).zip(block.entries) {
            match entry {
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
                    let slot = self.slot(seq, grant.opening, grant.slot)?;
                    if drawn {
                        let (receipt, status) = (grant.booking, "drawn");
                        self.batch.entries.push(EntryRow::Now { receipt, status, seq });
                    }
                    self.grant(BookingRow { grant, slot, granted_at: time, seq, place });
                }
                Entry::Adjust(adjust) => {
                    self.batch.adjusted.extend(adjusted(adjust.opening, &adjust.change));
                }
                Entry::Draw(DrawRecord::GroupBegin { .. }) => drawn = true,
                Entry::Draw(DrawRecord::GroupEnd { .. }) => drawn = false,
                Entry::Draw(record) => self.draw(seq, record)?,
                entry => changed(entry, seq).into_iter().for_each(|update| self.update(update)),
            }
        }
        Ok(())
    }

    fn action(
        &self,
        seq: u64,
        place: u32,
        time: Timestamp,
        deed: &Deed<'_>,
    ) -> Result<StoredAction, PersistError> {
        let about = |slot| deed.opening().map(|opening| self.slot(seq, opening, slot)).transpose();
        let slot = deed.slot().map_or(Ok(None), about)?;
        let slot = slot.map(|slot| [slot.office.clone(), slot.date.clone(), slot.session.clone()]);
        let owned = |(operator, reason): (&str, &str)| (operator.to_owned(), reason.to_owned());
        Ok(StoredAction {
            ledger_seq: seq,
            place,
            at: time.to_string(),
            action: deed.name().to_owned(),
            opening: about(0)?.map(|slot| slot.opening.clone()),
            slot,
            value: deed.value(),
            signed: deed.signed().map(owned),
        })
    }

    fn draw(&mut self, seq: u64, record: DrawRecord) -> Result<(), PersistError> {
        match record {
            DrawRecord::Entered(entry) => {
                let opening = self.slot(seq, entry.opening, 0)?.opening.clone();
                self.batch.entries.push(EntryRow::New {
                    receipt: entry.receipt,
                    opening,
                    request_id: entry.request_id,
                    reference: entry.reference,
                    seq,
                });
            }
            DrawRecord::Withdrawn { receipt, .. } => {
                let status = "withdrawn";
                self.batch.entries.push(EntryRow::Now { receipt, status, seq });
            }
            DrawRecord::NotDrawn { receipt } => {
                let status = "not_drawn";
                self.batch.entries.push(EntryRow::Now { receipt, status, seq });
            }
            DrawRecord::Committed { .. }
            | DrawRecord::Root { .. }
            | DrawRecord::Revealed { .. }
            | DrawRecord::GroupBegin { .. }
            | DrawRecord::GroupEnd { .. } => {}
        }
        Ok(())
    }

    fn slot(&self, seq: u64, opening: u32, slot: u32) -> Result<Arc<SlotRow>, PersistError> {
        let found = self.openings.get(opening as usize).and_then(|slots| slots.get(slot as usize));
        let damage = || {
            let what = format!("slot {slot} of opening number {opening} is not on record");
            Damage::new(seq, DamageKind::Contradiction(what))
        };
        Ok(Arc::clone(found.ok_or_else(damage)?))
    }

    fn grant(&mut self, row: BookingRow) {
        self.batch.changes += 1;
        if let Some(Run::Grants(rows)) = self.batch.runs.last_mut() {
            return rows.push(row);
        }
        self.batch.runs.push(Run::Grants(vec![row]));
    }

    fn update(&mut self, update: Update) {
        self.batch.changes += 1;
        if let Some(Run::Updates(updates)) = self.batch.runs.last_mut()
            && self.in_run.insert(update.id)
        {
            return updates.push(update);
        }
        self.in_run.clear();
        self.in_run.insert(update.id);
        self.batch.runs.push(Run::Updates(vec![update]));
    }
}

/// What an entry changes of a booking; none: nothing.
fn changed(entry: Entry, seq: u64) -> Option<Update> {
    Some(match entry {
        Entry::Confirm(confirm) => {
            let on = confirm.revived.unwrap_or_default();
            let turn = StatusChange::confirm(!on.is_empty());
            Update { turn, payment: confirm.reference, on, ..stays(confirm.booking, seq) }
        }
        Entry::Cancel(cancel) if cancel.seats.is_empty() => {
            let (turn, refund) = (StatusChange::To(Status::Cancelled), cancel.refund_due);
            Update { turn, off: EndedSeats::All, refund, ..stays(cancel.booking, seq) }
        }
        Entry::Cancel(cancel) => {
            Update { off: EndedSeats::Of(cancel.seats), ..stays(cancel.booking, seq) }
        }
        Entry::Expire(expire) => {
            let turn = StatusChange::To(Status::Expired);
            Update { turn, off: EndedSeats::All, ..stays(expire.booking, seq) }
        }
        Entry::Reschedule(swap) => {
            let off = EndedSeats::Of(swap.seats.iter().map(|seat| seat.applicant).collect());
            let (slot, hold, on) = (Some(swap.slot), swap.hold_expires_at, swap.seats);
            Update { slot, hold, off, on, ..stays(swap.booking, seq) }
        }
        // A generation begins with what its store has rows of already.
        Entry::Genesis(_)
        | Entry::TakeOver(_)
        | Entry::Opening(_)
        | Entry::Opened { .. }
        | Entry::Closed { .. }
        | Entry::Grant(_)
        | Entry::Released(_)
        | Entry::Adjust(_)
        | Entry::Draw(_)
        | Entry::Refusals(_)
        | Entry::Snapshot(_)
        | Entry::Seal(_) => return None,
    })
}

/// None: it changes no slot and no opening.
fn adjusted(opening: u32, change: &Adjustment) -> Option<Adjusted> {
    Some(match *change {
        Adjustment::Quota { slot, quota } => Adjusted::Quota { opening, slot, quota },
        Adjustment::Reserve { slot, places } => Adjusted::Reserved { opening, slot, places },
        Adjustment::Halt { slot, halted, .. } => Adjusted::Halted { opening, slot, halted },
        Adjustment::ClosesAt { closes_at } => Adjusted::ClosesAt { opening, closes_at },
        Adjustment::Beacon { .. } => return None,
    })
}

fn stays(id: BookingId, seq: u64) -> Update {
    let off = EndedSeats::Of(Vec::new());
    Update {
        id,
        seq,
        turn: StatusChange::Stays,
        payment: None,
        refund: false,
        hold: None,
        slot: None,
        off,
        on: Vec::new(),
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
            bookable_until: slot.bookable_until,
        }))
    };
    (0..record.slots.len() as u32).filter_map(row).collect()
}
