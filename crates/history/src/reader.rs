//! The fold of the ledger's blocks into one opening's story.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use giliran_nats::ledger::Ledger;
use giliran_nats::ledger::archive::Archive;
use giliran_nats::ledger::scan::{ScanError, Scanned, scan};
use giliran_verify::statement::{Cause, Change, Places};
use giliran_wire::ledger::journal::{Action, Journal};
use giliran_wire::ledger::{
    Adjust, Adjustment, Cancel, CancelCause, Chain, DrawRecord, Entry, Grant, OpeningRecord,
    Reading, RejectionCount, Seat, Signed,
};
use giliran_wire::{BookingId, LedgerId, Pseudonym, Timestamp};

use crate::recorded::{Entered, RecordedBlock, RecordedBooking, RecordedOpening, Return, State};

/// Why an opening cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum RecordedError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// There is no such opening.
    #[error("{}", unknown(.0, .1))]
    Unknown(String, Vec<String>),
    /// A block says something that does not fit what was before.
    #[error("ledger sequence {0}: {1}; run `giliran audit`")]
    Unfit(u64, String),
}

fn unknown(id: &str, there: &[String]) -> String {
    match there {
        [] => format!("no opening {id:?}: the ledger has none"),
        there => format!("no opening {id:?} in the ledger; there are: {}", there.join(", ")),
    }
}

impl RecordedOpening {
    /// Reads it from the ledger; `archive`: where generations lie whose streams are
    /// gone.
    ///
    /// # Errors
    ///
    /// [`RecordedError`].
    pub async fn of(
        ledger: &Ledger,
        archive: Option<&Archive>,
        opening: &str,
    ) -> Result<Self, RecordedError> {
        Box::pin(Self::until(ledger, archive, opening, u64::MAX)).await
    }

    /// The same, as it stood after a sequence.
    ///
    /// # Errors
    ///
    /// [`RecordedError`].
    pub async fn until(
        ledger: &Ledger,
        archive: Option<&Archive>,
        opening: &str,
        seq: u64,
    ) -> Result<Self, RecordedError> {
        let mut reader = Reader { until: seq, ..Reader::new(opening) };
        scan(ledger, archive, |read| reader.fold(read)).await?;
        reader.end()
    }
}

/// Folds blocks; for tests, and where the ledger is not on a broker.
#[derive(Debug)]
pub struct Reader {
    wanted: String,
    /// Blocks behind this are left out.
    until: u64,
    there: Vec<String>,
    chain: Chain,
    found: Option<RecordedOpening>,
    journal: Journal,
    /// By slot: withheld numbers.
    withheld: Vec<BTreeSet<u16>>,
    /// By slot and number: the place's last return, until somebody has it.
    back: BTreeMap<(u32, u16), usize>,
    /// Entries that stand: whether they wait for returned places.
    entries: HashMap<BookingId, bool>,
    /// Places were given in this block by what the window decided.
    allotted: bool,
    /// The block that is read: its sequence and time.
    seq: u64,
    time: Timestamp,
    changes: Vec<(Change, Places)>,
}

impl Reader {
    /// Looks for this opening.
    pub fn new(opening: &str) -> Self {
        Self {
            wanted: opening.to_owned(),
            until: u64::MAX,
            there: Vec::new(),
            chain: Chain::new(),
            found: None,
            journal: Journal::default(),
            withheld: Vec::new(),
            back: BTreeMap::new(),
            entries: HashMap::new(),
            allotted: false,
            seq: 0,
            time: Timestamp::default(),
            changes: Vec::new(),
        }
    }

    /// Reads the block at a sequence.
    ///
    /// # Errors
    ///
    /// [`RecordedError`], also for damage.
    pub fn block(&mut self, seq: u64, bytes: &[u8]) -> Result<(), RecordedError> {
        let mut chain = self.chain.clone();
        let reading = chain.read_bytes(seq, bytes).map_err(ScanError::from)?;
        self.fold(Scanned { seq, bytes, reading, chain: &chain })
    }

    pub(super) fn fold(&mut self, read: Scanned<'_>) -> Result<(), RecordedError> {
        let Scanned { seq, reading, chain, .. } = read;
        if seq > self.until {
            return Ok(());
        }
        self.chain.clone_from(chain);
        let Reading::Valid(block) = reading else { return Ok(()) };
        (self.seq, self.time) = (seq, block.time);
        self.journal.read(seq, block.time, &block.entries);
        for entry in block.entries {
            match entry {
                Entry::Opening(record) => self.opening(seq, *record),
                entry => self.entry(entry).map_err(|what| RecordedError::Unfit(seq, what))?,
            }
        }
        if std::mem::take(&mut self.allotted)
            && let Some(found) = self.found.as_mut().filter(|found| found.closed.is_some())
        {
            found.holdings = holdings(&found.bookings);
        }
        let changes = std::mem::take(&mut self.changes);
        if let Some(found) = self.found.as_mut().filter(|_| !changes.is_empty()) {
            for (change, places) in &changes {
                if let Some(slot) = change.slot() {
                    found.free_at[slot as usize].push((seq, places.offered()));
                }
            }
            let (time, hash) = (block.time, chain.hash);
            found.blocks.push(RecordedBlock { seq, time, hash, changes });
        }
        Ok(())
    }

    /// The opening as it stands after the last block.
    ///
    /// # Errors
    ///
    /// [`RecordedError::Unknown`] where it was not met.
    pub fn end(self) -> Result<RecordedOpening, RecordedError> {
        let Some(mut found) = self.found else {
            return Err(RecordedError::Unknown(self.wanted, self.there));
        };
        found.tail = (self.chain.valid_seq, self.chain.time, self.chain.hash);
        let last = found.blocks.last().map_or(found.begun.0, |block| block.seq);
        let meanwhile = |action: &&Action| {
            action.opening.is_some() || (found.begun.0..=last).contains(&action.seq)
        };
        let actions = self.journal.of_opening(&found.record.id).unwrap_or_default();
        found.actions = actions.into_iter().filter(meanwhile).cloned().collect();
        if found.closed.is_none() {
            found.holdings = holdings(&found.bookings);
        }
        Ok(found)
    }

    fn opening(&mut self, seq: u64, record: OpeningRecord) {
        self.there.push(record.id.clone());
        if record.id != self.wanted {
            return;
        }
        let places: Vec<Places> = record.slots.iter().map(|s| Places::of(s.quota)).collect();
        self.withheld = vec![BTreeSet::new(); places.len()];
        let free_at = places.iter().map(|places| vec![(0, places.offered())]).collect();
        self.found = Some(RecordedOpening {
            ledger: self.chain.ledger.unwrap_or(LedgerId([0; 16])),
            begun: (seq, self.chain.hash),
            state: State::Scheduled,
            opened: None,
            closed: None,
            tail: (seq, self.time, self.chain.hash),
            blocks: Vec::new(),
            places,
            oversold: 0,
            actions: Vec::new(),
            bookings: Vec::new(),
            returns: Vec::new(),
            entered: Entered::default(),
            ballots: Vec::new(),
            left: HashSet::new(),
            tallies: Vec::new(),
            holdings: Vec::new(),
            by_booking: HashMap::new(),
            free_at,
            record,
        });
    }

    fn entry(&mut self, entry: Entry) -> Result<(), String> {
        let Some(found) = &mut self.found else { return Ok(()) };
        let ordinal = found.record.ordinal;
        match entry {
            Entry::Opened { opening } if opening == ordinal => {
                found.state = State::Open;
                found.opened.get_or_insert(self.time);
                self.changes.push((Change::Opened, Places::default()));
            }
            Entry::Closed { opening } if opening == ordinal => {
                found.state = State::Closed;
                found.closed = Some(self.time);
                found.holdings = holdings(&found.bookings);
                self.changes.push((Change::Closed, Places::default()));
            }
            Entry::Grant(grant) if grant.opening == ordinal => self.grant(grant)?,
            Entry::Confirm(confirm) => {
                if let (Some(seats), Some(at)) = (confirm.revived, self.find(&confirm.booking)) {
                    let slot = self.booked(at)?.slot;
                    self.take(slot, &seats, at, true)?;
                    let booked = self.booked(at)?;
                    (booked.live, booked.seats) = (true, seats);
                }
            }
            Entry::Cancel(cancel) => self.cancel(&cancel)?,
            Entry::Expire(expire) => {
                self.give_back(&expire.booking, None, Cause::Expired, expire.release_at)?;
            }
            Entry::Reschedule(swap) => {
                let Some(at) = self.find(&swap.booking) else { return Ok(()) };
                let (from, seats) = (self.booked(at)?.slot, self.booked(at)?.seats.clone());
                // Taken before given back, so that the old place cannot be lost.
                self.take_as(swap.slot, &swap.seats, at, Taking::Move)?;
                self.return_seats(from, &seats, at, Cause::Moved, swap.release_at)?;
                let booked = self.booked(at)?;
                (booked.slot, booked.seats) = (swap.slot, swap.seats);
            }
            Entry::Released(released) if released.opening == ordinal => {
                self.release(released.slot, &released.numbers)?;
            }
            Entry::Adjust(adjust) if adjust.opening == ordinal => self.adjust(adjust)?,
            Entry::Draw(DrawRecord::Entered(entry)) if entry.opening == ordinal => {
                found.entered.entries += 1;
                self.entries.insert(entry.receipt, entry.waits);
                found.ballots.push((self.time, *entry));
            }
            Entry::Draw(DrawRecord::Withdrawn { receipt, .. })
                if self.entries.remove(&receipt).is_some() =>
            {
                found.entered.withdrawn += 1;
                found.left.insert(receipt);
            }
            Entry::Draw(DrawRecord::NotDrawn { receipt })
                if self.entries.remove(&receipt).is_some() =>
            {
                found.entered.not_drawn += 1;
            }
            Entry::Rejections(rejections) if rejections.opening == ordinal => {
                for tally in rejections.tallies {
                    let RejectionCount { slot, reason, second, count, .. } = tally;
                    let change = Change::Rejected { slot, reason, second, count };
                    self.changes.push((change, Places::default()));
                    found.tallies.push(tally);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn find(&self, id: &BookingId) -> Option<usize> {
        self.found.as_ref()?.by_booking.get(id).copied()
    }

    fn booked(&mut self, at: usize) -> Result<&mut RecordedBooking, String> {
        let found = self.found.as_mut().and_then(|found| found.bookings.get_mut(at));
        found.ok_or_else(|| "a booking that is not there".to_owned())
    }

    fn change(&mut self, change: Change) -> Result<(), String> {
        let Some(found) = &mut self.found else { return Ok(()) };
        let slot = change.slot().unwrap_or(0);
        let there = found.places.get_mut(slot as usize);
        let places = there.ok_or_else(|| format!("slot {slot} is not on record"))?;
        found.oversold += places.apply(self.seq, &change)?;
        let places = *places;
        // What one block does to one slot in one stroke stands in one line.
        let mut earlier = self.changes.iter_mut().rev();
        if let Some((last, after)) = earlier.find(|(last, _)| last.slot() == Some(slot))
            && join(last, &change)
        {
            *after = places;
        } else {
            self.changes.push((change, places));
        }
        Ok(())
    }

    fn grant(&mut self, grant: Grant) -> Result<(), String> {
        let waited = self.entries.remove(&grant.booking);
        let time = self.time;
        let Some(found) = &mut self.found else { return Ok(()) };
        found.entered.drawn += u64::from(waited.is_some());
        let (slot, at, seats) = (grant.slot, found.bookings.len(), grant.seats.clone());
        found.by_booking.insert(grant.booking, at);
        found.bookings.push(RecordedBooking {
            grant,
            at: time,
            again: false,
            slot,
            live: true,
            seats: seats.to_vec(),
        });
        self.take(slot, &seats, at, false)?;
        // A draw, and a window's last round, are held when it has closed.
        self.allotted |= waited != Some(true) && !self.booked(at)?.again;
        Ok(())
    }

    fn take(&mut self, slot: u32, seats: &[Seat], at: usize, revived: bool) -> Result<(), String> {
        self.take_as(slot, seats, at, if revived { Taking::Revival } else { Taking::Grant })
    }

    fn take_as(&mut self, slot: u32, seats: &[Seat], at: usize, how: Taking) -> Result<(), String> {
        // Numbers that still waited are released to those who get them.
        let waiting = self.withheld.get(slot as usize);
        let waiting = waiting.ok_or_else(|| format!("slot {slot} is not on record"))?;
        let released: Vec<u16> =
            seats.iter().map(|seat| seat.number).filter(|n| waiting.contains(n)).collect();
        if !released.is_empty() {
            self.release(slot, &released)?;
        }
        let (time, account) = (self.time, self.booked(at)?.grant.account);
        for seat in seats {
            let Some(back) = self.back.remove(&(slot, seat.number)) else { continue };
            let Some(found) = &mut self.found else { break };
            if matches!(how, Taking::Grant) {
                found.bookings[at].again = true;
            }
            let back = &mut found.returns[back];
            back.taken = Some(time);
            back.revived = matches!(how, Taking::Revival);
            back.captured = back.account.zip(account).map(|(had, has)| had == has);
        }
        let places = seats.len() as u32;
        self.change(match how {
            Taking::Grant => Change::Granted { slot, places },
            Taking::Revival => Change::Revived { slot, places },
            Taking::Move => Change::MovedIn { slot, places },
        })
    }

    fn cancel(&mut self, cancel: &Cancel) -> Result<(), String> {
        let cause = match cancel.cause {
            CancelCause::Applicant => Cause::Cancelled,
            CancelCause::Authority => Cause::Revoked,
        };
        let only = (!cancel.seats.is_empty()).then_some(&cancel.seats[..]);
        self.give_back(&cancel.booking, only, cause, cancel.release_at)
    }

    fn give_back(
        &mut self,
        id: &BookingId,
        only: Option<&[Pseudonym]>,
        cause: Cause,
        release_at: Option<Timestamp>,
    ) -> Result<(), String> {
        let Some(at) = self.find(id) else { return Ok(()) };
        let booked = self.booked(at)?;
        let leaves = |seat: &Seat| only.is_none_or(|who| who.contains(&seat.applicant));
        let (gone, stay): (Vec<Seat>, Vec<Seat>) = booked.seats.iter().partition(|s| leaves(s));
        booked.live = !stay.is_empty();
        booked.seats = stay;
        let slot = booked.slot;
        self.return_seats(slot, &gone, at, cause, release_at)
    }

    fn return_seats(
        &mut self,
        slot: u32,
        seats: &[Seat],
        at: usize,
        cause: Cause,
        release_at: Option<Timestamp>,
    ) -> Result<(), String> {
        let (time, account) = (self.time, self.booked(at)?.grant.account);
        let waits = release_at.is_none_or(|at| at > time);
        for seat in seats {
            let Some(found) = &mut self.found else { break };
            self.back.insert((slot, seat.number), found.returns.len());
            found.returns.push(Return {
                at: time,
                cause,
                released: (!waits).then_some(time),
                taken: None,
                captured: None,
                account,
                revived: false,
            });
            if waits && let Some(withheld) = self.withheld.get_mut(slot as usize) {
                withheld.insert(seat.number);
            }
        }
        let places = seats.len() as u32;
        let withheld = if waits { places } else { 0 };
        if places == 0 {
            return Ok(());
        }
        self.change(Change::Returned { slot, places, withheld, cause })
    }

    fn release(&mut self, slot: u32, numbers: &[u16]) -> Result<(), String> {
        let time = self.time;
        for number in numbers {
            let waited = self.withheld.get_mut(slot as usize).is_some_and(|w| w.remove(number));
            if !waited {
                return Err(format!("number {number} of slot {slot} was not withheld"));
            }
            if let (Some(back), Some(found)) = (self.back.get(&(slot, *number)), &mut self.found) {
                found.returns[*back].released = Some(time);
            }
        }
        self.change(Change::Released { slot, places: numbers.len() as u32 })
    }

    fn adjust(&mut self, adjust: Adjust) -> Result<(), String> {
        let Adjust { operator, reason, change, .. } = adjust;
        let by = Signed { operator, reason };
        let of_opening = match change {
            Adjustment::Quota { slot, quota } => {
                return self.change(Change::Quota { slot, to: quota.into(), by });
            }
            Adjustment::Reserve { slot, places } => {
                return self.change(Change::Reserved { slot, to: places.into(), by });
            }
            Adjustment::Halt { slot, halted, .. } => {
                return self.change(Change::Halted { slot, to: halted, by });
            }
            Adjustment::ClosesAt { closes_at: at } => Change::ClosesAt { at, by },
            Adjustment::Beacon { .. } => Change::Beacon { by },
        };
        self.changes.push((of_opening, Places::default()));
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
enum Taking {
    Grant,
    Revival,
    Move,
}

/// Adds a change to the one before, where they are of the same kind and slot.
fn join(last: &mut Change, next: &Change) -> bool {
    match (last, next) {
        (Change::Granted { slot, places }, Change::Granted { slot: s, places: n })
        | (Change::Released { slot, places }, Change::Released { slot: s, places: n })
            if slot == s =>
        {
            *places += n;
            true
        }
        (
            Change::Returned { slot, places, withheld, cause },
            Change::Returned { slot: s, places: n, withheld: w, cause: c },
        ) if slot == s && cause == c => {
            *places += n;
            *withheld += w;
            true
        }
        _ => false,
    }
}

/// Places of live bookings by account.
fn holdings(bookings: &[RecordedBooking]) -> Vec<(Option<Pseudonym>, u64)> {
    let mut held: BTreeMap<Option<Pseudonym>, u64> = BTreeMap::new();
    for booked in bookings.iter().filter(|booked| booked.live) {
        *held.entry(booked.grant.account).or_default() += booked.seats.len() as u64;
    }
    held.into_iter().collect()
}
