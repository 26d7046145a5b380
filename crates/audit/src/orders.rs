//! Rounds and draws, recomputed from the seeds that were committed to.

use std::collections::{BTreeMap, BTreeSet};

use giliran_drand::Round;
use giliran_wire::ledger::{DrawEntryRecord, Grant, OpeningRecord};
use giliran_wire::{BookingId, LedgerId, Pseudonym, Timestamp};

use giliran_verify::draw::{self, Ballot, Beacon, Extract, SlotPlaces, hex};

use crate::check::{Check, Findings, not_checked};

/// Group number and, of each of its grants, the lowest pseudonym of the party.
type Group = (u64, Vec<Pseudonym>);

/// What is published of an order's seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedSeed {
    /// BLAKE3 of the seed.
    pub commitment: String,
    /// The public value, by name; none: nothing is mixed in.
    pub beacon: Option<String>,
    /// The root over a draw's entries, from its close on.
    pub root: Option<String>,
    /// How far it has come.
    pub stage: Stage,
}

/// How far an order with a seed has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The seed is not published yet.
    Before,
    /// The draw waits for its public value.
    Waits,
    /// The seed is published, and not every entry has been served.
    Going,
    /// There is nothing more to come.
    Over,
}

/// What is known of the openings whose order has a seed, by ordinal.
#[derive(Debug)]
pub(super) struct Orders {
    openings: BTreeMap<u32, OpeningModel>,
    /// Opening of every entry into a draw.
    entered: BTreeMap<BookingId, u32>,
    wrong: Findings,
}

#[derive(Debug, Default)]
struct OpeningModel {
    commitment: [u8; 32],
    beacon: Option<String>,
    rounds: Vec<Group>,
    entries: BTreeMap<BookingId, DrawEntryRecord>,
    places: Vec<u32>,
    root: Option<[u8; 32]>,
    revealed: Option<([u8; 32], Option<Vec<u8>>)>,
    /// Slots that could not be booked any more then.
    passed: Vec<u32>,
    /// The public value that an operator has just handed in.
    handed: Option<Vec<u8>>,
    /// The slot each entry gets, as computed here.
    expected: BTreeMap<BookingId, Option<u32>>,
    /// Entries that the ledger says were served.
    served: BTreeSet<BookingId>,
}

impl Default for Orders {
    fn default() -> Self {
        Self { openings: BTreeMap::new(), entered: BTreeMap::new(), wrong: Findings::new() }
    }
}

impl Orders {
    pub(super) fn committed(&mut self, ordinal: u32, commitment: [u8; 32], beacon: Option<String>) {
        let of = OpeningModel { commitment, beacon, ..OpeningModel::default() };
        self.openings.insert(ordinal, of);
    }

    pub(super) fn group(&mut self, ordinal: u32, number: u64, rounds: bool) {
        if let (Some(of), true) = (self.openings.get_mut(&ordinal), rounds) {
            of.rounds.push((number, Vec::new()));
        }
    }

    pub(super) fn entered(&mut self, entry: &DrawEntryRecord) {
        if entry.waits {
            return;
        }
        if let Some(of) = self.openings.get_mut(&entry.opening) {
            of.entries.insert(entry.receipt, entry.clone());
            self.entered.insert(entry.receipt, entry.opening);
        }
    }

    pub(super) fn withdrawn(&mut self, receipt: &BookingId) {
        let ordinal = self.entered.remove(receipt);
        if let Some(of) = ordinal.and_then(|ordinal| self.openings.get_mut(&ordinal)) {
            of.entries.remove(receipt);
        }
    }

    pub(super) fn root(
        &mut self,
        seq: u64,
        ledger: LedgerId,
        record: &OpeningRecord,
        places: Vec<u32>,
        (root, entries): ([u8; 32], u64),
    ) {
        let Some(of) = self.openings.get_mut(&record.ordinal) else { return };
        of.places = places;
        of.root = Some(root);
        let extract = of.extract(ledger, record);
        let own = extract.root_of_ballots();
        self.wrong.look(own == root && extract.ballots.len() as u64 == entries, || {
            format!("sequence {seq}: the root over the entries of {} is another", record.id)
        });
    }

    pub(super) fn handed_in(&mut self, ordinal: u32, value: &[u8]) {
        if let Some(of) = self.openings.get_mut(&ordinal) {
            of.handed = Some(value.to_vec());
        }
    }

    /// True if this receipt is of an entry into an opening's own draw.
    pub(super) fn draws_for(&self, receipt: &BookingId) -> bool {
        self.entered.contains_key(receipt)
    }

    pub(super) fn revealed(
        &mut self,
        (seq, time): (u64, Timestamp),
        ledger: LedgerId,
        record: &OpeningRecord,
        seed: [u8; 32],
        beacon: Option<Vec<u8>>,
    ) {
        let Some(of) = self.openings.get_mut(&record.ordinal) else { return };
        let committed = *blake3::hash(&seed).as_bytes() == of.commitment;
        let draws = of.root.is_some();
        // A release reveals a seed of its own.
        if of.revealed.is_some() || (!committed && !draws) {
            return;
        }
        self.wrong.look(committed, || {
            format!("sequence {seq}: the seed of {} is not the one committed to", record.id)
        });
        if let Some(name) = &of.beacon {
            let round: Option<Round> = name.parse().ok();
            let signature = beacon.as_deref().unwrap_or_default();
            self.wrong.look(round.is_some_and(|round| round.is_signed_by(signature)), || {
                format!("sequence {seq}: the public value of {} is not the named one", record.id)
            });
        }
        let handed = of.handed.take();
        self.wrong.look(handed == beacon, || {
            format!("sequence {seq}: nobody is on record as who handed in that of {}", record.id)
        });
        for (number, people) in &of.rounds {
            let rank = |who: &Pseudonym| draw::round_rank(&seed, *number, who);
            self.wrong.look(people.windows(2).all(|w| rank(&w[0]) <= rank(&w[1])), || {
                format!("round {number} of {} is not in the order of its seed", record.id)
            });
        }
        of.revealed = Some((seed, beacon));
        let late = |slot: &u32| record.slots[*slot as usize].bookable_until <= time;
        of.passed = (0..record.slots.len() as u32).filter(late).collect();
        if draws {
            let extract = of.extract(ledger, record);
            let drawn: BTreeMap<String, Option<u32>> = extract
                .ballots
                .iter()
                .zip(extract.draw())
                .map(|(ballot, slot)| (ballot.number.clone(), slot))
                .collect();
            let number = |receipt| hex(&draw::number(&ledger.0, record.ordinal, receipt));
            let receipts = of.entries.keys();
            of.expected = receipts
                .map(|receipt| {
                    (*receipt, drawn.get(&number(receipt.as_bytes())).copied().flatten())
                })
                .collect();
        }
    }

    pub(super) fn grant(&mut self, seq: u64, grant: &Grant, grouped: bool) {
        let Some(of) = self.openings.get_mut(&grant.opening) else { return };
        if let Some((_, people)) = of.rounds.last_mut().filter(|_| grouped) {
            people.extend(grant.seats.iter().map(|seat| seat.applicant).min());
        }
        self.outcome(seq, grant.booking, Some(grant.slot));
    }

    pub(super) fn not_drawn(&mut self, seq: u64, receipt: &BookingId) {
        self.outcome(seq, *receipt, None);
    }

    fn outcome(&mut self, seq: u64, receipt: BookingId, slot: Option<u32>) {
        let ordinal = self.entered.get(&receipt);
        let Some(of) = ordinal.and_then(|ordinal| self.openings.get_mut(ordinal)) else { return };
        let fine = of.expected.get(&receipt) == Some(&slot) && of.served.insert(receipt);
        self.wrong.look(fine, || format!("sequence {seq}: {receipt} was drawn otherwise"));
    }

    pub(super) fn check(&self) -> Check {
        const WHAT: &str = "rounds and draws are what their committed seeds say";
        if self.wrong.are_empty() {
            let none = self.openings.is_empty();
            let why =
                if none { "no opening has rounds or a draw" } else { "no seed is published yet" };
            return not_checked("P5", WHAT, why);
        }
        self.wrong.clone().check("P5", WHAT)
    }

    /// Draws that have a root and no seed: they wait for a public value.
    pub(super) fn awaited(&self, id: impl Fn(u32) -> String) -> Vec<Check> {
        let waits = self.openings.iter().filter(|(_, of)| of.stage() == Stage::Waits);
        let check = |ordinal| {
            let what = format!("the draw of {} is over", id(ordinal));
            not_checked("P10", &what, "it waits for the public value it named")
        };
        waits.map(|(ordinal, _)| check(*ordinal)).collect()
    }

    /// What is published of an order's seed so far.
    pub(super) fn published(&self, ordinal: u32) -> Option<PublishedSeed> {
        let of = self.openings.get(&ordinal)?;
        Some(PublishedSeed {
            commitment: hex(&of.commitment),
            beacon: of.beacon.clone(),
            root: of.root.map(|root| hex(&root)),
            stage: of.stage(),
        })
    }

    /// What is published of a draw that is over.
    pub(super) fn extract(&self, ledger: LedgerId, record: &OpeningRecord) -> Option<Extract> {
        let of = self.openings.get(&record.ordinal)?;
        of.revealed.as_ref()?;
        of.root?;
        let mut extract = of.extract(ledger, record);
        let results = extract.draw();
        for (ballot, result) in extract.ballots.iter_mut().zip(results) {
            ballot.drawn = result;
        }
        Some(extract)
    }
}

impl OpeningModel {
    fn stage(&self) -> Stage {
        match self.revealed {
            None if self.root.is_some() && self.beacon.is_some() => Stage::Waits,
            None => Stage::Before,
            Some(_) if self.served.len() < self.expected.len() => Stage::Going,
            Some(_) => Stage::Over,
        }
    }

    /// What is published, without results.
    fn extract(&self, ledger: LedgerId, record: &OpeningRecord) -> Extract {
        let ordinal = record.ordinal;
        let mut ballots: Vec<Ballot> = self
            .entries
            .values()
            .map(|entry| {
                let receipt = entry.receipt.as_bytes();
                Ballot {
                    number: hex(&draw::number(&ledger.0, ordinal, receipt)),
                    holder: hex(&draw::holder(receipt, &entry.request_id)),
                    places: entry.applicants.len() as u16,
                    slots: entry.slots.clone(),
                    drawn: None,
                }
            })
            .collect();
        ballots.sort_by(|one, other| one.number.cmp(&other.number));
        let slot = |(index, places): (usize, &u32)| {
            let (slot, office, session) = record.place(index as u32)?;
            Some(SlotPlaces {
                office: office.id.clone(),
                date: slot.date.to_string(),
                session: session.id.clone(),
                places: *places,
            })
        };
        let (seed, value) = self.revealed.clone().unwrap_or_default();
        Extract {
            format: draw::FORMAT.to_owned(),
            ledger: ledger.to_string(),
            opening: record.id.clone(),
            ordinal,
            commitment: hex(&self.commitment),
            beacon: self
                .beacon
                .clone()
                .map(|name| Beacon { name, value: hex(&value.unwrap_or_default()) }),
            root: hex(&self.root.unwrap_or_default()),
            seed: hex(&seed),
            slots: self.places.iter().enumerate().filter_map(slot).collect(),
            passed: self.passed.clone(),
            ballots,
        }
    }
}
