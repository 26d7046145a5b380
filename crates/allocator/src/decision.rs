//! What deciding a request comes to.

use std::sync::Arc;

use giliran_wire::answer::Reason;
use giliran_wire::ledger::DrawEntryRecord;

use crate::allocator::FoundBooking;
use crate::draw_entry::DrawEntry;
use crate::opening::Opening;
use crate::pending::{PendingEntry, PendingGrant};
use crate::sync::seqlock::Durable;

/// What [`Allocator::decide`](crate::Allocator::decide) wants done with a request.
#[derive(Debug)]
#[must_use = "a grant dropped here gives back what it has taken"]
pub enum Decision {
    /// The answer can be given now.
    Settled(Settled),
    /// Places are taken. The booking to be still lacks id, numbers and the end of its hold.
    Granted(PendingGrant),
    /// Everything it wants is durably gone, and it waits for what comes back.
    /// The entry lacks its receipt; the state machine
    /// [enters](crate::StateMachine::enter_waitlist) it.
    JoinWaitlist(Box<DrawEntryRecord>),
    /// The opening is drawn, and nothing speaks against this entry; its people
    /// are claimed. It lacks its receipt
    /// ([`StateMachine::enter_draw`](crate::StateMachine::enter_draw)).
    EnterDraw(PendingEntry),
    /// It belongs into the present round of the opening of this ordinal, and is
    /// [decided](crate::Allocator::decide_in_round) at its end.
    DeferToRound(u32),
    /// The outcome depends on the block in flight: decide again once it commits.
    Retry,
}

/// An answer that rests on durable facts.
#[derive(Debug, Clone)]
pub enum Settled {
    /// The same request was granted before: its booking.
    Repeat(FoundBooking, Durable),
    /// The same request waits for returned places already, or has been
    /// withdrawn from doing so.
    Entered {
        /// The entry as it was recorded.
        waiting: Arc<DrawEntry>,
        /// The opening whose draw it takes part in.
        opening: Arc<Opening>,
        /// What it rests on.
        durable: Durable,
    },
    /// The rejection, true at this durable position.
    Rejected(Rejection, Durable),
}

/// Why a request is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The first reason in the one precedence that applies.
    pub reason: Reason,
    /// What and where, where the reason alone does not say it.
    pub detail: Option<String>,
    /// For `not_open`: until it opens.
    pub retry_after_ms: Option<u64>,
    /// The opening it speaks of, by ordinal, and the slot that was wanted first,
    /// where that is a single one; for those who count.
    pub about: Option<(u32, Option<u32>)>,
}

impl Rejection {
    pub(crate) const fn new(reason: Reason) -> Self {
        Self { reason, detail: None, retry_after_ms: None, about: None }
    }

    pub(crate) fn because(reason: Reason, detail: String) -> Self {
        Self { reason, detail: Some(detail), retry_after_ms: None, about: None }
    }

    pub(crate) fn about(self, opening: &Opening, slot: Option<u32>) -> Self {
        Self { about: Some((opening.record().ordinal, slot)), ..self }
    }
}
