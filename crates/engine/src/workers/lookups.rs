//! Questions: a booking by its id or its request's, an applicant's bookings, free places.

use async_nats::Subject;
use giliran_allocator::{Durable, FoundBooking, FoundEntry};
use giliran_wire::answer::{self, Overview, Reason, Rejection};
use giliran_wire::request::{self, Form, Malformed, Payload};
use giliran_wire::{BookingId, Timestamp};

use super::Worker;
use crate::reply::{Answered, Outbox, asked_by, form_of_unreadable, retry_after_ms};

/// Most slots in one answer: more fit no message that a broker takes as it comes,
/// and a small request must not have hundreds of megabytes written.
const MAX_SLOTS_SHOWN: usize = 16_384;

/// What a question finds.
enum Known {
    Booking(FoundBooking),
    Entry(FoundEntry),
}

impl Worker {
    pub(super) fn lookup(&self, payload: &[u8], reply: Subject, out: &mut Outbox) {
        self.shared.metrics.lookups.with_label_values(&["lookup"]).inc();
        self.questions::<request::Lookup<'_>>(payload, reply, out, |lookup| {
            let applicant = self.shared.key.applicant(&lookup.applicant);
            let opening = lookup.opening.as_deref();
            // An id that does not parse matches no booking; an empty request id does not
            // match one either.
            let by_request = lookup.request_id.as_deref().unwrap_or_default();
            let id = lookup.booking.as_ref().and_then(|id| id.parse::<BookingId>().ok());
            let (found, at) = match &id {
                Some(id) => self.shared.allocator.lookup(id, &applicant)?,
                None => self.shared.allocator.lookup_request(by_request, &applicant, opening)?,
            };
            if let Some(found) = found {
                return Some((Some(Known::Booking(found)), at));
            }
            let (entered, at) = match &id {
                Some(id) => self.shared.allocator.lookup_entry(id, &applicant)?,
                None => {
                    self.shared.allocator.lookup_entry_request(by_request, &applicant, opening)?
                }
            };
            Some((entered.map(Known::Entry), at))
        });
    }

    pub(super) fn find(&self, payload: &[u8], reply: Subject, out: &mut Outbox) {
        self.shared.metrics.lookups.with_label_values(&["find"]).inc();
        self.questions::<request::Find<'_>>(payload, reply, out, |find| {
            let (found, at) = self
                .shared
                .allocator
                .find(&self.shared.key.applicant(&find.applicant), &find.opening)?;
            Some((found.map(Known::Booking), at))
        });
    }

    /// Answers questions about bookings; `ask` gives none where a block is just
    /// being applied.
    fn questions<'a, T: request::Request<'a>>(
        &self,
        payload: &'a [u8],
        reply: Subject,
        out: &mut Outbox,
        ask: impl Fn(&T) -> Option<(Option<Known>, Durable)>,
    ) {
        let answer = |item: Result<T, Malformed>| match item {
            Err(malformed) => self.malformed(malformed),
            Ok(question) => match retry_while_applying(|| ask(&question)) {
                Some((Some(Known::Booking(found)), at)) => {
                    Answered::found(found, at, asked_by(&question))
                }
                Some((Some(Known::Entry(entered)), at)) => {
                    Answered::entered(entered, at, asked_by(&question))
                }
                Some((None, at)) => {
                    let not_found = Rejection::new(Reason::NotFound).as_of(at.position());
                    Answered::rejected(asked_by(&question), not_found)
                }
                None => {
                    let busy = Rejection::new(Reason::Busy).retry_after_ms(retry_after_ms());
                    Answered::rejected(asked_by(&question), busy)
                }
            },
        };
        match request::read::<T>(payload) {
            Err(e) => {
                out.answers(reply, form_of_unreadable(payload), &[self.malformed(e)]);
            }
            Ok(Payload::One(item)) => out.answers(reply, Form::JsonOne, &[answer(Ok(item))]),
            Ok(Payload::Many(form, items)) => {
                let answers: Vec<_> = items.into_iter().map(answer).collect();
                out.answers(reply, form, &answers);
            }
        }
    }

    pub(super) fn availability(
        &self,
        payload: &[u8],
        reply: Subject,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        self.shared.metrics.lookups.with_label_values(&["availability"]).inc();
        let (form, items) = match request::read::<request::Availability<'_>>(payload) {
            Ok(Payload::One(item)) => (Form::JsonOne, vec![item]),
            Ok(Payload::Many(form, items)) => {
                match items.into_iter().collect::<Result<Vec<_>, Malformed>>() {
                    Ok(items) => (form, items),
                    Err(e) => return out.no_overview(reply, form, &self.malformed(e)),
                }
            }
            Err(e) => {
                let form = form_of_unreadable(payload);
                return out.no_overview(reply, form, &self.malformed(e));
            }
        };
        let openings = self.shared.allocator.openings();
        if let Some(office) = items
            .iter()
            .filter_map(|item| item.office.as_deref())
            .find(|office| !openings.iter().any(|opening| opening.has_office(office)))
        {
            self.shared.metrics.rejected(Reason::UnknownSlot);
            let rejection = Rejection::new(Reason::UnknownSlot)
                .detail(format!("office: no opening has an office `{office}`"));
            return out.no_overview(reply, form, &Answered::rejected(None, rejection));
        }
        self.write_availability(form, &items, reply, now, out);
    }

    fn write_availability(
        &self,
        form: Form,
        items: &[request::Availability<'_>],
        reply: Subject,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let openings = self.shared.allocator.openings();
        let (mut snapshots, mut slots) = (Vec::with_capacity(items.len()), 0);
        for item in items {
            let shown = retry_while_applying(|| {
                self.shared.allocator.availability(&openings, now, item.office.as_deref())
            });
            let Some(mut shown) = shown else {
                return out.no_overview(reply, form, &Answered::busy(None, &self.shared.metrics));
            };
            if item.describe {
                shown.catalogue = retry_while_applying(|| {
                    self.shared.allocator.catalogue(&openings, now, item.office.as_deref())
                });
                if shown.catalogue.is_none() {
                    let busy = Answered::busy(None, &self.shared.metrics);
                    return out.no_overview(reply, form, &busy);
                }
            }
            slots += shown.slots.len();
            if slots > MAX_SLOTS_SHOWN {
                return self.too_much_to_show(form, reply, out);
            }
            snapshots.push(Overview::Shown(shown));
        }
        let mut written = Vec::new();
        answer::write(form, &snapshots, &mut written);
        if written.len() > self.shared.client.server_info().max_payload {
            return self.too_much_to_show(form, reply, out);
        }
        out.push(reply, true, |buffer| buffer.extend_from_slice(&written));
    }

    fn too_much_to_show(&self, form: Form, reply: Subject, out: &mut Outbox) {
        self.shared.metrics.rejected(Reason::Malformed);
        let detail = "office: so many places do not fit one message; ask office by office";
        let rejection = Rejection::new(Reason::Malformed).detail(detail);
        out.no_overview(reply, form, &Answered::rejected(None, rejection));
    }
}

/// Asks again while blocks are being applied, for a bounded number of times.
fn retry_while_applying<T>(ask: impl Fn() -> Option<T>) -> Option<T> {
    (0..1_000).find_map(|_| {
        let answer = ask();
        if answer.is_none() {
            std::thread::yield_now();
        }
        answer
    })
}
