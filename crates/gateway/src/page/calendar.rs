//! A booking as a day in a calendar (RFC 5545).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use giliran_web::page::guarded;
use giliran_wire::answer::{Booking, Reason, Verdict};

use super::failed;
use super::own::Own;
use super::words::Language;
use crate::bookings::tracked_by;
use crate::gateway::Gateway;
use crate::problem::{self, Problem};
use crate::segment::Segment;

/// `GET /r/{token}/booking.ics`.
pub(crate) async fn calendar(
    State(gateway): State<Arc<Gateway>>,
    Segment(token): Segment,
    request: Request,
) -> Response {
    let language = Language::of(request.uri().query(), request.headers());
    let (parts, _) = request.into_parts();
    let tracked = match tracked_by(&gateway, &token, &parts) {
        Ok(tracked) => tracked,
        Err(problem) => return failed(&gateway, language, &problem),
    };
    let own = Own::new(&gateway, language, &token, &tracked);
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
