//! Connecting to a server.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, Event};

use crate::Error;

/// Messages a subscription holds before the newest are dropped. Deep, since
/// nothing else stands between a surge and silence.
const SUBSCRIPTION_CAPACITY: usize = 262_144;
/// Commands that wait for the connection's task.
const CLIENT_CAPACITY: usize = 16_384;
/// Longest pause between two tries to reconnect.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// How to log in. Secrets come from files and the environment.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// A credentials file.
    pub credentials: Option<PathBuf>,
    /// User name.
    pub user: Option<String>,
    /// Password, with a user.
    pub password: Option<String>,
    /// Prefix of the connection's inboxes, where permissions ask for one.
    pub inbox_prefix: Option<String>,
}

/// Connects to `url`, or to one of several that are joined by commas, under a
/// name that the server shows.
///
/// # Errors
///
/// Where no connection comes about: the URL (without password) and why.
pub async fn connect(url: &str, name: &str, login: &Login) -> Result<Client, Error> {
    let doing = format!("connect to NATS at {}", without_password(url));
    let mut options = ConnectOptions::new()
        .name(name)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .client_capacity(CLIENT_CAPACITY)
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(|tries| {
            let delay = Duration::from_millis(20 * (tries as u64).min(50));
            delay.min(MAX_RECONNECT_DELAY)
        })
        .event_callback(|event| async move { log(&event) });
    if let Some(prefix) = &login.inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    if let Some(file) = &login.credentials {
        options = options
            .credentials_file(file)
            .await
            .map_err(|e| Error::new(&format!("read credentials {}", file.display()), e))?;
    }
    if let (Some(user), Some(password)) = (&login.user, &login.password) {
        options = options.user_and_password(user.clone(), password.clone());
    }
    let servers = url.split(',').map(|one| one.trim().parse::<async_nats::ServerAddr>());
    let servers = servers.collect::<Result<Vec<_>, _>>().map_err(|e| Error::new(&doing, e))?;
    options.connect(servers).await.map_err(|e| Error::new(&doing, e))
}

/// The JetStream API as this connection's account sees it: its own, or under the name
/// of a JetStream domain, by which an account without JetStream reaches another's.
pub fn jetstream(client: &Client, domain: Option<&str>) -> Context {
    match domain {
        Some(domain) => jetstream::with_domain(client.clone(), domain),
        None => jetstream::new(client.clone()),
    }
}

fn log(event: &Event) {
    match event {
        Event::Connected => tracing::debug!("connected to NATS"),
        Event::Disconnected => tracing::warn!("NATS connection lost; reconnecting"),
        // The client has no other way to tell a permission violation.
        Event::ServerError(error) => tracing::error!(%error, "NATS server refuses"),
        Event::ClientError(error) => tracing::error!(%error, "NATS client"),
        Event::SlowConsumer(subscription) => {
            tracing::error!(subscription, "messages dropped: a subscription is not drained");
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
    #[test]
    fn passwords_are_not_shown() {
        let shown = super::without_password("nats://user:secret@host:4222");
        assert_eq!(shown, "nats://…@host:4222");
        assert_eq!(super::without_password("nats://host"), "nats://host");
    }
}
