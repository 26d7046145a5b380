//! Statements of openings, from the operator's folder.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;

use crate::exchange::{cached, json};
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::published::What;
use crate::segment::Segment;

/// `GET /v1/statements/{opening}`: what it says, and where the file is.
pub(crate) async fn one(
    State(gateway): State<Arc<Gateway>>,
    Segment(opening): Segment,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let statement = gateway.published.get(What::Statement, &opening).await?;
    let mut says = statement.says.clone();
    says["file"] = format!("/v1/statements/{opening}/file").into();
    Ok(cached(&headers, json(&says)))
}

/// `GET /v1/statements/{opening}/file`: the file, byte by byte.
pub(crate) async fn file(
    State(gateway): State<Arc<Gateway>>,
    Segment(opening): Segment,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let statement = gateway.published.get(What::Statement, &opening).await?;
    statement.file(&opening, (&method, &headers)).await
}
