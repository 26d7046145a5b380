//! The gateway's parts put together, and its addresses.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State as Connection;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use giliran_nats::state::{Report, State};
use giliran_wire::subject::Namespace;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::asking::Asker;
use crate::catalogue::Catalogue;
use crate::client_log::ClientLog;
use crate::identity::{Caller, Identity};
use crate::lanes::Lanes;
use crate::metrics::Metrics;
use crate::problem::{Kind, Problem};
use crate::rate_limit::{Rate, RateLimit};
use crate::token::TokenKey;
use crate::{bookings, openings, page, streams};

/// How long whoever waits for the last answers does so.
const LAST_ANSWERS: Duration = Duration::from_secs(60);

/// Most streams that are read at once.
const STREAMS: usize = 30_000;

macro_rules! endpoints {
    ($($method:ident $path:literal => $handler:path),* $(,)?) => {
        /// Every address for programs, with its method.
        const ENDPOINTS: &[(&str, &str)] = &[$((stringify!($method), $path)),*];

        /// What serves an address.
        fn handler(path: &str) -> MethodRouter<Arc<Gateway>> {
            match path {
                $($path => $method($handler),)*
                _ => MethodRouter::new(),
            }
        }
    };
}

endpoints! {
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
    get "/openapi.json" => openings::openapi,
}

/// How a gateway is set up.
#[derive(Debug)]
pub struct Settings {
    /// The engine's subjects.
    pub namespace: Namespace,
    /// How long a request is repeated for a caller who does not say how long it waits.
    pub patience: Duration,
    /// Requests on the way to the engine at once; beyond that 503.
    pub in_flight: usize,
    /// Who asks, and how that is known.
    pub identity: Identity,
    /// How often one account may ask; none: as often as it likes.
    pub account_rate: Option<Rate>,
    /// How often one address may ask; none: as often as it likes.
    pub address_rate: Option<Rate>,
    /// The key of the requests' tokens, the same for all gateways.
    pub token_key: TokenKey,
    /// Where what was asked and answered is written.
    pub client_log: Option<PathBuf>,
}

/// A gateway that runs.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) client: Client,
    pub(crate) catalogue: Catalogue,
    pub(crate) asker: Asker,
    pub(crate) patience: Duration,
    pub(crate) identity: Identity,
    pub(crate) token_key: TokenKey,
    pub(crate) metrics: Metrics,
    /// Places on the way to the engine.
    pub(crate) room: Arc<Semaphore>,
    in_flight: usize,
    /// Places among the streams.
    pub(crate) stream_room: Arc<Semaphore>,
    accounts: Option<RateLimit>,
    addresses: Option<RateLimit>,
    /// Streams end with it.
    pub(crate) shutdown: CancellationToken,
}

/// Shows how a gateway does.
#[derive(Debug, Clone)]
pub struct View {
    client: Client,
    catalogue: Catalogue,
}

impl View {
    /// What it can do, and what an operator should know.
    pub fn look(&self) -> (Report, Vec<String>) {
        if self.client.connection_state() != Connection::Connected {
            let report = Report::of(State::NatsUnavailable);
            return (report, Vec::new());
        }
        match self.catalogue.age() {
            None => {
                let detail = "no engine has told what there is to book".to_owned();
                (Report { state: State::Starting, detail }, Vec::new())
            }
            // It serves what it knows and repeats what it is asked; an engine will come.
            Some(age) if !self.catalogue.is_fresh() => {
                let warning = format!("no engine has answered for {} s", age.as_secs());
                (Report::of(State::Following), vec![warning])
            }
            Some(_) => (Report::of(State::Following), Vec::new()),
        }
    }
}

impl Gateway {
    /// Starts asking for what there is to book.
    ///
    /// # Errors
    ///
    /// Where the client log cannot be opened or no answers can be received.
    pub async fn start(
        client: Client,
        settings: Settings,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> io::Result<Arc<Self>> {
        if !settings.identity.is_checked() {
            tracing::warn!(
                "identities are unchecked: accounts and applicants are what requests say. Name \
                 the header of a proxy that knows who asks with --account-header"
            );
        }
        let log = settings.client_log.as_deref().map(ClientLog::open).transpose()?;
        let lanes = Lanes::start(&client, &settings.namespace, &metrics).await;
        let lanes = Arc::new(lanes.map_err(io::Error::other)?);
        let catalogue = Catalogue::start(client.clone(), &settings.namespace, shutdown.clone());
        Ok(Arc::new(Self {
            client,
            catalogue,
            asker: Asker { lanes, log, metrics: metrics.clone() },
            patience: settings.patience,
            identity: settings.identity,
            token_key: settings.token_key,
            metrics,
            room: Arc::new(Semaphore::new(settings.in_flight)),
            in_flight: settings.in_flight,
            stream_room: Arc::new(Semaphore::new(STREAMS)),
            accounts: settings.account_rate.map(RateLimit::new),
            addresses: settings.address_rate.map(RateLimit::new),
            shutdown,
        }))
    }

    /// What shows how it does.
    pub fn view(&self) -> View {
        View { client: self.client.clone(), catalogue: self.catalogue.clone() }
    }

    /// Its addresses.
    pub fn routes(self: &Arc<Self>) -> Router {
        let routes = ENDPOINTS
            .iter()
            .fold(Router::new(), |routes, (_, path)| routes.route(path, handler(path)));
        let routes = routes
            .route("/", get(page::home))
            .route("/o/{opening}", get(page::opening).post(page::ask))
            .route("/b", get(page::find).post(page::found))
            .route("/r/{token}", get(page::tracked))
            .route("/r/{token}/cancellation", post(page::cancel))
            .route("/r/{token}/reschedule", post(page::reschedule))
            .route("/r/{token}/booking.ics", get(page::calendar))
            .route("/assets/{name}", get(page::asset))
            .method_not_allowed_fallback(|| async { Problem::new(Kind::NoSuchMethod) })
            .fallback(|| async { Problem::new(Kind::NoSuchAddress) })
            .with_state(Arc::clone(self));
        let gateway = Arc::clone(self);
        routes.layer(middleware::from_fn(move |request: Request, next: Next| {
            let gateway = Arc::clone(&gateway);
            async move { counted(&gateway, request, next).await }
        }))
    }

    /// Waits for the requests that are still on their way, then for the client log's last line.
    ///
    /// # Errors
    ///
    /// Where the client log could not be written.
    pub async fn end(&self) -> io::Result<()> {
        let all = u32::try_from(self.in_flight).unwrap_or(u32::MAX);
        let ended = tokio::time::timeout(LAST_ANSWERS, self.room.acquire_many(all)).await;
        if ended.is_err() {
            tracing::warn!("requests were still on their way at the end");
        }
        let Some(log) = self.asker.log.clone() else { return Ok(()) };
        tokio::task::spawn_blocking(move || log.finish()).await.map_err(io::Error::other)?
    }

    /// Takes one request of this caller's rates.
    ///
    /// # Errors
    ///
    /// 429 where nothing is left of one of them.
    pub(crate) fn take_rate(&self, caller: &Caller, account: Option<&str>) -> Result<(), Problem> {
        let wait = |by: &str, wait: Duration| {
            self.metrics.limited(by);
            Problem::new(Kind::TooMany)
                .detail(format!("as many requests as one {by} may send; nothing is settled"))
                .retry_after_ms(wait.as_millis() as u64)
        };
        if let (Some(limit), Some(account)) = (&self.accounts, account) {
            limit.take(account.as_bytes()).map_err(|long| wait("account", long))?;
        }
        if let Some(limit) = &self.addresses {
            limit.take(&network(caller.address)).map_err(|long| wait("address", long))?;
        }
        Ok(())
    }
}

/// What counts as one address: of IPv6 the 64 bits that a customer has.
fn network(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets()[..8].to_vec(),
    }
}

/// Counts what was answered at which address.
async fn counted(gateway: &Gateway, request: Request, next: Next) -> Response {
    let endpoint = request.extensions().get::<axum::extract::MatchedPath>().cloned();
    let response = next.run(request).await.into_response();
    let endpoint = endpoint.as_ref().map_or("none", |path| path.as_str());
    gateway.metrics.answered(endpoint, response.status().as_u16());
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;

    use giliran_wire::answer::{Answer, Reason};
    use giliran_wire::request::{Book, Cancel, Lookup, Reschedule};
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
            .collect();
        assert_eq!(described, ENDPOINTS.iter().copied().collect());
        for (path, methods) in paths {
            for method in methods.as_object().unwrap().values() {
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

    #[test]
    fn addresses_are_told_by_what_a_customer_has() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::7"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::7"), of("2001:db8:1:3::7"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
