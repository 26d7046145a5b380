//! Who did what to openings and ledger, and why: operators' actions, take-overs,
//! the ledger's next streams, as the ledger has them.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Cancel, CancelCause, Deed, Entry, OpeningRecord, Reschedule};
use crate::Timestamp;

/// Something that was done in one stroke.
#[derive(Debug, Clone)]
pub struct Action {
    /// Sequence of its block.
    pub seq: u64,
    /// Time of the block that it stands in.
    pub time: Timestamp,
    /// The opening it is about; none: the ledger itself.
    pub opening: Option<Arc<OpeningRecord>>,
    /// Who ordered it and why; none: nobody, an engine went by itself.
    pub signed: Option<(String, String)>,
    /// What was done, for machines.
    pub deeds: Vec<Done>,
    /// Bookings that moved by it.
    pub moved: u64,
    /// Bookings that were cancelled by it.
    pub cancelled: u64,
}

/// One thing of an [`Action`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Its name, see [`Deed::name`].
    pub name: &'static str,
    /// The slot's office, date and session.
    pub slot: Option<[String; 3]>,
    /// What it set, see [`Deed::value`].
    pub value: String,
    /// The action as a sentence, for people.
    pub words: String,
}

impl Action {
    /// What was done, in words.
    pub fn words(&self) -> String {
        let words: Vec<&str> = self.deeds.iter().map(|done| done.words.as_str()).collect();
        let mut words = words.join("; ");
        for (n, what) in [(self.moved, "moved"), (self.cancelled, "cancelled")] {
            if n > 0 {
                words.push_str(&format!("; {n} bookings {what}"));
            }
        }
        words
    }

    /// The action as one JSON object, for machines.
    pub fn json(&self) -> Value {
        let change = |done: &Done| {
            let mut change = json!({ "action": done.name, "words": done.words });
            if !done.value.is_empty() {
                change["value"] = json!(done.value);
            }
            if let Some([office, date, session]) = &done.slot {
                (change["office"], change["date"]) = (json!(office), json!(date));
                change["session"] = json!(session);
            }
            change
        };
        let changes: Vec<Value> = self.deeds.iter().map(change).collect();
        let mut action = json!({
            "seq": self.seq, "time": self.time, "changes": changes,
            "moved": self.moved, "cancelled": self.cancelled,
        });
        if let Some(opening) = &self.opening {
            action["opening"] = json!(opening.id);
        }
        if let Some((operator, reason)) = &self.signed {
            (action["operator"], action["reason"]) = (json!(operator), json!(reason));
        }
        action
    }

    /// Who and why, as the records of single bookings have it.
    fn is_of(&self, words: &str) -> bool {
        let signed = self.signed.as_ref();
        signed.is_some_and(|(operator, reason)| {
            words.strip_prefix(operator.as_str()).and_then(|rest| rest.strip_prefix(": "))
                == Some(reason)
        })
    }
}

/// Reads blocks, keeps what was done in them.
#[derive(Debug, Default)]
pub struct Journal {
    openings: HashMap<u32, Arc<OpeningRecord>>,
    actions: Vec<Action>,
}

impl Journal {
    /// Reads a valid block's entries.
    pub fn read(&mut self, seq: u64, time: Timestamp, entries: &[Entry]) {
        for entry in entries {
            match entry {
                Entry::Opening(record) => {
                    self.openings.insert(record.ordinal, Arc::new((**record).clone()));
                }
                Entry::Cancel(Cancel {
                    cause: CancelCause::Authority,
                    reason: Some(words),
                    ..
                }) => {
                    if let Some(action) = self.action_of(words) {
                        action.cancelled += 1;
                    }
                }
                Entry::Reschedule(Reschedule { reason: Some(words), .. }) => {
                    if let Some(action) = self.action_of(words) {
                        action.moved += 1;
                    }
                }
                entry => {
                    if let Some(deed) = Deed::of(entry) {
                        self.done(seq, time, &deed);
                    }
                }
            }
        }
    }

    /// What was done, in order.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// What was done to an opening, and from its record on to the ledger itself; none:
    /// there is no such opening.
    pub fn of_opening(&self, id: &str) -> Option<Vec<&Action>> {
        self.openings.values().find(|record| record.id == id)?;
        let wanted =
            |action: &&Action| action.opening.as_ref().is_none_or(|record| record.id == id);
        Some(self.actions.iter().filter(wanted).collect())
    }

    /// The ids of the openings on record, in order.
    pub fn openings(&self) -> Vec<&str> {
        let mut ordinals: Vec<&u32> = self.openings.keys().collect();
        ordinals.sort_unstable();
        ordinals.into_iter().map(|ordinal| self.openings[ordinal].id.as_str()).collect()
    }

    /// The last one of these words: what it does to bookings follows it.
    fn action_of(&mut self, words: &str) -> Option<&mut Action> {
        self.actions.iter_mut().rev().find(|action| action.is_of(words))
    }

    fn done(&mut self, seq: u64, time: Timestamp, deed: &Deed<'_>) {
        let opening = deed.opening().and_then(|ordinal| self.openings.get(&ordinal));
        let record = opening.map(Arc::as_ref);
        let slot = deed.slot().and_then(|slot| record?.place(slot));
        let slot = slot.map(|(slot, office, session)| {
            [office.id.clone(), slot.date.to_string(), session.id.clone()]
        });
        let (name, value, words) = (deed.name(), deed.value(), deed.words(record));
        let done = Done { name, slot, value, words };
        let owned = |(operator, reason): (&str, &str)| (operator.to_owned(), reason.to_owned());
        let signed = deed.signed().map(owned);
        // What one command did to several sessions of a day stands together.
        if let Some(last) = self.actions.last_mut().filter(|last| {
            let of = last.opening.as_ref().map(|record| record.ordinal);
            last.seq == seq
                && signed.is_some()
                && (of, &last.signed) == (deed.opening(), &signed)
                && last.deeds[0].name == name
        }) {
            return last.deeds.push(done);
        }
        let opening = opening.map(Arc::clone);
        let deeds = vec![done];
        self.actions.push(Action { seq, time, opening, signed, deeds, moved: 0, cancelled: 0 });
    }
}
