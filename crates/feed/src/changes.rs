//! Ledger entries as events and free places: pure.

use std::collections::{BTreeMap, BTreeSet};

use giliran_wire::answer::{Booking, Status};
use giliran_wire::event::{Event, EventId, Kind};
use giliran_wire::ledger::{Block, Chain, Damage, Entry, Grant, OpeningRecord, Reading};
use giliran_wire::subject::Domain;

use crate::FeedError;

/// An event as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) id: EventId,
    pub(crate) subject: String,
    pub(crate) payload: Vec<u8>,
}

/// Folds blocks into events; remembers openings and free places, nothing of the
/// bookings.
#[derive(Debug)]
pub(crate) struct Changes {
    domain: Domain,
    chain: Chain,
    openings: Vec<OpeningRecord>,
    /// Free places by opening and slot.
    free: Vec<Vec<i64>>,
    /// Slots whose free places are to be told.
    stirred: BTreeSet<(u32, u32)>,
}

impl Changes {
    pub(crate) fn new(domain: Domain) -> Self {
        Self {
            domain,
            chain: Chain::new(),
            openings: Vec::new(),
            free: Vec::new(),
            stirred: BTreeSet::new(),
        }
    }

    pub(crate) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Reads the stored block at `seq`; `after`: the last event that is told
    /// already. The events that are not come back in order.
    pub(crate) fn fold(
        &mut self,
        seq: u64,
        bytes: &[u8],
        after: Option<EventId>,
    ) -> Result<Vec<Outgoing>, FeedError> {
        let (block, reading) = self.chain.read_bytes(seq, bytes)?;
        match reading {
            Reading::Valid => self.apply(seq, block, after),
            Reading::Void => Ok(Vec::new()),
        }
    }

    fn apply(
        &mut self,
        seq: u64,
        block: Block,
        after: Option<EventId>,
    ) -> Result<Vec<Outgoing>, FeedError> {
        let newer = |what| Err(FeedError::Newer { seq, what });
        let told = |id: &EventId| after.is_some_and(|a| (id.seq, id.n) <= (a.seq, a.n));
        let mut events = Vec::new();
        let mut n = 0;
        for entry in block.entries {
            match entry {
                Entry::Genesis(_)
                | Entry::TakeOver(_)
                | Entry::Refusals(_)
                | Entry::Opened { .. }
                | Entry::Closed { .. } => {}
                Entry::Opening(record) => {
                    self.stirred
                        .extend((0..record.slots.len() as u32).map(|slot| (record.ordinal, slot)));
                    self.free.push(record.slots.iter().map(|slot| slot.quota.into()).collect());
                    self.openings.push(*record);
                }
                Entry::Grant(grant) => {
                    let id = EventId { ledger: block.ledger, seq, n };
                    n += 1;
                    let event = self.granted(&grant, id, block.time, told(&id))?;
                    events.extend(event);
                }
                Entry::Confirm(_) => return newer("a confirmation"),
                Entry::Cancel(_) => return newer("a cancellation"),
                Entry::Expire(_) => return newer("an expiry"),
                Entry::Reschedule(_) => return newer("a reschedule"),
                Entry::Released(_) => return newer("a release of places"),
                Entry::Adjust(_) => return newer("an operator's adjustment"),
                Entry::Draw(_) => return newer("a draw record"),
                Entry::Snapshot(_) => return newer("a snapshot"),
                Entry::Seal(_) => return newer("a seal"),
            }
        }
        Ok(events)
    }

    fn granted(
        &mut self,
        grant: &Grant,
        id: EventId,
        time: giliran_wire::Timestamp,
        told: bool,
    ) -> Result<Option<Outgoing>, FeedError> {
        let nowhere = || Damage {
            seq: id.seq,
            what: format!("booking {} is in no slot on record", grant.booking),
        };
        let opening = self.openings.get(grant.opening as usize).ok_or_else(nowhere)?;
        let (slot, office, session) = opening.place(grant.slot).ok_or_else(nowhere)?;
        self.free[grant.opening as usize][grant.slot as usize] -= grant.seats.len() as i64;
        self.stirred.insert((grant.opening, grant.slot));
        if told {
            return Ok(None);
        }
        let (kind, status) = match grant.hold_expires_at {
            Some(_) => (Kind::Held, Status::Held),
            None => (Kind::Confirmed, Status::Confirmed),
        };
        let booking = Booking {
            id: grant.booking,
            version: 1,
            status,
            opening: opening.id.as_str().into(),
            office: office.id.as_str().into(),
            date: slot.date,
            session: session.id.as_str().into(),
            numbers: grant.seats.iter().map(|seat| seat.number).collect(),
            request_id: grant.request_id.as_str().into(),
            reference: grant.reference.as_deref().map(Into::into),
            granted_at: time,
            hold_expires_at: grant.hold_expires_at,
        };
        let subject = self.domain.event(kind.name(), &office.id, &slot.date.to_string());
        let event = Event::new(&self.domain, id, kind, time, booking, None);
        let payload = serde_json::to_vec(&event).expect("an event is always JSON");
        Ok(Some(Outgoing { id, subject, payload }))
    }

    /// Slots whose free places changed since the last call: key and value.
    pub(crate) fn take_stirred(&mut self) -> BTreeMap<String, Vec<u8>> {
        let stirred = std::mem::take(&mut self.stirred);
        stirred
            .into_iter()
            .filter_map(|(ordinal, index)| {
                let opening = self.openings.get(ordinal as usize)?;
                let (slot, office, session) = opening.place(index)?;
                let key = format!("{}.{}.{}.{}", opening.id, office.id, slot.date, session.id);
                let free = self.free[ordinal as usize][index as usize];
                let value = format!("{{\"quota\":{},\"free\":{free}}}", slot.quota);
                Some((key, value.into_bytes()))
            })
            .collect()
    }
}
