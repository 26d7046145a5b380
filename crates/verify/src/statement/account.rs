//! The running account of a statement: written and checked with the same sums.

use giliran_wire::answer::Reason;

use super::lines::{Closing, End, Totals};
use super::places::{Cause, Change, Offered, Places, Room};

/// The running account of a statement: written and checked with the same sums.
pub struct Account {
    max_party: u8,
    places: Vec<Places>,
    offered: Vec<Offered>,
    totals: Totals,
    oversold: u64,
    rejected: Vec<(Option<u32>, i64, u64)>,
    counted: bool,
    /// Places ever taken: no other sum of places can be larger.
    ever: i64,
    /// Places that moved in and not out in this block.
    moving: i64,
    opened: bool,
    closed: bool,
}

impl Account {
    pub fn new(max_party: u8) -> Self {
        Self {
            max_party,
            places: Vec::new(),
            offered: Vec::new(),
            totals: Totals::default(),
            oversold: 0,
            rejected: Vec::new(),
            counted: false,
            ever: 0,
            moving: 0,
            opened: false,
            closed: false,
        }
    }

    pub fn slot(&mut self, quota: u16) {
        self.places.push(Places::of(quota));
        self.offered.push(Offered::new(quota.into()));
    }

    /// How many slots there are so far.
    pub fn slots(&self) -> usize {
        self.places.len()
    }

    /// A change by the block of this sequence and time; the slot's free places after
    /// it.
    pub fn apply(&mut self, (seq, ms): (u64, i64), change: &Change) -> Result<Option<i64>, String> {
        match *change {
            Change::Opened | Change::Closed => {
                let opens = *change == Change::Opened;
                let is_open = self.opened && !self.closed;
                if opens == is_open {
                    let did = if opens { "opened" } else { "closed" };
                    return Err(format!("{did} while it is {}", self.state()));
                }
                (self.opened, self.closed) = (true, !opens);
            }
            Change::Granted { places, .. }
            | Change::Revived { places, .. }
            | Change::MovedIn { places, .. } => {
                if !self.opened {
                    return Err("places are taken before it opened".into());
                }
                let ever = self.ever.checked_add(places.into());
                self.ever = ever.ok_or("more places than can be counted")?;
            }
            Change::Rejected { slot, reason, second, count } => {
                if slot.is_some_and(|slot| slot as usize >= self.places.len()) {
                    return Err(format!("there is no slot {}", slot.unwrap_or(0)));
                }
                self.counted = true;
                // The other counts of rejections are parts of this one.
                let rejected = self.totals.rejected.checked_add(count);
                self.totals.rejected = rejected.ok_or("more rejections than can be counted")?;
                if reason == Reason::SoldOut.number() {
                    self.totals.sold_out += count;
                    self.rejected.push((slot, second, count));
                }
            }
            _ => {}
        }
        let Some(slot) = change.slot() else { return Ok(None) };
        let there = self.places.get_mut(slot as usize);
        let places = there.ok_or_else(|| format!("there is no slot {slot}"))?;
        self.oversold += places.apply(seq, change)?.unsigned_abs();
        self.offered[slot as usize].push(ms, places.offered());
        let totals = &mut self.totals;
        match *change {
            Change::Granted { places, .. } => totals.granted += u64::from(places),
            Change::Revived { places, .. } => totals.revived += u64::from(places),
            Change::MovedIn { places, .. } => self.moving += i64::from(places),
            Change::Released { places, .. } => totals.released += u64::from(places),
            Change::Returned { places, withheld, cause, .. } => {
                if cause == Cause::Moved {
                    self.moving -= i64::from(places);
                }
                totals.at_once += u64::from(places - withheld);
                *match cause {
                    Cause::Cancelled => &mut totals.cancelled,
                    Cause::Revoked => &mut totals.revoked,
                    Cause::Expired => &mut totals.expired,
                    Cause::Moved => &mut totals.moved,
                } += u64::from(places);
            }
            _ => {}
        }
        Ok(Some(places.free()))
    }

    /// The block's changes are told.
    pub fn end_block(&mut self) -> Result<(), String> {
        match std::mem::take(&mut self.moving) {
            0 => Ok(()),
            n => Err(format!("moved_in and moved_out of one block differ by {} places", n.abs())),
        }
    }

    /// Rejections beside free places, and those that cannot be judged; none: none were
    /// counted.
    fn undersold(&self) -> Option<(u64, u64)> {
        let (mut certain, mut unclear) = (0, 0);
        for (slot, second, count) in &self.rejected {
            let slot = slot.and_then(|slot| self.offered.get(slot as usize));
            match slot.map(|slot| slot.room(*second, self.max_party)) {
                Some(Room::None) => {}
                Some(Room::Any) => certain += count,
                Some(Room::Some) | None => unclear += count,
            }
        }
        self.counted.then_some((certain, unclear))
    }

    /// The line that ends it.
    pub fn closing(mut self, end: End) -> Closing {
        let sum = |of: fn(&Places) -> i64| self.places.iter().map(of).sum();
        self.totals.quota = sum(|p| p.quota);
        self.totals.reserved = sum(|p| p.reserved);
        self.totals.taken = sum(|p| p.live);
        self.totals.withheld = sum(|p| p.withheld);
        self.totals.halted = sum(Places::shut);
        self.totals.free = sum(|p| p.free() - p.shut());
        let under = self.undersold();
        let says = self.says(&end, under);
        Closing {
            end,
            oversold: self.oversold,
            undersold: under.map(|(n, _)| n),
            unclear: under.map(|(_, n)| n),
            says,
            totals: self.totals,
        }
    }

    pub fn state(&self) -> &'static str {
        match (self.opened, self.closed) {
            (_, true) => "closed",
            (true, _) => "open",
            _ => "scheduled",
        }
    }

    fn says(&self, end: &End, under: Option<(u64, u64)>) -> Vec<String> {
        let t = &self.totals;
        let returned = t.cancelled + t.revoked + t.expired + t.moved;
        vec![
            match &*end.state {
                "closed" => format!("The opening is closed, at {}.", end.time),
                state => format!(
                    "PRELIMINARY: the opening is {state}, at {}; every figure may change.",
                    end.time
                ),
            },
            format!("Quota: {} places in {} slots.", t.quota, self.places.len()),
            format!(
                "Granted: {} places. Returned: {returned} (cancelled {}, taken back {}, lapsed {}, \
                 moved {}), {} of them free at once; released later: {}; lapsed and had again by a \
                 late payment: {}.",
                t.granted,
                t.cancelled,
                t.revoked,
                t.expired,
                t.moved,
                t.at_once,
                t.released,
                t.revived
            ),
            format!(
                "At the end: {} taken, {} withheld, {} reserved, {} in halted slots, {} free.",
                t.taken, t.withheld, t.reserved, t.halted, t.free
            ),
            match self.oversold {
                0 => "No oversell: at no point were more places taken than a slot had.".into(),
                n => format!("OVERSOLD: {n} places were taken beyond what a slot had."),
            },
            match under {
                None => "Undersell cannot be judged: the ledger holds no count of refusals.".into(),
                Some((0, unclear)) => format!(
                    "No undersell: of {} requests told that all was sold out, none is known to \
                     have been beside places free for any party; {unclear} cannot be judged.",
                    t.sold_out
                ),
                Some((n, unclear)) => format!(
                    "UNDERSOLD: {n} of {} requests were told that all was sold out beside free \
                     places; {unclear} cannot be judged.",
                    t.sold_out
                ),
            },
        ]
    }
}
