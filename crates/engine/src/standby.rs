//! An engine that does not serve: it follows the ledger, and waits for the lease.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use giliran_allocator::StateMachine;
use giliran_nats::ErrorKind;
use giliran_nats::clock::{self, Moment};
use giliran_nats::follower::Follower;
use giliran_nats::lease::{Held, Lease};
use giliran_nats::ledger::Ledger;
use giliran_nats::state::State;
use giliran_nats::watch::Mark;
use giliran_wire::BlockHash;
use giliran_wire::ledger::{Block, BlockError, Chain, Damage, Signed};
use tokio_util::sync::CancellationToken;

use crate::context::EngineContext;
use crate::error::EngineError;
use crate::lease_guard::LEASE_TTL;
use crate::snapshot::Snapshots;
use crate::witness;

/// Most blocks folded between two looks at the outside.
const FOLD_BLOCKS: usize = 1_024;
/// From so many messages on another thread opens them.
const WORTH_A_THREAD: usize = 8;
/// How many it is ahead at most: each may be half a megabyte, and more when it is decoded.
const OPENED_AHEAD: usize = 8;
/// How long a follower waits for the next block before it looks at the lease.
const FOLLOW_WAIT: Duration = Duration::from_millis(100);
/// Where no block has come for so long, a standby has time to write a snapshot: an engine
/// that had died before would have lost its lease by then.
const QUIET: Duration = LEASE_TTL.saturating_mul(3);
/// How long a candidate may take to read up to the ledger's end; then another one
/// may be better off.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(2);

/// What a standby goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standby<'a> {
    pub(crate) engine: &'a EngineContext,
    pub(crate) snapshots: &'a Snapshots,
}

impl Standby<'_> {
    /// Checks the ledger against the mark, reads it to its end, and checks it against
    /// the key; false: asked to stop meanwhile.
    pub(crate) async fn start(
        &self,
        state: &mut StateMachine,
        follower: &mut Follower,
        shutdown: &CancellationToken,
    ) -> Result<bool, EngineError> {
        if let Some(mark) = self.engine.high_water.read()? {
            self.engine.health.watch().hold(Some(mark));
            self.engine.health.watch().confirm(&mark).await?;
        }
        let end = End::of(follower.ledger()).await?;
        let started = Instant::now();
        let mut read = 0;
        while !end.is_reached(state.chain()) {
            if shutdown.is_cancelled() {
                return Ok(false);
            }
            read += self.follow(state, follower).await?;
            self.engine.health.stands(state.chain());
        }
        let genesis = state.genesis().ok_or(EngineError::NoGenesis)?;
        let (made_with, own) = (genesis.applicant_key, self.engine.options.key.fingerprint());
        if made_with != own {
            return Err(EngineError::OtherKey { ledger: made_with, own });
        }
        knows_zones(state)?;
        tracing::info!(
            blocks = read,
            generation = state.chain().generation,
            bookings = state.allocator().bookings(),
            entries = state.allocator().entries(),
            millis = started.elapsed().as_millis() as u64,
            "ledger read"
        );
        Ok(true)
    }

    /// Follows the ledger until it has the lease; `None`: asked to stop.
    pub(crate) async fn stand_by(
        &self,
        state: &mut StateMachine,
        follower: &mut Follower,
        (lease, written): (&Lease, &mut u64),
        shutdown: &CancellationToken,
    ) -> Result<Option<Held>, EngineError> {
        loop {
            if shutdown.is_cancelled() {
                return Ok(None);
            }
            if let Some(wrong) = self.distrusted_clock() {
                self.engine.health.set_state(State::ClockWrong, wrong);
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return Ok(None),
                    passed = self.pass(state, follower) => passed?,
                };
                continue;
            }
            match lease.acquire(LEASE_TTL).await {
                Ok(Some(held)) => return Ok(Some(held)),
                Ok(None) => {
                    self.engine.health.set_state(State::Standby, "");
                    // Another engine serves: there is time.
                    self.snapshots.write(state, written);
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    // Where NATS or the ledger is away, the watch says so.
                    tracing::debug!(%error, "the lease cannot be asked for; trying on");
                }
                Err(error) => {
                    self.engine.health.set_state(State::of(error.kind()), error.to_string());
                }
            }
            let mut free = Box::pin(lease.freed());
            let mut last_block = Instant::now();
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return Ok(None),
                    () = &mut free => break,
                    passed = self.pass(state, follower) => if passed? > 0 {
                        last_block = Instant::now();
                    },
                }
                // A standby may wait for weeks, and be the one that starts anew.
                if last_block.elapsed() > QUIET && self.engine.health.reports().is(State::Standby) {
                    self.snapshots.write_by_and_by(state, written);
                }
                if self.engine.health.reports().is(State::Standby) {
                    let doubt = state.chain().doubt.map(|doubt| format!("behind {doubt}"));
                    self.engine.health.set_state(State::Standby, doubt.unwrap_or_default());
                }
            }
        }
    }

    /// Follows for a moment, and shows how far it has come; how many blocks there were.
    async fn pass(
        &self,
        state: &mut StateMachine,
        follower: &mut Follower,
    ) -> Result<u64, EngineError> {
        let read = self.follow(state, follower).await?;
        self.engine.publish_gauges(state.chain(), state.allocator());
        if self.engine.beside.is_due() {
            // What is missing is for the one that serves to put on record.
            drop(self.engine.due_openings(clock::now(), state));
        }
        self.engine.marker.check()?;
        Ok(read)
    }

    /// Why this machine's clock is not to be believed, by what the watch has seen; none:
    /// it is, or somebody answers for it.
    fn distrusted_clock(&self) -> Option<String> {
        let seen = self.engine.health.watch().seen();
        let wrong = witness::wrong(clock::now(), seen.clock_offset_ms, seen.last_stored);
        wrong.filter(|_| self.engine.options.trust_clock.is_none())
    }

    /// The last word before a take-over, by the lease's own record: who answers for a
    /// clock that is off, if it is; an error where nobody does.
    pub(crate) fn believes_its_clock(&self, held: &Held) -> Result<Option<Signed>, ()> {
        let (now, offset) = (clock::now(), Some(held.clock_offset_ms()));
        let seen = self.engine.health.watch().seen();
        match (witness::wrong(now, offset, seen.last_stored), &self.engine.options.trust_clock) {
            (None, _) => Ok(None),
            (Some(wrong), None) => {
                self.engine.health.set_state(State::ClockWrong, wrong);
                Err(())
            }
            (Some(_), Some(signed)) => {
                let Signed { operator, reason } = signed;
                tracing::warn!(operator, reason, "taking over by a clock that the broker denies");
                Ok(Some(signed.clone()))
            }
        }
    }

    /// Reads up to the ledger's end as its leader tells it, and finds the last block
    /// there. False: not now, another candidate may be better off.
    pub(crate) async fn catch_up(
        &self,
        state: &mut StateMachine,
        follower: &mut Follower,
    ) -> Result<bool, EngineError> {
        let since = Moment::now();
        let end = match End::of(follower.ledger()).await {
            Err(EngineError::Broker(error)) if error.kind() == ErrorKind::Unavailable => {
                return Ok(false);
            }
            end => end?,
        };
        // Who tells of an end within the begin that was read from has yet to hear of the rest.
        while !end.is_reached(state.chain()) || !state.is_whole() {
            if since.elapsed() > CATCH_UP_WITHIN {
                tracing::warn!("the ledger's end is out of reach; giving the lease back");
                return Ok(false);
            }
            self.follow(state, follower).await?;
        }
        let Some(mark) = Mark::of(state.chain()) else { return Ok(false) };
        self.engine.health.watch().hold(Some(mark));
        match self.engine.health.watch().confirm(&mark).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Unavailable => Ok(false),
            // Nobody takes over on a ledger that does not hold what was read from it.
            Err(error) => Err(error.into()),
        }
    }

    /// Folds what there is, or waits a moment for more; how many blocks there were.
    /// Goes on in the next stream where this one is sealed.
    async fn follow(
        &self,
        state: &mut StateMachine,
        follower: &mut Follower,
    ) -> Result<u64, EngineError> {
        let blocks = follower.next(state.chain(), FOLD_BLOCKS, FOLLOW_WAIT).await?;
        let read = blocks.len() as u64;
        let fold = || {
            opened_ahead(&blocks, |seq, bytes, opened| {
                let foreign = state.follow(seq, bytes, opened)?;
                foreign.iter().for_each(|foreign| self.engine.report(foreign));
                Ok(())
            })
        };
        // A seal has the whole state hashed: other tasks do not wait for that.
        tokio::task::block_in_place(fold)?;
        let goes_on = match follower.rebuilt() {
            Some(begin) => state.goes_on_in(begin)?,
            None => false,
        };
        let chain = state.chain();
        if chain.is_sealed() || goes_on {
            follower.pass_seal(chain.generation, chain.seq).await?;
        }
        Ok(read)
    }
}

/// What [`Block::open`] makes of a message.
type Opened = Result<(Block, BlockHash), BlockError>;

/// Hands on messages with what they hold. Of many, another thread checks and decodes some
/// ahead: that takes a third of the time that it takes to apply them.
fn opened_ahead(
    messages: &[(u64, Bytes)],
    mut each: impl FnMut(u64, &[u8], Opened) -> Result<(), Damage>,
) -> Result<(), Damage> {
    if messages.len() < WORTH_A_THREAD {
        return messages.iter().try_for_each(|(seq, bytes)| each(*seq, bytes, Block::open(bytes)));
    }
    std::thread::scope(|scope| {
        let (ahead, opened) = mpsc::sync_channel(OPENED_AHEAD);
        let open = move || {
            // Until nobody listens any more, since one of them was damaged.
            messages.iter().all(|(_, bytes)| ahead.send(Block::open(bytes)).is_ok())
        };
        if std::thread::Builder::new().spawn_scoped(scope, open).is_err() {
            // The system gives no thread.
            return messages
                .iter()
                .try_for_each(|(seq, bytes)| each(*seq, bytes, Block::open(bytes)));
        }
        let mut opened = messages.iter().zip(&opened);
        opened.try_for_each(|((seq, bytes), opened)| each(*seq, bytes, opened))
    })
}

/// Whether this release knows the time zones of all openings in memory: another one
/// may have put them on record.
pub(crate) fn knows_zones(state: &StateMachine) -> Result<(), EngineError> {
    let openings = state.allocator().openings();
    match openings.iter().find(|opening| !opening.zone_is_known()) {
        None => Ok(()),
        Some(opening) => Err(EngineError::UnknownZone {
            opening: opening.id().to_owned(),
            timezone: opening.record().timezone.clone(),
        }),
    }
}

/// Where the ledger ended when it was looked at.
struct End {
    generation: u32,
    seq: u64,
    /// The newest stream holds nothing yet: the seal before it was the end.
    empty: bool,
}

impl End {
    /// The end of the newest generation, from this one on.
    async fn of(ledger: &Ledger) -> Result<Self, EngineError> {
        let newest = ledger.newest().await?;
        let (first, seq) = newest.tail().await?;
        Ok(Self { generation: newest.generation(), seq, empty: first > seq })
    }

    fn is_reached(&self, chain: &Chain) -> bool {
        // Nothing counts that stands behind a seal. A stream that is empty ends before
        // its first sequence, which lies beyond the seal.
        let sealed_last = chain.generation + u32::from(self.empty) == self.generation;
        chain.seq >= self.seq || (chain.is_sealed() && sealed_last)
    }
}

#[cfg(test)]
mod tests {
    use giliran_testkit::LedgerBuilder;
    use giliran_wire::Timestamp;
    use giliran_wire::ledger::Stage;

    use super::*;

    /// A ledger with an opening in this time zone.
    fn with_zone(timezone: &str) -> StateMachine {
        let at = Timestamp::from_millis(1_795_762_800_000);
        let mut record = giliran_config::dev(at).due(at, 0).remove(0);
        record.timezone = timezone.into();
        LedgerBuilder::with([record], at).folded()
    }

    /// It would else begin its days by another clock than the one who wrote it.
    #[test]
    fn nobody_serves_an_opening_whose_zone_it_does_not_know() {
        assert!(knows_zones(&with_zone("Asia/Jakarta")).is_ok());
        let refused = knows_zones(&with_zone("Asia/Atlantis")).unwrap_err().to_string();
        assert!(refused.contains("opening dev on record has the time zone"), "{refused}");
        assert!(refused.contains("Asia/Atlantis"), "{refused}");
    }

    #[test]
    fn a_seal_is_the_end_where_nothing_stands_behind_it() {
        let sealed = Chain { generation: 3, seq: 57, stage: Stage::Sealed, ..Chain::new() };
        let end = |generation, seq, empty| End { generation, seq, empty };
        // The sealer died before the next stream's first block.
        assert!(end(4, 1_056, true).is_reached(&sealed));
        assert!(!end(4, 1_057, false).is_reached(&sealed));
        // A deposed writer appended behind the seal.
        assert!(end(3, 58, false).is_reached(&sealed));
        let open = Chain { stage: Stage::Open, ..sealed };
        assert!(!end(3, 58, false).is_reached(&open));
        assert!(!end(4, 1_056, true).is_reached(&open));
        assert!(end(3, 57, false).is_reached(&open));
    }
}
