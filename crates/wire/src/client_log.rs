//! What clients saw: one JSON object a line, one line an attempt.
//!
//! The file names applicants as they asked; it belongs to who sent the requests
//! and is to be kept as such.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::Date;
use crate::ledger::OpeningRecord;

/// One request that was sent, and the answer it got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it was sent, µs on the client's steady clock.
    pub sent_us: u64,
    /// When the answer came; none: none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_us: Option<u64>,
    /// Names the wish; every attempt of it has the same.
    pub request_id: String,
    /// Ids of the applicants, as the client sent them.
    pub applicants: Vec<String>,
    /// What for, in order of preference.
    pub choices: Vec<Choice>,
    /// The opening that was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<String>,
    /// The account that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The channel it came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Whom the load was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cohort: Option<String>,
    /// `granted`, `rejected`, `entered`; none: no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The booking that the answer had; `None` where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booking: Option<SeenBooking>,
    /// Epoch of the position that the answer named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Sequence of the position that the answer named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Answers beyond the first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_answers: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// One acceptable office, day and session, as it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Id of the office that the choice names.
    pub office: String,
    /// The day; none: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// The session; none: any that need not be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

impl Choice {
    /// The slots of an opening that fit it, in order.
    pub fn slots<'a>(&'a self, record: &'a OpeningRecord) -> impl Iterator<Item = u32> + 'a {
        let office = record.offices.iter().position(|office| office.id == self.office);
        // What is no day is none of the opening's.
        let date: Option<Option<Date>> = self.date.as_deref().map(|date| date.parse().ok());
        let has_session = move |index| {
            record.place(index).is_some_and(|(_, _, session)| {
                let plain = !session.restricted && !session.explicit;
                self.session.as_deref().map_or(plain, |wanted| wanted == session.id)
            })
        };
        let slots = (0..).zip(&record.slots).filter(move |(index, slot)| {
            Some(slot.office as usize) == office
                && date.is_none_or(|date| date == Some(slot.date))
                && has_session(*index)
        });
        slots.map(|(index, _)| index)
    }
}

/// A booking as an answer showed it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenBooking {
    /// Id of the booking, as the answer had it.
    pub id: String,
    /// Id of the office, as the answer had it.
    pub office: String,
    /// Date of the slot, `YYYY-MM-DD`.
    pub date: String,
    /// Id of the session, as the answer had it.
    pub session: String,
    /// Queue numbers, in the order of the applicants.
    pub numbers: Vec<u16>,
}

/// Writes a client log, one line an attempt.
#[derive(Debug)]
pub struct Writer<W: Write>(W);

impl<W: Write> Writer<W> {
    /// Begins a new log. A line is written in several pieces: `out` is to be buffered.
    pub fn new(out: W) -> Self {
        Self(out)
    }

    /// Adds a line.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn write(&mut self, attempt: &Attempt) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, attempt)?;
        self.0.write_all(b"\n")
    }

    /// Writes what is still in memory.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Reads a log; `name` is what errors call it.
///
/// # Errors
///
/// Where it cannot be read, or a line is none of a log: which.
pub fn read(log: impl BufRead, name: &str) -> io::Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    for (number, line) in log.lines().enumerate() {
        let attempt = serde_json::from_str(&line?)
            .map_err(|error| io::Error::other(format!("{name}:{}: {error}", number + 1)))?;
        attempts.push(attempt);
    }
    Ok(attempts)
}
