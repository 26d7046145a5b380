//! Entries of those who wait for returned places.

use giliran_wire::ledger::BallotEntry;
use giliran_wire::{Pseudonym, Timestamp};

/// An entry into the next release's draw, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// What was recorded.
    pub entry: BallotEntry,
    /// The time of its block: the first release after it is its draw.
    pub since: Timestamp,
    /// False: withdrawn. Stays to be recognised.
    pub live: bool,
}

impl Waiting {
    /// True if this applicant is of the party.
    pub fn is_of(&self, applicant: &Pseudonym) -> bool {
        self.entry.applicants.contains(applicant)
    }
}
