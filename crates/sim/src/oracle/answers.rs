//! What clients were told, against the ledger.

use std::collections::{HashMap, HashSet};

use giliran_wire::answer::{Reason, Status};
use giliran_wire::{BookingId, Digest, Pseudonym};

use super::ledger::Ledger;
use crate::kind::Kind;
use crate::world::{
    ACCOUNT_PLACES, Attempt, BOOKINGS, CHANGES, ClientAnswer, HeardAnswer, Intent, Run,
};

pub(super) fn judge(run: &Run, ledger: &Ledger, wrong: &mut Vec<String>) {
    no_lost_grant(run, ledger, wrong);
    idempotent(run, ledger, wrong);
    in_order(run, ledger, wrong);
    one_answer(run, wrong);
    true_rejections(run, ledger, wrong);
    paid_and_kept(run, ledger, wrong);
}

fn no_lost_grant(run: &Run, ledger: &Ledger, wrong: &mut Vec<String>) {
    for heard in run.attempts.iter().flat_map(|attempt| &attempt.answers) {
        let ClientAnswer::Granted { booking, version, slot, numbers, as_of } = &heard.answer else {
            continue;
        };
        let kept = ledger.at(booking, as_of.seq).is_some_and(|(n, stood)| {
            n == *version
                && stood.slot == *slot
                && stood.seats.iter().map(|seat| seat.number).eq(numbers.iter().copied())
        });
        if !kept && !run.was_lost(heard) {
            wrong.push(format!(
                "P2: booking {booking}, version {version}, is not in the ledger as told at {}",
                as_of.seq
            ));
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
        for heard in &attempt.answers {
            if let (ClientAnswer::Granted { booking, .. }, Some((content, made))) =
                (&heard.answer, made)
                && (booking != made || *content != attempt.content)
                && !run.was_lost(heard)
            {
                wrong.push(format!("P4: request {} was told another booking", attempt.request_id));
            }
        }
    }
}

fn in_order(run: &Run, ledger: &Ledger, wrong: &mut Vec<String>) {
    let place: HashMap<BookingId, usize> =
        ledger.grants.iter().enumerate().map(|(i, (_, grant))| (grant.booking, i)).collect();
    let books = || run.attempts.iter().filter(|attempt| attempt.change.is_none());
    // An earlier attempt of the same request may have made the booking.
    let mut earliest: HashMap<(&str, &[Pseudonym]), u64> = HashMap::new();
    for attempt in books() {
        let key = (attempt.request_id.as_str(), &attempt.applicants[..]);
        let sent = earliest.entry(key).or_insert(u64::MAX);
        *sent = (*sent).min(attempt.sent_ms);
    }
    // When a booking was told of, its place, and when it was first asked for.
    let mut answers: Vec<(u64, usize, u64)> = Vec::new();
    for attempt in books() {
        let sent = earliest[&(attempt.request_id.as_str(), &attempt.applicants[..])];
        for heard in &attempt.answers {
            if let ClientAnswer::Granted { booking, .. } = &heard.answer
                && let Some(place) = place.get(booking)
            {
                answers.push((heard.at_ms, *place, sent));
            }
        }
    }
    for (answered, before, _) in &answers {
        if answers.iter().any(|(_, after, sent)| sent > answered && after < before) {
            wrong.push(format!(
                "P5: grant {before} of the ledger was answered before an earlier one was sent"
            ));
        }
    }
}

fn one_answer(run: &Run, wrong: &mut Vec<String>) {
    // Where a lease is not what its holder takes it for, two engines may both speak,
    // each of its position; and a request that comes twice is answered twice. Then they
    // may not tell of two bookings.
    let twice = run.lease_broken() || run.faults.contains(&"request twice");
    for attempt in &run.attempts {
        let terminal = attempt.answers.iter().filter(|heard| heard.answer.is_terminal());
        let terminal: Vec<&HeardAnswer> = terminal.collect();
        let agree = || {
            let bookings = terminal.iter().filter_map(|heard| match &heard.answer {
                ClientAnswer::Granted { booking, .. } => Some(*booking),
                _ => None,
            });
            bookings.collect::<HashSet<_>>().len() <= 1
        };
        if terminal.len() > 1 && !(twice && agree()) {
            wrong.push(format!(
                "P7: request {} was answered {:?}",
                attempt.request_id, attempt.answers
            ));
        }
    }
}

/// Every rejection was true at the position it names; and where the lease was what it
/// should be, also at every one up to what anybody had been told before the attempt
/// was sent.
fn true_rejections(run: &Run, ledger: &Ledger, wrong: &mut Vec<String>) {
    let known = Known::of(run);
    for attempt in &run.attempts {
        let before = known.before(attempt.sent_ms);
        for heard in &attempt.answers {
            let ClientAnswer::Rejected { reason, as_of } = &heard.answer else { continue };
            let until = if run.lease_broken() { as_of.seq } else { before.max(as_of.seq) };
            let was_true = is_true(run, ledger, (attempt, *reason), (as_of.seq, until));
            if !was_true && !run.was_lost(heard) {
                wrong.push(format!(
                    "P8, P12: request {} was told {reason:?} at {as_of:?}, which was false there or \
                     by {until}, which was known when it was sent",
                    attempt.request_id
                ));
            }
        }
    }
}

/// What anybody had been told by a time.
struct Known(Vec<(u64, u64)>);

impl Known {
    fn of(run: &Run) -> Self {
        let answers = run.attempts.iter().flat_map(|attempt| &attempt.answers);
        let mut known: Vec<(u64, u64)> = answers
            .filter(|heard| !run.was_lost(heard))
            .filter_map(|heard| Some((heard.at_ms, heard.answer.as_of()?.seq)))
            .collect();
        known.sort_unstable();
        let mut latest = 0;
        for (_, seq) in &mut known {
            latest = latest.max(*seq);
            *seq = latest;
        }
        Self(known)
    }

    fn before(&self, ms: u64) -> u64 {
        let place = self.0.partition_point(|(at, _)| *at < ms);
        place.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

/// Whether a rejection was true from one position to another.
fn is_true(
    run: &Run,
    ledger: &Ledger,
    (attempt, reason): (&Attempt, Reason),
    (seq, until): (u64, u64),
) -> bool {
    let party = attempt.applicants.len();
    let stood = |id: &BookingId| ledger.at(id, seq).map(|(_, stood)| stood);
    match (reason, &attempt.change) {
        (Reason::SoldOut, None) => {
            let most = |slot: &u32| ledger.most_free(*slot, seq, until);
            attempt.slots.iter().all(|slot| most(slot) < party as i64)
        }
        (Reason::SoldOut, Some((id, Intent::Move(slot)))) => {
            stood(id).is_some_and(|stood| ledger.free_at(*slot, seq) < stood.seats.len() as i64)
        }
        (Reason::AlreadyBooked, None) => attempt.applicants.iter().any(|who| {
            let taken = |seq| ledger.has_booked(who, seq) || ledger.orders.has_entered(who, seq);
            taken(seq) && taken(until)
        }),
        (Reason::AccountLimit, None) => {
            let has = |account| ledger.places_of(account, seq) + party;
            let limited = run.setup.kind == Kind::Operators;
            // Whoever names none has reached it.
            limited && attempt.account.as_ref().is_none_or(|a| has(a) > ACCOUNT_PLACES as usize)
        }
        (Reason::ApplicantLimit, None) => {
            let had_enough = |who: &Pseudonym| ledger.granted_to(who, seq) >= BOOKINGS.into();
            run.setup.kind == Kind::Operators && attempt.applicants.iter().any(had_enough)
        }
        (Reason::PartyTooLarge, None) => {
            attempt.slots.iter().all(|slot| ledger.most_quota(*slot, seq, until) < party as i64)
        }
        (Reason::Conflict, None) => conflicts(ledger, attempt, seq),
        (Reason::WrongState, Some((id, wish))) => stood(id).is_some_and(|stood| match wish {
            Intent::Confirm => stood.status != Status::Held,
            Intent::Cancel(_) => !stood.status.is_live(),
            Intent::Move(_) => {
                let used_up = ledger.moves_of(id, seq) >= CHANGES.into();
                stood.status != Status::Confirmed || (run.setup.kind == Kind::Operators && used_up)
            }
        }),
        (Reason::NotFound, Some((id, wish))) => {
            ledger.has_retired(seq) || is_not_there(ledger, id, *wish, seq)
        }
        (Reason::Closed, None) => ledger.has_closed(seq) && !ledger.gives(seq),
        // What is drawn stands with the close; and the days of what leaves memory are
        // over.
        (Reason::Closed, Some((id, Intent::Cancel(_) | Intent::Move(_)))) => {
            run.setup.kind == Kind::Retiring
                || (ledger.orders.is_entry(id) && ledger.has_closed(seq))
        }
        (Reason::NotOpen | Reason::UnknownOpening, None) => true,
        _ => false,
    }
}

fn conflicts(ledger: &Ledger, attempt: &Attempt, seq: u64) -> bool {
    ledger.orders.conflicts(attempt, seq)
        || ledger.grants.iter().any(|(at, grant)| {
            *at <= seq
                && grant.request_id == attempt.request_id
                && grant.seats[0].applicant == attempt.applicants[0]
                && grant.content != attempt.content
        })
}

/// Not there yet, at the position of one that was deposed unawares; or of the party no
/// more.
fn is_not_there(ledger: &Ledger, id: &BookingId, wish: Intent, seq: u64) -> bool {
    match (ledger.at(id, seq), ledger.orders.entry(id)) {
        (Some((_, stood)), _) => {
            let of_it = |who| stood.seats.iter().any(|seat| seat.applicant == who);
            matches!(wish, Intent::Cancel(who) if !of_it(who))
        }
        (None, Some(entry)) => {
            let of_it = |who| entry.applicants.contains(who);
            !ledger.orders.is_live(id, seq) || !matches!(&wish, Intent::Cancel(who) if of_it(who))
        }
        (None, None) => true,
    }
}

/// A payment that was answered confirmed its booking or is to be paid back.
fn paid_and_kept(run: &Run, ledger: &Ledger, wrong: &mut Vec<String>) {
    for attempt in &run.attempts {
        let Some((booking, Intent::Confirm)) = attempt.change else { continue };
        for heard in &attempt.answers {
            let kept = match &heard.answer {
                ClientAnswer::Granted { as_of, .. } => {
                    let versions = ledger.versions.get(&booking);
                    versions.is_some_and(|versions| {
                        versions.iter().any(|v| v.seq <= as_of.seq && v.status == Status::Confirmed)
                    })
                }
                ClientAnswer::Rejected { reason: Reason::WrongState, .. } => {
                    ledger.refunds.contains(&(booking, attempt.request_id.clone()))
                }
                ClientAnswer::Rejected { .. }
                | ClientAnswer::Entered { .. }
                | ClientAnswer::Busy => true,
            };
            if !kept && !run.was_lost(heard) {
                wrong.push(format!("booking {booking} was paid and forgotten: {:?}", heard.answer));
            }
        }
    }
}
