//! What operators and engines did to openings and ledger, for people: read from
//! the entries that have it, and put into words.

use super::bookings::Bookings;
use super::{Adjust, Adjustment, Block, Entry, OpeningRecord, Rebuilt, Seal, TakeOver};

/// A day that can be booked, as far as operators go.
pub const OPEN: &str = "open";
/// A day that an operator has closed.
pub const HALTED: &str = "halted";

/// One deed of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Deed<'a> {
    /// An operator changed something of an opening.
    Adjust(&'a Adjust),
    /// The ledger went on in its next stream.
    Roll(&'a Seal),
    /// An engine took over.
    TakeOver(&'a TakeOver),
    /// The ledger went on behind a damaged generation.
    Rebuild(&'a Rebuilt),
}

impl Block {
    /// What was done in it by operators, or to the ledger itself, in order.
    pub fn deeds(&self) -> impl Iterator<Item = Deed<'_>> {
        self.entries.iter().filter_map(Deed::of)
    }
}

impl<'a> Deed<'a> {
    /// The deed of an entry, if it is one.
    pub fn of(entry: &'a Entry) -> Option<Self> {
        match entry {
            Entry::Adjust(adjust) => Some(Self::Adjust(adjust)),
            Entry::Seal(seal) => Some(Self::Roll(seal)),
            Entry::TakeOver(take_over) => Some(Self::TakeOver(take_over)),
            Entry::Genesis(genesis) => genesis.rebuilt.as_ref().map(Self::Rebuild),
            _ => None,
        }
    }

    /// The opening's ordinal, where it is about one.
    pub const fn opening(&self) -> Option<u32> {
        match self {
            Self::Adjust(adjust) => Some(adjust.opening),
            Self::Roll(_) | Self::TakeOver(_) | Self::Rebuild(_) => None,
        }
    }

    /// The slot of the opening, where it is about one.
    pub const fn slot(&self) -> Option<u32> {
        let Self::Adjust(adjust) = self else { return None };
        adjust.change.slot()
    }

    /// Who ordered it and why; none: nobody did, an engine went by itself.
    pub fn signed(&self) -> Option<(&'a str, &'a str)> {
        let signed = match *self {
            Self::Adjust(adjust) => return Some((&adjust.operator, &adjust.reason)),
            Self::Rebuild(rebuilt) => return Some((&rebuilt.operator, &rebuilt.reason)),
            Self::Roll(seal) => seal.ordered.as_ref(),
            Self::TakeOver(take_over) => take_over.forced.as_ref(),
        };
        signed.map(|signed| (signed.operator.as_str(), signed.reason.as_str()))
    }

    /// Its name, for machines: `quota`, `reserve`, `halt`, `resume`, `closes_at`,
    /// `beacon`, `roll`, `take_over`, `rebuild`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Adjust(adjust) => adjust.change.name(),
            Self::Roll(_) => "roll",
            Self::TakeOver(_) => "take_over",
            Self::Rebuild(_) => "rebuild",
        }
    }

    /// What it set: a number of places, what becomes of bookings, a time, a public
    /// value in hexadecimal, the next stream, the engine, the damaged sequence;
    /// empty: nothing but its name.
    pub fn value(&self) -> String {
        match self {
            Self::Adjust(adjust) => adjust.change.value(),
            Self::Roll(seal) => seal.next.clone(),
            Self::TakeOver(take_over) => take_over.engine.clone(),
            Self::Rebuild(rebuilt) => rebuilt.damaged_at.to_string(),
        }
    }

    /// The deed in words; `record`: the opening it is about, if it is known.
    pub fn words(&self, record: Option<&OpeningRecord>) -> String {
        match self {
            Self::Adjust(adjust) => adjust.change.words(record),
            Self::Roll(seal) => match seal.ordered {
                Some(_) => format!("the ledger goes on in {}", seal.next),
                None => format!("the ledger has become long, and goes on in {}", seal.next),
            },
            Self::TakeOver(TakeOver { engine, version, forced }) => {
                let by = if forced.is_some() { ", against what spoke against it" } else { "" };
                format!("{engine} (release {version}) took over{by}")
            }
            Self::Rebuild(rebuilt) => {
                format!("the ledger was rebuilt behind damage at sequence {}", rebuilt.damaged_at)
            }
        }
    }
}

impl Adjustment {
    /// The slot it is about.
    pub const fn slot(&self) -> Option<u32> {
        match self {
            Self::Quota { slot, .. } | Self::Reserve { slot, .. } | Self::Halt { slot, .. } => {
                Some(*slot)
            }
            Self::ClosesAt { .. } | Self::Beacon { .. } => None,
        }
    }

    /// Its name, for machines: see [`Deed::name`].
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Quota { .. } => "quota",
            Self::Reserve { .. } => "reserve",
            Self::Halt { halted: true, .. } => "halt",
            Self::Halt { halted: false, .. } => "resume",
            Self::ClosesAt { .. } => "closes_at",
            Self::Beacon { .. } => "beacon",
        }
    }

    fn value(&self) -> String {
        match self {
            Self::Quota { quota, .. } => quota.to_string(),
            Self::Reserve { places, .. } => places.to_string(),
            Self::Halt { halted: true, bookings, .. } => bookings.name().to_owned(),
            Self::Halt { halted: false, .. } => String::new(),
            Self::ClosesAt { closes_at } => closes_at.to_string(),
            Self::Beacon { value } => const_hex::encode(value),
        }
    }

    /// What stands from then on: as [`Deed::value`] says it, and of a day whether it is
    /// [`OPEN`] or [`HALTED`].
    pub fn stands(&self) -> String {
        match self {
            Self::Halt { halted: true, .. } => HALTED.to_owned(),
            Self::Halt { halted: false, .. } => OPEN.to_owned(),
            other => other.value(),
        }
    }

    /// What was changed, in words; `record`: the opening, if it is known.
    pub fn words(&self, record: Option<&OpeningRecord>) -> String {
        let place = self.slot().map_or_else(String::new, |slot| {
            match record.and_then(|record| record.place(slot)) {
                Some((slot, office, session)) => {
                    format!("{} {} {}", office.id, slot.date, session.id)
                }
                None => format!("slot {slot}"),
            }
        });
        match self {
            Self::Quota { quota, .. } => format!("quota of {place} set to {quota}"),
            Self::Reserve { places: 0, .. } => format!("nothing kept back of {place} any more"),
            Self::Reserve { places, .. } => format!("{places} places of {place} kept back"),
            Self::Halt { halted: false, .. } => format!("{place} open again"),
            Self::Halt { bookings, .. } => {
                let bookings = match bookings {
                    Bookings::Keep => "its bookings stay",
                    Bookings::Cancel => "its bookings are cancelled",
                    Bookings::Move => "its bookings move",
                };
                format!("{place} halted, {bookings}")
            }
            Self::ClosesAt { closes_at } => format!("the window ends at {closes_at}"),
            Self::Beacon { .. } => "the public value of its draw handed in".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Signed;

    #[test]
    fn what_was_done_is_told_in_words_and_for_machines() {
        let signed = || ("siti".to_owned(), "power cut".to_owned());
        let adjust = |change| {
            let (operator, reason) = signed();
            Entry::Adjust(Adjust { opening: 3, operator, reason, change })
        };
        let told = |entry: &Entry| {
            let deed = Deed::of(entry).unwrap();
            format!("{} {:?} {:?}: {}", deed.name(), deed.value(), deed.slot(), deed.words(None))
        };
        let halt = |halted| adjust(Adjustment::Halt { slot: 7, halted, bookings: Bookings::Move });
        assert_eq!(told(&halt(true)), "halt \"move\" Some(7): slot 7 halted, its bookings move");
        assert_eq!(told(&halt(false)), "resume \"\" Some(7): slot 7 open again");
        let beacon = adjust(Adjustment::Beacon { value: vec![0xb0, 0x01] });
        assert!(told(&beacon).starts_with("beacon \"b001\" None: "), "{}", told(&beacon));
        assert_eq!(Deed::of(&beacon).unwrap().signed(), Some(("siti", "power cut")));
        let (operator, reason) = signed();
        let forced = Some(Signed { operator, reason });
        let entry = |forced| {
            let (engine, version) = ("engine-b".to_owned(), "0.1.0".to_owned());
            Entry::TakeOver(TakeOver { engine, version, forced })
        };
        let (by_itself, forced) = (entry(None), entry(forced));
        assert_eq!(Deed::of(&by_itself).unwrap().signed(), None);
        assert_eq!(Deed::of(&forced).unwrap().signed(), Some(("siti", "power cut")));
        assert!(Deed::of(&forced).unwrap().words(None).contains("against"));
        assert_eq!(Deed::of(&Entry::Opened { opening: 3 }), None);
    }
}
