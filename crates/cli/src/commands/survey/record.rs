//! What the ledger says, in one reading: what was done in it, and what is on record at its end.

use async_nats::jetstream::Context;
use giliran_allocator::StateMachine;
use giliran_nats::ledger;
use giliran_nats::ledger::archive::Archive;
use giliran_nats::ledger::scan::{Scanned, scan};
use giliran_wire::ledger::Reading;
use giliran_wire::ledger::journal::Journal;
use giliran_wire::subject::Namespace;

use crate::failure::Failure;

/// A ledger that was read to its end.
pub(super) struct Record {
    pub(super) journal: Journal,
    /// What is on record; none: nobody wants to know.
    pub(super) state: Option<StateMachine>,
}

impl Record {
    /// Reads the whole ledger; `keeps_state`: what is on record is wanted too.
    ///
    /// # Errors
    ///
    /// Where the broker does not tell, a generation is gone, or the ledger is damaged.
    pub(super) async fn read(
        context: &Context,
        namespace: &Namespace,
        archive: Option<&Archive>,
        keeps_state: bool,
    ) -> Result<Self, Failure> {
        let ledger = ledger::open_in(context, namespace).await?;
        let mut journal = Journal::default();
        let mut newest = keeps_state.then(Newest::default);
        let each = |read: Scanned<'_>| {
            if let Reading::Valid(block) = &read.reading {
                journal.read(read.seq, block.time, &block.entries);
            }
            match &mut newest {
                Some(newest) => newest.fold(read.chain.generation, read.seq, read.bytes),
                None => Ok(()),
            }
        };
        Box::pin(scan(&ledger, archive, each)).await?;
        Ok(Self { journal, state: newest.map(Newest::state) })
    }
}

/// The state of the newest generation that has begun: each begins with the state of the one
/// before, and while its begin is not complete that one counts.
#[derive(Default)]
struct Newest {
    /// The generation that is being read.
    generation: u32,
    begun: Option<StateMachine>,
    /// It, as long as its begin is not complete.
    begins: Option<StateMachine>,
}

impl Newest {
    fn fold(&mut self, generation: u32, seq: u64, bytes: &[u8]) -> Result<(), Failure> {
        if self.generation != generation {
            self.generation = generation;
            self.begins = Some(StateMachine::beginning_with(generation));
        }
        let Some(state) = self.begins.as_mut().or(self.begun.as_mut()) else { return Ok(()) };
        state.fold(seq, bytes)?;
        if self.begins.as_ref().is_some_and(|begins| begins.chain().is_open()) {
            self.begun = self.begins.take();
        }
        Ok(())
    }

    fn state(self) -> StateMachine {
        self.begun.or(self.begins).unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use giliran_testkit::{genesis, next_block, take_over};
    use giliran_wire::ledger::{Block, Chain, Entry, Genesis, Seal};

    use super::*;

    /// Writes blocks one behind the other, and hands each on as a scan does.
    struct Writer {
        chain: Chain,
        newest: Newest,
    }

    impl Writer {
        fn append(&mut self, entries: Vec<Entry>) {
            let generation = self.chain.generation + u32::from(self.chain.is_sealed());
            let takes_over = matches!(entries[..], [Entry::TakeOver(_)]);
            let epoch = self.chain.epoch + u64::from(takes_over);
            let block = Block { generation, epoch, ..next_block(&self.chain, entries) };
            let bytes = block.seal().bytes;
            let seq = self.chain.seq + 1;
            self.chain.read_bytes(seq, &bytes).unwrap();
            self.newest.fold(self.chain.generation, seq, &bytes).unwrap();
        }

        /// Generation and sequence of what counts.
        fn counts(&self) -> (u32, u64) {
            let chain = self.newest.begun.as_ref().unwrap().chain();
            (chain.generation, chain.seq)
        }
    }

    #[test]
    fn a_generation_counts_once_its_begin_is_complete() {
        let (chain, newest) = (Chain::new(), Newest::default());
        let mut writer = Writer { chain, newest };
        writer.append(vec![Entry::Genesis(genesis())]);
        writer.append(vec![Entry::TakeOver(take_over())]);
        assert_eq!(writer.counts(), (1, 2));
        let state = writer.newest.begun.as_ref().unwrap();
        let mut parts = state.parts(1 << 20);
        let ledger = writer.chain.ledger.unwrap();
        let next = "GILIRAN_V1_LEDGER_2".to_owned();
        let seal = Seal { ledger, next, snapshot: parts.state(), ordered: None };
        let part = parts.next(state).unwrap();
        writer.append(vec![Entry::Seal(seal)]);
        assert_eq!(writer.counts(), (1, 3));
        let continues = Some(writer.chain.hash);
        writer.append(vec![Entry::Genesis(Genesis { continues, rebuilt: None, ..genesis() })]);
        assert_eq!(writer.counts(), (1, 3), "its state is not there yet");
        writer.append(vec![Entry::Snapshot(part)]);
        assert_eq!(writer.counts(), (2, 5));
        assert_eq!(writer.newest.state().chain().seq, 5);
    }
}
