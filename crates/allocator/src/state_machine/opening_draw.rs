//! An opening's own draw, a piece at a time: the root over its entries, the seed,
//! their order, and who gets what, group by group.
//!
//! Between two pieces the engine does what else there is to do. A successor begins
//! a piece of work anew that its predecessor has not put on record, and comes to
//! the same: what it rests on does not change from the close on.

use std::ops::Bound;
use std::sync::Arc;

use giliran_wire::answer::Phase;
use giliran_wire::ledger::{DrawEntryRecord, DrawRecord, Entry, Grant, Seat, Seats};
use giliran_wire::{BookingId, LedgerId, OrderKey, Timestamp};

use super::StateMachine;
use super::apply::sorted;
use crate::ballot::{self, Ballot, Hash, Tree};
use crate::order::{Rank, draw_rank};
use crate::{DrawEntry, Opening};

/// Most entries that one step looks at: ten to twenty milliseconds.
const PIECE: usize = 8_192;
/// Most leaves that one step makes a tree of.
const LEAVES: usize = 4 * PIECE;
/// A group's begin and end.
const GROUP_BYTES: usize = 64;
/// An entry that got nothing.
const LOSER_BYTES: usize = 4 + 4 + 10;

/// A draw that is going on.
#[derive(Debug)]
pub struct OpeningDraw {
    opening: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Leaves by their numbers; the entries up to this receipt are read.
    Reading { after: Option<BookingId>, leaves: Buckets<(BookingId, Hash)> },
    /// The leaves become a tree.
    Hashing { leaves: Sorted<(BookingId, Hash)>, tree: Tree },
    /// Nothing but the seed is missing.
    Revealing { seed: Hash },
    /// Ranks, numbers and receipts; the entries up to this receipt are read.
    Ranking { after: Option<BookingId>, seed: Hash, line: Buckets<Place> },
    /// Who is still to be served.
    Serving { line: Sorted<Place> },
}

/// An entry's place in line: its rank, its number, its receipt.
type Place = (Rank, BookingId, BookingId);

/// What a step of a draw came to.
#[derive(Debug)]
pub enum DrawStep {
    /// Nothing to be written yet; there is more to do.
    Working,
    /// An entry for the block that is being written, alone of its draw, which goes
    /// on once it is durable.
    Record(Box<Entry>),
    /// A group, for that block.
    Group(Vec<Entry>),
    /// Every entry has a grant, or none; the draw has ended.
    Over,
}

impl StateMachine {
    /// The next draw of a closed opening, or seed to be revealed, from where the
    /// ledger has it.
    pub fn next_opening_draw(&self, key: &OrderKey) -> Option<OpeningDraw> {
        let openings = self.allocator.openings.load();
        openings.iter().filter(|o| o.phase() == Phase::Closed).find_map(|opening| {
            let ordinal = opening.record().ordinal;
            let state = self.openings.get(&ordinal)?.order.as_ref()?;
            let stage = match (&state.revealed, state.root) {
                // Every block of the opening's later days comes by here.
                (Some(_), _) if !opening.is_drawing() => return None,
                (Some(_), _) => {
                    let seed = self.draw_seed(ordinal)?;
                    Stage::Ranking { after: None, seed, line: Buckets::new() }
                }
                (None, None) if opening.draws() => {
                    Stage::Reading { after: None, leaves: Buckets::new() }
                }
                // A public value is given by hand.
                (None, _) if state.beacon.is_some() => return None,
                (None, _) => Stage::Revealing { seed: key.seed(self.ledger(), ordinal) },
            };
            Some(OpeningDraw { opening: ordinal, stage })
        })
    }

    /// One step of a draw; a group takes at most so many bytes.
    pub fn advance_opening_draw(
        &mut self,
        draw: &mut OpeningDraw,
        now: Timestamp,
        most_bytes: usize,
    ) -> DrawStep {
        let (ledger, ordinal) = (self.ledger(), draw.opening);
        let Some(opening) = self.allocator.openings.load().get(ordinal).map(Arc::clone) else {
            return DrawStep::Over;
        };
        let mut left = PIECE;
        loop {
            match &mut draw.stage {
                Stage::Reading { after, leaves } => {
                    let all = self.read_ballots(ordinal, after, &mut left, |waiting| {
                        let ballot = public(ledger, &waiting.entry);
                        leaves.push(of_number(&ballot.number), (ballot.number, ballot.leaf()));
                    });
                    if !all {
                        return DrawStep::Working;
                    }
                    let leaves = std::mem::take(leaves).sorted();
                    draw.stage = Stage::Hashing { leaves, tree: Tree::default() };
                }
                Stage::Hashing { leaves, tree } => {
                    leaves.by_ref().take(LEAVES).for_each(|(_, leaf)| tree.push(leaf));
                    if !leaves.is_empty() {
                        return DrawStep::Working;
                    }
                    let entries = tree.leaves();
                    let root = ballot::root(&self.head(&opening), entries, &tree.top());
                    let record = DrawRecord::Root { opening: ordinal, root, entries };
                    return DrawStep::Record(Box::new(Entry::Draw(record)));
                }
                Stage::Revealing { seed } => {
                    let record =
                        DrawRecord::Revealed { opening: ordinal, seed: *seed, beacon: None };
                    return DrawStep::Record(Box::new(Entry::Draw(record)));
                }
                Stage::Ranking { after, seed, line } => {
                    let all = self.read_ballots(ordinal, after, &mut left, |waiting| {
                        let receipt = waiting.entry.receipt;
                        let number = ballot::number(ledger, ordinal, &receipt);
                        let rank = draw_rank(seed, &number);
                        line.push(of_rank(&rank), (rank, number, receipt));
                    });
                    if !all {
                        return DrawStep::Working;
                    }
                    draw.stage = Stage::Serving { line: std::mem::take(line).sorted() };
                }
                Stage::Serving { line } => {
                    let group = self.group(&opening, line, now, most_bytes);
                    return match (group.is_empty(), line.is_empty()) {
                        (false, _) => DrawStep::Group(group),
                        (true, false) => DrawStep::Working,
                        (true, true) => DrawStep::Over,
                    };
                }
            }
        }
    }

    /// Shows an opening's next live entries; true: that was all of them.
    fn read_ballots(
        &self,
        ordinal: u32,
        after: &mut Option<BookingId>,
        left: &mut usize,
        mut see: impl FnMut(&DrawEntry),
    ) -> bool {
        let Some(index) = self.openings.get(&ordinal) else { return true };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for receipt in index.entries.range((from, Bound::Unbounded)) {
            if *left == 0 {
                return false;
            }
            *left -= 1;
            self.allocator.waiting.look(receipt, |waiting| {
                if let Some(waiting) = waiting.filter(|w| w.is_live() && !w.entry.waits) {
                    see(waiting);
                }
            });
            *after = Some(*receipt);
        }
        true
    }

    fn head(&self, opening: &Opening) -> Hash {
        let ordinal = opening.record().ordinal;
        let places = self.openings[&ordinal]
            .inventories
            .iter()
            .map(|inventory| inventory.available().max(0) as u32);
        ballot::head(self.ledger(), opening.record(), self.beacon(ordinal), places)
    }

    /// The next group, in at most so many bytes. Empty: nobody is left, or there is
    /// no room.
    fn group(
        &mut self,
        opening: &Opening,
        line: &mut Sorted<Place>,
        now: Timestamp,
        most_bytes: usize,
    ) -> Vec<Entry> {
        let ordinal = opening.record().ordinal;
        // One moment for the whole draw, and on record: else its result would turn
        // on how fast its groups are written.
        let revealed =
            self.openings[&ordinal].order.as_ref().and_then(|order| order.revealed.as_ref());
        let by = revealed.map_or(now, |revealed| revealed.at);
        let (mut grants, mut losers) = (Vec::new(), Vec::new());
        let mut bytes = GROUP_BYTES;
        while let Some((_, _, receipt)) = line.lowest().copied() {
            let waiting = self.allocator.waiting.look(&receipt, |w| w.map(Arc::clone));
            // From the close on entries stay until they are served.
            let Some(waiting) = waiting else { break };
            let most = winner_bytes(&waiting.entry);
            if bytes + most > most_bytes || grants.len() + losers.len() == PIECE {
                break;
            }
            line.next();
            match self.serve(opening, &waiting, (by, now)) {
                Some(grant) => {
                    bytes += most;
                    grants.push(Entry::Grant(grant));
                }
                None => {
                    bytes += LOSER_BYTES;
                    losers.push(Entry::Draw(DrawRecord::NotDrawn { receipt }));
                }
            }
            self.in_block.touched.insert(receipt);
        }
        let mut entries = Vec::with_capacity(grants.len() + losers.len() + 2);
        if !grants.is_empty() {
            let round = self.openings[&ordinal].draws + 1;
            let number = grants.len() as u64;
            let begin = DrawRecord::GroupBegin { opening: ordinal, round, grants: number };
            entries.push(Entry::Draw(begin));
            entries.append(&mut grants);
            entries.push(Entry::Draw(DrawRecord::GroupEnd { opening: ordinal, round }));
        }
        entries.append(&mut losers);
        entries
    }

    /// All places of a party in the first of its slots that has them, or none.
    /// `by`: whatever can be booked then.
    fn serve(
        &mut self,
        opening: &Opening,
        waiting: &DrawEntry,
        (by, now): (Timestamp, Timestamp),
    ) -> Option<Grant> {
        let entry = &waiting.entry;
        let ordinal = entry.opening;
        let places = entry.applicants.len();
        for slot in &entry.slots {
            let fits = opening.is_bookable(*slot, by)
                && self.inventory(ordinal, *slot).has_room(places as u32)
                && opening.free[*slot as usize].take(places as i32);
            if !fits {
                continue;
            }
            // Nobody else can claim them: the opening has closed.
            let party = sorted(entry.applicants.iter().copied());
            if opening.claims.take(&party).is_err() {
                opening.free[*slot as usize].give(places as i32);
                return None;
            }
            let mut seats = Seats::with_capacity(places);
            for applicant in &entry.applicants {
                // A slot with room has a number.
                let number = self.inventory(ordinal, *slot).number().unwrap_or_default();
                self.in_block.taken.insert((ordinal, *slot, number));
                seats.push(Seat { applicant: *applicant, number });
            }
            return Some(Grant {
                booking: entry.receipt,
                opening: ordinal,
                slot: *slot,
                seats,
                request_id: entry.request_id.clone(),
                content: entry.content,
                reference: entry.reference.clone(),
                account: entry.account,
                channel: entry.channel.clone(),
                hold_expires_at: opening.hold_end(*slot, now),
            });
        }
        None
    }
}

/// Most bytes of the grant that an entry may become.
fn winner_bytes(entry: &DrawEntryRecord) -> usize {
    const FIXED: usize = 4 + 10 + 4 + 4 + 8 + 8 + 16 + 4 + 16 + 8 + 8;
    let text = |text: &Option<String>| text.as_ref().map_or(0, |t| 8 + t.len());
    // All fields are named, so that a new one that the grant takes over is counted.
    let DrawEntryRecord {
        receipt: _,
        opening: _,
        applicants,
        slots: _,
        request_id,
        content: _,
        reference,
        account: _,
        channel,
        waits: _,
    } = entry;
    FIXED + 18 * applicants.len() + request_id.len() + text(reference) + text(channel)
}

/// An entry as it is published.
fn public(ledger: LedgerId, entry: &DrawEntryRecord) -> Ballot {
    Ballot {
        number: ballot::number(ledger, entry.opening, &entry.receipt),
        holder: ballot::holder(&entry.receipt, &entry.request_id),
        places: entry.applicants.len() as u16,
        slots: entry.slots.clone(),
    }
}

/// The bits that buckets go by.
const BUCKET_BITS: u32 = 11;

/// A number's first bits, but for the five that are zero.
fn of_number(number: &BookingId) -> usize {
    let [first, second, ..] = *number.as_bytes();
    usize::from(u16::from_be_bytes([first, second])) % (1 << BUCKET_BITS)
}

fn of_rank(rank: &Rank) -> usize {
    let [first, second, ..] = *rank;
    usize::from(u16::from_be_bytes([first, second]) >> (16 - BUCKET_BITS))
}

/// Values on their way to be sorted, each in the bucket of its first bits, which
/// are uniformly random: a million are never sorted in one go.
#[derive(Debug)]
struct Buckets<T>(Vec<Vec<T>>);

impl<T> Default for Buckets<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> Buckets<T> {
    fn new() -> Self {
        Self((0..1 << BUCKET_BITS).map(|_| Vec::new()).collect())
    }

    fn push(&mut self, bucket: usize, value: T) {
        self.0[bucket].push(value);
    }

    fn sorted(self) -> Sorted<T> {
        let mut sorted = Sorted { bucket: Vec::new(), buckets: self.0.into_iter() };
        sorted.fill();
        sorted
    }
}

/// The same values, the lowest first.
#[derive(Debug)]
struct Sorted<T> {
    /// Sorted, the lowest last; empty: there is no other either.
    bucket: Vec<T>,
    buckets: std::vec::IntoIter<Vec<T>>,
}

impl<T: Ord> Sorted<T> {
    fn fill(&mut self) {
        while self.bucket.is_empty()
            && let Some(mut next) = self.buckets.next()
        {
            next.sort_unstable_by(|one, other| other.cmp(one));
            self.bucket = next;
        }
    }

    fn lowest(&self) -> Option<&T> {
        self.bucket.last()
    }

    fn is_empty(&self) -> bool {
        self.bucket.is_empty()
    }
}

impl<T: Ord> Iterator for Sorted<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let lowest = self.bucket.pop();
        self.fill();
        lowest
    }
}

#[cfg(test)]
mod tests {
    use giliran_wire::{Digest, Pseudonym};

    use super::*;

    /// A group that was counted too short would make its block outgrow what the broker
    /// takes.
    #[test]
    fn a_winners_grant_takes_no_more_bytes_than_are_counted_for_it() {
        let people = (1..=5).map(|n| Pseudonym::from_bytes([n; 16]));
        let full = DrawEntryRecord {
            receipt: BookingId::from_random(1),
            opening: 1,
            applicants: people.clone().collect(),
            slots: vec![2],
            request_id: "r".repeat(64),
            content: Digest([0; 16]),
            reference: Some("o".repeat(64)),
            account: Some(Pseudonym::from_bytes([9; 16])),
            channel: Some("c".repeat(16)),
            waits: false,
        };
        let grant = Grant {
            booking: full.receipt,
            opening: full.opening,
            slot: 2,
            seats: people.map(|applicant| Seat { applicant, number: 1 }).collect(),
            request_id: full.request_id.clone(),
            content: full.content,
            reference: full.reference.clone(),
            account: full.account,
            channel: full.channel.clone(),
            hold_expires_at: Some(Timestamp::from_millis(1)),
        };
        let mut bytes = Vec::new();
        giliran_wire::codec::encode_into(&Entry::Grant(grant), &mut bytes);
        assert!(bytes.len() <= winner_bytes(&full), "{} bytes", bytes.len());
    }

    #[test]
    fn buckets_sort_numbers_and_ranks_as_a_whole_sort_does() {
        let hash = |i: u32| *blake3::hash(&i.to_le_bytes()).as_bytes();
        let number = |i| {
            let (first, _) =
                hash(i).split_first_chunk::<16>().map(|(a, b)| (*a, b)).unwrap_or_default();
            BookingId::from_random(u128::from_be_bytes(first))
        };
        let (mut numbers, mut ranks) = (Buckets::new(), Buckets::new());
        for i in 0..5_000 {
            numbers.push(of_number(&number(i)), number(i));
            ranks.push(of_rank(&hash(i)), hash(i));
        }
        let numbers: Vec<_> = numbers.sorted().collect();
        let ranks: Vec<_> = ranks.sorted().collect();
        assert!(numbers.len() == 5_000 && numbers.is_sorted());
        assert!(ranks.len() == 5_000 && ranks.is_sorted());
    }
}
