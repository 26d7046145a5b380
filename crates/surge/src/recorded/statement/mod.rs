//! The statement for the public: what happened to the places of an opening, block
//! by block, without any of those who asked in it.
//!
//! Text, one line after the other, each `HASH JSON`: HASH is the SHA-256 of the
//! previous line's hash, a space and the JSON, so that no line can be changed, left
//! out or moved without the last hash, the seal, becoming another. The lines name
//! the ledger's blocks by their hashes, so that the ledger cannot be rewritten
//! behind a published statement either. `docs/statement.md` is the format, word for
//! word.

mod check;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;

use giliran_wire::Timestamp;
use giliran_wire::answer::Reason;
use giliran_wire::ledger::Signed;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::places::{Cause, Change, Places};
use super::read::{Recorded, RecordedBlock};

pub use check::{Checked, Tampered, check, compare};

/// The format's version.
const VERSION: u32 = 1;
/// What the first line's hash continues.
const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The refusal that promises that nothing fitting was free.
const SOLD_OUT: &str = "sold_out";

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    giliran_statement: u32,
    ledger: String,
    opening: String,
    timezone: String,
    opens_at: Timestamp,
    closes_at: Timestamp,
    order: String,
    max_party: u8,
    hold_ms: Option<u64>,
    cancelled: String,
    expired: String,
    /// The block that put the opening on record.
    seq: u64,
    block: String,
}

/// A slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SlotLine {
    slot: u32,
    office: String,
    date: String,
    session: String,
    quota: u16,
}

/// A block of the ledger that concerns the opening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockLine {
    seq: u64,
    time: Timestamp,
    block: String,
    changes: Vec<ChangeLine>,
}

/// A change; which fields stand beside `did` depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeLine {
    did: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    places: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    withheld: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    second: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    /// Free places of the slot after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    free: Option<i64>,
    /// Who ordered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operator: Option<String>,
    /// Their reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Where it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    state: String,
    seq: u64,
    time: Timestamp,
    block: String,
}

/// Sums over everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Places of all slots at the end.
    pub quota: i64,
    /// Places kept back at the end.
    pub reserved: i64,
    /// Free places of slots that are halted at the end: nobody can have them.
    pub halted: i64,
    /// Places ever granted.
    pub granted: u64,
    /// Given back by applicants.
    pub cancelled: u64,
    /// Taken back by the authority.
    pub revoked: u64,
    /// Lapsed.
    pub expired: u64,
    /// Moved away from.
    pub moved: u64,
    /// Of those four, free at once.
    pub at_once: u64,
    /// Lapsed, and had again by a late payment.
    pub revived: u64,
    /// Withheld places that could be had again.
    pub released: u64,
    /// Taken at the end.
    pub taken: i64,
    /// Withheld at the end.
    pub withheld: i64,
    /// Free at the end, without those of halted slots.
    pub free: i64,
    /// Refusals counted.
    pub refused: u64,
    /// Those of them that said `sold_out`.
    pub sold_out: u64,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Closing {
    end: End,
    totals: Totals,
    oversold: u64,
    undersold: Option<u64>,
    unclear: Option<u64>,
    says: Vec<String>,
}

/// The hash of a line.
fn hashed(previous: &str, json: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(" ");
    hasher.update(json);
    let bytes = hasher.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds lines, each with its hash.
struct Lines {
    text: String,
    last: String,
}

impl Lines {
    fn new() -> Self {
        Self { text: String::new(), last: ZERO.to_owned() }
    }

    fn add(&mut self, line: &impl Serialize) {
        // Structures of numbers and text: serde_json has nothing to refuse.
        let json = serde_json::to_string(line).unwrap_or_default();
        self.last = hashed(&self.last, &json);
        self.text.push_str(&self.last);
        self.text.push(' ');
        self.text.push_str(&json);
        self.text.push('\n');
    }
}

/// The whole statement.
pub fn write(recorded: &Recorded) -> String {
    let record = &recorded.record;
    let mut lines = Lines::new();
    lines.add(&Head {
        giliran_statement: VERSION,
        ledger: recorded.ledger.to_string(),
        opening: record.id.clone(),
        timezone: record.timezone.clone(),
        opens_at: record.opens_at,
        closes_at: record.closes_at,
        order: record.rules.order.name(),
        max_party: record.rules.max_party,
        hold_ms: record.rules.hold_ms,
        cancelled: record.rules.cancelled.name(),
        expired: record.rules.expired.name(),
        seq: recorded.begun.0,
        block: recorded.begun.1.to_string(),
    });
    let mut account = check::Account::new(record.rules.max_party);
    for index in 0..record.slots.len() as u32 {
        let Some((slot, office, session)) = record.place(index) else { continue };
        account.slot(slot.quota);
        lines.add(&SlotLine {
            slot: index,
            office: office.id.clone(),
            date: slot.date.to_string(),
            session: session.id.clone(),
            quota: slot.quota,
        });
    }
    for block in &recorded.blocks {
        for (change, _) in &block.changes {
            // What an engine would not write is told all the same; checked, the
            // statement says so.
            let _ = account.apply((block.seq, block.time.as_millis()), change);
        }
        let _ = account.end_block();
        lines.add(&block_line(block));
    }
    let (seq, time, hash) = recorded.tail;
    let end = End { state: recorded.state.name().to_owned(), seq, time, block: hash.to_string() };
    lines.add(&account.closing(end));
    lines.text
}

fn block_line(block: &RecordedBlock) -> BlockLine {
    let mut changes: Vec<ChangeLine> = Vec::new();
    for (change, places) in &block.changes {
        let line = change_line(change, places);
        // Channels are not told apart here.
        let same = |there: &&mut ChangeLine| {
            there.did == "refused"
                && (there.slot, there.second) == (line.slot, line.second)
                && there.reason == line.reason
        };
        match changes.iter_mut().find(same) {
            Some(there) if line.did == "refused" => {
                there.count = Some(there.count.unwrap_or(0) + line.count.unwrap_or(0));
            }
            _ => changes.push(line),
        }
    }
    BlockLine { seq: block.seq, time: block.time, block: block.hash.to_string(), changes }
}

fn change_line(change: &Change, after: &Places) -> ChangeLine {
    let did = |did: &str| ChangeLine { did: did.to_owned(), ..ChangeLine::default() };
    let signed = |what: &str, by: &Signed| {
        let (operator, why) = (Some(by.operator.clone()), Some(by.reason.clone()));
        ChangeLine { operator, why, ..did(what) }
    };
    let free = Some(after.free());
    let slot = change.slot();
    match change {
        Change::Opened => did("opened"),
        Change::Closed => did("closed"),
        Change::ClosesAt { at, by } => ChangeLine { at: Some(*at), ..signed("closes_at", by) },
        Change::Beacon { by } => signed("beacon", by),
        Change::Granted { places, .. } => {
            ChangeLine { slot, places: Some(*places), free, ..did("granted") }
        }
        Change::Revived { places, .. } => {
            ChangeLine { slot, places: Some(*places), free, ..did("revived") }
        }
        Change::MovedIn { places, .. } => {
            ChangeLine { slot, places: Some(*places), free, ..did("moved_in") }
        }
        Change::Returned { places, withheld, cause, .. } => {
            let name = match cause {
                Cause::Cancelled => "cancelled",
                Cause::Revoked => "revoked",
                Cause::Expired => "expired",
                Cause::Moved => "moved_out",
            };
            let (places, withheld) = (Some(*places), Some(*withheld));
            ChangeLine { slot, places, withheld, free, ..did(name) }
        }
        Change::Released { places, .. } => {
            ChangeLine { slot, places: Some(*places), free, ..did("released") }
        }
        Change::Quota { to, by, .. } => {
            ChangeLine { slot, to: Some(*to), free, ..signed("quota", by) }
        }
        Change::Reserved { to, by, .. } => {
            ChangeLine { slot, to: Some(*to), free, ..signed("reserved", by) }
        }
        Change::Halted { to, by, .. } => {
            ChangeLine { slot, to: Some((*to).into()), free, ..signed("halted", by) }
        }
        Change::Refused { slot, reason, second, count } => {
            let reason = Reason::from_number(*reason).map_or("unknown", Reason::name);
            let (reason, second) = (Some(reason.to_owned()), Some(*second));
            ChangeLine { slot: *slot, reason, second, count: Some(*count), ..did("refused") }
        }
    }
}
