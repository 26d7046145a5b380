//! Names of subjects, streams and buckets, all derived from one prefix.

use std::fmt;

/// One agency's or country's own set of subjects, streams and buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    prefix: String,
}

/// A prefix that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "subject_prefix {0:?}: 1 to 60 characters, words of a-z, 0-9 and - joined by single dots, as \"giliran.v1\""
)]
pub struct BadPrefix(pub String);

impl Default for Namespace {
    fn default() -> Self {
        Self { prefix: Self::DEFAULT_PREFIX.to_owned() }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix)
    }
}

impl Namespace {
    /// The prefix where none is configured.
    pub const DEFAULT_PREFIX: &'static str = "giliran.v1";

    /// The namespace under this prefix.
    ///
    /// # Errors
    ///
    /// [`BadPrefix`] where the prefix has other characters than `a-z 0-9 - .`
    /// or an empty word: streams and buckets are named after it.
    pub fn new(prefix: &str) -> Result<Self, BadPrefix> {
        let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let word = |w: &str| !w.is_empty() && w.bytes().all(legal);
        if prefix.len() <= 60 && prefix.split('.').all(word) {
            Ok(Self { prefix: prefix.to_owned() })
        } else {
            Err(BadPrefix(prefix.to_owned()))
        }
    }

    /// The prefix of every subject, stream and bucket.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Subject of a request: `<prefix>.<operation>`.
    pub fn request(&self, operation: &str) -> String {
        format!("{}.{operation}", self.prefix)
    }

    /// Subject of a ledger generation.
    pub fn ledger_subject(&self, generation: u32) -> String {
        format!("{}.ledger.{generation}", self.prefix)
    }

    /// The subjects of every ledger generation.
    pub fn ledger_filter(&self) -> String {
        format!("{}.ledger.*", self.prefix)
    }

    /// Stream of a ledger generation.
    pub fn ledger_stream(&self, generation: u32) -> String {
        format!("{}_LEDGER_{generation}", self.upper())
    }

    /// Stream of the confirmation events.
    pub fn events_stream(&self) -> String {
        format!("{}_EVENTS", self.upper())
    }

    /// The subjects that stream takes.
    pub fn events_filter(&self) -> String {
        format!("{}.event.>", self.prefix)
    }

    /// Subject of an event; `-` stands for an office or date that is none.
    pub fn event(&self, kind: &str, office: &str, date: &str) -> String {
        format!("{}.event.{kind}.{office}.{date}", self.prefix)
    }

    /// Where the feed says each event once more that is stored, for those who only
    /// subscribe.
    pub fn feed_events(&self) -> String {
        format!("{}.feed.events", self.prefix)
    }

    /// Where the feed says how far it has told the ledger.
    pub fn feed_position(&self) -> String {
        format!("{}.feed.position", self.prefix)
    }

    /// Key-value bucket with the free places.
    pub fn availability_bucket(&self) -> String {
        format!("{}-availability", self.lower())
    }

    /// Key-value bucket with the openings, as the catalogue describes them.
    pub fn openings_bucket(&self) -> String {
        format!("{}-openings", self.lower())
    }

    /// Key-value bucket with the engine's lease.
    pub fn lease_bucket(&self) -> String {
        format!("{}-lease", self.lower())
    }

    fn upper(&self) -> String {
        self.prefix.to_ascii_uppercase().replace('.', "_")
    }

    fn lower(&self) -> String {
        self.prefix.replace('.', "-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_prefix() {
        let namespace = Namespace::default();
        assert_eq!(namespace.request("book.vouched"), "giliran.v1.book.vouched");
        assert_eq!(namespace.ledger_stream(1), "GILIRAN_V1_LEDGER_1");
        assert_eq!(namespace.events_stream(), "GILIRAN_V1_EVENTS");
        assert_eq!(namespace.availability_bucket(), "giliran-v1-availability");
        assert_eq!(namespace.openings_bucket(), "giliran-v1-openings");
        assert_eq!(namespace.feed_events(), "giliran.v1.feed.events");
        assert_eq!(
            namespace.event("confirmed", "batam-center", "2026-11-30"),
            "giliran.v1.event.confirmed.batam-center.2026-11-30"
        );
    }

    #[test]
    fn a_prefix_that_could_leave_its_place_is_refused() {
        for bad in ["", ".", "a..b", "a.*", "a.>", "A.b", "$JS.API", "a b", &"x".repeat(61)] {
            assert!(Namespace::new(bad).is_err(), "{bad}");
        }
        assert!(Namespace::new("id.imigrasi.giliran-2").is_ok());
    }
}
