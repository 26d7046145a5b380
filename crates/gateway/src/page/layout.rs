//! What every page has: head, language, style, script, and the headers that keep others out.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::words::Language;
use crate::catalogue::tag;
use crate::problem::{Kind, Problem};
use crate::segment::Segment;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Their addresses change with what they hold, so that a browser may keep them for good.
static STYLE_AT: LazyLock<String> = LazyLock::new(|| format!("{}.css", tag(STYLE.as_bytes())));
static SCRIPT_AT: LazyLock<String> = LazyLock::new(|| format!("{}.js", tag(SCRIPT.as_bytes())));

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page that is being made.
pub(super) struct Page<'a> {
    pub(super) language: Language,
    pub(super) title: &'a str,
    /// Its own address, for the other language.
    pub(super) path: &'a str,
    /// The engine's time, ms: the browser's clock may be wrong.
    pub(super) now_ms: i64,
}

impl Page<'_> {
    pub(super) fn render(&self, main: &Markup) -> String {
        let Self { language, title, path, now_ms } = self;
        html! {
            (DOCTYPE)
            html lang=(language.code()) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width,initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) }
                    link rel="stylesheet" href={ "/assets/" (*STYLE_AT) };
                    script src={ "/assets/" (*SCRIPT_AT) } defer {}
                }
                body data-now=(now_ms) data-units=(language.units()) {
                    a.skip href="#main" { (language.skip()) }
                    header {
                        nav {
                            a href={ "/?lang=" (language.code()) } { (language.openings()) }
                            a href={ "/b?lang=" (language.code()) } { (language.own_booking()) }
                            @for other in Language::ALL.into_iter().filter(|one| one != language) {
                                a href={ (path) "?lang=" (other.code()) } lang=(other.code())
                                    hreflang=(other.code()) { (other.name()) }
                            }
                        }
                    }
                    main #main tabindex="-1" { (main) }
                }
            }
        }
        .into_string()
    }
}

/// A page with a status, as nobody may keep it.
pub(super) fn respond(status: StatusCode, html: String) -> Response {
    let headers = guarded("text/html; charset=utf-8", "no-store");
    (status, headers, html).into_response()
}

/// Headers that keep others out.
pub(super) fn guarded(content_type: &'static str, cached: &'static str) -> HeaderMap {
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

/// `GET /assets/{name}`.
pub(crate) async fn asset(Segment(name): Segment) -> Response {
    const FOR_GOOD: &str = "public, max-age=31536000, immutable";
    if name == *STYLE_AT {
        (guarded("text/css; charset=utf-8", FOR_GOOD), STYLE).into_response()
    } else if name == *SCRIPT_AT {
        (guarded("text/javascript; charset=utf-8", FOR_GOOD), SCRIPT).into_response()
    } else {
        Problem::new(Kind::NoSuchAddress).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_small() {
        assert!(SCRIPT.len() <= 8 * 1024, "{} bytes", SCRIPT.len());
    }

    #[test]
    fn nothing_of_a_name_becomes_markup() {
        let language = Language::English;
        let page = Page { language, title: "<img onerror=x>", path: "/", now_ms: 0 };
        let html = page.render(&html! { p { "<script>" } });
        assert!(!html.contains("<img") && !html.contains("<script>"), "{html}");
        assert!(!html.contains(" style=") && !html.contains("onclick"), "{html}");
    }
}
