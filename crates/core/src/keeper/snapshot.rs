//! The keeper's state as pieces, and back: to begin elsewhere than at the
//! ledger's first block.

use std::sync::Arc;

use giliran_wire::KeyFingerprint;
use giliran_wire::answer::Status;
use giliran_wire::ledger::{Genesis, Grant};
use giliran_wire::snapshot::{
    BookingState, DoneState, EntryState, Head, LifeState, OpeningState, Piece, SlotState,
    Withheld as WithheldState,
};

use super::apply::{draw_of, show};
use super::stock::{Stock, Until};
use super::{Keeper, Kept};
use crate::booking::{Done, DoneDeed};
use crate::claims::Standing;
use crate::sync::Ordering;
use crate::{Booking, Life, Opening, Waiting};

/// Bookings and entries in one piece.
const IN_A_PIECE: usize = 4_096;

impl Keeper {
    /// Hands on the durable state, piece by piece. Nothing may be on its way.
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
        };
        take(&Piece::Head(Box::new(Head {
            chain: self.chain.clone(),
            genesis: self.genesis.clone().unwrap_or_else(no_genesis),
            next_ordinal: self.next_ordinal,
            retired: self.retired.iter().cloned().collect(),
        })))?;
        let openings = self.book.openings.load();
        for opening in openings.iter() {
            let kept = &self.kept[&opening.record().ordinal];
            take(&Piece::Opening(Box::new(OpeningState {
                record: opening.record().clone(),
                phase: opening.phase(),
                closes_at: opening.window().1,
                draws: kept.draws,
                slots: kept.stocks.iter().map(slot_state).collect(),
            })))?;
            for ids in kept.made.chunks(IN_A_PIECE) {
                let bookings = ids.iter().filter_map(|id| self.book.booking(id));
                take(&Piece::Bookings(bookings.map(|booking| booking_state(&booking)).collect()))?;
            }
            let mut receipts: Vec<_> = kept.entries.iter().copied().collect();
            receipts.sort_unstable();
            for receipts in receipts.chunks(IN_A_PIECE) {
                let entries = receipts.iter().filter_map(|receipt| {
                    self.book.waiting.look(receipt, |waiting| waiting.map(|w| entry_state(w)))
                });
                take(&Piece::Entries(entries.collect()))?;
            }
        }
        Ok(())
    }

    /// Takes a piece of a snapshot into a keeper that has read nothing else.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the keeper is then not to be used.
    pub fn restore(&mut self, piece: Piece) -> Result<(), String> {
        match piece {
            Piece::Head(head) => {
                let position = head.chain.position();
                let time = head.chain.time.as_millis().max(0) as u64;
                self.chain = head.chain;
                self.genesis = Some(head.genesis);
                self.next_ordinal = head.next_ordinal;
                self.retired = head.retired.into_iter().collect();
                let book = Arc::clone(&self.book);
                book.stable.change(position, |_| book.time.store(time, Ordering::Relaxed));
            }
            Piece::Opening(state) => self.restore_opening(*state),
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

    fn restore_opening(&mut self, state: OpeningState) {
        let ordinal = state.record.ordinal;
        let opening = Opening::new(state.record);
        opening.set_phase(state.phase);
        opening.set_closes_at(state.closes_at);
        let mut stocks = Vec::with_capacity(state.slots.len());
        for (index, slot) in state.slots.into_iter().enumerate() {
            let index = index as u32;
            let before = Stock::new(opening.record().slots[index as usize].quota).offered();
            let mut stock = Stock::new(slot.quota);
            stock.reserved = slot.reserved;
            stock.halted = slot.halted;
            for withheld in slot.withheld {
                let key = (withheld.at, ordinal, index, withheld.number);
                let until = if withheld.drawn {
                    self.collected.insert(key);
                    Until::Draw(withheld.at)
                } else {
                    self.delayed.insert(key);
                    Until::At(withheld.at)
                };
                stock.restore_withheld(withheld.number, until);
            }
            show(&opening, index, &stock, before, 0);
            stocks.push(stock);
        }
        let kept = Kept { stocks, draws: state.draws, ..Kept::default() };
        self.kept.insert(ordinal, kept);
        let openings = self.book.openings.load().with(opening);
        self.book.openings.store(Arc::new(openings));
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
                    Standing::Free => {}
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
        let EntryState { entry, since, live } = state;
        let (receipt, ordinal) = (entry.receipt, entry.opening);
        let opening = self.book.openings.load().get(ordinal).map(Arc::clone);
        let opening = opening.ok_or_else(|| format!("entry {receipt} is in no opening"))?;
        let waiting = Arc::new(Waiting { entry, since, live });
        if live {
            self.waiting.insert((draw_of(&opening, &waiting), ordinal, receipt));
        }
        for who in &waiting.entry.applicants {
            opening.claims.wait(*who, Some(Arc::clone(&waiting)));
        }
        if let Some(kept) = self.kept.get_mut(&ordinal) {
            kept.entries.insert(receipt);
        }
        self.book.waiting.insert(receipt, waiting);
        Ok(())
    }
}

fn slot_state(stock: &Stock) -> SlotState {
    let withheld = stock.withheld().map(|withheld| {
        let (drawn, at) = match withheld.until {
            Until::At(at) => (false, at),
            Until::Draw(at) => (true, at),
        };
        WithheldState { number: withheld.number, drawn, at }
    });
    SlotState {
        quota: stock.quota,
        reserved: stock.reserved,
        halted: stock.halted,
        withheld: withheld.collect(),
    }
}

fn booking_state(booking: &Booking) -> BookingState {
    let life = booking.life.as_ref().map(|life| LifeState {
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
            channel: None,
            hold_expires_at: booking.hold_expires_at,
        },
        granted_at: booking.granted_at,
        version: booking.version,
        status: booking.status,
        life,
    }
}

fn done_state(deed: &DoneDeed) -> DoneState {
    let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    match deed {
        DoneDeed::Confirmed { reference } => DoneState::Confirmed(text(reference)),
        DoneDeed::Refund { reference } => DoneState::Refund(text(reference)),
        DoneDeed::Cancelled { member } => DoneState::Cancelled(*member),
        DoneDeed::Rescheduled { content } => DoneState::Rescheduled(*content),
    }
}

fn restored_life(life: LifeState) -> Life {
    let text = |text: Option<String>| text.map(String::into_boxed_str);
    let done = life.done.into_iter().map(|(request_id, deed)| Done {
        request_id: request_id.into_boxed_str(),
        deed: match deed {
            DoneState::Confirmed(reference) => DoneDeed::Confirmed { reference: text(reference) },
            DoneState::Refund(reference) => DoneDeed::Refund { reference: text(reference) },
            DoneState::Cancelled(member) => DoneDeed::Cancelled { member },
            DoneState::Rescheduled(content) => DoneDeed::Rescheduled { content },
        },
    });
    Life { done: done.collect(), changes: life.changes, left: life.left }
}

fn entry_state(waiting: &Waiting) -> EntryState {
    EntryState { entry: waiting.entry.clone(), since: waiting.since, live: waiting.live }
}
