//! What every request of a program and its answer have in common: a body within its bounds,
//! the key and the patience that headers say, the wire's request that all of it makes, and
//! the wire's answer as JSON; and what anybody may read, as caches keep it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use giliran_web::tag;
use giliran_wire::answer::Answer;
use giliran_wire::request::{self, Payload};
use serde::Serialize;
use serde::de::IgnoredAny;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Kind, Problem};

/// Most bytes of a body: far more than the largest request has.
const BODY_BYTES: usize = 64 * 1024;
/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// The shortest patience: an answer needs time to come.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(500);
/// The longest patience that a caller may ask for.
const LONGEST_PATIENCE: Duration = Duration::from_secs(60);

/// What the usual answer has.
const ANSWER_BYTES: usize = 512;

/// One request a second from a cache in front serves everybody behind it.
const CACHED: &str = "public, max-age=1, stale-while-revalidate=10";

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A body, with its part of all bytes that bodies may have.
pub(crate) struct Whole {
    bytes: Bytes,
    _part: OwnedSemaphorePermit,
}

impl Deref for Whole {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// All of a body, within its bounds; `room` has the bytes that bodies may have together.
///
/// # Errors
///
/// 413 where it is too long, 408 where it does not come in time, 503 where other bodies have
/// all the room that there is.
pub(crate) async fn whole(
    room: &Arc<Semaphore>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Whole, Problem> {
    let too_large =
        || Problem::new(Kind::TooLarge).detail(format!("a body has {BODY_BYTES} bytes at most"));
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length: Option<usize> = length.and_then(|length| length.parse().ok());
    if length.is_some_and(|length| length > BODY_BYTES) {
        return Err(too_large());
    }
    // Whoever does not say how long it is may send as much as anybody.
    let part = u32::try_from(length.unwrap_or(BODY_BYTES)).unwrap_or(u32::MAX);
    let part = Arc::clone(room).try_acquire_many_owned(part);
    let part = part.map_err(|_| Problem::overloaded())?;
    match tokio::time::timeout(BODY_WITHIN, axum::body::to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(bytes)) => Ok(Whole { bytes, _part: part }),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(Problem::new(Kind::TooSlow)),
    }
}

/// The request id: the value of `Idempotency-Key`, with or without quotation marks.
///
/// # Errors
///
/// `malformed` where the header is missing.
pub(crate) fn key(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing = || {
        Problem::malformed(
            "Idempotency-Key: missing; 1 to 64 of A-Z a-z 0-9 - _ . :, made once for each wish \
             and sent again with it",
        )
    };
    let value = headers.get(IDEMPOTENCY_KEY).ok_or_else(missing)?.to_str().unwrap_or("?").trim();
    let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    Ok(bare)
}

/// How long the caller waits: `Prefer: wait=20` (RFC 7240), in seconds; else the usual time.
pub(crate) fn patience(usual: Duration, headers: &HeaderMap) -> Duration {
    let preferred = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut waits = preferred
        .flat_map(|value| value.split([',', ';']))
        .filter_map(|one| one.trim().strip_prefix("wait=")?.parse().ok());
    let wait = waits.next().map(Duration::from_secs);
    wait.unwrap_or(usual).clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE)
}

/// The JSON object with these fields put behind its own; [`parsed_with`] reads it. Whoever has
/// one of them already is told that it has it twice.
pub(crate) fn with(body: &[u8], fields: &[(&str, &str)]) -> Vec<u8> {
    let Some(end) = body.iter().rposition(|byte| *byte == b'}') else { return body.to_vec() };
    let before = body[..end].iter().rev().find(|byte| !byte.is_ascii_whitespace());
    let more: usize = fields.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
    let mut out = Vec::with_capacity(body.len() + more);
    out.extend_from_slice(&body[..end]);
    let mut comma = before != Some(&b'{');
    for (name, value) in fields {
        if std::mem::replace(&mut comma, true) {
            out.push(b',');
        }
        for (text, behind) in [(name, b':'), (value, b' ')] {
            // A text can be written.
            let _ = serde_json::to_writer(&mut out, text);
            out.push(behind);
        }
    }
    out.extend_from_slice(&body[end..]);
    out
}

/// The request that a body and what was put [`with`] it are.
///
/// # Errors
///
/// `malformed`, in the words of the wire's reader; of the body alone where that is no JSON,
/// which nothing that is put into it makes any better.
pub(crate) fn parsed_with<'a, T: request::Request<'a>>(
    body: &'a [u8],
    request: &'a [u8],
) -> Result<T, Problem> {
    match parsed(request) {
        Err(_) if serde_json::from_slice::<IgnoredAny>(body).is_err() => parsed(body),
        read => read,
    }
}

/// The one request of the wire that a body is.
///
/// # Errors
///
/// `malformed`, in the words of the wire's reader.
pub(crate) fn parsed<'a, T: request::Request<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    match request::read::<T>(body) {
        Ok(Payload::One(request)) => Ok(request),
        Ok(Payload::Many(..)) => {
            Err(Problem::malformed("payload: one request, a JSON object, is expected"))
        }
        Err(malformed) => {
            let problem = Problem::malformed(malformed.detail);
            Err(match malformed.request_id {
                Some(id) => problem.request_id(id),
                None => problem,
            })
        }
    }
}

/// The engine's answer over HTTP, which no cache keeps.
pub(crate) fn answered(status: StatusCode, answer: &Answer<'_>) -> Response {
    let mut body = Vec::with_capacity(ANSWER_BYTES);
    // Texts and numbers: they can be written.
    let _ = serde_json::to_writer(&mut body, answer);
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Texts and numbers: they can be written.
pub(crate) fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// JSON that a cache may keep for a second, or that it has this already.
pub(crate) fn cached(headers: &HeaderMap, body: Bytes) -> Response {
    let tag = tag(&body);
    tagged(headers, &tag, body)
}

/// JSON of this tag that a cache may keep for a second, or that it has this already.
pub(crate) fn tagged(headers: &HeaderMap, tag: &str, body: Bytes) -> Response {
    let quoted = format!("\"{tag}\"");
    let has = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let has = has.is_some_and(|known| {
        known.split(',').any(|one| {
            let one = one.trim();
            one == "*" || one.strip_prefix("W/").unwrap_or(one) == quoted
        })
    });
    let mut sent = HeaderMap::new();
    sent.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHED));
    if let Ok(tag) = HeaderValue::from_str(&quoted) {
        sent.insert(header::ETAG, tag);
    }
    if has {
        return (StatusCode::NOT_MODIFIED, sent).into_response();
    }
    sent.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (sent, body).into_response()
}
