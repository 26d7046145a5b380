//! The page of this moment: openings, what happens a second, processes, broker.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use giliran_survey::judge::length;
use giliran_survey::zone::local;
use giliran_web::events::{self, SIGN_OF_LIFE, event};
use giliran_wire::Timestamp;
use giliran_wire::answer::Phase;
use giliran_wire::picture::{Check, Known, Opening, Picture, Places, Process, Took, Verdict};
use giliran_wire::service::Standing;
use maud::{Markup, html};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::console::Console;
use crate::layout;
use crate::lists::check_rows;
use crate::watch::Seen;

/// A stream without news says that it is there.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(15);

/// `GET /`.
pub(crate) async fn page(State(console): State<Arc<Console>>) -> Response {
    let Some(seen) = console.watch.now().await else {
        let words = "Nothing is seen yet: neither processes nor broker answer. Reload this page.";
        return layout::told(&console, StatusCode::SERVICE_UNAVAILABLE, words);
    };
    let main = html! {
        p.note.no data-cut role="alert" hidden {
            "This page has heard nothing for five seconds: what it shows is old."
        }
        div data-stream="/now" { (moment(&seen)) }
    };
    layout::respond(&console, StatusCode::OK, "/", &main)
}

/// `GET /now`: the same, whenever it has been looked.
pub(crate) async fn stream(State(console): State<Arc<Console>>) -> Response {
    let reader = Reader { seen: console.watch.subscribe(), shutdown: console.shutdown.clone() };
    events::respond(stream::unfold(reader, async |mut reader| {
        reader.next().await.map(|frame| (frame, reader))
    }))
}

/// Somebody who looks on.
struct Reader {
    seen: watch::Receiver<Option<Arc<Seen>>>,
    shutdown: CancellationToken,
}

impl Reader {
    /// The next frame; none: the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                changed = self.seen.changed() => changed.ok()?,
                () = tokio::time::sleep(SIGN_OF_LIFE_EVERY) => return Some(SIGN_OF_LIFE),
                () = self.shutdown.cancelled() => return None,
            }
            let seen = self.seen.borrow_and_update().clone();
            if let Some(seen) = seen {
                let at = seen.judged.picture.taken_at.as_millis().to_string();
                // As a JSON text: without line breaks.
                let html = serde_json::to_vec(&moment(&seen).into_string()).unwrap_or_default();
                return Some(event(&at, "now", &html));
            }
        }
    }
}

/// Everything that is seen at a moment.
fn moment(seen: &Seen) -> Markup {
    let judged = &seen.judged;
    let picture = &judged.picture;
    let off: Vec<&Check> =
        judged.checks.iter().filter(|check| check.verdict != Verdict::Go).collect();
    html! {
        h1 { "Now" }
        p.muted { "As of " (picture.taken_at) }
        @if judged.go {
            p.note.go { "Nothing is known to be wrong; "
                (judged.checks.len() - off.len()) " of " (judged.checks.len()) " checks are green." }
        } @else {
            p.note.no role="alert" { strong { "Something is wrong." } }
        }
        @if !off.is_empty() { (check_rows(off)) }
        @match &picture.openings {
            Known::Known(openings) => {
                @for opening in &openings.openings { (one_opening(opening, openings.now, seen)) }
                @if openings.openings.is_empty() { p { "No opening is in the engine's memory." } }
            }
            Known::Unknown(why) => p.note.no { "Openings: not known. " (why) },
        }
        (rates(picture, &seen.grants))
        (processes(picture))
        (broker(picture))
    }
}

fn one_opening(opening: &Opening, now: Timestamp, seen: &Seen) -> Markup {
    let offers = &opening.offers;
    let Places { quota, taken, free, withheld, .. } = opening.places;
    let count = match offers.state {
        Phase::Scheduled => format!("opens in {}", length(offers.opens_at.millis_since(now))),
        Phase::Open => format!("open for {}", length(offers.closes_at.millis_since(now))),
        Phase::Closed => "closed".to_owned(),
    };
    let days: Vec<_> = opening.days.keys().collect();
    html! {
        section aria-label={ "Opening " (offers.id) } {
            h2 { "Opening " (offers.id) }
            p.big { (count) }
            p { (free) " free of " (quota) "; " (taken) " taken, " (withheld) " withheld"
                " · " (offers.opens_at) " to " (offers.closes_at) }
            p.muted { "Where the offices are (" (offers.timezone) "): "
                (local(&offers.timezone, offers.opens_at)) " to "
                (local(&offers.timezone, offers.closes_at)) }
            @if let Some(moments) = seen.drains.get(&offers.id) { (drain(moments, quota)) }
            div.scroll { table {
                caption { "Free places by office and day" }
                thead { tr {
                    th scope="col" { "Office" }
                    th.n scope="col" { "All" }
                    @for day in &days { th.n scope="col" { (day) } }
                    th.n scope="col" { "Taken" }
                    th.n scope="col" { "Quota" }
                } }
                tbody {
                    @for office in &offers.offices {
                        @if let Some(places) = opening.offices.get(&office.id) {
                            tr {
                                th scope="row" { (office.name) span.muted { " " (office.id) } }
                                td.n { (places.free) }
                                @for day in &days { td.n { (of_day(opening, &office.id, **day)) } }
                                td.n { (places.taken) }
                                td.n { (places.quota) }
                            }
                        }
                    }
                    tr {
                        th scope="row" { "All offices" }
                        td.n { (free) }
                        @for places in opening.days.values() { td.n { (places.free) } }
                        td.n { (taken) }
                        td.n { (quota) }
                    }
                }
            } }
        }
    }
}

/// Free places of an office's day, or why there are none.
fn of_day(opening: &Opening, office: &str, day: giliran_wire::Date) -> String {
    let slots = opening.slots.iter().filter(|slot| slot.office == office && slot.date == day);
    let (mut places, mut slots_there, mut halted) = (Places::default(), 0, 0);
    for slot in slots {
        places.add(&slot.places);
        slots_there += 1;
        halted += usize::from(slot.halted);
    }
    match (slots_there, halted) {
        (0, _) => "–".to_owned(),
        (n, halted) if n == halted => "halted".to_owned(),
        _ => places.free.to_string(),
    }
}

/// How the free places went, from the first moment that was seen.
fn drain(moments: &[(Timestamp, i64)], quota: u64) -> Markup {
    let (Some((first, _)), Some((last, _))) = (moments.first(), moments.last()) else {
        return html! {};
    };
    let span = last.millis_since(*first).max(1) as f64;
    let most = quota.max(1) as f64;
    let point = |(at, free): &(Timestamp, i64)| {
        let x = at.millis_since(*first) as f64 * 1_000.0 / span;
        let y = 100.0 - (*free).max(0) as f64 * 100.0 / most;
        format!("{x:.1},{y:.1}")
    };
    let points: Vec<String> = moments.iter().map(point).collect();
    html! {
        @if moments.len() > 1 {
            svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img"
                aria-label={ "Free places over the last " (length(span as u64)) } {
                polyline points=(points.join(" ")) {}
            }
            p.muted { "Free places over the last " (length(span as u64)) ", of " (quota) }
        }
    }
}

/// How long grants took over the last minutes: half of them, and 99 of 100.
fn latencies(moments: &[(Timestamp, Took)]) -> Markup {
    let (Some((first, _)), Some((last, _))) = (moments.first(), moments.last()) else {
        return html! {};
    };
    let span = last.millis_since(*first).max(1) as f64;
    let longest = moments.iter().map(|(_, took)| took.p99_us).max().unwrap_or_default().max(1);
    let line = |of: fn(&Took) -> u64| {
        let point = |(at, took): &(Timestamp, Took)| {
            let x = at.millis_since(*first) as f64 * 1_000.0 / span;
            let y = 100.0 - of(took) as f64 * 100.0 / longest as f64;
            format!("{x:.1},{y:.1}")
        };
        moments.iter().map(point).collect::<Vec<_>>().join(" ")
    };
    let told = format!(
        "How long grants took over the last {}: half of them below the dashed line, 99 % below \
         the other; at most {:.1} ms",
        length(span as u64),
        longest as f64 / 1e3
    );
    html! {
        @if moments.len() > 1 {
            svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label=(told) {
                polyline points=(line(|took| took.p99_us)) {}
                polyline.half points=(line(|took| took.p50_us)) {}
            }
            p.muted { (told) }
        }
    }
}

fn rates(picture: &Picture, grants: &[(Timestamp, Took)]) -> Markup {
    let Some(rates) = &picture.rates else { return html! {} };
    html! {
        h2 { "Answers a second" }
        @if rates.per_second.is_empty() { p { "None." } }
        @else {
            div.scroll { table {
                thead { tr { @for name in rates.per_second.keys() { th.n scope="col" { (name) } } } }
                tbody { tr { @for rate in rates.per_second.values() { td.n { (rate) } } } }
            } }
        }
        @if let Some(took) = &rates.grants {
            p { "Grants: half within " (format!("{:.1}", took.p50_us as f64 / 1e3))
                " ms, 99 % within " (format!("{:.1}", took.p99_us as f64 / 1e3)) " ms." }
        }
        (latencies(grants))
    }
}

fn processes(picture: &Picture) -> Markup {
    let known = |n: &Option<u64>| n.map_or("–".to_owned(), |n| n.to_string());
    let row = |process: &Process| {
        let Standing { role, instance, state, detail, ready, epoch, seq, .. } = &process.standing;
        let Standing { lag_blocks, lag_ms, clock_offset_ms, queue, backlog, .. } =
            &process.standing;
        html! { tr {
            th scope="row" { (role) @if let Some(name) = instance { " " (name) } }
            td.go[*ready] { (state) @if let Some(detail) = detail { span.muted { " " (detail) } } }
            td.n { (known(epoch)) }
            td.n { (known(seq)) }
            td.n { (known(lag_blocks)) @if let Some(ms) = lag_ms { ", " (length(*ms)) } }
            td.n { (clock_offset_ms.map_or("–".to_owned(), |ms| format!("{ms:+} ms"))) }
            td.n { (known(queue)) " / " (known(backlog)) }
            td { (process.version) }
        } }
    };
    html! {
        h2 { "Processes" }
        @match &picture.processes {
            Known::Known(all) => div.scroll { table {
                thead { tr {
                    th scope="col" { "Process" } th scope="col" { "State" }
                    th.n scope="col" { "Epoch" } th.n scope="col" { "Sequence" }
                    th.n scope="col" { "Behind" } th.n scope="col" { "Clock" }
                    th.n scope="col" { "Queue / backlog" } th scope="col" { "Release" }
                } }
                tbody { @for process in all { (row(process)) } }
            } },
            Known::Unknown(why) => p.note.no { "Not known. " (why) },
        }
    }
}

fn broker(picture: &Picture) -> Markup {
    html! {
        h2 { "Broker" }
        @match &picture.streams {
            Known::Known(streams) => div.scroll { table {
                thead { tr {
                    th scope="col" { "Stream" } th.n scope="col" { "Messages" }
                    th.n scope="col" { "Bytes" } th.n scope="col" { "Replicas" }
                    th scope="col" { "Leader" }
                } }
                tbody { @for stream in streams { tr {
                    th scope="row" { (stream.name) }
                    td.n { (stream.messages) }
                    td.n { (stream.bytes) }
                    td.n { (stream.followers.iter().filter(|one| one.current).count() + 1)
                        " of " (stream.replicas) }
                    td { (stream.leader.as_deref().unwrap_or("–")) }
                } } }
            } },
            Known::Unknown(why) => p.note.no { "Streams: not known. " (why) },
        }
        ul { @for server in &picture.servers { li {
            @match &server.said {
                Known::Known(said) => {
                    (said.name) " " (said.version)
                    @if said.sync_always { ", syncs" } @else { strong.no { ", does not sync" } }
                    ", " (said.storage.used) " bytes"
                    @if let Some(limit) = said.storage.limit { " of " (limit) }
                }
                Known::Unknown(why) => { (server.monitor) ": " (why) }
            }
        } } }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;

    use giliran_wire::picture::Judged;

    use super::*;

    fn seen() -> Seen {
        let text = include_str!("../../wire/tests/fixtures/status/status.json");
        let judged: Judged = serde_json::from_str(text).unwrap();
        Seen { judged, drains: BTreeMap::new(), grants: Vec::new() }
    }

    #[test]
    fn everything_that_is_seen_is_on_the_page() {
        let html = moment(&seen()).into_string();
        for words in ["Something is wrong", "45 free of 80", "engine a", "n1", "granted", "120.5"] {
            assert!(html.contains(words), "{words}: {html}");
        }
        assert!(html.contains("Where the offices are (Asia/Jakarta)") && html.contains(" WIB to "));
        let text = include_str!("../../wire/tests/fixtures/status/preflight_blind.json");
        let blind = Seen { judged: serde_json::from_str(text).unwrap(), ..seen() };
        let html = moment(&blind).into_string();
        let told = html.to_lowercase();
        assert_eq!(told.matches("not known. no answer within 2 s").count(), 3, "{html}");
    }

    #[test]
    fn a_name_with_markup_in_it_stays_a_name() {
        let mut seen = seen();
        let wicked = "<img src=x onerror=alert(1)>".to_owned();
        let Known::Known(openings) = &mut seen.judged.picture.openings else { panic!() };
        openings.openings[0].offers.offices[1].name = wicked.clone();
        let Known::Known(processes) = &mut seen.judged.picture.processes else { panic!() };
        processes[0].standing.instance = Some(wicked.clone());
        processes[0].standing.detail = Some(wicked.clone());
        seen.judged.checks[1].found = wicked;
        let html = moment(&seen).into_string();
        assert!(!html.contains("<img"), "{html}");
        assert_eq!(html.matches("&lt;img").count(), 4, "{html}");
    }

    #[test]
    fn how_long_grants_took_is_drawn_by_its_longest() {
        let at = |ms, p50_us, p99_us| (Timestamp::from_millis(ms), Took { p50_us, p99_us });
        let html = latencies(&[at(0, 100, 400), at(1_000, 200, 200)]).into_string();
        assert!(html.contains("0.0,0.0 1000.0,50.0") && html.contains("at most 0.4 ms"), "{html}");
        assert!(html.contains("0.0,75.0 1000.0,50.0"), "{html}");
        assert!(latencies(&[at(0, 1, 1)]).into_string().is_empty(), "one moment is no curve");
    }

    #[test]
    fn the_drain_falls_from_the_top() {
        let at = Timestamp::from_millis;
        let html = drain(&[(at(0), 80), (at(1_000), 40), (at(2_000), -1)], 80).into_string();
        assert!(html.contains("0.0,0.0 500.0,50.0 1000.0,100.0"), "{html}");
    }
}
