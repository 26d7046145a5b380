//! Judges rounds and draws: what the ledger holds of them against the order's own
//! definition, and what clients were told of their entries.

use std::collections::{BTreeMap, BTreeSet};

use giliran_allocator::{ballot, order};
use giliran_wire::ledger::{DrawEntryRecord, DrawRecord, Entry, Grant, Order};
use giliran_wire::{BookingId, Pseudonym};

use crate::world::{Attempt, ClientAnswer, LEDGER, Run, order_key};

/// What the ledger holds of rounds and draws.
#[derive(Debug, Default)]
pub(super) struct Orders {
    entries: BTreeMap<BookingId, (u64, DrawEntryRecord)>,
    /// Slot of each entry that is over, and the block that ended it.
    ended: BTreeMap<BookingId, (u64, Option<u32>)>,
    withdrawn: BTreeSet<BookingId>,
    root: Option<([u8; 32], Vec<u32>)>,
    revealed: Option<[u8; 32]>,
    /// Block, number and grants of each group.
    groups: Vec<(u64, u64, Vec<Grant>)>,
    /// Numbers of groups of returned places.
    releases: BTreeSet<u64>,
    pub(super) wrong: Vec<String>,
}

impl Orders {
    /// A block's entries; `places`: what each slot has free before it.
    pub(super) fn fold(&mut self, seq: u64, entries: &[Entry], places: &[i64]) {
        let mut group: Option<(u64, Vec<Grant>)> = None;
        for entry in entries {
            match entry {
                Entry::Draw(DrawRecord::Entered(entry)) => self.entered(seq, entry),
                Entry::Draw(DrawRecord::NotDrawn { receipt }) => self.end(seq, *receipt, None),
                Entry::Draw(DrawRecord::Withdrawn { receipt, .. }) => {
                    self.end(seq, *receipt, None);
                    self.withdrawn.insert(*receipt);
                }
                Entry::Draw(DrawRecord::Root { root, .. }) => {
                    let places = places.iter().map(|free| (*free).max(0) as u32).collect();
                    self.root = Some((*root, places));
                }
                // Those of releases have seeds of their own.
                Entry::Draw(DrawRecord::Revealed { seed, .. })
                    if self.root.is_some() && self.revealed.is_none() =>
                {
                    self.revealed = Some(*seed);
                }
                Entry::Draw(DrawRecord::GroupBegin { round, .. }) => {
                    group = Some((*round, Vec::new()));
                }
                Entry::Draw(DrawRecord::GroupEnd { .. }) => {
                    let (round, grants) = group.take().unwrap_or_default();
                    self.group(seq, round, grants);
                }
                Entry::Grant(grant) => {
                    if let Some((_, grants)) = &mut group {
                        grants.push(grant.clone());
                    }
                }
                _ => {}
            }
        }
    }

    fn entered(&mut self, seq: u64, entry: &DrawEntryRecord) {
        if entry.applicants.iter().any(|who| self.has_entered(who, seq)) {
            self.wrong.push(format!("P3: an applicant entered again at {seq}"));
        }
        self.entries.insert(entry.receipt, (seq, entry.clone()));
    }

    fn end(&mut self, seq: u64, receipt: BookingId, slot: Option<u32>) {
        let known = self.entries.contains_key(&receipt);
        if !known || self.ended.insert(receipt, (seq, slot)).is_some() {
            self.wrong
                .push(format!("{receipt} ends at {seq} and is not a live entry; expected one"));
        }
    }

    fn group(&mut self, seq: u64, round: u64, grants: Vec<Grant>) {
        let mut waited = false;
        for grant in &grants {
            let Some((_, entry)) = self.entries.get(&grant.booking) else { continue };
            waited |= entry.waits;
            if !entry.slots.contains(&grant.slot) {
                self.wrong.push(format!("entry {} got a slot it did not want", grant.booking));
            }
            self.end(seq, grant.booking, Some(grant.slot));
        }
        if waited {
            self.releases.insert(round);
        } else {
            self.groups.push((seq, round, grants));
        }
    }

    /// True if a booking of this id was an entry.
    pub(super) fn is_entry(&self, id: &BookingId) -> bool {
        self.entries.contains_key(id)
    }

    /// The people of an entry, where there is one.
    pub(super) fn entry(&self, receipt: &BookingId) -> Option<&DrawEntryRecord> {
        self.entries.get(receipt).map(|(_, entry)| entry)
    }

    /// True if an entry was made and is not over, at a sequence.
    pub(super) fn is_live(&self, receipt: &BookingId, seq: u64) -> bool {
        let made = self.entries.get(receipt).is_some_and(|(from, _)| *from <= seq);
        made && self.ended.get(receipt).is_none_or(|(to, _)| *to > seq)
    }

    /// True once nothing is left to be drawn of the opening's own draw.
    pub(super) fn is_drawn(&self) -> bool {
        let over = |(receipt, (_, entry)): (&BookingId, &(u64, DrawEntryRecord))| {
            entry.waits || self.ended.contains_key(receipt)
        };
        self.revealed.is_some() && self.entries.iter().all(over)
    }

    /// True if somebody has a live entry at a sequence.
    pub(super) fn has_entered(&self, who: &Pseudonym, seq: u64) -> bool {
        self.entries.iter().any(|(receipt, (_, entry))| {
            entry.applicants.contains(who) && self.is_live(receipt, seq)
        })
    }

    /// Places that an account's live entries into the opening's own draw stand for.
    pub(super) fn places_of(&self, account: &Pseudonym, seq: u64) -> usize {
        let of = |(receipt, (_, entry)): (&BookingId, &(u64, DrawEntryRecord))| {
            let counts = !entry.waits && entry.account.as_ref() == Some(account);
            (counts && self.is_live(receipt, seq)).then_some(entry.applicants.len())
        };
        self.entries.iter().filter_map(of).sum()
    }

    /// True if an entry of the same request with other content stands at a sequence.
    pub(super) fn conflicts(&self, attempt: &Attempt, seq: u64) -> bool {
        self.entries.values().any(|(from, entry)| {
            *from <= seq
                && entry.request_id == attempt.request_id
                && entry.applicants[0] == attempt.applicants[0]
                && entry.content != attempt.content
        })
    }

    /// `retired`: the opening has left memory.
    pub(super) fn judge(&self, run: &Run, retired: bool, wrong: &mut Vec<String>) {
        wrong.extend(self.wrong.iter().cloned());
        match run.setup.order {
            Order::FirstCome => {}
            Order::Rounds { .. } => self.judge_rounds(wrong),
            // One that closes when its days are over has nothing left to draw.
            Order::Draw if retired => {}
            Order::Draw => self.judge_draw(wrong),
        }
        self.judge_receipts(run, wrong);
    }

    fn judge_rounds(&self, wrong: &mut Vec<String>) {
        let seed = order_key().seed(LEDGER, 0);
        let mut numbers = self.releases.clone();
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

    fn judge_draw(&self, wrong: &mut Vec<String>) {
        let (Some((root, places)), Some(seed)) = (&self.root, self.revealed) else {
            wrong.push("P10: the draw did not take place".to_owned());
            return;
        };
        let number = |receipt: &BookingId| ballot::number(LEDGER, 0, receipt);
        let drawn = self
            .entries
            .iter()
            .filter(|(receipt, (_, entry))| !entry.waits && !self.withdrawn.contains(receipt));
        let drawn: Vec<(&BookingId, &DrawEntryRecord)> =
            drawn.map(|(receipt, (_, entry))| (receipt, entry)).collect();
        let entrants = drawn.iter().map(|(receipt, entry)| order::Entrant {
            receipt: number(receipt),
            places: entry.applicants.len() as u32,
            slots: &entry.slots,
        });
        let entrants: Vec<order::Entrant<'_>> = entrants.collect();
        let seed = ballot::seed(root, &seed, None);
        let expected = order::draw(&seed, &entrants, &mut places.clone());
        let mut won = 0;
        for ((receipt, _), expected) in drawn.iter().zip(expected) {
            match self.ended.get(*receipt) {
                None => wrong.push(format!("entry {receipt} was forgotten")),
                Some((seq, drawn)) if *drawn != expected => wrong.push(format!(
                    "entry {receipt} got {drawn:?} at {seq}, the draw gives it {expected:?}"
                )),
                Some((_, drawn)) => won += usize::from(drawn.is_some()),
            }
        }
        let in_groups: usize = self.groups.iter().map(|(.., grants)| grants.len()).sum();
        if in_groups != won {
            wrong.push(format!("{in_groups} grants in groups, {won} entries won"));
        }
    }

    /// Who was told of a receipt has that entry, and no other.
    fn judge_receipts(&self, run: &Run, wrong: &mut Vec<String>) {
        for attempt in &run.attempts {
            for heard in &attempt.answers {
                let ClientAnswer::Entered { receipt, as_of } = &heard.answer else { continue };
                let kept = self.entries.get(receipt).is_some_and(|(seq, entry)| {
                    let same = entry.request_id == attempt.request_id
                        && entry.content == attempt.content
                        && entry.applicants == attempt.applicants;
                    *seq <= as_of.seq && (same || attempt.change.is_some())
                });
                if !kept && !run.was_lost(heard) {
                    wrong.push(format!("P2, P4: receipt {receipt} is not that of its request"));
                }
            }
        }
    }
}
