//! Metrics and health over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::failure::Failure;

/// How a part of the process is doing.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Its name: `engine`, `persist`, `feed`.
    pub(crate) name: &'static str,
    /// Whether it does its work.
    pub(crate) ready: bool,
    /// Its state in a word or a sentence.
    pub(crate) state: String,
    /// Figures.
    pub(crate) details: Value,
}

type Look = Box<dyn Fn() -> Part + Send + Sync>;

/// What is shown.
#[derive(Default)]
pub(crate) struct Shown {
    pub(crate) registry: Registry,
    pub(crate) parts: Vec<Look>,
    /// What an operator should mend, though it runs.
    pub(crate) warnings: Vec<String>,
}

/// Listens on `address`; port numbers above it are tried where `next_free`.
pub(crate) async fn listen(address: SocketAddr, next_free: bool) -> Result<TcpListener, Failure> {
    let mut last = None;
    let ports = if next_free { 100 } else { 1 };
    for offset in 0..ports {
        let mut candidate = address;
        candidate.set_port(address.port().saturating_add(offset));
        match TcpListener::bind(candidate).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    let why = last.map_or(String::new(), |error| error.to_string());
    Err(Failure::Wrong(format!("--http {address}: {why}")))
}

/// Serves until the process ends.
pub(crate) fn serve(listener: TcpListener, shown: Arc<Shown>) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(shown);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "HTTP ended");
        }
    });
}

async fn metrics(State(shown): State<Arc<Shown>>) -> Response {
    // Looking refreshes the gauges that mirror a part's figures.
    let _: Vec<Part> = shown.parts.iter().map(|look| look()).collect();
    let mut text = Vec::new();
    match TextEncoder::new().encode(&shown.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(shown): State<Arc<Shown>>) -> Response {
    let parts: Vec<Part> = shown.parts.iter().map(|look| look()).collect();
    let ready = parts.iter().all(|part| part.ready);
    let mut body = json!({ "ready": ready, "warnings": shown.warnings });
    for part in parts {
        body[part.name] = json!({ "ready": part.ready, "state": part.state });
        if let (Value::Object(into), Value::Object(from)) = (&mut body[part.name], part.details) {
            into.extend(from);
        }
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body:#}\n")).into_response()
}
