//! What clients saw, against the ledger.

use std::collections::HashMap;

use giliran_wire::{ApplicantKey, BookingId};

use giliran_wire::client_log::Attempt;

use crate::check::{Check, Findings, Verdict};
use crate::facts::Facts;

/// The checks that need a log.
pub(super) const WHAT: [(&str, &str); 9] = [
    ("P2", "every grant that was answered is in the ledger, as answered"),
    ("P4", "the same request gets the same booking"),
    ("P5", "the ledger's order respects real time"),
    ("P7", "at most one answer per attempt"),
    ("P8", "what answers say was true at the position they name"),
    ("P8", "no answer is older than what was answered before its request"),
    ("P12", "nobody is answered `sold_out` while there is room"),
    ("P12", "`already_booked` rests on a durable booking"),
    ("P12", "`applicant_limit` rests on as many durable bookings"),
];

/// What was found wrong in what clients saw.
struct Wrong {
    answered: Findings,
    same: Findings,
    once: Findings,
    as_of: Findings,
    sold_out: Findings,
    booked: Findings,
    enough: Findings,
}

pub(super) fn checks(log: &[Attempt], facts: &Facts, key: Option<&ApplicantKey>) -> Vec<Check> {
    let mut wrong = Wrong {
        answered: Findings::new(),
        same: Findings::new(),
        once: Findings::new(),
        as_of: Findings::new(),
        sold_out: Findings::new(),
        booked: Findings::new(),
        enough: Findings::new(),
    };
    let mut bookings: HashMap<(&str, Option<&str>, &str), &str> = HashMap::new();
    for attempt in log {
        let id = &attempt.request_id;
        wrong.once.look(attempt.more_answers == 0, || {
            format!("request {id}: {} answers too many", attempt.more_answers)
        });
        if let (Some(epoch), Some(seq)) = (attempt.epoch, attempt.seq) {
            let fine = seq <= facts.tail() && facts.epoch_at(seq) == epoch;
            wrong
                .as_of
                .look(fine, || format!("request {id}: epoch {epoch} did not write at {seq}"));
        }
        if let Some(seen) = &attempt.booking {
            wrong.look_at_booking(attempt, &seen.id, facts);
            let first = attempt.applicants.first().map(String::as_str);
            let key = (id.as_str(), attempt.opening.as_deref(), first.unwrap_or_default());
            let earlier = *bookings.entry(key).or_insert(&seen.id);
            wrong.same.look(earlier == seen.id, || {
                format!("request {id}: booking {earlier}, then {}", seen.id)
            });
        }
        wrong.look_at_reason(attempt, facts, key);
    }
    let mut booked = wrong.booked.check(WHAT[7].0, WHAT[7].1);
    let mut enough = wrong.enough.check(WHAT[8].0, WHAT[8].1);
    if key.is_none() {
        for check in [&mut booked, &mut enough] {
            check.verdict = Verdict::NotChecked("no applicant key was given");
        }
    }
    vec![
        wrong.answered.check(WHAT[0].0, WHAT[0].1),
        wrong.same.check(WHAT[1].0, WHAT[1].1),
        order(log, facts).check(WHAT[2].0, WHAT[2].1),
        wrong.once.check(WHAT[3].0, WHAT[3].1),
        wrong.as_of.check(WHAT[4].0, WHAT[4].1),
        fresh(log).check(WHAT[5].0, WHAT[5].1),
        wrong.sold_out.check(WHAT[6].0, WHAT[6].1),
        booked,
        enough,
    ]
}

impl Wrong {
    /// A booking that was answered is in the ledger, and no later than the answer says.
    fn look_at_booking(&mut self, attempt: &Attempt, booking: &str, facts: &Facts) {
        let id = &attempt.request_id;
        let known = booking.parse::<BookingId>().ok().and_then(|id| facts.by_booking.get(&id));
        let granted = known.map(|at| &facts.grants[*at]);
        self.answered
            .look(granted.is_some_and(|granted| as_answered(facts, granted, attempt)), || {
                format!("request {id}: booking {booking} is not in the ledger as it was answered")
            });
        if let (Some(granted), Some(seq)) = (granted, attempt.seq) {
            self.as_of.look(granted.seq <= seq, || {
                format!("request {id}: booking {booking} came after position {seq}")
            });
        }
    }

    /// A reason that was answered was true at the position that it names.
    fn look_at_reason(&mut self, attempt: &Attempt, facts: &Facts, key: Option<&ApplicantKey>) {
        let id = &attempt.request_id;
        let (Some(reason), Some(seq)) = (attempt.reason.as_deref(), attempt.seq) else { return };
        let Some(opening) = facts.opening_at(attempt.opening.as_deref(), seq) else { return };
        let party = attempt.applicants.len() as u32;
        if reason == "sold_out" {
            let room = facts.room(opening, &attempt.choices, party, seq);
            self.sold_out.look(room.is_none(), || {
                format!("request {id} at {seq}: {}", room.unwrap_or_default())
            });
        }
        if let (Some(key), "already_booked") = (key, reason) {
            let durable = attempt
                .applicants
                .iter()
                .any(|applicant| facts.has_booked(opening, key.applicant(applicant), seq));
            self.booked
                .look(durable, || format!("request {id} at {seq}: nobody of it had a booking"));
        }
        if let (Some(key), "applicant_limit") = (key, reason) {
            let had = |applicant: &String| facts.had_enough(opening, key.applicant(applicant), seq);
            self.enough.look(attempt.applicants.iter().any(had), || {
                format!("request {id} at {seq}: nobody of it had as many bookings as one may")
            });
        }
    }
}

fn as_answered(facts: &Facts, granted: &super::facts::Fact, attempt: &Attempt) -> bool {
    let (Some(seen), grant) = (&attempt.booking, &granted.grant) else { return false };
    let Some(opening) = facts.opening(grant.opening) else { return false };
    let Some((slot, numbers)) = granted.at(attempt.seq.unwrap_or(u64::MAX)) else { return false };
    let Some((slot, office, session)) = opening.place(slot) else { return false };
    grant.request_id == attempt.request_id
        && office.id == seen.office
        && slot.date.to_string() == seen.date
        && session.id == seen.session
        && *numbers == seen.numbers[..]
}

/// Whoever asks after something was told is answered by facts at least as new: what was
/// true once says nothing of a place that came free since.
fn fresh(log: &[Attempt]) -> Findings {
    let mut findings = Findings::new();
    let mut answered: Vec<(u64, u64)> =
        log.iter().filter_map(|attempt| attempt.answered_us.zip(attempt.seq)).collect();
    answered.sort_unstable();
    let mut answered = answered.into_iter().peekable();
    let mut by_sent: Vec<&Attempt> = log.iter().collect();
    by_sent.sort_by_key(|attempt| attempt.sent_us);
    let mut newest = 0;
    for attempt in by_sent {
        while let Some((_, seq)) = answered.next_if(|(at, _)| *at < attempt.sent_us) {
            newest = newest.max(seq);
        }
        if let Some(seq) = attempt.seq {
            findings.look(seq >= newest, || {
                let id = &attempt.request_id;
                format!("request {id} was answered by {seq}, after {newest} had been answered")
            });
        }
    }
    findings
}

/// If A's grant was answered before B was sent, A stands before B.
fn order(log: &[Attempt], facts: &Facts) -> Findings {
    let mut findings = Findings::new();
    // First answer and last sending of each booking's requests: a grant may come
    // from any of its attempts, so B counts from the earliest.
    let mut grants: HashMap<usize, (u64, u64)> = HashMap::new();
    for attempt in log {
        let id = attempt.booking.as_ref().and_then(|seen| seen.id.parse::<BookingId>().ok());
        let Some(place) = id.and_then(|id| facts.by_booking.get(&id)) else { continue };
        let answered = attempt.answered_us.unwrap_or(u64::MAX);
        let times = grants.entry(*place).or_insert((attempt.sent_us, answered));
        times.0 = times.0.min(attempt.sent_us);
        times.1 = times.1.min(answered);
    }
    // An unanswered attempt may be the one that was granted.
    let mut earliest: HashMap<&str, u64> = HashMap::new();
    for attempt in log {
        let sent = earliest.entry(&attempt.request_id).or_insert(attempt.sent_us);
        *sent = (*sent).min(attempt.sent_us);
    }
    let mut by_sent: Vec<(u64, usize)> = Vec::new();
    let mut by_answer: Vec<(u64, usize)> = Vec::new();
    for (place, (sent, answered)) in &grants {
        let request = facts.grants[*place].grant.request_id.as_str();
        by_sent.push((earliest.get(request).copied().unwrap_or(*sent), *place));
        by_answer.push((*answered, *place));
    }
    by_sent.sort_unstable();
    by_answer.sort_unstable();
    let mut answered = by_answer.into_iter().peekable();
    let mut latest = None;
    for (sent, place) in by_sent {
        while let Some((_, earlier)) = answered.next_if(|(at, _)| *at < sent) {
            latest = latest.max(Some(earlier));
        }
        let granted = &facts.grants[place];
        findings.look(latest.is_none_or(|latest| latest < granted.place), || {
            format!("booking {} stands before one answered earlier", granted.grant.booking)
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_by_old_facts_is_found_and_one_on_its_way_is_none() {
        let attempt = |sent_us, answered: Option<(u64, u64)>| Attempt {
            sent_us,
            answered_us: answered.map(|(at, _)| at),
            seq: answered.map(|(_, seq)| seq),
            ..Attempt::default()
        };
        let (first, on_its_way) = (attempt(10, Some((20, 5))), attempt(15, Some((30, 4))));
        let mut log = vec![attempt(40, None), first, on_its_way];
        assert_eq!(fresh(&log).check("P8", "").verdict, Verdict::Holds(2));
        log.push(attempt(21, Some((22, 4))));
        assert!(matches!(fresh(&log).check("P8", "").verdict, Verdict::Broken(_, 1)));
    }
}
