//! Bookings, changes and look-ups over HTTP.
//!
//! A body is the wire's request without what the address and the headers say: the request id,
//! the opening, the booking. Those are put into its JSON, and the wire's own reader reads the
//! whole, so that its bounds and its words hold here too.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use giliran_web::{Peer, tag};
use giliran_wire::answer::{Phase, Reason, Rejection, Verdict};
use giliran_wire::request::{Book, Cancel, Lookup, Reschedule, element};
use smallvec::SmallVec;
use tokio::time::{Instant, timeout_at};

use crate::asking::Outcome;
use crate::client_log::Wish;
use crate::exchange::{Whole, answered, key, parsed, parsed_with, patience, whole, with};
use crate::gateway::Gateway;
use crate::identity::Caller;
use crate::lanes::Lane;
use crate::problem::{self, Kind, Problem};
use crate::running::{Begun, Running};
use crate::segment::Segment;
use crate::to_the_end::ToTheEnd;
use crate::token::Tracked;

/// Who comes this long before the opening is told so here; whoever comes later is the engine's.
const EARLY_MS: u64 = 2_000;
/// How long a look-up of a token is repeated.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(3);

type Answered = Result<Response, Problem>;

/// `POST /v1/openings/{opening}/bookings`.
pub(crate) async fn book(
    State(gateway): State<Arc<Gateway>>,
    Segment(opening): Segment,
    request: Request,
) -> Answered {
    let (caller, headers, body) = read(&gateway, request).await?;
    let deadline = Instant::now() + patience(gateway.patience, &headers);
    let account = caller.account.as_deref().map(|account| ("account", account));
    let given = [("request_id", key(&headers)?), ("opening", opening.as_str())];
    let given: SmallVec<[_; 3]> = given.into_iter().chain(account).collect();
    let request = with(&body, &given);
    let book = parsed_with::<Book<'_>>(&body, &request)?;
    gateway.take_rate(&caller)?;
    verified(&caller, &book.applicants[0])?;
    if let Some(early) = gateway.early(&opening) {
        return Err(early);
    }
    let booked = gateway.booked(&book, deadline).await?;
    respond(&gateway, booked, Some(&tracked_of(&book)))
}

/// `POST /v1/lookups`.
pub(crate) async fn lookup(State(gateway): State<Arc<Gateway>>, request: Request) -> Answered {
    let (caller, headers, body) = read(&gateway, request).await?;
    let deadline = Instant::now() + patience(gateway.patience, &headers);
    let lookup = parsed::<Lookup<'_>>(&body)?;
    gateway.take_rate(&caller)?;
    verified(&caller, &lookup.applicant)?;
    let outcome = gateway.asked(Lane::Lookup, element(&lookup), deadline).await?;
    respond(&gateway, outcome, None)
}

/// `POST /v1/bookings/{booking}/cancellation`.
pub(crate) async fn cancel(
    State(gateway): State<Arc<Gateway>>,
    Segment(booking): Segment,
    request: Request,
) -> Answered {
    change(gateway, Lane::Cancel, booking, request, |body, request| {
        let cancel = parsed_with::<Cancel<'_>>(body, request)?;
        Ok((cancel.applicant.to_string(), element(&cancel)))
    })
    .await
}

/// `POST /v1/bookings/{booking}/reschedule`.
pub(crate) async fn reschedule(
    State(gateway): State<Arc<Gateway>>,
    Segment(booking): Segment,
    request: Request,
) -> Answered {
    change(gateway, Lane::Reschedule, booking, request, |body, request| {
        let reschedule = parsed_with::<Reschedule<'_>>(body, request)?;
        Ok((reschedule.applicant.to_string(), element(&reschedule)))
    })
    .await
}

/// A change of a booking; `read_change` gives its applicant and how the engine is asked for it.
async fn change(
    gateway: Arc<Gateway>,
    lane: Lane,
    booking: String,
    request: Request,
    read_change: impl FnOnce(&[u8], &[u8]) -> Result<(String, Vec<u8>), Problem>,
) -> Answered {
    let (caller, headers, body) = read(&gateway, request).await?;
    let deadline = Instant::now() + patience(gateway.patience, &headers);
    let request = with(&body, &[("request_id", key(&headers)?), ("booking", &booking)]);
    let (applicant, asked) = read_change(&body, &request)?;
    gateway.take_rate(&caller)?;
    verified(&caller, &applicant)?;
    let outcome = gateway.asked(lane, asked, deadline).await?;
    respond(&gateway, outcome, None)
}

/// `GET /v1/requests/{token}`.
pub(crate) async fn tracked(
    State(gateway): State<Arc<Gateway>>,
    Segment(token): Segment,
    request: Request,
) -> Answered {
    let (parts, _) = request.into_parts();
    let tracked = tracked_by(&gateway, &token, &parts)?;
    let outcome = gateway.look_up(&tracked).await?;
    respond(&gateway, outcome, None)
}

impl Gateway {
    /// Asks for a booking until it is settled or the deadline has come; goes on by itself where
    /// the caller goes away. Whoever sends the same bytes meanwhile takes no other place: it
    /// waits, and asks once more, since that answer may be older than what this caller has heard
    /// before it asked.
    ///
    /// # Errors
    ///
    /// 503 where too many requests are on the way.
    pub(crate) async fn booked(
        self: &Arc<Self>,
        book: &Book<'_>,
        deadline: Instant,
    ) -> Result<Outcome, Problem> {
        let (request, arrived): (Arc<[u8]>, _) = (element(book).into(), Instant::now());
        loop {
            let (began, mut outcome) = match self.running.begin(&request, || self.room.place())? {
                Begun::Elsewhere { began, outcome } => (began, outcome),
                Begun::Own(running) => {
                    let wish = self.asker.log.as_ref().map(|_| Wish::new(book));
                    let asking = Arc::clone(self).ask(running, self.lane(book), wish, deadline);
                    return Ok(ToTheEnd::new(asking).await);
                }
            };
            let told = timeout_at(deadline, outcome.wait_for(Option::is_some)).await;
            // Where it panicked or has not come to its end nothing is known.
            let Ok(Ok(told)) = told else { return Err(Problem::new(Kind::InDoubt)) };
            let Some(outcome) = told.clone() else { continue };
            // Asked for before this caller came, it may be older than what they have heard since.
            let is_over = match outcome {
                Outcome::Settled(_) | Outcome::NotDrawn { .. } => began >= arrived,
                Outcome::Unsettled(_) => Instant::now() >= deadline,
            };
            if is_over {
                return Ok(outcome);
            }
        }
    }

    /// Asks for a booking that is one's own to ask for.
    async fn ask(
        self: Arc<Self>,
        running: Running,
        lane: Lane,
        wish: Option<Wish>,
        deadline: Instant,
    ) -> Outcome {
        let outcome = self.asker.ask(lane, &running.request, deadline, wish.as_ref()).await;
        self.metrics.booked(running.began.elapsed());
        running.end(&outcome);
        outcome
    }

    /// The lane of what a booking is expected to come to.
    fn lane(&self, book: &Book<'_>) -> Lane {
        let told = self.catalogue.told();
        let opening = book.opening.as_deref().map_or_else(|| told.only(), |id| told.opening(id));
        match opening {
            // Whoever waits for returned places enters a draw: that goes into a block too.
            Some(opening) if !book.wait && !opening.may_grant(&book.choices) => Lane::Refusal,
            _ => Lane::Grant,
        }
    }

    /// The same for requests of other kinds. Look-ups have places of their own, so that whoever
    /// looks takes none from whoever books.
    pub(crate) async fn asked(
        &self,
        lane: Lane,
        request: Vec<u8>,
        deadline: Instant,
    ) -> Result<Outcome, Problem> {
        let room = if matches!(lane, Lane::Lookup) { &self.lookup_room } else { &self.room };
        room.asked(&self.asker, lane, request, deadline).await
    }

    /// What became of a request.
    pub(crate) async fn look_up(&self, tracked: &Tracked<'_>) -> Result<Outcome, Problem> {
        let told = self.catalogue.told();
        let opening = tracked.opening.as_deref().and_then(|id| told.opening(id));
        // Before it is asked: a winner of a draw that took place meanwhile is found.
        let drawn = opening.filter(|opening| opening.is_drawn()).cloned();
        let lookup = Lookup {
            booking: None,
            request_id: Some((&*tracked.request_id).into()),
            applicant: (&*tracked.applicant).into(),
            opening: tracked.opening.as_deref().map(Into::into),
        };
        let deadline = Instant::now() + LOOKUP_PATIENCE;
        let outcome = self.asked(Lane::Lookup, element(&lookup), deadline).await?;
        Ok(match drawn {
            Some(opening) if is_not_found(&outcome) => {
                Outcome::NotDrawn { for_good: !opening.gives_leftovers() }
            }
            _ => outcome,
        })
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

fn is_not_found(outcome: &Outcome) -> bool {
    let Outcome::Settled(answer) = outcome else { return false };
    matches!(&answer.verdict, Verdict::Rejected(of) if of.reason == Reason::NotFound)
}

/// Who asks, and the body.
async fn read(gateway: &Gateway, request: Request) -> Result<(Caller, HeaderMap, Whole), Problem> {
    let (parts, body) = request.into_parts();
    let caller = caller(gateway, &parts.extensions, &parts.headers)?;
    let body = whole(&gateway.body_room, &parts.headers, body).await?;
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

/// What a token stands for, where this caller may know it.
///
/// # Errors
///
/// 429 beyond the caller's rates; `not_found` where the token is none of ours; `not_permitted`
/// where the proxy has verified somebody else.
pub(crate) fn of_token(
    gateway: &Gateway,
    token: &str,
    caller: &Caller,
) -> Result<Tracked<'static>, Problem> {
    gateway.take_rate(caller)?;
    let tracked = gateway.token_key.read(token);
    let tracked = tracked.ok_or_else(|| Problem::reason(Reason::NotFound))?;
    verified(caller, &tracked.applicant)?;
    Ok(tracked)
}

/// What the token in a request's address stands for, where whoever sent the request may know
/// it; see [`of_token`].
pub(crate) fn tracked_by(
    gateway: &Gateway,
    token: &str,
    parts: &Parts,
) -> Result<Tracked<'static>, Problem> {
    of_token(gateway, token, &caller(gateway, &parts.extensions, &parts.headers)?)
}

/// Whoever the proxy has verified is the one who asks.
pub(crate) fn verified(caller: &Caller, applicant: &str) -> Result<(), Problem> {
    match &caller.applicant {
        Some(verified) if verified != applicant => Err(Problem::reason(Reason::NotPermitted)
            .detail("the first applicant is not the one that the proxy has verified")),
        _ => Ok(()),
    }
}

pub(crate) fn tracked_of<'a>(book: &'a Book<'_>) -> Tracked<'a> {
    Tracked {
        opening: book.opening.as_deref().map(Into::into),
        request_id: (&*book.request_id).into(),
        applicant: (&*book.applicants[0]).into(),
    }
}

/// Begins the tag of what does not change any more.
const FINAL: &str = "end-";

/// Names what a look-up found; none: nothing was found out. The same as long as the booking or
/// the entry is the same, at whatever ledger position it was looked up.
pub(crate) fn outcome_tag(outcome: &Outcome) -> Option<String> {
    let answer = match outcome {
        Outcome::Settled(answer) => answer,
        Outcome::NotDrawn { for_good } => {
            let end = if *for_good { FINAL } else { "" };
            return Some(format!("{end}{}", tag(Kind::NotDrawn.name().as_bytes())));
        }
        Outcome::Unsettled(_) => return None,
    };
    Some(match &answer.verdict {
        Verdict::Granted { booking, .. } => {
            let of = format!("{} {} {:?}", booking.id, booking.version, booking.status);
            let end = if booking.status.is_live() { "" } else { FINAL };
            format!("{end}{}", tag(of.as_bytes()))
        }
        Verdict::Entered { opening, receipt, .. } => {
            tag(format!("entered {opening} {receipt}").as_bytes())
        }
        Verdict::Rejected(rejection) => tag(rejection.reason.name().as_bytes()),
    })
}

/// Whether a tag names what does not change any more.
pub(crate) fn is_final(tag: &str) -> bool {
    tag.starts_with(FINAL)
}

/// What a look-up found, as JSON; none: nothing was found out.
pub(crate) fn outcome_json(outcome: &Outcome) -> Option<String> {
    let answer = match outcome {
        Outcome::Settled(answer) => answer,
        Outcome::NotDrawn { .. } => return Some(Problem::new(Kind::NotDrawn).body()),
        Outcome::Unsettled(_) => return None,
    };
    Some(match problem::of_answer(answer, None) {
        Some(problem) => problem.body(),
        // Texts and numbers: they can be written.
        None => serde_json::to_string(answer).unwrap_or_default(),
    })
}

/// The answer over HTTP. `made`: what the request would make, whose address is told.
fn respond(gateway: &Gateway, outcome: Outcome, made: Option<&Tracked<'_>>) -> Answered {
    let answer = problem::of_outcome(outcome, gateway.opens_at(made))?;
    let status = match &answer.verdict {
        _ if made.is_none() => StatusCode::OK,
        Verdict::Granted { booking, .. } if booking.status.is_live() => StatusCode::CREATED,
        Verdict::Granted { .. } | Verdict::Rejected(_) => StatusCode::OK,
        Verdict::Entered { .. } => StatusCode::ACCEPTED,
    };
    let mut response = answered(status, &answer);
    if let Some(made) = made {
        let location = gateway.token_key.token_behind("/v1/requests/", made);
        if let Ok(location) = HeaderValue::try_from(location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
    }
    Ok(response)
}

impl Gateway {
    fn opens_at(&self, made: Option<&Tracked<'_>>) -> Option<giliran_wire::Timestamp> {
        let id = made?.opening.as_deref()?;
        self.catalogue.told().opening(id).map(|opening| opening.opens_at)
    }
}
