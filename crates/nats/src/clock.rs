//! The real clocks: the one on the wall, and one that cannot jump.

#[cfg(not(target_os = "linux"))]
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::message::StreamMessage;
use giliran_wire::Timestamp;

/// The wall clock; every other crate gets time as an argument.
#[expect(clippy::disallowed_methods, reason = "this is the one place that asks")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How far a clock is ahead that said `asked` and `answered` before and after
/// another one said `server`, in ms; below 0: behind; 0 where it may be neither.
pub(crate) fn offset_ms(asked: Timestamp, server: Timestamp, answered: Timestamp) -> i64 {
    let server = server.as_millis();
    if server < asked.as_millis() {
        asked.as_millis() - server
    } else {
        (answered.as_millis() - server).min(0)
    }
}

/// When the broker stored a message, by its own clock.
pub(crate) fn stored_at(message: &StreamMessage) -> Timestamp {
    let ms = message.time.unix_timestamp_nanos() / 1_000_000;
    Timestamp::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// A moment on a clock that never runs backwards, and that goes on while the
/// machine sleeps: what a lease is counted on. A clock that stands still while a
/// virtual machine is suspended would make a lease that ended long ago look as
/// if it still stood.
///
/// Linux has such a clock (`CLOCK_BOOTTIME`); elsewhere the monotonic one stands
/// in for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    #[cfg(target_os = "linux")]
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let (seconds, nanos) = (time.tv_sec.try_into(), time.tv_nsec.try_into());
        Self(Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0)))
    }

    #[cfg(not(target_os = "linux"))]
    pub fn now() -> Self {
        static START: OnceLock<std::time::Instant> = OnceLock::new();
        Self(START.get_or_init(std::time::Instant::now).elapsed())
    }

    /// µs on that clock: all processes of a machine that has one count them alike.
    pub fn as_micros(self) -> u64 {
        u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX)
    }

    /// How long ago it was.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// How long after `earlier` it is; zero where it is not.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_follow_each_other() {
        let first = Moment::now();
        std::thread::sleep(Duration::from_millis(2));
        let second = Moment::now();
        assert!(second.since(first) >= Duration::from_millis(2));
        assert_eq!(first.since(second), Duration::ZERO);
        assert!(first.elapsed() >= second.since(first));
        assert!(second.as_micros() >= first.as_micros() + 2_000);
    }

    /// Uptime as the system tells it counts sleep in; so must a moment.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_moment_counts_what_the_machine_slept() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!((Moment::now().0.as_secs_f64() - uptime).abs() < 1.0);
    }

    #[test]
    fn an_offset_is_what_the_way_of_the_question_does_not_explain() {
        let at = Timestamp::from_millis;
        assert_eq!(offset_ms(at(1_000), at(1_010), at(1_020)), 0);
        assert_eq!(offset_ms(at(5_000), at(1_000), at(5_020)), 4_000, "ahead");
        assert_eq!(offset_ms(at(1_000), at(5_000), at(1_020)), -3_980, "behind");
    }
}
