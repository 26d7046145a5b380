//! Free places, and which of them are to be told: pure.

use std::collections::BTreeMap;

use giliran_wire::Timestamp;
use giliran_wire::ledger::{Grant, OpeningRecord};

/// Counts free places by opening and slot.
#[derive(Debug, Default)]
pub(crate) struct Places {
    free: Vec<Vec<i64>>,
    /// Slots that changed since they were told; true: by something new, not by
    /// what an earlier run had told already.
    stirred: BTreeMap<(u32, u32), bool>,
}

impl Places {
    /// An opening is put on record; all its places are free.
    pub(crate) fn opened(&mut self, record: &OpeningRecord, new: bool) {
        self.free.push(record.slots.iter().map(|slot| slot.quota.into()).collect());
        for slot in 0..record.slots.len() as u32 {
            self.stir(record.ordinal, slot, new);
        }
    }

    /// Places of a slot on record are taken.
    pub(crate) fn granted(&mut self, grant: &Grant, new: bool) {
        self.free[grant.opening as usize][grant.slot as usize] -= grant.seats.len() as i64;
        self.stir(grant.opening, grant.slot, new);
    }

    fn stir(&mut self, opening: u32, slot: u32, new: bool) {
        *self.stirred.entry((opening, slot)).or_default() |= new;
    }

    /// Keys and values of the slots that changed since the last call. What an
    /// earlier run had told is told again, but not of openings that closed
    /// before `horizon`.
    pub(crate) fn take(
        &mut self,
        openings: &[OpeningRecord],
        horizon: Timestamp,
    ) -> BTreeMap<String, Vec<u8>> {
        let stirred = std::mem::take(&mut self.stirred);
        let told = stirred.into_iter().filter_map(|((ordinal, index), new)| {
            let opening = openings.get(ordinal as usize)?;
            if !new && opening.closes_at < horizon {
                return None;
            }
            let (slot, office, session) = opening.place(index)?;
            let key = format!("{}.{}.{}.{}", opening.id, office.id, slot.date, session.id);
            let free = self.free[ordinal as usize][index as usize];
            let value = format!("{{\"quota\":{},\"free\":{free}}}", slot.quota);
            Some((key, value.into_bytes()))
        });
        told.collect()
    }
}
