//! What became of one's own request: a booking, an entry, or nothing yet; and what can be done
//! about it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use giliran_web::page::respond;
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
    LOOKS_AGAIN_S, PAGE_WAITS, failed, once_more, page, posted, qr, refused, say_settled,
    see_other, times,
};
use crate::asking::Outcome;
use crate::bookings::{is_final, of_token, outcome_tag, tracked_by, verified};
use crate::catalogue::Opening;
use crate::gateway::Gateway;
use crate::lanes::Lane;
use crate::problem::{self, Problem};
use crate::segment::Segment;
use crate::token::Tracked;

/// Somebody's own page.
pub(super) struct Own<'a> {
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
    match tracked_by(&gateway, &token, &parts) {
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
    let own = Own::new(gateway, language, token, tracked);
    let (title, main, mut status) = own.main(&outcome, tracked);
    let tag = outcome_tag(&outcome).unwrap_or_default();
    let stream = (!is_final(&tag)).then(|| format!("/v1/requests/{token}/stream"));
    let main = html! {
        @if let Some(problem) = said { div.screen { (refused(language, problem)) } }
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

impl<'a> Own<'a> {
    pub(super) fn new(
        gateway: &Gateway,
        language: Language,
        token: &'a str,
        tracked: &Tracked<'_>,
    ) -> Self {
        let told = gateway.catalogue.told();
        let opening = tracked.opening.as_deref().and_then(|id| told.opening(id)).cloned();
        Self { language, token, opening, now: gateway.catalogue.now() }
    }

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
    pub(super) fn place(&self, booking: &Booking<'_>) -> (String, String) {
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
        let language = self.language;
        html! {
            (self.ticket(booking))
            p.screen { (language.number()) ": " span.code { (booking.request_id) } }
            @if booking.status.is_live() {
                p.screen { (language.keep()) }
                p.screen {
                    a href={ "/r/" (self.token) "/booking.ics?lang=" (language.code()) } {
                        (language.calendar())
                    }
                }
                button.quiet type="button" data-print hidden { (language.print()) }
                (self.changes(booking))
            } @else {
                p.screen { a href={ "/?lang=" (language.code()) } { (language.booking()) } }
            }
        }
    }

    /// What is printed, and nothing else of the page: what a counter asks for. Of a booking that
    /// is held also until when, since it is none yet.
    fn ticket(&self, booking: &Booking<'_>) -> Markup {
        let (language, zone) = (self.language, self.zone());
        let (office, session) = self.place(booking);
        html! {
            h1.screen[booking.status == Status::Confirmed] { (self.title(booking)) }
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
            }
            @if booking.status.is_live() { (qr::code(booking.id, language.qr_code())) }
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
        Err(problem) if problem.kind.challenge().is_some() => failed(&gateway, language, &problem),
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
