//! Many worlds, and what they were like.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use giliran_sequencer::Branch;
use giliran_wire::ledger::Order;

use crate::kind::{Kind, ORDERS, Setup};
use crate::world::{ClientAnswer, Run, run};
use crate::{Mutant, oracle};

/// Worlds that a thread runs between two words.
const BATCH: usize = 10;

/// What a number of worlds were like.
#[derive(Debug, Default)]
pub struct Tally {
    pub worlds: u64,
    /// Answers, by what they said.
    pub answers: BTreeMap<&'static str, u64>,
    pub faults: BTreeMap<&'static str, u64>,
    /// Rare branches of the sequencer.
    pub branches: BTreeMap<Branch, u64>,
    /// Worlds in which an engine took over between a close and its draw.
    pub taken_over_in_a_draw: u64,
    /// Worlds in which an engine found that the ground had moved.
    pub stopped: u64,
}

impl Tally {
    pub fn count(&mut self, run: &Run) {
        self.worlds += 1;
        for heard in run.attempts.iter().flat_map(|attempt| &attempt.answers) {
            let what = match &heard.answer {
                ClientAnswer::Granted { .. } => "granted",
                ClientAnswer::Rejected { reason, .. } => reason.name(),
                ClientAnswer::Entered { .. } => "entered",
                ClientAnswer::Busy => "busy",
            };
            *self.answers.entry(what).or_default() += 1;
        }
        for fault in &run.faults {
            *self.faults.entry(fault).or_default() += 1;
        }
        for (branch, count) in &run.branches {
            *self.branches.entry(*branch).or_default() += count;
        }
        if run.setup.order == Order::Draw {
            self.taken_over_in_a_draw += u64::from(oracle::changed_hands_in_a_draw(run));
        }
        self.stopped += u64::from(!run.stopped.is_empty());
    }

    /// Adds what others have counted.
    pub fn add(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.taken_over_in_a_draw += other.taken_over_in_a_draw;
        self.stopped += other.stopped;
        for (what, count) in other.answers {
            *self.answers.entry(what).or_default() += count;
        }
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        for (branch, count) in other.branches {
            *self.branches.entry(branch).or_default() += count;
        }
    }
}

/// A world that broke a promise.
#[derive(Debug)]
pub struct Broken {
    pub seed: u64,
    pub setup: Setup,
    /// What it did wrong.
    pub wrong: Vec<String>,
    pub faults: Vec<&'static str>,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = ORDERS.iter().find(|(_, order)| *order == self.setup.order);
        let (order, kind) = (named.map_or("", |(name, _)| name), self.setup.kind.name());
        writeln!(f, "world {} of kind {kind}, {order}:", self.seed)?;
        for wrong in self.wrong.iter().take(20) {
            writeln!(f, "  {wrong}")?;
        }
        writeln!(f, "  faults: {:?}", self.faults)?;
        let seed = self.seed;
        write!(f, "  again: cargo xtask sim --from {seed} --runs 1 --kind {kind} --order {order}")
    }
}

/// Runs the world of a seed, and judges it.
///
/// # Errors
///
/// What it did wrong.
pub fn try_world(seed: u64, setup: Setup, tally: &mut Tally) -> Result<(), Box<Broken>> {
    let run = run(seed, setup);
    let wrong = oracle::judge(&run);
    tally.count(&run);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Box::new(Broken { seed, setup, wrong, faults: run.faults }))
}

/// Runs the worlds of these seeds by several threads. What they were like so far, and
/// which of the last few broke a promise, `heard` is told while they run; it may end
/// them.
pub fn sweep(
    setup: Setup,
    seeds: Range<u64>,
    jobs: usize,
    mut heard: impl FnMut(&Tally, &[Box<Broken>]) -> ControlFlow<()>,
) -> Tally {
    let firsts: Vec<u64> = seeds.clone().step_by(BATCH).collect();
    let next = AtomicUsize::new(0);
    let (batches, results) = mpsc::channel();
    let work = |batches: mpsc::Sender<(Tally, Vec<Box<Broken>>)>| {
        while let Some(first) = firsts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut tally = Tally::default();
            let batch = *first..(first + BATCH as u64).min(seeds.end);
            let tried = batch.map(|seed| try_world(seed, setup, &mut tally));
            let broken = tried.filter_map(Result::err).collect();
            if batches.send((tally, broken)).is_err() {
                return;
            }
        }
    };
    let mut all = Tally::default();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let batches = batches.clone();
            scope.spawn(|| work(batches));
        }
        drop(batches);
        for (tally, broken) in results {
            all.add(tally);
            if heard(&all, &broken).is_break() {
                break;
            }
        }
    });
    all
}

/// The first of so many worlds in which a planted fault is found.
pub fn found_after(mutant: Mutant, kind: Kind, order: Order, worlds: u64) -> Option<u64> {
    let setup = Setup { order, kind, mutant: Some(mutant) };
    (0..worlds).find(|seed| !oracle::judge(&run(*seed, setup)).is_empty())
}
