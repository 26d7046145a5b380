//! The wall clock, held against one that cannot jump.

use giliran_wire::Timestamp;

use crate::effect::Now;

/// A clock that jumps further ahead than this is not followed, ms: no hold ends,
/// nothing is released until it is back, or the engine starts anew.
pub const MAX_JUMP_MS: u64 = 60_000;

/// The wall clock, held against one that cannot jump.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockGuard {
    pub(crate) wall: Timestamp,
    pub(crate) mono_ms: u64,
    /// It is too far ahead to be believed.
    pub(crate) ahead: bool,
}

impl ClockGuard {
    /// The time to go by.
    pub(crate) fn look(&mut self, now: Now) -> Timestamp {
        let expected = self.wall.plus_millis(now.mono_ms.saturating_sub(self.mono_ms));
        self.ahead = now.wall.millis_since(expected) > MAX_JUMP_MS;
        if self.ahead {
            return expected;
        }
        // One that is behind is not followed either; engine time stands still.
        if expected.millis_since(now.wall) <= MAX_JUMP_MS {
            *self = Self { wall: now.wall, mono_ms: now.mono_ms, ahead: false };
        }
        now.wall
    }
}
