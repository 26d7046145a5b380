//! Pieces of an HTML page.

use std::fmt::Write as _;

use crate::svg::escaped;

/// The style of every page, and of the charts in it.
pub const STYLE: &str = include_str!("style.css");

/// Adds a chart with its title, and in words what it shows.
pub fn figure(page: &mut String, title: &str, svg: &str, about: &str) {
    let _ = write!(
        page,
        "<figure><h3>{}</h3>{svg}<figcaption>{}</figcaption></figure>",
        escaped(title),
        escaped(about)
    );
}
