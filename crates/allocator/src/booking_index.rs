//! Bookings by id.
//!
//! Ids are random, so in a table of a million each look lands where nothing is in the
//! processor's caches, and waits for memory. What is new therefore stands in a small table
//! first: the id of a grant from its numbering on, its booking once it is durable. From
//! there bookings go to the large table many at a time, where one wait overlaps the next.
//!
//! One writer, the state machine; anybody may read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use giliran_wire::BookingId;

use crate::Booking;
use crate::sync::sharded_map::ShardedMap;

/// Bookings that are moved to the large table together: the small one stays within a
/// core's cache (24 bytes each).
const MOVED_TOGETHER: usize = 16_384;

/// None: the id is taken, and its booking is on its way into the ledger.
type Place = Option<Arc<Booking>>;

/// The bookings of all openings in memory, by id.
#[derive(Debug, Default)]
pub(crate) struct BookingIndex {
    recent: ShardedMap<BookingId, Place>,
    settled: ShardedMap<BookingId, Place>,
    /// Ids in `recent`. Only the writer looks at it: relaxed.
    new: AtomicUsize,
}

/// The ledger makes a booking whose id another one has, or that was not reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotFree;

impl BookingIndex {
    /// The booking of this id.
    pub(crate) fn get(&self, id: &BookingId) -> Option<Arc<Booking>> {
        let see = |place: Option<&Place>| place.map(Option::clone);
        // What moves in between is there when the second table is looked at: it leaves the
        // first one after it stands in the second.
        self.recent.look(id, see).or_else(|| self.settled.look(id, see)).flatten()
    }

    /// True if a booking has this id, or is about to.
    pub(crate) fn is_taken(&self, id: &BookingId) -> bool {
        self.settled.look(id, |place| place.is_some())
            || self.recent.look(id, |place| place.is_some())
    }

    /// Brings into cache what looks at these ids will read.
    pub(crate) fn foresee(&self, ids: &[BookingId]) {
        self.settled.touch(ids);
    }

    /// Takes a free id for a grant that enters a block; false: it is taken.
    pub(crate) fn reserve(&self, id: BookingId) -> bool {
        let is_free = !self.settled.look(&id, |place| place.is_some())
            && self.recent.occupy(id, None, |_| ()).is_ok();
        self.count(usize::from(is_free));
        is_free
    }

    /// Frees an id that was reserved, and has no booking; false: it was not.
    pub(crate) fn release(&self, id: &BookingId) -> bool {
        let released = self.recent.remove_if(id, |place| place.is_none()).is_some();
        if released {
            self.new.store(self.new.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        }
        released
    }

    /// The booking whose id was reserved is durable.
    pub(crate) fn publish(&self, booking: &Arc<Booking>) -> Result<(), NotFree> {
        self.recent.update(&booking.id, |place| match place {
            Some(place @ None) => {
                *place = Some(Arc::clone(booking));
                Ok(())
            }
            Some(Some(_)) | None => Err(NotFree),
        })
    }

    /// A booking whose id was not reserved, as a ledger that is read tells it.
    pub(crate) fn insert(&self, booking: &Arc<Booking>) -> Result<(), NotFree> {
        let (id, is_there) = (booking.id, |place: &mut Place| match place {
            Some(_) => true,
            None => {
                *place = Some(Arc::clone(booking));
                false
            }
        });
        if self.settled.look(&id, |place| place.is_some()) {
            return Err(NotFree);
        }
        match self.recent.occupy(id, Some(Arc::clone(booking)), is_there) {
            Ok(()) => self.count(1),
            Err(false) => {}
            Err(true) => return Err(NotFree),
        }
        Ok(())
    }

    /// The next version of a booking.
    pub(crate) fn replace(&self, booking: &Arc<Booking>) {
        let put = |place: Option<&mut Place>| match place {
            Some(place) => {
                *place = Some(Arc::clone(booking));
                true
            }
            None => false,
        };
        if !self.recent.update(&booking.id, put) {
            self.settled.update(&booking.id, put);
        }
    }

    /// Forgets a booking; `last` sees it before it goes.
    pub(crate) fn remove(&self, id: &BookingId, mut last: impl FnMut(&Booking)) {
        let mut see = |place: &mut Place| {
            place.iter().for_each(|booking| last(booking));
            true
        };
        if self.recent.remove_if(id, &mut see).is_some() {
            self.new.store(self.new.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        } else {
            self.settled.remove_if(id, see);
        }
    }

    /// How many there are, ids on their way included.
    pub(crate) fn len(&self) -> usize {
        self.recent.len() + self.settled.len()
    }

    /// Moves what is new to the large table, where that is enough to be worth it.
    pub(crate) fn settle(&self) {
        if self.new.load(Ordering::Relaxed) >= MOVED_TOGETHER {
            let left = self.recent.move_into(&self.settled, |place| place.is_some());
            self.new.store(left, Ordering::Relaxed);
        }
    }

    fn count(&self, more: usize) {
        self.new.store(self.new.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use giliran_wire::ledger::{Grant, Seat};
    use giliran_wire::{Digest, Pseudonym, Timestamp};

    use super::*;

    fn booking(random: u128) -> Arc<Booking> {
        let seat = Seat { applicant: Pseudonym::from_bytes([1; 16]), number: 1 };
        let grant = Grant {
            booking: BookingId::from_random(random),
            opening: 0,
            slot: 0,
            seats: [seat].into_iter().collect(),
            request_id: random.to_string(),
            content: Digest([0; 16]),
            reference: None,
            account: None,
            channel: None,
            hold_expires_at: None,
        };
        Arc::new(Booking::new(grant, Timestamp::from_millis(1)))
    }

    /// More than fit the small table.
    const MANY: u128 = 2 * MOVED_TOGETHER as u128 + 100;

    #[test]
    fn an_id_has_one_booking_wherever_it_stands() {
        let index = BookingIndex::default();
        for random in 1..=MANY {
            let booking = booking(random << 40);
            assert!(index.reserve(booking.id));
            assert!(!index.reserve(booking.id), "twice");
            assert_eq!((index.get(&booking.id), index.is_taken(&booking.id)), (None, true));
            assert_eq!(index.publish(&booking), Ok(()));
            assert_eq!(index.publish(&booking), Err(NotFree));
            index.settle();
        }
        assert!(index.settled.len() >= MOVED_TOGETHER && index.recent.len() >= 100);
        assert_eq!(index.len(), MANY as usize);
        for random in 1..=MANY {
            let booking = booking(random << 40);
            assert_eq!(index.get(&booking.id).as_ref(), Some(&booking));
            assert_eq!(index.insert(&booking), Err(NotFree));
            assert!(!index.reserve(booking.id) && !index.release(&booking.id));
            let next = Arc::new(Booking { version: 2, ..(*booking).clone() });
            index.replace(&next);
            assert_eq!(index.get(&booking.id).as_ref(), Some(&next));
            let mut last = None;
            index.remove(&booking.id, |booking| last = Some(booking.version));
            assert_eq!((last, index.get(&booking.id)), (Some(2), None));
        }
        assert_eq!((index.len(), index.new.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn an_id_that_is_released_is_free_and_one_on_its_way_stays_behind() {
        let index = BookingIndex::default();
        let on_its_way = booking(7);
        assert!(index.reserve(on_its_way.id) && index.release(&on_its_way.id));
        assert!(!index.release(&on_its_way.id) && !index.is_taken(&on_its_way.id));
        assert_eq!(index.publish(&on_its_way), Err(NotFree));
        assert!(index.reserve(on_its_way.id));
        for random in 0..MOVED_TOGETHER as u128 {
            assert_eq!(index.insert(&booking((random + 1) << 40)), Ok(()));
        }
        index.settle();
        assert_eq!((index.recent.len(), index.settled.len()), (1, MOVED_TOGETHER));
        assert_eq!(index.publish(&on_its_way), Ok(()));
        assert_eq!(index.get(&on_its_way.id), Some(on_its_way));
    }
}
