//! What time brings: openings and closes, expiries, releases, draws.

use std::collections::BTreeMap;
use std::sync::Arc;

use giliran_wire::answer::{Phase, Status};
use giliran_wire::ledger::{DrawRecord, Entry, Expire, Grant, Order, Released, ReturnRule, Seat};
use giliran_wire::{BookingId, Timestamp};

use super::StateMachine;
use super::apply::sorted;
use crate::{DrawEntry, Opening};

/// A draw for the places of one release, group by group: each group is in one
/// block, complete or not at all.
///
/// The order is that of BLAKE3, keyed with a random seed, over the receipts; the
/// seed stands in the ledger before the first grant, so that the order can be
/// recomputed.
#[derive(Debug)]
pub struct WaitlistDraw {
    opening: u32,
    seed: [u8; 32],
    /// Receipts still to be drawn, the next one last.
    order: Vec<BookingId>,
    /// Up to which release.
    due: Timestamp,
}

impl StateMachine {
    /// Openings whose state is to change at engine time `now`, as entries.
    pub fn due(&self, now: Timestamp) -> Vec<Entry> {
        let mut entries = Vec::new();
        for opening in self.allocator.openings.load().iter() {
            let (opens_at, closes_at) = opening.window();
            let ordinal = opening.record().ordinal;
            let opens = match opening.phase() {
                Phase::Scheduled => now >= opens_at,
                // Extended after its close. Where a seed was revealed then, it
                // stays closed.
                Phase::Closed => {
                    opening.record().rules.order == Order::FirstCome && now < closes_at
                }
                Phase::Open => false,
            };
            if opens {
                entries.push(Entry::Opened { opening: ordinal });
            }
            // One that was missed altogether, or ended before it began, opens and
            // closes.
            if (opening.phase() == Phase::Open || opens) && now >= closes_at {
                entries.push(Entry::Closed { opening: ordinal });
            }
        }
        entries
    }

    /// When the next opening opens or closes.
    pub fn next_due(&self) -> Option<Timestamp> {
        let openings = self.allocator.openings.load();
        let next = |opening: &Arc<Opening>| match opening.phase() {
            Phase::Scheduled => Some(opening.window().0),
            Phase::Open => Some(opening.window().1),
            Phase::Closed => None,
        };
        openings.iter().filter_map(next).min()
    }

    /// When the next hold ends, or place is released.
    pub fn next_return(&self) -> Option<Timestamp> {
        let held = self.holds.first().map(|(at, _)| *at);
        let delayed = self.delayed.first().map(|(at, ..)| *at);
        let collected = self.collected.first().map(|(at, ..)| *at);
        let waiting = self.waiting.first().map(|(at, ..)| *at);
        [held, delayed, collected, waiting].into_iter().flatten().min()
    }

    /// Holds that have ended at engine time `now`, at most so many, as entries
    /// for the block that is being written; and how many were given.
    pub fn expiries(
        &mut self,
        now: Timestamp,
        most: usize,
        random: &mut dyn FnMut() -> u128,
    ) -> Vec<Entry> {
        let mut entries = Vec::new();
        let due: Vec<(Timestamp, BookingId)> = self
            .holds
            .range(..=(now, BookingId::from_random(u128::MAX)))
            .filter(|(_, id)| !self.in_block.touched.contains(id))
            .take(most)
            .copied()
            .collect();
        for (at, id) in due {
            let Some(found) = self.allocator.booking(&id).and_then(|b| self.allocator.found(b))
            else {
                // Its opening has retired: nothing is due any more.
                self.holds.remove(&(at, id));
                continue;
            };
            if found.booking.status != Status::Held || found.opening.is_drawing() {
                continue;
            }
            self.in_block.touched.insert(id);
            let release_at = release_at(&found.opening.record().rules.expired, now, random);
            entries.push(Entry::Expire(Expire { booking: id, release_at }));
        }
        entries
    }

    /// Delayed places whose moment has come, at most so many, as entries.
    pub fn releases(&self, now: Timestamp, most: usize) -> Vec<Entry> {
        let due = self.delayed.iter().take_while(|(at, ..)| *at <= now).take(most);
        let due = due.map(|(_, opening, slot, number)| (*opening, *slot, *number));
        released(due.filter(|number| !self.in_block.revived.contains(number)))
    }

    /// The draw that is due at engine time `now`, if one is.
    pub fn due_waitlist_draw(&self, now: Timestamp, seed: [u8; 32]) -> Option<WaitlistDraw> {
        let collected = self.collected.first().map(|(at, opening, ..)| (*at, *opening));
        let waiting = self.waiting.first().map(|(at, opening, _)| (*at, *opening));
        let (at, opening) = collected.into_iter().chain(waiting).min()?;
        if at > now {
            return None;
        }
        let mut order: Vec<([u8; 32], BookingId)> = self
            .waiting
            .iter()
            .take_while(|(due, ..)| *due <= now)
            .filter(|(_, of, _)| *of == opening)
            .map(|(_, _, id)| (*blake3::keyed_hash(&seed, id.as_bytes()).as_bytes(), *id))
            .collect();
        order.sort_unstable_by(|one, other| other.cmp(one));
        let order = order.into_iter().map(|(_, id)| id).collect();
        Some(WaitlistDraw { opening, seed, order, due: now })
    }

    /// The next group of a draw: at most so many of the waiting are decided; once
    /// nobody is left, what nobody waits for is released. None: the draw is over.
    pub fn advance_waitlist_draw(
        &mut self,
        drawing: &mut WaitlistDraw,
        now: Timestamp,
        most: usize,
    ) -> Option<Vec<Entry>> {
        let ordinal = drawing.opening;
        let opening = self.allocator.openings.load().get(ordinal).map(Arc::clone)?;
        let mut pool: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
        let due = self.collected.iter().take_while(|(at, ..)| *at <= drawing.due);
        for (_, _, slot, number) in due.filter(|(_, of, ..)| *of == ordinal) {
            if self.in_block.revived.contains(&(ordinal, *slot, *number)) {
                continue;
            }
            pool.entry(*slot).or_default().push(*number);
        }
        // What lies beyond a lowered quota is no number to be given: released, it
        // pays the debt, or lets a lower one be had.
        let inventories = &self.openings[&ordinal].inventories;
        let beyond = pool.iter().flat_map(|(slot, numbers)| {
            let quota = inventories[*slot as usize].quota;
            let beyond = numbers.iter().filter(move |number| **number > quota);
            beyond.map(|number| (ordinal, *slot, *number))
        });
        let beyond = released(beyond.take(most));
        if !beyond.is_empty() {
            return Some(beyond);
        }
        // The lowest number is given first.
        pool.values_mut().for_each(|numbers| numbers.sort_unstable_by(|a, b| b.cmp(a)));
        if drawing.order.is_empty() {
            let rest = pool.into_iter().flat_map(|(slot, numbers)| {
                numbers.into_iter().map(move |number| (ordinal, slot, number))
            });
            let entries = released(rest.take(most));
            return (!entries.is_empty()).then_some(entries);
        }
        let mut grants = Vec::new();
        let mut losers = Vec::new();
        for _ in 0..most {
            let Some(receipt) = drawing.order.pop() else { break };
            let waiting = self.allocator.waiting.look(&receipt, |w| w.map(Arc::clone));
            // Withdrawn meanwhile, or to be in this very block.
            let Some(waiting) = waiting.filter(|waiting| waiting.is_live()) else { continue };
            if self.in_block.touched.contains(&receipt) {
                continue;
            }
            match self.draw_one(&opening, &waiting, &mut pool, now) {
                Some(grant) => grants.push(Entry::Grant(grant)),
                None => losers.push(Entry::Draw(DrawRecord::NotDrawn { receipt })),
            }
            self.in_block.touched.insert(receipt);
        }
        if !grants.is_empty() {
            grants = self.waitlist_group(drawing, grants);
        }
        grants.append(&mut losers);
        Some(grants)
    }

    /// Grants of a draw as a group of the ledger, behind the seed that they follow from.
    fn waitlist_group(&self, drawing: &WaitlistDraw, mut grants: Vec<Entry>) -> Vec<Entry> {
        let (opening, seed) = (drawing.opening, drawing.seed);
        let (round, count) = (self.openings[&opening].draws + 1, grants.len() as u64);
        let mut entries = Vec::with_capacity(grants.len() + 3);
        let beacon = None;
        entries.push(Entry::Draw(DrawRecord::Revealed { opening, seed, beacon }));
        entries.push(Entry::Draw(DrawRecord::GroupBegin { opening, round, grants: count }));
        entries.append(&mut grants);
        entries.push(Entry::Draw(DrawRecord::GroupEnd { opening, round }));
        entries
    }

    fn draw_one(
        &mut self,
        opening: &Opening,
        waiting: &DrawEntry,
        pool: &mut BTreeMap<u32, Vec<u16>>,
        now: Timestamp,
    ) -> Option<Grant> {
        let entry = &waiting.entry;
        let ordinal = entry.opening;
        let places = entry.applicants.len();
        let party = sorted(entry.applicants.iter().copied());
        opening.claims.take(&party).ok()?;
        let openings = self.allocator.openings();
        let at = self.durable();
        let fits = opening.booked_elsewhere(&entry.applicants, &openings, (now, at)) == Some(false)
            && !opening.anyone_had_enough(&entry.applicants, at)
            && entry.account.is_none_or(|account| opening.accounts.take(&account, places as u32));
        if !fits {
            opening.claims.give(&party);
            return None;
        }
        for slot in &entry.slots {
            if !opening.is_bookable(*slot, now) || self.inventory(ordinal, *slot).halted {
                continue;
            }
            let returned = pool.entry(*slot).or_default();
            // A quota that was lowered is a debt, paid first.
            let debt = (-self.inventory(ordinal, *slot).available()).max(0) as usize;
            let from_pool = returned.len().saturating_sub(debt).min(places);
            let missing = (places - from_pool) as i32;
            if missing > 0
                && !(self.inventory(ordinal, *slot).has_room(missing as u32)
                    && opening.free[*slot as usize].take(missing))
            {
                continue;
            }
            let mut numbers: Vec<u16> = (0..from_pool).filter_map(|_| returned.pop()).collect();
            for _ in 0..missing {
                let number = self.inventory(ordinal, *slot).number()?;
                self.in_block.taken.insert((ordinal, *slot, number));
                numbers.push(number);
            }
            let seats = entry.applicants.iter().zip(numbers);
            return Some(Grant {
                booking: entry.receipt,
                opening: ordinal,
                slot: *slot,
                seats: seats.map(|(who, number)| Seat { applicant: *who, number }).collect(),
                request_id: entry.request_id.clone(),
                content: entry.content,
                reference: entry.reference.clone(),
                account: entry.account,
                channel: entry.channel.clone(),
                hold_expires_at: opening.hold_end(*slot, now),
            });
        }
        if let Some(account) = &entry.account {
            opening.accounts.give(account, places as u32);
        }
        opening.claims.give(&party);
        None
    }
}

/// When a place that comes back at `now` is released; none: by the next draw.
pub(super) fn release_at(
    rule: &ReturnRule,
    now: Timestamp,
    random: &mut dyn FnMut() -> u128,
) -> Option<Timestamp> {
    match rule {
        ReturnRule::Immediate => Some(now),
        ReturnRule::Delayed { from_ms, to_ms } => {
            let range = u128::from(to_ms.saturating_sub(*from_ms)) + 1;
            Some(now.plus_millis(from_ms + (random() % range) as u64))
        }
        ReturnRule::At { .. } => None,
    }
}

/// Entries for numbers by opening and slot, one for each slot.
fn released(numbers: impl Iterator<Item = (u32, u32, u16)>) -> Vec<Entry> {
    let mut slots: BTreeMap<(u32, u32), Vec<u16>> = BTreeMap::new();
    for (opening, slot, number) in numbers {
        slots.entry((opening, slot)).or_default().push(number);
    }
    let entry = |((opening, slot), numbers)| Entry::Released(Released { opening, slot, numbers });
    slots.into_iter().map(entry).collect()
}
