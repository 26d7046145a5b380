//! Requests for places: read, put under pseudonyms, decided.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::ControlFlow::{Break, Continue};

use async_nats::Message;
use giliran_allocator::{BookingRequest, Content, Decision, Openings, Settled};
use giliran_sequencer::RejectionCounts;
use giliran_wire::request::{self, Form, Malformed};
use giliran_wire::{Pseudonym, Text, Timestamp};
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
            let alone = read.iter().filter(|message| message.books.len() == 1);
            let mut ahead = self.look_ahead(alone.flat_map(|message| &message.books), &openings);
            for message in read {
                self.book_message(message, &mut ahead, &openings, decided, out);
            }
        }
    }

    fn book_message(
        &self,
        message: ReadMessage<'_>,
        ahead: &mut VecDeque<Applicants>,
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
        if let [book] = &books[..] {
            return settle_one(
                incoming,
                form,
                judge(book.as_ref(), ahead.pop_front().unwrap_or_default()),
                items,
                out,
            );
        }
        let mut ahead = VecDeque::new();
        let judged = books.iter().enumerate().map(|(i, book)| {
            if ahead.is_empty() {
                ahead = self.look_ahead(books[i..].iter().take(TOGETHER), openings);
            }
            judge(book.as_ref(), ahead.pop_front().unwrap_or_default())
        });
        settle_batch(incoming, form, judged, items, out);
    }

    /// Puts the applicants of some requests under their pseudonyms, request by request, and
    /// has what their decisions look at fetched.
    fn look_ahead<'b, 'p: 'b>(
        &self,
        books: impl Iterator<Item = &'b Result<request::Book<'p>, Malformed>> + Clone,
        openings: &Openings,
    ) -> VecDeque<Applicants> {
        let readable = books.clone().filter_map(|book| book.as_ref().ok());
        let ids: SmallVec<[&str; TOGETHER]> =
            readable.flat_map(|book| &book.applicants).map(Text::as_str).collect();
        let mut pseudonyms: SmallVec<[Pseudonym; TOGETHER]> = SmallVec::new();
        self.shared.key.applicants(&ids, |pseudonym| pseudonyms.push(pseudonym));
        let mut pseudonyms = pseudonyms.into_iter();
        let of_each = |book: &Result<request::Book<'_>, Malformed>| {
            let Ok(book) = book else { return Applicants::new() };
            let applicants: Applicants = pseudonyms.by_ref().take(book.applicants.len()).collect();
            openings.fetch(book.opening.as_deref(), &applicants[0]);
            applicants
        };
        books.map(of_each).collect()
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
