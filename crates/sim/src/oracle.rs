//! Judges a run from what clients saw and what the stream holds.

use std::collections::{HashMap, HashSet};

use giliran_core::Keeper;
use giliran_wire::answer::Reason;
use giliran_wire::ledger::{Chain, Entry, Grant, Reading};
use giliran_wire::{BookingId, Digest, Pseudonym};

use crate::world::{Run, Told, opening};

/// The ledger, read with nothing but the rule of the chain.
struct Ledger {
    /// Valid grants with their sequence, in order.
    grants: Vec<(u64, Grant)>,
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
    no_oversell(&ledger, &mut wrong);
    one_booking(&ledger, &mut wrong);
    no_lost_grant(run, &ledger, &mut wrong);
    idempotent(run, &ledger, &mut wrong);
    in_order(run, &ledger, &mut wrong);
    one_answer(run, &mut wrong);
    true_refusals(run, &ledger, &mut wrong);
    replay_is_live(run, &mut wrong);
    no_leak(run, &mut wrong);
    wrong
}

fn read(run: &Run) -> Result<Ledger, String> {
    let mut chain = Chain::new();
    let mut grants = Vec::new();
    for (i, bytes) in run.stream.iter().enumerate() {
        let seq = i as u64 + 1;
        let (block, reading) = chain.read_bytes(seq, bytes).map_err(|damage| damage.to_string())?;
        if reading == Reading::Void {
            continue;
        }
        grants.extend(block.entries.into_iter().filter_map(|entry| match entry {
            Entry::Grant(grant) => Some((seq, grant)),
            _ => None,
        }));
    }
    Ok(Ledger { grants })
}

fn no_oversell(ledger: &Ledger, wrong: &mut Vec<String>) {
    let quotas: Vec<u16> = opening().slots.iter().map(|slot| slot.quota).collect();
    let mut held = HashSet::new();
    for (seq, grant) in &ledger.grants {
        for seat in &grant.seats {
            let quota = quotas[grant.slot as usize];
            if !(1..=quota).contains(&seat.number) || !held.insert((grant.slot, seat.number)) {
                wrong.push(format!("P1: number {} of slot {} at {seq}", seat.number, grant.slot));
            }
        }
    }
}

fn one_booking(ledger: &Ledger, wrong: &mut Vec<String>) {
    let mut booked = HashSet::new();
    for (seq, grant) in &ledger.grants {
        for seat in &grant.seats {
            if !booked.insert(seat.applicant) {
                wrong.push(format!("P3: an applicant booked again at {seq}"));
            }
        }
    }
}

fn no_lost_grant(run: &Run, ledger: &Ledger, wrong: &mut Vec<String>) {
    let by_id: HashMap<BookingId, &(u64, Grant)> =
        ledger.grants.iter().map(|made| (made.1.booking, made)).collect();
    for attempt in &run.attempts {
        for (_, told) in &attempt.told {
            let Told::Granted { booking, slot, numbers, as_of } = told else { continue };
            let kept = by_id.get(booking).is_some_and(|(seq, grant)| {
                grant.slot == *slot
                    && *seq <= as_of.seq
                    && grant.seats.iter().map(|seat| seat.number).eq(numbers.iter().copied())
                    && grant
                        .seats
                        .iter()
                        .map(|seat| seat.applicant)
                        .eq(attempt.applicants.iter().copied())
            });
            if !kept {
                wrong.push(format!("P2: booking {booking} was told and is not in the ledger"));
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
    for attempt in &run.attempts {
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
    for attempt in &run.attempts {
        let key = |told: &Told| match told {
            Told::Granted { booking, .. } => Some(*booking),
            _ => None,
        };
        for (at, booking) in attempt.told.iter().filter_map(|(at, t)| key(t).map(|b| (*at, b))) {
            let sent = first_sent.entry(booking).or_insert(u64::MAX);
            // A repetition's earlier attempts may have made the booking.
            let earliest = run
                .attempts
                .iter()
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
            Told::Granted { .. } => true,
            Told::Refused { reason, .. } => !reason.worth_a_retry(),
            Told::Busy => false,
        });
        let terminal: Vec<&Told> = terminal.map(|(_, told)| told).collect();
        // Where a lease was taken from its holder before its time, two engines
        // may both speak; then they may not contradict each other.
        let agree = || {
            let booking = |told: &&Told| match told {
                Told::Granted { booking, .. } => Some(*booking),
                _ => None,
            };
            terminal.windows(2).all(|two| booking(&two[0]) == booking(&two[1]))
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
    let quotas: Vec<i64> = opening().slots.iter().map(|slot| i64::from(slot.quota)).collect();
    for attempt in &run.attempts {
        for (_, told) in &attempt.told {
            let Told::Refused { reason, as_of } = told else { continue };
            let before =
                || ledger.grants.iter().filter(|(seq, _)| *seq <= as_of.seq).map(|(_, g)| g);
            let true_then = match reason {
                Reason::SoldOut => attempt.slots.iter().all(|slot| {
                    let taken: usize =
                        before().filter(|g| g.slot == *slot).map(|g| g.seats.len()).sum();
                    quotas[*slot as usize] - (taken as i64) < attempt.applicants.len() as i64
                }),
                Reason::AlreadyBooked => before().any(|grant| {
                    grant.seats.iter().any(|seat| attempt.applicants.contains(&seat.applicant))
                }),
                Reason::Conflict => before().any(|grant| {
                    grant.request_id == attempt.request_id
                        && grant.seats[0].applicant == attempt.applicants[0]
                        && grant.content != attempt.content
                }),
                Reason::NotOpen | Reason::UnknownOpening => true,
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

fn replay_is_live(run: &Run, wrong: &mut Vec<String>) {
    let Some((live, seq)) = run.live else {
        wrong.push("P10: no engine is in office after the faults ended".to_owned());
        return;
    };
    let mut keeper = Keeper::new();
    for (i, bytes) in run.stream.iter().enumerate().take(seq as usize) {
        if let Err(error) = keeper.fold(i as u64 + 1, bytes) {
            wrong.push(format!("P6: replay stops: {error}"));
            return;
        }
    }
    if keeper.state_hash() != live {
        wrong.push("P6: replay and live state differ".to_owned());
    }
}

fn no_leak(run: &Run, wrong: &mut Vec<String>) {
    for (slot, (free, durable)) in run.places.iter().enumerate() {
        if free != durable {
            wrong.push(format!("P11: slot {slot} shows {free} free, its grants leave {durable}"));
        }
    }
}
