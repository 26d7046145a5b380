//! Preflight, draws and journal.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use giliran_survey::judge::length;
use giliran_wire::Timestamp;
use giliran_wire::answer::Phase;
use giliran_wire::catalogue::{OpeningDescription, Order};
use giliran_wire::ledger::journal::Action;
use giliran_wire::picture::{Check, Judged, Known, Openings, Verdict};
use giliran_wire::request::is_opening_id;
use maud::{Markup, html};

use crate::console::Console;
use crate::layout;
use crate::readings::{Reading, WITHIN};
use crate::watch::Seen;

/// What follows the name in a query; none: it is not there, or empty.
pub(crate) fn asked(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let found = pairs.find(|(key, _)| key == name)?;
    Some(found.1.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Checks, with what to do.
pub(crate) fn check_rows<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Markup {
    let word = |verdict| match verdict {
        Verdict::Go => ("go", "Go"),
        Verdict::NoGo => ("no", "No go"),
        Verdict::Unknown => ("ask", "Not known"),
        Verdict::Waived => ("ask", "Waived"),
    };
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "Verdict" } th scope="col" { "Check" }
                th scope="col" { "Found" } th scope="col" { "To do" }
            } }
            tbody { @for check in checks {
                @let (class, word) = word(check.verdict);
                tr {
                    td class={ "verdict " (class) } { (word) }
                    th scope="row" { (check.name) }
                    td { (check.found) }
                    td { (check.remedy.as_deref().unwrap_or("")) }
                }
            } }
        } }
    }
}

/// The openings that the active engine has; none: nobody knows.
pub(crate) fn known(seen: Option<&Seen>) -> Option<&Openings> {
    seen?.judged.picture.openings.found()
}

/// Links to the same page about each opening.
fn openings(seen: Option<&Seen>, at: &str) -> Markup {
    html! {
        p { "Openings: "
            @match known(seen) {
                Some(known) if !known.openings.is_empty() => {
                    @for opening in &known.openings {
                        a href={ (at) "?opening=" (opening.offers.id) } { (opening.offers.id) } " "
                    }
                }
                Some(_) => { "none on record" }
                None => { "not known" }
            }
        }
    }
}

/// `GET /preflight?opening=ID`.
pub(crate) async fn preflight(
    State(console): State<Arc<Console>>,
    RawQuery(query): RawQuery,
) -> Response {
    let seen = console.watch.now().await;
    let only = known(seen.as_deref()).map(|known| known.openings.as_slice());
    let only =
        only.and_then(|all| if let [one] = all { Some(one.offers.id.clone()) } else { None });
    let opening = asked(query.as_deref(), "opening").or(only);
    // A reading takes its turn: no name that anybody makes up has one.
    let is_known = |id: &String| {
        is_opening_id(id)
            && known(seen.as_deref())
                .is_none_or(|known| known.openings.iter().any(|opening| opening.offers.id == *id))
    };
    let is_stranger = opening.as_ref().is_some_and(|id| !is_known(id));
    let judged = match &opening {
        Some(opening) if !is_stranger => Some(console.preflight(opening).await),
        _ => None,
    };
    let main = html! {
        h1 { "Preflight" @if let Some(opening) = &opening { " of " (opening) } }
        (openings(seen.as_deref(), "/preflight"))
        @match &judged {
            None if is_stranger => p.note.no { "No opening of this id is in the engine's memory." },
            None => p { "Choose an opening." },
            Some(Reading::Failed(why)) => p.note.no { "It could not be looked at: " (why) },
            Some(Reading::GoesOn(since)) => (goes_on(*since)),
            Some(Reading::Read(judged)) => (verdict(judged)),
        }
    };
    layout::respond(&console, StatusCode::OK, "/preflight", &main)
}

/// The ledger is long: its reading goes on, and how long it may.
fn goes_on(since: Duration) -> Markup {
    html! {
        p.note role="status" { "The ledger is being read, for " (since.as_secs()) " s so far. \
            Reload this page in a moment: the reading goes on meanwhile. One that has taken "
            (WITHIN.as_secs()) " s is given up." }
    }
}

fn verdict(judged: &Judged) -> Markup {
    html! {
        @if judged.go { p.note.go { strong.big.go { "Go" } } }
        @else { p.note.no role="alert" { strong.big.no { "No go" } } }
        p.muted { "As of " (judged.picture.taken_at) ". What could not be looked at is not green." }
        (check_rows(&judged.checks))
    }
}

/// `GET /draws`.
pub(crate) async fn draws(State(console): State<Arc<Console>>) -> Response {
    let seen = console.watch.now().await;
    let main = html! {
        h1 { "Draws" }
        @match known(seen.as_deref()) {
            Some(known) => (all_draws(known, console.acts())),
            None => p.note.no { "Not known: no engine is active." },
        }
    };
    layout::respond(&console, StatusCode::OK, "/draws", &main)
}

fn all_draws(known: &Openings, acts: bool) -> Markup {
    let drawn = |offers: &&OpeningDescription| offers.order != Order::FirstCome;
    let offers: Vec<_> = known.openings.iter().map(|one| &one.offers).filter(drawn).collect();
    html! {
        @if offers.is_empty() {
            p { "No opening in the engine's memory is decided by rounds or by a draw." }
        }
        @for offers in offers { (draw(offers, known.now, acts)) }
    }
}

fn draw(offers: &OpeningDescription, now: Timestamp, acts: bool) -> Markup {
    let left = length(offers.closes_at.millis_since(now));
    let (kind, commitment, value, drawn) = match &offers.order {
        Order::FirstCome => return html! {},
        Order::Rounds { length_ms, commitment } => {
            (format!("rounds of {}", length(*length_ms)), commitment, None, None)
        }
        Order::Draw { commitment, public_value, drawn, .. } => {
            ("one draw at the close".to_owned(), commitment, public_value.as_deref(), Some(*drawn))
        }
    };
    let root = match &offers.order {
        Order::Draw { root, entries, .. } => root.as_deref().zip(*entries),
        _ => None,
    };
    let waits = drawn == Some(false) && offers.state == Phase::Closed && value.is_some();
    html! {
        h2 { "Opening " (offers.id) }
        table { tbody {
            tr { th scope="row" { "Order" } td { (kind) } }
            tr { th scope="row" { "Commitment" }
                td { (commitment.as_deref().unwrap_or("not on record")) } }
            tr { th scope="row" { "Public value" }
                td { (value.unwrap_or("none is named: it is as good as the operator's word")) } }
            tr { th scope="row" { "Close" }
                td { (offers.closes_at) @if offers.state != Phase::Closed { ", in " (left) } } }
            @if let Some((root, entries)) = root {
                tr { th scope="row" { "Root" } td { (root) ", over " (entries) " entries" } }
            }
            @if let Some(drawn) = drawn {
                tr { th scope="row" { "Drawn" } td { @if drawn { "yes" } @else { "not yet" } } }
            }
        } }
        @if waits {
            p.note.no { "The draw waits for its public value: fetch the round and hand it in"
                @if acts { " with " a href="/actions" { "the action beacon" } } "." }
        }
    }
}

/// `GET /journal?opening=ID`.
pub(crate) async fn journal(
    State(console): State<Arc<Console>>,
    RawQuery(query): RawQuery,
) -> Response {
    let seen = console.watch.now().await;
    let opening = asked(query.as_deref(), "opening");
    let actions = console.journal().await;
    let main = html! {
        h1 { "Journal" @if let Some(opening) = &opening { " of " (opening) } }
        p { "Who did what and why, and what stood before; the newest first." }
        (openings(seen.as_deref(), "/journal"))
        @match &actions {
            Reading::Failed(why) => p.note.no { "The ledger could not be read: " (why) },
            Reading::GoesOn(since) => (goes_on(*since)),
            Reading::Read(actions) => (rows(actions, opening.as_deref())),
        }
    };
    layout::respond(&console, StatusCode::OK, "/journal", &main)
}

fn rows(actions: &[Action], opening: Option<&str>) -> Markup {
    let of = |action: &&Action| {
        let record = action.opening.as_ref();
        opening.is_none() || record.is_none_or(|record| Some(record.id.as_str()) == opening)
    };
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "Time" } th.n scope="col" { "Sequence" } th scope="col" { "Of" }
                th scope="col" { "What" } th scope="col" { "Before" } th scope="col" { "After" }
                th scope="col" { "Operator" } th scope="col" { "Reason" }
            } }
            tbody { @for action in actions.iter().rev().filter(of) {
                @let (operator, reason) = action.signed.clone().unwrap_or_default();
                tr {
                    td { (action.time) }
                    td.n { (action.seq) }
                    td { (action.opening.as_ref().map_or("the ledger", |record| record.id.as_str())) }
                    td { (action.words()) }
                    td { @for deed in &action.deeds { @if let Some(change) = &deed.change {
                        div { (change.before) }
                    } } }
                    td { @for deed in &action.deeds { @if let Some(change) = &deed.change {
                        div { (change.after) }
                    } } }
                    td { (operator) }
                    td { (reason) }
                }
            } }
        } }
    }
}

/// What could be asked for and is not known, in words.
pub(crate) fn why_unknown(seen: Option<&Seen>) -> Option<&str> {
    match &seen?.judged.picture.openings {
        Known::Unknown(why) => Some(why),
        Known::Known(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use giliran_wire::ledger::journal::{Change, Done};

    use super::*;

    #[test]
    fn what_a_query_asks_for_is_read() {
        assert_eq!(asked(Some("opening=2026-W49"), "opening").as_deref(), Some("2026-W49"));
        for none in [None, Some(""), Some("opening="), Some("open=1")] {
            assert_eq!(asked(none, "opening"), None);
        }
    }

    #[test]
    fn a_page_says_that_the_ledger_is_still_being_read_and_for_how_long_it_may() {
        let html = goes_on(Duration::from_secs(12)).into_string();
        assert!(html.contains("for 12 s so far") && html.contains("taken 180 s"), "{html}");
    }

    #[test]
    fn an_action_is_shown_with_before_and_after_and_without_markup() {
        let done = Done {
            name: "quota",
            slot: None,
            value: "60".to_owned(),
            change: Some(Change { before: "80".to_owned(), after: "60".to_owned() }),
            words: "quota set to 60".to_owned(),
        };
        let action = Action {
            seq: 7,
            time: Timestamp::EARLIEST,
            opening: None,
            signed: Some(("<b>siti</b>".to_owned(), "<script>".to_owned())),
            deeds: vec![done],
            moved: 0,
            cancelled: 0,
        };
        let html = rows(&[action], None).into_string();
        assert!(html.contains("<div>80</div>") && html.contains("<div>60</div>"), "{html}");
        assert!(html.contains("&lt;b&gt;siti") && !html.contains("<script>"), "{html}");
    }
}
