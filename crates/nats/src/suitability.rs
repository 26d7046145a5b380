//! Whether a server can carry a ledger.

use std::time::Duration;

use async_nats::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::Doing;
use crate::{Error, ErrorKind, connection};

/// Older servers lack what the ledger and the lease stand on.
pub const OLDEST_SERVER: (u64, u64, u64) = (2, 12, 2);
/// Batched answers and ledger blocks need this much.
pub const MIN_PAYLOAD: usize = 1024 * 1024;

/// What was found out about a suitable server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suitability {
    pub version: String,
    /// Whether it syncs before it acknowledges; none: not known.
    pub sync_always: Option<bool>,
}

/// Asks the server what it is. `monitor`: its monitoring URL, `http://host:port`,
/// the only place that tells whether it syncs.
///
/// # Errors
///
/// [`ErrorKind::Unsuitable`] where the server is too old or takes too small messages,
/// [`ErrorKind::NotPermitted`] where it lets this login receive no answers; also where it
/// does not say that it has JetStream.
pub async fn check(client: &Client, monitor: Option<&str>) -> Result<Suitability, Error> {
    let info = client.server_info();
    if version(&info.version).is_none_or(|found| found < OLDEST_SERVER) {
        let (major, minor, patch) = OLDEST_SERVER;
        return Err(Error::plain(format!(
            "nats-server {} is too old: {major}.{minor}.{patch} or newer is needed",
            info.version
        ))
        .of_kind(ErrorKind::Unsuitable));
    }
    if info.max_payload < MIN_PAYLOAD {
        return Err(Error::plain(format!(
            "the server's max_payload is {} bytes: {MIN_PAYLOAD} or more are needed",
            info.max_payload
        ))
        .of_kind(ErrorKind::Unsuitable));
    }
    let mut jetstream = async_nats::jetstream::new(client.clone());
    jetstream.set_timeout(connection::ANSWERS_WITHIN);
    let account = jetstream.query_account().await.doing(
        "JetStream is not available (enable it in the server's configuration, or for this account)",
    );
    account.map_err(|error| connection::unanswered(client, error))?;
    let sync_always = match monitor {
        Some(monitor) => syncs_always(monitor).await,
        None => None,
    };
    Ok(Suitability { version: info.version, sync_always })
}

/// `2.15.1` as numbers; what follows a `-` is left out.
pub(crate) fn version(text: &str) -> Option<(u64, u64, u64)> {
    let text = text.trim().trim_start_matches('v');
    let mut parts = text.split('-').next()?.split('.').map(str::parse);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Some((major, minor, patch)),
        _ => None,
    }
}

/// Whether the server at this monitoring URL syncs before it acknowledges, by its `/jsz`;
/// none where that cannot be had.
pub async fn syncs_always(monitor: &str) -> Option<bool> {
    let body = get(monitor, "/jsz?config=true").await.ok()?;
    let value: serde_json::Value = serde_json::from_str(&body).ok()?;
    Some(value["config"]["sync_always"].as_bool().unwrap_or(false))
}

/// The body at a path of a monitoring port: a GET over HTTP/1.0, whose body ends with the
/// connection.
///
/// # Errors
///
/// Where nobody answers within two seconds, or not with 200.
pub async fn get(monitor: &str, path: &str) -> Result<String, Error> {
    let host = monitor.trim_start_matches("http://").trim_end_matches('/');
    let ask = async {
        let mut stream = TcpStream::connect(host).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(2), ask)
        .await
        .doing("ask the monitoring port")?
        .doing("ask the monitoring port")?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => Err(Error::plain(format!("the monitoring port answered {:?}", head.lines().next()))),
    }
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("2.15.1"), Some((2, 15, 1)));
        assert_eq!(version("v2.12.2-RC.1"), Some((2, 12, 2)));
        assert_eq!(version("two"), None);
        assert!(version("2.9.10") < Some(super::OLDEST_SERVER));
    }
}
