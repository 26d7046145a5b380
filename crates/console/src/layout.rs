//! What every page has: head, style, script, and the way to the others.

use std::sync::{Arc, LazyLock};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use giliran_web::page::{self, Asset};
use maud::{DOCTYPE, Markup, html};

use crate::console::Console;

const SCRIPT_TEXT: &str = include_str!("console.js");
static STYLE: LazyLock<Asset> = LazyLock::new(|| Asset::style(include_str!("console.css")));
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| Asset::script(SCRIPT_TEXT));

/// When a page without its script is fetched again, s.
const AGAIN_S: u64 = 5;

/// `GET /assets/{name}`.
pub(crate) async fn asset(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
) -> Response {
    match [&*STYLE, &*SCRIPT].into_iter().find(|asset| asset.name == name) {
        Some(asset) => asset.respond(),
        None => told(&console, StatusCode::NOT_FOUND, "There is nothing at this address."),
    }
}

/// A page with a sentence.
pub(crate) fn told(console: &Console, status: StatusCode, words: &str) -> Response {
    respond(console, status, "", &html! { h1 { "Giliran" } p.note { (words) } })
}

/// A page; `at`: its own address.
pub(crate) fn respond(console: &Console, status: StatusCode, at: &str, main: &Markup) -> Response {
    page::respond(status, render(console.namespace.prefix(), console.acts(), at, main))
}

fn render(prefix: &str, acts: bool, at: &str, main: &Markup) -> String {
    let all = [
        ("/", "Now"),
        ("/preflight", "Preflight"),
        ("/draws", "Draws"),
        ("/journal", "Journal"),
        ("/actions", "Actions"),
    ];
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (prefix) " – Giliran console" }
                link rel="stylesheet" href={ "/assets/" (STYLE.name) };
                script src={ "/assets/" (SCRIPT.name) } defer {}
                @if at == "/" {
                    noscript { meta http-equiv="refresh" content=(AGAIN_S); }
                }
            }
            body {
                a.skip href="#main" { "To the content" }
                header {
                    nav aria-label="Pages" {
                        @for (address, name) in all.into_iter().filter(|(a, _)| acts || *a != "/actions") {
                            a href=(address) aria-current=[(address == at).then_some("page")] { (name) }
                        }
                        span.muted { (prefix) @if !acts { ", only looking" } }
                    }
                }
                main #main tabindex="-1" { (main) }
            }
        }
    }
    .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_small_and_nothing_is_inline() {
        assert!(SCRIPT_TEXT.len() <= 2 * 1024, "{} bytes", SCRIPT_TEXT.len());
        let page = render("giliran.v1", false, "/", &html! { p { "<img onerror=x>" } });
        assert!(!page.contains("<img") && !page.contains(" style=") && !page.contains("onclick"));
        assert!(!page.contains("/actions"), "it only looks: {page}");
        assert!(render("giliran.v1", true, "/", &html! {}).contains("/actions"));
    }
}
