//! The way through a gateway: what people send goes over HTTP, and what comes back is read as
//! the wire's answer, since a gateway's bodies are that and more.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use giliran_wire::request::{Book, Cancel};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

/// Most connections; who comes then waits for one, as on the day.
const CONNECTIONS: usize = 2_000;

/// The golden ratio's part behind the point.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// Where a gateway listens, without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayAddress(String);

/// A text that names no gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAGateway;

impl fmt::Display for NotAGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a gateway's address, as http://127.0.0.1:8080")
    }
}

impl std::error::Error for NotAGateway {}

impl From<SocketAddr> for GatewayAddress {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string())
    }
}

impl FromStr for GatewayAddress {
    type Err = NotAGateway;

    fn from_str(text: &str) -> Result<Self, NotAGateway> {
        let address = text.strip_prefix("http://").ok_or(NotAGateway)?.trim_end_matches('/');
        let (host, port) = address.rsplit_once(':').ok_or(NotAGateway)?;
        let fine = !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok();
        if fine { Ok(Self(address.to_owned())) } else { Err(NotAGateway) }
    }
}

/// What is sent: where to, and under which request id.
pub(crate) struct Sent {
    path: String,
    key: Option<String>,
    body: Vec<u8>,
}

impl Sent {
    /// A booking, as the wire has it; none: it has no opening.
    pub(crate) fn book(payload: &[u8]) -> Option<Self> {
        let book: Book<'_> = serde_json::from_slice(payload).ok()?;
        let body = json!({
            "applicants": book.applicants, "choices": book.choices, "account": book.account,
            "channel": book.channel,
        });
        Some(Self {
            path: format!("/v1/openings/{}/bookings", book.opening?),
            key: Some(book.request_id.to_string()),
            body: body.to_string().into_bytes(),
        })
    }

    pub(crate) fn lookup(payload: Vec<u8>) -> Self {
        Self { path: "/v1/lookups".to_owned(), key: None, body: payload }
    }

    pub(crate) fn cancel(payload: &[u8]) -> Option<Self> {
        let cancel: Cancel<'_> = serde_json::from_slice(payload).ok()?;
        Some(Self {
            path: format!("/v1/bookings/{}/cancellation", cancel.booking),
            key: Some(cancel.request_id.to_string()),
            body: json!({ "applicant": cancel.applicant }).to_string().into_bytes(),
        })
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// Connections to a gateway, and where what comes back goes.
#[derive(Debug)]
pub(crate) struct Via {
    address: String,
    /// Share of the parties who go through it.
    share: f64,
    /// How long a person waits.
    patience: Duration,
    room: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Sender>>>,
    answers: mpsc::UnboundedSender<(u64, Bytes)>,
}

impl Via {
    pub(crate) fn new(
        address: &GatewayAddress,
        share: f64,
        patience: Duration,
    ) -> (Self, mpsc::UnboundedReceiver<(u64, Bytes)>) {
        let (answers, coming) = mpsc::unbounded_channel();
        let via = Self {
            address: address.0.clone(),
            share,
            patience,
            room: Arc::new(Semaphore::new(CONNECTIONS)),
            idle: Arc::default(),
            answers,
        };
        (via, coming)
    }

    /// Whether this one of the parties goes through it, each time it asks. Any run of
    /// neighbours has about the share: their multiples of the golden ratio lie evenly.
    pub(crate) fn takes(&self, who: u32) -> bool {
        (f64::from(who) * GOLDEN).fract() < self.share
    }

    /// Sends it; what comes back comes under this number, with an empty payload where nobody
    /// was there.
    pub(crate) fn send(&self, number: u64, sent: Sent) {
        let (room, idle) = (Arc::clone(&self.room), Arc::clone(&self.idle));
        let (address, answers) = (self.address.clone(), self.answers.clone());
        let wait = format!("wait={}", self.patience.as_secs_f64().ceil() as u64);
        tokio::spawn(async move {
            // It is never closed.
            let Ok(_place) = room.acquire().await else { return };
            let told = match exchange(&address, &idle, &wait, sent).await {
                Some(body) => body,
                None => Bytes::new(),
            };
            // The run may be over.
            let _ = answers.send((number, told));
        });
    }
}

/// The body that came back; none: nobody is there.
async fn exchange(
    address: &str,
    idle: &Mutex<Vec<Sender>>,
    wait: &str,
    sent: Sent,
) -> Option<Bytes> {
    let Sent { path, key, body } = sent;
    let request = || {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&path)
            .header(header::HOST, address)
            .header(header::CONTENT_TYPE, "application/json")
            .header("prefer", wait);
        if let Some(key) = &key {
            request = request.header("idempotency-key", key);
        }
        request.body(Full::new(Bytes::from(body.clone()))).ok()
    };
    // One that was idle may be closed by now: a fresh one is not.
    for _ in 0..2 {
        // A panic elsewhere cannot leave the list half changed.
        let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let fresh = kept.is_none();
        let mut sender = match kept {
            Some(sender) => sender,
            None => connect(address).await?,
        };
        let answer = async {
            sender.ready().await.ok()?;
            let answer = sender.send_request(request()?).await.ok()?;
            Some(answer.into_body().collect().await.ok()?.to_bytes())
        };
        if let Some(body) = answer.await {
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
            return Some(body);
        }
        if fresh {
            return None;
        }
    }
    None
}

async fn connect(address: &str) -> Option<Sender> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}

/// Answers, however they come: by number, with what was said.
#[derive(Debug)]
pub(crate) struct Answers {
    direct: Subscriber,
    /// None: nothing goes through a gateway.
    via: Option<mpsc::UnboundedReceiver<(u64, Bytes)>>,
}

impl Answers {
    pub(crate) fn new(
        direct: Subscriber,
        via: Option<mpsc::UnboundedReceiver<(u64, Bytes)>>,
    ) -> Self {
        Self { direct, via }
    }

    /// The next one; none: no more come.
    pub(crate) async fn next(&mut self) -> Option<(u64, Bytes)> {
        loop {
            let message = match &mut self.via {
                None => self.direct.next().await?,
                Some(via) => tokio::select! {
                    Some(answer) = via.recv() => return Some(answer),
                    message = self.direct.next() => message?,
                },
            };
            if let Some(answer) = numbered(message) {
                return Some(answer);
            }
        }
    }

    /// One that is there already.
    pub(crate) fn next_now(&mut self) -> Option<(u64, Bytes)> {
        if let Some(answer) = self.via.as_mut().and_then(|via| via.try_recv().ok()) {
            return Some(answer);
        }
        self.direct.next().now_or_never().flatten().and_then(numbered)
    }
}

/// The last word of its subject, and the payload.
fn numbered(message: Message) -> Option<(u64, Bytes)> {
    let number = message.subject.rsplit('.').next()?.parse().ok()?;
    Some((number, message.payload))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::Value;

    #[tokio::test]
    async fn a_share_of_the_parties_goes_through_it() {
        let address: GatewayAddress = "http://127.0.0.1:8080".parse().unwrap();
        for share in [0.0, 0.05, 0.5, 1.0] {
            let (via, _coming) = Via::new(&address, share, Duration::from_secs(1));
            let through = (0..10_000).filter(|who| via.takes(*who)).count();
            assert!((through as f64 / 10_000.0 - share).abs() < 0.001, "{share}: {through}");
        }
    }

    #[test]
    fn what_goes_through_a_gateway_says_the_same() {
        let payload = br#"{"request_id":"a3f1","applicants":["1","2"],"choices":[{"office":"alpha","date":"2030-01-07"}],"opening":"w","account":"u","channel":"web"}"#;
        let sent = Sent::book(payload).unwrap();
        assert_eq!(
            (sent.path.as_str(), sent.key.as_deref()),
            ("/v1/openings/w/bookings", Some("a3f1"))
        );
        let mut body: Value = serde_json::from_slice(&sent.body).unwrap();
        body["request_id"] = "a3f1".into();
        body["opening"] = "w".into();
        assert_eq!(body, serde_json::from_slice::<Value>(payload).unwrap());
        let cancel = br#"{"request_id":"a-back","booking":"P814","applicant":"1"}"#;
        let sent = Sent::cancel(cancel).unwrap();
        assert_eq!(
            (sent.path.as_str(), sent.key.as_deref()),
            ("/v1/bookings/P814/cancellation", Some("a-back"))
        );
    }

    #[test]
    fn an_address_is_a_host_with_a_port() {
        let of = |text: &str| text.parse::<GatewayAddress>().map(|gateway| gateway.0);
        assert_eq!(of("http://127.0.0.1:8080/").as_deref(), Ok("127.0.0.1:8080"));
        for wrong in ["127.0.0.1:8080", "https://a:1", "http://a", "http://:80", "http://a/b:80"] {
            assert_eq!(of(wrong), Err(NotAGateway), "{wrong}");
        }
    }
}
