//! The console's addresses: which function serves which.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};

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
        routes.method_not_allowed_fallback(refused).fallback(lost).with_state(Arc::clone(self))
    }
}
