//! Judges a run from what clients saw and what the stream holds.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use giliran_core::Keeper;
use giliran_wire::answer::{Reason, Status};
use giliran_wire::ledger::{Chain, DrawRecord, Entry, Grant, Reading, Seat};
use giliran_wire::{BookingId, Digest, Pseudonym, Timestamp};

use crate::orders::Orders;
use crate::world::{BEGIN, HOLD_MS, Run, Told, Wish, opening};

/// A booking from one change to the next.
#[derive(Debug, Clone)]
struct Version {
    seq: u64,
    status: Status,
    slot: u32,
    seats: Vec<Seat>,
}

/// The ledger, read with nothing but the rule of the chain, and folded by a plain
/// model.
#[derive(Default)]
struct Ledger {
    /// Valid grants with their sequence, in order.
    grants: Vec<(u64, Grant)>,
    versions: HashMap<BookingId, Vec<Version>>,
    /// Live numbers by slot, and returned ones with the time of their release.
    live: BTreeSet<(u32, u16)>,
    withheld: BTreeMap<(u32, u16), Timestamp>,
    /// Free places of a slot after a sequence.
    free: Vec<Vec<(u64, i64)>>,
    /// Payments that are to be paid back: booking and request.
    refunds: HashSet<(BookingId, String)>,
    /// Time of the last valid block.
    time: Timestamp,
    orders: Orders,
    wrong: Vec<String>,
}

/// Everything the run did wrong, by promise; empty: nothing.
pub fn judge(run: &Run) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(run.damaged.iter().map(|what| format!("a reader found damage: {what}")));
    let ledger = match read(run) {
        Ok(ledger) => ledger,
        Err(damage) => {
            wrong.push(damage);
            return wrong;
        }
    };
    wrong.extend(ledger.wrong.iter().cloned());
    no_lost_grant(run, &ledger, &mut wrong);
    idempotent(run, &ledger, &mut wrong);
    in_order(run, &ledger, &mut wrong);
    one_answer(run, &mut wrong);
    true_refusals(run, &ledger, &mut wrong);
    paid_and_kept(run, &ledger, &mut wrong);
    replay_is_live(run, &mut wrong);
    no_leak(run, &ledger, &mut wrong);
    ledger.orders.judge(run, &mut wrong);
    wrong
}

/// True if an engine took over between a close and the end of its draw.
pub fn changed_hands_in_a_draw(run: &Run) -> bool {
    let mut chain = Chain::new();
    let (mut drawing, mut found) = (false, false);
    for (seq, bytes) in run.streams.blocks() {
        let Ok(Reading::Valid(block)) = chain.read_bytes(seq, bytes) else { continue };
        for entry in block.entries {
            match entry {
                Entry::Closed { .. } => drawing = true,
                Entry::Draw(DrawRecord::Drawn { .. } | DrawRecord::NotDrawn { .. }) => {
                    drawing = false;
                }
                Entry::TakeOver(_) => found |= drawing,
                _ => {}
            }
        }
    }
    found
}

fn read(run: &Run) -> Result<Ledger, String> {
    let mut chain = Chain::new();
    let free = opening().slots.iter().map(|slot| vec![(0, i64::from(slot.quota))]).collect();
    let mut ledger = Ledger { free, ..Ledger::default() };
    for (seq, bytes) in run.streams.blocks() {
        let reading = chain.read_bytes(seq, bytes).map_err(|damage| damage.to_string())?;
        let Reading::Valid(block) = reading else {
            ledger.wrong.push(format!("P8: sequence {seq} is {reading:?}, and nobody planted it"));
            continue;
        };
        ledger.time = block.time;
        ledger.orders.fold(seq, &block.entries);
        for entry in block.entries {
            ledger.fold(seq, block.time, entry);
        }
    }
    Ok(ledger)
}

impl Ledger {
    fn fold(&mut self, seq: u64, time: Timestamp, entry: Entry) {
        match entry {
            Entry::Grant(grant) => {
                self.take(seq, grant.booking, grant.slot, &grant.seats, false);
                let (slot, seats) = (grant.slot, grant.seats.clone());
                let version = Version { seq, status: Status::Held, slot, seats };
                self.versions.insert(grant.booking, vec![version]);
                self.grants.push((seq, grant));
            }
            Entry::Confirm(confirm) => {
                let last = self.last(confirm.booking);
                if let Some(seats) = confirm.revived {
                    self.expect(seq, &last, &[Status::Expired]);
                    self.take(seq, confirm.booking, last.slot, &seats, true);
                    let status = Status::Confirmed;
                    self.next(confirm.booking, Version { seq, status, ..last });
                } else if last.status == Status::Held {
                    let status = Status::Confirmed;
                    self.next(confirm.booking, Version { seq, status, ..last });
                } else {
                    self.refunds.insert((confirm.booking, confirm.request_id));
                    self.next(confirm.booking, Version { seq, ..last });
                }
            }
            Entry::Cancel(cancel) => {
                let last = self.last(cancel.booking);
                self.expect(seq, &last, &[Status::Held, Status::Confirmed]);
                let leaves =
                    |seat: &Seat| cancel.seats.is_empty() || cancel.seats.contains(&seat.applicant);
                let (gone, stay): (Vec<Seat>, Vec<Seat>) =
                    last.seats.iter().partition(|seat| leaves(seat));
                self.give(seq, time, last.slot, &gone, cancel.release_at);
                let next = if stay.is_empty() {
                    Version { seq, status: Status::Cancelled, ..last }
                } else {
                    Version { seq, seats: stay, ..last }
                };
                self.next(cancel.booking, next);
            }
            Entry::Expire(expire) => {
                let last = self.last(expire.booking);
                self.expect(seq, &last, &[Status::Held]);
                let seats = last.seats.clone();
                self.give(seq, time, last.slot, &seats, expire.release_at);
                self.next(expire.booking, Version { seq, status: Status::Expired, ..last });
            }
            Entry::Reschedule(swap) => {
                let last = self.last(swap.booking);
                self.expect(seq, &last, &[Status::Confirmed]);
                let seats = last.seats.clone();
                self.take(seq, swap.booking, swap.slot, &swap.seats, false);
                self.give(seq, time, last.slot, &seats, swap.release_at);
                let (slot, seats) = (swap.slot, swap.seats);
                self.next(swap.booking, Version { seq, slot, seats, ..last });
            }
            Entry::Released(released) => {
                for number in released.numbers {
                    let due = self.withheld.remove(&(released.slot, number));
                    if due.is_none_or(|due| due > time) {
                        self.wrong.push(format!("number {number} released before its time, {seq}"));
                    }
                }
                self.count(seq, released.slot);
            }
            _ => {}
        }
    }

    fn last(&self, booking: BookingId) -> Version {
        let nothing = Version { seq: 0, status: Status::Cancelled, slot: 0, seats: Vec::new() };
        self.versions.get(&booking).and_then(|v| v.last().cloned()).unwrap_or(nothing)
    }

    fn next(&mut self, booking: BookingId, version: Version) {
        self.versions.entry(booking).or_default().push(version);
    }

    fn expect(&mut self, seq: u64, last: &Version, allowed: &[Status]) {
        if !allowed.contains(&last.status) {
            self.wrong.push(format!("a change at {seq} meets {:?}", last.status));
        }
    }

    fn take(&mut self, seq: u64, id: BookingId, slot: u32, seats: &[Seat], returned: bool) {
        let quota = opening().slots[slot as usize].quota;
        for seat in seats {
            let withheld = self.withheld.remove(&(slot, seat.number)).is_some();
            let fits = (1..=quota).contains(&seat.number);
            if !fits || (withheld && !returned) || !self.live.insert((slot, seat.number)) {
                self.wrong.push(format!("P1: number {} of slot {slot} at {seq}", seat.number));
            }
            let twice = self.versions.iter().any(|(other, versions)| {
                *other != id
                    && versions.last().is_some_and(|version| {
                        version.status.is_live()
                            && version.seats.iter().any(|s| s.applicant == seat.applicant)
                    })
            });
            if twice {
                self.wrong.push(format!("P3: an applicant booked again at {seq}"));
            }
        }
        self.count(seq, slot);
    }

    fn give(
        &mut self,
        seq: u64,
        time: Timestamp,
        slot: u32,
        seats: &[Seat],
        release_at: Option<Timestamp>,
    ) {
        for seat in seats {
            self.live.remove(&(slot, seat.number));
            if let Some(at) = release_at.filter(|at| *at > time) {
                self.withheld.insert((slot, seat.number), at);
            }
        }
        self.count(seq, slot);
    }

    fn count(&mut self, seq: u64, slot: u32) {
        let of = |(s, _): &&(u32, u16)| *s == slot;
        let taken = self.live.iter().filter(of).count() + self.withheld.keys().filter(of).count();
        let free = i64::from(opening().slots[slot as usize].quota) - taken as i64;
        if free < 0 {
            self.wrong.push(format!("P1: slot {slot} has {free} places at {seq}"));
        }
        self.free[slot as usize].push((seq, free));
    }

    fn free_at(&self, slot: u32, seq: u64) -> i64 {
        let history = &self.free[slot as usize];
        history[history.partition_point(|(at, _)| *at <= seq) - 1].1
    }

    /// The booking as it stood at a sequence, and its version there.
    fn at(&self, booking: &BookingId, seq: u64) -> Option<(u32, &Version)> {
        let versions = self.versions.get(booking)?;
        let place = versions.partition_point(|version| version.seq <= seq).checked_sub(1)?;
        Some((place as u32 + 1, &versions[place]))
    }
}

fn no_lost_grant(run: &Run, ledger: &Ledger, wrong: &mut Vec<String>) {
    for attempt in &run.attempts {
        for (_, told) in &attempt.told {
            let Told::Granted { booking, version, slot, numbers, as_of } = told else { continue };
            let kept = ledger.at(booking, as_of.seq).is_some_and(|(n, stood)| {
                n == *version
                    && stood.slot == *slot
                    && stood.seats.iter().map(|seat| seat.number).eq(numbers.iter().copied())
            });
            if !kept {
                wrong.push(format!(
                    "P2: booking {booking}, version {version}, is not in the ledger as told at {}",
                    as_of.seq
                ));
            }
        }
    }
}

fn idempotent(run: &Run, ledger: &Ledger, wrong: &mut Vec<String>) {
    let mut by_key: HashMap<(Pseudonym, &str), (Digest, BookingId)> = HashMap::new();
    for (_, grant) in &ledger.grants {
        let key = (grant.seats[0].applicant, grant.request_id.as_str());
        if by_key.insert(key, (grant.content, grant.booking)).is_some() {
            wrong.push(format!("P4: request {} was granted twice", grant.request_id));
        }
    }
    for attempt in run.attempts.iter().filter(|attempt| attempt.change.is_none()) {
        let made = by_key.get(&(attempt.applicants[0], attempt.request_id.as_str()));
        for (_, told) in &attempt.told {
            if let (Told::Granted { booking, .. }, Some((content, made))) = (told, made)
                && (booking != made || *content != attempt.content)
            {
                wrong.push(format!("P4: request {} was told another booking", attempt.request_id));
            }
        }
    }
}

fn in_order(run: &Run, ledger: &Ledger, wrong: &mut Vec<String>) {
    let place: HashMap<BookingId, usize> =
        ledger.grants.iter().enumerate().map(|(i, (_, grant))| (grant.booking, i)).collect();
    // The first attempt that a booking's answer came to, and when it came.
    let mut told: Vec<(u64, usize, u64)> = Vec::new();
    let mut first_sent: HashMap<BookingId, u64> = HashMap::new();
    let books = || run.attempts.iter().filter(|attempt| attempt.change.is_none());
    for attempt in books() {
        let key = |told: &Told| match told {
            Told::Granted { booking, .. } => Some(*booking),
            _ => None,
        };
        for (at, booking) in attempt.told.iter().filter_map(|(at, t)| key(t).map(|b| (*at, b))) {
            let sent = first_sent.entry(booking).or_insert(u64::MAX);
            // A repetition's earlier attempts may have made the booking.
            let earliest = books()
                .filter(|a| {
                    a.request_id == attempt.request_id && a.applicants == attempt.applicants
                })
                .map(|a| a.sent_ms)
                .min();
            *sent = (*sent).min(earliest.unwrap_or(attempt.sent_ms));
            if let Some(place) = place.get(&booking) {
                told.push((at, *place, *sent));
            }
        }
    }
    for (answered, before, _) in &told {
        if told.iter().any(|(_, after, sent)| sent > answered && after < before) {
            wrong.push(format!(
                "P5: grant {before} of the ledger was answered before an earlier one was sent"
            ));
        }
    }
}

fn one_answer(run: &Run, wrong: &mut Vec<String>) {
    for attempt in &run.attempts {
        let terminal = attempt.told.iter().filter(|(_, told)| match told {
            Told::Granted { .. } | Told::Entered { .. } => true,
            Told::Refused { reason, .. } => !reason.worth_a_retry(),
            Told::Busy => false,
        });
        let terminal: Vec<&Told> = terminal.map(|(_, told)| told).collect();
        // Where a lease was taken from its holder before its time, two engines
        // may both speak, each of its position; then they may not tell of two
        // bookings.
        let agree = || {
            let bookings = terminal.iter().filter_map(|told| match told {
                Told::Granted { booking, .. } => Some(*booking),
                _ => None,
            });
            bookings.collect::<HashSet<_>>().len() <= 1
        };
        let lease_broken = run.faults.contains(&"lease taken early");
        if terminal.len() > 1 && !(lease_broken && agree()) {
            wrong.push(format!(
                "P7: request {} was answered {:?}",
                attempt.request_id, attempt.told
            ));
        }
    }
}

fn true_refusals(run: &Run, ledger: &Ledger, wrong: &mut Vec<String>) {
    for attempt in &run.attempts {
        for (_, told) in &attempt.told {
            let Told::Refused { reason, as_of } = told else { continue };
            let party = attempt.applicants.len() as i64;
            let booked = |who: &Pseudonym| {
                ledger.versions.keys().any(|id| {
                    ledger.at(id, as_of.seq).is_some_and(|(_, stood)| {
                        stood.status.is_live() && stood.seats.iter().any(|s| s.applicant == *who)
                    })
                })
            };
            let stood = |id: &BookingId| ledger.at(id, as_of.seq).map(|(_, stood)| stood);
            let true_then = match (reason, &attempt.change) {
                (Reason::SoldOut, None) => {
                    attempt.slots.iter().all(|slot| ledger.free_at(*slot, as_of.seq) < party)
                }
                (Reason::SoldOut, Some((id, Wish::Move(slot)))) => stood(id).is_some_and(|stood| {
                    ledger.free_at(*slot, as_of.seq) < stood.seats.len() as i64
                }),
                (Reason::AlreadyBooked, None) => attempt
                    .applicants
                    .iter()
                    .any(|who| booked(who) || ledger.orders.has_entered(who, as_of.seq)),
                (Reason::Conflict, None) if ledger.orders.conflicts(attempt, as_of.seq) => true,
                (Reason::Conflict, None) => ledger.grants.iter().any(|(seq, grant)| {
                    *seq <= as_of.seq
                        && grant.request_id == attempt.request_id
                        && grant.seats[0].applicant == attempt.applicants[0]
                        && grant.content != attempt.content
                }),
                (Reason::WrongState, Some((id, wish))) => {
                    stood(id).is_some_and(|stood| match wish {
                        Wish::Confirm => stood.status != Status::Held,
                        Wish::Cancel(_) => !stood.status.is_live(),
                        Wish::Move(_) => stood.status != Status::Confirmed,
                    })
                }
                // Not there yet, at the position of one that was deposed unawares;
                // or of the party no more.
                (Reason::NotFound, Some((id, wish))) => stood(id).is_none_or(|stood| {
                    let of_it = |who| stood.seats.iter().any(|seat| seat.applicant == who);
                    matches!(wish, Wish::Cancel(who) if !of_it(*who))
                }),
                (Reason::Closed, None) => ledger.orders.has_closed(as_of.seq),
                (Reason::NotOpen | Reason::UnknownOpening, None) => true,
                _ => false,
            };
            if !true_then {
                wrong.push(format!(
                    "P8, P12: request {} was told {reason:?} at {as_of:?}, which was false there",
                    attempt.request_id
                ));
            }
        }
    }
}

/// A payment that was answered confirmed its booking or is to be paid back.
fn paid_and_kept(run: &Run, ledger: &Ledger, wrong: &mut Vec<String>) {
    for attempt in &run.attempts {
        let Some((booking, Wish::Confirm)) = attempt.change else { continue };
        for (_, told) in &attempt.told {
            let kept = match told {
                Told::Granted { as_of, .. } => {
                    let versions = ledger.versions.get(&booking);
                    versions.is_some_and(|versions| {
                        versions.iter().any(|v| v.seq <= as_of.seq && v.status == Status::Confirmed)
                    })
                }
                Told::Refused { reason: Reason::WrongState, .. } => {
                    ledger.refunds.contains(&(booking, attempt.request_id.clone()))
                }
                Told::Refused { .. } | Told::Entered { .. } | Told::Busy => true,
            };
            if !kept {
                wrong.push(format!("booking {booking} was paid and forgotten: {told:?}"));
            }
        }
    }
}

fn replay_is_live(run: &Run, wrong: &mut Vec<String>) {
    let Some((live, seq)) = run.live else {
        wrong.push("P10: no engine is in office after the faults ended".to_owned());
        return;
    };
    let mut keeper = Keeper::new();
    for (at, bytes) in run.streams.blocks().take_while(|(at, _)| *at <= seq) {
        if let Err(error) = keeper.fold(at, bytes) {
            wrong.push(format!("P6: replay stops: {error}"));
            return;
        }
    }
    if keeper.state_hash() != live {
        wrong.push("P6: replay and live state differ".to_owned());
    }
}

fn no_leak(run: &Run, ledger: &Ledger, wrong: &mut Vec<String>) {
    for (slot, (free, durable)) in run.places.iter().enumerate() {
        if free != durable {
            wrong.push(format!("P11: slot {slot} shows {free} free, its grants leave {durable}"));
        }
        let model = ledger.free_at(slot as u32, u64::MAX);
        if i64::from(*durable) != model {
            wrong.push(format!("P11: slot {slot} shows {durable} free, the ledger leaves {model}"));
        }
    }
    // A clock that has jumped stops expiry, or brings it early.
    if run.faults.contains(&"clock jump") {
        return;
    }
    let over = BEGIN.plus_millis(crate::world::END_MS - 12_000);
    for (_, grant) in &ledger.grants {
        let held = ledger.last(grant.booking).status == Status::Held;
        let deadline = grant.hold_expires_at;
        if held && deadline.is_some_and(|deadline| deadline < over) {
            wrong.push(format!("P11: booking {} is held {HOLD_MS} ms and for ever", grant.booking));
        }
    }
}
