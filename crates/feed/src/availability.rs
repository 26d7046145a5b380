//! Free places, and which of them are to be told: pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use giliran_core::{Opening, Openings};
use giliran_wire::Timestamp;

/// Remembers what was told of every slot.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Quota and free places by opening and slot.
    told: HashMap<(u32, u32), (u16, i32)>,
    /// The openings of which something was told, to take that back when they
    /// leave memory.
    openings: HashMap<u32, Arc<Opening>>,
}

impl Places {
    /// Keys and values of the slots that changed since the last call; an empty
    /// value: the opening has left memory, nothing is told of it any more. At the
    /// first call every slot is told, but not of openings that closed before
    /// `horizon`.
    pub(crate) fn take(
        &mut self,
        openings: &Openings,
        horizon: Timestamp,
    ) -> BTreeMap<String, Vec<u8>> {
        let mut news = BTreeMap::new();
        for opening in openings.iter() {
            let ordinal = opening.record().ordinal;
            for index in 0..opening.slots() {
                let slot = opening.slot(index);
                let now = (slot.quota, opening.durably_free(index));
                let before = self.told.insert((ordinal, index), now);
                let new = match before {
                    Some(before) => before != now,
                    None => opening.window().1 >= horizon,
                };
                if new {
                    let value = format!("{{\"quota\":{},\"free\":{}}}", now.0, now.1);
                    news.insert(key(opening, index), value.into_bytes());
                    self.openings.entry(ordinal).or_insert_with(|| Arc::clone(opening));
                }
            }
        }
        self.told.retain(|(ordinal, _), _| openings.get(*ordinal).is_some());
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
