//! Openings and free places, for anybody, from memory.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use giliran_wire::Timestamp;
use giliran_wire::answer::{Phase, Reason};
use giliran_wire::catalogue::OpeningDescription;
use serde::Serialize;

use crate::catalogue::Opening;
use crate::exchange::{cached, json, tagged};
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::segment::Segment;

/// The addresses for programs, as OpenAPI 3.1.
pub(crate) const OPENAPI: &str = include_str!("openapi.json");

#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    state: Phase,
    opens_at: Timestamp,
    closes_at: Timestamp,
    quota: u64,
    free: i64,
    /// What it offers and under which rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    offers: Option<&'a OpeningDescription>,
}

impl<'a> Shown<'a> {
    fn of(opening: &'a Opening) -> Self {
        Self {
            id: &opening.id,
            state: opening.state,
            opens_at: opening.opens_at,
            closes_at: opening.closes_at,
            quota: opening.slots.iter().map(|slot| u64::from(slot.quota)).sum(),
            offers: opening.offers.as_deref(),
            free: opening.slots.iter().map(|slot| i64::from(slot.free.max(0))).sum(),
        }
    }
}

/// `GET /v1/openings`.
pub(crate) async fn list(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Response {
    let told = gateway.catalogue.told();
    let shown: Vec<Shown<'_>> = told.openings.iter().map(|opening| Shown::of(opening)).collect();
    cached(&headers, json(&serde_json::json!({ "openings": shown })))
}

/// `GET /v1/openings/{opening}`.
pub(crate) async fn one(
    State(gateway): State<Arc<Gateway>>,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Response {
    let told = gateway.catalogue.told();
    match told.opening(&id) {
        Some(opening) => cached(&headers, json(&Shown::of(opening))),
        None => unknown(&gateway),
    }
}

/// `GET /v1/openings/{opening}/places`.
pub(crate) async fn places(
    State(gateway): State<Arc<Gateway>>,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Response {
    let told = gateway.catalogue.told();
    match told.opening(&id) {
        Some(opening) => {
            let places = &opening.places;
            tagged(&headers, &places.tag, places.body.clone())
        }
        None => unknown(&gateway),
    }
}

/// `GET /openapi.json`.
pub(crate) async fn openapi(headers: HeaderMap) -> Response {
    cached(&headers, Bytes::from_static(OPENAPI.as_bytes()))
}

/// An opening that nobody has told of: there is none, or nothing has been told yet.
pub(crate) fn unknown(gateway: &Gateway) -> Response {
    let problem = match gateway.catalogue.age() {
        Some(_) => Problem::reason(Reason::UnknownOpening),
        None => Problem::reason(Reason::Unavailable)
            .detail("no engine has told yet what there is to book")
            .retry_after_ms(1_000),
    };
    problem.into_response()
}
