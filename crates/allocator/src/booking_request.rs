//! A request for places, as it is decided and as it waits.

use giliran_wire::request::{Choice, Wanted};
use giliran_wire::{Digest, Pseudonym, Timestamp};
use smallvec::SmallVec;

/// A valid `book` request, its people under pseudonyms.
#[derive(Debug, Clone, Copy)]
pub struct BookingRequest<'a> {
    /// The idempotency key, within opening and first applicant.
    pub request_id: &'a str,
    /// In the request's order; 1 to 5, distinct.
    pub applicants: &'a [Pseudonym],
    /// What makes it the same request.
    pub content: Content<'a>,
    /// In order of preference; 1 to 16.
    pub choices: &'a [Choice<'a>],
    /// The opening's id, where named.
    pub opening: Option<&'a str>,
    /// After this nobody waits for the answer.
    pub expires_at: Option<Timestamp>,
    /// The account that asks.
    pub account: Option<Pseudonym>,
    /// The channel it asks through.
    pub channel: Option<&'a str>,
    /// To be handed back in the booking.
    pub reference: Option<&'a str>,
    /// The publisher has checked entitlements.
    pub vouched: bool,
    /// Where all is sold out: wait for returned places.
    pub wait: bool,
}

/// What makes a request the same request: a digest, made only where it is compared or
/// put on record. A rejection needs none.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// A digest that was made earlier, of the same request.
    Digest(Digest),
    /// What it is to be made of: what is wanted, and by whom.
    Of(Wanted<'a>, &'a [Pseudonym]),
}

impl Content<'_> {
    /// The digest; one hash over the request where it is not made yet.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Digest(digest) => *digest,
            Self::Of(wanted, applicants) => wanted.digest(applicants),
        }
    }
}

/// A [`BookingRequest`] that outlives the payload it came in, for requests that wait.
#[derive(Debug, Clone)]
pub struct OwnedBookingRequest {
    request_id: Box<str>,
    applicants: SmallVec<[Pseudonym; 1]>,
    content: Digest,
    choices: Vec<Choice<'static>>,
    opening: Option<Box<str>>,
    expires_at: Option<Timestamp>,
    account: Option<Pseudonym>,
    channel: Option<Box<str>>,
    reference: Option<Box<str>>,
    vouched: bool,
    wait: bool,
}

impl OwnedBookingRequest {
    /// Borrows the request, to decide it again.
    pub fn ask(&self) -> BookingRequest<'_> {
        BookingRequest {
            request_id: &self.request_id,
            applicants: &self.applicants,
            content: Content::Digest(self.content),
            choices: &self.choices,
            opening: self.opening.as_deref(),
            expires_at: self.expires_at,
            account: self.account,
            channel: self.channel.as_deref(),
            reference: self.reference.as_deref(),
            vouched: self.vouched,
            wait: self.wait,
        }
    }

    /// Id that the client chose for its request.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The channel it came through.
    pub fn channel(&self) -> Option<&str> {
        self.channel.as_deref()
    }

    /// The people it is for.
    pub fn applicants(&self) -> &[Pseudonym] {
        &self.applicants
    }

    /// After this nobody waits for the answer.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }
}

impl BookingRequest<'_> {
    /// A copy that owns what it says.
    pub fn to_owned(&self) -> OwnedBookingRequest {
        OwnedBookingRequest {
            request_id: self.request_id.into(),
            applicants: self.applicants.into(),
            content: self.content.digest(),
            choices: self.choices.iter().map(Choice::to_static).collect(),
            opening: self.opening.map(Into::into),
            expires_at: self.expires_at,
            account: self.account,
            channel: self.channel.map(Into::into),
            reference: self.reference.map(Into::into),
            vouched: self.vouched,
            wait: self.wait,
        }
    }
}
