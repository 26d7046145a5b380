//! A broker, an engine by a script, a gateway, and somebody who speaks HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use giliran_gateway::{Gateway, Identity, Metrics, PaymentSettings, Payments, Settings, TokenKey};
use giliran_testkit::Broker;
use giliran_wire::answer::{
    Answer, Availability, Booking, OpeningState, Overview, Phase, Reason, Rejection, SlotState,
    Status, Verdict, write,
};
use giliran_wire::request::{self, Book, Form, Payload};
use giliran_wire::{BookingId, Position, Timestamp};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

pub(crate) const AS_OF: Position = Position { epoch: 3, seq: 1841 };

/// What the engine does with a message: the answers to its requests, or nothing.
pub(crate) type Script = dyn Fn(&str, &[u8]) -> Option<Vec<Answer<'static>>> + Send + Sync;

/// What an engine would tell of its places.
pub(crate) type Shown = Arc<Mutex<Availability<'static>>>;

/// What came: operation and payload.
pub(crate) type Messages = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

pub(crate) struct Rig {
    pub(crate) broker: Broker,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: tokio::task::JoinHandle<tokio::time::Instant>,
    pub(crate) shown: Shown,
    /// Every message that came, `availability` left out.
    pub(crate) messages: Messages,
}

pub(crate) fn settings() -> Settings {
    Settings {
        namespace: Default::default(),
        patience: Duration::from_secs(10),
        in_flight: 1_000,
        body_bytes: 1 << 20,
        identity: Identity::default(),
        account_rate: None,
        address_rate: None,
        token_key: TokenKey::new([7; 32]),
        client_log: None,
        published: None,
    }
}

/// One office with places, open for an hour.
pub(crate) fn shown() -> Availability<'static> {
    let now = giliran_nats::clock::now();
    Availability {
        now,
        openings: vec![OpeningState {
            id: "w".into(),
            state: Phase::Open,
            opens_at: now,
            closes_at: now.plus_millis(3_600_000),
        }],
        slots: vec![SlotState {
            opening: "w".into(),
            office: "alpha".into(),
            date: "2030-01-07".parse().unwrap(),
            session: "all".into(),
            quota: 80,
            free: 80,
            withheld: 0,
            reserved: 0,
            halted: false,
            bookable: true,
            next_release: None,
        }],
        as_of: AS_OF,
        catalogue: None,
    }
}

impl Rig {
    pub(crate) async fn new(
        script: impl Fn(&str, &[u8]) -> Option<Vec<Answer<'static>>> + Send + Sync + 'static,
    ) -> Self {
        Self::with(settings(), Some(Arc::new(script)), shown()).await
    }

    /// A gateway by these settings; without a script there is no engine.
    pub(crate) async fn with(
        mut settings: Settings,
        script: Option<Arc<Script>>,
        places: Availability<'static>,
    ) -> Self {
        let broker = Broker::start().await;
        settings.namespace = broker.namespace.clone();
        let (shown, messages) = (Arc::new(Mutex::new(places)), Arc::default());
        if let Some(script) = script {
            engine(&broker, script, Arc::clone(&shown), Arc::clone(&messages)).await;
        }
        let client = broker.connect("gateway", &Default::default()).await;
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let shutdown = CancellationToken::new();
        let gateway =
            Gateway::start(client, settings, metrics.clone(), shutdown.clone()).await.unwrap();
        let listener = giliran_web::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let serving =
            giliran_web::serve(listener, gateway.routes(), metrics.connections, shutdown.clone());
        let served = tokio::spawn(serving);
        Self { broker, gateway, address, shutdown, served, shown, messages }
    }

    /// The payment side's listener of this gateway, over a connection of its own.
    pub(crate) async fn payments(&self) -> SocketAddr {
        let client = self.broker.connect("payments", &Default::default()).await;
        let settings = PaymentSettings {
            namespace: self.broker.namespace.clone(),
            patience: Duration::from_secs(10),
            in_flight: 1_000,
            body_bytes: 1 << 20,
        };
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let payments = Payments::start(client, settings, metrics.clone()).await.unwrap();
        let listener = giliran_web::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (routes, shutdown) = (payments.routes(), self.shutdown.clone());
        tokio::spawn(giliran_web::serve(listener, routes, metrics.connections, shutdown));
        address
    }

    /// Waits until the gateway knows what there is to book.
    pub(crate) async fn told(self) -> Self {
        for _ in 0..200 {
            if self.get("/v1/openings/w").await.status == 200 {
                return self;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the gateway learns of no opening");
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        send(self.address, "GET", path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        send(self.address, "POST", path, headers, body.as_bytes()).await
    }

    /// Sends a form of one of its own pages.
    pub(crate) async fn form(&self, path: &str, fields: &str) -> Reply {
        let kind = ("content-type", "application/x-www-form-urlencoded");
        self.post(path, &[kind, ("origin", "http://gateway")], fields).await
    }

    /// A usual booking.
    pub(crate) async fn book(&self, key: &str) -> Reply {
        let body = r#"{"applicants":["2171012345678901"],"choices":[{"office":"alpha"}]}"#;
        self.post("/v1/openings/w/bookings", &[("idempotency-key", key)], body).await
    }

    pub(crate) fn messages(&self) -> Vec<(String, Vec<u8>)> {
        self.messages.lock().unwrap().clone()
    }
}

async fn engine(broker: &Broker, script: Arc<Script>, shown: Shown, messages: Messages) {
    let client = broker.connect("engine", &Default::default()).await;
    // Each as an engine subscribes: "no responders" means what it means.
    for operation in ["availability", "book", "lookup", "cancel", "reschedule", "confirm"] {
        let subject = broker.namespace.request(operation);
        let mut requests = client.subscribe(subject).await.unwrap();
        let (client, script, shown, messages) =
            (client.clone(), Arc::clone(&script), Arc::clone(&shown), Arc::clone(&messages));
        tokio::spawn(async move {
            while let Some(message) = requests.next().await {
                let mut out = Vec::new();
                if operation == "availability" {
                    let mut told = shown.lock().unwrap().clone();
                    told.now = giliran_nats::clock::now();
                    let form = if message.payload.starts_with(b"{") {
                        Form::JsonOne
                    } else {
                        Form::Binary
                    };
                    write(form, &[overview(told, &message.payload)], &mut out);
                } else {
                    let payload = message.payload.to_vec();
                    messages.lock().unwrap().push((operation.to_owned(), payload.clone()));
                    // A script may wait: then this thread's other tasks go on elsewhere.
                    let answers = tokio::task::block_in_place(|| script(operation, &payload));
                    let Some(answers) = answers else { continue };
                    write(Form::Binary, &answers, &mut out);
                }
                client.publish(message.reply.unwrap(), out.into()).await.unwrap();
            }
        });
    }
    client.flush().await.unwrap();
}

/// Most offices that fit one description.
const DESCRIBED_AT_ONCE: usize = 2;

/// What an engine tells of its places: of more offices than fit, it describes one at a time.
fn overview(mut told: Availability<'static>, asked: &[u8]) -> Overview<'static> {
    let asked = serde_json::from_slice::<request::Availability<'_>>(asked).unwrap_or_default();
    let Some(catalogue) = told.catalogue.as_mut().filter(|_| asked.describe) else {
        told.catalogue = None;
        return Overview::Shown(told);
    };
    for opening in catalogue {
        match &asked.office {
            Some(office) => opening.offices.retain(|one| one.id == office.as_str()),
            None if opening.offices.len() > DESCRIBED_AT_ONCE => {
                return Overview::Rejected(Rejection::new(Reason::Malformed).detail("too large"));
            }
            None => {}
        }
    }
    Overview::Shown(told)
}

/// The bookings that a message asks for.
pub(crate) fn books(payload: &[u8]) -> Vec<Book<'_>> {
    match request::read::<Book<'_>>(payload) {
        Ok(Payload::Many(Form::Binary, books)) => books.into_iter().map(Result::unwrap).collect(),
        other => panic!("not what the gateway sends: {other:?}"),
    }
}

pub(crate) fn granted(request_id: &str) -> Answer<'static> {
    let granted_at: Timestamp = "2026-11-27T07:00:00.123Z".parse().unwrap();
    let booking = Booking {
        id: BookingId::from_random(7),
        version: 1,
        status: Status::Confirmed,
        opening: "w".into(),
        office: "alpha".into(),
        date: "2030-01-07".parse().unwrap(),
        session: "all".into(),
        numbers: [17].into_iter().collect(),
        request_id: request_id.to_owned().into(),
        reference: None,
        channel: None,
        granted_at,
        hold_expires_at: None,
    };
    let verdict = Verdict::Granted { booking, as_of: AS_OF };
    Answer { request_id: Some(request_id.to_owned().into()), verdict }
}

pub(crate) fn rejected(request_id: &str, reason: Reason) -> Answer<'static> {
    let rejection = Rejection::new(reason).retry_after_ms(50).as_of(AS_OF);
    Answer { request_id: Some(request_id.to_owned().into()), verdict: Verdict::Rejected(rejection) }
}

/// Grants whatever is asked for.
pub(crate) fn grant_all(operation: &str, payload: &[u8]) -> Option<Vec<Answer<'static>>> {
    assert_eq!(operation, "book");
    Some(books(payload).iter().map(|book| granted(&book.request_id)).collect())
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The last word of a problem's type.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status);
        body["type"].as_str().unwrap().strip_prefix("urn:giliran:problem:").unwrap().to_owned()
    }
}

pub(crate) async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&message(method, path, headers, body)).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    reply(&answer)
}

pub(crate) fn message(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n");
    if method == "POST" {
        head += &format!("content-length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    [head.as_bytes(), body].concat()
}

pub(crate) fn reply(answer: &[u8]) -> Reply {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    Reply { status, headers: headers.collect(), body: body.to_owned() }
}

/// Somebody who reads a stream.
pub(crate) struct Reader {
    stream: TcpStream,
    read: String,
}

impl Reader {
    pub(crate) async fn open(rig: &Rig, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream.write_all(&message("GET", path, headers, b"")).await.unwrap();
        Self { stream, read: String::new() }
    }

    /// The next event with this name: its id and its data.
    pub(crate) async fn event(&mut self, name: &str) -> (String, serde_json::Value) {
        let within = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let begin = format!("event: {name}\ndata: ");
            if let Some((before, behind)) = self.read.split_once(&begin)
                && let Some((data, rest)) = behind.split_once("\n\n")
            {
                let id = before.rsplit_once("id: ").unwrap().1.trim().to_owned();
                let found = (id, serde_json::from_str(data).unwrap());
                self.read = rest.to_owned();
                return found;
            }
            let mut some = [0; 4_096];
            let reading = self.stream.read(&mut some);
            let read = tokio::time::timeout_at(within, reading).await;
            let read = read.unwrap_or_else(|_| panic!("no {name}: {}", self.read)).unwrap();
            assert!(read > 0, "it ended: {}", self.read);
            self.read += std::str::from_utf8(&some[..read]).unwrap();
        }
    }

    /// Waits until it ends.
    pub(crate) async fn end(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
    }
}
