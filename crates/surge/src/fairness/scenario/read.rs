//! Reading a scenario: every problem at once, with its place.

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::{SHIPPED, Scenario, check, shipped};

/// Something wrong in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// The field, as `cohorts[1].share`; empty for the file as a whole.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Every problem of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// The file's name, as given.
    pub file: String,
    /// In order of the lines; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Problem { line, column, field, message }) in self.problems.iter().enumerate() {
            let before = if i > 0 { "\n" } else { "" };
            let colon = if field.is_empty() { "" } else { ": " };
            write!(f, "{before}{}:{line}:{column}: {field}{colon}{message}", self.file)?;
        }
        Ok(())
    }
}

/// Reads a scenario; `file` is what problems call it.
///
/// # Errors
///
/// Every problem found: at most one of form in each section, and every value
/// that makes no sense.
pub fn parse(text: &str, file: &str) -> Result<Scenario, Problems> {
    let mut problems = Vec::new();
    let scenario = match DeTable::parse(text) {
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            problems.push(problem(text, span, String::new(), error.message().to_owned()));
            None
        }
        Ok(table) => {
            let mut sections = Sections { text, table: table.get_ref(), problems: Vec::new() };
            let scenario = sections.scenario();
            problems.append(&mut sections.problems);
            scenario
        }
    };
    problems.sort_by_key(|problem| (problem.line, problem.column));
    match scenario {
        Some(scenario) if problems.is_empty() => Ok(scenario),
        _ => Err(Problems { file: file.to_owned(), problems }),
    }
}

const KNOWN: [&str; 8] =
    ["name", "about", "opening", "offices", "people", "cohorts", "attackers", "aftermath"];

struct Sections<'a> {
    text: &'a str,
    table: &'a DeTable<'a>,
    problems: Vec<Problem>,
}

impl Sections<'_> {
    fn scenario(&mut self) -> Option<Scenario> {
        for (key, _) in self.table {
            if !KNOWN.contains(&key.get_ref().as_ref()) {
                let message = format!("there is no such section; there are {}", KNOWN.join(", "));
                self.add(key.span(), key.get_ref().to_string(), message);
            }
        }
        let name = self.one("name");
        let about = self.one("about");
        let opening = self.one("opening");
        let offices = self.one("offices");
        let people = self.one("people");
        let cohorts = self.list("cohorts", true);
        let attackers = self.list("attackers", false);
        let aftermath = self.one("aftermath");
        let complete = name.is_some()
            && about.is_some()
            && opening.is_some()
            && offices.is_some()
            && people.is_some()
            && cohorts.is_some()
            && attackers.is_some()
            && aftermath.is_some();
        // What cannot be read is stood in for, so that what can be read is judged.
        let stand_in = if complete { None } else { shipped(SHIPPED[0].0) };
        let wrong: Vec<String> = self.problems.iter().map(|p| section(&p.field)).collect();
        let scenario = Scenario {
            name: name.unwrap_or_default(),
            about: about.unwrap_or_default(),
            opening: opening.or_else(|| stand_in.as_ref().map(|s| s.opening.clone()))?,
            offices: offices.or_else(|| stand_in.as_ref().map(|s| s.offices.clone()))?,
            people: people.or_else(|| stand_in.as_ref().map(|s| s.people.clone()))?,
            cohorts: cohorts.or_else(|| stand_in.as_ref().map(|s| s.cohorts.clone()))?,
            attackers: attackers.unwrap_or_default(),
            aftermath: aftermath.or_else(|| stand_in.as_ref().map(|s| s.aftermath.clone()))?,
        };
        for (field, message) in check::problems(&scenario) {
            if !wrong.contains(&section(&field)) {
                let span = self.locate(&field);
                self.add(span, field, message);
            }
        }
        complete.then_some(scenario)
    }

    fn one<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let Some(value) = self.table.get(key) else {
            self.add(0..0, key.to_owned(), "is missing".to_owned());
            return None;
        };
        let value = value.clone();
        self.value(value, key.to_owned())
    }

    fn list<T: DeserializeOwned>(&mut self, key: &str, needed: bool) -> Option<Vec<T>> {
        let Some(value) = self.table.get(key) else {
            if needed {
                self.add(0..0, key.to_owned(), format!("is missing: [[{key}]], once for each"));
                return None;
            }
            return Some(Vec::new());
        };
        let DeValue::Array(array) = value.get_ref() else {
            let message = format!("is to be a list: [[{key}]], once for each");
            self.add(value.span(), key.to_owned(), message);
            return None;
        };
        let items = array.iter().cloned().enumerate();
        let items: Vec<Option<T>> =
            items.map(|(i, item)| self.value(item, format!("{key}[{i}]"))).collect();
        items.into_iter().collect()
    }

    fn value<T: DeserializeOwned>(
        &mut self,
        value: Spanned<DeValue<'_>>,
        field: String,
    ) -> Option<T> {
        let whole = value.span();
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => Some(value),
            Err(error) => {
                let message = error.message().trim_end().replace('\n', " ");
                self.add(error.span().unwrap_or(whole), field, message);
                None
            }
        }
    }

    fn add(&mut self, span: Range<usize>, field: String, message: String) {
        self.problems.push(problem(self.text, span, field, message));
    }

    /// Where a field stands, or the section it is missing from.
    fn locate(&self, field: &str) -> Range<usize> {
        let mut span = 0..0;
        let mut table = Some(self.table);
        for part in field.split('.') {
            let (key, index) = match part.split_once('[') {
                Some((key, rest)) => (key, rest.trim_end_matches(']').parse::<usize>().ok()),
                None => (part, None),
            };
            let Some(value) = table.and_then(|table| table.get(key)) else { break };
            let value = match (value.get_ref(), index) {
                (DeValue::Array(array), Some(i)) => array.get(i).unwrap_or(value),
                _ => value,
            };
            span = value.span();
            table = match value.get_ref() {
                DeValue::Table(table) => Some(table),
                _ => None,
            };
        }
        span
    }
}

/// The section a field stands in.
fn section(field: &str) -> String {
    field.split(['.', '[']).next().unwrap_or_default().to_owned()
}

fn problem(text: &str, span: Range<usize>, field: String, message: String) -> Problem {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    Problem { line, column, field, message }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn problems_of(text: &str) -> Vec<String> {
        let problems = parse(text, "x.toml").unwrap_err().to_string();
        problems.lines().map(str::to_owned).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_with_its_place() {
        let text = SHIPPED[0].1;
        let wrong = text
            .replace("decay_s", "decay_sec")
            .replace("window_s = 900", "window_s = 0")
            .replace("count = 4", "count = \"four\"")
            .replace("[aftermath]", "[afterwards]");
        let problems = problems_of(&wrong);
        let has = |what: &str| {
            assert!(problems.iter().any(|p| p.contains(what)), "{what}: {problems:#?}");
        };
        has("people: unknown field `decay_sec`");
        has("opening.window_s: 0 is not above 0");
        has("offices: invalid type: string \"four\"");
        has("afterwards: there is no such section");
        has("aftermath: is missing");
        assert_eq!(problems.len(), 5, "{problems:#?}");
        let line = wrong.lines().position(|l| l.contains("count = \"four\"")).unwrap() + 1;
        has(&format!("x.toml:{line}:"));
    }

    #[test]
    fn an_insider_has_means_and_is_the_only_one() {
        let text = SHIPPED.iter().find(|(name, _)| *name == "insiders").unwrap().1;
        let wrong = text
            .replace("enters = 20", "enters = 201")
            .replace("tries = 1000", "tries = 0")
            .replace(
                "[aftermath]",
                "[[attackers]]\nname = \"second\"\nkind = \"insider\"\nbudget = 5\n\
                 [[attackers]]\nname = \"bots\"\nkind = \"poller\"\nidentities = 5\n\
                 tries = 5\n[aftermath]",
            );
        let problems = problems_of(&wrong);
        for what in [
            "attackers[0].enters: is to be from 1",
            "attackers[0].tries: is to be from 1",
            "attackers[1].budget: an insider",
            "attackers[1].kind: a second insider",
            "attackers[2].tries: only an insider",
        ] {
            assert!(problems.iter().any(|p| p.contains(what)), "{what}: {problems:#?}");
        }
        assert_eq!(problems.len(), 5, "{problems:#?}");
    }

    #[test]
    fn replayers_and_forgers_say_how_much_they_send() {
        let text = SHIPPED.iter().find(|(name, _)| *name == "forgers").unwrap().1;
        let wrong = text
            .replace("valid_ids = 0.1", "valid_ids = 10")
            .replace("requests = 3000\n\n[aftermath]", "identities = 3\n\n[aftermath]");
        let problems = problems_of(&wrong);
        for what in [
            "attackers[0].valid_ids: 10 is no share",
            "attackers[1].requests: how many does it send?",
            "attackers[1].identities: a replayer sends others' requests",
        ] {
            assert!(problems.iter().any(|p| p.contains(what)), "{what}: {problems:#?}");
        }
        assert_eq!(problems.len(), 3, "{problems:#?}");
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_would_be_right() {
        let text = SHIPPED[0].1;
        let quota = text.lines().find(|line| line.starts_with("quota")).unwrap();
        let parties = text.lines().find(|line| line.starts_with("parties")).unwrap();
        let decay = text.lines().find(|line| line.starts_with("decay_s")).unwrap();
        let wrong = text
            .replace(quota, "quota = [0]")
            .replace(parties, "parties = 0")
            .replace(decay, "decay_s = -3");
        let problems = problems_of(&wrong);
        assert_eq!(problems.len(), 3, "{problems:#?}");
        let line = |what: &str| wrong.lines().position(|l| l == what).unwrap() + 1;
        for (at, what) in [
            ("quota = [0]", "offices.quota: there are no places"),
            ("parties = 0", "people.parties: nobody asks"),
            ("decay_s = -3", "people.decay_s: -3 is not above 0"),
        ] {
            let place = format!("x.toml:{}:", line(at));
            assert!(
                problems.iter().any(|p| p.starts_with(&place) && p.contains(what)),
                "{place} {what}: {problems:#?}"
            );
        }
    }

    #[test]
    fn what_is_no_toml_is_said_to_be_none() {
        let problems = problems_of("[people\nparties = 3\n");
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(problems[0].starts_with("x.toml:1:"), "{problems:#?}");
    }
}
