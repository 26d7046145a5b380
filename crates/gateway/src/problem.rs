//! What is not served, as `application/problem+json` (RFC 9457). Its type is the reason; a
//! rejection has the fields of the wire's answer beside it, so that whoever reads those reads
//! these.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use giliran_wire::answer::{Answer, Reason, Rejection, Verdict};
use giliran_wire::{Position, Text, Timestamp};
use serde::Serialize;

use crate::asking::{Outcome, Unsettled};

/// When to come back where nothing else says so, s.
const RETRY_AFTER_S: u64 = 2;

/// Why something is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The engine's reason, or the gateway's own of the same meaning.
    Reason(Reason),
    /// The opening's draw is over, and the request got no place.
    NotDrawn,
    /// Nothing of what was asked for is published of this opening.
    NotPublished,
    /// What the operator has published is not what it should be.
    NotUsable,
    /// Nothing is settled, and the attempt may have been granted.
    InDoubt,
    /// Too many requests of one account or address.
    TooMany,
    /// The file that is there has no such bytes.
    NoSuchRange,
    /// Nothing says who asks, and a token would.
    Unauthenticated,
    /// The token that says who asks does not count.
    InvalidToken,
    /// Nothing is at this address.
    NoSuchAddress,
    /// What was there is not allowed by this method.
    NoSuchMethod,
    /// The body is too long.
    TooLarge,
    /// The body did not come in time.
    TooSlow,
}

impl Kind {
    /// The last word of its type.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Reason(reason) => reason.name(),
            Self::NotDrawn => "not_drawn",
            Self::NotPublished => "not_published",
            Self::NotUsable => "not_usable",
            Self::InDoubt => "in_doubt",
            Self::TooMany => "too_many_requests",
            Self::NoSuchRange => "no_such_range",
            Self::Unauthenticated => "unauthenticated",
            Self::InvalidToken => "invalid_token",
            Self::NoSuchAddress => "no_such_address",
            Self::NoSuchMethod => "no_such_method",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
        }
    }

    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Reason(reason) => of_reason(reason),
            Self::NotDrawn | Self::NotPublished => StatusCode::NOT_FOUND,
            Self::NotUsable => StatusCode::INTERNAL_SERVER_ERROR,
            Self::InDoubt => StatusCode::GATEWAY_TIMEOUT,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::NoSuchRange => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Unauthenticated | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::NoSuchAddress => StatusCode::NOT_FOUND,
            Self::NoSuchMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// Whether the request is settled: it is not to be sent again as it is.
    pub(crate) const fn is_settled(self) -> bool {
        match self {
            Self::Reason(reason) => !reason.worth_a_retry(),
            Self::InDoubt | Self::TooMany | Self::TooSlow | Self::NotUsable => false,
            Self::NotDrawn
            | Self::NotPublished
            | Self::NoSuchRange
            | Self::Unauthenticated
            | Self::InvalidToken
            | Self::NoSuchAddress
            | Self::NoSuchMethod
            | Self::TooLarge => true,
        }
    }

    /// How whoever asks can say who they are (RFC 6750, 3), where that is what is wrong.
    pub(crate) const fn challenge(self) -> Option<HeaderValue> {
        match self {
            Self::Unauthenticated => Some(HeaderValue::from_static("Bearer realm=\"giliran\"")),
            Self::InvalidToken => {
                Some(HeaderValue::from_static("Bearer realm=\"giliran\", error=\"invalid_token\""))
            }
            _ => None,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Reason(reason) => title(reason),
            Self::NotDrawn => "The draw is over, and this request got no place",
            Self::NotPublished => "This is not published of this opening",
            Self::NotUsable => "What is published here is not what it should be",
            Self::InDoubt => "Nothing is settled yet; ask again with the same key",
            Self::TooMany => "Too many requests",
            Self::NoSuchRange => "The file has no such bytes",
            Self::Unauthenticated => "Nothing says who asks",
            Self::InvalidToken => "The token does not say who asks",
            Self::NoSuchAddress => "Nothing is at this address",
            Self::NoSuchMethod => "This address has no such method",
            Self::TooLarge => "The body is too long",
            Self::TooSlow => "The body did not come in time",
        }
    }
}

/// The status of each reason.
pub(crate) const fn of_reason(reason: Reason) -> StatusCode {
    match reason {
        Reason::Malformed => StatusCode::BAD_REQUEST,
        Reason::NotPermitted => StatusCode::FORBIDDEN,
        Reason::UnknownOpening | Reason::UnknownSlot | Reason::NotFound => StatusCode::NOT_FOUND,
        Reason::AlreadyBooked
        | Reason::AccountLimit
        | Reason::ApplicantLimit
        | Reason::SoldOut
        | Reason::WrongState
        | Reason::Closed
        | Reason::Expired
        | Reason::NotOpen => StatusCode::CONFLICT,
        Reason::Conflict | Reason::PartyTooLarge => StatusCode::UNPROCESSABLE_ENTITY,
        Reason::Busy | Reason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

const fn title(reason: Reason) -> &'static str {
    match reason {
        Reason::Malformed => "The request cannot be understood",
        Reason::UnknownOpening => "There is no such opening",
        Reason::NotOpen => "The opening has not begun",
        Reason::Closed => "The opening is over, or it is too late for what was asked for",
        Reason::UnknownSlot => "The opening has no such office, day or session",
        Reason::NotPermitted => "This session needs an entitlement",
        Reason::PartyTooLarge => "More applicants than may book together",
        Reason::AccountLimit => "The account has as many places as it may",
        Reason::AlreadyBooked => "An applicant has a booking already",
        Reason::Conflict => "The same key was used for another request",
        Reason::SoldOut => "No choice has room for everybody",
        Reason::Expired => "The request came too late",
        Reason::NotFound => "There is no such booking",
        Reason::WrongState => "The booking does not allow this any more",
        Reason::Busy => "Too much at once; nothing is settled",
        Reason::Unavailable => "Nobody can decide just now; nothing is settled",
        Reason::ApplicantLimit => "An applicant was granted as many bookings as one may",
    }
}

/// A problem, with what there is to say about it.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    detail: Option<Cow<'static, str>>,
    retry_after_ms: Option<u64>,
    of: Option<Box<Of>>,
}

/// The request that a problem is of, and what else was true.
#[derive(Debug, Clone, Default, Serialize)]
struct Of {
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opens_at: Option<Timestamp>,
}

/// A problem as it is sent.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(flatten)]
    of: Option<&'a Of>,
}

impl Problem {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, detail: None, retry_after_ms: None, of: None }
    }

    pub(crate) fn reason(reason: Reason) -> Self {
        Self::new(Kind::Reason(reason))
    }

    /// What cannot be understood: what, where, what would be right.
    pub(crate) fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::reason(Reason::Malformed).detail(detail)
    }

    /// Too much at once: this gateway takes no more.
    pub(crate) fn overloaded() -> Self {
        Self::reason(Reason::Busy)
            .detail("this gateway has as many requests on the way as it takes")
            .retry_after_ms(RETRY_AFTER_S * 1_000)
    }

    /// Adds a sentence for developers; never a value that a client sent.
    pub(crate) fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the time after which another try is worth it.
    pub(crate) fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// When another try is worth it, s; 0: nobody said.
    pub(crate) fn retry_after_s(&self) -> u64 {
        self.retry_after_ms.unwrap_or(0).div_ceil(1_000)
    }

    /// Adds the id of the request that it is of.
    pub(crate) fn request_id(mut self, id: impl Into<String>) -> Self {
        self.of.get_or_insert_default().request_id = Some(id.into());
        self
    }

    /// The engine's rejection, and when the opening begins where that is why.
    pub(crate) fn rejected(
        request_id: Option<&Text<'_>>,
        rejection: &Rejection<'_>,
        opens_at: Option<Timestamp>,
    ) -> Self {
        let opens_at = opens_at.filter(|_| rejection.reason == Reason::NotOpen);
        let Rejection { reason, detail, retry_after_ms, now, as_of } = rejection;
        Self {
            kind: Kind::Reason(*reason),
            detail: detail.as_ref().map(|detail| detail.to_string().into()),
            retry_after_ms: *retry_after_ms,
            of: Some(Box::new(Of {
                request_id: request_id.map(ToString::to_string),
                now: *now,
                as_of: *as_of,
                opens_at,
            })),
        }
    }

    /// What did not come to an end within the caller's patience.
    pub(crate) fn unsettled(why: &Unsettled) -> Self {
        match why {
            Unsettled::NobodyThere => Self::reason(Reason::Unavailable)
                .detail("no engine is active; nothing is settled, the same key is safe")
                .retry_after_ms(RETRY_AFTER_S * 1_000),
            Unsettled::Busy(rejection) => {
                let after = rejection.retry_after_ms.unwrap_or(RETRY_AFTER_S * 1_000);
                Self::rejected(None, rejection, None).retry_after_ms(after)
            }
            Unsettled::InDoubt => Self::new(Kind::InDoubt)
                .detail("no answer came in time: it may have been granted, or not. Ask again with the same key")
                .retry_after_ms(RETRY_AFTER_S * 1_000),
        }
    }

    /// Its fields as JSON, as they are sent.
    pub(crate) fn body(&self) -> String {
        let reason = match self.kind {
            Kind::Reason(reason) => Some(reason.name()),
            _ => None,
        };
        let body = Body {
            r#type: &["urn:giliran:problem:", self.kind.name()].concat(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            outcome: reason.map(|_| "rejected"),
            reason,
            detail: self.detail.as_deref(),
            retry_after_ms: self.retry_after_ms,
            of: self.of.as_deref(),
        };
        // Numbers and texts: they can be written.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.body().into());
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(ms) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, retry_after(ms));
        }
        if let Some(challenge) = self.kind.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Whole seconds, up to two more than asked for: a crowd does not come back at once.
fn retry_after(ms: u64) -> HeaderValue {
    HeaderValue::from(ms.div_ceil(1_000).max(1) + rand::random_range(0..=2))
}

/// The engine's answer, where it is no problem.
///
/// # Errors
///
/// The problem that the outcome is.
pub(crate) fn of_outcome(
    outcome: Outcome,
    opens_at: Option<Timestamp>,
) -> Result<Box<Answer<'static>>, Problem> {
    let answer = match outcome {
        Outcome::Settled(answer) => answer,
        Outcome::NotDrawn { .. } => return Err(Problem::new(Kind::NotDrawn)),
        Outcome::Unsettled(why) => return Err(Problem::unsettled(&why)),
    };
    of_answer(&answer, opens_at).map_or(Ok(answer), Err)
}

/// The problem that an answer is, where it is one.
pub(crate) fn of_answer(answer: &Answer<'_>, opens_at: Option<Timestamp>) -> Option<Problem> {
    match &answer.verdict {
        Verdict::Rejected(rejection) => {
            Some(Problem::rejected(answer.request_id.as_ref(), rejection, opens_at))
        }
        Verdict::Granted { .. } | Verdict::Entered { .. } => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use giliran_wire::Position;

    #[test]
    fn whoever_reads_the_wire_reads_a_problem() {
        for reason in Reason::ALL {
            let rejection = Rejection::new(*reason)
                .detail("what and where")
                .retry_after_ms(1_500)
                .as_of(Position { epoch: 3, seq: 1841 });
            let answer =
                Answer { request_id: Some("a3f1".into()), verdict: Verdict::Rejected(rejection) };
            let body = of_answer(&answer, None).unwrap().body();
            assert_eq!(serde_json::from_str::<Answer<'_>>(&body).unwrap(), answer);
        }
    }

    #[test]
    fn statuses_are_those_of_the_contract() {
        let of = |status: u16| {
            let reasons = Reason::ALL.iter().filter(|r| of_reason(**r).as_u16() == status);
            reasons.map(|reason| reason.name()).collect::<Vec<_>>()
        };
        assert_eq!(of(400), ["malformed"]);
        assert_eq!(of(403), ["not_permitted"]);
        assert_eq!(of(404), ["unknown_opening", "unknown_slot", "not_found"]);
        assert_eq!(of(422), ["party_too_large", "conflict"]);
        assert_eq!(of(503), ["busy", "unavailable"]);
        let conflicts = [
            "not_open",
            "closed",
            "account_limit",
            "already_booked",
            "sold_out",
            "expired",
            "wrong_state",
            "applicant_limit",
        ];
        assert_eq!(of(409), conflicts);
    }

    #[test]
    fn whoever_is_sent_away_does_not_come_back_all_at_once() {
        let seconds = |ms| retry_after(ms).to_str().unwrap().parse::<u64>().unwrap();
        let all: std::collections::BTreeSet<u64> = (0..200).map(|_| seconds(1_500)).collect();
        assert_eq!(all, [2, 3, 4].into());
        assert!(seconds(0) >= 1);
    }
}
