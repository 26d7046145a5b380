//! Row S11: what a seat costs in memory, and that whoever is rejected costs none.
//!
//! Resident bytes of the engine's process, before and after; what its allocator keeps back
//! is in them.

use std::path::Path;
use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use futures_util::StreamExt;
use giliran_wire::answer::{Answer, Verdict, read_binary};
use giliran_wire::request::{Book, Cancel, MAX_BATCH, write_binary};

use super::super::{Args, WINDOW, requests};
use super::processes;
use super::report::{Bound, Figure};
use super::rig::{Ground, Rig};
use crate::failure::Failure;

/// Seats of each measurement of plain bookings, and of the others.
const PLAIN: [f64; 3] = [1e5, 1e6, 1e7];
const OTHERS: f64 = 1e6;
/// Applicants of a party.
const PARTY: u64 = 4;
/// What a seat may take, in bytes of its ledger entry, where there are many.
const MOST_ENTRIES: f64 = 1.9;
/// People who are rejected, and the bytes that they may add together.
const STRANGERS: f64 = 1e7;
const STRANGERS_ADD: f64 = 10e6;
/// Memory that has to be free for each seat, with what the broker takes for it.
const FREE_PER_SEAT: u64 = 1_000;
/// After the last answer, until memory is looked at.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// What bookings are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Parties,
    /// Ids of requests and applicants as gateways make them: 36 characters.
    Uuids,
    /// Given back: each stays as a tombstone.
    Cancelled,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "memory a seat",
            Self::Parties => "memory a seat, parties of four",
            Self::Uuids => "memory a seat, UUIDs",
            Self::Cancelled => "memory a tombstone",
        }
    }

    /// The bookings of these numbers, in one message.
    fn payload(self, numbers: std::ops::Range<u64>) -> Bytes {
        let books: Vec<Book<'_>> = numbers.map(|n| self.book(n)).collect();
        write_binary(&books).into()
    }

    fn book(self, n: u64) -> Book<'static> {
        let plain = requests::book(n, requests::slot(n));
        match self {
            Self::Plain | Self::Cancelled => plain,
            Self::Parties => {
                let members = n * PARTY..(n + 1) * PARTY;
                Book { applicants: members.map(|n| applicant(n).into()).collect(), ..plain }
            }
            Self::Uuids => Book {
                request_id: uuid(n).into(),
                applicants: std::iter::once(uuid(u64::MAX - n).into()).collect(),
                ..plain
            },
        }
    }
}

fn applicant(n: u64) -> String {
    format!("{:016}", 2_171_000_000_000_000 + n)
}

/// As long as one, and another one for each number.
fn uuid(n: u64) -> String {
    let [high, low] = [n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n];
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high >> 4 & 0xfff,
        low >> 48 & 0xfff,
        low & 0xffff_ffff_ffff
    )
}

pub(super) async fn measure(args: &Args, folder: &Path) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    let others = [Kind::Parties, Kind::Uuids, Kind::Cancelled].map(|kind| (kind, OTHERS));
    for (kind, seats) in PLAIN.map(|seats| (Kind::Plain, seats)).into_iter().chain(others) {
        let seats = (seats * args.scale) as u64;
        let free = processes::available().unwrap_or(u64::MAX);
        if free < seats * FREE_PER_SEAT {
            eprintln!(
                "S11: LEFT OUT: {} of {seats} needs {} MiB, and {} MiB are free",
                kind.name(),
                (seats * FREE_PER_SEAT) >> 20,
                free >> 20
            );
            continue;
        }
        let folder = folder.join(format!("{kind:?}-{seats}"));
        std::fs::create_dir(&folder)?;
        let rig = Rig::start(&Ground { book: 0, ..Ground::of(args) }, &folder).await?;
        eprintln!("S11: {} of {seats} …", kind.name());
        figures.push(seat(&rig, kind, seats, args.scale).await?);
        if kind == Kind::Plain && seats == (OTHERS * args.scale) as u64 {
            eprintln!("S11: strangers …");
            figures.push(strangers(&rig, (STRANGERS * args.scale) as u64).await?);
        }
        rig.stop().await?;
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(figures)
}

/// Resident bytes of the engine, once it has nothing more to do.
async fn settled(rig: &Rig) -> Result<f64, Failure> {
    tokio::time::sleep(SETTLED_AFTER).await;
    let resident = rig.stage.engine.id().and_then(processes::resident);
    let missing = "the system does not tell how much memory the engine takes (no /proc)";
    resident.map(|bytes| bytes as f64).ok_or_else(|| Failure::Wrong(missing.to_owned()))
}

async fn seat(rig: &Rig, kind: Kind, seats: u64, scale: f64) -> Result<Figure, Failure> {
    let before = settled(rig).await?;
    let bookings = if kind == Kind::Parties { seats / PARTY } else { seats };
    // Those that the rig itself has asked for stand before.
    let first = 10;
    let all = batches(first..first + bookings).map(|numbers| kind.payload(numbers));
    let subject = rig.stage.namespace.request("book");
    let keep = kind == Kind::Cancelled;
    let made = granted(&rig.stage.client, &subject, all, keep).await?;
    if keep {
        let cancel = batches(0..made.len() as u64).map(|places| {
            let some = &made[places.start as usize..places.end as usize];
            write_binary(&some.iter().map(cancel).collect::<Vec<_>>()).into()
        });
        let subject = rig.stage.namespace.request("cancel");
        granted(&rig.stage.client, &subject, cancel, false).await?;
    }
    let each = (settled(rig).await? - before) / seats as f64;
    let entry = rig.sizes().entry as f64;
    let at_most = kind == Kind::Plain && seats as f64 == PLAIN[2] * scale;
    Ok(Figure {
        row: "S11".to_owned(),
        what: format!("{}, {seats}", kind.name()),
        value: each,
        unit: "B".to_owned(),
        goal: at_most.then_some(Bound::AtMost((MOST_ENTRIES * entry).round())),
        beside: format!("{:.2} × its ledger entry of {entry} B", each / entry),
    })
}

fn batches(numbers: std::ops::Range<u64>) -> impl Iterator<Item = std::ops::Range<u64>> {
    let end = numbers.end;
    numbers.step_by(MAX_BATCH).map(move |first| first..end.min(first + MAX_BATCH as u64))
}

fn cancel((booking, request_id): &(String, String)) -> Cancel<'static> {
    let n: u64 = request_id.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or_default();
    Cancel {
        request_id: format!("cancel-{n}").into(),
        booking: booking.clone().into(),
        applicant: applicant(n).into(),
    }
}

/// Sends these messages, and expects a booking in each answer: the bookings' and the
/// requests' ids, where they are to be kept.
async fn granted(
    client: &Client,
    subject: &str,
    payloads: impl Iterator<Item = Bytes>,
    keep: bool,
) -> Result<Vec<(String, String)>, Failure> {
    let mut kept = Vec::new();
    let asked = payloads.map(|payload| client.request(subject.to_owned(), payload));
    let mut asked = futures_util::stream::iter(asked).buffer_unordered(WINDOW);
    while let Some(answered) = asked.next().await {
        let payload = answered?.payload;
        let answers = read_binary::<Answer<'_>>(&payload).unwrap_or_default();
        for answer in &answers {
            let (Verdict::Granted { booking, .. }, Some(id)) =
                (&answer.verdict, &answer.request_id)
            else {
                return Err(Failure::Wrong(format!("expected a booking, got {answer:?}")));
            };
            if keep {
                kept.push((booking.id.to_string(), id.to_string()));
            }
        }
        if answers.is_empty() {
            return Err(Failure::Wrong("an answer that cannot be read".to_owned()));
        }
    }
    Ok(kept)
}

/// People who find the office full.
async fn strangers(rig: &Rig, people: u64) -> Result<Figure, Failure> {
    // Beyond everybody who has a booking.
    let first = 1_000_000_000;
    let before = settled(rig).await?;
    let subject = rig.stage.namespace.request("book");
    let asked = batches(first..first + people).map(|numbers| {
        let books: Vec<_> = numbers.map(|n| requests::book(n, requests::at("full"))).collect();
        rig.stage.client.request(subject.clone(), write_binary(&books).into())
    });
    let mut asked = futures_util::stream::iter(asked).buffer_unordered(WINDOW);
    while let Some(answered) = asked.next().await {
        answered?;
    }
    Ok(Figure {
        row: "S11".to_owned(),
        what: format!("{people} strangers rejected"),
        value: (settled(rig).await? - before) / 1e6,
        unit: "MB".to_owned(),
        goal: Some(Bound::AtMost(STRANGERS_ADD / 1e6)),
        beside: "added to what the engine takes".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_as_long_as_uuids_and_each_another() {
        let ids: std::collections::BTreeSet<String> = (0..10_000).map(uuid).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 36), "{:?}", ids.first());
    }

    #[test]
    fn nobody_is_in_two_parties() {
        let all = (0..1_000).flat_map(|n| Kind::Parties.book(n).applicants);
        let people: std::collections::BTreeSet<String> = all.map(|id| id.to_string()).collect();
        assert_eq!(people.len() as u64, 1_000 * PARTY);
    }
}
