//! The client that is tested: a process that takes a line and answers with a line.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long a client may take to start.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take for what needs no answer of the engine.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// How long it may take to end, once its standard input is closed.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// How long its standard error may take to be read, once it has ended.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Lines of its standard error that are shown where it fails.
const SHOWN_LINES: usize = 12;
/// Characters of a line that are shown.
const SHOWN_CHARACTERS: usize = 400;

/// Why a case did not pass.
#[derive(Debug)]
pub(super) enum Ended {
    /// The client said that it does not do that; why.
    LeftOut(String),
    /// What was expected, and what came instead.
    Failed(String),
}

pub(super) fn failed<T>(why: impl Into<String>) -> Result<T, Ended> {
    Err(Ended::Failed(why.into()))
}

/// Fails with what was not so.
pub(super) fn expect(holds: bool, why: impl FnOnce() -> String) -> Result<(), Ended> {
    if holds { Ok(()) } else { failed(why()) }
}

/// True where the program of a command is a file, or one on PATH.
pub(super) fn is_there(program: &Path) -> bool {
    if program.components().count() > 1 {
        return program.is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A client, killed when dropped.
pub(super) struct ClientProcess {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    errors: Arc<Mutex<VecDeque<String>>>,
    /// What was said and answered, for whoever mends the client.
    transcript: Vec<String>,
}

impl ClientProcess {
    pub(super) fn start(command: &[OsString], environment: &[(&str, &str)]) -> Result<Self, Ended> {
        let (program, arguments) = command.split_first().ok_or_else(|| nothing_to_start(""))?;
        let mut child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| nothing_to_start(&format!("{}: {e}", program.display())))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(said)) = pipes else {
            return failed("the client has no standard input and output");
        };
        let errors = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&errors);
        tokio::spawn(async move {
            let mut lines = BufReader::new(said).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == SHOWN_LINES {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
        let output = BufReader::new(output).lines();
        Ok(Self { child, input, output, errors, transcript: Vec::new() })
    }

    /// Closes its standard input, and waits until it has ended, but not for long: what it has
    /// started it can end as well.
    pub(super) async fn end(mut self) {
        drop(self.input);
        let _ = tokio::time::timeout(ENDS_WITHIN, self.child.wait()).await;
    }

    /// Waits until it is there, and connected where it needs to be: whatever it answers.
    pub(super) async fn ready(&mut self) -> Result<(), Ended> {
        match self.tell_within(&json!({ "do": "start" }), READY_WITHIN).await {
            Ok(_) | Err(Ended::LeftOut(_)) => Ok(()),
            Err(failed) => Err(failed),
        }
    }

    /// Says a line and takes the one that answers it.
    pub(super) async fn tell(&mut self, line: &Value) -> Result<Value, Ended> {
        self.tell_within(line, ANSWERS_WITHIN).await
    }

    /// The same, where the client may take longer.
    pub(super) async fn tell_within(
        &mut self,
        line: &Value,
        within: Duration,
    ) -> Result<Value, Ended> {
        self.transcript.push(format!("kit     {}", shortened(&line.to_string())));
        let (input, output) = (&mut self.input, &mut self.output);
        let exchange = async move {
            input.write_all(format!("{line}\n").as_bytes()).await?;
            input.flush().await?;
            output.next_line().await
        };
        let answered = match tokio::time::timeout(within, exchange).await {
            Err(_) => return failed(format!("no line within {} s", within.as_secs())),
            Ok(Err(_) | Ok(None)) => {
                // What it said last is read first.
                tokio::time::sleep(LAST_WORDS).await;
                return failed("the client has ended");
            }
            Ok(Ok(Some(answered))) => answered,
        };
        self.transcript.push(format!("client  {}", shortened(&answered)));
        let read = serde_json::from_str::<Value>(&answered);
        let Some(read) = read.ok().filter(Value::is_object) else {
            let shown = shortened(&answered);
            return failed(format!("a JSON object in one line is expected, not: {shown}"));
        };
        match (&read["cannot"], &read["error"]) {
            (Value::String(why), _) => Err(Ended::LeftOut(why.clone())),
            (_, Value::String(why)) => failed(format!("the client says: {why}")),
            _ => Ok(read),
        }
    }

    /// The last line said and answered, and what it wrote to standard error.
    pub(super) fn last_exchange(&self) -> String {
        let last = self.transcript.len().saturating_sub(2);
        self.told(&self.transcript[last..])
    }

    /// What was said both ways, and what it wrote to standard error.
    pub(super) fn story(&self) -> String {
        self.told(&self.transcript)
    }

    fn told(&self, lines: &[String]) -> String {
        let mut story = String::new();
        for line in lines {
            let _ = writeln!(story, "      {line}");
        }
        for line in self.errors.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = writeln!(story, "      stderr  {}", shortened(line));
        }
        story
    }
}

fn nothing_to_start(why: &str) -> Ended {
    Ended::Failed(format!("the client does not start: {why}"))
}

fn shortened(line: &str) -> String {
    let mut short: String = line.chars().take(SHOWN_CHARACTERS).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

/// True where all that is expected is there, and so; what is expected to be null may be left out.
pub(super) fn contains(value: &Value, expected: &Value) -> bool {
    match (value, expected) {
        (Value::Object(value), Value::Object(expected)) => {
            expected.iter().all(|(name, expected)| match value.get(name) {
                Some(value) => contains(value, expected),
                None => expected.is_null(),
            })
        }
        (Value::Array(value), Value::Array(expected)) => {
            value.len() == expected.len()
                && value.iter().zip(expected).all(|(value, expected)| contains(value, expected))
        }
        _ => value == expected,
    }
}

/// The first place at which what is expected is missing or different.
pub(super) fn difference(value: &Value, expected: &Value) -> String {
    fn within(at: &str, value: &Value, expected: &Value) -> Option<String> {
        match (value, expected) {
            (Value::Object(value), Value::Object(fields)) => {
                fields.iter().find_map(|(name, of)| {
                    let place = format!("{at}.{name}");
                    within(&place, value.get(name).unwrap_or(&json!(null)), of)
                })
            }
            (Value::Array(items), Value::Array(of)) if items.len() == of.len() => {
                let mut pairs = items.iter().zip(of).enumerate();
                pairs.find_map(|(n, (item, of))| within(&format!("{at}[{n}]"), item, of))
            }
            _ if value == expected => None,
            _ => {
                Some(format!("{}: {expected} is expected, not {value}", at.trim_start_matches('.')))
            }
        }
    }
    within("", value, expected).unwrap_or_else(|| "nothing differs".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_no_difference_and_less_is_one() {
        let expected = json!({ "a": { "b": [1, 2] }, "c": null });
        let more = json!({ "a": { "b": [1, 2], "d": 3 } });
        assert!(contains(&more, &expected));
        for (wrong, said) in [
            (json!({ "a": { "b": [1, 3] } }), "a.b[1]: 2 is expected, not 3"),
            (json!({ "a": { "b": [1] } }), "a.b: [1,2] is expected, not [1]"),
            (json!({ "a": null }), "a: {\"b\":[1,2]} is expected, not null"),
            (json!({ "a": { "b": [1, 2] }, "c": 1 }), "c: null is expected, not 1"),
        ] {
            assert!(!contains(&wrong, &expected), "{wrong}");
            assert_eq!(difference(&wrong, &expected), said);
        }
    }
}
