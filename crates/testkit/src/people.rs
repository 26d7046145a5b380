//! People, what they ask for, what they are granted.

use giliran_allocator::{BookingRequest, Content};
use giliran_wire::ledger::{DrawEntryRecord, Grant, Seat};
use giliran_wire::request::Choice;
use giliran_wire::{BookingId, Digest, Pseudonym};

/// The pseudonym of the person of this number, spread as real ones are.
pub fn person(number: u64) -> Pseudonym {
    let hash = blake3::hash(&number.to_le_bytes());
    Pseudonym::from_bytes(hash.as_bytes()[..16].try_into().unwrap())
}

/// The same without a hash, for measurements: as spread over tables as a real one.
#[inline]
pub fn cheap_person(number: u64) -> Pseudonym {
    let high = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Pseudonym::from_bytes(((u128::from(number) << 64) | u128::from(high)).to_be_bytes())
}

/// A request for any opening, without an end, an account, a channel or a reference, by
/// somebody who does not wait.
pub fn request<'a>(
    request_id: &'a str,
    applicants: &'a [Pseudonym],
    choices: &'a [Choice<'a>],
) -> BookingRequest<'a> {
    BookingRequest {
        request_id,
        applicants,
        content: Content::Digest(Digest([1; 16])),
        choices,
        opening: None,
        expires_at: None,
        account: None,
        channel: None,
        reference: None,
        vouched: false,
        wait: false,
    }
}

/// The same request with everything given that stands in its grant, as long as it may be:
/// for tests of how much fits.
pub fn filled<'a>(request: &BookingRequest<'a>) -> BookingRequest<'a> {
    let BookingRequest {
        request_id,
        applicants,
        content,
        choices,
        opening,
        expires_at,
        account: _,
        channel: _,
        reference: _,
        vouched,
        wait,
    } = *request;
    BookingRequest {
        request_id,
        applicants,
        content,
        choices,
        opening,
        expires_at,
        account: Some(person(u64::MAX)),
        channel: Some("a-channel-of-16-"),
        reference: Some("a-reference-of-64-bytes-a-reference-of-64-bytes-a-reference-of-6"),
        vouched,
        wait,
    }
}

/// An entry on record: receipt and request `r<number>` of this number, of one person who
/// wants any of these slots of opening 0 and waits for returned places.
pub fn entry(number: u64, slots: &[u32]) -> DrawEntryRecord {
    DrawEntryRecord {
        receipt: BookingId::from_random(number.into()),
        opening: 0,
        applicants: vec![person(number)],
        slots: slots.into(),
        request_id: format!("r{number}"),
        content: Digest([0; 16]),
        reference: None,
        account: None,
        channel: None,
        waits: true,
    }
}

/// A grant on record: booking and request `r<number>` of this number, of one person, in
/// opening 0, without a hold.
pub fn grant(number: u64, slot: u32, seat: Seat) -> Grant {
    Grant {
        booking: BookingId::from_random(number.into()),
        opening: 0,
        slot,
        seats: [seat].into(),
        request_id: format!("r{number}"),
        content: Digest([0; 16]),
        reference: None,
        account: None,
        channel: None,
        hold_expires_at: None,
    }
}
