//! Metrics and health over HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{RawQuery, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use giliran_nats::follower::Progress;
use giliran_nats::state::{Report, State};
use giliran_nats::watch::Seen;
use prometheus::{Encoder, Gauge, IntGaugeVec, Opts, Registry, TextEncoder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::{COMMIT, RELEASE};

/// How a part of the process is doing.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    /// Its name: `engine`, `persist`, `feed`, `gateway`.
    pub(crate) name: &'static str,
    /// What it can do, and what there is to say about it.
    pub(crate) report: Report,
    pub(crate) details: Value,
    /// How far it has come; none: it has not begun.
    pub(crate) progress: Option<Progress>,
    /// What the watch beside it has seen; none: it has not begun to look.
    pub(crate) seen: Option<Seen>,
    /// What an operator should mend, though it runs.
    pub(crate) warnings: Vec<String>,
    /// What waits in it and what it has answered; none: it answers nobody.
    pub(crate) work: Option<Work>,
}

/// What waits in an engine and what it has answered.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// Messages that wait to be decided.
    pub(crate) queue: u64,
    /// Grants and requests that wait for a block.
    pub(crate) backlog: u64,
    /// Since the start, by the name of the outcome.
    pub(crate) answers: BTreeMap<String, u64>,
    /// How long grants took, so many µs or less, and how many.
    pub(crate) grants_within: Vec<[u64; 2]>,
}

impl Health {
    /// Whether it does its work.
    pub(crate) fn is_ready(&self) -> bool {
        self.report.state.is_ready()
    }
}

type Look = Box<dyn Fn() -> Health + Send + Sync>;

pub(crate) struct HealthRegistry {
    pub(crate) registry: Registry,
    parts: Mutex<Vec<Look>>,
    /// What is said before there is any part.
    starting: Mutex<Option<Health>>,
    /// What an operator should mend, though it runs.
    warnings: Mutex<Vec<String>>,
    /// Cancelled once the process was asked to stop.
    shutdown: CancellationToken,
    state: IntGaugeVec,
    clock_offset: Gauge,
}

impl HealthRegistry {
    /// Of a process that stops once `shutdown` is cancelled.
    pub(crate) fn new(shutdown: CancellationToken) -> Result<Self, Failure> {
        let registry = Registry::new();
        let state = IntGaugeVec::new(
            Opts::new("giliran_state", "1 for the state that a part of the process is in"),
            &["part", "state"],
        )?;
        registry.register(Box::new(state.clone()))?;
        let clock_offset = Gauge::new(
            "giliran_clock_offset_seconds",
            "How far this machine's clock is ahead of the broker's; below 0: behind",
        )?;
        registry.register(Box::new(clock_offset.clone()))?;
        let build = IntGaugeVec::new(
            Opts::new("giliran_build_info", "1, with what this process was built from"),
            &["release", "commit"],
        )?;
        build.with_label_values(&[RELEASE, COMMIT]).set(1);
        registry.register(Box::new(build))?;
        let (parts, starting, warnings) = Default::default();
        Ok(Self { registry, parts, starting, warnings, shutdown, state, clock_offset })
    }

    /// Shows a part from now on.
    pub(crate) fn add(&self, look: impl Fn() -> Health + Send + Sync + 'static) {
        *held(&self.starting) = None;
        held(&self.parts).push(Box::new(look));
    }

    /// Says how it stands with a part that is not there yet.
    pub(crate) fn starts(&self, name: &'static str, report: Report) {
        let part = Health {
            name,
            report,
            details: json!({}),
            progress: None,
            seen: None,
            warnings: Vec::new(),
            work: None,
        };
        *held(&self.starting) = Some(part);
    }

    /// Shows what an operator should mend, though it runs.
    pub(crate) fn warn(&self, warnings: impl IntoIterator<Item = String>) {
        held(&self.warnings).extend(warnings);
    }

    /// What an operator should mend, though it runs; of the process, beside those of its
    /// parts.
    pub(crate) fn warnings(&self) -> Vec<String> {
        held(&self.warnings).clone()
    }

    /// How the parts are doing.
    pub(crate) fn look(&self) -> Vec<Health> {
        let parts: Vec<Health> = held(&self.parts).iter().map(|look| look()).collect();
        if parts.is_empty() { held(&self.starting).iter().cloned().collect() } else { parts }
    }

    /// Sets the gauges that mirror how the parts are doing.
    pub(crate) fn refresh(&self) {
        for part in self.look() {
            for state in State::ALL {
                let gauge = self.state.with_label_values(&[part.name, state.word()]);
                gauge.set((state == part.report.state).into());
            }
            if let Some(offset) = part.seen.and_then(|seen| seen.clock_offset_ms) {
                self.clock_offset.set(offset as f64 / 1_000.0);
            }
        }
    }
}

/// A panic elsewhere cannot leave these half changed.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
pub(crate) fn serve(listener: TcpListener, shown: Arc<HealthRegistry>) {
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes(shown)).await {
            tracing::error!(%error, "HTTP ended");
        }
    });
}

/// The addresses of metrics and health.
pub(crate) fn routes(shown: Arc<HealthRegistry>) -> Router {
    let metrics = Router::new().route("/metrics", get(metrics)).with_state(Arc::clone(&shown));
    metrics.merge(probes(shown))
}

/// The addresses of health alone.
pub(crate) fn probes(shown: Arc<HealthRegistry>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(shown)
}

async fn metrics(Shared(shown): Shared<Arc<HealthRegistry>>) -> Response {
    shown.refresh();
    let mut text = Vec::new();
    match TextEncoder::new().encode(&shown.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// What may be asked of `/readyz`: which states will do.
const WILL_DO: &str = "state=";

/// The states that a query asks for; none: those in which a part does its work.
pub(crate) fn asked(query: Option<&str>) -> Result<Option<Vec<State>>, String> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(None) };
    let words = query.replace("%2C", ",").replace("%2c", ",");
    let Some(words) = words.strip_prefix(WILL_DO) else {
        return Err(format!(
            "`{}` is not asked here; ask `?state=active,standby`",
            query.escape_debug()
        ));
    };
    let states = words.split(',').map(|word| {
        State::ALL.into_iter().find(|state| state.word() == word).ok_or_else(|| {
            let known: Vec<&str> = State::ALL.iter().map(|state| state.word()).collect();
            format!("no state is `{}`; there are {}", word.escape_debug(), known.join(", "))
        })
    });
    states.collect::<Result<_, _>>().map(Some)
}

async fn ready(Shared(shown): Shared<Arc<HealthRegistry>>, RawQuery(query): RawQuery) -> Response {
    let asked = match asked(query.as_deref()) {
        Ok(asked) => asked,
        Err(wrong) => return (StatusCode::BAD_REQUEST, wrong + "\n").into_response(),
    };
    let parts = shown.look();
    let stopping = shown.shutdown.is_cancelled();
    let ready = !parts.is_empty() && parts.iter().all(Health::is_ready);
    let will_do = asked.map_or(ready, |states| {
        !parts.is_empty() && parts.iter().all(|part| states.contains(&part.report.state))
    });
    let mut warnings = shown.warnings();
    warnings.extend(parts.iter().flat_map(|part| part.warnings.clone()));
    let mut body = json!({
        "ready": ready, "stopping": stopping, "release": RELEASE, "commit": COMMIT,
        "warnings": warnings,
    });
    for part in parts {
        body[part.name] = json!({ "ready": part.is_ready(), "state": part.report.state.word() });
        if !part.report.detail.is_empty() {
            body[part.name]["detail"] = part.report.detail.into();
        }
        if let (Value::Object(into), Value::Object(from)) = (&mut body[part.name], part.details) {
            into.extend(from);
        }
        if let Some(offset) = part.seen.and_then(|seen| seen.clock_offset_ms) {
            body[part.name]["clock_offset_ms"] = offset.into();
        }
    }
    let fine = will_do && !stopping;
    let status = if fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body:#}\n")).into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn shows(registry: &HealthRegistry, state: State) {
        registry.starts("engine", Report::of(state));
    }

    async fn status(shown: &Arc<HealthRegistry>, query: &str) -> u16 {
        let query = Some(query.to_owned()).filter(|query| !query.is_empty());
        ready(Shared(Arc::clone(shown)), RawQuery(query)).await.status().as_u16()
    }

    /// An orchestrator tells a standby, which is well, from one that does not work, and the
    /// active one from both.
    #[tokio::test]
    async fn active_standby_and_neither_are_told_apart() {
        let shown = Arc::new(HealthRegistry::new(CancellationToken::new()).unwrap());
        // No part has begun.
        assert_eq!(status(&shown, "state=starting").await, 503);
        for (state, alone, either) in [
            (State::Active, 200, 200),
            (State::Standby, 503, 200),
            (State::SteppingDown, 503, 503),
            (State::NatsUnavailable, 503, 503),
        ] {
            shows(&shown, state);
            assert_eq!(status(&shown, "").await, alone, "{state:?}");
            assert_eq!(status(&shown, "state=active").await, alone, "{state:?}");
            for query in ["state=active,standby", "state=standby%2Cactive"] {
                assert_eq!(status(&shown, query).await, either, "{state:?} {query}");
            }
            assert_eq!(status(&shown, &format!("state={}", state.word())).await, 200);
        }
    }

    #[tokio::test]
    async fn whoever_stops_is_not_ready_whatever_is_asked() {
        let shutdown = CancellationToken::new();
        let shown = Arc::new(HealthRegistry::new(shutdown.clone()).unwrap());
        shows(&shown, State::Active);
        assert_eq!(status(&shown, "").await, 200);
        shutdown.cancel();
        for query in ["", "state=active"] {
            assert_eq!(status(&shown, query).await, 503, "{query}");
        }
    }

    #[tokio::test]
    async fn a_question_that_is_none_is_told_so() {
        let shown = Arc::new(HealthRegistry::new(CancellationToken::new()).unwrap());
        shows(&shown, State::Active);
        for query in ["state=", "state=awake", "role=active", "state=active,"] {
            assert_eq!(status(&shown, query).await, 400, "{query}");
        }
        assert!(asked(Some("state=awake")).unwrap_err().contains("`awake`; there are starting, "));
    }
}
