//! Writing events of bookings as JSON, many of them.

use super::{DATA_SCHEMA, EventId, Kind};
use crate::answer::Booking;
use crate::subject::Namespace;
use crate::time::TimeText;
use crate::{LedgerId, Timestamp};

/// What the events of a slot have in common: its names, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotJson {
    /// `"<office>/<date>"`.
    subject: String,
    /// The members `opening`, `office`, `date` and `session`.
    names: String,
}

impl SlotJson {
    /// Of the slot that this booking is of.
    pub fn of(booking: &Booking<'_>) -> Self {
        let quoted = |text: &str| {
            let mut quoted = String::new();
            push_text(&mut quoted, text);
            quoted
        };
        let (opening, office) = (quoted(&booking.opening), quoted(&booking.office));
        let (date, session) = (booking.date, quoted(&booking.session));
        Self {
            subject: quoted(&format!("{}/{date}", booking.office)),
            names: format!(
                r#""opening":{opening},"office":{office},"date":"{date}","session":{session}"#
            ),
        }
    }
}

/// A booking, and what is written of its slot.
pub type BookingInSlot<'a> = (&'a Booking<'a>, &'a SlotJson);

/// Writes events of bookings: the same bytes that serde makes of an
/// [`Event`](super::Event), with what many of them have in common made once.
#[derive(Debug)]
pub struct EventWriter {
    /// What stands between an event's id and its kind.
    source: String,
    /// The block whose events are written.
    block: Option<(LedgerId, u64)>,
    /// Its part of their ids: `<ledger>/<sequence>/`.
    id: String,
    time: TimeText,
    granted_at: TimeText,
    hold_expires_at: TimeText,
}

impl EventWriter {
    /// Of the deployment with these subjects.
    pub fn new(namespace: &Namespace) -> Self {
        let mut source = String::from(r#"","source":"#);
        push_text(&mut source, &format!("giliran/{namespace}"));
        source.push_str(r#","type":"giliran.booking."#);
        let (block, id) = (None, String::new());
        let (time, granted_at, hold_expires_at) = Default::default();
        Self { source, block, id, time, granted_at, hold_expires_at }
    }

    /// An event's id as text.
    pub fn id(&mut self, id: EventId) -> String {
        let mut text = String::with_capacity(self.block_of(id).len() + 4);
        text.push_str(&self.id);
        push_number(&mut text, id.n.into());
        text
    }

    /// The part of an event's id that all of its block have.
    fn block_of(&mut self, id: EventId) -> &str {
        if self.block != Some((id.ledger, id.seq)) {
            self.block = Some((id.ledger, id.seq));
            self.id = format!("{}/{}/", id.ledger, id.seq);
        }
        &self.id
    }

    /// Puts an event behind what stands in `out`. `before`: the booking before the change;
    /// none: it is new. `payment` and `reason`: as in [`Data`](super::Data).
    pub fn write(
        &mut self,
        out: &mut String,
        (id, kind, time): (EventId, Kind, Timestamp),
        (booking, slot): BookingInSlot<'_>,
        before: Option<BookingInSlot<'_>>,
        payment: Option<&str>,
        reason: Option<&str>,
    ) {
        out.push_str(r#"{"specversion":"1.0","id":""#);
        out.push_str(self.block_of(id));
        push_number(out, id.n.into());
        out.push_str(&self.source);
        out.push_str(kind.name());
        out.push_str(r#"","subject":"#);
        out.push_str(&slot.subject);
        out.push_str(r#","time":""#);
        out.push_str(self.time.of(time));
        out.push_str(r#"","dataschema":""#);
        out.push_str(DATA_SCHEMA);
        out.push_str(r#"","datacontenttype":"application/json","data":{"booking":"#);
        self.booking(out, (booking, slot));
        out.push_str(r#","previous":"#);
        match before {
            Some(before) => self.booking(out, before),
            None => out.push_str("null"),
        }
        push_member(out, "payment", payment);
        push_member(out, "reason", reason);
        out.push_str("}}");
    }

    fn booking(&mut self, out: &mut String, (booking, slot): BookingInSlot<'_>) {
        out.push_str(r#"{"id":""#);
        out.push_str(booking.id.to_text().as_str());
        out.push_str(r#"","version":"#);
        push_number(out, booking.version.into());
        out.push_str(r#","status":""#);
        out.push_str(booking.status.name());
        out.push_str(r#"","#);
        out.push_str(&slot.names);
        out.push_str(r#","numbers":["#);
        for (i, number) in booking.numbers.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            push_number(out, (*number).into());
        }
        out.push(']');
        push_member(out, "request_id", Some(&booking.request_id));
        push_member(out, "ref", booking.reference.as_deref());
        push_member(out, "channel", booking.channel.as_deref());
        out.push_str(r#","granted_at":""#);
        out.push_str(self.granted_at.of(booking.granted_at));
        out.push('"');
        if let Some(at) = booking.hold_expires_at {
            out.push_str(r#","hold_expires_at":""#);
            out.push_str(self.hold_expires_at.of(at));
            out.push('"');
        }
        out.push('}');
    }
}

fn push_member(out: &mut String, name: &str, text: Option<&str>) {
    let Some(text) = text else { return };
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
    push_text(out, text);
}

fn push_number(out: &mut String, number: u64) {
    out.push_str(itoa::Buffer::new().format(number));
}

/// A text as JSON. Almost none has what must be escaped.
fn push_text(out: &mut String, text: &str) {
    let is_plain = |c: u8| c >= 0x20 && c != b'"' && c != b'\\';
    if text.bytes().all(is_plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::to_string(text).expect("a text is always JSON"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Status;
    use crate::event::Event;
    use crate::{BookingId, Text};

    fn booking(number: u16, text: &str) -> Booking<'static> {
        let text = |what: &str| Text::from(format!("{what}{text}"));
        Booking {
            id: BookingId::from_random(u128::from(number) << 60),
            version: u32::from(number),
            status: [Status::Held, Status::Confirmed, Status::Cancelled, Status::Expired]
                [usize::from(number) % 4],
            opening: text("w"),
            office: text("o"),
            date: "2026-12-01".parse().expect("a day"),
            session: text("s"),
            numbers: (1..=number % 4).collect(),
            request_id: text("r"),
            reference: number.is_multiple_of(2).then(|| text("ref")),
            channel: number.is_multiple_of(3).then(|| text("web")),
            granted_at: Timestamp::from_millis(1_795_000_000_000 + i64::from(number / 2)),
            hold_expires_at: number.is_multiple_of(5).then_some(Timestamp::LATEST),
        }
    }

    /// Broken once each: a time, an id or a slot's names kept from the event before; a text
    /// that is not escaped; a member that is left out.
    #[test]
    fn an_event_has_the_bytes_that_serde_makes() {
        let namespace = Namespace::new("agency.v2").expect("a prefix");
        let mut writer = EventWriter::new(&namespace);
        let texts = ["", "plain", "Señor 預約", "a \"b\" \\ c", "line\nline\t\u{1}\u{7f}"];
        let kinds = [Kind::Held, Kind::Confirmed, Kind::RefundDue, Kind::Rescheduled];
        for number in 0..200u16 {
            let text = texts[usize::from(number) % texts.len()];
            let other = texts[usize::from(number / 3) % texts.len()];
            let (now, before) = (booking(number, text), booking(number + 1, other));
            let ledger = LedgerId([(number / 50) as u8; 16]);
            let id = EventId { ledger, seq: u64::from(number / 7), n: u32::from(number) };
            let time = Timestamp::from_millis(i64::from(number / 3) * 999);
            let kind = kinds[usize::from(number) % kinds.len()];
            let payment = (number % 4 == 1).then_some(text);
            let reason = (number % 6 == 1).then_some(other);
            let slots = [SlotJson::of(&now), SlotJson::of(&before)];
            let before = (number % 2 == 1).then_some(before);
            let mut written = String::from("…");
            let was = before.as_ref().map(|before| (before, &slots[1]));
            writer.write(&mut written, (id, kind, time), (&now, &slots[0]), was, payment, reason);
            let event = Event::new(&namespace, id, kind, time, now, before);
            let event = event.payment(payment).reason(reason);
            assert_eq!(written, format!("…{}", serde_json::to_string(&event).expect("JSON")));
            assert_eq!(writer.id(id), id.to_string());
        }
    }
}
