//! The engines: the real state machines, and a plain model of what carries them out.

use giliran_allocator::{Decision, Settled, StateMachine};
use giliran_sequencer::{Continuation, Effect, Now, Outcome, Sequencer, StopReason};
use giliran_wire::answer::Reason;
use giliran_wire::ledger::{Block, TakeOver};
use giliran_wire::{BlockHash, WriterNonce};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::clients::ClientAnswer;
use super::scene::{choices, order_key};
use super::{Event, LEASE_MS, MARGIN_MS, Sender, World};
use crate::kind::{Kind, Mutant};

/// Bytes of a part of the state that a generation begins with: small, so that a
/// begin takes several blocks.
const PART_BYTES: usize = 2_048;
/// A clock that is further from the broker's does not take over, ms.
pub(crate) const MAX_OFFSET_MS: i64 = 60_000;

/// Finds the requester again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ticket {
    Attempt(usize),
    Errand(usize),
}

pub(super) struct Engine {
    /// Counts how often it ran a sequencer: each has channels of its own, and what comes back
    /// after one has ended reaches nobody.
    pub(super) run: u64,
    pub(super) paused_until_ms: u64,
    /// Starts again then, after a clean stop.
    pub(super) down_until_ms: u64,
    /// Its connection was lost: where it stands is to be looked at before it goes on.
    pub(super) has_to_look: bool,
    /// It was asked to end.
    pub(super) is_stopping: bool,
    /// What its clock shows beyond true time, ms.
    pub(super) skew_ms: i64,
    pub(super) lease_until_ms: u64,
    /// Until then it holds a lease of its own, whoever has the other one.
    pub(super) split_until_ms: u64,
    pub(super) sequencer: Option<Sequencer<Ticket>>,
    pub(super) follower: Option<StateMachine>,
}

impl Engine {
    pub(super) fn new(rng: &mut StdRng) -> Self {
        Self {
            run: 0,
            paused_until_ms: 0,
            down_until_ms: 0,
            has_to_look: false,
            is_stopping: false,
            skew_ms: rng.random_range(-2_000..2_000),
            lease_until_ms: 0,
            split_until_ms: 0,
            sequencer: None,
            follower: Some(StateMachine::new()),
        }
    }

    /// Its sequencer, if it is active.
    pub(super) fn active(&self) -> Option<&Sequencer<Ticket>> {
        self.sequencer.as_ref().filter(|sequencer| sequencer.is_active())
    }

    /// It starts anew, with nothing in memory.
    pub(super) fn start(&mut self, begin: u32) {
        self.sequencer = None;
        self.is_stopping = false;
        self.follower = Some(StateMachine::beginning_with(begin));
        self.lease_until_ms = 0;
    }
}

impl World {
    pub(super) fn now(&self, engine: usize) -> Now {
        let wall = self.time().as_millis() + self.engines[engine].skew_ms;
        Now { wall: giliran_wire::Timestamp::from_millis(wall), mono_ms: self.now_ms }
    }

    /// An input to a sequencer, if that one still runs.
    pub(super) fn input(&mut self, to: Sender, input: impl FnOnce(&mut Sequencer<Ticket>, Now)) {
        let now = self.now(to.engine);
        let engine = &mut self.engines[to.engine];
        let shared = self.setup.mutant == Some(Mutant::AttemptsShared);
        if let Some(sequencer) = engine.sequencer.as_mut()
            && (engine.run == to.run || shared)
        {
            input(sequencer, now);
            self.perform(to.engine);
        }
    }

    pub(super) fn perform(&mut self, engine: usize) {
        let now = self.now(engine);
        // An outcome may come before grants are staged ahead, or a part is encoded, too.
        let mut may_stage = !now.mono_ms.is_multiple_of(4);
        loop {
            let Some(sequencer) = &mut self.engines[engine].sequencer else { return };
            let effects = sequencer.effects();
            if effects.is_empty() {
                if std::mem::take(&mut may_stage) {
                    may_stage = sequencer.stage_ahead(now);
                    sequencer.prepare_part();
                    continue;
                }
                return;
            }
            let from = Sender { engine, run: self.engines[engine].run };
            // An engine that is no longer active still sends what it has to answer.
            let on = self.ground_of(engine);
            for effect in effects {
                match effect {
                    Effect::Append { attempt, generation, expected_last, bytes } => {
                        self.soon(Event::AppendArrives {
                            from,
                            attempt,
                            generation,
                            expected_last,
                            bytes,
                        });
                    }
                    Effect::Read { attempt, generation, seq } => {
                        self.soon(Event::ReadArrives { from, attempt, generation, seq });
                    }
                    Effect::Answer { ticket, outcome, .. } => {
                        self.answer((engine, on), ticket, outcome);
                    }
                    Effect::Granted(grants) => {
                        for (ticket, outcome) in grants.into_outcomes() {
                            self.answer((engine, on), ticket, outcome);
                        }
                    }
                    Effect::Foreign(_) => {}
                    Effect::Active(_) => self.become_active(engine),
                    Effect::Idle(why) => self.leave_office(engine, &why),
                }
            }
        }
    }

    fn become_active(&mut self, engine: usize) {
        let (now, opening) = (self.now(engine), self.opening.clone());
        if let Some(sequencer) = &mut self.engines[engine].sequencer
            && !sequencer.records_openings()
            && !sequencer.state().knows_opening("sim")
        {
            sequencer.record_openings(vec![opening], now);
        }
    }

    fn leave_office(&mut self, engine: usize, why: &StopReason) {
        let words = match why {
            StopReason::Damaged(error) => Some(error.to_string()),
            StopReason::Lost(lost) => Some(lost.to_string()),
            StopReason::Finished | StopReason::Deposed => None,
        };
        self.note_branches(engine);
        let sequencer = self.engines[engine].sequencer.take();
        self.engines[engine].lease_until_ms = 0;
        let stopping = std::mem::take(&mut self.engines[engine].is_stopping);
        match words {
            Some(words) => self.stops(engine, words),
            None if stopping => self.ends(engine),
            None => self.engines[engine].follower = sequencer.map(Sequencer::into_state),
        }
    }

    /// It has ended cleanly: the lease goes back, and it starts again after a while.
    fn ends(&mut self, engine: usize) {
        self.lease = self.lease.filter(|(holder, _)| *holder != engine);
        let begin = self.streams.newest_begun();
        self.engines[engine].start(begin);
        self.engines[engine].down_until_ms = self.now_ms + self.rng.random_range(100..3_000);
    }

    /// It calls the ledger damaged or lost, and does nothing until somebody looks after
    /// it.
    fn stops(&mut self, engine: usize, words: String) {
        self.engines[engine].follower = None;
        let said = if self.has_moved() { &mut self.stopped } else { &mut self.damaged };
        said.push(words);
        if self.lease.is_some_and(|(holder, _)| holder == engine) {
            self.lease = None;
        }
    }

    pub(super) fn note_branches(&mut self, engine: usize) {
        let Some(sequencer) = &self.engines[engine].sequencer else { return };
        for (branch, count) in sequencer.branches() {
            *self.branches.entry(branch).or_default() += count;
        }
    }

    /// An engine answers, on this ground.
    fn answer(&mut self, (engine, on): (usize, BlockHash), ticket: Ticket, outcome: Outcome) {
        let attempt = match ticket {
            Ticket::Attempt(attempt) => attempt,
            Ticket::Errand(errand) => {
                if !matches!(outcome, Outcome::Busy) {
                    self.soon(Event::Done { errand });
                }
                return;
            }
        };
        let Some((answer, needs_lease)) = ClientAnswer::of(outcome) else {
            self.damaged.push("an action's outcome for somebody who asked for places".to_owned());
            return;
        };
        let stands = self.engines[engine].lease_until_ms > self.now_ms;
        if stands || !needs_lease || self.is(Mutant::NoLease) {
            self.soon(Event::Answered { attempt, answer, on });
        }
    }

    /// The last block that an engine goes by.
    fn ground_of(&self, engine: usize) -> BlockHash {
        let sequencer = self.engines[engine].sequencer.as_ref();
        sequencer.map_or(BlockHash::ZERO, |sequencer| sequencer.state().chain().hash)
    }

    /// A request reaches an engine.
    pub(super) fn request(&mut self, to: Sender, ticket: Ticket) {
        let engine = to.engine;
        let is_active = self.engines[engine].active().is_some();
        if self.is_away() || self.engines[engine].run != to.run || !is_active {
            return;
        }
        match ticket {
            Ticket::Attempt(attempt) if self.attempts[attempt].change.is_some() => {
                self.change(engine, attempt);
            }
            Ticket::Attempt(attempt) => self.decide(engine, attempt),
            Ticket::Errand(errand) => {
                let (now, action) = (self.now(engine), self.errands[errand].action.clone());
                if let Some(sequencer) = &mut self.engines[engine].sequencer {
                    sequencer.submit_admin(action, ticket, now);
                }
            }
        }
        self.perform(engine);
    }

    fn change(&mut self, engine: usize, attempt: usize) {
        let now = self.now(engine);
        let Some(ask) = self.attempts[attempt].change_ask(&self.opening) else { return };
        let Some(sequencer) = &mut self.engines[engine].sequencer else { return };
        let time = sequencer.allocator().engine_time(sequencer.time(now));
        match sequencer.allocator().settled(&ask, time) {
            Some(settled) => {
                let from = (engine, self.ground_of(engine));
                self.answer(from, Ticket::Attempt(attempt), Outcome::Settled(settled));
            }
            None => sequencer.submit_changes([(ask, Ticket::Attempt(attempt))], now),
        }
    }

    fn decide(&mut self, engine: usize, attempt: usize) {
        let (now, ticket) = (self.now(engine), Ticket::Attempt(attempt));
        if self.is(Mutant::StaleRejections)
            && let Some((answer, on)) = self.stale_rejection(attempt)
        {
            return self.soon(Event::Answered { attempt, answer, on });
        }
        let dropped = self.chance(0.01);
        let wanted = choices(&self.opening, &self.attempts[attempt].slots);
        let ask = self.attempts[attempt].ask(&wanted);
        let Some(sequencer) = &mut self.engines[engine].sequencer else { return };
        let time = sequencer.allocator().engine_time(sequencer.time(now));
        let decision = sequencer.allocator().decide(&ask, time);
        if dropped {
            return self.abort(decision);
        }
        match decision {
            Decision::Settled(settled) => {
                let from = (engine, self.ground_of(engine));
                return self.answer(from, ticket, Outcome::Settled(settled));
            }
            Decision::Granted(grant) => {
                if self.setup.mutant == Some(Mutant::ReplyBeforeAck) {
                    let as_of = sequencer.state().durable().position();
                    let answer = ClientAnswer::granted_too_early(&grant, as_of);
                    let on = sequencer.state().chain().hash;
                    sequencer.submit_grants([(grant, ticket)], [], now);
                    return self.soon(Event::Answered { attempt, answer, on });
                }
                sequencer.submit_grants([(grant, ticket)], [], now);
            }
            Decision::EnterDraw(entry) => sequencer.submit_entries([(entry, ticket)], now),
            Decision::DeferToRound(ordinal) => {
                sequencer.defer_to_round([(ordinal, ask.to_owned(), ticket)], now);
            }
            Decision::JoinWaitlist(_) | Decision::Retry => {
                sequencer.submit_grants([], [(ask.to_owned(), ticket)], now);
            }
        }
        if let Some(sequencer) = &mut self.engines[engine].sequencer {
            sequencer.submit_grants([], [], now);
        }
    }

    /// What was told when the same places were sold out.
    fn stale_rejection(&self, attempt: usize) -> Option<(ClientAnswer, BlockHash)> {
        let asked = &self.attempts[attempt];
        let alike = self.attempts.iter().filter(|other| {
            other.change.is_none()
                && other.slots == asked.slots
                && other.applicants.len() == asked.applicants.len()
        });
        let heard = alike.flat_map(|other| &other.answers).find(|heard| {
            matches!(heard.answer, ClientAnswer::Rejected { reason: Reason::SoldOut, .. })
        })?;
        Some((heard.answer.clone(), heard.on))
    }

    /// The worker that has decided is aborted before it hands on.
    fn abort(&mut self, decision: Decision) {
        self.faults.push("worker aborted");
        if self.is(Mutant::GiveBackForgotten) {
            std::mem::forget(decision);
        }
    }

    /// Renews or seeks the lease, follows the ledger, lets time pass.
    pub(super) fn tick(&mut self, engine: usize) {
        if self.engines[engine].down_until_ms > self.now_ms {
            return;
        }
        if self.engines[engine].sequencer.is_some() {
            return self.serve(engine);
        }
        if self.is_away() || self.engines[engine].follower.is_none() {
            return;
        }
        let lag = if self.setup.kind == Kind::Network && self.chance(0.1) {
            self.rng.random_range(1..4)
        } else {
            0
        };
        if std::mem::take(&mut self.engines[engine].has_to_look) && !self.stands(engine) {
            return self.stops(engine, "the ledger lost blocks".to_owned());
        }
        let Some(state) = &mut self.engines[engine].follower else { return };
        if let Err(error) = self.streams.follow(state, lag) {
            return self.stops(engine, error.to_string());
        }
        if self.may_take_over(engine) {
            self.take_over(engine);
        }
    }

    /// Whether the last block that a follower has read is there. Whoever follows looks
    /// whenever its connection was lost.
    fn stands(&self, engine: usize) -> bool {
        let Some(state) = &self.engines[engine].follower else { return true };
        let chain = state.chain();
        let there = self.streams.read(chain.generation, chain.valid_seq);
        let hash = there.and_then(|bytes| Block::open(bytes).ok()).map(|(_, hash)| hash);
        chain.ledger.is_none() || hash == Some(chain.hash) || self.is(Mutant::LostTailIgnored)
    }

    /// Whether it gets the lease, and its clock lets it.
    fn may_take_over(&self, engine: usize) -> bool {
        let free = self.lease.is_none_or(|(_, until)| until <= self.now_ms);
        let split = self.engines[engine].split_until_ms > self.now_ms;
        let is_right = self.engines[engine].skew_ms.abs() <= MAX_OFFSET_MS;
        let follower = self.engines[engine].follower.as_ref();
        let has_read = |state: &StateMachine| state.genesis().is_some() && state.is_whole();
        let has_read = follower.is_some_and(has_read);
        has_read && (free || split) && (is_right || self.is(Mutant::ClockUnchecked))
    }

    fn serve(&mut self, engine: usize) {
        let now = self.now(engine);
        let free = self.lease.is_none_or(|(_, until)| until <= self.now_ms);
        let mine = self.lease.is_some_and(|(holder, _)| holder == engine);
        let split = self.engines[engine].split_until_ms > self.now_ms;
        // Renewals get lost, too.
        let reaches = !self.is_away() && !self.chance(0.3);
        if split || (mine && !free) {
            if reaches {
                self.renew(engine);
            }
        } else if let Some(sequencer) = &mut self.engines[engine].sequencer {
            sequencer.retire();
        }
        if let Some(sequencer) = &mut self.engines[engine].sequencer {
            sequencer.tick(now);
        }
        self.perform(engine);
    }

    /// The lease stands from here on for its whole time; that of another one, who
    /// believes in a lease of its own, is left alone.
    fn renew(&mut self, engine: usize) {
        if self.engines[engine].split_until_ms <= self.now_ms || self.lease.is_none() {
            self.lease = Some((engine, self.now_ms + LEASE_MS));
        }
        self.engines[engine].lease_until_ms = self.now_ms + LEASE_MS - MARGIN_MS;
    }

    fn take_over(&mut self, engine: usize) {
        let now = self.now(engine);
        self.renew(engine);
        let Some(state) = self.engines[engine].follower.take() else { return };
        let mut ids = StdRng::from_rng(&mut self.rng);
        let writer = if self.is(Mutant::AttemptsShared) {
            let mut nonce = self.rng.random::<[u8; 16]>();
            nonce[..8].fill(engine as u8);
            WriterNonce(nonce)
        } else {
            WriterNonce(self.rng.random())
        };
        let (name, version) = (format!("engine {engine}"), "sim".to_owned());
        let name = TakeOver { engine: name, version, forced: None };
        let random = Box::new(move || ids.random::<u128>());
        let first = self.streams.first(state.chain().generation + 1);
        let next = Continuation { first, part_bytes: PART_BYTES };
        let sequencer = Sequencer::take_over(state, writer, name, random, next, now)
            .with_order_key(order_key());
        self.engines[engine].sequencer = Some(sequencer);
        self.engines[engine].run += 1;
        self.perform(engine);
    }
}

impl ClientAnswer {
    /// What a client is told, and whether the lease has to stand for that; none: it is
    /// for an operator.
    fn of(outcome: Outcome) -> Option<(Self, bool)> {
        Some(match outcome {
            Outcome::Granted(found, durable) | Outcome::Changed(found, durable) => {
                (Self::granted(&found, durable.position()), false)
            }
            Outcome::Settled(Settled::Repeat(found, durable)) => {
                (Self::granted(&found, durable.position()), true)
            }
            Outcome::Settled(Settled::Rejected(rejection, durable)) => {
                (Self::Rejected { reason: rejection.reason, as_of: durable.position() }, true)
            }
            Outcome::Entered(entered, durable) => {
                (Self::entered(&entered.waiting, durable.position()), true)
            }
            Outcome::Settled(Settled::Entered { waiting, durable, .. }) => {
                (Self::entered(&waiting, durable.position()), true)
            }
            Outcome::Busy => (Self::Busy, true),
            Outcome::Adjusted(..) | Outcome::NotAdjusted(..) => return None,
        })
    }
}
