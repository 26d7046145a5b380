//! What a run says: in words for a terminal, as one HTML file that needs no
//! network, JSON, and tidy CSV.

mod words;

pub use words::{summary, verdict};
