//! How all of Giliran stands at one moment, and what is judged of it, as
//! `giliran status --json` and `giliran preflight --json` say it. JSON alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalogue::OpeningDescription;
use crate::service::Standing;
use crate::{Date, Position, Timestamp};

/// What was looked for: found, or not to be seen, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known<T> {
    /// What was found.
    Known(T),
    /// Why nobody knows.
    Unknown(String),
}

impl<T> Known<T> {
    /// What was found; none: nobody knows.
    pub const fn found(&self) -> Option<&T> {
        match self {
            Self::Known(found) => Some(found),
            Self::Unknown(_) => None,
        }
    }
}

/// A picture, and what is judged of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The opening that it was judged for; left out where it was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<String>,
    /// Whether every check is green, or was waived.
    pub go: bool,
    /// What was looked at, in a fixed order.
    pub checks: Vec<Check>,
    /// What they rest on.
    pub picture: Picture,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name, of a closed list.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it; left out where there is nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it has to be.
    Go,
    /// Not as it has to be.
    NoGo,
    /// It could not be looked at: nobody knows, and so it is not green.
    Unknown,
    /// It could not be looked at, and an operator answers for it.
    Waived,
}

/// How all of Giliran stands at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// When it was taken, by the clock of whoever took it.
    pub taken_at: Timestamp,
    /// Whose: the prefix of subjects.
    pub prefix: String,
    /// Every process that answered, by role and name.
    pub processes: Known<Vec<Process>>,
    /// The openings in the memory of the active engine.
    pub openings: Known<Openings>,
    /// The streams and buckets, by name.
    pub streams: Known<Vec<Stream>>,
    /// What JetStream stores for Giliran's account.
    pub storage: Known<Storage>,
    /// The broker's servers whose monitoring ports are known.
    pub servers: Vec<Server>,
    /// What engines answered in the time before; left out where nobody counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
}

/// A process that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Of this start of this process.
    pub id: String,
    /// The version of Giliran that it was built from.
    pub version: String,
    /// When it started, by its own clock; left out where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// How it stands, by its own words.
    #[serde(flatten)]
    pub standing: Standing,
}

/// The openings, as the active engine has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Openings {
    /// Engine time of the answer.
    pub now: Timestamp,
    /// The ledger position this was true at.
    pub as_of: Position,
    /// They, in the order of the ledger.
    pub openings: Vec<Opening>,
}

/// An opening and its places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// What it offers and under which rules.
    pub offers: OpeningDescription,
    /// All of its places.
    pub places: Places,
    /// The same, office by office, by its id.
    pub offices: BTreeMap<String, Places>,
    /// The same, day by day.
    pub days: BTreeMap<Date, Places>,
    /// The same, slot by slot.
    pub slots: Vec<Slot>,
}

/// A slot and its places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Id of the office.
    pub office: String,
    /// The day, in the opening's time zone.
    pub date: Date,
    /// Id of the session.
    pub session: String,
    /// Its places.
    pub places: Places,
    /// True: closed by an operator.
    pub halted: bool,
    /// False: it is too late to book it.
    pub bookable: bool,
}

/// How many places there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// All, whoever holds them.
    pub quota: u64,
    /// Booked.
    pub taken: u64,
    /// Can be booked; below 0 after a quota was lowered.
    pub free: i64,
    /// Neither booked nor free: returned and not released yet, reserved, or halted.
    pub withheld: u64,
    /// Of these, kept back by an operator.
    pub reserved: u64,
}

impl Places {
    /// Counts further ones in.
    pub fn add(&mut self, other: &Self) {
        self.quota += other.quota;
        self.taken += other.taken;
        self.free += other.free;
        self.withheld += other.withheld;
        self.reserved += other.reserved;
    }
}

/// A stream of the broker's, or the stream behind a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// Messages in it.
    pub messages: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Its last sequence.
    pub last_seq: u64,
    /// How many servers are to keep it.
    pub replicas: u64,
    /// The server that leads it; left out where there is none, or no cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// The other servers that keep it.
    pub followers: Vec<Replica>,
}

/// A server that keeps a stream and does not lead it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The server's name.
    pub name: String,
    /// True: it has everything.
    pub current: bool,
    /// True: it is away.
    pub offline: bool,
    /// Operations that it is behind.
    pub lag: u64,
}

/// What is stored, and how much may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Bytes in files.
    pub used: u64,
    /// Most bytes; left out where there is no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// A server of the broker's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its monitoring address, `http://host:port`.
    pub monitor: String,
    /// What it says there.
    pub said: Known<ServerSaid>,
}

/// What a server says at its monitoring port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSaid {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it syncs before it acknowledges.
    pub sync_always: bool,
    /// What it stores in files, for all accounts.
    pub storage: Storage,
    /// When its certificate ends; left out where it has none, or does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_until: Option<Timestamp>,
}

/// What engines answered within a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// How long was counted, ms.
    pub over_ms: u64,
    /// Answers a second, by the name of the outcome.
    pub per_second: BTreeMap<String, f64>,
    /// How long grants took in that time; left out where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Took>,
}

/// How long grants took, from the socket to the answer: no longer than this, of each block
/// the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took {
    /// Half of them, µs.
    pub p50_us: u64,
    /// 99 of 100, µs.
    pub p99_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_is_told_apart_from_what_is_nothing() {
        let known: Known<Vec<u64>> = Known::Known(Vec::new());
        let unknown: Known<Vec<u64>> = Known::Unknown("no login".to_owned());
        let text = |known: &Known<Vec<u64>>| serde_json::to_string(known).expect("JSON");
        assert_eq!(text(&known), r#"{"known":[]}"#);
        assert_eq!(text(&unknown), r#"{"unknown":"no login"}"#);
        assert_eq!((known.found().map(Vec::len), unknown.found()), (Some(0), None));
    }
}
