//! The openings in memory.

use std::ops::Deref;
use std::sync::Arc;

use giliran_wire::Pseudonym;
use giliran_wire::answer::Phase;

use crate::Opening;

/// In how many openings an applicant's claim is fetched, at most: a processor has only some
/// such requests under way.
const MOST_FETCHED: usize = 2;

/// Openings by ordinal, which is not their place: retired ones are missing.
#[derive(Debug, Clone, Default)]
pub struct Openings(Vec<Arc<Opening>>);

impl Openings {
    /// The opening of this ordinal, unless it has retired.
    pub fn get(&self, ordinal: u32) -> Option<&Arc<Opening>> {
        let place = self.0.binary_search_by_key(&ordinal, |o| o.record().ordinal).ok()?;
        Some(&self.0[place])
    }

    /// The opening of this id.
    pub fn named(&self, id: &str) -> Option<&Arc<Opening>> {
        self.0.iter().find(|opening| opening.id() == id)
    }

    /// A request of this applicant for this opening, or for whichever is meant where it names
    /// none, will be [decided](crate::Allocator::decide) soon: what that looks at is fetched
    /// from memory meanwhile. Fetching changes nothing else.
    pub fn fetch(&self, opening: Option<&str>, applicant: &Pseudonym) {
        if let Some(id) = opening {
            self.named(id).into_iter().for_each(|named| named.claims.fetch(applicant));
        } else {
            let begun = self.0.iter().filter(|each| each.phase() != Phase::Scheduled);
            begun.take(MOST_FETCHED).for_each(|each| each.claims.fetch(applicant));
        }
    }

    /// With another one, of a higher ordinal than every one before.
    pub(crate) fn with(&self, opening: Arc<Opening>) -> Self {
        let mut openings = self.0.clone();
        openings.push(opening);
        Self(openings)
    }

    pub(crate) fn without(&self, ordinal: u32) -> Self {
        let rest = self.0.iter().filter(|opening| opening.record().ordinal != ordinal);
        Self(rest.map(Arc::clone).collect())
    }
}

impl Deref for Openings {
    type Target = [Arc<Opening>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
