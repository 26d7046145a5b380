//! Requests for places: read, put under pseudonyms, decided.

use std::borrow::Cow;
use std::ops::ControlFlow::{Break, Continue};

use async_nats::Message;
use giliran_allocator::{BookingRequest, Content, Decision, Openings, Settled};
use giliran_sequencer::RejectionCounts;
use giliran_wire::request::{self, Form, Malformed};
use giliran_wire::{ApplicantKey, Pseudonym, Text, Timestamp};
use smallvec::SmallVec;

use super::{HandedOn, Incoming, Judged, Worker, WorkerOutput, settle_batch, settle_one};
use crate::metrics::SettledCounts;
use crate::reply::{Answered, Outbox, form_of_unreadable};

/// How many requests are put under pseudonyms before the first of them is decided: as many as
/// are hashed at once, and what the decisions look at is fetched from memory meanwhile.
/// Deciding one takes some 300 ns, memory 100.
const TOGETHER: usize = ApplicantKey::AT_ONCE;

/// The applicants of a request, under their pseudonyms; none: it cannot be read.
type Applicants = SmallVec<[Pseudonym; 1]>;

/// A request, or what is wrong with it.
type Readable<'p> = Result<request::Book<'p>, Malformed>;

/// A message that was read.
struct ReadMessage<'p> {
    incoming: Incoming,
    form: Form,
    books: request::Items<request::Book<'p>>,
}

impl<'p> ReadMessage<'p> {
    /// Its request, if it holds one.
    fn only(&self) -> Option<&Readable<'p>> {
        match &self.books[..] {
            [book] => Some(book),
            _ => None,
        }
    }
}

/// Puts the applicants of some requests under their pseudonyms, as many as there are requests,
/// and has what their decisions look at fetched.
fn look_ahead<'b, 'p: 'b>(
    key: &ApplicantKey,
    books: impl Iterator<Item = &'b Readable<'p>> + Clone,
    openings: &Openings,
) -> Vec<Applicants> {
    let readable = books.clone().filter_map(|book| book.as_ref().ok());
    let ids: SmallVec<[&str; TOGETHER]> =
        readable.flat_map(|book| &book.applicants).map(Text::as_str).collect();
    let mut pseudonyms: SmallVec<[Pseudonym; TOGETHER]> = SmallVec::new();
    key.applicants(&ids, |pseudonym| pseudonyms.push(pseudonym));
    let mut pseudonyms = pseudonyms.into_iter();
    let of_each = |book: &Readable<'_>| {
        let Ok(book) = book else { return Applicants::new() };
        let applicants: Applicants = pseudonyms.by_ref().take(book.applicants.len()).collect();
        openings.fetch(book.opening.as_deref(), &applicants[0]);
        applicants
    };
    books.map(of_each).collect()
}

impl Worker {
    /// Decides the requests of each message, in order.
    pub(super) fn book_messages(
        &self,
        messages: &mut [Message],
        incoming: impl Fn(&mut Message) -> Option<Incoming>,
        decided: &mut WorkerOutput,
        out: &mut Outbox,
    ) {
        let openings = self.shared.allocator.openings();
        for together in messages.chunks_mut(TOGETHER) {
            let mut read: SmallVec<[ReadMessage<'_>; TOGETHER]> = SmallVec::new();
            for message in together {
                let Some(incoming) = incoming(message) else { continue };
                match request::read::<request::Book<'_>>(&message.payload) {
                    Ok(payload) => {
                        let (form, books) = payload.into_items();
                        read.push(ReadMessage { incoming, form, books });
                    }
                    Err(malformed) => {
                        let answer = self.malformed(malformed);
                        let form = form_of_unreadable(&message.payload);
                        out.answers(incoming.reply, form, &[answer]);
                    }
                }
            }
            let alone = read.iter().filter_map(ReadMessage::only);
            let mut ahead = look_ahead(&self.shared.key, alone, &openings).into_iter();
            for message in read {
                let applicants = message.only().and_then(|_| ahead.next());
                self.book_message(message, applicants, &openings, decided, out);
            }
        }
    }

    /// `alone`: the applicants of its only request, if it holds one.
    fn book_message(
        &self,
        message: ReadMessage<'_>,
        alone: Option<Applicants>,
        openings: &Openings,
        decided: &mut WorkerOutput,
        out: &mut Outbox,
    ) {
        let WorkerOutput { items, tallies, settled } = decided;
        let ReadMessage { incoming, form, books } = message;
        let when = (incoming.vouched, incoming.now);
        let mut judge = |book, applicants: Applicants| match book {
            Ok(book) => self.book_one(book, &applicants, when, (tallies, settled)),
            Err(malformed) => Break(self.malformed(Malformed::clone(malformed))),
        };
        if let ([book], Some(applicants)) = (&books[..], alone) {
            return settle_one(incoming, form, judge(book.as_ref(), applicants), items, out);
        }
        let mut ahead = Vec::new().into_iter();
        let judged = books.iter().enumerate().map(|(i, book)| {
            if i.is_multiple_of(TOGETHER) {
                let together = books[i..].iter().take(TOGETHER);
                ahead = look_ahead(&self.shared.key, together, openings).into_iter();
            }
            judge(book.as_ref(), ahead.next().expect("one of each request"))
        });
        settle_batch(incoming, form, judged, items, out);
    }

    fn book_one<'a>(
        &self,
        book: &'a request::Book<'_>,
        applicants: &[Pseudonym],
        (vouched, now): (bool, Timestamp),
        (tallies, counts): (&mut RejectionCounts, &mut SettledCounts),
    ) -> Judged<'a> {
        if let Some(pattern) = &self.shared.applicant_pattern
            && let Some(i) = book.applicants.iter().position(|a| !pattern.fits(a))
        {
            return Break(self.malformed(Malformed {
                request_id: Some(book.request_id.to_string()),
                detail: format!("applicants[{i}]: does not follow applicant_pattern {pattern}"),
            }));
        }
        // All fields are named, so that a new one is handed on.
        let request::Book {
            request_id,
            applicants: _,
            choices,
            opening,
            expires_at,
            account,
            channel,
            reference,
            wait,
        } = book;
        let ask = BookingRequest {
            request_id,
            applicants,
            content: Content::Of(book.wanted(), applicants),
            choices,
            opening: opening.as_deref(),
            expires_at: *expires_at,
            account: account.as_deref().map(|account| self.shared.key.account(account)),
            channel: channel.as_deref(),
            reference: reference.as_deref(),
            vouched,
            wait: *wait,
        };
        let decision = self.shared.allocator.decide(&ask, now);
        if let Decision::Settled(Settled::Rejected(rejection, _)) = &decision {
            tallies.count(rejection, ask.channel, now);
        }
        Continue(match decision {
            Decision::Settled(settled) => {
                counts.add(&settled);
                let id = Some(Cow::Borrowed(&**request_id));
                return Break(Answered::settled(id, settled, now));
            }
            Decision::Granted(grant) => HandedOn::Grant(grant),
            Decision::EnterDraw(entry) => HandedOn::Entry(entry),
            Decision::DeferToRound(ordinal) => HandedOn::Round(ordinal, Box::new(ask.to_owned())),
            // Entries are made by one hand only.
            Decision::JoinWaitlist(_) | Decision::Retry => {
                HandedOn::Retry(Box::new(ask.to_owned()))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pseudonym of a neighbour's would give one person's place to another.
    #[test]
    fn each_request_has_its_own_applicants() {
        let key = ApplicantKey::new(&[7; 32]);
        let book = |number: usize, applicants: usize| {
            let ids: Vec<String> = (0..applicants).map(|i| format!("\"{number}-{i}\"")).collect();
            let ids = ids.join(",");
            format!(
                r#"{{"request_id":"r{number}","applicants":[{ids}],"choices":[{{"office":"a"}}]}}"#
            )
        };
        // Parties of every size beside each other, every third one not to be read.
        for shift in 0..6 {
            let texts: Vec<String> = (0..20).map(|i| book(i, 1 + (i * 7 + shift) % 5)).collect();
            let read = |(i, text)| match i % 3 {
                2 => Err(Malformed { request_id: None, detail: "unreadable".to_owned() }),
                _ => match request::read::<request::Book<'_>>(text) {
                    Ok(request::Payload::One(book)) => Ok(book),
                    other => panic!("{other:?}"),
                },
            };
            let texts = texts.iter().map(String::as_bytes);
            let books: Vec<Readable<'_>> = texts.enumerate().map(read).collect();
            for from in 0..books.len() {
                for some in [1, 2, 7, TOGETHER] {
                    let some = books[from..].iter().take(some);
                    let applicants = look_ahead(&key, some.clone(), &Openings::default());
                    let alone = |book: &Readable<'_>| match book {
                        Ok(book) => book.pseudonyms(&key),
                        Err(_) => Applicants::new(),
                    };
                    assert_eq!(applicants, some.map(alone).collect::<Vec<_>>());
                }
            }
        }
    }
}
