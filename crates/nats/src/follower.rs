//! Following the ledger for as long as it takes: over restarts of the broker, and
//! only as long as it is the same ledger.
//!
//! Before a consumer is made, at first and after every loss of the connection, the
//! last block that was read is read back and compared: what comes then belongs to
//! the same history. What came over a connection that was lost meanwhile is thrown
//! away and read again.

use std::ops::ControlFlow;
use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use giliran_wire::Position;
use giliran_wire::ledger::{Block, Chain, Foreign};
use giliran_wire::subject::Namespace;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Moment;
use crate::ledger::reader::{Durable, Reader};
use crate::ledger::{GoesOn, Ledger, report};
use crate::state::{Report, Reports, State};
use crate::watch::{LedgerWatch, Mark, Seen};
use crate::{Error, ErrorKind};

/// How long no consumer may come about, with a broker that answers, before that is
/// an error.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause after a try that brought nothing.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause before something is tried again that may pass by itself.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Pause before something is tried again that somebody has to mend. Sooner where the
/// broker's streams change.
const AGAIN_IF_MENDED: Duration = Duration::from_secs(30);

/// A reader that goes on.
pub struct Follower {
    reader: Reader,
    watch: LedgerWatch,
    /// Over how many connections before, and over this one, the last block was found
    /// to be the same; none: not yet.
    confirmed: Option<u64>,
    /// Since when nothing comes about, and why.
    failing: Option<Moment>,
    /// How the ledger goes on where the generation that is read was damaged.
    goes_on: Option<GoesOn>,
}

impl Follower {
    /// Of a process that stands in this generation, and is watched over.
    pub fn new(watch: &LedgerWatch, ledger: Ledger, from: u64, durable: Option<Durable>) -> Self {
        let reader = Reader::closed(ledger, from, durable);
        Self { reader, watch: watch.clone(), confirmed: None, failing: None, goes_on: None }
    }

    /// The generation that is read.
    pub fn ledger(&self) -> &Ledger {
        self.reader.ledger()
    }

    /// Up to `max` blocks behind the chain: those that are there, or those that come
    /// within `wait`; empty where none do, also while the broker is away. Safe to
    /// cancel.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Lost`] and [`ErrorKind::OtherLedger`] where the ledger is not the
    /// one that was read; [`ErrorKind::Damaged`] at a gap; [`ErrorKind::Unavailable`]
    /// where the broker answers, and gives no consumer.
    pub async fn next(
        &mut self,
        chain: &Chain,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(u64, Bytes)>, Error> {
        let mark = Mark::of(chain);
        self.watch.hold(mark);
        self.watch.check()?;
        let connects = self.watch.connects();
        if !self.reader.is_open() || self.confirmed != Some(connects) {
            match self.reopen(mark, chain.seq + 1).await {
                Ok(()) => (self.confirmed, self.failing) = (Some(connects), None),
                Err(error) => {
                    self.is_passing(error)?;
                    tokio::time::sleep(PAUSE.min(wait)).await;
                    return Ok(Vec::new());
                }
            }
        }
        let mut batch = self.reader.batch(max, wait).await?;
        if self.watch.connects() != connects {
            self.reader.close();
            return Ok(Vec::new());
        }
        if let Some(goes_on) = &self.goes_on {
            batch.retain(|(seq, _)| *seq < goes_on.damaged_at);
        }
        Ok(batch)
    }

    async fn reopen(&mut self, mark: Option<Mark>, from: u64) -> Result<(), Error> {
        self.reader.close();
        if let Some(mark) = mark {
            self.watch.confirm(&mark).await?;
        }
        self.goes_on = self.reader.ledger().goes_on().await?;
        self.reader.reopen(from).await
    }

    /// The block that the next generation begins with, where it was rebuilt because this
    /// one is damaged: what stands from the damage on does not come any more. To be
    /// asked of the chain after each batch; once it goes on there, see
    /// [`pass_seal`](Self::pass_seal).
    pub fn rebuilt(&self) -> Option<&Block> {
        self.goes_on.as_ref().map(|goes_on| &goes_on.begin)
    }

    /// Whether there is nothing to do but to go on trying: while the watch says what
    /// is wrong, and for a moment where it sees nothing wrong.
    fn is_passing(&mut self, error: Error) -> Result<(), Error> {
        // The watch judges what may only look like a loss.
        let may_pass = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Lost);
        if may_pass && self.watch.seen().trouble.is_some() {
            self.failing = None;
            return Ok(());
        }
        let since = *self.failing.get_or_insert_with(Moment::now);
        if may_pass && since.elapsed() < PATIENCE { Ok(()) } else { Err(error) }
    }

    /// Goes on in the next generation's stream, once the seal at this sequence was
    /// read, or the last good block of a generation that is damaged. Does nothing where
    /// that is done already.
    ///
    /// # Errors
    ///
    /// Where that stream is not there, or the broker does not tell.
    pub async fn pass_seal(&mut self, generation: u32, seal: u64) -> Result<(), Error> {
        self.goes_on = None;
        self.reader.pass_seal(generation, seal).await
    }

    /// Tells the broker that everything up to `seq` is kept elsewhere.
    ///
    /// # Errors
    ///
    /// Where the broker does not confirm it.
    pub async fn ack_through(&mut self, seq: u64) -> Result<(), Error> {
        self.reader.ack_through(seq).await
    }
}

/// How far a follower has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The ledger sequence up to which its work is done; 0 where that is not known
    /// yet.
    pub seq: u64,
    /// Epoch of the last block that it has read or written; 0 as above.
    pub epoch: u64,
    /// What it has done since its start: bookings written, events published.
    pub done: u64,
    /// Foreign messages that it has met on the ledger since its start.
    pub foreign: u64,
}

/// What a follower tells of itself, and the watch beside it.
#[derive(Debug)]
pub struct Health {
    watch: LedgerWatch,
    reports: Reports,
    progress: watch::Sender<Progress>,
}

impl Health {
    /// Of a part of this name that starts. The watch begins to look at once, so this
    /// is called within a runtime.
    pub fn new(client: &Client, namespace: &Namespace, part: &'static str) -> Self {
        let watch = LedgerWatch::start(client, namespace, part);
        Self { watch, reports: Reports::new(part), progress: watch::Sender::default() }
    }

    pub fn watch(&self) -> &LedgerWatch {
        &self.watch
    }

    /// What it says of itself.
    pub fn reports(&self) -> &Reports {
        &self.reports
    }

    /// Says how it stands.
    pub fn set_state(&self, state: State, detail: impl Into<String>) {
        self.reports.set_state(state, detail);
    }

    /// Its work is done up to where this chain stands.
    pub fn stands(&self, chain: &Chain) {
        let Position { epoch, seq } = chain.position();
        self.watch.done(chain.generation, seq);
        self.progress.send_modify(|progress| (progress.epoch, progress.seq) = (epoch, seq));
    }

    /// So much more is done.
    pub fn count(&self, done: u64) {
        self.progress.send_modify(|progress| progress.done += done);
    }

    /// It has met a message that no writer of the ledger put there.
    pub fn foreign(&self, foreign: &Foreign) {
        report(foreign);
        self.progress.send_modify(|progress| progress.foreign += 1);
    }

    /// Says where foreign messages stand at the end of what was read, and where they
    /// turned out to be void.
    pub fn in_doubt(&self, chain: &Chain) {
        match chain.doubt {
            Some(doubt) => self.set_state(State::InDoubt, format!("waiting behind {doubt}")),
            None if self.reports.is(State::InDoubt) => self.set_state(State::Following, ""),
            None => {}
        }
    }

    /// It has ended, for this reason if there is one.
    pub fn ended<T, E: std::fmt::Display>(&self, ended: &Result<T, E>) {
        let why = ended.as_ref().err().map(ToString::to_string);
        self.set_state(State::Stopped, why.unwrap_or_default());
    }

    /// What there is to see of it.
    pub fn view(&self) -> View {
        View {
            watch: self.watch.clone(),
            reports: self.reports.subscribe(),
            progress: self.progress.subscribe(),
        }
    }
}

/// What there is to see of a follower.
#[derive(Debug, Clone)]
pub struct View {
    watch: LedgerWatch,
    reports: watch::Receiver<Report>,
    progress: watch::Receiver<Progress>,
}

impl View {
    /// How it stands at this moment, and how far it has come.
    pub fn look(&self) -> (Report, Progress) {
        (self.watch.over(&self.reports.borrow()), *self.progress.borrow())
    }

    /// What the watch beside it has seen.
    pub fn seen(&self) -> Seen {
        self.watch.seen()
    }
}

/// What a failure means for the process that meets it.
pub trait Trouble {
    /// What the process says of itself while it tries on; none: it has to end.
    fn trouble(&self) -> Option<State>;
}

impl Trouble for Error {
    fn trouble(&self) -> Option<State> {
        Some(State::of(self.kind()))
    }
}

/// What comes between passes of following. A pass that fails is said to have, and
/// tried again: soon where it may pass by itself; once the broker's streams have
/// changed, or now and then, where somebody has to mend it.
#[derive(Debug)]
pub struct Passes<'a> {
    health: &'a Health,
    shutdown: CancellationToken,
    seen: watch::Receiver<Seen>,
    /// What had happened to the broker's streams as the pass began.
    turns: u64,
}

impl<'a> Passes<'a> {
    /// Before the first pass.
    pub fn new(health: &'a Health, shutdown: &CancellationToken) -> Self {
        let seen = health.watch.subscribe();
        let turns = seen.borrow().turns;
        Self { health, shutdown: shutdown.clone(), seen, turns }
    }

    /// A pass has ended. Breaks with its result where it ended well, in a way that no
    /// waiting mends, or where an end is asked for meanwhile; else it is time for the
    /// next.
    pub async fn after<E: Trouble + std::fmt::Display>(
        &mut self,
        ended: Result<(), E>,
    ) -> ControlFlow<Result<(), E>> {
        let Err(error) = ended else { return ControlFlow::Break(Ok(())) };
        let Some(state) = error.trouble() else { return ControlFlow::Break(Err(error)) };
        self.health.set_state(state, error.to_string());
        let turns = self.turns;
        let pause = async {
            if state.may_pass() {
                return tokio::time::sleep(AGAIN_AFTER).await;
            }
            let mended = |seen: &Seen| seen.turns != turns && seen.trouble.is_none();
            let _ = tokio::time::timeout(AGAIN_IF_MENDED, self.seen.wait_for(mended)).await;
        };
        tokio::select! {
            () = pause => {}
            () = self.shutdown.cancelled() => return ControlFlow::Break(Ok(())),
        }
        self.turns = self.seen.borrow().turns;
        ControlFlow::Continue(())
    }
}

/// Resolves when what is on its way has had `grace` since an end was asked for.
pub async fn overdue(shutdown: &CancellationToken, grace: Duration) {
    shutdown.cancelled().await;
    tokio::time::sleep(grace).await;
}
