//! Requests for places: read, put under pseudonyms, decided.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::ControlFlow::{Break, Continue};

use async_nats::Message;
use giliran_allocator::{BookingRequest, Content, Decision, Openings, Settled};
use giliran_sequencer::RejectionCounts;
use giliran_wire::request::{self, Form, Malformed};
use giliran_wire::{Pseudonym, Timestamp};
use smallvec::SmallVec;

use super::{HandedOn, Incoming, Judged, Worker, WorkerOutput, settle_batch, settle_one};
use crate::metrics::SettledCounts;
use crate::reply::{Answered, Outbox, form_of_unreadable};

/// How many requests are put under pseudonyms before the first of them is decided: what the
/// decisions look at is fetched from memory meanwhile. Deciding one takes some 300 ns, memory
/// 100.
const TOGETHER: usize = 8;

/// The applicants of a request, under their pseudonyms; none: it cannot be read.
type Applicants = SmallVec<[Pseudonym; 1]>;

/// A message that was read.
struct ReadMessage<'p> {
    incoming: Incoming,
    form: Form,
    books: request::Items<request::Book<'p>>,
    /// Of its only request.
    applicants: Applicants,
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
                        let applicants = match &books[..] {
                            [book] => self.applicants(book, &openings),
                            _ => Applicants::new(),
                        };
                        read.push(ReadMessage { incoming, form, books, applicants });
                    }
                    Err(malformed) => {
                        let answer = self.malformed(malformed);
                        let form = form_of_unreadable(&message.payload);
                        out.answers(incoming.reply, form, &[answer]);
                    }
                }
            }
            read.into_iter().for_each(|read| self.book_message(read, &openings, decided, out));
        }
    }

    fn book_message(
        &self,
        message: ReadMessage<'_>,
        openings: &Openings,
        decided: &mut WorkerOutput,
        out: &mut Outbox,
    ) {
        let WorkerOutput { items, tallies, settled } = decided;
        let ReadMessage { incoming, form, books, applicants } = message;
        let when = (incoming.vouched, incoming.now);
        let mut judge = |book, applicants: &Applicants| match book {
            Ok(book) => self.book_one(book, applicants, when, (tallies, settled)),
            Err(malformed) => Break(self.malformed(Malformed::clone(malformed))),
        };
        if let [book] = &books[..] {
            return settle_one(incoming, form, judge(book.as_ref(), &applicants), items, out);
        }
        let requests = books.len();
        let mut books = books.iter();
        let mut ahead = VecDeque::with_capacity(TOGETHER);
        let judged = (0..requests).map(|_| {
            if ahead.is_empty() {
                let together = books.as_slice().iter().take(TOGETHER);
                ahead.extend(together.map(|book| self.applicants(book, openings)));
            }
            let (Some(book), Some(applicants)) = (books.next(), ahead.pop_front()) else {
                unreachable!("there are as many")
            };
            judge(book.as_ref(), &applicants)
        });
        settle_batch(incoming, form, judged, items, out);
    }

    /// Puts a request's applicants under their pseudonyms, and has what a decision looks at
    /// fetched.
    fn applicants(
        &self,
        book: &Result<request::Book<'_>, Malformed>,
        openings: &Openings,
    ) -> Applicants {
        let Ok(book) = book else { return Applicants::new() };
        let applicants = book.pseudonyms(&self.shared.key);
        openings.fetch(book.opening.as_deref(), &applicants[0]);
        applicants
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
