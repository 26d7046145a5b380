//! Whether the ground holds: a look at the ledger's stream about once a second,
//! beside whatever a process does with it.
//!
//! The look asks the stream's leader where the stream ends, and holds that
//! against the last block that the process has read or written. After each
//! reconnection, change of leader and new making of the stream, and now and then
//! besides, that block is read back and compared by its hash: a stream that lost
//! its tail uses the same sequences again. What it finds is published, and logged
//! when it changes: NATS away, the stream without a leader, blocks lost, another
//! ledger. It goes on looking, so what has passed is seen to have passed.
//!
//! The same look tells how far behind the process is, in blocks and in time, and
//! how far the machine's clock is from the broker's.

mod judge;
mod look;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::{self, Context};
use giliran_wire::ledger::Chain;
use giliran_wire::subject::Namespace;
use giliran_wire::{BlockHash, LedgerId, Timestamp};
use tokio::sync::{Notify, watch};

use crate::clock::Moment;
use crate::connection::connects;
use crate::state::{Report, State};
use crate::{Error, ErrorKind};

/// How long the broker may take to answer a look. Two that stay without an answer
/// are told, within three seconds of the first silence.
const ANSWERS_WITHIN: Duration = Duration::from_millis(800);

/// The last valid block that a process has read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub ledger: LedgerId,
    /// The generation whose stream holds the block.
    pub generation: u32,
    pub seq: u64,
    pub hash: BlockHash,
}

impl Mark {
    /// The mark of a ledger read this far; none before genesis.
    pub fn of(chain: &Chain) -> Option<Self> {
        let Chain { generation, valid_seq: seq, hash, .. } = *chain;
        chain.ledger.map(|ledger| Self { ledger, generation, seq, hash })
    }
}

/// What the looks have found up to now.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What keeps the process from its work; none: nothing.
    pub trouble: Option<Report>,
    /// The ledger's last sequence, as last seen.
    pub tail: u64,
    /// When the broker stored the ledger's last block, by its own clock.
    pub last_stored: Option<Timestamp>,
    /// Blocks between where the process stands and there. At least so many, where
    /// it is not known where it stands.
    pub lag_blocks: u64,
    /// When the broker stored the first of them.
    waiting_since: Option<Timestamp>,
    /// What the broker's clock said, and when it was asked.
    broker_clock: Option<(Timestamp, Moment)>,
    /// How far this machine's clock is ahead of the broker's, in ms; below 0:
    /// behind. As exact as the answer was quick.
    pub clock_offset_ms: Option<i64>,
    /// Counts what may have mended something: reconnections, changes of leader,
    /// streams made anew, generations.
    pub turns: u64,
}

impl Seen {
    /// How long the first block has waited that the process has not done yet, by the
    /// broker's clock.
    pub fn lag(&self) -> Duration {
        match (self.waiting_since, self.broker_clock) {
            (Some(since), Some((asked, at))) if self.lag_blocks > 0 => {
                Duration::from_millis(asked.millis_since(since)) + at.elapsed()
            }
            _ => Duration::ZERO,
        }
    }
}

/// The watch beside a process. Clones are the same one; it ends with the last.
#[derive(Debug, Clone)]
pub struct LedgerWatch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Client,
    /// Waits no longer for an answer than a look may take.
    context: Context,
    namespace: Namespace,
    part: &'static str,
    stand: Mutex<SnapshotHeader>,
    seen: watch::Sender<Seen>,
    /// A look is wanted at once.
    wake: Arc<Notify>,
}

/// Where the process stands.
#[derive(Debug, Clone, Copy, Default)]
struct SnapshotHeader {
    mark: Option<Mark>,
    /// Generation and sequence up to which its work is done.
    done: Option<(u32, u64)>,
}

impl LedgerWatch {
    /// Begins to look, in the name of `part`.
    pub fn start(client: &Client, namespace: &Namespace, part: &'static str) -> Self {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(ANSWERS_WITHIN);
        let shared = Arc::new(Shared {
            client: client.clone(),
            context,
            namespace: namespace.clone(),
            part,
            stand: Mutex::default(),
            seen: watch::Sender::new(Seen::default()),
            wake: Arc::default(),
        });
        tokio::spawn(look::on(Arc::downgrade(&shared)));
        Self(shared)
    }

    /// The process has read or written so much. What it has once held it goes on
    /// holding: a mark that is behind the one known changes nothing.
    pub fn hold(&self, mark: Option<Mark>) {
        let Some(mark) = mark else { return };
        let mut stand = self.0.stand();
        let place = |mark: Mark| (mark.generation, mark.seq);
        if stand.mark.is_none_or(|known| place(known) < place(mark)) {
            stand.mark = Some(mark);
        }
    }

    /// The process knows this of the ledger, and nothing else any more.
    pub fn hold_only(&self, mark: Option<Mark>) {
        self.0.stand().mark = mark;
    }

    /// The process has done its work up to this sequence of this generation.
    pub fn done(&self, generation: u32, seq: u64) {
        self.0.stand().done = Some((generation, seq));
    }

    /// What has been seen.
    pub fn seen(&self) -> Seen {
        self.0.seen.borrow().clone()
    }

    /// What has been seen, and what will be.
    pub fn subscribe(&self) -> watch::Receiver<Seen> {
        self.0.seen.subscribe()
    }

    /// What the process can say of itself: its own report, unless the ground under
    /// it is in trouble.
    pub fn over(&self, own: &Report) -> Report {
        let seen = self.0.seen.borrow();
        match &seen.trouble {
            // The end of all is said by the process alone.
            Some(trouble) if own.state != State::Stopped => {
                let both = own.state == State::StoreUnavailable;
                let detail = if both {
                    format!("{}; and the store: {}", trouble.detail, own.detail)
                } else {
                    trouble.detail.clone()
                };
                Report { state: trouble.state, detail }
            }
            _ => own.clone(),
        }
    }

    /// An error where the ledger is known not to be what this process has read.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Lost`], [`ErrorKind::OtherLedger`].
    pub fn check(&self) -> Result<(), Error> {
        let seen = self.0.seen.borrow();
        let Some(trouble) = &seen.trouble else { return Ok(()) };
        let kind = match trouble.state {
            State::LedgerLost => ErrorKind::Lost,
            State::Mismatch => ErrorKind::OtherLedger,
            _ => return Ok(()),
        };
        Err(Error::plain(trouble.detail.clone()).of_kind(kind))
    }

    /// Resolves once the ledger is known not to be what this process has read.
    pub async fn broken(&self) {
        let mut seen = self.subscribe();
        let broken = |seen: &Seen| {
            let state = seen.trouble.as_ref().map(|trouble| trouble.state);
            matches!(state, Some(State::LedgerLost | State::Mismatch))
        };
        // The sender lives as long as this handle does.
        let _ = seen.wait_for(broken).await;
    }

    /// Reads the block of this mark back, through its stream's leader, and compares
    /// it by its hash.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Lost`] and [`ErrorKind::OtherLedger`] where it is not there or
    /// another one; [`ErrorKind::Unavailable`] where the broker does not tell.
    pub async fn confirm(&self, mark: &Mark) -> Result<(), Error> {
        let found = look::read_back(&self.0, mark).await?;
        let judged = judge::judge(mark, &found, &self.0.namespace.ledger_stream(mark.generation));
        if let Err(report) = &judged {
            self.0.wake.notify_one();
            let kind = match report.state {
                State::Mismatch => ErrorKind::OtherLedger,
                _ => ErrorKind::Lost,
            };
            return Err(Error::plain(report.detail.clone()).of_kind(kind));
        }
        Ok(())
    }

    /// How often the connection has been made. Whoever reads over a change of it may
    /// read another history.
    pub fn connects(&self) -> u64 {
        connects(&self.0.client)
    }
}

impl Shared {
    fn stand(&self) -> MutexGuard<'_, SnapshotHeader> {
        // A panic elsewhere cannot leave it half changed.
        self.stand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
