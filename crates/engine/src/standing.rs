//! The state at the ledger's end, for whoever only looks.

use futures_util::StreamExt;
use giliran_allocator::StateMachine;
use giliran_nats::ledger::Ledger;

use crate::error::EngineError;

/// Reads the newest generation that can be begun with, to its end as it is now.
///
/// # Errors
///
/// Where the broker does not tell, or the ledger is damaged.
pub async fn standing(ledger: &Ledger) -> Result<StateMachine, EngineError> {
    let ledger = ledger.newest().await?.newest_begun().await?;
    let (_, tail) = ledger.tail().await?;
    let mut state = StateMachine::beginning_with(ledger.generation());
    let mut blocks = ledger.blocks(ledger.first(), tail);
    while let Some(block) = blocks.next().await {
        let (seq, bytes) = block?;
        state.fold(seq, &bytes)?;
    }
    Ok(state)
}
