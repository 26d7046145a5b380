//! What every page has: head, language, style, script, and the headers that keep others out.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use giliran_web::page::Asset;
use maud::{DOCTYPE, Markup, html};

use super::words::Language;
use crate::problem::{Kind, Problem};
use crate::segment::Segment;

const SCRIPT: &str = include_str!("page.js");

static STYLE: LazyLock<Asset> = LazyLock::new(|| Asset::style(include_str!("page.css")));
static SCRIPT_FILE: LazyLock<Asset> = LazyLock::new(|| Asset::script(SCRIPT));

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
                    link rel="stylesheet" href={ "/assets/" (STYLE.name) };
                    script src={ "/assets/" (SCRIPT_FILE.name) } defer {}
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

/// `GET /assets/{name}`.
pub(crate) async fn asset(Segment(name): Segment) -> Response {
    match [&*STYLE, &*SCRIPT_FILE].into_iter().find(|asset| asset.name == name) {
        Some(asset) => asset.respond(),
        None => Problem::new(Kind::NoSuchAddress).into_response(),
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
