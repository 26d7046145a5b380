//! How a run ended.

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Ended {
    /// Everybody was served or gave up.
    Complete,
    /// It was asked to stop.
    Interrupted {
        /// When, s from the opening.
        at_s: f64,
    },
    /// Nobody answered any more.
    EngineGone {
        /// Since when, s from the opening.
        at_s: f64,
    },
}
