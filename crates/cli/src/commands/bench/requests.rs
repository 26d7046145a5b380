//! What the benchmarks ask for, and what its answers mean.

use bytes::Bytes;
use giliran_wire::answer::{Answer, Verdict, read_binary};
use giliran_wire::request::{Book, Choice, Lookup, MAX_BATCH, write_binary};

use super::opening::{SLOTS, Slots};

/// The request of the `n`-th applicant.
pub(super) fn book(n: u64, choice: Choice<'_>) -> Book<'_> {
    Book {
        request_id: format!("bench-{n:010}").into(),
        applicants: [applicant(n).into()].into(),
        choices: [choice].into(),
        opening: None,
        expires_at: None,
        account: None,
        channel: Some("bench".into()),
        reference: None,
        wait: false,
    }
}

fn applicant(n: u64) -> String {
    format!("{:016}", 2_171_000_000_000_000 + n)
}

/// One slot of the 500.
pub(super) fn slot(n: u64) -> Choice<'static> {
    one_of(SLOTS, n)
}

/// One of these slots; so many people one after the other ask for each of them equally.
pub(super) fn one_of(slots: Slots, n: u64) -> Choice<'static> {
    let day = n / u64::from(slots.offices) % u64::from(slots.days) + 1;
    Choice {
        office: format!("office-{}", n % u64::from(slots.offices)).into(),
        date: format!("2030-01-{day:02}").parse().ok(),
        session: None,
    }
}

/// Any slot of an office.
pub(super) fn at(office: &str) -> Choice<'_> {
    Choice { office: office.into(), date: None, session: None }
}

/// The `n`-th applicant asks for any slot of an office.
pub(super) fn at_office(n: u64, office: &str) -> Bytes {
    write_binary(&[book(n, at(office))]).into()
}

/// So many applicants ask in one message, each for a slot of the 500.
pub(super) fn batch(first: u64, most: u64) -> Bytes {
    let all: Vec<_> = (first..first + most).map(|n| book(n, slot(n))).collect();
    write_binary(&all).into()
}

/// The applicants of a range in as few messages as hold them.
pub(super) fn batches(applicants: std::ops::Range<u64>) -> impl Iterator<Item = Bytes> {
    let end = applicants.end;
    applicants
        .step_by(MAX_BATCH)
        .map(move |first| batch(first, (end - first).min(MAX_BATCH as u64)))
}

/// What came of the `n`-th applicant's request.
pub(super) fn lookup(n: u64) -> Bytes {
    let lookup = Lookup {
        booking: None,
        request_id: Some(format!("bench-{n:010}").into()),
        applicant: applicant(n).into(),
        opening: None,
    };
    write_binary(&[lookup]).into()
}

/// Whether every request of a message is granted.
pub(super) fn is_granted(payload: &[u8]) -> bool {
    let answers = read_binary::<Answer<'_>>(payload).unwrap_or_default();
    let granted = |answer: &Answer<'_>| matches!(answer.verdict, Verdict::Granted { .. });
    !answers.is_empty() && answers.iter().all(granted)
}
