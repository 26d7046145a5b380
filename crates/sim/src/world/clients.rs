//! Clients and operators: they ask until they are told, and note what they are told.

use giliran_allocator::{Booking, BookingRequest, ChangeRequest, Content, DrawEntry, FoundBooking};
use giliran_sequencer::AdminCommand;
use giliran_wire::answer::Reason;
use giliran_wire::ledger::OpeningRecord;
use giliran_wire::request::Choice;
use giliran_wire::{BlockHash, BookingId, Digest, Position, Pseudonym};
use rand::RngExt;

use super::engines::Ticket;
use super::scene::{self, Intent, Request};
use super::{DRAWN_AT_MS, Event, Sender, World};
use crate::kind::Kind;

/// A client gives an attempt up after this, ms.
const PATIENCE_MS: u64 = 1_500;
/// An operator asks again after this, ms.
const ERRAND_MS: u64 = 2_000;
/// Who has got a booking wants to change it up to this long after the faults, ms.
const WISHES_FOR_MS: u64 = 3_000;

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAnswer {
    /// There is a booking.
    Granted {
        booking: BookingId,
        version: u32,
        slot: u32,
        numbers: Vec<u16>,
        as_of: Position,
    },
    /// The request is settled without a booking.
    Rejected {
        reason: Reason,
        as_of: Position,
    },
    /// There is an entry into a draw.
    Entered {
        receipt: BookingId,
        as_of: Position,
    },
    Busy,
}

impl ClientAnswer {
    pub(super) fn granted(found: &FoundBooking, as_of: Position) -> Self {
        Self::Granted {
            booking: found.booking.id,
            version: found.booking.version,
            slot: found.booking.slot,
            numbers: found.booking.seats.iter().map(|seat| seat.number).collect(),
            as_of,
        }
    }

    /// Of a grant that is in no block yet.
    pub(super) fn granted_too_early(grant: &Booking, as_of: Position) -> Self {
        let numbers = grant.seats.iter().map(|seat| seat.number).collect();
        let (booking, slot) = (grant.id, grant.slot);
        Self::Granted { booking, version: 1, slot, numbers, as_of }
    }

    pub(super) fn entered(waiting: &DrawEntry, as_of: Position) -> Self {
        Self::Entered { receipt: waiting.entry.receipt, as_of }
    }

    /// True where nobody need ask again.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Granted { .. } | Self::Entered { .. } => true,
            Self::Rejected { reason, .. } => !reason.worth_a_retry(),
            Self::Busy => false,
        }
    }

    /// The position it names.
    pub(crate) fn as_of(&self) -> Option<Position> {
        match self {
            Self::Granted { as_of, .. }
            | Self::Rejected { as_of, .. }
            | Self::Entered { as_of, .. } => Some(*as_of),
            Self::Busy => None,
        }
    }
}

/// An answer, as it came.
#[derive(Debug, Clone)]
pub struct HeardAnswer {
    /// When the client had it, ms since the world began.
    pub at_ms: u64,
    pub answer: ClientAnswer,
    /// The last block that the engine went by.
    pub(crate) on: BlockHash,
}

/// One attempt of one request, as its client logged it.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub(crate) request: usize,
    /// A change of this booking; none: asks for one.
    pub change: Option<(BookingId, Intent)>,
    pub request_id: String,
    pub applicants: Vec<Pseudonym>,
    /// Which slots, by preference.
    pub slots: Vec<u32>,
    /// Digest of the content.
    pub content: Digest,
    /// The account that asks.
    pub account: Option<Pseudonym>,
    /// Where all is sold out: waits for returned places.
    pub wait: bool,
    /// When it was sent, ms.
    pub sent_ms: u64,
    pub answers: Vec<HeardAnswer>,
}

impl Attempt {
    fn new(of: usize, request: &Request, sent_ms: u64) -> Self {
        Self {
            request: of,
            change: request.change,
            request_id: request.request_id.clone(),
            applicants: request.applicants.clone(),
            slots: request.slots.clone(),
            content: request.content,
            account: request.account,
            wait: request.wait,
            sent_ms,
            answers: Vec::new(),
        }
    }

    pub(super) fn ask<'a>(&'a self, choices: &'a [Choice<'a>]) -> BookingRequest<'a> {
        BookingRequest {
            request_id: &self.request_id,
            applicants: &self.applicants,
            content: Content::Digest(self.content),
            choices,
            opening: None,
            expires_at: None,
            account: self.account,
            channel: None,
            reference: None,
            vouched: false,
            wait: self.wait,
        }
    }

    pub(super) fn change_ask(&self, opening: &OpeningRecord) -> Option<ChangeRequest> {
        let change = self.change?;
        Some(scene::change_ask(opening, &self.request_id, change, self.applicants[0]))
    }
}

/// Something that an operator does.
#[derive(Debug, Clone)]
pub(crate) struct Errand {
    pub(crate) action: AdminCommand,
    pub(crate) sent_ms: u64,
    /// When the operator was told what came of it.
    pub(crate) done_ms: Option<u64>,
}

impl World {
    /// Somebody asks for this at a time, and then as often as it takes.
    pub(super) fn ask_at(&mut self, ms: u64, request: Request) {
        self.requests.push(request);
        self.attempt_of.push(0);
        self.at(ms, Event::Send { request: self.requests.len() - 1 });
    }

    /// An operator does this at a time.
    pub(super) fn errand_at(&mut self, ms: u64) {
        let action = scene::action(self.setup, &mut self.rng);
        self.errands.push(Errand { action, sent_ms: ms, done_ms: None });
        self.at(ms, Event::Errand { errand: self.errands.len() - 1 });
    }

    /// Whoever is subscribed gets it: more than one, after a deposition.
    fn publish(&mut self, ticket: Ticket) {
        for engine in 0..self.engines.len() {
            if self.engines[engine].active().is_some() {
                let to = Sender { engine, run: self.engines[engine].run };
                self.soon(Event::Request { to, ticket });
                if self.setup.kind == Kind::Network && self.chance(0.05) {
                    self.faults.push("request twice");
                    self.soon(Event::Request { to, ticket });
                }
            }
        }
    }

    pub(super) fn send(&mut self, request: usize) {
        if self.is_away() {
            // Its connection is gone.
            let at = self.away_until_ms + self.rng.random_range(1..500);
            return self.at(at, Event::Send { request });
        }
        let attempt = self.attempts.len();
        self.attempts.push(Attempt::new(request, &self.requests[request], self.now_ms));
        self.attempt_of[request] = attempt;
        self.publish(Ticket::Attempt(attempt));
        self.at(self.now_ms + PATIENCE_MS, Event::Patience { request, attempt });
    }

    pub(super) fn patience(&mut self, request: usize, attempt: usize) {
        if self.attempt_of[request] != attempt {
            return;
        }
        let settled = self.attempts[attempt].answers.iter().any(|heard| match &heard.answer {
            // What comes of it, they look for later.
            ClientAnswer::Entered { .. } => self.now_ms > DRAWN_AT_MS,
            answer => answer.is_terminal(),
        });
        if settled {
            if self.requests[request].repeats == 0 {
                return;
            }
            self.requests[request].repeats -= 1;
        }
        self.send(request);
    }

    pub(super) fn errand(&mut self, errand: usize) {
        if self.errands[errand].done_ms.is_some() {
            return;
        }
        if !self.is_away() {
            self.publish(Ticket::Errand(errand));
        }
        self.at(self.now_ms + ERRAND_MS, Event::Errand { errand });
    }

    /// Who has got a booking may want to change it, and perhaps more than once.
    pub(super) fn answered(&mut self, attempt: usize, answer: ClientAnswer, on: BlockHash) {
        if self.is_away() {
            return;
        }
        if self.setup.kind == Kind::Network && self.chance(0.03) {
            self.faults.push("answer lost");
            return;
        }
        let first = self.attempts[attempt].answers.is_empty();
        if first && self.now_ms < self.faults_end_ms + WISHES_FOR_MS {
            self.wish(attempt, &answer);
        }
        self.attempts[attempt].answers.push(HeardAnswer { at_ms: self.now_ms, answer, on });
    }

    fn wish(&mut self, attempt: usize, answer: &ClientAnswer) {
        let (id, entered) = match answer {
            ClientAnswer::Granted { booking, .. } => (*booking, false),
            ClientAnswer::Entered { receipt, .. } => (*receipt, true),
            _ => return,
        };
        let applicants = self.attempts[attempt].applicants.clone();
        // Few leave a waiting list, or withdraw from a draw.
        let often = if entered { 0.15 } else { 0.5 };
        while self.rng.random_bool(often) {
            let who = applicants[self.rng.random_range(0..applicants.len())];
            let wish = match self.rng.random_range(0..4) {
                _ if entered => Intent::Cancel(who),
                0 | 1 => Intent::Confirm,
                2 => Intent::Cancel(who),
                _ => Intent::Move(self.rng.random_range(0..3)),
            };
            let request = Request {
                change: Some((id, wish)),
                request_id: format!("c{}", self.requests.len()),
                applicants: applicants.clone(),
                slots: Vec::new(),
                content: Digest([0; 16]),
                account: None,
                wait: false,
                repeats: self.rng.random_range(0..2),
            };
            let at = self.now_ms + self.rng.random_range(1..4_000);
            self.ask_at(at, request);
        }
    }
}
