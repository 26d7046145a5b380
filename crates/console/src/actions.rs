//! Operators' actions: a form, what it would do, and doing it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use giliran_web::Peer;
use giliran_web::page::is_own_form;
use giliran_wire::admin::Report;
use maud::{Markup, html};

use crate::ask::{Fields, ready, send};
use crate::console::Console;
use crate::layout;
use crate::lists::{known, why_unknown};
use crate::watch::Seen;

/// Most bytes of a form.
const FORM_BYTES: usize = 16 * 1024;
/// Most bookings that a page lists; it says how many there are.
const LISTED: usize = 100;

/// Who has sent a form, and what is in it; else the page that says why not.
async fn posted(console: &Console, request: Request) -> Result<(String, Fields), Response> {
    let (parts, body) = request.into_parts();
    let refused = |status, words: &str| layout::told(console, status, words);
    if !is_own_form(&parts.headers) {
        let words = "This form does not come from a page of this console. Nothing was done.";
        return Err(refused(StatusCode::FORBIDDEN, words));
    }
    let unknown = Peer(([0, 0, 0, 0], 0).into());
    let peer = parts.extensions.get().copied().unwrap_or(unknown);
    let operator = console.operator(peer, &parts.headers).map_err(|unsaid| {
        refused(
            StatusCode::FORBIDDEN,
            &format!("Who acts is not known: {unsaid}. Nothing was done."),
        )
    })?;
    let body = axum::body::to_bytes(body, FORM_BYTES).await.map_err(|_| {
        refused(StatusCode::PAYLOAD_TOO_LARGE, "This form is too long. Nothing was done.")
    })?;
    let fields = form_urlencoded::parse(&body);
    let fields = fields.map(|(name, value)| (name.into_owned(), value.into_owned()));
    Ok((operator, fields.collect()))
}

/// `GET /actions`.
pub(crate) async fn forms(State(console): State<Arc<Console>>, request: Request) -> Response {
    let unknown = Peer(([0, 0, 0, 0], 0).into());
    let peer = request.extensions().get().copied().unwrap_or(unknown);
    let operator = console.operator(peer, request.headers());
    let seen = console.watch.now().await;
    let main = html! {
        h1 { "Actions" }
        @match &operator {
            Ok(name) => p { "On record you are " strong { (name) }
                ". Each action is shown first as what it would do." },
            Err(unsaid) => p.note.no role="alert" { "Nothing can be done here: who acts is not \
                known. " (unsaid) },
        }
        @if let Some(why) = why_unknown(seen.as_deref()) { p.note.no { (why) } }
        @if operator.is_ok() { (all_forms(seen.as_deref())) }
    };
    layout::respond(&console, StatusCode::OK, "/actions", &main)
}

/// A form for each action.
fn all_forms(seen: Option<&Seen>) -> Markup {
    let places = |label| {
        html! {
            label { (label) input name="places" inputmode="numeric" pattern="[0-9]{1,5}" required; }
        }
    };
    let fate = html! {
        label { "Bookings there"
            select name="bookings" {
                option value="keep" { "stay, and are listed" }
                option value="move" { "move to another day of the office" }
                option value="cancel" { "are cancelled" }
            }
        }
    };
    let end = html! {
        label { "Ends at" input name="closes_at" placeholder="2026-11-29T18:00:00+07:00" required; }
    };
    let signature = html! {
        label { "Signature of the round, in hexadecimal digits" input name="signature" required; }
    };
    let slot = slot_fields(seen);
    let opening = opening_field(seen);
    html! {
        (form("quota", "Change a quota", &html! { (slot) (places("Places in all from here on")) }))
        (form("reserve", "Keep places back", &html! { (slot) (places("Places kept back")) }))
        (form("halt", "Close an office's day", &html! { (slot) (fate) }))
        (form("resume", "Open it again", &slot))
        (form("closes_at", "Move an opening's end", &html! { (opening) (end) }))
        (form("beacon", "Hand in a draw's public value", &html! { (opening) (signature) }))
        (form("roll", "Go on in the ledger's next stream", &html! {}))
    }
}

fn form(action: &str, title: &str, fields: &Markup) -> Markup {
    html! {
        form.card method="post" action="/actions/preview" id=(action) {
            h2 { (title) }
            input type="hidden" name="action" value=(action);
            div.pair { (fields) }
            label { "Reason, for the record" input name="reason" maxlength="256" required; }
            button { "Show what it would do" }
        }
    }
}

fn opening_field(seen: Option<&Seen>) -> Markup {
    let openings = known(seen).into_iter().flat_map(|known| &known.openings);
    html! {
        label { "Opening" select name="opening" {
            @for opening in openings { option value=(opening.offers.id) { (opening.offers.id) } }
        } }
    }
}

/// Opening, office, day and session, of those that there are.
fn slot_fields(seen: Option<&Seen>) -> Markup {
    let openings: Vec<_> = known(seen).into_iter().flat_map(|known| &known.openings).collect();
    let mut offices: Vec<_> = openings.iter().flat_map(|one| one.offices.keys()).collect();
    offices.sort_unstable();
    offices.dedup();
    let mut days: Vec<_> = openings.iter().flat_map(|one| one.days.keys()).collect();
    days.sort_unstable();
    days.dedup();
    html! {
        (opening_field(seen))
        label { "Office" select name="office" {
            @for office in offices { option value=(office) { (office) } }
        } }
        label { "Day" select name="date" { @for day in days { option value=(day) { (day) } } } }
        label { "Session; empty: all" input name="session"; }
    }
}

/// `POST /actions/preview`.
pub(crate) async fn preview(State(console): State<Arc<Console>>, request: Request) -> Response {
    let (operator, fields) = match posted(&console, request).await {
        Ok(posted) => posted,
        Err(response) => return response,
    };
    let trial = match ready(&fields, &operator, true) {
        Ok(ready) => ready,
        Err(wrong) => return again(&console, StatusCode::BAD_REQUEST, &wrong),
    };
    let would = match send(&console, &trial, |report| shown(report, true)).await {
        Ok(would) => would,
        Err(why) => return again(&console, StatusCode::CONFLICT, &why),
    };
    let main = html! {
        h1 { "What it would do" }
        p { "Nothing was changed. On record it would be " strong { (operator) } ": "
            (fields.get("reason").map_or("", String::as_str)) }
        (would)
        form.card method="post" action="/actions/done" {
            @for (name, value) in &fields { input type="hidden" name=(name) value=(value); }
            @if let Some(word) = &trial.confirm {
                label { "This cannot be undone. Type " strong { (word) } " to do it"
                    input name="confirm" autocomplete="off" required; }
                button.danger { "Do it" }
            } @else { button { "Do it" } }
        }
        p { a href="/actions" { "Do nothing" } }
    };
    layout::respond(&console, StatusCode::OK, "/actions", &main)
}

/// `POST /actions/done`.
pub(crate) async fn act(State(console): State<Arc<Console>>, request: Request) -> Response {
    let (operator, fields) = match posted(&console, request).await {
        Ok(posted) => posted,
        Err(response) => return response,
    };
    let ready = match ready(&fields, &operator, false) {
        Ok(ready) => ready,
        Err(wrong) => return again(&console, StatusCode::BAD_REQUEST, &wrong),
    };
    let typed = fields.get("confirm").map(|typed| typed.trim());
    if let Some(word) = ready.confirm.as_deref().filter(|word| Some(*word) != typed) {
        let wrong = format!("confirm: this cannot be undone; type {word} to do it");
        return again(&console, StatusCode::BAD_REQUEST, &wrong);
    }
    tracing::info!(operator, operation = ready.operation, "an operator acts on the console");
    let done = send(&console, &ready, |report| shown(report, false)).await;
    console.forget().await;
    match done {
        Ok(done) => {
            let main = html! {
                h1 { "Done" }
                (done)
                p { a href="/journal" { "The journal has it" } }
            };
            layout::respond(&console, StatusCode::OK, "/actions", &main)
        }
        Err(why) => again(&console, StatusCode::CONFLICT, &why),
    }
}

/// What came to nothing, and the way back.
fn again(console: &Console, status: StatusCode, why: &str) -> Response {
    let main = html! {
        h1 { "Not done" }
        p.note.no role="alert" { (why) }
        p { a href="/actions" { "Back to the actions" } }
    };
    layout::respond(console, status, "/actions", &main)
}

/// What an action came to, or would.
fn shown(report: &Report<'_>, dry: bool) -> Markup {
    let words = |done: &str, would: &str| if dry { would.to_owned() } else { done.to_owned() };
    html! {
        p.muted { "As of ledger sequence " (report.as_of.seq) }
        @if !report.changes.is_empty() {
            div.scroll { table {
                thead { tr {
                    th scope="col" { "What" } th scope="col" { "Of" }
                    th scope="col" { "Before" } th scope="col" { "After" }
                } }
                tbody { @for change in &report.changes { tr {
                    th scope="row" { (change.action) }
                    td {
                        (change.office.as_deref().unwrap_or(""))
                        @if let Some(date) = change.date { " " (date) }
                        " " (change.session.as_deref().unwrap_or(""))
                    }
                    td { (change.before) }
                    td { (change.after) }
                } } }
            } }
        }
        (bookings(report.concerned_count, "bookings it concerns, which stay as they are", &report.concerned))
        (bookings(report.moved_count, &words("bookings moved", "bookings would move"), &report.moved))
        (bookings(
            report.cancelled_count,
            &words("bookings cancelled", "bookings would be cancelled"),
            &report.cancelled,
        ))
    }
}

fn bookings(count: u64, words: &str, listed: &[giliran_wire::answer::Booking<'_>]) -> Markup {
    html! {
        @if count > 0 {
            h2 { (count) " " (words) }
            ul { @for booking in listed.iter().take(LISTED) { li {
                (booking.id) " " (booking.office) " " (booking.date) " " (booking.session)
                " numbers " (format!("{:?}", booking.numbers))
                @if let Some(reference) = &booking.reference { " ref " (reference) }
            } } }
            @if count > listed.len().min(LISTED) as u64 {
                p.muted { "and " (count - listed.len().min(LISTED) as u64) " more" }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_it_would_do_is_shown_with_before_and_after() {
        let text = include_str!("../../wire/tests/fixtures/answers/admin_would.json");
        let report: Report<'_> = serde_json::from_str(text).unwrap();
        let html = shown(&report, true).into_string();
        assert!(html.contains("1 bookings would be cancelled"), "{html}");
        assert!(html.contains("<td>2026-11-29T17:00:00.000Z</td>"), "{html}");
        let text = include_str!("../../wire/tests/fixtures/answers/admin_done.json");
        let report: Report<'_> = serde_json::from_str(text).unwrap();
        let html = shown(&report, false).into_string();
        assert!(html.contains("<td>80</td><td>60</td>"), "{html}");
    }
}
