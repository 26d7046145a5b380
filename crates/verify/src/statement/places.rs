//! One slot's places, and what changes them.

use giliran_wire::Timestamp;
use giliran_wire::ledger::Signed;

/// Why places came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The applicant gave them back.
    Cancelled,
    /// The authority took them back.
    Revoked,
    /// A hold ran out.
    Expired,
    /// A booking moved to another slot.
    Moved,
}

/// One change of an opening, in the ledger's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Opened,
    /// It accepts no more.
    Closed,
    /// Its end was moved.
    ClosesAt {
        at: Timestamp,
        /// Who ordered it, and why.
        by: Signed,
    },
    /// The public value of its draw was handed in.
    Beacon {
        /// By whom, and why.
        by: Signed,
    },
    Granted {
        slot: u32,
        places: u32,
    },
    /// A booking that had expired has its places again: it was paid late.
    Revived {
        slot: u32,
        places: u32,
    },
    /// A booking moved here.
    MovedIn {
        slot: u32,
        places: u32,
    },
    Returned {
        slot: u32,
        places: u32,
        /// Those of them that wait for their release.
        withheld: u32,
        cause: Cause,
    },
    /// Places that waited become available again.
    Released {
        slot: u32,
        places: u32,
    },
    Quota {
        slot: u32,
        to: u32,
        /// Who ordered it, and why.
        by: Signed,
    },
    /// Places are kept back from everybody.
    Reserved {
        slot: u32,
        /// So many from here on.
        to: u32,
        /// Who ordered it, and why.
        by: Signed,
    },
    /// The slot was closed for grants, or opened again.
    Halted {
        slot: u32,
        to: bool,
        /// Who ordered it, and why.
        by: Signed,
    },
    Rejected {
        /// The slot they asked for first; none: no single one.
        slot: Option<u32>,
        reason: u16,
        /// When: the second, since 1970.
        second: i64,
        count: u64,
    },
}

impl Change {
    /// The slot whose places it changes.
    pub const fn slot(&self) -> Option<u32> {
        match self {
            Self::Granted { slot, .. }
            | Self::Revived { slot, .. }
            | Self::MovedIn { slot, .. }
            | Self::Returned { slot, .. }
            | Self::Released { slot, .. }
            | Self::Quota { slot, .. }
            | Self::Reserved { slot, .. }
            | Self::Halted { slot, .. } => Some(*slot),
            Self::Opened
            | Self::Closed
            | Self::ClosesAt { .. }
            | Self::Beacon { .. }
            | Self::Rejected { .. } => None,
        }
    }
}

/// One slot's places, by number alone: quota = live + withheld + reserved + free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Places {
    pub quota: i64,
    /// Kept back from everybody.
    pub reserved: i64,
    pub halted: bool,
    pub live: i64,
    /// Returned, waiting for their release.
    pub withheld: i64,
    /// Lapsed with their bookings, and not had again by these.
    lapsed: i64,
    /// The last block that changed them, and the free places at its beginning.
    begun: (u64, i64),
}

impl Places {
    pub fn of(quota: u16) -> Self {
        Self { quota: quota.into(), ..Self::default() }
    }

    /// Free places; negative where a quota was lowered below what is granted.
    pub const fn free(&self) -> i64 {
        self.quota - self.reserved - self.live - self.withheld
    }

    /// Free places that nobody can have, since the slot is closed for grants.
    pub fn shut(&self) -> i64 {
        if self.halted { self.free().max(0) } else { 0 }
    }

    /// Places somebody could have got.
    pub const fn offered(&self) -> i64 {
        if self.halted || self.free() < 0 { 0 } else { self.free() }
    }

    /// Takes a change of this slot into account, in the block of this sequence; the
    /// places that a taking took beyond those that were available: 0, unless the slot
    /// was oversold.
    ///
    /// # Errors
    ///
    /// In words, where more would come back than was there.
    pub fn apply(&mut self, block: u64, change: &Change) -> Result<i64, String> {
        if self.begun.0 != block {
            self.begun = (block, self.free());
        }
        match *change {
            Change::Granted { places, .. } | Change::MovedIn { places, .. } => {
                return Ok(self.take(places.into()));
            }
            Change::Revived { places, .. } => {
                if i64::from(places) > self.lapsed {
                    return Err(format!(
                        "{places} places are revived where {} have lapsed",
                        self.lapsed
                    ));
                }
                self.lapsed -= i64::from(places);
                return Ok(self.take(places.into()));
            }
            Change::Returned { places, withheld, cause, .. } => {
                if i64::from(places) > self.live || withheld > places {
                    return Err(format!(
                        "{places} places come back, {withheld} of them withheld, where {} are \
                         taken",
                        self.live
                    ));
                }
                self.live -= i64::from(places);
                self.withheld += i64::from(withheld);
                if cause == Cause::Expired {
                    self.lapsed += i64::from(places);
                }
            }
            Change::Released { places, .. } => {
                if i64::from(places) > self.withheld {
                    return Err(format!(
                        "{places} places are released where {} are withheld",
                        self.withheld
                    ));
                }
                self.withheld -= i64::from(places);
            }
            Change::Quota { to, .. } => self.quota = to.into(),
            Change::Reserved { to, .. } => self.reserved = to.into(),
            Change::Halted { to, .. } => self.halted = to,
            Change::Opened
            | Change::Closed
            | Change::ClosesAt { .. }
            | Change::Beacon { .. }
            | Change::Rejected { .. } => {}
        }
        Ok(0)
    }

    /// Takes places, whatever there is; how many there were not.
    fn take(&mut self, places: i64) -> i64 {
        // A quota that was lowered is a debt, which withheld places pay first; what is
        // left of them is drawn meanwhile, released in the same block: no taking adds
        // to the debt there was when its block began, nor reaches into what is reserved.
        let missing = |places: &Self| (-places.free()).max(0);
        let beyond = |places: &Self| (places.live + places.reserved - places.quota).max(0);
        let before = (missing(self).max(-self.begun.1), beyond(self));
        self.live += places;
        if self.halted {
            return places;
        }
        (missing(self) - before.0).max(beyond(self) - before.1).max(0)
    }
}

/// How long a place must have been free before its rejection is held against the
/// engine: longer than a block can be on its way while the engine still answers.
pub const SETTLES_MS: i64 = 5_000;

/// Available places over time, ms since 1970.
#[derive(Debug, Clone)]
pub struct Offered(Vec<(i64, i64)>);

/// What [`Offered`] says of rejections in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// At times nothing was free.
    None,
    /// Something was free throughout, but not enough for the largest party.
    Some,
    /// There was room for any party throughout.
    Any,
}

impl Offered {
    pub fn new(first: i64) -> Self {
        Self(vec![(i64::MIN, first)])
    }

    pub fn push(&mut self, at: i64, offered: i64) {
        self.0.push((at, offered));
    }

    /// The least there was from `from` up to, not including, `to`.
    pub fn least(&self, from: i64, to: i64) -> i64 {
        let next = self.0.partition_point(|(at, _)| *at <= from);
        let before = next.checked_sub(1).map(|i| self.0[i].1);
        let within = self.0[next..].iter().take_while(|(at, _)| *at < to).map(|(_, n)| *n);
        within.chain(before).min().unwrap_or(0)
    }

    /// The room there was around a second: from some seconds before, since what a
    /// block says is durable, and so can be told, a while after its time.
    pub fn room(&self, second: i64, max_party: u8) -> Room {
        let ms = second.saturating_mul(1_000);
        match self.least(ms.saturating_sub(SETTLES_MS), ms.saturating_add(1_000)) {
            least if least >= max_party.into() => Room::Any,
            least if least >= 1 => Room::Some,
            _ => Room::None,
        }
    }
}
