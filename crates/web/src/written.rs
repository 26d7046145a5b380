//! A connection whose other end has to read: what cannot be written for long ends it, and so does
//! what is never written to its end. A reader who has gone to sleep keeps neither memory nor a
//! place, and one who reads a byte now and then does not keep for good what everybody else has
//! long read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a connection may be behind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// A write may wait for so long.
    pub(crate) write: Duration,
    /// From the first write that waits, all that there is to write has to be written within so
    /// long.
    pub(crate) all: Duration,
}

/// A stream of bytes that ends with an error where it is behind for longer than it may be.
pub(crate) struct Written<S> {
    stream: S,
    patience: Patience,
    /// Runs while a write waits.
    waits: Option<Pin<Box<Sleep>>>,
    /// Runs from the first write that waits until there is nothing left to write.
    behind: Option<Pin<Box<Sleep>>>,
}

impl<S> Written<S> {
    pub(crate) const fn new(stream: S, patience: Patience) -> Self {
        Self { stream, patience, waits: None, behind: None }
    }

    /// What came of a write, or that it has waited for too long.
    fn judged<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            // A byte now and then does not end what it is behind.
            self.waits = None;
            return written;
        }
        let Patience { write, all } = self.patience;
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(write)));
        let behind = self.behind.get_or_insert_with(|| Box::pin(sleep(all)));
        let is_over = [waits, behind].map(|runs| runs.as_mut().poll(context).is_ready());
        if is_over.contains(&true) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Written<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Written<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judged(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judged(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Whoever writes flushes once it has nothing left.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.behind = None;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[tokio::test]
    async fn a_byte_now_and_then_keeps_nothing_for_good() {
        let (ours, mut theirs) = duplex(16);
        let patience = Patience { write: MS(400), all: MS(800) };
        let mut ours = Written::new(ours, patience);
        let trickle = tokio::spawn(async move {
            for _ in 0..1_000 {
                tokio::time::sleep(MS(20)).await;
                if theirs.read_exact(&mut [0; 1]).await.is_err() {
                    return;
                }
            }
        });
        // Who is at the end of it now and then may go on for as long as it likes.
        let begin = tokio::time::Instant::now();
        while begin.elapsed() < 2 * patience.all {
            ours.write_all(&[7; 18]).await.unwrap();
            ours.flush().await.unwrap();
        }
        let refused = tokio::time::timeout(MS(10_000), ours.write_all(&[7; 512])).await;
        assert_eq!(refused.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(ours);
        trickle.await.unwrap();
    }

    #[tokio::test]
    async fn whoever_does_not_read_is_cut_off_and_whoever_reads_slowly_is_not() {
        let (ours, mut theirs) = duplex(16);
        let mut ours = Written::new(ours, Patience { write: MS(400), all: MS(20_000) });
        let slow = tokio::spawn(async move {
            for _ in 0..8 {
                tokio::time::sleep(MS(100)).await;
                theirs.read_exact(&mut [0; 16]).await.unwrap();
            }
            theirs
        });
        ours.write_all(&[7; 128]).await.unwrap();
        let _asleep = slow.await.unwrap();
        let refused = tokio::time::timeout(MS(10_000), ours.write_all(&[7; 64]));
        assert_eq!(refused.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
