//! The places of one slot as the ledger has them: who holds which number.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use giliran_wire::Timestamp;

/// One slot's places. quota = live + withheld + reserved + free, where free may
/// be negative: a quota can be lowered below what is granted.
#[derive(Debug, Clone)]
pub(super) struct SlotInventory {
    pub(super) quota: u16,
    /// Kept back from everybody.
    pub(super) reserved: u16,
    /// No grants, whatever is free.
    pub(super) halted: bool,
    /// Places of live bookings.
    live: u32,
    /// Places taken for the block that is being written.
    in_block: u32,
    /// Some of them were published with the block that is being applied.
    publishing: bool,
    numbers: Numbers,
    /// Returned and not released yet.
    withheld: BTreeMap<u16, Until>,
    /// Of these, how many come back at which moment.
    releases: BTreeMap<Timestamp, u32>,
}

/// A returned number that waits for its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Withheld {
    pub(super) number: u16,
    pub(super) until: Until,
}

/// What a returned number waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// The place is free at this time, by the ledger's time.
    At(Timestamp),
    /// The waitlist draw of a release decides who gets the place.
    Draw {
        /// At this release: computed, not on record.
        at: Timestamp,
        /// When the number came back.
        since: Timestamp,
        /// By the rule for bookings that ran out; else for those given back.
        expired: bool,
    },
}

impl Until {
    const fn at(self) -> Timestamp {
        match self {
            Self::At(at) | Self::Draw { at, .. } => at,
        }
    }
}

/// What live bookings have of a slot.
#[derive(Debug, Clone, Default)]
pub(super) struct Occupied {
    pub(super) places: u32,
    pub(super) numbers: Numbers,
}

impl SlotInventory {
    pub(super) fn new(quota: u16) -> Self {
        Self {
            quota,
            reserved: 0,
            halted: false,
            live: 0,
            in_block: 0,
            publishing: false,
            numbers: Numbers::default(),
            withheld: BTreeMap::new(),
            releases: BTreeMap::new(),
        }
    }

    /// Available places.
    pub(super) fn available(&self) -> i32 {
        let kept = self.live as i32 + self.withheld.len() as i32 + i32::from(self.reserved);
        let free = i32::from(self.quota) - kept;
        if self.halted { free.min(0) } else { free }
    }

    /// Places that are neither booked nor available.
    pub(super) fn unavailable(&self) -> i32 {
        i32::from(self.quota) - self.live as i32 - self.available()
    }

    /// Numbers that wait for their release.
    pub(super) fn withheld(&self) -> impl Iterator<Item = Withheld> {
        self.withheld.iter().map(|(number, until)| Withheld { number: *number, until: *until })
    }

    /// As a snapshot says.
    pub(super) fn restore_withheld(&mut self, number: u16, until: Until) {
        self.numbers.take(number);
        self.withhold(number, until);
    }

    fn withhold(&mut self, number: u16, until: Until) {
        self.withheld.insert(number, until);
        *self.releases.entry(until.at()).or_default() += 1;
    }

    /// The number is withheld no more; what it waited for, if it was.
    fn end_withholding(&mut self, number: u16) -> Option<Until> {
        let until = self.withheld.remove(&number)?;
        if let Entry::Occupied(mut waiting) = self.releases.entry(until.at()) {
            *waiting.get_mut() -= 1;
            if *waiting.get() == 0 {
                waiting.remove();
            }
        }
        Some(until)
    }

    /// When the next of the withheld numbers is released, or drawn for.
    pub(super) fn next_release(&self) -> Option<Timestamp> {
        self.releases.first_key_value().map(|(at, _)| *at)
    }

    /// As a snapshot says; numbers may lie beyond a lowered quota. False: one of them is
    /// somebody's already.
    pub(super) fn restore_live(&mut self, occupied: &Occupied) -> bool {
        self.live += occupied.places;
        self.numbers.take_all(&occupied.numbers)
    }

    pub(super) fn is_withheld(&self, number: u16) -> bool {
        self.withheld.contains_key(&number)
    }

    /// True if nobody has this number, nor waits it for its release.
    pub(super) fn is_free(&self, number: u16) -> bool {
        number <= self.quota && !self.numbers.is_taken(number)
    }

    /// True while so many places are free for the block that is being written.
    pub(super) fn has_room(&self, places: u32) -> bool {
        self.available() - self.in_block as i32 >= places as i32
    }

    /// The lowest number nobody has, for the block that is being written.
    pub(super) fn number(&mut self) -> Option<u16> {
        let number = self.numbers.take_lowest(self.quota)?;
        self.in_block += 1;
        Some(number)
    }

    /// This number, for the block that is being written; it is free.
    pub(super) fn take(&mut self, number: u16) {
        self.numbers.take(number);
        self.in_block += 1;
    }

    /// A number of the block that was being written.
    pub(super) fn untake(&mut self, number: u16) {
        self.numbers.give(number);
        self.in_block -= 1;
    }

    /// So many places of the block that was being written are a live booking's from here
    /// on. True for the first ones of a block.
    pub(super) fn publish(&mut self, places: u32) -> bool {
        self.in_block -= places;
        self.live += places;
        !std::mem::replace(&mut self.publishing, true)
    }

    /// The block's last ones were.
    pub(super) fn published(&mut self) {
        self.publishing = false;
    }

    /// A live booking has this number from here on; `taken`: it was taken for
    /// this block before. False: somebody else has it. Gives what it waited for,
    /// where it was withheld.
    pub(super) fn occupy(&mut self, number: u16, taken: bool) -> Result<Option<Withheld>, ()> {
        if taken {
            self.in_block -= 1;
        } else if let Some(until) = self.end_withholding(number) {
            self.live += 1;
            return Ok(Some(Withheld { number, until }));
        } else if number == 0 || number > self.quota || !self.numbers.take(number) {
            return Err(());
        }
        self.live += 1;
        Ok(None)
    }

    /// A live booking gives this number back.
    pub(super) fn give_back(&mut self, number: u16, until: Option<Until>) {
        self.live -= 1;
        match until {
            Some(until) => self.withhold(number, until),
            None => self.numbers.give(number),
        }
    }

    /// A withheld number becomes free; what it waited for, if it was withheld.
    pub(super) fn release(&mut self, number: u16) -> Option<Withheld> {
        let until = self.end_withholding(number)?;
        self.numbers.give(number);
        Some(Withheld { number, until })
    }

    pub(super) fn digest_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.quota.to_le_bytes());
        out.extend_from_slice(&self.reserved.to_le_bytes());
        out.push(u8::from(self.halted));
        out.extend_from_slice(&self.live.to_le_bytes());
        out.extend_from_slice(&(self.withheld.len() as u32).to_le_bytes());
        for (number, until) in &self.withheld {
            out.extend_from_slice(&number.to_le_bytes());
            let until = match until {
                Until::At(at) => at.as_millis(),
                Until::Draw { .. } => i64::MIN,
            };
            out.extend_from_slice(&until.to_le_bytes());
        }
    }
}

/// The numbers of a slot that somebody has, or that wait for their release: one
/// bit each, number 1 first.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    words: Vec<u64>,
    /// Every word before this one is full.
    lowest: usize,
}

impl Numbers {
    fn place(number: u16) -> (usize, u64) {
        let index = usize::from(number - 1);
        (index / 64, 1 << (index % 64))
    }

    fn is_taken(&self, number: u16) -> bool {
        let (word, bit) = Self::place(number);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// False if one of them is taken.
    fn take_all(&mut self, others: &Self) -> bool {
        self.words.resize(self.words.len().max(others.words.len()), 0);
        let mut free = true;
        for (word, other) in self.words.iter_mut().zip(&others.words) {
            free &= *word & other == 0;
            *word |= other;
        }
        free
    }

    /// False if it is taken.
    pub(super) fn take(&mut self, number: u16) -> bool {
        let (word, bit) = Self::place(number);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let free = self.words[word] & bit == 0;
        self.words[word] |= bit;
        free
    }

    fn take_lowest(&mut self, quota: u16) -> Option<u16> {
        while self.words.get(self.lowest) == Some(&u64::MAX) {
            self.lowest += 1;
        }
        let bits = self.words.get(self.lowest).copied().unwrap_or(0);
        let index = self.lowest * 64 + bits.trailing_ones() as usize;
        let number = u16::try_from(index + 1).ok().filter(|number| *number <= quota)?;
        self.take(number);
        Some(number)
    }

    fn give(&mut self, number: u16) {
        let (word, bit) = Self::place(number);
        self.words[word] &= !bit;
        self.lowest = self.lowest.min(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_first_also_after_some_came_back() {
        let mut inventory = SlotInventory::new(200);
        let given: Vec<u16> = (0..200).filter_map(|_| inventory.number()).collect();
        assert!(given.iter().copied().eq(1..=200));
        assert_eq!(inventory.number(), None);
        for number in [150, 3, 64, 65] {
            inventory.untake(number);
        }
        let again: Vec<u16> = (0..5).filter_map(|_| inventory.number()).collect();
        assert_eq!(again, [3, 64, 65, 150]);
    }

    #[test]
    fn a_place_is_live_withheld_or_free_and_the_sum_is_the_quota() {
        let mut inventory = SlotInventory::new(2);
        assert_eq!(inventory.occupy(2, false), Ok(None));
        assert_eq!(inventory.occupy(2, false), Err(()), "a number twice");
        assert_eq!(inventory.occupy(3, false), Err(()), "beyond the quota");
        assert_eq!((inventory.available(), inventory.unavailable()), (1, 0));
        let until = Until::At(Timestamp::from_millis(9));
        inventory.give_back(2, Some(until));
        assert_eq!((inventory.available(), inventory.unavailable()), (1, 1));
        assert!(!inventory.is_free(2) && inventory.is_withheld(2));
        assert_eq!(inventory.release(2), Some(Withheld { number: 2, until }));
        assert_eq!(inventory.release(2), None);
        assert_eq!((inventory.available(), inventory.unavailable()), (2, 0));
        inventory.quota = 1;
        inventory.reserved = 1;
        assert_eq!((inventory.available(), inventory.unavailable()), (0, 1));
        inventory.halted = true;
        inventory.reserved = 0;
        assert_eq!((inventory.available(), inventory.unavailable()), (0, 1));
    }
}
