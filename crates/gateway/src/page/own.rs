//! What became of one's own request: a booking, an entry, or nothing yet; and what can be done
//! about it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use giliran_web::page::{guarded, respond};
use giliran_wire::Timestamp;
use giliran_wire::answer::{Booking, Reason, Status, Verdict};
use giliran_wire::catalogue::{OpeningDescription, Order};
use giliran_wire::request::{Cancel, Lookup, Request as _, Reschedule, element};
use jiff::tz::TimeZone;
use maud::{Markup, html};
use tokio::time::Instant;

use super::form::Filled;
use super::words::Language;
use super::{
    LOOKS_AGAIN_S, PAGE_WAITS, failed, once_more, page, posted, refused, say_settled, see_other,
    times,
};
use crate::asking::Outcome;
use crate::bookings::{caller, is_final, of_token, outcome_tag, verified};
use crate::catalogue::Opening;
use crate::gateway::Gateway;
use crate::lanes::Lane;
use crate::problem::{self, Problem};
use crate::segment::Segment;
use crate::token::Tracked;

/// Somebody's own page.
struct Own<'a> {
    language: Language,
    token: &'a str,
    opening: Option<Arc<Opening>>,
    /// Engine time.
    now: Timestamp,
}

/// `GET /r/{token}`.
pub(crate) async fn tracked(
    State(gateway): State<Arc<Gateway>>,
    Segment(token): Segment,
    request: Request,
) -> Response {
    let language = Language::of(request.uri().query(), request.headers());
    let (parts, _) = request.into_parts();
    let tracked = caller(&gateway, &parts.extensions, &parts.headers)
        .and_then(|caller| of_token(&gateway, &token, &caller));
    match tracked {
        Ok(tracked) => shown(&gateway, language, (&token, &tracked), None).await,
        Err(problem) => failed(&gateway, language, &problem),
    }
}

/// The page of a token, with what is to be said of an attempt to change it.
async fn shown(
    gateway: &Arc<Gateway>,
    language: Language,
    (token, tracked): (&str, &Tracked<'_>),
    said: Option<&Problem>,
) -> Response {
    let outcome = match gateway.look_up(tracked).await {
        Ok(outcome) => outcome,
        Err(problem) => return failed(gateway, language, &problem),
    };
    let told = gateway.catalogue.told();
    let opening = tracked.opening.as_deref().and_then(|id| told.opening(id)).cloned();
    let own = Own { language, token, opening, now: gateway.catalogue.now() };
    let (title, main, mut status) = own.main(&outcome, tracked);
    let tag = outcome_tag(&outcome).unwrap_or_default();
    let stream = (!is_final(&tag)).then(|| format!("/v1/requests/{token}/stream"));
    let main = html! {
        @if let Some(problem) = said { (refused(language, problem)) }
        div data-request=[stream]
            data-tag=(tag) {
            (main)
        }
    };
    if let Some(problem) = said {
        status = problem.kind.status();
    }
    let path = format!("/r/{token}");
    let mut response = respond(status, page(gateway, language, title, &path).render(&main));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::REFRESH, LOOKS_AGAIN_S.into());
    }
    if status == StatusCode::OK {
        // Whoever was sent here by a form has got what it asked for.
        say_settled(&mut response);
    }
    response
}

impl Own<'_> {
    fn main(&self, outcome: &Outcome, tracked: &Tracked<'_>) -> (&'static str, Markup, StatusCode) {
        let language = self.language;
        let number = html! { p { (language.number()) ": " span.code { (tracked.request_id) } } };
        let back = html! { p { a href={ "/?lang=" (language.code()) } { (language.back()) } } };
        let answer = match outcome {
            Outcome::Settled(answer) => answer,
            Outcome::NotDrawn { .. } => {
                let main = html! {
                    h1 { (language.not_drawn()) }
                    (number)
                    (self.check_draw())
                    (back)
                };
                return (language.not_drawn(), main, StatusCode::NOT_FOUND);
            }
            Outcome::Unsettled(_) => {
                let main = html! {
                    h1 { (language.trouble()) }
                    p { (language.trouble_more()) }
                    (number)
                };
                return (language.trouble(), main, StatusCode::SERVICE_UNAVAILABLE);
            }
        };
        match &answer.verdict {
            Verdict::Granted { booking, .. } => {
                (self.title(booking), self.booking(booking), StatusCode::OK)
            }
            Verdict::Entered { receipt, .. } => {
                (language.entered(), self.entry(&receipt.to_string()), StatusCode::OK)
            }
            Verdict::Rejected(_) => {
                let main = html! {
                    h1 { (language.not_recorded()) }
                    p { (language.not_recorded_more()) }
                    (number)
                    (back)
                };
                (language.not_recorded(), main, StatusCode::NOT_FOUND)
            }
        }
    }

    const fn title(&self, booking: &Booking<'_>) -> &'static str {
        match booking.status {
            Status::Confirmed => self.language.granted(),
            Status::Held => self.language.held(),
            Status::Cancelled => self.language.cancelled(),
            Status::Expired => self.language.expired(),
        }
    }

    fn offers(&self) -> Option<&OpeningDescription> {
        self.opening.as_ref()?.offers.as_deref()
    }

    fn zone(&self) -> TimeZone {
        self.offers().map_or(TimeZone::UTC, |offers| times::zone(&offers.timezone))
    }

    /// What office and session are called.
    fn place(&self, booking: &Booking<'_>) -> (String, String) {
        let offices = self.offers().map(|offers| offers.offices.as_slice()).unwrap_or_default();
        let office = offices.iter().find(|office| office.id == booking.office.as_str());
        let session = office.and_then(|office| {
            office.sessions.iter().find(|one| one.id == booking.session.as_str())
        });
        let name = office.map_or_else(|| booking.office.to_string(), |office| office.name.clone());
        let label = match session {
            Some(session) => session.label.clone(),
            None => booking.session.to_string(),
        };
        (name, label)
    }

    fn booking(&self, booking: &Booking<'_>) -> Markup {
        let (language, zone) = (self.language, self.zone());
        let (office, session) = self.place(booking);
        html! {
            h1 { (self.title(booking)) }
            @if booking.status.is_live() {
                p.muted { (language.queue_number()) }
                @for number in &booking.numbers { p.number { (number) } }
            }
            p.big { (office) }
            p.big { (times::day(language, booking.date)) @if !session.is_empty() { ", " (session) } }
            @if let Some(until) = booking.hold_expires_at {
                div.note.warn {
                    p { (language.hold_until()) " " strong { (times::moment(language, &zone, until)) } }
                    p.screen { span data-until=(until.as_millis()) {
                        (times::minutes(language, until.millis_since(self.now)))
                    } " " (language.left()) }
                }
            }
            dl {
                dt { (language.booking_id()) }
                dd.code { (booking.id) }
                dt { (language.number()) }
                dd.code { (booking.request_id) }
            }
            @if booking.status.is_live() {
                p { (language.keep()) }
                p.screen {
                    a href={ "/r/" (self.token) "/booking.ics?lang=" (language.code()) } {
                        (language.calendar())
                    }
                }
                button.quiet type="button" data-print hidden { (language.print()) }
                (self.changes(booking))
            } @else {
                p { a href={ "/?lang=" (language.code()) } { (language.booking()) } }
            }
        }
    }

    fn changes(&self, booking: &Booking<'_>) -> Markup {
        let language = self.language;
        let action = |what: &str| format!("/r/{}/{what}?lang={}", self.token, language.code());
        html! {
            @if let (Status::Confirmed, Some(offers)) = (booking.status, self.offers()) {
                details {
                    summary { (language.move_booking()) }
                    p { (language.move_keeps()) }
                    form method="post" action=(action("reschedule")) {
                        (self.asking(&booking.id.to_string()))
                        label { (language.office())
                            select name="office0" required {
                                @for office in &offers.offices {
                                    option value=(office.id)
                                        selected[office.id == booking.office.as_str()] {
                                        (office.name)
                                    }
                                }
                            }
                        }
                        label { (language.day())
                            select name="day0" {
                                option value="" { (language.any_day()) }
                                @for day in &offers.days {
                                    option value=(day.date) { (times::day(language, day.date)) }
                                }
                            }
                        }
                        button.quiet { (language.move_booking()) }
                    }
                }
            }
            details {
                summary { (language.give_back()) }
                p { (language.give_back_first()) }
                form method="post" action=(action("cancellation")) {
                    (self.asking(&booking.id.to_string()))
                    label {
                        input type="checkbox" name="sure" value="1" required;
                        (language.give_back_sure())
                    }
                    button.quiet { (language.give_back()) }
                }
            }
        }
    }

    /// The booking, a request id of this page's own, and who asks: whoever has the address may
    /// read, and change nothing.
    fn asking(&self, booking: &str) -> Markup {
        html! {
            input type="hidden" name="booking" value=(booking);
            input type="hidden" name="key" value=(Filled::new().key);
            label { (self.language.applicant())
                input name="applicant" required maxlength="64" inputmode="numeric"
                    autocomplete="off";
            }
        }
    }

    /// How the draw is checked, and where what is published of it is.
    fn check_draw(&self) -> Markup {
        let of_draw = self.offers().filter(|offers| matches!(offers.order, Order::Draw { .. }));
        html! {
            p.muted {
                (self.language.check_draw())
                @if let Some(offers) = of_draw {
                    " " a href={ "/v1/draws/" (offers.id) } { (self.language.published_of_draw()) }
                }
            }
        }
    }

    fn entry(&self, receipt: &str) -> Markup {
        let (language, zone) = (self.language, self.zone());
        let commitment = self.offers().and_then(|offers| match &offers.order {
            Order::FirstCome => None,
            Order::Rounds { commitment, .. } | Order::Draw { commitment, .. } => commitment.clone(),
        });
        let draw_at = self.opening.as_ref().zip(self.offers()).and_then(|(opening, offers)| {
            match offers.order {
                Order::Draw { drawn: false, .. } => Some(opening.closes_at),
                _ => offers.next_release,
            }
        });
        html! {
            h1 { (language.entered()) }
            p { (language.entered_more()) }
            @if let Some(at) = draw_at {
                p.big { (language.draw_at()) " " (times::moment(language, &zone, at)) }
            }
            dl {
                dt { (language.receipt()) }
                dd.code { (receipt) }
                @if let Some(commitment) = commitment {
                    dt { (language.commitment()) }
                    dd.code { (commitment) }
                }
            }
            (self.check_draw())
            details {
                summary { (language.give_back()) }
                form method="post"
                    action={ "/r/" (self.token) "/cancellation?lang=" (language.code()) } {
                    (self.asking(receipt))
                    label {
                        input type="checkbox" name="sure" value="1" required;
                        (language.give_back_sure())
                    }
                    button.quiet { (language.give_back()) }
                }
            }
        }
    }
}

/// `POST /r/{token}/cancellation`.
pub(crate) async fn cancel(
    State(gateway): State<Arc<Gateway>>,
    Segment(token): Segment,
    request: Request,
) -> Response {
    changed(&gateway, &token, "cancellation", request, |fields| {
        let cancel = Cancel {
            request_id: fields.key.as_str().into(),
            booking: fields.booking.as_str().into(),
            applicant: fields.applicant.as_str().into(),
        };
        cancel.validate().map_err(Problem::malformed)?;
        Ok((Lane::Cancel, element(&cancel)))
    })
    .await
}

/// `POST /r/{token}/reschedule`.
pub(crate) async fn reschedule(
    State(gateway): State<Arc<Gateway>>,
    Segment(token): Segment,
    request: Request,
) -> Response {
    changed(&gateway, &token, "reschedule", request, |fields| {
        let reschedule = Reschedule {
            request_id: fields.key.as_str().into(),
            booking: fields.booking.as_str().into(),
            applicant: fields.applicant.as_str().into(),
            choices: fields.filled.choices()?,
        };
        reschedule.validate().map_err(Problem::malformed)?;
        Ok((Lane::Reschedule, element(&reschedule)))
    })
    .await
}

/// What a form about a booking has.
struct Fields {
    key: String,
    booking: String,
    applicant: String,
    filled: Filled,
}

impl Fields {
    fn read(body: &[u8]) -> Self {
        let field = |wanted: &str| {
            let found = form_urlencoded::parse(body).find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let filled = Filled::read(body);
        let (key, booking, applicant) = (field("key"), field("booking"), field("applicant"));
        Self { key, booking, applicant, filled }
    }
}

async fn changed(
    gateway: &Arc<Gateway>,
    token: &str,
    what: &str,
    request: Request,
    made: impl FnOnce(&Fields) -> Result<(Lane, Vec<u8>), Problem>,
) -> Response {
    let language = Language::of(request.uri().query(), request.headers());
    let (caller, body) = match posted(gateway, request).await {
        Ok(posted) => posted,
        Err(problem) => return failed(gateway, language, &problem),
    };
    let action = format!("/r/{token}/{what}?lang={}", language.code());
    let again = |problem| once_more(gateway, language, &action, None, &body, problem);
    let tracked = match of_token(gateway, token, &caller) {
        Ok(tracked) => tracked,
        Err(problem) if problem.kind.is_settled() => return failed(gateway, language, &problem),
        Err(problem) => return again(&problem),
    };
    let asked = async {
        let fields = Fields::read(&body);
        if fields.applicant != tracked.applicant {
            // As an engine says it of somebody who has no part in a booking.
            return Err(Problem::reason(Reason::NotFound));
        }
        let (lane, request) = made(&fields)?;
        let deadline = Instant::now() + PAGE_WAITS;
        let outcome = gateway.asked(lane, request, deadline).await?;
        problem::of_outcome(outcome, None).map(|_| ())
    };
    match asked.await {
        Ok(()) => see_other(&format!("/r/{token}"), language),
        Err(problem) if !problem.kind.is_settled() => again(&problem),
        Err(problem) => shown(gateway, language, (token, &tracked), Some(&problem)).await,
    }
}

/// `GET /b`: asks for a booking's id and an applicant.
pub(crate) async fn find(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let language = Language::of(request.uri().query(), request.headers());
    find_page(&gateway, language, None)
}

fn find_page(gateway: &Gateway, language: Language, said: Option<&Problem>) -> Response {
    let main = html! {
        h1 { (language.own_booking()) }
        @if let Some(problem) = said { (refused(language, problem)) }
        form method="post" action={ "/b?lang=" (language.code()) } {
            label { (language.booking_or_receipt())
                input name="booking" required maxlength="64" autocomplete="off";
            }
            label { (language.applicant())
                input name="applicant" required maxlength="64" inputmode="numeric" autocomplete="off";
            }
            button { (language.find()) }
        }
    };
    let status = said.map_or(StatusCode::OK, |problem| problem.kind.status());
    respond(status, page(gateway, language, language.own_booking(), "/b").render(&main))
}

/// `POST /b`: goes to the booking's own page.
pub(crate) async fn found(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let language = Language::of(request.uri().query(), request.headers());
    match looked_up(&gateway, request).await {
        Ok(tracked) => see_other(&format!("/r/{}", gateway.token_key.token(&tracked)), language),
        Err(problem) => find_page(&gateway, language, Some(&problem)),
    }
}

async fn looked_up(gateway: &Arc<Gateway>, request: Request) -> Result<Tracked<'static>, Problem> {
    let (caller, body) = posted(gateway, request).await?;
    gateway.take_rate(&caller)?;
    let fields = Fields::read(&body);
    let applicant = fields.applicant.as_str();
    verified(&caller, applicant)?;
    let lookup = Lookup {
        booking: Some(fields.booking.as_str().into()),
        request_id: None,
        applicant: applicant.into(),
        opening: None,
    };
    lookup.validate().map_err(Problem::malformed)?;
    let deadline = Instant::now() + PAGE_WAITS;
    let outcome = gateway.asked(Lane::Lookup, element(&lookup), deadline).await?;
    let answer = problem::of_outcome(outcome, None)?;
    let (opening, request_id) = match &answer.verdict {
        Verdict::Granted { booking, .. } => {
            (booking.opening.to_string(), Some(booking.request_id.to_string()))
        }
        Verdict::Entered { opening, .. } => {
            (opening.to_string(), answer.request_id.as_ref().map(ToString::to_string))
        }
        Verdict::Rejected(rejection) => {
            return Err(Problem::rejected(None, rejection, None));
        }
    };
    let request_id = request_id.ok_or_else(|| Problem::reason(Reason::NotFound))?;
    Ok(Tracked {
        opening: Some(opening.into()),
        request_id: request_id.into(),
        applicant: fields.applicant.into(),
    })
}

/// `GET /r/{token}/booking.ics`.
pub(crate) async fn calendar(
    State(gateway): State<Arc<Gateway>>,
    Segment(token): Segment,
    request: Request,
) -> Response {
    let language = Language::of(request.uri().query(), request.headers());
    let (parts, _) = request.into_parts();
    let tracked = caller(&gateway, &parts.extensions, &parts.headers)
        .and_then(|caller| of_token(&gateway, &token, &caller));
    let tracked = match tracked {
        Ok(tracked) => tracked,
        Err(problem) => return failed(&gateway, language, &problem),
    };
    let told = gateway.catalogue.told();
    let opening = tracked.opening.as_deref().and_then(|id| told.opening(id)).cloned();
    let own = Own { language, token: &token, opening, now: gateway.catalogue.now() };
    let looked_up = gateway.look_up(&tracked).await;
    match looked_up.and_then(|outcome| problem::of_outcome(outcome, None)) {
        Ok(answer) => match &answer.verdict {
            Verdict::Granted { booking, .. } => {
                let (office, session) = own.place(booking);
                let mut headers: HeaderMap = guarded("text/calendar; charset=utf-8", "no-store");
                let named = HeaderValue::from_static("attachment; filename=\"booking.ics\"");
                headers.insert(header::CONTENT_DISPOSITION, named);
                (headers, event(language, booking, &office, &session)).into_response()
            }
            _ => failed(&gateway, language, &Problem::reason(Reason::NotFound)),
        },
        Err(problem) => failed(&gateway, language, &problem),
    }
}

/// A day in a calendar (RFC 5545).
fn event(language: Language, booking: &Booking<'_>, office: &str, session: &str) -> String {
    let day = booking.date.to_string().replace('-', "");
    let numbers: Vec<String> = booking.numbers.iter().map(ToString::to_string).collect();
    let numbers = numbers.join(", ");
    let granted: String =
        booking.granted_at.to_string().chars().filter(|c| !"-:".contains(*c)).collect();
    let granted = granted.split('.').next().unwrap_or_default();
    let what = format!("{}, {} {numbers}", office, language.queue_number());
    let more = format!("{session} {}: {}", language.booking_id(), booking.id);
    let lines = [
        "BEGIN:VCALENDAR".to_owned(),
        "VERSION:2.0".to_owned(),
        "PRODID:-//Giliran//Gateway//EN".to_owned(),
        "BEGIN:VEVENT".to_owned(),
        format!("UID:{}@giliran", booking.id),
        format!("DTSTAMP:{granted}Z"),
        format!("SEQUENCE:{}", booking.version),
        format!("DTSTART;VALUE=DATE:{day}"),
        format!("SUMMARY:{}", escaped(&what)),
        format!("DESCRIPTION:{}", escaped(more.trim())),
        "END:VEVENT".to_owned(),
        "END:VCALENDAR".to_owned(),
    ];
    lines.iter().flat_map(|line| [folded(line), "\r\n".to_owned()]).collect()
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(';', "\\;").replace(',', "\\,").replace('\n', "\\n")
}

/// Lines of a calendar have 75 bytes at most.
fn folded(line: &str) -> String {
    let (mut out, mut length) = (String::new(), 0);
    for c in line.chars() {
        if length + c.len_utf8() > 74 {
            out.push_str("\r\n ");
            length = 1;
        }
        out.push(c);
        length += c.len_utf8();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calendar_s_lines_are_short_and_say_what_they_say() {
        let line = format!("SUMMARY:{}", escaped(&"Kantor; Batam, é\\".repeat(12)));
        let folded = folded(&line);
        assert!(folded.split("\r\n").all(|line| line.len() <= 75), "{folded}");
        assert_eq!(folded.replace("\r\n ", ""), line);
        assert!(line.starts_with("SUMMARY:Kantor\\; Batam\\, é\\\\Kantor"));
    }
}
