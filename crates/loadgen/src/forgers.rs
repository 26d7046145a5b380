//! Beside the rush: people's requests once more, and others' bookings in the hands
//! of who is not in them. On its own, so that it is no part of what is measured.

use std::time::Duration;

use async_nats::Client;
use giliran_fairness::random::{Random, mix};
use giliran_fairness::scenario::Kind;
use giliran_wire::answer::{Answer, Booking, Reason, Status, Verdict};
use giliran_wire::client_log::SeenBooking;
use giliran_wire::subject::Namespace;
use giliran_wire::{BookingId, request};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::load_test::LoadTest;

/// Most bookings that are kept to try it on: the first that people are told of.
const OBSERVED: usize = 4_096;
/// How long an answer is waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// So many time constants of the rush it goes on.
const LASTS: f64 = 3.0;

/// What replayers and forgers came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Forgeries {
    /// Requests that were sent once more, as they were, and answered.
    pub replays: u64,
    /// Bookings told for them that are not the first one's.
    pub replayed: u64,
    /// Cancellations, moves and lookups of others' bookings that were answered.
    pub forged: u64,
    /// Of these, granted; and bookings that their owner found changed afterwards.
    pub changed: u64,
    /// Bookings whose owner looked afterwards.
    pub looked: u64,
}

/// A person's booking, as somebody on the way could have seen it.
#[derive(Debug)]
pub(crate) struct Observed {
    /// The request that got it.
    pub(crate) book: Vec<u8>,
    pub(crate) applicant: String,
    pub(crate) seen: SeenBooking,
}

/// Where it is told what can be observed, and what it comes to. None: nobody in the
/// scenario does such things.
pub(crate) fn begin(
    client: &Client,
    rush: &LoadTest,
) -> Option<(mpsc::Sender<Observed>, JoinHandle<Forgeries>)> {
    let of = |kind| {
        let attackers = rush.scenario.attackers.iter().filter(move |other| other.kind == kind);
        attackers.filter_map(|attacker| attacker.requests).sum::<u64>()
    };
    let left = [of(Kind::Replayer), of(Kind::Forger)];
    let all = left.iter().sum::<u64>();
    if all == 0 {
        return None;
    }
    let lasts_s = LASTS * rush.scenario.people.decay_s / rush.speed;
    let (reports, observes) = mpsc::channel(1_024);
    let forger = Forger {
        client: client.clone(),
        namespace: rush.namespace.clone(),
        random: Random::new(rush.seed, 8),
        every: Duration::from_secs_f64((lasts_s / all as f64).clamp(0.000_1, 60.0)),
        left,
        observed: Vec::new(),
        touched: Vec::new(),
        done: Forgeries::default(),
    };
    Some((reports, tokio::spawn(forger.goes_on(observes))))
}

struct Forger {
    client: Client,
    namespace: Namespace,
    random: Random,
    every: Duration,
    /// Requests to send again, and to forge.
    left: [u64; 2],
    observed: Vec<Observed>,
    /// Which of them somebody tried to change.
    touched: Vec<bool>,
    done: Forgeries,
}

impl Forger {
    /// Until all is sent or the rush is over; then the owners look.
    async fn goes_on(mut self, mut observes: mpsc::Receiver<Observed>) -> Forgeries {
        let mut tick = tokio::time::interval(self.every);
        loop {
            tokio::select! {
                seen = observes.recv() => match seen {
                    Some(seen) if self.observed.len() < OBSERVED => {
                        self.observed.push(seen);
                        self.touched.push(false);
                    }
                    Some(_) => {}
                    None => break,
                },
                _ = tick.tick(), if !self.observed.is_empty() && self.left != [0, 0] => {
                    self.sends().await;
                }
            }
        }
        for at in 0..self.observed.len() {
            if self.touched[at] {
                self.owner_looks(at).await;
            }
        }
        self.done
    }

    async fn sends(&mut self) {
        let at = self.random.below(self.observed.len());
        let all = self.left[0] + self.left[1];
        if (self.random.below(all as usize) as u64) < self.left[0] {
            self.left[0] -= 1;
            self.replays(at).await;
        } else {
            self.left[1] -= 1;
            self.forges(at).await;
        }
    }

    async fn replays(&mut self, at: usize) {
        let Observed { book, seen, .. } = &self.observed[at];
        let id = seen.id.clone();
        let Some(answer) = self.ask("book", book.clone()).await else { return };
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(&answer) else { return };
        self.done.replays += 1;
        if let Verdict::Granted { booking, .. } = answer.verdict {
            self.done.replayed += u64::from(booking.id.to_string() != id);
        }
    }

    async fn forges(&mut self, at: usize) {
        let Observed { applicant, seen, .. } = &self.observed[at];
        let number = self.done.forged;
        let own = format!("{:016}", mix(self.random.draw()) % 10_000_000_000_000_000);
        let request_id = format!("forged-{number}");
        let guessed = BookingId::from_random(self.random.wide()).to_string();
        let (operation, payload) = match number % 4 {
            0 => ("cancel", cancel(&request_id, &seen.id, &own)),
            1 => {
                let office = seen.office.as_str().into();
                let anywhere = request::Choice { office, date: None, session: None };
                let moved = request::Reschedule {
                    request_id: request_id.as_str().into(),
                    booking: seen.id.as_str().into(),
                    applicant: own.as_str().into(),
                    choices: vec![anywhere],
                };
                ("reschedule", serde_json::to_vec(&moved))
            }
            2 => ("lookup", lookup(&seen.id, &own)),
            // The other way round: an applicant that is known, and a guess.
            _ => ("cancel", cancel(&request_id, &guessed, applicant)),
        };
        let Some(answer) = self.ask(operation, payload.unwrap_or_default()).await else { return };
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(&answer) else { return };
        self.done.forged += 1;
        self.done.changed += u64::from(!matches!(answer.verdict, Verdict::Rejected(_)));
        self.touched[at] = true;
    }

    /// Whether it is still as it was told: not given back, nor moved. A hold may have
    /// lapsed.
    async fn owner_looks(&mut self, at: usize) {
        let Observed { applicant, seen, .. } = &self.observed[at];
        let payload = lookup(&seen.id, applicant).unwrap_or_default();
        let Some(answer) = self.ask("lookup", payload).await else { return };
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(&answer) else { return };
        let changed = match answer.verdict {
            Verdict::Granted { booking, .. } => !is_as(&booking, &self.observed[at].seen),
            Verdict::Rejected(rejection) if rejection.reason != Reason::NotFound => return,
            _ => true,
        };
        self.done.looked += 1;
        self.done.changed += u64::from(changed);
    }

    async fn ask(&self, operation: &str, payload: Vec<u8>) -> Option<Vec<u8>> {
        let asking = self.client.request(self.namespace.request(operation), payload.into());
        let answer = tokio::time::timeout(ANSWERED_WITHIN, asking).await.ok()?.ok()?;
        Some(answer.payload.to_vec())
    }
}

fn is_as(booking: &Booking<'_>, seen: &SeenBooking) -> bool {
    booking.status != Status::Cancelled
        && booking.office.as_str() == seen.office
        && booking.date.to_string() == seen.date
        && booking.session.as_str() == seen.session
        && booking.numbers[..] == seen.numbers[..]
}

fn cancel(id: &str, booking: &str, applicant: &str) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&request::Cancel {
        request_id: id.into(),
        booking: booking.into(),
        applicant: applicant.into(),
    })
}

fn lookup(booking: &str, applicant: &str) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&request::Lookup {
        booking: Some(booking.into()),
        request_id: None,
        applicant: applicant.into(),
        opening: None,
    })
}
