//! The languages of a report. Each sentence stands in one place in both of them, so that a
//! missing one does not compile.

use std::str::FromStr;

use crate::text;

/// A language that reports are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    #[default]
    English,
    Indonesian,
}

impl Language {
    pub const ALL: [Self; 2] = [Self::English, Self::Indonesian];

    /// As HTML and the command line have it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Indonesian => "id",
        }
    }

    /// Several things in a sentence: `a, b and c`.
    pub fn listed(self, things: &[String]) -> String {
        match things {
            [] => String::new(),
            [only] => only.clone(),
            [first @ .., last] => {
                let and = text!("and" | "dan").of(self);
                format!("{} {and} {last}", first.join(", "))
            }
        }
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|language| language.code() == text);
        found.ok_or_else(|| format!("reports are written in en and id, not in {text:?}"))
    }
}

/// A text that always reads the same, in every language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    pub english: &'static str,
    pub indonesian: &'static str,
}

impl Text {
    pub const NONE: Self = text!("" | "");

    pub const fn of(self, language: Language) -> &'static str {
        match language {
            Language::English => self.english,
            Language::Indonesian => self.indonesian,
        }
    }
}

/// A text in every language: `text!("places" | "tempat")`.
#[macro_export]
macro_rules! text {
    ($english:literal | $indonesian:literal) => {
        $crate::Text { english: $english, indonesian: $indonesian }
    };
}

/// A sentence with what changes in it: `say!(language, "{n} places" | "{n} tempat")`. Values
/// that follow stand in both: one that a language leaves out does not compile.
#[macro_export]
macro_rules! say {
    ($language:expr, $english:literal | $indonesian:literal $(, $value:expr)* $(,)?) => {
        match $language {
            $crate::Language::English => format!($english $(, $value)*),
            $crate::Language::Indonesian => format!($indonesian $(, $value)*),
        }
    };
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_named_by_its_code() {
        for language in Language::ALL {
            assert_eq!(language.code().parse(), Ok(language));
        }
        assert!("in".parse::<Language>().unwrap_err().contains("en and id"));
    }

    #[test]
    fn things_are_listed_as_in_a_sentence() {
        let things = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(Language::English.listed(&things), "a, b and c");
        assert_eq!(Language::Indonesian.listed(&things[..2]), "a dan b");
        assert_eq!(Language::Indonesian.listed(&[]), "");
        let n = 7;
        assert_eq!(say!(Language::Indonesian, "{n} of {}" | "{n} dari {}", 9), "7 dari 9");
    }
}
