//! What bookings through a gateway are held against: a handler that takes the body and answers
//! what it was given, on axum and its own server. It is this binary, so that allocator and
//! runtime are the gateway's.

use std::path::Path;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

use crate::failure::Failure;

/// What the server writes by itself.
const OF_THE_SERVER: [HeaderName; 2] = [header::CONTENT_LENGTH, header::DATE];

/// Answers each booking with this file: an answer as it came from a gateway.
pub(in super::super::super) async fn answer(file: &Path) -> Result<(), Failure> {
    let (status, headers, body) = read(&std::fs::read(file)?)
        .ok_or_else(|| Failure::Usage(format!("{}: no answer of a gateway's", file.display())))?;
    let handler = move |_: Bytes| {
        let answer = (status, headers.clone(), body.clone());
        async move { answer }
    };
    let routes = Router::new().route("/v1/openings/{opening}/bookings", post(handler));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("giliran bench: http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // As the gateway's; without it answers would only be slower.
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, routes).await?)
}

/// Status, headers and body of an answer.
fn read(answer: &[u8]) -> Option<(StatusCode, HeaderMap, Bytes)> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name: HeaderName = name.parse().ok()?;
        if !OF_THE_SERVER.contains(&name) {
            headers.append(name, HeaderValue::from_str(value.trim()).ok()?);
        }
    }
    Some((status, headers, Bytes::copy_from_slice(body.as_bytes())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_given_again_but_for_what_the_server_writes() {
        let answer = b"HTTP/1.1 409 Conflict\r\ncontent-type: application/problem+json\r\n\
                       date: Sun, 29 Nov 2026 07:00:00 GMT\r\ncontent-length: 2\r\n\r\n{}";
        let (status, headers, body) = read(answer).unwrap();
        assert_eq!(status, StatusCode::CONFLICT);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(&body[..], b"{}");
        assert!(read(b"HTTP/1.1 200 OK\r\n").is_none());
    }
}
