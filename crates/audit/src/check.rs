//! What a check looks at, and what it comes to.

/// Most examples told of a broken promise.
const EXAMPLES: usize = 5;

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The promise, as `P1`; or `events`.
    pub promise: &'static str,
    /// What was looked at.
    pub what: String,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds, over so many things looked at.
    Holds(u64),
    /// It does not: some examples, and how many there are.
    Broken(Vec<String>, u64),
    /// It could not be looked at, and why.
    NotChecked(&'static str),
}

/// Collects what is wrong.
#[derive(Debug, Clone)]
pub(crate) struct Findings {
    looked_at: u64,
    wrong: u64,
    examples: Vec<String>,
}

impl Findings {
    pub(crate) fn new() -> Self {
        Self { looked_at: 0, wrong: 0, examples: Vec::new() }
    }

    pub(crate) fn look(&mut self, fine: bool, what: impl FnOnce() -> String) {
        self.looked_at += 1;
        if !fine {
            self.wrong += 1;
            if self.examples.len() < EXAMPLES {
                self.examples.push(what());
            }
        }
    }

    /// True while nothing was looked at.
    pub(crate) fn are_empty(&self) -> bool {
        self.looked_at == 0
    }

    /// True while nothing is wrong.
    pub(crate) fn hold(&self) -> bool {
        self.wrong == 0
    }

    pub(crate) fn check(self, promise: &'static str, what: impl Into<String>) -> Check {
        let verdict = if self.hold() {
            Verdict::Holds(self.looked_at)
        } else {
            Verdict::Broken(self.examples, self.wrong)
        };
        Check { promise, what: what.into(), verdict }
    }
}

/// A check that could not be made, and why.
pub(crate) fn not_checked(promise: &'static str, what: &str, why: &'static str) -> Check {
    Check { promise, what: what.to_owned(), verdict: Verdict::NotChecked(why) }
}
