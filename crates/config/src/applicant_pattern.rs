//! The pattern of applicant ids.

use regex::bytes::RegexBuilder;

/// What applicant ids must look like: all of an id, not a part of it. Its classes
/// are those of ASCII, so that one person cannot be written in the digits of two
/// scripts.
#[derive(Debug, Clone)]
pub struct ApplicantPattern {
    text: String,
    whole: regex::bytes::Regex,
}

impl ApplicantPattern {
    /// Of this regular expression.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn new(pattern: &str) -> Result<Self, regex::Error> {
        let ascii = |pattern: &str| RegexBuilder::new(pattern).unicode(false).build();
        // By itself first: what it opens it has to close.
        ascii(pattern)?;
        let whole = ascii(&format!(r"\A(?:{pattern})\z"))?;
        Ok(Self { text: pattern.to_owned(), whole })
    }

    /// True if the whole id is as the pattern says.
    pub fn fits(&self, applicant: &str) -> bool {
        self.whole.is_match(applicant.as_bytes())
    }
}

impl std::fmt::Display for ApplicantPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
