//! What is sent, and what of it goes into the clients' log.

use std::io::Write as _;

use giliran_fairness::population::Party;
use giliran_fairness::random::mix;
use giliran_fairness::scenario::Scenario;
use giliran_wire::client_log::{Attempt, Choice};
use giliran_wire::{Date, request};
use serde::Serialize;

use super::{Generator, InFlightRequest, Outcome, What};
use crate::target::{Target, TargetOffice};

/// Whose requests they are: under another seed, other people's.
fn request_id(seed: u64, party: &Party, anew: bool) -> String {
    format!("s{seed}-{}{}", party.first, suffix(anew))
}

/// What tells a party's second wish from its first.
fn suffix(anew: bool) -> &'static str {
    if anew { "-anew" } else { "" }
}

/// Its applicants, of sixteen digits each.
fn numbers(seed: u64, party: &Party) -> impl Iterator<Item = u64> {
    let first = mix(seed) % 1_000_000 * 10_000_000_000 + u64::from(party.first);
    (0..u64::from(party.size)).map(move |member| first + member)
}

pub(super) fn applicants(seed: u64, party: &Party) -> Vec<String> {
    numbers(seed, party).map(|number| format!("{number:016}")).collect()
}

fn account(seed: u64, party: &Party) -> String {
    format!("u{seed}-{}", party.account)
}

/// Where and when a party would come, in its order.
fn wishes<'a>(
    ground: &'a Target,
    party: &'a Party,
) -> impl Iterator<Item = (&'a str, Option<Date>)> {
    let site = |office: u16| &ground.offices[usize::from(office)];
    let own = site(party.office);
    let days = party.days().filter_map(|day| own.dates.get(usize::from(day)));
    let second = (party.second != party.office).then(|| site(party.second));
    days.map(|date| (own.id.as_str(), Some(*date)))
        .chain(second.map(|office| (office.id.as_str(), None)))
}

/// As the contract wants a channel's name: small letters, digits and `-`.
fn channel(name: &str) -> Option<String> {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(legal).take(request::MAX_CHANNEL_BYTES).collect();
    (!name.is_empty()).then_some(name)
}

/// What of the requests' text is the same for many, as JSON: written once.
pub(super) struct Texts {
    /// The field of the opening, `"opening":"…"`.
    opening: String,
    /// `,"channel":"…"` by cohort; empty: it has none.
    channels: Vec<String>,
    /// A choice by site and day.
    days: Vec<Vec<String>>,
    /// Any day, by site.
    any: Vec<String>,
}

impl Texts {
    pub(super) fn new(scenario: &Scenario, ground: &Target) -> Self {
        let choice = |site: &TargetOffice, date| {
            let office = site.id.as_str().into();
            json(&request::Choice { office, date, session: None })
        };
        let any = |site: &TargetOffice| choice(site, None);
        let days =
            |site: &TargetOffice| site.dates.iter().map(|date| choice(site, Some(*date))).collect();
        let named = |name: &str| channel(name).map(|name| format!(",\"channel\":{}", json(&name)));
        Self {
            opening: format!("\"opening\":{}", json(&ground.opening)),
            channels: scenario
                .cohorts
                .iter()
                .map(|c| named(&c.channel).unwrap_or_default())
                .collect(),
            days: ground.offices.iter().map(days).collect(),
            any: ground.offices.iter().map(any).collect(),
        }
    }

    /// A request for a place. By hand, since it is written for every request that is
    /// sent; that it is what the wire says, a test sees to.
    fn book(&self, seed: u64, party: &Party, anew: bool) -> Vec<u8> {
        let mut text = Vec::with_capacity(512);
        let own = usize::from(party.office);
        let days = party.days().filter_map(|day| self.days[own].get(usize::from(day)));
        let second = (party.second != party.office).then(|| &self.any[usize::from(party.second)]);
        // Writing into memory does not fail.
        let (first, anew) = (party.first, suffix(anew));
        let _ = write!(text, "{{\"request_id\":\"s{seed}-{first}{anew}\",\"applicants\":[");
        for (n, applicant) in numbers(seed, party).enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let _ = write!(text, "{comma}\"{applicant:016}\"");
        }
        text.extend_from_slice(b"],\"choices\":[");
        for (n, choice) in days.chain(second).enumerate() {
            if n > 0 {
                text.push(b',');
            }
            text.extend_from_slice(choice.as_bytes());
        }
        text.extend_from_slice(b"],");
        text.extend_from_slice(self.opening.as_bytes());
        let _ = write!(text, ",\"account\":\"u{seed}-{}\"", party.account);
        let channel = self.channels.get(usize::from(party.group)).map_or("", String::as_str);
        text.extend_from_slice(channel.as_bytes());
        text.push(b'}');
        text
    }
}

fn json(value: &impl Serialize) -> String {
    // Texts and dates: they can be written.
    serde_json::to_string(value).unwrap_or_default()
}

impl Generator<'_> {
    pub(super) fn payload(&self, who: u32, what: What) -> Vec<u8> {
        let Some(Some(somebody)) = self.somebody.get(who as usize) else { return Vec::new() };
        let (party, seed) = (&somebody.party, self.rush.seed);
        if matches!(what, What::Ask | What::Again) {
            return self.texts.book(seed, party, somebody.anew);
        }
        let id = request_id(seed, party, somebody.anew);
        let applicant = applicants(seed, party).swap_remove(0);
        let booking = somebody.had.as_ref().map(|had| had.seen.id.as_str());
        let booking = booking.unwrap_or_default().into();
        match what {
            What::Ask | What::Again | What::Lookup | What::Lapse => json(&request::Lookup {
                booking: None,
                request_id: Some(id.into()),
                applicant: applicant.into(),
                opening: Some(self.ground.opening.as_str().into()),
            }),
            What::Cancel => json(&request::Cancel {
                request_id: format!("{id}-back").into(),
                booking,
                applicant: applicant.into(),
            }),
            What::Confirm => {
                let paid = format!("{id}-paid");
                json(&request::Confirm {
                    request_id: paid.as_str().into(),
                    booking,
                    reference: Some(paid.as_str().into()),
                })
            }
        }
        .into_bytes()
    }

    /// Writes down what its client saw. Cancellations and payments are none of those
    /// whose answers the log is for, and a lookup's rejection settles no request.
    pub(super) fn write(&mut self, flight: &InFlightRequest) {
        let outcome = match (flight.what, flight.outcome) {
            (What::Cancel | What::Confirm | What::Lapse, _) => return,
            (What::Lookup, Some(Outcome::Granted)) => Some("granted"),
            (What::Lookup, _) => return,
            (_, Some(Outcome::Granted)) => Some("granted"),
            (_, Some(Outcome::Rejected(_))) => Some("rejected"),
            (_, Some(Outcome::Entered)) => Some("entered"),
            (_, Some(Outcome::Unheard) | None) => None,
        };
        let (Some(log), Some(Some(somebody))) =
            (&mut self.log, self.somebody.get(flight.who as usize))
        else {
            return;
        };
        let party = &somebody.party;
        let reason = match flight.outcome {
            Some(Outcome::Rejected(reason)) => Some(reason.name().to_owned()),
            _ => None,
        };
        let (group, cohorts) = (usize::from(party.group), self.scenario.cohorts.len());
        let cohort = self.scenario.cohorts.get(group);
        let written = log.write(&Attempt {
            sent_us: flight.sent_us,
            answered_us: outcome.and(flight.answered_us),
            request_id: request_id(self.rush.seed, party, somebody.anew),
            applicants: applicants(self.rush.seed, party),
            choices: wishes(self.ground, party)
                .map(|(office, date)| Choice {
                    office: office.to_owned(),
                    date: date.map(|date| date.to_string()),
                    session: None,
                })
                .collect(),
            opening: Some(self.ground.opening.clone()),
            account: Some(account(self.rush.seed, party)),
            channel: cohort.and_then(|cohort| channel(&cohort.channel)),
            cohort: Some(cohort.map_or_else(
                || format!("scalper {}", self.scenario.attackers[group - cohorts].name),
                |cohort| cohort.name.clone(),
            )),
            outcome: outcome.map(str::to_owned),
            reason,
            booking: flight.seen.as_deref().cloned(),
            epoch: flight.as_of.map(|(epoch, _)| epoch),
            seq: flight.as_of.map(|(_, seq)| seq),
            more_answers: flight.more_answers,
        });
        // What was measured is worth more than its log.
        if let Err(error) = written {
            (self.log, self.log_failed) = (None, Some(error.to_string()));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use giliran_fairness::population::{ArrivalProcess, Role};
    use giliran_fairness::scenario::shipped;

    #[test]
    fn a_request_by_hand_is_what_the_wire_says() {
        let mut scenario = shipped("batam").unwrap();
        scenario.cohorts[0].channel = "Web & \"more\"".into();
        scenario.cohorts[1].channel.clear();
        let date = |day: usize| format!("2026-12-0{}", day + 1).parse().unwrap();
        let site = |office: String| TargetOffice { id: office, dates: (0..5).map(date).collect() };
        let offices = scenario.offices.names().into_iter().map(site).collect();
        let ground = Target::example("2026-W49", offices);
        let texts = Texts::new(&scenario, &ground);
        let (_, crowd) = ArrivalProcess::new(&scenario, &[], 3);
        let parties = crowd.take(300).map(|coming| coming.party);
        let (mut families, mut seconds) = (0, 0);
        for (n, party) in parties.enumerate() {
            // Scalpers have no channel.
            let group = if n == 0 { scenario.cohorts.len() as u16 } else { party.group };
            let role = if n == 0 { Role::Identity } else { party.role };
            let party = Party { group, role, ..party };
            families += usize::from(party.size > 1);
            seconds += usize::from(party.second != party.office);
            let anew = n % 50 == 7;
            let expected = request::Book {
                request_id: request_id(3, &party, anew).into(),
                applicants: applicants(3, &party).into_iter().map(Into::into).collect(),
                choices: wishes(&ground, &party)
                    .map(|(office, date)| request::Choice {
                        office: office.into(),
                        date,
                        session: None,
                    })
                    .collect(),
                opening: Some("2026-W49".into()),
                expires_at: None,
                account: Some(format!("u3-{}", party.account).into()),
                channel: scenario
                    .cohorts
                    .get(usize::from(group))
                    .and_then(|cohort| channel(&cohort.channel))
                    .map(Into::into),
                reference: None,
                wait: false,
            };
            let text = texts.book(3, &party, anew);
            let read: request::Book<'_> = serde_json::from_slice(&text).unwrap();
            let json = |book: &request::Book<'_>| serde_json::to_value(book).unwrap();
            assert_eq!(json(&read), json(&expected));
            request::Request::validate(&expected).unwrap();
        }
        assert!(families > 20 && seconds > 10, "{families}, {seconds}");
    }

    #[test]
    fn channels_are_named_as_the_contract_wants() {
        assert_eq!(channel("App of Cousin 2!").as_deref(), Some("app-of-cousin-2-"));
        assert_eq!(channel("a channel with a long name").map(|c| c.len()), Some(16));
        assert_eq!(channel(""), None);
    }
}
