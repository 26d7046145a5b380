//! What a look's findings mean: pure.

use giliran_wire::ledger::Block;
use giliran_wire::{BlockHash, LedgerId};

use super::Mark;
use crate::state::{Report, State};

/// What stands where the process has read or written a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// A block of this ledger and hash.
    Block(LedgerId, BlockHash),
    /// Something that is no block.
    NoBlock,
    /// Nothing; the stream ends there.
    Nothing { tail: u64 },
    /// There is no such stream. `later`: but one of a later generation.
    NoStream { later: bool },
}

impl Found {
    /// What these bytes are.
    pub(super) fn of(bytes: &[u8]) -> Self {
        match Block::open(bytes) {
            Ok((block, hash)) => Self::Block(block.ledger, hash),
            Err(_) => Self::NoBlock,
        }
    }

    /// Whether one look is enough to believe it. A server that has only just come
    /// back, or become the stream's leader, may not have all of it before it yet;
    /// but it never has something else.
    pub(super) fn is_certain(&self) -> bool {
        matches!(self, Self::Block(..) | Self::NoBlock)
    }
}

/// Whether the ledger still holds the block of this mark; if not, what to say.
pub(super) fn judge(mark: &Mark, found: &Found, stream: &str) -> Result<(), Report> {
    let Mark { ledger, seq, hash, .. } = mark;
    let lost = |what: String| {
        let detail = format!(
            "the ledger lost blocks: this process knows block {hash} at sequence {seq} of \
             {stream}, and {what}. Nothing is granted or written meanwhile. Bring back the newest \
             copy of the stream, and all goes on by itself. If the loss is accepted, stop every \
             engine, persist and feed, and begin as the operations page says under `The ledger \
             lost blocks`"
        );
        Err(Report { state: State::LedgerLost, detail })
    };
    match found {
        Found::Block(found, of) if found == ledger && of == hash => Ok(()),
        // Archived: what came after it stands in the later one.
        Found::NoStream { later: true } => Ok(()),
        Found::Block(found, _) if found != ledger => Err(Report {
            state: State::Mismatch,
            detail: format!(
                "{stream} holds ledger {found}, this process has read ledger {ledger}: the stream \
                 was recreated. Bring back the ledger, and all goes on by itself; if it is given \
                 up, begin with fresh data folders, empty stores and an empty event stream"
            ),
        }),
        Found::Block(_, of) => lost(format!("the stream holds block {of} there")),
        Found::NoBlock => lost("the stream holds there a message that is not a block".to_owned()),
        Found::Nothing { tail } => lost(format!("the stream ends at sequence {tail}")),
        Found::NoStream { later: false } => lost("that stream is gone".to_owned()),
    }
}

/// A generation's stream, as a look finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) generation: u32,
    /// Sequence of the first block; behind the last where there is none.
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Extent {
    fn blocks(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

/// How many blocks stand behind this place, over all generations from there on,
/// and which is the first of them. Sequences jump from one generation to the next.
pub(super) fn behind(done: (u32, u64), extents: &[Extent]) -> (u64, Option<(u32, u64)>) {
    let (mut blocks, mut next) = (0, None);
    for extent in extents.iter().filter(|extent| extent.generation >= done.0) {
        let first =
            if extent.generation == done.0 { extent.first.max(done.1 + 1) } else { extent.first };
        let waiting = Extent { first, ..*extent }.blocks();
        if waiting > 0 {
            blocks += waiting;
            next = next.or(Some((extent.generation, first)));
        }
    }
    (blocks, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        let (ledger, hash) = (LedgerId([1; 16]), BlockHash([7; 32]));
        Mark { ledger, generation: 2, seq: 57, hash }
    }

    fn state(found: &Found) -> Option<State> {
        judge(&mark(), found, "L2").err().map(|report| report.state)
    }

    #[test]
    fn only_the_same_block_is_the_same_ledger() {
        let (own, other) = (LedgerId([1; 16]), LedgerId([2; 16]));
        assert_eq!(state(&Found::Block(own, BlockHash([7; 32]))), None);
        assert_eq!(state(&Found::Block(own, BlockHash([8; 32]))), Some(State::LedgerLost));
        assert_eq!(state(&Found::Block(other, BlockHash([7; 32]))), Some(State::Mismatch));
        assert_eq!(state(&Found::NoBlock), Some(State::LedgerLost));
        assert_eq!(state(&Found::Nothing { tail: 41 }), Some(State::LedgerLost));
        assert_eq!(state(&Found::NoStream { later: false }), Some(State::LedgerLost));
        assert_eq!(state(&Found::NoStream { later: true }), None);
        let report = judge(&mark(), &Found::Nothing { tail: 41 }, "L2").unwrap_err();
        assert!(report.detail.contains("sequence 57 of L2"), "{}", report.detail);
        assert!(report.detail.contains("ends at sequence 41"), "{}", report.detail);
    }

    #[test]
    fn what_may_still_come_is_looked_at_twice() {
        assert!(Found::Block(LedgerId([1; 16]), BlockHash([8; 32])).is_certain());
        assert!(!Found::Nothing { tail: 41 }.is_certain());
        assert!(!Found::NoStream { later: false }.is_certain());
    }

    #[test]
    fn blocks_behind_are_counted_over_generations() {
        let old = Extent { generation: 1, first: 1, last: 10 };
        let new = Extent { generation: 2, first: 1_010, last: 1_012 };
        let empty = Extent { generation: 3, first: 2_012, last: 2_011 };
        let all = [old, new, empty];
        assert_eq!(behind((1, 8), &all), (5, Some((1, 9))));
        assert_eq!(behind((1, 10), &all), (3, Some((2, 1_010))));
        assert_eq!(behind((2, 1_011), &all), (1, Some((2, 1_012))));
        assert_eq!(behind((2, 1_012), &all), (0, None));
        // Nothing done of a stream that is archived by now.
        assert_eq!(behind((1, 10), &all[1..]), (3, Some((2, 1_010))));
        assert_eq!(behind((1, 0), &all), (13, Some((1, 1))));
    }
}
