//! The lines of a statement, each under the hash that continues the one before.

use giliran_wire::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub const VERSION: u32 = 1;
/// What the first line's hash continues.
pub const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The rejection that promises that nothing fitting was free.
pub const SOLD_OUT: &str = "sold_out";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    pub giliran_statement: u32,
    pub ledger: String,
    pub opening: String,
    pub timezone: String,
    pub opens_at: Timestamp,
    pub closes_at: Timestamp,
    pub order: String,
    pub max_party: u8,
    pub hold_ms: Option<u64>,
    pub cancelled: String,
    pub expired: String,
    /// The block that put the opening on record.
    pub seq: u64,
    pub block: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotLine {
    pub slot: u32,
    pub office: String,
    pub date: String,
    pub session: String,
    pub quota: u16,
}

/// A block of the ledger that concerns the opening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockLine {
    pub seq: u64,
    pub time: Timestamp,
    pub block: String,
    pub changes: Vec<ChangeLine>,
}

/// A change; which fields stand beside `did` depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeLine {
    pub did: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub places: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Free places of the slot after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    pub state: String,
    pub seq: u64,
    pub time: Timestamp,
    pub block: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Places of all slots at the end.
    pub quota: i64,
    /// Places kept back at the end.
    pub reserved: i64,
    /// Free places of slots that are halted at the end: nobody can have them.
    pub halted: i64,
    pub granted: u64,
    /// Given back by applicants.
    pub cancelled: u64,
    /// Taken back by the authority.
    pub revoked: u64,
    pub expired: u64,
    pub moved: u64,
    /// Of those four, free at once.
    pub at_once: u64,
    /// Lapsed, and had again by a late payment.
    pub revived: u64,
    /// Withheld places that became available again.
    pub released: u64,
    /// Taken at the end.
    pub taken: i64,
    /// Withheld at the end.
    pub withheld: i64,
    /// Free at the end, without those of halted slots.
    pub free: i64,
    #[serde(rename = "refused")]
    pub rejected: u64,
    /// Those of them that said `sold_out`.
    pub sold_out: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closing {
    pub end: End,
    pub totals: Totals,
    pub oversold: u64,
    pub undersold: Option<u64>,
    pub unclear: Option<u64>,
    pub says: Vec<String>,
}

/// The hash of a line.
pub fn hashed(previous: &str, json: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(" ");
    hasher.update(json);
    let bytes = hasher.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds lines, each with its hash.
pub struct Lines {
    pub text: String,
    pub last: String,
}

impl Default for Lines {
    fn default() -> Self {
        Self { text: String::new(), last: ZERO.to_owned() }
    }
}

impl Lines {
    pub fn add(&mut self, line: &impl Serialize) {
        // Structures of numbers and text: serde_json has nothing to refuse.
        let json = serde_json::to_string(line).unwrap_or_default();
        self.last = hashed(&self.last, &json);
        self.text.push_str(&self.last);
        self.text.push(' ');
        self.text.push_str(&json);
        self.text.push('\n');
    }
}
