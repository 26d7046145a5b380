//! How long a connection waits for a request's head, on one timer a connection.
//!
//! The server begins to wait anew with every request. A timer of the runtime for each would be
//! set and taken back thousands of times a second, although hardly any ever goes off. The one of
//! a connection runs on instead: it goes off for a head that came long ago, and is set then to
//! what is waited for now.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use tokio::time;

/// The one timer of the runtime, once something was waited for.
type Running = Arc<Mutex<Option<Pin<Box<time::Sleep>>>>>;

/// The timers of one connection, whose task alone polls them.
#[derive(Default)]
pub(crate) struct HeadTimer(Running);

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Wait { deadline: deadline.into(), running: Arc::clone(&self.0) })
    }

    fn now(&self) -> Instant {
        time::Instant::now().into()
    }
}

/// Is over at its deadline.
struct Wait {
    deadline: time::Instant,
    running: Running,
}

impl Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let timer = running.get_or_insert_with(|| Box::pin(time::sleep_until(self.deadline)));
        if timer.deadline() > self.deadline {
            timer.as_mut().reset(self.deadline);
        }
        loop {
            ready!(timer.as_mut().poll(context));
            if timer.deadline() >= self.deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[tokio::test]
    async fn each_wait_ends_at_its_own_deadline() {
        let timer = HeadTimer::default();
        // Given up before its end, as a head that comes.
        let given_up = async |wait| time::timeout(MS(60), timer.sleep(wait)).await.is_err();
        let lasts = async |wait| {
            let begin = time::Instant::now();
            timer.sleep(wait).await;
            begin.elapsed()
        };
        for _ in 0..4 {
            assert!(given_up(MS(100)).await);
        }
        assert!(lasts(MS(100)).await >= MS(100), "the timer of an earlier wait ends it");
        assert!(lasts(MS(50)).await >= MS(50));
        // What runs goes off later than what is waited for now.
        assert!(given_up(MS(60_000)).await);
        let shorter = lasts(MS(50)).await;
        assert!((MS(50)..MS(30_000)).contains(&shorter), "{shorter:?}");
    }
}
