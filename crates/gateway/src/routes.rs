//! The gateway's addresses: which function serves which.

use std::future::{Ready, ready};
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::response::IntoResponse as _;
use axum::routing::MethodRouter;
use giliran_wire::answer::Reason;

use crate::counted::Counted;
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::payments::Payments;
use crate::problem::{Kind, Problem};
use crate::{bookings, draws, openings, page, payments, statements, streams};

/// What serves an address, by method; its answers are counted.
macro_rules! counted {
    ($of:expr, $path:literal => $($method:ident $handler:path),+) => {{
        let endpoint = $of.metrics.endpoint($path);
        MethodRouter::new()$(.$method(Counted::new($handler, Arc::clone(&endpoint))))+
    }};
}

macro_rules! endpoints {
    ($name:ident of $of:ty: $($method:ident $path:literal => $handler:path),* $(,)?) => {
        /// Every address for programs of a listener, with its method.
        const $name: &[(&str, &str)] = &[$((stringify!($method), $path)),*];

        impl Listener for $of {
            const ENDPOINTS: &'static [(&'static str, &'static str)] = $name;

            fn handler(&self, path: &str) -> MethodRouter<Arc<Self>> {
                match path {
                    $($path => counted!(self, $path => $method $handler),)*
                    _ => MethodRouter::new(),
                }
            }

            fn metrics(&self) -> &Metrics {
                &self.metrics
            }
        }
    };
}

/// What listens at an address of its own.
trait Listener: Send + Sync + Sized + 'static {
    /// Its addresses for programs, with their methods.
    const ENDPOINTS: &'static [(&'static str, &'static str)];

    /// What serves one of them.
    fn handler(&self, path: &str) -> MethodRouter<Arc<Self>>;

    fn metrics(&self) -> &Metrics;

    /// These addresses, and what is said of every other one.
    fn served(self: &Arc<Self>, more: Router<Arc<Self>>) -> Router {
        Self::ENDPOINTS
            .iter()
            .fold(more, |routes, (_, path)| routes.route(path, self.handler(path)))
            .method_not_allowed_fallback(refusing(self.metrics(), Kind::NoSuchMethod))
            .fallback(refusing(self.metrics(), Kind::NoSuchAddress))
            .with_state(Arc::clone(self))
    }
}

/// What is said where nothing serves a request, counted at the address that has something else.
fn refusing(
    metrics: &Metrics,
    kind: Kind,
) -> impl Fn(Request) -> Ready<Problem> + Clone + Send + Sync + 'static + use<> {
    let metrics = metrics.clone();
    move |request: Request| {
        let address = request.extensions().get::<MatchedPath>();
        let address = address.map_or("none", MatchedPath::as_str);
        metrics.answered(address, kind.status().as_u16());
        ready(Problem::new(kind))
    }
}

endpoints! {
    PUBLIC of Gateway:
    get "/v1/openings" => openings::list,
    get "/v1/openings/{opening}" => openings::one,
    get "/v1/openings/{opening}/places" => openings::places,
    get "/v1/openings/{opening}/places/stream" => streams::places,
    post "/v1/openings/{opening}/bookings" => bookings::book,
    post "/v1/lookups" => bookings::lookup,
    post "/v1/bookings/{booking}/cancellation" => bookings::cancel,
    post "/v1/bookings/{booking}/reschedule" => bookings::reschedule,
    get "/v1/requests/{token}" => bookings::tracked,
    get "/v1/requests/{token}/stream" => streams::request,
    get "/v1/draws/{opening}" => draws::one,
    get "/v1/draws/{opening}/extract" => draws::extract,
    get "/v1/statements/{opening}" => statements::one,
    get "/v1/statements/{opening}/file" => statements::file,
    get "/openapi.json" => openings::openapi,
}

endpoints! {
    PAYMENTS of Payments:
    post "/v1/bookings/{booking}/confirmation" => payments::confirm,
}

impl Gateway {
    /// Its addresses.
    pub fn routes(self: &Arc<Self>) -> Router {
        macro_rules! page {
            ($($path:literal => $($method:ident $handler:path),+;)+) => {
                Router::new()$(.route($path, counted!(self, $path => $($method $handler),+)))+
            };
        }
        self.served(page! {
            "/" => get page::home;
            "/o/{opening}" => get page::opening, post page::ask;
            "/b" => get page::find, post page::found;
            "/r/{token}" => get page::tracked;
            "/r/{token}/cancellation" => post page::cancel;
            "/r/{token}/reschedule" => post page::reschedule;
            "/r/{token}/booking.ics" => get page::calendar;
            "/assets/{name}" => get page::asset;
        })
    }
}

impl Payments {
    /// Its address, which no other listener has.
    pub fn routes(self: &Arc<Self>) -> Router {
        self.served(Router::new())
    }
}

/// What is answered everywhere while there is no connection to NATS yet: nothing is settled.
pub fn starting(metrics: &Metrics) -> Router {
    let starting = Problem::reason(Reason::Unavailable)
        .detail(
            "this gateway has no connection to NATS yet; nothing is settled, the same key is safe",
        )
        .retry_after_ms(2_000);
    let metrics = metrics.clone();
    Router::new().fallback(move || {
        let response = starting.clone().into_response();
        metrics.answered("none", response.status().as_u16());
        async move { response }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;

    use giliran_wire::answer::Answer;
    use giliran_wire::request::{Book, Cancel, Confirm, Lookup, Reschedule};
    use serde_json::Value;

    use super::*;
    use crate::problem::of_reason;

    fn description() -> Value {
        serde_json::from_str(openings::OPENAPI).unwrap()
    }

    fn names(value: &Value) -> BTreeSet<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn the_description_has_every_address_and_no_other() {
        let description = description();
        let paths = description["paths"].as_object().unwrap();
        let described: BTreeSet<(&str, &str)> = paths
            .iter()
            .flat_map(|(path, methods)| names(methods).into_iter().map(move |m| (m, path.as_str())))
            .filter(|(method, _)| *method != "servers")
            .collect();
        assert_eq!(described, PUBLIC.iter().chain(PAYMENTS).copied().collect());
        for (path, methods) in paths {
            let elsewhere = methods["servers"][0]["url"].is_string();
            assert_eq!(elsewhere, PAYMENTS.iter().any(|(_, of)| of == path), "{path}");
            for (_, method) in methods.as_object().unwrap().iter().filter(|(m, _)| *m != "servers")
            {
                let given = method["parameters"].as_array().into_iter().flatten();
                let given = given.filter(|given| given["in"] == "path");
                let given: BTreeSet<_> =
                    given.map(|given| given["name"].as_str().unwrap()).collect();
                let named =
                    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
                assert_eq!(given, named.collect(), "{path}");
            }
        }
    }

    #[test]
    fn the_description_refers_to_what_it_has() {
        let description = description();
        let text = description.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let (pointer, _) = reference.split_once('"').unwrap();
            assert!(description.pointer(pointer).is_some(), "{pointer}");
        }
    }

    #[test]
    fn the_description_has_every_reason_with_its_status() {
        let description = description();
        let listed =
            &description["components"]["schemas"]["Problem"]["properties"]["reason"]["enum"];
        let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(listed, &serde_json::to_value(reasons).unwrap());
        let book = &description["paths"]["/v1/openings/{opening}/bookings"]["post"]["responses"];
        for reason in Reason::ALL {
            assert!(names(book).contains(of_reason(*reason).as_str()), "{reason:?}");
        }
    }

    /// The schemas' fields are those of the wire, less what addresses and headers say.
    #[test]
    fn the_description_s_fields_are_the_wire_s() {
        let description = description();
        let has = |schema: &str| {
            let schema = &description["components"]["schemas"][schema];
            let properties = names(&schema["properties"]);
            properties.into_iter().map(str::to_owned).collect::<BTreeSet<String>>()
        };
        // Unknown fields are refused with the names of those that are known.
        let known = |detail: String| -> BTreeSet<String> {
            let (_, known) = detail.split_once("expected ").unwrap();
            known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        fn refused<'a, T: giliran_wire::request::Request<'a>>(body: &'a [u8]) -> String {
            giliran_wire::request::read::<T>(body).map(|_| ()).unwrap_err().detail
        }
        let body = br#"{"x":1}"#;
        let without = |mut all: BTreeSet<String>, not: &[&str]| {
            all.retain(|name| !not.contains(&name.as_str()));
            all
        };
        let book = without(known(refused::<Book<'_>>(body)), &["request_id", "opening"]);
        assert_eq!(has("Book"), book);
        assert_eq!(has("Lookup"), known(refused::<Lookup<'_>>(body)));
        let cancel = without(known(refused::<Cancel<'_>>(body)), &["request_id", "booking"]);
        assert_eq!(has("Cancel"), cancel);
        let reschedule =
            without(known(refused::<Reschedule<'_>>(body)), &["request_id", "booking"]);
        assert_eq!(has("Reschedule"), reschedule);
        let confirm = without(known(refused::<Confirm<'_>>(body)), &["request_id", "booking"]);
        assert_eq!(has("Confirmation"), confirm);
    }

    #[test]
    fn an_answer_that_is_described_is_an_answer() {
        let granted = r#"{"request_id":"a3f1","outcome":"granted","as_of":{"epoch":3,"seq":1841},"booking":{"id":"PN14-D2PF-2DBS-QQG1","version":1,"status":"held","opening":"w","office":"o","date":"2026-11-30","session":"all","numbers":[17],"request_id":"a3f1","ref":"r","channel":"c","granted_at":"2026-11-27T07:00:00.123Z","hold_expires_at":"2026-11-27T07:00:00.123Z"}}"#;
        let answer: Answer<'_> = serde_json::from_str(granted).unwrap();
        let written = serde_json::to_value(&answer).unwrap();
        let description = description();
        let schemas = &description["components"]["schemas"];
        assert_eq!(names(&schemas["Booking"]["properties"]), names(&written["booking"]));
        assert!(names(&schemas["Answer"]["properties"]).is_superset(&names(&written)));
    }
}
