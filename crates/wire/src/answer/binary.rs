//! Answers in the binary form, field after field into memory.
//!
//! The bytes are those of the derived encoder, which asks at each of some twenty fields
//! whether all is well; most of what an engine writes are these answers.

use bincode::Encode;

use super::{Answer, Booking, Overview, Rejection, Verdict};
use crate::{Position, Text, codec};

/// What a payload of answers is made of.
pub trait Element: Encode + Sized {
    /// Appends its binary form.
    fn binary_into(&self, out: &mut Vec<u8>) {
        codec::encode_into(self, out);
    }
}

impl Element for Overview<'_> {}

/// What an answer takes beside its texts and numbers, at most.
const FIXED_BYTES: usize = 192;

impl Element for Answer<'_> {
    fn binary_into(&self, out: &mut Vec<u8>) {
        // All fields are named, here and below, so that a new one is written.
        let Self { request_id, verdict } = self;
        out.reserve(FIXED_BYTES);
        optional(request_id.as_ref(), out, text);
        match verdict {
            Verdict::Granted { booking: made, as_of } => {
                variant(0, out);
                booking(made, out);
                position(as_of, out);
            }
            Verdict::Rejected(rejected) => {
                variant(1, out);
                rejection(rejected, out);
            }
            Verdict::Entered { opening, receipt, as_of } => {
                variant(2, out);
                text(opening, out);
                out.extend_from_slice(receipt.as_bytes());
                position(as_of, out);
            }
        }
    }
}

fn booking(booking: &Booking<'_>, out: &mut Vec<u8>) {
    let Booking {
        id,
        version,
        status,
        opening,
        office,
        date,
        session,
        numbers,
        request_id,
        reference,
        channel,
        granted_at,
        hold_expires_at,
    } = booking;
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(&version.to_le_bytes());
    variant(*status as u32, out);
    text(opening, out);
    text(office, out);
    length(10, out);
    out.extend_from_slice(&date.to_ascii());
    text(session, out);
    length(numbers.len(), out);
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    text(request_id, out);
    optional(reference.as_ref(), out, text);
    optional(channel.as_ref(), out, text);
    out.extend_from_slice(&granted_at.as_millis().to_le_bytes());
    optional(hold_expires_at.as_ref(), out, |at, out| {
        out.extend_from_slice(&at.as_millis().to_le_bytes());
    });
}

fn rejection(rejection: &Rejection<'_>, out: &mut Vec<u8>) {
    let Rejection { reason, detail, retry_after_ms, now, as_of } = rejection;
    out.extend_from_slice(&reason.number().to_le_bytes());
    optional(detail.as_ref(), out, text);
    optional(retry_after_ms.as_ref(), out, |ms, out| out.extend_from_slice(&ms.to_le_bytes()));
    optional(now.as_ref(), out, |now, out| out.extend_from_slice(&now.as_millis().to_le_bytes()));
    optional(as_of.as_ref(), out, position);
}

#[inline(always)]
fn variant(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

#[inline(always)]
fn length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(length as u64).to_le_bytes());
}

#[inline(always)]
fn text(text: &Text<'_>, out: &mut Vec<u8>) {
    length(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

#[inline(always)]
fn position(position: &Position, out: &mut Vec<u8>) {
    let Position { epoch, seq } = position;
    out.extend_from_slice(&epoch.to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
}

#[inline(always)]
fn optional<T>(value: Option<&T>, out: &mut Vec<u8>, write: impl FnOnce(&T, &mut Vec<u8>)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        write(value, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::answer::{Reason, Status};
    use crate::{BookingId, Timestamp};

    fn text() -> impl Strategy<Value = Text<'static>> {
        any::<String>().prop_map(Text::from)
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        any::<i64>().prop_map(Timestamp::from_millis)
    }

    fn position() -> impl Strategy<Value = Position> {
        any::<(u64, u64)>().prop_map(|(epoch, seq)| Position { epoch, seq })
    }

    prop_compose! {
        fn booking()(
            (random, version, status) in (any::<u128>(), any::<u32>(), 0..4_usize),
            (opening, office, session, request_id) in (text(), text(), text(), text()),
            day in 1..29_u8,
            numbers in proptest::collection::vec(any::<u16>(), 0..8),
            reference in proptest::option::of(text()),
            channel in proptest::option::of(text()),
            granted_at in time(),
            hold_expires_at in proptest::option::of(time()),
        ) -> Booking<'static> {
            use Status::{Cancelled, Confirmed, Expired, Held};
            Booking {
                id: BookingId::from_random(random),
                version,
                status: [Held, Confirmed, Cancelled, Expired][status],
                opening,
                office,
                date: format!("2030-01-{day:02}").parse().unwrap(),
                session,
                numbers: numbers.into(),
                request_id,
                reference,
                channel,
                granted_at,
                hold_expires_at,
            }
        }
    }

    prop_compose! {
        fn rejection()(
            reason in proptest::sample::select(Reason::ALL),
            detail in proptest::option::of(text()),
            retry_after_ms in any::<Option<u64>>(),
            now in proptest::option::of(time()),
            as_of in proptest::option::of(position()),
        ) -> Rejection<'static> {
            Rejection { reason, detail, retry_after_ms, now, as_of }
        }
    }

    fn verdict() -> impl Strategy<Value = Verdict<'static>> {
        prop_oneof![
            (booking(), position())
                .prop_map(|(booking, as_of)| Verdict::Granted { booking, as_of }),
            rejection().prop_map(Verdict::Rejected),
            (text(), any::<u128>(), position()).prop_map(|(opening, random, as_of)| {
                Verdict::Entered { opening, receipt: BookingId::from_random(random), as_of }
            }),
        ]
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_the_derived_encoder(
            request_id in proptest::option::of(text()),
            verdict in verdict(),
        ) {
            let answer = Answer { request_id, verdict };
            let (mut written, mut derived) = (b"before".to_vec(), b"before".to_vec());
            answer.binary_into(&mut written);
            codec::encode_into(&answer, &mut derived);
            prop_assert_eq!(written, derived);
        }
    }
}
