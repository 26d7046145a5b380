//! A part of a file, as a request asks for it: one range of bytes (RFC 9110, 14), so that a
//! download that broke off goes on where it was.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::problem::{Kind, Problem};

/// What of a file is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// Some bytes, one at least.
    Bytes(Range<u64>),
    /// Bytes that the file does not have.
    Missing,
}

/// What is asked for of a file of this length, whose `ETag` this is. Several ranges at once, and
/// what is no range, are answered with the whole, as whoever asks has to expect.
pub(crate) fn asked(method: &Method, headers: &HeaderMap, tag: &HeaderValue, length: u64) -> Part {
    if *method != Method::GET {
        return Part::Whole;
    }
    // Of another state of the file, or of a time, which is no name of one: the whole.
    if headers.get_all(header::IF_RANGE).iter().any(|known| known != tag) {
        return Part::Whole;
    }
    let mut ranges = headers.get_all(header::RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Part::Whole };
    range.to_str().ok().and_then(|range| part(range, length)).unwrap_or(Part::Whole)
}

/// None: it is no range, or several.
fn part(range: &str, length: u64) -> Option<Part> {
    let (unit, range) = range.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    // What is beyond any file is beyond this one.
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let bytes = if first.is_empty() {
        length.saturating_sub(number(last)?)..length
    } else {
        let first = number(first)?;
        let last = if last.is_empty() { u64::MAX } else { number(last)? };
        if last < first {
            return None;
        }
        first..last.saturating_add(1).min(length)
    };
    Some(if bytes.is_empty() { Part::Missing } else { Part::Bytes(bytes) })
}

/// Says which bytes of how many these are.
pub(crate) fn say(response: &mut Response, bytes: &Range<u64>, length: u64) {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let range = format!("bytes {}-{}/{length}", bytes.start, bytes.end - 1);
    if let Ok(range) = HeaderValue::from_str(&range) {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
}

/// Says how many bytes there are, to whoever asked for others.
pub(crate) fn missing(length: u64) -> Response {
    let problem = Problem::new(Kind::NoSuchRange).detail(format!("it has {length} bytes"));
    let mut response = problem.into_response();
    if let Ok(range) = HeaderValue::from_str(&format!("bytes */{length}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn of(method: &Method, pairs: &[(header::HeaderName, &str)], length: u64) -> Part {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value.parse().unwrap());
        }
        asked(method, &headers, &HeaderValue::from_static("\"a3f1\""), length)
    }

    #[test]
    fn a_range_is_what_the_file_has_of_it() {
        let range = |range: &str| of(&Method::GET, &[(header::RANGE, range)], 100);
        for (asked, bytes) in [
            ("bytes=0-", 0..100),
            ("bytes=0-0", 0..1),
            ("bytes=99-", 99..100),
            ("bytes=10-19", 10..20),
            ("Bytes= 10-1000", 10..100),
            ("bytes=0-18446744073709551615", 0..100),
            ("bytes=0-99999999999999999999", 0..100),
            ("bytes=-1", 99..100),
            ("bytes=-1000", 0..100),
        ] {
            assert_eq!(range(asked), Part::Bytes(bytes), "{asked}");
        }
        for beyond in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(range(beyond), Part::Missing, "{beyond}");
        }
        for none in
            ["", "bytes", "bytes=", "bytes=-", "bytes=5-4", "bytes=a-", "bytes=+1-", "lines=0-1"]
        {
            assert_eq!(range(none), Part::Whole, "{none}");
        }
        assert_eq!(range("bytes=0-1,5-6"), Part::Whole, "several at once");
        assert_eq!(of(&Method::GET, &[(header::RANGE, "bytes=0-")], 0), Part::Missing);
    }

    #[test]
    fn a_range_counts_of_this_state_of_the_file_and_once() {
        let range = (header::RANGE, "bytes=1-");
        let of = |method, more: &[_]| of(method, &[&[range.clone()][..], more].concat(), 9);
        assert_eq!(of(&Method::GET, &[(header::IF_RANGE, "\"a3f1\"")]), Part::Bytes(1..9));
        for other in ["\"b\"", "W/\"a3f1\"", "Fri, 27 Nov 2026 07:00:00 GMT"] {
            assert_eq!(of(&Method::GET, &[(header::IF_RANGE, other)]), Part::Whole, "{other}");
        }
        assert_eq!(of(&Method::HEAD, &[]), Part::Whole);
        assert_eq!(of(&Method::GET, &[(header::RANGE, "bytes=2-")]), Part::Whole);
    }
}
