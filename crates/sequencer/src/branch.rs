//! The ways that are rarely gone, counted, so that a simulation can say that it went
//! all of them.

/// A way through the sequencer that is rarely gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Branch {
    /// A block was sent again.
    Resent,
    /// The last valid block was read back, and stands.
    LookedBack,
    /// The own block stood in its place already.
    FoundOwn,
    /// Nothing stood in the place that was taken.
    FoundNothing,
    /// A deposed writer's block stood there, and was passed over.
    PassedVoid,
    /// A foreign message stood there, and was passed over.
    PassedForeign,
    /// Another writer's valid block stood there.
    Deposed,
    /// What was there is not, by one look.
    Missing,
    /// The ledger lost its end.
    LostTail,
    /// The ledger holds another block.
    Rewritten,
    /// The ledger lacks a block.
    Gap,
    /// Somebody waited too long in the queue, or for a decision.
    BusyWaiting,
    /// Somebody waited too long in a round.
    BusyInRound,
    /// Somebody waited too long for the block in flight.
    BusyInFlight,
    /// An operator waited too long.
    BusyAction,
    /// A block was sent whose grants were staged while the one before was on its way.
    SentAhead,
    /// Somebody waited too long in such a block, before it was sent.
    BusyAhead,
    /// Such a block was given up, since its writer ended.
    DroppedAhead,
}

impl Branch {
    /// Every branch, in the order of declaration.
    pub const ALL: [Self; 18] = [
        Self::Resent,
        Self::LookedBack,
        Self::FoundOwn,
        Self::FoundNothing,
        Self::PassedVoid,
        Self::PassedForeign,
        Self::Deposed,
        Self::Missing,
        Self::LostTail,
        Self::Rewritten,
        Self::Gap,
        Self::BusyWaiting,
        Self::BusyInRound,
        Self::BusyInFlight,
        Self::BusyAction,
        Self::SentAhead,
        Self::BusyAhead,
        Self::DroppedAhead,
    ];
}

/// How often each was gone.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Branches([u64; Branch::ALL.len()]);

impl Branches {
    pub(crate) fn note(&mut self, branch: Branch) {
        self.0[branch as usize] += 1;
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (Branch, u64)> {
        let counts = self.0;
        Branch::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0)
    }
}
