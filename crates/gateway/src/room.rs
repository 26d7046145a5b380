//! How many requests may be on their way to the engine at once.

use std::sync::Arc;

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::asking::{Asker, Outcome};
use crate::lanes::Lane;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::to_the_end::ToTheEnd;

/// Places among the requests on the way.
#[derive(Debug)]
pub(crate) struct Room {
    places: Arc<Semaphore>,
    size: usize,
    in_flight: IntGauge,
}

impl Room {
    /// Room for this many.
    pub(crate) fn new(size: usize, metrics: &Metrics) -> Self {
        let places = Arc::new(Semaphore::new(size));
        Self { places, size, in_flight: metrics.in_flight.clone() }
    }

    /// A place, for as long as it is kept.
    ///
    /// # Errors
    ///
    /// 503 where too many requests are on the way.
    pub(crate) fn place(&self) -> Result<Place, Problem> {
        let permit = Arc::clone(&self.places).try_acquire_owned();
        let permit = permit.map_err(|_| Problem::overloaded())?;
        self.in_flight.inc();
        Ok(Place { _permit: permit, in_flight: self.in_flight.clone() })
    }

    /// Asks from a place of its own until it is settled or the deadline has come, also where
    /// the caller goes away.
    ///
    /// # Errors
    ///
    /// 503 where too many requests are on the way.
    pub(crate) async fn asked(
        &self,
        asker: &Asker,
        lane: Lane,
        request: Vec<u8>,
        deadline: Instant,
    ) -> Result<Outcome, Problem> {
        let (place, asker) = (self.place()?, asker.clone());
        let asking = ToTheEnd::new(async move {
            let outcome = asker.ask(lane, &request, deadline, None).await;
            drop(place);
            outcome
        });
        Ok(asking.await)
    }

    /// Waits until nobody is on the way, no longer than until `deadline`; false: some still are.
    pub(crate) async fn emptied(&self, deadline: Instant) -> bool {
        let all = u32::try_from(self.size).unwrap_or(u32::MAX);
        tokio::time::timeout_at(deadline, self.places.acquire_many(all)).await.is_ok()
    }
}

/// A place among the requests on the way.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    in_flight: IntGauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}
