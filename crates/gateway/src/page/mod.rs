//! The page for people: HTML from here, which works without its script.
//!
//! `layout` has what every page has, `words` what it says, `form` the form of a wish, `own` what
//! became of one, `qr` and `calendar` what of it is taken along.

mod calendar;
mod form;
mod layout;
mod own;
mod qr;
mod times;
mod words;

pub(crate) use calendar::calendar;
pub(crate) use layout::asset;
pub(crate) use own::{cancel, find, found, reschedule, tracked};

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use giliran_web::page::{is_own_form, respond};
use giliran_wire::answer::{Phase, Reason};
use giliran_wire::request::Request as _;
use maud::{Markup, html};
use tokio::time::Instant;

use crate::bookings::{caller, tracked_of, verified};
use crate::catalogue::{Opening, Told};
use crate::exchange::{Whole, whole};
use crate::gateway::Gateway;
use crate::identity::Caller;
use crate::problem::{self, Kind, Problem};
use crate::segment::Segment;
use form::{Filled, Form};
use layout::Page;
use words::Language;

/// How long a page waits for an answer, before it says that it goes on.
const PAGE_WAITS: Duration = Duration::from_secs(6);
/// How long it goes on.
const GOES_ON: Duration = Duration::from_secs(60);
/// When a page that waits looks again, s.
const LOOKS_AGAIN_S: u64 = 3;
/// Tells the script that a wish is settled.
const SETTLED: HeaderName = HeaderName::from_static("giliran-settled");

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
    Segment(id): Segment,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let language = Language::of(query.as_deref(), &headers);
    let told = gateway.catalogue.told();
    match told.opening(&id) {
        Some(opening) => opening_page(&gateway, language, &told, opening, &Filled::new(), None),
        None if gateway.catalogue.age().is_some() => {
            nothing_there(&gateway, language, Reason::UnknownOpening)
        }
        None => nothing_there(&gateway, language, Reason::Unavailable),
    }
}

/// `POST /o/{opening}`: asks for a place.
pub(crate) async fn ask(
    State(gateway): State<Arc<Gateway>>,
    Segment(id): Segment,
    request: Request,
) -> Response {
    let language = Language::of(request.uri().query(), request.headers());
    let (caller, body) = match posted(&gateway, request).await {
        Ok(posted) => posted,
        Err(problem) => return failed(&gateway, language, &problem),
    };
    let filled = Filled::read(&body);
    let told = gateway.catalogue.told();
    let again = |problem| {
        let action = format!("/o/{id}?lang={}", language.code());
        once_more(&gateway, language, &action, Some(&id), &body, problem)
    };
    let Some(opening) = told.opening(&id) else {
        if gateway.catalogue.age().is_some() {
            return nothing_there(&gateway, language, Reason::UnknownOpening);
        }
        return again(&Problem::reason(Reason::Unavailable));
    };
    match asked(&gateway, opening, &filled, &caller).await {
        Ok(address) => see_other(&address, language),
        Err(problem) if opening.offers.is_none() && !problem.kind.is_settled() => again(&problem),
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
    let book = filled.book(&opening.id, caller.account.as_deref())?;
    book.validate().map_err(Problem::malformed)?;
    gateway.take_rate(caller)?;
    verified(caller, &book.applicants[0])?;
    if let Some(early) = gateway.early(&opening.id) {
        return Err(early);
    }
    let asking = gateway.booked(&book, Instant::now() + GOES_ON);
    // Beyond its time the request goes on without the page.
    let outcome = tokio::time::timeout(PAGE_WAITS, asking).await;
    let outcome = outcome.unwrap_or_else(|_| Err(Problem::new(Kind::InDoubt)))?;
    problem::of_outcome(outcome, Some(opening.opens_at))?;
    Ok(format!("/r/{}", gateway.token_key.token(&tracked_of(&book))))
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
    let Some(offers) = &opening.offers else {
        return match problem {
            Some(problem) => failed(gateway, language, problem),
            None => nothing_there(gateway, language, Reason::Unavailable),
        };
    };
    let now = gateway.catalogue.now();
    let zone = times::zone(&offers.timezone);
    let unsettled = problem.is_some_and(|problem| !problem.kind.is_settled());
    let asks_account = !gateway.identity.names_accounts();
    let form = Form { language, opening, offers, filled, sent: unsettled, asks_account, now };
    let over = opening.state == Phase::Closed && !opening.gives_leftovers();
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
    match problem {
        Some(problem) if unsettled => ask_later(&mut response, problem),
        Some(_) => say_settled(&mut response),
        None => {}
    }
    response
}

/// Says when the same is to be sent again.
fn ask_later(response: &mut Response, problem: &Problem) {
    let after = problem.retry_after_s().max(LOOKS_AGAIN_S);
    response.headers_mut().insert(header::RETRY_AFTER, after.into());
}

/// Says that the wish is settled: its number may be forgotten.
fn say_settled(response: &mut Response) {
    response.headers_mut().insert(SETTLED, HeaderValue::from_static("1"));
}

/// Nothing is settled: what was sent, to be sent again as it is. `wish`: the opening, where it
/// is a wish, which the script sends again by itself.
fn once_more(
    gateway: &Gateway,
    language: Language,
    action: &str,
    wish: Option<&str>,
    body: &[u8],
    problem: &Problem,
) -> Response {
    let sent: Vec<_> = form_urlencoded::parse(body).collect();
    let key = sent.iter().find(|(name, _)| name == "key").map(|(_, key)| key.as_ref());
    let main = html! {
        h1 { (language.trouble()) }
        div.note.warn role="alert" {
            p { (language.trouble_more()) }
            p { (language.number()) ": " span.code { (key.unwrap_or_default()) } }
        }
        form method="post" action=(action) data-wish=[wish] data-sent[wish.is_some()]
            data-asking={ (language.asking()) ". " (language.asking_more()) }
            data-trouble={ (language.trouble()) ". " (language.trouble_more()) }
            data-next=(language.next_try()) {
            @for (name, value) in &sent { input type="hidden" name=(name) value=(value); }
            p.note role="status" hidden {}
            button { (language.ask_again()) }
        }
    };
    let page = page(gateway, language, language.trouble(), "/");
    let mut response = respond(problem.kind.status(), page.render(&main));
    ask_later(&mut response, problem);
    response
}

/// Nothing is lost.
fn trouble(
    gateway: &Gateway,
    language: Language,
    opening: &Opening,
    filled: &Filled,
    problem: &Problem,
) -> Markup {
    let book = filled.book(&opening.id, None).ok().filter(|book| !book.applicants.is_empty());
    let own = book.map(|book| gateway.token_key.token(&tracked_of(&book)));
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
        Kind::Unauthenticated | Kind::InvalidToken => language.sign_in(),
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

/// Nothing is at this address, or nothing is known of it yet: which of them the reason says.
fn nothing_there(gateway: &Gateway, language: Language, why: Reason) -> Response {
    let (words, problem) = (language.reason(why), Problem::reason(why));
    let status = problem.kind.status();
    let main = html! {
        h1 { (language.booking()) }
        p { (words) }
        p { a href={ "/?lang=" (language.code()) } { (language.back()) } }
    };
    let mut response =
        respond(status, page(gateway, language, language.booking(), "/").render(&main));
    if !problem.kind.is_settled() {
        response.headers_mut().insert(header::REFRESH, LOOKS_AGAIN_S.into());
        ask_later(&mut response, &problem);
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
    let mut response = respond(problem.kind.status(), page.render(&main));
    if let Some(challenge) = problem.kind.challenge() {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    if !problem.kind.is_settled() {
        ask_later(&mut response, problem);
    }
    response
}

/// Who has sent a form, and what is in it. A form on somebody else's page is none of ours.
async fn posted(gateway: &Gateway, request: Request) -> Result<(Caller, Whole), Problem> {
    let (parts, body) = request.into_parts();
    if !is_own_form(&parts.headers) {
        return Err(Problem::reason(Reason::NotPermitted));
    }
    let caller = caller(gateway, &parts.extensions, &parts.headers)?;
    let body = whole(&gateway.body_room, &parts.headers, body).await?;
    Ok((caller, body))
}

fn see_other(address: &str, language: Language) -> Response {
    let address = format!("{address}?lang={}", language.code());
    match HeaderValue::from_str(&address) {
        Ok(address) => (StatusCode::SEE_OTHER, [(header::LOCATION, address)]).into_response(),
        Err(_) => Problem::new(Kind::NoSuchAddress).into_response(),
    }
}
