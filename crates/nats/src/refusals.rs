//! What a server has refused to this process's logins. The client tells that of an event alone;
//! whoever asked hears nothing, as from a server that is slow, and gives up seconds later.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Moment;

/// Most refusals that are remembered; the oldest goes.
const MOST: usize = 256;
/// How a server says that a login may not send to a subject, which follows.
const PUBLISH: &str = "Permissions Violation for Publish to \"";
/// How it begins all that it refuses for want of a permission.
const REFUSAL: &str = "Permissions Violation";

/// Refusals by the server's words.
#[derive(Debug, Default)]
struct Refusals(BTreeMap<String, Refusal>);

#[derive(Debug)]
struct Refusal {
    /// When it was heard last.
    at: Moment,
    /// It was told since a connection was made last.
    told: bool,
}

impl Refusals {
    const NONE: Self = Self(BTreeMap::new());

    fn is_news(&mut self, words: &str, at: Moment) -> bool {
        if !words.contains(REFUSAL) {
            return true;
        }
        if let Some(known) = self.0.get_mut(words) {
            known.at = at;
            return !std::mem::replace(&mut known.told, true);
        }
        if self.0.len() >= MOST {
            let oldest = self.0.iter().min_by_key(|(_, known)| known.at);
            if let Some(oldest) = oldest.map(|(words, _)| words.clone()) {
                self.0.remove(&oldest);
            }
        }
        self.0.insert(words.to_owned(), Refusal { at, told: true });
        true
    }

    fn refused(&self, part: &str, since: Moment) -> bool {
        let is_part = |words: &str| {
            let subject =
                words.split_once(PUBLISH).and_then(|(_, behind)| behind.split('"').next());
            subject.is_some_and(|subject| subject.contains(part))
        };
        self.0.iter().any(|(words, known)| known.at >= since && is_part(words))
    }

    fn forget_told(&mut self) {
        self.0.values_mut().for_each(|known| known.told = false);
    }
}

static REFUSALS: Mutex<Refusals> = Mutex::new(Refusals::NONE);

fn refusals() -> MutexGuard<'static, Refusals> {
    // A panic elsewhere cannot leave the map half changed.
    REFUSALS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a server's error is to be told: a permission that is missing once as long as the
/// connection lasts, all else each time.
pub(crate) fn is_news(words: &str) -> bool {
    refusals().is_news(words, Moment::now())
}

/// Whether a server has refused since then to take what this process sent to a subject with this
/// part.
pub(crate) fn refused(part: &str, since: Moment) -> bool {
    refusals().refused(part, since)
}

/// A connection was made: what is still refused is news once more.
pub(crate) fn forget_told() {
    refusals().forget_told();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(subject: &str) -> String {
        format!("Permissions Violation for Publish to \"{subject}\"")
    }

    #[test]
    fn a_missing_permission_is_told_once_and_what_is_none_each_time() {
        let mut refusals = Refusals::NONE;
        let mut is_news = |words: &str| refusals.is_news(words, Moment::now());
        let names = words("$JS.API.STREAM.NAMES");
        assert_eq!([is_news(&names), is_news(&names), is_news(&names)], [true, false, false]);
        assert!(is_news(&words("$JS.API.INFO")), "another one");
        assert!(is_news("Stale Connection") && is_news("Stale Connection"));
        refusals.forget_told();
        assert!(refusals.is_news(&names, Moment::now()), "over another connection");
    }

    #[test]
    fn memory_is_bounded_and_the_newest_are_remembered() {
        let (mut refusals, begin) = (Refusals::NONE, Moment::now());
        for n in 0..2 * MOST {
            assert!(refusals.is_news(&words(&n.to_string()), Moment::now()));
        }
        assert_eq!(refusals.0.len(), MOST);
        assert!(refusals.refused(&(2 * MOST - 1).to_string(), begin));
    }

    #[test]
    fn what_was_refused_is_known_by_a_part_of_its_subject_and_since_when() {
        let (mut refusals, begin) = (Refusals::NONE, Moment::now());
        refusals.is_news(&words("$JS.API.STREAM.INFO.KV_giliran-v1-lease"), begin);
        refusals.is_news("Permissions Violation for Subscription to \"a.b\"", begin);
        assert!(refusals.refused("giliran-v1-lease", begin));
        assert!(!refusals.refused("giliran-v2-lease", begin) && !refusals.refused("a.b", begin));
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(!refusals.refused("giliran-v1-lease", Moment::now()));
    }
}
