//! What a run says: in words for a terminal, as one HTML file that needs no
//! network, JSON, and tidy CSV.

mod charts;
mod files;
mod html;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
mod words;

pub use files::{json, tables};
pub use html::html;
pub use words::{summary, verdict};
