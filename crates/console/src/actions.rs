//! Operators' actions: a form, what it would do, and doing it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use giliran_web::page::is_own_form;
use giliran_web::{Peer, tag};
use giliran_wire::admin::Report;
use maud::{Markup, html};

use crate::ask::{Failed, Fields, For, ready, send};
use crate::console::Console;
use crate::layout;
use crate::lists::{known, why_unknown};
use crate::watch::Seen;

/// Most bytes of a form.
const FORM_BYTES: usize = 16 * 1024;
/// How long a form may take to come.
const FORM_WITHIN: Duration = Duration::from_secs(10);
/// The field that ties what is done to what was shown.
const SHOWN: &str = "shown";
/// The field in which a word is typed.
const CONFIRM: &str = "confirm";
/// Most bookings that a page lists; it says how many there are.
const LISTED: usize = 100;

/// Who has sent a form, and what is in it; else the page that says why not.
async fn posted(console: &Console, request: Request) -> Result<(String, Fields), Response> {
    let (parts, body) = request.into_parts();
    let refused = |status, words: &str| layout::told(console, status, words);
    let hosts = console.operators.as_ref().map(|operators| &operators.hosts);
    let is_sent_here = hosts.is_none_or(|hosts| hosts.sent(&parts.headers));
    if !is_own_form(&parts.headers) || !is_sent_here {
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
    let body = read(body, FORM_WITHIN).await;
    let body = body.map_err(|(status, words)| refused(status, words))?;
    let fields = form_urlencoded::parse(&body);
    let fields = fields.map(|(name, value)| (name.into_owned(), value.into_owned()));
    Ok((operator, fields.collect()))
}

/// A form's bytes; else the status and the words that say why not.
async fn read(body: Body, within: Duration) -> Result<Bytes, (StatusCode, &'static str)> {
    match tokio::time::timeout(within, axum::body::to_bytes(body, FORM_BYTES)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            Err((StatusCode::PAYLOAD_TOO_LARGE, "This form is too long. Nothing was done."))
        }
        Err(_) => {
            Err((StatusCode::REQUEST_TIMEOUT, "This form came too slowly. Nothing was done."))
        }
    }
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
    // The engine takes an empty session so.
    let slot = slot_fields(seen, "Session; empty: the one named all");
    let day = slot_fields(seen, "Session; empty: every session of the day");
    let opening = opening_field(seen);
    html! {
        (form("quota", "Change a quota", &html! { (slot) (places("Places in all from here on")) }))
        (form("reserve", "Keep places back", &html! { (slot) (places("Places kept back")) }))
        (form("halt", "Close an office's day", &html! { (day) (fate) }))
        (form("resume", "Open it again", &day))
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

/// Opening, office, day and session, of those that there are; `session`: what stands before
/// its field.
fn slot_fields(seen: Option<&Seen>, session: &str) -> Markup {
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
        label { (session) input name="session"; }
    }
}

/// What an action would do.
struct Trial {
    /// What has to be typed first, where it cannot be undone.
    confirm: Option<String>,
    would: Markup,
    /// Names what is shown.
    digest: String,
    /// Of a roll: the stream that it would leave.
    stream: Option<String>,
}

/// Asks the engine what an action would do; else the page that says why nobody knows.
async fn tried(console: &Console, fields: &Fields, operator: &str) -> Result<Trial, Response> {
    let trial = ready(fields, operator, For::Trial)
        .map_err(|wrong| not_done(console, StatusCode::BAD_REQUEST, &wrong))?;
    let would = send(console, &trial, |report| {
        (shown(report, true), digest(&trial.payload, report), stream(report))
    });
    let would = would.await;
    let (would, digest, stream) = would.map_err(|failed| match failed {
        Failed::NotDone(why) => not_done(console, StatusCode::CONFLICT, &why),
        Failed::NotKnown(why) => {
            let why = format!("{why}. Nobody knows what it would do, so it was not tried");
            not_done(console, StatusCode::GATEWAY_TIMEOUT, &why)
        }
    })?;
    Ok(Trial { confirm: trial.confirm, would, digest, stream })
}

/// The stream that a roll would leave; none: it is no roll.
fn stream(report: &Report<'_>) -> Option<String> {
    let roll = report.changes.iter().find(|change| change.action.as_str() == "roll");
    roll.map(|change| change.before.to_string())
}

/// Names what an operator is shown: the request, what stands before it, and how many
/// bookings it moves or cancels. What would stand after it is left out: that an opening ends at
/// once has another time each time; and so are bookings that stay: while they come in by the
/// second a day could not be halted.
fn digest(payload: &[u8], report: &Report<'_>) -> String {
    let before: Vec<_> = report
        .changes
        .iter()
        .map(|one| (&one.action, &one.office, &one.date, &one.session, &one.before))
        .collect();
    let counts = [report.moved_count, report.cancelled_count];
    tag(format!("{payload:?} {counts:?} {before:?}").as_bytes())
}

/// `POST /actions/preview`.
pub(crate) async fn preview(State(console): State<Arc<Console>>, request: Request) -> Response {
    let (operator, fields) = match posted(&console, request).await {
        Ok(posted) => posted,
        Err(response) => return response,
    };
    match tried(&console, &fields, &operator).await {
        Ok(trial) => {
            let main = offered(&operator, &fields, &trial, false);
            layout::respond(&console, StatusCode::OK, "/actions", &main)
        }
        Err(response) => response,
    }
}

/// What it would do, and the form that does it; `changed`: that is not what was shown before.
fn offered(operator: &str, fields: &Fields, trial: &Trial, changed: bool) -> Markup {
    let own = fields.iter().filter(|(name, _)| *name != SHOWN && *name != CONFIRM);
    html! {
        h1 { "What it would do" }
        @if changed { p.note.no role="alert" {
            "Nothing was done: what it would do has changed since it was shown to you. \
             This is how it stands now."
        } }
        p { "Nothing was changed. On record it would be " strong { (operator) } ": "
            (fields.get("reason").map_or("", String::as_str)) }
        (trial.would)
        form.card method="post" action="/actions/done" {
            @for (name, value) in own { input type="hidden" name=(name) value=(value); }
            input type="hidden" name=(SHOWN) value=(trial.digest);
            @if let Some(word) = &trial.confirm {
                label { "This cannot be undone. Type " strong { (word) } " to do it"
                    input name=(CONFIRM) autocomplete="off" required; }
                button.danger { "Do it" }
            } @else { button { "Do it" } }
        }
        p { a href="/actions" { "Do nothing" } }
    }
}

/// `POST /actions/done`.
///
/// It is done only as it was shown: the engine is asked once more what it would do, and where
/// that is something else, it is shown anew. Between that answer and the action lie
/// milliseconds in which a booking can still come or go: the engine does not hold the two
/// together. A roll says which stream it is to leave, so that two of them are never one too many.
pub(crate) async fn act(State(console): State<Arc<Console>>, request: Request) -> Response {
    let (operator, fields) = match posted(&console, request).await {
        Ok(posted) => posted,
        Err(response) => return response,
    };
    let Some(seen) = fields.get(SHOWN) else {
        let wrong = "Nobody was shown what it would do: begin with the form of the action, and \
                     press Show what it would do";
        return not_done(&console, StatusCode::UNPROCESSABLE_ENTITY, wrong);
    };
    let unbound = For::Doing { stream: None };
    let confirmed = match ready(&fields, &operator, unbound) {
        Ok(ready) => ready,
        Err(wrong) => return not_done(&console, StatusCode::BAD_REQUEST, &wrong),
    };
    let typed = fields.get(CONFIRM).map(|typed| typed.trim());
    if let Some(word) = confirmed.confirm.as_deref().filter(|word| Some(*word) != typed) {
        let wrong = format!("confirm: this cannot be undone; type {word} to do it");
        return not_done(&console, StatusCode::BAD_REQUEST, &wrong);
    }
    let trial = match tried(&console, &fields, &operator).await {
        Ok(trial) => trial,
        Err(response) => return response,
    };
    if trial.digest != *seen {
        let main = offered(&operator, &fields, &trial, true);
        return layout::respond(&console, StatusCode::CONFLICT, "/actions", &main);
    }
    let bound = For::Doing { stream: trial.stream.as_deref() };
    let ready = match ready(&fields, &operator, bound) {
        Ok(ready) => ready,
        Err(wrong) => return not_done(&console, StatusCode::BAD_REQUEST, &wrong),
    };
    tracing::info!(operator, operation = ready.operation, "an operator acts on the console");
    let done = send(&console, &ready, |report| shown(report, false)).await;
    console.forget();
    match done {
        Ok(done) => {
            let main = html! {
                h1 { "Done" }
                (done)
                p { a href="/journal" { "The journal has it" } }
            };
            layout::respond(&console, StatusCode::OK, "/actions", &main)
        }
        Err(Failed::NotDone(why)) => not_done(&console, StatusCode::CONFLICT, &why),
        Err(Failed::NotKnown(why)) => {
            // No client may take this for done, as it could a status of 200 to 299.
            let main = not_known(&why, ready.again());
            layout::respond(&console, StatusCode::GATEWAY_TIMEOUT, "/actions", &main)
        }
    }
}

/// What came to nothing, and the way back.
fn not_done(console: &Console, status: StatusCode, why: &str) -> Response {
    let main = html! {
        h1 { "Not done" }
        p.note.no role="alert" { (why) }
        p { a href="/actions" { "Back to the actions" } }
    };
    layout::respond(console, status, "/actions", &main)
}

/// What may be done or under way, and where to see it.
fn not_known(why: &str, again: &str) -> Markup {
    html! {
        h1 { "Not known: look in the journal" }
        p.note.no role="alert" { (why) ". The action may be done, or under way." }
        p { a href="/journal" { "The journal" } " has it once it is done. " (again) "." }
        p { a href="/actions" { "Back to the actions" } }
    }
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

    #[test]
    fn what_is_shown_has_another_name_once_something_else_stands_there() {
        let of = |payload: &[u8], text: &str| digest(payload, &serde_json::from_str(text).unwrap());
        let text = include_str!("../../wire/tests/fixtures/answers/admin_would.json");
        let first = of(b"{}", text);
        assert_ne!(first, of(b"{ }", text), "another request");
        for (one, other) in [
            (r#""cancelled_count":1"#, r#""cancelled_count":2"#),
            (r#""moved_count":0"#, r#""moved_count":1"#),
            (r#""before":"2026-11-29T17"#, r#""before":"2026-11-29T16"#),
        ] {
            assert!(text.contains(one), "{one}");
            assert_ne!(first, of(b"{}", &text.replace(one, other)), "{other}");
        }
        for (one, other) in [
            (r#""seq":1841"#, r#""seq":1842"#),
            (r#""concerned_count":0"#, r#""concerned_count":1"#),
            (r#""after":"2026-11-29T18"#, r#""after":"2026-11-29T19"#),
        ] {
            assert!(text.contains(one), "{one}");
            assert_eq!(first, of(b"{}", &text.replace(one, other)), "{other}");
        }
    }

    #[test]
    fn the_form_that_does_it_carries_what_was_shown_and_nothing_typed_before() {
        let pairs = [("action", "roll"), ("reason", "full"), (SHOWN, "old"), (CONFIRM, "roll")];
        let fields: Fields =
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let (confirm, digest) = (Some("roll".to_owned()), "0123456789abcdef".to_owned());
        let trial = Trial { confirm, would: html! {}, digest, stream: None };
        let first = offered("siti", &fields, &trial, false).into_string();
        assert!(first.contains(r#"name="shown" value="0123456789abcdef""#), "{first}");
        assert!(!first.contains(r#"value="old""#) && !first.contains("has changed"), "{first}");
        assert_eq!(first.matches(r#"name="confirm""#).count(), 1, "{first}");
        assert!(offered("siti", &fields, &trial, true).into_string().contains("has changed"));
    }

    #[test]
    fn what_nobody_knows_leads_to_the_journal() {
        let page = not_known("admin.roll: no answer within 10 s", "Do not order it again");
        let page = page.into_string();
        assert!(page.contains("<h1>Not known: look in the journal</h1>"), "{page}");
        assert!(page.contains(r#"href="/journal""#) && !page.contains("Not done"), "{page}");
    }

    #[test]
    fn each_form_says_what_an_empty_session_is() {
        let page = all_forms(None).into_string();
        for (action, words) in [
            ("quota", "the one named all"),
            ("reserve", "the one named all"),
            ("halt", "every session of the day"),
            ("resume", "every session of the day"),
        ] {
            let (_, form) = page.split_once(&format!(r#"id="{action}""#)).unwrap();
            let form = form.split("</form>").next().unwrap();
            assert!(form.contains(&format!("Session; empty: {words}")), "{action}: {form}");
        }
    }

    #[tokio::test]
    async fn a_form_that_does_not_come_is_not_waited_for() {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let slow = read(Body::from_stream(never), Duration::from_millis(10)).await;
        assert_eq!(slow.unwrap_err().0, StatusCode::REQUEST_TIMEOUT);
        let long = read(Body::from(vec![b'x'; FORM_BYTES + 1]), FORM_WITHIN).await;
        assert_eq!(long.unwrap_err().0, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(read(Body::from("a=b"), FORM_WITHIN).await.unwrap(), "a=b");
    }
}
