//! A way out where the ledger is damaged: its good blocks, and a next generation that
//! goes on behind them.
//!
//! Nothing is deleted, and no sequence comes twice: the damaged stream stays as it is,
//! the next one begins beyond its tail, with a genesis that says by whom, why and at
//! which sequence, and with the state of the good blocks as its snapshot. It is written
//! by a writer of its own, under the next epoch, so that nobody who wrote before can go
//! on there.

use futures_util::StreamExt;
use giliran_allocator::StateMachine;
use giliran_nats::ledger::Ledger;
use giliran_wire::WriterNonce;
use giliran_wire::ledger::{Block, Damage, Entry, FORMAT, Genesis, Rebuilt, Signed};

/// Why a ledger is not rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    Broker(#[from] giliran_nats::Error),
    /// What was written cannot be read as it should be.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// There is nothing to mend.
    #[error("{0} can be read to its end, sequence {1}: there is nothing to rebuild")]
    Fine(String, u64),
    /// Nothing good is left to go on from.
    #[error("not even the begin of {0} can be read: restore the stream from a replica or a backup")]
    NothingGood(String),
    /// What was written is not what was read.
    #[error("{0}, as it was rebuilt, does not give the state that it was rebuilt from")]
    Differs(String),
    /// A stream of that name is in the way.
    #[error(
        "stream {0} holds blocks that do not continue what is good: see who made it, and delete it \
         as an administrator if it is nobody's"
    )]
    InTheWay(String),
}

/// What is wrong with a ledger, and what of it is good.
#[derive(Debug)]
pub struct Damaged {
    ledger: Ledger,
    state: StateMachine,
    /// What the reader says who stops there.
    pub what: String,
    /// The sequence at which it stops.
    pub damaged_at: u64,
    /// The stream's last sequence.
    pub tail: u64,
    /// Blocks of this ledger from the damage on, which will not count any more.
    pub left_blocks: u64,
    pub left_grants: u64,
}

impl Damaged {
    /// Reads the newest generation that can be begun with, up to where it is damaged.
    ///
    /// # Errors
    ///
    /// [`RebuildError`]; [`RebuildError::Fine`] where it is not damaged.
    pub async fn find(ledger: &Ledger) -> Result<Self, RebuildError> {
        let ledger = ledger.newest().await?.newest_begun().await?;
        let (_, tail) = ledger.tail().await?;
        let (_, damage) = fold(&ledger, tail).await?;
        let Some((damaged_at, what)) = damage else {
            return Err(RebuildError::Fine(ledger.name().to_owned(), tail));
        };
        // The state is not to be used in which the damage was met.
        let (state, again) = fold(&ledger, damaged_at - 1).await?;
        if again.is_some() || !state.chain().is_open() || state.genesis().is_none() {
            return Err(RebuildError::NothingGood(ledger.name().to_owned()));
        }
        let (mut left_blocks, mut left_grants) = (0, 0);
        let mut left = ledger.blocks(damaged_at, tail);
        while let Some(message) = left.next().await {
            if let Ok((block, _)) = Block::open(&message?.1)
                && state.chain().ledger == Some(block.ledger)
            {
                left_blocks += 1;
                let grants = block.entries.iter().filter(|entry| matches!(entry, Entry::Grant(_)));
                left_grants += grants.count() as u64;
            }
        }
        drop(left);
        Ok(Self { ledger, state, what, damaged_at, tail, left_blocks, left_grants })
    }

    pub fn stream(&self) -> &str {
        self.ledger.name()
    }

    /// The stream that the ledger will go on in.
    pub fn next_stream(&self) -> String {
        self.ledger.stream_of(self.ledger.generation() + 1)
    }

    /// Sequence of the last good block.
    pub fn good_until(&self) -> u64 {
        self.state.chain().valid_seq
    }

    /// Number of the last good block: how many there are.
    pub fn good_blocks(&self) -> u64 {
        self.state.chain().number
    }

    /// Bookings in the state that the ledger goes on with.
    pub fn bookings(&self) -> usize {
        self.state.allocator().bookings()
    }

    /// Writes the next generation's begin, in parts of so many bytes, and reads it back;
    /// its stream and last sequence. What an earlier try has left unfinished is
    /// finished, under the name and reason that stand there.
    ///
    /// # Errors
    ///
    /// [`RebuildError`]. Nothing counts before the begin is complete, so it can be tried
    /// again.
    pub async fn rebuild(
        mut self,
        signed: Signed,
        writer: WriterNonce,
        part_bytes: usize,
    ) -> Result<(String, u64), RebuildError> {
        let next = self.next().await?;
        let in_the_way = || RebuildError::InTheWay(next.name().to_owned());
        let (_, stored) = next.tail().await?;
        let mut parts = self.state.parts(part_bytes);
        let mut there = next.blocks(next.first(), stored);
        while let Some(message) = there.next().await {
            let (seq, bytes) = message?;
            self.read_begin(seq, &bytes).map_err(|_| in_the_way())?;
            parts.next(&self.state).ok_or_else(in_the_way)?;
        }
        drop(there);
        while let Some(part) = parts.next(&self.state) {
            let chain = self.state.chain();
            let has_begun = chain.generation == next.generation();
            let mut entries = Vec::new();
            if !has_begun {
                let Signed { operator, reason } = signed.clone();
                let rebuilt = Some(Rebuilt { operator, reason, damaged_at: self.damaged_at });
                let genesis = self.state.genesis().expect("looked at before").clone();
                entries.push(Entry::Genesis(Genesis {
                    continues: Some(chain.hash),
                    rebuilt,
                    ..genesis
                }));
            }
            entries.push(Entry::Snapshot(part));
            let block = Block {
                format: FORMAT,
                ledger: chain.ledger.expect("looked at before"),
                generation: next.generation(),
                number: chain.number + 1,
                epoch: chain.epoch + u64::from(!has_begun),
                writer: if has_begun { chain.writer } else { writer },
                time: chain.time,
                previous: chain.hash,
                entries,
            };
            let last = if has_begun { chain.seq } else { next.first() - 1 };
            let bytes = bytes::Bytes::from(block.seal().bytes);
            let seq = next.append(last, bytes.clone()).await?;
            self.read_begin(seq, &bytes)?;
        }
        self.compare(&next).await?;
        Ok((next.name().to_owned(), self.state.chain().seq))
    }

    /// The next generation's stream; made where it is missing.
    async fn next(&self) -> Result<Ledger, RebuildError> {
        if let Some(next) = self.ledger.of_generation(self.ledger.generation() + 1).await? {
            let (_, last) = next.tail().await?;
            if last >= next.first() {
                return Ok(next);
            }
        }
        Ok(self.ledger.make_next().await?)
    }

    /// Reads a block of the next generation as every reader will.
    fn read_begin(&mut self, seq: u64, bytes: &[u8]) -> Result<(), Damage> {
        if let Ok((begin, _)) = Block::open(bytes) {
            self.state.goes_on_in(&begin)?;
        }
        self.state.fold(seq, bytes).map(drop)
    }

    /// Whoever has nothing but the next generation must come to the same state.
    async fn compare(&self, next: &Ledger) -> Result<(), RebuildError> {
        let (_, tail) = next.tail().await?;
        let (alone, damage) = fold(next, tail).await?;
        let same = alone.state_hash() == self.state.state_hash();
        if damage.is_none() && same && alone.chain().is_open() && self.state.chain().is_open() {
            Ok(())
        } else {
            Err(RebuildError::Differs(next.name().to_owned()))
        }
    }
}

/// Folds a generation from its begin to a sequence; where it is damaged before, and how.
async fn fold(
    ledger: &Ledger,
    to: u64,
) -> Result<(StateMachine, Option<(u64, String)>), giliran_nats::Error> {
    let mut state = StateMachine::beginning_with(ledger.generation());
    let mut blocks = ledger.blocks(ledger.first(), to);
    while let Some(message) = blocks.next().await {
        let (seq, bytes) = message?;
        if let Err(damage) = state.fold(seq, &bytes) {
            return Ok((state, Some((damage.seq.min(seq), damage.to_string()))));
        }
    }
    Ok((state, None))
}
