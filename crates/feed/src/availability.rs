//! Free places, and which of them are to be told: pure.

use std::collections::{BTreeMap, HashMap};

use giliran_core::Openings;
use giliran_wire::Timestamp;

/// Remembers what was told of every slot.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Quota and free places by opening and slot.
    told: HashMap<(u32, u32), (u16, i32)>,
}

impl Places {
    /// Keys and values of the slots that changed since the last call. At the
    /// first one every slot is told, but not of openings that closed before
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
                    let key =
                        format!("{}.{}.{}.{}", opening.id(), slot.office, slot.date, slot.session);
                    let value = format!("{{\"quota\":{},\"free\":{}}}", now.0, now.1);
                    news.insert(key, value.into_bytes());
                }
            }
        }
        self.told.retain(|(ordinal, _), _| openings.get(*ordinal).is_some());
        news
    }
}
