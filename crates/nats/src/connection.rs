//! Connecting to a server.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event};

pub use crate::login::{Login, Named};
use crate::{Error, ErrorKind, refusals};

/// Messages a subscription holds before the newest are dropped. Deep, since
/// nothing else stands between a surge and silence.
const SUBSCRIPTION_CAPACITY: usize = 262_144;
/// Commands that wait for the connection's task.
const CLIENT_CAPACITY: usize = 16_384;
/// Longest pause between two tries to reconnect.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(1);
/// How long one try to connect may take. A host that drops packets costs a whole
/// try, and the next one should come soon after it is back.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How long the broker may take to answer a question about streams.
pub(crate) const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// Where the client receives answers unless another prefix is named.
const USUAL_INBOX: &str = "_INBOX";

/// Connects to `url`, or to one of several that are joined by commas, under a
/// name that the server shows.
///
/// # Errors
///
/// Where no connection comes about: the URL (without password) and why;
/// [`ErrorKind::NotPermitted`] where the login is refused, [`ErrorKind::Misused`] where
/// the URL is none, [`ErrorKind::Unsuitable`] where certificates or credentials are of no
/// use.
pub async fn connect(url: &str, name: &str, login: &Login) -> Result<Client, Error> {
    let doing = format!("connect to NATS at {}", without_password(url));
    let prefix = login.inbox_prefix.clone().unwrap_or_else(|| USUAL_INBOX.to_owned());
    let named = login.named;
    let mut options = ConnectOptions::new()
        .name(name)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .client_capacity(CLIENT_CAPACITY)
        .connection_timeout(CONNECT_WITHIN)
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(|tries| {
            let delay = Duration::from_millis(20 * (tries as u64).min(50));
            delay.min(MAX_RECONNECT_DELAY)
        })
        .event_callback(move |event| {
            hear(&event, &prefix, named);
            async move { log(&event) }
        });
    options = login.apply(options)?;
    let servers = url.split(',').map(|one| one.trim().parse::<async_nats::ServerAddr>());
    let servers = servers.collect::<Result<Vec<_>, _>>();
    let misused = |e| Error::new(&doing, e).of_kind(ErrorKind::Misused);
    let servers = servers.map_err(misused)?;
    options.connect(servers).await.map_err(|error| failed(&doing, &error, named))
}

/// Why no connection came about, and what helps.
fn failed(doing: &str, error: &ConnectError, named: Named) -> Error {
    let wrong_login = format!("the login is wrong or missing: {}", named.login);
    let (kind, help) = match error.kind() {
        ConnectErrorKind::Io | ConnectErrorKind::Dns | ConnectErrorKind::TimedOut => (
            ErrorKind::Unavailable,
            "is the server there? Another one is named with --nats or GILIRAN_NATS",
        ),
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            (ErrorKind::NotPermitted, wrong_login.as_str())
        }
        ConnectErrorKind::Tls => (
            ErrorKind::Unsuitable,
            "is the server's certificate of an authority in --nats-ca, and of this host?",
        ),
        _ => (ErrorKind::Unavailable, "look at --nats and the server's log"),
    };
    Error::plain(format!("{doing}: {error}; {help}")).of_kind(kind)
}

/// Inbox prefixes that a server has refused to a login of this process, with the option that
/// names another. The client tells that of an event only, and the question that is never answered ends
/// elsewhere, seconds later.
static REFUSED_INBOXES: Mutex<BTreeMap<String, &str>> = Mutex::new(BTreeMap::new());

fn refused_inboxes() -> MutexGuard<'static, BTreeMap<String, &'static str>> {
    // A panic elsewhere cannot leave it half changed.
    REFUSED_INBOXES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes where the server refuses this login's inboxes.
fn hear(event: &Event, prefix: &str, named: Named) {
    if let Event::ServerError(error) = event
        && refused_subject(&error.to_string()).is_some_and(|subject| subject.starts_with(prefix))
    {
        let option = named.inbox_prefix;
        refused_inboxes().insert(prefix.to_owned(), option);
        tracing::error!(
            "this login may not receive answers at {prefix}.>: name another prefix with {option}"
        );
    }
}

/// The subject in a server's words about a subscription that it refuses.
fn refused_subject(words: &str) -> Option<&str> {
    let (_, behind) = words.split_once("Permissions Violation for Subscription to \"")?;
    behind.split('"').next()
}

/// Why no answer came, where it is that the login may not receive any; else the
/// error as it is.
pub(crate) fn unanswered(client: &Client, error: Error) -> Error {
    let inbox = client.new_inbox();
    let prefix = inbox.rsplit_once('.').map_or(inbox.as_str(), |(prefix, _)| prefix);
    let Some(option) = refused_inboxes().get(prefix).copied() else { return error };
    Error::plain(format!(
        "this login may not receive answers at {prefix}.>: name the inbox prefix that its \
         permissions allow, with {option}"
    ))
    .of_kind(ErrorKind::NotPermitted)
}

/// The JetStream API as this connection's account sees it: its own, or under the name
/// of a JetStream domain, by which an account without JetStream reaches another's.
pub fn jetstream(client: &Client, domain: Option<&str>) -> Context {
    match domain {
        Some(domain) => jetstream::with_domain(client.clone(), domain),
        None => jetstream::new(client.clone()),
    }
}

/// How often the connection has been made. What was asked over one does not come over
/// the next.
pub fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}

/// Events of a kind that a stranger may bring about, as often as it sends.
#[derive(Debug)]
struct Often {
    since: Option<Instant>,
    logged: u32,
    unlogged: u64,
}

/// So many of them are told within a second; of the others their number, later.
const LOGGED_A_SECOND: u32 = 4;

impl Often {
    const NONE: Self = Self { since: None, logged: 0, unlogged: 0 };

    /// Whether one is told, and how many before it were not.
    fn tells(&mut self, now: Instant) -> Option<u64> {
        let fresh = |since| now.duration_since(since) < Duration::from_secs(1);
        if !self.since.is_some_and(fresh) {
            *self = Self { since: Some(now), logged: 0, unlogged: self.unlogged };
        }
        if self.logged == LOGGED_A_SECOND {
            self.unlogged += 1;
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.unlogged))
    }
}

/// The same for this process.
fn tells() -> Option<u64> {
    static OFTEN: Mutex<Often> = Mutex::new(Often::NONE);
    // A panic elsewhere cannot leave it half changed.
    OFTEN.lock().unwrap_or_else(PoisonError::into_inner).tells(Instant::now())
}

fn log(event: &Event) {
    match event {
        Event::Connected => {
            refusals::forget_told();
            tracing::debug!("connected to NATS");
        }
        Event::Disconnected => tracing::warn!("NATS connection lost; reconnecting"),
        // The client has no other way to tell a permission violation.
        Event::ServerError(error) => {
            if refusals::is_news(&error.to_string())
                && let Some(unlogged) = tells()
            {
                tracing::error!(%error, untold = unlogged, "NATS server refuses");
            }
        }
        Event::ClientError(error) => tracing::error!(%error, "NATS client"),
        Event::SlowConsumer(subscription) => {
            if let Some(unlogged) = tells() {
                let what = "messages dropped: a subscription is not drained";
                tracing::error!(subscription, untold = unlogged, "{what}");
            }
        }
        other => tracing::info!(event = %other, "NATS"),
    }
}

fn without_password(urls: &str) -> String {
    let one = |url: &str| match url.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            format!("{scheme}://…@{host}")
        }
        None => url.to_owned(),
    };
    urls.split(',').map(|url| one(url.trim())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_often_is_told_now_and_then_with_its_number() {
        let mut often = Often::NONE;
        let begin = Instant::now();
        let logged: Vec<_> = (0..1_000).filter_map(|_| often.tells(begin)).collect();
        assert_eq!(logged, [0, 0, 0, 0]);
        let later = begin + Duration::from_secs(1);
        assert_eq!(often.tells(later), Some(996));
        assert_eq!(often.tells(later), Some(0));
    }

    #[test]
    fn passwords_are_not_shown() {
        let shown = super::without_password("nats://user:secret@host:4222");
        assert_eq!(shown, "nats://…@host:4222");
        assert_eq!(super::without_password("nats://host"), "nats://host");
    }

    #[test]
    fn a_refused_subscription_is_known_by_its_subject() {
        let words = "nats: permissions violation for subscription to \"_INBOX.a.b\"";
        assert_eq!(super::refused_subject(words), None);
        let words = "Permissions Violation for Subscription to \"_INBOX.a.b\" using queue \"q\"";
        assert_eq!(super::refused_subject(words), Some("_INBOX.a.b"));
    }
}
