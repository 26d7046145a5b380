//! Confirm, cancel and reschedule: read, put under pseudonyms, settled where durable
//! facts settle it, else passed on.

use std::ops::ControlFlow::{Break, Continue};

use giliran_allocator::{ChangeKind, ChangeRequest};
use giliran_wire::request::{self, Form, Malformed, Payload, Request};
use giliran_wire::{ApplicantKey, BookingId};

use super::{HandedOn, Incoming, Judged, Worker, WorkerOutput, settle_batch, settle_one};
use crate::reply::{Answered, Outbox, form_of_unreadable, owned};

/// A request that changes a booking.
pub(super) trait Changes<'a>: Request<'a> {
    /// As the allocator takes it, its people under pseudonyms.
    fn ask(&self, key: &ApplicantKey) -> ChangeRequest;
}

fn target(id: &str) -> Option<BookingId> {
    id.parse().ok()
}

impl<'a> Changes<'a> for request::Confirm<'a> {
    fn ask(&self, _key: &ApplicantKey) -> ChangeRequest {
        let reference = self.reference.as_deref().map(Into::into);
        ChangeRequest {
            request_id: self.request_id.as_str().into(),
            target: target(&self.booking),
            kind: ChangeKind::Confirm { reference },
        }
    }
}

impl<'a> Changes<'a> for request::Cancel<'a> {
    fn ask(&self, key: &ApplicantKey) -> ChangeRequest {
        ChangeRequest {
            request_id: self.request_id.as_str().into(),
            target: target(&self.booking),
            kind: ChangeKind::Cancel { applicant: key.applicant(&self.applicant) },
        }
    }
}

impl<'a> Changes<'a> for request::Reschedule<'a> {
    fn ask(&self, key: &ApplicantKey) -> ChangeRequest {
        ChangeRequest {
            request_id: self.request_id.as_str().into(),
            target: target(&self.booking),
            kind: ChangeKind::Reschedule {
                applicant: key.applicant(&self.applicant),
                choices: self.choices.iter().map(request::Choice::to_static).collect(),
                content: self.content(),
            },
        }
    }
}

impl Worker {
    pub(super) fn change_message<'a, T: Changes<'a>>(
        &self,
        payload: &'a [u8],
        incoming: Incoming,
        decided: &mut WorkerOutput,
        out: &mut Outbox,
    ) {
        let now = incoming.now;
        let judge = |item: Result<T, Malformed>| -> Judged<'static> {
            let ask = match item {
                Ok(item) => item.ask(&self.shared.key),
                Err(malformed) => return Break(self.malformed(malformed)),
            };
            let Some(settled) = self.shared.allocator.settled(&ask, now) else {
                return Continue(HandedOn::Change(Box::new(ask)));
            };
            self.shared.metrics.settled(&settled);
            Break(Answered::settled(owned(Some(ask.request_id)), settled, now))
        };
        match request::read::<T>(payload) {
            Err(malformed) => {
                let answer = self.malformed(malformed);
                out.answers(incoming.reply, form_of_unreadable(payload), &[answer]);
            }
            Ok(Payload::One(item)) => {
                settle_one(incoming, Form::JsonOne, judge(Ok(item)), &mut decided.items, out);
            }
            Ok(Payload::Many(form, items)) => {
                let judged = items.into_iter().map(judge);
                settle_batch(incoming, form, judged, &mut decided.items, out);
            }
        }
    }
}
