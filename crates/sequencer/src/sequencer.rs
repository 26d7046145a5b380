//! The sequencer's state, its inputs, and the loop that sends the next block.

use std::collections::VecDeque;

use giliran_allocator::{
    Allocator, ChangeReply, ChangeRequest, Decision, Durable, OpeningDraw, OwnedBookingRequest,
    PendingEntry, PendingGrant, Rejection, Settled, StagedIn, StateChange, StateMachine,
    WaitlistDraw,
};
use giliran_drand::Network;
use giliran_wire::answer::{Phase, Reason};
use giliran_wire::event::Kind;
use giliran_wire::ledger::{DrawEntryRecord, Entry, Leftovers, OpeningRecord, TakeOver};
use giliran_wire::{OrderKey, Timestamp, WriterNonce};

use crate::admin::Acted;
use crate::ahead::BlockAhead;
use crate::block_builder::BlockDraft;
use crate::branch::Branch;
use crate::branch::Branches;
use crate::clock_guard::ClockGuard;
use crate::effect::{Attempt, Effect, Now, Outcome, StopReason};
use crate::generation::Continuation;
use crate::granted::grants_of;
use crate::in_flight::{InFlight, Step};
use crate::look_ahead::Random;
use crate::queued::Queued;
use crate::rejections::RejectionCounts;
use crate::rounds::Rounds;

/// Most grants and waiting requests before new ones are told `busy`.
pub const MAX_BACKLOG: usize = 131_072;

/// Most entries of those who wait in one block.
pub(crate) const ENTRIES_A_BLOCK: usize = 512;
/// After a take-over nothing expires or is released for so long, ms: the engine
/// before may still reject people for what this would free.
pub const GRACE_MS: u64 = 3_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    /// The take-over is on its way.
    Candidate,
    Active,
    /// No new requests; the queue is still committed.
    Finishing,
    /// No new blocks; only the one in flight is brought to its end.
    Retiring,
    Idle,
}

/// The one writer of the ledger. `T` is whatever finds the requester again.
pub struct Sequencer<T> {
    pub(crate) state: StateMachine,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) epoch: u64,
    pub(crate) writer: WriterNonce,
    pub(crate) random: Random,
    pub(crate) openings: VecDeque<OpeningRecord>,
    pub(crate) queue: VecDeque<Queued<PendingGrant, T>>,
    pub(crate) parked: Vec<Queued<OwnedBookingRequest, T>>,
    /// Changes of bookings, in the order they came.
    pub(crate) changes: VecDeque<Queued<ChangeRequest, T>>,
    /// Those who wait for returned places, to be entered.
    pub(crate) entering: VecDeque<Queued<Box<DrawEntryRecord>, T>>,
    /// Operators' actions, in the order they came.
    pub(crate) admin: VecDeque<crate::admin::AdminJob<T>>,
    /// Those that came to their end, until they are taken.
    pub(crate) acted: Vec<Acted>,
    /// The draw for returned places that is going on.
    pub(crate) drawing: Option<WaitlistDraw>,
    /// Entries into openings' own draws, in the order they came.
    pub(crate) ballots: VecDeque<Queued<PendingEntry, T>>,
    /// The opening's own draw that is going on.
    pub(crate) draw: Option<OpeningDraw>,
    /// Requests for openings with rounds.
    pub(crate) rounds: Rounds<T>,
    /// Rejections that are to be put on record.
    pub(crate) tallies: RejectionCounts,
    /// What the seeds of rounds and draws are made with.
    pub(crate) order_key: OrderKey,
    /// Whose rounds draws mix in.
    pub(crate) beacon: Option<Network>,
    pub(crate) clock: ClockGuard,
    /// Nothing expires before this, on the monotonic clock.
    pub(crate) grace_until_ms: u64,
    /// Granted by a thread that did not know yet that the opening closes.
    pub(crate) late: VecDeque<Queued<Box<str>, T>>,
    pub(crate) in_flight: Option<InFlight<T>>,
    /// Grants of the block behind it.
    pub(crate) ahead: Option<BlockAhead<T>>,
    /// Blocks that were staged ahead since one was not.
    pub(crate) sent_ahead: u32,
    /// Stands in the ledger before anything else of this epoch.
    pub(crate) take_over: Option<TakeOver>,
    pub(crate) roll: crate::generation::Roll<T>,
    /// Changes committed since they were last asked for, by kind.
    pub(crate) changed: Vec<(Kind, u64)>,
    /// What blocks changed since it was last taken; none: nobody watches.
    pub(crate) watched: Option<Vec<StateChange>>,
    /// The last one that was made.
    pub(crate) attempts: Attempt,
    /// When the last block was committed, on the monotonic clock.
    pub(crate) committed_ms: u64,
    pub(crate) branches: Branches,
    pub(crate) effects: Vec<Effect<T>>,
}

impl<T> Sequencer<T> {
    /// A candidate that takes the ledger over from where `state` has read it.
    ///
    /// `random` supplies booking ids: it has to be unguessable. `next`: how
    /// the ledger goes on, should it be sealed already.
    pub fn take_over(
        state: StateMachine,
        writer: WriterNonce,
        take_over: TakeOver,
        random: Box<dyn FnMut() -> u128 + Send>,
        next: Continuation,
        now: Now,
    ) -> Self {
        let mut sequencer = Self {
            lifecycle: Lifecycle::Candidate,
            epoch: state.chain().epoch + 1,
            writer,
            random: Random::new(random),
            openings: VecDeque::new(),
            queue: VecDeque::new(),
            parked: Vec::new(),
            changes: VecDeque::new(),
            entering: VecDeque::new(),
            admin: VecDeque::new(),
            acted: Vec::new(),
            drawing: None,
            ballots: VecDeque::new(),
            draw: None,
            rounds: Rounds::new(),
            tallies: RejectionCounts::default(),
            order_key: OrderKey::new([0; 32]),
            beacon: None,
            clock: ClockGuard { wall: now.wall, mono_ms: now.mono_ms, ahead: false },
            grace_until_ms: now.mono_ms + GRACE_MS,
            late: VecDeque::new(),
            in_flight: None,
            ahead: None,
            sent_ahead: 0,
            take_over: Some(take_over),
            roll: crate::generation::Roll::new(next),
            changed: Vec::new(),
            watched: None,
            attempts: Attempt::before(&writer),
            committed_ms: now.mono_ms,
            branches: Branches::default(),
            effects: Vec::new(),
            state,
        };
        sequencer.send_next_block(now);
        sequencer
    }

    /// The shared state that requests are decided on.
    pub fn allocator(&self) -> &std::sync::Arc<Allocator> {
        self.state.allocator()
    }

    /// The fold of the ledger up to the last durable block.
    pub fn state(&self) -> &StateMachine {
        &self.state
    }

    /// The state machine, for the follower that this engine becomes. Whatever was not
    /// durable is given back.
    pub fn into_state(mut self) -> StateMachine {
        self.drop_pending();
        self.state
    }

    /// True while requests may be decided.
    pub fn is_active(&self) -> bool {
        self.lifecycle == Lifecycle::Active
    }

    /// Grants and requests that wait; beyond [`MAX_BACKLOG`] new ones are to be
    /// told `busy`.
    pub fn backlog(&self) -> usize {
        self.queue.len()
            + self.parked.len()
            + self.changes.len()
            + self.entering.len()
            + self.ballots.len()
            + self.rounds.len()
            + self.in_flight().unwrap_or(0)
            + self.staged_ahead()
    }

    /// Grants in the block in flight.
    pub fn in_flight(&self) -> Option<usize> {
        self.in_flight.as_ref().map(InFlight::grants)
    }

    /// Takes how many changes of each kind were committed since the last call.
    pub fn take_changed(&mut self) -> Vec<(Kind, u64)> {
        std::mem::take(&mut self.changed)
    }

    /// From here on keeps what every committed block changes, for whoever watches from
    /// beside: also what no request waits for, as a draw's grants. It grows until it is
    /// [taken](Self::take_state_changes).
    pub fn watch_state_changes(&mut self) {
        self.watched.get_or_insert_default();
    }

    /// Takes what blocks changed since the last call, in the order of the ledger;
    /// nothing unless they are [watched](Self::watch_state_changes). What an answer among
    /// the [effects](Self::effects) tells of is in it.
    pub fn take_state_changes(&mut self) -> Vec<StateChange> {
        self.watched.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// How often each of the ways was gone that are rarely gone.
    pub fn branches(&self) -> impl Iterator<Item = (Branch, u64)> {
        self.branches.all()
    }

    /// Takes what is to be done since the last call, in order.
    pub fn effects(&mut self) -> Vec<Effect<T>> {
        std::mem::take(&mut self.effects)
    }

    /// Puts openings on record, as soon as a block can take them. The caller
    /// has made sure that their ids are new.
    pub fn record_openings(&mut self, openings: Vec<OpeningRecord>, now: Now) {
        self.openings.extend(openings);
        self.send_next_block(now);
    }

    /// True while openings are about to be on record: what the state machine knows is not all.
    pub fn records_openings(&self) -> bool {
        let being_written = self.in_flight.iter().flat_map(|flight| &flight.block.entries);
        !self.openings.is_empty()
            || being_written.into_iter().any(|entry| matches!(entry, Entry::Opening(_)))
    }

    /// Grants that were decided, in the order they are to stand in the ledger,
    /// and requests that must wait.
    pub fn submit_grants(
        &mut self,
        granted: impl IntoIterator<Item = (PendingGrant, T)>,
        waiting: impl IntoIterator<Item = (OwnedBookingRequest, T)>,
        now: Now,
    ) {
        // Most grants that come together are of one opening, and none closes meanwhile.
        let mut last = None;
        for (grant, ticket) in granted {
            let ordinal = grant.opening;
            let is_closed = match last {
                Some((of, is_closed)) if of == ordinal => is_closed,
                _ => self.is_closed(ordinal),
            };
            last = Some((ordinal, is_closed));
            self.enqueue_in(is_closed, Queued::new(grant, ticket, now));
        }
        if self.lifecycle == Lifecycle::Active {
            let park = |(ask, ticket)| Queued::new(ask, ticket, now);
            self.parked.extend(waiting.into_iter().map(park));
        }
        self.send_next_block(now);
    }

    /// Changes of bookings, in the order they came.
    pub fn submit_changes(
        &mut self,
        asked: impl IntoIterator<Item = (ChangeRequest, T)>,
        now: Now,
    ) {
        if self.lifecycle == Lifecycle::Active {
            let wait = |(ask, ticket)| Queued::new(ask, ticket, now);
            self.changes.extend(asked.into_iter().map(wait));
        }
        self.send_next_block(now);
    }

    /// Takes an operator's action for the next block.
    pub fn submit_admin(&mut self, action: crate::admin::AdminCommand, ticket: T, now: Now) {
        if self.lifecycle == Lifecycle::Active {
            self.admin.push_back(crate::admin::AdminJob::new(action, ticket, now));
        }
        self.send_next_block(now);
    }

    /// True while the clock is too far ahead of what passed since the take-over
    /// to be believed: nothing expires meanwhile.
    pub fn clock_is_ahead(&self) -> bool {
        self.clock.ahead
    }

    /// The time to go by instead of the wall clock's.
    pub fn time(&self, now: Now) -> Timestamp {
        let mut clock = self.clock;
        clock.look(now)
    }

    /// Lets time pass: deadlines, repeats, the next block.
    pub fn tick(&mut self, now: Now) {
        self.in_flight.iter_mut().for_each(|flight| flight.tick(now));
        match self.in_flight.as_ref().map(|flight| flight.step) {
            Some(Step::Asked { until_ms } | Step::Pausing { until_ms })
                if until_ms <= now.mono_ms =>
            {
                self.repeat(now);
            }
            _ => {}
        }
        self.give_up_waiting(now);
        self.send_next_block(now);
    }

    /// When [`tick`](Self::tick) is needed next, on the monotonic clock.
    pub fn next_tick_ms(&self, now: Now) -> Option<u64> {
        let flight = self.in_flight.as_ref().map(|flight| match flight.step {
            Step::Asked { until_ms } | Step::Pausing { until_ms } => until_ms,
        });
        let due =
            self.state.next_due().filter(|_| self.lifecycle == Lifecycle::Active).map(|at| {
                now.mono_ms + at.millis_since(self.allocator().engine_time(self.time(now)))
            });
        // A waiting request with nothing in flight met another thread's claim.
        let parked = (!self.parked.is_empty())
            .then_some(now.mono_ms + if self.in_flight.is_some() { 100 } else { 1 });
        let due = due.filter(|_| self.in_flight.is_none());
        let engine_time = self.allocator().engine_time(self.time(now));
        let returned = self
            .state
            .next_return()
            .filter(|_| self.lifecycle == Lifecycle::Active && self.in_flight.is_none())
            .map(|at| (now.mono_ms + at.millis_since(engine_time)).max(self.grace_until_ms));
        // A clock that is ahead is looked at now and then.
        let returned = returned.map(|at| if self.clock.ahead { now.mono_ms + 1_000 } else { at });
        let changes =
            (!self.changes.is_empty() && self.in_flight.is_none()).then_some(now.mono_ms + 1);
        let round = self.rounds.next_end().filter(|_| self.in_flight.is_none());
        let round =
            round.map(|(at, due_ms)| (now.mono_ms + at.millis_since(engine_time)).min(due_ms));
        // A draw has its next piece of work.
        let working = self.draw.is_some() && self.lifecycle == Lifecycle::Active;
        let draw = (working && self.in_flight.is_none()).then_some(now.mono_ms);
        [flight, due, parked, returned, changes, round, draw].into_iter().flatten().min()
    }

    pub(crate) fn enqueue(&mut self, waiting: Queued<PendingGrant, T>) {
        let is_closed = self.is_closed(waiting.what.opening);
        self.enqueue_in(is_closed, waiting);
    }

    /// `is_closed`: of the grant's opening.
    fn enqueue_in(&mut self, is_closed: bool, waiting: Queued<PendingGrant, T>) {
        if !matches!(self.lifecycle, Lifecycle::Active | Lifecycle::Finishing) {
            return;
        }
        if is_closed {
            let Queued { what, ticket, since_ms } = waiting;
            let what = what.request_id.clone();
            self.late.push_back(Queued { what, ticket, since_ms });
        } else {
            self.queue.push_back(waiting);
        }
    }

    /// True if the opening has closed, or does with the block in flight, and gives
    /// nothing after that.
    pub(crate) fn is_closed(&self, ordinal: u32) -> bool {
        let openings = self.state.allocator().openings();
        let closing = self.in_flight.as_ref().is_some_and(|flight| {
            flight
                .block
                .entries
                .iter()
                .rev()
                .take_while(|entry| matches!(entry, Entry::Closed { .. }))
                .any(|entry| *entry == Entry::Closed { opening: ordinal })
        });
        let gone = |opening: &std::sync::Arc<giliran_allocator::Opening>| match opening.phase() {
            Phase::Closed => !opening.gives_leftovers(),
            // Whatever is free then, whoever asks gets.
            _ => {
                closing && (opening.draws() || opening.record().rules.leftovers == Leftovers::None)
            }
        };
        openings.get(ordinal).is_none_or(gone)
    }

    /// Decides again what waited, and sends the next block if none is in flight.
    pub(crate) fn send_next_block(&mut self, now: Now) {
        if self.in_flight.is_some()
            || matches!(self.lifecycle, Lifecycle::Retiring | Lifecycle::Idle)
        {
            return;
        }
        if self.send_ahead(now) || self.begin_generation(now) {
            return;
        }
        if let Some(take_over) = self.take_over.take() {
            let mut first = BlockDraft::new();
            first.push(Entry::TakeOver(take_over));
            // The clock may have jumped since, where a generation had to begin first.
            let time = self.clock.look(now);
            return self.send(first, time, now);
        }
        if self.seal(now) {
            return;
        }
        self.answer_late();
        let time = self.clock.look(now);
        let time = self.state.allocator().engine_time(time);
        self.decide_parked(time, now);
        let draft = self.build_block(time, now);
        if draft.is_empty() {
            // Actions that had nothing left to put on record; rounds that nobody
            // got anything in.
            let durable = self.state.durable();
            self.adjusted(draft.adjusted, durable);
            self.after_a_group(draft.after, now);
            self.idle_if_done();
        } else {
            self.send(draft, time, now);
        }
    }

    pub(crate) fn decide_parked(&mut self, time: Timestamp, now: Now) {
        for parked in std::mem::take(&mut self.parked) {
            let decision = self.state.allocator().decide(&parked.what.ask(), time);
            let Queued { what: ask, ticket, since_ms } = parked;
            match decision {
                Decision::Settled(settled) => {
                    self.answer_asked(&ask, ticket, Outcome::Settled(settled));
                }
                Decision::Granted(what) => self.enqueue(Queued { what, ticket, since_ms }),
                Decision::EnterDraw(what) => self.enqueue_entry(Queued { what, ticket, since_ms }),
                Decision::DeferToRound(ordinal) => {
                    self.defer_one(ordinal, ask, ticket, (time, now));
                }
                Decision::JoinWaitlist(what) if self.entering.len() < ENTRIES_A_BLOCK => {
                    // Somebody of the party may be entering by another request.
                    let person =
                        |who| self.entering.iter().any(|e| e.what.applicants.contains(who));
                    if what.applicants.iter().any(person) {
                        self.parked.push(Queued { what: ask, ticket, since_ms });
                    } else {
                        self.entering.push_back(Queued { what, ticket, since_ms });
                    }
                }
                Decision::JoinWaitlist(_) | Decision::Retry => {
                    self.parked.push(Queued { what: ask, ticket, since_ms });
                }
            }
        }
    }

    /// The block in flight stands in the ledger: its facts count from here on.
    pub(crate) fn commit(&mut self, now: Now) {
        self.give_up_ahead(now);
        let Some(flight) = self.in_flight.take() else { return };
        let seq = flight.expected_last + 1;
        let drawn = self.drawn(&flight.block.entries);
        self.committed_ms = now.mono_ms;
        // Who was told `busy` is counted by what the commit tells.
        let are_told = self.watched.is_some() || flight.granted.is_empty();
        let staged = StagedIn { at: flight.staged_at, are_told };
        let committed = self.state.commit_around(seq, flight.block, flight.hash, staged);
        let (changes, durable) = match committed {
            Ok(committed) => committed,
            Err(damage) => return self.stop(StopReason::Damaged(damage)),
        };
        self.count(&changes);
        if !are_told {
            let staged = flight.granted.iter().flat_map(|grants| &grants.bookings);
            self.count_granted(staged.map(|(_, booking)| &**booking));
        }
        if let Some(watched) = &mut self.watched {
            watched.extend_from_slice(&changes);
        }
        if self.lifecycle == Lifecycle::Candidate && self.state.chain().epoch == self.epoch {
            self.lifecycle = Lifecycle::Active;
            self.effects.push(Effect::Active(durable.position()));
        }
        self.generation_begun(durable);
        // As things stand with this block; the next one may change them again.
        let replies: Vec<_> = flight
            .replies
            .into_iter()
            .map(|(ticket, id, reply)| self.change_answer(ticket, id, reply, durable))
            .collect();
        self.adjusted(flight.adjusted, durable);
        self.after_a_group(flight.after, now);
        // The next block leaves before this one's answers are written.
        self.send_next_block(now);
        self.effects.extend(replies);
        if !flight.tickets.is_empty() {
            let grants = grants_of(changes, flight.tickets, &drawn).into_iter();
            self.effects.extend(grants.map(|grants| Effect::Granted(grants.at(durable))));
        }
        let staged = flight.granted.into_iter();
        self.effects.extend(staged.map(|grants| Effect::Granted(grants.at(durable))));
        self.idle_if_done();
    }

    pub(crate) fn change_answer(
        &self,
        ticket: T,
        request_id: Box<str>,
        reply: ChangeReply,
        durable: Durable,
    ) -> Effect<T> {
        let outcome = match reply {
            ChangeReply::Booking(id) => {
                self.state.found(&id).map(|found| Outcome::Changed(found, durable))
            }
            ChangeReply::Entry(id) => {
                let entered = self.state.allocator().entry(&id);
                entered.map(|entered| Outcome::Entered(entered, durable))
            }
            ChangeReply::Rejected(rejection) => {
                Some(Outcome::Settled(Settled::Rejected(rejection, durable)))
            }
        };
        // What has retired with this very block is not there any more.
        let outcome = outcome.unwrap_or(Outcome::Busy);
        Effect::Answer { ticket, request_id: Some(request_id), outcome }
    }

    /// Grants that came after the opening's close entered a block: rejected once
    /// that close is durable.
    pub(crate) fn answer_late(&mut self) {
        for Queued { what, ticket, .. } in std::mem::take(&mut self.late) {
            let rejection = Rejection {
                reason: Reason::Closed,
                detail: None,
                retry_after_ms: None,
                about: None,
            };
            let outcome = Outcome::Settled(Settled::Rejected(rejection, self.state.durable()));
            self.effects.push(Effect::Answer { ticket, request_id: Some(what), outcome });
        }
    }
}
