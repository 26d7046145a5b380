//! The high-water mark's way to the disk: beside the loop that serves, one write at
//! a time. A disk that hangs holds nobody up; it is told.

use std::sync::Arc;
use std::time::Duration;

use giliran_nats::clock::Moment;
use giliran_nats::watch::Mark;
use tokio::sync::watch;

use crate::high_water::{HighWater, HighWaterError};

/// How long a write may take before that is told.
const SLOW: Duration = Duration::from_secs(3);
/// How long the last write is waited for at the end.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// Writes the mark that it was given last. It ends when it is dropped, but for a
/// write that is on its way.
#[derive(Debug)]
pub(crate) struct Marker {
    wanted: watch::Sender<Option<Mark>>,
    done: watch::Receiver<Written>,
    disk: Disk,
}

/// How far it has come.
#[derive(Debug, Clone, Default)]
struct Written {
    mark: Option<Mark>,
    failed: Option<Arc<HighWaterError>>,
}

/// Since when a write is on its way; none: there is none.
#[derive(Debug, Clone)]
pub(crate) struct Disk(watch::Receiver<Option<Moment>>);

impl Disk {
    /// How long a write has taken that takes too long.
    pub(crate) fn hangs_for(&self) -> Option<Duration> {
        let since = (*self.0.borrow())?;
        Some(since.elapsed()).filter(|elapsed| *elapsed > SLOW)
    }
}

impl Marker {
    /// One that has nothing to write yet.
    pub(crate) fn start(high_water: &HighWater) -> Self {
        let (wanted, mut wishes) = watch::channel(None);
        let (done_tx, done) = watch::channel(Written::default());
        let (writing, disk) = watch::channel(None);
        let high_water = high_water.clone();
        tokio::spawn(async move {
            while wishes.changed().await.is_ok() {
                let Some(mark) = *wishes.borrow_and_update() else { continue };
                let high_water = high_water.clone();
                writing.send_replace(Some(Moment::now()));
                let write = move || high_water.write(&mark);
                let written = tokio::task::spawn_blocking(write).await;
                writing.send_replace(None);
                match written {
                    Ok(Ok(())) => done_tx.send_modify(|done| done.mark = Some(mark)),
                    Ok(Err(error)) => done_tx.send_modify(|done| done.failed = Some(error.into())),
                    // It panicked, or the runtime is ending.
                    Err(_) => return,
                }
            }
        });
        Self { wanted, done, disk: Disk(disk) }
    }

    /// Whether the disk takes it.
    pub(crate) fn disk(&self) -> Disk {
        self.disk.clone()
    }

    /// Wants this mark on the disk.
    pub(crate) fn persist_high_water(&self, mark: Option<Mark>) {
        self.wanted.send_if_modified(|wanted| {
            let new = mark.is_some() && *wanted != mark;
            if new {
                *wanted = mark;
            }
            new
        });
    }

    /// An error where a write has failed.
    pub(crate) fn check(&self) -> Result<(), Arc<HighWaterError>> {
        self.done.borrow().failed.clone().map_or(Ok(()), Err)
    }

    /// Waits until the mark is written that was wanted last; but not for long.
    pub(crate) async fn settle(&self) -> Result<(), Arc<HighWaterError>> {
        let wanted = *self.wanted.borrow();
        let mut done = self.done.clone();
        let settled = done.wait_for(|done| done.mark == wanted || done.failed.is_some());
        if tokio::time::timeout(LAST_WRITE, settled).await.is_err() {
            tracing::warn!("the last high-water mark is not written: the disk does not answer");
        }
        self.check()
    }
}

#[cfg(test)]
mod tests {
    use giliran_wire::{BlockHash, LedgerId};

    use super::*;

    fn mark(seq: u64) -> Option<Mark> {
        let (ledger, hash) = (LedgerId([1; 16]), BlockHash([7; 32]));
        Some(Mark { ledger, generation: 1, seq, hash })
    }

    #[tokio::test]
    async fn the_last_mark_is_written_and_a_failure_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let high_water = HighWater::new(folder.path());
        let marker = Marker::start(&high_water);
        for seq in 1..=50 {
            marker.persist_high_water(mark(seq));
        }
        marker.settle().await.unwrap();
        assert_eq!(high_water.read().unwrap(), mark(50));
        assert_eq!(marker.disk().hangs_for(), None);
        drop(folder);
        marker.persist_high_water(mark(51));
        let error = marker.settle().await.unwrap_err();
        assert!(error.to_string().contains("high-water.json"), "{error}");
    }

    /// Lets a write into the pipe go, however the test ends: the runtime waits for it.
    struct Reader(std::path::PathBuf);

    impl Drop for Reader {
        fn drop(&mut self) {
            let mut open = std::fs::OpenOptions::new();
            let _ = open.read(true).write(true).open(&self.0);
        }
    }

    /// A pipe that nobody reads takes no write.
    #[tokio::test]
    async fn a_disk_that_hangs_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("high-water.json.next");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let _in_the_end = Reader(pipe.clone());
        let marker = Marker::start(&HighWater::new(folder.path()));
        marker.persist_high_water(mark(1));
        let disk = marker.disk();
        let since = Moment::now();
        while disk.hangs_for().is_none() {
            assert!(since.elapsed() < 4 * SLOW, "nothing is told");
            marker.check().unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(disk.hangs_for() >= Some(SLOW));
        let _reader = std::fs::File::open(&pipe).unwrap();
        while marker.check().is_ok() && disk.hangs_for().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
