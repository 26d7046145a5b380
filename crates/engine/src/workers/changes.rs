//! Confirm, cancel, reschedule, and what operators do: read, put under
//! pseudonyms, settled where durable facts settle it, else passed on.

use std::sync::Arc;
use std::time::Instant;

use async_nats::{Message, Subject};
use giliran_allocator::{ChangeKind, ChangeRequest};
use giliran_sequencer::{AdminCommand, AdminOp};
use giliran_wire::admin;
use giliran_wire::answer::{Reason, Rejection};
use giliran_wire::ledger::Signed;
use giliran_wire::request::{self, Form, Malformed, Payload, Request};
use giliran_wire::{ApplicantKey, BookingId, Date, Timestamp};

use super::{WorkerContext, WorkerOutput, form_of_unreadable, trace};
use crate::reply::{Answered, Batch, Outbox, Ticket, To};

/// A request that changes a booking.
pub(super) trait Changes<'a>: Request<'a> {
    /// As the core takes it, its people under pseudonyms.
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

/// What an operator asks for, its names resolved.
pub(super) enum Asked {
    /// A change of an opening.
    Act(AdminCommand),
    /// The ledger's next generation.
    Roll(Signed),
}

/// An operator's action as it came in.
pub(super) trait Acts<'a>: Request<'a> {
    fn action(&self, shared: &WorkerContext) -> Result<Asked, Rejection<'static>>;
}

impl WorkerContext {
    pub(super) fn change_message<'a, T: Changes<'a>>(
        &self,
        message: &'a Message,
        (reply, received): (Subject, Instant),
        now: Timestamp,
        decided: &mut WorkerOutput,
        out: &mut Outbox,
    ) {
        let payload: &'a [u8] = &message.payload;
        let (form, items) = match request::read::<T>(payload) {
            Err(malformed) => {
                let answer = self.malformed(malformed);
                return out.answers(reply, form_of_unreadable(payload), &[answer]);
            }
            Ok(Payload::One(item)) => (Form::JsonOne, vec![Ok(item)]),
            Ok(Payload::Many(form, items)) => (form, items),
        };
        let judge = |item: Result<T, Malformed>| match item {
            Err(malformed) => Ok(self.malformed(malformed)),
            Ok(item) => {
                let ask = item.ask(&self.key);
                match self.allocator.settled(&ask, now) {
                    Some(settled) => {
                        let id = Some(&*ask.request_id);
                        Ok(Answered::settled(id, settled, now, &self.metrics))
                    }
                    None => Err(ask),
                }
            }
        };
        let judged: Vec<Result<Answered, ChangeRequest>> = items.into_iter().map(judge).collect();
        let trace = trace(message);
        if form == Form::JsonOne {
            let Some(one) = judged.into_iter().next() else { return };
            let ticket = Ticket { to: To::One { reply, form }, received, trace };
            match one {
                Ok(answer) => out.answer(ticket, answer),
                Err(ask) => decided.changes.push((ask, ticket)),
            }
            return;
        }
        let mut asks = Vec::new();
        let mut answers = Vec::with_capacity(judged.len());
        for (index, one) in judged.into_iter().enumerate() {
            match one {
                Ok(answer) => answers.push(Some(answer)),
                Err(ask) => {
                    answers.push(None);
                    asks.push((ask, index));
                }
            }
        }
        if asks.is_empty() {
            let answers: Vec<Answered> = answers.into_iter().flatten().collect();
            return out.answers(reply, form, &answers);
        }
        let batch = Arc::new(Batch::new(reply, form, answers));
        decided.changes.extend(asks.into_iter().map(|(ask, index)| {
            let to = To::Item { batch: Arc::clone(&batch), index };
            (ask, Ticket { to, received, trace: trace.clone() })
        }));
    }

    pub(super) fn admin_message<'a, T: Acts<'a>>(
        &self,
        message: &'a Message,
        (reply, received): (Subject, Instant),
        decided: &mut WorkerOutput,
        out: &mut Outbox,
    ) {
        let payload: &'a [u8] = &message.payload;
        let read = match request::read::<T>(payload) {
            Ok(Payload::One(item)) => Ok((Form::JsonOne, item)),
            Ok(Payload::Many(form, items)) => match <[_; 1]>::try_from(items) {
                Ok([item]) => item.map(|item| (form, item)),
                Err(_) => Err(Malformed {
                    request_id: None,
                    detail: "batch: an operator's action comes alone".to_owned(),
                }),
            },
            Err(malformed) => Err(malformed),
        };
        let ticket = |form| Ticket { to: To::One { reply, form }, received, trace: trace(message) };
        match read {
            Err(Malformed { detail, .. }) => {
                self.metrics.rejected(Reason::Malformed);
                let rejection = Rejection::new(Reason::Malformed).detail(detail);
                out.not_adjusted(ticket(form_of_unreadable(payload)), rejection);
            }
            Ok((form, item)) => match item.action(self) {
                Ok(Asked::Act(action)) => decided.admin.push((action, ticket(form))),
                Ok(Asked::Roll(signed)) => decided.rolls.push((signed, ticket(form))),
                Err(rejection) => {
                    self.metrics.rejected(rejection.reason);
                    out.not_adjusted(ticket(form), rejection);
                }
            },
        }
    }

    /// The opening's ordinal, and the slots of an office's day; those of the
    /// session where one is named.
    fn slots(
        &self,
        opening: &str,
        office: &str,
        date: Date,
        session: Option<&str>,
    ) -> Result<(u32, Vec<u32>), Rejection<'static>> {
        let openings = self.allocator.openings();
        let Some(opening) = openings.named(opening) else { return Err(unknown_opening()) };
        let fits = |index: &u32| {
            let slot = opening.slot(*index);
            slot.office == office
                && slot.date == date
                && session.is_none_or(|session| slot.session == session)
        };
        let slots: Vec<u32> = (0..opening.slots()).filter(fits).collect();
        if slots.is_empty() {
            let session =
                session.map_or_else(String::new, |session| format!(", session {session}"));
            return Err(Rejection::new(Reason::UnknownSlot)
                .detail(format!("the opening has no places of {office} on {date}{session}")));
        }
        Ok((opening.record().ordinal, slots))
    }
}

fn unknown_opening() -> Rejection<'static> {
    Rejection::new(Reason::UnknownOpening).detail("opening: there is none of this id")
}

impl<'a> Acts<'a> for admin::Quota<'a> {
    fn action(&self, shared: &WorkerContext) -> Result<Asked, Rejection<'static>> {
        let session = self.session.as_deref().unwrap_or("all");
        let (opening, slots) =
            shared.slots(&self.opening, &self.office, self.date, Some(session))?;
        Ok(Asked::Act(AdminCommand {
            opening,
            operator: self.operator.to_string(),
            reason: self.reason.to_string(),
            act: AdminOp::Quota { slot: slots[0], quota: self.quota },
            dry_run: self.dry_run,
        }))
    }
}

impl<'a> Acts<'a> for admin::Reserve<'a> {
    fn action(&self, shared: &WorkerContext) -> Result<Asked, Rejection<'static>> {
        let session = self.session.as_deref().unwrap_or("all");
        let (opening, slots) =
            shared.slots(&self.opening, &self.office, self.date, Some(session))?;
        Ok(Asked::Act(AdminCommand {
            opening,
            operator: self.operator.to_string(),
            reason: self.reason.to_string(),
            act: AdminOp::Reserve { slot: slots[0], places: self.places },
            dry_run: self.dry_run,
        }))
    }
}

impl<'a> Acts<'a> for admin::Halt<'a> {
    fn action(&self, shared: &WorkerContext) -> Result<Asked, Rejection<'static>> {
        let session = self.session.as_deref();
        let (opening, slots) = shared.slots(&self.opening, &self.office, self.date, session)?;
        Ok(Asked::Act(AdminCommand {
            opening,
            operator: self.operator.to_string(),
            reason: self.reason.to_string(),
            act: AdminOp::Halt { slots, halted: self.halted, bookings: self.bookings },
            dry_run: self.dry_run,
        }))
    }
}

impl<'a> Acts<'a> for admin::ClosesAt<'a> {
    fn action(&self, shared: &WorkerContext) -> Result<Asked, Rejection<'static>> {
        let openings = shared.allocator.openings();
        let opening = openings.named(&self.opening).ok_or_else(unknown_opening)?;
        Ok(Asked::Act(AdminCommand {
            opening: opening.record().ordinal,
            operator: self.operator.to_string(),
            reason: self.reason.to_string(),
            act: AdminOp::ClosesAt { closes_at: self.closes_at },
            dry_run: self.dry_run,
        }))
    }
}

impl<'a> Acts<'a> for admin::Beacon<'a> {
    fn action(&self, shared: &WorkerContext) -> Result<Asked, Rejection<'static>> {
        let openings = shared.allocator.openings();
        let opening = openings.named(&self.opening).ok_or_else(unknown_opening)?;
        Ok(Asked::Act(AdminCommand {
            opening: opening.record().ordinal,
            operator: self.operator.to_string(),
            reason: self.reason.to_string(),
            act: AdminOp::Beacon { signature: self.bytes().unwrap_or_default() },
            dry_run: false,
        }))
    }
}

impl<'a> Acts<'a> for admin::Roll<'a> {
    fn action(&self, _shared: &WorkerContext) -> Result<Asked, Rejection<'static>> {
        let (operator, reason) = (self.operator.to_string(), self.reason.to_string());
        Ok(Asked::Roll(Signed { operator, reason }))
    }
}
