//! One model of a report, and what makes text, a page, charts and files of it.
//!
//! A study fills [`Document`]s, [`Sheet`]s and a JSON value; [`Report`] renders them for a
//! terminal, as one HTML page, as pictures, as CSV and as JSON.
//!
//! A report is written in one [`Language`]; [`text!`] and [`say!`] hold each sentence in all of
//! them. Files for machines are the same in every language.
//!
//! Invariants: a text that came from elsewhere is escaped where it enters a page or a
//! chart, and quoted where it enters a table.
//!
//! Non-goals: any word about openings. What a report says stands with what it measures.

pub mod axis;
pub mod bilingual;
mod document;
mod figure;
mod language;
mod numbers;
mod page;
mod pictures;
mod report;
mod sheet;
pub mod stacks;
pub mod svg;
mod terminal;
pub mod times;

pub use document::{Cell, Chart, Document, Head, Table};
pub use figure::{Figure, Figures, Known, Unit};
pub use language::{Language, Text};
pub use numbers::digits;
pub use report::Report;
pub use sheet::{Sheet, or_empty};
