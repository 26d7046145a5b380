//! What was taken for something that is in no block yet.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use giliran_wire::ledger::DrawEntryRecord;

use crate::{Allocator, Booking};

/// A grant, or an entry into a draw, that is decided and in no block yet: places,
/// claims and a share of an account are taken for it. Whoever drops it gives them
/// back, be it in a queue, on its way through a channel, or with a task that is
/// aborted.
#[derive(Debug)]
#[must_use = "what was taken for it is given back at once"]
pub struct Pending<P: Taken> {
    allocator: Arc<Allocator>,
    /// None: it is in a block.
    what: Option<P>,
}

/// A booking to be: it lacks its id, numbers and the end of its hold until it enters a block.
pub type PendingGrant = Pending<Arc<Booking>>;

/// An entry into a draw: it lacks its receipt.
pub type PendingEntry = Pending<Box<DrawEntryRecord>>;

/// Something that places or claims are taken for: a booking to be, which nobody shares yet,
/// or an entry.
pub trait Taken: Deref + private::GiveBack {}

impl Taken for Arc<Booking> {}
impl Taken for Box<DrawEntryRecord> {}

mod private {
    use super::{Allocator, Arc, Booking, DrawEntryRecord};

    pub trait GiveBack {
        fn give_back(&self, allocator: &Allocator);
    }

    impl GiveBack for Arc<Booking> {
        fn give_back(&self, allocator: &Allocator) {
            allocator.abandon(&self.as_grant());
        }
    }

    impl GiveBack for Box<DrawEntryRecord> {
        fn give_back(&self, allocator: &Allocator) {
            allocator.abandon_ballot(self);
        }
    }
}

impl<P: Taken> Pending<P> {
    pub(crate) fn new(allocator: &Arc<Allocator>, what: P) -> Self {
        Self { allocator: Arc::clone(allocator), what: Some(what) }
    }

    /// It goes into a block. From there [`StateMachine::abandon`](crate::StateMachine::abandon)
    /// gives back, or what abandons the staged.
    pub fn enter(mut self) -> P {
        self.what.take().expect("whoever has it has not entered it")
    }
}

impl PendingGrant {
    pub(crate) fn booking_mut(&mut self) -> &mut Booking {
        let booking = self.what.as_mut().and_then(Arc::get_mut);
        booking.expect("whoever has it has not entered it, and shared it with nobody")
    }
}

impl<P: Taken> Deref for Pending<P> {
    type Target = P::Target;

    fn deref(&self) -> &P::Target {
        self.what.as_ref().expect("whoever has it has not entered it")
    }
}

impl<P: Taken + DerefMut> DerefMut for Pending<P> {
    fn deref_mut(&mut self) -> &mut P::Target {
        self.what.as_mut().expect("whoever has it has not entered it")
    }
}

impl<P: Taken> Drop for Pending<P> {
    fn drop(&mut self) {
        if let Some(what) = self.what.take() {
            what.give_back(&self.allocator);
        }
    }
}
