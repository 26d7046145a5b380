//! What the payment side alone may ask: that a held booking is confirmed.
//!
//! It has a listener and a NATS login of its own, and shares no connection with what everybody
//! reaches: a `confirm` needs a booking's id and nothing else, so whoever may send one can make
//! any held booking firm.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State as Connection;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use giliran_nats::state::{Report, State as Standing};
use giliran_wire::answer::Reason;
use giliran_wire::request::{Confirm, element};
use giliran_wire::subject::Namespace;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::asking::Asker;
use crate::exchange::{answered, key, parsed_with, patience, whole, with};
use crate::lanes::{Lane, Lanes};
use crate::metrics::Metrics;
use crate::problem::{Problem, of_outcome};
use crate::room::Room;
use crate::segment::Segment;

/// How the payment side's listener is set up.
#[derive(Debug, Clone)]
pub struct PaymentSettings {
    /// The engine's subjects.
    pub namespace: Namespace,
    /// How long a confirmation is repeated for a caller who does not say how long it waits.
    pub patience: Duration,
    /// Confirmations on the way to the engine at once; beyond that 503.
    pub in_flight: usize,
    /// Bytes of bodies that are held at once; beyond that 503.
    pub body_bytes: usize,
}

/// What serves the payment side.
#[derive(Debug)]
pub struct Payments {
    client: Client,
    asker: Asker,
    patience: Duration,
    room: Room,
    body_room: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
}

impl Payments {
    /// Begins over this connection, whose login may publish `confirm`.
    ///
    /// # Errors
    ///
    /// Where no answers can be received.
    pub async fn start(
        client: Client,
        settings: PaymentSettings,
        metrics: Metrics,
    ) -> std::io::Result<Arc<Self>> {
        let lanes = Lanes::start(&client, &settings.namespace, &[Lane::Confirm], &metrics).await;
        let lanes = Arc::new(lanes.map_err(std::io::Error::other)?);
        Ok(Arc::new(Self {
            client,
            asker: Asker { lanes, log: None, metrics: metrics.clone() },
            patience: settings.patience,
            room: Room::new(settings.in_flight, &metrics),
            body_room: Arc::new(Semaphore::new(settings.body_bytes)),
            metrics,
        }))
    }

    /// What it can do at this moment.
    pub fn look(&self) -> Report {
        match self.client.connection_state() {
            Connection::Connected => Report::of(Standing::Following),
            _ => Report::of(Standing::NatsUnavailable),
        }
    }

    /// Waits for the confirmations that are still on their way, no longer than until `deadline`.
    pub async fn end(&self, deadline: Instant) {
        if !self.room.emptied(deadline).await {
            tracing::warn!("confirmations were still on their way at the end");
        }
    }
}

/// `POST /v1/bookings/{booking}/confirmation`.
pub(crate) async fn confirm(
    State(payments): State<Arc<Payments>>,
    Segment(booking): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    // Of a page in a browser, whose name may lead here although it is somebody else's.
    if parts.headers.contains_key(header::ORIGIN) || parts.headers.contains_key("sec-fetch-site") {
        return Err(Problem::reason(Reason::NotPermitted)
            .detail("payments are confirmed by programs: a request of a browser's is refused"));
    }
    let body = whole(&payments.body_room, &parts.headers, body).await?;
    let deadline = Instant::now() + patience(payments.patience, &parts.headers);
    let given = [("request_id", key(&parts.headers)?), ("booking", booking.as_str())];
    let request = with(&body, &given);
    let confirm = parsed_with::<Confirm<'_>>(&body, &request)?;
    if confirm.reference.is_none() {
        return Err(Problem::malformed(
            "reference: missing; the payment's, 1 to 64 printable ASCII characters. Without it \
             each new key would count as another payment",
        )
        .request_id(confirm.request_id.as_str()));
    }
    let asked = payments.room.asked(&payments.asker, Lane::Confirm, element(&confirm), deadline);
    let answer = of_outcome(asked.await?, None)?;
    Ok(answered(StatusCode::OK, &answer))
}
