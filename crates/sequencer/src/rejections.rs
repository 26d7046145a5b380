//! Digests of rejections: how many, by opening, slot, reason, second and channel. They
//! go into the ledger, so that demand can be judged afterwards; what an engine has
//! not written when it dies is lost, and it never writes them twice.

use std::collections::BTreeMap;

use giliran_allocator::Rejection;
use giliran_wire::Timestamp;
use giliran_wire::answer::Reason;
use giliran_wire::ledger::{Entry, MAX_BLOCK_BYTES, RejectionCount, RejectionDigest};
use giliran_wire::request::MAX_CHANNEL_BYTES;

use crate::block_builder::{BlockDraft, entry_bytes};
use crate::sequencer::{Lifecycle, Sequencer};

/// Most counts kept at a time; beyond, neither slots nor channels are told apart.
const MAX_TALLIES: usize = 8_192;
/// Most counts in one block.
const TALLIES_A_BLOCK: usize = 512;
const TALLY_BYTES: usize = 5 + 2 + 8 + 9 + MAX_CHANNEL_BYTES + 8;

/// Counts of rejections that are not in the ledger yet.
#[derive(Debug, Default)]
pub struct RejectionCounts(BTreeMap<Key, u64>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    second: i64,
    opening: u32,
    slot: Option<u32>,
    reason: u16,
    channel: Option<Channel>,
}

/// A channel's name, in place: a key is made for every rejection, and most are counted
/// already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Channel([u8; MAX_CHANNEL_BYTES]);

impl Channel {
    /// Of at most [`MAX_CHANNEL_BYTES`] bytes, none of which is zero; longer ones are cut.
    fn new(name: &str) -> Self {
        let mut bytes = [0; MAX_CHANNEL_BYTES];
        let length = name.len().min(MAX_CHANNEL_BYTES);
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        Self(bytes)
    }
}

impl From<Channel> for String {
    fn from(channel: Channel) -> Self {
        let name = channel.0.split(|byte| *byte == 0).next().unwrap_or_default();
        Self::from_utf8_lossy(name).into_owned()
    }
}

impl RejectionCounts {
    /// Counts a rejection, where it speaks of an opening.
    pub fn count(&mut self, rejection: &Rejection, channel: Option<&str>, now: Timestamp) {
        let Some((opening, slot)) = rejection.about else { return };
        let key = Key {
            second: now.as_millis().div_euclid(1_000),
            opening,
            slot,
            reason: rejection.reason.number(),
            channel: channel.map(Channel::new),
        };
        self.add(key, 1);
    }

    fn add(&mut self, key: Key, count: u64) {
        if let Some(there) = self.0.get_mut(&key) {
            *there += count;
            return;
        }
        let full = self.0.len() >= MAX_TALLIES;
        let key = if full { Key { slot: None, channel: None, ..key } } else { key };
        *self.0.entry(key).or_default() += count;
    }

    /// Takes over what another one has counted.
    pub fn extend(&mut self, other: Self) {
        other.0.into_iter().for_each(|(key, count)| self.add(key, count));
    }

    /// True if nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if there are counts of seconds that are over.
    pub(crate) fn are_due(&self, now: Timestamp) -> bool {
        let second = now.as_millis().div_euclid(1_000);
        self.0.first_key_value().is_some_and(|(key, _)| key.second < second)
    }

    /// The oldest counts, of seconds that are over.
    pub(crate) fn take(
        &mut self,
        now: Timestamp,
        most: usize,
    ) -> BTreeMap<u32, Vec<RejectionCount>> {
        let second = now.as_millis().div_euclid(1_000);
        let mut openings: BTreeMap<u32, Vec<RejectionCount>> = BTreeMap::new();
        for _ in 0..most {
            let Some(oldest) = self.0.first_entry().filter(|e| e.key().second < second) else {
                break;
            };
            let (key, count) = oldest.remove_entry();
            openings.entry(key.opening).or_default().push(RejectionCount {
                slot: key.slot,
                reason: key.reason,
                second: key.second,
                channel: key.channel.map(String::from),
                count,
            });
        }
        openings
    }
}

impl<T> Sequencer<T> {
    /// Rejections that were answered elsewhere.
    pub fn count_rejections(&mut self, tallies: RejectionCounts) {
        self.tallies.extend(tallies);
    }

    pub(crate) fn count_rejection(
        &mut self,
        rejection: &Rejection,
        channel: Option<&str>,
        now: Timestamp,
    ) {
        if rejection.reason != Reason::Busy {
            self.tallies.count(rejection, channel, now);
        }
    }

    /// Digests of the seconds that are over, as far as there is room.
    pub(crate) fn put_digests(&mut self, block: &mut BlockDraft<T>, now: Timestamp) {
        if self.lifecycle != Lifecycle::Active {
            return;
        }
        let room = MAX_BLOCK_BYTES.saturating_sub(block.bytes) / TALLY_BYTES;
        for (opening, tallies) in self.tallies.take(now, TALLIES_A_BLOCK.min(room / 2)) {
            let entry = Entry::Rejections(RejectionDigest { opening, tallies });
            block.bytes += entry_bytes(&entry);
            block.entries.push(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn rejection(slot: u32) -> Rejection {
        let (reason, about) = (Reason::SoldOut, Some((0, Some(slot))));
        Rejection { reason, detail: None, retry_after_ms: None, about }
    }

    #[test]
    pub(crate) fn what_is_counted_is_bounded_and_nothing_gets_lost() {
        let mut tallies = RejectionCounts::default();
        let at = Timestamp::from_millis(5_999);
        for i in 0..3 * MAX_TALLIES as u32 {
            tallies.count(&rejection(i), Some("web"), at);
        }
        assert_eq!(tallies.0.len(), MAX_TALLIES + 1);
        assert!(tallies.take(at, usize::MAX).is_empty(), "the second is not over");
        let later = at.plus_millis(1);
        let first: u64 = tallies.take(later, 100)[&0].iter().map(|tally| tally.count).sum();
        let rest = &tallies.take(later, usize::MAX)[&0];
        let all = first + rest.iter().map(|tally| tally.count).sum::<u64>();
        assert_eq!(all, 3 * MAX_TALLIES as u64);
        assert!(tallies.is_empty());
    }
}
