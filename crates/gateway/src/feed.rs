//! What the feed says of bookings and entries, for whoever follows a request: it is looked up
//! again once an event names it, or once an event may have been missed.
//!
//! The feed's messages are not delivered again. A gap shows by the sequence of events, and that
//! the last one is missing by the position that the feed says once a second. Where no position
//! is heard, nothing is known, and whoever follows a request has to ask by itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Client, SubscribeError, Subscriber};
use futures_util::StreamExt as _;
use giliran_wire::Text;
use giliran_wire::event::FeedPosition;
use giliran_wire::subject::Namespace;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::token::Tracked;

/// So long after the last position it is not known what happens: the feed says one a second.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// Why a request is to be looked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum News {
    /// An event names it.
    #[default]
    Named,
    /// Events may have been missed.
    Gap,
}

/// Opening and id of a request.
type Name = (String, String);

/// The requests that somebody follows, and how many do.
type Followed = Mutex<HashMap<Name, (usize, watch::Sender<News>)>>;

/// What is heard of the feed.
#[derive(Debug)]
pub(crate) struct Feed {
    state: Arc<State>,
    _hearing: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    followed: Followed,
    heard: Mutex<Option<Instant>>,
}

/// A request that somebody follows.
#[derive(Debug)]
pub(crate) struct Following {
    name: Name,
    news: watch::Receiver<News>,
    state: Arc<State>,
}

impl Feed {
    /// Begins to hear. It ends with the connection's subscriptions, or once this is dropped.
    ///
    /// # Errors
    ///
    /// Where its subjects cannot be subscribed to.
    pub(crate) async fn start(
        client: &Client,
        namespace: &Namespace,
    ) -> Result<Self, SubscribeError> {
        let events = client.subscribe(namespace.feed_events()).await?;
        let positions = client.subscribe(namespace.feed_position()).await?;
        let state = Arc::new(State::default());
        let mut hearing = JoinSet::new();
        hearing.spawn(hear(events, positions, Arc::clone(&state)));
        Ok(Self { state, _hearing: hearing })
    }

    /// Whether news come by themselves.
    pub(crate) fn is_heard(&self) -> bool {
        let heard = *held(&self.state.heard);
        heard.is_some_and(|heard| heard.elapsed() < SILENT_AFTER)
    }

    /// Follows a request from now on.
    pub(crate) fn follow(&self, tracked: &Tracked<'_>) -> Following {
        let opening = tracked.opening.as_deref().unwrap_or_default();
        let name = (opening.to_owned(), tracked.request_id.to_string());
        let mut followed = held(&self.state.followed);
        let (number, news) = followed.entry(name.clone()).or_default();
        *number += 1;
        let news = news.subscribe();
        drop(followed);
        Following { name, news, state: Arc::clone(&self.state) }
    }
}

impl Following {
    /// Waits for news; for ever where none will come any more.
    pub(crate) async fn news(&mut self) -> News {
        if self.news.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        *self.news.borrow_and_update()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut followed = held(&self.state.followed);
        let Some((number, _)) = followed.get_mut(&self.name) else { return };
        *number -= 1;
        if *number == 0 {
            followed.remove(&self.name);
        }
    }
}

/// A panic elsewhere cannot leave what is locked half changed.
fn held<T>(locked: &Mutex<T>) -> MutexGuard<'_, T> {
    locked.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn hear(mut events: Subscriber, mut positions: Subscriber, state: Arc<State>) {
    let mut hearing = Hearing::default();
    loop {
        tokio::select! {
            // Before the position that counts them.
            biased;
            Some(message) = events.next() => {
                let Ok(Events { first, events }) = serde_json::from_slice(&message.payload) else {
                    continue;
                };
                if hearing.events(first, events.len() as u64) {
                    state.gap();
                }
                state.named(&events);
            }
            Some(message) = positions.next() => {
                let Ok(position) = serde_json::from_slice::<FeedPosition>(&message.payload) else {
                    continue;
                };
                let (is_known, is_gap) = hearing.position(position.events);
                *held(&state.heard) = is_known.then(Instant::now);
                if is_gap {
                    state.gap();
                }
            }
            else => return,
        }
    }
}

impl State {
    /// Tells whoever follows the requests that these events name.
    fn named(&self, events: &[Event<'_>]) {
        let followed = held(&self.followed);
        if followed.is_empty() {
            return;
        }
        for Event { data: Data { booking, entry } } in events {
            for Of { opening, request_id } in booking.iter().chain(entry) {
                let name = (opening.to_string(), request_id.to_string());
                if let Some((_, news)) = followed.get(&name) {
                    news.send_replace(News::Named);
                }
            }
        }
    }

    /// Tells everybody that an event may have been missed.
    fn gap(&self) {
        for (_, news) in held(&self.followed).values() {
            news.send_replace(News::Gap);
        }
    }
}

/// The feed's events, with what is read of them.
#[derive(Deserialize)]
struct Events<'a> {
    first: u64,
    #[serde(borrow)]
    events: Vec<Event<'a>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    booking: Option<Of<'a>>,
    #[serde(borrow, default)]
    entry: Option<Of<'a>>,
}

/// The request that made a booking or an entry.
#[derive(Deserialize)]
struct Of<'a> {
    #[serde(borrow)]
    opening: Text<'a>,
    #[serde(borrow)]
    request_id: Text<'a>,
}

/// Which events were heard, by their sequence.
#[derive(Debug, Default)]
struct Hearing {
    /// The last one; none: nothing was heard yet.
    last: Option<u64>,
    /// At the feed's last position: the last event that was stored, and the last one heard.
    before: Option<(u64, u64)>,
}

impl Hearing {
    /// So many events from this one on; true: some before them were not heard.
    fn events(&mut self, first: u64, number: u64) -> bool {
        let begin = first.saturating_sub(1);
        let last = *self.last.get_or_insert(begin);
        // What is not above the last one is old.
        self.last = Some(last.max(begin + number));
        begin > last
    }

    /// The feed's last stored event. Gives whether what was heard is of that stream, and
    /// whether some events were not heard: those stored at the position before, since others
    /// may be said after the position that counts them, or may have been heard ahead of it.
    fn position(&mut self, stored: u64) -> (bool, bool) {
        let last = *self.last.get_or_insert(stored);
        let (stored_before, heard_before) = self.before.unwrap_or((last, last));
        let is_gap = last < stored_before;
        let last = last.max(stored_before);
        (self.last, self.before) = (Some(last), Some((stored, last)));
        (heard_before <= stored, is_gap)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn events_that_were_not_heard_show_by_the_next_ones_and_by_the_position() {
        let mut hearing = Hearing::default();
        assert_eq!(hearing.position(7), (true, false), "what was before is nobody's");
        assert!(!hearing.events(8, 2) && !hearing.events(10, 1));
        assert!(!hearing.events(8, 2), "they come again");
        // 11 and 12 are missing.
        assert!(hearing.events(13, 1));
        assert!(!hearing.events(14, 1));
        // 15 and 16 are on their way.
        assert_eq!(hearing.position(16), (true, false));
        assert!(!hearing.events(15, 1));
        // 16 never came; it is missed once.
        assert_eq!(hearing.position(16), (true, true));
        assert_eq!(hearing.position(16), (true, false));
        // Heard ahead of the position.
        assert!(!hearing.events(17, 4));
        assert_eq!(hearing.position(18), (true, false));
        assert_eq!(hearing.position(20), (true, false));
    }

    #[test]
    fn a_stream_that_began_anew_is_not_known() {
        let mut hearing = Hearing::default();
        hearing.position(1_000);
        assert_eq!(hearing.position(3), (false, false));
        assert!(!hearing.position(4).0);
        assert!(hearing.position(1_000).0);
    }

    #[tokio::test]
    async fn who_follows_a_request_hears_of_it_alone_and_of_what_may_be_missing() {
        let (state, tracked) = (Arc::new(State::default()), |id: &'static str| Tracked {
            opening: Some("w".into()),
            request_id: id.into(),
            applicant: "1".into(),
        });
        let feed = Feed { state: Arc::clone(&state), _hearing: JoinSet::new() };
        let (mut a, mut b) = (feed.follow(&tracked("a")), feed.follow(&tracked("b")));
        let of = |data: &str| format!(r#"{{"first":8,"events":[{{"id":"x","data":{data}}}]}}"#);
        let said =
            of(r#"{"booking":{"opening":"w","request_id":"a","numbers":[1]},"previous":null}"#);
        let Events { first: 8, events } = serde_json::from_str(&said).unwrap() else { panic!() };
        state.named(&events);
        assert_eq!(a.news().await, News::Named);
        let said = of(r#"{"booking":null,"entry":{"opening":"w","request_id":"b"}}"#);
        state.named(&serde_json::from_str::<Events<'_>>(&said).unwrap().events);
        assert_eq!(b.news().await, News::Named);
        let nothing = tokio::time::timeout(Duration::from_millis(20), a.news()).await;
        assert!(nothing.is_err(), "it was about somebody else");
        state.gap();
        assert_eq!([a.news().await, b.news().await], [News::Gap; 2]);
        let also_a = feed.follow(&tracked("a"));
        drop(a);
        assert_eq!(held(&state.followed).len(), 2);
        drop((also_a, b));
        assert!(held(&state.followed).is_empty());
    }
}
