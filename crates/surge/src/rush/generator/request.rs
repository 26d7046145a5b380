//! What is sent, and what of it goes into the clients' log.

use giliran_wire::{Date, request};

use super::{Flight, Generator, Outcome, What};
use crate::fairness::population::Party;
use crate::fairness::random::mix;
use crate::log::{Attempt, Choice};
use crate::rush::ground::Ground;

/// Whose requests they are: under another seed, other people's.
fn request_id(seed: u64, party: &Party) -> String {
    format!("s{seed}-{}", party.first)
}

/// Sixteen digits each.
pub(super) fn applicants(seed: u64, party: &Party) -> Vec<String> {
    let before = mix(seed) % 1_000_000;
    let id = |member: u8| {
        let number = u64::from(party.first) + u64::from(member);
        format!("{:016}", before * 10_000_000_000 + number)
    };
    (0..party.size).map(id).collect()
}

/// Where and when a party would come, in its order.
fn wishes<'a>(
    ground: &'a Ground,
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

impl Generator<'_> {
    pub(super) fn payload(&self, who: u32, what: What) -> Vec<u8> {
        let Some(Some(somebody)) = self.somebody.get(who as usize) else { return Vec::new() };
        let (party, seed) = (&somebody.party, self.rush.seed);
        let (id, applicants) = (request_id(seed, party), applicants(seed, party));
        let opening = self.ground.opening.as_str();
        let written = match what {
            What::Ask | What::Again => {
                let account = format!("u{seed}-{}", party.account);
                let cohort = self.scenario.cohorts.get(usize::from(party.group));
                let wishes = wishes(self.ground, party);
                serde_json::to_vec(&request::Book {
                    request_id: id.into(),
                    applicants: applicants.into_iter().map(Into::into).collect(),
                    choices: wishes
                        .map(|(office, date)| request::Choice {
                            office: office.into(),
                            date,
                            session: None,
                        })
                        .collect(),
                    opening: Some(opening.into()),
                    expires_at: None,
                    account: Some(account.into()),
                    channel: cohort.and_then(|c| channel(&c.channel)).map(Into::into),
                    reference: None,
                    wait: false,
                })
            }
            What::Lookup => serde_json::to_vec(&request::Lookup {
                booking: None,
                request_id: Some(id.into()),
                applicant: applicants[0].as_str().into(),
                opening: Some(opening.into()),
            }),
            What::Cancel => {
                let booking = somebody.booking.as_ref().map(|seen| seen.id.as_str());
                serde_json::to_vec(&request::Cancel {
                    request_id: format!("{id}-back").into(),
                    booking: booking.unwrap_or_default().into(),
                    applicant: applicants[0].as_str().into(),
                })
            }
        };
        // Texts and numbers: they can be written.
        written.unwrap_or_default()
    }

    /// Writes down what its client saw. A cancellation is none of those whose
    /// answers the log is for, and a lookup's refusal refuses nothing.
    pub(super) fn write(&mut self, flight: &Flight) {
        let outcome = match (flight.what, flight.outcome) {
            (What::Cancel, _) => return,
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
        let written = log.write(&Attempt {
            sent_us: flight.sent_us,
            answered_us: outcome.and(flight.answered_us),
            request_id: request_id(self.rush.seed, party),
            applicants: applicants(self.rush.seed, party),
            choices: wishes(self.ground, party)
                .map(|(office, date)| Choice {
                    office: office.to_owned(),
                    date: date.map(|date| date.to_string()),
                    session: None,
                })
                .collect(),
            opening: Some(self.ground.opening.clone()),
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
mod tests {
    use super::*;

    #[test]
    fn channels_are_named_as_the_contract_wants() {
        assert_eq!(channel("App of Cousin 2!").as_deref(), Some("app-of-cousin-2-"));
        assert_eq!(channel("a channel with a long name").map(|c| c.len()), Some(16));
        assert_eq!(channel(""), None);
    }
}
