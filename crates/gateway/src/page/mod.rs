//! The page for people: HTML from here, which works without its script.
//!
//! `layout` has what every page has, `words` what it says, `form` the form of a wish, `own` what
//! became of one.

mod form;
mod layout;
mod own;
mod times;
mod words;

pub(crate) use layout::asset;
pub(crate) use own::{calendar, cancel, find, found, reschedule, tracked};

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use giliran_wire::answer::{Phase, Reason};
use giliran_wire::catalogue::{OpeningDescription, Order};
use giliran_wire::request::Request as _;
use maud::{Markup, html};
use tokio::time::Instant;

use crate::asking::Outcome;
use crate::bookings::{caller, tracked_of, whole};
use crate::catalogue::{Opening, Told};
use crate::gateway::Gateway;
use crate::identity::Caller;
use crate::problem::{self, Kind, Problem};
use form::{Filled, Form};
use layout::{Page, respond};
use words::Language;

/// How long a page waits for an answer, before it says that it goes on.
const PAGE_WAITS: Duration = Duration::from_secs(6);
/// How long it goes on.
const GOES_ON: Duration = Duration::from_secs(60);
/// When a page that waits looks again, s.
const LOOKS_AGAIN_S: u64 = 3;

/// `GET /`: the opening that is meant, or a list of them.
pub(crate) async fn home(
    State(gateway): State<Arc<Gateway>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let language = Language::of(query.as_deref(), &headers);
    let told = gateway.catalogue.told();
    let current: Vec<&Arc<Opening>> =
        told.openings.iter().filter(|opening| opening.state != Phase::Closed).collect();
    if let [only] = current.as_slice() {
        return opening_page(&gateway, language, &told, only, &Filled::new(), None);
    }
    let main = html! {
        h1 { (language.openings()) }
        @if told.openings.is_empty() { p { (language.none_open()) } }
        ul {
            @for opening in &told.openings {
                li {
                    a href={ "/o/" (opening.id) "?lang=" (language.code()) } { (opening.id) }
                    " – " (phase(language, opening.state))
                }
            }
        }
    };
    let page = page(&gateway, language, language.openings(), "/");
    respond(StatusCode::OK, page.render(&main))
}

/// `GET /o/{opening}`.
pub(crate) async fn opening(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let language = Language::of(query.as_deref(), &headers);
    let told = gateway.catalogue.told();
    match told.opening(&id) {
        Some(opening) => opening_page(&gateway, language, &told, opening, &Filled::new(), None),
        None => nothing_there(&gateway, language),
    }
}

/// `POST /o/{opening}`: asks for a place.
pub(crate) async fn ask(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let language = Language::of(request.uri().query(), request.headers());
    let (caller, body) = match posted(&gateway, request).await {
        Ok(posted) => posted,
        Err(problem) => return failed(&gateway, language, &problem),
    };
    let filled = Filled::read(&body);
    let told = gateway.catalogue.told();
    let Some(opening) = told.opening(&id) else { return nothing_there(&gateway, language) };
    match asked(&gateway, opening, &filled, &caller).await {
        Ok(address) => see_other(&address, language),
        Err(problem) if problem.kind.is_settled() => {
            // Whoever changes their wish asks under another number.
            let filled = filled.anew();
            opening_page(&gateway, language, &told, opening, &filled, Some(&problem))
        }
        Err(problem) => opening_page(&gateway, language, &told, opening, &filled, Some(&problem)),
    }
}

/// The address of what was granted or entered.
async fn asked(
    gateway: &Arc<Gateway>,
    opening: &Opening,
    filled: &Filled,
    caller: &Caller,
) -> Result<String, Problem> {
    let book = filled.book(&opening.id, caller.account.as_deref());
    book.validate().map_err(Problem::malformed)?;
    gateway.take_rate(caller, book.account.as_deref())?;
    if caller.applicant.as_deref().is_some_and(|verified| verified != book.applicants[0].as_str()) {
        return Err(Problem::reason(Reason::NotPermitted));
    }
    if let Some(early) = gateway.early(&opening.id) {
        return Err(early);
    }
    let asking = Arc::clone(gateway).booked(&book, Instant::now() + GOES_ON);
    // Beyond its time the request goes on without the page.
    let outcome = tokio::time::timeout(PAGE_WAITS, asking).await;
    let outcome = outcome.unwrap_or_else(|_| Err(Problem::new(Kind::InDoubt)))?;
    match outcome {
        Outcome::Settled(answer) => match problem::of_answer(&answer, Some(opening.opens_at)) {
            Some(problem) => Err(problem),
            None => Ok(format!("/r/{}", gateway.token_key.token(&tracked_of(&book)))),
        },
        Outcome::Unsettled(why) => Err(Problem::unsettled(&why)),
    }
}

/// An opening with its form, and what is to be said of a request.
fn opening_page(
    gateway: &Gateway,
    language: Language,
    told: &Told,
    opening: &Opening,
    filled: &Filled,
    problem: Option<&Problem>,
) -> Response {
    let Some(offers) = &opening.offers else { return nothing_there(gateway, language) };
    let now = gateway.catalogue.now();
    let zone = times::zone(&offers.timezone);
    let unsettled = problem.is_some_and(|problem| !problem.kind.is_settled());
    let asks_account = gateway.identity.account.is_none();
    let form = Form { language, opening, offers, filled, sent: unsettled, asks_account, now };
    let over = opening.state == Phase::Closed && !gives_leftovers(offers);
    let main = html! {
        h1 { (language.booking()) }
        @if let Some(problem) = problem {
            @if unsettled { (trouble(gateway, language, opening, filled, problem)) }
            @else { (refused(language, problem)) }
        }
        @if opening.opens_at > now {
            div.before {
                p { (language.opens_in()) " "
                    span.big data-until=(opening.opens_at.as_millis()) data-over="open" {
                        (times::moment(language, &zone, opening.opens_at))
                    }
                }
                p { (language.opens_at()) ": " (times::moment(language, &zone, opening.opens_at)) }
                p { strong { (language.to_have_ready()) } }
                ul { li { (language.ready_numbers()) } li { (language.ready_wishes()) } }
            }
        }
        p { (form::order_words(language, &offers.order)) }
        p.muted { (language.closes_at()) ": " (times::moment(language, &zone, opening.closes_at)) }
        @if over { p.note { (language.closed()) } } @else { (form.render()) }
        (form::places(language, opening, offers, now, told.stale_since))
    };
    let path = format!("/o/{}", opening.id);
    let page = page(gateway, language, language.booking(), &path);
    let status = problem.map_or(StatusCode::OK, |problem| problem.kind.status());
    let mut response = respond(status, page.render(&main));
    if let Some(problem) = problem.filter(|_| unsettled) {
        let after = problem.retry_after_s().max(LOOKS_AGAIN_S);
        response.headers_mut().insert(header::RETRY_AFTER, after.into());
    }
    response
}

/// What waits after the window, or after the draw: whether somebody may still ask.
fn gives_leftovers(offers: &OpeningDescription) -> bool {
    use giliran_wire::catalogue::Leftovers;
    let drawn = !matches!(offers.order, Order::Draw { drawn: false, .. });
    offers.rules.leftovers == Leftovers::FirstCome && drawn || offers.next_release.is_some()
}

/// Nothing is lost.
fn trouble(
    gateway: &Gateway,
    language: Language,
    opening: &Opening,
    filled: &Filled,
    problem: &Problem,
) -> Markup {
    let book = filled.book(&opening.id, None);
    let own = (!book.applicants.is_empty()).then(|| gateway.token_key.token(&tracked_of(&book)));
    html! {
        div.note.warn role="alert" {
            p { strong {
                @if problem.kind == Kind::InDoubt { (language.asking()) }
                @else { (language.trouble()) }
            } }
            p { (language.trouble_more()) }
            p { (language.number()) ": " span.code { (filled.key) } }
            @if let Some(token) = own {
                p { a href={ "/r/" (token) "?lang=" (language.code()) } { (language.what_became()) } }
            }
        }
    }
}

/// Why there is no place.
fn refused(language: Language, problem: &Problem) -> Markup {
    let words = match problem.kind {
        Kind::Reason(reason) => language.reason(reason),
        Kind::TooMany => language.reason(Reason::Busy),
        _ => language.reason(Reason::Malformed),
    };
    html! { div.note.warn role="alert" { p { strong { (words) } } } }
}

fn page<'a>(gateway: &Gateway, language: Language, title: &'a str, path: &'a str) -> Page<'a> {
    Page { language, title, path, now_ms: gateway.catalogue.now().as_millis() }
}

const fn phase(language: Language, phase: Phase) -> &'static str {
    match phase {
        Phase::Scheduled => language.scheduled(),
        Phase::Open => language.open(),
        Phase::Closed => language.closed(),
    }
}

/// Nothing is at this address, or nothing is known yet.
fn nothing_there(gateway: &Gateway, language: Language) -> Response {
    let known = gateway.catalogue.age().is_some();
    let (words, status) = if known {
        (language.reason(Reason::UnknownOpening), StatusCode::NOT_FOUND)
    } else {
        (language.reason(Reason::Unavailable), StatusCode::SERVICE_UNAVAILABLE)
    };
    let main = html! {
        h1 { (language.booking()) }
        p { (words) }
        p { a href={ "/?lang=" (language.code()) } { (language.back()) } }
    };
    let mut response =
        respond(status, page(gateway, language, language.booking(), "/").render(&main));
    if !known {
        response.headers_mut().insert(header::REFRESH, LOOKS_AGAIN_S.into());
    }
    response
}

/// What came to nothing before it was looked at.
fn failed(gateway: &Gateway, language: Language, problem: &Problem) -> Response {
    let main = html! {
        h1 { (language.booking()) }
        (refused(language, problem))
        p { a href={ "/?lang=" (language.code()) } { (language.back()) } }
    };
    let page = page(gateway, language, language.booking(), "/");
    respond(problem.kind.status(), page.render(&main))
}

/// Who has sent a form, and what is in it. A form on somebody else's page is none of ours.
async fn posted(gateway: &Gateway, request: Request) -> Result<(Caller, Bytes), Problem> {
    let (parts, body) = request.into_parts();
    let site = parts.headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    if site.is_some_and(|site| !["same-origin", "none"].contains(&site)) {
        return Err(Problem::reason(Reason::NotPermitted));
    }
    let caller = caller(gateway, &parts.extensions, &parts.headers)?;
    let body = whole(&parts.headers, body).await?;
    Ok((caller, body))
}

fn see_other(address: &str, language: Language) -> Response {
    let address = format!("{address}?lang={}", language.code());
    match HeaderValue::from_str(&address) {
        Ok(address) => (StatusCode::SEE_OTHER, [(header::LOCATION, address)]).into_response(),
        Err(_) => Problem::new(Kind::NoSuchAddress).into_response(),
    }
}
