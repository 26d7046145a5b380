//! What is published of a draw, as the engine describes it: enough to hold against it what
//! somebody was shown before, and to check it with `giliran verify`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use giliran_wire::answer::{Phase, Reason};
use giliran_wire::catalogue::{OpeningDescription, Order};
use giliran_wire::{AsOf, Timestamp};
use serde::Serialize;
use serde_json::Value;

use crate::exchange::{cached, json};
use crate::gateway::Gateway;
use crate::openings::unknown;
use crate::problem::{Kind, Problem};
use crate::published::What;
use crate::segment::Segment;

/// How far a draw has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// Entries can still come, or the root over them is not on record yet.
    Before,
    /// The root is on record, and the public value is not there yet.
    Waits,
    /// Nothing is missing any more.
    Going,
    /// Every entry has its places or none.
    Over,
}

/// What is published of a draw.
#[derive(Serialize)]
struct Draw<'a> {
    opening: &'a str,
    stage: Stage,
    /// End of the window: the draw follows.
    closes_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    commitment: Option<&'a str>,
    /// The public value's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<u64>,
    /// The operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'a str>,
    /// The public value itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
    /// Where all entries and what they got are.
    #[serde(skip_serializing_if = "Option::is_none")]
    extract: Option<String>,
    /// Since when it is so.
    as_of: AsOf,
}

impl<'a> Draw<'a> {
    /// None: the opening has no draw.
    fn of(offers: &'a OpeningDescription) -> Option<Self> {
        let Order::Draw { commitment, public_value, root, entries, seed, signature, drawn } =
            &offers.order
        else {
            return None;
        };
        let stage = match (offers.state, drawn, root, seed, public_value) {
            (_, true, ..) => Stage::Over,
            (Phase::Closed, false, Some(_), None, Some(_)) => Stage::Waits,
            (Phase::Closed, false, Some(_), ..) => Stage::Going,
            _ => Stage::Before,
        };
        Some(Self {
            opening: &offers.id,
            stage,
            closes_at: offers.closes_at,
            commitment: commitment.as_deref(),
            public_value: public_value.as_deref(),
            root: root.as_deref(),
            entries: *entries,
            seed: seed.as_deref(),
            signature: signature.as_deref(),
            extract: None,
            as_of: offers.as_of,
        })
    }
}

impl Draw<'_> {
    /// Whether an extract that says this is of this draw: of no other ledger's, and not made
    /// up.
    fn is_of(&self, extract: &Value) -> bool {
        let is = |name: &str, known: Option<&str>| extract[name].as_str() == known;
        is("root", self.root) && is("commitment", self.commitment) && is("seed", self.seed)
    }
}

/// Where an extract is.
fn address(opening: &str) -> String {
    format!("/v1/draws/{opening}/extract")
}

/// `GET /v1/draws/{opening}`. Of an opening that has left the engine's memory it is what the
/// extract says.
pub(crate) async fn one(
    State(gateway): State<Arc<Gateway>>,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let told = gateway.catalogue.told();
    let Some(opening) = told.opening(&id) else {
        told_of_openings(&gateway)?;
        let extract = match gateway.published.get(What::Extract, &id).await {
            Ok(extract) => extract,
            Err(problem) if problem.kind == Kind::NotPublished => return Ok(unknown(&gateway)),
            Err(problem) => return Err(problem),
        };
        let mut says = extract.says.clone();
        says["stage"] = "over".into();
        says["extract"] = address(&id).into();
        return Ok(cached(&headers, json(&says)));
    };
    let offers = opening.offers.as_ref().ok_or_else(not_described)?;
    let mut draw = Draw::of(offers).ok_or_else(no_draw)?;
    if draw.stage == Stage::Over {
        let extract = gateway.published.get(What::Extract, &id).await.ok();
        draw.extract = extract.filter(|extract| draw.is_of(&extract.says)).map(|_| address(&id));
    }
    Ok(cached(&headers, json(&draw)))
}

/// Until an engine has told which openings there are, nobody knows which draws are over.
fn told_of_openings(gateway: &Gateway) -> Result<(), Problem> {
    gateway.catalogue.age().map(drop).ok_or_else(not_described)
}

fn not_described() -> Problem {
    Problem::reason(Reason::Unavailable)
        .detail("no engine has described this opening yet")
        .retry_after_ms(1_000)
}

fn no_draw() -> Problem {
    let detail = "this opening is not decided by a draw: nothing of one is published";
    Problem::new(Kind::NotPublished).detail(detail)
}

/// `GET /v1/draws/{opening}/extract`: the file, byte by byte.
pub(crate) async fn extract(
    State(gateway): State<Arc<Gateway>>,
    Segment(id): Segment,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let extract = gateway.published.get(What::Extract, &id).await?;
    told_of_openings(&gateway)?;
    let told = gateway.catalogue.told();
    if let Some(opening) = told.opening(&id) {
        let offers = opening.offers.as_ref().ok_or_else(not_described)?;
        let draw = Draw::of(offers).ok_or_else(no_draw)?;
        if draw.stage != Stage::Over {
            let detail = "the draw of this opening is not over";
            return Err(Problem::new(Kind::NotPublished).detail(detail));
        }
        if !draw.is_of(&extract.says) {
            let detail = "the extract that is published here is not of the draw on record: root, \
                          commitment or seed is another";
            return Err(Problem::new(Kind::NotUsable).detail(detail));
        }
    }
    extract.file(&id, (&method, &headers)).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn offers(state: &str, order: &str) -> OpeningDescription {
        let text = format!(
            r#"{{"id":"w","state":"{state}","timezone":"Asia/Jakarta",
            "opens_at":"2026-11-27T07:00:00.000Z","closes_at":"2026-11-29T07:00:00.000Z",
            "order":{order},"rules":{{"max_party":1,"max_bookings":3,"max_changes":3,
            "across_openings":true,"cancelled":{{"kind":"immediate"}},
            "expired":{{"kind":"immediate"}},"leftovers":"none"}},"days":[],"offices":[],
            "as_of":{{"epoch":3,"seq":1841,"time":"2026-11-27T07:00:00.123Z"}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_draw_is_over_when_everybody_is_told_and_not_before() {
        let stage = |state, more: &str| {
            let offers = offers(state, &format!(r#"{{"kind":"draw","commitment":"5c"{more}}}"#));
            Draw::of(&offers).unwrap().stage
        };
        let named = r#","public_value":"drand 83cf 7""#;
        let root = r#","root":"6d","entries":7"#;
        let seed = r#","seed":"7e""#;
        for (state, more, expected) in [
            ("open", format!(r#"{named},"drawn":false"#), Stage::Before),
            ("closed", r#","drawn":false"#.to_owned(), Stage::Before),
            ("closed", format!(r#"{named}{root},"drawn":false"#), Stage::Waits),
            ("closed", format!(r#"{root},"drawn":false"#), Stage::Going),
            ("closed", format!(r#"{named}{root}{seed},"drawn":false"#), Stage::Going),
            ("closed", format!(r#"{named}{root}{seed},"drawn":true"#), Stage::Over),
        ] {
            assert_eq!(stage(state, &more), expected, "{state} {more}");
        }
        let over = format!(r#"{{"kind":"draw","commitment":"5c"{root}{seed},"drawn":true}}"#);
        let over = offers("closed", &over);
        let over = Draw::of(&over).unwrap();
        let extract = serde_json::json!({ "commitment": "5c", "root": "6d", "seed": "7e" });
        assert!(over.is_of(&extract));
        for name in ["commitment", "root", "seed"] {
            let mut other = extract.clone();
            other[name] = "00".into();
            assert!(!over.is_of(&other), "{name}");
        }
        let none = offers("closed", r#"{"kind":"first_come"}"#);
        assert!(Draw::of(&none).is_none());
    }
}
