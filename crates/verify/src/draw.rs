//! A draw recomputed from what is published of it: no ledger, no broker, and no
//! code of those who drew. The algorithm is that of `docs/draw.md`, where its
//! terms are explained.
//!
//! What always holds: an extract that was changed in any way that matters gives a
//! [`Problem`]. That the extract is the one that was published is not to be seen
//! from it: for that the root is compared with the one that was told at the close
//! ([`Known`]).

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// What an extract begins with.
pub const FORMAT: &str = "giliran-draw/1";

/// What is published of a draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extract {
    /// Must be [`FORMAT`]; a reader of another version does not go on.
    pub format: String,
    pub ledger: String,
    pub opening: String,
    /// Its ordinal in the ledger.
    pub ordinal: u32,
    /// BLAKE3 of the seed, put on record before the opening.
    pub commitment: String,
    /// The public value that was mixed in; none: the operator had to be trusted.
    #[serde(deserialize_with = "there")]
    pub beacon: Option<Beacon>,
    /// The root, put on record at the close.
    pub root: String,
    pub seed: String,
    /// Places of every slot before the draw.
    pub slots: Vec<SlotPlaces>,
    /// Slots that could not be booked any more when the seed was revealed, by rising
    /// index: nobody gets a place there.
    pub passed: Vec<u32>,
    /// The entries, by number.
    pub ballots: Vec<Ballot>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beacon {
    /// Which, as named before the opening.
    pub name: String,
    /// What was mixed in.
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotPlaces {
    pub office: String,
    pub date: String,
    pub session: String,
    pub places: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ballot {
    /// Stands for the receipt.
    pub number: String,
    /// Binds it to the request.
    pub holder: String,
    /// How many places it wants, all in one slot.
    pub places: u16,
    /// The slots that fit, by preference: indexes into the extract's.
    pub slots: Vec<u32>,
    /// The slot it got; none: it was not drawn.
    #[serde(deserialize_with = "there")]
    pub drawn: Option<u32>,
}

/// A field that may be null, and may not be missing.
pub(crate) fn there<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(from)
}

/// What somebody noted down before the draw, to hold the extract against.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The root, as told at the close.
    pub root: Option<String>,
    /// The commitment, as told before the opening.
    pub commitment: Option<String>,
}

/// What is wrong with an extract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(pub String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a draw came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    pub entries: usize,
    /// Entries that got places.
    pub drawn: usize,
    pub given: u64,
    pub places: u64,
}

pub(crate) fn hash(tag: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("giliran {tag:<7}1").as_bytes());
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// A text with its length before it.
fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// An entry's number, of ten bytes.
pub fn number(ledger: &[u8; 16], ordinal: u32, receipt: &[u8; 10]) -> [u8; 10] {
    let hash = hash("ballot", &[ledger, &ordinal.to_le_bytes(), receipt]);
    let mut number = [0; 10];
    number.copy_from_slice(&hash[..10]);
    number[0] &= 0b111;
    number
}

/// What binds an entry to its request.
pub fn holder(receipt: &[u8; 10], request_id: &str) -> [u8; 32] {
    hash("holder", &[receipt, request_id.as_bytes()])
}

/// The rank of a party in a round; `who`: its lowest pseudonym.
pub fn round_rank(seed: &[u8; 32], number: u64, who: &giliran_wire::Pseudonym) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(seed);
    hasher.update(&number.to_le_bytes()).update(who.as_bytes());
    *hasher.finalize().as_bytes()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text as a message can show it, whatever is in it.
pub(crate) fn short(text: &str) -> String {
    let mut start: String = text.chars().take(80).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}

fn unhex(what: &str, text: &str) -> Result<Vec<u8>, Problem> {
    let wrong = || Problem(format!("{what}: {} is not hexadecimal in lower case", short(text)));
    if !text.len().is_multiple_of(2)
        || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    {
        return Err(wrong());
    }
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).map_err(|_| wrong()))
        .collect()
}

pub(crate) fn fixed<const N: usize>(what: &str, text: &str) -> Result<[u8; N], Problem> {
    let bytes = unhex(what, text)?;
    let wrong = |_| Problem(format!("{what}: {} digits are needed, not {}", 2 * N, text.len()));
    bytes.try_into().map_err(wrong)
}

/// An entry with its bytes read.
struct Read<'a> {
    number: [u8; 10],
    leaf: [u8; 32],
    ballot: &'a Ballot,
}

pub(crate) fn leaf(number: &[u8; 10], holder: &[u8; 32], places: u16, slots: &[u32]) -> [u8; 32] {
    let slots: Vec<u8> = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
    hash("leaf", &[number, holder, &places.to_le_bytes(), &slots])
}

/// What a draw is about: what stands beside the entries under the root.
pub(crate) struct About<'a> {
    pub(crate) ledger: &'a str,
    pub(crate) ordinal: u32,
    pub(crate) opening: &'a str,
    /// The public value's name; none: empty.
    pub(crate) beacon: &'a str,
    pub(crate) slots: &'a [SlotPlaces],
}

impl About<'_> {
    /// The root over the top of a tree of so many entries.
    pub(crate) fn root(&self, entries: u64, top: &[u8; 32]) -> Result<[u8; 32], Problem> {
        let ledger = fixed::<16>("ledger", self.ledger)?;
        let mut about = [&ledger[..], &self.ordinal.to_le_bytes()].concat();
        about.extend(text(self.opening));
        about.extend(text(self.beacon));
        for slot in self.slots {
            about.extend([&slot.office, &slot.date, &slot.session].iter().flat_map(|t| text(t)));
            about.extend_from_slice(&slot.places.to_le_bytes());
        }
        let head = hash("head", &[&about]);
        Ok(hash("root", &[&head, &entries.to_le_bytes(), top]))
    }
}

/// The next level of a tree.
fn above(level: &[[u8; 32]]) -> Vec<[u8; 32]> {
    let node = |pair: &[[u8; 32]]| match pair {
        [left, right] => hash("node", &[left, right]),
        rest => rest[0],
    };
    level.chunks(2).map(node).collect()
}

impl Extract {
    /// Reads an extract.
    ///
    /// # Errors
    ///
    /// [`Problem`] where it is none, or incomplete.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Which {
            format: String,
        }
        // Another format may have other fields.
        match serde_json::from_str(text) {
            Ok(Which { format }) if format != FORMAT => Err(Problem(format!(
                "format: {} is another; this release reads `{FORMAT}`",
                short(&format)
            ))),
            _ => serde_json::from_str(text).map_err(|error| {
                let cut = if error.is_eof() { ": it ends too early" } else { "" };
                Problem(format!("this is not an extract of a draw{cut}: {error}"))
            }),
        }
    }

    fn read(&self) -> Result<Vec<Read<'_>>, Problem> {
        let mut read: Vec<Read<'_>> = Vec::with_capacity(self.ballots.len());
        for (i, ballot) in self.ballots.iter().enumerate() {
            let what = format!("ballots[{i}]");
            let number = fixed::<10>(&format!("{what}.number"), &ballot.number)?;
            let holder = fixed::<32>(&format!("{what}.holder"), &ballot.holder)?;
            if ballot.places == 0 {
                return Err(Problem(format!("{what}.places: 0, and an entry has at least 1")));
            }
            let slots = self.slots.len();
            if let Some(slot) = ballot.slots.iter().find(|slot| **slot as usize >= slots) {
                let there = format!("{slot}, and there are {slots} slots, from 0 on");
                return Err(Problem(format!("{what}.slots: {there}")));
            }
            match read.last().map(|last| last.number.cmp(&number)) {
                None | Some(Ordering::Less) => {}
                Some(Ordering::Equal) => {
                    return Err(Problem(format!("{what}.number: a second time")));
                }
                Some(Ordering::Greater) => {
                    return Err(Problem(format!(
                        "{what}.number: out of order; ballots stand by rising number"
                    )));
                }
            }
            let leaf = leaf(&number, &holder, ballot.places, &ballot.slots);
            read.push(Read { number, leaf, ballot });
        }
        Ok(read)
    }

    fn root(&self, read: &[Read<'_>]) -> Result<[u8; 32], Problem> {
        let mut level: Vec<[u8; 32]> = read.iter().map(|entry| entry.leaf).collect();
        while level.len() > 1 {
            level = above(&level);
        }
        let top = level.first().copied().unwrap_or([0; 32]);
        let about = About {
            ledger: &self.ledger,
            ordinal: self.ordinal,
            opening: &self.opening,
            beacon: self.beacon.as_ref().map_or("", |beacon| &beacon.name),
            slots: &self.slots,
        };
        about.root(read.len() as u64, &top)
    }

    /// What stands beside the way from an entry up to the top, from below.
    ///
    /// # Errors
    ///
    /// [`Problem`] where the entries cannot be read.
    pub(crate) fn path(&self, index: usize) -> Result<Vec<[u8; 32]>, Problem> {
        let mut level: Vec<[u8; 32]> = self.read()?.iter().map(|entry| entry.leaf).collect();
        let (mut index, mut path) = (index, Vec::new());
        while level.len() > 1 {
            path.extend(level.get(index ^ 1));
            level = above(&level);
            index /= 2;
        }
        Ok(path)
    }

    /// The root over its own entries; zeros where they cannot be read.
    pub fn root_of_ballots(&self) -> [u8; 32] {
        self.read().and_then(|read| self.root(&read)).unwrap_or_default()
    }

    /// The slot that each entry gets; see `docs/draw.md`.
    pub fn draw(&self) -> Vec<Option<u32>> {
        self.read().and_then(|read| self.drawn(&read)).unwrap_or_default()
    }

    fn drawn(&self, read: &[Read<'_>]) -> Result<Vec<Option<u32>>, Problem> {
        let root = fixed::<32>("root", &self.root)?;
        let operator = fixed::<32>("seed", &self.seed)?;
        let value = match &self.beacon {
            Some(beacon) => unhex("beacon.value", &beacon.value)?,
            None => Vec::new(),
        };
        let seed = hash("seed", &[&root, &operator, &value]);
        let rank =
            |i: &usize| (*blake3::keyed_hash(&seed, &read[*i].number).as_bytes(), read[*i].number);
        let mut line: Vec<usize> = (0..read.len()).collect();
        line.sort_by_cached_key(rank);
        let mut free: Vec<u32> = self.slots.iter().map(|slot| slot.places).collect();
        for passed in &self.passed {
            if let Some(free) = free.get_mut(*passed as usize) {
                *free = 0;
            }
        }
        let mut drawn = vec![None; read.len()];
        for i in line {
            let ballot = read[i].ballot;
            let places = u32::from(ballot.places);
            let slot = ballot.slots.iter().copied().find(|slot| free[*slot as usize] >= places);
            if let Some(slot) = slot {
                free[slot as usize] -= places;
            }
            drawn[i] = slot;
        }
        Ok(drawn)
    }

    /// Recomputes all of it.
    ///
    /// # Errors
    ///
    /// The first [`Problem`] met.
    pub fn verify(&self, known: &Known) -> Result<Summary, Problem> {
        let read = self.read()?;
        self.check_passed()?;
        let seed = fixed::<32>("seed", &self.seed)?;
        if *blake3::hash(&seed).as_bytes() != fixed::<32>("commitment", &self.commitment)? {
            return Err(Problem("seed: it is not the one that was committed to".to_owned()));
        }
        let root = self.root(&read)?;
        if root != fixed::<32>("root", &self.root)? {
            return Err(Problem(format!(
                "root: it is not that of these entries and places, which is {}; one of them was \
                 changed, added or dropped",
                hex(&root)
            )));
        }
        for (what, known, own) in
            [("root", &known.root, &self.root), ("commitment", &known.commitment, &self.commitment)]
        {
            if known.as_ref().is_some_and(|known| !known.eq_ignore_ascii_case(own)) {
                return Err(Problem(format!(
                    "{what}: another one was published before the draw; the file's is {own}"
                )));
            }
        }
        if let Some(beacon) = &self.beacon {
            let round: Option<giliran_drand::Round> = beacon.name.parse().ok();
            let value = unhex("beacon.value", &beacon.value)?;
            if !round.is_some_and(|round| round.is_signed_by(&value)) {
                let which = beacon.name.rsplit(' ').next().unwrap_or_default();
                return Err(Problem(format!(
                    "beacon: its value is not the named round's signature, that of {}",
                    short(which)
                )));
            }
        }
        let mut summary = Summary { entries: read.len(), ..Summary::default() };
        summary.places = self.slots.iter().map(|slot| u64::from(slot.places)).sum();
        for (i, drawn) in self.drawn(&read)?.into_iter().enumerate() {
            let ballot = &self.ballots[i];
            if ballot.drawn != drawn {
                let name = |slot: Option<u32>| slot.map_or("nothing".to_owned(), |i| self.name(i));
                return Err(Problem(format!(
                    "ballot {}: it says {}, the draw gives it {}",
                    ballot.number,
                    name(ballot.drawn),
                    name(drawn)
                )));
            }
            if drawn.is_some() {
                summary.drawn += 1;
                summary.given += u64::from(ballot.places);
            }
        }
        Ok(summary)
    }

    fn check_passed(&self) -> Result<(), Problem> {
        let slots = self.slots.len();
        if let Some(slot) = self.passed.iter().find(|slot| **slot as usize >= slots) {
            return Err(Problem(format!("passed: {slot}, and there are {slots} slots, from 0 on")));
        }
        if self.passed.is_sorted_by(|one, other| one < other) {
            Ok(())
        } else {
            Err(Problem("passed: not by rising index, each once".to_owned()))
        }
    }

    /// A slot in words.
    pub fn name(&self, slot: u32) -> String {
        self.slots.get(slot as usize).map_or_else(
            || format!("slot {slot}"),
            |slot| format!("{} {} {}", slot.office, slot.date, slot.session),
        )
    }

    /// The entry of a receipt that was given for this request.
    ///
    /// # Errors
    ///
    /// [`Problem`] where it is not in this draw, or stands for another request.
    pub fn find(&self, receipt: &[u8; 10], request_id: &str) -> Result<&Ballot, Problem> {
        let ledger = fixed::<16>("ledger", &self.ledger)?;
        let number = hex(&number(&ledger, self.ordinal, receipt));
        let Ok(i) = self.ballots.binary_search_by(|ballot| ballot.number.cmp(&number)) else {
            return Err(Problem(format!(
                "this receipt is not in the draw of opening {} (its number there would be \
                 {number}): it is of another opening, was withdrawn, or was left out",
                self.opening
            )));
        };
        let ballot = &self.ballots[i];
        if ballot.holder != hex(&holder(receipt, request_id)) {
            return Err(Problem(format!(
                "the entry of this receipt was made by another request than {}",
                short(request_id)
            )));
        }
        Ok(ballot)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const RECEIPT: [u8; 10] = [3; 10];

    fn extract() -> Extract {
        let ballot = |n: u8, places, slots: &[u32]| Ballot {
            number: hex(&number(&[1; 16], 2, &[n; 10])),
            holder: hex(&holder(&[n; 10], &format!("r{n}"))),
            places,
            slots: slots.to_vec(),
            drawn: None,
        };
        let slot = |session: &str, places| SlotPlaces {
            office: "o".into(),
            date: "2026-12-01".into(),
            session: session.into(),
            places,
        };
        let mut extract = Extract {
            format: FORMAT.into(),
            ledger: hex(&[1; 16]),
            opening: "w".into(),
            ordinal: 2,
            commitment: hex(blake3::hash(&[7; 32]).as_bytes()),
            beacon: None,
            root: String::new(),
            seed: hex(&[7; 32]),
            slots: vec![slot("a", 2), slot("b", 1)],
            passed: Vec::new(),
            ballots: (0..6)
                .map(|n| ballot(n, 1 + u16::from(n % 3), &[0, 1][..1 + usize::from(n % 2)]))
                .collect(),
        };
        extract.ballots.sort_by(|one, other| one.number.cmp(&other.number));
        extract.root = hex(&extract.root_of_ballots());
        let drawn = extract.draw();
        extract.ballots.iter_mut().zip(drawn).for_each(|(ballot, drawn)| ballot.drawn = drawn);
        extract
    }

    #[test]
    fn what_was_drawn_is_found_again() {
        let extract = extract();
        let summary = extract.verify(&Known::default()).unwrap();
        assert_eq!((summary.entries, summary.places), (6, 3));
        assert!(summary.given >= 2);
        let text = serde_json::to_string(&extract).unwrap();
        assert_eq!(Extract::parse(&text).unwrap(), extract);
    }

    /// Every change, one at a time.
    #[test]
    fn a_change_is_found() {
        type Change = (&'static str, fn(&mut Extract));
        let changes: [Change; 17] = [
            ("root:", |e| e.ballots[2].slots = vec![1]),
            ("root:", |e| e.ballots[2].places += 1),
            ("root:", |e| e.ballots[2].holder = hex(&[0; 32])),
            ("root:", |e| drop(e.ballots.remove(0))),
            ("root:", |e| e.slots[0].places += 1),
            ("root:", |e| e.opening = "v".into()),
            ("root:", |e| e.ordinal = 3),
            ("root:", |e| {
                let mut one = e.ballots[5].clone();
                one.number = hex(&[0xff; 10]);
                e.ballots.push(one);
            }),
            ("root:", |e| e.root = hex(&[0; 32])),
            ("out of order", |e| e.ballots.swap(0, 1)),
            ("committed", |e| e.seed = hex(&[8; 32])),
            ("committed", |e| e.commitment = hex(&[8; 32])),
            ("the draw gives it", |e| {
                let won = e.ballots.iter().position(|b| b.drawn.is_some()).unwrap();
                e.ballots[won].drawn = None;
            }),
            ("digits are needed", |e| e.root.truncate(10)),
            ("the draw gives it", |e| e.passed = vec![0]),
            ("rising", |e| e.passed = vec![1, 0]),
            ("there are 2 slots", |e| e.passed = vec![2]),
        ];
        for (n, (says, change)) in changes.into_iter().enumerate() {
            let mut changed = extract();
            change(&mut changed);
            let problem = changed.verify(&Known::default()).unwrap_err();
            assert!(problem.0.contains(says), "{n}: {problem}");
        }
    }

    /// What cannot be booked any more gives no places; who wanted others as well gets
    /// those.
    #[test]
    fn nobody_is_drawn_into_a_slot_that_has_passed() {
        let mut extract = extract();
        extract.passed = vec![0];
        let drawn = extract.draw();
        assert!(drawn.iter().all(|slot| *slot != Some(0)) && drawn.contains(&Some(1)));
        extract.ballots.iter_mut().zip(drawn).for_each(|(ballot, drawn)| ballot.drawn = drawn);
        extract.verify(&Known::default()).unwrap();
    }

    #[test]
    fn a_draw_that_is_consistent_but_not_the_announced_one_is_found() {
        let mut other = extract();
        let announced = Known { root: Some(other.root.clone()), commitment: None };
        other.verify(&announced).unwrap();
        other.ballots.remove(0);
        other.root = hex(&other.root_of_ballots());
        let drawn = other.draw();
        other.ballots.iter_mut().zip(drawn).for_each(|(ballot, drawn)| ballot.drawn = drawn);
        other.verify(&Known::default()).unwrap();
        let problem = other.verify(&announced).unwrap_err();
        assert!(problem.0.contains("another one was published"), "{problem}");
    }

    #[test]
    fn a_receipt_is_found_by_who_has_it() {
        let extract = extract();
        assert!(extract.find(&RECEIPT, "r3").is_ok());
        let problem = extract.find(&RECEIPT, "r4").unwrap_err();
        assert!(problem.0.contains("another request"), "{problem}");
        let problem = extract.find(&[9; 10], "r9").unwrap_err();
        assert!(problem.0.contains("another opening"), "{problem}");
    }

    #[test]
    fn half_a_file_is_said_to_be_one() {
        let text = serde_json::to_string(&extract()).unwrap();
        let problem = Extract::parse(&text[..text.len() / 2]).unwrap_err();
        assert!(problem.0.contains("ends too early"), "{problem}");
        let other = text.replace("giliran-draw/1", "giliran-draw/9");
        assert!(Extract::parse(&other).unwrap_err().0.contains("this release reads"));
        let later = r#"{"format":"giliran-draw/2","entries":[]}"#;
        assert!(Extract::parse(later).unwrap_err().0.contains("this release reads"));
        let unknown = text.replacen("{", "{\"more\":1,", 1);
        assert!(Extract::parse(&unknown).unwrap_err().0.contains("more"));
    }
}
