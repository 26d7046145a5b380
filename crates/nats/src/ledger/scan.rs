//! Every block of a ledger, generation by generation.

use futures_util::StreamExt;
use giliran_wire::ledger::{Chain, Damage, Reading};

use crate::ledger::Ledger;
use crate::ledger::archive::Archive;

/// Why a ledger could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error(transparent)]
    Broker(#[from] crate::Error),
    /// The ledger is damaged.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// A generation is neither a stream nor in the archive.
    #[error("{0} is gone; if it was archived, name the folder: --archive")]
    Gone(String),
}

/// A message of the ledger as it was read.
#[derive(Debug)]
pub struct Scanned<'a> {
    pub seq: u64,
    /// Its payload as it is stored; `reading` says what it is worth.
    pub bytes: &'a [u8],
    pub reading: Reading,
    /// The chain with it.
    pub chain: &'a Chain,
}

/// Reads the whole ledger in order, as far as it goes now; `archive`: where
/// generations lie whose streams are gone.
///
/// # Errors
///
/// [`ScanError`], or what `each` says.
pub async fn scan<E: From<ScanError>>(
    ledger: &Ledger,
    archive: Option<&Archive>,
    mut each: impl FnMut(Scanned<'_>) -> Result<(), E>,
) -> Result<Chain, E> {
    let mut chain = Chain::new();
    let mut read = |chain: &mut Chain, seq: u64, bytes: &[u8]| {
        let reading = chain.read_bytes(seq, bytes).map_err(ScanError::from)?;
        each(Scanned { seq, bytes, reading, chain })
    };
    let newest = ledger.newest().await.map_err(ScanError::from)?;
    let (_, tail) = newest.tail().await.map_err(ScanError::from)?;
    let oldest = loop {
        let generation = chain.generation + u32::from(chain.is_sealed());
        if let Some(stream) = ledger.of_generation(generation).await.map_err(ScanError::from)? {
            break stream;
        }
        let stream = ledger.stream_of(generation);
        let blocks = archive.map(|archive| archive.blocks(&stream)).transpose();
        let blocks = blocks.map_err(ScanError::from)?.flatten();
        for block in blocks.ok_or_else(|| ScanError::Gone(stream.clone()))? {
            let broken = |error| crate::Error::new(&format!("read {stream}"), error);
            let (seq, bytes) = block.map_err(broken).map_err(ScanError::from)?;
            read(&mut chain, seq, &bytes)?;
            // Files wait for nobody; others of this thread do, and whoever gives this up.
            if seq % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        if !chain.is_sealed() {
            return Err(ScanError::Gone(format!("{stream} from its seal on")).into());
        }
    };
    let mut stream = oldest;
    loop {
        let is_newest = stream.generation() == newest.generation();
        let end = if is_newest { tail } else { stream.tail().await.map_err(ScanError::from)?.1 };
        let goes_on = stream.goes_on().await.map_err(ScanError::from)?;
        let end = goes_on.as_ref().map_or(end, |goes_on| end.min(goes_on.damaged_at - 1));
        let mut blocks = stream.blocks(chain.seq + 1, end);
        while let Some(block) = blocks.next().await {
            let (seq, bytes) = block.map_err(ScanError::from)?;
            read(&mut chain, seq, &bytes)?;
        }
        drop(blocks);
        if is_newest {
            return Ok(chain);
        }
        if let Some(goes_on) = goes_on {
            chain.goes_on_in(&goes_on.begin).map_err(ScanError::from)?;
        }
        let next = stream.generation() + 1;
        let after = ledger.of_generation(next).await.map_err(ScanError::from)?;
        stream = after.ok_or_else(|| ScanError::from(ledger.gone(next)))?;
    }
}
