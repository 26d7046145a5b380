//! What every report is made of: numbers as text, charts, and the pieces of a page.
//!
//! Invariants: a text that came from elsewhere is escaped where it enters a page or a
//! chart, and quoted where it enters a table.
//!
//! Non-goals: any word about openings. What a report says stands with what it measures.

mod page;
mod pictures;
pub mod svg;
mod text;

pub use page::{STYLE, figure};
pub use pictures::pictures;
pub use text::{digits, quoted};
