//! Bookings on their way to the engine, by their bytes: whoever sends the same meanwhile waits
//! for the same outcome.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::asking::Outcome;
use crate::problem::Problem;
use crate::room::Place;

/// All bookings on their way.
#[derive(Debug, Default)]
pub(crate) struct RunningBookings(Mutex<HashMap<Arc<[u8]>, Entry>>);

#[derive(Debug)]
struct Entry {
    began: Instant,
    /// Tells the outcome, once somebody else waits for it.
    others: Option<watch::Sender<Option<Outcome>>>,
}

/// What somebody finds who comes with a booking.
pub(crate) enum Begun {
    /// It is theirs to ask for.
    Own(Running),
    /// Somebody else asks for it.
    Elsewhere {
        /// Since when.
        began: Instant,
        /// Tells what came of it.
        outcome: watch::Receiver<Option<Outcome>>,
    },
}

impl RunningBookings {
    /// A panic elsewhere cannot leave the map half changed.
    fn all(&self) -> MutexGuard<'_, HashMap<Arc<[u8]>, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins with these bytes, in a place of its own, unless somebody else has.
    ///
    /// # Errors
    ///
    /// Where there is no place.
    pub(crate) fn begin(
        self: &Arc<Self>,
        request: &Arc<[u8]>,
        place: impl FnOnce() -> Result<Place, Problem>,
    ) -> Result<Begun, Problem> {
        let mut all = self.all();
        if let Some(Entry { began, others }) = all.get_mut(request) {
            let others = others.get_or_insert_with(|| watch::Sender::new(None));
            return Ok(Begun::Elsewhere { began: *began, outcome: others.subscribe() });
        }
        let (place, began) = (place()?, Instant::now());
        all.insert(Arc::clone(request), Entry { began, others: None });
        let (all, request) = (Arc::clone(self), Arc::clone(request));
        Ok(Begun::Own(Running { all, request, began, has_ended: false, _place: place }))
    }
}

/// A booking on its way; dropped, it is so no more, and nobody is told anything.
pub(crate) struct Running {
    all: Arc<RunningBookings>,
    pub(crate) request: Arc<[u8]>,
    /// Since when.
    pub(crate) began: Instant,
    has_ended: bool,
    _place: Place,
}

impl Running {
    /// Tells whoever else waits for it what came of it.
    pub(crate) fn end(mut self, outcome: &Outcome) {
        if let Some(others) = self.take() {
            others.send_replace(Some(outcome.clone()));
        }
    }

    fn take(&mut self) -> Option<watch::Sender<Option<Outcome>>> {
        if std::mem::replace(&mut self.has_ended, true) {
            return None;
        }
        self.all.all().remove(&self.request)?.others
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.take());
    }
}
