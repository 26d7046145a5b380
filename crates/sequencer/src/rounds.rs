//! Openings with rounds: requests wait for the end of theirs, and are then
//! decided one after the other, in the order of a keyed hash.
//!
//! Rounds lie on a grid from the opening's begin on; a request belongs to the one
//! that it reaches the sequencer in. At a round's end its requests are put into
//! their [order](giliran_allocator::order::round_order). Those that get places make a
//! group of the next block, complete or void. Where they do not fit it, the rest
//! goes on in the next block as a further group of the same round. Whom a group
//! leaves nothing for is told so once that group is durable.
//!
//! A request that waits for its round has taken nothing: an engine that dies
//! leaves no trace of it, and its client asks anew.

use std::collections::{BTreeMap, VecDeque};

use giliran_allocator::{Decision, Numbered, OwnedBookingRequest, PendingGrant, Settled, order};
use giliran_wire::Timestamp;
use giliran_wire::ledger::{DrawRecord, Entry, MAX_BLOCK_BYTES, Order};

use crate::block_builder::{BlockDraft, HOLD_BYTES, grant_bytes};
use crate::effect::{Effect, Now, Outcome};
use crate::queued::Queued;
use crate::queued::is_overdue;
use crate::sequencer::{Lifecycle, Sequencer};

/// Bytes of a group's begin and end.
const GROUP_BYTES: usize = 64;

/// The rounds of all openings that have them, by ordinal.
#[derive(Debug)]
pub(crate) struct Rounds<T>(BTreeMap<u32, OpeningRounds<T>>);

#[derive(Debug)]
struct OpeningRounds<T> {
    /// Rounds that have not been begun to be decided, the next to end first.
    collecting: VecDeque<Round<T>>,
    /// The round that is being decided.
    line: Option<RankedRound<T>>,
}

#[derive(Debug)]
struct Round<T> {
    ends_at: Timestamp,
    /// The same on the monotonic clock. It ends by the clock that says so first: engine
    /// time stands still where it is ahead of the wall clock, and rounds do not wait for
    /// that.
    due_ms: u64,
    asks: Vec<(OwnedBookingRequest, T)>,
}

#[derive(Debug)]
struct RankedRound<T> {
    number: u64,
    due_ms: u64,
    /// Not decided yet, in order.
    asks: VecDeque<(OwnedBookingRequest, T)>,
}

impl<T> Rounds<T> {
    pub(crate) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Requests that wait for the end of a round.
    pub(crate) fn len(&self) -> usize {
        let of = |rounds: &OpeningRounds<T>| {
            let collecting: usize = rounds.collecting.iter().map(|round| round.asks.len()).sum();
            collecting + rounds.line.as_ref().map_or(0, |line| line.asks.len())
        };
        self.0.values().map(of).sum()
    }

    /// When the next round ends, by engine time and on the monotonic clock; none: nobody
    /// waits.
    pub(crate) fn next_end(&self) -> Option<(Timestamp, u64)> {
        let next = self.0.values().filter_map(|rounds| rounds.collecting.front());
        next.map(|round| (round.ends_at, round.due_ms)).min()
    }

    /// True while a round of this opening has been decided in part.
    pub(crate) fn is_deciding(&self) -> bool {
        self.0.values().any(|rounds| rounds.line.is_some())
    }

    /// True while requests of this opening wait.
    pub(crate) fn are_open(&self, ordinal: u32) -> bool {
        self.0.contains_key(&ordinal)
    }

    /// Those whose round has ended too long ago: they do not wait any more.
    pub(crate) fn take_overdue(&mut self, now: Now) -> Vec<(OwnedBookingRequest, T)> {
        let mut overdue = Vec::new();
        for rounds in self.0.values_mut() {
            if let Some(line) = rounds.line.take_if(|line| is_overdue(line.due_ms, now)) {
                overdue.extend(line.asks);
            }
            while let Some(round) =
                rounds.collecting.pop_front_if(|round| is_overdue(round.due_ms, now))
            {
                overdue.extend(round.asks);
            }
        }
        self.0.retain(|_, of| of.line.is_some() || !of.collecting.is_empty());
        overdue
    }

    /// Everybody who waits; nobody does any more.
    pub(crate) fn take(&mut self) -> Vec<(OwnedBookingRequest, T)> {
        let rounds = std::mem::take(&mut self.0).into_values();
        let all = rounds.flat_map(|rounds| {
            let line = rounds.line.into_iter().flat_map(|line| line.asks);
            line.chain(rounds.collecting.into_iter().flat_map(|round| round.asks))
        });
        all.collect()
    }
}

impl<T> Sequencer<T> {
    /// Requests for openings with rounds, in the order they came.
    pub fn defer_to_round(
        &mut self,
        asks: impl IntoIterator<Item = (u32, OwnedBookingRequest, T)>,
        now: Now,
    ) {
        if self.lifecycle != Lifecycle::Active {
            return;
        }
        let time = self.state.allocator().engine_time(self.time(now));
        for (ordinal, ask, ticket) in asks {
            self.defer_one(ordinal, ask, ticket, (time, now));
        }
    }

    pub(crate) fn defer_one(
        &mut self,
        ordinal: u32,
        ask: OwnedBookingRequest,
        ticket: T,
        (time, now): (Timestamp, Now),
    ) {
        let ends_at = self.ends_at(ordinal, time);
        let rounds = self.rounds.0.entry(ordinal);
        let rounds = rounds.or_insert(OpeningRounds { collecting: VecDeque::new(), line: None });
        match rounds.collecting.back_mut() {
            Some(round) if round.ends_at >= ends_at => round.asks.push((ask, ticket)),
            _ => {
                let due_ms = now.mono_ms + ends_at.millis_since(time);
                rounds.collecting.push_back(Round { ends_at, due_ms, asks: vec![(ask, ticket)] });
            }
        }
    }

    /// When the round that this moment lies in ends.
    pub(crate) fn ends_at(&self, ordinal: u32, time: Timestamp) -> Timestamp {
        let openings = self.state.allocator().openings();
        let Some(opening) = openings.get(ordinal) else { return time };
        let Order::Rounds { length_ms } = opening.record().rules.order else { return time };
        let (opens_at, closes_at) = opening.window();
        let rounds = time.millis_since(opens_at) / length_ms.max(1) + 1;
        opens_at.plus_millis(rounds * length_ms).min(closes_at)
    }

    /// Groups of rounds that have ended. False: the block is full, and a round
    /// goes on in the next one.
    pub(crate) fn gather_rounds(
        &mut self,
        block: &mut BlockDraft<T>,
        (time, now): (Timestamp, Now),
    ) -> bool {
        let mut all = true;
        for ordinal in self.rounds.0.keys().copied().collect::<Vec<_>>() {
            while let Some(mut line) = self.next_line(ordinal, block, (time, now)) {
                all = self.gather_group(ordinal, &mut line, block, time);
                if !all {
                    if let Some(rounds) = self.rounds.0.get_mut(&ordinal) {
                        rounds.line = Some(line);
                    }
                    return false;
                }
                // A round of whom nobody got anything leaves no group.
                if block.has_group(ordinal) {
                    break;
                }
            }
            self.rounds.0.retain(|_, of| of.line.is_some() || !of.collecting.is_empty());
        }
        all
    }

    /// The round of an opening that is to be decided now.
    fn next_line(
        &mut self,
        ordinal: u32,
        block: &BlockDraft<T>,
        (time, now): (Timestamp, Now),
    ) -> Option<RankedRound<T>> {
        let rounds = self.rounds.0.get_mut(&ordinal)?;
        if let Some(line) = rounds.line.take() {
            return Some(line);
        }
        let has_ended = |round: &Round<T>| round.ends_at <= time || round.due_ms <= now.mono_ms;
        let ended = rounds.collecting.front().is_some_and(has_ended);
        let round = if ended { rounds.collecting.pop_front() } else { None }?;
        let number = self.state.groups(ordinal) + 1 + u64::from(block.has_group(ordinal));
        let seed = self.state.seed(ordinal, &self.order_key);
        let parties = round.asks.iter().map(|(ask, _)| ask.applicants());
        let order = order::round_order(&seed, number, parties);
        let mut asks: Vec<Option<(OwnedBookingRequest, T)>> =
            round.asks.into_iter().map(Some).collect();
        let asks = order.into_iter().filter_map(|i| asks[i].take()).collect();
        Some(RankedRound { number, due_ms: round.due_ms, asks })
    }

    /// The next group of a round; false: the block is full.
    fn gather_group(
        &mut self,
        ordinal: u32,
        line: &mut RankedRound<T>,
        block: &mut BlockDraft<T>,
        time: Timestamp,
    ) -> bool {
        let mut grants: Vec<Entry> = Vec::new();
        let mut room = MAX_BLOCK_BYTES.saturating_sub(block.bytes + GROUP_BYTES);
        let mut all = true;
        block.serves(line.due_ms);
        while let Some((ask, ticket)) = line.asks.pop_front() {
            let Decision::Granted(mut grant) =
                self.state.allocator().decide_in_round(&ask.ask(), time)
            else {
                block.after.push((ask, ticket));
                continue;
            };
            let bytes = grant_bytes(&grant.as_grant()) + HOLD_BYTES;
            if bytes > room {
                drop(grant);
                line.asks.push_front((ask, ticket));
                all = false;
                break;
            }
            if !self.number(&mut grant, time) {
                self.answer_asked(&ask, ticket, Outcome::Busy);
                continue;
            }
            room -= bytes;
            block.tickets.push(ticket);
            grants.push(Entry::Grant(grant.enter().as_grant().to_owned()));
        }
        if grants.is_empty() {
            return all;
        }
        let (opening, round) = (ordinal, line.number);
        let begin = DrawRecord::GroupBegin { opening, round, grants: grants.len() as u64 };
        block.push(Entry::Draw(begin));
        grants.into_iter().for_each(|grant| block.push(grant));
        block.push(Entry::Draw(DrawRecord::GroupEnd { opening, round }));
        all
    }

    /// Gives a grant its id, its numbers and its hold; false: the place is not
    /// available any more.
    pub(crate) fn number(&mut self, grant: &mut PendingGrant, time: Timestamp) -> bool {
        loop {
            match self.state.assign_numbers(grant, time, self.random.next()) {
                Numbered::Done => return true,
                Numbered::IdTaken => {}
                Numbered::NoRoom => return false,
            }
        }
    }

    /// The group that left nothing for these is durable.
    pub(crate) fn after_a_group(&mut self, after: Vec<(OwnedBookingRequest, T)>, now: Now) {
        let time = self.state.allocator().engine_time(self.time(now));
        for (ask, ticket) in after {
            match self.state.allocator().decide_in_round(&ask.ask(), time) {
                Decision::Settled(settled) => {
                    self.answer_asked(&ask, ticket, Outcome::Settled(settled));
                }
                Decision::Granted(grant) => {
                    // Something has come back with that very block: for the next
                    // round.
                    self.defer_one(grant.opening, ask, ticket, (time, now));
                }
                Decision::EnterDraw(_) => {
                    self.answer_asked(&ask, ticket, Outcome::Busy);
                }
                Decision::JoinWaitlist(_) | Decision::DeferToRound(_) | Decision::Retry => {
                    self.parked.push(Queued::new(ask, ticket, now));
                }
            }
        }
    }

    pub(crate) fn answer_asked(&mut self, ask: &OwnedBookingRequest, ticket: T, outcome: Outcome) {
        if let Outcome::Settled(Settled::Rejected(rejection, _)) = &outcome {
            let now = self.state.allocator().engine_time(Timestamp::from_millis(0));
            self.count_rejection(rejection, ask.channel(), now);
        }
        let request_id = Some(ask.request_id().into());
        self.effects.push(Effect::Answer { ticket, request_id, outcome });
    }
}
