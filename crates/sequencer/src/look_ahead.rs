//! Grants that will be staged soon: what staging looks at is on its way from memory by then.

use std::collections::VecDeque;

use giliran_allocator::StateMachine;

use crate::sequencer::Sequencer;

/// How many grants before a grant's turn its claim is fetched. Staging one takes some 300 ns,
/// memory 100.
const GRANTS_AHEAD: usize = 6;

/// Random bits, of which those for the ids of grants are drawn a little ahead.
pub(crate) struct Random {
    source: Box<dyn FnMut() -> u128 + Send>,
    /// For the next grants that are staged.
    ahead: VecDeque<u128>,
}

impl Random {
    pub(crate) const fn new(source: Box<dyn FnMut() -> u128 + Send>) -> Self {
        Self { source, ahead: VecDeque::new() }
    }

    pub(crate) fn next(&mut self) -> u128 {
        (self.source)()
    }

    /// For a grant's id.
    pub(crate) fn of_grant(&mut self) -> u128 {
        self.ahead.pop_front().unwrap_or_else(&mut *self.source)
    }

    fn draw_ahead(&mut self) -> u128 {
        let bits = (self.source)();
        self.ahead.push_back(bits);
        bits
    }
}

impl<T> Sequencer<T> {
    /// Grants are about to be staged, the first of which were not looked ahead to.
    pub(crate) fn begin_to_look_ahead(&self) {
        self.queue
            .iter()
            .take(2 * GRANTS_AHEAD)
            .for_each(|far| StateMachine::fetch_booking(&far.what));
        self.queue.iter().take(GRANTS_AHEAD).for_each(|near| self.state.fetch_claim(&near.what));
    }

    /// The first grant of the queue is about to be staged: has what comes later fetched.
    pub(crate) fn look_ahead(&mut self) {
        if let Some(far) = self.queue.get(2 * GRANTS_AHEAD) {
            StateMachine::fetch_booking(&far.what);
        }
        if let Some(near) = self.queue.get(GRANTS_AHEAD) {
            self.state.fetch_claim(&near.what);
        }
        // For those that wait and no more: whoever takes bits next has them fresh.
        while self.random.ahead.len() < self.queue.len().min(GRANTS_AHEAD) {
            self.state.fetch_id(self.random.draw_ahead());
        }
    }
}
