//! Bookings, changes and look-ups over HTTP.
//!
//! A body is the wire's request without what the address and the headers say: the request id,
//! the opening, the booking. Those are put into its JSON, and the wire's own reader reads the
//! whole, so that its bounds and its words hold here too.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use giliran_wire::answer::{Phase, Reason, Rejection, Verdict};
use giliran_wire::request::{self, Book, Cancel, Lookup, Payload, Reschedule, element};
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::Instant;

use crate::asking::Outcome;
use crate::client_log::Wish;
use crate::gateway::Gateway;
use crate::identity::Caller;
use crate::lanes::Lane;
use crate::problem::{self, Kind, Problem};
use crate::server::Peer;
use crate::token::Tracked;

/// Most bytes of a body: far more than the largest request has.
const BODY_BYTES: usize = 64 * 1024;
/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// The longest patience that a caller may ask for.
const LONGEST_PATIENCE: Duration = Duration::from_secs(60);
/// Who comes this long before the opening is told so here; whoever comes later is the engine's.
const EARLY_MS: u64 = 2_000;
/// How long a look-up of a token is repeated.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(3);

const IDEMPOTENCY_KEY: &str = "idempotency-key";

type Answered = Result<Response, Problem>;

/// `POST /v1/openings/{opening}/bookings`.
pub(crate) async fn book(
    State(gateway): State<Arc<Gateway>>,
    Path(opening): Path<String>,
    request: Request,
) -> Answered {
    let (caller, headers, body) = read(&gateway, request).await?;
    let deadline = Instant::now() + patience(&gateway, &headers);
    let mut given = vec![("request_id", key(&headers)?), ("opening", opening)];
    given.extend(caller.account.clone().map(|account| ("account", account)));
    let body = with(&body, &given);
    let book = parsed::<Book<'_>>(&body)?;
    gateway.take_rate(&caller, book.account.as_deref())?;
    verified(&caller, &book.applicants[0])?;
    let opening = book.opening.as_deref().unwrap_or_default();
    if let Some(early) = gateway.early(opening) {
        return Err(early);
    }
    let booked = gateway.clone().booked(&book, deadline).await?;
    respond(&gateway, booked, Some(tracked_of(&book)))
}

/// `POST /v1/lookups`.
pub(crate) async fn lookup(State(gateway): State<Arc<Gateway>>, request: Request) -> Answered {
    let (caller, headers, body) = read(&gateway, request).await?;
    let deadline = Instant::now() + patience(&gateway, &headers);
    let lookup = parsed::<Lookup<'_>>(&body)?;
    gateway.take_rate(&caller, caller.account.as_deref())?;
    verified(&caller, &lookup.applicant)?;
    let outcome = gateway.clone().asked(Lane::Lookup, element(&lookup), deadline).await?;
    respond(&gateway, outcome, None)
}

/// `POST /v1/bookings/{booking}/cancellation`.
pub(crate) async fn cancel(
    State(gateway): State<Arc<Gateway>>,
    Path(booking): Path<String>,
    request: Request,
) -> Answered {
    let (caller, headers, body) = read(&gateway, request).await?;
    let deadline = Instant::now() + patience(&gateway, &headers);
    let body = with(&body, &[("request_id", key(&headers)?), ("booking", booking)]);
    let cancel = parsed::<Cancel<'_>>(&body)?;
    gateway.take_rate(&caller, caller.account.as_deref())?;
    verified(&caller, &cancel.applicant)?;
    let outcome = gateway.clone().asked(Lane::Cancel, element(&cancel), deadline).await?;
    respond(&gateway, outcome, None)
}

/// `POST /v1/bookings/{booking}/reschedule`.
pub(crate) async fn reschedule(
    State(gateway): State<Arc<Gateway>>,
    Path(booking): Path<String>,
    request: Request,
) -> Answered {
    let (caller, headers, body) = read(&gateway, request).await?;
    let deadline = Instant::now() + patience(&gateway, &headers);
    let body = with(&body, &[("request_id", key(&headers)?), ("booking", booking)]);
    let reschedule = parsed::<Reschedule<'_>>(&body)?;
    gateway.take_rate(&caller, caller.account.as_deref())?;
    verified(&caller, &reschedule.applicant)?;
    let outcome = gateway.clone().asked(Lane::Reschedule, element(&reschedule), deadline).await?;
    respond(&gateway, outcome, None)
}

/// `GET /v1/requests/{token}`.
pub(crate) async fn tracked(
    State(gateway): State<Arc<Gateway>>,
    Path(token): Path<String>,
    request: Request,
) -> Answered {
    let (parts, _) = request.into_parts();
    let caller = caller(&gateway, &parts.extensions, &parts.headers)?;
    gateway.take_rate(&caller, caller.account.as_deref())?;
    let Some(tracked) = gateway.token_key.read(&token) else {
        return Err(Problem::reason(Reason::NotFound));
    };
    let outcome = gateway.clone().look_up(&tracked).await?;
    respond(&gateway, outcome, None)
}

impl Gateway {
    /// Asks for a booking until it is settled or the deadline has come; goes on by itself where
    /// the caller goes away.
    ///
    /// # Errors
    ///
    /// 503 where too many requests are on the way.
    pub(crate) async fn booked(
        self: Arc<Self>,
        book: &Book<'_>,
        deadline: Instant,
    ) -> Result<Outcome, Problem> {
        let place = self.place()?;
        let told = self.catalogue.told();
        let opening = book.opening.as_deref().map_or_else(|| told.only(), |id| told.opening(id));
        let lane = match opening {
            // Whoever waits for returned places enters a draw: that goes into a block too.
            Some(opening) if !book.wait && !opening.may_grant(&book.choices) => Lane::Refusal,
            _ => Lane::Grant,
        };
        let wish = self.asker.log.as_ref().map(|_| Wish::new(book));
        let (request, began) = (element(book), Instant::now());
        let asking = tokio::spawn(async move {
            let outcome = self.asker.ask(lane, &request, deadline, wish.as_ref()).await;
            self.metrics.booked(began.elapsed());
            drop(place);
            outcome
        });
        // A task that panicked has settled nothing.
        asking.await.map_err(|_| Problem::new(Kind::InDoubt))
    }

    /// The same for requests of other kinds.
    pub(crate) async fn asked(
        self: Arc<Self>,
        lane: Lane,
        request: Vec<u8>,
        deadline: Instant,
    ) -> Result<Outcome, Problem> {
        let place = self.place()?;
        let asking = tokio::spawn(async move {
            let outcome = self.asker.ask(lane, &request, deadline, None).await;
            drop(place);
            outcome
        });
        asking.await.map_err(|_| Problem::new(Kind::InDoubt))
    }

    /// What became of a request.
    pub(crate) async fn look_up(self: Arc<Self>, tracked: &Tracked) -> Result<Outcome, Problem> {
        let lookup = Lookup {
            booking: None,
            request_id: Some(tracked.request_id.as_str().into()),
            applicant: tracked.applicant.as_str().into(),
            opening: tracked.opening.as_deref().map(Into::into),
        };
        let deadline = Instant::now() + LOOKUP_PATIENCE;
        self.asked(Lane::Lookup, element(&lookup), deadline).await
    }

    fn place(&self) -> Result<Place, Problem> {
        let permit = Arc::clone(&self.room).try_acquire_owned();
        let permit = permit.map_err(|_| Problem::overloaded())?;
        self.metrics.in_flight.inc();
        Ok(Place { _permit: permit, in_flight: self.metrics.in_flight.clone() })
    }

    /// The answer to whoever comes long before an opening: by the engine's clock, and only while
    /// it is known to be scheduled.
    pub(crate) fn early(&self, opening: &str) -> Option<Problem> {
        let told = self.catalogue.told();
        let opening = told.opening(opening).filter(|opening| opening.state == Phase::Scheduled)?;
        let now = self.catalogue.now();
        let early_ms = opening.opens_at.millis_since(now);
        if early_ms <= EARLY_MS || !self.catalogue.is_fresh() {
            return None;
        }
        let rejection = Rejection {
            now: Some(now),
            ..Rejection::new(Reason::NotOpen).retry_after_ms(early_ms)
        };
        Some(Problem::rejected(None, &rejection, Some(opening.opens_at)))
    }
}

/// A place among the requests on the way.
struct Place {
    _permit: tokio::sync::OwnedSemaphorePermit,
    in_flight: prometheus::IntGauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

/// Who asks, and the body.
async fn read(gateway: &Gateway, request: Request) -> Result<(Caller, HeaderMap, Bytes), Problem> {
    let (parts, body) = request.into_parts();
    let caller = caller(gateway, &parts.extensions, &parts.headers)?;
    let body = whole(&parts.headers, body).await?;
    Ok((caller, parts.headers, body))
}

pub(crate) fn caller(
    gateway: &Gateway,
    extensions: &axum::http::Extensions,
    headers: &HeaderMap,
) -> Result<Caller, Problem> {
    let unknown = Peer(([0, 0, 0, 0], 0).into());
    let Peer(peer) = extensions.get().copied().unwrap_or(unknown);
    gateway.identity.caller(peer, headers)
}

/// All of a body, within its bounds.
pub(crate) async fn whole(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let too_large =
        || Problem::new(Kind::TooLarge).detail(format!("a body has {BODY_BYTES} bytes at most"));
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length: Option<usize> = length.and_then(|length| length.parse().ok());
    if length.is_some_and(|length| length > BODY_BYTES) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_WITHIN, axum::body::to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(Problem::new(Kind::TooSlow)),
    }
}

/// The request id: the value of `Idempotency-Key`, with or without quotation marks.
fn key(headers: &HeaderMap) -> Result<String, Problem> {
    let missing = || {
        Problem::malformed(
            "Idempotency-Key: missing; 1 to 64 of A-Z a-z 0-9 - _ . :, made once for each wish \
             and sent again with it",
        )
    };
    let value = headers.get(IDEMPOTENCY_KEY).ok_or_else(missing)?.to_str().unwrap_or("?").trim();
    let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    Ok(bare.to_owned())
}

/// How long the caller waits: `Prefer: wait=20` (RFC 7240), in seconds.
fn patience(gateway: &Gateway, headers: &HeaderMap) -> Duration {
    let preferred = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut waits = preferred
        .flat_map(|value| value.split([',', ';']))
        .filter_map(|one| one.trim().strip_prefix("wait=")?.parse().ok());
    let wait = waits.next().map(Duration::from_secs);
    wait.unwrap_or(gateway.patience).min(LONGEST_PATIENCE)
}

/// The JSON object with these fields put behind its own. A text that is no object stays as it
/// is, and its reader says so; one that has a field already is told that it has it twice.
fn with(body: &[u8], fields: &[(&str, String)]) -> Vec<u8> {
    let is_json = serde_json::from_slice::<IgnoredAny>(body).is_ok();
    let end = body.iter().rposition(|byte| *byte == b'}').filter(|_| is_json);
    let Some(end) = end else { return body.to_vec() };
    let before = body[..end].iter().rev().find(|byte| !byte.is_ascii_whitespace());
    let mut out = body[..end].to_vec();
    let mut comma = before != Some(&b'{');
    for (name, value) in fields {
        if std::mem::replace(&mut comma, true) {
            out.push(b',');
        }
        out.extend_from_slice(json!(name).to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(json!(value).to_string().as_bytes());
    }
    out.extend_from_slice(&body[end..]);
    out
}

fn parsed<'a, T: request::Request<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    match request::read::<T>(body) {
        Ok(Payload::One(request)) => Ok(request),
        Ok(Payload::Many(..)) => {
            Err(Problem::malformed("payload: one request, a JSON object, is expected"))
        }
        Err(malformed) => {
            let problem = Problem::malformed(malformed.detail);
            Err(match malformed.request_id {
                Some(id) => problem.with("request_id", id),
                None => problem,
            })
        }
    }
}

/// Whoever the proxy has verified is the one who asks.
fn verified(caller: &Caller, applicant: &str) -> Result<(), Problem> {
    match &caller.applicant {
        Some(verified) if verified != applicant => Err(Problem::reason(Reason::NotPermitted)
            .detail("the first applicant is not the one that the proxy has verified")),
        _ => Ok(()),
    }
}

pub(crate) fn tracked_of(book: &Book<'_>) -> Tracked {
    Tracked {
        opening: book.opening.as_ref().map(ToString::to_string),
        request_id: book.request_id.to_string(),
        applicant: book.applicants[0].to_string(),
    }
}

/// What a look-up found, as JSON; none: nothing was found out.
pub(crate) fn outcome_json(outcome: &Outcome) -> Option<String> {
    let Outcome::Settled(answer) = outcome else { return None };
    Some(match problem::of_answer(answer, None) {
        Some(problem) => problem.body().to_string(),
        // Texts and numbers: they can be written.
        None => serde_json::to_string(answer).unwrap_or_default(),
    })
}

/// The answer over HTTP. `made`: what the request would make, whose address is told.
fn respond(gateway: &Gateway, outcome: Outcome, made: Option<Tracked>) -> Answered {
    let answer = match outcome {
        Outcome::Settled(answer) => answer,
        Outcome::Unsettled(why) => return Err(Problem::unsettled(&why)),
    };
    if let Some(problem) = problem::of_answer(&answer, gateway.opens_at(made.as_ref())) {
        return Err(problem);
    }
    let status = match &answer.verdict {
        _ if made.is_none() => StatusCode::OK,
        Verdict::Granted { booking, .. } if booking.status.is_live() => StatusCode::CREATED,
        Verdict::Granted { .. } | Verdict::Rejected(_) => StatusCode::OK,
        Verdict::Entered { .. } => StatusCode::ACCEPTED,
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(made) = made {
        let location = format!("/v1/requests/{}", gateway.token_key.token(&made));
        if let Ok(location) = HeaderValue::from_str(&location) {
            headers.insert(header::LOCATION, location);
        }
    }
    Ok((status, headers, serde_json::to_vec(&answer).unwrap_or_default()).into_response())
}

impl Gateway {
    fn opens_at(&self, made: Option<&Tracked>) -> Option<giliran_wire::Timestamp> {
        let id = made?.opening.as_deref()?;
        self.catalogue.told().opening(id).map(|opening| opening.opens_at)
    }
}
