//! Where an opening stands in its life.

use bincode::Encode;
use serde::{Deserialize, Serialize};

/// Whether an opening accepts requests.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, bincode::Decode,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its window has not begun.
    Scheduled,
    /// Its window has begun and is not over: it accepts requests.
    Open,
    /// Its window is over.
    Closed,
}
