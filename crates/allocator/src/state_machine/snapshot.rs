//! The state as pieces, and back: to begin elsewhere than at the
//! ledger's first block. Of the same state the pieces are the same, whoever makes
//! them.

use std::sync::Arc;

use giliran_wire::answer::Status;
use giliran_wire::ledger::{Genesis, SnapshotPart};
use giliran_wire::snapshot::{
    BookingState, ChangeLogState, Chunker, EntryState, Head, OpeningState, PastChangeState, Piece,
    SlotState, SnapshotHeader, Until as UntilState, Unusable, Withheld as WithheldState,
};
use giliran_wire::{BlockHash, BookingId, KeyFingerprint};

use super::apply::{draw_of, show, until_draw};
use super::inventory::{SlotInventory, Until};
use super::{OpeningIndex, StateMachine};
use crate::booking::{PastChange, PastChangeKind};
use crate::opening::Commitment;
use crate::sync::Ordering;
use crate::{Booking, ChangeLog, DrawEntry};

/// Bookings and entries in one piece: few enough that, however much each of them
/// holds, a piece is far from the longest that is read.
const IN_A_PIECE: usize = 256;

/// What a piece of the snapshot holds.
#[derive(Debug, Clone, Copy)]
enum Key {
    Head,
    /// The opening with this ordinal.
    Opening(u32),
    /// Of this opening, from here on.
    Bookings(u32, usize),
    /// Of this opening, from this receipt on.
    Entries(u32, BookingId),
    /// Commitment, root and seed of the opening with this ordinal.
    Order(u32),
}

/// The state as a generation begins with it, part by part, without holding all of
/// it at once. Only of the state machine it was made from, and while nothing is applied
/// to that.
#[derive(Debug)]
pub struct Parts {
    keys: std::vec::IntoIter<Key>,
    cutter: Chunker,
    next: u32,
    parts: u32,
    state: BlockHash,
}

impl Parts {
    /// Hash of all parts, one after the other.
    pub fn state(&self) -> BlockHash {
        self.state
    }

    /// The next part; none: that was all.
    pub fn next(&mut self, state: &StateMachine) -> Option<SnapshotPart> {
        let bytes = self.cut(state)?;
        let part = self.next;
        self.next += 1;
        Some(SnapshotPart { part, parts: self.parts, state: self.state, bytes })
    }

    fn cut(&mut self, state: &StateMachine) -> Option<Vec<u8>> {
        loop {
            if let Some(part) = self.cutter.part() {
                return Some(part);
            }
            match self.keys.next() {
                Some(key) => self.cutter.add(&state.piece(key)),
                None => return self.cutter.rest(),
            }
        }
    }
}

impl StateMachine {
    /// The durable state as a generation begins with it, in parts of so many bytes.
    /// Nothing may be on its way. Walks everything, to count and to hash.
    pub fn parts(&self, part_bytes: usize) -> Parts {
        let parts = |parts, state| Parts {
            keys: self.keys().into_iter(),
            cutter: Chunker::new(part_bytes),
            next: 0,
            parts,
            state,
        };
        let mut counting = parts(0, BlockHash::ZERO);
        let (mut count, mut hasher) = (0, blake3::Hasher::new());
        while let Some(bytes) = counting.cut(self) {
            hasher.update(&bytes);
            count += 1;
        }
        parts(count, BlockHash(*hasher.finalize().as_bytes()))
    }

    /// Hands on the durable state and where it stands, piece by piece. Nothing may
    /// be on its way.
    ///
    /// # Errors
    ///
    /// The first that `take` gives.
    pub fn snapshot<E>(&self, mut take: impl FnMut(&Piece) -> Result<(), E>) -> Result<(), E> {
        let no_genesis = || Genesis {
            prefix: String::new(),
            applicant_key: KeyFingerprint([0; 16]),
            version: String::new(),
            continues: None,
            rebuilt: None,
        };
        take(&Piece::Stand(Box::new(SnapshotHeader {
            chain: self.chain.clone(),
            genesis: self.genesis.clone().unwrap_or_else(no_genesis),
            sealed: self.sealed,
        })))?;
        self.keys().into_iter().try_for_each(|key| take(&self.piece(key)))
    }

    fn keys(&self) -> Vec<Key> {
        let mut keys = vec![Key::Head];
        for opening in self.allocator.openings.load().iter() {
            let ordinal = opening.record().ordinal;
            let index = &self.openings[&ordinal];
            keys.push(Key::Opening(ordinal));
            keys.extend(index.order.is_some().then_some(Key::Order(ordinal)));
            let made = (0..index.made.len()).step_by(IN_A_PIECE);
            keys.extend(made.map(|from| Key::Bookings(ordinal, from)));
            let entries = index.entries.iter().step_by(IN_A_PIECE);
            keys.extend(entries.map(|from| Key::Entries(ordinal, *from)));
        }
        keys
    }

    fn piece(&self, key: Key) -> Piece {
        match key {
            Key::Head => Piece::Head(Head {
                next_ordinal: self.next_ordinal,
                retired: self.retired.iter().cloned().collect(),
                changes: self.changes,
            }),
            Key::Opening(ordinal) => {
                let openings = self.allocator.openings.load();
                let opening = openings.get(ordinal).expect("listed by `keys`");
                let index = &self.openings[&ordinal];
                Piece::Opening(Box::new(OpeningState {
                    record: opening.record().clone(),
                    phase: opening.phase(),
                    closes_at: opening.window().1,
                    took_place: opening.took_place(),
                    draws: index.draws,
                    slots: index.inventories.iter().map(slot_state).collect(),
                }))
            }
            Key::Order(ordinal) => {
                Piece::Order(self.openings[&ordinal].order.clone().expect("listed by `keys`"))
            }
            Key::Bookings(ordinal, from) => {
                let made = self.openings[&ordinal].made[from..].iter().take(IN_A_PIECE);
                let bookings = made.filter_map(|id| self.allocator.booking(id));
                Piece::Bookings(bookings.map(|booking| booking_state(&booking)).collect())
            }
            Key::Entries(ordinal, from) => {
                let receipts = self.openings[&ordinal].entries.range(from..).take(IN_A_PIECE);
                let entries = receipts.filter_map(|receipt| {
                    self.allocator.waiting.look(receipt, |waiting| waiting.map(|w| entry_state(w)))
                });
                Piece::Entries(entries.collect())
            }
        }
    }

    /// Takes a piece of a snapshot into a state machine that has read nothing else.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the state machine is then not to be used.
    pub fn restore(&mut self, piece: Piece) -> Result<(), Unusable> {
        match piece {
            Piece::Stand(stand) => {
                let reached = (stand.chain.position(), stand.chain.number);
                let time = stand.chain.time.as_millis().max(0) as u64;
                self.chain = stand.chain;
                self.genesis = Some(stand.genesis);
                self.sealed = stand.sealed;
                let allocator = Arc::clone(&self.allocator);
                allocator
                    .seqlock
                    .change(reached, |_| allocator.time.store(time, Ordering::Relaxed));
            }
            Piece::Head(head) => {
                self.next_ordinal = head.next_ordinal;
                self.retired = head.retired.into_iter().collect();
                self.changes = head.changes;
            }
            Piece::Opening(state) => self.restore_opening(*state)?,
            Piece::Order(order) => {
                let index = self.openings.get_mut(&order.opening);
                let index = index.ok_or(Unusable::OrderOfNoOpening(order.opening))?;
                // Until a live entry says otherwise.
                if let Some(opening) = self.allocator.openings.load().get(order.opening) {
                    opening.set_drawn(order.revealed.is_some());
                    let (hash, beacon) = (order.commitment, order.beacon.clone());
                    opening.set_committed(Commitment { hash, beacon });
                    if let Some((root, entries)) = order.root {
                        opening.set_root(root, entries);
                    }
                    if let Some(revealed) = order.revealed.as_ref().filter(|_| opening.draws()) {
                        opening.set_revealed(revealed.clone());
                    }
                }
                index.order = Some(order);
            }
            Piece::Bookings(bookings) => {
                for booking in bookings {
                    self.restore_booking(booking)?;
                }
            }
            Piece::Entries(entries) => {
                for entry in entries {
                    self.restore_entry(entry)?;
                }
            }
        }
        Ok(())
    }

    fn restore_opening(&mut self, state: OpeningState) -> Result<(), Unusable> {
        let ordinal = state.record.ordinal;
        if state.slots.len() != state.record.slots.len() {
            return Err(Unusable::OtherSlots(state.record.id));
        }
        let opening = self.with_room(state.record);
        opening.set_phase(state.phase);
        opening.set_closes_at(state.closes_at);
        opening.set_took_place(state.took_place);
        let mut inventories = Vec::with_capacity(state.slots.len());
        for (index, slot) in state.slots.into_iter().enumerate() {
            let index = index as u32;
            let before =
                SlotInventory::new(opening.record().slots[index as usize].quota).available();
            let mut inventory = SlotInventory::new(slot.quota);
            inventory.reserved = slot.reserved;
            inventory.halted = slot.halted;
            for withheld in slot.withheld {
                let key = |at| (at, ordinal, index, withheld.number);
                let until = match withheld.until {
                    UntilState::At(at) => Until::At(at),
                    UntilState::Draw { since, expired } => until_draw(&opening, since, expired),
                };
                match until {
                    Until::At(at) => self.delayed.insert(key(at)),
                    Until::Draw { at, .. } => self.collected.insert(key(at)),
                };
                inventory.restore_withheld(withheld.number, until);
            }
            show(&opening, index, &inventory, before, 0);
            inventories.push(inventory);
        }
        let opening = Arc::new(opening);
        let index = OpeningIndex {
            draws: state.draws,
            ..OpeningIndex::new(Arc::clone(&opening), inventories)
        };
        self.openings.insert(ordinal, index);
        let openings = self.allocator.openings.load().with(opening);
        self.allocator.openings.store(Arc::new(openings));
        Ok(())
    }

    fn restore_booking(&mut self, state: BookingState) -> Result<(), Unusable> {
        let BookingState { grant, granted_at, version, status, change_log } = state;
        let id = grant.booking;
        let opening = self.allocator.openings.load().get(grant.opening).map(Arc::clone);
        let opening = opening.filter(|opening| grant.slot < opening.slots());
        let opening = opening.ok_or(Unusable::BookingOfNoOpening(id))?;
        let mut booking = Booking::new(grant, granted_at, 0);
        (booking.version, booking.status) = (version, status);
        change_log.map(restored_change_log).into_iter().for_each(|log| booking.set_change_log(log));
        let booking = Arc::new(booking);
        let (ordinal, slot) = (booking.opening, booking.slot);
        if status.is_live() {
            let places = booking.seats.len() as u32;
            let inventory = self.inventory(ordinal, slot);
            let before = inventory.available();
            booking.seats.iter().for_each(|seat| inventory.restore_live(seat.number));
            show(&opening, slot, inventory, before, 0);
            if let Some(account) = booking.account() {
                opening.accounts.grant(account, places, false);
            }
            for seat in &booking.seats {
                if opening.claims.grant(seat.applicant, Arc::clone(&booking), false).is_err() {
                    return Err(Unusable::SecondBooking(id));
                }
            }
            if let (Status::Held, Some(until)) = (status, booking.hold_expires_at()) {
                self.holds.insert((until, id));
            }
        } else {
            booking.seats.iter().for_each(|seat| opening.claims.end(seat.applicant, &booking));
        }
        for who in booking.change_log().into_iter().flat_map(|change_log| &change_log.left) {
            opening.claims.end(*who, &booking);
        }
        if let Some(index) = self.openings.get_mut(&ordinal) {
            index.made.push(id);
        }
        self.allocator.bookings.insert(id, booking);
        Ok(())
    }

    fn restore_entry(&mut self, state: EntryState) -> Result<(), Unusable> {
        let EntryState { entry, since, withdrawn } = state;
        let live = withdrawn.is_none();
        let (receipt, ordinal) = (entry.receipt, entry.opening);
        let opening = self.allocator.openings.load().get(ordinal).map(Arc::clone);
        let opening = opening.ok_or(Unusable::EntryOfNoOpening(receipt))?;
        let waiting = Arc::new(DrawEntry { entry, since, withdrawn });
        match withdrawn {
            Some(at) => drop(self.withdrawn.insert((at, receipt))),
            None => self.allocator.crowd.add(&waiting),
        }
        if live && waiting.entry.waits {
            self.waiting.insert((draw_of(&opening, &waiting), ordinal, receipt));
        }
        for who in &waiting.entry.applicants {
            // Receipts are in no order of time: the live one counts, else the last.
            let later = |there: &Arc<DrawEntry>| there.is_live() || (!live && there.since > since);
            let later = |claim: &crate::claims::Claim| claim.waiting().is_some_and(later);
            if !opening.claims.look(who, |claim| claim.is_some_and(later)) {
                opening.claims.wait(*who, Arc::clone(&waiting));
            }
        }
        if let Some(index) = self.openings.get_mut(&ordinal) {
            index.entries.insert(receipt);
            if live && !waiting.entry.waits {
                index.ballots += 1;
                opening.set_drawn(false);
                if let Some(account) = waiting.entry.account {
                    let places = waiting.entry.applicants.len() as u32;
                    opening.accounts.grant(account, places, false);
                }
            }
        }
        self.allocator.waiting.insert(receipt, waiting);
        Ok(())
    }
}

fn slot_state(inventory: &SlotInventory) -> SlotState {
    let withheld = inventory.withheld().map(|withheld| {
        let until = match withheld.until {
            Until::At(at) => UntilState::At(at),
            Until::Draw { since, expired, .. } => UntilState::Draw { since, expired },
        };
        WithheldState { number: withheld.number, until }
    });
    SlotState {
        quota: inventory.quota,
        reserved: inventory.reserved,
        halted: inventory.halted,
        withheld: withheld.collect(),
    }
}

fn booking_state(booking: &Booking) -> BookingState {
    let change_log = booking.change_log().map(|change_log| ChangeLogState {
        done: change_log
            .done
            .iter()
            .map(|d| (d.request_id.to_string(), done_state(&d.kind)))
            .collect(),
        changes: change_log.changes,
        left: change_log.left.clone(),
    });
    BookingState {
        grant: booking.as_grant().to_owned(),
        granted_at: booking.granted_at,
        version: booking.version,
        status: booking.status,
        change_log,
    }
}

fn done_state(kind: &PastChangeKind) -> PastChangeState {
    let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    match kind {
        PastChangeKind::Confirmed { reference } => PastChangeState::Confirmed(text(reference)),
        PastChangeKind::Refund { reference } => PastChangeState::Refund(text(reference)),
        PastChangeKind::Cancelled { member } => PastChangeState::Cancelled(*member),
        PastChangeKind::Rescheduled { content } => PastChangeState::Rescheduled(*content),
    }
}

fn restored_change_log(change_log: ChangeLogState) -> ChangeLog {
    let text = |text: Option<String>| text.map(String::into_boxed_str);
    let done = change_log.done.into_iter().map(|(request_id, kind)| PastChange {
        request_id: request_id.into_boxed_str(),
        kind: match kind {
            PastChangeState::Confirmed(reference) => {
                PastChangeKind::Confirmed { reference: text(reference) }
            }
            PastChangeState::Refund(reference) => {
                PastChangeKind::Refund { reference: text(reference) }
            }
            PastChangeState::Cancelled(member) => PastChangeKind::Cancelled { member },
            PastChangeState::Rescheduled(content) => PastChangeKind::Rescheduled { content },
        },
    });
    ChangeLog { done: done.collect(), changes: change_log.changes, left: change_log.left }
}

fn entry_state(waiting: &DrawEntry) -> EntryState {
    EntryState { entry: waiting.entry.clone(), since: waiting.since, withdrawn: waiting.withdrawn }
}
