//! The client log: what the gateway asked and was answered, one line an attempt, as
//! `giliran audit --client-log` reads it.
//!
//! It names applicants as they asked. A thread of its own writes, so that no answer waits for a
//! disk; what the disk cannot follow is counted as lost.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use giliran_nats::clock::Moment;
use giliran_wire::answer::Verdict;
use giliran_wire::client_log::{Attempt, Choice, SeenBooking};
use giliran_wire::request::Book;

use crate::lanes::Heard;
use crate::metrics::Metrics;

/// Lines that wait for the disk.
const WAITING: usize = 65_536;
/// How long a line may stay in memory.
const FLUSHED_EVERY: Duration = Duration::from_secs(1);

/// What is said of a request in each of its lines.
#[derive(Debug)]
pub(crate) struct Wish(Attempt);

impl Wish {
    pub(crate) fn new(book: &Book<'_>) -> Self {
        let choices = book.choices.iter().map(|choice| Choice {
            office: choice.office.to_string(),
            date: choice.date.map(|date| date.to_string()),
            session: choice.session.as_ref().map(ToString::to_string),
        });
        Self(Attempt {
            request_id: book.request_id.to_string(),
            applicants: book.applicants.iter().map(ToString::to_string).collect(),
            choices: choices.collect(),
            opening: book.opening.as_ref().map(ToString::to_string),
            account: book.account.as_ref().map(ToString::to_string),
            channel: book.channel.as_ref().map(ToString::to_string),
            ..Attempt::default()
        })
    }

    fn attempt(&self, sent: Moment, heard: Option<&Heard>) -> Attempt {
        let mut attempt = Attempt { sent_us: micros(sent), ..self.0.clone() };
        let Some(Heard::Answer(answer, came)) = heard else { return attempt };
        attempt.answered_us = Some(micros(*came));
        let as_of = match &answer.verdict {
            Verdict::Granted { booking, as_of } => {
                attempt.outcome = Some("granted".to_owned());
                attempt.booking = Some(SeenBooking {
                    id: booking.id.to_string(),
                    office: booking.office.to_string(),
                    date: booking.date.to_string(),
                    session: booking.session.to_string(),
                    numbers: booking.numbers.to_vec(),
                });
                Some(*as_of)
            }
            Verdict::Entered { as_of, .. } => {
                attempt.outcome = Some("entered".to_owned());
                Some(*as_of)
            }
            Verdict::Rejected(rejection) => {
                attempt.outcome = Some("rejected".to_owned());
                attempt.reason = Some(rejection.reason.name().to_owned());
                rejection.as_of
            }
        };
        attempt.epoch = as_of.map(|position| position.epoch);
        attempt.seq = as_of.map(|position| position.seq);
        attempt
    }
}

/// µs on a clock that all processes of this machine share.
fn micros(moment: Moment) -> u64 {
    moment.as_micros()
}

/// Writes the log; a clone writes the same one.
#[derive(Debug, Clone)]
pub(crate) struct ClientLog {
    /// None: the end.
    lines: SyncSender<Option<Attempt>>,
    writer: Arc<Mutex<Option<JoinHandle<io::Result<()>>>>>,
}

impl ClientLog {
    /// Begins or continues the file; made for its owner alone.
    ///
    /// # Errors
    ///
    /// Where it cannot be opened, or others than its owner may read it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let mode = file.metadata()?.mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.display();
            return Err(io::Error::other(format!(
                "client log {path}: it names applicants, and others than its owner may use it \
                 (mode {mode:04o}, 0600 is expected); `chmod 0600 {path}` takes that away"
            )));
        }
        let (lines, waiting) = mpsc::sync_channel::<Option<Attempt>>(WAITING);
        let writer = std::thread::Builder::new().name("client-log".to_owned());
        let writer = writer.spawn(move || {
            let mut out = BufWriter::with_capacity(1 << 18, file);
            loop {
                match waiting.recv_timeout(FLUSHED_EVERY) {
                    Ok(Some(attempt)) => {
                        serde_json::to_writer(&mut out, &attempt)?;
                        out.write_all(b"\n")?;
                    }
                    Err(RecvTimeoutError::Timeout) => out.flush()?,
                    Ok(None) | Err(RecvTimeoutError::Disconnected) => return out.flush(),
                }
            }
        })?;
        Ok(Self { lines, writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// Adds a line; never waits.
    pub(crate) fn write(
        &self,
        wish: &Wish,
        sent: Moment,
        heard: Option<&Heard>,
        metrics: &Metrics,
    ) {
        match self.lines.try_send(Some(wish.attempt(sent, heard))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => metrics.log_lost(),
        }
    }

    /// Ends the file behind what was written so far; later lines are lost. Waits for the disk.
    ///
    /// # Errors
    ///
    /// Where the file could not be written.
    pub(crate) fn finish(&self) -> io::Result<()> {
        // Whoever has ended by itself says why below.
        let _ = self.lines.send(None);
        let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        writer.join().unwrap_or_else(|_| Err(io::Error::other("its thread panicked")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use giliran_wire::Position;
    use giliran_wire::answer::{Answer, Reason, Rejection};
    use giliran_wire::client_log::read;
    use giliran_wire::request::Choice as Asked;

    #[test]
    fn what_is_written_is_what_the_audit_reads() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clients.jsonl");
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let book = Book {
            request_id: "a".into(),
            applicants: vec!["1".into(), "2".into()].into(),
            choices: vec![Asked { office: "alpha".into(), date: None, session: None }].into(),
            opening: Some("w".into()),
            expires_at: None,
            account: Some("u".into()),
            channel: None,
            reference: None,
            wait: false,
        };
        let wish = Wish::new(&book);
        let as_of = Position { epoch: 3, seq: 7 };
        let verdict = Verdict::Rejected(Rejection::new(Reason::SoldOut).as_of(as_of));
        let answer = Answer { request_id: Some("a".into()), verdict };
        let sent = Moment::now();
        for heard in [Some(Heard::Answer(Box::new(answer), Moment::now())), None] {
            let log = ClientLog::open(&file).unwrap();
            log.write(&wish, sent, heard.as_ref(), &metrics);
            log.finish().unwrap();
        }
        let attempts = read(io::BufReader::new(std::fs::File::open(&file).unwrap()), "it").unwrap();
        assert_eq!(attempts.len(), 2, "the second opening goes on behind the first");
        assert_eq!(attempts[0].applicants, ["1", "2"]);
        assert_eq!(attempts[0].reason.as_deref(), Some("sold_out"));
        assert_eq!((attempts[0].epoch, attempts[0].seq), (Some(3), Some(7)));
        assert!(attempts[0].answered_us >= Some(attempts[0].sent_us));
        assert_eq!((attempts[1].outcome.as_deref(), attempts[1].answered_us), (None, None));
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_others_may_read_is_not_continued() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clients.jsonl");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = ClientLog::open(&file).unwrap_err().to_string();
        assert!(refused.contains("mode 0640") && refused.contains("chmod 0600"), "{refused}");
    }
}
