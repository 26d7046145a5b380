//! What is seen to the end whoever goes away: work that runs within the task of whoever waits
//! for it, and in one of its own from where that stops waiting.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Work that goes on by itself where this is dropped before its end.
pub(crate) struct ToTheEnd<F>(Option<Pin<Box<F>>>)
where
    F: Future<Output: Send> + Send + 'static;

impl<F: Future<Output: Send> + Send + 'static> ToTheEnd<F> {
    pub(crate) fn new(work: F) -> Self {
        Self(Some(Box::pin(work)))
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for ToTheEnd<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Not here while it runs: what panics does not go on.
        let Some(mut work) = self.0.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.0 = Some(work);
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for ToTheEnd<F> {
    fn drop(&mut self) {
        // Without a runtime everything has come to its end.
        if let Some((work, runtime)) = self.0.take().zip(Handle::try_current().ok()) {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn work_goes_on_once_nobody_waits_for_it() {
        let (go, goes) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let mut work = ToTheEnd::new(async move {
            goes.await.unwrap();
            done.send(7).unwrap();
        });
        assert!(timeout(Duration::from_millis(1), &mut work).await.is_err());
        drop(work);
        go.send(()).unwrap();
        assert_eq!(timeout(SOON, is_done).await.unwrap(), Ok(7));
    }

    #[tokio::test]
    async fn work_is_done_once() {
        let (done, mut is_done) = tokio::sync::mpsc::unbounded_channel();
        let mut work = ToTheEnd::new(async move {
            done.send(()).unwrap();
            7
        });
        assert_eq!((&mut work).await, 7);
        drop(work);
        assert_eq!(is_done.recv().await, Some(()));
        assert_eq!(timeout(SOON, is_done.recv()).await.unwrap(), None);
    }
}
