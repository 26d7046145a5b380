//! The console's addresses: which function serves which.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use giliran_web::hosts::Unknown;

use crate::console::Console;
use crate::layout::{asset, told};
use crate::{actions, lists, now};

impl Console {
    /// Its addresses.
    pub fn routes(self: &Arc<Self>) -> Router {
        let routes = Router::new()
            .route("/", get(now::page))
            .route("/now", get(now::stream))
            .route("/preflight", get(lists::preflight))
            .route("/draws", get(lists::draws))
            .route("/journal", get(lists::journal))
            .route("/assets/{name}", get(asset));
        let routes = if self.acts() {
            routes
                .route("/actions", get(actions::forms))
                .route("/actions/preview", post(actions::preview))
                .route("/actions/done", post(actions::act))
        } else {
            routes
        };
        let lost = |State(console): State<Arc<Self>>| async move {
            told(&console, StatusCode::NOT_FOUND, "There is nothing at this address.")
        };
        let refused = |State(console): State<Arc<Self>>| async move {
            told(&console, StatusCode::METHOD_NOT_ALLOWED, "This address is not asked so.")
        };
        let guard = middleware::from_fn_with_state(Arc::clone(self), for_this_console);
        let routes = routes.method_not_allowed_fallback(refused).fallback(lost);
        routes.layer(guard).with_state(Arc::clone(self))
    }
}

/// Where operators act, a request for another host goes no further: a page elsewhere whose name
/// leads here would be of one origin with the console, and act by its operator's login.
async fn for_this_console(
    State(console): State<Arc<Console>>,
    request: Request,
    next: Next,
) -> Response {
    let hosts = console.operators.as_ref().map(|operators| &operators.hosts);
    let unknown = hosts.and_then(|hosts| hosts.knows(request.uri(), request.headers()).err());
    let Some(unknown) = unknown else { return next.run(request).await };
    let words = match unknown {
        Unknown::Unnamed => "This request is to name one host (the header Host), so that nobody \
                             acts here by another site's page. Nothing was done."
            .to_owned(),
        Unknown::Named(name) => format!(
            "This console is not known as {name}, so nothing was done. If it is to be reached by \
             that name, start it with --host {name}; else a page of {name} wants to act here by \
             your login: close it."
        ),
    };
    told(&console, StatusCode::MISDIRECTED_REQUEST, &words)
}
