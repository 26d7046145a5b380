//! Judges rounds and draws: what the ledger holds of them against the order's own
//! definition, and what clients were told of their entries.

use std::collections::{BTreeMap, BTreeSet};

use giliran_core::{ballot, order};
use giliran_wire::ledger::{BallotEntry, DrawRecord, Entry, Grant, Order};
use giliran_wire::{BookingId, LedgerId, Pseudonym};

use crate::world::{Attempt, Run, Told, opening, order_key};

const LEDGER: LedgerId = LedgerId([7; 16]);

/// What the ledger holds of rounds and draws.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    closed: Option<u64>,
    entries: BTreeMap<BookingId, (u64, BallotEntry)>,
    /// Slot of each entry that is over, and the block that ended it.
    ended: BTreeMap<BookingId, (u64, Option<u32>)>,
    root: Option<[u8; 32]>,
    revealed: Option<[u8; 32]>,
    /// Block, number and grants of each group.
    groups: Vec<(u64, u64, Vec<Grant>)>,
    wrong: Vec<String>,
}

impl Orders {
    pub(crate) fn fold(&mut self, seq: u64, entries: &[Entry]) {
        let mut grouped = false;
        for entry in entries {
            match entry {
                Entry::Closed { .. } => self.closed = Some(seq),
                Entry::Draw(DrawRecord::Entered(entry)) => {
                    let second = entry.applicants.iter().any(|who| self.has_entered(who, seq));
                    if second {
                        self.wrong.push(format!("P3: an applicant entered again at {seq}"));
                    }
                    let entry = BallotEntry::clone(entry);
                    self.entries.insert(entry.receipt, (seq, entry));
                }
                Entry::Draw(DrawRecord::NotDrawn { receipt }) => {
                    self.ended.insert(*receipt, (seq, None));
                }
                Entry::Draw(DrawRecord::Root { root, .. }) => self.root = Some(*root),
                Entry::Draw(DrawRecord::Revealed { seed, .. }) => self.revealed = Some(*seed),
                Entry::Draw(DrawRecord::Drawing { round, .. }) => {
                    grouped = true;
                    self.groups.push((seq, *round, Vec::new()));
                }
                Entry::Draw(DrawRecord::Drawn { .. }) => grouped = false,
                Entry::Grant(grant) if grouped => {
                    if self.entries.contains_key(&grant.booking) {
                        self.ended.insert(grant.booking, (seq, Some(grant.slot)));
                    }
                    if let Some((.., grants)) = self.groups.last_mut() {
                        grants.push(grant.clone());
                    }
                }
                _ => {}
            }
        }
    }

    pub(crate) fn has_closed(&self, seq: u64) -> bool {
        self.closed.is_some_and(|closed| closed <= seq)
    }

    /// True if somebody has a live entry at a sequence.
    pub(crate) fn has_entered(&self, who: &Pseudonym, seq: u64) -> bool {
        self.entries.iter().any(|(receipt, (from, entry))| {
            let over = self.ended.get(receipt).is_some_and(|(to, _)| *to <= seq);
            *from <= seq && !over && entry.applicants.contains(who)
        })
    }

    /// True if an entry of the same request with other content stands at a sequence.
    pub(crate) fn conflicts(&self, attempt: &Attempt, seq: u64) -> bool {
        self.entries.values().any(|(from, entry)| {
            *from <= seq
                && entry.request_id == attempt.request_id
                && entry.applicants[0] == attempt.applicants[0]
                && entry.content != attempt.content
        })
    }

    pub(crate) fn judge(&self, run: &Run, wrong: &mut Vec<String>) {
        wrong.extend(self.wrong.iter().cloned());
        match run.order {
            Order::FirstCome => {}
            Order::Rounds { .. } => self.judge_rounds(wrong),
            Order::Draw => self.judge_draw(run, wrong),
        }
        self.judge_receipts(run, wrong);
    }

    fn judge_rounds(&self, wrong: &mut Vec<String>) {
        let seed = order_key().seed(LEDGER, 0);
        let mut numbers = BTreeSet::new();
        for (seq, number, grants) in &self.groups {
            let rank = |grant: &Grant| {
                let party: Vec<Pseudonym> = grant.seats.iter().map(|s| s.applicant).collect();
                order::round_rank(&seed, *number, &party)
            };
            if !grants.windows(2).all(|w| rank(&w[0]) <= rank(&w[1])) {
                wrong.push(format!("round {number} at {seq} is not in its order"));
            }
            numbers.insert(*number);
        }
        if !numbers.iter().copied().eq(1..=numbers.len() as u64) {
            wrong.push(format!("rounds are numbered {numbers:?}"));
        }
    }

    fn judge_draw(&self, run: &Run, wrong: &mut Vec<String>) {
        let (Some(root), Some(seed)) = (self.root, self.revealed) else {
            // A clock that has jumped back has not come to the close yet.
            if !run.faults.contains(&"clock jump") {
                wrong.push("P10: the draw did not take place".to_owned());
            }
            return;
        };
        let number = |receipt: &BookingId| ballot::number(LEDGER, 0, receipt);
        let entrants: Vec<order::Entrant<'_>> = self
            .entries
            .values()
            .map(|(_, entry)| order::Entrant {
                receipt: number(&entry.receipt),
                places: entry.applicants.len() as u32,
                slots: &entry.slots,
            })
            .collect();
        let mut free: Vec<u32> = opening().slots.iter().map(|slot| slot.quota.into()).collect();
        let seed = ballot::seed(&root, &seed, None);
        let expected = order::draw(&seed, &entrants, &mut free);
        for (receipt, expected) in self.entries.keys().zip(expected) {
            match self.ended.get(receipt) {
                None => wrong.push(format!("entry {receipt} was forgotten")),
                Some((seq, drawn)) if *drawn != expected => wrong.push(format!(
                    "entry {receipt} got {drawn:?} at {seq}, the draw gives it {expected:?}"
                )),
                Some(_) => {}
            }
        }
        let in_groups: usize = self.groups.iter().map(|(.., grants)| grants.len()).sum();
        let won = self.ended.values().filter(|(_, slot)| slot.is_some()).count();
        if in_groups != won {
            wrong.push(format!("{in_groups} grants in groups, {won} entries won"));
        }
        if run.live.is_none() {
            wrong.push("P10: nobody is in office".to_owned());
        }
    }

    /// Who was told of a receipt has that entry, and no other.
    fn judge_receipts(&self, run: &Run, wrong: &mut Vec<String>) {
        for attempt in &run.attempts {
            for (_, told) in &attempt.told {
                let Told::Entered { receipt, as_of } = told else { continue };
                let kept = self.entries.get(receipt).is_some_and(|(seq, entry)| {
                    *seq <= as_of.seq
                        && entry.request_id == attempt.request_id
                        && entry.applicants == attempt.applicants
                        && entry.content == attempt.content
                });
                if !kept {
                    wrong.push(format!("P2, P4: receipt {receipt} is not that of its request"));
                }
            }
        }
    }
}
