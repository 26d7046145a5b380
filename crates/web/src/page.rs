//! Pages: the headers that keep others out, their files, and whether a form is ours.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::tag;

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// For a file whose address changes with what it holds.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";

/// A page with a status, as nobody may keep it.
pub fn respond(status: StatusCode, html: String) -> Response {
    let headers = guarded("text/html; charset=utf-8", "no-store");
    (status, headers, html).into_response()
}

/// Headers that keep others out.
pub fn guarded(content_type: &'static str, cached: &'static str) -> HeaderMap {
    let pairs = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, cached),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // Not less: without it a form would not say where it comes from.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    pairs.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}

/// A file that belongs to pages. Its name changes with what it holds, so that a browser may
/// keep it for good.
#[derive(Debug, Clone)]
pub struct Asset {
    /// Its name, the last part of its address.
    pub name: String,
    content_type: &'static str,
    text: &'static str,
}

impl Asset {
    /// A style.
    pub fn style(text: &'static str) -> Self {
        let name = format!("{}.css", tag(text.as_bytes()));
        Self { name, content_type: "text/css; charset=utf-8", text }
    }

    /// A script.
    pub fn script(text: &'static str) -> Self {
        let name = format!("{}.js", tag(text.as_bytes()));
        Self { name, content_type: "text/javascript; charset=utf-8", text }
    }

    /// The file.
    pub fn respond(&self) -> Response {
        (guarded(self.content_type, FOR_GOOD), self.text).into_response()
    }
}

/// Whether a form comes from one of our pages: browsers say so, older ones by the page's
/// address.
pub fn is_own_form(headers: &HeaderMap) -> bool {
    let said = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = said("sec-fetch-site") {
        return ["same-origin", "none"].contains(&site);
    }
    let from = said("origin").or_else(|| said("referer"));
    let from = from.and_then(|address| address.split_once("://"));
    let from = from.map(|(_, behind)| behind.split(['/', '?', '#']).next().unwrap_or_default());
    from.zip(said("host")).is_some_and(|(from, host)| from.eq_ignore_ascii_case(host))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_form_on_somebody_else_s_page_is_none_of_ours() {
        let is_own = |pairs: &[(&'static str, &str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
                .collect();
            is_own_form(&headers)
        };
        assert!(is_own(&[("sec-fetch-site", "same-origin")]));
        assert!(!is_own(&[
            ("sec-fetch-site", "cross-site"),
            ("origin", "http://h"),
            ("host", "h")
        ]));
        assert!(is_own(&[("origin", "http://h:1"), ("host", "h:1")]));
        assert!(is_own(&[("referer", "http://h:1/a?b"), ("host", "h:1")]));
        for wrong in [&[("host", "h")][..], &[("origin", "null"), ("host", "h")]] {
            assert!(!is_own(wrong), "{wrong:?}");
        }
        assert!(!is_own(&[("origin", "http://h.evil"), ("host", "h")]));
    }

    #[test]
    fn a_file_has_another_name_once_it_holds_something_else() {
        let (one, other) = (Asset::script("1"), Asset::script("2"));
        assert!(one.name != other.name && one.name.ends_with(".js"));
    }
}
