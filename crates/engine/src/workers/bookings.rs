//! Requests for places: read, put under pseudonyms, decided.

use std::ops::ControlFlow::{Break, Continue};

use giliran_allocator::{BookingRequest, Content, Decision, Settled};
use giliran_sequencer::RejectionCounts;
use giliran_wire::Timestamp;
use giliran_wire::request::{self, Form, Malformed, Payload};

use super::{HandedOn, Incoming, Judged, Worker, WorkerOutput, settle_batch, settle_one};
use crate::reply::{Answered, Outbox, form_of_unreadable};

impl Worker {
    pub(super) fn book_message(
        &self,
        payload: &[u8],
        incoming: Incoming,
        decided: &mut WorkerOutput,
        out: &mut Outbox,
    ) {
        let WorkerOutput { items, tallies } = decided;
        let when = (incoming.vouched, incoming.now);
        match request::read::<request::Book<'_>>(payload) {
            Err(malformed) => {
                let answer = self.malformed(malformed);
                out.answers(incoming.reply, form_of_unreadable(payload), &[answer]);
            }
            Ok(Payload::One(book)) => {
                let judged = self.book_one(&book, when, tallies);
                settle_one(incoming, Form::JsonOne, judged, items, out);
            }
            Ok(Payload::Many(form, books)) => {
                let judged = books.into_iter().map(|book| match book {
                    Ok(book) => self.book_one(&book, when, tallies),
                    Err(malformed) => Break(self.malformed(malformed)),
                });
                settle_batch(incoming, form, judged, items, out);
            }
        }
    }

    fn book_one(
        &self,
        book: &request::Book<'_>,
        (vouched, now): (bool, Timestamp),
        tallies: &mut RejectionCounts,
    ) -> Judged {
        if let Some(pattern) = &self.shared.applicant_pattern
            && let Some(i) = book.applicants.iter().position(|a| !pattern.fits(a))
        {
            return Break(self.malformed(Malformed {
                request_id: Some(book.request_id.to_string()),
                detail: format!("applicants[{i}]: does not follow applicant_pattern {pattern}"),
            }));
        }
        let applicants = book.pseudonyms(&self.shared.key);
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
            applicants: &applicants,
            content: Content::Of(book.wanted(), &applicants),
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
                let id = Some(&*book.request_id);
                return Break(Answered::settled(id, settled, now, &self.shared.metrics));
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
