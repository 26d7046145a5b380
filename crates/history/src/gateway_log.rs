//! What a gateway saw: who asked when, and what each was told.
//!
//! One JSON object a line, one line an attempt; the log that load generators write
//! ([`giliran_wire::client_log`]) is one. It may name applicants as they asked: it belongs to who
//! runs the gateway. They are only compared with each other here.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use giliran_wire::BookingId;
use giliran_wire::answer::{Reason, ReasonKind};
use serde::Deserialize;

use giliran_wire::client_log::{Choice, SeenBooking};

use crate::recorded::RecordedOpening;

/// One request that was sent, and the answer it got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct GatewayLine {
    /// When it was sent, µs on the gateway's steady clock.
    pub sent_us: u64,
    /// When the answer came; none: none came.
    #[serde(default)]
    pub answered_us: Option<u64>,
    pub request_id: String,
    /// Who asked; may be left out.
    #[serde(default)]
    pub applicants: Vec<String>,
    /// For how many, where `applicants` is left out.
    #[serde(default)]
    pub places: Option<u32>,
    /// What for, in order of preference.
    #[serde(default)]
    pub choices: Vec<Choice>,
    /// The opening that was named.
    #[serde(default)]
    pub opening: Option<String>,
    /// The account that asked, in any form.
    #[serde(default)]
    pub account: Option<String>,
    /// The channel it came through.
    #[serde(default)]
    pub channel: Option<String>,
    /// Whom the gateway takes it for: a network, a kind of device.
    #[serde(default)]
    pub cohort: Option<String>,
    /// `granted`, `rejected`, `entered`; none: no answer.
    #[serde(default)]
    pub outcome: Option<String>,
    /// Why it was rejected.
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub booking: Option<SeenBooking>,
    /// The receipt of one who entered.
    #[serde(default)]
    pub receipt: Option<String>,
    /// Sequence of the ledger position that the answer names, its `as_of`.
    #[serde(default)]
    pub seq: Option<u64>,
}

impl GatewayLine {
    /// How many places it asked for.
    pub(super) fn size(&self) -> u32 {
        match self.applicants.len() {
            0 => self.places.unwrap_or(1),
            n => n as u32,
        }
    }
}

/// Reads a log.
///
/// # Errors
///
/// Where the file cannot be read, or a line is none of a log: which.
pub fn read(path: &Path) -> io::Result<Vec<GatewayLine>> {
    parse(BufReader::new(std::fs::File::open(path)?))
}

pub(super) fn parse(log: impl BufRead) -> io::Result<Vec<GatewayLine>> {
    let mut lines = Vec::new();
    for (number, line) in log.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |what: String| io::Error::other(format!("line {}: {what}", number + 1));
        let line: GatewayLine =
            serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        line.check().map_err(wrong)?;
        lines.push(line);
    }
    Ok(lines)
}

/// Most people of a party.
const MOST_PLACES: usize = 5;
/// What an answer may say.
const OUTCOMES: [&str; 4] = ["granted", "rejected", "entered", "changed"];

impl GatewayLine {
    /// What no gateway can have seen.
    fn check(&self) -> Result<(), String> {
        let places = match self.applicants.len() {
            0 => self.places.unwrap_or(1) as usize,
            n => n,
        };
        if !(1..=MOST_PLACES).contains(&places) {
            return Err(format!("a party of {places}: 1..={MOST_PLACES}"));
        }
        if let Some(outcome) = self.outcome.as_deref()
            && !OUTCOMES.contains(&outcome)
        {
            return Err(format!("outcome {outcome:?}: one of {}", OUTCOMES.join(", ")));
        }
        if let Some(reason) = self.reason.as_deref()
            && Reason::from_name(reason).is_none()
        {
            return Err(format!(
                "reason {reason:?} is not a reason of the contract; expected one of \
                 docs/wire-protocol.md"
            ));
        }
        Ok(())
    }
}

/// Why a log does not go with an opening.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// No line names it, or could be of it.
    #[error("holds no request for opening {0:?}; its lines name {1}")]
    Elsewhere(String, String),
    /// Nothing says that it is of this one.
    #[error(
        "may be of any opening: no line names {0:?}, and none was answered a booking or a receipt"
    )]
    Nameless(String),
    /// It asks at an office at which the opening has no places.
    #[error("is not of opening {0:?}: it asks at {1}, which has no places there")]
    Offices(String, String),
    /// It was answered later than the ledger goes.
    #[error("was answered at position {1}, but the ledger of opening {0:?} ends at {2}")]
    Later(String, u64, u64),
    /// Its bookings are others.
    #[error("is not of opening {0:?}: none of the {1} bookings it was answered is in the ledger")]
    Strange(String, usize),
}

/// Those who asked together, over all their attempts.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    pub(super) sent_us: u64,
    pub(super) first: usize,
    /// When it first asked while the opening could answer, and its last line.
    pub(super) asked_us: Option<u64>,
    pub(super) last: usize,
    /// The booking they got.
    pub(super) booking: Option<usize>,
    /// When the first answer with a booking came, µs.
    pub(super) answered_us: Option<u64>,
}

/// A gateway's log, as far as it is of one opening.
#[derive(Debug, Clone)]
pub struct Gateway {
    pub(super) lines: Vec<GatewayLine>,
    pub(super) askers: Vec<Asker>,
    /// Lines that name another opening.
    pub elsewhere: u64,
    /// Bookings it was told of that are not in the ledger: must be 0.
    pub missing: u64,
    /// Bookings of the ledger that it does not know.
    pub unseen: u64,
}

impl Gateway {
    /// Reads a log as one of this opening.
    ///
    /// # Errors
    ///
    /// [`Mismatch`] where it is another's.
    pub fn of(lines: Vec<GatewayLine>, recorded: &RecordedOpening) -> Result<Self, Mismatch> {
        let id = recorded.record.id.as_str();
        let mut named: Vec<String> =
            lines.iter().filter_map(|line| line.opening.clone()).filter(|o| o != id).collect();
        let all = lines.len();
        let lines: Vec<GatewayLine> = lines
            .into_iter()
            .filter(|line| line.opening.as_deref().is_none_or(|opening| opening == id))
            .collect();
        if lines.is_empty() {
            named.sort_unstable();
            named.dedup();
            let named = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
            return Err(Mismatch::Elsewhere(id.to_owned(), named));
        }
        fits(&lines, recorded)?;
        let mut seen = Seen::default();
        for (index, line) in lines.iter().enumerate() {
            seen.line(index, line, recorded);
        }
        let Seen { askers, missing, answered, .. } = seen;
        if answered > 0 && missing == answered {
            return Err(Mismatch::Strange(id.to_owned(), answered));
        }
        let mut seen: Vec<usize> = askers.iter().filter_map(|asker| asker.booking).collect();
        seen.sort_unstable();
        seen.dedup();
        let unseen = (recorded.bookings.len() - seen.len()) as u64;
        let elsewhere = (all - lines.len()) as u64;
        Ok(Self { lines, askers, elsewhere, missing: missing as u64, unseen })
    }

    /// Rejected for what they asked or had, not for want of places: no order could
    /// have served them.
    pub(super) fn barred(&self, asker: &Asker) -> bool {
        let reason = self.lines[asker.last].reason.as_deref();
        let lasts = |reason: &str| match Reason::from_name(reason).map(Reason::kind) {
            Some(ReasonKind::Request | ReasonKind::Bookings) | None => true,
            Some(ReasonKind::Places | ReasonKind::Unsettled) => false,
        };
        asker.booking.is_none() && reason.is_some_and(lasts)
    }

    /// The line with which somebody asked first.
    pub(super) fn first(&self, asker: &Asker) -> &GatewayLine {
        &self.lines[asker.first]
    }
}

/// What a log tells, line by line.
#[derive(Default)]
struct Seen<'a> {
    askers: Vec<Asker>,
    /// Those who asked together, and which of the askers they are.
    known: HashMap<Vec<&'a str>, usize>,
    /// Answers that tell of a booking, and those of them that the ledger does not hold.
    answered: usize,
    missing: usize,
}

impl<'a> Seen<'a> {
    fn line(&mut self, index: usize, line: &'a GatewayLine, recorded: &RecordedOpening) {
        let find = |id: &str| {
            let id = id.parse::<BookingId>().ok()?;
            recorded.by_booking.get(&id).copied()
        };
        let asker = self.asker(index, line);
        if let Some(seen) = &line.booking {
            let found = find(&seen.id);
            if let Some(booking) = found {
                asker.booking = Some(booking);
                let answered = line.answered_us.unwrap_or(u64::MAX);
                asker.answered_us = Some(asker.answered_us.unwrap_or(u64::MAX).min(answered));
            }
            self.answered += 1;
            self.missing += usize::from(found.is_none());
        } else if let Some(booking) = line.receipt.as_deref().and_then(find) {
            asker.booking = Some(booking);
        }
    }

    /// Whoever sent a line, with what it says of when they asked.
    fn asker(&mut self, index: usize, line: &'a GatewayLine) -> &mut Asker {
        let mut who: Vec<&str> = line.applicants.iter().map(String::as_str).collect();
        who.sort_unstable();
        if who.is_empty() {
            // Told apart by what they ask with; an empty name is nobody's.
            who = vec!["", &line.request_id];
        }
        let asker = *self.known.entry(who).or_insert_with(|| {
            self.askers.push(Asker {
                sent_us: line.sent_us,
                first: index,
                asked_us: None,
                last: index,
                booking: None,
                answered_us: None,
            });
            self.askers.len() - 1
        });
        let asker = &mut self.askers[asker];
        if line.sent_us < asker.sent_us {
            (asker.sent_us, asker.first) = (line.sent_us, index);
        }
        asker.last = index;
        if !matches!(line.reason.as_deref(), Some("not_open" | "busy" | "unavailable")) {
            let asked = asker.asked_us.unwrap_or(u64::MAX);
            asker.asked_us = Some(asked.min(line.sent_us));
        }
        asker
    }
}

/// Whether lines can be of this opening, by what they name.
fn fits(lines: &[GatewayLine], recorded: &RecordedOpening) -> Result<(), Mismatch> {
    let id = || recorded.record.id.clone();
    let tells = |line: &GatewayLine| {
        line.opening.is_some() || line.booking.is_some() || line.receipt.is_some()
    };
    if !lines.iter().any(tells) {
        return Err(Mismatch::Nameless(id()));
    }
    let offices: HashSet<&str> =
        recorded.record.offices.iter().map(|office| office.id.as_str()).collect();
    let unknown = |line: &&GatewayLine| line.reason.as_deref() != Some("unknown_slot");
    let mut choices = lines.iter().filter(unknown).flat_map(|line| &line.choices);
    if let Some(choice) = choices.find(|choice| !offices.contains(choice.office.as_str())) {
        return Err(Mismatch::Offices(id(), choice.office.clone()));
    }
    let tail = recorded.tail.0;
    match lines.iter().filter_map(|line| line.seq).find(|seq| *seq > tail) {
        Some(later) => Err(Mismatch::Later(id(), later, tail)),
        None => Ok(()),
    }
}
