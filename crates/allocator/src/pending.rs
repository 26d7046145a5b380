//! What was taken for something that is in no block yet.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use giliran_wire::ledger::{DrawEntryRecord, Grant};

use crate::Allocator;

/// A grant, or an entry into a draw, that is decided and in no block yet: places,
/// claims and a share of an account are taken for it. Whoever drops it gives them
/// back, be it in a queue, on its way through a channel, or with a task that is
/// aborted.
#[derive(Debug)]
#[must_use = "what was taken for it is given back at once"]
pub struct Pending<E: Taken> {
    allocator: Arc<Allocator>,
    /// None: it is in a block.
    what: Option<Box<E>>,
}

/// Something that places or claims are taken for.
pub trait Taken: private::GiveBack {}

impl Taken for Grant {}
impl Taken for DrawEntryRecord {}

mod private {
    use super::{Allocator, DrawEntryRecord, Grant};

    pub trait GiveBack {
        fn give_back(&self, allocator: &Allocator);
    }

    impl GiveBack for Grant {
        fn give_back(&self, allocator: &Allocator) {
            allocator.abandon(self);
        }
    }

    impl GiveBack for DrawEntryRecord {
        fn give_back(&self, allocator: &Allocator) {
            allocator.abandon_ballot(self);
        }
    }
}

impl<E: Taken> Pending<E> {
    pub(crate) fn new(allocator: &Arc<Allocator>, what: Box<E>) -> Self {
        Self { allocator: Arc::clone(allocator), what: Some(what) }
    }

    /// It goes into a block. From there [`StateMachine::abandon`](crate::StateMachine::abandon)
    /// gives back.
    pub fn enter(mut self) -> Box<E> {
        self.what.take().expect("whoever has it has not entered it")
    }
}

impl<E: Taken> Deref for Pending<E> {
    type Target = E;

    fn deref(&self) -> &E {
        self.what.as_ref().expect("whoever has it has not entered it")
    }
}

impl<E: Taken> DerefMut for Pending<E> {
    fn deref_mut(&mut self) -> &mut E {
        self.what.as_mut().expect("whoever has it has not entered it")
    }
}

impl<E: Taken> Drop for Pending<E> {
    fn drop(&mut self) {
        if let Some(what) = self.what.take() {
            what.give_back(&self.allocator);
        }
    }
}
