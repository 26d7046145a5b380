//! What the rules of an opening say of time, people and accounts, held against what
//! was granted.

use std::collections::{HashMap, HashSet};

use giliran_wire::ledger::{Grant, Leftovers, OpeningRecord};
use giliran_wire::{BookingId, Date, Pseudonym, Timestamp};

use crate::check::{Check, Findings};

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

#[cfg(test)]
mod tests {
    use giliran_testkit::{self as testkit, office, opening, rules, slot};

    use giliran_wire::ledger::{Rules, Seat, Slot};

    use super::*;
    use crate::check::Verdict;

    const UNTIL: Timestamp = Timestamp::from_millis(10_000);

    fn who(i: u8) -> Pseudonym {
        Pseudonym::from_bytes([i; 16])
    }

    fn record(ordinal: u32) -> OpeningRecord {
        OpeningRecord {
            ordinal,
            id: format!("w{ordinal}"),
            opens_at: Timestamp::from_millis(1_000),
            closes_at: Timestamp::from_millis(5_000),
            rules: Rules {
                max_per_account: Some(2),
                hold_ms: Some(8_000),
                max_changes: 1,
                max_bookings: 2,
                ..rules()
            },
            offices: vec![office("o", &["all"])],
            slots: vec![Slot { bookable_until: UNTIL, ..slot(0, 0, "2026-12-01", 9) }],
            ..opening(&[])
        }
    }

    fn grant(i: u8, account: Option<u8>, hold_ms: i64) -> Grant {
        Grant {
            booking: BookingId::from_random(u128::from(i) << 64),
            account: account.map(|account| who(100 + account)),
            hold_expires_at: Some(Timestamp::from_millis(hold_ms)),
            ..testkit::grant(i.into(), 0, Seat { applicant: who(i % 10), number: i.into() })
        }
    }

    /// Beginnings of what is broken after `what` happened.
    fn broken(what: impl Fn(&mut Limits, &OpeningRecord)) -> Vec<String> {
        let (mut limits, record) = (Limits::default(), record(0));
        limits.recorded(1, &record);
        limits.phase(0, true);
        what(&mut limits, &record);
        let broken = |check: &Check| matches!(check.verdict, Verdict::Broken(..));
        let checks = limits.checks();
        checks.iter().filter(|check| broken(check)).map(|check| check.what.to_string()).collect()
    }

    fn at(seq: u64, ms: i64) -> (u64, Timestamp) {
        (seq, Timestamp::from_millis(ms))
    }

    #[test]
    fn what_keeps_the_rules_is_fine() {
        let fine = broken(|limits, record| {
            limits.granted(at(2, 1_000), record, &grant(1, Some(1), 9_000), Way::Asked);
            limits.granted(at(3, 9_999), record, &grant(2, Some(1), 10_000), Way::Asked);
            limits.ended(0, Some(who(101)), 1);
            limits.granted(at(4, 2_000), record, &grant(11, Some(1), 10_000), Way::Asked);
            limits.moved(5, record, grant(1, None, 0).booking, false);
            limits.moved(6, record, grant(1, None, 0).booking, true);
            limits.moved(7, record, grant(1, None, 0).booking, false);
            limits.cancelled(8, grant(1, None, 0).booking, true, true);
        });
        assert_eq!(fine, [""; 0]);
    }

    #[test]
    fn each_broken_rule_is_found() {
        let of = |what: &dyn Fn(&mut Limits, &OpeningRecord), said: &str| {
            let broken = broken(what);
            assert!(broken.len() == 1 && broken[0].contains(said), "{said}: {broken:?}");
        };
        let asked = |limits: &mut Limits, record: &OpeningRecord, time, grant: &Grant| {
            limits.granted(time, record, grant, Way::Asked);
        };
        of(&|l, r| asked(l, r, at(2, 10_000), &grant(1, Some(1), 10_000)), "too late for");
        of(&|l, r| asked(l, r, at(2, 3_000), &grant(1, Some(1), 11_000)), "too late for");
        of(&|l, r| l.in_time(2, UNTIL, r, grant(1, None, 0).booking, 0), "too late for");
        of(
            &|l, r| {
                l.phase(0, false);
                asked(l, r, at(2, 1_000), &grant(1, Some(1), 9_000));
            },
            "outside of its window",
        );
        of(
            &|l, r| {
                for (i, account) in [(1, 1), (11, 2), (21, 3)] {
                    asked(l, r, at(i.into(), 1_000), &grant(i, Some(account), 9_000));
                }
            },
            "more bookings than",
        );
        of(&|l, r| asked(l, r, at(2, 1_000), &grant(1, None, 9_000)), "account");
        of(
            &|l, r| {
                for i in 1..=3 {
                    asked(l, r, at(i.into(), 1_000), &grant(i, Some(1), 9_000));
                }
            },
            "account",
        );
        let id = grant(1, None, 0).booking;
        of(
            &|l, r| {
                l.moved(2, r, id, false);
                l.moved(3, r, id, false);
            },
            "moved more often",
        );
        of(&|l, _| l.cancelled(2, id, true, false), "a refund is due");
        of(&|l, _| l.cancelled(2, id, false, true), "a refund is due");
        of(&|l, _| l.recorded(2, &record(1)), "belongs to two openings");
    }

    /// What is left goes to whoever asks where the rules say so; a draw leaves out what
    /// is too late by the time of its seed.
    #[test]
    fn what_is_left_may_come_after_the_window() {
        let mut rules = record(0);
        rules.rules.leftovers = Leftovers::FirstCome;
        let fine = broken(|limits, record| {
            limits.phase(0, false);
            limits.granted(at(2, 6_000), &rules, &grant(1, Some(1), 10_000), Way::Asked);
            limits.granted(at(3, 6_000), record, &grant(2, Some(2), 10_000), Way::Release);
            limits.granted(at(4, 10_001), record, &grant(3, Some(3), 10_000), Way::Draw);
        });
        assert_eq!(fine, [""; 0]);
    }
}
