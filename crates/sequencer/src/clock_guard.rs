//! The wall clock, held against one that cannot jump.

use giliran_wire::Timestamp;

use crate::effect::Now;

/// A clock that jumps further ahead than this is not followed, ms: no hold ends,
/// nothing is released until it is back, or the engine starts anew.
pub const MAX_JUMP_MS: u64 = 60_000;

/// A clock that jumps further back than this is waited for, ms: what was believed before is
/// what its way forth is held against. Half of [`MAX_JUMP_MS`], so that one that jumped back,
/// and was followed, is not too far ahead once it is right again.
const MAX_BACK_MS: u64 = MAX_JUMP_MS / 2;

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
        if expected.millis_since(now.wall) <= MAX_BACK_MS {
            *self = Self { wall: now.wall, mono_ms: now.mono_ms, ahead: false };
        }
        now.wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(second: i64, skew_ms: i64) -> Now {
        let wall = Timestamp::from_millis(1_795_000_000_000 + second * 1_000 + skew_ms);
        Now { wall, mono_ms: second.cast_unsigned() * 1_000 }
    }

    fn guard(skew_ms: i64) -> ClockGuard {
        ClockGuard { wall: now(0, skew_ms).wall, mono_ms: 0, ahead: false }
    }

    /// Simulated world 3000538: a clock that was behind by a second jumped back by almost a
    /// minute, was set right by a little more than one, and was not believed any more.
    #[test]
    fn a_clock_that_jumps_back_is_believed_again_once_it_is_right() {
        for was in [-2_000, 0, 2_000] {
            for back in [-500, -29_000, -31_000, -57_000, -59_999, -61_500, -3_600_000] {
                let mut guard = guard(was);
                guard.look(now(1, was));
                guard.look(now(5, back));
                for second in 6..9 {
                    assert_eq!(
                        guard.look(now(second, 400)),
                        now(second, 400).wall,
                        "{was}, {back}"
                    );
                    assert!(!guard.ahead, "{was}, {back}");
                }
            }
        }
    }

    #[test]
    fn a_clock_that_jumps_far_ahead_is_not_believed() {
        let mut guard = guard(0);
        guard.look(now(1, 0));
        assert_eq!(guard.look(now(2, 59_000)), now(2, 59_000).wall);
        let mut guard = self::guard(0);
        assert_eq!(guard.look(now(2, 61_000)), now(2, 0).wall);
        assert!(guard.ahead);
        assert_eq!(guard.look(now(3, 10)), now(3, 10).wall);
        assert!(!guard.ahead);
    }
}
