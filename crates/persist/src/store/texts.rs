//! What of a batch comes from outside, and a database might not hold: to say which
//! value it was.

use giliran_wire::Timestamp;

use crate::rows::{Adjusted, Batch, EntryRow, Run};

/// A value that may be the one.
pub(super) struct Suspect {
    /// Column and place, for people.
    pub(super) place: String,
    /// The value as it is sent.
    pub(super) value: String,
    /// The database's type for it.
    pub(super) kind: &'static str,
}

/// Every text that is not plain, and every time that is far away.
pub(super) fn suspects(batch: &Batch) -> Vec<Suspect> {
    let mut found = Suspects(Vec::new());
    for record in &batch.openings {
        let place = format!("of opening {}", record.id);
        found.time("opens_at", &place, Some(record.opens_at));
        found.time("closes_at", &place, Some(record.closes_at));
        found.text("timezone", &place, Some(&record.timezone));
    }
    for slot in &batch.slots {
        found.day("date", &format!("of opening {}", slot.opening), &slot.date);
    }
    for run in &batch.runs {
        match run {
            Run::Grants(rows) => {
                for row in rows {
                    let (place, grant) = (of(row.seq), &row.grant);
                    found.text("request_id", &place, Some(&grant.request_id));
                    found.text("ref", &place, grant.reference.as_ref());
                    found.text("channel", &place, grant.channel.as_ref());
                    found.time("granted_at", &place, Some(row.granted_at));
                    found.time("hold_expires_at", &place, grant.hold_expires_at);
                }
            }
            Run::Updates(updates) => {
                for update in updates {
                    found.text("payment", &of(update.seq), update.payment.as_ref());
                }
            }
        }
    }
    for adjusted in &batch.adjusted {
        if let Adjusted::ClosesAt { opening, closes_at } = adjusted {
            let place = format!("of opening number {opening}");
            found.time("closes_at", &place, Some(*closes_at));
        }
    }
    for entry in &batch.entries {
        if let EntryRow::New { request_id, reference, seq, .. } = entry {
            found.text("request_id", &of(*seq), Some(request_id));
            found.text("ref", &of(*seq), reference.as_ref());
        }
    }
    for action in &batch.actions {
        let place = of(action.ledger_seq);
        found.text("value", &place, Some(&action.value));
        if let Some((operator, reason)) = &action.signed {
            found.text("operator", &place, Some(operator));
            found.text("reason", &place, Some(reason));
        }
    }
    found.0
}

fn of(seq: u64) -> String {
    format!("of sequence {seq}")
}

struct Suspects(Vec<Suspect>);

impl Suspects {
    fn add(&mut self, column: &str, place: &str, value: &str, kind: &'static str) {
        let place = format!("`{column}` {place}");
        self.0.push(Suspect { place, value: value.to_owned(), kind });
    }

    fn text(&mut self, column: &str, place: &str, text: Option<&String>) {
        let plain = |text: &str| text.bytes().all(|c| c.is_ascii_graphic() || c == b' ');
        if let Some(text) = text.filter(|text| !plain(text)) {
            self.add(column, place, text, "text");
        }
    }

    fn time(&mut self, column: &str, place: &str, at: Option<Timestamp>) {
        if let Some(at) = at.filter(|at| !at.is_within_bounds()) {
            self.add(column, place, &at.to_string(), "timestamptz");
        }
    }

    fn day(&mut self, column: &str, place: &str, day: &str) {
        if !("2000".."9999-12-30").contains(&day) || day.len() != "2000-01-01".len() {
            self.add(column, place, day, "date");
        }
    }
}
