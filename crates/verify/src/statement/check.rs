//! A statement, recomputed from itself alone.

use giliran_wire::admin::check_signed;
use giliran_wire::answer::Reason;
use giliran_wire::ledger::Signed;
use giliran_wire::request::{is_id, is_opening_id};
use giliran_wire::{Date, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::account::Account;
use super::lines::{
    BlockLine, ChangeLine, Closing, Head, SOLD_OUT, SlotLine, Totals, VERSION, ZERO, hashed,
};
use super::places::{Cause, Change};

/// 0001-01-01T00:00:00.000Z, the first time there may be.
const FIRST_MS: i64 = -62_135_596_800_000;
/// 9999-12-30T00:00:00.000Z, which no time may reach.
const END_MS: i64 = 253_402_128_000_000;

/// A statement is not what was written, or does not hold together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Tampered {
    pub line: usize,
    pub what: String,
}

/// What a statement that holds together says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub ledger: String,
    pub opening: String,
    /// The ledger's last sequence that it speaks of.
    pub seq: u64,
    pub totals: Totals,
    /// Places taken beyond what a slot had.
    pub oversold: u64,
    /// Rejections beside free places; none: not to be judged.
    pub undersold: Option<u64>,
    pub says: Vec<String>,
    /// The last line's hash: who holds it holds all lines.
    pub seal: String,
    /// How many lines there are.
    pub lines: usize,
}

/// Recomputes a statement.
///
/// # Errors
///
/// [`Tampered`]: where, and what.
pub fn check(text: &str) -> Result<Checked, Tampered> {
    let mut reader = Reader { lines: text.split_inclusive('\n'), line: 0, last: ZERO.to_owned() };
    let head: Head = reader.needed("the first line")?;
    if head.giliran_statement != VERSION {
        return reader.wrong(format!(
            "a statement of version {}; this release checks version {VERSION}",
            head.giliran_statement
        ));
    }
    reader.hex(&head.block, 64, "block")?;
    reader.hex(&head.ledger, 32, "ledger")?;
    head.plain().or_else(|what| reader.wrong(what))?;
    let mut account = Account::new(head.max_party);
    let (mut seq, mut time, mut block) = (head.seq, i64::MIN, head.block);
    let closing = loop {
        let json = reader.json("the closing line")?;
        if json.starts_with("{\"slot\"") && time == i64::MIN {
            let slot: SlotLine = reader.read(json)?;
            if slot.slot as usize != account.slots() {
                return reader.wrong(format!(
                    "slot {} where slot {} belongs",
                    slot.slot,
                    account.slots()
                ));
            }
            slot.plain().or_else(|what| reader.wrong(what))?;
            account.slot(slot.quota);
        } else if json.starts_with("{\"end\"") {
            break reader.read::<Closing>(json)?;
        } else {
            let line: BlockLine = reader.read(json)?;
            reader.hex(&line.block, 64, "block")?;
            reader.follows((seq, time), (line.seq, line.time), false)?;
            (seq, time) = (line.seq, line.time.as_millis());
            for change in &line.changes {
                apply(change, (seq, time), &mut account).or_else(|what| reader.wrong(what))?;
            }
            account.end_block().or_else(|what| reader.wrong(what))?;
            block = line.block;
        }
    };
    reader.end(&closing, account.state(), (seq, time), &block)?;
    let recomputed = account.closing(closing.end.clone());
    if recomputed != closing {
        return reader.wrong(difference(&recomputed, &closing));
    }
    let Reader { mut lines, line, last } = reader;
    if lines.next().is_some() {
        return Err(Tampered { line: line + 1, what: "goes on behind its end".into() });
    }
    let Closing { end, totals, oversold, undersold, says, .. } = closing;
    let Head { ledger, opening, .. } = head;
    let (seq, seal, lines) = (end.seq, last, line);
    Ok(Checked { ledger, opening, seq, totals, oversold, undersold, says, seal, lines })
}

/// Takes a change into the account, which must come to as many free places as it says.
fn apply(change: &ChangeLine, at: (u64, i64), account: &mut Account) -> Result<(), String> {
    let free = account.apply(at, &change.to_change()?)?;
    if free == change.free {
        return Ok(());
    }
    let name = |free: Option<i64>| free.map_or("no number of".to_owned(), |n| n.to_string());
    Err(format!(
        "{} {} leaves {} places free, not {}",
        change.did,
        change.slot.map_or(String::new(), |slot| format!("in slot {slot}")),
        name(free),
        name(change.free)
    ))
}

/// The first field in which the last line is not what the others come to.
fn difference(recomputed: &Closing, stated: &Closing) -> String {
    let as_value = |closing: &Closing| serde_json::to_value(closing).unwrap_or_default();
    let (recomputed, stated) = (as_value(recomputed), as_value(stated));
    let mut pairs = Vec::new();
    for name in ["oversold", "undersold", "unclear"] {
        pairs.push((name.to_owned(), &recomputed[name], &stated[name]));
    }
    for (name, value) in recomputed["totals"].as_object().into_iter().flatten() {
        pairs.push((format!("totals.{name}"), value, &stated["totals"][name]));
    }
    pairs.push(("says".to_owned(), &recomputed["says"], &stated["says"]));
    let found = pairs.into_iter().find(|(_, recomputed, stated)| recomputed != stated);
    found.map_or("is not what the lines come to".to_owned(), |(name, recomputed, stated)| {
        format!("{name} is {stated}, but the lines come to {recomputed}")
    })
}

struct Reader<'a> {
    lines: std::str::SplitInclusive<'a, char>,
    line: usize,
    last: String,
}

impl<'a> Reader<'a> {
    fn wrong<T>(&self, what: String) -> Result<T, Tampered> {
        Err(Tampered { line: self.line, what: plain(what) })
    }

    /// The next line's JSON, its hash checked.
    fn json(&mut self, what: &str) -> Result<&'a str, Tampered> {
        self.line += 1;
        let Some(line) = self.lines.next() else {
            return self.wrong(format!("{what} is missing: the statement is incomplete"));
        };
        let Some(line) = line.strip_suffix('\n') else {
            return self.wrong("ends in the middle of a line: the statement is incomplete".into());
        };
        let Some((hash, json)) = line.split_once(' ') else {
            return self.wrong("is not of the form HASH JSON".into());
        };
        let expected = hashed(&self.last, json);
        if hash != expected {
            return self.wrong(
                "its hash does not fit: this line was changed, or one before it was left out, \
                 added or moved"
                    .into(),
            );
        }
        self.last = expected;
        Ok(json)
    }

    /// What a line says, which there is one way to write: nobody else who reads it
    /// comes to something else.
    fn read<T: DeserializeOwned + Serialize>(&self, json: &str) -> Result<T, Tampered> {
        let read = serde_json::from_str(json).or_else(|error| self.wrong(error.to_string()))?;
        match serde_json::to_string(&read) {
            Ok(written) if written == json => Ok(read),
            _ => self.wrong("is not written the one way there is to write it".into()),
        }
    }

    fn needed<T: DeserializeOwned + Serialize>(&mut self, what: &str) -> Result<T, Tampered> {
        let json = self.json(what)?;
        self.read(json)
    }

    fn hex(&self, text: &str, digits: usize, what: &str) -> Result<(), Tampered> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == digits && text.bytes().all(hex) {
            return Ok(());
        }
        self.wrong(format!("{what} {text:?} is not {digits} hexadecimal digits"))
    }

    fn follows(
        &self,
        (seq, time): (u64, i64),
        (next, at): (u64, Timestamp),
        may_be_same: bool,
    ) -> Result<(), Tampered> {
        if next < seq || (next == seq && !may_be_same) {
            return self.wrong(format!("sequence {next} after {seq}"));
        }
        if at.as_millis() < time {
            return self.wrong(format!("time runs backwards to {at}"));
        }
        known(at).or_else(|what| self.wrong(what))
    }

    fn end(
        &self,
        closing: &Closing,
        state: &str,
        (seq, time): (u64, i64),
        block: &str,
    ) -> Result<(), Tampered> {
        let end = &closing.end;
        self.hex(&end.block, 64, "block")?;
        self.follows((seq, time), (end.seq, end.time), true)?;
        if end.seq == seq && end.block != block {
            return self.wrong(format!("another hash of block {seq} than before"));
        }
        if end.state != state {
            return self.wrong(format!("says that it is {}, but it is {state}", end.state));
        }
        Ok(())
    }
}

impl Head {
    /// Whether its fields are of the kind that the format names.
    fn plain(&self) -> Result<(), String> {
        if !is_opening_id(&self.opening) {
            return Err(format!(
                "{:?} is not an opening's id; expected 1 to 40 of A-Z a-z 0-9 -",
                self.opening
            ));
        }
        for text in [&self.timezone, &self.order, &self.cancelled, &self.expired] {
            if !text.bytes().all(|c| (b' '..=b'~').contains(&c)) {
                return Err(format!(
                    "{text:?} is not plain text; expected ASCII characters from blank to ~"
                ));
            }
        }
        if !(1..=5).contains(&self.max_party) {
            return Err(format!("parties of {}", self.max_party));
        }
        known(self.opens_at).and_then(|()| known(self.closes_at))
    }
}

impl SlotLine {
    /// Whether its fields are of the kind that the format names.
    fn plain(&self) -> Result<(), String> {
        for id in [&self.office, &self.session] {
            if !is_id(id) {
                return Err(format!("{id:?} is not an id; expected 1 to 40 of a-z 0-9 -"));
            }
        }
        match self.date.parse::<Date>() {
            Ok(_) if !self.date.starts_with("0000") => Ok(()),
            _ => Err(format!("{:?} is not a date; expected one like 2026-11-30", self.date)),
        }
    }
}

/// A message without what a terminal would obey: it may tell what a line says.
fn plain(what: String) -> String {
    let is_plain = |c: char| (' '..='~').contains(&c);
    if what.chars().all(is_plain) {
        return what;
    }
    let shown = |c: char| if is_plain(c) { c.to_string() } else { c.escape_default().to_string() };
    what.chars().map(shown).collect()
}

/// Whether a time is one of those that every calendar knows.
fn known(at: Timestamp) -> Result<(), String> {
    if (FIRST_MS..END_MS).contains(&at.as_millis()) {
        return Ok(());
    }
    Err(format!("{at} is not a time of a statement; expected one from 2000-01-01 to 9999-12-29"))
}

impl ChangeLine {
    /// What it says; the fields must be those of its kind.
    pub fn to_change(&self) -> Result<Change, String> {
        let missing = |what: &str| format!("{:?} without {what}", self.did);
        let slot = || self.slot.ok_or_else(|| missing("slot"));
        let places = || match self.places {
            Some(0) => Err(format!("{:?} of no place", self.did)),
            places => places.ok_or_else(|| missing("places")),
        };
        let to = || match self.to {
            Some(to) if to > u16::MAX.into() => Err(format!("{:?} to {to} places", self.did)),
            to => to.ok_or_else(|| missing("to")),
        };
        let by = || {
            let operator = self.operator.as_ref().ok_or_else(|| missing("operator"))?;
            let why = self.why.as_ref().ok_or_else(|| missing("why"))?;
            check_signed(operator, why)?;
            Ok::<_, String>(Signed { operator: operator.clone(), reason: why.clone() })
        };
        let returned = |cause| {
            let withheld = self.withheld.ok_or_else(|| missing("withheld"))?;
            Ok::<_, String>(Change::Returned { slot: slot()?, places: places()?, withheld, cause })
        };
        let (change, fields) = match &*self.did {
            "opened" => (Change::Opened, ""),
            "closed" => (Change::Closed, ""),
            "closes_at" => {
                let at = self.at.ok_or_else(|| missing("at"))?;
                known(at)?;
                (Change::ClosesAt { at, by: by()? }, "aoy")
            }
            "beacon" => (Change::Beacon { by: by()? }, "oy"),
            "granted" => (Change::Granted { slot: slot()?, places: places()? }, "spf"),
            "revived" => (Change::Revived { slot: slot()?, places: places()? }, "spf"),
            "moved_in" => (Change::MovedIn { slot: slot()?, places: places()? }, "spf"),
            "released" => (Change::Released { slot: slot()?, places: places()? }, "spf"),
            "cancelled" => (returned(Cause::Cancelled)?, "spwf"),
            "revoked" => (returned(Cause::Revoked)?, "spwf"),
            "expired" => (returned(Cause::Expired)?, "spwf"),
            "moved_out" => (returned(Cause::Moved)?, "spwf"),
            "quota" => (Change::Quota { slot: slot()?, to: to()?, by: by()? }, "stfoy"),
            "reserved" => (Change::Reserved { slot: slot()?, to: to()?, by: by()? }, "stfoy"),
            "halted" => match to()? {
                to @ (0 | 1) => (Change::Halted { slot: slot()?, to: to == 1, by: by()? }, "stfoy"),
                to => return Err(format!("halted to {to}")),
            },
            "refused" => {
                let reason = self.reason.as_deref().ok_or_else(|| missing("reason"))?;
                let reason = match Reason::from_name(reason) {
                    Some(reason) => reason.number(),
                    None if reason == "unknown" => u16::MAX,
                    None => return Err(format!("no rejection is called {reason:?}")),
                };
                debug_assert_eq!(Reason::SoldOut.name(), SOLD_OUT);
                let second = self.second.ok_or_else(|| missing("second"))?;
                let count = self.count.ok_or_else(|| missing("count"))?;
                let fields = if self.slot.is_some() { "srnc" } else { "rnc" };
                (Change::Rejected { slot: self.slot, reason, second, count }, fields)
            }
            other => return Err(format!("there is no change {other:?}")),
        };
        if self.has_fields(fields) {
            Ok(change)
        } else {
            Err(format!("{:?} has other fields than it should", self.did))
        }
    }

    /// Whether it has just these fields, beside what it says that happened.
    fn has_fields(&self, fields: &str) -> bool {
        let there = [
            (self.slot.is_some(), 's'),
            (self.places.is_some(), 'p'),
            (self.withheld.is_some(), 'w'),
            (self.to.is_some(), 't'),
            (self.at.is_some(), 'a'),
            (self.reason.is_some(), 'r'),
            (self.second.is_some(), 'n'),
            (self.count.is_some(), 'c'),
            (self.free.is_some(), 'f'),
            (self.operator.is_some(), 'o'),
            (self.why.is_some(), 'y'),
        ];
        there.iter().all(|(there, field)| *there == fields.contains(*field))
    }
}
