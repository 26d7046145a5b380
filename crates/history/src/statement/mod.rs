//! The statement of a recorded opening, written, and held against the ledger. Its form
//! and its check are [`giliran_verify::statement`]'s.

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;

use giliran_verify::statement::{
    Account, BlockLine, Cause, Change, ChangeLine, End, Head, Lines, Places, SlotLine, Tampered,
    VERSION,
};
use giliran_wire::answer::Reason;
use giliran_wire::ledger::Signed;

use crate::recorded::{RecordedBlock, RecordedOpening};

pub fn write(recorded: &RecordedOpening) -> String {
    let record = &recorded.record;
    let mut lines = Lines::default();
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
    let mut account = Account::new(record.rules.max_party);
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
        Change::Rejected { slot, reason, second, count } => {
            let reason = Reason::from_number(*reason).map_or("unknown", Reason::name);
            let (reason, second) = (Some(reason.to_owned()), Some(*second));
            ChangeLine { slot: *slot, reason, second, count: Some(*count), ..did("refused") }
        }
    }
}

/// Holds a statement against the ledger, read as far as the statement goes.
///
/// # Errors
///
/// [`Tampered`]: the first line that is not what the ledger says.
pub fn compare(text: &str, recorded: &RecordedOpening) -> Result<(), Tampered> {
    let ledgers = write(recorded);
    let mut expected = ledgers.lines();
    let mut told = text.lines();
    let mut line = 0;
    loop {
        line += 1;
        let (expected, told) = match (expected.next(), told.next()) {
            (Some(expected), Some(told)) => (expected, told),
            (None, None) => return Ok(()),
            _ => {
                let what = "the ledger's statement has another number of lines".to_owned();
                return Err(Tampered { line, what });
            }
        };
        if expected != told {
            let says = expected.split_once(' ').map_or(expected, |(_, json)| json);
            return Err(Tampered { line, what: format!("the ledger says otherwise: {says}") });
        }
    }
}
