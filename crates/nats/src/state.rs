//! What a process that follows the ledger can do at present, in words that stay
//! the same: health, metrics and log use them.

use tokio::sync::watch;

use crate::{Error, ErrorKind};

/// What a process can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It reads what it needs before it can do anything.
    Starting,
    /// It follows the ledger, ready to take over.
    Standby,
    /// It has the lease; its take-over is on its way.
    TakingOver,
    Active,
    /// Its lease is gone: it decides nothing more, and brings its last block to an end.
    SteppingDown,
    /// Another copy does the work.
    Waiting,
    /// Messages that no writer of the ledger put there stand at its end: it waits for a
    /// valid block behind them.
    InDoubt,
    /// It follows the ledger and writes what follows from it.
    Following,
    /// It looks anew where it stands.
    Resyncing,
    /// NATS cannot be reached.
    NatsUnavailable,
    /// NATS is there, and the ledger's stream does not answer.
    LedgerUnavailable,
    /// The store cannot be reached.
    StoreUnavailable,
    /// The machine's clock differs from the broker's: it does not take over.
    ClockWrong,
    /// There is no ledger.
    NoLedger,
    /// The ledger lacks blocks that this process has read or written.
    LedgerLost,
    /// The ledger, or the store, is another one.
    Mismatch,
    /// The ledger holds what no writer of it wrote, or blocks are missing in it.
    Damaged,
    /// The broker or a stream is not what is needed.
    Unsuitable,
    Stopped,
}

impl State {
    pub const ALL: [Self; 19] = [
        Self::Starting,
        Self::Standby,
        Self::TakingOver,
        Self::Active,
        Self::SteppingDown,
        Self::Waiting,
        Self::InDoubt,
        Self::Following,
        Self::Resyncing,
        Self::NatsUnavailable,
        Self::LedgerUnavailable,
        Self::StoreUnavailable,
        Self::ClockWrong,
        Self::NoLedger,
        Self::LedgerLost,
        Self::Mismatch,
        Self::Damaged,
        Self::Unsuitable,
        Self::Stopped,
    ];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Standby => "standby",
            Self::TakingOver => "taking_over",
            Self::Active => "active",
            Self::SteppingDown => "stepping_down",
            Self::Waiting => "waiting",
            Self::InDoubt => "in_doubt",
            Self::Following => "following",
            Self::Resyncing => "resyncing",
            Self::NatsUnavailable => "nats_unavailable",
            Self::LedgerUnavailable => "ledger_unavailable",
            Self::StoreUnavailable => "store_unavailable",
            Self::ClockWrong => "clock_wrong",
            Self::NoLedger => "no_ledger",
            Self::LedgerLost => "ledger_lost",
            Self::Mismatch => "mismatch",
            Self::Damaged => "damaged",
            Self::Unsuitable => "unsuitable",
            Self::Stopped => "stopped",
        }
    }

    /// Whether the process does its work.
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Active | Self::Following)
    }

    /// Whether it may pass without anybody doing anything about it.
    pub fn may_pass(self) -> bool {
        self.weight() != Weight::Lasting
    }

    /// What a failure of the broker's means for whoever meets it.
    pub const fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Unavailable | ErrorKind::GenerationGone => Self::LedgerUnavailable,
            ErrorKind::Misused => Self::Stopped,
            ErrorKind::NoLedger => Self::NoLedger,
            ErrorKind::Unsuitable | ErrorKind::NotPermitted => Self::Unsuitable,
            ErrorKind::Lost => Self::LedgerLost,
            ErrorKind::OtherLedger => Self::Mismatch,
            ErrorKind::Damaged => Self::Damaged,
        }
    }

    /// How loudly it is told.
    const fn weight(self) -> Weight {
        match self {
            Self::NatsUnavailable
            | Self::LedgerUnavailable
            | Self::StoreUnavailable
            | Self::InDoubt
            | Self::SteppingDown => Weight::Passing,
            Self::ClockWrong
            | Self::NoLedger
            | Self::LedgerLost
            | Self::Mismatch
            | Self::Damaged
            | Self::Unsuitable => Weight::Lasting,
            _ => Weight::Fine,
        }
    }
}

/// Whether somebody has to do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    Fine,
    /// It may pass by itself.
    Passing,
    /// Somebody has to do something.
    Lasting,
}

/// A state, and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub state: State,
    /// In words, the way out included; empty where the state says everything.
    pub detail: String,
}

impl Report {
    /// A state that says everything.
    pub const fn of(state: State) -> Self {
        Self { state, detail: String::new() }
    }

    /// What a failure of the broker's means.
    pub fn of_error(error: &Error) -> Self {
        Self { state: State::of(error.kind()), detail: error.to_string() }
    }

    /// Writes it to the log, in the name of `part`.
    pub(crate) fn log(&self, part: &str) {
        let state = self.state.word();
        let words = if self.detail.is_empty() { state } else { &self.detail };
        match self.state.weight() {
            Weight::Fine => tracing::info!(part, state, "{words}"),
            Weight::Passing => tracing::warn!(part, state, "{words}"),
            Weight::Lasting => tracing::error!(part, state, "{words}"),
        }
    }
}

/// What a part of the process says of itself. Each change is logged, once.
#[derive(Debug)]
pub struct Reports {
    part: &'static str,
    now: watch::Sender<Report>,
}

impl Reports {
    /// Of a part of this name that starts.
    pub fn new(part: &'static str) -> Self {
        Self { part, now: watch::Sender::new(Report::of(State::Starting)) }
    }

    /// Says how it stands.
    pub fn set_state(&self, state: State, detail: impl Into<String>) {
        let report = Report { state, detail: detail.into() };
        self.now.send_if_modified(|now| {
            let changed = *now != report;
            // The words of what may pass differ from try to try.
            if now.state != state || (changed && !state.may_pass()) {
                report.log(self.part);
            }
            *now = report;
            changed
        });
    }

    /// True where it stands so.
    pub fn is(&self, state: State) -> bool {
        self.now.borrow().state == state
    }

    /// What was said last, and what will be.
    pub fn subscribe(&self) -> watch::Receiver<Report> {
        self.now.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_word_of_its_own() {
        let words: std::collections::HashSet<_> = State::ALL.iter().map(|s| s.word()).collect();
        assert_eq!(words.len(), State::ALL.len());
        let fine = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(words.iter().all(|word| fine(word)), "{words:?}");
    }
}
