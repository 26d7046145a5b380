//! What each process of a measurement costs: processor time, by `/proc`.

use std::time::Duration;

/// The kernel counts in hundredths of a second for whoever reads `/proc`, on every machine.
const TICK: Duration = Duration::from_millis(10);
/// User and system time among the fields that follow the process's name.
const USER: usize = 11;
const SYSTEM: usize = 12;

/// A process by what it does.
pub(super) type Process = (&'static str, u32);

/// Processor time that each process has used so far; zero where one is gone, or there is
/// no `/proc`.
pub(super) fn used(processes: &[Process]) -> Vec<Duration> {
    processes.iter().map(|(_, pid)| of(*pid).unwrap_or_default()).collect()
}

fn of(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<u32>().ok());
    Some(TICK * (ticks(USER)? + ticks(SYSTEM)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen_in_the_process_that_does_it() {
        let this = [("this", std::process::id())];
        let (before, mut spent) = (used(&this)[0], 0_u64);
        while used(&this)[0] < before + 3 * TICK {
            spent = (0..1_000_000_u64).fold(spent, |sum, n| std::hint::black_box(sum ^ n));
        }
        assert_eq!(of(u32::MAX), None, "{spent}");
    }
}
