//! What the plain model says of changes: what becomes of a booking.

use giliran_allocator::ChangeKind;
use giliran_wire::answer::{Phase, Reason, Status};
use giliran_wire::event::Kind;
use giliran_wire::ledger::{
    Adjustment, Cancel, CancelCause, Confirm, DrawRecord, Entry, Grant, OpeningRecord, Reschedule,
    ReturnRule,
};
use giliran_wire::request::Choice;
use giliran_wire::{BookingId, Pseudonym, Timestamp};

use crate::model::{
    DAY_MS, Did, Had, Model, ModelOpening, Pending, Request, Until, Waits, fitting_all,
};

/// What a change must come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Repeat(BookingId),
    Entered(BookingId),
    Rejected(Reason),
    Write(Deal),
    Wait,
}

/// What is to be written of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deal {
    Confirm,
    Revive,
    Refund,
    Cancel(Vec<Pseudonym>),
    Withdraw,
    Move(u32, Vec<u16>),
}

/// A change that must be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangeReply {
    pub(crate) kind: Kind,
    pub(crate) id: BookingId,
    pub(crate) version: u32,
    pub(crate) payment: Option<String>,
}

/// A request for a change.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) request_id: String,
    pub(crate) target: Option<BookingId>,
    pub(crate) kind: ChangeKind,
}

impl Model {
    /// What durable facts say of a change; none: the state machine is to do it.
    pub(crate) fn settled(&self, wish: &Wish, now: Timestamp) -> Option<Outcome> {
        let rejected = |reason| Some(Outcome::Rejected(reason));
        let Some(id) = wish.target else { return rejected(Reason::NotFound) };
        let Some(had) = self.had.iter().find(|had| had.id == id) else {
            return self.settled_entry(wish, &id);
        };
        let done = had.done.iter().find(|(request_id, _)| *request_id == wish.request_id);
        let done = done.map(|(_, did)| did);
        if let ChangeKind::Cancel { applicant } | ChangeKind::Reschedule { applicant, .. } =
            &wish.kind
            && !had.is_of(applicant)
        {
            let left =
                had.left.contains(applicant) && done == Some(&Did::Cancelled(Some(*applicant)));
            return if left { Some(Outcome::Repeat(id)) } else { rejected(Reason::NotFound) };
        }
        if wish.request_id == had.request.request_id {
            return rejected(Reason::Conflict);
        }
        match (done, &wish.kind) {
            (None, _) => {}
            (Some(Did::Refund(known)), ChangeKind::Confirm { reference })
                if known.as_deref() == reference.as_deref() =>
            {
                return rejected(Reason::WrongState);
            }
            (Some(did), kind) if *did == would(had, kind) => return Some(Outcome::Repeat(id)),
            (Some(_), _) => return rejected(Reason::Conflict),
        }
        match &wish.kind {
            ChangeKind::Confirm { .. } if had.status == Status::Held => None,
            ChangeKind::Confirm { reference } => {
                let by = |did: Did| had.done.iter().any(|(_, done)| *done == did);
                let reference = reference.as_deref().map(str::to_owned);
                let confirmed = |(_, did): &(String, Did)| matches!(did, Did::Confirmed(_));
                let live = had.status == Status::Confirmed;
                if reference.is_some() && live && by(Did::Confirmed(reference.clone())) {
                    return Some(Outcome::Repeat(id));
                }
                if reference.is_some() && by(Did::Refund(reference.clone())) {
                    return rejected(Reason::WrongState);
                }
                let paid_otherwise = reference.is_some() && had.done.iter().any(confirmed);
                if live && !paid_otherwise {
                    return rejected(Reason::WrongState);
                }
                None
            }
            ChangeKind::Cancel { .. } if had.is_live() => {
                let day = self.openings[had.opening].day(had.slot);
                if now >= day.plus_millis(DAY_MS as u64) { rejected(Reason::Closed) } else { None }
            }
            ChangeKind::Reschedule { choices, .. } if had.status == Status::Confirmed => {
                self.cannot_move(had, choices, now)
            }
            ChangeKind::Cancel { .. } | ChangeKind::Reschedule { .. } => {
                rejected(Reason::WrongState)
            }
        }
    }

    fn settled_entry(&self, wish: &Wish, id: &BookingId) -> Option<Outcome> {
        let unknown = Some(Outcome::Rejected(Reason::NotFound));
        let Some(waits) = self.entry(id) else { return unknown };
        let ChangeKind::Cancel { applicant } = &wish.kind else { return unknown };
        if !waits.request.applicants.contains(applicant) {
            return unknown;
        }
        if wish.request_id == waits.request.request_id {
            return Some(Outcome::Rejected(Reason::Conflict));
        }
        (!waits.live).then_some(Outcome::Entered(*id))
    }

    /// Why a confirmed booking stays where it is; none: it may move.
    fn cannot_move(&self, had: &Had, choices: &[Choice<'_>], now: Timestamp) -> Option<Outcome> {
        let opening = &self.openings[had.opening];
        let record: &OpeningRecord = &opening.record;
        let rejected = |reason| Some(Outcome::Rejected(reason));
        let begun = |slot: u32| opening.too_late(slot, now);
        let fitting = fitting_all(record, choices);
        let fits = |slot: &&u32| {
            **slot == had.slot
                || !begun(**slot) && self.free(had.opening, **slot, true) >= had.seats.len() as i32
        };
        let first = fitting.as_ref().ok().and_then(|slots| slots.iter().find(fits)).copied();
        if first == Some(had.slot) && !begun(had.slot) {
            return Some(Outcome::Repeat(had.id));
        }
        if had.changes >= record.rules.max_changes {
            return rejected(Reason::WrongState);
        }
        if begun(had.slot) {
            return rejected(Reason::Closed);
        }
        match (fitting, first) {
            (Err(reason), _) => rejected(reason),
            (Ok(_), Some(_)) => None,
            (Ok(slots), None) if slots.iter().all(|slot| begun(*slot)) => rejected(Reason::Closed),
            (Ok(_), None) => rejected(Reason::SoldOut),
        }
    }

    /// What the state machine must say for the block that is being written. Takes what
    /// the change takes.
    pub(crate) fn decide(&mut self, wish: &Wish, now: Timestamp) -> Outcome {
        if wish.target.is_some_and(|id| self.touched.contains(&id)) {
            return Outcome::Wait;
        }
        if let Some(settled) = self.settled(wish, now) {
            return settled;
        }
        let id = wish.target.unwrap();
        let Some(had) = self.had.iter().find(|had| had.id == id).cloned() else {
            self.touched.push(id);
            return Outcome::Write(Deal::Withdraw);
        };
        let deal = match &wish.kind {
            ChangeKind::Confirm { .. } if had.status == Status::Held => {
                // Its hold has ended; that comes first.
                if self.openings[had.opening].too_late(had.slot, now) {
                    return Outcome::Wait;
                }
                Deal::Confirm
            }
            ChangeKind::Confirm { .. }
                if had.status == Status::Expired
                    && !self.openings[had.opening].too_late(had.slot, now) =>
            {
                match self.revives(&had, now) {
                    Some(true) => Deal::Revive,
                    Some(false) => Deal::Refund,
                    None => return Outcome::Wait,
                }
            }
            ChangeKind::Confirm { .. } => Deal::Refund,
            ChangeKind::Cancel { applicant } if had.seats[0].0 == *applicant => {
                Deal::Cancel(Vec::new())
            }
            ChangeKind::Cancel { applicant } => Deal::Cancel(vec![*applicant]),
            ChangeKind::Reschedule { choices, .. } => {
                let record = &self.openings[had.opening].record;
                let slots = fitting_all(record, choices).unwrap().into_iter();
                let slots: Vec<u32> = slots.take_while(|slot| *slot != had.slot).collect();
                match self.swap(&had, &slots, now) {
                    Some((slot, numbers)) => Deal::Move(slot, numbers),
                    None => return Outcome::Wait,
                }
            }
        };
        self.touched.push(id);
        Outcome::Write(deal)
    }

    /// Takes places of the first of these slots that has room for a booking.
    pub(crate) fn swap(
        &mut self,
        had: &Had,
        slots: &[u32],
        now: Timestamp,
    ) -> Option<(u32, Vec<u16>)> {
        let (opening, places) = (had.opening, had.seats.len());
        let usable = |slot: &&u32| {
            !self.openings[opening].too_late(**slot, now)
                && self.has_room(opening, **slot, places)
                && self.free(opening, **slot, false) >= places as i32
        };
        let slot = *slots.iter().find(usable)?;
        let numbers = self.lowest_numbers(opening, slot, places);
        assert_eq!(numbers.len(), places, "a slot with room has numbers");
        self.take(opening, slot, &numbers, Vec::new(), None);
        Some((slot, numbers))
    }

    /// These numbers go to the block that is being written.
    fn take(
        &mut self,
        opening: usize,
        slot: u32,
        numbers: &[u16],
        people: Vec<Pseudonym>,
        account: Option<Pseudonym>,
    ) {
        self.taken.extend(numbers.iter().map(|number| (opening, slot, *number)));
        let places = numbers.len() as i32;
        self.pending.push(Pending { opening, slot, people, places, account, request: None });
    }

    /// Whether an expired booking can have its numbers again. None: that
    /// depends on the block in flight.
    fn revives(&mut self, had: &Had, now: Timestamp) -> Option<bool> {
        let (opening, slot) = (had.opening, had.slot);
        let people: Vec<Pseudonym> = had.seats.iter().map(|(who, _)| *who).collect();
        if self.booked(opening, &people) == Some(true) {
            return Some(false);
        }
        let places = &self.openings[opening].places[slot as usize];
        let live = self.live(opening, slot);
        let in_block = |number: &u16| {
            let number = (opening, slot, *number);
            self.taken.contains(&number) || self.revived.contains(&number)
        };
        let gone =
            |number: &u16| *number > places.quota || !in_block(number) && live.contains(number);
        let numbers = had.numbers();
        if numbers.iter().any(gone) {
            return Some(false);
        }
        let (withheld, free): (Vec<u16>, Vec<u16>) = numbers
            .iter()
            .filter(|number| !in_block(number))
            .partition(|number| places.withheld.contains_key(number));
        if self.offered(opening, slot) < free.len() as i32 || places.halted {
            return Some(false);
        }
        let undecided = numbers.iter().any(in_block)
            || !self.has_room(opening, slot, free.len())
            || self.booked(opening, &people).is_none();
        if undecided {
            return None;
        }
        match self.booked_elsewhere(opening, &people, now) {
            Some(false) => {}
            Some(true) => return Some(false),
            None => return None,
        }
        let account = had.request.account;
        let over = |durably| {
            let over = |account| self.account_is_over(opening, account, people.len(), durably);
            account.is_some_and(over)
        };
        if over(true) {
            return Some(false);
        }
        if over(false) || self.free(opening, slot, false) < free.len() as i32 {
            return None;
        }
        self.revived.extend(withheld.into_iter().map(|number| (opening, slot, number)));
        self.take(opening, slot, &free, people, account);
        Some(true)
    }

    /// Holds that have ended and are not being changed.
    pub(crate) fn expires(&self, now: Timestamp) -> Vec<BookingId> {
        let over = |had: &&Had| {
            had.status == Status::Held
                && had.hold.is_some_and(|until| until <= now)
                && !self.touched.contains(&had.id)
        };
        self.had.iter().filter(over).map(|had| had.id).collect()
    }

    /// Numbers whose moment has come: opening, slot, number.
    pub(crate) fn releases(&self, now: Timestamp) -> Vec<(usize, u32, u16)> {
        self.withheld_where(|until| matches!(until, Until::Moment(at) if at <= now))
    }

    /// Numbers whose draw was due by `due`.
    pub(crate) fn collected(&self, due: Timestamp) -> Vec<(usize, u32, u16)> {
        self.withheld_where(|until| matches!(until, Until::Draw(at) if at <= due))
    }

    fn withheld_where(&self, due: impl Fn(Until) -> bool) -> Vec<(usize, u32, u16)> {
        let mut all = Vec::new();
        for (o, opening) in self.openings.iter().enumerate().filter(|(_, o)| !o.retired) {
            for (slot, places) in opening.places.iter().enumerate() {
                let numbers = places.withheld.iter().filter(|(_, until)| due(**until));
                all.extend(numbers.map(|(number, _)| (o, slot as u32, *number)));
            }
        }
        all.retain(|number| !self.revived.contains(number));
        all
    }

    /// Receipts of an opening whose draw was due by `due`, in the order of their
    /// keyed hashes.
    pub(crate) fn order(&self, opening: usize, due: Timestamp, seed: &[u8; 32]) -> Vec<BookingId> {
        let minutes = self.openings[opening].releases();
        let due = |w: &&Waits| {
            w.live && w.opening == opening && ModelOpening::next(&minutes, w.since) <= due
        };
        let mut order: Vec<_> = self
            .waits
            .iter()
            .filter(due)
            .map(|w| (*blake3::keyed_hash(seed, w.receipt.as_bytes()).as_bytes(), w.receipt))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, receipt)| receipt).collect()
    }

    /// Where one who waits gets places; takes them.
    pub(crate) fn draw_one(
        &mut self,
        receipt: &BookingId,
        pool: &mut Vec<(usize, u32, u16)>,
        now: Timestamp,
    ) -> Option<(u32, Vec<u16>)> {
        let waits = self.entry(receipt).unwrap().clone();
        let (opening, people) = (waits.opening, waits.request.applicants.clone());
        let places = people.len();
        let account = waits.request.account;
        let over = |account: Pseudonym| self.account_is_over(opening, account, places, false);
        if self.booked(opening, &people) != Some(false)
            || self.booked_elsewhere(opening, &people, now) != Some(false)
            || account.is_some_and(over)
            || self.had_enough(opening, &people)
        {
            return None;
        }
        for slot in waits.slots {
            if self.openings[opening].too_late(slot, now)
                || self.openings[opening].places[slot as usize].halted
            {
                continue;
            }
            let mut returned: Vec<u16> = pool
                .iter()
                .filter(|(o, s, _)| (*o, *s) == (opening, slot))
                .map(|(_, _, number)| *number)
                .collect();
            returned.sort_unstable();
            let debt = (-self.offered(opening, slot)).max(0) as usize;
            returned.truncate(returned.len().saturating_sub(debt).min(places));
            let missing = places - returned.len();
            if missing > 0
                && !(self.has_room(opening, slot, missing)
                    && self.free(opening, slot, false) >= missing as i32)
            {
                continue;
            }
            pool.retain(|(o, s, n)| (*o, *s) != (opening, slot) || !returned.contains(n));
            let fresh = self.lowest_numbers(opening, slot, missing);
            self.take(opening, slot, &fresh, people, account);
            returned.extend(fresh);
            return Some((slot, returned));
        }
        None
    }

    /// A record is durable. What must be told of it.
    pub(crate) fn apply(
        &mut self,
        entry: &Entry,
        time: Timestamp,
        request: Option<Request>,
    ) -> Vec<ChangeReply> {
        let paid = match entry {
            Entry::Confirm(confirm) => Some(confirm.reference.clone()),
            Entry::Cancel(cancel) => self.of(&cancel.booking).paid(),
            _ => None,
        };
        let payment = paid.clone().flatten();
        let one = self.apply_one(entry, time, request);
        let reply =
            |(kind, id, version)| ChangeReply { kind, id, version, payment: payment.clone() };
        let mut all: Vec<ChangeReply> = one.into_iter().map(reply).collect();
        if let Entry::Cancel(cancel) = entry
            && cancel.refund_due
        {
            assert!(paid.is_some() && cancel.cause == CancelCause::Authority);
            self.of(&cancel.booking).done.push((String::new(), Did::Refund(payment.clone())));
            all.push(reply(self.changed(Kind::RefundDue, &cancel.booking)));
        }
        all
    }

    fn apply_one(
        &mut self,
        entry: &Entry,
        time: Timestamp,
        request: Option<Request>,
    ) -> Option<(Kind, BookingId, u32)> {
        match entry {
            Entry::Opening(record) => {
                self.openings.push(ModelOpening::new((**record).clone()));
                None
            }
            Entry::Opened { opening } => self.turn(*opening, Phase::Open),
            Entry::Closed { opening } => self.turn(*opening, Phase::Closed),
            Entry::Grant(grant) => Some(self.granted(grant, time, request)),
            Entry::Confirm(confirm) => Some(self.confirmed(confirm)),
            Entry::Cancel(cancel) => Some(self.cancelled(cancel, time)),
            Entry::Expire(expire) => {
                let had = self.of(&expire.booking);
                had.status = Status::Expired;
                let (opening, slot, numbers) = (had.opening, had.slot, had.numbers());
                let rule = self.openings[opening].record.rules.expired.clone();
                self.give(opening, slot, &numbers, &rule, expire.release_at, time);
                Some(self.changed(Kind::Expired, &expire.booking))
            }
            Entry::Reschedule(swap) => Some(self.moved(swap, time)),
            Entry::Released(released) => {
                let places = &mut self.openings[released.opening as usize].places;
                for number in &released.numbers {
                    let until = places[released.slot as usize].withheld.remove(number);
                    assert!(until.is_some(), "released and was not withheld");
                }
                None
            }
            Entry::Adjust(adjust) => {
                self.adjust(adjust.opening as usize, &adjust.change);
                None
            }
            Entry::Draw(record) => self.drawn(record, time, request),
            Entry::TakeOver(_) | Entry::Genesis(_) => None,
            other => unreachable!("{other:?}"),
        }
    }

    fn confirmed(&mut self, confirm: &Confirm) -> (Kind, BookingId, u32) {
        let reference = confirm.reference.clone();
        let had = self.of(&confirm.booking);
        let (kind, did) = match (had.status, &confirm.revived) {
            (Status::Held, None) => (Kind::Confirmed, Did::Confirmed(reference)),
            (Status::Expired, Some(_)) => (Kind::Confirmed, Did::Confirmed(reference)),
            _ => (Kind::RefundDue, Did::Refund(reference)),
        };
        had.done.push((confirm.request_id.clone(), did));
        if kind == Kind::Confirmed {
            had.status = Status::Confirmed;
        }
        let (opening, slot) = (had.opening, had.slot as usize);
        for seat in confirm.revived.iter().flatten() {
            self.openings[opening].places[slot].withheld.remove(&seat.number);
        }
        self.changed(kind, &confirm.booking)
    }

    fn cancelled(&mut self, cancel: &Cancel, time: Timestamp) -> (Kind, BookingId, u32) {
        let had = self.of(&cancel.booking);
        let gone =
            |(who, _): &(Pseudonym, u16)| cancel.seats.is_empty() || cancel.seats.contains(who);
        let (leaving, staying): (Vec<_>, Vec<_>) = had.seats.iter().copied().partition(gone);
        let whole = staying.is_empty();
        if whole {
            had.status = Status::Cancelled;
        } else {
            had.seats = staying;
            had.left.extend(leaving.iter().map(|(who, _)| *who));
        }
        if cancel.cause == CancelCause::Applicant {
            let did = Did::Cancelled((!whole).then(|| leaving[0].0));
            had.done.push((cancel.request_id.clone(), did));
        }
        let (opening, slot) = (had.opening, had.slot);
        let rule = self.openings[opening].record.rules.cancelled.clone();
        let numbers: Vec<u16> = leaving.iter().map(|(_, number)| *number).collect();
        self.give(opening, slot, &numbers, &rule, cancel.release_at, time);
        let kind = if whole { Kind::Cancelled } else { Kind::Amended };
        self.changed(kind, &cancel.booking)
    }

    fn moved(&mut self, swap: &Reschedule, time: Timestamp) -> (Kind, BookingId, u32) {
        let had = self.of(&swap.booking);
        let (opening, slot, numbers) = (had.opening, had.slot, had.numbers());
        had.slot = swap.slot;
        had.hold = swap.hold_expires_at.or(had.hold);
        had.seats = swap.seats.iter().map(|seat| (seat.applicant, seat.number)).collect();
        if swap.reason.is_some() {
            had.changes = 0;
        } else {
            had.changes += 1;
            had.done.push((swap.request_id.clone(), Did::Moved(swap.content)));
        }
        let rule = self.openings[opening].record.rules.cancelled.clone();
        self.give(opening, slot, &numbers, &rule, swap.release_at, time);
        self.changed(Kind::Rescheduled, &swap.booking)
    }

    fn turn(&mut self, opening: u32, to: Phase) -> Option<(Kind, BookingId, u32)> {
        let opening = &mut self.openings[opening as usize];
        opening.took_place |= to == Phase::Open && opening.record.opens_at < opening.closes_at;
        opening.phase = to;
        None
    }

    fn of(&mut self, id: &BookingId) -> &mut Had {
        self.had.iter_mut().find(|had| had.id == *id).unwrap()
    }

    fn changed(&mut self, kind: Kind, id: &BookingId) -> (Kind, BookingId, u32) {
        let had = self.of(id);
        had.version += 1;
        (kind, *id, had.version)
    }

    fn granted(
        &mut self,
        grant: &Grant,
        time: Timestamp,
        request: Option<Request>,
    ) -> (Kind, BookingId, u32) {
        let held = grant.hold_expires_at.is_some();
        let status = if held { Status::Held } else { Status::Confirmed };
        let entered = self.waits.iter().position(|waits| waits.receipt == grant.booking);
        let entered = entered.map(|place| self.waits.remove(place));
        self.entry_of.retain(|_, receipt| *receipt != grant.booking);
        let opening = grant.opening as usize;
        for seat in &grant.seats {
            self.openings[opening].places[grant.slot as usize].withheld.remove(&seat.number);
        }
        self.had.push(Had {
            id: grant.booking,
            request: request.or(entered.map(|waits| waits.request)).unwrap(),
            opening,
            slot: grant.slot,
            seats: grant.seats.iter().map(|seat| (seat.applicant, seat.number)).collect(),
            status,
            version: 1,
            hold: grant.hold_expires_at,
            done: Vec::new(),
            left: Vec::new(),
            changes: 0,
            granted_at: time,
        });
        (if held { Kind::Held } else { Kind::Confirmed }, grant.booking, 1)
    }

    /// Numbers come back as the rule for them says.
    fn give(
        &mut self,
        opening: usize,
        slot: u32,
        numbers: &[u16],
        rule: &ReturnRule,
        release_at: Option<Timestamp>,
        time: Timestamp,
    ) {
        let until = match rule {
            ReturnRule::Immediate => return,
            ReturnRule::Delayed { .. } if release_at.unwrap() <= time => return,
            ReturnRule::Delayed { .. } => Until::Moment(release_at.unwrap()),
            ReturnRule::At { minutes } => Until::Draw(ModelOpening::next(minutes, time)),
        };
        let withheld = &mut self.openings[opening].places[slot as usize].withheld;
        withheld.extend(numbers.iter().map(|number| (*number, until)));
    }

    fn adjust(&mut self, opening: usize, change: &Adjustment) {
        let opening = &mut self.openings[opening];
        match change {
            Adjustment::Quota { slot, quota } => opening.places[*slot as usize].quota = *quota,
            Adjustment::Reserve { slot, places } => {
                opening.places[*slot as usize].reserved = *places;
            }
            Adjustment::Halt { slot, halted, .. } => {
                opening.places[*slot as usize].halted = *halted;
            }
            Adjustment::ClosesAt { closes_at } => opening.closes_at = *closes_at,
            Adjustment::Beacon { .. } => {}
        }
    }

    fn drawn(
        &mut self,
        record: &DrawRecord,
        time: Timestamp,
        request: Option<Request>,
    ) -> Option<(Kind, BookingId, u32)> {
        match record {
            DrawRecord::Entered(entry) => {
                let (receipt, opening) = (entry.receipt, entry.opening as usize);
                for who in &entry.applicants {
                    // An earlier one was withdrawn, and is known no more.
                    if let Some(earlier) = self.entry_of.remove(&(opening, *who)) {
                        self.waits.retain(|waits| waits.receipt != earlier);
                        self.entry_of.retain(|_, entry| *entry != earlier);
                    }
                }
                for who in &entry.applicants {
                    self.entry_of.insert((opening, *who), receipt);
                }
                self.waits.push(Waits {
                    receipt,
                    request: request.unwrap(),
                    opening,
                    slots: entry.slots.clone(),
                    since: time,
                    live: true,
                });
                Some((Kind::Entered, receipt, 0))
            }
            DrawRecord::Withdrawn { receipt, .. } => {
                let waits = self.waits.iter_mut().find(|waits| waits.receipt == *receipt).unwrap();
                waits.live = false;
                Some((Kind::Cancelled, *receipt, 0))
            }
            DrawRecord::NotDrawn { receipt } => {
                self.waits.retain(|waits| waits.receipt != *receipt);
                self.entry_of.retain(|_, entry| entry != receipt);
                Some((Kind::NotDrawn, *receipt, 0))
            }
            DrawRecord::GroupEnd { opening, round } => {
                let opening = &mut self.openings[*opening as usize];
                opening.draws += 1;
                assert_eq!(opening.draws, *round);
                None
            }
            DrawRecord::Revealed { .. } | DrawRecord::GroupBegin { .. } => None,
            other => unreachable!("{other:?}"),
        }
    }

    /// Openings whose days are over go with all that is theirs.
    pub(crate) fn retire(&mut self, time: Timestamp) {
        for o in 0..self.openings.len() {
            let opening = &mut self.openings[o];
            if opening.retired || opening.phase != Phase::Closed || opening.retires_at() > time {
                continue;
            }
            opening.retired = true;
            self.had.retain(|had| had.opening != o);
            self.waits.retain(|waits| waits.opening != o);
            self.entry_of.retain(|(of, _), _| *of != o);
        }
    }

    /// The block is in the ledger, or never will be.
    pub(crate) fn end_block(&mut self) {
        self.touched.clear();
        self.taken.clear();
        self.revived.clear();
        self.pending.retain(|pending| pending.request.is_some());
    }
}

/// What a booking would remember of a deed.
fn would(had: &Had, kind: &ChangeKind) -> Did {
    match kind {
        ChangeKind::Confirm { reference } => {
            Did::Confirmed(reference.as_deref().map(str::to_owned))
        }
        ChangeKind::Cancel { applicant } => {
            Did::Cancelled((had.seats[0].0 != *applicant).then_some(*applicant))
        }
        ChangeKind::Reschedule { content, .. } => Did::Moved(*content),
    }
}
