//! An opening's own draw: entries, the root over them, the seed, and who gets
//! what, group by group.
//!
//! ```text
//! committed ── entered* ── closed ── root ── revealed ── groups ── over
//! ```
//!
//! From the close on nothing else of the opening changes until the draw is over:
//! no booking, no quota, no hold that ends. So what a successor finds is what the
//! draw has left behind, and it goes on with the same result.

use std::sync::Arc;

use giliran_wire::answer::Phase;
use giliran_wire::event::Kind;
use giliran_wire::ledger::{BallotEntry, DrawRecord, Entry, Grant, Order, Seat};
use giliran_wire::snapshot::OrderState;
use giliran_wire::{BookingId, LedgerId, OrderKey, Timestamp};

use super::apply::{Applying, sorted};
use super::{Change, FoldError, Keeper, Mode};
use crate::ballot::{self, Ballot};
use crate::{Opening, Waiting, order};

/// A draw that is going on: who is still to be served.
#[derive(Debug)]
pub struct Draw {
    opening: u32,
    /// Receipts, the next one last.
    line: Vec<BookingId>,
}

/// What a draw needs next.
#[derive(Debug)]
pub enum DrawStep {
    /// An entry for the block that is being written, alone of its draw.
    Record(Box<Entry>),
    /// Groups.
    Draw(Draw),
}

impl Keeper {
    /// The commitment to an opening's seed, where its order has one, as an entry
    /// right behind the opening's.
    pub fn commitment(
        &self,
        ordinal: u32,
        order: &Order,
        key: &OrderKey,
        beacon: Option<String>,
    ) -> Option<Entry> {
        if *order == Order::FirstCome {
            return None;
        }
        let commitment = commitment(&key.seed(self.ledger(), ordinal));
        Some(Entry::Draw(DrawRecord::Committed { opening: ordinal, commitment, beacon }))
    }

    fn ledger(&self) -> LedgerId {
        self.chain.ledger.unwrap_or(LedgerId([0; 16]))
    }

    /// Gives the entry its receipt, as it enters a block. False: try with other
    /// bits.
    pub fn ballot(&mut self, entry: &mut BallotEntry, random: u128) -> bool {
        let Some(id) = self.new_id(random) else { return false };
        self.in_block.touched.insert(id);
        entry.receipt = id;
        true
    }

    /// What the draws of closed openings need next, and the seeds that are to be
    /// revealed.
    pub fn next_draw(&self, key: &OrderKey) -> Option<DrawStep> {
        let openings = self.book.openings.load();
        openings.iter().filter(|o| o.phase() == Phase::Closed).find_map(|opening| {
            let ordinal = opening.record().ordinal;
            let state = self.kept.get(&ordinal)?.order.as_ref()?;
            if state.revealed.is_some() {
                return opening.is_drawing().then(|| DrawStep::Draw(self.line(opening)));
            }
            if opening.draws() && state.root.is_none() {
                let (root, entries) = self.root(opening);
                let record = DrawRecord::Root { opening: ordinal, root, entries };
                return Some(DrawStep::Record(Box::new(Entry::Draw(record))));
            }
            // A public value is given by hand.
            if state.beacon.is_some() {
                return None;
            }
            let seed = key.seed(self.ledger(), ordinal);
            let record = DrawRecord::Revealed { opening: ordinal, seed, beacon: None };
            Some(DrawStep::Record(Box::new(Entry::Draw(record))))
        })
    }

    fn live_ballots(&self, ordinal: u32) -> impl Iterator<Item = Arc<Waiting>> + '_ {
        let entries = self.kept.get(&ordinal).into_iter().flat_map(|kept| &kept.entries);
        entries
            .filter_map(|receipt| self.book.waiting.look(receipt, |w| w.map(Arc::clone)))
            .filter(|waiting| waiting.live && !waiting.entry.waits)
    }

    /// The root over an opening's live entries, and how many there are.
    fn root(&self, opening: &Opening) -> ([u8; 32], u64) {
        let (ledger, ordinal) = (self.ledger(), opening.record().ordinal);
        let mut leaves: Vec<(BookingId, [u8; 32])> = self
            .live_ballots(ordinal)
            .map(|waiting| {
                let ballot = public(ledger, &waiting.entry);
                (ballot.number, ballot.leaf())
            })
            .collect();
        leaves.sort_unstable();
        let entries = leaves.len() as u64;
        let tree = ballot::tree(leaves.into_iter().map(|(_, leaf)| leaf).collect());
        let places: Vec<u32> =
            self.kept[&ordinal].stocks.iter().map(|stock| stock.offered().max(0) as u32).collect();
        let head = ballot::head(ledger, ordinal, opening.id(), &places);
        (ballot::root(&head, entries, &tree), entries)
    }

    /// Who is still to be served, in the order of the draw.
    fn line(&self, opening: &Opening) -> Draw {
        let (ledger, ordinal) = (self.ledger(), opening.record().ordinal);
        let state = self.kept[&ordinal].order.as_ref();
        let state = state.and_then(|state| Some((state.root?.0, state.revealed.as_ref()?)));
        let seed = state
            .map(|(root, (operator, beacon))| ballot::seed(&root, operator, beacon.as_deref()));
        let receipts: Vec<BookingId> =
            self.live_ballots(ordinal).map(|waiting| waiting.entry.receipt).collect();
        let numbers: Vec<BookingId> =
            receipts.iter().map(|receipt| ballot::number(ledger, ordinal, receipt)).collect();
        let order = order::draw_order(&seed.unwrap_or_default(), &numbers);
        let line = order.into_iter().rev().map(|i| receipts[i]).collect();
        Draw { opening: ordinal, line }
    }

    /// The next group of a draw, in at most so many bytes. None: it is over.
    pub fn draw_group(
        &mut self,
        draw: &mut Draw,
        now: Timestamp,
        most_bytes: usize,
    ) -> Option<Vec<Entry>> {
        let ordinal = draw.opening;
        let opening = self.book.openings.load().get(ordinal).map(Arc::clone)?;
        let (mut grants, mut losers) = (Vec::new(), Vec::new());
        let mut bytes = GROUP_BYTES;
        while let Some(receipt) = draw.line.last().copied() {
            let waiting = self.book.waiting.look(&receipt, |w| w.map(Arc::clone))?;
            let most = winner_bytes(&waiting.entry);
            if bytes + most > most_bytes {
                break;
            }
            draw.line.pop();
            match self.serve(&opening, &waiting, now) {
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
        if grants.is_empty() && losers.is_empty() {
            return None;
        }
        let mut entries = Vec::with_capacity(grants.len() + losers.len() + 2);
        if !grants.is_empty() {
            let round = self.kept[&ordinal].draws + 1;
            let number = grants.len() as u64;
            let begin = DrawRecord::Drawing { opening: ordinal, round, grants: number };
            entries.push(Entry::Draw(begin));
            entries.append(&mut grants);
            entries.push(Entry::Draw(DrawRecord::Drawn { opening: ordinal, round }));
        }
        entries.append(&mut losers);
        Some(entries)
    }

    /// All places of a party in the first of its slots that has them, or none.
    fn serve(&mut self, opening: &Opening, waiting: &Waiting, now: Timestamp) -> Option<Grant> {
        let entry = &waiting.entry;
        let ordinal = entry.opening;
        let places = entry.applicants.len();
        for slot in &entry.slots {
            let fits = self.stock(ordinal, *slot).has_room(places as u32)
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
            let mut seats = Vec::with_capacity(places);
            for applicant in &entry.applicants {
                // A slot with room has a number.
                let number = self.stock(ordinal, *slot).number().unwrap_or_default();
                self.in_block.taken.insert((ordinal, *slot, number));
                seats.push(Seat { applicant: *applicant, number });
            }
            let hold = opening.record().rules.hold_ms;
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
                hold_expires_at: hold.map(|ms| now.plus_millis(ms)),
            });
        }
        None
    }

    /// The public value that an opening's draw mixes in, by name.
    pub fn beacon(&self, ordinal: u32) -> Option<&str> {
        self.kept.get(&ordinal)?.order.as_ref()?.beacon.as_deref()
    }

    /// True while the draw of a closed opening waits for its public value alone.
    pub fn waits_for_beacon(&self, ordinal: u32) -> bool {
        let order = self.kept.get(&ordinal).and_then(|kept| kept.order.as_ref());
        order.is_some_and(|o| o.beacon.is_some() && o.root.is_some() && o.revealed.is_none())
    }

    /// Groups of an opening that are durable.
    pub fn groups(&self, ordinal: u32) -> u64 {
        self.kept.get(&ordinal).map_or(0, |kept| kept.draws)
    }

    /// The seed of an opening's order.
    pub fn seed(&self, ordinal: u32, key: &OrderKey) -> [u8; 32] {
        key.seed(self.ledger(), ordinal)
    }

    /// True once the seed of an opening's order is on record.
    pub(super) fn is_revealed(&self, ordinal: u32) -> bool {
        let order = self.kept.get(&ordinal).and_then(|kept| kept.order.as_ref());
        order.is_some_and(|order| order.revealed.is_some())
    }
}

/// A group's begin and end.
const GROUP_BYTES: usize = 64;
/// An entry that got nothing.
const LOSER_BYTES: usize = 4 + 4 + 10;

/// Most bytes of the grant that an entry may become.
fn winner_bytes(entry: &BallotEntry) -> usize {
    const FIXED: usize = 4 + 10 + 4 + 4 + 8 + 8 + 16 + 4 + 16 + 8 + 8;
    let text = |text: &Option<String>| text.as_ref().map_or(0, |t| 8 + t.len());
    FIXED
        + 18 * entry.applicants.len()
        + entry.request_id.len()
        + text(&entry.reference)
        + text(&entry.channel)
}

/// What commits to a seed before it is revealed.
pub(super) fn commitment(seed: &[u8; 32]) -> [u8; 32] {
    *blake3::hash(seed).as_bytes()
}

/// An entry as it is published.
fn public(ledger: LedgerId, entry: &BallotEntry) -> Ballot {
    Ballot {
        number: ballot::number(ledger, entry.opening, &entry.receipt),
        holder: ballot::holder(&entry.receipt, &entry.request_id),
        places: entry.applicants.len() as u16,
        slots: entry.slots.clone(),
    }
}

impl Applying<'_> {
    /// An opening whose order needs a seed has a commitment to it before it opens.
    pub(super) fn is_committed(&self, opening: &Opening) -> bool {
        let kept = self.keeper.kept.get(&opening.record().ordinal);
        opening.record().rules.order == Order::FirstCome
            || kept.is_some_and(|kept| kept.order.is_some())
    }

    pub(super) fn committed(
        &mut self,
        ordinal: u32,
        commitment: [u8; 32],
        beacon: Option<String>,
    ) -> Result<(), FoldError> {
        let opening = self.opening(ordinal)?;
        if self.is_committed(&opening) || opening.phase() != Phase::Scheduled {
            return Err(self.damage(&format!("a seed of opening number {ordinal} out of place")));
        }
        if let Some(kept) = self.keeper.kept.get_mut(&ordinal) {
            kept.order = Some(OrderState {
                opening: ordinal,
                commitment,
                beacon,
                root: None,
                revealed: None,
            });
        }
        Ok(())
    }

    pub(super) fn rooted(
        &mut self,
        ordinal: u32,
        root: [u8; 32],
        entries: u64,
    ) -> Result<(), FoldError> {
        let opening = self.opening(ordinal)?;
        let drawing = opening.is_drawing();
        let kept = self.keeper.kept.get_mut(&ordinal);
        let fits = kept.as_ref().is_some_and(|kept| kept.ballots == entries);
        match kept.and_then(|kept| kept.order.as_mut()) {
            Some(order) if drawing && fits && order.root.is_none() => {
                order.root = Some((root, entries));
                Ok(())
            }
            _ => Err(self.damage(&format!("a root of opening number {ordinal} out of place"))),
        }
    }

    /// Releases reveal seeds of their own, which nobody committed to.
    pub(super) fn revealed(
        &mut self,
        ordinal: u32,
        seed: [u8; 32],
        beacon: Option<Vec<u8>>,
    ) -> Result<(), FoldError> {
        let opening = self.opening(ordinal)?;
        let Some(kept) = self.keeper.kept.get_mut(&ordinal) else { return Ok(()) };
        let (draws, ballots) = (opening.draws(), kept.ballots);
        let Some(order) = kept.order.as_mut() else { return Ok(()) };
        let committed = commitment(&seed) == order.commitment;
        if order.revealed.is_some() || (!draws && !committed) {
            return Ok(());
        }
        let ready = opening.phase() == Phase::Closed
            && (!draws || (order.root.is_some() && order.beacon.is_some() == beacon.is_some()));
        if !committed || !ready {
            return Err(self.damage(&format!("the seed of opening number {ordinal} is another")));
        }
        order.revealed = Some((seed, beacon));
        if draws {
            opening.set_drawn(ballots == 0);
        }
        Ok(())
    }

    /// Somebody entered an opening's draw.
    pub(super) fn ballot(&mut self, entry: BallotEntry) -> Result<(), FoldError> {
        let opening = self.opening(entry.opening)?;
        let receipt = entry.receipt;
        let damage = |this: &Self, what: &str| this.damage(&format!("entry {receipt}: {what}"));
        if entry.applicants.is_empty() || entry.slots.iter().any(|slot| *slot >= opening.slots()) {
            return Err(damage(self, "has nobody, or wants no slot"));
        }
        if !opening.draws() || opening.phase() != Phase::Open {
            return Err(damage(self, "enters where nothing is to be drawn"));
        }
        let enters = |waiting: &Arc<Waiting>| waiting.live;
        let second = entry.applicants.iter().any(|who| {
            opening
                .claims
                .look(who, |claim| claim.and_then(|claim| claim.waiting()).is_some_and(enters))
        });
        if second {
            return Err(damage(self, "is an applicant's second"));
        }
        let live = self.mode == Mode::Live;
        if let Some(account) = entry.account {
            opening.accounts.grant(account, entry.applicants.len() as u32, live);
        }
        let waiting = Arc::new(Waiting { entry, since: self.time, live: true });
        if self.keeper.book.waiting.insert(receipt, Arc::clone(&waiting)).is_some() {
            return Err(damage(self, "entered twice"));
        }
        for applicant in &waiting.entry.applicants {
            self.forget_withdrawn(&opening, applicant);
            opening.claims.enter(*applicant, &waiting, live);
        }
        if let Some(kept) = self.keeper.kept.get_mut(&waiting.entry.opening) {
            kept.entries.insert(receipt);
            kept.ballots += 1;
        }
        self.changes.push(Change::Entry { kind: Kind::Entered, waiting, opening });
        Ok(())
    }

    /// Entered into an opening's own draw, an entry counts for its account; no
    /// more once it has ended.
    pub(super) fn end_account(&mut self, waiting: &Waiting) {
        let entry = &waiting.entry;
        let openings = self.keeper.book.openings.load();
        if let (Some(account), Some(opening)) = (&entry.account, openings.get(entry.opening))
            && !entry.waits
        {
            opening.accounts.end(account, entry.applicants.len() as u32);
        }
    }
}
