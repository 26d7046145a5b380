//! What operators ask for: read, its names resolved, handed on.

use giliran_allocator::Allocator;
use giliran_sequencer::{AdminCommand, AdminOp};
use giliran_wire::Date;
use giliran_wire::admin;
use giliran_wire::answer::{Reason, Rejection};
use giliran_wire::ledger::Signed;
use giliran_wire::request::{self, Form, Malformed, Payload, Request};

use super::{HandedOn, Incoming, Roll, Worker, WorkerOutput};
use crate::reply::{Outbox, form_of_unreadable};

/// An operator's action as it came in.
pub(super) trait Acts<'a>: Request<'a> {
    /// What is handed on of it, its names resolved.
    fn action(&self, allocator: &Allocator) -> Result<HandedOn, Rejection<'static>>;
}

impl Worker {
    pub(super) fn admin_message<'a, T: Acts<'a>>(
        &self,
        payload: &'a [u8],
        incoming: Incoming,
        decided: &mut WorkerOutput,
        out: &mut Outbox,
    ) {
        let read = match request::read::<T>(payload) {
            Ok(Payload::One(item)) => Ok((Form::JsonOne, item)),
            Ok(Payload::Many(form, items)) => {
                let mut items = items.into_iter();
                match (items.next(), items.next()) {
                    (Some(item), None) => item.map(|item| (form, item)),
                    _ => Err(Malformed {
                        request_id: None,
                        detail: "batch: an operator's action comes alone".to_owned(),
                    }),
                }
            }
            Err(malformed) => Err(malformed),
        };
        match read {
            Err(Malformed { detail, .. }) => {
                self.shared.metrics.rejected(Reason::Malformed);
                let rejection = Rejection::new(Reason::Malformed).detail(detail);
                out.not_adjusted(incoming.ticket(form_of_unreadable(payload)), rejection);
            }
            Ok((form, item)) => match item.action(&self.shared.allocator) {
                Ok(action) => decided.items.push((action, incoming.ticket(form))),
                Err(rejection) => {
                    self.shared.metrics.rejected(rejection.reason);
                    out.not_adjusted(incoming.ticket(form), rejection);
                }
            },
        }
    }
}

/// The opening's ordinal, and the slots of an office's day; those of the
/// session where one is named.
fn slots(
    allocator: &Allocator,
    opening: &str,
    office: &str,
    date: Date,
    session: Option<&str>,
) -> Result<(u32, Vec<u32>), Rejection<'static>> {
    let openings = allocator.openings();
    let Some(opening) = openings.named(opening) else { return Err(unknown_opening()) };
    let fits = |index: &u32| {
        let slot = opening.slot(*index);
        slot.office == office
            && slot.date == date
            && session.is_none_or(|session| slot.session == session)
    };
    let slots: Vec<u32> = (0..opening.slots()).filter(fits).collect();
    if slots.is_empty() {
        let session = session.map_or_else(String::new, |session| format!(", session {session}"));
        return Err(Rejection::new(Reason::UnknownSlot)
            .detail(format!("the opening has no places of {office} on {date}{session}")));
    }
    Ok((opening.record().ordinal, slots))
}

fn unknown_opening() -> Rejection<'static> {
    Rejection::new(Reason::UnknownOpening).detail("opening: there is none of this id")
}

fn command(
    opening: u32,
    (operator, reason): (&str, &str),
    act: AdminOp,
    dry_run: bool,
) -> HandedOn {
    let (operator, reason) = (operator.to_owned(), reason.to_owned());
    HandedOn::Admin(Box::new(AdminCommand { opening, operator, reason, act, dry_run }))
}

impl<'a> Acts<'a> for admin::Quota<'a> {
    fn action(&self, allocator: &Allocator) -> Result<HandedOn, Rejection<'static>> {
        let session = self.session.as_deref().unwrap_or("all");
        let (opening, slots) =
            slots(allocator, &self.opening, &self.office, self.date, Some(session))?;
        let act = AdminOp::Quota { slot: slots[0], quota: self.quota };
        Ok(command(opening, (&self.operator, &self.reason), act, self.dry_run))
    }
}

impl<'a> Acts<'a> for admin::Reserve<'a> {
    fn action(&self, allocator: &Allocator) -> Result<HandedOn, Rejection<'static>> {
        let session = self.session.as_deref().unwrap_or("all");
        let (opening, slots) =
            slots(allocator, &self.opening, &self.office, self.date, Some(session))?;
        let act = AdminOp::Reserve { slot: slots[0], places: self.places };
        Ok(command(opening, (&self.operator, &self.reason), act, self.dry_run))
    }
}

impl<'a> Acts<'a> for admin::Halt<'a> {
    fn action(&self, allocator: &Allocator) -> Result<HandedOn, Rejection<'static>> {
        let session = self.session.as_deref();
        let (opening, slots) = slots(allocator, &self.opening, &self.office, self.date, session)?;
        let act = AdminOp::Halt { slots, halted: self.halted, bookings: self.bookings };
        Ok(command(opening, (&self.operator, &self.reason), act, self.dry_run))
    }
}

impl<'a> Acts<'a> for admin::ClosesAt<'a> {
    fn action(&self, allocator: &Allocator) -> Result<HandedOn, Rejection<'static>> {
        let openings = allocator.openings();
        let opening = openings.named(&self.opening).ok_or_else(unknown_opening)?;
        let act = AdminOp::ClosesAt { closes_at: self.closes_at };
        Ok(command(opening.record().ordinal, (&self.operator, &self.reason), act, self.dry_run))
    }
}

impl<'a> Acts<'a> for admin::Beacon<'a> {
    fn action(&self, allocator: &Allocator) -> Result<HandedOn, Rejection<'static>> {
        let openings = allocator.openings();
        let opening = openings.named(&self.opening).ok_or_else(unknown_opening)?;
        let act = AdminOp::Beacon { signature: self.bytes().unwrap_or_default() };
        Ok(command(opening.record().ordinal, (&self.operator, &self.reason), act, self.dry_run))
    }
}

impl<'a> Acts<'a> for admin::Roll<'a> {
    fn action(&self, _allocator: &Allocator) -> Result<HandedOn, Rejection<'static>> {
        let (operator, reason) = (self.operator.to_string(), self.reason.to_string());
        let from = self.from.as_ref().map(ToString::to_string);
        let roll = Roll { signed: Signed { operator, reason }, from, dry_run: self.dry_run };
        Ok(HandedOn::Roll(Box::new(roll)))
    }
}
