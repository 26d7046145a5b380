//! The keeper's state as pieces, and back: to begin elsewhere than at the
//! ledger's first block. Of the same state the pieces are the same, whoever makes
//! them.

use std::sync::Arc;

use giliran_wire::answer::Status;
use giliran_wire::ledger::{Genesis, Grant, SnapshotPart};
use giliran_wire::snapshot::{
    BookingState, ChangeLogState, Chunker, EntryState, Head, OpeningState, PastChangeState, Piece,
    SlotState, SnapshotHeader, Until as UntilState, Withheld as WithheldState,
};
use giliran_wire::{BlockHash, BookingId, KeyFingerprint};

use super::apply::{draw_of, show, until_draw};
use super::inventory::{SlotInventory, Until};
use super::{OpeningIndex, StateMachine};
use crate::booking::{PastChange, PastChangeKind};
use crate::claims::ClaimState;
use crate::sync::Ordering;
use crate::{Booking, ChangeLog, DrawEntry, Opening};

/// Bookings and entries in one piece: few enough that, however much each of them
/// holds, a piece is far from the longest that is read.
const IN_A_PIECE: usize = 256;

/// Which piece.
#[derive(Debug, Clone, Copy)]
enum Key {
    Head,
    /// Of this ordinal.
    Opening(u32),
    /// Of this opening, from here on.
    Bookings(u32, usize),
    /// Of this opening, from this receipt on.
    Entries(u32, BookingId),
    /// Of this opening.
    Order(u32),
}

/// The state as a generation begins with it, part by part, without holding all of
/// it at once. Only of the keeper it was made from, and while nothing is applied
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
    pub fn next(&mut self, keeper: &StateMachine) -> Option<SnapshotPart> {
        let bytes = self.cut(keeper)?;
        let part = self.next;
        self.next += 1;
        Some(SnapshotPart { part, parts: self.parts, state: self.state, bytes })
    }

    fn cut(&mut self, keeper: &StateMachine) -> Option<Vec<u8>> {
        loop {
            if let Some(part) = self.cutter.part() {
                return Some(part);
            }
            match self.keys.next() {
                Some(key) => self.cutter.add(&keeper.piece(key)),
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
            release: String::new(),
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
        for opening in self.book.openings.load().iter() {
            let ordinal = opening.record().ordinal;
            let kept = &self.kept[&ordinal];
            keys.push(Key::Opening(ordinal));
            keys.extend(kept.order.is_some().then_some(Key::Order(ordinal)));
            let made = (0..kept.made.len()).step_by(IN_A_PIECE);
            keys.extend(made.map(|from| Key::Bookings(ordinal, from)));
            let entries = kept.entries.iter().step_by(IN_A_PIECE);
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
                let openings = self.book.openings.load();
                let opening = openings.get(ordinal).expect("listed by `keys`");
                let kept = &self.kept[&ordinal];
                Piece::Opening(Box::new(OpeningState {
                    record: opening.record().clone(),
                    phase: opening.phase(),
                    closes_at: opening.window().1,
                    took_place: opening.took_place(),
                    draws: kept.draws,
                    slots: kept.stocks.iter().map(slot_state).collect(),
                }))
            }
            Key::Order(ordinal) => {
                Piece::Order(self.kept[&ordinal].order.clone().expect("listed by `keys`"))
            }
            Key::Bookings(ordinal, from) => {
                let made = self.kept[&ordinal].made[from..].iter().take(IN_A_PIECE);
                let bookings = made.filter_map(|id| self.book.booking(id));
                Piece::Bookings(bookings.map(|booking| booking_state(&booking)).collect())
            }
            Key::Entries(ordinal, from) => {
                let receipts = self.kept[&ordinal].entries.range(from..).take(IN_A_PIECE);
                let entries = receipts.filter_map(|receipt| {
                    self.book.waiting.look(receipt, |waiting| waiting.map(|w| entry_state(w)))
                });
                Piece::Entries(entries.collect())
            }
        }
    }

    /// Takes a piece of a snapshot into a keeper that has read nothing else.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the keeper is then not to be used.
    pub fn restore(&mut self, piece: Piece) -> Result<(), String> {
        match piece {
            Piece::Stand(stand) => {
                let position = stand.chain.position();
                let time = stand.chain.time.as_millis().max(0) as u64;
                self.chain = stand.chain;
                self.genesis = Some(stand.genesis);
                self.sealed = stand.sealed;
                let book = Arc::clone(&self.book);
                book.stable.change(position, |_| book.time.store(time, Ordering::Relaxed));
            }
            Piece::Head(head) => {
                self.next_ordinal = head.next_ordinal;
                self.retired = head.retired.into_iter().collect();
                self.changes = head.changes;
            }
            Piece::Opening(state) => self.restore_opening(*state)?,
            Piece::Order(order) => {
                let kept = self.kept.get_mut(&order.opening);
                let kept = kept.ok_or_else(|| "an order of no opening".to_owned())?;
                // Until a live entry says otherwise.
                if let Some(opening) = self.book.openings.load().get(order.opening) {
                    opening.set_drawn(order.revealed.is_some());
                }
                kept.order = Some(order);
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

    fn restore_opening(&mut self, state: OpeningState) -> Result<(), String> {
        let ordinal = state.record.ordinal;
        if state.slots.len() != state.record.slots.len() {
            return Err(format!("opening {} has other slots than its record", state.record.id));
        }
        let opening = Opening::new(state.record);
        opening.set_phase(state.phase);
        opening.set_closes_at(state.closes_at);
        opening.set_took_place(state.took_place);
        let mut stocks = Vec::with_capacity(state.slots.len());
        for (index, slot) in state.slots.into_iter().enumerate() {
            let index = index as u32;
            let before = SlotInventory::new(opening.record().slots[index as usize].quota).offered();
            let mut stock = SlotInventory::new(slot.quota);
            stock.reserved = slot.reserved;
            stock.halted = slot.halted;
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
                stock.restore_withheld(withheld.number, until);
            }
            show(&opening, index, &stock, before, 0);
            stocks.push(stock);
        }
        let opening = Arc::new(opening);
        let kept =
            OpeningIndex { draws: state.draws, ..OpeningIndex::new(Arc::clone(&opening), stocks) };
        self.kept.insert(ordinal, kept);
        let openings = self.book.openings.load().with(opening);
        self.book.openings.store(Arc::new(openings));
        Ok(())
    }

    fn restore_booking(&mut self, state: BookingState) -> Result<(), String> {
        let BookingState { grant, granted_at, version, status, life } = state;
        let id = grant.booking;
        let opening = self.book.openings.load().get(grant.opening).map(Arc::clone);
        let opening = opening.filter(|opening| grant.slot < opening.slots());
        let opening = opening.ok_or_else(|| format!("booking {id} is in no opening"))?;
        let life = life.map(|life| Arc::new(restored_life(life)));
        let booking = Booking { version, status, life, ..Booking::new(grant, granted_at) };
        let booking = Arc::new(booking);
        let (ordinal, slot) = (booking.opening, booking.slot);
        if status.is_live() {
            let places = booking.seats.len() as u32;
            let stock = self.stock(ordinal, slot);
            let before = stock.offered();
            booking.seats.iter().for_each(|seat| stock.restore_live(seat.number));
            show(&opening, slot, stock, before, 0);
            if let Some(account) = booking.account {
                opening.accounts.grant(account, places, false);
            }
            for seat in &booking.seats {
                match opening.claims.grant(seat.applicant, Arc::clone(&booking)) {
                    ClaimState::Free => {}
                    _ => return Err(format!("booking {id} is an applicant's second")),
                }
            }
            if let (Status::Held, Some(until)) = (status, booking.hold_expires_at) {
                self.holds.insert((until, id));
            }
        } else {
            booking.seats.iter().for_each(|seat| opening.claims.end(seat.applicant, &booking));
        }
        for who in booking.life.iter().flat_map(|life| &life.left) {
            opening.claims.end(*who, &booking);
        }
        if let Some(kept) = self.kept.get_mut(&ordinal) {
            kept.made.push(id);
        }
        self.book.bookings.insert(id, booking);
        Ok(())
    }

    fn restore_entry(&mut self, state: EntryState) -> Result<(), String> {
        let EntryState { entry, since, withdrawn } = state;
        let live = withdrawn.is_none();
        let (receipt, ordinal) = (entry.receipt, entry.opening);
        let opening = self.book.openings.load().get(ordinal).map(Arc::clone);
        let opening = opening.ok_or_else(|| format!("entry {receipt} is in no opening"))?;
        let waiting = Arc::new(DrawEntry { entry, since, withdrawn });
        match withdrawn {
            Some(at) => drop(self.withdrawn.insert((at, receipt))),
            None => self.book.crowd.add(&waiting),
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
        if let Some(kept) = self.kept.get_mut(&ordinal) {
            kept.entries.insert(receipt);
            if live && !waiting.entry.waits {
                kept.ballots += 1;
                opening.set_drawn(false);
                if let Some(account) = waiting.entry.account {
                    let places = waiting.entry.applicants.len() as u32;
                    opening.accounts.grant(account, places, false);
                }
            }
        }
        self.book.waiting.insert(receipt, waiting);
        Ok(())
    }
}

fn slot_state(stock: &SlotInventory) -> SlotState {
    let withheld = stock.withheld().map(|withheld| {
        let until = match withheld.until {
            Until::At(at) => UntilState::At(at),
            Until::Draw { since, expired, .. } => UntilState::Draw { since, expired },
        };
        WithheldState { number: withheld.number, until }
    });
    SlotState {
        quota: stock.quota,
        reserved: stock.reserved,
        halted: stock.halted,
        withheld: withheld.collect(),
    }
}

fn booking_state(booking: &Booking) -> BookingState {
    let life = booking.life.as_ref().map(|life| ChangeLogState {
        done: life.done.iter().map(|d| (d.request_id.to_string(), done_state(&d.deed))).collect(),
        changes: life.changes,
        left: life.left.clone(),
    });
    BookingState {
        grant: Grant {
            booking: booking.id,
            opening: booking.opening,
            slot: booking.slot,
            seats: booking.seats.to_vec(),
            request_id: booking.request_id.to_string(),
            content: booking.content,
            reference: booking.reference.as_deref().map(str::to_owned),
            account: booking.account,
            channel: booking.channel.as_deref().map(str::to_owned),
            hold_expires_at: booking.hold_expires_at,
        },
        granted_at: booking.granted_at,
        version: booking.version,
        status: booking.status,
        life,
    }
}

fn done_state(deed: &PastChangeKind) -> PastChangeState {
    let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    match deed {
        PastChangeKind::Confirmed { reference } => PastChangeState::Confirmed(text(reference)),
        PastChangeKind::Refund { reference } => PastChangeState::Refund(text(reference)),
        PastChangeKind::Cancelled { member } => PastChangeState::Cancelled(*member),
        PastChangeKind::Rescheduled { content } => PastChangeState::Rescheduled(*content),
    }
}

fn restored_life(life: ChangeLogState) -> ChangeLog {
    let text = |text: Option<String>| text.map(String::into_boxed_str);
    let done = life.done.into_iter().map(|(request_id, deed)| PastChange {
        request_id: request_id.into_boxed_str(),
        deed: match deed {
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
    ChangeLog { done: done.collect(), changes: life.changes, left: life.left }
}

fn entry_state(waiting: &DrawEntry) -> EntryState {
    EntryState { entry: waiting.entry.clone(), since: waiting.since, withdrawn: waiting.withdrawn }
}
