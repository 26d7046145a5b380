//! What one generation ends with and the next one begins with, held against the
//! fold of the whole ledger.

use giliran_allocator::StateMachine;
use giliran_wire::ledger::{Entry, Reading};
use giliran_wire::snapshot::Assembler;

use crate::check::{Check, Findings, Verdict, not_checked};

const WHAT: &str = "replay = live: generations are sealed with the ledger's fold";

/// Folds the ledger by the engine's own rules, seal by seal.
#[derive(Debug)]
pub(super) struct Generations {
    state: StateMachine,
    /// It could not be folded any further.
    stopped: bool,
    joiner: Assembler,
    findings: Findings,
}

impl Default for Generations {
    fn default() -> Self {
        let (state, joiner) = (StateMachine::new(), Assembler::default());
        Self { state, stopped: false, joiner, findings: Findings::new() }
    }
}

impl Generations {
    /// A message of the ledger, in order; its bytes have been read already.
    pub(super) fn fold(&mut self, seq: u64, bytes: &[u8], reading: &Reading) {
        if self.stopped {
            return;
        }
        // A state machine that folds a seal compares it with its own state. That a generation
        // goes on in a rebuilt one has been judged in reading it.
        let goes_on = match reading {
            Reading::Valid(begin) => self.state.goes_on_in(begin),
            _ => Ok(false),
        };
        if let Err(error) = goes_on.and_then(|_| self.state.fold(seq, bytes)) {
            self.stopped = true;
            self.findings.look(false, || error.to_string());
        }
        let Reading::Valid(block) = reading else { return };
        for entry in &block.entries {
            match entry {
                Entry::Seal(_) => self.findings.look(!self.stopped, || "see above".to_owned()),
                Entry::Snapshot(part) => {
                    let joined = self.joiner.add(&part.bytes, |_| Ok(()));
                    if let Err(what) = joined {
                        self.findings.look(false, || format!("sequence {seq}: {what}"));
                    }
                    if part.part + 1 == part.parts {
                        let whole = std::mem::take(&mut self.joiner).end();
                        self.findings.look(whole.is_ok_and(|hash| hash == part.state), || {
                            format!("sequence {seq}: the parts of the snapshot are not its state")
                        });
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn check(&self) -> Check {
        let check = self.findings.clone().check("P6", WHAT);
        if check.verdict == Verdict::Holds(0) {
            return not_checked("P6", WHAT, "the ledger has one generation; see the simulation");
        }
        check
    }
}
