//! Server-sent events: free places as they change, and what becomes of one's own request.
//!
//! A stream of places sends what has changed, once a second at most; whoever has missed
//! something gets everything. Its frames are made once and shared by all who read.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use giliran_web::events::{self, SIGN_OF_LIFE, event};
use giliran_wire::answer::Reason;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::bookings::{is_final, outcome_json, outcome_tag, tracked_by};
use crate::catalogue::Told;
use crate::feed::{Following, News};
use crate::gateway::Gateway;
use crate::openings::unknown;
use crate::problem::Problem;
use crate::segment::Segment;
use crate::token::Tracked;

/// Least time between two frames of places.
const FRAME_EVERY: Duration = Duration::from_secs(1);
/// A change reaches its readers spread over so long.
const SPREAD: Duration = Duration::from_millis(800);
/// A stream without news says that it is there: proxies cut silent ones.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(15);
/// How often somebody's own request is looked up, from and to: where no news of it would come,
/// and for a while after news, since what gateways know of a draw comes later than its events.
const LOOKED_UP_AFTER: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(4)];
/// The same where an event of the feed says when there is something to look up.
const LOOKED_UP_ANYWAY_AFTER: [Duration; 2] = [Duration::from_secs(20), Duration::from_secs(40)];
/// The while after news.
const NEW_FOR: Duration = Duration::from_secs(40);
/// News reach those whom they concern spread over so long; that some may be missing, which
/// concerns everybody, over the usual pause.
const NEWS_SPREAD: Duration = Duration::from_millis(300);

/// A place among the streams that are read.
struct Place {
    gateway: Arc<Gateway>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn take(gateway: &Arc<Gateway>) -> Result<Self, Problem> {
        let permit = Arc::clone(&gateway.stream_room).try_acquire_owned();
        let permit = permit.map_err(|_| {
            Problem::reason(Reason::Busy)
                .detail("this gateway has as many streams as it takes; ask now and then instead")
                .retry_after_ms(5_000)
        })?;
        gateway.metrics.streams.inc();
        Ok(Self { gateway: Arc::clone(gateway), _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gateway.metrics.streams.dec();
    }
}

/// `GET /v1/openings/{opening}/places/stream`.
pub(crate) async fn places(
    State(gateway): State<Arc<Gateway>>,
    Segment(opening): Segment,
    headers: HeaderMap,
) -> Response {
    if gateway.catalogue.told().opening(&opening).is_none() {
        return unknown(&gateway);
    }
    let place = match Place::take(&gateway) {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    let known = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let reader = PlacesReader {
        opening,
        known: known.map(str::to_owned),
        changes: gateway.catalogue.changes(),
        spread: SPREAD.mul_f64(rand::random()),
        sent: None,
        place,
    };
    events::respond(stream::unfold(reader, async |mut reader| {
        reader.next().await.map(|frame| (frame, reader))
    }))
}

/// Somebody who reads places.
struct PlacesReader {
    opening: String,
    /// The tag of what it has.
    known: Option<String>,
    changes: watch::Receiver<Arc<Told>>,
    /// How much later than others it gets its frames.
    spread: Duration,
    sent: Option<Instant>,
    place: Place,
}

impl PlacesReader {
    /// The next frame; none: the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let told = Arc::clone(&self.changes.borrow_and_update());
            let places = &told.opening(&self.opening)?.places;
            if self.known.as_ref() != Some(&places.tag) {
                let change = places.change.as_ref();
                let change = change.filter(|(since, _)| self.known.as_ref() == Some(since));
                let frame = change.map_or(&places.frame, |(_, frame)| frame).clone();
                self.known = Some(places.tag.clone());
                self.sent = Some(Instant::now());
                return Some(frame);
            }
            tokio::select! {
                changed = self.changes.changed() => {
                    changed.ok()?;
                    let earliest = self.sent.map_or_else(Instant::now, |sent| sent + FRAME_EVERY);
                    let due = earliest.max(Instant::now() + self.spread);
                    tokio::select! {
                        () = sleep_until(due) => {}
                        () = self.place.gateway.shutdown.cancelled() => return None,
                    }
                }
                () = sleep(SIGN_OF_LIFE_EVERY) => return Some(SIGN_OF_LIFE),
                () = self.place.gateway.shutdown.cancelled() => return None,
            }
        }
    }
}

/// `GET /v1/requests/{token}/stream`.
pub(crate) async fn request(
    State(gateway): State<Arc<Gateway>>,
    Segment(token): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let tracked = tracked_by(&gateway, &token, &parts)?;
    let known = parts.headers.get("last-event-id").and_then(|value| value.to_str().ok());
    if known.is_some_and(is_final) {
        // A browser does not come back after this.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let place = Place::take(&gateway)?;
    let following = gateway.feed.follow(&tracked);
    let reader = RequestReader {
        tracked,
        following,
        new_until: Instant::now(),
        known: known.map(str::to_owned),
        next: Instant::now(),
        alive: Instant::now() + SIGN_OF_LIFE_EVERY,
        place,
    };
    Ok(events::respond(stream::unfold(reader, async |mut reader| {
        reader.next().await.map(|frame| (frame, reader))
    })))
}

/// Somebody who reads what becomes of a request.
struct RequestReader {
    tracked: Tracked<'static>,
    following: Following,
    /// Until when the last news are new.
    new_until: Instant,
    /// The tag of what it has.
    known: Option<String>,
    /// When it is looked up next.
    next: Instant,
    /// When the next sign of life is due.
    alive: Instant,
    place: Place,
}

impl RequestReader {
    async fn next(&mut self) -> Option<Bytes> {
        if self.known.as_deref().is_some_and(is_final) {
            return None;
        }
        let gateway = Arc::clone(&self.place.gateway);
        loop {
            tokio::select! {
                () = sleep_until(self.next) => {}
                () = sleep_until(self.alive) => {
                    self.alive = Instant::now() + SIGN_OF_LIFE_EVERY;
                    return Some(SIGN_OF_LIFE);
                }
                news = self.following.news() => {
                    let now = Instant::now();
                    let spread = match news {
                        News::Named => NEWS_SPREAD,
                        News::Gap => LOOKED_UP_AFTER[1],
                    };
                    self.next = self.next.min(now + spread.mul_f64(rand::random()));
                    self.new_until = now + NEW_FOR;
                    continue;
                }
                () = gateway.shutdown.cancelled() => return None,
            }
            let now = Instant::now();
            self.next = now + between(LOOKED_UP_AFTER);
            // What could not be found out is found out next time.
            let Ok(outcome) = gateway.look_up(&self.tracked).await else { continue };
            if gateway.feed.is_heard() && now >= self.new_until {
                self.next = now + between(LOOKED_UP_ANYWAY_AFTER);
            }
            let told = outcome_json(&outcome).zip(outcome_tag(&outcome));
            let Some((json, tag)) = told else { continue };
            if self.known.as_ref() != Some(&tag) {
                let frame = event(&tag, "request", json.as_bytes());
                self.known = Some(tag);
                return Some(frame);
            }
        }
    }
}

fn between([from, to]: [Duration; 2]) -> Duration {
    rand::random_range(from..to)
}
