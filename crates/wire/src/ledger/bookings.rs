//! What becomes of the bookings of a day that an operator closes.

use bincode::Encode;
use serde::{Deserialize, Serialize};

/// What becomes of the bookings of a day that is closed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Encode, bincode::Decode,
)]
#[serde(rename_all = "snake_case")]
pub enum Bookings {
    /// They stay, and are listed.
    #[default]
    Keep,
    /// They are cancelled, with event and reason.
    Cancel,
    /// In order of their numbers each moves to the first slot of its office with
    /// room, the same session first, then by date; whom nothing fits stays.
    Move,
}

impl Bookings {
    /// As it stands on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Cancel => "cancel",
            Self::Move => "move",
        }
    }
}
