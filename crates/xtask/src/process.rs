//! Running programs so that nothing outlives this process.
//!
//! A step's programs get a process group of their own. A Ctrl-C or SIGTERM that reaches this process is passed on to
//! the whole group (test binaries and the servers they started included), which then has [`GRACE`] to end before it is
//! killed. Signals go out through `sh`'s built-in `kill`: every machine has it, and it needs no unsafe code here.

use std::fmt;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// No single program runs longer than this; a hung test must not hang CI for its whole allowance.
pub(crate) const STEP_LIMIT: Duration = Duration::from_mins(40);

/// How long a process group may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Why a task ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A signal arrived; its number.
    Interrupted(u8),
    /// Something went wrong; what, and what to do about it.
    Broken(String),
}

impl Failure {
    pub(crate) fn broken(reason: impl fmt::Display) -> Self {
        Self::Broken(reason.to_string())
    }
}

/// The first signal that asked this process to end, if one did.
pub(crate) struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// From here on SIGINT, SIGTERM and SIGHUP no longer end this process; they are noted, and whoever waits asks.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let noted = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).map_err(Failure::broken)?;
            signal_hook::flag::register_usize(signal, Arc::clone(&noted), number).map_err(
                |error| Failure::Broken(format!("cannot listen for signal {signal}: {error}")),
            )?;
        }
        Ok(Self(noted))
    }

    /// The signal's number, once one arrived. Relaxed: the flag guards no other memory.
    pub(crate) fn signal(&self) -> Option<u8> {
        u8::try_from(self.0.load(Ordering::Relaxed)).ok().filter(|number| *number != 0)
    }
}

/// Who gets the terminal's Ctrl-C.
#[derive(Clone, Copy, PartialEq)]
enum Group {
    /// The program has a group of its own and is told by us.
    Own,
    /// The program shares our terminal and is told by it.
    Shared,
}

/// Runs a program in a process group of its own, without standard input.
pub(crate) fn run(command: &mut Command, interrupt: &Interrupt) -> Result<ExitStatus, Failure> {
    command.process_group(0).stdin(Stdio::null());
    wait(command, Group::Own, interrupt)
}

/// Runs a program that may talk with the person at the terminal.
pub(crate) fn run_in_foreground(
    command: &mut Command,
    interrupt: &Interrupt,
) -> Result<ExitStatus, Failure> {
    wait(command, Group::Shared, interrupt)
}

/// [`run`], where anything but success is a failure that names the command.
pub(crate) fn succeed(command: &mut Command, interrupt: &Interrupt) -> Result<(), Failure> {
    let status = run(command, interrupt)?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Broken(format!("{} ended with {status}", shown(command))))
}

fn wait(command: &mut Command, group: Group, interrupt: &Interrupt) -> Result<ExitStatus, Failure> {
    if let Some(signal) = interrupt.signal() {
        return Err(Failure::Interrupted(signal));
    }
    let mut child = command
        .spawn()
        .map_err(|error| Failure::Broken(format!("cannot run {}: {error}", shown(command))))?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(Failure::broken)? {
            return Ok(status);
        }
        if let Some(signal) = interrupt.signal() {
            stop(&mut child, group, signal)?;
            return Err(Failure::Interrupted(signal));
        }
        if group == Group::Own && started.elapsed() > STEP_LIMIT {
            stop(&mut child, group, SIGTERM.unsigned_abs().try_into().unwrap_or(15))?;
            let minutes = STEP_LIMIT.as_secs() / 60;
            return Err(Failure::Broken(format!(
                "{} was stopped after {minutes} minutes",
                shown(command)
            )));
        }
        thread::sleep(POLL);
    }
}

/// Passes the signal on and waits; whoever is still there after [`GRACE`] is killed.
fn stop(child: &mut Child, group: Group, signal: u8) -> Result<(), Failure> {
    let target = match group {
        Group::Own => format!("-{}", child.id()),
        Group::Shared => child.id().to_string(),
    };
    // A terminal has sent its own SIGINT to a program that shares it.
    if group == Group::Own || i32::from(signal) != SIGINT {
        send(&signal.to_string(), &target);
    }
    let asked = Instant::now();
    let mut ended = false;
    while asked.elapsed() < GRACE {
        ended = ended || child.try_wait().map_err(Failure::broken)?.is_some();
        // The leader may be gone while members of its group still finish.
        if ended && (group == Group::Shared || !send("0", &target)) {
            return Ok(());
        }
        thread::sleep(POLL);
    }
    send("KILL", &target);
    child.wait().map_err(Failure::broken)?;
    Ok(())
}

/// Sends a signal by name or number; `0` asks whether the process or `-group` is there. True if it could be sent.
pub(crate) fn send(signal: &str, target: &str) -> bool {
    Command::new("sh")
        .args([
            "-c",
            "kill -s \"$1\" -- \"$2\" 2>/dev/null || kill -\"$1\" -- \"$2\" 2>/dev/null",
            "sh",
            signal,
            target,
        ])
        .stdin(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A program's standard output, for asking a version; standard error is dropped.
pub(crate) fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The exit status as a shell would report it.
pub(crate) fn exit_byte(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let name = if program.ends_with("/cargo") { "cargo" } else { &program };
    std::iter::once(name.into())
        .chain(command.get_args().map(|arg| arg.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> Interrupt {
        Interrupt(Arc::new(AtomicUsize::new(0)))
    }

    #[test]
    fn an_interrupt_ends_the_whole_group() {
        let interrupt = quiet();
        let noted = Arc::clone(&interrupt.0);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pid");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $! > \"$0\"; wait"]).arg(&file);
        let waiter = thread::spawn(move || run(&mut command, &interrupt));
        let grandchild = loop {
            match std::fs::read_to_string(&file) {
                Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
                _ => thread::sleep(POLL),
            }
        };
        assert!(send("0", &grandchild), "the grandchild runs");
        noted.store(15, Ordering::Relaxed);
        let outcome = waiter.join().expect("no panic");
        assert!(matches!(outcome, Err(Failure::Interrupted(15))), "{outcome:?}");
        assert!(!send("0", &grandchild), "the grandchild is gone");
    }

    #[test]
    fn a_failing_command_is_named() {
        let error =
            succeed(Command::new("sh").args(["-c", "exit 3"]), &quiet()).expect_err("fails");
        assert!(
            matches!(&error, Failure::Broken(reason) if reason.contains("exit 3")),
            "{error:?}"
        );
    }

    #[test]
    fn nothing_starts_after_an_interrupt() {
        let interrupt = quiet();
        interrupt.0.store(2, Ordering::Relaxed);
        let outcome = run(&mut Command::new("true"), &interrupt);
        assert!(matches!(outcome, Err(Failure::Interrupted(2))), "{outcome:?}");
    }
}
