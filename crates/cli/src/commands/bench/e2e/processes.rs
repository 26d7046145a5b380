//! What each process of a measurement costs: processor time and memory, by `/proc`.

use std::time::{Duration, Instant};

/// The kernel counts in hundredths of a second for whoever reads `/proc`, on every machine.
const TICK: Duration = Duration::from_millis(10);
/// Among the fields that follow the process's name: its parent, the user and system time of
/// its own, and those of children that have ended.
const PARENT: usize = 1;
const OWN: [usize; 2] = [11, 12];
const ENDED: [usize; 2] = [13, 14];

/// A process by what it does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    pub(super) what: &'static str,
    pub(super) pid: u32,
    /// What its children use is its.
    with_children: bool,
}

impl Process {
    pub(super) fn one(what: &'static str, pid: u32) -> Self {
        Self { what, pid, with_children: false }
    }

    pub(super) fn with_children(what: &'static str, pid: u32) -> Self {
        Self { what, pid, with_children: true }
    }

    /// Processor time so far; none where it is gone, or there is no `/proc`.
    fn used(&self) -> Option<Duration> {
        let stat = stat(self.pid)?;
        let mut ticks = ticks(&stat, &OWN)?;
        if self.with_children {
            ticks += ticks_of_children(self.pid) + self::ticks(&stat, &ENDED)?;
        }
        Some(TICK * ticks)
    }
}

/// Processor time that processes had used at a moment.
pub(super) struct Used {
    at: Instant,
    by: Vec<Duration>,
}

impl Used {
    /// Zero where one is gone, or there is no `/proc`.
    pub(super) fn now(processes: &[Process]) -> Self {
        let by = processes.iter().map(|process| process.used().unwrap_or_default());
        Self { by: by.collect(), at: Instant::now() }
    }

    /// The time since then, and what each process has used in it; those behind the ones
    /// that were there had used nothing.
    pub(super) fn since(&self, processes: &[Process]) -> (Duration, Vec<Duration>) {
        let now = Self::now(processes);
        let before = self.by.iter().chain(std::iter::repeat(&Duration::ZERO));
        let used = now.by.iter().zip(before).map(|(now, before)| now.saturating_sub(*before));
        (now.at - self.at, used.collect())
    }
}

/// Resident bytes of a process; none where it is gone, or there is no `/proc`.
pub(super) fn resident(pid: u32) -> Option<u64> {
    kilobytes(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// Bytes that programs can still take without others being written out; none where there
/// is no `/proc`.
pub(super) fn available() -> Option<u64> {
    kilobytes("/proc/meminfo", "MemAvailable:")
}

/// The bytes of a line that begins so, as `VmRSS:  1234 kB`.
fn kilobytes(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// The fields behind the process's name.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

fn ticks(stat: &[String], fields: &[usize]) -> Option<u32> {
    fields.iter().map(|field| stat.get(*field)?.parse::<u32>().ok()).sum()
}

/// Of those that are alive; one that ends is counted by its parent from then on.
fn ticks_of_children(parent: u32) -> u32 {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let used = |pid| {
        let stat = stat(pid)?;
        (stat.get(PARENT)?.parse() == Ok(parent)).then(|| ticks(&stat, &OWN))?
    };
    pids.filter_map(used).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn work_is_seen_in_the_process_that_does_it() {
        let this = [Process::one("this", std::process::id())];
        let (before, mut spent) = (Used::now(&this), 0_u64);
        while before.since(&this).1[0] < 3 * TICK {
            spent = (0..1_000_000_u64).fold(spent, |sum, n| std::hint::black_box(sum ^ n));
        }
        assert!(Process::one("nobody", u32::MAX).used().is_none(), "{spent}");
    }

    #[test]
    fn work_of_children_is_their_parents_while_they_run_and_after() {
        let script = "(while :; do :; done) & echo $!; wait; echo ended; read line";
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(shell.stdout.take().unwrap()).lines();
        let child = said.next().unwrap().unwrap();
        let all = Process::with_children("shell", shell.id());
        let since = Instant::now();
        let while_it_runs = loop {
            let used = all.used().unwrap();
            if used >= 5 * TICK {
                break used;
            }
            assert!(since.elapsed() < Duration::from_secs(60), "the child's work is not seen");
        };
        assert!(Process::one("shell", shell.id()).used().unwrap() < 5 * TICK);
        assert!(Command::new("kill").arg(child).status().unwrap().success());
        assert_eq!(said.next().unwrap().unwrap(), "ended");
        assert!(all.used().unwrap() >= while_it_runs);
        shell.kill().unwrap();
        shell.wait().unwrap();
    }

    #[test]
    fn memory_that_is_used_is_resident() {
        let before = resident(std::process::id()).unwrap();
        let block = vec![1_u8; 64 << 20];
        let after = resident(std::process::id()).unwrap();
        assert!(after >= before + (block.len() as u64 * 3 / 4), "{before} {after} {}", block[7]);
        assert!(available().unwrap() > 0);
        assert_eq!(resident(u32::MAX), None);
    }
}
