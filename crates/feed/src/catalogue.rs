//! What the openings offer, and which of them are to be told: pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use giliran_allocator::{OpeningFacts, Openings};
use giliran_wire::{AsOf, Timestamp};

/// Remembers what was told of every opening.
#[derive(Debug, Default)]
pub(crate) struct CatalogueTracker {
    /// What was told, by the opening's ordinal; of one that had closed long ago at the
    /// begin, what would have been.
    published: HashMap<u32, OpeningFacts>,
    /// Ids of which the bucket says something, as far as is known.
    there: BTreeSet<String>,
}

impl CatalogueTracker {
    /// These ids are in the bucket: what no opening in memory has is taken back at the
    /// next [`take`](Self::take).
    pub(crate) fn found(&mut self, ids: impl IntoIterator<Item = String>) {
        self.there.extend(ids);
    }

    /// Ids and descriptions of the openings that changed since the last call; an empty
    /// value: the opening has left memory. At the first call every opening is told, but
    /// none that closed before `horizon`. `now`: engine time; `as_of`: how far the ledger
    /// was read.
    pub(crate) fn take(
        &mut self,
        openings: &Openings,
        (now, as_of): (Timestamp, AsOf),
        horizon: Timestamp,
    ) -> BTreeMap<String, Vec<u8>> {
        let mut news = BTreeMap::new();
        for opening in openings.iter() {
            let ordinal = opening.record().ordinal;
            let facts = opening.facts(now);
            let new = match self.published.get(&ordinal) {
                Some(before) => *before != facts,
                None => facts.closes_at() >= horizon,
            };
            if new {
                let described = facts.describe(opening.record(), None, as_of);
                let value = serde_json::to_vec(&described).expect("texts are always JSON");
                self.there.insert(described.id.clone());
                news.insert(described.id, value);
            }
            self.published.insert(ordinal, facts);
        }
        self.published.retain(|ordinal, _| openings.get(*ordinal).is_some());
        self.there.retain(|id| {
            let stays = openings.named(id).is_some();
            if !stays {
                news.insert(id.clone(), Vec::new());
            }
            stays
        });
        news
    }
}
