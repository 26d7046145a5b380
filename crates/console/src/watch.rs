//! Looking once a second, as long as somebody looks at it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use giliran_nats::clock::Moment;
use giliran_survey::judge::{self, Certificate, Limits};
use giliran_survey::{Survey, rates};
use giliran_wire::Timestamp;
use giliran_wire::picture::{Judged, Picture, Process, Took};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);
/// Most moments of which free places, or how long grants took, are kept: ten minutes.
const MOMENTS: usize = 600;
/// The same, ms.
const MOMENTS_MS: u64 = MOMENTS as u64 * EVERY.as_millis() as u64;

/// What is seen at a moment.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) judged: Judged,
    /// Of each opening, when how many places were free, oldest first.
    pub(crate) drains: BTreeMap<String, Vec<(Timestamp, i64)>>,
    /// When there were grants, and how long they took, oldest first.
    pub(crate) grants: Vec<(Timestamp, Took)>,
}

/// What is seen now, and what will be.
#[derive(Debug)]
pub(crate) struct Watch(watch::Sender<Option<Arc<Seen>>>);

impl Watch {
    pub(crate) fn start(
        survey: Survey,
        limits: Limits,
        certificates: Vec<Certificate>,
        shutdown: CancellationToken,
    ) -> Self {
        let (told, _) = watch::channel(None);
        let (drains, grants) = Default::default();
        let mut eye = Eye { survey, limits, certificates, last: None, drains, grants };
        let to = told.clone();
        tokio::spawn(async move {
            loop {
                let began = Moment::now();
                if to.receiver_count() == 0 {
                    // Nobody looks: what was seen is soon no longer so.
                    to.send_replace(None);
                    eye.last = None;
                } else {
                    let seen = eye.look().await;
                    to.send_replace(Some(Arc::new(seen)));
                }
                let pause = if to.receiver_count() == 0 { EVERY / 10 } else { EVERY };
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(pause.saturating_sub(began.elapsed())) => {}
                }
            }
        });
        Self(told)
    }

    /// What is seen, from the next moment on; none: it has not been looked yet.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<Seen>>> {
        self.0.subscribe()
    }

    /// What is seen now; none: nothing in time.
    pub(crate) async fn now(&self) -> Option<Arc<Seen>> {
        let mut receiver = self.subscribe();
        let seen = tokio::time::timeout(EVERY * 10, receiver.wait_for(Option::is_some)).await;
        seen.ok()?.ok()?.clone()
    }
}

struct Eye {
    survey: Survey,
    limits: Limits,
    certificates: Vec<Certificate>,
    last: Option<(Moment, Vec<Process>)>,
    drains: BTreeMap<String, VecDeque<(Timestamp, i64)>>,
    grants: VecDeque<(Timestamp, Took)>,
}

impl Eye {
    async fn look(&mut self) -> Seen {
        let at = Moment::now();
        let mut picture = self.survey.picture().await;
        let processes = picture.processes.found().cloned().unwrap_or_default();
        picture.rates = self.last.as_ref().and_then(|(before, counted)| {
            let over = u64::try_from(at.since(*before).as_millis()).unwrap_or(u64::MAX);
            rates(counted, &processes, over)
        });
        self.last = Some((at, processes));
        self.drain(&picture);
        if let Some(took) = picture.rates.as_ref().and_then(|rates| rates.grants) {
            self.grants.push_back((picture.taken_at, took));
        }
        // Where nothing is granted for long, what was is old.
        let is_old = |(at, _): &(Timestamp, Took)| picture.taken_at.millis_since(*at) >= MOMENTS_MS;
        while self.grants.front().is_some_and(is_old) {
            self.grants.pop_front();
        }
        let checks = judge::now(&picture, &self.limits, &self.certificates);
        let drains = self.drains.iter();
        let drains = drains.map(|(id, moments)| (id.clone(), moments.iter().copied().collect()));
        let drains = drains.collect();
        let go = judge::is_fine(&checks);
        let grants = self.grants.iter().copied().collect();
        Seen { judged: Judged { opening: None, go, checks, picture }, drains, grants }
    }

    /// Notes how many places are free.
    fn drain(&mut self, picture: &Picture) {
        let Some(openings) = picture.openings.found() else { return };
        let there = |id: &str| openings.openings.iter().any(|one| one.offers.id == id);
        self.drains.retain(|id, _| there(id));
        for opening in &openings.openings {
            let moments = self.drains.entry(opening.offers.id.clone()).or_default();
            moments.push_back((openings.now, opening.places.free));
            if moments.len() > MOMENTS {
                moments.pop_front();
            }
        }
    }
}
