//! Free places, and which of them are to be told: pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use giliran_allocator::{Opening, Openings};
use giliran_wire::answer::FreePlaces;
use giliran_wire::{AsOf, Timestamp};

/// Remembers what was told of every slot.
#[derive(Debug, Default)]
pub(crate) struct AvailabilityTracker {
    /// What was told by opening and slot.
    published: HashMap<(u32, u32), FreePlaces>,
    /// The openings of which something was told, to take that back when they
    /// leave memory.
    openings: HashMap<u32, Arc<Opening>>,
}

impl AvailabilityTracker {
    /// Keys and values of the slots that changed since the last call; an empty
    /// value: the opening has left memory, nothing is told of it any more. At the
    /// first call every slot is told, but not of openings that closed before
    /// `horizon`. `now`: which slots it is too late for; `as_of`: how far the
    /// ledger was read.
    pub(crate) fn take(
        &mut self,
        openings: &Openings,
        (now, as_of): (Timestamp, AsOf),
        horizon: Timestamp,
    ) -> BTreeMap<String, Vec<u8>> {
        let mut news = BTreeMap::new();
        for opening in openings.iter() {
            let ordinal = opening.record().ordinal;
            for index in 0..opening.slots() {
                let mut places = opening.slot_state(index, now).places(as_of);
                let new = match self.published.get(&(ordinal, index)) {
                    Some(before) => {
                        // What was told then still is so.
                        places.as_of = before.as_of;
                        let changed = *before != places;
                        places.as_of = if changed { as_of } else { before.as_of };
                        changed
                    }
                    None => opening.window().1 >= horizon,
                };
                if new {
                    let value = serde_json::to_vec(&places).expect("numbers are always JSON");
                    news.insert(key(opening, index), value);
                    self.openings.entry(ordinal).or_insert_with(|| Arc::clone(opening));
                }
                self.published.insert((ordinal, index), places);
            }
        }
        self.published.retain(|(ordinal, _), _| openings.get(*ordinal).is_some());
        self.openings.retain(|ordinal, opening| {
            let stays = openings.get(*ordinal).is_some();
            if !stays {
                news.extend((0..opening.slots()).map(|index| (key(opening, index), Vec::new())));
            }
            stays
        });
        news
    }
}

fn key(opening: &Opening, index: u32) -> String {
    let slot = opening.slot(index);
    format!("{}.{}.{}.{}", opening.id(), slot.office, slot.date, slot.session)
}
