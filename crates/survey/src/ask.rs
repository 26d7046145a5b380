//! Asking: every process, the active engine, and on its behalf the broker.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::{Client, RequestErrorKind, StatusCode};
use futures_util::StreamExt;
use giliran_nats::clock;
use giliran_wire::admin::{self, WOULD};
use giliran_wire::answer::{self, Availability};
use giliran_wire::picture::{Known, Opening, Openings, Picture, Places, Process, Slot};
use giliran_wire::request;
use giliran_wire::service::{Answer, Standing, Verb};
use giliran_wire::subject::Namespace;
use giliran_wire::{BookingId, Timestamp};
use serde_json::Value;

use crate::broker;

/// How long a process may take to answer.
const WITHIN: Duration = Duration::from_secs(2);
/// Processes that answer do so at about the same time: after so long a silence all have.
const SILENCE: Duration = Duration::from_millis(400);

/// Asks; it changes nothing.
#[derive(Debug, Clone)]
pub struct Survey {
    client: Client,
    streams: Context,
    namespace: Namespace,
    monitors: Vec<String>,
}

/// What came of a harmless request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Which subject was asked, without the prefix.
    pub operation: &'static str,
    /// What was answered.
    pub answered: Result<String, NotAnswered>,
}

/// Why a harmless request was not answered as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAnswered {
    /// No answer came: nobody knows whether this login may ask, or whether anybody hears.
    Silent(String),
    /// An answer came and is another one.
    Wrong(String),
}

impl Survey {
    /// Of the processes of a namespace. `streams`: the JetStream API that has its streams;
    /// `monitors`: monitoring addresses of the broker's servers, `http://host:port`.
    pub fn new(
        client: Client,
        mut streams: Context,
        namespace: Namespace,
        monitors: Vec<String>,
    ) -> Self {
        streams.set_timeout(WITHIN);
        Self { client, streams, namespace, monitors }
    }

    /// Everything at this moment, but for rates, which take two.
    pub async fn picture(&self) -> Picture {
        let (processes, openings, streams, storage, servers) = tokio::join!(
            self.processes(),
            self.openings(),
            broker::streams(&self.streams, &self.namespace),
            broker::storage(&self.streams),
            broker::servers(&self.monitors),
        );
        Picture {
            taken_at: clock::now(),
            prefix: self.namespace.to_string(),
            processes,
            openings,
            streams,
            storage,
            servers,
            rates: None,
        }
    }

    /// Every process of this namespace that answers.
    pub async fn processes(&self) -> Known<Vec<Process>> {
        let answers = match self.ask_all().await {
            Ok(answers) => answers,
            Err(why) => return Known::Unknown(why),
        };
        let process = |answer: Answer| {
            let standing = Standing::of(&answer)?;
            let Answer { id, version, started, .. } = answer;
            Some(Process { id, version, started, standing })
        };
        let mut processes: Vec<Process> = answers.into_iter().filter_map(process).collect();
        processes.retain(|process| process.standing.prefix == self.namespace.prefix());
        let key = |process: &Process| {
            let Standing { role, instance, .. } = &process.standing;
            (role.clone(), instance.clone(), process.id.clone())
        };
        processes.sort_by_cached_key(key);
        Known::Known(processes)
    }

    async fn ask_all(&self) -> Result<Vec<Answer>, String> {
        let verb = Verb::Stats.subject();
        let failed = |error: &dyn std::fmt::Display| format!("{verb}: {error}");
        let inbox = self.client.new_inbox();
        let mut heard = self.client.subscribe(inbox.clone()).await.map_err(|e| failed(&e))?;
        let asked = self.client.publish_with_reply(verb.clone(), inbox, "".into());
        asked.await.map_err(|e| failed(&e))?;
        let mut answers = Vec::new();
        loop {
            let wait = if answers.is_empty() { WITHIN } else { SILENCE };
            match tokio::time::timeout(wait, heard.next()).await {
                Ok(Some(message)) if message.status == Some(StatusCode::NO_RESPONDERS) => {
                    return Ok(answers);
                }
                Ok(Some(message)) => answers.extend(serde_json::from_slice(&message.payload).ok()),
                Err(_) if answers.is_empty() => {
                    return Err(format!(
                        "nobody answers {verb} within {} s, and the server does not say that \
                         nobody is there: may this login ask it?",
                        WITHIN.as_secs()
                    ));
                }
                Ok(None) | Err(_) => return Ok(answers),
            }
        }
    }

    /// The openings that the active engine has in memory.
    pub async fn openings(&self) -> Known<Openings> {
        let asked = request::Availability { office: None, describe: true };
        let asked = serde_json::to_vec(&asked).unwrap_or_default();
        let answer = match self.ask("availability", asked).await {
            Ok(answer) => answer,
            Err(why) => return Known::Unknown(why),
        };
        match serde_json::from_slice::<Availability<'_>>(&answer) {
            Ok(availability) => Known::Known(openings(&availability)),
            Err(_) => Known::Unknown(format!("availability: {}", refused(&answer))),
        }
    }

    /// Requests that are answered and change nothing: a look-up of a booking that nobody
    /// has, and the dry run of an opening's end as it is. What is on record of the opening
    /// is asked for first.
    pub async fn harmless(&self, opening: &str, closes_at: Option<Timestamp>) -> Vec<Probe> {
        let lookup = request::Lookup {
            booking: Some(BookingId::from_random(0).to_string().into()),
            request_id: None,
            applicant: "preflight".into(),
            opening: None,
        };
        let lookup = serde_json::to_vec(&lookup).unwrap_or_default();
        let looked_up = self.ask("lookup", lookup).await;
        let answered = came_to("lookup", looked_up, "not_found");
        let mut probes = vec![Probe { operation: "lookup", answered }];
        if let Some(closes_at) = closes_at {
            let dry = admin::ClosesAt {
                operator: "preflight".into(),
                reason: "whether operators are answered".into(),
                opening: opening.into(),
                closes_at,
                dry_run: true,
            };
            let dry = serde_json::to_vec(&dry).unwrap_or_default();
            let dry = self.ask("admin.closes_at", dry).await;
            let answered = came_to("admin.closes_at", dry, WOULD);
            probes.push(Probe { operation: "admin.closes_at", answered });
        }
        probes
    }

    /// The answer to a request, or why there is none.
    async fn ask(&self, operation: &str, payload: Vec<u8>) -> Result<Vec<u8>, String> {
        let request = async_nats::Request::new().payload(payload.into()).timeout(Some(WITHIN));
        let answer = self.client.send_request(self.namespace.request(operation), request).await;
        answer.map(|message| message.payload.to_vec()).map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => {
                format!("{operation}: no engine is active: nobody listens")
            }
            RequestErrorKind::TimedOut => format!(
                "{operation}: no answer within {} s: may this login ask it?",
                WITHIN.as_secs()
            ),
            _ => format!("{operation}: {error}"),
        })
    }
}

/// What a harmless request came to, whose outcome or reason has to be `right`.
fn came_to(
    operation: &str,
    came: Result<Vec<u8>, String>,
    right: &str,
) -> Result<String, NotAnswered> {
    let answer = came.map_err(NotAnswered::Silent)?;
    let value: Value = serde_json::from_slice(&answer).unwrap_or_default();
    let said = ["outcome", "reason"].map(|name| value[name].as_str());
    if said.contains(&Some(right)) {
        return Ok(right.to_owned());
    }
    Err(NotAnswered::Wrong(format!("{operation}: {}", refused(&answer))))
}

/// A rejection's reason, with its detail.
fn refused(answer: &[u8]) -> String {
    let value: Value = serde_json::from_slice(answer).unwrap_or_default();
    let reason = value["reason"].as_str().unwrap_or("an answer that cannot be read");
    match value["detail"].as_str() {
        Some(detail) if reason != "not_found" => format!("{reason}: {detail}"),
        _ => reason.to_owned(),
    }
}

/// The openings of an answer, their places counted together.
fn openings(availability: &Availability<'_>) -> Openings {
    let described = availability.catalogue.iter().flatten();
    let opening = |offers: &giliran_wire::catalogue::OpeningDescription| {
        let of = |slot: &&answer::SlotState<'_>| slot.opening.as_str() == offers.id;
        let slots: Vec<Slot> = availability.slots.iter().filter(of).map(slot).collect();
        let mut places = Places::default();
        let (mut offices, mut days) = (BTreeMap::new(), BTreeMap::new());
        for slot in &slots {
            places.add(&slot.places);
            let office: &mut Places = offices.entry(slot.office.clone()).or_default();
            office.add(&slot.places);
            let day: &mut Places = days.entry(slot.date).or_default();
            day.add(&slot.places);
        }
        Opening { offers: offers.clone(), places, offices, days, slots }
    };
    let (now, as_of) = (availability.now, availability.as_of);
    Openings { now, as_of, openings: described.map(opening).collect() }
}

fn slot(state: &answer::SlotState<'_>) -> Slot {
    let (quota, free) = (i64::from(state.quota), i64::from(state.free));
    let taken = quota - free - i64::from(state.withheld);
    Slot {
        office: state.office.to_string(),
        date: state.date,
        session: state.session.to_string(),
        places: Places {
            quota: u64::from(state.quota),
            taken: u64::try_from(taken).unwrap_or(0),
            free,
            withheld: u64::from(state.withheld),
            reserved: u64::from(state.reserved),
        },
        halted: state.halted,
        bookable: state.bookable,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_office_and_by_day() {
        let described =
            include_str!("../../wire/tests/fixtures/answers/availability_described.json");
        let availability: Availability<'_> = serde_json::from_str(described).unwrap();
        let found = openings(&availability);
        assert!(!found.openings.is_empty());
        for opening in &found.openings {
            let mut sum = Places::default();
            opening.offices.values().for_each(|places| sum.add(places));
            assert_eq!(sum, opening.places);
            let mut sum = Places::default();
            opening.days.values().for_each(|places| sum.add(places));
            assert_eq!(sum, opening.places);
            let Places { quota, taken, free, withheld, .. } = opening.places;
            assert_eq!(quota as i64, taken as i64 + free + withheld as i64);
        }
    }

    #[test]
    fn an_answer_that_is_wrong_is_told_from_none() {
        let came = |text: &str| came_to("lookup", Ok(text.as_bytes().to_vec()), "not_found");
        assert_eq!(came(r#"{"reason":"not_found","detail":"x"}"#), Ok("not_found".to_owned()));
        let wrong = |words: &str| Err(NotAnswered::Wrong(words.to_owned()));
        assert_eq!(came(r#"{"reason":"busy","detail":"queue"}"#), wrong("lookup: busy: queue"));
        assert_eq!(came("?"), wrong("lookup: an answer that cannot be read"));
        let silent = came_to("lookup", Err("nobody listens".to_owned()), "not_found");
        assert_eq!(silent, Err(NotAnswered::Silent("nobody listens".to_owned())));
        let dry = |text: &str| came_to("admin.closes_at", Ok(text.as_bytes().to_vec()), WOULD);
        assert_eq!(dry(r#"{"outcome":"would"}"#), Ok(WOULD.to_owned()));
        assert!(matches!(dry(r#"{"outcome":"done"}"#), Err(NotAnswered::Wrong(_))));
    }

    #[test]
    fn a_refusal_is_told_with_its_detail() {
        assert_eq!(refused(br#"{"reason":"busy","detail":"queue"}"#), "busy: queue");
        assert_eq!(refused(br#"{"reason":"not_found","detail":"x"}"#), "not_found");
        assert_eq!(refused(b"?"), "an answer that cannot be read");
    }
}
