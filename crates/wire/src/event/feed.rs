//! What the feed says on plain subjects, to whoever listens.

use serde::{Deserialize, Serialize};

use super::Event;
use crate::AsOf;

/// How far the feed has told the ledger: events, free places and openings alike. It says
/// so once a second on a plain subject while it is at the ledger's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedPosition {
    /// Where the ledger ended for it.
    pub as_of: AsOf,
    /// Sequence of the last event in the event stream; 0: there is none.
    pub events: u64,
}

/// Events that stand behind each other in the event stream, once more on a plain subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedEvents<'a> {
    /// The first one's sequence in the event stream; each next one's is higher by one.
    pub first: u64,
    /// The events.
    #[serde(borrow)]
    pub events: Vec<Event<'a>>,
}

/// Makes the message of events that are JSON already: the same bytes that serde makes of
/// [`FeedEvents`].
#[derive(Debug, Default)]
pub struct FeedEventsWriter {
    /// The message so far, without its end; empty: it has no event.
    message: Vec<u8>,
}

impl FeedEventsWriter {
    /// What stands behind the last event.
    const END: &[u8] = b"]}";

    /// Adds an event, which stands at `seq`: behind the one that was added last, or it is
    /// the first of its message.
    pub fn push(&mut self, seq: u64, event: &[u8]) {
        if self.message.is_empty() {
            self.message.extend_from_slice(format!(r#"{{"first":{seq},"events":["#).as_bytes());
        } else {
            self.message.push(b',');
        }
        self.message.extend_from_slice(event);
    }

    /// Bytes of the message, were it [taken](Self::take) now; 0: it has no event.
    pub fn bytes(&self) -> usize {
        if self.message.is_empty() { 0 } else { self.message.len() + Self::END.len() }
    }

    /// The message with the events since the last call; none: there are none.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        if self.message.is_empty() {
            return None;
        }
        let room = Vec::with_capacity(self.message.capacity());
        let mut message = std::mem::replace(&mut self.message, room);
        message.extend_from_slice(Self::END);
        Some(message)
    }
}
