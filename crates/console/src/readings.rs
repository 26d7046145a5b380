//! What takes reading the ledger: read once for all who ask at about the same time, one after the
//! other, each within a time; whoever asks waits for a while, and is told that it goes on.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use giliran_nats::clock::Moment;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

/// For so long a list is shown as it was read.
const KEPT: Duration = Duration::from_secs(5);
/// Most lists that are kept or being read.
const MOST: usize = 64;
/// How long a page waits for its list.
const PAGE_WAITS: Duration = Duration::from_secs(10);
/// How long a reading may take, from when its turn has come.
pub(crate) const WITHIN: Duration = Duration::from_secs(180);

/// A list, or where it is.
#[derive(Debug)]
pub(crate) enum Reading<T> {
    /// As of some seconds ago at most.
    Read(Arc<T>),
    /// Why it could not be read.
    Failed(String),
    /// Its reading was begun so long ago, and goes on.
    GoesOn(Duration),
}

/// Decides which reading is on: all consoles' lists take the same turn.
#[derive(Debug, Clone)]
pub(crate) struct Turn(Arc<Semaphore>);

impl Default for Turn {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

type Told<T> = Option<(Moment, Result<Arc<T>, String>)>;

/// Lists of one kind, by what they are of.
#[derive(Debug)]
pub(crate) struct Readings<T> {
    begun: Mutex<HashMap<String, Begun<T>>>,
    turn: Turn,
    page_waits: Duration,
    within: Duration,
}

#[derive(Debug)]
struct Begun<T> {
    at: Moment,
    told: watch::Receiver<Told<T>>,
    reading: AbortHandle,
}

impl<T> Drop for Begun<T> {
    fn drop(&mut self) {
        // One that nobody can ask for any more need not go on.
        self.reading.abort();
    }
}

impl<T> Begun<T> {
    fn is_kept(&self) -> bool {
        match &*self.told.borrow() {
            Some((at, _)) => at.elapsed() < KEPT,
            // A reading that panicked tells nothing any more.
            None => self.told.has_changed().is_ok(),
        }
    }
}

impl<T: Send + Sync + 'static> Readings<T> {
    pub(crate) fn new(turn: &Turn) -> Self {
        Self { begun: Mutex::default(), turn: turn.clone(), page_waits: PAGE_WAITS, within: WITHIN }
    }

    /// The list of this name; `read` reads it where nobody has begun to.
    pub(crate) async fn of<F>(&self, name: &str, read: impl Fn() -> F) -> Reading<T>
    where
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        let waited = tokio::time::timeout(self.page_waits, async {
            loop {
                let Some(mut told) = self.begun(name, &read) else {
                    let words = "too many lists are being read; ask again in some seconds";
                    return Reading::Failed(words.to_owned());
                };
                // Where it was given up, because something was done meanwhile, it begins anew.
                let Ok(told) = told.wait_for(Option::is_some).await.map(|told| told.clone()) else {
                    continue;
                };
                return match told {
                    Some((_, Ok(list))) => Reading::Read(list),
                    Some((_, Err(why))) => Reading::Failed(why),
                    None => continue,
                };
            }
        });
        match waited.await {
            Ok(reading) => reading,
            Err(_) => {
                let since = self.lock().get(name).map(|begun| begun.at.elapsed());
                Reading::GoesOn(since.unwrap_or(self.page_waits))
            }
        }
    }

    /// What tells of the list; none: there are too many.
    fn begun<F>(&self, name: &str, read: impl Fn() -> F) -> Option<watch::Receiver<Told<T>>>
    where
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        let mut all = self.lock();
        all.retain(|_, begun| begun.is_kept());
        if let Some(begun) = all.get(name) {
            return Some(begun.told.clone());
        }
        if all.len() >= MOST {
            return None;
        }
        let (telling, told) = watch::channel(None);
        let (turn, within, read) = (self.turn.clone(), self.within, read());
        let reading = tokio::spawn(async move {
            // It is never closed.
            let _turn = turn.0.acquire().await;
            let read = tokio::time::timeout(within, read)
                .await
                .unwrap_or_else(|_| Err(format!("it was given up after {} s", within.as_secs())));
            telling.send_replace(Some((Moment::now(), read.map(Arc::new))));
        });
        let reading = reading.abort_handle();
        all.insert(name.to_owned(), Begun { at: Moment::now(), told: told.clone(), reading });
        Some(told)
    }

    /// What was read, or is being read, is not so any more.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Begun<T>>> {
        // A panic elsewhere cannot leave the map half changed.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn readings(turn: &Turn) -> Readings<usize> {
        Readings { page_waits: MS(100), within: MS(1_000), ..Readings::new(turn) }
    }

    #[tokio::test]
    async fn a_page_does_not_wait_for_long_and_finds_the_list_later() {
        let (lists, read) = (readings(&Turn::default()), AtomicUsize::new(0));
        let slow = || {
            let n = read.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(MS(300)).await;
                Ok(n)
            }
        };
        let (one, other) = tokio::join!(lists.of("w", slow), lists.of("w", slow));
        for page in [one, other] {
            assert!(matches!(page, Reading::GoesOn(since) if since >= MS(90)), "{page:?}");
        }
        tokio::time::sleep(MS(300)).await;
        let page = lists.of("w", slow).await;
        assert!(matches!(&page, Reading::Read(list) if **list == 0), "{page:?}");
        assert_eq!(read.load(Ordering::Relaxed), 1, "read once for all");
        // After an action it is read again.
        lists.forget();
        assert!(matches!(lists.of("w", slow).await, Reading::GoesOn(_)));
        assert_eq!(read.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_reading_has_a_bound_and_the_next_one_its_turn() {
        let turn = Turn::default();
        let (lists, others) = (readings(&turn), readings(&turn));
        let never = std::future::pending::<Result<usize, String>>;
        assert!(matches!(lists.of("w", never).await, Reading::GoesOn(_)));
        let waits = others.of("", || async { Ok(7) }).await;
        assert!(matches!(waits, Reading::GoesOn(_)), "one at a time: {waits:?}");
        tokio::time::sleep(MS(1_000)).await;
        let given_up = lists.of("w", never).await;
        assert!(matches!(&given_up, Reading::Failed(why) if why.contains("given up after 1 s")));
        let had = others.of("", || async { Ok(8) }).await;
        assert!(matches!(&had, Reading::Read(list) if **list == 7), "{had:?}");
    }

    #[tokio::test]
    async fn there_are_not_more_lists_than_the_bound() {
        let lists = readings(&Turn::default());
        let never = std::future::pending::<Result<usize, String>>;
        for n in 0..MOST {
            assert!(lists.begun(&n.to_string(), never).is_some());
        }
        let refused = lists.of("one more", never).await;
        assert!(
            matches!(&refused, Reading::Failed(why) if why.contains("too many")),
            "{refused:?}"
        );
    }
}
