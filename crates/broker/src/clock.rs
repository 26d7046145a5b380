//! The one real clock.

use std::time::{SystemTime, UNIX_EPOCH};

use giliran_wire::Timestamp;

/// The wall clock; every other crate gets time as an argument.
#[expect(clippy::disallowed_methods, reason = "this is the one place that asks")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
