//! What a client does with an answer.

use super::{Answer, Verdict};
use crate::status::Status;

/// What whoever asked does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// Nothing: the booking is firm.
    Done,
    /// Have the booking confirmed before its hold ends.
    Confirm,
    /// Wait for the draw; its receipt finds the booking, if it wins.
    Wait,
    /// This request has no place any more; a new wish needs a new request id.
    Gone,
    /// Send the same request again after a pause: nothing is settled.
    Again,
    /// Tell the person; the same request would be rejected again.
    Stop,
}

impl NextStep {
    /// Every step.
    pub const ALL: [Self; 6] =
        [Self::Done, Self::Confirm, Self::Wait, Self::Gone, Self::Again, Self::Stop];

    /// As the conformance kit names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Confirm => "confirm",
            Self::Wait => "wait",
            Self::Gone => "gone",
            Self::Again => "again",
            Self::Stop => "stop",
        }
    }
}

impl Answer<'_> {
    /// What the client of this operation does next.
    pub fn next_step(&self, operation: &str) -> NextStep {
        match &self.verdict {
            Verdict::Granted { booking, .. } => match booking.status {
                Status::Held => NextStep::Confirm,
                Status::Confirmed => NextStep::Done,
                Status::Cancelled | Status::Expired => NextStep::Gone,
            },
            // To a `cancel` it says that the entry is withdrawn.
            Verdict::Entered { .. } if operation == "cancel" => NextStep::Gone,
            Verdict::Entered { .. } => NextStep::Wait,
            Verdict::Rejected(rejection) if rejection.reason.worth_a_retry() => NextStep::Again,
            Verdict::Rejected(_) => NextStep::Stop,
        }
    }
}
