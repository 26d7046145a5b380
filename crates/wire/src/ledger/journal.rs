//! Who did what to openings and ledger, and why: operators' actions, take-overs,
//! the ledger's next streams, as the ledger has them.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Adjustment, Cancel, CancelCause, Deed, Entry, OPEN, OpeningRecord, Reschedule};
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
    /// What stood before it, and what stands after it, as [`value`](Self::value) has them; a
    /// day is `open` or `halted`. None: there is nothing to compare, or it was before what was
    /// read.
    pub change: Option<Change>,
    /// The action as a sentence, for people.
    pub words: String,
}

/// What an action changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What stood there before.
    pub before: String,
    /// What stands there from then on.
    pub after: String,
}

/// What can be set again and again, and so has a value before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Setting {
    /// Of a slot of an opening.
    Quota(u32, u32),
    Reserve(u32, u32),
    Halt(u32, u32),
    /// Of an opening.
    ClosesAt(u32),
    /// Which engine is active.
    Active,
}

impl Setting {
    /// What a deed sets, and to what.
    fn of(deed: &Deed<'_>) -> Option<(Self, String)> {
        match deed {
            Deed::Adjust(adjust) => {
                let of = adjust.opening;
                let setting = match adjust.change {
                    Adjustment::Quota { slot, .. } => Self::Quota(of, slot),
                    Adjustment::Reserve { slot, .. } => Self::Reserve(of, slot),
                    Adjustment::Halt { slot, .. } => Self::Halt(of, slot),
                    Adjustment::ClosesAt { .. } => Self::ClosesAt(of),
                    Adjustment::Beacon { .. } => return None,
                };
                Some((setting, adjust.change.stands()))
            }
            Deed::TakeOver(take_over) => Some((Self::Active, take_over.engine.clone())),
            Deed::Roll(_) | Deed::Rebuild(_) => None,
        }
    }

    /// What stands as long as nobody has set it.
    fn at_first(self, record: Option<&OpeningRecord>) -> Option<String> {
        match self {
            Self::Quota(_, slot) => Some(record?.slots.get(slot as usize)?.quota.to_string()),
            Self::Reserve(..) => record.map(|_| "0".to_owned()),
            Self::Halt(..) => record.map(|_| OPEN.to_owned()),
            Self::ClosesAt(_) => Some(record?.closes_at.to_string()),
            Self::Active => None,
        }
    }
}

impl Action {
    /// What was done, in words.
    pub fn words(&self) -> String {
        self.told(|done| done.words.clone())
    }

    /// The same, with what stood before.
    pub fn words_with_before(&self) -> String {
        self.told(|done| match &done.change {
            Some(change) if change.before != change.after => {
                format!("{} (before: {})", done.words, change.before)
            }
            Some(_) => format!("{} (as before)", done.words),
            None => done.words.clone(),
        })
    }

    fn told(&self, words: impl Fn(&Done) -> String) -> String {
        let mut words = self.deeds.iter().map(words).collect::<Vec<_>>().join("; ");
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
            if let Some(Change { before, after }) = &done.change {
                (change["before"], change["after"]) = (json!(before), json!(after));
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
    /// What was set last.
    settings: HashMap<Setting, String>,
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
        let change = Setting::of(deed).and_then(|(setting, after)| {
            let last = self.settings.insert(setting, after.clone());
            let before = last.or_else(|| setting.at_first(record))?;
            Some(Change { before, after })
        });
        let done = Done { name, slot, value, change, words };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Adjust, Bookings, TakeOver};

    fn adjust(change: Adjustment) -> Entry {
        let (operator, reason) = ("siti".to_owned(), "power cut".to_owned());
        Entry::Adjust(Adjust { opening: 0, operator, reason, change })
    }

    fn take_over(engine: &str) -> Entry {
        let (engine, version) = (engine.to_owned(), "0.1.0".to_owned());
        Entry::TakeOver(TakeOver { engine, version, forced: None })
    }

    #[test]
    fn an_action_is_told_with_what_stood_before() {
        let mut journal = Journal::default();
        let quota = |quota| adjust(Adjustment::Quota { slot: 7, quota });
        let halt = |halted| adjust(Adjustment::Halt { slot: 7, halted, bookings: Bookings::Keep });
        // No opening of this ordinal is on record: what stood at first is not known.
        let told = [
            take_over("a"),
            quota(60),
            quota(55),
            quota(55),
            halt(true),
            halt(false),
            take_over("b"),
        ];
        for (seq, entry) in told.into_iter().enumerate() {
            journal.read(seq as u64, Timestamp::EARLIEST, &[entry]);
        }
        let words: Vec<String> = journal.actions().iter().map(Action::words_with_before).collect();
        let expected = [
            "a (release 0.1.0) took over",
            "quota of slot 7 set to 60",
            "quota of slot 7 set to 55 (before: 60)",
            "quota of slot 7 set to 55 (as before)",
            "slot 7 halted, its bookings stay",
            "slot 7 open again (before: halted)",
            "b (release 0.1.0) took over (before: a)",
        ];
        assert_eq!(words, expected);
        let json = journal.actions()[2].json();
        assert_eq!(json["changes"][0]["before"], "60");
        assert_eq!(json["changes"][0]["after"], "55");
        assert!(journal.actions()[1].json()["changes"][0].get("before").is_none());
    }
}
