//! Grants that will be staged soon: what staging looks at is on its way from memory by then.

use giliran_allocator::StateMachine;

use crate::sequencer::Sequencer;

/// How many grants before a grant's turn its claim is fetched. Staging one takes some 300 ns,
/// memory 100.
const GRANTS_AHEAD: usize = 6;

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
        while self.bits.len() <= GRANTS_AHEAD {
            let bits = (self.random)();
            self.state.fetch_id(bits);
            self.bits.push_back(bits);
        }
    }
}
