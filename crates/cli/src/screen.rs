//! What is seen of something that takes its time: on a terminal a picture, drawn over
//! the last one; elsewhere a line now and then.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// How often a line comes where no terminal is.
pub(crate) const LINE_EVERY: Duration = Duration::from_secs(2);
const PICTURE: &str = "{msg}";
/// A bar of what is done, and a line beside it.
const BAR: &str = "{bar:30} {msg}, {elapsed}";

/// Where a screen is.
#[derive(Debug, Clone, Copy)]
enum To {
    Output,
    Errors,
}

/// Stays as it was drawn last when it is dropped, unless it was cleared.
#[derive(Debug)]
pub(crate) struct Screen {
    to: To,
    /// None: there is no terminal.
    bar: Option<ProgressBar>,
    /// When the last line was written, where there is none.
    last: Option<Instant>,
}

impl Screen {
    /// For pictures of several lines, on standard output.
    pub(crate) fn of_pictures() -> Self {
        Self::new(To::Output, PICTURE)
    }

    /// For a bar, on standard error: what comes of it goes to standard output.
    pub(crate) fn of_a_bar() -> Self {
        Self::new(To::Errors, BAR)
    }

    fn new(to: To, template: &str) -> Self {
        let (is_terminal, target) = match to {
            To::Output => (std::io::stdout().is_terminal(), ProgressDrawTarget::stdout()),
            To::Errors => (std::io::stderr().is_terminal(), ProgressDrawTarget::stderr()),
        };
        let bar = is_terminal.then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), target);
            let bar = bar.with_finish(ProgressFinish::Abandon);
            match ProgressStyle::with_template(template) {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self { to, bar, last: None }
    }

    /// Draws the picture, or writes the line if it is time for one.
    pub(crate) fn draw(&mut self, picture: impl FnOnce() -> String, line: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_message(picture());
        } else if self.last.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            self.last = Some(Instant::now());
            self.say(&line());
        }
    }

    /// How far it is, where there is a bar.
    pub(crate) fn set_progress(&self, done: usize, all: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.bar.is_some()
    }

    /// Writes a line, whenever the last one was. A reader who has seen enough and closed
    /// the pipe is no failure.
    pub(crate) fn say(&self, line: &str) {
        let _ = match self.to {
            To::Output => writeln!(std::io::stdout(), "{line}"),
            To::Errors => writeln!(std::io::stderr(), "{line}"),
        };
    }

    /// Draws the last one, which stays.
    pub(crate) fn end(mut self, picture: impl FnOnce() -> String, line: impl FnOnce() -> String) {
        self.last = None;
        self.draw(picture, line);
        self.bar.iter().for_each(ProgressBar::abandon);
    }

    /// Nothing of it stays.
    pub(crate) fn clear(self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_can_be_read() {
        for template in [PICTURE, BAR] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn without_a_terminal_lines_come_now_and_then() {
        let mut screen = Screen { to: To::Errors, bar: None, last: None };
        let mut lines = 0;
        for _ in 0..3 {
            screen.draw(
                || unreachable!("there is no terminal"),
                || {
                    lines += 1;
                    format!("line {lines}")
                },
            );
        }
        assert_eq!(lines, 1, "each {LINE_EVERY:?}");
        screen.end(String::new, || {
            lines += 1;
            "the last one".to_owned()
        });
        assert_eq!(lines, 2, "the last one comes at once");
    }
}
