//! Whether this machine's clock can be believed, held against the broker's.
//!
//! What an engine's clock brings about is on record for good: openings that opened
//! and closed, holds that ended, openings that left memory. So a candidate asks a
//! witness that is not its own: when the broker stored the lease's own record just
//! now, and the ledger's last block.

use giliran_wire::Timestamp;

/// How far the clock may be from the broker's, in ms.
pub(crate) const MAX_OFFSET_MS: i64 = 60_000;

/// What is wrong with a clock that says `now`; none: nothing. `ahead_ms`: how far it is
/// ahead of the broker's; below 0: behind. `last_stored`: when the broker stored the
/// ledger's last block, by its own clock.
pub(crate) fn wrong(
    now: Timestamp,
    ahead_ms: Option<i64>,
    last_stored: Option<Timestamp>,
) -> Option<String> {
    let found = match ahead_ms {
        Some(ahead) if ahead > MAX_OFFSET_MS => {
            format!("is {} ahead of the broker's", span(ahead))
        }
        Some(ahead) if ahead < -MAX_OFFSET_MS => {
            format!("is {} behind the broker's", span(-ahead))
        }
        _ => {
            // The broker may be on this machine, and its clock as wrong.
            let behind = last_stored?.as_millis().saturating_sub(now.as_millis());
            if behind <= MAX_OFFSET_MS {
                return None;
            }
            format!("is {} behind the moment at which the last block was stored", span(behind))
        }
    };
    Some(format!(
        "this machine's clock ({now}) {found}: it does not take over by it, since openings would \
         open and close at the wrong time, for good. Set the clock right, and it goes on by \
         itself. If it is the broker's that is wrong, set that right; or have this engine \
         started with --trust-clock, a name and a reason"
    ))
}

/// A span of time for people, in ms.
fn span(ms: i64) -> String {
    let seconds = ms / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + ms)
    }

    #[test]
    fn a_clock_is_believed_within_a_minute_of_the_brokers() {
        for ahead in [None, Some(0), Some(MAX_OFFSET_MS), Some(-MAX_OFFSET_MS)] {
            assert_eq!(wrong(at(0), ahead, Some(at(-5))), None, "{ahead:?}");
            assert_eq!(wrong(at(0), ahead, None), None, "{ahead:?}");
        }
        let ahead = wrong(at(0), Some(40 * 86_400_000), None).unwrap();
        assert!(ahead.contains("40 d 0 h ahead") && ahead.contains("--trust-clock"), "{ahead}");
        let behind = wrong(at(0), Some(-MAX_OFFSET_MS - 1_000), None).unwrap();
        assert!(behind.contains("61 s behind the broker's"), "{behind}");
    }

    #[test]
    fn the_last_block_is_a_witness_where_the_broker_is_as_wrong() {
        assert_eq!(wrong(at(0), Some(0), Some(at(MAX_OFFSET_MS))), None);
        let behind = wrong(at(0), Some(0), Some(at(7_500_000))).unwrap();
        assert!(behind.contains("2 h 5 min behind the moment"), "{behind}");
        // An idle ledger says nothing about a clock that is ahead of it.
        assert_eq!(wrong(at(0), Some(0), Some(at(-86_400_000))), None);
    }
}
