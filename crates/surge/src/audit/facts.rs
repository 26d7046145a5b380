//! What the ledger says, by a plain model of its own.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use giliran_broker::ledger::Ledger;
use giliran_persist::{Rows, Stored};
use giliran_wire::event::EventId;
use giliran_wire::ledger::{Chain, Entry, Grant, OpeningRecord, Reading};
use giliran_wire::{BookingId, LedgerId, Pseudonym};

use super::{AuditError, Check, Findings};
use crate::log::Choice;

/// A grant, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Granted {
    pub(super) seq: u64,
    /// Its place among the ledger's grants.
    pub(super) place: usize,
    pub(super) grant: Grant,
}

/// The ledger's facts.
#[derive(Debug, Default)]
pub struct Facts {
    chain: Chain,
    /// Blocks that a deposed writer left behind.
    voids: u64,
    openings: Vec<OpeningRecord>,
    /// Sequences at which openings open and close.
    phases: Vec<(u64, u32, bool)>,
    pub(super) grants: Vec<Granted>,
    pub(super) by_booking: HashMap<BookingId, usize>,
    /// Grants of an applicant in an opening, by sequence.
    by_applicant: HashMap<(u32, Pseudonym), u64>,
    /// Places taken after a sequence, by slot.
    taken: HashMap<(u32, u32), Vec<(u64, u32)>>,
    /// Sequence at which an epoch begins.
    epochs: Vec<(u64, u64)>,
    stored: Vec<Stored>,
}

impl Facts {
    /// Reads the whole ledger.
    ///
    /// # Errors
    ///
    /// [`AuditError`] where it cannot be read, or is damaged.
    pub async fn of(ledger: &Ledger) -> Result<Self, AuditError> {
        let (_, tail) = ledger.tail().await?;
        let mut facts = Self::default();
        let mut rows = Rows::default();
        let mut reader = ledger.reader(1).await?;
        while facts.chain.seq < tail {
            for (seq, bytes) in reader.next_batch(256, Duration::from_secs(1)).await? {
                if seq > tail {
                    break;
                }
                facts.fold(seq, &bytes)?;
                rows.fold(seq, &bytes).map_err(|_| AuditError::Newer(seq))?;
                facts.stored.extend(rows.take_stored());
            }
        }
        Ok(facts)
    }

    fn fold(&mut self, seq: u64, bytes: &[u8]) -> Result<(), AuditError> {
        let (block, reading) = self.chain.read_bytes(seq, bytes)?;
        if reading == Reading::Void {
            self.voids += 1;
            return Ok(());
        }
        if self.epochs.last().is_none_or(|(_, epoch)| *epoch != block.epoch) {
            self.epochs.push((seq, block.epoch));
        }
        for entry in block.entries {
            match entry {
                Entry::Genesis(_) | Entry::TakeOver(_) | Entry::Refusals(_) => {}
                Entry::Opening(record) => self.openings.push(*record),
                Entry::Opened { opening } => self.phases.push((seq, opening, true)),
                Entry::Closed { opening } => self.phases.push((seq, opening, false)),
                Entry::Grant(grant) => {
                    let taken = self.taken.entry((grant.opening, grant.slot)).or_default();
                    let before = taken.last().map_or(0, |(_, n)| *n);
                    taken.push((seq, before + grant.seats.len() as u32));
                    for seat in &grant.seats {
                        self.by_applicant.entry((grant.opening, seat.applicant)).or_insert(seq);
                    }
                    let place = self.grants.len();
                    self.by_booking.insert(grant.booking, place);
                    self.grants.push(Granted { seq, place, grant });
                }
                _ => return Err(AuditError::Newer(seq)),
            }
        }
        Ok(())
    }

    /// The ledger's last sequence.
    pub fn tail(&self) -> u64 {
        self.chain.seq
    }

    /// The ledger's id.
    pub fn ledger(&self) -> LedgerId {
        self.chain.ledger.unwrap_or(LedgerId([0; 16]))
    }

    /// Bookings in the ledger.
    pub fn bookings(&self) -> usize {
        self.grants.len()
    }

    /// Blocks left behind by deposed writers; every reader skips them.
    pub fn voids(&self) -> u64 {
        self.voids
    }

    /// Quota and places taken, by opening, office, date and session.
    pub fn slots(&self) -> Vec<(String, String, String, String, u16, u32)> {
        let mut slots = Vec::new();
        for opening in &self.openings {
            for index in 0..opening.slots.len() as u32 {
                let Some((slot, office, session)) = opening.place(index) else { continue };
                let taken = self.taken_at(opening.ordinal, index, u64::MAX);
                slots.push((
                    opening.id.clone(),
                    office.id.clone(),
                    slot.date.to_string(),
                    session.id.clone(),
                    slot.quota,
                    taken,
                ));
            }
        }
        slots
    }

    pub(super) fn free_places(&self) -> Vec<(String, i64, i64)> {
        let slots = self.slots().into_iter();
        slots
            .map(|(opening, office, date, session, quota, taken)| {
                let key = format!("{opening}.{office}.{date}.{session}");
                (key, i64::from(quota), i64::from(quota) - i64::from(taken))
            })
            .collect()
    }

    /// What a store at `seq` holds.
    pub(super) fn stored_up_to(&self, seq: u64) -> Vec<Stored> {
        self.stored.iter().filter(|booking| booking.ledger_seq <= seq).cloned().collect()
    }

    /// The events there should be, in order.
    pub(super) fn event_ids(&self) -> Vec<(String, BookingId)> {
        let mut ids = Vec::with_capacity(self.grants.len());
        let mut last = (0, 0);
        for granted in &self.grants {
            let n = if last.0 == granted.seq { last.1 + 1 } else { 0 };
            last = (granted.seq, n);
            let id = EventId { ledger: self.ledger(), seq: granted.seq, n };
            ids.push((id.to_string(), granted.grant.booking));
        }
        ids
    }

    /// The epoch that was in office at a sequence.
    pub(super) fn epoch_at(&self, seq: u64) -> u64 {
        let next = self.epochs.partition_point(|(from, _)| *from <= seq);
        next.checked_sub(1).map_or(0, |i| self.epochs[i].1)
    }

    fn taken_at(&self, opening: u32, slot: u32, seq: u64) -> u32 {
        let Some(taken) = self.taken.get(&(opening, slot)) else { return 0 };
        let next = taken.partition_point(|(at, _)| *at <= seq);
        next.checked_sub(1).map_or(0, |i| taken[i].1)
    }

    /// The opening a request meant at a sequence: the one it names, or the one
    /// that was open.
    pub(super) fn opening_at(&self, named: Option<&str>, seq: u64) -> Option<&OpeningRecord> {
        if let Some(id) = named {
            return self.openings.iter().find(|opening| opening.id == id);
        }
        let mut open = HashSet::new();
        for (_, ordinal, opens) in self.phases.iter().filter(|(at, ..)| *at <= seq) {
            if *opens {
                open.insert(*ordinal);
            } else {
                open.remove(ordinal);
            }
        }
        let mut ordinals = open.into_iter();
        match (ordinals.next(), ordinals.next()) {
            (Some(only), None) => self.openings.get(only as usize),
            _ => None,
        }
    }

    /// A slot that fits a choice and had room for the party at a sequence.
    pub(super) fn room(
        &self,
        opening: &OpeningRecord,
        choices: &[Choice],
        party: u32,
        seq: u64,
    ) -> Option<String> {
        let fits = |choice: &Choice, office: &str, date: &str, session: &str, plain: bool| {
            choice.office == office
                && choice.date.as_deref().is_none_or(|wanted| wanted == date)
                && choice.session.as_deref().map_or(plain, |wanted| wanted == session)
        };
        (0..opening.slots.len() as u32).find_map(|index| {
            let (slot, office, session) = opening.place(index)?;
            let date = slot.date.to_string();
            let plain = !session.restricted && !session.explicit;
            let wanted =
                choices.iter().any(|choice| fits(choice, &office.id, &date, &session.id, plain));
            let free =
                u32::from(slot.quota).saturating_sub(self.taken_at(opening.ordinal, index, seq));
            (wanted && free >= party)
                .then(|| format!("{} {date} {} had {free} places", office.id, session.id))
        })
    }

    /// When an applicant's booking in an opening came into the ledger.
    pub(super) fn booked_at(&self, opening: u32, applicant: Pseudonym) -> Option<u64> {
        self.by_applicant.get(&(opening, applicant)).copied()
    }

    pub(super) fn opening(&self, ordinal: u32) -> Option<&OpeningRecord> {
        self.openings.get(ordinal as usize)
    }

    /// What the ledger alone shows.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut oversell = Findings::new();
        let mut numbers = Findings::new();
        let mut twice = Findings::new();
        let mut keys = Findings::new();
        let mut held = HashSet::new();
        let mut booked = HashSet::new();
        let mut asked = HashSet::new();
        let mut taken: HashMap<(u32, u32), u32> = HashMap::new();
        for Granted { seq, grant, .. } in &self.grants {
            let at = (grant.opening, grant.slot);
            let quota = self
                .opening(grant.opening)
                .and_then(|opening| opening.place(grant.slot))
                .map_or(0, |(slot, ..)| slot.quota);
            let sum = taken.entry(at).or_default();
            *sum += grant.seats.len() as u32;
            oversell.look(*sum <= u32::from(quota), || {
                format!("sequence {seq}: booking {} is place {sum} of {quota}", grant.booking)
            });
            for seat in &grant.seats {
                let fine = (1..=quota).contains(&seat.number) && held.insert((at, seat.number));
                numbers.look(fine, || {
                    format!("sequence {seq}: number {} a second time or out of range", seat.number)
                });
                twice.look(booked.insert((grant.opening, seat.applicant)), || {
                    format!("sequence {seq}: booking {} is an applicant's second", grant.booking)
                });
            }
            let first = grant.seats.first().map(|seat| seat.applicant);
            keys.look(asked.insert((grant.opening, first, &grant.request_id)), || {
                format!("sequence {seq}: request {} was granted twice", grant.request_id)
            });
        }
        vec![
            oversell.check("P1", "no grant beyond a slot's quota, at any prefix"),
            numbers.check("P1", "each queue number is held at most once"),
            twice.check("P3", "one live booking per applicant and opening"),
            keys.check("P4", "a request has one booking"),
        ]
    }
}
