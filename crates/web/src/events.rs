//! Server-sent events.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};

/// A stream without news says that it is there: proxies cut silent ones.
pub const SIGN_OF_LIFE: Bytes = Bytes::from_static(b":\n\n");
/// When a cut stream is taken up again, ms, from and to: not by all at once.
const RETRY_MS: [u64; 2] = [1_000, 5_000];

/// One event; `data` has no line breaks.
pub fn event(id: &str, name: &str, data: &[u8]) -> Bytes {
    let mut event = format!("id: {id}\nevent: {name}\ndata: ").into_bytes();
    event.extend_from_slice(data);
    event.extend_from_slice(b"\n\n");
    event.into()
}

/// The answer that goes on for as long as there are frames.
pub fn respond(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let [from, to] = RETRY_MS;
    let begin = Bytes::from(format!("retry: {}\n\n", rand::random_range(from..=to)));
    let frames = stream::once(async { begin }).chain(frames).map(Ok::<Bytes, Infallible>);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy that collects would hold frames back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    (headers, Body::from_stream(frames)).into_response()
}
