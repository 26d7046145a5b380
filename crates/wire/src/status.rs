//! Where a booking stands in its life.

use bincode::Encode;
use serde::{Deserialize, Serialize};

/// Where a booking stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, bincode::Decode,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waits for its confirmation until `hold_expires_at`.
    Held,
    /// Confirmed, or granted where no hold is asked for.
    Confirmed,
    /// Given back by applicants or by the authority.
    Cancelled,
    /// Its hold ran out.
    Expired,
}

impl Status {
    /// The name in JSON and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// True while it occupies its places.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Held | Self::Confirmed)
    }
}
