//! Places per account, where an opening limits them.

use giliran_wire::Pseudonym;

use crate::sync::sharded_map::ShardedMap;

/// The accounts of one opening. Without a limit nothing is counted.
#[derive(Debug)]
pub(crate) struct Accounts {
    most: Option<u32>,
    places: ShardedMap<Pseudonym, Places>,
}

/// Places an account has.
#[derive(Debug, Clone, Copy, Default)]
struct Places {
    /// Taken, durable or not.
    taken: u32,
    /// Places of durable grants that count against the limit.
    durable: u32,
}

impl Accounts {
    pub(crate) fn new(most: Option<u32>) -> Self {
        Self { most, places: ShardedMap::default() }
    }

    /// True if the opening limits places per account.
    pub(crate) const fn are_limited(&self) -> bool {
        self.most.is_some()
    }

    /// True if durable grants alone leave no room for so many more.
    pub(crate) fn durably_full(&self, account: &Pseudonym, places: u32) -> bool {
        self.most.is_some_and(|most| {
            let durable = self.places.look(account, |p| p.map_or(0, |p| p.durable));
            durable.saturating_add(places) > most
        })
    }

    /// Takes places of the account's limit; false if they would exceed it.
    pub(crate) fn take(&self, account: &Pseudonym, places: u32) -> bool {
        let Some(most) = self.most else { return true };
        let (fits, unused) = self.places.change(*account, |p| {
            let fits = p.taken.saturating_add(places) <= most;
            if fits {
                p.taken += places;
            }
            (fits, p.taken == 0)
        });
        if unused {
            // Nothing stays of an account that got nothing.
            self.places.remove_if(account, |p| p.taken == 0);
        }
        fits
    }

    /// Gives back places that were taken and did not become durable.
    pub(crate) fn give(&self, account: &Pseudonym, places: u32) {
        if self.most.is_some() {
            self.places.remove_if(account, |p| {
                p.taken -= places;
                p.taken == 0
            });
        }
    }

    /// Counts durable places; `taken` says whether they were taken before.
    pub(crate) fn grant(&self, account: Pseudonym, places: u32, taken: bool) {
        if self.most.is_some() {
            self.places.change(account, |p| {
                p.durable += places;
                p.taken += if taken { 0 } else { places };
            });
        }
    }

    /// Durable places have been given back.
    pub(crate) fn end(&self, account: &Pseudonym, places: u32) {
        if self.most.is_some() {
            self.places.remove_if(account, |p| {
                p.durable -= places;
                p.taken -= places;
                p.taken == 0
            });
        }
    }
}
