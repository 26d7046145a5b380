//! What the rules of an opening say of time, people and accounts, held against what
//! was granted.

use std::collections::{HashMap, HashSet};

use giliran_wire::ledger::{Grant, Leftovers, OpeningRecord};
use giliran_wire::{BookingId, Date, Pseudonym, Timestamp};

use super::{Check, Findings};

/// How a booking came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As it arrived, or at the end of its round.
    Asked,
    /// By the draw of a release.
    Release,
    /// By the opening's own draw: what cannot be booked any more when its seed is
    /// revealed is left out of that.
    Draw,
}

/// What was found of the limits.
#[derive(Debug)]
pub(super) struct Limits {
    late: Findings,
    windows: Findings,
    people: Findings,
    accounts: Findings,
    moves: Findings,
    refunds: Findings,
    slots: Findings,
    /// Office, day and session of every opening so far.
    belongs: HashSet<(String, Date, String)>,
    /// Openings that accept requests.
    open: HashMap<u32, bool>,
    /// Sequences at which an applicant was granted a booking, by opening.
    granted: HashMap<(u32, Pseudonym), Vec<u64>>,
    /// Places of live bookings of an account, by opening.
    places: HashMap<(u32, Pseudonym), i64>,
    /// Moves of a booking by its own people, since the authority last moved it.
    moved: HashMap<BookingId, u16>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            late: Findings::new(),
            windows: Findings::new(),
            people: Findings::new(),
            accounts: Findings::new(),
            moves: Findings::new(),
            refunds: Findings::new(),
            slots: Findings::new(),
            belongs: HashSet::new(),
            open: HashMap::new(),
            granted: HashMap::new(),
            places: HashMap::new(),
            moved: HashMap::new(),
        }
    }
}

impl Limits {
    /// An opening goes on record: none of its slots is another one's.
    pub(super) fn recorded(&mut self, seq: u64, record: &OpeningRecord) {
        for slot in &record.slots {
            let Some(office) = record.offices.get(slot.office as usize) else { continue };
            let Some(session) = office.sessions.get(slot.session as usize) else { continue };
            let new = self.belongs.insert((office.id.clone(), slot.date, session.id.clone()));
            self.slots.look(new, || {
                format!(
                    "sequence {seq}: opening {} has {} of {}, which is another opening's",
                    record.id, slot.date, office.id
                )
            });
        }
    }

    pub(super) fn phase(&mut self, ordinal: u32, opens: bool) {
        self.open.insert(ordinal, opens);
    }

    pub(super) fn granted(
        &mut self,
        (seq, time): (u64, Timestamp),
        record: &OpeningRecord,
        grant: &Grant,
        way: Way,
    ) {
        let (id, rules) = (grant.booking, &record.rules);
        if way != Way::Draw {
            self.in_time(seq, time, record, id, grant.slot);
        }
        let until = bookable_until(record, grant.slot);
        let hold = rules.hold_ms.map(|ms| time.plus_millis(ms).min(until));
        self.late.look(grant.hold_expires_at == hold, || {
            format!("sequence {seq}: the hold of booking {id} does not end when its rules say")
        });
        let open = self.open.get(&record.ordinal).copied().unwrap_or_default();
        let given = open || way != Way::Asked || rules.leftovers == Leftovers::FirstCome;
        self.windows.look(given, || {
            format!("sequence {seq}: booking {id} was granted outside of its window")
        });
        for seat in &grant.seats {
            let before = self.granted.entry((record.ordinal, seat.applicant)).or_default();
            self.people.look(before.len() < usize::from(rules.max_bookings), || {
                let most = rules.max_bookings;
                format!("sequence {seq}: an applicant of {id} was granted {most} before")
            });
            before.push(seq);
        }
        self.live(seq, record, id, grant.account, grant.seats.len());
    }

    /// A booking has so many places more of its account.
    pub(super) fn live(
        &mut self,
        seq: u64,
        record: &OpeningRecord,
        id: BookingId,
        account: Option<Pseudonym>,
        places: usize,
    ) {
        let Some(most) = record.rules.max_per_account else { return };
        let Some(account) = account else {
            return self
                .accounts
                .look(false, || format!("sequence {seq}: booking {id} names no account"));
        };
        let has = self.places.entry((record.ordinal, account)).or_default();
        *has += places as i64;
        let fine = *has <= i64::from(most);
        self.accounts.look(fine, || {
            format!("sequence {seq}: with booking {id} an account has more than {most} places")
        });
    }

    /// A booking has given back so many places of its account.
    pub(super) fn ended(&mut self, ordinal: u32, account: Option<Pseudonym>, places: usize) {
        if let Some(has) = account.and_then(|account| self.places.get_mut(&(ordinal, account))) {
            *has -= places as i64;
        }
    }

    /// Nobody comes into a slot, nor is confirmed in one, that it is too late for.
    pub(super) fn in_time(
        &mut self,
        seq: u64,
        time: Timestamp,
        record: &OpeningRecord,
        id: BookingId,
        slot: u32,
    ) {
        let until = bookable_until(record, slot);
        self.late.look(time < until, || {
            format!("sequence {seq}: booking {id} came at {time}, its slot was given until {until}")
        });
    }

    pub(super) fn moved(
        &mut self,
        seq: u64,
        record: &OpeningRecord,
        id: BookingId,
        by_authority: bool,
    ) {
        let moves = self.moved.entry(id).or_default();
        if by_authority {
            *moves = 0;
            return;
        }
        *moves += 1;
        let (moves, most) = (*moves, record.rules.max_changes);
        self.moves.look(moves <= most, || {
            format!("sequence {seq}: booking {id} moved {moves} times, {most} are allowed")
        });
    }

    /// What the authority cancels is paid back if it had been paid for; what its own
    /// people give back is not.
    pub(super) fn cancelled(&mut self, seq: u64, id: BookingId, due: bool, said: bool) {
        self.refunds.look(due == said, || {
            let not = if due { "not " } else { "" };
            format!("sequence {seq}: a refund for booking {id} was {not}said to be due")
        });
    }

    /// True if an applicant had been granted as many bookings as one may, at a
    /// sequence.
    pub(super) fn had_enough(&self, record: &OpeningRecord, who: Pseudonym, seq: u64) -> bool {
        let granted = self.granted.get(&(record.ordinal, who));
        let before = granted.map_or(0, |granted| granted.partition_point(|at| *at <= seq));
        before >= usize::from(record.rules.max_bookings)
    }

    pub(super) fn checks(&self) -> [Check; 7] {
        let of = |findings: &Findings, what| findings.clone().check("rules", what);
        [
            of(&self.late, "nobody gets a place that it is too late for, nor holds one"),
            of(&self.windows, "no grant outside of its window, but of what is left"),
            of(&self.people, "nobody was granted more bookings than one may ever have"),
            of(&self.accounts, "no account has more places than it may, and each names one"),
            of(&self.moves, "no booking moved more often than it may"),
            of(&self.slots, "no office's day and session belongs to two openings"),
            of(&self.refunds, "a refund is due where the office cancels what was paid"),
        ]
    }
}

fn bookable_until(record: &OpeningRecord, slot: u32) -> Timestamp {
    record.slots.get(slot as usize).map_or(Timestamp::EARLIEST, |slot| slot.bookable_until)
}
